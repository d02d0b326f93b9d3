/* Topic aliases (3.3.2.3.4).  They live as long as the network connection [MQTT-3.3.2-7]. */
#ifndef MQTT_ALIAS_H
#define MQTT_ALIAS_H

#include "mqtt/mqtt.h"

/* Inbound: what the client has told us. */
struct alias_in {
    struct bytes *topics; /* owned copies, index alias - 1; grows up to max */
    uint32_t count;
    uint16_t max; /* the Topic Alias Maximum we announced; 0 = none */
};
void alias_in_init(struct alias_in *a, uint16_t max);
void alias_in_fini(struct alias_in *a);
/* Resolves a PUBLISH: topic given -> remembered; topic empty -> looked up (borrowed until that
 * alias is set anew).  E_TOPIC_ALIAS: 0 or above max [MQTT-3.3.2-8], [MQTT-3.3.2-9]; E_PROTOCOL:
 * empty topic with an unknown alias; E_NOMEM. */
MUST_USE int alias_in_resolve(struct alias_in *a, uint16_t alias, struct bytes *topic);

/* Outbound: first come, first served up to min(the client's maximum, ours); a client's topics are
 * few. */
struct alias_out {
    struct alias_out_entry *entries;
    uint16_t count, max;
};
void alias_out_init(struct alias_out *a, uint16_t max);
void alias_out_fini(struct alias_out *a);
/* The alias to send for topic, 0 for none.  *known: the peer has it already, so the topic may be
 * empty; else send topic and alias together. */
uint16_t alias_out_get(struct alias_out *a, struct bytes topic, bool *known);

#endif
