/* The contract of store/store.h, run on every engine of store_engines.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <time.h>

#include <cmocka.h>

#include "base/rng.h"
#include "store/store.h"
#include "tests/unit/store_engines.h"
#include "tests/unit/store_model.h"

enum { POLLS_MAX = 20000 }; /* an append is safe, a fetch answered, within so many polls */

/* ---- helpers ---- */

static void site_open(struct site *site, unsigned count)
{
    assert_int_equal(site->count, 0);
    assert_int_equal(site->engine->open(site, site->doors, count), 0);
    site->count = count;
}

static void site_close(struct site *site)
{
    for (unsigned i = 0; i < site->count; i++) store_close(site->doors[i]);
    site->count = 0;
}

static void site_reopen(struct site *site, unsigned count)
{
    site_close(site);
    site_open(site, count);
}

static void pause_between_polls(const struct site *site)
{
    if (site->engine->threaded) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static int setup(void **state)
{
    struct site *site = mem_calloc(1, sizeof *site);
    assert_non_null(site);
    site->engine = *state;
    if (site->engine->setup) site->engine->setup(site);
    *state = site;
    return 0;
}

static int teardown(void **state)
{
    struct site *site = *state;
    site_close(site);
    if (site->engine->teardown) site->engine->teardown(site);
    mem_free(site);
    return 0;
}

static struct store *open_one(void **state)
{
    struct site *site = *state;
    site_open(site, 1);
    return site->doors[0];
}

static struct blob *record(const char *text)
{
    struct blob *b = blob_new((uint32_t)strlen(text));
    assert_non_null(b);
    memcpy(b->data, text, b->size);
    return b;
}

/* Appends; waits when there is no room just now, which changes nothing. */
static uint64_t append_bytes(struct site *site, struct store *st, struct bytes prefix,
                             struct blob *body)
{
    uint64_t seq = 0;
    for (int i = 0; i < POLLS_MAX; i++) {
        uint64_t end = store_end(st);
        int rc = store_append(st, prefix, body, &seq);
        if (rc == 0) return seq;
        assert_int_equal(rc, E_AGAIN);
        assert_true(store_end(st) == end);
        store_flush(st);
        store_poll(st);
        pause_between_polls(site);
    }
    fail_msg("there is no room ever");
    return 0;
}

static uint64_t append(struct site *site, struct store *st, const char *prefix, const char *text)
{
    struct blob *body = record(text);
    uint64_t seq = append_bytes(site, st, bytes_str(prefix), body);
    blob_unref(body);
    return seq;
}

static uint64_t journal(struct site *site, struct store *st, const char *text)
{
    uint64_t seq = 0;
    for (int i = 0; i < POLLS_MAX; i++) {
        int rc = store_journal(st, bytes_str(text), &seq);
        if (rc == 0) return seq;
        assert_int_equal(rc, E_AGAIN);
        store_flush(st);
        store_poll(st);
        pause_between_polls(site);
    }
    fail_msg("there is no room ever");
    return 0;
}

static void wait_until_safe(struct site *site, struct store *st, uint64_t seq)
{
    store_flush(st);
    for (int i = 0; i < POLLS_MAX; i++) {
        if (store_poll(st) >= seq) return;
        pause_between_polls(site);
    }
    fail_msg("append %llu does not become safe", (unsigned long long)seq);
}

static struct blob *fetch(struct site *site, struct store *st, store_ref ref)
{
    struct blob *body = NULL;
    for (int i = 0; i < POLLS_MAX; i++) {
        int rc = store_fetch(st, ref, &body);
        if (rc == 0) return body;
        assert_int_equal(rc, E_AGAIN);
        store_flush(st);
        store_poll(st);
        pause_between_polls(site);
    }
    fail_msg("a record is not read");
    return NULL;
}

static void expect_fetch(struct site *site, struct store *st, store_ref ref, const char *text)
{
    struct blob *body = fetch(site, st, ref);
    assert_int_equal(body->size, strlen(text));
    assert_memory_equal(body->data, text, strlen(text));
    blob_unref(body);
}

static struct store_scan *scan_open(struct store *st)
{
    struct store_scan *scan = NULL;
    assert_int_equal(store_scan_open(st, &scan), 0);
    assert_non_null(scan);
    return scan;
}

static void expect_scanned(struct store_scan *scan, uint64_t seq, enum store_kind kind,
                           unsigned shard, const char *prefix, const char *body)
{
    struct store_record r;
    assert_int_equal(store_scan_next(scan, &r), 0);
    assert_true(r.seq == seq);
    assert_int_equal(r.kind, kind);
    assert_int_equal(r.shard, shard);
    assert_true(bytes_eq(r.prefix, bytes_str(prefix)));
    assert_true(bytes_eq(r.body, bytes_str(body)));
}

static void expect_scan_ends(struct store_scan *scan)
{
    struct store_record r;
    assert_int_equal(store_scan_next(scan, &r), E_NOTFOUND);
    store_scan_close(&scan);
    assert_null(scan);
    store_scan_close(&scan); /* harmless */
}

/* ---- every engine ---- */

static void nothing_is_safe_before_the_first_append(void **state)
{
    struct site *site = *state;
    site_open(site, DOORS);
    for (int i = 0; i < DOORS; i++) assert_true(store_poll(site->doors[i]) == 0);
    store_close(NULL); /* harmless */
}

static void sequences_grow_and_each_append_becomes_safe(void **state)
{
    struct store *st = open_one(state);
    uint64_t last = 0, safe = 0;
    for (int i = 0; i < 100; i++) {
        uint64_t seq = append(*state, st, "", "x");
        assert_true(seq > last);
        last = seq;
        uint64_t now_safe = store_poll(st);
        assert_true(now_safe >= safe); /* never goes back */
        assert_true(now_safe <= last); /* never ahead of what was appended */
        safe = now_safe;
    }
    wait_until_safe(*state, st, last);
}

static void sequences_grow_over_doors(void **state)
{
    struct site *site = *state;
    site_open(site, DOORS);
    uint64_t last = 0;
    for (int i = 0; i < 100; i++) {
        uint64_t seq = append(site, site->doors[i * i % DOORS], "", "x");
        assert_true(seq > last);
        last = seq;
    }
}

static void the_caller_keeps_its_own_reference(void **state)
{
    struct store *st = open_one(state);
    struct blob *b = record("mine");
    wait_until_safe(*state, st, append_bytes(*state, st, bytes_str(""), b));
    assert_true(b->refs >= 1);
    assert_memory_equal(b->data, "mine", 4);
    site_close(*state);
    assert_int_equal(b->refs, 1); /* a closed store holds nothing */
    blob_unref(b);
}

static void a_held_record_can_be_fetched_after_the_writer_let_go(void **state)
{
    struct site *site = *state;
    site_open(site, 2);
    struct store *st = site->doors[1];
    struct blob *b = record("body");
    uint64_t seq = append_bytes(site, st, bytes_str(""), b);
    store_ref ref = store_hold(st, seq, b);
    assert_true(ref >> 63 == 0); /* at most 63 bits */
    blob_unref(b);
    expect_fetch(site, st, ref, "body");
    wait_until_safe(site, st, seq);
    expect_fetch(site, st, ref, "body"); /* fetching does not use it up */
    struct blob *body = fetch(site, st, ref);
    store_drop(st, ref);
    assert_memory_equal(body->data, "body", 4); /* what was fetched outlives the reference */
    blob_unref(body);
}

static void a_record_may_be_held_many_times(void **state)
{
    struct store *st = open_one(state);
    struct blob *b = record("shared");
    uint64_t seq = append_bytes(*state, st, bytes_str(""), b);
    store_ref refs[1000];
    for (size_t i = 0; i < ARRAY_LEN(refs); i++) refs[i] = store_hold(st, seq, b);
    blob_unref(b);
    for (size_t i = 0; i < ARRAY_LEN(refs); i++) {
        expect_fetch(*state, st, refs[i], "shared");
        store_drop(st, refs[i]);
    }
}

static void records_held_and_dropped_in_any_order_keep_their_bodies(void **state)
{
    enum { RECORDS = 200 };
    struct store *st = open_one(state);
    struct rng rng = {11};
    store_ref refs[RECORDS];
    bool held[RECORDS] = {false};
    for (int i = 0; i < 2000; i++) {
        uint32_t k = (uint32_t)rng_below(&rng, RECORDS);
        if (held[k]) {
            struct blob *body = fetch(*state, st, refs[k]);
            assert_int_equal(body->size, sizeof k);
            assert_memory_equal(body->data, &k, sizeof k);
            blob_unref(body);
            store_drop(st, refs[k]);
        } else {
            struct blob *b = blob_new(sizeof k);
            assert_non_null(b);
            memcpy(b->data, &k, sizeof k);
            refs[k] = store_hold(st, append_bytes(*state, st, bytes_str(""), b), b);
            blob_unref(b);
        }
        held[k] = !held[k];
    }
    for (uint32_t k = 0; k < RECORDS; k++)
        if (held[k]) store_drop(st, refs[k]);
}

static void a_body_comes_back_exactly_and_without_its_prefix(void **state)
{
    static const uint32_t sizes[] = {0, 1, 7, 8, 63, 64, 65, 4095, 4096, 4097, 100000};
    struct store *st = open_one(state);
    uint8_t prefix[STORE_PREFIX_MAX];
    memset(prefix, 0xab, sizeof prefix);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        for (size_t n = 0; n <= sizeof prefix; n += sizeof prefix / 2) {
            struct blob *b = blob_new(sizes[i]);
            assert_non_null(b);
            for (uint32_t k = 0; k < b->size; k++) b->data[k] = (uint8_t)(k * 7 + i);
            store_ref ref = store_hold(st, append_bytes(*state, st, bytes_of(prefix, n), b), b);
            struct blob *body = fetch(*state, st, ref);
            assert_true(bytes_eq(bytes_of(body->data, body->size), bytes_of(b->data, b->size)));
            blob_unref(body);
            store_drop(st, ref);
            blob_unref(b);
        }
    }
}

