/* Predicates and keys in words.  See explain.h. */
#include "filters/explain.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/err.h"
#include "filters/form.h"

struct writer {
    struct buf *out;
    bool failed;
};

static void put(struct writer *w, struct bytes text)
{
    uint8_t *d = text.n ? buf_reserve(w->out, (uint32_t)text.n) : NULL;
    w->failed |= text.n && d == NULL;
    if (d == NULL) return;
    put_mem(d, text);
    buf_commit(w->out, (uint32_t)text.n);
}

PRINTF_LIKE(2, 3) static void say(struct writer *w, const char *fmt, ...)
{
    char text[128];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    put(w, bytes_of(text, min_u64((size_t)n, sizeof text - 1)));
}

/* ---- values ---- */

static void say_quoted(struct writer *w, struct bytes text, char quote)
{
    put(w, bytes_of(&quote, 1));
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == (uint8_t)quote) put(w, bytes_of(&quote, 1));
        put(w, bytes_of(text.p + i, 1));
    }
    put(w, bytes_of(&quote, 1));
}

static void say_value(struct writer *w, struct filter_value v)
{
    char room[CAST_TEXT_BYTES];
    if (v.type == FILTER_STRING) {
        say_quoted(w, v.string, '\'');
        return;
    }
    bool whole =
        v.type == FILTER_DECIMAL && fabs(v.decimal) < 1e15 && v.decimal == floor(v.decimal);
    if (v.type == FILTER_BOOL)
        say(w, v.boolean ? "TRUE" : "FALSE");
    else if (value_cast(&v, FILTER_STRING, room))
        say(w, "%.*s%s", (int)v.string.n, (const char *)v.string.p, whole ? ".0" : "");
}

