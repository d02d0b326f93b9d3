/* What comes into a work queue, how much of it there may be and for how long, see queue.h.  The
 * shard's thread. */
#include "core/queue_int.h"

enum { SIZE_CAP = (1 << 30) - 1, PROMISE_MS = 1000 };

uint64_t wqueue_key(const struct wqueue *q, struct bytes text)
{
    return text.n ? hash_bytes(text, q->salt) | 1 : 0;
}

/* ---- the message of an entry ---- */

int wqueue_body(struct wqueue *q, struct qentry *e, struct blob **out)
{
    struct blob *b = (struct blob *)(uintptr_t)e->ref;
    if (e->hot) {
        *out = blob_ref(b);
        return 0;
    }
    int rc = core_fetch(q->core, e->ref, out);
    if (rc == 0) msg_of(*out)->seq = e->seq; /* it may have been moved since */
    return rc;
}

static void release(struct wqueue *q, struct qentry *e)
{
    struct core *core = q->core;
    uint64_t ref = e->hot ? e->seq : e->ref;
    if (e->hot) {
        blob_unref((struct blob *)(uintptr_t)e->ref);
        q->hot_count--;
    }
    if (core->keeps) core_drop(core, ref);
}

void wqueue_remove(struct wqueue *q, uint32_t index)
{
    struct qentry *e = qset_at(&q->entries, index);
    if (e->past) wqueue_past_del(q, e);
    if (e->state == QS_FLYING || e->state == QS_DELAYED)
        wqueue_job_free(q, q->jobs[qset_job(&q->entries, index)]);
    if (e->state == QS_DYING) q->dying_bytes -= e->size;
    q->core->stats.queue_messages--;
    q->core->stats.queue_bytes -= e->size;
    release(q, e);
    qset_remove(&q->entries, index);
}

/* ---- what is known of those that have been out ---- */

struct qpast *wqueue_past(const struct wqueue *q, uint64_t seq)
{
    uint64_t hash = hash_u64(seq, q->core->seed);
    struct qpast *past;
    for (size_t pos = hash; (past = ptrmap_next(&q->pasts, hash, &pos)) != NULL;)
        if (past->seq == seq) return past;
    return NULL;
}

int wqueue_past_set(struct wqueue *q, struct qentry *e, const struct qpast *like,
                    struct bytes client, struct bytes text)
{
    if (text.n > QUEUE_TEXT_MAX) text.n = 0; /* to cut it might break a character */
    struct qpast *past = mem_alloc(sizeof *past + client.n + text.n);
    if (past == NULL) return E_NOMEM;
    *past = *like;
    past->seq = e->seq;
    past->client_len = (uint16_t)client.n;
    past->text_len = (uint16_t)text.n;
    put_mem(put_mem(past->bytes, client), text);
    struct qpast *old = e->past ? wqueue_past(q, e->seq) : NULL;
    uint64_t hash = hash_u64(e->seq, q->core->seed);
    if (old) ptrmap_del(&q->pasts, old, hash);
    if (ptrmap_put(&q->pasts, past, hash) < 0) {
        ASSERT(old == NULL); /* else there is room */
        mem_free(past);
        return E_NOMEM;
    }
    mem_free(old);
    e->past = 1;
    return 0;
}

void wqueue_past_del(struct wqueue *q, struct qentry *e)
{
    struct qpast *past = wqueue_past(q, e->seq);
    ptrmap_del(&q->pasts, past, hash_u64(e->seq, q->core->seed));
    mem_free(past);
    e->past = 0;
}

/* ---- duplicates ---- */

static void dedup_forget(struct wqueue *q, uint64_t now_ms)
{
    while (!list_empty(&q->dedup_order)) {
        struct qdedup *d = CONTAINER_OF(q->dedup_order.next, struct qdedup, link);
        if (d->until_ms > now_ms && q->dedups.count <= QUEUE_DEDUP_MAX) return;
        list_del(&d->link);
        ptrmap_del(&q->dedups, d, hash_u64(d->id, q->core->seed));
        mem_free(d);
    }
}

