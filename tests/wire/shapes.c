/* What each packet looks like in words: its positional words, its fields and their defaults; and
 * the comparison of an expectation with a packet.  See codec.h. */
#include "tests/wire/codec.h"

struct shape {
    unsigned type;
    const char *name;
    const char *positional[2]; /* the last of them may be repeated when repeats */
    bool repeats;
    const char *fields; /* other names, beside properties; name:0 has a default */
};

static const struct shape shapes[] = {
    {MQTT_CONNECT,
     "connect",
     {0},
     false,
     " id username password clean:1 keepalive:0 bridge will.topic will.payload will.qos "
     "will.retain "},
    {MQTT_CONNACK, "connack", {"reason"}, false, " reason:0 session-present:0 "},
    {MQTT_PUBLISH,
     "publish",
     {"topic", "payload"},
     false,
     " id topic payload qos:0 retain:0 dup:0 "},
    {MQTT_PUBACK, "puback", {"reason"}, false, " id reason:0 "},
    {MQTT_PUBREC, "pubrec", {"reason"}, false, " id reason:0 "},
    {MQTT_PUBREL, "pubrel", {"reason"}, false, " id reason:0 "},
    {MQTT_PUBCOMP, "pubcomp", {"reason"}, false, " id reason:0 "},
    {MQTT_SUBSCRIBE, "subscribe", {"filter"}, true, " id filter qos nl rap rh "},
    {MQTT_SUBACK, "suback", {"reason"}, true, " id reason "},
    {MQTT_UNSUBSCRIBE, "unsubscribe", {"filter"}, true, " id filter "},
    {MQTT_UNSUBACK, "unsuback", {"reason"}, true, " id reason "},
    {MQTT_PINGREQ, "pingreq", {0}, false, " "},
    {MQTT_PINGRESP, "pingresp", {0}, false, " "},
    {MQTT_DISCONNECT, "disconnect", {"reason"}, false, " reason:0 "},
    {MQTT_AUTH, "auth", {"reason"}, false, " reason:0 "},
};

unsigned packet_type(struct bytes name)
{
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        if (bytes_eq(name, bytes_str(shapes[i].name))) return shapes[i].type;
    return 0;
}

static const struct shape *shape_of(unsigned type)
{
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        if (shapes[i].type == type) return &shapes[i];
    return NULL;
}

void packet_print(struct text *out, unsigned type, const struct fields *f)
{
    const struct shape *s = shape_of(type);
    text_add(out, "%s", s ? s->name : "?");
    fields_print(out, f);
    const struct field *reason = fields_get(f, "reason");
    if (reason && reason->is_number && reason->number && type != MQTT_SUBACK)
        text_add(out, " (%s)", mqtt_reason_name((uint8_t)reason->number));
}

/* Where the name stands in the list of a shape; NULL: nowhere. */
static const char *listed(const struct shape *s, struct bytes name)
{
    for (const char *p = s->fields; (p = strchr(p, ' ')) != NULL && p[1]; p++)
        if (strncmp(p + 1, (const char *)name.p, name.n) == 0 &&
            (p[1 + name.n] == ' ' || p[1 + name.n] == ':'))
            return p + 1;
    return NULL;
}

static bool known(const struct shape *s, struct bytes name)
{
    if (name.n == 0) return false;
    if (s->type == MQTT_CONNECT && bytes_starts(name, "will.") && prop_id(bytes_skip(name, 5)))
        return true;
    return listed(s, name) || prop_id(name) || bytes_eq(name, bytes_str("props"));
}

static void add_defaults(struct arena *a, const struct shape *s, struct fields *f)
{
    for (const char *p = s->fields; (p = strchr(p, ':')) != NULL; p++) {
        const char *start = p;
        while (start[-1] != ' ') start--;
        char *name = arena_printf(a, "%.*s", (int)(p - start), start);
        if (!fields_get(f, name)) fields_add_number(a, f, name, (uint64_t)(p[1] - '0'));
    }
    if (s->type == MQTT_PUBLISH && !fields_get(f, "payload"))
        fields_add_bytes(a, f, "payload", (struct bytes){0});
}

