/* Writing the journal, see journal.h.  The shard's thread. */
#include "core/journal.h"

#include "core/mailbox.h"
#include "core/share.h"
#include "core/tell.h"
#include "core/wished.h"

enum { HEAD = 4, KIND_BITS = 8, ENTRY_MAX = 1 << 24, JOURNAL_KEEP = 64 * 1024, SLICE = 256 * 1024 };

/* Sessions and subscriptions as they were before a message, identifiers that are free again: in the
 * log these must not come after what was stored later.  Of deliveries that does not matter. */
static bool is_ordered(enum journal_kind kind)
{
    if (kind >= J_QDONE && kind <= J_DELAYED) return false;
    return kind < J_SENT || kind == J_IN2 || kind == J_IN2_DONE || kind >= J_FULL;
}

uint8_t *journal_put(struct core *core, enum journal_kind kind, size_t size)
{
    struct buf *b = &core->journal;
    uint8_t *d = size < ENTRY_MAX ? buf_reserve(b, (uint32_t)(HEAD + size)) : NULL;
    if (d == NULL) {
        core->stats.dropped_no_memory++;
        core->journal_torn = core->drops_wait = true;
        return NULL;
    }
    core->journal_ordered |= is_ordered(kind);
    return mail_put_u32(d, kind);
}

void journal_put_end(struct core *core, uint8_t *end)
{
    struct buf *b = &core->journal;
    uint8_t *start = b->data + b->tail;
    size_t len = (size_t)(end - start) - HEAD;
    ASSERT(len < ENTRY_MAX);
    mail_put_u32(start, *start | (uint32_t)len << KIND_BITS);
    buf_commit(b, (uint32_t)(HEAD + len));
}

/* ---- sessions ---- */

static uint8_t *put_will(uint8_t *d, const struct will *w)
{
    d = mail_put_u32(mail_put_u32(d, w->expiry_s), w->delay_s);
    d = put_u8(put_u8(d, w->qos), w->retain);
    return mail_put_bytes(mail_put_bytes(mail_put_bytes(d, w->topic), w->props), w->payload);
}

void journal_meta(struct session *s)
{
    struct core *core = s->core;
    const struct will *w = s->will;
    if (!s->logged || !core->journaling) return;
    size_t size = 64u + s->client_id_len;
    struct bytes owner = s->owner ? bytes_str(s->owner) : (struct bytes){0};
    if (w) size += 32 + w->topic.n + w->props.n + w->payload.n;
    if (s->owner) size += 8 + owner.n;
    uint8_t *d = journal_put(core, J_META, size);
    if (d == NULL) return;
    d = mail_put_u64(mail_put_u64(d, s->sid), s->conn ? 0 : s->away_ms);
    unsigned flags =
        (w ? META_WILL : 0u) | (s->begins ? META_NEW : 0u) | (s->owner ? META_OWNER : 0u);
    s->begins = false;
    d = put_u8(put_u8(mail_put_u32(d, s->expiry_s), s->version), flags);
    d = mail_put_bytes(d, bytes_of(s->client_id, s->client_id_len));
    if (w) d = put_will(d, w);
    journal_put_end(core, s->owner ? mail_put_bytes(d, owner) : d);
}

static uint8_t *put_sid(const struct session *s, enum journal_kind kind, size_t more)
{
    if (!s->logged || !s->core->journaling) return NULL;
    uint8_t *d = journal_put(s->core, kind, sizeof s->sid + more);
    return d ? mail_put_u64(d, s->sid) : NULL;
}

void journal_end(struct session *s)
{
    uint8_t *d = put_sid(s, J_END, 0);
    if (d) journal_put_end(s->core, d);
}

void journal_sub(const struct session *s, const struct sub *sub, struct bytes filter)
{
    struct bytes block = sub_block(sub);
    uint8_t *d = put_sid(s, J_SUB, 24 + filter.n + block.n);
    if (d == NULL) return;
    d = put_u8(mail_put_u32(d, tell_plain(s->core, sub->subid)), sub->qos);
    d = put_u8(d, (unsigned)sub->no_local | (unsigned)sub->retain_as_published << 1 |
                      (unsigned)sub->retain_handling << 2);
    journal_put_end(s->core, mail_put_bytes(mail_put_bytes(d, filter), block));
}

void journal_unsub(const struct session *s, struct bytes filter, struct bytes prefix)
{
    uint8_t *d = put_sid(s, J_UNSUB, 16 + filter.n + prefix.n);
    if (d) journal_put_end(s->core, mail_put_bytes(mail_put_bytes(d, filter), prefix));
}

void journal_join(const struct session *s, const struct journal_member *m)
{
    uint8_t *d = put_sid(s, J_JOIN, 32 + m->name.n + m->filter.n + m->block.n);
    if (d == NULL) return;
    d = mail_put_u32(mail_put_u32(d, m->mid), m->subid);
    d = put_u8(put_u8(d, m->qos), m->retain_as_published);
    d = mail_put_bytes(mail_put_bytes(d, m->name), m->filter);
    journal_put_end(s->core, mail_put_bytes(d, m->block));
}

void journal_leave(const struct session *s, uint32_t mid)
{
    uint8_t *d = put_sid(s, J_LEAVE, 4);
    if (d) journal_put_end(s->core, mail_put_u32(d, mid));
}

/* ---- deliveries ---- */

size_t journal_options_size(struct core *core, uint32_t subid, unsigned flags)
{
    uint32_t count = 1;
    if (!(flags & OUTQ_SHARE)) (void)subid_list(core, &subid, &count);
    return 16 + 4 * (size_t)count;
}

