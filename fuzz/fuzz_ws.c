/* Fuzzes what a WebSocket begins with and consists of.  The first byte chooses: a request's head
 * and handshake, or frames in pieces of that many bytes.  A head must read the same whatever was
 * there before its end came; frames must give what wslay finds in them, however they are cut. */
#include "base/mem.h"
#include "net/ws_accept.h"
#include "net/ws_frame.h"
#include <wslay/wslay.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST = 4096 };

/* ---- heads ---- */

static void check_view(struct bytes view, struct bytes in)
{
    if (view.n) ASSERT(view.p >= in.p && view.p + view.n <= in.p + in.n);
}

static void check_head(struct bytes in)
{
    struct http_head h, part;
    struct ws_offer offer;
    int rc = http_head_read(in, 0, MOST, &h);
    if (rc == E_INVALID) ASSERT(h.status >= 400 && h.status < 600 && h.wrong);
    for (size_t n = 0; n < in.n; n += 1 + n / 16) {
        int before = http_head_read(bytes_of(in.p, n), 0, MOST, &part);
        if (before == 0) ASSERT(rc == 0 && part.size == h.size && h.size <= n);
        ASSERT(http_head_read(in, before == E_AGAIN ? n : 0, MOST, &part) == rc);
    }
    if (rc < 0) return;
    ASSERT(h.size <= in.n && h.size <= MOST && h.target.p[0] == '/');
    check_view(h.target, in);
    for (unsigned i = 0; i < h.field_count; i++) {
        check_view(h.fields[i].name, in);
        check_view(h.fields[i].value, in);
    }
    if (!ws_asked(&h)) return;
    rc = ws_accept(&h, "https://a.example", &offer);
    if (rc == 0)
        ASSERT(offer.key.n == WS_KEY_SIZE && offer.protocol);
    else
        ASSERT(offer.status >= 400 && offer.wrong);
}

/* ---- frames ---- */

struct result {
    uint8_t *out;
    size_t size;
    struct ws_decoder d;
};

static struct result decode(struct bytes in, size_t step)
{
    struct result r = {.out = mem_alloc(in.n + 1)};
    ASSERT(r.out != NULL);
    for (size_t at = 0; at < in.n; at += step) {
        size_t n = min_u64(step, in.n - at);
        uint8_t *piece = mem_alloc(n); /* exactly its size, so that an overrun is seen */
        ASSERT(piece != NULL);
        memcpy(piece, in.p + at, n);
        size_t got = ws_decode(&r.d, piece, n);
        ASSERT(got <= n);
        put_mem(r.out + r.size, bytes_of(piece, got));
        r.size += got;
        mem_free(piece);
    }
    return r;
}

static void result_free(struct result *r)
{
    ws_decoder_fini(&r->d);
    mem_free(r->out);
}

static void check_frames(struct bytes in, size_t step)
{
    struct result whole = decode(in, in.n + 1), cut = decode(in, step);
    ASSERT(whole.size == cut.size && memcmp(whole.out, cut.out, whole.size) == 0);
    ASSERT(whole.d.refused == cut.d.refused && whole.d.closed == cut.d.closed);
    ASSERT(!whole.d.refused == !whole.d.why);
    ASSERT(whole.d.refused || whole.d.closed || whole.d.left <= WS_FRAME_MAX);
    if (whole.d.pinged || whole.d.closed) ASSERT(whole.d.control->length <= WS_CONTROL_MAX);
    result_free(&whole);
    result_free(&cut);
}

/* ---- the same by wslay ---- */

static ssize_t give(uint8_t *to, size_t room, int flags, void *user)
{
    struct bytes *in = user;
    size_t n = min_u64(room, in->n);
    (void)flags;
    if (n == 0) return -1;
    memcpy(to, in->p, n);
    *in = bytes_skip(*in, n);
    return (ssize_t)n;
}

/* Whether it is a frame that MQTT may have here, as the first piece of it says. */
static bool is_spoken(const struct wslay_frame_iocb *f, bool in_message)
{
    if (f->rsv || !f->mask || f->payload_length > WS_FRAME_MAX) return false;
    if (f->opcode >= WS_CLOSE) return f->opcode <= WS_PONG;
    return f->opcode == (in_message ? WS_CONTINUATION : WS_BINARY);
}

static void check_with_wslay(struct bytes in)
{
    static const struct wslay_frame_callbacks calls = {.recv_callback = give};
    struct result ours = decode(in, in.n + 1);
    wslay_frame_context_ptr lib;
    struct wslay_frame_iocb f;
    size_t size = 0;
    uint64_t got = 0; /* of the frame that is open */
    bool in_message = false;
    ASSERT(wslay_frame_context_init(&lib, &calls, &in) == 0);
    while (wslay_frame_recv(lib, &f) >= 0) {
        if (got == 0 && !is_spoken(&f, in_message)) break;
        got += f.data_length;
        if (f.opcode < WS_CLOSE) {
            in_message = !f.fin;
            ASSERT(size + f.data_length <= ours.size);
            ASSERT(f.data_length == 0 || memcmp(ours.out + size, f.data, f.data_length) == 0);
            size += f.data_length;
        }
        if (got < f.payload_length) continue;
        got = 0;
        if (f.opcode == WS_CLOSE) break;
    }
    ASSERT(size == ours.size);
    wslay_frame_context_free(lib);
    result_free(&ours);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    struct bytes in = bytes_of(data + 1, size - 1);
    if (data[0] == 0) {
        check_head(in);
        return 0;
    }
    check_frames(in, data[0]);
    check_with_wslay(in);
    return 0;
}
