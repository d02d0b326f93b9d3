/* WebSocket frames (RFC 6455 section 5), as a server sees them: those of a client are masked, ours
 * are not.  Pure: bytes in, bytes out; one thread at a time.  MQTT goes in binary frames only
 * [MQTT-6.0.0-1]; where one begins or ends says nothing about packets [MQTT-6.0.0-2], so that the
 * payload is a stream here, and no frame is ever kept, however long it says it is. */
#ifndef NET_WS_FRAME_H
#define NET_WS_FRAME_H

#include "base/bytes.h"
#include "base/err.h"

enum {
    WS_CLIENT_HEADER_MAX = 14,  /* 2, 8 of length, 4 of mask */
    WS_HEADER_MAX = 10,         /* of ours: without a mask */
    WS_CONTROL_MAX = 125,       /* bytes of a ping, pong or close */
    WS_FRAME_MAX = 268435460,   /* of a client: the largest packet there is */
    WS_CLOSE_NORMAL = 1000,     /* RFC 6455 section 7.4.1 */
    WS_CLOSE_PROTOCOL = 1002,   /* frames that are none */
    WS_CLOSE_NOT_BINARY = 1003, /* text */
    WS_CLOSE_NOT_UTF8 = 1007,
    WS_CLOSE_TOO_BIG = 1009,
    WS_CLOSE_ERROR = 1011, /* ours */
};

enum ws_opcode {
    WS_CONTINUATION = 0,
    WS_TEXT = 1,
    WS_BINARY = 2,
    WS_CLOSE = 8,
    WS_PING = 9,
    WS_PONG = 10,
};

struct ws_control { /* the payload of a ping or close */
    uint8_t length;
    uint8_t bytes[WS_CONTROL_MAX];
};

struct ws_decoder {
    const char *why;            /* for people; with `refused` */
    struct ws_control *control; /* of one that has begun, or `pinged`, or `closed` */
    uint32_t left;              /* payload of the frame that is open, still to come */
    uint16_t refused;           /* a close code, 0: none; nothing is read after it */
    uint8_t header[WS_CLIENT_HEADER_MAX];
    uint8_t have;    /* bytes of it */
    uint8_t mask_at; /* 0 .. 3: where the mask is for the next byte */
    bool in_payload; /* the header is whole; else it is being read */
    bool in_message; /* the last data frame was not final */
    bool closed;     /* a close frame came; nothing is read after it */
    bool pinged;     /* control is the last ping's; the caller takes it */
};

/* All zeros is a new one. */
void ws_decoder_fini(struct ws_decoder *d);
/* Takes headers and masks off bytes as they came from the peer: what is left stands at the
 * beginning of the same memory, so many bytes are returned.  Then look at closed, refused and
 * pinged: they are about what stood behind the payload that was returned, or beside it. */
size_t ws_decode(struct ws_decoder *d, uint8_t *bytes, size_t n);

/* The header of a final frame; returns its length. */
size_t ws_header(uint8_t out[WS_HEADER_MAX], enum ws_opcode opcode, uint64_t length);

#endif
