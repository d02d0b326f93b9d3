/* Properties of MQTT 5 (section 2.2.2): one table says of each its type, where it may stand and
 * which values are protocol errors; one pass over the block checks it.  No state; any thread. */
#include "mqtt/props.h"

#include "mqtt/read.h"

enum prop_kind {
    KIND_NONE,
    KIND_U8,
    KIND_U16,
    KIND_U32,
    KIND_VARINT,
    KIND_UTF8,
    KIND_BINARY,
    KIND_USER
};

enum prop_check { CHECK_NOTHING, CHECK_BOOLEAN, CHECK_NOT_ZERO, CHECK_ALIAS };

#define IN(type) (1u << MQTT_##type)
#define IN_WILL  (1u << MQTT_WHERE_WILL)
#define IN_BODY  (IN(PUBLISH) | IN_WILL)
#define IN_BOTH  (IN(CONNECT) | IN(CONNACK))
#define IN_ANSWER                                                                                  \
    (IN(CONNACK) | IN(PUBACK) | IN(PUBREC) | IN(PUBREL) | IN(PUBCOMP) | IN(SUBACK) |               \
     IN(UNSUBACK) | IN(DISCONNECT) | IN(AUTH))
#define AT(field) offsetof(struct mqtt_props, field)

struct prop_rule {
    uint8_t kind, check;
    uint16_t at; /* offset of the field in struct mqtt_props */
    uint32_t where;
};

enum { RULE_COUNT = MQTT_P_SHARED_AVAILABLE + 1 };

/* 5.0 table 2-4. */
static const struct prop_rule rules[RULE_COUNT] = {
    [MQTT_P_PAYLOAD_FORMAT] = {KIND_U8, CHECK_BOOLEAN, AT(payload_format), IN_BODY},
    [MQTT_P_MESSAGE_EXPIRY] = {KIND_U32, 0, AT(message_expiry), IN_BODY},
    [MQTT_P_CONTENT_TYPE] = {KIND_UTF8, 0, AT(content_type), IN_BODY},
    [MQTT_P_RESPONSE_TOPIC] = {KIND_UTF8, 0, AT(response_topic), IN_BODY},
    [MQTT_P_CORRELATION] = {KIND_BINARY, 0, AT(correlation), IN_BODY},
    [MQTT_P_SUBSCRIPTION_ID] = {KIND_VARINT, CHECK_NOT_ZERO, AT(subid),
                                IN(PUBLISH) | IN(SUBSCRIBE)},
    [MQTT_P_SESSION_EXPIRY] = {KIND_U32, 0, AT(session_expiry), IN_BOTH | IN(DISCONNECT)},
    [MQTT_P_ASSIGNED_ID] = {KIND_UTF8, 0, AT(assigned_id), IN(CONNACK)},
    [MQTT_P_SERVER_KEEP_ALIVE] = {KIND_U16, 0, AT(server_keep_alive), IN(CONNACK)},
    [MQTT_P_AUTH_METHOD] = {KIND_UTF8, 0, AT(auth_method), IN_BOTH | IN(AUTH)},
    [MQTT_P_AUTH_DATA] = {KIND_BINARY, 0, AT(auth_data), IN_BOTH | IN(AUTH)},
    [MQTT_P_REQUEST_PROBLEM] = {KIND_U8, CHECK_BOOLEAN, AT(request_problem), IN(CONNECT)},
    [MQTT_P_WILL_DELAY] = {KIND_U32, 0, AT(will_delay), IN_WILL},
    [MQTT_P_REQUEST_RESPONSE] = {KIND_U8, CHECK_BOOLEAN, AT(request_response), IN(CONNECT)},
    [MQTT_P_RESPONSE_INFO] = {KIND_UTF8, 0, AT(response_info), IN(CONNACK)},
    [MQTT_P_SERVER_REFERENCE] = {KIND_UTF8, 0, AT(server_reference), IN(CONNACK) | IN(DISCONNECT)},
    [MQTT_P_REASON_STRING] = {KIND_UTF8, 0, AT(reason_string), IN_ANSWER},
    [MQTT_P_RECEIVE_MAX] = {KIND_U16, CHECK_NOT_ZERO, AT(receive_max), IN_BOTH},
    [MQTT_P_TOPIC_ALIAS_MAX] = {KIND_U16, 0, AT(topic_alias_max), IN_BOTH},
    [MQTT_P_TOPIC_ALIAS] = {KIND_U16, CHECK_ALIAS, AT(topic_alias), IN(PUBLISH)},
    [MQTT_P_MAX_QOS] = {KIND_U8, CHECK_BOOLEAN, AT(max_qos), IN(CONNACK)},
    [MQTT_P_RETAIN_AVAILABLE] = {KIND_U8, CHECK_BOOLEAN, AT(retain_available), IN(CONNACK)},
    [MQTT_P_USER] = {KIND_USER, 0, 0,
                     IN_ANSWER | IN_BODY | IN(CONNECT) | IN(SUBSCRIBE) | IN(UNSUBSCRIBE)},
    [MQTT_P_MAX_PACKET_SIZE] = {KIND_U32, CHECK_NOT_ZERO, AT(max_packet_size), IN_BOTH},
    [MQTT_P_WILDCARD_AVAILABLE] = {KIND_U8, CHECK_BOOLEAN, AT(wildcard_available), IN(CONNACK)},
    [MQTT_P_SUBID_AVAILABLE] = {KIND_U8, CHECK_BOOLEAN, AT(subid_available), IN(CONNACK)},
    [MQTT_P_SHARED_AVAILABLE] = {KIND_U8, CHECK_BOOLEAN, AT(shared_available), IN(CONNACK)},
};

