/* The memory engine.  A record lives as long as somebody refers to it, so a reference is simply the
 * counted blob itself: nothing beside the message is spent on being stored. */
#include "store/engine.h"

struct mem_store {
    _Alignas(MEM_LINE) struct store base;
    uint64_t last, step;
};

static int mem_append(struct store *st, struct bytes prefix, struct blob *body, uint64_t *seq)
{
    struct mem_store *m = CONTAINER_OF(st, struct mem_store, base);
    (void)prefix, (void)body;
    *seq = m->last += m->step;
    return 0;
}

/* Before the first append `last` is still below 1 (wrapped): nothing is safe yet. */
static uint64_t mem_poll(struct store *st)
{
    const struct mem_store *m = CONTAINER_OF(st, struct mem_store, base);
    return m->last > UINT64_MAX / 2 ? 0 : m->last;
}

static uint64_t mem_end(const struct store *st)
{
    return CONTAINER_OF(st, struct mem_store, base)->last + 1;
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

static void mem_close(struct store *st) { mem_free(CONTAINER_OF(st, struct mem_store, base)); }

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

int store_mem_open(struct store **out, unsigned shard, unsigned shards)
{
    ASSERT(shard < shards);
    struct mem_store *m = mem_calloc_aligned(1, sizeof *m);
    if (m == NULL) return E_NOMEM;
    m->base.ops = &mem_ops;
    m->step = shards;
    m->last = (uint64_t)shard + 1 - shards; /* wraps; the first append gives shard + 1 */
    *out = &m->base;
    return 0;
}
