/* Encoders of what a server sends.  They write to memory that the caller has sized and return the
 * position after the packet.  No state; any thread. */
#include "mqtt/packet.h"

static uint32_t publish_props_length(const struct mqtt_publish_out *p)
{
    size_t n = p->props.n;
    if (p->expiry_s != MQTT_NO_EXPIRY) n += 5;
    if (p->alias) n += 3;
    for (uint32_t i = 0; i < p->subid_count; i++) n += 1 + varint_size(p->subids[i]);
    return n > MQTT_MAX_REMAINING ? MQTT_MAX_REMAINING + 1u : (uint32_t)n;
}

/* What follows the fixed header; *props: of it, the properties. */
static size_t publish_body_length(unsigned version, const struct mqtt_publish_out *p,
                                  uint32_t *props)
{
    size_t n = 2 + p->topic.n + (p->qos ? 2 : 0) + p->payload.n;
    *props = 0;
    if (version != MQTT_V5) return n;
    *props = publish_props_length(p);
    return n + varint_size(*props) + *props;
}

size_t mqtt_publish_size(unsigned version, const struct mqtt_publish_out *p)
{
    uint32_t props;
    size_t body = publish_body_length(version, p, &props);
    if (UNLIKELY(body > MQTT_MAX_REMAINING)) return 0;
    return 1 + varint_size((uint32_t)body) + body;
}

uint8_t *mqtt_publish_encode(uint8_t *d, unsigned version, const struct mqtt_publish_out *p)
{
    uint32_t props;
    size_t body = publish_body_length(version, p, &props);
    ASSERT(body <= MQTT_MAX_REMAINING && p->topic.n <= UINT16_MAX);
    d = put_u8(d, MQTT_PUBLISH << 4 | (unsigned)p->dup << 3 | (unsigned)p->qos << 1 | p->retain);
    d = put_varint(d, (uint32_t)body);
    d = put_mem(put_u16(d, (unsigned)p->topic.n), p->topic);
    if (p->qos) d = put_u16(d, p->packet_id);
    if (version == MQTT_V5) {
        d = put_varint(d, props);
        if (p->expiry_s != MQTT_NO_EXPIRY)
            d = mqtt_put_prop_u32(d, MQTT_P_MESSAGE_EXPIRY, p->expiry_s);
        if (p->alias) d = mqtt_put_prop_u16(d, MQTT_P_TOPIC_ALIAS, p->alias);
        for (uint32_t i = 0; i < p->subid_count; i++)
            d = mqtt_put_prop_varint(d, MQTT_P_SUBSCRIPTION_ID, p->subids[i]);
        d = put_mem(d, p->props);
    }
    return put_mem(d, p->payload);
}

static uint8_t *put_block(uint8_t *d, struct bytes props)
{
    return put_mem(put_varint(d, (uint32_t)props.n), props);
}

static size_t block_size(struct bytes props) { return varint_size((uint32_t)props.n) + props.n; }

uint8_t *mqtt_ack_encode(uint8_t *d, unsigned version, unsigned type, uint16_t packet_id,
                         uint8_t reason, struct bytes reason_string, struct bytes props)
{
    size_t text = reason_string.n ? 3 + reason_string.n : 0;
    size_t block = text + props.n, body = 2;
    bool with_props = version == MQTT_V5 && block;
    bool with_reason = version == MQTT_V5 && (reason || block);
    if (with_reason) body++;
    if (with_props) body += varint_size((uint32_t)block) + block;
    d = put_u8(d, type << 4 | (type == MQTT_PUBREL ? 2 : 0)); /* [MQTT-3.6.1-1] */
    d = put_u16(put_varint(d, (uint32_t)body), packet_id);
    if (with_reason) d = put_u8(d, reason);
    if (!with_props) return d;
    d = put_varint(d, (uint32_t)block);
    if (text) d = mqtt_put_prop_bytes(d, MQTT_P_REASON_STRING, reason_string);
    return put_mem(d, props);
}

uint8_t *mqtt_connack_encode(uint8_t *d, unsigned version, bool session_present, uint8_t reason,
                             struct bytes props)
{
    bool present = session_present && reason == 0; /* [MQTT-3.2.2-6] */
    d = put_u8(d, MQTT_CONNACK << 4);
    d = put_varint(d, (uint32_t)(2 + (version == MQTT_V5 ? block_size(props) : 0)));
    d = put_u8(put_u8(d, present), reason);
    return version == MQTT_V5 ? put_block(d, props) : d;
}

uint8_t *mqtt_suback_encode(uint8_t *d, unsigned version, unsigned type, uint16_t packet_id,
                            struct bytes reasons, struct bytes props)
{
    bool v5 = version == MQTT_V5;
    if (!v5 && type == MQTT_UNSUBACK) reasons.n = 0; /* 3.1.1 section 3.11.3 */
    d = put_u8(d, type << 4);
    d = put_varint(d, (uint32_t)(2 + (v5 ? block_size(props) : 0) + reasons.n));
    d = put_u16(d, packet_id);
    if (v5) d = put_block(d, props);
    return put_mem(d, reasons);
}

uint8_t *mqtt_ping_encode(uint8_t *d, unsigned type) { return put_u8(put_u8(d, type << 4), 0); }

uint8_t *mqtt_disconnect_encode(uint8_t *d, unsigned version, unsigned type, uint8_t reason,
                                struct bytes props)
{
    d = put_u8(d, type << 4);
    if (version != MQTT_V5 || (reason == 0 && props.n == 0)) return put_u8(d, 0);
    d = put_varint(d, (uint32_t)(1 + block_size(props)));
    return put_block(put_u8(d, reason), props);
}
