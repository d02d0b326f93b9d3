/* A byte stream to a peer, whatever carries it.  Non-blocking; one thread at a time. */
#ifndef NET_TRANSPORT_H
#define NET_TRANSPORT_H

#include "base/bytes.h"
#include "base/err.h"
#include <sys/uio.h>

struct transport;

struct transport_ops {
    /* Bytes moved (> 0), E_AGAIN, E_EOF (read only) or E_IO. */
    int64_t (*read)(struct transport *t, void *to, size_t size);
    int64_t (*writev)(struct transport *t, const struct iovec *parts, int count);
    int (*handshake)(struct transport *t); /* 0 done, E_AGAIN, E_IO */
    void (*end)(struct transport *t);      /* no more output: the peer sees its end */
    void (*close)(struct transport *t);    /* unread input makes it a reset: read or end() first */
};

struct transport {
    const struct transport_ops *ops;
    int fd;
};

extern const struct transport_ops tcp_transport; /* TCP and unix sockets */

#endif
