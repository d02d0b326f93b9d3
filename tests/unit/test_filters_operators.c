/* Attribute filters: each operator and function with operands of each type, evaluated and as a
 * filter.  The results were worked out from FILTERS.md, not read off the code. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "tests/unit/filters_event.h"

static const char *const operands[] = {"TRUE", "0",     "3",      "1.5",    "'x'",
                                       "'3'",  "'1.5'", "'true'", "missing"};

/* For each operand in turn the value, then the error, if there was one: m math, c cast, f function
 * evaluation, a missing attribute. */
static const struct {
    const char *text, *results;
} grid[] = {
    {"%s = TRUE", "t f t t f!c f!c f!c t f!a"},
    {"%s = 0", "f t f f!c f!c f f!c f!c f!a"},
    {"%s = 3", "f f t f!c f!c t f!c f!c f!a"},
    {"%s = 1.5", "f f f t f!c f t f!c f!a"},
    {"%s = 'x'", "f f f f t f f f f!a"},
    {"%s = '3'", "f f t f f t f f f!a"},
    {"%s = '1.5'", "f f f t f f t f f!a"},
    {"%s = 'true'", "t f f f f f f t f!a"},
    {"%s = missing", "f!a f!a f!a f!a f!a f!a f!a f!a f!a"},
    {"%s != TRUE", "f t f f f!c f!c f!c f f!a"},
    {"%s != 0", "t f t f!c f!c t f!c f!c f!a"},
    {"%s != 3", "t t f f!c f!c f f!c f!c f!a"},
    {"%s != 1.5", "t t t f f!c t f f!c f!a"},
    {"%s != 'x'", "t t t t f t t t f!a"},
    {"%s != '3'", "t t f t t f t t f!a"},
    {"%s != '1.5'", "t t t f t t f t f!a"},
    {"%s != 'true'", "f t t t t t t f f!a"},
    {"%s != missing", "f!a f!a f!a f!a f!a f!a f!a f!a f!a"},
    {"%s <> TRUE", "f t f f f!c f!c f!c f f!a"},
    {"%s <> 0", "t f t f!c f!c t f!c f!c f!a"},
    {"%s <> 3", "t t f f!c f!c f f!c f!c f!a"},
    {"%s <> 1.5", "t t t f f!c t f f!c f!a"},
    {"%s <> 'x'", "t t t t f t t t f!a"},
    {"%s <> '3'", "t t f t t f t t f!a"},
    {"%s <> '1.5'", "t t t f t t f t f!a"},
    {"%s <> 'true'", "f t t t t t t f f!a"},
    {"%s <> missing", "f!a f!a f!a f!a f!a f!a f!a f!a f!a"},
    {"%s < TRUE", "f t f f f!c f f f!c f!a"},
    {"%s < 0", "f f f f f!c f f f!c f!a"},
    {"%s < 3", "t t f t f!c f t f!c f!a"},
    {"%s < 1.5", "t t f f f!c f f f!c f!a"},
    {"%s < 'x'", "f!c f!c f!c f!c f!c f!c f!c f!c f!a"},
    {"%s < '3'", "t t f t f!c f t f!c f!a"},
    {"%s < '1.5'", "t t f f f!c f f f!c f!a"},
    {"%s < 'true'", "f!c f!c f!c f!c f!c f!c f!c f!c f!a"},
    {"%s < missing", "f!a f!a f!a f!a f!a f!a f!a f!a f!a"},
    {"%s <= TRUE", "t t f f f!c f f f!c f!a"},
    {"%s <= 0", "f t f f f!c f f f!c f!a"},
    {"%s <= 3", "t t t t f!c t t f!c f!a"},
    {"%s <= 1.5", "t t f t f!c f t f!c f!a"},
    {"%s <= 'x'", "f!c f!c f!c f!c f!c f!c f!c f!c f!a"},
    {"%s <= '3'", "t t t t f!c t t f!c f!a"},
    {"%s <= '1.5'", "t t f t f!c f t f!c f!a"},
    {"%s <= 'true'", "f!c f!c f!c f!c f!c f!c f!c f!c f!a"},
    {"%s <= missing", "f!a f!a f!a f!a f!a f!a f!a f!a f!a"},
    {"%s > TRUE", "f f t t f!c t t f!c f!a"},
    {"%s > 0", "t f t t f!c t t f!c f!a"},
    {"%s > 3", "f f f f f!c f f f!c f!a"},
    {"%s > 1.5", "f f t f f!c t f f!c f!a"},
    {"%s > 'x'", "f!c f!c f!c f!c f!c f!c f!c f!c f!a"},
    {"%s > '3'", "f f f f f!c f f f!c f!a"},
    {"%s > '1.5'", "f f t f f!c t f f!c f!a"},
    {"%s > 'true'", "f!c f!c f!c f!c f!c f!c f!c f!c f!a"},
    {"%s > missing", "f!a f!a f!a f!a f!a f!a f!a f!a f!a"},
    {"%s >= TRUE", "t f t t f!c t t f!c f!a"},
    {"%s >= 0", "t t t t f!c t t f!c f!a"},
    {"%s >= 3", "f f t f f!c t f f!c f!a"},
    {"%s >= 1.5", "f f t t f!c t t f!c f!a"},
    {"%s >= 'x'", "f!c f!c f!c f!c f!c f!c f!c f!c f!a"},
    {"%s >= '3'", "f f t f f!c t f f!c f!a"},
    {"%s >= '1.5'", "f f t t f!c t t f!c f!a"},
    {"%s >= 'true'", "f!c f!c f!c f!c f!c f!c f!c f!c f!a"},
    {"%s >= missing", "f!a f!a f!a f!a f!a f!a f!a f!a f!a"},
    {"%s AND TRUE", "t f t t f!c f!c f!c t f!a"},
    {"%s AND 0", "f f f f f!c f!c f!c f f!a"},
    {"%s AND 3", "t f t t f!c f!c f!c t f!a"},
    {"%s AND 1.5", "t f t t f!c f!c f!c t f!a"},
    {"%s AND 'x'", "f!c f f!c f!c f!c f!c f!c f!c f!a"},
    {"%s AND '3'", "f!c f f!c f!c f!c f!c f!c f!c f!a"},
    {"%s AND '1.5'", "f!c f f!c f!c f!c f!c f!c f!c f!a"},
    {"%s AND 'true'", "t f t t f!c f!c f!c t f!a"},
    {"%s AND missing", "f!a f f!a f!a f!c f!c f!c f!a f!a"},
    {"%s OR TRUE", "t t t t f!c f!c f!c t f!a"},
    {"%s OR 0", "t f t t f!c f!c f!c t f!a"},
    {"%s OR 3", "t t t t f!c f!c f!c t f!a"},
    {"%s OR 1.5", "t t t t f!c f!c f!c t f!a"},
    {"%s OR 'x'", "t f!c t t f!c f!c f!c t f!a"},
    {"%s OR '3'", "t f!c t t f!c f!c f!c t f!a"},
    {"%s OR '1.5'", "t f!c t t f!c f!c f!c t f!a"},
    {"%s OR 'true'", "t t t t f!c f!c f!c t f!a"},
    {"%s OR missing", "t f!a t t f!c f!c f!c t f!a"},
    {"%s XOR TRUE", "f t f f f!c f!c f!c f f!a"},
    {"%s XOR 0", "t f t t f!c f!c f!c t f!a"},
    {"%s XOR 3", "f t f f f!c f!c f!c f f!a"},
    {"%s XOR 1.5", "f t f f f!c f!c f!c f f!a"},
    {"%s XOR 'x'", "f!c f!c f!c f!c f!c f!c f!c f!c f!a"},
    {"%s XOR '3'", "f!c f!c f!c f!c f!c f!c f!c f!c f!a"},
    {"%s XOR '1.5'", "f!c f!c f!c f!c f!c f!c f!c f!c f!a"},
    {"%s XOR 'true'", "f t f f f!c f!c f!c f f!a"},
    {"%s XOR missing", "f!a f!a f!a f!a f!c f!c f!c f!a f!a"},
    {"%s + TRUE", "2 1 4 2.5 0!c 4 2.5 0!c 0!a"},
    {"%s + 0", "1 0 3 1.5 0!c 3 1.5 0!c 0!a"},
    {"%s + 3", "4 3 6 4.5 0!c 6 4.5 0!c 0!a"},
    {"%s + 1.5", "2.5 1.5 4.5 3 0!c 4.5 3 0!c 0!a"},
    {"%s + 'x'", "0!c 0!c 0!c 0!c 0!c 0!c 0!c 0!c 0!a"},
    {"%s + '3'", "4 3 6 4.5 0!c 6 4.5 0!c 0!a"},
    {"%s + '1.5'", "2.5 1.5 4.5 3 0!c 4.5 3 0!c 0!a"},
    {"%s + 'true'", "0!c 0!c 0!c 0!c 0!c 0!c 0!c 0!c 0!a"},
    {"%s + missing", "0!a 0!a 0!a 0!a 0!a 0!a 0!a 0!a 0!a"},
    {"%s - TRUE", "0 -1 2 0.5 0!c 2 0.5 0!c 0!a"},
    {"%s - 0", "1 0 3 1.5 0!c 3 1.5 0!c 0!a"},
    {"%s - 3", "-2 -3 0 -1.5 0!c 0 -1.5 0!c 0!a"},
    {"%s - 1.5", "-0.5 -1.5 1.5 0 0!c 1.5 0 0!c 0!a"},
    {"%s - 'x'", "0!c 0!c 0!c 0!c 0!c 0!c 0!c 0!c 0!a"},
    {"%s - '3'", "-2 -3 0 -1.5 0!c 0 -1.5 0!c 0!a"},
    {"%s - '1.5'", "-0.5 -1.5 1.5 0 0!c 1.5 0 0!c 0!a"},
    {"%s - 'true'", "0!c 0!c 0!c 0!c 0!c 0!c 0!c 0!c 0!a"},
    {"%s - missing", "0!a 0!a 0!a 0!a 0!a 0!a 0!a 0!a 0!a"},
    {"%s * TRUE", "1 0 3 1.5 0!c 3 1.5 0!c 0!a"},
    {"%s * 0", "0 0 0 0 0!c 0 0 0!c 0!a"},
    {"%s * 3", "3 0 9 4.5 0!c 9 4.5 0!c 0!a"},
    {"%s * 1.5", "1.5 0 4.5 2.25 0!c 4.5 2.25 0!c 0!a"},
    {"%s * 'x'", "0!c 0!c 0!c 0!c 0!c 0!c 0!c 0!c 0!a"},
    {"%s * '3'", "3 0 9 4.5 0!c 9 4.5 0!c 0!a"},
    {"%s * '1.5'", "1.5 0 4.5 2.25 0!c 4.5 2.25 0!c 0!a"},
    {"%s * 'true'", "0!c 0!c 0!c 0!c 0!c 0!c 0!c 0!c 0!a"},
    {"%s * missing", "0!a 0!a 0!a 0!a 0!a 0!a 0!a 0!a 0!a"},
    {"%s / TRUE", "1 0 3 1.5 0!c 3 1.5 0!c 0!a"},
    {"%s / 0", "0!m 0!m 0!m 0!m 0!c 0!m 0!m 0!c 0!a"},
    {"%s / 3", "0 0 1 0.5 0!c 1 0.5 0!c 0!a"},
    {"%s / 1.5", "0.6666666666666666 0 2 1 0!c 2 1 0!c 0!a"},
    {"%s / 'x'", "0!c 0!c 0!c 0!c 0!c 0!c 0!c 0!c 0!a"},
    {"%s / '3'", "0 0 1 0.5 0!c 1 0.5 0!c 0!a"},
    {"%s / '1.5'", "0.6666666666666666 0 2 1 0!c 2 1 0!c 0!a"},
    {"%s / 'true'", "0!c 0!c 0!c 0!c 0!c 0!c 0!c 0!c 0!a"},
    {"%s / missing", "0!a 0!a 0!a 0!a 0!a 0!a 0!a 0!a 0!a"},
    {"%s %% TRUE", "0 0 0 0.5 0!c 0 0.5 0!c 0!a"},
    {"%s %% 0", "0!m 0!m 0!m 0!m 0!c 0!m 0!m 0!c 0!a"},
    {"%s %% 3", "1 0 0 1.5 0!c 0 1.5 0!c 0!a"},
    {"%s %% 1.5", "1 0 0 0 0!c 0 0 0!c 0!a"},
    {"%s %% 'x'", "0!c 0!c 0!c 0!c 0!c 0!c 0!c 0!c 0!a"},
    {"%s %% '3'", "1 0 0 1.5 0!c 0 1.5 0!c 0!a"},
    {"%s %% '1.5'", "1 0 0 0 0!c 0 0 0!c 0!a"},
    {"%s %% 'true'", "0!c 0!c 0!c 0!c 0!c 0!c 0!c 0!c 0!a"},
    {"%s %% missing", "0!a 0!a 0!a 0!a 0!a 0!a 0!a 0!a 0!a"},
    {"NOT %s", "f t!c t!c t!c f!c f!c f!c f f!a"},
    {"-%s", "-1 0 -3 -1.5 0!c -3 -1.5 0!c 0!a"},
    {"%s LIKE '3'", "f f t f f t f f f!a"},
    {"%s LIKE '%%.5'", "f f f t f f t f f!a"},
    {"%s NOT LIKE 't_%%'", "f t t t t t t f f!a"},
    {"%s IN (TRUE)", "t f f f f f f t f!a"},
    {"%s IN (3)", "t f t f f t f f f!a"},
    {"%s IN (1.5)", "t f!c f!c t f f t f f!a"},
    {"%s IN ('x')", "f!c f!c f!c f!c t f f f f!a"},
    {"%s IN ('3')", "f!c f t f f t f f f!a"},
    {"%s IN (missing)", "f!a f!a f!a f!a f!a f!a f!a f!a f!a"},
    {"%s IN (0, 'x')", "f!c t f!c f!c t f f f f!a"},
    {"%s IN ('3', 1.5)", "f!c f!c t t f t t f f!a"},
    {"%s NOT IN (3, 'x')", "f f!c f f!c f f t t f!a"},
    {"LENGTH(%s)", "4 1 1 3 1 1 3 4 0!a"},
    {"CONCAT('<', %s)", "'<true' '<0' '<3' '<1.5' '<x' '<3' '<1.5' '<true' ''!a"},
    {"CONCAT_WS(%s, 1, 2)", "'1true2' '102' '132' '11.52' '1x2' '132' '11.52' '1true2' ''!a"},
    {"LOWER(%s)", "'true' '0' '3' '1.5' 'x' '3' '1.5' 'true' ''!a"},
    {"UPPER(%s)", "'TRUE' '0' '3' '1.5' 'X' '3' '1.5' 'TRUE' ''!a"},
    {"TRIM(%s)", "'true' '0' '3' '1.5' 'x' '3' '1.5' 'true' ''!a"},
    {"LEFT(%s, 1)", "'t' '0' '3' '1' 'x' '3' '1' 't' ''!a"},
    {"LEFT('abcd', %s)", "'a' '' 'abc' ''!c ''!c 'abc' ''!c ''!c ''!a"},
    {"LEFT(%s, -1)", "'true'!f '0'!f '3'!f '1.5'!f 'x'!f '3'!f '1.5'!f 'true'!f ''!a"},
    {"RIGHT('abcd', %s)", "'d' '' 'bcd' ''!c ''!c 'bcd' ''!c ''!c ''!a"},
    {"RIGHT(%s, -1)", "'true'!f '0'!f '3'!f '1.5'!f 'x'!f '3'!f '1.5'!f 'true'!f ''!a"},
    {"SUBSTRING('abcd', %s)", "'abcd' '' 'cd' ''!c ''!c 'cd' ''!c ''!c ''!a"},
    {"SUBSTRING('abcd', 2, %s)", "'b' '' 'bcd' ''!c ''!c 'bcd' ''!c ''!c ''!a"},
    {"SUBSTRING(%s, 2)", "'rue' ''!f ''!f '.5' ''!f ''!f '.5' 'rue' ''!a"},
    {"ABS(%s)", "1 0 3 1.5 0!c 3 1.5 0!c 0!a"},
    {"INT(%s)", "1 0 3 0!c 0!c 3 0!c 0!c 0!a"},
    {"BOOL(%s)", "t f t t f!c f!c f!c t f!a"},
    {"STRING(%s)", "'true' '0' '3' '1.5' 'x' '3' '1.5' 'true' ''!a"},
    {"DECIMAL(%s)", "1 0 3 1.5 0!c 3 1.5 0!c 0!a"},
    {"IS_INT(%s)", "t t t f f t f f f!a"},
    {"IS_BOOL(%s)", "t t t t f f f t f!a"},
};

