/* What the end of a connection or of a session means for what a client may and must get: wills,
 * publishes that nobody will send again, members of groups that are gone. */
#include "tests/sim/sim.h"

enum { ROOM_MS = 20 };

void will_comes(struct sim *sim, uint32_t will, bool surely)
{
    struct message *m = &sim->messages[will - 1];
    if (m->sent == 0) {
        m->sent = sim->event;
        m->sent_ms = world_now(sim->world);
        m->sends = 1;
    }
    if (surely) m->acked = sim->event;
    trace(sim, "will #%u %s", will - 1, surely ? "has come" : "may come");
}

void will_at_risk(struct client *c, uint32_t will)
{
    if (will == 0 || c->sim->disk == NULL) return;
    if (c->risky_count == RISKY_MAX)
        memmove(c->risky_wills, c->risky_wills + 1, --c->risky_count * sizeof c->risky_wills[0]);
    c->risky_wills[c->risky_count++] = will;
}

static uint32_t lasts_s(const struct client *c)
{
    if (c->version == MQTT_V5) return c->expiry_s;
    return c->clean ? 0 : UINT32_MAX;
}

/* QoS 0 of this connection that no PINGRESP has confirmed. */
static void give_up_qos0(struct client *c)
{
    struct sim *sim = c->sim;
    for (uint32_t i = c->qos0_from; i < sim->message_count; i++) {
        struct message *m = &sim->messages[i];
        if (m->publisher == c->index && m->qos == 0 && !m->is_will && m->acked == 0)
            m->given_up = true;
    }
}

static void forget_connection(struct client *c)
{
    give_up_qos0(c);
    c->state = OFFLINE;
    c->conn = NULL;
    c->op_count = c->outstanding_count = 0;
    c->ping_mark = 0;
    c->out.len = 0;
    c->holds = false;
}

void connection_ended(struct client *c, uint64_t first_ms, uint64_t last_ms, bool clean_leave)
{
    struct sim *sim = c->sim;
    uint32_t lasts = lasts_s(c);
    forget_connection(c);
    c->gone_first_ms = first_ms;
    c->gone_last_ms = last_ms;
    c->gone_known = false;
    if (lasts) will_at_risk(c, c->will);
    if (c->will && !clean_leave) {
        if (c->will_delay_s == 0 || lasts == 0) {
            will_comes(sim, c->will, true);
            if (lasts && c->known) c->fired_will = c->will;
        } else {
            c->late_will = c->will;
            c->late_will_ms = last_ms + min_u64(c->will_delay_s, lasts) * 1000;
        }
    }
    c->will = 0;
    if (lasts == 0) session_end(c);
}

int session_due(const struct client *c, uint64_t ms)
{
    if (c->clean) return 0;
    if (c->session == NULL) return c->present_unknown ? -1 : 0;
    uint64_t lasts_ms = c->version == MQTT_V5 && c->expiry_s != UINT32_MAX
                            ? c->expiry_s * (uint64_t)1000
                            : UINT64_MAX / 2;
    if (ms < c->gone_first_ms + lasts_ms) return c->session->doubt ? -1 : 1;
    if (ms < c->gone_last_ms + lasts_ms) return -1;
    /* A session stays until there is room in the store for its will. */
    const struct sim *sim = c->sim;
    uint64_t due = max_u64(c->gone_last_ms + lasts_ms, sim->down_last_ms);
    return sim->disk && ms < due + ROOM_MS ? -1 : 0;
}

void connect_lost(struct client *c)
{
    struct sim *sim = c->sim;
    /* Of a takeover that the broker may not have seen: both ends are gone now. */
    for (unsigned i = 0; i < ZOMBIES_MAX; i++) {
        if (c->zombies[i]) world_drop(c->zombies[i]);
        c->zombies[i] = NULL;
    }
    forget_connection(c);
    /* Had the session expired, the broker may have made another, which is not to be mistaken for
     * it. */
    c->must_clean |= c->clean || (c->session && session_due(c, c->connect_ms) != 1);
    c->gone_last_ms = world_now(sim->world);
    c->gone_known = false;
    will_at_risk(c, c->will);
    if (c->will) will_comes(sim, c->will, false);
    if (c->cancelled_will) will_comes(sim, c->cancelled_will, false);
    c->will = c->old_will = c->cancelled_will = 0;
    c->present_unknown = lasts_s(c) > 0;
    if (c->must_clean || lasts_s(c) == 0) session_end(c);
}

/* QoS 2 deliveries under way to a member whose session ends are discarded [MQTT-4.8.2-5]. */
static void excuse(struct client *c)
{
    struct sim *sim = c->sim;
    struct group *g = &sim->groups[c->group];
    for (uint32_t i = 0; i < sim->message_count && g->qos == 2; i++)
        if (sim->messages[i].qos == 2 && group_got(sim, g, i)->count == 0)
            group_got(sim, g, i)->excused = true;
}

