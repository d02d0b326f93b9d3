/* See sys_queues.h. */
#include "sys_queues.h"

#include "base/mem.h"
#include "base/rfc3339.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { NUMBERS_MAX = 32, TOPIC_MAX = 384, VALUE_MAX = 256 };
#define NEVER UINT64_MAX

struct known { /* a queue */
    char *name;
    uint64_t said[NUMBERS_MAX];
    uint64_t alarm_ms;             /* since when; 0: there is none */
    uint64_t alarm_age;            /* as it was said */
    const struct wqueue_info *now; /* within one update */
};

struct sys_queues {
    struct known *all; /* by name */
    size_t count;
    bool ran;
    uint64_t dead_letters, dead_alarm_ms;
};

struct emitter {
    void (*emit)(void *ctx, const char *topic, const char *value);
    void *ctx;
};

int sys_queues_new(struct sys_queues **out)
{
    *out = mem_calloc(1, sizeof **out);
    return *out ? 0 : E_NOMEM;
}

static void known_free(struct known *all, size_t count)
{
    for (size_t i = 0; i < count; i++) mem_free(all[i].name);
    mem_free(all);
}

void sys_queues_free(struct sys_queues **queues)
{
    struct sys_queues *q = *queues;
    *queues = NULL;
    if (q) known_free(q->all, q->count);
    mem_free(q);
}

/* ---- topics ---- */

static void say(const struct emitter *e, const char *topic, const char *value)
{
    e->emit(e->ctx, topic, value);
}

static void number_topic(char *topic, const struct known *k, const struct queue_number *n)
{
    snprintf(topic, TOPIC_MAX, "$SYS/broker/queue/%s/%s%s%s", k->name, n->name, n->value ? "/" : "",
             n->value ? n->value : "");
}

static void alarm_topic(char *topic, const struct known *k)
{
    snprintf(topic, TOPIC_MAX, "$SYS/alarm/queue-age/%s", k->name);
}

static void say_numbers(struct known *k, const struct emitter *e)
{
    size_t count;
    const struct queue_number *n = queue_numbers(&count);
    char topic[TOPIC_MAX], value[24];
    ASSERT(count <= NUMBERS_MAX);
    for (size_t i = 0; i < count; i++) {
        uint64_t v = queue_number_of(&n[i], k->now);
        if (k->said[i] == v) continue;
        k->said[i] = v;
        number_topic(topic, k, &n[i]);
        snprintf(value, sizeof value, "%" PRIu64, v);
        say(e, topic, value);
    }
}

static void forget(const struct known *k, const struct emitter *e)
{
    size_t count;
    const struct queue_number *n = queue_numbers(&count);
    char topic[TOPIC_MAX];
    for (size_t i = 0; i < count; i++) {
        if (k->said[i] == NEVER) continue;
        number_topic(topic, k, &n[i]);
        say(e, topic, "");
    }
    alarm_topic(topic, k);
    if (k->alarm_ms) say(e, topic, "");
}

/* ---- alarms ---- */

/* Whole minutes are enough to see it grow. */
static uint64_t coarse(uint64_t age_s) { return age_s < 60 ? age_s : age_s - age_s % 60; }

static void alarm_of_age(struct known *k, const struct sys_input *in, const struct emitter *e)
{
    uint64_t limit = in->limits.queue_age_s, age = k->now->oldest_s;
    char topic[TOPIC_MAX], value[VALUE_MAX], since[RFC3339_SIZE];
    bool on = limit && age > limit, was = k->alarm_ms != 0;
    alarm_topic(topic, k);
    if (!on && was) say(e, topic, "");
    if (!on) k->alarm_ms = 0;
    if (!on || (was && k->alarm_age == coarse(age))) return;
    if (!was) k->alarm_ms = in->wall_ms;
    k->alarm_age = coarse(age);
    rfc3339_put(since, k->alarm_ms);
    snprintf(value, sizeof value,
             "{\"since\":\"%s\",\"oldest_seconds\":%" PRIu64 ",\"depth\":%" PRIu32
             ",\"consumers\":%" PRIu32 "}",
             since, age, k->now->depth, k->now->consumers);
    say(e, topic, value);
}

