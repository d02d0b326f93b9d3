/* Reads the headers of the PROXY protocol.  Version 1 is a line of text, version 2 is binary and
 * may carry what the proxy knows of the client's TLS in type-length-value fields. */
#include "net/proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

static int wrong(struct proxy_header *out, const char *text)
{
    out->wrong = text;
    return E_INVALID;
}

/* ---- version 1: "PROXY TCP4 1.2.3.4 5.6.7.8 1000 1883\r\n" ---- */

enum { WORDS_MAX = 6 };

/* Words with one space between them; returns how many, 0: not so. */
static unsigned split(struct bytes line, struct bytes words[WORDS_MAX])
{
    for (unsigned count = 0; count < WORDS_MAX;) {
        const uint8_t *space = line.n ? memchr(line.p, ' ', line.n) : NULL;
        size_t n = space ? (size_t)(space - line.p) : line.n;
        if (n == 0) return 0;
        words[count++] = bytes_of(line.p, n);
        if (space == NULL) return count;
        line = bytes_skip(line, n + 1);
    }
    return 0;
}

/* A decimal without signs or leading zeros, as the protocol wants it. */
static bool read_port(struct bytes text, uint16_t *out)
{
    uint32_t value = 0;
    if (text.n == 0 || text.n > 5 || (text.p[0] == '0' && text.n > 1)) return false;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9') return false;
        value = value * 10 + (uint32_t)(text.p[i] - '0');
    }
    *out = (uint16_t)value;
    return value <= 65535;
}

static bool read_ip(struct bytes text, int family, void *out)
{
    char copy[INET6_ADDRSTRLEN];
    if (text.n >= sizeof copy) return false;
    memcpy(copy, text.p, text.n);
    copy[text.n] = 0;
    return inet_pton(family, copy, out) == 1;
}

static void set_from(struct proxy_header *out, int family, const void *ip, uint16_t port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    out->known = true;
    if (family == AF_INET) {
        memcpy(&in.sin_addr, ip, sizeof in.sin_addr);
        memcpy(&out->from.sa, &in, sizeof in);
        out->from.size = sizeof in;
    } else {
        memcpy(&in6.sin6_addr, ip, sizeof in6.sin6_addr);
        memcpy(&out->from.sa, &in6, sizeof in6);
        out->from.size = sizeof in6;
    }
}

static int read_line(struct bytes line, struct proxy_header *out)
{
    struct bytes words[WORDS_MAX];
    uint8_t ip[2][16];
    uint16_t port[2];
    if (bytes_eq(line, bytes_str("PROXY UNKNOWN")) || bytes_starts(line, "PROXY UNKNOWN "))
        return 0; /* what else it says is not to be looked at */
    if (split(line, words) != WORDS_MAX) return wrong(out, "it has not six words");
    bool six = bytes_eq(words[1], bytes_str("TCP6"));
    if (!six && !bytes_eq(words[1], bytes_str("TCP4")))
        return wrong(out, "its protocol is not TCP4, TCP6 or UNKNOWN");
    int family = six ? AF_INET6 : AF_INET;
    for (unsigned i = 0; i < 2; i++) {
        if (!read_ip(words[2 + i], family, ip[i])) return wrong(out, "an address is none");
        if (!read_port(words[4 + i], &port[i])) return wrong(out, "a port is none");
    }
    set_from(out, family, ip[0], port[0]);
    return 0;
}

static int read_v1(struct bytes in, struct proxy_header *out)
{
    static const char begin[] = "PROXY ";
    size_t known = min_u64(in.n, sizeof begin - 1);
    if (memcmp(in.p, begin, known) != 0) return wrong(out, "it does not begin with 'PROXY '");
    const uint8_t *end = memchr(in.p, '\n', min_u64(in.n, PROXY_V1_MAX));
    if (end == NULL) return in.n < PROXY_V1_MAX ? E_AGAIN : wrong(out, "it is too long");
    size_t n = (size_t)(end - in.p);
    if (n == 0 || end[-1] != '\r') return wrong(out, "its line does not end with CR LF");
    out->size = n + 1;
    return read_line(bytes_of(in.p, n - 1), out);
}

/* ---- version 2 ---- */

