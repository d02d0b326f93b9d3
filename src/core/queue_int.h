/* What the files of work queues share, on the owner's side. */
#ifndef CORE_QUEUE_INT_H
#define CORE_QUEUE_INT_H

#include "core/control.h"
#include "core/dead.h"
#include "core/mailbox.h"
#include "core/queue.h"
#include "core/queue_list.h"
#include "core/queue_set.h"
#include "core/wished.h"

enum {
    QUEUE_SCAN = 256,          /* messages looked at for the one that a free consumer may have */
    QUEUE_DEDUP_MAX = 1 << 20, /* identifiers that one queue remembers */
    QUEUE_HOT_MAX = 1024,  /* messages of one queue that are in memory as well as in the store */
    QUEUE_HOT_SIZE = 4096, /* bytes of such a one */
    QUEUE_AGAIN_MS = 1000, /* when the store is full */
    QUEUE_TEXT_MAX = 256,  /* bytes of a consumer's Reason String that are kept */
    QUEUE_PURGE_STEP = 4096,
    QUEUE_SHARD_OWNER = 4096, /* + shard: who holds a SUB_QUEUE_SHARD */
};

/* What a consumer says of a delivery. */
enum qverdict {
    QV_NOTHING, /* it is off its window, and was answered before */
    QV_DONE,
    QV_RETRY,     /* failed; wait_ms: after so long, UINT64_MAX: after the backoff */
    QV_REQUEUE,   /* not failed; after wait_ms */
    QV_REJECT,    /* dead */
    QV_EXTEND,    /* its deadline is in wait_ms */
    QV_RETURN,    /* it has not had it */
    QV_TOO_LARGE, /* its client does not take so much */
    QV_DENIED,    /* its client may not read it */
};

/* A letter ANSWER, with the Reason String behind it. */
struct qanswer {
    uint64_t seq, wait_ms;
    uint32_t queue, queue_serial, entry, number; /* of the delivery, as it was told */
    uint32_t member, member_serial, epoch;
    uint8_t verdict, code;
    bool release; /* it is off the consumer's window */
};

/* A letter DELIVER, with the message behind it. */
struct qdeliver {
    uint32_t member, member_serial, epoch;
    uint32_t queue, queue_serial, entry, number, attempt;
};

struct qseat { /* a consumer as the owner knows it */
    unsigned shard;
    uint32_t member, serial, epoch;
    uint32_t load, window; /* deliveries that it has not answered, and how many it may have */
    bool online;
    bool leaving;   /* it has left, but for what it has */
    bool suspended; /* it may not read what is in the queue */
    struct wish_filters filters;
    struct list jobs; /* FLYING, the oldest first */
    uint16_t filter_len, client_len;
    uint8_t text[]; /* topic filter (empty: all), client identifier */
};

/* An entry that is FLYING or DELAYED. */
struct qjob {
    struct timer timer;
    struct list of_seat;
    struct wqueue *q;
    struct qseat *seat; /* NULL: DELAYED */
    uint32_t entry, index, number;
    uint64_t sent_ms; /* wall clock */
};

/* What is known of an entry that has been out. */
struct qpast {
    uint64_t seq;
    uint64_t first_ms, last_ms; /* deliveries, wall clock */
    uint64_t due_ms;            /* wall clock; 0: at once */
    uint32_t attempts;          /* failed ones */
    uint8_t reason;             /* enum dead_reason: it is to be dead; 0: not */
    uint8_t code;               /* the last refusal's; 0: none */
    uint16_t client_len, text_len;
    uint8_t bytes[]; /* the last consumer, the Reason String */
};

struct qdedup {
    struct list link;
    uint64_t id, until_ms; /* wall clock */
};

struct wqueue {
    struct core *core;
    uint64_t number; /* of its name, the same on every shard and in every run */
    uint64_t salt;   /* of the hashes of keys and dedup identifiers, the same in every run */
    char *name;
    char **topics;
    struct sub **subs; /* beside the topics */
    uint32_t topic_count;
    char *filter; /* or NULL */
    struct wish_filters filters;
    struct queue_settings set;
    uint32_t slot, serial;
    bool configured;
    uint8_t stream; /* recovery: the shard that owned it */
    uint64_t route_mark;
    struct qset entries;
    struct qseat **seats;
    uint32_t seat_count, seat_cap, turn; /* turn: the seat after the one served last */
    struct qjob **jobs;
    uint32_t job_cap, job_free; /* job_free: where the search begins */
    uint32_t numbers;           /* deliveries so far */
    uint32_t hot_count;
    uint64_t dying_bytes;
    uint32_t promised; /* publishers that were told that there is room, and are about to use it */
    uint64_t promised_ms; /* the last of them; one that has gone does not count for ever */
    struct ptrmap pasts, dedups;
    struct list dedup_order;
    struct ptrmap *by_seq; /* recovery: struct qentry by seq */
    struct timer expiry, again;
    struct list work; /* in core->queue_work */
    struct wqueue_counts counts;
};

