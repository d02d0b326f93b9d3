/* The TLS transport and its contexts: the handshake and its failures, what is waited for in which
 * direction, records of all sizes, ends, and who the peer is. */
#include "tests/unit/test_tls.h"

enum { IDLE_MAX = 24 * 1024 };

static bool has(const char *text, const char *part)
{
    if (strstr(text, part)) return true;
    print_error("'%s' does not say '%s'\n", text, part);
    return false;
}

/* ---- handshakes ---- */

static void a_client_and_a_server_meet(void **state)
{
    (void)state;
    struct pair p = connected(plain_options());
    assert_string_equal(SSL_get_version(p.client), "TLSv1.3");
    assert_int_equal(p.ours.ops->user(&p.ours).n, 0);
    assert_int_equal(our_read(&p), E_AGAIN);
    assert_false(p.ours.read_needs_write);
    assert_int_equal(SSL_write(p.client, "hello", 5), 5);
    assert_int_equal(our_read(&p), 5);
    assert_memory_equal(input, "hello", 5);
    assert_int_equal(our_write(&p, "world", 5), 5);
    char text[8];
    assert_int_equal(SSL_read(p.client, text, sizeof text), 5);
    assert_memory_equal(text, "world", 5);
    pair_free(&p);
}

/* Bytes of the client reach us one by one. */
static void a_handshake_in_single_bytes(void **state)
{
    (void)state;
    struct pair p = pair_new(plain_options());
    int hop[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, hop), 0);
    SSL_set_fd(p.client, hop[0]);
    int rc = E_AGAIN, theirs = 0;
    for (int i = 0; i < TURNS && (rc != 0 || theirs != 1); i++) {
        char byte;
        theirs = SSL_do_handshake(p.client);
        if (read(hop[1], &byte, 1) == 1) assert_int_equal(write(p.client_fd, &byte, 1), 1);
        if (rc) rc = p.ours.ops->handshake(&p.ours);
        if (rc) assert_int_equal(rc, E_AGAIN);
        for (ssize_t n; (n = read(p.client_fd, input, ROOM)) > 0;)
            assert_int_equal(write(hop[1], input, (size_t)n), n);
    }
    assert_true(rc == 0 && theirs == 1);
    close(hop[0]);
    close(hop[1]);
    pair_free(&p);
}

/* Fills what we send to, and returns with how many bytes. */
static size_t fill(struct pair *p)
{
    size_t all = 0;
    for (ssize_t n; (n = write(p->ours.fd, input, 512)) > 0;) all += (size_t)n;
    while (write(p->ours.fd, input, 1) == 1) all++;
    return all;
}

static void drain(struct pair *p, size_t n)
{
    for (size_t at = 0; at < n;) {
        ssize_t got = read(p->client_fd, input, min_u64(sizeof input, n - at));
        assert_true(got > 0);
        at += (size_t)got;
    }
}

static void a_handshake_waits_until_it_can_write(void **state)
{
    (void)state;
    struct pair p = pair_new(plain_options());
    (void)SSL_do_handshake(p.client);
    size_t junk = fill(&p);
    assert_int_equal(p.ours.ops->handshake(&p.ours), E_AGAIN);
    assert_true(p.ours.read_needs_write);
    assert_int_equal(transport_watch(&p.ours, LOOP_READ), LOOP_WRITE);
    assert_int_equal(transport_ready(&p.ours, LOOP_READ, LOOP_WRITE), LOOP_READ);
    drain(&p, junk);
    assert_int_equal(shake(&p, NULL), 0);
    assert_false(p.ours.read_needs_write);
    assert_int_equal(transport_watch(&p.ours, LOOP_READ), LOOP_READ);
    pair_free(&p);
}

