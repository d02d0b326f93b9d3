/* Attribute filters: values and errors of expressions, what is refused, JSON paths, sets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "base/err.h"
#include "filters/eval.h"
#include "filters/explain.h"
#include "filters/value.h"

static const char *const properties[][2] = {
    {"a", "1"}, {"temp", "21.5"}, {"name", "x"}, {"a", "2"}, {"X-Id", "7"}, {"topic", "mine"},
};

static bool next_property(void *ctx, size_t *cursor, struct bytes *name, struct filter_value *value)
{
    (void)ctx;
    if (*cursor == ARRAY_LEN(properties)) return false;
    *name = bytes_str(properties[*cursor][0]);
    *value = value_string(bytes_str(properties[(*cursor)++][1]));
    return true;
}

static struct filter_event event_with(const char *payload)
{
    return (struct filter_event){.topic = bytes_str("site/7/t"),
                                 .payload = bytes_str(payload),
                                 .content_type = bytes_str("application/json"),
                                 .qos = 1,
                                 .attribute = next_property};
}

static const char json[] =
    "{\"t\":30,\"f\":1.5,\"i\":2.0,\"n\":null,\"l\":[{\"c\":\"z\"}],\"B\":true,"
    "\"big\":10000000000000000000000,\"nul\":\"a\\u0000b\"}";

static void show(const struct filter_outcome *o, char *d, size_t size)
{
    struct filter_value v = o->value;
    char room[CAST_TEXT_BYTES];
    const char *quote = v.type == FILTER_STRING ? "'" : "";
    assert_true(value_cast(&v, FILTER_STRING, room));
    const char *failure = filter_failure_name(o->failure);
    snprintf(d, size, "%s%.*s%s%s%s", quote, (int)v.string.n, (const char *)v.string.p, quote,
             failure ? " " : "", failure ? failure : "");
}

static const struct {
    const char *text, *result;
} values[] = {
    {"4 * 2 + 4 / 2", "10"},
    {"5 / 0", "0 math"},
    {"missing / 0", "0 missingAttribute"},
    {"--10", "10"},
    {"-TRUE", "-1"},
    {"5 + TRUE", "6"},
    {"'5' + '3'", "8"},
    {"4 -1", "3"},
    {"-2147483648", "-2147483648"},
    {"2147483648", "false parse"},
    {"2147483647 + 1", "0 math"},
    {"ABS(-2147483648)", "2147483647 math"},
    {"1 + 0.5", "1.5"},
    {"7 % -2", "1"},
    {"NOT 10", "true cast"},
    {"NOT missing", "false missingAttribute"},
    {"NOT 'FALSE'", "true"},
    {"true = 'TRUE'", "false"},
    {"'TRUE' = true", "true"},
    {"'a' < 'b'", "false cast"},
    {"1.5 = 1", "false cast"},
    {"temp > 21", "true"},
    {"a = 1", "true"},
    {"A = 1", "true"},
    {"`X-Id` = 7", "true"},
    {"missing <> 2", "false missingAttribute"},
    {"false and (1 != 1 / 0)", "false"},
    {"true and (1 != 1 / 0)", "false math"},
    {"true or (1 != 1 / 0)", "true"},
    {"TRUE XOR TRUE", "false"},
    {"missing = 1 OR a = 1", "false missingAttribute"},
    {"EXISTS missing AND missing", "false"},
    {"'true' IN (TRUE, 'false')", "true"},
    {"1 IN ('1', missing)", "true"},
    {"1 NOT IN (2, 3)", "true"},
    {"'x' IN (missing)", "false missingAttribute"},
    {"'abc' LIKE 'a_c'", "true"},
    {"'a%c' LIKE 'a\\%c'", "true"},
    {"'abc' NOT LIKE '%d'", "true"},
    {"10 LIKE '1%'", "true"},
    {"'a\"b\\'c'", "'a\"b'c'"},
    {"'it''s'", "'it's'"},
    {"LENGTH('\xc3\xa4')", "1"},
    {"UPPER('\xc3\xa4')", "'\xc3\x84'"},
    {"UPPER('stra\xc3\x9f"
     "e \xc7\x86')",
     "'STRA\xc3\x9f"
     "E \xc7\x84'"},
    {"LOWER('\xe1\xba\x9e \xc4\xb0')", "'\xc3\x9f i'"},
    {"'\xc3\xa4' LIKE '_'", "true"},
    {"-2147483648 / -1", "0 math"},
    {"-2147483648 % -1", "0"},
    {"--2147483648", "0 math"},
    {"DECIMAL('1e308') * 10", "0 math"},
    {"CONCAT()", "''"},
    {"CONCAT_WS(',', 'a', 1)", "'a,1'"},
    {"CONCAT_WS()", "false missingFunction"},
    {"LEFT('abc', -2)", "'abc' functionEvaluation"},
    {"RIGHT('abc', 2)", "'bc'"},
    {"SUBSTRING('Sakila', -5, 3)", "'aki'"},
    {"SUBSTRING('a', 0)", "''"},
    {"SUBSTRING('abcdef', 10)", "'' functionEvaluation"},
    {"INT('ABC')", "0 cast"},
    {"BOOL('x')", "false cast"},
    {"STRING(0.1)", "'0.1'"},
    {"IS_INT('4')", "true"},
    {"IS_BOOL('4')", "false"},
    {"DECIMAL('1e2')", "100"},
    {"missing", "false missingAttribute"},
    {"topic[-1]", "'t'"},
    {"mqtt.topic", "'site/7/t'"},
    {"topic", "'mine'"},
    {"topic[1] = 7", "true"},
    {"mqtt.levels", "3"},
    {"mqtt.qos", "1"},
    {"datacontenttype", "'application/json'"},
    {"payload.t > 29", "true"},
    {"payload.l[0].c", "'z'"},
    {"payload.i", "2"},
    {"payload.big", "1e+22"},
    {"LENGTH(payload.nul)", "3"},
    {"payload.f", "1.5"},
    {"EXISTS payload.l", "true"},
    {"payload.l = 1", "false cast"},
    {"EXISTS payload.n", "false"},
    {"EXISTS payload.b", "false"},
    {"payload.B", "true"},
};

static void expressions_have_values(void **state)
{
    (void)state;
    struct filter_store *s = filter_store_new(&FILTER_SETTINGS_DEFAULT);
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        struct filter_event event = event_with(json);
        struct filter_outcome o;
        char text[200];
        assert_int_equal(
            filter_eval(s, bytes_str(values[i].text), &FILTER_LIMITS_DEFAULT, &event, &o), 0);
        show(&o, text, sizeof text);
        if (strcmp(text, values[i].result) != 0) print_message("in: %s\n", values[i].text);
        assert_string_equal(text, values[i].result);
    }
    filter_store_free(&s);
}

static void what_misleads_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *fault;
        unsigned column;
    } rows[] = {
        {"urgent", "not-boolean", 1},
        {"a = 1 AND b = 2 OR c = 3", "ambiguous", 17},
        {"NOT a = 1", "ambiguous", 1},
        {"NOT x IN (1)", "ambiguous", 1},
        {"FOO(1) = 1", "function", 1},
        {"LEFT('a') = 'a'", "function", 1},
        {"a LIKE b", "parse", 8},
        {"'\xc3\xa4' = ", "parse", 7},
        {"foo.bar = 1", "parse", 4},
        {"a = 1e5x.", "parse", 9},
        {"", "parse", 1},
        {"(a = 1", "parse", 7},
        {"a = 1.5x", "parse", 5},
        {"mqtt.nothing = 1", "parse", 6},
        {"a IN ()", "parse", 7},
        {"5 < a < 30", "ambiguous", 7},
        {"a = b = c", "ambiguous", 7},
        {"b = 1 AND (a < 1) = TRUE != c", "ambiguous", 26},
        {"((((((a = 1))))))", "limit", 6},
        {"a IN (1,2,3,4,5)", "limit", 15},
        {"a=1 AND a=1 AND a=1 AND a=1 AND a=1", "limit", 34},
    };
    struct filter_limits limits = {60, 5, 4, 4};
    struct filter_store *s = filter_store_new(&FILTER_SETTINGS_DEFAULT);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct filter_expr *e = NULL;
        struct filter_error error;
        assert_int_equal(filter_compile(s, bytes_str(rows[i].text), &limits, &e, &error),
                         E_INVALID);
        assert_string_equal(filter_fault_name(error.fault), rows[i].fault);
        assert_int_equal(error.column, rows[i].column);
    }
    filter_store_free(&s);
}

static void hostile_json_is_a_miss(void **state)
{
    (void)state;
    static const char *const payloads[] = {"",
                                           "{\"t\":1,\"t\":1}",
                                           "{\"t\":1} x",
                                           "[[[[[1]]]]]",
                                           "{\"t\":\"\xff\"}",
                                           "{\"t\":1e999}",
                                           "nope",
                                           "{\"t\":1,\"p\":\"12345678901234567890123456789\"}",
                                           "{\"t\":1,\"p\":[0,0,0,0,0,0]}"};
    struct filter_settings settings = {.json_bytes = 40, .json_depth = 4, .json_values = 8};
    struct filter_store *s = filter_store_new(&settings);
    struct filter_expr *e = NULL;
    struct filter_error error;
    assert_int_equal(
        filter_compile(s, bytes_str("payload.t = 1"), &FILTER_LIMITS_DEFAULT, &e, &error), 0);
    for (size_t i = 0; i < ARRAY_LEN(payloads); i++) {
        struct filter_event event = event_with(payloads[i]);
        assert_int_equal(filter_matches(s, e, &event), FILTER_ERROR);
    }
    assert_int_equal(filter_store_stats(s)->json_large, 2);
    filter_expr_unref(s, e);
    filter_store_free(&s);
}

/* What stands beside it does not matter, as long as it is JSON. */
static void odd_json_is_read(void **state)
{
    (void)state;
    static const char *const payloads[] = {
        " \t\r\n{\"t\":1}\n",
        "{\"t\":1,\"p\":123456789012345678901234567890}",
        "{\"t\":1.0,\"p\":-9223372036854775809}",
        "{\"t\":10e-1,\"p\":\"a\\u0000b\"}",
        "{\"t\":1,\"p\":\"\\ud83d\\ude00 ]]]]}}}}\\\"\"}",
        "{\"p\":{\"t\":2},\"t\":1,\"T\":3}",
        "{\"t\":1,\"p\":[[[0]],0]}",
    };
    struct filter_settings settings = {.json_bytes = 50, .json_depth = 4, .json_values = 8};
    struct filter_store *s = filter_store_new(&settings);
    struct filter_expr *e = NULL;
    struct filter_error error;
    assert_int_equal(
        filter_compile(s, bytes_str("payload.t = 1"), &FILTER_LIMITS_DEFAULT, &e, &error), 0);
    for (size_t i = 0; i < ARRAY_LEN(payloads); i++) {
        struct filter_event event = event_with(payloads[i]);
        enum filter_result result = filter_matches(s, e, &event);
        if (result != FILTER_MATCH) print_message("in: %s\n", payloads[i]);
        assert_int_equal(result, FILTER_MATCH);
    }
    assert_int_equal(filter_store_stats(s)->json_bad, 0);
    filter_expr_unref(s, e);
    filter_store_free(&s);
}

