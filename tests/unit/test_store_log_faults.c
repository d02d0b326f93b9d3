/* What the log makes of damage, power failures, failing files, full disks and lacking memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/log/crc32c.h"
#include "tests/unit/store_log_image.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

static bool logged_sequence(uint64_t seq)
{
    char text[40];
    snprintf(text, sizeof text, "sequence %llu ", (unsigned long long)seq);
    return logged(text);
}

/* ---- the end ---- */

enum { BEFORE = 5 };

/* Five whole records, and the last one in every state of being written. */
static void expect_cut(uint64_t whole, uint64_t seq)
{
    site_open(1);
    assert_int_equal(site.report.records, whole);
    assert_int_equal(site.report.lost_records, 0);
    expect_scan(0, whole);
    uint64_t next = append(0, whole);
    assert_true(next > seq);
    wait_safe(0, next);
    site_kill();
    site_open(1);
    assert_int_equal(site.report.lost_records, 0);
    expect_scan(0, whole + 1);
    site_close();
}

static void a_record_torn_at_any_byte_is_cut_off(void **state)
{
    (void)state;
    enum { BODY = 50 };
    uint64_t seq = 0;
    size_t at;
    struct rng rng = {3};
    site_open(1);
    for (uint64_t i = 0; i <= BEFORE; i++) seq = append_of(0, i, BODY);
    wait_safe(0, seq);
    site_kill();
    image_take();
    struct image *f = image_at(seq, &at);
    size_t size = frame_room(8, BODY);
    uint8_t whole[200];
    memcpy(whole, f->data + at, size);
    for (size_t n = 0; n <= size; n++) {
        memcpy(f->data + at, whole, n);
        memset(f->data + at + n, 0, size - n);
        bool padding = memcmp(whole, f->data + at, size) == 0; /* zeros lack */
        image_restore();
        expect_cut(padding ? BEFORE + 1 : BEFORE, seq);
        if (n % 8 != 3) continue;
        size_t bytes = f->n;
        f->n = at + n; /* a file that ends there */
        image_restore();
        expect_cut(padding ? BEFORE + 1 : BEFORE, seq);
        f->n = bytes;
        for (size_t k = n; k < size; k++) f->data[at + k] = (uint8_t)rng_next(&rng);
        image_restore();
        expect_cut(BEFORE, seq);
    }
}

static void what_was_cut_off_never_comes_back(void **state)
{
    (void)state;
    uint64_t seq[10];
    size_t at;
    site_open(1);
    for (uint64_t i = 0; i < 10; i++) seq[i] = append(0, i);
    wait_safe(0, seq[9]);
    site_kill();
    image_take();
    struct image *f = image_at(seq[4], &at);
    uint8_t was = f->data[at + 40];
    f->data[at + 40] ^= 1;
    image_restore();
    files.boot[0] = 'x'; /* the power failed, so what comes after the gap was not synced */
    site_open(1);
    assert_int_equal(site.report.records, 4);
    assert_int_equal(site.report.lost_records, 0);
    assert_true(site.report.torn_bytes > 0);
    expect_scan(0, 4);
    site_close();
    /* Even when the gap is mended by chance, nothing of it is there any more. */
    image_take();
    f = image_at(seq[4], &at);
    f->data[at + 40] = was;
    f->data[at + 5] ^= 1; /* and the end frame in its place is damaged */
    image_restore();
    site_open(1);
    assert_int_equal(site.report.records, 4);
    assert_int_equal(site.report.lost_records, 0);
    expect_scan(0, 4);
}

static void a_gap_that_was_safe_is_damage_after_a_power_failure_too(void **state)
{
    (void)state;
    uint64_t seq[4];
    size_t at;
    site_open(1);
    for (uint64_t i = 0; i < 4; i++) {
        seq[i] = append(0, i);
        wait_safe(0, seq[i]); /* the next one says so */
    }
    site_kill();
    image_take();
    image_at(seq[1], &at)->data[at + 40] ^= 1;
    image_restore();
    files.boot[0] = 'x';
    site_open(1);
    assert_int_equal(site.report.records, 3);
    assert_int_equal(site.report.lost_records, 1);
    assert_true(logged_sequence(seq[1]));
}

/* ---- damage in the middle ---- */

