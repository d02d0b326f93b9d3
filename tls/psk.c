/* Pre-shared keys: the file of them, and what OpenSSL asks during a handshake.  The keys are never
 * changed once read, and are wiped when they go. */
#include "tls_int.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/ptrmap.h"
#include <openssl/crypto.h>
#include <stdio.h>

enum {
    KEY_MAX = 512,                       /* bytes that OpenSSL has room for */
    IDENTITY_MAX = PSK_MAX_IDENTITY_LEN, /* likewise */
    HASH_SEED = 0,                       /* the identities are the administrator's */
};

struct psk {
    struct psk *next;
    size_t identity_len, key_len;
    uint8_t bytes[]; /* identity, key */
};

struct tls_psks {
    struct ptrmap map; /* by identity */
    struct psk *all;
};

static struct bytes identity_of(const struct psk *k) { return bytes_of(k->bytes, k->identity_len); }

static uint64_t psk_hash(const void *elem, uint64_t seed)
{
    return hash_bytes(identity_of(elem), seed);
}

static const struct psk *psk_find(const struct tls_psks *p, struct bytes identity)
{
    uint64_t hash = hash_bytes(identity, HASH_SEED);
    const struct psk *k;
    for (size_t pos = hash; (k = ptrmap_next(&p->map, hash, &pos)) != NULL;)
        if (bytes_eq(identity_of(k), identity)) return k;
    return NULL;
}

void tls_psks_free(struct tls_psks **psks)
{
    struct tls_psks *p = *psks;
    if (p == NULL) return;
    *psks = NULL;
    for (struct psk *next, *k = p->all; k; k = next) {
        next = k->next;
        OPENSSL_cleanse(k->bytes, k->identity_len + k->key_len);
        mem_free(k);
    }
    ptrmap_fini(&p->map);
    mem_free(p);
}

/* ---- reading ---- */

static int hex(uint8_t c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool key_read(struct bytes text, uint8_t *d)
{
    for (size_t i = 0; i < text.n; i += 2) {
        int high = hex(text.p[i]), low = hex(text.p[i + 1]);
        if (high < 0 || low < 0) return false;
        *d++ = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* identity:hex */
static const char *take_line(struct tls_psks *p, struct bytes line, int *rc)
{
    const uint8_t *colon = memchr(line.p, ':', line.n);
    if (colon == NULL) return "the line is not <identity>:<key in hexadecimal>";
    struct bytes identity = bytes_of(line.p, (size_t)(colon - line.p));
    struct bytes text = bytes_skip(line, identity.n + 1);
    if (identity.n == 0 || identity.n > IDENTITY_MAX || !bytes_is_utf8(identity))
        return "the identity has to be text in UTF-8, of 1 to 256 bytes";
    if (text.n == 0 || text.n % 2 || text.n / 2 > KEY_MAX)
        return "the key has to be hexadecimal: two digits for each of 1 to 512 bytes";
    if (psk_find(p, identity)) return "the identity was there before";
    struct psk *k = mem_alloc(sizeof *k + identity.n + text.n / 2);
    if (k == NULL) return *rc = E_NOMEM, NULL;
    *k = (struct psk){.next = p->all, .identity_len = identity.n, .key_len = text.n / 2};
    bool good = key_read(text, put_mem(k->bytes, identity));
    if (!good || ptrmap_put(&p->map, k, psk_hash(k, HASH_SEED)) < 0) {
        mem_free(k);
        *rc = good ? E_NOMEM : 0;
        return good ? NULL : "the key has to be hexadecimal: two digits for each of its bytes";
    }
    p->all = k;
    return NULL;
}

static bool is_space(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

int tls_psks_new(struct tls_psks **out, struct bytes text, unsigned *line, struct tls_error *error)
{
    struct tls_psks *p = mem_calloc(1, sizeof *p);
    if (p == NULL) return E_NOMEM;
    ptrmap_init(&p->map, psk_hash, HASH_SEED);
    *line = 0;
    while (text.n) {
        const uint8_t *end = memchr(text.p, '\n', text.n);
        struct bytes one = bytes_of(text.p, end ? (size_t)(end - text.p) : text.n);
        text = bytes_skip(text, min_u64(one.n + 1, text.n));
        ++*line;
        while (one.n && is_space(one.p[one.n - 1])) one.n--;
        if (one.n == 0 || one.p[0] == '#') continue;
        int rc = 0;
        const char *why = take_line(p, one, &rc);
        if (why == NULL && rc == 0) continue;
        tls_psks_free(&p);
        if (rc < 0) return rc;
        error->option = "psk_file";
        snprintf(error->text, sizeof error->text, "%s", why);
        return E_INVALID;
    }
    *out = p;
    return 0;
}

size_t tls_psks_count(const struct tls_psks *p) { return p->map.count; }

/* ---- asking ---- */

/* TLS 1.2 and 1.3 alike.  0: nobody of that name.  What is noted of who it is counts only when the
 * handshake succeeds, by the key. */
static unsigned server_key(SSL *ssl, const char *identity, unsigned char *key, unsigned room)
{
    struct tls *s = SSL_get_app_data(ssl);
    const struct psk *k = psk_find(s->psks, bytes_str(identity));
    if (k == NULL || k->key_len > room) return 0;
    mem_free(s->user);
    s->user = NULL;
    if (s->wanted_user != TLS_USER_NONE) {
        s->user = mem_strndup(k->bytes, k->identity_len);
        if (s->user == NULL) return 0;
    }
    put_mem(key, bytes_of(k->bytes + k->identity_len, k->key_len));
    return (unsigned)k->key_len;
}

int tls_take_psk(SSL_CTX *ssl, const struct tls_options *o, struct tls_error *e)
{
    /* A resumed session would not say whose it is. */
    SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(ssl, 0);
    SSL_CTX_set_psk_server_callback(ssl, server_key);
    if (SSL_CTX_use_psk_identity_hint(ssl, o->psk_hint) == 1) return 0;
    e->option = "psk_hint";
    snprintf(e->text, sizeof e->text, "'psk_hint' is longer than %d bytes", PSK_MAX_IDENTITY_LEN);
    return E_INVALID;
}
