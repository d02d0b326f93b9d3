/* A set of filters that are asked together: of one event, who is to have it.  Each filter is added
 * with a member, a struct of the caller's; members whose filters mean the same share one entry.
 * Few filters are asked in turn; from more than SET_LINEAR_MAX on they are looked up by what the
 * event is (index.h), and only those that are found are asked.  Either way exactly those match
 * whose evaluation is true.  One thread. */
#ifndef FILTERS_SET_H
#define FILTERS_SET_H

#include "filters/filter.h"

enum { SET_LINEAR_MAX = 16, SET_LINEAR_AGAIN = 8 };

struct filter_set;
struct set_entry;

/* In the caller's struct, for each filter that it has added. */
struct filter_member {
    struct filter_member *next, **link; /* among those with the same filter; private */
    struct set_entry *entry;            /* private; NULL: in no set */
};

/* NULL without memory.  use_index: false asks all in turn, however many. */
MUST_USE struct filter_set *filter_set_new(struct filter_store *store, bool use_index);
/* The set is empty.  NULL is harmless. */
void filter_set_free(struct filter_set **set);

/* Whether it may have an index from now on. */
void filter_set_use_index(struct filter_set *set, bool use_index);

/* Takes its own reference to expr.  E_NOMEM: nothing has changed. */
MUST_USE int filter_set_add(struct filter_set *set, struct filter_expr *expr,
                            struct filter_member *member);
void filter_set_remove(struct filter_set *set, struct filter_member *member);

struct filter_set_stats {
    uint64_t filters; /* distinct ones, now */
    uint64_t members; /* now */
    bool indexed;     /* now */
    uint64_t events;  /* since the set was made: those that were asked about */
    uint64_t asked;   /* evaluations: the candidates */
    uint64_t matched; /* of them */
    uint64_t errors;  /* of them */
};

/* Borrowed, valid as long as the set. */
const struct filter_set_stats *filter_set_stats(const struct filter_set *set);

/* Calls found() for each member whose filter matches, in no particular order; it must not change
 * the set. */
void filter_set_match(struct filter_set *set, struct filter_event *event,
                      void (*found)(void *ctx, struct filter_member *member), void *ctx);

/* Asserts what has to be true of its insides: for tests, it looks at everything. */
void filter_set_check(const struct filter_set *set);

#endif