/* A read may do the handshake too, as OpenSSL has it. */
static void a_read_waits_until_it_can_write(void **state)
{
    (void)state;
    struct pair p = pair_new(plain_options());
    (void)SSL_do_handshake(p.client);
    size_t junk = fill(&p);
    assert_int_equal(our_read(&p), E_AGAIN);
    assert_true(p.ours.read_needs_write);
    assert_int_equal(transport_watch(&p.ours, LOOP_READ | LOOP_WRITE), LOOP_WRITE);
    drain(&p, junk);
    assert_int_equal(our_read(&p), E_AGAIN);
    assert_false(p.ours.read_needs_write);
    assert_int_equal(SSL_do_handshake(p.client), 1);
    assert_int_equal(SSL_write(p.client, "x", 1), 1);
    assert_int_equal(our_read(&p), 1);
    pair_free(&p);
}

/* The client wants new keys on both sides: ours come with what is written next. */
static void new_keys_on_the_way(void **state)
{
    (void)state;
    char in[8];
    struct pair p = connected(plain_options());
    for (int i = 0; i < 3; i++) {
        assert_int_equal(SSL_key_update(p.client, SSL_KEY_UPDATE_REQUESTED), 1);
        assert_int_equal(SSL_write(p.client, "new", 3), 3);
        assert_int_equal(our_read(&p), 3);
        assert_int_equal(our_write(&p, "keys", 4), 4);
        assert_int_equal(SSL_read(p.client, in, sizeof in), 4);
    }
    pair_free(&p);
}

static void a_write_waits_until_it_can_read(void **state)
{
    (void)state;
    struct pair p = pair_new(plain_options());
    assert_int_equal(our_write(&p, "x", 1), E_AGAIN);
    assert_true(p.ours.write_needs_read);
    assert_int_equal(transport_watch(&p.ours, LOOP_WRITE), LOOP_READ);
    assert_int_equal(transport_ready(&p.ours, LOOP_WRITE, LOOP_READ), LOOP_WRITE);
    assert_int_equal(transport_ready(&p.ours, LOOP_READ, LOOP_READ), LOOP_READ);
    assert_int_equal(shake(&p, NULL), 0);
    assert_int_equal(our_write(&p, "x", 1), 1);
    assert_false(p.ours.write_needs_read);
    pair_free(&p);
}

static void garbage_is_refused_with_a_reason(void **state)
{
    (void)state;
    static const char *const garbage[] = {"\x10\x0c\0\4MQTT\4\2\0\0\0\0", "GET / HTTP/1.0\r\n\r\n",
                                          "\x16\x03\x01\xff\xff\x01\xff\xff\xff"};
    for (size_t i = 0; i < ARRAY_LEN(garbage); i++) {
        struct pair p = pair_new(plain_options());
        assert_int_equal(write(p.client_fd, garbage[i], 9), 9);
        int rc = p.ours.ops->handshake(&p.ours);
        assert_int_equal(rc, E_IO);
        assert_true(strlen(explained(&p)) > 0);
        assert_int_equal(p.ours.ops->handshake(&p.ours), E_IO); /* and stays so */
        assert_int_equal(our_write(&p, "x", 1), E_IO);
        p.ours.ops->end(&p.ours);
        assert_true(our_read(&p) != 0); /* what still comes can be thrown away */
        client_gone(&p);
        while (our_read(&p) > 0) {
        }
        assert_int_equal(our_read(&p), E_EOF);
        pair_free(&p);
    }
}

static void a_client_that_leaves_in_the_handshake(void **state)
{
    (void)state;
    struct pair p = pair_new(plain_options());
    (void)SSL_do_handshake(p.client);
    assert_int_equal(p.ours.ops->handshake(&p.ours), E_AGAIN);
    client_gone(&p);
    int rc = p.ours.ops->handshake(&p.ours);
    assert_true(rc == E_EOF || rc == E_IO); /* E_IO: with our bytes unread it is a reset */
    pair_free(&p);
    p = pair_new(plain_options());
    client_gone(&p);
    assert_int_equal(p.ours.ops->handshake(&p.ours), E_EOF);
    pair_free(&p);
}

