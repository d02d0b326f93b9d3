/* Inside the room: where the filters of a set are found by what an event is.  A tree of spots; a
 * filter lies in one spot, reached by keys (form.h) that are true of every event it matches:
 *
 *   root -- site = 'paris' --> spot [ f1 f2 .. ]     a bunch that has become large is split:
 *        |                       `-- temp > 30 --> f7     what has another key goes below
 *        |-- dev LIKE 'ab%' --> bunch [ f3 f5 ]
 *        `-- EXISTS x --> f4                          one alone needs no memory of its own
 *
 * or, when only several keys together cover it (OR, IN), below the root at each of them.  What
 * hangs below a spot by equality, beginning or end lies in one hash table of the whole index;
 * intervals are trees of their own.  Keys are hashes that are not compared: a false hit is one more
 * filter to ask.  One thread. */
#ifndef FILTERS_INDEX_H
#define FILTERS_INDEX_H

#include "filters/form.h"
#include "filters/set.h"

enum {
    PATH_MAX_KEYS = 3,   /* keys on the way to a filter */
    SPLIT_AT = 12,       /* filters in a bunch from which on it is split */
    SEATS_MAX = 0xff00,  /* keys of one filter; with more it is asked always */
    FEW_BRANCHES = 24,   /* attributes that are tried in turn */
    CANDIDATES_MAX = 64, /* asked together */
};

/* What lies at several keys, or at one that is no alternative. */
struct set_many {
    uint64_t round; /* of the match that has found it */
    uint32_t count;
    bool always;   /* its one seat is at the root, as it can be found by nothing */
    uint32_t at[]; /* its place in the list of each of its keys */
};

enum { PATH_NONE = 0xff };

/* One distinct filter of a set; there are many of them. */
struct set_entry {
    struct filter_expr *expr;
    struct filter_member *members;
    union {
        struct set_many *many; /* NULL: it is in no index */
        struct {
            uint32_t at; /* its place in a list */
            uint8_t path[PATH_MAX_KEYS];
            uint8_t path_len; /* PATH_NONE: it is in no index */
        } one;
    } u;
};

static inline bool entry_is_many(const struct set_entry *e) { return e->expr->alt_count == 0; }
static inline bool entry_is_indexed(const struct set_entry *e)
{
    return entry_is_many(e) ? e->u.many != NULL : e->u.one.path_len != PATH_NONE;
}
/* It is in no index yet. */
static inline void entry_unindexed(struct set_entry *e)
{
    e->u.many = NULL;
    if (!entry_is_many(e)) e->u.one.path_len = PATH_NONE;
}

/* What hangs at a key: 0 nothing; a seat (one filter); or, by the lowest bits, a spot or a bunch.
 */
typedef uint64_t index_ref;

struct index;

/* NULL without memory. */
MUST_USE struct index *index_new(struct filter_store *store);
/* No entry is in it any more, or they do not matter. */
void index_free(struct index **index);
/* E_NOMEM: nothing has changed. */
MUST_USE int index_add(struct index *x, struct set_entry *e);
void index_remove(struct index *x, struct set_entry *e);
/* Calls ask() for each entry that may match; all that match are among them, none comes twice. */
void index_match(struct index *x, struct filter_event *event,
                 void (*ask)(void *ctx, struct set_entry *const *all, unsigned count), void *ctx);
void index_check(const struct index *x, const struct set_entry *e);

/* ---- ranges.c: intervals, by any number in them ---- */

struct range_node; /* a treap by (low, high), each node with the highest `high` below it */

/* What hangs at that interval, which is made if asked; NULL: no memory, or not there. */
index_ref *ranges_at(struct range_node **root, struct range_of range, uint64_t seed, bool make);
/* Nothing hangs at it any more. */
void ranges_drop(struct range_node **root, struct range_of range);
void ranges_stab(const struct range_node *root, uint64_t number,
                 void (*found)(void *ctx, index_ref ref), void *ctx);

#endif
