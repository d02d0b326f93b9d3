/* The pointer set against an array that knows the truth, with good hashes and with terrible ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/ptrmap.h"
#include "base/rng.h"

enum { KEYS = 2000 };

struct thing {
    uint64_t key;
    bool in;
};

static uint64_t good_hash(const void *elem, uint64_t seed)
{
    return hash_u64(((const struct thing *)elem)->key, seed);
}

/* Everybody has the same tag, and the home slots lie at the table's end: all probing, and around.
 */
static uint64_t bad_hash(const void *elem, uint64_t seed)
{
    return seed + UINT64_MAX / 2 - ((const struct thing *)elem)->key % 3;
}

static struct thing *look_up(const struct ptrmap *m, uint64_t key)
{
    struct thing probe = {.key = key}, *t;
    uint64_t hash = m->hash_of(&probe, m->seed);
    for (size_t pos = hash; (t = ptrmap_next(m, hash, &pos)) != NULL;)
        if (t->key == key) return t;
    return NULL;
}

static void churn(uint64_t (*hash_of)(const void *, uint64_t), unsigned keys, int rounds)
{
    struct thing *things = mem_calloc(keys, sizeof *things);
    assert_non_null(things);
    struct rng rng = {99};
    struct ptrmap m;
    ptrmap_init(&m, hash_of, 5);
    size_t count = 0;
    for (int i = 0; i < rounds; i++) {
        unsigned k = (unsigned)rng_below(&rng, keys);
        things[k].key = k;
        uint64_t hash = hash_of(&things[k], 5);
        assert_ptr_equal(look_up(&m, k), things[k].in ? &things[k] : NULL);
        if (things[k].in) {
            ptrmap_del(&m, &things[k], hash);
            count--;
        } else {
            assert_int_equal(ptrmap_put(&m, &things[k], hash), 0);
            count++;
        }
        things[k].in = !things[k].in;
        assert_int_equal(m.count, count);
        assert_true(m.count * 4 <= (m.mask + 1) * 3);
    }
    for (unsigned k = 0; k < keys; k++) {
        things[k].key = k;
        assert_ptr_equal(look_up(&m, k), things[k].in ? &things[k] : NULL);
    }
    assert_true(count > keys / 4);
    ptrmap_fini(&m);
    mem_free(things);
}

static void an_empty_map_finds_nothing_and_owns_nothing(void **state)
{
    (void)state;
    struct ptrmap m;
    ptrmap_init(&m, good_hash, 1);
    assert_null(m.slots);
    assert_null(look_up(&m, 1));
    ptrmap_prefetch(&m, 1);
    ptrmap_fini(&m);
}

static void what_was_put_is_found_until_it_is_taken(void **state)
{
    (void)state;
    churn(good_hash, KEYS, 40000);
}

static void colliding_hashes_cost_time_but_lose_nothing(void **state)
{
    (void)state;
    churn(bad_hash, 60, 5000);
}

static void without_memory_nothing_changes(void **state)
{
    (void)state;
    struct thing things[20];
    struct ptrmap m;
    ptrmap_init(&m, good_hash, 1);
    unsigned failures = 0;
    for (unsigned k = 0; k < ARRAY_LEN(things); k++) {
        things[k] = (struct thing){.key = k};
        uint64_t hash = good_hash(&things[k], 1);
        mem_fail_after(0); /* fails whenever the table must grow */
        int rc = ptrmap_put(&m, &things[k], hash);
        if (mem_fail_after(-1)) {
            failures++;
            assert_int_equal(rc, E_NOMEM);
            assert_int_equal(m.count, k);
            assert_null(look_up(&m, k));
            rc = ptrmap_put(&m, &things[k], hash);
        }
        assert_int_equal(rc, 0);
        for (unsigned j = 0; j <= k; j++) assert_ptr_equal(look_up(&m, j), &things[j]);
    }
    assert_int_equal(failures, 3); /* 8, 16, 32 slots */
    ptrmap_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_map_finds_nothing_and_owns_nothing),
        cmocka_unit_test(what_was_put_is_found_until_it_is_taken),
        cmocka_unit_test(colliding_hashes_cost_time_but_lose_nothing),
        cmocka_unit_test(without_memory_nothing_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
