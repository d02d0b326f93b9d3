/* HTTP by libwebsockets.  Owns the connections and what is to be written to them.  lws parses, does
 * TLS and tells when a socket can be written; accepting, limits, deadlines and the text of answers
 * are ours.  The thread of http_serve().
 *
 *   accept -> IDLE -> (headers) -> READING -> (body) -> ASKED -> (answer) -> ANSWERING -> IDLE
 */
#include "net/http.h"

#include "base/buf.h"
#include "base/list.h"
#include "base/mem.h"
#include "net/address.h"
#include <errno.h>
#include <libwebsockets.h>
#include <stdio.h>
#include <unistd.h>

enum {
    WRITE_AT_ONCE = 64 * 1024,
    TAKEN_IN_VAIN = 1 << 20, /* bytes of a body that is too long, so that its sender hears why */
    ACCEPT_BATCH = 16,
    DOORS_MAX = 128,
    HEAD_ROOM = 2048,
    DOOR_PAUSE_MS = 100, /* when there are no descriptors left */
    FAILED_PAUSE_MS = 100,
};

enum conn_state { IDLE, READING, ASKED, ANSWERING };

struct door {
    struct http_server *server;
    struct lws_vhost *vhost;
    unsigned index, connections, connections_max;
    bool tls;
};

struct http_conn {
    struct list link;
    struct door *door;
    struct lws *wsi;
    lws_sorted_usec_list_t later; /* http_later() */
    uint64_t id;                  /* of the request, or of the last one */
    enum conn_state state;
    unsigned refusal; /* status of a request that is refused when it has been read */
    enum http_method method;
    bool keep;    /* the connection, after this answer */
    bool old;     /* HTTP/1.0 */
    bool chunked; /* the answer */
    bool last;    /* piece is in `out` */
    bool has_origin;
    struct buf text; /* path, query, headers: views by offset below */
    struct {
        uint32_t at, n;
    } path, query, host, origin, authorization, content_type;
    struct buf body;
    struct buf out; /* LWS_PRE bytes, then what is to be written */
    char peer[ADDRESS_TEXT_MAX];
    uint64_t tag;     /* the handler's */
    uint64_t hold_ms; /* before its answer is written; 0: not any more */
};

struct http_server {
    struct http_handler handler;
    struct lws_context *context;
    struct lws_protocols protocols[2];
    struct list conns;
    uint64_t ids;
    struct http_stats stats;
    unsigned door_count;
    bool stopping;
    struct door doors[DOORS_MAX];
};

typedef __typeof__(((struct http_conn *)0)->path) http_span;

static void deadline(struct http_conn *c, unsigned seconds)
{
    lws_set_timer_usecs(c->wsi,
                        seconds ? (lws_usec_t)seconds * LWS_US_PER_SEC : LWS_SET_TIMER_USEC_CANCEL);
}

/* ---- answers ---- */

static struct http_conn *find(struct http_server *s, uint64_t id)
{
    LIST_EACH_SAFE(it, next, &s->conns)
    {
        struct http_conn *c = CONTAINER_OF(it, struct http_conn, link);
        if (c->id == id && c->state >= ASKED) return c;
    }
    return NULL;
}

/* Without memory there is nothing left to say. */
static void give_up(struct http_conn *c)
{
    c->keep = false;
    lws_set_timeout(c->wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_ASYNC);
}

static int out_append(struct http_conn *c, struct bytes data)
{
    if (c->out.tail == 0) {
        if (buf_reserve(&c->out, LWS_PRE) == NULL) return E_NOMEM;
        buf_commit(&c->out, LWS_PRE);
        c->out.head = LWS_PRE;
    }
    return buf_append(&c->out, data);
}

