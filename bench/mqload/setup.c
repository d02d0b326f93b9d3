/* mqload: who connects, publishes and subscribes to what. */
#include "mqload.h"

/* ------------------------------------------------------------------ set up */
conn *new_conn(int role, uint32_t idx, uint32_t g, thr *t)
{
	conn *c = xcalloc(1, sizeof *c);
	c->fd = -1;
	c->role = (uint8_t)role;
	c->idx = idx;
	c->gidx = g;
	c->t = t;
	if (t->nc == t->cc) {
		t->cc = t->cc ? t->cc * 2 : 64;
		if (!(t->c = realloc(t->c, t->cc * sizeof *t->c))) die("oom");
	}
	t->c[t->nc++] = c;
	return c;
}

static size_t pub_topic(uint32_t i, char *o)
{
	size_t n = cat(o, O.topic);
	o[n++] = '/';
	n += u64s(o + n, i);
	return n;
}

int filter_at(conn *c, uint64_t k, char *o)
{
	size_t n = 0;
	switch (O.map) {
	case MAP_PAIR: return (int)pub_topic(c->idx, o);
	case MAP_FANIN:
		if (O.subs == 1) { n = cat(o, O.topic); n += cat(o + n, "/+"); return (int)n; }
		return (int)pub_topic(c->idx + (uint32_t)k * (uint32_t)O.subs, o);
	case MAP_FANOUT:
		if (O.wildsub) { n = cat(o, O.topic); n += cat(o + n, "/+"); return (int)n; }
		return (int)pub_topic((uint32_t)k, o);
	case MAP_SHARED:
		n = cat(o, "$share/g/");
		n += cat(o + n, O.topic);
		n += cat(o + n, "/+");
		return (int)n;
	case MAP_WORK:
		n = cat(o, "$queue/");
		n += cat(o + n, O.topic);
		return (int)n;
	case MAP_SUBS: {
		if (O.filters) { /* so many clients want each device */
			uint64_t devices = nsubs_total / (uint64_t)O.filters;
			n += cat(o + n, "$filter/device = 'd");
			n += u64s(o + n, k % devices);
			n += cat(o + n, "' AND temp > ");
			n += u64s(o + n, k / devices);
			return (int)(n + cat(o + n, "/load/t"));
		}
		bool w = (int)(k * 2654435761ull % 100) < O.wildpct;
		n += cat(o + n, "site/");
		if (w) o[n++] = '+';
		else n += u64s(o + n, k % 1000);
		n += cat(o + n, "/dev/");
		n += u64s(o + n, k);
		n += cat(o + n, w ? "/#" : "/t");
		return (int)n;
	}
	case MAP_RETAIN: return (int)cat(o, O.wildsub ? "#" : O.topic) + (O.wildsub ? 0 : (int)cat(o + strlen(O.topic), "/#"));
	default: return (int)pub_topic(0, o);
	}
}

conn *add_pub(uint32_t i, uint32_t g, thr *t, uint64_t limit)
{
	conn *c = new_conn(R_PUB, i, g, t);
	pubst *s = c->pub = xcalloc(1, sizeof *s);
	char tp[512];
	size_t tl = O.map == MAP_QUEUE ? pub_topic(0, tp) : pub_topic(i, tp);
	s->tmpl = xcalloc(1, (size_t)O.size + 1700);
	s->tlen = (uint32_t)make_publish(s->tmpl, tp, tl, i, 0, &s->pidoff, &s->payoff);
	s->limit = limit;
	s->nextpid = 1;
	s->rng = 88172645463325252ull ^ ((uint64_t)i * 0x9e3779b97f4a7c15ull);
	if (O.qos) s->pst = xcalloc(65536, 1);
	t->pubs = realloc(t->pubs, (t->npub + 1) * sizeof *t->pubs);
	t->pubs[t->npub++] = c;
	return c;
}
conn *add_sub(uint32_t i, uint32_t g, thr *t, uint64_t k0, uint64_t k1)
{
	conn *c = new_conn(R_SUB, i, g, t);
	c->sub_next = k0;
	c->sub_end = k1;
	if (O.subqos == 2) c->q2 = xcalloc(8192, 1);
	return c;
}

void thr_init(thr *t, int id)
{
	t->id = id;
	t->ep = epoll_create1(EPOLL_CLOEXEC);
	t->rcap = 256 * 1024;
	if (t->rcap < (size_t)O.size * 2 + 4096) t->rcap = (size_t)O.size * 2 + 4096;
	t->pcap = 64 * 1024;
	if (t->pcap < (size_t)O.size + 1024) t->pcap = (size_t)O.size + 1024;
	t->acap = 64 * 1024;
	t->rb = xcalloc(1, t->rcap + 64);
	t->pb = xcalloc(1, t->pcap + (size_t)O.size + 1024);
	t->ab = xcalloc(1, t->acap);
}

void setup_flows(void)
{
	acks = xcalloc((size_t)O.pubs, sizeof *acks);
	bool bits = O.map == MAP_SHARED || O.map == MAP_SUBS || O.map == MAP_WORK;
	if (O.map == MAP_FANOUT || O.map == MAP_SHARED) fstride = (size_t)O.subs;
	if (O.map == MAP_FANOUT) recv_per_msg = (uint64_t)O.subs;
	nflows = (size_t)O.pubs * fstride;
	if (O.map != MAP_SUBS && O.map != MAP_WORK) flows = xcalloc(nflows, sizeof *flows);
	if (bits) {
		bm = xcalloc((size_t)O.pubs, sizeof *bm);
		for (int i = 0; i < O.pubs; i++) bm[i] = xcalloc(BMBITS / 64, 8);
		if (!O.window || O.window > BMBITS / 4) O.window = BMBITS / 4;
	}
}

void default_window(void)
{
	/* QoS 0 has no flow control of its own; unless --flood, bound what is under way */
	if (!O.flood && !O.window && O.rate <= 0) {
		O.window = O.map == MAP_FANOUT ? 256 : 4096 / (uint64_t)(O.pubs > 16 ? 16 : O.pubs);
		if ((size_t)O.size * O.window > (8u << 20)) O.window = (8u << 20) / (uint64_t)O.size;
		if (O.window < 4) O.window = 4;
	}
	if (O.flood) O.window = 0;
}
