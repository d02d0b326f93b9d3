/* The WebSocket transport.  Each packet becomes a frame: the standard lets a frame have any part of
 * the stream [MQTT-6.0.0-2], but some clients (Paho's in C, to 1.3.12 at least) look at one packet
 * of a frame and then wait for the next frame.  What is written in a turn still goes in one system
 * call: small packets are copied, larger ones stay where they are.  Frames of the peer come
 * apart in the reader's memory: between two reads there is nothing kept of them, but for one that
 * is not whole.  Pongs and closes are sent between frames, at once when the socket takes them.
 * Belongs to whoever has the transport. */
#include "net/ws.h"

#include "base/mem.h"
#include "net/ws_frame.h"
#include <stdio.h>

enum {
    COPIED_MAX = 64 * 1024, /* bytes of frames written at once that are copied, on the stack */
    PARTS_MAX = 64,         /* of them, with those that are not */
    REFER_MIN = 8192,       /* bytes of a packet that is not; TLS copies it anyway */
};

struct ws_frame_out { /* a pong or close, on its way */
    bool begun;       /* was given to the inner transport, which wants the same again */
    uint8_t length, sent;
    uint8_t bytes[WS_HEADER_MAX + WS_CONTROL_MAX];
};

struct ws_way {    /* how far a frame with a packet has gone */
    uint32_t left; /* of the packet */
    uint8_t header[WS_HEADER_MAX];
    uint8_t header_length; /* 0: none is under way */
    uint8_t header_sent;
};

struct gathered { /* frames for one call */
    size_t size, copied_size;
    int count;
    struct iovec parts[PARTS_MAX];
    uint8_t copied[COPIED_MAX];
};

/* Begins and ends at a cache line: it is made on another shard than the one that uses it. */
struct ws {
    _Alignas(MEM_LINE) struct transport inner;
    struct ws_decoder in;
    struct ws_frame_out *control; /* or NULL; once begun it is finished before all else */
    struct ws_way way;
    int failed;      /* what read() says from now on */
    bool close_sent; /* or on its way; nothing follows it */
    bool ended;      /* end() was called: what is read is thrown away */
    bool owed;       /* of the last frames some were not taken: the inner transport wants those */
};

_Static_assert(sizeof(struct ws) <= 192, "ten thousand idle browsers");

/* A control frame that the socket does not take yet holds up reading, so that who asks for answers
 * and does not read them is not answered for ever.  And when a read had both bytes and the end in
 * it, the next one comes without any more input. */
static void mirror(struct transport *t)
{
    const struct ws *w = t->state;
    bool news = w->control || w->failed;
    t->read_needs_write = w->inner.read_needs_write || (news && !w->ended);
    t->write_needs_read = w->inner.write_needs_read;
}

/* ---- control frames ---- */

static bool between_frames(const struct ws *w) { return w->way.header_length == 0 && !w->owed; }

/* 0: none is waiting.  E_AGAIN, E_IO. */
static int control_flush(struct ws *w)
{
    struct ws_frame_out *f = w->control;
    while (f && between_frames(w)) {
        struct iovec part = {f->bytes + f->sent, (size_t)(f->length - f->sent)};
        f->begun = true;
        int64_t n = w->inner.ops->writev(&w->inner, &part, 1);
        if (n < 0) return (int)n;
        f->sent = (uint8_t)(f->sent + n);
        if (f->sent < f->length) continue;
        mem_free(f);
        f = w->control = NULL;
    }
    return f ? E_AGAIN : 0;
}

/* One that waits and has not begun gives way to a newer one: a flood of pings is answered by the
 * last, as RFC 6455 section 5.5.3 allows; a close goes before a pong.  Without memory, or behind
 * one that has begun, it is left out. */
static void control_send(struct ws *w, enum ws_opcode opcode, struct bytes payload)
{
    if (w->close_sent) return;
    if (w->control == NULL) w->control = mem_calloc(1, sizeof *w->control);
    struct ws_frame_out *f = w->control;
    if (f == NULL || f->begun) return;
    size_t header = ws_header(f->bytes, opcode, payload.n);
    put_mem(f->bytes + header, payload);
    f->length = (uint8_t)(header + payload.n);
    w->close_sent = opcode == WS_CLOSE;
    (void)control_flush(w); /* what the socket does not take goes with the next output */
}

