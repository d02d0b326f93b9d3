/* SCRAM-SHA-256 (RFC 5802, RFC 7677) by GNU SASL: what is kept of a password, and the server's side
 * of an exchange.  An exchange belongs to one thread at a time. */
#ifndef SRC_AUTH_SCRAM_H
#define SRC_AUTH_SCRAM_H

#include "base/bytes.h"
#include "base/err.h"

#define SCRAM_METHOD "SCRAM-SHA-256"

enum {
    SCRAM_KEY = 32, /* bytes: SHA-256 */
    SCRAM_SALT_MAX = 64,
    SCRAM_ITERATIONS_MIN = 4096, /* RFC 7677 section 4; also when nothing is said */
    SCRAM_MESSAGE_MAX = 4096,    /* bytes from a client; a name has 255 or so */
    SCRAM_STEPS_MAX = 3,         /* messages from a client, the first may be empty */
    SCRAM_PREPARED_MAX = 1024,   /* bytes of a password that has to be normalised */
};

/* What a password file has of a user. */
struct scram_keys {
    uint32_t iterations;
    uint8_t salt_len;
    uint8_t salt[SCRAM_SALT_MAX];
    uint8_t stored[SCRAM_KEY], server[SCRAM_KEY]; /* StoredKey, ServerKey */
};

/* The keys, from salt and iterations in k.  Slow (it is meant to be).  E_INVALID: the password is
 * not text that SASLprep (RFC 4013) allows; E_NOMEM. */
MUST_USE int scram_keys_make(struct scram_keys *k, struct bytes password);

struct passwords;
struct scram_server; /* for all exchanges; any thread */
struct scram;        /* one exchange */

MUST_USE int scram_server_new(struct scram_server **out); /* E_NOMEM */
void scram_server_free(struct scram_server **server);

/* passwords outlive it.  E_NOMEM. */
MUST_USE int scram_new(struct scram **out, const struct scram_server *server,
                       const struct passwords *passwords);
void scram_free(struct scram **x);
/* The client's next message; *reply is for the client, until the next call.  E_AGAIN: there is more
 * to come; 0: the client is scram_user(), and *reply has to reach it; E_INVALID: it is not who it
 * says, or does not speak SCRAM. */
MUST_USE int scram_step(struct scram *x, struct bytes message, struct bytes *reply);
struct bytes scram_user(const struct scram *x); /* after 0; borrowed */

#endif
