/* The fixed header: cutting packets out of a byte stream. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mqtt/frame.h"
#include "tests/unit/mqtt_wire.h"

static int peek(const char *text, uint32_t max, struct mqtt_frame *f)
{
    return mqtt_frame_peek(wire(text), max, f);
}

static void a_whole_packet_is_told_with_its_type_flags_and_lengths(void **state)
{
    (void)state;
    struct mqtt_frame f;
    assert_int_equal(peek("3d 05 <abc> ff", 0, &f), 0);
    assert_int_equal(f.type, MQTT_PUBLISH);
    assert_int_equal(f.flags, 0xd);
    assert_int_equal(f.head_len, 2);
    assert_int_equal(f.body_len, 5);
    assert_int_equal(peek("c0 00", 0, &f), 0);
    assert_int_equal(f.type, MQTT_PINGREQ);
    assert_int_equal(f.body_len, 0);
}

static void what_is_not_there_yet_is_waited_for(void **state)
{
    (void)state;
    struct mqtt_frame f;
    assert_int_equal(peek("", 0, &f), E_AGAIN);
    assert_int_equal(peek("30", 0, &f), E_AGAIN);
    assert_int_equal(peek("30 80", 0, &f), E_AGAIN);
    assert_int_equal(peek("30 80 80 80", 0, &f), E_AGAIN);
    assert_int_equal(peek("30 05 <ab>", 0, &f), E_AGAIN);
    assert_int_equal(peek("30 02 0000", 0, &f), 0);
}

static void lengths_take_one_to_four_bytes(void **state) /* [MQTT-2.1.4-1] */
{
    (void)state;
    static const uint32_t lengths[] = {0, 1, 127, 128, 16383, 16384, 2097151, 2097152, 268435455};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        uint8_t head[8] = {0x30}, *end = put_varint(head + 1, lengths[i]);
        struct bytes in = wire_exact(bytes_of(head, (size_t)(end - head)));
        struct mqtt_frame f;
        assert_int_equal(mqtt_frame_peek(in, 0, &f), lengths[i] ? E_AGAIN : 0);
        assert_int_equal(f.body_len, lengths[i]);
        assert_int_equal(f.head_len, in.n);
    }
}

static void a_fifth_length_byte_is_malformed(void **state) /* [MQTT-1.5.5-1] */
{
    (void)state;
    struct mqtt_frame f;
    assert_int_equal(peek("30 ff ff ff ff", 0, &f), E_MALFORMED);
    assert_int_equal(peek("30 80 80 80 80 01", 0, &f), E_MALFORMED);
}

static void each_type_has_its_reserved_flags(void **state) /* [MQTT-2.1.3-1], [MQTT-3.8.1-1] */
{
    (void)state;
    for (unsigned first = 0; first < 256; first++) {
        unsigned type = first >> 4, flags = first & 15;
        bool two = type == 6 || type == 8 || type == 10;
        bool good = type == 3 || (type != 0 && flags == (two ? 2 : 0));
        uint8_t packet[2] = {(uint8_t)first, 0};
        struct mqtt_frame f;
        assert_int_equal(mqtt_frame_peek(bytes_of(packet, 2), 0, &f), good ? 0 : E_MALFORMED);
    }
}

static void a_claimed_length_beyond_the_limit_is_refused_before_the_body_comes(void **state)
{
    (void)state;
    struct mqtt_frame f;
    assert_int_equal(peek("30 62", 100, &f), E_AGAIN); /* 98 + 2 = 100 */
    assert_int_equal(peek("30 63", 100, &f), E_TOO_LARGE);
    assert_int_equal(peek("30 ff ff ff 7f", 100, &f), E_TOO_LARGE);
    assert_int_equal(peek("30 ff ff ff 7f", 0, &f), E_AGAIN);
    assert_int_equal(peek("30 ff ff ff 7f", UINT32_MAX, &f), E_AGAIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_packet_is_told_with_its_type_flags_and_lengths),
        cmocka_unit_test(what_is_not_there_yet_is_waited_for),
        cmocka_unit_test(lengths_take_one_to_four_bytes),
        cmocka_unit_test(a_fifth_length_byte_is_malformed),
        cmocka_unit_test(each_type_has_its_reserved_flags),
        cmocka_unit_test(a_claimed_length_beyond_the_limit_is_refused_before_the_body_comes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
