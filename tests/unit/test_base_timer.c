/* The timing wheel against an array of due times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/timer.h"

enum { TIMERS = 300 };

struct alarm {
    struct timer timer;
    uint64_t due_ms; /* UINT64_MAX: not armed */
    uint32_t fired;
};

struct watch {
    struct timers wheel;
    struct alarm alarms[TIMERS];
    uint64_t from_ms, to_ms; /* the span the wheel is being run over */
};

static void on_fire(struct timer *t, void *ctx)
{
    struct watch *w = ctx;
    struct alarm *a = CONTAINER_OF(t, struct alarm, timer);
    assert_false(timer_armed(t));
    assert_true(a->due_ms <= w->to_ms); /* not too early */
    assert_true(w->wheel.now_ms >= a->due_ms && w->wheel.now_ms <= w->to_ms);
    a->due_ms = UINT64_MAX;
    a->fired++;
}

static void arm(struct watch *w, struct alarm *a, uint64_t due_ms)
{
    a->timer.fire = on_fire;
    a->due_ms = due_ms;
    timer_arm(&w->wheel, &a->timer, due_ms);
    assert_true(timer_armed(&a->timer));
}

static uint32_t run_to(struct watch *w, uint64_t now_ms)
{
    w->from_ms = w->wheel.now_ms;
    w->to_ms = now_ms;
    uint32_t fired = timers_run(&w->wheel, now_ms, w);
    assert_true(w->wheel.now_ms == now_ms);
    for (int i = 0; i < TIMERS; i++) /* none too late */
        if (timer_armed(&w->alarms[i].timer)) assert_true(w->alarms[i].due_ms > now_ms);
    return fired;
}

static struct watch *watch_at(uint64_t now_ms)
{
    static struct watch w; /* 11 KiB of wheel and more of alarms: not for the stack */
    w = (struct watch){0};
    timers_init(&w.wheel, now_ms);
    for (int i = 0; i < TIMERS; i++) w.alarms[i].due_ms = UINT64_MAX;
    return &w;
}

static void a_timer_fires_once_at_its_time(void **state)
{
    (void)state;
    struct watch *w = watch_at(1000);
    assert_true(timers_next(&w->wheel) == UINT64_MAX);
    arm(w, &w->alarms[0], 1500);
    assert_in_range(timers_next(&w->wheel), 1000, 1500);
    assert_int_equal(run_to(w, 1499), 0);
    assert_int_equal(run_to(w, 1500), 1);
    assert_int_equal(run_to(w, 100000), 0);
    assert_int_equal(w->alarms[0].fired, 1);
    assert_int_equal(w->wheel.count, 0);
}

static void a_time_already_past_fires_at_the_next_run(void **state)
{
    (void)state;
    struct watch *w = watch_at(1000);
    arm(w, &w->alarms[0], 10);
    arm(w, &w->alarms[1], 1000);
    assert_true(timers_next(&w->wheel) == 1000);
    w->to_ms = 1000;
    assert_int_equal(timers_run(&w->wheel, 1000, w), 2);
}

static void a_cancelled_timer_does_not_fire(void **state)
{
    (void)state;
    struct watch *w = watch_at(0);
    timer_cancel(&w->wheel, &w->alarms[0].timer); /* never armed: harmless */
    arm(w, &w->alarms[0], 70);
    arm(w, &w->alarms[0], 5000); /* re-armed: one timer still */
    arm(w, &w->alarms[1], 60);
    assert_int_equal(w->wheel.count, 2);
    timer_cancel(&w->wheel, &w->alarms[1].timer);
    timer_cancel(&w->wheel, &w->alarms[1].timer);
    assert_int_equal(run_to(w, 4999), 0);
    assert_int_equal(run_to(w, 5000), 1);
}

static void rearm_fire(struct timer *t, void *ctx)
{
    struct watch *w = ctx;
    struct alarm *a = CONTAINER_OF(t, struct alarm, timer);
    a->fired++;
    timer_arm(&w->wheel, t, w->wheel.now_ms + 10);
}

