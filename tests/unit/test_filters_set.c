/* Sets of filters: what they find is what evaluating each filter by itself finds, whatever comes
 * and goes.  With an argument it goes on for so many rounds: test_filters_set ROUNDS [SEED]. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "filters/eval.h"
#include "filters/set.h"
#include "filters_random.h"

enum { FILTERS_MAX = 80, EVENTS = 8 };

static uint64_t rounds = 600, first_seed = 1;

struct filter {
    struct filter_member member;
    struct text text;
    struct filter_expr *expr; /* NULL: it was refused */
    unsigned found;           /* times, of the event at hand */
};

struct trial {
    struct filter_store *store, *oracle;
    struct filter_set *set;
    struct filter *filters;
    size_t count;
    struct props props;
    struct filter_event event;
};

static bool truth(struct trial *t, const struct filter *f)
{
    struct filter_event event = t->event;
    struct filter_outcome o;
    assert_int_equal(
        filter_eval(t->oracle, bytes_of(f->text.p, f->text.n), &FILTER_LIMITS_DEFAULT, &event, &o),
        0);
    return o.failure == FILTER_FAIL_NONE && o.value.type == FILTER_BOOL && o.value.boolean;
}

static void found(void *ctx, struct filter_member *member)
{
    (void)ctx;
    CONTAINER_OF(member, struct filter, member)->found++;
}

/* The first filter about which the set is wrong, or NULL. */
static struct filter *wrong(struct trial *t)
{
    struct filter_event event = t->event;
    for (size_t i = 0; i < t->count; i++) t->filters[i].found = 0;
    filter_set_match(t->set, &event, found, t);
    for (size_t i = 0; i < t->count; i++) {
        struct filter *f = &t->filters[i];
        unsigned want = f->member.entry && truth(t, f);
        if (f->found != want) return f;
    }
    return NULL;
}

static void add(struct trial *t, struct filter *f)
{
    if (f->expr && f->member.entry == NULL)
        assert_int_equal(filter_set_add(t->set, f->expr, &f->member), 0);
}

static void take(struct trial *t, struct filter *f)
{
    if (f->member.entry) filter_set_remove(t->set, &f->member);
}

/* Leaves out what the mistake does not need: filters, then properties. */
static void report(struct trial *t, const struct filter *bad, uint64_t seed)
{
    bool single = (filter_matches(t->store, bad->expr, &t->event) == FILTER_MATCH) != truth(t, bad);
    for (size_t i = 0; i < t->count; i++) {
        struct filter *f = &t->filters[i];
        if (f == bad || f->member.entry == NULL) continue;
        take(t, f);
        if (wrong(t) != bad) add(t, f);
    }
    for (size_t i = t->props.count; i-- > 0;) {
        struct props all = t->props;
        memmove(&t->props.pairs[i], &t->props.pairs[i + 1],
                (t->props.count - i - 1) * sizeof t->props.pairs[0]);
        t->props.count--;
        if (wrong(t) != bad) t->props = all;
    }
    fprintf(stderr, "seed %ju: found %u times, truth is %d, %s wrong:\n  %s\n", (uintmax_t)seed,
            bad->found, truth(t, bad), single ? "the filter itself is" : "the set is", bad->text.p);
    print_event(&t->props, &t->event);
    for (size_t i = 0; i < t->count; i++)
        if (t->filters[i].member.entry && &t->filters[i] != bad)
            fprintf(stderr, "  beside: %s\n", t->filters[i].text.p);
    fail();
}

static void trial_begin(struct trial *t, uint64_t seed, bool use_index)
{
    struct filter_settings settings = FILTER_SETTINGS_DEFAULT;
    settings.seed = seed;
    *t = (struct trial){0};
    t->store = filter_store_new(&settings);
    t->oracle = filter_store_new(&settings);
    t->set = filter_set_new(t->store, use_index);
    t->filters = calloc(FILTERS_MAX, sizeof *t->filters);
    assert_true(t->store && t->oracle && t->set && t->filters);
}

static void trial_end(struct trial *t)
{
    for (size_t i = 0; i < t->count; i++) {
        take(t, &t->filters[i]);
        filter_expr_unref(t->store, t->filters[i].expr);
    }
    assert_int_equal(filter_set_stats(t->set)->filters, 0);
    filter_set_free(&t->set);
    assert_int_equal(filter_store_stats(t->store)->bytes, 0);
    filter_store_free(&t->store);
    filter_store_free(&t->oracle);
    free(t->filters);
}

