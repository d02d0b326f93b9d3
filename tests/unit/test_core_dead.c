/* Dead letters as operators ask for them and act on them: found in steps, sent again and thrown
 * away, and every one of the others in a checkpoint. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "mqtt/packet.h"
#include "src/core/dead.h"
#include "src/core/dead_act.h"
#include "src/core/queue_list.h"
#include "tests/world.h"

enum { LETTERS = 50 };

static struct bytes text(const char *s) { return bytes_str(s); }

/* A queue of one message, and what pushes LETTERS others out of it: "0" to "49". */
static void make_letters(struct world *w)
{
    char why[WQUEUE_WHY_MAX], name[] = "small", topic[] = "small/#", *topics[] = {topic};
    struct queue_conf conf = {
        .name = name, .topics = topics, .topic_count = 1, .set = QUEUE_SETTINGS_DEFAULT};
    conf.set.max_messages = 1;
    assert_int_equal(wqueue_create(world_core(w, 0), &conf, why), 0);
    for (int i = 0; i <= LETTERS; i++) {
        char payload[8];
        snprintf(payload, sizeof payload, "%d", i);
        assert_int_equal(core_publish(world_core(w, 0), text("small/x"), text(payload), 1, false),
                         0);
        world_run(w);
    }
}

struct seen {
    unsigned count;
    uint64_t seqs[LETTERS + 8];
    char all[1024];
};

static void found(void *ctx, const struct dead_letter_view *l)
{
    struct seen *s = ctx;
    size_t n = strlen(s->all);
    s->seqs[s->count++] = l->seq;
    snprintf(s->all + n, sizeof s->all - n, "%.*s ", (int)l->payload.n, (const char *)l->payload.p);
}

/* All that are wanted, so many in a step. */
static struct seen look(struct world *w, const struct dead_order *order, unsigned most)
{
    struct seen s = {0};
    char why[DEAD_WHY_MAX];
    uint64_t at = 0;
    for (int rc; (rc = dead_find(world_core(w, 0), order, &at, most, found, &s, why)) != 0;) {
        assert_true(rc == DEAD_MORE || rc == E_AGAIN);
        if (rc == E_AGAIN) world_advance(w, 1);
    }
    return s;
}

static struct dead_sweep sweep(struct world *w, struct dead_sweep s, unsigned most)
{
    char why[DEAD_WHY_MAX];
    s.until = dead_last(world_core(w, 0));
    for (int rc; (rc = dead_sweep(world_core(w, 0), &s, most, why)) != 0;) {
        assert_true(rc == DEAD_MORE || rc == E_AGAIN);
        world_run(w);
        if (rc == E_AGAIN) world_advance(w, 1);
    }
    world_run(w);
    return s;
}

static void letters_are_found_in_steps_each_once(void **state)
{
    (void)state;
    struct world *w = world_new(1, NULL, 1);
    make_letters(w);
    struct seen all = look(w, &(struct dead_order){0}, 7);
    assert_int_equal(all.count, LETTERS);
    for (unsigned i = 1; i < all.count; i++) assert_true(all.seqs[i] > all.seqs[i - 1]);
    assert_string_equal(
        look(w, &(struct dead_order){.filter = text("mqtt.payload LIKE '%7'")}, 2).all,
        "7 17 27 37 47 ");
    assert_string_equal(look(w, &(struct dead_order){.seq = all.seqs[3]}, 9).all, "3 ");
    assert_int_equal(look(w, &(struct dead_order){.source = text("smal")}, 9).count, 0);
    assert_int_equal(look(w, &(struct dead_order){.reason = text("overflow")}, 9).count, LETTERS);
    char why[DEAD_WHY_MAX];
    uint64_t at = 0;
    struct dead_order bad = {.filter = text("a =")};
    assert_int_equal(dead_find(world_core(w, 0), &bad, &at, 1, found, &all, why), E_INVALID);
    assert_non_null(strstr(why, "column 4"));
    world_free(w);
}

