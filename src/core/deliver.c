/* Deliveries to one session: straight into the connection's output when the window is open and
 * nothing waits, else through the session's queue, from which core_output() pulls.  The shard's
 * thread.
 *
 * A QoS 0 message costs one copy and no allocation; QoS 1 and 2 keep a reference to the message's
 * blob in the inflight window until the client has answered. */
#include "core/access.h"
#include "core/core_int.h"
#include "core/dead.h"
#include "core/journal.h"
#include "core/mailbox.h"
#include "core/queue.h"
#include "core/recover.h"
#include "core/redeliver.h"
#include "core/replay.h"
#include "core/retained.h"
#include "core/share.h"
#include "core/tell.h"

enum {
    ALIAS_SIZE = 5, /* what an alias may add: the property, and longer lengths */
    IMAGE_PAYLOAD_MAX = 16384,
    QUEUE_SOFT_UNLIMITED = 16384,
    PULL_SILENT = 4096, /* steps of one pull that bring nothing; the rest is for the next turn */
};

uint32_t deliver_queue_soft(const struct core *core)
{
    uint32_t limit = core->cfg.max_queued_messages;
    if (limit == 0 || limit > QUEUE_SOFT_UNLIMITED) return QUEUE_SOFT_UNLIMITED;
    return limit - limit / 4;
}

/* ---- encoding ---- */

/* A message as it goes out to one client. */
struct outgoing {
    struct bytes topic, props, payload;
    struct tell tell; /* to MQTT 5 clients; its place in the log only where that is asked for */
    uint32_t expiry_s, subid;
    uint16_t packet_id;
    uint8_t qos;
    bool retain, dup;
};

/* Whether encoding said that this message is not for this client at all. */
static bool is_undeliverable(struct cconn *c, int rc)
{
    if (rc == E_TOO_LARGE) c->core->stats.dropped_too_large++, c->core->stats.publish_dropped++;
    return rc == E_TOO_LARGE || rc == E_TOPIC_NAME;
}

/* Appends the packet to the output.  E_TOO_LARGE: more than the client takes [MQTT-3.1.2-25];
 * E_TOPIC_NAME: it does not lie below the listener's mount point, but is its parent; E_NOMEM. */
static int encode(struct cconn *c, const struct outgoing *o)
{
    struct mqtt_publish_out m = {.topic = o->topic,
                                 .props = o->props,
                                 .payload = o->payload,
                                 .expiry_s = o->expiry_s,
                                 .packet_id = o->packet_id,
                                 .qos = o->qos,
                                 .retain = o->retain,
                                 .dup = o->dup};
    if (UNLIKELY(c->listener->mount_point[0])) {
        size_t mount = strlen(c->listener->mount_point);
        if (m.topic.n <= mount) return E_TOPIC_NAME;
        m.topic = bytes_skip(m.topic, mount);
    }
    uint32_t room[SUBID_MAX];
    if (c->version == MQTT_V5) {
        if (o->subid) m.subids = subid_list(c->core, &o->subid, &m.subid_count);
        bool asked = o->subid && tell_asked(&m.subids, &m.subid_count, room);
        struct tell tell = o->tell;
        if (!asked && tell.time_ms) tell.seq = 0; /* without a time it is always told */
        if (tell_props(c->core, &tell, &m.props) < 0) return E_NOMEM;
    }
    size_t size = mqtt_publish_size(c->version, &m);
    if (size == 0 || size > c->max_packet) return E_TOO_LARGE;
    if (c->alias_out.max && size + ALIAS_SIZE <= c->max_packet) {
        bool known;
        m.alias = alias_out_get(&c->alias_out, m.topic, &known);
        if (m.alias && known) m.topic = (struct bytes){0};
        size = mqtt_publish_size(c->version, &m);
    }
    uint8_t *d = conn_reserve(c, size);
    if (d == NULL) return E_NOMEM;
    uint8_t *end = mqtt_publish_encode(d, c->version, &m);
    conn_commit(c, (size_t)(end - d));
    c->core->stats.publish_sent++;
    c->core->stats.publish_bytes_sent += o->payload.n;
    return 0;
}

/* The packet that all plain subscribers of this kind share, built at first use; NULL: encode
 * singly. */