static void make_filters(struct trial *t, struct rng *r)
{
    struct filter_error error;
    size_t like = below(r, 3); /* many that differ in one word only */
    t->count = 1 + below(r, FILTERS_MAX);
    for (size_t i = 0; i < t->count; i++) {
        struct filter *f = &t->filters[i];
        if (like == 0)
            say(&f->text, "a = 'x' AND n%zu = %s AND c > %zu", below(r, 60), PICK(r, literal_pool),
                below(r, 40));
        else
            say_bool(r, &f->text, (unsigned)below(r, 4));
        int rc = filter_compile(t->store, bytes_of(f->text.p, f->text.n), &FILTER_LIMITS_DEFAULT,
                                &f->expr, &error);
        assert_true(rc == 0 || rc == E_INVALID);
        if (rc) f->expr = NULL;
    }
}

static void one_round(uint64_t seed)
{
    struct rng r;
    struct trial t;
    r.state = seed;
    trial_begin(&t, seed, below(&r, 8) > 0);
    make_filters(&t, &r);
    for (size_t i = 0; i < t.count; i++) add(&t, &t.filters[i]);
    for (unsigned k = 0; k < EVENTS; k++) {
        random_event(&r, &t.props, &t.event);
        const struct filter *bad = wrong(&t);
        if (bad) report(&t, bad, seed);
        size_t chance = 1 + below(&r, 5);
        for (size_t i = 0; i < t.count; i++) {
            struct filter *f = &t.filters[i];
            if (below(&r, 5) >= chance) continue;
            if (f->member.entry)
                take(&t, f);
            else
                add(&t, f);
        }
        filter_set_check(t.set);
    }
    trial_end(&t);
}

static void a_set_finds_what_each_filter_says(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < rounds; i++) one_round(first_seed + i);
}

/* Each filter is one of a kind, so that every part of the index is full, and emptied again. */
static const char *const kinds[] = {
    "a = 'v%u'",
    "a = %u",
    "b > %u",
    "b >= %u AND b < 10%u",
    "c LIKE 'head%u%%'",
    "c LIKE '%%%utail'",
    "d = 'x' AND a = 'v%u'",
    "d IN ('v%u', 'x%u')",
    "EXISTS e%u",
    "e%u = 1",
    "NOT EXISTS f%u",
    "a = 'v%u' OR b = %u",
    "LOWER(a) = 'v%u'",
    "payload.k = %u",
    "d = 'x' AND c = 'y' AND b > %u AND b < 2%u",
};

static void a_large_set_is_filled_and_emptied(void **state)
{
    (void)state;
    enum { EACH = 150, ALL = EACH * ARRAY_LEN(kinds) };
    struct trial t;
    struct filter_error error;
    struct rng r;
    r.state = 7;
    trial_begin(&t, 7, true);
    free(t.filters);
    t.filters = calloc(ALL, sizeof *t.filters);
    assert_non_null(t.filters);
    t.count = ALL;
    for (size_t i = 0; i < ALL; i++) {
        struct filter *f = &t.filters[i];
        unsigned n = (unsigned)(i / ARRAY_LEN(kinds));
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        say(&f->text, kinds[i % ARRAY_LEN(kinds)], n, n);
#pragma GCC diagnostic pop
        assert_int_equal(filter_compile(t.store, bytes_of(f->text.p, f->text.n),
                                        &FILTER_LIMITS_DEFAULT, &f->expr, &error),
                         0);
        add(&t, f);
    }
    assert_true(filter_set_stats(t.set)->indexed);
    filter_set_check(t.set);
    t.props = (struct props){
        .pairs =
            {{"a", "v7"}, {"b", "42"}, {"c", "head12tail"}, {"d", "x"}, {"e5", "1"}, {"f3", ""}},
        .count = 6};
    t.event = (struct filter_event){
        .payload = bytes_str("{\"k\":9}"), .attribute = next_prop, .ctx = &t.props};
    while (filter_set_stats(t.set)->members) {
        struct filter *bad = wrong(&t);
        if (bad) report(&t, bad, 7);
        for (size_t i = 0; i < ALL; i++)
            if (below(&r, 4) == 0) take(&t, &t.filters[i]);
        filter_set_check(t.set);
    }
    assert_false(filter_set_stats(t.set)->indexed);
    trial_end(&t);
}

