/* The log on disk: several doors on several threads, what a crash leaves, damage, and the disk's
 * faults.  The contract that it shares with other engines is in test_store.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/log/crc32c.h"
#include "tests/unit/store_log_site.h"

/* ---- the checksum ---- */

static void crc32c_is_the_known_one_both_ways(void **state)
{
    (void)state;
    assert_int_equal(crc32c(0, bytes_str("123456789")), 0xe3069283);
    assert_int_equal(crc32c_by_table(0, bytes_str("123456789")), 0xe3069283);
    struct rng rng = {1};
    uint8_t p[300];
    for (size_t i = 0; i < sizeof p; i++) p[i] = (uint8_t)rng_next(&rng);
    for (size_t n = 0; n < sizeof p; n++) {
        size_t from = rng_below(&rng, n + 1);
        uint32_t start = (uint32_t)rng_next(&rng);
        uint32_t whole = crc32c(start, bytes_of(p, n));
        assert_int_equal(crc32c_by_table(start, bytes_of(p, n)), whole);
        assert_int_equal(crc32c(crc32c(start, bytes_of(p, from)), bytes_of(p + from, n - from)),
                         whole);
    }
}

/* ---- appending and reading ---- */

static void what_was_appended_is_scanned_after_reopening(void **state)
{
    (void)state;
    uint64_t seq = 0;
    site_open(1);
    for (uint64_t i = 0; i < 1000; i++) seq = append(0, i); /* several segments */
    wait_safe(0, seq);
    reopen(1);
    assert_int_equal(site.report.records, 1000);
    assert_int_equal(site.report.lost_records, 0);
    assert_int_equal(site.report.torn_bytes, 0);
    assert_true(site.report.segments > 3);
    expect_scan(0, 1000);
    reopen(1); /* nothing was appended; all is still there */
    expect_scan(0, 1000);
}

static void a_killed_log_is_scanned_as_well(void **state)
{
    (void)state;
    uint64_t seq = 0;
    site_open(1);
    for (uint64_t i = 0; i < 700; i++) seq = append(0, i);
    wait_safe(0, seq);
    site_kill();
    site_open(1);
    assert_int_equal(site.report.records, 700);
    assert_int_equal(site.report.lost_records, 0);
    expect_scan(0, 700);
    assert_true(append(0, 700) > seq);
    reopen(1);
    expect_scan(0, 701);
}

struct appender {
    pthread_t thread;
    unsigned door;
    uint64_t count, failed;
};

enum { APPENDS = 3000 };

/* Without cmocka's asserts, which belong to the main thread. */
static void *append_many(void *arg)
{
    struct appender *a = arg;
    struct store *st = site.doors[a->door];
    uint64_t last = 0;
    while (a->count < APPENDS) {
        uint64_t id = (uint64_t)a->door << 32 | a->count, seq = 0, n = 16 + id % 700;
        struct blob *b = blob_new((uint32_t)n);
        memset(b->data, (int)(id % 251), n);
        memcpy(b->data, &id, 8);
        int rc = store_append(st, bytes_of(&id, sizeof id), b, &seq);
        blob_unref(b);
        if (rc == 0) {
            a->failed += seq <= last;
            last = seq;
            if (++a->count % 16 == 0) store_flush(st);
            continue;
        }
        a->failed += rc != E_AGAIN;
        store_flush(st);
        pause_ms(1);
        store_poll(st);
    }
    store_flush(st);
    while (store_poll(st) < last) pause_ms(1);
    return NULL;
}

static void *scan_many(void *arg)
{
    struct appender *a = arg;
    struct store_scan *s = NULL;
    struct store_record r;
    uint64_t next[SITE_DOORS] = {0};
    a->failed = store_scan_open(site.doors[a->door], &s) < 0;
    while (a->failed == 0 && store_scan_next(s, &r) == 0) {
        uint64_t id = 0;
        memcpy(&id, r.prefix.p, 8);
        a->failed += id != ((uint64_t)r.shard << 32 | next[r.shard]++);
        a->failed += r.body.n != 16 + id % 700 || r.body.p[r.body.n - 1] != id % 251;
        a->count++;
    }
    store_scan_close(&s);
    return NULL;
}

static uint64_t on_every_door(void *(*run)(void *))
{
    struct appender a[SITE_DOORS] = {0};
    uint64_t count = 0;
    for (unsigned i = 0; i < SITE_DOORS; i++) {
        a[i].door = i;
        assert_int_equal(pthread_create(&a[i].thread, NULL, run, &a[i]), 0);
    }
    for (unsigned i = 0; i < SITE_DOORS; i++) {
        pthread_join(a[i].thread, NULL);
        assert_int_equal(a[i].failed, 0);
        count += a[i].count;
    }
    return count;
}