static void close_send(struct ws *w, unsigned code)
{
    uint8_t payload[2];
    put_u16(payload, code);
    control_send(w, WS_CLOSE, bytes_of(payload, sizeof payload));
}

/* ---- reading ---- */

static void notice_control(struct ws *w)
{
    struct ws_decoder *d = &w->in;
    if (d->refused) {
        close_send(w, d->refused);
        w->failed = E_PROTOCOL;
    } else if (d->closed) {
        size_t n = min_u64(d->control->length, 2); /* the code, without its text */
        control_send(w, WS_CLOSE, bytes_of(d->control->bytes, n));
        w->failed = E_EOF;
    } else if (d->pinged) {
        control_send(w, WS_PONG, bytes_of(d->control->bytes, d->control->length));
        ws_decoder_fini(d);
        d->pinged = false;
    }
}

static int64_t ws_read(struct transport *t, void *to, size_t size)
{
    struct ws *w = t->state;
    if (w->failed && !w->ended) return w->failed;
    if (UNLIKELY(w->control != NULL) && !w->ended && control_flush(w) == E_AGAIN) {
        mirror(t);
        return E_AGAIN;
    }
    int64_t n = w->inner.ops->read(&w->inner, to, size);
    if (n > 0 && !w->ended) {
        size_t got = ws_decode(&w->in, to, (size_t)n);
        if (UNLIKELY(w->in.control != NULL || w->in.refused)) notice_control(w);
        n = got ? (int64_t)got : w->failed ? w->failed : E_AGAIN;
    }
    mirror(t);
    return n;
}

/* ---- writing ---- */

/* The bytes of the packet that p begins with; what is written to us is whole packets. */
static uint32_t packet_size(const uint8_t *p, size_t n)
{
    struct rd r = rd_of(bytes_of(p, n));
    (void)rd_u8(&r);
    uint32_t rest = rd_varint(&r);
    return rd_ok(&r) ? (uint32_t)(r.p - p) + rest : (uint32_t)n;
}

static void frame_begin(struct ws_way *f, const uint8_t *p, size_t n)
{
    f->left = packet_size(p, n);
    f->header_length = (uint8_t)ws_header(f->header, WS_BINARY, f->left); /* [MQTT-6.0.0-1] */
    f->header_sent = 0;
}

static struct bytes header_rest(const struct ws_way *f)
{
    return bytes_of(f->header + f->header_sent, (size_t)(f->header_length - f->header_sent));
}

/* So many bytes of headers and packets have gone; how many were the packets'. */
static size_t advance(struct ws_way *f, const uint8_t *p, size_t n, size_t moved)
{
    size_t at = 0;
    while (moved) {
        if (f->header_length == 0) frame_begin(f, p + at, n - at);
        size_t head = min_u64(moved, header_rest(f).n), body = min_u64(moved - head, f->left);
        f->header_sent = (uint8_t)(f->header_sent + head);
        f->left -= (uint32_t)body;
        moved -= head + body;
        at += body;
        if (f->left == 0) f->header_length = 0;
    }
    return at;
}

static void add_part(struct gathered *g, const uint8_t *p, size_t n)
{
    struct iovec *last = g->count ? &g->parts[g->count - 1] : NULL;
    if (last && (const uint8_t *)last->iov_base + last->iov_len == p)
        last->iov_len += n;
    else
        g->parts[g->count++] = (struct iovec){(void *)(uintptr_t)p, n};
    g->size += n;
}

static void add_copy(struct gathered *g, struct bytes b)
{
    uint8_t *to = g->copied + g->copied_size;
    put_mem(to, b);
    g->copied_size += b.n;
    add_part(g, to, b.n);
}

/* Frames one after the other, as many as there is room for; the last one may be cut.  Written again
 * after a part of them, they begin with the same bytes. */
