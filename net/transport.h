/* A byte stream to a peer, whatever carries it.  Non-blocking; one thread at a time. */
#ifndef NET_TRANSPORT_H
#define NET_TRANSPORT_H

#include "base/bytes.h"
#include "base/err.h"
#include "net/loop.h"
#include <sys/uio.h>

/* Room that each read has at least.  A transport then keeps no bytes that no event tells of. */
enum { TRANSPORT_READ_MIN = 18 * 1024 };

struct transport;

struct transport_ops {
    /* Bytes moved (> 0), E_AGAIN, E_EOF (read only), E_IO, or E_PROTOCOL (read only: the peer broke
     * the transport's rules; it is to be ended, and read on for a while).  After end() what is read
     * is to be thrown away.  What was not written is given again: the next write begins with it,
     * and is not shorter. */
    int64_t (*read)(struct transport *t, void *to, size_t size);
    int64_t (*writev)(struct transport *t, const struct iovec *parts, int count);
    /* Before all reading and writing: 0 done, E_AGAIN (as a read's), E_EOF, E_IO. */
    int (*handshake)(struct transport *t);
    void (*end)(struct transport *t);   /* no more output: the peer sees its end */
    void (*close)(struct transport *t); /* unread input makes it a reset: read or end() first */
    /* After the handshake: the user name that the peer has proved to have; empty: none.  Lives as
     * long as the transport. */
    struct bytes (*user)(const struct transport *t);
    void (*explain)(const struct transport *t, char *out,
                    size_t room); /* the last E_IO or E_PROTOCOL */
};

struct transport {
    const struct transport_ops *ops;
    int fd;
    void *state; /* of what carries it */
    /* Reading, or writing, goes on with the event of the other direction. */
    bool read_needs_write, write_needs_read;
};

/* What the loop is to wait for, when LOOP_READ and LOOP_WRITE are `wanted`. */
static inline unsigned transport_watch(const struct transport *t, unsigned wanted)
{
    unsigned read = t->read_needs_write ? LOOP_WRITE : LOOP_READ;
    unsigned write = t->write_needs_read ? LOOP_READ : LOOP_WRITE;
    return (wanted & LOOP_READ ? read : 0) | (wanted & LOOP_WRITE ? write : 0);
}

/* What of `wanted` may go on, now that the loop has told of `events`. */
static inline unsigned transport_ready(const struct transport *t, unsigned wanted, unsigned events)
{
    unsigned may = wanted & events;
    if (t->read_needs_write && events & LOOP_WRITE) may |= wanted & LOOP_READ;
    if (t->write_needs_read && events & LOOP_READ) may |= wanted & LOOP_WRITE;
    return may;
}

extern const struct transport_ops tcp_transport; /* TCP and unix sockets */
/* What a read would give, which stays there; results as those of read. */
int64_t tcp_peek(int fd, void *to, size_t size);

#endif
