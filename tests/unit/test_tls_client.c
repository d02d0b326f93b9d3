/* The client's side of TLS against our own server's: whom it believes, by which name, what it
 * shows, and what is wrong with its files. */
#include "tests/unit/test_tls.h"

struct ends {
    struct transport server, client;
};

static struct tls_options believing(const char *ca)
{
    return (struct tls_options){.cafile = path_of(ca)};
}

/* Both handshakes by turns; what the client's said last. */
static int meet(struct ends *e, struct tls_options server, struct tls_options client,
                const char *host)
{
    int fds[2], theirs = E_AGAIN, ours = E_AGAIN;
    struct tls_context *of_server = context_of(server), *of_client = NULL;
    struct tls_error error = {0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(tls_client_context_new(&of_client, &client, &error), 0);
    assert_int_equal(tls_open(&e->server, of_server, fds[0]), 0);
    assert_int_equal(tls_open_client(&e->client, of_client, host, fds[1]), 0);
    tls_context_free(&of_server);
    tls_context_free(&of_client);
    for (int i = 0; i < TURNS && (ours == E_AGAIN || theirs == E_AGAIN); i++) {
        if (ours == E_AGAIN) ours = e->client.ops->handshake(&e->client);
        if (ours < 0 && ours != E_AGAIN) break;
        if (theirs == E_AGAIN) theirs = e->server.ops->handshake(&e->server);
    }
    return ours;
}

static void part(struct ends *e)
{
    e->client.ops->close(&e->client);
    e->server.ops->close(&e->server);
}

static bool refused(const char *host, const char *ca, const char *why)
{
    struct ends e;
    char text[256];
    if (meet(&e, plain_options(), believing(ca), host) != E_IO) return false;
    e.client.ops->explain(&e.client, text, sizeof text);
    part(&e);
    if (strstr(text, why) == NULL) print_error("'%s' does not say '%s'\n", text, why);
    return strstr(text, why) != NULL;
}

static void ours_and_ours_meet(void **state)
{
    (void)state;
    static const char *const hosts[] = {"localhost", "127.0.0.1", "::1", NULL};
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        struct ends e;
        struct iovec part_of = {(void *)(uintptr_t) "hello", 5};
        assert_int_equal(meet(&e, plain_options(), believing("ca.crt"), hosts[i]), 0);
        assert_int_equal(e.client.ops->writev(&e.client, &part_of, 1), 5);
        assert_int_equal(e.server.ops->read(&e.server, input, ROOM), 5);
        assert_int_equal(e.server.ops->writev(&e.server, &part_of, 1), 5);
        assert_int_equal(e.client.ops->read(&e.client, input, ROOM), 5);
        assert_memory_equal(input, "hello", 5);
        e.server.ops->end(&e.server);
        assert_int_equal(e.client.ops->read(&e.client, input, ROOM), E_EOF);
        part(&e);
    }
}

static void whom_it_does_not_believe(void **state)
{
    (void)state;
    assert_true(refused("localhost", "other/ca.crt", "certificate verify failed"));
    assert_true(refused("elsewhere.example", "ca.crt", "mismatch"));
    assert_true(refused("127.0.0.2", "ca.crt", "mismatch"));
}

/* And the system's own authorities, of which ours is none. */
static void nobody_is_named(void **state)
{
    (void)state;
    struct ends e;
    assert_int_equal(meet(&e, plain_options(), (struct tls_options){0}, "localhost"), E_IO);
    part(&e);
}

static void it_shows_its_certificate(void **state)
{
    (void)state;
    struct ends e;
    struct tls_options client = believing("ca.crt"), server = strict_options();
    server.user = TLS_USER_COMMON_NAME;
    client.certfile = path_of("client.crt");
    client.keyfile = path_of("client.key");
    assert_int_equal(meet(&e, server, client, "localhost"), 0);
    struct bytes user = e.server.ops->user(&e.server);
    assert_true(bytes_eq(user, bytes_str("client")));
    part(&e);
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    struct tls_error error = {0};
    struct tls_context *c = NULL;
    struct tls_options wrong[] = {
        {.cafile = "/nothing"},
        {.capath = "/nothing"},
        {.certfile = path_of("client.crt")},
        {.keyfile = path_of("client.key")},
        {.certfile = path_of("client.crt"), .keyfile = path_of("server.key")}};
    static const char *const blamed[] = {"cafile", "capath", "keyfile", "certfile", "keyfile"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        assert_int_equal(tls_client_context_new(&c, &wrong[i], &error), E_INVALID);
        assert_null(c);
        assert_string_equal(error.option, blamed[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ours_and_ours_meet),    cmocka_unit_test(whom_it_does_not_believe),
        cmocka_unit_test(nobody_is_named),       cmocka_unit_test(it_shows_its_certificate),
        cmocka_unit_test(what_is_wrong_is_said),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
