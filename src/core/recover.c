/* Recovery: reads what the store has from the last checkpoint on and does again what the cores of
 * that time did, as far as it concerns the sessions and retained messages that now live here.
 *
 *   messages  routed to the sessions of the shard that took them, where they stand
 *   journals  of every shard: each is the history of that shard's sessions (s->stream)
 *   tails     messages that a shard was sent, or was to route, and of which its journal does not
 *             say that it did: they are routed when the run ends, as they would have been
 *
 * Nothing is journaled, sent or mailed meanwhile.  The shard's thread, or any before it runs. */
#include "core/recover_int.h"

#include "core/dead.h"
#include "core/dedup.h"
#include "core/delayed.h"
#include "core/history.h"
#include "core/queue.h"
#include "core/replay.h"
#include "core/retained.h"
#include "core/share.h"

enum { FLUSH_TRIES = 1000000 };

/* A message whose routing is not complete. */
struct tail {
    uint64_t seq, sid;
    uint64_t remote;  /* shards that have not said that it arrived */
    uint64_t arrived; /* those that have, perhaps before its own shard said that it was routed */
    unsigned from;
    bool later; /* not even its own shard has routed it */
    size_t size;
    uint8_t body[];
};

static uint64_t sid_hash(const void *elem, uint64_t seed)
{
    return hash_u64(((const struct session *)elem)->sid, seed);
}

static uint64_t tail_hash(const void *elem, uint64_t seed)
{
    return hash_u64(((const struct tail *)elem)->seq, seed);
}

struct session *recover_find(const struct recovery *r, uint64_t sid)
{
    uint64_t hash = hash_u64(sid, r->core->seed);
    struct session *s;
    for (size_t pos = hash; (s = ptrmap_next(&r->sessions, hash, &pos)) != NULL;)
        if (s->sid == sid) return s;
    return NULL;
}

/* ---- messages ---- */

static void pub_of_body(const struct recovery *r, struct bytes body, uint64_t seq, uint64_t sid,
                        struct pub *p)
{
    pub_of_bytes(r->core, body, seq, p); /* records are not aligned as it is */
    p->hash = hash_bytes(p->topic, r->core->seed);
    p->from = sid ? recover_find(r, sid) : NULL; /* for No Local */
}

static void retain(const struct recovery *r, struct pub *p)
{
    if (p->retain && retained_owner(r->core, p->hash) == r->core->shard) retained_set(r->core, p);
}

static void route(const struct recovery *r, struct pub *p, unsigned stream)
{
    r->core->stream = stream;
    router_deliver(r->core, p, route_get(r->core, p->topic, p->hash));
    blob_unref(p->blob);
    p->blob = NULL;
}

static struct tail *tail_find(const struct recovery *r, uint64_t seq)
{
    uint64_t hash = hash_u64(seq, r->core->seed);
    struct tail *t;
    for (size_t pos = hash; (t = ptrmap_next(&r->tails, hash, &pos)) != NULL;)
        if (t->seq == seq) return t;
    return NULL;
}

static void tail_add(struct recovery *r, const struct tail *like, struct bytes body)
{
    struct tail *t = mem_alloc(sizeof *t + body.n);
    if (t == NULL || ptrmap_put(&r->tails, t, hash_u64(like->seq, r->core->seed)) < 0) {
        mem_free(t);
        r->rc = E_NOMEM;
        return;
    }
    *t = *like;
    t->size = body.n;
    memcpy(t->body, body.p, body.n);
}

static void tail_del(struct recovery *r, struct tail *t)
{
    ptrmap_del(&r->tails, t, tail_hash(t, r->core->seed));
    mem_free(t);
}

static void will_came(const struct recovery *r, uint64_t sid)
{
    struct session *s = recover_find(r, sid);
    if (s == NULL) return;
    mem_free(s->will);
    s->will = NULL;
}

