/* Allocation failure: one script that touches every part of the cores is run over and over, and
 * the nth allocation inside the cores fails, for n = 0, 1, 2, ... until none does.  Nothing may
 * crash, leak or go round for ever; connections may be closed; afterwards new clients are served.
 *
 *   nomem                 on 1, 2 and 3 shards, with clients at different places
 *   nomem --disk          the same on a disk, with a crash, and what nomem_disk.c does
 *   nomem --queues        what nomem_queues.c does
 *   nomem --pressure N    many failures in one run, N runs
 *   nomem --only N        the Nth alone, on 2 shards */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rng.h"
#include "tests/sim/nomem_disk.h"
#include "tests/sim/nomem_queues.h"
#include "tests/sim/peer.h"

enum { PEERS = 8, NS_MAX = 100000, RUN_SECONDS = 20 /* one run takes milliseconds */ };

struct setup {
    unsigned shards;
    uint64_t seed;
    bool pressure, disk;
};

static struct setup setup;

static long current = -1; /* n, for the handler */

const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "abort_on_error=1"; }
const char *__ubsan_default_options(void);
const char *__ubsan_default_options(void) { return "abort_on_error=1"; }

static void on_abort(int sig)
{
    signal(sig, SIG_DFL);
    fprintf(stderr, "%s: %u shards, seed %llu%s, allocation %ld failed\n",
            sig == SIGALRM ? "it goes round for ever" : "aborted", setup.shards,
            (unsigned long long)setup.seed, setup.pressure ? ", pressure" : "", current);
    signal(SIGABRT, SIG_DFL);
    abort();
}

/* Orders the next failure when there are to be many. */
static void again(void)
{
    static struct rng r = {1};
    if (setup.pressure) mem_fail_after((long)rng_below(&r, 40));
}

static void publish_all(struct peer *p, const char *topic)
{
    for (unsigned flags = 0; flags < 6; flags++) /* QoS 0 1 2, with and without RETAIN */
        peer_publish(p, topic, bytes_str("payload"), flags, 0);
}

static void come(struct world *w, struct peer *ps)
{
    static const struct peer_connect how[PEERS] = {
        {.id = "s1", .user = "u", .version = MQTT_V5, .expiry_s = 60, .alias_max = 5, .will = true},
        {.id = "s2", .user = "u", .version = MQTT_V311, .will = true, .will_retain = true},
        {.id = "s3", .version = MQTT_V5, .clean = true, .receive_max = 1},
        {.id = "p1", .version = MQTT_V5, .expiry_s = 60, .will = true, .will_delay_s = 2},
        {.id = "p2", .version = MQTT_V311, .clean = true},
        {.id = "g1", .version = MQTT_V5, .expiry_s = 60},
        {.id = "g2", .version = MQTT_V311},
        {.id = "", .version = MQTT_V5, .clean = true, .receive_max = 1}, /* its group waits */
    };
    for (int i = 0; i < PEERS; i++) {
        if (i % 2) peer_drop(&ps[i]); /* the others stay open, and are taken over */
        peer_connect(&ps[i], w, &how[i]);
    }
    peers_run(ps, PEERS);
    again();
}

static void subscribe(struct peer *ps)
{
    peer_subscribe(&ps[0], "a/#", 2, 7);
    peer_subscribe(&ps[0], "a/b", 1, 8);
    peer_subscribe(&ps[1], "a/b", 2, 0);
    peer_subscribe(&ps[1], "+/b", 1, 0);
    peer_subscribe(&ps[2], "#", 2, 1);
    peer_subscribe(&ps[3], "will", 1, 0);
    for (int i = 5; i < 7; i++) peer_subscribe(&ps[i], "$share/g/a/b", 2, 3);
    peer_subscribe(&ps[7], "$share/h/#", 1, 0);
    for (int i = 0; i < 20; i++) { /* more than are asked in turn */
        char filter[64];
        snprintf(filter, sizeof filter, "$filter/mqtt.qos < %d AND mqtt.size != %d/a/b", i % 4, i);
        peer_subscribe(&ps[i % 2], filter, 1, 0);
    }
    peers_run(ps, PEERS);
    again();
}

