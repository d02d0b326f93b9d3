/* Retained history: policies over topics (core_config.histories), whose messages stay in the log,
 * whatever their QoS, within limits of age, bytes and number (CONTRACT section 2).
 *
 *   log   | gone | first_seq  . m . m . . m .  end     m: of the policy, the rest is of others
 *                 `--- its bytes and number: what was added less what was trimmed ---'
 *
 * Every core adds what it appends; shard 0 knows the sum, trims from the front, and tells the
 * others where each policy begins.  Age is looked at when a message is read.  Replays (replay.h)
 * read it.  The shard's thread. */
#ifndef CORE_HISTORY_H
#define CORE_HISTORY_H

#include "core/core_int.h"

struct recovery;
struct core_history;

/* The policies of core->cfg, each with the state it had if it was there before.  E_NOMEM: all is
 * as it was. */
MUST_USE int histories_configure(struct core *core);
void histories_free(struct core *core);

/* Which policy a topic belongs to, the first that matches: from 1 on; 0: none. */
unsigned history_find(const struct core *core, struct bytes topic);
static inline unsigned history_of(const struct core *core, struct bytes topic)
{
    return LIKELY(core->histories == NULL) ? 0 : history_find(core, topic);
}
/* The same for a topic that was found to belong to some: with one policy nothing is compared. */
unsigned history_again(const struct core *core, struct bytes topic);
const struct core_history *history_conf(const struct core *core, unsigned policy);
/* Whether some topic may match both the filter and a policy's. */
bool history_meets(const struct core *core, struct bytes filter);

/* A message of that policy was appended: topic, properties and payload have `size` bytes. */
void history_added(struct core *core, unsigned policy, size_t size);

/* What may still be read of a policy: sequences and times (since 1970) from these on, and so many
 * of each topic (STORE_ALL: any number). */
struct history_limits {
    uint64_t first_seq, first_ms;
    uint32_t per_topic;
};
struct history_limits history_limits(const struct core *core, unsigned policy);
/* Of all policies: from where on some has messages; STORE_ALL: none has a limit by topic. */
struct history_limits history_limits_of_all(const struct core *core);

/* What the configuration says of a policy, and what it holds, for history_read.h; shard 0.  False:
 * there is no such policy. */
struct history_info;
bool history_about(const struct core *core, unsigned policy, struct history_info *out);

/* Reports, and trims; once a turn. */
void history_tick(struct core *core);
uint64_t history_due(const struct core *core); /* now_ms of the next one that has something to do */
void history_mail_in(struct core *core, unsigned src, unsigned kind, struct rd *r);

/* ---- the journal ---- */

void history_journal(struct core *core); /* for a checkpoint */
/* While recovering: J_HISTORY of that shard, a message of it, another run of the broker begins. */
void history_restore(struct core *core, unsigned stream, struct rd *r);
void history_restore_message(struct core *core, unsigned stream, const struct pub *p);
void history_restore_run(struct core *core);
/* All has been recovered: policies that are new begin here. */
void history_begin(struct core *core);

#endif
