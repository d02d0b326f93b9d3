/* Inside the index: its spots, between index.c, which changes it, and index_match.c, which reads.
 * See index.h. */
#ifndef FILTERS_INDEX_INT_H
#define FILTERS_INDEX_INT_H

#include "filters/index.h"

/* What hangs below a spot by one attribute. */
struct branch {
    struct attr *attr; /* borrowed: what hangs here has it */
    uint64_t salt;     /* the spot's and the attribute's part in keys */
    uint32_t keys;     /* that hang here */
    uint32_t place;    /* in spot.branches */
    uint32_t equal[4]; /* keys by equality, by type */
    uint32_t heads[AFFIX_CLASSES], tails[AFFIX_CLASSES]; /* keys, by length */
    uint32_t head_count, tail_count;
    struct range_node *ranges;
    index_ref exists;
};

struct spot {
    index_ref *list; /* seats that end here */
    uint32_t count, cap;
    uint32_t total; /* seats here and below */
    uint8_t depth;  /* keys on the way to it */
    bool split;     /* what has another key goes below */
    bool mapped;    /* its branches are in the table too */
    struct branch **branches;
    uint32_t branch_count, branch_cap;
    uint32_t other_count; /* branches whose attribute is no name: they come first */
    uint64_t salt;
};

struct hit {
    uint64_t hash; /* 0: empty */
    index_ref ref;
};

struct index {
    struct filter_store *store;
    struct hit *hits; /* open addressing, linear probing */
    size_t mask, count;
    struct spot *root;
    uint64_t salts; /* given out */
    uint64_t round; /* counts matches */
};

static inline bool ref_is_spot(index_ref ref) { return ref & 1; }
static inline struct spot *ref_spot(index_ref ref) { return (struct spot *)(uintptr_t)(ref - 1); }
static inline struct set_entry *seat_entry(index_ref seat)
{
    return (struct set_entry *)(uintptr_t)(seat & 0xffffffffffff);
}
static inline index_ref seat_of(const struct set_entry *e, uint32_t no)
{
    return (uint64_t)(uintptr_t)e | (uint64_t)no << 48;
}
/* It lies at several keys, or at one that is no alternative. */
static inline bool entry_is_many(const struct set_entry *e) { return e->expr->alt_count == 0; }

/* In the table: of what hangs at a branch, and of the branch itself. */
static inline uint64_t key_hash(uint64_t salt, unsigned kind, unsigned type, uint64_t value)
{
    uint64_t h = hash_u64(value + salt, kind << 8 | type);
    return h ? h : 1;
}
static inline uint64_t branch_hash(uint64_t salt)
{
    enum { BY_ATTR = 99 };
    return key_hash(salt, BY_ATTR, 0, 0);
}
static inline uint64_t branch_salt(const struct index *x, const struct spot *n,
                                   const struct attr *a)
{
    return hash_u64(n->salt + a->serial, x->store->seed);
}

static inline void hit_prefetch(const struct index *x, uint64_t hash)
{
    __builtin_prefetch(&x->hits[hash & x->mask]);
}

static inline index_ref *hit_find(const struct index *x, uint64_t hash)
{
    for (size_t i = hash & x->mask;; i = (i + 1) & x->mask) {
        if (x->hits[i].hash == hash) return &x->hits[i].ref;
        if (x->hits[i].hash == 0) return NULL;
    }
}

struct branch *branch_find(const struct index *x, const struct spot *n, const struct attr *a);

#endif
