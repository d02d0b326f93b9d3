/* Bounded single-producer single-consumer ring of mail batches.  A lane is two of them: full
 * batches one way, emptied buffers back.  Whoever pushes owns the buffer until it is pushed. */
#ifndef NET_RING_H
#define NET_RING_H

#include "base/buf.h"
#include <stdatomic.h>

enum { RING_SLOTS = 64 };

struct ring {
    _Alignas(64) _Atomic uint32_t tail; /* next to write; release: pairs with acquire in ring_pop */
    _Alignas(64) _Atomic uint32_t head; /* next to read; release: pairs with acquire in ring_push */
    struct buf slots[RING_SLOTS];
};

struct ring_lane {
    struct ring full, empty;
    /* Bytes in `full`: the sender adds, the receiver takes off.  seq_cst, as the sender looks again
     * after loop_sleep_begin(). */
    _Alignas(64) _Atomic size_t bytes;
    _Atomic bool stalled; /* the sender waits for room; the receiver clears it, then wakes */
};

void ring_init(struct ring *r);
void ring_fini(struct ring *r); /* frees what is still inside; no other thread */
MUST_USE bool ring_push(struct ring *r,
                        struct buf *b); /* takes *b; false when full, nothing changed */
MUST_USE bool ring_pop(struct ring *r, struct buf *out);
bool ring_full(const struct ring *r);      /* the producer's view */
bool ring_empty(const struct ring *r);     /* the consumer's view */
uint32_t ring_count(const struct ring *r); /* the consumer's view: at least so many are inside */

#endif
