/* The simulated disk beyond the contract that test_store.c runs on it: its faults, its crashes, and
 * how strict it is.  Operations at random are compared with a trivial model, power cuts included.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/disk.h"
#include "tests/unit/store_model.h"

enum { ALWAYS = 1000, IN_THE_END = 20 /* calls after which a fault has passed */ };

struct rig {
    struct store_disk *disk;
    struct store *doors[2], *st; /* st: the first of them */
    unsigned count;
};

static void rig_open(struct rig *rig, unsigned count)
{
    assert_int_equal(store_disk_open(rig->doors, count, rig->disk), 0);
    rig->count = count;
    rig->st = rig->doors[0];
}

static void rig_close(struct rig *rig)
{
    for (unsigned i = 0; i < rig->count; i++) store_close(rig->doors[i]);
    rig->count = 0;
}

static void rig_crash(struct rig *rig)
{
    unsigned count = rig->count;
    store_disk_crash(rig->disk);
    rig_close(rig);
    rig_open(rig, count);
}

static struct rig rig_new(uint64_t seed)
{
    struct rig rig = {0};
    assert_int_equal(store_disk_new(&rig.disk, seed), 0);
    rig_open(&rig, 1);
    return rig;
}

static void rig_free(struct rig *rig)
{
    rig_close(rig);
    store_disk_free(&rig->disk);
    store_disk_free(&rig->disk); /* harmless */
}

#define FAULTS(rig, ...) store_disk_faults((rig)->disk, &(struct store_faults){__VA_ARGS__})

static int try_append(struct store *st, const char *text, uint64_t *seq)
{
    struct blob *b = blob_new((uint32_t)strlen(text));
    assert_non_null(b);
    put_mem(b->data, bytes_str(text));
    int rc = store_append(st, bytes_str("prefix"), b, seq);
    blob_unref(b);
    return rc;
}

static uint64_t append(struct store *st, const char *text)
{
    uint64_t seq = 0;
    assert_int_equal(try_append(st, text, &seq), 0);
    return seq;
}

static int try_journal(struct store *st)
{
    uint64_t seq;
    return store_journal(st, bytes_str("entries"), &seq);
}

static void expect_fetch(struct store *st, store_ref ref, const char *text)
{
    struct blob *body = NULL;
    assert_int_equal(store_fetch(st, ref, &body), 0);
    assert_true(bytes_eq(bytes_of(body->data, body->size), bytes_str(text)));
    blob_unref(body);
}

static int try_fetch(struct store *st, store_ref ref)
{
    struct blob *body = NULL;
    int rc = store_fetch(st, ref, &body);
    blob_unref(body);
    return rc;
}

static void checkpoint_at(struct store *st, uint64_t begin)
{
    store_poll(st);
    assert_int_equal(store_checkpoint(st, begin), 0);
}

static uint32_t scan_count(struct store *st)
{
    struct store_scan *scan = NULL;
    struct store_record r;
    uint32_t n = 0;
    assert_int_equal(store_scan_open(st, &scan), 0);
    while (store_scan_next(scan, &r) == 0) n++;
    store_scan_close(&scan);
    return n;
}

/* ---- faults ---- */

static void without_faults_nothing_waits(void **state)
{
    (void)state;
    struct rig rig = rig_new(1);
    for (int i = 0; i < 1000; i++) {
        uint64_t seq = append(rig.st, "x");
        store_ref ref = store_hold(rig.st, seq, NULL);
        expect_fetch(rig.st, ref, "x");
        assert_false(store_crowded(rig.st));
        assert_false(store_checkpoint_due(rig.st));
        assert_false(store_must_move(rig.st, ref));
        assert_true(store_poll(rig.st) == seq);
        store_drop(rig.st, ref);
    }
    rig_free(&rig);
}

static void a_delayed_poll_reports_its_batch_later(void **state)
{
    (void)state;
    struct rig rig = rig_new(1);
    uint64_t early = append(rig.st, "a");
    assert_true(store_poll(rig.st) == early);
    FAULTS(&rig, .sync_delay = ALWAYS);
    uint64_t batch = append(rig.st, "b");
    assert_true(store_poll(rig.st) == early);
    FAULTS(&rig, .sync_delay = 0);
    uint64_t late = append(rig.st, "c");
    assert_true(store_poll(rig.st) == batch); /* c was not in it */
    assert_true(store_poll(rig.st) == late);
    rig_free(&rig);
}

