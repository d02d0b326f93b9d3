/* Chunked FIFO of outq.h.  The shard's thread. */
#include "core/outq.h"

#include "base/mem.h"

enum { CHUNK_FIRST = 2, CHUNK_MOST = 254 };

struct outq_chunk {
    struct outq_chunk *next;
    uint16_t cap, head, tail;
    struct outq_item items[];
};

static struct outq_chunk *chunk_new(uint32_t cap)
{
    struct outq_chunk *c = mem_alloc(sizeof *c + cap * sizeof c->items[0]);
    if (c) *c = (struct outq_chunk){.cap = (uint16_t)cap};
    return c;
}

int outq_push(struct outq *q, struct outq_item item)
{
    if (q->tail == NULL || q->tail->tail == q->tail->cap) {
        uint32_t cap = q->tail ? (uint32_t)min_u64(q->tail->cap * 2u + 2, CHUNK_MOST) : CHUNK_FIRST;
        struct outq_chunk *c = chunk_new(cap);
        if (c == NULL) return E_NOMEM;
        if (q->tail)
            q->tail->next = c;
        else
            q->head = c;
        q->tail = c;
    }
    q->tail->items[q->tail->tail++] = item;
    q->count++;
    q->qos0_count += item.qos == 0;
    q->bytes += item.size;
    return 0;
}

struct outq_item *outq_peek(struct outq *q)
{
    return q->count ? &q->head->items[q->head->head] : NULL;
}

void outq_pop(struct outq *q)
{
    ASSERT(q->count > 0);
    struct outq_chunk *c = q->head;
    q->bytes -= c->items[c->head].size;
    q->qos0_count -= c->items[c->head].qos == 0;
    c->head++;
    q->count--;
    if (c->head < c->tail) return;
    if (c->next == NULL) { /* the last chunk stays: a busy queue empties often */
        c->head = c->tail = 0;
        return;
    }
    q->head = c->next;
    mem_free(c);
}

void outq_trim(struct outq *q)
{
    if (q->count > 0) return;
    mem_free(q->head);
    q->head = q->tail = NULL;
}
