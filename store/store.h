/* The store: one append-only message log behind a narrow asynchronous door (DESIGN section 4).
 * Engines stand behind it; this page is their contract and tests/test_store.c runs on each.
 *
 * A shard has one struct store, used by that shard's thread only.  Records are blobs whose bytes
 * the store does not understand.  Sequence numbers grow by appending; they are unique over all
 * shards of a broker and never reused. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/blob.h"
#include "base/err.h"

struct store;

/* What references hold on to: opaque, unique while held, at most 63 bits. */
typedef uint64_t store_ref;

/* Appends a record.  *seq is assigned at once, the record is safe when store_poll() has reported
 * it. Borrows body for the call; an engine that needs it longer takes its own reference. E_FULL: no
 * space (nothing has changed); E_NOMEM. */
MUST_USE int store_append(struct store *st, struct blob *body, uint64_t *seq);

/* Up to which of this shard's own appends everything is safe (0: nothing yet).  Never goes back. */
uint64_t store_poll(struct store *st);

/* Takes a reference to the record `seq`, whose body the caller has at hand, so that it can be
 * fetched until the reference is dropped.  Never fails. */
store_ref store_hold(struct store *st, uint64_t seq, struct blob *body);

/* The body of a held record, with a reference for the caller.  0; E_AGAIN: being read, ask again
 * after the next store_poll(); E_IO: the record is lost (reported by the engine). */
MUST_USE int store_fetch(struct store *st, store_ref ref, struct blob **body);

/* Gives a held reference back. */
void store_drop(struct store *st, store_ref ref);

void store_close(struct store *st);

/* The engine that keeps everything in memory.  `shard` of `shards` makes the sequence numbers
 * distinct: shard + 1, shard + 1 + shards, ...  Appends are safe at once. */
MUST_USE int store_mem_open(struct store **out, unsigned shard, unsigned shards);

#endif
