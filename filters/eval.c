/* Walks the tree.  An operator whose operand failed is not computed: it is the zero of its type,
 * and failed as well; what stands behind a short circuit is not looked at. */
#include "filters/expr.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "filters/text.h"

static struct operand eval(struct run *r, uint32_t at);

static struct operand good(struct filter_value v) { return (struct operand){v, false}; }
static struct operand failed(struct filter_value v) { return (struct operand){v, true}; }

struct operand run_fail(struct run *r, enum filter_failure failure, struct filter_value left,
                        const char *fmt, ...)
{
    if (r->failure == FILTER_FAIL_NONE) {
        r->failure = failure;
        if (r->detail) {
            va_list args;
            va_start(args, fmt);
            vsnprintf(r->detail, FILTER_DETAIL_BYTES, fmt, args);
            va_end(args);
        }
    }
    return failed(left);
}

static struct operand cast_fail(struct run *r, const struct filter_value *v, const char *target,
                                struct filter_value left)
{
    return run_fail(r, FILTER_FAIL_CAST, left, "this %s cannot become a %s",
                    value_type_name(v->type), target);
}

static struct operand eval_attr(struct run *r, const struct node *n)
{
    struct filter_value v;
    switch (attr_find(r, n, &v)) {
    case FOUND_VALUE:
        if (v.type == FILTER_STRING && !run_work(r, v.string.n)) return failed(value_bool(false));
        return good(v);
    case FOUND_UNUSABLE:
        return run_fail(r, FILTER_FAIL_CAST, value_bool(false), "it is there, but is no value");
    default: break;
    }
    return run_fail(r, FILTER_FAIL_MISSING_ATTRIBUTE, value_bool(false),
                    "the attribute at column %u is missing", n->column);
}

static struct operand eval_not(struct run *r, const struct node *n)
{
    struct operand o = eval(r, n->first);
    if (o.failed) return failed(value_bool(false));
    if (o.value.type == FILTER_INT || o.value.type == FILTER_DECIMAL)
        return cast_fail(r, &o.value, "Boolean", value_bool(true));
    struct filter_value v = o.value;
    if (!value_cast(&v, FILTER_BOOL, NULL))
        return cast_fail(r, &o.value, "Boolean", value_bool(false));
    return good(value_bool(!v.boolean));
}

static struct operand decimal(struct run *r, double d)
{
    if (!isfinite(d)) return run_fail(r, FILTER_FAIL_MATH, value_decimal(0), "out of range");
    return good(value_decimal(d == 0 ? 0.0 : d));
}

static struct operand eval_negate(struct run *r, const struct node *n)
{
    struct operand o = eval(r, n->first);
    if (o.failed) return failed(value_int(0));
    if (!value_to_number(&o.value)) return cast_fail(r, &o.value, "number", value_int(0));
    if (o.value.type == FILTER_DECIMAL) return decimal(r, -o.value.decimal);
    if (o.value.integer == INT32_MIN)
        return run_fail(r, FILTER_FAIL_MATH, value_int(0), "out of range");
    return good(value_int(-o.value.integer));
}

static struct operand integer_math(struct run *r, unsigned op, int64_t a, int64_t b)
{
    if ((op == OP_DIV || op == OP_MOD) && b == 0)
        return run_fail(r, FILTER_FAIL_MATH, value_int(0), "division by zero");
    int64_t c = op == OP_ADD   ? a + b
                : op == OP_SUB ? a - b
                : op == OP_MUL ? a * b
                : op == OP_DIV ? a / b
                               : a % b;
    if (c < INT32_MIN || c > INT32_MAX)
        return run_fail(r, FILTER_FAIL_MATH, value_int(0), "out of range");
    return good(value_int((int32_t)c));
}

static struct operand math(struct run *r, unsigned op, struct filter_value a, struct filter_value b)
{
    if (!value_to_number(&a)) return cast_fail(r, &a, "number", value_int(0));
    if (!value_to_number(&b)) return cast_fail(r, &b, "number", value_int(0));
    if (a.type == FILTER_INT && b.type == FILTER_INT)
        return integer_math(r, op, a.integer, b.integer);
    double x = value_as_double(&a), y = value_as_double(&b);
    if ((op == OP_DIV || op == OP_MOD) && y == 0)
        return run_fail(r, FILTER_FAIL_MATH, value_decimal(0), "division by zero");
    return decimal(r, op == OP_ADD   ? x + y
                      : op == OP_SUB ? x - y
                      : op == OP_MUL ? x * y
                      : op == OP_DIV ? x / y
                                     : fmod(x, y));
}

static struct operand compare(struct run *r, unsigned op, struct filter_value a,
                              struct filter_value b)
{
    if (op == OP_EQ || op == OP_NE) {
        char room[CAST_TEXT_BYTES];
        if (!value_cast(&a, b.type, room))
            return cast_fail(r, &a, value_type_name(b.type), value_bool(false));
        return good(value_bool(value_equal(&a, &b) == (op == OP_EQ)));
    }
    if (!value_to_number(&a)) return cast_fail(r, &a, "number", value_bool(false));
    if (!value_to_number(&b)) return cast_fail(r, &b, "number", value_bool(false));
    int o = value_order(&a, &b);
    return good(value_bool(op == OP_LT   ? o < 0
                           : op == OP_LE ? o <= 0
                           : op == OP_GT ? o > 0
                                         : o >= 0));
}

