/* CONNECT and CONNACK (5.0 section 3.1, 3.2), decoding.  No state; any thread. */
#include "mqtt/read.h"
#include "mqtt/topic.h"

enum { /* connect flags, 3.1.2.3 */
       FLAG_RESERVED = 0x01,
       FLAG_CLEAN = 0x02,
       FLAG_WILL = 0x04,
       FLAG_WILL_QOS = 0x18,
       FLAG_WILL_RETAIN = 0x20,
       FLAG_PASSWORD = 0x40,
       FLAG_USERNAME = 0x80,
       LEVEL_BRIDGE = 0x80, /* of the protocol level; not in the standard */
};

/* Protocol name and level: E_VERSION when it is not one of ours [MQTT-3.1.2-1], [MQTT-3.1.2-2]. */
static int read_version(struct rd *r, struct mqtt_connect *out)
{
    struct bytes name = rd_utf8(r);
    uint8_t level = rd_u8(r);
    if (!rd_ok(r)) return E_MALFORMED;
    unsigned version = level & ~(unsigned)LEVEL_BRIDGE;
    bool ours = version == MQTT_V31 ? bytes_eq(name, bytes_str("MQIsdp"))
                                    : (version == MQTT_V311 || version == MQTT_V5) &&
                                          bytes_eq(name, bytes_str("MQTT"));
    out->version = ours ? (uint8_t)version : version > MQTT_V5 ? MQTT_V5 : MQTT_V311;
    out->bridge = level & LEVEL_BRIDGE;
    return ours ? 0 : E_VERSION;
}

static int read_flags(struct rd *r, struct mqtt_connect *out)
{
    unsigned flags = rd_u8(r);
    if (!rd_ok(r)) return E_MALFORMED;
    /* 3.1 calls the bit unused instead of reserved. */
    if (out->version != MQTT_V31 && flags & FLAG_RESERVED) return E_MALFORMED; /* [MQTT-3.1.2-3] */
    out->clean_start = flags & FLAG_CLEAN;
    out->has_will = flags & FLAG_WILL;
    out->has_username = flags & FLAG_USERNAME;
    out->has_password = flags & FLAG_PASSWORD;
    out->will.qos = (flags & FLAG_WILL_QOS) >> 3;
    out->will.retain = flags & FLAG_WILL_RETAIN;
    if (out->will.qos == 3) return E_MALFORMED; /* [MQTT-3.1.2-12] */
    if (!out->has_will && (out->will.qos || out->will.retain))
        return E_MALFORMED; /* [MQTT-3.1.2-11], [MQTT-3.1.2-13] */
    if (out->version != MQTT_V5 && out->has_password && !out->has_username)
        return E_MALFORMED; /* [MQTT-3.1.2-22 of 3.1.1] */
    return 0;
}

static int read_will(struct rd *r, struct mqtt_connect *out)
{
    struct mqtt_will *w = &out->will;
    if (out->version == MQTT_V5) {
        int rc = mqtt_props_read(r, MQTT_WHERE_WILL, &w->props);
        if (rc < 0) return rc;
        if (!props_response_topic_ok(&w->props)) return E_PROTOCOL; /* [MQTT-3.3.2-14] */
    }
    w->topic = rd_utf8(r); /* [MQTT-3.1.3-11] */
    w->payload = rd_binary(r);
    if (!rd_ok(r)) return E_MALFORMED;
    return mqtt_topic_name_ok(w->topic, MQTT_TOPIC_MAX + 1) ? 0 : E_TOPIC_NAME;
}

/* 3.1 section 3.1: the remaining length overrules the flags, so that these fields may be missing.
 */
static bool field_missing(const struct rd *r, const struct mqtt_connect *out)
{
    return out->version == MQTT_V31 && rd_ok(r) && r->p == r->end;
}

int mqtt_connect_decode(struct bytes body, struct mqtt_connect *out)
{
    struct rd r = rd_of(body);
    props_none(&out->props);
    props_none(&out->will.props);
    out->client_id = out->username = out->password = (struct bytes){0};
    out->will.topic = out->will.payload = (struct bytes){0};
    out->clean_start = out->has_will = out->has_username = out->has_password = false;
    int rc = read_version(&r, out);
    if (rc == 0) rc = read_flags(&r, out);
    if (rc < 0) return rc;
    out->keep_alive_s = rd_u16(&r);
    if (out->version == MQTT_V5) {
        rc = mqtt_props_read(&r, MQTT_CONNECT, &out->props);
        if (rc < 0) return rc;
    }
    out->client_id = rd_utf8(&r); /* [MQTT-3.1.3-1], [MQTT-3.1.3-3], [MQTT-3.1.3-4] */
    if (out->has_will && rd_ok(&r)) rc = read_will(&r, out); /* [MQTT-3.1.2-9] */
    if (rc < 0) return rc;
    if (out->has_username && field_missing(&r, out)) out->has_username = false;
    if (out->has_username) out->username = rd_utf8(&r); /* [MQTT-3.1.3-12], [MQTT-3.1.2-17] */
    if (out->has_password && field_missing(&r, out)) out->has_password = false;
    if (out->has_password) out->password = rd_binary(&r); /* [MQTT-3.1.2-19] */
    return rd_done(&r);
}

int mqtt_connack_decode(unsigned version, struct bytes body, struct mqtt_connack *out)
{
    struct rd r = rd_of(body);
    unsigned flags = rd_u8(&r);
    out->reason = rd_u8(&r);
    props_none(&out->props);
    if (!rd_ok(&r) || flags > 1) return E_MALFORMED; /* [MQTT-3.2.2-1] */
    out->session_present = flags & 1;
    if (version != MQTT_V5) {
        if (out->reason > MQTT3_NOT_AUTHORIZED) return E_PROTOCOL;
    } else {
        if (!reason_allowed(MQTT_CONNACK, out->reason)) return E_PROTOCOL; /* [MQTT-3.2.2-8] */
        int rc = mqtt_props_read(&r, MQTT_CONNACK, &out->props);
        if (rc < 0) return rc;
    }
    if (out->reason && out->session_present) return E_PROTOCOL; /* [MQTT-3.2.2-6] */
    return rd_done(&r);
}
