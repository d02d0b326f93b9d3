/* Shared subscriptions, see share.h.  The shard's thread.
 *
 *   member's shard                         owner's shard
 *   struct member  --JOIN, STATE, LEAVE-->  struct group { seats }
 *                  <------DELIVER---------  (seat with the fewest deliveries under way)
 *                  ------SETTLED--------->  done
 *                  ------RETURN---------->  another seat gets it: QoS 1, and QoS 2 not yet sent
 */
#include "core/share.h"

#include "core/mailbox.h"

struct seat { /* a member as the owner knows it */
    unsigned shard;
    uint32_t member, serial;
    uint32_t inflight, window; /* deliveries under way, and how many the member takes at a time */
    uint8_t qos;
    bool online, durable;
};

enum { SHARE_GONE = 1 }; /* with a RETURN letter: the member has left */

struct group {
    struct sub *sub; /* in the owner's trie */
    struct seat *seats;
    uint32_t seat_count, seat_cap, turn;
    uint32_t slot, serial;
    uint16_t name_len, filter_len;
    uint8_t text[]; /* name, filter */
};

struct member {              /* a session's membership, on the session's shard */
    struct member *next;     /* of the session */
    struct session *session; /* NULL once it has left */
    struct session *holder;  /* of its deliveries; valid while there are any */
    uint32_t index, serial, subid;
    uint32_t pending;             /* deliveries not settled yet */
    uint32_t group, group_serial; /* the owner's, as its last delivery said */
    uint8_t qos;
    bool retain_as_published;
    uint16_t name_len, filter_len;
    uint8_t text[]; /* name, filter */
};

static struct bytes group_name(const struct group *g) { return bytes_of(g->text, g->name_len); }
static struct bytes group_filter(const struct group *g)
{
    return bytes_of(g->text + g->name_len, g->filter_len);
}

static uint64_t name_hash(struct bytes name, struct bytes filter, uint64_t seed)
{
    return hash_bytes(filter, hash_bytes(name, seed));
}

uint64_t share_group_hash(const void *elem, uint64_t seed)
{
    const struct group *g = elem;
    return name_hash(group_name(g), group_filter(g), seed);
}

/* ---- the owner ---- */

static struct group *group_find(struct core *core, struct bytes name, struct bytes filter)
{
    uint64_t hash = name_hash(name, filter, core->seed);
    struct group *g;
    for (size_t pos = hash; (g = ptrmap_next(&core->groups, hash, &pos)) != NULL;)
        if (bytes_eq(group_name(g), name) && bytes_eq(group_filter(g), filter)) return g;
    return NULL;
}

static struct group *group_at(const struct core *core, uint32_t slot, uint32_t serial)
{
    struct group *g = slot < core->group_slot_count ? core->group_slots[slot] : NULL;
    return g && g->serial == serial ? g : NULL;
}

static int group_slot(struct core *core, struct group *g)
{
    uint32_t at = 0;
    while (at < core->group_slot_count && core->group_slots[at]) at++;
    if (at == core->group_slot_count) {
        uint32_t count = at ? at * 2 : 16;
        struct group **slots = mem_realloc(core->group_slots, count * sizeof(struct group *));
        if (slots == NULL) return E_NOMEM;
        memset(slots + at, 0, (count - at) * sizeof(struct group *));
        core->group_slots = slots;
        core->group_slot_count = count;
    }
    g->slot = at;
    g->serial = ++core->group_serial;
    core->group_slots[at] = g;
    return 0;
}

static struct group *group_new(struct core *core, struct bytes name, struct bytes filter)
{
    struct group *g = mem_calloc(1, sizeof *g + name.n + filter.n);
    if (g == NULL) return NULL;
    g->name_len = (uint16_t)name.n;
    g->filter_len = (uint16_t)filter.n;
    put_mem(put_mem(g->text, name), filter);
    if (group_slot(core, g) < 0) goto fail;
    if (ptrmap_put(&core->groups, g, share_group_hash(g, core->seed)) < 0) goto fail_slot;
    g->sub = trie_add(&core->trie, filter, SUB_GROUP, (uintptr_t)g, NULL);
    if (g->sub == NULL) goto fail_map;
    interest_changed(core, g->sub->filter, filter, g->sub->filter->local_count - 1,
                     g->sub->filter->durable_count);
    core->generation++;
    return g;
fail_map:
    ptrmap_del(&core->groups, g, share_group_hash(g, core->seed));
fail_slot:
    core->group_slots[g->slot] = NULL;
fail:
    mem_free(g);
    return NULL;
}

