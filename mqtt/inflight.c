/* The outbound window: a table of slots in which a packet identifier finds its slot by its low
 * bits, and through which a list runs in sending order.
 *
 *   slots   [ 0 ][ 1 ][ 2 ][ 3 ][ 4 ][ 5 ][ 6 ][ 7 ]     mask = 7
 *   id         .    9    2    .   12    .    .    .
 *   order            head: 2 -> 9 -> 12 :tail
 *
 * An identifier whose slot is taken is passed over, so that no two in use share a slot.  At three
 * quarters full the table doubles: a lap over the identifiers then meets at most three taken slots
 * for each free one.  Owned by the session; its shard's thread. */
#include "mqtt/inflight.h"

#include "base/mem.h"

enum { SLOTS_FIRST = 8, SLOTS_MAX = 65536, IDS_MAX = 65535 };

/* Last in order; the caller counts it.  `prev` of the first and `next` of the last mean nothing. */
static void link_last(struct inflight *w, struct inflight_entry *e)
{
    uint16_t slot = (uint16_t)(e - w->slots);
    if (w->count)
        w->slots[w->tail].next = slot;
    else
        w->head = slot;
    e->prev = w->tail;
    w->tail = slot;
}

static void unlink_entry(struct inflight *w, const struct inflight_entry *e)
{
    uint16_t slot = (uint16_t)(e - w->slots);
    if (slot == w->head)
        w->head = e->next;
    else
        w->slots[e->prev].next = e->next;
    if (slot == w->tail)
        w->tail = e->prev;
    else
        w->slots[e->next].prev = e->prev;
}

static bool grow(struct inflight *w)
{
    uint32_t size = w->slots ? (w->mask + 1) * 2 : SLOTS_FIRST;
    if (size > SLOTS_MAX) return false;
    struct inflight bigger = {.mask = size - 1, .next_id = w->next_id};
    bigger.slots = mem_calloc(size, sizeof *bigger.slots);
    if (bigger.slots == NULL) return false;
    for (const struct inflight_entry *e = inflight_first(w); e; e = inflight_next(w, e)) {
        struct inflight_entry *to = &bigger.slots[e->packet_id & bigger.mask];
        *to = *e;
        link_last(&bigger, to);
        bigger.count++;
    }
    mem_free(w->slots);
    *w = bigger;
    return true;
}

static bool is_crowded(const struct inflight *w)
{
    uint32_t size = w->mask + 1;
    return w->slots == NULL || (w->count >= size - size / 4 && size < SLOTS_MAX);
}

struct inflight_entry *inflight_add(struct inflight *w, enum inflight_state state)
{
    if (UNLIKELY(is_crowded(w)) && !grow(w)) return NULL;
    if (UNLIKELY(w->count == IDS_MAX)) return NULL;
    uint16_t id = w->next_id;
    while (id == 0 || w->slots[id & w->mask].state != INFLIGHT_FREE) id++;
    struct inflight_entry *e = &w->slots[id & w->mask];
    *e = (struct inflight_entry){.packet_id = id, .state = (uint8_t)state};
    link_last(w, e);
    w->count++;
    w->next_id = (uint16_t)(id + 1);
    return e;
}

struct inflight_entry *inflight_add_id(struct inflight *w, enum inflight_state state, uint16_t id)
{
    ASSERT(id != 0 && inflight_find(w, id) == NULL);
    while (is_crowded(w) || w->slots[id & w->mask].state != INFLIGHT_FREE)
        if (!grow(w)) return NULL;
    struct inflight_entry *e = &w->slots[id & w->mask];
    *e = (struct inflight_entry){.packet_id = id, .state = (uint8_t)state};
    link_last(w, e);
    w->count++;
    w->next_id = (uint16_t)(id + 1);
    return e;
}

void inflight_del(struct inflight *w, struct inflight_entry *e)
{
    ASSERT(e->state != INFLIGHT_FREE && w->count > 0);
    unlink_entry(w, e);
    e->state = INFLIGHT_FREE;
    e->body = NULL;
    w->count--;
}

void inflight_requeue(struct inflight *w, struct inflight_entry *e)
{
    ASSERT(e->state != INFLIGHT_FREE && w->count > 0);
    unlink_entry(w, e);
    w->count--;
    link_last(w, e);
    w->count++;
}

void inflight_trim(struct inflight *w)
{
    if (w->count == 0) inflight_fini(w);
}

void inflight_fini(struct inflight *w)
{
    mem_free(w->slots);
    *w = (struct inflight){.next_id = w->next_id}; /* identifiers go on, for late answers' sake */
}
