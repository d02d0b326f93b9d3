/* The index of a set: its hash table, branches, and what hangs at a key.  See index.h. */
#include "base/err.h"
#include "base/mem.h"
#include "filters/index_int.h"

/* ---- the table ---- */

int hits_grow(struct index *x)
{
    size_t size = x->hits ? (x->mask + 1) * 2 : 64;
    if (x->hits && (x->count + 1) * 8 <= (x->mask + 1) * 7) return 0;
    struct hit *hits = mem_calloc_table(size, sizeof *hits);
    if (hits == NULL) return E_NOMEM;
    for (size_t i = 0; x->hits && i <= x->mask; i++) {
        if (x->hits[i].hash == 0) continue;
        size_t k = x->hits[i].hash & (size - 1);
        while (hits[k].hash) k = (k + 1) & (size - 1);
        hits[k] = x->hits[i];
    }
    mem_free(x->hits);
    x->hits = hits;
    x->mask = size - 1;
    return 0;
}

/* It is not there yet, and there is room. */
static index_ref *hit_add(struct index *x, uint64_t hash)
{
    size_t i = hash & x->mask;
    while (x->hits[i].hash) i = (i + 1) & x->mask;
    x->hits[i] = (struct hit){hash, 0};
    x->count++;
    return &x->hits[i].ref;
}

/* Shifts back what was pushed on (Knuth, TAOCP 6.4, algorithm R). */
static void hit_del(struct index *x, uint64_t hash)
{
    size_t hole = hash & x->mask;
    while (x->hits[hole].hash != hash) hole = (hole + 1) & x->mask;
    for (size_t i = (hole + 1) & x->mask; x->hits[i].hash; i = (i + 1) & x->mask) {
        size_t home = x->hits[i].hash & x->mask;
        if (((i - home) & x->mask) < ((i - hole) & x->mask)) continue;
        x->hits[hole] = x->hits[i];
        hole = i;
    }
    x->hits[hole] = (struct hit){0};
    x->count--;
}

/* ---- branches ---- */

struct branch *branch_find(const struct index *x, const struct spot *n, const struct attr *a)
{
    if (n->mapped) {
        index_ref *ref = hit_find(x, branch_hash(branch_salt(x, n, a)));
        struct branch *b = ref ? (struct branch *)(uintptr_t)*ref : NULL;
        return b && b->attr == a ? b : NULL;
    }
    for (uint32_t i = 0; i < n->branch_count; i++)
        if (n->branches[i]->attr == a) return n->branches[i];
    return NULL;
}

static void branch_put(struct spot *n, struct branch *b, uint32_t place)
{
    n->branches[place] = b;
    b->place = place;
}

static int map_branches(struct index *x, struct spot *n)
{
    for (uint32_t i = 0; i < n->branch_count; i++) {
        if (hits_grow(x) < 0) {
            while (i--) hit_del(x, branch_hash(n->branches[i]->salt));
            return E_NOMEM;
        }
        *hit_add(x, branch_hash(n->branches[i]->salt)) = (uintptr_t)n->branches[i];
    }
    n->mapped = true;
    return 0;
}

static int branch_room(struct index *x, struct spot *n)
{
    if (n->branch_count == FEW_BRANCHES && !n->mapped && map_branches(x, n) < 0) return E_NOMEM;
    if (n->mapped && hits_grow(x) < 0) return E_NOMEM;
    if (n->branch_count < n->branch_cap) return 0;
    uint32_t cap = n->branch_cap ? n->branch_cap * 2 : 2;
    struct branch **grown = mem_realloc(n->branches, cap * sizeof(struct branch *));
    if (grown == NULL) return E_NOMEM;
    n->branches = grown;
    n->branch_cap = cap;
    return 0;
}

struct branch *branch_get(struct index *x, struct spot *n, struct attr *a)
{
    struct branch *b = branch_find(x, n, a);
    if (b || branch_room(x, n) < 0) return b;
    b = mem_calloc(1, sizeof *b);
    if (b == NULL) return NULL;
    b->attr = a;
    b->salt = branch_salt(x, n, a);
    if (n->mapped) *hit_add(x, branch_hash(b->salt)) = (uintptr_t)b;
    uint32_t place = n->branch_count++;
    if (!attr_is_name(a)) { /* in front of the names, the first of which goes to the end */
        if (place > n->other_count) branch_put(n, n->branches[n->other_count], place);
        place = n->other_count++;
    }
    branch_put(n, b, place);
    return b;
}

void branch_tidy(struct index *x, struct spot *n, struct branch *b)
{
    if (b->keys) return;
    uint32_t hole = b->place;
    if (hole < n->other_count) {
        branch_put(n, n->branches[--n->other_count], hole);
        hole = n->other_count;
    }
    if (--n->branch_count != hole) branch_put(n, n->branches[n->branch_count], hole);
    if (n->mapped) hit_del(x, branch_hash(b->salt));
    ASSERT(b->ranges == NULL && b->exists == 0);
    mem_free(b);
}

static void key_counted(struct branch *b, const struct key *k, uint32_t more)
{
    b->keys += more;
    if (k->kind == BY_EQUAL) b->equal[k->type] += more;
    if (k->kind == BY_HEAD) b->head_count += more;
    if (k->kind == BY_TAIL) b->tail_count += more;
    if (k->kind == BY_HEAD) b->head_lengths |= (uint16_t)(1u << k->type);
    if (k->kind == BY_TAIL) b->tail_lengths |= (uint16_t)(1u << k->type);
    if (b->head_count == 0) b->head_lengths = 0;
    if (b->tail_count == 0) b->tail_lengths = 0;
}

index_ref *ref_find(const struct index *x, struct branch *b, const struct key *k)
{
    if (k->kind == BY_EXISTS) return &b->exists;
    if (k->kind == BY_RANGE) return ranges_at(&b->ranges, k->range, x->store->seed, false);
    return hit_find(x, key_hash(b->salt, k->kind, k->type, k->hash));
}

index_ref *ref_get(struct index *x, struct branch *b, const struct key *k)
{
    index_ref *ref = ref_find(x, b, k);
    if (ref && *ref) return ref;
    if (in_table(k)) {
        if (hits_grow(x) < 0) return NULL;
        ref = hit_add(x, key_hash(b->salt, k->kind, k->type, k->hash));
    } else if (ref == NULL) {
        ref = ranges_at(&b->ranges, k->range, x->store->seed, true);
    }
    if (ref) key_counted(b, k, 1);
    return ref;
}

void ref_drop(struct index *x, struct spot *n, struct branch *b, const struct key *k)
{
    if (in_table(k)) {
        hit_del(x, key_hash(b->salt, k->kind, k->type, k->hash));
    } else if (k->kind == BY_RANGE) {
        ranges_drop(&b->ranges, k->range);
    } else {
        b->exists = 0;
    }
    key_counted(b, k, UINT32_MAX); /* one less */
    branch_tidy(x, n, b);
}
