/* What each client was promised, and whether it got that and nothing else.  A message must reach a
 * session whose subscription was granted before it was sent and is still there; it may reach one
 * whose subscription was there at any time while it was under way. */
#include "tests/sim/sim.h"

uint32_t message_new(struct sim *sim, unsigned publisher, unsigned topic, uint8_t qos)
{
    if (sim->message_count == sim->message_cap) {
        sim->message_cap = sim->message_cap ? sim->message_cap * 2 : 256;
        sim->messages = realloc(sim->messages, sim->message_cap * sizeof *sim->messages);
        if (sim->messages == NULL) abort();
    }
    sim->messages[sim->message_count] = (struct message){.publisher = (uint16_t)publisher,
                                                         .topic = (uint16_t)topic,
                                                         .qos = qos,
                                                         .expiry_s = MQTT_NO_EXPIRY,
                                                         .seq = ++sim->seqs[publisher][topic]};
    return sim->message_count++;
}

static void *grown(void *p, uint32_t *cap, uint32_t need, size_t size)
{
    if (need < *cap) return p;
    uint32_t more = *cap ? *cap * 2 : 64;
    while (more <= need) more *= 2;
    char *q = realloc(p, more * size);
    if (q == NULL) abort();
    memset(q + *cap * size, 0, (more - *cap) * size);
    *cap = more;
    return q;
}

struct group_got *group_got(struct sim *sim, struct group *g, uint32_t message)
{
    (void)sim;
    g->got = grown(g->got, &g->got_cap, message, sizeof *g->got);
    return &g->got[message];
}

static struct got *got_of(struct session *s, uint32_t message)
{
    s->got = grown(s->got, &s->got_cap, message, sizeof *s->got);
    return &s->got[message];
}

/* ---- what may come ---- */

static bool rec_matches(const struct sim *sim, const struct rec *r, unsigned topic)
{
    return filter_matches(r->shared ? sim->groups[r->filter].filter : r->filter, topic);
}

/* A subscription because of which m may have come to c with this QoS. */
static const struct rec *may_get(const struct sim *sim, const struct client *c,
                                 const struct message *m, uint8_t qos)
{
    const struct session *s = c->session;
    for (unsigned i = 0; i < s->rec_count; i++) {
        const struct rec *r = &s->recs[i];
        if (r->asked == 0 || !rec_matches(sim, r, m->topic)) continue;
        /* A group keeps a message for who joins later. */
        if (m->routed && r->asked > m->routed && !r->shared) continue;
        if (r->gone && r->gone < m->sent) continue;
        if (c->no_local && m->publisher == c->index) continue; /* [MQTT-3.8.3-3] */
        if (qos == min_u64(m->qos, r->qos)) return r;
    }
    return NULL;
}

/* A copy of m that s got before with this identifier. */
static struct copy *copy_of(struct got *g, uint16_t pid)
{
    for (unsigned i = 0; i < g->copy_count; i++)
        if (g->copies[i].pid == pid) return &g->copies[i];
    return NULL;
}

/* The same delivery once more: on another connection, or [3.1.1] after retry_interval without an
 * acknowledgement [MQTT-4.4.0-1]. */
static void check_again(struct sim *sim, const struct delivery *d, struct copy *copy)
{
    const struct client *c = d->client;
    uint64_t waited = world_now(sim->world) - copy->ms;
    if (copy->conn == c->serial && (c->version == MQTT_V5 || !c->lags))
        fail(sim, "%s: #%u is sent again after %llu ms on a live connection [MQTT-4.4.0-1]", c->id,
             d->message, (unsigned long long)waited);
    copy->conn = c->serial;
    copy->ms = world_now(sim->world);
}

/* Once to the group, and once more for each receiver whose connection ended, at QoS 1. */
static void check_group(struct sim *sim, const struct delivery *d, const struct rec *r,
                        unsigned sends)
{
    struct group_got *g = group_got(sim, &sim->groups[r->filter], d->message);
    unsigned most = sends + world_closed(d->client->conn); /* then it went to another, perhaps */
    for (unsigned i = 0; i < g->count && i < COPIES_MAX && d->qos < 2; i++) {
        const struct client *by = &sim->clients[g->by[i].client];
        most += by->serial != g->by[i].serial || by->state != UP || world_closed(by->conn);
    }
    if (g->count >= most)
        fail(sim, "%s: #%u came to group %s %u times [MQTT-4.8.2-4]", d->client->id, d->message,
             sim->groups[r->filter].name, g->count + 1);
    if (g->count < COPIES_MAX) {
        g->by[g->count].client = (uint8_t)d->client->index;
        g->by[g->count].serial = d->client->serial;
    }
    if (g->count < UINT8_MAX) g->count++;
}

