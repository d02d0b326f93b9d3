/* What a line of a .wire file is made of: memory that lives as long as one run of a conversation,
 * words, and fields (name and value), in which packets are written, compared and printed. */
#ifndef TESTS_WIRE_TEXT_H
#define TESTS_WIRE_TEXT_H

#include "base/bytes.h"

/* ---- memory: everything is given back at once ---- */

struct arena_block;
struct arena {
    struct arena_block *blocks;
};
void *arena_alloc(struct arena *a, size_t n); /* zeroed; aborts without memory */
void arena_free(struct arena *a);
struct bytes arena_copy(struct arena *a, struct bytes b); /* with a 0 behind it */
PRINTF_LIKE(2, 3) char *arena_printf(struct arena *a, const char *fmt, ...);

/* Text that grows at its end. */
struct text {
    struct arena *arena;
    char *p;
    size_t len, cap;
};
PRINTF_LIKE(2, 3) void text_add(struct text *t, const char *fmt, ...);
void text_add_quoted(struct text *t, struct bytes b);           /* "a\x00" */
void text_add_hex(struct text *t, struct bytes b, size_t most); /* 30 05 ... */
const char *text_string(const struct text *t);                  /* never NULL */

/* ---- fields ---- */

enum field_mode {
    FIELD_VALUE,
    FIELD_ABSENT,  /* !name */
    FIELD_ANY,     /* name=* */
    FIELD_CAPTURE, /* name=@variable: remember it, or compare with what was remembered */
};

struct field {
    struct bytes name; /* empty: a positional word */
    struct bytes key;  /* of user properties */
    struct bytes text; /* as written, or the number in decimal */
    uint64_t number;
    enum field_mode mode;
    bool is_number, quoted;
};

struct fields {
    struct field *items;
    size_t count, cap;
};

struct field *fields_add(struct arena *a, struct fields *f, struct field item);
void fields_add_number(struct arena *a, struct fields *f, const char *name, uint64_t number);
void fields_add_bytes(struct arena *a, struct fields *f, const char *name, struct bytes text);
/* The first of this name, or NULL. */
const struct field *fields_get(const struct fields *f, const char *name);
bool field_is(const struct field *f, const char *name);
bool field_equal(const struct field *a, const struct field *b); /* the values */
void fields_print(struct text *out, const struct fields *f);

/* ---- lines ---- */

/* Cuts a line into words: bare, "quoted"*3, name=value, user:name=value, !name.  NULL, or what is
 * wrong with it. */
const char *words_read(struct arena *a, const char *line, struct fields *out);
/* Number with 0x or decimal; with_unit: also ms s m h d (the result is ms, a bare number seconds)
 * and k M G. */
bool number_read(struct bytes text, uint64_t *out);
bool duration_read(struct bytes text, uint64_t *ms);
bool size_read(struct bytes text, uint64_t *bytes);
bool hex_read(struct bytes text, uint8_t *out); /* an even number of digits */

#endif
