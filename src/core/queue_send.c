/* What a work queue gives to its consumers, and what becomes of it: deadlines, attempts, pauses,
 * and in the end a dead letter.  See queue.h.  The shard's thread. */
#include "core/queue_int.h"

#include <inttypes.h>

enum { JITTER_PERCENT = 20, SHIFT_MAX = 32 };

/* ---- jobs ---- */

static void job_fired(struct timer *t, void *ctx);

static struct qjob *job_new(struct wqueue *q, uint32_t entry)
{
    uint32_t at = q->job_free;
    while (at < q->job_cap && q->jobs[at]) at++;
    if (at == q->job_cap) {
        uint32_t cap = at ? at * 2 : 16;
        struct qjob **jobs = mem_realloc(q->jobs, cap * sizeof(struct qjob *));
        if (jobs == NULL) return NULL;
        memset(jobs + at, 0, (cap - at) * sizeof(struct qjob *));
        q->jobs = jobs;
        q->job_cap = cap;
    }
    struct qjob *job = mem_calloc(1, sizeof *job);
    if (job == NULL) return NULL;
    job->timer.fire = job_fired;
    job->q = q;
    job->entry = entry;
    job->index = at;
    q->jobs[at] = job;
    q->job_free = at + 1;
    return job;
}

void wqueue_job_free(struct wqueue *q, struct qjob *job)
{
    timer_cancel(&q->core->timers, &job->timer);
    list_del(&job->of_seat);
    q->jobs[job->index] = NULL;
    if (job->index < q->job_free) q->job_free = job->index;
    mem_free(job);
}

static struct qjob *job_of(struct wqueue *q, uint32_t index)
{
    unsigned state = qset_at(&q->entries, index)->state;
    bool has = state == QS_FLYING || state == QS_DELAYED;
    return has ? q->jobs[qset_job(&q->entries, index)] : NULL;
}

/* ---- the ends of a message ---- */

void wqueue_gone(struct wqueue *q, uint32_t index)
{
    wqueue_journal_done(q, qset_at(&q->entries, index)->seq);
    wqueue_remove(q, index);
}

void wqueue_die(struct wqueue *q, uint32_t index, enum dead_reason reason)
{
    struct qentry *e = qset_at(&q->entries, index);
    struct qjob *job = job_of(q, index);
    if (e->state == QS_DYING) return;
    struct qpast none = {0}, *past = e->past ? wqueue_past(q, e->seq) : NULL;
    struct qpast new = past ? *past : none;
    struct bytes client = {0}, text = {0};
    if (past) client = bytes_of(past->bytes, past->client_len);
    if (past) text = bytes_of(past->bytes + past->client_len, past->text_len);
    new.reason = (uint8_t)reason;
    if (wqueue_past_set(q, e, &new, client, text) < 0) q->core->stats.dropped_no_memory++;
    qset_move(&q->entries, index, QS_DYING, 0);
    q->dying_bytes += e->size;
    if (job) wqueue_job_free(q, job);
    wqueue_work(q);
}

void wqueue_delay(struct wqueue *q, uint32_t index, uint64_t due_ms)
{
    struct qjob *job = job_of(q, index);
    if (job == NULL) job = job_new(q, index);
    if (job == NULL) { /* at once, then */
        qset_wait(&q->entries, index, true);
        return;
    }
    list_del(&job->of_seat);
    job->seat = NULL;
    qset_move(&q->entries, index, QS_DELAYED, job->index);
    timer_arm(&q->core->timers, &job->timer, due_ms);
}

static bool is_expired(const struct wqueue *q, const struct qentry *e)
{
    return e->expires_s && e->expires_s <= q->core->wall_ms / 1000;
}

/* It may be given to somebody at once. */
static void return_at_once(struct wqueue *q, uint32_t index)
{
    struct qjob *job = job_of(q, index);
    const struct qentry *e = qset_at(&q->entries, index);
    if (is_expired(q, e)) {
        wqueue_die(q, index, DEAD_EXPIRED);
        return;
    }
    qset_wait(&q->entries, index, true);
    if (job) wqueue_job_free(q, job);
}

/* ---- attempts ---- */