int wqueue_remember(struct wqueue *q, uint64_t id, uint64_t until_ms)
{
    struct qdedup *d = mem_calloc(1, sizeof *d);
    if (d == NULL) return E_NOMEM;
    d->id = id;
    d->until_ms = until_ms;
    if (ptrmap_put(&q->dedups, d, hash_u64(id, q->core->seed)) < 0) {
        mem_free(d);
        return E_NOMEM;
    }
    list_push(&q->dedup_order, &d->link);
    return 0;
}

bool wqueue_knows(const struct wqueue *q, uint64_t id)
{
    uint64_t hash = hash_u64(id, q->core->seed);
    const struct qdedup *d;
    for (size_t pos = hash; (d = ptrmap_next(&q->dedups, hash, &pos)) != NULL;)
        if (d->id == id) return true;
    return false;
}

bool wqueue_duplicate(struct wqueue *q, struct bytes text, uint64_t now_ms)
{
    if (q->set.dedup_window_ms == 0 || text.n == 0) return false;
    uint64_t id = wqueue_key(q, text);
    dedup_forget(q, now_ms);
    if (wqueue_knows(q, id)) return true;
    if (wqueue_remember(q, id, now_ms + q->set.dedup_window_ms) < 0)
        q->core->stats.dropped_no_memory++; /* a duplicate of it will be taken for another */
    return false;
}

/* ---- age ---- */

static uint32_t expires_s(const struct wqueue *q, const struct pub *p)
{
    uint64_t ttl_ms = q->set.message_ttl_ms;
    if (p->expiry_s != MQTT_NO_EXPIRY) {
        uint64_t own = p->expiry_s * UINT64_C(1000);
        if (ttl_ms == 0 || own < ttl_ms) ttl_ms = max_u64(own, 1);
    }
    if (ttl_ms == 0) return 0;
    uint64_t at = (p->created_ms + ttl_ms + 999) / 1000;
    return (uint32_t)min_u64(at, UINT32_MAX);
}

void wqueue_expiry_fired(struct timer *t, void *ctx)
{
    struct wqueue *q = CONTAINER_OF(t, struct wqueue, expiry);
    const struct core *core = ctx;
    uint32_t now_s = (uint32_t)(core->wall_ms / 1000), next_s, index;
    while ((index = qset_expired(&q->entries, now_s, &next_s)) != QSET_NONE)
        wqueue_die(q, index, DEAD_EXPIRED);
    wqueue_arm_expiry(q);
}

void wqueue_arm_expiry(struct wqueue *q)
{
    struct core *core = q->core;
    if (q->entries.heap_count == 0 || core->recovery) return;
    uint64_t at_ms = q->entries.heap[0].at_s * UINT64_C(1000);
    uint64_t due = core->now_ms + (at_ms > core->wall_ms ? at_ms - core->wall_ms : 1);
    if (!timer_armed(&q->expiry) || q->expiry.due_ms > due)
        timer_arm(&core->timers, &q->expiry, due);
}

/* ---- how much ---- */

static bool is_full(const struct wqueue *q, uint64_t size)
{
    const struct queue_settings *set = &q->set;
    uint32_t count = qset_count(&q->entries) - q->entries.counts[QS_DYING];
    if (set->max_messages && count >= set->max_messages) return true;
    return set->max_bytes && q->entries.bytes - q->dying_bytes + size > set->max_bytes;
}

/* One more does not go in.  Whether there is room now; else the new one is to go the way that the
 * oldest would have gone. */
static bool make_room(struct wqueue *q, uint64_t size)
{
    /* What a full queue that rejects is sent nevertheless was on its way when it became full. */
    if (q->set.overflow == QUEUE_REJECT) return true;
    while (is_full(q, size)) {
        uint32_t index = qset_oldest(&q->entries);
        if (index == QSET_NONE) return false;
        if (q->set.overflow == QUEUE_DROP_OLDEST) {
            q->counts.dropped++;
            q->core->stats.publish_dropped++;
            wqueue_gone(q, index);
        } else {
            wqueue_die(q, index, DEAD_OVERFLOW);
        }
    }
    return true;
}

