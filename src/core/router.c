/* Routing: from a topic to the sessions, groups and shards that want it, with a cache of routes,
 * and the fan-out of one message.  The shard's thread. */
#include "core/core_int.h"
#include "core/history.h"
#include "core/mailbox.h"
#include "core/queue.h"
#include "core/replay.h"
#include "core/retained.h"
#include "core/share.h"
#include "core/wished.h"

/* ---- messages ---- */

struct msg_from pub_publisher(const struct pub *p)
{
    const struct session *s = p->from;
    if (p->who.client_id.n || s == NULL) return p->who;
    const char *user = s->conn ? s->conn->username : NULL;
    return (struct msg_from){bytes_of(s->client_id, s->client_id_len),
                             user ? bytes_str(user) : (struct bytes){0}};
}

struct blob *pub_blob(struct pub *p)
{
    if (p->blob) return p->blob;
    struct msg_from who = {0};
    if (p->named) who = pub_publisher(p);
    struct blob *b = blob_new((uint32_t)(sizeof(struct msg) + pub_size(p) +
                                         msg_control_size(p->control) + msg_from_size(&who)));
    if (b == NULL) return NULL;
    *msg_of(b) = (struct msg){.seq = p->seq,
                              .created_ms = p->created_ms,
                              .topic_len = (uint16_t)p->topic.n,
                              .expiry_s = p->expiry_s,
                              .props_len = (uint32_t)p->props.n & MSG_PROPS_MAX,
                              .qos = p->qos & 3u,
                              .retain = p->retain,
                              .has_from = who.client_id.n > 0,
                              .has_control = p->control.n > 0};
    uint8_t *d = put_mem(put_mem(put_mem(msg_of(b)->bytes, p->topic), p->props), p->payload);
    msg_put_from(msg_put_control(d, p->control), &who);
    return p->blob = b;
}

void pub_of_blob(const struct core *core, struct blob *b, struct pub *p)
{
    const struct msg *m = msg_of(b);
    *p = (struct pub){.topic = msg_topic(b),
                      .props = msg_props(b),
                      .payload = msg_payload(b),
                      .control = msg_control(b),
                      .seq = m->seq,
                      .created_ms = m->created_ms,
                      .expiry_s = m->expiry_s,
                      .qos = m->qos,
                      .retain = m->retain,
                      .who = msg_publisher(b),
                      .origin = core->shard,
                      .blob = b};
    p->hash = hash_bytes(p->topic, core->seed);
}

struct route *pub_route(struct core *core, struct pub *p)
{
    p->hash = hash_bytes(p->topic, core->seed);
    struct route *r = route_get(core, p->topic, p->hash);
    pub_goes(p, r);
    return r;
}

void pub_of_bytes(const struct core *core, struct bytes body, uint64_t seq, struct pub *p)
{
    struct msg m;
    ASSERT(body.n >= sizeof m);
    memcpy(&m, body.p, sizeof m);
    struct rd rd = rd_of(bytes_skip(body, sizeof m));
    *p = (struct pub){.seq = seq,
                      .created_ms = m.created_ms,
                      .expiry_s = m.expiry_s,
                      .qos = m.qos,
                      .retain = m.retain,
                      .origin = core->shard};
    p->topic = rd_take(&rd, m.topic_len);
    p->props = rd_take(&rd, m.props_len);
    ASSERT(rd_ok(&rd));
    p->payload = bytes_skip(body, sizeof m + m.topic_len + m.props_len);
    msg_cut(&m, &p->payload, &p->who, &p->control);
}

/* ---- subscription identifiers of overlapping subscriptions ---- */

const uint32_t *subid_list(struct core *core, const uint32_t *subid, uint32_t *count)
{
    *count = *subid != 0;
    if (!(*subid & SUBID_SET_FLAG)) return subid;
    const struct subid_set *set = core->subid_sets[*subid & ~SUBID_SET_FLAG];
    *count = set->count;
    return set->ids;
}

static struct bytes subid_bytes(const uint32_t *ids, uint32_t count)
{
    return bytes_of(ids, count * sizeof *ids);
}

uint64_t subid_hash(const void *elem, uint64_t seed)
{
    const struct subid_set *set = elem;
    return hash_bytes(subid_bytes(set->ids, set->count), seed);
}