static void opening_without_memory_leaves_nothing(void **state)
{
    struct site *site = *state;
    bool fired = true;
    for (long n = 0; fired; n++) {
        assert_true(n < 1000);
        struct store *doors[DOORS] = {NULL};
        mem_fail_after(n);
        int rc = site->engine->open(site, doors, DOORS);
        fired = mem_fail_after(-1);
        assert_int_equal(rc, fired ? E_NOMEM : 0);
        for (int i = 0; rc == 0 && i < DOORS; i++) store_close(doors[i]);
    }
}

/* ---- engines that keep ---- */

static void the_end_is_below_all_that_comes(void **state)
{
    struct site *site = *state;
    site_open(site, DOORS);
    uint64_t ends[DOORS] = {0};
    for (int i = 0; i < 100; i++) {
        struct store *st = site->doors[i % DOORS];
        for (int k = 0; k < DOORS; k++) ends[k] = store_end(site->doors[k]);
        uint64_t seq = i % 2 ? journal(site, st, "j") : append(site, st, "p", "m");
        for (int k = 0; k < DOORS; k++) {
            assert_true(ends[k] <= seq);
            assert_true(store_end(site->doors[k]) > seq);
            assert_true(store_poll(site->doors[k]) <= seq);
        }
    }
}

static void another_door_holds_and_fetches_by_the_sequence(void **state)
{
    struct site *site = *state;
    site_open(site, 2);
    uint64_t seq = append(site, site->doors[0], "prefix", "for two");
    struct blob *mine = record("for two");
    store_ref own = store_hold(site->doors[0], seq, mine);
    blob_unref(mine);
    store_ref other = store_hold(site->doors[1], seq, NULL);
    expect_fetch(site, site->doors[0], own, "for two");
    expect_fetch(site, site->doors[1], other, "for two");
    assert_true(own == seq && other == seq); /* by which they are held again after a restart */
    store_drop(site->doors[0], own);
    expect_fetch(site, site->doors[1], other, "for two"); /* still held by that one */
    store_drop(site->doors[1], other);
}

