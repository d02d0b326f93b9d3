/* The table of peers.h: a map by (network, listener), and a list of those without a connection, the
 * longest ago first.  A failed login is kept under no listener. */
#include "peers.h"

#include "base/hash.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/ptrmap.h"
#include <pthread.h>

enum { SECOND_NS = 1000000000, MS_NS = 1000000 };

struct peer {
    uint64_t net;
    const void *listener;
    struct list idle;
    uint64_t full_ns; /* of connections by time, as in core/rate.c */
    uint64_t told_ms, failed_ms;
    uint32_t connections, failures;
};

struct peers {
    pthread_mutex_t lock; /* of all below */
    struct ptrmap map;
    struct list idle;
    uint32_t idle_count;
};

static uint64_t key_hash(uint64_t net, const void *listener, uint64_t seed)
{
    uint64_t key[2] = {net, (uintptr_t)listener};
    return hash_bytes(bytes_of(key, sizeof key), seed);
}

static uint64_t peer_hash(const void *elem, uint64_t seed)
{
    const struct peer *p = elem;
    return key_hash(p->net, p->listener, seed);
}

int peers_new(struct peers **out, uint64_t seed)
{
    struct peers *p = mem_calloc(1, sizeof *p);
    if (p == NULL) return E_NOMEM;
    pthread_mutex_init(&p->lock, NULL); /* cannot fail on Linux */
    ptrmap_init(&p->map, peer_hash, seed);
    list_init(&p->idle);
    *out = p;
    return 0;
}

static void peer_free(struct peers *p, struct peer *e)
{
    ptrmap_del(&p->map, e, peer_hash(e, p->map.seed));
    list_del(&e->idle);
    p->idle_count--;
    mem_free(e);
}

static struct peer *first_idle(const struct peers *p)
{
    return CONTAINER_OF(p->idle.next, struct peer, idle);
}

void peers_free(struct peers **peers)
{
    struct peers *p = *peers;
    if (p == NULL) return;
    *peers = NULL;
    while (!list_empty(&p->idle)) peer_free(p, first_idle(p));
    ASSERT(p->map.count == 0);
    ptrmap_fini(&p->map);
    pthread_mutex_destroy(&p->lock);
    mem_free(p);
}

static struct peer *peer_find(const struct peers *p, uint64_t net, const void *listener)
{
    uint64_t hash = key_hash(net, listener, p->map.seed);
    struct peer *e;
    for (size_t pos = hash; (e = ptrmap_next(&p->map, hash, &pos)) != NULL;)
        if (e->net == net && e->listener == listener) return e;
    return NULL;
}

/* It has been here just now, and has no connection. */
static void idle_last(struct peers *p, struct peer *e)
{
    if (e->idle.next) p->idle_count--;
    list_del(&e->idle);
    list_push(&p->idle, &e->idle);
    if (++p->idle_count > PEERS_IDLE_MAX) peer_free(p, first_idle(p));
}

/* NULL without memory: then it is not counted. */
static struct peer *peer_get(struct peers *p, uint64_t net, const void *listener)
{
    struct peer *e = peer_find(p, net, listener);
    if (e) return e;
    e = mem_calloc(1, sizeof *e);
    if (e == NULL) return NULL;
    e->net = net;
    e->listener = listener;
    if (ptrmap_put(&p->map, e, peer_hash(e, p->map.seed)) < 0) {
        mem_free(e);
        return NULL;
    }
    idle_last(p, e);
    return e;
}

static enum peers_verdict judge(const struct peer *e, const struct peers_limits *limits,
                                uint64_t now_ns)
{
    if (limits->connections && e->connections >= limits->connections) return PEERS_TOO_MANY;
    if (limits->rate && e->full_ns > now_ns + SECOND_NS - SECOND_NS / limits->rate)
        return PEERS_TOO_FAST;
    return PEERS_ADMITTED;
}

enum peers_verdict peers_enter(struct peers *p, uint64_t net, const void *listener,
                               const struct peers_limits *limits, uint64_t now_ms, bool *tell)
{
    uint64_t now_ns = now_ms * MS_NS;
    enum peers_verdict verdict = PEERS_ADMITTED;
    pthread_mutex_lock(&p->lock);
    struct peer *e = peer_get(p, net, listener);
    if (e) verdict = judge(e, limits, now_ns);
    if (e && verdict == PEERS_ADMITTED) {
        if (limits->rate) e->full_ns = max_u64(e->full_ns, now_ns) + SECOND_NS / limits->rate;
        if (e->connections++ == 0) {
            list_del(&e->idle);
            p->idle_count--;
        }
    } else if (e) {
        *tell = e->told_ms == 0 || now_ms - e->told_ms >= PEERS_TELL_MS;
        if (*tell) e->told_ms = now_ms;
        if (e->connections == 0) idle_last(p, e);
    }
    pthread_mutex_unlock(&p->lock);
    return verdict;
}

void peers_leave(struct peers *p, uint64_t net, const void *listener)
{
    pthread_mutex_lock(&p->lock);
    struct peer *e = peer_find(p, net, listener);
    /* One that came when there was no memory was not counted. */
    if (e && e->connections && --e->connections == 0) idle_last(p, e);
    pthread_mutex_unlock(&p->lock);
}

uint64_t peers_login_failed(struct peers *p, uint64_t net, uint64_t first_ms, uint64_t now_ms)
{
    uint64_t delay_ms = first_ms;
    pthread_mutex_lock(&p->lock);
    struct peer *e = peer_get(p, net, NULL);
    if (e) {
        if (now_ms - e->failed_ms > PEERS_FORGET_MS) e->failures = 0;
        e->failed_ms = now_ms;
        delay_ms <<= min_u64(e->failures++, PEERS_DOUBLINGS);
        idle_last(p, e);
    }
    pthread_mutex_unlock(&p->lock);
    return delay_ms;
}
