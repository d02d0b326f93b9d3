/* Fuzzes the codec: the first byte chooses the protocol version, the rest is a stream of packets.
 * Each is cut out, decoded as what it says it is, and what decodes is encoded again: where the
 * standard leaves no choice the bytes must be the same, else a second decoding and encoding must
 * not change them any more. */
#include "base/mem.h"
#include "mqtt/packet.h"
#include "mqtt/topic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A body in memory of exactly its size, so that a sanitizer sees each byte read past the end. */
static struct bytes copy_of(struct bytes in)
{
    uint8_t *p = mem_alloc(in.n);
    ASSERT(p != NULL);
    put_mem(p, in);
    return bytes_of(p, in.n);
}

static void drop(struct bytes b) { mem_free((void *)(uintptr_t)b.p); }

/* Every view must lie within the body. */
static void within(struct bytes body, struct bytes view)
{
    ASSERT(view.n == 0 || (view.p >= body.p && view.p + view.n <= body.p + body.n));
}

static void walk_props(struct bytes body, const struct mqtt_props *props)
{
    within(body, props->raw);
    uint8_t *dst = mem_alloc(props->raw.n);
    ASSERT(dst != NULL);
    uint32_t users = 0;
    uint64_t seen = 0;
    struct mqtt_prop prop;
    for (size_t at = 0; mqtt_props_next(props->raw, &at, &prop);) {
        users += prop.id == MQTT_P_USER;
        seen |= (uint64_t)1 << prop.id;
        within(body, prop.key);
        within(body, prop.value);
    }
    ASSERT(seen == props->present && users == props->user_count);
    ASSERT(mqtt_props_forward(props->raw, dst) <= props->raw.n);
    mem_free(dst);
}

/* The packet that was encoded, cut out again: its body is the one that was decoded. */
static void expect_body(uint8_t *from, const uint8_t *end, size_t claimed, struct bytes body)
{
    struct mqtt_frame f;
    ASSERT((size_t)(end - from) == claimed);
    ASSERT(mqtt_frame_peek(bytes_of(from, claimed), 0, &f) == 0);
    ASSERT(bytes_eq(bytes_of(from + f.head_len, f.body_len), body));
    mem_free(from);
}

static uint8_t *room(size_t size)
{
    uint8_t *d = mem_alloc(size);
    ASSERT(d != NULL);
    return d;
}

static void connect_again(struct bytes body, unsigned version, unsigned flags)
{
    (void)version, (void)flags;
    struct mqtt_connect c, again;
    if (mqtt_connect_decode(body, &c) < 0) return;
    walk_props(body, &c.props);
    walk_props(body, &c.will.props);
    within(body, c.client_id);
    within(body, c.username);
    within(body, c.password);
    size_t size = mqtt_connect_size(&c);
    uint8_t *d = room(size), *end = mqtt_connect_encode(d, &c);
    if (c.version != MQTT_V31) { /* which may leave fields out, and has a bit without meaning */
        expect_body(d, end, size, body);
        return;
    }
    struct mqtt_frame f;
    ASSERT(mqtt_frame_peek(bytes_of(d, size), 0, &f) == 0);
    ASSERT(mqtt_connect_decode(bytes_of(d + f.head_len, f.body_len), &again) == 0);
    ASSERT(mqtt_connect_size(&again) == size && bytes_eq(c.client_id, again.client_id));
    mem_free(d);
}

static void publish_again(struct bytes body, unsigned version, unsigned flags)
{
    struct mqtt_publish p;
    if (mqtt_publish_decode(version, flags, body, &p) < 0) return;
    within(body, p.topic);
    within(body, p.props);
    within(body, p.payload);
    struct mqtt_props props;
    if (mqtt_publish_props_from_server(&p, &props) == 0) walk_props(body, &props);
    (void)mqtt_topic_name_ok(p.topic, MQTT_TOPIC_LEVELS_DEFAULT);
    struct mqtt_publish_out out = {.topic = p.topic,
                                   .props = p.props,
                                   .payload = p.payload,
                                   .expiry_s = MQTT_NO_EXPIRY,
                                   .packet_id = p.packet_id,
                                   .qos = p.qos,
                                   .retain = p.retain,
                                   .dup = p.dup};
    size_t size = mqtt_publish_size(version, &out);
    uint8_t *d = room(size);
    expect_body(d, mqtt_publish_encode(d, version, &out), size, body);
}

static void ack_again(struct bytes body, unsigned version, unsigned type)
{
    struct mqtt_ack a, again;
    if (mqtt_ack_decode(version, type, body, &a) < 0) return;
    walk_props(body, &a.props);
    uint8_t *d = room(MQTT_ACK_MAX + a.props.raw.n);
    uint8_t *end =
        mqtt_ack_encode(d, version, type, a.packet_id, a.reason, (struct bytes){0}, a.props.raw);
    struct mqtt_frame f;
    ASSERT(mqtt_frame_peek(bytes_of(d, (size_t)(end - d)), 0, &f) == 0 && f.type == type);
    ASSERT(mqtt_ack_decode(version, type, bytes_of(d + f.head_len, f.body_len), &again) == 0);
    ASSERT(again.packet_id == a.packet_id && again.reason == a.reason);
    ASSERT(bytes_eq(again.props.raw, a.props.raw));
    mem_free(d);
}

