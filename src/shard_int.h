/* What shard.c and conn.c share; all of it belongs to the shard's thread but for what says
 * otherwise. */
#ifndef SRC_SHARD_INT_H
#define SRC_SHARD_INT_H

#include "auth_pool.h"
#include "base/list.h"
#include "base/timer.h"
#include "net/loop.h"
#include "net/ring.h"
#include "net/transport.h"
#include "shard.h"
#include <pthread.h>

enum {
    READ_SIZE = 128 * 1024, /* read at once, into memory that all connections of a shard share */
    ACCEPT_BATCH = 64,      /* connections accepted a turn and socket */
    GREET_BATCH = 16,       /* steps of TLS handshakes a turn: up to a millisecond each */
    OUTPUT_BATCH = 4096,    /* connections served a turn */
    STOP_GRACE_MS = 2000,   /* for clients to take their DISCONNECT */
    DOORS_SHUT_MS = 100,    /* when there are no descriptors left */
    DOORS_WAIT_MS = 5,      /* for another shard to make room */
    TIMERS_LONGEST_MS = 3600 * 1000, /* of shard->timers: as connect_timeout may be */
    LATE_ANSWERS_MAX = 4096,         /* to wrong passwords, that wait */
    LANES_BYTES = 2 << 20,           /* of mail on its way to a shard, from all others together */
};

struct door { /* one listening socket of this shard */
    struct loop_source source;
    struct shard *shard;
    struct listener *listener;
    const struct conf_listener *conf;
    struct timer timer; /* over max_connect_rate: until it is watched again */
    uint64_t told_ms;
};

struct shard {
    _Alignas(MEM_LINE) struct shard_set *set;
    unsigned index;
    struct core *core;
    struct store *store;
    struct loop *loop;
    uint64_t now_ms;
    uint8_t *input;    /* READ_SIZE */
    struct list fresh; /* connections before CONNECT, oldest first */
    struct list conns;
    struct list lingering; /* being closed, oldest first */
    struct list promises;  /* struct shard_promise */
    struct list dead;      /* freed when the turn ends: the loop may hold an event of theirs */
    struct door *doors;
    size_t door_count;
    uint64_t doors_open_ms; /* 0: they are open */
    int spare_fd;           /* given up to tell a client that there are none left */
    uint64_t connect_timeout_ms, failed_login_delay_ms;
    uint64_t pending_told_ms, late_told_ms;
    uint32_t late_count;  /* answers that wait */
    struct timers timers; /* of doors, and of answers that wait */
    uint32_t websockets_headers_size;
    struct shard_stats stats;
    int greetings; /* steps of handshakes in this turn */
    bool busy;     /* something waits: do not sleep */
    bool held;     /* output waits until all mail is on its way */
    bool stopping;
    uint64_t stop_by_ms;
    struct shard_task stop;
    struct shard_task evict;
    _Atomic uint64_t oldest_ms; /* deadline of the first in `fresh`; relaxed: a hint for others */
    _Atomic uint32_t evict_wanted; /* how many of `fresh` are to go; by any thread; seq_cst */
    /* Any thread: a stack, newest first.  seq_cst: push pairs with the look after
     * loop_sleep_begin(). */
    _Atomic(struct shard_task *) tasks;
    _Atomic bool store_news; /* by the store's threads; seq_cst, as `tasks` */
    pthread_t thread;
    bool started;
};

struct shard_set {
    unsigned count;
    struct shard *shards;
    struct ring_lane *lanes; /* [from * count + to] */
    struct log *log;
    struct listeners *listeners;
    struct auth_pool *auth;
    struct peers *peers;
    struct scram_server *scram;
    bool on_disk;     /* its store is */
    bool stop_posted; /* main thread */
    uint64_t seed;
    /* Gauges and limits over all shards; relaxed: a limit may be a few off. */
    _Atomic int64_t connections, accepted, clients, max_connections, max_clients;
    _Atomic int64_t pending, max_pending; /* connections without CONNECT */
    _Atomic int pressure;                 /* enum core_pressure; relaxed: looked at in each turn */
    _Atomic bool hurry;
    _Atomic unsigned running; /* threads */
};

/* Counts a connection of l; false: a limit is reached, nothing was counted. */
bool shard_admit(struct shard *s, struct listener *l, const struct conf_listener *conf);
void shard_dismiss(struct shard *s, struct listener *l);
/* The oldest connection of all shards that has not sent its CONNECT goes. */
void shard_evict_oldest(struct shard *s);
void shard_evict_here(struct shard *s); /* the oldest of this shard's */

/* ---- shard_guard.c ---- */
struct conn;
/* By its address (c->peer): whether it may stay; then it is counted until guard_left(), and c->net
 * says where.  Else it has been counted and logged as refused. */
bool guard_admit(struct conn *c);
void guard_left(struct shard *s, struct listener *l, uint64_t net);
/* Before accept(): whether the listener's rate allows one more; else the door is shut for a while.
 * After it: one has come. */
bool guard_door(struct door *d);
void guard_came(struct door *d);
/* c has to send its CONNECT from now on (the oldest of these may be closed, which may be c); and
 * not any more. */
void guard_pending_begin(struct conn *c);
void guard_pending_end(struct conn *c);
void guard_too_late(struct conn *c); /* its CONNECT has not come in time; it is about to be freed */
/* How long the answer to a login from there, which was wrong, is to wait. */
uint64_t guard_login_delay(struct shard *s, uint64_t net);

/* shard_login.c: core_env.login and .exchange_free; ctx is the shard. */
int shard_login(void *ctx, const struct core_login *login, struct core_login_answer *answer);
void shard_exchange_free(void *ctx, void *exchange);

#endif
