/* Faults that the harness makes itself, one a run, so that the checker can be seen to find each.
 */
#include "tests/sim/sim.h"

const char *const fault_names[FAULT_COUNT] = {
    [FAULT_NONE] = "nothing",
    [FAULT_LOSE] = "a QoS 1 or 2 message is lost",
    [FAULT_LOSE_QOS0] = "a QoS 0 message is lost",
    [FAULT_LOSE_SHARED] = "a group's message is lost",
    [FAULT_LOSE_WILL] = "a will is lost",
    [FAULT_LOSE_RETAINED] = "a retained message is lost",
    [FAULT_TWICE] = "a QoS 1 message comes twice",
    [FAULT_TWICE_QOS2] = "a QoS 2 message comes twice",
    [FAULT_TWICE_QOS0] = "a QoS 0 message comes twice",
    [FAULT_TWICE_SHARED] = "two members get one message",
    [FAULT_SWAP] = "two messages change places",
    [FAULT_STRANGER] = "a message goes to another client",
    [FAULT_STALE] = "an old retained message comes after a newer one",
    [FAULT_CRASH_LOSE] = "after a crash, an acknowledged message is lost",
    [FAULT_CRASH_TWICE_QOS2] = "after a crash, a QoS 2 message comes twice",
    [FAULT_CRASH_AGAIN] = "after a crash, a QoS 1 message comes that was acknowledged safely",
    [FAULT_CRASH_PID] = "after a crash, what was in flight has another packet identifier",
    [FAULT_CRASH_IN2] = "after a crash, a publisher's QoS 2 identifier is forgotten",
    [FAULT_CRASH_SUB] = "after a crash, a subscription is forgotten",
    [FAULT_CRASH_SESSION] = "after a crash, a session is forgotten",
    [FAULT_CRASH_REVERT] = "after a crash, a retained message is an older one",
    [FAULT_CRASH_WILL] = "after a crash, a will comes twice",
};

static bool is_plain(const struct sim *sim, const struct delivery *d)
{
    const struct message *m = &sim->messages[d->message];
    return d->client->group < 0 && !d->retain && !d->dup && !m->is_will && m->sends == 1 &&
           m->expiry_s == MQTT_NO_EXPIRY;
}

/* A loss of it must be noticed when everything is at rest. */
static bool is_promised(const struct sim *sim, const struct delivery *d)
{
    const struct message *m = &sim->messages[d->message];
    const struct client *from = &sim->clients[m->publisher];
    bool is_safe = m->acked || (from->state == UP && m->sent > from->up && from->keep_alive_s == 0);
    return is_safe && (d->client->group >= 0 || must_get(sim, d->client, m) >= 0) &&
           d->client->keep_alive_s == 0;
}

/* ---- what was there before the crash ---- */

static bool is_recovered(const struct sim *sim, const struct delivery *d)
{
    const struct message *m = &sim->messages[d->message];
    return m->acked && m->acked < sim->crash_event && d->client->group < 0 && !d->retain &&
           m->expiry_s == MQTT_NO_EXPIRY && !sim->lossy && must_get(sim, d->client, m) > 0;
}

/* A message that c has acknowledged, so that the broker surely knows; message_count: none. */
static uint32_t settled_of(const struct sim *sim, const struct client *c)
{
    const struct session *s = c->session;
    for (uint32_t i = 0; s && c->group < 0 && i < s->got_cap && i < sim->message_count; i++) {
        const struct got *g = &s->got[i];
        const struct message *m = &sim->messages[i];
        bool is_once = g->copy_count == 1 && g->settled == 1 && m->sends == 1 && g->extra == 0;
        if (is_once && m->replays == 0 && g->copies[0].done && g->copies[0].qos == 1) return i;
    }
    return sim->message_count;
}

static bool is_crash_victim(struct sim *sim, const struct delivery *d)
{
    const struct message *m = &sim->messages[d->message];
    struct got *g = d->client->session ? got_of(d->client->session, d->message) : NULL;
    if (sim->crash_event == 0 || g == NULL) return false;
    switch (sim->options.fault) {
    case FAULT_CRASH_LOSE: return is_recovered(sim, d) && g->copy_count == 0 && m->sends == 1;
    case FAULT_CRASH_TWICE_QOS2: return is_recovered(sim, d) && d->qos == 2 && !d->dup;
    case FAULT_CRASH_AGAIN: return settled_of(sim, d->client) < sim->message_count;
    case FAULT_CRASH_PID:
        return is_recovered(sim, d) && d->dup && m->sends == 1 && m->replays == 0 &&
               g->extra == 0 && g->copy_count == 1 && g->settled == 1;
    case FAULT_CRASH_WILL: return m->is_will && d->qos && m->replays == 0 && !d->dup && !d->retain;
    default: return false;
    }
}

