/* mqload: histograms, the measured process, and the lines of JSON. */
#include "mqload.h"

static double hist_q(const hist *h, double q) /* microseconds */
{
	if (!h->n) return 0;
	uint64_t want = (uint64_t)(q * (double)h->n + 0.5), c = 0;
	if (want < 1) want = 1;
	for (unsigned i = 0; i < HN; i++) {
		c += h->b[i];
		if (c >= want) {
			if (i < HSUB) return i / 1e3;
			unsigned e = (i - HSUB) / HSUB;
			double lo = (double)((uint64_t)((i - HSUB) % HSUB + HSUB) << e);
			double hi = lo + (double)(1ull << e), m = (double)h->max;
			double v = (lo + hi) / 2;
			return (v > m ? m : v) / 1e3;
		}
	}
	return (double)h->max / 1e3;
}
void hist_merge(hist *d, const hist *s)
{
	for (unsigned i = 0; i < HN; i++) d->b[i] += s->b[i];
	d->n += s->n;
	d->sum += s->sum;
	if (s->max > d->max) d->max = s->max;
}

/* --------------------------------------------------- the measured process */
uint64_t rss_bytes(void)
{
	uint64_t tot = 0;
	for (int i = 0; i < O.npid; i++) {
		char f[64];
		snprintf(f, sizeof f, "/proc/%d/statm", O.pid[i]);
		FILE *fp = fopen(f, "r");
		unsigned long a, b;
		if (fp) { if (fscanf(fp, "%lu %lu", &a, &b) == 2) tot += b * (uint64_t)sysconf(_SC_PAGESIZE); fclose(fp); }
	}
	return tot;
}
double broker_cpu(void)
{
	double tot = 0;
	for (int i = 0; i < O.npid; i++) {
		char f[64], b[1024];
		snprintf(f, sizeof f, "/proc/%d/stat", O.pid[i]);
		FILE *fp = fopen(f, "r");
		if (!fp) continue;
		size_t n = fread(b, 1, sizeof b - 1, fp);
		b[n] = 0;
		fclose(fp);
		char *p = strrchr(b, ')');
		unsigned long u, s;
		if (p && sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &u, &s) == 2)
			tot += (double)(u + s) / (double)sysconf(_SC_CLK_TCK);
	}
	return tot;
}
double self_cpu(void)
{
	struct rusage r;
	getrusage(RUSAGE_SELF, &r);
	return (double)r.ru_utime.tv_sec + r.ru_utime.tv_usec / 1e6 + (double)r.ru_stime.tv_sec + r.ru_stime.tv_usec / 1e6;
}

uint64_t S(size_t off)
{
	uint64_t v = 0;
	for (int i = 0; i < O.threads; i++) v += *(volatile uint64_t *)((char *)&T[i] + off);
	return v;
}

void wait_for(uint64_t (*f)(void), uint64_t want, double limit, const char *what)
{
	uint64_t t0 = now_ns(), lastv = f(), lastt = t0;
	for (;;) {
		uint64_t v = f(), n = now_ns();
		if (v >= want) return;
		if (v != lastv) { lastv = v; lastt = n; }
		if ((double)(n - lastt) > limit * 1e9) {
			fprintf(stderr, "mqload: gave up waiting for %s: %" PRIu64 " of %" PRIu64 "\n", what, v, want);
			return;
		}
		usleep(200);
	}
}
uint64_t f_subbed(void) { return SUM(subbed) + SUM(subfail); }
uint64_t f_ready(void) { return SUM(ready) + SUM(cfail) + SUM(disc); }

void common_json(void)
{
	printf("{\"scenario\":\"%s\",\"label\":\"%s\",\"ver\":%d,\"transport\":\"%s%s\",\"threads\":%d,\"size\":%d,\"qos\":%d,\"subqos\":%d",
	       O.scen, O.label, O.ver, O.ws ? "ws" : "mqtt", O.tls ? "s" : "", O.threads, O.size, O.qos, O.subqos);
}
void hist_json(const char *pre, const hist *h)
{
	printf(",\"%sp50_us\":%.1f,\"%sp99_us\":%.1f,\"%sp999_us\":%.1f,\"%smax_us\":%.1f,\"%smean_us\":%.1f", pre, hist_q(h, .5), pre,
	       hist_q(h, .99), pre, hist_q(h, .999), pre, (double)h->max / 1e3, pre, h->n ? (double)h->sum / (double)h->n / 1e3 : 0);
}
