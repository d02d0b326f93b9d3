/* See nomem_queues.h.  A worker that rejects every other message, one who replays dead letters, one
 * who replays a history, and their publisher, all with sessions that last; half way three of them
 * go and come back.  The nth allocation fails; then the power goes. */
#include "tests/sim/nomem_queues.h"

#include <stdio.h>

#include "base/mem.h"
#include "core/queue_conf.h"
#include "tests/sim/nomem_disk.h"
#include "tests/sim/peer.h"

enum { SHARDS = 3, LETTERS = 8, NS_MAX = 100000, ALL = 0xff, REJECTED = 0xaa, WINDOW_MS = 600000 };
enum { WORKER, MOURNER, READER, PUB, PEERS };

static const struct {
    const char *id, *filter;
} who[PEERS] = {
    [WORKER] = {"worker", "$queue/jobs"},
    [MOURNER] = {"mourner", "$replay/earliest/$dead/#"},
    [READER] = {"reader", "$replay/earliest/h/#"},
    [PUB] = {"pub", NULL},
};

struct outcome {
    uint32_t jobs, kept;            /* letters of the queue and of the history: acknowledged */
    uint32_t worked, mourned, read; /* and what came */
    uint64_t lost;
};

/* Keeps what it has counted. */
static void up(struct peer *ps, int i, struct world *w)
{
    const struct peer_connect how = {.id = who[i].id, .version = MQTT_V5, .expiry_s = UINT32_MAX};
    struct peer before = ps[i];
    if (ps[i].conn) return;
    peer_connect(&ps[i], w, &how);
    ps[i].letters = before.letters;
    ps[i].rejects = before.rejects;
    ps[i].next_pid = before.next_pid; /* those before may be in use */
    peers_run(ps, PEERS);
}

static void all_up(struct peer *ps, struct world *w)
{
    for (int i = 0; i < PEERS; i++) up(ps, i, w);
    peers_run(ps, PEERS);
}

/* Whether the broker has acknowledged it. */
static bool publish(struct peer *ps, struct world *w, const char *topic, int letter)
{
    const uint8_t payload = (uint8_t)('a' + letter);
    up(ps, PUB, w);
    unsigned before = ps[PUB].got[MQTT_PUBACK];
    peer_publish(&ps[PUB], topic, bytes_of(&payload, 1), PEER_QOS1, 0);
    peers_run(ps, PEERS);
    return ps[PUB].got[MQTT_PUBACK] > before;
}

static void script(struct peer *ps, struct world *w, struct outcome *o)
{
    char topic[40];
    for (int i = 0; i < LETTERS; i++) {
        if (i == LETTERS / 2)
            for (int k = 0; k < PUB; k++) peer_drop(&ps[k]);
        if (i == LETTERS - 2) all_up(ps, w);
        snprintf(topic, sizeof topic, "$pub/sluice-dedup-id=%d/h/t", i);
        if (publish(ps, w, "q/t", i)) o->jobs |= 1u << i;
        for (int again = 0; again < 2; again++)
            if (publish(ps, w, topic, i)) o->kept |= 1u << i;
    }
}

static uint64_t lost(struct world *w)
{
    return world_stat(w, offsetof(struct core_stats, dropped_no_memory)) +
           world_stat(w, offsetof(struct core_stats, dead_lost));
}

/* Time for what is tried again, and for whoever was thrown out to come back. */
static void settle(struct peer *ps, struct world *w)
{
    for (int i = 0; i < 4; i++) {
        all_up(ps, w);
        world_advance(w, 20000);
        peers_run(ps, PEERS);
    }
}

static struct world *world_begin(struct store_disk *disk, struct peer *ps)
{
    static char name[] = "jobs", topic[] = "q/#", *topics[] = {topic};
    static struct queue_conf queue = {
        .name = name, .topics = topics, .topic_count = 1, .set = QUEUE_SETTINGS_DEFAULT};
    static const struct core_history history = {.filter = "h/#", .dedup_window_ms = WINDOW_MS};
    struct core_config cfg;
    world_defaults(&cfg);
    cfg.queues = &queue;
    cfg.queue_count = 1;
    cfg.histories = &history;
    cfg.history_count = 1;
    struct world *w = world_new_on(disk, SHARDS, &cfg, 1);
    ps[WORKER].rejects = REJECTED;
    all_up(ps, w);
    for (int i = 0; i < PUB; i++) peer_subscribe(&ps[i], who[i].filter, 1, 0);
    peers_run(ps, PEERS);
    return w;
}

static bool is_right(const struct outcome *o, const char *when, long n)
{
    uint32_t jobs = o->jobs & ~(o->worked | o->mourned), dead = o->jobs & REJECTED & ~o->mourned;
    uint32_t kept = o->kept & ~o->read;
    bool ok = (unsigned)__builtin_popcount(jobs | dead | kept) <= o->lost;
    if (!ok)
        printf("queues, allocation %ld, %s: missing %02x of the queue, %02x dead, %02x kept\n", n,
               when, jobs, dead, kept);
    return ok;
}

/* All of the past once more, for one who was not there. */
static void fresh(struct world *w, struct outcome *o)
{
    struct peer p = {0};
    const struct peer_connect how = {.id = "fresh", .version = MQTT_V5, .clean = true};
    peer_connect(&p, w, &how);
    peer_subscribe(&p, who[MOURNER].filter, 1, 0);
    peers_run(&p, 1);
    o->mourned &= p.letters;
    p.letters = 0;
    peer_subscribe(&p, who[READER].filter, 1, 0);
    peers_run(&p, 1);
    o->read &= p.letters;
    peer_drop(&p);
}

static bool run_one(long n, bool *ok)
{
    struct store_disk *disk;
    struct peer ps[PEERS] = {0};
    struct outcome o = {0};
    if (store_disk_new(&disk, (uint64_t)n + 1) < 0) abort();
    struct world *w = world_begin(disk, ps);
    nomem_faults(disk, (uint64_t)n);
    mem_fail_after(n);
    script(ps, w, &o);
    bool fired = mem_fail_after(-1);
    settle(ps, w);
    o.lost = lost(w);
    o.worked = ps[WORKER].letters;
    o.mourned = ps[MOURNER].letters;
    o.read = ps[READER].letters;
    *ok = is_right(&o, "before the crash", n);
    if (!fired && (o.jobs & o.kept & o.worked & o.read) != ALL) *ok = false;
    world_crash(w, SHARDS, 10);
    for (int i = 0; i < PEERS; i++) peer_drop(&ps[i]);
    fresh(w, &o);
    *ok = is_right(&o, "after it", n) && *ok;
    world_free(w);
    store_disk_free(&disk);
    return fired;
}

long nomem_queues(void)
{
    long bad = 0, n = 0;
    bool ok;
    for (bool fired = true; fired && n < NS_MAX; n++) {
        fired = run_one(n, &ok);
        bad += !ok;
    }
    printf("queues: %ld allocations, %ld bad\n", n - 1, bad);
    return bad;
}
