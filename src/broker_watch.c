/* Each time that the watchdog is to be told, every shard is asked to run a task; the next time it
 * is told only if all have.  Main thread, but for answer(). */
#include "broker_watch.h"

#include "base/clock.h"
#include "base/mem.h"
#include "notify.h"
#include <stdatomic.h>

struct question {
    struct shard_task task;
    atomic_uint *answers;
};

struct watch {
    struct shard_set *shards;
    struct log *log;
    uint64_t every_ms, due_ms;
    bool told; /* that a shard does not answer */
    unsigned count;
    atomic_uint answers; /* release in answer(): pairs with acquire in watch_tick() */
    struct question questions[];
};

static void answer(struct shard *s, struct shard_task *t)
{
    (void)s;
    atomic_fetch_add_explicit(CONTAINER_OF(t, struct question, task)->answers, 1,
                              memory_order_release);
}

static void ask(struct watch *w)
{
    atomic_store_explicit(&w->answers, 0, memory_order_relaxed);
    for (unsigned i = 0; i < w->count; i++)
        shard_post(shards_at(w->shards, i), &w->questions[i].task);
}

int watch_new(struct watch **out, struct shard_set *shards, struct log *log)
{
    uint64_t every_ms = notify_watchdog_ms();
    unsigned count = shards_count(shards);
    *out = NULL;
    if (every_ms == 0) return 0;
    struct watch *w = mem_calloc(1, sizeof *w + count * sizeof w->questions[0]);
    if (w == NULL) return E_NOMEM;
    w->shards = shards;
    w->log = log;
    w->every_ms = every_ms;
    w->due_ms = clock_mono_ms() + every_ms;
    w->count = count;
    for (unsigned i = 0; i < count; i++)
        w->questions[i] = (struct question){.task = {.run = answer}, .answers = &w->answers};
    ask(w);
    *out = w;
    return 0;
}

void watch_free(struct watch **w)
{
    mem_free(*w);
    *w = NULL;
}

uint64_t watch_due_ms(const struct watch *w) { return w ? w->due_ms : UINT64_MAX; }

void watch_tick(struct watch *w, uint64_t now_ms)
{
    if (w == NULL || now_ms < w->due_ms) return;
    w->due_ms = now_ms + w->every_ms;
    if (atomic_load_explicit(&w->answers, memory_order_acquire) == w->count) {
        notify("WATCHDOG=1");
        ask(w);
    } else if (!w->told) {
        w->told = true;
        log_line(w->log, LOG_T_ERROR,
                 "Error: a shard does not answer; the watchdog of the service manager is not told "
                 "that all is well.");
    }
}
