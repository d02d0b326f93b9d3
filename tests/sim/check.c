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

struct got *got_of(struct session *s, uint32_t message)
{
    s->got = grown(s->got, &s->got_cap, message, sizeof *s->got);
    return &s->got[message];
}

/* ---- what may come ---- */

bool rec_matches(const struct sim *sim, const struct rec *r, unsigned topic)
{
    return topic_filter_matches(r->shared ? sim->groups[r->filter].filter : r->filter, topic);
}

/* A subscription because of which m may have come to c with this QoS. */
const struct rec *may_get(const struct sim *sim, const struct client *c, const struct message *m,
                          uint8_t qos)
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
        /* A will for which the store has no room is not stored, and so not exactly once; nor is
         * what a group had before its first durable member came, nor, for want of room, what
         * another shard has mailed before it knew of the subscription. */
        bool is_late = r->granted == 0 || r->granted >= m->sent;
        bool no_room = sim->faults.again || sim->faults.full;
        bool is_unstored = sim->disk && (m->is_will || r->shared || (is_late && no_room));
        if (is_unstored && qos == 1 && m->qos == 2 && r->qos == 2) return r;
    }
    return NULL;
}

/* The last copy that came before with this identifier. */
struct copy *copy_of(struct got *g, uint16_t pid)
{
    for (unsigned i = g->copy_count; i > 0; i--)
        if (g->copies[i - 1].pid == pid) return &g->copies[i - 1];
    return NULL;
}

/* [MQTT-3.3.2-5], [MQTT-3.3.2-6]: what went by before this connection began is known. */
static void check_expiry(struct sim *sim, const struct delivery *d)
{
    const struct message *m = &sim->messages[d->message];
    uint64_t from = d->client->connect_ms, sent = m->last_sent_ms;
    if (m->expiry_s == MQTT_NO_EXPIRY || from <= sent) return;
    uint64_t waited_s =
        (from - sent) / 1000; /* since it was sent, less what it waited to be read */
    waited_s -= min_u64(waited_s, 2);
    if (waited_s > m->expiry_s)
        fail(sim, "%s: #%u comes although it has expired [MQTT-3.3.2-5]", d->client->id,
             d->message);
    else if (d->client->version == MQTT_V5 && d->expiry_s > m->expiry_s - waited_s)
        fail(sim, "%s: #%u is to expire in %u of %u s, waited %llu s [MQTT-3.3.2-6]", d->client->id,
             d->message, d->expiry_s, m->expiry_s, (unsigned long long)waited_s);
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
    if (sim->crash_event) { /* at least once: who has it may have been forgotten */
        g->count = 1;
        return;
    }
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
    bool lossy = sim->lossy || sim->faults.full || d->qos == 0 || m->expiry_s != MQTT_NO_EXPIRY;
    bool came_again = m->sends > 1 && (lossy || r->granted == 0 || m->sent < r->granted);
    /* That it was dropped is not in the log: with another queue it may be there after a crash. */
    bool was_dropped = sim->crash_event && sim->lossy;
    if (m->seq < *last && !came_again && !was_dropped)
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
    if (copy && !copy->done) {
        check_again(sim, d, copy);
        return;
    }
    if (d->dup && c->serial == c->session->serial)
        fail(sim, "%s: #%u has DUP at its first sending [MQTT-3.3.1-1]", c->id, d->message);
    if (!d->dup) check_expiry(sim, d);
    unsigned sends = m->qos == 1 ? m->sends : 1; /* the publisher may have sent it twice */
    sends += g->extra + (d->qos == 0 ? m->replays : 0);
    if (r->shared)
        check_group(sim, d, r, sends);
    else if (g->copy_count >= sends)
        fail(sim, "%s: #%u comes %u times, was sent %u times [MQTT-4.3.3]", c->id, d->message,
             g->copy_count + 1, m->sends);
    if (!r->shared && g->copy_count == 0) check_order(sim, d, r);
    if (g->copy_count < COPIES_MAX)
        g->copies[g->copy_count++] = (struct copy){
            .pid = d->pid, .qos = d->qos, .conn = c->serial, .ms = world_now(sim->world)};
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
        if (newest && !live->shaken && replaces(live, live->sent, m))
            fail(sim, "%s: retained #%u on %s comes after the newer #%u", c->id, d->message,
                 topic_name(m->topic), newest - 1);
    }
}

void check_asked(struct client *c, const struct rec *r)
{
    for (unsigned t = 0; t < TOPICS; t++) {
        if (!rec_matches(c->sim, r, t)) continue;
        if (c->session->owed[t].came >= c->session->owed[t].seq) c->session->owed[t].seq = 0;
        c->session->owed[t].came = 0;
    }
}

/* A subscription is there: what was surely retained when it was asked for must come, or what has
 * replaced it [MQTT-3.3.1-9], whatever happens to the broker, at QoS 1 and 2. */
void check_granted(struct client *c, const struct rec *r)
{
    const struct sim *sim = c->sim;
    if (r->shared || r->qos == 0 || r->asked_retained == 0) return;
    for (uint32_t i = 0; i < sim->message_count; i++) {
        const struct message *m = &sim->messages[i];
        if (!m->retain || m->acked == 0 || m->acked >= r->asked_retained) continue;
        if (!rec_matches(sim, r, m->topic) || m->seq < c->session->owed[m->topic].seq) continue;
        bool wanted = !m->empty && m->qos > 0 && m->expiry_s == MQTT_NO_EXPIRY && !m->is_will;
        c->session->owed[m->topic].seq = wanted ? m->seq : 0;
    }
}

