/* A log in a folder of its own for tests of the log engine: doors, records whose content follows
 * from their numbers, and what the log said.  Included after cmocka. */
#ifndef UNIT_STORE_LOG_SITE_H
#define UNIT_STORE_LOG_SITE_H

#include "base/clock.h"
#include "store/log/log_int.h"
#include "store/log/walk.h"
#include "tests/unit/store_log_files.h"

#include <dirent.h>
#include <stdio.h>

enum { SITE_DOORS = 4, LINES = 16384, WAIT_MS = 20000, SEGMENT = 64 << 10 };

static struct site {
    char folder[64];
    struct store *doors[SITE_DOORS];
    unsigned count;
    struct store_log_options options;
    struct store_log_report report;
    char lines[LINES]; /* what was logged since the last opening; under mutex */
    size_t lines_len;
    pthread_mutex_t mutex;
    _Atomic unsigned wakes[SITE_DOORS];
} site = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static inline void site_log(void *ctx, unsigned type, const char *line)
{
    (void)ctx, (void)type;
    pthread_mutex_lock(&site.mutex);
    int n = snprintf(site.lines + site.lines_len, LINES - site.lines_len, "%s\n", line);
    site.lines_len = min_u64(site.lines_len + (size_t)n, LINES - 1);
    pthread_mutex_unlock(&site.mutex);
}

static inline bool logged(const char *text)
{
    pthread_mutex_lock(&site.mutex);
    bool found = strstr(site.lines, text) != NULL;
    pthread_mutex_unlock(&site.mutex);
    return found;
}

static inline void site_wake(void *ctx, unsigned door)
{
    (void)ctx;
    atomic_fetch_add(&site.wakes[door], 1);
}

static inline int try_open(unsigned count)
{
    site.lines[0] = 0;
    site.lines_len = 0;
    int rc = seglog_open(site.doors, count, &site.options, &site.report, &faulty_files);
    site.count = rc == 0 ? count : 0;
    return rc;
}

static inline void site_open(unsigned count) { assert_int_equal(try_open(count), 0); }

static inline void site_close(void)
{
    for (unsigned i = 0; i < site.count; i++) store_close(site.doors[i]);
    site.count = 0;
}

static inline void reopen(unsigned count)
{
    site_close();
    site_open(count);
}

/* Everything written from now on is as if the process had been killed. */
static inline void site_kill(void)
{
    files_set(&files.dead, true);
    site_close();
    files_set(&files.dead, false);
}

static inline int setup(void **state)
{
    (void)state;
    files_reset();
    snprintf(site.folder, sizeof site.folder, "/tmp/sluice-log-XXXXXX");
    assert_non_null(mkdtemp(site.folder));
    site.options = (struct store_log_options){.folder = site.folder,
                                              .segment_bytes = SEGMENT,
                                              .memory_bytes = 1 << 20,
                                              .checkpoint_bytes = 1 << 20,
                                              .wake = site_wake,
                                              .log = site_log};
    return 0;
}

static inline void each_file(void (*each)(const char *path))
{
    struct dirent *e;
    char path[400];
    DIR *d = opendir(site.folder);
    assert_non_null(d);
    while ((e = readdir(d)) != NULL) {
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", site.folder, e->d_name);
        each(path);
    }
    closedir(d);
}

static inline void remove_file(const char *path) { assert_int_equal(unlink(path), 0); }

static inline void site_clear(void) { each_file(remove_file); }

static inline int teardown(void **state)
{
    (void)state;
    site_close();
    files_reset();
    site_clear();
    rmdir(site.folder);
    return 0;
}

/* ---- records ---- */

static inline void pause_ms(long ms) { nanosleep(&(struct timespec){0, ms * 1000000}, NULL); }

static inline void wait_safe(unsigned door, uint64_t seq)
{
    uint64_t until = clock_mono_ms() + WAIT_MS;
    store_flush(site.doors[door]);
    while (store_poll(site.doors[door]) < seq) {
        if (clock_mono_ms() > until) fail_msg("sequence %llu is not safe", (unsigned long long)seq);
        pause_ms(1);
    }
}

