/* Who may knock, how often, and how many may stand at the door: limits of a listener and of an
 * address, of connections before their CONNECT, and the answer to a wrong password, which waits.
 * The shard's thread, but for the counters that all shards share. */
#include "conn.h"
#include "net/address.h"
#include "shard_int.h"
#include <inttypes.h>

enum {
    MS_NS = 1000000,
    SECOND_NS = 1000 * MS_NS,
    TELL_MS = 60 * 1000, /* the same thing is in the log once in so long */
};

/* Whether it is to be told now. */
static bool tell_now(const struct shard *s, uint64_t *told_ms)
{
    if (*told_ms && s->now_ms - *told_ms < TELL_MS) return false;
    *told_ms = s->now_ms;
    return true;
}

/* ---- an address ---- */

static void log_refused(const struct shard *s, const char *peer, const char *directive)
{
    log_printf(
        s->set->log, LOG_T_NOTICE,
        "Client connection from %s denied: %s exceeded. Others from there are not logged for "
        "a minute.",
        peer, directive);
}

bool guard_admit(struct conn *c)
{
    struct shard *s = c->shard;
    const struct peers_limits *limits = &c->conf->per_address;
    bool tell = false;
    if (limits->connections == 0 && limits->rate == 0) return true;
    uint64_t net = address_net(c->peer);
    if (net == ADDRESS_NET_NONE) return true;
    switch (peers_enter(s->set->peers, net, c->listener, limits, s->now_ms, &tell)) {
    case PEERS_ADMITTED: c->net = net; return true;
    case PEERS_TOO_MANY:
        s->stats.address_refused++;
        if (tell) log_refused(s, c->peer, "max_connections_per_address");
        break;
    case PEERS_TOO_FAST:
        s->stats.address_rate_refused++;
        if (tell) log_refused(s, c->peer, "max_connect_rate_per_address");
        break;
    }
    return false;
}

void guard_left(struct shard *s, struct listener *l, uint64_t net)
{
    if (net != ADDRESS_NET_NONE) peers_leave(s->set->peers, net, l);
}

/* ---- a listener's rate ---- */

static void door_warm(struct timer *t, void *ctx)
{
    struct door *d = CONTAINER_OF(t, struct door, timer);
    struct shard *s = ctx;
    if (s->stopping) return;
    if (loop_want(s->loop, &d->source, LOOP_READ) < 0)
        log_line(s->set->log, LOG_T_ERROR, "Error: a listening socket cannot be watched.");
}

bool guard_door(struct door *d)
{
    struct shard *s = d->shard;
    uint32_t rate = d->conf->max_connect_rate;
    if (rate == 0) return true;
    uint64_t now_ns = s->now_ms * MS_NS, room_ns = now_ns + SECOND_NS - SECOND_NS / rate;
    uint64_t full_ns = atomic_load_explicit(&d->listener->full_ns, memory_order_relaxed);
    if (full_ns <= room_ns) return true;
    s->stats.connect_rate_pauses++;
    d->timer.fire = door_warm;
    timer_arm(&s->timers, &d->timer, s->now_ms + (full_ns - room_ns + MS_NS - 1) / MS_NS);
    if (loop_want(s->loop, &d->source, 0) < 0)
        log_line(s->set->log, LOG_T_ERROR, "Error: a listening socket cannot be watched.");
    if (tell_now(s, &d->told_ms))
        log_printf(s->set->log, LOG_T_NOTICE,
                   "Listener %u: more than %u connections a second (max_connect_rate): they wait.",
                   d->conf->port, rate);
    return false;
}

void guard_came(struct door *d)
{
    if (d->conf->max_connect_rate == 0) return;
    uint64_t now_ns = d->shard->now_ms * MS_NS, full_ns, next_ns;
    full_ns = atomic_load_explicit(&d->listener->full_ns, memory_order_relaxed);
    do {
        next_ns = max_u64(full_ns, now_ns) + SECOND_NS / d->conf->max_connect_rate;
    } while (!atomic_compare_exchange_weak_explicit(&d->listener->full_ns, &full_ns, next_ns,
                                                    memory_order_relaxed, memory_order_relaxed));
}

/* ---- before CONNECT ---- */

void guard_pending_begin(struct conn *c)
{
    struct shard *s = c->shard;
    int64_t most = atomic_load_explicit(&s->set->max_pending, memory_order_relaxed);
    c->pending = true;
    int64_t now = atomic_fetch_add_explicit(&s->set->pending, 1, memory_order_relaxed);
    if (most == 0 || now < most) return;
    s->stats.pending_refused++;
    if (tell_now(s, &s->pending_told_ms))
        log_printf(s->set->log, LOG_T_NOTICE,
                   "More than %" PRIi64 " connections without CONNECT (max_pending_connections): "
                   "the oldest are closed.",
                   most);
    if (now < most + ACCEPT_BATCH)
        shard_evict_oldest(s);
    else
        shard_evict_here(s); /* other shards have been asked, and have not come to it */
}

void guard_pending_end(struct conn *c)
{
    if (!c->pending) return;
    c->pending = false;
    atomic_fetch_sub_explicit(&c->shard->set->pending, 1, memory_order_relaxed);
}

void guard_too_late(struct conn *c)
{
    static const char *const missing[] = {[CONN_SPEAKS] = "no whole CONNECT has come",
                                          [CONN_ANNOUNCED] = "no whole PROXY header has come",
                                          [CONN_GREETS] = "the TLS handshake has not ended",
                                          [CONN_ASKS] = "no whole HTTP request has come",
                                          [CONN_ANSWERS] = "the HTTP answer was not taken"};
    struct shard *s = c->shard;
    s->stats.too_late++;
    if (tell_now(s, &s->late_told_ms))
        log_printf(s->set->log, LOG_T_NOTICE,
                   "refused %s: %s in time (connect_timeout). Others are not logged for a minute.",
                   c->peer, missing[c->begins]);
}

/* ---- a wrong password ---- */

uint64_t guard_login_delay(struct shard *s, uint64_t net)
{
    if (s->failed_login_delay_ms == 0 || net == ADDRESS_NET_NONE) return 0;
    uint64_t delay_ms = peers_login_failed(s->set->peers, net, s->failed_login_delay_ms, s->now_ms);
    s->stats.logins_delayed++;
    return min_u64(delay_ms, s->connect_timeout_ms / 2); /* it is no use to who has been closed */
}
