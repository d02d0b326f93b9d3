/* From tree to expr: NOT goes into the leaves (by De Morgan, which holds for three values and short
 * circuits too), intervals are fused, questions ordered, and keys chosen.
 *
 *   T(a AND b) = T(a) & T(b)     T(a OR b) = T(a) | F(a) & T(b)     an error is never T
 *
 * So of a filter that is true each part of an AND is, and one part of an OR: that is what the keys
 * are made of.  Only a whole AND at the top may be asked in another order than it was written. */
#include "base/err.h"
#include "base/mem.h"
#include "filters/form.h"

enum form_kind { FORM_LEAF, FORM_AND, FORM_OR, FORM_TRUE, FORM_FALSE, FORM_ERROR };

enum { NO_STEP = 0xffff };

struct form {
    uint8_t kind;
    bool negated;  /* FORM_LEAF: it is asked whether pred is false */
    bool costly;   /* FORM_LEAF: better asked after others */
    uint16_t step; /* FORM_LEAF: which one it became, or NO_STEP */
    uint32_t first, last, next;
    struct pred *pred; /* FORM_LEAF: a reference */
};

struct maker {
    struct filter_store *s;
    const struct filter_tree *e;
    uint32_t count; /* forms; [0] is not used */
    uint32_t steps; /* of those to be emitted, so many are not yet */
    struct filter_expr *out;
    int rc;
};

static struct form *at(const struct maker *m, uint32_t i) { return &m->s->forms[i]; }

static uint32_t form_new(struct maker *m, enum form_kind kind)
{
    struct filter_store *s = m->s;
    if (m->count == s->form_cap) {
        uint32_t cap = s->form_cap ? s->form_cap * 2 : 64;
        struct form *grown = mem_realloc(s->forms, cap * sizeof *grown);
        if (grown == NULL) {
            m->rc = E_NOMEM;
            return 0;
        }
        s->forms = grown;
        s->form_cap = cap;
    }
    s->forms[m->count] = (struct form){.kind = (uint8_t)kind, .step = NO_STEP};
    return m->count++;
}

/* ---- leaves ---- */

static uint32_t leaf(struct maker *m, const struct wanted *w, bool negated)
{
    uint32_t i = form_new(m, FORM_LEAF);
    struct pred *p = NULL;
    if (i)
        p = pred_get(m->s, w);
    else
        attr_unref(m->s, w->attr);
    if (p == NULL) {
        if (i) at(m, i)->kind = FORM_ERROR; /* it has nothing to give back */
        m->rc = E_NOMEM;
        return i;
    }
    struct form *f = at(m, i);
    f->pred = p;
    f->negated = negated;
    f->costly = p->kind == PRED_EXPR || (p->kind == PRED_LIKE && !p->plain);
    return i;
}

static uint32_t opaque(struct maker *m, uint32_t n, bool negated)
{
    return leaf(m, &(struct wanted){.kind = PRED_EXPR, .tree = m->e, .at = n}, negated);
}

/* A leaf about one attribute. */
static uint32_t about(struct maker *m, uint32_t attr, struct wanted w, bool negated)
{
    w.attr = attr_get(m->s, m->e, attr);
    if (w.attr == NULL) {
        m->rc = E_NOMEM;
        return 0;
    }
    return leaf(m, &w, negated);
}

static uint32_t constant(struct maker *m, bool value, bool negated)
{
    return form_new(m, value != negated ? FORM_TRUE : FORM_FALSE);
}

static unsigned mirrored(unsigned op)
{
    return op == OP_LT ? OP_GT : op == OP_LE ? OP_GE : op == OP_GT ? OP_LT : OP_LE;
}

static unsigned opposite(unsigned op)
{
    return op == OP_LT ? OP_GE : op == OP_LE ? OP_GT : op == OP_GT ? OP_LE : OP_LT;
}

