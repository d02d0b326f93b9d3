/* How fast the log on disk is: several threads append through a door each, with so many records
 * on their way at most, as shards do.  Then, at low load, how long an append takes to be safe
 * beside a bare pwrite and fdatasync on a file that was written before.
 *
 *   storebench [-d FOLDER] [-n RECORDS] [-b BYTES] [-t THREADS] [-w WINDOW] [-s SEGMENT_MIB]
 *              [-m commit|interval|os] [-l SINGLE_APPENDS] [-i]
 *
 * -i: with indexes by topic.  The folder must not exist; it is removed at the end. */
#include "base/clock.h"
#include "store/log/log_int.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

enum { THREADS_MAX = 16 };

static struct {
    const char *folder;
    uint64_t records, singles, segment_mib;
    unsigned bytes, threads, window;
    enum store_durability durability;
    bool index;
} option = {"/tmp/storebench.d", 4000000, 3000, 64, 256, 2, 4096, STORE_COMMIT, false};

static struct {
    struct store *door;
    pthread_t thread;
    int event;
    _Atomic bool news;
    uint64_t again;
} worker[THREADS_MAX];

static _Atomic uint64_t sync_ns, sync_count;

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

static int timed_datasync(int fd)
{
    uint64_t began = clock_ns(CLOCK_MONOTONIC);
    int rc = fdatasync(fd);
    atomic_fetch_add(&sync_ns, clock_ns(CLOCK_MONOTONIC) - began);
    atomic_fetch_add(&sync_count, 1);
    return rc;
}

static void on_wake(void *ctx, unsigned door)
{
    uint64_t one = 1;
    (void)ctx;
    if (atomic_exchange(&worker[door].news, true)) return; /* it has been told already */
    if (write(worker[door].event, &one, sizeof one) < 0) die("eventfd");
}

/* A thousand topics: the body begins with the number of one. */
static bool describe(struct bytes body, struct store_topic *out)
{
    out->topic = bytes_of(body.p, min_u64(body.n, 8));
    out->time_ms = 1;
    return true;
}

static void on_log(void *ctx, unsigned type, const char *line)
{
    (void)ctx, (void)type;
    fprintf(stderr, "%s\n", line);
}

static void open_log(void)
{
    static struct file_ops files;
    struct store *doors[THREADS_MAX];
    struct store_log_report report;
    struct store_log_options options = {.folder = option.folder,
                                        .durability = option.durability,
                                        .segment_bytes = option.segment_mib << 20,
                                        .describe = option.index ? describe : NULL,
                                        .wake = on_wake,
                                        .log = on_log};
    files = file_ops_real;
    files.datasync = timed_datasync;
    if (seglog_open(doors, option.threads, &options, &report, &files) < 0) die(option.folder);
    for (unsigned i = 0; i < option.threads; i++) {
        worker[i].door = doors[i];
        worker[i].event = eventfd(0, EFD_CLOEXEC);
    }
}

/* Sleeps as a shard does: says so, looks once more, sleeps. */
static uint64_t wait_for(unsigned i, uint64_t seq)
{
    uint64_t n, safe;
    while ((safe = store_poll(worker[i].door)) < seq) {
        if (!atomic_exchange(&worker[i].news, false) &&
            read(worker[i].event, &n, sizeof n) != sizeof n)
            die("eventfd");
        atomic_store(&worker[i].news, false);
    }
    return safe;
}

static void *work(void *arg)
{
    unsigned i = (unsigned)(uintptr_t)arg;
    struct store *st = worker[i].door;
    uint64_t *seqs = mem_calloc(option.window, sizeof *seqs);
    struct blob *body = blob_new(option.bytes);
    uint64_t count = option.records / option.threads, sent = 0, done = 0;
    if (seqs == NULL || body == NULL) die("memory");
    memset(body->data, 'x', option.bytes);
    while (done < count) {
        while (sent < count && sent - done < option.window) {
            uint64_t topic = sent % 1000;
            memcpy(body->data, &topic, min_u64(sizeof topic, option.bytes));
            int rc = store_append(st, (struct bytes){0}, body, &seqs[sent % option.window]);
            if (rc == E_FULL) die("full");
            if (rc < 0) {
                worker[i].again++;
                break;
            }
            sent++;
        }
        store_flush(st);
        if (i == 0 && store_checkpoint_due(st) && done < sent)
            (void)!store_checkpoint(st, seqs[done % option.window]);
        if (done == sent) { /* no room: for the next segment, or for what others wait for */
            usleep(100);
            continue;
        }
        uint64_t safe = wait_for(i, seqs[done % option.window]);
        while (done < sent && seqs[done % option.window] <= safe) done++;
    }
    blob_unref(body);
    mem_free(seqs);
    return NULL;
}

static double cpu_s(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)r.ru_utime.tv_sec + (double)r.ru_stime.tv_sec +
           1e-6 * (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}

