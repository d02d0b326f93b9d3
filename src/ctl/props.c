/* sluicectl pub and sub: properties of MQTT 5 from the command line, under the names that
 * mosquitto_pub and mosquitto_sub have for them.  One thread. */
#include "client.h"

#include "core/control.h"
#include <stdio.h>

enum prop_kind { PROP_U8, PROP_U16, PROP_U32, PROP_VARINT, PROP_TEXT, PROP_USER };

struct prop_name {
    const char *name;
    uint8_t id, kind;
};

/* Authentication is missing: an exchange of AUTH packets is more than a property. */
static const struct prop_name names[] = {
    {"assigned-client-identifier", MQTT_P_ASSIGNED_ID, PROP_TEXT},
    {"content-type", MQTT_P_CONTENT_TYPE, PROP_TEXT},
    {"correlation-data", MQTT_P_CORRELATION, PROP_TEXT},
    {"maximum-packet-size", MQTT_P_MAX_PACKET_SIZE, PROP_U32},
    {"maximum-qos", MQTT_P_MAX_QOS, PROP_U8},
    {"message-expiry-interval", MQTT_P_MESSAGE_EXPIRY, PROP_U32},
    {"payload-format-indicator", MQTT_P_PAYLOAD_FORMAT, PROP_U8},
    {"reason-string", MQTT_P_REASON_STRING, PROP_TEXT},
    {"receive-maximum", MQTT_P_RECEIVE_MAX, PROP_U16},
    {"request-problem-information", MQTT_P_REQUEST_PROBLEM, PROP_U8},
    {"request-response-information", MQTT_P_REQUEST_RESPONSE, PROP_U8},
    {"response-information", MQTT_P_RESPONSE_INFO, PROP_TEXT},
    {"response-topic", MQTT_P_RESPONSE_TOPIC, PROP_TEXT},
    {"retain-available", MQTT_P_RETAIN_AVAILABLE, PROP_U8},
    {"server-keep-alive", MQTT_P_SERVER_KEEP_ALIVE, PROP_U16},
    {"server-reference", MQTT_P_SERVER_REFERENCE, PROP_TEXT},
    {"session-expiry-interval", MQTT_P_SESSION_EXPIRY, PROP_U32},
    {"shared-subscription-available", MQTT_P_SHARED_AVAILABLE, PROP_U8},
    {"subscription-identifier", MQTT_P_SUBSCRIPTION_ID, PROP_VARINT},
    {"subscription-identifier-available", MQTT_P_SUBID_AVAILABLE, PROP_U8},
    {"topic-alias", MQTT_P_TOPIC_ALIAS, PROP_U16},
    {"topic-alias-maximum", MQTT_P_TOPIC_ALIAS_MAX, PROP_U16},
    {"user-property", MQTT_P_USER, PROP_USER},
    {"wildcard-subscription-available", MQTT_P_WILDCARD_AVAILABLE, PROP_U8},
    {"will-delay-interval", MQTT_P_WILL_DELAY, PROP_U32},
};

struct place {
    const char *name;
    unsigned where; /* as mqtt_props_read() wants it */
};

/* "puback" is ours: what --ack answers with, PUBREC included. */
static const struct place places[PLACE_COUNT] = {
    [PLACE_CONNECT] = {"connect", MQTT_CONNECT},
    [PLACE_WILL] = {"will", MQTT_WHERE_WILL},
    [PLACE_PUBLISH] = {"publish", MQTT_PUBLISH},
    [PLACE_SUBSCRIBE] = {"subscribe", MQTT_SUBSCRIBE},
    [PLACE_UNSUBSCRIBE] = {"unsubscribe", MQTT_UNSUBSCRIBE},
    [PLACE_DISCONNECT] = {"disconnect", MQTT_DISCONNECT},
    [PLACE_PUBACK] = {"puback", MQTT_PUBACK},
};

static const char *props_name(enum mqtt_prop_id id)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (names[i].id == id) return names[i].name;
    return "unknown-property";
}

int props_add_user(struct buf *block, const char *name, const char *value)
{
    struct bytes n = bytes_str(name), v = bytes_str(value);
    if (n.n > UINT16_MAX || v.n > UINT16_MAX)
        return ctl_fail(CTL_USAGE, "a property has at most 65535 bytes");
    uint8_t *d = buf_reserve(block, (uint32_t)(5 + n.n + v.n));
    if (d == NULL) return ctl_fail(CTL_REFUSED, "out of memory");
    buf_commit(block, (uint32_t)(mqtt_put_prop_user(d, n, v) - d));
    return 0;
}

