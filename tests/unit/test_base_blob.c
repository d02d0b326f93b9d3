/* Counted bytes.  That they are freed, and once, is the sanitizer's to see. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/blob.h"

static void a_blob_lives_as_long_as_its_last_reference(void **state)
{
    (void)state;
    struct blob *b = blob_new(3);
    assert_non_null(b);
    assert_int_equal(b->size, 3);
    assert_int_equal(b->refs, 1);
    memcpy(b->data, "abc", 3);
    assert_ptr_equal(blob_ref(b), b);
    blob_unref(b);
    assert_int_equal(b->refs, 1);
    assert_memory_equal(b->data, "abc", 3); /* still ours */
    blob_unref(b);
    blob_unref(NULL); /* harmless */
}

static void a_blob_may_be_empty(void **state)
{
    (void)state;
    struct blob *b = blob_new(0);
    assert_non_null(b);
    assert_int_equal(b->size, 0);
    blob_unref(b);
}

static void without_memory_there_is_no_blob(void **state)
{
    (void)state;
    mem_fail_after(0);
    assert_null(blob_new(10));
    assert_true(mem_fail_after(-1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_blob_lives_as_long_as_its_last_reference),
        cmocka_unit_test(a_blob_may_be_empty),
        cmocka_unit_test(without_memory_there_is_no_blob),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
