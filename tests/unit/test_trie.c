/* The filter table against the naive rule of mqtt_topic_matches(), and what it costs in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "core/trie.h"
#include "mqtt/topic.h"

enum { SEED = 42, OWNERS = 40 };

struct hits {
    uint32_t count[OWNERS + 1];
};

static void count_hit(void *ctx, const struct filter *f)
{
    struct hits *h = ctx;
    for (const struct sub *s = f->subs; s; s = s->filter_next) h->count[s->owner.shard]++;
}

static void count_filter(void *ctx, const struct filter *f)
{
    (void)f;
    ++*(uint32_t *)ctx;
}

static struct sub *add(struct trie *t, const char *filter, uintptr_t owner)
{
    struct sub *s = trie_add(t, bytes_str(filter), SUB_SESSION, owner, NULL);
    assert_non_null(s);
    return s;
}

static struct hits match(const struct trie *t, const char *topic)
{
    struct hits h = {0};
    struct bytes b = bytes_str(topic);
    assert_true(trie_match(t, b, hash_bytes(b, SEED), count_hit, &h));
    return h;
}

static void a_hash_matches_its_parent_level(void **state) /* [MQTT-4.7.1-1], 4.7.1.2 */
{
    (void)state;
    struct trie t;
    assert_int_equal(trie_init(&t, SEED), 0);
    struct sub *s = add(&t, "sport/tennis/#", 1);
    assert_int_equal(match(&t, "sport/tennis").count[1], 1);
    assert_int_equal(match(&t, "sport/tennis/player1/ranking").count[1], 1);
    assert_int_equal(match(&t, "sport").count[1], 0);
    assert_int_equal(match(&t, "sport/tennis2").count[1], 0);
    trie_del(&t, s);
    trie_fini(&t);
}

static void wildcards_do_not_match_dollar_topics(void **state) /* [MQTT-4.7.2-1] */
{
    (void)state;
    struct trie t;
    assert_int_equal(trie_init(&t, SEED), 0);
    struct sub *all[] = {add(&t, "#", 1), add(&t, "+/broker", 2), add(&t, "$SYS/#", 3),
                         add(&t, "$SYS/+", 4)};
    struct hits h = match(&t, "$SYS/broker");
    assert_int_equal(h.count[1], 0);
    assert_int_equal(h.count[2], 0);
    assert_int_equal(h.count[3], 1);
    assert_int_equal(h.count[4], 1);
    for (size_t i = 0; i < ARRAY_LEN(all); i++) trie_del(&t, all[i]);
    trie_fini(&t);
}

static void one_holder_stands_for_those_hidden_behind_it(void **state)
{
    (void)state;
    static const char *const filters[] = {"a/b", "a/+", "a/#"};
    struct trie t;
    assert_int_equal(trie_init(&t, SEED), 0);
    for (size_t i = 0; i < ARRAY_LEN(filters); i++) {
        struct bytes filter = bytes_str(filters[i]);
        char text[16];
        struct sub *one = add(&t, filters[i], 1), *two = add(&t, filters[i], 2);
        assert_null(trie_find_wishes(&t, filter));
        struct sub *holder = trie_add_wishes(&t, filter, sizeof *holder + 8);
        assert_non_null(holder);
        assert_ptr_equal(trie_find_wishes(&t, filter), holder);
        trie_set_durable(one, true);
        trie_hide(one);
        trie_hide(two);
        struct hits h = {0};
        assert_int_equal(one->filter->local_count, 2); /* the holder is not counted */
        assert_int_equal(one->filter->durable_count, 1);
        assert_ptr_equal(one->filter->subs, holder);
        assert_null(holder->filter_next);
        assert_ptr_equal(trie_find(&t, filter, 1, 0), one);
        assert_int_equal(trie_filter_text(one, text), filter.n);
        trie_show(one);
        trie_del(&t, holder);
        trie_del(&t, two); /* hidden, which does not matter any more */
        h = match(&t, "a/b");
        assert_int_equal(h.count[1], 1);
        assert_int_equal(h.count[2], 0);
        trie_del(&t, one);
        assert_int_equal(t.filter_count, 0);
    }
    trie_fini(&t);
}

static const char *random_filter(struct rng *r, char *out, bool wild)
{
    static const char *const levels[] = {"a", "b", "", "ccc", "+", "+"};
    char *p = out;
    uint64_t n = 1 + rng_below(r, 4);
    for (uint64_t i = 0; i < n; i++) {
        if (i) *p++ = '/';
        if (wild && i + 1 == n && rng_below(r, 4) == 0) {
            *p++ = '#';
            break;
        }
        const char *level = levels[rng_below(r, wild ? 6 : 4)];
        memcpy(p, level, strlen(level));
        p += strlen(level);
    }
    *p = 0;
    return out;
}

