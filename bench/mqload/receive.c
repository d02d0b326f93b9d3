/* mqload: what comes in: packets, acknowledgements, and the account of every delivery. */
#include "mqload.h"

flow *flows;
size_t fstride = 1; /* flows per publisher (1, or the number of subscribers) */
size_t nflows;

uint64_t **bm; /* per publisher ring bitmap, where order over receivers is meaningless */

ackctr *acks; /* per publisher: sum over receivers of progress */
uint64_t recv_per_msg = 1;

/* ------------------------------------------------------------- deliveries */
void acc_flush(thr *t)
{
	if (t->accn) {
		atomic_fetch_add_explicit(&acks[t->accpub].acked, t->accn, memory_order_relaxed);
		t->accn = 0;
	}
}
static inline void acc(thr *t, uint32_t pub, uint64_t n)
{
	if (pub != t->accpub) { acc_flush(t); t->accpub = pub; }
	t->accn += n;
}

static void gap_add(flow *f, uint64_t a, uint64_t b)
{
	if (f->ng == f->cap) {
		f->cap = f->cap ? f->cap * 2 : 8;
		if (!(f->g = realloc(f->g, f->cap * sizeof *f->g))) die("oom");
	}
	f->g[f->ng++] = (gap){a, b};
}
static bool gap_take(flow *f, uint64_t s)
{
	for (uint32_t i = f->ng; i-- > 0;) {
		gap *g = &f->g[i];
		if (s >= g->a && s < g->b) {
			uint64_t b = g->b;
			if (s == g->a && s + 1 == b) f->g[i] = f->g[--f->ng];
			else if (s == g->a) g->a++;
			else { g->b = s; if (s + 1 < b) gap_add(f, s + 1, b); }
			return true;
		}
	}
	return false;
}

uint8_t *pattern;

void deliver(thr *t, conn *c, const uint8_t *pl, uint32_t len)
{
	uint32_t mg, pub;
	uint64_t seq, ts;
	if (len < HDR) { t->foreign++; return; }
	memcpy(&mg, pl, 4);
	memcpy(&pub, pl + 4, 4);
	memcpy(&seq, pl + 8, 8);
	memcpy(&ts, pl + 16, 8);
	if (mg != magic || pub >= (uint32_t)O.pubs) { t->foreign++; return; }
	if (len != (uint32_t)O.size || (O.verify && memcmp(pl + HDR, pattern, len - HDR))) { t->corrupt++; return; }
	t->rx++;
	if (!t->first_rx) t->first_rx = t->now;
	t->last_rx = t->now;
	hist_add(&t->h, t->now > ts ? t->now - ts : 0);
	if (!bm) {
		size_t fi = fstride == 1 ? pub : (size_t)pub * fstride + c->idx;
		flow *f = &flows[fi];
		if (seq == f->next) { f->next++; t->uniq++; acc(t, pub, 1); }
		else if (seq > f->next) {
			gap_add(f, f->next, seq);
			acc(t, pub, seq - f->next + 1);
			f->next = seq + 1;
			t->uniq++;
		} else if (gap_take(f, seq)) { t->ooo++; t->uniq++; }
		else t->dup++;
	} else {
		uint64_t bit = 1ull << (seq & 63), *w = &bm[pub][(seq & (BMBITS - 1)) >> 6];
		if (__atomic_fetch_or(w, bit, __ATOMIC_RELAXED) & bit) t->dup += !O.filters; /* else each of the clients that want it has one */
		else { t->uniq++; acc(t, pub, 1); }
		if (flows) {
			flow *f = &flows[(size_t)pub * fstride + c->idx];
			if (seq < f->next) t->ooo++;
			else f->next = seq + 1;
		}
	}
}

static inline void ack(thr *t, uint8_t type, const uint8_t *pid)
{
	uint8_t *a = t->ab + t->alen;
	a[0] = type;
	a[1] = 2;
	a[2] = pid[0];
	a[3] = pid[1];
	t->alen += 4;
}

static inline uint32_t props_len(const uint8_t *p, uint32_t n, uint32_t *used)
{
	uint32_t v = 0, sh = 0, i = 0;
	while (i < n && i < 4) {
		v |= (uint32_t)(p[i] & 127) << sh;
		sh += 7;
		if (!(p[i++] & 128)) break;
	}
	*used = i;
	return v;
}

