/* The index of a set: what changes it.  See index.h. */
#include "base/err.h"
#include "base/mem.h"
#include "filters/index_int.h"

/* ---- spots ---- */

static struct spot *spot_new(struct index *x, uint8_t depth)
{
    struct spot *n = mem_calloc(1, sizeof *n);
    if (n == NULL) return NULL;
    n->depth = depth;
    n->salt = hash_u64(++x->salts, x->store->seed);
    return n;
}

static void spot_free(struct spot *n)
{
    mem_free(n->list);
    mem_free(n->branches);
    mem_free(n);
}

static uint32_t *seat_at(index_ref seat)
{
    struct set_entry *e = seat_entry(seat);
    return entry_is_many(e) ? &e->u.many->at[seat >> 48] : &e->u.one.at;
}

static int list_add(struct spot *n, index_ref seat)
{
    if (n->count == n->cap) {
        uint32_t cap = n->cap ? n->cap * 2 : 2;
        index_ref *grown = mem_realloc(n->list, cap * sizeof *grown);
        if (grown == NULL) return E_NOMEM;
        n->list = grown;
        n->cap = cap;
    }
    *seat_at(seat) = n->count;
    n->list[n->count++] = seat;
    n->total++;
    return 0;
}

static void list_remove(struct spot *n, uint32_t at)
{
    index_ref last = n->list[--n->count];
    n->total--;
    if (at == n->count) return;
    n->list[at] = last;
    *seat_at(last) = at;
}

/* ---- bunches ---- */

static size_t bunch_size(uint32_t cap) { return sizeof(struct bunch) + cap * sizeof(index_ref); }

static void bunch_free(struct index *x, struct bunch *b)
{
    pool_free(&x->store->pool, b, bunch_size(b->cap));
}

/* For one more than the old one holds; NULL: no memory, and the old one is as it was. */
static struct bunch *bunch_larger(struct index *x, struct bunch *old)
{
    uint32_t cap = old ? old->cap + 2 : 2; /* there are many small ones */
    struct bunch *b = pool_alloc(&x->store->pool, bunch_size(cap));
    if (b == NULL) return NULL;
    b->count = 0;
    if (old) {
        memcpy(b, old, bunch_size(old->cap));
        bunch_free(x, old);
    }
    b->cap = cap;
    return b;
}

static int bunch_add(struct index *x, index_ref *ref, index_ref seat)
{
    bool alone = ref_kind(*ref) == REF_SEAT;
    struct bunch *b = alone ? NULL : ref_bunch(*ref);
    if (b == NULL || b->count == b->cap) {
        b = bunch_larger(x, b);
        if (b == NULL) return E_NOMEM;
        if (alone) {
            b->count = 1;
            b->list[0] = *ref;
        }
        *ref = (uintptr_t)b | REF_BUNCH;
    }
    *seat_at(seat) = b->count;
    b->list[b->count++] = seat;
    return 0;
}

/* The last but one goes: the bunch becomes the seat that is left. */
static void bunch_remove(struct index *x, index_ref *ref, uint32_t at)
{
    struct bunch *b = ref_bunch(*ref);
    b->list[at] = b->list[--b->count];
    *seat_at(b->list[at]) = at;
    if (b->count > 1) return;
    *seat_at(b->list[0]) = 0;
    *ref = b->list[0];
    bunch_free(x, b);
}

static uint32_t ref_total(index_ref ref)
{
    switch (ref_kind(ref)) {
    case REF_SPOT: return ref_spot(ref)->total;
    case REF_BUNCH: return ref_bunch(ref)->count;
    default: return ref != 0;
    }
}

/* ---- filters on a path ---- */

static struct key step_key(const struct index *x, const struct set_entry *e, uint32_t step,
                           uint32_t no)
{
    uint64_t s = e->expr->steps[step];
    return key_of(x->store, step_pred(s), step_negated(s), no);
}

static uint32_t hanging(const struct index *x, const struct spot *n, const struct key *k)
{
    struct branch *b = branch_find(x, n, k->attr);
    const index_ref *ref = b ? ref_find(x, b, k) : NULL;
    return ref ? ref_total(*ref) : 0;
}

