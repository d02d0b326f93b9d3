/* mqload: the scenarios with threads: pubsub, connect, subs. */
#include "mqload.h"

/* runs publishers for the time or count asked; shared by pubsub and subs */
void run_and_report(void)
{
	uint64_t nsub_conns = O.map == MAP_SUBS ? (uint64_t)O.clients : (uint64_t)O.subs;
	(void)nsub_conns;
	double b0, b1, l0, l1, tc0 = 0, tc1 = 0;
	uint64_t rx0, rx1, tx0, tx1, ta, tb;
	t_start = now_ns();
	ta = t_start;
	rx0 = SUM(rx);
	tx0 = SUM(tx);
	b0 = broker_cpu();
	l0 = self_cpu();
	for (int i = 0; i < O.threads; i++) tc0 += T[i].cpu;
	phase = PH_RUN;
	if (O.secs > 0) {
		if (O.warmup > 0) {
			usleep((useconds_t)(O.warmup * 1e6));
			b0 = broker_cpu();
			l0 = self_cpu();
			tc0 = 0;
			for (int i = 0; i < O.threads; i++) tc0 += T[i].cpu;
			reset_gen++;
			rx0 = SUM(rx);
			tx0 = SUM(tx);
			ta = now_ns();
		}
		uint64_t end = ta + (uint64_t)(O.secs * 1e9);
		while (now_ns() < end) usleep(2000);
		tb = now_ns();
		rx1 = SUM(rx);
		tx1 = SUM(tx);
		b1 = broker_cpu();
		l1 = self_cpu();
		for (int i = 0; i < O.threads; i++) tc1 += T[i].cpu;
		phase = PH_DRAIN;
	} else {
		uint64_t want = O.count * (uint64_t)recv_per_msg, last = 0, lt = now_ns();
		for (;;) {
			uint64_t v = SUM(rx), n = now_ns();
			if (v >= want) break;
			if (v != last) { last = v; lt = n; }
			if ((double)(n - lt) > O.drain * 1e9) break;
			usleep(200);
		}
		tb = 0;
		for (int i = 0; i < O.threads; i++) if (T[i].last_rx > tb) tb = T[i].last_rx;
		if (tb <= ta) tb = now_ns();
		rx1 = SUM(rx);
		tx1 = SUM(tx);
		b1 = broker_cpu();
		l1 = self_cpu();
		for (int i = 0; i < O.threads; i++) tc1 += T[i].cpu;
	}
	/* drain: until all has come or nothing moves */
	uint64_t last = SUM(rx), lastack = SUM(txack), lt = now_ns();
	for (;;) {
		uint64_t pubd = SUM(tx), v = SUM(rx), a = SUM(txack), n = now_ns();
		bool ackok = !O.qos || a >= pubd;
		if (SUM(uniq) >= pubd * recv_per_msg && ackok) break;
		if (v != last || a != lastack) { last = v; lastack = a; lt = n; }
		if ((double)(n - lt) > O.drain * 1e9) break;
		usleep(1000);
	}
	usleep(20000); /* anything that comes too often still shows */
	phase = PH_DONE;
	for (int i = 0; i < O.threads; i++) pthread_join(T[i].th, NULL);
	hist *h = xcalloc(1, sizeof *h);
	for (int i = 0; i < O.threads; i++) hist_merge(h, &T[i].h);
	double dt = (double)(tb - ta) / 1e9;
	uint64_t pubd = SUM(tx), exp = pubd * recv_per_msg, uniq = SUM(uniq);
	printf(",\"secs\":%.3f,\"delivered_per_s\":%.0f,\"published_per_s\":%.0f,\"published\":%" PRIu64 ",\"expected\":%" PRIu64
	       ",\"received\":%" PRIu64 ",\"lost\":%" PRId64 ",\"dup\":%" PRIu64 ",\"ooo\":%" PRIu64 ",\"corrupt\":%" PRIu64 ",\"foreign\":%" PRIu64,
	       dt, (double)(rx1 - rx0) / dt, (double)(tx1 - tx0) / dt, pubd, exp, SUM(rx), (int64_t)(exp - uniq), SUM(dup) + SUM(dupq2), SUM(ooo),
	       SUM(corrupt), SUM(foreign));
	if (O.qos) printf(",\"acked\":%" PRIu64 ",\"unacked\":%" PRId64, SUM(txack), (int64_t)(pubd - SUM(txack)));
	printf(",\"nack\":%" PRIu64 ",\"disconnects\":%" PRIu64 ",\"conn_fail\":%" PRIu64 ",\"stalls\":%" PRIu64, SUM(nack), SUM(disc), SUM(cfail), SUM(stalls));
	hist_json("", h);
	printf(",\"load_cpu\":%.3f", (l1 - l0) / dt);
	if (O.npid) {
		printf(",\"broker_cpu\":%.3f,\"broker_us_per_delivery\":%.3f,\"rss_mb\":%.1f", (b1 - b0) / dt,
		       rx1 > rx0 ? (b1 - b0) * 1e6 / (double)(rx1 - rx0) : 0, (double)rss_bytes() / 1e6);
	}
	(void)tc0; (void)tc1;
	printf("}\n");
	free(h);
}

