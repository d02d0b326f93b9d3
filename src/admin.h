/* The admin listener (CONTRACT section 7): HTTP on listeners with `protocol http_api`, for
 * sluicectl, Prometheus, probes and the dashboard.  It has a thread of its own and touches no core:
 * it posts questions to shards, which answer a bounded piece at a time.  Main thread, but for what
 * says otherwise. */
#ifndef SRC_ADMIN_H
#define SRC_ADMIN_H

#include "conf.h"
#include "listener.h"
#include "log.h"
#include "shard.h"

struct admin;

bool admin_is_built(void); /* any thread: not with SLUICE_WEB=OFF */

/* Work for the admin thread.  Embedded by who posts it; run() may free it. */
struct admin_task {
    struct admin_task *next;
    void (*run)(struct admin *a, struct admin_task *t);
};

/* Makes it for those of conf's listeners, whose sockets are open; *out is NULL when there are none.
 * Reads certificates and keys, so this comes before root is given up.  conf, listeners and log
 * outlive it.  E_NOMEM; E_IO: a line in the log says why. */
MUST_USE int admin_new(struct admin **out, const struct conf *conf, const struct listeners *ls,
                       struct log *log);
/* Starts the thread; the shards run.  E_IO. */
MUST_USE int admin_start(struct admin *a, struct shard_set *shards);
/* Answers what is being asked, refuses the rest, and ends the thread.  The shards still run. */
void admin_free(struct admin **a);

/* Any thread. */
void admin_post(struct admin *a, struct admin_task *t);
/* In a task: a reload.  conf outlives the admin. */
void admin_configure(struct admin *a, const struct conf *conf);

#endif