/* Reads a property's value, whatever it means; strings are not looked into. */
static void read_value(struct rd *r, unsigned kind, struct mqtt_prop *out)
{
    out->number = 0;
    switch (kind) {
    case KIND_U8: out->number = rd_u8(r); break;
    case KIND_U16: out->number = rd_u16(r); break;
    case KIND_U32: out->number = rd_u32(r); break;
    case KIND_VARINT: out->number = rd_varint(r); break;
    case KIND_USER:
        out->key = rd_binary(r);
        out->value = rd_binary(r);
        break;
    default: out->value = rd_binary(r); break;
    }
}

static void store_value(struct mqtt_props *out, const struct prop_rule *rule,
                        const struct mqtt_prop *v)
{
    uint8_t *field = (uint8_t *)out + rule->at;
    uint16_t half = (uint16_t)v->number;
    switch (rule->kind) {
    case KIND_U8: *field = (uint8_t)v->number; break;
    case KIND_U16: memcpy(field, &half, sizeof half); break;
    case KIND_U32:
    case KIND_VARINT: memcpy(field, &v->number, sizeof v->number); break;
    case KIND_USER: out->user_count++; break;
    default: memcpy(field, &v->value, sizeof v->value); break;
    }
}

static int check_value(const struct prop_rule *rule, const struct mqtt_prop *v)
{
    switch (rule->check) {
    case CHECK_BOOLEAN: return v->number > 1 ? E_PROTOCOL : 0;
    case CHECK_NOT_ZERO: return v->number == 0 ? E_PROTOCOL : 0;
    case CHECK_ALIAS: return v->number == 0 ? E_TOPIC_ALIAS : 0; /* [MQTT-3.3.2-8] */
    default: break;
    }
    /* [MQTT-1.5.4-1], [MQTT-1.5.4-2], [MQTT-1.5.7-1] */
    if (rule->kind == KIND_UTF8 && !bytes_is_utf8(v->value)) return E_MALFORMED;
    if (rule->kind == KIND_USER && (!bytes_is_utf8(v->key) || !bytes_is_utf8(v->value)))
        return E_MALFORMED;
    return 0;
}

/* Only user properties may repeat, and in a PUBLISH (from a server) the subscription identifier. */
static bool may_repeat(unsigned id, unsigned where)
{
    return id == MQTT_P_USER || (id == MQTT_P_SUBSCRIPTION_ID && where == MQTT_PUBLISH);
}

