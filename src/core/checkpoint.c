/* Checkpoints: every core says in the journal all that it knows, a slice a turn, so that recovery
 * may begin where that began.  Nobody waits: what happens meanwhile is journaled as always, and
 * what is said of a session is true at the place where it stands in the log.
 *
 *   shard 0   store_checkpoint_due -> begin = store_end() -> CHECKPOINT to all
 *   each      has routed what it had taken before `begin` -> MARK to all: "it is before this
 * letter" each      has all marks -> snapshots of sessions, retained messages -> safe -> DONE to
 * shard 0 shard 0   has all DONE -> store_checkpoint(begin)
 *
 * On the way, messages in stretches of the log that are to be vacated are moved by who holds them.
 * The shard's thread. */
#include "core/dead.h"
#include "core/dedup.h"
#include "core/delayed.h"
#include "core/history.h"
#include "core/journal.h"
#include "core/mailbox.h"
#include "core/queue.h"
#include "core/replay.h"
#include "core/retained.h"
#include "core/share.h"
#include "core/wished.h"

enum {
    STEP_BYTES = 128 * 1024, /* journaled in one turn */
    STEP_SLOTS = 4096,       /* sessions looked at in one turn */
    BACKLOG_RUN = 1024,      /* queued messages in one entry */
};

enum phase { IDLE, ROUTING, MARKING, SESSIONS, GROUPS, QUEUES, RETAINED, SAFE };

struct checkpoint {
    enum phase phase;
    uint64_t begin, safe_seq;
    unsigned marks;    /* letters that came, perhaps before the one that starts it here */
    unsigned undone;   /* shard 0: shards that are not done; 0: none is being made */
    bool asked;        /* another shard than 0: it has asked for one */
    uint32_t slot;     /* the next session's, then group's */
    session_id queue;  /* whose queue is being written, 0: nobody's */
    uint32_t at, left; /* items of it that were written, and that are to be */
    struct outq_walk walk;
    struct queue_walk queues;
    uint64_t letters; /* the last dead one that was written */
    bool delayed;     /* delayed messages are being written */
    uint8_t *after;   /* topic of the last retained message, owned */
    uint32_t after_len;
};

/* ---- moving ---- */

/* The reference by which the message is held from now on; E_AGAIN: it is being read. */
int checkpoint_vacate(struct core *core, uint64_t *ref)
{
    store_ref moved;
    if (!store_must_move(core->store, *ref)) return 0;
    int rc = store_move(core->store, *ref, &moved);
    if (rc == E_AGAIN) return rc;
    if (rc < 0) return 0; /* lost, or no space: it stays where it is */
    core_drop(core, *ref);
    *ref = moved;
    return 0;
}

/* ---- sessions ---- */

static void put_sub(const struct session *s, const struct sub *sub, struct bytes filter)
{
    journal_sub(s, sub, filter);
    if (sub->wished) replay_journal(wsub_of(sub));
}

static void put_subs(struct session *s)
{
    struct core *core = s->core;
    uint8_t *text = s->subs ? core_scratch(core, SCRATCH_TOPIC, MQTT_TOPIC_MAX) : NULL;
    if (s->subs && text == NULL) core->journal_torn = true;
    for (const struct sub *sub = s->subs; sub && text; sub = sub->owner_next)
        put_sub(s, sub, bytes_of(text, trie_filter_text(sub, (char *)text)));
    share_journal(s);
}

static void put_window(struct session *s)
{
    for (const struct inflight_entry *e = inflight_first(&s->out); e;
         e = inflight_next(&s->out, e)) {
        if (!(e->flags & OUTQ_LOGGED)) continue;
        journal_sent(s, e, inflight_seq(e), 0);
    }
    for (uint32_t i = 0; s->in2.ids && i <= s->in2.mask; i++)
        if (s->in2.ids[i]) journal_id(s, J_IN2, s->in2.ids[i]);
}

/* Messages in flight to a client that is away, which lie where they must not stay. */
static int move_window(struct session *s)
{
    int rc = 0;
    for (struct inflight_entry *e = inflight_first(&s->out); e && rc == 0;
         e = inflight_next(&s->out, e)) {
        if (!(e->flags & OUTQ_COLD)) continue;
        uint64_t ref = (uint64_t)(uintptr_t)e->body;
        rc = checkpoint_vacate(s->core, &ref);
        e->body = (void *)(uintptr_t)ref;
    }
    return rc;
}

