/* Where a replay begins and ends, as clients say it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/when.h"

#define NOW UINT64_C(1795599847000) /* 2026-11-25T09:44:07Z */

static const struct {
    const char *text;
    struct when when;
} good[] = {
    {"earliest", {WHEN_EARLIEST, 0}},
    {"latest", {WHEN_LATEST, 0}},
    {"-15m", {WHEN_TIME, NOW - 900000}},
    {"-500ms", {WHEN_TIME, NOW - 500}},
    {"-30s", {WHEN_TIME, NOW - 30000}},
    {"-12h", {WHEN_TIME, NOW - 43200000}},
    {"-7d", {WHEN_TIME, NOW - 604800000}},
    {"-0s", {WHEN_TIME, NOW}},
    {"-999999999999d", {WHEN_TIME, 0}}, /* before 1970 is 1970 */
    {"2026-11-25T09:44:07Z", {WHEN_TIME, NOW}},
    {"2026-11-25T11:44:07.25+02:00", {WHEN_TIME, NOW + 250}},
    {"1795599847", {WHEN_TIME, NOW}},
    {"1795599847.5", {WHEN_TIME, NOW + 500}},
    {"1795599847.123456", {WHEN_TIME, NOW + 123}},
    {"0", {WHEN_TIME, 0}},
    {"seq:0", {WHEN_SEQ, 0}},
    {"seq:1234567890123", {WHEN_SEQ, 1234567890123}},
    {"last:1", {WHEN_LAST, 1}},
    {"last:10", {WHEN_LAST, 10}},
};

static const char *const bad[] = {
    "",
    "Earliest",
    "-",
    "-15",
    "-m",
    "-1w",
    "-1.5h",
    "- 1h",
    "+1h",
    "1h",
    "seq:",
    "seq:-1",
    "seq:1.5",
    "seq:99999999999999999999",
    "last:",
    "last:0",
    "last:-1",
    "last:1x",
    ".5",
    "1.",
    "1.5.5",
    "now",
    "2026-11-25T09:44:07",
    "-1h ",
};

static void each_form_is_understood(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct when w;
        const char *why;
        if (when_get(bytes_str(good[i].text), NOW, &w, &why) < 0) fail_msg("%s", good[i].text);
        assert_int_equal(w.kind, good[i].when.kind);
        assert_int_equal(w.value, good[i].when.value);
    }
}

static void anything_else_is_refused_with_a_reason(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct when w;
        const char *why = NULL;
        if (when_get(bytes_str(bad[i]), NOW, &w, &why) != E_INVALID) fail_msg("%s", bad[i]);
        assert_non_null(why);
    }
}

static int span_of(const char *text, struct when *from, struct when *to)
{
    bool span;
    const char *why;
    int rc = when_get_span(bytes_str(text), NOW, from, to, &span, &why);
    return rc < 0 ? rc : span;
}

static void a_span_has_two_ends(void **state)
{
    (void)state;
    struct when from, to;
    assert_int_equal(span_of("-1h", &from, &to), 0);
    assert_int_equal(span_of("-1h..-30m", &from, &to), 1);
    assert_int_equal(from.value, NOW - 3600000);
    assert_int_equal(to.value, NOW - 1800000);
    assert_int_equal(span_of("1795599800.5..1795599847.25", &from, &to), 1);
    assert_int_equal(to.value, NOW + 250);
    assert_int_equal(span_of("earliest..latest", &from, &to), 1);
    assert_int_equal(span_of("seq:5..seq:5", &from, &to), 1);
    assert_int_equal(span_of("-1h..seq:5", &from, &to), 1);
    assert_int_equal(span_of("earliest..2030-01-01T00:00:00Z", &from, &to), 1);
    static const char *const none[] = {"-30m..-1h", "seq:6..seq:5",    "last:5..latest",
                                       "-1h..",     "..-1h",           "-1h..last:5",
                                       "..",        "-1h..-30m..-20m", "latest..-1h",
                                       "-1h...-2h", "-1h..earliest",   "earliest..earliest"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        if (span_of(none[i], &from, &to) != E_INVALID) fail_msg("%s", none[i]);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_form_is_understood),
        cmocka_unit_test(anything_else_is_refused_with_a_reason),
        cmocka_unit_test(a_span_has_two_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
