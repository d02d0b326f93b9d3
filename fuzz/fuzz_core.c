/* Fuzzes sequences of packets into a whole broker (tests/world.h): the input is a small program.
 * Its first byte sets the broker up; then each operation is a byte (five bits what, three bits
 * which connection) and its arguments.  A missing argument reads as 0, so every input is a program.
 * Besides crashes and leaks, what the broker sends must be packets, and it must come to rest. */
#include "base/rng.h"
#include "mqtt/packet.h"
#include "tests/world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CONNS = 8, OPS_MAX = 300, TIME_OPS_MAX = 40, SCRATCH = 4096, ANSWERS_MAX = 2000 };

struct end { /* a client's end */
    struct wconn *conn;
    unsigned version; /* 0: not known to be one, as raw bytes came first */
};

struct run {
    struct rd in;
    struct world *world;
    struct end ends[CONNS];
    uint8_t scratch[SCRATCH];
    unsigned times, answers;
    bool down;
};

/* ---- arguments ---- */

static uint8_t arg(struct run *r) { return rd_left(&r->in) ? rd_u8(&r->in) : 0; }
static struct bytes arg_bytes(struct run *r, size_t n)
{
    return rd_take(&r->in, min_u64(n, rd_left(&r->in)));
}

static const char *const ids[] = {"a", "b", "c", "d", "e", "", "longer-client-id", "\xc3\xa4"};
static const char *const topics[] = {"a",   "a/b",  "a/b/c", "b/b", "$d/x", "will", "r/1",
                                     "r/2", "$SYS", "",      "/",   "a//b", "x/+",  "\xff"};
static const char *const filters[] = {"a",
                                      "a/b",
                                      "a/+",
                                      "+/b",
                                      "#",
                                      "a/#",
                                      "$d/#",
                                      "r/+",
                                      "$share/g/a/b",
                                      "$share/g/#",
                                      "$share/h/+/b",
                                      "$share//a",
                                      "$share/+/a",
                                      "a/#/b",
                                      "will",
                                      "+",
                                      "",
                                      "$filter/x/a",
                                      "$queue/q/a",
                                      "$share/g",
                                      "/"};

static struct bytes pick(const char *const *list, size_t n, unsigned at)
{
    return bytes_str(list[at % n]);
}

static uint16_t pid_of(uint8_t b) { return b < 250 ? b % 12 : (uint16_t)(0xfff0 + b % 16); }

/* ---- what the broker sends ---- */

static void send_to(struct run *r, struct end *e, const uint8_t *end)
{
    if (e->conn) world_send(e->conn, bytes_of(r->scratch, (size_t)(end - r->scratch)));
}

static void answer(struct run *r, struct end *e, unsigned type, uint16_t pid)
{
    if (r->answers++ > ANSWERS_MAX) return;
    send_to(r, e,
            mqtt_ack_encode(r->scratch, e->version, type, pid, 0, (struct bytes){0},
                            (struct bytes){0}));
}

static void check_publish(struct run *r, struct end *e, const struct mqtt_frame *f,
                          struct bytes body, bool answers)
{
    struct mqtt_publish m;
    struct mqtt_props props;
    ASSERT(mqtt_publish_decode(e->version, f->flags, body, &m) == 0);
    if (e->version == MQTT_V5) ASSERT(mqtt_publish_props_from_server(&m, &props) == 0);
    if (answers && m.qos) answer(r, e, m.qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, m.packet_id);
}

