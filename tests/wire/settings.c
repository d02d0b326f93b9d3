/* config, listener and stat: settings by the names of their directives, and the core's counters by
 * the names of their fields. */
#include "core/dead_reason.h"
#include "tests/wire/talk.h"

enum kind { BOOL, NUMBER, SIZE, SECONDS, MS, TEXT, VERSIONS, DISPATCH, OVERFLOW, ORDER, REASONS };

struct setting {
    const char *name;
    enum kind kind;
    size_t offset, size;
};

#define CONFIG(name, kind, field)                                                                  \
    {                                                                                              \
        name, kind, offsetof(struct core_config, field), sizeof(((struct core_config *)0)->field)  \
    }
static const struct setting configs[] = {
    CONFIG("max_packet_size", SIZE, max_packet_size),
    CONFIG("message_size_limit", SIZE, message_size_limit),
    CONFIG("max_inflight_messages", NUMBER, max_inflight_messages),
    CONFIG("max_inflight_bytes", SIZE, max_inflight_bytes),
    CONFIG("max_queued_messages", NUMBER, max_queued_messages),
    CONFIG("max_queued_bytes", SIZE, max_queued_bytes),
    CONFIG("queue_qos0_messages", BOOL, queue_qos0_messages),
    CONFIG("upgrade_outgoing_qos", BOOL, upgrade_outgoing_qos),
    CONFIG("check_retain_source", BOOL, check_retain_source),
    CONFIG("shared_dispatch", DISPATCH, shared_round_robin),
    CONFIG("allow_zero_length_clientid", BOOL, allow_zero_length_clientid),
    CONFIG("retain_available", BOOL, retain_available),
    CONFIG("max_retained_age", SECONDS, retain_expiry_interval_s),
    CONFIG("persistent_client_expiration", SECONDS, persistent_client_expiration_s),
    CONFIG("max_keepalive", NUMBER, max_keepalive_s),
    CONFIG("retry_interval", MS, retry_interval_ms),
    CONFIG("retry_max_interval", MS, retry_max_interval_ms),
    CONFIG("ack_timeout", MS, ack_timeout_ms),
    CONFIG("max_topic_levels", NUMBER, max_topic_levels),
    CONFIG("max_subscriptions", NUMBER, max_subscriptions),
    CONFIG("max_filters_per_client", NUMBER, max_filters_per_client),
    CONFIG("max_filters", NUMBER, max_filters),
    CONFIG("max_replays_per_client", NUMBER, max_replays_per_client),
    CONFIG("max_retained_messages", NUMBER, max_retained_messages),
    CONFIG("max_retained_bytes", SIZE, max_retained_bytes),
    CONFIG("output_soft_limit", SIZE, output_soft_bytes),
    CONFIG("output_hard_limit", SIZE, output_hard_bytes),
    CONFIG("slow_reader_grace", MS, slow_grace_ms),
    CONFIG("max_publish_rate", NUMBER, max_publish_rate),
    CONFIG("max_receive_rate", SIZE, max_receive_rate),
    CONFIG("connect_timeout", MS, connect_timeout_ms),
    CONFIG("connection_messages", BOOL, connection_messages),
    CONFIG("filter_index", BOOL, filter_index),
    CONFIG("filter_max_length", SIZE, filter_max_length),
    CONFIG("filter_max_predicates", NUMBER, filter_max_predicates),
    CONFIG("queue_auto_create", BOOL, queue_auto_create),
    CONFIG("dead_letter", BOOL, dead_letter),
    CONFIG("dead_letter_max_messages", NUMBER, dead_letter_max_messages),
    CONFIG("dead_letter_max_bytes", SIZE, dead_letter_max_bytes),
    CONFIG("dead_letter_max_age", MS, dead_letter_max_age_ms),
    CONFIG("max_deliveries", NUMBER, max_deliveries),
    CONFIG("dead_letter_reasons", REASONS, dead_letter_reasons),
};

#define QUEUE(name, kind, field)                                                                   \
    {                                                                                              \
        "queue_" name, kind, offsetof(struct queue_settings, field),                               \
            sizeof(((struct queue_settings *)0)->field)                                            \
    }