static void doors_append_and_scan_side_by_side(void **state)
{
    (void)state;
    struct store_stats stats;
    site_open(SITE_DOORS);
    assert_int_equal(on_every_door(append_many), SITE_DOORS * APPENDS);
    store_stats(site.doors[0], &stats);
    assert_int_equal(stats.appended_records, SITE_DOORS * APPENDS);
    assert_true(stats.syncs < SITE_DOORS * APPENDS / 4); /* one sync for many records */
    reopen(SITE_DOORS);
    assert_int_equal(site.report.records, SITE_DOORS * APPENDS);
    assert_int_equal(on_every_door(scan_many), SITE_DOORS * SITE_DOORS * APPENDS);
}

/* ---- groups ---- */

static void one_sync_is_for_all_that_came_during_the_last(void **state)
{
    (void)state;
    struct store_stats stats;
    uint64_t seq = 0;
    site_open(1);
    for (uint64_t i = 0; i < 200; i++) seq = append(0, i); /* not flushed one by one */
    wait_safe(0, seq);
    store_stats(site.doors[0], &stats);
    assert_in_range(stats.syncs, 1, 20); /* with those of full segments */
}

static void a_door_is_woken_when_its_records_are_safe(void **state)
{
    (void)state;
    site_open(2);
    for (uint64_t i = 0; i < 50; i++) {
        unsigned before = atomic_load(&site.wakes[1]);
        uint64_t seq = append(1, i), until = clock_mono_ms() + WAIT_MS;
        store_flush(site.doors[1]);
        while (atomic_load(&site.wakes[1]) == before && clock_mono_ms() < until) pause_ms(1);
        assert_true(atomic_load(&site.wakes[1]) > before);
        assert_true(store_poll(site.doors[1]) >= seq);
    }
}

static void lazy_durability_is_safe_when_written(void **state)
{
    (void)state;
    struct store_stats stats;
    for (int d = STORE_INTERVAL; d <= STORE_OS; d++) {
        site.options.durability = d;
        site.options.interval_ms = 20;
        site_open(1);
        uint64_t seq = append(0, 1);
        wait_safe(0, seq);
        pause_ms(200);
        store_stats(site.doors[0], &stats);
        assert_int_equal(stats.syncs, d == STORE_INTERVAL ? 1 : 0);
        for (uint64_t i = 2; i < 300; i++) seq = append(0, i);
        wait_safe(0, seq);
        reopen(1);
        expect_scan(1, 299);
        site_close();
        site_clear();
    }
}

static void crowded_when_half_of_the_memory_waits_and_full_is_again(void **state)
{
    (void)state;
    uint64_t seq = 0, count = 0;
    int rc;
    site.options.memory_bytes = MEMORY_MIN;
    site.options.segment_bytes = 4 << 20;
    site_open(1);
    assert_false(store_crowded(site.doors[0]));
    pthread_mutex_lock(&files.mutex); /* the writer waits for its first write */
    while ((rc = try_append(0, count, 1000, &seq)) == 0) {
        count++;
        assert_true(store_crowded(site.doors[0]) == (count * frame_room(8, 1000) > MEMORY_MIN / 2));
    }
    assert_int_equal(rc, E_AGAIN);
    assert_int_equal(count, MEMORY_MIN / frame_room(8, 1000));
    pthread_mutex_unlock(&files.mutex);
    wait_safe(0, seq);
    assert_false(store_crowded(site.doors[0]));
    append(0, count);
    reopen(1);
    expect_scan(0, count + 1);
}

/* ---- sizes ---- */

static void bodies_of_every_size_around_a_segment_s_end_come_back(void **state)
{
    (void)state;
    uint64_t id = 0;
    site_open(1);
    for (uint32_t n = 8; n < 2000; n += 7) append_of(0, id++, n);
    for (uint32_t n = SEGMENT - 5000; n < SEGMENT + 5000; n += 499) append_of(0, id++, n);
    reopen(1);
    expect_scan(0, id);
}

static void a_record_larger_than_a_segment_has_one_of_its_own(void **state)
{
    (void)state;
    uint64_t refs[3];
    site_open(1);
    append(0, 0);
    for (uint64_t i = 0; i < 3; i++) {
        uint64_t seq = append_of(0, 1 + i, (uint32_t)(3 * SEGMENT + i));
        refs[i] = store_hold(site.doors[0], seq, NULL);
    }
    append(0, 4);
    for (uint64_t i = 0; i < 3; i++) expect_fetch(0, refs[i], 1 + i);
    reopen(1);
    expect_scan(0, 5);
}

