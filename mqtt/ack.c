/* PUBACK, PUBREC, PUBREL, PUBCOMP (5.0 section 3.4 - 3.7), DISCONNECT and AUTH (3.14, 3.15), and
 * which reason code each packet may carry.  No state; any thread. */
#include "mqtt/read.h"

/* A set of reason codes: those below 0x40, and those from 0x80 to 0xBF. */
struct reason_set {
    uint64_t low, high;
};

#define LOW(code)  ((uint64_t)1 << (code))
#define HIGH(code) ((uint64_t)1 << ((code)-0x80))
/* 0x80, 0x83, 0x87: "unspecified", "implementation specific", "not authorized" */
#define COMMON      (HIGH(0x80) | HIGH(0x83) | HIGH(0x87))
#define PUBLISHED   (COMMON | HIGH(0x90) | HIGH(0x91) | HIGH(0x97) | HIGH(0x99))
#define RANGE(a, b) ((HIGH(b) | (HIGH(b) - 1)) & ~(HIGH(a) - 1))

static const struct reason_set reason_sets[16] = {
    [MQTT_CONNACK] = {LOW(0), RANGE(0x80, 0x8a) | HIGH(0x8c) | HIGH(0x90) | HIGH(0x95) |
                                  HIGH(0x97) | RANGE(0x99, 0x9d) | HIGH(0x9f)}, /* table 3-1 */
    [MQTT_PUBACK] = {LOW(0) | LOW(0x10), PUBLISHED},                            /* table 3-4 */
    [MQTT_PUBREC] = {LOW(0) | LOW(0x10), PUBLISHED},                            /* table 3-5 */
    [MQTT_PUBREL] = {LOW(0), HIGH(0x92)},                                       /* table 3-6 */
    [MQTT_PUBCOMP] = {LOW(0), HIGH(0x92)},                                      /* table 3-7 */
    [MQTT_SUBACK] = {LOW(0) | LOW(1) | LOW(2), COMMON | HIGH(0x8f) | HIGH(0x91) | HIGH(0x97) |
                                                   HIGH(0x9e) | HIGH(0xa1) | HIGH(0xa2)},
    [MQTT_UNSUBACK] = {LOW(0) | LOW(0x11), COMMON | HIGH(0x8f) | HIGH(0x91)},
    /* Table 3-10; a client's and a server's, as both are read here. */
    [MQTT_DISCONNECT] = {LOW(0) | LOW(4), RANGE(0x80, 0x83) | HIGH(0x87) | HIGH(0x89) | HIGH(0x8b) |
                                              RANGE(0x8d, 0x90) | RANGE(0x93, 0xa2)},
    [MQTT_AUTH] = {LOW(0) | LOW(0x18) | LOW(0x19), 0}, /* table 3-11 */
};

bool reason_allowed(unsigned type, uint8_t reason)
{
    const struct reason_set *set = &reason_sets[type & 15];
    if (reason >= 0x80) return reason < 0xc0 && set->high >> (reason - 0x80) & 1;
    return reason < 0x40 && set->low >> reason & 1;
}

/* What comes after the packet identifier: reason code and properties, both of which may be left out
 * (3.4.2.1, 3.14.2.1). */
static int read_reason(struct rd *r, unsigned type, uint8_t *reason, struct mqtt_props *props)
{
    *reason = MQTT_SUCCESS;
    props_none(props);
    if (LIKELY(rd_left(r) == 0)) return 0;
    *reason = rd_u8(r);
    /* [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.6.2-1], [MQTT-3.7.2-1], [MQTT-3.14.2-1] */
    if (!reason_allowed(type, *reason)) return E_PROTOCOL;
    if (rd_left(r) == 0) return 0;
    int rc = mqtt_props_read(r, type, props);
    return rc < 0 ? rc : rd_done(r);
}

int mqtt_ack_decode(unsigned version, unsigned type, struct bytes body, struct mqtt_ack *out)
{
    struct rd r = rd_of(body);
    out->packet_id = rd_u16(&r);
    if (!rd_ok(&r)) return E_MALFORMED;
    if (version != MQTT_V5 && rd_left(&r)) return E_MALFORMED;
    if (out->packet_id == 0) return E_PROTOCOL; /* [MQTT-2.2.1-5]: none of ours is 0 */
    return read_reason(&r, type, &out->reason, &out->props);
}

int mqtt_disconnect_decode(unsigned version, struct bytes body, struct mqtt_disconnect *out)
{
    struct rd r = rd_of(body);
    if (version != MQTT_V5 && body.n) return E_MALFORMED;
    return read_reason(&r, MQTT_DISCONNECT, &out->reason, &out->props);
}

int mqtt_auth_decode(struct bytes body, struct mqtt_disconnect *out)
{
    struct rd r = rd_of(body);
    int rc = read_reason(&r, MQTT_AUTH, &out->reason, &out->props);
    if (rc < 0) return rc;
    bool bare = out->reason == MQTT_SUCCESS && out->props.present == 0;
    /* 3.15.2.2.2: a method goes with everything but the bare success. */
    return bare || mqtt_has(&out->props, MQTT_P_AUTH_METHOD) ? 0 : E_PROTOCOL;
}
