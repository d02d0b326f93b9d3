/* The engine `log`: opening and closing it, and what its threads have in common. */
#include "store/log/log_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

enum {
    DEFAULT_SEGMENT = 64 << 20,
    MEMORY_SEGMENT = 8 << 20, /* of a log in memory, which gives back whole segments */
    DEFAULT_MEMORY = 64 << 20,
    DEFAULT_INTERVAL_MS = 100
};

/* ---- for all ---- */

void seglog_say(struct seglog *log, unsigned type, const char *format, ...)
{
    char line[1024];
    va_list args;
    if (log->options.log == NULL) return;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    log->options.log(log->options.ctx, type, line);
}

void seglog_wake(struct seglog *log, struct door *d)
{
    pthread_mutex_lock(&log->wake_mutex);
    if (!d->closed && log->options.wake) log->options.wake(log->options.ctx, d->index);
    pthread_mutex_unlock(&log->wake_mutex);
}

void seglog_wake_waiting(struct seglog *log)
{
    for (unsigned i = 0; i < log->door_count; i++)
        if (atomic_exchange(&log->doors[i]->wants, false)) /* pairs with door_waits() */
            seglog_wake(log, log->doors[i]);
}

void seglog_fail(struct seglog *log, const char *what, const struct segment *s)
{
    char name[NAME_BYTES];
    int why = errno;
    segment_name(s, name);
    if (atomic_exchange(&log->failed, true)) return;
    /* The kernel may have dropped what it could not write: the next start must not think that
     * everything written is there. */
    (void)log->files->truncate(log->lock, 0);
    seglog_say(log, LOG_T_ERROR,
               "Error: %s %s/%s failed: %s. What was not reported safe may be lost, and nothing is "
               "kept any more. When the disk is well again, the broker must be restarted.",
               what, log->options.folder, name, strerror(why));
}

/* ---- the engine ---- */

static void door_stats(const struct store *st, struct store_stats *out)
{
    struct seglog *log = CONTAINER_OF(st, struct door, base)->log;
    for (unsigned i = 0; i < log->door_count; i++) {
        const struct door *d = log->doors[i];
        out->appended_records += atomic_load_explicit(&d->records, memory_order_relaxed);
        out->appended_bytes += atomic_load_explicit(&d->bytes, memory_order_relaxed);
    }
    out->written_bytes = atomic_load_explicit(&log->written_bytes, memory_order_relaxed);
    out->syncs = atomic_load_explicit(&log->syncs, memory_order_relaxed);
    out->lost_records = atomic_load(&log->lost);
    out->full = atomic_load(&log->full) || atomic_load(&log->failed);
    pthread_mutex_lock(&log->mutex);
    out->segments = log->segment_count;
    for (size_t i = 0; i < log->segment_count; i++)
        out->bytes += log->segments[i]->end - log->segments[i]->base;
    out->bytes += atomic_load(&log->spare_count) * log->segment_bytes;
    pthread_mutex_unlock(&log->mutex);
}

static void door_close(struct store *st);

#define LOG_OPS                                                                                    \
    .append = door_append, .journal = door_journal, .crowded = door_crowded, .flush = door_flush,  \
    .poll = door_poll, .end = door_end, .hold = door_hold, .fetch = door_fetch, .drop = door_drop, \
    .release = door_release, .scan_open = door_scan_open, .checkpoint_due = door_checkpoint_due,   \
    .checkpoint = door_checkpoint, .must_move = door_must_move, .move = door_move,                 \
    .stats = door_stats, .close = door_close

static const struct store_ops log_ops = {LOG_OPS};
static const struct store_ops reading_log_ops = {LOG_OPS, .read_open = door_read_open,
                                                 .keep = door_keep};

/* ---- closing ---- */

static void seglog_free(struct seglog *log)
{
    for (size_t i = 0; i < log->segment_count; i++) segment_free(log, log->segments[i]);
    for (size_t i = 0; i < log->gone_count; i++) segment_free(log, log->gone[i]);
    for (unsigned i = 0; log->doors && i < log->door_count; i++) {
        struct door *d = log->doors[i];
        if (d == NULL) continue;
        door_slots_free(d);
        places_fini(&d->places);
        mem_free(d);
    }
    if (log->checkpoint_fd >= 0) (void)log->files->close(log->checkpoint_fd);
    if (log->lock >= 0) (void)log->files->close(log->lock);
    if (log->folder >= 0) (void)log->files->close(log->folder);
    pthread_mutex_destroy(&log->mutex);
    pthread_mutex_destroy(&log->wake_mutex);
    pthread_mutex_destroy(&log->read_mutex);
    pthread_mutex_destroy(&log->index_mutex);
    mem_free((char *)(uintptr_t)log->options.folder);
    mem_free(log->segments);
    mem_free(log->gone);
    mem_free(log->holes);
    mem_free(log->doors);
    mem_free(log->ring);
    mem_free(log);
}

