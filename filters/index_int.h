/* Inside the index: its spots, between index.c, which changes it, index_match.c, which
 * reads, and index_table.c, where things hang.  See index.h. */
#ifndef FILTERS_INDEX_INT_H
#define FILTERS_INDEX_INT_H

#include "filters/index.h"

/* What hangs below a spot by one attribute. */
struct branch {
    struct attr *attr;                   /* borrowed: what hangs here has it */
    uint64_t salt;                       /* the spot's and the attribute's part in keys */
    uint32_t keys;                       /* that hang here */
    uint32_t place;                      /* in spot.branches */
    uint32_t equal[4];                   /* keys by equality, by type */
    uint32_t head_count, tail_count;     /* keys by beginning, by end */
    uint16_t head_lengths, tail_lengths; /* which lengths they may have: bits */
    struct range_node *ranges;
    index_ref exists;
};

/* A few seats at one key. */
struct bunch {
    uint32_t count, cap;
    index_ref list[];
};

struct spot {
    index_ref *list; /* seats that end here, as they have no other key */
    uint32_t count, cap;
    uint32_t total; /* seats here and below */
    uint8_t depth;  /* keys on the way to it */
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

enum { REF_SEAT, REF_SPOT, REF_BUNCH, REF_BITS };
static inline unsigned ref_kind(index_ref ref) { return ref & REF_BITS; }
static inline struct spot *ref_spot(index_ref ref)
{
    return (struct spot *)(uintptr_t)(ref - REF_SPOT);
}
static inline struct bunch *ref_bunch(index_ref ref)
{
    return (struct bunch *)(uintptr_t)(ref - REF_BUNCH);
}
static inline struct set_entry *seat_entry(index_ref seat)
{
    return (struct set_entry *)(uintptr_t)(seat & 0xffffffffffff);
}
static inline index_ref seat_of(const struct set_entry *e, uint32_t no)
{
    return (uint64_t)(uintptr_t)e | (uint64_t)no << 48;
}
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

/* ---- index_table.c ---- */

/* Room for one more in the table; refs may move.  E_NOMEM. */
MUST_USE int hits_grow(struct index *x);

struct branch *branch_find(const struct index *x, const struct spot *n, const struct attr *a);
MUST_USE struct branch *branch_get(struct index *x, struct spot *n, struct attr *a);
/* Frees it when nothing hangs there. */
void branch_tidy(struct index *x, struct spot *n, struct branch *b);

static inline bool in_table(const struct key *k) { return k->kind <= BY_TAIL; }
/* What hangs at the key, NULL or 0: nothing. */
index_ref *ref_find(const struct index *x, struct branch *b, const struct key *k);
/* Where something is to hang, now; NULL: no memory. */
MUST_USE index_ref *ref_get(struct index *x, struct branch *b, const struct key *k);
/* Nothing hangs there any more. */
void ref_drop(struct index *x, struct spot *n, struct branch *b, const struct key *k);

#endif