static void expect_one_lost(uint64_t count, uint64_t lost, uint64_t seq)
{
    uint64_t ids[200];
    site_open(1);
    assert_int_equal(site.report.lost_records, 1);
    assert_true(logged_sequence(seq));
    assert_int_equal(site.report.records, count - 1);
    assert_int_equal(scan(0, ids, ARRAY_LEN(ids)), count - 1);
    for (uint64_t i = 0; i < count - 1; i++) assert_int_equal(ids[i], i < lost ? i : i + 1);
    struct store_stats stats;
    store_stats(site.doors[0], &stats);
    assert_int_equal(stats.lost_records, 1); /* scanning does not count it again */
    site_close();
}

static void any_flipped_bit_of_a_record_is_found_and_named(void **state)
{
    (void)state;
    enum { BODY = 50, RECORDS = 20, LOST = 7 };
    uint64_t seq[RECORDS];
    size_t at;
    site_open(1);
    for (uint64_t i = 0; i < RECORDS; i++) seq[i] = append_of(0, i, BODY);
    wait_safe(0, seq[RECORDS - 1]);
    site_kill();
    image_take();
    struct image *f = image_at(seq[LOST], &at);
    size_t size = frame_room(8, BODY);
    assert_true(size > FRAME_BYTES + 8 + BODY); /* there is padding */
    for (size_t k = 0; k < size; k++) {
        uint8_t bit = (uint8_t)(1 << k % 8);
        f->data[at + k] ^= bit;
        image_restore();
        expect_one_lost(RECORDS, LOST, seq[LOST]);
        f->data[at + k] ^= bit;
    }
}

static void damage_in_a_full_segment_leaves_what_comes_after(void **state)
{
    (void)state;
    enum { RECORDS = 190 };
    uint64_t seq[RECORDS];
    size_t at;
    site_open(1);
    for (uint64_t i = 0; i < RECORDS; i++) seq[i] = append_of(0, i, 900);
    wait_safe(0, seq[RECORDS - 1]);
    site_kill();
    image_take();
    memset(image_at(seq[20], &at)->data + at, 0xaa, 300);
    image_restore();
    files.boot[0] = 'x'; /* no excuse: another segment followed */
    expect_one_lost(RECORDS, 20, seq[20]);
}

static void a_body_with_a_frame_in_it_is_not_taken_for_one(void **state)
{
    (void)state;
    uint8_t body[200] = {0}, inner[64] = {0};
    struct blob *b = blob_new(sizeof body);
    uint64_t seq;
    size_t at;
    site_open(1);
    uint64_t first = append_of(0, 0, 8);
    uint64_t begin = (first * FRAME_ALIGN + frame_room(8, 8)); /* of the next record */
    for (uint32_t salt = 0; salt < 2; salt++) {                /* a guess: it is not told */
        uint64_t inner_at = begin + FRAME_BYTES + 16 + salt * 64;
        struct frame f = {.position = inner_at, .kind = STORE_JOURNAL, .body_bytes = 8};
        frame_put(inner, &f, salt, (struct bytes){0}, bytes_of(inner + FRAME_BYTES, 8));
        memcpy(body + 16 + salt * 64, inner, FRAME_BYTES + 8);
    }
    memcpy(b->data, body, sizeof body);
    assert_int_equal(store_append(site.doors[0], (struct bytes){0}, b, &seq), 0);
    assert_int_equal(seq * FRAME_ALIGN, begin);
    blob_unref(b);
    wait_safe(0, append_of(0, 2, 8));
    site_kill();
    image_take();
    image_at(seq, &at)->data[at + 8] ^= 1; /* so that its length is not believed */
    image_restore();
    expect_one_lost(3, 1, seq);
}

static void a_damaged_segment_header_is_replaced_by_its_copy(void **state)
{
    (void)state;
    uint64_t seq = 0;
    size_t at;
    site_open(1);
    for (uint64_t i = 0; i < 20; i++) seq = append(0, i);
    wait_safe(0, seq);
    site_kill();
    image_take();
    struct image *f = image_at(seq, &at);
    for (size_t k = 0; k < HEADER_BYTES; k++) {
        f->data[k] ^= 4;
        image_restore();
        site_open(1);
        assert_true(logged("header"));
        assert_int_equal(site.report.lost_records, 0);
        expect_scan(0, 20);
        site_close();
        f->data[k] ^= 4;
    }
    f->data[0] ^= 1;
    f->data[f->n - 1] ^= 1;
    image_restore();
    site_open(1); /* the broker starts, and says what is lost */
    assert_int_equal(site.report.lost_records, 1);
    assert_true(logged("segment header"));
    append(0, 7);
    reopen(1);
    expect_scan(7, 1);
}

