/* Cutting packets out of a byte stream: the fixed header (5.0 section 2.1). */
#ifndef MQTT_FRAME_H
#define MQTT_FRAME_H

#include "mqtt/mqtt.h"

struct mqtt_frame {
    uint8_t type;  /* enum mqtt_type */
    uint8_t flags; /* low four bits of the first byte */
    uint32_t head_len, body_len;
};

/* Packet types whose reserved flags are 0010 (5.0 table 2-2); a PUBLISH has real ones. */
enum { MQTT_FLAG_TWO_TYPES = 1 << MQTT_PUBREL | 1 << MQTT_SUBSCRIBE | 1 << MQTT_UNSUBSCRIBE };

/* For mqtt_frame_peek(): a length of two to four bytes. */
MUST_USE int mqtt_frame_length(struct bytes in, uint32_t *head_len, uint32_t *body_len);

/* Looks at the packet that `in` starts with.
 * 0: it is there as a whole, head_len + body_len bytes of it.
 * E_AGAIN: more bytes are needed.
 * E_MALFORMED: type 0, AUTH before version 5 is left to the caller, wrong reserved flags
 *   [MQTT-2.1.3-1], or a length of more than four bytes.
 * E_TOO_LARGE: the whole packet would exceed max_packet (0 = no limit); told as soon as the length
 *   is read, so that nobody reserves memory by claiming a length. */
MUST_USE static inline int mqtt_frame_peek(struct bytes in, uint32_t max_packet,
                                           struct mqtt_frame *out)
{
    if (in.n < 2) return E_AGAIN;
    unsigned type = in.p[0] >> 4, flags = in.p[0] & 15u;
    unsigned due = MQTT_FLAG_TWO_TYPES >> type << 1 & 2; /* [MQTT-2.1.3-1] */
    if (UNLIKELY(type == 0 || (type != MQTT_PUBLISH && flags != due))) return E_MALFORMED;
    uint32_t head = 2, body = in.p[1];
    if (body > 127) {
        int rc = mqtt_frame_length(in, &head, &body);
        if (UNLIKELY(rc < 0)) return rc;
    }
    if (UNLIKELY(max_packet != 0 && head + body > max_packet)) return E_TOO_LARGE;
    out->type = (uint8_t)type;
    out->flags = (uint8_t)flags;
    out->head_len = head;
    out->body_len = body;
    return in.n - head >= body ? 0 : E_AGAIN;
}

#endif
