/* PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT, AUTH, PINGREQ: decoding and encoding. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/mqtt_wire.h"

static const unsigned ack_types[] = {MQTT_PUBACK, MQTT_PUBREC, MQTT_PUBREL, MQTT_PUBCOMP};

static int ack(unsigned version, unsigned type, const char *text)
{
    struct mqtt_ack a;
    return mqtt_ack_decode(version, type, wire(text), &a);
}

static void an_ack_before_version_5_is_two_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ack_types); i++) {
        struct mqtt_ack a;
        memset(&a, 0xee, sizeof a);
        assert_int_equal(mqtt_ack_decode(MQTT_V311, ack_types[i], wire("1234"), &a), 0);
        assert_true(a.packet_id == 0x1234 && a.reason == 0 && a.props.present == 0);
        assert_int_equal(ack(MQTT_V311, ack_types[i], "123400"), E_MALFORMED);
        assert_int_equal(ack(MQTT_V31, ack_types[i], "12340000"), E_MALFORMED);
        assert_int_equal(ack(MQTT_V311, ack_types[i], "12"), E_MALFORMED);
        assert_int_equal(ack(MQTT_V311, ack_types[i], ""), E_MALFORMED);
    }
}

static void a_v5_ack_may_leave_reason_and_properties_out(void **state) /* 3.4.2.1 */
{
    (void)state;
    struct mqtt_ack a;
    memset(&a, 0xee, sizeof a);
    assert_int_equal(mqtt_ack_decode(MQTT_V5, MQTT_PUBACK, wire("0001"), &a), 0);
    assert_true(a.packet_id == 1 && a.reason == 0 && a.props.present == 0 && a.props.raw.n == 0);
    assert_int_equal(mqtt_ack_decode(MQTT_V5, MQTT_PUBACK, wire("0001 10"), &a), 0);
    assert_true(a.reason == MQTT_NO_MATCHING_SUBSCRIBERS && a.props.present == 0);
    assert_int_equal(mqtt_ack_decode(MQTT_V5, MQTT_PUBACK, wire("0001 87 00"), &a), 0);
    assert_int_equal(a.reason, MQTT_NOT_AUTHORIZED);
    assert_int_equal(
        mqtt_ack_decode(MQTT_V5, MQTT_PUBREC, wire("0001 97 0a 1f <why> 26 <> 00 00"), &a),
        E_MALFORMED);
    assert_int_equal(mqtt_ack_decode(MQTT_V5, MQTT_PUBREC, wire("0001 97 06 1f <why>"), &a), 0);
    assert_bytes(a.props.reason_string, "why");
    assert_int_equal(ack(MQTT_V5, MQTT_PUBACK, "0001 00 00 00"), E_MALFORMED);
    assert_int_equal(ack(MQTT_V5, MQTT_PUBACK, "0001 00 01"), E_MALFORMED);
    assert_int_equal(ack(MQTT_V5, MQTT_PUBACK, "0001 00 03 23 0001"), E_PROTOCOL);
}

static void packet_identifier_0_is_a_protocol_error(void **state) /* [MQTT-2.2.1-3] */
{
    (void)state;
    assert_int_equal(ack(MQTT_V311, MQTT_PUBACK, "0000"), E_PROTOCOL);
    assert_int_equal(ack(MQTT_V5, MQTT_PUBREL, "0000"), E_PROTOCOL);
}

/* Exactly the reason codes of the standard's table. */
static void only_these(unsigned type, const char *codes)
{
    struct bytes listed = wire(codes);
    for (unsigned code = 0; code < 256; code++) {
        bool may = memchr(listed.p, (int)code, listed.n) != NULL;
        uint8_t body[3] = {0, 1, (uint8_t)code};
        struct mqtt_ack a;
        struct mqtt_disconnect d;
        int rc = type == MQTT_DISCONNECT
                     ? mqtt_disconnect_decode(MQTT_V5, bytes_of(body + 2, 1), &d)
                     : mqtt_ack_decode(MQTT_V5, type, bytes_of(body, 3), &a);
        assert_int_equal(rc, may ? 0 : E_PROTOCOL);
        if (may) assert_int_equal(type == MQTT_DISCONNECT ? d.reason : a.reason, code);
    }
}

static void each_packet_has_its_own_reason_codes(void **state)
{
    (void)state;
    only_these(MQTT_PUBACK, "00 10 80 83 87 90 91 97 99"); /* [MQTT-3.4.2-1] */
    only_these(MQTT_PUBREC, "00 10 80 83 87 90 91 97 99"); /* [MQTT-3.5.2-1] */
    only_these(MQTT_PUBREL, "00 92");                      /* [MQTT-3.6.2-1] */
    only_these(MQTT_PUBCOMP, "00 92");                     /* [MQTT-3.7.2-1] */
    only_these(MQTT_DISCONNECT,                            /* [MQTT-3.14.2-1] */
               "00 04 80 81 82 83 87 89 8b 8d 8e 8f 90 93 94 95 96 97 98 99 9a 9b 9c 9d 9e 9f a0 "
               "a1 a2");
}

