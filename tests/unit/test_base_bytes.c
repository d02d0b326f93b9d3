/* Views, the sticky reader, big-endian stores and UTF-8. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/rng.h"

static void a_view_compares_in_byte_order(void **state)
{
    (void)state;
    assert_true(bytes_eq(bytes_str("abc"), bytes_str("abc")));
    assert_false(bytes_eq(bytes_str("abc"), bytes_str("abd")));
    assert_false(bytes_eq(bytes_str("abc"), bytes_str("ab")));
    assert_true(bytes_eq(bytes_of(NULL, 0), bytes_str("")));
    assert_int_equal(bytes_cmp(bytes_str("a"), bytes_str("a")), 0);
    assert_true(bytes_cmp(bytes_str("a"), bytes_str("ab")) < 0);
    assert_true(bytes_cmp(bytes_str("b"), bytes_str("ab")) > 0);
    assert_true(bytes_cmp(bytes_str("\xff"), bytes_str("a")) > 0); /* bytes are unsigned */
    assert_true(bytes_cmp(bytes_of(NULL, 0), bytes_str("a")) < 0);
    assert_true(bytes_starts(bytes_str("$share/g/t"), "$share/"));
    assert_false(bytes_starts(bytes_str("$sh"), "$share/"));
    assert_true(bytes_eq(bytes_skip(bytes_str("abc"), 2), bytes_str("c")));
    assert_int_equal(bytes_skip(bytes_str("abc"), 3).n, 0);
}

static void a_reader_reads_big_endian_and_stops_at_the_end(void **state) /* HARDENING class 1 */
{
    (void)state;
    static const uint8_t data[] = {1, 2, 3, 4, 5, 6, 7, 'a', 'b'};
    struct rd r = rd_of(bytes_of(data, sizeof data));
    assert_int_equal(rd_u8(&r), 1);
    assert_int_equal(rd_u16(&r), 0x0203);
    assert_int_equal(rd_u32(&r), 0x04050607);
    assert_int_equal(rd_left(&r), 2);
    assert_true(bytes_eq(rd_take(&r, 2), bytes_str("ab")));
    assert_true(rd_ok(&r));
    assert_int_equal(rd_left(&r), 0);
    assert_int_equal(rd_take(&r, 0).n, 0);
    assert_true(rd_ok(&r)); /* taking nothing at the end is no mistake */
    assert_int_equal(rd_u8(&r), 0);
    assert_false(rd_ok(&r));
}

static void a_failed_read_makes_every_later_one_fail(void **state) /* HARDENING class 1 */
{
    (void)state;
    static const uint8_t data[] = {9, 9, 9};
    struct rd r = rd_of(bytes_of(data, sizeof data));
    assert_int_equal(rd_u32(&r), 0); /* one byte short */
    assert_false(rd_ok(&r));
    assert_int_equal(rd_u8(&r), 0); /* though a byte is there */
    assert_int_equal(rd_u16(&r), 0);
    assert_int_equal(rd_take(&r, 1).n, 0);
    assert_int_equal(rd_varint(&r), 0);
    assert_int_equal(rd_left(&r), 0);
}

static void a_length_larger_than_any_memory_is_refused(void **state) /* HARDENING class 1 */
{
    (void)state;
    struct rd r = rd_of(bytes_str("abc"));
    assert_int_equal(rd_take(&r, SIZE_MAX).n, 0);
    assert_false(rd_ok(&r));
}

static void a_varint_reads_back_what_was_written(void **state) /* [MQTT-1.5.5-1] */
{
    (void)state;
    static const struct {
        uint32_t value;
        size_t size;
    } cases[] = {{0, 1},     {127, 1},     {128, 2},     {16383, 2},
                 {16384, 3}, {2097151, 3}, {2097152, 4}, {268435455, 4}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t buf[5];
        size_t size = (size_t)(put_varint(buf, cases[i].value) - buf);
        assert_int_equal(size, cases[i].size);
        assert_int_equal(varint_size(cases[i].value), size);
        struct rd r = rd_of(bytes_of(buf, size));
        assert_int_equal(rd_varint(&r), cases[i].value);
        assert_true(rd_ok(&r));
        assert_int_equal(rd_left(&r), 0);
        r = rd_of(bytes_of(buf, size - 1)); /* cut */
        assert_int_equal(rd_varint(&r), 0);
        assert_false(rd_ok(&r));
    }
}