static void group_free(struct core *core, struct group *g)
{
    uint32_t locals = g->sub->filter->local_count, durables = g->sub->filter->durable_count;
    struct filter after = {.local_count = locals - 1, .durable_count = durables - g->sub->durable};
    interest_changed(core, &after, group_filter(g), locals, durables);
    trie_del(&core->trie, g->sub);
    ptrmap_del(&core->groups, g, share_group_hash(g, core->seed));
    core->group_slots[g->slot] = NULL;
    core->generation++;
    mem_free(g->seats);
    mem_free(g);
}

/* After its seats changed: QoS and durability as the router sees them; an empty group goes. */
static void group_update(struct core *core, struct group *g)
{
    if (g->seat_count == 0) {
        group_free(core, g);
        return;
    }
    uint32_t locals = g->sub->filter->local_count, durables = g->sub->filter->durable_count;
    bool durable = false;
    for (uint32_t i = 0; i < g->seat_count; i++)
        durable |= g->seats[i].durable && g->seats[i].qos > 0;
    trie_set_durable(g->sub, durable);
    g->sub->qos = 2;
    interest_changed(core, g->sub->filter, group_filter(g), locals, durables);
    core->generation++;
}

static struct seat *seat_find(struct group *g, unsigned shard, uint32_t member, uint32_t serial)
{
    for (uint32_t i = 0; i < g->seat_count; i++) {
        struct seat *s = &g->seats[i];
        if (s->shard == shard && s->member == member && s->serial == serial) return s;
    }
    return NULL;
}

static struct seat *seat_add(struct group *g)
{
    if (g->seat_count == g->seat_cap) {
        uint32_t cap = g->seat_cap ? g->seat_cap * 2 : 4;
        struct seat *seats = mem_realloc(g->seats, cap * sizeof *seats);
        if (seats == NULL) return NULL;
        g->seats = seats;
        g->seat_cap = cap;
    }
    struct seat *s = &g->seats[g->seat_count++];
    *s = (struct seat){0};
    return s;
}

/* Connected with room in its window before connected, before away. */
static unsigned seat_rank(const struct seat *s)
{
    return s->online ? 1u + (s->inflight < s->window) : 0;
}

/* The best rank, then the fewest deliveries under way; equal ones take turns. */
static struct seat *seat_choose(struct group *g, uint8_t qos)
{
    struct seat *best = NULL;
    for (uint32_t n = 0, i = g->turn; n < g->seat_count; n++, i++) {
        struct seat *s = &g->seats[i % g->seat_count];
        if (!s->online && !(s->durable && s->qos > 0 && qos > 0)) continue;
        unsigned rank = seat_rank(s), most = best ? seat_rank(best) : 0;
        if (best && (most > rank || (most == rank && best->inflight <= s->inflight))) continue;
        best = s;
        if (s->online && s->inflight == 0) break;
    }
    if (best) g->turn = (uint32_t)(best - g->seats) + 1;
    return best;
}

void share_dispatch(struct core *core, struct group *g, struct pub *p)
{
    struct seat *s = seat_choose(g, p->qos);
    size_t size = 16 + mail_pub_size(p);
    uint8_t *d = s ? mail_begin(core, s->shard, MAIL_SHARE_DELIVER, size) : NULL;
    if (d == NULL) {
        core->stats.publish_dropped++;
        return;
    }
    s->inflight++;
    d = mail_put_u32(mail_put_u32(d, s->member), s->serial);
    d = mail_put_u32(mail_put_u32(d, g->slot), g->serial);
    mail_end(core, s->shard, mail_put_pub(d, p, 0));
    if (mail_full(core, s->shard) && p->from && p->from->conn)
        conn_pause_on(p->from->conn, &core->mail_waiters);
}

