/* Frames of clients: tables of what is read in them and what is refused, cut everywhere; and the
 * headers of ours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "net/ws_frame.h"

enum { ROOM = 1 << 20 };

static uint8_t wire[ROOM], out[ROOM];
static size_t wire_size;

enum { FIN = 0x80, MASKED = 0x80 };

/* first: FIN, reserved bits and opcode; its length written in `width` bytes more, 0 2 8. */
static void add_raw(unsigned first, unsigned width, uint64_t says, const void *payload, size_t n)
{
    static const uint8_t mask[4] = {0x12, 0x34, 0x56, 0x78};
    uint8_t *p = put_u8(wire + wire_size, first);
    p = put_u8(p, MASKED | (width == 0 ? (unsigned)says : width == 2 ? 126u : 127u));
    if (width == 2) p = put_u16(p, (unsigned)says);
    if (width == 8) p = put_u32(put_u32(p, (uint32_t)(says >> 32)), (uint32_t)says);
    p = put_mem(p, bytes_of(mask, 4));
    for (size_t i = 0; i < n; i++) p = put_u8(p, ((const uint8_t *)payload)[i] ^ mask[i % 4]);
    wire_size = (size_t)(p - wire);
}

static void add(unsigned first, const char *payload)
{
    size_t n = strlen(payload);
    add_raw(first, n < 126 ? 0 : n < 65536 ? 2 : 8, n, payload, n);
}

struct result {
    size_t size; /* of out */
    struct ws_decoder d;
    bool pinged;
};

/* Feeds all of it in pieces of `step` bytes. */
static struct result decode(size_t step)
{
    struct result r = {0};
    for (size_t at = 0; at < wire_size; at += step) {
        size_t n = min_u64(step, wire_size - at);
        uint8_t *piece = malloc(n); /* exactly its size, so that an overrun is seen */
        assert_non_null(piece);
        memcpy(piece, wire + at, n);
        size_t got = ws_decode(&r.d, piece, n);
        assert_true(got <= n);
        memcpy(out + r.size, piece, got);
        r.size += got;
        r.pinged |= r.d.pinged;
        free(piece);
    }
    return r;
}

static int begin(void **state)
{
    (void)state;
    wire_size = 0;
    return 0;
}

static void expect_payload(const char *payload)
{
    for (size_t step = 1; step <= wire_size; step++) {
        struct result r = decode(step);
        assert_int_equal(r.d.refused, 0);
        assert_int_equal(r.size, strlen(payload));
        assert_memory_equal(out, payload, r.size);
        ws_decoder_fini(&r.d);
    }
}

static void expect_refused(unsigned code, const char *why, const char *before)
{
    for (size_t step = 1; step <= wire_size; step++) {
        struct result r = decode(step);
        if (r.d.refused != code) fail_msg("%u at step %zu, not %u", r.d.refused, step, code);
        if (strstr(r.d.why, why) == NULL) fail_msg("%s", r.d.why);
        assert_int_equal(r.size, strlen(before));
        assert_memory_equal(out, before, r.size);
        assert_int_equal(ws_decode(&r.d, wire, 1), 0); /* and stays so */
        ws_decoder_fini(&r.d);
    }
    wire_size = 0;
}

/* ---- payload ---- */

static void frames_are_a_stream(void **state) /* [MQTT-6.0.0-2] */
{
    (void)state;
    add(FIN | WS_BINARY, "one");
    add(FIN | WS_BINARY, "");
    add(FIN | WS_BINARY, "two");
    expect_payload("onetwo");
}

static void fragments_are_a_stream_with_control_frames_between(void **state)
{
    (void)state;
    add(WS_BINARY, "a");
    add(FIN | WS_PING, "ping!");
    add(WS_CONTINUATION, "");
    add(WS_CONTINUATION, "b");
    add(FIN | WS_PONG, "unasked");
    add(FIN | WS_CONTINUATION, "c");
    add(FIN | WS_BINARY, "d");
    expect_payload("abcd");
    struct result r = decode(1);
    assert_true(r.pinged && r.d.pinged);
    assert_int_equal(r.d.control->length, 5); /* the pong has not taken its place */
    ws_decoder_fini(&r.d);
}

