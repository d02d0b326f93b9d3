/* What the rooms of sessions, subscriptions and retained messages do for recovery (recover.c): they
 * put back what a journal tells. */
#ifndef CORE_RECOVER_H
#define CORE_RECOVER_H

#include "core/core_int.h"

/* core_fetch() that waits; only before the shard serves anybody. */
MUST_USE int recover_fetch(struct core *core, store_ref ref, struct blob **body);

/* A message does not fit into the queue of s.  Whether limits decide about that, and not what the
 * journal says. */
bool recover_judges(const struct core *core);
void recover_dropped(struct core *core, const struct session *s, const struct pub *p, uint8_t qos,
                     unsigned flags, uint32_t subid);

/* A message meets a group of this shard: some member is to have it. */
void recover_grouped(struct core *core, struct group *g, const struct pub *p);

#endif