static void a_poll_is_not_delayed_for_ever(void **state)
{
    (void)state;
    struct rig rig = rig_new(1);
    FAULTS(&rig, .sync_delay = ALWAYS);
    for (int round = 0; round < 3; round++) {
        uint64_t before = store_poll(rig.st), seq = append(rig.st, "a");
        expect_fetch(rig.st, store_hold(rig.st, seq, NULL), "a"); /* nothing else is delayed */
        assert_true(store_poll(rig.st) == before);
        int polls = 1;
        while (store_poll(rig.st) < seq) assert_true(++polls < IN_THE_END);
        assert_true(store_poll(rig.st) == seq);
    }
    rig_free(&rig);
}

static void a_delayed_fetch_is_answered_in_the_end(void **state)
{
    (void)state;
    struct rig rig = rig_new(1);
    uint64_t seq = append(rig.st, "a");
    store_ref ref = store_hold(rig.st, seq, NULL), moved = 0;
    FAULTS(&rig, .fetch_delay = ALWAYS);
    assert_true(store_poll(rig.st) == seq); /* nothing else is delayed */
    for (int round = 0; round < 3; round++) {
        assert_int_equal(try_fetch(rig.st, ref), E_AGAIN);
        int tries = 1, rc;
        while ((rc = try_fetch(rig.st, ref)) == E_AGAIN) assert_true(++tries < IN_THE_END);
        assert_int_equal(rc, 0);
    }
    assert_int_equal(store_move(rig.st, ref, &moved), E_AGAIN); /* which reads it as well */
    rig_free(&rig);
}

static void no_room_lasts_until_the_poll_moves(void **state)
{
    (void)state;
    struct rig rig = rig_new(1);
    FAULTS(&rig, .again = ALWAYS);
    uint64_t first = append(rig.st, "a"), seq = 0; /* with nothing to wait for there is room */
    store_ref ref = store_hold(rig.st, first, NULL), moved = 0;
    uint64_t end = store_end(rig.st);
    assert_int_equal(try_append(rig.st, "b", &seq), E_AGAIN);
    FAULTS(&rig, .again = 0);
    assert_int_equal(try_append(rig.st, "b", &seq), E_AGAIN);
    assert_int_equal(try_journal(rig.st), E_AGAIN);
    assert_int_equal(store_move(rig.st, ref, &moved), E_AGAIN);
    assert_true(store_end(rig.st) == end);
    assert_false(store_crowded(rig.st));
    assert_true(store_poll(rig.st) == first);
    assert_true(append(rig.st, "b") == end);
    rig_free(&rig);
}

static void crowded_from_an_append_until_the_poll_moves(void **state)
{
    (void)state;
    struct rig rig = rig_new(1);
    FAULTS(&rig, .crowded = ALWAYS);
    assert_false(store_crowded(rig.st));
    append(rig.st, "a");
    assert_true(store_crowded(rig.st));
    FAULTS(&rig, .sync_delay = ALWAYS);
    store_poll(rig.st);
    assert_true(store_crowded(rig.st)); /* that one was delayed */
    FAULTS(&rig, .crowded = 0);
    append(rig.st, "b"); /* only asks for patience */
    store_poll(rig.st);
    assert_false(store_crowded(rig.st));
    rig_free(&rig);
}

static void a_checkpoint_is_due_by_chance(void **state)
{
    (void)state;
    struct rig rig = rig_new(1);
    FAULTS(&rig, .checkpoint = ALWAYS);
    assert_true(store_checkpoint_due(rig.st));
    FAULTS(&rig, .checkpoint = 300);
    int due = 0;
    for (int i = 0; i < 1000; i++) due += store_checkpoint_due(rig.st);
    assert_in_range(due, 200, 400);
    rig_free(&rig);
}

static void a_message_must_be_moved_by_chance(void **state)
{
    (void)state;
    struct rig rig = rig_new(1);
    store_ref ref = store_hold(rig.st, append(rig.st, "a"), NULL), moved = 0;
    FAULTS(&rig, .move = ALWAYS);
    assert_true(store_must_move(rig.st, ref));
    assert_int_equal(store_move(rig.st, ref, &moved), 0);
    assert_true(moved != ref);
    expect_fetch(rig.st, ref, "a");
    expect_fetch(rig.st, moved, "a");
    rig_free(&rig);
}

