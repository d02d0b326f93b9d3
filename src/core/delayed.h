/* Messages that are to be published later (CONTRACT section 4): `$delayed/<seconds>/<topic>`, or
 * any topic with the property sluice-delay.  Until its time a message is in the store under the
 * topic
 * `$delayed/<time>/<topic>` (milliseconds since 1970), which nobody can subscribe to, and has a
 * timer on the shard of its publisher.  The shard's thread. */
#ifndef CORE_DELAYED_H
#define CORE_DELAYED_H

#include "core/core_int.h"

enum { DELAYED_MAX = 1 << 20 }; /* on one shard */

/* Takes `$delayed/<seconds>/` off *topic, and the delay out of control, if it is there: 0 with the
 * delay in milliseconds (0: none), or E_INVALID. */
MUST_USE int delayed_split(struct bytes *topic, struct bytes control, uint64_t *delay_ms);
/* Stores p, whose seq is set, and keeps it until then.  E_FULL: too many, or as store_append(). */
/* The topic that one waits for, of the topic under which it is stored; else it is as it was. */
void delayed_final_topic(struct bytes *topic);
MUST_USE int delayed_add(struct core *core, struct pub *p, uint64_t delay_ms);

/* Publishes those whose time has come, in order.  Once a turn; whether there were any. */
bool delayed_settle(struct core *core);
bool delayed_has_work(const struct core *core);

/* Recovery: a message of that topic, if it is to be kept here; E_NOMEM. */
MUST_USE int delayed_restore_message(struct core *core, const struct pub *p);
MUST_USE int delayed_restore(struct core *core, struct rd *r); /* J_DELAYED */
void delayed_forget(struct core *core, uint64_t seq);          /* it has been published */
/* For a checkpoint: the next one; E_NOTFOUND: that was all; E_AGAIN. */
int delayed_snapshot(struct core *core, bool first);
void delayed_free(struct core *core);
uint64_t delayed_hash(const void *elem, uint64_t seed);

#endif
