/* Packets from clients: cuts the byte stream, hands each packet to its handler, and turns a
 * handler's error into the reason code and the closing that the standard mandates.  The shard's
 * thread. */
#include "core/core_int.h"
#include "core/mailbox.h"

enum { CONNECT_LIMIT = 65536 };

static int handle_pingreq(struct cconn *c, struct bytes body)
{
    if (body.n) return E_MALFORMED;
    uint8_t *d = conn_reserve(c, MQTT_SMALL_MAX);
    if (d == NULL) return E_NOMEM;
    conn_commit(c, (size_t)(mqtt_ping_encode(d, MQTT_PINGRESP) - d)); /* [MQTT-3.12.4-1] */
    return 0;
}

static int handle_disconnect(struct cconn *c, struct bytes body)
{
    struct mqtt_disconnect d;
    int rc = mqtt_disconnect_decode(c->version, body, &d);
    if (rc < 0) return rc;
    struct session *s = c->session;
    if (c->version == MQTT_V5 && mqtt_has(&d.props, MQTT_P_SESSION_EXPIRY)) {
        if (s->expiry_s == 0 && d.props.session_expiry != 0) return E_PROTOCOL; /* 3.14.2.2.2 */
        session_set_expiry(s, d.props.session_expiry);
    }
    bool with_will = c->version == MQTT_V5 && d.reason != MQTT_SUCCESS;
    c->clean_disconnect = !with_will; /* [MQTT-3.14.4-3] */
    conn_close_silent(c, "disconnected");
    return 0;
}

static int handle_unexpected(struct cconn *c, struct bytes body)
{
    (void)c, (void)body;
    return E_PROTOCOL;
}

static int handle_connect_again(struct cconn *c, struct bytes body)
{
    (void)c, (void)body;
    return E_PROTOCOL; /* [MQTT-3.1.0-2] */
}

static int handle_ack(struct cconn *c, unsigned type, struct bytes body)
{
    return conn_handle_ack(c, type, body);
}

static int dispatch(struct cconn *c, const struct mqtt_frame *f, struct bytes body)
{
    static int (*const handlers[16])(struct cconn *, struct bytes) = {
        [MQTT_CONNECT] = handle_connect_again,
        [MQTT_CONNACK] = handle_unexpected,
        [MQTT_SUBSCRIBE] = conn_handle_subscribe,
        [MQTT_SUBACK] = handle_unexpected,
        [MQTT_UNSUBSCRIBE] = conn_handle_unsubscribe,
        [MQTT_UNSUBACK] = handle_unexpected,
        [MQTT_PINGREQ] = handle_pingreq,
        [MQTT_PINGRESP] = handle_unexpected,
        [MQTT_DISCONNECT] = handle_disconnect,
        [MQTT_AUTH] = conn_handle_auth,
    };
    if (LIKELY(f->type == MQTT_PUBLISH)) return conn_handle_publish(c, f->flags, body);
    if (f->type >= MQTT_PUBACK && f->type <= MQTT_PUBCOMP) return handle_ack(c, f->type, body);
    return handlers[f->type](c, body);
}

/* What a handler's error means for the connection. */
static void fail(struct cconn *c, int rc)
{
    struct core *core = c->core;
    if (c->state == CONN_CLOSING) return;
    static const struct {
        int err;
        const char *why;
    } texts[] = {
        {E_MALFORMED, "disconnected due to malformed packet"},
        {E_PROTOCOL, "disconnected due to protocol error"},
        {E_TOO_LARGE, "disconnected due to oversize packet"},
        {E_NOMEM, "disconnected: out of memory"},
        {E_FULL, "disconnected: the store has no space"},
    };
    const char *why = err_name(rc);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (texts[i].err == rc) why = texts[i].why;
    if (rc == E_MALFORMED)
        core->stats.refused_malformed++;
    else if (rc == E_TOO_LARGE || rc == E_RECEIVE_MAX)
        core->stats.refused_limit++;
    else
        core->stats.refused_protocol++;
    conn_end(c, mqtt_reason_of(rc), why);
}

