/* The messages of a work queue as it knows them: 32 bytes each, in lists by what they wait for.
 * What they say lies in the store, or in memory while they are few.  Owned by one queue; no time,
 * no mail, no journal in here: queue_*.c do that.
 *
 *   READY      ten lists by priority of what never failed, ten of what has come back; those first
 *   BLOCKED    its key is busy: it waits in the key's list
 *   PARKED     no consumer's filter lets it through
 *   FLYING     at a consumer \ both have a job (queue_int.h), whose index is in `next`
 *   DELAYED    until a time  /
 *   DYING      it is to be a dead letter */
#ifndef CORE_QUEUE_SET_H
#define CORE_QUEUE_SET_H

#include "base/err.h"
#include "base/ptrmap.h"

enum {
    QSET_PRIORITIES = 10,
    QSET_CHUNK = 1024, /* entries that are allocated together; they never move */
    QSET_NONE = UINT32_MAX,
};

enum qstate {
    QS_FREE,
    QS_READY,
    QS_BLOCKED,
    QS_PARKED,
    QS_FLYING,
    QS_DELAYED,
    QS_DYING,
    QS_STATES
};

struct qentry {
    uint64_t seq : 48; /* sluice-seq; of a free entry 0 */
    uint64_t state : 4;
    uint64_t priority : 4;
    uint64_t came_back : 1; /* it is READY in a list of those */
    uint64_t hot : 1;       /* ref is a struct blob *, else a store_ref */
    uint64_t past : 1;      /* the queue knows more of it: struct qpast */
    uint64_t spare : 5;
    uint64_t ref;
    uint32_t next, prev; /* in its list; next: the job while FLYING or DELAYED, the next free one */
    uint32_t expires_s;  /* wall clock, rounded up; 0 never */
    uint32_t size;       /* topic, properties and payload, capped */
};
_Static_assert(sizeof(struct qentry) == 32, "a waiting message costs 32 bytes");

struct qlist {
    uint32_t head, tail; /* QSET_NONE: empty */
    uint32_t count;
};

struct qset {
    struct qentry **chunks;
    uint64_t **keys; /* beside the chunks when messages have keys: hash of each, 0 none */
    bool keyed;
    uint32_t chunk_count, used, free; /* used: entries that were ever taken */
    uint32_t counts[QS_STATES];
    uint64_t bytes;                         /* of all */
    struct qlist ready[2][QSET_PRIORITIES]; /* [1]: came back */
    struct qlist parked, dying;
    struct ptrmap busy; /* struct qkey: keys of which a message is READY, FLYING, ... */
    struct qexpiry {
        uint32_t at_s, index;
    } * heap; /* of those that expire some day, the soonest first; some have gone */
    uint32_t heap_count, heap_cap;
};

void qset_init(struct qset *s, uint64_t seed, bool keyed);
void qset_fini(struct qset *s); /* the caller has given the references back */

static inline struct qentry *qset_at(const struct qset *s, uint32_t index)
{
    return &s->chunks[index / QSET_CHUNK][index % QSET_CHUNK];
}

/* All that are there, in whatever state. */
static inline uint32_t qset_count(const struct qset *s)
{
    uint32_t n = 0;
    for (int i = QS_READY; i < QS_STATES; i++) n += s->counts[i];
    return n;
}

/* A new entry like `like` (seq, ref, hot, priority, expires_s, size), in no list yet: qset_wait().
 * key: 0 none.  E_NOMEM. */
MUST_USE int qset_add(struct qset *s, const struct qentry *like, uint64_t key, uint32_t *index);
/* It waits for a consumer, or for its key; came_back: before those that have not been out. */
void qset_wait(struct qset *s, uint32_t index, bool came_back);
/* Into another state than waiting: PARKED, FLYING, DELAYED (job: its index), DYING. */
void qset_move(struct qset *s, uint32_t index, enum qstate state, uint32_t job);
/* It is gone; its key is the next one's. */
void qset_remove(struct qset *s, uint32_t index);
/* All that are parked wait again. */
void qset_unpark(struct qset *s);

/* Slow, for recovery. */
uint32_t qset_index(const struct qset *s, const struct qentry *e);
uint64_t qset_key(const struct qset *s, uint32_t index); /* 0: it has none */

static inline uint32_t qset_job(const struct qset *s, uint32_t index)
{
    return qset_at(s, index)->next;
}

/* Walks those that are READY as they are to go out: start with *at = QSET_NONE.  The last one that
 * was given may be moved or removed before the next call if `next` was asked for before. */
uint32_t qset_first(const struct qset *s);
uint32_t qset_next(const struct qset *s, uint32_t index);
/* The READY one with the smallest sequence of those at the head of a list; QSET_NONE. */
uint32_t qset_oldest(const struct qset *s);

/* The next one that waits and has expired, QSET_NONE; *next_s: when to ask again, 0 never. */
uint32_t qset_expired(struct qset *s, uint32_t now_s, uint32_t *next_s);

#endif
