/* What a name or path of an expression is in the event at hand. */
#include <strings.h>

#include "filters/form.h"

static enum found text_found(struct bytes text, struct filter_value *out)
{
    if (text.p == NULL) return FOUND_MISSING;
    *out = value_string(text);
    return FOUND_VALUE;
}

static int32_t level_count(struct bytes topic)
{
    int32_t count = 1;
    for (size_t i = 0; i < topic.n; i++) count += topic.p[i] == '/';
    return count;
}

static enum found level_found(struct bytes topic, int32_t index, struct filter_value *out)
{
    if (topic.p == NULL) return FOUND_MISSING;
    if (index < 0) index += level_count(topic);
    if (index < 0) return FOUND_MISSING;
    for (;;) {
        const uint8_t *slash = topic.n ? memchr(topic.p, '/', topic.n) : NULL;
        size_t n = slash ? (size_t)(slash - topic.p) : topic.n;
        if (index-- == 0) return text_found(bytes_of(topic.p, n), out);
        if (slash == NULL) return FOUND_MISSING;
        topic = bytes_skip(topic, n + 1);
    }
}

/* application/cloudevents…+json, parameters left aside. */
bool attr_is_envelope(struct bytes type)
{
    static const char head[] = "application/cloudevents", tail[] = "+json";
    const uint8_t *end = type.n ? memchr(type.p, ';', type.n) : NULL;
    if (end) type.n = (size_t)(end - type.p);
    while (type.n && type.p[type.n - 1] == ' ') type.n--;
    size_t h = sizeof head - 1, t = sizeof tail - 1;
    return type.n >= h + t && strncasecmp((const char *)type.p, head, h) == 0 &&
           strncasecmp((const char *)type.p + type.n - t, tail, t) == 0;
}

static enum found name_found(struct run *r, struct bytes name, struct filter_value *out)
{
    struct filter_event *event = r->event;
    struct bytes key;
    size_t cursor = 0;
    while (event->attribute && event->attribute(event->ctx, &cursor, &key, out))
        if (bytes_eq(key, name)) return FOUND_VALUE;
    if (event->content_type.p == NULL) return FOUND_MISSING;
    if (bytes_eq(name, bytes_str("datacontenttype"))) return text_found(event->content_type, out);
    if (!attr_is_envelope(event->content_type)) return FOUND_MISSING;
    return json_member(r->store, event, name, out);
}

enum found attr_find(struct run *r, const struct node *n, struct filter_value *out)
{
    struct filter_event *e = r->event;
    if (n->shared) {
        const struct slot *slot = view_slot(r->store, e, n->shared);
        *out = slot->value;
        return (enum found)slot->found;
    }
    switch (n->attr) {
    case ATTR_NAME: return name_found(r, n->value.string, out);
    case ATTR_PATH: return json_path(r->store, e, r->tree, n, out);
    case ATTR_LEVEL: return level_found(e->topic, n->index, out);
    case ATTR_TOPIC: return text_found(e->topic, out);
    case ATTR_CONTENT_TYPE: return text_found(e->content_type, out);
    case ATTR_RESPONSE_TOPIC: return text_found(e->response_topic, out);
    case ATTR_CLIENT_ID: return text_found(e->client_id, out);
    case ATTR_USERNAME: return text_found(e->username, out);
    case ATTR_PAYLOAD:
        if (e->payload.n && !bytes_is_utf8(e->payload)) return FOUND_UNUSABLE;
        return text_found(e->payload, out);
    case ATTR_LEVELS:
        if (e->topic.p == NULL) return FOUND_MISSING;
        *out = value_int(level_count(e->topic));
        return FOUND_VALUE;
    case ATTR_QOS: *out = value_int(e->qos); return FOUND_VALUE;
    case ATTR_RETAIN: *out = value_bool(e->retain); return FOUND_VALUE;
    case ATTR_SIZE: *out = value_int((int32_t)min_u64(e->payload.n, INT32_MAX)); return FOUND_VALUE;
    default: /* ATTR_EXPIRY */
        if (!e->has_expiry) return FOUND_MISSING;
        *out = e->expiry <= INT32_MAX ? value_int((int32_t)e->expiry) : value_decimal(e->expiry);
        return FOUND_VALUE;
    }
}