static uint64_t backoff_ms(struct wqueue *q, uint32_t attempts)
{
    const struct queue_settings *set = &q->set;
    uint64_t shift = min_u64(attempts - 1, SHIFT_MAX), ms = set->backoff_most_ms;
    if (set->backoff_first_ms << shift >> shift == set->backoff_first_ms)
        ms = min_u64(set->backoff_first_ms << shift, set->backoff_most_ms);
    uint64_t swing = ms * JITTER_PERCENT / 100;
    return ms - swing + rng_below(&q->core->rng, 2 * swing + 1);
}

/* Writes down that the delivery `job` has come to nothing.  attempts: how many count more. */
static struct qpast *note(struct wqueue *q, struct qentry *e, const struct qjob *job,
                          uint32_t attempts, uint8_t code, struct bytes text)
{
    const struct qpast *old = e->past ? wqueue_past(q, e->seq) : NULL;
    struct qpast new = old ? *old : (struct qpast){.first_ms = job->sent_ms};
    new.last_ms = job->sent_ms;
    new.attempts += attempts;
    new.code = code;
    new.due_ms = 0;
    struct bytes client = bytes_of(job->seat->text + job->seat->filter_len, job->seat->client_len);
    if (wqueue_past_set(q, e, &new, client, text) < 0) {
        q->core->stats.dropped_no_memory++; /* it is tried once more than it would be */
        return NULL;
    }
    return wqueue_past(q, e->seq);
}

static void later(struct wqueue *q, uint32_t index, struct qpast *past, uint64_t wait_ms)
{
    if (past) {
        past->due_ms = q->core->wall_ms + wait_ms;
        wqueue_journal_tried(q, past);
    }
    wqueue_delay(q, index, q->core->now_ms + wait_ms);
}

/* A failed attempt: again after a pause, or dead. */
static void failed(struct wqueue *q, struct qjob *job, uint64_t wait_ms, uint8_t code,
                   struct bytes text)
{
    uint32_t index = job->entry;
    struct qentry *e = qset_at(&q->entries, index);
    struct qpast *past = note(q, e, job, 1, code, text);
    if (past && q->set.max_deliveries && past->attempts >= q->set.max_deliveries) {
        wqueue_journal_tried(q, past);
        wqueue_die(q, index, DEAD_ATTEMPTS);
        return;
    }
    if (wait_ms == UINT64_MAX) wait_ms = backoff_ms(q, past ? past->attempts : 1);
    later(q, index, past, wait_ms);
}

static void refused(struct wqueue *q, struct qjob *job, uint8_t code, struct bytes text,
                    enum dead_reason reason)
{
    struct qentry *e = qset_at(&q->entries, job->entry);
    struct qpast *past = note(q, e, job, reason == DEAD_REJECTED, code, text);
    uint32_t index = job->entry;
    if (past) {
        past->reason = (uint8_t)reason;
        wqueue_journal_tried(q, past);
    }
    wqueue_die(q, index, reason);
}

static void job_fired(struct timer *t, void *ctx)
{
    struct qjob *job = CONTAINER_OF(t, struct qjob, timer);
    struct wqueue *q = job->q;
    (void)ctx;
    if (job->seat) {
        q->counts.again_deadline++;
        list_del(&job->of_seat);
        failed(q, job, UINT64_MAX, 0, (struct bytes){0});
        return;
    }
    return_at_once(q, job->entry);
    wqueue_drain(q);
}

/* ---- seats ---- */

static struct bytes seat_filter(const struct qseat *s) { return bytes_of(s->text, s->filter_len); }

static bool seat_has_room(const struct qseat *s)
{
    return s->online && !s->leaving && !s->suspended && s->load < s->window;
}

static bool seat_wants(const struct wqueue *q, const struct qseat *s, struct wish_event *event)
{
    if (!s->online || s->leaving || s->suspended) return false;
    if (s->filter_len && q->topic_count > 1 && !mqtt_topic_matches(seat_filter(s), event->p->topic))
        return false;
    return wish_passes(event, &s->filters);
}