static bool is_owed(const struct client *c, unsigned topic)
{
    const struct sim *sim = c->sim;
    const struct session *s = c->session;
    bool asks = false;
    if (s->owed[topic].seq == 0 || s->owed[topic].came >= s->owed[topic].seq) return false;
    for (unsigned i = 0; i < s->rec_count; i++) {
        const struct rec *r = &s->recs[i];
        asks |= r->granted && r->dropped == 0 && r->asked_retained && rec_matches(sim, r, topic) &&
                r->qos > 0 && !r->shared;
    }
    for (uint32_t i = 0; i < sim->message_count && asks; i++) {
        const struct message *m = &sim->messages[i];
        bool is_of_it = m->topic == topic && m->retain;
        bool is_later = is_of_it && m->seq > s->owed[topic].seq;
        if (is_of_it && m->sends > 1) return false; /* an older one may have come after it */
        if (is_later && (m->empty || m->qos == 0 || m->expiry_s != MQTT_NO_EXPIRY)) return false;
    }
    return asks;
}

void check_deliver(struct sim *sim, const struct delivery *d)
{
    struct message *m = &sim->messages[d->message];
    if (d->client->session)
        d->client->session->owed[m->topic].came =
            (uint32_t)max_u64(d->client->session->owed[m->topic].came, m->seq);
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
int must_get(const struct sim *sim, const struct client *c, const struct message *m)
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
bool has_member(const struct sim *sim, unsigned group, const struct message *m)
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

void check_delivery(struct sim *sim, struct delivery d)
{
    if (fault_strikes(sim, &d))
        fault_strike(sim, d);
    else
        check_deliver(sim, &d);
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
    for (unsigned t = 0; t < TOPICS && !sim->lossy; t++)
        if (is_owed(c, t))
            fail(sim, "%s: retained %u on %s is missing [MQTT-3.3.1-9]", c->id,
                 c->session->owed[t].seq, topic_name(t));
    for (uint32_t i = 0; i < sim->message_count; i++) {
        const struct message *m = &sim->messages[i];
        if (!is_due(sim, m)) continue;
        int qos = must_get(sim, c, m);
        if (qos < 0 || (qos == 0 && (c->up > m->sent || c->slow || sim->tight))) continue;
        struct got *g = got_of(c->session, i);
        if (g->copy_count || g->missed) continue;
        g->missed = true;
        sim->missing++;
        trace(sim, "%s misses #%u", c->id, i);
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
    bool of_groups = !sim->lossy && (!sim->options.crash || sim->options.groups);
    for (unsigned g = 0; g < GROUPS && of_groups; g++) {
        struct group *group = &sim->groups[g];
        for (uint32_t i = 0; i < sim->message_count && !sim->failed; i++) {
            const struct message *m = &sim->messages[i];
            if (m->qos == 0 || !is_due(sim, m) || !topic_filter_matches(group->filter, m->topic))
                continue;
            const struct group_got *got = group_got(sim, group, i);
            if (got->count == 0 && !got->excused && has_member(sim, g, m))
                fail(sim, "#%u of c%u on %s is lost to group %s", i, m->publisher,
                     topic_name(m->topic), group->name);
        }
    }
    uint64_t dropped =
        sim->dropped + world_stat(sim->world, offsetof(struct core_stats, dropped_queue_full));
    if (sim->missing > dropped)
        fail(sim, "%u messages are missing, %llu were counted as dropped", sim->missing,
             (unsigned long long)dropped);
}

/* ---- crashes ---- */

void check_settled(struct sim *sim)
{
    for (struct session *s = sim->sessions; s; s = s->next) {
        const struct client *c = &sim->clients[s->client];
        bool done =
            c->session == s && c->state == UP && !sim->down; /* its acknowledgements have arrived */
        for (uint32_t i = 0; s->got && i < s->got_cap; i++) {
            struct got *g = &s->got[i];
            g->settled = g->copy_count;
            for (unsigned n = 0; n < g->copy_count && done; n++) g->copies[n].done = true;
        }
    }
}

/* A crash may have taken m, or (stop) the end of the broker. */
static void shake(const struct sim *sim, struct message *m, bool stop)
{
    bool is_safe = stop || m->acked <= sim->safe_event || (m->qos && !m->is_will);
    /* That finds no room when its client comes back, or when its session ends, is not stored. */
    if (m->is_will && (sim->faults.again || sim->faults.full)) is_safe = false;
    if (m->acked && !is_safe) {
        m->acked = 0;
        m->given_up = true;
    }
    if (!stop) m->shaken |= m->sent && m->acked == 0;
}

/* QoS 2 is not sent before it is safe under which identifier. */
void check_shaken(struct sim *sim, bool stop)
{
    for (uint32_t i = 0; i < sim->message_count; i++) shake(sim, &sim->messages[i], stop);
    for (struct session *s = sim->sessions; s && !stop; s = s->next) {
        for (uint32_t i = 0; s->got && i < s->got_cap; i++) {
            struct got *g = &s->got[i];
            for (unsigned n = g->settled; n < g->copy_count; n++)
                g->extra += g->copies[n].qos < 2 && g->extra < UINT8_MAX;
        }
    }
}

/* ---- retained ---- */

bool may_be_retained(const struct sim *sim, uint32_t message)
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