static const struct setting queue_settings[] = {
    QUEUE("ack_deadline", MS, ack_deadline_ms),
    QUEUE("message_ttl", MS, message_ttl_ms),
    QUEUE("dedup_window", MS, dedup_window_ms),
    QUEUE("max_bytes", SIZE, max_bytes),
    QUEUE("max_messages", NUMBER, max_messages),
    QUEUE("max_deliveries", NUMBER, max_deliveries),
    QUEUE("prefetch", NUMBER, prefetch),
    QUEUE("overflow", OVERFLOW, overflow),
    QUEUE("order", ORDER, by_key),
    QUEUE("dispatch", DISPATCH, round_robin),
};

#define LISTENER(name, kind)                                                                       \
    {                                                                                              \
#name, kind, offsetof(struct core_listener, name),                                         \
            sizeof(((struct core_listener *)0)->name)                                              \
    }
static const struct setting listeners[] = {
    LISTENER(allow_anonymous, BOOL),
    LISTENER(checks_users, BOOL),
    LISTENER(token_is_user, BOOL),
    LISTENER(use_username_as_clientid, BOOL),
    LISTENER(max_qos, NUMBER),
    {"accept_protocol_versions", VERSIONS, offsetof(struct core_listener, accept_versions), 1},
    LISTENER(max_topic_alias, NUMBER),
    LISTENER(max_topic_alias_broker, NUMBER),
    LISTENER(mount_point, TEXT),
    LISTENER(auto_id_prefix, TEXT),
    LISTENER(clientid_prefixes, TEXT),
};

#define STAT(name)                                                                                 \
    {                                                                                              \
#name, NUMBER, offsetof(struct core_stats, name), sizeof(uint64_t)                         \
    }
static const struct setting stats[] = {
    STAT(messages_received),
    STAT(messages_sent),
    STAT(bytes_received),
    STAT(bytes_sent),
    STAT(publish_received),
    STAT(history_missed),
    STAT(history_duplicates),
    STAT(dedup_forgotten),
    STAT(filter_matched),
    STAT(filter_missed),
    STAT(filter_errors),
    STAT(filter_json_bad),
    STAT(filter_json_large),
    STAT(publish_sent),
    STAT(publish_dropped),
    STAT(publish_bytes_received),
    STAT(publish_bytes_sent),
    STAT(connections_accepted),
    STAT(connections_refused),
    STAT(logins_refused),
    STAT(logins_ended),
    STAT(sessions_expired),
    STAT(sessions_taken_over),
    STAT(wills_sent),
    STAT(dropped_queue_full),
    STAT(dropped_slow_reader),
    STAT(dropped_too_large),
    STAT(dropped_expired),
    STAT(dropped_no_memory),
    STAT(dropped_share_nacked),
    STAT(dropped_qos0_offline),
    STAT(denied_publish),
    STAT(denied_delivery),
    STAT(denied_subscribe),
    STAT(refused_malformed),
    STAT(refused_protocol),
    STAT(refused_limit),
    STAT(refused_envelopes),
    STAT(keepalive_timeouts),
    STAT(resent),
    STAT(route_hits),
    STAT(route_misses),
    STAT(publishers_paused),
    STAT(rate_pauses),
    STAT(refused_pressure),
    STAT(dropped_pressure),
    STAT(connected),
    STAT(sessions),
    STAT(subscriptions),
    STAT(filters),
    STAT(shared_subscriptions),
    STAT(retained),
    STAT(retained_bytes),
    STAT(queued),
    STAT(queued_bytes),
    STAT(inflight),
    STAT(queue_messages),
    STAT(queue_bytes),
    STAT(dead_letters),
    STAT(dead_lost),
    STAT(delayed),
    STAT(dead_listed),
    STAT(dead_trimmed),
};

static const struct setting *find(const struct setting *table, size_t count, struct bytes name)
{
    for (size_t i = 0; i < count; i++)
        if (bytes_eq(name, bytes_str(table[i].name))) return &table[i];
    return NULL;
}

static bool read_versions(struct bytes text, uint64_t *bits)
{
    *bits = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == ',') continue;
        if (text.p[i] < '3' || text.p[i] > '5') return false;
        *bits |= 1u << (text.p[i] - '0');
    }
    return *bits != 0;
}

static const char *const overflows[] = {
    [QUEUE_DEAD_LETTER] = "dead-letter",
    [QUEUE_REJECT] = "reject",
    [QUEUE_DROP_OLDEST] = "drop-oldest",
};

