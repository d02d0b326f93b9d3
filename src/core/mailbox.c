/* Posting and reading mail between cores.  Bytes are copied into the letter and read from it in
 * place, as from a socket: no memory is shared between shards, so nothing is counted atomically. */
#include "core/mailbox.h"

#include "core/dead_read.h"
#include "core/dedup.h"
#include "core/history.h"
#include "core/journal.h"
#include "core/queue.h"
#include "core/retained.h"
#include "core/share.h"

struct mail_head {
    uint32_t len; /* of the fields that follow */
    uint32_t kind;
};

static struct buf *newest(struct outbox *o) { return o->more.data ? &o->more : &o->buf; }

/* Room for a letter of that size, without the reserve; NULL: no memory. */
static uint8_t *room(struct core *core, unsigned dst, size_t size)
{
    struct buf *b = newest(&core->mail[dst]);
    if (b->data == NULL && core->spare_count > 0) *b = core->spare[--core->spare_count];
    if (size >= UINT32_MAX / 2) return NULL;
    return buf_reserve(b, (uint32_t)(sizeof(struct mail_head) + size));
}

static uint8_t *reserve_room(struct core *core, unsigned dst, size_t size)
{
    struct outbox *o = &core->mail[dst];
    size_t n = sizeof(struct mail_head) + size;
    if (o->more.data || n > o->reserve.cap) return NULL;
    o->more = o->reserve;
    o->reserve = (struct buf){0};
    core->mail_short++;
    return buf_reserve(&o->more, (uint32_t)n);
}

bool mail_room(struct core *core, uint64_t shards, size_t size)
{
    for (; shards; shards &= shards - 1)
        if (room(core, (unsigned)__builtin_ctzll(shards), size) == NULL) return false;
    return true;
}

uint64_t mail_shards(const struct core *core, const struct pub *p, const struct route *r)
{
    uint64_t own = (uint64_t)1 << core->shard;
    uint64_t owner = p->retain ? (uint64_t)1 << retained_owner(core, p->hash) : 0;
    return (r->remote | owner) & ~own;
}

int mailbox_init(struct core *core)
{
    for (unsigned i = 0; i < core->shards; i++)
        if (buf_grow(&core->mail[i].reserve, MAIL_RESERVE) == NULL) return E_NOMEM;
    return 0;
}

void mailbox_refill(struct core *core)
{
    if (LIKELY(core->mail_short == 0)) return;
    for (unsigned i = 0; i < core->shards; i++) {
        struct buf *b = &core->mail[i].reserve;
        if (b->data == NULL && buf_grow(b, MAIL_RESERVE)) core->mail_short--;
    }
    while (core->mail_short == 0 && !list_empty(&core->mail_waiters))
        conn_resume(CONTAINER_OF(core->mail_waiters.next, struct cconn, waiting));
}

uint8_t *mail_begin(struct core *core, unsigned dst, enum mail_kind kind, size_t size)
{
    uint8_t *d = room(core, dst, size);
    if (UNLIKELY(d == NULL)) d = reserve_room(core, dst, size);
    if (d == NULL) {
        core->stats.dropped_no_memory++;
        return NULL;
    }
    struct mail_head head = {0, kind};
    memcpy(d, &head, sizeof head);
    return d + sizeof head;
}

void mail_end(struct core *core, unsigned dst, uint8_t *end)
{
    struct buf *b = newest(&core->mail[dst]);
    uint8_t *start = b->data + b->tail;
    uint32_t len = (uint32_t)((size_t)(end - start) - sizeof(struct mail_head));
    memcpy(start + offsetof(struct mail_head, len), &len, sizeof len);
    buf_commit(b, (uint32_t)(end - start));
}

/* The fields of a message that have a fixed size; topic, properties and payload follow. */
struct pub_head {
    uint64_t hash, seq, created_ms, origin_session;
    uint32_t expiry_s, props_len, payload_len, control_len;
    uint16_t topic_len, origin, client_id_len, username_len;
    uint8_t qos, retain, flags; /* flags: the letter's own */
};

