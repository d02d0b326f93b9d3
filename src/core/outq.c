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

bool outq_take(struct outq *q, uint64_t ref, struct outq_item *out)
{
    struct outq_chunk **link = &q->head, *before = NULL;
    for (struct outq_chunk *c; (c = *link) != NULL; before = c, link = &c->next) {
        uint16_t i = c->head;
        while (i < c->tail && c->items[i].ref != ref) i++;
        if (i == c->tail) continue;
        *out = c->items[i];
        if (i == c->head && c == q->head) {
            outq_pop(q);
            return true;
        }
        memmove(&c->items[i], &c->items[i + 1], (size_t)(c->tail - i - 1) * sizeof c->items[0]);
        c->tail--;
        q->count--;
        q->qos0_count -= out->qos == 0;
        q->bytes -= out->size;
        if (c->head < c->tail || before == NULL) return true;
        *link = c->next;
        if (q->tail == c) q->tail = before;
        mem_free(c);
        return true;
    }
    return false;
}

void outq_walk_from(struct outq_walk *w, const struct outq *q, uint32_t at)
{
    struct outq_chunk *c = q->head;
    while (c && c->next && at >= (uint32_t)(c->tail - c->head)) {
        at -= (uint32_t)(c->tail - c->head);
        c = c->next;
    }
    *w = (struct outq_walk){c, c ? c->head + at : 0};
}

struct outq_item *outq_walk_next(struct outq_walk *w)
{
    if (w->chunk && w->index >= w->chunk->tail && w->chunk->next) {
        w->chunk = w->chunk->next;
        w->index = w->chunk->head;
    }
    if (w->chunk == NULL || w->index >= w->chunk->tail) return NULL;
    return &w->chunk->items[w->index++];
}

void outq_append(struct outq *q, struct outq *more)
{
    if (more->head == NULL) return;
    if (q->count == 0) outq_trim(q);
    if (q->tail)
        q->tail->next = more->head;
    else
        q->head = more->head;
    q->tail = more->tail;
    q->count += more->count;
    q->qos0_count += more->qos0_count;
    q->bytes += more->bytes;
    *more = (struct outq){0};
}

void outq_trim(struct outq *q)
{
    if (q->count > 0) return;
    mem_free(q->head);
    q->head = q->tail = NULL;
}
