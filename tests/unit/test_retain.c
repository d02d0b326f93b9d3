/* The retained set against a naive oracle: every topic, one after the other, through
 * mqtt_topic_matches(). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "core/retain.h"
#include "mqtt/topic.h"

enum { TOPICS_MAX = 600, TOPIC_LEN = 40, COLLECT_MAX = 256 };

/* What release() was called with; a test that gives each value once sees each once. */
struct released {
    uint32_t count;
    uint64_t sum, last;
};

static void release(void *ctx, uint64_t value)
{
    struct released *seen = ctx;
    seen->count++;
    seen->sum += value;
    seen->last = value;
}

static struct retain *set_of(struct released *seen)
{
    *seen = (struct released){0};
    struct retain *r = NULL;
    assert_int_equal(retain_new(&r, 42, release, seen), 0);
    return r;
}

static void put(struct retain *r, const char *topic, uint64_t value)
{
    assert_int_equal(retain_set(r, bytes_str(topic), value), 0);
}

/* All that matches, joined by blanks, fetched `slice` looks at a time. */
static void collect(const struct retain *r, const char *filter, uint32_t slice, char *out)
{
    char after[TOPIC_LEN + 1] = "";
    char *end = out;
    *out = 0;
    for (int calls = 0; calls < 100000; calls++) {
        uint32_t budget = slice;
        struct retain_item item;
        int rc = retain_next(r, bytes_str(filter), bytes_str(after), &budget, &item);
        assert_true(budget <= slice);
        if (rc == E_NOTFOUND) return;
        assert_true(rc == 0 || (rc == E_AGAIN && budget == 0));
        assert_true(bytes_cmp(item.topic, bytes_str(after)) > 0); /* it gets on */
        assert_true(item.topic.n <= TOPIC_LEN);
        if (rc == 0)
            end += snprintf(end, COLLECT_MAX - (size_t)(end - out), "%.*s ", (int)item.topic.n,
                            (const char *)item.topic.p);
        memcpy(after, item.topic.p, item.topic.n);
        after[item.topic.n] = 0;
    }
    fail_msg("the walk of '%s' does not end", filter);
}

static void an_empty_set_holds_nothing(void **state)
{
    (void)state;
    struct released seen;
    struct retain *r = set_of(&seen);
    struct retain_item item;
    uint32_t budget = 10;
    assert_int_equal(retain_count(r), 0);
    assert_false(retain_get(r, bytes_str("a"), &item));
    assert_false(retain_del(r, bytes_str("a")));
    assert_int_equal(retain_next(r, bytes_str("#"), bytes_str(""), &budget, &item), E_NOTFOUND);
    assert_int_equal(budget, 10);
    retain_free(&r);
    assert_null(r);
    retain_free(&r); /* harmless */
    assert_int_equal(seen.count, 0);
}

static void each_value_is_released_once(void **state) /* [MQTT-3.3.1-5], [MQTT-3.3.1-6] */
{
    (void)state;
    struct released seen;
    struct retain *r = set_of(&seen);
    struct retain_item item;
    put(r, "a/b", 1);
    put(r, "a/c", 2);
    assert_int_equal(seen.count, 0);
    put(r, "a/b", 3); /* replaces 1 */
    assert_int_equal(seen.last, 1);
    assert_int_equal(retain_count(r), 2);
    assert_true(retain_get(r, bytes_str("a/b"), &item));
    assert_int_equal(item.value, 3);
    assert_true(bytes_eq(item.topic, bytes_str("a/b")));
    assert_false(retain_get(r, bytes_str("a"), &item));
    assert_true(retain_del(r, bytes_str("a/b")));
    assert_int_equal(seen.last, 3);
    assert_false(retain_del(r, bytes_str("a/b")));
    assert_false(retain_get(r, bytes_str("a/b"), &item));
    assert_int_equal(seen.count, 2);
    retain_free(&r);
    assert_int_equal(seen.count, 3);
    assert_int_equal(seen.sum, 6);
}

