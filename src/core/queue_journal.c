/* Work queues in the journal, in recovery and in checkpoints.  That a message is in a queue follows
 * from routing it again; what is written is what a queue is, what has become of its messages, and
 * that an attempt has failed.  Who had a message does not matter: connections end with the broker,
 * and a delivery belongs to the queue.  The shard's thread. */
#include "core/queue_int.h"

#include "core/journal.h"
#include "core/recover_int.h"

enum { DEDUP_RUN = 1024, SETTINGS_SIZE = 6 * 8 + 3 * 4 + 4 };

/* ---- writing ---- */

static uint8_t *put_settings(uint8_t *d, const struct queue_settings *s, bool configured)
{
    d = mail_put_u64(mail_put_u64(d, s->ack_deadline_ms), s->backoff_first_ms);
    d = mail_put_u64(mail_put_u64(d, s->backoff_most_ms), s->message_ttl_ms);
    d = mail_put_u64(mail_put_u64(d, s->dedup_window_ms), s->max_bytes);
    d = mail_put_u32(mail_put_u32(d, s->max_messages), s->max_deliveries);
    d = put_u8(mail_put_u32(d, s->prefetch), s->overflow);
    return put_u8(put_u8(put_u8(d, s->by_key), s->round_robin), configured);
}

static void get_settings(struct rd *rd, struct queue_settings *s, bool *configured)
{
    s->ack_deadline_ms = mail_u64(rd);
    s->backoff_first_ms = mail_u64(rd);
    s->backoff_most_ms = mail_u64(rd);
    s->message_ttl_ms = mail_u64(rd);
    s->dedup_window_ms = mail_u64(rd);
    s->max_bytes = mail_u64(rd);
    s->max_messages = mail_u32(rd);
    s->max_deliveries = mail_u32(rd);
    s->prefetch = mail_u32(rd);
    s->overflow = rd_u8(rd);
    s->by_key = rd_u8(rd) != 0;
    s->round_robin = rd_u8(rd) != 0;
    *configured = rd_u8(rd) != 0;
}

void wqueue_journal(struct wqueue *q)
{
    struct core *core = q->core;
    struct bytes filter = q->filter ? bytes_str(q->filter) : (struct bytes){0};
    size_t size = 64 + SETTINGS_SIZE + wqueue_name(q).n + filter.n;
    for (uint32_t i = 0; i < q->topic_count; i++) size += 4 + strlen(q->topics[i]);
    uint8_t *d = core->journaling ? journal_put(core, J_QUEUE, size) : NULL;
    if (d == NULL) return;
    d = put_settings(mail_put_u64(d, q->salt), &q->set, q->configured);
    d = mail_put_bytes(mail_put_bytes(d, wqueue_name(q)), filter);
    d = mail_put_u32(d, q->topic_count);
    for (uint32_t i = 0; i < q->topic_count; i++) d = mail_put_bytes(d, bytes_str(q->topics[i]));
    journal_put_end(core, d);
}

static uint8_t *put_number(struct wqueue *q, enum journal_kind kind, size_t more)
{
    struct core *core = q->core;
    uint8_t *d = core->journaling ? journal_put(core, kind, sizeof q->number + more) : NULL;
    return d ? mail_put_u64(d, q->number) : NULL;
}

void wqueue_journal_end(struct wqueue *q)
{
    uint8_t *d = put_number(q, J_QUEUE_END, 0);
    if (d) journal_put_end(q->core, d);
}

void wqueue_journal_done(struct wqueue *q, uint64_t seq)
{
    uint8_t *d = put_number(q, J_QDONE, 8);
    if (d) journal_put_end(q->core, mail_put_u64(d, seq));
}

void wqueue_journal_tried(struct wqueue *q, const struct qpast *past)
{
    uint8_t *d = put_number(q, J_QTRIED, 64u + past->client_len + past->text_len);
    if (d == NULL) return;
    d = mail_put_u64(mail_put_u64(d, past->seq), past->first_ms);
    d = mail_put_u64(mail_put_u64(d, past->last_ms), past->due_ms);
    d = put_u8(put_u8(mail_put_u32(d, past->attempts), past->reason), past->code);
    d = mail_put_bytes(d, bytes_of(past->bytes, past->client_len));
    d = mail_put_bytes(d, bytes_of(past->bytes + past->client_len, past->text_len));
    journal_put_end(q->core, d);
}

