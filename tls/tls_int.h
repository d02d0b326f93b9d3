/* What context.c and transport.c share. */
#ifndef TLS_TLS_INT_H
#define TLS_TLS_INT_H

#include "tls.h"
#include <openssl/ssl.h>

struct tls_context {
    SSL_CTX *ssl; /* counted by OpenSSL: transports have their own share */
    enum tls_user user;
};

#endif
