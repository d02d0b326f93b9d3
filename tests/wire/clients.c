/* The clients of a conversation: connections, packet identifiers, and the packets that arrived and
 * are still to be asked for. */
#include "tests/wire/talk.h"

#include <stdio.h>

enum { SHOWN = 6, HEX_SHOWN = 64 };

struct client *client_named(struct talk *t, struct bytes name)
{
    for (size_t i = 0; i < t->alias_count; i++)
        if (bytes_eq(name, bytes_str(t->aliases[i].name))) return t->aliases[i].client;
    for (size_t i = 0; i < t->client_count; i++)
        if (bytes_eq(name, bytes_str(t->clients[i]->name))) return t->clients[i];
    if (t->client_count == CLIENTS_MAX) return NULL;
    struct client *c = arena_alloc(&t->arena, sizeof *c);
    c->name = (const char *)arena_copy(&t->arena, name).p;
    c->version = t->version;
    t->clients[t->client_count++] = c;
    return c;
}

bool client_is_open(const struct client *c) { return c->conn && !world_closed(c->conn); }

bool client_open(struct talk *t, struct client *c, unsigned version, unsigned listener)
{
    if (client_is_open(c))
        return talk_fail(t,
                         "%s is connected already (another name with id=%s is another "
                         "connection of the same client)",
                         c->name, c->name);
    struct core_listener *l = setting_listener_at(t, listener);
    if (l == NULL) return false;
    if (c->conn) world_drop(c->conn);
    c->inbox.count = c->broker_owes.count = c->owes_broker.count = 0;
    c->version = version;
    c->ended = false;
    c->conn = world_connect_to(t->world, l);
    t->listener_used[listener - 1] = true;
    return true;
}

bool client_drop(struct talk *t, struct client *c)
{
    if (!client_is_open(c)) return talk_fail(t, "%s is not connected", c->name);
    if (c->inbox.count) return client_expect_nothing(t, c);
    world_drop(c->conn);
    c->conn = NULL;
    talk_settle(t);
    return true;
}

void client_lost(struct talk *t, struct client *c)
{
    client_fetch(t, c);
    if (client_is_open(c)) return;
    if (c->conn) world_drop(c->conn);
    c->conn = NULL;
}

/* ---- what is due ---- */

static bool owe(struct talk *t, struct owed_list *list, unsigned type, uint64_t id)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].type == type && list->items[i].id == id) return true;
    if (list->count == OWED_MAX) return talk_fail(t, "too many acknowledgements are due");
    list->items[list->count++] = (struct owed){type, (uint16_t)id};
    return true;
}

static void settle_owed(struct owed_list *list, unsigned type, uint64_t id)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i].type != type || list->items[i].id != id) continue;
        list->count--;
        memmove(&list->items[i], &list->items[i + 1], (list->count - i) * sizeof list->items[0]);
        return;
    }
}

/* The identifier of the oldest of this type; 0: none. */
static uint16_t oldest_owed(const struct owed_list *list, unsigned type)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].type == type) return list->items[i].id;
    return 0;
}

static uint64_t field_number(const struct fields *f, const char *name)
{
    const struct field *item = fields_get(f, name);
    return item ? item->number : 0;
}

/* A packet went from one side to the other: what its receiver owes now, and its sender no more. */
static bool note(struct talk *t, unsigned type, const struct fields *f, struct owed_list *receiver,
                 struct owed_list *sender)
{
    uint64_t id = field_number(f, "id"), qos = field_number(f, "qos");
    bool failed = field_number(f, "reason") >= MQTT_UNSPECIFIED_ERROR;
    if (type != MQTT_CONNECT && id) settle_owed(sender, type, id);
    switch (type) {
    case MQTT_PUBLISH:
        if (qos == 0) return true;
        return owe(t, receiver, qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, id);
    case MQTT_PUBREC: return failed || owe(t, receiver, MQTT_PUBREL, id);
    case MQTT_PUBREL: return owe(t, receiver, MQTT_PUBCOMP, id);
    case MQTT_SUBSCRIBE: return owe(t, receiver, MQTT_SUBACK, id);
    case MQTT_UNSUBSCRIBE: return owe(t, receiver, MQTT_UNSUBACK, id);
    default: return true;
    }
}

static bool has_id(unsigned type, const struct fields *f)
{
    if (type == MQTT_PUBLISH) return field_number(f, "qos") > 0;
    return type >= MQTT_PUBACK && type <= MQTT_UNSUBACK;
}

/* ---- sending ---- */

static void transcript(struct talk *t, const struct client *c, const char *arrow, unsigned type,
                       const struct fields *f, struct bytes raw)
{
    if (!t->verbose) return;
    struct text out = {.arena = &t->arena};
    if (type) packet_print(&out, type, f);
    text_add(&out, type ? "   | " : "raw ");
    text_add_hex(&out, raw, HEX_SHOWN);
    printf("  %8.3f %s%s %s\n", (double)world_now(t->world) / 1000, c->name, arrow,
           text_string(&out));
}