static bool is_used(const struct set_entry *e, uint8_t depth, uint8_t step)
{
    for (uint8_t i = 0; i < depth; i++)
        if (e->u.one.path[i] == step) return true;
    return false;
}

/* The step by whose key e goes on below n: of equalities and beginnings the one with the fewest
 * others, else the best of the others; -1: none is left. */
static int next_step(const struct index *x, const struct spot *n, const struct set_entry *e)
{
    const struct filter_expr *expr = e->expr;
    int best = -1;
    uint32_t fewest = UINT32_MAX;
    if (n->depth == PATH_MAX_KEYS) return -1;
    for (uint8_t i = 0; i < expr->alt_count && fewest; i++) {
        if (is_used(e, n->depth, expr->alts[i])) continue;
        struct key k = step_key(x, e, expr->alts[i], 0);
        if (!in_table(&k) || (k.kind == BY_EQUAL && k.type == FILTER_BOOL)) {
            if (best < 0) return expr->alts[i]; /* they come last: nothing better follows */
            break;
        }
        uint32_t others = hanging(x, n, &k);
        if (others >= fewest) continue;
        fewest = others;
        best = expr->alts[i];
    }
    return best;
}

static int ref_add(struct index *x, index_ref *ref, index_ref seat, uint8_t depth);

static int add_below(struct index *x, struct spot *n, struct set_entry *e, uint8_t step)
{
    struct key k = step_key(x, e, step, 0);
    struct branch *b = branch_get(x, n, k.attr);
    index_ref *ref = b ? ref_get(x, b, &k) : NULL;
    int rc = E_NOMEM;
    e->u.one.path[n->depth] = step;
    if (ref)
        rc = ref_add(x, ref, seat_of(e, 0), n->depth + 1);
    else if (b)
        branch_tidy(x, n, b);
    if (rc == 0) n->total++;
    return rc;
}

/* Where it goes below the spot; -1: nowhere. */
static int step_below(const struct index *x, const struct spot *n, index_ref seat)
{
    const struct set_entry *e = seat_entry(seat);
    return entry_is_many(e) ? -1 : next_step(x, n, e);
}

static int spot_add(struct index *x, struct spot *n, index_ref seat)
{
    struct set_entry *e = seat_entry(seat);
    int step = step_below(x, n, seat);
    if (step >= 0) return add_below(x, n, e, (uint8_t)step);
    int rc = list_add(n, seat);
    if (rc == 0 && !entry_is_many(e)) e->u.one.path_len = n->depth;
    return rc;
}

/* What has another key goes below the spot; whatever there is no memory for stays. */
static void spread(struct index *x, struct spot *n)
{
    for (uint32_t i = n->count; i-- > 0;) {
        struct set_entry *e = seat_entry(n->list[i]);
        int step = step_below(x, n, n->list[i]);
        if (step < 0) continue;
        uint32_t at = e->u.one.at;
        if (add_below(x, n, e, (uint8_t)step) < 0) {
            e->u.one.at = at;
            e->u.one.path_len = n->depth;
            return;
        }
        list_remove(n, at);
    }
}

/* A bunch becomes a spot; NULL: without memory it stays one, and grows. */
static struct spot *bunch_split(struct index *x, index_ref *ref, uint8_t depth)
{
    struct bunch *b = ref_bunch(*ref);
    struct spot *n = spot_new(x, depth);
    index_ref *list = n ? mem_alloc(b->count * sizeof *list) : NULL;
    if (list == NULL) {
        mem_free(n);
        return NULL;
    }
    memcpy(list, b->list, b->count * sizeof *list);
    n->list = list;
    n->count = n->cap = n->total = b->count;
    bunch_free(x, b);
    *ref = (uintptr_t)n | REF_SPOT; /* what follows may move the slot */
    spread(x, n);
    return n;
}

