/* The index of a set: which filters an event may match.  See index.h.  What is looked up lies all
 * over memory, so it is fetched some at a time: first every key of a spot, then what they found. */
#include "filters/index_int.h"

enum { PROBES = 64 };

struct finder {
    struct index *x;
    struct filter_event *event;
    void (*ask)(void *ctx, struct set_entry *const *all, unsigned count);
    void *ctx;
    unsigned count;
    struct set_entry *found[CANDIDATES_MAX];
};

static void visit(struct finder *f, const struct spot *n);

static void flush(struct finder *f)
{
    for (unsigned i = 0; i < f->count; i++) __builtin_prefetch(f->found[i]->expr);
    for (unsigned i = 0; i < f->count; i++) {
        const struct filter_expr *e = f->found[i]->expr;
        for (unsigned k = 0; k < min_u64(e->count, 4); k++)
            __builtin_prefetch(step_pred(e->steps[k]));
    }
    f->ask(f->ctx, f->found, f->count);
    f->count = 0;
}

static void seat_found(struct finder *f, index_ref seat)
{
    struct set_entry *e = seat_entry(seat);
    if (entry_is_many(e)) {
        if (e->u.many->round == f->x->round) return;
        e->u.many->round = f->x->round;
    }
    f->found[f->count++] = e;
    if (f->count == CANDIDATES_MAX) flush(f);
}

static void ref_found(void *ctx, index_ref ref)
{
    struct finder *f = ctx;
    const struct bunch *b;
    switch (ref_kind(ref)) {
    case REF_SPOT: visit(f, ref_spot(ref)); return;
    case REF_BUNCH:
        b = ref_bunch(ref);
        for (uint32_t i = 0; i < b->count; i++) seat_found(f, b->list[i]);
        return;
    default:
        if (ref) seat_found(f, ref);
    }
}

/* ---- keys of one spot ---- */

struct probes {
    struct finder *f;
    unsigned count;
    uint64_t hashes[PROBES];
};

static void probe_all(struct probes *p)
{
    index_ref refs[PROBES];
    unsigned found = 0;
    for (unsigned i = 0; i < p->count; i++) {
        const index_ref *ref = hit_find(p->f->x, p->hashes[i]);
        if (ref == NULL) continue;
        refs[found++] = *ref;
        __builtin_prefetch((const void *)(uintptr_t)(*ref & 0xfffffffffffc));
    }
    p->count = 0;
    for (unsigned i = 0; i < found; i++) ref_found(p->f, refs[i]);
}

static void probe(struct probes *p, const struct branch *b, unsigned kind, unsigned type,
                  uint64_t value)
{
    uint64_t hash = key_hash(b->salt, kind, type, value);
    hit_prefetch(p->f->x, hash);
    p->hashes[p->count++] = hash;
    if (p->count == PROBES) probe_all(p);
}

static void probe_affixes(struct probes *p, const struct branch *b, struct bytes text)
{
    uint64_t seed = p->f->x->store->seed;
    for (unsigned i = 0; i < AFFIX_CLASSES && affix_lengths[i] <= text.n; i++) {
        size_t n = affix_lengths[i];
        if (b->head_lengths >> i & 1)
            probe(p, b, BY_HEAD, i, hash_bytes(bytes_of(text.p, n), seed));
        if (b->tail_lengths >> i & 1)
            probe(p, b, BY_TAIL, i, hash_bytes(bytes_of(text.p + text.n - n, n), seed));
    }
}

static void visit_branch(struct probes *p, const struct branch *b)
{
    uint64_t seed = p->f->x->store->seed;
    struct slot *slot = view_slot(p->f->x->store, p->f->event, b->attr);
    if (slot->found == FOUND_MISSING) return;
    if (b->exists) ref_found(p->f, b->exists);
    if (slot->found != FOUND_VALUE) return;
    if (b->equal[FILTER_STRING]) probe(p, b, BY_EQUAL, FILTER_STRING, slot_hash(slot, seed));
    if (b->equal[FILTER_INT] && slot_integer(slot))
        probe(p, b, BY_EQUAL, FILTER_INT, key_of_integer(slot->integer, seed));
    if (b->equal[FILTER_DECIMAL] && slot_decimal(slot))
        probe(p, b, BY_EQUAL, FILTER_DECIMAL, key_of_decimal(slot->decimal, seed));
    if (b->equal[FILTER_BOOL] && slot_boolean(slot))
        probe(p, b, BY_EQUAL, FILTER_BOOL, key_of_integer(slot->boolean, seed));
    if (b->head_lengths | b->tail_lengths) probe_affixes(p, b, slot_text(slot));
    if (b->ranges && slot_number(slot)) ranges_stab(b->ranges, slot->number, ref_found, p->f);
}

static void visit(struct finder *f, const struct spot *n)
{
    const struct filter_store *s = f->x->store;
    struct probes p;
    for (uint32_t i = 0; i < n->count; i++) seat_found(f, n->list[i]);
    if (n->branch_count == 0) return;
    p.f = f;
    p.count = 0;
    bool few = n->branch_count <= FEW_BRANCHES || s->envelope;
    uint32_t in_turn = few ? n->branch_count : n->other_count;
    for (uint32_t i = 0; i < in_turn; i++) visit_branch(&p, n->branches[i]);
    for (uint32_t i = 0; !few && i < s->present_count; i++) {
        const struct branch *b = branch_find(f->x, n, s->present[i]);
        if (b) visit_branch(&p, b);
    }
    probe_all(&p);
}

void index_match(struct index *x, struct filter_event *event,
                 void (*ask)(void *ctx, struct set_entry *const *all, unsigned count), void *ctx)
{
    struct finder f = {.x = x, .event = event, .ask = ask, .ctx = ctx};
    x->round++;
    run_begin(x->store, event);
    view_scan(x->store, event);
    visit(&f, x->root);
    flush(&f);
}
