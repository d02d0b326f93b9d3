/* CONNECT: who may come in, with which session, and what CONNACK says (5.0 section 3.1, 3.2).  The
 * order of CONNACK's properties is mosquitto's (CONTRACT section 1).  The shard's thread. */
#include "core/access.h"
#include "core/core_int.h"
#include "core/envelope.h"
#include "core/journal.h"
#include "core/response.h"
#include "core/retained.h"

enum { CLIENT_ID_MAX = 65535, ASSIGNED_RANDOM = 26 };

/* A CONNECT being looked at. */
struct entry {
    struct mqtt_connect m;
    struct bytes id;
    char assigned[256];
    bool is_assigned;
    bool unsafe; /* CONNACK says what the log does not have yet */
    uint32_t expiry_s;
    uint16_t keep_alive_s;
};

/* CONNACK with a failure, then the end [MQTT-3.1.4-6]. */
int conn_refuse(struct cconn *c, const struct mqtt_connect *m, uint8_t reason, const char *why)
{
    struct core *core = c->core;
    uint8_t props[8], *p = props;
    if (m->version == MQTT_V5 && c->listener->max_qos < 2)
        p = mqtt_put_prop_u8(p, MQTT_P_MAX_QOS, c->listener->max_qos);
    uint8_t code = m->version == MQTT_V5 ? reason : mqtt_connack3_of(reason);
    uint8_t *d = conn_reserve(c, MQTT_SMALL_MAX + sizeof props);
    if (d)
        conn_commit(c, (size_t)(mqtt_connack_encode(d, m->version, false, code,
                                                    bytes_of(props, (size_t)(p - props))) -
                                d));
    core->stats.connections_refused++;
    if (core->cfg.connection_messages)
        core_log(core, LOG_T_NOTICE, "refused %s%s%.*s: %s.", c->peer, m->client_id.n ? " as " : "",
                 (int)min_u64(m->client_id.n, 100),
                 m->client_id.n ? (const char *)m->client_id.p : "",
                 why ? why : mqtt_reason_name(reason));
    c->logged_out = true;
    conn_close_silent(c, "refused");
    conn_ready(c, CORE_EV_LINGER);
    return 0;
}

/* An id that lives on this shard, so that the connection need not move. */
static void assign_id(struct core *core, const struct core_listener *l, struct entry *e)
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    size_t prefix = min_u64(strlen(l->auto_id_prefix), sizeof e->assigned - ASSIGNED_RANDOM - 1);
    memcpy(e->assigned, l->auto_id_prefix, prefix);
    do {
        for (int i = 0; i < ASSIGNED_RANDOM; i++)
            e->assigned[prefix + (size_t)i] = digits[rng_below(&core->rng, 36)];
        e->assigned[prefix + ASSIGNED_RANDOM] = 0;
        e->id = bytes_str(e->assigned);
    } while (core_home(e->id, core->shards, core->seed) != core->shard ||
             session_find(core, e->id));
    e->is_assigned = true;
}

static bool prefix_allowed(const struct core_listener *l, struct bytes id)
{
    return l->clientid_prefixes[0] == 0 || bytes_starts(id, l->clientid_prefixes);
}

/* Client identifier: given, taken from the user name, or assigned.  0 or the reason. */
static uint8_t choose_id(struct cconn *c, struct entry *e)
{
    const struct mqtt_connect *m = &e->m;
    e->id = m->client_id;
    if (c->listener->use_username_as_clientid) {
        if (!m->has_username || m->username.n == 0) return MQTT_NOT_AUTHORIZED;
        e->id = m->username;
    } else if (e->id.n == 0) {
        bool may = m->version == MQTT_V5 ||
                   (m->version == MQTT_V311 && m->clean_start); /* [MQTT-3.1.3-8] of 3.1.1 */
        if (!may || !c->core->cfg.allow_zero_length_clientid) return MQTT_BAD_CLIENT_ID;
        assign_id(c->core, c->listener, e); /* [MQTT-3.1.3-6] */
        return 0;
    }
    return prefix_allowed(c->listener, e->id) ? 0 : MQTT_NOT_AUTHORIZED;
}

/* What is in the envelope of a will's topic becomes its properties.  A broken one stays, and is
 * refused as a topic that is not for clients. */