static void alarm_of_letters(struct sys_queues *q, const struct sys_input *in,
                             const struct emitter *e)
{
    static const char topic[] = "$SYS/alarm/dead-letters";
    uint64_t new = in->dead_letters - min_u64(q->dead_letters, in->dead_letters);
    bool on = q->ran && in->limits.dead_letters && new >= in->limits.dead_letters;
    char value[VALUE_MAX], since[RFC3339_SIZE];
    q->dead_letters = in->dead_letters;
    q->ran = true;
    if (!on && q->dead_alarm_ms) say(e, topic, "");
    if (!on) q->dead_alarm_ms = 0;
    if (!on) return;
    if (q->dead_alarm_ms == 0) q->dead_alarm_ms = in->wall_ms;
    rfc3339_put(since, q->dead_alarm_ms);
    snprintf(value, sizeof value, "{\"since\":\"%s\",\"new\":%" PRIu64 ",\"listed\":%" PRIu64 "}",
             since, new, in->dead_listed);
    say(e, topic, value);
}

/* ---- who is there ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct known *)a)->name, ((const struct known *)b)->name);
}

static size_t count_of(const struct sys_input *in)
{
    size_t n = 0;
    for (unsigned i = 0; i < in->shard_count; i++) n += in->shards[i].queue_count;
    return n;
}

/* All that the figures tell of, by name; infos: room for as many, which they point to. */
static struct known *known_new(const struct sys_input *in, struct wqueue_info *infos, size_t count)
{
    struct known *all = mem_calloc(count + 1, sizeof *all);
    size_t n = 0;
    for (unsigned i = 0; all && i < in->shard_count; i++) {
        struct queue_figure f;
        for (size_t at = 0; n < count && queue_figures_next(&in->shards[i], &at, &f); n++) {
            infos[n] = f.info;
            all[n].now = &infos[n];
            all[n].name = mem_strndup(f.name.p, f.name.n);
            memset(all[n].said, 0xff, sizeof all[n].said); /* NEVER */
            if (all[n].name) continue;
            known_free(all, n);
            return NULL;
        }
    }
    if (all) qsort(all, count, sizeof *all, by_name);
    return all;
}

/* What was said of those that are still there; those that are not are forgotten. */
static void take_over(struct known *all, size_t count, const struct sys_queues *q,
                      const struct emitter *e)
{
    for (size_t i = 0, k = 0; i < q->count; i++) {
        while (k < count && by_name(&all[k], &q->all[i]) < 0) k++;
        if (k == count || by_name(&all[k], &q->all[i]) != 0) {
            forget(&q->all[i], e);
            continue;
        }
        memcpy(all[k].said, q->all[i].said, sizeof all[k].said);
        all[k].alarm_ms = q->all[i].alarm_ms;
        all[k].alarm_age = q->all[i].alarm_age;
    }
}

void sys_queues_update(struct sys_queues *q, const struct sys_input *in,
                       void (*emit)(void *ctx, const char *topic, const char *value), void *ctx)
{
    struct emitter e = {emit, ctx};
    size_t count = count_of(in);
    alarm_of_letters(q, in, &e);
    if (count == 0 && q->count == 0) return;
    struct wqueue_info *infos = mem_calloc(count + 1, sizeof *infos);
    struct known *all = infos ? known_new(in, infos, count) : NULL;
    if (all) {
        take_over(all, count, q, &e);
        for (size_t i = 0; i < count; i++) {
            say_numbers(&all[i], &e);
            alarm_of_age(&all[i], in, &e);
            all[i].now = NULL;
        }
        known_free(q->all, q->count);
        q->all = all;
        q->count = count;
    }
    mem_free(infos);
}
