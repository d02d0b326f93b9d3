/* The log in memory: the same engine without a disk, which leaves nothing behind. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "store/log.h"

enum { RECORDS = 3000, WAIT_MS = 20000, SIZE = 500 };

static bool describe(struct bytes body, struct store_topic *out)
{
    *out = (struct store_topic){.topic = bytes_of(body.p, 1), .time_ms = 1};
    return true;
}

static uint32_t wants_all(void *ctx, struct bytes topic)
{
    (void)ctx, (void)topic;
    return STORE_ALL;
}

static int descriptors(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;
    assert_non_null(d);
    while (readdir(d) != NULL) n++;
    closedir(d);
    return n;
}

static void pause_ms(void)
{
    struct timespec moment = {.tv_nsec = 1000000};
    nanosleep(&moment, NULL);
}

static struct store *open_one(void)
{
    const struct store_log_options options = {.segment_bytes = 64 << 10, .describe = describe};
    struct store_log_report report;
    struct store *st = NULL;
    assert_int_equal(store_log_open(&st, 1, &options, &report), 0);
    assert_int_equal(report.records, 0);
    return st;
}

static uint64_t append(struct store *st, char topic)
{
    struct blob *b = blob_new(SIZE);
    uint64_t seq = 0, until = clock_mono_ms() + WAIT_MS;
    int rc;
    assert_non_null(b);
    memset(b->data, topic, SIZE);
    while ((rc = store_append(st, (struct bytes){0}, b, &seq)) == E_AGAIN) {
        assert_true(clock_mono_ms() < until);
        store_flush(st);
        pause_ms();
    }
    assert_int_equal(rc, 0);
    blob_unref(b);
    return seq;
}

static void wait_safe(struct store *st, uint64_t seq)
{
    store_flush(st);
    for (uint64_t until = clock_mono_ms() + WAIT_MS; store_poll(st) < seq; pause_ms())
        assert_true(clock_mono_ms() < until);
}

static void what_is_appended_is_read_and_freed(void **state)
{
    (void)state;
    int before = descriptors();
    struct store *st = open_one();
    uint64_t seqs[RECORDS];
    for (int i = 0; i < RECORDS; i++) seqs[i] = append(st, 'a' + i % 3);
    wait_safe(st, seqs[RECORDS - 1]);
    struct store_reader *r;
    struct store_query q = {
        .to_seq = UINT64_MAX, .to_ms = UINT64_MAX, .wants = wants_all, .topic = bytes_str("b")};
    assert_int_equal(store_read_open(st, &r, &q), 0);
    for (int i = 1; i < RECORDS; i += 3) {
        struct store_record m;
        int rc;
        for (uint64_t until = clock_mono_ms() + WAIT_MS;
             (rc = store_read_next(r, &m)) == E_AGAIN && clock_mono_ms() < until;)
            pause_ms();
        assert_int_equal(rc, 0);
        assert_int_equal(m.seq, seqs[i]);
        assert_int_equal(m.body.n, SIZE);
    }
    store_read_close(&r);
    store_release(st);
    struct store_stats all, some;
    store_stats(st, &all);
    assert_int_equal(store_checkpoint(st, store_end(st)), 0);
    for (uint64_t until = clock_mono_ms() + WAIT_MS;; pause_ms()) {
        store_stats(st, &some);
        if (some.bytes < all.bytes / 4) break;
        assert_true(clock_mono_ms() < until);
    }
    store_close(st);
    assert_int_equal(descriptors(), before);
}

static void two_of_them_have_nothing_in_common(void **state)
{
    (void)state;
    struct store *a = open_one(), *b = open_one();
    uint64_t seq = append(a, 'x');
    wait_safe(a, seq);
    struct store_reader *r;
    struct store_record m;
    struct store_query q = {.to_seq = UINT64_MAX, .to_ms = UINT64_MAX, .wants = wants_all};
    assert_int_equal(store_read_open(b, &r, &q), 0);
    assert_int_equal(store_read_next(r, &m), E_NOTFOUND);
    store_read_close(&r);
    store_close(a);
    store_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_appended_is_read_and_freed),
        cmocka_unit_test(two_of_them_have_nothing_in_common),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
