/* What operators ask of a core and do to it: lists in pages while others come and go, a kick, and
 * retained messages that stay deleted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "mqtt/packet.h"
#include "src/core/list.h"
#include "tests/world.h"

enum { CLIENTS = 20, TOPICS = 500 };

static const struct bytes none = {0};

static struct wconn *joined(struct world *w, const char *id, bool stays)
{
    static const uint8_t never[] = {0x11, 0xff, 0xff, 0xff, 0xff}; /* Session Expiry Interval */
    struct mqtt_connect m = {.version = MQTT_V5,
                             .clean_start = true,
                             .keep_alive_s = 60,
                             .client_id = bytes_str(id),
                             .props.raw = bytes_of(never, stays ? sizeof never : 0)};
    uint8_t d[256];
    struct wconn *c = world_connect(w);
    world_send(c, bytes_of(d, (size_t)(mqtt_connect_encode(d, &m) - d)));
    world_run(w);
    world_consume(c, world_received(c).n);
    return c;
}

static void subscribe(struct world *w, struct wconn *c, const char *filter, uint8_t qos)
{
    uint8_t d[512];
    struct mqtt_subscription s = {.filter = bytes_str(filter), .qos = qos};
    world_send(c, bytes_of(d, (size_t)(mqtt_subscribe_encode(d, MQTT_V5, 1, &s, 1, none) - d)));
    world_run(w);
}

static void subscribed(struct world *w, struct wconn *c, const char *filter, uint8_t qos)
{
    subscribe(w, c, filter, qos);
    world_consume(c, world_received(c).n);
}

static void retained(struct world *w, struct wconn *c, const char *topic, const char *payload)
{
    uint8_t d[512];
    struct mqtt_publish_out m = {.topic = bytes_str(topic),
                                 .payload = bytes_str(payload),
                                 .expiry_s = MQTT_NO_EXPIRY,
                                 .retain = true};
    world_send(c, bytes_of(d, (size_t)(mqtt_publish_encode(d, MQTT_V5, &m) - d)));
    world_run(w);
}

struct seen {
    char all[65536];
    unsigned count;
    struct core_client client;
};

static void add(struct seen *s, struct bytes text)
{
    size_t n = strlen(s->all);
    assert_true(n + text.n + 2 < sizeof s->all);
    snprintf(s->all + n, sizeof s->all - n, "%.*s ", (int)text.n, (const char *)text.p);
    s->count++;
}

static void found_client(void *ctx, const struct core_client *c)
{
    struct seen *s = ctx;
    s->client = *c;
    add(s, c->id);
}

static void found_subscription(void *ctx, const struct core_subscription *sub)
{
    add(ctx, sub->filter);
}

static void found_retained(void *ctx, const struct core_retained *m) { add(ctx, m->topic); }

static unsigned times(const struct seen *s, const char *word)
{
    char whole[64];
    unsigned n = 0;
    snprintf(whole, sizeof whole, "%s ", word);
    for (const char *p = s->all; (p = strstr(p, whole)) != NULL; p++)
        n += p == s->all || p[-1] == ' ';
    return n;
}

static void clients_come_in_pages_each_once_while_others_come_and_go(void **state)
{
    (void)state;
    struct world *w = world_new(1, NULL, 1);
    struct wconn *c[CLIENTS];
    struct seen s = {0};
    struct core_cursor at = {0};
    char id[32];
    for (int i = 0; i < CLIENTS; i++) {
        snprintf(id, sizeof id, "c%d", i);
        c[i] = joined(w, id, false);
    }
    assert_true(core_list_clients(world_core(w, 0), &at, 7, found_client, &s));
    assert_int_equal(s.count, 7);
    world_drop(c[2]); /* was listed */
    world_drop(c[15]);
    joined(w, "late", false);
    world_run(w);
    while (core_list_clients(world_core(w, 0), &at, 7, found_client, &s)) {
    }
    for (int i = 0; i < CLIENTS; i++) {
        snprintf(id, sizeof id, "c%d", i);
        assert_int_equal(times(&s, id), i != 15);
    }
    world_free(w);
}

