/* Encoders of what a client sends: for bridges, tools and tests.  No state; any thread. */
#include "mqtt/packet.h"

static size_t text_size(struct bytes s) { return 2 + s.n; }
static uint8_t *put_text(uint8_t *d, struct bytes s)
{
    ASSERT(s.n <= UINT16_MAX);
    return put_mem(put_u16(d, (unsigned)s.n), s);
}

static size_t block_size(unsigned version, struct bytes props)
{
    return version == MQTT_V5 ? varint_size((uint32_t)props.n) + props.n : 0;
}

static uint8_t *put_block(uint8_t *d, unsigned version, struct bytes props)
{
    return version == MQTT_V5 ? put_mem(put_varint(d, (uint32_t)props.n), props) : d;
}

/* The whole packet from its body's length; 0 when that is too much. */
static size_t packet_size(size_t body)
{
    return body > MQTT_MAX_REMAINING ? 0 : 1 + varint_size((uint32_t)body) + body;
}

static struct bytes protocol_name(unsigned version)
{
    return bytes_str(version == MQTT_V31 ? "MQIsdp" : "MQTT");
}

static size_t connect_body(const struct mqtt_connect *c)
{
    size_t n = text_size(protocol_name(c->version)) + 4; /* level, flags, keep alive */
    n += block_size(c->version, c->props.raw) + text_size(c->client_id);
    if (c->has_will)
        n += block_size(c->version, c->will.props.raw) + text_size(c->will.topic) +
             text_size(c->will.payload);
    if (c->has_username) n += text_size(c->username);
    if (c->has_password) n += text_size(c->password);
    return n;
}

size_t mqtt_connect_size(const struct mqtt_connect *c) { return packet_size(connect_body(c)); }

static unsigned connect_flags(const struct mqtt_connect *c)
{
    unsigned will =
        c->has_will ? 4u | (unsigned)c->will.qos << 3 | (unsigned)c->will.retain << 5 : 0;
    return (unsigned)c->clean_start << 1 | will | (unsigned)c->has_password << 6 |
           (unsigned)c->has_username << 7;
}

uint8_t *mqtt_connect_encode(uint8_t *d, const struct mqtt_connect *c)
{
    d = put_varint(put_u8(d, MQTT_CONNECT << 4), (uint32_t)connect_body(c));
    d = put_text(d, protocol_name(c->version));
    d = put_u8(d, c->version | (unsigned)c->bridge << 7);
    d = put_u16(put_u8(d, connect_flags(c)), c->keep_alive_s);
    d = put_block(d, c->version, c->props.raw);
    d = put_text(d, c->client_id);
    if (c->has_will) {
        d = put_block(d, c->version, c->will.props.raw);
        d = put_text(put_text(d, c->will.topic), c->will.payload);
    }
    if (c->has_username) d = put_text(d, c->username);
    return c->has_password ? put_text(d, c->password) : d;
}

static size_t subscribe_body(unsigned version, const struct mqtt_subscription *subs, size_t count,
                             struct bytes props)
{
    size_t n = 2 + block_size(version, props);
    for (size_t i = 0; i < count; i++) n += text_size(subs[i].filter) + 1;
    return n;
}

size_t mqtt_subscribe_size(unsigned version, const struct mqtt_subscription *subs, size_t count,
                           struct bytes props)
{
    return packet_size(subscribe_body(version, subs, count, props));
}

uint8_t *mqtt_subscribe_encode(uint8_t *d, unsigned version, uint16_t packet_id,
                               const struct mqtt_subscription *subs, size_t count,
                               struct bytes props)
{
    d = put_u8(d, MQTT_SUBSCRIBE << 4 | 2); /* [MQTT-3.8.1-1] */
    d = put_varint(d, (uint32_t)subscribe_body(version, subs, count, props));
    d = put_block(put_u16(d, packet_id), version, props);
    for (size_t i = 0; i < count; i++) {
        const struct mqtt_subscription *s = &subs[i];
        unsigned options = version == MQTT_V5 ? (unsigned)s->no_local << 2 |
                                                    (unsigned)s->retain_as_published << 3 |
                                                    (unsigned)s->retain_handling << 4
                                              : 0;
        d = put_u8(put_text(d, s->filter), s->qos | options);
    }
    return d;
}

static size_t unsubscribe_body(unsigned version, const struct bytes *filters, size_t count,
                               struct bytes props)
{
    size_t n = 2 + block_size(version, props);
    for (size_t i = 0; i < count; i++) n += text_size(filters[i]);
    return n;
}

size_t mqtt_unsubscribe_size(unsigned version, const struct bytes *filters, size_t count,
                             struct bytes props)
{
    return packet_size(unsubscribe_body(version, filters, count, props));
}

uint8_t *mqtt_unsubscribe_encode(uint8_t *d, unsigned version, uint16_t packet_id,
                                 const struct bytes *filters, size_t count, struct bytes props)
{
    d = put_u8(d, MQTT_UNSUBSCRIBE << 4 | 2); /* [MQTT-3.10.1-1] */
    d = put_varint(d, (uint32_t)unsubscribe_body(version, filters, count, props));
    d = put_block(put_u16(d, packet_id), version, props);
    for (size_t i = 0; i < count; i++) d = put_text(d, filters[i]);
    return d;
}
