/* Shared subscriptions, see share.h.  The shard's thread.
 *
 *   member's shard                         owner's shard
 *   struct member  --JOIN, LEAVE---------->  struct group { seats, what waits }
 *                  <-----DELIVER-----------  to the seat that is next (shared_dispatch)
 *                  ------SETTLED---------->  done: there is room for what waits
 *                  ------RETURN----------->  another seat gets it: QoS 1, and QoS 2 not yet sent
 *
 * What no connected member has room for waits at the owner, so that it goes to the one that has
 * room first.  A member that goes away hands back oldest first and only then says that it is away
 * (JOIN) or leaves (LEAVE); until then nothing is moved to the sessions of those that are away, so
 * that what it hands back is still before what was published later. */
#include "core/share_int.h"

#include "core/journal.h"
#include "core/queue.h"
#include "core/recover.h"
#include "core/wished.h"

static unsigned owner_of(const struct core *core, const struct member *m)
{
    return core_home(bytes_of(m->text, m->name_len), core->shards, core->seed);
}

static struct bytes member_filter(const struct member *m)
{
    return bytes_of(m->text + m->name_len, m->filter_len);
}

static uint8_t *put_member(uint8_t *d, const struct member *m)
{
    d = mail_put_bytes(mail_put_bytes(d, bytes_of(m->text, m->name_len)), member_filter(m));
    return mail_put_u32(mail_put_u32(d, m->index), m->serial);
}

static struct bytes member_block(const struct member *m)
{
    return bytes_of(m->block, m->block_len);
}

static struct bytes member_prefix(const struct member *m)
{
    struct wish w;
    wish_get(member_block(m), &w);
    return w.prefix;
}

/* Of a letter about it. */
static size_t member_size(const struct member *m)
{
    return 40u + m->name_len + m->filter_len + m->block_len;
}

static struct ticket member_ticket(const struct member *m)
{
    return (struct ticket){m->group, m->group_serial, m->index, m->serial, m->settled};
}

/* Not while recovery reads what came and went: who is there in the end joins then (share_rejoin).
 */
static int post_join(struct core *core, const struct member *m)
{
    if (m->queue) wqueue_member_join(core, m);
    if (core->recovery || m->queue) return 0;
    unsigned owner = owner_of(core, m);
    const struct session *s = m->session;
    uint8_t *d = mail_begin(core, owner, MAIL_SHARE_JOIN, member_size(m));
    if (d == NULL) return E_NOMEM;
    uint32_t window = s->conn && m->qos ? s->conn->window : UINT16_MAX;
    uint32_t bits =
        m->qos | (uint32_t)(s->conn != NULL) << 8 | (uint32_t)s->durable << 9 | window << 16;
    d = mail_put_u32(mail_put_u32(put_member(d, m), m->settled), bits);
    mail_end(core, owner, mail_put_bytes(d, member_block(m)));
    return 0;
}

/* gone: the session is, or its connection; else it unsubscribes and answers what it has. */
static void post_leave(struct core *core, const struct member *m, bool gone)
{
    if (m->queue) wqueue_member_leave(core, m, gone);
    if (core->recovery || m->queue) return;
    unsigned owner = owner_of(core, m);
    uint8_t *d = mail_begin(core, owner, MAIL_SHARE_LEAVE, member_size(m));
    if (d) mail_end(core, owner, put_member(d, m));
}

struct member *share_member_at(const struct core *core, uint32_t index)
{
    return index < core->member_count ? core->members[index] : NULL;
}

static int member_slot(struct core *core, struct member *m)
{
    uint32_t at = core->member_free;
    while (at < core->member_count && core->members[at]) at++;
    if (at == core->member_count) {
        uint32_t count = at ? at * 2 : 16;
        struct member **slots = mem_realloc(core->members, count * sizeof(struct member *));
        if (slots == NULL) return E_NOMEM;
        memset(slots + at, 0, (count - at) * sizeof(struct member *));
        core->members = slots;
        core->member_count = count;
    }
    core->members[at] = m;
    core->member_free = at + 1;
    m->index = at;
    m->serial = ++core->member_serial;
    return 0;
}

void share_member_release(struct core *core, struct member *m)
{
    if (m->session || m->pending) return;
    core->members[m->index] = NULL;
    if (m->index < core->member_free) core->member_free = m->index;
    mem_free(m->block);
    mem_free(m);
}

