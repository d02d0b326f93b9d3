/* CONNECT and CONNACK. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/mqtt_wire.h"

static int decode(const char *text)
{
    struct mqtt_connect c;
    return mqtt_connect_decode(wire(text), &c);
}

static void every_field_of_a_v5_connect_is_read(void **state) /* [MQTT-3.1.3-1] */
{
    (void)state;
    struct mqtt_connect c;
    memset(&c, 0xee, sizeof c);
    assert_int_equal(
        mqtt_connect_decode(wire("<MQTT> 05 ee 003c 05 11 00000007 <me> 05 18 00000005 "
                                 "<w/t> <bye> <bob> 0002 00ff"),
                            &c),
        0);
    assert_int_equal(c.version, MQTT_V5);
    assert_true(!c.bridge && c.clean_start && c.has_will && c.has_username && c.has_password);
    assert_int_equal(c.keep_alive_s, 60);
    assert_int_equal(c.props.session_expiry, 7);
    assert_bytes(c.client_id, "me");
    assert_int_equal(c.will.props.will_delay, 5);
    assert_bytes(c.will.topic, "w/t");
    assert_bytes(c.will.payload, "bye");
    assert_true(c.will.qos == 1 && c.will.retain);
    assert_bytes(c.username, "bob");
    assert_true(c.password.n == 2 && c.password.p[1] == 0xff); /* binary [MQTT-3.1.2-19] */
}

static void a_short_connect_leaves_nothing_undefined(void **state)
{
    (void)state;
    struct mqtt_connect c;
    memset(&c, 0xee, sizeof c);
    assert_int_equal(mqtt_connect_decode(wire("<MQTT> 04 00 0000 <>"), &c), 0);
    assert_int_equal(c.version, MQTT_V311);
    assert_true(!c.clean_start && !c.has_will && !c.has_username && !c.has_password);
    assert_true(c.client_id.n == 0 && c.username.n == 0 && c.password.n == 0);
    assert_true(c.props.present == 0 && c.will.props.present == 0);
}

static void names_and_levels_that_belong_together_are_spoken(void **state)
{
    (void)state; /* [MQTT-3.1.2-1], [MQTT-3.1.2-2] */
    static const struct {
        const char *body;
        int rc;
        unsigned version;
    } cases[] = {
        {"<MQIsdp> 03 02 0000 <a>", 0, 3},
        {"<MQTT> 04 02 0000 <a>", 0, 4},
        {"<MQTT> 05 02 0000 00 <a>", 0, 5},
        {"<MQTT> 03 02 0000 <a>", E_VERSION, 4},
        {"<MQIsdp> 04 02 0000 <a>", E_VERSION, 4},
        {"<MQTT> 06 02 0000 00 <a>", E_VERSION, 5},
        {"<MQTT> 7f", E_VERSION, 5},
        {"<MQTT> 00 02 0000 <a>", E_VERSION, 4},
        {"<mqtt> 04 02 0000 <a>", E_VERSION, 4},
        {"<> 04 02 0000 <a>", E_VERSION, 4},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct mqtt_connect c;
        assert_int_equal(mqtt_connect_decode(wire(cases[i].body), &c), cases[i].rc);
        assert_int_equal(c.version, cases[i].version);
        if (cases[i].rc) assert_int_equal(c.client_id.n, 0);
    }
}

static void bit_7_of_the_level_marks_a_bridge(void **state)
{
    (void)state;
    struct mqtt_connect c;
    assert_int_equal(mqtt_connect_decode(wire("<MQTT> 84 02 0000 <a>"), &c), 0);
    assert_true(c.bridge && c.version == MQTT_V311);
    assert_int_equal(mqtt_connect_decode(wire("<MQIsdp> 83 02 0000 <a>"), &c), 0);
    assert_true(c.bridge && c.version == MQTT_V31);
    assert_int_equal(mqtt_connect_decode(wire("<MQTT> 85 02 0000 00 <a>"), &c), 0);
    assert_true(c.bridge && c.version == MQTT_V5);
}

