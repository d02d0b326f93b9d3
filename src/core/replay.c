/* The life of replays, see replay.h. */
#include "core/replay_int.h"

#include "core/journal.h"
#include "core/mailbox.h"
#include "core/tell.h"
#include "core/when.h"

enum {
    REPLAYS_MAX = 100, /* of one session, unless configured otherwise */
    HELD_MAX = 10000,  /* messages; beyond that the reader brings them */
};

/* ---- SUBSCRIBE ---- */

static void resolve_from(const struct when *w, struct replay_order *out, uint64_t end)
{
    if (w->kind == WHEN_LATEST) out->from_seq = end;
    if (w->kind == WHEN_SEQ) out->from_seq = w->value;
    if (w->kind == WHEN_TIME) out->from_ms = w->value;
    if (w->kind == WHEN_LAST) out->last = (uint32_t)min_u64(w->value, STORE_ALL - 1);
}

static void resolve_to(const struct when *w, struct replay_order *out, uint64_t end)
{
    out->span = true;
    out->to_seq = end ? end - 1 : 0; /* beyond now means now */
    if (w->kind == WHEN_SEQ) out->to_seq = min_u64(out->to_seq, w->value);
    if (w->kind == WHEN_TIME) out->to_ms = w->value;
}

/* The texts, wherever they were said: *to is empty unless there is one. */
static int get_whens(struct core *core, const struct wish *w, struct when *from, struct when *to,
                     bool *span, const char **why)
{
    struct bytes text = w->replay;
    if (w->when.p) {
        uint8_t *room = core_scratch(core, SCRATCH_PROPS, w->when.n);
        if (room == NULL) return E_NOMEM;
        if (wish_decode(w->when, room, &text) < 0) return E_MALFORMED;
        if (w->replay.p) {
            *why = "it is given twice";
            return E_INVALID;
        }
    }
    int rc = when_get_span(text, core->wall_ms, from, to, span, why);
    if (rc < 0 || w->replay_until.p == NULL) return rc;
    if (*span) {
        *why = "its end is given twice";
        return E_INVALID;
    }
    *span = true;
    rc = when_get(w->replay_until, core->wall_ms, to, why);
    return rc < 0 ? rc : when_check_span(from, to, why);
}

static int check_end_marker(const struct wish *w, bool *tells_end, const char **why)
{
    *tells_end = w->replay_end.p && bytes_eq(w->replay_end, bytes_str("true"));
    *why = "replay-end is true or false";
    return *tells_end || w->replay_end.p == NULL || bytes_eq(w->replay_end, bytes_str("false"))
               ? 0
               : E_INVALID;
}

/* A history that the configuration names comes first. */
static bool is_of_dead(const struct core *core, struct bytes filter)
{
    return core->cfg.dead_letter && bytes_starts(filter, "$dead/") && !history_meets(core, filter);
}

bool replay_of_dead(const struct replay *r) { return r->of_dead; }

int replay_order(struct core *core, const struct wish *w, struct bytes filter,
                 struct replay_order *out, const char **why)
{
    struct when from = {0}, to = {0};
    bool span = false;
    uint64_t end = store_end(core->store);
    *out = (struct replay_order){.to_seq = UINT64_MAX, .to_ms = UINT64_MAX};
    if (w->when.p == NULL && w->replay.p == NULL) {
        *why = "replay-until and replay-end say nothing without replay";
        return w->replay_until.p || w->replay_end.p ? E_INVALID : 0;
    }
    int rc = get_whens(core, w, &from, &to, &span, why);
    if (rc == 0) rc = check_end_marker(w, &out->tells_end, why);
    if (rc < 0) return rc;
    *why = "it begins in the future";
    if (from.kind == WHEN_TIME && from.value > core->wall_ms) return E_INVALID;
    out->wanted = history_meets(core, filter) || is_of_dead(core, filter);
    if (from.kind == WHEN_SEQ && out->wanted && from.value > end) return E_INVALID;
    resolve_from(&from, out, end);
    if (span) resolve_to(&to, out, end);
    return 0;
}

bool replay_over_quota(const struct session *s, const struct sub *sub)
{
    uint32_t most = s->core->cfg.max_replays_per_client;
    bool replaces = sub && sub->wished && wsub_of(sub)->replay;
    return !replaces && s->replay_count >= (most ? most : REPLAYS_MAX);
}

static struct replay *replay_new(struct wsub *ws, struct bytes filter,
                                 const struct replay_order *order)
{
    struct session *s = ws->head.sub.owner.session;
    struct replay *r = mem_calloc(1, sizeof *r + filter.n);
    if (r == NULL) return NULL;
    r->session = s;
    r->ws = ws;
    r->order = *order;
    r->of_dead = is_of_dead(s->core, filter);
    struct wish w;
    wish_get(sub_block(&ws->head.sub), &w);
    r->name = hash_bytes(filter, hash_bytes(w.prefix, 0));
    r->live_from = r->cut = UINT64_MAX;
    r->filter_len = (uint16_t)filter.n;
    memcpy(r->filter, filter.p, filter.n);
    struct replay **at = &s->replays;
    while (*at) at = &(*at)->next;
    *at = r;
    s->replay_count++;
    ws->replay = r;
    ws->head.sub.subid = subid_join(s->core, SUBID_TOLD, ws->head.sub.subid);
    return r;
}