static void a_later_version_is_refused(void **state)
{
    (void)state;
    size_t at;
    site_open(1);
    uint64_t seq = append(0, 0);
    wait_safe(0, seq);
    site_close();
    image_take();
    struct image *f = image_at(seq, &at);
    le32_put(f->data + 8, LOG_VERSION + 1);
    le32_put(f->data + 60, crc32c(0, bytes_of(f->data, 60)));
    image_restore();
    assert_int_equal(try_open(1), E_INVALID);
    assert_true(logged("later version"));
    le32_put(f->data + 8, LOG_VERSION);
    le32_put(f->data + 60, crc32c(0, bytes_of(f->data, 60)));
    struct checkpoint c = {.number = 9};
    f = image_named("checkpoint");
    checkpoint_put(f->data, &c);
    le32_put(f->data + 8, LOG_VERSION + 1);
    le32_put(f->data + 60, crc32c(0, bytes_of(f->data, 60)));
    image_restore();
    assert_int_equal(try_open(1), E_INVALID);
}

static void a_damaged_checkpoint_is_replaced_by_its_copy_or_the_one_before(void **state)
{
    (void)state;
    uint64_t id = 0, seq = 0;
    site_open(1);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 10; i++) seq = append(0, id++);
        wait_safe(0, seq);
        wait_checkpoint(store_end(site.doors[0]));
    }
    for (int i = 0; i < 10; i++) seq = append(0, id++);
    wait_safe(0, seq);
    site_kill();
    image_take();
    struct image *f = image_named("checkpoint");
    f->data[30] ^= 1; /* number 2 lies in slots 0 and 1, number 1 in the others */
    image_restore();
    site_open(1);
    expect_scan(20, 10);
    assert_true(logged("checkpoint 2"));
    site_close();
    f->data[CHECKPOINT_SLOT + 30] ^= 1;
    image_restore();
    site_open(1);
    expect_scan(10, 20);
    assert_true(logged("checkpoint 1"));
    site_close();
    memset(f->data, 0x55, f->n);
    image_restore();
    site_open(1);
    expect_scan(0, 30);
    assert_true(logged("is lost"));
}

/* ---- crashes ---- */

static uint64_t seqs[40000]; /* of the record with this id; two doors take turns */

/* How many records, from the first on, were reported safe. */
static void note_safe(uint64_t count, uint64_t *safe)
{
    uint64_t polled[2] = {store_poll(site.doors[0]), store_poll(site.doors[1])};
    while (*safe < count && seqs[*safe] <= polled[*safe % 2]) ++*safe;
}

static void append_some(uint64_t *id, uint64_t count, uint64_t *safe, struct rng *rng)
{
    for (uint64_t i = 0; i < count; i++) {
        unsigned d = (unsigned)(*id % 2);
        if (try_append(d, *id, 0, &seqs[*id]) == 0) ++*id;
        if (rng_below(rng, 8) == 0) store_flush(site.doors[d]);
        if (rng_below(rng, 64) == 0) pause_ms(1);
        note_safe(*id, safe);
    }
}

static void all_safe(uint64_t count, uint64_t *safe)
{
    uint64_t until = clock_mono_ms() + WAIT_MS;
    for (unsigned d = 0; d < 2; d++) store_flush(site.doors[d]);
    for (; *safe < count && clock_mono_ms() < until; pause_ms(1)) note_safe(count, safe);
    assert_int_equal(*safe, count);
}

