/* The TLS context of a listener, or of a client: its certificate and key, whom it believes, which
 * versions and ciphers it speaks.  Built by the main thread; never changed afterwards: a reload
 * builds a new one. */
#include "tls_int.h"

#include "base/mem.h"
#include <dirent.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

enum { CLIENT_CHAIN_MAX = 64 * 1024 }; /* bytes of the certificates that a client shows */

static int wrong(struct tls_error *e, const char *option, const char *fmt, ...) PRINTF_LIKE(3, 4);
static int wrong(struct tls_error *e, const char *option, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    e->option = option;
    vsnprintf(e->text, sizeof e->text, fmt, args);
    va_end(args);
    return E_INVALID;
}

/* Why OpenSSL would not; never NULL. */
static const char *reason(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_last_error());
    return text ? text : "OpenSSL does not say why";
}

/* Whether the file is there and may be read: the kernel says it better than OpenSSL. */
static int readable(struct tls_error *e, const char *option, const char *path)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return wrong(e, option, "%s '%s' cannot be opened: %s", option, path, strerror(errno));
    int first = getc(file);
    int rc = 0;
    if (ferror(file))
        rc = wrong(e, option, "%s '%s' cannot be read: %s", option, path, strerror(errno));
    else if (first == EOF)
        rc = wrong(e, option, "%s '%s' is empty", option, path);
    fclose(file);
    return rc;
}

/* Nobody is there to be asked: the broker may have no terminal. */
static int no_passphrase(char *to, int size, int writing, void *asked)
{
    (void)to, (void)size, (void)writing;
    *(bool *)asked = true;
    return -1;
}

static int take_certificate(SSL_CTX *ssl, const struct tls_options *o, struct tls_error *e)
{
    int rc = readable(e, "certfile", o->certfile);
    if (rc < 0) return rc;
    if (SSL_CTX_use_certificate_chain_file(ssl, o->certfile) == 1) return 0;
    return wrong(e, "certfile", "certfile '%s' holds no certificate in PEM that can be used: %s",
                 o->certfile, reason());
}

static int take_key(SSL_CTX *ssl, const struct tls_options *o, struct tls_error *e)
{
    bool asked = false;
    int rc = readable(e, "keyfile", o->keyfile);
    if (rc < 0) return rc;
    SSL_CTX_set_default_passwd_cb(ssl, no_passphrase);
    SSL_CTX_set_default_passwd_cb_userdata(ssl, &asked);
    int taken = SSL_CTX_use_PrivateKey_file(ssl, o->keyfile, SSL_FILETYPE_PEM);
    SSL_CTX_set_default_passwd_cb_userdata(ssl, NULL);
    SSL_CTX_set_default_passwd_cb(ssl, NULL);
    if (taken == 1 && SSL_CTX_check_private_key(ssl) == 1) return 0;
    if (asked)
        return wrong(e, "keyfile",
                     "keyfile '%s' needs a pass phrase, which nobody can be asked for: store the "
                     "key without, as 'openssl pkey -in OLD -out NEW' does",
                     o->keyfile);
    if (taken == 1 || ERR_GET_LIB(ERR_peek_last_error()) == ERR_LIB_X509)
        return wrong(e, "keyfile", "keyfile '%s' is not the key of certfile '%s'", o->keyfile,
                     o->certfile);
    return wrong(e, "keyfile", "keyfile '%s' holds no private key in PEM that can be used: %s",
                 o->keyfile, reason());
}

static int take_ca_file(SSL_CTX *ssl, const struct tls_options *o, struct tls_error *e)
{
    int rc = readable(e, "cafile", o->cafile);
    if (rc < 0) return rc;
    if (SSL_CTX_load_verify_file(ssl, o->cafile) != 1)
        return wrong(e, "cafile", "cafile '%s' holds no certificate in PEM that can be used: %s",
                     o->cafile, reason());
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(o->cafile);
    if (names == NULL) return E_NOMEM;
    SSL_CTX_set_client_CA_list(ssl, names); /* told to clients, which may have several to choose */
    return 0;
}

static int take_ca_path(SSL_CTX *ssl, const struct tls_options *o, struct tls_error *e)
{
    DIR *folder = opendir(o->capath);
    if (folder == NULL)
        return wrong(e, "capath", "capath '%s' cannot be opened: %s", o->capath, strerror(errno));
    closedir(folder);
    return SSL_CTX_load_verify_dir(ssl, o->capath) == 1 ? 0 : E_NOMEM;
}

