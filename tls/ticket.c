/* Keys of session tickets.  A ticket is all that there is of a session: whoever has its key can
 * read what was said under it, so keys do not live for long.  The newest key makes tickets, the one
 * before still reads them, older ones are gone.  Shared by a context and its transports, and any
 * thread may ask; the main thread rotates. */
#include "tls_int.h"

#include "base/mem.h"
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

enum { NAME_SIZE = 16, KEY_SIZE = 32 }; /* of OpenSSL's callback; of AES-256 and of HMAC-SHA-256 */

struct ticket_key {
    uint8_t name[NAME_SIZE], cipher[KEY_SIZE], mac[KEY_SIZE];
};

struct tls_tickets {
    atomic_uint users;
    pthread_mutex_t lock;      /* of the keys; held for a copy of one */
    struct ticket_key keys[2]; /* newest first; at first the second is nobody's */
};

static int tickets_new(struct tls_tickets **out)
{
    struct tls_tickets *t = mem_calloc(1, sizeof *t);
    if (t == NULL) return E_NOMEM;
    if (RAND_priv_bytes((uint8_t *)t->keys, sizeof t->keys) != 1) {
        mem_free(t);
        return E_NOMEM;
    }
    atomic_init(&t->users, 1);
    pthread_mutex_init(&t->lock, NULL); /* cannot fail on Linux */
    *out = t;
    return 0;
}

struct tls_tickets *tls_tickets_ref(struct tls_tickets *t)
{
    if (t) atomic_fetch_add_explicit(&t->users, 1, memory_order_relaxed);
    return t;
}

void tls_tickets_unref(struct tls_tickets *t)
{
    /* acq_rel: every use is before the last one frees it */
    if (t == NULL || atomic_fetch_sub_explicit(&t->users, 1, memory_order_acq_rel) != 1) return;
    OPENSSL_cleanse(t->keys, sizeof t->keys);
    pthread_mutex_destroy(&t->lock);
    mem_free(t);
}

void tls_context_rotate(struct tls_context *c)
{
    struct ticket_key new;
    if (RAND_priv_bytes((uint8_t *)&new, sizeof new) != 1) return; /* the next time, then */
    pthread_mutex_lock(&c->tickets->lock);
    c->tickets->keys[1] = c->tickets->keys[0];
    c->tickets->keys[0] = new;
    pthread_mutex_unlock(&c->tickets->lock);
    OPENSSL_cleanse(&new, sizeof new);
}

/* The key of that name (NULL: the newest); its age in rotations, or -1. */
static int key_find(struct tls_tickets *t, const uint8_t *name, struct ticket_key *out)
{
    int age = -1;
    pthread_mutex_lock(&t->lock);
    for (int i = 0; i < 2 && age < 0; i++)
        if (name == NULL || memcmp(t->keys[i].name, name, NAME_SIZE) == 0) age = i;
    if (age >= 0) *out = t->keys[age];
    pthread_mutex_unlock(&t->lock);
    return age;
}

/* OpenSSL's: 0 it has no key, 1 it has, 2 likewise and wants a new ticket; -1 fatal. */
static int prepare(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                   EVP_MAC_CTX *mac, int makes)
{
    const struct tls *s = SSL_get_app_data(ssl);
    struct ticket_key key;
    char digest[] = "SHA256";
    int age = key_find(s->tickets, makes ? NULL : name, &key);
    if (age < 0) return 0;
    OSSL_PARAM about[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key.mac, sizeof key.mac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0), OSSL_PARAM_END};
    int rc = 1;
    if (makes) {
        put_mem(name, bytes_of(key.name, NAME_SIZE));
        rc = RAND_bytes(iv, EVP_MAX_IV_LENGTH);
    }
    rc = rc == 1 && EVP_MAC_CTX_set_params(mac, about) == 1 &&
         EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.cipher, iv, makes) == 1;
    OPENSSL_cleanse(&key, sizeof key);
    if (rc == 0) return -1;
    /* Clients of TLS 1.3 use each ticket once [RFC 8446, C.4]. */
    return age || (!makes && SSL_version(ssl) >= TLS1_3_VERSION) ? 2 : 1;
}

int tls_take_tickets(struct tls_context *c)
{
    int rc = tickets_new(&c->tickets);
    if (rc == 0 && SSL_CTX_set_tlsext_ticket_key_evp_cb(c->ssl, prepare) != 1) rc = E_NOMEM;
    return rc;
}
