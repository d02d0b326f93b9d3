/* Timing wheel: level L's slots are 64^L ms wide.  A timer sits at the level of the highest digit
 * in which its due time differs from now; when the clock enters its slot it moves down. */
#include "base/timer.h"

#define SLOTS (1u << WHEEL_BITS)

void timers_init(struct timers *w, uint64_t now_ms)
{
    w->now_ms = now_ms;
    w->count = 0;
    for (int l = 0; l < WHEEL_LEVELS; l++)
        for (unsigned s = 0; s < SLOTS; s++) list_init(&w->slots[l][s]);
}

static unsigned digit(uint64_t t, int level)
{
    return (unsigned)(t >> (level * WHEEL_BITS)) & (SLOTS - 1);
}

static void place(struct timers *w, struct timer *t)
{
    uint64_t due = max_u64(t->due_ms, w->now_ms);
    uint64_t differ = due ^ w->now_ms;
    int level = differ == 0 ? 0 : (63 - __builtin_clzll(differ)) / WHEEL_BITS;
    if (level >= WHEEL_LEVELS) { /* beyond 139 years: wait in the last slot there is */
        level = WHEEL_LEVELS - 1;
        due = min_u64(due, w->now_ms + ((uint64_t)(SLOTS - 1) << (level * WHEEL_BITS)));
    }
    list_push(&w->slots[level][digit(due, level)], &t->link);
}

void timer_arm(struct timers *w, struct timer *t, uint64_t due_ms)
{
    timer_cancel(w, t);
    t->due_ms = due_ms;
    w->count++;
    place(w, t);
}

void timer_cancel(struct timers *w, struct timer *t)
{
    if (!timer_armed(t)) return;
    list_del(&t->link);
    w->count--;
}

uint64_t timers_next(const struct timers *w)
{
    if (w->count == 0) return UINT64_MAX;
    for (int l = 0; l < WHEEL_LEVELS; l++) {
        unsigned from = digit(w->now_ms, l);
        for (unsigned i = 0; i < SLOTS; i++) {
            unsigned s = (from + i) & (SLOTS - 1);
            if (list_empty(&w->slots[l][s])) continue;
            uint64_t base = w->now_ms >> (l * WHEEL_BITS);
            return max_u64((base + i) << (l * WHEEL_BITS), w->now_ms);
        }
    }
    return UINT64_MAX;
}

/* Moves what the slots that now_ms has just entered hold to where it belongs from here. */
static void cascade(struct timers *w)
{
    for (int l = WHEEL_LEVELS - 1; l > 0; l--) {
        struct list *slot = &w->slots[l][digit(w->now_ms, l)];
        struct list moved;
        list_init(&moved);
        while (!list_empty(slot)) {
            struct list *it = slot->next;
            list_del(it);
            list_push(&moved, it);
        }
        while (!list_empty(&moved)) {
            struct list *it = moved.next;
            list_del(it);
            place(w, CONTAINER_OF(it, struct timer, link));
        }
    }
}

static uint32_t fire_slot(struct timers *w, void *ctx)
{
    struct list due;
    list_init(&due);
    struct list *slot = &w->slots[0][digit(w->now_ms, 0)];
    while (!list_empty(slot)) { /* set aside: a callback may arm another for this very moment */
        struct list *it = slot->next;
        list_del(it);
        list_push(&due, it);
    }
    uint32_t fired = 0;
    while (!list_empty(&due)) {
        struct timer *t = CONTAINER_OF(due.next, struct timer, link);
        timer_cancel(w, t);
        t->fire(t, ctx);
        fired++;
    }
    return fired;
}

uint32_t timers_run(struct timers *w, uint64_t now_ms, void *ctx)
{
    uint32_t fired = fire_slot(w, ctx);
    while (w->now_ms < now_ms) {
        uint64_t next = timers_next(w);
        w->now_ms = next <= w->now_ms ? w->now_ms + 1 : min_u64(next, now_ms);
        cascade(w);
        fired += fire_slot(w, ctx);
    }
    return fired;
}
