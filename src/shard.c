/* The shards' threads: the turn, mail between them, their listening sockets, starting and stopping.
 * One turn is that of core.h; it collects work at one end and lets it go at the other:
 *
 *   sleep -> tick -> mail in, tasks -> sockets read -> settle -> mail out -> sockets written ->
 * mail
 *
 * Mail goes out before output, so that no acknowledgement overtakes the message it stands for. */
#include "shard_int.h"

#include "base/clock.h"
#include "base/mem.h"
#include "conn.h"
#include "net/address.h"
#include "shard_store.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

enum {
    DRAIN_PASSES = 8,    /* of the inboxes before a question is answered */
    PROMISE_POLL_MS = 5, /* the store wakes us, but not when it is full or mail has no room */
};

/* ---- limits ---- */

bool shard_admit(struct shard *s, struct listener *l, const struct conf_listener *conf)
{
    struct shard_set *set = s->set;
    int64_t most = atomic_load_explicit(&set->max_connections, memory_order_relaxed);
    int64_t all = atomic_fetch_add_explicit(&set->connections, 1, memory_order_relaxed);
    int64_t here = atomic_fetch_add_explicit(&l->connections, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&set->accepted, 1, memory_order_relaxed);
    if ((most < 0 || all < most) && (conf->max_connections < 0 || here < conf->max_connections))
        return true;
    shard_dismiss(s, l);
    return false;
}

void shard_dismiss(struct shard *s, struct listener *l)
{
    atomic_fetch_sub_explicit(&s->set->connections, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&l->connections, 1, memory_order_relaxed);
}

static bool session_admit(void *ctx, bool always)
{
    struct shard_set *set = ((struct shard *)ctx)->set;
    int64_t most = atomic_load_explicit(&set->max_clients, memory_order_relaxed);
    int pressure = atomic_load_explicit(&set->pressure, memory_order_relaxed);
    bool refuse = pressure == CORE_PRESSURE_HARD;
    int64_t now = atomic_fetch_add_explicit(&set->clients, 1, memory_order_relaxed);
    if (always || (!refuse && (most < 0 || now < most))) return true;
    atomic_fetch_sub_explicit(&set->clients, 1, memory_order_relaxed);
    return false;
}

static void session_gone(void *ctx)
{
    atomic_fetch_sub_explicit(&((struct shard *)ctx)->set->clients, 1, memory_order_relaxed);
}

static void core_logs(void *ctx, unsigned type, const char *line)
{
    log_line(((struct shard *)ctx)->set->log, type, line);
}

/* Both lists are in the order of their deadlines, as all of a list wait equally long. */
static uint64_t first_deadline(const struct list *conns)
{
    if (list_empty(conns)) return UINT64_MAX;
    return CONTAINER_OF(conns->next, struct conn, link)->deadline_ms;
}

/* ---- accepting ---- */

static void doors_want(struct shard *s, unsigned events)
{
    for (size_t i = 0; i < s->door_count; i++)
        if (loop_want(s->loop, &s->doors[i].source, events) < 0)
            log_line(s->set->log, LOG_T_ERROR, "Error: a listening socket cannot be watched.");
}

static void doors_shut(struct shard *s, uint64_t for_ms)
{
    s->doors_open_ms = s->now_ms + for_ms;
    doors_want(s, 0);
}

void shard_evict_here(struct shard *s)
{
    if (!list_empty(&s->fresh)) conn_free(CONTAINER_OF(s->fresh.next, struct conn, link), E_FULL);
}

static void tell_oldest(struct shard *s)
{
    atomic_store_explicit(&s->oldest_ms, first_deadline(&s->fresh), memory_order_relaxed);
}

static void evict_run(struct shard *s, struct shard_task *t)
{
    (void)t;
    for (uint32_t n = atomic_exchange(&s->evict_wanted, 0); n > 0; n--) shard_evict_here(s);
    tell_oldest(s);
}

/* The shard with the oldest connection without CONNECT, if that is another. */
static struct shard *oldest_elsewhere(struct shard *s)
{
    struct shard *oldest = NULL;
    uint64_t least = first_deadline(&s->fresh);
    for (unsigned i = 0; i < s->set->count; i++) {
        struct shard *other = &s->set->shards[i];
        uint64_t deadline = atomic_load_explicit(&other->oldest_ms, memory_order_relaxed);
        if (other == s || deadline == UINT64_MAX || deadline > least) continue;
        least = deadline;
        oldest = other;
    }
    return oldest;
}

