/* Inside the room: tokens, the syntax tree of an expression, its evaluation, and the store.  What
 * a tree is compiled to is in form.h.  One thread. */
#ifndef FILTERS_EXPR_H
#define FILTERS_EXPR_H

#include "base/pool.h"
#include "base/ptrmap.h"
#include "filters/eval.h"
#include "filters/value.h"

/* ---- lex.c ---- */

enum token_kind {
    TOKEN_END,
    TOKEN_NAME,   /* bare; text is as written */
    TOKEN_QUOTED, /* in back-quotes; text with doubled ones */
    TOKEN_KEYWORD,
    TOKEN_STRING, /* text without the delimiters, escapes still in it */
    TOKEN_NUMBER, /* text: digits, or digits.digits */
    TOKEN_SYMBOL, /* symbol: one character, or SYMBOL_x */
    TOKEN_WRONG,  /* fault: why */
};

enum keyword {
    KEY_AND,
    KEY_OR,
    KEY_XOR,
    KEY_NOT,
    KEY_LIKE,
    KEY_EXISTS,
    KEY_IN,
    KEY_TRUE,
    KEY_FALSE
};
enum { SYMBOL_NE = 256, SYMBOL_LE, SYMBOL_GE };

struct token {
    uint8_t kind;
    uint8_t keyword;
    uint8_t quote; /* TOKEN_STRING: its delimiter */
    uint16_t symbol;
    uint32_t column; /* in code points, from 1 */
    struct bytes text;
    const char *fault;
};

struct lexer {
    struct bytes text;
    size_t at;
    size_t column_at; /* up to here `column` has counted */
    uint32_t column;
};

struct token lex_next(struct lexer *l);
bool lex_word_is(struct bytes word, const char *upper); /* in any letter case */

/* ---- parse.c ---- */

enum node_kind {
    NODE_LITERAL,
    NODE_ATTR,
    NODE_EXISTS,
    NODE_NOT,
    NODE_NEGATE,
    NODE_CHAIN, /* operands of one level of precedence, left to right */
    NODE_LIKE,
    NODE_IN, /* the first child is what is looked for */
    NODE_CALL,
    NODE_STEP, /* of a JSON path: a member by name, or an element */
};

enum node_op {
    OP_NONE,
    OP_AND,
    OP_OR,
    OP_XOR,
    OP_EQ,
    OP_NE,
    OP_LT,
    OP_LE,
    OP_GT,
    OP_GE,
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_MOD,
};

static inline bool op_is_logic(unsigned op) { return op >= OP_AND && op <= OP_XOR; }
static inline bool op_is_compare(unsigned op) { return op >= OP_EQ && op <= OP_GE; }

enum attr_kind {
    ATTR_NAME, /* a user property */
    ATTR_PATH, /* into a JSON payload: the steps are the children */
    ATTR_LEVEL,
    ATTR_TOPIC,
    ATTR_LEVELS,
    ATTR_QOS,
    ATTR_RETAIN,
    ATTR_SIZE,
    ATTR_CONTENT_TYPE,
    ATTR_RESPONSE_TOPIC,
    ATTR_EXPIRY,
    ATTR_CLIENT_ID,
    ATTR_USERNAME,
    ATTR_PAYLOAD,
};

struct node {
    uint8_t kind;
    uint8_t op;                /* before this operand of a chain; OP_NONE: the first */
    uint8_t attr;              /* enum attr_kind */
    bool parens;               /* stood in parentheses */
    bool negated;              /* NOT LIKE, NOT IN */
    bool element;              /* NODE_STEP */
    int16_t function;          /* NODE_CALL: its row; -1: there is none */
    int32_t index;             /* ATTR_LEVEL, NODE_STEP */
    uint32_t column;           /* where it begins */
    uint32_t op_column;        /* of op */
    uint32_t first, next;      /* child, sibling: places in the tree, 0 = none */
    uint32_t count;            /* children */
    struct filter_value value; /* NODE_LITERAL; text of LIKE, names, calls and steps */
    struct attr *shared;       /* NODE_ATTR, NODE_EXISTS of a predicate's tree; or NULL */
};

/* The tree and the texts it views. */
struct filter_tree {
    struct node *nodes; /* [0] is not used */
    uint32_t count, cap;
    uint32_t root;
    uint32_t predicates;
    uint8_t *text;
    uint32_t text_bytes, text_cap;
};

/* 0, E_NOMEM, E_INVALID with *error; nothing is to be freed after an error. */
MUST_USE int tree_parse(struct bytes text, const struct filter_limits *limits,
                        struct filter_tree **out, struct filter_error *error);
void tree_free(struct filter_tree *e);