static uint8_t open_envelope(struct core *core, struct mqtt_will *w)
{
    struct envelope e;
    struct bytes raw = w->props.raw;
    uint8_t *d = core_scratch(core, SCRATCH_PROPS, raw.n + envelope_room(w->topic));
    if (d == NULL) return MQTT_SERVER_BUSY;
    if (envelope_open(w->topic, put_mem(d, raw), &e) < 0) {
        core->stats.refused_envelopes++;
        return 0;
    }
    w->topic = e.topic;
    w->props.raw = bytes_of(d, raw.n + e.props.n);
    if (e.expiry_s == MQTT_NO_EXPIRY) return 0;
    if (!mqtt_has(&w->props, MQTT_P_MESSAGE_EXPIRY) || w->props.message_expiry > e.expiry_s)
        w->props.message_expiry = e.expiry_s;
    w->props.present |= (uint64_t)1 << MQTT_P_MESSAGE_EXPIRY;
    return 0;
}

static uint8_t check_will(struct cconn *c, struct mqtt_connect *m)
{
    const struct core_config *cfg = &c->core->cfg;
    if (!m->has_will) return 0;
    struct mqtt_will *w = &m->will;
    uint8_t reason = envelope_is(w->topic) ? open_envelope(c->core, w) : 0;
    if (reason) return reason;
    if (w->qos > c->listener->max_qos) return MQTT_QOS_NOT_SUPPORTED;          /* [MQTT-3.2.2-12] */
    if (w->retain && !cfg->retain_available) return MQTT_RETAIN_NOT_SUPPORTED; /* [MQTT-3.2.2-13] */
    if (!mqtt_topic_name_ok(w->topic, cfg->max_topic_levels)) return MQTT_TOPIC_NAME_INVALID;
    if (w->topic.p[0] == '$' && topic_is_reserved(w->topic)) return MQTT_TOPIC_NAME_INVALID;
    if (cfg->message_size_limit && w->payload.n > cfg->message_size_limit)
        return MQTT_PACKET_TOO_LARGE;
    if (m->version == MQTT_V5 && mqtt_has(&w->props, MQTT_P_PAYLOAD_FORMAT) &&
        w->props.payload_format == 1 && !bytes_is_utf8(w->payload))
        return MQTT_PAYLOAD_FORMAT_INVALID;
    return 0;
}

/* A certificate in place of user name and password, as mosquitto. */
static void take_proved_user(const struct cconn *c, struct mqtt_connect *m)
{
    m->has_username = c->proved_user != NULL;
    m->username = c->proved_user ? bytes_str(c->proved_user) : bytes_of(NULL, 0);
}

static bool has_method(const struct mqtt_connect *m)
{
    return m->version == MQTT_V5 && mqtt_has(&m->props, MQTT_P_AUTH_METHOD);
}

/* Whether core_env.login decides. */
static bool is_login(const struct core_listener *l, const struct mqtt_connect *m)
{
    if (l->certificate_is_user || !l->checks_users) return false;
    return m->has_username || has_method(m) || (l->token_is_user && m->has_password);
}

/* Who it is may come out of the login alone. */
static void take_login_user(const struct cconn *c, struct mqtt_connect *m)
{
    if (c->more == NULL || c->more->username == NULL) return;
    m->has_username = true;
    m->username = bytes_str(c->more->username);
}

/* What can be said before a password is looked at.  0 or the reason. */
static uint8_t check_user(const struct cconn *c, const struct mqtt_connect *m)
{
    if (c->listener->certificate_is_user) return c->proved_user ? 0 : MQTT_BAD_USERNAME_PASSWORD;
    if (is_login(c->listener, m)) /* without a password: HARDENING class 5 */
        return m->has_password || has_method(m) ? 0 : MQTT_NOT_AUTHORIZED;
    return c->listener->allow_anonymous ? 0 : MQTT_NOT_AUTHORIZED;
}

/* How it speaks, before who it is. */
static uint8_t check_speech(const struct cconn *c, const struct mqtt_connect *m)
{
    if (!(c->listener->accept_versions >> m->version & 1)) return MQTT_UNSUPPORTED_VERSION;
    bool method_ok = is_login(c->listener, m) && m->props.auth_method.n > 0;
    if (has_method(m) && !method_ok) return MQTT_BAD_AUTH_METHOD; /* [MQTT-4.12.0-1] */
    return 0;
}