int props_parse(struct bytes block, unsigned where, struct mqtt_props *out)
{
    props_none(out);
    if (block.n == 0) return 0;
    struct rd r = rd_of(block);
    uint64_t present = 0;
    out->raw = block;
    while (r.p < r.end) {
        /* A variable byte integer, but those in use take one byte. */
        unsigned id = *r.p++;
        if (id >= RULE_COUNT || rules[id].kind == KIND_NONE) return E_MALFORMED;
        const struct prop_rule *rule = &rules[id];
        struct mqtt_prop v = {.id = (enum mqtt_prop_id)id};
        read_value(&r, rule->kind, &v);
        if (!rd_ok(&r)) return E_MALFORMED;
        if (!(rule->where >> where & 1)) return E_PROTOCOL;
        bool again = present >> id & 1;
        if (again && !may_repeat(id, where)) return E_PROTOCOL;
        int rc = check_value(rule, &v);
        if (rc < 0) return rc;
        if (!again || id == MQTT_P_USER) store_value(out, rule, &v); /* subid: the first */
        present |= (uint64_t)1 << id;
    }
    out->present = present;
    /* 3.1.2.11.10, 3.15.2.2.3: data without a method. */
    if (mqtt_has(out, MQTT_P_AUTH_DATA) && !mqtt_has(out, MQTT_P_AUTH_METHOD)) return E_PROTOCOL;
    return 0;
}

int mqtt_props_read(struct rd *r, unsigned where, struct mqtt_props *out)
{
    uint32_t length = rd_varint(r);
    struct bytes block = rd_take(r, length);
    if (!rd_ok(r)) return E_MALFORMED;
    int rc = props_parse(block, where, out);
    if (rc == E_MALFORMED) r->bad = true;
    return rc;
}

bool props_response_topic_ok(const struct mqtt_props *p)
{
    if (!mqtt_has(p, MQTT_P_RESPONSE_TOPIC)) return true;
    struct bytes t = p->response_topic;
    return t.n > 0 && !memchr(t.p, '+', t.n) && !memchr(t.p, '#', t.n);
}

bool mqtt_props_next(struct bytes raw, size_t *at, struct mqtt_prop *out)
{
    if (*at >= raw.n) return false;
    struct rd r = rd_of(bytes_skip(raw, *at));
    unsigned id = rd_u8(&r);
    ASSERT(id < RULE_COUNT && rules[id].kind != KIND_NONE); /* the block was parsed before */
    out->id = (enum mqtt_prop_id)id;
    out->key = out->value = (struct bytes){0};
    read_value(&r, rules[id].kind, out);
    ASSERT(rd_ok(&r));
    *at = (size_t)(r.p - raw.p);
    return true;
}

size_t mqtt_props_forward(struct bytes raw, uint8_t *dst)
{
    const uint64_t forwarded = 1u << MQTT_P_PAYLOAD_FORMAT | /* [MQTT-3.3.2-4] */
                               1u << MQTT_P_CONTENT_TYPE |   /* [MQTT-3.3.2-20] */
                               1u << MQTT_P_RESPONSE_TOPIC | /* [MQTT-3.3.2-15] */
                               1u << MQTT_P_CORRELATION |    /* [MQTT-3.3.2-16] */
                               (uint64_t)1 << MQTT_P_USER;   /* [MQTT-3.3.2-17], [MQTT-3.3.2-18] */
    uint8_t *d = dst;
    struct mqtt_prop prop;
    for (size_t at = 0, from = 0; mqtt_props_next(raw, &at, &prop); from = at)
        if (forwarded >> prop.id & 1) d = put_mem(d, bytes_of(raw.p + from, at - from));
    return (size_t)(d - dst);
}

uint8_t *mqtt_put_prop_u8(uint8_t *d, enum mqtt_prop_id id, uint8_t v)
{
    return put_u8(put_u8(d, id), v);
}

uint8_t *mqtt_put_prop_u16(uint8_t *d, enum mqtt_prop_id id, uint16_t v)
{
    return put_u16(put_u8(d, id), v);
}

uint8_t *mqtt_put_prop_u32(uint8_t *d, enum mqtt_prop_id id, uint32_t v)
{
    return put_u32(put_u8(d, id), v);
}

uint8_t *mqtt_put_prop_varint(uint8_t *d, enum mqtt_prop_id id, uint32_t v)
{
    return put_varint(put_u8(d, id), v);
}

uint8_t *mqtt_put_prop_bytes(uint8_t *d, enum mqtt_prop_id id, struct bytes v)
{
    ASSERT(v.n <= UINT16_MAX);
    return put_mem(put_u16(put_u8(d, id), (unsigned)v.n), v);
}

uint8_t *mqtt_put_prop_user(uint8_t *d, struct bytes key, struct bytes value)
{
    d = mqtt_put_prop_bytes(d, MQTT_P_USER, key);
    ASSERT(value.n <= UINT16_MAX);
    return put_mem(put_u16(d, (unsigned)value.n), value);
}