static const struct image *image_get(struct core *core, struct images *im, const struct cconn *c,
                                     const struct pub *p, uint8_t qos)
{
    struct image *image = &im->kinds[(c->version == MQTT_V5) << 1 | (qos > 0)];
    if (LIKELY(image->p != NULL)) return image;
    size_t room = 64 + pub_size(p);
    uint8_t *all = core_scratch(core, SCRATCH_IMAGE, room * ARRAY_LEN(im->kinds));
    if (all == NULL) return NULL;
    struct mqtt_publish_out m = {.topic = p->topic,
                                 .props = p->props,
                                 .payload = p->payload,
                                 .expiry_s = p->expiry_s,
                                 .packet_id = 1,
                                 .qos = qos ? 1 : 0};
    image->p = all + im->used;
    im->used += room;
    image->len = (uint32_t)(mqtt_publish_encode(image->p, c->version, &m) - image->p);
    struct mqtt_frame f;
    ASSERT(mqtt_frame_peek(bytes_of(image->p, image->len), 0, &f) == 0);
    image->packet_id_at = f.head_len + 2u + (uint32_t)p->topic.n;
    return image;
}

static bool image_fits(const struct images *im, const struct cconn *c, const struct pub *p,
                       uint32_t subid)
{
    return im->share && subid == 0 && c->alias_out.max == 0 && p->payload.n <= IMAGE_PAYLOAD_MAX &&
           c->listener->mount_point[0] == 0 && c->max_packet == UINT32_MAX &&
           (c->version != MQTT_V5 || p->expiry_s == MQTT_NO_EXPIRY ||
            p->created_ms == c->core->wall_ms);
}

static int put_image(struct cconn *c, const struct image *image, uint8_t first, uint16_t packet_id,
                     size_t payload)
{
    uint8_t *d = conn_reserve(c, image->len);
    if (d == NULL) return E_NOMEM;
    memcpy(d, image->p, image->len);
    d[0] = first;
    if (packet_id) put_u16(d + image->packet_id_at, packet_id);
    conn_commit(c, image->len);
    c->core->stats.publish_sent++;
    c->core->stats.publish_bytes_sent += payload;
    return 0;
}

static int send_one(struct cconn *c, const struct pub *p, struct images *im, uint8_t qos,
                    bool retain, uint32_t subid, uint16_t packet_id)
{
    if (image_fits(im, c, p, subid)) {
        const struct image *image = image_get(c->core, im, c, p, qos);
        uint8_t first = (uint8_t)(MQTT_PUBLISH << 4 | qos << 1 | retain);
        if (image) return put_image(c, image, first, packet_id, p->payload.n);
    }
    struct outgoing o = {.topic = p->topic,
                         .props = p->props,
                         .payload = p->payload,
                         .tell = {.seq = p->seq, .time_ms = p->created_ms},
                         .subid = subid,
                         .qos = qos,
                         .retain = retain,
                         .packet_id = packet_id,
                         .expiry_s = p->expiry_s};
    return encode(c, &o);
}

/* ---- expiry ---- */

uint32_t expiry_left(const struct core *core, uint64_t created_ms, uint32_t expiry_s)
{
    if (expiry_s == MQTT_NO_EXPIRY) return expiry_s;
    uint64_t waited_s = core->wall_ms > created_ms ? (core->wall_ms - created_ms) / 1000 : 0;
    return waited_s >= expiry_s ? 0 : expiry_s - (uint32_t)waited_s;
}

/* ---- queueing ---- */

static void item_release(struct core *core, const struct outq_item *item)
{
    uint64_t seq = item_seq(core, item);
    if (item->flags & OUTQ_STORED)
        core_drop(core, item->ref);
    else if (seq)
        core_drop(core, seq);
    if (!(item->flags & OUTQ_STORED)) blob_unref((struct blob *)(uintptr_t)item->ref);
}

void queue_item_release(struct core *core, const struct outq_item *item)
{
    if (item->flags & OUTQ_SHARE) share_settled(core, item->subid, item_seq(core, item));
    item_release(core, item);
    core->stats.queued--;
    core->stats.queued_bytes -= item->size;
}

static void count_drop(struct core *core, uint64_t *why, unsigned flags, uint32_t subid,
                       uint64_t seq)
{
    core->stats.publish_dropped++;
    (*why)++;
    if (flags & OUTQ_SHARE) share_settled(core, subid, seq);
}

bool queue_full(const struct core *core, const struct session *s, size_t payload)
{
    const struct core_config *cfg = &core->cfg;
    if (cfg->max_queued_messages && s->queue.count >= cfg->max_queued_messages) return true;
    return cfg->max_queued_bytes && s->queue.bytes + payload > cfg->max_queued_bytes;
}

