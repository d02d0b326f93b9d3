/* Topic names and filters: syntax, matching, shared subscriptions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mqtt/topic.h"
#include "tests/unit/mqtt_wire.h"

enum { LEVELS = MQTT_TOPIC_LEVELS_DEFAULT };

static bool name_ok(const char *s) { return mqtt_topic_name_ok(bytes_str(s), LEVELS); }
static bool filter_ok(const char *s) { return mqtt_topic_filter_ok(bytes_str(s), LEVELS); }
static bool matches(const char *filter, const char *topic)
{
    return mqtt_topic_matches(bytes_str(filter), bytes_str(topic));
}

static void names_are_text_without_wildcards(void **state)
{
    (void)state;
    static const char *const good[] = {"a",  "/",      "//",  "a/b",     "/a",
                                       "a/", "$SYS/x", "a b", "\xc3\xa4"};
    static const char *const bad[] = {"", "+", "#", "a/+", "a/#", "a+", "#a"}; /* [MQTT-3.3.2-2] */
    for (size_t i = 0; i < ARRAY_LEN(good); i++) assert_true(name_ok(good[i]));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) assert_false(name_ok(bad[i]));
    assert_false(mqtt_topic_name_ok(wire("61 00 62"), LEVELS)); /* [MQTT-4.7.3-2] */
    assert_false(mqtt_topic_name_ok(wire("ff"), LEVELS));
    assert_false(mqtt_topic_name_ok((struct bytes){0}, LEVELS)); /* [MQTT-4.7.3-1] */
}

static void a_wildcard_has_its_level_for_itself(void **state) /* [MQTT-4.7.1-1], [MQTT-4.7.1-2] */
{
    (void)state;
    static const char *const good[] = {"#",  "+",     "a/#",   "a/+",  "+/a", "+/+/#",
                                       "/+", "/#",    "a/+/b", "+//+", "a",   "$SYS/#",
                                       "+/", "a/b/#", "//#",   "a/+/"};
    static const char *const bad[] = {"",     "a#",   "#a", "#/", "#/a", "a/#/b", "a+",  "+a",
                                      "a/+b", "a/b+", "++", "+#", "##",  "a/##",  "a/#+"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) assert_true(filter_ok(good[i]));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) assert_false(filter_ok(bad[i]));
    assert_false(mqtt_topic_filter_ok(wire("23 00"), LEVELS));
    assert_false(mqtt_topic_filter_ok(wire("2b 2f ff"), LEVELS));
}

static void length_and_depth_have_limits(void **state) /* [MQTT-4.7.3-3] */
{
    (void)state;
    static uint8_t all[MQTT_TOPIC_MAX + 1];
    memset(all, 'a', sizeof all);
    assert_true(mqtt_topic_name_ok(bytes_of(all, MQTT_TOPIC_MAX), LEVELS));
    assert_false(mqtt_topic_name_ok(bytes_of(all, MQTT_TOPIC_MAX + 1), LEVELS));
    assert_true(mqtt_topic_name_ok(bytes_str("a/b/c"), 3));
    assert_false(mqtt_topic_name_ok(bytes_str("a/b/c/"), 3));
    assert_true(mqtt_topic_filter_ok(bytes_str("a/+/#"), 3));
    assert_false(mqtt_topic_filter_ok(bytes_str("a/+/+/#"), 3));
}

static void sixty_five_thousand_slashes_are_refused_or_matched_in_time(void **state)
{
    (void)state;
    static uint8_t slashes[MQTT_TOPIC_MAX], pluses[MQTT_TOPIC_MAX];
    memset(slashes, '/', sizeof slashes);
    for (size_t i = 0; i < sizeof pluses; i++) pluses[i] = i % 2 ? '/' : '+';
    struct bytes deep = bytes_of(slashes, sizeof slashes), wild = bytes_of(pluses, sizeof pluses);
    assert_false(mqtt_topic_name_ok(deep, LEVELS));
    assert_false(mqtt_topic_filter_ok(deep, LEVELS));
    assert_true(mqtt_topic_name_ok(deep, MQTT_TOPIC_MAX + 1));
    assert_true(mqtt_topic_filter_ok(wild, MQTT_TOPIC_MAX + 1));
    assert_true(mqtt_topic_matches(deep, deep));
    assert_false(mqtt_topic_matches(wild, deep)); /* half as many levels */
    struct bytes half = bytes_of(slashes, MQTT_TOPIC_MAX / 2);
    assert_true(mqtt_topic_matches(wild, half));
}

