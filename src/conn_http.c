/* The HTTP at the beginning of a listener for WebSockets: one request, and its answer.  A WebSocket
 * is opened, and the connection speaks MQTT from then on; a file of http_dir is sent, a piece a
 * turn; or it is told why not.  After anything but a WebSocket the connection ends.  The shard's
 * thread. */
#include "conn.h"

#include "base/mem.h"
#include "net/http_file.h"
#include "net/ws.h"
#include "net/ws_accept.h"
#include "tls/tls.h"
#include <stdio.h>
#include <unistd.h>

enum {
    PIECE_MAX = 64 * 1024, /* of a file, read and sent at once */
    ANSWER_MAX = 1024,     /* bytes of an answer's head, with the text of a refusal */
    LOGGED_MAX = 300,      /* bytes of who asks for what */
};

_Static_assert(READ_SIZE >= UINT16_MAX + (int)TRANSPORT_READ_MIN, "websockets_headers_size");
_Static_assert(READ_SIZE >= (int)PIECE_MAX, "a piece fits");

struct conn_answer {     /* what follows the head in conn.rest */
    bool upgrades;       /* a WebSocket */
    int file;            /* or -1 */
    uint64_t sent, size; /* bytes of it */
};

void conn_answer_free(struct conn *c)
{
    if (c->answer == NULL) return;
    if (c->answer->file >= 0) close(c->answer->file);
    mem_free(c->answer);
    c->answer = NULL;
}

/* ---- answers on their way ---- */

static void speak(struct conn *c)
{
    conn_answer_free(c);
    buf_fini(&c->rest);
    c->begins = CONN_SPEAKS;
    c->paused = c->want_write = false;
    if (ws_open(&c->transport) < 0) {
        conn_free(c, E_NOMEM);
        return;
    }
    c->shard->stats.websockets_opened++;
    conn_want(c);
}

/* A piece of the file that is shorter than it was when its length was told ends the connection. */
static void send_piece(struct conn *c)
{
    struct conn_answer *a = c->answer;
    size_t wanted = min_u64(PIECE_MAX, a->size - a->sent);
    struct iovec part = {c->shard->input, wanted};
    if (pread(a->file, part.iov_base, wanted, (off_t)a->sent) != (ssize_t)wanted) {
        conn_free(c, E_IO);
        return;
    }
    int64_t n = c->transport.ops->writev(&c->transport, &part, 1);
    if (n > 0) {
        a->sent += (uint64_t)n;
        conn_renew(c); /* time is given by the piece: a slow reader is none that has gone */
    }
    if (n < 0 && n != E_AGAIN)
        conn_free(c, (int)n);
    else if (a->sent == a->size)
        conn_linger(c);
    else
        conn_want(c);
}

void conn_answers(struct conn *c)
{
    while (buf_len(&c->rest)) {
        struct bytes text = buf_view(&c->rest);
        struct iovec part = {(void *)(uintptr_t)text.p, text.n};
        int64_t n = c->transport.ops->writev(&c->transport, &part, 1);
        if (n == E_AGAIN) {
            conn_want(c);
            return;
        }
        if (n < 0) {
            conn_free(c, (int)n);
            return;
        }
        buf_consume(&c->rest, (uint32_t)n);
    }
    if (c->answer == NULL)
        conn_linger(c);
    else if (c->answer->upgrades)
        speak(c);
    else
        send_piece(c);
}

/* What is to follow the head, taken on success; false without memory. */
static bool answer_follows(struct conn *c, struct conn_answer what)
{
    c->answer = mem_alloc(sizeof *c->answer);
    if (c->answer) *c->answer = what;
    return c->answer != NULL;
}

/* Sends text, then what c->answer says. */
static void answer(struct conn *c, const char *text)
{
    if (buf_append(&c->rest, bytes_str(text)) < 0) {
        conn_free(c, E_NOMEM);
        return;
    }
    c->begins = CONN_ANSWERS;
    c->paused = c->want_write = true;
    conn_answers(c);
}

static const char *phrase(unsigned status)
{
    static const struct {
        unsigned status;
        const char *text;
    } known[] = {{200, "OK"},
                 {301, "Moved Permanently"},
                 {403, "Forbidden"},
                 {404, "Not Found"},
                 {405, "Method Not Allowed"},
                 {426, "Upgrade Required"},
                 {431, "Request Header Fields Too Large"},
                 {500, "Internal Server Error"},
                 {503, "Service Unavailable"},
                 {505, "HTTP Version Not Supported"}};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (known[i].status == status) return known[i].text;
    return "Bad Request";
}

/* With a line of text that says why, but for who wants the head only; more: header lines, or "". */
static void deny(struct conn *c, unsigned status, const char *more, const char *why, bool head_only)
{
    char text[ANSWER_MAX];
    if (status == 405) more = "Allow: GET, HEAD\r\n";
    if (status == 426) more = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    snprintf(text, sizeof text,
             "HTTP/1.1 %u %s\r\n%sConnection: close\r\nContent-Type: text/plain\r\n"
             "Content-Length: %zu\r\n\r\n%s%s",
             status, phrase(status), more, strlen(why) + 1, head_only ? "" : why,
             head_only ? "" : "\n");
    answer(c, text);
}

/* ---- a WebSocket ---- */

static void refuse_websocket(struct conn *c, unsigned status, const char *why)
{
    c->shard->stats.websockets_refused++;
    log_printf(c->shard->set->log, LOG_T_NOTICE, "refused %s: the WebSocket handshake failed: %s.",
               c->peer, why);
    deny(c, status, "", why, false);
}