int replay_begin(struct wsub *ws, struct bytes filter, const struct replay_order *order)
{
    struct session *s = ws->head.sub.owner.session;
    replay_end(ws);
    struct replay *r = replay_new(ws, filter, order);
    if (r == NULL) return E_NOMEM;
    r->accepted = store_end(s->core->store);
    r->position = order->from_seq;
    replay_turns(r, REPLAY_HELD);
    return 0;
}

void replay_release_held(struct replay *r)
{
    while (r->held.count) {
        struct outq_item item = *outq_peek(&r->held);
        outq_pop(&r->held);
        queue_item_release(r->session->core, &item);
    }
    outq_trim(&r->held);
}

void replay_queue_held(struct replay *r)
{
    struct session *s = r->session;
    if (r->held.count) outq_append(&s->queue, &r->held);
    r->held = (struct outq){0};
    checkpoint_queue_moved(s->core, s);
}

void replay_close_reader(struct replay *r)
{
    store_read_close(&r->reader);
    dead_read_close(&r->letters);
}

void replay_end(struct wsub *ws)
{
    struct replay *r = ws->replay;
    if (r == NULL) return;
    ws->replay = NULL;
    replay_close_reader(r);
    replay_release_held(r);
    list_del(&r->dirty);
    struct replay **at = &r->session->replays;
    while (*at != r) at = &(*at)->next;
    *at = r->next;
    r->session->replay_count--;
    mem_free(r);
}

void replays_start(struct session *s)
{
    for (struct replay *r = s->replays; r; r = r->next)
        if (r->state == REPLAY_HELD) r->state = REPLAY_READING;
    if (s->replays && s->conn && s->conn->state == CONN_UP && !s->conn->blocked)
        conn_ready(s->conn, CORE_EV_OUTPUT);
}

/* ---- live messages ---- */

/* The answer to an earlier one says nothing any more. */
static void fence(struct replay *r)
{
    struct core *core = r->session->core;
    r->id = ++core->next_token;
    interest_fence_routed(core, r->session->id, r->id);
}

/* The log is its queue from now on. */
static void cut(struct replay *r)
{
    r->cut = r->position = store_end(r->session->core->store);
    replay_turns(r, REPLAY_FENCING);
    fence(r);
}

void replay_fenced(struct core *core, session_id session, uint32_t id)
{
    struct session *s = core_session(core, session);
    struct replay *r = s ? s->replays : NULL;
    while (r && r->id != id) r = r->next;
    if (r == NULL || r->state != REPLAY_FENCING) return;
    r->live_from = r->cut = UINT64_MAX;
    replay_turns(r, REPLAY_READING);
    if (s->conn && s->conn->state == CONN_UP && !s->conn->blocked)
        conn_ready(s->conn, CORE_EV_OUTPUT);
}

/* What was held is the reader's again, which has not come so far. */
static void unjoin(struct replay *r)
{
    replay_release_held(r);
    r->live_from = UINT64_MAX;
    replay_turns(r, REPLAY_READING);
}

static bool is_behind(const struct session *s)
{
    const struct core *core = s->core;
    const struct cconn *c = s->conn;
    return c == NULL || c->state != CONN_UP || s->queue.count >= deliver_queue_soft(core) / 2 ||
           buf_len(&c->out) > core->cfg.output_soft_bytes / 2;
}

static bool takes_live(const struct replay *r, uint64_t seq)
{
    return r->state >= REPLAY_JOINING && seq >= r->live_from &&
           (r->state != REPLAY_FENCING || seq < r->cut);
}

void replay_live(struct core *core, struct pub *p, struct wsub *ws, uint8_t qos,
                 struct images *images)
{
    struct replay *r = ws->replay;
    struct session *s = r->session;
    uint32_t subid = ws->head.sub.subid;
    if (UNLIKELY(p->seq == 0)) { /* the log had no room for it */
        deliver(core, p, s, qos, 0, subid, images);
        return;
    }
    if (is_of_other_stream(core, s) || !takes_live(r, p->seq)) return;
    if (core->recovery && qos == 0) return; /* it was sent, or is lost as it may be */
    if (r->state == REPLAY_JOINING) {
        if (r->held.count >= HELD_MAX || deliver_hold(core, p, s, qos, subid, &r->held) < 0)
            unjoin(r);
        return;
    }
    bool late = r->state == REPLAY_FENCING || core->recovery;
    if (!late && is_behind(s)) {
        cut(r); /* this one was before it */
        late = true;
    }
    if (late)
        deliver_late(core, p, s, qos, subid);
    else
        deliver(core, p, s, qos, 0, subid, images);
}

void replays_away(struct session *s)
{
    for (struct replay *r = s->replays; r; r = r->next) {
        replay_close_reader(r);
        if (r->state == REPLAY_HELD) r->state = REPLAY_READING;
        if (r->state == REPLAY_JOINING) unjoin(r);
        if (r->state == REPLAY_FENCING) fence(r); /* a letter may have been lost */
        if (r->state == REPLAY_LIVE) cut(r);
    }
}

