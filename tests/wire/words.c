/* Words of a line and lists of fields.  See text.h. */
#include "tests/wire/text.h"

#include <ctype.h>

/* ---- fields ---- */

struct field *fields_add(struct arena *a, struct fields *f, struct field item)
{
    if (f->count == f->cap) {
        size_t cap = f->cap ? f->cap * 2 : 16;
        struct field *items = arena_alloc(a, cap * sizeof *items);
        if (f->count) memcpy(items, f->items, f->count * sizeof *items);
        f->items = items;
        f->cap = cap;
    }
    f->items[f->count] = item;
    return &f->items[f->count++];
}

void fields_add_number(struct arena *a, struct fields *f, const char *name, uint64_t number)
{
    fields_add(
        a, f,
        (struct field){.name = bytes_str(name),
                       .number = number,
                       .is_number = true,
                       .text = bytes_str(arena_printf(a, "%llu", (unsigned long long)number))});
}

void fields_add_bytes(struct arena *a, struct fields *f, const char *name, struct bytes text)
{
    fields_add(a, f, (struct field){.name = bytes_str(name), .text = text, .quoted = true});
}

bool field_is(const struct field *f, const char *name)
{
    return bytes_eq(f->name, bytes_str(name));
}

const struct field *fields_get(const struct fields *f, const char *name)
{
    for (size_t i = 0; i < f->count; i++)
        if (field_is(&f->items[i], name)) return &f->items[i];
    return NULL;
}

bool field_equal(const struct field *a, const struct field *b)
{
    if (!bytes_eq(a->key, b->key)) return false;
    if (a->is_number && b->is_number && !(a->quoted || b->quoted)) return a->number == b->number;
    return bytes_eq(a->text, b->text);
}

static void print_value(struct text *out, const struct field *f)
{
    if (f->mode == FIELD_ANY)
        text_add(out, "*");
    else if (f->mode == FIELD_CAPTURE)
        text_add(out, "@%.*s", (int)f->text.n, (const char *)f->text.p);
    else if (f->is_number && !f->quoted)
        text_add(out, f->number >= 0x80 && f->number <= 0xff ? "0x%02llx" : "%llu",
                 (unsigned long long)f->number);
    else
        text_add_quoted(out, f->text);
}

void fields_print(struct text *out, const struct fields *f)
{
    for (size_t i = 0; i < f->count; i++) {
        const struct field *item = &f->items[i];
        text_add(out, " %s%.*s", item->mode == FIELD_ABSENT ? "!" : "", (int)item->name.n,
                 item->name.n ? (const char *)item->name.p : "");
        if (item->key.n) {
            text_add(out, ":");
            text_add_quoted(out, item->key);
        }
        if (item->mode == FIELD_ABSENT) continue;
        if (item->name.n) text_add(out, "=");
        print_value(out, item);
    }
}

/* ---- lines ---- */

struct reader {
    struct arena *arena;
    const char *p;
    const char *error;
};

static uint8_t escape(struct reader *r)
{
    char c = *r->p;
    if (c) r->p++;
    uint8_t byte;
    if (c == 'n') return '\n';
    if (c != 'x') return (uint8_t)c;
    if (!isxdigit((unsigned char)r->p[0]) || !isxdigit((unsigned char)r->p[1]) ||
        !hex_read(bytes_of(r->p, 2), &byte)) {
        r->error = "\\x wants two hex digits";
        return 0;
    }
    r->p += 2;
    return byte;
}

/* "text" or "text"*N, at the opening quote. */
static struct bytes read_piece(struct reader *r)
{
    uint8_t *d = arena_alloc(r->arena, strlen(r->p) + 1);
    size_t n = 0, times = 1;
    r->p++;
    while (*r->p && *r->p != '"') {
        char c = *r->p++;
        d[n++] = c == '\\' ? escape(r) : (uint8_t)c;
    }
    if (*r->p++ != '"') {
        r->error = "a quote is not closed";
        r->p--;
        return bytes_of(d, n);
    }
    if (*r->p != '*') return bytes_of(d, n);
    char *end;
    times = strtoul(r->p + 1, &end, 10);
    if (end == r->p + 1 || times > 100u << 20) r->error = "\"text\"* wants a count";
    r->p = end;
    if (r->error) return bytes_of(d, n);
    uint8_t *all = arena_alloc(r->arena, n * times + 1);
    for (size_t i = 0; i < times; i++) put_mem(all + i * n, bytes_of(d, n));
    return bytes_of(all, n * times);
}

/* Pieces without a blank between are one text: "["*70"1". */
static struct bytes read_quoted(struct reader *r)
{
    struct bytes all = read_piece(r);
    while (*r->p == '"' && r->error == NULL) {
        struct bytes more = read_piece(r);
        uint8_t *d = arena_alloc(r->arena, all.n + more.n + 1);
        put_mem(put_mem(d, all), more);
        all = bytes_of(d, all.n + more.n);
    }
    return all;
}

static struct bytes read_bare(struct reader *r, const char *stop)
{
    const char *start = r->p;
    while (*r->p && !isspace((unsigned char)*r->p) && strchr(stop, *r->p) == NULL) r->p++;
    return arena_copy(r->arena, bytes_of(start, (size_t)(r->p - start)));
}

static void read_value(struct reader *r, struct field *f)
{
    f->quoted = *r->p == '"';
    f->text = f->quoted ? read_quoted(r) : read_bare(r, "");
    if (f->quoted) return;
    f->is_number = number_read(f->text, &f->number);
    if (bytes_eq(f->text, bytes_str("*"))) f->mode = FIELD_ANY;
    if (f->text.n > 1 && f->text.p[0] == '@') {
        f->mode = FIELD_CAPTURE;
        f->text = bytes_skip(f->text, 1);
    }
}

/* A word that does not start with a quote. */
static void read_word(struct reader *r, struct field *f)
{
    const char *start = r->p;
    if (*r->p == '!') {
        r->p++;
        f->mode = FIELD_ABSENT;
        f->name = read_bare(r, "");
        return;
    }
    f->name = read_bare(r, "=");
    struct bytes name = f->name;
    const char *prefix = bytes_starts(name, "will.user:") ? "will.user" : "user";
    size_t n = strlen(prefix);
    if (bytes_starts(name, "user:") || bytes_starts(name, "will.user:")) {
        r->p = start + n + 1;
        f->name = bytes_str(prefix);
        f->key = *r->p == '"' ? read_quoted(r) : read_bare(r, "=");
        if (*r->p != '=' && r->error == NULL) r->error = "a user property is user:KEY=VALUE";
    }
    if (*r->p == '=') {
        r->p++;
        read_value(r, f);
        return;
    }
    f->text = f->name; /* positional */
    f->name = (struct bytes){0};
    f->is_number = number_read(f->text, &f->number);
    if (bytes_eq(f->text, bytes_str("*"))) f->mode = FIELD_ANY;
}

const char *words_read(struct arena *a, const char *line, struct fields *out)
{
    struct reader r = {a, line, NULL};
    *out = (struct fields){0};
    for (;;) {
        while (isspace((unsigned char)*r.p)) r.p++;
        if (*r.p == 0 || r.error) return r.error;
        struct field f = {0};
        if (*r.p == '"') {
            f.quoted = true;
            f.text = read_quoted(&r);
        } else {
            read_word(&r, &f);
        }
        if (r.error == NULL && *r.p && !isspace((unsigned char)*r.p))
            r.error = "words want a space between them";
        fields_add(a, out, f);
    }
}