static double number_of_key(uint64_t key)
{
    uint64_t bits = key >> 63 ? key & ~((uint64_t)1 << 63) : ~key;
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

static size_t digits(double d) { return (size_t)snprintf(NULL, 0, "%.17g", d); }

/* An end of an interval: of two neighbours the one that somebody may have written. */
static double end_of(uint64_t inside, uint64_t outside, bool *included)
{
    double in = number_of_key(inside), out = number_of_key(outside);
    *included = digits(in) <= digits(out);
    return *included ? in : out;
}

/* ---- attributes and trees ---- */

static void say_name(struct writer *w, struct bytes name)
{
    bool bare = false, odd = name.n == 0;
    for (size_t i = 0; i < name.n; i++) {
        uint8_t c = name.p[i];
        bool digit = c >= '0' && c <= '9';
        odd |= !digit && !(c >= 'a' && c <= 'z') && c != '_';
        bare |= !digit;
    }
    if (bare && !odd)
        put(w, name);
    else
        say_quoted(w, name, '`');
}

static void say_attr(struct writer *w, const struct filter_tree *t, uint32_t at)
{
    static const char *const names[] = {
        [ATTR_TOPIC] = "topic",       [ATTR_LEVELS] = "levels",
        [ATTR_QOS] = "qos",           [ATTR_RETAIN] = "retain",
        [ATTR_SIZE] = "size",         [ATTR_CONTENT_TYPE] = "content_type",
        [ATTR_EXPIRY] = "expiry",     [ATTR_RESPONSE_TOPIC] = "response_topic",
        [ATTR_USERNAME] = "username", [ATTR_CLIENT_ID] = "client_id",
        [ATTR_PAYLOAD] = "payload",
    };
    const struct node *n = &t->nodes[at];
    if (n->attr == ATTR_NAME) {
        say_name(w, n->value.string);
    } else if (n->attr == ATTR_LEVEL) {
        say(w, "topic[%d]", n->index);
    } else if (n->attr == ATTR_PATH) {
        say(w, "payload");
        for (uint32_t i = n->first; i; i = t->nodes[i].next) {
            if (t->nodes[i].element) {
                say(w, "[%d]", t->nodes[i].index);
            } else {
                say(w, ".");
                put(w, t->nodes[i].value.string);
            }
        }
    } else {
        say(w, "mqtt.%s", names[n->attr]);
    }
}

static const char *op_text(unsigned op)
{
    static const char *const texts[] = {
        "", "AND", "OR", "XOR", "=", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%"};
    return texts[op];
}

static void say_tree(struct writer *w, const struct filter_tree *t, uint32_t at);

static void say_children(struct writer *w, const struct filter_tree *t, uint32_t first)
{
    for (uint32_t i = first; i; i = t->nodes[i].next) {
        say_tree(w, t, i);
        if (t->nodes[i].next) say(w, ", ");
    }
}

static void say_chain(struct writer *w, const struct filter_tree *t, const struct node *n)
{
    say(w, "(");
    for (uint32_t i = n->first; i; i = t->nodes[i].next) {
        if (i != n->first) say(w, " %s ", op_text(t->nodes[i].op));
        say_tree(w, t, i);
    }
    say(w, ")");
}

static void say_tree(struct writer *w, const struct filter_tree *t, uint32_t at)
{
    const struct node *n = &t->nodes[at];
    switch (n->kind) {
    case NODE_LITERAL: say_value(w, n->value); return;
    case NODE_ATTR: say_attr(w, t, at); return;
    case NODE_CHAIN: say_chain(w, t, n); return;
    case NODE_CALL:
        put(w, n->value.string);
        say(w, "(");
        say_children(w, t, n->first);
        say(w, ")");
        return;
    case NODE_EXISTS:
        say(w, "EXISTS ");
        say_attr(w, t, at);
        return;
    case NODE_NOT:
    case NODE_NEGATE:
        say(w, n->kind == NODE_NOT ? "NOT " : "-");
        say_tree(w, t, n->first);
        return;
    case NODE_LIKE:
        say_tree(w, t, n->first);
        say(w, n->negated ? " NOT LIKE " : " LIKE ");
        say_value(w, n->value);
        return;
    default: /* NODE_IN */
        say_tree(w, t, n->first);
        say(w, n->negated ? " NOT IN (" : " IN (");
        say_children(w, t, t->nodes[n->first].next);
        say(w, ")");
    }
}

/* ---- questions ---- */

static void say_range(struct writer *w, struct range_of r)
{
    bool above, upto;
    bool low = r.low > 0, high = r.high < UINT64_MAX;
    double from = low ? end_of(r.low, r.low - 1, &above) : 0;
    double to = high ? end_of(r.high, r.high + 1, &upto) : 0;
    if (low && high)
        say(w, " in %c%.15g, %.15g%c", above ? '[' : '(', from, to, upto ? ']' : ')');
    else if (low)
        say(w, " %s %.15g", above ? ">=" : ">", from);
    else
        say(w, " %s %.15g", upto ? "<=" : "<", to);
}

static struct filter_value value_of(const struct pred *p)
{
    switch (p->type) {
    case FILTER_INT: return value_int((int32_t)(uint32_t)p->words[0]);
    case FILTER_BOOL: return value_bool(p->words[0] != 0);
    case FILTER_DECIMAL: return value_decimal(number_of_key(p->words[0]));
    default: return value_string(pred_text(p));
    }
}

static void say_items(struct writer *w, const struct pred *p)
{
    for (uint32_t i = 0; i < p->n; i++) {
        struct in_item item = pred_item(p, i);
        if (i) say(w, ", ");
        say_value(w, item.value);
    }
    say(w, ")");
}

static void say_pred(struct writer *w, const struct pred *p, bool negated)
{
    if (p->kind == PRED_EXPR) {
        if (negated) say(w, "NOT ");
        say_tree(w, pred_tree(p), pred_tree(p)->root);
        return;
    }
    if (p->kind == PRED_EXISTS) say(w, negated ? "NOT EXISTS " : "EXISTS ");
    say_attr(w, p->attr->tree, p->attr->tree->root);
    switch (p->kind) {
    case PRED_EQUAL:
        say(w, negated ? " != " : " = ");
        say_value(w, value_of(p));
        return;
    case PRED_RANGE: say_range(w, pred_range(p)); return;
    case PRED_LIKE:
        say(w, negated ? " NOT LIKE " : " LIKE ");
        say_quoted(w, pred_text(p), '\'');
        return;
    case PRED_IN:
        say(w, negated ? " NOT IN (" : " IN (");
        say_items(w, p);
        return;
    case PRED_TRUTH: say(w, negated ? " is false" : " is true"); return;
    default: return;
    }
}

static void say_step(struct writer *w, uint64_t step)
{
    say_pred(w, step_pred(step), step_negated(step));
}

static void say_target(struct writer *w, uint16_t to)
{
    if (to == GOTO_MATCH)
        say(w, "match");
    else if (to >= GOTO_ERROR)
        say(w, "no match");
    else
        say(w, "%u", to + 1u);
}

static void say_form(struct writer *w, const struct filter_expr *e)
{
    say(w, "form    ");
    if (e->count == 0) say(w, e->all || e->start == GOTO_MATCH ? "always true" : "never true");
    for (uint32_t i = 0; i < e->count; i++) {
        if (e->all) {
            if (i) say(w, " AND ");
            say_step(w, e->steps[i]);
            continue;
        }
        if (i) say(w, "\n        ");
        say(w, "%u: ", i + 1);
        say_step(w, e->steps[i]);
        say(w, "? yes: ");
        say_target(w, expr_jumps(e)[2 * i + step_negated(e->steps[i])]);
        say(w, ", no: ");
        say_target(w, expr_jumps(e)[2 * i + !step_negated(e->steps[i])]);
    }
    say(w, "\n");
}

/* ---- keys ---- */

static void say_key(struct writer *w, const struct filter_store *s, uint64_t step)
{
    const struct pred *p = step_pred(step);
    struct key key = key_of(s, p, step_negated(step), 0);
    unsigned n = affix_lengths[key.type % AFFIX_CLASSES];
    if (p->kind == PRED_IN && !step_negated(step)) {
        say_pred(w, p, false);
    } else if (key.kind == BY_EXISTS) {
        say(w, "EXISTS ");
        say_attr(w, key.attr->tree, key.attr->tree->root);
    } else if (key.kind == BY_HEAD || key.kind == BY_TAIL) {
        bool head = key.kind == BY_HEAD;
        say_attr(w, key.attr->tree, key.attr->tree->root);
        say(w, head ? " begins with " : " ends with ");
        say_quoted(w, bytes_of(pred_text(p).p + (head ? 0 : p->n - n), n), '\'');
    } else {
        say_pred(w, p, step_negated(step));
    }
}

static bool is_always(const struct filter_store *s, const struct filter_expr *e)
{
    for (uint32_t i = 0; i < e->key_steps; i++) {
        uint64_t step = e->steps[expr_keys(e)[i]];
        if (key_of(s, step_pred(step), step_negated(step), 0).kind == BY_ALWAYS) return true;
    }
    return e->alt_count + e->key_steps == 0;
}

static uint32_t say_keys(struct writer *w, const struct filter_store *s,
                         const struct filter_expr *e)
{
    uint32_t count = 0;
    say(w, "by      ");
    if (is_always(s, e)) {
        say(w, "nothing: it is asked of every message\n");
        return 0;
    }
    for (uint32_t i = 0; i < e->alt_count; i++) {
        if (i) say(w, ", else ");
        say_key(w, s, e->steps[e->alts[i]]);
    }
    for (uint32_t i = 0; i < e->key_steps; i++) {
        uint64_t step = e->steps[expr_keys(e)[i]];
        if (i) say(w, " or ");
        say_key(w, s, step);
        count += key_count(s, step_pred(step), step_negated(step));
    }
    say(w, "\n");
    return e->alt_count ? 1 : count;
}

int filter_explain(struct filter_store *store, const struct filter_expr *expr, struct buf *out)
{
    struct writer w = {.out = out};
    uint32_t costly = 0;
    say_form(&w, expr);
    uint32_t keys = say_keys(&w, store, expr);
    for (uint32_t i = 0; i < expr->count; i++) {
        const struct pred *p = step_pred(expr->steps[i]);
        costly += p->kind == PRED_EXPR || (p->kind == PRED_LIKE && !p->plain);
    }
    say(&w, "cost    %u question%s", expr->count, expr->count == 1 ? "" : "s");
    if (costly) say(&w, ", %u of them costly", costly);
    say(&w, ", %u key%s\n", keys, keys == 1 ? "" : "s");
    return w.failed ? E_NOMEM : 0;
}