static void on_message(struct recovery *r, const struct store_record *rec)
{
    struct rd rd = rd_of(rec->prefix);
    unsigned flags = rec->prefix.n ? rd_u8(&rd) : 0;
    struct tail t = {.seq = rec->seq, .from = rec->shard, .later = (flags & PREFIX_LATER) != 0};
    if (flags & PREFIX_REMOTE) t.remote = mail_u64(&rd);
    if (flags & PREFIX_FROM) t.sid = mail_u64(&rd);
    if (flags & PREFIX_IN2) {
        uint16_t id = rd_u16(&rd);
        struct session *s = recover_find(r, t.sid);
        if (s && pidset_add(&s->in2, id) == E_NOMEM) r->rc = E_NOMEM;
    }
    if (flags & PREFIX_WILL) will_came(r, t.sid);
    if (flags & PREFIX_BURIES) {
        uint64_t seq = mail_u64(&rd);
        wqueue_recovered_dead(r->core, mail_u64(&rd), seq);
    }
    uint64_t only = flags & PREFIX_ONLY ? mail_u64(&rd) : 0;
    if (flags & PREFIX_UNDEAD) {
        uint64_t before = mail_u64(&rd);
        dead_forget(r->core, before);
        delayed_forget(r->core, before);
    }
    if (t.later || t.remote) tail_add(r, &t, rec->body);
    struct pub p;
    pub_of_body(r, rec->body, rec->seq, t.sid, &p);
    history_restore_message(r->core, rec->shard, &p);
    if (p.control.n && dedup_restore_message(r->core, &p) < 0) r->rc = E_NOMEM;
    if (r->core->shard == 0 && bytes_starts(p.topic, "$dead/") && dead_keep(r->core, &p) < 0)
        r->rc = E_NOMEM;
    if (bytes_starts(p.topic, "$delayed/")) {
        if (delayed_restore_message(r->core, &p) < 0) r->rc = E_NOMEM;
        return;
    }
    if (only) wqueue_recovered_back(r->core, &p, only);
    if (t.later || only) return;
    retain(r, &p);
    route(r, &p, rec->shard);
}

/* A message from before the checkpoint, if somebody still holds it. */
static void route_old(struct recovery *r, uint64_t seq, unsigned stream, bool later)
{
    struct core *core = r->core;
    store_ref ref = store_hold(core->store, seq, NULL);
    struct blob *b;
    if (recover_fetch(core, ref, &b) == 0) {
        struct pub p;
        pub_of_body(r, bytes_of(b->data, b->size), seq, 0, &p);
        if (later) retain(r, &p);
        route(r, &p, stream);
        blob_unref(b);
    }
    store_drop(core->store, ref);
}

static void on_arrived(struct recovery *r, unsigned stream, struct rd *rd)
{
    uint64_t seq = mail_u64(rd);
    struct tail *t = tail_find(r, seq);
    if (t == NULL) {
        route_old(r, seq, stream, false);
        return;
    }
    struct pub p;
    pub_of_body(r, bytes_of(t->body, t->size), seq, t->sid, &p);
    route(r, &p, stream);
    t->arrived |= (uint64_t)1 << stream;
    t->remote &= ~t->arrived;
    if (t->remote == 0 && !t->later) tail_del(r, t);
}

static void on_routed(struct recovery *r, unsigned stream, struct rd *rd)
{
    uint64_t seq = mail_u64(rd), remote = mail_u64(rd);
    struct tail *t = tail_find(r, seq);
    if (t == NULL) {
        route_old(r, seq, stream, true);
        return;
    }
    struct pub p;
    pub_of_body(r, bytes_of(t->body, t->size), seq, t->sid, &p);
    retain(r, &p);
    route(r, &p, stream);
    t->later = false;
    t->remote = remote & ~t->arrived;
    if (t->remote == 0) tail_del(r, t);
}

static int by_seq(const void *a, const void *b)
{
    const struct tail *const *x = a, *const *y = b;
    return ((*x)->seq > (*y)->seq) - ((*x)->seq < (*y)->seq);
}

static void tail_finish(struct recovery *r, struct tail *t)
{
    struct pub p;
    pub_of_body(r, bytes_of(t->body, t->size), t->seq, t->sid, &p);
    if (t->later) retain(r, &p);
    if (t->later && t->arrived == 0) route(r, &p, STREAM_ANY);
    uint64_t left = !t->later ? t->remote : t->arrived ? ~t->arrived : 0;
    for (; left; left &= left - 1) route(r, &p, (unsigned)__builtin_ctzll(left));
    tail_del(r, t);
}

