/* See redeliver.h. */
#include "core/redeliver.h"

#include "core/control.h"
#include "core/dead.h"
#include "core/journal.h"
#include "core/tell.h"

enum { TENTH_MS = 100, DEADLINE_MOST = 0x3ffffe, DELIVERIES_BITS = 8, DELIVERIES_MOST = 255 };

bool redeliver_wish(const struct wish *w, uint32_t *mark, const char **why)
{
    uint64_t ms = 0, most = 0;
    *mark = 0;
    if (w->ack_deadline.p == NULL && w->max_deliveries.p == NULL && w->backoff.p == NULL)
        return true;
    *why = "backoff is for queues";
    if (w->backoff.p) return false;
    *why = "ack-deadline: a duration from 100ms to 4d is expected";
    if (w->ack_deadline.p && (control_duration(w->ack_deadline, &ms) < 0 || ms < TENTH_MS ||
                              ms / TENTH_MS > DEADLINE_MOST))
        return false;
    *why = "max-deliveries: a whole number from 1 to 255 is expected";
    if (w->max_deliveries.p &&
        (control_number(w->max_deliveries, &most) < 0 || most < 1 || most > DELIVERIES_MOST))
        return false;
    *mark = SUBID_RETRY | (uint32_t)(ms / TENTH_MS) << DELIVERIES_BITS | (uint32_t)most;
    return true;
}

bool redelivery_of(struct core *core, const struct inflight_entry *e, struct redelivery *out)
{
    uint32_t count;
    if (LIKELY(e->subid < SUBID_RETRY) || e->flags & (OUTQ_SHARE | OUTQ_QUEUE | OUTQ_GHOST))
        return false;
    const uint32_t *ids = subid_list(core, &e->subid, &count);
    for (uint32_t i = 0; i < count; i++) {
        if (!subid_is_retry(ids[i]) || ids[i] == SUBID_TOLD) continue;
        out->most = ids[i] & DELIVERIES_MOST;
        out->deadline_ms = (uint64_t)(ids[i] >> DELIVERIES_BITS & 0x3fffff) * TENTH_MS;
        return true;
    }
    return false;
}

void redeliver_arm(struct session *s, const struct inflight_entry *e)
{
    struct core *core = s->core;
    struct redelivery r;
    if (!redelivery_of(core, e, &r) || r.deadline_ms == 0 || s->version != MQTT_V5) return;
    s->redelivers = true;
    uint64_t due = core->now_ms + r.deadline_ms;
    if (!timer_armed(&s->retry) || s->retry.due_ms > due) timer_arm(&core->timers, &s->retry, due);
}

/* Only its packet identifier stays. */
static void become_ghost(struct session *s, struct inflight_entry *e, uint16_t next)
{
    if (e->flags & OUTQ_LOGGED) journal_id(s, J_ACKED, e->packet_id);
    inflight_release(s, e);
    e->flags = OUTQ_GHOST;
    e->subid = next;
}

/* What is to become of a delivery whose time is over. */
static void send_or_bury(struct session *s, uint16_t id, const struct redelivery *r)
{
    struct inflight_entry *e = inflight_find(&s->out, id);
    if (r->most && e->tries + 1u >= r->most) {
        if (!inflight_dies(s, e, DEAD_ATTEMPTS, 0, (struct bytes){0}))
            s->core->stats.publish_dropped++;
        become_ghost(s, e, 0);
        return;
    }
    uint16_t next = deliver_anew(s->conn, e);
    if (next) become_ghost(s, inflight_find(&s->out, id), next); /* the table may have moved */
}

uint64_t redeliver_due(struct session *s)
{
    struct core *core = s->core;
    uint64_t next_due = UINT64_MAX;
    const struct inflight_entry *first = inflight_first(&s->out);
    uint16_t id = first ? first->packet_id : 0;
    for (uint32_t most = s->out.count; id && most > 0 && s->redelivers; most--) {
        struct inflight_entry *e = inflight_find(&s->out, id);
        struct inflight_entry *after = inflight_next(&s->out, e);
        struct redelivery r;
        id = after ? after->packet_id : 0;
        bool waits = e->state != INFLIGHT_WAIT_PUBCOMP && e->body && !e->tag;
        if (!waits || e->flags & OUTQ_CALM || !redelivery_of(core, e, &r) || r.deadline_ms == 0)
            continue;
        uint64_t due = e->sent_ms + r.deadline_ms;
        if (due <= core->now_ms) send_or_bury(s, e->packet_id, &r);
        next_due = min_u64(next_due, max_u64(due, core->now_ms + r.deadline_ms));
    }
    return next_due;
}

void redeliver_answered(struct session *s, struct inflight_entry *ghost)
{
    uint32_t next = ghost->subid;
    for (int hops = 0; next && hops < DELIVERIES_MOST; hops++) {
        struct inflight_entry *e = inflight_find(&s->out, (uint16_t)next);
        if (e == NULL) return;
        e->flags |= OUTQ_CALM;
        next = e->flags & OUTQ_GHOST ? e->subid : 0;
    }
}

void redeliver_forget(struct session *s)
{
    if (LIKELY(!s->redelivers)) return;
    struct inflight_entry *after;
    for (struct inflight_entry *e = inflight_first(&s->out); e; e = after) {
        after = inflight_next(&s->out, e);
        if (e->flags & OUTQ_GHOST && e->state != INFLIGHT_WAIT_PUBCOMP)
            session_settle(s, e);
        else
            e->flags &= (uint8_t)~OUTQ_CALM;
    }
}