static uint8_t check(struct cconn *c, struct entry *e)
{
    struct mqtt_connect *m = &e->m;
    /* 3.x has no way to tell a client another keep alive; mosquitto refuses the id. */
    uint16_t most = c->core->cfg.max_keepalive_s;
    bool longer = m->keep_alive_s == 0 || m->keep_alive_s > most;
    if (m->version != MQTT_V5 && most && longer) return MQTT_BAD_CLIENT_ID;
    uint8_t reason = choose_id(c, e);
    return reason ? reason : check_will(c, m);
}

static struct will *will_new(const struct cconn *c, const struct mqtt_connect *m)
{
    const struct mqtt_will *w = &m->will;
    struct bytes mount = bytes_str(c->listener->mount_point);
    size_t name = m->has_username ? m->username.n + 1 : 0;
    struct will *will =
        mem_alloc(sizeof *will + mount.n + w->topic.n + w->props.raw.n + w->payload.n + name);
    if (will == NULL) return NULL;
    uint8_t *d = put_mem(will->data, mount);
    d = put_mem(d, w->topic);
    will->topic = bytes_of(will->data, (size_t)(d - will->data));
    will->props = bytes_of(d, mqtt_props_forward(w->props.raw, d)); /* 3.x: of an envelope */
    d += will->props.n;
    will->payload = bytes_of(d, w->payload.n);
    d = put_mem(d, w->payload);
    will->username = m->has_username ? (const char *)d : NULL;
    if (m->has_username) *put_mem(d, m->username) = 0;
    will->listener = c->listener->number;
    will->allowed = false;
    will->expiry_s =
        mqtt_has(&w->props, MQTT_P_MESSAGE_EXPIRY) ? w->props.message_expiry : MQTT_NO_EXPIRY;
    will->delay_s = mqtt_has(&w->props, MQTT_P_WILL_DELAY) ? w->props.will_delay : 0;
    will->qos = w->qos;
    will->retain = w->retain;
    will->again_ms = 0;
    return will;
}

/* A will that the client may not publish is dropped in silence, as mosquitto does when it is due;
 * here already, so that none is ever written to the journal, which does not know whose it is. */
static struct will *will_permitted(struct core *core, struct entry *e, struct will *will)
{
    if (access_may_will(core, e->id, will)) return will;
    core->stats.denied_publish++;
    core_log(core, LOG_T_NOTICE, "Denied will of %.*s ('%.*s')", (int)min_u64(e->id.n, 100),
             (const char *)e->id.p, (int)min_u64(will->topic.n, 200), (const char *)will->topic.p);
    mem_free(will);
    return NULL;
}

static uint32_t expiry_wanted(const struct mqtt_connect *m)
{
    if (m->version != MQTT_V5) return m->clean_start ? 0 : UINT32_MAX;
    return mqtt_has(&m->props, MQTT_P_SESSION_EXPIRY) ? m->props.session_expiry : 0;
}

static void take_over(struct core *core, struct session *s)
{
    struct cconn *old = s->conn;
    core->stats.sessions_taken_over++;
    if (core->cfg.connection_messages)
        core_log(core, LOG_T_NOTICE, "Client %s already connected, closing old connection.",
                 s->client_id);
    old->logged_out = true;
    conn_end(old, MQTT_SESSION_TAKEN_OVER, "session taken over"); /* [MQTT-3.1.4-3] */
}

/* The session of this CONNECT: resumed or new [MQTT-3.1.2-4..6].  *present: it was there. */
static int open_session(struct cconn *c, struct entry *e, struct session **out, bool *present)
{
    struct core *core = c->core;
    struct session *s = session_find(core, e->id);
    *present = false;
    e->unsafe = s && s->logged; /* it ends, or another time begins to count */
    if (s && s->conn) {
        bool ends = e->m.clean_start || s->expiry_s == 0;
        take_over(core, s);
        if (session_detach_for(s, ends) == NULL) s = NULL;
    }
    if (s && e->m.clean_start) {
        session_free(s);
        s = NULL;
    }
    if (s) {
        *present = true;
        *out = s;
        return 0;
    }
    if (!core->env.session_admit(core->env.ctx, false)) return E_FULL;
    int rc = session_new(out, core, e->id);
    if (rc < 0) core->env.session_gone(core->env.ctx);
    return rc;
}

