/* The thread of the admin listener: its life, and the tasks that others post to it.  Everything is
 * the main thread's or the admin thread's, as the header says; tasks are a stack, newest first,
 * that any thread may push to. */
#include "admin_int.h"

#include "base/clock.h"
#include "base/mem.h"
#include "net/address.h"
#include "peers.h"
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

struct admin_thread {
    pthread_t thread;
    bool started;
    _Atomic(struct admin_task *) tasks; /* seq_cst */
    _Atomic unsigned posting;           /* threads within admin_post(); seq_cst */
    struct admin_task stop;
};

/* As soon as t is visible it may be the last that the admin's end has waited for; `posting` keeps
 * what the wake-up needs. */
void admin_post(struct admin *a, struct admin_task *t)
{
    struct admin_thread *at = a->thread;
    atomic_fetch_add(&at->posting, 1);
    t->next = atomic_load_explicit(&at->tasks, memory_order_relaxed); /* the exchange checks it */
    while (!atomic_compare_exchange_weak(&at->tasks, &t->next, t)) {
    }
    http_wake(a->http);
    atomic_fetch_sub(&at->posting, 1); /* pairs with the look in admin_free() */
}

static void tasks_run(void *ctx)
{
    struct admin *a = ctx;
    struct admin_task *newest = atomic_exchange(&a->thread->tasks, NULL), *oldest = NULL;
    while (newest) {
        struct admin_task *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        struct admin_task *t = oldest;
        oldest = t->next;
        t->run(a, t);
    }
    if (a->stopping && a->away == 0) http_stop(a->http);
}

static void stop_run(struct admin *a, struct admin_task *t)
{
    (void)t;
    a->stopping = true;
}

static void *admin_main(void *arg)
{
    struct admin *a = arg;
    (void)pthread_setname_np(pthread_self(), "sluice-admin"); /* for top and gdb only */
    (void)!nice(AUTH_NICE); /* on Linux: of this thread; clients go before operators */
    http_serve(a->http);
    return NULL;
}

/* ---- limits of an address ---- */

static bool admits(void *ctx, unsigned door, const char *peer, uint64_t *tag)
{
    struct admin *a = ctx;
    const struct peers_limits *limits = &a->doors[door].conf->per_address;
    uint64_t net = limits->connections || limits->rate ? address_net(peer) : ADDRESS_NET_NONE;
    bool tell = false;
    *tag = net;
    if (net == ADDRESS_NET_NONE) return true;
    enum peers_verdict verdict =
        peers_enter(shards_peers(a->shards), net, &a->doors[door], limits, clock_mono_ms(), &tell);
    if (verdict != PEERS_ADMITTED && tell)
        log_printf(a->log, LOG_T_NOTICE,
                   "Admin: connection from %s denied: %s exceeded. Others from there are not "
                   "logged for a minute.",
                   peer,
                   verdict == PEERS_TOO_MANY ? "max_connections_per_address"
                                             : "max_connect_rate_per_address");
    return verdict == PEERS_ADMITTED;
}

static void left(void *ctx, unsigned door, uint64_t tag)
{
    struct admin *a = ctx;
    if (tag != ADDRESS_NET_NONE) peers_leave(shards_peers(a->shards), tag, &a->doors[door]);
}

/* ---- life ---- */

bool admin_is_built(void) { return true; }

static bool is_ours(const struct conf_listener *l) { return l->http_api; }

static unsigned connections_max(const struct conf_listener *l)
{
    bool none = l->max_connections < 0 || l->max_connections > HTTP_CONNECTIONS_MAX;
    return none ? HTTP_CONNECTIONS_MAX : (unsigned)l->max_connections;
}

static int doors_open(struct admin *a, const struct listeners *ls, size_t count)
{
    struct http_door *doors = mem_calloc(count, sizeof *doors);
    if (doors == NULL) return E_NOMEM;
    struct http_handler handler = {.ctx = a,
                                   .admits = admits,
                                   .left = left,
                                   .request = admin_request,
                                   .wanted = admin_wanted,
                                   .due = admin_due,
                                   .gone = admin_gone,
                                   .woken = tasks_run,
                                   .refused = admin_refused};
    for (size_t i = 0; i < ls->count; i++) {
        const struct conf_listener *l = ls->items[i].conf;
        if (!is_ours(l)) continue;
        doors[a->door_count] = (struct http_door){
            .fds = ls->items[i].fds,
            .fd_count = LISTENER_SOCKETS,
            .connections_max = connections_max(l),
            .certfile = l->tls ? l->https.certfile : NULL,
            .keyfile = l->tls ? l->https.keyfile : NULL,
            .ciphers = l->https.ciphers,
            .ciphers13 = l->https.ciphers13,
            .only_13 = l->https.only_13,
        };
        a->doors[a->door_count++] = (struct admin_door){.conf = l};
    }
    int rc = http_open(&a->http, doors, a->door_count, &handler);
    mem_free(doors);
    return rc;
}

int admin_new(struct admin **out, const struct conf *conf, const struct listeners *ls,
              struct log *log)
{
    size_t count = 0;
    for (size_t i = 0; i < ls->count; i++) count += is_ours(ls->items[i].conf);
    *out = NULL;
    if (count == 0) return 0;
    struct admin *a = mem_calloc(1, sizeof *a);
    if (a == NULL) return E_NOMEM;
    a->conf = conf;
    a->log = log;
    a->started_ms = clock_mono_ms();
    list_init(&a->calls);
    a->thread = mem_calloc(1, sizeof *a->thread);
    a->doors = mem_calloc(count, sizeof *a->doors);
    int rc = a->thread && a->doors ? doors_open(a, ls, count) : E_NOMEM;
    if (rc == E_IO)
        log_line(log, LOG_T_ERROR,
                 "Error: the admin listener cannot be opened (descriptors, or "
                 "its certificate).");
    if (rc == 0)
        *out = a;
    else
        admin_free(&a);
    return rc;
}

int admin_start(struct admin *a, struct shard_set *shards)
{
    a->shards = shards;
    a->thread->stop.run = stop_run;
    a->thread->started = pthread_create(&a->thread->thread, NULL, admin_main, a) == 0;
    return a->thread->started ? 0 : E_IO;
}

void admin_free(struct admin **admin)
{
    struct admin *a = *admin;
    if (a == NULL) return;
    *admin = NULL;
    if (a->thread && a->thread->started) {
        admin_post(a, &a->thread->stop);
        pthread_join(a->thread->thread, NULL);
        while (atomic_load(&a->thread->posting)) sched_yield(); /* for some instructions */
    }
    http_close(&a->http); /* who is being answered is told by the end of the connection */
    ASSERT(list_empty(&a->calls));
    mem_free(a->doors);
    mem_free(a->thread);
    mem_free(a);
}

void admin_configure(struct admin *a, const struct conf *conf)
{
    a->conf = conf;
    for (unsigned i = 0; i < a->door_count; i++) {
        for (size_t j = 0; j < conf->listener_count; j++)
            if (conf_listener_same_socket(a->doors[i].conf, &conf->listeners[j]))
                a->doors[i].conf = &conf->listeners[j];
        http_limit(a->http, i, connections_max(a->doors[i].conf));
    }
}
