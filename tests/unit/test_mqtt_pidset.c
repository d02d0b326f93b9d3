/* The set of inbound QoS 2 packet identifiers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include "mqtt/pidset.h"

static void an_identifier_is_in_the_set_from_add_to_del(void **state) /* [MQTT-4.3.3-10] */
{
    (void)state;
    struct pidset s = {0};
    assert_false(pidset_has(&s, 7));
    assert_false(pidset_del(&s, 7));
    assert_int_equal(pidset_add(&s, 7), 0);
    assert_true(pidset_has(&s, 7));
    assert_int_equal(pidset_add(&s, 7), E_EXISTS);
    assert_int_equal(s.count, 1);
    assert_false(pidset_has(&s, 15)); /* the same place */
    assert_true(pidset_del(&s, 7));
    assert_false(pidset_del(&s, 7));
    assert_false(pidset_has(&s, 7));
    assert_int_equal(s.count, 0);
    pidset_fini(&s);
    assert_null(s.ids);
}

static void all_65535_fit(void **state)
{
    (void)state;
    struct pidset s = {0};
    for (uint32_t id = 65535; id > 0; id--) assert_int_equal(pidset_add(&s, (uint16_t)id), 0);
    assert_int_equal(s.count, 65535);
    for (uint32_t id = 1; id < 65536; id += 2) assert_true(pidset_del(&s, (uint16_t)id));
    for (uint32_t id = 1; id < 65536; id++)
        assert_int_equal(pidset_has(&s, (uint16_t)id), id % 2 == 0);
    pidset_fini(&s);
}

static void a_random_life_agrees_with_a_plain_table(void **state)
{
    (void)state;
    struct rng rng = {7};
    static uint8_t model[65536];
    /* Few identifiers, in strides: they collide and wrap. */
    static const uint16_t strides[] = {1, 8, 1000, 4096};
    for (size_t i = 0; i < ARRAY_LEN(strides); i++) {
        struct pidset s = {0};
        uint32_t count = 0;
        memset(model, 0, sizeof model);
        for (int step = 0; step < 20000; step++) {
            uint16_t id = (uint16_t)(rng_below(&rng, 60) * strides[i] + 6);
            if (rng_below(&rng, 2)) {
                assert_int_equal(pidset_add(&s, id), model[id] ? E_EXISTS : 0);
                count += !model[id];
                model[id] = 1;
            } else {
                assert_int_equal(pidset_del(&s, id), model[id]);
                count -= model[id];
                model[id] = 0;
            }
            assert_int_equal(s.count, count);
            uint16_t other = (uint16_t)(rng_below(&rng, 60) * strides[i] + 6);
            assert_int_equal(pidset_has(&s, other), model[other]);
        }
        pidset_fini(&s);
    }
}

static void without_memory_nothing_changes(void **state)
{
    (void)state;
    bool failed = true;
    for (long n = 0; failed; n++) {
        struct pidset s = {0};
        uint32_t refused = 0;
        mem_fail_after(n);
        for (uint16_t id = 1; id <= 100; id++) {
            int rc = pidset_add(&s, id);
            assert_true(rc == 0 || rc == E_NOMEM);
            assert_int_equal(pidset_has(&s, id), rc == 0);
            refused += rc != 0;
        }
        failed = mem_fail_after(-1);
        assert_int_equal(refused, failed ? 1 : 0);
        assert_int_equal(s.count, 100 - refused);
        pidset_fini(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_identifier_is_in_the_set_from_add_to_del),
        cmocka_unit_test(all_65535_fit),
        cmocka_unit_test(a_random_life_agrees_with_a_plain_table),
        cmocka_unit_test(without_memory_nothing_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
