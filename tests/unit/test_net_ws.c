/* The WebSocket transport over a pair of sockets with little room: frames out, frames in, control
 * frames between them, and the ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/ws.h"
#include "net/ws_frame.h"

enum { ROOM = 1 << 20, FIN = 0x80 };

static uint8_t input[ROOM], raw[ROOM];

struct pair {
    struct transport ours;
    int peer;
};

static struct pair open_pair(void)
{
    int fds[2], small = 4096;
    struct pair p;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    for (int i = 0; i < 2; i++) setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    p.ours = (struct transport){.ops = &tcp_transport, .fd = fds[0]};
    p.peer = fds[1];
    assert_int_equal(ws_open(&p.ours), 0);
    assert_int_equal(p.ours.fd, fds[0]);
    return p;
}

static void close_pair(struct pair *p)
{
    if (p->ours.state) p->ours.ops->close(&p->ours);
    assert_int_equal(p->ours.fd, -1);
    if (p->peer >= 0) close(p->peer);
}

/* A small frame of the peer's; its mask is zero. */
static void say(const struct pair *p, unsigned first, const void *payload, size_t n)
{
    uint8_t frame[6 + WS_CONTROL_MAX] = {(uint8_t)first, (uint8_t)(0x80 | n)};
    memcpy(frame + 6, payload, n);
    assert_int_equal(write(p->peer, frame, 6 + n), 6 + (ssize_t)n);
}

static int64_t our_read(struct pair *p) { return p->ours.ops->read(&p->ours, input, ROOM); }

static int64_t our_write(struct pair *p, const void *data, size_t n)
{
    struct iovec part = {(void *)(uintptr_t)data, n};
    return p->ours.ops->writev(&p->ours, &part, 1);
}

/* What the peer has read so far, taken apart. */
struct seen {
    size_t raw_size;
    uint8_t data[ROOM];
    size_t data_size;
    unsigned frames, pongs, largest;
    int close_code; /* 0: none */
    bool ended;
    char pong[WS_CONTROL_MAX + 1];
};

static struct seen seen;

static void peer_read(const struct pair *p, size_t most)
{
    ssize_t n = read(p->peer, raw + seen.raw_size, min_u64(most, sizeof raw - seen.raw_size));
    if (n == 0) seen.ended = true;
    if (n > 0) seen.raw_size += (size_t)n;
}

static void peer_parse(void)
{
    struct rd r = rd_of(bytes_of(raw, seen.raw_size));
    seen.data_size = seen.frames = seen.pongs = seen.largest = 0;
    while (rd_left(&r)) {
        unsigned first = rd_u8(&r), length = rd_u8(&r);
        assert_false(length & 0x80); /* a server does not mask */
        unsigned coded = length;
        if (coded == 126) length = rd_u16(&r);
        if (coded == 127) assert_int_equal(rd_u32(&r), 0);
        if (coded == 127) length = rd_u32(&r);
        struct bytes payload = rd_take(&r, length);
        assert_true(rd_ok(&r));
        assert_true(first & FIN);
        assert_int_equal(seen.close_code, 0); /* nothing after a close */
        if ((first & 15) == WS_BINARY) {
            memcpy(seen.data + seen.data_size, payload.p, payload.n);
            seen.data_size += payload.n;
            seen.frames++;
            if (length > seen.largest) seen.largest = length;
        } else if ((first & 15) == WS_PONG) {
            seen.pongs++;
            memcpy(seen.pong, payload.p, payload.n);
            seen.pong[payload.n] = 0;
        } else {
            assert_int_equal(first & 15, WS_CLOSE);
            seen.close_code = payload.n ? payload.p[0] << 8 | payload.p[1] : -1;
        }
    }
}

static void peer_drain(const struct pair *p)
{
    size_t before;
    do {
        before = seen.raw_size;
        peer_read(p, ROOM);
    } while (seen.raw_size > before);
    seen.close_code = 0;
    peer_parse();
}

static int begin(void **state)
{
    (void)state;
    memset(&seen, 0, sizeof seen);
    return 0;
}

/* ---- out ---- */

static void a_packet_is_a_frame(void **state)
{
    (void)state;
    static const char wanted[] = "\x30\5hello\xd0\0\x30\3wor\xd0\0\xe0\0\x30\1x";
    struct pair p = open_pair();
    assert_int_equal(our_write(&p, "\x30\5hello", 7), 7);
    assert_int_equal(our_write(&p, "\xd0\0\x30\3wor\xd0\0", 9), 9);
    struct iovec parts[2] = {{(void *)(uintptr_t) "\xe0\0", 2}, {(void *)(uintptr_t) "\x30\1x", 3}};
    assert_int_equal(p.ours.ops->writev(&p.ours, parts, 2), 5);
    peer_drain(&p);
    assert_int_equal(seen.frames, 6);
    assert_int_equal(seen.data_size, sizeof wanted - 1);
    assert_memory_equal(seen.data, wanted, seen.data_size);
    assert_int_equal(p.ours.ops->user(&p.ours).n, 0);
    assert_int_equal(p.ours.ops->handshake(&p.ours), 0);
    close_pair(&p);
}

