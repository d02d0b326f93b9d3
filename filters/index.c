/* The index of a set: what changes it.  See index.h. */
#include "base/err.h"
#include "base/mem.h"
#include "filters/index_int.h"

/* ---- the table ---- */

static int hits_grow(struct index *x)
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

static struct branch *branch_get(struct index *x, struct spot *n, struct attr *a)
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

static void branch_tidy(struct index *x, struct spot *n, struct branch *b)
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

/* How many keys of this sort hang there. */
static uint32_t *key_counter(struct branch *b, const struct key *k)
{
    return k->kind == BY_EQUAL  ? &b->equal[k->type]
           : k->kind == BY_HEAD ? &b->heads[k->type]
                                : &b->tails[k->type];
}

static bool in_table(const struct key *k) { return k->kind <= BY_TAIL; }

static index_ref *ref_find(const struct index *x, struct branch *b, const struct key *k)
{
    if (k->kind == BY_EXISTS) return &b->exists;
    if (k->kind == BY_RANGE) return ranges_at(&b->ranges, k->range, x->store->seed, false);
    return hit_find(x, key_hash(b->salt, k->kind, k->type, k->hash));
}

/* Where something is to hang, now; NULL: no memory. */
static index_ref *ref_get(struct index *x, struct branch *b, const struct key *k)
{
    index_ref *ref = ref_find(x, b, k);
    if (ref && *ref) return ref;
    if (in_table(k)) {
        if (hits_grow(x) < 0) return NULL;
        ref = hit_add(x, key_hash(b->salt, k->kind, k->type, k->hash));
        ++*key_counter(b, k);
        b->head_count += k->kind == BY_HEAD;
        b->tail_count += k->kind == BY_TAIL;
    } else if (ref == NULL) {
        ref = ranges_at(&b->ranges, k->range, x->store->seed, true);
    }
    if (ref) b->keys++;
    return ref;
}

/* Nothing hangs there any more. */
static void ref_drop(struct index *x, struct spot *n, struct branch *b, const struct key *k)
{
    if (in_table(k)) {
        hit_del(x, key_hash(b->salt, k->kind, k->type, k->hash));
        --*key_counter(b, k);
        b->head_count -= k->kind == BY_HEAD;
        b->tail_count -= k->kind == BY_TAIL;
    } else if (k->kind == BY_RANGE) {
        ranges_drop(&b->ranges, k->range);
    }
    b->keys--;
    branch_tidy(x, n, b);
}

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
    return entry_is_many(e) ? &e->u.seats[seat >> 48] : &e->u.one.at;
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

/* A seat alone becomes a spot, so that there is room for others; its path stays. */
static struct spot *spot_of_ref(struct index *x, index_ref *ref, uint8_t depth)
{
    if (ref_is_spot(*ref)) return ref_spot(*ref);
    struct spot *n = spot_new(x, depth);
    if (n == NULL || list_add(n, *ref) < 0) {
        if (n) spot_free(n);
        return NULL;
    }
    *ref = (uintptr_t)n | 1;
    return n;
}