static void after_a_power_failure_the_log_is_a_prefix_with_all_that_was_safe(void **state)
{
    (void)state;
    static uint64_t ids[40000];
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct rng rng = {seed};
        uint64_t id = 0, safe = 0, base = 0; /* base: of the checkpoint */
        files.record = true;
        for (int round = 0; round < 5; round++) {
            site_open(2);
            size_t count = scan(0, ids, ARRAY_LEN(ids));
            for (size_t i = 0; i < count; i++) assert_int_equal(ids[i], base + i);
            assert_int_equal(site.report.lost_records, 0);
            assert_in_range(base + count, safe, id);
            id = safe = base + count; /* the ids of what is gone are used again */
            append_some(&id, 20 + rng_below(&rng, 300), &safe, &rng);
            if (rng_below(&rng, 2) == 0) {
                all_safe(id, &safe);
                wait_checkpoint(store_end(site.doors[0]));
                base = id;
                append_some(&id, rng_below(&rng, 100), &safe, &rng);
            }
            site_kill();
            files_power_lost(&rng);
        }
        site_clear();
    }
}

/* What a killed process leaves to the one that killed it. */
struct testimony {
    _Atomic uint64_t appended, safe;
};

static void append_until_killed(struct testimony *t)
{
    struct store *st = site.doors[0];
    uint64_t id = atomic_load(&t->appended), safe = id;
    for (;;) {
        uint8_t bytes[8 + 100];
        memset(bytes, (int)id, sizeof bytes);
        memcpy(bytes, &id, 8);
        if (store_journal(st, bytes_of(bytes, 8 + id % 100), &seqs[id % ARRAY_LEN(seqs)]) == 0)
            atomic_store(&t->appended, ++id);
        if (id % 16 == 0) store_flush(st);
        uint64_t polled = store_poll(st);
        while (safe < id && seqs[safe % ARRAY_LEN(seqs)] <= polled) safe++;
        atomic_store(&t->safe, safe);
        if (id - safe > ARRAY_LEN(seqs) / 2) pause_ms(1);
    }
}

static uint64_t count_journals(void)
{
    struct store_scan *s;
    struct store_record r;
    uint64_t count = 0, id;
    assert_int_equal(store_scan_open(site.doors[0], &s), 0);
    while (store_scan_next(s, &r) == 0) {
        memcpy(&id, r.body.p, 8);
        assert_int_equal(id, count);
        assert_int_equal(r.body.n, 8 + id % 100);
        count++;
    }
    store_scan_close(&s);
    return count;
}

static void after_kill_9_nothing_that_was_safe_is_missing(void **state)
{
    (void)state;
    struct testimony *t =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(t != MAP_FAILED);
    for (int round = 0; round < 6; round++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            if (try_open(1) == 0) append_until_killed(t);
            _exit(1);
        }
        uint64_t until = clock_mono_ms() + WAIT_MS, before = atomic_load(&t->safe);
        while (atomic_load(&t->safe) < before + 2000 && clock_mono_ms() < until) pause_ms(1);
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, NULL, 0), child);
        site_open(1);
        assert_int_equal(site.report.lost_records, 0);
        uint64_t count = count_journals();
        assert_in_range(count, atomic_load(&t->safe), atomic_load(&t->appended) + 1);
        atomic_store(&t->appended, count);
        site_close();
    }
    munmap(t, 4096);
}

/* ---- failing calls ---- */

/* Opens, appends, fetches, checkpoints, closes, whatever fails; what was safe is counted. */
static void use_log(uint64_t *id, uint64_t *safe)
{
    struct rng rng = {1};
    struct blob *b;
    if (try_open(2) < 0) return;
    append_some(id, 250, safe, &rng);
    for (unsigned d = 0; d < 2; d++) store_flush(site.doors[d]);
    for (int i = 0; i < 30 && *safe < *id; i++) {
        pause_ms(1);
        note_safe(*id, safe);
    }
    if (*safe) {
        store_ref ref = store_hold(site.doors[1], seqs[*safe - 1], NULL);
        int rc = E_AGAIN;
        for (int i = 0; i < 1000 && rc == E_AGAIN; i++) {
            rc = store_fetch(site.doors[1], ref, &b);
            if (rc == 0) blob_unref(b);
            store_poll(site.doors[1]);
        }
        store_drop(site.doors[1], ref);
    }
    (void)!store_checkpoint(site.doors[0], seqs[0]); /* all is still to be scanned */
    site_close();
}

