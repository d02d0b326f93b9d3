/* The scripted client of peer.h. */
#include "tests/sim/peer.h"

static void put(struct peer *p, uint8_t *d, const uint8_t *end)
{
    world_send(p->conn, bytes_of(d, (size_t)(end - d)));
}

static uint16_t pid(struct peer *p) { return ++p->next_pid ? p->next_pid : ++p->next_pid; }

void peer_connect(struct peer *p, struct world *w, const struct peer_connect *how)
{
    uint8_t props[32], will_props[32], d[512], *q = props;
    *p = (struct peer){.world = w, .conn = world_connect(w), .version = how->version};
    bool v5 = how->version == MQTT_V5;
    if (v5 && how->expiry_s) q = mqtt_put_prop_u32(q, MQTT_P_SESSION_EXPIRY, how->expiry_s);
    if (v5 && how->receive_max) q = mqtt_put_prop_u16(q, MQTT_P_RECEIVE_MAX, how->receive_max);
    if (v5 && how->alias_max) q = mqtt_put_prop_u16(q, MQTT_P_TOPIC_ALIAS_MAX, how->alias_max);
    struct mqtt_connect m = {.version = (uint8_t)how->version,
                             .clean_start = how->clean,
                             .has_will = how->will,
                             .has_username = how->user != NULL,
                             .has_password = how->user != NULL,
                             .username = bytes_str(how->user ? how->user : ""),
                             .password = bytes_str("secret"),
                             .client_id = bytes_str(how->id),
                             .props.raw = bytes_of(props, (size_t)(q - props))};
    m.will.topic = bytes_str("will");
    m.will.payload = bytes_str(how->id);
    m.will.qos = 1;
    m.will.retain = how->will_retain;
    q = will_props;
    if (v5 && how->will_delay_s) q = mqtt_put_prop_u32(q, MQTT_P_WILL_DELAY, how->will_delay_s);
    if (v5) q = mqtt_put_prop_user(q, bytes_str("k"), bytes_str("v"));
    m.will.props.raw = bytes_of(will_props, (size_t)(q - will_props));
    put(p, d, mqtt_connect_encode(d, &m));
}

void peer_subscribe(struct peer *p, const char *filter, unsigned qos, uint32_t subid)
{
    uint8_t props[8], d[256], *q = props;
    struct mqtt_subscription s = {.filter = bytes_str(filter), .qos = (uint8_t)qos};
    if (p->conn == NULL) return;
    if (subid && p->version == MQTT_V5) q = mqtt_put_prop_varint(q, MQTT_P_SUBSCRIPTION_ID, subid);
    put(p, d,
        mqtt_subscribe_encode(d, p->version, pid(p), &s, 1, bytes_of(props, (size_t)(q - props))));
}

void peer_unsubscribe(struct peer *p, const char *filter)
{
    uint8_t d[256];
    struct bytes f = bytes_str(filter);
    if (p->conn)
        put(p, d, mqtt_unsubscribe_encode(d, p->version, pid(p), &f, 1, (struct bytes){0}));
}

void peer_publish(struct peer *p, const char *topic, struct bytes payload, unsigned flags,
                  uint16_t alias)
{
    uint8_t props[32], *q = props;
    struct mqtt_publish_out o = {.topic = bytes_str(topic),
                                 .payload = payload,
                                 .expiry_s = MQTT_NO_EXPIRY,
                                 .alias = alias,
                                 .qos = flags >> 1 & 3,
                                 .retain = flags & PEER_RETAIN};
    if (p->conn == NULL) return;
    if (o.qos) o.packet_id = pid(p);
    if (p->version == MQTT_V5) q = mqtt_put_prop_user(q, bytes_str("k"), bytes_str("v"));
    o.props = bytes_of(props, (size_t)(q - props));
    uint8_t *d = malloc(mqtt_publish_size(p->version, &o));
    if (d == NULL) abort();
    put(p, d, mqtt_publish_encode(d, p->version, &o));
    free(d);
}

void peer_ping(struct peer *p)
{
    uint8_t d[MQTT_SMALL_MAX];
    if (p->conn) put(p, d, mqtt_ping_encode(d, MQTT_PINGREQ));
}

void peer_leave(struct peer *p)
{
    uint8_t d[MQTT_SMALL_MAX];
    if (p->conn == NULL) return;
    put(p, d, mqtt_disconnect_encode(d, p->version, MQTT_DISCONNECT, 0, (struct bytes){0}));
    world_run(p->world);
    peer_drop(p);
}

void peer_drop(struct peer *p)
{
    if (p->conn) world_drop(p->conn);
    p->conn = NULL;
}

static void answer(struct peer *p, unsigned type, uint16_t packet_id, uint8_t reason)
{
    uint8_t d[MQTT_ACK_MAX];
    struct bytes none = {0};
    put(p, d, mqtt_ack_encode(d, p->version, type, packet_id, reason, none, none));
}

static void on_publish(struct peer *p, const struct mqtt_frame *f, struct bytes body)
{
    struct mqtt_publish m;
    if (mqtt_publish_decode(p->version, f->flags, body, &m) < 0) return;
    size_t n = min_u64(m.topic.n, sizeof p->last_topic - 1);
    memcpy(p->last_topic, m.topic.p, n);
    p->last_topic[n] = 0;
    uint32_t letter = m.payload.n == 1 ? 1u << (m.payload.p[0] - 'a') % 32 : 0;
    p->letters |= letter;
    uint8_t reason = m.qos == 1 && letter & p->rejects ? MQTT_PAYLOAD_FORMAT_INVALID : 0;
    if (m.qos) answer(p, m.qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, m.packet_id, reason);
}

static bool read_one(struct peer *p)
{
    struct mqtt_frame f;
    struct bytes in = world_received(p->conn);
    if (mqtt_frame_peek(in, 0, &f) != 0) return false;
    struct bytes body = bytes_of(in.p + f.head_len, f.body_len);
    struct mqtt_ack a;
    p->got[f.type]++;
    if (f.type == MQTT_PUBLISH) on_publish(p, &f, body);
    if ((f.type == MQTT_PUBREC || f.type == MQTT_PUBREL) &&
        mqtt_ack_decode(p->version, f.type, body, &a) == 0)
        answer(p, f.type == MQTT_PUBREC ? MQTT_PUBREL : MQTT_PUBCOMP, a.packet_id, 0);
    world_consume(p->conn, f.head_len + f.body_len);
    return true;
}

void peers_run(struct peer *peers, size_t count)
{
    for (bool moved = true; moved;) {
        moved = false;
        if (count) world_run(peers[0].world);
        for (size_t i = 0; i < count; i++) {
            while (peers[i].conn && read_one(&peers[i])) moved = true;
            if (peers[i].conn && world_closed(peers[i].conn)) peer_drop(&peers[i]);
        }
    }
}