/* ---- versions, ciphers, ALPN ---- */

static void old_versions_are_refused(void **state)
{
    (void)state;
    struct pair p = pair_new(plain_options());
    SSL_set_max_proto_version(p.client, TLS1_2_VERSION);
    assert_int_equal(shake(&p, NULL), 0);
    assert_string_equal(SSL_get_version(p.client), "TLSv1.2");
    assert_int_equal(SSL_renegotiate(p.client), 1); /* which we do not do */
    (void)SSL_do_handshake(p.client);
    assert_int_equal(our_read(&p), E_PROTOCOL);
    assert_string_equal(explained(&p), "a request for another TLS handshake, which is not done");
    pair_free(&p);

    struct tls_options o = plain_options();
    o.only_13 = true;
    p = pair_new(o);
    SSL_set_max_proto_version(p.client, TLS1_2_VERSION);
    assert_int_equal(shake(&p, NULL), E_IO);
    assert_true(has(explained(&p), "unsupported protocol"));
    pair_free(&p);

    p = pair_new(plain_options());
    SSL_set_security_level(p.client, 0);
    SSL_set_min_proto_version(p.client, TLS1_VERSION);
    SSL_set_max_proto_version(p.client, TLS1_1_VERSION);
    assert_int_equal(shake(&p, NULL), E_IO);
    pair_free(&p);
}

static void ciphers_are_those_that_are_configured(void **state)
{
    (void)state;
    struct tls_options o = plain_options();
    o.ciphers = "ECDHE-ECDSA-CHACHA20-POLY1305";
    o.ciphers13 = "TLS_AES_128_GCM_SHA256";
    struct pair p = connected(o);
    assert_string_equal(SSL_get_cipher(p.client), "TLS_AES_128_GCM_SHA256");
    pair_free(&p);
    p = pair_new(o);
    SSL_set_max_proto_version(p.client, TLS1_2_VERSION);
    assert_int_equal(shake(&p, NULL), 0);
    assert_string_equal(SSL_get_cipher(p.client), "ECDHE-ECDSA-CHACHA20-POLY1305");
    pair_free(&p);
}

static void alpn_takes_mqtt_and_ignores_the_rest(void **state)
{
    (void)state;
    static const struct {
        const char *offer;
        unsigned size, chosen;
    } cases[] = {{"\4mqtt", 5, 4}, {"\2h2\4mqtt\10http/1.1", 17, 4}, {"\2h2", 3, 0}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const unsigned char *chosen;
        unsigned n;
        struct pair p = pair_new(plain_options());
        SSL_set_alpn_protos(p.client, (const unsigned char *)cases[i].offer, cases[i].size);
        assert_int_equal(shake(&p, NULL), 0);
        SSL_get0_alpn_selected(p.client, &chosen, &n);
        assert_int_equal(n, cases[i].chosen);
        pair_free(&p);
    }
}

/* ---- clients' certificates ---- */

