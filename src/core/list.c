/* See list.h.  Sessions are walked by their slots, which stay as long as they do; retained messages
 * by their topics, as subscriptions do.  The shard's thread. */
#include "core/list.h"

#include "core/core_int.h"
#include "core/retained.h"
#include "core/share.h"
#include "core/wished.h"

/* ---- clients ---- */

static void describe(const struct session *s, struct core_client *out)
{
    const struct cconn *c = s->conn;
    const char *user = c ? c->username : s->owner;
    *out = (struct core_client){
        .id = bytes_of(s->client_id, s->client_id_len),
        .connected = c != NULL,
        .will = s->will != NULL,
        .version = s->version,
        .expiry_s = s->expiry_s,
        .subscriptions = s->sub_count,
        .inflight = s->out.count,
        .queued = s->queue.count,
        .queued_bytes = s->queue.bytes,
        .since_ms = c ? c->since_ms : s->away_ms,
    };
    if (user) out->user = bytes_str(user);
    if (c == NULL) return;
    out->peer = bytes_str(c->peer);
    out->port = c->listener->port;
    out->keep_alive_s = c->keep_alive_ms / 1500; /* it is kept with its half on top */
    out->receive_max = c->window;
}

bool core_list_clients(struct core *core, struct core_cursor *at, unsigned most,
                       void (*found)(void *ctx, const struct core_client *c), void *ctx)
{
    struct core_client client;
    for (unsigned looked = 0, n = 0; at->slot < core->slot_count; at->slot++, looked++) {
        const struct session *s = core->slots[at->slot].session;
        if (n == most || looked == CORE_LIST_SLOTS) return true;
        if (s == NULL) continue;
        describe(s, &client);
        found(ctx, &client);
        n++;
    }
    return false;
}

int core_find_client(struct core *core, struct bytes id,
                     void (*found)(void *ctx, const struct core_client *c), void *ctx)
{
    const struct session *s = session_find(core, id);
    struct core_client client;
    if (s == NULL) return E_NOTFOUND;
    describe(s, &client);
    found(ctx, &client);
    return 0;
}

int core_kick(struct core *core, struct bytes id)
{
    struct session *s = session_find(core, id);
    if (s == NULL) return E_NOTFOUND;
    if (s->conn == NULL || s->conn->state != CONN_UP) return E_INVALID;
    conn_end(s->conn, MQTT_ADMINISTRATIVE_ACTION, "disconnected: by an administrator");
    return 0;
}

/* ---- subscriptions ---- */

struct subscriptions {
    struct core *core;
    const struct session *session;
    uint32_t skip, left, passed;
    void (*found)(void *ctx, const struct core_subscription *s);
    void *ctx;
};

/* Whether this one is to be told; counts it. */
static bool is_next(struct subscriptions *l)
{
    if (l->passed < l->skip) {
        l->passed++;
        return false;
    }
    if (l->left == 0) return false;
    l->left--;
    l->passed++;
    l->skip = l->passed;
    return true;
}

/* The whole string as it was subscribed to; empty without memory. */
static struct bytes whole(struct core *core, const char *share, struct bytes name,
                          struct bytes prefix, struct bytes filter)
{
    size_t n = strlen(share) + name.n + 1 + prefix.n + filter.n;
    uint8_t *start = core_scratch(core, SCRATCH_REPLY, n), *d = start;
    if (start == NULL) return (struct bytes){0};
    if (name.n) d = put_u8(put_mem(put_mem(d, bytes_str(share)), name), '/');
    d = put_mem(put_mem(d, prefix), filter);
    return bytes_of(start, (size_t)(d - start));
}

static void tell_plain(struct subscriptions *l, const struct sub *sub)
{
    struct wish w = {0};
    if (!is_next(l)) return;
    uint8_t *text = core_scratch(l->core, SCRATCH_TOPIC, MQTT_TOPIC_MAX);
    if (text == NULL) return;
    size_t n = trie_filter_text(sub, (char *)text);
    struct bytes block = sub_block(sub);
    if (block.n) wish_get(block, &w);
    struct core_subscription out = {
        .client = bytes_of(l->session->client_id, l->session->client_id_len),
        .filter = whole(l->core, "", (struct bytes){0}, w.prefix, bytes_of(text, n)),
        .where = w.filter,
        .id = sub->subid,
        .qos = sub->qos,
        .no_local = sub->no_local,
        .retain_as_published = sub->retain_as_published,
        .retain_handling = sub->retain_handling,
    };
    l->found(l->ctx, &out);
}

