/* Replays read the log, see replay.h: pulled by the connection's output as the client takes it. */
#include "core/replay_int.h"

#include "core/access.h"
#include "core/tell.h"

static void later(struct cconn *c)
{
    if (c->fetching.next == NULL) list_push(&c->core->fetching, &c->fetching);
}

/* ---- opening ---- */

static bool is_limited(const struct replay *r)
{
    return r->order.last || history_limits_of_all(r->session->core).per_topic != STORE_ALL;
}

/* store_query.wants */
static uint32_t wants(void *ctx, struct bytes topic)
{
    const struct replay *r = ctx;
    const struct core *core = r->session->core;
    if (!mqtt_topic_matches(replay_filter(r), topic)) return STORE_NONE;
    unsigned policy = history_of(core, topic);
    if (policy == 0) return STORE_NONE;
    if (r->position >= r->accepted) return STORE_ALL; /* what came since was promised */
    uint32_t most = history_limits(core, policy).per_topic;
    return r->order.last ? (uint32_t)min_u64(most, r->order.last) : most;
}

/* What came since the SUBSCRIBE is not the past. */
static void ask_access(struct replay *r)
{
    r->acl_generation = r->session->core->acl_generation;
    if (r->position >= r->accepted ||
        access_may_use(r->session->conn, replay_filter(r), ACL_REPLAY))
        return;
    r->position = r->accepted;
    replay_moved(r);
}

static int open_reader(struct replay *r)
{
    struct core *core = r->session->core;
    ask_access(r);
    struct history_limits limits = history_limits_of_all(core);
    struct store_query q = {.from_seq = max_u64(r->position, limits.first_seq),
                            .to_seq = UINT64_MAX,
                            .from_ms = max_u64(r->order.from_ms, limits.first_ms),
                            .to_ms = r->order.to_ms,
                            .wants = wants,
                            .ctx = r};
    if (core->histories == NULL) q.from_seq = r->position; /* they went by a reload */
    if (r->order.span) q.to_seq = r->order.to_seq + 1;
    /* The last ones are counted from where the history begins, also when this goes on in it. */
    if (r->position < r->accepted && is_limited(r)) {
        q.last_seq = r->accepted;
        q.from_seq = max_u64(r->order.from_seq, limits.first_seq);
    }
    if (!mqtt_topic_has_wildcard(replay_filter(r))) q.topic = replay_filter(r);
    return store_read_open(core->store, &r->reader, &q);
}

/* The same for dead letters. */
static int open_letters(struct replay *r)
{
    ask_access(r);
    struct dead_query q = {.session = r->session->id,
                           .from_seq = r->position,
                           .end_seq = r->order.span ? r->order.to_seq + 1 : UINT64_MAX,
                           .told_seq = r->order.span ? r->order.to_seq + 1 : r->accepted,
                           .last = r->order.last};
    return dead_read_open(&r->letters, r->session->core, &q);
}

/* ---- ends ---- */

/* One empty message on $replay/end. */
static void tell_end(struct cconn *c, struct replay *r)
{
    if (!r->order.tells_end || r->end_told) return;
    r->end_told = true;
    deliver_note(c, bytes_str("$replay/end"), tell_plain(c->core, r->ws->head.sub.subid));
}

static void span_ends(struct cconn *c, struct replay *r)
{
    tell_end(c, r);
    subscription_end(c->session, &r->ws->head.sub);
}

/* The reader has come to where live messages begin: those that came meanwhile are next. */
static void go_live(struct cconn *c, struct replay *r)
{
    tell_end(c, r);
    replay_queue_held(r);
    r->position = r->live_from;
    replay_close_reader(r);
    replay_turns(r, REPLAY_LIVE);
}

/* Nothing more is safe just now.  Whether that changed something. */
static bool caught_up(struct cconn *c, struct replay *r)
{
    uint64_t position = store_read_position(r->reader);
    bool ends = r->order.span && position > r->order.to_seq;
    if (!r->order.span && r->state == REPLAY_READING && position >= r->accepted) {
        r->live_from = store_end(c->core->store);
        replay_turns(r, REPLAY_JOINING);
    }
    bool live = r->state == REPLAY_JOINING && position >= r->live_from;
    if (ends)
        span_ends(c, r);
    else if (live)
        go_live(c, r);
    else
        later(c);
    return ends || live;
}

/* ---- messages ---- */

