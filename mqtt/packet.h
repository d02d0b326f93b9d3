/* Packets as views: decoding copies nothing, every struct bytes points into the packet that was
 * given and lives as long as it.  `body` is what follows the fixed header.  Decoders return 0 or a
 * wire error of err.h (E_MALFORMED, E_PROTOCOL, E_TOPIC_NAME, ...); on an error *out is undefined.
 * Encoders write to memory the caller has sized and return the position after the packet. */
#ifndef MQTT_PACKET_H
#define MQTT_PACKET_H

#include "mqtt/frame.h"
#include "mqtt/props.h"

struct mqtt_will {
    struct bytes topic, payload;
    struct mqtt_props props; /* v5 */
    uint8_t qos;
    bool retain;
};

struct mqtt_connect { /* 3.1 */
    uint8_t version;  /* enum mqtt_version */
    bool bridge;      /* bit 7 of the protocol level, as mosquitto's bridges set it */
    bool clean_start, has_will, has_username, has_password;
    uint16_t keep_alive_s;
    struct bytes client_id, username, password;
    struct mqtt_will will;
    struct mqtt_props props; /* v5 */
};
/* E_VERSION: a protocol name or level we do not speak (out->version then holds 5 when the client
 * claims a level above 5, else 4, so that the refusal can be encoded).  Checks the reserved flag
 * [MQTT-3.1.2-3], will flags [MQTT-3.1.2-11..-13], password without user name for 3.x
 * [MQTT-3.1.2-22 of 3.1.1], UTF-8 and topic syntax of the will, trailing bytes. */
MUST_USE int mqtt_connect_decode(struct bytes body, struct mqtt_connect *out);

struct mqtt_publish { /* 3.3 */
    struct bytes topic, payload;
    struct bytes props; /* raw block, empty before v5; not yet looked into */
    uint16_t packet_id; /* 0 at QoS 0 */
    uint8_t qos;
    bool retain, dup;
};
/* Cuts a PUBLISH apart without looking at the topic's characters or into the properties; that is
 * for mqtt_topic_name_ok() and mqtt_publish_props(), which a receiver may skip for what it has seen
 * before.  QoS 3 [MQTT-3.3.1-4], DUP at QoS 0 [MQTT-3.3.1-2], packet id 0 [MQTT-2.2.1-3] are
 * E_MALFORMED or E_PROTOCOL as the standard says. */
MUST_USE static inline int mqtt_publish_decode(unsigned version, unsigned flags, struct bytes body,
                                               struct mqtt_publish *out)
{
    unsigned qos = flags >> 1 & 3, dup = flags >> 3 & 1;
    if (UNLIKELY(qos == 3 || dup > qos)) return E_MALFORMED; /* [MQTT-3.3.1-4], [MQTT-3.3.1-2] */
    struct rd r = rd_of(body);
    out->topic = rd_take(&r, rd_u16(&r));
    out->packet_id = qos ? rd_u16(&r) : 0; /* [MQTT-2.2.1-2] */
    out->props = (struct bytes){0};
    if (version == MQTT_V5) {
        uint32_t length = rd_left(&r) && *r.p < 128 ? *r.p++ : rd_varint(&r);
        out->props = rd_take(&r, length);
    }
    if (UNLIKELY(!rd_ok(&r))) return E_MALFORMED;
    if (UNLIKELY(qos && out->packet_id == 0)) return E_PROTOCOL; /* [MQTT-2.2.1-3] */
    out->payload = bytes_of(r.p, (size_t)(r.end - r.p));
    out->qos = (uint8_t)qos;
    out->retain = flags & 1;
    out->dup = dup;
    return 0;
}
/* Decodes pub->props for a packet from a client (a subscription identifier is E_PROTOCOL
 * [MQTT-3.3.4-6]; a response topic with wildcards is E_PROTOCOL [MQTT-3.3.2-14]). */
MUST_USE int mqtt_publish_props(const struct mqtt_publish *pub, struct mqtt_props *out);

struct mqtt_ack { /* PUBACK PUBREC PUBREL PUBCOMP, 3.4 - 3.7 */
    uint16_t packet_id;
    uint8_t reason;
    struct mqtt_props props; /* present == 0 when there are none */
};
MUST_USE int mqtt_ack_decode(unsigned version, unsigned type, struct bytes body,
                             struct mqtt_ack *out);

struct mqtt_subscription { /* one entry of SUBSCRIBE, 3.8.3 */
    struct bytes filter;
    uint8_t qos;
    bool no_local, retain_as_published;
    uint8_t retain_handling; /* 0 1 2 */
};
struct mqtt_subscribe { /* also UNSUBSCRIBE: then only filters are set */
    uint16_t packet_id;
    struct mqtt_props props;
    struct bytes entries; /* for mqtt_subscribe_next(); at least one, all well formed */
    uint32_t count;
};
/* Validates every entry's encoding (UTF-8, options byte, reserved bits [MQTT-3.8.3-5], at least one
 * entry [MQTT-3.8.3-2]); topic filter syntax is for mqtt_topic_filter_ok(), as a bad filter is
 * answered in SUBACK. */
