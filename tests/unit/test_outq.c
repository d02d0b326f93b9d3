/* A session's queue: order, counts, memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "core/outq.h"

static void items_leave_in_the_order_they_came(void **state)
{
    (void)state;
    struct outq q = {0};
    struct rng r = {7};
    uint64_t in = 0, out = 0;
    for (int i = 0; i < 100000; i++) {
        if (rng_below(&r, 5) < (i < 50000 ? 3u : 2u)) {
            assert_int_equal(outq_push(&q, (struct outq_item){.ref = in++, .size = 3}), 0);
        } else if (q.count) {
            assert_int_equal(outq_peek(&q)->ref, out++);
            outq_pop(&q);
        }
        assert_int_equal(q.count, in - out);
        assert_int_equal(q.bytes, 3 * (in - out));
    }
    while (q.count) outq_pop(&q);
    assert_null(outq_peek(&q));
    outq_trim(&q);
    assert_null(q.head);
}

static void a_failed_push_changes_nothing(void **state)
{
    (void)state;
    struct outq q = {0};
    mem_fail_after(0);
    assert_int_equal(outq_push(&q, (struct outq_item){.ref = 1}), E_NOMEM);
    assert_true(mem_fail_after(-1));
    assert_int_equal(q.count, 0);
    assert_int_equal(outq_push(&q, (struct outq_item){.ref = 2}), 0);
    assert_int_equal(outq_peek(&q)->ref, 2);
    outq_pop(&q);
    outq_trim(&q);
}

/* A model: references in order, with holes where something was taken out. */
static void items_are_taken_from_anywhere(void **state)
{
    (void)state;
    enum { ITEMS = 3000 };
    static bool there[ITEMS];
    struct outq q = {0};
    struct outq_item item;
    struct rng r = {9};
    for (uint64_t i = 0; i < ITEMS; i++) {
        struct outq_item new = {.ref = i, .size = 5, .qos = i % 3};
        assert_int_equal(outq_push(&q, new), 0);
        there[i] = true;
    }
    for (uint32_t left = ITEMS; left > 0;) {
        uint64_t ref = rng_below(&r, ITEMS);
        assert_int_equal(outq_take(&q, ref, &item), there[ref]);
        if (there[ref]) assert_int_equal(item.ref, ref);
        left -= there[ref];
        there[ref] = false;
        assert_int_equal(q.count, left);
        assert_int_equal(q.bytes, 5 * left);
        if (left % 500 != 250) continue;
        uint32_t at = 0, qos0 = 0;
        struct outq_walk all, from;
        outq_walk_from(&all, &q, 0);
        for (uint64_t i = 0; i < ITEMS; i++) {
            if (!there[i]) continue;
            qos0 += i % 3 == 0;
            outq_walk_from(&from, &q, at++);
            assert_int_equal(outq_walk_next(&from)->ref, i);
            assert_int_equal(outq_walk_next(&all)->ref, i);
        }
        assert_int_equal(q.qos0_count, qos0);
        assert_null(outq_walk_next(&all));
        outq_walk_from(&from, &q, at);
        assert_null(outq_walk_next(&from));
    }
    assert_int_equal(outq_push(&q, (struct outq_item){.ref = 7}), 0); /* still of use */
    assert_int_equal(outq_peek(&q)->ref, 7);
    outq_pop(&q);
    outq_trim(&q);
}

static void queues_are_joined_in_order(void **state)
{
    (void)state;
    for (uint64_t first = 0; first <= 300; first += 100) {
        for (uint64_t more = 0; more <= 300; more += 100) {
            struct outq a = {0}, b = {0};
            for (uint64_t i = 0; i < first; i++)
                assert_int_equal(outq_push(&a, (struct outq_item){.ref = i, .size = 1}), 0);
            for (uint64_t i = 0; i < more; i++)
                assert_int_equal(outq_push(&b, (struct outq_item){.ref = first + i, .size = 1}), 0);
            outq_append(&a, &b);
            assert_int_equal(b.count, 0);
            assert_null(b.head);
            assert_int_equal(outq_push(&a, (struct outq_item){.ref = first + more, .size = 1}), 0);
            assert_int_equal(a.count, first + more + 1);
            assert_int_equal(a.bytes, first + more + 1);
            for (uint64_t i = 0; i <= first + more; i++) {
                assert_int_equal(outq_peek(&a)->ref, i);
                outq_pop(&a);
            }
            outq_trim(&a);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_leave_in_the_order_they_came),
        cmocka_unit_test(a_failed_push_changes_nothing),
        cmocka_unit_test(items_are_taken_from_anywhere),
        cmocka_unit_test(queues_are_joined_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
