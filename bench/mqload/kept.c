/* mqload: the scenarios with something kept: retained messages, queues of sessions. */
#include "mqload.h"

/* single threaded helper for the sequential scenarios */
thr *seq_thr(void)
{
	thr *t = &T[0];
	O.threads = 1;
	thr_init(t, 0);
	prctl(PR_SET_TIMERSLACK, 1);
	return t;
}
bool seq_connect(thr *t, uint64_t want)
{
	uint64_t t0 = now_ns();
	while (t->ready + t->cfail + t->disc < want) {
		start_more(t);
		loop_once(t, 1000000);
		if (now_ns() - t0 > 20 * NS) { fprintf(stderr, "mqload: could not connect/subscribe\n"); return false; }
	}
	return true;
}
void seq_publish(thr *t)
{
	/* all publishers to their limit, all acknowledged; QoS 0 closes with a ping each as barrier */
	uint64_t lt = now_ns(), last = 0;
	for (;;) {
		bool done = true;
		uint64_t now = now_ns();
		for (uint32_t i = 0; i < t->npub; i++) {
			conn *c = t->pubs[i];
			if (c->st != ST_UP) continue;
			pump(t, c, now);
			if (c->pub->seq < c->pub->limit || c->pub->infl || c->wlen > c->wpos) done = false;
		}
		if (done) break;
		loop_once(t, 1000000);
		uint64_t v = t->tx + t->txack;
		if (v != last) { last = v; lt = now_ns(); }
		if ((double)(now_ns() - lt) > O.drain * 1e9 + 2e9) { fprintf(stderr, "mqload: publishing stalled\n"); break; }
	}
	uint64_t p0 = t->pings, want = 0;
	for (uint32_t i = 0; i < t->npub; i++) {
		uint8_t b[2] = {0xc0, 0};
		if (t->pubs[i]->st == ST_UP) { conn_write(t->pubs[i], b, 2); want++; }
	}
	uint64_t t0 = now_ns();
	while (t->pings - p0 < want && now_ns() - t0 < 10 * NS) loop_once(t, 1000000);
}

void scen_retained(void)
{
	O.map = MAP_RETAIN;
	uint64_t N = O.count ? O.count : 10000;
	O.window = 0;
	setup_flows();
	thr *t = seq_thr();
	uint32_t g = 0;
	for (int i = 0; i < O.pubs; i++)
		add_pub((uint32_t)i, g++, t, N / (uint64_t)O.pubs + ((uint64_t)i < N % (uint64_t)O.pubs));
	if (!seq_connect(t, (uint64_t)O.pubs)) exit(1);
	uint64_t r0 = rss_bytes();
	double b0 = broker_cpu();
	uint64_t t0 = now_ns();
	seq_publish(t);
	double dtp = (double)(now_ns() - t0) / 1e9, b1 = broker_cpu();
	usleep(200000);
	uint64_t r1 = rss_bytes();
	uint64_t pub_disc = t->disc;
	/* a fresh subscriber per repetition */
	double best[2] = {0, 0}, first = 0;
	uint64_t got = 0, dups = 0, want;
	double b2 = broker_cpu(), l2 = self_cpu();
	{
		for (size_t i = 0; i < nflows; i++) { flows[i].next = 0; flows[i].ng = 0; }
		uint64_t rx0 = t->rx, rd = t->ready;
		t->first_rx = 0;
		conn *c = add_sub(0, g++, t, 0, 0);
		if (!seq_connect(t, rd + 1)) exit(1);
		c->sub_end = 1;
		uint64_t s0 = now_ns(), lt = s0, last = rx0;
		send_subs(c);
		while (t->rx - rx0 < N) {
			loop_once(t, 1000000);
			uint64_t n = now_ns();
			if (t->rx != last) { last = t->rx; lt = n; }
			if ((double)(n - lt) > O.drain * 1e9) break;
			if (c->st == ST_CLOSED) break;
		}
		best[0] = (double)((t->last_rx ? t->last_rx : s0) - s0) / 1e9;
		first = (double)((t->first_rx ? t->first_rx : s0) - s0) / 1e6;
		got = t->uniq;
		dups = t->dup;
	}
	double b3 = broker_cpu(), l3 = self_cpu();
	want = N;
	uint64_t r2 = rss_bytes();
	if (O.cleanup) { /* an empty retained payload deletes */
		uint8_t *b = malloc(700);
		for (uint64_t s = 0; s < N; s++) {
			conn *c = t->pubs[s % (uint64_t)O.pubs];
			char tp[512];
			size_t tl = topic_at(c, s / (uint64_t)O.pubs, tp), k = 0;
			b[k++] = 0x31;
			k += put_varint(b + k, (uint32_t)(2 + tl + (O.ver == 5)));
			k += put_str(b + k, tp, tl);
			if (O.ver == 5) b[k++] = 0;
			if (c->st == ST_UP) conn_write(c, b, k);
			while (c->st == ST_UP && c->wlen - c->wpos > 65536) loop_once(t, 1000000);
		}
		seq_publish(t);
		free(b);
	}
	common_json();
	printf(",\"n\":%" PRIu64 ",\"pubs\":%d,\"pub_secs\":%.3f,\"pub_per_s\":%.0f,\"acked\":%" PRIu64 ",\"received\":%" PRIu64 ",\"lost\":%" PRId64 ",\"dup\":%" PRIu64
	       ",\"corrupt\":%" PRIu64 ",\"first_ms\":%.2f,\"deliver_secs\":%.4f,\"delivered_per_s\":%.0f,\"disconnects\":%" PRIu64,
	       N, O.pubs, dtp, (double)N / dtp, t->txack, got, (int64_t)(want - got), dups, t->corrupt, first, best[0],
	       best[0] > 0 ? (double)got / best[0] : 0, t->disc);
	(void)pub_disc;
	printf(",\"load_cpu_s\":%.3f", l3 - l2);
	if (O.npid)
		printf(",\"pub_broker_us\":%.2f,\"deliver_broker_us\":%.2f,\"bytes_per_retained\":%.0f,\"rss_mb\":%.1f", (b1 - b0) * 1e6 / (double)N,
		       got ? (b3 - b2) * 1e6 / (double)got : 0, ((double)r1 - (double)r0) / (double)N, (double)r2 / 1e6);
	printf("}\n");
}

