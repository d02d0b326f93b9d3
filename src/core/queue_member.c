/* Consumers of work queues, on the shard of their sessions: what they were sent and what they say
 * of it, see queue.h.  The shard's thread. */
#include "core/queue_int.h"

#include "core/access.h"
#include "core/share_int.h"

/* One that its client has not answered yet. */
struct qdelivery {
    struct list link; /* in the session's inbox */
    struct member *member;
    struct blob *body; /* while it waits for the window */
    struct qdeliver told;
    uint64_t seq;
    uint32_t index;     /* in core->deliveries */
    uint16_t packet_id; /* 0: not sent */
    uint8_t qos;
    bool answered; /* by a PUBLISH; PUBACK or PUBREC only frees the window */
};

struct qinbox {
    struct list waiting, sent; /* both the oldest first */
};

bool member_is_queue(const struct member *m) { return m->queue; }

/* ---- letters ---- */

static struct bytes name_of(const struct member *m) { return bytes_of(m->text, m->name_len); }

static unsigned owner_of(const struct core *core, const struct member *m)
{
    return wqueue_owner(core, name_of(m));
}

void wqueue_member_join(struct core *core, const struct member *m)
{
    if (core->recovery) return;
    const struct session *s = m->session;
    unsigned owner = owner_of(core, m);
    struct bytes name = name_of(m);
    struct bytes filter = bytes_of(m->text + m->name_len, m->filter_len);
    uint8_t *d = mail_begin(core, owner, MAIL_QUEUE_JOIN,
                            64u + name.n + filter.n + s->client_id_len + m->block_len);
    if (d == NULL) return;
    d = mail_put_bytes(mail_put_bytes(d, name), filter);
    d = mail_put_bytes(d, bytes_of(s->client_id, s->client_id_len));
    d = mail_put_u32(mail_put_u32(mail_put_u32(d, m->index), m->serial), m->epoch);
    d = mail_put_u32(d, s->conn && m->qos ? s->conn->window : UINT16_MAX);
    d = mail_put_u32(d, s->conn != NULL);
    mail_end(core, owner, mail_put_bytes(d, bytes_of(m->block, m->block_len)));
}

void wqueue_member_leave(struct core *core, const struct member *m, bool gone)
{
    if (core->recovery) return;
    unsigned owner = owner_of(core, m);
    uint8_t *d = mail_begin(core, owner, MAIL_QUEUE_LEAVE, 32u + m->name_len);
    if (d == NULL) return;
    d = mail_put_bytes(d, name_of(m));
    d = mail_put_u32(mail_put_u32(mail_put_u32(d, m->index), m->serial), gone);
    mail_end(core, owner, d);
}

static void post_answer(struct core *core, unsigned owner, const struct qanswer *a,
                        struct bytes text)
{
    uint8_t *d = mail_begin(core, owner, MAIL_QUEUE_ANSWER, sizeof *a + 8 + text.n);
    if (d == NULL) return; /* its deadline will tell */
    mail_end(core, owner, mail_put_bytes(put_mem(d, bytes_of(a, sizeof *a)), text));
}

static struct qanswer answer_of(const struct qdeliver *told, uint64_t seq, enum qverdict verdict)
{
    return (struct qanswer){.seq = seq,
                            .queue = told->queue,
                            .queue_serial = told->queue_serial,
                            .entry = told->entry,
                            .number = told->number,
                            .member = told->member,
                            .member_serial = told->member_serial,
                            .epoch = told->epoch,
                            .verdict = (uint8_t)verdict};
}

/* ---- deliveries ---- */

static int delivery_slot(struct core *core, struct qdelivery *d)
{
    uint32_t at = core->delivery_free;
    while (at < core->delivery_cap && core->deliveries[at]) at++;
    if (at == core->delivery_cap) {
        uint32_t cap = at ? at * 2 : 64;
        struct qdelivery **all = mem_realloc(core->deliveries, cap * sizeof(struct qdelivery *));
        if (all == NULL) return E_NOMEM;
        memset(all + at, 0, (cap - at) * sizeof(struct qdelivery *));
        core->deliveries = all;
        core->delivery_cap = cap;
    }
    core->deliveries[at] = d;
    core->delivery_free = at + 1;
    d->index = at;
    return 0;
}

static void delivery_free(struct core *core, struct qdelivery *d)
{
    struct member *m = d->member;
    list_del(&d->link);
    blob_unref(d->body);
    core->deliveries[d->index] = NULL;
    if (d->index < core->delivery_free) core->delivery_free = d->index;
    mem_free(d);
    m->pending--;
    share_member_release(core, m);
}

/* It ends, off the window too. */
static void delivery_end(struct core *core, struct qdelivery *d, enum qverdict verdict)
{
    struct qanswer a = answer_of(&d->told, d->seq, verdict);
    a.release = true;
    post_answer(core, owner_of(core, d->member), &a, (struct bytes){0});
    delivery_free(core, d);
}

