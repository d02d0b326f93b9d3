/* Addresses: listening sockets and the names of peers.  Any thread. */
#ifndef NET_ADDRESS_H
#define NET_ADDRESS_H

#include "base/base.h"
#include "base/err.h"
#include <sys/socket.h>

enum { ADDRESS_TEXT_MAX = 80, ADDRESS_RESOLVED_MAX = 8 };

struct address {
    struct sockaddr_storage sa;
    socklen_t size;
};

/* The addresses of host (NULL: any) to listen on; *count of them.  E_NOTFOUND. */
MUST_USE int address_resolve(const char *host, uint16_t port, int domain,
                             struct address out[ADDRESS_RESOLVED_MAX], unsigned *count);
MUST_USE int address_unix(const char *path, struct address *out); /* E_INVALID: too long */
/* A listening socket in *fd.  Others with `shared` may join a port; `probe` fails when anybody
 * listens there already.  E_IO: errno tells why. */
MUST_USE int address_listen(const struct address *a, const char *interface, bool shared, int *fd);
MUST_USE int address_probe(const struct address *a, const char *interface);
/* "1.2.3.4:5", "[::1]:5" or "unix". */
void address_text(const struct address *a, char text[ADDRESS_TEXT_MAX]);

/* Who it is, of such a text: an IPv4 address, or the first half of an IPv6 one, as whoever has one
 * of those has all that begin so. */
uint64_t address_net(const char *text);
#define ADDRESS_NET_NONE UINT64_MAX /* a unix socket */

#endif
