/* The epoll loop, the only file that knows epoll.  Owns the epoll descriptor and an eventfd.  The
 * sleeping flag makes one wake-up per idle -> busy: a waker's RMW and a sleeper's store are
 * seq_cst, as are the stores and loads of the work itself, so that one of them sees the other. */
#include "net/loop.h"
#include "base/mem.h"
#include <errno.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { LOOP_BATCH = 256 };

struct loop {
    _Alignas(MEM_LINE) int epoll;
    int event;
    int count;
    _Atomic bool asleep; /* seq_cst: loop_sleep_begin pairs with loop_wake */
    struct loop_source wake;
    struct epoll_event events[LOOP_BATCH];
};

static void loop_woken(struct loop_source *source, unsigned events)
{
    (void)events;
    uint64_t n;
    if (read(source->fd, &n, sizeof n) < 0) return; /* EAGAIN: already taken */
}

int loop_open(struct loop **out)
{
    struct loop *l = mem_calloc_aligned(1, sizeof *l);
    if (l == NULL) return E_NOMEM;
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    l->wake = (struct loop_source){.ready = loop_woken, .fd = l->event};
    if (l->epoll < 0 || l->event < 0 || loop_want(l, &l->wake, LOOP_READ) < 0) {
        loop_close(&l);
        return E_IO;
    }
    *out = l;
    return 0;
}

void loop_close(struct loop **loop)
{
    struct loop *l = *loop;
    if (l == NULL) return;
    *loop = NULL;
    if (l->epoll >= 0) close(l->epoll);
    if (l->event >= 0) close(l->event);
    mem_free(l);
}

int loop_want(struct loop *l, struct loop_source *s, unsigned events)
{
    if (s->added && s->wanted == events) return 0;
    struct epoll_event e = {.data.ptr = s};
    if (events & LOOP_READ) e.events |= EPOLLIN;
    if (events & LOOP_WRITE) e.events |= EPOLLOUT;
    if (epoll_ctl(l->epoll, s->added ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, s->fd, &e) < 0) return E_IO;
    s->added = true;
    s->wanted = (unsigned char)events;
    return 0;
}

void loop_del(struct loop *l, struct loop_source *s)
{
    if (s->added) epoll_ctl(l->epoll, EPOLL_CTL_DEL, s->fd, NULL);
    s->added = false;
    s->wanted = 0;
}

void loop_sleep_begin(struct loop *l) { atomic_store(&l->asleep, true); }

void loop_wait(struct loop *l, int timeout_ms)
{
    l->count = epoll_wait(l->epoll, l->events, LOOP_BATCH, timeout_ms);
    if (l->count < 0) l->count = 0;  /* EINTR */
    atomic_store(&l->asleep, false); /* pairs with the exchange in loop_wake */
}

void loop_dispatch(struct loop *l)
{
    int count = l->count;
    l->count = 0;
    for (int i = 0; i < count; i++) {
        struct loop_source *s = l->events[i].data.ptr;
        unsigned e = l->events[i].events, events = 0;
        if (e & (EPOLLIN | EPOLLHUP | EPOLLERR)) events |= LOOP_READ;
        if (e & EPOLLOUT) events |= LOOP_WRITE;
        if (s->added) s->ready(s, events);
    }
}

void loop_wake(struct loop *l)
{
    uint64_t one = 1;
    if (!atomic_exchange(&l->asleep, false)) return; /* pairs with loop_sleep_begin */
    while (write(l->event, &one, sizeof one) < 0 && errno == EINTR) {
    }
}