static void on_join(struct core *core, unsigned src, struct rd *r)
{
    struct bytes name = mail_bytes(r), filter = mail_bytes(r);
    uint32_t member = mail_u32(r), serial = mail_u32(r), bits = mail_u32(r);
    ASSERT(rd_ok(r));
    struct group *g = group_find(core, name, filter);
    if (g == NULL) g = group_new(core, name, filter);
    struct seat *s = g ? seat_find(g, src, member, serial) : NULL;
    if (g && s == NULL) s = seat_add(g);
    if (s == NULL) {
        core->stats.dropped_no_memory++;
        if (g) group_update(core, g);
        return;
    }
    s->shard = src;
    s->member = member;
    s->serial = serial;
    s->qos = bits & 3;
    s->online = bits >> 8 & 1;
    s->durable = bits >> 9 & 1;
    s->window = bits >> 16;
    group_update(core, g);
}

static void seat_remove(struct core *core, struct group *g, struct seat *s)
{
    *s = g->seats[--g->seat_count];
    group_update(core, g); /* frees g when it was the last */
}

static void on_leave(struct core *core, unsigned src, struct rd *r)
{
    struct bytes name = mail_bytes(r), filter = mail_bytes(r);
    uint32_t member = mail_u32(r), serial = mail_u32(r);
    ASSERT(rd_ok(r));
    struct group *g = group_find(core, name, filter);
    struct seat *s = g ? seat_find(g, src, member, serial) : NULL;
    if (s) seat_remove(core, g, s);
}

static void on_settled(struct core *core, unsigned src, struct rd *r)
{
    uint32_t slot = mail_u32(r), gserial = mail_u32(r), member = mail_u32(r), serial = mail_u32(r);
    struct group *g = group_at(core, slot, gserial);
    struct seat *s = g ? seat_find(g, src, member, serial) : NULL;
    if (s && s->inflight) s->inflight--;
}

/* A member that gives back is away or has left.  Its own letter about that may have been lost for
 * want of memory: without this the message would go back and forth for ever. */
static void on_return(struct core *core, unsigned src, struct rd *r)
{
    uint32_t slot = mail_u32(r), gserial = mail_u32(r), member = mail_u32(r), serial = mail_u32(r);
    struct pub p;
    bool gone = mail_get_pub(r, &p) & SHARE_GONE;
    struct group *g = group_at(core, slot, gserial);
    struct seat *s = g ? seat_find(g, src, member, serial) : NULL;
    if (s && s->inflight) s->inflight--;
    if (s && !gone) s->online = false;
    if (s && gone) seat_remove(core, g, s);
    g = group_at(core, slot, gserial);
    if (g)
        share_dispatch(core, g, &p);
    else
        core->stats.publish_dropped++;
}

/* ---- the member ---- */

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

static size_t member_size(const struct member *m) { return 32u + m->name_len + m->filter_len; }

static int post_join(struct core *core, const struct member *m)
{
    unsigned owner = owner_of(core, m);
    const struct session *s = m->session;
    uint8_t *d = mail_begin(core, owner, MAIL_SHARE_JOIN, member_size(m));
    if (d == NULL) return E_NOMEM;
    uint32_t window = s->conn && m->qos ? s->conn->window : UINT16_MAX;
    uint32_t bits =
        m->qos | (uint32_t)(s->conn != NULL) << 8 | (uint32_t)s->durable << 9 | window << 16;
    mail_end(core, owner, mail_put_u32(put_member(d, m), bits));
    return 0;
}

static void post_leave(struct core *core, const struct member *m)
{
    unsigned owner = owner_of(core, m);
    uint8_t *d = mail_begin(core, owner, MAIL_SHARE_LEAVE, member_size(m));
    if (d) mail_end(core, owner, put_member(d, m));
}

static struct member *member_at(const struct core *core, uint32_t index)
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

static void member_release(struct core *core, struct member *m)
{
    if (m->session || m->pending) return;
    core->members[m->index] = NULL;
    if (m->index < core->member_free) core->member_free = m->index;
    mem_free(m);
}

