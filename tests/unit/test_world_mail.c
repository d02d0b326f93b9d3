/* Mail between cores without memory: what a shard has to say to another is not lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "core/mailbox.h"
#include "tests/world.h"

enum { SHARDS = 2, PAYLOAD = 300000 /* more than any spare buffer holds */ };

/* A client whose home is that shard; CONNECT of 3.1.1, Clean Session. */
static struct wconn *client_of(struct world *w, unsigned shard, uint64_t seed)
{
    uint8_t packet[] = {0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 1, 'a'};
    uint8_t *id = &packet[sizeof packet - 1];
    while (core_home(bytes_of(id, 1), SHARDS, seed) != shard) ++*id;
    struct wconn *c = world_connect(w);
    world_send(c, bytes_of(packet, sizeof packet));
    world_run(w);
    assert_int_equal(world_received(c).n, 4);
    world_consume(c, 4);
    return c;
}

static void subscribe(struct world *w, struct wconn *c)
{
    static const uint8_t packet[] = {0x82, 6, 0, 1, 0, 1, 't', 0};
    world_send(c, bytes_of(packet, sizeof packet));
    world_run(w);
    assert_int_equal(world_received(c).n, 5);
    world_consume(c, 5);
}

/* QoS 1 to t. */
static void publish_large(struct wconn *c)
{
    uint8_t *packet = calloc(1, PAYLOAD + 16), *d = packet;
    assert_non_null(packet);
    d = put_u8(d, 0x32);
    d = put_varint(d, 3 + 2 + PAYLOAD);
    d = put_u16(put_u8(put_u16(d, 1), 't'), 7);
    world_send(c, bytes_of(packet, (size_t)(d - packet) + PAYLOAD));
    free(packet);
}

static void step_all(struct world *w, int times)
{
    for (int i = 0; i < times * SHARDS; i++) world_step(w);
}

static void letters_find_a_reserve(void **state)
{
    (void)state;
    struct world *w = world_new(SHARDS, NULL, 3);
    struct core *core = world_core(w, 0);
    uint32_t n = 0;
    mem_fail_after(MEM_FAIL_ALL);
    for (uint8_t *d; n < 100000 && (d = mail_begin(core, 1, MAIL_PAUSE, 16)) != NULL; n++)
        mail_end(core, 1, mail_put_u64(mail_put_u64(d, n), n));
    assert_in_range(n, MAIL_RESERVE / 32, 99999); /* a letter has a head of 8 bytes */
    assert_int_equal(core->mail_short, 1);
    assert_int_equal(core->stats.dropped_no_memory, 1);
    core_tick(core, world_now(w), 0);
    assert_int_equal(core->mail_short, 1);
    mem_fail_after(MEM_FAIL_NONE);
    core_tick(core, world_now(w), 0);
    assert_int_equal(core->mail_short, 0);
    struct buf b;
    uint64_t next = 0;
    while (core_mail_take(core, 1, &b)) {
        for (struct rd r = rd_of(buf_view(&b)); r.p < r.end; next++) {
            (void)rd_take(&r, 8);
            assert_int_equal(mail_u64(&r), next);
            assert_int_equal(mail_u64(&r), next);
        }
        core_mail_recycle(core, &b);
    }
    assert_int_equal(next, n);
    world_free(w);
}

static void nobody_is_read_while_a_reserve_is_in_use(void **state)
{
    (void)state;
    static const uint8_t ping[] = {0xc0, 0};
    struct world *w = world_new(SHARDS, NULL, 3);
    struct core *core = world_core(w, 0);
    struct wconn *c = client_of(w, 0, 3);
    buf_fini(&core->mail[1].reserve);
    core->mail_short = 1;
    world_send(c, bytes_of(ping, sizeof ping));
    mem_fail_after(MEM_FAIL_ALL);
    step_all(w, 4);
    mem_fail_after(MEM_FAIL_NONE);
    assert_int_equal(world_received(c).n, 0);
    world_run(w);
    assert_int_equal(world_received(c).n, 2);
    world_free(w);
}

static void a_publish_that_cannot_be_posted_waits(void **state)
{
    (void)state;
    struct world *w = world_new(SHARDS, NULL, 3);
    struct wconn *s = client_of(w, 1, 3), *p = client_of(w, 0, 3);
    subscribe(w, s);
    publish_large(p);
    mem_fail_after(MEM_FAIL_ALL);
    step_all(w, 4);
    assert_true(mem_fail_after(MEM_FAIL_NONE));
    assert_int_equal(world_received(p).n, 0); /* and it is still connected */
    assert_false(world_closed(p));
    world_run(w);
    assert_int_equal(world_received(p).n, 4);
    assert_in_range(world_received(s).n, PAYLOAD, PAYLOAD + 16);
    assert_int_equal(world_stat(w, offsetof(struct core_stats, dropped_no_memory)), 0);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_find_a_reserve),
        cmocka_unit_test(nobody_is_read_while_a_reserve_is_in_use),
        cmocka_unit_test(a_publish_that_cannot_be_posted_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
