/* The store behind the shards, see shard_store.c. */
#ifndef SRC_SHARD_STORE_H
#define SRC_SHARD_STORE_H

#include "conf.h"
#include "shard.h"

/* Gives each shard its door: to the log in `folder`, or (NULL) to memory.  Their loops are open.
 * E_IO: logged; E_NOMEM. */
MUST_USE int shards_store_open(struct shard_set *set, const struct conf *conf, const char *folder);
/* Brings the cores to where those of the last run ended.  E_NOMEM, E_IO, E_INVALID. */
MUST_USE int shards_recover(struct shard_set *set);

/* The last words of a core: waits for the store to take them, but not for ever. */
void shard_store_finish(struct shard *s);

#endif