size_t mail_pub_size(const struct pub *p)
{
    struct msg_from who = pub_publisher(p);
    return sizeof(struct pub_head) + pub_size(p) + who.client_id.n + who.username.n + p->control.n;
}

uint8_t *mail_put_pub(uint8_t *d, const struct pub *p, unsigned flags)
{
    struct msg_from who = pub_publisher(p);
    struct pub_head h = {.flags = (uint8_t)flags,
                         .client_id_len = (uint16_t)who.client_id.n,
                         .username_len = (uint16_t)who.username.n,
                         .hash = p->hash,
                         .seq = p->seq,
                         .created_ms = p->created_ms,
                         .origin_session = p->origin_session,
                         .expiry_s = p->expiry_s,
                         .props_len = (uint32_t)p->props.n,
                         .payload_len = (uint32_t)p->payload.n,
                         .control_len = (uint32_t)p->control.n,
                         .topic_len = (uint16_t)p->topic.n,
                         .origin = (uint16_t)p->origin,
                         .qos = p->qos,
                         .retain = p->retain};
    d = put_mem(d, bytes_of(&h, sizeof h));
    d = put_mem(put_mem(put_mem(put_mem(d, p->topic), p->props), p->payload), p->control);
    return put_mem(put_mem(d, who.client_id), who.username);
}

unsigned mail_get_pub(struct rd *r, struct pub *p)
{
    struct pub_head h;
    struct bytes head = rd_take(r, sizeof h);
    ASSERT(head.n == sizeof h);
    memcpy(&h, head.p, sizeof h);
    *p = (struct pub){.topic = rd_take(r, h.topic_len),
                      .hash = h.hash,
                      .seq = h.seq,
                      .created_ms = h.created_ms,
                      .expiry_s = h.expiry_s,
                      .qos = h.qos,
                      .retain = h.retain != 0,
                      .origin = h.origin,
                      .origin_session = h.origin_session};
    p->props = rd_take(r, h.props_len);
    p->payload = rd_take(r, h.payload_len);
    p->control = rd_take(r, h.control_len);
    p->who.client_id = rd_take(r, h.client_id_len);
    if (h.username_len) p->who.username = rd_take(r, h.username_len);
    ASSERT(rd_ok(r));
    return h.flags;
}

void mail_hold(struct core *core, const struct pub *p)
{
    if (core->keeps && p->seq) (void)store_hold(core->store, p->seq, NULL);
}

void mail_held(struct core *core, const struct pub *p)
{
    if (core->keeps && p->seq) core_drop(core, p->seq);
}

void mail_publish(struct core *core, unsigned dst, const struct pub *p, unsigned flags)
{
    uint8_t *d = mail_begin(core, dst, MAIL_PUBLISH, mail_pub_size(p));
    if (d) mail_end(core, dst, mail_put_pub(d, p, flags));
}

void mail_pause(struct core *core, unsigned dst, enum mail_kind kind, session_id publisher,
                session_id reader)
{
    uint8_t *d = mail_begin(core, dst, kind, 16);
    if (d) mail_end(core, dst, mail_put_u64(mail_put_u64(d, publisher), reader));
}

bool mail_full(const struct core *core, unsigned dst)
{
    return core_mail_pending(core, dst) > MAIL_SOFT;
}

/* One that was sent before the sender knew of a durable subscription here is stored here; deliver()
 * knows what to do when that cannot be. */
static void route_mail(struct core *core, struct pub *p)
{
    const struct route *route = route_get(core, p->topic, p->hash);
    p->queued = route->queued;
    if (p->seq && pub_is_tracked(core, p))
        journal_arrived(core, p->seq);
    else if (UNLIKELY(p->seq == 0 && (route->queued || (core->keeps && p->qos && route->durable))))
        (void)!pub_store(core, p);
    router_deliver(core, p, route);
}

