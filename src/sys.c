/* See sys.h.  The counters belong to the shards: each is asked by a task and answers with a copy.
 * Values go out by one task to shard 0, which publishes them like any retained message. */
#include "sys.h"

#include "base/clock.h"
#include "base/mem.h"
#include "core/list.h"
#include "metrics.h"
#include <semaphore.h>
#include <stdio.h>
#include <unistd.h>

enum {
    LOG_LINES_MAX = 1000, /* on their way to `log_dest topic` */
    NEWS_AT_ONCE = 200,   /* values published in a turn */
    STALE_AT_ONCE = 1000, /* of an earlier run, removed at the start */
};

struct question {
    struct shard_task task;
    struct core_stats stats;
    struct shard_stats shell;
    bool first; /* of this run */
    struct queue_figures *figures;
    sem_t *answered;
};

struct sys {
    struct shard_set *shards;
    struct metrics *metrics;
    struct sys_queues *queues;
    struct question *questions;
    struct queue_figures *figures; /* beside the questions */
    bool ran;
    sem_t answered;
    uint64_t started_ms, last_ms;
    _Atomic int log_lines; /* relaxed: a limit that may be a few off */
};

struct news { /* topics and values, each closed by a 0 */
    struct shard_task task;
    struct buf text;
};

struct line {
    struct shard_task task;
    struct sys *sys;
    const char *topic; /* static */
    char text[];
};

int sys_new(struct sys **out, struct shard_set *shards)
{
    struct sys *sys = mem_calloc(1, sizeof *sys);
    if (sys == NULL) return E_NOMEM;
    sys->shards = shards;
    sys->started_ms = sys->last_ms = clock_mono_ms();
    sem_init(&sys->answered, 0, 0);
    sys->questions = mem_calloc(shards_count(shards), sizeof *sys->questions);
    sys->figures = mem_calloc(shards_count(shards), sizeof *sys->figures);
    if (sys->questions == NULL || sys->figures == NULL || sys_queues_new(&sys->queues) < 0 ||
        metrics_new(&sys->metrics, SLUICE_VERSION) < 0) {
        sys_free(&sys);
        return E_NOMEM;
    }
    *out = sys;
    return 0;
}

void sys_free(struct sys **sys_ptr)
{
    struct sys *sys = *sys_ptr;
    if (sys == NULL) return;
    *sys_ptr = NULL;
    metrics_free(&sys->metrics);
    sys_queues_free(&sys->queues);
    mem_free(sys->figures);
    sem_destroy(&sys->answered);
    mem_free(sys->questions);
    mem_free(sys);
}

uint64_t sys_memory(void)
{
    unsigned long all, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL) return 0;
    if (fscanf(f, "%lu %lu", &all, &resident) != 2) resident = 0;
    fclose(f);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* What somebody with a session that lasts has made last: it may tell of a queue that is no more. */
static void forget_stale(struct core *core)
{
    static const char *const filters[] = {"$SYS/broker/queue/#", "$SYS/alarm/#"};
    for (size_t i = 0; i < ARRAY_LEN(filters); i++) {
        struct core_cursor at = {0};
        uint64_t matched = 0, deleted = 0;
        (void)!core_delete_retained(core, bytes_str(filters[i]), &at, STALE_AT_ONCE, false,
                                    &matched, &deleted);
        buf_fini(&at.after);
    }
}

static void question_run(struct shard *s, struct shard_task *t)
{
    struct question *q = CONTAINER_OF(t, struct question, task);
    if (q->first) forget_stale(shard_core(s));
    q->first = false;
    if (queue_figures_step(q->figures, shard_core(s))) {
        shard_post(s, t); /* the rest in the next turn */
        return;
    }
    q->stats = *core_stats(shard_core(s));
    q->shell = *shard_stats(s);
    sem_post(q->answered);
}

