/* The PROXY protocol, versions 1 and 2: what a proxy says before the client's first byte of whom it
 * speaks for.  Pure: bytes in, a struct out.  Any thread. */
#ifndef NET_PROXY_H
#define NET_PROXY_H

#include "base/bytes.h"
#include "base/err.h"
#include "net/address.h"

enum {
    PROXY_V1_MAX = 107,  /* bytes of a header with its CR LF, as the protocol says */
    PROXY_V2_MAX = 2048, /* ours: addresses of unix sockets and some KiB of TLVs */
};

struct proxy_header {
    size_t size;         /* bytes of it: what follows is the client's */
    bool local;          /* the proxy itself connects (LOCAL): a health check */
    bool known;          /* `from` is the client's address; else the socket's own is all we know */
    struct address from; /* with `known` */
    bool tls;            /* the client came to the proxy by TLS */
    bool certificate;    /* and showed a certificate that the proxy has verified */
    struct bytes common_name; /* of that certificate; a view into the input, empty: none */
    const char *wrong;        /* E_INVALID: what is wrong; static */
};

/* Reads a header of version 1 or 2 from the beginning of `in`.  E_AGAIN: `in` is its beginning, and
 * all of it belongs to the header; E_INVALID: out->wrong says why. */
MUST_USE int proxy_read(struct bytes in, unsigned version, struct proxy_header *out);

#endif