void fault_set(struct filter_error *e, enum filter_fault fault, uint32_t column, const char *fmt,
               ...) PRINTF_LIKE(4, 5);

/* ---- lint.c: why it would be refused as a filter; returns how many, at most max ---- */
uint32_t tree_lint(const struct filter_tree *e, struct filter_error *out, uint32_t max);
bool tree_is_boolean(const struct filter_tree *e, const struct node *n); /* certainly */

/* ---- tree.c ---- */

/* Subtrees without variables become literals, where that is no error. */
void tree_fold(struct filter_store *s, struct filter_tree *e);
/* Nodes of the subtree at `at` alone; NULL without memory. */
MUST_USE struct filter_tree *tree_copy(const struct filter_tree *e, uint32_t at);
/* Whether two subtrees mean the same, whatever was written; and a hash of that. */
bool tree_same(const struct filter_tree *a, uint32_t at, const struct filter_tree *b, uint32_t bt);
uint64_t tree_hash(const struct filter_tree *e, uint32_t at, uint64_t seed);
size_t tree_bytes(const struct filter_tree *e); /* without the allocator's own */

/* ---- store.c, json.c, attr.c, eval.c, func.c ---- */

struct scratch {
    struct scratch *next;
    uint8_t data[];
};

struct json_t;

enum { NAME_SHAPES = 128 };

struct filter_store {
    struct filter_settings settings;
    struct filter_stats stats;
    struct pool pool;             /* predicates, expressions, and what sets have of them */
    uint64_t seed;                /* of every hash */
    uint64_t epoch;               /* of the event at hand */
    bool scanned;                 /* its attributes have been looked through */
    bool envelope;                /* and its payload has more of them, see attr.c */
    struct ptrmap names, attrs;   /* struct attr: those found by name, and the others */
    uint32_t shapes[NAME_SHAPES]; /* how many names look like that, see view.c */
    struct attr **present;        /* of the names, those that the event has; room for all */
    uint32_t present_count, present_cap;
    uint32_t attr_serial;
    struct ptrmap preds, exprs; /* struct pred, struct filter_expr, by what they are */
    struct form *forms;         /* room of compile.c */
    uint32_t form_cap;
    struct filter_expr *draft; /* likewise, draft_size bytes */
    size_t draft_size;
    bool json_tried;
    struct json_t *json;
    struct scratch *scratch; /* texts that live until the next evaluation */
    size_t scratch_bytes;
};

/* What an expression may make of texts in one evaluation, and how much it may look at: bytes of
 * attributes and arguments, steps of LIKE.  It takes some milliseconds. */
enum { SCRATCH_MAX = 4 << 20, WORK_MAX = 8 << 20 };

struct operand {
    struct filter_value value;
    bool failed; /* the value is what the error leaves; an operator makes its zero of it */
};

struct run {
    struct filter_store *store;
    struct filter_event *event;
    const struct filter_tree *tree;
    enum filter_failure failure; /* the first */
    char *detail;                /* FILTER_DETAIL_BYTES, or NULL */
    size_t work;                 /* up to WORK_MAX */
};

/* The store is told which event is at hand; before anything is asked about it. */
void run_begin(struct filter_store *s, struct filter_event *event);
struct operand run_tree(struct run *r);
/* A subtree, of the event that was begun. */
struct operand run_node(struct run *r, uint32_t at);
struct operand run_fail(struct run *r, enum filter_failure failure, struct filter_value left,
                        const char *fmt, ...) PRINTF_LIKE(4, 5);
/* false (and a failure): it is more than WORK_MAX in all. */
bool run_work(struct run *r, size_t n);
/* NULL (and a failure) above the limit. */
uint8_t *run_text(struct run *r, size_t n);
void scratch_free(struct filter_store *s);

enum found { FOUND_MISSING, FOUND_VALUE, FOUND_UNUSABLE };
enum found attr_find(struct run *r, const struct node *n, struct filter_value *out);
bool attr_is_envelope(struct bytes content_type);

/* The payload as JSON, NULL when it is none; borrowed while the event is the one at hand. */
struct json_t *json_of_event(struct filter_store *s, struct filter_event *event);
void json_forget(struct filter_store *s);
enum found json_path(struct filter_store *s, struct filter_event *event,
                     const struct filter_tree *e, const struct node *n, struct filter_value *out);
enum found json_member(struct filter_store *s, struct filter_event *event, struct bytes name,
                       struct filter_value *out);

int function_find(struct bytes name, unsigned count); /* -1: none with so many arguments */
bool function_is_boolean(int row);
bool function_known(struct bytes name);
struct operand function_run(struct run *r, int row, struct operand *args, unsigned count);

#endif
