/* sluicectl pub and sub: from connect() to CONNACK, over TCP, a unix socket or TLS.  One thread. */
#include "client.h"

#include "base/clock.h"
#include "net/address.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { CONNECT_MS = 10000, ANSWER_MS = 20000 };

static struct bytes maybe(const char *text) { return text ? bytes_str(text) : bytes_of(NULL, 0); }

static int open_socket(const struct address *a, int *fd)
{
    int one = 1, error = 0;
    socklen_t size = sizeof error;
    *fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (*fd < 0) return E_IO;
    if (a->sa.ss_family != AF_UNIX) setsockopt(*fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(*fd, (const struct sockaddr *)&a->sa, a->size) == 0) return 0;
    if (errno == EINPROGRESS) {
        struct pollfd p = {.fd = *fd, .events = POLLOUT};
        error = poll(&p, 1, CONNECT_MS) == 1 ? 0 : ETIMEDOUT;
        if (error == 0 && getsockopt(*fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0) error = errno;
        if (error == 0) return 0;
        errno = error;
    }
    error = errno;
    close(*fd);
    errno = error;
    return E_IO;
}

/* All addresses of the name are tried, in the resolver's order. */
static int open_host(const char *host, uint16_t port, int *fd, const char **why)
{
    char service[8];
    struct addrinfo want = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *all;
    snprintf(service, sizeof service, "%u", port);
    int rc = getaddrinfo(host, service, &want, &all);
    if (rc) {
        *why = gai_strerror(rc);
        return E_IO;
    }
    rc = E_IO;
    for (const struct addrinfo *a = all; a && rc < 0; a = a->ai_next) {
        struct address one = {.size = a->ai_addrlen};
        memcpy(&one.sa, a->ai_addr, a->ai_addrlen);
        rc = open_socket(&one, fd);
        if (rc < 0) *why = strerror(errno);
    }
    freeaddrinfo(all);
    return rc;
}

static int open_unix(const char *path, int *fd, const char **why)
{
    struct address a;
    int rc = address_unix(path, &a);
    *why = "the path is too long";
    if (rc < 0) return rc;
    rc = open_socket(&a, fd);
    if (rc < 0) *why = strerror(errno);
    return rc;
}

static int open_transport(struct client *c, int fd)
{
    const struct client_options *o = c->options;
    struct tls_options want = {
        .cafile = o->cafile, .capath = o->capath, .certfile = o->certfile, .keyfile = o->keyfile};
    struct tls_error error = {.text = "out of memory"};
    c->transport = (struct transport){.ops = &tcp_transport, .fd = fd};
    if (o->cafile == NULL && o->capath == NULL && !o->os_certificates) return 0;
    if (tls_client_context_new(&c->tls, &want, &error) < 0)
        return ctl_fail(CTL_USAGE, "%s", error.text);
    if (tls_open_client(&c->transport, c->tls, o->insecure ? NULL : o->host, fd) < 0)
        return ctl_fail(CTL_REFUSED, "out of memory");
    return 0;
}

static int shake_hands(struct client *c)
{
    char why[256];
    uint64_t end_ms = clock_mono_ms() + ANSWER_MS;
    int rc;
    while ((rc = c->transport.ops->handshake(&c->transport)) == E_AGAIN) {
        struct pollfd p = {.fd = c->transport.fd,
                           .events = client_poll_events(&c->transport, LOOP_READ)};
        uint64_t now = clock_mono_ms();
        if (now >= end_ms)
            return ctl_fail(CTL_UNREACHABLE, "the broker does not answer the TLS handshake");
        poll(&p, 1, (int)(end_ms - now));
    }
    if (rc == 0) return 0;
    c->transport.ops->explain(&c->transport, why, sizeof why);
    return ctl_fail(CTL_UNREACHABLE, "TLS: %s",
                    rc == E_EOF ? "the broker has closed the connection" : why);
}

static int open_signals(struct client *c)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0) return E_IO;
    c->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return c->signals < 0 ? E_IO : 0;
}

/* ---- CONNECT ---- */

static int add_expiry(struct buf *props, const struct client_options *o)
{
    int64_t expiry = o->expiry_s >= 0 ? o->expiry_s : o->keep_session ? (int64_t)UINT32_MAX : -1;
    struct bytes given = buf_view(&o->props[PLACE_CONNECT]);
    struct mqtt_prop prop;
    int rc = buf_append(props, given);
    for (size_t at = 0; mqtt_props_next(given, &at, &prop);)
        if (prop.id == MQTT_P_SESSION_EXPIRY) return rc;
    if (expiry < 0 || o->version != MQTT_V5 || rc < 0) return rc;
    uint8_t *d = buf_reserve(props, 5);
    if (d == NULL) return E_NOMEM;
    mqtt_put_prop_u32(d, MQTT_P_SESSION_EXPIRY, (uint32_t)expiry);
    buf_commit(props, 5);
    return 0;
}

