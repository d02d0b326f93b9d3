/* Intervals in a treap, see index.h: ordered by where they begin, each node knows how far those
 * below it reach.  What contains a number is found in steps of the tree's height each. */
#include "base/mem.h"
#include "filters/index.h"

struct range_node {
    struct range_of range;
    uint64_t reach; /* the highest `high` in the subtree */
    struct range_node *left, *right;
    index_ref ref;
    uint64_t rank; /* chance: a parent's is higher */
};

static int range_cmp(struct range_of a, struct range_of b)
{
    if (a.low != b.low) return a.low < b.low ? -1 : 1;
    return (a.high > b.high) - (a.high < b.high);
}

static void reach_again(struct range_node *n)
{
    n->reach = n->range.high;
    if (n->left) n->reach = max_u64(n->reach, n->left->reach);
    if (n->right) n->reach = max_u64(n->reach, n->right->reach);
}

/* Cuts a tree in two: below `range` and above it; it is not in there. */
static void split(struct range_node *n, struct range_of range, struct range_node **below,
                  struct range_node **above)
{
    if (n == NULL) {
        *below = *above = NULL;
    } else if (range_cmp(n->range, range) < 0) {
        split(n->right, range, &n->right, above);
        reach_again(n);
        *below = n;
    } else {
        split(n->left, range, below, &n->left);
        reach_again(n);
        *above = n;
    }
}

/* All of a is below all of b. */
static struct range_node *join(struct range_node *a, struct range_node *b)
{
    if (a == NULL || b == NULL) return a ? a : b;
    if (a->rank > b->rank) {
        a->right = join(a->right, b);
        reach_again(a);
        return a;
    }
    b->left = join(a, b->left);
    reach_again(b);
    return b;
}

static index_ref *add(struct range_node **root, struct range_of range, uint64_t seed)
{
    struct range_node *new = mem_alloc(sizeof *new);
    if (new == NULL) return NULL;
    *new = (struct range_node){.range = range,
                               .reach = range.high,
                               .rank = hash_u64(range.low + hash_u64(range.high, seed), seed)};
    struct range_node **at = root;
    while (*at && (*at)->rank >= new->rank) {
        (*at)->reach = max_u64((*at)->reach, range.high);
        at = range_cmp(range, (*at)->range) < 0 ? &(*at)->left : &(*at)->right;
    }
    split(*at, range, &new->left, &new->right);
    reach_again(new);
    *at = new;
    return &new->ref;
}

index_ref *ranges_at(struct range_node **root, struct range_of range, uint64_t seed, bool make)
{
    for (struct range_node *n = *root; n;) {
        int cmp = range_cmp(range, n->range);
        if (cmp == 0) return &n->ref;
        n = cmp < 0 ? n->left : n->right;
    }
    return make ? add(root, range, seed) : NULL;
}

/* Returns the subtree without it. */
static struct range_node *without(struct range_node *n, struct range_of range)
{
    int cmp = range_cmp(range, n->range);
    if (cmp == 0) {
        struct range_node *rest = join(n->left, n->right);
        mem_free(n);
        return rest;
    }
    if (cmp < 0)
        n->left = without(n->left, range);
    else
        n->right = without(n->right, range);
    reach_again(n);
    return n;
}

void ranges_drop(struct range_node **root, struct range_of range) { *root = without(*root, range); }

void ranges_stab(const struct range_node *n, uint64_t number,
                 void (*found)(void *ctx, index_ref ref), void *ctx)
{
    while (n && n->reach >= number) {
        ranges_stab(n->left, number, found, ctx);
        if (n->range.low > number) return;
        if (n->range.high >= number) found(ctx, n->ref);
        n = n->right;
    }
}
