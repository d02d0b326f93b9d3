/* SCRAM-SHA-256; see auth_scram.h.  GNU SASL's mechanisms are seen here alone.  It compares the
 * client's key with memcmp(), but what it compares are hashes that a client cannot know before it
 * knows StoredKey. */
#include "auth_scram.h"

#include "auth_password.h"
#include "base/mem.h"
#include <gsasl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>

struct scram_server {
    Gsasl *sasl; /* read only, once its callback is set */
};

struct scram {
    Gsasl_session *session;
    const struct passwords *passwords;
    char *reply; /* GNU SASL's */
    unsigned steps;
};

/* ---- keys ---- */

static bool is_plain(struct bytes b)
{
    for (size_t i = 0; i < b.n; i++)
        if (b.p[i] < 0x20 || b.p[i] > 0x7e) return false;
    return true;
}

/* What SASLprep makes of a text, gsasl_free() it; NULL: it is none, or empty. */
static char *prepared(struct bytes b)
{
    char *out = NULL;
    if (b.n == 0 || b.n > SCRAM_PREPARED_MAX || memchr(b.p, 0, b.n)) return NULL;
    char *text = mem_strndup(b.p, b.n);
    if (text == NULL) return NULL;
    bool good = gsasl_saslprep(text, 0, &out, NULL) == GSASL_OK && *out;
    password_wipe(text, b.n);
    mem_free(text);
    if (good) return out;
    gsasl_free(out);
    return NULL;
}

static bool hmac(const uint8_t *key, const char *text, uint8_t *out)
{
    unsigned n = 0;
    return HMAC(EVP_sha256(), key, SCRAM_KEY, (const uint8_t *)text, strlen(text), out, &n) != NULL;
}

static int keys_of(struct scram_keys *k, struct bytes password)
{
    uint8_t salted[SCRAM_KEY], client[SCRAM_KEY];
    bool good = PKCS5_PBKDF2_HMAC((const char *)password.p, (int)password.n, k->salt, k->salt_len,
                                  (int)k->iterations, EVP_sha256(), SCRAM_KEY, salted) &&
                hmac(salted, "Client Key", client) && hmac(salted, "Server Key", k->server) &&
                EVP_Digest(client, SCRAM_KEY, k->stored, NULL, EVP_sha256(), NULL);
    password_wipe(salted, sizeof salted);
    password_wipe(client, sizeof client);
    return good ? 0 : E_NOMEM;
}

int scram_keys_make(struct scram_keys *k, struct bytes password)
{
    if (is_plain(password)) return keys_of(k, password); /* SASLprep leaves it as it is */
    char *text = prepared(password);
    if (text == NULL) return E_INVALID;
    size_t n = strlen(text);
    int rc = keys_of(k, bytes_of(text, n));
    password_wipe(text, n);
    gsasl_free(text);
    return rc;
}

/* ---- exchanges ---- */

static bool set_base64(Gsasl_session *session, Gsasl_property what, const uint8_t *p, size_t n)
{
    char text[4 * (SCRAM_SALT_MAX + 2) / 3 + 1];
    EVP_EncodeBlock((uint8_t *)text, p, (int)n);
    return gsasl_property_set(session, what, text) == GSASL_OK;
}

/* GNU SASL knows the name now and asks for the rest, iterations first. */
static int give_keys(Gsasl *sasl, Gsasl_session *session, Gsasl_property what)
{
    const struct scram *x = gsasl_session_hook_get(session);
    const char *user = gsasl_property_fast(session, GSASL_AUTHID);
    (void)sasl;
    if (what != GSASL_SCRAM_ITER || user == NULL) return GSASL_NO_CALLBACK;
    struct scram_keys k;
    char iterations[16];
    passwords_scram(x->passwords, bytes_str(user), &k);
    snprintf(iterations, sizeof iterations, "%u", k.iterations);
    bool good = gsasl_property_set(session, GSASL_SCRAM_ITER, iterations) == GSASL_OK &&
                set_base64(session, GSASL_SCRAM_SALT, k.salt, k.salt_len) &&
                set_base64(session, GSASL_SCRAM_STOREDKEY, k.stored, SCRAM_KEY) &&
                set_base64(session, GSASL_SCRAM_SERVERKEY, k.server, SCRAM_KEY);
    password_wipe(&k, sizeof k);
    return good ? GSASL_OK : GSASL_MALLOC_ERROR;
}

