/* SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK (5.0 section 3.8 - 3.11), decoding.  The entries are
 * checked once and then walked where they stand.  No state; any thread. */
#include "mqtt/read.h"
#include "mqtt/topic.h"

enum { /* subscription options, 3.8.3.1 */
       OPTION_QOS = 0x03,
       OPTION_NO_LOCAL = 0x04,
       OPTION_AS_PUBLISHED = 0x08,
       OPTION_HANDLING_SHIFT = 4,
       OPTION_HANDLING = 0x30,
       OPTION_RESERVED = 0xc0,
};

static int check_options(unsigned version, unsigned options, struct bytes filter)
{
    unsigned reserved = version == MQTT_V5 ? OPTION_RESERVED : ~(unsigned)OPTION_QOS;
    if (options & reserved) return E_MALFORMED; /* [MQTT-3.8.3-5], [MQTT-3.8.3-4 of 3.1.1] */
    if ((options & OPTION_QOS) == 3) return version == MQTT_V5 ? E_PROTOCOL : E_MALFORMED;
    if ((options & OPTION_HANDLING) == OPTION_HANDLING) return E_PROTOCOL;
    if (options & OPTION_NO_LOCAL && bytes_starts(filter, "$share/"))
        return E_PROTOCOL; /* [MQTT-3.8.3-4] */
    return 0;
}

/* Packet identifier and properties; leaves the entries in the reader. */
static int read_head(struct rd *r, unsigned version, unsigned type, uint16_t *packet_id,
                     struct mqtt_props *props)
{
    *packet_id = rd_u16(r);
    props_none(props);
    if (!rd_ok(r)) return E_MALFORMED;
    if (*packet_id == 0) return E_PROTOCOL; /* [MQTT-2.2.1-3] */
    return version == MQTT_V5 ? mqtt_props_read(r, type, props) : 0;
}

int mqtt_subscribe_decode(unsigned version, struct bytes body, struct mqtt_subscribe *out)
{
    struct rd r = rd_of(body);
    int rc = read_head(&r, version, MQTT_SUBSCRIBE, &out->packet_id, &out->props);
    if (rc < 0) return rc;
    out->entries = bytes_of(r.p, rd_left(&r));
    for (out->count = 0; rd_left(&r); out->count++) {
        struct bytes filter = rd_utf8(&r); /* [MQTT-3.8.3-1] */
        unsigned options = rd_u8(&r);
        if (!rd_ok(&r)) return E_MALFORMED;
        rc = check_options(version, options, filter);
        if (rc < 0) return rc;
    }
    return out->count ? 0 : E_PROTOCOL; /* [MQTT-3.8.3-2] */
}

int mqtt_unsubscribe_decode(unsigned version, struct bytes body, struct mqtt_subscribe *out)
{
    struct rd r = rd_of(body);
    int rc = read_head(&r, version, MQTT_UNSUBSCRIBE, &out->packet_id, &out->props);
    if (rc < 0) return rc;
    out->entries = bytes_of(r.p, rd_left(&r));
    for (out->count = 0; rd_left(&r); out->count++) {
        (void)rd_utf8(&r); /* [MQTT-3.10.3-1] */
        if (!rd_ok(&r)) return E_MALFORMED;
    }
    return out->count ? 0 : E_PROTOCOL; /* [MQTT-3.10.3-2] */
}

bool mqtt_subscribe_next(unsigned version, struct mqtt_subscribe *sub,
                         struct mqtt_subscription *out)
{
    struct rd r = rd_of(sub->entries);
    if (rd_left(&r) == 0) return false;
    out->filter = rd_binary(&r);
    unsigned options = rd_u8(&r);
    ASSERT(rd_ok(&r)); /* decoded before */
    out->qos = options & OPTION_QOS;
    out->no_local = options & OPTION_NO_LOCAL;
    out->retain_as_published = options & OPTION_AS_PUBLISHED;
    out->retain_handling = (options & OPTION_HANDLING) >> OPTION_HANDLING_SHIFT;
    ASSERT(version == MQTT_V5 || options <= 2);
    sub->entries = bytes_of(r.p, rd_left(&r));
    return true;
}

bool mqtt_unsubscribe_next(struct mqtt_subscribe *sub, struct bytes *filter)
{
    struct rd r = rd_of(sub->entries);
    if (rd_left(&r) == 0) return false;
    *filter = rd_binary(&r);
    ASSERT(rd_ok(&r)); /* decoded before */
    sub->entries = bytes_of(r.p, rd_left(&r));
    return true;
}

static int read_reasons(struct rd *r, unsigned version, unsigned type, struct bytes *out)
{
    *out = rd_take(r, rd_left(r));
    if (!rd_ok(r) || out->n == 0) return E_MALFORMED; /* [MQTT-3.9.3-1] */
    for (size_t i = 0; i < out->n; i++) {
        uint8_t code = out->p[i];
        bool known = version == MQTT_V5 ? reason_allowed(type, code)
                                        : code <= 2 || code == MQTT3_SUBACK_FAILURE;
        if (!known) return E_PROTOCOL; /* [MQTT-3.9.3-2], [MQTT-3.11.3-2] */
    }
    return 0;
}

int mqtt_suback_decode(unsigned version, struct bytes body, struct mqtt_suback *out)
{
    struct rd r = rd_of(body);
    int rc = read_head(&r, version, MQTT_SUBACK, &out->packet_id, &out->props);
    return rc < 0 ? rc : read_reasons(&r, version, MQTT_SUBACK, &out->reasons);
}

int mqtt_unsuback_decode(unsigned version, struct bytes body, struct mqtt_suback *out)
{
    struct rd r = rd_of(body);
    out->reasons = (struct bytes){0};
    int rc = read_head(&r, version, MQTT_UNSUBACK, &out->packet_id, &out->props);
    if (rc < 0) return rc;
    if (version != MQTT_V5) return rd_done(&r); /* 3.1.1: no payload */
    return read_reasons(&r, version, MQTT_UNSUBACK, &out->reasons);
}