/* The run is over: what was under way between its shards arrives. */
static void run_ends(struct recovery *r)
{
    r->ending = true;
    doubts_judge(r);
    size_t count = 0, most = r->tails.count;
    struct tail **all = most ? mem_alloc(most * sizeof(struct tail *)) : NULL;
    if (most && all == NULL) {
        r->rc = E_NOMEM;
        return;
    }
    for (size_t i = 0; r->tails.slots && i <= r->tails.mask; i++)
        if (r->tails.slots[i])
            all[count++] = (struct tail *)(uintptr_t)(r->tails.slots[i] & 0xffffffffffffu);
    ASSERT(count == most);
    if (count) qsort(all, count, sizeof(struct tail *), by_seq);
    for (size_t i = 0; i < count; i++) tail_finish(r, all[i]);
    mem_free(all);
    r->ending = false;
}

static void on_run(struct recovery *r, unsigned stream, struct rd *rd)
{
    (void)stream;
    uint32_t format = mail_u32(rd), shards = mail_u32(rd);
    uint64_t seed = mail_u64(rd);
    run_ends(r);
    history_restore_run(r->core);
    if (format > JOURNAL_FORMAT || shards == 0 || shards > CORE_MAX_SHARDS) r->rc = E_INVALID;
    if (r->rc < 0) return;
    wqueue_run(r->core, shards, seed);
    for (uint32_t i = 0; i < r->core->slot_count; i++) {
        struct session *s = r->core->slots[i].session;
        if (s)
            s->stream = (uint8_t)core_home(bytes_of(s->client_id, s->client_id_len), shards, seed);
    }
}

/* ---- sessions ---- */

static void forget(struct recovery *r, struct session *s)
{
    mem_free(s->will); /* its time has passed, or comes with what is read next */
    s->will = NULL;
    ptrmap_del(&r->sessions, s, sid_hash(s, r->core->seed));
    session_free(s);
}

static struct will *get_will(struct rd *rd)
{
    uint32_t expiry_s = mail_u32(rd), delay_s = mail_u32(rd);
    uint8_t qos = rd_u8(rd), retained = rd_u8(rd);
    struct bytes topic = mail_bytes(rd), props = mail_bytes(rd), payload = mail_bytes(rd);
    struct will *w = mem_alloc(sizeof *w + topic.n + props.n + payload.n);
    if (w == NULL) return NULL;
    *w = (struct will){.expiry_s = expiry_s,
                       .delay_s = delay_s,
                       .qos = qos,
                       .retain = retained != 0,
                       .allowed = true};
    w->topic = bytes_of(w->data, topic.n);
    w->props = bytes_of(w->data + topic.n, props.n);
    w->payload = bytes_of(w->data + topic.n + props.n, payload.n);
    put_mem(put_mem(put_mem(w->data, topic), props), payload);
    return w;
}

static struct session *session_restore(struct recovery *r, uint64_t sid, struct bytes id)
{
    struct core *core = r->core;
    struct session *s = session_find(core, id);
    if (s) forget(r, s); /* of another sid: its end was not told */
    (void)core->env.session_admit(core->env.ctx, true);
    if (session_new(&s, core, id) < 0) {
        core->env.session_gone(core->env.ctx);
        r->rc = E_NOMEM;
        return NULL;
    }
    s->sid = sid;
    s->logged = s->durable = true;
    if (ptrmap_put(&r->sessions, s, sid_hash(s, core->seed)) == 0) return s;
    r->rc = E_NOMEM;
    return NULL;
}

static void set_owner(struct recovery *r, struct session *s, struct bytes owner)
{
    mem_free(s->owner);
    s->owner = mem_strndup(owner.p, owner.n);
    if (s->owner == NULL) r->rc = E_NOMEM;
}

static void on_meta(struct recovery *r, unsigned stream, struct rd *rd)
{
    uint64_t sid = mail_u64(rd), away_ms = mail_u64(rd);
    uint32_t expiry_s = mail_u32(rd);
    uint8_t version = rd_u8(rd), flags = rd_u8(rd);
    struct bytes id = mail_bytes(rd);
    struct core *core = r->core;
    if (core_home(id, core->shards, core->seed) != core->shard) return;
    struct session *s = recover_find(r, sid);
    if (s == NULL && !(flags & META_NEW) && r->snaps[stream].sid != sid) return; /* one follows */
    if (s == NULL) s = session_restore(r, sid, id);
    if (s == NULL) return;
    s->stream = (uint8_t)stream;
    s->away_ms = away_ms;
    s->expiry_s = expiry_s;
    s->version = version;
    mem_free(s->will);
    s->will = flags & META_WILL ? get_will(rd) : NULL;
    if (flags & META_WILL && s->will == NULL) r->rc = E_NOMEM;
    if (flags & META_OWNER) set_owner(r, s, mail_bytes(rd));
}