static uint32_t order(struct maker *m, uint32_t attr, unsigned op, struct filter_value v,
                      bool negated)
{
    if (!value_to_number(&v)) return form_new(m, FORM_ERROR);
    uint64_t key = number_key(value_as_double(&v));
    if (negated) op = opposite(op); /* that it is a number is asked in both */
    struct wanted w = {.kind = PRED_RANGE, .range = {0, UINT64_MAX}};
    switch (op) {
    case OP_LT: w.range.high = key - 1; break;
    case OP_LE: w.range.high = key; break;
    case OP_GT: w.range.low = key + 1; break;
    default: w.range.low = key;
    }
    return about(m, attr, w, false);
}

static uint32_t comparison(struct maker *m, uint32_t n, bool negated)
{
    const struct node *nodes = m->e->nodes, *node = &nodes[n];
    uint32_t left = node->first, right = nodes[left].next;
    unsigned op = nodes[right].op;
    bool attr_left = nodes[left].kind == NODE_ATTR && nodes[right].kind == NODE_LITERAL;
    bool attr_right = nodes[right].kind == NODE_ATTR && nodes[left].kind == NODE_LITERAL;
    bool equality = op == OP_EQ || op == OP_NE;
    if (node->count != 2 || (!attr_left && !(attr_right && !equality)))
        return opaque(m, n, negated);
    if (equality)
        return about(m, left, (struct wanted){.kind = PRED_EQUAL, .value = nodes[right].value},
                     negated != (op == OP_NE));
    if (attr_right) return order(m, right, mirrored(op), nodes[left].value, negated);
    return order(m, left, op, nodes[right].value, negated);
}

static uint32_t like(struct maker *m, uint32_t n, bool negated)
{
    const struct node *nodes = m->e->nodes, *node = &nodes[n];
    struct bytes p = node->value.string;
    if (nodes[node->first].kind != NODE_ATTR) return opaque(m, n, negated);
    struct wanted w = {.kind = PRED_LIKE, .value = node->value};
    bool literal = true;
    for (size_t i = 0; i < p.n; i++) literal &= p.p[i] != '%' && p.p[i] != '_' && p.p[i] != '\\';
    if (literal) w.kind = PRED_EQUAL; /* both cast to String */
    return about(m, node->first, w, negated != node->negated);
}

static uint32_t in(struct maker *m, uint32_t n, bool negated)
{
    const struct node *nodes = m->e->nodes, *node = &nodes[n];
    bool simple = nodes[node->first].kind == NODE_ATTR;
    for (uint32_t i = nodes[node->first].next; i; i = nodes[i].next)
        simple &= nodes[i].kind == NODE_LITERAL;
    if (!simple) return opaque(m, n, negated);
    return about(m, node->first, (struct wanted){.kind = PRED_IN, .tree = m->e, .at = n},
                 negated != node->negated);
}

/* ---- forms ---- */

static uint32_t form_of(struct maker *m, uint32_t n, bool negated);

static bool is_range(const struct form *f)
{
    return f->kind == FORM_LEAF && !f->negated && f->pred->kind == PRED_RANGE;
}

/* x >= a AND x < b: one question, with the same errors.  NULL: no memory, and the two stay. */
static void fuse(struct maker *m, struct form *f, struct form *more)
{
    struct range_of a = pred_range(f->pred), b = pred_range(more->pred);
    struct wanted w = {.kind = PRED_RANGE, .attr = f->pred->attr};
    w.range.low = max_u64(a.low, b.low);
    w.range.high = min_u64(a.high, b.high);
    w.attr->refs++;
    struct pred *p = pred_get(m->s, &w);
    if (p == NULL) {
        m->rc = E_NOMEM;
        return;
    }
    pred_unref(m->s, f->pred);
    pred_unref(m->s, more->pred);
    f->pred = p;
    more->kind = FORM_TRUE;
}

static bool is_constant(const struct form *f) { return f->kind > FORM_OR; }