static int subid_room(struct core *core)
{
    uint32_t count = core->subid_set_count;
    if (count == SUBID_SETS) return E_FULL;
    if (count & (count - 1)) return 0;
    struct subid_set **sets =
        mem_realloc(core->subid_sets, (count ? count * (size_t)2 : 1) * sizeof *sets);
    if (sets == NULL) return E_NOMEM;
    core->subid_sets = sets;
    return 0;
}

/* The name of this combination; 0 over the limits. */
static uint32_t subid_intern(struct core *core, const uint32_t *ids, uint32_t count)
{
    uint64_t hash = hash_bytes(subid_bytes(ids, count), core->seed);
    struct subid_set *set;
    for (size_t pos = hash; (set = ptrmap_next(&core->subid_index, hash, &pos)) != NULL;)
        if (set->count == count && memcmp(set->ids, ids, count * sizeof *ids) == 0)
            return SUBID_SET_FLAG | set->index;
    if (subid_room(core) < 0) return 0;
    set = mem_alloc(sizeof *set + count * sizeof *ids);
    if (set == NULL) return 0;
    *set = (struct subid_set){.count = count, .index = core->subid_set_count};
    memcpy(set->ids, ids, count * sizeof *ids);
    if (ptrmap_put(&core->subid_index, set, hash) < 0) {
        mem_free(set);
        return 0;
    }
    core->subid_sets[core->subid_set_count] = set;
    return SUBID_SET_FLAG | core->subid_set_count++;
}

/* Both sets in one.  Over the limits the first set stays, counted. */
uint32_t subid_join(struct core *core, uint32_t a, uint32_t b)
{
    uint32_t ids[SUBID_MAX], count, more;
    if (a == 0 || b == 0 || a == b) return a ? a : b;
    const uint32_t *have = subid_list(core, &a, &count), *add = subid_list(core, &b, &more);
    uint32_t had = count;
    memcpy(ids, have, count * sizeof *ids);
    for (uint32_t i = 0; i < more; i++) {
        uint32_t at = 0;
        while (at < had && ids[at] != add[i]) at++;
        if (at < had) continue;
        if (count == SUBID_MAX) break;
        ids[count++] = add[i];
    }
    if (count == had) return a;
    uint32_t joined = subid_intern(core, ids, count);
    core->stats.refused_limit += joined == 0;
    return joined ? joined : a;
}

/* ---- routes ---- */

static bool target_room(struct target **all, uint32_t *cap, uint32_t count)
{
    if (count < *cap) return true;
    uint32_t more = *cap ? *cap * 2 : 16;
    struct target *targets = mem_realloc(*all, more * sizeof *targets);
    if (targets == NULL) return false;
    *all = targets;
    *cap = more;
    return true;
}

/* One target a session: overlapping subscriptions give one copy with the highest QoS and every
 * identifier [MQTT-3.3.4-2..4], [MQTT-3.3.5-1].  Those with and without No Local stay apart. */
static struct target *target_of_session(const struct core *core, struct target *all, uint32_t count,
                                        struct session *session, bool no_local)
{
    if (session->route_mark[no_local] == core->route_serial)
        return &all[session->route_at[no_local]];
    session->route_mark[no_local] = core->route_serial;
    session->route_at[no_local] = count;
    return NULL;
}

/* Adds one more subscription of the same session. */
static void target_join(struct core *core, struct target *t, const struct target *more)
{
    t->qos = (uint8_t)max_u64(t->qos, more->qos);
    t->retain_as_published |= more->retain_as_published;
    t->subid = subid_join(core, t->subid, more->subid);
}

static struct target target_of(const struct sub *s)
{
    struct target t = {.subid = s->subid,
                       .qos = s->qos,
                       .kind = TARGET_SESSION,
                       .no_local = s->no_local,
                       .retain_as_published = s->retain_as_published};
    t.to.session = s->owner.session;
    if (s->kind == SUB_GROUP) {
        t.kind = TARGET_GROUP;
        t.to.group = s->owner.group;
    } else if (s->kind == SUB_WISHES) {
        t.kind = TARGET_WISHES;
        t.to.wishes = wish_set_of((struct sub *)(uintptr_t)s);
    } else if (s->kind == SUB_QUEUE) {
        t.kind = TARGET_QUEUE;
        t.to.queue = s->owner.queue;
    } else if (s->wished) {
        t.kind = TARGET_WISHED;
        t.to.wished = wsub_of(s);
    }
    return t;
}

