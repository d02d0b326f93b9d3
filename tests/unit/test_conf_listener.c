/* The configuration of listeners, of who may connect by them, and what a reload cannot change. */
#include "test_conf.h"

/* ---- listeners ---- */

static void options_belong_to_the_listener_above_them(void **state)
{
    (void)state;
    const struct conf *c = good("listener 1883 127.0.0.1\n"
                                "max_connections 5\n"
                                "max_qos 1\n"
                                "mount_point a/\n"
                                "listener 1884\n"
                                "socket_domain ipv6\n"
                                "use_username_as_clientid true\n"
                                "accept_protocol_versions 4,5\n"
                                "max_topic_alias 3\n"
                                "max_topic_alias_broker 0\n"
                                "bind_interface lo\n"
                                "listener 0 /tmp/a socket\n"
                                "max_queued_messages 9\n");
    assert_int_equal(c->listener_count, 3);
    const struct conf_listener *l = c->listeners;
    assert_int_equal(l[0].port, 1883);
    assert_string_equal(l[0].address, "127.0.0.1");
    assert_int_equal(l[0].max_connections, 5);
    assert_int_equal(l[0].core.max_qos, 1);
    assert_string_equal(l[0].core.mount_point, "a/");
    assert_int_equal(l[0].line, 1);
    assert_string_equal(l[0].file, b.path);
    assert_int_equal(l[0].socket_domain, AF_UNSPEC);
    assert_false(l[0].implicit);
    assert_false(l[0].core.allow_anonymous);
    assert_int_equal(l[1].port, 1884);
    assert_null(l[1].address);
    assert_int_equal(l[1].max_connections, -1);
    assert_int_equal(l[1].core.max_qos, 2);
    assert_string_equal(l[1].core.mount_point, "");
    assert_int_equal(l[1].socket_domain, AF_INET6);
    assert_true(l[1].core.use_username_as_clientid);
    assert_int_equal(l[1].core.accept_versions, 1 << MQTT_V311 | 1 << MQTT_V5);
    assert_int_equal(l[1].core.max_topic_alias, 3);
    assert_int_equal(l[1].core.max_topic_alias_broker, 0);
    assert_string_equal(l[1].bind_interface, "lo");
    assert_int_equal(l[2].port, 0);
    assert_string_equal(l[2].address, "/tmp/a socket");
    assert_int_equal(l[2].line, 12);
    assert_int_equal(c->core.max_queued_messages, 9);
}

static void port_and_bind_address_make_a_listener_as_of_old(void **state)
{
    (void)state;
    const struct conf *c = good("max_connections 3\nport 1885\nbind_address 127.0.0.1\n");
    assert_int_equal(c->listener_count, 1);
    assert_int_equal(c->listeners[0].port, 1885);
    assert_string_equal(c->listeners[0].address, "127.0.0.1");
    assert_int_equal(c->listeners[0].max_connections, 3);
    assert_int_equal(c->listeners[0].line, 2);
    assert_false(c->listeners[0].implicit);
    assert_non_null(strstr(b.warnings, "main.conf:2: 'port': Old form of the first listener"));
    /* bind_address alone: on the usual port. */
    c = good("bind_address ::1\n");
    assert_int_equal(c->listener_count, 1);
    assert_int_equal(c->listeners[0].port, 1883);
    /* Beside another listener it is the first. */
    c = good("listener 1886\nport 1885\n");
    assert_int_equal(c->listener_count, 2);
    assert_int_equal(c->listeners[0].port, 1885);
    assert_int_equal(c->listeners[1].port, 1886);
}

static void options_without_any_listener_belong_to_the_loopback_ones(void **state)
{
    (void)state;
    const struct conf *c = good("max_connections 3\nmount_point x/\nsocket_domain ipv4\n");
    assert_int_equal(c->listener_count, 1);
    assert_string_equal(c->listeners[0].address, "127.0.0.1");
    assert_true(c->listeners[0].implicit);
    assert_int_equal(c->listeners[0].max_connections, 3);
    assert_string_equal(c->listeners[0].core.mount_point, "x/");
    c = good("socket_domain ipv6\n");
    assert_int_equal(c->listener_count, 1);
    assert_string_equal(c->listeners[0].address, "::1");
}

static void an_option_above_the_first_listener_is_warned_of(void **state)
{
    (void)state;
    const struct conf *c = good("max_connections 3\nlistener 1883\nallow_anonymous true\n");
    assert_int_equal(c->listener_count, 1);
    assert_int_equal(c->listeners[0].max_connections, -1);
    assert_non_null(strstr(b.warnings, "'max_connections' in line 1 stands before any 'listener' "
                                       "and has no effect"));
}

