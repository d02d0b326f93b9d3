/* A connection as the core sees it: its output, its events for the shard, its timers, and who waits
 * for whom when a reader is slower than its publishers.  The shard's thread. */
#include "core/access.h"
#include "core/core_int.h"
#include "core/dedup.h"
#include "core/mailbox.h"
#include "core/queue.h"
#include "core/rate.h"
#include "core/retained.h"

enum { CIRCLE_MAX = 64 }; /* readers that wait for each other, looked at in a row */

static const char *conn_name(const struct cconn *c)
{
    return c->session ? c->session->client_id : "<unknown>";
}

void conn_ready(struct cconn *c, unsigned events)
{
    c->events |= (uint8_t)events;
    if (UNLIKELY(c->goes_last) && events & ~(unsigned)CORE_EV_OUTPUT) list_del(&c->ready);
    if (c->ready.next != NULL) return;
    c->goes_last = false;
    list_push(&c->core->ready, &c->ready);
}

/* All its output is sent, that is what its event was about; if more can be pulled, it has had its
 * share of this turn, and others, who may have but one message, come first. */
static void output_served(struct cconn *c)
{
    if (c->events & ~(unsigned)CORE_EV_OUTPUT) return;
    list_del(&c->ready);
    c->events = 0;
    if (!deliver_has_more(c)) return;
    c->events = CORE_EV_OUTPUT;
    c->goes_last = true;
    list_push(&c->core->backlogs, &c->ready);
}

static void output_adopt_spare(struct cconn *c)
{
    struct core *core = c->core;
    if (core->spare_count > 0) c->out = core->spare[--core->spare_count];
}

uint8_t *conn_reserve(struct cconn *c, size_t n)
{
    if (c->out.data == NULL) output_adopt_spare(c);
    uint8_t *d = n <= UINT32_MAX / 2 ? buf_reserve(&c->out, (uint32_t)n) : NULL;
    if (d == NULL) {
        c->core->stats.dropped_no_memory++;
        conn_close_silent(c, "disconnected: out of memory");
    }
    return d;
}

void conn_commit(struct cconn *c, size_t n)
{
    buf_commit(&c->out, (uint32_t)n);
    c->core->stats.messages_sent++;
    if (!c->blocked) conn_ready(c, CORE_EV_OUTPUT);
}

void conn_send_ack(struct cconn *c, unsigned type, uint16_t packet_id, uint8_t reason,
                   const char *why)
{
    struct bytes text = why && c->problem_info ? bytes_str(why) : (struct bytes){0};
    if (MQTT_ACK_MAX + text.n > c->max_packet) text.n = 0; /* [MQTT-3.4.2-2] */
    uint8_t *d = conn_reserve(c, MQTT_ACK_MAX + text.n);
    if (d == NULL) return;
    uint8_t *end = mqtt_ack_encode(d, c->version, type, packet_id, reason, text, (struct bytes){0});
    conn_commit(c, (size_t)(end - d));
}

void conn_send_duplicate(struct cconn *c, unsigned type, uint16_t packet_id)
{
    uint8_t props[32];
    struct bytes said = {0};
    if (c->version == MQTT_V5) {
        uint8_t *end = mqtt_put_prop_user(props, bytes_str("duplicate"), bytes_str("1"));
        said = bytes_of(props, (size_t)(end - props));
    }
    if (MQTT_ACK_MAX + said.n > c->max_packet) said.n = 0; /* [MQTT-3.4.2-3] */
    uint8_t *d = conn_reserve(c, MQTT_ACK_MAX + said.n);
    if (d == NULL) return;
    uint8_t *end = mqtt_ack_encode(d, c->version, type, packet_id, 0, (struct bytes){0}, said);
    conn_commit(c, (size_t)(end - d));
}

bool conn_may_send(struct cconn *c, size_t n)
{
    if (n <= c->max_packet) return true;
    conn_end(c, MQTT_PACKET_TOO_LARGE, "disconnected: the answer is larger than it accepts");
    return false;
}

void conn_close_silent(struct cconn *c, const char *why)
{
    if (c->state == CONN_CLOSING) return;
    if (c->state == CONN_ENTERING) c->out.head = c->out.tail = 0; /* that CONNACK may not be true */
    c->state = CONN_CLOSING;
    c->close_reason = why;
    conn_release_waiters(c);
    conn_ready(c, CORE_EV_CLOSE);
}

