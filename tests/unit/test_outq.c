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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_leave_in_the_order_they_came),
        cmocka_unit_test(a_failed_push_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