/* Enhanced authentication, before CONNACK and once more after it. */
static void exchange(struct world *w)
{
#define METHOD "\x15\0\3SIM\x16\0"
    static const char name[] = "\x10\x1a\0\4MQTT\5\2\0\0\x0a" METHOD "\1u\0\3aut";
    static const char again_name[] = "\xf0\x0c\x19\x0a" METHOD "\1u";
    static const char word[] = "\xf0\x11\x18\x0f" METHOD "\6secret";
    struct wconn *c = world_connect(w);
    const struct bytes steps[] = {
        {(const uint8_t *)name, sizeof name - 1},
        {(const uint8_t *)word, sizeof word - 1},
        {(const uint8_t *)again_name, sizeof again_name - 1},
        {(const uint8_t *)word, sizeof word - 1},
        {(const uint8_t *)again_name, sizeof again_name - 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        again();
        world_send(c, steps[i]);
        world_run(w);
    }
    world_drop(c);
    again();
}

static void script(struct world *w, struct peer *ps)
{
    static uint8_t large[20000];
    world_user(w, bytes_str("u"), bytes_str("secret"), 0);
    world_listener(w)->checks_users = true;
    exchange(w);
    come(w, ps);
    subscribe(ps);
    publish_all(&ps[3], "a/b");
    publish_all(&ps[4], "a/c");
    publish_all(&ps[4], "$pub/k=v&ttl=60/a/b");
    for (uint16_t alias = 1; alias < 4; alias++)
        peer_publish(&ps[3], "a/alias", bytes_str("x"), PEER_QOS1, alias);
    peer_publish(&ps[3], "", bytes_str("x"), 0, 1);
    peer_publish(&ps[4], "a/large", bytes_of(large, sizeof large), PEER_QOS2, 0);
    peer_ping(&ps[0]);
    peers_run(ps, PEERS);
    again();
    publish_all(&ps[3], "a/b");
    world_run(w);                                  /* deliveries without their acknowledgements */
    for (int i = 0; i < 2; i++) peer_drop(&ps[i]); /* messages queue up; wills come */
    for (int i = 5; i < 7; i++) peer_drop(&ps[i]);
    publish_all(&ps[3], "a/b");
    world_run(w);
    for (int i = 5; i < 7; i++) peer_drop(&ps[i]);
    peers_run(ps, PEERS);
    come(w, ps); /* takeovers, and sessions that are resumed */
    subscribe(ps);
    (void)!core_publish(world_core(w, world_shards(w) - 1), bytes_str("$SYS/x"), bytes_str("1"), 0,
                        true);
    core_dump(world_core(w, 0));
    again();
    peer_unsubscribe(&ps[0], "a/#");
    peer_unsubscribe(&ps[5], "$share/g/a/b");
    peer_unsubscribe(&ps[1], "$filter/mqtt.qos < 1 AND mqtt.size != 1/a/b");
    publish_all(&ps[4], "a/b");
    peer_publish(&ps[4], "a/b", (struct bytes){0}, PEER_RETAIN, 0);
    peers_run(ps, PEERS);
    peer_leave(&ps[2]);
    for (int i = 0; i < PEERS; i++) peer_drop(&ps[i]);
    world_advance(w, 61 * 1000); /* sessions expire, delayed wills come */
}

/* Whether two clients that come after all that can speak to each other. */
static bool serves(struct world *w)
{
    struct peer two[2] = {0};
    static const struct peer_connect a = {.id = "fresh-a", .version = MQTT_V5, .clean = true},
                                     b = {.id = "fresh-b", .version = MQTT_V311, .clean = true};
    peer_connect(&two[0], w, &a);
    peer_connect(&two[1], w, &b);
    peers_run(two, 2);
    peer_subscribe(&two[0], "fresh/+", 1, 0);
    peers_run(two, 2);
    peer_publish(&two[1], "fresh/t", bytes_str("x"), PEER_QOS1, 0);
    peers_run(two, 2);
    bool ok = two[0].got[MQTT_PUBLISH] == 1 && two[1].got[MQTT_PUBACK] == 1 &&
              strcmp(two[0].last_topic, "fresh/t") == 0;
    for (int i = 0; i < 2; i++) peer_drop(&two[i]);
    return ok;
}

/* What the script is meant to reach; without a failure it does. */
static bool reaches_all(struct world *w)
{
    static const struct {
        size_t offset, least;
    } wanted[] = {
        {offsetof(struct core_stats, publish_sent), 60},
        {offsetof(struct core_stats, resent), 1},
        {offsetof(struct core_stats, wills_sent), 4},
        {offsetof(struct core_stats, sessions_expired), 2},
        {offsetof(struct core_stats, sessions_taken_over), 2},
        {offsetof(struct core_stats, retained), 2},
        {offsetof(struct core_stats, route_hits), 10},
    };
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        if (world_stat(w, wanted[i].offset) < wanted[i].least) {
            printf("the script does not do what it should: %zu\n", i);
            return false;
        }
    return true;
}

/* Whether an allocation failed. */
static bool run_one(long n, bool *ok)
{
    struct peer ps[PEERS] = {0};
    struct core_config cfg;
    alarm(RUN_SECONDS);
    world_defaults(&cfg);
    cfg.retain_expiry_interval_s = 3600;
    struct store_disk *disk = NULL;
    if (setup.disk && store_disk_new(&disk, setup.seed) < 0) abort();
    struct world *w = world_new_on(disk, setup.shards, &cfg, setup.seed);
    if (disk) nomem_faults(disk, setup.seed + (uint64_t)n);
    world_shuffle(w, setup.pressure);
    mem_fail_after(n);
    script(w, ps);
    bool fired = mem_fail_after(-1);
    *ok = fired || setup.pressure || reaches_all(w);
    if (disk) world_crash(w, setup.shards, 100);
    if (!serves(w)) *ok = false;
    world_free(w);
    store_disk_free(&disk);
    return fired;
}

static long run_all(void)
{
    long bad = 0;
    current = 0;
    for (bool fired = true; fired && current < NS_MAX; current++) {
        bool ok;
        fired = run_one(current, &ok);
        if (ok) continue;
        printf("%u shards, seed %llu, --only %ld: new clients are not served\n", setup.shards,
               (unsigned long long)setup.seed, current);
        bad++;
    }
    printf("%u shards: %ld allocations, %ld bad\n", setup.shards, current - 1, bad);
    return bad;
}

static long run_pressure(long runs)
{
    long bad = 0;
    for (current = 0; current < runs; current++) {
        bool ok;
        setup = (struct setup){
            .shards = 1 + (unsigned)current % 4, .seed = (uint64_t)current, .pressure = true};
        run_one(current % 50, &ok);
        if (!ok) printf("pressure %ld: new clients are not served\n", current);
        bad += !ok;
    }
    printf("pressure: %ld runs, %ld bad\n", runs, bad);
    return bad;
}

int main(int argc, char **argv)
{
    static const struct setup setups[] = {
        {1, 1, false, false}, {2, 1, false, false}, {2, 2, false, false}, {3, 3, false, false}};
    signal(SIGABRT, on_abort);
    signal(SIGALRM, on_abort);
    if (argc == 3 && strcmp(argv[1], "--pressure") == 0)
        return run_pressure(strtol(argv[2], NULL, 10)) != 0;
    if (argc == 3 && strcmp(argv[1], "--only") == 0) {
        bool ok;
        setup = setups[1];
        current = strtol(argv[2], NULL, 10);
        run_one(current, &ok);
        return !ok;
    }
    if (argc == 2 && strcmp(argv[1], "--queues") == 0) return nomem_queues() != 0;
    bool disk = argc == 2 && strcmp(argv[1], "--disk") == 0;
    long bad = disk ? nomem_disk() : 0;
    for (size_t i = 0; i < ARRAY_LEN(setups); i += disk ? 2 : 1) { /* a disk doubles the work */
        setup = setups[i];
        setup.disk = disk;
        bad += run_all();
    }
    return bad != 0;
}