static void on_connack(conn *c, const uint8_t *p, uint32_t n)
{
	thr *t = c->t;
	if (n < 2 || p[1]) {
		static int once;
		if (!once++) fprintf(stderr, "mqload: CONNACK refused, code %d\n", n < 2 ? -1 : p[1]);
		conn_close(c, true);
		return;
	}
	c->sp = p[0] & 1;
	if (O.ver == 5 && n > 3) {
		uint32_t u, l = props_len(p + 2, n - 2, &u), i = 2 + u, e = i + l;
		if (e > n) e = n;
		while (i < e) {
			uint8_t id = p[i++];
			switch (id) {
			case 0x21:
				if (c->pub) {
					uint32_t rm = (uint32_t)(p[i] << 8 | p[i + 1]);
					if (rm < (uint32_t)O.inflight) {
						static int once;
						if (O.qos && !once++) fprintf(stderr, "mqload: server receive-maximum %u limits in-flight\n", rm);
						O.inflight = (int)rm;
					}
				}
				i += 2; break;
			case 0x22: case 0x13: i += 2; break;
			case 0x11: case 0x27: i += 4; break;
			case 0x24: case 0x25: case 0x28: case 0x29: case 0x2a: i += 1; break;
			case 0x12: case 0x1a: case 0x1c: case 0x1f: case 0x15: case 0x16:
				i += 2 + (uint32_t)(p[i] << 8 | p[i + 1]); break;
			case 0x26: i += 2 + (uint32_t)(p[i] << 8 | p[i + 1]); i += 2 + (uint32_t)(p[i] << 8 | p[i + 1]); break;
			default: i = e;
			}
		}
	}
	c->st = ST_UP;
	t->inprog--;
	t->up++;
	hist_add(&t->hc, t->now - c->t0);
	if (c->role == R_SUB && c->sub_next < c->sub_end) send_subs(c);
	else t->ready++;
	if (c->role == R_IDLE && O.churn) {
		uint8_t d[2] = {0xe0, 0};
		conn_write(c, d, 2);
		conn_close(c, false);
	}
}

static void pub_ack(conn *c, uint8_t type, const uint8_t *p, uint32_t n)
{
	thr *t = c->t;
	pubst *s = c->pub;
	if (!s || n < 2) return;
	uint32_t pid = (uint32_t)(p[0] << 8 | p[1]);
	uint8_t rc = n > 2 ? p[2] : 0;
	if (rc >= 0x80) t->nack++;
	if (type == 4) { /* PUBACK */
		if (s->pst[pid] == 1) { s->pst[pid] = 0; s->infl--; s->acked_ok++; t->txack++; }
	} else if (type == 5) { /* PUBREC */
		if (s->pst[pid] == 1 && rc < 0x80) { s->pst[pid] = 2; ack(t, 0x62, p); }
		else if (s->pst[pid] == 1) { s->pst[pid] = 0; s->infl--; s->acked_ok++; t->txack++; }
		else ack(t, 0x62, p);
	} else if (type == 7) {
		if (s->pst[pid]) { s->pst[pid] = 0; s->infl--; s->acked_ok++; t->txack++; }
	}
}

static void on_packet(conn *c, uint8_t h, const uint8_t *p, uint32_t n)
{
	thr *t = c->t;
	switch (h >> 4) {
	case 3: {
		uint32_t off = 2 + (uint32_t)(p[0] << 8 | p[1]), q = (h >> 1) & 3;
		const uint8_t *pid = p + off;
		if (q) off += 2;
		if (O.ver == 5 && off < n) { uint32_t u, l = props_len(p + off, n - off, &u); off += u + l; }
		if (off > n) { t->corrupt++; return; }
		if (q == 2) {
			uint32_t id = (uint32_t)(pid[0] << 8 | pid[1]);
			ack(t, 0x50, pid);
			if (c->q2[id >> 3] & (1 << (id & 7))) { t->dupq2++; return; }
			c->q2[id >> 3] |= (uint8_t)(1 << (id & 7));
		} else if (q == 1 && on_message) { on_message(t, c, pid, p + off, n - off); return; }
		else if (q == 1) ack(t, 0x40, pid);
		deliver(t, c, p + off, n - off);
		return;
	}
	case 4: case 5: case 7: pub_ack(c, h >> 4, p, n); return;
	case 6: {
		uint32_t id = (uint32_t)(p[0] << 8 | p[1]);
		if (c->q2) c->q2[id >> 3] &= (uint8_t)~(1 << (id & 7));
		ack(t, 0x70, p);
		return;
	}
	case 2: on_connack(c, p, n); return;
	case 9: {
		uint32_t off = 2;
		if (O.ver == 5) { uint32_t u, l = props_len(p + 2, n - 2, &u); off += u + l; }
		for (; off < n; off++) { if (p[off] >= 0x80) t->subfail++; else t->subbed++; c->sub_acked++; }
		c->sub_out--;
		if (c->sub_next < c->sub_end) send_subs(c);
		else if (!c->sub_out) t->ready++;
		return;
	}
	case 13: t->pings++; return;
	case 14: conn_close(c, true); return;
	default: return;
	}
}