/* The one to have it: NULL: none now; *any: somebody would, when there is room. */
static struct qseat *seat_choose(struct wqueue *q, const struct pub *p, bool *any)
{
    struct wish_event event;
    struct qseat *best = NULL;
    wish_event_init(&event, q->core, p);
    *any = false;
    for (uint32_t n = 0, i = q->turn; n < q->seat_count; n++, i++) {
        struct qseat *s = q->seats[i % q->seat_count];
        bool room = seat_has_room(s);
        if (best && (!room || q->set.round_robin || s->load >= best->load)) continue;
        if (!room && *any) continue;
        if (!seat_wants(q, s, &event)) continue;
        *any = true;
        if (!room) continue;
        best = s;
        if (s->load == 0 || q->set.round_robin) break;
    }
    return best;
}

static bool any_room(const struct wqueue *q)
{
    for (uint32_t i = 0; i < q->seat_count; i++)
        if (seat_has_room(q->seats[i])) return true;
    return false;
}

static void seat_turn(struct wqueue *q, const struct qseat *s)
{
    for (uint32_t i = 0; i < q->seat_count; i++)
        if (q->seats[i] == s) q->turn = i + 1;
}

/* E_NOMEM: nothing has happened. */
static int seat_send(struct wqueue *q, struct qseat *s, uint32_t index, const struct pub *p)
{
    struct core *core = q->core;
    struct qentry *e = qset_at(&q->entries, index);
    struct qjob *job = job_new(q, index);
    const struct qpast *past = e->past ? wqueue_past(q, e->seq) : NULL;
    struct qdeliver letter = {.member = s->member,
                              .member_serial = s->serial,
                              .epoch = s->epoch,
                              .queue = q->slot,
                              .queue_serial = q->serial,
                              .entry = index,
                              .number = ++q->numbers,
                              .attempt = past ? past->attempts + 1 : 1};
    uint8_t *d =
        job ? mail_begin(core, s->shard, MAIL_QUEUE_DELIVER, sizeof letter + mail_pub_size(p))
            : NULL;
    if (d == NULL) {
        if (job) wqueue_job_free(q, job);
        return E_NOMEM;
    }
    mail_end(core, s->shard, mail_put_pub(put_mem(d, bytes_of(&letter, sizeof letter)), p, 0));
    seat_turn(q, s);
    job->seat = s;
    job->number = letter.number;
    job->sent_ms = core->wall_ms;
    list_push(&s->jobs, &job->of_seat);
    qset_move(&q->entries, index, QS_FLYING, job->index);
    timer_arm(&core->timers, &job->timer, core->now_ms + q->set.ack_deadline_ms);
    s->load++;
    q->counts.delivered++;
    return 0;
}

/* One message: 0: it has been dealt with, or waits for a consumer with room; E_AGAIN, E_NOMEM: not
 * now. */
static int offer(struct wqueue *q, uint32_t index)
{
    struct qentry *e = qset_at(&q->entries, index);
    struct blob *b;
    if (is_expired(q, e)) {
        wqueue_die(q, index, DEAD_EXPIRED);
        return 0;
    }
    int rc = wqueue_body(q, e, &b);
    if (rc == E_IO) { /* the store has said which one is lost */
        q->counts.dropped++;
        q->core->stats.publish_dropped++;
        wqueue_gone(q, index);
        return 0;
    }
    if (rc < 0) return rc;
    struct pub p;
    bool any;
    pub_of_blob(q->core, b, &p);
    p.retain = false;
    struct qseat *s = seat_choose(q, &p, &any);
    if (s)
        rc = seat_send(q, s, index, &p);
    else if (!any)
        qset_move(&q->entries, index, QS_PARKED, 0);
    blob_unref(b);
    return rc;
}

void wqueue_drain(struct wqueue *q)
{
    struct qset *set = &q->entries;
    if (q->core->recovery || q->core->ending) return;
    uint32_t index = any_room(q) ? qset_first(set) : QSET_NONE, next;
    for (int looked = 0; index != QSET_NONE && looked < QUEUE_SCAN; index = next) {
        next = qset_next(set, index);
        if (offer(q, index) < 0) {
            wqueue_work(q); /* when the store has moved */
            return;
        }
        looked += qset_at(set, index)->state == QS_READY; /* it is in nobody's way: go on */
        if (!any_room(q)) return;
    }
}

/* ---- letters ---- */

