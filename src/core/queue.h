/* Work queues (CONTRACT section 5).  A queue is named and owned by the shard home(name), whose trie
 * holds its topics; it collects while nobody is connected.  Its consumers are memberships of
 * sessions anywhere (share.h), which join by mail, get deliveries by mail and answer by mail; mail
 * to the own shard goes the same way.
 *
 *   consumer's shard (queue_member.c)          owner's shard
 *   membership      --JOIN, LEAVE----------->  struct wqueue { seats, entries }
 *                   <-----DELIVER------------  to the seat with room (queue_send.c)
 *                   ------ANSWER------------>  done, again, dead, extended
 *
 * A delivery belongs to the queue: neither the session's queue nor its journal knows of it, and
 * when the connection ends the owner gives it to somebody else.  The shard's thread. */
#ifndef CORE_QUEUE_H
#define CORE_QUEUE_H

#include "core/core_int.h"
#include "core/queue_conf.h"
#include "core/wish.h"

struct member;
struct qinbox;
struct wqueue;

/* ---- queue.c: what there is ---- */

uint64_t wqueue_hash(const void *elem, uint64_t seed);
/* What the configuration says of queues, on all shards; after recovery and at a reload. */
void wqueue_configure(struct core *core);
void wqueue_free_all(struct core *core);
uint64_t wqueue_number(struct bytes name); /* the same on every shard and in every run */
/* By name, on the owner's shard; NULL: there is none. */
struct wqueue *wqueue_find(struct core *core, struct bytes name);
unsigned wqueue_owner(const struct core *core, struct bytes name);
/* Whether somebody may consume a queue, or makes it, on the owner's shard: 0 or the reason for
 * SUBACK, with a text for the client.  filter: empty: whatever it has. */
uint8_t wqueue_admit(struct core *core, struct bytes name, struct bytes filter,
                     const struct wish *w, const char **why);
/* What a SUBSCRIBE wishes of a new queue: whether it can be understood. */
bool wqueue_wish(const struct wish *w, struct queue_settings *set, const char **why);

/* ---- queue_take.c, queue_send.c: what it is given and gives ---- */

/* Once for each look-up of a route (core->route_serial). */
bool wqueue_is_new_target(const struct core *core, struct wqueue *q);
bool wqueue_rejects(const struct sub *s);       /* some queue that it stands for */
uint64_t wqueue_shard_bit(const struct sub *s); /* of a SUB_QUEUE_SHARD */
/* A message for it has come. */
void wqueue_take(struct core *core, struct wqueue *q, struct pub *p);
/* What waited for the store goes on, and dead letters are published.  Once a turn, outside of the
 * router.  Whether anything was done. */
bool wqueue_settle(struct core *core);
bool wqueue_has_work(const struct core *core);
void wqueue_mail_in(struct core *core, unsigned src, unsigned kind, struct rd *r);

/* ---- queue_ask.c: questions to owners on other shards, before a packet can be answered ---- */

/* Of a SUBSCRIBE entry: 0 or a reason, with a text; CORE_ASKED: the connection is paused and the
 * packet comes again. */
enum { CORE_ASKED = -1 };
int wqueue_ask(struct cconn *c, uint32_t entry, struct bytes name, struct bytes filter,
               const struct wish *w, const char **why);
/* Of a PUBLISH to queues that reject, or with a sluice-dedup-id: 0 and *verdict (bits), or E_AGAIN:
 * as above.  bury: what a full queue rejects is to be a dead letter, as its publisher cannot be
 * told. */
enum queue_verdict { QUEUE_IS_FULL = 1, QUEUE_HAS_IT = 2 };
int wqueue_may(struct cconn *c, const struct pub *p, uint64_t shards, bool bury, unsigned *verdict,
               const char **why);
/* Once a turn: answers that waited until a dead letter was safe. */
void wqueue_say(struct core *core, uint64_t safe);
void wqueue_answered(struct cconn *c); /* the packet has been dealt with, or the connection gone */

/* ---- queue_member.c: the consumer's side ---- */

bool member_is_queue(const struct member *m);
void wqueue_member_join(struct core *core, const struct member *m);
void wqueue_member_leave(struct core *core, const struct member *m, bool gone);
/* The session's connection is gone: its deliveries are the queues' again. */
void wqueue_offline(struct session *s);
/* The next delivery that waits goes out.  E_AGAIN: there is none, or the window is closed. */
int wqueue_pull(struct cconn *c);
bool wqueue_may_pull(const struct cconn *c);
/* PUBACK or PUBREC has come for an entry with OUTQ_QUEUE: tells the owner, and takes the flag. */
void wqueue_acknowledged(struct session *s, struct inflight_entry *e, const struct mqtt_ack *a);
/* A PUBLISH to `$queue/...`: 0, or the reason and why. */
uint8_t wqueue_command(struct cconn *c, struct bytes topic, struct bytes props, const char **why);

/* ---- queue_journal.c: over restarts ---- */

void wqueue_entry(struct recovery *r, unsigned kind, unsigned stream, struct rd *rd);
void wqueue_run(struct core *core, unsigned shards, uint64_t seed); /* a run begins in the log */
/* A message in the log takes this one off its queue: it is its dead letter. */
void wqueue_recovered_dead(struct core *core, uint64_t number, uint64_t seq);
/* A redriven message, which is that queue's alone. */
void wqueue_recovered_back(struct core *core, struct pub *p, uint64_t number);
int wqueue_recovered(struct core *core); /* all of it was read; E_NOMEM */
void wqueue_begin(struct core *core);    /* all cores have */
/* For a checkpoint: the next queue's definition, or a slice of its entries.  E_NOTFOUND: that was
 * all; E_AGAIN. */
struct queue_walk {
    uint32_t slot, at, serial; /* at: 0 its definition, else the entry before it */
};
int wqueue_snapshot(struct core *core, struct queue_walk *walk);

#endif
