/* Recovery of shared groups, on the shard that owns them.  A message that a group was to have is
 * followed until some member that outlives the process has it (J_QUEUED, J_SENT), or one that does
 * not is done with it (J_GIVEN); what is left at the end waits in its group again.  The thread of
 * core_recover(). */
#include "core/recover_int.h"
#include "core/share.h"

/* A member of a group of this shard, whose session may live on any. */
struct gmember {
    uint32_t mid;
    uint64_t sid;
    struct group *group;
};

/* A message of a group, and whether some member has it. */
struct gtail {
    uint64_t seq;
    struct group *group;
    bool given;
};

static uint64_t gmember_hash(const void *elem, uint64_t seed)
{
    return hash_u64(((const struct gmember *)elem)->mid, seed);
}

static uint64_t gtail_hash(const void *elem, uint64_t seed)
{
    return hash_u64(((const struct gtail *)elem)->seq, seed);
}

static struct gmember *gmember_find(const struct recovery *r, uint32_t mid)
{
    uint64_t hash = hash_u64(mid, r->core->seed);
    struct gmember *m;
    for (size_t pos = hash; (m = ptrmap_next(&r->gmembers, hash, &pos)) != NULL;)
        if (m->mid == mid) return m;
    return NULL;
}

static struct gtail *gtail_find(const struct recovery *r, uint64_t seq, const struct group *g)
{
    uint64_t hash = hash_u64(seq, r->core->seed);
    struct gtail *t;
    for (size_t pos = hash; (t = ptrmap_next(&r->gtails, hash, &pos)) != NULL;)
        if (t->seq == seq && t->group == g) return t;
    return NULL;
}

static void gtail_set(struct recovery *r, uint64_t seq, struct group *g, bool given)
{
    struct gtail *t = gtail_find(r, seq, g);
    if (t) {
        t->given = given;
        return;
    }
    t = mem_alloc(sizeof *t);
    if (t) *t = (struct gtail){seq, g, given};
    if (t && ptrmap_put(&r->gtails, t, hash_u64(seq, r->core->seed)) == 0) return;
    mem_free(t);
    r->rc = E_NOMEM;
}

void recover_grouped(struct core *core, struct group *g, const struct pub *p)
{
    struct recovery *r = core->recovery;
    if (p->qos && !gtail_find(r, p->seq, g)) gtail_set(r, p->seq, g, false);
}

static struct group *group_numbered(const struct core *core, uint64_t number)
{
    for (uint32_t i = 0; i < core->group_slot_count; i++)
        if (core->group_slots[i] && share_group_number(core->group_slots[i]) == number)
            return core->group_slots[i];
    return NULL;
}

static void *map_first(const struct ptrmap *m, size_t *at)
{
    for (; m->slots && *at <= m->mask; ++*at)
        if (m->slots[*at]) return (void *)(uintptr_t)(m->slots[(*at)++] & 0xffffffffffffu);
    return NULL;
}

/* Nobody is left: nothing is owed to anybody. */
static void group_over(struct recovery *r, struct group *g)
{
    size_t at = 0;
    for (const struct gmember *m; (m = map_first(&r->gmembers, &at)) != NULL;)
        if (m->group == g) return;
    at = 0;
    for (struct gtail *t; (t = map_first(&r->gtails, &at)) != NULL;) {
        if (t->group != g) continue;
        ptrmap_del(&r->gtails, t, hash_u64(t->seq, r->core->seed));
        mem_free(t);
        at = 0; /* the table has moved */
    }
    share_unexpect(r->core, g);
}

static void gmember_del(struct recovery *r, struct gmember *m)
{
    struct group *g = m->group;
    ptrmap_del(&r->gmembers, m, hash_u64(m->mid, r->core->seed));
    mem_free(m);
    group_over(r, g);
}

static void gmembers_of(struct recovery *r, uint64_t sid)
{
    size_t at = 0;
    for (struct gmember *m; (m = map_first(&r->gmembers, &at)) != NULL;) {
        if (m->sid != sid) continue;
        gmember_del(r, m);
        at = 0;
    }
}

