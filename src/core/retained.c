/* Retained messages: storing (the shard that owns the topic), delivering to new subscriptions in
 * slices, expiring.  The shard's thread.
 *
 * Another shard is asked for its part by mail.  It answers only after it has drained all its
 * inboxes once more (core_mail_answer), so that whatever was published before the question was put
 * is seen. */
#include "core/retained.h"

#include "core/access.h"
#include "core/history.h"
#include "core/mailbox.h"
#include "core/wished.h"

enum { SWEEP_STEP = 4096, ANSWER_MESSAGES = 256 };

struct ask {
    struct ask *next;
    unsigned src;
    session_id session;
    uint32_t job, most; /* messages */
    uint32_t filter_len, cursor_len;
    uint8_t text[]; /* filter, cursor */
};

unsigned retained_owner(const struct core *core, uint64_t hash)
{
    return core->shards == 1 ? 0 : (unsigned)((hash >> 40) % core->shards);
}

/* ---- the set ---- */

void retained_release(void *ctx, uint64_t value)
{
    struct core *core = ctx;
    struct retained *m = (struct retained *)(uintptr_t)value;
    core->stats.retained_bytes -= m->size;
    core->retain_expiring -= m->expiry_s != MQTT_NO_EXPIRY;
    if (m->seq)
        core_drop(core, m->ref);
    else
        blob_unref((struct blob *)(uintptr_t)m->ref);
    mem_free(m);
}

static bool over_limit(const struct core *core, const struct pub *p)
{
    const struct core_config *cfg = &core->cfg;
    struct retain_item item;
    uint64_t size = pub_size(p);
    if (cfg->max_retained_bytes &&
        core->stats.retained_bytes + size > cfg->max_retained_bytes / core->shards)
        return true;
    if (cfg->max_retained_messages == 0) return false;
    uint64_t most = max_u64(cfg->max_retained_messages / core->shards, 1);
    return retain_count(core->retain) >= most && !retain_get(core->retain, p->topic, &item);
}

/* Messages of several shards come in no particular order: by their sequences there is one, the same
 * as recovery finds.  That holds for removals too, which leave nothing behind but a note that may
 * be overwritten: what they have to outrun is on its way for a moment only. */
static bool is_late(const struct core *core, struct bytes topic, uint64_t hash, uint64_t seq)
{
    struct retain_item item;
    if (!core->keeps || seq == 0) return false;
    const struct removed *gone = &core->removed[hash & (REMOVED_SLOTS - 1)];
    if (gone->hash == hash && gone->seq > seq) return true;
    return retain_get(core->retain, topic, &item) && retained_of(&item)->seq > seq;
}

/* Takes m over. */
static int put(struct core *core, struct bytes topic, struct retained *m)
{
    core->stats.retained_bytes += m->size;
    core->retain_expiring += m->expiry_s != MQTT_NO_EXPIRY;
    int rc = retain_set(core->retain, topic, (uint64_t)(uintptr_t)m);
    if (rc == 0) return 0;
    core->stats.dropped_no_memory++;
    retained_release(core, (uint64_t)(uintptr_t)m);
    return rc;
}

void retained_set(struct core *core, struct pub *p)
{
    if (is_late(core, p->topic, p->hash, p->seq)) return;
    if (p->payload.n == 0) {
        core->removed[p->hash & (REMOVED_SLOTS - 1)] = (struct removed){p->hash, p->seq};
        retain_del(core->retain, p->topic); /* [MQTT-3.3.1-6], -7 */
        return;
    }
    if (over_limit(core, p)) {
        core->stats.refused_limit++;
        return;
    }
    bool is_kept = p->seq && core->keeps; /* the store has the bytes */
    p->named = true;                      /* for check_retain_source and filters */
    struct blob *b = is_kept ? NULL : pub_blob(p);
    struct retained *m = b || is_kept ? mem_alloc(sizeof *m) : NULL;
    if (m == NULL) {
        core->stats.dropped_no_memory++;
        return;
    }
    uint32_t expiry = p->expiry_s;
    if (core->cfg.retain_expiry_interval_s)
        expiry = (uint32_t)min_u64(expiry, core->cfg.retain_expiry_interval_s);
    *m = (struct retained){.created_ms = p->created_ms,
                           .expiry_s = expiry,
                           .seq = p->seq,
                           .ref = p->seq ? store_hold(core->store, p->seq, b)
                                         : (uint64_t)(uintptr_t)blob_ref(b),
                           .size = (uint32_t)pub_size(p)};
    (void)put(core, p->topic, m);
}

int retained_restore(struct core *core, struct bytes topic, const struct retained *state)
{
    if (is_late(core, topic, hash_bytes(topic, core->seed), state->seq)) return 0;
    struct retained *m = mem_alloc(sizeof *m);
    if (m == NULL) return E_NOMEM;
    *m = *state;
    m->ref = store_hold(core->store, state->ref, NULL);
    return put(core, topic, m);
}