/* Patterns and functions that look at a large payload again and again end at the limit. */
static void no_expression_takes_long(void **state)
{
    (void)state;
    enum { PAYLOAD = 1 << 20 };
    static char payload[PAYLOAD], text[8000];
    memset(payload, 'a', PAYLOAD);
    struct filter_event event = {.payload = bytes_of(payload, PAYLOAD)};
    struct filter_store *s = filter_store_new(&FILTER_SETTINGS_DEFAULT);
    struct filter_outcome o;
    snprintf(text, sizeof text, "mqtt.payload LIKE '%%a_a_a_a_a_a_a_a_a_a_a_b%%'");
    assert_int_equal(filter_eval(s, bytes_str(text), &FILTER_LIMITS_DEFAULT, &event, &o), 0);
    assert_string_equal(filter_failure_name(o.failure), "generic");
    size_t n = 0;
    for (int i = 0; i < 200; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%sLENGTH(mqtt.payload)", i ? "+" : "");
    assert_int_equal(filter_eval(s, bytes_str(text), &FILTER_LIMITS_DEFAULT, &event, &o), 0);
    assert_string_equal(filter_failure_name(o.failure), "generic");
    assert_int_equal(
        filter_eval(s, bytes_str("LENGTH(mqtt.payload)"), &FILTER_LIMITS_DEFAULT, &event, &o), 0);
    assert_int_equal(o.value.integer, PAYLOAD);
    filter_store_free(&s);
}

static const struct {
    const char *text, *words;
} explained[] = {
    {"site = 'paris' AND temp > 30 AND temp <= 40",
     "form    site = 'paris' AND temp in (30, 40]\n"
     "by      site = 'paris', else temp in (30, 40]\n"
     "cost    2 questions, 1 key\n"},
    {"NOT (a = 1 OR (b LIKE 'x%' AND c NOT IN (1, 'y')))",
     "form    1: a != 1? yes: 2, no: no match\n"
     "        2: b NOT LIKE 'x%'? yes: match, no: 3\n"
     "        3: c IN (1, 'y')? yes: match, no: no match\n"
     "by      EXISTS a\n"
     "cost    3 questions, 1 key\n"},
    {"a = 1 OR payload.x[0].y >= 2.5",
     "form    1: a = 1? yes: match, no: 2\n"
     "        2: payload.x[0].y >= 2.5? yes: match, no: no match\n"
     "by      a = 1 or payload.x[0].y >= 2.5\n"
     "cost    2 questions, 2 keys\n"},
    {"LOWER(a) = 'x' AND b LIKE '%it''s' AND 5 < c AND 2 * 5 > c",
     "form    b LIKE '%it''s' AND c in (5, 10) AND (LOWER(a) = 'x')\n"
     "by      b ends with 'it''s', else c in (5, 10)\n"
     "cost    3 questions, 1 of them costly, 1 key\n"},
    {"`X``it` = TRUE AND (mqtt.retain XOR d + 1 = -e)",
     "form    `X``it` = TRUE AND (mqtt.retain XOR ((d + 1) = -e))\n"
     "by      `X``it` = TRUE\n"
     "cost    2 questions, 1 of them costly, 1 key\n"},
    {"a IN ('x', 5)", "form    a IN ('x', 5)\n"
                      "by      a IN ('x', 5)\n"
                      "cost    1 question, 4 keys\n"},
    {"1 = 2 OR FALSE", "form    never true\n"
                       "by      nothing: it is asked of every message\n"
                       "cost    0 questions, 0 keys\n"},
    {"a = 1 OR TRUE", "form    1: a = 1? yes: match, no: match\n"
                      "by      nothing: it is asked of every message\n"
                      "cost    1 question, 0 keys\n"},
};

static void what_is_asked_can_be_said_in_words(void **state)
{
    (void)state;
    struct filter_store *s = filter_store_new(&FILTER_SETTINGS_DEFAULT);
    for (size_t i = 0; i < ARRAY_LEN(explained); i++) {
        struct filter_expr *e = NULL;
        struct filter_error error;
        struct buf out = {0};
        assert_int_equal(
            filter_compile(s, bytes_str(explained[i].text), &FILTER_LIMITS_DEFAULT, &e, &error), 0);
        assert_int_equal(filter_explain(s, e, &out), 0);
        assert_int_equal(buf_append(&out, bytes_of("", 1)), 0);
        assert_string_equal((const char *)buf_view(&out).p, explained[i].words);
        buf_fini(&out);
        filter_expr_unref(s, e);
    }
    filter_store_free(&s);
}

static void a_store_counts_what_it_holds(void **state)
{
    (void)state;
    struct filter_store *s = filter_store_new(&FILTER_SETTINGS_DEFAULT);
    struct filter_expr *e = NULL;
    struct filter_error error;
    assert_int_equal(filter_compile(s, bytes_str("a = 1"), &FILTER_LIMITS_DEFAULT, &e, &error), 0);
    assert_int_equal(filter_store_stats(s)->expr_count, 1);
    assert_true(filter_store_stats(s)->bytes > 0);
    filter_expr_unref(s, filter_expr_ref(e));
    assert_int_equal(filter_store_stats(s)->expr_count, 1);
    filter_expr_unref(s, e);
    assert_int_equal(filter_store_stats(s)->bytes, 0);
    filter_store_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expressions_have_values),
        cmocka_unit_test(what_misleads_is_refused),
        cmocka_unit_test(hostile_json_is_a_miss),
        cmocka_unit_test(odd_json_is_read),
        cmocka_unit_test(no_expression_takes_long),
        cmocka_unit_test(what_is_asked_can_be_said_in_words),
        cmocka_unit_test(a_store_counts_what_it_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
