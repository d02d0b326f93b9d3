/* Topic names and topic filters (5.0 section 4.7, shared subscriptions 4.8.2). */
#ifndef MQTT_TOPIC_H
#define MQTT_TOPIC_H

#include "mqtt/mqtt.h"

enum { MQTT_TOPIC_LEVELS_DEFAULT = 200, MQTT_TOPIC_MAX = 65535 };

/* A name: 1 to 65535 bytes [MQTT-4.7.3-1], UTF-8, no U+0000 [MQTT-4.7.3-2], no wildcard characters
 * [MQTT-3.3.2-2], at most max_levels levels. */
bool mqtt_topic_name_ok(struct bytes topic, unsigned max_levels);
/* A filter: as above, '#' alone in the last level [MQTT-4.7.1-1], '+' alone in its level
 * [MQTT-4.7.1-2]. */
bool mqtt_topic_filter_ok(struct bytes filter, unsigned max_levels);
bool mqtt_topic_has_wildcard(struct bytes filter);
/* Whether the name matches the filter; both valid.  A filter that starts with a wildcard does not
 * match names that start with '$' [MQTT-4.7.2-1]. */
bool mqtt_topic_matches(struct bytes filter, struct bytes topic);

/* Splits "$share/<group>/<filter>".  0: it is one and *group and *filter are set; E_NOTFOUND: not a
 * shared subscription; E_TOPIC_FILTER: malformed (empty group, wildcards in it [MQTT-4.8.2-1],
 * [MQTT-4.8.2-2], no filter).  The inner filter itself is not checked. */
MUST_USE int mqtt_share_split(struct bytes whole, struct bytes *group, struct bytes *filter);

#endif