static void flags_that_contradict_each_other_are_malformed(void **state)
{
    (void)state;
    assert_int_equal(decode("<MQTT> 04 03 0000 <a>"), E_MALFORMED);         /* [MQTT-3.1.2-3] */
    assert_int_equal(decode("<MQTT> 05 03 0000 00 <a>"), E_MALFORMED);      /* [MQTT-3.1.2-3] */
    assert_int_equal(decode("<MQIsdp> 03 03 0000 <a>"), 0);                 /* 3.1: unused */
    assert_int_equal(decode("<MQTT> 04 0a 0000 <a>"), E_MALFORMED);         /* [MQTT-3.1.2-11] */
    assert_int_equal(decode("<MQTT> 04 22 0000 <a>"), E_MALFORMED);         /* [MQTT-3.1.2-13] */
    assert_int_equal(decode("<MQTT> 04 1e 0000 <a> <t> <p>"), E_MALFORMED); /* [MQTT-3.1.2-12] */
    assert_int_equal(decode("<MQTT> 04 16 0000 <a> <t> <p>"), 0);
    assert_int_equal(decode("<MQTT> 04 42 0000 <a> <pw>"),
                     E_MALFORMED); /* [MQTT-3.1.2-22 of 3.1.1] */
    assert_int_equal(decode("<MQIsdp> 03 42 0000 <a> <pw>"), E_MALFORMED);
    assert_int_equal(decode("<MQTT> 05 42 0000 00 <a> <pw>"), 0); /* 5.0: allowed */
}

static void text_must_be_utf8(void **state)
{
    (void)state;
    assert_int_equal(decode("<MQTT> 04 02 0000 0002 c328"), E_MALFORMED);   /* [MQTT-3.1.3-4] */
    assert_int_equal(decode("<MQTT> 04 82 0000 <a> 0001 ff"), E_MALFORMED); /* [MQTT-3.1.3-12] */
    assert_int_equal(decode("<MQTT> 04 06 0000 <a> 0001 ff <p>"),
                     E_MALFORMED);                                    /* [MQTT-3.1.3-11] */
    assert_int_equal(decode("<MQTT> 04 06 0000 <a> <t> 0001 ff"), 0); /* binary */
}

static void a_wills_topic_is_a_name(void **state)
{
    (void)state;
    assert_int_equal(decode("<MQTT> 04 06 0000 <a> <t/#> <p>"), E_TOPIC_NAME);
    assert_int_equal(decode("<MQTT> 04 06 0000 <a> <+> <p>"), E_TOPIC_NAME);
    assert_int_equal(decode("<MQTT> 04 06 0000 <a> <> <p>"), E_TOPIC_NAME); /* [MQTT-4.7.3-1] */
    assert_int_equal(decode("<MQTT> 04 06 0000 <a> <t> <>"), 0);
}

static void properties_are_checked_where_they_stand(void **state)
{
    (void)state;
    assert_int_equal(decode("<MQTT> 05 02 0000 03 21 0000 <a>"), E_PROTOCOL);
    assert_int_equal(decode("<MQTT> 05 02 0000 05 18 00000001 <a>"), E_PROTOCOL); /* a will's */
    assert_int_equal(decode("<MQTT> 05 06 0000 00 <a> 05 11 00000001 <t> <p>"), E_PROTOCOL);
    assert_int_equal(decode("<MQTT> 05 06 0000 00 <a> 04 08 <+> <t> <p>"),
                     E_PROTOCOL); /* [MQTT-3.3.2-14] */
    assert_int_equal(decode("<MQTT> 05 06 0000 00 <a> 04 08 <r> <t> <p>"), 0);
}

static void bytes_behind_the_end_are_malformed(void **state)
{
    (void)state;
    assert_int_equal(decode("<MQTT> 04 02 0000 <a> 00"), E_MALFORMED);
    assert_int_equal(decode("<MQTT> 05 02 0000 00 <a> <more>"), E_MALFORMED); /* [MQTT-3.1.2-16] */
    assert_int_equal(decode("<MQIsdp> 03 02 0000 <a> 00"), E_MALFORMED);
}