/* ---- dead letters ---- */

void replay_dead_page(struct core *core, struct rd *rd)
{
    struct session *s = core_session(core, mail_u64(rd));
    uint32_t number = mail_u32(rd);
    struct replay *r = s ? s->replays : NULL;
    while (r && !(r->letters && dead_read_number(r->letters) == number)) r = r->next;
    dead_read_page(core, r ? r->letters : NULL, rd);
    if (r && s->conn && s->conn->state == CONN_UP && !s->conn->blocked)
        conn_ready(s->conn, CORE_EV_OUTPUT);
}

/* ---- the journal ---- */

static void put(const struct replay *r)
{
    const struct session *s = r->session;
    const struct replay_order *o = &r->order;
    struct bytes filter = replay_filter(r);
    struct wish w;
    if (!s->logged || !s->core->journaling) return;
    wish_get(sub_block(&r->ws->head.sub), &w);
    uint8_t *d = journal_put(s->core, J_REPLAY, 128 + filter.n + w.prefix.n);
    if (d == NULL) return;
    d = mail_put_bytes(mail_put_bytes(mail_put_u64(d, s->sid), filter), w.prefix);
    d = put_u8(d, r->state);
    d = put_u8(d, (unsigned)o->span | (unsigned)o->tells_end << 1 | (unsigned)r->end_told << 2);
    d = mail_put_u64(mail_put_u64(mail_put_u32(d, o->last), o->from_seq), o->to_seq);
    d = mail_put_u64(mail_put_u64(mail_put_u64(d, o->from_ms), o->to_ms), r->accepted);
    d = mail_put_u64(mail_put_u64(mail_put_u64(d, r->position), r->live_from), r->cut);
    journal_put_end(s->core, d);
}

void replay_moved(struct replay *r)
{
    struct core *core = r->session->core;
    if (r->session->logged && core->journaling && r->dirty.next == NULL)
        list_push(&core->replays_dirty, &r->dirty);
}

void replay_turns(struct replay *r, enum replay_state state)
{
    r->state = (uint8_t)state;
    list_del(&r->dirty);
    put(r);
}

/* What it holds is not in the snapshot: the reader is to bring it. */
void replay_journal(const struct wsub *ws)
{
    struct replay *r = ws->replay;
    if (r == NULL) return;
    if (r->state == REPLAY_JOINING)
        unjoin(r);
    else
        put(r);
}

void replays_flush(struct core *core)
{
    while (UNLIKELY(!list_empty(&core->replays_dirty))) {
        struct replay *r = CONTAINER_OF(core->replays_dirty.next, struct replay, dirty);
        list_del(&r->dirty);
        put(r);
    }
}

static struct wsub *find(struct session *s, struct bytes filter, uint64_t variant)
{
    struct sub *sub = trie_find(&s->core->trie, filter, (uintptr_t)s, variant);
    return sub && sub->wished ? wsub_of(sub) : NULL;
}

void replay_restore(struct session *s, struct rd *rd)
{
    struct bytes filter = mail_bytes(rd);
    struct wish w = {.prefix = mail_bytes(rd)};
    struct replay_order o = {.wanted = true};
    uint8_t state = rd_u8(rd), bits = rd_u8(rd);
    o.span = bits & 1;
    o.tells_end = bits >> 1 & 1;
    o.last = mail_u32(rd);
    o.from_seq = mail_u64(rd);
    o.to_seq = mail_u64(rd);
    o.from_ms = mail_u64(rd);
    o.to_ms = mail_u64(rd);
    struct wsub *ws = find(s, filter, wished_variant(s->core, &w));
    if (ws == NULL) return; /* it was said before the subscription ended */
    struct replay *r = ws->replay ? ws->replay : replay_new(ws, filter, &o);
    if (r == NULL) {
        s->core->stats.dropped_no_memory++; /* recovery fails by it */
        return;
    }
    r->of_dead = is_of_dead(s->core, filter);
    if (r->state == REPLAY_JOINING && state == REPLAY_LIVE)
        replay_queue_held(r);
    else if (r->state == REPLAY_JOINING && state != REPLAY_JOINING)
        replay_release_held(r);
    r->order = o;
    r->state = state;
    r->end_told = bits >> 2 & 1;
    r->accepted = mail_u64(rd);
    r->position = mail_u64(rd);
    r->live_from = mail_u64(rd);
    r->cut = mail_u64(rd);
}

void replay_restore_sent(struct session *s, uint64_t name, uint64_t seq)
{
    for (struct replay *r = s->replays; r; r = r->next)
        if (r->name == name) r->position = max_u64(r->position, seq + 1);
}

/* All that was in the log has been routed. */
void replays_recovered(struct session *s)
{
    for (struct replay *r = s->replays; r; r = r->next) {
        if (r->state == REPLAY_LIVE) r->position = store_end(s->core->store);
        replay_release_held(r);
        r->live_from = r->cut = UINT64_MAX;
        replay_turns(r, REPLAY_READING);
    }
}