static void lengths_of_all_widths(void **state)
{
    (void)state;
    static char payload[70000];
    static const size_t sizes[] = {125, 126, 127, 65535, 65536, 69999};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        memset(payload, 'a' + (int)i, sizes[i]);
        payload[sizes[i]] = 0;
        add(FIN | WS_BINARY, payload);
        static const size_t steps[] = {1, 2, 3, 7, 13, 4095, 4096, 4097, 16384, ROOM};
        for (size_t j = 0; j < ARRAY_LEN(steps); j++) {
            struct result r = decode(steps[j]);
            assert_int_equal(r.size, sizes[i]);
            assert_memory_equal(out, payload, sizes[i]);
            ws_decoder_fini(&r.d);
        }
        wire_size = 0;
    }
}

static void payload_is_given_as_it_comes(void **state)
{
    (void)state;
    add(FIN | WS_BINARY, "0123456789");
    struct ws_decoder d = {0};
    for (size_t i = 0; i < wire_size; i++) {
        uint8_t byte = wire[i];
        size_t got = ws_decode(&d, &byte, 1);
        assert_int_equal(got, i >= 6);
        if (got) assert_int_equal(byte, '0' + (int)i - 6);
    }
    assert_true(sizeof d <= 56); /* of each idle connection */
    ws_decoder_fini(&d);
}

/* ---- control frames ---- */

static void a_ping_is_for_the_caller_and_the_last_one_counts(void **state)
{
    (void)state;
    add(FIN | WS_PING, "first");
    add(FIN | WS_PING, "second");
    for (size_t step = 1; step <= wire_size; step++) {
        struct result r = decode(step);
        assert_true(r.d.pinged);
        assert_int_equal(r.size, 0);
        assert_int_equal(r.d.control->length, 6);
        assert_memory_equal(r.d.control->bytes, "second", 6);
        ws_decoder_fini(&r.d);
    }
    wire_size = 0;
    char most[WS_CONTROL_MAX + 1] = {0};
    memset(most, 'x', WS_CONTROL_MAX);
    add(FIN | WS_PING, most);
    struct result r = decode(1);
    assert_int_equal(r.d.control->length, WS_CONTROL_MAX);
    ws_decoder_fini(&r.d);
}

static void a_close_is_the_end(void **state)
{
    (void)state;
    static const struct {
        const char *payload;
        size_t size;
        unsigned refused; /* 0: it is one */
    } rows[] = {
        {"", 0, 0},
        {"\x03\xe8", 2, 0},
        {"\x03\xe9gone", 6, 0},
        {"\x0b\xb8", 2, 0},                 /* 3000 */
        {"\x13\x87", 2, 0},                 /* 4999 */
        {"\x03", 1, WS_CLOSE_PROTOCOL},     /* half a code */
        {"\x03\xe7", 2, WS_CLOSE_PROTOCOL}, /* 999 */
        {"\x03\xec", 2, WS_CLOSE_PROTOCOL}, /* 1004 */
        {"\x03\xed", 2, WS_CLOSE_PROTOCOL}, /* 1005: for nobody to send */
        {"\x03\xee", 2, WS_CLOSE_PROTOCOL}, /* 1006 */
        {"\x03\xf7", 2, WS_CLOSE_PROTOCOL}, /* 1015 */
        {"\x13\x88", 2, WS_CLOSE_PROTOCOL}, /* 5000 */
        {"\x03\xe8\xff", 3, WS_CLOSE_NOT_UTF8},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        add(FIN | WS_BINARY, "before");
        add_raw(FIN | WS_CLOSE, 0, rows[i].size, rows[i].payload, rows[i].size);
        add(FIN | WS_BINARY, "never");
        for (size_t step = 1; step <= wire_size; step++) {
            struct result r = decode(step);
            assert_int_equal(r.d.refused, rows[i].refused);
            assert_int_equal(r.d.closed, rows[i].refused == 0);
            assert_int_equal(r.size, 6);
            assert_int_equal(r.d.control->length, rows[i].size);
            ws_decoder_fini(&r.d);
        }
        wire_size = 0;
    }
}

/* ---- what is refused ---- */

static void kinds_that_are_not_spoken(void **state)
{
    (void)state;
    add(FIN | WS_BINARY, "good");
    add(FIN | WS_TEXT, "text"); /* [MQTT-6.0.0-1] */
    expect_refused(WS_CLOSE_NOT_BINARY, "text frame", "good");
    static const unsigned kinds[] = {3, 4, 7, 11, 15};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        add(FIN | kinds[i], "x");
        expect_refused(WS_CLOSE_PROTOCOL, "unknown kind", "");
    }
    for (unsigned bit = 0x10; bit <= 0x40; bit *= 2) { /* 0x40: permessage-deflate */
        add(FIN | bit | WS_BINARY, "x");
        expect_refused(WS_CLOSE_PROTOCOL, "extension", "");
    }
}