static void those_that_mean_the_same_are_asked_once(void **state)
{
    (void)state;
    static const char *const texts[] = {"a = 1 AND b >= 2 AND b < 3", "A=1 and (B >= 2 AND 3 > b)",
                                        "b >= 1 + 1 AND a = 1 AND b < 3 AND TRUE"};
    struct trial t;
    struct filter_error error;
    trial_begin(&t, 3, true);
    t.count = ARRAY_LEN(texts);
    for (size_t i = 0; i < t.count; i++) {
        say(&t.filters[i].text, "%s", texts[i]);
        assert_int_equal(filter_compile(t.store, bytes_str(texts[i]), &FILTER_LIMITS_DEFAULT,
                                        &t.filters[i].expr, &error),
                         0);
        add(&t, &t.filters[i]);
    }
    assert_ptr_equal(t.filters[0].expr, t.filters[1].expr);
    assert_int_equal(filter_set_stats(t.set)->filters, 2); /* the last asks in another order */
    t.props = (struct props){.pairs = {{"a", "1"}, {"b", "2.5"}}, .count = 2};
    t.event = (struct filter_event){.attribute = next_prop, .ctx = &t.props};
    assert_null(wrong(&t));
    assert_int_equal(filter_set_stats(t.set)->matched, 2);
    assert_int_equal(t.filters[1].found, 1);
    trial_end(&t);
}

/* Of many filters few are asked. */
static void an_index_asks_few(void **state)
{
    (void)state;
    enum { ALL = FILTERS_MAX };
    struct trial t;
    struct filter_error error;
    trial_begin(&t, 3, true);
    t.count = ALL;
    for (unsigned i = 0; i < ALL; i++) {
        say(&t.filters[i].text, "site = 'paris' AND device = 'd%u' AND temp > 1", i);
        assert_int_equal(filter_compile(t.store, bytes_str(t.filters[i].text.p),
                                        &FILTER_LIMITS_DEFAULT, &t.filters[i].expr, &error),
                         0);
        add(&t, &t.filters[i]);
    }
    t.props =
        (struct props){.pairs = {{"site", "paris"}, {"device", "d7"}, {"temp", "2"}}, .count = 3};
    t.event = (struct filter_event){.attribute = next_prop, .ctx = &t.props};
    assert_null(wrong(&t));
    assert_int_equal(filter_set_stats(t.set)->matched, 1);
    assert_true(filter_set_stats(t.set)->asked < 5);
    trial_end(&t);
}

/* Whichever allocation fails, the set is right about what it has taken. */
static void without_memory_nothing_is_lost(void **state)
{
    (void)state;
    for (long nth = 0;; nth++) {
        struct trial t;
        struct rng r;
        struct filter_error error;
        bool failed = false;
        r.state = 5;
        trial_begin(&t, 5, true);
        t.count = FILTERS_MAX;
        mem_fail_after(nth);
        for (size_t i = 0; i < t.count; i++) {
            struct filter *f = &t.filters[i];
            if (i < 50)
                say(&f->text, "a = 'x' AND n%zu = 1 AND b > %zu", i, i);
            else
                say_bool(&r, &f->text, 2);
            int rc = filter_compile(t.store, bytes_of(f->text.p, f->text.n), &FILTER_LIMITS_DEFAULT,
                                    &f->expr, &error);
            if (rc) f->expr = NULL;
            failed |= rc == E_NOMEM;
            if (rc == 0 && filter_set_add(t.set, f->expr, &f->member) < 0) failed = true;
        }
        failed |= mem_fail_after(-1);
        filter_set_check(t.set);
        for (unsigned k = 0; k < 2; k++) {
            random_event(&r, &t.props, &t.event);
            const struct filter *bad = wrong(&t);
            if (bad) report(&t, bad, 5);
        }
        trial_end(&t);
        if (!failed) break;
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_finds_what_each_filter_says),
        cmocka_unit_test(a_large_set_is_filled_and_emptied),
        cmocka_unit_test(those_that_mean_the_same_are_asked_once),
        cmocka_unit_test(an_index_asks_few),
        cmocka_unit_test(without_memory_nothing_is_lost),
    };
    if (argc > 1) rounds = strtoull(argv[1], NULL, 10);
    if (argc > 2) first_seed = strtoull(argv[2], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
