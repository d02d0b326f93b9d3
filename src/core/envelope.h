/* The envelope: attributes in the topic, for publishers that have no properties (CONTRACT section
 * 4).  Any version, and wills too.
 *
 *   $pub/site=paris&temp=21%2E5&ttl=60/sensors/1
 *        `----------------------------' `-------'
 *          user properties, Message      the topic
 *          Expiry
 *
 * Pure views and encoding; no state. */
#ifndef CORE_ENVELOPE_H
#define CORE_ENVELOPE_H

#include "base/bytes.h"
#include "base/err.h"

enum {
    ENVELOPE_MAX = 8192,     /* bytes of k=v&k=v, as of a filter */
    ENVELOPE_KEYS_MAX = 100, /* attributes */
};

struct envelope {
    struct bytes topic;  /* what is behind it; a view */
    struct bytes props;  /* user properties, encoded, in their order; in the caller's memory */
    uint32_t expiry_s;   /* of `ttl`; MQTT_NO_EXPIRY: it has none */
    const char *problem; /* after E_INVALID: what is wrong, a constant */
};

static inline bool envelope_is(struct bytes topic) { return bytes_starts(topic, "$pub/"); }

/* Bytes that the properties of this topic take at most. */
static inline size_t envelope_room(struct bytes topic)
{
    return min_u64(topic.n, ENVELOPE_MAX) + 5 * (size_t)ENVELOPE_KEYS_MAX;
}

/* Opens a topic that is one and is valid UTF-8; d has envelope_room().  The topic behind it is not
 * checked.  E_INVALID: it is broken, or over a limit; only `problem` is set. */
MUST_USE int envelope_open(struct bytes whole, uint8_t *d, struct envelope *out);

#endif