static size_t ends[1000]; /* of packets */

/* Packets of all these sizes, one after the other; returns how many there are. */
static unsigned fill_packets(uint8_t *data, size_t all)
{
    static const uint32_t sizes[] = {2, 100, 131, 16381, 16384, 16387, 70000, 5, 128};
    unsigned count = 0;
    for (size_t i = 0; i < all; i++) data[i] = (uint8_t)(i * 7 + i / 251);
    for (size_t at = 0; at < all; count++) {
        uint32_t body = sizes[count % ARRAY_LEN(sizes)];
        if (all - at < 100000) body = (uint32_t)(all - at) - 4; /* the last one */
        at = (size_t)(put_varint(put_u8(data + at, 0x30), body) - data) + body;
        assert_true(at <= all && count < ARRAY_LEN(ends));
        ends[count] = at;
    }
    return count;
}

static void much_is_written_as_the_socket_takes_it(void **state)
{
    (void)state;
    enum { ALL = 900000 };
    static uint8_t data[ALL];
    unsigned packets = fill_packets(data, ALL);
    struct pair p = open_pair();
    size_t sent = 0, waits = 0, given = 0;
    while (sent < ALL) {
        /* As the core does: what was not written comes again, with more packets behind it. */
        while (given < packets && ends[given] < sent + waits * 1000) given++;
        size_t all = ends[min_u64(given, packets - 1)];
        int64_t n = our_write(&p, data + sent, all - sent);
        if (n == E_AGAIN) {
            waits++;
            peer_read(&p, 1 + waits % 1000);
            continue;
        }
        assert_true(n > 0);
        sent += (size_t)n;
    }
    assert_true(waits > 10);
    peer_drain(&p);
    assert_int_equal(seen.data_size, ALL);
    assert_memory_equal(seen.data, data, ALL);
    assert_int_equal(seen.frames, packets);
    assert_true(seen.largest >= 70000);
    close_pair(&p);
}

/* ---- control frames ---- */

static void a_pong_goes_between_frames(void **state)
{
    (void)state;
    static uint8_t data[60000];
    put_varint(put_u8(data, 0x30), sizeof data - 4);
    struct pair p = open_pair();
    int64_t n = our_write(&p, data, sizeof data);
    assert_true(n > 0 && n < (int64_t)sizeof data);
    say(&p, FIN | WS_PING, "are you there?", 14);
    assert_int_equal(our_read(&p), E_AGAIN);
    assert_true(p.ours.read_needs_write); /* nothing more is read before it is answered */
    assert_int_equal(transport_watch(&p.ours, LOOP_READ), LOOP_WRITE);
    say(&p, FIN | WS_PING, "again", 5);
    assert_int_equal(our_read(&p), E_AGAIN);
    while (n < (int64_t)sizeof data) {
        peer_read(&p, ROOM);
        int64_t more = our_write(&p, data + n, sizeof data - (size_t)n);
        if (more > 0) n += more;
    }
    peer_drain(&p);
    while (p.ours.read_needs_write) assert_int_equal(our_read(&p), E_AGAIN);
    assert_int_equal(our_read(&p), E_AGAIN); /* the other ping */
    peer_drain(&p);
    assert_int_equal(seen.frames, 1);
    assert_int_equal(seen.data_size, sizeof data);
    assert_int_equal(seen.pongs, 2);
    assert_string_equal(seen.pong, "again");
    close_pair(&p);
}

static void a_flood_of_pings_that_reads_nothing_is_not_answered_for_ever(void **state)
{
    (void)state;
    struct pair p = open_pair();
    unsigned asked = 0;
    for (; asked < 10000 && !p.ours.read_needs_write; asked++) {
        say(&p, FIN | WS_PING, "flood", 5);
        assert_int_equal(our_read(&p), E_AGAIN);
    }
    assert_true(asked < 10000);
    peer_drain(&p);
    for (int i = 0; i < 3; i++) assert_int_equal(our_read(&p), E_AGAIN);
    assert_false(p.ours.read_needs_write);
    peer_drain(&p);
    assert_int_equal(seen.pongs, asked);
    close_pair(&p);
}

static void data_and_pings_in_one_read(void **state)
{
    (void)state;
    struct pair p = open_pair();
    say(&p, WS_BINARY, "ab", 2);
    say(&p, FIN | WS_PING, "1", 1);
    say(&p, FIN | WS_PING, "2", 1);
    say(&p, FIN | WS_CONTINUATION, "cd", 2);
    assert_int_equal(our_read(&p), 4);
    assert_memory_equal(input, "abcd", 4);
    peer_drain(&p);
    assert_int_equal(seen.pongs, 1);
    assert_string_equal(seen.pong, "2");
    close_pair(&p);
}

/* ---- ends ---- */