static void an_empty_store_has_nothing_to_scan(void **state)
{
    expect_scan_ends(scan_open(open_one(state)));
    site_reopen(*state, 1);
    struct site *site = *state;
    expect_scan_ends(scan_open(site->doors[0]));
}

static void a_scan_gives_what_was_there_in_its_order(void **state)
{
    struct site *site = *state;
    site_open(site, 2);
    uint64_t seqs[5];
    seqs[0] = append(site, site->doors[1], "p0", "body 0");
    seqs[1] = journal(site, site->doors[0], "entries");
    seqs[2] = append(site, site->doors[0], "", "no prefix");
    seqs[3] = append(site, site->doors[1], "no body", "");
    seqs[4] = append(site, site->doors[1], "", "");
    site_reopen(site, 3); /* what was not waited for became safe by closing */
    for (int i = 0; i < 3; i++) {
        struct store_scan *scan = scan_open(site->doors[i]);
        expect_scanned(scan, seqs[0], STORE_MESSAGE, 1, "p0", "body 0");
        expect_scanned(scan, seqs[1], STORE_JOURNAL, 0, "", "entries");
        expect_scanned(scan, seqs[2], STORE_MESSAGE, 0, "", "no prefix");
        expect_scanned(scan, seqs[3], STORE_MESSAGE, 1, "no body", "");
        expect_scanned(scan, seqs[4], STORE_MESSAGE, 1, "", "");
        expect_scan_ends(scan);
        /* The next door's scan does not see this one. */
        assert_true(append(site, site->doors[i], "later", "later") > seqs[4]);
    }
}

