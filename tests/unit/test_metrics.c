/* The $SYS tree: names, texts, only what changed, load averages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/err.h"
#include "base/mem.h"
#include "src/metrics.h"

enum { KEPT = 100 };

struct seen {
    char topic[KEPT][80], value[KEPT][64];
    unsigned count;
};

static void keep(void *ctx, const char *topic, const char *value)
{
    struct seen *s = ctx;
    assert_true(s->count < KEPT);
    snprintf(s->topic[s->count], sizeof s->topic[0], "%s", topic);
    snprintf(s->value[s->count++], sizeof s->value[0], "%s", value);
}

static const char *value_of(const struct seen *s, const char *topic)
{
    const char *found = NULL;
    for (unsigned i = 0; i < s->count; i++) {
        if (strcmp(s->topic[i], topic) != 0) continue;
        assert_null(found); /* each topic once an update */
        found = s->value[i];
    }
    return found;
}

static void update(struct metrics *m, const struct metrics_input *in, double elapsed_s,
                   struct seen *s)
{
    *s = (struct seen){0};
    metrics_update(m, in, elapsed_s, keep, s);
}

static struct metrics *fresh(void)
{
    struct metrics *m = NULL;
    assert_int_equal(metrics_new(&m, "0.1.0"), 0);
    return m;
}

static size_t count_below(const struct seen *s, const char *prefix)
{
    size_t found = 0;
    for (size_t i = 0; i < s->count; i++)
        found += strncmp(s->topic[i], prefix, strlen(prefix)) == 0;
    return found;
}

static void the_first_update_emits_every_topic_of_mosquitto(void **state)
{
    (void)state;
    static const char *const topics[] = {
        "version",
        "uptime",
        "clients/total",
        "clients/maximum",
        "clients/disconnected",
        "clients/inactive",
        "clients/connected",
        "clients/active",
        "clients/expired",
        "messages/received",
        "messages/sent",
        "messages/stored",
        "store/messages/count",
        "store/messages/bytes",
        "subscriptions/count",
        "shared_subscriptions/count",
        "retained messages/count",
        "heap/current",
        "heap/maximum",
        "bytes/received",
        "bytes/sent",
        "publish/bytes/received",
        "publish/bytes/sent",
        "publish/messages/received",
        "publish/messages/sent",
        "publish/messages/dropped",
        "packet/out/count",
        "packet/out/bytes",
        "connections/socket/count",
    };
    static const char *const loads[] = {
        "messages/received", "messages/sent", "publish/received", "publish/sent", "publish/dropped",
        "bytes/received",    "bytes/sent",    "sockets",          "connections",
    };
    static const char *const spans[] = {"1min", "5min", "15min"};
    struct metrics *m = fresh();
    struct metrics_input in = {0};
    struct seen s;
    char topic[80];
    update(m, &in, 0, &s);
    enum { DEAD = 7 }; /* ours: dead letters, in the list and by reason */
    assert_int_equal(count_below(&s, "$SYS/broker/dead/"), DEAD);
    assert_int_equal(count_below(&s, "$SYS/broker/"),
                     ARRAY_LEN(topics) + ARRAY_LEN(loads) * ARRAY_LEN(spans) + DEAD);
    for (size_t i = 0; i < ARRAY_LEN(topics); i++) {
        snprintf(topic, sizeof topic, "$SYS/broker/%s", topics[i]);
        assert_non_null(value_of(&s, topic));
    }
    for (size_t i = 0; i < ARRAY_LEN(loads) * ARRAY_LEN(spans); i++) {
        snprintf(topic, sizeof topic, "$SYS/broker/load/%s/%s", loads[i / 3], spans[i % 3]);
        assert_string_equal(value_of(&s, topic), "0.00");
    }
    assert_string_equal(value_of(&s, "$SYS/broker/version"),
                        "sluice version 0.1.0 (mosquitto-compatible)");
    assert_string_equal(value_of(&s, "$SYS/broker/uptime"), "0 seconds");
    metrics_free(&m);
    assert_null(m);
}

static void only_what_changed_is_emitted_again(void **state)
{
    (void)state;
    struct metrics *m = fresh();
    struct metrics_input in = {.stats.retained = 3};
    struct seen s;
    update(m, &in, 0, &s);
    update(m, &in, 10, &s);
    assert_int_equal(s.count, 0);
    in.uptime_s = 20;
    in.stats.subscriptions = 7;
    update(m, &in, 10, &s);
    assert_int_equal(s.count, 2);
    assert_string_equal(value_of(&s, "$SYS/broker/uptime"), "20 seconds");
    assert_string_equal(value_of(&s, "$SYS/broker/subscriptions/count"), "7");
    metrics_forget(m);
    update(m, &in, 10, &s);
    assert_string_equal(value_of(&s, "$SYS/broker/retained messages/count"), "3");
    metrics_free(&m);
}

