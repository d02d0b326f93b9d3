/* Attribute filters: the door of the room.  An expression (CloudEvents SQL and a little more, see
 * docs/reference/filters.md) is compiled once, and then says of each message whether it matches.
 * The room knows attributes of an event; that they come from MQTT is its caller's affair.
 *
 *   store  one per core: what was found out about the event at hand, and the memory that evaluating
 *          needs.
 *   expr   a compiled expression: immutable, counted.
 *   event  what is known of one message; views only, read when an expression asks.
 *
 * One thread: everything of a store belongs to the core that made it. */
#ifndef FILTERS_FILTER_H
#define FILTERS_FILTER_H

#include "base/bytes.h"

struct filter_store;
struct filter_expr;

/* ---- limits and errors of an expression's text ---- */

struct filter_limits {
    uint32_t text_bytes;  /* of the expression, at most FILTER_TEXT_MAX */
    uint32_t nesting;     /* parentheses, operators and calls, at most FILTER_NESTING_MAX */
    uint32_t predicates;  /* comparisons, LIKE, IN, EXISTS and bare booleans */
    uint32_t in_elements; /* of one IN */
};

enum { FILTER_TEXT_MAX = 65535, FILTER_NESTING_MAX = 256 };

#define FILTER_LIMITS_DEFAULT ((struct filter_limits){8192, 64, 256, 1024})
/* For those whom the limits do not guard against: what stands in a configuration. */
#define FILTER_LIMITS_CONFIGURED ((struct filter_limits){FILTER_TEXT_MAX, 64, 4096, 4096})

enum filter_fault {
    FILTER_FAULT_NONE,
    FILTER_FAULT_PARSE,
    FILTER_FAULT_FUNCTION,    /* unknown, or called with a wrong number of arguments */
    FILTER_FAULT_NOT_BOOLEAN, /* the whole is not certainly Boolean */
    FILTER_FAULT_AMBIGUOUS,   /* reads as if it meant something else */
    FILTER_FAULT_LIMIT,
    FILTER_FAULT_NAME, /* never from this room: for who resolves @name */
};

enum { FILTER_DETAIL_BYTES = 120 };

struct filter_error {
    enum filter_fault fault;
    uint32_t column;                  /* in code points, from 1 */
    char detail[FILTER_DETAIL_BYTES]; /* English, for people: "LIKE needs a string literal" */
};

/* "parse", "function", "not-boolean", "ambiguous", "limit", "name": as `filter-error` has it. */
const char *filter_fault_name(enum filter_fault fault);

/* ---- the store ---- */

struct filter_settings {
    uint32_t json_bytes;  /* a payload above it is not read as JSON: its paths are missing */
    uint32_t json_depth;  /* nor is one that is nested deeper, at most FILTER_JSON_DEPTH_MAX */
    uint32_t json_values; /* nor one with more elements and members: it takes memory for each */
    uint64_t seed;        /* of hashes: not to be guessed by whoever writes filters */
};

enum { FILTER_JSON_DEPTH_MAX = 512 };

#define FILTER_SETTINGS_DEFAULT                                                                    \
    ((struct filter_settings){.json_bytes = 1 << 20, .json_depth = 64, .json_values = 1 << 16})

/* NULL without memory. */
MUST_USE struct filter_store *filter_store_new(const struct filter_settings *settings);
/* All expressions have been given back.  NULL is harmless. */
void filter_store_free(struct filter_store **store);

/* What happened since the store was made; monotonic, except *_count and *_bytes. */
struct filter_stats {
    uint64_t json_read;       /* payloads and envelopes read */
    uint64_t json_bad;        /* of them: no JSON, or too deep; their paths are missing */
    uint64_t json_large;      /* not read: longer than json_bytes, more than json_values */
    uint64_t short_of_memory; /* an evaluation that could not go on: counts as an error too */
    uint64_t expr_count;      /* compiled expressions now, those that mean the same counted once */
    uint64_t bytes;           /* their memory, without tables and the allocator's own */
};

/* Borrowed, valid as long as the store. */
const struct filter_stats *filter_store_stats(const struct filter_store *store);

/* ---- expressions ---- */

/* Compiles a filter.  The result is the caller's, who gives it back with filter_expr_unref(); texts
 * that ask the same give the same expression.  The text is not kept.
 * E_INVALID: *error says why; E_NOMEM; on both nothing has changed. */
MUST_USE int filter_compile(struct filter_store *store, struct bytes text,
                            const struct filter_limits *limits, struct filter_expr **out,
                            struct filter_error *error);
struct filter_expr *filter_expr_ref(struct filter_expr *expr);
/* NULL is harmless. */
void filter_expr_unref(struct filter_store *store, struct filter_expr *expr);

/* ---- events ---- */

enum filter_type { FILTER_BOOL, FILTER_INT, FILTER_DECIMAL, FILTER_STRING };

struct filter_value {
    enum filter_type type;
    union {
        bool boolean;
        int32_t integer;
        double decimal;
        struct bytes string;
    };
};

/* One message.  The caller zeroes it, fills what it knows, and keeps everything in place until it
 * no longer asks about the event; p == NULL means that the message has no such thing.  What was
 * found out about the event is remembered in the store, for one event at a time: asking about two
 * in turns is right but slow. */
struct filter_event {
    struct bytes topic;
    struct bytes payload;
    struct bytes content_type, response_topic;
    struct bytes client_id, username; /* the publisher's */
    uint32_t expiry;                  /* seconds, if has_expiry */
    uint8_t qos;
    bool retain, has_expiry;

    /* The attributes (user properties) in their order; of equal names the first counts.  *cursor is
     * 0 at first and the callee's to move; false at the end.  Name and value are views.  NULL:
     * there are none.  Not called unless an expression that is asked uses a name. */
    bool (*attribute)(void *ctx, size_t *cursor, struct bytes *name, struct filter_value *value);
    void *ctx;

    uint64_t asked; /* private */
};

enum filter_result { FILTER_ERROR = -1, FILTER_MISS = 0, FILTER_MATCH = 1 };

/* Whether the event matches.  FILTER_ERROR is no match either: something was missing, or had a
 * type that cannot be compared. */
enum filter_result filter_matches(struct filter_store *store, const struct filter_expr *expr,
                                  struct filter_event *event);

#endif