/* An operand of AND, OR, XOR. */
static struct operand truth(struct run *r, struct operand o)
{
    if (o.failed) return failed(value_bool(false));
    struct filter_value v = o.value;
    if (!value_cast(&v, FILTER_BOOL, NULL))
        return cast_fail(r, &o.value, "Boolean", value_bool(false));
    return good(v);
}

static struct operand eval_logic(struct run *r, const struct node *n)
{
    const struct node *nodes = r->tree->nodes;
    struct operand left = truth(r, eval(r, n->first));
    for (uint32_t i = nodes[n->first].next; i && !left.failed; i = nodes[i].next) {
        unsigned op = nodes[i].op;
        bool a = left.value.boolean;
        if ((op == OP_AND && !a) || (op == OP_OR && a)) continue;
        left = truth(r, eval(r, i));
        if (op == OP_XOR && !left.failed) left.value.boolean ^= a;
    }
    return left;
}

static struct operand eval_chain(struct run *r, const struct node *n)
{
    const struct node *nodes = r->tree->nodes;
    unsigned first = nodes[nodes[n->first].next].op;
    if (op_is_logic(first)) return eval_logic(r, n);
    struct filter_value zero = op_is_compare(first) ? value_bool(false) : value_int(0);
    struct operand left = eval(r, n->first);
    for (uint32_t i = nodes[n->first].next; i; i = nodes[i].next) {
        struct operand right = eval(r, i);
        if (left.failed || right.failed)
            left = failed(zero);
        else if (op_is_compare(first))
            left = compare(r, nodes[i].op, left.value, right.value);
        else
            left = math(r, nodes[i].op, left.value, right.value);
    }
    return left;
}

static struct operand eval_like(struct run *r, const struct node *n)
{
    char room[CAST_TEXT_BYTES];
    struct operand o = eval(r, n->first);
    if (o.failed || !value_cast(&o.value, FILTER_STRING, room)) return failed(value_bool(false));
    enum like_result like = like_match(o.value.string, n->value.string, WORK_MAX, &r->work);
    if (!run_work(r, 0)) return failed(value_bool(false)); /* it gave up */
    return good(value_bool((like == LIKE_YES) != n->negated));
}

static struct operand eval_in(struct run *r, const struct node *n)
{
    const struct node *nodes = r->tree->nodes;
    char room[CAST_TEXT_BYTES];
    struct operand left = eval(r, n->first);
    if (left.failed) return failed(value_bool(false));
    for (uint32_t i = nodes[n->first].next; i; i = nodes[i].next) {
        struct operand item = eval(r, i);
        if (item.failed) return failed(value_bool(false));
        struct filter_value v = item.value;
        if (!value_cast(&v, left.value.type, room))
            return cast_fail(r, &item.value, value_type_name(left.value.type), value_bool(false));
        if (value_equal(&v, &left.value)) return good(value_bool(!n->negated));
    }
    return good(value_bool(n->negated));
}

static struct operand eval_call(struct run *r, const struct node *n)
{
    struct operand *args;
    if (n->function < 0)
        return run_fail(r, FILTER_FAIL_MISSING_FUNCTION, value_bool(false),
                        "no such function with %u arguments", n->count);
    args = (void *)run_text(r, (n->count + 1) * sizeof *args);
    if (args == NULL) return failed(value_bool(false));
    unsigned count = 0;
    for (uint32_t i = n->first; i; i = r->tree->nodes[i].next) args[count++] = eval(r, i);
    return function_run(r, n->function, args, count);
}

static struct operand eval(struct run *r, uint32_t at)
{
    const struct node *n = &r->tree->nodes[at];
    struct filter_value v;
    switch (n->kind) {
    case NODE_LITERAL: return good(n->value);
    case NODE_ATTR: return eval_attr(r, n);
    case NODE_EXISTS: return good(value_bool(attr_find(r, n, &v) != FOUND_MISSING));
    case NODE_NOT: return eval_not(r, n);
    case NODE_NEGATE: return eval_negate(r, n);
    case NODE_CHAIN: return eval_chain(r, n);
    case NODE_LIKE: return eval_like(r, n);
    case NODE_IN: return eval_in(r, n);
    default: return eval_call(r, n);
    }
}

struct operand run_node(struct run *r, uint32_t at) { return eval(r, at); }

void run_begin(struct filter_store *s, struct filter_event *event)
{
    scratch_free(s);
    if (event->asked && event->asked == s->epoch) return;
    json_forget(s);
    s->scanned = false;
    s->present_count = 0;
    event->asked = ++s->epoch;
}

struct operand run_tree(struct run *r)
{
    run_begin(r->store, r->event);
    return eval(r, r->tree->root);
}