static void on_end(struct recovery *r, struct session *s, struct rd *rd)
{
    (void)rd;
    forget(r, s);
}

/* What entries have from some day on only. */
static struct bytes text_if_any(struct rd *rd)
{
    return rd_left(rd) ? mail_bytes(rd) : (struct bytes){0};
}

static void on_sub(struct recovery *r, struct session *s, struct rd *rd)
{
    struct mqtt_subscription e = {0};
    uint32_t subid = mail_u32(rd);
    e.qos = rd_u8(rd);
    unsigned bits = rd_u8(rd);
    e.no_local = bits & 1;
    e.retain_as_published = bits >> 1 & 1;
    e.retain_handling = bits >> 2 & 3;
    struct bytes filter = mail_bytes(rd), block = text_if_any(rd);
    if (session_resubscribe(s, filter, &e, subid, block) == E_NOMEM) r->rc = E_NOMEM;
}

static void on_unsub(struct recovery *r, struct session *s, struct rd *rd)
{
    (void)r;
    struct bytes filter = mail_bytes(rd);
    session_unsubscribe(s, filter, text_if_any(rd));
}

static void on_join(struct recovery *r, struct session *s, struct rd *rd)
{
    uint32_t mid = mail_u32(rd), subid = mail_u32(rd);
    struct mqtt_subscription e = {.qos = rd_u8(rd)};
    e.retain_as_published = rd_u8(rd) != 0;
    struct bytes name = mail_bytes(rd), filter = mail_bytes(rd);
    if (share_restore(s, mid, name, filter, &e, subid, text_if_any(rd)) == E_NOMEM) r->rc = E_NOMEM;
}

static void on_leave(struct recovery *r, struct session *s, struct rd *rd)
{
    (void)r;
    share_forget(s, mail_u32(rd));
}

/* ---- windows and queues ---- */

/* Options as journal_put_options() wrote them.  A membership is counted as having one more. */
static struct outq_item get_options(struct recovery *r, struct session *s, struct rd *rd)
{
    struct outq_item item = {.qos = rd_u8(rd) & 3u};
    item.flags = rd_u8(rd) & (OUTQ_RETAIN | OUTQ_SHARE);
    uint32_t mid = mail_u32(rd), count = mail_u32(rd);
    for (uint32_t i = 0; i < count; i++) item.subid = subid_join(r->core, item.subid, mail_u32(rd));
    if (item.flags & OUTQ_SHARE && !share_adopt(s, mid, &item.subid))
        item.flags &= (unsigned)~OUTQ_SHARE & 7u; /* the membership is gone */
    return item;
}

static struct outq *older_of(struct recovery *r, const struct session *s)
{
    struct snap *snap = &r->snaps[s->stream];
    return snap->sid == s->sid && !snap->known ? &snap->older : NULL;
}

/* Takes the message out of the session's queue; its reference is the caller's. */
static bool queue_take(struct recovery *r, struct session *s, uint64_t seq, struct outq_item *item)
{
    struct outq *older = older_of(r, s);
    if (!(older && outq_take(older, seq, item)) && !outq_take(&s->queue, seq, item)) return false;
    r->core->stats.queued--;
    r->core->stats.queued_bytes -= item->size;
    return true;
}