static void certificates_say_who_comes(void **state)
{
    (void)state;
    static const struct {
        enum tls_user user;
        const char *name;
    } cases[] = {{TLS_USER_NONE, ""},
                 {TLS_USER_COMMON_NAME, "client"},
                 {TLS_USER_SUBJECT, "CN=client,O=sluice"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tls_options o = strict_options();
        o.user = cases[i].user;
        struct pair p = pair_new(o);
        show_certificate(&p, "client.crt", "client.key");
        assert_int_equal(shake(&p, NULL), 0);
        assert_true(bytes_eq(p.ours.ops->user(&p.ours), bytes_str(cases[i].name)));
        pair_free(&p);
    }
}

static void expect_refused(struct tls_options o, const char *crt, const char *key, const char *why)
{
    struct pair p = pair_new(o);
    if (crt) show_certificate(&p, crt, key);
    assert_int_equal(shake(&p, NULL), E_IO);
    if (!has(explained(&p), why)) fail();
    pair_free(&p);
}

static void wrong_certificates_are_refused(void **state)
{
    (void)state;
    struct tls_options o = strict_options();
    expect_refused(o, NULL, NULL, "peer did not return a certificate");
    expect_refused(o, "other/client.crt", "other/client.key", "unable to get local issuer");
    expect_refused(o, "server.crt", "server.key", "certificate purpose");
    o.crlfile = path_of("ca.crl");
    expect_refused(o, "gone.crt", "gone.key", "certificate revoked");
    struct pair p = pair_new(o);
    show_certificate(&p, "client.crt", "client.key");
    assert_int_equal(shake(&p, NULL), 0);
    pair_free(&p);
}

static void a_folder_of_authorities(void **state)
{
    (void)state;
    run("mkdir %s && cp %s %s && openssl rehash %s", path_of("cas"), path_of("ca.crt"),
        path_of("cas/"), path_of("cas"));
    struct tls_options o = strict_options();
    o.cafile = NULL;
    o.capath = path_of("cas");
    struct pair p = pair_new(o);
    show_certificate(&p, "client.crt", "client.key");
    assert_int_equal(shake(&p, NULL), 0);
    pair_free(&p);
    expect_refused(o, "other/client.crt", "other/client.key", "unable to get local issuer");
}

/* ---- bytes ---- */

static void writes_of_one_byte(void **state)
{
    (void)state;
    enum { COUNT = 2000 };
    struct pair p = connected(plain_options());
    int sent = 0, got = 0;
    for (int i = 0; i < TURNS && got < COUNT; i++) {
        uint8_t byte = (uint8_t)sent, in[64];
        if (sent < COUNT && our_write(&p, &byte, 1) == 1) sent++;
        if (i % 3) continue;
        for (int n; (n = SSL_read(p.client, in, sizeof in)) > 0; got += n)
            for (int j = 0; j < n; j++) assert_int_equal(in[j], (uint8_t)(got + j));
    }
    assert_int_equal(got, COUNT);
    pair_free(&p);
}

/* Each attempt gives what is left from another place in memory. */
static void a_large_message_goes_out_in_parts(void **state)
{
    (void)state;
    enum { SIZE = 1 << 20 };
    struct pair p = connected(plain_options());
    uint8_t *all = mem_alloc(SIZE), *in = mem_alloc(ROOM);
    for (int i = 0; i < SIZE; i++) all[i] = (uint8_t)(i * 7 + i / 251);
    size_t sent = 0, got = 0, waits = 0;
    for (int i = 0; i < TURNS && got < SIZE; i++) {
        if (sent < SIZE) {
            uint8_t *copy = mem_alloc(SIZE - sent);
            memcpy(copy, all + sent, SIZE - sent);
            int64_t n = our_write(&p, copy, SIZE - sent);
            mem_free(copy);
            if (n < 0) assert_int_equal(n, E_AGAIN);
            waits += n == E_AGAIN;
            if (n > 0) sent += (size_t)n;
        }
        int n = SSL_read(p.client, in, 5000);
        if (n <= 0) continue;
        assert_memory_equal(in, all + got, n);
        got += (size_t)n;
    }
    assert_int_equal(got, SIZE);
    assert_true(waits > 0);
    mem_free(all);
    mem_free(in);
    pair_free(&p);
}

/* When the socket is empty, so are we: else no event would tell of what is inside. */
static void a_read_leaves_nothing_inside(void **state)
{
    (void)state;
    enum { RECORDS = 40 };
    struct pair p = connected(plain_options());
    int big = 1 << 20;
    setsockopt(p.client_fd, SOL_SOCKET, SO_SNDBUF, &big, sizeof big);
    uint8_t *record = mem_calloc(1, SSL3_RT_MAX_PLAIN_LENGTH);
    size_t sent = 0, got = 0;
    for (size_t i = 0; i < RECORDS; i++) {
        int n = i % 3 ? SSL3_RT_MAX_PLAIN_LENGTH : 700;
        assert_int_equal(SSL_write(p.client, record, n), n);
        sent += (size_t)n;
    }
    for (;;) {
        char byte;
        bool more = recv(p.ours.fd, &byte, 1, MSG_PEEK) == 1;
        int64_t n = p.ours.ops->read(&p.ours, input, TRANSPORT_READ_MIN + got % 3000);
        if (!more) assert_int_equal(n, E_AGAIN);
        if (n == E_AGAIN) break;
        got += (size_t)n;
    }
    assert_int_equal(got, sent);
    mem_free(record);
    pair_free(&p);
}

/* A client of TLS 1.3 may speak as soon as it has said Finished: an event has to tell of that. */
static void what_comes_with_the_handshake_stays_in_the_socket(void **state)
{
    (void)state;
    char byte;
    struct pair p = pair_new(plain_options());
    int theirs = 0, rc = E_AGAIN;
    for (int i = 0; i < TURNS && theirs != 1; i++) {
        theirs = SSL_do_handshake(p.client);
        if (theirs != 1) rc = p.ours.ops->handshake(&p.ours);
    }
    assert_int_equal(rc, E_AGAIN);
    assert_int_equal(SSL_write(p.client, "hello", 5), 5);
    assert_int_equal(p.ours.ops->handshake(&p.ours), 0);
    assert_int_equal(recv(p.ours.fd, &byte, 1, MSG_PEEK), 1);
    assert_int_equal(our_read(&p), 5);
    assert_memory_equal(input, "hello", 5);
    pair_free(&p);
}

/* ---- ends ---- */

static void an_end_in_order(void **state)
{
    (void)state;
    char byte;
    struct pair p = connected(plain_options());
    assert_int_equal(our_write(&p, "x", 1), 1);
    p.ours.ops->end(&p.ours);
    assert_int_equal(SSL_read(p.client, &byte, 1), 1);
    assert_int_equal(SSL_read(p.client, &byte, 1), 0);
    assert_int_equal(SSL_get_error(p.client, 0), SSL_ERROR_ZERO_RETURN); /* close_notify */
    assert_int_equal(SSL_write(p.client, "late", 4), 4);
    assert_int_equal(our_read(&p), 4);
    pair_free(&p);

    p = connected(plain_options());
    p.ours.ops->close(&p.ours);
    assert_int_equal(SSL_read(p.client, &byte, 1), 0);
    assert_int_equal(SSL_get_error(p.client, 0), SSL_ERROR_ZERO_RETURN);
    pair_free(&p);

    p = connected(plain_options());
    SSL_write(p.client, "last", 4);
    assert_int_equal(SSL_shutdown(p.client), 0);
    assert_int_equal(our_read(&p), 4);
    assert_int_equal(recv(p.ours.fd, &byte, 1, MSG_PEEK), 0); /* an event, although it is open */
    assert_int_equal(our_read(&p), E_EOF);
    pair_free(&p);
}

/* Without close_notify, in the middle of a record, and with a record that is not right. */
static void an_end_out_of_order(void **state)
{
    (void)state;
    struct pair p = connected(plain_options());
    SSL_write(p.client, "x", 1);
    client_gone(&p);
    assert_int_equal(our_read(&p), 1);
    assert_true(our_read(&p) < E_AGAIN);
    pair_free(&p);

    p = connected(plain_options());
    char nothing;
    (void)SSL_read(p.client, &nothing, 1);
    assert_int_equal(write(p.client_fd, "\x17\x03\x03\x01\x00half", 9), 9);
    assert_int_equal(our_read(&p), E_AGAIN);
    client_gone(&p);
    assert_int_equal(our_read(&p), E_EOF);
    assert_int_equal(our_read(&p), E_EOF);
    assert_int_equal(our_write(&p, "x", 1), E_IO);
    pair_free(&p);

    p = connected(plain_options());
    assert_int_equal(write(p.client_fd,
                           "\x17\x03\x03\x00\x20"
                           "no record of this connection 123",
                           37),
                     37);
    assert_int_equal(our_read(&p), E_IO);
    assert_true(has(explained(&p), "bad record mac"));
    pair_free(&p);
}

/* ---- memory ---- */

static size_t in_use; /* by OpenSSL */

static void *count_alloc(size_t n, const char *file, int line)
{
    (void)file, (void)line;
    size_t *p = mem_alloc(n + 16);
    if (p == NULL) return NULL;
    in_use += *p = n;
    return p + 2;
}

static void count_free(void *at, const char *file, int line)
{
    (void)file, (void)line;
    if (at == NULL) return;
    size_t *p = (size_t *)at - 2;
    in_use -= *p;
    mem_free(p);
}

static void *count_realloc(void *at, size_t n, const char *file, int line)
{
    void *to = count_alloc(n, file, line);
    if (to && at) memcpy(to, at, min_u64(n, ((size_t *)at)[-2]));
    if (to) count_free(at, file, line);
    return to;
}

static size_t idle_bytes(int version)
{
    struct pair p = pair_new(strict_options());
    show_certificate(&p, "client.crt", "client.key");
    SSL_set_max_proto_version(p.client, version);
    assert_int_equal(shake(&p, NULL), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(SSL_write(p.client, "hello", 5), 5);
        assert_int_equal(our_read(&p), 5);
        assert_int_equal(our_write(&p, "world", 5), 5);
    }
    client_gone(&p);
    size_t with = in_use;
    p.ours.ops->close(&p.ours); /* its context goes too, and is not counted: */
    size_t without = in_use;
    pair_free(&p);
    return with - without;
}

static void an_idle_client_is_small(void **state)
{
    (void)state;
    struct tls_context *c = context_of(strict_options());
    size_t before = in_use;
    struct tls_context *again = context_of(strict_options());
    size_t of_context = in_use - before;
    tls_context_free(&again);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        size_t bytes = idle_bytes(version) - of_context;
        print_message("an idle client: %zu bytes\n", bytes);
        assert_true(bytes < IDLE_MAX);
    }
    tls_context_free(&c);
}