static struct member **member_find(struct session *s, struct bytes name, struct bytes filter,
                                   struct bytes prefix)
{
    struct member **at = &s->shares;
    for (; *at; at = &(*at)->next)
        if (bytes_eq(bytes_of((*at)->text, (*at)->name_len), name) &&
            bytes_eq(member_filter(*at), filter) && bytes_eq(member_prefix(*at), prefix))
            return at;
    return NULL;
}

static void member_journal(const struct member *m)
{
    const struct journal_member j = {.mid = m->mid,
                                     .subid = m->subid,
                                     .qos = m->qos,
                                     .retain_as_published = m->retain_as_published,
                                     .name = bytes_of(m->text, m->name_len),
                                     .filter = member_filter(m),
                                     .block = member_block(m)};
    journal_join(m->session, &j);
}

int share_subscribe(struct session *s, struct bytes name, struct bytes filter,
                    const struct mqtt_subscription *opts, uint8_t qos, uint32_t subid,
                    const struct wish *w)
{
    struct core *core = s->core;
    struct member **at = member_find(s, name, filter, w->prefix);
    struct member *m = at ? *at : NULL;
    if (m == NULL && core->cfg.max_subscriptions && s->sub_count >= core->cfg.max_subscriptions)
        return E_FULL;
    if (!(m && m->block) && wish_over_quota(s, w)) return E_FULL;
    size_t block_len = wish_size(w);
    uint8_t *block = block_len ? mem_alloc(block_len) : NULL;
    if (block_len && block == NULL) return E_NOMEM;
    if (m == NULL) {
        m = mem_calloc(1, sizeof *m + name.n + filter.n);
        if (m == NULL || member_slot(core, m) < 0) {
            mem_free(m);
            mem_free(block);
            return E_NOMEM;
        }
        m->name_len = (uint16_t)name.n;
        m->filter_len = (uint16_t)filter.n;
        put_mem(put_mem(m->text, name), filter);
        m->queue = w->queue.n > 0;
        m->session = m->holder = s;
        m->next = s->shares;
        s->shares = m;
        s->sub_count++;
        core->stats.shared_subscriptions++;
    }
    m->qos = qos;
    m->retain_as_published = opts->retain_as_published;
    m->subid = subid;
    if (block) wish_put(block, w);
    wish_counted(s, (block != NULL) - (m->block != NULL));
    mem_free(m->block);
    m->block = block;
    m->block_len = (uint32_t)block_len;
    if (m->mid == 0) m->mid = (uint32_t)rng_next(&core->rng) | 1;
    member_journal(m);
    return post_join(core, m);
}

/* ---- in the journal ---- */

uint32_t share_mid(const struct core *core, uint32_t index)
{
    const struct member *m = share_member_at(core, index);
    return m ? m->mid : 0;
}

void share_journal(const struct session *s)
{
    for (const struct member *m = s->shares; m; m = m->next) member_journal(m);
}

static struct member *member_by_mid(const struct session *s, uint32_t mid)
{
    struct member *m = s->shares;
    while (m && m->mid != mid) m = m->next;
    return m;
}

int share_restore(struct session *s, uint32_t mid, struct bytes name, struct bytes filter,
                  const struct mqtt_subscription *opts, uint32_t subid, struct bytes block)
{
    struct wish w;
    wish_get(block, &w);
    int rc = share_subscribe(s, name, filter, opts, opts->qos, subid, &w);
    if (rc == 0) (*member_find(s, name, filter, w.prefix))->mid = mid;
    return rc;
}

void share_forget(struct session *s, uint32_t mid)
{
    const struct member *m = member_by_mid(s, mid);
    if (m)
        (void)share_unsubscribe(s, bytes_of(m->text, m->name_len), member_filter(m),
                                member_prefix(m));
}

bool share_adopt(struct session *s, uint32_t mid, uint32_t *index)
{
    struct member *m = member_by_mid(s, mid);
    if (m == NULL) return false;
    m->pending++;
    m->owed = true;
    s->share_pending++;
    *index = m->index;
    return true;
}

void share_rejoin(struct session *s)
{
    for (struct member *m = s->shares; m; m = m->next)
        if (post_join(s->core, m) < 0) s->core->stats.dropped_no_memory++;
}