/* First deliveries come in the order of publishing, of each publisher, topic and QoS. */
static void check_order(struct sim *sim, const struct delivery *d, const struct rec *r)
{
    const struct message *m = &sim->messages[d->message];
    uint32_t *last = &d->client->session->last[m->publisher][m->topic][m->qos][d->qos];
    /* Its first sending was not for us, or lost where that is allowed. */
    bool lossy = sim->lossy || d->qos == 0 || m->expiry_s != MQTT_NO_EXPIRY;
    bool came_again = m->sends > 1 && (lossy || r->granted == 0 || m->sent < r->granted);
    if (m->seq < *last && !came_again)
        fail(sim, "%s: #%u (%u of c%u on %s) comes after %u [MQTT-4.6.0-6]", d->client->id,
             d->message, m->seq, m->publisher, topic_name(m->topic), *last);
    *last = (uint32_t)max_u64(*last, m->seq);
}

/* Whether b, routed when it was sent at that event, took the place of a for good; both retained on
 * one topic by one client. */
static bool replaces(const struct message *b, uint64_t routed, const struct message *a)
{
    return routed > a->last_sent || (routed == a->last_sent && b->seq > a->seq);
}

static void deliver_live(struct sim *sim, const struct delivery *d)
{
    struct client *c = d->client;
    struct message *m = &sim->messages[d->message];
    const struct rec *r = may_get(sim, c, m, d->qos);
    if (r == NULL) {
        fail(sim, "%s: #%u on %s at QoS %u was not subscribed", c->id, d->message,
             topic_name(m->topic), d->qos);
        return;
    }
    struct got *g = got_of(c->session, d->message);
    struct copy *copy = d->dup ? copy_of(g, d->pid) : NULL;
    if (copy) {
        check_again(sim, d, copy);
        return;
    }
    if (d->dup && c->serial == c->session->serial)
        fail(sim, "%s: #%u has DUP at its first sending [MQTT-3.3.1-1]", c->id, d->message);
    unsigned sends = m->qos == 1 ? m->sends : 1; /* the publisher may have sent it twice */
    if (r->shared)
        check_group(sim, d, r, sends);
    else if (g->copy_count >= sends)
        fail(sim, "%s: #%u comes %u times, was sent %u times [MQTT-4.3.3]", c->id, d->message,
             g->copy_count + 1, m->sends);
    if (!r->shared && g->copy_count == 0) check_order(sim, d, r);
    if (g->copy_count < COPIES_MAX)
        g->copies[g->copy_count++] =
            (struct copy){.pid = d->pid, .conn = c->serial, .ms = world_now(sim->world)};
    uint32_t *newest = &c->session->newest[m->topic][d->qos > 0];
    if (m->retain && (*newest == 0 || m->seq > sim->messages[*newest - 1].seq))
        *newest = d->message + 1;
}

/* Because of a SUBSCRIBE: a message that is or was the retained one. */
static void deliver_retained(struct sim *sim, const struct delivery *d)
{
    struct client *c = d->client;
    struct message *m = &sim->messages[d->message];
    struct session *s = c->session;
    bool asked = false;
    for (unsigned i = 0; i < s->rec_count; i++)
        asked |= !s->recs[i].shared && s->recs[i].asked && rec_matches(sim, &s->recs[i], m->topic);
    if (!asked || !m->retain)
        fail(sim, "%s: #%u on %s is retained %u, asked for %u [MQTT-3.3.1-8]", c->id, d->message,
             topic_name(m->topic), m->retain, asked);
    for (unsigned i = d->qos > 0; i < 2 && !d->dup; i++) { /* QoS 0 may overtake what waits */
        uint32_t newest = s->newest[m->topic][i];
        const struct message *live = &sim->messages[newest ? newest - 1 : 0];
        if (newest && replaces(live, live->sent, m))
            fail(sim, "%s: retained #%u on %s comes after the newer #%u", c->id, d->message,
                 topic_name(m->topic), newest - 1);
    }
}

