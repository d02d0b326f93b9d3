/* Recovery's own: recover.c reads the log, recover_group.c follows the shared groups in it. */
#ifndef CORE_RECOVER_INT_H
#define CORE_RECOVER_INT_H

#include "core/journal.h"
#include "core/mailbox.h"
#include "core/recover.h"

/* A session's snapshot that is being read, one a stream. */
struct snap {
    uint64_t sid;
    bool known;        /* its state is known already */
    bool skipping;     /* and so what is said now */
    struct outq older; /* what was queued when it began */
};

struct recovery {
    struct core *core;
    struct ptrmap sessions; /* by sid */
    struct ptrmap tails;    /* struct tail by seq */
    struct ptrmap gmembers; /* struct gmember by mid */
    struct ptrmap gtails;   /* struct gtail by seq */
    struct snap snaps[CORE_MAX_SHARDS];
    int rc; /* E_NOMEM, E_INVALID: stop */
};

/* Groups of this shard, whose members' sessions may live on any: by every entry of a session, and
 * the entries that are about groups.  Errors go to r->rc. */
void groups_init(struct recovery *r);
void groups_fini(struct recovery *r);
void groups_entry(struct recovery *r, unsigned kind, const struct rd *rd);
void groups_given(struct recovery *r, unsigned stream, struct rd *rd);  /* J_GIVEN */
void groups_handed(struct recovery *r, unsigned stream, struct rd *rd); /* J_HANDED */
void groups_waits(struct recovery *r, unsigned stream, struct rd *rd);  /* J_WAITS */
void groups_finish(struct recovery *r); /* what no member has is the groups' again */

#endif