void scen_pubsub(void)
{
	if (O.map == MAP_PAIR) O.subs = O.pubs;
	if (O.map == MAP_FANIN && O.subs > O.pubs) O.subs = O.pubs;
	default_window();
	setup_flows();
	if (O.secs <= 0 && !O.count) O.secs = 5;
	if (O.count) O.secs = 0;
	uint32_t g = 0;
	for (int i = 0; i < O.threads; i++) thr_init(&T[i], i);
	for (int i = 0; i < O.subs; i++) {
		uint64_t k = 1;
		if (O.map == MAP_FANIN && O.subs > 1) k = (uint64_t)((O.pubs - i + O.subs - 1) / O.subs);
		if (O.map == MAP_FANOUT && !O.wildsub) k = (uint64_t)O.pubs;
		add_sub((uint32_t)i, g++, &T[i % O.threads], 0, k);
	}
	for (int i = 0; i < O.pubs; i++) {
		uint64_t lim = UINT64_MAX;
		if (O.count) lim = O.count / (uint64_t)O.pubs + ((uint64_t)i < O.count % (uint64_t)O.pubs);
		add_pub((uint32_t)i, g++, &T[i % O.threads], lim);
	}
	start_threads();
	wait_for(f_ready, (uint64_t)(O.subs + O.pubs), 10, "connections and subscriptions");
	if (SUM(subfail)) fprintf(stderr, "mqload: %" PRIu64 " subscriptions refused\n", SUM(subfail));
	common_json();
	printf(",\"map\":\"%s\",\"pubs\":%d,\"subs\":%d,\"window\":%" PRIu64 ",\"inflight\":%d,\"rate\":%.0f", mapname[O.map], O.pubs, O.subs, O.window,
	       O.qos ? O.inflight : 0, O.rate);
	run_and_report();
}

void scen_connect(void)
{
	O.count = O.count ? O.count : 1000;
	for (int i = 0; i < O.threads; i++) thr_init(&T[i], i);
	O.pubs = 1;
	setup_flows();
	for (uint64_t i = 0; i < O.count; i++) new_conn(R_IDLE, (uint32_t)i, (uint32_t)i, &T[i % (uint64_t)O.threads]);
	uint64_t r0 = rss_bytes();
	double b0 = broker_cpu(), l0 = self_cpu();
	uint64_t t0 = now_ns();
	start_threads();
	wait_for(f_ready, O.count, 15, "connections");
	uint64_t t1 = now_ns();
	double b1 = broker_cpu(), l1 = self_cpu(), dt = (double)(t1 - t0) / 1e9;
	uint64_t r1 = rss_bytes(), ok = SUM(ready);
	if (!O.churn) usleep((useconds_t)(O.hold * 1e6));
	uint64_t r2 = rss_bytes(), up = SUM(up);
	double b2 = broker_cpu();
	phase = PH_DONE;
	for (int i = 0; i < O.threads; i++) pthread_join(T[i].th, NULL);
	hist *h = xcalloc(1, sizeof *h);
	for (int i = 0; i < O.threads; i++) hist_merge(h, &T[i].hc);
	common_json();
	printf(",\"n\":%" PRIu64 ",\"conc\":%d,\"churn\":%d,\"ok\":%" PRIu64 ",\"up\":%" PRIu64 ",\"conn_fail\":%" PRIu64 ",\"disconnects\":%" PRIu64 ",\"secs\":%.3f,\"conn_per_s\":%.0f",
	       O.count, O.conc, O.churn, ok, up, SUM(cfail), SUM(disc), dt, (double)ok / dt);
	hist_json("", h);
	printf(",\"load_cpu\":%.3f", (l1 - l0) / dt);
	if (O.npid)
		printf(",\"broker_cpu\":%.3f,\"broker_us_per_conn\":%.2f,\"rss0_mb\":%.1f,\"rss1_mb\":%.1f,\"rss_idle_mb\":%.1f,\"bytes_per_conn\":%.0f,\"idle_cpu\":%.4f",
		       (b1 - b0) / dt, ok ? (b1 - b0) * 1e6 / (double)ok : 0, (double)r0 / 1e6, (double)r1 / 1e6, (double)r2 / 1e6,
		       up ? ((double)r2 - (double)r0) / (double)up : 0, O.hold > 0 ? (b2 - b1) / O.hold : 0);
	printf("}\n");
}

