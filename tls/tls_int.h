/* What the files of tls/ share. */
#ifndef TLS_TLS_INT_H
#define TLS_TLS_INT_H

#include "tls.h"
#include <openssl/ssl.h>

struct tls_context {
    SSL_CTX *ssl; /* counted by OpenSSL: transports have their own share */
    enum tls_user user;
    const struct tls_psks *psks; /* or NULL */
    struct tls_tickets *tickets; /* a share */
};

/* A transport's state. */
struct tls {
    SSL *ssl; /* this is its app data */
    enum tls_user wanted_user;
    const struct tls_psks *psks;
    struct tls_tickets *tickets; /* a share */
    char *user;                  /* or NULL */
    int failed;                  /* E_IO, E_EOF: OpenSSL is not to be asked any more */
    bool ended;                  /* end() was called */
    bool renegotiates;           /* the peer has asked for a second handshake */
    bool enough;                 /* nothing more is to be read from the socket just now */
    int error;                   /* errno of the failure */
    unsigned long cause;         /* OpenSSL's, 0: errno says it */
};

/* psk.c: the context takes clients by options->psks. */
MUST_USE int tls_take_psk(SSL_CTX *ssl, const struct tls_options *options, struct tls_error *error);

/* ticket.c */
MUST_USE int tls_take_tickets(struct tls_context *c);       /* E_NOMEM */
struct tls_tickets *tls_tickets_ref(struct tls_tickets *t); /* t: or NULL, as a client has it */
void tls_tickets_unref(struct tls_tickets *t);              /* NULL: nothing */

#endif
