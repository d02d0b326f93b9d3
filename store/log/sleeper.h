/* How a thread of the log sleeps until there is work: a flag on which it waits in the kernel, so
 * that who brings work pays for a system call only when there is a sleep to end.
 *
 *   sleeper_begin(); look for work once more; none: sleeper_wait(); else sleeper_stay()
 *
 * What is looked for, and the flag, are seq_cst: one of the two sides sees the other. */
#ifndef STORE_LOG_SLEEPER_H
#define STORE_LOG_SLEEPER_H

#include "base/base.h"

#include <stdatomic.h>

struct sleeper {
    _Atomic uint32_t asleep; /* seq_cst: sleeper_begin() pairs with sleeper_wake() */
};

void sleeper_begin(struct sleeper *s);
void sleeper_wait(struct sleeper *s, int64_t timeout_ms); /* -1: for ever; may return early */
void sleeper_stay(struct sleeper *s);
void sleeper_wake(struct sleeper *s); /* any thread */

#endif
