/* Acknowledgements from subscribers, PUBREL from publishers, and sending again: on reconnect for
 * everyone, after retry_interval for 3.x only, as MQTT 5 forbids it on a live connection
 * [MQTT-4.4.0-1].  The shard's thread. */
#include "core/core_int.h"
#include "core/dead.h"
#include "core/journal.h"
#include "core/queue.h"
#include "core/redeliver.h"
#include "core/replay.h"
#include "core/share.h"

enum { RETRY_JITTER_PERCENT = 10 };

void session_mark_sent(struct session *s, struct inflight_entry *e)
{
    ASSERT(e->tag && s->unsent_count > 0);
    e->tag = 0;
    s->unsent_count--;
    if (e->packet_id != s->unsent_first) return;
    struct inflight_entry *next = inflight_next(&s->out, e);
    while (next && !next->tag) next = inflight_next(&s->out, next);
    s->unsent_first = next ? next->packet_id : 0;
}

/* Gives back the message that e carries. */
void inflight_release(struct session *s, struct inflight_entry *e)
{
    if (e->body == NULL) return;
    uint64_t ref = (uint64_t)(uintptr_t)e->body;
    if (!(e->flags & OUTQ_COLD)) {
        ref = msg_of(e->body)->seq;
        s->inflight_bytes -= msg_payload(e->body).n;
        blob_unref(e->body);
    }
    if (e->flags & OUTQ_STORED) core_drop(s->core, ref);
    e->flags &= (uint8_t) ~(unsigned)(OUTQ_STORED | OUTQ_COLD);
    e->body = NULL;
}

void inflight_received(struct session *s, struct inflight_entry *e)
{
    inflight_release(s, e);
    if (e->tag) session_mark_sent(s, e); /* the answer to what went out on an earlier connection */
    e->state = INFLIGHT_WAIT_PUBCOMP;
    e->sent_ms = s->core->now_ms;
    e->tries = 0;
}

int inflight_warm(struct session *s, struct inflight_entry *e)
{
    struct blob *b;
    if (!(e->flags & OUTQ_COLD)) return 0;
    int rc = core_fetch(s->core, (uint64_t)(uintptr_t)e->body, &b);
    if (rc < 0) return rc;
    e->flags &= (uint8_t) ~(unsigned)OUTQ_COLD;
    e->body = b;
    s->inflight_bytes += msg_payload(b).n;
    return 0;
}

void session_cool(struct session *s)
{
    for (struct inflight_entry *e = inflight_first(&s->out); e; e = inflight_next(&s->out, e)) {
        if (e->body == NULL || !(e->flags & OUTQ_STORED) || e->flags & OUTQ_COLD) continue;
        uint64_t seq = msg_of(e->body)->seq;
        s->inflight_bytes -= msg_payload(e->body).n;
        blob_unref(e->body);
        e->body = (void *)(uintptr_t)seq;
        e->flags |= OUTQ_COLD;
    }
}

void session_settle(struct session *s, struct inflight_entry *e)
{
    if (UNLIKELY(e->flags & OUTQ_SHARE)) share_settled(s->core, e->subid, inflight_seq(e));
    inflight_release(s, e);
    if (UNLIKELY(e->flags & OUTQ_LOGGED)) journal_id(s, J_ACKED, e->packet_id);
    if (UNLIKELY(e->tag)) session_mark_sent(s, e);
    s->core->stats.inflight--;
    inflight_del(&s->out, e);
}

static uint64_t wall_of(const struct core *core, uint64_t ms)
{
    return core->wall_ms - min_u64(core->now_ms - min_u64(ms, core->now_ms), core->wall_ms);
}

bool inflight_dies(struct session *s, struct inflight_entry *e, enum dead_reason reason,
                   uint8_t code, struct bytes text)
{
    struct core *core = s->core;
    if (e->body == NULL || e->flags & (OUTQ_COLD | OUTQ_QUEUE)) return false;
    if (!dead_is_reason(core, reason, msg_topic(e->body))) return false;
    struct dead_about about = {.attempts = e->tries + 1u,
                               .first_ms = wall_of(core, e->sent_ms),
                               .last_ms = wall_of(core, e->sent_ms),
                               .text = text,
                               .code = code};
    if (e->flags & OUTQ_SHARE) about.group = share_name(core, e->subid);
    dead_later(s, e->body, reason, &about);
    return true;
}

/* A reason that says no: the message is acknowledged all the same [MQTT-4.4.0-2]. */
static void refused(struct session *s, struct inflight_entry *e, const struct mqtt_ack *a)
{
    struct bytes text = {0};
    if (mqtt_has(&a->props, MQTT_P_REASON_STRING)) text = a->props.reason_string;
    if (e->flags & OUTQ_SHARE) s->core->stats.dropped_share_nacked++;
    (void)inflight_dies(s, e, DEAD_REJECTED, a->reason, text);
}

