/* Threads that check logins, so that no shard waits for a hash that is slow on purpose.  Jobs
 * queue up to a limit; above it they are turned away, and the client is told to come later. */
#ifndef SRC_AUTH_POOL_H
#define SRC_AUTH_POOL_H

#include "base/bytes.h"
#include "base/err.h"

enum {
    AUTH_THREADS = 2,
    AUTH_QUEUE_MAX = 4096,      /* jobs that wait */
    AUTH_QUEUE_BYTES = 4 << 20, /* of names, passwords and messages in them */
    AUTH_NICE = 5,              /* clients that are in go before those that want in */
};

enum auth_verdict {
    AUTH_RIGHT,
    AUTH_WRONG,
    AUTH_MORE,    /* right so far, the client has to say more */
    AUTH_BUSY,    /* there is no memory */
    AUTH_LATE,    /* expires_ms had passed: nobody waits for it any more */
    AUTH_STOPPED, /* the pool ended first */
};

/* Embedded by who asks, and theirs again with done(). */
struct auth_job {
    struct auth_job *next;
    enum auth_verdict (*check)(struct auth_job *job); /* on a thread of the pool */
    size_t bytes;                                     /* that it holds, for the limit */
    uint64_t expires_ms;                              /* clock_mono_ms() */
    enum auth_verdict verdict;
    void (*done)(struct auth_job *job); /* on a thread of the pool, or in auth_pool_free() */
};

struct auth_pool;

MUST_USE int auth_pool_new(struct auth_pool **out, unsigned threads); /* E_NOMEM, E_IO */
/* Ends the threads; jobs that wait are done with AUTH_STOPPED.  No other thread uses the pool. */
void auth_pool_free(struct auth_pool **pool);
/* Any thread.  E_FULL: done() will not be called. */
MUST_USE int auth_pool_submit(struct auth_pool *pool, struct auth_job *job);

#endif
