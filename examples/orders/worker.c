/* A worker of the order pipeline: takes messages of one queue, does its step, hands the order over
 * to the next one, and acknowledges only then.  So whatever dies meanwhile, the order is either
 * still in this queue or already in the next; and as each hand-over carries a name of its own
 * (sluice-dedup-id), one that is repeated is recognised and counts once.
 *
 *     orders_worker PORT payments|fulfilment|notifications NAME
 *
 * Why not by Paho, as intake.c: its C library sends PUBACK by itself, before the order is handed
 * over, and cannot say no.  This uses the client that sluicectl is made of.  One thread. */
#include "src/ctl/client.h"

#include "base/clock.h"
#include "core/control.h"
#include <stdio.h>
#include <time.h>

enum { ATTEMPTS_OF_A_BROKER = 1200, PAUSE_MS = 50, WORK_MS = 2, SESSION_S = 60 };

struct order {
    struct bytes id, payload;
    uint64_t number, attempt;
    bool redriven; /* somebody has looked at it, and sends it again */
};

/* What a step says of an order; reason 0: done. */
struct verdict {
    uint8_t reason;
    const char *text;
};

struct stage {
    const char *name, *queue, *next;
    uint8_t qos; /* of the hand-over */
    struct verdict (*decide)(const struct order *o);
};

/* An order that was handed over, until the broker has it. */
struct handed {
    uint16_t delivery; /* the packet identifier to acknowledge; 0: free */
};

struct worker {
    const struct stage *stage;
    struct client_options options;
    struct client client;
    struct handed handed[UINT16_MAX + 1]; /* by the hand-over's packet identifier */
    unsigned long done, failed, refused;
};

/* ---- the steps ---- */

/* A number that looks like chance, and is the same each time it is asked for. */
static uint64_t chance(uint64_t a, uint64_t b)
{
    uint64_t v = (a + 1) * 0x9e3779b97f4a7c15u ^ (b + 1) * 0xd6e8feb86659fd93u;
    v ^= v >> 32;
    v *= 0xd6e8feb86659fd93u;
    return v ^ v >> 32;
}

/* The bank.  Like a real one with idempotency keys it gives one answer to one question, however
 * often that is asked: the question is the order and which attempt it is. */
static struct verdict pay(const struct order *o)
{
    if (!o->redriven && o->number % 25 == 7)
        return (struct verdict){MQTT_NOT_AUTHORIZED, "the card has expired"};
    if (!o->redriven && o->number % 40 == 13)
        return (struct verdict){MQTT_UNSPECIFIED_ERROR, "the bank does not answer"};
    if (chance(o->number, o->attempt) % 5 == 0)
        return (struct verdict){MQTT_UNSPECIFIED_ERROR, "the bank is busy"};
    return (struct verdict){0, NULL};
}

/* Now and then a shelf is being refilled: again in a moment, which is no failure of the order. */
static struct verdict pack(const struct order *o)
{
    if (chance(o->number, clock_wall_ms()) % 20 == 0)
        return (struct verdict){MQTT_QUOTA_EXCEEDED, "the shelf is being refilled"};
    return (struct verdict){0, NULL};
}

static struct verdict notify(const struct order *o)
{
    (void)o;
    return (struct verdict){0, NULL};
}

/* At QoS 1 the next step may see an order before it is on disk, and once more if the broker dies
 * before that: workers do not mind, as they name what they do.  The ledger would count twice.  A
 * QoS 2 message of a session that outlives its connection reaches nobody before it is on disk. */
static const struct stage stages[] = {
    {"payments", "$queue/orders", "shop/paid/", 1, pay},
    {"fulfilment", "$queue/fulfilment", "shop/shipped/", 1, pack},
    {"notifications", "$queue/notifications", "shop/done/", 2, notify},
};

/* ---- one order ---- */

static int say_no(struct worker *w, uint16_t delivery, struct verdict v)
{
    uint8_t block[256], *d = block;
    d = mqtt_put_prop_bytes(d, MQTT_P_REASON_STRING, bytes_str(v.text));
    if (v.reason == MQTT_QUOTA_EXCEEDED)
        d = mqtt_put_prop_user(d, bytes_str("retry-after"), bytes_str("0.2"));
    w->failed++;
    return client_ack(&w->client, MQTT_PUBACK, delivery, v.reason,
                      bytes_of(block, (size_t)(d - block)));
}

/* The order goes to the next queue under a name by which it is known if it comes again. */
static int hand_over(struct worker *w, const struct order *o, uint16_t delivery)
{
    char topic[128], name[128];
    uint8_t block[256];
    uint16_t id = client_next_id(&w->client);
    snprintf(topic, sizeof topic, "%s%.*s", w->stage->next, (int)o->id.n, o->id.p);
    snprintf(name, sizeof name, "%s-%.*s", w->stage->name, (int)o->id.n, o->id.p);
    uint8_t *d = mqtt_put_prop_user(block, bytes_str("sluice-dedup-id"), bytes_str(name));
    struct mqtt_publish_out m = {.topic = bytes_str(topic),
                                 .payload = o->payload,
                                 .props = bytes_of(block, (size_t)(d - block)),
                                 .expiry_s = MQTT_NO_EXPIRY,
                                 .packet_id = id,
                                 .qos = w->stage->qos};
    w->handed[id].delivery = delivery;
    return client_publish(&w->client, &m);
}

