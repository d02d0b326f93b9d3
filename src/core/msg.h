/* A message that somebody keeps: the one form it has in queues, in the retained set, in mail and in
 * the store.  It is the content of a blob and never changes once made. */
#ifndef CORE_MSG_H
#define CORE_MSG_H

#include "base/blob.h"
#include "mqtt/mqtt.h"

struct msg {
    uint64_t seq;             /* store sequence, 0 = not in the store */
    uint64_t created_ms : 48; /* wall clock */
    uint64_t topic_len : 16;
    uint32_t expiry_s; /* Message Expiry Interval as published; MQTT_NO_EXPIRY */
    uint32_t props_len : 28;
    uint32_t qos : 2; /* the publisher's */
    uint32_t retain : 1;
    uint8_t bytes[]; /* topic, forwardable properties (encoded), payload */
};
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

static inline struct bytes msg_payload(const struct blob *b)
{
    size_t before = (size_t)msg_of(b)->topic_len + msg_of(b)->props_len;
    return bytes_of(msg_of(b)->bytes + before, b->size - sizeof(struct msg) - before);
}

#endif
