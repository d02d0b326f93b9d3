/* Opens and closes the listening sockets.  Main thread. */
#include "listener.h"

#include "base/mem.h"
#include "net/address.h"
#include <errno.h>
#include <unistd.h>

static void log_failed(struct log *log, const struct conf_listener *l, int error)
{
    const char *advice = "";
    if (error == EADDRINUSE) advice = " Is another broker running (mosquitto, sluice)?";
    if (error == EACCES) advice = " Ports below 1024 need root or CAP_NET_BIND_SERVICE.";
    if (l->port)
        log_printf(log, LOG_T_ERROR, "Error: cannot listen on port %u%s%s: %s.%s", l->port,
                   l->address ? " of " : "", l->address ? l->address : "", strerror(error), advice);
    else
        log_printf(log, LOG_T_ERROR, "Error: cannot listen on %s: %s.", l->address,
                   strerror(error));
}

/* One address on every shard.  The first is opened without company to see whether the port is free.
 */
static int open_address(struct listener *l, const struct address *a, unsigned at, unsigned shards)
{
    const struct conf_listener *c = l->conf;
    bool local = a->sa.ss_family == AF_UNIX;
    unsigned sockets = local || c->http_api ? 1 : shards;
    int rc = local ? 0 : address_probe(a, c->bind_interface);
    for (unsigned s = 0; rc == 0 && s < sockets; s++)
        rc = address_listen(a, c->bind_interface, !local, &l->fds[s * LISTENER_SOCKETS + at]);
    return rc;
}

/* A machine without IPv6 is no reason not to listen on IPv4. */
static bool may_skip(const struct address *a, unsigned opened, unsigned left)
{
    bool missing = errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL;
    return missing && a->sa.ss_family == AF_INET6 && (opened > 0 || left > 0);
}

/* Both loopback addresses, whatever "localhost" resolves to. */
static int resolve_loopback(const struct conf_listener *c, struct address *out, unsigned *count)
{
    static const char *const both[] = {"127.0.0.1", "::1"};
    struct address found[ADDRESS_RESOLVED_MAX];
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        unsigned n = 0;
        if (address_resolve(both[i], c->port, c->socket_domain, found, &n) == 0 && n)
            out[(*count)++] = found[0];
    }
    return *count ? 0 : E_NOTFOUND;
}

static int resolve(const struct conf_listener *c, struct address *out, unsigned *count)
{
    if (c->http_api && strcmp(c->address, "localhost") == 0) return resolve_loopback(c, out, count);
    return address_resolve(c->address, c->port, c->socket_domain, out, count);
}

static int open_one(struct listener *l, unsigned shards, struct log *log)
{
    const struct conf_listener *c = l->conf;
    struct address addresses[LISTENER_SOCKETS];
    unsigned count = 0, opened = 0;
    if (c->port == 0) {
        count = 1;
        if (address_unix(c->address, &addresses[0]) < 0) {
            log_failed(log, c, ENAMETOOLONG);
            return E_IO;
        }
    } else if (resolve(c, addresses, &count) < 0) {
        log_printf(log, LOG_T_ERROR, "Error: listener %u: no address is known for '%s'.", c->port,
                   c->address ? c->address : "any");
        return E_IO;
    }
    for (unsigned i = 0; i < count; i++) {
        if (open_address(l, &addresses[i], i, shards) == 0) {
            opened++;
            const char *kind = c->websockets                           ? "websockets"
                               : addresses[i].sa.ss_family == AF_INET6 ? "ipv6"
                                                                       : "ipv4";
            if (c->port)
                log_printf(log, LOG_T_INFO, "Opening %s listen socket on port %u.", kind, c->port);
            else
                log_printf(log, LOG_T_INFO, "Opening unix listen socket on path %s.", c->address);
        } else if (!may_skip(&addresses[i], opened, count - i - 1)) {
            log_failed(log, c, errno);
            return E_IO;
        }
    }
    return 0;
}

/* The implicit pair of loopback addresses: one of them is enough. */
static bool implicit_may_fail(const struct conf *conf, size_t i)
{
    return conf->listeners[i].implicit && conf->listener_count > 1 && i > 0 &&
           (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL);
}

int listeners_open(struct listeners *ls, const struct conf *conf, unsigned shards, struct log *log)
{
    *ls = (struct listeners){.count = conf->listener_count, .shards = shards};
    ls->items = mem_calloc(ls->count, sizeof *ls->items);
    if (ls->items == NULL) return E_NOMEM;
    size_t sockets = (size_t)shards * LISTENER_SOCKETS;
    int rc = 0;
    for (size_t i = 0; i < ls->count && rc == 0; i++) {
        struct listener *l = &ls->items[i];
        l->conf = &conf->listeners[i];
        l->fds = mem_alloc(sockets * sizeof *l->fds);
        if (l->fds == NULL) rc = E_NOMEM;
        for (size_t s = 0; rc == 0 && s < sockets; s++) l->fds[s] = -1;
        if (rc == 0) rc = open_one(l, shards, log);
        if (rc == E_IO && implicit_may_fail(conf, i)) rc = 0;
    }
    if (rc < 0) listeners_close(ls);
    return rc;
}

void listeners_close(struct listeners *ls)
{
    for (size_t i = 0; ls->items && i < ls->count; i++) {
        struct listener *l = &ls->items[i];
        bool opened = false;
        for (size_t s = 0; l->fds && s < (size_t)ls->shards * LISTENER_SOCKETS; s++) {
            if (l->fds[s] < 0) continue;
            close(l->fds[s]);
            opened = true;
        }
        if (opened && l->conf->port == 0) unlink(l->conf->address);
        mem_free(l->fds);
    }
    mem_free(ls->items);
    *ls = (struct listeners){0};
}
