/* What the files of the admin listener share.  A request is a `struct call` from its headers to the
 * end of its answer:
 *
 *   guard (Host, Origin, type) -> login (a thread of auth_pool) -> access list -> route -> run()
 *                                      run() -> call_ask() -> a shard's thread -> answered() -> ...
 *                                            -> call_reply(), or call_stream() and pieces
 *
 * To add an endpoint: a row in admin_route.c, and its run() in a file of its own beside
 * admin_list.c, which is the pattern for lists.  run() is called on the admin thread and must not
 * wait; what belongs to a shard is asked for with call_ask().  All of this belongs to the admin
 * thread but for what says otherwise. */
#ifndef SRC_ADMIN_INT_H
#define SRC_ADMIN_INT_H

#include "admin.h"
#include "auth_pool.h"
#include "base/buf.h"
#include "base/list.h"
#include "core/list.h"
#include "metrics.h"
#include "mqtt/topic.h"
#include "net/http.h"
#include <jansson.h>

enum {
    ADMIN_ROWS = 500,       /* of a list, that a shard gives in one step */
    ADMIN_DELETES = 200,    /* retained messages it deletes in one step */
    ADMIN_LIMIT_MAX = 1000, /* the largest `limit` of a list */
    ADMIN_JSON_DEPTH = 32,  /* of a body */
    ADMIN_USER_MAX = 256,   /* bytes of a user name */
    ADMIN_SECRET_MAX = 6000,
    ADMIN_CURSOR_MAX = 2000, /* bytes of `after`, percent-encoded */
    ADMIN_WHY_MAX = 320,     /* of why something is not right */
    ADMIN_PARAMS_MAX = 20,
    ADMIN_PAUSE_MS = 2, /* before a shard that waits for the disk is asked again */
};

struct admin_door {
    const struct conf_listener *conf; /* the newest */
};

struct admin_counts {
    uint64_t requests, refused; /* refused: by guard, login or access list */
    uint64_t delayed;           /* answers to wrong passwords */
};

struct admin {
    const struct conf *conf;
    struct shard_set *shards;
    struct log *log;
    struct http_server *http;
    struct admin_door *doors;
    unsigned door_count;
    struct list calls;
    unsigned away; /* calls that a shard or the pool has just now */
    bool stopping;
    uint64_t started_ms;
    struct admin_counts counts;
    struct admin_thread *thread; /* admin_thread.c's */
};

struct call;

/* ---- admin_route.c: the table of all that there is ---- */

struct admin_param {
    const char *name;
    const char *in; /* "path", "query", or "body": a member of the JSON object */
    const char *type;
    const char *help;
};

struct admin_route {
    enum http_method method; /* HTTP_GET stands for HEAD as well */
    const char *path;        /* "{id}" is any text, also with slashes */
    const char *resource;    /* in the access list: $CONTROL/sluice/<resource>; NULL: for anybody */
    void (*run)(struct call *c);
    const char *help;
    struct admin_param params[ADMIN_PARAMS_MAX]; /* up to one without a name */
    const char *answers;                         /* type of what a good answer holds */
};

const struct admin_route *admin_routes(size_t *count);
/* The route for a path, or NULL; *id is what stands for {id}. */
const struct admin_route *admin_route_find(enum http_method method, struct bytes path,
                                           struct bytes *id);
/* The methods that a path has, as an Allow header says them; NULL: there is no such path. */
const char *admin_route_allow(struct bytes path);
void admin_run_openapi(struct call *c);

/* ---- admin_guard.c: pure ---- */

/* Whether this Host header may be meant for us.  Names of others would let a page that renames
 * itself (DNS rebinding) speak to us from a browser.  own: a name of the listener, or NULL. */
bool guard_host_ok(struct bytes host, const char *own, const char *machine);
/* Whether a page of `origin` may ask: only one that came from this host itself. */
bool guard_origin_ok(struct bytes origin, struct bytes host, bool tls);
bool guard_json_type(struct bytes content_type);
/* User and password of "Basic ..."; out holds both, *user and *secret are views into it. */
bool guard_basic(struct bytes authorization, uint8_t out[static ADMIN_SECRET_MAX],
                 struct bytes *user, struct bytes *secret);
/* No deeper than ADMIN_JSON_DEPTH. */
bool guard_json_depth(struct bytes json);
/* A decimal number of at most 19 digits and at most `most`. */
bool guard_number(struct bytes text, uint64_t most, uint64_t *out);
/* Appends text for a query: percent-encoded.  E_NOMEM. */
MUST_USE int guard_encode(struct buf *out, struct bytes text);

/* ---- admin.c: a request and its answer ---- */