/* A message is taken although the last one was not: recovery must not think that it was dropped
 * too. item: as it was queued, NULL: it goes out at once. */
static void room_again(struct session *s, const struct outq_item *item)
{
    s->full = false;
    if (item && item_seq(s->core, item))
        journal_queued(s, item);
    else
        journal_room(s);
    s->core->journal_ordered = true; /* recovery drops all that is stored before this */
}

/* The reference a queue holds on to a message; false without memory. */
static bool item_hold(struct core *core, struct pub *p, const struct session *s,
                      struct outq_item *item)
{
    bool shared = core->keeps && item->flags & OUTQ_SHARE;
    bool stored = p->seq && s->expiry_s && !shared;
    struct blob *b = stored && core->keeps ? NULL : pub_blob(p);
    if (stored && (b || core->keeps)) {
        item->flags |= OUTQ_STORED;
        item->ref = store_hold(core->store, p->seq, b);
        return true;
    }
    if (b == NULL) return false;
    item->ref = (uint64_t)(uintptr_t)blob_ref(b);
    if (shared && p->seq) (void)store_hold(core->store, p->seq, NULL);
    return true;
}

/* *item as it was put there. */
static int queue_put(struct core *core, struct pub *p, struct session *s, struct outq *q,
                     struct outq_item *item)
{
    item->size = (uint32_t)min_u64(p->payload.n, OUTQ_SIZE_CAP) & OUTQ_SIZE_CAP;
    if (!item_hold(core, p, s, item)) return E_NOMEM;
    if (outq_push(q, *item) < 0) {
        item_release(core, item);
        return E_NOMEM;
    }
    core->stats.queued++;
    core->stats.queued_bytes += item->size;
    return 0;
}

int deliver_hold(struct core *core, struct pub *p, struct session *s, uint8_t qos, uint32_t subid,
                 struct outq *held)
{
    struct outq_item item = {.subid = subid, .qos = qos & 3u};
    return queue_put(core, p, s, held, &item);
}

void deliver_late(struct core *core, struct pub *p, struct session *s, uint8_t qos, uint32_t subid)
{
    struct outq_item item = {.subid = subid, .qos = qos & 3u};
    struct cconn *c = s->conn;
    if (queue_put(core, p, s, &s->queue, &item) < 0)
        count_drop(core, &core->stats.dropped_no_memory, 0, 0, 0);
    else if (c && c->state == CONN_UP && !c->blocked)
        conn_ready(c, CORE_EV_OUTPUT);
}

static void enqueue(struct core *core, struct pub *p, struct session *s, uint8_t qos,
                    unsigned flags, uint32_t subid)
{
    struct outq_item item = {.subid = subid, .qos = qos & 3u, .flags = flags & 7u};
    if (queue_put(core, p, s, &s->queue, &item) < 0) {
        count_drop(core, &core->stats.dropped_no_memory, flags, subid, p->seq);
        return;
    }
    if (UNLIKELY(s->full) && core->recovery == NULL)
        room_again(s, &item);
    else if (p->unasked && item_seq(core, &item))
        journal_queued(s, &item);
    if (UNLIKELY(s->rjobs) && p->unasked && qos > 0 && flags & OUTQ_RETAIN)
        rjobs_note_given(s, p->seq);
    struct cconn *c = s->conn;
    if (c == NULL || c->state != CONN_UP) return;
    /* Who publishes to itself must go on being read: its acknowledgements drain the queue. */
    if (s->queue.count >= deliver_queue_soft(core) && s != p->from) conn_congest(c, p);
    if (!c->blocked && (s->queue.count == 1 || (flags & OUTQ_SHARE))) conn_ready(c, CORE_EV_OUTPUT);
}

/* A message that a session gets no more, for a reason that dead_letter_reasons may name. */
static void may_die(struct session *s, struct blob *b, unsigned flags, uint32_t subid,
                    enum dead_reason reason)
{
    struct core *core = s->core;
    if (LIKELY(!dead_is_reason(core, reason, msg_topic(b)))) return;
    struct dead_about about = {0};
    if (flags & OUTQ_SHARE) about.group = share_name(core, subid);
    dead_later(s, b, reason, &about);
}

