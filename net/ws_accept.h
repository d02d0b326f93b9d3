/* The opening handshake of a WebSocket, as a server judges it (RFC 6455 section 4.2, and what MQTT
 * adds in its section 6).  Pure; any thread. */
#ifndef NET_WS_ACCEPT_H
#define NET_WS_ACCEPT_H

#include "net/http_head.h"

/* Behind the client's key: the SHA-1 of both, in base64, is Sec-WebSocket-Accept. */
#define WS_ACCEPT_GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
enum { WS_KEY_SIZE = 24, WS_ORIGIN_MAX = 255 };

struct ws_offer {
    struct bytes key;     /* WS_KEY_SIZE bytes; a view */
    const char *protocol; /* the one of those offered that is spoken */
    unsigned status;      /* E_INVALID: what to answer */
    const char *wrong;    /* and why; static */
};

/* Whether the request asks for a WebSocket, rightly or not. */
bool ws_asked(const struct http_head *h);
/* origins: of the pages that may open one, with a space between two; NULL: any.  Who says no Origin
 * is no page.  0, E_INVALID. */
MUST_USE int ws_accept(const struct http_head *h, const char *origins, struct ws_offer *out);

#endif
