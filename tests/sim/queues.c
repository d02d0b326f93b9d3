/* Work queues against a model of them (CONTRACT section 5): publishers, consumers that acknowledge,
 * refuse, stall and vanish, a broker that crashes, and one who reads all dead letters; some
 * messages are delayed, or expire, or are one too many.  What must hold: a message that was
 * acknowledged to its publisher is in the end with a consumer who has acknowledged it, or a dead
 * letter, and not both; nobody gets one that another holds; the attempts are right; of a key one is
 * under way, and they come in order.
 *
 *   simq [--seed N] [--seeds COUNT] [--disk] [--verbose] */
#include <stdio.h>

#include "base/rng.h"
#include "core/queue_conf.h"
#include "mqtt/packet.h"
#include "tests/world.h"

enum {
    QUEUES = 2,
    PUBLISHERS = 2,
    CONSUMERS = 5,
    CLIENTS = PUBLISHERS + CONSUMERS + 1, /* the last one reads the dead letters */
    MESSAGES_MAX = 600,
    STEPS = 150,
    KEYS = 3,
    DEADLINE_MS = 5000,
    DELIVERIES_MAX = 3,
    HELD_MAX = 32,
    KEYED = 1, /* the queue with queue_order key */
    BOUND = 6, /* messages of the other one, perhaps */
    EXPIRY_S = 2,
    DELAY_MAX_MS = 6000,
};

struct message {
    unsigned queue, key, publisher; /* key: 0 none */
    bool taken;                     /* the publisher was told so */
    bool done, dead, rejected;
    bool either; /* answered late: it may be done, or have gone elsewhere or died */
    bool safe_done, safe_dead;
    unsigned epoch_done, epoch_dead;    /* in which they were */
    unsigned failed_least, failed_most; /* attempts */
    unsigned safe_failed;
    int holder; /* -1: nobody */
    uint16_t held_pid;
    uint64_t held_first, held_last; /* between them it came to the holder */
    uint64_t not_before;            /* it was to be delivered later */
    bool expires;
    bool seen;
};

struct client {
    unsigned index;
    struct wconn *conn;
    uint8_t version;
    bool durable;
    unsigned queue; /* that it consumes */
    uint16_t next_pid;
    struct {
        uint16_t pid;
        unsigned message;
    } held[HELD_MAX];
    unsigned held_count;
};

struct run {
    struct world *world;
    bool bounded; /* the queue without keys: what is one too many dies */
    bool replays; /* who reads dead letters does it as a replay of their list */
    bool begun;
    unsigned letter_epoch; /* of the last one that it had */
    uint64_t letter_seq;
    struct store_disk *disk;
    struct store_faults faults;
    struct rng rng;
    struct client clients[CLIENTS];
    struct message messages[MESSAGES_MAX];
    unsigned count, epoch, shards;
    unsigned newest[PUBLISHERS][KEYS]; /* of the keyed queue, + 1 */
    uint64_t before;                   /* clock before time passed last */
    bool verbose, failed, ending;
};

#define FAIL(r, ...)                                                                               \
    do {                                                                                           \
        if (!(r)->failed) printf(__VA_ARGS__), printf("\n");                                       \
        (r)->failed = true;                                                                        \
    } while (0)
#define SAY(r, ...)                                                                                \
    do {                                                                                           \
        if ((r)->verbose) {                                                                        \
            printf("%8llu ", (unsigned long long)world_now((r)->world));                           \
            printf(__VA_ARGS__);                                                                   \
            printf("\n");                                                                          \
        }                                                                                          \
    } while (0)

static void send_bytes(struct client *c, const uint8_t *d, const uint8_t *end)
{
    world_send(c->conn, bytes_of(d, (size_t)(end - d)));
}

/* ---- what the model says ---- */

/* The time of a delivery that is not answered is over, surely or perhaps. */
static void model_time_out(const struct run *r, struct message *m)
{
    uint64_t now = world_now(r->world);
    if (now - m->held_first < DEADLINE_MS) return;
    m->failed_most++;
    m->failed_least += now - m->held_last >= DEADLINE_MS;
}

