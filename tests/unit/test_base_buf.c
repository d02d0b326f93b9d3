/* The byte FIFO: against a plain array, and what it does without memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"

static void an_empty_buffer_owns_no_memory(void **state)
{
    (void)state;
    struct buf b = {0};
    assert_int_equal(buf_len(&b), 0);
    assert_int_equal(buf_view(&b).n, 0);
    assert_int_equal(buf_append(&b, bytes_of(NULL, 0)), 0);
    assert_null(b.data);
    assert_int_equal(buf_append(&b, bytes_str("abc")), 0);
    buf_trim(&b); /* not empty: stays */
    assert_true(bytes_eq(buf_view(&b), bytes_str("abc")));
    buf_consume(&b, 3);
    buf_trim(&b);
    assert_null(b.data);
    assert_int_equal(b.cap, 0);
}

static void what_is_reserved_but_not_committed_is_not_there(void **state)
{
    (void)state;
    struct buf b = {0};
    uint8_t *p = buf_reserve(&b, 10);
    assert_non_null(p);
    memcpy(p, "0123456789", 10);
    assert_int_equal(buf_len(&b), 0);
    buf_commit(&b, 4);
    assert_true(bytes_eq(buf_view(&b), bytes_str("0123")));
    buf_fini(&b);
    assert_null(b.data);
}

static void bytes_come_out_in_the_order_they_went_in(void **state)
{
    (void)state;
    struct rng rng = {7};
    struct buf b = {0};
    uint8_t next_in = 0, next_out = 0, chunk[3000];
    size_t most = 0;
    for (int i = 0; i < 5000; i++) {
        size_t n = rng_below(&rng, sizeof chunk);
        for (size_t k = 0; k < n; k++) chunk[k] = next_in++;
        assert_int_equal(buf_append(&b, bytes_of(chunk, n)), 0);
        struct bytes view = buf_view(&b);
        if (view.n > most) most = view.n;
        uint32_t take = (uint32_t)rng_below(&rng, view.n + 1);
        if (view.n > 50000) take = (uint32_t)view.n;
        for (uint32_t k = 0; k < take; k++) assert_int_equal(view.p[k], next_out++);
        buf_consume(&b, take);
    }
    assert_true(most > sizeof chunk);
    assert_true(b.cap <= 4 * 65536); /* it moves to the front instead of growing for ever */
    buf_fini(&b);
}

static void without_memory_nothing_changes(void **state)
{
    (void)state;
    struct buf b = {0};
    mem_fail_after(0);
    assert_int_equal(buf_append(&b, bytes_str("x")), E_NOMEM);
    assert_true(mem_fail_after(-1));
    assert_null(b.data);
    assert_int_equal(buf_append(&b, bytes_str("abc")), 0);
    buf_consume(&b, 1);
    mem_fail_after(0);
    assert_null(buf_reserve(&b, 100000));
    assert_true(mem_fail_after(-1));
    assert_true(bytes_eq(buf_view(&b), bytes_str("bc")));
    buf_fini(&b);
}

static void a_length_beyond_its_range_is_refused(void **state) /* HARDENING class 1 */
{
    (void)state;
    struct buf b = {0};
    assert_int_equal(buf_append(&b, bytes_str("x")), 0);
    assert_null(buf_reserve(&b, UINT32_MAX));
    assert_int_equal(buf_append(&b, (struct bytes){b.data, (size_t)UINT32_MAX + 1}), E_NOMEM);
    assert_true(bytes_eq(buf_view(&b), bytes_str("x")));
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_buffer_owns_no_memory),
        cmocka_unit_test(what_is_reserved_but_not_committed_is_not_there),
        cmocka_unit_test(bytes_come_out_in_the_order_they_went_in),
        cmocka_unit_test(without_memory_nothing_changes),
        cmocka_unit_test(a_length_beyond_its_range_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
