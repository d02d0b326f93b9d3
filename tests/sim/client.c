/* A client as the standard wants it: it acknowledges in order, recognises QoS 2 messages that come
 * again by their packet identifier, sends again what was not acknowledged when it resumes a
 * session, and keeps to the broker's window.  Whatever it sees the checker hears; what the protocol
 * alone forbids is noticed here. */
#include <stdio.h>

#include "tests/sim/sim.h"

enum { HEAD = 23, LARGE = 5000, HUGE = 40000 };

/* ---- sending ---- */

static void put_now(struct client *c, struct bytes b)
{
    if (world_closed(c->conn)) return; /* only not noticed yet */
    c->last_sent_ms = world_now(c->sim->world);
    world_send(c->conn, b);
}

/* An acknowledgement: kept back while the client holds. */
static void put_ack(struct client *c, struct bytes b)
{
    if (!c->holds && c->out.len == 0) {
        put_now(c, b);
        return;
    }
    if (c->out.len + b.n > c->out.cap) {
        c->out.cap = 2 * (c->out.len + b.n);
        c->out.p = realloc(c->out.p, c->out.cap);
        if (c->out.p == NULL) abort();
    }
    put_mem(c->out.p + c->out.len, b);
    c->out.len += b.n;
}

void client_flush(struct client *c)
{
    if (c->conn && c->out.len) put_now(c, bytes_of(c->out.p, c->out.len));
    c->out.len = 0;
    if (c->holds) c->outstanding_count = 0; /* which of them is open is not known any more */
}

static void send_ack(struct client *c, unsigned type, uint16_t pid, uint8_t reason)
{
    uint8_t b[MQTT_ACK_MAX], *end;
    end = mqtt_ack_encode(b, c->version, type, pid, c->version == MQTT_V5 ? reason : 0,
                          (struct bytes){0}, (struct bytes){0});
    put_ack(c, bytes_of(b, (size_t)(end - b)));
}

static uint16_t pid_take(struct client *c)
{
    for (;;) {
        uint16_t pid = c->next_pid = (uint16_t)(c->next_pid % (PID_FIRST_OP - 1) + 1);
        unsigned i = 0;
        while (i < c->unacked_count && c->unacked[i].pid != pid) i++;
        if (i == c->unacked_count) return pid;
    }
}

static uint8_t *payload_write(const struct sim *sim, uint32_t message)
{
    const struct message *m = &sim->messages[message];
    uint8_t *p = malloc(m->size + 1);
    if (p == NULL) abort();
    memset(p, '.', m->size);
    char head[HEAD + 1];
    if (m->size >= HEAD) {
        snprintf(head, sizeof head, "%08x %02x %02x %08x", message, m->publisher & 255u,
                 m->topic & 255u, m->seq);
        memcpy(p, head, HEAD);
    }
    return p;
}

static void send_publish(struct client *c, uint32_t message, uint16_t pid, bool dup)
{
    struct sim *sim = c->sim;
    struct message *m = &sim->messages[message];
    uint8_t *payload = payload_write(sim, message);
    struct mqtt_publish_out o = {.topic = bytes_str(topic_name(m->topic)),
                                 .payload = bytes_of(payload, m->size),
                                 .expiry_s = m->expiry_s,
                                 .packet_id = pid,
                                 .qos = m->qos,
                                 .retain = m->retain,
                                 .dup = dup};
    if (c->version == MQTT_V5 && m->topic < c->server_aliases && rng_below(&sim->rng, 2)) {
        o.alias = (uint16_t)(m->topic + 1);
        if (c->alias_out[m->topic]) o.topic.n = 0;
        c->alias_out[m->topic] = true;
    }
    uint8_t *d = malloc(mqtt_publish_size(c->version, &o));
    if (d == NULL) abort();
    uint8_t *end = mqtt_publish_encode(d, c->version, &o);
    if (m->sent == 0) m->sent_ms = world_now(sim->world);
    if (m->sent == 0) m->sent = sim->event;
    m->last_sent = sim->event;
    m->last_sent_ms = world_now(sim->world);
    m->sends++;
    trace(sim, "%s publishes #%u to %s, QoS %u%s%s, id %u", c->id, message, topic_name(m->topic),
          m->qos, m->retain ? ", retain" : "", dup ? ", DUP" : "", pid);
    put_now(c, bytes_of(d, (size_t)(end - d)));
    free(d);
    free(payload);
}