static void listeners_that_cannot_be_are_refused(void **state)
{
    (void)state;
    bad("listener 65536\n", "main.conf:1: 'listener' cannot be '65536': use PORT [ADDRESS], or 0 "
                            "/path/of/a/unix/socket");
    assert_int_equal(load("listener -1\n"), E_INVALID);
    assert_int_equal(load("listener 18x\n"), E_INVALID);
    assert_int_equal(load("listener 123456789\n"), E_INVALID);
    assert_int_equal(load("port 0\n"), E_INVALID);
    assert_int_equal(load("mount_point a/#\n"), E_INVALID);
    assert_int_equal(load("accept_protocol_versions 4,6\n"), E_INVALID);
    assert_int_equal(load("accept_protocol_versions 45\n"), E_INVALID);
    assert_int_equal(load("accept_protocol_versions ,\n"), E_INVALID);
    assert_int_equal(load("socket_domain ipx\n"), E_INVALID);
    assert_int_equal(load("protocol mqttsn\n"), E_INVALID);
    bad("listener 0\n", "main.conf:1: 'listener 0' needs the path of a unix socket, such as "
                        "'listener 0 /run/sluice/mqtt.sock'");
    bad("listener 1883 /tmp/x\n",
        "main.conf:1: a unix socket has no port: use 'listener 0 /tmp/x'");
    char text[160] = "listener 0 /";
    memset(text + 12, 'x', 107);
    bad(text, "main.conf:1: the path of a unix socket has at most 107 bytes");
    text[118] = 0;
    assert_int_equal(good(text)->listener_count, 1);
}

/* With SO_REUSEPORT the kernel would not notice. */
static void the_same_port_twice_is_refused(void **state)
{
    (void)state;
    bad("listener 1883 127.0.0.1\n\nlistener 1883 127.0.0.1\n",
        "main.conf:3: listener 1883 127.0.0.1 is already opened by line 1");
    assert_int_equal(load("listener 0 /tmp/a\nlistener 0 /tmp/a\n"), E_INVALID);
    good("listener 1883 127.0.0.1\nlistener 1883 ::1\nlistener 1884 127.0.0.1\n");
    good("listener 1883\nsocket_domain ipv4\nlistener 1883\nsocket_domain ipv6\n");
    good("listener 0 /tmp/a\nlistener 0 /tmp/b\n");
}

static void too_many_listeners_are_refused(void **state)
{
    (void)state;
    char text[CONF_MAX_LISTENERS * 16 + 64];
    size_t n = 0;
    for (int i = 0; i < CONF_MAX_LISTENERS; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "listener %d\n", 2000 + i);
    assert_int_equal(good(text)->listener_count, CONF_MAX_LISTENERS);
    snprintf(text + n, sizeof text - n, "listener 3000\n");
    bad(text, "main.conf:65: too many listeners: at most 64");
}

/* ---- who may connect ---- */

static void with_a_listener_nobody_is_anonymous_unless_allowed(void **state)
{
    (void)state;
    assert_false(good("listener 1883\n")->listeners[0].core.allow_anonymous);
    assert_non_null(strstr(b.warnings, "main.conf:1: listener 1883 lets nobody in"));
    /* Not per listener: wherever it stands, it is for all. */
    const struct conf *c = good("listener 1883\nlistener 1884\nallow_anonymous true\n");
    assert_true(c->listeners[0].core.allow_anonymous);
    assert_true(c->listeners[1].core.allow_anonymous);
    assert_string_equal(b.warnings, "");
    c = good("allow_anonymous true\nlistener 1883\nlistener 1884\n"
             "listener_allow_anonymous false\n");
    assert_true(c->listeners[0].core.allow_anonymous);
    assert_false(c->listeners[1].core.allow_anonymous);
    /* Said in so many words, it holds without a listener too, as in mosquitto 2.1. */
    c = good("allow_anonymous false\n");
    assert_int_equal(c->listener_count, 2);
    assert_false(c->listeners[0].core.allow_anonymous);
}

static void per_listener_settings_divide_who_may_connect(void **state)
{
    (void)state;
    const struct conf *c = good("per_listener_settings true\nlistener 1883\n"
                                "allow_anonymous true\nauto_id_prefix one-\nlistener 1884\n");
    assert_true(c->listeners[0].core.allow_anonymous);
    assert_string_equal(c->listeners[0].core.auto_id_prefix, "one-");
    assert_false(c->listeners[1].core.allow_anonymous);
    assert_string_equal(c->listeners[1].core.auto_id_prefix, "auto-");
    bad("allow_anonymous true\nper_listener_settings true\n",
        "main.conf:2: 'per_listener_settings' must come before 'allow_anonymous' and the other "
        "security settings");
}

