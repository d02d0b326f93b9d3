/* Texts as sequences of code points.  Letter case comes from utf8proc's tables.  Any thread. */
#include "filters/text.h"

#include <utf8proc.h>

/* The bytes of the character at p, at least 1: a lead byte and what continues it. */
static size_t char_bytes(const uint8_t *p, const uint8_t *end)
{
    size_t n = p[0] < 0xc0 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4, i = 1;
    while (i < n && p + i < end && (p[i] & 0xc0) == 0x80) i++;
    return i == n ? n : 1;
}

size_t text_length(struct bytes text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.n; count++) i += char_bytes(text.p + i, text.p + text.n);
    return count;
}

size_t text_offset(struct bytes text, size_t points)
{
    size_t i = 0;
    while (i < text.n && points--) i += char_bytes(text.p + i, text.p + text.n);
    return i;
}

/* ---- white space ---- */

static bool is_space(utf8proc_int32_t c)
{
    if ((c >= 9 && c <= 13) || c == 0x85) return true;
    utf8proc_category_t category = utf8proc_category(c);
    return category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
           category == UTF8PROC_CATEGORY_ZP;
}

static bool space_at(struct bytes text, size_t i, size_t n)
{
    utf8proc_int32_t c;
    return utf8proc_iterate(text.p + i, (utf8proc_ssize_t)n, &c) == (utf8proc_ssize_t)n &&
           is_space(c);
}

struct bytes text_trim(struct bytes text)
{
    while (text.n) {
        size_t n = char_bytes(text.p, text.p + text.n);
        if (!space_at(text, 0, n)) break;
        text = bytes_skip(text, n);
    }
    while (text.n) {
        size_t from = text.n - 1;
        while (from && text.n - from < 4 && (text.p[from] & 0xc0) == 0x80) from--;
        if (!space_at(text, from, text.n - from)) break;
        text.n = from;
    }
    return text;
}

/* ---- letter case ---- */

static size_t map_case(struct bytes text, uint8_t *out, utf8proc_int32_t (*map)(utf8proc_int32_t))
{
    size_t d = 0;
    for (size_t i = 0; i < text.n;) {
        utf8proc_int32_t c;
        size_t n = char_bytes(text.p + i, text.p + text.n);
        if (utf8proc_iterate(text.p + i, (utf8proc_ssize_t)n, &c) == (utf8proc_ssize_t)n) {
            d += (size_t)utf8proc_encode_char(map(c), out + d);
        } else {
            memcpy(out + d, text.p + i, n);
            d += n;
        }
        i += n;
    }
    ASSERT(d <= TEXT_CASE_GROWTH * text.n);
    return d;
}

size_t text_lower(struct bytes text, uint8_t *out) { return map_case(text, out, utf8proc_tolower); }

/* utf8proc makes a capital of it, which Unicode has, but not as its simple mapping. */
static utf8proc_int32_t upper(utf8proc_int32_t c)
{
    enum { SHARP_S = 0xdf };
    return c == SHARP_S ? c : utf8proc_toupper(c);
}

size_t text_upper(struct bytes text, uint8_t *out) { return map_case(text, out, upper); }

/* ---- LIKE ---- */

static bool is_escape(struct bytes p, size_t i)
{
    return p.p[i] == '\\' && i + 1 < p.n && (p.p[i + 1] == '%' || p.p[i + 1] == '_');
}

/* A piece of a pattern between two %. */
struct piece {
    size_t from, to;
    bool literal; /* without _ and escapes: its bytes are what it matches */
};

static struct piece next_piece(struct bytes p, size_t from)
{
    struct piece s = {from, from, true};
    for (; s.to < p.n && p.p[s.to] != '%'; s.to++) {
        if (p.p[s.to] == '_') s.literal = false;
        if (is_escape(p, s.to)) {
            s.literal = false;
            s.to++;
        }
    }
    return s;
}

/* Where the piece ends if it stands at i of the text; SIZE_MAX if it does not. */
static size_t piece_at(struct bytes t, size_t i, struct bytes p, const struct piece *s,
                       size_t *work)
{
    for (size_t k = s->from; k < s->to; k++) {
        if (i >= t.n) return SIZE_MAX;
        ++*work;
        if (p.p[k] == '_') {
            i += char_bytes(t.p + i, t.p + t.n);
            continue;
        }
        k += is_escape(p, k);
        if (t.p[i++] != p.p[k]) return SIZE_MAX;
    }
    return i;
}

/* The end of the first place from i on where the piece stands; SIZE_MAX: nowhere. */
static size_t piece_find(struct bytes t, size_t i, struct bytes p, const struct piece *s,
                         size_t most, size_t *work)
{
    if (s->from == s->to) return i;
    if (s->literal) {
        const uint8_t *at = memmem(t.p + i, t.n - i, p.p + s->from, s->to - s->from);
        return at ? (size_t)(at - t.p) + s->to - s->from : SIZE_MAX;
    }
    while (i <= t.n && *work <= most) {
        size_t end = piece_at(t, i, p, s, work);
        if (end != SIZE_MAX || i == t.n) return end;
        i += char_bytes(t.p + i, t.p + t.n);
    }
    return SIZE_MAX;
}

/* Whether the text from i on can end with the piece: as many characters as the piece has are taken
 * from the end. */
static bool piece_ends(struct bytes t, size_t i, struct bytes p, const struct piece *s,
                       size_t *work)
{
    size_t start = t.n;
    for (size_t k = s->from; k < s->to; k++) {
        if (start <= i) return false;
        k += is_escape(p, k);
        if ((p.p[k] & 0xc0) == 0x80) continue; /* counted with its lead byte */
        for (size_t n = 0; start > i && n < 4; n++)
            if ((t.p[--start] & 0xc0) != 0x80) break;
    }
    return start >= i && piece_at(t, start, p, s, work) == t.n;
}

enum like_result like_match(struct bytes t, struct bytes p, size_t most, size_t *work)
{
    struct piece s = next_piece(p, 0);
    size_t i = piece_at(t, 0, p, &s, work);
    if (s.to == p.n) return i == t.n ? LIKE_YES : LIKE_NO;
    if (i == SIZE_MAX) return LIKE_NO;
    for (;;) {
        s = next_piece(p, s.to + 1);
        if (s.to == p.n) return piece_ends(t, i, p, &s, work) ? LIKE_YES : LIKE_NO;
        i = piece_find(t, i, p, &s, most, work);
        if (*work > most) return LIKE_GAVE_UP;
        if (i == SIZE_MAX) return LIKE_NO;
    }
}