static void the_largest_record_passes_the_smallest_memory(void **state)
{
    (void)state;
    struct blob *b = blob_new(STORE_RECORD_MAX + 1);
    uint64_t seq;
    assert_non_null(b);
    site.options.memory_bytes = MEMORY_MIN;
    site_open(1);
    assert_int_equal(store_append(site.doors[0], (struct bytes){0}, b, &seq), E_TOO_LARGE);
    blob_unref(b);
    append_of(0, 0, STORE_RECORD_MAX);
    append_of(0, 1, STORE_RECORD_MAX);
    reopen(1);
    expect_scan(0, 2);
}

static void journals_and_prefixes_come_back(void **state)
{
    (void)state;
    struct store_scan *s;
    struct store_record r;
    struct blob *b = body_new(1, 8);
    uint8_t prefix[STORE_PREFIX_MAX];
    uint64_t first, second;
    memset(prefix, 'p', sizeof prefix);
    site_open(2);
    assert_int_equal(store_append(site.doors[1], bytes_of(prefix, sizeof prefix), b, &first), 0);
    assert_int_equal(store_journal(site.doors[0], bytes_str("entries"), &second), 0);
    blob_unref(b);
    wait_safe(1, first);
    wait_safe(0, second);
    reopen(2);
    assert_int_equal(store_scan_open(site.doors[1], &s), 0);
    assert_int_equal(store_scan_next(s, &r), 0);
    assert_true(r.seq == first && r.kind == STORE_MESSAGE && r.shard == 1);
    assert_true(bytes_eq(r.prefix, bytes_of(prefix, sizeof prefix)) && r.body.n == 8);
    assert_int_equal(store_scan_next(s, &r), 0);
    assert_true(r.seq == second && r.kind == STORE_JOURNAL && r.shard == 0);
    assert_true(r.prefix.n == 0 && bytes_eq(r.body, bytes_str("entries")));
    assert_int_equal(store_scan_next(s, &r), E_NOTFOUND);
    store_scan_close(&s);
}

/* ---- fetching ---- */

static void what_is_not_written_yet_is_fetched_later(void **state)
{
    (void)state;
    struct blob *b = NULL;
    site_open(1);
    pthread_mutex_lock(&files.mutex); /* the writer waits */
    store_ref ref = store_hold(site.doors[0], append(0, 7), NULL);
    assert_int_equal(store_fetch(site.doors[0], ref, &b), E_AGAIN);
    pthread_mutex_unlock(&files.mutex);
    expect_fetch(0, ref, 7);
}

static void a_queue_is_drained_with_few_reads(void **state)
{
    (void)state;
    enum { RECORDS = 2000 };
    static store_ref refs[RECORDS];
    site_open(2);
    for (uint64_t i = 0; i < RECORDS; i++) refs[i] = store_hold(site.doors[1], append(0, i), NULL);
    wait_safe(0, refs[RECORDS - 1]);
    uint64_t before = files_calls();
    for (uint64_t i = 0; i < RECORDS; i++) expect_fetch(1, refs[i], i);
    assert_in_range(files_calls() - before, 1, 100);
}

static void what_is_not_in_memory_is_read_by_another_thread(void **state)
{
    (void)state;
    enum { RECORDS = 500 };
    static store_ref refs[RECORDS];
    struct blob *b = NULL;
    struct rng rng = {5};
    site_open(2);
    for (uint64_t i = 0; i < RECORDS; i++) refs[i] = store_hold(site.doors[1], append(0, i), NULL);
    wait_safe(0, refs[RECORDS - 1]);
    files_set(&files.cold, true);
    unsigned before = atomic_load(&site.wakes[1]);
    assert_int_equal(store_fetch(site.doors[1], refs[0], &b), E_AGAIN);
    for (uint64_t until = clock_mono_ms() + WAIT_MS; atomic_load(&site.wakes[1]) == before;) {
        assert_true(clock_mono_ms() < until);
        pause_ms(1);
    }
    assert_int_equal(store_fetch(site.doors[1], refs[0], &b), 0);
    blob_unref(b);
    for (int i = 0; i < 200; i++) {
        uint64_t k = rng_below(&rng, RECORDS);
        expect_fetch(1, refs[k], k);
    }
}