int scram_server_new(struct scram_server **out)
{
    struct scram_server *server = mem_calloc(1, sizeof *server);
    if (server == NULL) return E_NOMEM;
    if (gsasl_init(&server->sasl) != GSASL_OK) {
        mem_free(server);
        return E_NOMEM;
    }
    gsasl_callback_set(server->sasl, give_keys);
    *out = server;
    return 0;
}

void scram_server_free(struct scram_server **server)
{
    struct scram_server *s = *server;
    if (s == NULL) return;
    *server = NULL;
    gsasl_done(s->sasl);
    mem_free(s);
}

int scram_new(struct scram **out, const struct scram_server *server,
              const struct passwords *passwords)
{
    struct scram *x = mem_calloc(1, sizeof *x);
    if (x == NULL) return E_NOMEM;
    if (gsasl_server_start(server->sasl, SCRAM_METHOD, &x->session) != GSASL_OK) {
        mem_free(x);
        return E_NOMEM;
    }
    x->passwords = passwords;
    gsasl_session_hook_set(x->session, x);
    *out = x;
    return 0;
}

void scram_free(struct scram **scram)
{
    struct scram *x = *scram;
    if (x == NULL) return;
    *scram = NULL;
    gsasl_free(x->reply);
    gsasl_finish(x->session);
    mem_free(x);
}

/* ',' and '=' in a name are "=2C" and "=3D" (RFC 5802 section 5.1). */
static bool escapes_are_right(struct bytes name)
{
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] != '=') continue;
        struct bytes rest = bytes_skip(name, i);
        if (!bytes_starts(rest, "=2C") && !bytes_starts(rest, "=3D")) return false;
    }
    return true;
}

/* "n,AUTHZID,n=NAME,r=...", with y for n where a client could bind to the TLS channel if we could.
 * GNU SASL looks at all this again; but it would lose memory over a name that SASLprep leaves
 * nothing of, it takes a '=' that escapes nothing, and names are to be what SASLprep makes of them.
 */
static bool first_is_fit(struct bytes m)
{
    if (m.n < 3 || (m.p[0] != 'n' && m.p[0] != 'y') || m.p[1] != ',') return false;
    m = bytes_skip(m, 2);
    const uint8_t *comma = memchr(m.p, ',', m.n);
    if (comma == NULL) return false;
    m = bytes_skip(m, (size_t)(comma - m.p) + 1);
    if (!bytes_starts(m, "n=")) return false;
    m = bytes_skip(m, 2);
    comma = m.n ? memchr(m.p, ',', m.n) : NULL;
    if (comma == NULL) return false;
    struct bytes name = bytes_of(m.p, (size_t)(comma - m.p));
    if (!escapes_are_right(name)) return false;
    if (is_plain(name)) return name.n > 0;
    char *text = prepared(name);
    bool fit = text && bytes_eq(bytes_str(text), name);
    gsasl_free(text);
    return fit;
}

/* To act for another is not offered. */
static bool acts_for_itself(const struct scram *x)
{
    const char *other = gsasl_property_fast(x->session, GSASL_AUTHZID);
    return other == NULL || *other == 0 || bytes_eq(bytes_str(other), scram_user(x));
}

int scram_step(struct scram *x, struct bytes message, struct bytes *reply)
{
    size_t n = 0;
    bool first = gsasl_property_fast(x->session, GSASL_AUTHID) == NULL;
    gsasl_free(x->reply);
    x->reply = NULL;
    *reply = (struct bytes){0};
    if (++x->steps > SCRAM_STEPS_MAX || message.n > SCRAM_MESSAGE_MAX) return E_INVALID;
    if (message.n == 0) return first && x->steps == 1 ? E_AGAIN : E_INVALID;
    if (memchr(message.p, 0, message.n)) return E_INVALID; /* GNU SASL works with C strings */
    if (first && !first_is_fit(message)) return E_INVALID;
    int rc = gsasl_step(x->session, (const char *)message.p, message.n, &x->reply, &n);
    if (rc != GSASL_OK && rc != GSASL_NEEDS_MORE) return E_INVALID;
    if (rc == GSASL_OK && !acts_for_itself(x)) return E_INVALID;
    *reply = bytes_of(x->reply, n);
    return rc == GSASL_OK ? 0 : E_AGAIN;
}

struct bytes scram_user(const struct scram *x)
{
    return bytes_str(gsasl_property_fast(x->session, GSASL_AUTHID));
}
