/* Logins: asking core_env whether somebody is who they say, exchanges of AUTH packets before
 * CONNACK and on a live connection (5.0 section 4.12), and logins that end at a given time.  What a
 * password or a method is, the core does not know.  The shard's thread. */
#include "core/core_int.h"

enum { LOOK_AGAIN_MS = 3600 * 1000 }; /* the wall clock may be set while a login holds */

/* ---- what few connections have ---- */

static void bytes_free(struct bytes *b)
{
    mem_free((uint8_t *)(uintptr_t)b->p); /* owned, though nobody writes to it */
    *b = (struct bytes){0};
}

static int bytes_keep(struct bytes *to, struct bytes b)
{
    bytes_free(to);
    if (b.n == 0) return 0;
    uint8_t *p = mem_alloc(b.n);
    if (p == NULL) return E_NOMEM;
    put_mem(p, b);
    *to = bytes_of(p, b.n);
    return 0;
}

static void exchange_end(struct cconn *c)
{
    struct login *l = c->more;
    if (l->exchange) c->core->env.exchange_free(c->core->env.ctx, l->exchange);
    l->exchange = NULL;
}

void login_forget(struct cconn *c)
{
    struct login *l = c->more;
    if (l == NULL) return;
    exchange_end(c);
    timer_cancel(&c->core->timers, &l->timer);
    bytes_free(&l->connect);
    bytes_free(&l->method);
    bytes_free(&l->data);
    mem_free(l->username);
    mem_free(l);
    c->more = NULL;
}

/* ---- until when ---- */

static void end_login(struct cconn *c, uint8_t reason, const char *why)
{
    c->core->stats.logins_ended++;
    conn_end(c, reason, why);
}

static void timer_set(struct cconn *c)
{
    const struct core *core = c->core;
    struct login *l = c->more;
    uint64_t due = l->renew_ms ? l->renew_ms : UINT64_MAX;
    if (l->ends_ms) {
        uint64_t left = l->ends_ms > core->wall_ms ? l->ends_ms - core->wall_ms : 0;
        due = min_u64(due, core->now_ms + min_u64(left, LOOK_AGAIN_MS));
    }
    if (due == UINT64_MAX)
        timer_cancel(&c->core->timers, &l->timer);
    else
        timer_arm(&c->core->timers, &l->timer, due);
}

static void timer_fired(struct timer *t, void *ctx)
{
    const struct core *core = ctx;
    struct login *l = CONTAINER_OF(t, struct login, timer);
    struct cconn *c = l->conn;
    if (c->state != CONN_UP) return;
    if (l->renew_ms && core->now_ms >= l->renew_ms)
        end_login(c, MQTT_NOT_AUTHORIZED, "disconnected: its re-authentication took too long");
    else if (l->ends_ms && core->wall_ms >= l->ends_ms)
        end_login(c, MQTT_NOT_AUTHORIZED, "disconnected: its login has expired");
    else
        timer_set(c);
}

static struct login *more_of(struct cconn *c)
{
    if (c->more) return c->more;
    c->more = mem_calloc(1, sizeof *c->more);
    if (c->more == NULL) return NULL;
    c->more->conn = c;
    c->more->timer.fire = timer_fired;
    return c->more;
}

void login_begins(struct cconn *c)
{
    struct login *l = c->more;
    c->login = LOGIN_NONE;
    if (l == NULL) return;
    bytes_free(&l->data);
    if (l->method.n == 0 && l->ends_ms == 0)
        login_forget(c);
    else
        timer_set(c);
}

/* ---- questions and answers ---- */

static bool answer_keep(struct cconn *c, const struct core_login_answer *a)
{
    bool plain = a->data.n == 0 && a->username.n == 0 && a->exchange == NULL;
    if (c->more == NULL && plain && a->ends_ms == 0 && a->why == NULL) return true;
    struct login *l = more_of(c);
    if (l == NULL) return false;
    char *name = a->username.n ? mem_strndup(a->username.p, a->username.n) : NULL;
    if ((a->username.n && name == NULL) || bytes_keep(&l->data, a->data) < 0) {
        mem_free(name);
        return false;
    }
    mem_free(l->username);
    l->username = name;
    l->why = a->why;
    l->ends_ms = a->ends_ms ? a->ends_ms : l->ends_ms;
    l->exchange = a->exchange;
    return true;
}

