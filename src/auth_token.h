/* JSON Web Tokens (RFC 7519) as passwords: the keys that they are signed with, read once into a
 * table that does not change, and the check of one token.  Any thread may check; reading keys is
 * the main thread's. */
#ifndef SRC_AUTH_TOKEN_H
#define SRC_AUTH_TOKEN_H

#include "base/bytes.h"
#include "base/err.h"

enum {
    TOKEN_MAX = 16384,          /* bytes of a token */
    TOKEN_KEYS_MAX = 64,        /* so many signatures may be computed for one token */
    TOKEN_KEYS_BYTES = 1 << 20, /* of the file */
    TOKEN_RSA_BITS_MIN = 2048,  /* RFC 7518 section 3.3 */
    TOKEN_USER_MAX = 65535,     /* bytes, as in CONNECT */
    TOKEN_WHY = 200,            /* room for an explanation */
};

/* A key fits one algorithm only, whatever the token says: else a public key could be passed off as
 * a shared secret.  "none" is the algorithm of no key. */
struct token_key {
    char *id;              /* "kid"; NULL: it has none */
    const char *algorithm; /* as in a token's header: RS256 ... ES256 ... HS256 ... */
    uint8_t *data;         /* a public key as PEM with a 0 behind it, or the secret */
    size_t size;
};

struct token_keys {
    size_t count;
    bool exposed; /* other users of the machine can read secrets in the file */
    struct token_key all[TOKEN_KEYS_MAX];
};

/* auth_token_keys.c.  The file is a JWK Set or one JWK (RFC 7517), or public keys and certificates
 * in PEM.  E_IO: it cannot be read, E_INVALID: what is in it, E_NOMEM; `why` says it for people. */
MUST_USE int token_keys_load(struct token_keys **out, const char *path, char why[static TOKEN_WHY]);
void token_keys_free(struct token_keys **keys);

/* What a token has to say. */
struct token_rules {
    const struct token_keys *keys;
    const char *issuer, *audience; /* "iss", "aud"; NULL: whatever */
    const char *user_claim;        /* that names the user */
    bool expiry_required;          /* "exp" */
    uint32_t skew_s;               /* that our clock and the issuer's may differ by */
};

/* Whether a password has the form of a token, and is to be checked as one. */
bool token_is(struct bytes password);
/* Whether a token is right at now_ms, since 1970.  Then *user, who it is, is the caller's
 * (mem_free), and *ends_ms is when it ends; 0: never.  E_INVALID, and *why is a constant that says
 * what is wrong; E_NOMEM. */
MUST_USE int token_check(const struct token_rules *rules, struct bytes token, uint64_t now_ms,
                         char **user, uint64_t *ends_ms, const char **why);

#endif