/* Whether this delivery is one for the fault to strike. */
static bool is_victim(struct sim *sim, const struct delivery *d)
{
    const struct message *m = &sim->messages[d->message];
    const struct client *c = d->client;
    switch (sim->options.fault) {
    case FAULT_LOSE: return is_plain(sim, d) && d->qos && is_promised(sim, d);
    case FAULT_LOSE_QOS0:
        return is_plain(sim, d) && d->qos == 0 && is_promised(sim, d) && c->up < m->sent &&
               !c->slow && !sim->tight;
    case FAULT_LOSE_SHARED:
        return c->group >= 0 && !d->dup && m->sends == 1 && m->qos == 1 && is_promised(sim, d) &&
               m->expiry_s == MQTT_NO_EXPIRY && has_member(sim, (unsigned)c->group, m);
    case FAULT_LOSE_WILL: return m->is_will && m->acked && d->qos && must_get(sim, c, m) >= 0;
    case FAULT_TWICE: return is_plain(sim, d) && d->qos == 1;
    case FAULT_TWICE_QOS2: return is_plain(sim, d) && d->qos == 2;
    case FAULT_TWICE_QOS0: return is_plain(sim, d) && d->qos == 0;
    case FAULT_TWICE_SHARED: return c->group >= 0 && !d->dup && m->sends == 1;
    case FAULT_SWAP: return is_plain(sim, d) && d->qos && is_promised(sim, d);
    case FAULT_STRANGER: return is_plain(sim, d);
    case FAULT_STALE: return m->retain && !d->retain && d->qos && m->seq > 1;
    default: return is_crash_victim(sim, d);
    }
}

/* A client with a session that m must not come to; NULL: none now. */
static struct client *stranger(struct sim *sim, const struct message *m, uint8_t qos)
{
    for (unsigned i = 0; i < sim->client_count; i++) {
        struct client *c = &sim->clients[i];
        if (c->session && c->group < 0 && may_get(sim, c, m, qos) == NULL) return c;
    }
    return NULL;
}

static struct client *fellow(struct sim *sim, const struct client *c)
{
    for (unsigned i = 0; i < sim->client_count; i++) {
        struct client *o = &sim->clients[i];
        if (o != c && o->group == c->group && o->session && o->session->rec_count) return o;
    }
    return NULL;
}

static void strike(struct sim *sim, struct delivery d)
{
    struct client *other;
    trace(sim, "the fault strikes #%u at %s", d.message, d.client->id);
    sim->fault_done = true;
    switch (sim->options.fault) {
    case FAULT_TWICE:
    case FAULT_TWICE_QOS2:
    case FAULT_TWICE_QOS0:
    case FAULT_CRASH_TWICE_QOS2:
    case FAULT_CRASH_WILL:
        check_deliver(sim, &d);
        d.pid++;
        check_deliver(sim, &d);
        break;
    case FAULT_TWICE_SHARED:
        other = fellow(sim, d.client);
        check_deliver(sim, &d);
        if (other) d.client = other;
        d.pid++;
        check_deliver(sim, &d);
        break;
    case FAULT_STRANGER:
        other = stranger(sim, &sim->messages[d.message], d.qos);
        sim->fault_done = other != NULL;
        if (other) d.client = other;
        check_deliver(sim, &d);
        break;
    case FAULT_STALE:
        check_deliver(sim, &d);
        for (uint32_t i = 0; i < d.message; i++)
            if (sim->messages[i].topic == sim->messages[d.message].topic &&
                sim->messages[i].seq == 1)
                d.message = i;
        d.retain = true;
        check_deliver(sim, &d);
        break;
    case FAULT_CRASH_AGAIN:
        check_deliver(sim, &d);
        d.message = settled_of(sim, d.client);
        d.qos = 1;
        d.pid++;
        check_deliver(sim, &d);
        break;
    case FAULT_CRASH_PID:
        d.pid = (uint16_t)(d.pid + 1000);
        check_deliver(sim, &d);
        break;
    default: break; /* it is lost */
    }
}

/* The first of a pair waits until the second has passed. */
static void fault_swap(struct sim *sim, struct delivery d)
{
    const struct message *m = &sim->messages[d.message], *o = &sim->messages[sim->swap.message];
    if (sim->swap.full && sim->swap.client == d.client && m->publisher == o->publisher &&
        m->topic == o->topic && m->qos == o->qos && d.qos == sim->swap.qos) {
        struct delivery first = {
            .client = d.client, .message = sim->swap.message, .qos = d.qos, .pid = sim->swap.pid};
        trace(sim, "the fault swaps #%u and #%u", first.message, d.message);
        sim->fault_done = true;
        check_deliver(sim, &d);
        check_deliver(sim, &first);
        return;
    }
    if (sim->swap.full) {
        check_deliver(sim, &d);
        return;
    }
    sim->swap.full = true;
    sim->swap.client = d.client;
    sim->swap.message = d.message;
    sim->swap.qos = d.qos;
    sim->swap.pid = d.pid;
}

