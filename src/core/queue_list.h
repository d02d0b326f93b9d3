/* Work queues for the operator's tools: what there is, made, emptied, ended.  All of it on the
 * owner's shard; each call is one bounded step.  What changes is in the journal when the call
 * returns: core_promise() says when it is safe. */
#ifndef CORE_QUEUE_LIST_H
#define CORE_QUEUE_LIST_H

#include "core/core.h"
#include "core/dead_reason.h"
#include "core/queue_conf.h"

struct wqueue_counts {
    uint64_t received, delivered, acknowledged, duplicates, dropped;
    uint64_t again_deadline, again_refused, again_later, again_gone; /* redelivered, why */
    uint64_t dead[8];                                                /* enum dead_reason */
    uint64_t late; /* answers for what had gone elsewhere */
};

struct wqueue_info {
    struct bytes name; /* views, until the next call that takes this core */
    const char *const *topics;
    uint32_t topic_count;
    const char *filter; /* or NULL */
    const struct queue_settings *set;
    uint32_t depth; /* all that it has: ready, under way, delayed */
    uint32_t ready, inflight, delayed;
    uint64_t bytes;
    uint64_t oldest_s; /* age of the oldest that waits for a consumer; 0: none does */
    uint32_t consumers;
    bool configured;
    struct wqueue_counts counts;
};

/* The queue at *at of this shard, and moves on; start with *at = 0.  E_NOTFOUND: that was the last;
 * E_AGAIN: the store is reading its oldest message, ask again in a later turn. */
MUST_USE int wqueue_list(struct core *core, uint32_t *at, struct wqueue_info *out);
/* The same of one name. */
MUST_USE int wqueue_show(struct core *core, struct bytes name, struct wqueue_info *out);

struct wqueue_consumer {
    struct bytes client, filter; /* filter: of its topic filter; empty: all.  Views */
    uint32_t inflight, window;   /* deliveries it has not answered, and may have */
    bool suspended;              /* it may not read what is in the queue */
};
/* Calls found() for each consumer that is connected.  E_NOTFOUND. */
MUST_USE int wqueue_consumers(struct core *core, struct bytes name,
                              void (*found)(void *ctx, const struct wqueue_consumer *c), void *ctx);

/* E_EXISTS, E_INVALID (*why says what is wrong, written into room), E_FULL, E_NOMEM. */
enum { WQUEUE_WHY_MAX = 256 };
MUST_USE int wqueue_create(struct core *core, const struct queue_conf *conf,
                           char why[static WQUEUE_WHY_MAX]);
/* With all that it has.  E_NOTFOUND; E_EXISTS: the configuration has it. */
MUST_USE int wqueue_delete(struct core *core, struct bytes name);
/* Removes at most `most` that are not at a consumer; *done: how many.  0: there are no more;
 * E_AGAIN; E_NOTFOUND. */
MUST_USE int wqueue_purge(struct core *core, struct bytes name, uint32_t most, uint32_t *done);

#endif