static void on_sent(struct recovery *r, struct session *s, struct rd *rd)
{
    struct core *core = r->core;
    uint64_t seq = mail_u64(rd);
    uint16_t id = (uint16_t)mail_u32(rd);
    struct outq_item item;
    struct inflight_entry *e = inflight_find(&s->out, id);
    if (e) session_settle(s, e);
    bool queued = seq && queue_take(r, s, seq, &item);
    if (!queued || s->replays) {
        struct outq_item said = get_options(r, s, rd);
        if (!queued) item = said;
        if (!queued && seq) item.ref = store_hold(core->store, seq, NULL);
        uint64_t replay = rd_left(rd) ? mail_u64(rd) : 0;
        if (replay)
            replay_restore_sent(s, replay, rd_left(rd) ? mail_u64(rd) : seq);
        else if (!queued && item.flags & OUTQ_RETAIN)
            rjobs_note_given(s, seq);
    }
    enum inflight_state state = seq == 0        ? INFLIGHT_WAIT_PUBCOMP
                                : item.qos == 1 ? INFLIGHT_WAIT_PUBACK
                                                : INFLIGHT_WAIT_PUBREC;
    e = inflight_add_id(&s->out, state, id);
    if (e == NULL) {
        r->rc = E_NOMEM;
        return;
    }
    e->subid = item.subid;
    e->flags = OUTQ_LOGGED | (item.flags & (OUTQ_RETAIN | OUTQ_SHARE));
    if (seq) {
        e->body = (void *)(uintptr_t)item.ref;
        e->flags |= OUTQ_STORED | OUTQ_COLD;
    }
    core->stats.inflight++;
}

static void on_history(struct recovery *r, unsigned stream, struct rd *rd)
{
    history_restore(r->core, stream, rd);
}

static void on_replay(struct recovery *r, struct session *s, struct rd *rd)
{
    (void)r;
    replay_restore(s, rd);
}

static void on_rec(struct recovery *r, struct session *s, struct rd *rd)
{
    struct inflight_entry *e = inflight_find(&s->out, (uint16_t)mail_u32(rd));
    (void)r;
    if (e) inflight_received(s, e);
}

static void on_acked(struct recovery *r, struct session *s, struct rd *rd)
{
    struct inflight_entry *e = inflight_find(&s->out, (uint16_t)mail_u32(rd));
    (void)r;
    if (e) session_settle(s, e);
}

static void queue_drop(struct recovery *r, struct session *s, uint64_t seq)
{
    struct outq_item item;
    if (seq == 0 || !queue_take(r, s, seq, &item)) return;
    r->core->stats.queued++; /* queue_item_release() takes it off again */
    r->core->stats.queued_bytes += item.size;
    queue_item_release(r->core, &item);
}

static void on_drop(struct recovery *r, struct session *s, struct rd *rd)
{
    queue_drop(r, s, mail_u64(rd));
}

void recover_queue(struct recovery *r, struct outq *q, struct outq_item item, uint64_t seq)
{
    item.ref = store_hold(r->core->store, seq, NULL);
    item.flags |= OUTQ_STORED;
    r->core->stats.queued++;
    r->core->stats.queued_bytes += item.size;
    if (outq_push(q, item) == 0) return;
    queue_item_release(r->core, &item);
    r->rc = E_NOMEM;
}

static void on_queued(struct recovery *r, struct session *s, struct rd *rd)
{
    uint64_t seq = mail_u64(rd);
    uint32_t size = mail_u32(rd);
    struct outq_item item = get_options(r, s, rd);
    item.size = size & ((1u << 27) - 1);
    s->full = false;
    if (item.flags & OUTQ_RETAIN && item.qos > 0) rjobs_note_given(s, seq);
    recover_queue(r, &s->queue, item, seq);
}

static bool queue_move(struct outq *q, uint64_t from, uint64_t to)
{
    struct outq_walk walk;
    outq_walk_from(&walk, q, 0);
    for (struct outq_item *item; (item = outq_walk_next(&walk)) != NULL;) {
        if (item->ref != from) continue;
        item->ref = to;
        return true;
    }
    return false;
}

static void on_moved(struct recovery *r, struct session *s, struct rd *rd)
{
    uint64_t from = mail_u64(rd), to = mail_u64(rd);
    struct outq *older = older_of(r, s);
    if (!(older && queue_move(older, from, to)) && !queue_move(&s->queue, from, to)) return;
    (void)store_hold(r->core->store, to, NULL);
    store_drop(r->core->store, from);
}

static void on_full(struct recovery *r, struct session *s, struct rd *rd)
{
    queue_drop(r, s, mail_u64(rd));
    s->full = true;
}

static void on_room(struct recovery *r, struct session *s, struct rd *rd)
{
    (void)r, (void)rd;
    s->full = false;
}

static void on_in2(struct recovery *r, struct session *s, struct rd *rd)
{
    if (pidset_add(&s->in2, (uint16_t)mail_u32(rd)) == E_NOMEM) r->rc = E_NOMEM;
}