static void a_full_disk_refuses_appends_only(void **state)
{
    (void)state;
    struct rig rig = rig_new(1);
    struct store_stats stats;
    uint64_t held = append(rig.st, "a"), seq = 77;
    store_ref ref = store_hold(rig.st, held, NULL), moved = 0;
    uint64_t end = store_end(rig.st);
    FAULTS(&rig, .full = true);
    assert_int_equal(try_append(rig.st, "b", &seq), E_FULL);
    assert_int_equal(try_journal(rig.st), E_FULL);
    assert_int_equal(store_move(rig.st, ref, &moved), E_FULL);
    assert_true(seq == 77 && moved == 0);
    assert_true(store_end(rig.st) == end);
    store_stats(rig.st, &stats);
    assert_true(stats.full);
    assert_int_equal(stats.appended_records, 1);
    assert_true(store_poll(rig.st) == held);
    expect_fetch(rig.st, ref, "a");
    store_drop(rig.st, ref);
    checkpoint_at(rig.st, end);
    FAULTS(&rig, .full = false);
    assert_true(append(rig.st, "b") == end);
    store_stats(rig.st, &stats);
    assert_false(stats.full);
    rig_free(&rig);
}

/* ---- what a checkpoint frees ---- */

static void what_nobody_holds_is_lost_behind_a_checkpoint(void **state)
{
    (void)state;
    struct rig rig = rig_new(1);
    struct store_stats stats;
    uint64_t unheld = append(rig.st, "unheld"), held = append(rig.st, "held");
    store_ref ref = store_hold(rig.st, held, NULL), moved;
    uint64_t begin = store_end(rig.st);
    uint64_t later = append(rig.st, "later");
    store_ref dropped = store_hold(rig.st, unheld, NULL);
    store_drop(rig.st, dropped);
    checkpoint_at(rig.st, begin); /* not released: why it was dropped may not be in the log */
    expect_fetch(rig.st, dropped = store_hold(rig.st, unheld, NULL), "unheld");
    store_drop(rig.st, dropped);
    store_release(rig.st);
    checkpoint_at(rig.st, begin);
    expect_fetch(rig.st, ref, "held");
    expect_fetch(rig.st, store_hold(rig.st, later, NULL), "later");
    store_ref lost = store_hold(rig.st, unheld, NULL);
    assert_int_equal(try_fetch(rig.st, lost), E_IO);
    assert_int_equal(try_fetch(rig.st, lost), E_IO);
    assert_int_equal(store_move(rig.st, lost, &moved), E_IO);
    store_drop(rig.st, lost);
    store_stats(rig.st, &stats);
    assert_int_equal(stats.lost_records, 1); /* each is counted once */
    assert_int_equal(stats.bytes, 2 * strlen("prefix") + strlen("held") + strlen("later"));
    rig_free(&rig);
}

/* The consumer acknowledged, its core dropped the message and journaled that; then the power went
 * before the journal was safe.  The message is in the queue again. */
static void a_message_dropped_since_the_checkpoint_is_there_after_a_crash(void **state)
{
    (void)state;
    struct rig rig = rig_new(1);
    uint64_t seq = append(rig.st, "once more");
    store_ref ref = store_hold(rig.st, seq, NULL);
    checkpoint_at(rig.st, store_end(rig.st));
    store_drop(rig.st, ref);
    store_poll(rig.st);
    rig_crash(&rig);
    ref = store_hold(rig.st, seq, NULL);
    expect_fetch(rig.st, ref, "once more");
    store_drop(rig.st, ref);
    store_release(rig.st);
    checkpoint_at(rig.st, store_end(rig.st)); /* this one frees it */
    assert_int_equal(try_fetch(rig.st, store_hold(rig.st, seq, NULL)), E_IO);
    rig_free(&rig);
}

/* It was asked for while others go on appending: a crash until that is safe leaves the last one,
 * and what was dropped meanwhile is not freed. */