struct call {
    struct list link;
    struct admin *admin;
    uint64_t id; /* of the request */
    const struct admin_route *route;
    enum http_method method;
    const struct conf_listener *listener;
    struct buf text;                              /* what the views below lie in */
    struct bytes target, path, query, body, user; /* target: what stands for {id} */
    char peer[80];
    bool gone; /* the connection is: freed when nobody has it */
    bool away;
    struct auth_job job;
    struct bytes secret;
    struct shard_task task;
    struct shard_promise promise;
    bool kept; /* of call_ask_safe(): what was done is on disk */
    struct admin_task back;
    void (*on_shard)(struct call *c, struct shard *s);
    void (*answered)(struct call *c);
    void (*wanted)(struct call *c); /* of a stream: the next piece */
    void (*due)(struct call *c);    /* of call_later() */
    void (*fini)(struct call *c);   /* of `state`, or NULL */
    void *state;                    /* the route's own; mem_free()d after fini */
};

/* Answers, and the call is over. */
void call_reply(struct call *c, unsigned status, const char *type, struct bytes body);
void call_reply_json(struct call *c, unsigned status, json_t *json); /* takes json, NULL: 503 */
/* Appends it to out, on one line.  E_NOMEM. */
MUST_USE int admin_json_append(struct buf *out, const json_t *json);
/* {"error": code, "detail": "..."} */
void call_fail(struct call *c, unsigned status, const char *error, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/* With another header, such as Link. */
void call_reply_with(struct call *c, unsigned status, const char *type, struct http_field field,
                     struct bytes body);
/* An answer in pieces: after each but the last, wanted() is called when it is out. */
void call_stream(struct call *c, const char *type, void (*wanted)(struct call *c));
void call_piece(struct call *c, struct bytes piece, bool last);
void call_abort(struct call *c);

/* on_shard() runs on that shard's thread, which has the call meanwhile; then answered() here,
 * unless the connection has gone. */
void call_ask(struct call *c, unsigned shard, void (*on_shard)(struct call *c, struct shard *s),
              void (*answered)(struct call *c));
/* The same, but answered() comes when what on_shard() did is on disk, and other shards have its
 * mail; c->kept: else the disk did not take it in time. */
void call_ask_safe(struct call *c, unsigned shard,
                   void (*on_shard)(struct call *c, struct shard *s),
                   void (*answered)(struct call *c));
/* A pause: due() is called in so many milliseconds. */
void call_later(struct call *c, unsigned ms, void (*due)(struct call *c));
/* For a log line about what somebody did. */
const char *call_who(const struct call *c);
/* The JSON object of the body; NULL: answered, c is over. */
json_t *call_body(struct call *c);
void call_free(struct call *c);
/* Of admin_thread.c: every request of the HTTP server. */
void admin_request(void *ctx, const struct http_request *r);
void admin_wanted(void *ctx, uint64_t id);
void admin_due(void *ctx, uint64_t id);
void admin_gone(void *ctx, uint64_t id);
void admin_refused(void *ctx, uint64_t id, unsigned status, const char *detail);

/* ---- admin_message.c: pure ---- */

/* Adds a message's content_type, response_topic, correlation_data_base64 (where there is one),
 * properties (the user properties, [[name, value], ...], without those that skips() says; NULL:
 * none), and payload, or payload_base64 when it is no text. */
void admin_set_message(json_t *j, struct bytes props, struct bytes payload,
                       bool (*skips)(struct bytes name));

/* ---- endpoints ---- */

/* Asks every shard, one after the other, for its counters, and calls done(). */
struct admin_figures { /* counters and gauges, as metrics_add() wants them */
    struct core_stats core;
    struct shard_stats shell;
};
void admin_gather(struct call *c, void (*done)(struct call *c));
const struct admin_figures *admin_sum(const struct call *c); /* in done(): of all shards */
/* Appends name="value", escaped.  E_NOMEM. */
MUST_USE int metrics_put_label(struct buf *out, const char *name, struct bytes value);
/* The first counter that /metrics does not have, counted from 1; 0: none is missing. */
size_t admin_figures_missing(void);

void admin_run_index(struct call *c);
void admin_run_livez(struct call *c);
void admin_run_readyz(struct call *c);
void admin_run_status(struct call *c);
void admin_run_config(struct call *c);
void admin_run_metrics(struct call *c);
void admin_run_clients(struct call *c);
void admin_run_client(struct call *c);
void admin_run_kick(struct call *c);
void admin_run_kick_named(struct call *c);
void admin_run_subscriptions(struct call *c);
void admin_run_retained(struct call *c);
void admin_run_retained_delete(struct call *c);
void admin_run_queues(struct call *c);
void admin_run_queue(struct call *c);
void admin_run_queue_create(struct call *c);
void admin_run_queue_create_named(struct call *c);
void admin_run_queue_purge(struct call *c);
void admin_run_queue_delete(struct call *c);
void admin_run_dead(struct call *c);
void admin_run_letter(struct call *c);
void admin_run_dead_redrive(struct call *c);
void admin_run_dead_purge(struct call *c);
void admin_run_letter_redrive(struct call *c);
void admin_run_letter_purge(struct call *c);
void admin_run_history(struct call *c);
void admin_run_history_read(struct call *c);
void admin_no_queue(struct call *c, struct bytes name); /* 404 */

#endif