static void put_mark(struct session *s, enum journal_kind kind)
{
    uint8_t *d = journal_put(s->core, kind, 8);
    if (d) journal_put_end(s->core, mail_put_u64(d, s->sid));
}

/* All but the queue, which follows in slices. */
static int snapshot(struct checkpoint *cp, struct session *s)
{
    int rc = move_window(s);
    if (rc < 0) return rc;
    put_mark(s, J_SNAP);
    journal_meta(s);
    put_subs(s);
    put_window(s);
    rjobs_journal(s);
    if (s->full) journal_full(s, 0);
    put_mark(s, J_SNAP_STATE);
    cp->queue = s->id;
    cp->at = 0;
    cp->left = s->queue.count;
    cp->walk.chunk = NULL;
    return 0;
}

static bool same_run(const struct core *core, const struct outq_item *a, const struct outq_item *b)
{
    uint64_t from = item_seq(core, a), to = item_seq(core, b);
    return a->subid == b->subid && a->size == b->size && a->qos == b->qos && a->flags == b->flags &&
           to > from && to - from < 1u << 28;
}

/* The next item to be written, or NULL: one of it would have to be moved and is being read. */
static struct outq_item *next_item(struct core *core, struct checkpoint *cp)
{
    if (cp->walk.chunk == NULL)
        outq_walk_from(&cp->walk, &core_session(core, cp->queue)->queue, cp->at);
    struct outq_walk before = cp->walk;
    struct outq_item *item = outq_walk_next(&cp->walk);
    ASSERT(item != NULL && cp->left > 0);
    uint64_t from = item->ref;
    if (item->flags & OUTQ_STORED && checkpoint_vacate(core, &item->ref) == E_AGAIN) {
        cp->walk = before;
        return NULL;
    }
    if (item->ref != from) journal_moved(core_session(core, cp->queue), from, item->ref);
    cp->at++, cp->left--;
    return item;
}

/* The next messages of the queue that are alike.  E_AGAIN: one is being read. */
static int put_run(struct checkpoint *cp, struct session *s)
{
    struct core *core = s->core;
    const struct outq_item *item = next_item(core, cp);
    if (item == NULL) return E_AGAIN;
    if (item_seq(core, item) == 0) return 0;
    size_t size = 64 + journal_options_size(core, item->subid, item->flags) + 4 * BACKLOG_RUN;
    uint8_t *d = journal_put(core, J_BACKLOG, size);
    if (d == NULL) return 0;
    uint8_t *start = d;
    d = mail_put_u64(mail_put_u64(d, s->sid), item_seq(core, item));
    uint32_t count = 1;
    uint8_t *count_at = d + 4;
    d = mail_put_u32(mail_put_u32(d, item->size), count);
    d = journal_put_options(core, d, item->qos, item->flags, item->subid);
    for (struct outq_item last = *item; cp->left && count < BACKLOG_RUN; last = *item, count++) {
        struct outq_walk before = cp->walk;
        item = outq_walk_next(&cp->walk);
        bool moves = item->flags & OUTQ_STORED && store_must_move(core->store, item->ref);
        if (moves || !same_run(core, &last, item)) { /* moving is an entry of its own */
            cp->walk = before;
            break;
        }
        cp->at++, cp->left--;
        d = put_varint(d, (uint32_t)(item_seq(core, item) - item_seq(core, &last)));
    }
    ASSERT((size_t)(d - start) <= size);
    mail_put_u32(count_at, count);
    journal_put_end(core, d);
    return 0;
}

void checkpoint_queue_taken(struct core *core, const struct session *s, uint32_t index)
{
    struct checkpoint *cp = core->checkpoint;
    if (LIKELY(cp == NULL || cp->queue != s->id)) return;
    if (index > 0 || cp->at <= 1) cp->walk.chunk = NULL; /* it may be at what is gone */
    if (index < cp->at)
        cp->at--;
    else if (index < cp->at + cp->left)
        cp->left--;
}

void checkpoint_queue_moved(struct core *core, const struct session *s)
{
    struct checkpoint *cp = core->checkpoint;
    if (cp && cp->queue == s->id) cp->walk.chunk = NULL;
}