static void a_client_is_described_connected_and_away(void **state)
{
    (void)state;
    struct world *w = world_new(1, NULL, 2);
    struct seen s = {0};
    struct wconn *c = joined(w, "me", true);
    subscribed(w, c, "a/#", 1);
    subscribed(w, c, "$share/g/b", 1);
    assert_int_equal(core_find_client(world_core(w, 0), bytes_str("me"), found_client, &s), 0);
    assert_true(s.client.connected);
    assert_int_equal(s.client.version, MQTT_V5);
    assert_int_equal(s.client.keep_alive_s, 60);
    assert_int_equal(s.client.expiry_s, UINT32_MAX);
    assert_int_equal(s.client.subscriptions, 2);
    assert_int_equal(s.client.receive_max, 20);
    assert_true(s.client.peer.n > 0 && s.client.since_ms > 0);
    world_drop(c);
    world_run(w);
    struct wconn *p = joined(w, "other", false);
    retained(w, p, "a/1", "hello");
    assert_int_equal(core_find_client(world_core(w, 0), bytes_str("me"), found_client, &s), 0);
    assert_false(s.client.connected);
    assert_int_equal(s.client.peer.n, 0);
    assert_int_equal(s.client.receive_max, 0);
    assert_int_equal(core_find_client(world_core(w, 0), bytes_str("x"), found_client, &s),
                     E_NOTFOUND);
    world_free(w);
}

static void subscriptions_come_in_pages_with_their_prefixes(void **state)
{
    (void)state;
    struct world *w = world_new(1, NULL, 3);
    static const char *const filters[] = {
        "a/#", "b/+/c", "$share/g/d", "$filter/x = 1/a/#", "$share/g/$filter/y > 2/e", "f"};
    struct wconn *one = joined(w, "one", false), *two = joined(w, "two", false);
    for (size_t i = 0; i < ARRAY_LEN(filters); i++) subscribed(w, one, filters[i], 1);
    subscribed(w, two, "z", 0);
    for (unsigned page = 1; page < 9; page++) {
        struct seen s = {0};
        struct core_cursor at = {0};
        while (core_list_subscriptions(world_core(w, 0), none, &at, page, found_subscription, &s)) {
        }
        assert_int_equal(s.count, ARRAY_LEN(filters) + 1);
        for (size_t i = 0; i < ARRAY_LEN(filters); i++) assert_non_null(strstr(s.all, filters[i]));
        s = (struct seen){0};
        at = (struct core_cursor){0};
        while (core_list_subscriptions(world_core(w, 0), bytes_str("one"), &at, page,
                                       found_subscription, &s)) {
        }
        assert_int_equal(s.count, ARRAY_LEN(filters));
        assert_null(strstr(s.all, "z "));
    }
    world_free(w);
}

static void a_kick_says_why_and_leaves_the_session(void **state)
{
    (void)state;
    struct world *w = world_new(1, NULL, 4);
    struct wconn *c = joined(w, "me", true);
    assert_int_equal(core_kick(world_core(w, 0), bytes_str("x")), E_NOTFOUND);
    assert_int_equal(core_kick(world_core(w, 0), bytes_str("me")), 0);
    world_run(w);
    struct bytes got = world_received(c);
    assert_int_equal(got.n >= 3, true);
    assert_int_equal(got.p[0], MQTT_DISCONNECT << 4);
    assert_int_equal(got.p[2], MQTT_ADMINISTRATIVE_ACTION);
    assert_true(world_closed(c));
    assert_true(world_logged(w, "by an administrator"));
    assert_int_equal(core_kick(world_core(w, 0), bytes_str("me")), E_INVALID);
    world_free(w);
}

static uint64_t retained_count(struct world *w)
{
    return world_stat(w, offsetof(struct core_stats, retained));
}

/* All shards, in steps of `most`. */
static void delete_all(struct world *w, const char *filter, unsigned most, bool dry,
                       uint64_t *matched, uint64_t *deleted)
{
    *matched = *deleted = 0;
    for (unsigned i = 0; i < world_shards(w); i++) {
        struct core_cursor at = {0};
        int rc;
        do {
            uint64_t before = *matched;
            rc = core_delete_retained(world_core(w, i), bytes_str(filter), &at, most, dry, matched,
                                      deleted);
            assert_true(*matched - before <= most);
            world_run(w);
        } while (rc == E_AGAIN);
        assert_int_equal(rc, 0);
        buf_fini(&at.after);
    }
}

