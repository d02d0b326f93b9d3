/* See nomem_disk.h.  A subscriber and a publisher whose sessions outlive the broker; the nth
 * allocation fails, in the cores or in the store; then the power goes.  What came must be all that
 * was acknowledged, less what was counted as dropped for want of memory. */
#include "tests/sim/nomem_disk.h"

#include <stdio.h>

#include "base/mem.h"
#include "tests/sim/peer.h"

enum { SHARDS = 2, LETTERS = 8, NS_MAX = 100000, SUB = 0, PUB = 1 };

static const struct peer_connect who[] = {
    [SUB] = {.id = "sub", .version = MQTT_V5, .expiry_s = UINT32_MAX},
    [PUB] =
        {.id = "pub", .version = MQTT_V5, .expiry_s = UINT32_MAX, .will = true, .will_delay_s = 9},
};

void nomem_faults(struct store_disk *disk, uint64_t seed)
{
    const struct store_faults faults = {.sync_delay = 300 * (seed % 3),
                                        .fetch_delay = 300 * (seed % 2),
                                        .again = 20 * (seed % 4 == 3),
                                        .checkpoint = 30 * (seed % 5)};
    store_disk_faults(disk, &faults);
}

static void connect(struct peer *ps, int i, struct world *w)
{
    uint32_t letters = ps[i].letters;
    uint16_t next_pid = ps[i].next_pid; /* those before may be in use */
    if (ps[i].conn == NULL) peer_connect(&ps[i], w, &who[i]);
    ps[i].letters = letters;
    ps[i].next_pid = next_pid;
    peers_run(ps, 2);
}

/* Whether the broker has acknowledged it. */
static bool publish(struct peer *ps, struct world *w, int letter)
{
    const uint8_t payload = (uint8_t)('a' + letter);
    connect(ps, PUB, w);
    unsigned before = ps[PUB].got[MQTT_PUBACK] + ps[PUB].got[MQTT_PUBREC];
    unsigned flags = (letter & 1 ? PEER_QOS2 : PEER_QOS1) | (letter == 5 ? PEER_RETAIN : 0);
    peer_publish(&ps[PUB], "d/t", bytes_of(&payload, 1), flags, 0);
    peers_run(ps, 2);
    return ps[PUB].got[MQTT_PUBACK] + ps[PUB].got[MQTT_PUBREC] > before;
}

static void begin(struct peer *ps, struct world *w)
{
    connect(ps, SUB, w);
    peer_subscribe(&ps[SUB], "d/#", 2, 3);
    peer_subscribe(&ps[SUB], "$share/g/d/t", 1, 0);
    connect(ps, PUB, w);
    peers_run(ps, 2);
}

/* The bits of the letters that were acknowledged. */
static uint32_t script(struct peer *ps, struct world *w)
{
    uint32_t acked = 0;
    for (int i = 0; i < LETTERS; i++) {
        if (i == LETTERS / 2) peer_drop(&ps[SUB]); /* the others wait for it */
        if (publish(ps, w, i)) acked |= 1u << i;
    }
    return acked;
}

static bool run_one(long n, bool *ok)
{
    struct store_disk *disk;
    struct peer ps[2] = {0};
    if (store_disk_new(&disk, (uint64_t)n + 1) < 0) abort();
    struct world *w = world_new_on(disk, SHARDS, NULL, 1);
    begin(ps, w);
    nomem_faults(disk, (uint64_t)n);
    mem_fail_after(n);
    uint32_t acked = script(ps, w);
    bool fired = mem_fail_after(-1);
    uint64_t dropped = world_stat(w, offsetof(struct core_stats, dropped_no_memory));
    world_crash(w, SHARDS, 10);
    for (int i = 0; i < 2; i++) peer_drop(&ps[i]);
    connect(ps, SUB, w);
    *ok = (unsigned)__builtin_popcount(acked & ~ps[SUB].letters) <= dropped;
    if (!*ok) printf("disk, allocation %ld: acked %02x, came %02x\n", n, acked, ps[SUB].letters);
    for (int i = 0; i < 2; i++) peer_drop(&ps[i]);
    world_free(w);
    store_disk_free(&disk);
    return fired;
}

