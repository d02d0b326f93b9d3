/* Cutting packets out of a byte stream: the fixed header (5.0 section 2.1). */
#ifndef MQTT_FRAME_H
#define MQTT_FRAME_H

#include "mqtt/mqtt.h"

struct mqtt_frame {
    uint8_t type;  /* enum mqtt_type */
    uint8_t flags; /* low four bits of the first byte */
    uint32_t head_len, body_len;
};

/* Looks at the packet that `in` starts with.
 * 0: it is there as a whole, head_len + body_len bytes of it.
 * E_AGAIN: more bytes are needed.
 * E_MALFORMED: type 0, AUTH before version 5 is left to the caller, wrong reserved flags
 *   [MQTT-2.1.3-1], or a length of more than four bytes.
 * E_TOO_LARGE: the whole packet would exceed max_packet (0 = no limit); told as soon as the length
 *   is read, so that nobody reserves memory by claiming a length. */
MUST_USE int mqtt_frame_peek(struct bytes in, uint32_t max_packet, struct mqtt_frame *out);

#endif