static bool is_late(const struct run *r, const struct message *m)
{
    return world_now(r->world) - m->held_first >= DEADLINE_MS;
}

static void model_delivered(struct run *r, struct client *c, unsigned id, unsigned attempt,
                            uint16_t pid)
{
    struct message *m = &r->messages[id];
    uint64_t now = world_now(r->world);
    if (now < m->not_before) FAIL(r, "message %u comes before its time", id);
    if (m->safe_done || (m->done && m->epoch_done == r->epoch && !m->either))
        FAIL(r, "message %u comes again after it was acknowledged", id);
    if (m->safe_dead || (m->dead && m->epoch_dead == r->epoch))
        FAIL(r, "message %u comes again after it had died", id);
    if (m->holder >= 0) {
        if (now - m->held_first < DEADLINE_MS)
            FAIL(r, "message %u comes to %u while %d holds it", id, c->index, m->holder);
        m->failed_least++;
        m->failed_most++;
    }
    for (unsigned i = 0; m->queue == KEYED && m->key && !m->done && i < r->count; i++) {
        const struct message *o = &r->messages[i];
        if (i != id && o->queue == m->queue && o->key == m->key && o->holder >= 0 && !o->done &&
            now - o->held_first < DEADLINE_MS)
            FAIL(r, "messages %u and %u of one key are under way together", i, id);
    }
    if (m->queue == KEYED && m->key && !m->seen) {
        unsigned *newest = &r->newest[m->publisher][m->key - 1];
        if (*newest > id + 1) FAIL(r, "message %u comes after %u of its key", id, *newest - 1);
        *newest = id + 1;
    }
    if (attempt && (attempt < m->failed_least + 1 || attempt > m->failed_most + 1))
        FAIL(r, "message %u comes as attempt %u, and has failed %u to %u times", id, attempt,
             m->failed_least, m->failed_most);
    if (attempt) m->failed_least = m->failed_most = attempt - 1;
    m->done &= m->either;
    m->seen = true;
    m->holder = (int)c->index;
    m->held_pid = pid;
    m->held_first = r->before;
    m->held_last = now;
}

static void model_dead(struct run *r, unsigned id, struct bytes reason)
{
    struct message *m = &r->messages[id];
    unsigned most = m->failed_most;
    if (m->holder >= 0 && is_late(r, m)) most++;
    SAY(r, "message %u is dead: %.*s", id, (int)reason.n, (const char *)reason.p);
    if (bytes_eq(reason, bytes_str("attempts")) && most < DELIVERIES_MAX)
        FAIL(r, "message %u is dead after %u attempts", id, most);
    if (bytes_eq(reason, bytes_str("expired")) && !m->expires)
        FAIL(r, "message %u has expired, and had no time", id);
    if (bytes_eq(reason, bytes_str("overflow")) && !(m->queue != KEYED && r->bounded))
        FAIL(r, "message %u was one too many for a queue with room", id);
    if (bytes_eq(reason, bytes_str("rejected")) && !m->rejected)
        FAIL(r, "message %u is dead, and nobody has rejected it", id);
    if (m->safe_done || (m->done && m->epoch_done == r->epoch && !m->either))
        FAIL(r, "message %u is dead and was acknowledged", id);
    if (m->dead && m->epoch_dead == r->epoch) FAIL(r, "message %u dies twice", id);
    m->dead = true;
    m->done = false;
    m->epoch_dead = r->epoch;
    m->holder = -1;
}

enum answer { ACK, RETRY, REQUEUE, REJECT };

static void model_answered(struct run *r, struct client *c, unsigned id, enum answer answer,
                           uint16_t pid)
{
    struct message *m = &r->messages[id];
    bool late = is_late(r, m), surely = world_now(r->world) - m->held_last >= DEADLINE_MS;
    if (m->holder != (int)c->index) { /* it had gone elsewhere, and may have come back */
        if (answer != ACK) return;
        m->done = m->either = true;
        m->epoch_done = r->epoch;
        return;
    }
    if (pid != m->held_pid && answer != ACK) return; /* it had come again, and that counts */
    late |= pid != m->held_pid;
    m->holder = -1;
    switch (answer) {
    case ACK:
        m->done = true;
        m->epoch_done = r->epoch;
        m->either |= late; /* it may have died, or be on its way once more */
        m->failed_most += late;
        break;
    case RETRY: m->failed_least++, m->failed_most++; break;
    case REQUEUE:
        m->failed_most += late;
        m->failed_least += surely;
        break;
    case REJECT:
        m->failed_most++;
        m->failed_least++;
        m->rejected |= !surely;
        break;
    }
}