void client_publish(struct client *c, unsigned topic, uint8_t qos, bool retain, bool empty)
{
    struct sim *sim = c->sim;
    if (c->state != UP) return;
    if (qos && c->unacked_count >= min_u64(UNACKED_MAX, c->server_window)) return;
    sim->event++;
    uint32_t message = message_new(sim, c->index, topic, qos);
    struct message *m = &sim->messages[message];
    m->retain = retain;
    m->empty = empty;
    unsigned dice = (unsigned)rng_below(&sim->rng, 100);
    m->size = empty ? 0 : dice == 0 ? HUGE : dice < 5 ? LARGE : HEAD + dice;
    if (c->version == MQTT_V5 && qos && !retain && dice % 10 == 3) m->expiry_s = 1 + dice;
    uint16_t pid = qos ? pid_take(c) : 0;
    if (qos) c->unacked[c->unacked_count++] = (struct unacked){.message = message, .pid = pid};
    send_publish(c, message, pid, false);
}

void client_ping(struct client *c)
{
    uint8_t b[MQTT_SMALL_MAX];
    if (c->state != UP || c->ping_mark) return;
    c->sim->event++;
    c->ping_mark = c->sim->message_count + 1;
    put_now(c, bytes_of(b, (size_t)(mqtt_ping_encode(b, MQTT_PINGREQ) - b)));
}

static void resend(struct client *c)
{
    for (unsigned i = 0; i < c->unacked_count; i++) { /* [MQTT-4.4.0-1], [MQTT-4.6.0-1] */
        struct unacked *u = &c->unacked[i];
        if (u->released)
            send_ack(c, MQTT_PUBREL, u->pid, 0);
        else
            send_publish(c, u->message, u->pid, true);
    }
}

/* ---- connecting ---- */

void client_init(struct sim *sim, unsigned index)
{
    static const uint16_t windows[] = {0, 0, 1, 2, 5, 20};
    static const uint32_t expiries[] = {0, 4, 60, 3600, UINT32_MAX};
    struct client *c = &sim->clients[index];
    struct rng *r = &sim->rng;
    *c = (struct client){.sim = sim, .index = index, .group = -1, .safe_gone_ms = UINT64_MAX};
    snprintf(c->id, sizeof c->id, "c%u", index % 100);
    c->version = rng_below(r, 2) ? MQTT_V5 : MQTT_V311;
    if (c->version == MQTT_V5) {
        c->expiry_s = expiries[rng_below(r, ARRAY_LEN(expiries))];
        c->receive_max = windows[rng_below(r, ARRAY_LEN(windows))];
        c->alias_max = (uint16_t)(rng_below(r, 2) * ALIASES_MAX);
        c->no_local = rng_below(r, 4) == 0;
    }
    c->always_clean = rng_below(r, 4) == 0;
    unsigned dice = (unsigned)rng_below(r, 10);
    if (dice < 4) c->has_wills = true;
    if (dice == 9) c->keep_alive_s = (uint16_t)(5 + rng_below(r, 20));
    if (index > 1 && rng_below(r, 3) == 0) c->group = (int)rng_below(r, GROUPS);
    if (c->group >= 0) c->no_local = false; /* [MQTT-3.8.3-4] */
}

static void will_choose(struct client *c, struct mqtt_connect *m, uint8_t *props)
{
    struct sim *sim = c->sim;
    c->will = 0;
    if (!c->has_wills || rng_below(&sim->rng, 4) == 0) return;
    uint8_t qos = (uint8_t)rng_below(&sim->rng, 3);
    uint32_t message = message_new(sim, c->index, will_topic(c->index), qos);
    struct message *w = &sim->messages[message];
    w->is_will = true;
    w->size = HEAD;
    c->will = message + 1;
    c->will_delay_s = c->version == MQTT_V5 && rng_below(&sim->rng, 2)
                          ? 1 + (uint32_t)rng_below(&sim->rng, 9)
                          : 0;
    m->has_will = true;
    m->will.topic = bytes_str(topic_name(w->topic));
    m->will.payload = bytes_of(payload_write(sim, message), w->size);
    m->will.qos = qos;
    if (c->version != MQTT_V5 || c->will_delay_s == 0) return;
    m->will.props.raw = bytes_of(props, 5);
    mqtt_put_prop_u32(props, MQTT_P_WILL_DELAY, c->will_delay_s);
}