static int send_connect(struct client *c)
{
    const struct client_options *o = c->options;
    char id[256] = "";
    struct buf props = {0};
    if (o->id_prefix || (o->id == NULL && o->version == MQTT_V31)) /* 3.1 knows no empty id */
        snprintf(id, sizeof id, "%s%ld", o->id_prefix ? o->id_prefix : "sluicectl-",
                 (long)getpid());
    int rc = add_expiry(&props, o);
    struct mqtt_connect m = {.version = (uint8_t)o->version,
                             .clean_start = !o->keep_session,
                             .keep_alive_s = (uint16_t)o->keep_alive_s,
                             .client_id = bytes_str(o->id ? o->id : id),
                             .has_username = o->username != NULL,
                             .username = maybe(o->username),
                             .has_password = o->password != NULL,
                             .password = maybe(o->password),
                             .has_will = o->will_topic != NULL,
                             .props.raw = buf_view(&props)};
    m.will = (struct mqtt_will){.topic = maybe(o->will_topic),
                                .payload = maybe(o->will_payload),
                                .qos = (uint8_t)o->will_qos,
                                .retain = o->will_retain,
                                .props.raw = buf_view(&o->props[PLACE_WILL])};
    struct bytes texts[] = {m.client_id, m.username, m.password, m.will.topic, m.will.payload};
    for (size_t i = 0; i < ARRAY_LEN(texts) && rc == 0; i++)
        if (texts[i].n > UINT16_MAX) rc = E_TOO_LARGE;
    uint8_t *d = rc == 0 ? client_reserve(c, mqtt_connect_size(&m)) : NULL;
    if (d) client_commit(c, MQTT_CONNECT, mqtt_connect_encode(d, &m));
    buf_fini(&props);
    if (rc == E_TOO_LARGE)
        return ctl_fail(CTL_USAGE, "id, names and will have at most 65535 bytes");
    return d ? 0 : ctl_fail(CTL_REFUSED, "out of memory");
}

static const char *connack3_name(uint8_t code)
{
    static const char *const names[] = {
        "accepted",           "Unacceptable protocol version", "Identifier rejected",
        "Server unavailable", "Bad user name or password",     "Not authorised"};
    return code < ARRAY_LEN(names) ? names[code] : "Unknown return code";
}

static int take_connack(struct client *c, struct bytes body)
{
    char text[REASON_TEXT_MAX];
    struct mqtt_connack m;
    if (mqtt_connack_decode(c->version, body, &m) < 0)
        return ctl_fail(CTL_UNREACHABLE, "what answers there speaks no MQTT");
    if (m.reason) {
        if (c->version == MQTT_V5)
            client_reason(text, m.reason, &m.props);
        else
            snprintf(text, sizeof text, "%s", connack3_name(m.reason));
        return ctl_fail(CTL_REFUSED, "the broker refused the connection: %s", text);
    }
    c->connected = true;
    c->receive_max = mqtt_has(&m.props, MQTT_P_RECEIVE_MAX) ? m.props.receive_max : UINT16_MAX;
    if (mqtt_has(&m.props, MQTT_P_MAX_PACKET_SIZE)) c->max_packet = m.props.max_packet_size;
    if (mqtt_has(&m.props, MQTT_P_SERVER_KEEP_ALIVE))
        c->keep_alive_ms = m.props.server_keep_alive * 1000u;
    if (c->options->debug && mqtt_has(&m.props, MQTT_P_RESPONSE_INFO))
        fprintf(stderr, "response information %.*s\n", (int)m.props.response_info.n,
                m.props.response_info.p);
    return 0;
}

static int await_connack(struct client *c)
{
    struct client_packet packet;
    uint64_t end_ms = clock_mono_ms() + ANSWER_MS;
    enum client_event event;
    while ((event = client_wait(c, end_ms, -1, &packet)) == CLIENT_IDLE)
        if (clock_mono_ms() >= end_ms)
            return ctl_fail(CTL_UNREACHABLE, "the broker does not answer CONNECT");
    if (event == CLIENT_SIGNAL) return CTL_REFUSED;
    if (event == CLIENT_ENDED) return c->code;
    if (packet.type != MQTT_CONNACK)
        return ctl_fail(CTL_UNREACHABLE, "the broker answers CONNECT with %s",
                        mqtt_type_name(packet.type));
    return take_connack(c, packet.body);
}

int client_open(struct client *c, const struct client_options *o)
{
    bool tls = o->cafile || o->capath || o->os_certificates;
    uint16_t port = (uint16_t)(o->port ? o->port : tls ? 8883 : 1883);
    const char *why = NULL;
    int fd = -1;
    *c = (struct client){.options = o,
                         .version = o->version,
                         .signals = -1,
                         .transport = {.ops = &tcp_transport, .fd = -1},
                         .keep_alive_ms = (uint64_t)o->keep_alive_s * 1000};
    int rc =
        o->unix_path ? open_unix(o->unix_path, &fd, &why) : open_host(o->host, port, &fd, &why);
    if (rc < 0 && o->unix_path)
        return ctl_fail(CTL_UNREACHABLE, "cannot reach the broker at %s: %s", o->unix_path, why);
    if (rc < 0)
        return ctl_fail(CTL_UNREACHABLE, "cannot reach the broker at %s:%u: %s", o->host, port,
                        why);
    rc = open_transport(c, fd);
    if (rc == 0) rc = shake_hands(c);
    if (rc == 0 && open_signals(c) < 0) rc = ctl_fail(CTL_REFUSED, "%s", strerror(errno));
    if (rc == 0) rc = send_connect(c);
    return rc ? rc : await_connack(c);
}
