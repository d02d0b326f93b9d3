/* Shared subscriptions (5.0 section 4.8.2).  A group is (name, topic filter) and is owned by the
 * shard home(name); that shard's trie holds the filter.  Its members are sessions anywhere: they
 * join, leave, come and go by mail to the owner, which sends each message to one of them, and they
 * report what is settled.  Mail to the own shard goes the same way, so there is one path. */
#ifndef CORE_SHARE_H
#define CORE_SHARE_H

#include "core/core_int.h"

uint64_t share_group_hash(const void *elem, uint64_t seed);
/* A SUBSCRIBE entry; also replaces options.  E_NOMEM. */
MUST_USE int share_subscribe(struct session *s, struct bytes name, struct bytes filter,
                             const struct mqtt_subscription *opts, uint8_t qos, uint32_t subid);
bool share_unsubscribe(struct session *s, struct bytes name,
                       struct bytes filter); /* whether it was there */
void share_leave_all(struct session *s);
void share_online(struct session *s, bool online);
void share_dump(const struct session *s); /* logs the memberships, a line each */
/* Owner: picks a member and sends it p; counts a drop when there is none. */
void share_dispatch(struct core *core, struct group *g, struct pub *p);
bool share_group_durable(const struct group *g);
/* Member's side: a delivery is done (acknowledged, refused, expired or dropped). */
void share_settled(struct core *core, uint32_t member);
uint32_t share_subid(const struct core *core, uint32_t member);
void share_mail_in(struct core *core, unsigned src, unsigned kind, struct rd *r);
void share_free(struct core *core);

#endif