static void send_connect(struct client *c)
{
    uint8_t props[32], will_props[8], *p = props;
    if (c->version == MQTT_V5) {
        if (c->expiry_s) p = mqtt_put_prop_u32(p, MQTT_P_SESSION_EXPIRY, c->expiry_s);
        if (c->receive_max) p = mqtt_put_prop_u16(p, MQTT_P_RECEIVE_MAX, c->receive_max);
        if (c->alias_max) p = mqtt_put_prop_u16(p, MQTT_P_TOPIC_ALIAS_MAX, c->alias_max);
    }
    struct mqtt_connect m = {.version = c->version,
                             .clean_start = c->clean,
                             .keep_alive_s = c->keep_alive_s,
                             .client_id = bytes_str(c->id),
                             .props = {.raw = bytes_of(props, (size_t)(p - props))}};
    will_choose(c, &m, will_props);
    uint8_t *d = malloc(mqtt_connect_size(&m));
    if (d == NULL) abort();
    uint8_t *end = mqtt_connect_encode(d, &m);
    trace(c->sim, "%s connects: v%u, clean %u, will %d (delay %u s)", c->id, c->version, c->clean,
          (int)c->will - 1, c->will ? c->will_delay_s : 0);
    put_now(c, bytes_of(d, (size_t)(end - d)));
    free(d);
    if (m.has_will) free((void *)(uintptr_t)m.will.payload.p);
}

static bool expires_with_connection(const struct client *c)
{
    return c->version == MQTT_V5 ? c->expiry_s == 0 : c->clean;
}

/* The connection that is up is left open, and taken over by the new one. */
static void park(struct client *c, bool clean)
{
    struct sim *sim = c->sim;
    unsigned at = 0;
    while (at < ZOMBIES_MAX - 1 && c->zombies[at]) at++;
    if (c->zombies[at]) world_drop(c->zombies[at]);
    c->zombies[at] = c->conn;
    world_room(c->conn, SIZE_MAX);
    c->gone_first_ms = c->gone_last_ms = world_now(sim->world);
    bool ends = clean || expires_with_connection(c);
    c->old_will = ends || c->will_delay_s == 0 ? c->will : 0;
    c->cancelled_will = c->old_will ? 0 : c->will;
    c->will = 0;
    if (expires_with_connection(c)) session_end(c);
}

/* The broker has closed it, and the client has not noticed yet. */
static bool is_closed(struct client *c)
{
    if (c->conn == NULL || !world_closed(c->conn)) return false;
    client_read(c);
    return true;
}

void client_connect(struct client *c, bool clean)
{
    struct sim *sim = c->sim;
    if (is_closed(c) || c->state == CONNECTING || c->state == LEAVING) return;
    sim->event++;
    clean |= c->always_clean || c->must_clean;
    c->old_will = c->cancelled_will = 0;
    if (c->state == UP)
        park(c, clean);
    else if (clean)
        c->old_will = c->late_will; /* the session ends: it comes now */
    else
        c->cancelled_will = c->late_will; /* [MQTT-3.1.3-9] */
    c->late_will = c->fired_will = 0;
    if (c->old_will) will_comes(sim, c->old_will, false);
    will_at_risk(c, c->old_will);
    will_at_risk(c, c->cancelled_will);
    c->clean = clean;
    c->state = CONNECTING;
    c->serial++;
    c->conn = world_connect(sim->world);
    c->connect_ms = world_now(sim->world);
    c->slow = c->held = c->lags = c->known = c->was_full = false;
    c->out.len = 0;
    c->outstanding_count = c->op_count = 0;
    c->ping_mark = 0;
    c->qos0_from = sim->message_count;
    memset(c->alias_in, 0, sizeof c->alias_in);
    memset(c->alias_out, 0, sizeof c->alias_out);
    send_connect(c);
}