/* Queues one for a session that cannot take it now; counts and drops over the limits. */
static void enqueue_within_limits(struct core *core, struct pub *p, struct session *s, uint8_t qos,
                                  unsigned flags, uint32_t subid)
{
    bool by_journal = core->recovery && !recover_judges(core); /* it says when it was full */
    if (!(by_journal ? s->full : queue_full(core, s, p->payload.n))) {
        enqueue(core, p, s, qos, flags, subid);
        return;
    }
    if (!s->full_logged && core->recovery == NULL)
        core_log(core, LOG_T_NOTICE, "Outgoing messages are being dropped for client %s.",
                 s->client_id);
    s->full_logged = true;
    if (s->logged && p->seq && !s->full) {
        s->full = true;
        journal_full(s, p->seq);
    }
    if (UNLIKELY(core->recovery != NULL)) recover_dropped(core, s, p, qos, flags, subid);
    if (UNLIKELY(dead_is_reason(core, DEAD_OVERFLOW, p->topic)) && pub_blob(p))
        may_die(s, p->blob, flags, subid, DEAD_OVERFLOW);
    count_drop(core, &core->stats.dropped_queue_full, flags, subid, p->seq);
}

/* ---- now ---- */

static uint32_t real_subid(const struct core *core, unsigned flags, uint32_t subid)
{
    return flags & OUTQ_SHARE ? share_subid(core, subid) : subid;
}

static void deliver_qos0(struct core *core, struct pub *p, struct cconn *c, unsigned flags,
                         uint32_t subid, struct images *im)
{
    uint32_t backlog = buf_len(&c->out);
    /* Recovery has no connections: it would queue it for later. */
    if (UNLIKELY(p->seq && core->cfg.queue_qos0_messages) && !(flags & OUTQ_SHARE))
        journal_drop(c->session, p->seq);
    if (UNLIKELY(core->pressure) && c->blocked) {
        count_drop(core, &core->stats.dropped_slow_reader, flags, subid, p->seq);
        return;
    }
    if (UNLIKELY(backlog > core->cfg.output_soft_bytes)) {
        if (c->slow || backlog > core->cfg.output_hard_bytes) {
            count_drop(core, &core->stats.dropped_slow_reader, flags, subid, p->seq);
            return;
        }
        conn_congest(c, p);
    }
    int rc = send_one(c, p, im, 0, flags & OUTQ_RETAIN, real_subid(core, flags, subid), 0);
    if (UNLIKELY(rc < 0)) (void)is_undeliverable(c, rc);
    if (UNLIKELY(flags & OUTQ_SHARE)) share_given(core, subid, p->seq);
}

static struct inflight_entry *window_add(struct session *s, struct blob *b, uint8_t qos,
                                         unsigned flags, uint32_t subid)
{
    struct inflight_entry *e =
        inflight_add(&s->out, qos == 1 ? INFLIGHT_WAIT_PUBACK : INFLIGHT_WAIT_PUBREC);
    if (e == NULL) return NULL;
    e->body = b;
    e->subid = subid;
    e->flags = (uint8_t)flags;
    e->sent_ms = s->core->now_ms;
    s->inflight_bytes += msg_payload(b).n;
    s->core->stats.inflight++;
    if (UNLIKELY(s->out.count == 1 || s->retry_late)) session_retry_arm(s);
    if (UNLIKELY(subid >= SUBID_RETRY)) redeliver_arm(s, e);
    return e;
}

/* The packet identifier of a delivery goes to the journal.  Whether the packet itself has to wait
 * until it is safe there: sent under another one after a crash, a QoS 2 message would be taken for
 * a new one [MQTT-4.3.3-1].  At QoS 1 that is a duplicate, as it may be. */
static bool window_log(struct cconn *c, struct inflight_entry *e, uint64_t seq,
                       const struct replayed *as)
{
    struct session *s = c->session;
    if (seq == 0) return false;
    if (s->logged) {
        e->flags |= OUTQ_STORED | OUTQ_LOGGED;
        (void)store_hold(s->core->store, seq, NULL); /* the reference is seq: store_keeps() */
        journal_sent(s, e, seq, as);
        if (UNLIKELY(s->rjobs) && e->flags & OUTQ_RETAIN && as == NULL) rjobs_note_given(s, seq);
        if (e->state == INFLIGHT_WAIT_PUBACK) return false;
    } else if (!share_in_flight(s->core, e, seq)) {
        return false;
    }
    s->held_count++;
    pending_journal(c, MQTT_PUBLISH, e->packet_id, 0);
    return true;
}