static void a_checkpoint_is_in_force_when_all_before_it_is_safe(void **state)
{
    (void)state;
    for (int crash = 0; crash < 2; crash++) {
        struct rig rig = rig_new(1);
        uint64_t unheld = append(rig.st, "unheld"), dropped = append(rig.st, "dropped later");
        uint64_t held = append(rig.st, "held later");
        store_ref ref = store_hold(rig.st, dropped, NULL), until_now[2];
        until_now[0] = store_hold(rig.st, unheld, NULL);
        until_now[1] = store_hold(rig.st, held, NULL);
        checkpoint_at(rig.st, store_end(rig.st));
        for (int i = 0; i < 2; i++) store_drop(rig.st, until_now[i]);
        store_release(rig.st);
        append(rig.st, "between");
        append(rig.st, "between");
        uint64_t begin = store_end(rig.st);
        append(rig.st, "snapshot");
        store_poll(rig.st);
        append(rig.st, "somebody else's");
        assert_int_equal(store_checkpoint(rig.st, begin), 0);
        store_drop(rig.st, ref);
        ref = store_hold(rig.st, held, NULL);
        expect_fetch(rig.st, store_hold(rig.st, dropped, NULL), "dropped later");
        store_drop(rig.st, dropped);
        if (crash) {
            rig_crash(&rig);
            assert_in_range(scan_count(rig.st), 3, 4);
        } else {
            store_poll(rig.st);
            rig_crash(&rig);
            assert_int_equal(scan_count(rig.st), 2);
        }
        assert_int_equal(try_fetch(rig.st, store_hold(rig.st, unheld, NULL)), crash ? 0 : E_IO);
        expect_fetch(rig.st, store_hold(rig.st, dropped, NULL), "dropped later");
        expect_fetch(rig.st, store_hold(rig.st, held, NULL), "held later");
        rig_free(&rig);
    }
}

static void a_checkpoint_waits_for_more_than_one_batch(void **state)
{
    (void)state;
    struct rig rig = rig_new(1);
    uint64_t first = append(rig.st, "before"), begin = store_end(rig.st);
    store_poll(rig.st);
    FAULTS(&rig, .sync_delay = ALWAYS);
    uint64_t batch = append(rig.st, "in the batch");
    assert_true(store_poll(rig.st) == first);
    FAULTS(&rig, .sync_delay = 0);
    append(rig.st, "in the next");
    assert_int_equal(store_checkpoint(rig.st, begin), 0);
    assert_true(store_poll(rig.st) == batch);
    rig_crash(&rig);
    assert_in_range(scan_count(rig.st), 2, 3); /* begins at the first as before */
    expect_fetch(rig.st, store_hold(rig.st, first, NULL), "before");
    rig_free(&rig);
}

static void references_end_with_the_run(void **state)
{
    (void)state;
    struct rig rig = rig_new(1);
    uint64_t seq = append(rig.st, "a");
    store_hold(rig.st, seq, NULL);
    rig_close(&rig);
    rig_open(&rig, 1);
    checkpoint_at(rig.st, store_end(rig.st));
    checkpoint_at(rig.st, store_end(rig.st)); /* nobody has held it again */
    assert_int_equal(try_fetch(rig.st, store_hold(rig.st, seq, NULL)), E_IO);
    rig_free(&rig);
}

/* ---- power cuts ---- */

static void a_crash_keeps_what_is_safe_and_any_prefix_of_the_rest(void **state)
{
    enum { SAFE = 3, MORE = 4 };
    (void)state;
    uint32_t seen[SAFE + MORE + 1] = {0};
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct rig rig = rig_new(seed);
        for (int i = 0; i < SAFE; i++) append(rig.st, "safe");
        store_poll(rig.st);
        uint64_t last = 0;
        for (int i = 0; i < MORE; i++) last = append(rig.st, "not safe");
        rig_crash(&rig);
        uint32_t kept = scan_count(rig.st);
        assert_in_range(kept, SAFE, SAFE + MORE);
        seen[kept]++;
        store_ref ref = store_hold(rig.st, last, NULL);
        assert_int_equal(try_fetch(rig.st, ref), kept == SAFE + MORE ? 0 : E_IO);
        assert_true(append(rig.st, "on") > last); /* no sequence is given twice */
        rig_crash(&rig);                          /* what was there once stays */
        assert_in_range(scan_count(rig.st), kept, kept + 1);
        rig_free(&rig);
    }
    for (int i = SAFE; i <= SAFE + MORE; i++) assert_true(seen[i] > 10);
}

static void a_crash_may_take_a_delayed_batch(void **state)
{
    (void)state;
    bool taken = false;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct rig rig = rig_new(seed);
        FAULTS(&rig, .sync_delay = ALWAYS);
        append(rig.st, "a");
        assert_true(store_poll(rig.st) == 0);
        rig_crash(&rig);
        taken |= scan_count(rig.st) == 0;
        rig_free(&rig);
    }
    assert_true(taken);
}