void conn_end(struct cconn *c, uint8_t reason, const char *why)
{
    if (c->state == CONN_CLOSING) return;
    if (c->version == MQTT_V5 && c->state == CONN_UP) {
        uint8_t *d = conn_reserve(c, MQTT_SMALL_MAX);
        if (d)
            conn_commit(c, (size_t)(mqtt_disconnect_encode(d, MQTT_V5, MQTT_DISCONNECT, reason,
                                                           (struct bytes){0}) -
                                    d));
    }
    conn_close_silent(c, why);
    conn_ready(c, CORE_EV_LINGER);
}

/* ---- timers ---- */

static void timer_fired(struct timer *t, void *ctx)
{
    struct cconn *c = CONTAINER_OF(t, struct cconn, timer);
    struct core *core = ctx;
    if (c->state == CONN_NEW) {
        static const char *const why[] = {
            [LOGIN_NONE] = "closed: no CONNECT in time",
            [LOGIN_ASKED] = "closed: its password was not checked in time",
            [LOGIN_ANSWERED] = "closed: no CONNECT in time",
            [LOGIN_EXCHANGE] = "closed: no AUTH in time",
        };
        conn_close_silent(c, why[c->login]);
        return;
    }
    if (c->state == CONN_ENTERING) conn_enter_failed(c);
    if (c->state != CONN_UP || c->keep_alive_ms == 0) return;
    uint64_t due = c->last_packet_ms + c->keep_alive_ms;
    if (c->paused && !c->paused_by_output) /* it waits for somebody else: the silence is ours */
        due = core->now_ms + c->keep_alive_ms;
    if (core->now_ms < due) {
        timer_arm(&core->timers, t, due);
        return;
    }
    core->stats.keepalive_timeouts++;
    conn_end(c, MQTT_KEEP_ALIVE_TIMEOUT,
             "has exceeded timeout, disconnecting"); /* [MQTT-3.1.2-22] */
}

/* ---- opening and closing ---- */

int core_conn_open(struct core *core, struct cconn **out, const struct core_listener *listener,
                   const char *peer, void *owner)
{
    struct cconn *c = mem_calloc(1, sizeof *c);
    if (c == NULL) return E_NOMEM;
    c->peer = mem_strndup(peer, strlen(peer));
    if (c->peer == NULL) {
        mem_free(c);
        return E_NOMEM;
    }
    c->core = core;
    c->listener = listener;
    c->owner = owner;
    c->max_packet = UINT32_MAX;
    c->version = MQTT_V311;
    list_init(&c->waiters);
    list_push(&core->conns, &c->all);
    c->timer.fire = timer_fired;
    timer_arm(&core->timers, &c->timer, core->now_ms + core->cfg.connect_timeout_ms);
    *out = c;
    if (core->cfg.connection_messages)
        core_log(core, LOG_T_NOTICE, "New connection from %s on port %u.", peer, listener->port);
    if (core->shutting_down) conn_close_silent(c, "disconnected: server shutting down");
    return 0;
}

int core_conn_prove(struct cconn *c, struct bytes user)
{
    ASSERT(c->proved_user == NULL);
    c->proved_user = mem_strndup(user.p, user.n);
    return c->proved_user ? 0 : E_NOMEM;
}

void *core_conn_owner(const struct cconn *c) { return c->owner; }

void core_conn_blame(struct cconn *c, const char *why)
{
    if (c->close_reason == NULL) c->close_reason = why;
}

static void log_closed(struct core *core, const struct cconn *c)
{
    if (!core->cfg.connection_messages) return;
    const char *how = c->close_reason       ? c->close_reason
                      : c->clean_disconnect ? "disconnected"
                                            : "closed its connection";
    core_log(core, LOG_T_NOTICE, "Client %s %s.", conn_name(c), how);
}