/* ---- contexts ---- */

static void expect_wrong(struct tls_options o, const char *option, const char *text)
{
    struct tls_context *c = NULL;
    struct tls_error error = {0};
    assert_int_equal(tls_context_new(&c, &o, &error), E_INVALID);
    assert_null(c);
    assert_string_equal(error.option, option);
    if (!has(error.text, text)) fail();
}

static void what_is_wrong_with_files_is_said(void **state)
{
    (void)state;
    static const char *const names[] = {"certfile", "keyfile", "cafile", "crlfile", "dhparamfile"};
    write_file("empty", "");
    write_file("nonsense", "this is no PEM\n");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct tls_options o = strict_options();
        const char **slots[] = {&o.certfile, &o.keyfile, &o.cafile, &o.crlfile, &o.dhparamfile};
        *slots[i] = path_of("missing");
        expect_wrong(o, names[i], "No such file or directory");
        *slots[i] = path_of("empty");
        expect_wrong(o, names[i], "is empty");
        *slots[i] = folder;
        expect_wrong(o, names[i], "Is a directory");
        *slots[i] = path_of("nonsense");
        expect_wrong(o, names[i], "nonsense'");
    }
    struct tls_options o = strict_options();
    o.capath = path_of("missing");
    expect_wrong(o, "capath", "No such file or directory");
}

