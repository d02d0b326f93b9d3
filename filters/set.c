/* Sets of filters, see set.h: entries and their members, and the choice between asking all in turn
 * and the index. */
#include "filters/set.h"

#include "base/err.h"
#include "base/mem.h"
#include "filters/index.h"

struct filter_set {
    struct filter_store *store;
    struct filter_set_stats stats;
    struct ptrmap entries; /* struct set_entry by its expr */
    struct index *index;   /* NULL: all are asked in turn */
    bool use_index;
};

static uint64_t key_of_expr(const struct filter_expr *expr, uint64_t seed)
{
    return hash_u64((uint64_t)(uintptr_t)expr, seed);
}

static uint64_t entry_hash(const void *elem, uint64_t seed)
{
    return key_of_expr(((const struct set_entry *)elem)->expr, seed);
}

struct filter_set *filter_set_new(struct filter_store *store, bool use_index)
{
    struct filter_set *set = mem_calloc(1, sizeof *set);
    if (set == NULL) return NULL;
    set->store = store;
    set->use_index = use_index;
    ptrmap_init(&set->entries, entry_hash, store->seed);
    return set;
}

void filter_set_free(struct filter_set **set)
{
    struct filter_set *s = *set;
    *set = NULL;
    if (s == NULL) return;
    ASSERT(s->stats.members == 0 && s->entries.count == 0);
    index_free(&s->index);
    ptrmap_fini(&s->entries);
    mem_free(s);
}

const struct filter_set_stats *filter_set_stats(const struct filter_set *set)
{
    return &set->stats;
}

/* ---- entries ---- */

/* The nth slot's entry or NULL, from 0 to the end of the table. */
static struct set_entry *entry_at(const struct filter_set *set, size_t i)
{
    return set->entries.slots ? (void *)(uintptr_t)(set->entries.slots[i] & 0xffffffffffff) : NULL;
}

static void unindex(struct filter_set *set)
{
    for (size_t i = 0; i <= set->entries.mask; i++) {
        struct set_entry *e = entry_at(set, i);
        if (e && entry_is_indexed(e)) index_remove(set->index, e);
    }
    index_free(&set->index);
    set->stats.indexed = false;
}

/* Without memory for it all are asked in turn, until one more is added. */
static void build_index(struct filter_set *set)
{
    set->index = index_new(set->store);
    if (set->index == NULL) return;
    set->stats.indexed = true;
    for (size_t i = 0; i <= set->entries.mask; i++) {
        struct set_entry *e = entry_at(set, i);
        if (e == NULL || index_add(set->index, e) == 0) continue;
        unindex(set);
        return;
    }
}

void filter_set_use_index(struct filter_set *set, bool use_index)
{
    set->use_index = use_index;
    if (!use_index && set->index) unindex(set);
    if (use_index && set->index == NULL && set->stats.filters > SET_LINEAR_MAX) build_index(set);
}

static struct set_entry *entry_find(const struct filter_set *set, const struct filter_expr *expr)
{
    uint64_t hash = key_of_expr(expr, set->store->seed);
    struct set_entry *e;
    for (size_t pos = hash; (e = ptrmap_next(&set->entries, hash, &pos)) != NULL;)
        if (e->expr == expr) return e;
    return NULL;
}

static struct set_entry *entry_new(struct filter_set *set, struct filter_expr *expr)
{
    struct set_entry *e = pool_alloc(&set->store->pool, sizeof *e);
    if (e == NULL) return NULL;
    *e = (struct set_entry){.expr = expr};
    entry_unindexed(e);
    if (ptrmap_put(&set->entries, e, entry_hash(e, set->store->seed)) < 0) {
        pool_free(&set->store->pool, e, sizeof *e);
        return NULL;
    }
    if (set->index && index_add(set->index, e) < 0) {
        ptrmap_del(&set->entries, e, entry_hash(e, set->store->seed));
        pool_free(&set->store->pool, e, sizeof *e);
        return NULL;
    }
    (void)filter_expr_ref(expr);
    set->stats.filters++;
    if (set->use_index && set->index == NULL && set->stats.filters > SET_LINEAR_MAX)
        build_index(set);
    return e;
}

static void entry_free(struct filter_set *set, struct set_entry *e)
{
    if (set->index) index_remove(set->index, e);
    ptrmap_del(&set->entries, e, entry_hash(e, set->store->seed));
    filter_expr_unref(set->store, e->expr);
    pool_free(&set->store->pool, e, sizeof *e);
    set->stats.filters--;
    if (set->index && set->stats.filters < SET_LINEAR_AGAIN) unindex(set);
}

int filter_set_add(struct filter_set *set, struct filter_expr *expr, struct filter_member *member)
{
    struct set_entry *e = entry_find(set, expr);
    if (e == NULL) e = entry_new(set, expr);
    if (e == NULL) return E_NOMEM;
    member->entry = e;
    member->next = e->members;
    member->link = &e->members;
    if (e->members) e->members->link = &member->next;
    e->members = member;
    set->stats.members++;
    return 0;
}

void filter_set_remove(struct filter_set *set, struct filter_member *member)
{
    struct set_entry *e = member->entry;
    *member->link = member->next;
    if (member->next) member->next->link = member->link;
    member->entry = NULL;
    set->stats.members--;
    if (e->members == NULL) entry_free(set, e);
}

/* ---- events ---- */

struct match {
    struct filter_set *set;
    struct filter_event *event;
    void (*found)(void *ctx, struct filter_member *member);
    void *ctx;
};

static void ask_each(void *ctx, struct set_entry *const *all, unsigned count)
{
    const struct match *m = ctx;
    struct filter_store *store = m->set->store;
    struct filter_set_stats *stats = &m->set->stats;
    stats->asked += count;
    for (unsigned i = 0; i < count; i++) {
        struct run r = {.store = store, .event = m->event};
        enum filter_result result = expr_run(&r, all[i]->expr);
        if (UNLIKELY(store->scratch != NULL)) scratch_free(store);
        stats->errors += result == FILTER_ERROR;
        if (result != FILTER_MATCH) continue;
        stats->matched++;
        for (struct filter_member *at = all[i]->members; at; at = at->next) m->found(m->ctx, at);
    }
}

void filter_set_match(struct filter_set *set, struct filter_event *event,
                      void (*found)(void *ctx, struct filter_member *member), void *ctx)
{
    struct match m = {set, event, found, ctx};
    set->stats.events++;
    if (set->index) {
        index_match(set->index, event, ask_each, &m);
        return;
    }
    run_begin(set->store, event);
    for (size_t i = 0; i <= set->entries.mask; i++) {
        struct set_entry *e = entry_at(set, i);
        if (e) ask_each(&m, &e, 1);
    }
}

void filter_set_check(const struct filter_set *set)
{
    uint64_t filters = 0, members = 0;
    for (size_t i = 0; i <= set->entries.mask; i++) {
        const struct set_entry *e = entry_at(set, i);
        if (e == NULL) continue;
        filters++;
        ASSERT(e->members && e->members->link == &e->members);
        for (const struct filter_member *m = e->members; m; m = m->next, members++)
            ASSERT(m->entry == e && (m->next == NULL || m->next->link == &m->next));
        ASSERT(entry_is_indexed(e) == (set->index != NULL));
        if (set->index) index_check(set->index, e);
    }
    ASSERT(filters == set->stats.filters && members == set->stats.members);
    ASSERT(set->stats.indexed == (set->index != NULL));
}
