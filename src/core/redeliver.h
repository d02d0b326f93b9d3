/* Plain subscriptions of MQTT 5 whose client asks to be sent again, on its live connection, what it
 * has not acknowledged (`ack-deadline`, `max-deliveries` of SUBSCRIBE; CONTRACT section 3): as a
 * new PUBLISH with a new packet identifier, which is no resending [MQTT-4.4.0-1].  The shard's
 * thread.
 *
 * The delivery before stays in the window as a ghost, until it is acknowledged or the connection
 * ends: its packet identifier is not free, and the client counts it. */
#ifndef CORE_REDELIVER_H
#define CORE_REDELIVER_H

#include "core/core_int.h"
#include "core/wish.h"

/* What is asked for goes along as a mark among the subscription identifiers, as SUBID_TOLD does
 * (tell.h): bit 30, 22 bits of deadline in tenths of a second, 8 bits of max-deliveries. */
#define SUBID_RETRY 0x40000000u
static inline bool subid_is_retry(uint32_t id) { return (id & 0xc0000000u) == SUBID_RETRY; }

/* Whether that part of a wish can be understood; *mark: 0: nothing is asked for. */
bool redeliver_wish(const struct wish *w, uint32_t *mark, const char **why);

/* Of a delivery with these identifiers, which is not of a group or queue: whether something is
 * asked for.  deadline_ms, most: 0 none. */
struct redelivery {
    uint64_t deadline_ms;
    uint32_t most;
};
bool redelivery_of(struct core *core, const struct inflight_entry *e, struct redelivery *out);

/* A delivery that asks for it was sent. */
void redeliver_arm(struct session *s, const struct inflight_entry *e);
/* Sends again what is due; now_ms of the next, UINT64_MAX: none. */
uint64_t redeliver_due(struct session *s);
/* PUBACK or PUBREC of a ghost has come: what came after it need not come again. */
void redeliver_answered(struct session *s, struct inflight_entry *ghost);
void redeliver_forget(struct session *s); /* the connection is gone: so are its ghosts */
/* deliver.c: the message of e once more; its packet identifier, 0: not now. */
uint16_t deliver_anew(struct cconn *c, struct inflight_entry *e);

#endif