static inline struct bytes wqueue_name(const struct wqueue *q) { return bytes_str(q->name); }

/* ---- queue.c ---- */
/* conf's texts are copied.  *why: for E_INVALID. */
MUST_USE int wqueue_new(struct core *core, const struct queue_conf *conf, uint64_t salt,
                        struct wqueue **out, const char **why);
/* The same, and it is journaled and told of. */
MUST_USE int wqueue_make(struct core *core, const struct queue_conf *conf, bool configured,
                         const char **why);
void wqueue_free(struct wqueue *q);
MUST_USE int wqueue_update(struct wqueue *q, const struct queue_conf *conf);
struct wqueue *wqueue_at(const struct core *core, uint32_t slot, uint32_t serial);
struct wqueue *wqueue_numbered(struct core *core, uint64_t number);
void wqueue_interest_in(struct core *core, unsigned src, struct rd *r);
void wqueue_tell(struct wqueue *q); /* the other shards, of its topics */
void wqueue_work(struct wqueue *q); /* wqueue_settle() will look at it */

/* ---- queue_take.c ---- */
uint64_t wqueue_key(const struct wqueue *q, struct bytes text); /* 0: empty */
/* The entry with its body, no limits; E_NOMEM. */
MUST_USE int wqueue_add(struct wqueue *q, struct pub *p, const struct control *c, uint32_t *index);
/* Whether it was there; remembers it if not. */
bool wqueue_duplicate(struct wqueue *q, struct bytes id, uint64_t now_ms);
bool wqueue_knows(const struct wqueue *q, uint64_t id);
MUST_USE int wqueue_remember(struct wqueue *q, uint64_t id, uint64_t until_ms);
void wqueue_arm_expiry(struct wqueue *q);
/* What would become of a message that is not published yet: bits of enum queue_verdict, and the
 * first queue that rejects it, or NULL. */
const struct wqueue *wqueue_judge(struct core *core, const struct pub *p, uint32_t *verdict);
void wqueue_expiry_fired(struct timer *t, void *ctx);
/* Gives back what the entry refers to, and removes it. */
void wqueue_remove(struct wqueue *q, uint32_t index);
/* The message of an entry, with a reference; errors as of store_fetch(). */
MUST_USE int wqueue_body(struct wqueue *q, struct qentry *e, struct blob **out);

/* ---- queue_send.c ---- */
void wqueue_drain(struct wqueue *q); /* what is ready goes out as far as there is room */
void wqueue_gone(struct wqueue *q, uint32_t index); /* done or dropped: journaled and removed */
/* The dead letter of a message that does not get into a queue; its sequence, 0: there is none. */
uint64_t wqueue_bury_new(struct core *core, const struct wqueue *q, const struct pub *p);
void wqueue_die(struct wqueue *q, uint32_t index, enum dead_reason reason);
/* Waits until then (now_ms of the core). */
void wqueue_delay(struct wqueue *q, uint32_t index, uint64_t due_ms);
void wqueue_job_free(struct wqueue *q, struct qjob *job);
void wqueue_join_in(struct core *core, unsigned src, struct rd *r);
void wqueue_leave_in(struct core *core, unsigned src, struct rd *r);
void wqueue_answer_in(struct core *core, unsigned src, struct rd *r);
void wqueue_seats_free(struct wqueue *q);

/* ---- queue_member.c, queue_ask.c ---- */
void wqueue_deliver_in(struct core *core, unsigned src, struct rd *r);
void wqueue_ask_in(struct core *core, unsigned src, unsigned kind, struct rd *r);

/* ---- queue_take.c ---- */
struct qpast *wqueue_past(const struct wqueue *q, uint64_t seq);
/* Replaces it; client and text are copied.  E_NOMEM. */
MUST_USE int wqueue_past_set(struct wqueue *q, struct qentry *e, const struct qpast *like,
                             struct bytes client, struct bytes text);
void wqueue_past_del(struct wqueue *q, struct qentry *e);

/* ---- queue_journal.c ---- */
void wqueue_journal(struct wqueue *q);
void wqueue_journal_end(struct wqueue *q);
void wqueue_journal_done(struct wqueue *q, uint64_t seq);
void wqueue_journal_tried(struct wqueue *q, const struct qpast *past);
void wqueue_recover_take(struct core *core, struct wqueue *q, struct pub *p);

#endif
