/* What is known of the addresses that connect: how many connections each has, how fast they come,
 * and how often a login from there failed.  One table for all shards under one lock, which is taken
 * once a connection, and only where a limit is set.  Bounded: an address without a connection is
 * forgotten when PEERS_IDLE_MAX others were here since.  Any thread. */
#ifndef SRC_PEERS_H
#define SRC_PEERS_H

#include "base/base.h"
#include "base/err.h"

enum {
    PEERS_IDLE_MAX = 65536,
    PEERS_TELL_MS = 60 * 1000,   /* an address is in the log once in so long */
    PEERS_FORGET_MS = 60 * 1000, /* after the last failed login they count anew */
    PEERS_DOUBLINGS = 10,        /* of the delay */
};

struct peers;

/* Of a listener, for each address; 0: none. */
struct peers_limits {
    uint32_t connections; /* at a time */
    uint32_t rate;        /* a second; a second's worth may come at once */
};

enum peers_verdict { PEERS_ADMITTED, PEERS_TOO_MANY, PEERS_TOO_FAST };

MUST_USE int peers_new(struct peers **out, uint64_t seed); /* E_NOMEM */
void peers_free(struct peers **peers);

/* A connection from there (address_net()) to a listener, which is any pointer that names it.
 * PEERS_ADMITTED: it is counted, until peers_leave().  Else *tell: nobody has been told for a
 * while. */
enum peers_verdict peers_enter(struct peers *p, uint64_t net, const void *listener,
                               const struct peers_limits *limits, uint64_t now_ms, bool *tell);
void peers_leave(struct peers *p, uint64_t net, const void *listener);

/* A login from there was wrong: how long its answer is to wait.  It is first_ms for the first one
 * and doubles. */
uint64_t peers_login_failed(struct peers *p, uint64_t net, uint64_t first_ms, uint64_t now_ms);

#endif
