/* Crashes: the world stands on a simulated disk that is slow and full at times, and its power is
 * cut at any step, in the middle of handshakes, checkpoints and mail; then it comes back with
 * another number of shards.  What the broker had not promised to have on disk may be undone: what
 * that means for each client is told to the checker here.
 *
 *   rest          everything is on disk (settle): from here on it may not be undone
 *   ...           what happens now may, unless the broker says that it is safe: PUBACK, PUBREC,
 *                 SUBACK, and all that was before it in the log
 *   crash         what came may come again (QoS 1), wills too, QoS 0 and what was not acknowledged
 *                 may be gone; sessions that nobody has confirmed as well */
#include <stdio.h>

#include "tests/sim/sim.h"

enum { SHARDS_MOST = 4, STEPS_TO_SETTLE = 64, HOUR_MS = 3600 * 1000 };

unsigned shards_choose(struct sim *sim)
{
    unsigned most = sim->options.shards ? sim->options.shards : SHARDS_MOST;
    return 1 + (unsigned)rng_below(&sim->rng, most);
}

/* sim.faults.full: whether there are times when it is. */
static void faults_set(struct sim *sim, bool full)
{
    struct store_faults f = sim->faults;
    f.full = full;
    store_disk_faults(sim->disk, &f);
}

void disk_rests(struct sim *sim, bool rests)
{
    struct store_faults f = sim->faults;
    f.full = false;
    if (rests) f.checkpoint = f.again = 0;
    if (sim->disk) store_disk_faults(sim->disk, &f);
}

void disk_init(struct sim *sim)
{
    static const uint32_t often[] = {0, 100, 500, 900}, rarely[] = {0, 0, 20, 100},
                          checkpoints[] = {0, 3, 30, 200}, moves[] = {0, 300};
    struct rng *r = &sim->rng;
    if (store_disk_new(&sim->disk, rng_next(r)) < 0) abort();
    sim->faults = (struct store_faults){
        .sync_delay = often[rng_below(r, ARRAY_LEN(often))],
        .fetch_delay = often[rng_below(r, ARRAY_LEN(often))],
        .again = rarely[rng_below(r, ARRAY_LEN(rarely))],
        .crowded = rarely[rng_below(r, ARRAY_LEN(rarely))],
        .checkpoint = checkpoints[rng_below(r, ARRAY_LEN(checkpoints))],
        .move = moves[rng_below(r, ARRAY_LEN(moves))],
        .full = rng_below(r, 3) == 0,
    };
    faults_set(sim, false);
}

static void all_known(struct sim *sim)
{
    sim->safe_event = sim->event;
    check_settled(sim);
    for (unsigned i = 0; i < sim->client_count; i++) {
        struct client *c = &sim->clients[i];
        if (c->state == CONNECTING) continue;
        c->known = c->gone_known = true;
        c->safe_gone_ms = c->state == UP ? UINT64_MAX : c->gone_first_ms;
        c->older = false;
        c->risky_count = 0;
        c->fired_will = 0;
        if (c->session) c->session->known |= !c->session->doubt;
    }
}

void drain(struct sim *sim)
{
    if (sim->disk == NULL) return;
    unsigned turns = STEPS_TO_SETTLE * world_shards(sim->world);
    for (unsigned i = 0; i < turns; i++) world_step(sim->world);
    for (unsigned i = 0; i < sim->client_count; i++)
        if (sim->clients[i].state == UP) client_known(&sim->clients[i]);
}

void settle(struct sim *sim)
{
    if (sim->disk == NULL) return;
    drain(sim);
    sim->event++;
    all_known(sim);
}

/* ---- the broker is away ---- */

static uint64_t choose_down(struct sim *sim)
{
    unsigned dice = (unsigned)rng_below(&sim->rng, 100);
    if (dice < 50) return rng_below(&sim->rng, 50);
    if (dice < 85) return rng_below(&sim->rng, 6000);
    if (dice < 95) return rng_below(&sim->rng, 100000);
    return HOUR_MS + rng_below(&sim->rng, HOUR_MS);
}