static void show_cell(const struct filter_outcome *o, char *d, size_t size)
{
    static const char letters[] = "-pmcnfag"; /* by enum filter_failure */
    show(o, d, size);
    if (o->failure) snprintf(strrchr(d, ' '), 3, "!%c", letters[o->failure]);
    if (o->value.type == FILTER_BOOL) memmove(d + 1, d + strcspn(d, "!"), 3);
}

static void fill(char *d, size_t size, const char *text, const char *operand)
{
    const char *hole = strstr(text, "%s");
    size_t n = 0;
    for (; *text && n + 1 < size; text++) {
        if (text == hole) {
            n += (size_t)snprintf(d + n, size - n, "%s", operand);
            text++;
        } else {
            if (text[0] == '%' && text[1] == '%') text++;
            d[n++] = *text;
        }
    }
    d[n] = 0;
}

static void operators_take_every_type(void **state)
{
    (void)state;
    struct filter_store *s = filter_store_new(&FILTER_SETTINGS_DEFAULT);
    for (size_t i = 0; i < ARRAY_LEN(grid); i++) {
        char row[300] = "", text[100], cell[64];
        for (size_t k = 0; k < ARRAY_LEN(operands); k++) {
            struct filter_event event = {.topic = bytes_str("t")};
            struct filter_outcome o;
            fill(text, sizeof text, grid[i].text, operands[k]);
            assert_int_equal(filter_eval(s, bytes_str(text), &FILTER_LIMITS_DEFAULT, &event, &o),
                             0);
            show_cell(&o, cell, sizeof cell);
            snprintf(row + strlen(row), sizeof row - strlen(row), "%s%s", k ? " " : "", cell);
        }
        if (strcmp(row, grid[i].results) != 0) print_message("in: %s\n", grid[i].text);
        assert_string_equal(row, grid[i].results);
    }
    filter_store_free(&s);
}

