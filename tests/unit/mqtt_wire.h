/* Packets written down for the tests of the mqtt room: wire("10 <MQTT> 'ab'") is hex, text, and
 * text behind its two-byte length.  Each lies in memory of exactly its size, so that the sanitizer
 * sees a read past the end.  The last WIRES_KEPT are kept.  Include it after cmocka.h. */
#ifndef TESTS_UNIT_MQTT_WIRE_H
#define TESTS_UNIT_MQTT_WIRE_H

#include "mqtt/packet.h"

enum { WIRES_KEPT = 256, WIRE_MAX = 4096 };

/* A copy in memory of exactly its size. */
static inline struct bytes wire_exact(struct bytes in)
{
    static uint8_t *kept[WIRES_KEPT]; /* freed when their turn comes again */
    static unsigned turn;
    uint8_t *p = malloc(in.n ? in.n : 1);
    assert_non_null(p);
    if (in.n) memcpy(p, in.p, in.n);
    free(kept[turn % WIRES_KEPT]);
    kept[turn++ % WIRES_KEPT] = p;
    return bytes_of(in.n ? p : p + 1, in.n); /* nothing may be read of an empty one either */
}

static inline unsigned wire_digit(char c)
{
    const char *digits = "0123456789abcdef", *at = strchr(digits, c);
    assert_true(at != NULL && c != 0);
    return (unsigned)(at - digits);
}

static inline struct bytes wire(const char *s)
{
    uint8_t all[WIRE_MAX], *d = all;
    for (; *s; s++) {
        if (*s == ' ') continue;
        if (*s == '\'' || *s == '<') {
            const char *end = strchr(s + 1, *s == '<' ? '>' : '\'');
            assert_non_null(end);
            struct bytes text = bytes_of(s + 1, (size_t)(end - s - 1));
            if (*s == '<') d = put_u16(d, (unsigned)text.n);
            d = put_mem(d, text);
            s = end;
            continue;
        }
        d = put_u8(d, wire_digit(s[0]) << 4 | wire_digit(s[1]));
        s++;
    }
    return wire_exact(bytes_of(all, (size_t)(d - all)));
}

static inline void wire_check(struct bytes got, const char *text, const char *file, int line)
{
    struct bytes want = bytes_str(text);
    if (!bytes_eq(got, want)) {
        print_error("\"%.*s\" is not \"%s\"\n", (int)got.n, (const char *)got.p, text);
        _fail(file, line);
    }
}

#define assert_bytes(got, text) wire_check(got, text, __FILE__, __LINE__)

static inline void wire_check_packet(const uint8_t *from, const uint8_t *end, const char *text,
                                     const char *file, int line)
{
    struct bytes got = bytes_of(from, (size_t)(end - from)), want = wire(text);
    if (bytes_eq(got, want)) return;
    for (size_t i = 0; i < got.n; i++) print_error("%02x ", got.p[i]);
    print_error("is not %s\n", text);
    _fail(file, line);
}

/* The bytes between from and end, as wire() writes them. */
#define assert_wire(from, end, text) wire_check_packet(from, end, text, __FILE__, __LINE__)

#endif
