/* From text to tree: recursive descent, one function for each level of precedence; operators of one
 * level become one chain, so that only parentheses and prefixes make the tree deep. */
#include "filters/expr.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/err.h"
#include "base/mem.h"

struct parser {
    struct lexer lexer;
    struct token now, ahead; /* one more, for NOT before IN and LIKE */
    const struct filter_limits *limits;
    struct filter_tree *e;
    struct filter_error *error;
    uint32_t depth;
    int rc; /* once not 0, everything returns 0 */
};

static uint32_t parse_logic(struct parser *p);

void fault_set(struct filter_error *e, enum filter_fault fault, uint32_t column, const char *fmt,
               ...)
{
    va_list args;
    va_start(args, fmt);
    e->fault = fault;
    e->column = column;
    vsnprintf(e->detail, sizeof e->detail, fmt, args);
    va_end(args);
}

static uint32_t fail(struct parser *p, enum filter_fault fault, uint32_t column, const char *why)
{
    if (p->rc == 0) {
        fault_set(p->error, fault, column, "%s", why);
        p->rc = E_INVALID;
    }
    return 0;
}

static uint32_t wrong(struct parser *p, const char *why)
{
    if (p->now.kind == TOKEN_WRONG) why = p->now.fault;
    return fail(p, FILTER_FAULT_PARSE, p->now.column, why);
}

static void step(struct parser *p)
{
    p->now = p->ahead;
    p->ahead = lex_next(&p->lexer);
}

static bool is_symbol(const struct parser *p, uint16_t symbol)
{
    return p->now.kind == TOKEN_SYMBOL && p->now.symbol == symbol;
}

static bool is_key(const struct token *t, enum keyword k)
{
    return t->kind == TOKEN_KEYWORD && t->keyword == k;
}

static bool take_symbol(struct parser *p, uint16_t symbol)
{
    if (!is_symbol(p, symbol)) return false;
    step(p);
    return true;
}

static bool want_symbol(struct parser *p, uint16_t symbol, const char *why)
{
    if (p->rc == 0 && take_symbol(p, symbol)) return true;
    wrong(p, why);
    return false;
}

static uint32_t node_new(struct parser *p, enum node_kind kind, uint32_t column)
{
    struct filter_tree *e = p->e;
    if (p->rc) return 0;
    if (e->count == e->cap) {
        uint32_t cap = e->cap * 2;
        struct node *grown = mem_realloc(e->nodes, cap * sizeof *grown);
        if (grown == NULL) return p->rc = E_NOMEM, 0;
        e->nodes = grown;
        e->cap = cap;
    }
    e->nodes[e->count] = (struct node){.kind = (uint8_t)kind, .column = column, .function = -1};
    return e->count++;
}

static void adopt(struct parser *p, uint32_t parent, uint32_t *last, uint32_t child)
{
    if (p->rc) return;
    struct node *nodes = p->e->nodes;
    if (*last)
        nodes[*last].next = child;
    else
        nodes[parent].first = child;
    nodes[parent].count++;
    *last = child;
}

static void predicate(struct parser *p, uint32_t column)
{
    if (p->rc == 0 && ++p->e->predicates > p->limits->predicates)
        fail(p, FILTER_FAULT_LIMIT, column, "too many predicates");
}

/* ---- texts: they only get shorter, so the room of the expression is enough ---- */

static struct bytes keep(struct parser *p, struct bytes text, uint8_t quote, bool lower)
{
    struct filter_tree *e = p->e;
    uint8_t *d = e->text + e->text_bytes, *from = d;
    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = text.p[i], next = i + 1 < text.n ? text.p[i + 1] : 0;
        if (quote && c == quote && next == quote) {
            i++;
        } else if (quote && quote != '`' && c == '\\' && i + 1 < text.n) {
            if (next != quote) *d++ = c;
            c = next;
            i++;
        } else if (lower && c >= 'A' && c <= 'Z') {
            c |= 0x20;
        }
        *d++ = c;
    }
    e->text_bytes = (uint32_t)(d - e->text);
    ASSERT(e->text_bytes <= e->text_cap);
    return bytes_of(from, (size_t)(d - from));
}

static uint32_t literal(struct parser *p, struct filter_value value)
{
    uint32_t n = node_new(p, NODE_LITERAL, p->now.column);
    if (n) p->e->nodes[n].value = value;
    step(p);
    return n;
}