static void every_filter_that_matches_is_found_once(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct rng r = {seed};
        struct trie t;
        struct sub *subs[OWNERS] = {0};
        char filters[OWNERS][64], topic[64], text[64];
        assert_int_equal(trie_init(&t, SEED), 0);
        for (int round = 0; round < 60; round++) {
            size_t i = rng_below(&r, OWNERS);
            if (subs[i]) {
                trie_del(&t, subs[i]);
                subs[i] = NULL;
            } else if (random_filter(&r, filters[i], true)[0]) {
                assert_null(trie_find(&t, bytes_str(filters[i]), i + 1, 0));
                subs[i] = add(&t, filters[i], i + 1);
                assert_ptr_equal(trie_find(&t, bytes_str(filters[i]), i + 1, 0), subs[i]);
                size_t n = trie_filter_text(subs[i], text);
                assert_int_equal(n, strlen(filters[i]));
                assert_memory_equal(text, filters[i], n);
            }
            if (random_filter(&r, topic, false)[0] == 0) continue;
            struct hits h = match(&t, topic);
            for (size_t k = 0; k < OWNERS; k++) {
                bool wanted =
                    subs[k] && mqtt_topic_matches(bytes_str(filters[k]), bytes_str(topic));
                if (h.count[k + 1] != wanted)
                    print_message("seed %lu: %s against %s\n", (unsigned long)seed, filters[k],
                                  topic);
                assert_int_equal(h.count[k + 1], wanted);
            }
        }
        for (size_t k = 0; k < OWNERS; k++)
            if (subs[k]) trie_del(&t, subs[k]);
        assert_int_equal(t.node_count, 0);
        assert_int_equal(t.filter_count, 0);
        trie_fini(&t);
    }
}

static void
overlapping_wildcards_cannot_stall(void **state) /* HARDENING class 2: 2^k overlapping wildcards */
{
    (void)state;
    struct trie t;
    assert_int_equal(trie_init(&t, SEED), 0);
    enum { DEPTH = 18, MANY = 4096 };
    struct sub *subs[MANY];
    char filter[64], topic[64];
    for (int i = 0; i < MANY; i++) {
        for (int k = 0; k < DEPTH; k++) {
            filter[2 * k] = (i >> (k % 12) & 1) ^ (k > 11) ? '+' : 'a';
            filter[2 * k + 1] = '/';
        }
        filter[2 * DEPTH - 1] = 0;
        subs[i] = trie_add(&t, bytes_str(filter), SUB_SESSION, (uintptr_t)i + 1000, NULL);
        assert_non_null(subs[i]);
    }
    for (int k = 0; k < DEPTH; k++) memcpy(topic + 2 * k, "a/", 2);
    topic[2 * DEPTH - 1] = 0;
    struct bytes b = bytes_str(topic);
    uint32_t found = 0;
    bool whole = trie_match(&t, b, hash_bytes(b, SEED), count_filter, &found);
    assert_true(found > 0);
    assert_true(whole ? found == MANY
                      : found < MANY); /* either all of them, or stopped and said so */
    for (int i = 0; i < MANY; i++) trie_del(&t, subs[i]);
    trie_fini(&t);
}

static void a_failed_allocation_leaves_the_table_as_it_was(void **state)
{
    (void)state;
    struct trie t;
    assert_int_equal(trie_init(&t, SEED), 0);
    struct sub *one = add(&t, "x/+/y", 1);
    for (long n = 0;; n++) {
        mem_fail_after(n);
        struct sub *s = trie_add(&t, bytes_str("x/+/z/deep/#"), SUB_SESSION, 2, NULL);
        bool failed = mem_fail_after(-1);
        assert_int_equal(s == NULL, failed);
        assert_int_equal(match(&t, "x/1/y").count[1], 1);
        if (s) {
            trie_del(&t, s);
            break;
        }
        assert_int_equal(t.filter_count, 1);
        assert_int_equal(t.node_count, 3);
    }
    trie_del(&t, one);
    trie_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hash_matches_its_parent_level),
        cmocka_unit_test(wildcards_do_not_match_dollar_topics),
        cmocka_unit_test(one_holder_stands_for_those_hidden_behind_it),
        cmocka_unit_test(every_filter_that_matches_is_found_once),
        cmocka_unit_test(overlapping_wildcards_cannot_stall),
        cmocka_unit_test(a_failed_allocation_leaves_the_table_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