/* One session, or a slice of its queue. */
static int step_session(struct core *core, struct checkpoint *cp)
{
    struct session *s = core_session(core, cp->queue);
    if (s && s->logged && cp->left) return put_run(cp, s);
    if (s && s->logged) put_mark(s, J_SNAP_END);
    cp->queue = 0;
    if (cp->slot == core->slot_count) {
        cp->phase = GROUPS;
        cp->slot = 0;
        return 0;
    }
    s = core->slots[cp->slot].session;
    int rc = s && s->logged ? snapshot(cp, s) : 0;
    if (s && !s->logged) share_journal_held(s);
    if (rc == 0) cp->slot++;
    return rc;
}

static int step_group(struct core *core, struct checkpoint *cp)
{
    if (cp->slot == core->group_slot_count)
        cp->phase = QUEUES;
    else
        share_journal_waiting(core, cp->slot++);
    return 0;
}

static int step_queue(struct core *core, struct checkpoint *cp)
{
    int rc = wqueue_snapshot(core, &cp->queues);
    if (rc == E_NOTFOUND) rc = dead_snapshot(core, &cp->letters);
    if (rc == E_NOTFOUND) {
        rc = delayed_snapshot(core, !cp->delayed);
        cp->delayed = true;
    }
    if (rc != E_NOTFOUND) return rc;
    cp->phase = RETAINED;
    return 0;
}

/* ---- retained messages ---- */

static int step_retained(struct core *core, struct checkpoint *cp)
{
    struct retain_item item;
    if (!retain_after(core->retain, bytes_of(cp->after, cp->after_len), &item)) {
        cp->phase = SAFE;
        return 0;
    }
    struct retained *m = retained_of(&item);
    if (m->seq && checkpoint_vacate(core, &m->ref) == E_AGAIN) return E_AGAIN;
    uint8_t *after = mem_realloc(cp->after, item.topic.n);
    if (after == NULL) return E_AGAIN;
    memcpy(after, item.topic.p, item.topic.n);
    cp->after = after;
    cp->after_len = (uint32_t)item.topic.n;
    uint8_t *d = m->seq ? journal_put(core, J_RETAINED, 64 + item.topic.n) : NULL;
    if (d == NULL) return 0; /* the broker's own */
    d = mail_put_u64(mail_put_u64(mail_put_u64(d, m->seq), m->ref), m->created_ms);
    d = mail_put_u32(mail_put_u32(d, m->expiry_s), m->size);
    journal_put_end(core, mail_put_bytes(d, item.topic));
    return 0;
}

/* ---- the order of things ---- */

static void post(struct core *core, unsigned dst, enum mail_kind kind, uint64_t value)
{
    uint8_t *d = mail_begin(core, dst, kind, 8);
    if (d) mail_end(core, dst, mail_put_u64(d, value));
}

static void start(struct core *core, struct checkpoint *cp, uint64_t begin)
{
    ASSERT(cp->phase == IDLE);
    cp->begin = begin;
    cp->phase = ROUTING;
    cp->slot = 0;
    cp->queues = (struct queue_walk){0};
    cp->letters = 0;
    cp->delayed = false;
    cp->after_len = 0;
    cp->asked = false;
    core->drops_wait = core->journal_torn;
    core->journal_torn = false; /* what is lost from now on asks for the next one */
}

static void make(struct core *core, struct checkpoint *cp)
{
    uint64_t begin = store_end(core->store);
    cp->undone = core->shards;
    for (unsigned dst = 1; dst < core->shards; dst++) post(core, dst, MAIL_CHECKPOINT, begin);
    start(core, cp, begin);
}

static void done(struct core *core, struct checkpoint *cp)
{
    ASSERT(core->shard == 0 && cp->undone > 0);
    if (--cp->undone == 0 && store_checkpoint(core->store, cp->begin) < 0)
        core_log(core, LOG_T_ERROR, "Error: a checkpoint cannot be written; the last one stays.");
}

static void finish(struct core *core, struct checkpoint *cp)
{
    cp->phase = IDLE;
    mem_free(cp->after);
    cp->after = NULL;
    if (core->shard == 0)
        done(core, cp);
    else
        post(core, 0, MAIL_CHECKPOINT_DONE, 0);
}