static uint32_t parse_number(struct parser *p, bool minus)
{
    char text[NUMERAL_BYTES_MAX + 2];
    struct bytes t = p->now.text;
    if (t.n > NUMERAL_BYTES_MAX) return wrong(p, "the number is too long");
    text[0] = '-';
    memcpy(text + 1, t.p, t.n);
    t = minus ? bytes_of(text, t.n + 1) : bytes_of(text + 1, t.n);
    struct filter_value v = {.type = FILTER_INT};
    if (memchr(t.p, '.', t.n)) {
        double d = 0;
        if (!text_to_decimal(t, &d)) return wrong(p, "the number is too large");
        v = value_decimal(d);
    } else if (!text_to_int(t, &v.integer)) {
        return wrong(p, "an Integer has 32 bits; write .0 behind it for a Decimal");
    }
    return literal(p, v);
}

/* ---- names and paths ---- */

static const struct {
    const char *name;
    uint8_t kind;
} mqtt_names[] = {
    {"LEVELS", ATTR_LEVELS},
    {"QOS", ATTR_QOS},
    {"RETAIN", ATTR_RETAIN},
    {"SIZE", ATTR_SIZE},
    {"CONTENT_TYPE", ATTR_CONTENT_TYPE},
    {"RESPONSE_TOPIC", ATTR_RESPONSE_TOPIC},
    {"EXPIRY", ATTR_EXPIRY},
    {"CLIENT_ID", ATTR_CLIENT_ID},
    {"USERNAME", ATTR_USERNAME},
    {"PAYLOAD", ATTR_PAYLOAD},
    {"TOPIC", ATTR_TOPIC},
};

/* Behind '[': n], or -n] where that means something. */
static int32_t parse_index(struct parser *p, bool signed_index)
{
    int32_t i = 0;
    bool minus = signed_index && take_symbol(p, '-');
    if (p->now.kind != TOKEN_NUMBER || !text_to_int(p->now.text, &i))
        return (int32_t)wrong(p, "an index is a whole number");
    step(p);
    want_symbol(p, ']', "']' is missing");
    return minus ? -i : i;
}

static uint32_t topic_level(struct parser *p, uint32_t n)
{
    p->e->nodes[n].attr = ATTR_LEVEL;
    int32_t index = parse_index(p, true);
    p->e->nodes[n].index = index;
    return n;
}

static uint32_t parse_mqtt(struct parser *p, uint32_t n)
{
    if (p->now.kind != TOKEN_NAME) return wrong(p, "mqtt. is followed by a name");
    for (size_t i = 0; i < ARRAY_LEN(mqtt_names); i++) {
        if (!lex_word_is(p->now.text, mqtt_names[i].name)) continue;
        p->e->nodes[n].attr = mqtt_names[i].kind;
        step(p);
        if (mqtt_names[i].kind == ATTR_TOPIC && take_symbol(p, '[')) return topic_level(p, n);
        return n;
    }
    return wrong(p, "there is no such property of a message");
}

static uint32_t parse_path(struct parser *p, uint32_t n)
{
    uint32_t last = 0, steps = 0;
    p->e->nodes[n].attr = ATTR_PATH;
    while (p->rc == 0 && (is_symbol(p, '.') || is_symbol(p, '['))) {
        if (++steps > p->limits->nesting)
            return fail(p, FILTER_FAULT_LIMIT, p->now.column, "the path is too long");
        bool element = is_symbol(p, '[');
        step(p);
        uint32_t s = node_new(p, NODE_STEP, p->now.column);
        if (s == 0) return 0;
        p->e->nodes[s].element = element;
        if (element) {
            int32_t index = parse_index(p, false);
            p->e->nodes[s].index = index;
        } else if (p->now.kind == TOKEN_NAME || p->now.kind == TOKEN_KEYWORD) {
            p->e->nodes[s].value.string = keep(p, p->now.text, 0, false);
            step(p);
        } else if (p->now.kind == TOKEN_QUOTED) {
            p->e->nodes[s].value.string = keep(p, p->now.text, '`', false);
            step(p);
        } else {
            return wrong(p, "a path goes on with a name");
        }
        adopt(p, n, &last, s);
    }
    return n;
}

static uint32_t parse_attr(struct parser *p)
{
    struct token t = p->now;
    if (t.kind != TOKEN_NAME && t.kind != TOKEN_QUOTED) return wrong(p, "a name is missing");
    uint32_t n = node_new(p, NODE_ATTR, t.column);
    if (n == 0) return 0;
    step(p);
    if (t.kind == TOKEN_NAME && lex_word_is(t.text, "MQTT") && take_symbol(p, '.'))
        return parse_mqtt(p, n);
    if (t.kind == TOKEN_NAME && lex_word_is(t.text, "TOPIC") && take_symbol(p, '['))
        return topic_level(p, n);
    if (t.kind == TOKEN_NAME && lex_word_is(t.text, "PAYLOAD") &&
        (is_symbol(p, '.') || is_symbol(p, '[')))
        return parse_path(p, n);
    if (is_symbol(p, '.') || is_symbol(p, '['))
        return wrong(p, "paths begin with payload, mqtt or topic[n]");
    bool bare = t.kind == TOKEN_NAME;
    struct bytes name = keep(p, t.text, bare ? 0 : '`', bare);
    p->e->nodes[n].value.string = name;
    return n;
}

