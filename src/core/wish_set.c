/* Subscriptions with a filter, of all sessions, on one topic filter, see wished.h.  The shard's
 * thread. */
#include "core/share.h"
#include "core/wished.h"

enum {
    FEW_MAX = 3,   /* on one topic filter */
    LOOK_MAX = 16, /* holders that are looked at for them */
};

/* By which it is looked up; where there are two, the other is asked of what was found. */
static struct filter_expr *leading(const struct wish_filters *f)
{
    return f->prefix ? f->prefix : f->property;
}

static struct wish_set *set_get(struct core *core, struct bytes filter)
{
    struct sub *holder = trie_find_wishes(&core->trie, filter);
    if (holder) return wish_set_of(holder);
    struct filter_set *set = filter_set_new(core->filters, core->cfg.filter_index);
    if (set == NULL) return NULL;
    holder = trie_add_wishes(&core->trie, filter, sizeof(struct wish_set));
    if (holder == NULL) {
        filter_set_free(&set);
        return NULL;
    }
    struct wish_set *ws = wish_set_of(holder);
    ws->set = set;
    list_push(&core->wish_sets, &ws->all);
    return ws;
}

static void set_release(struct core *core, struct wish_set *set)
{
    if (filter_set_stats(set->set)->members) return;
    filter_set_free(&set->set);
    list_del(&set->all);
    trie_del(&core->trie, &set->head);
}

/* So few that each is asked by itself: a set would only cost memory, as there may be very many
 * topic filters with one of them. */
static bool are_few(const struct filter *f)
{
    uint32_t seen = 0, wished = 0;
    for (const struct sub *s = f->subs; s; s = s->filter_next) {
        if (s->kind == SUB_WISHES || ++seen > LOOK_MAX) return false;
        wished += s->wished;
    }
    return wished <= FEW_MAX;
}

static int join(struct wish_set *set, struct wsub *ws)
{
    struct filter_expr *expr = leading(&ws->filters);
    int rc = expr ? filter_set_add(set->set, expr, &ws->member) : 0;
    if (expr == NULL || rc < 0) return rc;
    ws->among = set;
    trie_hide(&ws->head.sub);
    return 0;
}

void wish_set_join(struct core *core, struct wsub *ws, struct bytes filter)
{
    const struct filter *f = ws->head.sub.filter;
    ASSERT(ws->among == NULL);
    if (leading(&ws->filters) == NULL || are_few(f)) return;
    struct wish_set *set = set_get(core, filter);
    if (set == NULL) return;
    int rc = join(set, ws);
    struct sub *s = f->subs, *next; /* and those that were few until now */
    for (uint32_t seen = 0; rc == 0 && s && seen < LOOK_MAX; s = next, seen++) {
        next = s->filter_next;
        if (s->wished) rc = join(set, wsub_of(s));
    }
    set_release(core, set);
}

void wish_set_leave(struct core *core, struct wsub *ws)
{
    struct wish_set *set = ws->among;
    if (set == NULL) return;
    ws->among = NULL;
    filter_set_remove(set->set, &ws->member);
    trie_show(&ws->head.sub);
    set_release(core, set);
}

struct matching {
    struct wish_event *event;
    void (*found)(void *ctx, struct wsub *ws);
    void *ctx;
};

static void member_found(void *ctx, struct filter_member *member)
{
    const struct matching *m = ctx;
    struct core *core = m->event->core;
    struct wsub *ws = CONTAINER_OF(member, struct wsub, member);
    enum filter_result result = FILTER_MATCH;
    if (UNLIKELY(ws->filters.prefix && ws->filters.property))
        result = filter_matches(core->filters, ws->filters.property, &m->event->e);
    core->stats.filter_matched += result == FILTER_MATCH;
    core->stats.filter_missed += result == FILTER_MISS;
    core->stats.filter_errors += result == FILTER_ERROR;
    if (result == FILTER_MATCH) m->found(m->ctx, ws);
}

void wish_set_match(struct wish_event *event, struct wish_set *set,
                    void (*found)(void *ctx, struct wsub *ws), void *ctx)
{
    struct matching m = {event, found, ctx};
    const struct filter_set_stats *now = filter_set_stats(set->set), before = *now;
    filter_set_match(set->set, wish_event_get(event), member_found, &m);
    uint64_t errors = now->errors - before.errors;
    event->core->stats.filter_errors += errors;
    event->core->stats.filter_missed +=
        now->asked - before.asked - (now->matched - before.matched) - errors;
}

/* ---- the configuration has changed ---- */

static bool same_names(const struct core_config *a, const struct core_config *b)
{
    if (a->named_filter_count != b->named_filter_count) return false;
    for (size_t i = 0; i < a->named_filter_count; i++)
        if (strcmp(a->named_filters[i].name, b->named_filters[i].name) != 0 ||
            strcmp(a->named_filters[i].text, b->named_filters[i].text) != 0)
            return false;
    return true;
}

static void renew(struct core *core, struct wsub *ws)
{
    struct wish w;
    struct wish_filters filters = wish_filters_ref(&ws->filters);
    wish_get(bytes_of(ws->block, ws->block_len), &w);
    if (wish_filters_renew(core, &w, &filters)) {
        wish_set_leave(core, ws);
        wish_filters_fini(core, &ws->filters);
        ws->filters = wish_filters_ref(&filters);
        uint8_t *text = core_scratch(core, SCRATCH_TOPIC, MQTT_TOPIC_MAX);
        size_t n = text ? trie_filter_text(&ws->head.sub, (char *)text) : 0;
        if (text) wish_set_join(core, ws, bytes_of(text, n));
    }
    wish_filters_fini(core, &filters);
}

void wishes_configure(struct core *core, const struct core_config *before)
{
    for (struct list *l = core->wish_sets.next; l != &core->wish_sets; l = l->next)
        filter_set_use_index(CONTAINER_OF(l, struct wish_set, all)->set, core->cfg.filter_index);
    if (same_names(before, &core->cfg)) return;
    core->name_missed = 0;
    for (uint32_t i = 0; i < core->slot_count; i++) {
        const struct session *s = core->slots[i].session;
        for (struct sub *sub = s && s->wish_count ? s->subs : NULL; sub; sub = sub->owner_next)
            if (sub->wished && wsub_of(sub)->filters.named) renew(core, wsub_of(sub));
    }
    share_configure(core);
    core->generation++;
}