/* ---- clients ---- */

static struct client *dead_reader(struct run *r) { return &r->clients[CLIENTS - 1]; }
static bool is_consumer(const struct client *c)
{
    return c->index >= PUBLISHERS && c->index < CLIENTS - 1;
}

static void client_up(struct run *r, struct client *c)
{
    static const char *const filters[QUEUES] = {"$queue/q0", "$queue/q1"};
    uint8_t d[256], props[32], *p = props;
    char id[8];
    if (c->conn) return;
    snprintf(id, sizeof id, "c%u", c->index);
    c->conn = world_connect(r->world);
    c->held_count = 0;
    c->next_pid = 0;
    bool v5 = c->version == MQTT_V5;
    if (v5 && c->durable) p = mqtt_put_prop_u32(p, MQTT_P_SESSION_EXPIRY, UINT32_MAX);
    if (v5 && is_consumer(c))
        p = mqtt_put_prop_u16(p, MQTT_P_RECEIVE_MAX, (uint16_t)(1 + rng_below(&r->rng, 8)));
    struct mqtt_connect m = {.version = c->version,
                             .clean_start = !c->durable,
                             .client_id = bytes_str(id),
                             .props.raw = bytes_of(props, (size_t)(p - props))};
    send_bytes(c, d, mqtt_connect_encode(d, &m));
    const char *dead = r->replays ? "$replay/earliest/$dead/#" : "$dead/#";
    const char *filter = c == dead_reader(r) ? dead : filters[c->queue];
    struct mqtt_subscription sub = {.filter = bytes_str(filter), .qos = 1};
    /* Who asks for a replay again gets all of it again. */
    bool asks = c->index >= PUBLISHERS && !(c == dead_reader(r) && r->replays && r->begun);
    if (asks)
        send_bytes(c, d, mqtt_subscribe_encode(d, c->version, 60000, &sub, 1, (struct bytes){0}));
}

static void client_lost(struct run *r, struct client *c)
{
    for (unsigned i = 0; i < c->held_count; i++) {
        struct message *m = &r->messages[c->held[i].message];
        if (m->holder != (int)c->index) continue;
        model_time_out(r, m);
        m->holder = -1;
    }
    c->held_count = 0;
    if (c->conn) world_drop(c->conn);
    c->conn = NULL;
}

/* Some of the queue without keys come later, or are good for a short time. */
static uint8_t *put_times(struct run *r, struct message *m, uint8_t *p)
{
    char text[24];
    unsigned dice = (unsigned)rng_below(&r->rng, 10);
    if (m->queue == KEYED || dice > 1) return p;
    m->expires = dice == 0;
    if (m->expires) return p;
    uint64_t delay_ms = 1 + rng_below(&r->rng, DELAY_MAX_MS);
    m->not_before = world_now(r->world) + delay_ms;
    snprintf(text, sizeof text, "%llums", (unsigned long long)delay_ms);
    return mqtt_put_prop_user(p, bytes_str("sluice-delay"), bytes_str(text));
}

