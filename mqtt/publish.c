/* PUBLISH (5.0 section 3.3): the parts of decoding that are not on every message's path; the others
 * are inline in packet.h.  No state; any thread. */
#include "mqtt/read.h"

int mqtt_publish_props_from_server(const struct mqtt_publish *pub, struct mqtt_props *out)
{
    int rc = props_parse(pub->props, MQTT_PUBLISH, out);
    if (rc < 0) return rc;
    return props_response_topic_ok(out) ? 0 : E_PROTOCOL; /* [MQTT-3.3.2-14] */
}

int mqtt_publish_props(const struct mqtt_publish *pub, struct mqtt_props *out)
{
    int rc = mqtt_publish_props_from_server(pub, out);
    if (rc < 0) return rc;
    return mqtt_has(out, MQTT_P_SUBSCRIPTION_ID) ? E_PROTOCOL : 0; /* [MQTT-3.3.4-6] */
}
