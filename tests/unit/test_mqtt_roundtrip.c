/* Every kind of packet, made at random from a seed, encoded, decoded and compared; and every packet
 * cut at every byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tests/unit/mqtt_wire.h"

enum { ROUNDS = 3000, TEXT_MAX = 200 };

static unsigned below(struct rng *r, unsigned limit) { return (unsigned)rng_below(r, limit); }

static unsigned any_version(struct rng *r) { return MQTT_V31 + below(r, 3); }

/* Mostly short, at times long enough for a length of two bytes. */
static struct bytes any_text(struct rng *r, size_t least)
{
    uint8_t text[TEXT_MAX * 2];
    size_t n = 0, characters = least + below(r, below(r, 8) ? 8 : TEXT_MAX - 1);
    for (; characters > 0; characters--) {
        unsigned letter = below(r, 27);
        if (letter == 26) text[n++] = 0xc3; /* a character of two bytes */
        text[n++] = letter == 26 ? 0xa4 : (uint8_t)('a' + letter);
    }
    return wire_exact(bytes_of(text, n));
}

/* Properties that may stand at `where`, from a list of ids; at most one of each but user. */
static struct bytes any_props(struct rng *r, unsigned version, const uint8_t *ids, size_t count)
{
    uint8_t all[WIRE_MAX], *d = all;
    if (version != MQTT_V5) return (struct bytes){0};
    for (size_t i = 0; i < count; i++) {
        enum mqtt_prop_id id = (enum mqtt_prop_id)ids[i];
        if (below(r, 3) == 0) continue;
        switch (id) {
        case MQTT_P_USER:
            for (unsigned n = below(r, 4); n > 0; n--)
                d = mqtt_put_prop_user(d, any_text(r, 0), any_text(r, 0));
            break;
        case MQTT_P_PAYLOAD_FORMAT:
        case MQTT_P_REQUEST_PROBLEM: d = mqtt_put_prop_u8(d, id, (uint8_t)below(r, 2)); break;
        case MQTT_P_RECEIVE_MAX:
        case MQTT_P_TOPIC_ALIAS:
            d = mqtt_put_prop_u16(d, id, (uint16_t)(1 + below(r, 65535)));
            break;
        case MQTT_P_MESSAGE_EXPIRY:
        case MQTT_P_WILL_DELAY:
        case MQTT_P_SESSION_EXPIRY: d = mqtt_put_prop_u32(d, id, (uint32_t)rng_next(r)); break;
        case MQTT_P_SUBSCRIPTION_ID:
            d = mqtt_put_prop_varint(d, id, 1 + below(r, MQTT_MAX_REMAINING));
            break;
        default: d = mqtt_put_prop_bytes(d, id, any_text(r, 1)); break;
        }
    }
    return wire_exact(bytes_of(all, (size_t)(d - all)));
}