static uint32_t packet_limit(const struct cconn *c)
{
    return c->state == CONN_NEW ? CONNECT_LIMIT : c->core->cfg.max_packet_size;
}

static int first_packet(struct cconn *c, const struct mqtt_frame *f, struct bytes body)
{
    if (c->login == LOGIN_EXCHANGE) return conn_handle_exchange(c, f->type, body);
    if (f->type != MQTT_CONNECT) return E_PROTOCOL; /* [MQTT-3.1.0-1] */
    return conn_handle_connect(c, body);
}

/* When topics come from all over a table that no cache holds: fetches what the next packets need.
 * Returns where the packets that were not looked at begin. */
static const uint8_t *look_ahead(struct cconn *c, struct bytes in)
{
    struct core *core = c->core;
    struct trie_ahead topics[AHEAD_TOPICS];
    struct mqtt_frame f;
    unsigned count = 0;
    while (count < AHEAD_TOPICS && mqtt_frame_peek(in, packet_limit(c), &f) == 0 &&
           f.type == MQTT_PUBLISH) {
        struct rd r = rd_of(bytes_of(in.p + f.head_len, f.body_len));
        struct bytes topic = rd_take(&r, rd_u16(&r));
        in = bytes_skip(in, (size_t)f.head_len + f.body_len);
        if (topic.n == 0) continue; /* an alias, or malformed */
        uint64_t hash = hash_bytes(topic, core->seed);
        __builtin_prefetch(&core->routes[hash & (ROUTE_SLOTS - 1)]);
        __builtin_prefetch(&core->seen[hash & (ROUTE_SLOTS - 1)]);
        topics[count].topic = topic;
        topics[count++].hash = hash;
    }
    trie_warm(&core->trie, topics, count);
    return in.p;
}

enum core_input_result core_input(struct cconn *c, struct bytes in, size_t *used)
{
    struct core *core = c->core;
    const struct bytes all = in;
    const uint8_t *ahead = in.p;
    uint32_t packets = 0;
    while (in.n > 0 && c->state != CONN_CLOSING && !c->paused) {
        struct mqtt_frame f;
        if (UNLIKELY(core->mail_short)) { /* whatever it says may want a letter */
            conn_pause_on(c, &core->mail_waiters);
            break;
        }
        if (UNLIKELY(core->cold == COLD_MAX) && in.p >= ahead && c->state == CONN_UP &&
            core->trie.filter_count > AHEAD_FILTERS)
            ahead = look_ahead(c, in);
        int rc = mqtt_frame_peek(in, packet_limit(c), &f);
        if (rc == E_AGAIN) break;
        if (rc == 0) {
            size_t whole = (size_t)f.head_len + f.body_len;
            struct bytes body = bytes_of(in.p + f.head_len, f.body_len);
            in = bytes_skip(in, whole);
            packets++;
            rc = c->state == CONN_UP ? dispatch(c, &f, body) : first_packet(c, &f, body);
            if (UNLIKELY(rc == E_AGAIN)) { /* this packet comes again: the store has no room, or */
                in = bytes_of(body.p - f.head_len, in.n + whole);
                packets--;
                conn_pause_on(c, &core->store_waiters); /* it waits already, for a password */
                break;
            }
        }
        if (UNLIKELY(rc < 0)) {
            fail(c, rc);
            break;
        }
        if (UNLIKELY(buf_len(&c->out) > core->cfg.output_hard_bytes)) {
            c->paused_by_output = c->paused = true; /* it does not read its acknowledgements */
            core->stats.publishers_paused++;
        }
    }
    *used = all.n - in.n;
    core->stats.messages_received += packets;
    core->stats.bytes_received += *used;
    if (packets) c->last_packet_ms = core->now_ms; /* whole packets only: HARDENING class 6 */
    return c->state == CONN_CLOSING ? CORE_CLOSED : c->paused ? CORE_PAUSED : CORE_MORE;
}
