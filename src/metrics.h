/* The $SYS tree: sums of the shards' counters become topics with text values.  Pure: elapsed time
 * and all figures are arguments.  Links libm (exp).  One thread, that of the broker's timer. */
#ifndef SRC_METRICS_H
#define SRC_METRICS_H

#include "core/core.h"
#include "shard.h"

struct metrics;

struct metrics_input {
    struct core_stats stats;   /* of all shards, metrics_add() */
    struct shard_stats shell;  /* likewise, metrics_add_shell() */
    uint64_t sockets;          /* gauge: connections of all listeners, also before CONNECT */
    uint64_t sockets_accepted; /* counter: connections accepted since the start */
    uint64_t heap, heap_max;   /* bytes; heap_max 0: metrics remembers the largest heap it saw */
    uint64_t output_count;     /* gauge: connections with unsent output, or 0 */
    uint64_t output_bytes;     /* gauge: unsent bytes, or 0 */
    uint64_t uptime_s;
};

/* Adds the counters and gauges of one shard. */
void metrics_add(struct core_stats *sum, const struct core_stats *one);
void metrics_add_shell(struct shard_stats *sum, const struct shard_stats *one);

/* version: of the broker, "0.1.0"; copied. */
MUST_USE int metrics_new(struct metrics **out, const char *version); /* E_NOMEM */
void metrics_free(struct metrics **metrics);

/* Calls emit for each topic whose value is another than the last time (the first time: for all of
 * them).  elapsed_s: since the call before, for the load averages; ignored in the first call.
 * topic and value are valid during the call.  To be published retained, with QoS 2. */
void metrics_update(struct metrics *metrics, const struct metrics_input *in, double elapsed_s,
                    void (*emit)(void *ctx, const char *topic, const char *value), void *ctx);
/* Emits every topic again at the next update ($SYS was switched off and on). */
void metrics_forget(struct metrics *metrics);

#endif
