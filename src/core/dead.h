/* Dead letters (CONTRACT section 6): what could not be delivered is published by the broker to
 * $dead/<reason>/<source>/<topic>, by the shard that owns its source.  The shard's thread. */
#ifndef CORE_DEAD_H
#define CORE_DEAD_H

#include "core/core_int.h"
#include "core/dead_reason.h"

enum dead_kind { DEAD_OF_QUEUE = 1, DEAD_OF_GROUP, DEAD_OF_CLIENT };

/* One that is to be published; views. */
struct dead_letter {
    const struct pub *p; /* the message as it was */
    enum dead_reason reason;
    enum dead_kind kind;
    struct bytes source; /* name of the queue or group, or client identifier */
    uint64_t number;     /* of a queue: by this letter p->seq leaves it; else 0 */
    uint32_t attempts;
    uint64_t first_ms, last_ms; /* 0: never delivered */
    struct bytes client, text;  /* n == 0: none */
    uint8_t code;               /* 0: none */
};

/* Whether letters are published at all, and this one: never of a dead letter. */
bool dead_wanted(const struct core *core, struct bytes topic);
/* Stores and routes it, *seq is the letter's own: not to be called while the router is at work.
 * E_FULL, E_AGAIN: the store has no room; E_NOMEM.  Then nothing has happened. */
MUST_USE int dead_publish(struct core *core, const struct dead_letter *letter, uint64_t *seq);

/* ---- dead_list.c: those that there are; all of this on shard 0 ---- */

enum { DEAD_REDRIVES_MAX = 10 }; /* of one message, against loops */

struct wish_filters;
struct dead_info { /* views into body, until dead_info_fini() */
    uint64_t seq, time_ms;
    struct bytes reason, source, topic, client, text; /* n == 0: none */
    uint32_t attempts, redriven, size;                /* size: of the payload */
    uint8_t code;                                     /* 0: none */
    struct blob *body;
};
/* The next one behind this sequence (0: the first).  E_NOTFOUND: there is none; E_AGAIN: the store
 * is reading it, ask again in a later turn; E_IO: it is lost, and out->seq says where to go on. */
MUST_USE int dead_next(struct core *core, uint64_t after, struct dead_info *out);
void dead_info_fini(struct dead_info *info);
/* Whether it passes an attribute filter, as the message that it is. */
bool dead_matches(struct core *core, const struct dead_info *info, const struct wish_filters *f);
/* Back to its queue, or to its topic; it leaves the list.  E_NOTFOUND; E_INVALID: its queue is no
 * more; E_EXISTS: it was redriven DEAD_REDRIVES_MAX times; E_AGAIN, E_FULL, E_NOMEM, E_IO. */
MUST_USE int dead_redrive(struct core *core, uint64_t seq);
/* It leaves the list; E_NOTFOUND. */
MUST_USE int dead_purge(struct core *core, uint64_t seq);

/* A letter has been published, by whatever shard.  E_NOMEM: it is not in the list. */
int dead_keep(struct core *core, struct pub *p);
/* For a checkpoint: the next one behind *after (0: the first), whatever has gone meanwhile;
 * E_NOTFOUND: that was all; E_AGAIN. */
int dead_snapshot(struct core *core, uint64_t *after);
int dead_restore(struct core *core, unsigned kind, struct rd *r); /* J_DEAD, J_DEAD_GONE; E_NOMEM */
void dead_forget(struct core *core, uint64_t seq);
void dead_begin(struct core *core);
void dead_list_free(struct core *core);

/* ---- of plain subscriptions and shared groups ---- */

/* What became of a delivery; views. */
struct dead_about {
    struct bytes group; /* n > 0: the source, instead of the session */
    uint32_t attempts;
    uint64_t first_ms, last_ms; /* wall clock; 0: never delivered */
    struct bytes text;
    uint8_t code;
};
/* Whether a message that ends so for a session is to be a dead letter (dead_letter_reasons). */
bool dead_is_reason(const struct core *core, enum dead_reason reason, struct bytes topic);
/* It is published at the end of the turn; may be called while the router is at work. */
void dead_later(struct session *s, struct blob *b, enum dead_reason reason,
                const struct dead_about *about);
/* The same of one that the store holds, by its sequence. */
void dead_later_stored(struct session *s, uint64_t seq, enum dead_reason reason,
                       const struct dead_about *about);
/* qos.c: the same of a delivery in a session's window; whether it is to be one. */
bool inflight_dies(struct session *s, struct inflight_entry *e, enum dead_reason reason,
                   uint8_t code, struct bytes text);
/* Instead of being sent once more: it has been as often as max_deliveries says, and is gone then.
 */
bool inflight_is_spent(struct session *s, struct inflight_entry *e);
/* Once a turn, outside of the router.  Whether anything was done. */
bool dead_settle(struct core *core);
bool dead_has_work(const struct core *core);
void dead_free(struct core *core);

#endif