static struct qinbox *inbox(struct session *s)
{
    if (s->inbox) return s->inbox;
    s->inbox = mem_calloc(1, sizeof *s->inbox);
    if (s->inbox == NULL) return NULL;
    list_init(&s->inbox->waiting);
    list_init(&s->inbox->sent);
    return s->inbox;
}

/* E_NOTFOUND: that consumer is not there (any more); E_NOMEM. */
static int take_in(struct core *core, const struct qdeliver *told, struct pub *p)
{
    struct member *m = share_member_at(core, told->member);
    if (m == NULL || m->serial != told->member_serial || m->epoch != told->epoch) return E_NOTFOUND;
    struct session *s = m->session;
    if (s == NULL || s->conn == NULL) return E_NOTFOUND;
    struct blob *b = inbox(s) ? pub_blob(p) : NULL;
    struct qdelivery *d = b ? mem_calloc(1, sizeof *d) : NULL;
    if (d == NULL || delivery_slot(core, d) < 0) {
        mem_free(d);
        return E_NOMEM;
    }
    d->member = m;
    d->body = blob_ref(b);
    d->told = *told;
    d->seq = p->seq;
    d->qos = core->cfg.upgrade_outgoing_qos ? m->qos : (uint8_t)min_u64(p->qos, m->qos);
    m->pending++;
    list_push(&s->inbox->waiting, &d->link);
    if (s->conn->state == CONN_UP && !s->conn->blocked) conn_ready(s->conn, CORE_EV_OUTPUT);
    return 0;
}

void wqueue_deliver_in(struct core *core, unsigned src, struct rd *r)
{
    struct qdeliver told;
    struct pub p;
    struct bytes head = rd_take(r, sizeof told);
    ASSERT(head.n == sizeof told);
    memcpy(&told, head.p, sizeof told);
    (void)mail_get_pub(r, &p);
    if (take_in(core, &told, &p) < 0) {
        struct qanswer a = answer_of(&told, p.seq, QV_RETURN);
        a.release = true;
        post_answer(core, src, &a, (struct bytes){0});
    }
    blob_unref(p.blob);
}

bool wqueue_may_pull(const struct cconn *c)
{
    const struct qinbox *in = c->session->inbox;
    if (LIKELY(in == NULL) || list_empty(&in->waiting) || c->subacks_due) return false;
    const struct qdelivery *d = CONTAINER_OF(in->waiting.next, struct qdelivery, link);
    return d->qos == 0 || conn_window_open(c);
}

int wqueue_pull(struct cconn *c)
{
    struct core *core = c->core;
    struct session *s = c->session;
    if (!wqueue_may_pull(c)) return E_AGAIN;
    struct qdelivery *d = CONTAINER_OF(s->inbox->waiting.next, struct qdelivery, link);
    if (UNLIKELY(!access_may_read(c, msg_topic(d->body)) ||
                 !access_may_use(c, name_of(d->member), ACL_QUEUE))) {
        core->stats.denied_delivery++;
        delivery_end(core, d, QV_DENIED);
        return 0;
    }
    struct queued_sending how = {.qos = d->qos,
                                 .subid = d->member->subid,
                                 .index = d->index,
                                 .tell = {.seq = d->seq, .attempt = d->told.attempt}};
    int rc = deliver_from_queue(c, d->body, &how, &d->packet_id);
    if (rc == E_TOO_LARGE || rc == E_TOPIC_NAME) { /* or not below the listener's mount point */
        delivery_end(core, d, rc == E_TOO_LARGE ? QV_TOO_LARGE : QV_DENIED);
        return 0;
    }
    if (rc < 0) { /* without memory the connection is being closed, or soon tries again */
        delivery_end(core, d, QV_RETURN);
        return 0;
    }
    if (d->qos == 0) { /* sent is done */
        delivery_end(core, d, QV_DONE);
        return 0;
    }
    d->body = NULL; /* the window has it */
    list_del(&d->link);
    list_push(&s->inbox->sent, &d->link);
    return 0;
}

static void offline_one(struct session *s, struct qdelivery *d)
{
    struct core *core = s->core;
    struct inflight_entry *e = d->packet_id ? inflight_find(&s->out, d->packet_id) : NULL;
    if (e) {
        e->flags &= (uint8_t)~OUTQ_QUEUE;
        session_settle(s, e);
    }
    if (d->member->session)
        delivery_free(core, d); /* the owner is told that all are over */
    else
        delivery_end(core, d, QV_RETURN);
}

void wqueue_offline(struct session *s)
{
    struct qinbox *in = s->inbox;
    if (in == NULL) return;
    LIST_EACH_SAFE(it, next, &in->sent) offline_one(s, CONTAINER_OF(it, struct qdelivery, link));
    LIST_EACH_SAFE(it, next, &in->waiting)
    offline_one(s, CONTAINER_OF(it, struct qdelivery, link));
    mem_free(in);
    s->inbox = NULL;
}

/* ---- answers ---- */