static void an_ack_is_written_as_short_as_it_can_be(void **state)
{
    (void)state;
    uint8_t d[64];
    struct bytes none = {0}, why = bytes_str("no"), user = wire("26 <k> <v>");
    assert_wire(d, mqtt_ack_encode(d, MQTT_V311, MQTT_PUBACK, 7, 0x87, why, user), "40 02 0007");
    assert_wire(d, mqtt_ack_encode(d, MQTT_V5, MQTT_PUBACK, 7, 0, none, none), "40 02 0007");
    assert_wire(d, mqtt_ack_encode(d, MQTT_V5, MQTT_PUBREC, 7, 0x10, none, none), "50 03 0007 10");
    assert_wire(d, mqtt_ack_encode(d, MQTT_V5, MQTT_PUBREL, 7, 0, none, none), "62 02 0007");
    assert_wire(d, mqtt_ack_encode(d, MQTT_V31, MQTT_PUBREL, 7, 0, none, none), "62 02 0007");
    assert_wire(d, mqtt_ack_encode(d, MQTT_V5, MQTT_PUBCOMP, 7, 0x92, why, none),
                "70 09 0007 92 05 1f <no>");
    assert_wire(d, mqtt_ack_encode(d, MQTT_V5, MQTT_PUBACK, 7, 0, why, user),
                "40 10 0007 00 0c 1f <no> 26 <k> <v>");
}

static int disconnect(unsigned version, const char *text, struct mqtt_disconnect *d)
{
    memset(d, 0xee, sizeof *d);
    return mqtt_disconnect_decode(version, wire(text), d);
}

static void a_disconnect_may_be_empty(void **state) /* 3.14.2.1 */
{
    (void)state;
    struct mqtt_disconnect d;
    for (unsigned version = MQTT_V31; version <= MQTT_V5; version++) {
        assert_int_equal(disconnect(version, "", &d), 0);
        assert_true(d.reason == 0 && d.props.present == 0);
    }
    assert_int_equal(disconnect(MQTT_V311, "00", &d), E_MALFORMED);
    assert_int_equal(disconnect(MQTT_V31, "0000", &d), E_MALFORMED);
    assert_int_equal(disconnect(MQTT_V5, "04", &d), 0);
    assert_int_equal(d.reason, MQTT_DISCONNECT_WITH_WILL);
    assert_int_equal(disconnect(MQTT_V5, "00 05 11 0000000a", &d), 0);
    assert_int_equal(d.props.session_expiry, 10);
    assert_int_equal(disconnect(MQTT_V5, "00 05 11 0000000a 00", &d), E_MALFORMED);
    assert_int_equal(disconnect(MQTT_V5, "00 05 11 000000", &d), E_MALFORMED);
    assert_int_equal(disconnect(MQTT_V5, "00 03 21 0001", &d), E_PROTOCOL);
}

static int auth(const char *text)
{
    struct mqtt_disconnect d;
    return mqtt_auth_decode(wire(text), &d);
}

static void auth_names_its_method(void **state) /* [MQTT-3.15.2-1], 3.15.2.2 */
{
    (void)state;
    assert_int_equal(auth(""), 0);
    assert_int_equal(auth("18 04 15 <m>"), 0);
    assert_int_equal(auth("19 08 15 <m> 16 <d>"), 0);
    assert_int_equal(auth("18 00"), E_PROTOCOL);
    assert_int_equal(auth("18"), E_PROTOCOL);
    assert_int_equal(auth("18 04 16 <d>"), E_PROTOCOL);
    assert_int_equal(auth("00 04 1f <r>"), E_PROTOCOL);
    assert_int_equal(auth("80 04 15 <m>"), E_PROTOCOL);
    assert_int_equal(auth("18 04 15 <m> 00"), E_MALFORMED);
    assert_int_equal(auth("18 04 15 0001"), E_MALFORMED);
}

static void endings_are_written_for_each_version(void **state)
{
    (void)state;
    uint8_t d[64];
    struct bytes none = {0}, why = wire("1f <no>");
    assert_wire(d, mqtt_disconnect_encode(d, MQTT_V311, MQTT_DISCONNECT, 0x8e, why), "e0 00");
    assert_wire(d, mqtt_disconnect_encode(d, MQTT_V5, MQTT_DISCONNECT, 0, none), "e0 00");
    assert_wire(d, mqtt_disconnect_encode(d, MQTT_V5, MQTT_DISCONNECT, 0x8e, none), "e0 02 8e 00");
    assert_wire(d, mqtt_disconnect_encode(d, MQTT_V5, MQTT_DISCONNECT, 0, why),
                "e0 07 00 05 1f <no>");
    assert_wire(d, mqtt_disconnect_encode(d, MQTT_V5, MQTT_AUTH, 0x18, wire("15 <m>")),
                "f0 06 18 04 15 <m>");
    assert_wire(d, mqtt_ping_encode(d, MQTT_PINGREQ), "c0 00");
    assert_wire(d, mqtt_ping_encode(d, MQTT_PINGRESP), "d0 00");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_ack_before_version_5_is_two_bytes),
        cmocka_unit_test(a_v5_ack_may_leave_reason_and_properties_out),
        cmocka_unit_test(packet_identifier_0_is_a_protocol_error),
        cmocka_unit_test(each_packet_has_its_own_reason_codes),
        cmocka_unit_test(an_ack_is_written_as_short_as_it_can_be),
        cmocka_unit_test(a_disconnect_may_be_empty),
        cmocka_unit_test(auth_names_its_method),
        cmocka_unit_test(endings_are_written_for_each_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
