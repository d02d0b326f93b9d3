/* Properties of MQTT 5 (5.0 section 2.2.2). */
#ifndef MQTT_PROPS_H
#define MQTT_PROPS_H

#include "mqtt/mqtt.h"

/* Decoded properties of one packet.  A field means something only when its bit (1 << id) is in
 * `present`; views point into the packet. */
struct mqtt_props {
    uint64_t present;
    uint8_t payload_format, request_problem, request_response, max_qos, retain_available;
    uint8_t wildcard_available, subid_available, shared_available;
    uint16_t server_keep_alive, receive_max, topic_alias_max, topic_alias;
    uint32_t message_expiry, session_expiry, will_delay, max_packet_size;
    uint32_t subid; /* the first; mqtt_props_next() finds further ones */
    uint32_t user_count;
    struct bytes content_type, response_topic, correlation, assigned_id, auth_method, auth_data;
    struct bytes response_info, server_reference, reason_string;
    struct bytes raw; /* the whole block without its length */
};

static inline bool mqtt_has(const struct mqtt_props *p, enum mqtt_prop_id id)
{
    return p->present >> id & 1;
}

/* Where properties stand decides which are allowed (table 2-4). */
enum mqtt_where { /* 1..15: enum mqtt_type */ MQTT_WHERE_WILL = 16 };

/* Reads the length and the block.  The reader goes bad on malformed encoding.  Returns 0,
 * E_MALFORMED, or E_PROTOCOL for a property that is not allowed there, appears twice, or has a
 * value that the standard calls a protocol error (Receive Maximum 0, Topic Alias 0, booleans above
 * 1, ...). Strings are checked for UTF-8 [MQTT-1.5.4-1]. */
MUST_USE int mqtt_props_read(struct rd *r, unsigned where, struct mqtt_props *out);

/* One property of a block that was read before (so it is well formed). */
struct mqtt_prop {
    enum mqtt_prop_id id;
    uint32_t number;         /* integers */
    struct bytes key, value; /* key: user properties; value: strings and binary */
};
/* Walks a raw block; start with *at = 0; false at the end. */
bool mqtt_props_next(struct bytes raw, size_t *at, struct mqtt_prop *out);

/* Re-encodes what a server must forward of a PUBLISH or a will, unaltered and in order
 * ([MQTT-3.3.2-17], -18 user properties; payload format, content type, response topic,
 * correlation data) and leaves out what it must not (alias, expiry, subscription identifiers, will
 * delay).  dst has room for raw.n bytes.  Returns the length written. */
size_t mqtt_props_forward(struct bytes raw, uint8_t *dst);

/* Writers of single properties; each returns the position after it. */
uint8_t *mqtt_put_prop_u8(uint8_t *d, enum mqtt_prop_id id, uint8_t v);
uint8_t *mqtt_put_prop_u16(uint8_t *d, enum mqtt_prop_id id, uint16_t v);
uint8_t *mqtt_put_prop_u32(uint8_t *d, enum mqtt_prop_id id, uint32_t v);
uint8_t *mqtt_put_prop_varint(uint8_t *d, enum mqtt_prop_id id, uint32_t v);
uint8_t *mqtt_put_prop_bytes(uint8_t *d, enum mqtt_prop_id id, struct bytes v);
uint8_t *mqtt_put_prop_user(uint8_t *d, struct bytes key, struct bytes value);

#endif
