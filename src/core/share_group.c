/* The owner's side of shared groups: whose turn it is, and what waits for a member to have room.
 * See share.c for the letters.  The shard's thread. */
#include "core/share_int.h"
#include "core/wished.h"

#include "core/journal.h"
#include "core/recover.h"

enum { ITEM_SIZE_CAP = (1 << 27) - 1 }; /* of outq_item.size */

struct seat { /* a member as the owner knows it */
    unsigned shard;
    uint32_t member, serial;
    /* Deliveries since it joined.  `settled` is what the member last said, a running total: a
     * letter that was lost for want of memory is made good by the next one. */
    uint32_t sent, settled;
    uint32_t window; /* how many deliveries the member takes at a time */
    uint8_t qos;
    bool online, durable;
    bool handing_back; /* its JOIN or LEAVE follows when it is through */
    struct wish_filters filters;
    struct bytes block; /* its wish, owned, if that names a filter */
};

struct group {
    struct sub *sub; /* in the owner's trie */
    struct seat *seats;
    uint32_t seat_count, seat_cap, turn; /* turn: the seat after the one served last */
    uint32_t slot, serial;
    bool expects; /* recovered: its members are yet to join, share_begin() */
    /* QoS 1 and 2 that no connected member has room for; what was handed back is the older. */
    struct outq returned, waiting;
    uint16_t name_len, filter_len;
    uint8_t text[]; /* name, filter */
};

static struct bytes group_name(const struct group *g) { return bytes_of(g->text, g->name_len); }
static struct bytes group_filter(const struct group *g)
{
    return bytes_of(g->text + g->name_len, g->filter_len);
}

uint64_t share_group_hash(const void *elem, uint64_t seed)
{
    const struct group *g = elem;
    return share_name_hash(group_name(g), group_filter(g), seed);
}