/* The other way round, when little is left; false: nothing is. */
static bool spot_shrink(index_ref *ref)
{
    struct spot *n = ref_spot(*ref);
    if (n->branch_count || n->count > 1) return true;
    *ref = n->count ? n->list[0] : 0;
    if (n->count) *seat_at(n->list[0]) = 0;
    spot_free(n);
    return *ref != 0;
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
    if (ref == NULL || *ref == 0) return 0;
    return ref_is_spot(*ref) ? ref_spot(*ref)->total : 1;
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
    if (n->depth == PATH_MAX_KEYS || !n->split) return -1;
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

static int spot_add(struct index *x, struct spot *n, struct set_entry *e);

static int add_below(struct index *x, struct spot *n, struct set_entry *e, uint8_t step)
{
    struct key k = step_key(x, e, step, 0);
    struct branch *b = branch_get(x, n, k.attr);
    index_ref *ref = b ? ref_get(x, b, &k) : NULL;
    int rc = E_NOMEM;
    e->u.one.path[n->depth] = step;
    e->u.one.path_len = n->depth + 1;
    if (ref && *ref == 0) {
        *ref = seat_of(e, 0);
        e->u.one.at = 0;
        rc = 0;
    } else if (ref) {
        struct spot *child = spot_of_ref(x, ref, n->depth + 1);
        if (child) rc = spot_add(x, child, e);
    } else if (b) {
        branch_tidy(x, n, b);
    }
    if (rc == 0) n->total++;
    return rc;
}

/* What has another key goes below the spot; whatever there is no memory for stays. */
static void split(struct index *x, struct spot *n)
{
    n->split = true;
    for (uint32_t i = n->count; i-- > 0;) {
        struct set_entry *e = seat_entry(n->list[i]);
        int step = entry_is_many(e) ? -1 : next_step(x, n, e);
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

static int spot_add(struct index *x, struct spot *n, struct set_entry *e)
{
    int step = next_step(x, n, e);
    if (step >= 0) return add_below(x, n, e, (uint8_t)step);
    int rc = list_add(n, seat_of(e, 0));
    if (rc < 0) return rc;
    e->u.one.path_len = n->depth;
    if (n->count >= SPLIT_AT && !n->split) split(x, n);
    return 0;
}

static void spot_remove(struct index *x, struct spot *n, struct set_entry *e)
{
    if (e->u.one.path_len == n->depth) {
        list_remove(n, e->u.one.at);
        return;
    }
    struct key k = step_key(x, e, e->u.one.path[n->depth], 0);
    struct branch *b = branch_find(x, n, k.attr);
    index_ref *ref = ref_find(x, b, &k);
    n->total--;
    if (ref_is_spot(*ref)) {
        spot_remove(x, ref_spot(*ref), e);
        ref = ref_find(x, b, &k); /* what was removed below may have moved it */
        if (spot_shrink(ref)) return;
    }
    *ref = 0;
    ref_drop(x, n, b, &k);
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
    if (e->always) return list_add(n, seat_of(e, no));
    struct key k = seat_key(x, e, no);
    struct branch *b = branch_get(x, n, k.attr);
    index_ref *ref = b ? ref_get(x, b, &k) : NULL;
    int rc = E_NOMEM;
    if (ref && *ref == 0) {
        *ref = seat_of(e, no);
        e->u.seats[no] = 0;
        rc = 0;
    } else if (ref) {
        struct spot *child = spot_of_ref(x, ref, 1);
        if (child) rc = list_add(child, seat_of(e, no));
    } else if (b) {
        branch_tidy(x, n, b);
    }
    if (rc == 0) n->total++;
    return rc;
}

static void seat_remove(struct index *x, struct set_entry *e, uint32_t no)
{
    struct spot *n = x->root;
    if (e->always) {
        list_remove(n, e->u.seats[no]);
        return;
    }
    struct key k = seat_key(x, e, no);
    struct branch *b = branch_find(x, n, k.attr);
    index_ref *ref = ref_find(x, b, &k);
    n->total--;
    if (ref_is_spot(*ref)) {
        list_remove(ref_spot(*ref), e->u.seats[no]);
        if (spot_shrink(ref)) return;
    }
    *ref = 0;
    ref_drop(x, n, b, &k);
}

static int many_add(struct index *x, struct set_entry *e)
{
    uint32_t count = seats_of(x, e->expr);
    e->always = count == 0;
    count += e->always;
    e->u.seats = mem_alloc(count * sizeof *e->u.seats);
    if (e->u.seats == NULL) return E_NOMEM;
    e->seat_count = count;
    for (uint32_t no = 0; no < count; no++) {
        if (seat_add(x, e, no) == 0) continue;
        while (no--) seat_remove(x, e, no);
        mem_free(e->u.seats);
        e->seat_count = 0;
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
    if (x->root && hits_grow(x) == 0) {
        x->root->split = true;
        return x;
    }
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
    e->round = 0;
    if (entry_is_many(e)) return many_add(x, e);
    int rc = spot_add(x, x->root, e);
    e->seat_count = rc == 0;
    return rc;
}

void index_remove(struct index *x, struct set_entry *e)
{
    if (!entry_is_many(e)) {
        spot_remove(x, x->root, e);
    } else {
        for (uint32_t no = e->seat_count; no-- > 0;) seat_remove(x, e, no);
        mem_free(e->u.seats);
    }
    e->seat_count = 0;
}

/* ---- checking ---- */

static void ref_check(index_ref ref, index_ref seat, uint32_t at)
{
    if (ref_is_spot(ref)) {
        const struct spot *n = ref_spot(ref);
        ASSERT(at < n->count && n->list[at] == seat);
        ASSERT(n->total >= n->count && n->count <= n->cap);
    } else {
        ASSERT(ref == seat && at == 0);
    }
}

void index_check(const struct index *x, const struct set_entry *e)
{
    ASSERT(e->seat_count > 0);
    struct spot *n = x->root;
    for (uint32_t no = 0; entry_is_many(e) && no < e->seat_count; no++) {
        struct key k = seat_key(x, e, no);
        ref_check(e->always ? (uintptr_t)n | 1 : *ref_find(x, branch_find(x, n, k.attr), &k),
                  seat_of(e, no), e->u.seats[no]);
    }
    if (entry_is_many(e)) return;
    index_ref ref = (uintptr_t)n | 1;
    for (uint8_t i = 0; i < e->u.one.path_len; i++) {
        struct key k = step_key(x, e, e->u.one.path[i], 0);
        n = ref_spot(ref);
        ASSERT(n->depth == i && n->split);
        ref = *ref_find(x, branch_find(x, n, k.attr), &k);
    }
    ref_check(ref, seat_of(e, 0), e->u.one.at);
}
