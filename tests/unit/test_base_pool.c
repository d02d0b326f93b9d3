/* The pool: objects apart from each other and whole, lengths used again, chunks that go, failing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/pool.h"
#include "base/rng.h"

enum { OBJECTS = 3000 };

struct object {
    uint8_t *p;
    size_t size;
    uint8_t mark;
};

static void object_new(struct pool *pool, struct object *o, size_t size, uint8_t mark)
{
    *o = (struct object){pool_alloc(pool, size), size, mark};
    assert_non_null(o->p);
    assert_int_equal((uintptr_t)o->p % POOL_STEP, 0);
    memset(o->p, mark, size);
}

static void object_drop(struct pool *pool, struct object *o)
{
    for (size_t i = 0; i < o->size; i++) assert_int_equal(o->p[i], o->mark);
    pool_free(pool, o->p, o->size);
    o->p = NULL;
}

static void objects_do_not_touch(void **state)
{
    (void)state;
    static struct object objects[OBJECTS];
    struct pool pool = {0};
    struct rng rng = {5};
    for (unsigned turn = 0; turn < 20 * OBJECTS; turn++) {
        struct object *o = &objects[rng_next(&rng) % OBJECTS];
        if (o->p)
            object_drop(&pool, o);
        else
            object_new(&pool, o, rng_next(&rng) % (POOL_OBJECT_MAX + 50), (uint8_t)turn);
    }
    for (unsigned i = 0; i < OBJECTS; i++)
        if (objects[i].p) object_drop(&pool, &objects[i]);
    assert_int_equal(pool.count, 0);
    assert_null(pool.chunks); /* they have gone with the last */
}

static void a_length_is_used_again(void **state)
{
    (void)state;
    struct pool pool = {0};
    void *kept = pool_alloc(&pool, 1), *a = pool_alloc(&pool, 33), *b = pool_alloc(&pool, 33);
    pool_free(&pool, a, 33);
    void *other = pool_alloc(&pool, 24); /* of another length */
    void *again = pool_alloc(&pool, 40); /* as long as 33, rounded */
    assert_ptr_not_equal(other, a);
    assert_ptr_equal(again, a);
    pool_free(&pool, NULL, 8);
    pool_free(&pool, kept, 1);
    pool_free(&pool, b, 33);
    pool_free(&pool, other, 24);
    assert_non_null(pool.chunks);
    pool_free(&pool, again, 40);
    assert_null(pool.chunks);
}

/* What is left of a chunk is not lost, and nothing stands before an object. */
static void no_byte_is_wasted(void **state)
{
    (void)state;
    enum { SIZE = 40, COUNT = 100000 };
    static void *objects[COUNT];
    struct pool pool = {0};
    for (unsigned i = 0; i < COUNT; i++) objects[i] = pool_alloc(&pool, SIZE);
    assert_true(pool.chunk_bytes < COUNT * SIZE + POOL_CHUNK_MAX + 16 * 100);
    for (unsigned i = 0; i < COUNT; i++) pool_free(&pool, objects[i], SIZE);
}

static void every_allocation_can_fail(void **state)
{
    (void)state;
    struct pool pool = {0};
    void *kept = pool_alloc(&pool, 8);
    mem_fail_after(0);
    assert_null(pool_alloc(&pool, 8)); /* though there is room */
    assert_true(mem_fail_after(MEM_FAIL_NONE));
    mem_fail_after(0);
    assert_null(pool_alloc(&pool, POOL_OBJECT_MAX + 1));
    assert_true(mem_fail_after(MEM_FAIL_NONE));
    assert_int_equal(pool.count, 1);
    pool_free(&pool, kept, 8);
    mem_fail_after(1); /* the chunk */
    assert_null(pool_alloc(&pool, 8));
    assert_true(mem_fail_after(MEM_FAIL_NONE));
    assert_int_equal(pool.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_do_not_touch),
        cmocka_unit_test(a_length_is_used_again),
        cmocka_unit_test(no_byte_is_wasted),
        cmocka_unit_test(every_allocation_can_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