/* The work itself. */
static void work(void)
{
    struct timespec t = {.tv_nsec = WORK_MS * 1000000L};
    nanosleep(&t, NULL);
}

static int take_order(struct worker *w, const struct client_packet *packet)
{
    struct mqtt_publish m;
    struct mqtt_props props;
    struct order o = {.attempt = 1};
    if (mqtt_publish_decode(MQTT_V5, packet->flags, packet->body, &m) < 0) return CTL_UNREACHABLE;
    if (mqtt_publish_props_from_server(&m, &props) < 0) return CTL_UNREACHABLE;
    const uint8_t *slash = memrchr(m.topic.p, '/', m.topic.n);
    if (slash) o.id = bytes_skip(m.topic, (size_t)(slash + 1 - m.topic.p));
    if (o.id.n == 0 || o.id.n > 18 || control_number(o.id, &o.number) < 0)
        return say_no(w, m.packet_id, (struct verdict){MQTT_PAYLOAD_FORMAT_INVALID, "no order"});
    struct bytes attempt = control_find(props.raw, "sluice-attempt");
    if (attempt.p && control_number(attempt, &o.attempt) < 0) o.attempt = 1;
    o.redriven = control_find(props.raw, "sluice-redriven").p != NULL;
    o.payload = m.payload;
    work();
    struct verdict v = w->stage->decide(&o);
    return v.reason ? say_no(w, m.packet_id, v) : hand_over(w, &o, m.packet_id);
}

/* PUBACK or PUBREC: the next queue has the order, or will not have it: then it stays in ours for a
 * while. */
static int take_answer(struct worker *w, const struct client_packet *packet)
{
    struct mqtt_ack ack;
    if (mqtt_ack_decode(MQTT_V5, packet->type, packet->body, &ack) < 0) return CTL_UNREACHABLE;
    if (packet->type == MQTT_PUBREC && ack.reason < 0x80 &&
        client_ack(&w->client, MQTT_PUBREL, ack.packet_id, 0, bytes_of(NULL, 0)))
        return CTL_REFUSED;
    uint16_t delivery = w->handed[ack.packet_id].delivery;
    w->handed[ack.packet_id].delivery = 0;
    if (delivery == 0) return 0;
    if (ack.reason >= 0x80) {
        w->refused++;
        return say_no(w, delivery, (struct verdict){MQTT_QUOTA_EXCEEDED, "the next queue is full"});
    }
    w->done++;
    return client_ack(&w->client, MQTT_PUBACK, delivery, MQTT_SUCCESS, bytes_of(NULL, 0));
}

/* ---- its life ---- */

/* One connection, until it ends. */
static int serve(struct worker *w)
{
    struct client_packet packet;
    struct mqtt_subscription queue = {.filter = bytes_str(w->stage->queue), .qos = 1};
    memset(w->handed, 0, sizeof w->handed); /* what was under way comes again */
    int rc = client_open(&w->client, &w->options);
    if (rc == 0) rc = client_subscribe(&w->client, &queue, 1);
    while (rc == 0) {
        enum client_event event = client_wait(&w->client, UINT64_MAX, -1, &packet);
        if (event == CLIENT_SIGNAL) return client_close(&w->client, CTL_DONE);
        if (event == CLIENT_ENDED) rc = w->client.code;
        if (event != CLIENT_PACKET) continue;
        if (packet.type == MQTT_PUBLISH) rc = take_order(w, &packet);
        if (packet.type == MQTT_PUBACK || packet.type == MQTT_PUBREC) rc = take_answer(w, &packet);
    }
    return client_close(&w->client, rc);
}

/* A broker that is away comes back; a worker that is told to end does. */
static int live(struct worker *w)
{
    struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};
    int rc = CTL_UNREACHABLE;
    for (int i = 0; i < ATTEMPTS_OF_A_BROKER && rc != CTL_DONE; i++) {
        rc = serve(w);
        if (rc != CTL_DONE) nanosleep(&pause, NULL);
    }
    return rc;
}

int main(int argc, char **argv)
{
    static struct worker w;
    if (argc != 4) {
        fprintf(stderr, "usage: %s PORT payments|fulfilment|notifications NAME\n", argv[0]);
        return CTL_USAGE;
    }
    for (size_t i = 0; i < ARRAY_LEN(stages); i++)
        if (strcmp(stages[i].name, argv[2]) == 0) w.stage = &stages[i];
    if (w.stage == NULL) return ctl_fail(CTL_USAGE, "there is no step '%s'", argv[2]);
    client_options_init(&w.options);
    w.options.port = atoi(argv[1]);
    w.options.id = argv[3];
    w.options.expiry_s = SESSION_S; /* each connection begins anew all the same */
    int rc = live(&w);
    printf("%s: %lu done, %lu not, %lu not taken by the next queue\n", argv[3], w.done, w.failed,
           w.refused);
    client_options_fini(&w.options);
    return rc;
}
