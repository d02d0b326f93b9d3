/* Dead letters for the operator's tools: found, sent again, thrown away, in bounded steps.  All of
 * it on shard 0, which has the list.  What changes is in the log or the journal when a call
 * returns: core_promise() says when it is safe. */
#ifndef CORE_DEAD_ACT_H
#define CORE_DEAD_ACT_H

#include "core/core.h"

/* Which letters; views, n == 0: any. */
struct dead_order {
    uint64_t seq; /* this one alone; 0: any */
    struct bytes source, reason;
    struct bytes filter; /* an attribute filter, or @name, for the letter as the message it is */
};

struct dead_letter_view { /* of one in the list; views */
    uint64_t seq, time_ms;
    struct bytes reason, source, topic, client, text; /* n == 0: none */
    struct bytes props, payload;
    uint32_t attempts, redriven;
    uint8_t code, qos; /* code 0: none */
};

/* What the steps return. */
enum { DEAD_OVER = 0, DEAD_MORE = 1 };
enum { DEAD_WHY_MAX = 256 };

/* Calls found() for up to `most` letters behind *at (0: from the beginning), which moves on.
 * DEAD_OVER: all were seen; DEAD_MORE; E_AGAIN: the store is reading, ask again in a later turn;
 * E_INVALID: why says what is wrong with the filter; E_NOMEM. */
MUST_USE int dead_find(struct core *core, const struct dead_order *order, uint64_t *at,
                       unsigned most, void (*found)(void *ctx, const struct dead_letter_view *l),
                       void *ctx, char why[static DEAD_WHY_MAX]);

enum dead_verb { DEAD_COUNT, DEAD_REDRIVE, DEAD_PURGE };
struct dead_sweep {
    struct dead_order order;
    enum dead_verb verb;
    uint64_t at, until;     /* until: letters behind it are not looked at; dead_last() */
    uint64_t matched, done; /* so far */
    uint64_t ownerless;     /* not sent again: the queue is no more, */
    uint64_t tired;         /* or it has been as often as may be */
    uint64_t lost;          /* or it cannot be read */
};
uint64_t dead_last(const struct core *core); /* the newest; 0: there is none */
/* Does it to up to `most` that match.  As dead_find(); E_FULL: the disk takes no more. */
MUST_USE int dead_sweep(struct core *core, struct dead_sweep *s, unsigned most,
                        char why[static DEAD_WHY_MAX]);

#endif