void share_warm(struct session *s)
{
    struct core *core = s->core;
    struct blob *b;
    for (uint32_t n = s->share_pending ? s->queue.count : 0; n > 0; n--) {
        struct outq_item item = *outq_peek(&s->queue);
        outq_pop(&s->queue);
        bool cold = item.flags & OUTQ_SHARE && item.flags & OUTQ_STORED;
        int rc = cold ? recover_fetch(core, item.ref, &b) : 0;
        if (cold && rc == 0) {
            item.ref = (uint64_t)(uintptr_t)b;
            item.flags &= ~(unsigned)OUTQ_STORED & 7u;
        }
        if (rc < 0 || outq_push(&s->queue, item) < 0) queue_item_release(core, &item);
    }
    for (struct inflight_entry *e = inflight_first(&s->out); e; e = inflight_next(&s->out, e))
        while (e->flags & OUTQ_SHARE && inflight_warm(s, e) == E_AGAIN)
            (void)store_poll(core->store);
}

/* ---- deliveries ---- */

static void post_return(struct core *core, unsigned owner, const struct ticket *t,
                        const struct pub *p, unsigned flags)
{
    uint8_t *d = mail_begin(core, owner, MAIL_SHARE_RETURN, sizeof *t + mail_pub_size(p));
    if (d == NULL) return;
    mail_end(core, owner, mail_put_pub(put_mem(d, bytes_of(t, sizeof *t)), p, flags));
    mail_hold(core, p);
}

/* A delivery ends, in one of two ways; the caller tells the owner. */
static void count_settled(struct member *m)
{
    m->pending--;
    m->holder->share_pending--;
    m->settled++;
}

static uint64_t member_group(const struct member *m) /* share_group_number() of its group */
{
    return share_name_hash(bytes_of(m->text, m->name_len), member_filter(m), 0);
}

void share_settled(struct core *core, uint32_t index, uint64_t seq)
{
    struct member *m = share_member_at(core, index);
    ASSERT(m != NULL && m->pending > 0);
    if (m->owed && !m->holder->logged) journal_group(core, J_GIVEN, seq, member_group(m));
    unsigned owner = owner_of(core, m);
    count_settled(m);
    struct ticket t = member_ticket(m);
    bool tell = m->session && m->group_serial;
    uint8_t *d = tell ? mail_begin(core, owner, MAIL_SHARE_SETTLED, sizeof t) : NULL;
    if (d) mail_end(core, owner, put_mem(d, bytes_of(&t, sizeof t)));
    share_member_release(core, m);
}

void share_given(struct core *core, uint32_t index, uint64_t seq)
{
    const struct member *m = share_member_at(core, index);
    if (m->owed) journal_group(core, J_GIVEN, seq, member_group(m));
    share_settled(core, index, 0);
}

bool share_in_flight(struct core *core, struct inflight_entry *e, uint64_t seq)
{
    const struct member *m = e->flags & OUTQ_SHARE ? share_member_at(core, e->subid) : NULL;
    if (m == NULL || !m->owed) return false;
    if (e->state != INFLIGHT_WAIT_PUBACK) {
        journal_group(core, J_GIVEN, seq, member_group(m));
        return true;
    }
    e->flags |= OUTQ_STORED;
    (void)store_hold(core->store, seq, NULL);
    return false;
}

/* Calls fn for all that the session has of its groups and could still give back. */
static void each_held(struct session *s,
                      void (*fn)(struct core *core, const struct member *m, uint64_t seq))
{
    struct core *core = s->core;
    struct outq_walk walk;
    for (const struct inflight_entry *e = inflight_first(&s->out); e;
         e = inflight_next(&s->out, e)) {
        const struct member *m = e->flags & OUTQ_SHARE ? share_member_at(core, e->subid) : NULL;
        if (m && m->owed && e->state == INFLIGHT_WAIT_PUBACK) fn(core, m, inflight_seq(e));
    }
    outq_walk_from(&walk, &s->queue, 0);
    for (const struct outq_item *item; (item = outq_walk_next(&walk)) != NULL;) {
        const struct member *m =
            item->flags & OUTQ_SHARE ? share_member_at(core, item->subid) : NULL;
        bool owed = m && m->owed && !(item->flags & OUTQ_STORED) &&
                    msg_of((struct blob *)(uintptr_t)item->ref)->qos > 0;
        if (owed) fn(core, m, item_seq(core, item));
    }
}