static void answer_take(struct cconn *c, const struct core_login_answer *a)
{
    const struct core_env *env = &c->core->env;
    c->login = LOGIN_ANSWERED;
    c->login_reason = a->reason;
    if (answer_keep(c, a)) return;
    if (a->exchange) env->exchange_free(env->ctx, a->exchange);
    c->login_reason = MQTT_SERVER_BUSY;
}

/* 0: the answer is there; or CORE_LOGIN_LATER. */
static int ask(struct cconn *c, struct core_login *login)
{
    struct core *core = c->core;
    struct core_login_answer a = {0};
    c->login_token = ++core->logins_asked;
    login->token = c->login_token;
    login->listener = c->listener;
    login->peer = c->peer;
    login->exchange = c->more ? c->more->exchange : NULL;
    if (c->more) c->more->exchange = NULL;
    if (core->env.login(core->env.ctx, login, &a) != CORE_LOGIN_LATER) {
        answer_take(c, &a);
        return 0;
    }
    c->login = LOGIN_ASKED;
    c->paused = true;
    c->waits_for = NULL;
    list_push(&core->login_waiters, &c->waiting);
    return CORE_LOGIN_LATER;
}

int login_ask(struct cconn *c, const struct mqtt_connect *m, struct bytes client_id)
{
    if (c->login == LOGIN_ANSWERED) return c->login_reason;
    struct core_login login = {
        .client_id = client_id, .username = m->username, .password = m->password};
    if (m->version == MQTT_V5 && mqtt_has(&m->props, MQTT_P_AUTH_METHOD)) {
        struct login *l = more_of(c);
        if (l == NULL || bytes_keep(&l->method, m->props.auth_method) < 0) return MQTT_SERVER_BUSY;
        login.method = l->method;
        login.data = m->props.auth_data;
    }
    return ask(c, &login) == CORE_LOGIN_LATER ? CORE_LOGIN_LATER : c->login_reason;
}

/* ---- AUTH from us ---- */

size_t login_props_size(const struct cconn *c)
{
    return c->more ? 6 + c->more->method.n + c->more->data.n : 0;
}

uint8_t *login_props(const struct cconn *c, uint8_t *p)
{
    const struct login *l = c->more;
    if (l == NULL || l->method.n == 0) return p;
    p = mqtt_put_prop_bytes(p, MQTT_P_AUTH_METHOD, l->method); /* [MQTT-4.12.0-5] */
    return l->data.n ? mqtt_put_prop_bytes(p, MQTT_P_AUTH_DATA, l->data) : p;
}

static int send_auth(struct cconn *c, uint8_t reason)
{
    size_t room = login_props_size(c);
    uint8_t *props = core_scratch(c->core, SCRATCH_REPLY, room);
    uint8_t *d = props ? conn_reserve(c, MQTT_SMALL_MAX + room) : NULL;
    if (d == NULL) return E_NOMEM;
    struct bytes block = bytes_of(props, (size_t)(login_props(c, props) - props));
    size_t n = (size_t)(mqtt_disconnect_encode(d, MQTT_V5, MQTT_AUTH, reason, block) - d);
    if (!conn_may_send(c, n)) return 0;
    conn_commit(c, n);
    bytes_free(&c->more->data);
    return 0;
}

int login_continue(struct cconn *c, const struct mqtt_connect *m, struct bytes body)
{
    struct login *l = more_of(c);
    if (l == NULL) return E_NOMEM;
    if (l->connect.n == 0 && bytes_keep(&l->connect, body) < 0) return E_NOMEM;
    if (mqtt_has(&m->props, MQTT_P_MAX_PACKET_SIZE)) c->max_packet = m->props.max_packet_size;
    c->login = LOGIN_EXCHANGE;
    return send_auth(c, MQTT_CONTINUE_AUTH); /* [MQTT-4.12.0-2] */
}

/* ---- before CONNACK ---- */

/* The CONNECT that was kept is looked at again, with the answer. */
static int go_on(struct cconn *c)
{
    int rc = conn_handle_connect(c, c->more->connect);
    if (c->more && c->login != LOGIN_EXCHANGE) bytes_free(&c->more->connect);
    return rc;
}

/* What is wrong with a packet within an exchange before CONNACK; 0: nothing. */
static uint8_t exchange_wrong(const struct cconn *c, unsigned type, struct bytes body,
                              struct mqtt_disconnect *auth)
{
    if (type != MQTT_AUTH) return MQTT_PROTOCOL_ERROR; /* [MQTT-3.1.2-30] */
    int rc = mqtt_auth_decode(body, auth);
    if (rc < 0) return mqtt_reason_of(rc);
    if (auth->reason != MQTT_CONTINUE_AUTH) return MQTT_PROTOCOL_ERROR; /* [MQTT-4.12.0-3] */
    bool same = bytes_eq(auth->props.auth_method, c->more->method);
    return same ? 0 : MQTT_BAD_AUTH_METHOD; /* [MQTT-4.12.0-5] */
}

