/* The functions of the language: one row each. */
#include "filters/expr.h"

#include <math.h>

#include "filters/text.h"

enum { VARIADIC = 255, PARAM_NUMBER = 100, PARAM_ANY };

struct function {
    const char *name;
    uint8_t min, max;
    uint8_t result;    /* enum filter_type */
    uint8_t params[3]; /* the last one stands for all that follow */
    struct operand (*run)(struct run *r, struct filter_value *a, unsigned count);
};

static struct operand good(struct filter_value v) { return (struct operand){v, false}; }
static struct operand empty(void) { return (struct operand){value_string(bytes_str("")), true}; }

static struct operand fn_length(struct run *r, struct filter_value *a, unsigned count)
{
    (void)r, (void)count;
    return good(value_int((int32_t)text_length(a->string)));
}

static struct operand join(struct run *r, struct bytes between, struct filter_value *a,
                           unsigned count)
{
    size_t n = 0;
    for (unsigned i = 0; i < count; i++) n += a[i].string.n + (i ? between.n : 0);
    uint8_t *d = run_text(r, n), *from = d;
    if (d == NULL) return empty();
    for (unsigned i = 0; i < count; i++) {
        if (i) d = put_mem(d, between);
        d = put_mem(d, a[i].string);
    }
    return good(value_string(bytes_of(from, n)));
}

static struct operand fn_concat(struct run *r, struct filter_value *a, unsigned count)
{
    return join(r, (struct bytes){0}, a, count);
}
static struct operand fn_concat_ws(struct run *r, struct filter_value *a, unsigned count)
{
    return join(r, a[0].string, a + 1, count - 1);
}

static struct operand map(struct run *r, struct bytes t, size_t (*to)(struct bytes, uint8_t *))
{
    uint8_t *d = run_text(r, TEXT_CASE_GROWTH * t.n);
    if (d == NULL) return empty();
    return good(value_string(bytes_of(d, to(t, d))));
}
static struct operand fn_lower(struct run *r, struct filter_value *a, unsigned count)
{
    (void)count;
    return map(r, a->string, text_lower);
}
static struct operand fn_upper(struct run *r, struct filter_value *a, unsigned count)
{
    (void)count;
    return map(r, a->string, text_upper);
}
static struct operand fn_trim(struct run *r, struct filter_value *a, unsigned count)
{
    (void)r, (void)count;
    return good(value_string(text_trim(a->string)));
}

static struct operand fn_left(struct run *r, struct filter_value *a, unsigned count)
{
    (void)count;
    if (a[1].integer < 0)
        return run_fail(r, FILTER_FAIL_FUNCTION_EVALUATION, a[0], "LEFT of a negative length");
    a->string.n = text_offset(a->string, (size_t)a[1].integer);
    return good(*a);
}
static struct operand fn_right(struct run *r, struct filter_value *a, unsigned count)
{
    (void)count;
    if (a[1].integer < 0)
        return run_fail(r, FILTER_FAIL_FUNCTION_EVALUATION, a[0], "RIGHT of a negative length");
    size_t length = text_length(a->string), want = (size_t)a[1].integer;
    if (want < length) a->string = bytes_skip(a->string, text_offset(a->string, length - want));
    return good(*a);
}

static struct operand fn_substring(struct run *r, struct filter_value *a, unsigned count)
{
    int64_t length = (int64_t)text_length(a->string), at = a[1].integer;
    struct filter_value none = value_string(bytes_str(""));
    if (at == 0) return good(none);
    if (at > length || -at > length)
        return run_fail(r, FILTER_FAIL_FUNCTION_EVALUATION, none, "SUBSTRING begins outside");
    if (count == 3 && a[2].integer < 0)
        return run_fail(r, FILTER_FAIL_FUNCTION_EVALUATION, none, "SUBSTRING of a negative length");
    size_t from = (size_t)(at > 0 ? at - 1 : length + at);
    a->string = bytes_skip(a->string, text_offset(a->string, from));
    if (count == 3) a->string.n = text_offset(a->string, (size_t)a[2].integer);
    return good(*a);
}

