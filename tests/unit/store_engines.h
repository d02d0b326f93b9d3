/* The engines that test_store.c runs the contract on, and how each is opened, cut off by a crash
 * and cleared away.  Included after cmocka. */
#ifndef UNIT_STORE_ENGINES_H
#define UNIT_STORE_ENGINES_H

#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/disk.h"
#include "store/log.h"

enum {
    DOORS = 3,
    CRASH_RECORDS = 200,
};

/* A store and what outlives it. */
struct site {
    const struct engine *engine;
    struct store *doors[DOORS];
    unsigned count; /* of open doors */
    struct store_disk *disk;
    char folder[64];
};

/* What a run did until it was cut off; lies in memory that a killed process leaves behind. */
struct crash {
    uint64_t seqs[CRASH_RECORDS];
    uint32_t count, safe_count; /* appended, reported safe */
};

struct engine {
    const char *name;
    bool threaded; /* waiting takes time */
    uint64_t segment_bytes, memory_bytes;
    int (*open)(struct site *site, struct store **doors, unsigned count);
    void (*setup)(struct site *site);
    void (*teardown)(struct site *site);
    /* Opens doors, lets run() use them, and has the power go; no door is open then. */
    void (*crash)(struct site *site, void (*run)(struct site *, struct crash *), struct crash *c);
};

static int mem_open(struct site *site, struct store **doors, unsigned count)
{
    (void)site;
    return store_mem_open(doors, count);
}

static int disk_open(struct site *site, struct store **doors, unsigned count)
{
    return store_disk_open(doors, count, site->disk);
}

static void disk_setup(struct site *site) { assert_int_equal(store_disk_new(&site->disk, 1), 0); }

static void faulty_setup(struct site *site)
{
    disk_setup(site);
    store_disk_faults(site->disk, &(struct store_faults){.sync_delay = 400,
                                                         .fetch_delay = 400,
                                                         .again = 100,
                                                         .crowded = 100,
                                                         .checkpoint = 300,
                                                         .move = 300});
}

static void disk_teardown(struct site *site)
{
    store_disk_free(&site->disk);
    assert_null(site->disk);
}

static void disk_crash(struct site *site, void (*run)(struct site *, struct crash *),
                       struct crash *c)
{
    struct store **doors = site->doors;
    assert_int_equal(store_disk_open(doors, 2, site->disk), 0);
    run(site, c);
    store_disk_crash(site->disk);
    for (int i = 0; i < 2; i++) store_close(doors[i]);
}

static void wake_nobody(void *ctx, unsigned door) { (void)ctx, (void)door; }
static void log_nothing(void *ctx, unsigned log_type, const char *line)
{
    (void)ctx, (void)log_type, (void)line;
}

static bool has_no_topic(struct bytes body, struct store_topic *out)
{
    (void)body, (void)out;
    return false;
}

static int log_open(struct site *site, struct store **doors, unsigned count)
{
    struct store_log_report report;
    struct store_log_options options = {.folder = site->folder,
                                        .durability = STORE_COMMIT,
                                        .segment_bytes = site->engine->segment_bytes,
                                        .memory_bytes = site->engine->memory_bytes,
                                        .describe = has_no_topic,
                                        .wake = wake_nobody,
                                        .log = log_nothing};
    return store_log_open(doors, count, &options, &report);
}

static void log_setup(struct site *site)
{
    const char *parent = getenv("TMPDIR");
    (void)snprintf(site->folder, sizeof site->folder, "%s/sluice-store-XXXXXX",
                   parent ? parent : "/tmp");
    assert_non_null(mkdtemp(site->folder));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void log_teardown(struct site *site)
{
    assert_int_equal(nftw(site->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/* In a process of its own, which is killed. */
static void log_crash(struct site *site, void (*run)(struct site *, struct crash *),
                      struct crash *c)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        ASSERT(log_open(site, site->doors, 2) == 0);
        run(site, c);
        (void)raise(SIGKILL);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static const struct engine mem_engine = {.name = "mem", .open = mem_open};
static const struct engine disk_engine = {.name = "disk",
                                          .open = disk_open,
                                          .setup = disk_setup,
                                          .teardown = disk_teardown,
                                          .crash = disk_crash};
static const struct engine faulty_engine = {.name = "disk with faults",
                                            .open = disk_open,
                                            .setup = faulty_setup,
                                            .teardown = disk_teardown,
                                            .crash = disk_crash};

static const struct engine log_engine = {.name = "log",
                                         .threaded = true,
                                         .segment_bytes = 64 << 20, /* the default */
                                         .open = log_open,
                                         .setup = log_setup,
                                         .teardown = log_teardown,
                                         .crash = log_crash};
/* As small as it goes: segments end, room runs out. */
static const struct engine small_log_engine = {.name = "log, small",
                                               .threaded = true,
                                               .segment_bytes = 1 << 20,
                                               .memory_bytes = 1 << 20,
                                               .open = log_open,
                                               .setup = log_setup,
                                               .teardown = log_teardown,
                                               .crash = log_crash};

#endif