void session_begin(struct client *c)
{
    if (c->group >= 0) excuse(c); /* the broker has ended the old one only now */
    struct session *s = calloc(1, sizeof *s);
    if (s == NULL) abort();
    s->client = c->index;
    s->serial = c->serial;
    s->next = c->sim->sessions;
    c->sim->sessions = s;
    c->session = s;
}

void session_end(struct client *c)
{
    struct sim *sim = c->sim;
    struct session *s = c->session;
    for (unsigned i = 0; i < c->unacked_count; i++)
        if (sim->messages[c->unacked[i].message].acked == 0)
            sim->messages[c->unacked[i].message].given_up = true;
    c->unacked_count = c->received_count = 0;
    if (s == NULL) return;
    if (c->group >= 0) excuse(c);
    c->session = NULL;
    c->older = true;
    free(s->got);
    s->got = NULL;
    s->got_cap = 0;
}

/* ---- on a disk ---- */

bool client_lasts(const struct client *c) { return lasts_s(c) > 0; }

void client_known(struct client *c)
{
    if (c->session == NULL || !client_lasts(c)) return;
    c->known = c->session->known = true;
    c->safe_gone_ms = UINT64_MAX;
    c->older = false;
}

void full_closed(struct client *c)
{
    world_drop(c->conn);
    c->conn = NULL;
    if (c->will && (c->will_delay_s == 0 || !client_lasts(c))) {
        will_comes(c->sim, c->will, false); /* it has no place either */
        c->will = 0;
    }
    connection_ended(c, c->full_ms, c->full_ms, false);
}

/* When the broker may have closed it, without the client's notice. */
static uint64_t last_seen_ms(const struct client *c)
{
    uint64_t down = c->sim->down_first_ms;
    return c->keep_alive_s ? min_u64(down, c->last_sent_ms + c->keep_alive_s * 1500u) : down;
}

/* A broker that does not know that the connection is there, or that it ended, counts from another
 * time. */
static void times_shaken(struct client *c)
{
    struct sim *sim = c->sim;
    if (c->state == OFFLINE && c->gone_known) return;
    uint64_t first = c->state == UP ? last_seen_ms(c) : c->gone_first_ms;
    uint64_t last = sim->down_last_ms;
    first = min_u64(first, c->safe_gone_ms);
    if (c->late_will && c->known) {
        will_comes(sim, c->late_will, false);
        c->late_will_ms += last - c->gone_last_ms;
    } else if (c->late_will) {
        will_comes(sim, c->late_will, false);
        c->late_will = 0;
    }
    c->gone_first_ms = first;
    c->gone_last_ms = last;
}

/* Wills of which it may be forgotten that they came, or are not to come any more. */
static void wills_shaken(struct client *c)
{
    struct sim *sim = c->sim;
    for (unsigned i = 0; i < c->risky_count; i++) {
        will_comes(sim, c->risky_wills[i], false);
        sim->messages[c->risky_wills[i] - 1].replays++;
    }
    c->risky_count = 0;
    if (c->fired_will)
        will_comes(sim, c->fired_will, !c->older && !sim->faults.again && !sim->faults.full);
    c->fired_will = 0;
}

static void up_crashed(struct client *c)
{
    struct sim *sim = c->sim;
    bool lasts = client_lasts(c);
    if (c->will && lasts && !c->known) will_comes(sim, c->will, false);
    if (!lasts || !c->known) c->will = 0; /* it is not on disk, or perhaps */
    connection_ended(c, c->gone_first_ms, c->gone_last_ms, false);
}

void connection_crashed(struct client *c)
{
    struct sim *sim = c->sim;
    bool stopped = sim->clean_stop;
    if (c->conn) world_drop(c->conn);
    c->conn = NULL;
    for (unsigned i = 0; i < ZOMBIES_MAX; i++) {
        if (c->zombies[i]) world_drop(c->zombies[i]);
        c->zombies[i] = NULL;
    }
    if (c->session) c->session->doubt = !c->session->known;
    if (!stopped) {
        wills_shaken(c);
        times_shaken(c);
    } else if (c->state == UP) {
        /* One that does not read is cut off only when the broker has written its last. */
        c->gone_first_ms = last_seen_ms(c);
        c->gone_last_ms = c->slow ? sim->down_last_ms : sim->down_first_ms;
        if (c->slow && c->will && client_lasts(c)) will_comes(sim, c->will, false);
    }
    if (c->state == CONNECTING) {
        connect_lost(c);
        c->gone_last_ms = sim->down_last_ms;
    } else if (c->state == UP) {
        up_crashed(c);
    }
    if (stopped) {
        c->gone_known = true;
        c->older = false;
        return;
    }
    c->safe_gone_ms = c->gone_first_ms; /* as the new broker tells the disk first of all */
    if (c->older) {                     /* whose end is perhaps forgotten */
        c->must_clean = true;
        session_end(c);
    }
}
