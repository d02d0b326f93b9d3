/* From an accepted socket to the first byte of MQTT: the header of a proxy, the transport's
 * handshake, and what conn_http.c does.  All of it lies under the deadline of the CONNECT.  The
 * shard's thread. */
#include "conn.h"

#include "base/mem.h"
#include "net/address.h"
#include "net/proxy.h"
#include "tls/tls.h"
#include <stdio.h>

_Static_assert(READ_SIZE >= (int)PROXY_V2_MAX, "a header fits");

/* What comes first when the transport stands. */
static uint8_t connected(const struct conf_listener *conf)
{
    return conf->websockets ? CONN_ASKS : CONN_SPEAKS;
}

void conn_accept(struct shard *s, struct listener *l, const struct conf_listener *conf, int fd,
                 const char *peer)
{
    struct transport t = {.ops = &tcp_transport, .fd = fd};
    struct conn *c = conn_new(s, l, conf, &t, peer);
    if (c == NULL) {
        t.ops->close(&t);
        shard_dismiss(s, l);
        return;
    }
    bool announced = conf->proxy_version != 0; /* else whose address it is, is known */
    if (!announced &&
        (!guard_admit(c) || (conf->tls && tls_open(&c->transport, conf->tls, fd) < 0))) {
        conn_free(c, E_FULL);
        return;
    }
    c->begins = announced ? CONN_ANNOUNCED : conf->tls ? CONN_GREETS : connected(conf);
    guard_pending_begin(c);
    if (!c->dead) conn_want(c);
}

/* ---- a proxy's header ---- */

static void refuse_header(struct conn *c, const char *why)
{
    c->shard->stats.proxy_refused++;
    log_printf(c->shard->set->log, LOG_T_NOTICE, "refused %s: %s.", c->peer, why);
    conn_free(c, E_INVALID);
}

/* Whether what the proxy says of the client's TLS is what the listener wants. */
static bool header_suffices(struct conn *c, const struct proxy_header *h)
{
    const char *why = NULL;
    if (c->conf->proxy_needs_tls && !h->tls)
        why = "the client did not come to the proxy by TLS";
    else if (c->conf->require_certificate && c->conf->tls == NULL && !h->certificate)
        why = "the client has shown the proxy no certificate";
    if (why == NULL) return true;
    if (h->local)
        conn_free(c, E_EOF); /* the proxy looks whether we are there: no news */
    else
        refuse_header(c, why);
    return false;
}

static int take_header(struct conn *c, const struct proxy_header *h)
{
    char text[ADDRESS_TEXT_MAX];
    if (h->known) {
        address_text(&h->from, text);
        char *peer = mem_strndup(text, strlen(text));
        if (peer == NULL) return E_NOMEM;
        mem_free(c->peer);
        c->peer = peer;
        if (!guard_admit(c)) return E_FULL;
    }
    if (c->conf->tls) return tls_open(&c->transport, c->conf->tls, c->transport.fd);
    if (!c->conf->core.certificate_is_user || h->common_name.n == 0) return 0;
    c->proved_user = mem_strndup(h->common_name.p, h->common_name.n);
    return c->proved_user ? 0 : E_NOMEM;
}

static void end_header(struct conn *c, const struct proxy_header *h)
{
    int rc = take_header(c, h);
    if (rc < 0) {
        conn_free(c, rc);
        return;
    }
    if (!header_suffices(c, h)) return;
    c->begins = c->conf->tls ? CONN_GREETS : connected(c->conf);
    conn_want(c);
}

/* The header is looked at where the kernel has it and then taken to the byte: what follows is for
 * others to read. */
static void conn_announce(struct conn *c)
{
    char why[120];
    uint8_t *in = c->shard->input;
    uint32_t kept = buf_len(&c->rest);
    size_t most = c->conf->proxy_version == 1 ? PROXY_V1_MAX : PROXY_V2_MAX;
    if (kept) memcpy(in, buf_view(&c->rest).p, kept);
    int64_t n = tcp_peek(c->transport.fd, in + kept, most - kept);
    if (n == E_AGAIN) return;
    if (n < 0) {
        conn_free(c, (int)n);
        return;
    }
    struct proxy_header h;
    struct bytes all = bytes_of(in, kept + (size_t)n);
    int rc = proxy_read(all, c->conf->proxy_version, &h);
    if (rc == E_INVALID) {
        snprintf(why, sizeof why, "no PROXY header of version %u: %s", c->conf->proxy_version,
                 h.wrong);
        refuse_header(c, why);
        return;
    }
    size_t taken = (rc == 0 ? h.size : all.n) - kept;
    if (c->transport.ops->read(&c->transport, in + kept, taken) != (int64_t)taken) {
        conn_free(c, E_IO);
    } else if (rc == E_AGAIN) {
        if (buf_append(&c->rest, bytes_of(in + kept, taken)) < 0) conn_free(c, E_NOMEM);
    } else {
        buf_fini(&c->rest);
        end_header(c, &h);
    }
}

/* ---- the transport's handshake ---- */

static void conn_greet(struct conn *c)
{
    char why[200];
    if (++c->shard->greetings > GREET_BATCH) return; /* the loop tells again, after the others */
    int rc = c->transport.ops->handshake(&c->transport);
    if (rc == 0) c->begins = connected(c->conf);
    if (rc == 0 || rc == E_AGAIN) {
        conn_want(c);
    } else if (rc == E_EOF) {
        conn_free(c, rc);
    } else { /* it may have been told why: let it read that */
        c->transport.ops->explain(&c->transport, why, sizeof why);
        c->shard->stats.handshakes_failed++;
        log_printf(c->shard->set->log, LOG_T_NOTICE, "refused %s: the TLS handshake failed: %s.",
                   c->peer, why);
        conn_linger(c);
    }
}

void conn_begin_ready(struct conn *c)
{
    static void (*const step[])(struct conn * c) = {[CONN_ANNOUNCED] = conn_announce,
                                                    [CONN_GREETS] = conn_greet,
                                                    [CONN_ASKS] = conn_asks,
                                                    [CONN_ANSWERS] = conn_answers};
    step[c->begins](c);
}
