/* mqload: connections: TCP, TLS and WebSocket, CONNECT and SUBSCRIBE. */
#include "mqload.h"

struct sockaddr_storage srv;
socklen_t srvlen;

size_t u64s(char *o, uint64_t v)
{
	char b[24];
	size_t n = 0, i;
	do { b[n++] = (char)('0' + v % 10); v /= 10; } while (v);
	for (i = 0; i < n; i++) o[i] = b[n - 1 - i];
	return n;
}
size_t cat(char *o, const char *s) { size_t n = strlen(s); memcpy(o, s, n); return n; }

#ifdef WITH_TLS
SSL_CTX *ctx;
#endif

void conn_close(conn *c, bool bad)
{
	if (c->st == ST_CLOSED) return;
	if (c->st != ST_UP && c->started) c->t->inprog--;
	if (c->st == ST_UP) c->t->up--;
	if (bad) { if (c->st == ST_UP) c->t->disc++; else c->t->cfail++; }
#ifdef WITH_TLS
	if (c->ssl) { SSL_free(c->ssl); c->ssl = NULL; }
#endif
	close(c->fd);
	c->fd = -1;
	c->st = ST_CLOSED;
	c->llen = c->wlen = c->wpos = 0;
}

static void want_write(conn *c, int on)
{
	if (c->wantw == on) return;
	struct epoll_event e = {.events = EPOLLIN | (on ? EPOLLOUT : 0), .data.ptr = c};
	epoll_ctl(c->t->ep, EPOLL_CTL_MOD, c->fd, &e);
	c->wantw = (uint8_t)on;
}

static ssize_t raw_write(conn *c, const void *p, size_t n)
{
#ifdef WITH_TLS
	if (c->ssl) {
		size_t done = 0;
		while (done < n) {
			size_t m = n - done > 16384 ? 16384 : n - done, w = 0;
			if (!SSL_write_ex(c->ssl, (const char *)p + done, m, &w)) {
				int e = SSL_get_error(c->ssl, 0);
				if (e == SSL_ERROR_WANT_WRITE || e == SSL_ERROR_WANT_READ) break;
				return -1;
			}
			done += w;
		}
		return (ssize_t)done;
	}
#endif
	ssize_t r = send(c->fd, p, n, MSG_NOSIGNAL);
	if (r < 0) return (errno == EAGAIN || errno == EINTR) ? 0 : -1;
	return r;
}

static void enqueue(conn *c, const uint8_t *p, size_t n)
{
	if (c->wpos && c->wpos == c->wlen) c->wpos = c->wlen = 0;
	if (c->wlen + n > c->wcap) {
		if (c->wpos) {
			memmove(c->wb, c->wb + c->wpos, c->wlen - c->wpos);
			c->wlen -= c->wpos;
			c->wpos = 0;
		}
		if (c->wlen + n > c->wcap) {
			uint32_t nc = c->wcap ? c->wcap : 4096;
			while (nc < c->wlen + n) nc *= 2;
			if (!(c->wb = realloc(c->wb, nc))) die("oom");
			c->wcap = nc;
		}
	}
	memcpy(c->wb + c->wlen, p, n);
	c->wlen += (uint32_t)n;
}

static void put_bytes(conn *c, const uint8_t *p, size_t n)
{
	if (c->st == ST_CLOSED) return;
	if (c->wlen == c->wpos) {
		ssize_t w = raw_write(c, p, n);
		if (w < 0) { conn_close(c, true); return; }
		if ((size_t)w == n) return;
		p += w;
		n -= (size_t)w;
	}
	enqueue(c, p, n);
	want_write(c, 1);
}

/* MQTT bytes out; on WebSocket wrapped as one masked frame with a zero mask */
void conn_write(conn *c, const uint8_t *p, size_t n)
{
	if (!n) return;
	if (!O.ws) { put_bytes(c, p, n); return; }
	thr *t = c->t;
	if (t->wscap < n + 14) {
		t->wscap = n + 65536;
		if (!(t->wsb = realloc(t->wsb, t->wscap))) die("oom");
	}
	uint8_t *o = t->wsb;
	size_t k = 0;
	o[k++] = 0x82;
	if (n < 126) o[k++] = (uint8_t)(0x80 | n);
	else if (n < 65536) { o[k++] = 0x80 | 126; o[k++] = (uint8_t)(n >> 8); o[k++] = (uint8_t)n; }
	else { o[k++] = 0x80 | 127; for (int i = 7; i >= 0; i--) o[k++] = (uint8_t)((uint64_t)n >> (8 * i)); }
	memset(o + k, 0, 4);
	k += 4;
	memcpy(o + k, p, n);
	put_bytes(c, o, n + k);
}

void flush_pending(conn *c)
{
	if (c->wlen > c->wpos) {
		ssize_t w = raw_write(c, c->wb + c->wpos, c->wlen - c->wpos);
		if (w < 0) { conn_close(c, true); return; }
		c->wpos += (uint32_t)w;
	}
	if (c->wpos == c->wlen) {
		c->wpos = c->wlen = 0;
		if (c->wcap > (1u << 20)) { free(c->wb); c->wb = NULL; c->wcap = 0; }
		want_write(c, 0);
	}
}

size_t put_varint(uint8_t *p, uint32_t v)
{
	size_t n = 0;
	do { uint8_t b = v & 127; v >>= 7; p[n++] = b | (v ? 128 : 0); } while (v);
	return n;
}
size_t put_str(uint8_t *p, const char *s, size_t n)
{
	p[0] = (uint8_t)(n >> 8);
	p[1] = (uint8_t)n;
	memcpy(p + 2, s, n);
	return n + 2;
}

