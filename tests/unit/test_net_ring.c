/* The ring of mail batches: order, its bound, who owns a buffer, and two threads at its ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>

#include "net/ring.h"

enum { BATCHES = 100000 };

static struct buf batch(uint32_t number)
{
    struct buf b = {0};
    assert_int_equal(buf_append(&b, bytes_of(&number, sizeof number)), 0);
    return b;
}

static uint32_t number_of(const struct buf *b)
{
    uint32_t n;
    struct bytes v = buf_view(b);
    assert_int_equal(v.n, sizeof n);
    memcpy(&n, v.p, sizeof n);
    return n;
}

static void batches_leave_in_the_order_they_came(void **state)
{
    (void)state;
    struct ring r;
    struct buf out;
    uint32_t in = 0, next = 0;
    ring_init(&r);
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 5; i++) {
            struct buf b = batch(in++);
            assert_true(ring_push(&r, &b));
        }
        for (int i = 0; i < 4; i++) {
            assert_true(ring_pop(&r, &out));
            assert_int_equal(number_of(&out), next++);
            buf_fini(&out);
        }
    }
    assert_false(ring_empty(&r));
    ring_fini(&r); /* the sanitizer sees whether the ten left are freed */
}

static void a_push_takes_the_buffer(void **state)
{
    (void)state;
    struct ring r;
    ring_init(&r);
    struct buf b = batch(1), out;
    const uint8_t *data = b.data;
    assert_true(ring_push(&r, &b));
    assert_null(b.data);
    assert_int_equal(b.cap, 0);
    assert_true(ring_pop(&r, &out));
    assert_ptr_equal(out.data, data);
    buf_fini(&out);
}

static void a_full_ring_leaves_the_buffer_with_its_owner(void **state)
{
    (void)state;
    struct ring r;
    struct buf out;
    ring_init(&r);
    for (uint32_t i = 0; i < RING_SLOTS; i++) {
        assert_false(ring_full(&r));
        struct buf b = batch(i);
        assert_true(ring_push(&r, &b));
    }
    assert_true(ring_full(&r));
    struct buf more = batch(RING_SLOTS);
    assert_false(ring_push(&r, &more));
    assert_int_equal(number_of(&more), RING_SLOTS);
    assert_true(ring_pop(&r, &out));
    assert_int_equal(number_of(&out), 0);
    buf_fini(&out);
    assert_true(ring_push(&r, &more));
    assert_true(ring_full(&r));
    ring_fini(&r);
}

static void an_empty_ring_gives_nothing(void **state)
{
    (void)state;
    struct ring r;
    struct buf out = {.cap = 7};
    ring_init(&r);
    assert_true(ring_empty(&r));
    assert_int_equal(ring_count(&r), 0);
    assert_false(ring_pop(&r, &out));
    assert_int_equal(out.cap, 7);
    struct buf b = batch(1);
    assert_true(ring_push(&r, &b));
    assert_false(ring_empty(&r));
    assert_int_equal(ring_count(&r), 1);
    assert_true(ring_pop(&r, &out));
    buf_fini(&out);
    assert_true(ring_empty(&r));
    assert_int_equal(ring_count(&r), 0);
    assert_false(ring_full(&r));
}

static void the_counters_may_wrap(void **state)
{
    (void)state;
    struct ring r;
    struct buf out;
    ring_init(&r);
    atomic_store(&r.tail, UINT32_MAX - 2);
    atomic_store(&r.head, UINT32_MAX - 2);
    for (uint32_t i = 0; i < RING_SLOTS; i++) {
        struct buf b = batch(i);
        assert_true(ring_push(&r, &b));
    }
    assert_true(ring_full(&r));
    for (uint32_t i = 0; i < RING_SLOTS; i++) {
        assert_true(ring_pop(&r, &out));
        assert_int_equal(number_of(&out), i);
        buf_fini(&out);
    }
    assert_true(ring_empty(&r));
    assert_int_equal(ring_count(&r), 0);
}

/* ---- two threads ---- */

struct reader {
    struct ring_lane *lane;
    uint32_t next, wrong;
};

/* Checks batches and gives the buffers back, as src/shard.c does. */
static void *read_all(void *arg)
{
    struct reader *r = arg;
    struct buf b;
    while (r->next < BATCHES) {
        if (!ring_pop(&r->lane->full, &b)) {
            sched_yield();
            continue;
        }
        uint32_t n;
        memcpy(&n, b.data + b.head, sizeof n);
        r->wrong += n != r->next++ || buf_len(&b) != sizeof n;
        b.head = b.tail = 0;
        if (!ring_push(&r->lane->empty, &b)) buf_fini(&b);
    }
    return NULL;
}

static void two_threads_lose_nothing_and_buffers_come_back(void **state)
{
    (void)state;
    struct ring_lane *lane = calloc(1, sizeof *lane);
    assert_non_null(lane);
    ring_init(&lane->full);
    ring_init(&lane->empty);
    struct reader reader = {.lane = lane};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, read_all, &reader), 0);
    uint32_t reused = 0;
    for (uint32_t i = 0; i < BATCHES; i++) {
        struct buf b = {0};
        reused += ring_pop(&lane->empty, &b);
        assert_int_equal(buf_append(&b, bytes_of(&i, sizeof i)), 0);
        while (!ring_push(&lane->full, &b)) sched_yield();
        assert_null(b.data);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(reader.next, BATCHES);
    assert_int_equal(reader.wrong, 0);
    assert_true(ring_empty(&lane->full));
    assert_true(reused > 0);
    ring_fini(&lane->full);
    ring_fini(&lane->empty);
    free(lane);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_leave_in_the_order_they_came),
        cmocka_unit_test(a_push_takes_the_buffer),
        cmocka_unit_test(a_full_ring_leaves_the_buffer_with_its_owner),
        cmocka_unit_test(an_empty_ring_gives_nothing),
        cmocka_unit_test(the_counters_may_wrap),
        cmocka_unit_test(two_threads_lose_nothing_and_buffers_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
