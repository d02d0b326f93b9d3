/* What work queues there are: made by the configuration, by a SUBSCRIBE or by the operator, on the
 * shard that owns the name; and the topics of those elsewhere, see queue.h.  The shard's thread. */
#include "core/queue_int.h"

#include "core/journal.h"

enum interest { INTEREST_QUEUE = 1, INTEREST_REJECTS = 2 };

unsigned wqueue_owner(const struct core *core, struct bytes name)
{
    return core_home(name, core->shards, core->seed);
}

uint64_t wqueue_number(struct bytes name) { return hash_bytes(name, 0); }

uint64_t wqueue_hash(const void *elem, uint64_t seed)
{
    return hash_u64(((const struct wqueue *)elem)->number, seed);
}

struct wqueue *wqueue_numbered(struct core *core, uint64_t number)
{
    uint64_t hash = hash_u64(number, core->seed);
    struct wqueue *q;
    for (size_t pos = hash; (q = ptrmap_next(&core->queues, hash, &pos)) != NULL;)
        if (q->number == number) return q;
    return NULL;
}

struct wqueue *wqueue_find(struct core *core, struct bytes name)
{
    struct wqueue *q = wqueue_numbered(core, wqueue_number(name));
    return q && bytes_eq(wqueue_name(q), name) ? q : NULL;
}

struct wqueue *wqueue_at(const struct core *core, uint32_t slot, uint32_t serial)
{
    struct wqueue *q = slot < core->queue_slot_count ? core->queue_slots[slot] : NULL;
    return q && q->serial == serial ? q : NULL;
}

void wqueue_work(struct wqueue *q)
{
    if (q->work.next == NULL) list_push(&q->core->queue_work, &q->work);
}

/* ---- topics ---- */

/* Tells one shard, or all others, how things stand with a topic filter. */
static void tell_interest(struct core *core, const struct filter *f, struct bytes text)
{
    unsigned state = 0;
    for (const struct sub *s = f->subs; s; s = s->filter_next) {
        if (s->kind != SUB_QUEUE) continue;
        state |= INTEREST_QUEUE;
        if (s->owner.queue->set.overflow == QUEUE_REJECT) state |= INTEREST_REJECTS;
    }
    for (unsigned dst = 0; dst < core->shards; dst++) {
        if (dst == core->shard || core->recovery) continue;
        uint8_t *d = mail_begin(core, dst, MAIL_QUEUE_INTEREST, 8 + text.n);
        if (d) mail_end(core, dst, mail_put_bytes(mail_put_u32(d, state), text));
    }
}

static void set_interest(struct core *core, unsigned shard, struct bytes text, unsigned state)
{
    uintptr_t owner = QUEUE_SHARD_OWNER + shard;
    struct sub *sub = trie_find(&core->trie, text, owner, 0);
    if (state == 0 && sub) trie_del(&core->trie, sub);
    if (state && sub == NULL)
        sub = trie_add(&core->trie, text, SUB_QUEUE_SHARD, owner, &core->remote_subs);
    if (state && sub)
        sub->qos = state & 3;
    else if (state)
        core->stats.dropped_no_memory++;
    core->generation++;
}

bool wqueue_is_new_target(const struct core *core, struct wqueue *q)
{
    bool new = q->route_mark != core->route_serial;
    q->route_mark = core->route_serial;
    return new;
}

bool wqueue_rejects(const struct sub *s)
{
    if (s->kind == SUB_QUEUE) return s->owner.queue->set.overflow == QUEUE_REJECT;
    return s->qos & INTEREST_REJECTS;
}

uint64_t wqueue_shard_bit(const struct sub *s)
{
    return (uint64_t)1 << (s->owner.shard - QUEUE_SHARD_OWNER);
}

void wqueue_interest_in(struct core *core, unsigned src, struct rd *r)
{
    unsigned state = mail_u32(r);
    struct bytes text = mail_bytes(r);
    ASSERT(rd_ok(r));
    set_interest(core, src, text, state);
}