static struct qseat *seat_find(const struct wqueue *q, unsigned shard, uint32_t member,
                               uint32_t serial)
{
    for (uint32_t i = 0; i < q->seat_count; i++) {
        struct qseat *s = q->seats[i];
        if (s->shard == shard && s->member == member && s->serial == serial) return s;
    }
    return NULL;
}

/* All that it has is the queue's again, oldest first. */
static void seat_empty(struct wqueue *q, struct qseat *s)
{
    while (!list_empty(&s->jobs)) {
        struct qjob *job = CONTAINER_OF(s->jobs.next, struct qjob, of_seat);
        list_del(&job->of_seat);
        q->counts.again_gone++;
        return_at_once(q, job->entry);
    }
    s->load = 0;
}

static void seat_free(struct wqueue *q, struct qseat *s)
{
    uint32_t at = 0;
    ASSERT(list_empty(&s->jobs));
    while (q->seats[at] != s) at++;
    memmove(&q->seats[at], &q->seats[at + 1], (--q->seat_count - at) * sizeof(struct qseat *));
    if (at < q->turn) q->turn--;
    wish_filters_fini(q->core, &s->filters);
    mem_free(s);
}

void wqueue_seats_free(struct wqueue *q)
{
    while (q->seat_count) {
        struct qseat *s = q->seats[0];
        while (!list_empty(&s->jobs)) list_del(s->jobs.next);
        seat_free(q, s);
    }
    mem_free(q->seats);
}

static struct qseat *seat_new(struct wqueue *q, struct bytes filter, struct bytes client)
{
    if (q->seat_count == q->seat_cap) {
        uint32_t cap = q->seat_cap ? q->seat_cap * 2 : 4;
        struct qseat **seats = mem_realloc(q->seats, cap * sizeof(struct qseat *));
        if (seats == NULL) return NULL;
        q->seats = seats;
        q->seat_cap = cap;
    }
    struct qseat *s = mem_calloc(1, sizeof *s + filter.n + client.n);
    if (s == NULL) return NULL;
    list_init(&s->jobs);
    s->filter_len = (uint16_t)filter.n;
    s->client_len = (uint16_t)client.n;
    put_mem(put_mem(s->text, filter), client);
    return q->seats[q->seat_count++] = s;
}

void wqueue_join_in(struct core *core, unsigned src, struct rd *r)
{
    struct bytes name = mail_bytes(r), filter = mail_bytes(r), client = mail_bytes(r);
    uint32_t member = mail_u32(r), serial = mail_u32(r), epoch = mail_u32(r);
    uint32_t window = mail_u32(r), online = mail_u32(r);
    struct wish wish;
    wish_get(mail_bytes(r), &wish);
    ASSERT(rd_ok(r));
    struct wqueue *q = wqueue_find(core, name);
    if (q == NULL) return; /* the operator has ended it meanwhile */
    struct qseat *s = seat_find(q, src, member, serial);
    if (s == NULL) s = seat_new(q, filter, client);
    if (s == NULL) {
        core->stats.dropped_no_memory++;
        return;
    }
    if (s->epoch != epoch) seat_empty(q, s);
    struct wish_filters filters = {0};
    if (wish_filters_again(core, &wish, &filters) < 0) filters.broken = true;
    wish_filters_fini(core, &s->filters);
    s->filters = filters;
    s->shard = src;
    s->member = member;
    s->serial = serial;
    s->epoch = epoch;
    s->window = (uint32_t)min_u64(window, q->set.prefetch);
    s->online = online != 0;
    s->suspended = false;
    qset_unpark(&q->entries);
    wqueue_drain(q);
}

void wqueue_leave_in(struct core *core, unsigned src, struct rd *r)
{
    struct bytes name = mail_bytes(r);
    uint32_t member = mail_u32(r), serial = mail_u32(r), gone = mail_u32(r);
    ASSERT(rd_ok(r));
    struct wqueue *q = wqueue_find(core, name);
    struct qseat *s = q ? seat_find(q, src, member, serial) : NULL;
    if (s == NULL) return;
    s->leaving = true;
    if (gone) seat_empty(q, s);
    if (s->load == 0) seat_free(q, s);
    wqueue_drain(q);
}

static void suspend(struct wqueue *q, struct qseat *s)
{
    if (!s->suspended)
        core_log(q->core, LOG_T_WARNING,
                 "Client %.*s may not read what is in queue %s: it gets nothing more from it until "
                 "it connects again.",
                 (int)s->client_len, (const char *)s->text + s->filter_len, q->name);
    s->suspended = true;
}

