/* Our frames and those of wslay, a library that many have tested: what it writes as a client is
 * read here, and it reads what we write, both in pieces of all sizes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <wslay/wslay.h>

#include "net/ws_frame.h"

enum { ROOM = 1 << 20 };

struct client {
    wslay_event_context_ptr lib;
    uint8_t out[ROOM];    /* what it has written */
    size_t out_size, cut; /* cut: bytes of it that are taken at once */
    const uint8_t *in;    /* what it is to read */
    size_t in_size;
    uint8_t got[ROOM]; /* messages that it has read, one after the other */
    size_t got_size;
    unsigned messages, pongs;
    unsigned seed;
};

static struct client c;

static ssize_t on_send(wslay_event_context_ptr lib, const uint8_t *data, size_t n, int flags,
                       void *user)
{
    (void)lib, (void)flags, (void)user;
    n = min_u64(n, 1 + c.seed++ % 4096);
    assert_true(c.out_size + n <= sizeof c.out);
    memcpy(c.out + c.out_size, data, n);
    c.out_size += n;
    return (ssize_t)n;
}

static ssize_t on_recv(wslay_event_context_ptr lib, uint8_t *to, size_t room, int flags, void *user)
{
    (void)flags, (void)user;
    size_t n = min_u64(min_u64(room, c.in_size), c.cut);
    if (n == 0) {
        wslay_event_set_error(lib, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    memcpy(to, c.in, n);
    c.in += n;
    c.in_size -= n;
    return (ssize_t)n;
}

static int on_mask(wslay_event_context_ptr lib, uint8_t *to, size_t n, void *user)
{
    (void)lib, (void)user;
    for (size_t i = 0; i < n; i++)
        to[i] = (uint8_t)(c.seed = c.seed * 1103515245 + 12345 + (unsigned)i);
    return 0;
}

static void on_message(wslay_event_context_ptr lib, const struct wslay_event_on_msg_recv_arg *m,
                       void *user)
{
    (void)lib, (void)user;
    if (m->opcode == WSLAY_PONG) c.pongs++;
    if (m->opcode != WSLAY_BINARY_FRAME) return;
    if (m->msg_length) memcpy(c.got + c.got_size, m->msg, m->msg_length);
    c.got_size += m->msg_length;
    c.messages++;
}

static int begin(void **state)
{
    (void)state;
    static const struct wslay_event_callbacks calls = {.recv_callback = on_recv,
                                                       .send_callback = on_send,
                                                       .genmask_callback = on_mask,
                                                       .on_msg_recv_callback = on_message};
    memset(&c, 0, sizeof c);
    return wslay_event_context_client_init(&c.lib, &calls, NULL);
}

static int end(void **state)
{
    (void)state;
    wslay_event_context_free(c.lib);
    return 0;
}

static void say(unsigned opcode, const void *data, size_t n)
{
    struct wslay_event_msg m = {(uint8_t)opcode, data, n};
    assert_int_equal(wslay_event_queue_msg(c.lib, &m), 0);
}

/* ---- its fragments ---- */

struct source {
    const uint8_t *p;
    size_t n;
};

static ssize_t on_more(wslay_event_context_ptr lib, uint8_t *to, size_t room,
                       const union wslay_event_msg_source *from, int *last, void *user)
{
    (void)lib, (void)user;
    struct source *s = from->data;
    size_t n = min_u64(min_u64(room, s->n), 1 + s->n % 777);
    memcpy(to, s->p, n);
    s->p += n;
    s->n -= n;
    *last = s->n == 0;
    return (ssize_t)n;
}

static void what_it_writes_is_read(void **state)
{
    (void)state;
    static uint8_t payload[200000], wanted[400000];
    static const size_t sizes[] = {0, 1, 125, 126, 127, 4095, 4096, 65535, 65536, 100000};
    size_t size = 0;
    for (size_t i = 0; i < sizeof payload; i++) payload[i] = (uint8_t)(i * 31 + i / 255);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        say(WSLAY_BINARY_FRAME, payload, sizes[i]);
        memcpy(wanted + size, payload, sizes[i]);
        size += sizes[i];
        say(WSLAY_PING, "ping", 4);
    }
    struct source s = {payload, 30000};
    struct wslay_event_fragmented_msg m = {WSLAY_BINARY_FRAME, {.data = &s}, on_more};
    assert_int_equal(wslay_event_queue_fragmented_msg(c.lib, &m), 0);
    memcpy(wanted + size, payload, s.n);
    size += s.n;
    while (wslay_event_want_write(c.lib)) assert_int_equal(wslay_event_send(c.lib), 0);
    assert_int_equal(wslay_event_queue_close(c.lib, 1000, (const uint8_t *)"bye", 3), 0);
    while (wslay_event_want_write(c.lib)) assert_int_equal(wslay_event_send(c.lib), 0);

    for (size_t step = 1; step < ROOM; step = step * 3 + 1) {
        static uint8_t piece[ROOM], out[ROOM];
        struct ws_decoder d = {0};
        size_t got = 0;
        for (size_t at = 0; at < c.out_size; at += step) {
            size_t n = min_u64(step, c.out_size - at);
            memcpy(piece, c.out + at, n);
            size_t more = ws_decode(&d, piece, n);
            memcpy(out + got, piece, more);
            got += more;
        }
        if (d.refused) fail_msg("%s", d.why);
        assert_true(d.closed);
        assert_int_equal(got, size);
        assert_memory_equal(out, wanted, size);
        ws_decoder_fini(&d);
    }
}

static void what_we_write_is_read(void **state)
{
    (void)state;
    static uint8_t wire[ROOM];
    static const size_t sizes[] = {0, 2, 125, 126, 65535, 65536, 300000};
    size_t size = 0, payload = 0;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        size += ws_header(wire + size, WS_BINARY, sizes[i]);
        for (size_t j = 0; j < sizes[i]; j++) wire[size++] = (uint8_t)(payload++ * 7);
        size += ws_header(wire + size, WS_PONG, 3);
        memcpy(wire + size, "yes", 3);
        size += 3;
    }
    for (size_t cut = 1; cut < 10000; cut = cut * 5 + 1) {
        c.in = wire;
        c.in_size = size;
        c.cut = cut;
        c.got_size = c.messages = c.pongs = 0;
        while (c.in_size) assert_int_equal(wslay_event_recv(c.lib), 0);
        assert_int_equal(c.messages, ARRAY_LEN(sizes));
        assert_int_equal(c.pongs, ARRAY_LEN(sizes));
        assert_int_equal(c.got_size, payload);
        for (size_t i = 0; i < payload; i++) assert_int_equal(c.got[i], (uint8_t)(i * 7));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_it_writes_is_read, begin, end),
        cmocka_unit_test_setup_teardown(what_we_write_is_read, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
