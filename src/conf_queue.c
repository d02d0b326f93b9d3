/* `queue NAME` and the directives that follow it.  Main thread. */
#include "base/mem.h"
#include "conf_int.h"
#include "core/dead_reason.h"
#include "core/queue_conf.h"
#include "mqtt/topic.h"

enum { CONF_MAX_QUEUES = 1000 };

void *conf_queue_target(struct conf_reader *r)
{
    return r->conf->queue_count ? &r->conf->queues[r->conf->queue_count - 1] : NULL;
}

static int conf_queue_defaults(struct conf_reader *r)
{
    size_t count;
    const struct conf_directive *row = conf_schema(&count);
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++)
        if (row[i].scope == CONF_QUEUE && row[i].initial)
            rc = conf_value_set(r, &row[i], conf_queue_target(r), row[i].initial);
    return rc;
}

int conf_apply_queue(struct conf_reader *r, const struct conf_directive *d, const char *value)
{
    struct conf *c = r->conf;
    size_t n = strlen(value);
    if (n > QUEUE_NAME_MAX || !mqtt_topic_name_ok(bytes_str(value), 1))
        return conf_fail(r, E_INVALID, "'%s' cannot be '%s': use %s", d->name, value, d->values);
    for (size_t i = 0; i < c->queue_count; i++)
        if (strcmp(c->queues[i].name, value) == 0)
            return conf_fail(r, E_INVALID, "there is a queue '%s' above", value);
    if (c->queue_count == CONF_MAX_QUEUES)
        return conf_fail(r, E_INVALID, "more than %d queues", CONF_MAX_QUEUES);
    struct queue_conf *queues = mem_realloc(c->queues, (c->queue_count + 1) * sizeof *queues);
    if (queues == NULL) return E_NOMEM;
    c->queues = queues;
    struct queue_conf *q = &queues[c->queue_count++];
    *q = (struct queue_conf){.set = QUEUE_SETTINGS_DEFAULT};
    q->name = mem_strndup(value, n);
    return q->name ? conf_queue_defaults(r) : E_NOMEM;
}

int conf_apply_queue_topic(struct conf_reader *r, const struct conf_directive *d, const char *value)
{
    struct queue_conf *q = conf_queue_target(r);
    if (!mqtt_topic_filter_ok(bytes_str(value), MQTT_TOPIC_LEVELS_DEFAULT))
        return conf_fail(r, E_INVALID, "'%s' cannot be '%s': use %s", d->name, value, d->values);
    if (q->topic_count == QUEUE_TOPICS_MAX)
        return conf_fail(r, E_INVALID, "more than %d topics of queue '%s'", QUEUE_TOPICS_MAX,
                         q->name);
    char **topics = mem_realloc(q->topics, (q->topic_count + 1) * sizeof(char *));
    if (topics == NULL) return E_NOMEM;
    q->topics = topics;
    topics[q->topic_count] = mem_strndup(value, strlen(value));
    return topics[q->topic_count] && ++q->topic_count ? 0 : E_NOMEM;
}

int conf_apply_queue_backoff(struct conf_reader *r, const struct conf_directive *d,
                             const char *value)
{
    struct queue_conf *q = conf_queue_target(r);
    char first[32];
    int64_t first_ms, most_ms;
    size_t n = strcspn(value, " \t");
    const char *most = value + n + strspn(value + n, " \t");
    if (n >= sizeof first) n = 0;
    memcpy(first, value, n);
    first[n] = 0;
    if (conf_parse_duration(first, &first_ms) < 0 || conf_parse_duration(most, &most_ms) < 0 ||
        first_ms > most_ms)
        return conf_fail(r, E_INVALID, "'%s' cannot be '%s': use %s", d->name, value, d->values);
    q->set.backoff_first_ms = (uint64_t)first_ms;
    q->set.backoff_most_ms = (uint64_t)most_ms;
    return 0;
}

static int conf_word(struct conf_reader *r, const struct conf_directive *d, const char *value,
                     const char *const *words, uint8_t *out)
{
    for (uint8_t i = 0; words[i]; i++) {
        if (strcmp(words[i], value) != 0) continue;
        *out = i;
        return 0;
    }
    return conf_fail(r, E_INVALID, "'%s' cannot be '%s': use %s", d->name, value, d->values);
}

