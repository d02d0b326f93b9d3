/* One run: what happens, drawn from the seed.  At some points everything is let come to rest and
 * is checked; at the end all clients are connected, checked, and disconnected. */
#include "tests/sim/sim.h"

enum {
    STEPS_MIN = 120,
    STEPS_MORE = 200,
    HOUR_MS = 3600 * 1000,
    CRASH_ONE_IN = 30, /* steps */
    FULL_ONE_IN = 40,
};

/* ---- how the broker is set up ---- */

static void choose_config(struct sim *sim)
{
    static const uint16_t windows[] = {20, 20, 20, 5, 1, 0};
    struct rng *r = &sim->rng;
    struct core_config *cfg = &sim->cfg;
    world_defaults(cfg);
    cfg->max_queued_messages = 0;
    cfg->max_inflight_messages = windows[rng_below(r, ARRAY_LEN(windows))];
    cfg->queue_qos0_messages = rng_below(r, 4) == 0;
    sim->lossy = rng_below(r, 8) == 0 && sim->options.fault == FAULT_NONE;
    sim->tight = rng_below(r, 4) == 0;
    if (sim->lossy) cfg->max_queued_messages = 10;
    if (sim->tight) {
        cfg->output_soft_bytes = 2000;
        cfg->output_hard_bytes = 20000;
        cfg->max_inflight_bytes = rng_below(r, 2) * 3000;
        cfg->slow_grace_ms = 20;
    }
}

static void choose_groups(struct sim *sim)
{
    static const struct {
        const char *name, *filter;
    } groups[GROUPS] = {{"g1", "j/#"}, {"g1", "j/+"}, {"g2", "j/0"}, {"g3", "a/#"}, {"g2", "j/#"}};
    for (unsigned i = 0; i < GROUPS; i++) {
        struct group *g = &sim->groups[i];
        g->name = groups[i].name;
        while (strcmp(filter_name(g->filter), groups[i].filter) != 0) g->filter++;
        g->qos = (uint8_t)(1 + rng_below(&sim->rng, 2));
    }
}

static void sim_init(struct sim *sim, const struct options *options)
{
    *sim = (struct sim){.options = *options, .rng = {options->seed * 2 + 1}};
    struct rng *r = &sim->rng;
    unsigned clients = 3 + (unsigned)rng_below(r, CLIENTS_MAX - 2);
    unsigned steps = STEPS_MIN + (unsigned)rng_below(r, STEPS_MORE);
    unsigned shards = 1 + (unsigned)rng_below(r, 4);
    sim->client_count = options->clients ? options->clients : clients;
    sim->steps = options->steps ? options->steps : steps;
    choose_config(sim);
    choose_groups(sim);
    sim->fault_after = (unsigned)rng_below(r, 20);
    if (options->shards) shards = options->shards;
    if (options->crash) disk_init(sim);
    sim->world = world_new_on(sim->disk, shards, &sim->cfg, options->seed);
    sim->shuffle = rng_below(r, 4) != 0;
    world_shuffle(sim->world, sim->shuffle);
    for (unsigned i = 0; i < sim->client_count; i++) client_init(sim, i);
}

void sim_free(struct sim *sim)
{
    for (unsigned i = 0; i < sim->client_count; i++) client_fini(&sim->clients[i]);
    if (sim->world) world_free(sim->world);
    store_disk_free(&sim->disk);
    while (sim->sessions) {
        struct session *s = sim->sessions;
        sim->sessions = s->next;
        free(s->got);
        free(s);
    }
    for (unsigned i = 0; i < GROUPS; i++) free(sim->groups[i].got);
    free(sim->messages);
    free(sim->trace);
}

/* ---- time and rest ---- */

bool read_all(struct sim *sim)
{
    bool any = false;
    for (unsigned i = 0; i < sim->client_count && !sim->failed; i++)
        any |= client_read(&sim->clients[i]);
    return any;
}

/* When the next delayed will is due; UINT64_MAX: none. */
static uint64_t next_late_will(const struct sim *sim)
{
    uint64_t first = UINT64_MAX;
    for (unsigned i = 0; i < sim->client_count; i++)
        if (sim->clients[i].late_will) first = min_u64(first, sim->clients[i].late_will_ms);
    return first;
}

void late_wills_come(struct sim *sim)
{
    sim->event++;
    for (unsigned i = 0; i < sim->client_count; i++) {
        struct client *c = &sim->clients[i];
        if (c->late_will == 0 || c->late_will_ms > world_now(sim->world)) continue;
        will_comes(sim, c->late_will, true);
        will_at_risk(c, c->late_will);
        if (c->gone_known) c->fired_will = c->late_will;
        c->late_will = 0;
    }
}