/* QoS 1 and 2 with the window open and nothing waiting. */
static void deliver_window(struct core *core, struct pub *p, struct cconn *c, uint8_t qos,
                           unsigned flags, uint32_t subid, struct images *im)
{
    struct session *s = c->session;
    struct blob *b = pub_blob(p);
    struct inflight_entry *e = b ? window_add(s, b, qos, flags, subid) : NULL;
    if (e == NULL) {
        count_drop(core, &core->stats.dropped_no_memory, flags, subid, p->seq);
        return;
    }
    blob_ref(b);
    if (UNLIKELY(s->full)) room_again(s, NULL);
    if (UNLIKELY(s->logged || flags & OUTQ_SHARE) && window_log(c, e, p->seq, NULL)) return;
    int rc =
        send_one(c, p, im, qos, flags & OUTQ_RETAIN, real_subid(core, flags, subid), e->packet_id);
    if (UNLIKELY(rc == E_TOO_LARGE)) may_die(s, b, flags, subid, DEAD_TOO_LARGE);
    if (UNLIKELY(rc < 0) && is_undeliverable(c, rc)) session_settle(s, e);
}

/* Whether a QoS 1 or 2 message can go out at once: nothing is before it, and it is fresh. */
static bool may_go_now(const struct core *core, const struct pub *p, const struct session *s,
                       uint8_t qos)
{
    if (UNLIKELY(s->held_count) && qos < 2) return false;
    const struct cconn *c = s->conn;
    return c && c->state == CONN_UP && s->queue.count == 0 && s->unsent_count == 0 &&
           buf_len(&c->out) < core->cfg.output_soft_bytes && conn_window_open(c) &&
           expiry_left(core, p->created_ms, p->expiry_s) == p->expiry_s;
}

/* A client that is connected does not get what it may not read; for one that is away that is found
 * out when it is sent.  Recovery routes without regard to rights, so it is told. */
static void deny(struct core *core, const struct pub *p, struct session *s, uint8_t qos,
                 unsigned flags, uint32_t subid)
{
    core->stats.denied_delivery++;
    if (flags & OUTQ_SHARE)
        share_given(core, subid, p->seq);
    else if (p->seq && (qos > 0 || core->cfg.queue_qos0_messages))
        journal_drop(s, p->seq);
}

void deliver(struct core *core, struct pub *p, struct session *s, uint8_t qos, unsigned flags,
             uint32_t subid, struct images *im)
{
    struct cconn *c = s->conn;
    if (UNLIKELY(is_of_other_stream(core, s))) return;
    if (UNLIKELY(qos == 2 && p->seq == 0 && s->logged)) qos = 1; /* exactly once needs the log */
    if (UNLIKELY(p->retain && s->rjobs && !(flags & OUTQ_SHARE)))
        rjobs_note_live(s, p->hash, p->seq);
    if (c && UNLIKELY(access_list(c) != NULL) && !access_may(c, p->topic, p->hash, ACL_READ)) {
        deny(core, p, s, qos, flags, subid);
        return;
    }
    if (qos > 0) {
        if (LIKELY(may_go_now(core, p, s, qos)))
            deliver_window(core, p, c, qos, flags, subid, im);
        else
            enqueue_within_limits(core, p, s, qos, flags, subid);
    } else if (LIKELY(c && c->state == CONN_UP && s->queue.qos0_count + s->held_count == 0)) {
        deliver_qos0(core, p, c, flags, subid, im);
    } else if (c || (core->cfg.queue_qos0_messages && s->expiry_s)) { /* in order behind those */
        enqueue_within_limits(core, p, s, 0, flags, subid);
    } else {
        count_drop(core, &core->stats.dropped_qos0_offline, flags, subid, p->seq);
    }
}

void deliver_answer(struct core *core, struct pub *p, struct session *s, uint8_t qos,
                    uint32_t subid)
{
    struct images images;
    images_init(&images, false);
    p->unasked = true;
    if (s->conn && !access_may_read(s->conn, p->topic)) {
        core->stats.denied_delivery++;
        return;
    }
    if (qos > 0 && may_go_now(core, p, s, qos))
        deliver_window(core, p, s->conn, qos, OUTQ_RETAIN, subid, &images);
    else
        enqueue(core, p, s, qos, OUTQ_RETAIN, subid);
}

/* ---- pulling ---- */

static void release_unsent(struct session *s, struct blob *b, const struct outq_item *item)
{
    if (item->flags & OUTQ_SHARE) share_settled(s->core, item->subid, msg_of(b)->seq);
    if (item_seq(s->core, item)) journal_drop(s, msg_of(b)->seq);
    blob_unref(b);
}

static void give_up(struct session *s, struct blob *b, const struct outq_item *item, uint64_t *why)
{
    count_drop(s->core, why, 0, 0, 0);
    release_unsent(s, b, item);
}

