/* Dead letters (CONTRACT section 6): what could not be delivered is published by the broker to
 * $dead/<reason>/<source>/<topic>, by the shard that owns its source.  The shard's thread. */
#ifndef CORE_DEAD_H
#define CORE_DEAD_H

#include "core/core_int.h"

enum dead_reason {
    DEAD_NONE,
    DEAD_ATTEMPTS,
    DEAD_REJECTED,
    DEAD_EXPIRED,
    DEAD_OVERFLOW,
    DEAD_TOO_LARGE,
    DEAD_SESSION_EXPIRED,
    DEAD_REASONS
};
_Static_assert(DEAD_REASONS <= 8, "struct wqueue_counts has room for 8");

enum dead_kind { DEAD_OF_QUEUE = 1, DEAD_OF_GROUP, DEAD_OF_CLIENT };

/* One that is to be published; views. */
struct dead_letter {
    const struct pub *p; /* the message as it was */
    enum dead_reason reason;
    enum dead_kind kind;
    struct bytes source; /* name of the queue or group, or client identifier */
    uint64_t number;     /* of a queue: by this letter p->seq leaves it; else 0 */
    uint32_t attempts;
    uint64_t first_ms, last_ms; /* 0: never delivered */
    struct bytes client, text;  /* n == 0: none */
    uint8_t code;               /* 0: none */
};

const char *dead_reason_name(enum dead_reason reason);
/* Whether letters are published at all, and this one: never of a dead letter. */
bool dead_wanted(const struct core *core, struct bytes topic);
/* Stores and routes it, *seq is the letter's own: not to be called while the router is at work.
 * E_FULL, E_AGAIN: the store has no room; E_NOMEM.  Then nothing has happened. */
MUST_USE int dead_publish(struct core *core, const struct dead_letter *letter, uint64_t *seq);

#endif