/* As a filter, where it may be compiled to something else than is evaluated: the operand is an
 * attribute, and whatever is Boolean matches if its cell says true without an error. */
static bool cell_is_true(const char *row, size_t k)
{
    while (k--) row = strchr(row, ' ') + 1;
    return row[0] == 't' && row[1] != '!';
}

static bool is_filter(const char *row) { return row[0] == 't' || row[0] == 'f'; }

static void filters_match_what_is_true(void **state)
{
    (void)state;
    static const char *const values[] = {"v!true", "v#0",   "v#3",    NULL, "v:x",
                                         "v:3",    "v:1.5", "v:true", ""};
    struct filter_store *s = filter_store_new(&FILTER_SETTINGS_DEFAULT);
    unsigned compiled = 0;
    for (size_t i = 0; i < ARRAY_LEN(grid); i++) {
        struct filter_expr *e = NULL;
        struct filter_error error;
        char text[100];
        fill(text, sizeof text, grid[i].text, "v");
        if (!is_filter(grid[i].results)) continue;
        assert_int_equal(filter_compile(s, bytes_str(text), &FILTER_LIMITS_DEFAULT, &e, &error), 0);
        compiled++;
        for (size_t k = 0; k < ARRAY_LEN(values); k++) {
            if (values[k] == NULL) continue; /* an attribute is never a Decimal */
            struct attributes a = attributes_of(values[k]);
            struct filter_event event = {.attribute = next_attribute, .ctx = &a};
            bool matches = filter_matches(s, e, &event) == FILTER_MATCH;
            if (matches != cell_is_true(grid[i].results, k))
                print_message("in: %s, of: %s\n", text, values[k]);
            assert_int_equal(matches, cell_is_true(grid[i].results, k));
        }
        filter_expr_unref(s, e);
    }
    assert_true(compiled > 100);
    filter_store_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operators_take_every_type),
        cmocka_unit_test(filters_match_what_is_true),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