static int hang_topics(struct wqueue *q)
{
    struct core *core = q->core;
    for (uint32_t i = 0; i < q->topic_count; i++) {
        struct bytes text = bytes_str(q->topics[i]);
        if (trie_find(&core->trie, text, (uintptr_t)q, 0)) continue; /* it has it twice */
        q->subs[i] = trie_add(&core->trie, text, SUB_QUEUE, (uintptr_t)q, NULL);
        if (q->subs[i] == NULL) return E_NOMEM;
        tell_interest(core, q->subs[i]->filter, text);
    }
    core->generation++;
    return 0;
}

void wqueue_tell(struct wqueue *q)
{
    for (uint32_t i = 0; i < q->topic_count; i++)
        if (q->subs[i]) tell_interest(q->core, q->subs[i]->filter, bytes_str(q->topics[i]));
}

static void drop_topics(struct wqueue *q)
{
    struct core *core = q->core;
    static const struct filter none = {0};
    for (uint32_t i = 0; i < q->topic_count; i++) {
        if (q->subs == NULL || q->subs[i] == NULL) continue;
        struct filter *f = q->subs[i]->filter;
        bool last = f->subs && f->subs->filter_next == NULL;
        trie_del(&core->trie, q->subs[i]); /* and f when it was the last */
        if (!core->ending) tell_interest(core, last ? &none : f, bytes_str(q->topics[i]));
        q->subs[i] = NULL;
    }
    core->generation++;
}

static void texts_free(struct wqueue *q)
{
    for (uint32_t i = 0; q->topics && i < q->topic_count; i++) mem_free(q->topics[i]);
    mem_free(q->topics);
    mem_free(q->subs);
    mem_free(q->filter);
    q->topics = NULL;
    q->subs = NULL;
    q->filter = NULL;
    q->topic_count = 0;
}

static int texts_copy(struct wqueue *q, const struct queue_conf *conf)
{
    q->topics = mem_calloc(conf->topic_count, sizeof(char *));
    q->subs = mem_calloc(conf->topic_count, sizeof(struct sub *));
    if (q->topics == NULL || q->subs == NULL) return E_NOMEM;
    for (uint32_t i = 0; i < conf->topic_count; i++) {
        q->topics[i] = mem_strndup(conf->topics[i], strlen(conf->topics[i]));
        if (q->topics[i] == NULL) return E_NOMEM;
        q->topic_count++;
    }
    if (conf->filter == NULL) return 0;
    q->filter = mem_strndup(conf->filter, strlen(conf->filter));
    return q->filter ? 0 : E_NOMEM;
}

/* The queue's own filter, compiled. */
static int compile_filter(struct wqueue *q, const char **why)
{
    struct core *core = q->core;
    struct filter_error error;
    struct bytes text;
    struct wish w = {0};
    if (q->filter == NULL) return 0;
    w.filter = bytes_str(q->filter);
    int rc = wish_filters_init(core, &w, &q->filters, &error, &text);
    if (rc == E_INVALID) {
        core_log(core, LOG_T_ERROR, "Queue %s: its filter, column %u: %s", q->name, error.column,
                 error.detail);
        *why = "the queue's filter cannot be understood";
    }
    return rc;
}

/* ---- making and ending ---- */

static bool name_ok(struct bytes name)
{
    return name.n > 0 && name.n <= QUEUE_NAME_MAX && memchr(name.p, '/', name.n) == NULL &&
           mqtt_topic_name_ok(name, 1);
}

