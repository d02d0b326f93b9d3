/* SUBSCRIBE, UNSUBSCRIBE and their answers: decoding and encoding. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/mqtt_wire.h"

static int subscribe(unsigned version, const char *text)
{
    struct mqtt_subscribe s;
    return mqtt_subscribe_decode(version, wire(text), &s);
}

static int unsubscribe(unsigned version, const char *text)
{
    struct mqtt_subscribe s;
    return mqtt_unsubscribe_decode(version, wire(text), &s);
}

static void entries_come_in_their_order_with_their_options(void **state)
{
    (void)state;
    struct mqtt_subscribe s;
    struct mqtt_subscription e;
    memset(&s, 0xee, sizeof s);
    struct bytes body = wire("0007 02 0b 05 <a/#> 2e <b> 11 <> 00");
    assert_int_equal(mqtt_subscribe_decode(MQTT_V5, body, &s), 0);
    assert_int_equal(s.packet_id, 7);
    assert_int_equal(s.props.subid, 5);
    assert_int_equal(s.count, 3);
    assert_true(mqtt_subscribe_next(MQTT_V5, &s, &e));
    assert_bytes(e.filter, "a/#");
    assert_true(e.qos == 2 && e.no_local && e.retain_as_published && e.retain_handling == 2);
    assert_true(mqtt_subscribe_next(MQTT_V5, &s, &e));
    assert_bytes(e.filter, "b");
    assert_true(e.qos == 1 && !e.no_local && !e.retain_as_published && e.retain_handling == 1);
    assert_true(mqtt_subscribe_next(MQTT_V5, &s, &e)); /* an empty filter is SUBACK's to refuse */
    assert_bytes(e.filter, "");
    assert_false(mqtt_subscribe_next(MQTT_V5, &s, &e));
}

static void before_version_5_an_entry_has_a_qos_only(void **state)
{
    (void)state;
    struct mqtt_subscribe s;
    struct mqtt_subscription e;
    memset(&s, 0xee, sizeof s);
    assert_int_equal(mqtt_subscribe_decode(MQTT_V311, wire("0001 <a> 02"), &s), 0);
    assert_true(s.count == 1 && s.props.present == 0 && s.props.raw.n == 0);
    assert_true(mqtt_subscribe_next(MQTT_V311, &s, &e));
    assert_true(e.qos == 2 && !e.no_local && !e.retain_as_published && e.retain_handling == 0);
    for (unsigned options = 0; options < 256; options++) { /* [MQTT-3.8.3-4 of 3.1.1] */
        uint8_t body[] = {0, 1, 0, 1, 'a', (uint8_t)options};
        int rc = mqtt_subscribe_decode(MQTT_V311, bytes_of(body, sizeof body), &s);
        assert_int_equal(rc, options <= 2 ? 0 : E_MALFORMED);
        assert_int_equal(mqtt_subscribe_decode(MQTT_V31, bytes_of(body, sizeof body), &s), rc);
    }
}

static void options_that_the_standard_forbids_are_refused(void **state)
{
    (void)state;
    for (unsigned options = 0; options < 256; options++) {
        uint8_t body[] = {0, 1, 0, 0, 1, 'a', (uint8_t)options};
        struct mqtt_subscribe s;
        int rc = mqtt_subscribe_decode(MQTT_V5, bytes_of(body, sizeof body), &s);
        bool bad = (options & 3) == 3 || (options & 0x30) == 0x30; /* 3.8.3.1 */
        assert_int_equal(rc, options & 0xc0 ? E_MALFORMED          /* [MQTT-3.8.3-5] */
                             : bad          ? E_PROTOCOL
                                            : 0);
    }
}

static void no_local_on_a_shared_subscription_is_a_protocol_error(void **state)
{
    (void)state; /* [MQTT-3.8.3-4] */
    assert_int_equal(subscribe(MQTT_V5, "0001 00 <$share/g/a> 04"), E_PROTOCOL);
    assert_int_equal(subscribe(MQTT_V5, "0001 00 <a> 04 <$share/g/a> 05"), E_PROTOCOL);
    assert_int_equal(subscribe(MQTT_V5, "0001 00 <$share/g/a> 01"), 0);
    assert_int_equal(subscribe(MQTT_V5, "0001 00 <share/g/a> 04"), 0);
}

static void there_is_at_least_one_entry(void **state) /* [MQTT-3.8.3-2], [MQTT-3.10.3-2] */
{
    (void)state;
    assert_int_equal(subscribe(MQTT_V311, "0001"), E_PROTOCOL);
    assert_int_equal(subscribe(MQTT_V5, "0001 00"), E_PROTOCOL);
    assert_int_equal(unsubscribe(MQTT_V311, "0001"), E_PROTOCOL);
    assert_int_equal(unsubscribe(MQTT_V5, "0001 00"), E_PROTOCOL);
}

static void a_packet_identifier_is_not_0(void **state) /* [MQTT-2.2.1-3] */
{
    (void)state;
    assert_int_equal(subscribe(MQTT_V311, "0000 <a> 00"), E_PROTOCOL);
    assert_int_equal(unsubscribe(MQTT_V5, "0000 00 <a>"), E_PROTOCOL);
}

