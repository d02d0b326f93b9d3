/* Where in the past a replay begins and ends, as clients say it (CONTRACT section 3).  Pure. */
#ifndef CORE_WHEN_H
#define CORE_WHEN_H

#include "base/bytes.h"
#include "base/err.h"

enum when_kind {
    WHEN_EARLIEST,
    WHEN_LATEST, /* nothing of the past; as an end: now */
    WHEN_TIME,   /* value: ms since 1970 */
    WHEN_SEQ,    /* value: sequence */
    WHEN_LAST,   /* value: so many messages of each topic */
};

struct when {
    enum when_kind kind;
    uint64_t value;
};

/* One `<when>`: earliest, latest, -15m, RFC 3339, Unix seconds, seq:N, last:N.  Back from now is
 * reckoned at once.  E_INVALID: *why says what is wrong, a constant. */
MUST_USE int when_get(struct bytes text, uint64_t now_ms, struct when *out, const char **why);

/* `<when>`, or `<from>..<to>`, then *span is true.  Errors as above, also for a span that ends
 * before it begins, as far as both say so in the same way. */
MUST_USE int when_get_span(struct bytes text, uint64_t now_ms, struct when *from, struct when *to,
                           bool *span, const char **why);
/* Whether they are a span. */
MUST_USE int when_check_span(const struct when *from, const struct when *to, const char **why);

#endif
