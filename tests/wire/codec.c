/* Fields to bytes and bytes to fields, through the production encoders and decoders.  What those
 * would refuse to write is written with `raw`.  See codec.h. */
#include "tests/wire/codec.h"

/* ---- decoding ---- */

static int decode_publish(struct arena *a, unsigned version, const struct mqtt_frame *f,
                          struct bytes body, struct fields *out)
{
    struct mqtt_publish m;
    struct mqtt_props props = {0};
    int rc = mqtt_publish_decode(version, f->flags, body, &m);
    if (rc == 0 && version == MQTT_V5) rc = mqtt_publish_props_from_server(&m, &props);
    if (rc < 0) return rc;
    fields_add_bytes(a, out, "topic", arena_copy(a, m.topic));
    fields_add_bytes(a, out, "payload", arena_copy(a, m.payload));
    fields_add_number(a, out, "qos", m.qos);
    fields_add_number(a, out, "retain", m.retain);
    fields_add_number(a, out, "dup", m.dup);
    if (m.qos) fields_add_number(a, out, "id", m.packet_id);
    props_decode(a, props.raw, out);
    return 0;
}

static int decode_ack(struct arena *a, unsigned version, unsigned type, struct bytes body,
                      struct fields *out)
{
    struct mqtt_ack m;
    int rc = mqtt_ack_decode(version, type, body, &m);
    if (rc < 0) return rc;
    fields_add_number(a, out, "id", m.packet_id);
    fields_add_number(a, out, "reason", m.reason);
    if (m.props.present) props_decode(a, m.props.raw, out);
    return 0;
}

static int decode_suback(struct arena *a, unsigned version, unsigned type, struct bytes body,
                         struct fields *out)
{
    struct mqtt_suback m;
    int rc = type == MQTT_SUBACK ? mqtt_suback_decode(version, body, &m)
                                 : mqtt_unsuback_decode(version, body, &m);
    if (rc < 0) return rc;
    fields_add_number(a, out, "id", m.packet_id);
    for (size_t i = 0; i < m.reasons.n; i++) fields_add_number(a, out, "reason", m.reasons.p[i]);
    if (m.props.present) props_decode(a, m.props.raw, out);
    return 0;
}

static int decode_connack(struct arena *a, unsigned version, struct bytes body, struct fields *out)
{
    struct mqtt_connack m;
    int rc = mqtt_connack_decode(version, body, &m);
    if (rc < 0) return rc;
    fields_add_number(a, out, "reason", m.reason);
    fields_add_number(a, out, "session-present", m.session_present);
    if (m.props.present) props_decode(a, m.props.raw, out);
    return 0;
}

static int decode_disconnect(struct arena *a, unsigned version, unsigned type, struct bytes body,
                             struct fields *out)
{
    struct mqtt_disconnect m;
    if (version != MQTT_V5) return E_PROTOCOL; /* only MQTT 5 servers send these */
    int rc =
        type == MQTT_AUTH ? mqtt_auth_decode(body, &m) : mqtt_disconnect_decode(version, body, &m);
    if (rc < 0) return rc;
    fields_add_number(a, out, "reason", m.reason);
    if (m.props.present) props_decode(a, m.props.raw, out);
    return 0;
}

static int decode(struct arena *a, unsigned version, const struct mqtt_frame *f, struct bytes body,
                  struct fields *out)
{
    switch (f->type) {
    case MQTT_CONNACK: return decode_connack(a, version, body, out);
    case MQTT_PUBLISH: return decode_publish(a, version, f, body, out);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP: return decode_ack(a, version, f->type, body, out);
    case MQTT_SUBACK:
    case MQTT_UNSUBACK: return decode_suback(a, version, f->type, body, out);
    case MQTT_PINGRESP: return body.n ? E_MALFORMED : 0;
    case MQTT_DISCONNECT:
    case MQTT_AUTH: return decode_disconnect(a, version, f->type, body, out);
    default: return E_PROTOCOL; /* not for a server to send */
    }
}

void packet_decode(struct arena *a, unsigned version, struct bytes raw, struct packet *out)
{
    struct mqtt_frame f;
    *out = (struct packet){.raw = raw};
    int rc = mqtt_frame_peek(raw, 0, &f);
    if (rc == 0) {
        out->type = f.type;
        rc = decode(a, version, &f, bytes_of(raw.p + f.head_len, f.body_len), &out->fields);
    }
    if (rc < 0) out->error = arena_printf(a, "the broker must not send this: %s", err_name(rc));
}

/* ---- encoding ---- */

static struct bytes text_of(const struct fields *f, const char *name)
{
    const struct field *item = fields_get(f, name);
    return item ? item->text : (struct bytes){0};
}

static uint64_t number_of(const struct fields *f, const char *name)
{
    const struct field *item = fields_get(f, name);
    return item ? item->number : 0;
}

static bool flag_of(const struct fields *f, const char *name) { return number_of(f, name) != 0; }

struct encoder {
    struct arena *arena;
    unsigned version, type;
    const struct fields *fields;
    struct bytes props;
    uint8_t *start, *end;
};

static uint8_t *encode_connect(struct encoder *e, uint8_t *d, struct bytes will_props)
{
    const struct fields *f = e->fields;
    struct mqtt_connect m = {.version = (uint8_t)e->version,
                             .bridge = flag_of(f, "bridge"),
                             .clean_start = flag_of(f, "clean"),
                             .has_will = fields_get(f, "will.topic") != NULL,
                             .has_username = fields_get(f, "username") != NULL,
                             .has_password = fields_get(f, "password") != NULL,
                             .keep_alive_s = (uint16_t)number_of(f, "keepalive"),
                             .client_id = text_of(f, "id"),
                             .username = text_of(f, "username"),
                             .password = text_of(f, "password")};
    m.props.raw = e->props;
    m.will.topic = text_of(f, "will.topic");
    m.will.payload = text_of(f, "will.payload");
    m.will.qos = (uint8_t)number_of(f, "will.qos");
    m.will.retain = flag_of(f, "will.retain");
    m.will.props.raw = will_props;
    return mqtt_connect_encode(d, &m);
}