const char *packet_fields(struct arena *a, unsigned type, const struct fields *words,
                          struct fields *out)
{
    const struct shape *s = shape_of(type);
    size_t place = 0;
    *out = (struct fields){0};
    for (size_t i = 0; i < words->count; i++) {
        struct field f = words->items[i];
        if (f.name.n == 0) {
            const char *name = place < 2 ? s->positional[place] : NULL;
            if (name == NULL)
                return arena_printf(a, "%s has no place for the word '%.*s'", s->name,
                                    (int)f.text.n, (const char *)f.text.p);
            f.name = bytes_str(name);
            if (!s->repeats) place++;
        } else if (!known(s, f.name)) {
            return arena_printf(a, "%s has no field %.*s (quote it if it is a text)", s->name,
                                (int)f.name.n, (const char *)f.name.p);
        }
        fields_add(a, out, f);
    }
    add_defaults(a, s, out);
    return NULL;
}

/* ---- comparing ---- */

struct comparison {
    struct arena *arena;
    const struct fields *expected, *got;
    struct fields *vars;
    struct fields seen; /* variables that this packet would set */
    const char *why;
};

static bool differs(struct comparison *c, const struct field *f, const char *how)
{
    struct text t = {.arena = c->arena};
    text_add(&t, "%.*s %s", (int)f->name.n, (const char *)f->name.p, how);
    c->why = text_string(&t);
    return false;
}

static bool captured(struct comparison *c, const struct field *f, const struct field *got)
{
    char *name = arena_printf(c->arena, "%.*s", (int)f->text.n, (const char *)f->text.p);
    const struct field *old = fields_get(c->vars, name);
    if (old)
        return field_equal(&(struct field){.text = old->text, .key = got->key},
                           &(struct field){.text = got->text, .key = got->key});
    struct field var = *got;
    var.name = bytes_str(name);
    fields_add(c->arena, &c->seen, var);
    return true;
}

static const struct field *nth(const struct fields *f, struct bytes name, size_t n)
{
    for (size_t i = 0; i < f->count; i++)
        if (bytes_eq(f->items[i].name, name) && n-- == 0) return &f->items[i];
    return NULL;
}

/* Subscription identifiers have no order among themselves. */
static bool anywhere(const struct fields *got, const struct field *f)
{
    for (size_t i = 0; i < got->count; i++)
        if (bytes_eq(got->items[i].name, f->name) && field_equal(&got->items[i], f)) return true;
    return false;
}

/* The nth expectation of this name. */
static bool compare_one(struct comparison *c, const struct field *f, size_t n)
{
    const struct field *got = nth(c->got, f->name, n);
    if (f->mode == FIELD_ABSENT) {
        if (bytes_eq(f->name, bytes_str("props"))) {
            for (size_t i = 0; i < c->got->count; i++)
                if (prop_id(c->got->items[i].name))
                    return differs(c, &c->got->items[i], "should be absent");
            return true;
        }
        return got ? differs(c, f, "should be absent") : true;
    }
    if (got == NULL) return differs(c, f, "is missing");
    if (f->mode == FIELD_ANY) return true;
    if (nth(c->expected, f->name, n + 1) == NULL && nth(c->got, f->name, n + 1))
        return differs(c, f, "is there more often");
    if (f->mode == FIELD_CAPTURE)
        return captured(c, f, got) || differs(c, f, "differs from what was remembered");
    if (field_is(f, "subscription-id") ? anywhere(c->got, f) : field_equal(f, got)) return true;
    return differs(c, f, "differs");
}

bool packet_matches(struct arena *a, unsigned type, const struct fields *expected,
                    const struct packet *p, struct fields *vars, const char **why)
{
    struct comparison c = {.arena = a, .expected = expected, .got = &p->fields, .vars = vars};
    *why = p->error ? p->error : "it is another packet";
    if (p->error || p->type != type) return false;
    for (size_t i = 0; i < expected->count; i++) {
        size_t n = 0;
        for (size_t k = 0; k < i; k++)
            n += bytes_eq(expected->items[k].name, expected->items[i].name);
        if (!compare_one(&c, &expected->items[i], n)) {
            *why = c.why;
            return false;
        }
    }
    for (size_t i = 0; i < c.seen.count; i++) fields_add(a, vars, c.seen.items[i]);
    return true;
}
