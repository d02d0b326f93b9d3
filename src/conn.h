/* A client's connection as the shell sees it: transport, unread bytes, and the way to the shard
 * where its session lives.  It belongs to the shard that it is on. */
#ifndef SRC_CONN_H
#define SRC_CONN_H

#include "shard_int.h"

enum conn_begin {
    CONN_SPEAKS,    /* nothing: MQTT */
    CONN_ANNOUNCED, /* a proxy's header */
    CONN_GREETS,    /* the transport's handshake */
    CONN_ASKS,      /* the head of an HTTP request */
    CONN_ANSWERS,   /* nothing: our answer to it is on its way */
};

struct conn_answer;

struct conn {
    struct loop_source source;
    struct transport transport;
    struct shard *shard;
    struct listener *listener;
    const struct conf_listener *conf;
    struct cconn *core;         /* NULL before CONNECT */
    char *peer;                 /* owned, until the core has its own */
    char *proved_user;          /* by a proxy's word; likewise; NULL: nobody */
    struct buf rest;            /* read, not consumed; while it answers: the answer's head */
    struct conn_answer *answer; /* or NULL; conn_http.c's */
    struct list link;           /* in shard->fresh, conns, lingering or dead */
    uint64_t deadline_ms;       /* while fresh or lingering */
    uint64_t net;               /* where it is counted by address; ADDRESS_NET_NONE: nowhere */
    bool pending;               /* counted as one that has to send its CONNECT */
    uint8_t begins;             /* enum conn_begin: what is to come before MQTT */
    bool paused;                /* the core does not want more for now */
    bool ended;                 /* the core ignores further input */
    bool want_write;            /* the socket takes no more for now */
    bool closes;                /* once the socket has taken the last packet, or at the deadline */
    bool lingers;               /* has had its last packet; what still comes is thrown away */
    bool dead;                  /* freed, but for its memory */
};

/* conn_begin.c: takes an accepted socket; peer is copied.  Without memory it is closed. */
void conn_accept(struct shard *s, struct listener *l, const struct conf_listener *conf, int fd,
                 const char *peer);
/* What core_next_ready() says of a connection. */
void conn_service(struct conn *c, unsigned events);
/* Ends it; `why` as for core_conn_closed(). */
void conn_free(struct conn *c, int why);

/* ---- between conn.c, conn_begin.c and conn_http.c ---- */

/* In s->fresh; peer is copied.  NULL without memory: t is the caller's then. */
struct conn *conn_new(struct shard *s, struct listener *l, const struct conf_listener *conf,
                      const struct transport *t, const char *peer);
void conn_want(struct conn *c); /* tells the loop what is waited for; may free c */
/* It is over, but its input is read and thrown away for a while. */
void conn_linger(struct conn *c);
void conn_begin_ready(struct conn *c); /* an event while c->begins */
void conn_renew(struct conn *c);       /* in s->fresh, with as much time as a new one */
/* conn_http.c */
void conn_asks(struct conn *c);    /* an event while CONN_ASKS */
void conn_answers(struct conn *c); /* and while CONN_ANSWERS */
void conn_answer_free(struct conn *c);

#endif
