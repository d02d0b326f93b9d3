/* Pre-shared keys: their file, handshakes by them with TLS 1.2 and 1.3, and who is refused. */
#include "tests/unit/test_tls.h"

/* ---- the file ---- */

static struct tls_psks *read_keys(const char *text)
{
    struct tls_psks *p = NULL;
    struct tls_error error = {0};
    unsigned line;
    if (tls_psks_new(&p, bytes_str(text), &line, &error) < 0) fail_msg("%u: %s", line, error.text);
    return p;
}

static void a_file_of_keys_is_read(void **state)
{
    (void)state;
    struct tls_psks *p = read_keys("# who\n\nalice:00ff\r\nbob smith:ABcdef  \nc:1234");
    assert_int_equal(tls_psks_count(p), 3);
    tls_psks_free(&p);
    assert_null(p);
    p = read_keys("");
    assert_int_equal(tls_psks_count(p), 0);
    tls_psks_free(&p);
}

static void what_is_wrong_in_it_is_said_with_its_line(void **state)
{
    (void)state;
    static char long_key[2 + 1026 + 1], long_name[257 + 3 + 1];
    memset(long_key, 'a', sizeof long_key - 1);
    long_key[1] = ':';
    memset(long_name, 'a', sizeof long_name - 1);
    memcpy(long_name + 257, ":aa", 3);
    static const struct {
        const char *text;
        unsigned line;
        const char *why;
    } cases[] = {
        {"a:aa\nb\n", 2, "the line is not <identity>:<key in hexadecimal>"},
        {":aa", 1, "the identity has to be text in UTF-8, of 1 to 256 bytes"},
        {"\xff:aa", 1, "the identity has to be text in UTF-8, of 1 to 256 bytes"},
        {long_name, 1, "the identity has to be text in UTF-8, of 1 to 256 bytes"},
        {"a:", 1, "the key has to be hexadecimal: two digits for each of 1 to 512 bytes"},
        {"a:aaa", 1, "the key has to be hexadecimal: two digits for each of 1 to 512 bytes"},
        {long_key, 1, "the key has to be hexadecimal: two digits for each of 1 to 512 bytes"},
        {"a:xx", 1, "the key has to be hexadecimal: two digits for each of its bytes"},
        {"a:a@", 1, "the key has to be hexadecimal: two digits for each of its bytes"},
        {"\n#\na:aa\nb:aa\na:bb", 5, "the identity was there before"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tls_psks *p = NULL;
        struct tls_error error = {0};
        unsigned line = 0;
        assert_int_equal(tls_psks_new(&p, bytes_str(cases[i].text), &line, &error), E_INVALID);
        assert_null(p);
        assert_int_equal(line, cases[i].line);
        assert_string_equal(error.text, cases[i].why);
    }
    long_key[sizeof long_key - 3] = long_name[256] = 0; /* at the limit both are fine */
    tls_psks_free(&(struct tls_psks *){read_keys(long_key)});
}

static void without_memory_nothing_is_left(void **state)
{
    (void)state;
    int rc = E_NOMEM;
    for (long n = 0; rc == E_NOMEM; n++) {
        struct tls_psks *p = NULL;
        struct tls_error error;
        unsigned line;
        mem_fail_after(n);
        rc = tls_psks_new(&p, bytes_str("a:aa\nb:bb\n"), &line, &error);
        mem_fail_after(-1);
        assert_true(rc == 0 || p == NULL);
        tls_psks_free(&p);
    }
    assert_int_equal(rc, 0);
}

/* ---- handshakes ---- */

static const char *identity;
static const char *key;

static unsigned client_key(SSL *ssl, const char *hint, char *name, unsigned name_room,
                           unsigned char *out, unsigned room)
{
    if (SSL_version(ssl) == TLS1_2_VERSION) assert_string_equal(hint, "who are you?");
    snprintf(name, name_room, "%s", identity);
    assert_true(strlen(key) <= room);
    memcpy(out, key, strlen(key));
    return (unsigned)strlen(key);
}

static struct pair pair_by_key(struct tls_options o, const char *name, const char *secret,
                               int newest)
{
    o.psk_hint = "who are you?";
    identity = name;
    key = secret;
    struct pair p = pair_new(o);
    SSL_set_psk_client_callback(p.client, client_key);
    SSL_set_max_proto_version(p.client, newest);
    return p;
}

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

static void who_has_the_key_comes_in(void **state)
{
    (void)state;
    struct tls_psks *keys = read_keys("alice:616263\nbob:78797a\n");
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        for (unsigned user = TLS_USER_NONE; user <= TLS_USER_COMMON_NAME; user++) {
            struct tls_options o = {.psks = keys, .user = (enum tls_user)user};
            struct pair p = pair_by_key(o, "bob", "xyz", versions[i]);
            int client;
            assert_int_equal(shake(&p, &client), 0);
            assert_int_equal(client, 1);
            assert_int_equal(SSL_version(p.client), versions[i]);
            struct bytes who = p.ours.ops->user(&p.ours);
            assert_true(bytes_eq(who, user ? bytes_str("bob") : bytes_of(NULL, 0)));
            assert_int_equal(SSL_write(p.client, "hello", 5), 5);
            assert_int_equal(our_read(&p), 5);
            pair_free(&p);
        }
    }
    tls_psks_free(&keys);
}

