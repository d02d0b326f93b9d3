/* Arena, growing text, numbers.  See text.h. */
#include "tests/wire/text.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>

enum { BLOCK_BYTES = 64 * 1024 };

struct arena_block {
    struct arena_block *next;
    size_t used, cap;
    _Alignas(16) uint8_t data[];
};

void *arena_alloc(struct arena *a, size_t n)
{
    n = (n + 15) & ~(size_t)15;
    struct arena_block *b = a->blocks;
    if (b == NULL || b->cap - b->used < n) {
        size_t cap = n > BLOCK_BYTES ? n : BLOCK_BYTES;
        b = calloc(1, sizeof *b + cap);
        if (b == NULL) abort();
        b->cap = cap;
        b->next = a->blocks;
        a->blocks = b;
    }
    b->used += n;
    return b->data + b->used - n;
}

void arena_free(struct arena *a)
{
    while (a->blocks) {
        struct arena_block *b = a->blocks;
        a->blocks = b->next;
        free(b);
    }
}

struct bytes arena_copy(struct arena *a, struct bytes b)
{
    uint8_t *p = arena_alloc(a, b.n + 1);
    if (b.n) memcpy(p, b.p, b.n);
    return bytes_of(p, b.n);
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    ASSERT(n >= 0);
    char *p = arena_alloc(a, (size_t)n + 1);
    va_start(args, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, args);
    va_end(args);
    return p;
}

/* ---- growing text ---- */

static char *text_room(struct text *t, size_t n)
{
    if (t->cap - t->len <= n) {
        size_t cap = (t->len + n + 128) * 2;
        char *p = arena_alloc(t->arena, cap);
        if (t->len) memcpy(p, t->p, t->len);
        t->p = p;
        t->cap = cap;
    }
    return t->p + t->len;
}

void text_add(struct text *t, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    ASSERT(n >= 0);
    char *p = text_room(t, (size_t)n + 1);
    va_start(args, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, args);
    va_end(args);
    t->len += (size_t)n;
}

void text_add_quoted(struct text *t, struct bytes b)
{
    enum { MOST = 120 };
    text_add(t, "\"");
    for (size_t i = 0; i < b.n && i < MOST; i++) {
        if (b.p[i] == '"' || b.p[i] == '\\')
            text_add(t, "\\%c", b.p[i]);
        else if (b.p[i] < 32 || b.p[i] == 127)
            text_add(t, "\\x%02x", b.p[i]);
        else
            text_add(t, "%c", b.p[i]);
    }
    text_add(t, b.n > MOST ? "\"... (%zu bytes)" : "\"", b.n);
}

void text_add_hex(struct text *t, struct bytes b, size_t most)
{
    for (size_t i = 0; i < b.n && i < most; i++) text_add(t, i ? " %02x" : "%02x", b.p[i]);
    if (b.n > most) text_add(t, " ... (%zu bytes)", b.n);
}

const char *text_string(const struct text *t) { return t->len ? t->p : ""; }

/* ---- numbers ---- */

bool number_read(struct bytes text, uint64_t *out)
{
    bool hex = text.n > 2 && text.p[0] == '0' && (text.p[1] | 32) == 'x';
    unsigned base = hex ? 16 : 10;
    uint64_t n = 0;
    if (text.n == 0 || text.n > 18) return false;
    for (size_t i = hex ? 2 : 0; i < text.n; i++) {
        int c = tolower(text.p[i]);
        unsigned digit = isdigit(c)   ? (unsigned)(c - '0')
                         : isalpha(c) ? (unsigned)(c - 'a' + 10)
                                      : 99;
        if (digit >= base) return false;
        n = n * base + digit;
    }
    *out = n;
    return true;
}

struct unit {
    const char *name;
    uint64_t factor;
};

static bool unit_read(struct bytes text, const struct unit *units, size_t count, uint64_t *out)
{
    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(units[i].name);
        if (text.n < n || memcmp(text.p + text.n - n, units[i].name, n) != 0) continue;
        if (!number_read(bytes_of(text.p, text.n - n), out)) continue;
        *out *= units[i].factor;
        return true;
    }
    return false;
}

bool duration_read(struct bytes text, uint64_t *ms)
{
    static const struct unit units[] = {{"ms", 1},      {"s", 1000},     {"m", 60000},
                                        {"h", 3600000}, {"d", 86400000}, {"", 1000}};
    return unit_read(text, units, ARRAY_LEN(units), ms);
}

bool size_read(struct bytes text, uint64_t *bytes)
{
    static const struct unit units[] = {{"k", 1024}, {"M", 1024 * 1024}, {"G", 1u << 30}, {"", 1}};
    return unit_read(text, units, ARRAY_LEN(units), bytes);
}

static int hex_digit(uint8_t c)
{
    return isdigit(c) ? c - '0' : isxdigit(c) ? tolower(c) - 'a' + 10 : -1;
}

bool hex_read(struct bytes text, uint8_t *out)
{
    if (text.n == 0 || text.n % 2) return false;
    for (size_t i = 0; i < text.n; i += 2) {
        int high = hex_digit(text.p[i]), low = hex_digit(text.p[i + 1]);
        if (high < 0 || low < 0) return false;
        out[i / 2] = (uint8_t)(high << 4 | low);
    }
    return true;
}