static void on_publish(struct core *core, struct rd *r)
{
    struct pub p;
    unsigned flags = mail_get_pub(r, &p);
    if (flags & MAIL_RETAIN_SET) retained_set(core, &p);
    if (flags & MAIL_ROUTE) route_mail(core, &p);
    blob_unref(p.blob);
}

static void on_pause(struct core *core, unsigned src, unsigned kind, struct rd *r)
{
    struct session *s = core_session(core, mail_u64(r));
    struct remote_waiter reader = {.shard = src, .session = mail_u64(r)};
    struct cconn *c = s ? s->conn : NULL;
    if (c == NULL || c->state != CONN_UP) return;
    conn_pause_remote(c, reader, kind == MAIL_PAUSE);
}

static void letter(struct core *core, unsigned src, unsigned kind, struct rd *r)
{
    if (kind == MAIL_PUBLISH)
        on_publish(core, r);
    else if (kind <= MAIL_FENCE_DONE)
        interest_mail_in(core, src, kind, r);
    else if (kind <= MAIL_RESUME)
        on_pause(core, src, kind, r);
    else if (kind <= MAIL_RETAIN_DONE)
        retained_mail_in(core, src, kind, r);
    else if (kind <= MAIL_SHARE_AGAIN)
        share_mail_in(core, src, kind, r);
    else if (kind <= MAIL_QUEUE_SAID)
        wqueue_mail_in(core, src, kind, r);
    else if (kind <= MAIL_CHECKPOINT_DONE)
        checkpoint_mail_in(core, src, kind, r);
    else if (kind <= MAIL_HISTORY_FIRST)
        history_mail_in(core, src, kind, r);
    else if (kind <= MAIL_DEAD_PAGE)
        dead_read_mail_in(core, src, kind, r);
    else
        dedup_mail_in(core, src, kind, r);
}

void core_mail_in(struct core *core, unsigned src, struct bytes mail)
{
    while (mail.n > 0) {
        struct mail_head head;
        ASSERT(mail.n >= sizeof head);
        memcpy(&head, mail.p, sizeof head);
        ASSERT(mail.n >= sizeof head + head.len && head.kind > 0 && head.kind < MAIL_KINDS);
        struct rd r = rd_of(bytes_of(mail.p + sizeof head, head.len));
        letter(core, src, head.kind, &r);
        mail = bytes_skip(mail, sizeof head + head.len);
    }
}

bool mail_take(struct core *core, unsigned dst, struct buf *out)
{
    struct outbox *o = &core->mail[dst];
    struct buf *b = buf_len(&o->buf) ? &o->buf : &o->more;
    if (buf_len(b) == 0) return false;
    *out = *b;
    *b = (struct buf){0};
    while (core->mail_short == 0 && !list_empty(&core->mail_waiters))
        conn_resume(CONTAINER_OF(core->mail_waiters.next, struct cconn, waiting));
    return true;
}

/* What a letter is about must be before what its reader does, also in the log. */
bool core_mail_take(struct core *core, unsigned dst, struct buf *out)
{
    return !core_mail_held(core) && mail_take(core, dst, out);
}

void core_mail_recycle(struct core *core, struct buf *empty)
{
    empty->head = empty->tail = 0;
    if (core->spare_count < SPARE_BUFS && empty->cap <= SPARE_CAP)
        core->spare[core->spare_count++] = *empty;
    else
        buf_fini(empty);
    *empty = (struct buf){0};
}

size_t core_mail_pending(const struct core *core, unsigned dst)
{
    return buf_len(&core->mail[dst].buf) + buf_len(&core->mail[dst].more);
}

void mailbox_self(struct core *core)
{
    struct buf b;
    while (mail_take(core, core->shard, &b)) {
        core_mail_in(core, core->shard, buf_view(&b));
        core_mail_recycle(core, &b);
    }
}

void mailbox_free(struct core *core)
{
    for (unsigned i = 0; i < core->shards; i++) {
        buf_fini(&core->mail[i].buf);
        buf_fini(&core->mail[i].more);
        buf_fini(&core->mail[i].reserve);
    }
    retained_asks_free(core);
}