/* Only who asks is told [MQTT-3.1.2-28]. */
static bool asks_response(const struct mqtt_connect *m)
{
    return m->version == MQTT_V5 && mqtt_has(&m->props, MQTT_P_REQUEST_RESPONSE) &&
           m->props.request_response;
}

static uint8_t *response_props(const struct entry *e, uint8_t *p)
{
    uint8_t room[RESPONSE_PREFIX_MAX];
    struct bytes prefix = response_prefix(room, e->id);
    return prefix.n ? mqtt_put_prop_bytes(p, MQTT_P_RESPONSE_INFO, prefix) : p;
}

static uint8_t *accept_props(const struct cconn *c, const struct entry *e, uint8_t *p)
{
    const struct core_config *cfg = &c->core->cfg;
    if (e->m.version != MQTT_V5) return p;
    if (e->keep_alive_s != e->m.keep_alive_s)
        p = mqtt_put_prop_u16(p, MQTT_P_SERVER_KEEP_ALIVE, e->keep_alive_s);
    if (c->listener->max_topic_alias)
        p = mqtt_put_prop_u16(p, MQTT_P_TOPIC_ALIAS_MAX, c->listener->max_topic_alias);
    if (e->is_assigned) p = mqtt_put_prop_bytes(p, MQTT_P_ASSIGNED_ID, e->id);
    p = login_props(c, p);
    if (!cfg->retain_available) p = mqtt_put_prop_u8(p, MQTT_P_RETAIN_AVAILABLE, 0);
    if (cfg->max_packet_size)
        p = mqtt_put_prop_u32(p, MQTT_P_MAX_PACKET_SIZE, cfg->max_packet_size);
    if (cfg->max_inflight_messages)
        p = mqtt_put_prop_u16(p, MQTT_P_RECEIVE_MAX, cfg->max_inflight_messages);
    if (c->listener->max_qos < 2) p = mqtt_put_prop_u8(p, MQTT_P_MAX_QOS, c->listener->max_qos);
    return asks_response(&e->m) ? response_props(e, p) : p;
}

static void adopt_limits(struct cconn *c, struct entry *e)
{
    const struct core_config *cfg = &c->core->cfg;
    const struct mqtt_connect *m = &e->m;
    const struct mqtt_props *p = &m->props;
    e->keep_alive_s = m->keep_alive_s;
    if (m->version == MQTT_V5 && cfg->max_keepalive_s &&
        (e->keep_alive_s == 0 || e->keep_alive_s > cfg->max_keepalive_s))
        e->keep_alive_s = cfg->max_keepalive_s; /* [MQTT-3.2.2-21] */
    c->keep_alive_ms = e->keep_alive_s * 1500u;
    c->window = cfg->max_inflight_messages ? cfg->max_inflight_messages : 65535;
    c->problem_info = true;
    if (m->version != MQTT_V5) return;
    if (mqtt_has(p, MQTT_P_RECEIVE_MAX)) c->window = p->receive_max; /* [MQTT-3.1.2-11 ff] */
    if (mqtt_has(p, MQTT_P_MAX_PACKET_SIZE)) c->max_packet = p->max_packet_size;
    if (mqtt_has(p, MQTT_P_REQUEST_PROBLEM)) c->problem_info = p->request_problem != 0;
    alias_in_init(&c->alias_in, c->listener->max_topic_alias);
    if (mqtt_has(p, MQTT_P_TOPIC_ALIAS_MAX))
        alias_out_init(&c->alias_out,
                       (uint16_t)min_u64(p->topic_alias_max, c->listener->max_topic_alias_broker));
}

static void log_connected(struct core *core, const struct cconn *c, const struct entry *e)
{
    const struct mqtt_connect *m = &e->m;
    if (!core->cfg.connection_messages) return;
    unsigned p = m->version == MQTT_V5 ? 5 : m->version == MQTT_V311 ? 2 : 1;
    if (m->has_username)
        core_log(core, LOG_T_NOTICE, "New client connected from %s as %s (p%u, c%u, k%u, u'%.*s').",
                 c->peer, c->session->client_id, p, m->clean_start, e->keep_alive_s,
                 (int)min_u64(m->username.n, 200), m->username.p);
    else
        core_log(core, LOG_T_NOTICE, "New client connected from %s as %s (p%u, c%u, k%u).", c->peer,
                 c->session->client_id, p, m->clean_start, e->keep_alive_s);
}