static void a_walk_is_in_byte_order_and_respects_levels(void **state)
{
    (void)state;
    static const char *topics[] = {"a",    "a b/c", "a-b",  "a/",     "a/b",      "a/b/c",
                                   "a/b0", "a0",    "$SYS", "$SYS/x", "/finance", "b"};
    static const struct {
        const char *filter, *found;
    } cases[] = {
        {"#", "/finance a a b/c a-b a/ a/b a/b/c a/b0 a0 b "}, /* [MQTT-4.7.2-1] */
        {"+", "a a-b a0 b "},
        {"a/#", "a a/ a/b a/b/c a/b0 "}, /* the parent too, 4.7.1.2 */
        {"a/+", "a/ a/b a/b0 "},
        {"+/+", "/finance a b/c a/ a/b a/b0 "},
        {"/+", "/finance "},
        {"/#", "/finance "},
        {"+/b/#", "a/b a/b/c "},
        {"+/b/c", "a/b/c "},
        {"a/b/c", "a/b/c "},
        {"a/b", "a/b "},
        {"$SYS/#", "$SYS $SYS/x "},
        {"$SYS/+", "$SYS/x "},
        {"+/x", ""},
        {"a/b/c/d", ""},
        {"c/#", ""},
        {"+/", "a/ "},
        {"+/#", "/finance a a b/c a-b a/ a/b a/b/c a/b0 a0 b "},
        {"+/+/#", "/finance a b/c a/ a/b a/b/c a/b0 "},
    };
    struct released seen;
    struct retain *r = set_of(&seen);
    for (size_t i = 0; i < ARRAY_LEN(topics); i++) put(r, topics[i], i);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char found[COLLECT_MAX];
        for (uint32_t slice = 1; slice <= 16; slice *= 4) {
            collect(r, cases[i].filter, slice, found);
            assert_string_equal(found, cases[i].found);
        }
    }
    retain_free(&r);
}

static void a_walk_seeks_over_what_cannot_match(void **state)
{
    (void)state;
    enum { SITES = 50, DEVICES = 200 };
    struct released seen;
    struct retain *r = set_of(&seen);
    for (int s = 0; s < SITES; s++) {
        for (int d = 0; d < DEVICES; d++) {
            char topic[TOPIC_LEN];
            snprintf(topic, sizeof topic, "site/%02d/dev/%03d/t", s, d);
            put(r, topic, 0);
        }
    }
    static const struct {
        const char *filter;
        uint32_t matches, looks;
    } cases[] = {
        {"site/+/dev/007/#", SITES, 3 * SITES}, /* of 10,000 topics */
        {"site/07/dev/007/t", 1, 2},
        {"site/07/+/007/t", 1, 4},
        {"+/49/#", DEVICES, DEVICES + 3},
        {"sites/#", 0, 1},
        {"site/+/gone/#", 0, 2 * SITES},
        {"+/+/+/+/+/x", 0, 10001},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint32_t budget = 20000, found = 0;
        struct retain_item item = {.topic = bytes_str("")};
        while (retain_next(r, bytes_str(cases[i].filter), item.topic, &budget, &item) == 0) found++;
        assert_int_equal(found, cases[i].matches);
        assert_in_range(20000 - budget, 0, cases[i].looks);
    }
    retain_free(&r);
}

static void a_spent_budget_says_where_to_go_on(void **state)
{
    (void)state;
    struct released seen;
    struct retain *r = set_of(&seen);
    put(r, "a/1/x", 1);
    put(r, "a/2/y", 2);
    uint32_t budget = 1;
    struct retain_item item;
    assert_int_equal(retain_next(r, bytes_str("a/+/y"), bytes_str(""), &budget, &item), E_AGAIN);
    assert_true(bytes_eq(item.topic, bytes_str("a/1/x")));
    assert_int_equal(retain_next(r, bytes_str("a/+/y"), item.topic, &budget, &item), E_AGAIN);
    assert_true(bytes_eq(item.topic, bytes_str("a/1/x")));
    budget = 1;
    assert_int_equal(retain_next(r, bytes_str("a/+/y"), item.topic, &budget, &item), 0);
    assert_true(bytes_eq(item.topic, bytes_str("a/2/y")));
    retain_free(&r);
}