static bool is_for(struct core *core, struct replay *r, const struct pub *p)
{
    const struct sub *sub = &r->ws->head.sub;
    struct wish_event event;
    if (sub->no_local &&
        bytes_eq(p->who.client_id, bytes_of(r->session->client_id, r->session->client_id_len)))
        return false; /* [MQTT-3.8.3-3] */
    wish_event_init(&event, core, p);
    return wish_passes(&event, &r->ws->filters);
}

/* ref: as deliver_replayed() wants p->seq. */
static void give(struct cconn *c, struct replay *r, struct pub *p, uint64_t ref)
{
    struct core *core = c->core;
    const struct sub *sub = &r->ws->head.sub;
    const struct replayed as = {.replay = r->name, .seq = p->seq};
    bool upgrade = core->cfg.upgrade_outgoing_qos;
    uint8_t qos = upgrade || sub->qos < p->qos ? sub->qos : p->qos;
    r->position = p->seq + 1;
    replay_moved(r);
    if (!is_for(core, r, p)) return;
    p->seq = ref;
    deliver_replayed(c, p, qos, as.seq < r->accepted ? OUTQ_RETAIN : 0, sub->subid, &as);
    blob_unref(p->blob);
}

static void give_record(struct cconn *c, struct replay *r, const struct store_record *rec)
{
    struct core *core = c->core;
    struct pub p;
    /* What the last ones are counted from may lie before where this goes on. */
    if (rec->seq < r->position) return;
    pub_of_bytes(core, rec->body, rec->seq, &p);
    unsigned policy = history_again(core, p.topic);
    struct history_limits limits = {0};
    if (policy) limits = history_limits(core, policy);
    if (policy && p.seq >= limits.first_seq && p.created_ms >= limits.first_ms) {
        give(c, r, &p, p.seq);
        return;
    }
    r->position = p.seq + 1;
    replay_moved(r);
}

/* A QoS 2 delivery that waits to be sent goes first. */
static bool may_step(const struct cconn *c, const struct replay *r)
{
    if (c->session->held_count) return false;
    if (r->state != REPLAY_READING && r->state != REPLAY_JOINING) return false;
    if (r->letters && dead_read_waits(r->letters)) return false;
    return r->ws->head.sub.qos == 0 || conn_window_open(c);
}

/* Whether it did something. */
static bool step_letters(struct cconn *c, struct replay *r)
{
    struct pub p;
    uint64_t ref;
    int rc = r->letters ? 0 : open_letters(r);
    if (rc == 0) rc = dead_read_next(r->letters, &p, &ref);
    if (rc == 0) {
        bool wanted = p.created_ms >= r->order.from_ms && p.created_ms <= r->order.to_ms &&
                      mqtt_topic_matches(replay_filter(r), p.topic);
        if (wanted) give(c, r, &p, ref);
        return true;
    }
    if (rc != E_NOTFOUND) {
        later(c);
        return false;
    }
    uint64_t position = dead_read_position(r->letters);
    bool ends = r->order.span && position > r->order.to_seq;
    if (ends)
        span_ends(c, r);
    else if (!r->order.span && position >= r->accepted)
        tell_end(c, r);
    return ends;
}

static bool step(struct cconn *c, struct replay *r)
{
    struct store_record rec;
    if (UNLIKELY(r->acl_generation != c->core->acl_generation)) replay_close_reader(r);
    if (UNLIKELY(r->of_dead)) return step_letters(c, r);
    int rc = r->reader ? 0 : open_reader(r);
    if (rc == 0) rc = store_read_next(r->reader, &rec);
    if (rc == 0 && r->state == REPLAY_JOINING && rec.seq >= r->live_from) {
        go_live(c, r);
        return true;
    }
    if (rc == 0) {
        give_record(c, r, &rec);
        return true;
    }
    if (rc == E_NOTFOUND) return caught_up(c, r);
    if (rc != E_FULL) {
        later(c);
        return false;
    }
    core_log(c->core, LOG_T_WARNING, "Client %s: replay: more topics than can be looked through.",
             c->session->client_id);
    c->core->stats.refused_limit++;
    span_ends(c, r);
    return true;
}

bool replays_can_step(const struct cconn *c)
{
    for (const struct replay *r = c->session->replays; r; r = r->next)
        if (may_step(c, r)) return c->fetching.next == NULL;
    return false;
}

bool replays_step(struct cconn *c)
{
    struct session *s = c->session;
    for (struct replay *r = s->replays; r; r = r->next)
        if (may_step(c, r) && step(c, r)) return true;
    return false;
}
