/* PUBLISH from a client: checks, QoS handshake with the publisher, and the acknowledgements that
 * wait for the store (DESIGN section 4: PUBACK and PUBREC mean that the message is safe).  The
 * shard's thread.
 *
 * The pending ring is ordered by sequence, as this shard's appends are:
 *   append -> seq 7, 8, 9 -> pending [7 8 9] -> store_poll() = 8 -> PUBACK for 7 and 8
 */
#include "core/access.h"
#include "core/control.h"
#include "core/core_int.h"
#include "core/dead.h"
#include "core/dedup.h"
#include "core/delayed.h"
#include "core/envelope.h"
#include "core/history.h"
#include "core/journal.h"
#include "core/mailbox.h"
#include "core/queue.h"
#include "core/replay.h"
#include "core/retained.h"

bool topic_is_reserved(struct bytes topic)
{
    /* With and without what follows, since `$dead/#` has `$dead` as well. */
    static const char *const names[] = {"$SYS",  "$share", "$filter", "$replay",
                                        "$dead", "$queue", "$pub",    "$delayed"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (bytes_starts(topic, names[i]) &&
            (topic.n == strlen(names[i]) || topic.p[strlen(names[i])] == '/'))
            return true;
    return false;
}

/* What recovery has to know of a message beside itself. */
static struct bytes put_prefix(const struct core *core, const struct pub *p, uint8_t *start)
{
    const struct session *from = p->from && p->from->logged ? p->from : NULL;
    unsigned flags = (p->later ? PREFIX_LATER : 0u) | (from ? PREFIX_FROM : 0u) |
                     (from && p->in2_id ? PREFIX_IN2 : 0u) |
                     (from && p->is_will ? PREFIX_WILL : 0u) |
                     (p->remote && !p->later && pub_is_tracked(core, p) ? PREFIX_REMOTE : 0u) |
                     (p->buries_of ? PREFIX_BURIES : 0u) | (p->only ? PREFIX_ONLY : 0u) |
                     (p->undead ? PREFIX_UNDEAD : 0u);
    if (!core->journaling || flags == 0) return (struct bytes){0};
    uint8_t *d = put_u8(start, flags);
    if (flags & PREFIX_REMOTE) d = mail_put_u64(d, p->remote);
    if (flags & PREFIX_FROM) d = mail_put_u64(d, from->sid);
    if (flags & PREFIX_IN2) d = put_u16(d, p->in2_id);
    if (flags & PREFIX_BURIES) d = mail_put_u64(mail_put_u64(d, p->buries), p->buries_of);
    if (flags & PREFIX_ONLY) d = mail_put_u64(d, p->only);
    if (flags & PREFIX_UNDEAD) d = mail_put_u64(d, p->undead);
    return bytes_of(start, (size_t)(d - start));
}

int pub_store(struct core *core, struct pub *p)
{
    uint8_t prefix[STORE_PREFIX_MAX];
    p->named = true;
    struct blob *b = pub_blob(p);
    if (b == NULL) return E_NOMEM;
    if (UNLIKELY(core->journal_ordered)) journal_flush(core);
    int rc = store_append(core->store, put_prefix(core, p, prefix), b, &p->seq);
    if (rc < 0) return rc;
    msg_of(b)->seq = core->appended_seq = p->seq;
    if (UNLIKELY(p->history)) history_added(core, p->history, pub_size(p));
    return 0;
}

/* ---- acknowledgements that wait ---- */

static struct pending *pending_at(struct core *core, uint32_t i)
{
    return &core->pending[(core->pending_head + i) & (core->pending_cap - 1)];
}

static int pending_room(struct core *core)
{
    if (core->pending_count < core->pending_cap) return 0;
    if (core->pending_cap >= PENDING_MAX) return E_FULL;
    uint32_t cap = core->pending_cap ? core->pending_cap * 2 : 64;
    struct pending *ring = mem_alloc(cap * sizeof *ring);
    if (ring == NULL) return E_NOMEM;
    for (uint32_t i = 0; i < core->pending_count; i++) ring[i] = *pending_at(core, i);
    mem_free(core->pending);
    core->pending = ring;
    core->pending_cap = cap;
    core->pending_head = 0;
    return 0;
}

static struct pending *pending_find(struct core *core, session_id session, uint16_t packet_id)
{
    for (uint32_t i = 0; i < core->pending_count; i++) {
        struct pending *w = pending_at(core, i);
        if (w->session == session && w->packet_id == packet_id && w->type == MQTT_PUBREC) return w;
    }
    return NULL;
}

static void route_stored(struct core *core, struct session *s, const struct pending *w)
{
    struct pub p;
    pub_of_blob(core, w->blob, &p);
    p.from = s;
    p.origin_session = w->session;
    if (s) s->later_count--;
    const struct route *r = route_get(core, p.topic, p.hash);
    journal_routed(core, p.seq, r->remote);
    router_publish(core, &p, r);
}

static void pending_release(struct core *core, struct pending *w)
{
    if (w->type == MQTT_SUBACK) {
        fence_answered(core, w->epoch);
        return;
    }
    struct session *s = core_session(core, w->session);
    if (w->route) route_stored(core, s, w);
    blob_unref(w->blob);
    struct cconn *c = s ? s->conn : NULL;
    bool journaled = w->type == MQTT_PUBLISH || w->type == MQTT_PUBREL || w->type == MQTT_PUBCOMP;
    if (s && journaled && --s->unsafe_count == 0 && c && s->unsent_count)
        conn_ready(c, CORE_EV_OUTPUT);
    if (c == NULL || s->epoch != w->epoch) return;
    if (w->type == MQTT_PUBACK) c->inbound--; /* QoS 2 is counted by in2, up to PUBREL */
    if (w->type == MQTT_CONNACK && c->state == CONN_ENTERING) conn_enter(c);
    if (c->state != CONN_UP || w->type == MQTT_CONNACK) return;
    if (w->type == MQTT_PUBLISH)
        deliver_held(c, w->packet_id);
    else if (w->duplicate)
        conn_send_duplicate(c, w->type, w->packet_id);
    else if (w->type)
        conn_send_ack(c, w->type, w->packet_id, w->reason, NULL);
}

/* Whether what is to be routed now can be posted. */
static bool may_release(struct core *core, const struct pending *w)
{
    struct pub p;
    if (LIKELY(!w->route || core->shards == 1)) return true;
    pub_of_blob(core, w->blob, &p);
    uint64_t shards = mail_shards(core, &p, route_get(core, p.topic, p.hash));
    return mail_room(core, shards, mail_pub_size(&p));
}

static int pending_push(struct core *core, struct pending w)
{
    int rc = pending_room(core);
    if (rc < 0) return rc;
    core->unsealed_count += w.seq == PENDING_UNSEALED;
    *pending_at(core, core->pending_count++) = w;
    return 0;
}

void pending_journal(struct cconn *c, unsigned type, uint16_t packet_id, uint8_t reason)
{
    struct pending w = {.seq = PENDING_UNSEALED,
                        .session = c->session->id,
                        .epoch = c->session->epoch,
                        .packet_id = packet_id,
                        .type = (uint8_t)type,
                        .reason = reason};
    if (pending_push(c->core, w) < 0)
        conn_end(c, MQTT_SERVER_BUSY, "disconnected: out of memory");
    else
        c->session->unsafe_count += type != MQTT_CONNACK;
}

int pending_fence(struct core *core, uint32_t token)
{
    return pending_push(
        core, (struct pending){.seq = PENDING_UNSEALED, .epoch = token, .type = MQTT_SUBACK});
}

int pending_after_routed(struct core *core, uint32_t token)
{
    if (core->pending_count == 0) return E_NOTFOUND;
    uint64_t last =
        core->unsealed_count ? PENDING_UNSEALED : pending_at(core, core->pending_count - 1)->seq;
    return pending_push(core, (struct pending){.seq = last, .epoch = token, .type = MQTT_SUBACK});
}

bool pending_routed(const struct core *core, uint64_t seq)
{
    for (uint32_t i = 0; i < core->pending_count; i++) {
        const struct pending *w =
            &core->pending[(core->pending_head + i) & (core->pending_cap - 1)];
        /* Messages are in order; what waits for a journal may stand before an older message. */
        if (w->route) return w->seq >= seq;
    }
    return true;
}

void pending_sealed(struct core *core, uint64_t seq)
{
    for (uint32_t i = core->pending_count; core->unsealed_count; i--) {
        struct pending *w = pending_at(core, i - 1);
        if (w->seq != PENDING_UNSEALED) continue;
        w->seq = seq;
        core->unsealed_count--;
    }
}

bool core_store_news(const struct core *core)
{
    if (core->pending_count == 0 && list_empty(&core->fetching) && core->queue_late == NULL &&
        !wqueue_has_work(core) && !dead_has_work(core) && !delayed_has_work(core))
        return false;
    return store_poll(core->store) != core->polled;
}

void core_flush(struct core *core)
{
    replays_flush(core);
    if (core->journaling && (buf_len(&core->journal) || core->unsealed_count)) journal_flush(core);
    if (core_flushed(core) && !core->drops_wait) store_release(core->store);
    store_flush(core->store);
}

bool core_flushed(const struct core *core) { return buf_len(&core->journal) == 0; }

bool core_mail_held(const struct core *core) { return !core_flushed(core) && !core->log_full; }

bool core_settle(struct core *core)
{
    checkpoint_tick(core);
    uint64_t safe = core->polled = store_poll(core->store);
    while (core->pending_count && pending_at(core, 0)->seq <= safe) {
        struct pending w = *pending_at(core, 0);
        if (!may_release(core, &w)) break;
        core->pending_head = (core->pending_head + 1) & (core->pending_cap - 1);
        core->pending_count--;
        pending_release(core, &w);
    }
    while (!list_empty(&core->fetching)) {
        struct cconn *c = CONTAINER_OF(core->fetching.next, struct cconn, fetching);
        list_del(&c->fetching);
        if (!c->blocked) conn_ready(c, CORE_EV_OUTPUT);
    }
    if (UNLIKELY(core->queue_late != NULL)) wqueue_say(core, safe);
    mailbox_self(core);
    if (UNLIKELY(delayed_has_work(core)) && delayed_settle(core)) mailbox_self(core);
    if (UNLIKELY(dead_has_work(core)) && dead_settle(core)) mailbox_self(core);
    if (UNLIKELY(wqueue_has_work(core)) && wqueue_settle(core)) mailbox_self(core);
    while (!list_empty(&core->store_waiters) && !store_crowded(core->store))
        conn_resume(CONTAINER_OF(core->store_waiters.next, struct cconn, waiting));
    core_flush(core); /* before the mail leaves, so that no shard logs what follows before us */
    if (UNLIKELY(core->log_full)) conn_enter_unsafe(core);
    return core->pending_count > 0 || core->queue_late != NULL || wqueue_has_work(core) ||
           dead_has_work(core) || delayed_has_work(core);
}

void pending_free(struct core *core)
{
    for (uint32_t i = 0; i < core->pending_count; i++) blob_unref(pending_at(core, i)->blob);
    core->pending_count = 0;
}

/* ---- one PUBLISH ---- */

struct inbound {
    struct mqtt_publish m;
    struct pub pub;
    const struct route *route;
    uint64_t delay_ms;  /* it is published so much later */
    uint8_t delay_bad;  /* the reason for which the delay is refused; 0: it is right */
    bool duplicate;     /* a queue has had it before: the publisher is told */
    const char *broken; /* what is wrong with its envelope; NULL: it has none, or a right one */
};

static void answer(struct cconn *c, const struct inbound *in, uint8_t reason, const char *why)
{
    if (in->m.qos == 0) return;
    if (in->duplicate && reason < MQTT_UNSPECIFIED_ERROR) {
        conn_send_duplicate(c, in->m.qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, in->m.packet_id);
        return;
    }
    conn_send_ack(c, in->m.qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, in->m.packet_id, reason, why);
}

/* A publish that is refused by itself: MQTT 5 is told, 3.x is acknowledged [MQTT-3.3.5-2]. */
static int turn_down(struct cconn *c, const struct inbound *in, uint8_t reason, const char *why)
{
    c->core->stats.publish_dropped++;
    if (c->version == MQTT_V5) {
        answer(c, in, reason, why);
        return 0;
    }
    if (in->m.qos == 2 && pidset_add(&c->session->in2, in->m.packet_id) == E_NOMEM) return E_NOMEM;
    if (in->m.qos == 2) journal_id(c->session, J_IN2, in->m.packet_id);
    answer(c, in, 0, NULL);
    return 0;
}

static int refuse(struct cconn *c, const struct inbound *in, uint8_t reason, const char *why)
{
    struct core *core = c->core;
    if (!c->refused_logged) {
        c->refused_logged = true;
        core_log(core, LOG_T_WARNING, "Client %s: publish to %.*s refused: %s.",
                 c->session->client_id, (int)min_u64(in->m.topic.n, 200),
                 (const char *)in->m.topic.p, why);
    }
    return turn_down(c, in, reason, why);
}

/* Properties and alias of a v5 PUBLISH. */
static int read_props(struct cconn *c, struct inbound *in, struct mqtt_props *props)
{
    struct core *core = c->core;
    props->present = 0;
    if (in->m.props.n == 0) return in->m.topic.n ? 0 : E_PROTOCOL;
    int rc = mqtt_publish_props(&in->m, props);
    if (rc < 0) return rc;
    if (mqtt_has(props, MQTT_P_TOPIC_ALIAS)) {
        rc = alias_in_resolve(&c->alias_in, props->topic_alias, &in->m.topic);
        if (rc < 0) return rc;
    }
    if (in->m.topic.n == 0) return E_PROTOCOL; /* 3.3.2.3.4 */
    if (mqtt_has(props, MQTT_P_MESSAGE_EXPIRY)) in->pub.expiry_s = props->message_expiry;
    uint8_t *d = core_scratch(core, SCRATCH_PROPS, 2 * in->m.props.n);
    if (d == NULL) return E_NOMEM;
    in->pub.props = bytes_of(d, mqtt_props_forward(in->m.props, d));
    if (in->pub.props.n > MSG_PROPS_MAX) return E_TOO_LARGE;
    if (props->user_count) control_split(&in->pub.props, &in->pub.control, d + in->m.props.n);
    return 0;
}

/* What is in the topic's envelope is appended to the properties.  A broken one stays, and is
 * refused with the other topics that are not for clients to publish to: check_limits(). */
static int open_envelope(struct cconn *c, struct inbound *in)
{
    struct envelope e;
    struct bytes topic = in->m.topic;
    if (!bytes_is_utf8(topic)) return E_MALFORMED; /* [MQTT-1.5.4-1] */
    size_t room = in->m.props.n + envelope_room(topic);
    uint8_t *d = core_scratch(c->core, SCRATCH_PROPS, 2 * room);
    if (d == NULL) return E_NOMEM;
    size_t own = mqtt_props_forward(in->m.props, d);
    in->pub.props = bytes_of(d, own);
    if (envelope_open(topic, d + own, &e) < 0) {
        c->core->stats.refused_envelopes++;
        in->broken = e.problem;
        return 0;
    }
    in->m.topic = e.topic;
    in->pub.props.n = own + e.props.n;
    if (in->pub.props.n > MSG_PROPS_MAX) return E_TOO_LARGE;
    control_split(&in->pub.props, &in->pub.control, d + room);
    in->pub.expiry_s = (uint32_t)min_u64(in->pub.expiry_s, e.expiry_s);
    return 0;
}

static int mount(struct cconn *c, struct inbound *in)
{
    struct bytes prefix = bytes_str(c->listener->mount_point);
    if (prefix.n + in->m.topic.n > MQTT_TOPIC_MAX) return E_TOPIC_NAME;
    uint8_t *d = core_scratch(c->core, SCRATCH_TOPIC, prefix.n + in->m.topic.n);
    if (d == NULL) return E_NOMEM;
    put_mem(put_mem(d, prefix), in->m.topic);
    in->pub.topic = bytes_of(d, prefix.n + in->m.topic.n);
    return 0;
}

/* The topic's route.  One that is cached proves that the name is valid, so only others are looked
 * at. */
static int find_route(struct cconn *c, struct inbound *in)
{
    struct core *core = c->core;
    in->pub.topic = in->m.topic;
    if (UNLIKELY(c->listener->mount_point[0])) {
        int rc = mount(c, in);
        if (rc < 0) return rc;
    }
    in->pub.hash = hash_bytes(in->pub.topic, core->seed);
    in->route = route_cached(core, in->pub.topic, in->pub.hash);
    if (LIKELY(in->route != NULL)) return 0;
    if (!mqtt_topic_name_ok(in->pub.topic, core->cfg.max_topic_levels))
        return bytes_is_utf8(in->m.topic) ? E_TOPIC_NAME
                                          : E_MALFORMED; /* [MQTT-1.5.4-1], [MQTT-3.3.2-2] */
    in->route = route_get(core, in->pub.topic, in->pub.hash);
    return 0;
}

/* What a consumer says of a delivery of a work queue. */
static int take_command(struct cconn *c, const struct inbound *in)
{
    const char *why;
    uint8_t reason = wqueue_command(c, in->m.topic, in->pub.props, &why);
    if (reason == MQTT_NOT_AUTHORIZED) c->core->stats.denied_publish++;
    if (reason) return refuse(c, in, reason, why);
    if (in->m.qos == 2) {
        if (pidset_add(&c->session->in2, in->m.packet_id) == E_NOMEM) return E_NOMEM;
        journal_id(c->session, J_IN2, in->m.packet_id);
    }
    answer(c, in, 0, NULL);
    return 0;
}

/* What this listener or configuration does not take.  0: go on; E_AGAIN: answered, done. */
static int check_limits(struct cconn *c, struct inbound *in, const struct mqtt_props *props)
{
    const struct core_config *cfg = &c->core->cfg;
    if (in->m.qos > c->listener->max_qos) {
        conn_end(c, MQTT_QOS_NOT_SUPPORTED,
                 "disconnected: QoS not supported"); /* [MQTT-3.2.2-11] */
        return E_AGAIN;
    }
    if (in->m.retain && !cfg->retain_available) {
        conn_end(c, MQTT_RETAIN_NOT_SUPPORTED,
                 "disconnected: retain not supported"); /* [MQTT-3.2.2-14] */
        return E_AGAIN;
    }
    if (cfg->message_size_limit && in->m.payload.n > cfg->message_size_limit) {
        /* PUBACK and PUBREC know no 0x95 (tables 3-4, 3-5). */
        int rc = refuse(c, in, MQTT_QUOTA_EXCEEDED, "larger than message_size_limit");
        return rc < 0 ? rc : E_AGAIN;
    }
    if (in->m.topic.p[0] == '$' && bytes_starts(in->m.topic, "$queue/")) {
        int rc = take_command(c, in);
        return rc < 0 ? rc : E_AGAIN;
    }
    if (in->delay_bad) {
        int rc =
            refuse(c, in, in->delay_bad, "the delay is not a number of seconds, or a duration");
        return rc < 0 ? rc : E_AGAIN;
    }
    if (in->m.topic.p[0] == '$' && topic_is_reserved(in->m.topic)) {
        const char *why = in->broken ? in->broken : "this topic is not for clients to publish to";
        int rc = refuse(c, in, MQTT_TOPIC_NAME_INVALID, why);
        return rc < 0 ? rc : E_AGAIN;
    }
    if (mqtt_has(props, MQTT_P_PAYLOAD_FORMAT) && props->payload_format == 1 &&
        !bytes_is_utf8(in->m.payload)) {
        if (in->m.qos == 0) return E_PAYLOAD_FORMAT;
        int rc = refuse(c, in, MQTT_PAYLOAD_FORMAT_INVALID,
                        "the payload is not UTF-8 as its format indicator says");
        return rc < 0 ? rc : E_AGAIN;
    }
    return 0;
}

/* 0: it may; E_AGAIN: answered, done.  The log line is mosquitto's, but once a client. */
static int check_access(struct cconn *c, const struct inbound *in)
{
    struct core *core = c->core;
    struct bytes topic = in->pub.topic;
    if (access_may(c, topic, in->pub.hash, ACL_WRITE)) return 0;
    core->stats.denied_publish++;
    if (!c->denied_logged)
        core_log(core, LOG_T_NOTICE,
                 "Denied PUBLISH from %s (d%d, q%d, r%d, m%u, '%.*s', ... (%zu bytes))",
                 c->session->client_id, in->m.dup, in->m.qos, in->m.retain,
                 in->m.qos ? in->m.packet_id : 0u, (int)min_u64(topic.n, 200),
                 (const char *)topic.p, in->m.payload.n);
    c->denied_logged = true;
    int rc = turn_down(c, in, MQTT_NOT_AUTHORIZED, NULL);
    return rc < 0 ? rc : E_AGAIN;
}

/* What the queues say that this message would enter.  0: go on; E_AGAIN: answered, or it comes
 * again (*later). */
static int check_queues(struct cconn *c, struct inbound *in, bool *later)
{
    struct control control;
    control_read(in->pub.control, &control);
    uint64_t shards = in->route->rejects | (control.dedup_id.n ? in->route->queues : 0);
    bool told = c->version == MQTT_V5 && in->m.qos > 0;
    unsigned verdict;
    const char *why;
    if (shards == 0) return 0;
    int rc = wqueue_may(c, &in->pub, shards, !told, &verdict, &why);
    *later = rc == E_AGAIN;
    if (rc < 0) return rc;
    in->duplicate = (verdict & QUEUE_HAS_IT) != 0;
    rc = verdict & QUEUE_IS_FULL ? refuse(c, in, MQTT_QUOTA_EXCEEDED, why) : 0;
    wqueue_answered(c);
    if (rc < 0) return rc;
    return verdict & QUEUE_IS_FULL ? E_AGAIN : 0;
}

/* What the history has had: acknowledged when that is on disk.  0: go on; E_AGAIN: answered, or it
 * comes again (*later). */
static int check_history(struct cconn *c, struct inbound *in, bool *later)
{
    struct core *core = c->core;
    int rc = dedup_check(c, &in->pub);
    *later = rc == E_AGAIN;
    if (rc != E_EXISTS) return rc;
    core->stats.history_duplicates++;
    if (in->m.qos == 0) return E_AGAIN;
    if (in->m.qos == 2 && pidset_add(&c->session->in2, in->m.packet_id) == E_NOMEM) return E_NOMEM;
    if (in->m.qos == 2) journal_id(c->session, J_IN2, in->m.packet_id);
    dedup_journal_seen(core, &in->pub);
    c->inbound += in->m.qos == 1;
    struct pending w = {.seq = PENDING_UNSEALED,
                        .session = c->session->id,
                        .epoch = c->session->epoch,
                        .packet_id = in->m.packet_id,
                        .type = in->m.qos == 1 ? MQTT_PUBACK : MQTT_PUBREC,
                        .duplicate = true};
    rc = pending_push(core, w);
    return rc < 0 ? rc : E_AGAIN;
}

/* Appends and queues the acknowledgement; routes at once unless exactly-once needs it logged first.
 */
static int publish_stored(struct cconn *c, struct inbound *in)
{
    struct core *core = c->core;
    struct session *s = c->session;
    struct pub *p = &in->pub;
    /* QoS 2 of a session that outlives its connection is routed when it is stored; and so is a
     * retained message that comes after such a one, else the older would replace it. */
    p->later = (p->qos == 2 && s->expiry_s != 0) || (p->retain && s->later_count);
    p->in2_id = p->qos == 2 ? in->m.packet_id : 0;
    pub_goes(p, in->route);
    if (store_crowded(core->store)) return E_AGAIN;
    int rc = p->qos || s->later_count ? pending_room(core) : 0;
    if (rc == 0) rc = pub_store(core, p);
    if (rc < 0 && rc != E_AGAIN && p->qos == 0 && !p->retain) {
        core->stats.history_missed++; /* nobody waits for it to be kept: it goes out all the same */
        router_publish(core, p, in->route);
        return 0;
    }
    if (rc == E_FULL || (rc == E_TOO_LARGE && c->version == MQTT_V5)) {
        if (c->version != MQTT_V5)
            return E_FULL; /* no acknowledgement: the client will send it again */
        return refuse(c, in, MQTT_QUOTA_EXCEEDED, "the store has no space");
    }
    if (rc < 0) return rc;
    bool later = p->later;
    if (p->qos == 2 && pidset_add(&s->in2, in->m.packet_id) == E_NOMEM) return E_NOMEM;
    bool any = later || router_publish(core, p, in->route);
    if (p->qos == 0 && !later) return 0;
    s->later_count += later;
    c->inbound += p->qos == 1;
    *pending_at(core, core->pending_count++) =
        (struct pending){.seq = p->seq,
                         .session = s->id,
                         .epoch = s->epoch,
                         .packet_id = in->m.packet_id,
                         .route = later,
                         .duplicate = in->duplicate,
                         .type = (uint8_t[]){0, MQTT_PUBACK, MQTT_PUBREC}[p->qos],
                         .blob = later ? blob_ref(p->blob) : NULL,
                         .reason = any || c->version != MQTT_V5 ? 0 : MQTT_NO_MATCHING_SUBSCRIBERS};
    return 0;
}

/* It is acknowledged when it is stored, as if it were published then. */
static int publish_delayed(struct cconn *c, struct inbound *in)
{
    struct core *core = c->core;
    struct session *s = c->session;
    struct pub *p = &in->pub;
    p->in2_id = p->qos == 2 ? in->m.packet_id : 0;
    if (store_crowded(core->store)) return E_AGAIN;
    int rc = p->qos ? pending_room(core) : 0;
    if (rc == 0) rc = delayed_add(core, p, in->delay_ms);
    if (rc == E_FULL || rc == E_TOO_LARGE)
        return c->version == MQTT_V5 ? refuse(c, in, MQTT_QUOTA_EXCEEDED,
                                              "there is no room for another delayed message")
                                     : E_FULL;
    if (rc < 0) return rc;
    if (p->qos == 2 && pidset_add(&s->in2, in->m.packet_id) == E_NOMEM) return E_NOMEM;
    if (p->qos == 0) return 0;
    c->inbound += p->qos == 1;
    return pending_push(core, (struct pending){.seq = p->seq,
                                               .session = s->id,
                                               .epoch = s->epoch,
                                               .packet_id = in->m.packet_id,
                                               .type = p->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC});
}

static int publish_now(struct cconn *c, struct inbound *in)
{
    if (in->m.qos == 2 && pidset_add(&c->session->in2, in->m.packet_id) == E_NOMEM) return E_NOMEM;
    bool any = router_publish(c->core, &in->pub, in->route);
    answer(c, in, any || c->version != MQTT_V5 ? 0 : MQTT_NO_MATCHING_SUBSCRIBERS, NULL);
    return 0;
}

/* QoS 1 and 2: flow control and what was seen before.  E_AGAIN: answered. */
static int check_window(struct cconn *c, const struct inbound *in)
{
    struct core *core = c->core;
    struct session *s = c->session;
    if (in->m.qos == 2 && s->in2.count &&
        pidset_has(&s->in2, in->m.packet_id)) { /* [MQTT-4.3.3-10] */
        struct pending *w = pending_find(core, s->id, in->m.packet_id);
        if (w)
            w->epoch = s->epoch; /* answered when it is stored, on this connection */
        else
            answer(c, in, 0, NULL);
        return E_AGAIN;
    }
    uint32_t limit = core->cfg.max_inflight_messages ? core->cfg.max_inflight_messages : 65535;
    if (c->version == MQTT_V5 && c->inbound + s->in2.count >= limit)
        return E_RECEIVE_MAX; /* [MQTT-3.3.4-7] */
    return 0;
}

/* What makes room is welcome when memory is short. */
static bool makes_room(const struct inbound *in) { return in->m.retain && in->m.payload.n == 0; }

/* Memory is out.  0: go on; E_AGAIN: answered, done. */
static int check_pressure(struct cconn *c, const struct inbound *in)
{
    struct core *core = c->core;
    if (core->pressure < CORE_PRESSURE_HARD || makes_room(in)) return 0;
    if (in->m.qos == 0) {
        core->stats.dropped_pressure++;
        core->stats.publish_dropped++;
        return E_AGAIN;
    }
    if (c->version != MQTT_V5) return 0; /* it cannot be told, and waits */
    core->stats.refused_pressure++;
    int rc = refuse(c, in, MQTT_QUOTA_EXCEEDED, "memory_limit is reached");
    return rc < 0 ? rc : E_AGAIN;
}

/* E_AGAIN: the store has no room just now; nothing has happened, the packet is to come again. */
int conn_handle_publish(struct cconn *c, unsigned flags, struct bytes body)
{
    struct core *core = c->core;
    struct inbound in;
    struct mqtt_props props;
    int rc = mqtt_publish_decode(c->version, flags, body, &in.m);
    if (rc < 0) return rc;
    in.broken = NULL;
    in.pub = (struct pub){.payload = in.m.payload,
                          .created_ms = core->wall_ms,
                          .expiry_s = MQTT_NO_EXPIRY,
                          .qos = in.m.qos,
                          .retain = in.m.retain,
                          .from = c->session,
                          .origin = core->shard,
                          .origin_session = c->session->id};
    in.duplicate = false;
    in.delay_bad = 0;
    in.delay_ms = 0;
    props.present = 0;
    if (c->version == MQTT_V5)
        rc = read_props(c, &in, &props);
    else if (in.m.topic.n == 0)
        rc = E_TOPIC_NAME; /* [MQTT-4.7.3-1] */
    if (rc == 0 && UNLIKELY(in.m.topic.p[0] == '$') && envelope_is(in.m.topic))
        rc = open_envelope(c, &in);
    if (rc == 0 && UNLIKELY(in.m.topic.p[0] == '$' || in.pub.control.n)) {
        uint8_t reason =
            in.m.topic.p[0] == '$' ? MQTT_TOPIC_NAME_INVALID : MQTT_IMPLEMENTATION_ERROR;
        bool right = delayed_split(&in.m.topic, in.pub.control, &in.delay_ms) == 0;
        in.delay_bad = right ? 0 : reason;
    }
    if (rc == 0) rc = find_route(c, &in);
    if (rc == 0 && in.m.qos) rc = check_window(c, &in);
    if (rc == 0) rc = check_limits(c, &in, &props);
    if (rc == 0 && UNLIKELY(access_list(c) != NULL)) rc = check_access(c, &in);
    if (rc == 0 && UNLIKELY(core->pressure)) {
        rc = check_pressure(c, &in);
        if (rc == 0 && !makes_room(&in) && pressure_holds(c)) return E_AGAIN;
    }
    uint64_t shards = rc == 0 ? mail_shards(core, &in.pub, in.route) : 0;
    if (UNLIKELY(shards) && !mail_room(core, shards, mail_pub_size(&in.pub))) return E_AGAIN;
    bool later = false;
    if (rc == 0 && UNLIKELY(in.route->history && in.pub.control.n))
        rc = check_history(c, &in, &later);
    if (rc == 0 && UNLIKELY(in.route->queued) && in.delay_ms == 0)
        rc = check_queues(c, &in, &later);
    if (rc < 0) {
        if (!later) dedup_over(c, NULL);
        return rc == E_AGAIN && !later ? 0 : rc;
    }
    bool stored = in.m.retain || in.route->history || (in.m.qos && in.route->durable) ||
                  (in.m.qos == 2 && c->session->expiry_s != 0) ||
                  (in.m.qos == 0 && in.route->durable && core->cfg.queue_qos0_messages) ||
                  in.route->queued;
    rc = in.delay_ms ? publish_delayed(c, &in)
         : stored    ? publish_stored(c, &in)
                     : publish_now(c, &in);
    dedup_over(c, &in.pub);
    blob_unref(in.pub.blob);
    if (rc == E_AGAIN) return rc;
    core->stats.publish_received++;
    core->stats.publish_bytes_received += in.m.payload.n;
    return rc;
}