void shard_evict_oldest(struct shard *s)
{
    struct shard *oldest = oldest_elsewhere(s);
    if (oldest == NULL)
        shard_evict_here(s);
    else if (atomic_fetch_add(&oldest->evict_wanted, 1) == 0)
        shard_post(oldest, &oldest->evict);
}

/* Whether another shard has an older connection without CONNECT than we have: that is to go, and
 * who is at the door waits until it has. */
static bool evict_elsewhere(struct shard *s)
{
    struct shard *oldest = oldest_elsewhere(s);
    if (oldest == NULL) return false;
    uint32_t none = 0; /* asked already: it comes */
    if (atomic_compare_exchange_strong(&oldest->evict_wanted, &none, 1))
        shard_post(oldest, &oldest->evict);
    doors_shut(s, DOORS_WAIT_MS);
    return true;
}

static int spare_open(void) { return open("/dev/null", O_RDONLY | O_CLOEXEC); }

/* Out of descriptors: the oldest connection without CONNECT goes, so that a well-behaved client
 * gets in; without such, the client at the door is told by being closed.  Whether to accept on. */
static bool make_room(struct shard *s, int listening)
{
    struct pollfd door = {.fd = listening, .events = POLLIN};
    if (poll(&door, 1, 0) == 0) return false; /* accept4() says so before it looks who is there */
    log_line(s->set->log, LOG_T_WARNING,
             "Warning: no file descriptors are left: connections are being closed. Raise the limit "
             "(ulimit -n, LimitNOFILE=).");
    if (evict_elsewhere(s)) return false;
    if (!list_empty(&s->fresh)) {
        conn_free(CONTAINER_OF(s->fresh.next, struct conn, link), E_FULL);
        return true;
    }
    if (s->spare_fd >= 0) close(s->spare_fd);
    int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0) close(fd);
    s->spare_fd = spare_open();
    if (fd >= 0 && s->spare_fd >= 0) return true;
    doors_shut(s, DOORS_SHUT_MS);
    return false;
}

