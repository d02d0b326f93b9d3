/* What is refused in a filter though it can be evaluated: a filter must never silently mean
 * something else than it reads. */
#include "filters/expr.h"

struct lint {
    const struct filter_tree *e;
    struct filter_error *out;
    uint32_t count, max;
};

static struct filter_error *next(struct lint *l)
{
    return l->count < l->max ? &l->out[l->count++] : NULL;
}

bool tree_is_boolean(const struct filter_tree *e, const struct node *n)
{
    switch (n->kind) {
    case NODE_LITERAL: return n->value.type == FILTER_BOOL;
    case NODE_ATTR: return n->attr == ATTR_RETAIN;
    case NODE_EXISTS:
    case NODE_NOT:
    case NODE_LIKE:
    case NODE_IN: return true;
    case NODE_CHAIN: return e->nodes[e->nodes[n->first].next].op <= OP_GE;
    case NODE_CALL: return function_is_boolean(n->function);
    default: return false;
    }
}

static void lint_chain(struct lint *l, const struct node *n)
{
    const struct node *nodes = l->e->nodes;
    uint8_t op = nodes[nodes[n->first].next].op;
    if (!op_is_logic(op)) return;
    for (uint32_t i = nodes[n->first].next; i; i = nodes[i].next) {
        if (nodes[i].op == op) continue;
        struct filter_error *f = next(l);
        if (f)
            fault_set(f, FILTER_FAULT_AMBIGUOUS, nodes[i].op_column,
                      "AND, OR and XOR are one level, left to right: mix them with parentheses");
        return;
    }
}

/* 5 < x < 30 compares a truth with 30. */
static void lint_compare(struct lint *l, const struct node *n)
{
    const struct node *nodes = l->e->nodes;
    uint32_t second = nodes[n->first].next;
    if (!op_is_compare(nodes[second].op) || n->count < 3) return;
    struct filter_error *f = next(l);
    if (f)
        fault_set(f, FILTER_FAULT_AMBIGUOUS, nodes[nodes[second].next].op_column,
                  "what was compared is compared again: use AND, or parentheses");
}

static void lint_not(struct lint *l, const struct node *n)
{
    const struct node *nodes = l->e->nodes, *left = &nodes[n->first];
    if (left->kind != NODE_NOT || left->parens) return;
    if (n->kind == NODE_CHAIN && op_is_logic(nodes[left->next].op)) return;
    struct filter_error *f = next(l);
    if (f)
        fault_set(f, FILTER_FAULT_AMBIGUOUS, left->column,
                  "NOT binds to the operand behind it alone: use parentheses");
}

static void lint_call(struct lint *l, const struct node *n)
{
    struct filter_error *f = n->function < 0 ? next(l) : NULL;
    if (f)
        fault_set(f, FILTER_FAULT_FUNCTION, n->column,
                  function_known(n->value.string) ? "%.*s takes another number of arguments"
                                                  : "there is no function %.*s",
                  (int)min_u64(n->value.string.n, 40), (const char *)n->value.string.p);
}

static void lint_node(struct lint *l, uint32_t at)
{
    const struct node *n = &l->e->nodes[at];
    if (n->kind == NODE_CALL) lint_call(l, n);
    if (n->kind == NODE_CHAIN || n->kind == NODE_LIKE || n->kind == NODE_IN) lint_not(l, n);
    if (n->kind == NODE_CHAIN) lint_chain(l, n);
    if (n->kind == NODE_CHAIN) lint_compare(l, n);
    if (n->kind == NODE_EXISTS || n->kind == NODE_ATTR) return;
    for (uint32_t i = n->first; i; i = l->e->nodes[i].next) lint_node(l, i);
}

uint32_t tree_lint(const struct filter_tree *e, struct filter_error *out, uint32_t max)
{
    struct lint l = {e, out, 0, max};
    lint_node(&l, e->root);
    const struct node *root = &e->nodes[e->root];
    bool unknown = root->kind == NODE_CALL && root->function < 0; /* said already */
    struct filter_error *f = tree_is_boolean(e, root) || unknown ? NULL : next(&l);
    if (f)
        fault_set(f, FILTER_FAULT_NOT_BOOLEAN, root->column,
                  "the filter is not certainly Boolean: compare it with something");
    return l.count;
}
