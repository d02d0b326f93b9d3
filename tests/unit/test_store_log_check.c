/* What the check of a folder says: nothing of a sound one, and each planted damage by its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/store_log_image.h"

enum { RECORDS = 190, BODY = 900 };

static uint64_t seqs[RECORDS];
static char said[8192];

static void say(void *ctx, const char *text)
{
    (void)ctx;
    size_t n = strlen(said);
    snprintf(said + n, sizeof said - n, "%s\n", text);
}

static int check(void)
{
    said[0] = 0;
    return store_log_check(site.folder, say, NULL);
}

/* Three segments, the last not ended, as after a crash; two checkpoints. */
static void make_log(void)
{
    site_open(1);
    for (uint64_t i = 0; i < RECORDS; i++) {
        seqs[i] = append_of(0, i, BODY);
        if (i == 5 || i == 10) wait_safe(0, seqs[i]);
        if (i == 5 || i == 10) wait_checkpoint(seqs[2]);
    }
    wait_safe(0, seqs[RECORDS - 1]);
    site_kill();
    image_take();
}

static void expect_said(const char *text)
{
    if (strstr(said, text) == NULL) fail_msg("\"%s\" is not in:\n%s", text, said);
}

/* The damage is named with its sequence and byte. */
static void expect_place(uint64_t seq, uint64_t byte)
{
    char text[80];
    snprintf(text, sizeof text, "damaged: sequence %llu, byte %llu, ", (unsigned long long)seq,
             (unsigned long long)byte);
    expect_said(text);
}

static void a_sound_log_is_described(void **state)
{
    (void)state;
    assert_int_equal(check(), E_NOTFOUND);
    make_log();
    assert_int_equal(check(), 0);
    expect_said("190 records, 0 damages");
    expect_said("checkpoint 2: recovery begins at sequence");
    expect_said("bytes, ended");
    expect_said("bytes, open");
    expect_said("bytes, blank");
    site_open(1);
    site_close();
    assert_int_equal(check(), 0);
    expect_said("ended by cutting off an unfinished write");
}

static void an_unfinished_write_is_no_damage(void **state)
{
    (void)state;
    size_t at;
    make_log();
    image_at(seqs[RECORDS - 1], &at)->data[at + 200] ^= 1;
    image_restore();
    assert_int_equal(check(), 0);
    expect_said("an unfinished write at sequence");
}

static void each_damaged_record_is_named(void **state)
{
    (void)state;
    size_t at;
    make_log();
    struct image *f = image_at(seqs[30], &at);
    f->data[at + FRAME_BYTES + 100] ^= 1;
    image_restore();
    assert_int_equal(check(), E_MALFORMED);
    expect_place(seqs[30], at);
    expect_said("bytes: body");
    f->data[at + FRAME_BYTES + 100] ^= 1;
    f->data[at + 8] ^= 1;
    image_restore();
    assert_int_equal(check(), E_MALFORMED);
    expect_place(seqs[30], at);
    expect_said("bytes: frame header");
    expect_said("189 records, 1 damages");
}

static void damaged_headers_ends_and_checkpoints_are_named(void **state)
{
    (void)state;
    size_t at;
    make_log();
    struct image *f = image_at(seqs[0], &at);
    f->data[20] ^= 1;
    image_restore();
    assert_int_equal(check(), E_MALFORMED);
    expect_said("damaged: byte 0: segment header");
    f->data[20] ^= 1;
    f->data[f->n - 10] ^= 1;
    image_restore();
    assert_int_equal(check(), E_MALFORMED);
    expect_said("segment header, the copy at the end");
    f->data[f->n - 10] ^= 1;
    uint64_t last = 0; /* of the first segment */
    size_t other;
    while (image_at(seqs[last + 1], &other) == f) last++;
    (void)image_at(seqs[last], &at);
    at += frame_room(8, BODY);
    f->data[at + 5] ^= 1;
    image_restore();
    assert_int_equal(check(), E_MALFORMED);
    expect_place(seqs[last] + frame_room(8, BODY) / FRAME_ALIGN, at);
    expect_said("the end of the segment");
    f->data[at + 5] ^= 1;
    image_named("checkpoint")->data[CHECKPOINT_SLOT + 30] ^= 1;
    image_restore();
    assert_int_equal(check(), E_MALFORMED);
    expect_said("checkpoint: damaged: 1 of 4 copies");
}

static void files_of_another_length_are_named(void **state)
{
    (void)state;
    size_t at;
    make_log();
    image_at(seqs[0], &at)->n -= 1000;
    image_restore();
    assert_int_equal(check(), E_MALFORMED);
    expect_said("and should have 65536");
}

static void checking_changes_nothing(void **state)
{
    (void)state;
    struct image before[IMAGE_FILES];
    make_log();
    assert_int_equal(check(), 0);
    size_t count = image_count;
    memcpy(before, image, sizeof before);
    image_count = 0;
    image_take();
    assert_int_equal(image_count, count);
    for (size_t i = 0; i < count; i++) {
        struct image *now = image_named(before[i].name);
        assert_int_equal(now->n, before[i].n);
        assert_memory_equal(now->data, before[i].data, now->n);
        free(before[i].data);
    }
}

#define ON(test) cmocka_unit_test_setup_teardown(test, setup, image_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON(a_sound_log_is_described),          ON(an_unfinished_write_is_no_damage),
        ON(each_damaged_record_is_named),      ON(damaged_headers_ends_and_checkpoints_are_named),
        ON(files_of_another_length_are_named), ON(checking_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
