/* Prefixes and properties of a SUBSCRIBE (CONTRACT section 3). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/wish.h"

static struct wish split(const char *whole, const char *inner)
{
    struct wish w = {0};
    struct bytes rest;
    assert_int_equal(wish_split(bytes_str(whole), false, &w, &rest), 0);
    assert_true(bytes_eq(rest, bytes_str(inner)));
    return w;
}

static void prefixes_come_in_one_order(void **state)
{
    (void)state;
    struct wish w = split("$queue/q/$filter/a > 1/x/#", "x/#");
    assert_true(bytes_eq(w.queue, bytes_str("q")));
    assert_true(bytes_eq(w.expr, bytes_str("a > 1")));
    assert_true(bytes_eq(w.prefix, bytes_str("$queue/q/$filter/a > 1/")));
    w = split("$filter/e/$replay/-1h/x", "x");
    assert_true(bytes_eq(w.when, bytes_str("-1h")));
    w = split("$queue/q", "");
    assert_true(bytes_eq(w.prefix, bytes_str("$queue/q")));
    assert_true(wish_is_empty(&(struct wish){0}));
    w = split("a/b", "a/b");
    assert_true(wish_is_empty(&w));
}

static void what_is_not_complete_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"$filter",     "$filter/",         "$filter/x",
                                      "$filter/x/",  "$filter//x",       "$replay/x",
                                      "$queue/",     "$queue/q/",        "$queue/+/x",
                                      "$share/g/x",  "$filter/#/x",      "$replay/a/$filter/b/t",
                                      "$pub/k=v/t",  "$filter/a/$queue", "$filter/a/$filter/b/t",
                                      "$delayed/1/t"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct wish w = {0};
        struct bytes rest;
        assert_int_equal(wish_split(bytes_str(bad[i]), false, &w, &rest), E_TOPIC_FILTER);
    }
    struct wish w = {0};
    struct bytes rest;
    assert_int_equal(wish_split(bytes_str("$queue/q/t"), true, &w, &rest), E_TOPIC_FILTER);
}

static void a_block_gives_back_what_was_put(void **state)
{
    (void)state;
    bool twice = false;
    struct wish w = split("$filter/e/$replay/-1h/x", "x"), copy;
    assert_true(wish_property(&w, bytes_str("$where"), bytes_str("b = 2"), &twice));
    assert_true(wish_property(&w, bytes_str("replay-end"), bytes_str(""), &twice));
    assert_false(wish_property(&w, bytes_str("Filter"), bytes_str("c"), &twice));
    assert_false(twice);
    uint8_t block[256];
    size_t size = (size_t)(wish_put(block, &w) - block);
    assert_int_equal(size, wish_size(&w));
    wish_get(bytes_of(block, size), &copy);
    assert_true(bytes_eq(copy.prefix, w.prefix));
    assert_true(bytes_eq(copy.expr, bytes_str("e")));
    assert_true(bytes_eq(copy.when, bytes_str("-1h")));
    assert_true(bytes_eq(copy.filter, bytes_str("b = 2")));
    assert_non_null(copy.replay_end.p);
    assert_null(copy.replay.p);
    assert_true(wish_property(&w, bytes_str("filter"), bytes_str("c"), &twice));
    assert_true(twice);
}

static void percent_is_decoded_once(void **state)
{
    (void)state;
    uint8_t room[64];
    struct bytes out;
    assert_int_equal(wish_decode(bytes_str("a%2Fb%2b%23%2525"), room, &out), 0);
    assert_true(bytes_eq(out, bytes_str("a/b+#%25")));
    static const char *const bad[] = {"%", "%2", "a%zz", "%00", "%ff", "x%2"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(wish_decode(bytes_str(bad[i]), room, &out), E_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prefixes_come_in_one_order),
        cmocka_unit_test(what_is_not_complete_is_refused),
        cmocka_unit_test(a_block_gives_back_what_was_put),
        cmocka_unit_test(percent_is_decoded_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