void core_conn_closed(struct cconn *c, int why)
{
    struct core *core = c->core;
    (void)why;
    if (!c->logged_out) log_closed(core, c);
    c->state = CONN_CLOSING;
    if (c->session) session_detach(c->session);
    conn_release_waiters(c);
    list_del(&c->waiting);
    list_del(&c->congested);
    list_del(&c->fetching);
    list_del(&c->ready);
    list_del(&c->all);
    timer_cancel(&core->timers, &c->timer);
    buf_fini(&c->out);
    alias_in_fini(&c->alias_in);
    alias_out_fini(&c->alias_out);
    mem_free(c->remote_waiters);
    access_forget(c);
    login_forget(c);
    rate_forget(c);
    wqueue_answered(c);
    dedup_over(c, NULL);
    mem_free(c->username);
    mem_free(c->peer);
    mem_free(c->proved_user);
    mem_free(c);
}

/* ---- output ---- */

struct cconn *core_next_ready(struct core *core, unsigned *events)
{
    for (;;) {
        bool last = list_empty(&core->ready);
        if (last && (core->backlogs_left == 0 || list_empty(&core->backlogs))) return NULL;
        core->backlogs_left -= last;
        const struct list *first = last ? core->backlogs.next : core->ready.next;
        struct cconn *c = CONTAINER_OF(first, struct cconn, ready);
        list_del(&c->ready);
        *events = c->events;
        if (c->blocked) *events &= ~(unsigned)CORE_EV_OUTPUT;
        c->events = 0;
        if (*events) return c;
    }
}

struct bytes core_output(struct cconn *c)
{
    if (UNLIKELY(c->state == CONN_ENTERING)) return (struct bytes){0};
    if (c->state == CONN_UP && !c->blocked) deliver_pull(c); /* else: first what it has */
    return c->out.data ? buf_view(&c->out) : (struct bytes){0};
}

static void output_drained(struct cconn *c)
{
    struct core *core = c->core;
    c->slow = false;
    if (c->out.data && core->spare_count < SPARE_BUFS && c->out.cap <= SPARE_CAP &&
        c->out.cap >= 2048) {
        c->out.head = c->out.tail = 0;
        core->spare[core->spare_count++] = c->out;
        c->out = (struct buf){0};
    } else {
        buf_trim(&c->out);
    }
}

/* Whether the reader's backlog is low enough for its publishers to go on. */
static bool backlog_is_low(const struct cconn *c)
{
    const struct core_config *cfg = &c->core->cfg;
    if (buf_len(&c->out) > cfg->output_soft_bytes / 2) return false;
    return c->session == NULL || c->session->queue.count <= deliver_queue_soft(c->core) / 2;
}

void core_output_sent(struct cconn *c, size_t n)
{
    if (UNLIKELY(c->state == CONN_ENTERING)) return;
    c->core->stats.bytes_sent += n;
    if (n) buf_consume(&c->out, (uint32_t)n);
    c->blocked = buf_len(&c->out) > 0;
    if (!c->blocked) output_drained(c);
    if (c->congested.next && backlog_is_low(c)) conn_release_waiters(c);
    if (c->paused_by_output && buf_len(&c->out) < c->core->cfg.output_soft_bytes) {
        c->paused_by_output = false;
        if (c->waiting.next == NULL) conn_resume(c);
    }
    if (c->state == CONN_UP && !c->blocked) output_served(c);
}

/* ---- who waits for whom ---- */

void conn_pause_on(struct cconn *publisher, struct list *waiters)
{
    if (publisher->waiting.next) return; /* it waits for somebody already */
    publisher->paused = true;
    publisher->waits_for = NULL;
    publisher->core->stats.publishers_paused++;
    list_push(waiters, &publisher->waiting);
}

void conn_resume(struct cconn *c)
{
    list_del(&c->waiting);
    if (!c->paused || c->paused_by_output || c->paused_by_rate || c->remote_pauses) return;
    c->paused = false;
    c->last_packet_ms = c->core->now_ms; /* the pause was ours, not the client's silence */
    if (c->state != CONN_CLOSING) conn_ready(c, CORE_EV_RESUME);
}

/* Clients that flood each other must not wait for each other: the acknowledgements that would make
 * room lie behind publishes that are not read.  So the wait that would close a circle is left out:
 * on one shard any circle; of two clients on two shards, that of the one on the lower shard. */
static bool closes_circle(const struct cconn *reader, const struct cconn *publisher)
{
    int hops = 0;
    while (reader && reader != publisher && reader->waiting.next && ++hops < CIRCLE_MAX)
        reader = reader->waits_for;
    return reader == publisher;
}

