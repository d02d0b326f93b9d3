/* Sessions: one object a client id, which outlives its connections, with one state machine for
 * takeover, will, expiry and disconnect (HARDENING class 3).  The shard's thread.
 *
 *   attached --detach--> offline --will delay--> offline --expiry--> freed
 *      ^                    |                                (at once when expiry is 0)
 *      +------attach--------+
 */
#include "core/access.h"
#include "core/control.h"
#include "core/core_int.h"
#include "core/dead.h"
#include "core/journal.h"
#include "core/mailbox.h"
#include "core/redeliver.h"
#include "core/replay.h"
#include "core/retained.h"
#include "core/share.h"

uint64_t session_hash(const void *elem, uint64_t seed)
{
    const struct session *s = elem;
    return hash_bytes(bytes_of(s->client_id, s->client_id_len), seed);
}

struct session *session_find(struct core *core, struct bytes id)
{
    uint64_t hash = hash_bytes(id, core->seed);
    struct session *s;
    for (size_t pos = hash; (s = ptrmap_next(&core->sessions, hash, &pos)) != NULL;)
        if (s->client_id_len == id.n && memcmp(s->client_id, id.p, id.n) == 0) return s;
    return NULL;
}

enum { WILL_AGAIN_MS = 1, WILL_FULL_MS = 1000 }; /* when the store has no room */

static bool may_send(const struct session *s, const struct will *w)
{
    return access_may_will(s->core, bytes_of(s->client_id, s->client_id_len), w);
}

/* The will stays, to be sent again soon, when the store has no room for it.  With a session that
 * ends it is sent without being stored. */
static void will_send(struct session *s, bool ends)
{
    struct core *core = s->core;
    struct will *w = s->will;
    if (core->shutting_down && s->logged) return; /* sent when we are there again */
    if (w == NULL || core->shutting_down) {
        mem_free(w);
        s->will = NULL;
        return;
    }
    if (!w->allowed && !may_send(s, w)) {
        core->stats.denied_publish++;
        mem_free(w);
        s->will = NULL;
        return;
    }
    struct pub p = {.topic = w->topic,
                    .props = w->props,
                    .payload = w->payload,
                    .qos = w->qos,
                    .retain = w->retain,
                    .is_will = true,
                    .created_ms = core->wall_ms,
                    .expiry_s = w->expiry_s,
                    .from = s,
                    .who = {bytes_of(s->client_id, s->client_id_len),
                            w->username ? bytes_str(w->username) : (struct bytes){0}},
                    .origin = core->shard,
                    .origin_session = s->id};
    uint8_t *room = p.props.n ? core_scratch(core, SCRATCH_PROPS, p.props.n) : NULL;
    if (room) control_split(&p.props, &p.control, room);
    const struct route *r = pub_route(core, &p);
    int rc = ends || mail_room(core, mail_shards(core, &p, r), mail_pub_size(&p)) ? 0 : E_AGAIN;
    if (rc == 0 && (p.retain || r->durable || r->history || r->queued)) rc = pub_store(core, &p);
    bool waits = (rc == E_AGAIN || rc == E_FULL) && !ends;
    if (rc == E_NOMEM) {
        core->stats.publish_dropped++;
    } else if (!waits) {
        core->stats.wills_sent++;
        router_publish(core, &p, r); /* [MQTT-3.1.2-8], [MQTT-3.1.2-14], -15 */
    }
    blob_unref(p.blob);
    w->again_ms = !waits ? 0 : rc == E_FULL ? WILL_FULL_MS : WILL_AGAIN_MS;
    if (waits) return;
    mem_free(w);
    s->will = NULL;
}

void session_set_will(struct session *s, struct will *w)
{
    if (s->will && s->will->again_ms) will_send(s, true);
    mem_free(s->will);
    s->will = w;
}

/* What an expired session has not got; its memberships give back what is their groups'. */
static void all_die(struct session *s)
{
    struct core *core = s->core;
    const struct dead_about about = {0};
    struct outq_walk walk;
    for (const struct inflight_entry *e = inflight_first(&s->out); e;
         e = inflight_next(&s->out, e)) {
        uint64_t seq = inflight_seq(e);
        if (e->flags & OUTQ_SHARE || e->body == NULL) continue;
        if (e->flags & OUTQ_COLD)
            dead_later_stored(s, seq, DEAD_SESSION_EXPIRED, &about);
        else if (dead_is_reason(core, DEAD_SESSION_EXPIRED, msg_topic(e->body)))
            dead_later(s, e->body, DEAD_SESSION_EXPIRED, &about);
    }
    outq_walk_from(&walk, &s->queue, 0);
    for (const struct outq_item *item; (item = outq_walk_next(&walk)) != NULL;) {
        bool stored = item->flags & OUTQ_STORED && core->keeps;
        struct blob *b = (struct blob *)(uintptr_t)item->ref;
        if (item->flags & OUTQ_SHARE) continue;
        if (stored)
            dead_later_stored(s, item->ref, DEAD_SESSION_EXPIRED, &about);
        else if (dead_is_reason(core, DEAD_SESSION_EXPIRED, msg_topic(b)))
            dead_later(s, b, DEAD_SESSION_EXPIRED, &about);
    }
}

