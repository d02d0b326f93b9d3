/* Reason codes of our errors, return codes of 3.x, and names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mqtt/mqtt.h"

static void each_wire_error_has_the_reason_code_of_the_standard(void **state)
{
    (void)state; /* [MQTT-4.13.1-1] */
    assert_int_equal(mqtt_reason_of(0), 0x00);
    assert_int_equal(mqtt_reason_of(E_MALFORMED), 0x81);
    assert_int_equal(mqtt_reason_of(E_PROTOCOL), 0x82);
    assert_int_equal(mqtt_reason_of(E_VERSION), 0x84);
    assert_int_equal(mqtt_reason_of(E_TOPIC_FILTER), 0x8f);
    assert_int_equal(mqtt_reason_of(E_TOPIC_NAME), 0x90);
    assert_int_equal(mqtt_reason_of(E_RECEIVE_MAX), 0x93);
    assert_int_equal(mqtt_reason_of(E_TOPIC_ALIAS), 0x94);
    assert_int_equal(mqtt_reason_of(E_TOO_LARGE), 0x95);
    assert_int_equal(mqtt_reason_of(E_FULL), 0x97);
    assert_int_equal(mqtt_reason_of(E_PAYLOAD_FORMAT), 0x99);
    assert_int_equal(mqtt_reason_of(E_NOMEM), 0x80);
    assert_int_equal(mqtt_reason_of(-1000), 0x80);
}

static void refusals_have_return_codes_for_3_x(void **state) /* [MQTT-3.2.2-6 of 3.1.1] */
{
    (void)state;
    assert_int_equal(mqtt_connack3_of(MQTT_SUCCESS), 0);
    assert_int_equal(mqtt_connack3_of(MQTT_UNSUPPORTED_VERSION), 1);
    assert_int_equal(mqtt_connack3_of(MQTT_BAD_CLIENT_ID), 2);
    assert_int_equal(mqtt_connack3_of(MQTT_SERVER_BUSY), 3);
    assert_int_equal(mqtt_connack3_of(MQTT_QUOTA_EXCEEDED), 3);
    assert_int_equal(mqtt_connack3_of(MQTT_BAD_USERNAME_PASSWORD), 4);
    assert_int_equal(mqtt_connack3_of(MQTT_NOT_AUTHORIZED), 5);
    for (unsigned reason = 1; reason < 256; reason++) {
        unsigned code = mqtt_connack3_of((uint8_t)reason);
        assert_true(code >= 1 && code <= 5);
    }
}

static void everything_has_a_name(void **state)
{
    (void)state;
    assert_string_equal(mqtt_type_name(MQTT_CONNECT), "CONNECT");
    assert_string_equal(mqtt_type_name(MQTT_PUBCOMP), "PUBCOMP");
    assert_string_equal(mqtt_type_name(MQTT_AUTH), "AUTH");
    assert_string_equal(mqtt_type_name(0), "RESERVED");
    assert_string_equal(mqtt_type_name(16), "RESERVED");
    assert_string_equal(mqtt_reason_name(MQTT_QUOTA_EXCEEDED), "Quota exceeded");
    assert_string_equal(mqtt_reason_name(MQTT_WILDCARD_NOT_SUPPORTED),
                        "Wildcard Subscriptions not supported");
    assert_string_equal(mqtt_reason_name(0xff), "Unknown reason code");
    assert_string_equal(mqtt_reason_name(0x05), "Unknown reason code");
    unsigned named = 0;
    for (unsigned reason = 0; reason < 256; reason++)
        named += strcmp(mqtt_reason_name((uint8_t)reason), "Unknown reason code") != 0;
    assert_int_equal(named, 43); /* the rows of table 2-6 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_wire_error_has_the_reason_code_of_the_standard),
        cmocka_unit_test(refusals_have_return_codes_for_3_x),
        cmocka_unit_test(everything_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