static size_t ws_strip(conn *c, uint8_t *d, size_t n)
{
	size_t i = 0, o = 0;
	while (i < n) {
		if (c->wsrem) {
			size_t m = n - i < c->wsrem ? n - i : (size_t)c->wsrem;
			if ((c->wsh[0] & 15) <= 2) { if (o != i) memmove(d + o, d + i, m); o += m; }
			i += m;
			c->wsrem -= m;
			if (!c->wsrem) c->wshn = 0;
			continue;
		}
		c->wsh[c->wshn++] = d[i++];
		if (c->wshn < 2) continue;
		unsigned l = c->wsh[1] & 127, need = l == 127 ? 10 : l == 126 ? 4 : 2;
		if (c->wshn < need) continue;
		uint64_t v = l;
		if (l >= 126) { v = 0; for (unsigned k = 2; k < need; k++) v = v << 8 | c->wsh[k]; }
		c->wsrem = v;
		if (!v) c->wshn = 0;
	}
	return o;
}

static ssize_t raw_read(conn *c, void *p, size_t n)
{
#ifdef WITH_TLS
	if (c->ssl) {
		size_t tot = 0, r;
		while (tot < n) {
			if (SSL_read_ex(c->ssl, (char *)p + tot, n - tot, &r)) { tot += r; continue; }
			int e = SSL_get_error(c->ssl, 0);
			if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE) break;
			return tot ? (ssize_t)tot : 0;
		}
		if (!tot) { errno = EAGAIN; return -1; }
		return (ssize_t)tot;
	}
#endif
	return recv(c->fd, p, n, 0);
}

void (*on_message)(thr *t, conn *c, const uint8_t *pid, const uint8_t *payload, uint32_t n);
void (*on_turn)(thr *t);

void conn_read(conn *c)
{
	thr *t = c->t;
	ssize_t r;
again:
	if (c->llen) memcpy(t->rb, c->lb, c->llen);
	size_t room = t->rcap - c->llen;
	r = raw_read(c, t->rb + c->llen, room);
	t->now = now_ns();
	if (r <= 0) {
		if (r < 0 && (errno == EAGAIN || errno == EINTR)) return;
		conn_close(c, true);
		return;
	}
	uint8_t *d = t->rb + c->llen;
	size_t got = (size_t)r;
	if (c->st == ST_WS) {
		uint8_t *e = memmem(t->rb, c->llen + got, "\r\n\r\n", 4);
		if (!e) { got += c->llen; d = t->rb; goto keep; }
		if (memcmp(t->rb, "HTTP/1.1 101", 12)) { fprintf(stderr, "mqload: ws refused: %.60s\n", t->rb); conn_close(c, true); return; }
		size_t rest = (size_t)(t->rb + c->llen + got - (e + 4));
		c->llen = 0;
		memmove(t->rb, e + 4, rest);
		d = t->rb;
		got = rest;
		send_connect(c);
	}
	if (O.ws) got = ws_strip(c, d, got);
	uint8_t *p = t->rb, *end = t->rb + c->llen + got;
	t->alen = 0;
	while (end - p >= 2) {
		uint32_t len = p[1], k = 2;
		if (len & 128) {
			len &= 127;
			uint32_t sh = 7;
			for (;; sh += 7) {
				if (p + k >= end) goto done;
				uint8_t b = p[k++];
				len |= (uint32_t)(b & 127) << sh;
				if (!(b & 128)) break;
				if (k > 4) { t->corrupt++; conn_close(c, true); return; }
			}
		}
		if ((size_t)(end - p) < (size_t)k + len) {
			if ((size_t)k + len > t->rcap) die("packet of %u bytes exceeds the read buffer", len);
			break;
		}
		if (t->alen + 64 > t->acap) {
			if (!(t->ab = realloc(t->ab, t->acap *= 2))) die("oom");
		}
		on_packet(c, p[0], p + k, len);
		if (c->st == ST_CLOSED) return;
		p += k + len;
	}
done:
	if (t->alen) { conn_write(c, t->ab, t->alen); t->alen = 0; if (c->st == ST_CLOSED) return; }
	d = p;
	got = (size_t)(end - p);
keep:
	if (got) {
		if (c->lcap < got) {
			c->lcap = (uint32_t)(got < 256 ? 256 : got + got / 2);
			free(c->lb);
			if (!(c->lb = malloc(c->lcap))) die("oom");
		}
		memcpy(c->lb, d, got);
	}
	c->llen = (uint32_t)got;
	if (c->ssl && (size_t)r == room) goto again; /* OpenSSL may hold more than epoll shows */
}