static void a_sweep_leaves_those_alone_that_die_meanwhile(void **state)
{
    (void)state;
    struct world *w = world_new(1, NULL, 1);
    make_letters(w);
    /* Each pushes the one before out of the queue, which has room for one. */
    struct dead_sweep s = sweep(w, (struct dead_sweep){.verb = DEAD_REDRIVE}, 3);
    assert_int_equal(s.matched, LETTERS);
    assert_int_equal(s.done, LETTERS);
    assert_int_equal(look(w, &(struct dead_order){0}, 100).count, LETTERS);
    s = sweep(w, (struct dead_sweep){.verb = DEAD_COUNT}, 3);
    assert_true(s.matched == LETTERS && s.done == 0);
    s = sweep(w,
              (struct dead_sweep){.verb = DEAD_PURGE,
                                  .order.filter = text("NOT (mqtt.payload LIKE '%1')")},
              3);
    assert_int_equal(s.done, s.matched);
    assert_int_equal(look(w, &(struct dead_order){0}, 100).count, LETTERS - (unsigned)s.done);
    world_free(w);
}

static void without_its_queue_a_letter_stays(void **state)
{
    (void)state;
    struct world *w = world_new(1, NULL, 1);
    make_letters(w);
    assert_int_equal(wqueue_delete(world_core(w, 0), text("small")), 0);
    struct dead_sweep s = sweep(w, (struct dead_sweep){.verb = DEAD_REDRIVE}, 100);
    assert_true(s.matched == LETTERS && s.done == 0 && s.ownerless == LETTERS);
    assert_int_equal(look(w, &(struct dead_order){0}, 100).count, LETTERS);
    world_free(w);
}

static void what_was_done_outlives_a_crash_when_it_is_promised(void **state)
{
    (void)state;
    struct store_disk *disk;
    uint64_t seq;
    assert_int_equal(store_disk_new(&disk, 1), 0);
    struct world *w = world_new_on(disk, 1, NULL, 1);
    make_letters(w);
    struct dead_sweep s = {
        .verb = DEAD_PURGE, .until = UINT64_MAX, .order.filter = text("mqtt.payload LIKE '%7'")};
    char why[DEAD_WHY_MAX];
    while (dead_sweep(world_core(w, 0), &s, 100, why) != DEAD_OVER) world_advance(w, 1);
    assert_true(core_promise(world_core(w, 0), &seq));
    assert_false(core_promised(world_core(w, 0), seq));
    while (!core_promised(world_core(w, 0), seq)) world_advance(w, 1);
    world_crash(w, 1, 1000);
    assert_int_equal(look(w, &(struct dead_order){0}, 100).count, LETTERS - 5);
    world_free(w);
    store_disk_free(&disk);
}

static void a_checkpoint_writes_all_that_stay(void **state)
{
    (void)state;
    struct store_disk *disk;
    assert_int_equal(store_disk_new(&disk, 1), 0);
    struct world *w = world_new_on(disk, 1, NULL, 1);
    make_letters(w);
    struct core *core = world_core(w, 0);
    struct seen s = look(w, &(struct dead_order){0}, 100);
    uint64_t after = 0;
    assert_int_equal(dead_snapshot(core, &after), 0);
    assert_int_equal(after, s.seqs[0]);
    assert_int_equal(dead_purge(core, s.seqs[0]), 0);
    assert_int_equal(dead_purge(core, s.seqs[30]), 0);
    assert_int_equal(dead_snapshot(core, &after), 0);
    assert_int_equal(after, s.seqs[1]); /* and not the one behind it */
    unsigned written = 1;
    while (dead_snapshot(core, &after) == 0) written++;
    assert_int_equal(written, LETTERS - 2);
    world_free(w);
    store_disk_free(&disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_are_found_in_steps_each_once),
        cmocka_unit_test(a_sweep_leaves_those_alone_that_die_meanwhile),
        cmocka_unit_test(without_its_queue_a_letter_stays),
        cmocka_unit_test(what_was_done_outlives_a_crash_when_it_is_promised),
        cmocka_unit_test(a_checkpoint_writes_all_that_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