static void is_handed(struct core *core, const struct member *m, uint64_t seq)
{
    journal_group(core, J_HANDED, seq, member_group(m));
}

static void is_waiting(struct core *core, const struct member *m, uint64_t seq)
{
    journal_waits(core, seq, bytes_of(m->text, m->name_len), member_filter(m));
}

void share_undurable(struct session *s)
{
    if (s->share_pending) each_held(s, is_handed);
}

void share_journal_held(struct session *s)
{
    if (s->share_pending) each_held(s, is_waiting);
}

/* Instead of share_settled().  Not in recovery, where J_HANDED tells the group of it. */
static void hand_back(struct core *core, struct member *m, const struct pub *p)
{
    unsigned owner = owner_of(core, m);
    struct bytes name = bytes_of(m->text, m->name_len), filter = member_filter(m);
    if (m->holder->logged || m->owed) journal_group(core, J_HANDED, p->seq, member_group(m));
    count_settled(m);
    if (m->group_serial) {
        struct ticket t = member_ticket(m);
        post_return(core, owner, &t, p, m->session ? SHARE_MORE : SHARE_GONE);
    } else { /* recovered: no group has delivered to it in this run */
        uint8_t *d =
            mail_begin(core, owner, MAIL_SHARE_AGAIN, 8 + name.n + filter.n + mail_pub_size(p));
        if (d) {
            mail_end(core, owner,
                     mail_put_pub(mail_put_bytes(mail_put_bytes(d, name), filter), p, 0));
            mail_hold(core, p);
        }
    }
    share_member_release(core, m);
}

struct bytes share_name(const struct core *core, uint32_t index)
{
    const struct member *m = share_member_at(core, index);
    return m ? bytes_of(m->text, m->name_len) : (struct bytes){0};
}

uint32_t share_subid(const struct core *core, uint32_t index)
{
    const struct member *m = share_member_at(core, index);
    return m ? m->subid : 0;
}

static void on_deliver(struct core *core, unsigned src, struct rd *r)
{
    uint32_t index = mail_u32(r), serial = mail_u32(r), group = mail_u32(r), gserial = mail_u32(r);
    struct pub p;
    unsigned flags = mail_get_pub(r, &p);
    struct member *m = share_member_at(core, index);
    mail_held(core, &p); /* it counts until the turn ends, when the session or a letter holds it */
    if (m == NULL || m->serial != serial) {
        struct ticket t = {group, gserial, index, serial, 0};
        post_return(core, src, &t, &p, SHARE_GONE);
        return;
    }
    m->group = group;
    m->group_serial = gserial;
    m->owed = flags & SHARE_OWED;
    m->pending++;
    m->holder->share_pending++;
    struct session *s = m->session;
    uint8_t qos = core->cfg.upgrade_outgoing_qos ? m->qos : (uint8_t)min_u64(p.qos, m->qos);
    if (s == NULL || (s->conn == NULL && !(s->durable && qos > 0))) {
        hand_back(core, m, &p);
        return;
    }
    if (p.origin == core->shard) p.from = core_session(core, p.origin_session);
    struct images images;
    images_init(&images, false);
    p.unasked = p.named = true; /* it may go back to the group */
    flags = OUTQ_SHARE | (m->retain_as_published && p.retain ? OUTQ_RETAIN : 0u);
    deliver(core, &p, s, qos, flags, index, &images);
    blob_unref(p.blob);
}

/* What is in flight at QoS 1; QoS 2 stays with its member [MQTT-4.8.2-4]. */
static void take_back_inflight(struct session *s)
{
    struct core *core = s->core;
    struct inflight_entry *next;
    for (struct inflight_entry *e = inflight_first(&s->out); e; e = next) {
        next = inflight_next(&s->out, e);
        struct member *m = e->flags & OUTQ_SHARE ? share_member_at(core, e->subid) : NULL;
        if (m == NULL || e->state != INFLIGHT_WAIT_PUBACK) continue;
        if (inflight_warm(s, e) < 0) continue;
        struct pub p;
        pub_of_blob(core, e->body, &p);
        hand_back(core, m, &p);
        e->flags &= (uint8_t)~OUTQ_SHARE; /* it is settled as far as the group goes */
        session_settle(s, e);
    }
}

