/* A whole broker in one deterministic process: N cores, their stores, the mail between them, a
 * virtual clock, and connections that are byte pipes.  Simulation, conversations and fuzzers stand
 * on it. */
#ifndef TESTS_WORLD_H
#define TESTS_WORLD_H

#include "core/core.h"

struct world;
struct wconn; /* a client's end of a connection */

struct world *world_new(unsigned shards, const struct core_config *cfg,
                        uint64_t seed); /* aborts without memory */
void world_free(struct world *w);
struct core *world_core(struct world *w, unsigned shard);
struct core_config *world_config(struct world *w); /* change, then world_configure() */
void world_configure(struct world *w);
struct core_listener *
world_listener(struct world *w); /* anonymous, all versions, QoS 2; may be changed */
bool world_logged(struct world *w, const char *part); /* whether a log line so far contains part */

/* A connection is not on a shard until its first packet shows the client id, as in src/conn.c. */
struct wconn *world_connect(struct world *w);
void world_send(struct wconn *c, struct bytes data); /* into the pipe */
struct bytes world_received(struct wconn *c);        /* all that arrived and was not consumed */
void world_consume(struct wconn *c, size_t n);
void world_stall(struct wconn *c,
                 bool on); /* the client stops reading: the pipe takes `room` more bytes */
bool world_closed(const struct wconn *c); /* the broker has closed it */
void world_drop(struct wconn *c); /* the client's end vanishes (no DISCONNECT); c is freed */

/* Runs turns in rotation (or in an order drawn from the seed when shuffled) until nothing moves. */
void world_run(struct world *w);
void world_shuffle(struct world *w, bool on);
void world_step(struct world *w);                 /* one turn of one shard */
void world_advance(struct world *w, uint64_t ms); /* lets time pass, timer by timer, running */
uint64_t world_now(const struct world *w);        /* ms */

#endif
