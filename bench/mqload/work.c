/* mqload: work queues of sluice: work (enqueue, deliver, acknowledge, with or without a backlog) and
 * retry (how punctual redelivery is, and what it costs to wait for it). */
#include "mqload.h"

static uint64_t f_acked(void) { return SUM(txack); }

static void stop_threads(void)
{
	phase = PH_DONE;
	for (int i = 0; i < O.threads; i++) pthread_join(T[i].th, NULL);
	phase = PH_CONNECT;
}

/* Consumers are faster than publishers, so a backlog would soon be gone: they acknowledge no more than
 * was published beyond it, until the end.  One thread. */
enum { HELD_MAX = 1 << 16 };
static struct { conn *c; uint8_t pid[2]; } held[HELD_MAX];
static uint64_t held_count, released;

static void hold(thr *t, conn *c, const uint8_t *pid, const uint8_t *payload, uint32_t n)
{
	deliver(t, c, payload, n);
	if (held_count - released == HELD_MAX) die("more under way than expected");
	held[held_count % HELD_MAX].c = c;
	memcpy(held[held_count++ % HELD_MAX].pid, pid, 2);
}

static void release(thr *t)
{
	static uint8_t b[4 * HELD_MAX];
	conn *to = NULL;
	size_t n = 0;
	while (released < held_count && (phase == PH_DRAIN || released + O.backlog < t->txack)) {
		conn *c = held[released % HELD_MAX].c;
		if (to != c && n) { conn_write(to, b, n); n = 0; }
		to = c;
		b[n++] = 0x40;
		b[n++] = 2;
		memcpy(b + n, held[released++ % HELD_MAX].pid, 2);
		n += 2;
	}
	if (n) conn_write(to, b, n);
}

/* Publishers put so many in front, while nobody takes any. */
static void fill(void)
{
	uint64_t each = O.backlog / (uint64_t)O.pubs, window = O.window, t0;
	O.window = 0;
	for (int i = 0; i < O.threads; i++)
		for (uint32_t k = 0; k < T[i].npub; k++) T[i].pubs[k]->pub->limit = each;
	phase = PH_RUN;
	t0 = now_ns();
	wait_for(f_acked, each * (uint64_t)O.pubs, 30, "the backlog");
	double dt = (double)(now_ns() - t0) / 1e9;
	stop_threads();
	O.window = window + each;
	on_message = hold;
	on_turn = release;
	printf(",\"backlog\":%" PRIu64 ",\"fill_per_s\":%.0f,\"fill_nack\":%" PRIu64, each * (uint64_t)O.pubs,
	       (double)(each * (uint64_t)O.pubs) / dt, SUM(nack));
	if (O.npid) printf(",\"rss_backlog_mb\":%.1f", (double)rss_bytes() / 1e6);
	for (int i = 0; i < O.threads; i++)
		for (uint32_t k = 0; k < T[i].npub; k++) T[i].pubs[k]->pub->limit = UINT64_MAX;
}

void scen_work(void)
{
	O.map = MAP_WORK;
	O.qos = O.subqos = 1;
	if (O.secs <= 0) O.secs = 5;
	if (!O.window) O.window = 1000;
	if (O.backlog && O.threads > 1) die("--backlog wants one thread");
	if (O.window + O.backlog / (uint64_t)O.pubs > BMBITS / 4) die("--backlog wants more --pubs");
	setup_flows();
	uint32_t g = 0;
	for (int i = 0; i < O.threads; i++) thr_init(&T[i], i);
	for (int i = 0; i < O.pubs; i++) add_pub((uint32_t)i, g++, &T[i % O.threads], UINT64_MAX);
	start_threads();
	wait_for(f_ready, (uint64_t)O.pubs, 10, "connections");
	common_json();
	printf(",\"pubs\":%d,\"subs\":%d,\"window\":%" PRIu64 ",\"inflight\":%d", O.pubs, O.subs, O.window, O.inflight);
	if (O.backlog) fill();
	else stop_threads();
	for (int i = 0; i < O.subs; i++) add_sub((uint32_t)i, g++, &T[i % O.threads], 0, 1);
	start_threads();
	wait_for(f_ready, (uint64_t)(O.subs + O.pubs), 10, "consumers");
	if (SUM(subfail)) die("the queue was refused");
	fflush(stdout);
	run_and_report();
}