static const char *reason_of(unsigned status)
{
    static const struct {
        unsigned status;
        const char *text;
    } reasons[] = {
        {200, "OK"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {409, "Conflict"},
        {411, "Length Required"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {421, "Misdirected Request"},
        {429, "Too Many Requests"},
        {500, "Internal Server Error"},
        {503, "Service Unavailable"},
    };
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        if (reasons[i].status == status) return reasons[i].text;
    return "Answer";
}

/* length < 0: in pieces. */
static int put_head(struct http_conn *c, const struct http_head *h, int64_t length)
{
    char line[HEAD_ROOM];
    if (length < 0 && c->old) c->keep = false; /* its end is the end of the connection */
    c->chunked = length < 0 && !c->old;
    int n = snprintf(line, sizeof line,
                     "HTTP/1.1 %u %s\r\ncontent-type: %s\r\ncache-control: no-store\r\n"
                     "x-content-type-options: nosniff\r\nconnection: %s\r\n",
                     h->status, reason_of(h->status), h->content_type,
                     c->keep ? "keep-alive" : "close");
    int rc = out_append(c, bytes_of(line, (size_t)n));
    for (size_t i = 0; rc == 0 && i < HTTP_FIELDS_MAX && h->fields[i].name; i++) {
        n = snprintf(line, sizeof line, "%s %s\r\n", h->fields[i].name, h->fields[i].value);
        if (n < 0 || (size_t)n >= sizeof line) return E_INVALID;
        rc = out_append(c, bytes_of(line, (size_t)n));
    }
    if (length >= 0)
        n = snprintf(line, sizeof line, "content-length: %lld\r\n\r\n", (long long)length);
    else
        n = snprintf(line, sizeof line, "%s\r\n",
                     c->chunked ? "transfer-encoding: chunked\r\n" : "");
    return rc < 0 ? rc : out_append(c, bytes_of(line, (size_t)n));
}

static void want_write(struct http_conn *c)
{
    c->state = ANSWERING;
    if (c->hold_ms) {
        lws_set_timer_usecs(c->wsi, (lws_usec_t)c->hold_ms * LWS_US_PER_MS); /* then let_go() */
        return;
    }
    deadline(c, HTTP_WRITE_TIMEOUT_S);
    lws_callback_on_writable(c->wsi);
}

static void let_go(struct http_conn *c)
{
    c->hold_ms = 0;
    want_write(c);
}

void http_hold(struct http_server *s, uint64_t id, uint64_t delay_ms)
{
    struct http_conn *c = find(s, id);
    if (c) c->hold_ms = min_u64(delay_ms, HTTP_HOLD_MAX_MS);
}

void http_answer(struct http_server *s, uint64_t id, const struct http_head *head,
                 struct bytes body)
{
    struct http_conn *c = find(s, id);
    if (c == NULL) return;
    int rc = put_head(c, head, (int64_t)body.n);
    if (rc == 0 && c->method != HTTP_HEAD) rc = out_append(c, body);
    c->last = true;
    if (rc < 0)
        give_up(c);
    else
        want_write(c);
}

void http_begin(struct http_server *s, uint64_t id, const struct http_head *head)
{
    struct http_conn *c = find(s, id);
    if (c == NULL) return;
    c->last = false;
    if (put_head(c, head, -1) < 0) give_up(c);
}

void http_piece(struct http_server *s, uint64_t id, struct bytes piece, bool last)
{
    struct http_conn *c = find(s, id);
    char size[32];
    if (c == NULL) return;
    int rc = 0;
    if (piece.n && c->method != HTTP_HEAD) {
        int n = snprintf(size, sizeof size, "%zx\r\n", piece.n);
        if (c->chunked) rc = out_append(c, bytes_of(size, (size_t)n));
        if (rc == 0) rc = out_append(c, piece);
        if (rc == 0 && c->chunked) rc = out_append(c, bytes_str("\r\n"));
    }
    if (rc == 0 && last && c->chunked && c->method != HTTP_HEAD)
        rc = out_append(c, bytes_str("0\r\n\r\n"));
    c->last = last;
    if (rc < 0)
        give_up(c);
    else
        want_write(c);
}

void http_patience(struct http_server *s, uint64_t id)
{
    struct http_conn *c = find(s, id);
    if (c && c->state == ASKED) deadline(c, HTTP_ANSWER_TIMEOUT_S);
}

static void later_due(lws_sorted_usec_list_t *sul)
{
    struct http_conn *c = CONTAINER_OF(sul, struct http_conn, later);
    const struct http_handler *h = &c->door->server->handler;
    h->due(h->ctx, c->id);
}

void http_later(struct http_server *s, uint64_t id, unsigned ms)
{
    struct http_conn *c = find(s, id);
    if (c == NULL) return;
    lws_sul_schedule(s->context, 0, &c->later, later_due, (lws_usec_t)ms * LWS_US_PER_MS);
}

void http_abort(struct http_server *s, uint64_t id)
{
    struct http_conn *c = find(s, id);
    if (c) give_up(c);
}

/* Ready for the next request; -1: the connection ends. */
static int answered(struct http_conn *c)
{
    buf_fini(&c->out);
    buf_fini(&c->body);
    buf_fini(&c->text);
    c->state = IDLE;
    if (!c->keep) return -1;
    deadline(c, HTTP_IDLE_TIMEOUT_S);
    return lws_http_transaction_completed(c->wsi) ? -1 : 0;
}

static int on_writable(struct http_conn *c)
{
    if (c->state != ANSWERING || c->hold_ms) return 0;
    uint32_t n = (uint32_t)min_u64(buf_len(&c->out), WRITE_AT_ONCE);
    if (n && lws_write(c->wsi, c->out.data + c->out.head, n, LWS_WRITE_HTTP) < (int)n) return -1;
    c->out.head += n;
    if (n) deadline(c, HTTP_WRITE_TIMEOUT_S);
    if (buf_len(&c->out)) {
        lws_callback_on_writable(c->wsi);
        return 0;
    }
    if (c->last) return answered(c);
    c->out.head = c->out.tail = 0;
    c->state = ASKED;
    deadline(c, HTTP_ANSWER_TIMEOUT_S);
    c->door->server->handler.wanted(c->door->server->handler.ctx, c->id);
    return 0;
}

/* ---- requests ---- */

static struct bytes view(const struct http_conn *c, http_span span)
{
    return bytes_of(c->text.data + span.at, span.n);
}

static void ask(struct http_conn *c)
{
    const struct http_handler *h = &c->door->server->handler;
    c->state = ASKED;
    deadline(c, HTTP_ANSWER_TIMEOUT_S);
    lws_set_timeout(c->wsi, NO_PENDING_TIMEOUT, 0); /* the deadlines are ours */
    if (c->refusal) {
        h->refused(h->ctx, c->id, c->refusal,
                   c->refusal == 413   ? "the body has more than 65536 bytes"
                   : c->refusal == 411 ? "a body needs a Content-Length"
                   : c->refusal == 414 ? "the path is too long"
                   : c->refusal == 503 ? "there is no memory"
                                       : "this request is not understood");
        return;
    }
    struct http_request r = {.id = c->id,
                             .method = c->method,
                             .path = view(c, c->path),
                             .query = view(c, c->query),
                             .host = view(c, c->host),
                             .origin = view(c, c->origin),
                             .authorization = view(c, c->authorization),
                             .content_type = view(c, c->content_type),
                             .body = buf_view(&c->body),
                             .has_origin = c->has_origin,
                             .door = c->door->index,
                             .peer = c->peer};
    h->request(h->ctx, &r);
}

static http_span keep_text(struct http_conn *c, struct bytes text)
{
    http_span span = {c->text.tail, (uint32_t)text.n};
    if (buf_append(&c->text, text) == 0) return span;
    c->refusal = 503;
    return (http_span){0};
}

static http_span keep_header(struct http_conn *c, enum lws_token_indexes token)
{
    char value[HTTP_HEADERS_MAX];
    int n = lws_hdr_copy(c->wsi, value, sizeof value, token);
    return keep_text(c, bytes_of(value, n > 0 ? (size_t)n : 0));
}

/* Each argument with a 0 behind it. */
static void keep_query(struct http_conn *c)
{
    char value[HTTP_HEADERS_MAX];
    c->query = (http_span){c->text.tail, 0};
    for (int i = 0;; i++) {
        int n = lws_hdr_copy_fragment(c->wsi, value, sizeof value, WSI_TOKEN_HTTP_URI_ARGS, i);
        if (n < 0) break;
        value[n] = 0;
        keep_text(c, bytes_of(value, (size_t)n + 1));
    }
    c->query.n = c->text.tail - c->query.at;
}

static bool has_header(const struct http_conn *c, enum lws_token_indexes token)
{
    return lws_hdr_total_length(c->wsi, token) > 0;
}

static void read_version(struct http_conn *c)
{
    char text[64];
    int n = lws_hdr_copy(c->wsi, text, sizeof text, WSI_TOKEN_HTTP);
    c->old = n != 8 || memcmp(text, "HTTP/1.1", 8) != 0;
    n = lws_hdr_copy(c->wsi, text, sizeof text, WSI_TOKEN_CONNECTION);
    c->keep = !c->old && !(n == 5 && strcasecmp(text, "close") == 0);
}

static int64_t read_length(struct http_conn *c)
{
    char text[32], *end;
    if (!has_header(c, WSI_TOKEN_HTTP_CONTENT_LENGTH)) return 0;
    int n = lws_hdr_copy(c->wsi, text, sizeof text, WSI_TOKEN_HTTP_CONTENT_LENGTH);
    if (n <= 0 || text[0] < '0' || text[0] > '9') return -1;
    long long length = strtoll(text, &end, 10);
    return *end || length < 0 ? -1 : length;
}

/* The headers are there. */
static int on_request(struct http_conn *c, const char *path, size_t path_len)
{
    if (c->state != IDLE) return -1;
    char *uri;
    int uri_len;
    switch (lws_http_get_uri_and_method(c->wsi, &uri, &uri_len)) {
    case LWSHUMETH_GET: c->method = HTTP_GET; break;
    case LWSHUMETH_HEAD: c->method = HTTP_HEAD; break;
    case LWSHUMETH_POST: c->method = HTTP_POST; break;
    default: c->method = HTTP_OTHER;
    }
    c->id = ++c->door->server->ids;
    c->refusal = 0;
    read_version(c);
    if (path_len > HTTP_PATH_MAX) c->refusal = 414;
    c->path = keep_text(c, bytes_of(path, path_len));
    keep_query(c);
    c->host = keep_header(c, WSI_TOKEN_HOST);
    c->origin = keep_header(c, WSI_TOKEN_ORIGIN);
    c->has_origin = has_header(c, WSI_TOKEN_ORIGIN);
    c->authorization = keep_header(c, WSI_TOKEN_HTTP_AUTHORIZATION);
    c->content_type = keep_header(c, WSI_TOKEN_HTTP_CONTENT_TYPE);
    int64_t length = read_length(c);
    if (length < 0) c->refusal = 400;
    if (length > 0 && c->method != HTTP_POST) c->keep = false; /* its body stays unread */
    if (length > 0 && c->method == HTTP_GET) c->refusal = 400;
    if (length > HTTP_BODY_MAX) c->refusal = 413;
    if (has_header(c, WSI_TOKEN_HTTP_TRANSFER_ENCODING)) c->refusal = 411;
    bool whole = length == 0 || c->method != HTTP_POST || length > TAKEN_IN_VAIN;
    if (c->refusal) c->keep = false;
    if (c->refusal == 411 || length < 0 || whole) {
        ask(c);
        return 0;
    }
    c->state = READING;
    deadline(c, HTTP_REQUEST_TIMEOUT_S);
    return 0;
}

static int on_body(struct http_conn *c, const void *data, size_t n)
{
    if (c->state != READING || c->refusal) return 0;
    if (buf_len(&c->body) + n > HTTP_BODY_MAX)
        c->refusal = 413;
    else if (buf_append(&c->body, bytes_of(data, n)) < 0)
        c->refusal = 503;
    return 0;
}

/* ---- connections ---- */

static void conn_gone(struct http_conn *c)
{
    const struct http_handler *h = &c->door->server->handler;
    list_del(&c->link);
    lws_sul_cancel(&c->later);
    c->door->connections--;
    c->door->server->stats.connections--;
    if (c->state >= ASKED) h->gone(h->ctx, c->id);
    h->left(h->ctx, c->door->index, c->tag);
    buf_fini(&c->text);
    buf_fini(&c->body);
    buf_fini(&c->out);
    mem_free(c);
}

static void conn_accept(struct door *d, int fd, const struct address *a)
{
    const struct http_handler *h = &d->server->handler;
    struct http_conn *c = d->connections < d->connections_max ? mem_calloc(1, sizeof *c) : NULL;
    if (c) address_text(a, c->peer);
    if (c == NULL || !h->admits(h->ctx, d->index, c->peer, &c->tag)) {
        d->server->stats.turned_off++;
        mem_free(c);
        close(fd);
        return;
    }
    d->server->stats.accepted++;
    d->server->stats.connections++;
    c->door = d;
    list_push(&d->server->conns, &c->link);
    d->connections++;
    lws_adopt_desc_t how = {.vh = d->vhost,
                            .type = LWS_ADOPT_HTTP | LWS_ADOPT_SOCKET |
                                    (d->tls ? LWS_ADOPT_ALLOW_SSL : 0),
                            .fd.sockfd = fd,
                            .opaque = c};
    struct lws *wsi = lws_adopt_descriptor_vhost_via_info(&how);
    if (wsi == NULL) return; /* it was destroyed, and we were told */
    c->wsi = wsi;
    deadline(c, HTTP_REQUEST_TIMEOUT_S);
}

/* Without descriptors or memory: who is at the door waits, and we do not spin. */
static void pause_door(struct lws *wsi)
{
    lws_rx_flow_control(wsi, 0);
    lws_set_timer_usecs(wsi, DOOR_PAUSE_MS * LWS_US_PER_MS);
}

static void on_door(struct lws *wsi)
{
    struct door *d = lws_vhost_user(lws_get_vhost(wsi));
    int listening = lws_get_socket_fd(wsi);
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        struct address a = {.size = sizeof a.sa};
        int fd = accept4(listening, (void *)&a.sa, &a.size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && errno != EINTR && errno != EAGAIN && errno != ECONNABORTED) pause_door(wsi);
        if (fd < 0) return;
        conn_accept(d, fd, &a);
    }
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t n)
{
    (void)user;
    struct lws_context *context = lws_get_context(wsi);
    struct http_server *s = context ? lws_context_user(context) : NULL;
    struct http_conn *c = wsi ? lws_get_opaque_user_data(wsi) : NULL;
    switch (reason) {
    case LWS_CALLBACK_EVENT_WAIT_CANCELLED:
        if (s) s->handler.woken(s->handler.ctx);
        return 0;
    case LWS_CALLBACK_RAW_RX_FILE: on_door(wsi); return 0;
    case LWS_CALLBACK_HTTP: return on_request(c, in, n);
    case LWS_CALLBACK_HTTP_BODY: return on_body(c, in, n);
    case LWS_CALLBACK_HTTP_BODY_COMPLETION:
        if (c->state == READING) ask(c);
        return 0;
    case LWS_CALLBACK_HTTP_WRITEABLE: return on_writable(c);
    case LWS_CALLBACK_TIMER:
        if (c == NULL) return lws_rx_flow_control(wsi, 1); /* the door opens again */
        if (c->state == ANSWERING && c->hold_ms) {
            let_go(c);
            return 0;
        }
        s->stats.late++;
        return -1;
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
    case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION: return -1; /* HTTP/1.1 it is */
    case LWS_CALLBACK_WSI_DESTROY:
        if (c) conn_gone(c);
        return 0;
    default: return 0;
    }
}

/* ---- life ---- */

static int door_open(struct http_server *s, const struct http_door *from)
{
    struct door *d = &s->doors[s->door_count];
    *d = (struct door){.server = s,
                       .index = s->door_count++,
                       .connections_max =
                           (unsigned)min_u64(from->connections_max, HTTP_CONNECTIONS_MAX),
                       .tls = from->certfile != NULL};
    struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN_SERVER,
        .protocols = s->protocols,
        .vhost_name = "sluice",
        .user = d,
        .keepalive_timeout = 3 * HTTP_IDLE_TIMEOUT_S,
        .timeout_secs = 3 * HTTP_REQUEST_TIMEOUT_S, /* ours come first */
        .timeout_secs_ah_idle = 3 * HTTP_REQUEST_TIMEOUT_S,
        .ssl_cert_filepath = from->certfile,
        .ssl_private_key_filepath = from->keyfile,
        .ssl_cipher_list = from->ciphers,
        .tls1_3_plus_cipher_list = from->ciphers13,
        .alpn = "http/1.1",
        .ssl_options_set =
            SSL_OP_NO_TLSv1 | SSL_OP_NO_TLSv1_1 | (from->only_13 ? SSL_OP_NO_TLSv1_2 : 0),
        .options = d->tls ? LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT : 0,
    };
    d->vhost = lws_create_vhost(s->context, &info);
    if (d->vhost == NULL) return E_IO;
    for (unsigned i = 0; i < from->fd_count; i++) {
        if (from->fds[i] < 0) continue;
        /* lws closes what it is given. */
        lws_sock_file_fd_type fd = {.filefd = dup(from->fds[i])};
        if (fd.filefd < 0) return E_IO;
        if (lws_adopt_descriptor_vhost(d->vhost, LWS_ADOPT_RAW_FILE_DESC, fd, "http", NULL) == NULL)
            return E_IO;
    }
    return 0;
}

