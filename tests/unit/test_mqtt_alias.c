/* Topic aliases, both ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "base/mem.h"
#include "mqtt/alias.h"
#include "tests/unit/mqtt_wire.h"

static int resolve(struct alias_in *a, uint16_t alias, const char *topic, struct bytes *out)
{
    *out = wire_exact(bytes_str(topic));
    return alias_in_resolve(a, alias, out);
}

static void an_alias_stands_for_the_topic_it_came_with_last(void **state) /* [MQTT-3.3.2-12] */
{
    (void)state;
    struct alias_in a;
    struct bytes t;
    alias_in_init(&a, 10);
    assert_int_equal(resolve(&a, 1, "first", &t), 0);
    assert_bytes(t, "first");
    assert_int_equal(resolve(&a, 10, "tenth", &t), 0);
    assert_int_equal(resolve(&a, 1, "", &t), 0);
    assert_bytes(t, "first");
    assert_int_equal(resolve(&a, 10, "", &t), 0);
    assert_bytes(t, "tenth");
    assert_int_equal(resolve(&a, 1, "anew", &t), 0);
    assert_int_equal(resolve(&a, 1, "anew", &t), 0);
    assert_int_equal(resolve(&a, 1, "", &t), 0);
    assert_bytes(t, "anew");
    alias_in_fini(&a);
}

static void aliases_outside_what_was_announced_are_invalid(void **state)
{
    (void)state; /* [MQTT-3.3.2-8], [MQTT-3.3.2-9] */
    struct alias_in a;
    struct bytes t;
    alias_in_init(&a, 10);
    assert_int_equal(resolve(&a, 0, "t", &t), E_TOPIC_ALIAS);
    assert_int_equal(resolve(&a, 11, "t", &t), E_TOPIC_ALIAS);
    assert_int_equal(resolve(&a, 65535, "", &t), E_TOPIC_ALIAS);
    alias_in_fini(&a);
    alias_in_init(&a, 0);
    assert_int_equal(resolve(&a, 1, "t", &t), E_TOPIC_ALIAS);
    alias_in_fini(&a);
}

static void an_alias_never_set_is_a_protocol_error(void **state)
{
    (void)state;
    struct alias_in a;
    struct bytes t;
    alias_in_init(&a, 10);
    assert_int_equal(resolve(&a, 3, "", &t), E_PROTOCOL);
    assert_int_equal(resolve(&a, 5, "five", &t), 0);
    assert_int_equal(resolve(&a, 3, "", &t), E_PROTOCOL);
    assert_int_equal(resolve(&a, 6, "", &t), E_PROTOCOL);
    alias_in_fini(&a);
}

static void the_largest_maximum_can_be_used_up(void **state)
{
    (void)state;
    struct alias_in a;
    struct bytes t;
    alias_in_init(&a, 65535);
    for (uint32_t i = 1; i <= 65535; i += 97)
        assert_int_equal(resolve(&a, (uint16_t)i, "t", &t), 0);
    assert_int_equal(resolve(&a, 65535, "last", &t), 0);
    assert_int_equal(resolve(&a, 65535, "", &t), 0);
    assert_bytes(t, "last");
    assert_int_equal(a.count, 65535);
    alias_in_fini(&a);
}

static void inbound_without_memory_the_old_topic_stays(void **state)
{
    (void)state;
    bool failed = true;
    for (long n = 0; failed; n++) {
        struct alias_in a;
        struct bytes t;
        alias_in_init(&a, 100);
        mem_fail_after(n);
        bool first = resolve(&a, 1, "old", &t) == 0;
        bool second = resolve(&a, 1, "new", &t) == 0, far = resolve(&a, 50, "far", &t) == 0;
        failed = mem_fail_after(-1);
        assert_int_equal(first + second + far, failed ? 2 : 3);
        assert_int_equal(resolve(&a, 1, "", &t), 0); /* at least one of both went well */
        assert_bytes(t, second ? "new" : "old");
        assert_int_equal(resolve(&a, 50, "", &t), far ? 0 : E_PROTOCOL);
        alias_in_fini(&a);
    }
}

static uint16_t get(struct alias_out *a, const char *topic, bool *known)
{
    return alias_out_get(a, bytes_str(topic), known);
}

static void outbound_the_first_topics_get_the_aliases(void **state) /* [MQTT-3.1.2-26] */
{
    (void)state;
    struct alias_out a;
    bool known;
    alias_out_init(&a, 2);
    assert_int_equal(get(&a, "one", &known), 1);
    assert_false(known);
    assert_int_equal(get(&a, "one", &known), 1);
    assert_true(known);
    assert_int_equal(get(&a, "two", &known), 2);
    assert_false(known);
    assert_int_equal(get(&a, "three", &known), 0);
    assert_false(known);
    assert_int_equal(get(&a, "two", &known), 2);
    assert_true(known);
    assert_int_equal(get(&a, "", &known), 0);
    alias_out_fini(&a);
}

static void outbound_none_without_a_maximum(void **state) /* [MQTT-3.1.2-27] */
{
    (void)state;
    struct alias_out a;
    bool known = true;
    alias_out_init(&a, 0);
    assert_int_equal(get(&a, "one", &known), 0);
    assert_false(known);
    alias_out_fini(&a);
}

static void outbound_thousands_keep_theirs(void **state)
{
    (void)state;
    struct alias_out a;
    bool known;
    char topic[16];
    alias_out_init(&a, 65535);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 3000; i++) {
            snprintf(topic, sizeof topic, "t/%d", i);
            assert_int_equal(get(&a, topic, &known), i + 1);
            assert_int_equal(known, round);
        }
    }
    alias_out_fini(&a);
}

static void outbound_without_memory_the_topic_goes_without_an_alias(void **state)
{
    (void)state;
    bool failed = true;
    for (long n = 0; failed; n++) {
        struct alias_out a;
        bool known;
        char topic[16];
        uint32_t refused = 0;
        alias_out_init(&a, 100);
        mem_fail_after(n);
        for (int i = 0; i < 20; i++) {
            snprintf(topic, sizeof topic, "t/%d", i);
            uint16_t alias = get(&a, topic, &known);
            assert_false(known);
            refused += alias == 0;
        }
        failed = mem_fail_after(-1);
        assert_int_equal(refused, failed ? 1 : 0);
        assert_int_equal(a.count, 20 - refused);
        alias_out_fini(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_alias_stands_for_the_topic_it_came_with_last),
        cmocka_unit_test(aliases_outside_what_was_announced_are_invalid),
        cmocka_unit_test(an_alias_never_set_is_a_protocol_error),
        cmocka_unit_test(the_largest_maximum_can_be_used_up),
        cmocka_unit_test(inbound_without_memory_the_old_topic_stays),
        cmocka_unit_test(outbound_the_first_topics_get_the_aliases),
        cmocka_unit_test(outbound_none_without_a_maximum),
        cmocka_unit_test(outbound_thousands_keep_theirs),
        cmocka_unit_test(outbound_without_memory_the_topic_goes_without_an_alias),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