static bool push_bytes(struct talk *t, struct client *c, struct bytes raw, bool run)
{
    if (c->conn == NULL) return talk_fail(t, "%s is not connected", c->name);
    if (world_closed(c->conn)) return talk_fail(t, "%s was closed by the broker", c->name);
    world_send(c->conn, raw);
    if (run) talk_settle(t);
    return true;
}

bool client_send_raw(struct talk *t, struct client *c, struct bytes raw, bool run)
{
    transcript(t, c, ">", 0, NULL, raw);
    return push_bytes(t, c, raw, run);
}

static bool resolve(struct talk *t, struct fields *f)
{
    for (size_t i = 0; i < f->count; i++) {
        struct field *item = &f->items[i];
        if (item->mode != FIELD_CAPTURE) continue;
        char *name = arena_printf(&t->arena, "%.*s", (int)item->text.n, (const char *)item->text.p);
        const struct field *var = fields_get(&t->vars, name);
        if (var == NULL) return talk_fail(t, "nothing was remembered as @%s", name);
        item->mode = FIELD_VALUE;
        item->text = var->text;
        item->number = var->number;
        item->is_number = var->is_number;
        item->quoted = var->quoted;
    }
    return true;
}

/* Identifiers count up; an acknowledgement answers the oldest that is due. */
static bool add_id(struct talk *t, struct client *c, unsigned type, struct fields *f)
{
    uint16_t id;
    if (!has_id(type, f) || fields_get(f, "id")) return true;
    if (type == MQTT_PUBLISH || type == MQTT_SUBSCRIBE || type == MQTT_UNSUBSCRIBE)
        id = c->last_id = c->last_id == UINT16_MAX ? 1 : c->last_id + 1;
    else
        id = oldest_owed(&c->owes_broker, type);
    if (id == 0) return talk_fail(t, "%s owes the broker none of these; say id=", c->name);
    fields_add_number(&t->arena, f, "id", id);
    return true;
}

bool client_send(struct talk *t, struct client *c, unsigned type, const struct fields *words,
                 bool run)
{
    struct fields f;
    struct bytes raw;
    const char *error = packet_fields(&t->arena, type, words, &f);
    if (error) return talk_fail(t, "%s", error);
    if (!resolve(t, &f) || !add_id(t, c, type, &f)) return false;
    error = packet_encode(&t->arena, c->version, type, &f, &raw);
    if (error) return talk_fail(t, "%s", error);
    transcript(t, c, ">", type, &f, raw);
    return note(t, type, &f, &c->broker_owes, &c->owes_broker) && push_bytes(t, c, raw, run);
}

/* ---- receiving ---- */

static void inbox_add(struct talk *t, struct client *c, struct packet p)
{
    struct inbox *in = &c->inbox;
    if (in->count == in->cap) {
        in->cap = in->cap ? in->cap * 2 : 16;
        struct packet *items = arena_alloc(&t->arena, in->cap * sizeof *items);
        if (in->count) memcpy(items, in->items, in->count * sizeof *items);
        in->items = items;
    }
    in->items[in->count++] = p;
    transcript(t, c, "<", p.error ? 0 : p.type, &p.fields, p.raw);
}

void client_fetch(struct talk *t, struct client *c)
{
    struct mqtt_frame f;
    int rc;
    while (c->conn && (rc = mqtt_frame_peek(world_received(c->conn), 0, &f)) != E_AGAIN) {
        struct bytes all = world_received(c->conn);
        size_t n = rc < 0 ? all.n : (size_t)f.head_len + f.body_len;
        struct packet p;
        packet_decode(&t->arena, c->version, arena_copy(&t->arena, bytes_of(all.p, n)), &p);
        world_consume(c->conn, n);
        inbox_add(t, c, p);
    }
}

static void inbox_take(struct talk *t, struct client *c, size_t at)
{
    struct packet *p = &c->inbox.items[at];
    note(t, p->type, &p->fields, &c->owes_broker, &c->broker_owes);
    c->inbox.count--;
    memmove(p, p + 1, (c->inbox.count - at) * sizeof *p);
}

const char *client_arrived(struct talk *t, const struct client *c)
{
    struct text out = {.arena = &t->arena};
    for (size_t i = 0; i < c->inbox.count && i < SHOWN; i++) {
        const struct packet *p = &c->inbox.items[i];
        text_add(&out, "\n    ");
        if (p->error)
            text_add(&out, "%s", p->error);
        else
            packet_print(&out, p->type, &p->fields);
        text_add(&out, "\n      ");
        text_add_hex(&out, p->raw, HEX_SHOWN);
    }
    if (c->inbox.count > SHOWN) text_add(&out, "\n    and %zu more", c->inbox.count - SHOWN);
    if (c->inbox.count == 0) text_add(&out, " nothing");
    if (c->conn && world_received(c->conn).n) {
        text_add(&out, "\n    part of a packet: ");
        text_add_hex(&out, world_received(c->conn), HEX_SHOWN);
    }
    if (!client_is_open(c)) text_add(&out, ", and the connection is closed");
    return text_string(&out);
}

