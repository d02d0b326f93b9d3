/* Figures of all work queues, as /metrics and $SYS show them: collected on each shard's thread a
 * page at a time, then read by who asked.  Owned by who asked. */
#ifndef SRC_QUEUE_FIGURES_H
#define SRC_QUEUE_FIGURES_H

#include "base/buf.h"
#include "core/queue_list.h"

enum {
    QUEUE_FIGURES_MAX = 1000,   /* queues of all shards together */
    QUEUE_CONSUMERS_MAX = 1000, /* consumers likewise */
    QUEUE_FIGURES_STEP = 200,   /* queues in one step */
};

/* name is a view, with a 0 behind it, until the next step or queue_figures_fini(); topics and
 * settings are not in it. */
struct queue_figure {
    struct wqueue_info info;
    struct bytes name;
};
struct queue_consumer {
    struct bytes queue, client; /* views likewise */
    uint32_t inflight, window;
};

struct queue_figures {
    bool with_consumers; /* the caller's, before the first step */
    struct buf queues, consumers;
    unsigned queue_count, consumer_count;
    uint64_t omitted;   /* queues above QUEUE_FIGURES_MAX */
    bool torn;          /* there was no memory for all */
    uint32_t at, tries; /* of the shard that is asked */
};

/* On a shard's thread: the next queues of it; whether it is to be asked again, in a later turn. */
bool queue_figures_step(struct queue_figures *f, struct core *core);
/* One more; above QUEUE_FIGURES_MAX it is counted only. */
void queue_figures_add(struct queue_figures *f, const struct wqueue_info *info);
/* Between two shards. */
void queue_figures_next_shard(struct queue_figures *f);
/* *at = 0: the first; false: there is none any more. */
bool queue_figures_next(const struct queue_figures *f, size_t *at, struct queue_figure *out);
bool queue_consumers_next(const struct queue_figures *f, size_t *at, struct queue_consumer *out);
void queue_figures_fini(struct queue_figures *f);

/* What of a queue is a number: gauges first, then counters, which have a "cause" or a "reason"
 * where there are several. */
struct queue_number {
    const char *name;          /* "depth", "redelivered" */
    const char *label, *value; /* NULL: it is one of its own */
    bool gauge;
    size_t offset; /* in struct wqueue_info */
    bool wide;     /* 64 bits, else 32 */
    const char *help;
};
const struct queue_number *queue_numbers(size_t *count);
uint64_t queue_number_of(const struct queue_number *n, const struct wqueue_info *info);

#endif