/* The writer first: it ends when everything is safe. */
static void seglog_stop(struct seglog *log)
{
    atomic_store(&log->stopping, true);
    sleeper_wake(&log->writer_sleep);
    sleeper_wake(&log->keeper_sleep);
    sleeper_wake(&log->reader_sleep);
    sleeper_wake(&log->indexer_sleep);
    if (log->writer_runs) pthread_join(log->writer, NULL);
    if (log->keeper_runs) pthread_join(log->keeper, NULL);
    if (log->reader_runs) pthread_join(log->reader, NULL);
    if (log->indexer_runs) pthread_join(log->indexer, NULL);
}

static void door_close(struct store *st)
{
    struct door *d = CONTAINER_OF(st, struct door, base);
    struct seglog *log = d->log;
    atomic_store(&d->places.seen, UINT64_MAX);
    pthread_mutex_lock(&log->wake_mutex);
    d->closed = true;
    bool last = --log->open_doors == 0;
    pthread_mutex_unlock(&log->wake_mutex);
    if (!last) return;
    seglog_stop(log);
    seglog_free(log);
}

/* ---- opening ---- */

static uint64_t power_of_two(uint64_t n)
{
    uint64_t p = 1;
    while (p < n) p *= 2;
    return p;
}

static int set_options(struct seglog *log, const struct store_log_options *options)
{
    log->options = *options;
    const char *folder = options->folder ? options->folder : "memory";
    log->options.folder = mem_strndup(folder, strlen(folder));
    if (log->options.interval_ms == 0) log->options.interval_ms = DEFAULT_INTERVAL_MS;
    uint64_t bytes = options->segment_bytes ? options->segment_bytes : DEFAULT_SEGMENT;
    if (log->files->in_memory) {
        bytes = min_u64(bytes, MEMORY_SEGMENT);
        log->options.durability = STORE_COMMIT; /* costs nothing there */
    }
    log->segment_bytes = max_u64(SEGMENT_MIN, bytes) / SEGMENT_UNIT * SEGMENT_UNIT;
    log->memory =
        max_u64(MEMORY_MIN, options->memory_bytes ? options->memory_bytes : DEFAULT_MEMORY);
    log->ring_bytes = power_of_two(max_u64(RING_MIN, log->memory));
    log->ring = mem_alloc(log->ring_bytes);
    return log->options.folder && log->ring ? 0 : E_NOMEM;
}

static int new_doors(struct seglog *log, unsigned count)
{
    log->doors = mem_calloc(count, sizeof(struct door *));
    if (log->doors == NULL) return E_NOMEM;
    log->door_count = log->open_doors = count;
    for (unsigned i = 0; i < count; i++) {
        struct door *d = mem_calloc_aligned(1, sizeof *d);
        if (d == NULL) return E_NOMEM;
        d->base = (struct store){.ops = log->options.describe ? &reading_log_ops : &log_ops,
                                 .keeps = true};
        d->log = log;
        d->index = i;
        atomic_init(&d->busy_from, UINT64_MAX);
        log->doors[i] = d;
    }
    return 0;
}

static int seglog_new(struct seglog **out, unsigned count, const struct store_log_options *options,
                      const struct file_ops *files)
{
    struct seglog *log = mem_calloc_aligned(1, sizeof *log);
    if (log == NULL) return E_NOMEM;
    log->files = files;
    log->folder = log->lock = log->checkpoint_fd = -1;
    atomic_init(&log->keep, UINT64_MAX);
    log->read_tail = &log->read_head;
    log->job_tail = &log->job_head;
    pthread_mutex_init(&log->mutex, NULL); /* these cannot fail here */
    pthread_mutex_init(&log->index_mutex, NULL);
    pthread_mutex_init(&log->wake_mutex, NULL);
    pthread_mutex_init(&log->read_mutex, NULL);
    int rc = set_options(log, options);
    if (rc == 0) rc = new_doors(log, count);
    if (rc == 0)
        *out = log;
    else
        seglog_free(log);
    return rc;
}

