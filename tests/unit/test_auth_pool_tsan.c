/* The threads that check passwords: verdicts, limits, and jobs that nobody waits for any more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "src/auth_password.h"
#include "src/auth_pool.h"

static struct passwords *passwords;
static _Atomic unsigned done_count;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER; /* held: no job gets done */

struct check {
    struct auth_job job;
    struct bytes user, password;
};

static enum auth_verdict match(struct auth_job *job)
{
    const struct check *c = CONTAINER_OF(job, struct check, job);
    return passwords_match(passwords, c->user, c->password) ? AUTH_RIGHT : AUTH_WRONG;
}

static void done(struct auth_job *job)
{
    (void)job;
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
    atomic_fetch_add(&done_count, 1);
}

static struct check job_of(const char *user, const char *password)
{
    return (struct check){.job = {.check = match,
                                  .bytes = strlen(user) + strlen(password),
                                  .expires_ms = UINT64_MAX,
                                  .done = done},
                          .user = bytes_str(user),
                          .password = bytes_str(password)};
}

static void wait_done(unsigned count)
{
    while (atomic_load(&done_count) < count) usleep(1000);
}

static int begin(void **state)
{
    (void)state;
    char path[64], why[PASSWORD_WHY], *hash = NULL;
    unsigned line;
    snprintf(path, sizeof path, "/tmp/sluice-pool-%d", (int)getpid());
    if (password_hash(&hash, PASSWORD_PBKDF2, 10, bytes_str("secret")) < 0) return -1;
    FILE *f = fopen(path, "we");
    if (f == NULL) return -1;
    fprintf(f, "bob:%s\n", hash);
    fclose(f);
    mem_free(hash);
    int rc = passwords_load(&passwords, path, &line, why);
    unlink(path);
    return rc;
}

static int end(void **state)
{
    (void)state;
    passwords_free(&passwords);
    return 0;
}

static void every_job_gets_its_verdict(void **state)
{
    (void)state;
    enum { JOBS = 300 };
    static struct check jobs[JOBS];
    struct auth_pool *pool = NULL;
    atomic_store(&done_count, 0);
    assert_int_equal(auth_pool_new(&pool, AUTH_THREADS), 0);
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = job_of(i % 5 ? "bob" : "eve", i % 3 ? "secret" : "wrong");
        if (i % 7 == 0) jobs[i].job.expires_ms = 1;
        assert_int_equal(auth_pool_submit(pool, &jobs[i].job), 0);
    }
    wait_done(JOBS);
    auth_pool_free(&pool);
    assert_null(pool);
    for (int i = 0; i < JOBS; i++)
        assert_int_equal(jobs[i].job.verdict, i % 7 == 0         ? AUTH_LATE
                                              : i % 5 && (i % 3) ? AUTH_RIGHT
                                                                 : AUTH_WRONG);
}

static void the_queue_has_an_end_and_what_waits_is_given_back(void **state)
{
    (void)state;
    static struct check jobs[AUTH_QUEUE_MAX + 2];
    struct auth_pool *pool = NULL;
    atomic_store(&done_count, 0);
    assert_int_equal(auth_pool_new(&pool, 1), 0);
    pthread_mutex_lock(&gate);
    unsigned taken = 0;
    for (unsigned i = 0; i < AUTH_QUEUE_MAX + 2; i++) {
        jobs[i] = job_of("bob", "secret");
        if (auth_pool_submit(pool, &jobs[i].job) == 0) taken++;
    }
    assert_in_range(taken, AUTH_QUEUE_MAX, AUTH_QUEUE_MAX + 1); /* one may be at work */
    struct check last = job_of("bob", "secret");
    assert_int_equal(auth_pool_submit(pool, &last.job), E_FULL);
    pthread_mutex_unlock(&gate);
    auth_pool_free(&pool);
    assert_int_equal(atomic_load(&done_count), taken);
    assert_int_equal(jobs[taken - 1].job.verdict, AUTH_STOPPED);
}

static void names_and_passwords_that_wait_are_bounded_in_bytes(void **state)
{
    (void)state;
    enum { MOST = AUTH_QUEUE_BYTES / PASSWORD_MAX };
    static struct check jobs[MOST + 2];
    static char password[PASSWORD_MAX + 1];
    struct auth_pool *pool = NULL;
    memset(password, 'x', PASSWORD_MAX);
    atomic_store(&done_count, 0);
    assert_int_equal(auth_pool_new(&pool, 1), 0);
    pthread_mutex_lock(&gate);
    unsigned taken = 0;
    for (unsigned i = 0; i < MOST + 2; i++) {
        jobs[i] = job_of("", password);
        if (auth_pool_submit(pool, &jobs[i].job) == 0) taken++;
    }
    assert_in_range(taken, MOST, MOST + 1);
    pthread_mutex_unlock(&gate);
    wait_done(taken);
    struct check next = job_of("bob", "secret");
    assert_int_equal(auth_pool_submit(pool, &next.job), 0); /* there is room again */
    wait_done(taken + 1);
    assert_int_equal(next.job.verdict, AUTH_RIGHT);
    auth_pool_free(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_job_gets_its_verdict),
        cmocka_unit_test(the_queue_has_an_end_and_what_waits_is_given_back),
        cmocka_unit_test(names_and_passwords_that_wait_are_bounded_in_bytes),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