static void timer_fired(struct timer *t, void *ctx)
{
    struct session *s = CONTAINER_OF(t, struct session, timer);
    struct core *core = ctx;
    if (s->conn) return;
    will_send(s, false);
    if (s->will && !core->shutting_down) {
        timer_arm(&core->timers, t, core->now_ms + s->will->again_ms);
        return;
    }
    if (s->ends_ms > core->now_ms) {
        journal_meta(s);
        if (s->ends_ms != UINT64_MAX) timer_arm(&core->timers, t, s->ends_ms);
        return;
    }
    core->stats.sessions_expired++;
    if (UNLIKELY(core->cfg.dead_letter_reasons >> DEAD_SESSION_EXPIRED & 1)) all_die(s);
    session_free(s);
}

int session_new(struct session **out, struct core *core, struct bytes id)
{
    struct session *s = mem_calloc(1, sizeof *s);
    if (s == NULL) return E_NOMEM;
    s->core = core;
    s->client_id = mem_strndup(id.p, id.n);
    s->client_id_len = (uint16_t)id.n;
    s->timer.fire = timer_fired;
    s->retry.fire = session_retry_fired;
    if (s->client_id == NULL || core_slot_take(core, s) < 0) goto fail;
    if (ptrmap_put(&core->sessions, s, hash_bytes(id, core->seed)) < 0) {
        core_slot_give(core, s);
        goto fail;
    }
    *out = s;
    return 0;
fail:
    mem_free(s->client_id);
    mem_free(s);
    return E_NOMEM;
}

static void window_release(struct session *s)
{
    struct inflight_entry *e;
    while ((e = inflight_first(&s->out)) != NULL) session_settle(s, e);
    inflight_fini(&s->out);
}

void session_free(struct session *s)
{
    struct core *core = s->core;
    ASSERT(s->conn == NULL);
    will_send(s, true); /* the session ends: no delay any more [MQTT-3.1.3-9] */
    mem_free(s->will);
    share_leave_all(s); /* first: a group must not lose with it what it gives back */
    journal_end(s);
    s->logged = false;
    session_unsubscribe_all(s);
    rjobs_free(s);
    while (s->queue.count) {
        struct outq_item item = *outq_peek(&s->queue);
        outq_pop(&s->queue);
        queue_item_release(core, &item);
    }
    outq_trim(&s->queue);
    window_release(s);
    pidset_fini(&s->in2);
    timer_cancel(&core->timers, &s->timer);
    timer_cancel(&core->timers, &s->retry);
    ptrmap_del(&core->sessions, s, session_hash(s, core->seed));
    core_slot_give(core, s);
    core->env.session_gone(core->env.ctx);
    mem_free(s->client_id);
    mem_free(s->owner);
    mem_free(s);
}

void session_set_expiry(struct session *s, uint32_t expiry_s)
{
    uint32_t most = s->core->cfg.persistent_client_expiration_s;
    s->expiry_s = expiry_s == UINT32_MAX && most ? most : expiry_s;
    session_set_durable(s, s->expiry_s != 0);
    if (s->durable == s->logged || !s->core->keeps) return;
    if (s->durable)
        s->sid = rng_next(&s->core->rng);
    else
        share_undurable(s), journal_end(s);
    s->logged = s->begins = s->durable;
}

void session_attach(struct session *s, struct cconn *c)
{
    ASSERT(s->conn == NULL && c->session == NULL);
    struct core *core = s->core;
    timer_cancel(&core->timers, &s->timer);
    s->conn = c;
    c->session = s;
    c->since_ms = core->wall_ms;
    s->epoch++;
    core->stats.connected++;
    share_online(s, true);
}

struct session *session_detach_for(struct session *s, bool ends)
{
    struct core *core = s->core;
    struct cconn *c = s->conn;
    bool orderly = c->clean_disconnect;
    s->conn = NULL;
    c->session = NULL;
    core->stats.connected--;
    timer_cancel(&core->timers, &s->retry);
    if (orderly) { /* [MQTT-3.14.4-3] */
        mem_free(s->will);
        s->will = NULL;
    }
    if (ends || s->expiry_s == 0) {
        session_free(s);
        return NULL;
    }
    s->away_ms = core->wall_ms;
    share_online(s, false);
    s->held_count = 0; /* what was not sent is sent again */
    redeliver_forget(s);
    session_unsent_all(s);
    replays_away(s);
    session_cool(s);
    outq_trim(&s->queue);
    inflight_trim(&s->out);
    s->ends_ms =
        s->expiry_s == UINT32_MAX ? UINT64_MAX : core->now_ms + s->expiry_s * (uint64_t)1000;
    uint64_t due = s->ends_ms;
    if (s->will && s->will->delay_s == 0) will_send(s, false);
    if (s->will) due = min_u64(due, core->now_ms + s->will->delay_s * (uint64_t)1000);
    if (due != UINT64_MAX) timer_arm(&core->timers, &s->timer, due);
    journal_meta(s);
    return s;
}

void session_detach(struct session *s) { (void)session_detach_for(s, false); }
