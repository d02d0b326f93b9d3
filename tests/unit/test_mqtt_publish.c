/* PUBLISH, decoding and encoding. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/mqtt_wire.h"

static int decode(unsigned version, unsigned flags, const char *text)
{
    struct mqtt_publish p;
    return mqtt_publish_decode(version, flags, wire(text), &p);
}

static void the_parts_of_a_publish_are_views_into_the_packet(void **state)
{
    (void)state;
    struct mqtt_publish p;
    memset(&p, 0xee, sizeof p);
    struct bytes body = wire("<a/b> 1234 05 26 <> <> 'hi'");
    assert_int_equal(mqtt_publish_decode(MQTT_V5, 0x0d, body, &p), 0);
    assert_bytes(p.topic, "a/b");
    assert_bytes(p.payload, "hi");
    assert_int_equal(p.packet_id, 0x1234);
    assert_int_equal(p.props.n, 5);
    assert_true(p.qos == 2 && p.retain && p.dup);
    assert_ptr_equal(p.topic.p, body.p + 2);

    memset(&p, 0xee, sizeof p);
    assert_int_equal(mqtt_publish_decode(MQTT_V311, 0, wire("<a> 00 'x'"), &p), 0);
    assert_int_equal(p.packet_id, 0); /* [MQTT-2.2.1-2] */
    assert_true(p.qos == 0 && !p.retain && !p.dup && p.props.n == 0);
    assert_int_equal(p.payload.n, 2); /* no properties before version 5 */
}

static void a_payload_may_be_empty(void **state)
{
    (void)state;
    struct mqtt_publish p;
    assert_int_equal(mqtt_publish_decode(MQTT_V311, 1, wire("<a>"), &p), 0);
    assert_int_equal(p.payload.n, 0);
    assert_int_equal(mqtt_publish_decode(MQTT_V5, 1, wire("<a> 00"), &p), 0);
    assert_int_equal(p.payload.n, 0);
}

static void qos_3_and_dup_at_qos_0_are_malformed(void **state) /* [MQTT-3.3.1-4], [MQTT-3.3.1-2] */
{
    (void)state;
    for (unsigned flags = 0; flags < 16; flags++) {
        unsigned qos = flags >> 1 & 3;
        bool good = qos != 3 && !(qos == 0 && flags & 8);
        int want = good ? 0 : E_MALFORMED;
        assert_int_equal(decode(MQTT_V31, flags, "<a> 0001"), want);
        assert_int_equal(decode(MQTT_V311, flags, "<a> 0001"), want);
        assert_int_equal(decode(MQTT_V5, flags, qos ? "<a> 0001 00" : "<a> 00"), want);
    }
}

static void packet_identifier_0_is_a_protocol_error(void **state) /* [MQTT-2.2.1-3] */
{
    (void)state;
    assert_int_equal(decode(MQTT_V311, 2, "<a> 0000 'x'"), E_PROTOCOL);
    assert_int_equal(decode(MQTT_V5, 4, "<a> 0000 00 'x'"), E_PROTOCOL);
    assert_int_equal(decode(MQTT_V5, 0, "<a> 00 00"), 0);
}

static void a_publish_that_is_cut_is_malformed(void **state)
{
    (void)state;
    assert_int_equal(decode(MQTT_V311, 0, ""), E_MALFORMED);
    assert_int_equal(decode(MQTT_V311, 0, "00"), E_MALFORMED);
    assert_int_equal(decode(MQTT_V311, 0, "0002 61"), E_MALFORMED);
    assert_int_equal(decode(MQTT_V311, 2, "<a> 00"), E_MALFORMED);
    assert_int_equal(decode(MQTT_V5, 0, "<a>"), E_MALFORMED);
    assert_int_equal(decode(MQTT_V5, 0, "<a> 02 01"), E_MALFORMED);
    assert_int_equal(decode(MQTT_V5, 0, "<a> 80"), E_MALFORMED);
    assert_int_equal(decode(MQTT_V5, 0, "<a> ffffffff7f"), E_MALFORMED);
}

static void a_block_of_more_than_127_bytes_has_a_longer_length(void **state)
{
    (void)state;
    uint8_t all[512], *d = put_u8(put_u16(all, 1), 'a');
    d = put_varint(d, 200);
    memset(d, 0x11, 200);
    d = put_u8(d + 200, 'p');
    struct mqtt_publish p;
    struct bytes body = wire_exact(bytes_of(all, (size_t)(d - all)));
    assert_int_equal(mqtt_publish_decode(MQTT_V5, 0, body, &p), 0);
    assert_int_equal(p.props.n, 200);
    assert_bytes(p.payload, "p");
}

