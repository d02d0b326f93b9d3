/* Blocks of `history`: the directive begins one, its limits follow.  Main thread. */
#include <string.h>

#include "base/mem.h"
#include "conf_int.h"
#include "mqtt/topic.h"

enum { DAY_MS = 86400 * 1000 };

static bool is_known(const struct conf *c, const char *filter)
{
    for (size_t i = 0; i < c->core.history_count; i++)
        if (strcmp(c->histories[i].filter, filter) == 0) return true;
    return false;
}

int conf_apply_history(struct conf_reader *r, const struct conf_directive *d, const char *value)
{
    struct conf *c = r->conf;
    struct bytes filter = bytes_str(value);
    if (!mqtt_topic_filter_ok(filter, MQTT_TOPIC_LEVELS_DEFAULT) || bytes_starts(filter, "$share/"))
        return conf_fail(r, E_INVALID, "'%s' cannot be '%s': use %s", d->name, value, d->values);
    if (is_known(c, value))
        return conf_fail(r, E_INVALID, "there is a history of '%s' already", value);
    if (c->core.history_count == CONF_MAX_HISTORIES)
        return conf_fail(r, E_INVALID, "there are %d histories already: more are not possible",
                         CONF_MAX_HISTORIES);
    if (c->histories == NULL) c->histories = mem_calloc(CONF_MAX_HISTORIES, sizeof *c->histories);
    char *copy = c->histories ? mem_strndup(value, strlen(value)) : NULL;
    if (copy == NULL) return E_NOMEM;
    c->histories[c->core.history_count++] = (struct core_history){
        .filter = copy, .max_age_ms = UINT64_C(7) * DAY_MS, .max_bytes = UINT64_C(1) << 30};
    c->core.histories = c->histories;
    return 0;
}

int conf_apply_history_limit(struct conf_reader *r, const struct conf_directive *d,
                             const char *value)
{
    struct conf *c = r->conf;
    int64_t v = 0;
    if (r->line == 0) return 0; /* the default, which a new block has */
    if (c->core.history_count == 0)
        return conf_fail(r, E_INVALID, "'%s' belongs below a 'history FILTER'", d->name);
    struct core_history *h = &c->histories[c->core.history_count - 1];
    bool lasts = strcmp(d->name, "history_max_age") == 0,
         dedups = strcmp(d->name, "history_dedup_window") == 0;
    int rc = lasts || dedups                             ? conf_parse_duration(value, &v)
             : strcmp(d->name, "history_max_bytes") == 0 ? conf_parse_size(value, &v)
                                                         : conf_parse_number(value, &v);
    bool counts = strcmp(d->name, "history_max_per_topic") == 0;
    if (rc < 0 || v < 0 || (counts && v > INT32_MAX))
        return conf_fail(r, E_INVALID, "'%s' cannot be '%s': use %s", d->name, value, d->values);
    if (counts)
        h->max_per_topic = (uint32_t)v;
    else if (dedups)
        h->dedup_window_ms = (uint64_t)v;
    else if (lasts)
        h->max_age_ms = (uint64_t)v;
    else
        h->max_bytes = (uint64_t)v;
    return 0;
}

void conf_histories_fini(struct conf *c)
{
    for (size_t i = 0; i < c->core.history_count; i++)
        mem_free(
            (char *)(uintptr_t)c->histories[i].filter); /* ours, though the core must not write */
    mem_free(c->histories);
}
