/* The store of all shards: opening it, recovering the cores from it, waking a shard when the log
 * has moved.  Main thread, before the shards' threads run; each core is recovered by a thread of
 * its own. */
#include "shard_store.h"

#include "base/clock.h"
#include "shard_int.h"
#include <stdio.h>
#include <time.h>

enum { FINISH_MS = 2000, MEMORY_CHECKPOINT = 16 << 20 };

static void on_wake(void *ctx, unsigned door)
{
    struct shard *s = &((struct shard_set *)ctx)->shards[door];
    atomic_store(&s->store_news, true); /* pairs with the look after loop_sleep_begin() */
    loop_wake(s->loop);
}

static void on_log(void *ctx, unsigned log_type, const char *line)
{
    log_line(((struct shard_set *)ctx)->log, log_type, line);
}

static bool describe(struct bytes body, struct store_topic *out)
{
    return core_message_topic(body, &out->topic, &out->time_ms);
}

static void say_durability(struct shard_set *set, const struct conf *conf)
{
    if (conf->durability.kind == STORE_INTERVAL)
        log_printf(set->log, LOG_T_WARNING,
                   "durability interval: what was acknowledged in the last %u ms before a power "
                   "failure can be lost.",
                   conf->durability.interval_ms);
    if (conf->durability.kind == STORE_OS)
        log_line(set->log, LOG_T_WARNING,
                 "durability os: what was acknowledged in the last seconds before a power failure "
                 "can be lost.");
}

static int log_open_doors(struct shard_set *set, const struct conf *conf, const char *folder,
                          struct store **doors)
{
    const struct store_log_options options = {
        .folder = folder,
        .durability = conf->durability.kind,
        .interval_ms = conf->durability.interval_ms,
        .segment_bytes = conf->store_segment_bytes,
        .checkpoint_bytes = folder ? conf->store_checkpoint_bytes : MEMORY_CHECKPOINT,
        .describe = describe,
        .wake = on_wake,
        .log = on_log,
        .ctx = set,
    };
    struct store_log_report report;
    int rc = store_log_open(doors, set->count, &options, &report);
    if (folder == NULL) return rc;
    if (rc == E_EXISTS)
        log_printf(set->log, LOG_T_ERROR, "Error: another process uses the store in %s.", folder);
    else if (rc == E_INVALID)
        log_printf(set->log, LOG_T_ERROR, "Error: the store in %s was written by a later version.",
                   folder);
    if (rc < 0) return rc == E_NOMEM ? rc : E_IO; /* what it is has been said */
    log_printf(set->log, LOG_T_NOTICE,
               "Store %s: %llu records in %llu segments are read, %llu lost, %llu bytes of an "
               "unfinished write cut off.",
               folder, (unsigned long long)report.records, (unsigned long long)report.segments,
               (unsigned long long)report.lost_records, (unsigned long long)report.torn_bytes);
    say_durability(set, conf);
    return 0;
}

int shards_store_open(struct shard_set *set, const struct conf *conf, const char *folder)
{
    struct store *doors[CORE_MAX_SHARDS] = {NULL};
    set->on_disk = folder != NULL;
    bool logs = folder || conf->core.history_count; /* what is to be read again needs a log */
    int rc = logs ? log_open_doors(set, conf, folder, doors) : store_mem_open(doors, set->count);
    for (unsigned i = 0; i < set->count && rc == 0; i++) set->shards[i].store = doors[i];
    return rc;
}

void shard_store_finish(struct shard *s)
{
    uint64_t until_ms = clock_mono_ms() + FINISH_MS;
    core_flush(s->core);
    while (!core_flushed(s->core) && clock_mono_ms() < until_ms) {
        struct timespec moment = {.tv_nsec = 1000000};
        nanosleep(&moment, NULL);
        (void)store_poll(s->store);
        core_flush(s->core);
    }
}

/* ---- recovery ---- */

struct recovery_job {
    struct shard *shard;
    pthread_t thread;
    int rc;
};

static void *recover_main(void *arg)
{
    struct recovery_job *job = arg;
    job->rc = core_recover(job->shard->core);
    return NULL;
}

static void say_recovered(struct shard_set *set, uint64_t took_ms)
{
    uint64_t sessions = 0, queued = 0, retained = 0;
    for (unsigned i = 0; i < set->count; i++) {
        const struct core_stats *stats = core_stats(set->shards[i].core);
        sessions += stats->sessions;
        queued += stats->queued + stats->inflight;
        retained += stats->retained;
    }
    log_printf(set->log, LOG_T_NOTICE,
               "Recovered in %llu ms: %llu sessions with %llu messages, %llu retained messages.",
               (unsigned long long)took_ms, (unsigned long long)sessions,
               (unsigned long long)queued, (unsigned long long)retained);
}

int shards_recover(struct shard_set *set)
{
    struct recovery_job jobs[CORE_MAX_SHARDS];
    uint64_t began = clock_mono_ms();
    unsigned started = 0;
    int rc = 0;
    if (!store_keeps(set->shards[0].store)) return 0;
    for (; started < set->count && rc == 0; started++) {
        struct recovery_job *job = &jobs[started];
        *job = (struct recovery_job){.shard = &set->shards[started]};
        if (pthread_create(&job->thread, NULL, recover_main, job) != 0) rc = E_IO;
        if (rc < 0) break;
    }
    for (unsigned i = 0; i < started; i++) {
        pthread_join(jobs[i].thread, NULL);
        if (rc == 0) rc = jobs[i].rc;
    }
    if (rc < 0) return rc;
    struct core *cores[CORE_MAX_SHARDS];
    for (unsigned i = 0; i < set->count; i++) cores[i] = set->shards[i].core;
    core_begin(cores, set->count);
    if (set->on_disk) say_recovered(set, clock_mono_ms() - began);
    return 0;
}