/* Lets time pass, and looks a millisecond before each delayed will whether it has come too early.
 */
static void advance(struct sim *sim, uint64_t ms)
{
    struct world *w = sim->world;
    uint64_t until = world_now(w) + ms;
    trace(sim, "%llu ms pass", (unsigned long long)ms);
    disk_rests(sim, ms > 1000);
    world_run(w);
    if (ms > 1000) drain(sim);
    for (unsigned i = 0; ms && i < sim->client_count; i++) {
        struct client *c = &sim->clients[i];
        if (c->conn)
            c->lags |= c->slow || c->held || ms >= sim->cfg.retry_interval_ms ||
                       world_received(c->conn).n > 0;
    }
    for (uint64_t due; !sim->failed && (due = next_late_will(sim)) <= until;) {
        if (due > world_now(w) + 1) {
            world_advance(w, due - world_now(w) - 1);
            read_all(sim);
        }
        if (due > world_now(w)) world_advance(w, due - world_now(w));
        late_wills_come(sim);
        read_all(sim);
    }
    if (until > world_now(w)) world_advance(w, until - world_now(w));
    disk_rests(sim, false);
}

static bool all_answered(const struct sim *sim)
{
    for (unsigned i = 0; i < sim->client_count; i++) {
        const struct client *c = &sim->clients[i];
        if (c->state == CONNECTING) return false;
        if (c->state == UP && (c->unacked_count || c->op_count || c->ping_mark)) return false;
    }
    return true;
}

static void run_out(struct sim *sim)
{
    bool moved = true;
    for (unsigned rounds = 0; moved && !sim->failed; rounds++) {
        world_run(sim->world);
        moved = read_all(sim);
        if (rounds > 100000) fail(sim, "it does not come to rest");
    }
}

void sim_rest(struct sim *sim)
{
    for (unsigned i = 0; i < sim->client_count; i++) {
        struct client *c = &sim->clients[i];
        if (c->conn) world_room(c->conn, SIZE_MAX);
        client_flush(c);
        c->holds = false;
        client_ping(c);
    }
    run_out(sim);
    if (sim->disk) { /* wills that found no room in the store */
        advance(sim, 20);
        run_out(sim);
    }
    /* Clients that wait for each other's queues do so for slow_grace at most. */
    for (int i = 0; i < 20 && !sim->failed && !sim->options.pending && !all_answered(sim); i++) {
        advance(sim, sim->cfg.slow_grace_ms + 1);
        run_out(sim);
    }
    if (sim->failed) return;
    settle(sim);
    if (sim->failed) return;
    check_rest(sim);
    trace(sim, "everything is at rest");
}

/* ---- what happens ---- */

void publish_some(struct sim *sim, struct client *c)
{
    unsigned count = 1 + (unsigned)rng_below(&sim->rng, 12);
    for (unsigned i = 0; i < count; i++) {
        unsigned topic = (unsigned)rng_below(&sim->rng, PLAIN_TOPICS + 3);
        uint8_t qos = (uint8_t)rng_below(&sim->rng, 3);
        bool retain = topic >= PLAIN_TOPICS;
        if (retain) {
            topic = PLAIN_TOPICS + (unsigned)rng_below(&sim->rng, RETAINED_TOPICS);
            if (topic % sim->client_count != c->index) continue;
        }
        client_publish(c, topic, qos, retain, retain && rng_below(&sim->rng, 6) == 0);
    }
}

static void move_some(struct sim *sim, struct client *c)
{
    unsigned turns = 1 + (unsigned)rng_below(&sim->rng, 12);
    for (unsigned i = 0; i < turns; i++) world_step(sim->world);
    client_read(c);
}

static void pass_time(struct sim *sim)
{
    unsigned dice = (unsigned)rng_below(&sim->rng, 100);
    if (dice < 50)
        advance(sim, rng_below(&sim->rng, 50));
    else if (dice < 90)
        advance(sim, rng_below(&sim->rng, 5000));
    else if (dice < 98)
        advance(sim, rng_below(&sim->rng, 100000));
    else
        advance(sim, HOUR_MS + rng_below(&sim->rng, HOUR_MS));
}

static void slow_down(struct sim *sim, struct client *c)
{
    if (c->state != UP) return;
    if (c->slow && rng_below(&sim->rng, 2)) {
        world_room(c->conn, SIZE_MAX);
        return;
    }
    c->slow = true;
    world_room(c->conn, rng_below(&sim->rng, 3000));
    trace(sim, "%s reads slowly", c->id);
}

