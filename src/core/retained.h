/* Retained messages over all shards: who owns which topic, and their delivery to new subscriptions
 * in slices (jobs).  The set itself is retain.h. */
#ifndef CORE_RETAINED_H
#define CORE_RETAINED_H

#include "core/core_int.h"

/* What is known of a retained message beside its topic: the value in the set. */
struct retained {
    uint64_t ref; /* store_ref; without a sequence, as the broker's own have none: struct blob */
    uint64_t seq;
    uint64_t created_ms;
    uint32_t expiry_s;
    uint32_t size; /* topic, properties, payload */
};

static inline struct retained *retained_of(const struct retain_item *item)
{
    return (struct retained *)(uintptr_t)item->value;
}

unsigned retained_owner(const struct core *core, uint64_t topic_hash);
/* Sets, replaces or (empty payload [MQTT-3.3.1-6]) removes; this shard owns the topic and p is
 * stored. */
void retained_set(struct core *core, struct pub *p);
bool retained_is_expired(const struct core *core, const struct retained *m); /* [MQTT-3.3.2-5] */
/* A job for one SUBSCRIBE entry (outside: without what a history has, which is replayed); held
 * until rjobs_start().  Takes its own references to filters. NULL without memory. */
struct rjob *rjob_add(struct session *s, struct bytes filter, uint64_t variant, uint8_t qos,
                      uint32_t subid, const struct wish_filters *filters, bool outside);
void rjobs_start(struct session *s);
void rjobs_free(struct session *s);
/* After UNSUBSCRIBE [MQTT-3.10.4-2]. */
void rjobs_cancel(struct session *s, struct bytes filter, uint64_t variant);
/* Sends a few more retained messages to the session; false: nothing to do just now. */
bool rjobs_step(struct cconn *c);
bool rjobs_can_step(const struct cconn *c);
/* A message with RETAIN went live to s: older copies that a job still finds are to be skipped. */
void rjobs_note_live(struct session *s, uint64_t topic_hash, uint64_t seq);
void rjob_end(struct session *s, struct rjob *job); /* all is sent, or nobody wants it any more */

/* ---- rjob_log.c: jobs that outlive the process ---- */

/* What the session was given by a job, or live while it has one: not again after a crash. */
void rjobs_note_given(struct session *s, uint64_t seq);
void rjob_note_live(struct session *s, struct rjob *job, uint64_t seq);
bool rjob_has_given(const struct rjob *job, uint64_t seq);
void rjob_journal(const struct session *s, const struct rjob *job); /* it begins, or is there */
void rjobs_journal(const struct session *s);
void rjob_journal_done(const struct session *s, const struct rjob *job);
/* Recovery: from what rjob_journal() wrote, behind the session.  E_NOMEM. */
MUST_USE int rjob_restore(struct session *s, struct rd *rd);
void rjobs_recovered(struct session *s);

void retained_release(void *ctx, uint64_t value); /* retain.h's release; ctx is the core */
void retained_sweep(struct core *core);
/* Mail. */
void retained_mail_in(struct core *core, unsigned src, unsigned kind, struct rd *r);
void retained_asks_free(struct core *core);

/* For recovery: as it was, held anew, unless a newer one is there.  E_NOMEM. */
int retained_restore(struct core *core, struct bytes topic, const struct retained *state);

#endif