static void seq_disconnect(thr *t, conn *c)
{
	uint8_t d[2] = {0xe0, 0};
	conn_write(c, d, 2);
	flush_pending(c);
	conn_close(c, false);
	(void)t;
}

void scen_queue(void)
{
	O.map = MAP_QUEUE;
	if (!O.qos) O.qos = 1;
	O.subqos = O.qos;
	uint64_t N = O.count ? O.count : 10000;
	int K = O.subs; /* offline sessions, all on the same topic */
	O.window = 0;
	acks = xcalloc((size_t)O.pubs, sizeof *acks);
	fstride = (size_t)K;
	nflows = (size_t)O.pubs * fstride;
	flows = xcalloc(nflows, sizeof *flows);
	thr *t = seq_thr();
	uint32_t g = 0;
	conn **sc = xcalloc((size_t)K, sizeof *sc);
	/* sweep away an old session first, then build one that lasts */
	for (int ph = 0; ph < 2; ph++) {
		uint64_t rd = t->ready;
		for (int i = 0; i < K; i++) {
			conn *c = add_sub((uint32_t)i, (uint32_t)i, t, 0, ph ? 1 : 0);
			c->persistent = 1;
			if (O.ver == 5) c->persistent = ph ? 1 : 2;
			sc[i] = c;
		}
		if (!ph && O.ver == 4) for (int i = 0; i < K; i++) sc[i]->persistent = 3;
		if (!seq_connect(t, rd + (uint64_t)K)) exit(1);
		for (int i = 0; i < K; i++) seq_disconnect(t, sc[i]);
		usleep(100000);
	}
	g = (uint32_t)K;
	uint64_t rd = t->ready;
	for (int i = 0; i < O.pubs; i++)
		add_pub((uint32_t)i, g++, t, N / (uint64_t)O.pubs + ((uint64_t)i < N % (uint64_t)O.pubs));
	if (!seq_connect(t, rd + (uint64_t)O.pubs)) exit(1);
	uint64_t r0 = rss_bytes();
	double b0 = broker_cpu();
	uint64_t t0 = now_ns();
	seq_publish(t);
	double dtp = (double)(now_ns() - t0) / 1e9, b1 = broker_cpu();
	uint64_t nack = t->nack;
	usleep(200000);
	uint64_t r1 = rss_bytes();
	rd = t->ready;
	for (int i = 0; i < K; i++) { sc[i] = add_sub((uint32_t)i, (uint32_t)i, t, 0, 0); sc[i]->persistent = 1; }
	double l1 = self_cpu();
	b1 = broker_cpu();
	uint64_t s0 = now_ns(), lt = s0, last = 0, want = N * (uint64_t)K;
	t->first_rx = 0;
	while (t->uniq < want) {
		start_more(t);
		loop_once(t, 1000000);
		uint64_t n = now_ns();
		if (t->rx != last) { last = t->rx; lt = n; }
		if ((double)(n - lt) > O.drain * 1e9) break;
	}
	double dt = (double)((t->last_rx ? t->last_rx : s0) - s0) / 1e9, b2 = broker_cpu(), l2 = self_cpu();
	double first = (double)((t->first_rx ? t->first_rx : s0) - s0) / 1e6;
	int sp = 0;
	for (int i = 0; i < K; i++) sp += sc[i]->sp;
	uint64_t disc = t->disc;
	/* let the last acknowledgements out, then remove the sessions */
	uint64_t e = now_ns() + 100000000ull;
	while (now_ns() < e) loop_once(t, 1000000);
	for (int i = 0; i < K; i++) if (sc[i]->st == ST_UP) seq_disconnect(t, sc[i]);
	usleep(50000);
	common_json();
	printf(",\"n\":%" PRIu64 ",\"sessions\":%d,\"inflight\":%d,\"pub_secs\":%.3f,\"pub_per_s\":%.0f,\"acked\":%" PRIu64 ",\"nack\":%" PRIu64
	       ",\"session_present\":%d,\"received\":%" PRIu64 ",\"lost\":%" PRId64 ",\"dup\":%" PRIu64 ",\"ooo\":%" PRIu64
	       ",\"first_ms\":%.2f,\"drain_secs\":%.4f,\"drain_per_s\":%.0f,\"disconnects\":%" PRIu64,
	       N, K, O.inflight, dtp, (double)N / dtp, t->txack, nack, sp, t->uniq, (int64_t)(want - t->uniq), t->dup + t->dupq2, t->ooo, first, dt,
	       dt > 0 ? (double)t->uniq / dt : 0, disc);
	printf(",\"load_cpu_s\":%.3f", l2 - l1);
	if (O.npid)
		printf(",\"queue_broker_us\":%.2f,\"drain_broker_us\":%.2f,\"bytes_per_queued\":%.0f,\"rss_mb\":%.1f", (b1 - b0) * 1e6 / (double)(N * (uint64_t)K),
		       t->uniq ? (b2 - b1) * 1e6 / (double)t->uniq : 0, ((double)r1 - (double)r0) / (double)(N * (uint64_t)K), (double)rss_bytes() / 1e6);
	printf("}\n");
}
