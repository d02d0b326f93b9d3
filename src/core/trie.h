/* Topic filters and who holds them (one table per shard).  Filters without wildcards lie in a hash
 * table of whole strings, filters with wildcards in a trie of levels whose edges are one hash
 * table:
 *
 *   site/+/dev/7/#          node "site" -> plus -> node "dev" -> node "7" { here, below }
 *                           `here`  holds filters that end at this level: site/+/dev/7
 *                           `below` holds those that end in '#' here:      site/+/dev/7/#
 *
 * A topic is looked up in both.  Holders (struct sub) are sessions, shared groups, and other shards
 * that have an interest; and one holder of kind SUB_WISHES may stand for many sessions that are
 * hidden behind it (wished.h).  At most 200 bytes a subscription in all. */
#ifndef CORE_TRIE_H
#define CORE_TRIE_H

#include "base/list.h"
#include "base/ptrmap.h"
#include "mqtt/mqtt.h"

struct session;
struct group;
struct wqueue;
struct tnode;
struct exact_filter;

enum sub_kind {
    SUB_SESSION,
    SUB_GROUP,
    SUB_SHARD,
    SUB_WISHES,
    SUB_QUEUE,       /* a work queue of this shard */
    SUB_QUEUE_SHARD, /* another shard, which has one */
};
enum filter_place { PLACE_EXACT, PLACE_HERE, PLACE_BELOW };

struct filter {
    struct sub *subs;       /* those that are not hidden */
    uint32_t local_count;   /* sessions and groups, hidden or not */
    uint32_t durable_count; /* those of them that are durable */
};

struct sub {
    struct filter *filter;
    struct sub *filter_next, **filter_link; /* among the holders of the filter; NULL: hidden */
    struct sub *owner_next, **owner_link;   /* among the owner's subscriptions */
    union {
        struct session *session;
        struct group *group;
        struct wqueue *queue;
        uintptr_t shard;
    } owner;
    uint32_t subid; /* Subscription Identifier, 0 = none */
    uint8_t kind;   /* enum sub_kind */
    uint8_t place;  /* enum filter_place: what filter is part of */
    uint8_t qos : 2;
    uint8_t no_local : 1, retain_as_published : 1, retain_handling : 2;
    uint8_t durable : 1; /* the holder keeps messages while it is away */
    uint8_t wished : 1;  /* it is the beginning of a struct wished */
};

/* A session's subscription that wishes something (wish.h); one more struct of its own room lies
 * behind it, see wished.h. */
struct wished {
    struct sub sub;
    uint64_t
        variant; /* its name among the session's subscriptions on this filter; 0: the plain one */
};

struct trie {
    struct ptrmap exact; /* struct exact_filter by its string */
    struct ptrmap edges; /* struct tnode by (parent, level) */
    struct ptrmap subs;  /* struct sub by (filter, owner) */
    struct tnode *root;
    uint64_t seed;
    size_t node_count, filter_count;
};

MUST_USE int trie_init(struct trie *t, uint64_t seed);
void trie_fini(struct trie *t); /* every sub has been removed */

/* The subscription of that owner on a valid filter, NULL when there is none.  variant: which of
 * several; 0 for all that have no name of their own. */
struct sub *trie_find(const struct trie *t, struct bytes filter, uintptr_t owner, uint64_t variant);
/* Adds one (not there yet); `list` heads the owner's subscriptions, may be NULL.  The fields below
 * `owner` are the caller's to fill.  NULL without memory: nothing has changed. */
MUST_USE struct sub *trie_add(struct trie *t, struct bytes filter, enum sub_kind kind,
                              uintptr_t owner, struct sub **list);
/* The holder that stands for hidden ones: `size` bytes, of which struct sub is the first part. */
MUST_USE struct sub *trie_add_wishes(struct trie *t, struct bytes filter, size_t size);
struct sub *trie_find_wishes(const struct trie *t, struct bytes filter);
/* A holder is not among those that matching finds, or is again.  While one is hidden, another must
 * be there. */
void trie_hide(struct sub *s);
void trie_show(struct sub *s);
/* The same of a session that wishes something: `size` bytes, of which struct wished is the first
 * part and the rest is zero; freed by trie_del(), what it points to is the caller's. */
MUST_USE struct wished *trie_add_wished(struct trie *t, struct bytes filter, uintptr_t owner,
                                        uint64_t variant, size_t size, struct sub **list);
void trie_del(struct trie *t, struct sub *s);       /* frees s and what it held alone */
void trie_set_durable(struct sub *s, bool durable); /* the only way to change it */
/* Writes the filter's text, at most MQTT_TOPIC_MAX bytes; returns its length. */
size_t trie_filter_text(const struct sub *s, char *out);

/* Calls found() for each filter that matches a valid topic name (hash = hash_bytes(topic, seed)).
 * Costs O(2^wildcard levels) in the worst case; bounded by TRIE_WORK steps, 0 is returned if that
 * was not enough, which is counted by the caller. */
enum { TRIE_WORK = 100000 };
bool trie_match(const struct trie *t, struct bytes topic, uint64_t hash,
                void (*found)(void *ctx, const struct filter *f), void *ctx);

/* A topic that will be looked up soon; topic and hash are the caller's to set. */
struct trie_ahead {
    struct bytes topic;
    uint64_t hash;
    const struct tnode *node, *child; /* the rest is private */
    const struct exact_filter *exact;
    uint64_t edge;
    uint32_t at;
    uint8_t exact_stage;
    bool probing, walked;
};
/* Fetches into the cache what matching those topics will read, all of them at the same time: in a
 * table larger than the cache a match is five misses in a row. */
void trie_warm(const struct trie *t, struct trie_ahead *topics, unsigned count);

#endif
