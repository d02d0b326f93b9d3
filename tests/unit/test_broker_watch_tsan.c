/* The watchdog is told only while every shard's loop goes round. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "src/broker_watch.h"

enum { SHARDS = 3, TRIES = 20000 };

static struct {
    char folder[64], path[128];
    struct conf *conf;
    struct log *log;
    struct listeners listeners;
    struct shard_set *set;
    int manager; /* the socket of the service manager */
} b;

static void warned(void *ctx, const char *line)
{
    (void)ctx;
    fail_msg("%s", line);
}

static void open_manager(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s/notify", b.folder);
    b.manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(b.manager, (void *)&a, sizeof a), 0);
    setenv("NOTIFY_SOCKET", a.sun_path, 1);
    setenv("WATCHDOG_USEC", "100000", 1);
}

static int setup(void **state)
{
    (void)state;
    snprintf(b.folder, sizeof b.folder, "/tmp/sluice-watch-XXXXXX");
    if (mkdtemp(b.folder) == NULL) return -1;
    open_manager();
    char *error = NULL;
    snprintf(b.path, sizeof b.path, "%s/conf", b.folder);
    FILE *file = fopen(b.path, "w");
    assert_non_null(file);
    fprintf(file, "listener 0 %s/sock\nallow_anonymous true\nlog_dest none\n", b.folder);
    fclose(file);
    struct conf_args args = {.file = b.path, .port = -1};
    if (conf_load(&b.conf, &args, &error, warned, NULL) < 0) fail_msg("%s", error);
    assert_int_equal(log_open(&b.log, b.conf), 0);
    assert_int_equal(listeners_open(&b.listeners, b.conf, SHARDS, b.log), 0);
    assert_int_equal(shards_new(&b.set, SHARDS, b.conf, NULL, &b.listeners, b.log, 7), 0);
    return shards_start(b.set);
}

static int teardown(void **state)
{
    (void)state;
    char command[100];
    shards_free(&b.set);
    listeners_close(&b.listeners);
    log_close(&b.log);
    conf_free(&b.conf);
    close(b.manager);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    snprintf(command, sizeof command, "rm -r %s", b.folder);
    FILE *shell = popen(command, "r");
    return shell && pclose(shell) == 0 ? 0 : -1;
}

/* Whether something came to the service manager. */
static bool heard(void)
{
    char text[64];
    ssize_t n = recv(b.manager, text, sizeof text, 0);
    if (n < 0) return false;
    assert_int_equal(n, 10);
    assert_memory_equal(text, "WATCHDOG=1", 10);
    return true;
}

/* Its time comes again and again, as fast as shards answer. */
static void tick_until_heard(struct watch *w)
{
    for (int i = 0; i < TRIES; i++) {
        watch_tick(w, watch_due_ms(w));
        if (heard()) return;
        usleep(500);
    }
    fail_msg("the watchdog is not told");
}

struct stop {
    struct shard_task task;
    sem_t entered, over;
};

static void stand_still(struct shard *s, struct shard_task *t)
{
    struct stop *stop = CONTAINER_OF(t, struct stop, task);
    (void)s;
    sem_post(&stop->entered);
    sem_wait(&stop->over);
}

static void a_shard_that_stands_still_is_noticed(void **state)
{
    (void)state;
    struct watch *w = NULL;
    static struct stop stop = {.task = {.run = stand_still}};
    sem_init(&stop.entered, 0, 0);
    sem_init(&stop.over, 0, 0);
    assert_int_equal(watch_new(&w, b.set, b.log), 0);
    for (int i = 0; i < 3; i++) tick_until_heard(w);
    shard_post(shards_at(b.set, 1), &stop.task);
    sem_wait(&stop.entered);
    unsigned late = 0; /* what was asked before it stood still has been answered, perhaps */
    for (int i = 0; i < 1000; i++) {
        watch_tick(w, watch_due_ms(w));
        late += heard();
    }
    assert_in_range(late, 0, 1);
    sem_post(&stop.over);
    for (int i = 0; i < 3; i++) tick_until_heard(w);
    shards_free(&b.set); /* a question of ours may be on its way */
    watch_free(&w);
}

static void it_is_told_when_it_is_time_and_not_before(void **state)
{
    (void)state;
    struct watch *w = NULL;
    assert_int_equal(watch_new(&w, b.set, b.log), 0);
    tick_until_heard(w);
    uint64_t due_ms = watch_due_ms(w);
    watch_tick(w, due_ms - 1);
    assert_false(heard());
    assert_int_equal(watch_due_ms(w), due_ms);
    shards_free(&b.set);
    watch_free(&w);
}

static void nobody_may_want_to_know(void **state)
{
    (void)state;
    struct watch *w = NULL;
    setenv("WATCHDOG_USEC", "0", 1);
    assert_int_equal(watch_new(&w, b.set, b.log), 0);
    assert_null(w);
    assert_true(watch_due_ms(w) == UINT64_MAX);
    watch_tick(w, 1);
    watch_free(&w);
    assert_false(heard());
}

#define A_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        A_TEST(a_shard_that_stands_still_is_noticed),
        A_TEST(it_is_told_when_it_is_time_and_not_before),
        A_TEST(nobody_may_want_to_know),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