static void a_scan_may_be_left_in_the_middle(void **state)
{
    struct site *site = *state;
    site_open(site, 1);
    for (int i = 0; i < 10; i++) append(site, site->doors[0], "p", "m");
    site_reopen(site, 1);
    struct store_scan *scan = scan_open(site->doors[0]);
    struct store_record r;
    assert_int_equal(store_scan_next(scan, &r), 0);
    store_scan_close(&scan);
    append(site, site->doors[0], "p", "m");
}

static void reopening_goes_on_with_higher_sequences(void **state)
{
    struct site *site = *state;
    uint64_t seqs[4], end = 0;
    for (unsigned i = 0; i < ARRAY_LEN(seqs); i++) {
        site_open(site, 1 + i % 2);
        assert_true(store_end(site->doors[0]) >= end);
        assert_true(store_poll(site->doors[0]) < store_end(site->doors[0]));
        struct store_scan *scan = scan_open(site->doors[i % 2]);
        for (unsigned k = 0; k < i; k++)
            expect_scanned(scan, seqs[k], STORE_MESSAGE, k % 2, "p", "run");
        expect_scan_ends(scan);
        seqs[i] = append(site, site->doors[i % 2], "p", "run");
        assert_true(seqs[i] >= end);
        end = store_end(site->doors[0]);
        site_close(site);
    }
}