static void doors_are_dead_after_a_crash(void **state)
{
    (void)state;
    struct rig rig = rig_new(1);
    FAULTS(&rig, .crowded = ALWAYS, .checkpoint = ALWAYS, .move = ALWAYS);
    uint64_t safe = append(rig.st, "safe");
    store_ref ref = store_hold(rig.st, safe, NULL), moved = 0;
    store_poll(rig.st);
    store_disk_crash(rig.disk);
    uint64_t nowhere = append(rig.st, "nowhere");
    assert_true(nowhere > safe);
    assert_int_equal(try_journal(rig.st), 0);
    assert_true(store_poll(rig.st) == safe);
    assert_false(store_crowded(rig.st));
    assert_false(store_checkpoint_due(rig.st));
    assert_false(store_must_move(rig.st, ref));
    assert_int_equal(store_move(rig.st, ref, &moved), E_IO);
    assert_int_equal(store_checkpoint(rig.st, store_end(rig.st)), E_IO);
    assert_int_equal(try_fetch(rig.st, ref), E_IO);
    assert_int_equal(try_fetch(rig.st, store_hold(rig.st, nowhere, NULL)), E_IO);
    for (int i = 0; i < 3; i++) store_drop(rig.st, ref); /* nobody counts any more */
    rig_close(&rig);
    rig_open(&rig, 2);
    assert_int_equal(scan_count(rig.doors[1]), 1);
    assert_true(append(rig.st, "x") > nowhere);
    rig_free(&rig);
}

static void a_closed_disk_has_nothing_to_lose(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct rig rig = rig_new(seed);
        for (int i = 0; i < 5; i++) append(rig.st, "x");
        rig_close(&rig);
        store_disk_crash(rig.disk);
        rig_open(&rig, 1);
        assert_int_equal(scan_count(rig.st), 5);
        rig_free(&rig);
    }
}

/* ---- our own mistakes ---- */

static void fetch_what_is_not_held(struct rig *rig)
{
    (void)try_fetch(rig->st, append(rig->st, "x"));
}
static void drop_twice(struct rig *rig)
{
    store_ref ref = store_hold(rig->st, append(rig->st, "x"), NULL);
    store_drop(rig->st, ref);
    store_drop(rig->st, ref);
}
static void hold_a_sequence_never_given(struct rig *rig)
{
    store_hold(rig->st, append(rig->st, "x") + 1, NULL);
}
static void hold_what_is_to_come(struct rig *rig)
{
    append(rig->st, "x");
    store_hold(rig->st, store_end(rig->st), NULL);
}
static void hold_a_journal(struct rig *rig)
{
    uint64_t seq = store_end(rig->st);
    if (try_journal(rig->st) == 0) store_hold(rig->st, seq, NULL);
}
static void hold_with_a_body_that_is_not_its_own(struct rig *rig)
{
    struct blob *b = blob_new(0);
    store_hold(rig->st, append(rig->st, "x"), b);
}
static void checkpoint_that_begins_at_what_is_not_safe(struct rig *rig)
{
    append(rig->st, "x");
    assert_int_equal(store_checkpoint(rig->st, store_end(rig->st)), 0);
}
static void checkpoint_that_goes_back(struct rig *rig)
{
    uint64_t begin = store_end(rig->st);
    append(rig->st, "x");
    checkpoint_at(rig->st, store_end(rig->st));
    assert_int_equal(store_checkpoint(rig->st, begin), 0);
}
static void scan_after_an_append(struct rig *rig)
{
    append(rig->st, "x");
    scan_count(rig->st);
}
static void scan_twice(struct rig *rig)
{
    scan_count(rig->st);
    scan_count(rig->st);
}
static void close_while_scanning(struct rig *rig)
{
    struct store_scan *scan;
    if (store_scan_open(rig->st, &scan) == 0) store_close(rig->st);
}
static void open_while_open(struct rig *rig) { rig_open(rig, 1); }
static void free_while_open(struct rig *rig) { store_disk_free(&rig->disk); }

