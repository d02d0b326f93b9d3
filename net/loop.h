/* One thread's event loop over epoll, level-triggered.  All calls belong to the loop's thread,
 * except loop_wake(). */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include "base/base.h"
#include "base/err.h"

struct loop;

enum loop_event { LOOP_READ = 1, LOOP_WRITE = 2 };

/* Embedded by whoever waits for a descriptor.  It must stay valid until the dispatch after
 * loop_del() has returned. */
struct loop_source {
    void (*ready)(struct loop_source *source, unsigned events);
    int fd;
    unsigned char wanted; /* enum loop_event, what the kernel knows */
    bool added;
};

MUST_USE int loop_open(struct loop **out); /* E_NOMEM, E_IO */
void loop_close(struct loop **loop);
/* Sets what is waited for; asks the kernel only on a change.  Hang-ups are reported as READ. */
MUST_USE int loop_want(struct loop *loop, struct loop_source *source, unsigned events);
void loop_del(struct loop *loop, struct loop_source *source);
/* As loop_del(), for a descriptor that is closed right after: closing tells the kernel by itself.
 */
static inline void loop_forget(struct loop_source *source) { source->added = false; }

/* From here on loop_wake() interrupts the wait.  Then look once more for work, then wait. */
void loop_sleep_begin(struct loop *loop);
/* Collects events; timeout_ms -1: for ever. */
void loop_wait(struct loop *loop, int timeout_ms);
void loop_dispatch(struct loop *loop); /* calls ready() for what was collected */
/* Any thread: ends the sleep, with a system call only when there is one. */
void loop_wake(struct loop *loop);

#endif