static void a_held_message_survives_checkpoint_and_reopening(void **state)
{
    struct site *site = *state;
    site_open(site, 2);
    struct store *st = site->doors[0];
    uint64_t seq = append(site, st, "p", "old but held");
    store_ref ref = store_hold(site->doors[1], seq, NULL);
    append(site, st, "p", "old");
    for (int round = 0; round < 3; round++) {
        uint64_t begin = store_end(st);
        uint64_t mark = journal(site, st, "what the cores know");
        wait_until_safe(site, st, mark);
        assert_int_equal(store_checkpoint(st, begin), 0);
        expect_fetch(site, site->doors[1], ref, "old but held");
        site_reopen(site, 2);
        st = site->doors[round % 2];
        struct store_scan *scan = scan_open(st);
        expect_scanned(scan, mark, STORE_JOURNAL, round ? (round - 1) % 2 : 0, "",
                       "what the cores know");
        expect_scan_ends(scan);
        ref = store_hold(site->doors[1], seq, NULL);
        expect_fetch(site, site->doors[1], ref, "old but held");
    }
    store_drop(site->doors[1], ref);
}

/* Much more is appended than may be left; each round's messages are held until the next round. */
static void a_checkpoint_gives_space_back(void **state)
{
    enum { ROUNDS = 24, EACH = 64, BODY = 16384, HELD_MAX = 3 * EACH * BODY, SPARES_MAX = 6 };
    struct store *st = open_one(state);
    struct blob *b = blob_new(BODY);
    assert_non_null(b);
    memset(b->data, 0x5a, b->size);
    store_ref refs[EACH] = {0};
    const struct site *site = *state;
    uint64_t bytes_max = HELD_MAX + SPARES_MAX * site->engine->segment_bytes;
    struct store_stats stats;
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < EACH; i++) {
            if (round > 0) store_drop(st, refs[i]);
            refs[i] = store_hold(st, append_bytes(*state, st, bytes_str("p"), b), b);
        }
        uint64_t begin = store_end(st);
        wait_until_safe(*state, st, journal(*state, st, "snapshot"));
        store_release(st);
        assert_int_equal(store_checkpoint(st, begin), 0);
    }
    store_stats(st, &stats);
    assert_true(stats.appended_records >= ROUNDS * EACH);
    assert_true(stats.appended_bytes >= (uint64_t)ROUNDS * EACH * BODY);
    assert_true(stats.written_bytes >= (uint64_t)ROUNDS * EACH * BODY);
    assert_true(stats.syncs > 0);
    assert_int_equal(stats.lost_records, 0);
    assert_false(stats.full);
    for (int i = 0; stats.bytes > bytes_max; i++) { /* what frees may take its time */
        assert_true(i < POLLS_MAX);
        pause_between_polls(*state);
        store_stats(st, &stats);
    }
    for (int i = 0; i < EACH; i++) store_drop(st, refs[i]);
    blob_unref(b);
}

/* From door to door and back, each taking its own reference before it drops the other's; with a
 * checkpoint after each step, and much behind it, so that it would be gone if it could. */
static void what_is_passed_on_stays_until_the_last_has_dropped_it(void **state)
{
    enum { EACH = 8, BODY = 16384, TIMES = 12 };
    struct site *site = *state;
    site_open(site, 3);
    struct blob *b = blob_new(BODY);
    assert_non_null(b);
    memset(b->data, 0x5a, b->size);
    store_ref ref =
        store_hold(site->doors[0], append(site, site->doors[0], "p", "passed on"), NULL);
    for (unsigned i = 0; i < TIMES; i++) {
        struct store *from = site->doors[i % 3], *to = site->doors[(i + 1) % 3];
        store_ref letter = store_hold(from, ref, NULL);
        store_drop(from, ref);
        store_release(from);
        for (int n = 0; n < EACH; n++) (void)append_bytes(site, from, bytes_str("p"), b);
        uint64_t begin = store_end(from);
        wait_until_safe(site, from, journal(site, from, "snapshot"));
        assert_int_equal(store_checkpoint(from, begin), 0);
        expect_fetch(site, to, letter, "passed on");
        ref = store_hold(to, letter, NULL);
        store_drop(to, letter);
        store_release(to);
    }
    expect_fetch(site, site->doors[0], ref, "passed on");
    store_drop(site->doors[TIMES % 3], ref);
    blob_unref(b);
}

