/* Random filters and random events for them, by seed: small pools, so that they meet. */
#ifndef TESTS_UNIT_FILTERS_RANDOM_H
#define TESTS_UNIT_FILTERS_RANDOM_H

#include <stdarg.h>
#include <stdio.h>

#include "base/rng.h"
#include "filters/value.h"

enum { TEXT_ROOM = 4096, PROPS_MAX = 12 };

struct text {
    char p[TEXT_ROOM];
    size_t n;
};

PRINTF_LIKE(2, 3) static void say(struct text *t, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(t->p + t->n, sizeof t->p - t->n, fmt, args);
    va_end(args);
    t->n = min_u64(t->n + (size_t)n, sizeof t->p - 1);
}

static size_t below(struct rng *r, size_t n) { return (size_t)(rng_next(r) % n); }

#define PICK(r, list) ((list)[below((r), ARRAY_LEN(list))])

static const char *const attr_pool[] = {
    "a",
    "b",
    "c",
    "d",
    "a",
    "b",
    "`X-1`",
    "payload.p",
    "payload.q[0]",
    "payload.o.k",
    "mqtt.qos",
    "mqtt.retain",
    "topic[0]",
    "topic[-1]",
    "mqtt.topic",
    "mqtt.size",
    "mqtt.expiry",
    "mqtt.client_id",
    "mqtt.payload",
    "datacontenttype",
    "mqtt.levels",
    "payload.p",
};
static const char *const literal_pool[] = {
    "0",    "1",     "2",   "-1",    "5",    "30",     "1.0",    "1.5", "0.0",  "'x'",   "'y'",
    "'xy'", "'xyz'", "'1'", "'1.5'", "'05'", "'true'", "'TRUE'", "''",  "TRUE", "FALSE", "'5'",
};
static const char *const number_pool[] = {"0", "1", "2", "-1", "5", "30", "1.0", "1.5", "'2'"};
static const char *const pattern_pool[] = {"x",  "x%", "%y",  "x%z", "%",    "_",    "xy%", "%xy%",
                                           "1%", "%5", "x_z", "",    "\\%%", "%\\_", "x\\", "xyz%"};
static const char *const value_pool[] = {"x",    "y",    "xy", "xyz", "1",  "1.5", "05",
                                         "true", "TRUE", "",   "-1",  "+1", "1e0", "abc",
                                         "%",    "x_z",  "5",  "30",  "2",  "0"};
static const char *const compare_pool[] = {"=", "=", "=", "!=", "<>", "<", "<=", ">", ">="};
static const char *const payload_pool[] = {
    "",
    "x",
    "{\"p\":1,\"q\":[\"x\"],\"o\":{\"k\":true}}",
    "{\"p\":\"x\",\"q\":[5],\"o\":{\"k\":1.5}}",
    "{\"p\":null,\"q\":{},\"o\":{\"k\":\"1\"}}",
    "{\"p\":[1],\"a\":1,\"b\":\"x\",\"n7\":5,\"n8\":\"xyz\"}",
    "{\"a\":true,\"c\":30,\"d\":1.5,\"o\":5}",
};
static const char *const type_pool[] = {"x", "application/cloudevents+json", "application/json"};

static void say_attr(struct rng *r, struct text *t)
{
    if (below(r, 4) == 0)
        say(t, "n%zu", below(r, 60));
    else
        say(t, "%s", PICK(r, attr_pool));
}

static void say_in(struct rng *r, struct text *t)
{
    say_attr(r, t);
    say(t, " %sIN (", below(r, 3) ? "" : "NOT ");
    for (size_t i = 0, n = 1 + below(r, 5); i < n; i++)
        say(t, "%s%s", i ? ", " : "", PICK(r, literal_pool));
    say(t, ")");
}

static void say_odd(struct rng *r, struct text *t)
{
    static const char *const odd[] = {
        "IS_INT(a)",
        "LOWER(b) = 'x'",
        "LENGTH(c) > 1",
        "a + 1 > 1",
        "a = b",
        "(a = 1) = TRUE",
        "1 / 0 = 1",
        "1 + 1 = 2",
        "CONCAT('x', 'y') = 'xy'",
        "TRUE",
        "FALSE",
        "BOOL(d)",
        "-c < 0",
        "d LIKE '%x%'",
        "1 = a",
        "'x' = b",
        "1 IN (a, 1)",
        "a IN ('x', b)",
        "1 IN (1, a)",
        "a IN (b, 1)",
        "payload.p = a",
        "(c AND d) = TRUE",
        "UPPER('x') = 'X'",
        "ABS(a) = 1",
        "'1' = 1",
        "a = 2 - 1",
    };
    say(t, "%s", PICK(r, odd));
}

