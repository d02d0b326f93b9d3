/* A connection's bytes: read into the shard's memory, given to the core, and the core's output
 * written.  The first packet decides on which shard the connection lives; it is then handed over
 * once, with what was read.  What comes before MQTT is conn_begin.c's.  The shard's thread. */
#include "conn.h"

#include "base/mem.h"
#include "mqtt/packet.h"
#include "net/address.h"
#include <stdio.h>

enum {
    LINGER_MS = 1000,        /* for a client to read why it was disconnected */
    CONNECT_MAX = 64 * 1024, /* bytes looked at before CONNECT is whole */
    REST_COPY_MAX = 8192,    /* a rest that is copied before the next bytes; longer ones grow */
};

_Static_assert(READ_SIZE / 2 >= (int)TRANSPORT_READ_MIN, "read_on() has room enough");
_Static_assert(READ_SIZE - REST_COPY_MAX >= (int)TRANSPORT_READ_MIN, "so has read_shared()");

static void conn_ready(struct loop_source *source, unsigned events);
static void conn_arrive(struct shard *s, struct shard_task *t);

/* ---- opening and closing ---- */

struct conn *conn_new(struct shard *s, struct listener *l, const struct conf_listener *conf,
                      const struct transport *t, const char *peer)
{
    struct conn *c = mem_calloc(1, sizeof *c);
    if (c == NULL) return NULL;
    c->peer = mem_strndup(peer, strlen(peer));
    if (c->peer == NULL) {
        mem_free(c);
        return NULL;
    }
    c->transport = *t;
    c->source = (struct loop_source){.ready = conn_ready, .fd = t->fd};
    c->shard = s;
    c->listener = l;
    c->conf = conf;
    c->net = ADDRESS_NET_NONE;
    c->deadline_ms = s->now_ms + s->connect_timeout_ms;
    list_push(&s->fresh, &c->link);
    return c;
}

void conn_renew(struct conn *c)
{
    c->deadline_ms = c->shard->now_ms + c->shard->connect_timeout_ms;
    list_del(&c->link);
    list_push(&c->shard->fresh, &c->link);
}

/* Its memory goes at the end of the turn. */
static void conn_bury(struct conn *c)
{
    c->dead = true;
    guard_pending_end(c);
    conn_answer_free(c);
    buf_fini(&c->rest);
    mem_free(c->peer);
    mem_free(c->proved_user);
    list_del(&c->link);
    list_push(&c->shard->dead, &c->link);
}

void conn_free(struct conn *c, int why)
{
    if (c->dead) return;
    if (c->core) core_conn_closed(c->core, why);
    c->core = NULL;
    loop_forget(&c->source);
    guard_left(c->shard, c->listener, c->net); /* before the peer can know, and come again */
    shard_dismiss(c->shard, c->listener);
    c->transport.ops->close(&c->transport);
    conn_bury(c);
}

static void last_second(struct conn *c)
{
    guard_pending_end(c);
    c->deadline_ms = c->shard->now_ms + LINGER_MS;
    list_del(&c->link);
    list_push(&c->shard->lingering, &c->link);
}

/* The client may be in the middle of sending: a reset would take from it the packet that says what
 * was wrong.  So its input is read and thrown away for a while. */
void conn_linger(struct conn *c)
{
    if (c->core) core_conn_closed(c->core, 0);
    c->core = NULL;
    c->transport.ops->end(&c->transport);
    c->lingers = true;
    c->begins = CONN_SPEAKS; /* what comes is read away */
    c->paused = c->want_write = false;
    buf_fini(&c->rest);
    conn_answer_free(c);
    last_second(c);
    conn_want(c);
}

static unsigned wanted(const struct conn *c)
{
    return (c->paused ? 0u : LOOP_READ) | (c->want_write ? LOOP_WRITE : 0u);
}

void conn_want(struct conn *c)
{
    unsigned events = transport_watch(&c->transport, wanted(c));
    if (loop_want(c->shard->loop, &c->source, events) < 0) conn_free(c, E_IO);
}

static bool crossed(const struct conn *c)
{
    return c->transport.read_needs_write || c->transport.write_needs_read;
}

/* ---- input ---- */

/* Gives bytes to the core; returns how many it is done with. */
static size_t feed(struct conn *c, struct bytes in)
{
    size_t used = 0;
    enum core_input_result result = core_input(c->core, in, &used);
    if (result == CORE_PAUSED && !c->paused) {
        c->paused = true;
        conn_want(c);
    }
    c->ended |= result == CORE_CLOSED;
    return c->ended ? in.n : used;
}

/* By the transport, or by the proxy's word; empty: nobody. */
static struct bytes proved_user(const struct conn *c)
{
    return c->proved_user ? bytes_str(c->proved_user) : c->transport.ops->user(&c->transport);
}