static void keys_that_do_not_fit(void **state)
{
    (void)state;
    struct tls_options o = plain_options();
    o.keyfile = path_of("client.key");
    expect_wrong(o, "keyfile", "is not the key of certfile");
    run("openssl genrsa -out %s 2048 2>/dev/null", path_of("rsa.key"));
    o.keyfile = path_of("rsa.key");
    expect_wrong(o, "keyfile", "is not the key of certfile");
    run("openssl pkey -in %s -aes256 -passout pass:secret -out %s", path_of("server.key"),
        path_of("locked.key"));
    o.keyfile = path_of("locked.key");
    expect_wrong(o, "keyfile", "needs a pass phrase");
}

static void values_that_are_wrong(void **state)
{
    (void)state;
    struct tls_options o = plain_options();
    o.require_certificate = true;
    expect_wrong(o, "require_certificate", "needs 'cafile' or 'capath'");
    o = plain_options();
    o.ciphers = "NO-SUCH-CIPHER";
    expect_wrong(o, "ciphers", "NO-SUCH-CIPHER");
    o = plain_options();
    o.ciphers13 = "TLS_NO_SUCH";
    expect_wrong(o, "ciphers_tls1.3", "TLS_NO_SUCH");
}

static void memory_that_is_missing(void **state)
{
    (void)state;
    struct tls_options o = strict_options();
    struct tls_error error = {0};
    int rc = E_NOMEM;
    for (long n = 0; rc == E_NOMEM; n += 1 + n / 30) { /* most of them are OpenSSL's */
        struct tls_context *c = NULL;
        mem_fail_after(n);
        rc = tls_context_new(&c, &o, &error);
        bool fired = mem_fail_after(-1);
        assert_true(rc == 0 || fired);
        tls_context_free(&c);
        if (fired)
            rc = E_NOMEM; /* also where OpenSSL could do without, or called it something else */
    }
    assert_int_equal(rc, 0);
}

