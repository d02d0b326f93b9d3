/* A session's queue of messages that wait for the window or for the client to come back.  16 bytes
 * an item in chunks that double, so that a short queue is small and a long one is never copied. */
#ifndef CORE_OUTQ_H
#define CORE_OUTQ_H

#include "base/blob.h"
#include "store/store.h"

enum outq_flags {
    OUTQ_STORED = 1, /* ref is a store_ref; else it is a struct blob */
    OUTQ_RETAIN = 2, /* deliver with RETAIN set */
    OUTQ_SHARE = 4,  /* subid is the index of a group membership */
    /* Of entries in the window only: */
    OUTQ_COLD = 8,    /* body is a store_ref */
    OUTQ_LOGGED = 16, /* the journal knows its packet identifier */
    OUTQ_QUEUE = 32,  /* subid is the index of a work queue's delivery */
    OUTQ_GHOST = 64,  /* redeliver.h: subid is the packet identifier that came after it */
    OUTQ_CALM = 128,  /* it is not redelivered any more */
};

struct outq_item {
    uint64_t ref;
    uint32_t subid;
    uint32_t size : 27; /* payload bytes, capped */
    uint32_t qos : 2;
    uint32_t flags : 3; /* enum outq_flags */
};
_Static_assert(sizeof(struct outq_item) == 16, "10 M queued messages have to fit");

struct outq_chunk;
struct outq {
    struct outq_chunk *head, *tail;
    uint32_t count, qos0_count; /* all items, and those of QoS 0 */
    uint64_t bytes;             /* payload bytes of all items */
};

/* Appends; the item's reference is the queue's from then on.  E_NOMEM: nothing has changed. */
MUST_USE int outq_push(struct outq *q, struct outq_item item);
struct outq_item *
outq_peek(struct outq *q);     /* the oldest, NULL when empty; valid until the next call */
void outq_pop(struct outq *q); /* removes the oldest; its reference is the caller's */
/* Removes the item with this reference, wherever it is; it is mostly the oldest.  Whether there. */
bool outq_take(struct outq *q, uint64_t ref, struct outq_item *out);
/* Walking: starts `at` places behind the oldest, which takes a step for each 254 of them; then
 * gives one item after the other, NULL at the end.  Good as long as nothing is taken out from there
 * on. */
struct outq_walk {
    struct outq_chunk *chunk; /* NULL: not started */
    uint32_t index;
};
void outq_walk_from(struct outq_walk *w, const struct outq *q, uint32_t at);
struct outq_item *outq_walk_next(struct outq_walk *w);
void outq_append(struct outq *q, struct outq *more); /* more is empty then */
void outq_trim(struct outq *q);                      /* frees the memory when empty */

#endif