int conn_handle_exchange(struct cconn *c, unsigned type, struct bytes body)
{
    struct mqtt_disconnect auth;
    struct mqtt_connect m;
    if (type == MQTT_DISCONNECT) {
        int rc = mqtt_disconnect_decode(MQTT_V5, body, &auth);
        if (rc == 0) conn_close_silent(c, "disconnected before it was let in");
        return rc;
    }
    int rc = mqtt_connect_decode(c->more->connect, &m);
    ASSERT(rc == 0); /* as before */
    uint8_t wrong = exchange_wrong(c, type, body, &auth);
    if (wrong) {
        c->core->stats.refused_protocol++;
        return conn_refuse(c, &m, wrong, NULL); /* no DISCONNECT [MQTT-3.14.0-1] */
    }
    struct core_login login = {.client_id = m.client_id,
                               .username = m.username,
                               .method = c->more->method,
                               .data = auth.props.auth_data};
    return ask(c, &login) == CORE_LOGIN_LATER ? 0 : go_on(c);
}

/* ---- on a live connection, 5.0 section 4.12.1 ---- */

static int renewal_answered(struct cconn *c)
{
    struct login *l = c->more;
    uint8_t reason = c->login_reason;
    if (reason == MQTT_CONTINUE_AUTH) {
        c->login = LOGIN_EXCHANGE;
        return send_auth(c, MQTT_CONTINUE_AUTH);
    }
    c->login = LOGIN_NONE;
    if (reason == 0) {
        l->renew_ms = 0;
        timer_set(c);
        return send_auth(c, MQTT_SUCCESS);
    }
    if (reason != MQTT_SERVER_BUSY && reason != MQTT_SERVER_SHUTTING_DOWN)
        reason = MQTT_NOT_AUTHORIZED; /* DISCONNECT has not all that CONNACK has */
    end_login(c, reason, "disconnected: its re-authentication failed"); /* [MQTT-4.12.1-2] */
    return 0;
}

int conn_handle_auth(struct cconn *c, struct bytes body)
{
    struct mqtt_disconnect auth;
    struct login *l = c->more;
    if (c->version != MQTT_V5) return E_MALFORMED;
    int rc = mqtt_auth_decode(body, &auth);
    if (rc < 0) return rc;
    if (l == NULL || l->method.n == 0) return E_PROTOCOL;                /* [MQTT-4.12.0-7] */
    if (!bytes_eq(auth.props.auth_method, l->method)) return E_PROTOCOL; /* [MQTT-4.12.1-1] */
    bool first = c->login != LOGIN_EXCHANGE;
    if (auth.reason != (first ? MQTT_REAUTHENTICATE : MQTT_CONTINUE_AUTH)) return E_PROTOCOL;
    if (first) {
        l->renew_ms = c->core->now_ms + c->core->cfg.connect_timeout_ms;
        timer_set(c);
    }
    struct core_login login = {.client_id = bytes_str(c->session->client_id),
                               .username = c->username ? bytes_str(c->username) : bytes_of(NULL, 0),
                               .method = l->method,
                               .data = auth.props.auth_data};
    return ask(c, &login) == CORE_LOGIN_LATER ? 0 : renewal_answered(c);
}

/* ---- answers that come later ---- */

static void answered(struct cconn *c, const struct core_login_answer *a)
{
    int rc = 0;
    answer_take(c, a);
    conn_resume(c);
    if (c->state == CONN_UP)
        rc = renewal_answered(c);
    else if (c->state == CONN_NEW && c->more && c->more->connect.n)
        rc = go_on(c);
    if (rc < 0) conn_close_silent(c, "disconnected: out of memory");
}

void core_login_done(struct core *core, uint64_t token, const struct core_login_answer *answer)
{
    LIST_EACH_SAFE(it, next, &core->login_waiters)
    { /* answers come in the order of the questions, but for a few */
        struct cconn *c = CONTAINER_OF(it, struct cconn, waiting);
        if (c->login_token != token) continue;
        answered(c, answer);
        return;
    }
    if (answer->exchange) core->env.exchange_free(core->env.ctx, answer->exchange);
}