uint8_t *journal_put_options(struct core *core, uint8_t *d, unsigned qos, unsigned flags,
                             uint32_t subid)
{
    uint32_t mid = 0, count;
    if (flags & OUTQ_SHARE) {
        mid = share_mid(core, subid);
        subid = share_subid(core, subid);
    }
    const uint32_t *ids = subid_list(core, &subid, &count);
    d = put_u8(put_u8(d, qos), flags & (OUTQ_RETAIN | OUTQ_SHARE));
    d = mail_put_u32(mail_put_u32(d, mid), count);
    for (uint32_t i = 0; i < count; i++) d = mail_put_u32(d, ids[i]);
    return d;
}

void journal_sent(const struct session *s, const struct inflight_entry *e, uint64_t seq,
                  const struct replayed *as)
{
    struct core *core = s->core;
    uint8_t *d = put_sid(s, J_SENT, 32 + journal_options_size(core, e->subid, e->flags));
    if (d == NULL) return;
    d = mail_put_u32(mail_put_u64(d, seq), e->packet_id);
    unsigned qos = e->state == INFLIGHT_WAIT_PUBACK ? 1 : 2;
    d = journal_put_options(core, d, qos, e->flags, e->subid);
    if (as) d = mail_put_u64(d, as->replay);
    if (as && as->seq != seq) d = mail_put_u64(d, as->seq);
    journal_put_end(core, d);
}

void journal_id(const struct session *s, enum journal_kind kind, uint32_t id)
{
    uint8_t *d = put_sid(s, kind, 4);
    if (d) journal_put_end(s->core, mail_put_u32(d, id));
}

void journal_drop(const struct session *s, uint64_t seq)
{
    uint8_t *d = put_sid(s, J_DROP, 8);
    if (d) journal_put_end(s->core, mail_put_u64(d, seq));
}

void journal_moved(const struct session *s, uint64_t from, uint64_t to)
{
    uint8_t *d = put_sid(s, J_MOVED, 16);
    if (d) journal_put_end(s->core, mail_put_u64(mail_put_u64(d, from), to));
}

void journal_full(const struct session *s, uint64_t seq)
{
    uint8_t *d = put_sid(s, J_FULL, 8);
    if (d) journal_put_end(s->core, mail_put_u64(d, seq));
}

void journal_room(const struct session *s)
{
    uint8_t *d = put_sid(s, J_ROOM, 0);
    if (d) journal_put_end(s->core, d);
}

void journal_queued(const struct session *s, const struct outq_item *item)
{
    struct core *core = s->core;
    uint8_t *d = put_sid(s, J_QUEUED, 16 + journal_options_size(core, item->subid, item->flags));
    if (d == NULL) return;
    d = mail_put_u32(mail_put_u64(d, item_seq(core, item)), item->size);
    journal_put_end(core, journal_put_options(core, d, item->qos, item->flags, item->subid));
}

/* ---- groups ---- */

void journal_group(struct core *core, enum journal_kind kind, uint64_t seq, uint64_t group)
{
    uint8_t *d = core->journaling && seq ? journal_put(core, kind, 16) : NULL;
    if (d) journal_put_end(core, mail_put_u64(mail_put_u64(d, seq), group));
}

void journal_waits(struct core *core, uint64_t seq, struct bytes name, struct bytes filter)
{
    uint8_t *d =
        core->journaling && seq ? journal_put(core, J_WAITS, 16 + name.n + filter.n) : NULL;
    if (d)
        journal_put_end(core, mail_put_bytes(mail_put_bytes(mail_put_u64(d, seq), name), filter));
}

/* ---- messages ---- */

void journal_arrived(struct core *core, uint64_t seq)
{
    uint8_t *d = core->journaling ? journal_put(core, J_ARRIVED, 8) : NULL;
    if (d) journal_put_end(core, mail_put_u64(d, seq));
}

void journal_routed(struct core *core, uint64_t seq, uint64_t remote)
{
    uint8_t *d = core->journaling ? journal_put(core, J_ROUTED, 16) : NULL;
    if (d) journal_put_end(core, mail_put_u64(mail_put_u64(d, seq), remote));
}

void journal_run(struct core *core)
{
    uint8_t *d = core->journaling ? journal_put(core, J_RUN, 16) : NULL;
    if (d == NULL) return;
    d = mail_put_u32(mail_put_u32(d, JOURNAL_FORMAT), core->shards);
    journal_put_end(core, mail_put_u64(d, core->seed));
}

/* Whole entries of at most SLICE bytes, or one that is longer. */
static struct bytes slice(struct bytes all)
{
    size_t n = 0;
    while (n < all.n) {
        struct rd r = rd_of(bytes_skip(all, n));
        size_t entry = HEAD + (mail_u32(&r) >> KIND_BITS);
        if (n && n + entry > SLICE) break;
        n += entry;
    }
    return bytes_of(all.p, n);
}

/* What cannot be stored now (no room, disk full) is tried again next turn: the memory for it is
 * bounded by what the windows of the clients let happen meanwhile. */
void journal_flush(struct core *core)
{
    struct buf *b = &core->journal;
    uint64_t seq;
    while (buf_len(b)) {
        struct bytes part = slice(buf_view(b));
        int rc = store_journal(core->store, part, &seq);
        core->log_full = rc == E_FULL;
        if (rc < 0) return;
        buf_consume(b, (uint32_t)part.n);
        core->journal_seq = seq;
    }
    core->journal_ordered = false;
    pending_sealed(core, core->journal_seq);
    b->head = b->tail = 0;
    if (b->cap > JOURNAL_KEEP) buf_fini(b);
}