static int retained_body(struct core *core, const struct retained *m, struct blob **b)
{
    if (m->seq) return core_fetch(core, m->ref, b);
    *b = blob_ref((struct blob *)(uintptr_t)m->ref);
    return 0;
}

bool retained_is_expired(const struct core *core, const struct retained *m)
{
    if (m->expiry_s == MQTT_NO_EXPIRY) return false;
    return core->wall_ms >= m->created_ms + m->expiry_s * (uint64_t)1000; /* [MQTT-3.3.2-5] */
}

/* Looks at some topics a call; what has expired goes. */
void retained_sweep(struct core *core)
{
    if (core->retain_expiring == 0) return;
    uint32_t budget = SWEEP_STEP;
    struct retain_item item;
    struct bytes after = bytes_of(core->retain_sweep, core->retain_sweep_len);
    int rc = retain_next(core->retain, bytes_str("#"), after, &budget, &item);
    while (rc == 0 && budget > 0) {
        char *at = mem_strndup(item.topic.p, item.topic.n);
        if (at == NULL) return;
        mem_free(core->retain_sweep);
        core->retain_sweep = at;
        core->retain_sweep_len = (uint32_t)item.topic.n;
        if (retained_is_expired(core, retained_of(&item))) retain_del(core->retain, item.topic);
        rc = retain_next(core->retain, bytes_str("#"), bytes_of(at, core->retain_sweep_len),
                         &budget, &item);
    }
    if (rc == E_NOTFOUND) core->retain_sweep_len = 0;
}

/* ---- jobs ---- */

struct rjob *rjob_add(struct session *s, struct bytes filter, uint64_t variant, uint8_t qos,
                      uint32_t subid, const struct wish_filters *filters, bool outside)
{
    struct core *core = s->core;
    struct rjob *job = mem_calloc(1, sizeof *job + filter.n);
    if (job == NULL) return NULL;
    if (wish_filters_any(filters)) {
        job->filters = mem_alloc(sizeof *job->filters);
        if (job->filters == NULL) {
            mem_free(job);
            return NULL;
        }
        *job->filters = wish_filters_ref(filters);
    }
    job->id = ++core->next_token;
    job->variant = variant;
    job->subid = subid;
    job->shard = core->shard;
    job->hold = true;
    job->outside = outside;
    job->qos = qos;
    job->filter_len = (uint16_t)filter.n;
    memcpy(job->filter, filter.p, filter.n);
    struct rjob **at = &s->rjobs;
    while (*at) at = &(*at)->next;
    *at = job;
    return job;
}

void rjobs_start(struct session *s)
{
    for (struct rjob *j = s->rjobs; j; j = j->next) j->hold = false;
    if (s->rjobs && s->conn && s->conn->state == CONN_UP && !s->conn->blocked)
        conn_ready(s->conn, CORE_EV_OUTPUT);
}

void rjob_end(struct session *s, struct rjob *job)
{
    struct rjob **at = &s->rjobs;
    while (*at != job) at = &(*at)->next;
    *at = job->next;
    if (job->filters) wish_filters_fini(s->core, job->filters);
    mem_free(job->filters);
    mem_free(job->cursor);
    mem_free(job->stale);
    mem_free(job->given);
    mem_free(job);
}

void rjobs_free(struct session *s)
{
    while (s->rjobs) rjob_end(s, s->rjobs);
}

void rjobs_cancel(struct session *s, struct bytes filter, uint64_t variant)
{
    struct rjob *next;
    for (struct rjob *j = s->rjobs; j; j = next) {
        next = j->next;
        if (j->variant == variant && bytes_eq(bytes_of(j->filter, j->filter_len), filter))
            rjob_end(s, j);
    }
}

void rjobs_note_live(struct session *s, uint64_t hash, uint64_t seq)
{
    for (struct rjob *j = s->rjobs; j; j = j->next) {
        rjob_note_live(s, j, seq);
        if (j->stale == NULL) j->stale = mem_alloc(STALE_MAX * sizeof *j->stale);
        if (j->stale) j->stale[j->stale_count++ % STALE_MAX] = hash;
    }
}

static bool is_stale(const struct rjob *job, uint64_t hash)
{
    uint32_t n = (uint32_t)min_u64(job->stale_count, STALE_MAX);
    for (uint32_t i = 0; i < n; i++)
        if (job->stale[i] == hash) return true;
    return false;
}

static int cursor_set(struct rjob *job, struct bytes topic)
{
    if (topic.n > job->cursor_cap) {
        uint8_t *p = mem_realloc(job->cursor, topic.n);
        if (p == NULL) return E_NOMEM;
        job->cursor = p;
        job->cursor_cap = (uint16_t)topic.n;
    }
    if (topic.n) memcpy(job->cursor, topic.p, topic.n);
    job->cursor_len = (uint16_t)topic.n;
    return 0;
}