static int adopt(struct conn *c)
{
    guard_pending_end(c);
    list_del(&c->link);
    list_push(&c->shard->conns, &c->link);
    int rc = core_conn_open(c->shard->core, &c->core, &c->conf->core, c->peer, c);
    struct bytes user = proved_user(c);
    if (rc == 0 && user.n) rc = core_conn_prove(c->core, user);
    mem_free(c->peer);
    mem_free(c->proved_user);
    c->peer = c->proved_user = NULL;
    return rc;
}

/* The shard that the connection belongs to, as far as the bytes so far say.  E_AGAIN: CONNECT is
 * not whole.  What is no CONNECT is refused by the core where it is. */
static int home_of(const struct conn *c, struct bytes in, unsigned *home)
{
    const struct shard *s = c->shard;
    struct mqtt_frame f;
    struct mqtt_connect m;
    *home = s->index;
    int rc = mqtt_frame_peek(in, CONNECT_MAX, &f);
    if (rc == E_AGAIN) return rc;
    if (rc < 0 || f.type != MQTT_CONNECT) return 0;
    if (mqtt_connect_decode(bytes_of(in.p + f.head_len, f.body_len), &m) < 0) return 0;
    struct bytes user = c->conf->core.certificate_is_user ? proved_user(c) : m.username;
    struct bytes id = c->conf->core.use_username_as_clientid ? user : m.client_id;
    if (id.n) *home = core_home(id, s->set->count, s->set->seed);
    return 0;
}

/* A connection on its way to the shard of its session.  It is made anew there: memory of one shard
 * among that of another would share cache lines with what the other writes all the time. */
struct arrival {
    struct shard_task task;
    struct transport transport;
    struct listener *listener;
    const struct conf_listener *conf;
    uint64_t net;
    char peer[ADDRESS_TEXT_MAX];
    char *proved_user; /* owned */
    size_t size;
    uint8_t bytes[]; /* read so far */
};

static void hand_over(struct conn *c, struct shard *to, struct bytes in)
{
    struct arrival *a = mem_alloc(sizeof *a + in.n);
    if (a == NULL) {
        conn_free(c, E_NOMEM);
        return;
    }
    *a = (struct arrival){.task = {.run = conn_arrive},
                          .transport = c->transport,
                          .listener = c->listener,
                          .conf = c->conf,
                          .net = c->net,
                          .proved_user = c->proved_user,
                          .size = in.n};
    c->proved_user = NULL;
    snprintf(a->peer, sizeof a->peer, "%s", c->peer);
    put_mem(a->bytes, in);
    loop_del(c->shard->loop, &c->source);
    conn_bury(c);
    shard_post(to, &a->task);
}

/* Before CONNECT.  Returns how many bytes are done with; the connection may be gone. */
static size_t first_bytes(struct conn *c, struct bytes in)
{
    unsigned home;
    if (home_of(c, in, &home) == E_AGAIN) return 0;
    if (home != c->shard->index) {
        hand_over(c, &c->shard->set->shards[home], in);
        return in.n;
    }
    if (adopt(c) == 0) return feed(c, in);
    conn_free(c, E_NOMEM);
    return in.n;
}

static size_t take(struct conn *c, struct bytes in)
{
    return c->core ? feed(c, in) : first_bytes(c, in);
}

/* What the core has not taken of bytes in the shard's memory is kept. */
static void keep_rest(struct conn *c, struct bytes in)
{
    if (c->dead) return;
    c->rest.head = c->rest.tail = 0;
    if (in.n == 0) {
        buf_trim(&c->rest);
    } else if (buf_append(&c->rest, in) < 0) {
        conn_free(c, E_NOMEM);
    }
}

static void conn_arrive(struct shard *s, struct shard_task *t)
{
    struct arrival *a = CONTAINER_OF(t, struct arrival, task);
    struct conn *c = conn_new(s, a->listener, a->conf, &a->transport, a->peer);
    if (c == NULL) {
        a->transport.ops->close(&a->transport);
        mem_free(a->proved_user);
        guard_left(s, a->listener, a->net);
        shard_dismiss(s, a->listener);
    } else if (c->net = a->net, c->proved_user = a->proved_user, adopt(c) < 0) {
        conn_free(c, E_NOMEM);
    } else {
        struct bytes in = bytes_of(a->bytes, a->size);
        keep_rest(c, bytes_skip(in, feed(c, in)));
        if (!c->dead) conn_want(c);
    }
    mem_free(a);
}