/* The window has moved: what waits can be pulled. */
static void window_moved(struct cconn *c)
{
    const struct session *s = c->session;
    bool more = s->queue.count || s->unsent_count || s->rjobs || s->inbox;
    if (!c->blocked && (more || (s->replays && replays_can_step(c)))) conn_ready(c, CORE_EV_OUTPUT);
}

static int on_puback(struct cconn *c, const struct mqtt_ack *a)
{
    struct session *s = c->session;
    struct inflight_entry *e = inflight_find(&s->out, a->packet_id);
    if (e == NULL) return 0; /* settled already; harmless */
    if (e->state != INFLIGHT_WAIT_PUBACK) return E_PROTOCOL;
    if (UNLIKELY(e->flags & OUTQ_GHOST)) redeliver_answered(s, e);
    if (UNLIKELY(e->flags & OUTQ_QUEUE))
        wqueue_acknowledged(s, e, a);
    else if (UNLIKELY(a->reason >= MQTT_UNSPECIFIED_ERROR))
        refused(s, e, a);
    session_settle(s, e); /* also with a failure: [MQTT-4.4.0-2], [MQTT-4.8.2-6] */
    window_moved(c);
    return 0;
}

static int on_pubrec(struct cconn *c, const struct mqtt_ack *a)
{
    struct session *s = c->session;
    struct inflight_entry *e = inflight_find(&s->out, a->packet_id);
    if (e && e->state == INFLIGHT_WAIT_PUBACK) return E_PROTOCOL;
    if (e == NULL) {
        if (a->reason < MQTT_UNSPECIFIED_ERROR)
            conn_send_ack(c, MQTT_PUBREL, a->packet_id,
                          c->version == MQTT_V5 ? MQTT_PACKET_ID_NOT_FOUND : 0, NULL);
        return 0;
    }
    if (UNLIKELY(e->flags & OUTQ_GHOST) && e->state == INFLIGHT_WAIT_PUBREC)
        redeliver_answered(s, e);
    bool queued = e->flags & OUTQ_QUEUE && e->state == INFLIGHT_WAIT_PUBREC;
    if (queued) wqueue_acknowledged(s, e, a);
    if (a->reason >= MQTT_UNSPECIFIED_ERROR) { /* [MQTT-4.3.3-4] */
        if (!queued) refused(s, e, a);
        session_settle(s, e);
        window_moved(c);
        return 0;
    }
    inflight_received(s, e);
    if (s->retry_late) session_retry_arm(s);
    if (queued && s->logged) { /* from here on it is the session's */
        e->flags |= OUTQ_LOGGED;
        journal_sent(s, e, 0, 0);
        pending_journal(c, MQTT_PUBREL, a->packet_id, 0);
    } else if (e->flags & OUTQ_LOGGED) { /* a PUBREL that is forgotten would be a PUBLISH again */
        journal_id(s, J_REC, a->packet_id);
        pending_journal(c, MQTT_PUBREL, a->packet_id, 0);
    } else {
        conn_send_ack(c, MQTT_PUBREL, a->packet_id, 0, NULL);
    }
    return 0;
}

static int on_pubrel(struct cconn *c, const struct mqtt_ack *a)
{
    struct session *s = c->session;
    bool known = pidset_del(&s->in2, a->packet_id);
    uint8_t reason = known || c->version != MQTT_V5 ? 0 : MQTT_PACKET_ID_NOT_FOUND;
    if (s->logged) { /* a new message by this identifier must not be taken for the old one */
        if (known) journal_id(s, J_IN2_DONE, a->packet_id);
        pending_journal(c, MQTT_PUBCOMP, a->packet_id, reason);
    } else {
        conn_send_ack(c, MQTT_PUBCOMP, a->packet_id, reason, NULL);
    }
    return 0; /* [MQTT-4.3.3-11] */
}

static int on_pubcomp(struct cconn *c, const struct mqtt_ack *a)
{
    struct session *s = c->session;
    struct inflight_entry *e = inflight_find(&s->out, a->packet_id);
    if (e == NULL) return 0;
    if (e->state != INFLIGHT_WAIT_PUBCOMP) return E_PROTOCOL;
    session_settle(s, e);
    window_moved(c);
    return 0;
}

int conn_handle_ack(struct cconn *c, unsigned type, struct bytes body)
{
    struct mqtt_ack a;
    int rc = mqtt_ack_decode(c->version, type, body, &a);
    if (rc < 0) return rc;
    switch (type) {
    case MQTT_PUBACK: return on_puback(c, &a);
    case MQTT_PUBREC: return on_pubrec(c, &a);
    case MQTT_PUBREL: return on_pubrel(c, &a);
    default: return on_pubcomp(c, &a);
    }
}