/* What waits in the queue: of one membership, or of all. */
static void take_back_queue(struct session *s, const struct member *only)
{
    struct core *core = s->core;
    uint32_t kept = 0;
    for (uint32_t n = s->queue.count; n > 0; n--) {
        struct outq_item item = *outq_peek(&s->queue);
        struct member *m = item.flags & OUTQ_SHARE ? share_member_at(core, item.subid) : NULL;
        struct blob *b = (struct blob *)(uintptr_t)item.ref;
        outq_pop(&s->queue);
        bool mine = m && (only == NULL || m == only) && item.qos > 0;
        int rc = mine && item.flags & OUTQ_STORED ? core_fetch(core, item.ref, &b) : 0;
        if (!mine || rc == E_AGAIN) {
            if (outq_push(&s->queue, item) < 0) queue_item_release(core, &item);
            kept++;
            continue;
        }
        checkpoint_queue_taken(core, s, kept);
        uint64_t seq = item_seq(core, &item);
        if (rc == 0) {
            struct pub p;
            pub_of_blob(core, b, &p);
            hand_back(core, m, &p);
            if (item.flags & OUTQ_STORED) blob_unref(b);
            item.flags &= ~(unsigned)OUTQ_SHARE & 7u;
        }
        if (seq) journal_drop(s, seq); /* the group's before it is not the member's any more */
        queue_item_release(core, &item);
    }
    checkpoint_queue_moved(core, s);
}

/* Gives the owner back what the session need not keep, oldest first. */
static void take_back(struct session *s)
{
    if (s->share_pending == 0 || s->core->recovery) return;
    take_back_inflight(s);
    take_back_queue(s, NULL);
}

static void leave(struct session *s, struct member **at, bool gone)
{
    struct core *core = s->core;
    struct member *m = *at;
    *at = m->next;
    post_leave(core, m, gone);
    s->sub_count--;
    wish_counted(s, -(m->block != NULL));
    core->stats.shared_subscriptions--;
}

bool share_unsubscribe(struct session *s, struct bytes name, struct bytes filter,
                       struct bytes prefix)
{
    struct member **at = member_find(s, name, filter, prefix);
    if (at == NULL) return false;
    struct member *m = *at;
    /* What is in flight is completed on the connection that goes on. */
    if (s->core->recovery == NULL && !m->queue) take_back_queue(s, m);
    journal_leave(s, m->mid);
    leave(s, at, false);
    m->session = NULL;
    share_member_release(s->core, m);
    return true;
}

void share_leave_all(struct session *s)
{
    wqueue_offline(s);
    struct member *all = s->shares;
    take_back(s);
    while (s->shares) leave(s, &s->shares, true);
    while (all) {
        struct member *m = all;
        all = m->next;
        m->session = NULL;
        share_member_release(s->core, m);
    }
}

void share_online(struct session *s, bool online)
{
    if (!online) {
        wqueue_offline(s);
        take_back(s);
    }
    for (struct member *m = s->shares; m; m = m->next) m->epoch++;
    share_rejoin(s);
}

void share_dump(const struct session *s)
{
    for (const struct member *m = s->shares; m; m = m->next)
        core_log(s->core, LOG_T_NOTICE, "  %s/%.*s/%.*s (QoS %u)", m->queue ? "$queue" : "$share",
                 m->name_len, (const char *)m->text, m->filter_len,
                 (const char *)m->text + m->name_len, m->qos);
}

void share_each(const struct session *s, void (*found)(void *ctx, const struct share_view *v),
                void *ctx)
{
    for (const struct member *m = s->shares; m; m = m->next)
        found(ctx, &(struct share_view){.name = bytes_of(m->text, m->name_len),
                                        .filter = member_filter(m),
                                        .block = bytes_of(m->block, m->block_len),
                                        .subid = m->subid,
                                        .qos = m->qos,
                                        .retain_as_published = m->retain_as_published});
}

void share_mail_in(struct core *core, unsigned src, unsigned kind, struct rd *r)
{
    if (kind == MAIL_SHARE_DELIVER)
        on_deliver(core, src, r);
    else
        share_group_mail_in(core, src, kind, r);
}

void share_free(struct core *core)
{
    share_groups_free(core);
    for (uint32_t i = 0; i < core->member_count; i++) {
        if (core->members[i]) mem_free(core->members[i]->block);
        mem_free(core->members[i]);
    }
    mem_free(core->members);
}