int http_open(struct http_server **out, const struct http_door *doors, unsigned count,
              const struct http_handler *handler)
{
    ASSERT(count <= DOORS_MAX);
    struct http_server *s = mem_calloc(1, sizeof *s);
    if (s == NULL) return E_NOMEM;
    s->handler = *handler;
    list_init(&s->conns);
    s->protocols[0] = (struct lws_protocols){.name = "http", .callback = on_event};
    bool tls = false;
    for (unsigned i = 0; i < count; i++) tls |= doors[i].certfile != NULL;
    lws_set_log_level(0, NULL); /* it would write to stderr */
    struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN,
        .user = s,
        .max_http_header_data = HTTP_HEADERS_MAX,
        /* A bound on its tables, which are else as large as descriptors are many. */
        .fd_limit_per_thread = count * (HTTP_CONNECTIONS_MAX + 16) + 16,
        .options =
            LWS_SERVER_OPTION_EXPLICIT_VHOSTS | (tls ? LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT : 0),
    };
    s->context = lws_create_context(&info);
    int rc = s->context ? 0 : E_IO;
    for (unsigned i = 0; rc == 0 && i < count; i++) rc = door_open(s, &doors[i]);
    if (rc == 0)
        *out = s;
    else
        http_close(&s);
    return rc;
}