/* Constants that are not left out end the row they stand in. */
static void adopt(struct maker *m, uint32_t parent, uint32_t child)
{
    struct form *p = at(m, parent), *c = at(m, child);
    struct form *last = p->last ? at(m, p->last) : NULL;
    if (last && is_constant(last)) return;
    if (c->kind == p->kind) { /* (a AND b) AND c: its children become ours */
        if (c->first == 0) return;
        if (last)
            last->next = c->first;
        else
            p->first = c->first;
        p->last = c->last;
        c->first = 0;
        return;
    }
    if (p->kind == FORM_AND && last && is_range(last) && is_range(c) &&
        last->pred->attr == c->pred->attr)
        fuse(m, last, c);
    if (c->kind == (p->kind == FORM_AND ? FORM_TRUE : FORM_FALSE)) return;
    if (last)
        last->next = child;
    else
        p->first = child;
    p->last = child;
}

static uint32_t logic(struct maker *m, uint32_t n, bool negated)
{
    const struct node *nodes = m->e->nodes, *node = &nodes[n];
    unsigned op = nodes[nodes[node->first].next].op;
    for (uint32_t i = nodes[node->first].next; i; i = nodes[i].next)
        if (nodes[i].op != op || op == OP_XOR) return opaque(m, n, negated);
    uint32_t f = form_new(m, (op == OP_AND) != negated ? FORM_AND : FORM_OR);
    for (uint32_t i = node->first; i && m->rc == 0; i = nodes[i].next) {
        uint32_t child = form_of(m, i, negated);
        if (m->rc == 0) adopt(m, f, child);
    }
    return f;
}

/* The truth of the subtree, or that it is false. */
static uint32_t form_of(struct maker *m, uint32_t n, bool negated)
{
    const struct filter_tree *e = m->e;
    const struct node *node = &e->nodes[n];
    struct filter_value v = node->value;
    if (m->rc) return 0;
    switch (node->kind) {
    case NODE_LITERAL:
        if (!value_cast(&v, FILTER_BOOL, NULL)) return form_new(m, FORM_ERROR);
        return constant(m, v.boolean, negated);
    case NODE_ATTR: return about(m, n, (struct wanted){.kind = PRED_TRUTH}, negated);
    case NODE_EXISTS: return about(m, n, (struct wanted){.kind = PRED_EXISTS}, negated);
    case NODE_NOT:
        /* NOT of a number is an error, where AND takes it for a Boolean. */
        if (!tree_is_boolean(e, &e->nodes[node->first])) return opaque(m, n, negated);
        return form_of(m, node->first, !negated);
    case NODE_LIKE: return like(m, n, negated);
    case NODE_IN: return in(m, n, negated);
    case NODE_CHAIN:
        if (op_is_logic(e->nodes[e->nodes[node->first].next].op)) return logic(m, n, negated);
        if (op_is_compare(e->nodes[e->nodes[node->first].next].op))
            return comparison(m, n, negated);
        return opaque(m, n, negated);
    default: return opaque(m, n, negated);
    }
}

/* ---- the AND at the top ---- */

enum { LOOK_BACK = 32 };

/* Whether f adds nothing to those in the row: it is among them, or is fused with one. */
static bool absorbed(struct maker *m, uint32_t row, struct form *f)
{
    if (f->kind != FORM_LEAF) return false;
    for (uint32_t k = row, n = 0; k && n < LOOK_BACK; k = at(m, k)->next, n++) {
        struct form *g = at(m, k);
        if (g->pred == f->pred && g->negated == f->negated) {
            pred_unref(m->s, f->pred);
            f->kind = FORM_TRUE;
            return true;
        }
        if (is_range(g) && is_range(f) && g->pred->attr == f->pred->attr) {
            fuse(m, g, f);
            return true;
        }
    }
    return false;
}

/* What costs is asked last; an interval is one question, wherever its ends stand; and nothing is
 * asked twice. */
static void settle_top(struct maker *m, uint32_t top)
{
    struct form *t = at(m, top);
    uint32_t rows[2] = {0, 0}, *ends[2] = {&rows[0], &rows[1]};
    for (uint32_t i = t->first, next; i && m->rc == 0; i = next) {
        struct form *f = at(m, i);
        bool late = f->kind != FORM_LEAF || f->costly;
        next = f->next;
        f->next = 0;
        if (!late && absorbed(m, rows[0], f)) continue;
        *ends[late] = i;
        ends[late] = &f->next;
    }
    *ends[0] = rows[1];
    t->first = rows[0];
}

