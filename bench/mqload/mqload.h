/*
 * mqload - a small, fast MQTT 3.1.1 / 5 load generator: what its files share.
 *
 * Epoll, optional threads, optional TLS (OpenSSL) and WebSocket.
 * Every delivered message carries {magic, publisher, sequence, send time}, so
 * losses, duplicates and reordering are counted, not guessed.  See ../README.md.
 */
#ifndef BENCH_MQLOAD_H
#define BENCH_MQLOAD_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifdef WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#else
typedef struct ssl_st SSL;
#endif

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

#define HDR 24 /* bytes of payload header: magic, pub, seq, ts */
#define MAXTHR 64
#define MAXPID 16
#define NS 1000000000ull

/* ---------------------------------------------------------------- options */
enum { MAP_PAIR, MAP_FANIN, MAP_FANOUT, MAP_SHARED, MAP_SUBS, MAP_RETAIN, MAP_QUEUE, MAP_WORK };

extern struct options {
	const char *scen, *host, *label, *topic, *cafile, *user, *pass, *wspath;
	int port, ver, pubs, subs, size, filters, qos, subqos, inflight, threads, map, batch, keepalive;
	int npid, pid[MAXPID], spin, verify, tls, ws, conc, clients, sbatch, churn, cleanup, flood;
	int wildpct, perip, wildsub;
	double secs, warmup, drain, hold, rate, after;
	uint64_t count, window, backlog;
} O;

static inline uint64_t now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS + (uint64_t)ts.tv_nsec;
}
/* -------------------------------------------------------------- histogram */
#define HSUB 64
#define HN (HSUB * 60)
typedef struct { uint64_t n, max, sum, b[HN]; } hist;

static inline void hist_add(hist *h, uint64_t v)
{
	unsigned i;
	if (v < HSUB) i = (unsigned)v;
	else {
		unsigned e = 63u - (unsigned)__builtin_clzll(v) - 6u;
		i = HSUB + e * HSUB + (unsigned)((v >> e) - HSUB);
	}
	h->b[i]++;
	h->n++;
	h->sum += v;
	if (v > h->max) h->max = v;
}

/* ------------------------------------------------------- accounting of flows */
#define NGAP 32
typedef struct { uint64_t a, b; } gap;
typedef struct { uint64_t next; gap *g; uint32_t ng, cap; } flow;

#define BMBITS (1u << 20)
typedef struct { _Atomic uint64_t acked; char pad[56]; } ackctr;

/* ------------------------------------------------------------ connections */
enum { ST_IDLE, ST_CONNECTING, ST_TLS, ST_WS, ST_CONNACK, ST_UP, ST_CLOSED };
enum { R_PUB, R_SUB, R_IDLE };
struct thr;

typedef struct pubst {
	uint64_t seq, limit, acked_ok, forced, stall_t, last_acked;
	uint32_t infl, nextpid;
	uint8_t *pst;   /* per packet id: 0 free, 1 waits PUBACK/PUBREC, 2 waits PUBCOMP */
	uint8_t *tmpl;  /* prebuilt PUBLISH */
	uint32_t tlen, pidoff, payoff;
	uint64_t rng;
} pubst;

typedef struct conn {
	int fd;
	uint8_t st, role, wantw, persistent, sp, started;
	uint32_t idx, gidx;
	struct thr *t;
	SSL *ssl;
	uint8_t *lb;
	uint32_t llen, lcap;
	uint8_t *wb;
	uint32_t wpos, wlen, wcap;
	uint64_t t0;
	uint64_t sub_next, sub_end, sub_acked; /* filters k in [sub_next, sub_end) */
	uint32_t sub_out;
	uint16_t spid;
	uint8_t wsh[14];
	uint8_t wshn;
	uint64_t wsrem;
	uint8_t *q2;
	pubst *pub;
} conn;

