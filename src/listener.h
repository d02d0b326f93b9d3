/* The listening sockets: each listener of the configuration has one for each shard (SO_REUSEPORT),
 * a unix socket one for shard 0, and http_api one that the admin thread accepts from.  Opened by
 * the main thread before the shards start; a shard then accepts from its own. */
#ifndef SRC_LISTENER_H
#define SRC_LISTENER_H

#include "conf.h"
#include "log.h"
#include <stdatomic.h>

enum { LISTENER_SOCKETS = 8 }; /* addresses that one listener's host name may have */

struct listener {
    const struct conf_listener *conf; /* at the start; a shard has its own after a reload */
    _Atomic int64_t connections;      /* relaxed: a gauge, and a limit that may be a few off */
    _Atomic uint64_t full_ns;         /* relaxed: of max_connect_rate, see core/rate.c */
    int *fds;                         /* [shard * LISTENER_SOCKETS + i], -1 = none */
};

struct listeners {
    struct listener *items;
    size_t count;
    unsigned shards;
};

/* Opens all.  E_IO: a line in the log says what and why; nothing stays open.  E_NOMEM. */
MUST_USE int listeners_open(struct listeners *ls, const struct conf *conf, unsigned shards,
                            struct log *log);
void listeners_close(struct listeners *ls); /* also removes the files of unix sockets */

#endif
