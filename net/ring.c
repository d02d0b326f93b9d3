/* Single-producer single-consumer ring; see ring.h.  Stores are seq_cst, because they also take
 * part in the sleeping-flag protocol of net/loop.c: push, then look whether the other sleeps. */
#include "net/ring.h"

void ring_init(struct ring *r) { memset(r, 0, sizeof *r); }

void ring_fini(struct ring *r)
{
    struct buf b;
    while (ring_pop(r, &b)) buf_fini(&b);
}

bool ring_full(const struct ring *r)
{
    /* relaxed: our own index; acquire: pairs with the store in ring_pop */
    uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    return tail - atomic_load_explicit(&r->head, memory_order_acquire) == RING_SLOTS;
}

bool ring_empty(const struct ring *r)
{
    /* seq_cst: pairs with the store in ring_push, after loop_sleep_begin() */
    return atomic_load(&r->tail) == atomic_load_explicit(&r->head, memory_order_relaxed);
}

uint32_t ring_count(const struct ring *r)
{
    /* acquire: pairs with the store in ring_push; relaxed: our own index */
    return atomic_load_explicit(&r->tail, memory_order_acquire) -
           atomic_load_explicit(&r->head, memory_order_relaxed);
}

bool ring_push(struct ring *r, struct buf *b)
{
    if (ring_full(r)) return false;
    uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed); /* our own index */
    r->slots[tail % RING_SLOTS] = *b;
    *b = (struct buf){0};
    atomic_store(&r->tail, tail + 1); /* pairs with the load in ring_empty */
    return true;
}

bool ring_pop(struct ring *r, struct buf *out)
{
    uint32_t head = atomic_load_explicit(&r->head, memory_order_relaxed); /* our own index */
    /* acquire: pairs with the store in ring_push */
    if (atomic_load_explicit(&r->tail, memory_order_acquire) == head) return false;
    *out = r->slots[head % RING_SLOTS];
    atomic_store_explicit(&r->head, head + 1, memory_order_release); /* pairs with ring_full */
    return true;
}