static void gather(struct gathered *g, struct ws_way f, const uint8_t *p, size_t n, bool refer)
{
    for (size_t at = 0; at < n && g->count + 2 <= PARTS_MAX;) {
        if (sizeof g->copied - g->copied_size <= WS_HEADER_MAX) return;
        if (f.header_length == 0) frame_begin(&f, p + at, n - at);
        add_copy(g, header_rest(&f));
        size_t body = min_u64(f.left, n - at);
        if (refer && body >= REFER_MIN) {
            add_part(g, p + at, body);
        } else {
            body = min_u64(body, sizeof g->copied - g->copied_size);
            add_copy(g, bytes_of(p + at, body));
        }
        at += body;
        f.left -= (uint32_t)body;
        if (f.left) return;
        f.header_length = 0;
    }
}

/* Returns bytes of packets, 0: only of a header; or as writev. */
static int64_t frames_write(struct ws *w, const uint8_t *p, size_t n)
{
    struct gathered g; /* not cleared: it is large */
    g.count = 0;
    g.size = g.copied_size = 0;
    gather(&g, w->way, p, n, w->inner.ops == &tcp_transport);
    int64_t moved = w->inner.ops->writev(&w->inner, g.parts, g.count);
    w->owed = moved < (int64_t)g.size;
    return moved < 0 ? moved : (int64_t)advance(&w->way, p, n, (size_t)moved);
}

/* So much of one part as goes; *rc says why not more. */
static size_t part_write(struct ws *w, const struct iovec *part, int *rc)
{
    size_t at = 0;
    while (at < part->iov_len && *rc == 0) {
        if (UNLIKELY(w->control != NULL)) {
            int kept = control_flush(w);
            if (between_frames(w)) *rc = kept; /* else it goes behind the frame under way */
        }
        if (w->close_sent && *rc == 0) *rc = E_IO;
        if (*rc < 0) break;
        int64_t n = frames_write(w, (const uint8_t *)part->iov_base + at, part->iov_len - at);
        if (n < 0)
            *rc = (int)n;
        else
            at += (size_t)n;
    }
    return at;
}

static int64_t ws_writev(struct transport *t, const struct iovec *parts, int count)
{
    struct ws *w = t->state;
    int64_t sent = 0;
    int rc = 0;
    for (int i = 0; i < count && rc == 0; i++) sent += (int64_t)part_write(w, &parts[i], &rc);
    if (rc == 0 && UNLIKELY(w->control != NULL)) (void)control_flush(w);
    mirror(t);
    if (sent) return sent;
    return rc == 0 || rc == E_AGAIN ? E_AGAIN : E_IO;
}

/* ---- beginning and end ---- */

static int ws_handshake(struct transport *t)
{
    (void)t; /* it was over when the WebSocket began */
    return 0;
}

static void ws_end(struct transport *t)
{
    struct ws *w = t->state;
    close_send(w, WS_CLOSE_NORMAL);
    w->ended = true;
    w->inner.ops->end(&w->inner);
    mirror(t);
}

static void ws_close(struct transport *t)
{
    struct ws *w = t->state;
    close_send(w, WS_CLOSE_NORMAL);
    w->inner.ops->close(&w->inner);
    ws_decoder_fini(&w->in);
    mem_free(w->control);
    mem_free(w);
    t->state = NULL;
    t->fd = -1;
}

static struct bytes ws_user(const struct transport *t)
{
    const struct ws *w = t->state;
    return w->inner.ops->user(&w->inner);
}

static void ws_explain(const struct transport *t, char *out, size_t room)
{
    const struct ws *w = t->state;
    if (w->in.why)
        snprintf(out, room, "%s", w->in.why);
    else
        w->inner.ops->explain(&w->inner, out, room);
}

static const struct transport_ops ws_transport = {
    .read = ws_read,
    .writev = ws_writev,
    .handshake = ws_handshake,
    .end = ws_end,
    .close = ws_close,
    .user = ws_user,
    .explain = ws_explain,
};

int ws_open(struct transport *t)
{
    struct ws *w = mem_calloc_aligned(1, sizeof *w);
    if (w == NULL) return E_NOMEM;
    w->inner = *t;
    *t = (struct transport){.ops = &ws_transport, .fd = w->inner.fd, .state = w};
    mirror(t);
    return 0;
}
