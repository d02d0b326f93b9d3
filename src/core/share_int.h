/* What the two sides of shared groups have in common: share.c, the member's, and share_group.c, the
 * owner's. */
#ifndef CORE_SHARE_INT_H
#define CORE_SHARE_INT_H

#include "core/mailbox.h"
#include "core/share.h"

enum {                 /* with a RETURN letter */
       SHARE_GONE = 1, /* the member has left */
       SHARE_MORE = 2, /* its JOIN or LEAVE comes after the last of them */
};
enum { SHARE_OWED = 1 }; /* with a DELIVER letter: the group outlives the process */

struct member {              /* a session's membership, on the session's shard */
    struct member *next;     /* of the session */
    struct session *session; /* NULL once it has left */
    struct session *holder;  /* of its deliveries; valid while there are any */
    uint32_t index, serial, subid;
    uint32_t mid;                 /* its name in the journal */
    uint32_t pending;             /* deliveries not settled yet */
    uint32_t settled;             /* running total of those that are, or were handed back */
    uint32_t group, group_serial; /* the owner's, as its last delivery said */
    uint8_t qos;
    bool retain_as_published;
    uint32_t block_len;
    uint8_t *block; /* its wish (wish_put()), owned */
    bool queue;     /* it consumes a work queue, and the rest is queue_member.c's */
    uint32_t epoch; /* then: counts connections of its session */
    bool owed; /* its group outlives the process, and is to have back what the member cannot keep */
    uint16_t name_len, filter_len;
    uint8_t text[]; /* name, filter */
};

/* Frees m when nobody needs it any more. */
void share_member_release(struct core *core, struct member *m);
struct member *share_member_at(const struct core *core, uint32_t index);

/* Which delivery a letter to the owner is about. */
struct ticket {
    uint32_t group, group_serial, member, member_serial;
    uint32_t settled; /* the member's, this one included */
};

static inline uint64_t share_name_hash(struct bytes name, struct bytes filter, uint64_t seed)
{
    return hash_bytes(filter, hash_bytes(name, seed));
}

/* Letters to the owner of a group. */
void share_group_mail_in(struct core *core, unsigned src, unsigned kind, struct rd *r);
void share_groups_free(struct core *core);

#endif
