/* Verbs: exchanges that are not what a conversation is about, in one line. */
#include "tests/wire/talk.h"

struct fields words_from(const struct fields *words, size_t n)
{
    if (n >= words->count) return (struct fields){0};
    return (struct fields){.items = words->items + n, .count = words->count - n};
}

bool word_is(const struct fields *words, size_t n, const char *text)
{
    return n < words->count && words->items[n].name.n == 0 && !words->items[n].quoted &&
           bytes_eq(words->items[n].text, bytes_str(text));
}

static unsigned version_of(struct bytes text)
{
    if (bytes_eq(text, bytes_str("v3.1"))) return MQTT_V31;
    if (bytes_eq(text, bytes_str("v3.1.1"))) return MQTT_V311;
    return bytes_eq(text, bytes_str("v5")) ? MQTT_V5 : 0;
}

/* ---- CONNECT ---- */

struct connect_words {
    struct fields connect, connack;
    unsigned version, listener;
    bool durable;
};

/* Sorts out what is said about the connection, the CONNECT and the CONNACK. */
static void sort_words(struct talk *t, const struct fields *words, struct connect_words *out)
{
    *out = (struct connect_words){.version = t->version, .listener = 1};
    for (size_t i = 0; i < words->count; i++) {
        const struct field *f = &words->items[i];
        unsigned version = f->name.n == 0 && !f->quoted ? version_of(f->text) : 0;
        if (version)
            out->version = version;
        else if (field_is(f, "listener"))
            out->listener = (unsigned)f->number;
        else if (field_is(f, "session-present"))
            fields_add(&t->arena, &out->connack, *f);
        else if (f->name.n == 0 && bytes_eq(f->text, bytes_str("durable")))
            out->durable = true;
        else
            fields_add(&t->arena, &out->connect, *f);
    }
    if (out->durable && !fields_get(&out->connect, "clean"))
        fields_add_number(&t->arena, &out->connect, "clean", 0);
    if (out->durable && out->version == MQTT_V5 && !fields_get(&out->connect, "session-expiry"))
        fields_add_number(&t->arena, &out->connect, "session-expiry", UINT32_MAX);
}

static bool connect_send(struct talk *t, struct client *c, struct connect_words *w, bool run)
{
    if (!client_is_open(c) && !client_open(t, c, w->version, w->listener)) return false;
    if (!fields_get(&w->connect, "id"))
        fields_add_bytes(&t->arena, &w->connect, "id", bytes_str(c->name));
    return client_send(t, c, MQTT_CONNECT, &w->connect, run);
}

bool say_connect(struct talk *t, struct client *c, const struct fields *words, bool run)
{
    struct connect_words w;
    sort_words(t, words, &w);
    if (w.connack.count) return talk_fail(t, "session-present belongs to CONNACK");
    return connect_send(t, c, &w, run);
}

static bool connects(struct talk *t, struct client *c, const struct fields *words)
{
    struct connect_words w;
    sort_words(t, words, &w);
    if (client_is_open(c) && !client_open(t, c, w.version, w.listener)) return false;
    return connect_send(t, c, &w, true) &&
           client_expect(t, c, MQTT_CONNACK, &w.connack, SEARCH_NEXT, NULL);
}

/* Only a connection, without a word. */
static bool opens(struct talk *t, struct client *c, const struct fields *words)
{
    struct connect_words w;
    sort_words(t, words, &w);
    if (w.connect.count || w.connack.count)
        return talk_fail(t, "opens takes a version and listener=N");
    return client_open(t, c, w.version, w.listener);
}

/* ---- exchanges ---- */

static bool expect_bare(struct talk *t, struct client *c, unsigned type)
{
    return client_expect(t, c, type, &(struct fields){0}, SEARCH_TYPE, NULL);
}

/* The reasons of SUBACK are the QoS asked for. */
static bool subscribes(struct talk *t, struct client *c, const struct fields *words)
{
    struct fields want = {0};
    for (size_t i = 0; i < words->count; i++) {
        const struct field *f = &words->items[i];
        if (f->name.n == 0)
            fields_add_number(&t->arena, &want, "reason", 0);
        else if (field_is(f, "qos") && want.count)
            want.items[want.count - 1].number = f->number;
    }
    return client_send(t, c, MQTT_SUBSCRIBE, words, true) &&
           client_expect(t, c, MQTT_SUBACK, &want, SEARCH_TYPE, NULL);
}

