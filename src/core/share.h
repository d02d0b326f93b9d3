/* Shared subscriptions (5.0 section 4.8.2).  A group is (name, topic filter) and is owned by the
 * shard home(name); that shard's trie holds the filter.  Its members are sessions anywhere: they
 * join, leave, come and go by mail to the owner, which sends each message to one of them, or keeps
 * it until one has room, and they report what is settled.  Mail to the own shard goes the same way,
 * so there is one path. */
#ifndef CORE_SHARE_H
#define CORE_SHARE_H

#include "core/core_int.h"
#include "core/wish.h"

uint64_t share_group_hash(const void *elem, uint64_t seed);
/* A SUBSCRIBE entry; also replaces options.  E_NOMEM. */
MUST_USE int share_subscribe(struct session *s, struct bytes name, struct bytes filter,
                             const struct mqtt_subscription *opts, uint8_t qos, uint32_t subid,
                             const struct wish *w);
/* prefix: of its wish.  Whether it was there. */
bool share_unsubscribe(struct session *s, struct bytes name, struct bytes filter,
                       struct bytes prefix);
void share_leave_all(struct session *s);
void share_online(struct session *s, bool online);
/* The journal's view of it, see journal.h.  share_restore() and share_forget() do what a journal
 * tells; share_adopt() gives the membership one more delivery that is not settled: false when there
 * is no such membership. */
uint32_t share_mid(const struct core *core, uint32_t member);
void share_journal(const struct session *s);
MUST_USE int share_restore(struct session *s, uint32_t mid, struct bytes name, struct bytes filter,
                           const struct mqtt_subscription *opts, uint32_t subid,
                           struct bytes block);
void share_rejoin(struct session *s); /* recovery is over: the owners of its groups learn of it */
/* What a group may ask back is in memory: after recovery it is fetched. */
void share_warm(struct session *s);
void share_forget(struct session *s, uint32_t mid);
MUST_USE bool share_adopt(struct session *s, uint32_t mid, uint32_t *member);
/* A group of this shard that journals tell of, made when it is new; it waits for its members, whose
 * letters come when recovery is over.  NULL without memory. */
struct group *share_expect(struct core *core, struct bytes name, struct bytes filter);
void share_begin(struct core *core);                     /* they have all come */
void share_unexpect(struct core *core, struct group *g); /* its last member has left */
uint64_t share_group_number(const struct group *g);      /* of its name, the same on every shard */
/* A message that no member has: the group's again. */
void share_again(struct core *core, struct group *g, struct blob *b);
/* For a checkpoint: what waits in that group. */
void share_journal_waiting(struct core *core, uint32_t slot);
void share_dump(const struct session *s); /* logs the memberships, a line each */
/* A membership as others may see it; views, valid for the call. */
struct share_view {
    struct bytes name, filter, block; /* block: its wish, or empty */
    uint32_t subid;
    uint8_t qos;
    bool retain_as_published;
};
void share_each(const struct session *s, void (*found)(void *ctx, const struct share_view *v),
                void *ctx);
/* Owner: picks a member and sends it p, counts a drop when there is none.  QoS 1 and 2 wait here
 * while all connected members have their windows full; within the limits of a session's queue,
 * beyond which the oldest goes to the least busy member. */
void share_dispatch(struct core *core, struct group *g, struct pub *p);
/* Member's side: a delivery is done (acknowledged, refused, expired or dropped).  seq: the
 * message's, by which recovery learns of it when the member's session is not in the journal; until
 * then the message is its group's in a crash. */
void share_settled(struct core *core, uint32_t member, uint64_t seq);
/* The same when no journal says that the member has had it: sent at QoS 0, or not to be read. */
void share_given(struct core *core, uint32_t member, uint64_t seq);
/* It is in flight to a session that is not in the journal.  True: sent at QoS 2, and so not to go
 * to another member in whatever case [MQTT-4.8.2-5]; that is to be safe first. */
bool share_in_flight(struct core *core, struct inflight_entry *e, uint64_t seq);
/* A session that outlived the process ceases to: what it has not sent is the groups' in a crash. */
void share_undurable(struct session *s);
/* For a checkpoint: what such a session has and its groups would get. */
void share_journal_held(struct session *s);
struct bytes share_name(const struct core *core, uint32_t member); /* of its group */
uint32_t share_subid(const struct core *core, uint32_t member);
void share_configure(struct core *core); /* the named filters are other ones */
void share_mail_in(struct core *core, unsigned src, unsigned kind, struct rd *r);
void share_free(struct core *core);

#endif