/* Sends a message that waited; takes over b's reference (QoS > 0) or gives it back.  settle: tells
 * a group when it is done. */
static void send_waiting(struct cconn *c, struct blob *b, const struct outq_item *item,
                         const struct replayed *as)
{
    struct core *core = c->core;
    struct session *s = c->session;
    const struct msg *m = msg_of(b);
    struct outgoing o = {.topic = msg_topic(b),
                         .props = msg_props(b),
                         .payload = msg_payload(b),
                         .tell = {.seq = as ? as->seq : m->seq, .time_ms = m->created_ms},
                         .qos = (uint8_t)item->qos,
                         .retain = (item->flags & OUTQ_RETAIN) != 0,
                         .subid = real_subid(core, item->flags, item->subid)};
    o.expiry_s = expiry_left(core, m->created_ms, m->expiry_s);
    if (o.expiry_s == 0) {
        may_die(s, b, item->flags, item->subid, DEAD_EXPIRED);
        give_up(s, b, item, &core->stats.dropped_expired);
        return;
    }
    if (UNLIKELY(!access_may_read(c, o.topic))) {
        core->stats.denied_delivery++;
        release_unsent(s, b, item);
        return;
    }
    struct inflight_entry *e = NULL;
    if (o.qos) {
        e = window_add(s, b, o.qos, item->flags & ~(unsigned)OUTQ_STORED, item->subid);
        if (e == NULL) {
            give_up(s, b, item, &core->stats.dropped_no_memory);
            return;
        }
        o.packet_id = e->packet_id;
        if (window_log(c, e, m->seq, as)) return;
    } else if (item_seq(core, item)) {
        journal_drop(s, m->seq); /* sent is done */
    }
    int rc = encode(c, &o);
    if (UNLIKELY(rc == E_TOO_LARGE)) may_die(s, b, item->flags, item->subid, DEAD_TOO_LARGE);
    if (UNLIKELY(rc < 0) && is_undeliverable(c, rc) && e) session_settle(s, e);
    if (e) return;
    if (item->flags & OUTQ_SHARE) share_settled(core, item->subid, m->seq);
    blob_unref(b);
}

/* Whether the oldest in the queue may be sent: the window is open, and a QoS 2 message that was
 * before it has gone. */
static bool may_follow(const struct cconn *c, const struct outq_item *head)
{
    if (c->session->held_count && head->qos < 2) return false;
    return head->qos == 0 || conn_window_open(c);
}

/* 0: one was taken off the queue; E_AGAIN: nothing can be sent now. */
static int pull_queue(struct cconn *c)
{
    struct core *core = c->core;
    struct session *s = c->session;
    const struct outq_item *head = outq_peek(&s->queue);
    if (head == NULL || !may_follow(c, head)) return E_AGAIN;
    struct outq_item item = *head;
    struct blob *b = (struct blob *)(uintptr_t)item.ref;
    if (item.flags & OUTQ_STORED) {
        int rc = core_fetch(core, item.ref, &b);
        if (rc == E_AGAIN || rc == E_NOMEM) { /* not lost */
            if (c->fetching.next == NULL) list_push(&core->fetching, &c->fetching);
            return E_AGAIN;
        }
        if (rc < 0) b = NULL;
    }
    outq_pop(&s->queue);
    checkpoint_queue_taken(core, s, 0);
    core->stats.queued--;
    core->stats.queued_bytes -= item.size;
    uint64_t seq = item_seq(core, &item);
    if (b) {
        send_waiting(c, b, &item, NULL);
    } else { /* the store has said which one is lost */
        count_drop(core, &core->stats.dropped_queue_full, item.flags, item.subid, seq);
        journal_drop(s, item.ref);
    }
    if (seq)
        core_drop(core, seq);
    else if (item.flags & OUTQ_STORED)
        core_drop(core, item.ref);
    if (s->queue.count == 0) s->full_logged = false;
    return 0;
}