static void check_packet(struct run *r, struct end *e, const struct mqtt_frame *f,
                         struct bytes body, bool answers)
{
    struct mqtt_ack a;
    struct mqtt_suback s;
    struct mqtt_connack c;
    struct mqtt_disconnect d;
    switch (f->type) {
    case MQTT_PUBLISH: check_publish(r, e, f, body, answers); break;
    case MQTT_CONNACK: ASSERT(mqtt_connack_decode(e->version, body, &c) == 0); break;
    case MQTT_SUBACK: ASSERT(mqtt_suback_decode(e->version, body, &s) == 0); break;
    case MQTT_UNSUBACK: ASSERT(mqtt_unsuback_decode(e->version, body, &s) == 0); break;
    case MQTT_PINGRESP: ASSERT(body.n == 0); break;
    case MQTT_DISCONNECT: ASSERT(mqtt_disconnect_decode(e->version, body, &d) == 0); break;
    default:
        ASSERT(f->type >= MQTT_PUBACK && f->type <= MQTT_PUBCOMP);
        ASSERT(mqtt_ack_decode(e->version, f->type, body, &a) == 0);
        if (!answers) break;
        if (f->type == MQTT_PUBREC) answer(r, e, MQTT_PUBREL, a.packet_id);
        if (f->type == MQTT_PUBREL) answer(r, e, MQTT_PUBCOMP, a.packet_id);
    }
}

/* Reads all that has come; answers it as a client would, or not. */
static void receive(struct run *r, struct end *e, bool answers)
{
    struct mqtt_frame f;
    while (e->conn) {
        struct bytes in = world_received(e->conn);
        int rc = mqtt_frame_peek(in, 0, &f);
        if (rc == E_AGAIN) return;
        ASSERT(rc == 0);
        if (e->version) check_packet(r, e, &f, bytes_of(in.p + f.head_len, f.body_len), answers);
        world_consume(e->conn, (size_t)f.head_len + f.body_len);
    }
}

/* ---- operations ---- */

static void drop(struct end *e)
{
    if (e->conn) world_drop(e->conn);
    *e = (struct end){0};
}

static void op_connect(struct run *r, struct end *e)
{
    uint8_t props[64], will_props[64], *p = props;
    unsigned flags = arg(r), more = arg(r), numbers = arg(r);
    static const uint32_t expiries[] = {0, 1, 30, UINT32_MAX};
    drop(e);
    e->conn = world_connect(r->world);
    e->version = MQTT_V31 + flags % 3;
    if (numbers & 3) p = mqtt_put_prop_u32(p, MQTT_P_SESSION_EXPIRY, expiries[numbers & 3]);
    if (numbers & 12) p = mqtt_put_prop_u16(p, MQTT_P_RECEIVE_MAX, (uint16_t)(numbers >> 2 & 3));
    if (numbers & 16) p = mqtt_put_prop_u16(p, MQTT_P_TOPIC_ALIAS_MAX, 3);
    if (numbers & 32) p = mqtt_put_prop_u32(p, MQTT_P_MAX_PACKET_SIZE, 1 + numbers);
    if (numbers & 64) p = mqtt_put_prop_u8(p, MQTT_P_REQUEST_PROBLEM, 0);
    struct mqtt_connect m = {.version = (uint8_t)e->version,
                             .clean_start = flags >> 2 & 1,
                             .has_will = flags >> 3 & 1,
                             .has_username = flags >> 4 & 1,
                             .keep_alive_s = numbers & 128 ? 3 : 0,
                             .client_id = pick(ids, ARRAY_LEN(ids), more),
                             .username = bytes_str("user"),
                             .password = bytes_str(numbers & 128 ? "wrong" : "secret"),
                             .props.raw = bytes_of(props, (size_t)(p - props))};
    m.has_password = flags >> 7 && (m.has_username || e->version == MQTT_V5);
    p = will_props;
    if (flags & 64) p = mqtt_put_prop_u32(p, MQTT_P_WILL_DELAY, 2);
    m.will.qos = more >> 3 & 3;
    if (m.will.qos == 3) m.will.qos = 2;
    m.will.retain = flags >> 5 & 1;
    m.will.topic = pick(topics, ARRAY_LEN(topics), more >> 4);
    m.will.payload = bytes_str("gone");
    m.will.props.raw = bytes_of(will_props, (size_t)(p - will_props));
    if (e->version != MQTT_V5) m.props.raw.n = m.will.props.raw.n = 0;
    send_to(r, e, mqtt_connect_encode(r->scratch, &m));
}

