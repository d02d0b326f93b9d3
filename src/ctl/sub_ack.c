/* sluicectl sub: how messages are answered (--ack): at once, after a while, never, or with a no
 * that the broker of a queue understands (CONTRACT section 5).  One thread. */
#include "sub.h"

#include "base/clock.h"
#include "base/mem.h"

enum { IDS = UINT16_MAX + 1 };

int sub_ack_init(struct sub *s)
{
    /* A delivery under way has a packet identifier, so there are no more than those. */
    s->later = s->mode == ACK_DELAY ? mem_alloc(IDS * sizeof *s->later) : NULL;
    if (s->mode == ACK_DELAY && s->later == NULL) return ctl_fail(CTL_REFUSED, "out of memory");
    return 0;
}

void sub_ack_fini(struct sub *s) { mem_free(s->later); }

/* PUBACK or PUBREC. */
static int answer(struct sub *s, unsigned qos, uint16_t id, uint8_t reason)
{
    struct bytes props = buf_view(&s->o.props[PLACE_PUBACK]);
    if (qos == 2 && reason < 0x80 && !s->releasing[id]) {
        s->releasing[id] = true;
        s->releasing_count++;
    }
    return client_ack(&s->client, qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, id, reason, props);
}

int sub_ack(struct sub *s, const struct mqtt_publish *m)
{
    if (m->qos == 0 || s->mode == ACK_NONE) return 0;
    if (s->mode == ACK_REFUSE) return answer(s, m->qos, m->packet_id, s->reason);
    if (s->mode == ACK_AUTO) return answer(s, m->qos, m->packet_id, MQTT_SUCCESS);
    if (s->later_count == IDS) return 0; /* resent by the broker: it is in the ring already */
    s->later[(s->later_first + s->later_count++) % IDS] =
        (struct later_ack){clock_mono_ms() + (uint64_t)s->delay_ms, m->packet_id, m->qos};
    return 0;
}

int sub_ack_due(struct sub *s, uint64_t now_ms, uint64_t *next_ms)
{
    *next_ms = UINT64_MAX;
    while (s->later_count) {
        const struct later_ack *a = &s->later[s->later_first];
        if (a->due_ms > now_ms) {
            *next_ms = a->due_ms;
            return 0;
        }
        int rc = answer(s, a->qos, a->packet_id, MQTT_SUCCESS);
        if (rc) return rc;
        s->later_first = (s->later_first + 1) % IDS;
        s->later_count--;
    }
    return 0;
}

int sub_ack_release(struct sub *s, struct bytes body)
{
    struct mqtt_ack ack;
    if (mqtt_ack_decode(s->client.version, MQTT_PUBREL, body, &ack) < 0)
        return ctl_fail(CTL_UNREACHABLE, "the broker's PUBREL is not understood");
    if (s->releasing[ack.packet_id]) s->releasing_count--;
    s->releasing[ack.packet_id] = false;
    return client_ack(&s->client, MQTT_PUBCOMP, ack.packet_id, 0, bytes_of(NULL, 0));
}

bool sub_ack_pending(const struct sub *s) { return s->later_count > 0 || s->releasing_count > 0; }
