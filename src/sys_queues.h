/* $SYS/broker/queue/<name>/..., and the alarms below $SYS/alarm/: from the figures of all shards to
 * topics and values that have changed.  Owns what was said last.  Pure, one thread. */
#ifndef SRC_SYS_QUEUES_H
#define SRC_SYS_QUEUES_H

#include "queue_figures.h"

struct sys_queues;

struct sys_limits {
    uint64_t dead_letters; /* new ones since the last time; 0: no alarm */
    uint64_t queue_age_s;  /* of the oldest that waits; 0: no alarm */
};

struct sys_input {
    const struct queue_figures *shards; /* shard_count of them */
    unsigned shard_count;
    uint64_t dead_letters; /* counter */
    uint64_t dead_listed;
    uint64_t wall_ms;
    struct sys_limits limits;
};

MUST_USE int sys_queues_new(struct sys_queues **out); /* E_NOMEM */
void sys_queues_free(struct sys_queues **q);
/* Calls emit() for each topic whose value is another than the last time; value "": it is to be
 * removed.  Without memory it says nothing new. */
void sys_queues_update(struct sys_queues *q, const struct sys_input *in,
                       void (*emit)(void *ctx, const char *topic, const char *value), void *ctx);

#endif