/* Frees the job when it was the last shard. */
static void next_shard(struct session *s, struct rjob *job)
{
    job->cursor_len = 0;
    job->shard = (job->shard + 1) % s->core->shards;
    if (++job->shards_done < s->core->shards) return;
    rjob_journal_done(s, job);
    rjob_end(s, job);
}

static void ask(struct session *s, struct rjob *job)
{
    struct core *core = s->core;
    uint32_t most = ANSWER_MESSAGES, limit = core->cfg.max_queued_messages;
    if (limit)
        most = (uint32_t)min_u64(most, max_u64(limit / 2, 1)); /* the answer has to fit the queue */
    uint8_t *d = mail_begin(core, job->shard, MAIL_RETAIN_ASK,
                            32 + job->filter_len + (size_t)job->cursor_len);
    if (d == NULL) return;
    d = mail_put_u32(mail_put_u32(mail_put_u64(d, s->id), job->id), most);
    d = mail_put_bytes(d, bytes_of(job->filter, job->filter_len));
    mail_end(core, job->shard, mail_put_bytes(d, bytes_of(job->cursor, job->cursor_len)));
    job->waiting = true;
}

static struct rjob *job_ready(const struct session *s)
{
    struct rjob *job = s->rjobs;
    while (job && job->hold) job = job->next;
    return job;
}

bool rjobs_can_step(const struct cconn *c)
{
    const struct rjob *job = job_ready(c->session);
    return job && !job->waiting && (job->qos == 0 || conn_window_open(c)) &&
           c->fetching.next == NULL;
}

static bool job_wants(struct core *core, const struct rjob *job, const struct pub *p)
{
    struct wish_event event;
    if (job->outside && history_of(core, p->topic)) return false;
    wish_event_init(&event, core, p);
    return job->filters == NULL || wish_passes(&event, job->filters);
}

/* To be asked again next turn. */
static bool later(struct cconn *c)
{
    if (c->fetching.next == NULL) list_push(&c->core->fetching, &c->fetching);
    return false;
}

static bool step_local(struct cconn *c, struct rjob *job)
{
    struct core *core = c->core;
    struct retain_item item;
    uint32_t budget = RETAIN_BUDGET;
    int rc = retain_next(core->retain, bytes_of(job->filter, job->filter_len),
                         bytes_of(job->cursor, job->cursor_len), &budget, &item);
    if (rc == E_NOTFOUND) {
        next_shard(c->session, job);
        return true;
    }
    struct blob *b = NULL;
    const struct retained *m = rc == 0 ? retained_of(&item) : NULL;
    if (m && (rjob_has_given(job, m->seq) || rjob_has_given(job, m->ref))) m = NULL;
    if (m && !access_may_read(c, item.topic)) { /* without fetching it */
        core->stats.denied_delivery++;
        m = NULL;
    }
    if (m && retained_body(core, m, &b) == E_AGAIN) return later(c);
    if (cursor_set(job, item.topic) < 0) {
        blob_unref(b);
        return later(c);
    }
    if (rc == E_AGAIN) return later(c);
    if (b == NULL || retained_is_expired(core, m) ||
        is_stale(job, hash_bytes(item.topic, core->seed))) {
        blob_unref(b);
        return true;
    }
    if (UNLIKELY(!access_may_retained(core, b))) {
        core->stats.denied_delivery++;
        blob_unref(b);
        return true;
    }
    struct pub p;
    pub_of_blob(core, b, &p);
    if (UNLIKELY(!job_wants(core, job, &p))) {
        blob_unref(b);
        return true;
    }
    uint8_t qos =
        core->cfg.upgrade_outgoing_qos ? job->qos : (uint8_t)min_u64(job->qos, msg_of(b)->qos);
    deliver_retained(c, b, qos, job->subid);
    return true;
}

bool rjobs_step(struct cconn *c)
{
    if (!rjobs_can_step(c)) return false;
    struct rjob *job = job_ready(c->session);
    if (job->shard == c->core->shard) return step_local(c, job);
    ask(c->session, job);
    return false;
}

/* ---- mail ---- */

static void post_done(struct core *core, unsigned dst, const struct ask *a, struct bytes after,
                      bool more)
{
    uint8_t *d = mail_begin(core, dst, MAIL_RETAIN_DONE, 32 + after.n);
    if (d == NULL) return;
    d = mail_put_u32(mail_put_u32(mail_put_u64(d, a->session), a->job), more);
    mail_end(core, dst, mail_put_bytes(d, after));
}

