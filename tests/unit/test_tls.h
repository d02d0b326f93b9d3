/* What the tests of tls/ share: certificates made for the run, and the two ends of a connection,
 * ours and a client by OpenSSL, over a pair of sockets that never block. */
#ifndef TESTS_UNIT_TEST_TLS_H
#define TESTS_UNIT_TEST_TLS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "tls/tls.h"

enum { TURNS = 100000, ROOM = 64 * 1024 };

static char folder[] = "/tmp/sluice-tls-XXXXXX";
static uint8_t input[ROOM];

static inline const char *path_of(const char *name)
{
    static char paths[64][128]; /* for as long as a test */
    static unsigned next;
    char *path = paths[next++ % 64];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* Runs a shell's command; fails with its text. */
static inline void run(const char *fmt, ...) PRINTF_LIKE(1, 2);
static inline void run(const char *fmt, ...)
{
    char command[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(command, sizeof command, fmt, args);
    va_end(args);
    FILE *shell = popen(command, "r");
    assert_non_null(shell);
    int rc = pclose(shell);
    if (rc != 0) fail_msg("%s: %d", command, rc);
}

static inline void make(const char *arguments, const char *in)
{
    static char self[4096]; /* the build reaches this file by a link */
    assert_non_null(realpath(__FILE__, self));
    char *end = strstr(self, "tests/unit/");
    assert_non_null(end);
    *end = 0;
    run("sh %scerts/make.sh %s/%s %s", self, folder, in, arguments);
}

static inline void write_file(const char *name, const char *text)
{
    FILE *file = fopen(path_of(name), "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* ca, server, client "client" and "gone"; "other" is another authority's folder. */
static inline int make_all(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    if (mkdtemp(folder) == NULL) return -1;
    make("", "");
    make("client gone", "");
    make("revoke gone", "");
    make("", "other");
    return 0;
}

static inline int remove_all(void **state)
{
    (void)state;
    run("rm -r %s", folder);
    return 0;
}

static inline struct tls_options plain_options(void)
{
    return (struct tls_options){.certfile = path_of("server.crt"),
                                .keyfile = path_of("server.key")};
}

static inline struct tls_options strict_options(void)
{
    struct tls_options o = plain_options();
    o.cafile = path_of("ca.crt");
    o.require_certificate = true;
    return o;
}

static inline struct tls_context *context_of(struct tls_options o)
{
    struct tls_context *c = NULL;
    struct tls_error error = {0};
    if (tls_context_new(&c, &o, &error) < 0) fail_msg("%s", error.text);
    return c;
}

struct pair {
    struct transport ours;
    SSL_CTX *client_context;
    SSL *client;
    int client_fd;
};

static inline struct pair pair_of(const struct tls_context *c)
{
    int fds[2], small = 4096;
    struct pair p = {0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    for (int i = 0; i < 2; i++) setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    assert_int_equal(tls_open(&p.ours, c, fds[0]), 0);
    p.client_context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_mode(p.client_context,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_load_verify_file(p.client_context, path_of("ca.crt"));
    SSL_CTX_set_verify(p.client_context, SSL_VERIFY_PEER, NULL);
    p.client = SSL_new(p.client_context);
    p.client_fd = fds[1];
    SSL_set_fd(p.client, p.client_fd);
    SSL_set_connect_state(p.client);
    return p;
}

static inline struct pair pair_new(struct tls_options o)
{
    struct tls_context *c = context_of(o);
    struct pair p = pair_of(c);
    tls_context_free(&c); /* the transport has its share */
    return p;
}

static inline void show_certificate(struct pair *p, const char *crt, const char *key)
{
    assert_int_equal(SSL_use_certificate_file(p->client, path_of(crt), SSL_FILETYPE_PEM), 1);
    assert_int_equal(SSL_use_PrivateKey_file(p->client, path_of(key), SSL_FILETYPE_PEM), 1);
}

static inline void client_gone(struct pair *p)
{
    SSL_free(p->client);
    p->client = NULL;
    if (p->client_fd >= 0) close(p->client_fd);
    p->client_fd = -1;
}

static inline void pair_free(struct pair *p)
{
    client_gone(p);
    SSL_CTX_free(p->client_context);
    if (p->ours.state) p->ours.ops->close(&p->ours);
}

/* Both ends by turns until ours has an answer; the client's is in *client, if asked for. */
static inline int shake(struct pair *p, int *client)
{
    int rc = E_AGAIN, theirs = 0;
    for (int i = 0; i < TURNS && (rc == E_AGAIN || (rc == 0 && theirs != 1)); i++) {
        ERR_clear_error();
        if (p->client) theirs = SSL_do_handshake(p->client);
        if (rc == E_AGAIN) rc = p->ours.ops->handshake(&p->ours);
    }
    if (client) *client = theirs;
    return rc;
}

static inline struct pair connected(struct tls_options o)
{
    struct pair p = pair_new(o);
    assert_int_equal(shake(&p, NULL), 0);
    return p;
}

static inline int64_t our_read(struct pair *p) { return p->ours.ops->read(&p->ours, input, ROOM); }

static inline int64_t our_write(struct pair *p, const void *data, size_t n)
{
    struct iovec part = {(void *)(uintptr_t)data, n};
    return p->ours.ops->writev(&p->ours, &part, 1);
}

/* What our side says went wrong. */
static inline const char *explained(const struct pair *p)
{
    static char text[256];
    p->ours.ops->explain(&p->ours, text, sizeof text);
    return text;
}

#endif