/* More readers at different places than there are slots: each gets its turn. */
static void many_cold_places_are_all_read(void **state)
{
    (void)state;
    enum { PLACES = 5 * SLOTS };
    store_ref refs[PLACES];
    bool done[PLACES] = {false};
    uint64_t left = PLACES, until = clock_mono_ms() + WAIT_MS;
    site_open(1);
    for (uint64_t i = 0; i < PLACES; i++)
        refs[i] = store_hold(site.doors[0], append_of(0, i, SEGMENT - 8000), NULL);
    wait_safe(0, refs[PLACES - 1]);
    files_set(&files.cold, true);
    while (left > 0 && clock_mono_ms() < until) {
        for (uint64_t i = 0; i < PLACES; i++) {
            struct blob *b = NULL;
            int rc = done[i] ? E_AGAIN : store_fetch(site.doors[0], refs[i], &b);
            if (rc == E_AGAIN) continue;
            assert_int_equal(rc, 0);
            body_check(bytes_of(b->data, b->size), i);
            blob_unref(b);
            done[i] = true;
            left--;
        }
        store_poll(site.doors[0]);
    }
    assert_int_equal(left, 0);
}

static void what_was_never_appended_is_lost_and_said_once(void **state)
{
    (void)state;
    struct blob *b;
    struct store_stats stats;
    site_open(1);
    uint64_t seq = append(0, 1);
    wait_safe(0, seq);
    assert_int_equal(store_fetch(site.doors[0], store_end(site.doors[0]) + 9, &b), E_IO);
    store_ref ref = store_hold(site.doors[0], seq + 1, NULL);
    for (int i = 0; i < 3; i++) assert_int_equal(store_fetch(site.doors[0], ref, &b), E_IO);
    store_stats(site.doors[0], &stats);
    assert_int_equal(stats.lost_records, 2); /* each once */
    store_drop(site.doors[0], ref);
}

/* ---- what may go ---- */

static uint64_t segments_within(uint64_t count)
{
    struct store_stats stats = {0};
    for (uint64_t until = clock_mono_ms() + WAIT_MS; clock_mono_ms() < until; pause_ms(1)) {
        store_stats(site.doors[0], &stats);
        if (stats.segments <= count) break;
    }
    return stats.segments;
}

static void recovery_begins_at_the_checkpoint(void **state)
{
    (void)state;
    site_open(1);
    for (uint64_t i = 0; i < 500; i++) append(0, i);
    uint64_t begin = store_end(site.doors[0]), seq = 0;
    for (uint64_t i = 500; i < 800; i++) seq = append(0, i);
    wait_safe(0, seq);
    wait_checkpoint(begin);
    site_kill();
    site_open(1);
    assert_int_equal(site.report.records, 300);
    expect_scan(500, 300);
}

static void a_held_segment_stays_and_goes_when_dropped(void **state)
{
    (void)state;
    site_open(2);
    store_ref ref = store_hold(site.doors[1], append(0, 0), NULL);
    for (uint64_t i = 1; i < 1500; i++) append(0, i);
    wait_safe(0, append(0, 1500));
    wait_checkpoint(store_end(site.doors[0]));
    uint64_t with_it = segments_within(3); /* the held one, the current, and perhaps the next */
    assert_in_range(with_it, 2, 3);
    expect_fetch(1, ref, 0);
    reopen(2);
    ref = store_hold(site.doors[1], ref, NULL);
    wait_checkpoint(store_end(site.doors[0]));
    expect_fetch(1, ref, 0);
    store_drop(site.doors[1], ref);
    with_it = segments_within(3);
    assert_in_range(with_it, 2, 3); /* why is not in the log yet */
    store_release(site.doors[1]);
    assert_int_equal(segments_within(with_it - 1), with_it - 1);
    struct store_stats stats;
    store_stats(site.doors[0], &stats);
    assert_in_range(stats.bytes, SPARES_MAX * SEGMENT, (2 + SPARES_MAX) * SEGMENT);
}

static void old_records_of_a_recycled_segment_never_come_back(void **state)
{
    (void)state;
    uint64_t id = 0, first = 0, seq = 0;
    site_open(1);
    for (int round = 0; round < 12; round++) {
        first = id;
        for (int i = 0; i < 500; i++) seq = append(0, id++);
        wait_safe(0, seq);
        if (round % 4 == 3) site_kill(), site_open(1);
        if (round % 4 == 3) expect_scan(first, id - first);
        wait_checkpoint(store_end(site.doors[0]));
        assert_true(segments_within(3) <= 3);
    }
    site_kill();
    site_open(1);
    expect_scan(0, 0);
}