/* About a delivery that is with its consumer. */
static void settle(struct wqueue *q, struct qjob *job, const struct qanswer *a, struct bytes text)
{
    struct qseat *s = job->seat;
    uint32_t index = job->entry;
    if (a->verdict == QV_NOTHING) return;
    if (a->verdict == QV_EXTEND) {
        timer_arm(&q->core->timers, &job->timer, q->core->now_ms + a->wait_ms);
        return;
    }
    list_del(&job->of_seat);
    switch (a->verdict) {
    case QV_DONE:
        q->counts.acknowledged++;
        wqueue_gone(q, index);
        break;
    case QV_RETRY:
        q->counts.again_refused++;
        failed(q, job, a->wait_ms, a->code, text);
        break;
    case QV_REQUEUE:
        q->counts.again_later++;
        later(q, index, note(q, qset_at(&q->entries, index), job, 0, a->code, text), a->wait_ms);
        break;
    case QV_REJECT: refused(q, job, a->code, text, DEAD_REJECTED); break;
    case QV_TOO_LARGE: refused(q, job, 0, text, DEAD_TOO_LARGE); break;
    default:
        if (a->verdict == QV_DENIED) suspend(q, s);
        q->counts.again_gone++;
        return_at_once(q, index);
    }
}

/* About one whose deadline is over: it counts as long as nobody else has the message. */
static void settle_late(struct wqueue *q, const struct qanswer *a, const struct qseat *from)
{
    unsigned state = qset_at(&q->entries, a->entry)->state;
    const struct qjob *job = job_of(q, a->entry);
    bool here = state == QS_READY || state == QS_PARKED || state == QS_DELAYED ||
                (job && job->seat == from); /* it has it once more */
    if (a->verdict == QV_NOTHING) return;
    q->counts.late++;
    if (!here || a->verdict != QV_DONE) return;
    q->counts.acknowledged++;
    wqueue_gone(q, a->entry);
}

void wqueue_answer_in(struct core *core, unsigned src, struct rd *r)
{
    struct qanswer a;
    struct bytes head = rd_take(r, sizeof a);
    ASSERT(head.n == sizeof a);
    memcpy(&a, head.p, sizeof a);
    struct bytes text = mail_bytes(r);
    struct wqueue *q = wqueue_at(core, a.queue, a.queue_serial);
    if (q == NULL) return;
    struct qseat *s = seat_find(q, src, a.member, a.member_serial);
    if (s && s->epoch == a.epoch && a.release && s->load > 0) s->load--;
    if (a.entry < q->entries.used && qset_at(&q->entries, a.entry)->seq == a.seq) {
        struct qjob *job = job_of(q, a.entry);
        if (job && job->seat && job->number == a.number)
            settle(q, job, &a, text);
        else
            settle_late(q, &a, s);
    }
    if (s && s->leaving && s->load == 0 && list_empty(&s->jobs)) seat_free(q, s);
    wqueue_drain(q);
}

/* A redriven message.  Without its queue it is a dead letter again. */
static void back_in(struct core *core, struct rd *r)
{
    struct bytes name = mail_bytes(r);
    struct pub p;
    uint64_t seq;
    (void)mail_get_pub(r, &p);
    struct wqueue *q = wqueue_find(core, name);
    struct dead_letter letter = {.p = &p,
                                 .reason = DEAD_REJECTED,
                                 .kind = DEAD_OF_QUEUE,
                                 .source = name,
                                 .text = bytes_str("its queue is no more")};
    if (q)
        wqueue_take(core, q, &p);
    else if (dead_publish(core, &letter, &seq) < 0)
        core->stats.dead_lost++;
    blob_unref(p.blob);
}

static void letter_in(struct core *core, struct rd *r)
{
    struct pub p;
    (void)mail_get_pub(r, &p);
    if (dead_keep(core, &p) < 0) core->stats.dead_lost++;
    blob_unref(p.blob);
}

