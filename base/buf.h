/* Growable FIFO of bytes: written at the tail, consumed at the head.  Empty buffers own no memory,
 * so that an idle connection costs nothing. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/bytes.h"

struct buf {
    uint8_t *data;
    uint32_t head, tail, cap;
};

static inline uint32_t buf_len(const struct buf *b) { return b->tail - b->head; }
static inline struct bytes buf_view(const struct buf *b)
{
    return bytes_of(b->data + b->head, buf_len(b));
}

/* Room for n more bytes at the tail: a pointer to write to, to be followed by buf_commit().
 * NULL without memory (nothing has changed). */
MUST_USE uint8_t *buf_grow(struct buf *b, uint32_t n);

static inline uint8_t *buf_reserve(struct buf *b, uint32_t n)
{
    if (LIKELY(b->cap - b->tail >= n && b->data)) return b->data + b->tail;
    return buf_grow(b, n);
}

static inline void buf_commit(struct buf *b, uint32_t n) { b->tail += n; }

MUST_USE int buf_append(struct buf *b, struct bytes in); /* 0 or E_NOMEM */
void buf_consume(struct buf *b, uint32_t n);             /* n <= buf_len() */
void buf_fini(struct buf *b);                            /* frees; empty again */

/* Gives the memory back when the buffer is empty; cheap to call once a turn. */
static inline void buf_trim(struct buf *b)
{
    if (b->head == b->tail && b->data) buf_fini(b);
}

#endif
