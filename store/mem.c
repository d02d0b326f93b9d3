/* The memory engine.  A record lives as long as somebody refers to it, so a reference is simply the
 * counted blob itself: nothing beside the message is spent on being stored.  What the doors share
 * is the number of the last record. */
#include "store/engine.h"

#include <stdatomic.h>

struct mem_log {
    _Alignas(MEM_LINE) _Atomic uint64_t last;
    _Atomic uint32_t doors;
};

struct mem_store {
    _Alignas(MEM_LINE) struct store base;
    struct mem_log *log;
    uint64_t last; /* by this door */
};

static int mem_append(struct store *st, struct bytes prefix, struct blob *body, uint64_t *seq)
{
    struct mem_store *m = CONTAINER_OF(st, struct mem_store, base);
    (void)prefix, (void)body;
    /* relaxed: only the number itself is shared; what one thread knows of another came by mail */
    *seq = m->last = atomic_fetch_add_explicit(&m->log->last, 1, memory_order_relaxed) + 1;
    return 0;
}

static uint64_t mem_poll(struct store *st)
{
    return CONTAINER_OF(st, struct mem_store, base)->last;
}

static uint64_t mem_end(const struct store *st)
{
    const struct mem_store *m = CONTAINER_OF(st, struct mem_store, base);
    return atomic_load_explicit(&m->log->last, memory_order_relaxed) + 1; /* as above */
}

static store_ref mem_hold(struct store *st, uint64_t seq, struct blob *body)
{
    (void)st, (void)seq;
    return (uint64_t)(uintptr_t)blob_ref(body);
}

static int mem_fetch(struct store *st, store_ref ref, struct blob **body)
{
    (void)st;
    *body = blob_ref((struct blob *)(uintptr_t)ref);
    return 0;
}

static void mem_drop(struct store *st, store_ref ref)
{
    (void)st;
    blob_unref((struct blob *)(uintptr_t)ref);
}

static void mem_close(struct store *st)
{
    struct mem_store *m = CONTAINER_OF(st, struct mem_store, base);
    /* acq_rel: the last one has seen all that the others did with it */
    if (atomic_fetch_sub_explicit(&m->log->doors, 1, memory_order_acq_rel) == 1) mem_free(m->log);
    mem_free(m);
}

static void mem_stats(const struct store *st, struct store_stats *out) { (void)st, (void)out; }

/* What is only asked of a store that keeps is left out. */
static const struct store_ops mem_ops = {.append = mem_append,
                                         .poll = mem_poll,
                                         .end = mem_end,
                                         .hold = mem_hold,
                                         .fetch = mem_fetch,
                                         .drop = mem_drop,
                                         .stats = mem_stats,
                                         .close = mem_close};

int store_mem_open(struct store **doors, unsigned count)
{
    struct mem_log *log = mem_calloc_aligned(1, sizeof *log);
    if (log == NULL) return E_NOMEM;
    atomic_init(&log->doors, count);
    for (unsigned i = 0; i < count; i++) {
        struct mem_store *m = mem_calloc_aligned(1, sizeof *m);
        if (m == NULL) {
            while (i > 0) mem_free(CONTAINER_OF(doors[--i], struct mem_store, base));
            mem_free(log);
            return E_NOMEM;
        }
        m->base.ops = &mem_ops;
        m->log = log;
        doors[i] = &m->base;
    }
    return 0;
}