static void frames_without_a_mask(void **state)
{
    (void)state;
    static const uint8_t bare[] = {FIN | WS_BINARY, 2, 'h', 'i'};
    add(FIN | WS_BINARY, "good");
    memcpy(wire + wire_size, bare, sizeof bare);
    wire_size += sizeof bare;
    expect_refused(WS_CLOSE_PROTOCOL, "without a mask", "good");
}

static void frames_out_of_order(void **state)
{
    (void)state;
    add(FIN | WS_CONTINUATION, "x");
    expect_refused(WS_CLOSE_PROTOCOL, "does not continue", "");
    add(WS_BINARY, "a");
    add(FIN | WS_BINARY, "b");
    expect_refused(WS_CLOSE_PROTOCOL, "does not continue", "a");
    add(WS_BINARY, "a");
    add(FIN | WS_CONTINUATION, "b");
    add(FIN | WS_CONTINUATION, "c");
    expect_refused(WS_CLOSE_PROTOCOL, "does not continue", "ab");
}

static void control_frames_that_are_none(void **state)
{
    (void)state;
    char more[WS_CONTROL_MAX + 2] = {0};
    memset(more, 'x', WS_CONTROL_MAX + 1);
    add(FIN | WS_PING, more);
    expect_refused(WS_CLOSE_PROTOCOL, "too long or in pieces", "");
    add(WS_PING, "in pieces");
    expect_refused(WS_CLOSE_PROTOCOL, "too long or in pieces", "");
}

static void lengths_badly_written(void **state)
{
    (void)state;
    add_raw(FIN | WS_BINARY, 2, 125, "", 0);
    expect_refused(WS_CLOSE_PROTOCOL, "badly written", "");
    add_raw(FIN | WS_BINARY, 8, 65535, "", 0);
    expect_refused(WS_CLOSE_PROTOCOL, "badly written", "");
    add_raw(FIN | WS_BINARY, 8, UINT64_C(1) << 63, "", 0);
    expect_refused(WS_CLOSE_PROTOCOL, "badly written", "");
    add_raw(FIN | WS_BINARY, 8, WS_FRAME_MAX + UINT64_C(1), "x", 1);
    expect_refused(WS_CLOSE_TOO_BIG, "longer than", "");
    add_raw(FIN | WS_BINARY, 8, WS_FRAME_MAX, "x", 1);
    struct result r = decode(1);
    assert_int_equal(r.d.refused, 0);
    assert_int_equal(r.size, 1);
    ws_decoder_fini(&r.d);
}

static void without_memory_it_is_our_fault(void **state)
{
    (void)state;
    add(FIN | WS_PING, "x");
    struct ws_decoder d = {0};
    mem_fail_after(0);
    ws_decode(&d, wire, wire_size);
    assert_true(mem_fail_after(-1));
    assert_int_equal(d.refused, WS_CLOSE_ERROR);
    ws_decoder_fini(&d);
}

/* ---- ours ---- */

static void headers_of_ours(void **state)
{
    (void)state;
    static const struct {
        uint64_t length;
        size_t size;
        const char *bytes;
    } rows[] = {
        {0, 2, "\x82\0"},
        {125, 2, "\x82\x7d"},
        {126, 4, "\x82\x7e\0\x7e"},
        {65535, 4, "\x82\x7e\xff\xff"},
        {65536, 10, "\x82\x7f\0\0\0\0\0\1\0\0"},
        {UINT64_C(0x123456789a), 10, "\x82\x7f\0\0\0\x12\x34\x56\x78\x9a"},
    };
    uint8_t header[WS_HEADER_MAX];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(ws_header(header, WS_BINARY, rows[i].length), rows[i].size);
        assert_memory_equal(header, rows[i].bytes, rows[i].size);
    }
}

#define A_TEST(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
    const struct CMUnitTest tests[] = {
        A_TEST(frames_are_a_stream),
        A_TEST(fragments_are_a_stream_with_control_frames_between),
        A_TEST(lengths_of_all_widths),
        A_TEST(payload_is_given_as_it_comes),
        A_TEST(a_ping_is_for_the_caller_and_the_last_one_counts),
        A_TEST(a_close_is_the_end),
        A_TEST(kinds_that_are_not_spoken),
        A_TEST(frames_without_a_mask),
        A_TEST(frames_out_of_order),
        A_TEST(control_frames_that_are_none),
        A_TEST(lengths_badly_written),
        A_TEST(without_memory_it_is_our_fault),
        A_TEST(headers_of_ours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