static void version_3_1_may_leave_user_name_and_password_out(void **state)
{
    (void)state; /* 3.1 section 3.1: the remaining length overrules the flags */
    struct mqtt_connect c;
    assert_int_equal(mqtt_connect_decode(wire("<MQIsdp> 03 c2 0000 <a>"), &c), 0);
    assert_true(!c.has_username && !c.has_password);
    assert_int_equal(mqtt_connect_decode(wire("<MQIsdp> 03 c2 0000 <a> <u>"), &c), 0);
    assert_true(c.has_username && !c.has_password);
    assert_int_equal(decode("<MQIsdp> 03 c2 0000 <a> 00"), E_MALFORMED);
    assert_int_equal(decode("<MQTT> 04 c2 0000 <a>"), E_MALFORMED); /* [MQTT-3.1.2-17] */
}

static void client_ids_may_be_longer_than_23_bytes(void **state) /* [MQTT-3.1.3-5] is a minimum */
{
    (void)state;
    assert_int_equal(decode("<MQIsdp> 03 02 0000 <a-client-identifier-of-some-length>"), 0);
}

static void connack_is_read_as_the_client_reads_it(void **state)
{
    (void)state;
    struct mqtt_connack c;
    assert_int_equal(mqtt_connack_decode(MQTT_V311, wire("0100"), &c), 0);
    assert_true(c.session_present && c.reason == 0);
    assert_int_equal(mqtt_connack_decode(MQTT_V5, wire("0084 03 21 0014"), &c), 0);
    assert_true(!c.session_present && c.reason == 0x84 && c.props.receive_max == 20);
    assert_int_equal(mqtt_connack_decode(MQTT_V311, wire("0200"), &c),
                     E_MALFORMED); /* [MQTT-3.2.2-1] */
    assert_int_equal(mqtt_connack_decode(MQTT_V311, wire("010000"), &c), E_MALFORMED);
    assert_int_equal(mqtt_connack_decode(MQTT_V311, wire("01"), &c), E_MALFORMED);
    assert_int_equal(mqtt_connack_decode(MQTT_V311, wire("0006"), &c), E_PROTOCOL);
    assert_int_equal(mqtt_connack_decode(MQTT_V5, wire("0000"), &c), E_MALFORMED);
    assert_int_equal(mqtt_connack_decode(MQTT_V5, wire("018400"), &c),
                     E_PROTOCOL); /* [MQTT-3.2.2-6] */
    assert_int_equal(mqtt_connack_decode(MQTT_V5, wire("008b00"), &c),
                     E_PROTOCOL); /* [MQTT-3.2.2-8] */
}

static void connack_is_written_for_each_version(void **state)
{
    (void)state;
    uint8_t d[64];
    struct bytes block = wire("21 0014");
    assert_wire(d, mqtt_connack_encode(d, MQTT_V5, true, 0, block), "20 06 01 00 03 21 0014");
    assert_wire(d, mqtt_connack_encode(d, MQTT_V5, false, 0, (struct bytes){0}), "20 03 00 00 00");
    assert_wire(d, mqtt_connack_encode(d, MQTT_V311, true, 0, block), "20 02 01 00");
    /* [MQTT-3.2.2-6] */
    assert_wire(d, mqtt_connack_encode(d, MQTT_V311, true, 5, block), "20 02 00 05");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_of_a_v5_connect_is_read),
        cmocka_unit_test(a_short_connect_leaves_nothing_undefined),
        cmocka_unit_test(names_and_levels_that_belong_together_are_spoken),
        cmocka_unit_test(bit_7_of_the_level_marks_a_bridge),
        cmocka_unit_test(flags_that_contradict_each_other_are_malformed),
        cmocka_unit_test(text_must_be_utf8),
        cmocka_unit_test(a_wills_topic_is_a_name),
        cmocka_unit_test(properties_are_checked_where_they_stand),
        cmocka_unit_test(bytes_behind_the_end_are_malformed),
        cmocka_unit_test(version_3_1_may_leave_user_name_and_password_out),
        cmocka_unit_test(client_ids_may_be_longer_than_23_bytes),
        cmocka_unit_test(connack_is_read_as_the_client_reads_it),
        cmocka_unit_test(connack_is_written_for_each_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