int conf_apply_queue_word(struct conf_reader *r, const struct conf_directive *d, const char *value)
{
    static const char *const overflows[] = {[QUEUE_DEAD_LETTER] = "dead-letter",
                                            [QUEUE_REJECT] = "reject",
                                            [QUEUE_DROP_OLDEST] = "drop-oldest",
                                            NULL};
    static const char *const orders[] = {"none", "key", NULL};
    static const char *const dispatches[] = {"least-inflight", "round-robin", NULL};
    struct queue_settings *set = &((struct queue_conf *)conf_queue_target(r))->set;
    uint8_t v = 0;
    int rc;
    if (strcmp(d->name, "queue_overflow") == 0)
        return conf_word(r, d, value, overflows, &set->overflow);
    if (strcmp(d->name, "queue_order") == 0) {
        rc = conf_word(r, d, value, orders, &v);
        set->by_key = v != 0;
    } else {
        rc = conf_word(r, d, value, dispatches, &v);
        set->round_robin = v != 0;
    }
    return rc;
}

int conf_apply_dead_reasons(struct conf_reader *r, const struct conf_directive *d,
                            const char *value)
{
    unsigned reasons = 0;
    for (const char *at = value; *at;) {
        size_t n = strcspn(at, " \t");
        unsigned reason = DEAD_ATTEMPTS;
        while (reason < DEAD_REASONS && (strlen(dead_reason_name(reason)) != n ||
                                         strncmp(dead_reason_name(reason), at, n) != 0))
            reason++;
        if (reason == DEAD_REASONS)
            return conf_fail(r, E_INVALID, "'%s' cannot be '%s': use %s", d->name, value,
                             d->values);
        reasons |= 1u << reason;
        at += n + strspn(at + n, " \t");
    }
    r->conf->core.dead_letter_reasons = (uint8_t)reasons;
    return 0;
}

int conf_queue_finish(struct conf_reader *r)
{
    struct conf *c = r->conf;
    for (size_t i = 0; i < c->queue_count; i++)
        if (c->queues[i].topic_count == 0)
            return conf_fail(r, E_INVALID, "queue '%s' has no queue_topic", c->queues[i].name);
    c->core.queues = c->queues;
    c->core.queue_count = (uint32_t)c->queue_count;
    return 0;
}

void conf_queues_fini(struct conf *c)
{
    for (size_t i = 0; i < c->queue_count; i++) {
        struct queue_conf *q = &c->queues[i];
        for (uint32_t k = 0; k < q->topic_count; k++) mem_free(q->topics[k]);
        mem_free(q->topics);
        mem_free(q->filter);
        mem_free(q->name);
    }
    mem_free(c->queues);
}

/* ---- one that is not in the file ---- */

static int set_alone(struct conf_reader *r, const struct conf_pair *pair)
{
    const struct conf_directive *d = conf_find(pair->name);
    char expected[160];
    if (d == NULL || (d->scope != CONF_QUEUE && strcmp(d->name, "queue") != 0))
        return conf_fail(r, E_INVALID, "a queue has no '%s'", pair->name);
    if (!bytes_is_utf8(bytes_str(pair->value)) || strpbrk(pair->value, "\r\n"))
        return conf_fail(r, E_INVALID, "'%s' is not a line of text in UTF-8", d->name);
    if (*pair->value == 0) {
        conf_value_expected(d, expected, sizeof expected);
        return conf_fail(r, E_INVALID, "'%s' has no value: use %s", d->name, expected);
    }
    return conf_value_set(r, d, d->kind == CONF_OWN ? NULL : conf_queue_target(r), pair->value);
}

int conf_queue_read(struct conf_queues *out, const struct conf_pair *pairs, size_t count,
                    char **error)
{
    struct conf_reader *r = mem_calloc(1, sizeof *r);
    struct conf *c = mem_calloc(1, sizeof *c);
    int rc = r && c ? 0 : E_NOMEM;
    *error = NULL;
    *out = (struct conf_queues){.conf = c};
    if (r) r->conf = c;
    for (size_t i = 0; rc == 0 && i < count; i++) rc = set_alone(r, &pairs[i]);
    if (rc == 0) rc = conf_queue_finish(r);
    if (rc == 0)
        out->queue = &c->queues[0];
    else
        conf_queue_free(out);
    if (r) *error = r->error;
    mem_free(r);
    return rc;
}

void conf_queue_free(struct conf_queues *q)
{
    if (q->conf) conf_queues_fini(q->conf);
    mem_free(q->conf);
    *q = (struct conf_queues){0};
}
