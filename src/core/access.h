/* What the access list says to one connection, remembered for the topics it uses most.  Without a
 * list everything is allowed, and nothing of this is called: look at access_list() first.  The
 * shard's thread. */
#ifndef CORE_ACCESS_H
#define CORE_ACCESS_H

#include "core/acl.h"
#include "core/core_int.h"

/* The list that holds for the clients of a listener; NULL: they may do everything. */
static inline const struct acl *access_list_of(const struct core *core, uint16_t listener)
{
    if (LIKELY(core->cfg.listener_acls == NULL)) return core->cfg.acl;
    ASSERT(listener < core->cfg.listener_count);
    return core->cfg.listener_acls[listener];
}
static inline const struct acl *access_list(const struct cconn *c)
{
    return access_list_of(c->core, c->listener->number);
}

/* c has a session and a list; hash is the topic's. */
bool access_may(struct cconn *c, struct bytes topic, uint64_t hash, enum acl_access access);
/* The same for reading, also without a list. */
static inline bool access_may_read(struct cconn *c, struct bytes topic)
{
    if (LIKELY(access_list(c) == NULL)) return true;
    return access_may(c, topic, hash_bytes(topic, c->core->seed), ACL_READ);
}
/* A SUBSCRIBE of this filter (behind its mount point) can never bring anything. */
bool access_denies_filter(const struct cconn *c, struct bytes filter);
/* Whether c may use a feature on this filter (behind its mount point; of a queue: its name). */
bool access_may_use(const struct cconn *c, struct bytes filter, enum acl_feature feature);
/* Whether a client may have this will sent. */
bool access_may_will(const struct core *core, struct bytes client_id, const struct will *w);
/* Whether who published this retained message may still do so (check_retain_source).  It does not
 * say by which listener it came, so the list of any may allow it. */
bool access_may_retained(const struct core *core, const struct blob *b);
void access_forget(struct cconn *c); /* before c is freed */

#endif
