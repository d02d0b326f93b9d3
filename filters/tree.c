/* What is done with trees between the parser and the compiler: constants are folded, subtrees are
 * copied and compared. */
#include "base/hash.h"
#include "base/mem.h"
#include "filters/expr.h"

/* ---- constants ---- */

/* A text has to fit where the expression's own texts are. */
static bool keep_value(struct filter_tree *e, struct filter_value *v)
{
    if (v->type != FILTER_STRING) return true;
    if (v->string.n > e->text_cap - e->text_bytes) return false;
    uint8_t *d = e->text + e->text_bytes;
    put_mem(d, v->string);
    e->text_bytes += (uint32_t)v->string.n;
    v->string = bytes_of(d, v->string.n);
    return true;
}

static bool fold_node(struct run *r, struct filter_tree *e, uint32_t at)
{
    struct node *n = &e->nodes[at];
    bool constant = n->kind != NODE_ATTR && n->kind != NODE_EXISTS;
    if (n->kind == NODE_LITERAL || !constant) return constant;
    for (uint32_t i = n->first; i; i = e->nodes[i].next) constant &= fold_node(r, e, i);
    if (!constant) return false;
    r->failure = FILTER_FAIL_NONE;
    struct operand o = run_node(r, at);
    if (o.failed || r->failure != FILTER_FAIL_NONE || !keep_value(e, &o.value)) return false;
    n->kind = NODE_LITERAL;
    n->value = o.value;
    n->first = n->count = 0;
    return true;
}

void tree_fold(struct filter_store *s, struct filter_tree *e)
{
    struct filter_event none = {0};
    struct run r = {.store = s, .event = &none, .tree = e};
    (void)fold_node(&r, e, e->root);
    scratch_free(s);
}

/* ---- copies ---- */

struct size {
    uint32_t nodes;
    size_t text;
};

static bool has_text(const struct node *n)
{
    return n->kind == NODE_LITERAL ? n->value.type == FILTER_STRING : n->value.string.n > 0;
}

static void measure(const struct filter_tree *e, uint32_t at, struct size *size)
{
    const struct node *n = &e->nodes[at];
    size->nodes++;
    if (has_text(n)) size->text += n->value.string.n;
    for (uint32_t i = n->first; i; i = e->nodes[i].next) measure(e, i, size);
}

static uint32_t copy_node(struct filter_tree *to, const struct filter_tree *e, uint32_t at)
{
    uint32_t here = to->count++, last = 0;
    struct node *n = &to->nodes[here];
    *n = e->nodes[at];
    if (has_text(n)) {
        uint8_t *d = to->text + to->text_bytes;
        put_mem(d, n->value.string);
        to->text_bytes += (uint32_t)n->value.string.n;
        n->value.string.p = d;
    }
    n->first = n->next = 0;
    n->shared = NULL;
    for (uint32_t i = e->nodes[at].first; i; i = e->nodes[i].next) {
        uint32_t child = copy_node(to, e, i);
        if (last)
            to->nodes[last].next = child;
        else
            n->first = child;
        last = child;
    }
    return here;
}

struct filter_tree *tree_copy(const struct filter_tree *e, uint32_t at)
{
    struct size size = {1, 1};
    measure(e, at, &size);
    struct filter_tree *to = mem_calloc(1, sizeof *to);
    if (to == NULL) return NULL;
    to->cap = size.nodes;
    to->count = 1;
    to->text_cap = (uint32_t)size.text;
    to->nodes = mem_calloc(to->cap, sizeof *to->nodes);
    to->text = mem_alloc(to->text_cap);
    if (to->nodes == NULL || to->text == NULL) {
        tree_free(to);
        return NULL;
    }
    to->root = copy_node(to, e, at);
    return to;
}

size_t tree_bytes(const struct filter_tree *e)
{
    return sizeof *e + e->cap * sizeof *e->nodes + e->text_cap;
}

/* ---- the same or not ---- */

static bool value_same(const struct filter_value *a, const struct filter_value *b)
{
    return a->type == b->type && value_equal(a, b);
}

static bool node_same(const struct node *a, const struct node *b)
{
    if (a->kind != b->kind || a->op != b->op || a->count != b->count) return false;
    if (a->negated != b->negated || a->element != b->element || a->index != b->index) return false;
    switch (a->kind) {
    case NODE_LITERAL: return value_same(&a->value, &b->value);
    case NODE_CALL: return a->function == b->function;
    case NODE_ATTR:
    case NODE_EXISTS: return a->attr == b->attr && bytes_eq(a->value.string, b->value.string);
    default: return bytes_eq(a->value.string, b->value.string);
    }
}

static bool below_same(const struct filter_tree *a, uint32_t at, const struct filter_tree *b,
                       uint32_t bt)
{
    uint32_t i = a->nodes[at].first, k = b->nodes[bt].first;
    for (; i && k; i = a->nodes[i].next, k = b->nodes[k].next)
        if (!node_same(&a->nodes[i], &b->nodes[k]) || !below_same(a, i, b, k)) return false;
    return i == 0 && k == 0;
}

/* The operator before the subtree is not part of it. */
bool tree_same(const struct filter_tree *a, uint32_t at, const struct filter_tree *b, uint32_t bt)
{
    struct node x = a->nodes[at], y = b->nodes[bt];
    x.op = y.op = OP_NONE;
    return node_same(&x, &y) && below_same(a, at, b, bt);
}

static uint64_t hash_node(const struct node *n, bool top, uint64_t h)
{
    h = hash_u64((uint64_t)n->kind << 32 | (uint64_t)n->attr << 24 | (uint64_t)n->negated << 16 |
                     (top ? 0 : n->op),
                 h);
    h = hash_u64((uint64_t)(uint32_t)n->index << 32 | (uint16_t)n->function, h);
    if (n->kind == NODE_CALL) return h;
    if (n->kind != NODE_LITERAL || n->value.type == FILTER_STRING)
        return n->value.string.n ? hash_bytes(n->value.string, h) : h;
    double d = n->value.type == FILTER_BOOL ? n->value.boolean : value_as_double(&n->value);
    uint64_t bits;
    memcpy(&bits, &d, sizeof bits);
    return hash_u64(bits + n->value.type, h);
}

static uint64_t hash_below(const struct filter_tree *e, uint32_t at, uint64_t h)
{
    for (uint32_t i = e->nodes[at].first; i; i = e->nodes[i].next)
        h = hash_below(e, i, hash_node(&e->nodes[i], false, h));
    return h;
}

uint64_t tree_hash(const struct filter_tree *e, uint32_t at, uint64_t seed)
{
    return hash_below(e, at, hash_node(&e->nodes[at], true, seed));
}