/* What the broker has sent is still in the clients' sockets, or lost with them. */
static void read_the_rest(struct sim *sim)
{
    for (unsigned i = 0; i < sim->client_count && !sim->failed; i++)
        if (rng_below(&sim->rng, 2)) client_read(&sim->clients[i]);
    sim->event++;
}

/* What was recovered, as core_dump() has it. */
static void show(struct sim *sim)
{
    if (!sim->options.verbose) return;
    size_t from = strlen(world_log(sim->world));
    for (unsigned i = 0; i < world_shards(sim->world); i++) core_dump(world_core(sim->world, i));
    printf("%s", world_log(sim->world) + from);
}

static void go_down(struct sim *sim, bool stop)
{
    struct world *w = sim->world;
    uint64_t down_ms = choose_down(sim);
    unsigned shards = shards_choose(sim);
    if (stop) world_run(w);
    sim->dropped += world_stat(w, offsetof(struct core_stats, dropped_queue_full));
    sim->down_first_ms = world_now(w);
    sim->down = true;
    sim->clean_stop = stop;
    trace(sim, "the broker %s for %llu ms, then has %u shards", stop ? "stops" : "CRASHES",
          (unsigned long long)down_ms, shards);
    disk_rests(sim, stop); /* world_restart() flushes once */
    if (stop)
        world_restart(w, shards, down_ms);
    else
        world_crash(w, shards, down_ms);
    show(sim);
    disk_rests(sim, false);
    sim->down_last_ms = world_now(w);
    read_the_rest(sim);
    check_shaken(sim, stop);
    if (stop) all_known(sim);
    sim->event++;
    for (unsigned i = 0; i < sim->client_count; i++) connection_crashed(&sim->clients[i]);
    sim->down = sim->clean_stop = false;
    sim->crash_event = ++sim->event;
    late_wills_come(sim);
}

static void turns(struct sim *sim, unsigned most)
{
    for (uint64_t n = rng_below(&sim->rng, most); n > 0; n--) world_step(sim->world);
}

static struct client *anybody(struct sim *sim)
{
    return &sim->clients[rng_below(&sim->rng, sim->client_count)];
}

static void come_back(struct sim *sim)
{
    for (unsigned i = 0; i < sim->client_count && !sim->failed; i++) {
        struct client *c = &sim->clients[i];
        if (rng_below(&sim->rng, 5) < 3) client_connect(c, rng_below(&sim->rng, 12) == 0);
        turns(sim, 3);
    }
}

void crash_some(struct sim *sim)
{
    do {
        for (uint64_t n = rng_below(&sim->rng, 4); n > 0 && !sim->failed; n--) {
            publish_some(sim, anybody(sim));
            turns(sim, 12);
            client_read(anybody(sim));
        }
        if (sim->failed) return;
        go_down(sim, rng_below(&sim->rng, 5) == 0);
        if (!sim->failed && rng_below(&sim->rng, 3) == 0) fresh_subscriber(sim);
        come_back(sim);
        turns(sim, 30);
    } while (!sim->failed && rng_below(&sim->rng, 4) == 0);
}

/* ---- no space ---- */

/* Here nothing waits for the world to come to rest, which it does not without space. */
void full_for_a_while(struct sim *sim)
{
    trace(sim, "the disk is full");
    faults_set(sim, true);
    for (unsigned i = 0; i < sim->client_count; i++) {
        struct client *c = &sim->clients[i];
        c->was_full = true;
        c->full_ms = world_now(sim->world);
        if (c->will && c->version != MQTT_V5) will_comes(sim, c->will, false); /* it is closed */
    }
    for (uint64_t n = 1 + rng_below(&sim->rng, 6); n > 0 && !sim->failed; n--) {
        publish_some(sim, anybody(sim));
        turns(sim, 20);
        client_read(anybody(sim));
    }
    turns(sim, 60);
    read_all(sim);
    faults_set(sim, false);
    trace(sim, "the disk has space again");
}
