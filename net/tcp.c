/* The plain transport: TCP and unix stream sockets.  Any thread that owns the transport. */
#include "net/transport.h"
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static int64_t tcp_result(ssize_t n)
{
    if (n > 0) return n;
    if (n == 0) return E_EOF;
    return errno == EAGAIN || errno == EINTR ? E_AGAIN : E_IO;
}

static int64_t tcp_read(struct transport *t, void *to, size_t size)
{
    return tcp_result(recv(t->fd, to, size, 0));
}

int64_t tcp_peek(int fd, void *to, size_t size) { return tcp_result(recv(fd, to, size, MSG_PEEK)); }

static int64_t tcp_writev(struct transport *t, const struct iovec *parts, int count)
{
    if (count == 1)
        return tcp_result(send(t->fd, parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL));
    struct msghdr m = {.msg_iov = (struct iovec *)parts, .msg_iovlen = (size_t)count};
    return tcp_result(sendmsg(t->fd, &m, MSG_NOSIGNAL));
}

static int tcp_handshake(struct transport *t) { return t->fd >= 0 ? 0 : E_IO; }

static void tcp_end(struct transport *t) { shutdown(t->fd, SHUT_WR); }

static void tcp_close(struct transport *t)
{
    close(t->fd);
    t->fd = -1;
}

static struct bytes tcp_user(const struct transport *t)
{
    (void)t;
    return bytes_of(NULL, 0);
}

static void tcp_explain(const struct transport *t, char *out, size_t room)
{
    (void)t;
    snprintf(out, room, "%s", strerror(errno));
}

const struct transport_ops tcp_transport = {
    .read = tcp_read,
    .writev = tcp_writev,
    .handshake = tcp_handshake,
    .end = tcp_end,
    .close = tcp_close,
    .user = tcp_user,
    .explain = tcp_explain,
};
