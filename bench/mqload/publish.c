/* mqload: making messages, and sending as many as may be under way. */
#include "mqload.h"

uint64_t nsubs_total; /* subs scenario: N filters */

/* ------------------------------------------------------------- publishing */
__thread uint64_t device; /* subs --filters: of the message being made */

size_t topic_at(conn *c, uint64_t seq, char *o)
{
	pubst *s = c->pub;
	size_t n = 0;
	if (O.map == MAP_SUBS) {
		s->rng = s->rng * 6364136223846793005ull + 1442695040888963407ull;
		uint64_t i = (uint64_t)(((unsigned __int128)(s->rng >> 11 << 11) * nsubs_total) >> 64);
		if (O.filters) {
			device = i % (nsubs_total / (uint64_t)O.filters);
			return (size_t)cat(o, "load/t");
		}
		n += cat(o + n, "site/");
		n += u64s(o + n, i % 1000);
		n += cat(o + n, "/dev/");
		n += u64s(o + n, i);
		n += cat(o + n, "/t");
	} else { /* retained: publisher idx takes i = idx, idx+P, ... */
		uint64_t i = seq * (uint64_t)O.pubs + c->idx;
		n += cat(o + n, O.topic);
		n += cat(o + n, "/r/");
		n += u64s(o + n, i / 1000);
		o[n++] = '/';
		n += u64s(o + n, i);
	}
	return n;
}

static size_t put_user(uint8_t *b, const char *key, const char *value)
{
	size_t n = 1;
	b[0] = 0x26;
	n += put_str(b + n, key, strlen(key));
	return n + put_str(b + n, value, strlen(value));
}

/* subs --filters: 20 user properties, of which the first two are asked for */
static size_t put_props(uint8_t *b, uint64_t device)
{
	static const char *more[] = {"site", "zone", "type", "vendor", "firmware", "status", "region", "line", "shift",
		"operator", "batch", "trace", "level", "humidity", "lat", "lon", "priority", "customer"};
	char v[24];
	size_t n = 0;
	v[0] = 'd';
	v[1 + u64s(v + 1, device)] = 0;
	n += put_user(b, "device", v);
	n += put_user(b + n, "temp", "31");
	for (size_t i = 0; i < sizeof more / sizeof *more; i++) n += put_user(b + n, more[i], "something");
	return n;
}

size_t make_publish(uint8_t *b, const char *topic, size_t tl, uint32_t pub, int retain, uint32_t *pidoff, uint32_t *payoff)
{
	uint8_t props[1024];
	size_t np = O.filters ? put_props(props, device) : 0;
	size_t k = 0, rem = 2 + tl + (O.qos ? 2 : 0) + (O.ver == 5 ? np < 128 ? 1 : 2 : 0) + np + (size_t)O.size;
	b[k++] = (uint8_t)(0x30 | O.qos << 1 | (retain ? 1 : 0));
	k += put_varint(b + k, (uint32_t)rem);
	k += put_str(b + k, topic, tl);
	*pidoff = (uint32_t)k;
	if (O.qos) k += 2;
	if (O.ver == 5) k += put_varint(b + k, (uint32_t)np);
	memcpy(b + k, props, np);
	k += np;
	*payoff = (uint32_t)k;
	memcpy(b + k, &magic, 4);
	memcpy(b + k + 4, &pub, 4);
	memcpy(b + k + HDR, pattern, (size_t)O.size - HDR);
	return k + (size_t)O.size;
}

