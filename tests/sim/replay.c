/* Histories and replays by seeds: publishers, subscribers that replay and then go on live, drop and
 * come back, read slowly, and a broker whose power is cut at any step.
 *
 *   sim_replay [--seed N] [--seeds COUNT] [--verbose]
 *
 * Judged is, for each subscriber: what was acknowledged to its publisher, or sent before something
 * that was, comes; QoS 2 once, QoS 1 again only with DUP or after a crash; the messages of one
 * publisher on one topic and QoS in their order; RETAIN on nothing that was published after the
 * SUBACK. */
#include <stdarg.h>
#include <stdio.h>

#include "base/rng.h"
#include "mqtt/packet.h"
#include "tests/world.h"

enum { PUBS = 3, SUBS = 4, TOPICS = 3, MESSAGES = 400, STEPS = 120, FLIGHTS = 65536 };

struct message {
    uint8_t topic, qos;
    bool acked, owed; /* owed: it is in the log for certain */
    uint32_t epoch;   /* of its publisher's connection */
};

struct peer {
    struct wconn *conn;
    uint16_t pid;
    uint32_t epoch;
};

struct pub {
    struct peer peer;
    uint32_t count;
    struct message sent[MESSAGES];
    uint16_t number_of[FLIGHTS]; /* by packet identifier, + 1 */
};

struct sub {
    struct peer peer;
    uint8_t qos, topic; /* topic TOPICS: all */
    bool latest, subscribed;
    uint32_t since[PUBS];   /* what was sent before SUBACK */
    uint16_t held[FLIGHTS]; /* QoS 2: message by identifier, + 1, until PUBREL */
    uint8_t held_of[FLIGHTS];
    uint8_t got[PUBS][MESSAGES];
    uint32_t crash_at[PUBS][MESSAGES]; /* when it came first */
    uint32_t last[PUBS][TOPICS][3];
};

struct run {
    struct rng rng;
    struct store_disk *disk;
    struct world *world;
    struct pub pubs[PUBS];
    struct sub subs[SUBS];
    uint32_t crashes;
    bool verbose, failed;
    uint64_t seed;
};

PRINTF_LIKE(2, 3) static void fault(struct run *r, const char *fmt, ...)
{
    va_list args;
    if (r->failed) return;
    r->failed = true;
    printf("seed %llu: ", (unsigned long long)r->seed);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("\n");
}

PRINTF_LIKE(2, 3) static void trace(const struct run *r, const char *fmt, ...)
{
    va_list args;
    if (!r->verbose) return;
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("\n");
}

static uint32_t below(struct run *r, uint32_t n) { return (uint32_t)rng_below(&r->rng, n); }

static void put(struct peer *p, const uint8_t *d, const uint8_t *end)
{
    if (p->conn) world_send(p->conn, bytes_of(d, (size_t)(end - d)));
}

static void connect(struct run *r, struct peer *p, const char *id, bool durable, bool clean)
{
    uint8_t props[16], d[128], *q = props;
    if (durable) q = mqtt_put_prop_u32(q, MQTT_P_SESSION_EXPIRY, UINT32_MAX);
    q = mqtt_put_prop_u16(q, MQTT_P_RECEIVE_MAX, 1 + below(r, 20));
    struct mqtt_connect m = {.version = MQTT_V5,
                             .clean_start = clean,
                             .client_id = bytes_str(id),
                             .props.raw = bytes_of(props, (size_t)(q - props))};
    p->conn = world_connect(r->world);
    p->epoch++;
    put(p, d, mqtt_connect_encode(d, &m));
}

static void drop(struct peer *p)
{
    if (p->conn) world_drop(p->conn);
    p->conn = NULL;
}

/* ---- publishers ---- */

static void publish(struct run *r, unsigned who)
{
    struct pub *p = &r->pubs[who];
    char topic[8], text[32], id[8];
    uint8_t d[128];
    if (p->count == MESSAGES) return;
    snprintf(id, sizeof id, "p%u", who);
    if (p->peer.conn == NULL) connect(r, &p->peer, id, false, true);
    uint32_t n = p->count++;
    struct message *m = &p->sent[n];
    *m = (struct message){
        .topic = (uint8_t)below(r, TOPICS), .qos = (uint8_t)below(r, 3), .epoch = p->peer.epoch};
    snprintf(topic, sizeof topic, "s/%u", m->topic);
    snprintf(text, sizeof text, "%u %u", who, n);
    struct mqtt_publish_out o = {.topic = bytes_str(topic),
                                 .payload = bytes_str(text),
                                 .expiry_s = MQTT_NO_EXPIRY,
                                 .qos = m->qos};
    if (m->qos) {
        if (++p->peer.pid == 0) p->peer.pid = 1;
        o.packet_id = p->peer.pid;
        p->number_of[o.packet_id] = (uint16_t)(n + 1);
    }
    trace(r, "p%u publishes %u on %s, QoS %u", who, n, topic, m->qos);
    put(&p->peer, d, mqtt_publish_encode(d, MQTT_V5, &o));
}