static void on_in2_done(struct recovery *r, struct session *s, struct rd *rd)
{
    (void)r;
    (void)pidset_del(&s->in2, (uint16_t)mail_u32(rd));
}

static void on_asks(struct recovery *r, struct session *s, struct rd *rd)
{
    if (rjob_restore(s, rd) < 0) r->rc = E_NOMEM;
}

static void on_asked(struct recovery *r, struct session *s, struct rd *rd)
{
    uint32_t id = mail_u32(rd);
    struct rjob *job = s->rjobs;
    (void)r;
    while (job && job->id != id) job = job->next;
    if (job) rjob_end(s, job);
}

/* ---- snapshots ---- */

static void on_snap_state(struct recovery *r, unsigned stream, struct rd *rd)
{
    (void)rd;
    r->snaps[stream].skipping = false;
}

static void on_backlog(struct recovery *r, struct session *s, struct rd *rd)
{
    struct outq *older = older_of(r, s);
    uint64_t seq = mail_u64(rd);
    uint32_t size = mail_u32(rd), count = mail_u32(rd);
    struct rd options = *rd;
    struct outq_item item = get_options(r, s, rd);
    item.size = size & ((1u << 27) - 1);
    if (older == NULL) {
        if (item.flags & OUTQ_SHARE) share_settled(r->core, item.subid, 0);
        return;
    }
    for (uint32_t i = 0; i < count && r->rc == 0; i++) {
        if (i) { /* each counts for its membership */
            struct rd again = options;
            if (item.flags & OUTQ_SHARE) (void)get_options(r, s, &again);
            seq += rd_varint(rd);
        }
        recover_queue(r, older, item, seq);
    }
}

static void snap_finish(struct recovery *r, struct snap *snap)
{
    struct session *s = snap->known ? NULL : recover_find(r, snap->sid);
    if (s) {
        outq_append(&snap->older, &s->queue);
        s->queue = snap->older;
        snap->older = (struct outq){0};
    }
    while (snap->older.count) { /* of a session that ended meanwhile */
        struct outq_item item = *outq_peek(&snap->older);
        outq_pop(&snap->older);
        queue_item_release(r->core, &item);
    }
    outq_trim(&snap->older);
    snap->sid = 0;
    snap->known = snap->skipping = false;
}

static void on_snap(struct recovery *r, unsigned stream, struct rd *rd)
{
    struct snap *snap = &r->snaps[stream];
    snap_finish(r, snap); /* of a session that ended in the middle of its own */
    snap->sid = mail_u64(rd);
    snap->known = snap->skipping = recover_find(r, snap->sid) != NULL;
}

static void on_snap_end(struct recovery *r, unsigned stream, struct rd *rd)
{
    (void)rd;
    snap_finish(r, &r->snaps[stream]);
}

static void on_retained(struct recovery *r, unsigned stream, struct rd *rd)
{
    (void)stream;
    struct core *core = r->core;
    struct retained m = {.seq = mail_u64(rd)}; /* in this order */
    m.ref = mail_u64(rd);
    m.created_ms = mail_u64(rd);
    m.expiry_s = mail_u32(rd);
    m.size = mail_u32(rd);
    struct bytes topic = mail_bytes(rd);
    if (retained_owner(core, hash_bytes(topic, core->seed)) != core->shard) return;
    if (retained_restore(core, topic, &m) == E_NOMEM) r->rc = E_NOMEM;
}

/* ---- reading ---- */

