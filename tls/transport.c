/* The TLS transport: OpenSSL over a socket that never blocks.  Which event lets it go on is told by
 * the transport's flags.  OpenSSL reads ahead of a record, up to one more; but no whole record is
 * left inside: a read goes on until there is none, and when its buffer has room for only what
 * OpenSSL may have, no more is taken from the socket.  So the socket's events tell all there is.
 * Any thread that owns the transport. */
#include "tls_int.h"

#include "base/mem.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/socket.h>

_Static_assert((int)TRANSPORT_READ_MIN >= SSL3_RT_MAX_PACKET_SIZE + SSL3_ALIGN_PAYLOAD,
               "what OpenSSL may have read fits");

enum { USER_MAX = 65535 }; /* bytes of a user name in MQTT */

/* What kept OpenSSL, as our error; *crossed: whether it waits for the event of the other
 * direction. */
static int tls_kept(struct tls *s, int result, int usual, bool *crossed)
{
    int error = errno, why = SSL_get_error(s->ssl, result);
    if (s->renegotiates) return s->failed = E_PROTOCOL;
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) {
        *crossed = why != usual;
        return E_AGAIN;
    }
    if (why == SSL_ERROR_ZERO_RETURN) return E_EOF; /* the peer's close_notify */
    s->error = error;
    s->cause = ERR_peek_error();
    bool cut =
        why == SSL_ERROR_SSL && ERR_GET_REASON(s->cause) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
    s->failed = cut ? E_EOF : E_IO;
    ERR_clear_error();
    return s->failed;
}

static int64_t tls_read(struct transport *t, void *to, size_t size)
{
    struct tls *s = t->state;
    size_t got = 0;
    ASSERT(size >= TRANSPORT_READ_MIN);
    t->read_needs_write = false;
    if (s->failed) return s->ended ? tcp_transport.read(t, to, size) : s->failed;
    for (;;) {
        size_t n;
        s->enough = got && size - got < TRANSPORT_READ_MIN;
        ERR_clear_error();
        int rc = SSL_read_ex(s->ssl, (uint8_t *)to + got, size - got, &n);
        if (rc == 1) {
            got += n;
            continue;
        }
        rc = tls_kept(s, rc, SSL_ERROR_WANT_READ, &t->read_needs_write);
        if (got == 0) return rc;
        if (rc != E_AGAIN) shutdown(t->fd, SHUT_RD); /* the loop comes back for the bad news */
        break;
    }
    return (int64_t)got;
}

/* Each record is a write of its own; what is more than one goes out together. */
static void cork(const struct transport *t, int on)
{
    (void)setsockopt(t->fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on); /* a failure costs speed only */
}

static int64_t write_records(struct transport *t, const struct iovec *parts, int count)
{
    struct tls *s = t->state;
    size_t sent = 0;
    for (int i = 0; i < count; i++) {
        const uint8_t *p = parts[i].iov_base;
        for (size_t at = 0, n; at < parts[i].iov_len; at += n, sent += n) {
            ERR_clear_error();
            int rc = SSL_write_ex(s->ssl, p + at, parts[i].iov_len - at, &n);
            if (rc == 1) continue;
            rc = tls_kept(s, rc, SSL_ERROR_WANT_WRITE, &t->write_needs_read);
            if (sent) return (int64_t)sent;
            return rc == E_AGAIN ? E_AGAIN : E_IO;
        }
    }
    return (int64_t)sent;
}

static int64_t tls_writev(struct transport *t, const struct iovec *parts, int count)
{
    struct tls *s = t->state;
    size_t size = 0;
    t->write_needs_read = false;
    if (s->failed) return E_IO;
    for (int i = 0; i < count; i++) size += parts[i].iov_len;
    bool several = size > SSL3_RT_MAX_PLAIN_LENGTH;
    if (several) cork(t, 1);
    int64_t n = write_records(t, parts, count);
    if (several) cork(t, 0);
    return n;
}

/* ---- the peer's name ---- */

/* NULL without memory, and for what is no user name: empty, too long, with a NUL in it. */
static char *user_copy(const unsigned char *p, long n)
{
    bool good = n > 0 && n <= USER_MAX && bytes_is_utf8(bytes_of(p, (size_t)n));
    return good ? mem_strndup(p, (size_t)n) : NULL;
}

static char *common_name(const X509_NAME *subject)
{
    unsigned char *text = NULL;
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at < 0) return NULL;
    const X509_NAME_ENTRY *entry = X509_NAME_get_entry(subject, at);
    int n = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(entry));
    char *user = n < 0 ? NULL : user_copy(text, n);
    OPENSSL_free(text);
    return user;
}

/* As mosquitto writes it: "CN=x,O=y". */
static char *subject_text(const X509_NAME *subject)
{
    char *user = NULL, *text;
    BIO *memory = BIO_new(BIO_s_mem());
    if (memory && X509_NAME_print_ex(memory, subject, 0, XN_FLAG_RFC2253) >= 0) {
        long n = BIO_get_mem_data(memory, &text);
        user = user_copy((unsigned char *)text, n);
    }
    BIO_free(memory);
    return user;
}