static void journal_entry(struct wqueue *q, uint32_t index)
{
    const struct qentry *e = qset_at(&q->entries, index);
    uint8_t *d = put_number(q, J_QENTRY, 48);
    if (d == NULL) return;
    d = mail_put_u64(mail_put_u64(d, e->seq), e->hot ? e->seq : e->ref);
    d = mail_put_u64(d, qset_key(&q->entries, index));
    d = put_u8(mail_put_u32(mail_put_u32(d, e->expires_s), e->size), e->priority);
    journal_put_end(q->core, d);
    if (e->past) wqueue_journal_tried(q, wqueue_past(q, e->seq));
}

static void journal_dedups(struct wqueue *q)
{
    struct list *it = q->dedup_order.next;
    while (it != &q->dedup_order) {
        uint8_t *d = put_number(q, J_QDEDUP, DEDUP_RUN * 16);
        if (d == NULL) return;
        for (int n = 0; n < DEDUP_RUN && it != &q->dedup_order; n++, it = it->next) {
            const struct qdedup *one = CONTAINER_OF(it, struct qdedup, link);
            d = mail_put_u64(mail_put_u64(d, one->id), one->until_ms);
        }
        journal_put_end(q->core, d);
    }
}

/* ---- checkpoints ---- */

static int vacate(struct wqueue *q, struct qentry *e)
{
    uint64_t from = e->hot ? e->seq : e->ref, ref = from;
    int rc = checkpoint_vacate(q->core, &ref);
    if (rc < 0 || ref == from) return rc;
    if (e->hot) {
        blob_unref((struct blob *)(uintptr_t)e->ref);
        e->hot = 0;
        q->hot_count--;
    }
    e->ref = ref;
    return 0;
}

int wqueue_snapshot(struct core *core, struct queue_walk *walk)
{
    while (walk->slot < core->queue_slot_count && core->queue_slots[walk->slot] == NULL) {
        walk->slot++;
        walk->at = 0;
    }
    if (walk->slot >= core->queue_slot_count) return E_NOTFOUND;
    struct wqueue *q = core->queue_slots[walk->slot];
    if (walk->at == 0 || walk->serial != q->serial) {
        wqueue_journal(q);
        journal_dedups(q);
        walk->serial = q->serial;
        walk->at = 1;
        return 0;
    }
    if (walk->at > q->entries.used) {
        walk->slot++;
        walk->at = 0;
        return 0;
    }
    struct qentry *e = qset_at(&q->entries, walk->at - 1);
    int rc = e->seq ? vacate(q, e) : 0;
    if (rc < 0) return rc;
    if (e->seq) journal_entry(q, walk->at - 1);
    walk->at++;
    return 0;
}

/* ---- recovery ---- */

static uint64_t entry_hash(const void *elem, uint64_t seed)
{
    return hash_u64(((const struct qentry *)elem)->seq, seed);
}

static struct qentry *entry_find(const struct wqueue *q, uint64_t seq)
{
    if (q->by_seq == NULL) return NULL;
    uint64_t hash = hash_u64(seq, q->core->seed);
    struct qentry *e;
    for (size_t pos = hash; (e = ptrmap_next(q->by_seq, hash, &pos)) != NULL;)
        if (e->seq == seq) return e;
    return NULL;
}

static int entry_put(struct wqueue *q, uint32_t index)
{
    struct qentry *e = qset_at(&q->entries, index);
    if (q->by_seq == NULL) {
        q->by_seq = mem_calloc(1, sizeof *q->by_seq);
        if (q->by_seq == NULL) return E_NOMEM;
        ptrmap_init(q->by_seq, entry_hash, q->core->seed);
    }
    return ptrmap_put(q->by_seq, e, hash_u64(e->seq, q->core->seed));
}

static void entry_gone(struct wqueue *q, uint64_t seq)
{
    struct qentry *e = entry_find(q, seq);
    if (e == NULL) return;
    ptrmap_del(q->by_seq, e, hash_u64(seq, q->core->seed));
    wqueue_remove(q, qset_index(&q->entries, e));
}