/* The folder, made durable when it is new, and its lock. */
static int open_folder(struct seglog *log)
{
    const struct file_ops *f = log->files;
    const char *path = log->options.folder;
    bool made = !f->in_memory && mkdir(path, 0700) == 0;
    log->folder = f->open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
    if (log->folder < 0) return E_IO;
    int parent = made ? f->open(log->folder, "..", O_RDONLY | O_DIRECTORY) : -1;
    int synced = made && parent >= 0 ? f->sync(parent) : 0;
    if (parent >= 0) (void)f->close(parent);
    if (synced < 0) return E_IO;
    log->lock = f->open(log->folder, "lock", O_RDWR | O_CREAT);
    if (log->lock < 0) return E_IO;
    if (flock(log->lock, LOCK_EX | LOCK_NB) == 0) return 0;
    return errno == EWOULDBLOCK ? E_EXISTS : E_IO;
}

/* Whether the kernel is the same that the log was last open under; *now names it. */
static bool same_boot(struct seglog *log, char now[FILE_BOOT_BYTES])
{
    uint8_t before[FILE_BOOT_BYTES];
    bool bad = false;
    if (log->files->boot(now) < 0) {
        memset(now, 0, FILE_BOOT_BYTES); /* not known, so never the same */
        return false;
    }
    file_read(log->files, log->lock, before, sizeof before, 0, &bad);
    return memcmp(before, now, FILE_BOOT_BYTES) == 0;
}

/* Appends begin in the first blank segment.  Without room for one on the disk the log opens as
 * well: appends are E_FULL until the keeper has found room for it. */
static int first_segment(struct seglog *log)
{
    size_t i = 0;
    while (i < log->segment_count && atomic_load(&log->segments[i]->sealed)) i++;
    uint64_t begin = i ? log->segments[i - 1]->end : log->first_base;
    if (i == log->segment_count) {
        struct segment *s;
        int rc = segment_prepare(log, log->segment_bytes, &s);
        if (rc == 0 && (rc = segments_add(log, s)) < 0) segment_free(log, s);
        if (rc < 0 && !(rc == E_IO && errno_is_full())) return rc;
    }
    begin = (i < log->segment_count ? log->segments[i]->base : begin) + SEGMENT_DATA;
    atomic_store(&log->reserved, begin);
    atomic_store(&log->written, begin);
    atomic_store(&log->safe, begin);
    atomic_store(&log->durable, begin);
    log->told = begin;
    return 0;
}

static int start_threads(struct seglog *log)
{
    log->writer_runs = pthread_create(&log->writer, NULL, writer_main, log) == 0;
    log->keeper_runs = pthread_create(&log->keeper, NULL, keeper_main, log) == 0;
    log->reader_runs = pthread_create(&log->reader, NULL, reader_main, log) == 0;
    log->indexer_runs = pthread_create(&log->indexer, NULL, indexer_main, log) == 0;
    if (log->writer_runs && log->keeper_runs && log->reader_runs && log->indexer_runs) return 0;
    errno = EAGAIN;
    seglog_stop(log);
    return E_IO;
}

static int seglog_begin(struct seglog *log, struct store_log_report *report)
{
    char boot[FILE_BOOT_BYTES];
    int rc = open_folder(log);
    if (rc == 0) rc = seglog_load(log);
    if (rc == 0) rc = seglog_recover(log, same_boot(log, boot), report);
    if (rc == 0) rc = first_segment(log);
    if (rc < 0) return rc;
    /* Not synced: if it is lost, the kernel is another one. */
    rc = file_write_bytes(log->files, log->lock, bytes_of(boot, sizeof boot), 0);
    if (rc < 0) return rc;
    uint64_t begin = atomic_load(&log->reserved);
    atomic_store(&log->due_from, begin > report->bytes ? begin - report->bytes : 0);
    checkpoint_in_force(log, &log->checkpoint);
    for (unsigned i = 0; i < log->door_count; i++)
        if ((rc = door_renew(log->doors[i])) < 0) return rc;
    return start_threads(log);
}

int seglog_open(struct store **doors, unsigned count, const struct store_log_options *options,
                struct store_log_report *report, const struct file_ops *files)
{
    struct seglog *log;
    ASSERT(count > 0 && count <= DOORS_MAX);
    int rc = seglog_new(&log, count, options, files);
    if (rc < 0) return rc;
    rc = seglog_begin(log, report);
    if (rc < 0) {
        int why = errno;
        if (rc == E_IO)
            seglog_say(log, LOG_T_ERROR, "Error: the message log in %s cannot be opened: %s.",
                       log->options.folder, strerror(why));
        seglog_free(log);
        errno = why;
        return rc;
    }
    for (unsigned i = 0; i < count; i++) doors[i] = &log->doors[i]->base;
    return 0;
}

int store_log_open(struct store **doors, unsigned count, const struct store_log_options *options,
                   struct store_log_report *report)
{
    return seglog_open(doors, count, options, report,
                       options->folder ? &file_ops_real : &file_ops_memory);
}
