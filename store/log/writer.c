/* The writer: the one thread that writes records.  It takes what is complete, writes it, syncs,
 * says that it is safe and goes on at once, so that a batch is what came during the last sync.  The
 * segment that is left is synced before the next is written to: on disk, too, the log is always a
 * prefix of what was appended (within a segment the frames' `behind` shows a gap for what it is).
 */
#include "base/clock.h"
#include "store/log/log_int.h"

#include <sched.h>
#include <sys/mman.h>

enum { PAGE = 4096 };

static uint64_t now(const _Atomic uint64_t *a)
{
    return atomic_load_explicit(a, memory_order_relaxed);
}

/* Up to where everything is in the ring. */
static uint64_t complete(struct seglog *log)
{
    /* acquire: pairs with the compare-and-swap in append.c; the busy_from set before it is seen */
    uint64_t end = atomic_load_explicit(&log->reserved, memory_order_acquire);
    for (unsigned i = 0; i < log->door_count; i++)
        end = min_u64(end, atomic_load_explicit(&log->doors[i]->busy_from, memory_order_acquire));
    return max_u64(end, now(&log->written)); /* a lower bound may be an old one */
}

static void count_written(struct seglog *log, uint64_t bytes)
{
    atomic_fetch_add_explicit(&log->written_bytes, bytes, memory_order_relaxed);
}

static int sync_segment(struct seglog *log, struct segment *s)
{
    atomic_fetch_add_explicit(&log->syncs, 1, memory_order_relaxed);
    if (log->files->datasync(s->fd) == 0) return 0;
    seglog_fail(log, "syncing", s);
    return E_IO;
}