/* ---- operands ---- */

static uint32_t parse_list(struct parser *p, uint32_t parent, uint32_t *last, uint32_t max)
{
    for (uint32_t count = 1; p->rc == 0; count++) {
        if (count > max) return fail(p, FILTER_FAULT_LIMIT, p->now.column, "too many elements");
        uint32_t child = parse_logic(p);
        adopt(p, parent, last, child);
        if (!take_symbol(p, ',')) break;
    }
    want_symbol(p, ')', "',' or ')' is missing");
    return parent;
}

static uint32_t parse_call(struct parser *p)
{
    uint32_t last = 0, n = node_new(p, NODE_CALL, p->now.column);
    if (n == 0) return 0;
    p->e->nodes[n].value.string = keep(p, p->now.text, 0, false);
    step(p);
    step(p);
    if (!take_symbol(p, ')')) parse_list(p, n, &last, p->limits->in_elements);
    struct node *node = &p->e->nodes[n];
    node->function = (int16_t)function_find(node->value.string, node->count);
    return n;
}

static uint32_t parse_primary(struct parser *p)
{
    struct token *t = &p->now;
    if (is_symbol(p, '(')) {
        step(p);
        uint32_t n = parse_logic(p);
        if (want_symbol(p, ')', "')' is missing")) p->e->nodes[n].parens = true;
        return n;
    }
    if (is_key(t, KEY_TRUE) || is_key(t, KEY_FALSE))
        return literal(p, value_bool(t->keyword == KEY_TRUE));
    if (is_key(t, KEY_EXISTS)) {
        uint32_t column = t->column;
        predicate(p, column);
        step(p);
        uint32_t n = parse_attr(p);
        if (p->rc == 0) p->e->nodes[n].kind = NODE_EXISTS, p->e->nodes[n].column = column;
        return n;
    }
    if (t->kind == TOKEN_NUMBER) return parse_number(p, false);
    if (t->kind == TOKEN_STRING) return literal(p, value_string(keep(p, t->text, t->quote, false)));
    if (t->kind == TOKEN_NAME && p->ahead.kind == TOKEN_SYMBOL && p->ahead.symbol == '(')
        return parse_call(p);
    if (t->kind == TOKEN_NAME || t->kind == TOKEN_QUOTED) return parse_attr(p);
    if (t->kind == TOKEN_KEYWORD) return wrong(p, "a keyword stands where a value should");
    return wrong(p, t->kind == TOKEN_END ? "the expression is not complete" : "a value is missing");
}

/* A sign belongs to the number: '-' also with a blank between, as before anything else. */
static bool is_signed(const struct parser *p)
{
    if (p->ahead.kind != TOKEN_NUMBER) return false;
    return is_symbol(p, '-') || (is_symbol(p, '+') && p->ahead.column == p->now.column + 1);
}

static uint32_t parse_unary(struct parser *p)
{
    if (p->rc) return 0;
    if (++p->depth > p->limits->nesting)
        return fail(p, FILTER_FAULT_LIMIT, p->now.column, "nested too deep");
    uint32_t n, last = 0, column = p->now.column;
    bool minus = is_symbol(p, '-');
    if (is_signed(p)) {
        step(p);
        n = parse_number(p, minus);
        if (n) p->e->nodes[n].column = column;
    } else if (minus || is_key(&p->now, KEY_NOT)) {
        step(p);
        n = node_new(p, minus ? NODE_NEGATE : NODE_NOT, column);
        uint32_t child = parse_unary(p);
        adopt(p, n, &last, child);
    } else {
        n = parse_primary(p);
    }
    p->depth--;
    return n;
}

