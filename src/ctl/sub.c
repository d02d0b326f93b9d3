/* sluicectl sub: subscribes and prints what comes, until it has what it was told to wait for, the
 * broker ends it, or the user does.  One thread. */
#include "sub.h"

#include "base/clock.h"
#include "base/mem.h"
#include "mqtt/topic.h"
#include <stdio.h>

static bool has_all(const struct sub *s) { return s->count && s->printed >= (uint64_t)s->count; }

/* ---- what arrives ---- */

static bool is_mark(const struct sub *s, const struct mqtt_publish *m)
{
    return s->has_mark && bytes_eq(m->topic, bytes_str("$replay/end"));
}

static bool is_printed(const struct sub *s, const struct mqtt_publish *m)
{
    if (is_mark(s, m)) return s->wants_mark;
    if (s->no_retained && m->retain) return false;
    for (size_t i = 0; i < s->skipped_count; i++)
        if (mqtt_topic_matches(bytes_str(s->skipped[i]), m->topic)) return false;
    return true;
}

static int take_message(struct sub *s, const struct client_packet *packet)
{
    struct mqtt_publish m;
    struct mqtt_props props;
    int rc = mqtt_publish_decode(s->client.version, packet->flags, packet->body, &m);
    if (rc == 0) rc = mqtt_publish_props_from_server(&m, &props);
    if (rc == 0 && mqtt_has(&props, MQTT_P_TOPIC_ALIAS))
        rc = alias_in_resolve(&s->aliases, props.topic_alias, &m.topic);
    if (rc < 0)
        return ctl_fail(CTL_UNREACHABLE, "the broker's PUBLISH is not understood: %s",
                        err_name(rc));
    if (has_all(s)) return 0; /* leaving: it stays unanswered, and is not ours */
    if (m.qos == 2 && s->releasing[m.packet_id]) return sub_ack(s, &m); /* seen [MQTT-4.3.3-10] */
    if (is_mark(s, &m)) s->ended_spans++;
    if (is_printed(s, &m)) {
        s->printed++;
        rc = print_message(&s->print, &m, &props);
        if (rc) return rc;
    }
    return sub_ack(s, &m);
}

/* What the broker said of each topic. */
static int take_suback(struct sub *s, struct bytes body)
{
    struct mqtt_suback m;
    char text[REASON_TEXT_MAX];
    if (mqtt_suback_decode(s->client.version, body, &m) < 0 || m.reasons.n != s->topic_count)
        return ctl_fail(CTL_UNREACHABLE, "the broker's SUBACK is not understood");
    for (size_t i = 0; i < m.reasons.n; i++) {
        if (m.reasons.p[i] < 0x80) {
            s->granted++;
            continue;
        }
        s->refused++;
        client_reason(text, m.reasons.p[i], &m.props);
        ctl_fail(0, "'%s' was refused: %s", s->topics[i],
                 s->client.version == MQTT_V5 ? text : "MQTT 3 does not say why");
    }
    s->subscribed = true;
    return s->granted ? 0 : CTL_REFUSED;
}

static int take_packet(struct sub *s, const struct client_packet *packet)
{
    switch (packet->type) {
    case MQTT_PUBLISH: return take_message(s, packet);
    case MQTT_PUBREL: return sub_ack_release(s, packet->body);
    case MQTT_SUBACK: return take_suback(s, packet->body);
    default: return 0;
    }
}

/* ---- its life ---- */

static int subscribe(struct sub *s)
{
    struct bytes filters[SUB_TOPICS_MAX];
    struct mqtt_subscription subs[SUB_TOPICS_MAX];
    for (size_t i = 0; i < s->unsubscribed_count; i++) filters[i] = bytes_str(s->unsubscribed[i]);
    int rc = 0;
    if (s->unsubscribed_count) rc = client_unsubscribe(&s->client, filters, s->unsubscribed_count);
    for (size_t i = 0; i < s->topic_count; i++)
        subs[i] =
            (struct mqtt_subscription){.filter = bytes_str(s->topics[i]), .qos = (uint8_t)s->qos};
    if (rc == 0 && s->topic_count) rc = client_subscribe(&s->client, subs, s->topic_count);
    s->subscribed = s->topic_count == 0;
    return rc;
}

static bool is_done(const struct sub *s)
{
    if (s->leaves_when_subscribed && s->subscribed) return true;
    bool over = s->has_span && s->subscribed && s->ended_spans >= s->granted;
    return (over || has_all(s)) && !sub_ack_pending(s);
}

/* The time of -W is over. */
static int timed_out(const struct sub *s)
{
    if (s->count == 0 && !s->leaves_when_subscribed) return CTL_DONE;
    if (s->count)
        return ctl_fail(CTL_REFUSED, "timed out: %llu of %lld messages",
                        (unsigned long long)s->printed, (long long)s->count);
    return ctl_fail(CTL_REFUSED, "timed out");
}

static int run(struct sub *s)
{
    struct client_packet packet;
    uint64_t end_ms = s->wait_ms ? clock_mono_ms() + (uint64_t)s->wait_ms : UINT64_MAX;
    int rc = subscribe(s);
    while (rc == 0) {
        uint64_t next_ms, now = clock_mono_ms();
        rc = sub_ack_due(s, now, &next_ms);
        if (rc || is_done(s)) break;
        if (now >= end_ms) return timed_out(s);
        switch (client_wait(&s->client, min_u64(next_ms, end_ms), -1, &packet)) {
        case CLIENT_PACKET: rc = take_packet(s, &packet); break;
        case CLIENT_IDLE: break;
        case CLIENT_SIGNAL: return CTL_DONE;
        case CLIENT_ENDED: return s->client.code;
        }
    }
    return rc;
}

/* As many as we announced; the option is there for who wants to see aliases at work. */
static uint16_t alias_max(const struct client_options *o)
{
    struct mqtt_prop prop;
    struct bytes connect = buf_view(&o->props[PLACE_CONNECT]);
    for (size_t at = 0; mqtt_props_next(connect, &at, &prop);)
        if (prop.id == MQTT_P_TOPIC_ALIAS_MAX) return (uint16_t)prop.number;
    return 0;
}

static int connect_and_run(struct sub *s)
{
    int code = sub_ack_init(s);
    if (code) return code;
    alias_in_init(&s->aliases, alias_max(&s->o));
    code = client_open(&s->client, &s->o);
    if (code == 0) code = run(s);
    code = client_close(&s->client, code);
    alias_in_fini(&s->aliases);
    sub_ack_fini(s);
    return code;
}

int ctl_sub(bool json, unsigned count, char **words)
{
    bool help;
    struct sub *s = mem_calloc(1, sizeof *s);
    if (s == NULL) return ctl_fail(CTL_REFUSED, "out of memory");
    client_options_init(&s->o);
    s->o.json = json;
    s->qos = -1;
    int code = sub_options(s, count, words, &help);
    if (code == 0 && !help) code = connect_and_run(s);
    client_options_fini(&s->o);
    mem_free(s);
    return code;
}
