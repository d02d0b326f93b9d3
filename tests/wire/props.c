/* Properties of MQTT 5 by name.  See codec.h. */
#include "tests/wire/codec.h"

enum kind { NUMBER_8, NUMBER_16, NUMBER_32, VARINT, BYTES, PAIR };

static const struct {
    const char *name;
    enum kind kind;
} table[] = {
    [MQTT_P_PAYLOAD_FORMAT] = {"payload-format", NUMBER_8},
    [MQTT_P_MESSAGE_EXPIRY] = {"message-expiry", NUMBER_32},
    [MQTT_P_CONTENT_TYPE] = {"content-type", BYTES},
    [MQTT_P_RESPONSE_TOPIC] = {"response-topic", BYTES},
    [MQTT_P_CORRELATION] = {"correlation-data", BYTES},
    [MQTT_P_SUBSCRIPTION_ID] = {"subscription-id", VARINT},
    [MQTT_P_SESSION_EXPIRY] = {"session-expiry", NUMBER_32},
    [MQTT_P_ASSIGNED_ID] = {"assigned-id", BYTES},
    [MQTT_P_SERVER_KEEP_ALIVE] = {"server-keep-alive", NUMBER_16},
    [MQTT_P_AUTH_METHOD] = {"auth-method", BYTES},
    [MQTT_P_AUTH_DATA] = {"auth-data", BYTES},
    [MQTT_P_REQUEST_PROBLEM] = {"request-problem", NUMBER_8},
    [MQTT_P_WILL_DELAY] = {"delay", NUMBER_32},
    [MQTT_P_REQUEST_RESPONSE] = {"request-response", NUMBER_8},
    [MQTT_P_RESPONSE_INFO] = {"response-info", BYTES},
    [MQTT_P_SERVER_REFERENCE] = {"server-reference", BYTES},
    [MQTT_P_REASON_STRING] = {"reason-string", BYTES},
    [MQTT_P_RECEIVE_MAX] = {"receive-max", NUMBER_16},
    [MQTT_P_TOPIC_ALIAS_MAX] = {"topic-alias-max", NUMBER_16},
    [MQTT_P_TOPIC_ALIAS] = {"topic-alias", NUMBER_16},
    [MQTT_P_MAX_QOS] = {"max-qos", NUMBER_8},
    [MQTT_P_RETAIN_AVAILABLE] = {"retain-available", NUMBER_8},
    [MQTT_P_USER] = {"user", PAIR},
    [MQTT_P_MAX_PACKET_SIZE] = {"max-packet-size", NUMBER_32},
    [MQTT_P_WILDCARD_AVAILABLE] = {"wildcard-available", NUMBER_8},
    [MQTT_P_SUBID_AVAILABLE] = {"subid-available", NUMBER_8},
    [MQTT_P_SHARED_AVAILABLE] = {"shared-available", NUMBER_8},
};

unsigned prop_id(struct bytes name)
{
    for (unsigned id = 1; id < ARRAY_LEN(table); id++)
        if (table[id].name && bytes_eq(name, bytes_str(table[id].name))) return id;
    return 0;
}

void props_decode(struct arena *a, struct bytes block, struct fields *out)
{
    struct mqtt_prop prop;
    for (size_t at = 0; mqtt_props_next(block, &at, &prop);) {
        const char *name = table[prop.id].name;
        if (table[prop.id].kind == PAIR)
            fields_add(a, out,
                       (struct field){.name = bytes_str(name),
                                      .key = arena_copy(a, prop.key),
                                      .text = arena_copy(a, prop.value),
                                      .quoted = true});
        else if (table[prop.id].kind == BYTES)
            fields_add_bytes(a, out, name, arena_copy(a, prop.value));
        else
            fields_add_number(a, out, name, prop.number);
    }
}

static uint8_t *put_prop(uint8_t *d, enum mqtt_prop_id id, const struct field *f)
{
    switch (table[id].kind) {
    case NUMBER_8: return mqtt_put_prop_u8(d, id, (uint8_t)f->number);
    case NUMBER_16: return mqtt_put_prop_u16(d, id, (uint16_t)f->number);
    case NUMBER_32: return mqtt_put_prop_u32(d, id, (uint32_t)f->number);
    case VARINT: return mqtt_put_prop_varint(d, id, (uint32_t)f->number);
    case BYTES: return mqtt_put_prop_bytes(d, id, f->text);
    default: return mqtt_put_prop_user(d, f->key, f->text);
    }
}

const char *props_encode(struct arena *a, const struct fields *f, const char *prefix,
                         struct bytes *out)
{
    size_t room = 0;
    for (size_t i = 0; i < f->count; i++) room += 16 + f->items[i].key.n + f->items[i].text.n;
    uint8_t *start = arena_alloc(a, room), *d = start;
    for (size_t i = 0; i < f->count; i++) {
        const struct field *item = &f->items[i];
        if (!bytes_starts(item->name, prefix)) continue;
        unsigned id = prop_id(bytes_skip(item->name, strlen(prefix)));
        if (id == 0) continue;
        if (table[id].kind < BYTES && !item->is_number)
            return arena_printf(a, "%s%s wants a number", prefix, table[id].name);
        if (item->text.n > UINT16_MAX || item->key.n > UINT16_MAX)
            return arena_printf(a, "%s%s is too long", prefix, table[id].name);
        d = put_prop(d, (enum mqtt_prop_id)id, item);
    }
    *out = bytes_of(start, (size_t)(d - start));
    return NULL;
}