typedef struct thr {
	int id, ep;
	pthread_t th;
	conn **c;
	uint32_t nc, cc, nextc, inprog;
	conn **pubs;
	uint32_t npub;
	uint8_t *rb, *pb, *ab, *wsb;
	size_t rcap, pcap, acap, wscap, alen;
	uint64_t now;
	hist h, hc;
	uint32_t accpub;
	uint64_t accn;
	int blocked, more;
	/* counters, read by the main thread */
	volatile uint64_t rx, tx, txack, uniq, dup, ooo, foreign, corrupt, nack, disc, cfail, up, ready, subbed,
		subfail, stalls, dupq2, pings;
	volatile uint64_t last_rx, first_rx;
	double cpu;
} thr;

enum { PH_CONNECT, PH_RUN, PH_DRAIN, PH_DONE };

#define SUM(f) S(offsetof(thr, f))

/* main.c */
extern uint32_t magic;
extern const char *mapname[];
void die(const char *f, ...);
void *xcalloc(size_t n, size_t s);

/* conn.c */
extern struct sockaddr_storage srv;
extern socklen_t srvlen;
size_t u64s(char *o, uint64_t v);
size_t cat(char *o, const char *s);
void conn_close(conn *c, bool bad);
void conn_write(conn *c, const uint8_t *p, size_t n);
void flush_pending(conn *c);
size_t put_varint(uint8_t *p, uint32_t v);
size_t put_str(uint8_t *p, const char *s, size_t n);
void send_connect(conn *c);
void tcp_up(conn *c);
void start_more(thr *t);
void send_subs(conn *c);

/* receive.c */
extern flow *flows;
extern size_t fstride;
extern size_t nflows;
extern uint64_t **bm;
extern ackctr *acks;
extern uint64_t recv_per_msg;
void acc_flush(thr *t);
extern uint8_t *pattern;
void conn_read(conn *c);
void deliver(thr *t, conn *c, const uint8_t *pl, uint32_t len);
/* A scenario's own way with a message at QoS 1: it acknowledges by itself. */
/* After each turn of a thread. */
extern void (*on_turn)(thr *t);
extern void (*on_message)(thr *t, conn *c, const uint8_t *pid, const uint8_t *payload, uint32_t n);

/* publish.c */
extern uint64_t nsubs_total;
extern __thread uint64_t device;
size_t topic_at(conn *c, uint64_t seq, char *o);
size_t make_publish(uint8_t *b, const char *topic, size_t tl, uint32_t pub, int retain, uint32_t *pidoff, uint32_t *payoff);
uint64_t pump(thr *t, conn *c, uint64_t now);

/* loop.c */
extern volatile int phase;
extern volatile uint64_t reset_gen;
extern volatile uint64_t t_start;
extern thr T[MAXTHR];
void loop_once(thr *t, int64_t wait);
void start_threads(void);

/* measure.c */
void hist_merge(hist *d, const hist *s);
uint64_t rss_bytes(void);
double broker_cpu(void);
double self_cpu(void);
uint64_t S(size_t off);
void wait_for(uint64_t (*f)(void), uint64_t want, double limit, const char *what);
uint64_t f_subbed(void);
uint64_t f_ready(void);
void common_json(void);
void hist_json(const char *pre, const hist *h);

/* setup.c */
conn *new_conn(int role, uint32_t idx, uint32_t g, thr *t);
int filter_at(conn *c, uint64_t k, char *o);
conn *add_pub(uint32_t i, uint32_t g, thr *t, uint64_t limit);
conn *add_sub(uint32_t i, uint32_t g, thr *t, uint64_t k0, uint64_t k1);
void thr_init(thr *t, int id);
void setup_flows(void);
void default_window(void);

/* timed.c */
void scen_pubsub(void);
void scen_connect(void);
void scen_subs(void);
void run_and_report(void);

/* kept.c */
void scen_retained(void);
void scen_queue(void);
thr *seq_thr(void);
bool seq_connect(thr *t, uint64_t want);
void seq_publish(thr *t);

/* work.c */
void scen_work(void);
void scen_retry(void);

#ifdef WITH_TLS
extern SSL_CTX *ctx;
void tls_step(conn *c);
#endif

#endif
