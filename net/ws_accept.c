/* A request is a WebSocket's when every field says so.  No extension is ever agreed on, so that
 * nothing is ever inflated. */
#include "net/ws_accept.h"

#include <strings.h>

static int refuse(struct ws_offer *out, unsigned status, const char *wrong)
{
    out->status = status;
    out->wrong = wrong;
    return E_INVALID;
}

bool ws_asked(const struct http_head *h)
{
    return http_head_lists(h, "Upgrade", "websocket", true);
}

static bool is_base64(uint8_t c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' ||
           c == '/';
}

/* 16 bytes in base64: 22 digits, of which the last has two bits only, and "==". */
static bool is_key(struct bytes b)
{
    if (b.n != WS_KEY_SIZE || memcmp(b.p + 22, "==", 2) != 0) return false;
    for (size_t i = 0; i < 22; i++)
        if (!is_base64(b.p[i])) return false;
    return strchr("AQgw", b.p[21]) != NULL;
}

static bool origin_known(struct bytes origin, const char *origins)
{
    if (origin.n == 0 || origin.n > WS_ORIGIN_MAX) return false;
    for (const char *p = origins; *p;) {
        size_t n = strcspn(p, " ");
        if (n == origin.n && strncasecmp(p, (const char *)origin.p, n) == 0) return true;
        p += n + strspn(p + n, " ");
    }
    return false;
}

static const char *protocol_of(const struct http_head *h)
{
    static const char *const spoken[] = {"mqtt", "mqttv3.1"}; /* [MQTT-6.0.0-4] */
    for (size_t i = 0; i < ARRAY_LEN(spoken); i++)
        if (http_head_lists(h, "Sec-WebSocket-Protocol", spoken[i], false)) return spoken[i];
    return NULL;
}

int ws_accept(const struct http_head *h, const char *origins, struct ws_offer *out)
{
    struct bytes value = {0};
    *out = (struct ws_offer){0};
    if (!bytes_eq(h->method, bytes_str("GET"))) return refuse(out, 405, "it does not say GET");
    if (h->old) return refuse(out, 505, "it is not HTTP/1.1");
    if (http_head_find(h, "Host", &value) != 1 || value.n == 0)
        return refuse(out, 400, "it has not one Host");
    if (h->body) return refuse(out, 400, "it has a body");
    if (!http_head_lists(h, "Connection", "upgrade", true))
        return refuse(out, 400, "its Connection says no Upgrade");
    if (http_head_find(h, "Sec-WebSocket-Version", &value) != 1 ||
        !bytes_eq(value, bytes_str("13")))
        return refuse(out, 426, "its Sec-WebSocket-Version is not 13");
    if (http_head_find(h, "Sec-WebSocket-Key", &out->key) != 1 || !is_key(out->key))
        return refuse(out, 400, "its Sec-WebSocket-Key is not 16 bytes in base64");
    unsigned says = http_head_find(h, "Origin", &value);
    if (origins && says && (says > 1 || !origin_known(value, origins)))
        return refuse(out, 403, "its Origin is not one of websockets_origin");
    out->protocol = protocol_of(h);
    if (out->protocol == NULL) /* [MQTT-6.0.0-3] */
        return refuse(out, 400, "its Sec-WebSocket-Protocol does not offer mqtt");
    return 0;
}
