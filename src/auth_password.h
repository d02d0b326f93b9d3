/* Passwords: mosquitto's password file, read whole into a table that does not change, and the four
 * hashes it may hold.  Any thread may ask a table; making one is the main thread's.
 *
 *   user:$6$salt$hash                                  SHA-512, once
 *   user:$7$iterations$salt$hash                       PBKDF2 with HMAC-SHA512
 *   user:$argon2id$v=19$m=47104,t=1,p=1$salt$hash      Argon2id
 *   user:SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey   RFC 5803; not mosquitto's
 *
 * A line that cannot be understood is an error: a broken file lets nobody in, rather than fewer or
 * more than were meant. */
#ifndef SRC_AUTH_PASSWORD_H
#define SRC_AUTH_PASSWORD_H

#include "auth_scram.h"
#include "base/bytes.h"
#include "base/err.h"

enum {
    PASSWORD_FILE_MAX = 64 << 20,          /* bytes */
    PASSWORD_LINE_MAX = 4096,              /* bytes: a user name and a hash */
    PASSWORD_MAX = 65535,                  /* bytes, as in CONNECT */
    PASSWORD_ITERATIONS = 1000,            /* of PBKDF2, when nothing is said */
    PASSWORD_ITERATIONS_MAX = 1000 * 1000, /* a stop waits for the hash that is being made */
    PASSWORD_WHY = 160,                    /* room for an explanation */
};

enum password_kind { PASSWORD_SHA512, PASSWORD_PBKDF2, PASSWORD_ARGON2ID, PASSWORD_SCRAM };

struct passwords;

/* E_IO: the file cannot be read; E_INVALID: what is in it; E_NOMEM.  `why` says it for people,
 * *line is where (0: the file as a whole). */
MUST_USE int passwords_load(struct passwords **out, const char *path, unsigned *line,
                            char why[static PASSWORD_WHY]);
void passwords_free(struct passwords **passwords);
size_t passwords_count(const struct passwords *p); /* users */
/* Other users of the machine can read the file. */
bool passwords_exposed(const struct passwords *p);

/* Whether this is the user's password.  Takes as long for a user that is not there, and compares in
 * constant time.  Slow (it is meant to be): not on a shard. */
bool passwords_match(const struct passwords *p, struct bytes user, struct bytes password);

size_t passwords_scram_count(const struct passwords *p); /* users with keys for SCRAM */
/* The user's keys for SCRAM, whether it is there or not: who is not, or has none, gets keys that no
 * password fits, and each time the same salt, so that nobody can tell.  At least one user has keys.
 */
void passwords_scram(const struct passwords *p, struct bytes user, struct scram_keys *out);

/* The part of a line behind "user:", with a new salt; mem_free() it.  iterations: of PBKDF2 and
 * SCRAM.  E_NOMEM, E_IO: no randomness, E_INVALID: no password for SCRAM, see scram_keys_make(). */
MUST_USE int password_hash(char **out, enum password_kind kind, uint32_t iterations,
                           struct bytes password);
/* Whether text, the part of a line behind "user:", is a hash that we know.  If not, `why` says what
 * is wrong. */
bool password_hash_ok(struct bytes text, char why[static PASSWORD_WHY]);
/* What is wrong with a user name for the file, or NULL. */
const char *password_user_wrong(struct bytes user);
/* For memory that held a password. */
void password_wipe(void *p, size_t n);

#endif
