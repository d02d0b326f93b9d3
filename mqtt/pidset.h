/* Inbound QoS 2: packet identifiers between PUBLISH and PUBREL (4.3.3).  At most `limit` of them,
 * the Receive Maximum we announced [MQTT-3.3.4-7]. */
#ifndef MQTT_PIDSET_H
#define MQTT_PIDSET_H

#include "base/base.h"

struct pidset {
    uint16_t *ids; /* open addressing, 0 = empty */
    uint32_t mask, count;
};

bool pidset_has(const struct pidset *s, uint16_t id);
/* 0; E_EXISTS; E_NOMEM. */
MUST_USE int pidset_add(struct pidset *s, uint16_t id);
bool pidset_del(struct pidset *s, uint16_t id); /* whether it was there */
void pidset_fini(struct pidset *s);

#endif
