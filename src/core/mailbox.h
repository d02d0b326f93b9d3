/* Mail between cores: bytes of the same process, so numbers are in the machine's own order.  Each
 * letter is a struct mail_head followed by its fields; the reader is the bounds-checked struct rd.
 */
#ifndef CORE_MAILBOX_H
#define CORE_MAILBOX_H

#include "core/core_int.h"

enum mail_kind {
    MAIL_PUBLISH = 1,
    MAIL_INTEREST,
    MAIL_FENCE,
    MAIL_FENCE_DONE,
    MAIL_PAUSE,
    MAIL_RESUME,
    MAIL_RETAIN_ASK,
    MAIL_RETAIN_MSG,
    MAIL_RETAIN_DONE,
    MAIL_SHARE_JOIN,
    MAIL_SHARE_LEAVE,
    MAIL_SHARE_DELIVER,
    MAIL_SHARE_SETTLED,
    MAIL_SHARE_RETURN,
    MAIL_SHARE_AGAIN,
    MAIL_QUEUE_INTEREST,
    MAIL_QUEUE_JOIN,
    MAIL_QUEUE_LEAVE,
    MAIL_QUEUE_DELIVER,
    MAIL_QUEUE_ANSWER,
    MAIL_QUEUE_ASK,
    MAIL_QUEUE_MAY,
    MAIL_QUEUE_BACK,
    MAIL_DEAD,
    MAIL_QUEUE_SAID,
    MAIL_CHECKPOINT,
    MAIL_CHECKPOINT_MARK,
    MAIL_CHECKPOINT_DONE,
    MAIL_HISTORY_ADDED,
    MAIL_HISTORY_FIRST,
    MAIL_DEAD_ASK,
    MAIL_DEAD_STOP,
    MAIL_DEAD_PAGE,
    MAIL_DEDUP_ASK,
    MAIL_DEDUP_SAID,
    MAIL_DEDUP_OVER,
    MAIL_KINDS,
};

/* Starts a letter of at most `size` bytes after its head; write the fields with mail_put_*, then
 * mail_end().  Without memory it goes into a reserve, and no client is read until there is another.
 * NULL: it is larger than that, or the second in one turn: lost and counted (dropped_no_memory).
 * Messages of clients are looked at with mail_room() before anything is done with them. */
uint8_t *mail_begin(struct core *core, unsigned dst, enum mail_kind kind, size_t size);
void mail_end(struct core *core, unsigned dst, uint8_t *end);

static inline uint8_t *mail_put_u32(uint8_t *d, uint32_t v)
{
    return memcpy(d, &v, sizeof v), d + sizeof v;
}
static inline uint8_t *mail_put_u64(uint8_t *d, uint64_t v)
{
    return memcpy(d, &v, sizeof v), d + sizeof v;
}

static inline uint8_t *mail_put_bytes(uint8_t *d, struct bytes b)
{
    return put_mem(mail_put_u32(d, (uint32_t)b.n), b);
}

static inline uint32_t mail_u32(struct rd *r)
{
    uint32_t v = 0;
    struct bytes b = rd_take(r, sizeof v);
    if (b.n) memcpy(&v, b.p, sizeof v);
    return v;
}

static inline uint64_t mail_u64(struct rd *r)
{
    uint64_t v = 0;
    struct bytes b = rd_take(r, sizeof v);
    if (b.n) memcpy(&v, b.p, sizeof v);
    return v;
}

static inline struct bytes mail_bytes(struct rd *r)
{
    uint32_t n = mail_u32(r);
    return rd_take(r, n);
}

/* A message as it stands in PUBLISH, RETAIN_MSG, SHARE_DELIVER and SHARE_RETURN letters. */
size_t mail_pub_size(const struct pub *p);
uint8_t *mail_put_pub(uint8_t *d, const struct pub *p, unsigned flags); /* flags: at most 8 bits */
/* Views into the letter; p->blob is NULL.  Returns the flags. */
unsigned mail_get_pub(struct rd *r, struct pub *p);

/* A letter names a message that may be gone when it is read: it holds it, and who has read it gives
 * that back.  Not needed for what was only just stored: checkpoints wait for that (MARK). */
void mail_hold(struct core *core, const struct pub *p);
void mail_held(struct core *core, const struct pub *p);

enum mail_publish_flags { MAIL_ROUTE = 1, MAIL_RETAIN_SET = 2 };
void mail_publish(struct core *core, unsigned dst, const struct pub *p, unsigned flags);
/* PAUSE, RESUME: a publisher of shard dst, and the reader that it waits for. */
void mail_pause(struct core *core, unsigned dst, enum mail_kind kind, session_id publisher,
                session_id reader);
bool mail_full(const struct core *core, unsigned dst); /* publishers should wait */
/* Whether a letter of that size can be posted to each of these shards (a bit each). */
bool mail_room(struct core *core, uint64_t shards, size_t size);
/* All shards that a message of this topic is mailed to. */
uint64_t mail_shards(const struct core *core, const struct pub *p, const struct route *r);
bool mail_take(struct core *core, unsigned dst, struct buf *out); /* as core_mail_take(), always */
MUST_USE int mailbox_init(struct core *core);
/* Once a turn: outboxes whose reserve was used get another. */
void mailbox_refill(struct core *core);
void mailbox_free(struct core *core);
void mailbox_self(struct core *core); /* delivers what this shard has posted to itself */

/* ---- interest.c: filters that other shards must know of, and fences ---- */

/* To be called after the local holders of a filter changed from those counts: tells the others when
 * that matters to them.  f may be NULL when it is gone. */
void interest_changed(struct core *core, const struct filter *f, struct bytes text,
                      uint32_t locals_before, uint32_t durables_before);
void interest_mail_in(struct core *core, unsigned src, unsigned kind, struct rd *r);
/* Sends the SUBACK when every shard has answered: their mail is in order, so then they know the
 * interests posted before.  deep: they first wait for their own posts too (group owners). */
void interest_fence(struct cconn *c, struct bytes suback, bool deep);
/* Sends the UNSUBACK when the journal is safe, if there is one. */
void interest_reply(struct cconn *c, struct bytes unsuback);
void fence_answered(struct core *core, uint32_t token);
/* Calls replay_fenced() when every message that was appended before now has been routed, and has
 * come here if it is to. */
void interest_fence_routed(struct core *core, session_id session, uint32_t replay);
/* Calls dead_serve_arrived() when all mail that others posted before now has come.  E_NOMEM. */
MUST_USE int interest_fence_dead(struct core *core);
void interest_free(struct core *core);

#endif
