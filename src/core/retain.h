/* The retained messages this shard owns (those whose topic hashes to it): a set sorted by topic, so
 * that a wildcard SUBSCRIBE can walk it in slices and go on from a topic name, whatever changed
 * between. */
#ifndef CORE_RETAIN_H
#define CORE_RETAIN_H

#include "base/blob.h"
#include "base/err.h"

struct retain;

/* One retained message.  value is opaque (the core's reference) and given back through release().
 */
struct retain_item {
    struct bytes topic; /* owned by the set, valid until it is replaced or removed */
    uint64_t value;
};

MUST_USE int retain_new(struct retain **out, uint64_t seed,
                        void (*release)(void *ctx, uint64_t value), void *ctx);
void retain_free(struct retain **r); /* releases every value */

/* Sets or replaces.  On E_NOMEM nothing has changed and value is still the caller's. */
MUST_USE int retain_set(struct retain *r, struct bytes topic, uint64_t value);
bool retain_del(struct retain *r,
                struct bytes topic); /* whether it was there; releases the value */
bool retain_get(const struct retain *r, struct bytes topic, struct retain_item *out);
/* The first in byte order after `after`, whatever it is; false at the end. */
bool retain_after(const struct retain *r, struct bytes after, struct retain_item *out);
size_t retain_count(const struct retain *r);

/* The first message in byte order of topics that is greater than `after` (empty: from the start)
 * and matches filter (valid; [MQTT-4.7.2-1] applies).  Looks at no more than *budget topics and
 * counts it down; skips subtrees that cannot match by seeking. 0: found, E_NOTFOUND: no more,
 * E_AGAIN: budget used up, out->topic is where to go on after. */
MUST_USE int retain_next(const struct retain *r, struct bytes filter, struct bytes after,
                         uint32_t *budget, struct retain_item *out);

#endif
