/* mqload: the event loop and its threads. */
#include "mqload.h"

volatile int phase = PH_CONNECT;
volatile uint64_t reset_gen;
volatile uint64_t t_start; /* of publishing, for rates */
thr T[MAXTHR];

static int ep_wait(thr *t, struct epoll_event *ev, int max, int64_t ns)
{
	if (ns <= 0) return epoll_wait(t->ep, ev, max, 0);
	struct timespec ts = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
	int n = epoll_pwait2(t->ep, ev, max, &ts, NULL);
	if (n < 0 && errno == ENOSYS) n = epoll_wait(t->ep, ev, max, (int)(ns / 1000000) + 1);
	return n;
}

void loop_once(thr *t, int64_t wait)
{
	struct epoll_event ev[256];
	int n = ep_wait(t, ev, 256, wait);
	t->now = now_ns();
	for (int i = 0; i < n; i++) {
		conn *c = ev[i].data.ptr;
		if (c->st == ST_CLOSED) continue;
		if (c->st == ST_CONNECTING) {
			int e = 0;
			socklen_t l = sizeof e;
			getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &e, &l);
			if (e) {
				static int once;
				if (!once++) fprintf(stderr, "mqload: connect: %s\n", strerror(e));
				conn_close(c, true);
			} else tcp_up(c);
			continue;
		}
#ifdef WITH_TLS
		if (c->st == ST_TLS) { tls_step(c); continue; }
#endif
		if (ev[i].events & EPOLLOUT) { flush_pending(c); if (c->st == ST_CLOSED) continue; }
		if (ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) conn_read(c);
	}
	acc_flush(t);
}

static double thread_cpu(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void *thr_main(void *arg)
{
	thr *t = arg;
	uint64_t gen = reset_gen;
	prctl(PR_SET_TIMERSLACK, 1);
	int64_t wait = 1000000;
	while (phase != PH_DONE) {
		start_more(t);
		loop_once(t, O.spin && phase == PH_RUN ? 0 : wait);
		if (on_turn) on_turn(t);
		t->cpu = thread_cpu();
		if (gen != reset_gen) { gen = reset_gen; memset(&t->h, 0, sizeof t->h); }
		wait = 1000000;
		if (phase == PH_RUN) {
			uint64_t now = now_ns(), next = 0;
			t->blocked = t->more = 0;
			for (uint32_t i = 0; i < t->npub; i++) {
				uint64_t d = pump(t, t->pubs[i], now);
				if (d && (!next || d < next)) next = d;
			}
			if (next) {
				now = now_ns();
				int64_t w = (int64_t)(next - now);
				wait = w < 0 ? 0 : w < wait ? w : wait;
			}
			if (t->more) wait = 0; /* a batch went out whole: look for more to send at once */
			else if (t->blocked && O.threads > 1 && O.map != MAP_PAIR && wait > 100000) wait = 100000;
		}
	}
	return NULL;
}

void start_threads(void)
{
	for (int i = 0; i < O.threads; i++)
		if (pthread_create(&T[i].th, NULL, thr_main, &T[i])) die("pthread_create");
}