static void few_messages_in_many_segments_are_to_be_moved(void **state)
{
    (void)state;
    enum { KEPT = 40 };
    store_ref refs[KEPT];
    uint64_t id = 0, until = clock_mono_ms() + WAIT_MS;
    site_open(1);
    struct store *st = site.doors[0];
    for (int i = 0; i < KEPT; i++) {
        refs[i] = store_hold(st, append(0, id++), NULL);
        for (int k = 0; k < 200; k++) append(0, id++);
    }
    wait_safe(0, append(0, id++));
    wait_checkpoint(store_end(st));
    while (!store_checkpoint_due(st) && clock_mono_ms() < until) pause_ms(1);
    assert_true(store_checkpoint_due(st));
    uint64_t begin = store_end(st), before = segments_within(UINT64_MAX), moved = 0;
    for (int i = 0; i < KEPT; i++) {
        store_ref to;
        if (!store_must_move(st, refs[i])) continue;
        int rc;
        while ((rc = store_move(st, refs[i], &to)) == E_AGAIN) store_poll(st), pause_ms(1);
        assert_int_equal(rc, 0);
        store_drop(st, refs[i]);
        refs[i] = to;
        moved++;
    }
    assert_in_range(moved, 4, KEPT - 4); /* the oldest, not all */
    wait_safe(0, append(0, id));
    store_release(st);
    wait_checkpoint(begin);
    assert_true(segments_within(before - moved + 2) <= before - moved + 2);
    reopen(1);
    expect_scan(id, 1); /* copies are not scanned */
    for (int i = 0; i < KEPT; i++) {
        store_hold(site.doors[0], refs[i], NULL);
        expect_fetch(0, refs[i], (uint64_t)i * 201);
    }
}

static void a_checkpoint_is_due_when_enough_was_appended(void **state)
{
    (void)state;
    uint64_t id = 0;
    site_open(1);
    for (; id < 100; id++) append(0, id);
    assert_false(store_checkpoint_due(site.doors[0]));
    for (; id < 4000; id++) append(0, id);
    assert_true(store_checkpoint_due(site.doors[0]));
    reopen(1);
    assert_true(store_checkpoint_due(site.doors[0]));
    wait_checkpoint(store_end(site.doors[0]));
    assert_false(store_checkpoint_due(site.doors[0]));
}

/* ---- the folder ---- */

static void a_folder_has_one_log_at_a_time(void **state)
{
    (void)state;
    struct store *other;
    struct store_log_report report;
    site_open(1);
    assert_int_equal(store_log_open(&other, 1, &site.options, &report), E_EXISTS);
    reopen(1);
}

static void a_folder_is_made_but_not_its_parents(void **state)
{
    (void)state;
    char path[100];
    struct store *other;
    struct store_log_report report;
    struct store_log_options options = site.options;
    options.folder = path;
    snprintf(path, sizeof path, "%s/a/b", site.folder);
    assert_int_equal(store_log_open(&other, 1, &options, &report), E_IO);
    site_open(1);
}

#define ON(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32c_is_the_known_one_both_ways),
        ON(what_was_appended_is_scanned_after_reopening),
        ON(a_killed_log_is_scanned_as_well),
        ON(doors_append_and_scan_side_by_side),
        ON(one_sync_is_for_all_that_came_during_the_last),
        ON(a_door_is_woken_when_its_records_are_safe),
        ON(lazy_durability_is_safe_when_written),
        ON(crowded_when_half_of_the_memory_waits_and_full_is_again),
        ON(bodies_of_every_size_around_a_segment_s_end_come_back),
        ON(a_record_larger_than_a_segment_has_one_of_its_own),
        ON(the_largest_record_passes_the_smallest_memory),
        ON(journals_and_prefixes_come_back),
        ON(what_is_not_written_yet_is_fetched_later),
        ON(a_queue_is_drained_with_few_reads),
        ON(what_is_not_in_memory_is_read_by_another_thread),
        ON(many_cold_places_are_all_read),
        ON(what_was_never_appended_is_lost_and_said_once),
        ON(recovery_begins_at_the_checkpoint),
        ON(a_held_segment_stays_and_goes_when_dropped),
        ON(old_records_of_a_recycled_segment_never_come_back),
        ON(few_messages_in_many_segments_are_to_be_moved),
        ON(a_checkpoint_is_due_when_enough_was_appended),
        ON(a_folder_has_one_log_at_a_time),
        ON(a_folder_is_made_but_not_its_parents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