static void say_leaf(struct rng *r, struct text *t)
{
    switch (below(r, 12)) {
    case 0: say(t, "EXISTS "), say_attr(r, t); return;
    case 1:
        say_attr(r, t);
        say(t, " %sLIKE '%s'", below(r, 3) ? "" : "NOT ", PICK(r, pattern_pool));
        return;
    case 2: say_in(r, t); return;
    case 3: say_odd(r, t); return;
    case 4:
        say(t, "%s %s ", PICK(r, number_pool), PICK(r, compare_pool));
        say_attr(r, t);
        return;
    default: say_attr(r, t); say(t, " %s %s", PICK(r, compare_pool), PICK(r, literal_pool));
    }
}

static void say_bool(struct rng *r, struct text *t, unsigned depth)
{
    static const char *const ops[] = {"AND", "AND", "AND", "OR", "OR", "XOR"};
    size_t kind = below(r, 10);
    if (depth == 0 || kind < 2) {
        say_leaf(r, t);
    } else if (kind == 2) {
        say(t, "NOT (");
        if (below(r, 4))
            say_bool(r, t, depth - 1);
        else
            say_attr(r, t);
        say(t, ")");
    } else if (kind == 3) {
        const char *a = PICK(r, attr_pool);
        say(t, "%s >= %s AND %s < %s", a, PICK(r, number_pool), a, PICK(r, number_pool));
    } else {
        const char *op = PICK(r, ops);
        for (size_t i = 0, n = 2 + below(r, 2); i < n; i++) {
            say(t, "%s%s%s", i ? " " : "", i ? op : "", i ? " " : "");
            if (below(r, 12) == 0) {
                say_attr(r, t); /* for its truth */
                continue;
            }
            say(t, "(");
            say_bool(r, t, depth - 1);
            say(t, ")");
        }
    }
}

struct props {
    const char *pairs[PROPS_MAX][2];
    size_t count;
    char names[PROPS_MAX][8];
};

static bool next_prop(void *ctx, size_t *cursor, struct bytes *name, struct filter_value *value)
{
    const struct props *p = ctx;
    if (*cursor >= p->count) return false;
    *name = bytes_str(p->pairs[*cursor][0]);
    *value = value_string(bytes_str(p->pairs[*cursor][1]));
    ++*cursor;
    return true;
}

static void random_event(struct rng *r, struct props *p, struct filter_event *e)
{
    static const char *const names[] = {"a", "b", "c", "d", "X-1", "x-1", "datacontenttype"};
    p->count = below(r, PROPS_MAX);
    for (size_t i = 0; i < p->count; i++) {
        snprintf(p->names[i], sizeof p->names[i], "n%u", (unsigned)below(r, 60));
        p->pairs[i][0] = below(r, 3) ? PICK(r, names) : p->names[i];
        p->pairs[i][1] = PICK(r, value_pool);
    }
    *e = (struct filter_event){.topic = bytes_str(below(r, 2) ? "x/1/y" : "xyz"),
                               .payload = bytes_str(PICK(r, payload_pool)),
                               .qos = (uint8_t)below(r, 3),
                               .retain = below(r, 2),
                               .has_expiry = below(r, 2),
                               .expiry = (uint32_t)below(r, 40),
                               .attribute = next_prop,
                               .ctx = p};
    if (below(r, 2)) e->content_type = bytes_str(PICK(r, type_pool));
    if (below(r, 2)) e->client_id = bytes_str("xy");
}

static void print_event(const struct props *p, const struct filter_event *e)
{
    fprintf(stderr, "  topic %.*s, payload %.*s, type %.*s, qos %u, retain %d, expiry %d %u\n",
            (int)e->topic.n, (const char *)e->topic.p, (int)e->payload.n,
            (const char *)e->payload.p, (int)e->content_type.n, (const char *)e->content_type.p,
            e->qos, e->retain, e->has_expiry, e->expiry);
    for (size_t i = 0; i < p->count; i++)
        fprintf(stderr, "  %s = '%s'\n", p->pairs[i][0], p->pairs[i][1]);
}

#endif