static bool read_value(enum kind kind, struct bytes text, uint64_t *value)
{
    switch (kind) {
    case BOOL:
        *value = bytes_eq(text, bytes_str("true"));
        return *value || bytes_eq(text, bytes_str("false"));
    case NUMBER: return number_read(text, value);
    case SIZE: return size_read(text, value);
    case MS: return duration_read(text, value);
    case SECONDS:
        if (!duration_read(text, value)) return false;
        *value /= 1000;
        return true;
    case VERSIONS: return read_versions(text, value);
    case DISPATCH:
        *value = bytes_eq(text, bytes_str("round-robin"));
        return *value || bytes_eq(text, bytes_str("least-inflight"));
    case ORDER:
        *value = bytes_eq(text, bytes_str("key"));
        return *value || bytes_eq(text, bytes_str("none"));
    case REASONS: /* one of them */
        for (unsigned i = 1; i < DEAD_REASONS; i++)
            if (bytes_eq(text, bytes_str(dead_reason_name(i)))) *value = 1u << i;
        return *value != 0;
    case OVERFLOW:
        for (*value = 0; *value < ARRAY_LEN(overflows); ++*value)
            if (bytes_eq(text, bytes_str(overflows[*value]))) return true;
        return false;
    default: return false;
    }
}

static bool assign(struct talk *t, const struct setting *s, void *base, struct bytes text)
{
    char *at = (char *)base + s->offset;
    if (s->kind == TEXT) {
        const char *copy = (const char *)arena_copy(&t->arena, text).p;
        memcpy(at, &copy, sizeof copy);
        return true;
    }
    uint64_t value;
    if (!read_value(s->kind, text, &value))
        return talk_fail(t, "%s cannot be '%.*s'", s->name, (int)text.n, (const char *)text.p);
    if (s->size < 8 && value >> (8 * s->size)) return talk_fail(t, "%s: too large", s->name);
    memcpy(at, &value, s->size); /* little-endian, as every machine the tests run on */
    return true;
}

/* "2s", or "2s 3": no more than three at a time. */
static bool login_delay(struct talk *t, const struct fields *words)
{
    uint64_t ms;
    if (words->count < 2 || words->count > 3 || !duration_read(words->items[1].text, &ms))
        return talk_fail(t, "config login_delay wants a time, and a number perhaps");
    world_logins(t->world, ms, words->count == 3 ? (unsigned)words->items[2].number : 0);
    return true;
}

bool setting_user(struct talk *t, const struct fields *words)
{
    uint64_t lasts_ms = 0;
    bool right = words->count == 2 || words->count == 3;
    if (!right || (words->count == 3 && !duration_read(words->items[2].text, &lasts_ms)))
        return talk_fail(t, "user wants a name, a password, and a time perhaps");
    world_user(t->world, words->items[0].text, words->items[1].text, lasts_ms);
    return true;
}

/* The text of an access list, or `none`: then it is NULL. */
static bool read_acl(struct talk *t, struct bytes text, const struct acl **out)
{
    struct acl *acl = NULL;
    struct acl_error error;
    *out = NULL;
    if (bytes_eq(text, bytes_str("none"))) return true;
    if (t->acl_count == ACLS_MAX) return talk_fail(t, "more than %d access lists", ACLS_MAX);
    if (acl_new(&acl, text, &error) < 0)
        return talk_fail(t, "acl_file, line %u: %s", error.line, error.text);
    *out = t->acls[t->acl_count++] = acl;
    return true;
}

static bool config_acl(struct talk *t, struct bytes text)
{
    const struct acl *acl;
    if (!read_acl(t, text, &acl)) return false;
    world_config(t->world)->acl = acl;
    world_configure(t->world);
    return true;
}

/* "FILTER max_age=1h max_bytes=1k max_messages=5 max_per_topic=2 dedup_window=5m", one more; or
 * "none". */