static uint8_t *encode_publish(const struct encoder *e, uint8_t *d)
{
    const struct fields *f = e->fields;
    struct mqtt_publish_out m = {.topic = text_of(f, "topic"),
                                 .payload = text_of(f, "payload"),
                                 .props = e->props,
                                 .expiry_s = MQTT_NO_EXPIRY,
                                 .packet_id = (uint16_t)number_of(f, "id"),
                                 .qos = number_of(f, "qos") & 3,
                                 .retain = flag_of(f, "retain"),
                                 .dup = flag_of(f, "dup")};
    return mqtt_publish_encode(d, e->version, &m);
}

static uint8_t *encode_subscribe(struct encoder *e, uint8_t *d)
{
    const struct fields *f = e->fields;
    uint16_t id = (uint16_t)number_of(f, "id");
    struct mqtt_subscription *subs = arena_alloc(e->arena, f->count * sizeof *subs);
    struct bytes *filters = arena_alloc(e->arena, f->count * sizeof *filters);
    size_t count = 0;
    for (size_t i = 0; i < f->count; i++) {
        const struct field *item = &f->items[i];
        if (field_is(item, "filter")) {
            filters[count] = item->text;
            subs[count++].filter = item->text;
        } else if (count && field_is(item, "qos")) {
            subs[count - 1].qos = (uint8_t)item->number;
        } else if (count && field_is(item, "nl")) {
            subs[count - 1].no_local = item->number;
        } else if (count && field_is(item, "rap")) {
            subs[count - 1].retain_as_published = item->number;
        } else if (count && field_is(item, "rh")) {
            subs[count - 1].retain_handling = (uint8_t)item->number;
        }
    }
    if (e->type == MQTT_UNSUBSCRIBE)
        return mqtt_unsubscribe_encode(d, e->version, id, filters, count, e->props);
    return mqtt_subscribe_encode(d, e->version, id, subs, count, e->props);
}

static const char *encode(struct encoder *e, uint8_t *d, struct bytes will_props)
{
    const struct fields *f = e->fields;
    uint8_t reason = (uint8_t)number_of(f, "reason");
    switch (e->type) {
    case MQTT_CONNECT: e->end = encode_connect(e, d, will_props); break;
    case MQTT_PUBLISH: e->end = encode_publish(e, d); break;
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE: e->end = encode_subscribe(e, d); break;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        e->end = mqtt_ack_encode(d, e->version, e->type, (uint16_t)number_of(f, "id"), reason,
                                 (struct bytes){0}, e->props);
        break;
    case MQTT_PINGREQ:
    case MQTT_PINGRESP: e->end = mqtt_ping_encode(d, e->type); break;
    case MQTT_DISCONNECT:
        e->end = mqtt_disconnect_encode(d, e->version, e->type, reason, e->props);
        break;
    case MQTT_AUTH: /* also before version 5: the broker's answer to that is tested */
        e->end = mqtt_disconnect_encode(d, MQTT_V5, e->type, reason, e->props);
        break;
    default: return "a client sends this with raw only";
    }
    return NULL;
}

/* Numbers are numbers, texts fit, and before version 5 there are no properties. */
static const char *check_fields(struct arena *a, unsigned version, const struct fields *f)
{
    static const char *const numbers[] = {"qos",      "retain", "dup",        "id", "reason",
                                          "clean",    "nl",     "rap",        "rh", "keepalive",
                                          "will.qos", "bridge", "will.retain"};
    bool connect = fields_get(f, "keepalive") != NULL; /* its id is a text */
    for (size_t i = 0; i < f->count; i++) {
        const struct field *item = &f->items[i];
        const char *name = arena_printf(a, "%.*s", (int)item->name.n, (const char *)item->name.p);
        if (item->mode != FIELD_VALUE) return arena_printf(a, "%s needs a value here", name);
        if (item->text.n > UINT16_MAX && strcmp(name, "payload") != 0)
            return arena_printf(a, "%s is too long", name);
        bool is_prop = prop_id(item->name) ||
                       (bytes_starts(item->name, "will.") && prop_id(bytes_skip(item->name, 5)));
        if (is_prop && version != MQTT_V5)
            return arena_printf(a, "%s is a property, and those want v5", name);
        for (size_t k = 0; k < ARRAY_LEN(numbers); k++)
            if (strcmp(name, numbers[k]) == 0 && !item->is_number && !(connect && k == 3))
                return arena_printf(a, "%s wants a number", name);
    }
    return NULL;
}

const char *packet_encode(struct arena *a, unsigned version, unsigned type, const struct fields *f,
                          struct bytes *out)
{
    struct encoder e = {.arena = a, .version = version, .type = type, .fields = f};
    struct bytes will_props = {0};
    const char *error = check_fields(a, version, f);
    if (error == NULL) error = props_encode(a, f, "", &e.props);
    if (error == NULL && type == MQTT_CONNECT) error = props_encode(a, f, "will.", &will_props);
    if (error) return error;
    size_t room = 64;
    for (size_t i = 0; i < f->count; i++) room += 16 + f->items[i].key.n + f->items[i].text.n;
    e.start = arena_alloc(a, room);
    error = encode(&e, e.start, will_props);
    if (error == NULL) *out = bytes_of(e.start, (size_t)(e.end - e.start));
    return error;
}