static void filters_match_as_the_standard_says(void **state)
{
    (void)state;
    static const struct {
        const char *filter, *topic;
        bool match;
    } cases[] = {
        /* the examples of 4.7.1.2, 4.7.1.3 and 4.7.2 */
        {"sport/tennis/player1/#", "sport/tennis/player1", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
        {"sport/#", "sport", true},
        {"#", "anything/at/all", true},
        {"sport/tennis/+", "sport/tennis/player1", true},
        {"sport/tennis/+", "sport/tennis/player1/ranking", false},
        {"sport/+", "sport", false},
        {"sport/+", "sport/", true},
        {"+/+", "/finance", true},
        {"/+", "/finance", true},
        {"+", "/finance", false},
        {"#", "$SYS/broker", false}, /* [MQTT-4.7.2-1] */
        {"+/monitor/Clients", "$SYS/monitor/Clients", false},
        {"$SYS/#", "$SYS/monitor/Clients", true},
        {"$SYS/monitor/+", "$SYS/monitor/Clients", true},
        /* [MQTT-4.7.3-4]: no normalization, case counts */
        {"ACCOUNTS", "Accounts", false},
        {"a", "a/", false},
        {"a/", "a", false},
        {"/a", "a", false},
        {"a//b", "a/b", false},
        {"a/+/b", "a//b", true},
        {"a/b", "a/b", true},
        {"a/b", "a/bc", false},
        {"a/bc", "a/b", false},
        {"a/b/c", "a/b", false},
        {"a/#", "ab", false},
        {"+/#", "a", true},
        {"+/+/#", "a", false},
        {"a/$b/+", "a/$b/c", true},
        {"+/x", "a$/x", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (matches(cases[i].filter, cases[i].topic) == cases[i].match) continue;
        fail_msg("%s and %s", cases[i].filter, cases[i].topic);
    }
}

static void wildcards_are_seen_anywhere(void **state)
{
    (void)state;
    assert_true(mqtt_topic_has_wildcard(bytes_str("a/+/b")));
    assert_true(mqtt_topic_has_wildcard(bytes_str("a/#")));
    assert_false(mqtt_topic_has_wildcard(bytes_str("a/b")));
    assert_false(mqtt_topic_has_wildcard((struct bytes){0}));
}

static void shared_subscriptions_name_a_group_and_a_filter(void **state)
{
    (void)state;
    struct bytes group, filter;
    assert_int_equal(mqtt_share_split(bytes_str("$share/g/a/+"), &group, &filter), 0);
    assert_bytes(group, "g");
    assert_bytes(filter, "a/+");
    assert_int_equal(mqtt_share_split(bytes_str("$share/group//"), &group, &filter), 0);
    assert_bytes(group, "group");
    assert_bytes(filter, "/");
    static const char *const plain[] = {"a",          "$share",      "share/g/a",
                                        "$SHARE/g/a", "$shared/g/a", ""};
    for (size_t i = 0; i < ARRAY_LEN(plain); i++)
        assert_int_equal(mqtt_share_split(bytes_str(plain[i]), &group, &filter), E_NOTFOUND);
    static const char *const bad[] = {"$share/",    "$share/g",   "$share/g/",  "$share//a",
                                      "$share/+/a", "$share/#/a", "$share/g+/a"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) /* [MQTT-4.8.2-1], [MQTT-4.8.2-2] */
        assert_int_equal(mqtt_share_split(bytes_str(bad[i]), &group, &filter), E_TOPIC_FILTER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_text_without_wildcards),
        cmocka_unit_test(a_wildcard_has_its_level_for_itself),
        cmocka_unit_test(length_and_depth_have_limits),
        cmocka_unit_test(sixty_five_thousand_slashes_are_refused_or_matched_in_time),
        cmocka_unit_test(filters_match_as_the_standard_says),
        cmocka_unit_test(wildcards_are_seen_anywhere),
        cmocka_unit_test(shared_subscriptions_name_a_group_and_a_filter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
