/* What the broker itself says with a delivery, as user properties behind the publisher's (CONTRACT
 * sections 3 and 5): sluice-seq, sluice-ts, sluice-attempt.  The shard's thread. */
#ifndef CORE_TELL_H
#define CORE_TELL_H

#include "core/core_int.h"

/* A subscription whose deliveries are told their place in the log has this among its subscription
 * identifiers: no client can give it, and it is never sent.  So it goes wherever they go: joined
 * with those of overlapping subscriptions, through queues, and into the journal. */
#define SUBID_TOLD 0x7fffffffu

/* struct tell (core_int.h): seq and time (wall clock) of the message; seq 0: neither is said; time
 * 0: the time is not, and the place is said to every subscription.  attempt: below 2 it is not
 * said.
 */

/* Leaves SUBID_TOLD and other marks (redeliver.h) out of the identifiers, which then are in room
 * (SUBID_MAX).  Whether it was among them. */
bool tell_asked(const uint32_t **ids, uint32_t *count, uint32_t *room);

/* One of the identifiers other than SUBID_TOLD; 0: there is none. */
uint32_t tell_plain(struct core *core, uint32_t subid);

/* props with what is to be told, in scratch memory that is good until the next call; the same props
 * when nothing is.  E_NOMEM. */
MUST_USE int tell_props(struct core *core, const struct tell *t, struct bytes *props);

#endif