static bool config_history(struct talk *t, const struct fields *words)
{
    struct core_config *cfg = world_config(t->world);
    struct core_history *all = arena_alloc(&t->arena, (cfg->history_count + 1) * sizeof *all);
    struct core_history *h = &all[cfg->history_count];
    for (uint32_t i = 0; i < cfg->history_count; i++) all[i] = cfg->histories[i];
    h->filter = (const char *)arena_copy(&t->arena, words->items[1].text).p;
    for (size_t i = 2; i < words->count; i++) {
        const struct field *f = &words->items[i];
        uint64_t v;
        bool lasts = field_is(f, "max_age") || field_is(f, "dedup_window");
        bool right = lasts ? duration_read(f->text, &v) : size_read(f->text, &v);
        if (field_is(f, "max_age")) h->max_age_ms = v;
        if (field_is(f, "max_bytes")) h->max_bytes = v;
        if (field_is(f, "max_messages")) h->max_messages = v;
        if (field_is(f, "max_per_topic")) h->max_per_topic = (uint32_t)v;
        if (field_is(f, "dedup_window")) h->dedup_window_ms = v;
        if (!right || f->name.n == 0) return talk_fail(t, "history: a limit is not right");
    }
    cfg->histories = all;
    cfg->history_count = strcmp(h->filter, "none") == 0 ? 0 : cfg->history_count + 1;
    world_configure(t->world);
    return true;
}

/* "hot temp > 30": replaces what the name was; "hot" alone takes it away. */
static bool config_filter(struct talk *t, struct bytes value)
{
    struct core_config *cfg = world_config(t->world);
    const uint8_t *space = memchr(value.p, ' ', value.n);
    size_t n = space ? (size_t)(space - value.p) : value.n, count = 0;
    struct core_filter *all =
        arena_alloc(&t->arena, (cfg->named_filter_count + 1) * sizeof(struct core_filter));
    for (size_t i = 0; i < cfg->named_filter_count; i++)
        if (!bytes_eq(bytes_str(cfg->named_filters[i].name), bytes_of(value.p, n)))
            all[count++] = cfg->named_filters[i];
    if (space)
        all[count++] =
            (struct core_filter){(const char *)arena_copy(&t->arena, bytes_of(value.p, n)).p,
                                 (const char *)arena_copy(&t->arena, bytes_skip(value, n + 1)).p};
    cfg->named_filters = all;
    cfg->named_filter_count = count;
    world_configure(t->world);
    return true;
}

/* Also later: a reload. */
static bool listener_acl(struct talk *t, uint64_t n, struct bytes text)
{
    struct core_config *cfg = world_config(t->world);
    if (!read_acl(t, text, &t->listener_acls[n - 1])) return false;
    cfg->listener_acls = t->listener_acls;
    cfg->listener_count = LISTENERS_MAX;
    world_configure(t->world);
    return true;
}

static char *kept_text(struct talk *t, struct bytes text)
{
    return (char *)(uintptr_t)arena_copy(&t->arena, text).p;
}

static bool is_queue_word(struct bytes name)
{
    return bytes_eq(name, bytes_str("queue")) ||
           (bytes_starts(name, "queue_") && !bytes_eq(name, bytes_str("queue_auto_create")) &&
            !bytes_eq(name, bytes_str("queue_qos0_messages")));
}

/* `queue NAME` begins a block, to which the queue_ that follow belong. */
static bool config_queue(struct talk *t, const struct fields *words)
{
    struct bytes name = words->items[0].text, value = words->items[words->count - 1].text;
    if (bytes_eq(name, bytes_str("queue"))) {
        if (t->queue_count == QUEUES_SAID) return talk_fail(t, "too many queues");
        struct queue_conf *new = &t->queues[t->queue_count++];
        *new = (struct queue_conf){.name = kept_text(t, value), .set = QUEUE_SETTINGS_DEFAULT};
        return true;
    }
    if (t->queue_count == 0) return talk_fail(t, "no queue has begun");
    struct queue_conf *q = &t->queues[t->queue_count - 1];
    if (bytes_eq(name, bytes_str("queue_topic"))) {
        char **topics = arena_alloc(&t->arena, (q->topic_count + 1) * sizeof(char *));
        if (q->topic_count) memcpy(topics, q->topics, q->topic_count * sizeof(char *));
        q->topics = topics;
        q->topics[q->topic_count++] = kept_text(t, value);
    } else if (bytes_eq(name, bytes_str("queue_filter"))) {
        q->filter = kept_text(t, value);
    } else if (bytes_eq(name, bytes_str("queue_backoff"))) {
        if (words->count != 3 || !duration_read(words->items[1].text, &q->set.backoff_first_ms) ||
            !duration_read(words->items[2].text, &q->set.backoff_most_ms))
            return talk_fail(t, "queue_backoff wants two durations");
    } else {
        const struct setting *s = find(queue_settings, ARRAY_LEN(queue_settings), name);
        if (s == NULL)
            return talk_fail(t, "no setting is called %.*s", (int)name.n, (const char *)name.p);
        if (!assign(t, s, &q->set, value)) return false;
    }
    if (q->topic_count == 0) return true;
    world_config(t->world)->queues = t->queues;
    world_config(t->world)->queue_count = t->queue_count;
    world_configure(t->world);
    world_run(t->world);
    return true;
}

