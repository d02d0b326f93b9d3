/* $SYS: asks the shards for their counters, and publishes what changed.  Also where log lines go
 * with `log_dest topic`.  Main thread, but for sys_log_line(). */
#ifndef SRC_SYS_H
#define SRC_SYS_H

#include "shard.h"
#include "sys_queues.h"

struct sys;

MUST_USE int sys_new(struct sys **out, struct shard_set *shards); /* E_NOMEM */
/* After the shards have ended. */
void sys_free(struct sys **sys);
/* Publishes what has changed since the last time. */
void sys_update(struct sys *sys, const struct sys_limits *limits, uint64_t now_ms);
/* Bytes of memory in use.  What the kernel counts: asking the allocator would stop the shards. */
uint64_t sys_memory(void);
/* For log_set_topic_sink(); ctx is the sys.  Any thread. */
void sys_log_line(void *ctx, const char *topic, const char *text);

#endif