static struct member **member_find(struct session *s, struct bytes name, struct bytes filter)
{
    struct member **at = &s->shares;
    for (; *at; at = &(*at)->next)
        if (bytes_eq(bytes_of((*at)->text, (*at)->name_len), name) &&
            bytes_eq(member_filter(*at), filter))
            return at;
    return NULL;
}

int share_subscribe(struct session *s, struct bytes name, struct bytes filter,
                    const struct mqtt_subscription *opts, uint8_t qos, uint32_t subid)
{
    struct core *core = s->core;
    struct member **at = member_find(s, name, filter);
    struct member *m = at ? *at : NULL;
    if (m == NULL) {
        if (core->cfg.max_subscriptions && s->sub_count >= core->cfg.max_subscriptions)
            return E_FULL;
        m = mem_calloc(1, sizeof *m + name.n + filter.n);
        if (m == NULL || member_slot(core, m) < 0) {
            mem_free(m);
            return E_NOMEM;
        }
        m->name_len = (uint16_t)name.n;
        m->filter_len = (uint16_t)filter.n;
        put_mem(put_mem(m->text, name), filter);
        m->session = m->holder = s;
        m->next = s->shares;
        s->shares = m;
        s->sub_count++;
        core->stats.shared_subscriptions++;
    }
    m->qos = qos;
    m->retain_as_published = opts->retain_as_published;
    m->subid = subid;
    return post_join(core, m);
}

static void post_pub_back(struct core *core, struct member *m, const struct pub *p)
{
    unsigned owner = owner_of(core, m);
    uint8_t *d = mail_begin(core, owner, MAIL_SHARE_RETURN, 16 + mail_pub_size(p));
    if (d == NULL) return;
    d = mail_put_u32(mail_put_u32(d, m->group), m->group_serial);
    d = mail_put_u32(mail_put_u32(d, m->index), m->serial);
    mail_end(core, owner, mail_put_pub(d, p, m->session ? 0 : SHARE_GONE));
}

void share_settled(struct core *core, uint32_t index)
{
    struct member *m = member_at(core, index);
    ASSERT(m != NULL && m->pending > 0);
    unsigned owner = owner_of(core, m);
    m->pending--;
    m->holder->share_pending--;
    uint8_t *d = m->session ? mail_begin(core, owner, MAIL_SHARE_SETTLED, 16) : NULL;
    if (d) {
        d = mail_put_u32(mail_put_u32(d, m->group), m->group_serial);
        mail_end(core, owner, mail_put_u32(mail_put_u32(d, m->index), m->serial));
    }
    member_release(core, m);
}

uint32_t share_subid(const struct core *core, uint32_t index)
{
    const struct member *m = member_at(core, index);
    return m ? m->subid : 0;
}

static void on_deliver(struct core *core, unsigned src, struct rd *r)
{
    uint32_t index = mail_u32(r), serial = mail_u32(r), group = mail_u32(r), gserial = mail_u32(r);
    struct pub p;
    (void)mail_get_pub(r, &p);
    struct member *m = member_at(core, index);
    if (m == NULL || m->serial != serial) {
        uint8_t *d = mail_begin(core, src, MAIL_SHARE_RETURN, 16 + mail_pub_size(&p));
        if (d == NULL) return;
        d = mail_put_u32(mail_put_u32(d, group), gserial);
        d = mail_put_u32(mail_put_u32(d, index), serial);
        mail_end(core, src, mail_put_pub(d, &p, SHARE_GONE));
        return;
    }
    m->group = group;
    m->group_serial = gserial;
    struct session *s = m->session;
    uint8_t qos = core->cfg.upgrade_outgoing_qos ? m->qos : (uint8_t)min_u64(p.qos, m->qos);
    if (s == NULL || (s->conn == NULL && !(s->durable && qos > 0))) {
        post_pub_back(core, m, &p);
    } else {
        m->pending++;
        s->share_pending++;
        struct images images;
        images_init(&images, false);
        unsigned flags = OUTQ_SHARE | (m->retain_as_published && p.retain ? OUTQ_RETAIN : 0u);
        deliver(core, &p, s, qos, flags, index, &images);
    }
    blob_unref(p.blob);
}