void wqueue_recover_take(struct core *core, struct wqueue *q, struct pub *p)
{
    struct control c;
    struct wish_event event;
    uint32_t index;
    if (core->stream != STREAM_ANY && q->stream != core->stream) return;
    if (p->seq == 0 || entry_find(q, p->seq)) return;
    wish_event_init(&event, core, p);
    if (!wish_passes(&event, &q->filters)) return;
    control_read(p->control, &c);
    if (wqueue_duplicate(q, c.dedup_id, p->created_ms)) return;
    int rc = wqueue_add(q, p, &c, &index);
    if (rc == 0) rc = entry_put(q, index);
    if (rc < 0) core->recovery->rc = rc;
}

void wqueue_recovered_dead(struct core *core, uint64_t number, uint64_t seq)
{
    struct wqueue *q = wqueue_numbered(core, number);
    if (q) entry_gone(q, seq);
}

void wqueue_recovered_back(struct core *core, struct pub *p, uint64_t number)
{
    struct wqueue *q = wqueue_numbered(core, number);
    core->stream = STREAM_ANY;
    if (q) wqueue_recover_take(core, q, p);
}

void wqueue_run(struct core *core, unsigned shards, uint64_t seed)
{
    for (uint32_t i = 0; i < core->queue_slot_count; i++) {
        struct wqueue *q = core->queue_slots[i];
        if (q) q->stream = (uint8_t)core_home(wqueue_name(q), shards, seed);
    }
}

static char *text_of(struct bytes b) { return mem_strndup(b.p, b.n); }

static void on_queue(struct recovery *r, unsigned stream, struct rd *rd)
{
    struct core *core = r->core;
    uint64_t salt = mail_u64(rd);
    struct queue_conf conf;
    char *topics[QUEUE_TOPICS_MAX] = {0};
    const char *why = "";
    bool configured;
    get_settings(rd, &conf.set, &configured);
    struct bytes name = mail_bytes(rd), filter = mail_bytes(rd);
    conf.topic_count = mail_u32(rd);
    ASSERT(conf.topic_count <= QUEUE_TOPICS_MAX);
    bool memory = true;
    for (uint32_t i = 0; i < conf.topic_count; i++) {
        topics[i] = text_of(mail_bytes(rd));
        memory &= topics[i] != NULL;
    }
    conf.name = text_of(name);
    conf.filter = filter.n ? text_of(filter) : NULL;
    conf.topics = topics;
    memory &= conf.name && (conf.filter || filter.n == 0);
    bool mine = wqueue_owner(core, name) == core->shard;
    struct wqueue *q = mine && memory ? wqueue_find(core, name) : NULL;
    int rc = memory ? 0 : E_NOMEM;
    if (q)
        rc = wqueue_update(q, &conf);
    else if (mine && memory)
        rc = wqueue_new(core, &conf, salt, &q, &why);
    if (rc == 0 && q) {
        q->stream = (uint8_t)stream;
        q->salt = salt;
        q->configured = configured;
    }
    for (uint32_t i = 0; i < conf.topic_count; i++) mem_free(topics[i]);
    mem_free(conf.name);
    mem_free(conf.filter);
    if (rc == E_NOMEM) r->rc = rc;
}

static void on_entry(struct recovery *r, struct wqueue *q, struct rd *rd)
{
    struct qentry like = {.seq = mail_u64(rd) & 0xffffffffffffu};
    uint64_t ref = mail_u64(rd), key = mail_u64(rd);
    uint32_t index;
    like.expires_s = mail_u32(rd);
    like.size = mail_u32(rd);
    like.priority = rd_u8(rd) & 15u;
    struct qentry *e = entry_find(q, like.seq);
    if (e && e->ref == ref) return;
    like.ref = store_hold(r->core->store, ref, NULL);
    if (e) { /* it was moved */
        store_drop(r->core->store, e->ref);
        e->ref = like.ref;
        return;
    }
    int rc = qset_add(&q->entries, &like, key, &index);
    if (rc == 0) rc = entry_put(q, index);
    r->core->stats.queue_messages++;
    r->core->stats.queue_bytes += like.size;
    if (rc < 0) r->rc = rc;
}