static bool unsubscribes(struct talk *t, struct client *c, const struct fields *words)
{
    struct fields want = {0};
    for (size_t i = 0; i < words->count && c->version == MQTT_V5; i++)
        if (words->items[i].name.n == 0) fields_add_number(&t->arena, &want, "reason", 0);
    return client_send(t, c, MQTT_UNSUBSCRIBE, words, true) &&
           client_expect(t, c, MQTT_UNSUBACK, &want, SEARCH_TYPE, NULL);
}

/* PUBACK or PUBREC with Success, or No matching subscribers. */
static bool expect_success(struct talk *t, struct client *c, unsigned type)
{
    struct packet got;
    struct fields want = {0};
    fields_add(&t->arena, &want,
               (struct field){.name = bytes_str("reason"), .mode = FIELD_ANY, .text = {0}});
    if (!client_expect(t, c, type, &want, SEARCH_TYPE, &got)) return false;
    uint64_t reason = fields_get(&got.fields, "reason")->number;
    if (reason == MQTT_SUCCESS || reason == MQTT_NO_MATCHING_SUBSCRIBERS) return true;
    return talk_fail(t, "%s: the publish was answered with 0x%02x (%s)", c->name, (unsigned)reason,
                     mqtt_reason_name((uint8_t)reason));
}

static bool publishes(struct talk *t, struct client *c, const struct fields *words)
{
    const struct field *qos = fields_get(words, "qos");
    if (!client_send(t, c, MQTT_PUBLISH, words, true)) return false;
    if (qos == NULL || qos->number == 0) return true;
    if (qos->number == 1) return expect_success(t, c, MQTT_PUBACK);
    return expect_success(t, c, MQTT_PUBREC) &&
           client_send(t, c, MQTT_PUBREL, &(struct fields){0}, true) &&
           expect_bare(t, c, MQTT_PUBCOMP);
}

bool verb_acknowledge(struct talk *t, struct client *c, const struct packet *p)
{
    uint64_t qos = fields_get(&p->fields, "qos")->number;
    if (qos == 0) return true;
    struct fields id = {0};
    fields_add(&t->arena, &id, *fields_get(&p->fields, "id"));
    if (qos == 1) return client_send(t, c, MQTT_PUBACK, &id, true);
    return client_send(t, c, MQTT_PUBREC, &id, true) &&
           client_expect(t, c, MQTT_PUBREL, &id, SEARCH_TYPE, NULL) &&
           client_send(t, c, MQTT_PUBCOMP, &id, true);
}

static bool receives(struct talk *t, struct client *c, const struct fields *words)
{
    struct packet got;
    return client_expect(t, c, MQTT_PUBLISH, words, SEARCH_TYPE, &got) &&
           verb_acknowledge(t, c, &got);
}

static bool pings(struct talk *t, struct client *c, const struct fields *words)
{
    return client_send(t, c, MQTT_PINGREQ, words, true) && expect_bare(t, c, MQTT_PINGRESP);
}

static bool disconnects(struct talk *t, struct client *c, const struct fields *words)
{
    return client_send(t, c, MQTT_DISCONNECT, words, true) &&
           client_expect_closed(t, c, &(struct fields){0});
}

static bool drops(struct talk *t, struct client *c, const struct fields *words)
{
    if (words->count) return talk_fail(t, "drops takes no words");
    return client_drop(t, c);
}

static bool stalls(struct talk *t, struct client *c, const struct fields *words)
{
    const struct field *room = fields_get(words, "room");
    if (words->count != (room ? 1u : 0u)) return talk_fail(t, "stalls takes room=BYTES only");
    if (!client_is_open(c)) return talk_fail(t, "%s is not connected", c->name);
    world_room(c->conn, room ? room->number : 0);
    talk_settle(t);
    return true;
}

static bool reads(struct talk *t, struct client *c, const struct fields *words)
{
    if (words->count) return talk_fail(t, "reads takes no words");
    if (!client_is_open(c)) return talk_fail(t, "%s is not connected", c->name);
    world_room(c->conn, SIZE_MAX);
    talk_settle(t);
    return true;
}

static const struct {
    const char *name;
    bool (*run)(struct talk *t, struct client *c, const struct fields *words);
} verbs[] = {
    {"connects", connects},     {"opens", opens},
    {"subscribes", subscribes}, {"unsubscribes", unsubscribes},
    {"publishes", publishes},   {"gets", receives},
    {"pings", pings},           {"disconnects", disconnects},
    {"drops", drops},           {"stalls", stalls},
    {"reads", reads},
};

bool verb_run(struct talk *t, struct client *c, struct bytes verb, const struct fields *words)
{
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (bytes_eq(verb, bytes_str(verbs[i].name))) return verbs[i].run(t, c, words);
    return talk_fail(t, "what should %s do? There is no verb '%.*s'", c->name, (int)verb.n,
                     (const char *)verb.p);
}