/* With less memory than the ring has addresses, what was written is given back to the kernel. */
static void give_back(struct seglog *log, uint64_t at, uint64_t n)
{
    if (log->memory >= log->ring_bytes) return;
    uintptr_t begin = (uintptr_t)log->ring + at, end = (begin + n) & ~(uintptr_t)(PAGE - 1);
    begin = (begin + PAGE - 1) & ~(uintptr_t)(PAGE - 1);
    /* A wish: it costs memory only.  The last page may hold the beginning of what comes next. */
    if (begin < end) (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
}

static int write_ring(struct seglog *log, struct segment *s, uint64_t from, uint64_t to)
{
    uint64_t at = from & (log->ring_bytes - 1), n = to - from;
    uint64_t first = min_u64(n, log->ring_bytes - at);
    struct iovec v[2] = {{log->ring + at, first}, {log->ring, n - first}};
    if (file_write(log->files, s->fd, v, 2, from - s->base) < 0) {
        seglog_fail(log, "writing", s);
        return E_IO;
    }
    count_written(log, n);
    give_back(log, at, first);
    give_back(log, 0, n - first);
    return 0;
}

static int write_end_frame(struct seglog *log, struct segment *s, uint64_t at)
{
    uint64_t behind = (at - now(&log->durable)) / FRAME_ALIGN;
    struct frame f = {.position = at, .kind = FRAME_END};
    f.behind = (uint32_t)min_u64(behind, UINT32_MAX);
    uint8_t bytes[FRAME_BYTES];
    frame_put(bytes, &f, s->salt, (struct bytes){0}, (struct bytes){0});
    if (file_write_bytes(log->files, s->fd, bytes_of(bytes, sizeof bytes), at - s->base) < 0) {
        seglog_fail(log, "writing", s);
        return E_IO;
    }
    count_written(log, sizeof bytes);
    return 0;
}

/* seq_cst: pairs with a shard that says it goes to sleep and then looks at store_poll(). */
static void publish_safe(struct seglog *log, uint64_t end)
{
    if (end > now(&log->safe)) atomic_store(&log->safe, end);
}

static void publish_durable(struct seglog *log, uint64_t end)
{
    atomic_store_explicit(&log->durable, end, memory_order_release);
    publish_safe(log, end);
    log->synced_ms = clock_mono_ms();
}

/* Ends the segment of `written` and goes to the beginning of the next. */
static int leave(struct seglog *log, struct segment *s, struct segment *next)
{
    /* acquire: pairs with leave_segments() */
    uint64_t end_at = atomic_load_explicit(&s->end_at, memory_order_acquire);
    int rc = write_end_frame(log, s, end_at);
    if (rc == 0) rc = sync_segment(log, s);
    if (rc < 0) return rc;
    /* release: pairs with the doors' and the keeper's acquire */
    atomic_store_explicit(&log->written, segment_data(next), memory_order_release);
    publish_durable(log, segment_data(next));
    atomic_store_explicit(&s->sealed, true, memory_order_release);
    keeper_kick(log);
    indexer_kick(log);
    return 0;
}

/* The segment that is written to; it stays in the list until this thread has left it. */
static struct segment *written_segment(struct seglog *log)
{
    struct segment *s = segments_find(log, now(&log->written));
    ASSERT(s != NULL);
    return s;
}

/* Writes up to `end`, which is the end of a record: so is `written` whenever others see it. */
static int write_to(struct seglog *log, uint64_t end)
{
    while (now(&log->written) < end) {
        struct segment *s = written_segment(log);
        int rc = 0;
        bool beyond = end > s->end;
        uint64_t to = beyond ? atomic_load_explicit(&s->end_at, memory_order_acquire) : end;
        uint64_t from = now(&log->written);
        if (to > from) rc = write_ring(log, s, from, to);
        if (rc < 0) return rc;
        if (from < segment_quarter(s) && to >= segment_quarter(s)) keeper_kick(log);
        /* release: pairs with ring_has_room() and with fetching */
        atomic_store_explicit(&log->written, to, memory_order_release);
        if (beyond && (rc = leave(log, s, segments_find(log, s->end))) < 0) return rc;
    }
    return 0;
}

static int sync_to(struct seglog *log, uint64_t end)
{
    int rc = sync_segment(log, written_segment(log));
    if (rc == 0) publish_durable(log, end);
    return rc;
}

static bool sync_is_due(const struct seglog *log)
{
    if (now(&log->durable) == now(&log->written)) return false;
    switch (log->options.durability) {
    case STORE_COMMIT: return true;
    case STORE_INTERVAL: return clock_mono_ms() >= log->synced_ms + log->options.interval_ms;
    case STORE_OS: break;
    }
    return false;
}

/* Doors that have waited for what has now become safe. */
static void tell(struct seglog *log)
{
    uint64_t safe = now(&log->safe);
    for (unsigned i = 0; safe > log->told && i < log->door_count; i++)
        if (atomic_load(&log->doors[i]->flushed) > log->told) seglog_wake(log, log->doors[i]);
    log->told = safe;
    seglog_wake_waiting(log);
}

static bool is_idle(struct seglog *log)
{
    for (unsigned i = 0; i < log->door_count; i++)
        if (atomic_load(&log->doors[i]->flushed) > now(&log->written)) return false;
    return !atomic_load(&log->stopping); /* both pair with sleeper_wake() */
}

static void rest(struct seglog *log)
{
    int64_t timeout_ms = -1;
    if (log->options.durability == STORE_INTERVAL && now(&log->durable) < now(&log->written))
        timeout_ms = log->options.interval_ms;
    sleeper_begin(&log->writer_sleep);
    if (is_idle(log))
        sleeper_wait(&log->writer_sleep, timeout_ms);
    else
        sleeper_stay(&log->writer_sleep);
    /* What is to be written waits for a door that is just copying, perhaps without a processor. */
    if (complete(log) == now(&log->written)) sched_yield();
}

/* After a failure doors are still told that nothing more comes. */
static void rest_failed(struct seglog *log)
{
    seglog_wake_waiting(log);
    sleeper_begin(&log->writer_sleep);
    if (atomic_load(&log->stopping))
        sleeper_stay(&log->writer_sleep);
    else
        sleeper_wait(&log->writer_sleep, -1);
}

/* The end frame says to the next start that all was written and nothing is missing. */
static void finish(struct seglog *log)
{
    uint64_t end = now(&log->written);
    struct segment *s = segments_find(log, end); /* none: the disk was full from the start */
    if (s == NULL) return;
    if (now(&log->durable) < end && sync_to(log, end) < 0) return;
    if (end > segment_data(s) && write_end_frame(log, s, end) == 0) (void)sync_segment(log, s);
}

static void *run(struct seglog *log)
{
    for (;;) {
        bool stopping = atomic_load(&log->stopping);
        bool failed = atomic_load(&log->failed);
        uint64_t end = complete(log);
        if (failed && stopping) return NULL;
        if (failed) {
            rest_failed(log);
            continue;
        }
        if (end > now(&log->written) && write_to(log, end) < 0) continue;
        if (sync_is_due(log) && sync_to(log, now(&log->written)) < 0) continue;
        if (log->options.durability != STORE_COMMIT) publish_safe(log, now(&log->written));
        tell(log);
        if (stopping && complete(log) == now(&log->written)) break;
        rest(log);
    }
    finish(log);
    return NULL;
}

void *writer_main(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "log-writer"); /* for top and gdb only */
    return run(arg);
}