/* depth: keys on the way there. */
static int ref_add(struct index *x, index_ref *ref, index_ref seat, uint8_t depth)
{
    struct set_entry *e = seat_entry(seat);
    if (ref_kind(*ref) == REF_BUNCH && ref_bunch(*ref)->count >= SPLIT_AT) {
        struct spot *n = bunch_split(x, ref, depth);
        if (n) return spot_add(x, n, seat);
    }
    if (ref_kind(*ref) == REF_SPOT) return spot_add(x, ref_spot(*ref), seat);
    if (*ref) {
        int rc = bunch_add(x, ref, seat);
        if (rc < 0) return rc;
    } else {
        *ref = seat;
        *seat_at(seat) = 0;
    }
    if (!entry_is_many(e)) e->u.one.path_len = depth;
    return 0;
}

static void spot_remove(struct index *x, struct spot *n, struct set_entry *e);

/* Takes a seat off; false: nothing is left. */
static bool ref_remove(struct index *x, index_ref *ref, index_ref seat)
{
    struct set_entry *e = seat_entry(seat);
    if (ref_kind(*ref) == REF_SEAT) return false;
    if (ref_kind(*ref) == REF_BUNCH) {
        bunch_remove(x, ref, *seat_at(seat));
        return true;
    }
    struct spot *n = ref_spot(*ref);
    if (entry_is_many(e))
        list_remove(n, *seat_at(seat));
    else
        spot_remove(x, n, e);
    if (n->total) return true;
    spot_free(n);
    return false;
}

static void below_remove(struct index *x, struct spot *n, const struct key *k, index_ref seat)
{
    struct branch *b = branch_find(x, n, k->attr);
    n->total--;
    if (!ref_remove(x, ref_find(x, b, k), seat)) ref_drop(x, n, b, k);
}

static void spot_remove(struct index *x, struct spot *n, struct set_entry *e)
{
    if (e->u.one.path_len == n->depth) {
        list_remove(n, e->u.one.at);
        return;
    }
    struct key k = step_key(x, e, e->u.one.path[n->depth], 0);
    below_remove(x, n, &k, seat_of(e, 0));
}

/* ---- filters at several keys ---- */

/* The key of one of its seats: by the steps, and of each its keys. */
static struct key seat_key(const struct index *x, const struct set_entry *e, uint32_t no)
{
    const uint16_t *keys = expr_keys(e->expr);
    for (uint32_t i = 0; i < e->expr->key_steps; i++) {
        uint64_t step = e->expr->steps[keys[i]];
        uint32_t count = key_count(x->store, step_pred(step), step_negated(step));
        if (no < count) return step_key(x, e, keys[i], no);
        no -= count;
    }
    return (struct key){.kind = BY_ALWAYS};
}

/* 0: it cannot be looked up by keys, or has too many, and is asked always. */
static uint32_t seats_of(const struct index *x, const struct filter_expr *expr)
{
    const uint16_t *keys = expr_keys(expr);
    uint32_t count = 0;
    for (uint32_t i = 0; i < expr->key_steps; i++) {
        uint64_t step = expr->steps[keys[i]];
        if (key_of(x->store, step_pred(step), step_negated(step), 0).kind == BY_ALWAYS) return 0;
        count += key_count(x->store, step_pred(step), step_negated(step));
        if (count > SEATS_MAX) return 0;
    }
    return count;
}

static int seat_add(struct index *x, struct set_entry *e, uint32_t no)
{
    struct spot *n = x->root;
    if (e->u.many->always) return list_add(n, seat_of(e, no));
    struct key k = seat_key(x, e, no);
    struct branch *b = branch_get(x, n, k.attr);
    index_ref *ref = b ? ref_get(x, b, &k) : NULL;
    int rc = E_NOMEM;
    if (ref)
        rc = ref_add(x, ref, seat_of(e, no), 1);
    else if (b)
        branch_tidy(x, n, b);
    if (rc == 0) n->total++;
    return rc;
}

static void seat_remove(struct index *x, struct set_entry *e, uint32_t no)
{
    if (e->u.many->always) {
        list_remove(x->root, e->u.many->at[no]);
        return;
    }
    struct key k = seat_key(x, e, no);
    below_remove(x, x->root, &k, seat_of(e, no));
}