/* ---- retry ---- */

static uint64_t *put_off; /* by sequence: when; 0: not yet */
static uint64_t put_off_count, come_again, early;
static hist late;

static void put_u16(uint8_t *d, size_t v) { d[0] = (uint8_t)(v >> 8); d[1] = (uint8_t)v; }

/* Between --after and twice that, so that a hundred thousand do not come at the same time: then it
 * would be throughput that is measured. */
static uint64_t after_ms(uint64_t seq) { return (uint64_t)(O.after * (1000 + (double)(seq * 7919 % 1000))); }

/* PUBACK 0x97 (Quota exceeded) with retry-after the first time, then a plain one. */
static void answer(thr *t, conn *c, const uint8_t *pid, const uint8_t *payload, uint32_t n)
{
	uint64_t seq;
	uint8_t *a = t->ab + t->alen;
	char after[16];
	(void)c;
	if (n < HDR) { t->foreign++; return; }
	memcpy(&seq, payload + 8, 8);
	a[0] = 0x40;
	a[2] = pid[0];
	a[3] = pid[1];
	if (put_off[seq]) {
		uint64_t due = put_off[seq] + after_ms(seq) * 1000000;
		if (t->now + 1000000 < due) early++; /* the broker counts in milliseconds */
		hist_add(&late, t->now > due ? t->now - due : 0);
		come_again++;
		a[1] = 2;
		t->alen += 4;
		return;
	}
	put_off[seq] = t->now;
	put_off_count++;
	size_t k = strlen("retry-after"), v = (size_t)snprintf(after, sizeof after, "%.3f", (double)after_ms(seq) / 1000);
	a[1] = (uint8_t)(2 + 1 + 1 + 5 + k + v);
	a[4] = 0x97;
	a[5] = (uint8_t)(5 + k + v);
	a[6] = 0x26;
	put_u16(a + 7, k);
	memcpy(a + 9, "retry-after", k);
	put_u16(a + 9 + k, v);
	memcpy(a + 11 + k, after, v);
	t->alen += 2u + a[1];
}

static void run_until(thr *t, uint64_t *counter, uint64_t want, uint64_t limit_ns)
{
	uint64_t t0 = now_ns();
	while (*counter < want && now_ns() - t0 < limit_ns) loop_once(t, 1000000);
}

void scen_retry(void)
{
	O.map = MAP_WORK;
	O.qos = O.subqos = 1;
	O.ver = 5;
	O.window = 0;
	O.pubs = 1;
	uint64_t n = O.count ? O.count : 1000;
	put_off = xcalloc(n, sizeof *put_off);
	setup_flows();
	thr *t = seq_thr();
	add_pub(0, 0, t, n);
	if (!seq_connect(t, 1)) exit(1);
	seq_publish(t);
	on_message = answer;
	add_sub(0, 1, t, 0, 1);
	if (!seq_connect(t, 2) || t->subfail) die("the queue was refused");
	uint64_t t0 = now_ns();
	run_until(t, &put_off_count, n, 60 * NS);
	double put = (double)(now_ns() - t0) / 1e9;
	/* all wait, and nothing is due: what is that? */
	uint64_t first_due = t0 + (uint64_t)(O.after * 1e9);
	double idle = 0, b0 = broker_cpu();
	uint64_t i0 = now_ns();
	while (now_ns() + 300000000ull < first_due) loop_once(t, 100000000);
	if (now_ns() > i0 + NS / 2) idle = (broker_cpu() - b0) / ((double)(now_ns() - i0) / 1e9);
	double rss = (double)rss_bytes() / 1e6;
	run_until(t, &come_again, n, (uint64_t)(2 * O.after * 1e9) + 60 * NS);
	common_json();
	printf(",\"n\":%" PRIu64 ",\"after\":%g,\"put_off\":%" PRIu64 ",\"put_off_secs\":%.3f,\"again\":%" PRIu64 ",\"lost\":%" PRIu64
	       ",\"early\":%" PRIu64 ",\"disconnects\":%" PRIu64, n, O.after, put_off_count, put, come_again, n - come_again, early, (uint64_t)t->disc);
	hist_json("late_", &late);
	if (O.npid) printf(",\"idle_cpu\":%.4f,\"rss_mb\":%.1f", idle, rss);
	printf("}\n");
}