#define HASH                                                                                       \
    "$6$5nlk3ohLnRTngJ4q$/"                                                                        \
    "yj6U55WBMayF98ik60yVqehCPzEH5S/7YiTXWYryome/V9rFqoDyBvL7koLfLH9riAkxOSi3sT4kB+gXm58kg=="

/* A configuration with the path of a file of users in it. */
static const char *with_users(const char *before, const char *after, const char *users)
{
    static char text[512];
    char path[128];
    write_file("users", users, strlen(users));
    snprintf(path, sizeof path, "%s/users", b.folder);
    assert_int_equal(chmod(path, 0600), 0);
    snprintf(text, sizeof text, "%s%s%s", before, path, after);
    return text;
}

static void a_password_file_is_for_all_listeners_and_read_once(void **state)
{
    (void)state;
    const struct conf *c =
        good(with_users("listener 1883\nlistener 1884\npassword_file ", "\n", "bob:" HASH "\n"));
    assert_int_equal(c->password_file_count, 1);
    for (size_t i = 0; i < 2; i++) {
        assert_true(c->listeners[i].core.checks_users);
        assert_false(c->listeners[i].core.allow_anonymous);
        assert_ptr_equal(c->listeners[i].passwords, c->password_files[0].passwords);
        assert_true(
            passwords_match(c->listeners[i].passwords, bytes_str("bob"), bytes_str("secret")));
    }
    assert_string_equal(b.warnings, "");
    assert_false(good("listener 1883\n")->listeners[0].core.checks_users);
    assert_null(b.conf->listeners[0].passwords);
}

static void a_password_file_is_for_one_listener_with_per_listener_settings(void **state)
{
    (void)state;
    const struct conf *c = good(with_users("per_listener_settings true\nlistener 1883\n"
                                           "password_file ",
                                           "\nlistener 1884\n"
                                           "allow_anonymous true\n",
                                           "bob:" HASH "\n"));
    assert_true(c->listeners[0].core.checks_users);
    assert_false(c->listeners[1].core.checks_users);
    assert_null(c->listeners[1].passwords);
    assert_string_equal(b.warnings, "");
    bad(with_users("password_file ", "\nper_listener_settings true\n", ""),
        "main.conf:2: 'per_listener_settings' must come before 'allow_anonymous' and the other "
        "security settings");
}

static void a_password_file_that_is_wrong_names_its_own_line(void **state)
{
    (void)state;
    bad(with_users("listener 1883\npassword_file ", "\n", "bob:" HASH "\neve\n"),
        "users:2: there is no ':' behind the user name");
    assert_int_equal(load("listener 1883\npassword_file /no/such/file\n"), E_IO);
    assert_string_equal(b.error, "/no/such/file: cannot open: No such file or directory");
    good(with_users("listener 1883\npassword_file ", "\n", ""));
    assert_non_null(strstr(b.warnings, "users: the file of passwords is empty"));
}

#define KEY "{\"kty\":\"oct\",\"k\":\"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY\"}"

static void tokens_are_for_all_listeners_and_their_keys_read_once(void **state)
{
    (void)state;
    const struct conf *c =
        good(with_users("listener 1883\nlistener 1884\njwt_keys_file ", "\n", KEY));
    assert_int_equal(c->token_count, 1);
    for (size_t i = 0; i < 2; i++) {
        const struct token_rules *t = c->listeners[i].tokens;
        assert_ptr_equal(t, &c->tokens[0].rules);
        assert_int_equal(t->keys->count, 1);
        assert_string_equal(t->user_claim, "sub");
        assert_null(t->issuer);
        assert_null(t->audience);
        assert_true(t->expiry_required);
        assert_int_equal(t->skew_s, 30);
        assert_true(c->listeners[i].core.checks_users);
        assert_true(c->listeners[i].core.token_is_user);
        assert_null(c->listeners[i].passwords);
    }
    assert_string_equal(b.warnings, "");
    assert_false(good("listener 1883\n")->listeners[0].core.token_is_user);
}

