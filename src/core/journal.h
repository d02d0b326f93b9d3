/* The journal: what a core does to its durable sessions, as entries that go to the store once a
 * turn.  With the messages themselves it is the whole history of a shard: replayed in order by
 * core_recover() (recover.c) it gives the same sessions, windows and queues.  What follows from a
 * message by routing it again is not written: a publish to 100,000 sessions that are away costs its
 * own record and nothing else.  docs/formats.md has the bytes.
 *
 * Sessions are named by their `sid`, a random number that is never reused; packet identifiers and
 * sequences by themselves.  Entries are of the machine's order (little endian). */
#ifndef CORE_JOURNAL_H
#define CORE_JOURNAL_H

#include "core/core_int.h"

/* The numbers are on disk: a new kind goes to the end. */
enum journal_kind {
    J_RUN = 1, /* a broker starts with so many shards */
    J_META,    /* a session's identity, expiry and will; it is connected or away */
    J_END,     /* a session is no more */
    J_SUB,     /* plain subscription, made or replaced */
    J_UNSUB,
    J_JOIN, /* membership of a shared group, made or replaced */
    J_LEAVE,
    J_SENT,       /* a delivery has got its packet identifier */
    J_REC,        /* its PUBREC came */
    J_ACKED,      /* its PUBACK or PUBCOMP came, or it was given up */
    J_DROP,       /* a queued message was given up */
    J_QUEUED,     /* a message was queued that no subscription of the session itself asked for */
    J_IN2,        /* a QoS 2 publish was received that is not in the log */
    J_IN2_DONE,   /* its PUBREL came */
    J_ARRIVED,    /* a message of another shard is routed here, now */
    J_ROUTED,     /* a message of this shard that had waited for the store is routed, now */
    J_SNAP,       /* a session's whole state follows, for who does not know it */
    J_SNAP_STATE, /* all but its queue has been said */
    J_SNAP_END,
    J_BACKLOG,   /* a stretch of its queue */
    J_RETAINED,  /* a retained message */
    J_GIVEN,     /* a group's message is settled, or under way at QoS 2, where no journal says it */
    J_HANDED,    /* a member has given one back */
    J_WAITS,     /* a group has one that no member had room for */
    J_FULL,      /* a session's queue was full: this message and those that follow were dropped */
    J_ROOM,      /* it is not any more; J_QUEUED says so too */
    J_MOVED,     /* a queued message has another place in the log */
    J_HISTORY,   /* where a history begins and what it holds, or what a shard has added to it */
    J_REPLAY,    /* a replay, and where it is */
    J_QUEUE,     /* a work queue begins, or is another now */
    J_QUEUE_END, /* it is no more */
    J_QDONE,     /* a message has left it: acknowledged, or dropped */
    J_QTRIED,    /* an attempt has failed, or one is to be a dead letter */
    J_QENTRY,    /* of a checkpoint: it has this message */
    J_QDEDUP,    /* and remembers these identifiers */
    J_DEAD,      /* of a checkpoint: a dead letter is in the list */
    J_DEAD_GONE, /* it is not any more */
    J_DELAYED,   /* of a checkpoint: a message waits for its time */
    J_ASKS,      /* retained messages are to be sent for a subscription, but for some */
    J_ASKED,     /* and all of them have been */
    J_SEEN,      /* identifiers that histories have had, of a checkpoint; or of a duplicate */
    J_KINDS,
};

enum { JOURNAL_FORMAT = 1 };

/* What J_META says beside numbers. */
enum meta_flags {
    META_WILL = 1,
    META_NEW = 2, /* the session begins; else its snapshot or an earlier entry has all the rest */
    META_OWNER = 4,
};