enum {
    HEAD = 16,
    COMMAND_LOCAL = 0x20,
    COMMAND_PROXY = 0x21,
    FAMILY_UNSPEC = 0x00,
    FAMILY_TCP4 = 0x11,
    FAMILY_TCP6 = 0x21,
    FAMILY_UNIX = 0x31,
    UNIX_PATHS = 2 * 108,
    TLV_SSL = 0x20,
    TLV_SSL_CN = 0x22,
    CLIENT_SSL = 0x01,
    CLIENT_CERT_SESSION = 0x04,
    COMMON_NAME_MAX = 1024, /* 64 by X.520; some are longer */
};

static int read_ssl(struct bytes value, struct proxy_header *out)
{
    struct rd r = rd_of(value);
    uint8_t client = rd_u8(&r);
    uint32_t verify = rd_u32(&r);
    struct bytes name = {0};
    while (rd_left(&r)) {
        uint8_t type = rd_u8(&r);
        struct bytes part = rd_take(&r, rd_u16(&r));
        if (type == TLV_SSL_CN && rd_ok(&r)) name = part;
    }
    if (!rd_ok(&r)) return wrong(out, "its TLS field is not whole");
    out->tls = client & CLIENT_SSL;
    out->certificate = out->tls && client & CLIENT_CERT_SESSION && verify == 0;
    if (!out->certificate || name.n == 0) return 0;
    if (name.n > COMMON_NAME_MAX || !bytes_is_utf8(name))
        return wrong(out, "its common name is no user name");
    out->common_name = name;
    return 0;
}

static int read_fields(struct rd *r, struct proxy_header *out)
{
    int rc = 0;
    while (rc == 0 && rd_left(r)) {
        uint8_t type = rd_u8(r);
        struct bytes value = rd_take(r, rd_u16(r));
        if (!rd_ok(r)) return wrong(out, "a field in it is not whole");
        if (type == TLV_SSL) rc = read_ssl(value, out);
    }
    return rc;
}

static int read_addresses(struct rd *r, uint8_t family, struct proxy_header *out)
{
    size_t ip = family == FAMILY_TCP4 ? 4 : 16;
    if (family == FAMILY_UNSPEC) return 0;
    if (family == FAMILY_UNIX) {
        (void)rd_take(r, UNIX_PATHS); /* a path says nothing of who the client is */
        return rd_ok(r) ? 0 : wrong(out, "its addresses are not whole");
    }
    if (family != FAMILY_TCP4 && family != FAMILY_TCP6)
        return wrong(out, "its protocol is not TCP over IPv4 or IPv6, nor a unix socket");
    struct bytes from = rd_take(r, ip);
    (void)rd_take(r, ip);
    uint16_t port = rd_u16(r);
    (void)rd_u16(r);
    if (!rd_ok(r)) return wrong(out, "its addresses are not whole");
    set_from(out, ip == 4 ? AF_INET : AF_INET6, from.p, port);
    return 0;
}

static int read_v2(struct bytes in, struct proxy_header *out)
{
    static const uint8_t begin[] = {13, 10, 13, 10, 0, 13, 10, 'Q', 'U', 'I', 'T', 10};
    size_t known = min_u64(in.n, sizeof begin);
    if (memcmp(in.p, begin, known) != 0)
        return wrong(out, "its signature is not that of version 2");
    if (in.n < HEAD) return E_AGAIN;
    struct rd r = rd_of(bytes_skip(in, sizeof begin));
    uint8_t command = rd_u8(&r), family = rd_u8(&r);
    size_t size = HEAD + (size_t)rd_u16(&r);
    if (command != COMMAND_LOCAL && command != COMMAND_PROXY)
        return wrong(out, "its version or command is unknown");
    if (size > PROXY_V2_MAX) return wrong(out, "it is too long");
    if (in.n < size) return E_AGAIN;
    out->size = size;
    out->local = command == COMMAND_LOCAL;
    if (out->local) return 0; /* what else it says is not to be looked at */
    r = rd_of(bytes_of(in.p + HEAD, size - HEAD));
    int rc = read_addresses(&r, family, out);
    return rc < 0 || family == FAMILY_UNSPEC ? rc : read_fields(&r, out);
}

int proxy_read(struct bytes in, unsigned version, struct proxy_header *out)
{
    ASSERT(version == 1 || version == 2);
    *out = (struct proxy_header){0};
    if (in.n == 0) return E_AGAIN;
    return version == 1 ? read_v1(in, out) : read_v2(in, out);
}
