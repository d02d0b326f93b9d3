/* A WebSocket over TLS, both with little room: packets of all sizes, pings between them, and a peer
 * that reads as it likes.  OpenSSL wants what it could not write again, so nothing may come
 * between. */
#include "tests/unit/test_tls.h"

#include "net/ws.h"
#include "net/ws_frame.h"

enum { ALL = 1 << 20, PIECE_MAX = 5000 };

static uint8_t packets[ALL], seen[2 * ALL];
static size_t ends[20000], count, seen_size;
static uint32_t chance = 1;

static uint32_t roll(uint32_t below)
{
    chance = chance * 1664525 + 1013904223;
    return (chance >> 8) % below;
}

static void make_packets(void)
{
    size_t at = 0;
    for (count = 0; ALL - at > 70000; count++) {
        uint32_t body = roll(10) == 0 ? roll(60000) : roll(300);
        uint8_t *p = put_varint(put_u8(packets + at, 0x30), body);
        for (uint32_t i = 0; i < body; i++) *p++ = (uint8_t)roll(256);
        at = (size_t)(p - packets);
        ends[count] = at;
    }
}

/* The client's ping, masked with zeros. */
static bool ping(struct pair *p)
{
    static const uint8_t frame[] = {0x80 | WS_PING, 0x80 | 2, 0, 0, 0, 0, 'h', 'i'};
    ERR_clear_error();
    int n = SSL_write(p->client, frame, sizeof frame);
    return n == sizeof frame;
}

static void client_reads(struct pair *p)
{
    ERR_clear_error();
    int n = SSL_read(p->client, seen + seen_size, (int)(1 + roll(PIECE_MAX)));
    if (n > 0) seen_size += (size_t)n;
}

/* What the client has seen is the packets, a frame each, and so many pongs. */
static void check_seen(size_t pongs)
{
    struct rd r = rd_of(bytes_of(seen, seen_size));
    size_t at = 0, packet = 0, found = 0;
    while (rd_left(&r)) {
        unsigned first = rd_u8(&r);
        uint32_t length = rd_u8(&r);
        unsigned coded = length;
        if (coded == 126) length = rd_u16(&r);
        if (coded == 127) assert_int_equal(rd_u32(&r), 0);
        if (coded == 127) length = rd_u32(&r);
        struct bytes payload = rd_take(&r, length);
        assert_true(rd_ok(&r));
        if (first == (0x80 | WS_PONG)) {
            found++;
            assert_true(bytes_eq(payload, bytes_str("hi")));
            continue;
        }
        assert_int_equal(first, 0x80 | WS_BINARY);
        assert_int_equal(payload.n, ends[packet] - at);
        assert_memory_equal(payload.p, packets + at, payload.n);
        at = ends[packet++];
    }
    assert_int_equal(packet, count);
    assert_true(found > 0 && found <= pongs);
}

static void pongs_and_packets_do_not_mix(void **state)
{
    (void)state;
    for (int round = 0; round < 5; round++) {
        struct pair p = connected(plain_options());
        assert_int_equal(ws_open(&p.ours), 0);
        make_packets();
        size_t sent = 0, given = 0, pings = 0;
        seen_size = 0;
        while (sent < ends[count - 1]) {
            if (roll(4) == 0) pings += ping(&p);
            if (roll(3) == 0) client_reads(&p);
            if (roll(2) == 0) {
                int64_t n = our_read(&p);
                assert_true(n == E_AGAIN);
            }
            given = min_u64(count - 1, given + roll(20));
            while (ends[given] <= sent) given++;
            int64_t n = our_write(&p, packets + sent, ends[given] - sent);
            if (n == E_AGAIN) continue;
            assert_true(n > 0);
            sent += (size_t)n;
        }
        for (size_t before = seen_size + 1; before != seen_size || p.ours.read_needs_write;) {
            before = seen_size;
            (void)our_read(&p);
            for (int i = 0; i < 100; i++) client_reads(&p);
        }
        check_seen(pings);
        pair_free(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pongs_and_packets_do_not_mix),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
