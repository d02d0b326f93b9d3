/* Doubling byte FIFO. */
#include "base/buf.h"

#include "base/err.h"
#include "base/mem.h"

enum { BUF_MIN = 512 };

uint8_t *buf_grow(struct buf *b, uint32_t n)
{
    uint32_t len = buf_len(b);
    if (b->data && b->head > 0 && b->cap - len >= n && b->head >= b->cap / 2) {
        memmove(b->data, b->data + b->head, len);
    } else {
        uint64_t cap = b->cap ? b->cap : BUF_MIN;
        while (cap - len < n) cap *= 2;
        if (cap > UINT32_MAX) return NULL;
        uint8_t *data = mem_alloc(cap);
        if (data == NULL) return NULL;
        if (len) memcpy(data, b->data + b->head, len);
        mem_free(b->data);
        b->data = data;
        b->cap = (uint32_t)cap;
    }
    b->head = 0;
    b->tail = len;
    return b->data + b->tail;
}

int buf_append(struct buf *b, struct bytes in)
{
    if (in.n > UINT32_MAX / 2) return E_NOMEM;
    if (in.n == 0) return 0;
    uint8_t *d = buf_reserve(b, (uint32_t)in.n);
    if (d == NULL) return E_NOMEM;
    memcpy(d, in.p, in.n);
    buf_commit(b, (uint32_t)in.n);
    return 0;
}

void buf_consume(struct buf *b, uint32_t n)
{
    ASSERT(n <= buf_len(b));
    b->head += n;
    if (b->head == b->tail) b->head = b->tail = 0;
}

void buf_fini(struct buf *b)
{
    mem_free(b->data);
    *b = (struct buf){0};
}
