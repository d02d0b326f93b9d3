/* Properties that tell the broker what to do with a message (CONTRACT section 4). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/control.h"

static uint8_t *user(uint8_t *d, const char *key, const char *value)
{
    return mqtt_put_prop_user(d, bytes_str(key), bytes_str(value));
}

static void control_is_taken_out_and_the_rest_stays_in_order(void **state)
{
    (void)state;
    uint8_t raw[256], room[256], *d = raw;
    d = user(d, "a", "1");
    d = user(d, "sluice-key", "k");
    d = mqtt_put_prop_bytes(d, MQTT_P_CONTENT_TYPE, bytes_str("text"));
    d = user(d, "sluice-priority", "7");
    d = user(d, "sluice-other", "x");
    struct bytes props = bytes_of(raw, (size_t)(d - raw)), control;
    control_split(&props, &control, room);

    uint8_t want[256], *w = want;
    w = user(w, "a", "1");
    w = mqtt_put_prop_bytes(w, MQTT_P_CONTENT_TYPE, bytes_str("text"));
    w = user(w, "sluice-other", "x");
    assert_true(bytes_eq(props, bytes_of(want, (size_t)(w - want))));
    struct control c;
    control_read(control, &c);
    assert_int_equal(c.priority, 7);
    assert_true(bytes_eq(c.key, bytes_str("k")));
    assert_int_equal(c.dedup_id.n, 0);
}

static void without_control_nothing_is_copied(void **state)
{
    (void)state;
    uint8_t raw[64], *end = user(raw, "a", "1");
    struct bytes props = bytes_of(raw, (size_t)(end - raw)), control;
    control_split(&props, &control, NULL);
    assert_ptr_equal(props.p, raw);
    assert_int_equal(control.n, 0);
}

static int priority(const char *text)
{
    uint8_t raw[64], *end = user(raw, "sluice-priority", text);
    struct control c;
    control_read(bytes_of(raw, (size_t)(end - raw)), &c);
    return c.priority;
}

static void priorities_are_clamped(void **state)
{
    (void)state;
    assert_int_equal(priority("0"), 0);
    assert_int_equal(priority("9"), 9);
    assert_int_equal(priority("10"), 9);
    assert_int_equal(priority("-1"), 0);
    assert_int_equal(priority("high"), 4);
    assert_int_equal(priority(""), 4);
}

static void seconds_and_durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t seconds_ms, duration_ms; /* UINT64_MAX: refused */
    } cases[] = {
        {"5", 5000, 5000},
        {"0", 0, 0},
        {"0.25", 250, 250},
        {"1.5", 1500, 1500},
        {"1.2345", UINT64_MAX, UINT64_MAX},
        {"1.", UINT64_MAX, UINT64_MAX},
        {".5", UINT64_MAX, UINT64_MAX},
        {"-1", UINT64_MAX, UINT64_MAX},
        {"", UINT64_MAX, UINT64_MAX},
        {"500ms", UINT64_MAX, 500},
        {"15m", UINT64_MAX, 900000},
        {"7d", UINT64_MAX, 604800000},
        {"7w", UINT64_MAX, UINT64_MAX},
        {"s", UINT64_MAX, UINT64_MAX},
        {"99999999999", UINT64_MAX, UINT64_MAX},
        {"99999999999d", UINT64_MAX, UINT64_MAX},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t ms = UINT64_MAX;
        int rc = control_seconds(bytes_str(cases[i].text), &ms);
        if (rc < 0) ms = UINT64_MAX;
        assert_true(ms == cases[i].seconds_ms);
        rc = control_duration(bytes_str(cases[i].text), &ms);
        if (rc < 0) ms = UINT64_MAX;
        assert_true(ms == cases[i].duration_ms);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(control_is_taken_out_and_the_rest_stays_in_order),
        cmocka_unit_test(without_control_nothing_is_copied),
        cmocka_unit_test(priorities_are_clamped),
        cmocka_unit_test(seconds_and_durations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
