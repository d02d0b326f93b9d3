/* Payloads as JSON, read once an event and only if an expression asks.  Jansson reads and checks
 * them (UTF-8, duplicates); size, depth and how many values there are is bounded here before, as it
 * takes memory and time for each. */
#include <jansson.h>

#include "filters/expr.h"

struct extent {
    uint32_t depth, values;
};

/* Brackets, and what begins an element or a member, outside of strings; up to just beyond the
 * limits.  What is no JSON is found out later. */
static struct extent measure(struct bytes t, uint32_t depth_max, uint32_t values_max)
{
    struct extent e = {0, 1};
    uint32_t depth = 0;
    bool string = false;
    for (size_t i = 0; i < t.n && e.depth <= depth_max && e.values <= values_max; i++) {
        uint8_t c = t.p[i];
        bool opens = c == '{' || c == '[';
        if (c == '"') string = !string;
        if (string) {
            i += c == '\\';
            continue;
        }
        if ((c == '}' || c == ']') && depth) depth--;
        if (opens) e.depth = (uint32_t)max_u64(e.depth, ++depth);
        e.values += opens || c == ',';
    }
    return e;
}

void json_forget(struct filter_store *s)
{
    json_decref(s->json);
    s->json = NULL;
    s->json_tried = false;
}

struct json_t *json_of_event(struct filter_store *s, struct filter_event *event)
{
    struct bytes t = event->payload;
    if (s->json_tried || t.p == NULL) return s->json;
    s->json_tried = true;
    struct extent e = {0};
    if (t.n <= s->settings.json_bytes)
        e = measure(t, s->settings.json_depth, s->settings.json_values);
    if (t.n > s->settings.json_bytes || e.values > s->settings.json_values) {
        s->stats.json_large++;
        return NULL;
    }
    /* Numbers of any length are JSON, and so is a NUL in a text. */
    enum {
        FLAGS = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL
    };
    json_error_t why;
    s->stats.json_read++;
    if (e.depth <= s->settings.json_depth)
        s->json = json_loadb((const char *)t.p, t.n, FLAGS, &why);
    if (s->json == NULL) s->stats.json_bad++;
    return s->json;
}

static enum found value_of(const json_t *j, struct filter_value *out)
{
    if (j == NULL) return FOUND_MISSING;
    switch (json_typeof(j)) {
    case JSON_NULL: return FOUND_MISSING;
    case JSON_TRUE:
    case JSON_FALSE: *out = value_bool(json_is_true(j)); return FOUND_VALUE;
    case JSON_STRING:
        *out = value_string(bytes_of(json_string_value(j), json_string_length(j)));
        return FOUND_VALUE;
    case JSON_INTEGER:
    case JSON_REAL: {
        double d = json_number_value(j);
        if (d >= INT32_MIN && d <= INT32_MAX && (int32_t)d == d)
            *out = value_int((int32_t)d);
        else
            *out = value_decimal(d);
        return FOUND_VALUE;
    }
    default: return FOUND_UNUSABLE;
    }
}

enum found json_path(struct filter_store *s, struct filter_event *event,
                     const struct filter_tree *e, const struct node *n, struct filter_value *out)
{
    const json_t *j = json_of_event(s, event);
    for (uint32_t i = n->first; i && j; i = e->nodes[i].next) {
        const struct node *step = &e->nodes[i];
        struct bytes key = step->value.string;
        if (step->element)
            j = json_array_get(j, (size_t)step->index);
        else
            j = json_object_getn(j, (const char *)key.p, key.n);
    }
    return value_of(j, out);
}

enum found json_member(struct filter_store *s, struct filter_event *event, struct bytes name,
                       struct filter_value *out)
{
    return value_of(json_object_getn(json_of_event(s, event), (const char *)name.p, name.n), out);
}
