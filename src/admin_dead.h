/* What the admin listener's files about dead letters share.  The admin thread. */
#ifndef SRC_ADMIN_DEAD_H
#define SRC_ADMIN_DEAD_H

#include "admin_int.h"
#include "core/dead_act.h"

#define DEAD_REASONS_ARE                                                                           \
    "to be one of attempts, rejected, expired, overflow, too-large, session-expired"

bool dead_reason_ok(struct bytes text);
/* What the path names; false: answered. */
bool admin_letter_seq(struct call *c, uint64_t *seq);
void admin_no_letter(struct call *c); /* 404 */

#endif