static void who_has_not_is_refused(void **state)
{
    (void)state;
    struct tls_psks *keys = read_keys("alice:616263\n");
    static const char *const wrong[][2] = {{"alice", "abd"}, {"alic", "abc"}, {"eve", "abc"}};
    for (size_t i = 0; i < ARRAY_LEN(versions) * ARRAY_LEN(wrong); i++) {
        const char *const *w = wrong[i / 2];
        struct tls_options o = {.psks = keys, .user = TLS_USER_COMMON_NAME};
        struct pair p = pair_by_key(o, w[0], w[1], versions[i % 2]);
        assert_int_equal(shake(&p, NULL), E_IO);
        assert_true(strlen(explained(&p)) > 0);
        pair_free(&p);
    }
    struct pair p = pair_new((struct tls_options){.psk_hint = "h", .psks = keys});
    assert_int_equal(shake(&p, NULL), E_IO); /* a client without any */
    pair_free(&p);
    tls_psks_free(&keys);
}

/* A session that is taken up again would not say whose it is. */
static void there_are_no_tickets(void **state)
{
    (void)state;
    struct tls_psks *keys = read_keys("alice:616263\n");
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        struct tls_options o = {.psks = keys, .user = TLS_USER_COMMON_NAME};
        struct pair p = pair_by_key(o, "alice", "abc", versions[i]);
        assert_int_equal(shake(&p, NULL), 0);
        assert_int_equal(our_write(&p, "x", 1), 1);
        char byte;
        assert_int_equal(SSL_read(p.client, &byte, 1), 1);
        const SSL_SESSION *session = SSL_get0_session(p.client);
        assert_false(SSL_SESSION_has_ticket(session));
        pair_free(&p);
    }
    tls_psks_free(&keys);
}

static void a_hint_that_is_too_long_is_refused(void **state)
{
    (void)state;
    char hint[PSK_MAX_IDENTITY_LEN + 2] = {0};
    memset(hint, 'h', sizeof hint - 1);
    struct tls_psks *keys = read_keys("alice:616263\n");
    struct tls_context *c = NULL;
    struct tls_error error = {0};
    struct tls_options o = {.psk_hint = hint, .psks = keys};
    assert_int_equal(tls_context_new(&c, &o, &error), E_INVALID);
    assert_string_equal(error.option, "psk_hint");
    hint[sizeof hint - 2] = 0;
    assert_int_equal(tls_context_new(&c, &o, &error), 0);
    tls_context_free(&c);
    tls_psks_free(&keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_of_keys_is_read),
        cmocka_unit_test(what_is_wrong_in_it_is_said_with_its_line),
        cmocka_unit_test(without_memory_nothing_is_left),
        cmocka_unit_test(who_has_the_key_comes_in),
        cmocka_unit_test(who_has_not_is_refused),
        cmocka_unit_test(there_are_no_tickets),
        cmocka_unit_test(a_hint_that_is_too_long_is_refused),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