static bool closes_remote_circle(const struct cconn *reader, const struct pub *p)
{
    const struct remote_waiter *by = &reader->paused_by;
    return reader->remote_pauses && by->session == p->origin_session && by->shard == p->origin &&
           reader->core->shard < p->origin;
}

static void wait_remote(struct cconn *reader, const struct pub *p)
{
    if (closes_remote_circle(reader, p)) return;
    for (uint32_t i = 0; i < reader->remote_waiter_count; i++)
        if (reader->remote_waiters[i].session == p->origin_session &&
            reader->remote_waiters[i].shard == p->origin)
            return;
    if (reader->remote_waiter_count == REMOTE_WAITERS) return;
    if (reader->remote_waiters == NULL)
        reader->remote_waiters = mem_calloc(REMOTE_WAITERS, sizeof *reader->remote_waiters);
    if (reader->remote_waiters == NULL) return;
    reader->remote_waiters[reader->remote_waiter_count++] =
        (struct remote_waiter){p->origin, p->origin_session};
    mail_pause(reader->core, p->origin, MAIL_PAUSE, p->origin_session, reader->session->id);
}

/* c, on the lower shard, is to wait for a reader that waits for it: that one need not. */
static void release_circle(struct cconn *c, struct remote_waiter reader)
{
    struct remote_waiter *all = c->remote_waiters;
    for (uint32_t i = 0; c->core->shard < reader.shard && i < c->remote_waiter_count; i++) {
        if (all[i].shard != reader.shard || all[i].session != reader.session) continue;
        all[i] = all[--c->remote_waiter_count];
        mail_pause(c->core, reader.shard, MAIL_RESUME, reader.session, c->session->id);
        return;
    }
}

void conn_pause_remote(struct cconn *c, struct remote_waiter reader, bool pause)
{
    if (pause) {
        c->paused_by = reader;
        release_circle(c, reader);
        c->core->stats.publishers_paused += !c->paused;
        c->paused = true;
        c->remote_pauses++;
    } else if (c->remote_pauses && --c->remote_pauses == 0 && c->waiting.next == NULL) {
        conn_resume(c);
    }
}

void conn_congest(struct cconn *reader, const struct pub *p)
{
    struct core *core = reader->core;
    if (reader->slow || reader->state != CONN_UP) return;
    if (reader->congested.next == NULL) {
        reader->congested_ms = core->now_ms;
        list_push(&core->congested, &reader->congested);
    }
    struct cconn *publisher = p->from ? p->from->conn : NULL;
    if (publisher && !publisher->waiting.next && !closes_circle(reader, publisher)) {
        conn_pause_on(publisher, &reader->waiters);
        publisher->waits_for = reader;
    } else if (publisher == NULL && p->origin != core->shard && p->origin_session) {
        wait_remote(reader, p);
    }
}

void conn_release_waiters(struct cconn *reader)
{
    list_del(&reader->congested);
    while (!list_empty(&reader->waiters))
        conn_resume(CONTAINER_OF(reader->waiters.next, struct cconn, waiting));
    for (uint32_t i = 0; i < reader->remote_waiter_count; i++)
        mail_pause(reader->core, reader->remote_waiters[i].shard, MAIL_RESUME,
                   reader->remote_waiters[i].session, reader->session ? reader->session->id : 0);
    reader->remote_waiter_count = 0;
}

uint64_t conn_congested_due(const struct core *core)
{
    if (list_empty(&core->congested)) return UINT64_MAX;
    const struct cconn *first = CONTAINER_OF(core->congested.next, struct cconn, congested);
    return first->congested_ms + core->cfg.slow_grace_ms;
}

void conn_congested_tick(struct core *core)
{
    while (conn_congested_due(core) <= core->now_ms) {
        struct cconn *c = CONTAINER_OF(core->congested.next, struct cconn, congested);
        c->slow = true;
        conn_release_waiters(c);
        if (c->slow_logged) continue;
        c->slow_logged = true;
        core_log(
            core, LOG_T_WARNING,
            "Client %s reads too slowly: QoS 0 messages to it are dropped until it catches up.",
            conn_name(c));
    }
}