/* Everything that the connection has sent up to this one is in the log. */
static void acknowledged(struct pub *p, uint16_t packet_id)
{
    uint32_t n = p->number_of[packet_id];
    if (n == 0) return;
    p->sent[n - 1].acked = true;
    for (uint32_t i = 0; i < n; i++)
        if (p->sent[i].epoch == p->sent[n - 1].epoch) p->sent[i].owed = true;
}

/* ---- subscribers ---- */

static void subscribe(struct run *r, unsigned who)
{
    struct sub *s = &r->subs[who];
    char filter[48];
    uint8_t d[128];
    const char *when = s->latest ? "latest" : who % 2 ? "earliest" : "last:100000";
    if (s->topic == TOPICS)
        snprintf(filter, sizeof filter, "$replay/%s/s/#", when);
    else
        snprintf(filter, sizeof filter, "$replay/%s/s/%u", when, s->topic);
    struct mqtt_subscription e = {.filter = bytes_str(filter), .qos = s->qos};
    trace(r, "s%u subscribes %s, QoS %u", who, filter, s->qos);
    put(&s->peer, d, mqtt_subscribe_encode(d, MQTT_V5, ++s->peer.pid, &e, 1, (struct bytes){0}));
}

static void answer(struct peer *p, unsigned type, uint16_t packet_id)
{
    uint8_t d[MQTT_ACK_MAX];
    put(p, d,
        mqtt_ack_encode(d, MQTT_V5, type, packet_id, 0, (struct bytes){0}, (struct bytes){0}));
}

static void received(struct run *r, unsigned who, const struct mqtt_publish *m, unsigned from,
                     uint32_t n)
{
    struct sub *s = &r->subs[who];
    const struct message *sent = &r->pubs[from].sent[n];
    uint8_t qos = (uint8_t)min_u64(s->qos, sent->qos);
    trace(r, "s%u gets p%u %u, QoS %u%s%s", who, from, n, m->qos, m->dup ? ", DUP" : "",
          m->retain ? ", RETAIN" : "");
    if (m->qos != qos) fault(r, "s%u: p%u %u with QoS %u", who, from, n, m->qos);
    if (s->topic != TOPICS && s->topic != sent->topic) fault(r, "s%u: not asked for", who);
    if (m->retain && s->subscribed && n >= s->since[from])
        fault(r, "s%u: p%u %u is new, but RETAIN is set", who, from, n);
    if (s->got[from][n]++) {
        if (qos == 2) fault(r, "s%u: p%u %u of QoS 2 twice", who, from, n);
        if (!m->dup && s->crash_at[from][n] == r->crashes)
            fault(r, "s%u: p%u %u twice", who, from, n);
        return;
    }
    s->crash_at[from][n] = r->crashes;
    uint32_t *last = &s->last[from][sent->topic][qos];
    if (*last > n + 1) fault(r, "s%u: p%u %u after %u", who, from, n, *last - 1);
    *last = n + 1;
}

static void on_publish(struct run *r, unsigned who, const struct mqtt_publish *m)
{
    struct sub *s = &r->subs[who];
    char text[32] = {0};
    unsigned from = 0, n = 0;
    memcpy(text, m->payload.p, min_u64(m->payload.n, sizeof text - 1));
    if (sscanf(text, "%u %u", &from, &n) != 2 || from >= PUBS || n >= r->pubs[from].count) {
        fault(r, "s%u: what is '%s'?", who, text);
        return;
    }
    bool again = m->qos == 2 && s->held[m->packet_id];
    if (again && (s->held[m->packet_id] != n + 1 || s->held_of[m->packet_id] != from))
        fault(r, "s%u: identifier %u is used for another message", who, m->packet_id);
    if (!again) received(r, who, m, from, n);
    if (m->qos == 2) {
        s->held[m->packet_id] = (uint16_t)(n + 1);
        s->held_of[m->packet_id] = (uint8_t)from;
    }
    if (m->qos) answer(&s->peer, m->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, m->packet_id);
}