void http_serve(struct http_server *s)
{
    while (!s->stopping)
        if (lws_service(s->context, 0) < 0) usleep(FAILED_PAUSE_MS * 1000); /* no memory for poll */
}

void http_limit(struct http_server *s, unsigned door, unsigned connections_max)
{
    ASSERT(door < s->door_count);
    s->doors[door].connections_max = (unsigned)min_u64(connections_max, HTTP_CONNECTIONS_MAX);
}

const struct http_stats *http_stats(const struct http_server *s) { return &s->stats; }

void http_stop(struct http_server *s) { s->stopping = true; }

void http_wake(struct http_server *s) { lws_cancel_service(s->context); }

void http_close(struct http_server **server)
{
    struct http_server *s = *server;
    if (s == NULL) return;
    *server = NULL;
    if (s->context) lws_context_destroy(s->context);
    ASSERT(list_empty(&s->conns));
    mem_free(s);
}

bool http_query(struct bytes query, const char *name, struct bytes *value)
{
    size_t n = strlen(name);
    while (query.n) {
        struct bytes one = bytes_str((const char *)query.p);
        query = bytes_skip(query, one.n + 1);
        if (!bytes_starts(one, name) || one.n <= n || one.p[n] != '=') continue;
        *value = bytes_skip(one, n + 1);
        return true;
    }
    return false;
}
