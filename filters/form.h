/* Inside the room: what a filter is compiled to.
 *
 *   attr       a name or path that some predicate asks for, with what it is in the event at hand.
 *   predicate  one question about an event that has three answers: yes, no, error.  Hash-consed:
 *              all filters that ask the same share it.
 *   form       between tree and expr: predicates under AND and OR; NOT has gone into the leaves.
 *   expr       predicates in the order of asking, and where to go on after each answer.  An error
 *              ends it: errors absorb except behind a short circuit, and that is not asked.
 *   key        what has to be true of an event that a filter matches, such that it can be looked
 *              up: an attribute with a value, in an interval, beginning with a text.
 * One thread. */
#ifndef FILTERS_FORM_H
#define FILTERS_FORM_H

#include "base/hash.h"
#include "filters/expr.h"

/* ---- view.c: attributes, and the event at hand ---- */

enum cast { CAST_UNTRIED, CAST_DONE, CAST_NONE };

/* What an attribute is in one event, with what it has been cast to. */
struct slot {
    uint64_t epoch; /* store.epoch of the event */
    uint8_t found;  /* enum found */
    uint8_t has_text, has_integer, has_decimal, has_number, has_boolean, has_hash; /* enum cast */
    bool boolean;
    int32_t integer;
    double decimal;
    uint64_t number; /* see number_key() */
    uint64_t hash;   /* of text */
    struct filter_value value;
    struct bytes text;
    char room[CAST_TEXT_BYTES];
};

struct attr {
    uint32_t refs;
    uint32_t serial;          /* its part in keys */
    struct filter_tree *tree; /* a NODE_ATTR alone */
    struct slot slot;
};

static inline const struct node *attr_node(const struct attr *a)
{
    return &a->tree->nodes[a->tree->root];
}
static inline bool attr_is_name(const struct attr *a) { return attr_node(a)->attr == ATTR_NAME; }

/* The attribute of a NODE_ATTR or NODE_EXISTS, with a reference for the caller; NULL: no memory. */
MUST_USE struct attr *attr_get(struct filter_store *s, const struct filter_tree *e, uint32_t at);
void attr_unref(struct filter_store *s, struct attr *a);

/* Looks through the attributes of the event at hand, once. */
void view_scan(struct filter_store *s, struct filter_event *event);
struct slot *view_find(struct filter_store *s, struct filter_event *event, struct attr *a);
static inline struct slot *view_slot(struct filter_store *s, struct filter_event *event,
                                     struct attr *a)
{
    if (LIKELY(a->slot.epoch == s->epoch)) return &a->slot;
    return view_find(s, event, a);
}

/* Casts of a slot with a value; each is made once.  false: it cannot be cast. */
bool slot_integer(struct slot *slot);
bool slot_decimal(struct slot *slot);
bool slot_boolean(struct slot *slot);
bool slot_number(struct slot *slot); /* as for arithmetic and order */
struct bytes slot_text(struct slot *slot);
uint64_t slot_hash(struct slot *slot, uint64_t seed); /* of its text */

/* Whole numbers in the order of the Decimals, next to each other where those are. */
static inline uint64_t number_key(double d)
{
    uint64_t bits;
    if (d == 0) d = 0; /* there is no negative zero */
    memcpy(&bits, &d, sizeof bits);
    return bits >> 63 ? ~bits : bits | (uint64_t)1 << 63;
}

/* ---- pred.c ---- */

enum pred_kind {
    PRED_EXISTS,
    PRED_EQUAL, /* the attribute, cast to the type of the value */
    PRED_RANGE, /* the attribute's number is in an interval */
    PRED_LIKE,
    PRED_IN,
    PRED_TRUTH, /* the attribute cast to Boolean */
    PRED_EXPR,  /* any other expression, cast to Boolean */
};

struct in_item {
    struct filter_value value; /* as written */
    struct bytes text;         /* as a String */
};

/* There are many of them: 16 bytes, and what kind it is says what follows.
 *
 *   EXISTS, TRUTH             nothing
 *   EQUAL                     the text; of another type than String, bits of the value
 *   RANGE                     struct range_of
 *   IN                        struct in_item, n times
 *   LIKE                      the pattern, behind the memo unless it is plain
 *   EXPR                      the memo, struct filter_tree * */
struct pred {
    uint32_t refs;
    uint8_t kind : 5, type : 2; /* enum pred_kind; PRED_EQUAL: type of the value */
    uint8_t plain : 1; /* PRED_LIKE: a text, a % and a text at most, without anything else */
    int8_t answer;     /* memo of what is costly: of the event words[0] */
    uint16_t n;        /* bytes of text or pattern; PRED_IN: items */
    struct attr *attr; /* PRED_EXPR: one that has to be there, or NULL */
    uint64_t words[];
};
_Static_assert(sizeof(struct pred) == 16, "predicates are small");
_Static_assert(FILTER_TEXT_MAX <= UINT16_MAX, "pred.n has 16 bits");

