/* A message that somebody keeps: the one form it has in queues, in the retained set, in mail and in
 * the store.  It is the content of a blob and never changes once made. */
#ifndef CORE_MSG_H
#define CORE_MSG_H

#include "base/blob.h"
#include "mqtt/mqtt.h"

struct msg {
    uint64_t seq;             /* store sequence, 0 = not in the store */
    uint64_t created_ms : 47; /* wall clock */
    uint64_t has_control : 1; /* a trailer has the properties that control.h is about */
    uint64_t topic_len : 16;
    uint32_t expiry_s; /* Message Expiry Interval as published; MQTT_NO_EXPIRY */
    uint32_t props_len : 28;
    uint32_t qos : 2; /* the publisher's */
    uint32_t retain : 1;
    uint32_t has_from : 1; /* a trailer behind it says who published it */
    uint8_t bytes[];       /* topic, forwardable properties (encoded), payload, trailers */
};
enum { MSG_PROPS_MAX = (1 << 28) - 1 };
_Static_assert(sizeof(struct msg) == 24, "a queued message may cost 64 bytes beside itself");

static inline struct msg *msg_of(const struct blob *b) { return (struct msg *)(uintptr_t)b->data; }

static inline struct bytes msg_topic(const struct blob *b)
{
    return bytes_of(msg_of(b)->bytes, msg_of(b)->topic_len);
}

static inline struct bytes msg_props(const struct blob *b)
{
    return bytes_of(msg_of(b)->bytes + msg_of(b)->topic_len, msg_of(b)->props_len);
}

/* The trailer: client identifier, user name, then the length of each (u16).  No trailer: the broker
 * itself. */
enum { MSG_FROM_FIXED = 4 };
struct msg_from {
    struct bytes client_id, username; /* no user name: p is NULL */
};

static inline size_t msg_from_size(const struct msg_from *f)
{
    return f->client_id.n ? f->client_id.n + f->username.n + MSG_FROM_FIXED : 0;
}

static inline uint8_t *msg_put_from(uint8_t *d, const struct msg_from *f)
{
    if (f->client_id.n == 0) return d;
    uint16_t lens[2] = {(uint16_t)f->client_id.n, (uint16_t)f->username.n};
    return put_mem(put_mem(put_mem(d, f->client_id), f->username), bytes_of(lens, sizeof lens));
}

/* Cuts the trailer off what ends in one. */
static inline void msg_cut_from(struct bytes *all, struct msg_from *out)
{
    uint16_t lens[2];
    ASSERT(all->n >= MSG_FROM_FIXED);
    memcpy(lens, all->p + all->n - sizeof lens, sizeof lens);
    size_t size = (size_t)lens[0] + lens[1] + MSG_FROM_FIXED;
    ASSERT(size <= all->n);
    all->n -= size;
    out->client_id = bytes_of(all->p + all->n, lens[0]);
    out->username = lens[1] ? bytes_of(all->p + all->n + lens[0], lens[1]) : (struct bytes){0};
}

/* The other trailer: properties of the publisher that are not forwarded, then their length (u32).
 */
enum { MSG_CONTROL_FIXED = 4 };

static inline size_t msg_control_size(struct bytes control)
{
    return control.n ? control.n + MSG_CONTROL_FIXED : 0;
}

static inline uint8_t *msg_put_control(uint8_t *d, struct bytes control)
{
    uint32_t n = (uint32_t)control.n;
    return n ? put_mem(put_mem(d, control), bytes_of(&n, sizeof n)) : d;
}

static inline struct bytes msg_cut_control(struct bytes *all)
{
    uint32_t n;
    ASSERT(all->n >= sizeof n);
    memcpy(&n, all->p + all->n - sizeof n, sizeof n);
    ASSERT(n <= all->n - sizeof n);
    all->n -= n + sizeof n;
    return bytes_of(all->p + all->n, n);
}

/* Cuts the trailers that m says there are off what ends in them. */
static inline void msg_cut(const struct msg *m, struct bytes *all, struct msg_from *from,
                           struct bytes *control)
{
    if (m->has_from) msg_cut_from(all, from);
    if (m->has_control) *control = msg_cut_control(all);
}

static inline struct bytes msg_payload(const struct blob *b)
{
    size_t before = (size_t)msg_of(b)->topic_len + msg_of(b)->props_len;
    struct bytes rest = bytes_of(msg_of(b)->bytes + before, b->size - sizeof(struct msg) - before);
    struct msg_from from;
    struct bytes control;
    msg_cut(msg_of(b), &rest, &from, &control);
    return rest;
}

static inline struct bytes msg_control(const struct blob *b)
{
    struct bytes all = bytes_of(b->data, b->size), control = {0};
    struct msg_from from;
    if (msg_of(b)->has_control) msg_cut(msg_of(b), &all, &from, &control);
    return control;
}

/* Who published it; empty without a trailer. */
static inline struct msg_from msg_publisher(const struct blob *b)
{
    struct bytes all = bytes_of(b->data, b->size);
    struct msg_from from = {0};
    if (msg_of(b)->has_from) msg_cut_from(&all, &from);
    return from;
}

#endif