static void on_connack(struct client *c, struct bytes body)
{
    struct sim *sim = c->sim;
    struct mqtt_connack m;
    bool bad = mqtt_connack_decode(c->version, body, &m) < 0 || c->state != CONNECTING;
    if (!bad && m.reason && sim->clean_stop) return; /* as good as not answered */
    if (bad || m.reason) {
        fail(sim, "%s: CONNACK out of place, or reason 0x%02x", c->id, m.reason);
        return;
    }
    m.session_present = fault_session(c, m.session_present);
    int due = session_due(c, c->connect_ms);
    trace(sim, "%s is connected, session present %u", c->id, m.session_present);
    if (due >= 0 && due != m.session_present)
        fail(sim, "%s: session present %u, expected %d [MQTT-3.2.2-2], [MQTT-3.2.2-3]", c->id,
             m.session_present, due);
    if (c->old_will) will_comes(sim, c->old_will, true);
    c->old_will = 0;
    c->state = UP;
    c->up = sim->event;
    c->must_clean = c->present_unknown = false;
    bool v5 = c->version == MQTT_V5;
    c->window = c->receive_max ? c->receive_max : sim->cfg.max_inflight_messages;
    if (v5 && c->receive_max == 0) c->window = UINT16_MAX;
    if (c->window == 0) c->window = UINT16_MAX;
    c->server_aliases =
        v5 && mqtt_has(&m.props, MQTT_P_TOPIC_ALIAS_MAX) ? m.props.topic_alias_max : 0;
    c->server_window =
        v5 && mqtt_has(&m.props, MQTT_P_RECEIVE_MAX) ? m.props.receive_max : UINT16_MAX;
    if (m.session_present && c->session) {
        c->session->known |= c->session->doubt;
        c->session->doubt = false;
        client_known(c); /* it is answered when that is safe */
        fault_resumed(c);
        resend(c);
        return;
    }
    session_end(c);
    session_begin(c);
    client_known(c);
    c->older = false; /* whatever there was */
}

void client_drop(struct client *c)
{
    struct sim *sim = c->sim;
    if (is_closed(c) || c->state == OFFLINE) return;
    sim->event++;
    trace(sim, "%s is cut off", c->id);
    world_drop(c->conn);
    c->conn = NULL;
    uint64_t now = world_now(sim->world);
    if (c->state == CONNECTING)
        connect_lost(c);
    else
        connection_ended(c, now, now, false);
}

void client_leave(struct client *c, bool with_will)
{
    struct sim *sim = c->sim;
    uint8_t b[MQTT_SMALL_MAX];
    if (is_closed(c) || c->state != UP) return;
    sim->event++;
    with_will &= c->version == MQTT_V5;
    trace(sim, "%s disconnects%s", c->id, with_will ? " with will" : "");
    uint8_t *end = mqtt_disconnect_encode(b, c->version, MQTT_DISCONNECT, with_will ? 4 : 0,
                                          (struct bytes){0});
    put_now(c, bytes_of(b, (size_t)(end - b)));
    bool at_once = c->will_delay_s == 0 || expires_with_connection(c);
    if (with_will && at_once && c->will) will_comes(sim, c->will, false);
    world_run(sim->world);
    bool taken = world_closed(c->conn);
    world_drop(c->conn);
    c->conn = NULL;
    if (!taken && c->will) will_comes(sim, c->will, false); /* DISCONNECT may not have been read */
    if (!taken) c->will = 0;
    uint64_t now = world_now(sim->world);
    connection_ended(c, now, now, !with_will);
}

/* ---- receiving ---- */

static bool is_outstanding(const struct client *c, uint16_t pid)
{
    for (unsigned i = 0; i < c->outstanding_count; i++)
        if (c->outstanding[i] == pid) return true;
    return false;
}

static void outstanding_add(struct client *c, uint16_t pid)
{
    if (is_outstanding(c, pid)) return;
    if (c->outstanding_count >= c->window || c->outstanding_count == WINDOW_MAX) {
        if (c->window < WINDOW_MAX)
            fail(c->sim, "%s: %u deliveries are unacknowledged, its window is %u [MQTT-3.3.4-9]",
                 c->id, c->outstanding_count + 1, c->window);
        return;
    }
    c->outstanding[c->outstanding_count++] = pid;
}

static void outstanding_del(struct client *c, uint16_t pid)
{
    if (c->holds) return; /* the broker has not heard of it yet: see client_flush() */
    for (unsigned i = 0; i < c->outstanding_count; i++)
        if (c->outstanding[i] == pid) c->outstanding[i] = c->outstanding[--c->outstanding_count];
}

static int received_at(const struct client *c, uint16_t pid)
{
    for (unsigned i = 0; i < c->received_count; i++)
        if (c->received[i].pid == pid) return (int)i;
    return -1;
}

