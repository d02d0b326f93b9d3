/* The admin listener without its threads: tables of Host and Origin headers, of logins, and of
 * paths; and that its tables leave nothing out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/admin_int.h"

static struct bytes text(const char *s) { return bytes_str(s); }

static void a_host_is_an_address_localhost_or_our_own_name(void **state)
{
    (void)state;
    static const char *const ok[] = {
        "127.0.0.1", "127.0.0.1:9883", "192.0.2.7:1", "[::1]",           "[::1]:9883",
        "localhost", "LocalHost:80",   "a.localhost", "x.y.LOCALHOST:1", "broker.example:9883",
        "machine",   "MACHINE:9883",   "127.0.0.1:",
    };
    static const char *const wrong[] = {
        "",
        "evil.example",
        "evil.example:9883",
        "localhost.evil.example",
        "notlocalhost",
        ".localhost.",
        "127.0.0.1.evil",
        "127.0.0.1:x",
        "[::1",
        "[::1]x",
        "[::1]:9x",
        "[evil]",
        "::1",
        "127.0.0.1,evil",
        "localhost, evil",
        "broker.example.evil",
        ":9883",
        "[]",
        "1.2.3",
        "localhost:1:2",
    };
    for (size_t i = 0; i < ARRAY_LEN(ok); i++)
        if (!guard_host_ok(text(ok[i]), "broker.example", "machine")) fail_msg("%s", ok[i]);
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        if (guard_host_ok(text(wrong[i]), "broker.example", "machine")) fail_msg("%s", wrong[i]);
    assert_false(guard_host_ok(text("x"), NULL, ""));
}

static void an_origin_is_the_host_itself(void **state)
{
    (void)state;
    static const struct {
        const char *origin, *host;
        bool tls, ok;
    } rows[] = {
        {"http://127.0.0.1:9883", "127.0.0.1:9883", false, true},
        {"http://LOCALHOST:9883", "localhost:9883", false, true},
        {"https://a.example", "a.example", true, true},
        {"https://127.0.0.1:9883", "127.0.0.1:9883", false, false},
        {"http://127.0.0.1:9883", "127.0.0.1:9883", true, false},
        {"http://127.0.0.1:8080", "127.0.0.1:9883", false, false},
        {"http://127.0.0.1", "127.0.0.1:9883", false, false},
        {"http://evil.example", "127.0.0.1:9883", false, false},
        {"http://127.0.0.1:98830", "127.0.0.1:9883", false, false},
        {"null", "127.0.0.1:9883", false, false},
        {"", "", false, false},
        {"http://", "", false, false},
        {"ftp://127.0.0.1:9883", "127.0.0.1:9883", false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (guard_origin_ok(text(rows[i].origin), text(rows[i].host), rows[i].tls) != rows[i].ok)
            fail_msg("%s at %s", rows[i].origin, rows[i].host);
}

static void only_json_is_json(void **state)
{
    (void)state;
    assert_true(guard_json_type(text("application/json")));
    assert_true(guard_json_type(text("Application/JSON; charset=utf-8")));
    assert_false(guard_json_type(text("text/plain")));
    assert_false(guard_json_type(text("application/jsonp")));
    assert_false(guard_json_type(text("application/x-www-form-urlencoded")));
    assert_false(guard_json_type(text("")));
}

static void basic_authentication_is_a_name_a_colon_and_the_rest(void **state)
{
    (void)state;
    static const struct {
        const char *header, *user, *secret; /* user NULL: refused */
    } rows[] = {
        {"Basic YTpi", "a", "b"},       {"basic  YTpi", "a", "b"},
        {"Basic YTpiOmM=", "a", "b:c"}, {"Basic YTo=", "a", ""},
        {"Basic OmI=", "", "b"},        {"Basic w7w6w7w", "\xc3\xbc", "\xc3\xbc"},
        {"Basic", NULL, NULL},          {"Basic ", NULL, NULL},
        {"Basic YWI=", NULL, NULL},                                 /* no colon */
        {"Basic YT*i", NULL, NULL},     {"Basic /zpi", NULL, NULL}, /* no UTF-8 */
        {"Bearer YTpi", NULL, NULL},    {"", NULL, NULL},
    };
    static uint8_t out[ADMIN_SECRET_MAX];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct bytes user, secret;
        bool ok = guard_basic(text(rows[i].header), out, &user, &secret);
        if (ok != (rows[i].user != NULL)) fail_msg("%s", rows[i].header);
        if (!ok) continue;
        if (!bytes_eq(user, text(rows[i].user)) || !bytes_eq(secret, text(rows[i].secret)))
            fail_msg("%s", rows[i].header);
    }
    static char longest[3 * ADMIN_SECRET_MAX] = "Basic YTpi";
    memset(longest + 10, 'Y', ADMIN_SECRET_MAX * 4 / 3);
    struct bytes user, secret;
    assert_false(guard_basic(text(longest), out, &user, &secret));
}