static void tell_shared(void *ctx, const struct share_view *v)
{
    struct subscriptions *l = ctx;
    struct wish w = {0};
    if (!is_next(l)) return;
    if (v->block.n) wish_get(v->block, &w);
    struct core_subscription out = {
        .client = bytes_of(l->session->client_id, l->session->client_id_len),
        .filter = whole(l->core, "$share/", v->name, w.prefix, v->filter),
        .where = w.filter,
        .id = v->subid,
        .qos = v->qos,
        .retain_as_published = v->retain_as_published,
        .shared = true,
    };
    l->found(l->ctx, &out);
}

static void list_one(struct subscriptions *l)
{
    for (const struct sub *sub = l->session->subs; sub && l->left; sub = sub->owner_next)
        tell_plain(l, sub);
    if (l->left) share_each(l->session, tell_shared, l);
}

bool core_list_subscriptions(struct core *core, struct bytes client, struct core_cursor *at,
                             unsigned most,
                             void (*found)(void *ctx, const struct core_subscription *s), void *ctx)
{
    struct subscriptions l = {.core = core, .left = most, .found = found, .ctx = ctx};
    if (client.n) {
        l.session = session_find(core, client);
        l.skip = at->skip;
        if (l.session) list_one(&l);
        at->skip = l.skip;
        return l.session && l.left == 0;
    }
    for (unsigned looked = 0; at->slot < core->slot_count; at->slot++, looked++) {
        l.session = core->slots[at->slot].session;
        if (l.left == 0 || looked == CORE_LIST_SLOTS) return true;
        if (l.session == NULL) continue;
        l.skip = at->skip;
        l.passed = 0;
        list_one(&l);
        at->skip = l.left ? 0 : l.skip;
        if (l.left == 0) return true;
    }
    return false;
}

/* ---- retained messages ---- */

/* Moves the cursor to the topic and returns the cursor's copy of it. */
static int go_to(struct core_cursor *at, struct bytes topic)
{
    at->after.head = at->after.tail = 0;
    return buf_append(&at->after, topic);
}

bool core_list_retained(struct core *core, struct bytes filter, struct core_cursor *at,
                        unsigned most, void (*found)(void *ctx, const struct core_retained *m),
                        void *ctx, bool *torn)
{
    uint32_t budget = CORE_LIST_SLOTS;
    struct retain_item item;
    for (unsigned n = 0; n < most;) {
        int rc = retain_next(core->retain, filter, buf_view(&at->after), &budget, &item);
        if (rc == E_NOTFOUND) return false;
        if (go_to(at, item.topic) < 0) {
            *torn = true;
            return false;
        }
        if (rc == E_AGAIN) return true;
        const struct retained *m = retained_of(&item);
        if (retained_is_expired(core, m)) continue;
        n++;
        found(ctx, &(struct core_retained){.topic = item.topic,
                                           .since_ms = m->created_ms,
                                           .seq = m->seq,
                                           .size = m->size,
                                           .expiry_s = m->expiry_s});
    }
    return true;
}

/* 0, or an error of store_append(): nothing has changed. */
static int delete_one(struct core *core, struct bytes topic)
{
    struct pub p = {.topic = topic,
                    .qos = 1,
                    .retain = true,
                    .internal = true,
                    .created_ms = core->wall_ms,
                    .expiry_s = MQTT_NO_EXPIRY,
                    .origin = core->shard};
    const struct route *r = pub_route(core, &p);
    int rc = pub_store(core, &p); /* else it would be there again after a restart */
    if (rc == 0) router_publish(core, &p, r);
    blob_unref(p.blob);
    return rc;
}

int core_delete_retained(struct core *core, struct bytes filter, struct core_cursor *at,
                         unsigned most, bool dry, uint64_t *matched, uint64_t *deleted)
{
    uint32_t budget = CORE_LIST_SLOTS;
    struct retain_item item;
    for (unsigned n = 0; n < most;) {
        if (!dry && store_crowded(core->store)) return E_AGAIN;
        int rc = retain_next(core->retain, filter, buf_view(&at->after), &budget, &item);
        if (rc == E_NOTFOUND) return 0;
        bool found = rc == 0 && !retained_is_expired(core, retained_of(&item));
        if (found && !dry) {
            struct buf topic = {0}; /* the set's own goes with the message */
            rc = buf_append(&topic, item.topic);
            if (rc == 0) rc = delete_one(core, buf_view(&topic));
            if (rc == 0) rc = go_to(at, buf_view(&topic));
            buf_fini(&topic);
            if (rc < 0) return rc;
            ++*deleted;
        } else if (go_to(at, item.topic) < 0) {
            return E_NOMEM;
        }
        *matched += found;
        n += found;
        if (rc == E_AGAIN) return rc;
    }
    return E_AGAIN;
}