void wqueue_mail_in(struct core *core, unsigned src, unsigned kind, struct rd *r)
{
    switch (kind) {
    case MAIL_QUEUE_INTEREST: wqueue_interest_in(core, src, r); break;
    case MAIL_QUEUE_JOIN: wqueue_join_in(core, src, r); break;
    case MAIL_QUEUE_LEAVE: wqueue_leave_in(core, src, r); break;
    case MAIL_QUEUE_DELIVER: wqueue_deliver_in(core, src, r); break;
    case MAIL_QUEUE_ANSWER: wqueue_answer_in(core, src, r); break;
    case MAIL_QUEUE_BACK: back_in(core, r); break;
    case MAIL_DEAD: letter_in(core, r); break;
    default: wqueue_ask_in(core, src, kind, r); break;
    }
}

/* ---- dead letters ---- */

uint64_t wqueue_bury_new(struct core *core, const struct wqueue *q, const struct pub *p)
{
    struct dead_letter letter = {
        .p = p, .reason = DEAD_OVERFLOW, .kind = DEAD_OF_QUEUE, .source = wqueue_name(q)};
    uint64_t seq = 0;
    bool wanted = dead_wanted(core, p->topic);
    if (wanted && dead_publish(core, &letter, &seq) == 0) return seq;
    core->stats.publish_dropped++;
    return 0;
}

/* E_AGAIN: not now.  Else it is gone. */
static int bury(struct wqueue *q, uint32_t index)
{
    struct core *core = q->core;
    struct qentry *e = qset_at(&q->entries, index);
    const struct qpast *past = e->past ? wqueue_past(q, e->seq) : NULL;
    struct blob *b;
    struct pub p;
    int rc = wqueue_body(q, e, &b);
    if (rc == E_AGAIN || rc == E_NOMEM) return E_AGAIN;
    enum dead_reason reason = past ? past->reason : DEAD_ATTEMPTS;
    q->counts.dead[reason]++;
    bool wanted = rc == 0 && dead_wanted(core, msg_topic(b));
    if (wanted) {
        pub_of_blob(core, b, &p);
        struct dead_letter letter = {.p = &p,
                                     .reason = reason,
                                     .kind = DEAD_OF_QUEUE,
                                     .source = wqueue_name(q),
                                     .number = q->number};
        if (past) {
            letter.attempts = past->attempts;
            letter.first_ms = past->first_ms;
            letter.last_ms = past->last_ms;
            letter.code = past->code;
            letter.client = bytes_of(past->bytes, past->client_len);
            letter.text = bytes_of(past->bytes + past->client_len, past->text_len);
        }
        uint64_t seq;
        int published = dead_publish(core, &letter, &seq);
        if (published == E_FULL || published == E_AGAIN || published == E_NOMEM) {
            q->counts.dead[reason]--;
            blob_unref(b);
            return published == E_FULL ? E_FULL : E_AGAIN;
        }
        wanted = published == 0; /* too large for a letter, then */
    }
    if (rc == 0) blob_unref(b);
    if (wanted && core->keeps)
        wqueue_remove(q, index); /* the letter's own record says so */
    else
        wqueue_gone(q, index);
    if (!wanted) core->stats.publish_dropped++;
    return 0;
}

static void bury_all(struct wqueue *q)
{
    uint32_t index;
    while ((index = q->entries.dying.head) != QSET_NONE) {
        int rc = bury(q, index);
        if (rc == 0) continue;
        if (rc == E_FULL)
            timer_arm(&q->core->timers, &q->again, q->core->now_ms + QUEUE_AGAIN_MS);
        else
            wqueue_work(q);
        return;
    }
}

/* Not before all interests are known: a dead letter might miss who waits for it. */
bool wqueue_has_work(const struct core *core)
{
    return core->begun && !list_empty(&core->queue_work);
}

bool wqueue_settle(struct core *core)
{
    struct list todo;
    if (!wqueue_has_work(core)) return false;
    list_init(&todo); /* what comes meanwhile is for the next turn */
    while (!list_empty(&core->queue_work)) {
        struct list *first = core->queue_work.next;
        list_del(first);
        list_push(&todo, first);
    }
    while (!list_empty(&todo)) {
        struct wqueue *q = CONTAINER_OF(todo.next, struct wqueue, work);
        list_del(&q->work);
        bury_all(q);
        wqueue_drain(q);
    }
    return true;
}