static void on_tried(struct recovery *r, struct wqueue *q, struct rd *rd)
{
    struct qpast past = {.seq = mail_u64(rd)};
    past.first_ms = mail_u64(rd);
    past.last_ms = mail_u64(rd);
    past.due_ms = mail_u64(rd);
    past.attempts = mail_u32(rd);
    past.reason = rd_u8(rd);
    past.code = rd_u8(rd);
    struct bytes client = mail_bytes(rd), text = mail_bytes(rd);
    struct qentry *e = entry_find(q, past.seq);
    if (e && wqueue_past_set(q, e, &past, client, text) < 0) r->rc = E_NOMEM;
}

static void on_dedup(struct recovery *r, struct wqueue *q, struct rd *rd)
{
    while (rd_left(rd)) {
        uint64_t id = mail_u64(rd), until_ms = mail_u64(rd);
        if (!wqueue_knows(q, id) && wqueue_remember(q, id, until_ms) < 0) r->rc = E_NOMEM;
    }
}

void wqueue_entry(struct recovery *r, unsigned kind, unsigned stream, struct rd *rd)
{
    if (kind == J_QUEUE) {
        on_queue(r, stream, rd);
        return;
    }
    struct wqueue *q = wqueue_numbered(r->core, mail_u64(rd));
    if (q == NULL) return;
    switch (kind) {
    case J_QUEUE_END: wqueue_free(q); break;
    case J_QDONE: entry_gone(q, mail_u64(rd)); break;
    case J_QTRIED: on_tried(r, q, rd); break;
    case J_QENTRY: on_entry(r, q, rd); break;
    default: on_dedup(r, q, rd); break;
    }
}

static int by_seq(const void *a, const void *b)
{
    const struct qentry *const *x = a, *const *y = b;
    uint64_t m = (*x)->seq, n = (*y)->seq;
    return (m > n) - (m < n);
}

/* As it would be now: waiting, until its time, or due to be a dead letter. */
static void settle_entry(struct wqueue *q, uint32_t index)
{
    const struct core *core = q->core;
    const struct qentry *e = qset_at(&q->entries, index);
    const struct qpast *past = e->past ? wqueue_past(q, e->seq) : NULL;
    qset_wait(&q->entries, index, past != NULL);
    if (past == NULL) return;
    bool spent = q->set.max_deliveries && past->attempts >= q->set.max_deliveries;
    if (past->reason || spent)
        wqueue_die(q, index, past->reason ? past->reason : DEAD_ATTEMPTS);
    else if (past->due_ms > core->wall_ms && e->state == QS_READY)
        wqueue_delay(q, index, core->now_ms + (past->due_ms - core->wall_ms));
}

static int settle_queue(struct wqueue *q)
{
    size_t count = 0, most = q->by_seq ? q->by_seq->count : 0;
    struct qentry **all = most ? mem_alloc(most * sizeof(struct qentry *)) : NULL;
    if (most && all == NULL) return E_NOMEM;
    for (uint32_t i = 0; most && i < q->entries.used; i++)
        if (qset_at(&q->entries, i)->seq) all[count++] = qset_at(&q->entries, i);
    ASSERT(count == most);
    if (count) qsort(all, count, sizeof(struct qentry *), by_seq);
    for (size_t i = 0; i < count; i++) settle_entry(q, qset_index(&q->entries, all[i]));
    mem_free(all);
    if (q->by_seq) ptrmap_fini(q->by_seq);
    mem_free(q->by_seq);
    q->by_seq = NULL;
    return 0;
}

int wqueue_recovered(struct core *core)
{
    int rc = 0;
    for (uint32_t i = 0; i < core->queue_slot_count && rc == 0; i++)
        if (core->queue_slots[i]) rc = settle_queue(core->queue_slots[i]);
    return rc;
}

void wqueue_begin(struct core *core)
{
    wqueue_configure(core);
    for (uint32_t i = 0; i < core->queue_slot_count; i++) {
        struct wqueue *q = core->queue_slots[i];
        if (q == NULL) continue;
        wqueue_tell(q);
        wqueue_arm_expiry(q);
    }
}