static void open_websocket(struct conn *c, const struct http_head *h, bool waits)
{
    struct ws_offer offer;
    char text[ANSWER_MAX], digest[TLS_SHA1_MAX];
    uint8_t key[WS_KEY_SIZE + sizeof WS_ACCEPT_GUID - 1];
    if (ws_accept(h, c->conf->websockets_origins, &offer) < 0) {
        refuse_websocket(c, offer.status, offer.wrong);
        return;
    }
    if (!waits) {
        refuse_websocket(c, 400, "it does not wait for the answer");
        return;
    }
    put_mem(put_mem(key, offer.key), bytes_str(WS_ACCEPT_GUID));
    if (tls_sha1_base64(bytes_of(key, sizeof key), digest) < 0 ||
        !answer_follows(c, (struct conn_answer){.upgrades = true, .file = -1})) {
        conn_free(c, E_NOMEM);
        return;
    }
    snprintf(text, sizeof text,
             "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n",
             digest, offer.protocol);
    answer(c, text);
}

/* ---- anything else ---- */

static bool wants_head(const struct http_head *h) { return bytes_eq(h->method, bytes_str("HEAD")); }

static void refuse_request(struct conn *c, const struct http_head *h, unsigned status,
                           const char *why)
{
    c->shard->stats.http_refused++;
    deny(c, status, "", why, wants_head(h));
}

static void send_file(struct conn *c, const struct http_file *f, bool head_only)
{
    char text[ANSWER_MAX];
    bool whole = !head_only && f->size;
    bool follows = whole && answer_follows(c, (struct conn_answer){.file = f->fd, .size = f->size});
    if (!follows) close(f->fd);
    if (whole && !follows) {
        conn_free(c, E_NOMEM);
        return;
    }
    c->shard->stats.http_served++;
    snprintf(text, sizeof text,
             "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: %s\r\n"
             "Content-Length: %zu\r\nCache-Control: no-cache\r\n"
             "X-Content-Type-Options: nosniff\r\n\r\n",
             f->type, (size_t)f->size);
    answer(c, text);
}

/* The folder exists, so its name is none that leads elsewhere ("//host/"). */
static void send_to_folder(struct conn *c, const struct http_head *h)
{
    struct bytes target = h->target;
    char more[ANSWER_MAX / 2];
    size_t path = 0;
    while (path < target.n && target.p[path] != '?' && target.p[path] != '#') path++;
    if (path > sizeof more - 20) {
        refuse_request(c, h, 404, "its path is too long");
        return;
    }
    c->shard->stats.http_served++;
    snprintf(more, sizeof more, "Location: %.*s/\r\n", (int)path, (const char *)target.p);
    deny(c, 301, more, "it is a folder", wants_head(h));
}

static unsigned serve(struct conn *c, const struct http_head *h)
{
    struct http_file file;
    struct bytes host;
    bool head_only = wants_head(h);
    unsigned status = 404;
    if (!head_only && !bytes_eq(h->method, bytes_str("GET"))) {
        refuse_request(c, h, status = 405, "files are for GET and HEAD");
    } else if (!h->old && http_head_find(h, "Host", &host) != 1) {
        refuse_request(c, h, status = 400, "it has not one Host");
    } else if (c->conf->http_dir == NULL) {
        refuse_request(c, h, status = 426,
                       "this port is for WebSockets with the sub-protocol mqtt");
    } else if ((status = http_file_open(c->conf->http_dir, h->target, &file)) == 200) {
        send_file(c, &file, head_only);
    } else if (status == 301) {
        send_to_folder(c, h);
    } else {
        refuse_request(c, h, status,
                       status == 503   ? "come again later"
                       : status == 403 ? "this file may not be read"
                       : status == 400 ? "its path is badly encoded, or too long"
                                       : "there is no such file");
    }
    return status;
}

/* When it has been served, the connection and what was read may be gone. */
static void serve_logged(struct conn *c, const struct http_head *h)
{
    char what[LOGGED_MAX];
    struct log *log = c->shard->set->log;
    snprintf(what, sizeof what, "%s: %.*s %.*s", c->peer, (int)h->method.n,
             (const char *)h->method.p, (int)h->target.n, (const char *)h->target.p);
    log_printf(log, LOG_T_WEBSOCKETS, "%s: %u.", what, serve(c, h));
}

void conn_asks(struct conn *c)
{
    struct http_head h;
    uint8_t *in = c->shard->input;
    uint32_t kept = buf_len(&c->rest);
    if (kept) memcpy(in, buf_view(&c->rest).p, kept);
    int64_t n = c->transport.ops->read(&c->transport, in + kept, READ_SIZE - kept);
    if (n == E_AGAIN) {
        conn_want(c);
        return;
    }
    if (n < 0) {
        conn_free(c, (int)n);
        return;
    }
    struct bytes all = bytes_of(in, kept + (size_t)n);
    int rc = http_head_read(all, kept, c->shard->websockets_headers_size, &h);
    if (rc == E_AGAIN) {
        if (buf_append(&c->rest, bytes_skip(all, kept)) < 0) conn_free(c, E_NOMEM);
        return;
    }
    buf_fini(&c->rest);
    if (rc < 0)
        refuse_websocket(c, h.status, h.wrong);
    else if (ws_asked(&h))
        open_websocket(c, &h, all.n == h.size);
    else
        serve_logged(c, &h);
}