/* Whether it is a target here, too. */
static bool route_add_queue(struct core *core, struct route *r, const struct sub *s)
{
    bool here = s->kind == SUB_QUEUE;
    uint64_t bit = here ? (uint64_t)1 << core->shard : wqueue_shard_bit(s);
    r->durable = r->queued = true;
    r->queues |= bit;
    if (wqueue_rejects(s)) r->rejects |= bit;
    if (here) return wqueue_is_new_target(core, s->owner.queue);
    r->remote |= bit;
    return false;
}

static void route_add(void *ctx, const struct filter *f)
{
    struct core *core = ctx;
    struct route *r = &core->scratch;
    r->durable |= f->durable_count > 0;
    for (const struct sub *s = f->subs; s; s = s->filter_next) {
        if (s->kind == SUB_SHARD) {
            r->durable |= s->durable;
            r->remote |= (uint64_t)1 << s->owner.shard;
            continue;
        }
        if (s->kind >= SUB_QUEUE && !route_add_queue(core, r, s)) continue;
        if (!target_room(&r->targets, &r->target_cap, r->target_count)) {
            core->stats.dropped_no_memory++;
            return;
        }
        struct target new = target_of(s), *t = NULL;
        r->wished |= new.kind == TARGET_WISHED || new.kind == TARGET_WISHES;
        r->grouped |= new.kind == TARGET_GROUP || new.kind == TARGET_QUEUE;
        if (new.kind == TARGET_SESSION)
            t = target_of_session(core, r->targets, r->target_count, new.to.session, new.no_local);
        if (t)
            target_join(core, t, &new);
        else
            r->targets[r->target_count++] = new;
    }
}

static void route_free(struct route *r)
{
    if (r == NULL) return;
    mem_free(r->targets);
    mem_free(r);
}

void route_cache_free(struct core *core)
{
    for (size_t i = 0; i < ROUTE_SLOTS; i++) {
        route_free(core->routes[i].route);
        core->routes[i] = (struct route_slot){0};
    }
    mem_free(core->resolved);
    mem_free(core->scratch.targets);
    core->scratch = (struct route){0};
}

/* Copies the scratch route into its slot; without memory the cache just stays as it is. */
static struct route *route_keep(struct core *core, struct route_slot *slot, struct bytes topic)
{
    const struct route *from = &core->scratch;
    struct route *r = mem_alloc(sizeof *r + topic.n);
    if (r == NULL) return &core->scratch;
    *r = *from;
    r->target_cap = from->target_count;
    r->targets = mem_alloc(from->target_count * sizeof *r->targets);
    if (r->targets == NULL) {
        mem_free(r);
        return &core->scratch;
    }
    if (from->target_count)
        memcpy(r->targets, from->targets, from->target_count * sizeof *r->targets);
    memcpy(r->topic, topic.p, topic.n);
    route_free(slot->route);
    *slot = (struct route_slot){r->hash, r};
    return r;
}

struct route *route_get(struct core *core, struct bytes topic, uint64_t hash)
{
    struct route *cached = route_cached(core, topic, hash);
    if (cached) return cached;
    core->stats.route_misses++;
    if (core->cold < COLD_MAX) core->cold++;
    core->route_serial++;
    struct route *r = &core->scratch;
    struct target *targets = r->targets;
    uint32_t cap = r->target_cap;
    *r = (struct route){.hash = hash,
                        .generation = core->generation,
                        .history = (uint8_t)history_of(core, topic),
                        .topic_len = (uint16_t)topic.n,
                        .remote = core->interest_lost,
                        .durable = core->interest_lost != 0,
                        .targets = targets,
                        .target_cap = cap};
    if (!trie_match(&core->trie, topic, hash, route_add, core)) core->stats.refused_limit++;
    if (r->target_count > ROUTE_KEEP_MAX) return r;
    uint32_t at = (uint32_t)hash & (ROUTE_SLOTS - 1), tag = (uint32_t)(hash >> 32) | 1;
    if (core->seen[at] != tag) { /* topics that come once do not push out those that come often */
        core->seen[at] = tag;
        return r;
    }
    return route_keep(core, &core->routes[at], topic);
}

/* ---- fan-out ---- */

/* Of a route on which some subscriptions wish something, the targets that a message has. */
struct resolving {
    struct core *core;
    bool history;   /* the topic is in one */
    uint32_t count; /* of core->resolved */
};

