/* $SYS of queues: what is said when, what is removed, and the alarms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "src/sys_queues.h"

struct said { /* "topic=value\n" of each call, without $SYS/ */
    char text[8192];
    size_t n;
};

static void keep(void *ctx, const char *topic, const char *value)
{
    struct said *s = ctx;
    s->n += (size_t)snprintf(s->text + s->n, sizeof s->text - s->n, "%s=%s\n", topic + 5, value);
}

static void add(struct queue_figures *f, const char *name, uint32_t depth, uint64_t oldest_s)
{
    queue_figures_add(
        f, &(struct wqueue_info){
               .name = bytes_str(name), .depth = depth, .oldest_s = oldest_s, .counts.dead[1] = 7});
}

/* One update with these figures, which it empties. */
static void update(struct sys_queues *q, struct queue_figures *f, struct sys_input in,
                   struct said *s)
{
    in.shards = f;
    in.shard_count = 1;
    in.wall_ms = UINT64_C(1700000000000);
    *s = (struct said){0};
    sys_queues_update(q, &in, keep, s);
    queue_figures_fini(f);
}

static bool says(const struct said *s, const char *line)
{
    const char *at = strstr(s->text, line);
    return at && (at == s->text || at[-1] == '\n') && at[strlen(line)] == '\n';
}

static void values_are_told_when_they_change_and_removed_with_the_queue(void **state)
{
    (void)state;
    struct sys_queues *q;
    struct queue_figures f = {0};
    struct sys_input none = {0};
    struct said s;
    assert_int_equal(sys_queues_new(&q), 0);
    add(&f, "b", 2, 0);
    add(&f, "a", 1, 0);
    update(q, &f, none, &s);
    assert_true(says(&s, "broker/queue/a/depth=1") && says(&s, "broker/queue/b/depth=2"));
    assert_true(says(&s, "broker/queue/a/dead_letters/attempts=7"));
    assert_true(says(&s, "broker/queue/a/redelivered/disconnect=0"));
    add(&f, "a", 1, 0);
    add(&f, "b", 3, 0);
    update(q, &f, none, &s);
    assert_string_equal(s.text, "broker/queue/b/depth=3\n");
    add(&f, "b", 3, 0);
    update(q, &f, none, &s);
    assert_true(says(&s, "broker/queue/a/depth=") && !strstr(s.text, "queue/b/"));
    update(q, &f, none, &s);
    assert_true(says(&s, "broker/queue/b/depth="));
    update(q, &f, none, &s);
    assert_string_equal(s.text, "");
    sys_queues_free(&q);
}

static void a_queue_that_is_too_old_has_an_alarm(void **state)
{
    (void)state;
    struct sys_queues *q;
    struct queue_figures f = {0};
    struct sys_input in = {.limits.queue_age_s = 10};
    struct said s;
    assert_int_equal(sys_queues_new(&q), 0);
    add(&f, "a", 1, 10);
    update(q, &f, in, &s);
    assert_null(strstr(s.text, "alarm"));
    add(&f, "a", 1, 11);
    update(q, &f, in, &s);
    assert_true(says(&s, "alarm/queue-age/a={\"since\":\"2023-11-14T22:13:20.000000Z\","
                         "\"oldest_seconds\":11,\"depth\":1,\"consumers\":0}"));
    add(&f, "a", 1, 11);
    update(q, &f, in, &s);
    assert_string_equal(s.text, "");
    add(&f, "a", 1, 9);
    update(q, &f, in, &s);
    assert_true(says(&s, "alarm/queue-age/a="));
    add(&f, "a", 1, 20);
    update(q, &f, in, &s);
    assert_non_null(strstr(s.text, "alarm/queue-age/a={"));
    update(q, &f, in, &s); /* the queue is no more */
    assert_true(says(&s, "alarm/queue-age/a="));
    sys_queues_free(&q);
}

static void new_dead_letters_are_an_alarm_until_none_come(void **state)
{
    (void)state;
    struct sys_queues *q;
    struct queue_figures f = {0};
    struct sys_input in = {.dead_letters = 5, .dead_listed = 5, .limits.dead_letters = 2};
    struct said s;
    assert_int_equal(sys_queues_new(&q), 0);
    update(q, &f, in, &s); /* those of before the start are none */
    assert_string_equal(s.text, "");
    in.dead_letters = 6;
    update(q, &f, in, &s);
    assert_string_equal(s.text, "");
    in.dead_letters = 8;
    update(q, &f, in, &s);
    assert_string_equal(s.text, "alarm/dead-letters={\"since\":\"2023-11-14T22:13:20.000000Z\","
                                "\"new\":2,\"listed\":5}\n");
    update(q, &f, in, &s);
    assert_string_equal(s.text, "alarm/dead-letters=\n");
    update(q, &f, in, &s);
    assert_string_equal(s.text, "");
    in.limits.dead_letters = 0;
    in.dead_letters = 100;
    update(q, &f, in, &s);
    assert_string_equal(s.text, "");
    sys_queues_free(&q);
}

static void there_are_so_many_figures_at_most(void **state)
{
    (void)state;
    struct queue_figures f = {0};
    struct queue_figure out;
    char name[16];
    for (int i = 0; i < QUEUE_FIGURES_MAX + 3; i++) {
        snprintf(name, sizeof name, "q%d", i);
        add(&f, name, 1, 0);
    }
    unsigned n = 0;
    for (size_t at = 0; queue_figures_next(&f, &at, &out);) n++;
    assert_int_equal(n, QUEUE_FIGURES_MAX);
    assert_int_equal(f.omitted, 3);
    queue_figures_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_told_when_they_change_and_removed_with_the_queue),
        cmocka_unit_test(a_queue_that_is_too_old_has_an_alarm),
        cmocka_unit_test(new_dead_letters_are_an_alarm_until_none_come),
        cmocka_unit_test(there_are_so_many_figures_at_most),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