/* ---- recovery ---- */

static void on_log(void *ctx, unsigned type, const char *line)
{
    (void)ctx, (void)type, (void)line;
}
static bool on_admit(void *ctx, bool always)
{
    (void)ctx;
    return always;
}
static int on_login(void *ctx, const struct core_login *login, struct core_login_answer *answer)
{
    (void)ctx, (void)login, (void)answer;
    return 0;
}
static void on_exchange_free(void *ctx, void *exchange) { (void)ctx, (void)exchange; }

static void on_gone(void *ctx) { (void)ctx; }

/* What came out of it. */
struct found {
    uint64_t sessions, subscriptions, shared, retained, waiting;
};

static void add(struct found *f, struct core *core)
{
    const struct core_stats *s = core_stats(core);
    f->sessions += s->sessions;
    f->subscriptions += s->subscriptions;
    f->shared += s->shared_subscriptions;
    f->retained += s->retained;
    f->waiting += s->queued + s->inflight;
}

/* Recovers all cores while the nth allocation fails; errors of core_recover(). */
static int recover(struct store_disk *disk, long n, bool *fired, struct found *found)
{
    struct core_config cfg;
    struct store *doors[SHARDS];
    struct core *cores[SHARDS];
    const struct core_env env = {NULL, on_log, on_admit, on_gone, on_login, on_exchange_free};
    int rc = 0;
    world_defaults(&cfg);
    if (store_disk_open(doors, SHARDS, disk) < 0) abort();
    for (unsigned i = 0; i < SHARDS; i++)
        if (core_new(&cores[i], &cfg, &env, doors[i], i, SHARDS, 1, 5000, 1700000005000) < 0)
            abort();
    mem_fail_after(n);
    for (unsigned i = 0; i < SHARDS && rc == 0; i++) rc = core_recover(cores[i]);
    *fired = mem_fail_after(-1);
    *found = (struct found){0};
    for (unsigned i = 0; i < SHARDS; i++) {
        add(found, cores[i]);
        core_free(&cores[i]);
        store_close(doors[i]);
    }
    return rc;
}

static long recover_all(void)
{
    struct store_disk *disk;
    struct peer ps[2] = {0};
    struct found all, some;
    bool fired = true;
    long bad = 0, n = 0;
    if (store_disk_new(&disk, 1) < 0) abort();
    struct world *w = world_new_on(disk, SHARDS, NULL, 1);
    begin(ps, w);
    (void)script(ps, w);
    for (int i = 0; i < 2; i++) peer_drop(&ps[i]);
    store_disk_crash(disk);
    world_free(w);
    if (recover(disk, -1, &fired, &all) < 0 || all.sessions != 2 || all.waiting == 0) abort();
    for (fired = true; fired && n < NS_MAX; n++) {
        int rc = recover(disk, n, &fired, &some);
        bool ok = rc == 0 ? memcmp(&all, &some, sizeof all) == 0 : rc == E_NOMEM && fired;
        if (!ok)
            printf("recovery, allocation %ld: %d, %llu sessions, %llu messages\n", n, rc,
                   (unsigned long long)some.sessions, (unsigned long long)some.waiting);
        bad += !ok;
    }
    printf("recovery: %ld allocations, %ld bad\n", n - 1, bad);
    store_disk_free(&disk);
    return bad;
}

long nomem_disk(void)
{
    long bad = recover_all(), n = 0;
    bool ok;
    for (bool fired = true; fired && n < NS_MAX; n++) {
        fired = run_one(n, &ok);
        bad += !ok;
    }
    printf("on a disk: %ld allocations, %ld bad\n", n - 1, bad);
    return bad;
}