static void a_timer_may_arm_itself_again(void **state)
{
    (void)state;
    struct watch *w = watch_at(0);
    w->alarms[0].timer.fire = rearm_fire;
    timer_arm(&w->wheel, &w->alarms[0].timer, 10);
    timers_run(&w->wheel, 1000, w);
    assert_int_equal(w->alarms[0].fired, 100);
    assert_int_equal(w->wheel.count, 1);
}

static void again_at_once(struct timer *t, void *ctx)
{
    struct watch *w = ctx;
    struct alarm *a = CONTAINER_OF(t, struct alarm, timer);
    a->fired++;
    timer_arm(&w->wheel, t, w->wheel.now_ms);
}

static void a_timer_armed_for_now_while_firing_does_not_hold_up_the_run(void **state)
{
    (void)state;
    struct watch *w = watch_at(0);
    w->alarms[0].timer.fire = again_at_once;
    timer_arm(&w->wheel, &w->alarms[0].timer, 5);
    timers_run(&w->wheel, 5, w);
    assert_int_equal(w->alarms[0].fired, 1);
    timers_run(&w->wheel, 6, w);
    assert_in_range(w->alarms[0].fired, 2, 3);
}

static void years_away_is_not_never(void **state)
{
    (void)state;
    struct watch *w = watch_at(12345);
    uint64_t year_ms = 365ull * 86400 * 1000;
    arm(w, &w->alarms[0], 12345 + 200 * year_ms); /* beyond the wheel's span */
    arm(w, &w->alarms[1], 12345 + 3 * year_ms);
    assert_int_equal(run_to(w, 12345 + 3 * year_ms - 1), 0);
    assert_int_equal(run_to(w, 12345 + 3 * year_ms), 1);
    assert_int_equal(run_to(w, 12345 + 200 * year_ms - 1), 0);
    assert_int_equal(run_to(w, 12345 + 200 * year_ms), 1);
}

/* next is never later than the next due time, and following it alone reaches every timer. */
static void random_timers_fire_within_their_span(void **state)
{
    (void)state;
    struct rng rng = {3};
    struct watch *w = watch_at(rng_next(&rng) >> 24);
    uint64_t fired = 0, due = 0;
    for (int round = 0; round < 3000; round++) {
        struct alarm *a = &w->alarms[rng_below(&rng, TIMERS)];
        uint64_t span = 1ull << rng_below(&rng, 30);
        if (rng_below(&rng, 4) == 0) {
            timer_cancel(&w->wheel, &a->timer);
            a->due_ms = UINT64_MAX;
        } else {
            arm(w, a, w->wheel.now_ms + rng_below(&rng, span));
        }
        uint64_t first = UINT64_MAX;
        for (int i = 0; i < TIMERS; i++) first = min_u64(first, w->alarms[i].due_ms);
        assert_true(timers_next(&w->wheel) <= first);
        assert_true(first == UINT64_MAX || timers_next(&w->wheel) != UINT64_MAX);
        uint64_t to = w->wheel.now_ms + rng_below(&rng, 1ull << rng_below(&rng, 28));
        for (int i = 0; i < TIMERS; i++) due += w->alarms[i].due_ms <= to;
        fired += run_to(w, to);
        assert_true(fired == due);
    }
    assert_true(fired > 1000);
    for (int steps = 0; w->wheel.count > 0; steps++) {
        assert_true(steps < TIMERS * WHEEL_LEVELS);
        run_to(w, timers_next(&w->wheel));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_timer_fires_once_at_its_time),
        cmocka_unit_test(a_time_already_past_fires_at_the_next_run),
        cmocka_unit_test(a_cancelled_timer_does_not_fire),
        cmocka_unit_test(a_timer_may_arm_itself_again),
        cmocka_unit_test(a_timer_armed_for_now_while_firing_does_not_hold_up_the_run),
        cmocka_unit_test(years_away_is_not_never),
        cmocka_unit_test(random_timers_fire_within_their_span),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
