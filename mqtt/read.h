/* Inside the room only: the reads of MQTT's data types (5.0 section 1.5) that base/bytes.h does not
 * have, and the property parser that packets share.  No state; any thread. */
#ifndef MQTT_READ_H
#define MQTT_READ_H

#include "mqtt/packet.h"

static inline struct bytes rd_binary(struct rd *r) { return rd_take(r, rd_u16(r)); } /* 1.5.6 */

/* A UTF-8 Encoded String (1.5.4); ill-formed text or U+0000 makes the reader go bad
 * [MQTT-1.5.4-1], [MQTT-1.5.4-2]. */
static inline struct bytes rd_utf8(struct rd *r)
{
    struct bytes s = rd_binary(r);
    if (UNLIKELY(!bytes_is_utf8(s))) r->bad = true;
    return s;
}

static inline void props_none(struct mqtt_props *p)
{
    p->present = 0;
    p->user_count = 0;
    p->raw = (struct bytes){0};
}

/* Parses a whole block without its length; as mqtt_props_read() otherwise. */
MUST_USE int props_parse(struct bytes block, unsigned where, struct mqtt_props *out);

/* 3.3.2.3.5: a response topic is a topic name [MQTT-3.3.2-14]. */
bool props_response_topic_ok(const struct mqtt_props *p);

/* Whether the standard's table lists this reason code for this packet type of version 5. */
bool reason_allowed(unsigned type, uint8_t reason);

/* 0 when everything was read and nothing is left, else E_MALFORMED. */
MUST_USE static inline int rd_done(const struct rd *r)
{
    return rd_ok(r) && r->p == r->end ? 0 : E_MALFORMED;
}

#endif