static void group_joined(struct recovery *r, struct rd rd)
{
    struct core *core = r->core;
    struct gmember like = {.sid = mail_u64(&rd), .mid = 0};
    like.mid = mail_u32(&rd);
    (void)rd_take(&rd, 6);
    struct bytes name = mail_bytes(&rd), filter = mail_bytes(&rd);
    struct wish w = {0};
    if (rd_left(&rd)) wish_get(mail_bytes(&rd), &w);
    if (w.queue.n) return; /* a queue knows what it has */
    if (core_home(name, core->shards, core->seed) != core->shard || gmember_find(r, like.mid))
        return;
    like.group = share_expect(core, name, filter);
    struct gmember *m = like.group ? mem_alloc(sizeof *m) : NULL;
    if (m) *m = like;
    if (m && ptrmap_put(&r->gmembers, m, hash_u64(m->mid, core->seed)) == 0) return;
    mem_free(m);
    r->rc = E_NOMEM;
}

static void group_assigned(struct recovery *r, struct rd rd)
{
    (void)mail_u64(&rd);
    uint64_t seq = mail_u64(&rd);
    (void)rd_take(&rd, 6);
    const struct gmember *m = gmember_find(r, mail_u32(&rd));
    if (m && seq) gtail_set(r, seq, m->group, true);
}

/* What an entry of any session says about the groups that live here. */
void groups_entry(struct recovery *r, unsigned kind, const struct rd *rd)
{
    struct rd copy = *rd;
    if (kind == J_JOIN) group_joined(r, *rd);
    if (r->gmembers.count == 0) return;
    if (kind == J_SENT || kind == J_QUEUED) group_assigned(r, *rd);
    if (kind == J_END) gmembers_of(r, mail_u64(&copy));
    if (kind == J_LEAVE) {
        (void)mail_u64(&copy);
        struct gmember *m = gmember_find(r, mail_u32(&copy));
        if (m) gmember_del(r, m);
    }
}

void groups_given(struct recovery *r, unsigned stream, struct rd *rd)
{
    (void)stream;
    uint64_t seq = mail_u64(rd);
    struct group *g = group_numbered(r->core, mail_u64(rd));
    if (g) gtail_set(r, seq, g, true);
}

void groups_handed(struct recovery *r, unsigned stream, struct rd *rd)
{
    (void)stream;
    uint64_t seq = mail_u64(rd);
    struct group *g = group_numbered(r->core, mail_u64(rd));
    if (g) gtail_set(r, seq, g, false);
}

void groups_waits(struct recovery *r, unsigned stream, struct rd *rd)
{
    (void)stream;
    struct core *core = r->core;
    uint64_t seq = mail_u64(rd);
    struct bytes name = mail_bytes(rd), filter = mail_bytes(rd);
    if (core_home(name, core->shards, core->seed) != core->shard) return;
    struct group *g = share_expect(core, name, filter);
    if (g == NULL) r->rc = E_NOMEM;
    if (g && !gtail_find(r, seq, g)) gtail_set(r, seq, g, false);
}

static int gtail_by_seq(const void *a, const void *b)
{
    const struct gtail *const *x = a, *const *y = b;
    return ((*x)->seq > (*y)->seq) - ((*x)->seq < (*y)->seq);
}

/* What no member has waits for them again, in order. */
void groups_finish(struct recovery *r)
{
    struct core *core = r->core;
    size_t count = 0, at = 0, most = r->gtails.count;
    struct gtail **all = most ? mem_alloc(most * sizeof(struct gtail *)) : NULL;
    if (most && all == NULL) r->rc = E_NOMEM;
    for (struct gtail *t; all && (t = map_first(&r->gtails, &at)) != NULL;)
        if (!t->given) all[count++] = t;
    if (count) qsort(all, count, sizeof(struct gtail *), gtail_by_seq);
    for (size_t i = 0; i < count; i++) {
        struct blob *b;
        store_ref ref = store_hold(core->store, all[i]->seq, NULL);
        if (recover_fetch(core, ref, &b) == 0) {
            share_again(core, all[i]->group, b);
            blob_unref(b);
        }
        store_drop(core->store, ref);
    }
    mem_free(all);
    for (uint32_t i = 0; i < core->group_slot_count; i++) /* told of by J_WAITS alone */
        if (core->group_slots[i]) group_over(r, core->group_slots[i]);
}

void groups_fini(struct recovery *r)
{
    size_t at = 0;
    for (void *p; (p = map_first(&r->gmembers, &at)) != NULL;) mem_free(p);
    at = 0;
    for (void *p; (p = map_first(&r->gtails, &at)) != NULL;) mem_free(p);
    ptrmap_fini(&r->gmembers);
    ptrmap_fini(&r->gtails);
}

void groups_init(struct recovery *r)
{
    ptrmap_init(&r->gmembers, gmember_hash, r->core->seed);
    ptrmap_init(&r->gtails, gtail_hash, r->core->seed);
}