static void disconnect_again(struct bytes body, unsigned version, unsigned type)
{
    struct mqtt_disconnect m, again;
    int rc =
        type == MQTT_AUTH ? mqtt_auth_decode(body, &m) : mqtt_disconnect_decode(version, body, &m);
    if (rc < 0) return;
    walk_props(body, &m.props);
    unsigned v = type == MQTT_AUTH ? MQTT_V5 : version;
    uint8_t *d = room(MQTT_SMALL_MAX + m.props.raw.n);
    uint8_t *end = mqtt_disconnect_encode(d, v, type, m.reason, m.props.raw);
    struct mqtt_frame f;
    ASSERT(mqtt_frame_peek(bytes_of(d, (size_t)(end - d)), 0, &f) == 0);
    struct bytes second = bytes_of(d + f.head_len, f.body_len);
    rc = type == MQTT_AUTH ? mqtt_auth_decode(second, &again)
                           : mqtt_disconnect_decode(v, second, &again);
    ASSERT(rc == 0 && again.reason == m.reason && bytes_eq(again.props.raw, m.props.raw));
    mem_free(d);
}

static void subscribe_again(struct bytes body, unsigned version, unsigned flags)
{
    (void)flags;
    struct mqtt_subscribe s;
    if (mqtt_subscribe_decode(version, body, &s) < 0) return;
    walk_props(body, &s.props);
    struct mqtt_subscription *subs = mem_calloc(s.count, sizeof *subs);
    ASSERT(subs != NULL && s.count > 0);
    uint32_t count = 0;
    while (mqtt_subscribe_next(version, &s, &subs[count])) {
        struct bytes group, filter;
        within(body, subs[count].filter);
        int shared = mqtt_share_split(subs[count].filter, &group, &filter);
        if (shared == 0) within(subs[count].filter, filter);
        if (mqtt_topic_filter_ok(subs[count].filter, MQTT_TOPIC_LEVELS_DEFAULT))
            (void)mqtt_topic_matches(subs[count].filter, bytes_str("a/b"));
        if (++count == s.count) break;
    }
    ASSERT(count == s.count && s.entries.n == 0);
    size_t size = mqtt_subscribe_size(version, subs, count, s.props.raw);
    uint8_t *d = room(size);
    uint8_t *end = mqtt_subscribe_encode(d, version, s.packet_id, subs, count, s.props.raw);
    expect_body(d, end, size, body);
    mem_free(subs);
}

static void unsubscribe_again(struct bytes body, unsigned version, unsigned flags)
{
    (void)flags;
    struct mqtt_subscribe s;
    if (mqtt_unsubscribe_decode(version, body, &s) < 0) return;
    walk_props(body, &s.props);
    struct bytes *filters = mem_calloc(s.count, sizeof *filters);
    ASSERT(filters != NULL && s.count > 0);
    for (uint32_t i = 0; i < s.count; i++) ASSERT(mqtt_unsubscribe_next(&s, &filters[i]));
    ASSERT(s.entries.n == 0);
    size_t size = mqtt_unsubscribe_size(version, filters, s.count, s.props.raw);
    uint8_t *d = room(size);
    uint8_t *end = mqtt_unsubscribe_encode(d, version, s.packet_id, filters, s.count, s.props.raw);
    expect_body(d, end, size, body);
    mem_free(filters);
}

static void connack_again(struct bytes body, unsigned version, unsigned flags)
{
    (void)flags;
    struct mqtt_connack c;
    if (mqtt_connack_decode(version, body, &c) < 0) return;
    walk_props(body, &c.props);
    uint8_t *d = room(MQTT_SMALL_MAX + c.props.raw.n);
    uint8_t *end = mqtt_connack_encode(d, version, c.session_present, c.reason, c.props.raw);
    expect_body(d, end, (size_t)(end - d), body);
}

static void suback_again(struct bytes body, unsigned version, unsigned type)
{
    struct mqtt_suback s;
    int rc = type == MQTT_SUBACK ? mqtt_suback_decode(version, body, &s)
                                 : mqtt_unsuback_decode(version, body, &s);
    if (rc < 0) return;
    walk_props(body, &s.props);
    uint8_t *d = room(MQTT_SMALL_MAX + s.props.raw.n + s.reasons.n);
    uint8_t *end = mqtt_suback_encode(d, version, type, s.packet_id, s.reasons, s.props.raw);
    expect_body(d, end, (size_t)(end - d), body);
}

static void packet_again(const struct mqtt_frame *f, unsigned version, struct bytes body)
{
    switch (f->type) {
    case MQTT_CONNECT: connect_again(body, version, 0); break;
    case MQTT_CONNACK: connack_again(body, version, 0); break;
    case MQTT_PUBLISH: publish_again(body, version, f->flags); break;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP: ack_again(body, version, f->type); break;
    case MQTT_SUBSCRIBE: subscribe_again(body, version, 0); break;
    case MQTT_UNSUBSCRIBE: unsubscribe_again(body, version, 0); break;
    case MQTT_SUBACK:
    case MQTT_UNSUBACK: suback_again(body, version, f->type); break;
    case MQTT_DISCONNECT:
    case MQTT_AUTH: disconnect_again(body, version, f->type); break;
    default: break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    unsigned version = MQTT_V31 + data[0] % 3;
    struct bytes in = bytes_of(data + 1, size - 1);
    struct mqtt_frame f;
    while (mqtt_frame_peek(in, 0, &f) == 0) {
        struct bytes body = copy_of(bytes_of(in.p + f.head_len, f.body_len));
        packet_again(&f, version, body);
        drop(body);
        in = bytes_skip(in, f.head_len + f.body_len);
    }
    return 0;
}