/* The message that a payload names; -1: not as it was sent. */
static int64_t payload_read(const struct sim *sim, struct bytes p, unsigned topic)
{
    char head[HEAD + 1] = "";
    unsigned message, publisher, at, seq;
    if (p.n < HEAD) return -1;
    memcpy(head, p.p, HEAD);
    if (sscanf(head, "%8x %2x %2x %8x", &message, &publisher, &at, &seq) != 4) return -1;
    if (message >= sim->message_count) return -1;
    const struct message *m = &sim->messages[message];
    if (m->publisher != publisher || m->topic != at || at != topic || m->seq != seq) return -1;
    if (m->size != p.n) return -1;
    for (size_t i = HEAD; i < p.n; i++)
        if (p.p[i] != '.') return -1;
    return message;
}

/* Also what is left of its expiry. */
static int topic_of(struct client *c, struct mqtt_publish *m, uint32_t *expiry_s)
{
    struct mqtt_props props = {0};
    if (c->version == MQTT_V5 && mqtt_publish_props_from_server(m, &props) < 0) return -1;
    *expiry_s = mqtt_has(&props, MQTT_P_MESSAGE_EXPIRY) ? props.message_expiry : MQTT_NO_EXPIRY;
    if (!mqtt_has(&props, MQTT_P_TOPIC_ALIAS)) return topic_index(m->topic);
    unsigned alias = props.topic_alias;
    if (alias > c->alias_max) return -1; /* [MQTT-3.3.2-9] */
    if (m->topic.n && m->topic.n < sizeof c->alias_in[0]) {
        memcpy(c->alias_in[alias], m->topic.p, m->topic.n);
        c->alias_in[alias][m->topic.n] = 0;
    }
    return topic_index(bytes_str(c->alias_in[alias]));
}

/* QoS 2: whether this packet is the same message again. */
static bool seen_before(struct client *c, const struct mqtt_publish *m, uint32_t message)
{
    int at = received_at(c, m->packet_id);
    if (at >= 0 && c->group >= 0 && c->sim->crash_event && !c->sim->options.groups) {
        c->received[at].message = message;
        return false;
    }
    if (at >= 0) {
        if (c->received[at].message != message || !m->dup)
            fail(c->sim, "%s: QoS 2 id %u is in use by #%u, now it is #%u, DUP %u [MQTT-2.2.1-4]",
                 c->id, m->packet_id, c->received[at].message, message, m->dup);
        return true;
    }
    if (c->received_count == WINDOW_MAX) return false;
    c->received[c->received_count].message = message;
    c->received[c->received_count++].pid = m->packet_id;
    return false;
}

static void on_publish(struct client *c, unsigned flags, struct bytes body)
{
    struct sim *sim = c->sim;
    struct mqtt_publish m;
    if (mqtt_publish_decode(c->version, flags, body, &m) < 0) {
        fail(sim, "%s: a malformed PUBLISH", c->id);
        return;
    }
    uint32_t expiry_s = 0;
    int topic = topic_of(c, &m, &expiry_s);
    int64_t message = topic < 0 ? -1 : payload_read(sim, m.payload, (unsigned)topic);
    bool empty = topic >= 0 && m.payload.n == 0;
    if (message < 0 && !empty) {
        fail(sim, "%s: nobody sent this to %.*s", c->id, (int)m.topic.n, (const char *)m.topic.p);
        return;
    }
    trace(sim, "%s gets #%d of %s, QoS %u%s%s, id %u", c->id, (int)message,
          topic_name((unsigned)topic), m.qos, m.retain ? ", retain" : "", m.dup ? ", DUP" : "",
          m.packet_id);
    if (m.qos && is_outstanding(c, m.packet_id) && !m.dup)
        fail(sim, "%s: id %u is in use already [MQTT-2.2.1-4]", c->id, m.packet_id);
    if (m.qos) outstanding_add(c, m.packet_id);
    bool again = m.qos == 2 && !empty && seen_before(c, &m, (uint32_t)message);
    if (empty)
        check_empty(sim, c, (unsigned)topic);
    else if (!again)
        check_delivery(sim, (struct delivery){.client = c,
                                              .message = (uint32_t)message,
                                              .expiry_s = expiry_s,
                                              .qos = m.qos,
                                              .dup = m.dup,
                                              .retain = m.retain,
                                              .pid = m.packet_id});
    if (m.qos == 1) outstanding_del(c, m.packet_id);
    if (m.qos) send_ack(c, m.qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, m.packet_id, 0);
}

