/* A whole broker in one deterministic process: N cores, their stores, the mail between them, a
 * virtual clock, and connections that are byte pipes.  Simulation, conversations and fuzzers stand
 * on it.  One thread; nothing here allocates through base/mem.h, so mem_fail_after() hits the cores
 * alone. */
#ifndef TESTS_WORLD_H
#define TESTS_WORLD_H

#include "core/core.h"
#include "store/disk.h"

struct world;
struct wconn; /* a client's end of a connection */

/* The defaults of the directives (src/conf_schema.c). */
void world_defaults(struct core_config *cfg);

/* cfg: NULL = world_defaults().  Same seed and same calls: same run.  Aborts without memory. */
struct world *world_new(unsigned shards, const struct core_config *cfg, uint64_t seed);
/* The same on a simulated disk, which outlives it: what an earlier world left there is recovered.
 */
struct world *world_new_on(struct store_disk *disk, unsigned shards, const struct core_config *cfg,
                           uint64_t seed);
/* Power is lost and comes back after down_ms, with so many shards: what was not safe is gone
 * (store_disk_crash), every connection is closed, and the cores are recovered.  On a disk only. */
void world_crash(struct world *w, unsigned shards, uint64_t down_ms);
/* The same after a clean stop. */
void world_restart(struct world *w, unsigned shards, uint64_t down_ms);
void world_free(struct world *w); /* closes all connections first; frees every wconn */
unsigned world_shards(const struct world *w);
struct core *world_core(struct world *w, unsigned shard);
struct core_config *world_config(struct world *w); /* change, then world_configure() */
void world_configure(struct world *w);
void world_max_clients(struct world *w, unsigned most); /* global_max_clients; 0 = no limit */

/* Who may connect where core_listener.checks_users is set; the last password of a name counts.
 * lasts_ms: so long from now the login holds, 0: for ever.  With token_is_user the password alone
 * says who it is.  The method of authentication is "SIM": the user name as data, answered with
 * "salt", then the password, answered with "final". */
void world_user(struct world *w, struct bytes name, struct bytes password, uint64_t lasts_ms);
/* Passwords take delay_ms to check; with 0 they are checked at once, or in a later turn when turns
 * are shuffled.  When `most` are being checked (0: no limit), further ones are refused as busy. */
void world_logins(struct world *w, uint64_t delay_ms, unsigned most);

/* Anonymous, all versions, QoS 2; may be changed while no connection uses it.  Texts are the
 * caller's and outlive w. */
struct core_listener *world_listener(struct world *w);
struct core_listener *world_listener_add(struct world *w); /* a further one, like the first was */

bool world_logged(struct world *w, const char *part); /* whether a log line so far contains part */
const char *world_log(const struct world *w);         /* all of it, a line each */
/* A counter or gauge of struct core_stats by its offset, summed over the shards. */
uint64_t world_stat(struct world *w, size_t offset);

/* A connection is not on a shard until its first packet shows the client id, as in src/conn.c. */
struct wconn *world_connect(struct world *w);
struct wconn *world_connect_to(struct world *w, const struct core_listener *listener);
void world_send(struct wconn *c, struct bytes data); /* into the pipe; dropped when it is closed */
struct bytes world_received(const struct wconn *c);  /* all that arrived and was not consumed */
void world_consume(struct wconn *c, size_t n);
/* How many more bytes the client reads before it stops; SIZE_MAX: all of them (at first). */
void world_room(struct wconn *c, size_t room);
bool world_closed(const struct wconn *c); /* the broker has closed it */
/* The client's end vanishes (no DISCONNECT), with what the broker has not read; c is freed. */
void world_drop(struct wconn *c);

/* Runs turns in rotation (or in an order drawn from the seed when shuffled) until nothing moves. */
void world_run(struct world *w);
/* Also how much mail and how many bytes of a connection a turn gets to see. */
void world_shuffle(struct world *w, bool on);
/* The disk makes nothing safe meanwhile: at rest is who waits for that, too. */
void world_disk_waits(struct world *w, bool on);
bool world_step(struct world *w);                 /* one turn of one shard; whether it moved */
void world_advance(struct world *w, uint64_t ms); /* lets time pass, timer by timer, running */
uint64_t world_now(const struct world *w);        /* ms */
void world_shutdown(struct world *w);             /* a clean stop of the broker, and runs */

#endif