static void on_sub_packet(struct run *r, unsigned who, const struct mqtt_frame *f,
                          struct bytes body)
{
    struct sub *s = &r->subs[who];
    struct mqtt_publish m;
    struct mqtt_ack a;
    struct mqtt_connack c;
    if (f->type == MQTT_PUBLISH && mqtt_publish_decode(MQTT_V5, f->flags, body, &m) == 0)
        on_publish(r, who, &m);
    if (f->type == MQTT_PUBREL && mqtt_ack_decode(MQTT_V5, f->type, body, &a) == 0) {
        s->held[a.packet_id] = 0;
        answer(&s->peer, MQTT_PUBCOMP, a.packet_id);
    }
    if (f->type == MQTT_CONNACK && mqtt_connack_decode(MQTT_V5, body, &c) == 0) {
        if (s->subscribed && !c.session_present) fault(r, "s%u: its session is lost", who);
        if (!s->subscribed) subscribe(r, who);
    }
    if (f->type == MQTT_SUBACK && !s->subscribed) {
        trace(r, "s%u is subscribed", who);
        s->subscribed = true;
        for (unsigned i = 0; i < PUBS; i++) s->since[i] = r->pubs[i].count;
    }
}

static void on_pub_packet(struct pub *p, const struct mqtt_frame *f, struct bytes body)
{
    struct mqtt_ack a;
    if (f->type < MQTT_PUBACK || f->type > MQTT_PUBCOMP ||
        mqtt_ack_decode(MQTT_V5, f->type, body, &a) < 0)
        return;
    if (f->type == MQTT_PUBACK || f->type == MQTT_PUBREC) acknowledged(p, a.packet_id);
    if (f->type == MQTT_PUBREC) answer(&p->peer, MQTT_PUBREL, a.packet_id);
}

/* ---- the run ---- */

static bool read_one(struct run *r, unsigned i)
{
    struct peer *p = i < PUBS ? &r->pubs[i].peer : &r->subs[i - PUBS].peer;
    struct mqtt_frame f;
    if (p->conn == NULL) return false;
    struct bytes in = world_received(p->conn);
    if (mqtt_frame_peek(in, 0, &f) != 0) {
        if (world_closed(p->conn)) drop(p);
        return false;
    }
    struct bytes body = bytes_of(in.p + f.head_len, f.body_len);
    if (i < PUBS)
        on_pub_packet(&r->pubs[i], &f, body);
    else
        on_sub_packet(r, i - PUBS, &f, body);
    world_consume(p->conn, f.head_len + f.body_len);
    return true;
}

static void read_some(struct run *r, unsigned i)
{
    for (uint32_t n = below(r, 12); n > 0 && read_one(r, i); n--) {
    }
}

static void connect_sub(struct run *r, unsigned who)
{
    char id[8];
    snprintf(id, sizeof id, "s%u", who);
    if (r->subs[who].peer.conn) return;
    trace(r, "s%u connects", who);
    /* Without a SUBACK it begins anew: what it has asked for may go on else. */
    connect(r, &r->subs[who].peer, id, true, !r->subs[who].subscribed);
}

static void faults_choose(struct run *r)
{
    static const uint32_t often[] = {0, 100, 500, 900};
    const struct store_faults f = {.sync_delay = often[below(r, 4)],
                                   .fetch_delay = often[below(r, 4)],
                                   .again = often[below(r, 2)],
                                   .crowded = often[below(r, 2)],
                                   .checkpoint = below(r, 3) ? 0 : 100};
    store_disk_faults(r->disk, &f);
}

static void crash(struct run *r)
{
    trace(r, "the broker CRASHES");
    bool stops = below(r, 4) == 0;
    unsigned shards = 1 + below(r, 4);
    if (stops)
        world_restart(r->world, shards, below(r, 1000));
    else
        world_crash(r->world, shards, below(r, 1000));
    for (unsigned i = 0; i < PUBS + SUBS; i++) { /* what was in the sockets may still be read */
        struct peer *p = i < PUBS ? &r->pubs[i].peer : &r->subs[i - PUBS].peer;
        if (below(r, 2))
            while (read_one(r, i)) {
            }
        drop(p);
    }
    r->crashes++;
}