static void on_ask(struct core *core, unsigned src, struct rd *r)
{
    session_id session = mail_u64(r);
    uint32_t job = mail_u32(r), most = mail_u32(r);
    struct bytes filter = mail_bytes(r), cursor = mail_bytes(r);
    ASSERT(rd_ok(r));
    struct ask *a = mem_alloc(sizeof *a + filter.n + cursor.n);
    if (a == NULL) { /* nothing for now: it asks again */
        post_done(core, src, &(struct ask){.session = session, .job = job}, cursor, true);
        return;
    }
    *a = (struct ask){.src = src,
                      .session = session,
                      .job = job,
                      .most = most,
                      .filter_len = (uint32_t)filter.n,
                      .cursor_len = (uint32_t)cursor.n};
    put_mem(put_mem(a->text, filter), cursor);
    struct ask **at = &core->asks;
    while (*at) at = &(*at)->next;
    *at = a;
}

static struct rjob *job_find(struct session *s, uint32_t id)
{
    struct rjob *j = s ? s->rjobs : NULL;
    while (j && j->id != id) j = j->next;
    return j;
}

static void on_msg(struct core *core, struct rd *r)
{
    struct session *s = core_session(core, mail_u64(r));
    struct rjob *job = job_find(s, mail_u32(r));
    struct pub p;
    (void)mail_get_pub(r, &p);
    mail_held(core, &p);
    if (job == NULL || is_stale(job, p.hash) || rjob_has_given(job, p.seq)) return;
    if (!job_wants(core, job, &p)) return;
    uint8_t qos = core->cfg.upgrade_outgoing_qos ? job->qos : (uint8_t)min_u64(job->qos, p.qos);
    deliver_answer(core, &p, s, qos, job->subid);
    blob_unref(p.blob);
}

static void on_done(struct core *core, struct rd *r)
{
    struct session *s = core_session(core, mail_u64(r));
    struct rjob *job = job_find(s, mail_u32(r));
    bool more = mail_u32(r) != 0;
    struct bytes cursor = mail_bytes(r);
    if (job == NULL) return;
    job->waiting = false;
    if (!more || cursor_set(job, cursor) < 0) next_shard(s, job);
    if (s->conn && s->conn->state == CONN_UP && !s->conn->blocked)
        conn_ready(s->conn, CORE_EV_OUTPUT);
}

void retained_mail_in(struct core *core, unsigned src, unsigned kind, struct rd *r)
{
    if (kind == MAIL_RETAIN_ASK)
        on_ask(core, src, r);
    else if (kind == MAIL_RETAIN_MSG)
        on_msg(core, r);
    else
        on_done(core, r);
}

/* E_AGAIN: it is being read. */
static int answer_one(struct core *core, const struct ask *a, const struct retain_item *item)
{
    struct blob *b = NULL;
    const struct retained *m = retained_of(item);
    int read = retained_is_expired(core, m) ? E_NOTFOUND : retained_body(core, m, &b);
    if (read < 0) return read == E_AGAIN ? read : 0;
    if (UNLIKELY(!access_may_retained(core, b))) {
        core->stats.denied_delivery++;
        blob_unref(b);
        return 0;
    }
    struct pub p;
    pub_of_blob(core, b, &p);
    uint8_t *d = mail_begin(core, a->src, MAIL_RETAIN_MSG, 16 + mail_pub_size(&p));
    if (d) {
        mail_end(core, a->src,
                 mail_put_pub(mail_put_u32(mail_put_u64(d, a->session), a->job), &p, 0));
        mail_hold(core, &p);
    }
    blob_unref(b);
    return 0;
}

static void answer(struct core *core, const struct ask *a)
{
    struct bytes filter = bytes_of(a->text, a->filter_len),
                 after = bytes_of(a->text + a->filter_len, a->cursor_len);
    uint32_t budget = RETAIN_BUDGET;
    size_t start = core_mail_pending(core, a->src);
    struct retain_item item;
    int rc = 0;
    for (uint32_t n = 0;
         rc == 0 && n < a->most && core_mail_pending(core, a->src) < start + RETAIN_SLICE; n++) {
        rc = retain_next(core->retain, filter, after, &budget, &item);
        if (rc == 0 && answer_one(core, a, &item) == E_AGAIN) break; /* asked for again */
        if (rc != E_NOTFOUND) after = item.topic;
    }
    post_done(core, a->src, a, after, rc != E_NOTFOUND);
}

bool core_mail_asks(const struct core *core) { return core->asks != NULL; }

void core_mail_answer(struct core *core)
{
    while (core->asks) {
        struct ask *a = core->asks;
        core->asks = a->next;
        answer(core, a);
        mem_free(a);
    }
}

void retained_asks_free(struct core *core)
{
    while (core->asks) {
        struct ask *a = core->asks;
        core->asks = a->next;
        mem_free(a);
    }
}