static void throughput(void)
{
    struct store_stats before, after;
    store_stats(worker[0].door, &before);
    uint64_t began = clock_ns(CLOCK_MONOTONIC), again = 0;
    double cpu = cpu_s();
    atomic_store(&sync_ns, 0);
    atomic_store(&sync_count, 0);
    for (unsigned i = 0; i < option.threads; i++)
        if (pthread_create(&worker[i].thread, NULL, work, (void *)(uintptr_t)i)) die("thread");
    for (unsigned i = 0; i < option.threads; i++) {
        pthread_join(worker[i].thread, NULL);
        again += worker[i].again;
    }
    double s = 1e-9 * (double)(clock_ns(CLOCK_MONOTONIC) - began);
    cpu = cpu_s() - cpu;
    store_stats(worker[0].door, &after);
    double n = (double)(after.appended_records - before.appended_records);
    double bytes = (double)(after.appended_bytes - before.appended_bytes);
    double syncs = (double)max_u64(1, atomic_load(&sync_count));
    printf("%u threads, window %u, %u bytes: %.0f K records/s, %.1f MB/s, %.2f us CPU a record\n",
           option.threads, option.window, option.bytes, n / s / 1e3, bytes / s / 1e6,
           cpu / n * 1e6);
    printf(
        "  written %.2f bytes a byte appended (with the zeros of new segments); %.0f syncs of %.0f "
        "us, %.0f records each; no room %llu times\n",
        (double)(after.written_bytes - before.written_bytes) / bytes, syncs,
        (double)atomic_load(&sync_ns) / syncs / 1e3, n / syncs, (unsigned long long)again);
}

/* ---- one at a time ---- */

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static double middle_us(uint64_t *ns, uint64_t n)
{
    qsort(ns, n, sizeof *ns, by_size);
    return (double)ns[n / 2] / 1e3;
}

static uint64_t append_ns(struct blob *body)
{
    uint64_t seq, began = clock_ns(CLOCK_MONOTONIC);
    while (store_append(worker[0].door, (struct bytes){0}, body, &seq) < 0) usleep(1000);
    store_flush(worker[0].door);
    (void)wait_for(0, seq);
    return clock_ns(CLOCK_MONOTONIC) - began;
}

/* A file that was written before. */
static int bare_open(size_t bytes)
{
    static uint8_t zeros[1 << 20];
    char path[400];
    snprintf(path, sizeof path, "%s/bare", option.folder);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    if (fd < 0) die(path);
    for (uint64_t at = 0; at < bytes; at += sizeof zeros)
        if (pwrite(fd, zeros, sizeof zeros, (off_t)at) < 0) die(path);
    if (fsync(fd) < 0) die(path);
    return fd;
}

static uint64_t bare_ns(int fd, const struct blob *body, uint64_t at)
{
    uint64_t began = clock_ns(CLOCK_MONOTONIC);
    if (pwrite(fd, body->data, body->size, (off_t)at) < 0 || fdatasync(fd) < 0) die("bare");
    return clock_ns(CLOCK_MONOTONIC) - began;
}

/* In turn, so that both meet the same disk. */
static void latency(void)
{
    uint64_t *bare = mem_calloc(option.singles, sizeof *bare);
    uint64_t *append = mem_calloc(option.singles, sizeof *append);
    struct blob *body = blob_new(option.bytes);
    if (bare == NULL || append == NULL || body == NULL) die("memory");
    memset(body->data, 'x', option.bytes);
    int fd = bare_open(option.singles * option.bytes);
    for (uint64_t k = 0; k < option.singles; k++) {
        bare[k] = bare_ns(fd, body, k * option.bytes);
        append[k] = append_ns(body);
    }
    close(fd);
    double b = middle_us(bare, option.singles), a = middle_us(append, option.singles);
    printf("one at a time: safe after %.0f us, bare pwrite and fdatasync %.0f us: %.2f times\n", a,
           b, a / b);
    blob_unref(body);
    mem_free(append);
    mem_free(bare);
}

static void remove_folder(void)
{
    char path[400];
    DIR *d = opendir(option.folder);
    struct dirent *e;
    while (d && (e = readdir(d)) != NULL) {
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", option.folder, e->d_name);
        if (unlink(path) < 0) perror(path);
    }
    if (d) closedir(d);
    if (rmdir(option.folder) < 0) perror(option.folder);
}

static void options_read(int argc, char **argv)
{
    int c;
    while ((c = getopt(argc, argv, "d:n:b:t:w:s:m:l:i")) != -1) {
        uint64_t n = optarg ? strtoull(optarg, NULL, 10) : 0;
        if (c == 'd') option.folder = optarg;
        if (c == 'n') option.records = n;
        if (c == 'b') option.bytes = (unsigned)n;
        if (c == 't') option.threads = (unsigned)min_u64(max_u64(1, n), THREADS_MAX);
        if (c == 'w') option.window = (unsigned)max_u64(1, n);
        if (c == 's') option.segment_mib = n;
        if (c == 'l') option.singles = max_u64(1, n);
        if (c == 'm')
            option.durability = optarg[0] == 'c'   ? STORE_COMMIT
                                : optarg[0] == 'i' ? STORE_INTERVAL
                                                   : STORE_OS;
        if (c == 'i') option.index = true;
        if (c == '?') exit(2);
    }
}

int main(int argc, char **argv)
{
    options_read(argc, argv);
    if (access(option.folder, F_OK) == 0) {
        fprintf(stderr, "%s is there already\n", option.folder);
        return 2;
    }
    open_log();
    throughput();
    latency();
    for (unsigned i = 0; i < option.threads; i++) store_close(worker[i].door);
    remove_folder();
    return 0;
}