static bool conf_ok(const struct core *core, const struct queue_conf *conf, const char **why)
{
    *why = "a queue's name is one level of a topic, of at most 255 bytes";
    if (!name_ok(bytes_str(conf->name))) return false;
    *why = "a queue has 1 to 64 topic filters, each of its own";
    if (conf->topic_count == 0 || conf->topic_count > QUEUE_TOPICS_MAX) return false;
    for (uint32_t i = 0; i < conf->topic_count; i++)
        if (!mqtt_topic_filter_ok(bytes_str(conf->topics[i]), core->cfg.max_topic_levels))
            return false;
    return true;
}

static int take_slot(struct core *core, struct wqueue *q)
{
    uint32_t at = 0;
    while (at < core->queue_slot_count && core->queue_slots[at]) at++;
    if (at == QUEUES_MAX) return E_FULL;
    if (at == core->queue_slot_count) {
        uint32_t count = at ? at * 2 : 16;
        struct wqueue **slots = mem_realloc(core->queue_slots, count * sizeof(struct wqueue *));
        if (slots == NULL) return E_NOMEM;
        memset(slots + at, 0, (count - at) * sizeof(struct wqueue *));
        core->queue_slots = slots;
        core->queue_slot_count = count;
    }
    q->slot = at;
    q->serial = ++core->queue_serial;
    core->queue_slots[at] = q;
    return 0;
}

static uint64_t past_hash(const void *elem, uint64_t seed)
{
    return hash_u64(((const struct qpast *)elem)->seq, seed);
}

static uint64_t dedup_hash(const void *elem, uint64_t seed)
{
    return hash_u64(((const struct qdedup *)elem)->id, seed);
}

static void again_fired(struct timer *t, void *ctx)
{
    (void)ctx;
    wqueue_work(CONTAINER_OF(t, struct wqueue, again));
}

int wqueue_new(struct core *core, const struct queue_conf *conf, uint64_t salt, struct wqueue **out,
               const char **why)
{
    if (!conf_ok(core, conf, why)) return E_INVALID;
    *why = "there are too many queues";
    struct wqueue *q = mem_calloc(1, sizeof *q);
    if (q == NULL) return E_NOMEM;
    q->core = core;
    q->number = wqueue_number(bytes_str(conf->name));
    q->salt = salt;
    q->set = conf->set;
    q->stream = (uint8_t)core->shard;
    q->expiry.fire = wqueue_expiry_fired;
    q->again.fire = again_fired;
    list_init(&q->dedup_order);
    qset_init(&q->entries, core->seed, conf->set.by_key);
    ptrmap_init(&q->pasts, past_hash, core->seed);
    ptrmap_init(&q->dedups, dedup_hash, core->seed);
    q->name = mem_strndup(conf->name, strlen(conf->name));
    int rc = q->name ? take_slot(core, q) : E_NOMEM;
    q->slot = rc < 0 ? UINT32_MAX : q->slot;
    if (rc == 0) rc = ptrmap_put(&core->queues, q, wqueue_hash(q, core->seed));
    if (rc < 0) {
        if (q->slot != UINT32_MAX) core->queue_slots[q->slot] = NULL;
        q->slot = UINT32_MAX;
    }
    if (rc == 0) rc = texts_copy(q, conf);
    if (rc == 0) rc = compile_filter(q, why);
    if (rc == 0) rc = hang_topics(q);
    if (rc < 0) {
        wqueue_free(q);
        return rc;
    }
    *out = q;
    return 0;
}

static void each_free(struct ptrmap *m)
{
    for (size_t i = 0; m->slots && i <= m->mask; i++)
        mem_free((void *)(uintptr_t)(m->slots[i] & 0xffffffffffffu));
    ptrmap_fini(m);
}