static size_t many_size(uint32_t count)
{
    return sizeof(struct set_many) + count * sizeof(uint32_t);
}

static void many_free(struct index *x, struct set_entry *e)
{
    pool_free(&x->store->pool, e->u.many, many_size(e->u.many->count));
    e->u.many = NULL;
}

static int many_add(struct index *x, struct set_entry *e)
{
    uint32_t count = seats_of(x, e->expr);
    bool always = count == 0;
    count += always;
    struct set_many *m = pool_alloc(&x->store->pool, many_size(count));
    if (m == NULL) return E_NOMEM;
    *m = (struct set_many){.count = count, .always = always};
    e->u.many = m;
    for (uint32_t no = 0; no < count; no++) {
        if (seat_add(x, e, no) == 0) continue;
        while (no--) seat_remove(x, e, no);
        many_free(x, e);
        return E_NOMEM;
    }
    return 0;
}

/* ---- the door ---- */

struct index *index_new(struct filter_store *store)
{
    struct index *x = mem_calloc(1, sizeof *x);
    if (x == NULL) return NULL;
    x->store = store;
    x->root = spot_new(x, 0);
    if (x->root && hits_grow(x) == 0) return x;
    if (x->root) spot_free(x->root);
    mem_free(x);
    return NULL;
}

void index_free(struct index **index)
{
    struct index *x = *index;
    *index = NULL;
    if (x == NULL) return;
    ASSERT(x->root->total == 0 && x->root->branch_count == 0);
    spot_free(x->root);
    mem_free(x->hits);
    mem_free(x);
}

int index_add(struct index *x, struct set_entry *e)
{
    if (entry_is_many(e)) return many_add(x, e);
    int rc = spot_add(x, x->root, seat_of(e, 0));
    if (rc < 0) e->u.one.path_len = PATH_NONE;
    return rc;
}

void index_remove(struct index *x, struct set_entry *e)
{
    if (!entry_is_many(e)) {
        spot_remove(x, x->root, e);
    } else {
        for (uint32_t no = e->u.many->count; no-- > 0;) seat_remove(x, e, no);
        many_free(x, e);
    }
    entry_unindexed(e);
}

/* ---- checking ---- */

static void list_check(const index_ref *list, uint32_t count, index_ref seat)
{
    ASSERT(*seat_at(seat) < count && list[*seat_at(seat)] == seat);
}

static void ref_check(index_ref ref, index_ref seat)
{
    const struct spot *n;
    const struct bunch *b;
    switch (ref_kind(ref)) {
    case REF_SPOT:
        n = ref_spot(ref);
        ASSERT(n->total >= n->count && n->count <= n->cap);
        list_check(n->list, n->count, seat);
        return;
    case REF_BUNCH:
        b = ref_bunch(ref);
        ASSERT(b->count > 1 && b->count <= b->cap);
        list_check(b->list, b->count, seat);
        return;
    default: ASSERT(ref == seat && *seat_at(seat) == 0);
    }
}

void index_check(const struct index *x, const struct set_entry *e)
{
    index_ref root = (uintptr_t)x->root | REF_SPOT, ref = root;
    ASSERT(entry_is_indexed(e));
    for (uint32_t no = 0; entry_is_many(e) && no < e->u.many->count; no++) {
        struct key k = seat_key(x, e, no);
        bool always = e->u.many->always;
        ref_check(always ? root : *ref_find(x, branch_find(x, x->root, k.attr), &k),
                  seat_of(e, no));
    }
    if (entry_is_many(e)) return;
    for (uint8_t i = 0; i < e->u.one.path_len; i++) {
        struct key k = step_key(x, e, e->u.one.path[i], 0);
        ASSERT(ref_kind(ref) == REF_SPOT && ref_spot(ref)->depth == i);
        ref = *ref_find(x, branch_find(x, ref_spot(ref), k.attr), &k);
    }
    ref_check(ref, seat_of(e, 0));
}
