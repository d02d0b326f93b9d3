/* What a SUBSCRIBE entry wishes beyond its topic filter (CONTRACT section 3): by prefixes of the
 * topic filter, which any client can write, and by user properties of the packet.
 *
 *   $share/g/$filter/temp > 30/$replay/-1h/site/#
 *   `------' `---------------------------' `----'
 *    group             prefix              inner topic filter
 *
 * A session's subscription is named by prefix and inner topic filter together, so that it may hold
 * several on one topic filter.  A wish is kept as it was said: its text is parsed and compiled
 * again by whoever has to know (the owner of a group, recovery, a later version).  Everything here
 * is a view. */
#ifndef CORE_WISH_H
#define CORE_WISH_H

#include "base/bytes.h"
#include "base/err.h"

struct wish {
    struct bytes prefix;     /* of all below, as written; empty: by properties alone, or none */
    struct bytes queue;      /* name of a work queue; n == 0: none */
    struct bytes expr, when; /* of $filter/ and $replay/, percent-encoded; p == NULL: none */
    struct bytes filter;     /* the properties' values; p == NULL: not there */
    struct bytes replay, replay_until, replay_end;
    struct bytes ack_deadline, max_deliveries, backoff;
};

enum { WISH_BLOCK_MAX = 3 * 65536 + 4096 };

/* Cuts the prefixes off `whole` behind $share/<group>/: fills prefix, queue, expr and when of *w
 * and the inner topic filter, which is empty for `$queue/<name>` alone and otherwise not checked.
 * in_group: a queue is refused.  E_TOPIC_FILTER: not complete, or in another order. */
MUST_USE int wish_split(struct bytes whole, bool in_group, struct wish *w, struct bytes *inner);

/* One user property of a SUBSCRIBE: whether it is one of ours.  twice: it was there already. */
bool wish_property(struct wish *w, struct bytes key, struct bytes value, bool *twice);

/* Nothing is wished: a plain subscription. */
bool wish_is_empty(const struct wish *w);

/* Undoes percent-encoding into d, which has room for text.n bytes.  E_MALFORMED: a bad escape, or
 * bytes that have to be escaped. */
MUST_USE int wish_decode(struct bytes text, uint8_t *d, struct bytes *out);

/* One level of a topic out of any text: what would be none of its own is percent-encoded.  d has
 * room for three times as much. */
uint8_t *wish_encode_level(uint8_t *d, struct bytes text);

/* As the journal and mail have it: for each part one byte of kind, u32 length, text.  The size of
 * nothing is 0. */
size_t wish_size(const struct wish *w);
uint8_t *wish_put(uint8_t *d, const struct wish *w);
/* Views into `block`; kinds it does not know are passed over. */
void wish_get(struct bytes block, struct wish *w);

#endif