static void on_pubrel(struct client *c, uint16_t pid)
{
    int at = received_at(c, pid);
    if (at >= 0) c->received[at] = c->received[--c->received_count];
    outstanding_del(c, pid);
    send_ack(c, MQTT_PUBCOMP, pid, at >= 0 ? 0 : MQTT_PACKET_ID_NOT_FOUND);
}

static void unacked_del(struct client *c, unsigned at)
{
    c->unacked_count--;
    memmove(&c->unacked[at], &c->unacked[at + 1], (c->unacked_count - at) * sizeof c->unacked[0]);
}

/* PUBACK, PUBREC, PUBCOMP: about what this client published. */
static void on_answer(struct client *c, unsigned type, const struct mqtt_ack *a)
{
    struct sim *sim = c->sim;
    unsigned i = 0;
    while (i < c->unacked_count && c->unacked[i].pid != a->packet_id) i++;
    /* It may have been completed before, if the first PUBCOMP was lost with a connection. */
    bool known = a->reason < MQTT_UNSPECIFIED_ERROR ||
                 (type == MQTT_PUBCOMP && a->reason == MQTT_PACKET_ID_NOT_FOUND);
    if (i < c->unacked_count && a->reason == MQTT_QUOTA_EXCEEDED && c->was_full) {
        trace(sim, "%s: #%u is refused", c->id, c->unacked[i].message);
        sim->messages[c->unacked[i].message].given_up = true;
        unacked_del(c, i);
        return;
    }
    if (i == c->unacked_count || !known) {
        fail(sim, "%s: %s for id %u, reason 0x%02x", c->id, mqtt_type_name(type), a->packet_id,
             a->reason);
        return;
    }
    struct unacked *u = &c->unacked[i];
    struct message *m = &sim->messages[u->message];
    bool fits = type == MQTT_PUBACK ? m->qos == 1 : m->qos == 2;
    if (!fits || (type == MQTT_PUBCOMP && !u->released))
        fail(sim, "%s: %s answers QoS %u", c->id, mqtt_type_name(type), m->qos);
    trace(sim, "%s: %s of #%u", c->id, mqtt_type_name(type), u->message);
    if (m->acked == 0) m->acked = sim->event;
    if (type == MQTT_PUBREC) {
        u->released = true;
        send_ack(c, MQTT_PUBREL, u->pid, 0);
    } else {
        unacked_del(c, i);
    }
}

static void on_ack(struct client *c, unsigned type, struct bytes body)
{
    struct mqtt_ack a;
    if (mqtt_ack_decode(c->version, type, body, &a) < 0)
        fail(c->sim, "%s: a malformed %s", c->id, mqtt_type_name(type));
    else if (type == MQTT_PUBREL)
        on_pubrel(c, a.packet_id);
    else
        on_answer(c, type, &a);
}

static void on_suback(struct client *c, unsigned type, struct bytes body)
{
    struct sim *sim = c->sim;
    struct mqtt_suback s = {0};
    int rc = type == MQTT_SUBACK ? mqtt_suback_decode(c->version, body, &s)
                                 : mqtt_unsuback_decode(c->version, body, &s);
    if (rc == 0 && s.packet_id == PID_OF_FAULT) return;
    unsigned i = 0;
    while (rc == 0 && i < c->op_count && c->ops[i].pid != s.packet_id) i++;
    if (rc < 0 || i == c->op_count || c->ops[i].ends != (type == MQTT_UNSUBACK)) {
        fail(sim, "%s: %s out of place", c->id, mqtt_type_name(type));
        return;
    }
    struct op op = c->ops[i];
    c->ops[i] = c->ops[--c->op_count];
    bool codes = !op.ends || c->version == MQTT_V5;
    if (codes && s.reasons.n != op.rec_count) fail(sim, "%s: codes are missing", c->id);
    for (unsigned r = 0; r < op.rec_count && !sim->failed; r++) {
        struct rec *rec = op.recs[r];
        if (codes && s.reasons.p[r] != (op.ends ? 0 : rec->qos))
            fail(sim, "%s: %s says 0x%02x", c->id, mqtt_type_name(type), s.reasons.p[r]);
        uint64_t *at = op.ends ? &rec->gone : &rec->granted;
        if (*at == 0) *at = sim->event;
        if (!op.ends) check_granted(c, rec);
    }
    trace(sim, "%s: %s", c->id, mqtt_type_name(type));
    client_known(c); /* it is not sent before what was before it is safe */
}