/* ---- steps: from the last to the first, so that it is known where to go on ---- */

static uint16_t emit(struct maker *m, uint32_t i, uint16_t yes, uint16_t no);

static uint32_t steps_of(const struct maker *m, uint32_t i)
{
    const struct form *f = at(m, i);
    uint32_t count = f->kind == FORM_LEAF;
    for (uint32_t k = f->first; k; k = at(m, k)->next) count += steps_of(m, k);
    return count;
}

/* Of an AND (else OR) from its part i on. */
static uint16_t emit_row(struct maker *m, uint32_t first, uint16_t yes, uint16_t no, bool is_and)
{
    uint32_t row[256], n = 0, from = first;
    for (; from && n < ARRAY_LEN(row); from = at(m, from)->next) row[n++] = from;
    uint16_t next = is_and ? yes : no;
    if (from) next = emit_row(m, from, yes, no, is_and);
    while (n--) next = is_and ? emit(m, row[n], next, no) : emit(m, row[n], yes, next);
    return next;
}

static uint16_t emit(struct maker *m, uint32_t i, uint16_t yes, uint16_t no)
{
    struct form *f = at(m, i);
    switch (f->kind) {
    case FORM_TRUE: return yes;
    case FORM_FALSE: return no;
    case FORM_ERROR: return GOTO_ERROR;
    case FORM_AND: return emit_row(m, f->first, yes, no, true);
    case FORM_OR: return emit_row(m, f->first, yes, no, false);
    default: break;
    }
    struct filter_expr *e = m->out;
    uint16_t step = (uint16_t)--m->steps;
    uint16_t *jumps = (uint16_t *)(uintptr_t)expr_jumps(e);
    e->steps[step] = (uint64_t)(uintptr_t)f->pred | (f->negated ? STEP_NEGATED : 0);
    f->step = step;
    if (!e->all) {
        jumps[2 * step] = f->negated ? no : yes;
        jumps[2 * step + 1] = f->negated ? yes : no;
    }
    return step;
}

/* ---- keys ---- */

struct cost {
    uint64_t cost;
    uint32_t steps;
};

static struct cost cost_of(const struct maker *m, uint32_t i)
{
    const struct form *f = at(m, i);
    struct cost sum = {0, 0}, best = {UINT64_MAX, 0}, c;
    switch (f->kind) {
    case FORM_LEAF: return (struct cost){key_cost(m->s, f->pred, f->negated), 1};
    case FORM_TRUE: return best;
    case FORM_FALSE:
    case FORM_ERROR: return sum;
    default: break;
    }
    for (uint32_t k = f->first; k; k = at(m, k)->next) {
        c = cost_of(m, k);
        if (c.cost < best.cost) best = c;
        bool none = c.cost == UINT64_MAX || sum.cost == UINT64_MAX;
        sum.cost = none ? UINT64_MAX : sum.cost + c.cost;
        sum.steps += c.steps;
    }
    return f->kind == FORM_AND ? best : sum;
}

/* Writes the steps whose keys those are. */
static uint16_t *collect(const struct maker *m, uint32_t i, uint16_t *out)
{
    const struct form *f = at(m, i);
    if (f->kind == FORM_LEAF) *out++ = f->step;
    if (f->kind != FORM_AND && f->kind != FORM_OR) return out;
    uint32_t best = 0;
    struct cost least = {UINT64_MAX, 0};
    for (uint32_t k = f->first; k; k = at(m, k)->next) {
        struct cost c = cost_of(m, k);
        if (f->kind == FORM_OR) out = collect(m, k, out);
        if (c.cost < least.cost) least = c, best = k;
    }
    return f->kind == FORM_AND && best ? collect(m, best, out) : out;
}

enum { GOOD_COST = 400 }; /* see key_cost() */

