/* Histories with a history_dedup_window (CONTRACT section 4): a message whose sluice-dedup-id such
 * a history has had within the window is acknowledged, and neither stored nor routed again.
 *
 * Which identifiers there were is known by one shard each, by hash.  The shard of a publisher
 * claims the identifier there before it stores the message, and says afterwards whether it did:
 *
 *   PUBLISH -> ASK to the owner; not read meanwhile -> SAID claimed -> stored -> OVER kept
 *                                                      SAID known   -> PUBACK with duplicate: 1
 *
 * Who asks for what another has claimed is answered when that is over.  What is kept is in the log
 * with the message itself, so recovery finds it there, or in a checkpoint.  The shard's thread. */
#ifndef CORE_DEDUP_H
#define CORE_DEDUP_H

#include "core/core_int.h"

struct recovery;

/* Of a PUBLISH that belongs to a history: 0: to be stored, and then dedup_over() is to be called;
 * E_EXISTS: it is a duplicate; E_AGAIN: the connection is paused, and the packet comes again;
 * E_NOMEM. */
MUST_USE int dedup_check(struct cconn *c, const struct pub *p);
/* The packet has been dealt with, or the connection is gone: p was stored (p->seq) or not; NULL: it
 * was not. */
void dedup_over(struct cconn *c, const struct pub *p);

void dedup_mail_in(struct core *core, unsigned src, unsigned kind, struct rd *r);
void dedup_free(struct core *core);

/* ---- the journal ---- */

/* The identifier of what was just found to be a duplicate: whatever waits for this entry waits for
 * the message that it repeats. */
void dedup_journal_seen(struct core *core, const struct pub *p);
void dedup_journal(struct core *core); /* for a checkpoint */
/* While recovering; E_NOMEM. */
MUST_USE int dedup_restore(struct core *core, struct rd *r);
MUST_USE int dedup_restore_message(struct core *core, const struct pub *p);

#endif
