/* Histories for the operator's tools: what there is, and reading one without a subscription, by the
 * reader that replays have.  The shard's thread, by any shard but for what says otherwise; what is
 * opened is closed by the same. */
#ifndef CORE_HISTORY_READ_H
#define CORE_HISTORY_READ_H

#include "core/core.h"

/* ---- reading ---- */

struct history_order {             /* views */
    struct bytes filter, from, to; /* n == 0: all, from the earliest, until now */
    struct bytes where;            /* an attribute filter, or @name; n == 0: none */
};

struct history_record { /* views until the next call that takes this core */
    uint64_t seq, time_ms;
    struct bytes topic, props, payload;
    uint8_t qos;
    bool retain;
};

enum { HISTORY_MORE = 1, HISTORY_WHY_MAX = 256 };
struct history_reading;

/* Copies what it needs.  E_NOTFOUND: no history has such topics; E_INVALID: why says what is wrong;
 * E_NOMEM. */
MUST_USE int history_open(struct core *core, struct history_reading **out,
                          const struct history_order *order, char why[static HISTORY_WHY_MAX]);
/* 0: the next one; HISTORY_MORE: many were looked at that are not wanted, ask again; E_AGAIN: the
 * store is reading, ask again in a later turn; E_NOTFOUND: that was all; E_FULL: more topics than
 * the last of each can be found of; E_NOMEM: nothing is passed over. */
MUST_USE int history_next(struct history_reading *r, struct history_record *out);
void history_close(struct history_reading **r);

/* ---- what there is, on shard 0 ---- */

struct history_info {
    const struct core_history *conf; /* the configuration's */
    uint64_t count, bytes;
    uint64_t first_seq, first_ms, last_seq, last_ms; /* what may be read; 0: nothing */
};

struct history_look;
/* E_NOMEM. */
MUST_USE int history_look_open(struct core *core, struct history_look **out);
/* As history_next(), of histories in the order of the configuration. */
MUST_USE int history_look_next(struct history_look *l, struct history_info *out);
void history_look_close(struct history_look **l);

#endif