bool setting_config(struct talk *t, const struct fields *words)
{
    if (words->count > 1 && bytes_eq(words->items[0].text, bytes_str("history")))
        return config_history(t, words);
    if (words->count > 1 && is_queue_word(words->items[0].text)) return config_queue(t, words);
    if (words->count && bytes_eq(words->items[0].text, bytes_str("login_delay")))
        return login_delay(t, words);
    if (words->count != 2) return talk_fail(t, "config wants a name and a value");
    struct bytes name = words->items[0].text, value = words->items[1].text;
    if (bytes_eq(name, bytes_str("global_max_clients"))) {
        world_max_clients(t->world, (unsigned)words->items[1].number);
        return true;
    }
    if (bytes_eq(name, bytes_str("acl_file"))) return config_acl(t, value);
    if (bytes_eq(name, bytes_str("filter"))) return config_filter(t, value);
    const struct setting *s = find(configs, ARRAY_LEN(configs), name);
    if (s == NULL)
        return talk_fail(t, "no setting is called %.*s", (int)name.n, (const char *)name.p);
    if (!assign(t, s, world_config(t->world), value)) return false;
    world_configure(t->world);
    return true;
}

struct core_listener *setting_listener_at(struct talk *t, uint64_t n)
{
    if (n == 0 || n > LISTENERS_MAX) {
        talk_fail(t, "listeners are 1 to %d", LISTENERS_MAX);
        return NULL;
    }
    t->listeners[0] = world_listener(t->world);
    for (size_t i = 0; i < n; i++) {
        if (t->listeners[i] == NULL) t->listeners[i] = world_listener_add(t->world);
        t->listeners[i]->number = (uint16_t)i;
    }
    return t->listeners[n - 1];
}

bool setting_listener(struct talk *t, const struct fields *words)
{
    bool numbered = words->count == 3 && words->items[0].is_number;
    if (words->count != 2 && !numbered)
        return talk_fail(t, "listener wants a name and a value, or number, name, value");
    uint64_t n = numbered ? words->items[0].number : 1;
    struct core_listener *l = setting_listener_at(t, n);
    if (l == NULL) return false;
    struct bytes name = words->items[numbered].text, value = words->items[numbered + 1].text;
    if (bytes_eq(name, bytes_str("acl_file"))) return listener_acl(t, n, value);
    if (t->listener_used[n - 1])
        return talk_fail(t, "this listener is in use: settings come before its first connection");
    const struct setting *s = find(listeners, ARRAY_LEN(listeners), name);
    if (s) return assign(t, s, l, value);
    return talk_fail(t, "a listener has no %.*s", (int)name.n, (const char *)name.p);
}

bool setting_stat(struct talk *t, const struct fields *words)
{
    bool least = word_is(words, 1, "at") && word_is(words, 2, "least");
    const struct field *wanted = words->count ? &words->items[words->count - 1] : NULL;
    if (words->count != (least ? 4u : 2u) || !wanted->is_number)
        return talk_fail(t, "stat wants a name and a number, or: name at least number");
    struct bytes name = words->items[0].text;
    const struct setting *s = find(stats, ARRAY_LEN(stats), name);
    if (s == NULL)
        return talk_fail(t, "no counter is called %.*s", (int)name.n, (const char *)name.p);
    uint64_t got = world_stat(t->world, s->offset);
    if (least ? got >= wanted->number : got == wanted->number) return true;
    return talk_fail(t, "expected %s to be %s%llu, it is %llu", s->name, least ? "at least " : "",
                     (unsigned long long)wanted->number, (unsigned long long)got);
}