static void entry(struct recovery *r, unsigned stream, unsigned kind, struct rd *rd)
{
    static void (*const of_shard[J_KINDS])(struct recovery *, unsigned, struct rd *) = {
        [J_RUN] = on_run,           [J_META] = on_meta,         [J_ARRIVED] = on_arrived,
        [J_ROUTED] = on_routed,     [J_SNAP] = on_snap,         [J_SNAP_STATE] = on_snap_state,
        [J_SNAP_END] = on_snap_end, [J_RETAINED] = on_retained, [J_GIVEN] = groups_given,
        [J_HANDED] = groups_handed, [J_WAITS] = groups_waits,   [J_HISTORY] = on_history,
    };
    static void (*const of_session[J_KINDS])(struct recovery *, struct session *, struct rd *) = {
        [J_END] = on_end,         [J_SUB] = on_sub,       [J_UNSUB] = on_unsub,
        [J_JOIN] = on_join,       [J_LEAVE] = on_leave,   [J_SENT] = on_sent,
        [J_REC] = on_rec,         [J_ACKED] = on_acked,   [J_DROP] = on_drop,
        [J_QUEUED] = on_queued,   [J_IN2] = on_in2,       [J_IN2_DONE] = on_in2_done,
        [J_BACKLOG] = on_backlog, [J_FULL] = on_full,     [J_ROOM] = on_room,
        [J_MOVED] = on_moved,     [J_REPLAY] = on_replay, [J_ASKS] = on_asks,
        [J_ASKED] = on_asked,
    };
    if (r->snaps[stream].skipping && kind != J_SNAP_STATE) return;
    if (kind >= J_QUEUE && kind <= J_QDEDUP) {
        wqueue_entry(r, kind, stream, rd);
        return;
    }
    if (kind == J_SEEN) {
        if (dedup_restore(r->core, rd) < 0) r->rc = E_NOMEM;
        return;
    }
    if (kind == J_DELAYED) {
        if (delayed_restore(r->core, rd) < 0) r->rc = E_NOMEM;
        return;
    }
    if (kind == J_DEAD || kind == J_DEAD_GONE) {
        if (dead_restore(r->core, kind, rd) < 0) r->rc = E_NOMEM;
        return;
    }
    if (kind < J_KINDS && of_shard[kind]) {
        of_shard[kind](r, stream, rd);
        return;
    }
    if (kind >= J_KINDS || of_session[kind] == NULL) {
        r->rc = E_INVALID; /* of a later version */
        return;
    }
    groups_entry(r, kind, rd);
    struct session *s = recover_find(r, mail_u64(rd));
    if (s) of_session[kind](r, s, rd);
}

static void on_journal(struct recovery *r, const struct store_record *rec)
{
    struct rd all = rd_of(rec->body);
    doubts_end(r, rec->shard);
    while (r->rc == 0 && all.p < all.end) {
        uint32_t head = mail_u32(&all);
        struct rd one = rd_of(rd_take(&all, head >> 8));
        ASSERT(rd_ok(&all));
        entry(r, rec->shard, head & 255, &one);
        ASSERT(r->rc < 0 || rd_ok(&one));
    }
}

int recover_fetch(struct core *core, store_ref ref, struct blob **body)
{
    int rc;
    while ((rc = core_fetch(core, ref, body)) == E_AGAIN) (void)store_poll(core->store);
    return rc;
}

static int scan(struct recovery *r)
{
    struct store_scan *scan;
    struct store_record rec;
    int rc = store_scan_open(r->core->store, &scan);
    if (rc < 0) return rc;
    while ((rc = store_scan_next(scan, &rec)) == 0 && r->rc == 0) {
        ASSERT(rec.shard < CORE_MAX_SHARDS);
        if (rec.kind == STORE_MESSAGE)
            on_message(r, &rec);
        else
            on_journal(r, &rec);
    }
    store_scan_close(&scan);
    return r->rc < 0 ? r->rc : rc == E_NOTFOUND ? 0 : rc;
}

/* Its connection ended with the broker, if not before: the times go on from there. */
static void session_awake(struct session *s)
{
    struct core *core = s->core;
    if (s->away_ms == 0) s->away_ms = core->wall_ms;
    uint64_t away = core->wall_ms - min_u64(s->away_ms, core->wall_ms);
    uint64_t keep = s->expiry_s * (uint64_t)1000;
    s->ends_ms = s->expiry_s == UINT32_MAX ? UINT64_MAX : core->now_ms + keep - min_u64(keep, away);
    uint64_t due = s->ends_ms;
    if (s->will) {
        uint64_t delay = s->will->delay_s * (uint64_t)1000;
        due = min_u64(due, core->now_ms + delay - min_u64(delay, away));
    }
    if (due != UINT64_MAX) timer_arm(&core->timers, &s->timer, due);
    session_unsent_all(s);
    rjobs_recovered(s);
}