static void tokens_are_for_one_listener_with_per_listener_settings(void **state)
{
    (void)state;
    const struct conf *c =
        good(with_users("per_listener_settings true\nlistener 1883\njwt_issuer a\njwt_audience b\n"
                        "jwt_username_claim c\njwt_require_expiry false\njwt_clock_skew 2m\n"
                        "jwt_keys_file ",
                        "\nlistener 1884\nallow_anonymous true\n", KEY));
    const struct token_rules *t = c->listeners[0].tokens;
    assert_string_equal(t->issuer, "a");
    assert_string_equal(t->audience, "b");
    assert_string_equal(t->user_claim, "c");
    assert_false(t->expiry_required);
    assert_int_equal(t->skew_s, 120);
    assert_null(c->listeners[1].tokens);
    assert_false(c->listeners[1].core.checks_users);
}

static void what_is_wrong_with_tokens_is_said(void **state)
{
    (void)state;
    bad("listener 1883\njwt_issuer a\n",
        "main.conf: 'jwt_issuer' needs 'jwt_keys_file': without it no token is taken");
    bad("listener 1883\njwt_audience a\n",
        "main.conf: 'jwt_audience' needs 'jwt_keys_file': without it no token is taken");
    bad(with_users("listener 1883\njwt_keys_file ", "\n", "secret"),
        "users: there is no key in it: it is to be a JWK Set, or public keys or certificates in "
        "PEM");
    bad("listener 1883\njwt_clock_skew 2h\n", "main.conf:2: 'jwt_clock_skew' cannot be '2h': use a "
                                              "duration, 0 to 1h (30s, 15m, 12h, 7d; a "
                                              "bare number is seconds)");
    assert_int_equal(load("listener 1883\njwt_keys_file /no/such/file\n"), E_IO);
    assert_string_equal(b.error, "/no/such/file: cannot open: No such file or directory");
    const char *text = with_users("listener 1883\njwt_keys_file ", "\n", KEY);
    char path[128];
    snprintf(path, sizeof path, "%s/users", b.folder);
    assert_int_equal(chmod(path, 0644), 0);
    good(text);
    assert_non_null(strstr(b.warnings, "everybody on this machine can read the secret"));
}

static void prefixes_of_client_ids_reach_every_listener(void **state)
{
    (void)state;
    const struct conf *c = good("auto_id_prefix made-\nclientid_prefixes dev-\nlistener 1883\n"
                                "listener 1884\nlistener_auto_id_prefix own-\n");
    assert_string_equal(c->listeners[0].core.auto_id_prefix, "made-");
    assert_string_equal(c->listeners[1].core.auto_id_prefix, "own-");
    assert_string_equal(c->listeners[0].core.clientid_prefixes, "dev-");
    assert_string_equal(c->listeners[1].core.clientid_prefixes, "dev-");
    assert_int_equal(load("auto_id_prefix "
                          "012345678901234567890123456789012345678901234567890\n"),
                     E_INVALID);
}

/* ---- what a reload cannot change ---- */

static void said(void *ctx, const char *directive)
{
    char *list = ctx;
    size_t n = strlen(list);
    snprintf(list + n, 256 - n, "%s ", directive);
}

/* The directives that a change from one file to the other would need a restart for. */
static void expect_restart(const char *from, const char *to, const char *expected)
{
    char list[256] = "";
    good(from);
    struct conf *running = b.conf;
    b.conf = NULL;
    good(to);
    unsigned count = conf_restart_needed(running, b.conf, said, list);
    conf_free(&running);
    assert_string_equal(list, expected);
    assert_int_equal(count == 0, *expected == 0);
}

static void a_reload_names_what_needs_a_restart(void **state)
{
    (void)state;
    expect_restart("user a\nlistener 1883\nmount_point m/\n",
                   "\nuser a\nlistener 1883\nmount_point m/\n", "");
    expect_restart("max_queued_messages 5\nlog_type error\nsys_interval 3\n",
                   "max_queued_messages 6\nlog_type debug\nmax_keepalive 9\n", "");
    expect_restart("shards 2\nuser a\n", "shards 3\npid_file /x\n", "shards user pid_file ");
    expect_restart("listener 1883\n", "listener 1884\n", "listener ");
    expect_restart("listener 1883\n", "listener 1883\nlistener 1884\n", "listener ");
    expect_restart("listener 1883\n", "listener 1883\nmax_qos 1\n", "");
    expect_restart("listener 1883\n", "listener 1883\nallow_anonymous true\n", "");
    expect_restart("listener 1883\nmount_point a\n", "listener 1883\nmount_point b\n", "");
    expect_restart("", "clientid_prefixes x\n", "");
    expect_restart("", "persistence_file mosquitto.db\nautosave_interval 5\n", "");
    expect_restart("", "retained_persistence true\n", "persistence ");
    expect_restart("persistence_location a\npersistence_file b\n",
                   "persistence_location b\npersistence_file a\n",
                   "persistence_location persistence_file ");
    expect_restart("durability interval 1s\n", "durability interval 2s\n", "durability ");
}