static void json_has_a_depth(void **state)
{
    (void)state;
    char deep[ADMIN_JSON_DEPTH + 2];
    memset(deep, '[', sizeof deep);
    assert_true(guard_json_depth(bytes_of(deep, ADMIN_JSON_DEPTH)));
    assert_false(guard_json_depth(bytes_of(deep, ADMIN_JSON_DEPTH + 1)));
    assert_true(guard_json_depth(text("\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[\"")));
    assert_true(guard_json_depth(text("[{}][{}][{}]\"\\")));
}

static void paths_find_their_route(void **state)
{
    (void)state;
    static const struct {
        enum http_method method;
        const char *path, *route, *id, *allow; /* route, allow NULL: none */
    } rows[] = {
        {HTTP_GET, "/", "/", "", "GET, HEAD"},
        {HTTP_HEAD, "/livez", "/livez", "", "GET, HEAD"},
        {HTTP_POST, "/livez", NULL, "", "GET, HEAD"},
        {HTTP_OTHER, "/livez", NULL, "", "GET, HEAD"},
        {HTTP_GET, "/nothing", NULL, "", NULL},
        {HTTP_GET, "/api/v1/clients", "/api/v1/clients", "", "GET, HEAD"},
        {HTTP_GET, "/api/v1/clients/", NULL, "", NULL},
        {HTTP_GET, "/api/v1/clients/a", "/api/v1/clients/{id}", "a", "GET, HEAD"},
        {HTTP_GET, "/api/v1/clients/a/b", "/api/v1/clients/{id}", "a/b", "GET, HEAD"},
        {HTTP_GET, "/api/v1/clients/kick", "/api/v1/clients/{id}", "kick", "GET, HEAD, POST"},
        {HTTP_POST, "/api/v1/clients/kick", "/api/v1/clients/kick", "", "GET, HEAD, POST"},
        {HTTP_POST, "/api/v1/clients/a/kick", "/api/v1/clients/{id}/kick", "a", "GET, HEAD, POST"},
        {HTTP_POST, "/api/v1/clients/a/b/kick", "/api/v1/clients/{id}/kick", "a/b",
         "GET, HEAD, POST"},
        {HTTP_POST, "/api/v1/clients/kick/kick", "/api/v1/clients/{id}/kick", "kick",
         "GET, HEAD, POST"},
        {HTTP_POST, "/api/v1/clients//kick", NULL, "", "GET, HEAD"},
        {HTTP_POST, "/api/v1/clients/a", NULL, "", "GET, HEAD"},
        {HTTP_GET, "/api/v1/retained/delete", NULL, "", "POST"},
        {HTTP_GET, "/api/v1/queues/a", "/api/v1/queues/{name}", "a", "GET, HEAD"},
        {HTTP_POST, "/api/v1/queues", "/api/v1/queues", "", "GET, HEAD, POST"},
        {HTTP_POST, "/api/v1/queues/a/purge", "/api/v1/queues/{name}/purge", "a",
         "GET, HEAD, POST"},
        {HTTP_POST, "/api/v1/queues/purge", NULL, "", "GET, HEAD"},
        {HTTP_GET, "/api/v1/dead/12", "/api/v1/dead/{seq}", "12", "GET, HEAD"},
        {HTTP_POST, "/api/v1/dead/purge", "/api/v1/dead/purge", "", "GET, HEAD, POST"},
        {HTTP_POST, "/api/v1/dead/12/purge", "/api/v1/dead/{seq}/purge", "12", "GET, HEAD, POST"},
        {HTTP_GET, "/api/v1/history/read", "/api/v1/history/read", "", "GET, HEAD"},
        {HTTP_GET, "/api/v1/openapi.json", "/api/v1/openapi.json", "", "GET, HEAD"},
        {HTTP_GET, "", NULL, "", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct bytes id = {0};
        const struct admin_route *r = admin_route_find(rows[i].method, text(rows[i].path), &id);
        const char *allow = admin_route_allow(text(rows[i].path));
        const char *found = r ? r->path : "none", *wanted = rows[i].route ? rows[i].route : "none";
        if (strcmp(found, wanted) != 0) fail_msg("%s: %s", rows[i].path, found);
        if (r && !bytes_eq(id, text(rows[i].id))) fail_msg("%s", rows[i].path);
        assert_string_equal(allow ? allow : "none", rows[i].allow ? rows[i].allow : "none");
    }
}

static void every_route_is_complete(void **state)
{
    (void)state;
    size_t count;
    const struct admin_route *r = admin_routes(&count);
    for (size_t i = 0; i < count; i++) {
        assert_true(r[i].run && r[i].help && r[i].answers && r[i].path[0] == '/');
        assert_true(r[i].method == HTTP_GET || r[i].method == HTTP_POST);
        if (r[i].method == HTTP_POST) assert_non_null(r[i].resource);
        bool hole = strchr(r[i].path, '{') != NULL;
        bool named = r[i].params[0].name && strcmp(r[i].params[0].in, "path") == 0;
        assert_int_equal(hole, named);
    }
}

static void every_counter_has_a_metric(void **state)
{
    (void)state;
    size_t missing = admin_figures_missing(), core = sizeof(struct core_stats) / sizeof(uint64_t);
    if (missing)
        fail_msg("member %zu of struct %s has no row in src/admin_metrics.c",
                 missing <= core ? missing : missing - core,
                 missing <= core ? "core_stats" : "shard_stats");
}

static void queries_have_names_and_values(void **state)
{
    (void)state;
    static const char query[] = "limit=5\0after=\0x\0filter=a=b/#\0limits=7\0limit=9";
    struct bytes q = bytes_of(query, sizeof query), value;
    assert_true(http_query(q, "limit", &value));
    assert_true(bytes_eq(value, text("5")));
    assert_true(http_query(q, "after", &value));
    assert_int_equal(value.n, 0);
    assert_true(http_query(q, "filter", &value));
    assert_true(bytes_eq(value, text("a=b/#")));
    assert_false(http_query(q, "x", &value));
    assert_false(http_query(q, "lim", &value));
    assert_false(http_query((struct bytes){0}, "limit", &value));
}

static void numbers_are_digits_up_to_a_limit(void **state)
{
    (void)state;
    uint64_t v;
    assert_true(guard_number(text("0"), 0, &v) && v == 0);
    assert_true(guard_number(text("1000"), 1000, &v) && v == 1000);
    assert_true(guard_number(text("9999999999999999999"), UINT64_MAX, &v));
    assert_true(v == UINT64_C(9999999999999999999));
    static const char *const wrong[] = {
        "", "-1", "+1", "1.0", " 1", "1 ", "0x1", "1001", "18446744073709551616"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        if (guard_number(text(wrong[i]), 1000, &v)) fail_msg("%s", wrong[i]);
    assert_false(guard_number(text("99999999999999999999"), UINT64_MAX, &v));
}

static void a_payload_is_text_or_base64(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *text, *base64; /* of RFC 4648 section 10, and others */
    } rows[] = {
        {"", 0, "", NULL},
        {"f\xc3\xbc", 3, "f\xc3\xbc", NULL},
        {"\xff", 1, NULL, "/w=="},
        {"\xff\xfe", 2, NULL, "//4="},
        {"\xff\xfe\xfd", 3, NULL, "//79"},
        {"foo\0", 4, NULL, "Zm9vAA=="},
        {"fooba\xff", 6, NULL, "Zm9vYmH/"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        json_t *j = json_object();
        admin_set_message(j, (struct bytes){0}, bytes_of(rows[i].bytes, rows[i].n), NULL);
        const char *plain = json_string_value(json_object_get(j, "payload")),
                   *base64 = json_string_value(json_object_get(j, "payload_base64"));
        assert_string_equal(plain ? plain : "none", rows[i].text ? rows[i].text : "none");
        assert_string_equal(base64 ? base64 : "none", rows[i].base64 ? rows[i].base64 : "none");
        json_decref(j);
    }
}

static bool is_b(struct bytes name) { return bytes_eq(name, text("b")); }

static void properties_are_pairs_in_their_order(void **state)
{
    (void)state;
    static const char props[] = "\x26\0\1a\0\1x\x03\0\1t\x26\0\1b\0\1y\x09\0\1\xff\x26\0\1a\0\0";
    struct bytes all = bytes_of(props, sizeof props - 1);
    json_t *j = json_object();
    admin_set_message(j, all, text("p"), is_b);
    char *out = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(out, "{\"content_type\":\"t\",\"correlation_data_base64\":\"/w==\","
                             "\"payload\":\"p\",\"properties\":[[\"a\",\"x\"],[\"a\",\"\"]]}");
    free(out);
    json_decref(j);
}

static void labels_are_escaped(void **state)
{
    (void)state;
    struct buf out = {0};
    assert_int_equal(metrics_put_label(&out, "queue", text("a\"b\\c\nd/\xc3\xa4")), 0);
    assert_true(bytes_eq(buf_view(&out), text("queue=\"a\\\"b\\\\c\\nd/\xc3\xa4\"")));
    buf_fini(&out);
}

static void text_for_queries_is_escaped(void **state)
{
    (void)state;
    struct buf out = {0};
    assert_int_equal(guard_encode(&out, text("a-Z.0_~/+ %\xc3\xa4")), 0);
    assert_true(bytes_eq(buf_view(&out), text("a-Z.0_~%2F%2B%20%25%C3%A4")));
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_host_is_an_address_localhost_or_our_own_name),
        cmocka_unit_test(an_origin_is_the_host_itself),
        cmocka_unit_test(only_json_is_json),
        cmocka_unit_test(basic_authentication_is_a_name_a_colon_and_the_rest),
        cmocka_unit_test(json_has_a_depth),
        cmocka_unit_test(paths_find_their_route),
        cmocka_unit_test(every_route_is_complete),
        cmocka_unit_test(every_counter_has_a_metric),
        cmocka_unit_test(queries_have_names_and_values),
        cmocka_unit_test(numbers_are_digits_up_to_a_limit),
        cmocka_unit_test(labels_are_escaped),
        cmocka_unit_test(text_for_queries_is_escaped),
        cmocka_unit_test(a_payload_is_text_or_base64),
        cmocka_unit_test(properties_are_pairs_in_their_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