static void what_is_cut_or_ill_formed_is_malformed(void **state)
{
    (void)state;
    assert_int_equal(subscribe(MQTT_V311, "00"), E_MALFORMED);
    assert_int_equal(subscribe(MQTT_V311, "0001 <a>"), E_MALFORMED);
    assert_int_equal(subscribe(MQTT_V311, "0001 <a> 00 00"), E_MALFORMED);
    assert_int_equal(subscribe(MQTT_V5, "0001 01 <a> 00"), E_MALFORMED);
    assert_int_equal(subscribe(MQTT_V311, "0001 0001 ff 00"), E_MALFORMED); /* [MQTT-3.8.3-1] */
    assert_int_equal(unsubscribe(MQTT_V311, "0001 0001 ff"), E_MALFORMED);  /* [MQTT-3.10.3-1] */
    assert_int_equal(unsubscribe(MQTT_V311, "0001 <a> 0002 61"), E_MALFORMED);
    assert_int_equal(subscribe(MQTT_V5, "0001 02 0b00 <a> 00"), E_PROTOCOL);
    assert_int_equal(unsubscribe(MQTT_V5, "0001 02 0b01 <a>"), E_PROTOCOL);
}

static void unsubscribe_lists_filters(void **state)
{
    (void)state;
    struct mqtt_subscribe s;
    struct bytes filter;
    assert_int_equal(mqtt_unsubscribe_decode(MQTT_V5, wire("0002 05 26<><> <a> <b/#>"), &s), 0);
    assert_true(s.packet_id == 2 && s.count == 2 && s.props.user_count == 1);
    assert_true(mqtt_unsubscribe_next(&s, &filter));
    assert_bytes(filter, "a");
    assert_true(mqtt_unsubscribe_next(&s, &filter));
    assert_bytes(filter, "b/#");
    assert_false(mqtt_unsubscribe_next(&s, &filter));
}

static void answers_are_written_for_each_version(void **state)
{
    (void)state;
    uint8_t d[64];
    struct bytes codes = wire("00 11"), none = {0}, why = wire("1f <no>");
    assert_wire(d, mqtt_suback_encode(d, MQTT_V311, MQTT_SUBACK, 7, codes, why), "90 04 0007 0011");
    assert_wire(d, mqtt_suback_encode(d, MQTT_V5, MQTT_SUBACK, 7, codes, why),
                "90 0a 0007 05 1f <no> 0011");
    assert_wire(d, mqtt_suback_encode(d, MQTT_V5, MQTT_UNSUBACK, 7, codes, none),
                "b0 05 0007 00 0011");
    /* 3.1.1 section 3.11.3: no payload */
    assert_wire(d, mqtt_suback_encode(d, MQTT_V311, MQTT_UNSUBACK, 7, codes, none), "b0 02 0007");
}

static void answers_are_read_as_the_client_reads_them(void **state)
{
    (void)state;
    struct mqtt_suback s;
    assert_int_equal(mqtt_suback_decode(MQTT_V311, wire("0001 00 80"), &s), 0);
    assert_true(s.packet_id == 1 && s.reasons.n == 2 && s.reasons.p[1] == 0x80);
    assert_int_equal(mqtt_suback_decode(MQTT_V5, wire("0001 05 1f <no> 8f"), &s), 0);
    assert_bytes(s.props.reason_string, "no");
    assert_true(s.reasons.n == 1 && s.reasons.p[0] == 0x8f);
    assert_int_equal(mqtt_suback_decode(MQTT_V311, wire("0001 03"), &s), E_PROTOCOL);
    assert_int_equal(mqtt_suback_decode(MQTT_V5, wire("0001 00 11"), &s), E_PROTOCOL);
    assert_int_equal(mqtt_suback_decode(MQTT_V5, wire("0001 00"), &s), E_MALFORMED);
    assert_int_equal(mqtt_unsuback_decode(MQTT_V5, wire("0001 00 11 00"), &s), 0);
    assert_int_equal(s.reasons.n, 2);
    assert_int_equal(mqtt_unsuback_decode(MQTT_V5, wire("0001 00 01"), &s), E_PROTOCOL);
    assert_int_equal(mqtt_unsuback_decode(MQTT_V311, wire("0001"), &s), 0);
    assert_int_equal(s.reasons.n, 0);
    assert_int_equal(mqtt_unsuback_decode(MQTT_V311, wire("0001 00"), &s), E_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_come_in_their_order_with_their_options),
        cmocka_unit_test(before_version_5_an_entry_has_a_qos_only),
        cmocka_unit_test(options_that_the_standard_forbids_are_refused),
        cmocka_unit_test(no_local_on_a_shared_subscription_is_a_protocol_error),
        cmocka_unit_test(there_is_at_least_one_entry),
        cmocka_unit_test(a_packet_identifier_is_not_0),
        cmocka_unit_test(what_is_cut_or_ill_formed_is_malformed),
        cmocka_unit_test(unsubscribe_lists_filters),
        cmocka_unit_test(answers_are_written_for_each_version),
        cmocka_unit_test(answers_are_read_as_the_client_reads_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