/* Everything reported safe is there, in order; *id: there may be more. */
static void expect_safe(uint64_t id, uint64_t safe)
{
    static uint64_t ids[2000];
    files.countdown = files.nomem = -1;
    site_open(2);
    size_t count = scan(0, ids, ARRAY_LEN(ids));
    for (size_t i = 0; i < count; i++) assert_int_equal(ids[i], i);
    assert_in_range(count, safe, id);
    site_close();
    site_clear();
}

static void each_call_may_fail_once(void **state)
{
    (void)state;
    const int failures[] = {EIO, ENOSPC};
    for (size_t f = 0; f < ARRAY_LEN(failures); f++) {
        bool fired = true;
        for (long n = 0; fired; n += n < 60 ? 1 : 7) {
            uint64_t id = 0, safe = 0;
            files.countdown = n;
            files.failure = failures[f];
            files.fired = false;
            use_log(&id, &safe);
            fired = files.fired;
            expect_safe(id, safe);
        }
    }
}

static void writes_may_be_short(void **state)
{
    (void)state;
    uint64_t id = 0, safe = 0;
    files.write_max = 1000;
    use_log(&id, &safe);
    assert_int_equal(id, safe);
    assert_int_equal(safe, 250);
    expect_safe(id, safe);
}

static void each_thread_may_lack_memory_once(void **state)
{
    (void)state;
    bool fired = true;
    for (long n = 0; fired; n += n < 60 ? 1 : 7) {
        uint64_t id = 0, safe = 0;
        files.nomem = n;
        files.fired = false;
        use_log(&id, &safe);
        mem_fail_after(-1);
        fired = files.fired;
        expect_safe(id, safe);
    }
}

static void opening_and_using_without_memory_changes_nothing(void **state)
{
    (void)state;
    bool fired = true;
    for (long n = 0; fired; n++) {
        uint64_t id = 0, safe = 0;
        assert_true(n < 1000);
        mem_fail_after(n);
        int rc = try_open(1);
        fired = mem_fail_after(-1);
        assert_int_equal(rc, fired ? E_NOMEM : 0);
        if (rc == 0) append(0, id);
        site_close();
        expect_safe(1, safe);
    }
}

static void after_a_failed_sync_nothing_is_called_safe(void **state)
{
    (void)state;
    uint64_t seq = 0;
    struct store_stats stats;
    site_open(1);
    wait_safe(0, append(0, 0));
    files_set(&files.datasync_fails, true); /* the write succeeds */
    assert_int_equal(try_append(0, 1, 0, &seq), 0);
    store_flush(site.doors[0]);
    for (int i = 0; i < 50; i++) {
        pause_ms(1);
        assert_true(store_poll(site.doors[0]) < seq);
    }
    assert_true(logged("must be restarted"));
    uint64_t more;
    assert_int_equal(try_append(0, 2, 0, &more), E_FULL);
    assert_int_equal(store_journal(site.doors[0], bytes_str("x"), &more), E_FULL);
    assert_false(store_crowded(site.doors[0]));
    assert_int_equal(store_checkpoint(site.doors[0], store_end(site.doors[0])), E_IO);
    store_stats(site.doors[0], &stats);
    assert_true(stats.full);
    files_set(&files.datasync_fails, false);
    reopen(1); /* what was written may be there as well */
    assert_in_range(site.report.records, 1, 2);
    wait_safe(0, append(0, 9));
}

static void a_record_that_the_disk_cannot_read_is_lost(void **state)
{
    (void)state;
    struct blob *b;
    site_open(1);
    store_ref ref = store_hold(site.doors[0], append(0, 0), NULL);
    wait_safe(0, ref);
    files_set(&files.cold, true);
    files_set(&files.dead, true);
    int rc;
    while ((rc = store_fetch(site.doors[0], ref, &b)) == E_AGAIN) store_poll(site.doors[0]);
    assert_int_equal(rc, E_IO);
    assert_true(logged_sequence(ref));
    files_set(&files.dead, false);
    expect_fetch(0, ref, 0); /* it can be read again when the disk can */
}

/* ---- full ---- */

static uint64_t fill_up(uint64_t *id)
{
    uint64_t seq = 0, until = clock_mono_ms() + WAIT_MS;
    int rc;
    while ((rc = try_append(0, *id, 1000, &seq)) != E_FULL && clock_mono_ms() < until) {
        if (rc == 0) ++*id;
        store_flush(site.doors[0]);
        store_poll(site.doors[0]);
    }
    assert_int_equal(rc, E_FULL);
    return seq;
}