static void on_pingresp(struct client *c)
{
    struct sim *sim = c->sim;
    for (uint32_t i = c->qos0_from; i + 1 < c->ping_mark; i++) {
        struct message *m = &sim->messages[i];
        bool is_ours = m->publisher == c->index && m->qos == 0 && !m->is_will;
        if (is_ours && c->was_full) m->given_up = true;
        if (is_ours && m->acked == 0 && !c->was_full) m->acked = sim->event;
    }
    c->ping_mark = 0;
}

static void on_packet(struct client *c, const struct mqtt_frame *f, struct bytes body)
{
    struct sim *sim = c->sim;
    sim->event++;
    switch (f->type) {
    case MQTT_CONNACK: on_connack(c, body); break;
    case MQTT_PUBLISH: on_publish(c, f->flags, body); break;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP: on_ack(c, f->type, body); break;
    case MQTT_SUBACK:
    case MQTT_UNSUBACK: on_suback(c, f->type, body); break;
    case MQTT_PINGRESP: on_pingresp(c); break;
    case MQTT_DISCONNECT:
        trace(sim, "%s: DISCONNECT 0x%02x", c->id, body.n ? body.p[0] : 0);
        if (sim->clean_stop && body.n && body.p[0] == MQTT_SERVER_SHUTTING_DOWN) break;
        if (c->keep_alive_s == 0 || body.n == 0 || body.p[0] != MQTT_KEEP_ALIVE_TIMEOUT)
            fail(sim, "%s: DISCONNECT 0x%02x", c->id, body.n ? body.p[0] : 0);
        break;
    default: fail(sim, "%s: packet of type %u", c->id, f->type);
    }
}

static void closed_by_broker(struct client *c)
{
    struct sim *sim = c->sim;
    uint64_t now = world_now(sim->world), due = c->last_sent_ms + c->keep_alive_s * 1500u;
    sim->event++;
    trace(sim, "%s is closed by the broker", c->id);
    if (c->was_full && c->version != MQTT_V5) { /* its publish was refused */
        full_closed(c);
        return;
    }
    if (c->keep_alive_s == 0 || now < due) fail(sim, "%s: closed without a reason", c->id);
    world_drop(c->conn);
    c->conn = NULL;
    if (c->state == CONNECTING)
        connect_lost(c);
    else
        connection_ended(c, due, now, false);
}

static bool zombies_read(struct client *c)
{
    bool any = false;
    for (unsigned i = 0; i < ZOMBIES_MAX; i++) {
        if (c->zombies[i] == NULL) continue;
        any |= world_received(c->zombies[i]).n > 0;
        world_consume(c->zombies[i], world_received(c->zombies[i]).n);
        if (!world_closed(c->zombies[i])) continue;
        world_drop(c->zombies[i]);
        c->zombies[i] = NULL;
        any = true;
    }
    return any;
}

bool client_read(struct client *c)
{
    bool any = zombies_read(c);
    struct mqtt_frame f;
    while (c->conn && !c->sim->failed) {
        struct bytes in = world_received(c->conn);
        int rc = mqtt_frame_peek(in, 0, &f);
        if (rc == E_AGAIN) break;
        if (rc < 0) fail(c->sim, "%s: the broker's bytes are no packet", c->id);
        if (rc < 0) break;
        on_packet(c, &f, bytes_of(in.p + f.head_len, f.body_len));
        any = true;
        world_consume(c->conn, f.head_len + f.body_len);
    }
    if (c->conn == NULL || !world_closed(c->conn) || c->sim->failed || c->sim->down) return any;
    closed_by_broker(c);
    return true;
}

void client_fini(struct client *c)
{
    free(c->out.p);
    c->out = (struct bytes_out){0};
}

/* ---- subscribing ---- */

static struct rec *rec_of(struct session *s, unsigned filter, bool shared)
{
    for (unsigned i = 0; i < s->rec_count; i++) {
        struct rec *r = &s->recs[i];
        if (r->filter == filter && r->shared == shared && r->gone == 0) return r;
    }
    if (s->rec_count == RECS_MAX) return NULL;
    struct rec *r = &s->recs[s->rec_count++];
    *r = (struct rec){.filter = filter, .shared = shared};
    return r;
}

