/* The parts of the byte cursor that are not worth inlining. */
#include "base/bytes.h"

#include <stdio.h>

_Noreturn void base_assert_failed(const char *file, int line, const char *expr)
{
    fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, expr);
    abort();
}

uint32_t rd_varint(struct rd *r)
{
    uint32_t value = 0;
    for (int shift = 0; shift <= 21; shift += 7) {
        uint8_t b = rd_u8(r);
        value |= (uint32_t)(b & 127) << shift;
        if (b & 128) continue;
        if (shift > 0 && b == 0) break; /* not minimal */
        return value;
    }
    r->bad = true;
    return 0;
}

/* Length of the well-formed sequence that starts at p, 0 when it is not one. */
static size_t utf8_sequence(const uint8_t *p, size_t left)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    if (len == 0 || len > left) return 0;
    uint32_t code = p[0] & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        code = code << 6 | (p[i] & 0x3f);
    }
    if (code < least[len] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return 0;
    return len;
}

bool bytes_is_utf8(struct bytes b)
{
    const uint8_t *p = b.p, *end = b.p + b.n;
    while (p < end) {
        if (LIKELY(p[0] < 0x80)) {
            if (*p++ == 0) return false;
            continue;
        }
        size_t len = utf8_sequence(p, (size_t)(end - p));
        if (len == 0) return false;
        p += len;
    }
    return true;
}
