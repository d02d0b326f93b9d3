/* The store: one append-only message log behind a narrow asynchronous door (DESIGN section 4).
 * Engines stand behind it; this page is their contract and tests/unit/test_store.c runs on each.
 *
 * A broker has one log.  Each shard has a door to it (struct store), used by that shard's thread
 * only.  Records are bytes that the store does not understand, of two kinds: messages, which can be
 * held and fetched, and journals, which say what a core did.  Together, in their order, they are
 * what a core is recovered from.
 *
 *   append -> seq (a position in the log, at once) -> store_poll() >= seq: it is safe -> PUBACK
 *   crash  -> store_scan: every record from the last checkpoint on, in order; a prefix of what was
 *             appended, which holds at least all that was safe
 *
 * A sequence number names a record for ever: it is unique over all doors, grows by appending (by
 * more than 1 with some engines), and is never 0. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/blob.h"
#include "base/bytes.h"
#include "base/err.h"

struct store;

/* What references hold on to, at most 63 bits: with an engine that keeps, the message's sequence,
 * by which it can be held again after a restart; else opaque. */
typedef uint64_t store_ref;

enum { STORE_PREFIX_MAX = 64, STORE_RECORD_MAX = 32 << 20 }; /* bytes */

/* ---- appending ---- */

/* Whether records outlive the process.  If not, journals are not wanted, and a reference is the
 * message itself. */
bool store_keeps(const struct store *st);

/* Appends a message.  *seq is assigned at once, the record is safe when store_poll() has reported
 * it.  prefix (at most STORE_PREFIX_MAX) is for recovery and not part of what is fetched.  Borrows
 * both for the call; an engine that needs body longer takes its own reference.  Nothing has changed
 * on E_FULL: the disk is full; E_AGAIN: no room until store_poll() has moved; E_TOO_LARGE: more
 * than STORE_RECORD_MAX; E_NOMEM. */
MUST_USE int store_append(struct store *st, struct bytes prefix, struct blob *body, uint64_t *seq);

/* Appends a journal, which is only ever read by a scan.  Errors as above. */
MUST_USE int store_journal(struct store *st, struct bytes entries, uint64_t *seq);

/* Whether so much waits to be written that publishers should wait; always false again after
 * store_poll() has reported what was appended until now. */
bool store_crowded(const struct store *st);

/* The turn ends: what was appended is to be written. */
void store_flush(struct store *st);

/* Up to which sequence everything that was appended by this door is safe (0: nothing yet).  Never
 * goes back.  What "safe" means is the engine's option `durability`. */
uint64_t store_poll(struct store *st);

/* Every append from now on, by whatever door, has a sequence not below this. */
uint64_t store_end(const struct store *st);

/* ---- holding and fetching messages ---- */

/* Takes a reference to the message `seq`, so that it can be fetched until the reference is dropped.
 * body: the same at hand, or NULL (not with an engine that does not keep).  Never fails; whether
 * the message is there shows when it is fetched. */
store_ref store_hold(struct store *st, uint64_t seq, struct blob *body);

/* The body of a held message, with a reference for the caller.  0; E_AGAIN: being read or not
 * written yet, ask again after the next store_poll(); E_IO: the record is lost (reported by the
 * engine); E_NOMEM. */
MUST_USE int store_fetch(struct store *st, store_ref ref, struct blob **body);

/* Gives a held reference back, by whatever door it was taken: who passes one on, as a letter to
 * another shard, has happened before.  The message stays until store_release(), and then until a
 * crash cannot undo what was appended before that. */
void store_drop(struct store *st, store_ref ref);

/* What this door has dropped until now is given up: why is in the log. */
void store_release(struct store *st);

/* ---- recovery and checkpoints ---- */

enum store_kind {
    STORE_MESSAGE = 1,
    STORE_JOURNAL = 2,
    STORE_COPY = 3, /* a message that was moved (store_move); only ever fetched */
};

struct store_record {
    uint64_t seq;
    enum store_kind kind; /* a scan gives MESSAGE and JOURNAL */
    unsigned shard;       /* the door by which it came, in that run of the broker */
    struct bytes prefix, body;
};

struct store_scan;

/* All records from the last checkpoint on that were there when the log was opened, in the order of
 * their sequences.  Each door may have one scan, on its own thread, before its first append.
 * E_NOMEM, E_IO. */
