/* The fixed header's long lengths; what is on every packet's path is inline in frame.h.  No state;
 * any thread. */
#include "mqtt/frame.h"

enum { LENGTH_BYTES_MAX = 4 };

/* Unlike property lengths this takes padded forms (0x80 0x00): 3.1.1 allows them, and the version
 * is not known yet when a CONNECT is cut out. */
int mqtt_frame_length(struct bytes in, uint32_t *head_len, uint32_t *body_len)
{
    uint32_t value = 0;
    for (size_t i = 0; i < LENGTH_BYTES_MAX; i++) {
        if (1 + i >= in.n) return E_AGAIN;
        uint8_t b = in.p[1 + i];
        value |= (uint32_t)(b & 127) << (7 * i);
        if (b & 128) continue;
        *head_len = (uint32_t)(2 + i);
        *body_len = value;
        return 0;
    }
    return E_MALFORMED;
}
