/* What the admin listener lets in, by the headers of a request.  Pure; any thread.
 *
 * A browser speaks for whatever page it shows.  Two headers tell: Host is the name by which the
 * page (or its name server) found us, Origin is where a page that asks has come from. */
#include "admin_int.h"

#include "base/mem.h"
#include <arpa/inet.h>

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

static bool same_name(struct bytes a, const char *b)
{
    if (b == NULL || a.n != strlen(b)) return false;
    for (size_t i = 0; i < a.n; i++)
        if (lower((char)a.p[i]) != lower(b[i])) return false;
    return true;
}

/* The name in front of ":port"; empty: not well-formed. */
static struct bytes host_name(struct bytes host)
{
    size_t n = 0;
    if (host.n && host.p[0] == '[') {
        while (n < host.n && host.p[n] != ']') n++;
        if (n++ == host.n) return (struct bytes){0};
    } else {
        while (n < host.n && host.p[n] != ':') n++;
    }
    for (size_t i = n; i < host.n; i++) {
        bool digit = host.p[i] >= '0' && host.p[i] <= '9';
        if (i == n ? host.p[i] != ':' : !digit) return (struct bytes){0};
    }
    return bytes_of(host.p, n);
}

static bool is_address(struct bytes name)
{
    char text[INET6_ADDRSTRLEN + 2];
    struct in6_addr a;
    if (name.n == 0 || name.n >= sizeof text) return false;
    memcpy(text, name.p, name.n);
    text[name.n] = 0;
    if (text[0] != '[') return inet_pton(AF_INET, text, &a) == 1;
    text[name.n - 1] = 0;
    return inet_pton(AF_INET6, text + 1, &a) == 1;
}

static bool is_local_name(struct bytes name)
{
    static const char end[] = ".localhost"; /* RFC 6761: never anywhere else */
    if (same_name(name, "localhost")) return true;
    size_t n = sizeof end - 1;
    return name.n > n && same_name(bytes_skip(name, name.n - n), end);
}

bool guard_host_ok(struct bytes host, const char *own, const char *machine)
{
    struct bytes name = host_name(host);
    if (name.n == 0) return false;
    return is_address(name) || is_local_name(name) || same_name(name, own) ||
           same_name(name, machine);
}

bool guard_origin_ok(struct bytes origin, struct bytes host, bool tls)
{
    const char *scheme = tls ? "https://" : "http://";
    size_t n = strlen(scheme);
    if (!bytes_starts(origin, scheme) || origin.n != n + host.n || host.n == 0) return false;
    for (size_t i = 0; i < host.n; i++)
        if (lower((char)origin.p[n + i]) != lower((char)host.p[i])) return false;
    return true;
}

bool guard_json_type(struct bytes type)
{
    size_t n = 0;
    while (n < type.n && type.p[n] != ';' && type.p[n] != ' ') n++;
    return same_name(bytes_of(type.p, n), "application/json");
}

static int sextet(uint8_t c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Base64 with or without its padding; -1: it is none, or longer than room. */
static ptrdiff_t decode(struct bytes in, uint8_t *out, size_t room)
{
    uint32_t bits = 0;
    unsigned have = 0;
    size_t n = 0;
    while (in.n && in.p[in.n - 1] == '=') in.n--;
    for (size_t i = 0; i < in.n; i++) {
        int v = sextet(in.p[i]);
        if (v < 0) return -1;
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have < 8) continue;
        have -= 8;
        if (n == room) return -1;
        out[n++] = (uint8_t)(bits >> have);
    }
    return (ptrdiff_t)n;
}

bool guard_basic(struct bytes authorization, uint8_t out[static ADMIN_SECRET_MAX],
                 struct bytes *user, struct bytes *secret)
{
    if (authorization.n < 6 || !same_name(bytes_of(authorization.p, 6), "basic ")) return false;
    struct bytes text = bytes_skip(authorization, 6);
    while (text.n && text.p[0] == ' ') text = bytes_skip(text, 1);
    ptrdiff_t n = decode(text, out, ADMIN_SECRET_MAX);
    const uint8_t *colon = n > 0 ? memchr(out, ':', (size_t)n) : NULL;
    if (colon == NULL) return false;
    *user = bytes_of(out, (size_t)(colon - out));
    *secret = bytes_of(colon + 1, (size_t)(out + n - colon - 1));
    return user->n <= ADMIN_USER_MAX && bytes_is_utf8(*user);
}

bool guard_json_depth(struct bytes json)
{
    unsigned depth = 0;
    bool text = false;
    for (size_t i = 0; i < json.n; i++) {
        uint8_t c = json.p[i];
        if (text && c == '\\')
            i++;
        else if (c == '"')
            text = !text;
        else if (!text && (c == '{' || c == '['))
            depth++;
        else if (!text && (c == '}' || c == ']') && depth)
            depth--;
        if (depth > ADMIN_JSON_DEPTH) return false;
    }
    return true;
}

int guard_encode(struct buf *out, struct bytes text)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = text.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '-' || c == '.' || c == '_' || c == '~';
        char escape[3] = {'%', hex[c >> 4], hex[c & 15]};
        int rc = buf_append(out, plain ? bytes_of(&c, 1) : bytes_of(escape, 3));
        if (rc < 0) return rc;
    }
    return 0;
}
