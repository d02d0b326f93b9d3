/* The service manager's watchdog: it hears that we live as long as the loop of every shard goes
 * round.  Main thread. */
#ifndef SRC_BROKER_WATCH_H
#define SRC_BROKER_WATCH_H

#include "shard.h"

struct watch;

/* *out is NULL when nobody wants to know.  E_NOMEM. */
MUST_USE int watch_new(struct watch **out, struct shard_set *shards, struct log *log);
/* After shards_free(): a shard may have a question of ours until then. */
void watch_free(struct watch **w);
uint64_t watch_due_ms(const struct watch *w); /* UINT64_MAX with NULL */
void watch_tick(struct watch *w, uint64_t now_ms);

#endif