static void deliver(struct sim *sim, const struct delivery *d)
{
    struct message *m = &sim->messages[d->message];
    if (d->client->session == NULL)
        fail(sim, "%s: #%u without a session", d->client->id, d->message);
    else if (m->sent == 0)
        fail(sim, "%s: will #%u before it is due [MQTT-3.1.3-9]", d->client->id, d->message);
    else if (d->retain)
        deliver_retained(sim, d);
    else
        deliver_live(sim, d);
}

void check_empty(struct sim *sim, struct client *c, unsigned topic)
{
    for (unsigned i = 0; i < c->session->rec_count; i++)
        if (c->session->recs[i].asked && rec_matches(sim, &c->session->recs[i], topic)) return;
    fail(sim, "%s: an empty message on %s was not subscribed", c->id, topic_name(topic));
}

/* The QoS at which m must have come to c, of plain subscriptions; -1: it need not. */
static int must_get(const struct sim *sim, const struct client *c, const struct message *m)
{
    int qos = -1;
    if (c->no_local && m->publisher == c->index) return -1;
    for (unsigned i = 0; i < c->session->rec_count; i++) {
        const struct rec *r = &c->session->recs[i];
        if (r->shared || r->granted == 0 || r->granted >= m->sent || r->dropped) continue;
        if (!rec_matches(sim, r, m->topic)) continue;
        int as = (int)min_u64(m->qos, r->qos);
        if (as > qos) qos = as;
    }
    return qos;
}

/* Whether some member was there all the time. */
static bool has_member(const struct sim *sim, unsigned group, const struct message *m)
{
    for (unsigned i = 0; i < sim->client_count; i++) {
        const struct client *c = &sim->clients[i];
        if (c->group != (int)group || c->state != UP) continue;
        for (unsigned r = 0; r < c->session->rec_count; r++) {
            const struct rec *rec = &c->session->recs[r];
            if (rec->granted && rec->granted < m->sent && rec->dropped == 0) return true;
        }
    }
    return false;
}

/* ---- faults of the harness itself ---- */

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

/* Whether this delivery is one for the fault to strike. */
static bool is_victim(const struct sim *sim, const struct delivery *d)
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
    default: return false;
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
        deliver(sim, &d);
        d.pid++;
        deliver(sim, &d);
        break;
    case FAULT_TWICE_SHARED:
        other = fellow(sim, d.client);
        deliver(sim, &d);
        if (other) d.client = other;
        d.pid++;
        deliver(sim, &d);
        break;
    case FAULT_STRANGER:
        other = stranger(sim, &sim->messages[d.message], d.qos);
        sim->fault_done = other != NULL;
        if (other) d.client = other;
        deliver(sim, &d);
        break;
    case FAULT_STALE:
        deliver(sim, &d);
        for (uint32_t i = 0; i < d.message; i++)
            if (sim->messages[i].topic == sim->messages[d.message].topic &&
                sim->messages[i].seq == 1)
                d.message = i;
        d.retain = true;
        deliver(sim, &d);
        break;
    default: break; /* it is lost */
    }
}

/* The first of a pair waits until the second has passed. */
static void swap(struct sim *sim, struct delivery d)
{
    const struct message *m = &sim->messages[d.message], *o = &sim->messages[sim->swap.message];
    if (sim->swap.full && sim->swap.client == d.client && m->publisher == o->publisher &&
        m->topic == o->topic && m->qos == o->qos && d.qos == sim->swap.qos) {
        struct delivery first = {
            .client = d.client, .message = sim->swap.message, .qos = d.qos, .pid = sim->swap.pid};
        trace(sim, "the fault swaps #%u and #%u", first.message, d.message);
        sim->fault_done = true;
        deliver(sim, &d);
        deliver(sim, &first);
        return;
    }
    if (sim->swap.full) {
        deliver(sim, &d);
        return;
    }
    sim->swap.full = true;
    sim->swap.client = d.client;
    sim->swap.message = d.message;
    sim->swap.qos = d.qos;
    sim->swap.pid = d.pid;
}

void check_delivery(struct sim *sim, struct delivery d)
{
    bool victim = !sim->fault_done && is_victim(sim, &d);
    if (victim && sim->fault_after > 0) {
        sim->fault_after--;
        victim = false;
    }
    if (!victim)
        deliver(sim, &d);
    else if (sim->options.fault == FAULT_SWAP)
        swap(sim, d);
    else
        strike(sim, d);
}