/* What the reason of a PUBACK or PUBREC says (CONTRACT section 5). */
static enum qverdict verdict_of(uint8_t reason)
{
    if (reason < MQTT_UNSPECIFIED_ERROR) return QV_DONE;
    switch (reason) {
    case MQTT_QUOTA_EXCEEDED: return QV_REQUEUE;
    case MQTT_NOT_AUTHORIZED:
    case MQTT_TOPIC_NAME_INVALID:
    case MQTT_PAYLOAD_FORMAT_INVALID: return QV_REJECT;
    default: return QV_RETRY;
    }
}

void wqueue_acknowledged(struct session *s, struct inflight_entry *e, const struct mqtt_ack *a)
{
    enum { RETRY_AFTER_MS = 1000 };
    struct core *core = s->core;
    struct qdelivery *d = core->deliveries[e->subid];
    ASSERT(d != NULL && d->packet_id == e->packet_id);
    e->flags &= (uint8_t)~OUTQ_QUEUE;
    e->subid = 0;
    struct qanswer out =
        answer_of(&d->told, d->seq, d->answered ? QV_NOTHING : verdict_of(a->reason));
    struct bytes text = {0};
    out.release = true;
    out.code = a->reason >= MQTT_UNSPECIFIED_ERROR ? a->reason : 0;
    out.wait_ms = UINT64_MAX;
    if (out.verdict == QV_REQUEUE) {
        struct bytes after =
            a->props.user_count ? control_find(a->props.raw, "retry-after") : (struct bytes){0};
        if (control_seconds(after, &out.wait_ms) < 0) out.wait_ms = RETRY_AFTER_MS;
    }
    if (out.code && mqtt_has(&a->props, MQTT_P_REASON_STRING)) text = a->props.reason_string;
    post_answer(core, owner_of(core, d->member), &out, text);
    delivery_free(core, d);
}

/* ---- commands ---- */

struct command {
    struct bytes queue;
    enum qverdict verdict;
    uint64_t wait_ms;
};

static bool next_level(struct bytes *rest, struct bytes *level)
{
    if (rest->p == NULL) return false;
    const uint8_t *slash = rest->n ? memchr(rest->p, '/', rest->n) : NULL;
    *level = bytes_of(rest->p, slash ? (size_t)(slash - rest->p) : rest->n);
    *rest = slash ? bytes_skip(*rest, level->n + 1) : (struct bytes){0};
    return true;
}

/* $queue/<name>/nack[/<seconds>], .../reject, .../extend/<seconds>. */
static bool command_read(struct bytes topic, struct command *out)
{
    struct bytes rest = bytes_skip(topic, strlen("$queue/")), verb, seconds = {0}, more;
    if (!next_level(&rest, &out->queue) || !next_level(&rest, &verb)) return false;
    bool timed = next_level(&rest, &seconds);
    if (next_level(&rest, &more) || out->queue.n == 0) return false;
    out->wait_ms = UINT64_MAX;
    if (timed && control_seconds(seconds, &out->wait_ms) < 0) return false;
    if (bytes_eq(verb, bytes_str("nack")))
        out->verdict = QV_RETRY;
    else if (bytes_eq(verb, bytes_str("reject")) && !timed)
        out->verdict = QV_REJECT;
    else if (bytes_eq(verb, bytes_str("extend")) && timed)
        out->verdict = QV_EXTEND;
    else
        return false;
    return true;
}

/* The oldest that the session has of that queue, or the one with this sequence; seq 0: any. */
static struct qdelivery *held(const struct session *s, struct bytes queue, uint64_t seq)
{
    if (s->inbox == NULL) return NULL;
    for (struct list *it = s->inbox->sent.next; it != &s->inbox->sent; it = it->next) {
        struct qdelivery *d = CONTAINER_OF(it, struct qdelivery, link);
        if (d->answered || (seq && d->seq != seq)) continue;
        if (bytes_eq(bytes_of(d->member->text, d->member->name_len), queue)) return d;
    }
    return NULL;
}

uint8_t wqueue_command(struct cconn *c, struct bytes topic, struct bytes props, const char **why)
{
    struct core *core = c->core;
    struct command cmd;
    uint64_t seq = 0;
    *why = "this topic is not for clients to publish to";
    if (!command_read(topic, &cmd)) return MQTT_TOPIC_NAME_INVALID;
    *why = "the access list does not let this client use this queue";
    if (!access_may_use(c, cmd.queue, ACL_QUEUE)) return MQTT_NOT_AUTHORIZED;
    struct bytes named = control_find(props, "sluice-seq");
    *why = "sluice-seq is a number";
    if (named.p && (control_number(named, &seq) < 0 || seq == 0)) return MQTT_IMPLEMENTATION_ERROR;
    *why = "no such delivery of this queue is held by this client";
    struct qdelivery *d = held(c->session, cmd.queue, seq);
    if (d == NULL) return MQTT_IMPLEMENTATION_ERROR;
    struct qanswer a = answer_of(&d->told, d->seq, cmd.verdict);
    a.wait_ms = cmd.wait_ms;
    d->answered = cmd.verdict != QV_EXTEND;
    post_answer(core, owner_of(core, d->member), &a, (struct bytes){0});
    return 0;
}