static void a_moved_message_is_read_by_its_new_reference(void **state)
{
    struct site *site = *state;
    site_open(site, 2);
    struct store *st = site->doors[0];
    uint64_t seq = append(site, st, "prefix", "moved");
    store_ref ref = store_hold(st, seq, NULL), moved = 0;
    uint64_t begin = store_end(st);
    int rc = E_AGAIN;
    for (int i = 0; i < POLLS_MAX && rc == E_AGAIN; i++) {
        rc = store_move(st, ref, &moved);
        store_poll(st);
        if (rc == E_AGAIN) pause_between_polls(site);
    }
    assert_int_equal(rc, 0);
    expect_fetch(site, st, ref, "moved"); /* the old one stays the caller's */
    store_drop(st, ref);
    expect_fetch(site, st, moved, "moved");
    assert_true(moved >= begin);
    uint64_t mark = journal(site, st, "it is there now");
    assert_true(moved < mark);
    wait_until_safe(site, st, mark);
    assert_int_equal(store_checkpoint(st, begin), 0);
    site_reopen(site, 2);
    struct store_scan *scan = scan_open(site->doors[1]); /* does not give the copy */
    expect_scanned(scan, mark, STORE_JOURNAL, 0, "", "it is there now");
    expect_scan_ends(scan);
    ref = store_hold(site->doors[1], moved, NULL);
    expect_fetch(site, site->doors[1], ref, "moved");
    (void)store_must_move(site->doors[1], ref);
    store_drop(site->doors[1], ref);
}

/* Appends until the engine says stop in either way, or for long enough: then polls clear it. */
static void no_room_lasts_until_polls_have_reported(void **state)
{
    struct store *st = open_one(state);
    struct blob *b = blob_new(65536);
    assert_non_null(b);
    memset(b->data, 1, b->size);
    for (int round = 0; round < 5; round++) {
        uint64_t last = 0, seq = 0;
        int rc = 0;
        for (int i = 0; i < 200 && rc == 0 && !store_crowded(st); i++) {
            uint64_t end = store_end(st);
            rc = store_append(st, bytes_str("p"), b, &seq);
            if (rc == 0) last = seq;
            if (rc < 0) assert_true(store_end(st) == end);
        }
        assert_true(rc == 0 || rc == E_AGAIN);
        if (last) wait_until_safe(*state, st, last);
        store_poll(st);
        assert_false(store_crowded(st));
        last = append_bytes(*state, st, bytes_str("p"), b);
        wait_until_safe(*state, st, last);
    }
    blob_unref(b);
}

static void the_largest_record_fits_and_no_larger(void **state)
{
    struct store *st = open_one(state);
    uint64_t seq = 0, end = store_end(st);
    struct blob *b = blob_new(STORE_RECORD_MAX + 1);
    assert_non_null(b);
    memset(b->data, 0x11, b->size);
    assert_int_equal(store_append(st, bytes_str(""), b, &seq), E_TOO_LARGE);
    assert_int_equal(store_journal(st, bytes_of(b->data, b->size), &seq), E_TOO_LARGE);
    assert_true(store_end(st) == end);
    b->size = STORE_RECORD_MAX - STORE_PREFIX_MAX;
    seq = append_bytes(*state, st, bytes_str("p"), b);
    wait_until_safe(*state, st, seq);
    store_ref ref = store_hold(st, seq, NULL);
    struct blob *body = fetch(*state, st, ref);
    assert_true(bytes_eq(bytes_of(body->data, body->size), bytes_of(b->data, b->size)));
    blob_unref(body);
    store_drop(st, ref);
    blob_unref(b);
}

static void an_append_without_memory_changes_nothing(void **state)
{
    struct store *st = open_one(state);
    struct blob *b = record("body");
    for (int i = 0; i < 200; i++) { /* long enough for tables to grow */
        uint64_t end = store_end(st), seq = 0;
        mem_fail_after(i % 3);
        int rc = i % 2 ? store_append(st, bytes_str("p"), b, &seq)
                       : store_journal(st, bytes_str("j"), &seq);
        bool fired = mem_fail_after(-1);
        assert_true(rc == E_AGAIN || rc == (fired ? E_NOMEM : 0));
        assert_true(rc == 0 ? seq >= end : store_end(st) == end);
        store_poll(st);
    }
    site_close(*state);
    assert_int_equal(b->refs, 1);
    blob_unref(b);
}