/* ---- sending again ---- */

void session_unsent_all(struct session *s)
{
    struct inflight_entry *first = inflight_first(&s->out);
    for (struct inflight_entry *e = first; e; e = inflight_next(&s->out, e)) e->tag = 1;
    s->unsent_count = s->out.count;
    s->unsent_first = first ? first->packet_id : 0;
}

void session_resumed(struct session *s)
{
    if (s->out.count) session_retry_arm(s);
    if (s->unsent_count || s->queue.count || s->rjobs || s->replays)
        conn_ready(s->conn, CORE_EV_OUTPUT);
}

static uint64_t retry_after(struct core *core, const struct inflight_entry *e)
{
    uint64_t ms = core->cfg.retry_interval_ms, most = max_u64(core->cfg.retry_max_interval_ms, ms);
    for (unsigned i = 0; i < e->tries && ms < most; i++) ms *= 2;
    ms = min_u64(ms, most);
    return ms + rng_below(&core->rng, ms * RETRY_JITTER_PERCENT / 100 + 1);
}

void session_retry_arm(struct session *s)
{
    struct core *core = s->core;
    uint64_t wait = s->version == MQTT_V5 ? core->cfg.ack_timeout_ms : core->cfg.retry_interval_ms;
    if (s->conn == NULL || wait == 0) return;
    uint64_t due = core->now_ms + wait;
    if (!timer_armed(&s->retry) || s->retry.due_ms > due) timer_arm(&core->timers, &s->retry, due);
    s->retry_late = false;
}

bool inflight_is_spent(struct session *s, struct inflight_entry *e)
{
    struct redelivery r = {0};
    uint32_t most = s->core->cfg.max_deliveries;
    if (UNLIKELY(e->subid >= SUBID_RETRY) && redelivery_of(s->core, e, &r) && r.most)
        most = most ? (uint32_t)min_u64(most, r.most) : r.most;
    if (LIKELY(most == 0) || e->state == INFLIGHT_WAIT_PUBCOMP || e->tries + 1u < most)
        return false;
    if (e->flags & OUTQ_QUEUE) return false;
    if (!inflight_dies(s, e, DEAD_ATTEMPTS, 0, (struct bytes){0})) s->core->stats.publish_dropped++;
    session_settle(s, e);
    return true;
}

/* 3.x: everything on the wire that is overdue goes out again, oldest first. */
static void retry_overdue(struct session *s)
{
    struct core *core = s->core;
    uint64_t next = UINT64_MAX;
    struct inflight_entry *after;
    for (struct inflight_entry *e = inflight_first(&s->out); e; e = after) {
        after = inflight_next(&s->out, e);
        if (e->tag || e->flags & OUTQ_QUEUE) continue; /* a queue has its own ways */
        uint64_t base = core->cfg.retry_interval_ms << min_u64(e->tries, 20);
        uint64_t due = e->sent_ms + min_u64(base, max_u64(core->cfg.retry_max_interval_ms,
                                                          core->cfg.retry_interval_ms));
        bool may = s->unsafe_count == 0 && buf_len(&s->conn->out) < core->cfg.output_soft_bytes;
        if (due <= core->now_ms && may && inflight_is_spent(s, e)) continue;
        if (due <= core->now_ms && may) {
            if (e->tries < UINT8_MAX) e->tries++;
            core->stats.resent++;
            due = core->now_ms + retry_after(core, e);
            deliver_resend(s->conn, e);
        }
        next = min_u64(next, max_u64(due, core->now_ms + 1));
    }
    if (next == UINT64_MAX) return;
    timer_arm(&core->timers, &s->retry, next);
    s->retry_late = next > core->now_ms + core->cfg.retry_interval_ms;
}

void session_retry_fired(struct timer *t, void *ctx)
{
    struct session *s = CONTAINER_OF(t, struct session, retry);
    struct core *core = ctx;
    if (s->conn == NULL || s->conn->state != CONN_UP || s->out.count == s->unsent_count) return;
    if (s->version != MQTT_V5) {
        if (core->cfg.retry_interval_ms) retry_overdue(s);
        return;
    }
    uint64_t again = redeliver_due(s);
    const struct inflight_entry *oldest = inflight_first(&s->out);
    if (again != UINT64_MAX) timer_arm(&core->timers, t, again);
    if (core->cfg.ack_timeout_ms == 0 || oldest == NULL) return;
    uint64_t due = oldest->sent_ms + core->cfg.ack_timeout_ms;
    if (due > core->now_ms && again < due) return;
    if (due > core->now_ms)
        timer_arm(&core->timers, t, due);
    else
        conn_end(s->conn, MQTT_UNSPECIFIED_ERROR,
                 "disconnected: a delivery is unacknowledged for ack_timeout");
}
