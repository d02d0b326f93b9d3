/* User properties by which a publisher tells the broker what to do with a message (CONTRACT section
 * 4).  They are not forwarded, so they do not lie among the message's properties but in a trailer
 * of it (msg.h), and deliveries need not look for them.  No state. */
#ifndef CORE_CONTROL_H
#define CORE_CONTROL_H

#include "mqtt/mqtt.h"
#include "mqtt/props.h"

/* Takes the control properties out of an encoded block: *props is what is left, in order, *control
 * the others; both lie in room, of at least props->n bytes.  Without any, nothing is written. */
void control_split(struct bytes *props, struct bytes *control, uint8_t *room);

enum { CONTROL_PRIORITY_MAX = 9, CONTROL_PRIORITY_DEFAULT = 4 };

struct control {
    uint8_t priority;           /* 0 to 9 */
    struct bytes key, dedup_id; /* n == 0: none */
    struct bytes delay;         /* as it was written; n == 0: none */
};

/* What they say: the first of each name counts; a priority that is no number is the default one. */
void control_read(struct bytes control, struct control *out);

/* A whole number of seconds, with at most three decimals: "5", "0.25".  In milliseconds; at most a
 * hundred years.  E_INVALID. */
MUST_USE int control_seconds(struct bytes text, uint64_t *ms);
/* A duration as directives have it (CONTRACT section 1): 500ms 30s 15m 12h 7d, or seconds as above.
 * E_INVALID. */
MUST_USE int control_duration(struct bytes text, uint64_t *ms);
/* A number of at most 18 digits.  E_INVALID. */
MUST_USE int control_number(struct bytes text, uint64_t *out);

/* The value of the first user property of this name; p == NULL: there is none. */
struct bytes control_find(struct bytes props, const char *name);

#endif