static void op_subscribe(struct run *r, struct end *e)
{
    unsigned count = 1 + arg(r) % 3, pid = arg(r), subid = arg(r);
    struct mqtt_subscription subs[3];
    uint8_t props[8], *p = props;
    for (unsigned i = 0; i < count; i++) {
        unsigned options = arg(r);
        subs[i] = (struct mqtt_subscription){.filter = pick(filters, ARRAY_LEN(filters), arg(r)),
                                             .qos = (options & 3) % 3,
                                             .no_local = options >> 2 & 1,
                                             .retain_as_published = options >> 3 & 1,
                                             .retain_handling = (options >> 4 & 3) % 3};
    }
    if (subid) p = mqtt_put_prop_varint(p, MQTT_P_SUBSCRIPTION_ID, subid);
    send_to(r, e,
            mqtt_subscribe_encode(r->scratch, e->version, pid_of((uint8_t)pid), subs, count,
                                  bytes_of(props, (size_t)(p - props))));
}

static void op_unsubscribe(struct run *r, struct end *e)
{
    uint16_t pid = pid_of(arg(r));
    struct bytes filter = pick(filters, ARRAY_LEN(filters), arg(r));
    send_to(r, e,
            mqtt_unsubscribe_encode(r->scratch, e->version, pid, &filter, 1, (struct bytes){0}));
}

static void op_publish(struct run *r, struct end *e)
{
    unsigned flags = arg(r), topic = arg(r), pid = arg(r), length = arg(r);
    uint8_t props[64], *p = props;
    static const uint8_t payload[1024];
    if (length & 64) p = mqtt_put_prop_user(p, bytes_str("key"), bytes_str("value"));
    if (length & 32) p = mqtt_put_prop_bytes(p, MQTT_P_RESPONSE_TOPIC, bytes_str("answer"));
    struct mqtt_publish_out m = {
        .topic = pick(topics, ARRAY_LEN(topics), topic),
        .payload = bytes_of(payload, length & 128 ? sizeof payload : (length & 31)),
        .props = bytes_of(props, (size_t)(p - props)),
        .expiry_s = flags & 128 ? flags >> 5 & 3 : MQTT_NO_EXPIRY,
        .alias = flags & 64 ? topic >> 4 : 0,
        .packet_id = flags & 6 ? pid_of((uint8_t)pid) : 0,
        .qos = flags >> 1 & 3,
        .retain = flags & 1,
        .dup = flags >> 3 & 1};
    if (e->version != MQTT_V5) m.props.n = m.alias = 0;
    if (m.qos == 3) m.qos = 2; /* a wrong one is for raw bytes */
    send_to(r, e, mqtt_publish_encode(r->scratch, e->version, &m));
}

static void op_ack(struct run *r, struct end *e)
{
    static const uint8_t reasons[] = {0, 0, 0, 0x10, 0x80, 0x92, 0x97};
    unsigned type = MQTT_PUBACK + arg(r) % 4;
    uint16_t pid = pid_of(arg(r));
    uint8_t reason = reasons[arg(r) % ARRAY_LEN(reasons)];
    send_to(r, e,
            mqtt_ack_encode(r->scratch, e->version, type, pid, reason, (struct bytes){0},
                            (struct bytes){0}));
}

static void op_small(struct run *r, struct end *e)
{
    unsigned kind = arg(r);
    uint8_t props[8], *p = props;
    if (kind % 4 == 0) send_to(r, e, mqtt_ping_encode(r->scratch, MQTT_PINGREQ));
    if (kind % 4 == 0) return;
    if (kind & 8) p = mqtt_put_prop_u32(p, MQTT_P_SESSION_EXPIRY, kind >> 4);
    unsigned type = kind % 4 == 3 ? MQTT_AUTH : MQTT_DISCONNECT;
    send_to(r, e,
            mqtt_disconnect_encode(r->scratch, type == MQTT_AUTH ? MQTT_V5 : e->version, type,
                                   kind & 4 ? 4 : 0, bytes_of(props, (size_t)(p - props))));
}

/* Bytes as they are, or as the body of a packet with a right length. */
static void op_raw(struct run *r, struct end *e, bool framed)
{
    unsigned first = framed ? arg(r) : 0;
    struct bytes b = arg_bytes(r, arg(r));
    if (e->conn == NULL) e->conn = world_connect(r->world);
    uint8_t *p = r->scratch;
    if (framed) p = put_varint(put_u8(p, first), (uint32_t)b.n);
    if (!framed || first >> 4 == MQTT_CONNECT) e->version = 0;
    send_to(r, e, put_mem(p, b));
}

