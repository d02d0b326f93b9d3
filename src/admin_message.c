/* A message as the admin listener shows it: its properties and its payload as members of a JSON
 * object.  Pure. */
#include "admin_int.h"

#include "base/mem.h"
#include "mqtt/props.h"

/* Padded, as RFC 4648 has it. */
static json_t *base64_text(struct bytes data)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = mem_alloc((data.n + 2) / 3 * 4 + 1), *d = text;
    if (text == NULL) return NULL;
    for (size_t i = 0; i < data.n; i += 3) {
        size_t left = data.n - i;
        uint32_t v = (uint32_t)data.p[i] << 16;
        if (left > 1) v |= (uint32_t)data.p[i + 1] << 8;
        if (left > 2) v |= data.p[i + 2];
        *d++ = digits[v >> 18];
        *d++ = digits[v >> 12 & 63];
        *d++ = left > 1 ? digits[v >> 6 & 63] : '=';
        *d++ = left > 2 ? digits[v & 63] : '=';
    }
    json_t *j = json_stringn(text, (size_t)(d - text));
    mem_free(text);
    return j;
}

static json_t *text_of(struct bytes text)
{
    return json_stringn(text.n ? (const char *)text.p : "", text.n);
}

/* What stands for itself; NULL: it is a user property, or nothing that is told. */
static const char *name_of(const struct mqtt_prop *prop)
{
    switch (prop->id) {
    case MQTT_P_CONTENT_TYPE: return "content_type";
    case MQTT_P_RESPONSE_TOPIC: return "response_topic";
    case MQTT_P_CORRELATION: return "correlation_data_base64";
    default: return NULL;
    }
}

void admin_set_message(json_t *j, struct bytes props, struct bytes payload,
                       bool (*skips)(struct bytes name))
{
    struct mqtt_prop prop;
    json_t *pairs = json_array();
    for (size_t at = 0; mqtt_props_next(props, &at, &prop);) {
        const char *name = name_of(&prop);
        if (name)
            (void)json_object_set_new(j, name,
                                      prop.id == MQTT_P_CORRELATION ? base64_text(prop.value)
                                                                    : text_of(prop.value));
        if (prop.id != MQTT_P_USER || (skips && skips(prop.key))) continue;
        json_t *pair = json_array();
        (void)json_array_append_new(pair, text_of(prop.key));
        (void)json_array_append_new(pair, text_of(prop.value));
        (void)json_array_append_new(pairs, pair);
    }
    (void)json_object_set_new(j, "properties", pairs);
    if (bytes_is_utf8(payload))
        (void)json_object_set_new(j, "payload", text_of(payload));
    else
        (void)json_object_set_new(j, "payload_base64", base64_text(payload));
}