static void resolve_add(struct resolving *r, const struct target *new)
{
    struct core *core = r->core;
    struct target *t = NULL;
    if (!target_room(&core->resolved, &core->resolved_cap, r->count)) {
        core->stats.dropped_no_memory++;
        return;
    }
    if (new->kind == TARGET_SESSION)
        t = target_of_session(core, core->resolved, r->count, new->to.session, new->no_local);
    if (t)
        target_join(core, t, new);
    else
        core->resolved[r->count++] = *new;
}

static void resolve_wished(void *ctx, struct wsub *ws)
{
    const struct resolving *r = ctx;
    struct target t = target_of(&ws->head.sub);
    if (UNLIKELY(ws->replay != NULL) && replay_of_dead(ws->replay)) return; /* its reader does it */
    /* Replays one by one: what is live for others may still be the past for them. */
    t.kind = r->history && ws->replay ? TARGET_REPLAY : TARGET_SESSION;
    if (t.kind == TARGET_SESSION) t.to.session = ws->head.sub.owner.session;
    resolve_add(ctx, &t);
}

/* One target a session, as without wishes; they are good until the next call. */
static uint32_t resolve(struct core *core, const struct pub *p, const struct route *route)
{
    struct resolving r = {core, route->history, 0};
    struct wish_event event;
    wish_event_init(&event, core, p);
    core->route_serial++;
    for (uint32_t i = 0; i < route->target_count; i++) {
        const struct target *t = &route->targets[i];
        if (t->kind == TARGET_WISHES)
            wish_set_match(&event, t->to.wishes, resolve_wished, &r);
        else if (t->kind != TARGET_WISHED)
            resolve_add(&r, t);
        else if (wish_passes(&event, &t->to.wished->filters))
            resolve_wished(&r, t->to.wished);
    }
    return r.count;
}

bool router_deliver(struct core *core, struct pub *p, const struct route *r)
{
    struct images images;
    uint32_t count = UNLIKELY(r->wished) ? resolve(core, p, r) : r->target_count;
    const struct target *targets = UNLIKELY(r->wished) ? core->resolved : r->targets;
    images_init(&images, count > 1);
    if (UNLIKELY(r->grouped)) p->named = true;
    bool upgrade = core->cfg.upgrade_outgoing_qos;
    for (uint32_t i = 0; i < count; i++) {
        const struct target *t = &targets[i];
        if (UNLIKELY(t->kind == TARGET_GROUP)) {
            share_dispatch(core, t->to.group, p);
            continue;
        }
        if (UNLIKELY(t->kind == TARGET_QUEUE)) {
            wqueue_take(core, t->to.queue, p);
            continue;
        }
        uint8_t qos = upgrade || t->qos < p->qos ? t->qos : p->qos; /* [MQTT-3.8.4-8] */
        bool replays = t->kind == TARGET_REPLAY;
        struct session *s = replays ? t->to.wished->head.sub.owner.session : t->to.session;
        if (UNLIKELY(t->no_local && s == p->from)) continue; /* [MQTT-3.8.3-3] */
        if (UNLIKELY(replays)) {
            replay_live(core, p, t->to.wished, qos, &images);
            continue;
        }
        unsigned flags =
            p->retain && t->retain_as_published ? OUTQ_RETAIN : 0; /* [MQTT-3.3.1-12] */
        deliver(core, p, s, qos, flags, t->subid, &images);
    }
    return count > 0;
}

bool router_publish(struct core *core, struct pub *p, const struct route *r)
{
    unsigned owner = core->shard;
    uint64_t remote = r->remote;
    bool any = remote != 0;
    if (UNLIKELY(p->retain)) {
        any = true;
        owner = retained_owner(core, p->hash);
        if (owner == core->shard)
            retained_set(core, p);
        else
            remote |= (uint64_t)1 << owner;
    }
    while (remote) {
        unsigned dst = (unsigned)__builtin_ctzll(remote);
        remote &= remote - 1;
        unsigned flags = (r->remote >> dst & 1 ? MAIL_ROUTE : 0) |
                         (p->retain && dst == owner ? MAIL_RETAIN_SET : 0);
        mail_publish(core, dst, p, flags);
        if (UNLIKELY(mail_full(core, dst)) && p->from && p->from->conn)
            conn_pause_on(p->from->conn, &core->mail_waiters);
    }
    if (r->target_count) any |= router_deliver(core, p, r);
    return any;
}
