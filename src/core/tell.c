/* See tell.h. */
#include "core/tell.h"

#include "core/redeliver.h"

#include "base/rfc3339.h"

#include <inttypes.h>
#include <stdio.h>

enum { TELL_MAX = 128 }; /* bytes of all three properties */

bool tell_asked(const uint32_t **ids, uint32_t *count, uint32_t *room)
{
    uint32_t kept = 0, n = *count;
    bool told = false;
    for (uint32_t i = 0; i < n; i++) {
        told |= (*ids)[i] == SUBID_TOLD;
        if (!subid_is_retry((*ids)[i])) room[kept++] = (*ids)[i]; /* SUBID_TOLD is one, too */
    }
    if (kept == n) return false;
    *ids = room;
    *count = kept;
    return told;
}

uint32_t tell_plain(struct core *core, uint32_t subid)
{
    uint32_t room[SUBID_MAX], count;
    const uint32_t *ids = subid_list(core, &subid, &count);
    (void)tell_asked(&ids, &count, room);
    return count ? ids[0] : 0;
}

int tell_props(struct core *core, const struct tell *t, struct bytes *props)
{
    if (t->seq == 0 && t->attempt < 2) return 0;
    uint8_t *start = core_scratch(core, SCRATCH_TELL, props->n + TELL_MAX);
    if (start == NULL) return E_NOMEM;
    char text[RFC3339_SIZE];
    uint8_t *d = put_mem(start, *props);
    if (t->seq) {
        snprintf(text, sizeof text, "%" PRIu64, t->seq);
        d = mqtt_put_prop_user(d, bytes_str("sluice-seq"), bytes_str(text));
    }
    if (t->seq && t->time_ms) {
        rfc3339_put(text, t->time_ms);
        d = mqtt_put_prop_user(d, bytes_str("sluice-ts"), bytes_str(text));
    }
    if (t->attempt > 1) {
        snprintf(text, sizeof text, "%" PRIu32, t->attempt);
        d = mqtt_put_prop_user(d, bytes_str("sluice-attempt"), bytes_str(text));
    }
    *props = bytes_of(start, (size_t)(d - start));
    return 0;
}