/* The session is the user's from now on, if the name is known to be right. */
static int remember_user(struct cconn *c, const struct mqtt_connect *m, char **owner)
{
    if (!m->has_username) return 0;
    c->username = mem_strndup(m->username.p, m->username.n);
    if (c->username == NULL) return E_NOMEM;
    if (!c->listener->checks_users && !c->listener->certificate_is_user) return 0;
    *owner = mem_strndup(m->username.p, m->username.n);
    return *owner ? 0 : E_NOMEM;
}

void conn_enter(struct cconn *c)
{
    struct core *core = c->core;
    c->state = CONN_UP;
    core->stats.connections_accepted++;
    core->stats.messages_sent++;
    if (c->keep_alive_ms)
        timer_arm(&core->timers, &c->timer, core->now_ms + c->keep_alive_ms);
    else
        timer_cancel(&core->timers, &c->timer);
    login_begins(c);
    conn_ready(c, CORE_EV_OUTPUT);
    session_resumed(c->session);
    conn_resume(c);
}

/* What the client sends after CONNECT is not read meanwhile, what others send to it is queued. */
static void enter_later(struct cconn *c)
{
    struct core *core = c->core;
    c->state = CONN_ENTERING;
    c->paused = true;
    c->waits_for = NULL;
    list_push(&core->entering, &c->waiting);
    timer_arm(&core->timers, &c->timer, core->now_ms + core->cfg.connect_timeout_ms);
    pending_journal(c, MQTT_CONNACK, 0, 0);
}

/* On a full disk, which may last, who was there before is served: a crash leaves that session as it
 * was. */
void conn_enter_unsafe(struct core *core)
{
    LIST_EACH_SAFE(it, next, &core->entering)
    {
        struct cconn *c = CONTAINER_OF(it, struct cconn, waiting);
        if (c->goes_on) conn_enter(c);
    }
}

void conn_enter_failed(struct cconn *c)
{
    session_set_will(c->session, NULL);
    c->out.head = c->out.tail = 0;
    c->state = CONN_NEW;
    struct mqtt_connect m = {.version = c->version};
    m.client_id = bytes_of(c->session->client_id, c->session->client_id_len);
    (void)conn_refuse(c, &m, MQTT_SERVER_UNAVAILABLE, "the log does not take its session");
}

static int accept_client(struct cconn *c, struct entry *e)
{
    struct core *core = c->core;
    struct will *will = NULL;
    char *owner = NULL;
    if (e->m.has_will && (will = will_new(c, &e->m)) == NULL)
        return conn_refuse(c, &e->m, MQTT_SERVER_BUSY, NULL);
    if (will) will = will_permitted(core, e, will);
    struct session *s = NULL;
    bool present;
    int rc = remember_user(c, &e->m, &owner);
    if (rc == 0) rc = open_session(c, e, &s, &present);
    if (rc < 0) {
        mem_free(owner);
        mem_free(will);
        return conn_refuse(c, &e->m, rc == E_FULL ? MQTT_QUOTA_EXCEEDED : MQTT_SERVER_BUSY, NULL);
    }
    if (s->owner == NULL)
        s->owner = owner;
    else
        mem_free(owner);
    adopt_limits(c, e);
    c->version = e->m.version;
    s->version = e->m.version;
    session_set_will(s, will);
    size_t room = 64 + e->id.n + login_props_size(c);
    if (asks_response(&e->m)) room += RESPONSE_PREFIX_MAX;
    uint8_t *props = core_scratch(core, SCRATCH_REPLY, room);
    uint8_t *d = props ? conn_reserve(c, MQTT_SMALL_MAX + room) : NULL;
    session_attach(s, c);
    session_set_expiry(s, expiry_wanted(&e->m));
    journal_meta(s);
    if (d == NULL) return E_NOMEM;
    struct bytes block = bytes_of(props, (size_t)(accept_props(c, e, props) - props));
    bool say_present = present && c->version != MQTT_V31; /* [MQTT-3.2.2-2], [MQTT-3.2.2-3] */
    size_t size =
        (size_t)(mqtt_connack_encode(d, c->version, say_present, MQTT_SUCCESS, block) - d);
    if (!conn_may_send(c, size)) return 0;
    buf_commit(&c->out, (uint32_t)size);
    log_connected(core, c, e);
    c->goes_on = present;
    if (e->unsafe || s->logged)
        enter_later(c);
    else
        conn_enter(c);
    return 0;
}