/* What the prefix of a stored message says; see pub_store(). */
enum prefix_flags {
    PREFIX_LATER = 1,  /* routed when J_ROUTED says so */
    PREFIX_REMOTE = 2, /* u64: shards it was mailed to */
    PREFIX_FROM = 4,   /* u64: sid of the publisher */
    PREFIX_IN2 = 8,    /* u16: its packet identifier, QoS 2 */
    PREFIX_WILL = 16,  /* it is the publisher's will, which has come with this */
    PREFIX_ONLY = 64,  /* u64: it is for the queue of this number alone */
    PREFIX_UNDEAD =
        128, /* u64: this dead letter or delayed message is over, as it is this one now */
    PREFIX_BURIES = 32, /* u64, u64: a message leaves the queue of this number by it */
};

/* Starts an entry of at most `size` bytes; write with mail_put_*, then journal_put_end().  NULL
 * without memory: then a checkpoint is made soon, which says it all anew. */
uint8_t *journal_put(struct core *core, enum journal_kind kind, size_t size);
void journal_put_end(struct core *core, uint8_t *end);

/* Each does nothing for sessions that do not outlive the process. */
void journal_meta(struct session *s);
void journal_end(struct session *s);
void journal_sub(const struct session *s, const struct sub *sub, struct bytes filter);
void journal_unsub(const struct session *s, struct bytes filter, struct bytes prefix);
/* A membership; mid names it as sid does a session. */
struct journal_member {
    uint32_t mid, subid;
    uint8_t qos;
    bool retain_as_published;
    struct bytes name, filter, block; /* block: its wish, wish_put() */
};
void journal_join(const struct session *s, const struct journal_member *m);
void journal_leave(const struct session *s, uint32_t mid);
/* e carries the message that lies at `seq`.  as: of a replay, which goes on behind it, or NULL. */
void journal_sent(const struct session *s, const struct inflight_entry *e, uint64_t seq,
                  const struct replayed *as);
/* J_REC, J_ACKED, J_IN2, J_IN2_DONE: packet identifiers; J_ASKED. */
void journal_id(const struct session *s, enum journal_kind kind, uint32_t id);
void journal_drop(const struct session *s, uint64_t seq);
void journal_moved(const struct session *s, uint64_t from, uint64_t to);
void journal_full(const struct session *s, uint64_t seq);
void journal_room(const struct session *s);
void journal_queued(const struct session *s, const struct outq_item *item);
/* Of durable groups; `group` is share_group_name()'s number.  seq 0: nothing is written. */
void journal_group(struct core *core, enum journal_kind kind, uint64_t seq, uint64_t group);
void journal_waits(struct core *core, uint64_t seq, struct bytes name, struct bytes filter);
void journal_arrived(struct core *core, uint64_t seq);
void journal_routed(struct core *core, uint64_t seq, uint64_t remote);
void journal_run(struct core *core);

/* A queued message's or a delivery's options, as J_SENT, J_QUEUED and J_BACKLOG have them. */
size_t journal_options_size(struct core *core, uint32_t subid, unsigned flags);
uint8_t *journal_put_options(struct core *core, uint8_t *d, unsigned qos, unsigned flags,
                             uint32_t subid);

/* Hands the entries to the store; what waits for them knows their sequence from then on. */
void journal_flush(struct core *core);

/* ---- checkpoint.c ---- */
MUST_USE int checkpoint_init(struct core *core);
void checkpoint_free(struct core *core);
uint64_t checkpoint_due(const struct core *core);   /* now_ms of its next step; UINT64_MAX: none */
uint64_t checkpoint_begin(const struct core *core); /* of the one that is being made; 0: none */
/* Moves what is held by *ref if it must be; E_AGAIN: it is being read. */
MUST_USE int checkpoint_vacate(struct core *core, uint64_t *ref);
/* Once a turn. */
void checkpoint_tick(struct core *core);
void checkpoint_mail_in(struct core *core, unsigned src, unsigned kind, struct rd *r);
/* The message at this place of a queue is taken out of it. */
void checkpoint_queue_taken(struct core *core, const struct session *s, uint32_t index);
/* The queue is the same, but its memory is not. */
void checkpoint_queue_moved(struct core *core, const struct session *s);

#endif
