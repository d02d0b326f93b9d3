/* Byte views, and the one cursor through which wire data is read (HARDENING class 1): each read is
 * bounds-checked, a failed read makes every later one fail too, and rd_ok() is asked once. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include "base/base.h"

/* A borrowed view: whoever made it says how long it lives. */
struct bytes {
    const uint8_t *p;
    size_t n;
};

static inline struct bytes bytes_of(const void *p, size_t n) { return (struct bytes){p, n}; }
static inline struct bytes bytes_str(const char *s)
{
    return (struct bytes){(const uint8_t *)s, strlen(s)};
}

static inline bool bytes_eq(struct bytes a, struct bytes b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline struct bytes bytes_skip(struct bytes b, size_t n)
{
    ASSERT(n <= b.n);
    return (struct bytes){b.p + n, b.n - n};
}

static inline bool bytes_starts(struct bytes b, const char *prefix)
{
    size_t n = strlen(prefix);
    return b.n >= n && memcmp(b.p, prefix, n) == 0;
}

/* <0, 0, >0 in byte order; a prefix sorts first. */
static inline int bytes_cmp(struct bytes a, struct bytes b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int rc = n ? memcmp(a.p, b.p, n) : 0;
    return rc ? rc : (a.n > b.n) - (a.n < b.n);
}

/* Sticky reader over borrowed bytes.  The views it returns point into them. */
struct rd {
    const uint8_t *p, *end;
    bool bad;
};

static inline struct rd rd_of(struct bytes b) { return (struct rd){b.p, b.p + b.n, false}; }
static inline bool rd_ok(const struct rd *r) { return !r->bad; }
static inline size_t rd_left(const struct rd *r) { return r->bad ? 0 : (size_t)(r->end - r->p); }

static inline bool rd_need(struct rd *r, size_t n)
{
    if (LIKELY(!r->bad && (size_t)(r->end - r->p) >= n)) return true;
    r->bad = true;
    return false;
}

static inline uint8_t rd_u8(struct rd *r) { return rd_need(r, 1) ? *r->p++ : 0; }

static inline uint16_t rd_u16(struct rd *r)
{
    if (!rd_need(r, 2)) return 0;
    r->p += 2;
    return (uint16_t)(r->p[-2] << 8 | r->p[-1]);
}

static inline uint32_t rd_u32(struct rd *r)
{
    if (!rd_need(r, 4)) return 0;
    r->p += 4;
    return (uint32_t)r->p[-4] << 24 | (uint32_t)r->p[-3] << 16 | (uint32_t)r->p[-2] << 8 | r->p[-1];
}

static inline struct bytes rd_take(struct rd *r, size_t n)
{
    if (!rd_need(r, n)) return (struct bytes){r->end, 0};
    r->p += n;
    return (struct bytes){r->p - n, n};
}

/* MQTT Variable Byte Integer, at most 4 bytes and minimally encoded [MQTT-1.5.5-1]. */
uint32_t rd_varint(struct rd *r);

/* Big-endian stores; each returns the position after what it wrote. */
static inline uint8_t *put_u8(uint8_t *d, unsigned v) { return *d = (uint8_t)v, d + 1; }
static inline uint8_t *put_u16(uint8_t *d, unsigned v)
{
    return d[0] = (uint8_t)(v >> 8), d[1] = (uint8_t)v, d + 2;
}

static inline uint8_t *put_u32(uint8_t *d, uint32_t v)
{
    d = put_u16(d, v >> 16);
    return put_u16(d, v & 0xffff);
}

/* Up to 16 bytes, as topics mostly are, by two moves that overlap: a call of memcpy costs more. */
static inline uint8_t *put_mem(uint8_t *d, struct bytes b)
{
    uint64_t head, tail;
    if (b.n >= 8 && b.n <= 16) {
        memcpy(&head, b.p, 8);
        memcpy(&tail, b.p + b.n - 8, 8);
        memcpy(d, &head, 8);
        memcpy(d + b.n - 8, &tail, 8);
    } else if (b.n) {
        memcpy(d, b.p, b.n);
    }
    return d + b.n;
}

static inline uint8_t *put_varint(uint8_t *d, uint32_t v)
{
    while (v >= 128) {
        *d++ = (uint8_t)(v | 128);
        v >>= 7;
    }
    *d++ = (uint8_t)v;
    return d;
}

static inline size_t varint_size(uint32_t v)
{
    return v < 128 ? 1 : v < 16384 ? 2 : v < 2097152 ? 3 : 4;
}

/* Well-formed UTF-8 without U+0000, surrogates or overlong forms [MQTT-1.5.4-1, -2]. */
bool bytes_is_utf8(struct bytes b);

#endif