static void a_walk_goes_on_from_a_topic_that_is_gone(void **state)
{
    (void)state;
    struct released seen;
    struct retain *r = set_of(&seen);
    put(r, "a/1", 1);
    put(r, "a/2", 2);
    put(r, "a/4", 4);
    assert_true(retain_del(r, bytes_str("a/2")));
    put(r, "a/3", 3);
    uint32_t budget = 10;
    struct retain_item item;
    assert_int_equal(retain_next(r, bytes_str("a/+"), bytes_str("a/2"), &budget, &item), 0);
    assert_int_equal(item.value, 3);
    retain_free(&r);
}

/* ---- the property test ---- */

struct oracle {
    char topics[TOPICS_MAX][TOPIC_LEN];
    uint64_t values[TOPICS_MAX];
    uint32_t count;
};

/* Few characters, most of them close to '/' in the order, and empty levels: what makes seeking
 * wrong makes it wrong here. */
static void draw_levels(struct rng *rng, bool filter, char *out)
{
    static const char *names[] = {"", "a", "b", "a-", "a0", "a b", "aa", "$", "$S", "\xc3\xa9"};
    unsigned levels = 1 + (unsigned)rng_below(rng, 4);
    char *end = out;
    for (unsigned l = 0; l < levels; l++) {
        uint64_t kind = filter ? rng_below(rng, 10) : 9;
        bool last = l + 1 == levels;
        const char *name = kind < 4           ? "+"
                           : kind < 6 && last ? "#"
                                              : names[rng_below(rng, ARRAY_LEN(names))];
        end += snprintf(end, (size_t)(out + TOPIC_LEN - end), "%s%s", l ? "/" : "", name);
    }
    if (end == out) memcpy(out, "a", 2);
}

static uint32_t oracle_find(const struct oracle *o, const char *topic)
{
    uint32_t i = 0;
    while (i < o->count && strcmp(o->topics[i], topic) != 0) i++;
    return i;
}

/* The smallest matching topic after `after`, or count. */
static uint32_t oracle_next(const struct oracle *o, const char *filter, const char *after)
{
    uint32_t best = o->count;
    for (uint32_t i = 0; i < o->count; i++) {
        if (strcmp(o->topics[i], after) <= 0) continue;
        if (best < o->count && strcmp(o->topics[i], o->topics[best]) > 0) continue;
        if (mqtt_topic_matches(bytes_str(filter), bytes_str(o->topics[i]))) best = i;
    }
    return best;
}

static void change(struct oracle *o, struct retain *r, struct rng *rng, uint64_t *value)
{
    char topic[TOPIC_LEN];
    draw_levels(rng, false, topic);
    uint32_t i = oracle_find(o, topic);
    if (rng_below(rng, 3) > 0) {
        if (i == TOPICS_MAX) return;
        put(r, topic, ++*value);
        if (i == o->count) {
            memcpy(o->topics[o->count++], topic, TOPIC_LEN);
        }
        o->values[i] = *value;
        return;
    }
    assert_int_equal(retain_del(r, bytes_str(topic)), i < o->count);
    if (i == o->count) return;
    o->count--;
    memmove(o->topics[i], o->topics[o->count], TOPIC_LEN);
    o->values[i] = o->values[o->count];
}

