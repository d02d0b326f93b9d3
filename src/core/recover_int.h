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
    struct doubt *doubts; /* messages of full queues, recover_full.c */
    size_t doubt_count, doubt_room;
    bool ending; /* a run is over: what was on its way arrives */
    int rc;      /* E_NOMEM, E_INVALID: stop */
};

struct session *recover_find(const struct recovery *r, uint64_t sid);
/* Takes a reference to the message.  Errors go to r->rc. */
void recover_queue(struct recovery *r, struct outq *q, struct outq_item item, uint64_t seq);

/* ---- recover_full.c ---- */
void doubts_end(struct recovery *r, unsigned stream); /* that shard's journal has been read again */
void doubts_judge(struct recovery *r);                /* the run is over */
void doubts_fini(struct recovery *r);

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