static int props_of(const char *text, bool from_server)
{
    struct mqtt_publish p = {.props = wire(text)};
    struct mqtt_props props;
    return from_server ? mqtt_publish_props_from_server(&p, &props)
                       : mqtt_publish_props(&p, &props);
}

static void a_client_may_not_send_subscription_identifiers(void **state) /* [MQTT-3.3.4-6] */
{
    (void)state;
    assert_int_equal(props_of("0b 01", false), E_PROTOCOL);
    assert_int_equal(props_of("0b 01", true), 0);
    assert_int_equal(props_of("0b 01 0b 02", true), 0);
    assert_int_equal(props_of("01 01", false), 0);
}

static void a_response_topic_has_no_wildcards(void **state) /* [MQTT-3.3.2-14] */
{
    (void)state;
    assert_int_equal(props_of("08 <a/+/b>", false), E_PROTOCOL);
    assert_int_equal(props_of("08 <#>", false), E_PROTOCOL);
    assert_int_equal(props_of("08 <>", false), E_PROTOCOL);
    assert_int_equal(props_of("08 <a/b>", false), 0);
    assert_int_equal(props_of("08 0001 ff", false), E_MALFORMED); /* [MQTT-3.3.2-13] */
}

static void encode_is(unsigned version, const struct mqtt_publish_out *p, const char *text)
{
    uint8_t d[512];
    const uint8_t *end = mqtt_publish_encode(d, version, p);
    assert_wire(d, end, text);
    assert_int_equal(mqtt_publish_size(version, p), end - d);
}

static void a_publish_is_written_with_what_it_has(void **state)
{
    (void)state;
    const uint32_t subids[] = {1, 300};
    struct mqtt_publish_out p = {
        .topic = bytes_str("a/b"), .payload = bytes_str("hi"), .expiry_s = MQTT_NO_EXPIRY};
    encode_is(MQTT_V311, &p, "30 07 <a/b> 'hi'");
    encode_is(MQTT_V5, &p, "30 08 <a/b> 00 'hi'");
    p.qos = 1, p.packet_id = 7, p.dup = true;
    encode_is(MQTT_V311, &p, "3a 09 <a/b> 0007 'hi'");
    p.props = wire("26 <k> <v>");
    p.expiry_s = 9;
    p.alias = 3;
    p.subids = subids, p.subid_count = 2;
    p.qos = 2, p.retain = true, p.dup = false;
    encode_is(MQTT_V5, &p, "35 1e <a/b> 0007 14 02 00000009 23 0003 0b 01 0b ac02 26 <k> <v> 'hi'");
    p.topic = (struct bytes){0}; /* the alias is known: [MQTT-3.3.2-12] */
    encode_is(MQTT_V5, &p, "35 1b <> 0007 14 02 00000009 23 0003 0b 01 0b ac02 26 <k> <v> 'hi'");
    encode_is(MQTT_V311, &p, "35 06 <> 0007 'hi'");
}

static void what_does_not_fit_a_packet_has_no_size(void **state)
{
    (void)state; /* sizes only: nobody looks at the bytes */
    struct mqtt_publish_out p = {.topic = bytes_str("a"), .expiry_s = MQTT_NO_EXPIRY};
    p.payload.n = MQTT_MAX_REMAINING - 3;
    assert_int_equal(mqtt_publish_size(MQTT_V311, &p), MQTT_MAX_REMAINING + 5u);
    p.payload.n++;
    assert_int_equal(mqtt_publish_size(MQTT_V311, &p), 0);
    p.payload.n = 0;
    p.props.n = (size_t)UINT32_MAX + 1;
    assert_int_equal(mqtt_publish_size(MQTT_V5, &p), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_parts_of_a_publish_are_views_into_the_packet),
        cmocka_unit_test(a_payload_may_be_empty),
        cmocka_unit_test(qos_3_and_dup_at_qos_0_are_malformed),
        cmocka_unit_test(packet_identifier_0_is_a_protocol_error),
        cmocka_unit_test(a_publish_that_is_cut_is_malformed),
        cmocka_unit_test(a_block_of_more_than_127_bytes_has_a_longer_length),
        cmocka_unit_test(a_client_may_not_send_subscription_identifiers),
        cmocka_unit_test(a_response_topic_has_no_wildcards),
        cmocka_unit_test(a_publish_is_written_with_what_it_has),
        cmocka_unit_test(what_does_not_fit_a_packet_has_no_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