static void publish(struct run *r, struct client *c, unsigned queue)
{
    uint8_t d[256], props[64], *p = props;
    char topic[16], payload[16], key[2] = "a";
    if (r->count == MESSAGES_MAX || c->conn == NULL) return;
    struct message *m = &r->messages[r->count];
    *m = (struct message){.queue = queue, .publisher = c->index, .holder = -1};
    m->key = queue == KEYED ? (unsigned)rng_below(&r->rng, KEYS + 1) : 0;
    key[0] = (char)('a' + m->key);
    if (m->key) p = mqtt_put_prop_user(p, bytes_str("sluice-key"), bytes_str(key));
    p = put_times(r, m, p);
    snprintf(topic, sizeof topic, "t%u/x", queue);
    snprintf(payload, sizeof payload, "%u", r->count);
    struct mqtt_publish_out o = {.topic = bytes_str(topic),
                                 .payload = bytes_str(payload),
                                 .props = bytes_of(props, (size_t)(p - props)),
                                 .expiry_s = m->expires ? EXPIRY_S : MQTT_NO_EXPIRY,
                                 .qos = 1,
                                 .packet_id = ++c->next_pid};
    c->held[c->held_count].pid = o.packet_id;
    c->held[c->held_count++].message = r->count;
    SAY(r, "c%u publishes message %u to queue %u, key %u", c->index, r->count, queue, m->key);
    r->count++;
    send_bytes(c, d, mqtt_publish_encode(d, c->version, &o));
}

static unsigned held_take(struct client *c, uint16_t pid)
{
    for (unsigned i = 0; i < c->held_count; i++) {
        if (c->held[i].pid != pid) continue;
        unsigned id = c->held[i].message;
        memmove(&c->held[i], &c->held[i + 1], (--c->held_count - i) * sizeof c->held[0]);
        return id;
    }
    return MESSAGES_MAX;
}

static void send_puback(struct client *c, uint16_t pid, uint8_t reason)
{
    uint8_t d[MQTT_ACK_MAX];
    send_bytes(c, d,
               mqtt_ack_encode(d, c->version, MQTT_PUBACK, pid, reason, (struct bytes){0},
                               (struct bytes){0}));
}

/* One that it holds, or the oldest when it is a client that must say it by PUBLISH. */
static void answer_one(struct run *r, struct client *c)
{
    static const uint8_t reasons[] = {[ACK] = 0, [RETRY] = 0x80, [REQUEUE] = 0x97, [REJECT] = 0x99};
    if (c->held_count == 0 || c->conn == NULL) return;
    unsigned dice = (unsigned)rng_below(&r->rng, 10);
    enum answer answer = dice < 6 || r->ending ? ACK
                         : dice < 8            ? RETRY
                         : dice < 9            ? REQUEUE
                                               : REJECT;
    bool v5 = c->version == MQTT_V5;
    if (!v5 && answer == REQUEUE) answer = RETRY;
    unsigned at = v5 || answer == ACK ? (unsigned)rng_below(&r->rng, c->held_count) : 0;
    uint16_t pid = c->held[at].pid;
    unsigned id = held_take(c, pid);
    SAY(r, "c%u answers message %u with %02x", c->index, id, reasons[answer]);
    if (!v5 && answer != ACK) {
        uint8_t d[64];
        char topic[32];
        snprintf(topic, sizeof topic, "$queue/q%u/%s", c->queue,
                 answer == RETRY ? "nack" : "reject");
        struct mqtt_publish_out o = {.topic = bytes_str(topic), .expiry_s = MQTT_NO_EXPIRY};
        send_bytes(c, d, mqtt_publish_encode(d, c->version, &o));
        send_puback(c, pid, 0);
    } else {
        send_puback(c, pid, reasons[answer]);
    }
    model_answered(r, c, id, answer, pid);
}

static uint64_t number_of(struct bytes text)
{
    uint64_t v = 0;
    for (size_t i = 0; i < text.n; i++) v = v * 10 + (text.p[i] - '0');
    return v;
}

/* A replay brings them in the order of the log; after a crash it may be behind where it was. */
static void letter_follows(struct run *r, uint64_t seq)
{
    if (r->letter_epoch == r->epoch && seq <= r->letter_seq)
        FAIL(r, "letter %llu comes behind %llu", (unsigned long long)seq,
             (unsigned long long)r->letter_seq);
    r->letter_epoch = r->epoch;
    r->letter_seq = seq;
}

