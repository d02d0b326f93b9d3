/* The event loop: readiness, what happens to sources that go while events are dispatched, and
 * wake-ups from other threads, of which none may be lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/loop.h"

enum { LOST_MS = 10000, WAKES = 20000, WAKERS = 3 };

struct probe {
    struct loop_source source;
    struct loop *loop;
    struct probe *deletes; /* from inside ready() */
    int peer;              /* the other end of source.fd */
    int calls;
    unsigned events;
};

static void on_ready(struct loop_source *source, unsigned events)
{
    struct probe *p = CONTAINER_OF(source, struct probe, source);
    p->calls++;
    p->events = events;
    if (p->deletes) loop_del(p->loop, &p->deletes->source);
}

static struct probe probe_open(struct loop *loop)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    return (struct probe){
        .source = {.ready = on_ready, .fd = fds[0]}, .loop = loop, .peer = fds[1]};
}

static void probe_close(struct probe *p)
{
    loop_del(p->loop, &p->source);
    close(p->source.fd);
    if (p->peer >= 0) close(p->peer);
}

static void turn(struct loop *loop, int timeout_ms)
{
    loop_wait(loop, timeout_ms);
    loop_dispatch(loop);
}

static struct loop *opened(void)
{
    struct loop *loop = NULL;
    assert_int_equal(loop_open(&loop), 0);
    return loop;
}

static void says_who_can_be_read_and_written(void **state)
{
    (void)state;
    struct loop *loop = opened();
    struct probe p = probe_open(loop);
    assert_int_equal(loop_want(loop, &p.source, LOOP_READ), 0);
    turn(loop, 0);
    assert_int_equal(p.calls, 0);
    assert_int_equal(write(p.peer, "x", 1), 1);
    turn(loop, LOST_MS);
    assert_int_equal(p.calls, 1);
    assert_int_equal(p.events, LOOP_READ);
    turn(loop, LOST_MS); /* level-triggered: it is still there */
    assert_int_equal(p.calls, 2);
    assert_int_equal(loop_want(loop, &p.source, LOOP_READ | LOOP_WRITE), 0);
    turn(loop, LOST_MS);
    assert_int_equal(p.events, LOOP_READ | LOOP_WRITE);
    assert_int_equal(loop_want(loop, &p.source, LOOP_WRITE), 0);
    turn(loop, LOST_MS);
    assert_int_equal(p.events, LOOP_WRITE);
    assert_int_equal(loop_want(loop, &p.source, 0), 0);
    turn(loop, 0);
    assert_int_equal(p.calls, 4);
    probe_close(&p);
    loop_close(&loop);
    assert_null(loop);
}

static void a_hang_up_is_something_to_read(void **state)
{
    (void)state;
    struct loop *loop = opened();
    struct probe p = probe_open(loop);
    assert_int_equal(loop_want(loop, &p.source, LOOP_READ), 0);
    close(p.peer);
    p.peer = -1;
    turn(loop, LOST_MS);
    assert_int_equal(p.events & LOOP_READ, LOOP_READ);
    probe_close(&p);
    loop_close(&loop);
}

static void what_another_deletes_in_the_same_turn_is_not_called(void **state)
{
    (void)state;
    struct loop *loop = opened();
    struct probe a = probe_open(loop), b = probe_open(loop);
    a.deletes = &b;
    b.deletes = &a; /* whichever comes first */
    assert_int_equal(loop_want(loop, &a.source, LOOP_READ), 0);
    assert_int_equal(loop_want(loop, &b.source, LOOP_READ), 0);
    assert_int_equal(write(a.peer, "x", 1), 1);
    assert_int_equal(write(b.peer, "x", 1), 1);
    turn(loop, LOST_MS);
    assert_int_equal(a.calls + b.calls, 1);
    probe_close(&a);
    probe_close(&b);
    loop_close(&loop);
}

static void a_source_may_delete_itself_and_come_back(void **state)
{
    (void)state;
    struct loop *loop = opened();
    struct probe p = probe_open(loop);
    p.deletes = &p;
    assert_int_equal(loop_want(loop, &p.source, LOOP_READ), 0);
    assert_int_equal(write(p.peer, "x", 1), 1);
    turn(loop, LOST_MS);
    turn(loop, 0);
    assert_int_equal(p.calls, 1);
    assert_int_equal(loop_want(loop, &p.source, LOOP_READ), 0);
    turn(loop, LOST_MS);
    assert_int_equal(p.calls, 2);
    loop_del(loop, &p.source); /* twice is harmless */
    probe_close(&p);
    loop_close(&loop);
}

static void a_forgotten_source_is_not_called(void **state)
{
    (void)state;
    struct loop *loop = opened();
    struct probe p = probe_open(loop);
    assert_int_equal(loop_want(loop, &p.source, LOOP_READ), 0);
    assert_int_equal(write(p.peer, "x", 1), 1);
    loop_wait(loop, LOST_MS);
    loop_forget(&p.source);
    close(p.source.fd);
    loop_dispatch(loop);
    assert_int_equal(p.calls, 0);
    turn(loop, 0);
    close(p.peer);
    loop_close(&loop);
}