MUST_USE int mqtt_subscribe_decode(unsigned version, struct bytes body, struct mqtt_subscribe *out);
MUST_USE int mqtt_unsubscribe_decode(unsigned version, struct bytes body,
                                     struct mqtt_subscribe *out);
/* Takes the next entry off sub->entries; false when there is none left. */
bool mqtt_subscribe_next(unsigned version, struct mqtt_subscribe *sub,
                         struct mqtt_subscription *out);
bool mqtt_unsubscribe_next(struct mqtt_subscribe *sub, struct bytes *filter);

struct mqtt_disconnect { /* DISCONNECT 3.14 and AUTH 3.15 */
    uint8_t reason;
    struct mqtt_props props;
};
MUST_USE int mqtt_disconnect_decode(unsigned version, struct bytes body,
                                    struct mqtt_disconnect *out);
MUST_USE int mqtt_auth_decode(struct bytes body, struct mqtt_disconnect *out);

/* What a client receives; for tests, tools and bridges. */
struct mqtt_connack {
    bool session_present;
    uint8_t reason; /* 3.x: return code */
    struct mqtt_props props;
};
MUST_USE int mqtt_connack_decode(unsigned version, struct bytes body, struct mqtt_connack *out);
struct mqtt_suback { /* also UNSUBACK */
    uint16_t packet_id;
    struct mqtt_props props;
    struct bytes reasons; /* a byte an entry; empty in an UNSUBACK of 3.x */
};
MUST_USE int mqtt_suback_decode(unsigned version, struct bytes body, struct mqtt_suback *out);
MUST_USE int mqtt_unsuback_decode(unsigned version, struct bytes body, struct mqtt_suback *out);
/* As mqtt_publish_props(), for a packet from a server: subscription identifiers are allowed. */
MUST_USE int mqtt_publish_props_from_server(const struct mqtt_publish *pub, struct mqtt_props *out);

/* ---- encoding ---- */

struct mqtt_publish_out {
    struct bytes topic; /* empty with an alias that is known to the peer */
    struct bytes props; /* forwardable properties, encoded, without their length (v5) */
    struct bytes payload;
    const uint32_t *subids;
    uint32_t subid_count;
    uint32_t expiry_s;         /* MQTT_NO_EXPIRY: none */
    uint16_t packet_id, alias; /* 0: none */
    uint8_t qos;
    bool retain, dup;
};
/* Bytes of the whole packet; 0 when it would exceed MQTT_MAX_REMAINING. */
size_t mqtt_publish_size(unsigned version, const struct mqtt_publish_out *p);
uint8_t *mqtt_publish_encode(uint8_t *d, unsigned version, const struct mqtt_publish_out *p);

/* A reason string and user properties are left out when empty; the caller honours Request Problem
 * Information [MQTT-3.1.2-29] and the client's Maximum Packet Size [MQTT-3.1.2-25]. */
enum { MQTT_ACK_MAX = 16 }; /* bytes of an ack, beside reason string and props */
uint8_t *mqtt_ack_encode(uint8_t *d, unsigned version, unsigned type, uint16_t packet_id,
                         uint8_t reason, struct bytes reason_string, struct bytes props);

/* props: an encoded block without its length (v5). */
uint8_t *mqtt_connack_encode(uint8_t *d, unsigned version, bool session_present, uint8_t reason,
                             struct bytes props);
uint8_t *mqtt_suback_encode(uint8_t *d, unsigned version, unsigned type /* SUBACK or UNSUBACK */,
                            uint16_t packet_id, struct bytes reasons, struct bytes props);
uint8_t *mqtt_ping_encode(uint8_t *d, unsigned type);
/* DISCONNECT or AUTH; v5 (3.x: only DISCONNECT, from clients, reason ignored). */
uint8_t *mqtt_disconnect_encode(uint8_t *d, unsigned version, unsigned type, uint8_t reason,
                                struct bytes props);
/* Room for any of the three above: this plus the sizes of reasons and props. */
enum { MQTT_SMALL_MAX = 16 };

/* What a client sends.  connect->props.raw and will.props.raw are written as they are. */
size_t mqtt_connect_size(const struct mqtt_connect *c);
uint8_t *mqtt_connect_encode(uint8_t *d, const struct mqtt_connect *c);
size_t mqtt_subscribe_size(unsigned version, const struct mqtt_subscription *subs, size_t count,
                           struct bytes props);
uint8_t *mqtt_subscribe_encode(uint8_t *d, unsigned version, uint16_t packet_id,
                               const struct mqtt_subscription *subs, size_t count,
                               struct bytes props);
size_t mqtt_unsubscribe_size(unsigned version, const struct bytes *filters, size_t count,
                             struct bytes props);
uint8_t *mqtt_unsubscribe_encode(uint8_t *d, unsigned version, uint16_t packet_id,
                                 const struct bytes *filters, size_t count, struct bytes props);

#endif