void wqueue_free(struct wqueue *q)
{
    struct core *core = q->core;
    drop_topics(q);
    wqueue_seats_free(q);
    for (uint32_t i = 0; i < q->entries.used; i++)
        if (qset_at(&q->entries, i)->seq) wqueue_remove(q, i);
    qset_fini(&q->entries);
    each_free(&q->pasts);
    each_free(&q->dedups);
    if (q->by_seq) ptrmap_fini(q->by_seq);
    mem_free(q->by_seq);
    timer_cancel(&core->timers, &q->expiry);
    timer_cancel(&core->timers, &q->again);
    list_del(&q->work);
    if (q->slot != UINT32_MAX) {
        core->queue_slots[q->slot] = NULL;
        ptrmap_del(&core->queues, q, wqueue_hash(q, core->seed));
    }
    wish_filters_fini(core, &q->filters);
    texts_free(q);
    mem_free(q->jobs);
    mem_free(q->name);
    mem_free(q);
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool is_same(const struct wqueue *q, const struct queue_conf *conf)
{
    if (q->topic_count != conf->topic_count || !same_text(q->filter, conf->filter)) return false;
    for (uint32_t i = 0; i < q->topic_count; i++)
        if (strcmp(q->topics[i], conf->topics[i]) != 0) return false;
    const struct queue_settings *a = &q->set, *b = &conf->set;
    return a->ack_deadline_ms == b->ack_deadline_ms && a->backoff_first_ms == b->backoff_first_ms &&
           a->backoff_most_ms == b->backoff_most_ms && a->message_ttl_ms == b->message_ttl_ms &&
           a->dedup_window_ms == b->dedup_window_ms && a->max_bytes == b->max_bytes &&
           a->max_messages == b->max_messages && a->max_deliveries == b->max_deliveries &&
           a->prefetch == b->prefetch && a->overflow == b->overflow && a->by_key == b->by_key &&
           a->round_robin == b->round_robin;
}

int wqueue_update(struct wqueue *q, const struct queue_conf *conf)
{
    const char *why = "";
    bool by_key = q->set.by_key;
    if (q->configured && is_same(q, conf)) return 0;
    if (!conf_ok(q->core, conf, &why)) return E_INVALID;
    drop_topics(q);
    texts_free(q);
    wish_filters_fini(q->core, &q->filters);
    q->set = conf->set;
    if (by_key != conf->set.by_key && qset_count(&q->entries)) {
        core_log(q->core, LOG_T_WARNING, "Queue %s: queue_order changes when the queue is empty.",
                 q->name);
        q->set.by_key = by_key;
    } else if (by_key != conf->set.by_key) {
        qset_fini(&q->entries);
        qset_init(&q->entries, q->core->seed, conf->set.by_key);
    }
    int rc = texts_copy(q, conf);
    if (rc == 0) rc = compile_filter(q, &why);
    if (rc == 0) rc = hang_topics(q);
    return rc;
}

int wqueue_make(struct core *core, const struct queue_conf *conf, bool configured, const char **why)
{
    struct wqueue *q;
    int rc = wqueue_new(core, conf, rng_next(&core->rng), &q, why);
    if (rc < 0) return rc;
    q->configured = configured;
    wqueue_journal(q);
    core_log(core, LOG_T_NOTICE, "Queue %s begins, on %s%s.", q->name, q->topics[0],
             q->topic_count > 1 ? " and others" : "");
    return 0;
}

static void configure_one(struct core *core, const struct queue_conf *conf)
{
    struct bytes name = bytes_str(conf->name);
    unsigned owner = wqueue_owner(core, name);
    const char *why = "out of memory";
    if (owner != core->shard) {
        /* As its owner will say: so that nothing is missed until it does. */
        for (uint32_t i = 0; i < conf->topic_count; i++)
            set_interest(core, owner, bytes_str(conf->topics[i]),
                         INTEREST_QUEUE |
                             (conf->set.overflow == QUEUE_REJECT ? INTEREST_REJECTS : 0u));
        return;
    }
    struct wqueue *q = wqueue_find(core, name);
    int rc = q ? wqueue_update(q, conf) : wqueue_make(core, conf, true, &why);
    if (rc < 0) core_log(core, LOG_T_ERROR, "Error: queue %s: %s.", conf->name, why);
    if (rc < 0 || q == NULL) return;
    q->configured = true;
    wqueue_journal(q);
    wqueue_drain(q);
}

void wqueue_configure(struct core *core)
{
    for (uint32_t i = 0; i < core->queue_slot_count; i++)
        if (core->queue_slots[i]) core->queue_slots[i]->configured = false;
    for (uint32_t i = 0; i < core->cfg.queue_count; i++) configure_one(core, &core->cfg.queues[i]);
}

void wqueue_free_all(struct core *core)
{
    for (uint32_t i = 0; i < core->queue_slot_count; i++)
        if (core->queue_slots[i]) wqueue_free(core->queue_slots[i]);
    mem_free(core->queue_slots);
    core->queue_slots = NULL;
    core->queue_slot_count = 0;
    wqueue_say(core, UINT64_MAX);
}

/* ---- consumers ---- */

bool wqueue_wish(const struct wish *w, struct queue_settings *set, const char **why)
{
    uint64_t v;
    if (w->ack_deadline.p) {
        *why = "ack-deadline: a duration such as 30s is expected";
        if (control_duration(w->ack_deadline, &set->ack_deadline_ms) < 0) return false;
        if (set->ack_deadline_ms == 0) return false;
    }
    if (w->max_deliveries.p) {
        *why = "max-deliveries: a whole number is expected";
        if (control_number(w->max_deliveries, &v) < 0 || v > INT32_MAX) return false;
        set->max_deliveries = (uint32_t)v;
    }
    if (w->backoff.p == NULL) return true;
    *why = "backoff: two durations are expected, the first and the longest pause: 1s 60s";
    const uint8_t *gap = w->backoff.n ? memchr(w->backoff.p, ' ', w->backoff.n) : NULL;
    if (gap == NULL) return false;
    struct bytes first = bytes_of(w->backoff.p, (size_t)(gap - w->backoff.p));
    struct bytes most = bytes_skip(w->backoff, first.n + 1);
    return control_duration(first, &set->backoff_first_ms) == 0 &&
           control_duration(most, &set->backoff_most_ms) == 0 &&
           set->backoff_first_ms <= set->backoff_most_ms;
}

static uint8_t auto_create(struct core *core, struct bytes name, struct bytes filter,
                           const struct queue_settings *set, const char **why)
{
    char *texts[2] = {mem_strndup(name.p, name.n), mem_strndup(filter.p, filter.n)};
    struct queue_conf conf = {.name = texts[0], .topics = &texts[1], .topic_count = 1, .set = *set};
    int rc = texts[0] && texts[1] ? wqueue_make(core, &conf, false, why) : E_NOMEM;
    mem_free(texts[0]);
    mem_free(texts[1]);
    if (rc == 0) return 0;
    if (rc == E_NOMEM) *why = "out of memory";
    return rc == E_INVALID ? MQTT_IMPLEMENTATION_ERROR : MQTT_QUOTA_EXCEEDED;
}

uint8_t wqueue_admit(struct core *core, struct bytes name, struct bytes filter,
                     const struct wish *w, const char **why)
{
    struct queue_settings set = QUEUE_SETTINGS_DEFAULT;
    if (!wqueue_wish(w, &set, why)) return MQTT_IMPLEMENTATION_ERROR;
    const struct wqueue *q = wqueue_find(core, name);
    if (q == NULL && (filter.n == 0 || !core->cfg.queue_auto_create)) {
        *why = "there is no queue of this name";
        return MQTT_IMPLEMENTATION_ERROR;
    }
    if (q == NULL) return auto_create(core, name, filter, &set, why);
    if (filter.n == 0) return 0;
    for (uint32_t i = 0; i < q->topic_count; i++)
        if (bytes_eq(bytes_str(q->topics[i]), filter)) return 0;
    *why = "the topic filter is not one of the queue's";
    return MQTT_IMPLEMENTATION_ERROR;
}
