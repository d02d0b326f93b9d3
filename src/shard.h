/* A shard: one thread, one event loop, one core, one store.  The broker (main thread) makes them,
 * posts tasks to them, and joins them; they speak among themselves by mail. */
#ifndef SRC_SHARD_H
#define SRC_SHARD_H

#include "base/list.h"
#include "core/core.h"
#include "listener.h"
#include "log.h"

struct auth_pool;
struct peers;
struct shard;
struct shard_set;

/* Work for a shard's thread.  Embedded by who posts it; run() may free it. */
struct shard_task {
    struct shard_task *next;
    void (*run)(struct shard *s, struct shard_task *t);
};

/* What a shard counts of connections below MQTT; the rest is struct core_stats.  Every
 * member is a counter or gauge of this type: they are added up. */
struct shard_stats {
    uint64_t proxy_refused;     /* no PROXY header, or one that the listener does not want */
    uint64_t handshakes_failed; /* of TLS */
    uint64_t address_refused, address_rate_refused; /* their address has enough already */
    uint64_t pending_refused;                       /* closed to make room for one that is newer */
    uint64_t too_late;                              /* closed without CONNECT, by connect_timeout */
    uint64_t connect_rate_pauses;                   /* of listening sockets */
    uint64_t logins_delayed;                        /* the answer to a wrong password waits */
    uint64_t websockets_opened, websockets_refused; /* opening handshakes */
    uint64_t frames_refused;            /* connections that were ended for that: WebSockets, TLS */
    uint64_t http_served, http_refused; /* requests for files, and those that got none */
};

/* Limits over all shards. */
struct shard_limits {
    int64_t max_clients, max_connections; /* -1: none */
    int64_t max_pending;                  /* connections without CONNECT; 0: none */
};

/* Makes `count` shards, not yet running; with a folder they are brought to where those that wrote
 * the log in it ended.  conf, log and listeners outlive them.  E_NOMEM; E_IO, E_EXISTS, E_INVALID.
 */
MUST_USE int shards_new(struct shard_set **out, unsigned count, const struct conf *conf,
                        const char *folder, struct listeners *listeners, struct log *log,
                        uint64_t seed);
MUST_USE int shards_start(struct shard_set *set); /* E_IO: no thread; shards_free() is due */
/* Every client gets its DISCONNECT and some time to take it; then the threads end by themselves. */
void shards_stop(struct shard_set *set);
void shards_hurry(struct shard_set *set);             /* after shards_stop(): without that time */
unsigned shards_running(const struct shard_set *set); /* threads that have not ended */
void shards_free(struct shard_set **set);             /* stops and waits, if need be */

/* Main thread. */
unsigned shards_count(const struct shard_set *set);
struct shard *shards_at(struct shard_set *set, unsigned index);
/* Any thread while the shards run: where a client's session lives, who checks logins, and who has
 * how many connections. */
unsigned shards_home(const struct shard_set *set, struct bytes client_id);
struct auth_pool *shards_auth(struct shard_set *set);
struct peers *shards_peers(struct shard_set *set);
void shards_limit(struct shard_set *set, const struct shard_limits *limits);
void shards_pressure(struct shard_set *set, enum core_pressure level); /* memory is short */
int64_t shards_connections(const struct shard_set *set);               /* gauge */
int64_t shards_accepted(const struct shard_set *set);                  /* counter */

/* Any thread: t runs on the shard's thread, after those posted before by the same thread. */
void shard_post(struct shard *s, struct shard_task *t);

/* On the shard's thread, in tasks. */
/* Something that is to be told when what was done until now is on disk and the other shards have
 * mail of it; embedded by who waits. */
struct shard_promise {
    struct list link;
    uint64_t seq, until_ms;
    bool sealed, fresh;
    bool kept; /* in run(): false: the disk did not take it within SHARD_PROMISE_MS */
    void (*run)(struct shard *s, struct shard_promise *p); /* may free it */
};
enum { SHARD_PROMISE_MS = 5000 };
/* p->run is set.  It runs on this thread in a later turn, which has taken the mail that was there
 * when this one ended. */
void shard_when_safe(struct shard *s, struct shard_promise *p);
struct core *shard_core(struct shard *s);
const struct shard_stats *shard_stats(const struct shard *s);
/* A reload: settings, and the options of listeners whose sockets stay as they are.  conf outlives
 * the shard. */
void shard_configure(struct shard *s, const struct conf *conf);

#endif