/* In a process of its own, whose last words are not wanted. */
static void expect_abort(void (*mistake)(struct rig *))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGABRT, SIG_DFL);
        if (freopen("/dev/null", "w", stderr) == NULL) _exit(1);
        struct rig rig = rig_new(1);
        mistake(&rig);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void our_own_mistakes_are_asserted(void **state)
{
    static void (*const mistakes[])(struct rig *) = {
        fetch_what_is_not_held,
        drop_twice,
        hold_a_sequence_never_given,
        hold_what_is_to_come,
        hold_a_journal,
        hold_with_a_body_that_is_not_its_own,
        checkpoint_that_begins_at_what_is_not_safe,
        checkpoint_that_goes_back,
        scan_after_an_append,
        scan_twice,
        close_while_scanning,
        open_while_open,
        free_while_open,
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(mistakes); i++) expect_abort(mistakes[i]);
}

/* ---- at random ---- */

static void model_disk_open(void *ctx, struct store **doors, unsigned count)
{
    assert_int_equal(store_disk_open(doors, count, ctx), 0);
}

static void model_disk_crash(void *ctx) { store_disk_crash(ctx); }

static void run_at_random(uint64_t seed, bool crashes, const struct store_faults *faults,
                          uint32_t strikes[4])
{
    struct store_disk *disk = NULL;
    assert_int_equal(store_disk_new(&disk, seed), 0);
    if (faults) store_disk_faults(disk, faults);
    struct model_site site = {
        .open = model_disk_open, .crash = crashes ? model_disk_crash : NULL, .ctx = disk};
    model_run(&site, seed, 3000, strikes);
    store_disk_free(&disk);
}

static void any_operations_agree_with_a_trivial_model(void **state)
{
    static const struct store_faults faults = {
        .sync_delay = 300, .fetch_delay = 300, .again = 50, .crowded = 50, .move = 200};
    (void)state;
    uint32_t quiet[4] = {0}, strikes[4] = {0};
    for (uint64_t seed = 0; seed < 10; seed++) run_at_random(seed, false, NULL, quiet);
    for (int i = 0; i < 4; i++) assert_int_equal(quiet[i], 0);
    for (uint64_t seed = 0; seed < 10; seed++) run_at_random(seed, true, NULL, NULL);
    for (uint64_t seed = 0; seed < 30; seed++) run_at_random(seed, true, &faults, strikes);
    for (int i = 0; i < 4; i++) assert_true(strikes[i] > 100); /* else it was no test of them */
}

static void the_same_seed_gives_the_same_run(void **state)
{
    static const struct store_faults faults = {
        .sync_delay = 300, .fetch_delay = 300, .again = 50, .crowded = 50, .move = 200};
    (void)state;
    uint32_t one[4] = {0}, same[4] = {0}, other[4] = {0};
    run_at_random(5, true, &faults, one);
    run_at_random(5, true, &faults, same);
    run_at_random(6, true, &faults, other);
    assert_memory_equal(one, same, sizeof one);
    assert_memory_not_equal(one, other, sizeof one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_faults_nothing_waits),
        cmocka_unit_test(a_delayed_poll_reports_its_batch_later),
        cmocka_unit_test(a_poll_is_not_delayed_for_ever),
        cmocka_unit_test(a_delayed_fetch_is_answered_in_the_end),
        cmocka_unit_test(no_room_lasts_until_the_poll_moves),
        cmocka_unit_test(crowded_from_an_append_until_the_poll_moves),
        cmocka_unit_test(a_checkpoint_is_due_by_chance),
        cmocka_unit_test(a_message_must_be_moved_by_chance),
        cmocka_unit_test(a_full_disk_refuses_appends_only),
        cmocka_unit_test(what_nobody_holds_is_lost_behind_a_checkpoint),
        cmocka_unit_test(a_message_dropped_since_the_checkpoint_is_there_after_a_crash),
        cmocka_unit_test(a_checkpoint_is_in_force_when_all_before_it_is_safe),
        cmocka_unit_test(a_checkpoint_waits_for_more_than_one_batch),
        cmocka_unit_test(references_end_with_the_run),
        cmocka_unit_test(a_crash_keeps_what_is_safe_and_any_prefix_of_the_rest),
        cmocka_unit_test(a_crash_may_take_a_delayed_batch),
        cmocka_unit_test(doors_are_dead_after_a_crash),
        cmocka_unit_test(a_closed_disk_has_nothing_to_lose),
        cmocka_unit_test(our_own_mistakes_are_asserted),
        cmocka_unit_test(any_operations_agree_with_a_trivial_model),
        cmocka_unit_test(the_same_seed_gives_the_same_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
