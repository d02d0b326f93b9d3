/* The contract of store/store.h, run on every engine in the table below. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "store/store.h"

struct engine {
    const char *name;
    int (*open)(struct store **out, unsigned shard, unsigned shards);
};

static const struct engine engines[] = {
    {"mem", store_mem_open},
};

enum { POLLS_MAX = 1000 }; /* an append is safe, a fetch answered, within so many polls */

static struct store *open_one(void **state, unsigned shard, unsigned shards)
{
    const struct engine *e = *state;
    struct store *st = NULL;
    assert_int_equal(e->open(&st, shard, shards), 0);
    assert_non_null(st);
    return st;
}

static struct blob *record(const char *text)
{
    struct blob *b = blob_new((uint32_t)strlen(text));
    assert_non_null(b);
    memcpy(b->data, text, b->size);
    return b;
}

static void wait_until_safe(struct store *st, uint64_t seq)
{
    for (int i = 0; i < POLLS_MAX; i++)
        if (store_poll(st) >= seq) return;
    fail_msg("append %llu does not become safe", (unsigned long long)seq);
}

static struct blob *fetch(struct store *st, store_ref ref)
{
    struct blob *body = NULL;
    for (int i = 0; i < POLLS_MAX; i++) {
        int rc = store_fetch(st, ref, &body);
        if (rc == 0) return body;
        assert_int_equal(rc, E_AGAIN);
        store_poll(st);
    }
    fail_msg("a record is not read");
    return NULL;
}

static void nothing_is_safe_before_the_first_append(void **state)
{
    struct store *st = open_one(state, 0, 1);
    assert_true(store_poll(st) == 0);
    store_close(st);
    st = open_one(state, 3, 4);
    assert_true(store_poll(st) == 0);
    store_close(st);
    store_close(NULL); /* harmless */
}

static void sequences_grow_and_each_append_becomes_safe(void **state)
{
    struct store *st = open_one(state, 0, 1);
    struct blob *b = record("x");
    uint64_t last = 0, safe = 0;
    for (int i = 0; i < 100; i++) {
        uint64_t seq = 0;
        assert_int_equal(store_append(st, (struct bytes){0}, b, &seq), 0);
        assert_true(seq > last);
        last = seq;
        uint64_t now_safe = store_poll(st);
        assert_true(now_safe >= safe); /* never goes back */
        assert_true(now_safe <= last); /* never ahead of what was appended */
        safe = now_safe;
    }
    wait_until_safe(st, last);
    blob_unref(b);
    store_close(st);
}

static void sequences_of_all_shards_are_distinct(void **state)
{
    enum { SHARDS = 3, EACH = 50 };
    struct store *st[SHARDS];
    uint64_t seen[SHARDS * EACH];
    size_t count = 0;
    struct blob *b = record("x");
    for (unsigned s = 0; s < SHARDS; s++) st[s] = open_one(state, s, SHARDS);
    for (unsigned s = 0; s < SHARDS; s++) {
        for (int i = 0; i < EACH; i++) {
            assert_int_equal(store_append(st[s], b, &seen[count]), 0);
            for (size_t k = 0; k < count; k++) assert_true(seen[k] != seen[count]);
            count++;
        }
    }
    for (unsigned s = 0; s < SHARDS; s++) store_close(st[s]);
    blob_unref(b);
}

static void the_caller_keeps_its_own_reference(void **state)
{
    struct store *st = open_one(state, 0, 1);
    struct blob *b = record("mine");
    uint64_t seq = 0;
    assert_int_equal(store_append(st, (struct bytes){0}, b, &seq), 0);
    wait_until_safe(st, seq);
    assert_true(b->refs >= 1);
    assert_memory_equal(b->data, "mine", 4);
    store_close(st);
    assert_int_equal(b->refs, 1); /* a closed store holds nothing */
    blob_unref(b);
}