/* Takes back what waits in the queue of a session and, at QoS 1, what is in flight. */
static void take_back(struct session *s, const struct member *only)
{
    struct core *core = s->core;
    for (uint32_t n = s->queue.count; n > 0; n--) {
        struct outq_item item = *outq_peek(&s->queue);
        struct member *m = item.flags & OUTQ_SHARE ? member_at(core, item.subid) : NULL;
        struct blob *b = (struct blob *)(uintptr_t)item.ref;
        outq_pop(&s->queue);
        bool mine = m && (only == NULL || m == only) && item.qos > 0;
        int rc = mine && item.flags & OUTQ_STORED ? store_fetch(core->store, item.ref, &b) : 0;
        if (!mine || rc == E_AGAIN) {
            if (outq_push(&s->queue, item) < 0) queue_item_release(core, &item);
            continue;
        }
        struct pub p;
        if (rc == 0) {
            pub_of_blob(core, b, &p);
            post_pub_back(core, m, &p);
        }
        if (rc == 0 && item.flags & OUTQ_STORED) blob_unref(b);
        queue_item_release(core, &item);
    }
    struct inflight_entry *next;
    for (struct inflight_entry *e = inflight_first(&s->out); e; e = next) {
        next = inflight_next(&s->out, e);
        struct member *m = e->flags & OUTQ_SHARE ? member_at(core, e->subid) : NULL;
        if (m == NULL || only || e->state != INFLIGHT_WAIT_PUBACK) continue; /* [MQTT-4.8.2-4] */
        struct pub p;
        pub_of_blob(core, e->body, &p);
        post_pub_back(core, m, &p);
        session_settle(s, e);
    }
}

static void leave(struct session *s, struct member **at)
{
    struct core *core = s->core;
    struct member *m = *at;
    *at = m->next;
    post_leave(core, m);
    s->sub_count--;
    core->stats.shared_subscriptions--;
}

bool share_unsubscribe(struct session *s, struct bytes name, struct bytes filter)
{
    struct member **at = member_find(s, name, filter);
    if (at == NULL) return false;
    struct member *m = *at;
    leave(s, at);
    take_back(s, m);
    m->session = NULL;
    member_release(s->core, m);
    return true;
}

void share_leave_all(struct session *s)
{
    struct member *all = s->shares;
    if (all == NULL && s->share_pending == 0) return;
    while (s->shares) leave(s, &s->shares);
    take_back(s, NULL);
    while (all) {
        struct member *m = all;
        all = m->next;
        m->session = NULL;
        member_release(s->core, m);
    }
}

void share_online(struct session *s, bool online)
{
    for (struct member *m = s->shares; m; m = m->next)
        if (post_join(s->core, m) < 0) s->core->stats.dropped_no_memory++;
    if (s->share_pending && !online) take_back(s, NULL);
}

void share_dump(const struct session *s)
{
    for (const struct member *m = s->shares; m; m = m->next)
        core_log(s->core, LOG_T_NOTICE, "  $share/%.*s/%.*s (QoS %u)", m->name_len,
                 (const char *)m->text, m->filter_len, (const char *)m->text + m->name_len, m->qos);
}

void share_mail_in(struct core *core, unsigned src, unsigned kind, struct rd *r)
{
    switch (kind) {
    case MAIL_SHARE_JOIN: on_join(core, src, r); break;
    case MAIL_SHARE_LEAVE: on_leave(core, src, r); break;
    case MAIL_SHARE_DELIVER: on_deliver(core, src, r); break;
    case MAIL_SHARE_SETTLED: on_settled(core, src, r); break;
    default: on_return(core, src, r); break;
    }
}

void share_free(struct core *core)
{
    for (uint32_t i = 0; i < core->group_slot_count; i++)
        if (core->group_slots[i]) group_free(core, core->group_slots[i]);
    for (uint32_t i = 0; i < core->member_count; i++) mem_free(core->members[i]);
    mem_free(core->group_slots);
    mem_free(core->members);
}