/* sends what may be sent now; returns the time (ns) of the next due message, or 0 */
uint64_t pump(thr *t, conn *c, uint64_t now)
{
	pubst *s = c->pub;
	uint64_t due = 0;
	if (c->st != ST_UP || c->wlen > c->wpos) return 0;
	const bool per_topic = O.map == MAP_SUBS || O.map == MAP_RETAIN;
	double per_thr = 0;
	uint64_t slot = c->idx / (uint64_t)O.threads;
	if (O.rate > 0) per_thr = (double)O.threads * 1e9 / O.rate; /* ns between messages of this thread */
	for (int round = 0; round < 2; round++) {
		uint64_t n = t->pcap / (s->tlen + 64);
		if (O.batch && n > (uint64_t)O.batch) n = (uint64_t)O.batch;
		if (s->limit - s->seq < n) n = s->limit - s->seq;
		if (O.qos && (uint64_t)O.inflight - s->infl < n) n = s->infl < (uint32_t)O.inflight ? (uint64_t)O.inflight - s->infl : 0;
		if (n && O.window) {
			uint64_t a = atomic_load_explicit(&acks[c->idx].acked, memory_order_relaxed) + s->forced;
			uint64_t lim = O.window * recv_per_msg, out = s->seq * recv_per_msg;
			out = out > a ? out - a : 0;
			uint64_t av = out < lim ? (lim - out) / recv_per_msg : 0;
			uint64_t minb = O.qos == 0 && O.rate <= 0 ? O.window / 4 : 1;
			if (minb > n) minb = n;
			if (minb < 1) minb = 1;
			if (av < minb) {
				t->blocked = 1;
				if (a != s->last_acked || !s->stall_t) { s->last_acked = a; s->stall_t = now; }
				else if (now - s->stall_t > 500000000ull && out) {
					/* nothing has moved for 0.5 s: the rest was lost; go on */
					s->forced += out;
					t->stalls++;
				}
				return 0;
			}
			s->stall_t = 0;
			if (av < n) n = av;
		}
		if (O.rate > 0) {
			/* the n-th message of this publisher is due at t_start + (n*npub + slot) * per_thr */
			double el = (double)(now - t_start);
			int64_t d = (int64_t)((el / per_thr - (double)slot) / (double)t->npub) + 1;
			if (el < (double)slot * per_thr) d = 0;
			uint64_t can = d > (int64_t)s->seq ? (uint64_t)d - s->seq : 0;
			if (can < n) n = can;
			if (!n) {
				if (s->seq < s->limit && !can)
					due = t_start + (uint64_t)(((double)s->seq * t->npub + (double)slot) * per_thr) + 1;
				return due;
			}
		}
		if (!n) return 0;
		uint8_t *o = t->pb;
		uint64_t ts = now;
		for (uint64_t i = 0; i < n; i++) {
			uint32_t pidoff = s->pidoff, payoff = s->payoff;
			size_t l;
			if (!per_topic) { memcpy(o, s->tmpl, s->tlen); l = s->tlen; }
			else {
				char tp[512];
				size_t tl = topic_at(c, s->seq, tp);
				l = make_publish(o, tp, tl, c->idx, O.map == MAP_RETAIN, &pidoff, &payoff);
			}
			if (O.qos) {
				uint32_t pid = s->nextpid;
				while (s->pst[pid]) pid = pid == 65535 ? 1 : pid + 1;
				s->pst[pid] = 1;
				s->nextpid = pid == 65535 ? 1 : pid + 1;
				s->infl++;
				o[pidoff] = (uint8_t)(pid >> 8);
				o[pidoff + 1] = (uint8_t)pid;
			}
			if (O.rate > 0) ts = t_start + (uint64_t)(((double)s->seq * t->npub + (double)slot) * per_thr);
			memcpy(o + payoff + 8, &s->seq, 8);
			memcpy(o + payoff + 16, &ts, 8);
			if (bm && (s->seq & 0xffff) == 0) /* clear the ring half a turn ahead */
				memset(&bm[c->idx][((s->seq + BMBITS / 2) & (BMBITS - 1)) >> 6], 0, 0x10000 / 8);
			s->seq++;
			o += l;
		}
		t->tx += n;
		conn_write(c, t->pb, (size_t)(o - t->pb));
		if (c->st != ST_UP || c->wlen > c->wpos) return 0;
		if (O.rate <= 0) { t->more = 1; return 0; }
		now = now_ns();
	}
	return now;
}