static void a_full_disk_refuses_messages_takes_journals_and_recovers(void **state)
{
    (void)state;
    uint64_t id = 0, seq = 0, journals = 0;
    struct store_stats stats;
    site_open(1);
    files_set_space(3 * SEGMENT + SEGMENT / 2);
    fill_up(&id);
    assert_in_range(id, 3 * SEGMENT / 1100, 5 * SEGMENT / 1000);
    assert_true(logged("disk full"));
    store_stats(site.doors[0], &stats);
    assert_true(stats.full);
    while (store_journal(site.doors[0], bytes_str("acknowledged"), &seq) == 0) journals++;
    assert_in_range(journals, 100, SEGMENT / 8 / 40 + 40);
    wait_safe(0, seq); /* everything that was taken can be written */
    assert_int_equal(try_append(0, id, 0, &seq), E_FULL);
    files_set_space(-1);
    uint64_t until = clock_mono_ms() + WAIT_MS;
    while (try_append(0, id, 0, &seq) != 0 && clock_mono_ms() < until) pause_ms(5);
    wait_safe(0, seq);
    assert_true(logged("space again"));
    reopen(1);
    expect_scan(0, id + 1);
}

static void a_checkpoint_makes_room_on_a_full_disk(void **state)
{
    (void)state;
    uint64_t id = 0, seq = 0;
    site_open(1);
    files_set_space(3 * SEGMENT);
    wait_safe(0, fill_up(&id));
    wait_checkpoint(store_end(site.doors[0]));
    uint64_t until = clock_mono_ms() + WAIT_MS;
    while (try_append(0, id, 0, &seq) != 0 && clock_mono_ms() < until) pause_ms(5);
    wait_safe(0, seq);
    reopen(1);
    assert_int_equal(site.report.records, 1);
}

static void the_log_opens_on_a_full_disk(void **state)
{
    (void)state;
    uint64_t seq;
    site_open(1);
    wait_safe(0, append(0, 0));
    site_close();
    /* The blank segment that was left is lost with the space for it. */
    image_take();
    for (size_t i = 0; i < image_count; i++) {
        uint64_t base;
        char path[400];
        snprintf(path, sizeof path, "%s/%s", site.folder, image[i].name);
        if (name_get(image[i].name, "seg", &base) && base > SEGMENT_UNIT) remove_file(path);
    }
    files_set_space(0);
    site_open(1);
    expect_scan(0, 1);
    assert_int_equal(try_append(0, 1, 0, &seq) == E_FULL || logged("disk full") == false, 1);
    files_set_space(-1);
    uint64_t until = clock_mono_ms() + WAIT_MS;
    while (try_append(0, 1, 0, &seq) != 0 && clock_mono_ms() < until) pause_ms(5);
    wait_safe(0, seq);
    reopen(1);
    expect_scan(0, 2);
}

#define ON(test) cmocka_unit_test_setup_teardown(test, setup, image_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON(a_record_torn_at_any_byte_is_cut_off),
        ON(what_was_cut_off_never_comes_back),
        ON(a_gap_that_was_safe_is_damage_after_a_power_failure_too),
        ON(any_flipped_bit_of_a_record_is_found_and_named),
        ON(damage_in_a_full_segment_leaves_what_comes_after),
        ON(a_body_with_a_frame_in_it_is_not_taken_for_one),
        ON(a_damaged_segment_header_is_replaced_by_its_copy),
        ON(a_later_version_is_refused),
        ON(a_damaged_checkpoint_is_replaced_by_its_copy_or_the_one_before),
        ON(after_a_power_failure_the_log_is_a_prefix_with_all_that_was_safe),
        ON(after_kill_9_nothing_that_was_safe_is_missing),
        ON(each_call_may_fail_once),
        ON(writes_may_be_short),
        ON(each_thread_may_lack_memory_once),
        ON(opening_and_using_without_memory_changes_nothing),
        ON(after_a_failed_sync_nothing_is_called_safe),
        ON(a_record_that_the_disk_cannot_read_is_lost),
        ON(a_full_disk_refuses_messages_takes_journals_and_recovers),
        ON(a_checkpoint_makes_room_on_a_full_disk),
        ON(the_log_opens_on_a_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
