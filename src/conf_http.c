/* What is special about a listener of `protocol http_api`: it is on this machine alone unless an
 * address is given, and nobody administers a broker from afar without a password.  Main thread. */
#include <arpa/inet.h>

#include "admin.h"
#include "base/mem.h"
#include "conf_int.h"

static bool is_loopback(const struct conf_listener *l)
{
    struct in6_addr six;
    struct in_addr four;
    if (l->port == 0) return true; /* a unix socket */
    if (strcmp(l->address, "localhost") == 0) return true;
    if (inet_pton(AF_INET, l->address, &four) == 1) return ntohl(four.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, l->address, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
}

static int copy(char **slot, const char *value) { return value ? conf_text_set(slot, value) : 0; }

/* The server that serves it reads the files again, by their names. */
static int copy_tls(const struct conf_tls *t, struct conf_https *out)
{
    int rc = copy(&out->certfile, t->text[CONF_TLS_CERT]);
    if (rc == 0) rc = copy(&out->keyfile, t->text[CONF_TLS_KEY]);
    if (rc == 0) rc = copy(&out->ciphers, t->text[CONF_TLS_CIPHERS]);
    if (rc == 0) rc = copy(&out->ciphers13, t->text[CONF_TLS_CIPHERS_13]);
    out->only_13 = t->only_13;
    return rc;
}

/* Directives that this listener would only seem to obey. */
static const char *not_here(const struct conf_draft *d)
{
    const struct conf_tls *t = &d->tls;
    if (t->require_certificate) return "require_certificate";
    if (t->identity_is_user) return "use_identity_as_username";
    if (t->subject_is_user) return "use_subject_as_username";
    if (t->text[CONF_TLS_CRL]) return "crlfile";
    if (t->text[CONF_TLS_PSK_HINT]) return "psk_hint";
    if (d->listener.proxy_version) return "enable_proxy_protocol";
    if (d->listener.max_connect_rate) return "max_connect_rate";
    return NULL;
}

int conf_http_finish(struct conf_reader *r, const struct conf_draft *d, struct conf_listener *l)
{
    if (!l->http_api) return 0;
    int rc = l->address ? 0 : conf_text_set(&l->address, "localhost");
    if (rc == 0) rc = copy_tls(&d->tls, &l->https);
    if (rc < 0) return rc;
    r->file = l->file ? l->file : r->args->file;
    r->line = l->line;
    if (!admin_is_built())
        return conf_fail(r, E_INVALID,
                         "'protocol http_api': this broker was built without it (SLUICE_WEB)");
    const char *directive = not_here(d);
    if (directive)
        return conf_fail(r, E_INVALID, "'%s' is not for a listener with 'protocol http_api'",
                         directive);
    if (l->core.allow_anonymous && !is_loopback(l))
        return conf_fail(r, E_INVALID,
                         "'protocol http_api' on %s would let everybody administer the broker: use "
                         "127.0.0.1, or 'listener_allow_anonymous false' and a 'password_file'",
                         l->address);
    r->file = r->args->file;
    r->line = 0;
    return 0;
}

void conf_https_fini(struct conf_https *h)
{
    mem_free(h->certfile);
    mem_free(h->keyfile);
    mem_free(h->ciphers);
    mem_free(h->ciphers13);
    *h = (struct conf_https){0};
}
