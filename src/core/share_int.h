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
