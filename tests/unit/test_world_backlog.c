/* Long backlogs and others: a turn gives some of those a share each, and a message for somebody
 * else is not behind all that they have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/core_int.h"
#include "tests/world.h"

enum {
    READERS = 12,
    MESSAGES = 20, /* as many as the window takes */
    PAYLOAD = 10000,
    SHARE = OUTPUT_PULL + PAYLOAD + 16,
};

static struct wconn *enter(struct world *w, char id, bool clean)
{
    uint8_t packet[] = {0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 0, 0, 0, 0, 1, (uint8_t)id};
    packet[9] = clean ? 2 : 0;
    struct wconn *c = world_connect(w);
    world_send(c, bytes_of(packet, sizeof packet));
    return c;
}

static void subscribe(struct world *w, struct wconn *c, char topic, uint8_t qos)
{
    const uint8_t packet[] = {0x82, 6, 0, 1, 0, 1, (uint8_t)topic, qos};
    world_send(c, bytes_of(packet, sizeof packet));
    world_run(w);
    world_consume(c, world_received(c).n);
}

static void publish(struct wconn *c, char topic, size_t size)
{
    uint8_t packet[PAYLOAD + 16] = {0}, *d = packet;
    d = put_u8(d, 0x32);
    d = put_varint(d, (uint32_t)(3 + 2 + size));
    d = put_u16(put_u8(put_u16(d, 1), (uint8_t)topic), 7);
    world_send(c, bytes_of(packet, (size_t)(d - packet) + size));
}

static size_t arrived(struct wconn *const *readers)
{
    size_t n = 0;
    for (int i = 0; i < READERS; i++) n += world_received(readers[i]).n;
    return n;
}

static void a_turn_serves_a_few_of_them_and_everybody_else(void **state)
{
    (void)state;
    struct wconn *readers[READERS];
    struct world *w = world_new(1, NULL, 3);
    struct wconn *p = enter(w, 'p', true), *watch = enter(w, 'w', true);
    subscribe(w, watch, 't', 0);
    for (int i = 0; i < READERS; i++) {
        struct wconn *c = enter(w, (char)('A' + i), false);
        subscribe(w, c, 'b', 1);
        world_drop(c);
    }
    for (int i = 0; i < MESSAGES; i++) publish(p, 'b', PAYLOAD);
    world_run(w);
    for (int i = 0; i < READERS; i++) readers[i] = enter(w, (char)('A' + i), false);
    while (arrived(readers) == 0) world_step(w); /* each is new, and has its first share */
    assert_in_range(arrived(readers), 1, (READERS + BACKLOGS_SERVED) * SHARE);
    for (int turns = 0; arrived(readers) < READERS * MESSAGES * PAYLOAD; turns++) {
        size_t before = arrived(readers);
        if (turns == 1) publish(p, 't', 1);
        world_step(w);
        assert_in_range(arrived(readers) - before, 1, BACKLOGS_SERVED * SHARE);
        if (turns == 1) assert_int_equal(world_received(watch).n, 6);
        assert_in_range(turns, 0, 100);
    }
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_turn_serves_a_few_of_them_and_everybody_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