int deliver_from_queue(struct cconn *c, struct blob *b, const struct queued_sending *how,
                       uint16_t *packet_id)
{
    struct session *s = c->session;
    const struct msg *m = msg_of(b);
    struct inflight_entry *e = NULL;
    *packet_id = 0;
    if (how->qos) {
        e = window_add(s, b, how->qos, OUTQ_QUEUE, how->index);
        if (e == NULL) return E_NOMEM;
        *packet_id = e->packet_id;
    }
    struct outgoing o = {.topic = msg_topic(b),
                         .props = msg_props(b),
                         .payload = msg_payload(b),
                         .tell = how->tell,
                         .qos = how->qos,
                         .subid = how->subid,
                         .packet_id = *packet_id};
    o.expiry_s = expiry_left(c->core, m->created_ms, m->expiry_s);
    if (o.expiry_s == 0) o.expiry_s = 1; /* the queue has begun to deliver it */
    int rc = encode(c, &o);
    if (rc == 0 || e == NULL) return rc;
    *packet_id = 0;
    e->flags = 0;
    (void)blob_ref(b); /* it stays the caller's */
    session_settle(s, e);
    return rc;
}

void deliver_retained(struct cconn *c, struct blob *b, uint8_t qos, uint32_t subid)
{
    struct outq_item item = {.subid = subid, .qos = qos & 3u, .flags = OUTQ_RETAIN};
    send_waiting(c, b, &item, NULL);
}

/* At QoS 0 out of the log's own memory. */
static void send_replayed(struct cconn *c, const struct pub *p, unsigned flags, uint32_t subid,
                          uint64_t seq)
{
    struct outgoing o = {.topic = p->topic,
                         .props = p->props,
                         .payload = p->payload,
                         .tell = {.seq = seq, .time_ms = p->created_ms},
                         .retain = flags & OUTQ_RETAIN,
                         .subid = subid};
    o.expiry_s = expiry_left(c->core, p->created_ms, p->expiry_s);
    if (o.expiry_s == 0) {
        count_drop(c->core, &c->core->stats.dropped_expired, 0, 0, 0);
    } else if (!access_may_read(c, o.topic)) {
        c->core->stats.denied_delivery++;
    } else {
        int rc = encode(c, &o);
        if (UNLIKELY(rc < 0)) (void)is_undeliverable(c, rc);
    }
}

void deliver_replayed(struct cconn *c, struct pub *p, uint8_t qos, unsigned flags, uint32_t subid,
                      const struct replayed *as)
{
    struct outq_item item = {.subid = subid, .qos = qos & 3u, .flags = flags & OUTQ_RETAIN};
    if (qos == 0) {
        send_replayed(c, p, flags, subid, as->seq);
        return;
    }
    p->named = true;
    struct blob *b = pub_blob(p);
    if (b == NULL)
        count_drop(c->core, &c->core->stats.dropped_no_memory, 0, 0, 0);
    else
        send_waiting(c, blob_ref(b), &item, as);
}

void deliver_note(struct cconn *c, struct bytes topic, uint32_t subid)
{
    struct bytes mount = bytes_str(c->listener->mount_point);
    uint8_t *d = core_scratch(c->core, SCRATCH_TOPIC, mount.n + topic.n);
    if (d == NULL) return;
    put_mem(put_mem(d, mount), topic);
    struct outgoing o = {
        .topic = bytes_of(d, mount.n + topic.n), .subid = subid, .expiry_s = MQTT_NO_EXPIRY};
    (void)encode(c, &o);
}

/* Sends an entry of the window (again). */
static void send_inflight(struct cconn *c, struct inflight_entry *e, bool dup)
{
    struct session *s = c->session;
    e->sent_ms = c->core->now_ms;
    if (e->state == INFLIGHT_WAIT_PUBCOMP) {
        conn_send_ack(c, MQTT_PUBREL, e->packet_id, 0, NULL);
        return;
    }
    const struct blob *b = e->body;
    if (UNLIKELY(
            !access_may_read(c, msg_topic(b)))) { /* since the list, or its user, has changed */
        c->core->stats.denied_delivery++;
        session_settle(s, e);
        if (!c->blocked) conn_ready(c, CORE_EV_OUTPUT); /* there is room for others */
        return;
    }
    const struct msg *m = msg_of(b);
    struct outgoing o = {.topic = msg_topic(b),
                         .props = msg_props(b),
                         .payload = msg_payload(b),
                         .tell = {.seq = m->seq, .time_ms = m->created_ms},
                         .dup = dup,
                         .qos = e->state == INFLIGHT_WAIT_PUBACK ? 1 : 2,
                         .retain = (e->flags & OUTQ_RETAIN) != 0,
                         .packet_id = e->packet_id,
                         .subid = real_subid(c->core, e->flags, e->subid)};
    struct redelivery asked;
    if (UNLIKELY(e->subid >= SUBID_RETRY) && redelivery_of(c->core, e, &asked))
        o.tell.attempt = e->tries + 1u;
    o.expiry_s = expiry_left(c->core, m->created_ms, m->expiry_s);
    if (o.expiry_s == 0)
        o.expiry_s = 1; /* its delivery had started: [MQTT-3.3.2-5] no longer applies */
    int rc = encode(c, &o);
    if (rc < 0 && is_undeliverable(c, rc)) session_settle(s, e);
}