int props_add_pair(struct buf *block, const char *pair)
{
    char name[256];
    const char *equals = strchr(pair, '=');
    if (equals == NULL || equals == pair || (size_t)(equals - pair) >= sizeof name)
        return ctl_fail(CTL_USAGE, "--prop '%s': use NAME=VALUE", pair);
    snprintf(name, sizeof name, "%.*s", (int)(equals - pair), pair);
    return props_add_user(block, name, equals + 1);
}

static int add_number(struct buf *block, const struct prop_name *p, const char *text)
{
    static const uint32_t most[] = {UINT8_MAX, UINT16_MAX, UINT32_MAX, MQTT_MAX_REMAINING};
    uint64_t v;
    if (control_number(bytes_str(text), &v) < 0 || v > most[p->kind])
        return ctl_fail(CTL_USAGE, "%s is a whole number, 0 to %u, not '%s'", p->name,
                        most[p->kind], text);
    uint8_t *d = buf_reserve(block, 8), *end = d;
    if (d == NULL) return ctl_fail(CTL_REFUSED, "out of memory");
    if (p->kind == PROP_U8) end = mqtt_put_prop_u8(d, p->id, (uint8_t)v);
    if (p->kind == PROP_U16) end = mqtt_put_prop_u16(d, p->id, (uint16_t)v);
    if (p->kind == PROP_U32) end = mqtt_put_prop_u32(d, p->id, (uint32_t)v);
    if (p->kind == PROP_VARINT) end = mqtt_put_prop_varint(d, p->id, (uint32_t)v);
    buf_commit(block, (uint32_t)(end - d));
    return 0;
}

static int add_text(struct buf *block, const struct prop_name *p, const char *text)
{
    struct bytes v = bytes_str(text);
    if (v.n > UINT16_MAX) return ctl_fail(CTL_USAGE, "a property has at most 65535 bytes");
    uint8_t *d = buf_reserve(block, (uint32_t)(3 + v.n));
    if (d == NULL) return ctl_fail(CTL_REFUSED, "out of memory");
    buf_commit(block, (uint32_t)(mqtt_put_prop_bytes(d, p->id, v) - d));
    return 0;
}

int props_take(struct buf blocks[PLACE_COUNT], char **words, unsigned count)
{
    unsigned place = 0, row = 0;
    if (count < 3) return -ctl_fail(CTL_USAGE, "-D needs PACKET PROPERTY VALUE");
    while (place < PLACE_COUNT && strcmp(places[place].name, words[0]) != 0) place++;
    if (place == PLACE_COUNT)
        return -ctl_fail(CTL_USAGE, "-D: there is no packet '%s'; connect, publish, ...", words[0]);
    while (row < ARRAY_LEN(names) && strcmp(names[row].name, words[1]) != 0) row++;
    if (row == ARRAY_LEN(names))
        return -ctl_fail(CTL_USAGE, "-D: there is no property '%s' for %s", words[1], words[0]);
    const struct prop_name *p = &names[row];
    int rc;
    if (p->kind == PROP_USER && count < 4)
        return -ctl_fail(CTL_USAGE, "-D %s user-property needs NAME VALUE", words[0]);
    if (p->kind == PROP_USER)
        rc = props_add_user(&blocks[place], words[2], words[3]);
    else if (p->kind == PROP_TEXT)
        rc = add_text(&blocks[place], p, words[2]);
    else
        rc = add_number(&blocks[place], p, words[2]);
    return rc ? -rc : p->kind == PROP_USER ? 4 : 3;
}

/* As it would be read from the wire. */
static bool block_good(unsigned where, struct bytes block)
{
    uint8_t length[4];
    struct buf whole = {0};
    struct mqtt_props all;
    size_t n = (size_t)(put_varint(length, (uint32_t)block.n) - length);
    bool good = buf_append(&whole, bytes_of(length, n)) == 0 && buf_append(&whole, block) == 0;
    struct rd r = rd_of(buf_view(&whole));
    good = good && mqtt_props_read(&r, where, &all) == 0;
    buf_fini(&whole);
    return good;
}

int props_check(const struct buf blocks[PLACE_COUNT])
{
    for (unsigned i = 0; i < PLACE_COUNT; i++) {
        struct bytes block = buf_view(&blocks[i]);
        struct mqtt_prop prop;
        /* One after the other, so that the one to blame can be named. */
        for (size_t at = 0; mqtt_props_next(block, &at, &prop);)
            if (!block_good(places[i].where, bytes_of(block.p, at)))
                return ctl_fail(CTL_USAGE,
                                "-D: '%s' is not for %s, is there twice, or has a bad value",
                                props_name(prop.id), places[i].name);
    }
    return 0;
}