static void walks_agree_with_the_oracle_while_the_set_changes(void **state)
{
    (void)state;
    struct oracle *o = mem_calloc(1, sizeof *o);
    assert_non_null(o);
    struct rng rng = {20261124};
    struct released seen;
    struct retain *r = set_of(&seen);
    uint64_t value = 0, matches = 0;
    for (int round = 0; round < 2000; round++) {
        char filter[TOPIC_LEN], after[TOPIC_LEN] = "";
        draw_levels(&rng, true, filter);
        for (;;) {
            if (rng_below(&rng, 4) == 0) change(o, r, &rng, &value);
            uint32_t budget = 100000, want = oracle_next(o, filter, after);
            struct retain_item item;
            int rc = retain_next(r, bytes_str(filter), bytes_str(after), &budget, &item);
            if (want == o->count) {
                assert_int_equal(rc, E_NOTFOUND);
                break;
            }
            assert_int_equal(rc, 0);
            assert_true(bytes_eq(item.topic, bytes_str(o->topics[want])));
            assert_int_equal(item.value, o->values[want]);
            memcpy(after, o->topics[want], TOPIC_LEN);
            matches++;
        }
        change(o, r, &rng, &value);
        assert_int_equal(retain_count(r), o->count);
    }
    assert_true(matches > 2000 && o->count > 100); /* it has tested something */
    retain_free(&r);
    assert_int_equal(seen.count, value);
    assert_int_equal(seen.sum, value * (value + 1) / 2);
    mem_free(o);
}

static void all_of_it_is_walked_whatever_the_topic(void **state)
{
    (void)state;
    static const char *const topics[] = {"$own", "/", "a", "a/b", "z"};
    struct released seen;
    struct retain *r = set_of(&seen);
    struct retain_item item = {0};
    assert_false(retain_after(r, item.topic, &item));
    for (size_t i = ARRAY_LEN(topics); i > 0; i--) put(r, topics[i - 1], i);
    for (size_t i = 0; i < ARRAY_LEN(topics); i++) {
        assert_true(retain_after(r, item.topic, &item));
        assert_true(bytes_eq(item.topic, bytes_str(topics[i])));
        assert_int_equal(item.value, i + 1);
    }
    assert_false(retain_after(r, item.topic, &item));
    assert_true(retain_after(r, bytes_str("a/"), &item)); /* a topic that is not there */
    assert_true(bytes_eq(item.topic, bytes_str("a/b")));
    retain_free(&r);
}

static void a_failed_allocation_changes_nothing(void **state)
{
    (void)state;
    bool fired = true;
    for (long n = 0; fired; n++) {
        assert_true(n < 1000);
        struct released seen = {0};
        struct retain *r = NULL;
        uint64_t given = 0;
        mem_fail_after(n);
        if (retain_new(&r, 7, release, &seen) == 0) {
            for (uint64_t i = 1; i <= 30; i++) {
                char topic[TOPIC_LEN];
                snprintf(topic, sizeof topic, "t/%u", (unsigned)i % 20);
                size_t before = retain_count(r);
                int rc = retain_set(r, bytes_str(topic), i);
                if (rc == 0) given += i;
                if (rc == 0) continue;
                assert_int_equal(rc, E_NOMEM);
                assert_int_equal(retain_count(r), before);
                struct retain_item item;
                assert_false(retain_get(r, bytes_str(topic), &item));
            }
            retain_free(&r);
        }
        fired = mem_fail_after(-1);
        assert_int_equal(seen.sum, given);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_set_holds_nothing),
        cmocka_unit_test(each_value_is_released_once),
        cmocka_unit_test(a_walk_is_in_byte_order_and_respects_levels),
        cmocka_unit_test(a_walk_seeks_over_what_cannot_match),
        cmocka_unit_test(a_spent_budget_says_where_to_go_on),
        cmocka_unit_test(a_walk_goes_on_from_a_topic_that_is_gone),
        cmocka_unit_test(all_of_it_is_walked_whatever_the_topic),
        cmocka_unit_test(walks_agree_with_the_oracle_while_the_set_changes),
        cmocka_unit_test(a_failed_allocation_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