static void on_publish(struct run *r, struct client *c, const struct mqtt_publish *m,
                       const struct bytes props)
{
    char text[16] = "";
    unsigned attempt = c->version == MQTT_V5;
    uint64_t seq = 0;
    struct bytes reason = {0};
    struct mqtt_prop prop;
    memcpy(text, m->payload.p, min_u64(m->payload.n, sizeof text - 1));
    unsigned id = (unsigned)strtoul(text, NULL, 10);
    for (size_t at = 0; mqtt_props_next(props, &at, &prop);) {
        if (prop.id != MQTT_P_USER) continue;
        if (bytes_eq(prop.key, bytes_str("sluice-attempt"))) attempt = prop.value.p[0] - '0';
        if (bytes_eq(prop.key, bytes_str("sluice-dead-reason"))) reason = prop.value;
        if (bytes_eq(prop.key, bytes_str("sluice-seq"))) seq = number_of(prop.value);
    }
    if (c == dead_reader(r)) {
        if (r->replays && !m->dup) letter_follows(r, seq);
        if (!m->dup || !r->messages[id].dead) model_dead(r, id, reason);
        send_puback(c, m->packet_id, 0);
        return;
    }
    SAY(r, "c%u gets message %u, attempt %u", c->index, id, attempt);
    if (m->dup) FAIL(r, "message %u comes with DUP", id);
    model_delivered(r, c, id, attempt, m->packet_id);
    if (c->held_count == HELD_MAX) {
        FAIL(r, "more than a consumer may have");
        return;
    }
    c->held[c->held_count].pid = m->packet_id;
    c->held[c->held_count++].message = id;
}

static void on_packet(struct run *r, struct client *c, const struct mqtt_frame *f,
                      struct bytes body)
{
    struct mqtt_publish m;
    struct mqtt_props props = {0};
    struct mqtt_ack a;
    if (f->type == MQTT_PUBLISH && mqtt_publish_decode(c->version, f->flags, body, &m) == 0) {
        if (m.props.n) (void)!mqtt_publish_props(&m, &props);
        on_publish(r, c, &m, props.raw);
    } else if (f->type == MQTT_PUBACK && c->index < PUBLISHERS &&
               mqtt_ack_decode(c->version, f->type, body, &a) == 0) {
        unsigned id = held_take(c, a.packet_id);
        if (id < r->count) r->messages[id].taken = a.reason < 0x80;
    } else if (f->type == MQTT_SUBACK && body.p[body.n - 1] >= 0x80) {
        FAIL(r, "c%u may not subscribe: %02x", c->index, body.p[body.n - 1]);
    }
}

static bool client_read(struct run *r, struct client *c)
{
    bool any = false;
    struct mqtt_frame f;
    while (c->conn && mqtt_frame_peek(world_received(c->conn), 0, &f) == 0) {
        struct bytes in = world_received(c->conn);
        on_packet(r, c, &f, bytes_of(in.p + f.head_len, f.body_len));
        world_consume(c->conn, f.head_len + f.body_len);
        any = true;
    }
    if (c->conn && world_closed(c->conn)) FAIL(r, "c%u was disconnected", c->index);
    return any;
}

/* ---- what happens ---- */

static void run_out(struct run *r)
{
    for (bool moved = true; moved && !r->failed;) {
        moved = false;
        world_run(r->world);
        for (unsigned i = 0; i < CLIENTS; i++) moved |= client_read(r, &r->clients[i]);
    }
}

static void pass(struct run *r, uint64_t ms)
{
    struct store_faults calm = r->faults;
    run_out(r);
    calm.checkpoint = calm.again = 0;
    if (r->disk && ms > 500) store_disk_faults(r->disk, &calm);
    for (uint64_t left = ms; left > 0 && !r->failed;) { /* in pieces, so that times are known */
        uint64_t piece = min_u64(left, 200);
        r->before = world_now(r->world);
        world_advance(r->world, piece);
        run_out(r);
        left -= piece;
    }
    r->before = world_now(r->world);
    if (r->disk) store_disk_faults(r->disk, &r->faults);
}

