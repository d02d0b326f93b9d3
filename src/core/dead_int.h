/* The list of dead letters, as dead_list.c keeps it and dead_serve.c reads it; shard 0. */
#ifndef CORE_DEAD_INT_H
#define CORE_DEAD_INT_H

#include "core/dead.h"

struct dead_entry {
    uint64_t seq, ref; /* ref: a struct blob * when the store does not keep */
    uint64_t topic;    /* its hash, the same in every run; 0: not known, of an earlier build */
    uint32_t size, time_s;
};

struct dead_list { /* by sequence; the first `head` are gone */
    struct dead_entry *all;
    uint32_t head, count, cap;
    uint64_t bytes;
    struct timer age;
};

static inline struct dead_entry *dead_at(const struct dead_list *l, uint32_t i)
{
    return &l->all[l->head + i];
}

/* The first that is not before seq; l may be NULL. */
uint32_t dead_position(const struct dead_list *l, uint64_t seq);
/* With a reference for the caller, errors as of core_fetch(). */
MUST_USE int dead_body(struct core *core, const struct dead_entry *e, struct blob **b);

#endif