static int take_revocations(SSL_CTX *ssl, const struct tls_options *o, struct tls_error *e)
{
    int rc = readable(e, "crlfile", o->crlfile);
    if (rc < 0) return rc;
    X509_STORE *store = SSL_CTX_get_cert_store(ssl);
    X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
    if (lookup == NULL) return E_NOMEM;
    if (X509_load_crl_file(lookup, o->crlfile, X509_FILETYPE_PEM) < 1)
        return wrong(e, "crlfile", "crlfile '%s' holds no revocation list in PEM: %s", o->crlfile,
                     reason());
    return X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK) == 1 ? 0 : E_NOMEM;
}

static int take_clients(SSL_CTX *ssl, const struct tls_options *o, struct tls_error *e)
{
    int rc = 0;
    if (o->cafile) rc = take_ca_file(ssl, o, e);
    if (rc == 0 && o->capath) rc = take_ca_path(ssl, o, e);
    if (rc == 0 && o->crlfile) rc = take_revocations(ssl, o, e);
    if (rc < 0) return rc;
    if (o->ignore_dates)
        X509_STORE_set_flags(SSL_CTX_get_cert_store(ssl), X509_V_FLAG_NO_CHECK_TIME);
    if (o->require_certificate && o->cafile == NULL && o->capath == NULL)
        return wrong(e, "require_certificate",
                     "'require_certificate true' needs 'cafile' or 'capath': whose certificates?");
    SSL_CTX_set_verify(ssl,
                       o->require_certificate ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT
                                              : SSL_VERIFY_NONE,
                       NULL);
    return 0;
}

static int take_dh(SSL_CTX *ssl, const struct tls_options *o, struct tls_error *e)
{
    if (o->dhparamfile == NULL) return SSL_CTX_set_dh_auto(ssl, 1) == 1 ? 0 : E_NOMEM;
    int rc = readable(e, "dhparamfile", o->dhparamfile);
    if (rc < 0) return rc;
    BIO *file = BIO_new_file(o->dhparamfile, "r");
    EVP_PKEY *parameters = file ? PEM_read_bio_Parameters(file, NULL) : NULL;
    BIO_free(file);
    if (parameters && SSL_CTX_set0_tmp_dh_pkey(ssl, parameters) == 1) return 0;
    EVP_PKEY_free(parameters);
    return wrong(e, "dhparamfile", "dhparamfile '%s' cannot be used: %s", o->dhparamfile, reason());
}

/* Those that a certificate has no part in, forward secret ones first. */
#define PSK_CIPHERS "kECDHEPSK:kDHEPSK:kPSK:!eNULL"

static int take_ciphers(SSL_CTX *ssl, const struct tls_options *o, struct tls_error *e)
{
    const char *list = o->ciphers ? o->ciphers : o->psks ? PSK_CIPHERS : NULL;
    if (list && SSL_CTX_set_cipher_list(ssl, list) != 1)
        return wrong(e, "ciphers", "'ciphers %s': %s; 'openssl ciphers' lists what there is", list,
                     reason());
    if (o->ciphers13 && SSL_CTX_set_ciphersuites(ssl, o->ciphers13) != 1)
        return wrong(e, "ciphers_tls1.3",
                     "'ciphers_tls1.3 %s': %s; 'openssl ciphers -s -tls1_3' lists what there is",
                     o->ciphers13, reason());
    return 0;
}

/* A client that offers "mqtt" is told yes; what else it may offer is not our business. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *size,
                           const unsigned char *offered, unsigned offered_size, void *unused)
{
    (void)ssl, (void)unused;
    struct rd r = rd_of(bytes_of(offered, offered_size));
    while (rd_left(&r)) {
        struct bytes name = rd_take(&r, rd_u8(&r));
        if (!rd_ok(&r) || !bytes_eq(name, bytes_str("mqtt"))) continue;
        *out = name.p;
        *size = (unsigned char)name.n;
        return SSL_TLSEXT_ERR_OK;
    }
    return SSL_TLSEXT_ERR_NOACK;
}

/* OpenSSL turns it down with a warning only, and who asks again and again costs much. */
static void note_renegotiation(const SSL *ssl, int where, int alert)
{
    struct tls *s = SSL_get_app_data(ssl);
    if (where == SSL_CB_WRITE_ALERT && (alert & 255) == SSL_AD_NO_RENEGOTIATION)
        s->renegotiates = true;
}

/* What does not depend on options.  Tickets (ticket.c) instead of a cache: nothing is kept, and the
 * keys end with the context, so that after a reload every client has to show its certificate anew.
 */
