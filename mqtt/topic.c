/* Topic names and filters (5.0 section 4.7, 4.8.2): syntax and matching.  No state; any thread. */
#include "mqtt/topic.h"

/* What names and filters have in common: length, depth, text. */
static bool topic_text_ok(struct bytes t, unsigned max_levels)
{
    if (t.n == 0 || t.n > MQTT_TOPIC_MAX) return false; /* [MQTT-4.7.3-1], [MQTT-4.7.3-3] */
    unsigned levels = 1;
    for (size_t i = 0; i < t.n; i++) levels += t.p[i] == '/';
    return levels <= max_levels && bytes_is_utf8(t); /* [MQTT-4.7.3-2] */
}

bool mqtt_topic_has_wildcard(struct bytes filter)
{
    for (size_t i = 0; i < filter.n; i++)
        if (filter.p[i] == '+' || filter.p[i] == '#') return true;
    return false;
}

bool mqtt_topic_name_ok(struct bytes topic, unsigned max_levels)
{
    return topic_text_ok(topic, max_levels) && !mqtt_topic_has_wildcard(topic);
}

bool mqtt_topic_filter_ok(struct bytes filter, unsigned max_levels)
{
    if (!topic_text_ok(filter, max_levels)) return false;
    const uint8_t *p = filter.p;
    for (size_t i = 0; i < filter.n; i++) {
        if (p[i] != '+' && p[i] != '#') continue;
        if (i > 0 && p[i - 1] != '/') return false;
        if (i + 1 == filter.n) continue;
        if (p[i] == '#' || p[i + 1] != '/') return false; /* [MQTT-4.7.1-1], [MQTT-4.7.1-2] */
    }
    return true;
}

/* Takes the next level; false when the last one has been taken. */
struct levels {
    struct bytes rest;
    bool done;
};

static bool levels_next(struct levels *l, struct bytes *level)
{
    if (l->done) return false;
    const uint8_t *slash = l->rest.n ? memchr(l->rest.p, '/', l->rest.n) : NULL;
    l->done = slash == NULL;
    size_t n = slash ? (size_t)(slash - l->rest.p) : l->rest.n;
    *level = bytes_of(l->rest.p, n);
    if (slash) l->rest = bytes_skip(l->rest, n + 1);
    return true;
}

static bool level_is(struct bytes level, char wildcard)
{
    return level.n == 1 && level.p[0] == wildcard;
}

bool mqtt_topic_matches(struct bytes filter, struct bytes topic)
{
    if (topic.n && topic.p[0] == '$' && filter.n && (filter.p[0] == '+' || filter.p[0] == '#'))
        return false; /* [MQTT-4.7.2-1] */
    struct levels wanted = {filter, false}, given = {topic, false};
    struct bytes want, have;
    while (levels_next(&wanted, &want)) {
        if (level_is(want, '#')) return true; /* also the parent: 4.7.1.2 */
        if (!levels_next(&given, &have)) return false;
        if (!level_is(want, '+') && !bytes_eq(want, have)) return false; /* [MQTT-4.7.3-4] */
    }
    return given.done;
}

int mqtt_share_split(struct bytes whole, struct bytes *group, struct bytes *filter)
{
    if (!bytes_starts(whole, "$share/")) return E_NOTFOUND;
    struct levels rest = {bytes_skip(whole, strlen("$share/")), false};
    struct bytes name;
    bool any = levels_next(&rest, &name);
    if (!any || name.n == 0 || mqtt_topic_has_wildcard(name)) return E_TOPIC_FILTER;
    if (rest.done || rest.rest.n == 0) return E_TOPIC_FILTER; /* [MQTT-4.8.2-1], [MQTT-4.8.2-2] */
    *group = name;
    *filter = rest.rest;
    return 0;
}