/* [NOT] LIKE, then [NOT] IN, which binds less. */
static uint32_t parse_postfix(struct parser *p)
{
    uint32_t n = parse_unary(p);
    bool in_seen = false;
    for (uint32_t times = 0; p->rc == 0; times++) {
        bool negated = is_key(&p->now, KEY_NOT);
        const struct token *t = negated ? &p->ahead : &p->now;
        bool like = is_key(t, KEY_LIKE);
        if (!like && !is_key(t, KEY_IN)) break;
        if (like && in_seen) return wrong(p, "LIKE binds tighter than IN: use parentheses");
        if (times + p->depth >= p->limits->nesting)
            return fail(p, FILTER_FAULT_LIMIT, p->now.column, "nested too deep");
        predicate(p, t->column);
        if (negated) step(p);
        step(p);
        uint32_t last = 0, op = node_new(p, like ? NODE_LIKE : NODE_IN, p->e->nodes[n].column);
        adopt(p, op, &last, n);
        if (p->rc) return 0;
        p->e->nodes[op].negated = negated;
        if (!like) {
            in_seen = true;
            if (want_symbol(p, '(', "IN needs a list in parentheses"))
                parse_list(p, op, &last, p->limits->in_elements);
        } else if (p->now.kind != TOKEN_STRING) {
            return wrong(p, "LIKE needs a string literal");
        } else {
            struct bytes pattern = keep(p, p->now.text, p->now.quote, false);
            p->e->nodes[op].value = value_string(pattern);
            step(p);
        }
        n = op;
    }
    return p->rc ? 0 : n;
}

/* ---- operators ---- */

static const struct {
    uint16_t symbol;
    uint8_t op, level;
} symbols[] = {
    {'*', OP_MUL, 0}, {'/', OP_DIV, 0},      {'%', OP_MOD, 0},      {'+', OP_ADD, 1},
    {'-', OP_SUB, 1}, {'=', OP_EQ, 2},       {SYMBOL_NE, OP_NE, 2}, {'<', OP_LT, 2},
    {'>', OP_GT, 2},  {SYMBOL_LE, OP_LE, 2}, {SYMBOL_GE, OP_GE, 2},
};

static uint8_t operator_at(const struct parser *p, unsigned level)
{
    const struct token *t = &p->now;
    if (t->kind == TOKEN_KEYWORD && level == 3 && t->keyword <= KEY_XOR)
        return (uint8_t)(OP_AND + t->keyword);
    for (size_t i = 0; i < ARRAY_LEN(symbols); i++)
        if (t->kind == TOKEN_SYMBOL && symbols[i].level == level && t->symbol == symbols[i].symbol)
            return symbols[i].op;
    return OP_NONE;
}

static uint32_t parse_level(struct parser *p, int level)
{
    if (level < 0) return parse_postfix(p);
    uint32_t n = parse_level(p, level - 1), chain = 0, last = 0;
    uint8_t op;
    while (p->rc == 0 && (op = operator_at(p, (unsigned)level)) != OP_NONE) {
        uint32_t column = p->now.column;
        if (level == 2) predicate(p, column);
        step(p);
        if (chain == 0) {
            chain = node_new(p, NODE_CHAIN, p->e->nodes[n].column);
            adopt(p, chain, &last, n);
        }
        uint32_t right = parse_level(p, level - 1);
        adopt(p, chain, &last, right);
        if (p->rc) return 0;
        p->e->nodes[right].op = op;
        p->e->nodes[right].op_column = column;
    }
    return chain ? chain : n;
}

static uint32_t parse_logic(struct parser *p) { return p->rc ? 0 : parse_level(p, 3); }

void tree_free(struct filter_tree *e)
{
    if (e == NULL) return;
    mem_free(e->nodes);
    mem_free(e->text);
    mem_free(e);
}

static struct filter_tree *tree_new(size_t text_bytes)
{
    struct filter_tree *e = mem_calloc(1, sizeof *e);
    if (e == NULL) return NULL;
    e->count = 1;
    e->cap = 8;
    e->text_cap = (uint32_t)text_bytes + 1;
    e->nodes = mem_calloc(e->cap, sizeof *e->nodes);
    e->text = mem_alloc(e->text_cap);
    if (e->nodes && e->text) return e;
    tree_free(e);
    return NULL;
}

int tree_parse(struct bytes text, const struct filter_limits *limits, struct filter_tree **out,
               struct filter_error *error)
{
    ASSERT(limits->nesting <= FILTER_NESTING_MAX);
    *error = (struct filter_error){0};
    if (text.n > limits->text_bytes || text.n > FILTER_TEXT_MAX) {
        fault_set(error, FILTER_FAULT_LIMIT, 1, "the expression is too long");
        return E_INVALID;
    }
    if (!bytes_is_utf8(text)) {
        fault_set(error, FILTER_FAULT_PARSE, 1, "the expression is not UTF-8");
        return E_INVALID;
    }
    struct parser p = {.lexer = {.text = text}, .limits = limits, .error = error};
    p.e = tree_new(text.n);
    if (p.e == NULL) return E_NOMEM;
    step(&p);
    step(&p);
    p.e->root = parse_logic(&p);
    if (p.rc == 0 && p.now.kind != TOKEN_END) wrong(&p, "the expression should end here");
    if (p.rc) {
        tree_free(p.e);
        return p.rc;
    }
    *out = p.e;
    return 0;
}