static struct operand fn_abs(struct run *r, struct filter_value *a, unsigned count)
{
    (void)count;
    if (a->type == FILTER_DECIMAL) return good(value_decimal(fabs(a->decimal)));
    if (a->integer == INT32_MIN)
        return run_fail(r, FILTER_FAIL_MATH, value_int(INT32_MAX), "out of range");
    return good(value_int(abs(a->integer)));
}

static struct operand fn_same(struct run *r, struct filter_value *a, unsigned count)
{
    (void)r, (void)count;
    return good(*a);
}

static struct operand fn_is_int(struct run *r, struct filter_value *a, unsigned count)
{
    (void)r, (void)count;
    return good(value_bool(value_cast(a, FILTER_INT, NULL)));
}
static struct operand fn_is_bool(struct run *r, struct filter_value *a, unsigned count)
{
    (void)r, (void)count;
    return good(value_bool(value_cast(a, FILTER_BOOL, NULL)));
}

enum { S = FILTER_STRING, I = FILTER_INT, B = FILTER_BOOL, D = FILTER_DECIMAL };

static const struct function functions[] = {
    {"LENGTH", 1, 1, I, {S}, fn_length},
    {"CONCAT", 0, VARIADIC, S, {S, S, S}, fn_concat},
    {"CONCAT_WS", 1, VARIADIC, S, {S, S, S}, fn_concat_ws},
    {"LOWER", 1, 1, S, {S}, fn_lower},
    {"UPPER", 1, 1, S, {S}, fn_upper},
    {"TRIM", 1, 1, S, {S}, fn_trim},
    {"LEFT", 2, 2, S, {S, I}, fn_left},
    {"RIGHT", 2, 2, S, {S, I}, fn_right},
    {"SUBSTRING", 2, 3, S, {S, I, I}, fn_substring},
    {"ABS", 1, 1, I, {PARAM_NUMBER}, fn_abs},
    {"INT", 1, 1, I, {I}, fn_same},
    {"BOOL", 1, 1, B, {B}, fn_same},
    {"STRING", 1, 1, S, {S}, fn_same},
    {"DECIMAL", 1, 1, D, {D}, fn_same},
    {"IS_INT", 1, 1, B, {PARAM_ANY}, fn_is_int},
    {"IS_BOOL", 1, 1, B, {PARAM_ANY}, fn_is_bool},
};

int function_find(struct bytes name, unsigned count)
{
    for (size_t i = 0; i < ARRAY_LEN(functions); i++)
        if (lex_word_is(name, functions[i].name) && count >= functions[i].min &&
            (functions[i].max == VARIADIC || count <= functions[i].max))
            return (int)i;
    return -1;
}

bool function_known(struct bytes name)
{
    for (size_t i = 0; i < ARRAY_LEN(functions); i++)
        if (lex_word_is(name, functions[i].name)) return true;
    return false;
}

bool function_is_boolean(int row) { return row >= 0 && functions[row].result == B; }

static struct filter_value zero_of(unsigned type)
{
    return type == B   ? value_bool(false)
           : type == I ? value_int(0)
           : type == D ? value_decimal(0)
                       : value_string(bytes_str(""));
}

struct operand function_run(struct run *r, int row, struct operand *args, unsigned count)
{
    const struct function *f = &functions[row];
    struct operand zero = {zero_of(f->result), true};
    struct filter_value *a = (void *)run_text(r, (count + 1) * sizeof *a);
    if (a == NULL) return zero;
    for (unsigned i = 0; i < count; i++) {
        unsigned target = f->params[min_u64(i, 2)];
        if (args[i].failed) return zero;
        a[i] = args[i].value;
        if (a[i].type == FILTER_STRING && !run_work(r, a[i].string.n)) return zero;
        char *room =
            target == S && a[i].type != FILTER_STRING ? (char *)run_text(r, CAST_TEXT_BYTES) : NULL;
        if (target == S && a[i].type != FILTER_STRING && room == NULL) return zero;
        bool ok = target == PARAM_ANY || (target == PARAM_NUMBER ? value_to_number(&a[i])
                                                                 : value_cast(&a[i], target, room));
        if (!ok)
            return run_fail(r, FILTER_FAIL_CAST, zero.value, "%s: argument %u is a %s", f->name,
                            i + 1, value_type_name(a[i].type));
    }
    return f->run(r, a, count);
}