/* What happened long ago is not to be counted again; what is there now is. */
static void reset_stats(struct core *core)
{
    const struct core_stats s = core->stats;
    core->stats = (struct core_stats){.subscriptions = s.subscriptions,
                                      .shared_subscriptions = s.shared_subscriptions,
                                      .retained_bytes = s.retained_bytes,
                                      .queued = s.queued,
                                      .queued_bytes = s.queued_bytes,
                                      .inflight = s.inflight,
                                      .queue_messages = s.queue_messages,
                                      .queue_bytes = s.queue_bytes,
                                      .dead_listed = s.dead_listed,
                                      .delayed = s.delayed};
}

int core_recover(struct core *core)
{
    if (!core->keeps) return 0;
    struct recovery *r = mem_calloc(1, sizeof *r);
    if (r == NULL) return E_NOMEM;
    r->core = core;
    ptrmap_init(&r->sessions, sid_hash, core->seed);
    ptrmap_init(&r->tails, tail_hash, core->seed);
    groups_init(r);
    core->recovery = r;
    core->journaling = false;
    int rc = scan(r);
    if (core->stats.dropped_no_memory) r->rc = E_NOMEM;
    reset_stats(core); /* what does not fit now is counted */
    if (rc == 0) run_ends(r);
    if (rc == 0 && r->rc == 0) groups_finish(r);
    if (rc == 0 && r->rc == 0) r->rc = wqueue_recovered(core);
    for (unsigned i = 0; i < CORE_MAX_SHARDS; i++) snap_finish(r, &r->snaps[i]);
    for (uint32_t i = 0; rc == 0 && i < core->slot_count; i++)
        if (core->slots[i].session) session_awake(core->slots[i].session);
    if (core->stats.dropped_no_memory) r->rc = E_NOMEM;
    if (rc == 0) rc = r->rc;
    for (size_t i = 0; r->tails.slots && i <= r->tails.mask; i++)
        mem_free((void *)(uintptr_t)(r->tails.slots[i] & 0xffffffffffffu)); /* after an error */
    groups_fini(r);
    doubts_fini(r);
    ptrmap_fini(&r->tails);
    ptrmap_fini(&r->sessions);
    mem_free(r);
    core->recovery = NULL;
    core->journaling = true;
    return rc;
}

bool core_message_topic(struct bytes body, struct bytes *topic, uint64_t *time_ms)
{
    struct msg m;
    if (body.n < sizeof m) return false;
    memcpy(&m, body.p, sizeof m);
    if (m.topic_len > body.n - sizeof m) return false;
    *topic = bytes_of(body.p + sizeof m, m.topic_len);
    *time_ms = m.created_ms;
    return m.topic_len > 0;
}

static void begin(struct core *core)
{
    if (core->shard == 0) {
        journal_run(core);
        core_flush(core);
    }
    history_begin(core);
    for (uint32_t i = 0; i < core->slot_count; i++) {
        struct session *s = core->slots[i].session;
        if (s == NULL) continue;
        journal_meta(s);
        replays_recovered(s);
        share_warm(s);
        share_rejoin(s);
    }
    wqueue_begin(core);
    dead_begin(core);
}

/* A core's journal has its place before its mail is read; unless there is no space for it. */
static void settle(struct core *core)
{
    struct store_stats stats;
    (void)core_settle(core);
    for (int i = 0; i < FLUSH_TRIES && !core_flushed(core); i++) {
        store_stats(core->store, &stats);
        if (stats.full) return;
        (void)core_settle(core);
    }
}

/* Until nobody has mail for another. */
static void exchange(struct core *const *cores, unsigned count)
{
    struct buf b;
    for (bool moved = true; moved;) {
        moved = false;
        for (unsigned i = 0; i < count * count; i++) {
            struct core *from = cores[i / count], *to = cores[i % count];
            if (to == cores[0]) settle(from);
            while (mail_take(from, to->shard, &b)) {
                core_mail_in(to, from->shard, buf_view(&b));
                core_mail_recycle(to, &b);
                moved = true;
            }
        }
    }
}

void core_begin(struct core *const *cores, unsigned count)
{
    if (!cores[0]->keeps) return;
    for (unsigned i = 0; i < count; i++) begin(cores[i]);
    exchange(cores, count);
    for (unsigned i = 0; i < count; i++) share_begin(cores[i]);
    exchange(cores, count);
    for (unsigned i = 0; i < count; i++) cores[i]->begun = true;
}
