/* The indexer: makes the index of each segment that was sealed, and what readers ask for, which
 * goes first.  Asks the core's describe() for each message, on a thread of its own, as that takes
 * a while for a whole segment. */
#include "store/log/log_int.h"

static bool is_listed(struct seglog *log, const struct segment *s)
{
    bool there = false;
    pthread_mutex_lock(&log->mutex);
    for (size_t i = 0; i < log->segment_count && !there; i++) there = log->segments[i] == s;
    pthread_mutex_unlock(&log->mutex);
    return there;
}

static void unpin(struct segment *s) { atomic_fetch_sub(&s->pins, 1); }

static int build(struct seglog *log, const struct segment *s, uint64_t from, uint64_t to,
                 struct index *out)
{
    struct index_source source = {.files = log->files,
                                  .fd = s->fd,
                                  .salt = s->salt,
                                  .base = s->base,
                                  .from = from,
                                  .to = to,
                                  .describe = log->options.describe};
    return index_build(out, &source);
}

/* ---- sealed segments ---- */

static struct segment *next_sealed(struct seglog *log)
{
    struct segment *found = NULL;
    if (log->options.describe == NULL) return NULL;
    pthread_mutex_lock(&log->mutex);
    for (size_t i = 0; i < log->segment_count && !found; i++) {
        struct segment *s = log->segments[i];
        if (!s->readable || atomic_load(&s->indexed)) continue;
        /* acquire: pairs with the writer's release; all of it is in the file */
        if (atomic_load_explicit(&s->sealed, memory_order_acquire)) found = s;
    }
    if (found) atomic_fetch_add(&found->pins, 1);
    pthread_mutex_unlock(&log->mutex);
    return found;
}

static uint64_t records_end(const struct segment *s)
{
    return min_u64(segment_limit(s), atomic_load(&s->end_at));
}

/* release: pairs with the acquire in read.c, which then looks at the times */
static void is_indexed(struct segment *s, uint64_t first_ms, uint64_t last_ms)
{
    s->first_ms = first_ms;
    s->last_ms = last_ms;
    atomic_store_explicit(&s->indexed, true, memory_order_release);
}

/* Without room or memory for it there is none: a reader makes its own then. */
static void make_file(struct seglog *log, struct segment *s)
{
    struct index x;
    int rc = index_read(log->files, log->folder, s->base, &x);
    if (rc < 0) {
        rc = build(log, s, segment_data(s), records_end(s), &x);
        if (rc == 0) (void)!index_write(log->files, log->folder, &x);
    }
    if (rc < 0) {
        is_indexed(s, 0, UINT64_MAX); /* for all that is known */
        return;
    }
    atomic_store(&s->old_records, max_u64(x.message_count, atomic_load(&s->old_records)));
    is_indexed(s, x.first_ms, x.last_ms);
    index_fini(&x);
}

static bool index_one(struct seglog *log)
{
    struct segment *s = next_sealed(log);
    if (s == NULL) return false;
    make_file(log, s);
    if (!is_listed(log, s)) { /* it went meanwhile, and its index must not stay */
        char name[NAME_BYTES];
        name_put(name, s->base, "idx");
        (void)log->files->unlink(log->folder, name);
    }
    unpin(s);
    return true;
}

/* ---- jobs ---- */

struct index_job *indexer_ask(struct door *d, struct segment *s, uint64_t from, uint64_t to)
{
    struct seglog *log = d->log;
    struct index_job *job = mem_calloc(1, sizeof *job);
    if (job == NULL) return NULL;
    *job = (struct index_job){.segment = s, .from = from, .to = to, .door = d};
    atomic_fetch_add(&s->pins, 1); /* the door has it in its copy of the list */
    pthread_mutex_lock(&log->index_mutex);
    *log->job_tail = job;
    log->job_tail = &job->next;
    pthread_mutex_unlock(&log->index_mutex);
    indexer_kick(log);
    return job;
}

enum index_state indexer_state(struct seglog *log, const struct index_job *job)
{
    pthread_mutex_lock(&log->index_mutex);
    enum index_state state = job->state;
    pthread_mutex_unlock(&log->index_mutex);
    return state;
}

static void job_free(struct index_job *job)
{
    index_fini(&job->index);
    mem_free(job);
}

void indexer_forget(struct seglog *log, struct index_job **job_ptr)
{
    struct index_job *job = *job_ptr;
    *job_ptr = NULL;
    if (job == NULL) return;
    pthread_mutex_lock(&log->index_mutex);
    bool wanted = job->state == INDEX_WANTED;
    job->abandoned = true;
    pthread_mutex_unlock(&log->index_mutex);
    if (!wanted) job_free(job); /* else the indexer does */
}

static struct index_job *take_job(struct seglog *log)
{
    pthread_mutex_lock(&log->index_mutex);
    struct index_job *job = log->job_head;
    if (job) log->job_head = job->next;
    if (log->job_head == NULL) log->job_tail = &log->job_head;
    pthread_mutex_unlock(&log->index_mutex);
    return job;
}

static int do_job(struct seglog *log, struct index_job *job)
{
    struct segment *s = job->segment;
    if (atomic_load(&log->stopping)) return E_AGAIN;
    /* acquire: as in next_sealed() */
    if (atomic_load_explicit(&s->sealed, memory_order_acquire) &&
        index_read(log->files, log->folder, s->base, &job->index) == 0)
        return 0;
    return build(log, s, job->from, job->to, &job->index);
}

static void serve(struct seglog *log, struct index_job *job)
{
    struct door *d = job->door;
    int rc = do_job(log, job);
    unpin(job->segment);
    pthread_mutex_lock(&log->index_mutex);
    job->rc = rc;
    job->state = rc < 0 ? INDEX_FAILED : INDEX_DONE;
    bool abandoned = job->abandoned;
    pthread_mutex_unlock(&log->index_mutex);
    if (abandoned)
        job_free(job);
    else
        seglog_wake(log, d);
}

/* ---- the thread ---- */

void indexer_kick(struct seglog *log)
{
    atomic_store(&log->indexes, true); /* pairs with the exchange in indexer_main() */
    sleeper_wake(&log->indexer_sleep);
}

void *indexer_main(void *arg)
{
    struct seglog *log = arg;
    struct index_job *job;
    (void)pthread_setname_np(pthread_self(), "log-indexer"); /* for top and gdb only */
    for (;;) {
        bool stopping = atomic_load(&log->stopping);
        while ((job = take_job(log)) != NULL) serve(log, job);
        if (stopping) return NULL;
        if (index_one(log)) continue;
        sleeper_begin(&log->indexer_sleep);
        if (atomic_exchange(&log->indexes, false) || atomic_load(&log->stopping))
            sleeper_stay(&log->indexer_sleep); /* both pair with what precedes sleeper_wake() */
        else
            sleeper_wait(&log->indexer_sleep, -1);
    }
}