static void the_peers_close_is_answered(void **state)
{
    (void)state;
    static const struct {
        const char *payload;
        size_t size;
        int answer;
    } rows[] = {{"\x03\xe9 bye", 6, 1001}, {"", 0, -1}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        begin(NULL);
        struct pair p = open_pair();
        say(&p, FIN | WS_CLOSE, rows[i].payload, rows[i].size);
        assert_int_equal(our_read(&p), E_EOF);
        assert_int_equal(our_read(&p), E_EOF);
        assert_int_equal(our_write(&p, "\xd0\0", 2), E_IO);
        p.ours.ops->close(&p.ours);
        peer_drain(&p);
        assert_int_equal(seen.close_code, rows[i].answer);
        assert_true(seen.ended);
        close_pair(&p);
    }
}

static void what_came_before_the_end_is_read_first(void **state)
{
    (void)state;
    struct pair p = open_pair();
    say(&p, FIN | WS_BINARY, "last", 4);
    say(&p, FIN | WS_CLOSE, "\x03\xe8", 2);
    assert_int_equal(our_read(&p), 4);
    assert_true(p.ours.read_needs_write); /* the news comes without any more input */
    assert_int_equal(our_read(&p), E_EOF);
    close_pair(&p);
    p = open_pair();
    say(&p, FIN | WS_BINARY, "last", 4);
    say(&p, FIN | WS_TEXT, "text", 4);
    assert_int_equal(our_read(&p), 4);
    assert_true(p.ours.read_needs_write);
    assert_int_equal(our_read(&p), E_PROTOCOL);
    close_pair(&p);
}

static void who_breaks_the_rules_is_told_and_read_on(void **state)
{
    (void)state;
    static const struct {
        unsigned first;
        int code;
    } rows[] = {{FIN | WS_TEXT, WS_CLOSE_NOT_BINARY}, {FIN | 0x40 | WS_BINARY, WS_CLOSE_PROTOCOL}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char why[100] = "";
        begin(NULL);
        struct pair p = open_pair();
        say(&p, rows[i].first, "x", 1);
        assert_int_equal(our_read(&p), E_PROTOCOL);
        p.ours.ops->explain(&p.ours, why, sizeof why);
        assert_true(strlen(why) > 0);
        p.ours.ops->end(&p.ours);
        assert_int_equal(our_read(&p), E_AGAIN);
        say(&p, FIN | WS_BINARY, "on and on", 9);
        assert_int_equal(our_read(&p), 15); /* as it came */
        peer_drain(&p);
        assert_int_equal(seen.close_code, rows[i].code);
        assert_true(seen.ended);
        close(p.peer);
        p.peer = -1;
        assert_int_equal(our_read(&p), E_EOF);
        close_pair(&p);
    }
}

static void our_end_is_a_close(void **state)
{
    (void)state;
    struct pair p = open_pair();
    assert_int_equal(our_write(&p, "\xe0\0", 2), 2);
    p.ours.ops->end(&p.ours);
    p.ours.ops->close(&p.ours);
    peer_drain(&p);
    assert_int_equal(seen.frames, 1);
    assert_int_equal(seen.close_code, WS_CLOSE_NORMAL);
    close_pair(&p);
}

static void a_peer_that_has_gone(void **state)
{
    (void)state;
    struct pair p = open_pair();
    say(&p, WS_BINARY, "half", 4);
    close(p.peer);
    p.peer = -1;
    assert_int_equal(our_read(&p), 4);
    assert_int_equal(our_read(&p), E_EOF);
    assert_int_equal(our_write(&p, "\xd0\0", 2), E_IO);
    close_pair(&p);
}

static void without_memory(void **state)
{
    (void)state;
    struct transport t = {.ops = &tcp_transport, .fd = 7};
    mem_fail_after(0);
    assert_int_equal(ws_open(&t), E_NOMEM);
    assert_true(mem_fail_after(-1));
    assert_ptr_equal(t.ops, &tcp_transport);
    assert_int_equal(t.fd, 7);
    struct pair p = open_pair();
    for (long i = 0; i < 2; i++) { /* of the ping, and of the pong */
        say(&p, FIN | WS_PING, "x", 1);
        mem_fail_after(i);
        int64_t rc = our_read(&p);
        assert_true(mem_fail_after(-1));
        assert_int_equal(rc, i == 0 ? E_PROTOCOL : E_AGAIN);
        close_pair(&p);
        p = open_pair();
    }
    close_pair(&p);
}

#define A_TEST(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
    const struct CMUnitTest tests[] = {
        A_TEST(a_packet_is_a_frame),
        A_TEST(much_is_written_as_the_socket_takes_it),
        A_TEST(a_pong_goes_between_frames),
        A_TEST(a_flood_of_pings_that_reads_nothing_is_not_answered_for_ever),
        A_TEST(data_and_pings_in_one_read),
        A_TEST(the_peers_close_is_answered),
        A_TEST(what_came_before_the_end_is_read_first),
        A_TEST(who_breaks_the_rules_is_told_and_read_on),
        A_TEST(our_end_is_a_close),
        A_TEST(a_peer_that_has_gone),
        A_TEST(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