static void door_ready(struct loop_source *source, unsigned events)
{
    struct door *d = CONTAINER_OF(source, struct door, source);
    struct shard *s = d->shard;
    char peer[ADDRESS_TEXT_MAX];
    (void)events;
    for (int i = 0; i < ACCEPT_BATCH && !s->stopping && guard_door(d); i++) {
        struct address a = {.size = sizeof a.sa};
        int fd = accept4(source->fd, (void *)&a.sa, &a.size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            address_text(&a, peer);
            guard_came(d);
        }
        if (fd >= 0 && shard_admit(s, d->listener, d->conf)) {
            conn_accept(s, d->listener, d->conf, fd, peer);
        } else if (fd >= 0) {
            log_printf(s->set->log, LOG_T_NOTICE,
                       "Client connection from %s denied: max_connections exceeded.", peer);
            close(fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            if (!make_room(s, source->fd)) return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

/* ---- tasks ---- */

void shard_post(struct shard *s, struct shard_task *t)
{
    t->next = atomic_load_explicit(&s->tasks, memory_order_relaxed); /* the exchange checks it */
    while (!atomic_compare_exchange_weak(&s->tasks, &t->next, t)) {
    }
    loop_wake(s->loop);
}

static void tasks_run(struct shard *s)
{
    if (atomic_load_explicit(&s->tasks, memory_order_relaxed) == NULL) return;
    struct shard_task *newest = atomic_exchange(&s->tasks, NULL), *oldest = NULL;
    while (newest) {
        struct shard_task *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        struct shard_task *t = oldest;
        oldest = t->next;
        t->run(s, t);
    }
}

/* ---- promises ---- */

void shard_when_safe(struct shard *s, struct shard_promise *p)
{
    p->sealed = core_promise(s->core, &p->seq);
    p->fresh = true;
    p->until_ms = s->now_ms + SHARD_PROMISE_MS;
    list_push(&s->promises, &p->link);
}

static bool mail_is_out(const struct shard *s)
{
    for (unsigned to = 0; to < s->set->count; to++)
        if (core_mail_pending(s->core, to)) return false;
    return true;
}

/* all: whatever has become of it. */
static void promises_run(struct shard *s, bool all)
{
    LIST_EACH_SAFE(it, next, &s->promises)
    {
        struct shard_promise *p = CONTAINER_OF(it, struct shard_promise, link);
        bool fresh = p->fresh;
        p->fresh = false;
        if (!p->sealed) p->sealed = core_promise(s->core, &p->seq);
        p->kept = !fresh && p->sealed && core_promised(s->core, p->seq) && mail_is_out(s);
        if (!p->kept && !all && s->now_ms < p->until_ms) {
            s->busy |= fresh;
            continue;
        }
        list_del(&p->link);
        p->run(s, p);
    }
}

/* ---- mail ---- */

static struct ring_lane *lane(struct shard_set *set, unsigned from, unsigned to)
{
    return &set->lanes[(size_t)from * set->count + to];
}

/* Only what is there now: a sender that fills the lane as fast as it is emptied would else keep us
 * here, and our letters that tell its publishers to wait would never leave. */
static bool mail_take(struct shard *s)
{
    bool any = false;
    for (unsigned from = 0; from < s->set->count; from++) {
        struct ring_lane *l = lane(s->set, from, s->index);
        struct buf b;
        for (uint32_t n = ring_count(&l->full); n > 0 && ring_pop(&l->full, &b); n--) {
            any = true;
            core_mail_in(s->core, from, buf_view(&b));
            atomic_fetch_sub(&l->bytes, buf_len(&b)); /* pairs with lane_has_room() */
            b.head = b.tail = 0;
            if (!ring_push(&l->empty, &b)) buf_fini(&b);
        }
        if (atomic_load_explicit(&l->stalled, memory_order_relaxed) &&
            atomic_exchange(&l->stalled, false)) /* pairs with the store in mail_post() */
            loop_wake(s->set->shards[from].loop);
    }
    return any;
}

/* A bound on what is still to come when a reader has told its publishers to wait. */
static bool lane_has_room(const struct shard *s, const struct ring_lane *l)
{
    return !ring_full(&l->full) && atomic_load(&l->bytes) < LANES_BYTES / s->set->count;
}

/* Whether all has gone. */
static bool mail_post(struct shard *s)
{
    bool all = true;
    for (unsigned to = 0; to < s->set->count; to++) {
        struct ring_lane *l = lane(s->set, s->index, to);
        struct buf b;
        if (to == s->index) continue;
        while (ring_pop(&l->empty, &b)) core_mail_recycle(s->core, &b);
        if (core_mail_pending(s->core, to) == 0 || core_mail_held(s->core)) continue;
        if (!lane_has_room(s, l)) {
            atomic_store(&l->stalled, true); /* then mail_waits() looks again */
            all = false;
            continue;
        }
        if (!core_mail_take(s->core, to, &b)) continue;
        atomic_fetch_add(&l->bytes, buf_len(&b));
        bool pushed = ring_push(&l->full, &b);
        ASSERT(pushed);
        loop_wake(s->set->shards[to].loop);
    }
    return all;
}

static bool mail_waits(struct shard *s)
{
    for (unsigned i = 0; i < s->set->count; i++) {
        if (i == s->index) continue;
        if (!ring_empty(&lane(s->set, i, s->index)->full)) return true;
        bool posts = core_mail_pending(s->core, i) > 0 && !core_mail_held(s->core);
        if (posts && lane_has_room(s, lane(s->set, s->index, i))) return true;
    }
    if (atomic_load(&s->store_news) || core_store_news(s->core)) return true;
    return atomic_load(&s->tasks) != NULL; /* pairs with shard_post() */
}

/* ---- the turn ---- */

static int sleep_time(const struct shard *s)
{
    if (s->held) return 1; /* the receiver of our mail wakes us */
    uint64_t due = core_next_due(s->core);
    if (s->doors_open_ms) due = min_u64(due, s->doors_open_ms);
    if (s->stopping) due = min_u64(due, s->stop_by_ms);
    due = min_u64(due, timers_next(&s->timers));
    if (!list_empty(&s->promises)) due = min_u64(due, s->now_ms + PROMISE_POLL_MS);
    due = min_u64(due, min_u64(first_deadline(&s->fresh), first_deadline(&s->lingering)));
    if (due == UINT64_MAX) return -1;
    return due <= s->now_ms ? 0 : (int)min_u64(due - s->now_ms, 3600 * 1000);
}

static void wait_for_work(struct shard *s)
{
    int timeout_ms = 0;
    if (!s->busy && (timeout_ms = sleep_time(s)) != 0) {
        loop_sleep_begin(s->loop);
        if (mail_waits(s)) timeout_ms = 0;
    }
    loop_wait(s->loop, timeout_ms);
    s->now_ms = clock_mono_ms();
}

static void deadlines_meet(struct shard *s, struct list *conns)
{
    while (first_deadline(conns) <= s->now_ms) {
        struct conn *c = CONTAINER_OF(conns->next, struct conn, link);
        if (conns == &s->fresh) guard_too_late(c);
        conn_free(c, E_EOF);
    }
}

static void timers_due(struct shard *s)
{
    deadlines_meet(s, &s->fresh);
    deadlines_meet(s, &s->lingering);
    timers_run(&s->timers, s->now_ms, s);
    if (s->doors_open_ms && s->doors_open_ms <= s->now_ms && !s->stopping) {
        s->doors_open_ms = 0;
        doors_want(s, LOOP_READ);
    }
}

static void connections_serve(struct shard *s)
{
    unsigned events;
    for (int i = 0; i < OUTPUT_BATCH; i++) {
        struct cconn *c = core_next_ready(s->core, &events);
        if (c == NULL) return;
        conn_service(core_conn_owner(c), events);
    }
}

static void dead_free(struct shard *s)
{
    while (!list_empty(&s->dead)) {
        struct conn *c = CONTAINER_OF(s->dead.next, struct conn, link);
        list_del(&c->link);
        mem_free(c);
    }
}

static void turn(struct shard *s)
{
    wait_for_work(s);
    core_tick(s->core, s->now_ms, clock_wall_ms());
    core_pressure(
        s->core, (enum core_pressure)atomic_load_explicit(&s->set->pressure, memory_order_relaxed));
    bool mail = mail_take(s);
    if (core_mail_asks(s->core)) {
        for (int i = 0; i < DRAIN_PASSES && mail_take(s); i++) {
        }
        core_mail_answer(s->core);
    }
    atomic_store_explicit(&s->store_news, false, memory_order_relaxed); /* core_settle() looks */
    tasks_run(s);
    s->greetings = 0;
    loop_dispatch(s->loop);
    timers_due(s);
    (void)core_settle(s->core); /* what waits, the store wakes us for */
    s->busy = mail;
    promises_run(s, false);
    s->held = !mail_post(s) && !s->stopping;
    if (!s->held) connections_serve(s);
    core_flush(s->core); /* before mail, so that the log has things in the order they happened */
    (void)mail_post(s);  /* what serving posted; the rest waits for the receiver's wake-up */
    if (core_mail_pending(s->core, s->index)) s->busy = true;
    tell_oldest(s);
    dead_free(s);
}

/* ---- life ---- */

static void conns_free(struct list *conns)
{
    while (!list_empty(conns)) conn_free(CONTAINER_OF(conns->next, struct conn, link), 0);
}

static void stop_run(struct shard *s, struct shard_task *t)
{
    (void)t;
    if (s->stopping) return;
    s->stopping = true;
    s->stop_by_ms = s->now_ms + STOP_GRACE_MS;
    for (size_t i = 0; i < s->door_count; i++) loop_del(s->loop, &s->doors[i].source);
    conns_free(&s->fresh);
    core_shutdown(s->core);
}

static bool is_over(const struct shard *s)
{
    if (!s->stopping) return false;
    if (s->now_ms >= s->stop_by_ms || atomic_load(&s->set->hurry)) return true;
    return list_empty(&s->conns) && list_empty(&s->lingering);
}

static void *shard_main(void *arg)
{
    struct shard *s = arg;
    char name[16];
    snprintf(name, sizeof name, "sluice-%u", s->index);
    (void)pthread_setname_np(pthread_self(), name); /* for top and gdb only */
    while (!is_over(s)) turn(s);
    atomic_fetch_sub(&s->set->running, 1);
    return NULL;
}

static int doors_open(struct shard *s)
{
    struct listeners *ls = s->set->listeners;
    s->doors = mem_calloc(ls->count * LISTENER_SOCKETS, sizeof *s->doors);
    if (s->doors == NULL) return E_NOMEM;
    for (size_t i = 0; i < ls->count * LISTENER_SOCKETS; i++) {
        struct listener *l = &ls->items[i / LISTENER_SOCKETS];
        int fd = l->fds[s->index * LISTENER_SOCKETS + i % LISTENER_SOCKETS];
        if (fd < 0 || l->conf->http_api) continue;
        struct door *d = &s->doors[s->door_count++];
        *d = (struct door){.source = {.ready = door_ready, .fd = fd}};
        d->shard = s;
        d->listener = l;
        d->conf = l->conf;
        if (loop_want(s->loop, &d->source, LOOP_READ) < 0) return E_IO;
    }
    return 0;
}

static int shard_init(struct shard *s)
{
    s->now_ms = clock_mono_ms();
    timers_init(&s->timers, s->now_ms);
    s->stop.run = stop_run;
    s->evict.run = evict_run;
    atomic_init(&s->oldest_ms, UINT64_MAX);
    s->spare_fd = spare_open();
    list_init(&s->fresh);
    list_init(&s->conns);
    list_init(&s->lingering);
    list_init(&s->dead);
    list_init(&s->promises);
    s->input = mem_alloc(READ_SIZE);
    if (s->input == NULL) return E_NOMEM;
    return loop_open(&s->loop);
}

static int core_init(struct shard *s, const struct conf *conf)
{
    struct core_env env = {.ctx = s,
                           .log = core_logs,
                           .session_admit = session_admit,
                           .session_gone = session_gone,
                           .login = shard_login,
                           .exchange_free = shard_exchange_free};
    int rc = core_new(&s->core, &conf->core, &env, s->store, s->index, s->set->count, s->set->seed,
                      s->now_ms, clock_wall_ms());
    if (rc == 0) rc = doors_open(s);
    if (rc == 0) shard_configure(s, conf);
    return rc;
}

int shards_new(struct shard_set **out, unsigned count, const struct conf *conf, const char *folder,
               struct listeners *listeners, struct log *log, uint64_t seed)
{
    struct shard_set *set = mem_calloc(1, sizeof *set);
    if (set == NULL) return E_NOMEM;
    *set = (struct shard_set){.count = count, .listeners = listeners, .log = log, .seed = seed};
    set->shards = mem_calloc_aligned(count, sizeof *set->shards);
    set->lanes = mem_calloc_aligned((size_t)count * count, sizeof *set->lanes);
    int rc = set->shards && set->lanes ? 0 : E_NOMEM;
    if (rc == 0) rc = scram_server_new(&set->scram);
    if (rc == 0) rc = auth_pool_new(&set->auth, AUTH_THREADS);
    if (rc == 0) rc = peers_new(&set->peers, seed);
    for (unsigned i = 0; rc == 0 && i < count; i++) {
        set->shards[i].set = set;
        set->shards[i].index = i;
        rc = shard_init(&set->shards[i]);
    }
    if (rc == 0) rc = shards_store_open(set, conf, folder);
    for (unsigned i = 0; rc == 0 && i < count; i++) rc = core_init(&set->shards[i], conf);
    if (rc == 0) rc = shards_recover(set);
    shards_limit(set, &(struct shard_limits){conf->global_max_clients, conf->global_max_connections,
                                             conf->max_pending_connections});
    if (rc == 0)
        *out = set;
    else
        shards_free(&set);
    return rc;
}

int shards_start(struct shard_set *set)
{
    for (unsigned i = 0; i < set->count; i++) {
        struct shard *s = &set->shards[i];
        atomic_fetch_add(&set->running, 1);
        s->started = pthread_create(&s->thread, NULL, shard_main, s) == 0;
        if (s->started) continue;
        atomic_fetch_sub(&set->running, 1);
        return E_IO;
    }
    return 0;
}

unsigned shards_running(const struct shard_set *set) { return atomic_load(&set->running); }

void shards_hurry(struct shard_set *set)
{
    atomic_store(&set->hurry, true);
    for (unsigned i = 0; i < set->count; i++) loop_wake(set->shards[i].loop);
}

void shards_stop(struct shard_set *set)
{
    if (set->stop_posted) return; /* a task is in one list at a time */
    set->stop_posted = true;
    for (unsigned i = 0; i < set->count; i++)
        if (set->shards[i].started) shard_post(&set->shards[i], &set->shards[i].stop);
}

static void shard_fini(struct shard *s)
{
    if (s->core) { /* the threads have ended: what was posted last is for us to take */
        while (atomic_load(&s->tasks)) tasks_run(s); /* some go on in pieces */
        promises_run(s, true);
        s->stopping = true;
        timers_run(&s->timers, s->now_ms + TIMERS_LONGEST_MS, s); /* answers that wait */
        conns_free(&s->fresh);
        conns_free(&s->conns);
        conns_free(&s->lingering);
        dead_free(s);
        shard_store_finish(s);
    }
    core_free(&s->core);
    store_close(s->store);
    loop_close(&s->loop);
    if (s->spare_fd >= 0) close(s->spare_fd);
    mem_free(s->doors);
    mem_free(s->input);
}

void shards_free(struct shard_set **set_ptr)
{
    struct shard_set *set = *set_ptr;
    if (set == NULL) return;
    *set_ptr = NULL;
    if (shards_running(set)) shards_stop(set);
    for (unsigned i = 0; set->shards && i < set->count; i++)
        if (set->shards[i].started) pthread_join(set->shards[i].thread, NULL);
    auth_pool_free(&set->auth); /* its last answers are tasks, which shard_fini() takes */
    for (unsigned i = 0; set->shards && i < set->count; i++)
        if (set->shards[i].set) shard_fini(&set->shards[i]);
    for (size_t i = 0; set->lanes && i < (size_t)set->count * set->count; i++) {
        ring_fini(&set->lanes[i].full);
        ring_fini(&set->lanes[i].empty);
    }
    scram_server_free(&set->scram); /* connections may have had exchanges */
    peers_free(&set->peers);        /* and were counted */
    mem_free(set->lanes);
    mem_free(set->shards);
    mem_free(set);
}

/* ---- small doors ---- */

unsigned shards_count(const struct shard_set *set) { return set->count; }
unsigned shards_home(const struct shard_set *set, struct bytes client_id)
{
    return core_home(client_id, set->count, set->seed);
}

struct auth_pool *shards_auth(struct shard_set *set) { return set->auth; }
struct peers *shards_peers(struct shard_set *set) { return set->peers; }
struct shard *shards_at(struct shard_set *set, unsigned index) { return &set->shards[index]; }
struct core *shard_core(struct shard *s) { return s->core; }
const struct shard_stats *shard_stats(const struct shard *s) { return &s->stats; }

void shards_limit(struct shard_set *set, const struct shard_limits *limits)
{
    atomic_store_explicit(&set->max_clients, limits->max_clients, memory_order_relaxed);
    atomic_store_explicit(&set->max_connections, limits->max_connections, memory_order_relaxed);
    atomic_store_explicit(&set->max_pending, limits->max_pending, memory_order_relaxed);
}

void shards_pressure(struct shard_set *set, enum core_pressure level)
{
    atomic_store_explicit(&set->pressure, (int)level, memory_order_relaxed);
}

int64_t shards_connections(const struct shard_set *set)
{
    return atomic_load_explicit(&set->connections, memory_order_relaxed);
}

int64_t shards_accepted(const struct shard_set *set)
{
    return atomic_load_explicit(&set->accepted, memory_order_relaxed);
}

void shard_configure(struct shard *s, const struct conf *conf)
{
    int nodelay = conf->set_tcp_nodelay; /* what is accepted has it from the listening socket */
    s->connect_timeout_ms = conf->core.connect_timeout_ms;
    s->failed_login_delay_ms = conf->failed_login_delay_ms;
    s->websockets_headers_size = conf->websockets_headers_size;
    core_configure(s->core, &conf->core);
    for (size_t i = 0; i < s->door_count; i++) {
        struct door *d = &s->doors[i];
        for (size_t j = 0; j < conf->listener_count; j++)
            if (conf_listener_same_socket(d->conf, &conf->listeners[j]))
                d->conf = &conf->listeners[j];
        if (d->conf->port) /* a failure costs speed only */
            (void)setsockopt(d->source.fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, sizeof nodelay);
    }
}