static void retained_messages_are_listed_and_deleted_in_steps_and_stay_deleted(void **state)
{
    (void)state;
    struct store_disk *disk;
    assert_int_equal(store_disk_new(&disk, 5), 0);
    struct world *w = world_new_on(disk, 3, NULL, 5);
    struct wconn *p = joined(w, "publisher", false), *s = joined(w, "subscriber", false);
    char topic[64];
    for (int i = 0; i < TOPICS; i++) {
        snprintf(topic, sizeof topic, "%s/%d", i % 5 ? "keep" : "gone", i);
        retained(w, p, topic, "x");
    }
    subscribed(w, s, "gone/5", 1);
    world_advance(w, 1000);
    world_consume(s, world_received(s).n);
    unsigned listed = 0;
    for (unsigned i = 0; i < 3; i++) {
        static struct seen seen;
        struct core_cursor at = {0};
        bool torn = false;
        seen = (struct seen){0};
        while (core_list_retained(world_core(w, i), bytes_str("gone/#"), &at, 9, found_retained,
                                  &seen, &torn)) {
        }
        assert_false(torn);
        buf_fini(&at.after);
        listed += seen.count;
    }
    assert_int_equal(listed, TOPICS / 5);

    uint64_t matched, deleted;
    delete_all(w, "gone/#", 9, true, &matched, &deleted);
    assert_int_equal(matched, TOPICS / 5);
    assert_int_equal(deleted, 0);
    assert_int_equal(retained_count(w), TOPICS);
    delete_all(w, "gone/#", 9, false, &matched, &deleted);
    assert_int_equal(matched, TOPICS / 5);
    assert_int_equal(deleted, TOPICS / 5);
    assert_int_equal(retained_count(w), TOPICS - TOPICS / 5);
    struct bytes told = world_received(s); /* who subscribes is told, as by an empty message */
    assert_int_equal(told.p[0] >> 4, MQTT_PUBLISH);

    world_advance(w, 1000);
    world_crash(w, 2, 100);
    assert_int_equal(retained_count(w), TOPICS - TOPICS / 5);
    world_free(w);
    store_disk_free(&disk);
}

/* A history that did not count what takes a message away would keep one too many. */
static void what_is_deleted_counts_in_its_history(void **state)
{
    (void)state;
    struct core_config cfg;
    const struct core_history history = {.filter = "h/#", .max_messages = 2};
    struct store_disk *disk;
    uint64_t matched = 0, deleted = 0;
    world_defaults(&cfg);
    cfg.histories = &history;
    cfg.history_count = 1;
    assert_int_equal(store_disk_new(&disk, 1), 0);
    struct world *w = world_new_on(disk, 1, &cfg, 6);
    struct wconn *c = joined(w, "me", false);
    retained(w, c, "h/1", "first");
    delete_all(w, "#", 10, false, &matched, &deleted);
    assert_int_equal(deleted, 1);
    retained(w, c, "h/1", "third");
    world_advance(w, 2000);
    world_consume(c, world_received(c).n);
    subscribe(w, c, "$replay/earliest/h/#", 0);
    struct bytes in = world_received(c);
    assert_null(memmem(in.p, in.n, "first", 5));
    assert_non_null(memmem(in.p, in.n, "third", 5));
    world_free(w);
    store_disk_free(&disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clients_come_in_pages_each_once_while_others_come_and_go),
        cmocka_unit_test(a_client_is_described_connected_and_away),
        cmocka_unit_test(subscriptions_come_in_pages_with_their_prefixes),
        cmocka_unit_test(a_kick_says_why_and_leaves_the_session),
        cmocka_unit_test(retained_messages_are_listed_and_deleted_in_steps_and_stay_deleted),
        cmocka_unit_test(what_is_deleted_counts_in_its_history),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