static void a_held_record_can_be_fetched_after_the_writer_let_go(void **state)
{
    struct store *st = open_one(state, 1, 2);
    struct blob *b = record("body");
    uint64_t seq = 0;
    assert_int_equal(store_append(st, (struct bytes){0}, b, &seq), 0);
    store_ref ref = store_hold(st, seq, b);
    assert_true(ref >> 63 == 0); /* at most 63 bits */
    blob_unref(b);
    wait_until_safe(st, seq);
    for (int i = 0; i < 2; i++) { /* fetching does not use it up */
        struct blob *body = fetch(st, ref);
        assert_int_equal(body->size, 4);
        assert_memory_equal(body->data, "body", 4);
        blob_unref(body);
    }
    struct blob *body = fetch(st, ref);
    store_drop(st, ref);
    assert_memory_equal(body->data, "body", 4); /* what was fetched outlives the reference */
    blob_unref(body);
    store_close(st);
}

static void a_record_may_be_held_many_times(void **state)
{
    struct store *st = open_one(state, 0, 1);
    struct blob *b = record("shared");
    uint64_t seq = 0;
    assert_int_equal(store_append(st, (struct bytes){0}, b, &seq), 0);
    store_ref refs[1000];
    for (size_t i = 0; i < ARRAY_LEN(refs); i++) refs[i] = store_hold(st, seq, b);
    blob_unref(b);
    for (size_t i = 0; i < ARRAY_LEN(refs); i++) {
        struct blob *body = fetch(st, refs[i]);
        assert_memory_equal(body->data, "shared", 6);
        blob_unref(body);
        store_drop(st, refs[i]);
    }
    store_close(st);
}

static void records_held_and_dropped_in_any_order_keep_their_bodies(void **state)
{
    enum { RECORDS = 200 };
    struct store *st = open_one(state, 0, 1);
    struct rng rng = {11};
    store_ref refs[RECORDS];
    bool held[RECORDS] = {false};
    for (int i = 0; i < 5000; i++) {
        uint32_t k = (uint32_t)rng_below(&rng, RECORDS);
        if (held[k]) {
            struct blob *body = fetch(st, refs[k]);
            assert_int_equal(body->size, sizeof k);
            assert_memory_equal(body->data, &k, sizeof k);
            blob_unref(body);
            store_drop(st, refs[k]);
        } else {
            struct blob *b = blob_new(sizeof k);
            assert_non_null(b);
            memcpy(b->data, &k, sizeof k);
            uint64_t seq = 0;
            assert_int_equal(store_append(st, (struct bytes){0}, b, &seq), 0);
            refs[k] = store_hold(st, seq, b);
            blob_unref(b);
        }
        held[k] = !held[k];
    }
    for (uint32_t k = 0; k < RECORDS; k++)
        if (held[k]) store_drop(st, refs[k]);
    store_close(st);
}

static void opening_without_memory_leaves_nothing(void **state)
{
    const struct engine *e = *state;
    bool fired = true;
    for (long n = 0; fired; n++) {
        assert_true(n < 1000);
        struct store *st = NULL;
        mem_fail_after(n);
        int rc = e->open(&st, 0, 1);
        fired = mem_fail_after(-1);
        assert_int_equal(rc, fired ? E_NOMEM : 0);
        if (rc == 0)
            store_close(st);
        else
            assert_null(st);
    }
}

int main(void)
{
    int failed = 0;
    for (size_t i = 0; i < ARRAY_LEN(engines); i++) {
        void *engine = (void *)(uintptr_t)&engines[i];
        const struct CMUnitTest tests[] = {
            cmocka_unit_test_prestate(nothing_is_safe_before_the_first_append, engine),
            cmocka_unit_test_prestate(sequences_grow_and_each_append_becomes_safe, engine),
            cmocka_unit_test_prestate(sequences_of_all_shards_are_distinct, engine),
            cmocka_unit_test_prestate(the_caller_keeps_its_own_reference, engine),
            cmocka_unit_test_prestate(a_held_record_can_be_fetched_after_the_writer_let_go, engine),
            cmocka_unit_test_prestate(a_record_may_be_held_many_times, engine),
            cmocka_unit_test_prestate(records_held_and_dropped_in_any_order_keep_their_bodies,
                                      engine),
            cmocka_unit_test_prestate(opening_without_memory_leaves_nothing, engine),
        };
        failed += cmocka_run_group_tests_name(engines[i].name, tests, NULL, NULL);
    }
    return failed;
}