static void reading_without_memory_can_be_tried_again(void **state)
{
    struct site *site = *state;
    site_open(site, 1);
    uint64_t seq = append(site, site->doors[0], "p", "body");
    site_reopen(site, 1);
    struct store_scan *scan = NULL;
    struct store_record r;
    bool fired = true;
    for (long n = 0; fired; n++) {
        mem_fail_after(n);
        int rc = store_scan_open(site->doors[0], &scan);
        fired = mem_fail_after(-1);
        assert_int_equal(rc, fired ? E_NOMEM : 0);
    }
    fired = true;
    for (long n = 0; fired; n++) {
        mem_fail_after(n);
        int rc = store_scan_next(scan, &r);
        fired = mem_fail_after(-1);
        assert_int_equal(rc, fired ? E_NOMEM : 0);
    }
    assert_true(r.seq == seq && bytes_eq(r.body, bytes_str("body")));
    store_scan_close(&scan);
    store_ref ref = store_hold(site->doors[0], seq, NULL);
    struct blob *body = NULL;
    fired = true;
    for (long n = 0, tries = 0; fired || body == NULL; tries++) {
        assert_true(tries < POLLS_MAX);
        mem_fail_after(n);
        int rc = store_fetch(site->doors[0], ref, &body);
        fired = mem_fail_after(-1);
        assert_int_equal(rc, fired ? E_NOMEM : rc == E_AGAIN ? E_AGAIN : 0);
        n += fired;
        store_poll(site->doors[0]);
        if (rc == E_AGAIN) pause_between_polls(site);
    }
    assert_true(bytes_eq(bytes_of(body->data, body->size), bytes_str("body")));
    blob_unref(body);
    store_drop(site->doors[0], ref);
}

/* ---- engines that can be cut off ---- */

/* Runs where a failed expectation could not be told: only ASSERT.  The last quarter is not polled
 * for, unless there is no room. */
static void append_until_the_power_goes(struct site *site, struct crash *c)
{
    struct blob *b = blob_new(4);
    ASSERT(b);
    while (c->count < CRASH_RECORDS) {
        struct store *st = site->doors[c->count % 2];
        memcpy(b->data, &c->count, 4);
        int rc = store_append(st, bytes_str("p"), b, &c->seqs[c->count]);
        ASSERT(rc == 0 || rc == E_AGAIN);
        c->count += rc == 0;
        if (rc == 0 && (c->count % 8 || c->count > CRASH_RECORDS * 3 / 4)) continue;
        store_flush(st);
        pause_between_polls(site);
        uint64_t safe = store_poll(st);
        while (c->safe_count < c->count && c->seqs[c->safe_count] <= safe) c->safe_count++;
    }
    blob_unref(b);
}

/* A prefix of what was appended; returns its length. */
static uint32_t expect_scan_of_crash(struct store_scan *scan, const struct crash *c, uint32_t count)
{
    for (uint32_t n = 0; n < count; n++) {
        struct store_record r;
        int rc = store_scan_next(scan, &r);
        if (rc == E_NOTFOUND) return n;
        assert_int_equal(rc, 0);
        assert_true(r.seq == c->seqs[n]);
        assert_int_equal(r.kind, STORE_MESSAGE);
        assert_int_equal(r.shard, n % 2);
        assert_true(bytes_eq(r.prefix, bytes_str("p")));
        assert_true(bytes_eq(r.body, bytes_of(&n, 4)));
    }
    return count;
}