static struct group *group_find(struct core *core, struct bytes name, struct bytes filter)
{
    uint64_t hash = share_name_hash(name, filter, core->seed);
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

static bool group_waits(const struct group *g) { return g->returned.count + g->waiting.count > 0; }

/* What waits is held in the store as well, if the group outlives the process. */
static uint64_t waiting_seq(const struct core *core, const struct outq_item *item)
{
    return core->keeps ? msg_of((struct blob *)(uintptr_t)item->ref)->seq : 0;
}

static void waiting_release(struct core *core, const struct outq_item *item)
{
    uint64_t seq = waiting_seq(core, item);
    if (seq) core_drop(core, seq);
    queue_item_release(core, item);
}

/* Takes the oldest that waits; the item and its reference are the caller's: waiting_release(). */
static struct outq_item group_take(struct group *g)
{
    struct outq *q = g->returned.count ? &g->returned : &g->waiting;
    struct outq_item item = *outq_peek(q);
    outq_pop(q);
    return item;
}

static void seat_fini(struct core *core, struct seat *s)
{
    wish_filters_fini(core, &s->filters);
    mem_free((void *)(uintptr_t)s->block.p);
}

static void group_free(struct core *core, struct group *g)
{
    while (group_waits(g)) {
        struct outq_item item = group_take(g);
        core->stats.publish_dropped++;
        journal_group(core, J_GIVEN, waiting_seq(core, &item), share_group_number(g));
        waiting_release(core, &item);
    }
    outq_trim(&g->returned);
    outq_trim(&g->waiting);
    uint32_t locals = g->sub->filter->local_count, durables = g->sub->filter->durable_count;
    struct filter after = {.local_count = locals - 1, .durable_count = durables - g->sub->durable};
    interest_changed(core, &after, group_filter(g), locals, durables);
    trie_del(&core->trie, g->sub);
    ptrmap_del(&core->groups, g, share_group_hash(g, core->seed));
    core->group_slots[g->slot] = NULL;
    core->generation++;
    for (uint32_t i = 0; i < g->seat_count; i++) seat_fini(core, &g->seats[i]);
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

static uint32_t seat_load(const struct seat *s) { return s->sent - s->settled; }

static void seat_settled(struct seat *s, uint32_t total)
{
    ASSERT((int32_t)(total - s->settled) >= 0); /* mail is in order */
    s->settled = total;
    /* A session may come with deliveries under way that an earlier owner sent. */
    if ((int32_t)(s->sent - total) < 0) s->sent = total;
}

enum seat_rank { SEAT_AWAY, SEAT_FULL, SEAT_ROOM }; /* the better, the larger */

static enum seat_rank seat_rank(const struct seat *s)
{
    if (!s->online) return SEAT_AWAY;
    return seat_load(s) < s->window ? SEAT_ROOM : SEAT_FULL;
}

static bool seat_is_better(const struct core *core, const struct seat *s, const struct seat *best)
{
    if (seat_rank(s) != seat_rank(best)) return seat_rank(s) > seat_rank(best);
    return !core->cfg.shared_round_robin && seat_load(s) < seat_load(best);
}

/* The best rank, then the fewest deliveries under way; equal ones take turns.  NULL: there is none
 * that can take it, nor is any connected. */
static struct seat *seat_choose(struct core *core, const struct group *g, const struct pub *p)
{
    struct wish_event event;
    wish_event_init(&event, core, p);
    struct seat *best = NULL;
    for (uint32_t n = 0, i = g->turn; n < g->seat_count; n++, i++) {
        struct seat *s = &g->seats[i % g->seat_count];
        if (!s->online && !(s->durable && s->qos > 0 && p->qos > 0)) continue;
        if (best && !seat_is_better(core, s, best)) continue;
        if (!wish_passes(&event, &s->filters)) continue; /* the choice is made after filtering */
        best = s;
        bool unbeaten = core->cfg.shared_round_robin || seat_load(s) == 0;
        if (unbeaten && seat_rank(s) == SEAT_ROOM) break;
    }
    return best;
}

static bool group_filters(const struct group *g)
{
    for (uint32_t i = 0; i < g->seat_count; i++)
        if (wish_filters_any(&g->seats[i].filters)) return true;
    return false;
}

/* To that seat; NULL: a drop, counted. */
static void seat_send(struct core *core, struct group *g, struct seat *s, const struct pub *p)
{
    size_t size = 16 + mail_pub_size(p);
    bool owed = core->keeps && g->sub->durable;
    if (owed && s == NULL) journal_group(core, J_GIVEN, p->seq, share_group_number(g));
    /* It is not in the group when that is written, and perhaps not yet with the member then. */
    if (owed && p->qos && p->seq < checkpoint_begin(core))
        journal_waits(core, p->seq, group_name(g), group_filter(g));
    uint8_t *d = s ? mail_begin(core, s->shard, MAIL_SHARE_DELIVER, size) : NULL;
    if (d == NULL) {
        core->stats.publish_dropped += s || !group_filters(g); /* else nobody wants it */
        return;
    }
    g->turn = (uint32_t)(s - g->seats) + 1;
    s->sent++;
    d = mail_put_u32(mail_put_u32(d, s->member), s->serial);
    d = mail_put_u32(mail_put_u32(d, g->slot), g->serial);
    mail_end(core, s->shard, mail_put_pub(d, p, owed ? SHARE_OWED : 0));
    mail_hold(core, p);
    if (mail_full(core, s->shard) && p->from && p->from->conn)
        conn_pause_on(p->from->conn, &core->mail_waiters);
}

/* Whether a message waits rather than go to that seat, the best there is. */
static bool is_worth_waiting(const struct group *g, const struct seat *best)
{
    if (g->expects) return true;
    if (best && best->online) return seat_rank(best) == SEAT_FULL;
    for (uint32_t i = 0; i < g->seat_count; i++)
        if (g->seats[i].handing_back) return true;
    return false;
}

/* The oldest that waits goes to the best seat.  by: what pushes it out, or NULL; the publisher of
 * that is the one to be held up when the member's queue is long. */
static void send_oldest(struct core *core, struct group *g, struct seat *s, const struct pub *by)
{
    struct outq_item item = group_take(g);
    struct pub p;
    pub_of_blob(core, (struct blob *)(uintptr_t)item.ref, &p);
    if (by) {
        p.from = by->from;
        p.origin = by->origin;
        p.origin_session = by->origin_session;
    }
    seat_send(core, g, s, &p);
    waiting_release(core, &item);
}

/* Where the oldest that waits would go. */
static struct seat *choose_for_oldest(struct core *core, struct group *g)
{
    struct pub p;
    struct outq *q = g->returned.count ? &g->returned : &g->waiting;
    pub_of_blob(core, (struct blob *)(uintptr_t)outq_peek(q)->ref, &p);
    return seat_choose(core, g, &p);
}

/* After a change of the seats: what waits goes out as far as there is room, or to those that are
 * away when nobody else is left. */
static void group_drain(struct core *core, struct group *g)
{
    while (group_waits(g)) {
        struct seat *s = choose_for_oldest(core, g);
        if (is_worth_waiting(g, s)) return;
        send_oldest(core, g, s, NULL);
    }
}

/* The limits are those of a session's queue; without one, that of a connected session. */
static bool group_is_full(const struct core *core, const struct group *g, size_t payload)
{
    const struct core_config *cfg = &core->cfg;
    if (g->expects) return false;
    uint32_t most = cfg->max_queued_messages ? cfg->max_queued_messages : deliver_queue_soft(core);
    if (g->returned.count + g->waiting.count >= most) return true;
    uint64_t bytes = g->returned.bytes + g->waiting.bytes + payload;
    return cfg->max_queued_bytes && bytes > cfg->max_queued_bytes;
}

/* Takes its own reference, of memory and of the store. */
static void wait_push(struct core *core, struct outq *q, struct pub *p)
{
    struct blob *b = pub_blob(p);
    struct outq_item item = {.ref = (uint64_t)(uintptr_t)b,
                             .size = (uint32_t)min_u64(p->payload.n, ITEM_SIZE_CAP) & ITEM_SIZE_CAP,
                             .qos = p->qos & 3u};
    if (b == NULL || outq_push(q, item) < 0) {
        core->stats.publish_dropped++;
        core->stats.dropped_no_memory++;
        return;
    }
    blob_ref(b);
    if (core->keeps && p->seq) (void)store_hold(core->store, p->seq, NULL);
    core->stats.queued++;
    core->stats.queued_bytes += item.size;
}

/* Makes room by sending the oldest to the least busy members, whose own queues have limits and make
 * publishers wait.  Not the new one: it would overtake the others. */
static void group_wait(struct core *core, struct group *g, struct outq *q, struct pub *p)
{
    while (group_waits(g) && group_is_full(core, g, p->payload.n))
        send_oldest(core, g, choose_for_oldest(core, g), p);
    if (group_is_full(core, g, p->payload.n)) { /* alone larger than max_queued_bytes */
        seat_send(core, g, seat_choose(core, g, p), p);
        return;
    }
    wait_push(core, q, p);
}

/* q: where it waits if it must. */
static void dispatch(struct core *core, struct group *g, struct outq *q, struct pub *p)
{
    /* What waits for one member is not in the way of what only another wants. */
    bool behind = p->qos > 0 && group_waits(g) && !group_filters(g);
    struct seat *s = behind ? NULL : seat_choose(core, g, p);
    if (behind || (p->qos > 0 && is_worth_waiting(g, s))) /* QoS 0 never waits */
        group_wait(core, g, q, p);
    else
        seat_send(core, g, s, p);
}

void share_dispatch(struct core *core, struct group *g, struct pub *p)
{
    if (UNLIKELY(core->recovery != NULL))
        recover_grouped(core, g, p);
    else
        dispatch(core, g, &g->waiting, p);
}

static void on_join(struct core *core, unsigned src, struct rd *r)
{
    struct bytes name = mail_bytes(r), filter = mail_bytes(r);
    uint32_t member = mail_u32(r), serial = mail_u32(r);
    uint32_t settled = mail_u32(r), bits = mail_u32(r);
    struct wish wish;
    struct wish_filters filters = {0};
    struct bytes block = mail_bytes(r);
    wish_get(block, &wish);
    ASSERT(rd_ok(r));
    struct group *g = group_find(core, name, filter);
    if (g == NULL) g = group_new(core, name, filter);
    struct seat *s = g ? seat_find(g, src, member, serial) : NULL;
    if (g && s == NULL) s = seat_add(g);
    if (s && wish_filters_again(core, &wish, &filters) < 0) filters.broken = true;
    if (s == NULL) {
        core->stats.dropped_no_memory++;
        if (g) group_update(core, g);
        return;
    }
    block = filters.named ? bytes_of(mem_strndup(block.p, block.n), block.n) : (struct bytes){0};
    seat_fini(core, s);
    *s = (struct seat){.shard = src,
                       .filters = filters,
                       .block = block, /* without memory the filter stays as it is */
                       .member = member,
                       .serial = serial,
                       .sent = s->sent,
                       .settled = s->settled,
                       .window = bits >> 16,
                       .qos = bits & 3,
                       .online = bits >> 8 & 1,
                       .durable = bits >> 9 & 1};
    seat_settled(s, settled);
    group_update(core, g);
    group_drain(core, g);
}

static void seat_remove(struct core *core, struct group *g, struct seat *s)
{
    uint32_t at = (uint32_t)(s - g->seats);
    seat_fini(core, s);
    memmove(s, s + 1, (--g->seat_count - at) * sizeof *s); /* the others keep their turns */
    if (at < g->turn) g->turn--;
    group_update(core, g); /* frees g when it was the last */
}

static void on_leave(struct core *core, unsigned src, struct rd *r)
{
    struct bytes name = mail_bytes(r), filter = mail_bytes(r);
    uint32_t member = mail_u32(r), serial = mail_u32(r);
    ASSERT(rd_ok(r));
    struct group *g = group_find(core, name, filter);
    struct seat *s = g ? seat_find(g, src, member, serial) : NULL;
    if (s == NULL) return;
    bool last = g->seat_count == 1;
    seat_remove(core, g, s);
    if (!last) group_drain(core, g);
}

static struct ticket mail_ticket(struct rd *r)
{
    struct ticket t;
    struct bytes b = rd_take(r, sizeof t);
    ASSERT(b.n == sizeof t);
    memcpy(&t, b.p, sizeof t);
    return t;
}

static struct seat *ticket_seat(struct group *g, unsigned src, const struct ticket *t)
{
    return g ? seat_find(g, src, t->member, t->member_serial) : NULL;
}

static void on_settled(struct core *core, unsigned src, struct rd *r)
{
    struct ticket t = mail_ticket(r);
    struct group *g = group_at(core, t.group, t.group_serial);
    struct seat *s = ticket_seat(g, src, &t);
    if (s == NULL) return;
    seat_settled(s, t.settled);
    group_drain(core, g);
}

/* A member that gives back is away or has left.  Its own letter about that may have been lost for
 * want of memory: without this the message would go back and forth for ever. */
static void on_return(struct core *core, unsigned src, struct rd *r)
{
    struct ticket t = mail_ticket(r);
    struct pub p;
    unsigned flags = mail_get_pub(r, &p);
    struct group *g = group_at(core, t.group, t.group_serial);
    struct seat *s = ticket_seat(g, src, &t);
    mail_held(core, &p); /* it counts until the turn ends */
    if (s && flags & SHARE_GONE) {
        seat_remove(core, g, s);
    } else if (s) {
        seat_settled(s, t.settled);
        s->online = false;
        s->handing_back = flags & SHARE_MORE;
    }
    g = group_at(core, t.group, t.group_serial);
    if (g == NULL) {
        core->stats.publish_dropped++;
        return;
    }
    if (g->sub->durable) journal_group(core, J_HANDED, p.seq, share_group_number(g));
    dispatch(core, g, &g->returned, &p);
    group_drain(core, g);
    blob_unref(p.blob);
}

/* From a member that was recovered: its delivery was sent by the group of an earlier run. */
static void on_again(struct core *core, struct rd *r)
{
    struct bytes name = mail_bytes(r), filter = mail_bytes(r);
    struct pub p;
    (void)mail_get_pub(r, &p);
    mail_held(core, &p); /* as above */
    struct group *g = group_find(core, name, filter);
    if (g == NULL) {
        core->stats.publish_dropped++;
        return;
    }
    dispatch(core, g, &g->returned, &p);
    group_drain(core, g);
    blob_unref(p.blob);
}

/* ---- recovery ---- */

uint64_t share_group_number(const struct group *g)
{
    return share_name_hash(group_name(g), group_filter(g), 0);
}

struct group *share_expect(struct core *core, struct bytes name, struct bytes filter)
{
    struct group *g = group_find(core, name, filter);
    if (g == NULL && (g = group_new(core, name, filter)) == NULL) return NULL;
    uint32_t locals = g->sub->filter->local_count, durables = g->sub->filter->durable_count;
    trie_set_durable(g->sub, true);
    interest_changed(core, g->sub->filter, filter, locals, durables);
    g->sub->qos = 2;
    g->expects = true;
    return g;
}

void share_begin(struct core *core)
{
    for (uint32_t i = 0; i < core->group_slot_count; i++) {
        struct group *g = core->group_slots[i];
        if (g == NULL || !g->expects) continue;
        g->expects = false;
        if (g->seat_count)
            group_drain(core, g);
        else
            group_update(core, g); /* all of its members have ended */
    }
}

void share_unexpect(struct core *core, struct group *g)
{
    if (g->seat_count == 0) group_free(core, g);
}

void share_again(struct core *core, struct group *g, struct blob *b)
{
    struct pub p;
    pub_of_blob(core, b, &p);
    wait_push(core, &g->returned, &p); /* no limit: who would make room is yet to join */
}

void share_journal_waiting(struct core *core, uint32_t slot)
{
    struct group *g = core->group_slots[slot];
    if (g == NULL || !g->sub->durable) return;
    struct outq *const queues[] = {&g->returned, &g->waiting};
    for (int i = 0; i < 2; i++) {
        struct outq_walk walk;
        outq_walk_from(&walk, queues[i], 0);
        for (const struct outq_item *item; (item = outq_walk_next(&walk)) != NULL;)
            journal_waits(core, waiting_seq(core, item), group_name(g), group_filter(g));
    }
}

void share_group_mail_in(struct core *core, unsigned src, unsigned kind, struct rd *r)
{
    switch (kind) {
    case MAIL_SHARE_JOIN: on_join(core, src, r); break;
    case MAIL_SHARE_LEAVE: on_leave(core, src, r); break;
    case MAIL_SHARE_SETTLED: on_settled(core, src, r); break;
    case MAIL_SHARE_AGAIN: on_again(core, r); break;
    default: on_return(core, src, r); break;
    }
}

void share_configure(struct core *core)
{
    for (uint32_t i = 0; i < core->group_slot_count; i++) {
        struct group *g = core->group_slots[i];
        for (uint32_t k = 0; g && k < g->seat_count; k++) {
            struct wish w;
            if (g->seats[k].block.p == NULL) continue;
            wish_get(g->seats[k].block, &w);
            (void)wish_filters_renew(core, &w, &g->seats[k].filters); /* else it stays */
        }
    }
}

void share_groups_free(struct core *core)
{
    for (uint32_t i = 0; i < core->group_slot_count; i++)
        if (core->group_slots[i]) group_free(core, core->group_slots[i]);
    mem_free(core->group_slots);
}