void scen_subs(void)
{
	O.map = MAP_SUBS;
	nsubs_total = O.count ? O.count : 10000;
	O.count = 0;
	if (O.filters && (O.ver != 5 || (uint64_t)O.filters > nsubs_total)) die("--filters wants --ver 5, and as many subscriptions");
	if (O.secs <= 0) O.secs = 3;
	if (O.clients > (int)nsubs_total) O.clients = (int)nsubs_total;
	O.subs = O.clients;
	default_window();
	setup_flows();
	uint32_t g = 0;
	for (int i = 0; i < O.threads; i++) thr_init(&T[i], i);
	for (int i = 0; i < O.pubs; i++) add_pub((uint32_t)i, g++, &T[i % O.threads], UINT64_MAX);
	conn **sc = xcalloc((size_t)O.clients, sizeof *sc);
	uint64_t *e = xcalloc((size_t)O.clients, 8);
	for (int i = 0; i < O.clients; i++) {
		uint64_t a = nsubs_total * (uint64_t)i / (uint64_t)O.clients, b = nsubs_total * (uint64_t)(i + 1) / (uint64_t)O.clients;
		sc[i] = add_sub((uint32_t)i, g++, &T[i % O.threads], a, b);
		e[i] = b;
		sc[i]->sub_end = a; /* connect first, subscribe below */
	}
	start_threads();
	wait_for(f_ready, (uint64_t)(O.clients + O.pubs), 10, "connections");
	phase = PH_DONE; /* stop the threads to hand them the subscribing work */
	for (int i = 0; i < O.threads; i++) pthread_join(T[i].th, NULL);
	uint64_t r0 = rss_bytes();
	double b0 = broker_cpu();
	uint64_t t0 = now_ns();
	for (int i = 0; i < O.clients; i++) { sc[i]->sub_end = e[i]; if (sc[i]->st == ST_UP) send_subs(sc[i]); }
	phase = PH_CONNECT;
	start_threads();
	wait_for(f_subbed, nsubs_total, 20, "subscriptions");
	double dt = (double)(now_ns() - t0) / 1e9, b1 = broker_cpu();
	usleep(200000);
	uint64_t r1 = rss_bytes(), ok = SUM(subbed);
	common_json();
	printf(",\"n\":%" PRIu64 ",\"clients\":%d,\"wildpct\":%d,\"pubs\":%d,\"window\":%" PRIu64 ",\"subscribed\":%" PRIu64 ",\"sub_refused\":%" PRIu64 ",\"sub_secs\":%.3f,\"subs_per_s\":%.0f",
	       nsubs_total, O.clients, O.wildpct, O.pubs, O.window, ok, SUM(subfail), dt, (double)ok / dt);
	if (O.npid)
		printf(",\"sub_broker_us\":%.2f,\"rss0_mb\":%.1f,\"rss_subs_mb\":%.1f,\"bytes_per_sub\":%.0f", ok ? (b1 - b0) * 1e6 / (double)ok : 0,
		       (double)r0 / 1e6, (double)r1 / 1e6, ok ? ((double)r1 - (double)r0) / (double)ok : 0);
	fflush(stdout);
	run_and_report();
}