static void step(struct run *r)
{
    uint32_t dice = below(r, 100);
    unsigned who = below(r, SUBS);
    if (dice < 45) {
        for (uint32_t n = below(r, 10), p = below(r, PUBS); n > 0; n--) publish(r, p);
    } else if (dice < 60) {
        connect_sub(r, who);
    } else if (dice < 66) {
        trace(r, "s%u drops", who);
        drop(&r->subs[who].peer);
    } else if (dice < 70) {
        drop(&r->pubs[below(r, PUBS)].peer);
    } else if (dice < 74) {
        if (r->subs[who].peer.conn) world_room(r->subs[who].peer.conn, below(r, 300));
    } else if (dice < 80) {
        if (r->subs[who].peer.conn) world_room(r->subs[who].peer.conn, SIZE_MAX);
    } else if (dice < 83) {
        crash(r);
    } else if (dice < 86) {
        world_advance(r->world, below(r, 2000));
    }
    for (uint32_t n = below(r, 30); n > 0; n--) world_step(r->world);
    for (unsigned i = 0; i < PUBS + SUBS; i++) read_some(r, i);
}

/* Everybody comes and reads; then what is owed must be there. */
static void finish(struct run *r)
{
    store_disk_faults(r->disk, &(struct store_faults){0});
    trace(r, "all come and read");
    for (unsigned i = 0; i < SUBS; i++) {
        if (r->subs[i].peer.conn) world_room(r->subs[i].peer.conn, SIZE_MAX);
    }
    for (bool moved = true; moved && !r->failed;) {
        moved = false;
        for (unsigned i = 0; i < SUBS; i++) connect_sub(r, i);
        for (unsigned i = 0; i < PUBS + SUBS; i++) {
            world_run(r->world);
            while (read_one(r, i)) moved = true;
        }
        if (!moved) world_advance(r->world, 3000);
        for (unsigned i = 0; i < PUBS + SUBS; i++)
            while (read_one(r, i)) moved = true;
    }
    for (unsigned i = 0; i < SUBS && !r->failed; i++) {
        const struct sub *s = &r->subs[i];
        for (unsigned p = 0; p < PUBS; p++)
            for (uint32_t n = s->latest ? s->since[p] : 0; n < r->pubs[p].count; n++) {
                const struct message *m = &r->pubs[p].sent[n];
                bool wanted = s->topic == TOPICS || s->topic == m->topic;
                if (wanted && m->owed && m->qos && !s->got[p][n])
                    fault(r, "s%u (%s): p%u %u of QoS %u has not come", i,
                          s->latest ? "latest" : "earliest", p, n, m->qos);
            }
    }
}

static bool run_one(uint64_t seed, bool verbose)
{
    struct run *r = calloc(1, sizeof *r);
    if (r == NULL) abort();
    r->rng.state = r->seed = seed;
    r->verbose = verbose;
    struct core_config cfg;
    const struct core_history history = {.filter = "s/#"};
    world_defaults(&cfg);
    cfg.histories = &history;
    cfg.history_count = 1;
    cfg.max_queued_messages = 1 + below(r, 40);
    cfg.output_soft_bytes = 200 + below(r, 2000);
    if (store_disk_new(&r->disk, seed) < 0) abort();
    r->world = world_new_on(r->disk, 1 + below(r, 4), &cfg, seed);
    world_shuffle(r->world, true);
    faults_choose(r);
    for (unsigned i = 0; i < SUBS; i++) {
        r->subs[i].qos = (uint8_t)(1 + below(r, 2));
        r->subs[i].topic = (uint8_t)below(r, TOPICS + 1);
        r->subs[i].latest = below(r, 3) == 0;
    }
    for (int i = 0; i < STEPS && !r->failed; i++) step(r);
    if (!r->failed) finish(r);
    if (r->failed && verbose) printf("%s", world_log(r->world));
    bool failed = r->failed;
    for (unsigned i = 0; i < PUBS; i++) drop(&r->pubs[i].peer);
    for (unsigned i = 0; i < SUBS; i++) drop(&r->subs[i].peer);
    world_free(r->world);
    store_disk_free(&r->disk);
    free(r);
    return failed;
}

int main(int argc, char **argv)
{
    unsigned long seed = 1, seeds = 1;
    bool verbose = false;
    for (int i = 1; i < argc; i++) {
        unsigned long value = i + 1 < argc ? strtoul(argv[i + 1], NULL, 10) : 0;
        if (strcmp(argv[i], "--seed") == 0) seed = value;
        if (strcmp(argv[i], "--seeds") == 0) seeds = value;
        verbose |= strcmp(argv[i], "--verbose") == 0;
    }
    for (unsigned long i = 0; i < seeds; i++)
        if (run_one(seed + i, verbose)) return 1;
    printf("%lu seeds passed\n", seeds);
    return 0;
}