/* Room for one that comes soon; several publishers may ask before the first has used it. */
static bool promise(struct wqueue *q, const struct pub *p)
{
    const struct core *core = q->core;
    uint64_t size = pub_size(p);
    uint32_t most = q->set.max_messages;
    if (core->now_ms - q->promised_ms > PROMISE_MS) q->promised = 0;
    if (is_full(q, size * (q->promised + 1))) return false;
    if (most && qset_count(&q->entries) - q->entries.counts[QS_DYING] + q->promised >= most)
        return false;
    q->promised++;
    q->promised_ms = core->now_ms;
    return true;
}

const struct wqueue *wqueue_judge(struct core *core, const struct pub *p, uint32_t *verdict)
{
    const struct route *r = route_get(core, p->topic, p->hash);
    const struct wqueue *full = NULL;
    struct wish_event event;
    struct control c;
    wish_event_init(&event, core, p);
    control_read(p->control, &c);
    *verdict = 0;
    for (uint32_t i = 0; i < r->target_count; i++) {
        if (r->targets[i].kind != TARGET_QUEUE) continue;
        struct wqueue *q = r->targets[i].to.queue;
        if (!wish_passes(&event, &q->filters)) continue;
        uint64_t id = c.dedup_id.n && q->set.dedup_window_ms ? wqueue_key(q, c.dedup_id) : 0;
        if (id) dedup_forget(q, core->wall_ms);
        if (id && wqueue_knows(q, id)) {
            *verdict |= QUEUE_HAS_IT;
        } else if (q->set.overflow == QUEUE_REJECT && full == NULL && !promise(q, p)) {
            *verdict |= QUEUE_IS_FULL;
            full = q;
        }
    }
    return full;
}

int wqueue_add(struct wqueue *q, struct pub *p, const struct control *c, uint32_t *index)
{
    struct core *core = q->core;
    uint64_t size = pub_size(p);
    struct qentry e = {.seq = p->seq & 0xffffffffffffu,
                       .priority = c->priority & 15u,
                       .expires_s = expires_s(q, p),
                       .size = (uint32_t)min_u64(size, SIZE_CAP)};
    ASSERT(e.seq == p->seq && e.seq != 0);
    bool hot = !core->keeps ||
               (core->recovery == NULL && q->hot_count < QUEUE_HOT_MAX && size <= QUEUE_HOT_SIZE);
    struct blob *b = hot ? pub_blob(p) : NULL;
    if (hot && b == NULL) return E_NOMEM;
    int rc = qset_add(&q->entries, &e, q->set.by_key ? wqueue_key(q, c->key) : 0, index);
    if (rc < 0) return rc;
    struct qentry *new = qset_at(&q->entries, *index);
    new->hot = hot;
    q->hot_count += hot;
    if (hot) new->ref = (uint64_t)(uintptr_t)blob_ref(b);
    if (core->keeps) {
        store_ref ref = store_hold(core->store, p->seq, NULL);
        if (!hot) new->ref = ref;
    }
    core->stats.queue_messages++;
    core->stats.queue_bytes += new->size;
    return 0;
}

void wqueue_take(struct core *core, struct wqueue *q, struct pub *p)
{
    struct wish_event event;
    struct control c;
    uint32_t index;
    if (UNLIKELY(core->recovery != NULL)) {
        wqueue_recover_take(core, q, p);
        return;
    }
    wish_event_init(&event, core, p);
    if (!wish_passes(&event, &q->filters)) return;
    control_read(p->control, &c);
    if (p->seq == 0) { /* it could not be stored */
        core->stats.publish_dropped++;
        return;
    }
    if (wqueue_duplicate(q, c.dedup_id, p->created_ms)) {
        q->counts.duplicates++;
        wqueue_journal_done(q, p->seq);
        return;
    }
    bool room = !is_full(q, pub_size(p)) || make_room(q, pub_size(p));
    if (wqueue_add(q, p, &c, &index) < 0) {
        core->stats.publish_dropped++;
        core->stats.dropped_no_memory++;
        return;
    }
    q->counts.received++;
    q->promised -= q->promised > 0;
    qset_wait(&q->entries, index, false);
    wqueue_arm_expiry(q);
    if (room) {
        wqueue_drain(q);
    } else if (q->set.overflow == QUEUE_DEAD_LETTER) {
        wqueue_die(q, index, DEAD_OVERFLOW);
    } else {
        q->counts.dropped++;
        core->stats.publish_dropped++;
        wqueue_gone(q, index);
    }
}
