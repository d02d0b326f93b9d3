/* How fast a client may publish: who is faster is not read for a while, so that nothing is lost and
 * the client's own socket holds it back.  The shard's thread. */
#ifndef CORE_RATE_H
#define CORE_RATE_H

#include "core/core_int.h"

/* Whether there is a limit at all: asked for every packet. */
static inline bool rate_limited(const struct core *core)
{
    return (core->cfg.max_publish_rate | core->cfg.max_receive_rate) != 0;
}

/* c's packet of so many bytes has been dealt with; it is c's pause when that was too much. */
void rate_charge(struct cconn *c, bool publish, size_t bytes);
void rate_forget(struct cconn *c); /* before c is freed */

#endif