/* Parts of the top that have one good key each, the best first; what that one costs. */
static uint32_t find_alts(const struct maker *m, uint32_t top)
{
    struct filter_expr *e = m->out;
    const struct form *t = at(m, top);
    uint32_t costs[ALTS_MAX] = {UINT32_MAX};
    for (uint32_t i = t->kind == FORM_AND ? t->first : top; i; i = at(m, i)->next) {
        const struct form *f = at(m, i);
        if (f->kind != FORM_LEAF || f->step > UINT8_MAX) continue;
        if (key_count(m->s, f->pred, f->negated) != 1) continue;
        uint32_t cost = key_cost(m->s, f->pred, f->negated), k = e->alt_count;
        if (cost >= GOOD_COST) continue;
        if (k == ALTS_MAX && costs[--k] <= cost) continue;
        for (; k && costs[k - 1] > cost; k--) {
            costs[k] = costs[k - 1];
            e->alts[k] = e->alts[k - 1];
        }
        costs[k] = cost;
        e->alts[k] = (uint8_t)f->step;
        if (e->alt_count < ALTS_MAX) e->alt_count++;
    }
    return costs[0];
}

/* ---- exprs ---- */

static bool is_row(const struct maker *m, uint32_t top)
{
    const struct form *t = at(m, top);
    if (t->kind == FORM_LEAF) return true;
    bool all = t->kind == FORM_AND;
    for (uint32_t i = t->first; i; i = at(m, i)->next) all &= at(m, i)->kind == FORM_LEAF;
    return all;
}

/* Steps that no key is known for have none: such a filter is asked of every event. */
static void choose_keys(struct maker *m, uint32_t top, const struct cost *cost, uint32_t keys)
{
    struct filter_expr *e = m->out;
    uint32_t best = find_alts(m, top);
    if (e->alt_count && best <= cost->cost) return;
    e->alt_count = 0;
    memset(e->alts, 0, sizeof e->alts);
    e->key_steps = (uint16_t)keys;
    if (keys == 0) return;
    (void)collect(m, top, (uint16_t *)(uintptr_t)expr_keys(e));
}

static struct filter_expr *draft_get(struct filter_store *s, size_t size)
{
    if (size > s->draft_size) {
        struct filter_expr *grown = mem_realloc(s->draft, size);
        if (grown == NULL) return NULL;
        s->draft = grown;
        s->draft_size = size;
    }
    return memset(s->draft, 0, size);
}

/* In the store's room, as there may be one like it; the references to predicates go over to it. */
static struct filter_expr *assemble(struct maker *m, uint32_t top)
{
    struct cost cost = cost_of(m, top);
    uint32_t keys = cost.cost < UINT64_MAX ? cost.steps : 0, steps = steps_of(m, top);
    size_t most = sizeof(struct filter_expr) + steps * sizeof(uint64_t) +
                  (2 * steps + keys) * sizeof(uint16_t);
    struct filter_expr *e = steps < STEPS_MAX ? draft_get(m->s, most) : NULL;
    if (e == NULL) return NULL;
    e->refs = 1;
    e->count = (uint16_t)steps;
    e->all = is_row(m, top);
    m->out = e;
    m->steps = steps;
    e->start = emit(m, top, GOTO_MATCH, GOTO_MISS);
    ASSERT(m->steps == 0);
    choose_keys(m, top, &cost, keys);
    return e;
}

/* Those that became no step, or all. */
static void forms_drop(struct maker *m, bool all)
{
    for (uint32_t i = 1; i < m->count; i++) {
        const struct form *f = at(m, i);
        if (f->kind == FORM_LEAF && (all || f->step == NO_STEP)) pred_unref(m->s, f->pred);
    }
}

int expr_compile(struct filter_store *s, struct filter_tree *tree, struct filter_expr **out)
{
    struct maker m = {.s = s, .e = tree};
    (void)form_new(&m, FORM_TRUE);
    if (m.rc < 0) return m.rc;
    tree_fold(s, tree);
    uint32_t top = form_of(&m, tree->root, false);
    if (m.rc == 0 && at(&m, top)->kind == FORM_AND) settle_top(&m, top);
    struct filter_expr *e = m.rc == 0 ? assemble(&m, top) : NULL;
    forms_drop(&m, e == NULL);
    if (e == NULL) return E_NOMEM;
    *out = expr_keep(s, e);
    return *out ? 0 : E_NOMEM;
}