static void op_time(struct run *r)
{
    unsigned b = arg(r);
    if (r->times++ < TIME_OPS_MAX) world_advance(r->world, (uint64_t)(b & 15) << (b >> 4));
}

static void op_settings(struct run *r)
{
    struct core_config *cfg = world_config(r->world);
    unsigned what = arg(r), value = arg(r);
    switch (what % 10) {
    case 0: cfg->max_inflight_messages = (uint16_t)(value % 8); break;
    case 1: cfg->max_queued_messages = value % 8; break;
    case 2: cfg->output_soft_bytes = 64 + value; break;
    case 3: cfg->output_hard_bytes = 1000 + value; break;
    case 4: cfg->queue_qos0_messages = value & 1; break;
    case 5: cfg->max_packet_size = 100 + value; break;
    case 6: cfg->retain_expiry_interval_s = value % 3; break;
    case 7: cfg->max_subscriptions = value % 4; break;
    case 8: cfg->max_retained_messages = value % 4; break;
    default: cfg->upgrade_outgoing_qos = value & 1;
    }
    world_configure(r->world);
}

static void op_own(struct run *r)
{
    unsigned b = arg(r);
    struct core *core = world_core(r->world, b % world_shards(r->world));
    if (b & 128)
        core_dump(core);
    else /* what it refuses is part of the test */
        (void)!core_publish(core, pick(topics, ARRAY_LEN(topics), b >> 2), bytes_str("x"),
                            (uint8_t)(b & 1), b & 2);
}

static void op_shutdown(struct run *r)
{
    if (!r->down) world_shutdown(r->world);
    r->down = true;
}

static void operate(struct run *r)
{
    unsigned op = arg(r);
    struct end *e = &r->ends[op >> 5];
    op &= 31;
    bool speaks = e->conn && e->version;
    switch (op) {
    case 0:
    case 1: op_connect(r, e); break;
    case 2: drop(e); break;
    case 3:
    case 4:
        if (speaks) op_subscribe(r, e);
        break;
    case 5:
        if (speaks) op_unsubscribe(r, e);
        break;
    case 6:
    case 7:
    case 8:
    case 9:
        if (speaks) op_publish(r, e);
        break;
    case 10:
    case 11:
        if (speaks) op_ack(r, e);
        break;
    case 12:
        if (speaks) op_small(r, e);
        break;
    case 13: op_raw(r, e, false); break;
    case 14: op_raw(r, e, true); break;
    case 15: op_time(r); break;
    case 16:
        for (unsigned n = 1 + arg(r) % 16; n > 0; n--) world_step(r->world);
        break;
    case 17: receive(r, e, true); break;
    case 18: receive(r, e, false); break;
    case 19:
        if (e->conn) world_room(e->conn, arg(r) * 8u);
        break;
    case 20:
        if (e->conn) world_room(e->conn, SIZE_MAX);
        break;
    case 21: op_settings(r); break;
    case 22: op_own(r); break;
    case 23: op_shutdown(r); break;
    default: world_run(r->world);
    }
    if (op >= 24 || op < 16) receive(r, e, op & 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct run r = {.in = rd_of(bytes_of(data, size))};
    unsigned setup = arg(&r);
    r.world = world_new(1 + setup % 3, NULL, setup >> 3);
    world_shuffle(r.world, setup >> 2 & 1);
    world_user(r.world, bytes_str("user"), bytes_str("secret"), 5000);
    world_listener(r.world)->checks_users = setup >> 6 & 1;
    world_logins(r.world, setup >> 7 ? 100 : 0, 3);
    for (unsigned i = 0; i < OPS_MAX && rd_left(&r.in); i++) operate(&r);
    for (unsigned round = 0; round < 3; round++) {
        world_run(r.world);
        for (unsigned i = 0; i < CONNS; i++) receive(&r, &r.ends[i], true);
    }
    world_free(r.world);
    return 0;
}