/* A body whose content follows from id; its size, too, when n is 0. */
static inline struct blob *body_new(uint64_t id, uint32_t n)
{
    struct rng rng = {id}, size = {id};
    if (n == 0) n = (uint32_t)(8 + rng_below(&size, 600));
    struct blob *b = blob_new(n);
    assert_non_null(b);
    for (uint32_t i = 0; i < n; i++) b->data[i] = (uint8_t)rng_next(&rng);
    if (n >= 8) memcpy(b->data, &id, 8);
    return b;
}

static inline void body_check(struct bytes got, uint64_t id)
{
    struct blob *b = body_new(id, (uint32_t)got.n);
    assert_true(got.n >= 8);
    assert_memory_equal(got.p, b->data, got.n);
    blob_unref(b);
}

static inline int try_append(unsigned door, uint64_t id, uint32_t n, uint64_t *seq)
{
    struct blob *b = body_new(id, n);
    int rc = store_append(site.doors[door], bytes_of(&id, sizeof id), b, seq);
    blob_unref(b);
    return rc;
}

static inline uint64_t append_of(unsigned door, uint64_t id, uint32_t n)
{
    uint64_t seq = 0, until = clock_mono_ms() + WAIT_MS;
    int rc;
    while ((rc = try_append(door, id, n, &seq)) == E_AGAIN && clock_mono_ms() < until) {
        store_flush(site.doors[door]);
        pause_ms(1);
        store_poll(site.doors[door]);
    }
    assert_int_equal(rc, 0);
    return seq;
}

static inline uint64_t append(unsigned door, uint64_t id) { return append_of(door, id, 0); }

static inline struct blob *fetch(unsigned door, store_ref ref)
{
    struct blob *b = NULL;
    uint64_t until = clock_mono_ms() + WAIT_MS;
    int rc;
    while ((rc = store_fetch(site.doors[door], ref, &b)) == E_AGAIN && clock_mono_ms() < until) {
        pause_ms(1);
        store_poll(site.doors[door]);
    }
    assert_int_equal(rc, 0);
    return b;
}

static inline void expect_fetch(unsigned door, store_ref ref, uint64_t id)
{
    struct blob *b = fetch(door, ref);
    body_check(bytes_of(b->data, b->size), id);
    blob_unref(b);
}

/* The ids of all messages of a scan, in order; checks prefixes, bodies and the order. */
static inline size_t scan(unsigned door, uint64_t *ids, size_t max)
{
    struct store_scan *s = NULL;
    struct store_record r;
    uint64_t last = 0;
    size_t count = 0;
    int rc;
    assert_int_equal(store_scan_open(site.doors[door], &s), 0);
    while ((rc = store_scan_next(s, &r)) == 0) {
        assert_true(r.seq > last);
        last = r.seq;
        if (r.kind == STORE_JOURNAL) continue;
        assert_int_equal(r.kind, STORE_MESSAGE);
        assert_int_equal(r.prefix.n, sizeof(uint64_t));
        assert_true(count < max);
        memcpy(&ids[count], r.prefix.p, sizeof *ids);
        body_check(r.body, ids[count]);
        count++;
    }
    assert_int_equal(rc, E_NOTFOUND);
    store_scan_close(&s);
    return count;
}

static inline void expect_scan(uint64_t first, uint64_t count)
{
    static uint64_t ids[20000];
    assert_int_equal(scan(0, ids, ARRAY_LEN(ids)), count);
    for (uint64_t i = 0; i < count; i++) assert_int_equal(ids[i], first + i);
}

static inline void wait_checkpoint(uint64_t begin)
{
    struct seglog *log = CONTAINER_OF(site.doors[0], struct door, base)->log;
    uint64_t until = clock_mono_ms() + WAIT_MS;
    assert_int_equal(store_checkpoint(site.doors[0], begin), 0);
    while (atomic_load(&log->checkpointing) != CHECKPOINT_NONE) {
        assert_true(clock_mono_ms() < until);
        pause_ms(1);
    }
}

#endif