static void clients_are_told_apart_and_the_maximum_stays(void **state)
{
    (void)state;
    struct metrics *m = fresh();
    struct metrics_input in = {.stats = {.sessions = 10, .connected = 4}, .heap = 5000};
    struct seen s;
    update(m, &in, 0, &s);
    assert_string_equal(value_of(&s, "$SYS/broker/clients/total"), "10");
    assert_string_equal(value_of(&s, "$SYS/broker/clients/connected"), "4");
    assert_string_equal(value_of(&s, "$SYS/broker/clients/disconnected"), "6");
    assert_string_equal(value_of(&s, "$SYS/broker/clients/maximum"), "4");
    in.stats.connected = 2;
    in.heap = 4000;
    update(m, &in, 10, &s);
    assert_string_equal(value_of(&s, "$SYS/broker/clients/active"), "2");
    assert_string_equal(value_of(&s, "$SYS/broker/heap/current"), "4000");
    assert_null(value_of(&s, "$SYS/broker/clients/maximum"));
    assert_null(value_of(&s, "$SYS/broker/heap/maximum"));
    metrics_free(&m);
}

static void load_averages_fade_towards_the_rate_a_minute(void **state)
{
    (void)state;
    struct metrics *m = fresh();
    struct metrics_input in = {.stats.publish_received = 1000000};
    struct seen s;
    update(m, &in, 10, &s); /* what came before the first update is no rate */
    assert_string_equal(value_of(&s, "$SYS/broker/load/publish/received/1min"), "0.00");
    /* 100 in 60 s = 100 a minute; 100 * (1 - e^-1), (1 - e^-0.2), (1 - e^-(1/15)). */
    in.stats.publish_received += 100;
    update(m, &in, 60, &s);
    assert_string_equal(value_of(&s, "$SYS/broker/load/publish/received/1min"), "63.21");
    assert_string_equal(value_of(&s, "$SYS/broker/load/publish/received/5min"), "18.13");
    assert_string_equal(value_of(&s, "$SYS/broker/load/publish/received/15min"), "6.45");
    /* Then nothing for a minute: 63.212 * e^-1. */
    update(m, &in, 60, &s);
    assert_string_equal(value_of(&s, "$SYS/broker/load/publish/received/1min"), "23.25");
    /* Connections, let in or not, and sockets are counted apart. */
    in.stats.connections_accepted = 5;
    in.stats.connections_refused = 5;
    in.sockets_accepted = 20;
    update(m, &in, 10, &s); /* 60 and 120 a minute, times 1 - e^-(1/6) */
    assert_string_equal(value_of(&s, "$SYS/broker/load/connections/1min"), "9.21");
    assert_string_equal(value_of(&s, "$SYS/broker/load/sockets/1min"), "18.42");
    metrics_free(&m);
}

static void the_sum_holds_every_member_of_every_shard(void **state)
{
    (void)state;
    struct core_stats one, sum;
    uint64_t *of_one = (uint64_t *)&one, *of_sum = (uint64_t *)&sum;
    size_t members = sizeof one / sizeof *of_one;
    for (size_t i = 0; i < members; i++) {
        of_one[i] = i + 1;
        of_sum[i] = 1000 * (i + 1);
    }
    metrics_add(&sum, &one);
    for (size_t i = 0; i < members; i++) assert_int_equal(of_sum[i], 1001 * (i + 1));
}

static void without_memory_nothing_is_made(void **state)
{
    (void)state;
    for (long n = 0;; n++) {
        struct metrics *m = NULL;
        mem_fail_after(n);
        int rc = metrics_new(&m, "0.1.0");
        if (!mem_fail_after(-1)) {
            assert_int_equal(rc, 0);
            assert_int_equal(n, 2);
            metrics_free(&m);
            return;
        }
        assert_int_equal(rc, E_NOMEM);
        assert_null(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_update_emits_every_topic_of_mosquitto),
        cmocka_unit_test(only_what_changed_is_emitted_again),
        cmocka_unit_test(clients_are_told_apart_and_the_maximum_stays),
        cmocka_unit_test(load_averages_fade_towards_the_rate_a_minute),
        cmocka_unit_test(the_sum_holds_every_member_of_every_shard),
        cmocka_unit_test(without_memory_nothing_is_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
