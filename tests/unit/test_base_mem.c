/* The allocator's door and its fault hook, on which every allocation-failure test stands. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"

static void memory_of_no_bytes_is_memory(void **state)
{
    (void)state;
    void *a = mem_alloc(0), *b = mem_calloc(0, 8), *c = mem_realloc(NULL, 0);
    assert_non_null(a);
    assert_non_null(b);
    assert_non_null(c);
    mem_free(a);
    mem_free(b);
    mem_free(c);
    mem_free(NULL);
}

static void calloc_clears_and_strndup_ends_with_zero(void **state)
{
    (void)state;
    unsigned char *p = mem_calloc(4, 8);
    assert_non_null(p);
    for (int i = 0; i < 32; i++) assert_int_equal(p[i], 0);
    mem_free(p);
    char *s = mem_strndup("abcdef", 3), *none = mem_strndup(NULL, 0);
    assert_string_equal(s, "abc");
    assert_string_equal(none, "");
    mem_free(s);
    mem_free(none);
}

static void the_ordered_allocation_fails_and_only_that(void **state)
{
    (void)state;
    for (long n = 0; n < 4; n++) {
        void *p[4];
        assert_false(mem_fail_after(n));
        p[0] = mem_alloc(8);
        p[1] = mem_calloc(1, 8);
        p[2] = mem_realloc(NULL, 8);
        p[3] = mem_strndup("x", 1);
        for (long i = 0; i < 4; i++) {
            if (i == n)
                assert_null(p[i]);
            else
                assert_non_null(p[i]);
            mem_free(p[i]);
        }
        assert_true(mem_fail_after(-1));
    }
}

static void a_failed_realloc_leaves_what_was_there(void **state)
{
    (void)state;
    char *p = mem_strndup("keep", 4);
    assert_non_null(p);
    mem_fail_after(0);
    assert_null(mem_realloc(p, 1000));
    assert_true(mem_fail_after(-1));
    assert_string_equal(p, "keep");
    mem_free(p);
}

static void an_order_that_was_not_reached_has_not_fired(void **state)
{
    (void)state;
    assert_false(mem_fail_after(5));
    mem_free(mem_alloc(1));
    assert_false(mem_fail_after(-1));
    void *p = mem_alloc(1);
    assert_non_null(p);
    mem_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_of_no_bytes_is_memory),
        cmocka_unit_test(calloc_clears_and_strndup_ends_with_zero),
        cmocka_unit_test(the_ordered_allocation_fails_and_only_that),
        cmocka_unit_test(a_failed_realloc_leaves_what_was_there),
        cmocka_unit_test(an_order_that_was_not_reached_has_not_fired),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