/* What has happened is on disk. */
static void rest(struct run *r)
{
    run_out(r);
    for (unsigned i = 0; r->disk && i < 64 * r->shards; i++) world_step(r->world);
    run_out(r);
    for (unsigned i = 0; i < r->count; i++) {
        struct message *m = &r->messages[i];
        m->safe_failed = m->failed_least;
        m->safe_done |= m->done && !m->either;
        m->safe_dead |= m->dead;
    }
}

static void crash(struct run *r)
{
    struct store_faults calm = {0};
    r->shards = 1 + (unsigned)rng_below(&r->rng, 4);
    SAY(r, "the broker crashes, and then has %u shards", r->shards);
    store_disk_faults(r->disk, &calm);
    world_crash(r->world, r->shards, rng_below(&r->rng, 20000));
    store_disk_faults(r->disk, &r->faults);
    r->before = world_now(r->world);
    r->epoch++;
    for (unsigned i = 0; i < r->count; i++) {
        struct message *m = &r->messages[i];
        m->failed_least = m->safe_failed;
        m->either |= m->done && !m->safe_done;
        if (m->holder >= 0) m->failed_most++; /* perhaps its deadline was over */
        m->holder = -1;
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *c = &r->clients[i];
        c->held_count = 0;
        if (c->conn) world_drop(c->conn);
        c->conn = NULL;
        if (i < PUBLISHERS || c == dead_reader(r) || rng_below(&r->rng, 3)) client_up(r, c);
    }
}

static void step(struct run *r)
{
    struct client *c = &r->clients[rng_below(&r->rng, CLIENTS - 1)];
    unsigned dice = (unsigned)rng_below(&r->rng, 100);
    if (r->disk && rng_below(&r->rng, 25) == 0) {
        crash(r);
    } else if (c->index < PUBLISHERS && dice < 60) {
        for (unsigned n = 1 + (unsigned)rng_below(&r->rng, 6); n > 0; n--)
            if (c->held_count < HELD_MAX / 2) publish(r, c, (unsigned)rng_below(&r->rng, QUEUES));
    } else if (dice < 50) {
        for (unsigned n = 1 + (unsigned)rng_below(&r->rng, 4); n > 0; n--) answer_one(r, c);
    } else if (dice < 65) {
        for (unsigned n = 1 + (unsigned)rng_below(&r->rng, 12); n > 0; n--) world_step(r->world);
        client_read(r, c);
    } else if (dice < 75 && is_consumer(c)) {
        run_out(r); /* what it has sent arrives */
        SAY(r, "c%u %s", c->index, c->conn ? "vanishes" : "comes");
        if (c->conn)
            client_lost(r, c);
        else
            client_up(r, c);
    } else if (dice < 90) {
        pass(r, rng_below(&r->rng, dice < 85 ? 1000 : 8000));
    } else {
        rest(r);
    }
}

static void finish(struct run *r)
{
    r->ending = true;
    for (unsigned i = 0; i < CLIENTS; i++) client_up(r, &r->clients[i]);
    uint64_t left = 1;
    pass(r, DELAY_MAX_MS + 1000);
    for (int round = 0; round < 500 && left && !r->failed; round++) {
        pass(r, 1000);
        for (unsigned i = PUBLISHERS; i < CLIENTS - 1; i++)
            while (r->clients[i].held_count) answer_one(r, &r->clients[i]);
        run_out(r);
        left = world_stat(r->world, offsetof(struct core_stats, queue_messages));
    }
    pass(r, 1000);
    rest(r);
    for (unsigned i = 0; i < r->count && !r->failed; i++) {
        const struct message *m = &r->messages[i];
        if (m->taken && !m->done && !m->dead) FAIL(r, "message %u is lost", i);
        if (m->done && m->dead && !m->either) FAIL(r, "message %u is done and dead", i);
    }
    if (!r->failed && left) FAIL(r, "%llu messages are left", (unsigned long long)left);
}

