/* Binding, listening and the text of peers' addresses.  Owns nothing; any thread. */
#include "net/address.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { LISTEN_BACKLOG = 4096 };

int address_resolve(const char *host, uint16_t port, int domain,
                    struct address out[ADDRESS_RESOLVED_MAX], unsigned *count)
{
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    struct addrinfo hints = {.ai_family = domain, .ai_socktype = SOCK_STREAM}, *list;
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
    if (getaddrinfo(host, service, &hints, &list) != 0) return E_NOTFOUND;
    *count = 0;
    for (struct addrinfo *a = list; a && *count < ADDRESS_RESOLVED_MAX; a = a->ai_next) {
        memcpy(&out[*count].sa, a->ai_addr, a->ai_addrlen);
        out[(*count)++].size = a->ai_addrlen;
    }
    freeaddrinfo(list);
    return *count ? 0 : E_NOTFOUND;
}

int address_unix(const char *path, struct address *out)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof un.sun_path) return E_INVALID;
    memcpy(un.sun_path, path, strlen(path));
    memcpy(&out->sa, &un, sizeof un);
    out->size = sizeof un;
    return 0;
}

/* A socket file that nobody listens on any more is in the way of bind(). */
static void unix_clear(const struct address *a)
{
    const struct sockaddr_un *un = (const void *)&a->sa;
    struct stat st;
    if (stat(un->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode)) return;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return;
    if (connect(fd, (const void *)&a->sa, a->size) < 0 && errno == ECONNREFUSED)
        unlink(un->sun_path);
    close(fd);
}

static int address_bind(const struct address *a, const char *interface, bool shared, int *out)
{
    int one = 1;
    int fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return E_IO;
    bool ok = true;
    if (a->sa.ss_family != AF_UNIX)
        ok = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0;
    if (ok && shared) ok = setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) == 0;
    if (ok && a->sa.ss_family == AF_INET6)
        ok = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) == 0;
    if (ok && interface)
        ok = setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, interface, (socklen_t)strlen(interface)) ==
             0;
    if (ok && bind(fd, (const void *)&a->sa, a->size) == 0) {
        *out = fd;
        return 0;
    }
    int saved = errno;
    close(fd);
    errno = saved;
    return E_IO;
}

int address_probe(const struct address *a, const char *interface)
{
    /* SO_REUSEPORT would let a second broker of the same user in: look without it first. */
    int fd, rc = address_bind(a, interface, false, &fd);
    if (rc == 0) close(fd);
    return rc;
}

int address_listen(const struct address *a, const char *interface, bool shared, int *out)
{
    if (a->sa.ss_family == AF_UNIX) unix_clear(a);
    int fd, rc = address_bind(a, interface, shared, &fd);
    if (rc < 0) return rc;
    if (listen(fd, LISTEN_BACKLOG) == 0) {
        *out = fd;
        return 0;
    }
    int saved = errno;
    close(fd);
    errno = saved;
    return E_IO;
}

void address_text(const struct address *a, char text[ADDRESS_TEXT_MAX])
{
    char host[INET6_ADDRSTRLEN] = "";
    snprintf(text, ADDRESS_TEXT_MAX, "unix");
    if (a->sa.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)&a->sa;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        snprintf(text, ADDRESS_TEXT_MAX, "%s:%u", host, ntohs(in->sin_port));
    } else if (a->sa.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const void *)&a->sa;
        inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof host);
        snprintf(text, ADDRESS_TEXT_MAX, "[%s]:%u", host, ntohs(in->sin6_port));
    }
}

/* IPv4 addresses lie in ::ffff:0:0/64 of IPv6, where nobody else is. */
uint64_t address_net(const char *text)
{
    char host[INET6_ADDRSTRLEN];
    uint8_t raw[16];
    bool v6 = *text == '[';
    size_t n = strcspn(text + v6, v6 ? "]" : ":");
    if (n >= sizeof host) return ADDRESS_NET_NONE;
    memcpy(host, text + v6, n);
    host[n] = 0;
    if (inet_pton(v6 ? AF_INET6 : AF_INET, host, raw) != 1) return ADDRESS_NET_NONE;
    static const uint8_t mapped[12] = {[10] = 0xff, 0xff};
    const uint8_t *v4 = !v6 ? raw : memcmp(raw, mapped, sizeof mapped) == 0 ? raw + 12 : NULL;
    uint64_t net = v4 ? 0xffff : 0;
    for (size_t i = 0; i < (v4 ? 4 : 8); i++) net = net << 8 | (v4 ? v4[i] : raw[i]);
    return net;
}
