/* The table of addresses: its limits by number and by time, what it forgets, and several threads at
 * once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>

#include "src/peers.h"

enum { START_MS = 1000000, THREADS = 4, ROUNDS = 20000, NETS = 7 };

static struct peers *peers;
static const int door, other_door;
static bool told;

static int setup(void **state)
{
    (void)state;
    return peers_new(&peers, 7);
}

static int teardown(void **state)
{
    (void)state;
    peers_free(&peers);
    return 0;
}

static enum peers_verdict enter(uint64_t net, struct peers_limits limits, uint64_t now_ms)
{
    told = false;
    return peers_enter(peers, net, &door, &limits, now_ms, &told);
}

static void an_address_has_so_many_connections_at_a_listener(void **state)
{
    (void)state;
    struct peers_limits two = {.connections = 2};
    assert_int_equal(enter(1, two, START_MS), PEERS_ADMITTED);
    assert_int_equal(enter(1, two, START_MS), PEERS_ADMITTED);
    assert_int_equal(enter(1, two, START_MS), PEERS_TOO_MANY);
    assert_int_equal(enter(2, two, START_MS), PEERS_ADMITTED);
    assert_int_equal(peers_enter(peers, 1, &other_door, &two, START_MS, &told), PEERS_ADMITTED);
    peers_leave(peers, 1, &door);
    assert_int_equal(enter(1, two, START_MS), PEERS_ADMITTED);
    assert_int_equal(enter(1, two, START_MS), PEERS_TOO_MANY);
    for (int i = 0; i < 2; i++) peers_leave(peers, 1, &door);
    peers_leave(peers, 1, &door); /* who was not counted */
    peers_leave(peers, 3, &door);
    peers_leave(peers, 2, &door);
    peers_leave(peers, 1, &other_door);
}

static void an_address_is_told_once_a_minute(void **state)
{
    (void)state;
    struct peers_limits one = {.connections = 1};
    assert_int_equal(enter(1, one, START_MS), PEERS_ADMITTED);
    assert_int_equal(enter(1, one, START_MS), PEERS_TOO_MANY);
    assert_true(told);
    assert_int_equal(enter(1, one, START_MS + PEERS_TELL_MS - 1), PEERS_TOO_MANY);
    assert_false(told);
    assert_int_equal(enter(1, one, START_MS + PEERS_TELL_MS), PEERS_TOO_MANY);
    assert_true(told);
    peers_leave(peers, 1, &door);
}

/* A second's worth at once, then one each time there is room again. */
static void an_address_comes_so_often(void **state)
{
    (void)state;
    struct peers_limits ten = {.rate = 10};
    for (int i = 0; i < 10; i++) assert_int_equal(enter(1, ten, START_MS), PEERS_ADMITTED);
    assert_int_equal(enter(1, ten, START_MS), PEERS_TOO_FAST);
    assert_int_equal(enter(1, ten, START_MS + 99), PEERS_TOO_FAST);
    assert_int_equal(enter(1, ten, START_MS + 100), PEERS_ADMITTED);
    assert_int_equal(enter(1, ten, START_MS + 100), PEERS_TOO_FAST);
    for (int i = 0; i < 11; i++) peers_leave(peers, 1, &door);
    assert_int_equal(enter(1, ten, START_MS + 100), PEERS_TOO_FAST); /* that is remembered */
    for (int i = 0; i < 10; i++) assert_int_equal(enter(1, ten, START_MS + 9000), PEERS_ADMITTED);
    assert_int_equal(enter(1, ten, START_MS + 9000), PEERS_TOO_FAST);
    for (int i = 0; i < 10; i++) peers_leave(peers, 1, &door);
}

static void failed_logins_wait_twice_as_long_each_time(void **state)
{
    (void)state;
    uint64_t now_ms = START_MS;
    assert_int_equal(peers_login_failed(peers, 1, 100, now_ms), 100);
    assert_int_equal(peers_login_failed(peers, 1, 100, now_ms), 200);
    assert_int_equal(peers_login_failed(peers, 2, 100, now_ms), 100);
    now_ms += PEERS_FORGET_MS;
    assert_int_equal(peers_login_failed(peers, 1, 100, now_ms), 400);
    for (int i = 0; i < 100; i++) (void)peers_login_failed(peers, 1, 100, now_ms);
    assert_int_equal(peers_login_failed(peers, 1, 100, now_ms), 100 << PEERS_DOUBLINGS);
    now_ms += PEERS_FORGET_MS + 1;
    assert_int_equal(peers_login_failed(peers, 1, 100, now_ms), 100);
}

/* Those without a connection, the longest ago first. */
static void it_forgets_who_has_not_come_for_long(void **state)
{
    (void)state;
    struct peers_limits limits = {.connections = 1, .rate = 1};
    assert_int_equal(enter(1, limits, START_MS), PEERS_ADMITTED); /* and stays */
    for (uint64_t net = 2; net < PEERS_IDLE_MAX + 4; net++) {
        assert_int_equal(enter(net, limits, START_MS), PEERS_ADMITTED);
        peers_leave(peers, net, &door);
    }
    assert_int_equal(enter(1, limits, START_MS), PEERS_TOO_MANY);
    assert_int_equal(enter(PEERS_IDLE_MAX + 3, limits, START_MS), PEERS_TOO_FAST);
    assert_int_equal(enter(2, limits, START_MS), PEERS_ADMITTED); /* it knew it no more */
    peers_leave(peers, 2, &door);
    peers_leave(peers, 1, &door);
}

static void *come_and_go(void *arg)
{
    struct peers_limits limits = {.connections = 2, .rate = 1000000};
    uint64_t *refused = arg;
    bool tell;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        if (peers_enter(peers, i % NETS, &door, &limits, START_MS + i, &tell) != PEERS_ADMITTED) {
            ++*refused;
            continue;
        }
        (void)peers_login_failed(peers, i % NETS, 1, START_MS + i);
        peers_leave(peers, i % NETS, &door);
    }
    return NULL;
}

static void several_threads_leave_nothing_behind(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    uint64_t refused[THREADS] = {0};
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, &refused[i]), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    struct peers_limits one = {.connections = 1};
    for (uint64_t net = 0; net < NETS; net++) {
        assert_int_equal(enter(net, one, START_MS + ROUNDS), PEERS_ADMITTED);
        peers_leave(peers, net, &door);
    }
}

#define A_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        A_TEST(an_address_has_so_many_connections_at_a_listener),
        A_TEST(an_address_is_told_once_a_minute),
        A_TEST(an_address_comes_so_often),
        A_TEST(failed_logins_wait_twice_as_long_each_time),
        A_TEST(it_forgets_who_has_not_come_for_long),
        A_TEST(several_threads_leave_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