static void a_descriptor_that_cannot_be_watched_is_an_error(void **state)
{
    (void)state;
    struct loop *loop = opened();
    struct loop_source source = {.ready = on_ready, .fd = open("/dev/null", O_RDONLY | O_CLOEXEC)};
    /* epoll takes no descriptors that are always ready: EPERM */
    assert_int_equal(loop_want(loop, &source, LOOP_READ), E_IO);
    assert_false(source.added);
    close(source.fd);
    loop_close(&loop);
}

static void no_memory_is_told(void **state)
{
    (void)state;
    struct loop *loop = NULL;
    mem_fail_after(0);
    assert_int_equal(loop_open(&loop), E_NOMEM);
    assert_true(mem_fail_after(-1));
    assert_null(loop);
}

/* ---- wake-ups ---- */

static void a_wake_before_the_sleep_does_not_stay(void **state)
{
    (void)state;
    struct loop *loop = opened();
    loop_wake(loop); /* nobody sleeps: no system call, and nothing to be seen */
    uint64_t before_ms = clock_mono_ms();
    loop_sleep_begin(loop);
    turn(loop, 20);
    assert_true(clock_mono_ms() - before_ms >= 19);
    loop_close(&loop);
}

static void a_wake_after_the_sleep_began_ends_the_wait(void **state)
{
    (void)state;
    struct loop *loop = opened();
    uint64_t before_ms = clock_mono_ms();
    loop_sleep_begin(loop);
    loop_wake(loop);
    loop_wake(loop);
    turn(loop, LOST_MS);
    assert_true(clock_mono_ms() - before_ms < LOST_MS);
    loop_sleep_begin(loop); /* the second one left nothing behind */
    turn(loop, 1);
    loop_close(&loop);
}

/* One end of a ping-pong.  Waits for work as src/shard.c does: announce the sleep, look once more,
 * then sleep. */
struct side {
    struct loop *loop;
    struct side *other;
    _Atomic unsigned work; /* seq_cst, as the rings' indices are */
    unsigned taken, lost;
};

static unsigned take(struct side *s)
{
    for (;;) {
        unsigned n = atomic_exchange(&s->work, 0);
        if (n) return n;
        int timeout_ms = LOST_MS;
        uint64_t before_ms = clock_mono_ms();
        loop_sleep_begin(s->loop);
        if (atomic_load(&s->work)) timeout_ms = 0;
        turn(s->loop, timeout_ms);
        if (clock_mono_ms() - before_ms >= LOST_MS) {
            s->lost++;
            return 0;
        }
    }
}

static void give(struct side *to)
{
    atomic_fetch_add(&to->work, 1);
    loop_wake(to->loop);
}

static void *play(void *arg)
{
    struct side *s = arg;
    while (s->taken < WAKES && s->lost == 0) {
        s->taken += take(s);
        give(s->other);
    }
    return NULL;
}

static void no_wake_of_a_ping_pong_is_lost(void **state)
{
    (void)state;
    struct side a = {.loop = opened()}, b = {.loop = opened(), .other = &a};
    pthread_t threads[2];
    a.other = &b;
    assert_int_equal(pthread_create(&threads[0], NULL, play, &a), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, play, &b), 0);
    give(&a);
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(a.lost + b.lost, 0);
    assert_int_equal(a.taken, WAKES);
    assert_int_equal(b.taken, WAKES);
    loop_close(&a.loop);
    loop_close(&b.loop);
}

static void *waker(void *arg)
{
    for (int i = 0; i < WAKES; i++) give(arg);
    return NULL;
}

static void many_may_wake_one(void **state)
{
    (void)state;
    struct side s = {.loop = opened()};
    pthread_t threads[WAKERS];
    for (int i = 0; i < WAKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, waker, &s), 0);
    while (s.taken < WAKERS * WAKES && s.lost == 0) s.taken += take(&s);
    for (int i = 0; i < WAKERS; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(s.lost, 0);
    assert_int_equal(s.taken, WAKERS * WAKES);
    loop_close(&s.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_who_can_be_read_and_written),
        cmocka_unit_test(a_hang_up_is_something_to_read),
        cmocka_unit_test(what_another_deletes_in_the_same_turn_is_not_called),
        cmocka_unit_test(a_source_may_delete_itself_and_come_back),
        cmocka_unit_test(a_forgotten_source_is_not_called),
        cmocka_unit_test(a_descriptor_that_cannot_be_watched_is_an_error),
        cmocka_unit_test(no_memory_is_told),
        cmocka_unit_test(a_wake_before_the_sleep_does_not_stay),
        cmocka_unit_test(a_wake_after_the_sleep_began_ends_the_wait),
        cmocka_unit_test(no_wake_of_a_ping_pong_is_lost),
        cmocka_unit_test(many_may_wake_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