static void choose_disk(struct run *r)
{
    static const uint32_t often[] = {0, 100, 500, 900}, rarely[] = {0, 0, 20, 100},
                          checkpoints[] = {0, 3, 30, 200}, moves[] = {0, 300};
    if (store_disk_new(&r->disk, rng_next(&r->rng)) < 0) abort();
    r->faults = (struct store_faults){
        .sync_delay = often[rng_below(&r->rng, ARRAY_LEN(often))],
        .fetch_delay = often[rng_below(&r->rng, ARRAY_LEN(often))],
        .again = rarely[rng_below(&r->rng, ARRAY_LEN(rarely))],
        .crowded = rarely[rng_below(&r->rng, ARRAY_LEN(rarely))],
        .checkpoint = checkpoints[rng_below(&r->rng, ARRAY_LEN(checkpoints))],
        .move = moves[rng_below(&r->rng, ARRAY_LEN(moves))],
    };
    store_disk_faults(r->disk, &r->faults);
}

static bool run_one(uint64_t seed, bool disk, bool verbose)
{
    struct queue_settings set = QUEUE_SETTINGS_DEFAULT;
    char names[QUEUES][3] = {"q0", "q1"}, texts[QUEUES][5] = {"t0/#", "t1/#"};
    char *topics[QUEUES] = {texts[0], texts[1]};
    struct queue_conf queues[QUEUES];
    struct core_config cfg;
    struct run *r = calloc(1, sizeof *r);
    if (r == NULL) abort();
    r->rng.state = seed * 2 + 1;
    r->replays = seed % 2;
    r->verbose = verbose;
    set.ack_deadline_ms = DEADLINE_MS;
    set.max_deliveries = DELIVERIES_MAX;
    set.backoff_first_ms = 500;
    set.backoff_most_ms = 4000;
    for (unsigned i = 0; i < QUEUES; i++) {
        queues[i] = (struct queue_conf){
            .name = names[i], .topics = &topics[i], .topic_count = 1, .set = set};
        queues[i].set.by_key = i == KEYED;
        queues[i].set.round_robin = rng_below(&r->rng, 2);
    }
    r->bounded = rng_below(&r->rng, 3) == 0;
    if (r->bounded) queues[!KEYED].set.max_messages = BOUND;
    world_defaults(&cfg);
    cfg.queues = queues;
    cfg.queue_count = ARRAY_LEN(queues);
    cfg.max_queued_messages = 0;
    if (disk) choose_disk(r);
    r->shards = 1 + (unsigned)rng_below(&r->rng, 4);
    r->world = world_new_on(r->disk, r->shards, &cfg, seed);
    world_shuffle(r->world, rng_below(&r->rng, 4) != 0);
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *c = &r->clients[i];
        c->index = i;
        c->version = is_consumer(c) && i % 2 == 0 ? MQTT_V311 : MQTT_V5;
        c->durable = c == dead_reader(r) || (is_consumer(c) && rng_below(&r->rng, 2));
        c->queue = i < PUBLISHERS + QUEUES ? i % QUEUES : (unsigned)rng_below(&r->rng, QUEUES);
        client_up(r, c);
    }
    rest(r);
    r->begun = true;
    for (unsigned i = 0; i < STEPS && !r->failed; i++) step(r);
    if (!r->failed) finish(r);
    bool failed = r->failed;
    if (failed)
        printf("FAILED: --seed %llu%s\n%s", (unsigned long long)seed, disk ? " --disk" : "",
               verbose ? world_log(r->world) : "");
    world_free(r->world);
    store_disk_free(&r->disk);
    free(r);
    return !failed;
}

int main(int argc, char **argv)
{
    uint64_t seed = 1, seeds = 1;
    bool disk = false, verbose = false;
    for (int i = 1; i < argc; i++) {
        uint64_t value = i + 1 < argc ? strtoul(argv[i + 1], NULL, 10) : 0;
        if (strcmp(argv[i], "--seed") == 0)
            seed = value;
        else if (strcmp(argv[i], "--seeds") == 0)
            seeds = value;
        disk |= strcmp(argv[i], "--disk") == 0;
        verbose |= strcmp(argv[i], "--verbose") == 0;
    }
    for (uint64_t i = 0; i < seeds; i++)
        if (!run_one(seed + i, disk, verbose)) return 1;
    printf("%llu seeds passed\n", (unsigned long long)seeds);
    return 0;
}