static inline bool pred_has_memo(const struct pred *p)
{
    return p->kind == PRED_EXPR || (p->kind == PRED_LIKE && !p->plain);
}
/* PRED_EQUAL of a String; PRED_LIKE. */
static inline struct bytes pred_text(const struct pred *p)
{
    return bytes_of(p->words + pred_has_memo(p), p->n);
}

struct range_of {
    uint64_t low, high; /* number_key(), both included; low > high: nothing is in it */
};

static inline struct range_of pred_range(const struct pred *p)
{
    return (struct range_of){p->words[0], p->words[1]};
}
static inline struct filter_tree *pred_tree(const struct pred *p)
{
    return (struct filter_tree *)(uintptr_t)p->words[1];
}
static inline struct in_item pred_item(const struct pred *p, uint32_t i)
{
    struct in_item item;
    memcpy(&item, (const uint8_t *)p->words + i * sizeof item, sizeof item);
    return item;
}

/* A predicate that is being looked for. */
struct wanted {
    uint8_t kind;
    struct attr *attr;         /* a reference, given away; or NULL */
    struct filter_value value; /* PRED_EQUAL; PRED_LIKE: the pattern */
    struct range_of range;
    const struct filter_tree *tree; /* PRED_IN, PRED_EXPR: with the node at `at` */
    uint32_t at;
};

/* With a reference for the caller; NULL: no memory.  The reference to w->attr is taken in any case.
 */
MUST_USE struct pred *pred_get(struct filter_store *s, const struct wanted *w);
static inline struct pred *pred_ref(struct pred *p)
{
    p->refs++;
    return p;
}
void pred_unref(struct filter_store *s, struct pred *p);
enum filter_result pred_ask(struct run *r, struct pred *p);
uint64_t pred_hash(const void *elem, uint64_t seed);

/* ---- keys ---- */

enum key_kind { BY_EQUAL, BY_HEAD, BY_TAIL, BY_RANGE, BY_EXISTS, BY_ALWAYS };
enum { AFFIX_CLASSES = 16 };
extern const uint8_t affix_lengths[AFFIX_CLASSES]; /* beginnings that are looked up, in bytes */

struct key {
    uint8_t kind;
    uint8_t type;  /* BY_EQUAL: enum filter_type; BY_HEAD, BY_TAIL: which length */
    uint64_t hash; /* of the value */
    struct range_of range;
    struct attr *attr; /* borrowed */
};

static inline uint64_t key_of_integer(int32_t i, uint64_t seed)
{
    return hash_u64((uint32_t)i, seed);
}
static inline uint64_t key_of_decimal(double d, uint64_t seed)
{
    return hash_u64(number_key(d), seed);
}

/* How many keys a leaf has: if it is true of an event, one of them is.  The nth of them. */
uint32_t key_count(const struct filter_store *s, const struct pred *p, bool negated);
struct key key_of(const struct filter_store *s, const struct pred *p, bool negated, uint32_t n);
/* How bad it is to have it for a key: of events, the more are found by it the worse. */
uint32_t key_cost(const struct filter_store *s, const struct pred *p, bool negated);

/* ---- compile.c ---- */

enum { GOTO_MATCH = 0xffff, GOTO_MISS = 0xfffe, GOTO_ERROR = 0xfffd, STEPS_MAX = 0xff00 };
enum { ALTS_MAX = 4 };
#define STEP_NEGATED ((uint64_t)1 << 63)

struct filter_expr {
    uint32_t refs;
    uint16_t count; /* steps */
    uint16_t start; /* where it begins: a step, or GOTO_x */
    uint16_t key_steps;
    uint8_t alt_count;
    uint8_t alts[ALTS_MAX]; /* steps with one good key each: any of them is enough */
    bool all;               /* each step has to be true, in turn; there are no jumps */
    uint64_t steps[];       /* struct pred *, STEP_NEGATED; what follows: */
    /* uint16_t jumps[count][2], unless `all`: where to go on after yes, after no
     * uint16_t keys[key_steps]: if the filter matches, the key of one of these steps is true */
};

static inline struct pred *step_pred(uint64_t step)
{
    return (struct pred *)(uintptr_t)(step & ~STEP_NEGATED);
}
static inline bool step_negated(uint64_t step) { return step >> 63; }
static inline const uint16_t *expr_jumps(const struct filter_expr *e)
{
    return (const uint16_t *)(const void *)&e->steps[e->count];
}
static inline const uint16_t *expr_keys(const struct filter_expr *e)
{
    return expr_jumps(e) + (e->all ? 0 : 2 * e->count);
}
static inline size_t expr_size(const struct filter_expr *e)
{
    return sizeof *e + e->count * sizeof e->steps[0] +
           (e->key_steps + (e->all ? 0u : 2u * e->count)) * sizeof(uint16_t);
}

/* E_NOMEM: nothing has changed. */
MUST_USE int expr_compile(struct filter_store *s, struct filter_tree *tree,
                          struct filter_expr **out);
/* ---- expr.c ---- */

/* The one that is like the draft, or a copy of it; NULL: no memory.  The draft's references to
 * predicates are given away. */
MUST_USE struct filter_expr *expr_keep(struct filter_store *s, const struct filter_expr *draft);
enum filter_result expr_run(struct run *r, const struct filter_expr *e);

#endif