#define ANY_PROPS(r, version, ...)                                                                 \
    any_props(r, version, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

/* The body of a packet that was just encoded, in memory of its own. */
static struct bytes body_of(const uint8_t *from, const uint8_t *end, unsigned type)
{
    struct mqtt_frame f;
    assert_int_equal(mqtt_frame_peek(bytes_of(from, (size_t)(end - from)), 0, &f), 0);
    assert_int_equal(f.type, type);
    assert_int_equal(f.head_len + f.body_len, end - from);
    return wire_exact(bytes_of(from + f.head_len, f.body_len));
}

static uint8_t packet[1 << 16]; /* where encoders write */

static void connect_survives(void **state)
{
    (void)state;
    struct rng r = {1};
    for (int i = 0; i < ROUNDS; i++) {
        struct mqtt_connect c = {.version = (uint8_t)any_version(&r), .bridge = below(&r, 2)}, got;
        c.clean_start = below(&r, 2);
        c.has_will = below(&r, 2);
        c.has_username = below(&r, 2);
        c.has_password = below(&r, 2) && (c.has_username || c.version == MQTT_V5);
        c.keep_alive_s = (uint16_t)rng_next(&r);
        c.client_id = any_text(&r, 0);
        c.props.raw = ANY_PROPS(&r, c.version, MQTT_P_SESSION_EXPIRY, MQTT_P_RECEIVE_MAX,
                                MQTT_P_USER, MQTT_P_REQUEST_PROBLEM);
        if (c.has_will) {
            c.will.topic = any_text(&r, 1);
            c.will.payload = any_text(&r, 0);
            c.will.qos = (uint8_t)below(&r, 3);
            c.will.retain = below(&r, 2);
            c.will.props.raw = ANY_PROPS(&r, c.version, MQTT_P_WILL_DELAY, MQTT_P_USER);
        }
        if (c.has_username) c.username = any_text(&r, 0);
        if (c.has_password) c.password = any_text(&r, 0);
        uint8_t *end = mqtt_connect_encode(packet, &c);
        assert_int_equal(mqtt_connect_size(&c), end - packet);
        int rc = mqtt_connect_decode(body_of(packet, end, MQTT_CONNECT), &got);
        assert_int_equal(rc, 0);
        assert_true(got.version == c.version && got.bridge == c.bridge);
        assert_true(got.clean_start == c.clean_start && got.has_will == c.has_will);
        assert_true(got.has_username == c.has_username && got.has_password == c.has_password);
        assert_int_equal(got.keep_alive_s, c.keep_alive_s);
        assert_true(bytes_eq(got.client_id, c.client_id) && bytes_eq(got.username, c.username));
        assert_true(bytes_eq(got.password, c.password) && bytes_eq(got.props.raw, c.props.raw));
        assert_true(bytes_eq(got.will.topic, c.will.topic));
        assert_true(bytes_eq(got.will.payload, c.will.payload));
        assert_true(bytes_eq(got.will.props.raw, c.will.props.raw));
        assert_true(got.will.qos == c.will.qos && got.will.retain == c.will.retain);
    }
}

static void publish_survives(void **state)
{
    (void)state;
    struct rng r = {2};
    for (int i = 0; i < ROUNDS; i++) {
        unsigned version = any_version(&r);
        uint32_t subids[3] = {1 + below(&r, 200), 1 + below(&r, 20000), 1 + below(&r, 3000000)};
        struct mqtt_publish_out p = {.topic = any_text(&r, 0),
                                     .payload = any_text(&r, 0),
                                     .props = ANY_PROPS(&r, version, MQTT_P_PAYLOAD_FORMAT,
                                                        MQTT_P_CONTENT_TYPE, MQTT_P_USER),
                                     .subids = subids,
                                     .subid_count = below(&r, 4),
                                     .expiry_s = below(&r, 2) ? MQTT_NO_EXPIRY : below(&r, 1000),
                                     .alias = (uint16_t)(below(&r, 2) * 9),
                                     .qos = (uint8_t)below(&r, 3),
                                     .retain = below(&r, 2)};
        p.dup = p.qos && below(&r, 2);
        p.packet_id = p.qos ? (uint16_t)(1 + below(&r, 65535)) : 0;
        uint8_t *end = mqtt_publish_encode(packet, version, &p);
        assert_int_equal(mqtt_publish_size(version, &p), end - packet);
        struct mqtt_publish got;
        struct bytes body = body_of(packet, end, MQTT_PUBLISH);
        assert_int_equal(mqtt_publish_decode(version, packet[0] & 15u, body, &got), 0);
        assert_true(bytes_eq(got.topic, p.topic) && bytes_eq(got.payload, p.payload));
        assert_true(got.qos == p.qos && got.retain == p.retain && got.dup == p.dup);
        assert_int_equal(got.packet_id, p.packet_id);
        if (version != MQTT_V5) continue;
        struct mqtt_props props;
        assert_int_equal(mqtt_publish_props_from_server(&got, &props), 0);
        assert_int_equal(mqtt_has(&props, MQTT_P_MESSAGE_EXPIRY), p.expiry_s != MQTT_NO_EXPIRY);
        if (p.expiry_s != MQTT_NO_EXPIRY) assert_int_equal(props.message_expiry, p.expiry_s);
        assert_int_equal(mqtt_has(&props, MQTT_P_TOPIC_ALIAS), p.alias != 0);
        assert_int_equal(mqtt_has(&props, MQTT_P_SUBSCRIPTION_ID), p.subid_count != 0);
        uint32_t at_subid = 0;
        struct mqtt_prop prop;
        for (size_t at = 0; mqtt_props_next(got.props, &at, &prop);)
            if (prop.id == MQTT_P_SUBSCRIPTION_ID)
                assert_int_equal(prop.number, subids[at_subid++]);
        assert_int_equal(at_subid, p.subid_count);
        uint8_t forwarded[WIRE_MAX]; /* what travels on is what came */
        size_t n = mqtt_props_forward(got.props, forwarded);
        assert_true(bytes_eq(bytes_of(forwarded, n), p.props));
    }
}

static void acks_survive(void **state)
{
    (void)state;
    static const uint8_t reasons[][2] = {{0, 0x97}, {0x10, 0x80}, {0, 0x92}, {0, 0x92}};
    struct rng r = {3};
    for (int i = 0; i < ROUNDS; i++) {
        unsigned version = any_version(&r), type = MQTT_PUBACK + below(&r, 4);
        uint16_t id = (uint16_t)(1 + below(&r, 65535));
        uint8_t reason = version == MQTT_V5 ? reasons[type - MQTT_PUBACK][below(&r, 2)] : 0;
        struct bytes why =
            below(&r, 2) && version == MQTT_V5 ? bytes_str("why") : (struct bytes){0};
        struct bytes user =
            below(&r, 2) && version == MQTT_V5 ? wire("26 <k> <v>") : (struct bytes){0};
        uint8_t *end = mqtt_ack_encode(packet, version, type, id, reason, why, user);
        assert_true((size_t)(end - packet) <= MQTT_ACK_MAX + why.n + user.n);
        struct mqtt_ack a;
        assert_int_equal(mqtt_ack_decode(version, type, body_of(packet, end, type), &a), 0);
        assert_true(a.packet_id == id && a.reason == reason);
        assert_int_equal(mqtt_has(&a.props, MQTT_P_REASON_STRING), why.n > 0);
        assert_int_equal(a.props.raw.n, user.n + (why.n ? 3 + why.n : 0));
    }
}

static void subscribe_survives(void **state)
{
    (void)state;
    struct rng r = {4};
    for (int i = 0; i < ROUNDS; i++) {
        unsigned version = any_version(&r);
        bool v5 = version == MQTT_V5;
        struct mqtt_subscription subs[5], e;
        struct bytes filters[5], filter;
        size_t count = 1 + below(&r, 5);
        for (size_t k = 0; k < count; k++) {
            filters[k] = k % 2 ? bytes_str("a/+/#") : bytes_str("b\xc3\xa4");
            subs[k] = (struct mqtt_subscription){.filter = filters[k],
                                                 .qos = (uint8_t)below(&r, 3),
                                                 .no_local = v5 && below(&r, 2),
                                                 .retain_as_published = v5 && below(&r, 2),
                                                 .retain_handling = v5 ? (uint8_t)below(&r, 3) : 0};
        }
        struct bytes props = ANY_PROPS(&r, version, MQTT_P_SUBSCRIPTION_ID);
        uint8_t *end = mqtt_subscribe_encode(packet, version, 5, subs, count, props);
        assert_int_equal(mqtt_subscribe_size(version, subs, count, props), end - packet);
        struct mqtt_subscribe got;
        struct bytes body = body_of(packet, end, MQTT_SUBSCRIBE);
        assert_int_equal(mqtt_subscribe_decode(version, body, &got), 0);
        assert_true(got.count == count && bytes_eq(got.props.raw, props));
        for (size_t k = 0; k < count; k++) {
            assert_true(mqtt_subscribe_next(version, &got, &e));
            assert_true(bytes_eq(e.filter, subs[k].filter) && e.qos == subs[k].qos);
            assert_true(e.no_local == subs[k].no_local);
            assert_true(e.retain_as_published == subs[k].retain_as_published);
            assert_true(e.retain_handling == subs[k].retain_handling);
        }
        assert_false(mqtt_subscribe_next(version, &got, &e));

        struct bytes none = {0};
        end = mqtt_unsubscribe_encode(packet, version, 6, filters, count, none);
        assert_int_equal(mqtt_unsubscribe_size(version, filters, count, none), end - packet);
        body = body_of(packet, end, MQTT_UNSUBSCRIBE);
        assert_int_equal(mqtt_unsubscribe_decode(version, body, &got), 0);
        assert_true(got.count == count && got.packet_id == 6);
        for (size_t k = 0; k < count; k++) {
            assert_true(mqtt_unsubscribe_next(&got, &filter));
            assert_true(bytes_eq(filter, filters[k]));
        }
    }
}

static void small_answers_keep_within_the_room_that_callers_make(void **state)
{
    (void)state; /* MQTT_SMALL_MAX, at the longest lengths */
    static uint8_t codes[20000];
    struct bytes props = bytes_of(codes, sizeof codes), reasons = bytes_of(codes, 3);
    struct bytes all = bytes_of(codes, sizeof codes);
    const uint8_t *end = mqtt_connack_encode(packet, MQTT_V5, true, 0, props);
    assert_true((size_t)(end - packet) <= MQTT_SMALL_MAX + props.n);
    end = mqtt_suback_encode(packet, MQTT_V5, MQTT_SUBACK, 1, all, props);
    assert_true((size_t)(end - packet) <= MQTT_SMALL_MAX + all.n + props.n);
    end = mqtt_disconnect_encode(packet, MQTT_V5, MQTT_DISCONNECT, 0x82, props);
    assert_true((size_t)(end - packet) <= MQTT_SMALL_MAX + props.n);
    end = mqtt_suback_encode(packet, MQTT_V311, MQTT_SUBACK, 1, reasons, props);
    struct mqtt_suback s;
    assert_int_equal(mqtt_suback_decode(MQTT_V311, body_of(packet, end, MQTT_SUBACK), &s), 0);
    assert_int_equal(s.reasons.n, 3);
}

static int decode_body(unsigned version, unsigned type, unsigned flags, struct bytes body)
{
    union {
        struct mqtt_connect connect;
        struct mqtt_connack connack;
        struct mqtt_publish publish;
        struct mqtt_ack ack;
        struct mqtt_subscribe subscribe;
        struct mqtt_suback suback;
        struct mqtt_disconnect disconnect;
    } out;
    switch (type) {
    case MQTT_CONNECT: return mqtt_connect_decode(body, &out.connect);
    case MQTT_CONNACK: return mqtt_connack_decode(version, body, &out.connack);
    case MQTT_PUBLISH: return mqtt_publish_decode(version, flags, body, &out.publish);
    case MQTT_SUBSCRIBE: return mqtt_subscribe_decode(version, body, &out.subscribe);
    case MQTT_UNSUBSCRIBE: return mqtt_unsubscribe_decode(version, body, &out.subscribe);
    case MQTT_SUBACK: return mqtt_suback_decode(version, body, &out.suback);
    case MQTT_UNSUBACK: return mqtt_unsuback_decode(version, body, &out.suback);
    case MQTT_DISCONNECT: return mqtt_disconnect_decode(version, body, &out.disconnect);
    case MQTT_AUTH: return mqtt_auth_decode(body, &out.disconnect);
    default: return mqtt_ack_decode(version, type, body, &out.ack);
    }
}

/* `whole`: at which lengths a shorter body is a packet too, or misses only what the protocol, not
 * the encoding, asks for. */
static const struct cut {
    unsigned version;
    const char *packet;
    uint8_t whole[16];
} cuts[] = {
    {3, "10 22 <MQIsdp> 03 c6 003c <id> <w> <bye> <bob> <pw>", {24, 29}},
    {4, "10 20 <MQTT> 04 c6 003c <id> <w> <bye> <bob> <pw>", {0}},
    {5,
     "10 30 <MQTT> 05 c6 003c 05 11 00000007 <id> 09 26 <k> <v> 01 01 <w> <bye> <bob> <pw>",
     {0}},
    {4, "20 02 0000", {0}},
    {5, "20 09 0000 06 22 000a 21 0014", {0}},
    {4, "32 08 <a/b> 0001 'p'", {7}},
    {5, "32 0e <a/b> 0001 05 26 <> <> 'p'", {13}},
    {4, "40 02 0001", {0}},
    {5, "40 0a 0001 10 06 1f <why>", {2, 3}},
    {5, "62 0a 0001 92 06 1f <why>", {2, 3}},
    {4, "82 0a 0001 <a> 00 <b> 01", {2, 6}},
    {5, "82 0d 0001 02 0b 07 <a> 00 <b> 01", {5, 9}},
    {4, "a2 08 0001 <a> <b>", {2, 5}},
    {5, "a2 0b 0001 05 26 <> <> <a>", {8}},
    {4, "90 04 0001 0001", {3}},
    {5, "90 09 0001 05 1f <no> 01", {0}},
    {4, "b0 02 0001", {0}},
    {5, "b0 04 0001 00 11", {0}},
    {5, "e0 07 00 05 11 00000007", {0xff, 1}},
    {5, "f0 06 18 04 15 <m>", {0xff, 1}},
};

static bool is_whole(const struct cut *c, size_t n)
{
    for (size_t i = 0; i < sizeof c->whole; i++)
        if (c->whole[i] && (c->whole[i] == 0xff ? 0 : c->whole[i]) == n) return true;
    return false;
}

/* The views of a packet that was cut lie in memory of just that size: the sanitizer looks on. */
static void a_packet_cut_anywhere_is_awaited_or_malformed(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
        const struct cut *c = &cuts[i];
        struct bytes all = wire(c->packet);
        uint8_t fixed[256]; /* the length as it is, whatever the line says */
        memcpy(fixed, all.p, all.n);
        fixed[1] = (uint8_t)(all.n - 2);
        all = wire_exact(bytes_of(fixed, all.n));
        unsigned type = all.p[0] >> 4, flags = all.p[0] & 15u;
        struct mqtt_frame f;
        for (size_t n = 0; n < all.n; n++)
            assert_int_equal(mqtt_frame_peek(wire_exact(bytes_of(all.p, n)), 0, &f), E_AGAIN);
        assert_int_equal(mqtt_frame_peek(all, 0, &f), 0);
        for (size_t n = 0; n < f.body_len; n++) {
            struct bytes cut = wire_exact(bytes_of(all.p + f.head_len, n));
            int rc = decode_body(c->version, type, flags, cut);
            if ((rc == E_MALFORMED) == is_whole(c, n)) fail_msg("%s at %zu: %d", c->packet, n, rc);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connect_survives),
        cmocka_unit_test(publish_survives),
        cmocka_unit_test(acks_survive),
        cmocka_unit_test(subscribe_survives),
        cmocka_unit_test(small_answers_keep_within_the_room_that_callers_make),
        cmocka_unit_test(a_packet_cut_anywhere_is_awaited_or_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