/* Some subscribe through a filter that everything passes: all is promised them as to the others. */
const char *rec_text(const struct sim *sim, const struct rec *r, char text[REC_TEXT])
{
    static const char *const prefixes[] = {"", "$filter/mqtt.qos < 9/",
                                           "$filter/mqtt.levels > 0 OR EXISTS n/"};
    const struct group *g = &sim->groups[r->shared ? r->filter : 0];
    const char *prefix = prefixes[(r->qos + r->filter) % ARRAY_LEN(prefixes)];
    if (r->shared)
        snprintf(text, REC_TEXT, "$share/%s/%s%s", g->name, prefix, filter_name(g->filter));
    else
        snprintf(text, REC_TEXT, "%s%s", prefix, filter_name(r->filter));
    return text;
}

static struct op *op_new(struct client *c, bool ends)
{
    if (c->state != UP || c->op_count == OPS_MAX) return NULL;
    c->sim->event++;
    struct op *op = &c->ops[c->op_count];
    c->next_op_pid = (uint16_t)((c->next_op_pid + 1) % 1000);
    *op = (struct op){.pid = (uint16_t)(PID_FIRST_OP + c->next_op_pid), .ends = ends};
    return op;
}

/* Whether another entry of the packet, or an UNSUBSCRIBE under way, is about the same. */
static bool is_busy(const struct op *op, const struct rec *r)
{
    for (unsigned i = 0; i < op->rec_count; i++)
        if (op->recs[i] == r) return true;
    return r->dropped != 0;
}

void client_subscribe(struct client *c)
{
    struct sim *sim = c->sim;
    struct op *op = op_new(c, false);
    struct mqtt_subscription subs[4];
    char texts[4][REC_TEXT];
    unsigned want = c->group >= 0 ? 1 : 1 + (unsigned)rng_below(&sim->rng, 3);
    for (unsigned i = 0; op && i < want; i++) {
        unsigned filter =
            c->group >= 0 ? (unsigned)c->group : (unsigned)rng_below(&sim->rng, filter_count);
        struct rec *r = rec_of(c->session, filter, c->group >= 0);
        if (r == NULL || is_busy(op, r)) continue;
        if (r->asked == 0) r->asked = sim->event;
        r->qos = r->shared ? sim->groups[filter].qos : (uint8_t)((c->index + filter) % 3);
        subs[op->rec_count] = (struct mqtt_subscription){.qos = r->qos, .no_local = c->no_local};
        subs[op->rec_count].filter = bytes_str(rec_text(sim, r, texts[op->rec_count]));
        if (c->version == MQTT_V5)
            subs[op->rec_count].retain_handling = (uint8_t)rng_below(&sim->rng, 3);
        if (subs[op->rec_count].retain_handling == 0) check_asked(c, r);
        if (subs[op->rec_count].retain_handling == 0) r->asked_retained = sim->event;
        trace(sim, "%s subscribes to %.*s, QoS %u, id %u", c->id, (int)subs[op->rec_count].filter.n,
              (const char *)subs[op->rec_count].filter.p, r->qos, op->pid);
        op->recs[op->rec_count++] = r;
    }
    if (op == NULL || op->rec_count == 0) return;
    uint8_t d[4 * REC_TEXT + 16];
    ASSERT(mqtt_subscribe_size(c->version, subs, op->rec_count, (struct bytes){0}) <= sizeof d);
    uint8_t *end =
        mqtt_subscribe_encode(d, c->version, op->pid, subs, op->rec_count, (struct bytes){0});
    c->session->subscribes++;
    c->op_count++;
    put_now(c, bytes_of(d, (size_t)(end - d)));
}

void client_unsubscribe(struct client *c)
{
    struct sim *sim = c->sim;
    if (c->state != UP || c->session->rec_count == 0) return;
    struct rec *r = &c->session->recs[rng_below(&sim->rng, c->session->rec_count)];
    struct op *op = r->granted && r->dropped == 0 ? op_new(c, true) : NULL;
    if (op == NULL) return;
    char text[REC_TEXT];
    uint8_t d[REC_TEXT + 16];
    struct bytes filter = bytes_str(rec_text(sim, r, text));
    uint8_t *end = mqtt_unsubscribe_encode(d, c->version, op->pid, &filter, 1, (struct bytes){0});
    r->dropped = sim->event;
    trace(sim, "%s unsubscribes from %.*s", c->id, (int)filter.n, (const char *)filter.p);
    op->recs[op->rec_count++] = r;
    c->op_count++;
    put_now(c, bytes_of(d, (size_t)(end - d)));
}
