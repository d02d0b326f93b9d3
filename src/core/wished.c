/* What becomes of wishes, see wished.h. */
#include "core/wished.h"

#include "core/replay.h"
#include <stdio.h>

/* ---- filters ---- */

/* The text of a named filter, p == NULL when there is none of that name. */
static struct bytes named_filter(const struct core_config *cfg, struct bytes name)
{
    for (size_t i = 0; i < cfg->named_filter_count; i++)
        if (bytes_eq(name, bytes_str(cfg->named_filters[i].name)))
            return bytes_str(cfg->named_filters[i].text);
    return (struct bytes){0};
}

static int compile(struct core *core, struct bytes text, struct filter_expr **out, bool *named,
                   struct filter_error *error)
{
    struct filter_limits limits = FILTER_LIMITS_DEFAULT;
    if (core->cfg.filter_max_length) limits.text_bytes = core->cfg.filter_max_length;
    if (core->cfg.filter_max_predicates) limits.predicates = core->cfg.filter_max_predicates;
    if (bytes_starts(text, "@")) {
        *named = true;
        text = named_filter(&core->cfg, bytes_skip(text, 1));
        if (text.p == NULL) {
            *error = (struct filter_error){.fault = FILTER_FAULT_NAME, .column = 1};
            snprintf(error->detail, sizeof error->detail, "no filter of this name is configured");
            return E_INVALID;
        }
        limits = FILTER_LIMITS_CONFIGURED;
    }
    return filter_compile(core->filters, text, &limits, out, error);
}

int wish_filters_init(struct core *core, const struct wish *w, struct wish_filters *out,
                      struct filter_error *error, struct bytes *text)
{
    *out = (struct wish_filters){0};
    if (w->expr.p) {
        uint8_t *room = core_scratch(core, SCRATCH_PROPS, w->expr.n);
        if (room == NULL) return E_NOMEM;
        int rc = wish_decode(w->expr, room, text);
        if (rc == 0) rc = compile(core, *text, &out->prefix, &out->named, error);
        if (rc < 0) return rc;
    }
    if (w->filter.p == NULL) return 0;
    *text = w->filter;
    int rc = compile(core, *text, &out->property, &out->named, error);
    if (rc < 0) wish_filters_fini(core, out);
    return rc;
}

int wish_filters_again(struct core *core, const struct wish *w, struct wish_filters *out)
{
    struct filter_error error = {0};
    struct bytes text = {0};
    int rc = wish_filters_init(core, w, out, &error, &text);
    if (rc == E_NOMEM) return rc;
    if (rc == 0) return 0;
    bool named = rc == E_INVALID && error.fault == FILTER_FAULT_NAME;
    *out = (struct wish_filters){.broken = true, .named = named};
    uint64_t hash = hash_bytes(text, core->seed);
    if (named && hash == core->name_missed) return 0; /* many may use it: it is said once */
    if (named) core->name_missed = hash;
    core_log(core, LOG_T_WARNING,
             "A filter that was accepted before is not valid any more; its subscription gets "
             "nothing: %.*s%s%s",
             named ? (int)min_u64(text.n, 200) : 0, (const char *)text.p, named ? ": " : "",
             rc == E_INVALID ? error.detail : "bad escapes");
    return 0;
}

bool wish_filters_renew(struct core *core, const struct wish *w, struct wish_filters *f)
{
    struct filter_error error;
    struct bytes text;
    struct wish_filters now;
    if (wish_filters_init(core, w, &now, &error, &text) < 0) return false;
    wish_filters_fini(core, f);
    *f = now;
    return true;
}

struct wish_filters wish_filters_ref(const struct wish_filters *f)
{
    if (f->prefix) (void)filter_expr_ref(f->prefix);
    if (f->property) (void)filter_expr_ref(f->property);
    return *f;
}

void wish_filters_fini(struct core *core, struct wish_filters *f)
{
    filter_expr_unref(core->filters, f->prefix);
    filter_expr_unref(core->filters, f->property);
    *f = (struct wish_filters){0};
}

/* ---- messages ---- */

static bool next_attribute(void *ctx, size_t *cursor, struct bytes *name,
                           struct filter_value *value)
{
    const struct pub *p = ctx;
    struct mqtt_prop prop;
    while (mqtt_props_next(p->props, cursor, &prop)) {
        if (prop.id != MQTT_P_USER) continue;
        *name = prop.key;
        *value = (struct filter_value){.type = FILTER_STRING, .string = prop.value};
        return true;
    }
    return false;
}

struct filter_event *wish_event_get(struct wish_event *w)
{
    if (w->made) return &w->e;
    const struct pub *p = w->p;
    struct msg_from who = pub_publisher(p);
    w->e = (struct filter_event){.topic = p->topic,
                                 .payload = p->payload.n ? p->payload : bytes_str(""),
                                 .client_id = who.client_id,
                                 .username = who.username,
                                 .qos = p->qos,
                                 .retain = p->retain,
                                 .has_expiry = p->expiry_s != MQTT_NO_EXPIRY,
                                 .expiry = p->expiry_s,
                                 .attribute = next_attribute,
                                 .ctx = (void *)(uintptr_t)p};
    if (who.client_id.n == 0) w->e.client_id = (struct bytes){0};
    struct mqtt_prop prop;
    for (size_t at = 0; mqtt_props_next(p->props, &at, &prop);) {
        if (prop.id == MQTT_P_CONTENT_TYPE) w->e.content_type = prop.value;
        if (prop.id == MQTT_P_RESPONSE_TOPIC) w->e.response_topic = prop.value;
    }
    w->made = true;
    return &w->e;
}

bool wish_passes(struct wish_event *event, const struct wish_filters *f)
{
    struct core *core = event->core;
    const struct filter_expr *const exprs[] = {f->prefix, f->property};
    if (!wish_filters_any(f)) return true;
    struct filter_event *e = wish_event_get(event);
    enum filter_result result = f->broken ? FILTER_ERROR : FILTER_MATCH;
    for (size_t i = 0; i < ARRAY_LEN(exprs) && result == FILTER_MATCH; i++)
        if (exprs[i]) result = filter_matches(core->filters, exprs[i], e);
    core->stats.filter_matched += result == FILTER_MATCH;
    core->stats.filter_missed += result == FILTER_MISS;
    core->stats.filter_errors += result == FILTER_ERROR;
    return result == FILTER_MATCH;
}

/* ---- subscriptions ---- */

uint64_t wished_variant(const struct core *core, const struct wish *w)
{
    return w->prefix.n ? hash_bytes(w->prefix, core->seed) | 1 : 0;
}

int wished_set(struct core *core, struct wsub *ws, const struct wish *w,
               const struct wish_filters *filters)
{
    size_t size = wish_size(w);
    uint8_t *block = mem_alloc(size);
    if (block == NULL) return E_NOMEM;
    wish_put(block, w);
    struct wish_filters new = wish_filters_ref(filters);
    wished_fini(core, ws);
    ws->block = block;
    ws->block_len = (uint32_t)size;
    ws->filters = new;
    return 0;
}

void wished_fini(struct core *core, struct wsub *ws)
{
    wish_set_leave(core, ws);
    replay_end(ws);
    mem_free(ws->block);
    ws->block = NULL;
    wish_filters_fini(core, &ws->filters);
}
