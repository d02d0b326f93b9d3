/* Points in time as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rfc3339.h"

static const struct {
    const char *text;
    uint64_t ms;
} good[] = {
    {"1970-01-01T00:00:00Z", 0},
    {"2026-11-25T09:44:07Z", 1795599847000},
    {"2026-11-25t09:44:07.5z", 1795599847500},
    {"2026-11-25T09:44:07.123999Z", 1795599847123},
    {"2026-11-25T11:14:07+01:30", 1795599847000},
    {"2026-11-24T23:44:07-10:00", 1795599847000},
    {"2024-02-29T00:00:00Z", 1709164800000},
    {"2016-12-31T23:59:60Z", 1483228800000}, /* a leap second */
    {"9999-12-31T23:59:59.999Z", 253402300799999},
};

static const char *const bad[] = {
    "",
    "2026-11-25",
    "2026-11-25T09:44:07",
    "2026-11-25 09:44:07Z",
    "2026-11-25T09:44:07.Z",
    "2026-11-25T09:44Z",
    "2026-13-25T09:44:07Z",
    "2026-02-30T00:00:00Z",
    "2023-02-29T09:44:07Z",
    "2026-11-25T24:00:00Z",
    "2026-11-25T09:60:00Z",
    "2026-11-25T09:44:61Z",
    "2026-11-25T09:44:07+0100",
    "2026-11-25T09:44:07+24:00",
    "2026-11-25T09:44:07Zx",
    "1969-12-31T23:59:59Z",
    "1970-01-01T00:30:00+01:00",
    "+026-11-25T09:44:07Z",
};

static void a_point_in_time_is_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        uint64_t ms = 1;
        assert_int_equal(rfc3339_get(bytes_str(good[i].text), &ms), 0);
        assert_int_equal(ms, good[i].ms);
    }
}

static void anything_else_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint64_t ms;
        if (rfc3339_get(bytes_str(bad[i]), &ms) != E_INVALID) fail_msg("%s", bad[i]);
    }
}

static void what_is_written_reads_as_the_same(void **state)
{
    (void)state;
    static const uint64_t times[] = {0, 1, 1795599847123, 951782399999, 4102444800000};
    char text[RFC3339_SIZE];
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        uint64_t ms = 0;
        rfc3339_put(text, times[i]);
        assert_int_equal(rfc3339_get(bytes_str(text), &ms), 0);
        assert_int_equal(ms, times[i]);
    }
    rfc3339_put(text, 1795599847123);
    assert_string_equal(text, "2026-11-25T09:44:07.123000Z");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_point_in_time_is_read),
        cmocka_unit_test(anything_else_is_refused),
        cmocka_unit_test(what_is_written_reads_as_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
