/* Frames of a client, taken apart by wslay's frame functions; the only file that knows it.  They
 * check lengths and control frames; what a frame may be among others is checked here.
 *
 * The library keeps 4 KiB for each context (its event functions twice that), ten times what else a
 * WebSocket needs.  But between two frames a context knows nothing that a new one would not, so
 * there is one only while a frame is not whole; making one costs a twentieth of the system call
 * that brought the bytes.  Headers of ours, three cases without a mask, are written without it. */
#include "net/ws_frame.h"

#include "base/mem.h"
#include <wslay/wslay.h>

_Static_assert((int)WS_TEXT == WSLAY_TEXT_FRAME && (int)WS_PONG == WSLAY_PONG, "the same numbers");

enum { FINAL = 0x80, LENGTH_16 = 126, LENGTH_64 = 127, MASK_SIZE = 4 };

static void refuse(struct ws_decoder *d, unsigned code, const char *why)
{
    d->refused = (uint16_t)code;
    d->why = why;
}

/* ---- the library's context ---- */

static ssize_t give(uint8_t *to, size_t room, int flags, void *user)
{
    struct ws_decoder *d = user;
    (void)flags;
    size_t n = min_u64(room, d->unread.n);
    if (n == 0) return -1;
    memcpy(to, d->unread.p, n);
    d->unread = bytes_skip(d->unread, n);
    d->held = (uint16_t)(d->held + n);
    return (ssize_t)n;
}

static void frame_free(struct ws_decoder *d)
{
    if (d->frame == NULL) return;
    wslay_frame_context_free(d->frame);
    d->frame = NULL;
}

void ws_decoder_fini(struct ws_decoder *d)
{
    frame_free(d);
    mem_free(d->control);
    d->control = NULL;
}

/* ---- what a frame may be ---- */

static bool is_control(unsigned opcode) { return opcode >= WS_CLOSE; }

static bool check_start(struct ws_decoder *d, const struct wslay_frame_iocb *f)
{
    bool control = is_control(f->opcode);
    if (f->rsv)
        refuse(d, WS_CLOSE_PROTOCOL, "a frame of an extension that was not agreed on");
    else if (!f->mask)
        refuse(d, WS_CLOSE_PROTOCOL, "a frame without a mask");
    else if (f->opcode == WS_TEXT) /* [MQTT-6.0.0-1] */
        refuse(d, WS_CLOSE_NOT_BINARY, "a text frame, where MQTT has binary ones");
    else if (f->opcode > WS_PONG || (f->opcode > WS_BINARY && !control))
        refuse(d, WS_CLOSE_PROTOCOL, "a frame of an unknown kind");
    else if (!control && d->in_message != (f->opcode == WS_CONTINUATION))
        refuse(d, WS_CLOSE_PROTOCOL, "a frame that does not continue the one before it");
    else if (f->payload_length > WS_FRAME_MAX)
        refuse(d, WS_CLOSE_TOO_BIG, "a frame that is longer than the largest packet");
    if (d->refused) return false;
    if (!control) d->in_message = !f->fin;
    if (!control || f->opcode == WS_PONG) return true;
    if (d->control == NULL) d->control = mem_alloc(sizeof *d->control);
    if (d->control == NULL) {
        refuse(d, WS_CLOSE_ERROR, "out of memory");
        return false;
    }
    d->control->length = 0;
    d->pinged = false;
    return true;
}

/* RFC 6455 section 7.4: the codes that may be sent, those of the registry, and those of programs.
 */
static void close_end(struct ws_decoder *d)
{
    struct bytes all = bytes_of(d->control->bytes, d->control->length);
    struct rd r = rd_of(all);
    unsigned code = all.n ? rd_u16(&r) : WS_CLOSE_NORMAL;
    bool known = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
                 (code >= 3000 && code <= 4999);
    if (!rd_ok(&r) || !known)
        refuse(d, WS_CLOSE_PROTOCOL, "a close frame with a code that is none");
    else if (!bytes_is_utf8(rd_take(&r, rd_left(&r))))
        refuse(d, WS_CLOSE_NOT_UTF8, "a close frame with a text that is none");
    else
        d->closed = true;
}

/* ---- its payload ---- */

static size_t header_size(uint64_t length)
{
    return 2 + (length < LENGTH_16 ? 0u : length <= UINT16_MAX ? 2u : 8u) + MASK_SIZE;
}

static void frame_end(struct ws_decoder *d, unsigned opcode)
{
    d->got = 0;
    if (opcode == WS_PING) d->pinged = true;
    if (opcode == WS_CLOSE) close_end(d);
}

/* A piece of a frame; how many of its bytes have gone `to` the reader. */
static size_t take(struct ws_decoder *d, uint8_t *to, const struct wslay_frame_iocb *f)
{
    struct bytes piece = bytes_of(f->data, f->data_length);
    if (d->got == 0) { /* a first piece is not empty, unless the frame is */
        if (!check_start(d, f)) return 0;
        d->held = (uint16_t)(d->held - header_size(f->payload_length));
    }
    d->held = (uint16_t)(d->held - piece.n);
    d->got += piece.n;
    if (!is_control(f->opcode)) {
        put_mem(to, piece);
    } else if (f->opcode != WS_PONG) { /* which is nothing to us */
        put_mem(d->control->bytes + d->control->length, piece);
        d->control->length = (uint8_t)(d->control->length + piece.n);
    }
    if (d->got == f->payload_length) frame_end(d, f->opcode);
    return is_control(f->opcode) ? 0 : piece.n;
}

/* All that was read goes through the library's memory, so the payload never stands behind what is
 * still to be read. */
static size_t decode(struct ws_decoder *d, uint8_t *bytes)
{
    struct wslay_frame_iocb f;
    size_t out = 0;
    while (!d->refused && !d->closed) {
        ssize_t n = wslay_frame_recv(d->frame, &f);
        if (n == WSLAY_ERR_WANT_READ) return out;
        if (n < 0)
            refuse(d, WS_CLOSE_PROTOCOL, "a frame with a length or an end that it cannot have");
        else
            out += take(d, bytes + out, &f);
    }
    return out;
}

size_t ws_decode(struct ws_decoder *d, uint8_t *bytes, size_t n)
{
    static const struct wslay_frame_callbacks calls = {.recv_callback = give};
    if (d->refused || d->closed) return 0;
    if (d->frame == NULL && wslay_frame_context_init(&d->frame, &calls, d) != 0) {
        d->frame = NULL;
        refuse(d, WS_CLOSE_ERROR, "out of memory");
        return 0;
    }
    d->unread = bytes_of(bytes, n);
    size_t out = decode(d, bytes);
    bool between = d->got == 0 && d->held == 0;
    if (between || d->refused || d->closed) frame_free(d);
    return out;
}

/* ---- ours ---- */

size_t ws_header(uint8_t out[WS_HEADER_MAX], enum ws_opcode opcode, uint64_t length)
{
    uint8_t *p = put_u8(out, FINAL | (unsigned)opcode);
    if (length < LENGTH_16) {
        p = put_u8(p, (unsigned)length);
    } else if (length <= UINT16_MAX) {
        p = put_u16(put_u8(p, LENGTH_16), (unsigned)length);
    } else {
        p = put_u8(p, LENGTH_64);
        p = put_u32(put_u32(p, (uint32_t)(length >> 32)), (uint32_t)length);
    }
    return (size_t)(p - out);
}