/* The example of RFC 6455 section 1.3. */
static void the_digest_of_a_websockets_key(void **state)
{
    (void)state;
    char out[TLS_SHA1_MAX];
    struct bytes in = bytes_str("dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    assert_int_equal(tls_sha1_base64(in, out), 0);
    assert_string_equal(out, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_and_a_server_meet),
        cmocka_unit_test(the_digest_of_a_websockets_key),
        cmocka_unit_test(a_handshake_in_single_bytes),
        cmocka_unit_test(a_handshake_waits_until_it_can_write),
        cmocka_unit_test(a_read_waits_until_it_can_write),
        cmocka_unit_test(a_write_waits_until_it_can_read),
        cmocka_unit_test(new_keys_on_the_way),
        cmocka_unit_test(garbage_is_refused_with_a_reason),
        cmocka_unit_test(a_client_that_leaves_in_the_handshake),
        cmocka_unit_test(old_versions_are_refused),
        cmocka_unit_test(ciphers_are_those_that_are_configured),
        cmocka_unit_test(alpn_takes_mqtt_and_ignores_the_rest),
        cmocka_unit_test(certificates_say_who_comes),
        cmocka_unit_test(wrong_certificates_are_refused),
        cmocka_unit_test(a_folder_of_authorities),
        cmocka_unit_test(writes_of_one_byte),
        cmocka_unit_test(a_large_message_goes_out_in_parts),
        cmocka_unit_test(a_read_leaves_nothing_inside),
        cmocka_unit_test(what_comes_with_the_handshake_stays_in_the_socket),
        cmocka_unit_test(an_end_in_order),
        cmocka_unit_test(an_end_out_of_order),
        cmocka_unit_test(an_idle_client_is_small),
        cmocka_unit_test(what_is_wrong_with_files_is_said),
        cmocka_unit_test(keys_that_do_not_fit),
        cmocka_unit_test(values_that_are_wrong),
        cmocka_unit_test(memory_that_is_missing),
    };
    if (CRYPTO_set_mem_functions(count_alloc, count_realloc, count_free) != 1) return 1;
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
