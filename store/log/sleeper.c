/* Sleeping on a futex. */
#include "store/log/sleeper.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void sleeper_begin(struct sleeper *s) { atomic_store(&s->asleep, 1); }
void sleeper_stay(struct sleeper *s) { atomic_store(&s->asleep, 0); }

void sleeper_wait(struct sleeper *s, int64_t timeout_ms)
{
    struct timespec t = {timeout_ms / 1000, timeout_ms % 1000 * 1000000};
    /* Every way to return is a reason to look for work: woken, changed before, time, a signal. */
    (void)syscall(SYS_futex, &s->asleep, FUTEX_WAIT_PRIVATE, 1, timeout_ms < 0 ? NULL : &t, NULL,
                  0);
    atomic_store(&s->asleep, 0);
}

void sleeper_wake(struct sleeper *s)
{
    if (atomic_exchange(&s->asleep, 0) == 0) return; /* pairs with sleeper_begin */
    (void)syscall(SYS_futex, &s->asleep, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