uint16_t deliver_anew(struct cconn *c, struct inflight_entry *e)
{
    struct session *s = c->session;
    if (!conn_window_open(c) || buf_len(&c->out) >= c->core->cfg.output_soft_bytes) return 0;
    uint8_t tries = e->tries, flags = e->flags & OUTQ_RETAIN;
    struct blob *b = e->body;
    uint8_t qos = e->state == INFLIGHT_WAIT_PUBACK ? 1 : 2;
    struct inflight_entry *new = window_add(s, b, qos, flags, e->subid);
    if (new == NULL) return 0;
    blob_ref(b);
    new->tries = tries < UINT8_MAX ? (uint8_t)(tries + 1) : tries;
    uint16_t id = new->packet_id;
    c->core->stats.resent++;
    if (!window_log(c, new, msg_of(b)->seq, NULL)) send_inflight(c, new, false);
    return id;
}

/* What was in flight when the last connection ended, in order [MQTT-4.4.0-1], [MQTT-4.6.0-1]. */
static int pull_unsent(struct cconn *c)
{
    struct session *s = c->session;
    if (s->out.count - s->unsent_count >= c->window) return E_AGAIN;
    if (s->unsafe_count) return E_AGAIN; /* what the last connection brought is not safe yet */
    struct inflight_entry *e = inflight_find(&s->out, s->unsent_first);
    ASSERT(e != NULL && s->unsent_count > 0);
    int rc = inflight_warm(s, e);
    if (rc == E_AGAIN || rc == E_NOMEM) {
        if (c->fetching.next == NULL) list_push(&c->core->fetching, &c->fetching);
        return E_AGAIN;
    }
    if (rc < 0) { /* the store has said which one is lost */
        c->core->stats.publish_dropped++;
        session_settle(s, e);
        return 0;
    }
    if (UNLIKELY(inflight_is_spent(s, e))) return 0;
    session_mark_sent(s, e);
    c->core->stats.resent++;
    if (e->tries < UINT8_MAX)
        e->tries += c->core->cfg.max_deliveries > 0 || e->subid >= SUBID_RETRY;
    send_inflight(c, e, true);
    return 0;
}

void deliver_resend(struct cconn *c, struct inflight_entry *e) { send_inflight(c, e, true); }

void deliver_held(struct cconn *c, uint16_t packet_id)
{
    struct session *s = c->session;
    struct inflight_entry *e = inflight_find(&s->out, packet_id);
    ASSERT(s->held_count > 0);
    if (--s->held_count == 0 && s->queue.count) conn_ready(c, CORE_EV_OUTPUT);
    if (e && e->state == INFLIGHT_WAIT_PUBREC && e->body && !e->tag) send_inflight(c, e, false);
}

void deliver_pull(struct cconn *c)
{
    struct session *s = c->session;
    uint32_t had = buf_len(&c->out), silent = 0;
    while (c->state == CONN_UP && buf_len(&c->out) < OUTPUT_PULL) {
        if (buf_len(&c->out) != had) {
            had = buf_len(&c->out);
            silent = 0;
        } else if (silent++ == PULL_SILENT) { /* e.g. all that is retained may not be read */
            if (c->fetching.next == NULL) list_push(&c->core->fetching, &c->fetching);
            return;
        }
        if (UNLIKELY(s->unsent_count)) {
            if (pull_unsent(c) < 0) return;
        } else if (s->queue.count) {
            if (pull_queue(c) < 0) return;
        } else if (UNLIKELY(wqueue_may_pull(c))) {
            if (wqueue_pull(c) < 0) return;
        } else if (!(s->rjobs && rjobs_step(c)) && !(s->replays && replays_step(c))) {
            return;
        }
    }
}

bool deliver_has_more(const struct cconn *c)
{
    struct session *s = c->session;
    if (s->unsent_count)
        return s->out.count - s->unsent_count < c->window && s->unsafe_count == 0 &&
               c->fetching.next == NULL;
    const struct outq_item *head = outq_peek(&s->queue);
    if (head) return may_follow(c, head) && c->fetching.next == NULL;
    if (wqueue_may_pull(c)) return true;
    return (s->rjobs && rjobs_can_step(c)) || (s->replays && replays_can_step(c));
}