/* Whether the packet is there, at *at; why: how the nearest one differs. */
static bool look(struct talk *t, struct client *c, unsigned type, const struct fields *f,
                 enum search search, size_t *at, const char **why)
{
    *why = "";
    for (size_t i = 0; i < c->inbox.count; i++) {
        const struct packet *p = &c->inbox.items[i];
        if (search == SEARCH_TYPE && p->type != type && p->error == NULL) continue;
        const char *difference;
        *at = i;
        if (packet_matches(&t->arena, type, f, p, &t->vars, &difference)) return true;
        if (**why == 0 || p->type == type) *why = difference;
        if (search != SEARCH_ANYWHERE) return false;
    }
    return false;
}

/* An acknowledgement answers what was asked first. */
static void expect_id(struct talk *t, struct client *c, unsigned type, struct fields *f)
{
    uint16_t id = oldest_owed(&c->broker_owes, type);
    if (id && has_id(type, f) && type != MQTT_PUBLISH && !fields_get(f, "id"))
        fields_add_number(&t->arena, f, "id", id);
}

bool client_expect(struct talk *t, struct client *c, unsigned type, const struct fields *words,
                   enum search search, struct packet *got)
{
    struct fields f;
    size_t at;
    const char *why, *error = packet_fields(&t->arena, type, words, &f);
    if (error) return talk_fail(t, "%s", error);
    bool bare = (type == MQTT_SUBACK || (type == MQTT_UNSUBACK && c->version == MQTT_V5)) &&
                !fields_get(&f, "reason");
    if (bare) return talk_fail(t, "say which reasons are expected, one for each topic filter");
    if (type == MQTT_PUBLISH && !fields_get(&f, "topic"))
        return talk_fail(t, "say which topic is expected");
    expect_id(t, c, type, &f);
    if (look(t, c, type, &f, search, &at, &why)) {
        if (got) *got = c->inbox.items[at];
        inbox_take(t, c, at);
        return t->error == NULL;
    }
    struct text want = {.arena = &t->arena};
    packet_print(&want, type, &f);
    return talk_fail(t, "%s expected%s\n    %s\n  arrived:%s%s%s", c->name,
                     search == SEARCH_ANYWHERE ? " (anywhere)" : "", text_string(&want),
                     client_arrived(t, c), *why ? "\n  because " : "", why);
}

bool client_would_match(struct talk *t, struct client *c, unsigned type, const struct fields *words)
{
    struct fields f;
    size_t at;
    const char *why;
    size_t vars = t->vars.count;
    bool found = packet_fields(&t->arena, type, words, &f) == NULL &&
                 look(t, c, type, &f, SEARCH_NEXT, &at, &why);
    t->vars.count = vars;
    return found;
}

bool client_expect_raw(struct talk *t, struct client *c, struct bytes raw)
{
    struct text got = {.arena = &t->arena};
    size_t n = 0, count = 0;
    bool same = true;
    for (; count < c->inbox.count && n < raw.n; count++) {
        struct bytes p = c->inbox.items[count].raw;
        same = same && p.n <= raw.n - n && memcmp(raw.p + n, p.p, p.n) == 0;
        n += p.n;
        text_add_hex(&got, p, SIZE_MAX);
        text_add(&got, " ");
    }
    if (same && n == raw.n) {
        while (count--) inbox_take(t, c, 0);
        return t->error == NULL;
    }
    struct text want = {.arena = &t->arena};
    text_add_hex(&want, raw, SIZE_MAX);
    return talk_fail(t, "%s expected the bytes\n    %s\n  instead of\n    %s\n  arrived:%s",
                     c->name, text_string(&want), text_string(&got), client_arrived(t, c));
}

bool client_expect_nothing(struct talk *t, struct client *c)
{
    if (c->conn == NULL) return talk_fail(t, "%s is not connected", c->name);
    if (c->inbox.count || world_received(c->conn).n)
        return talk_fail(t, "%s expected nothing\n  arrived:%s", c->name, client_arrived(t, c));
    return client_is_open(c) || talk_fail(t, "%s expected nothing, and was closed", c->name);
}

bool client_expect_closed(struct talk *t, struct client *c, const struct fields *words)
{
    if (c->conn == NULL) return talk_fail(t, "%s is not connected", c->name);
    bool told = words->count && c->version == MQTT_V5;
    if (told && !client_expect(t, c, MQTT_DISCONNECT, words, SEARCH_NEXT, NULL)) return false;
    if (c->inbox.count)
        return talk_fail(t, "%s expected the end of the connection\n  arrived:%s", c->name,
                         client_arrived(t, c));
    if (client_is_open(c))
        return talk_fail(t, "%s expected to be closed, and is still open", c->name);
    c->ended = true;
    return true;
}