static int set_up(SSL_CTX *ssl)
{
    static const unsigned char ours[] = "sluice";
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ssl, 0); /* tls_read() relies on it */
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_max_cert_list(ssl, CLIENT_CHAIN_MAX);
    SSL_CTX_set_num_tickets(ssl, 1); /* OpenSSL makes two, for a client that comes twice at once */
    SSL_CTX_set_alpn_select_cb(ssl, choose_protocol, NULL);
    SSL_CTX_set_info_callback(ssl, note_renegotiation);
    return SSL_CTX_set_session_id_context(ssl, ours, sizeof ours - 1) == 1 ? 0 : E_NOMEM;
}

int tls_context_new(struct tls_context **out, const struct tls_options *o, struct tls_error *e)
{
    struct tls_context *c = mem_calloc(1, sizeof *c);
    if (c == NULL) return E_NOMEM;
    ERR_clear_error();
    c->user = o->user;
    c->psks = o->psks;
    c->ssl = SSL_CTX_new(TLS_server_method());
    int rc = c->ssl ? set_up(c->ssl) : E_NOMEM;
    int least = o->only_13 ? TLS1_3_VERSION : TLS1_2_VERSION;
    if (rc == 0 && SSL_CTX_set_min_proto_version(c->ssl, least) != 1) rc = E_NOMEM;
    if (rc == 0) rc = tls_take_tickets(c);
    if (rc == 0) rc = take_ciphers(c->ssl, o, e);
    if (rc == 0 && o->psks) rc = tls_take_psk(c->ssl, o, e);
    if (rc == 0 && o->certfile) rc = take_certificate(c->ssl, o, e);
    if (rc == 0 && o->certfile) rc = take_key(c->ssl, o, e);
    if (rc == 0) rc = take_clients(c->ssl, o, e);
    if (rc == 0) rc = take_dh(c->ssl, o, e);
    ERR_clear_error();
    if (rc == 0)
        *out = c;
    else
        tls_context_free(&c);
    return rc;
}

static int take_servers(SSL_CTX *ssl, const struct tls_options *o, struct tls_error *e)
{
    int rc = 0;
    if (o->cafile) rc = take_ca_file(ssl, o, e);
    if (rc == 0 && o->capath) rc = take_ca_path(ssl, o, e);
    if (rc == 0 && o->cafile == NULL && o->capath == NULL)
        rc = SSL_CTX_set_default_verify_paths(ssl) == 1 ? 0 : E_NOMEM;
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER, NULL);
    return rc;
}

/* What a client shows; it may have nothing to show. */
static int take_own(SSL_CTX *ssl, const struct tls_options *o, struct tls_error *e)
{
    if (o->certfile == NULL && o->keyfile == NULL) return 0;
    if (o->keyfile == NULL)
        return wrong(e, "keyfile", "certfile '%s' needs the keyfile that goes with it",
                     o->certfile);
    if (o->certfile == NULL)
        return wrong(e, "certfile", "keyfile '%s' needs the certfile that goes with it",
                     o->keyfile);
    int rc = take_certificate(ssl, o, e);
    return rc < 0 ? rc : take_key(ssl, o, e);
}

int tls_client_context_new(struct tls_context **out, const struct tls_options *o,
                           struct tls_error *e)
{
    static const unsigned char protocols[] = "\4mqtt";
    struct tls_context *c = mem_calloc(1, sizeof *c);
    if (c == NULL) return E_NOMEM;
    ERR_clear_error();
    c->ssl = SSL_CTX_new(TLS_client_method());
    int rc = c->ssl ? set_up(c->ssl) : E_NOMEM;
    int least = o->only_13 ? TLS1_3_VERSION : TLS1_2_VERSION;
    if (rc == 0 && SSL_CTX_set_min_proto_version(c->ssl, least) != 1) rc = E_NOMEM;
    if (rc == 0 && SSL_CTX_set_alpn_protos(c->ssl, protocols, sizeof protocols - 1)) rc = E_NOMEM;
    if (rc == 0) rc = take_ciphers(c->ssl, o, e);
    if (rc == 0) rc = take_own(c->ssl, o, e);
    if (rc == 0) rc = take_servers(c->ssl, o, e);
    ERR_clear_error();
    if (rc == 0)
        *out = c;
    else
        tls_context_free(&c);
    return rc;
}

void tls_context_free(struct tls_context **context)
{
    struct tls_context *c = *context;
    if (c == NULL) return;
    *context = NULL;
    SSL_CTX_free(c->ssl);
    tls_tickets_unref(c->tickets);
    mem_free(c);
}

int64_t tls_context_expires(const struct tls_context *c)
{
    const X509 *own = SSL_CTX_get0_certificate(c->ssl);
    struct tm end;
    if (own == NULL || ASN1_TIME_to_tm(X509_get0_notAfter(own), &end) != 1) return INT64_MAX;
    return timegm(&end);
}