/* ---- what must have come ---- */

static bool is_due(const struct sim *sim, const struct message *m)
{
    if (m->acked == 0 || m->empty) return false;
    return m->expiry_s == MQTT_NO_EXPIRY ||
           world_now(sim->world) < m->sent_ms + m->expiry_s * (uint64_t)1000;
}

static void check_client(struct sim *sim, struct client *c)
{
    if (c->unacked_count || c->op_count || c->ping_mark) {
        fail(sim, "%s: %u publishes, %u subscriptions, %u pings are not answered", c->id,
             c->unacked_count, c->op_count, c->ping_mark != 0);
        return;
    }
    for (uint32_t i = 0; i < sim->message_count; i++) {
        const struct message *m = &sim->messages[i];
        if (!is_due(sim, m)) continue;
        int qos = must_get(sim, c, m);
        if (qos < 0 || (qos == 0 && (c->up > m->sent || c->slow || sim->tight))) continue;
        struct got *g = got_of(c->session, i);
        if (g->copy_count || g->missed) continue;
        g->missed = true;
        sim->missing++;
        if (!sim->lossy)
            fail(sim, "%s: #%u of c%u on %s is lost at QoS %d", c->id, i, m->publisher,
                 topic_name(m->topic), qos);
    }
}

void check_rest(struct sim *sim)
{
    sim->event++;
    for (uint32_t i = 0; i < sim->message_count; i++) {
        struct message *m = &sim->messages[i];
        if (m->routed == 0 && (m->acked || m->given_up)) m->routed = sim->event;
    }
    for (unsigned i = 0; i < sim->client_count && !sim->failed; i++)
        if (sim->clients[i].state == UP) check_client(sim, &sim->clients[i]);
}

void check_end(struct sim *sim)
{
    check_rest(sim);
    for (unsigned g = 0; g < GROUPS && !sim->lossy; g++) {
        struct group *group = &sim->groups[g];
        for (uint32_t i = 0; i < sim->message_count && !sim->failed; i++) {
            const struct message *m = &sim->messages[i];
            if (m->qos == 0 || !is_due(sim, m) || !filter_matches(group->filter, m->topic))
                continue;
            const struct group_got *got = group_got(sim, group, i);
            if (got->count == 0 && !got->excused && has_member(sim, g, m))
                fail(sim, "#%u of c%u on %s is lost to group %s", i, m->publisher,
                     topic_name(m->topic), group->name);
        }
    }
    uint64_t dropped =
        sim->lossy ? world_stat(sim->world, offsetof(struct core_stats, dropped_queue_full)) : 0;
    if (sim->missing > dropped)
        fail(sim, "%u messages are missing, %llu were counted as dropped", sim->missing,
             (unsigned long long)dropped);
}

static bool may_be_retained(const struct sim *sim, uint32_t message)
{
    const struct message *m = &sim->messages[message];
    for (uint32_t i = 0; i < sim->message_count; i++) {
        const struct message *other = &sim->messages[i];
        if (other->topic != m->topic || !other->retain || !other->acked) continue;
        /* QoS 1 is routed each time it is sent, QoS 2 once. */
        if (replaces(other, other->qos == 2 ? other->sent : other->last_sent, m)) return false;
    }
    return true;
}

/* got: what a fresh subscriber got on each topic, message + 1; 0: nothing. */
void check_retained(struct sim *sim, const uint32_t *got)
{
    for (unsigned t = PLAIN_TOPICS; t < PLAIN_TOPICS + RETAINED_TOPICS && !sim->failed; t++) {
        bool fits = false, any = false;
        int64_t last = -1;
        for (uint32_t i = 0; i < sim->message_count; i++) {
            const struct message *m = &sim->messages[i];
            if (m->topic != t || !m->retain) continue;
            bool is_it = m->empty ? got[t] == 0 : got[t] == i + 1;
            fits |= is_it && may_be_retained(sim, i);
            any |= m->acked != 0;
            if (m->acked) last = i;
        }
        if (!any) fits |= got[t] == 0; /* nothing was surely retained */
        if (!fits)
            fail(sim, "retained on %s is #%lld, and not what c%u published last: #%lld",
                 topic_name(t), (long long)got[t] - 1, t % sim->client_count, (long long)last);
    }
}