/* A long unfinished packet grows in the connection's own memory, as its bytes come. */
static int64_t read_on(struct conn *c)
{
    uint8_t *d = buf_reserve(&c->rest, READ_SIZE / 2);
    if (d == NULL) return E_NOMEM;
    int64_t n = c->transport.ops->read(&c->transport, d, READ_SIZE / 2);
    if (n <= 0) return n;
    buf_commit(&c->rest, (uint32_t)n);
    size_t used = take(c, buf_view(&c->rest));
    if (c->dead) return n;
    buf_consume(&c->rest, (uint32_t)used);
    buf_trim(&c->rest);
    return n;
}

static int64_t read_shared(struct conn *c)
{
    struct shard *s = c->shard;
    uint32_t kept = buf_len(&c->rest);
    if (kept) memcpy(s->input, buf_view(&c->rest).p, kept);
    int64_t n = c->transport.ops->read(&c->transport, s->input + kept, READ_SIZE - kept);
    if (n <= 0) return n;
    struct bytes in = bytes_of(s->input, kept + (size_t)n);
    keep_rest(c, bytes_skip(in, take(c, in)));
    return n;
}

/* It has broken the rules of the transport, and been told so by that. */
static void end_rude(struct conn *c)
{
    char what[200], why[240];
    c->transport.ops->explain(&c->transport, what, sizeof what);
    snprintf(why, sizeof why, "disconnected: it sent %s", what);
    c->shard->stats.frames_refused++;
    if (c->core)
        core_conn_blame(c->core, why);
    else
        log_printf(c->shard->set->log, LOG_T_NOTICE, "refused %s: it sent %s.", c->peer, what);
    conn_linger(c);
}

static int64_t read_away(struct conn *c)
{
    return c->transport.ops->read(&c->transport, c->shard->input, READ_SIZE);
}

static void conn_read(struct conn *c)
{
    if (c->paused) { /* a hang-up is told although nobody asked: look again after the pause */
        if (c->want_write)
            conn_free(c, E_IO);
        else
            loop_del(c->shard->loop, &c->source);
        return;
    }
    bool away = c->lingers || c->closes;
    if (c->ended && !away) return; /* about to be closed */
    int64_t n = away                                ? read_away(c)
                : buf_len(&c->rest) > REST_COPY_MAX ? read_on(c)
                                                    : read_shared(c);
    if (LIKELY(n > 0) && LIKELY(!crossed(c))) return;
    if (n == E_PROTOCOL)
        end_rude(c);
    else if (n < 0 && n != E_AGAIN)
        conn_free(c, (int)n);
    else if (!c->dead && c->source.added)
        conn_want(c);
}

/* ---- output ---- */

static void conn_write(struct conn *c)
{
    struct bytes out = core_output(c->core);
    int64_t n = 0;
    if (out.n) {
        struct iovec part = {(void *)(uintptr_t)out.p, out.n};
        n = c->transport.ops->writev(&c->transport, &part, 1);
        if (n < 0 && n != E_AGAIN) {
            conn_free(c, (int)n);
            return;
        }
        if (n < 0) n = 0;
    }
    core_output_sent(c->core, (size_t)n);
    bool more = (size_t)n < out.n;
    if (more == c->want_write && !crossed(c)) return;
    c->want_write = more;
    conn_want(c);
}

void conn_service(struct conn *c, unsigned events)
{
    if (events & CORE_EV_RESUME && c->paused) {
        c->paused = false;
        buf_consume(&c->rest, (uint32_t)feed(c, buf_view(&c->rest)));
        buf_trim(&c->rest);
        if (!c->paused && !c->dead) conn_want(c);
    }
    if (events & (CORE_EV_OUTPUT | CORE_EV_CLOSE) && !c->dead && !c->want_write) conn_write(c);
    if (!(events & CORE_EV_CLOSE) || c->dead) return;
    if (!(events & CORE_EV_LINGER) && !c->conf->websockets) { /* there it answers our close */
        conn_free(c, 0);
    } else if (c->want_write) {
        c->closes = true;
        last_second(c);
    } else {
        conn_linger(c);
    }
}

static void conn_ready(struct loop_source *source, unsigned events)
{
    struct conn *c = CONTAINER_OF(source, struct conn, source);
    if (UNLIKELY(c->begins)) {
        conn_begin_ready(c);
        return;
    }
    bool were_crossed = crossed(c);
    if (UNLIKELY(were_crossed)) {
        unsigned may = transport_ready(&c->transport, wanted(c), events);
        events = may ? may : LOOP_READ; /* a hang-up, that nobody asked for */
    }
    if (events & LOOP_WRITE && c->core) conn_write(c);
    if (c->closes && !c->dead && !c->want_write && c->core) conn_linger(c);
    if (events & LOOP_READ && !c->dead) conn_read(c);
    if (UNLIKELY(were_crossed) && !c->dead && c->source.added) conn_want(c);
}