/* Who has nothing to say says that: what is before it in the log is safe when it is. */
static void put_nothing(struct core *core)
{
    uint8_t *d = journal_put(core, J_SNAP_STATE, 8);
    if (d) journal_put_end(core, mail_put_u64(d, 0));
}

static void write_slice(struct core *core, struct checkpoint *cp)
{
    uint32_t before = buf_len(&core->journal);
    for (int i = 0; i < STEP_SLOTS && buf_len(&core->journal) < before + STEP_BYTES; i++) {
        int rc = cp->phase == SESSIONS   ? step_session(core, cp)
                 : cp->phase == GROUPS   ? step_group(core, cp)
                 : cp->phase == QUEUES   ? step_queue(core, cp)
                 : cp->phase == RETAINED ? step_retained(core, cp)
                                         : E_NOTFOUND;
        if (rc < 0) break;
    }
    if (cp->phase != SAFE) return;
    history_journal(core);
    dedup_journal(core);
    if (core->journal_seq < cp->begin && buf_len(&core->journal) == 0) put_nothing(core);
    journal_flush(core);
    bool is_said = core->journal_seq >= cp->begin && buf_len(&core->journal) == 0;
    cp->safe_seq = is_said ? core->journal_seq : UINT64_MAX;
}

static void advance(struct core *core, struct checkpoint *cp)
{
    if (cp->phase == ROUTING && pending_routed(core, cp->begin)) {
        for (unsigned dst = 0; dst < core->shards; dst++)
            if (dst != core->shard) post(core, dst, MAIL_CHECKPOINT_MARK, 0);
        cp->phase = MARKING;
    }
    if (cp->phase == MARKING && cp->marks == core->shards - 1) {
        cp->marks = 0;
        cp->phase = SESSIONS;
    }
    if (cp->phase == SAFE && cp->safe_seq <= store_poll(core->store))
        finish(core, cp);
    else if (cp->phase >= SESSIONS && cp->safe_seq == UINT64_MAX && !store_crowded(core->store))
        write_slice(core, cp);
}

void checkpoint_tick(struct core *core)
{
    struct checkpoint *cp = core->checkpoint;
    if (!core->journaling || cp == NULL) return;
    bool wanted = core->journal_torn;
    if (core->shard == 0 && cp->undone == 0 && (wanted || store_checkpoint_due(core->store))) {
        cp->safe_seq = UINT64_MAX;
        make(core, cp);
    } else if (core->shard && wanted && cp->phase == IDLE && !cp->asked) {
        cp->asked = true;
        post(core, 0, MAIL_CHECKPOINT, 0);
    }
    if (cp->phase != IDLE) advance(core, cp);
}

void checkpoint_mail_in(struct core *core, unsigned src, unsigned kind, struct rd *r)
{
    struct checkpoint *cp = core->checkpoint;
    uint64_t begin = mail_u64(r);
    (void)src;
    if (kind == MAIL_CHECKPOINT_MARK) {
        cp->marks++;
    } else if (kind == MAIL_CHECKPOINT_DONE) {
        done(core, cp);
    } else if (core->shard == 0) {
        core->journal_torn = true; /* another one has lost an entry */
    } else {
        cp->safe_seq = UINT64_MAX;
        start(core, cp, begin);
    }
}

uint64_t checkpoint_due(const struct core *core)
{
    const struct checkpoint *cp = core->checkpoint;
    if (cp == NULL || cp->phase == IDLE || cp->phase == MARKING || cp->phase == ROUTING)
        return UINT64_MAX;
    return core->now_ms + (cp->safe_seq != UINT64_MAX); /* the store wakes us when it is safe */
}

uint64_t checkpoint_begin(const struct core *core)
{
    const struct checkpoint *cp = core->checkpoint;
    return cp && cp->phase != IDLE ? cp->begin : 0;
}

int checkpoint_init(struct core *core)
{
    if (!core->keeps) return 0;
    core->checkpoint = mem_calloc(1, sizeof *core->checkpoint);
    return core->checkpoint ? 0 : E_NOMEM;
}

void checkpoint_free(struct core *core)
{
    if (core->checkpoint) mem_free(core->checkpoint->after);
    mem_free(core->checkpoint);
    core->checkpoint = NULL;
}
