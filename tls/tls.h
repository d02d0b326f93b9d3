/* TLS by OpenSSL, for listeners and for clients: a context for each, and a transport over a socket
 * that speaks it.  A context may be used by several threads at a time, a transport by one. */
#ifndef TLS_TLS_H
#define TLS_TLS_H

#include "net/transport.h"

struct tls_context;
struct tls_psks; /* pre-shared keys by identity */

enum tls_user { TLS_USER_NONE, TLS_USER_COMMON_NAME, TLS_USER_SUBJECT };

struct tls_options {
    const char *certfile, *keyfile;    /* PEM; both are needed, or: */
    const char *psk_hint;              /* told to clients of TLS 1.2 */
    const struct tls_psks *psks;       /* outlives the context and its transports */
    const char *cafile, *capath;       /* whose certificates clients may have, or NULL */
    const char *crlfile, *dhparamfile; /* or NULL */
    const char *ciphers, *ciphers13;   /* as OpenSSL writes them, or NULL: its own */
    bool only_13;                      /* else TLS 1.2 too */
    bool require_certificate;          /* of clients; else it is not asked for */
    bool ignore_dates;                 /* of clients' certificates */
    enum tls_user user;                /* what transport_user() says */
};

enum { TLS_ERROR_MAX = 512 };

struct tls_error {
    const char *option; /* the name of the member that is wrong, as mosquitto calls it */
    char text[TLS_ERROR_MAX];
};

/* Reads the text of a file of keys, a line for each: identity:hexadecimal.  E_INVALID: *error says
 * what is wrong in *line.  E_NOMEM. */
MUST_USE int tls_psks_new(struct tls_psks **out, struct bytes text, unsigned *line,
                          struct tls_error *error);
void tls_psks_free(struct tls_psks **psks);
size_t tls_psks_count(const struct tls_psks *psks);

/* E_INVALID: *error says which file or value is wrong, and how.  E_NOMEM. */
MUST_USE int tls_context_new(struct tls_context **out, const struct tls_options *options,
                             struct tls_error *error);
void tls_context_free(struct tls_context **context); /* its transports live on */

/* A new key for session tickets, from time to time: those made since the last time are still
 * good, older ones mean a whole handshake.  One thread at a time, beside handshakes. */
void tls_context_rotate(struct tls_context *context);
/* Of a client.  Of the options only cafile and capath (whom it believes; neither: whom the system
 * believes), certfile and keyfile (what it shows, or NULL), ciphers, ciphers13 and only_13 are
 * looked at.  E_INVALID, E_NOMEM. */
MUST_USE int tls_client_context_new(struct tls_context **out, const struct tls_options *options,
                                    struct tls_error *error);

/* When the listener's own certificate ends, in seconds since 1970; INT64_MAX: nobody knows. */
int64_t tls_context_expires(const struct tls_context *context);

/* The server's side of TLS over fd, which it takes on success.  handshake() first.  E_NOMEM. */
MUST_USE int tls_open(struct transport *out, const struct tls_context *context, int fd);

/* The client's side, as above, to a host that has to prove this name or address; NULL: anyone whose
 * certificate is believed.  E_NOMEM. */
MUST_USE int tls_open_client(struct transport *out, const struct tls_context *context,
                             const char *host, int fd);

/* SHA-1 in base64, as the opening handshake of a WebSocket wants it: no secret hangs on it.
 * E_NOMEM. */
enum { TLS_SHA1_MAX = 29 };
MUST_USE int tls_sha1_base64(struct bytes in, char out[TLS_SHA1_MAX]);

#endif
