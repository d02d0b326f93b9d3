/* The directives of listeners for WebSockets. */
#include "test_conf.h"

static void a_listener_speaks_websockets(void **state)
{
    (void)state;
    const struct conf *c = good("listener 1883\n"
                                "listener 8083\n"
                                "protocol websockets\n"
                                "http_dir /tmp\n"
                                "websockets_origin https://a.example\n"
                                "websockets_origin http://b:8080\n"
                                "websockets_origin null\n"
                                "listener 8084\n"
                                "protocol mqtt\n"
                                "listener 0 /tmp/socket\n"
                                "protocol websockets\n");
    const struct conf_listener *l = c->listeners;
    assert_false(l[0].websockets);
    assert_null(l[0].http_dir);
    assert_null(l[0].websockets_origins);
    assert_true(l[1].websockets);
    assert_string_equal(l[1].http_dir, "/tmp");
    assert_string_equal(l[1].websockets_origins, "https://a.example http://b:8080 null");
    assert_false(l[2].websockets);
    assert_true(l[3].websockets);
    assert_int_equal(c->websockets_headers_size, 4096);
}

static void sizes_of_heads(void **state)
{
    (void)state;
    assert_int_equal(good("websockets_headers_size 65535\n")->websockets_headers_size, 65535);
    assert_int_equal(good("websockets_headers_size 0\n")->websockets_headers_size, 4096);
    bad("websockets_headers_size 65536\n",
        "main.conf:1: 'websockets_headers_size' cannot be '65536': use bytes, 0 to 65535");
    bad("websockets_headers_size -1\n",
        "main.conf:1: 'websockets_headers_size' cannot be '-1': use bytes, 0 to 65535");
}

static void what_cannot_be(void **state)
{
    (void)state;
    bad("listener 1\nprotocol ws\n",
        "main.conf:2: 'protocol' cannot be 'ws': use mqtt, websockets or http_api");
    bad("listener 1\nprotocol websockets\nhttp_dir /nowhere\n",
        "main.conf:3: http_dir '/nowhere' cannot be opened: No such file or directory");
    bad("listener 1\nprotocol websockets\nhttp_dir /dev/null\n",
        "main.conf:3: http_dir '/dev/null' is no folder");
    static const char *const origins[] = {"a.example",          "https://", "://a",
                                          "https://a.example/", "*",        "https://a, https://b"};
    for (size_t i = 0; i < ARRAY_LEN(origins); i++) {
        char text[200], expected[300];
        snprintf(text, sizeof text, "listener 1\nprotocol websockets\nwebsockets_origin %s\n",
                 origins[i]);
        snprintf(expected, sizeof expected,
                 "main.conf:3: 'websockets_origin' cannot be '%s': use the origin of a page, such "
                 "as https://example.org",
                 origins[i]);
        bad(text, expected);
    }
}

static void origins_have_a_limit(void **state)
{
    (void)state;
    static char text[8192];
    for (int more = 0; more < 2; more++) {
        size_t n = (size_t)snprintf(text, 64, "listener 1\nprotocol websockets\n");
        for (int i = 0; i < 64 + more; i++)
            n += (size_t)snprintf(text + n, 64, "websockets_origin http://h%d\n", i);
        if (more)
            bad(text, "main.conf:67: too many of 'websockets_origin': at most 64");
        else
            assert_non_null(good(text)->listeners[0].websockets_origins);
    }
}

/* mosquitto takes it too, and does nothing with it. */
static void without_the_protocol_it_has_no_effect(void **state)
{
    (void)state;
    assert_null(good("listener 1\nallow_anonymous true\n")->listeners[0].http_dir);
    assert_string_equal(b.warnings, "");
    (void)good("listener 1\nallow_anonymous true\nhttp_dir /tmp\n");
    assert_non_null(strstr(b.warnings, "main.conf:3: 'http_dir' has no effect"));
}

static void without_memory_nothing_is_loaded(void **state)
{
    (void)state;
    static const char text[] = "listener 1\nprotocol websockets\nhttp_dir /tmp\n"
                               "websockets_origin http://a\nwebsockets_origin http://b\n"
                               "websockets_headers_size 100\nallow_anonymous true\n";
    write_file("main.conf", text, sizeof text - 1);
    for (long n = 0;; n++) {
        assert_in_range(n, 0, 500);
        forget();
        struct conf_args args = {.file = b.path, .port = -1};
        mem_fail_after(n);
        int rc = conf_load(&b.conf, &args, &b.error, NULL, NULL);
        if (!mem_fail_after(-1)) {
            assert_int_equal(rc, 0);
            return;
        }
        assert_int_equal(rc, E_NOMEM);
        assert_null(b.conf);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        A_TEST(a_listener_speaks_websockets),
        A_TEST(sizes_of_heads),
        A_TEST(what_cannot_be),
        A_TEST(origins_have_a_limit),
        A_TEST(without_the_protocol_it_has_no_effect),
        A_TEST(without_memory_nothing_is_loaded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