static void a_varint_must_be_minimal_and_of_four_bytes(void **state) /* [MQTT-1.5.5-1] */
{
    (void)state;
    static const struct {
        const char *data;
        size_t size;
    } cases[] = {{"\x80\x00", 2},
                 {"\xff\x00", 2},
                 {"\x80\x80\x80\x00", 4},
                 {"\xff\xff\xff\xff\x7f", 5},
                 {"\x80\x80\x80\x80\x01", 5}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rd r = rd_of(bytes_of(cases[i].data, cases[i].size));
        rd_varint(&r);
        assert_false(rd_ok(&r));
    }
}

static void stores_return_the_position_after_them(void **state)
{
    (void)state;
    uint8_t buf[16];
    uint8_t *p = put_u8(buf, 0x1ff); /* the low byte counts */
    p = put_u16(p, 0x1234);
    p = put_u32(p, 0xdeadbeef);
    p = put_mem(p, bytes_str("xy"));
    p = put_mem(p, bytes_of(NULL, 0));
    assert_int_equal(p - buf, 9);
    assert_memory_equal(buf, "\xff\x12\x34\xde\xad\xbe\xefxy", 9);
}

static void utf8_is_well_formed_or_refused(void **state) /* [MQTT-1.5.4-1], [MQTT-1.5.4-2] */
{
    (void)state;
    static const char *good[] = {"",
                                 "plain",
                                 "\x7f",
                                 "\xc2\x80",
                                 "\xdf\xbf",
                                 "\xe0\xa0\x80",
                                 "\xed\x9f\xbf",
                                 "\xee\x80\x80",
                                 "\xef\xbf\xbf",
                                 "\xef\xbb\xbf!", /* [MQTT-1.5.4-3]: no byte order mark to skip */
                                 "\xf0\x90\x80\x80",
                                 "\xf4\x8f\xbf\xbf"};
    static const char *bad[] = {"\x80", /* continues nothing */
                                "\xbf",
                                "a\xc3", /* cut */
                                "\xe2\x82",
                                "\xf0\x9f\x98",
                                "\xc0\xaf", /* overlong */
                                "\xc1\xbf",
                                "\xe0\x9f\xbf",
                                "\xf0\x8f\xbf\xbf",
                                "\xed\xa0\x80", /* surrogates */
                                "\xed\xbf\xbf",
                                "\xf4\x90\x80\x80", /* above U+10FFFF */
                                "\xf5\x80\x80\x80",
                                "\xff",
                                "\xc3(",
                                "\xe2\x28\xa1"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) assert_true(bytes_is_utf8(bytes_str(good[i])));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) assert_false(bytes_is_utf8(bytes_str(bad[i])));
    assert_false(bytes_is_utf8(bytes_of("a\0b", 3)));
    assert_true(bytes_is_utf8(bytes_of(NULL, 0)));
}

static void every_error_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int a = -30; a <= 0; a++) {
        assert_non_null(err_name(a));
        if (strcmp(err_name(a), "unknown error") == 0) continue;
        for (int b = a + 1; b <= 0; b++) assert_string_not_equal(err_name(a), err_name(b));
    }
    assert_string_equal(err_name(E_TOPIC_ALIAS), "topic alias invalid");
}

static void random_numbers_repeat_from_their_seed_and_stay_below(void **state)
{
    (void)state;
    struct rng a = {1}, b = {1}, c = {2};
    bool differ = false;
    for (int i = 0; i < 100; i++) {
        uint64_t x = rng_next(&a);
        assert_true(x == rng_next(&b));
        differ |= x != rng_next(&c);
        assert_true(rng_below(&c, 7) < 7);
    }
    assert_true(differ);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_view_compares_in_byte_order),
        cmocka_unit_test(a_reader_reads_big_endian_and_stops_at_the_end),
        cmocka_unit_test(a_failed_read_makes_every_later_one_fail),
        cmocka_unit_test(a_length_larger_than_any_memory_is_refused),
        cmocka_unit_test(a_varint_reads_back_what_was_written),
        cmocka_unit_test(a_varint_must_be_minimal_and_of_four_bytes),
        cmocka_unit_test(stores_return_the_position_after_them),
        cmocka_unit_test(utf8_is_well_formed_or_refused),
        cmocka_unit_test(every_error_has_a_name_of_its_own),
        cmocka_unit_test(random_numbers_repeat_from_their_seed_and_stay_below),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