static void hold(struct client *c)
{
    if (c->state != UP) return;
    if (c->holds) client_flush(c);
    c->holds = !c->holds;
    c->held |= c->holds;
}

static void come_and_go(struct sim *sim, struct client *c)
{
    bool clean = rng_below(&sim->rng, 5) == 0;
    unsigned dice = (unsigned)rng_below(&sim->rng, 10);
    if (c->state == OFFLINE || (c->state == UP && dice == 0))
        client_connect(c, clean);
    else if (c->state == UP && dice < 3)
        client_leave(c, dice == 2);
    else if (c->state == UP && dice < 7)
        client_drop(c);
    else if (c->state == CONNECTING && dice == 9)
        client_drop(c);
}

static void step(struct sim *sim)
{
    struct client *c = &sim->clients[rng_below(&sim->rng, sim->client_count)];
    unsigned dice = (unsigned)rng_below(&sim->rng, 100);
    if (sim->disk && rng_below(&sim->rng, CRASH_ONE_IN) == 0)
        crash_some(sim);
    else if (sim->disk && sim->faults.full && rng_below(&sim->rng, FULL_ONE_IN) == 0)
        full_for_a_while(sim);
    else if (dice < 30)
        publish_some(sim, c);
    else if (dice < 42)
        client_subscribe(c);
    else if (dice < 44)
        client_unsubscribe(c);
    else if (dice < 62)
        move_some(sim, c);
    else if (dice < 72)
        read_all(sim);
    else if (dice < 84)
        come_and_go(sim, c);
    else if (dice < 87)
        slow_down(sim, c);
    else if (dice < 90)
        hold(c);
    else if (dice < 95)
        pass_time(sim);
    else
        sim_rest(sim);
    if (dice == 99) world_configure(sim->world); /* as a reload would, with the same settings */
}

/* ---- the end ---- */

static void read_retained(struct sim *sim, struct wconn *c, uint32_t *got)
{
    struct mqtt_frame f;
    struct mqtt_publish m;
    struct bytes in = world_received(c);
    while (mqtt_frame_peek(in, 0, &f) == 0) {
        struct bytes body = bytes_of(in.p + f.head_len, f.body_len);
        in = bytes_skip(in, f.head_len + f.body_len);
        if (f.type != MQTT_PUBLISH || mqtt_publish_decode(MQTT_V311, f.flags, body, &m) < 0)
            continue;
        int topic = topic_index(m.topic);
        if (topic < 0 || got[topic] || !m.retain) {
            fail(sim, "a fresh subscriber gets %.*s, retain %u", (int)m.topic.n,
                 (const char *)m.topic.p, m.retain);
            return;
        }
        char head[9] = "";
        memcpy(head, m.payload.p, min_u64(m.payload.n, 8));
        got[topic] = fault_retained(sim, (uint32_t)strtoul(head, NULL, 16) + 1);
    }
}

/* A client that was never there gets exactly the retained messages. */
void fresh_subscriber(struct sim *sim)
{
    uint8_t d[64];
    uint32_t got[TOPICS] = {0};
    struct mqtt_connect m = {
        .version = MQTT_V311, .clean_start = true, .client_id = bytes_str("fresh")};
    struct mqtt_subscription sub = {.filter = bytes_str("r/#")}; /* QoS 0: no window */
    struct wconn *c = world_connect(sim->world);
    uint8_t *end = mqtt_connect_encode(d, &m);
    end = mqtt_subscribe_encode(end, MQTT_V311, 1, &sub, 1, (struct bytes){0});
    world_send(c, bytes_of(d, (size_t)(end - d)));
    world_run(sim->world);
    read_retained(sim, c, got);
    check_retained(sim, got);
    world_drop(c);
}

static void finish(struct sim *sim)
{
    if (sim->disk && !sim->fault_done) crash_some(sim);
    for (int round = 0; round < 3 && !sim->failed; round++) {
        for (unsigned i = 0; i < sim->client_count; i++)
            if (sim->clients[i].state == OFFLINE) client_connect(&sim->clients[i], false);
        if (round == 1) fault_finish(sim);
        sim_rest(sim);
    }
    advance(sim, 15 * 1000); /* what is due soon: wills */
    sim_rest(sim);
    if (!sim->failed) check_end(sim);
    if (!sim->failed) fresh_subscriber(sim);
    if (!sim->failed) world_shutdown(sim->world);
}

void sim_run(struct sim *sim, const struct options *options)
{
    sim_init(sim, options);
    for (unsigned i = 0; i < sim->steps && !sim->failed && !sim->fault_done; i++) step(sim);
    if (!sim->failed) finish(sim);
}
