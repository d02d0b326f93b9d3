/* A small HTTP/1.1 server by libwebsockets, which is seen in http.c only: it accepts on sockets
 * that others have opened, reads whole requests within limits, and writes answers, whole or piece
 * by piece.  What a request means is its handler's business.  All of it belongs to the thread that
 * calls http_serve(), but for http_wake(). */
#ifndef NET_HTTP_H
#define NET_HTTP_H

#include "base/bytes.h"
#include "base/err.h"

enum {
    HTTP_HEADERS_MAX = 8 * 1024, /* bytes of a request line and its headers */
    HTTP_PATH_MAX = 4096,        /* bytes; longer: 414 */
    HTTP_BODY_MAX = 64 * 1024,   /* bytes; longer: 413 */
    HTTP_CONNECTIONS_MAX = 64,   /* at a time; more wait in the kernel's queue */
    HTTP_REQUEST_TIMEOUT_S = 10, /* from its first byte to its last; then the connection ends */
    HTTP_IDLE_TIMEOUT_S = 30,    /* between requests */
    HTTP_ANSWER_TIMEOUT_S = 60,  /* for the handler to give the answer, or its next piece */
    HTTP_WRITE_TIMEOUT_S = 30,   /* for a client to take a piece */
    HTTP_HOLD_MAX_MS = 5000,     /* an answer that is to wait waits no longer */
    HTTP_PIECE_MAX = 4 << 20,    /* bytes of a piece */
    HTTP_FIELDS_MAX = 4,         /* headers of an answer beside the usual ones */
};

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_OTHER };

struct http_server;

/* Views are valid for the call. */
struct http_request {
    uint64_t id; /* names it in answers; never used again */
    enum http_method method;
    struct bytes path;  /* with %XX decoded, and without ".", ".." and "//" */
    struct bytes query; /* "a=b", "c=d", each closed by a 0, %XX decoded; see http_query() */
    struct bytes host, origin, authorization, content_type; /* n == 0: not there */
    struct bytes body;                                      /* of a POST */
    bool has_origin;
    unsigned door;    /* that it came in by */
    const char *peer; /* "1.2.3.4:5" */
};

struct http_field {
    const char *name; /* in small letters, with a colon behind: "allow:" */
    const char *value;
};

/* Of what an answer begins with.  Borrowed for the call. */
struct http_head {
    unsigned status;
    const char *content_type;
    struct http_field fields[HTTP_FIELDS_MAX]; /* up to one without a name */
};

struct http_handler {
    void *ctx;
    /* Whether a connection from there may stay; *tag is then given to left(). */
    bool (*admits)(void *ctx, unsigned door, const char *peer, uint64_t *tag);
    void (*left)(void *ctx, unsigned door, uint64_t tag);
    /* A whole request.  Each is answered once, now or later. */
    void (*request)(void *ctx, const struct http_request *r);
    /* The last piece of this answer is on its way: the next may come. */
    void (*wanted)(void *ctx, uint64_t id);
    /* Of http_later(). */
    void (*due)(void *ctx, uint64_t id);
    /* Its connection went before the answer had ended. */
    void (*gone)(void *ctx, uint64_t id);
    void (*woken)(void *ctx);
    /* What the server itself refuses, or has no memory for: to be answered as any other. */
    void (*refused)(void *ctx, uint64_t id, unsigned status, const char *detail);
};

/* The sockets of one listener. */
struct http_door {
    const int *fds; /* that listen; -1: none.  They stay the caller's */
    unsigned fd_count;
    unsigned connections_max;        /* at a time; at most HTTP_CONNECTIONS_MAX */
    const char *certfile, *keyfile;  /* PEM; NULL: without TLS */
    const char *ciphers, *ciphers13; /* as OpenSSL writes them, or NULL: its own */
    bool only_13;                    /* else TLS 1.2 too */
};

struct http_stats {
    uint64_t connections;          /* gauge */
    uint64_t accepted, turned_off; /* counters; turned_off: by a limit */
    uint64_t late;                 /* connections that ended by a deadline */
};

/* doors and handler are copied.  E_NOMEM; E_IO: a certificate or socket cannot be used. */
MUST_USE int http_open(struct http_server **out, const struct http_door *doors, unsigned count,
                       const struct http_handler *handler);
/* Serves until http_stop(). */
void http_serve(struct http_server *s);
void http_stop(struct http_server *s); /* in a handler: http_serve() returns soon */
void http_close(
    struct http_server **s); /* ends all connections; gone() is called for each answer */

/* Another connections_max; those that are open stay. */
void http_limit(struct http_server *s, unsigned door, unsigned connections_max);
const struct http_stats *http_stats(const struct http_server *s);

/* Any thread: woken() is called soon, once or more. */
void http_wake(struct http_server *s);

/* The whole answer; body is copied.  An id that has gone is no error. */
void http_answer(struct http_server *s, uint64_t id, const struct http_head *head,
                 struct bytes body);
/* Before it: the answer is to wait so long, HTTP_HOLD_MAX_MS at most. */
void http_hold(struct http_server *s, uint64_t id, uint64_t delay_ms);
/* An answer in pieces: its head, then pieces, each after wanted() for the one before (the first at
 * once), of which the last may be empty.  Pieces are copied. */
void http_begin(struct http_server *s, uint64_t id, const struct http_head *head);
void http_piece(struct http_server *s, uint64_t id, struct bytes piece, bool last);
/* The answer takes longer, and that is no fault: its time begins anew. */
void http_patience(struct http_server *s, uint64_t id);
/* due() is called in so many milliseconds, unless the connection has gone. */
void http_later(struct http_server *s, uint64_t id, unsigned ms);
/* Ends the connection: what was begun cannot go on. */
void http_abort(struct http_server *s, uint64_t id);

/* The value of `name` in a query, *value is a view; false: it is not there. */
bool http_query(struct bytes query, const char *name, struct bytes *value);

#endif
