/* What the rooms of sessions, subscriptions and retained messages do for recovery (recover.c): they
 * put back what a journal tells. */
#ifndef CORE_RECOVER_H
#define CORE_RECOVER_H

#include "core/core_int.h"

/* core_fetch() that waits; only before the shard serves anybody. */
MUST_USE int recover_fetch(struct core *core, store_ref ref, struct blob **body);

/* A message meets a group of this shard: some member is to have it. */
void recover_grouped(struct core *core, struct group *g, const struct pub *p);

#endif