static void what_was_safe_is_there_after_a_crash(void **state)
{
    struct site *site = *state;
    struct crash *c =
        mmap(NULL, sizeof *c, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(c != MAP_FAILED);
    site->engine->crash(site, append_until_the_power_goes, c);
    assert_int_equal(c->count, CRASH_RECORDS);
    assert_true(c->safe_count > 0);
    site_open(site, 1);
    struct store_scan *scan = scan_open(site->doors[0]);
    uint32_t kept = expect_scan_of_crash(scan, c, c->count);
    assert_true(kept >= c->safe_count);
    expect_scan_ends(scan);
    uint64_t next = append(site, site->doors[0], "", "goes on");
    assert_true(next > c->seqs[kept - 1]);
    site_reopen(site, 1); /* what was found once is found again, and what came behind it */
    scan = scan_open(site->doors[0]);
    assert_int_equal(expect_scan_of_crash(scan, c, kept), kept);
    expect_scanned(scan, next, STORE_MESSAGE, 0, "", "goes on");
    expect_scan_ends(scan);
    munmap(c, sizeof *c);
}

/* ---- at random ---- */

static void model_site_open(void *ctx, struct store **doors, unsigned count)
{
    struct site *site = ctx;
    assert_int_equal(site->engine->open(site, doors, count), 0);
}

static void model_site_pause(void) { nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); }

static void any_operations_agree_with_a_trivial_model(void **state)
{
    struct site *site = *state;
    struct model_site model = {.open = model_site_open,
                               .pause = site->engine->threaded ? model_site_pause : NULL,
                               .ctx = site};
    model_run(&model, 7, 3000, NULL);
}

#define ON(test) cmocka_unit_test_prestate_setup_teardown(test, setup, teardown, state)

static int every_engine(const struct engine *engine)
{
    void *state = (void *)(uintptr_t)engine;
    const struct CMUnitTest tests[] = {
        ON(nothing_is_safe_before_the_first_append),
        ON(sequences_grow_and_each_append_becomes_safe),
        ON(sequences_grow_over_doors),
        ON(the_caller_keeps_its_own_reference),
        ON(a_held_record_can_be_fetched_after_the_writer_let_go),
        ON(a_record_may_be_held_many_times),
        ON(records_held_and_dropped_in_any_order_keep_their_bodies),
        ON(a_body_comes_back_exactly_and_without_its_prefix),
        ON(opening_without_memory_leaves_nothing),
    };
    return cmocka_run_group_tests_name(engine->name, tests, NULL, NULL);
}

static int engine_that_keeps(const struct engine *engine)
{
    void *state = (void *)(uintptr_t)engine;
    const struct CMUnitTest tests[] = {
        ON(the_end_is_below_all_that_comes),
        ON(another_door_holds_and_fetches_by_the_sequence),
        ON(an_empty_store_has_nothing_to_scan),
        ON(a_scan_gives_what_was_there_in_its_order),
        ON(a_scan_may_be_left_in_the_middle),
        ON(reopening_goes_on_with_higher_sequences),
        ON(a_held_message_survives_checkpoint_and_reopening),
        ON(a_checkpoint_gives_space_back),
        ON(what_is_passed_on_stays_until_the_last_has_dropped_it),
        ON(a_moved_message_is_read_by_its_new_reference),
        ON(no_room_lasts_until_polls_have_reported),
        ON(the_largest_record_fits_and_no_larger),
        ON(an_append_without_memory_changes_nothing),
        ON(reading_without_memory_can_be_tried_again),
        ON(what_was_safe_is_there_after_a_crash),
        ON(any_operations_agree_with_a_trivial_model),
    };
    return every_engine(engine) + cmocka_run_group_tests_name(engine->name, tests, NULL, NULL);
}

int main(void)
{
    int failed = every_engine(&mem_engine);
    failed += engine_that_keeps(&disk_engine);
    failed += engine_that_keeps(&faulty_engine);
    failed += engine_that_keeps(&log_engine);
    failed += engine_that_keeps(&small_log_engine);
    return failed;
}