static void take_user(struct tls *s)
{
    const X509 *peer = SSL_get0_peer_certificate(s->ssl);
    if (peer == NULL || s->wanted_user == TLS_USER_NONE) return;
    const X509_NAME *subject = X509_get_subject_name(peer);
    s->user = s->wanted_user == TLS_USER_SUBJECT ? subject_text(subject) : common_name(subject);
    ERR_clear_error();
}

static struct bytes tls_user(const struct transport *t)
{
    const struct tls *s = t->state;
    return s->user ? bytes_str(s->user) : bytes_of(NULL, 0);
}

/* ---- beginning and end ---- */

static int tls_handshake(struct transport *t)
{
    struct tls *s = t->state;
    t->read_needs_write = false;
    if (s->failed) return s->failed;
    ERR_clear_error();
    int rc = SSL_do_handshake(s->ssl);
    if (rc != 1) return tls_kept(s, rc, SSL_ERROR_WANT_READ, &t->read_needs_write);
    SSL_set_read_ahead(s->ssl, 1); /* not before: what it had read would be told by no event */
    take_user(s);
    return 0;
}

static void tls_explain(const struct transport *t, char *out, size_t room)
{
    const struct tls *s = t->state;
    long verdict = SSL_get_verify_result(s->ssl);
    const char *text = s->cause ? ERR_reason_error_string(s->cause) : strerror(s->error);
    if (s->renegotiates) text = "a request for another TLS handshake, which is not done";
    if (verdict != X509_V_OK)
        snprintf(out, room, "%s (%s)", text ? text : "", X509_verify_cert_error_string(verdict));
    else
        snprintf(out, room, "%s", text ? text : "unknown reason");
}

/* close_notify, as far as the socket takes it. */
static void say_goodbye(struct tls *s)
{
    if (s->failed || s->ended || !SSL_is_init_finished(s->ssl)) return;
    SSL_shutdown(s->ssl);
    ERR_clear_error();
}

static void tls_end(struct transport *t)
{
    struct tls *s = t->state;
    say_goodbye(s);
    s->ended = true;
    tcp_transport.end(t);
}

static void tls_close(struct transport *t)
{
    struct tls *s = t->state;
    say_goodbye(s);
    SSL_free(s->ssl);
    tls_tickets_unref(s->tickets);
    mem_free(s->user);
    mem_free(s);
    t->state = NULL;
    tcp_transport.close(t);
}

static const struct transport_ops tls_transport = {
    .read = tls_read,
    .writev = tls_writev,
    .handshake = tls_handshake,
    .end = tls_end,
    .close = tls_close,
    .user = tls_user,
    .explain = tls_explain,
};

/* Before each use of the socket. */
static long keep_back(BIO *bio, int what, const char *to, size_t size, int argi, long argl, int rc,
                      size_t *done)
{
    const struct tls *s = (const void *)BIO_get_callback_arg(bio);
    (void)to, (void)size, (void)argi, (void)argl, (void)done;
    if (what != BIO_CB_READ || !s->enough) return rc;
    BIO_set_retry_read(bio); /* as if nothing had come */
    return -1;
}

static void tls_free(struct tls *s)
{
    SSL_free(s->ssl);
    tls_tickets_unref(s->tickets);
    mem_free(s);
    ERR_clear_error();
}

/* Neither end's yet. */
static struct tls *tls_new(const struct tls_context *context, int fd)
{
    struct tls *s = mem_calloc(1, sizeof *s);
    if (s == NULL) return NULL;
    s->wanted_user = context->user;
    s->psks = context->psks;
    s->tickets = tls_tickets_ref(context->tickets);
    s->ssl = SSL_new(context->ssl);
    if (s->ssl == NULL || SSL_set_fd(s->ssl, fd) != 1 || SSL_set_app_data(s->ssl, s) != 1) {
        tls_free(s);
        return NULL;
    }
    BIO *bio = SSL_get_rbio(s->ssl);
    BIO_set_callback_ex(bio, keep_back);
    BIO_set_callback_arg(bio, (char *)s);
    return s;
}

int tls_open(struct transport *out, const struct tls_context *context, int fd)
{
    struct tls *s = tls_new(context, fd);
    if (s == NULL) return E_NOMEM;
    SSL_set_accept_state(s->ssl);
    *out = (struct transport){.ops = &tls_transport, .fd = fd, .state = s};
    return 0;
}

/* An address stands in another place of a certificate than a name, and is not told to the server
 * (RFC 6066 section 3). */
static bool want_host(SSL *ssl, const char *host)
{
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1) return true;
    ERR_clear_error();
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

int tls_open_client(struct transport *out, const struct tls_context *context, const char *host,
                    int fd)
{
    struct tls *s = tls_new(context, fd);
    if (s == NULL) return E_NOMEM;
    if (host && !want_host(s->ssl, host)) {
        tls_free(s);
        return E_NOMEM;
    }
    SSL_set_connect_state(s->ssl);
    *out = (struct transport){.ops = &tls_transport, .fd = fd, .state = s};
    return 0;
}