static void the_admin_listener_is_on_loopback_or_has_users(void **state)
{
    (void)state;
    const struct conf *c = good("listener 9883\nprotocol http_api\nallow_anonymous true\n"
                                "listener 1883 127.0.0.1\n");
    assert_true(c->listeners[0].http_api);
    assert_string_equal(c->listeners[0].address, "localhost");
    assert_false(c->listeners[1].http_api);
    assert_string_equal(b.warnings, "");
    good("listener 9883\nprotocol http_api\nallow_anonymous true\n");
    assert_non_null(strstr(b.warnings, "there is no listener for MQTT: add 'listener 1883 "
                                       "127.0.0.1'"));
    static const char *const fine[] = {"127.0.0.1", "127.3.2.1", "::1", "localhost"};
    char text[256], message[256];
    for (size_t i = 0; i < ARRAY_LEN(fine); i++) {
        snprintf(text, sizeof text, "listener 9883 %s\nprotocol http_api\nallow_anonymous true\n",
                 fine[i]);
        good(text);
    }
    good("listener 0 /tmp/admin\nprotocol http_api\nallow_anonymous true\n");
    static const char *const wide[] = {"0.0.0.0", "192.0.2.1", "::", "broker.example"};
    for (size_t i = 0; i < ARRAY_LEN(wide); i++) {
        snprintf(text, sizeof text,
                 "listener 1883\nallow_anonymous true\nlistener 9883 %s\nprotocol http_api\n",
                 wide[i]);
        snprintf(message, sizeof message,
                 "main.conf:3: 'protocol http_api' on %s would let everybody administer the "
                 "broker: use 127.0.0.1, or 'listener_allow_anonymous false' and a "
                 "'password_file'",
                 wide[i]);
        bad(text, message);
        snprintf(text, sizeof text,
                 "allow_anonymous true\nlistener 9883 %s\nprotocol http_api\n"
                 "listener_allow_anonymous false\n",
                 wide[i]);
        good(text);
    }
}

static void what_the_admin_listener_does_not_obey_is_refused(void **state)
{
    (void)state;
    bad("listener 9883\nprotocol http_api\nenable_proxy_protocol 2\n",
        "main.conf:1: 'enable_proxy_protocol' is not for a listener with 'protocol http_api'");
    bad("listener 9883\nprotocol http_api\nmax_connect_rate 5\n",
        "main.conf:1: 'max_connect_rate' is not for a listener with 'protocol http_api'");
    bad("listener 9883\nprotocol http_api\npsk_hint x\npsk_file /dev/null\n",
        "main.conf:1: 'psk_hint' is not for a listener with 'protocol http_api'");
    bad("listener 9883\nprotocol carrots\n",
        "main.conf:2: 'protocol' cannot be 'carrots': use mqtt, websockets or http_api");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        A_TEST(options_belong_to_the_listener_above_them),
        A_TEST(port_and_bind_address_make_a_listener_as_of_old),
        A_TEST(options_without_any_listener_belong_to_the_loopback_ones),
        A_TEST(an_option_above_the_first_listener_is_warned_of),
        A_TEST(listeners_that_cannot_be_are_refused),
        A_TEST(the_same_port_twice_is_refused),
        A_TEST(too_many_listeners_are_refused),
        A_TEST(with_a_listener_nobody_is_anonymous_unless_allowed),
        A_TEST(per_listener_settings_divide_who_may_connect),
        A_TEST(a_password_file_is_for_all_listeners_and_read_once),
        A_TEST(a_password_file_is_for_one_listener_with_per_listener_settings),
        A_TEST(a_password_file_that_is_wrong_names_its_own_line),
        A_TEST(tokens_are_for_all_listeners_and_their_keys_read_once),
        A_TEST(tokens_are_for_one_listener_with_per_listener_settings),
        A_TEST(what_is_wrong_with_tokens_is_said),
        A_TEST(prefixes_of_client_ids_reach_every_listener),
        A_TEST(a_reload_names_what_needs_a_restart),
        A_TEST(the_admin_listener_is_on_loopback_or_has_users),
        A_TEST(what_the_admin_listener_does_not_obey_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