/* ---- users and passwords ---- */

/* Who is not let in.  The second line is mosquitto's, with the address, before anything that the
 * client has chosen: fail2ban and the like look for it. */
static int refuse_user(struct cconn *c, const struct mqtt_connect *m, uint8_t reason)
{
    const struct core_listener *l = c->listener;
    if (l->certificate_is_user)
        return conn_refuse(c, m, reason, "its certificate has no name that could be the user name");
    const char *why = l->allow_anonymous || m->has_username
                          ? NULL
                          : "the listener requires a user name (allow_anonymous false)";
    if (m->has_username && !l->checks_users)
        why = "the listener has no password_file and no jwt_keys_file, so it lets no user in "
              "(allow_anonymous false)";
    if (is_login(l, m)) {
        why = c->more && c->more->why            ? c->more->why
              : m->has_password || has_method(m) ? "wrong user name or password"
                                                 : "a user name without a password";
        c->core->stats.logins_refused++;
    }
    int rc = conn_refuse(c, m, reason, why);
    if (c->core->cfg.connection_messages)
        core_log(c->core, LOG_T_NOTICE, "Client <unknown> [%s] disconnected, not authorised.",
                 c->peer);
    return rc;
}

/* A session is not another user's to resume or to erase (HARDENING class 5).  Where names are not
 * checked they are believed, so that switching the checks off locks nobody out. */
static bool may_have(const struct session *s, const struct mqtt_connect *m)
{
    if (s == NULL || s->owner == NULL) return true;
    return m->has_username && bytes_eq(m->username, bytes_str(s->owner));
}

static int enter(struct cconn *c, struct entry *e)
{
    if (may_have(session_find(c->core, e->id), &e->m)) return accept_client(c, e);
    return conn_refuse(c, &e->m, MQTT_NOT_AUTHORIZED,
                       "the session of this client id is another user's");
}

int conn_handle_connect(struct cconn *c, struct bytes body)
{
    struct entry e = {0};
    int rc = mqtt_connect_decode(body, &e.m);
    if (rc == E_VERSION)
        return conn_refuse(c, &e.m, MQTT_UNSUPPORTED_VERSION, NULL); /* [MQTT-3.1.2-2] */
    if (rc < 0) return rc;
    c->version = e.m.version;
    c->last_packet_ms = c->core->now_ms;
    if (c->core->shutting_down) return conn_refuse(c, &e.m, MQTT_SERVER_SHUTTING_DOWN, NULL);
    if (c->listener->certificate_is_user) take_proved_user(c, &e.m);
    uint8_t reason = check_speech(c, &e.m);
    if (reason) return conn_refuse(c, &e.m, reason, NULL);
    if ((reason = check_user(c, &e.m)) != 0) return refuse_user(c, &e.m, reason);
    if ((reason = check(c, &e)) != 0) return conn_refuse(c, &e.m, reason, NULL);
    if (!is_login(c->listener, &e.m)) return enter(c, &e);
    int verdict = login_ask(c, &e.m, e.id);
    if (verdict == CORE_LOGIN_LATER) return E_AGAIN;
    if (verdict == MQTT_CONTINUE_AUTH) return login_continue(c, &e.m, body);
    if (verdict == MQTT_NOT_AUTHORIZED) return refuse_user(c, &e.m, MQTT_NOT_AUTHORIZED);
    if (verdict == MQTT_BAD_AUTH_METHOD) return conn_refuse(c, &e.m, MQTT_BAD_AUTH_METHOD, NULL);
    if (verdict) return conn_refuse(c, &e.m, (uint8_t)verdict, "logins are not checked just now");
    take_login_user(c, &e.m);
    return enter(c, &e);
}