static void gather(struct sys *sys, struct metrics_input *sum)
{
    unsigned count = shards_count(sys->shards);
    for (unsigned i = 0; i < count; i++) {
        struct question *q = &sys->questions[i];
        q->task.run = question_run;
        q->first = !sys->ran;
        q->figures = &sys->figures[i];
        q->answered = &sys->answered;
        shard_post(shards_at(sys->shards, i), &q->task);
    }
    sys->ran = true;
    for (unsigned i = 0; i < count; i++)
        while (sem_wait(&sys->answered) < 0) {
        } /* EINTR */
    for (unsigned i = 0; i < count; i++) {
        metrics_add(&sum->stats, &sys->questions[i].stats);
        metrics_add_shell(&sum->shell, &sys->questions[i].shell);
    }
}

static void news_run(struct shard *s, struct shard_task *t)
{
    struct news *n = CONTAINER_OF(t, struct news, task);
    for (int i = 0; i < NEWS_AT_ONCE && buf_len(&n->text); i++) {
        struct bytes left = buf_view(&n->text);
        struct bytes topic = bytes_str((const char *)left.p);
        struct bytes value = bytes_str((const char *)left.p + topic.n + 1);
        int rc = core_publish(shard_core(s), topic, value, 2, true); /* counted there */
        buf_consume(&n->text, rc < 0 ? buf_len(&n->text) : (uint32_t)(topic.n + value.n + 2));
    }
    if (buf_len(&n->text)) {
        shard_post(s, t);
        return;
    }
    buf_fini(&n->text);
    mem_free(n);
}

static void emit(void *ctx, const char *topic, const char *value)
{
    struct news *n = ctx;
    struct bytes t = bytes_of(topic, strlen(topic) + 1), v = bytes_of(value, strlen(value) + 1);
    uint32_t before = n->text.tail;
    if (buf_append(&n->text, t) < 0 || buf_append(&n->text, v) < 0) n->text.tail = before;
}

static void update_queues(struct sys *sys, const struct core_stats *sum,
                          const struct sys_limits *limits, struct news *n)
{
    struct sys_input in = {.shards = sys->figures,
                           .shard_count = shards_count(sys->shards),
                           .dead_letters = sum->dead_letters,
                           .dead_listed = sum->dead_listed,
                           .wall_ms = clock_wall_ms(),
                           .limits = *limits};
    sys_queues_update(sys->queues, &in, emit, n);
    for (unsigned i = 0; i < in.shard_count; i++) queue_figures_fini(&sys->figures[i]);
}

void sys_update(struct sys *sys, const struct sys_limits *limits, uint64_t now_ms)
{
    struct metrics_input in = {.heap = sys_memory(),
                               .sockets = (uint64_t)shards_connections(sys->shards),
                               .sockets_accepted = (uint64_t)shards_accepted(sys->shards),
                               .uptime_s = (now_ms - sys->started_ms) / 1000};
    struct news *n = mem_calloc(1, sizeof *n);
    if (n == NULL) return;
    gather(sys, &in);
    n->task.run = news_run;
    metrics_update(sys->metrics, &in, (double)(now_ms - sys->last_ms) / 1000, emit, n);
    update_queues(sys, &in.stats, limits, n);
    sys->last_ms = now_ms;
    shard_post(shards_at(sys->shards, 0), &n->task);
}

static void line_run(struct shard *s, struct shard_task *t)
{
    struct line *l = CONTAINER_OF(t, struct line, task);
    atomic_fetch_sub_explicit(&l->sys->log_lines, 1, memory_order_relaxed);
    (void)!core_publish(shard_core(s), bytes_str(l->topic), bytes_str(l->text), 2, false);
    mem_free(l);
}

void sys_log_line(void *ctx, const char *topic, const char *text)
{
    struct sys *sys = ctx;
    if (atomic_load_explicit(&sys->log_lines, memory_order_relaxed) >= LOG_LINES_MAX) return;
    size_t n = strlen(text) + 1;
    struct line *l = mem_alloc(sizeof *l + n);
    if (l == NULL) return;
    *l = (struct line){.task = {.run = line_run}, .sys = sys, .topic = topic};
    memcpy(l->text, text, n);
    atomic_fetch_add_explicit(&sys->log_lines, 1, memory_order_relaxed);
    shard_post(shards_at(sys->shards, 0), &l->task);
}
