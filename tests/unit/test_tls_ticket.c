/* Sessions that are taken up again by tickets, and the keys of those, which rotate. */
#include "tests/unit/test_tls.h"

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

/* To be taken up later: OpenSSL forgets one that does not end in order. */
static SSL_SESSION *session_of(struct pair *p)
{
    SSL_set_shutdown(p->client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    return SSL_get1_session(p->client);
}

/* A whole connection, which offers *session if there is one; whether it was taken up.  *session
 * becomes the one that may be taken up next. */
static bool resumes(const struct tls_context *c, int version, const char *name,
                    SSL_SESSION **session)
{
    struct pair p = pair_of(c);
    char byte;
    assert_int_equal(SSL_set_min_proto_version(p.client, version), 1);
    assert_int_equal(SSL_set_max_proto_version(p.client, version), 1);
    assert_int_equal(SSL_set_tlsext_host_name(p.client, name), 1);
    if (*session) assert_int_equal(SSL_set_session(p.client, *session), 1);
    assert_int_equal(shake(&p, NULL), 0);
    assert_int_equal(our_write(&p, "x", 1), 1);
    assert_int_equal(SSL_read(p.client, &byte, 1), 1); /* and the ticket before it */
    bool again = SSL_session_reused(p.client), told = SSL_get0_session(p.client) != *session;
    assert_true(told || version < TLS1_3_VERSION); /* of a ticket for the next time */
    SSL_SESSION_free(*session);
    *session = session_of(&p);
    pair_free(&p);
    return again;
}

static void a_session_is_taken_up_again(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        struct tls_context *c = context_of(plain_options());
        SSL_SESSION *session = NULL;
        assert_false(resumes(c, versions[i], "localhost", &session));
        assert_true(SSL_SESSION_has_ticket(session));
        assert_true(resumes(c, versions[i], "localhost", &session));
        assert_true(resumes(c, versions[i], "localhost", &session));
        SSL_SESSION_free(session);
        tls_context_free(&c);
    }
}

static void a_ticket_outlives_one_rotation_of_keys_and_is_renewed(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        struct tls_context *c = context_of(plain_options());
        SSL_SESSION *session = NULL, *old = NULL;
        assert_false(resumes(c, versions[i], "localhost", &session));
        assert_false(resumes(c, versions[i], "localhost", &old));
        tls_context_rotate(c);
        assert_true(resumes(c, versions[i], "localhost", &session));
        tls_context_rotate(c);
        assert_true(resumes(c, versions[i], "localhost", &session)); /* that was a new one */
        assert_false(resumes(c, versions[i], "localhost", &old));
        SSL_SESSION_free(session);
        SSL_SESSION_free(old);
        tls_context_free(&c);
    }
}

static void another_contexts_tickets_are_not_ours(void **state)
{
    (void)state;
    struct tls_context *c = context_of(plain_options()), *after = context_of(plain_options());
    SSL_SESSION *session = NULL;
    assert_false(resumes(c, TLS1_3_VERSION, "localhost", &session));
    assert_false(resumes(after, TLS1_3_VERSION, "localhost", &session));
    SSL_SESSION_free(session);
    tls_context_free(&c);
    tls_context_free(&after);
}

/* Who it is was proved by the certificate, and the ticket says so. */
static void a_certificate_is_remembered(void **state)
{
    (void)state;
    struct tls_options o = strict_options();
    o.user = TLS_USER_COMMON_NAME;
    struct tls_context *c = context_of(o);
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        SSL_SESSION *session = NULL;
        for (int n = 0; n < 3; n++) {
            char byte;
            struct pair p = pair_of(c);
            show_certificate(&p, "client.crt", "client.key");
            SSL_set_min_proto_version(p.client, versions[i]);
            SSL_set_max_proto_version(p.client, versions[i]);
            if (session) SSL_set_session(p.client, session);
            assert_int_equal(shake(&p, NULL), 0);
            assert_int_equal(SSL_session_reused(p.client), n > 0);
            assert_true(bytes_eq(p.ours.ops->user(&p.ours), bytes_str("client")));
            assert_int_equal(our_write(&p, "x", 1), 1);
            assert_int_equal(SSL_read(p.client, &byte, 1), 1);
            SSL_SESSION_free(session);
            session = session_of(&p);
            pair_free(&p);
        }
        SSL_SESSION_free(session);
    }
    tls_context_free(&c);
}

/* There is one certificate: it is shown whatever name is asked for, as mosquitto does. */
static void any_server_name_is_answered(void **state)
{
    (void)state;
    static const char *const names[] = {"localhost", "nobody.example", "xn--bcher-kva.example"};
    struct tls_context *c = context_of(plain_options());
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        SSL_SESSION *session = NULL;
        assert_false(resumes(c, TLS1_2_VERSION, names[i], &session));
        SSL_SESSION_free(session);
    }
    tls_context_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_is_taken_up_again),
        cmocka_unit_test(a_ticket_outlives_one_rotation_of_keys_and_is_renewed),
        cmocka_unit_test(another_contexts_tickets_are_not_ours),
        cmocka_unit_test(a_certificate_is_remembered),
        cmocka_unit_test(any_server_name_is_answered),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
