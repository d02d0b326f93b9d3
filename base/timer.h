/* Hierarchical timing wheel (Varghese & Lauck 1987), in milliseconds of the caller's clock: arming
 * and cancelling cost O(1), a firing at most WHEEL_LEVELS moves.  Timers are intrusive. */
#ifndef BASE_TIMER_H
#define BASE_TIMER_H

#include "base/list.h"

enum { WHEEL_BITS = 6, WHEEL_LEVELS = 7 };

struct timer {
    struct list link;
    uint64_t due_ms;
    void (*fire)(struct timer *t,
                 void *ctx); /* the timer is disarmed when called, may be re-armed */
};

struct timers {
    uint64_t now_ms;
    uint32_t count;
    struct list slots[WHEEL_LEVELS][1 << WHEEL_BITS];
};

void timers_init(struct timers *w, uint64_t now_ms);
/* (Re-)arms t; a time already past fires at the next timers_run(). */
void timer_arm(struct timers *w, struct timer *t, uint64_t due_ms);
void timer_cancel(struct timers *w, struct timer *t); /* harmless when not armed */
static inline bool timer_armed(const struct timer *t) { return t->link.next != NULL; }
/* Fires everything due at or before now_ms, in order of slots; returns how many. */
uint32_t timers_run(struct timers *w, uint64_t now_ms, void *ctx);
/* A time not later than the next due one, UINT64_MAX when none is armed. */
uint64_t timers_next(const struct timers *w);

#endif
