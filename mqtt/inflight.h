/* Outbound window of QoS 1 and 2 (4.3, 4.4, 4.9): packet identifiers in use, what each carries, and
 * the order in which they were sent, for resending [MQTT-4.6.0-1].  Memory grows with the number in
 * flight and is given back by inflight_trim(). */
#ifndef MQTT_INFLIGHT_H
#define MQTT_INFLIGHT_H

#include "base/blob.h"
#include "mqtt/mqtt.h"

enum inflight_state {
    INFLIGHT_FREE,
    INFLIGHT_WAIT_PUBACK,  /* QoS 1, PUBLISH sent */
    INFLIGHT_WAIT_PUBREC,  /* QoS 2, PUBLISH sent */
    INFLIGHT_WAIT_PUBCOMP, /* QoS 2, PUBREL sent (body given back) */
};

struct inflight_entry {
    void *body;       /* the caller's reference; NULL after PUBREC */
    uint64_t sent_ms; /* of the last sending; the caller's clock */
    uint32_t subid;   /* opaque, the caller's */
    uint32_t tag;     /* opaque, the caller's */
    uint16_t packet_id;
    uint16_t prev, next; /* slots in sending order */
    uint8_t state;       /* enum inflight_state */
    uint8_t tries;
    uint8_t flags; /* opaque, the caller's */
};

struct inflight {
    struct inflight_entry *slots; /* NULL until first used; packet id -> slot id & mask */
    uint32_t mask;
    uint32_t count;
    uint16_t next_id;
    uint16_t head, tail; /* oldest and newest slot; meaningless when count == 0 */
};

/* A free packet identifier (never 0 [MQTT-2.2.1-3], never one in use [MQTT-2.2.1-4]) with its
 * entry, last in order, state set, the rest zero.  NULL: out of memory or all 65535 in use.
 * Entries move when the table grows: pointers to them are valid until the next call of this. */
MUST_USE struct inflight_entry *inflight_add(struct inflight *w, enum inflight_state state);
/* The same with an identifier that is known and not in use: a session comes back from the store. */
MUST_USE struct inflight_entry *inflight_add_id(struct inflight *w, enum inflight_state state,
                                                uint16_t packet_id);
/* NULL when that identifier is not in use. */
static inline struct inflight_entry *inflight_find(const struct inflight *w, uint16_t packet_id)
{
    if (UNLIKELY(w->count == 0)) return NULL;
    struct inflight_entry *e = &w->slots[packet_id & w->mask];
    return e->packet_id == packet_id && e->state != INFLIGHT_FREE ? e : NULL;
}
void inflight_del(struct inflight *w, struct inflight_entry *e);
/* In sending order: the first, and the one after e; NULL at the end. */
static inline struct inflight_entry *inflight_first(const struct inflight *w)
{
    return w->count ? &w->slots[w->head] : NULL;
}
static inline struct inflight_entry *inflight_next(const struct inflight *w,
                                                   const struct inflight_entry *e)
{
    return e == &w->slots[w->tail] ? NULL : &w->slots[e->next];
}
/* Puts e last in order (it was sent anew). */
void inflight_requeue(struct inflight *w, struct inflight_entry *e);
void inflight_trim(struct inflight *w); /* frees the memory when count is 0 */
void inflight_fini(struct inflight *w); /* the caller has released the bodies */

#endif