MUST_USE int store_scan_open(struct store *st, struct store_scan **out);
/* 0; E_NOTFOUND: that was the last; E_NOMEM, E_IO.  Views are valid until the next call. */
MUST_USE int store_scan_next(struct store_scan *scan, struct store_record *out);
void store_scan_close(struct store_scan **scan);

/* Whether enough was appended since the last checkpoint, or enough space is held by few messages,
 * that the cores should write a new one. */
bool store_checkpoint_due(const struct store *st);

/* From now on recovery begins at `begin` (as store_end() gave it): the cores have journaled since
 * then, safely, all that they know.  Older messages are kept while they are held.  Any one door, at
 * most one at a time.  E_IO: the old checkpoint stays. */
MUST_USE int store_checkpoint(struct store *st, uint64_t begin);

/* Whether this message lies in a part of the log that is to be vacated.  Then, while a checkpoint
 * is being written, its holder moves it: *moved is a new held reference, the old one stays the
 * caller's to drop.  Errors as of fetch and append. */
bool store_must_move(const struct store *st, store_ref ref);
MUST_USE int store_move(struct store *st, store_ref ref, store_ref *moved);

/* ---- reading by topic and time ---- */

/* What the store has to know of a message to find it; false: it has no topic (then it is not
 * found). */
struct store_topic {
    struct bytes topic; /* a view into body */
    uint64_t time_ms;   /* since 1970 */
};
typedef bool store_describe(struct bytes body, struct store_topic *out);

enum { STORE_NONE = 0 };
#define STORE_ALL UINT32_MAX

/* Which messages. */
struct store_query {
    uint64_t from_seq, to_seq; /* not before the first, and before the second; UINT64_MAX: no end */
    uint64_t from_ms, to_ms;   /* since 1970, both included; UINT64_MAX: no end */
    /* How many of the messages of a topic: STORE_NONE, STORE_ALL, or the last so many of those
     * from from_seq and before last_seq, and all from there on.  May be asked several times for a
     * topic; topic: a view for the call. */
    uint32_t (*wants)(void *ctx, struct bytes topic);
    void *ctx;
    uint64_t last_seq;  /* 0: wants() is only ever STORE_NONE or STORE_ALL */
    struct bytes topic; /* no other topic is wanted; copied; empty: wants() says which */
};

struct store_reader;

/* Whether messages can be read again by topic and time. */
bool store_reads(const struct store *st);

/* Reads messages in the order of their sequences, by the thread of the door.  What it has not
 * passed yet is not kept for its sake: see store_keep().  Moved copies are not read.  E_NOMEM. */
MUST_USE int store_read_open(struct store *st, struct store_reader **out,
                             const struct store_query *query);
/* 0: seq, kind and body of the next one, a view until the next call that reads or fetches by this
 * door; E_AGAIN: being read, the door is woken; E_NOTFOUND: no more is safe yet, later there may
 * be; E_FULL: more topics than wants() can limit; E_NOMEM, nothing is passed over.  Messages that
 * cannot be read are left out; the engine has said so. */
MUST_USE int store_read_next(struct store_reader *reader, struct store_record *out);
/* Everything before this sequence has been given. */
uint64_t store_read_position(const struct store_reader *reader);
void store_read_close(struct store_reader **reader); /* before its door is closed */

/* Keeps all messages from this sequence on, held or not, by whatever door; UINT64_MAX: no longer,
 * as at first.  What is older than the last checkpoint goes only when this is called anew. */
void store_keep(struct store *st, uint64_t from_seq);

/* ---- life ---- */

struct store_stats {
    uint64_t segments, bytes; /* on disk, spare ones included */
    uint64_t appended_records, appended_bytes, written_bytes, syncs;
    uint64_t lost_records; /* unreadable ones, since the start */
    bool full;             /* the disk is */
};
void store_stats(const struct store *st, struct store_stats *out);

/* Closes one door; the log ends with the last of them, and everything appended is safe then. */
void store_close(struct store *st);

/* The engine that keeps everything in memory and nothing beyond it; a door for each shard.  Appends
 * are safe at once.  E_NOMEM: no door is open. */
MUST_USE int store_mem_open(struct store **doors, unsigned count);

#endif
