/* Subscriptions that wish something: what their wish (wish.h) has become on the session's shard.
 * The shard's thread. */
#ifndef CORE_WISHED_H
#define CORE_WISHED_H

#include "core/core_int.h"
#include "core/wish.h"

/* One of a session, as it hangs in the trie. */
struct wsub {
    struct wished head;
    uint32_t block_len;
    uint8_t *block; /* wish_put(), owned */
};

static inline struct wsub *wsub_of(const struct sub *s)
{
    ASSERT(s->wished);
    return CONTAINER_OF(s, struct wsub, head.sub);
}

/* Which of a session's subscriptions on one topic filter this is; 0: the plain one, which
 * properties do not make another. */
uint64_t wished_variant(const struct core *core, const struct wish *w);

/* A new wish for a subscription that has just been made or is to have another.  E_NOMEM: it has the
 * one it had. */
MUST_USE int wished_set(struct wsub *ws, const struct wish *w);
/* Before trie_del(). */
void wished_fini(struct wsub *ws);

/* Its wish, encoded; empty for a plain subscription. */
static inline struct bytes sub_block(const struct sub *s)
{
    return s->wished ? bytes_of(wsub_of(s)->block, wsub_of(s)->block_len) : (struct bytes){0};
}

/* Whether this message is for this subscription, by its wish. */
bool wished_wants(struct core *core, const struct wsub *ws, struct pub *p);

#endif