void send_connect(conn *c)
{
	uint8_t b[1024], v[1000];
	char id[80];
	size_t n = 0, k = 0;
	n += put_str(v, "MQTT", 4);
	v[n++] = (uint8_t)O.ver;
	uint8_t fl = c->persistent ? 0 : 2;
	if (c->persistent == 2) fl |= 2; /* clean start, yet a lasting session in v5 */
	if (O.user) fl |= 0x80;
	if (O.pass) fl |= 0x40;
	v[n++] = fl;
	v[n++] = (uint8_t)(O.keepalive >> 8);
	v[n++] = (uint8_t)O.keepalive;
	if (O.ver == 5) {
		uint8_t pr[16];
		size_t pn = 0;
		if (c->persistent) { pr[pn++] = 0x11; memset(pr + pn, 0xff, 4); pn += 4; }
		n += put_varint(v + n, (uint32_t)pn);
		memcpy(v + n, pr, pn);
		n += pn;
	}
	if (c->persistent) snprintf(id, sizeof id, "mqload-persist-%u", c->gidx);
	else snprintf(id, sizeof id, "ml%08x%06x", magic, c->gidx);
	n += put_str(v + n, id, strlen(id));
	if (O.user) n += put_str(v + n, O.user, strlen(O.user));
	if (O.pass) n += put_str(v + n, O.pass, strlen(O.pass));
	b[k++] = 0x10;
	k += put_varint(b + k, (uint32_t)n);
	memcpy(b + k, v, n);
	c->st = ST_CONNACK;
	conn_write(c, b, k + n);
}

static void transport_up(conn *c)
{
	if (O.ws && c->st != ST_WS) {
		char r[512];
		int n = snprintf(r, sizeof r,
			"GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n"
			"Sec-WebSocket-Version: 13\r\n\r\n", O.wspath, O.host, O.port);
		c->st = ST_WS;
		put_bytes(c, (uint8_t *)r, (size_t)n);
		return;
	}
	send_connect(c);
}

#ifdef WITH_TLS
void tls_step(conn *c)
{
	int r = SSL_connect(c->ssl);
	if (r == 1) { want_write(c, 0); transport_up(c); return; }
	int e = SSL_get_error(c->ssl, r);
	if (e == SSL_ERROR_WANT_READ) want_write(c, 0);
	else if (e == SSL_ERROR_WANT_WRITE) want_write(c, 1);
	else {
		static int once;
		if (!once++) ERR_print_errors_fp(stderr);
		conn_close(c, true);
	}
}
#endif

void tcp_up(conn *c)
{
#ifdef WITH_TLS
	if (O.tls) {
		c->ssl = SSL_new(ctx);
		SSL_set_fd(c->ssl, c->fd);
		SSL_set_connect_state(c->ssl);
		c->st = ST_TLS;
		tls_step(c);
		return;
	}
#endif
	want_write(c, 0);
	transport_up(c);
}

static void conn_start(conn *c)
{
	thr *t = c->t;
	c->started = 1;
	t->inprog++;
	c->fd = socket(srv.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0) die("socket: %s (open files limit?)", strerror(errno));
	int one = 1;
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (srv.ss_family == AF_INET && (ntohl(((struct sockaddr_in *)&srv)->sin_addr.s_addr) >> 24) == 127) {
		/* loopback: spread the source over 127.0.x.y, so that ports do not run out */
		struct sockaddr_in s = {.sin_family = AF_INET};
		uint32_t k = c->gidx / (uint32_t)O.perip;
		s.sin_addr.s_addr = htonl(0x7f000001u + 1 + (k / 250) * 256 + k % 250);
		setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
		if (bind(c->fd, (struct sockaddr *)&s, sizeof s) < 0) die("bind: %s", strerror(errno));
	}
	c->t0 = now_ns();
	c->st = ST_CONNECTING;
	int r = connect(c->fd, (struct sockaddr *)&srv, srvlen);
	struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
	c->wantw = 1;
	if (r < 0 && errno != EINPROGRESS) {
		static int once;
		if (!once++) fprintf(stderr, "mqload: connect: %s\n", strerror(errno));
		conn_close(c, true);
		return;
	}
	if (epoll_ctl(t->ep, EPOLL_CTL_ADD, c->fd, &e) < 0) die("epoll_ctl: %s", strerror(errno));
}

void start_more(thr *t)
{
	while (t->nextc < t->nc && t->inprog < (uint32_t)O.conc) {
		conn *c = t->c[t->nextc++];
		conn_start(c);
	}
}

void send_subs(conn *c)
{
	static __thread uint8_t *b;
	static __thread size_t cap;
	if (!b) b = malloc(cap = 1 << 20);
	while (c->sub_next < c->sub_end && c->sub_out < 4) {
		size_t n = 0, k = 0;
		char f[512];
		uint8_t *v = b + 8;
		c->spid = (uint16_t)(c->spid == 65535 ? 1 : c->spid + 1);
		v[n++] = (uint8_t)(c->spid >> 8);
		v[n++] = (uint8_t)c->spid;
		if (O.ver == 5) v[n++] = 0;
		for (int i = 0; i < O.sbatch && c->sub_next < c->sub_end && n + 600 < cap - 8; i++) {
			int l = filter_at(c, c->sub_next++, f);
			n += put_str(v + n, f, (size_t)l);
			v[n++] = (uint8_t)O.subqos;
		}
		uint8_t h[8];
		h[k++] = 0x82;
		k += put_varint(h + k, (uint32_t)n);
		memcpy(b + 8 - k, h, k);
		c->sub_out++;
		conn_write(c, b + 8 - k, n + k);
	}
}