bool fault_strikes(struct sim *sim, const struct delivery *d)
{
    if (sim->fault_done || !is_victim(sim, d)) return false;
    if (sim->fault_after == 0) return true;
    sim->fault_after--;
    return false;
}

void fault_strike(struct sim *sim, struct delivery d)
{
    if (sim->options.fault == FAULT_SWAP)
        fault_swap(sim, d);
    else
        strike(sim, d);
}

/* ---- of a session that is resumed after a crash ---- */

static bool is_first_after_crash(const struct client *c)
{
    return c->sim->crash_event && !c->sim->fault_done && c->gone_last_ms >= c->sim->down_last_ms;
}

bool fault_session(struct client *c, bool present)
{
    struct sim *sim = c->sim;
    if (sim->options.fault != FAULT_CRASH_SESSION || !is_first_after_crash(c)) return present;
    if (!present || session_due(c, c->connect_ms) != 1) return present;
    trace(sim, "the fault strikes the session of %s", c->id);
    sim->fault_done = true;
    return false;
}

/* A topic that c has one subscription for, at QoS 1 or 2; -1: none. */
static int lone_topic(const struct client *c, const struct rec *r)
{
    const struct sim *sim = c->sim;
    const struct session *s = c->session;
    for (unsigned t = 0; t < PLAIN_TOPICS && r->qos; t++) {
        bool alone = rec_matches(sim, r, t);
        for (unsigned i = 0; i < s->rec_count; i++)
            if (&s->recs[i] != r && rec_matches(sim, &s->recs[i], t)) alone = false;
        if (alone) return (int)t;
    }
    return -1;
}

static void forget_subscription(struct client *c)
{
    struct sim *sim = c->sim;
    uint8_t d[REC_TEXT + 16];
    char text[REC_TEXT];
    for (unsigned i = 0; i < c->session->rec_count; i++) {
        const struct rec *r = &c->session->recs[i];
        int topic = r->granted && r->dropped == 0 && !r->shared ? lone_topic(c, r) : -1;
        if (topic < 0) continue;
        struct bytes filter = bytes_str(rec_text(sim, r, text));
        uint8_t *end =
            mqtt_unsubscribe_encode(d, c->version, PID_OF_FAULT, &filter, 1, (struct bytes){0});
        world_send(c->conn, bytes_of(d, (size_t)(end - d)));
        trace(sim, "the fault unsubscribes %s from %s", c->id, text);
        sim->fault_done = true;
        sim->fault_topic = (unsigned)topic;
        sim->fault_client = c->index;
        return;
    }
}

/* Whether somebody has got this message, as QoS 2. */
static bool has_come(struct sim *sim, uint32_t message)
{
    for (unsigned i = 0; i < sim->client_count; i++) {
        const struct client *c = &sim->clients[i];
        if (c->session == NULL || c->group >= 0) continue;
        const struct got *g = got_of(c->session, message);
        if (g->copy_count == 1 && g->copies[0].qos == 2) return true;
    }
    return false;
}

static void forget_id(struct client *c)
{
    struct sim *sim = c->sim;
    for (unsigned i = 0; i < c->unacked_count; i++) {
        struct unacked *u = &c->unacked[i];
        if (u->released || sim->messages[u->message].qos < 2 || !has_come(sim, u->message))
            continue;
        trace(sim, "the fault changes the id of #%u", u->message);
        u->pid = 40000;
        sim->fault_done = true;
        return;
    }
}

void fault_resumed(struct client *c)
{
    if (!is_first_after_crash(c)) return;
    if (c->sim->options.fault == FAULT_CRASH_SUB) forget_subscription(c);
    if (c->sim->options.fault == FAULT_CRASH_IN2) forget_id(c);
}

void fault_finish(struct sim *sim)
{
    if (sim->options.fault != FAULT_CRASH_SUB || !sim->fault_done) return;
    for (unsigned i = 0; i < sim->client_count; i++)
        if (i != sim->fault_client)
            client_publish(&sim->clients[i], sim->fault_topic, 1, false, false);
}

/* ---- retained ---- */

static uint32_t older_retained(const struct sim *sim, uint32_t message)
{
    const struct message *m = &sim->messages[message];
    for (uint32_t i = 0; i < message; i++) {
        const struct message *o = &sim->messages[i];
        if (o->topic == m->topic && o->retain && !o->empty && m->acked && o->seq < m->seq)
            return i + 1;
    }
    return 0;
}

uint32_t fault_retained(struct sim *sim, uint32_t got)
{
    if (sim->fault_done) return got;
    if (sim->options.fault == FAULT_LOSE_RETAINED) {
        sim->fault_done = true;
        return 0;
    }
    if (sim->options.fault != FAULT_CRASH_REVERT || sim->crash_event == 0) return got;
    uint32_t older = older_retained(sim, got - 1);
    if (older == 0) return got;
    sim->fault_done = true;
    trace(sim, "the fault puts #%u in the place of the retained #%u", older - 1, got - 1);
    return older;
}
