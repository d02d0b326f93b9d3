/* See delayed.h. */
#include "core/delayed.h"

#include "core/control.h"
#include "core/journal.h"
#include "core/mailbox.h"

#include <inttypes.h>
#include <stdio.h>

enum { FULL_MS = 1000, HEAD_MAX = 40 };

static const char prefix[] = "$delayed/";

struct delayed {
    struct timer timer;
    struct list link, due; /* in core->delayed, core->delayed_due */
    uint64_t seq, ref;     /* ref: a struct blob * when the store does not keep */
    uint64_t due_ms;       /* wall clock */
};

uint64_t delayed_hash(const void *elem, uint64_t seed)
{
    return hash_u64(((const struct delayed *)elem)->seq, seed);
}

static struct delayed *find(const struct core *core, uint64_t seq)
{
    uint64_t hash = hash_u64(seq, core->seed);
    struct delayed *d;
    for (size_t pos = hash; (d = ptrmap_next(&core->delayed_map, hash, &pos)) != NULL;)
        if (d->seq == seq) return d;
    return NULL;
}

/* ---- topics ---- */

/* Cuts "$delayed/<level>/" off. */
static bool cut(struct bytes *topic, struct bytes *level)
{
    struct bytes rest = bytes_skip(*topic, strlen(prefix));
    const uint8_t *slash = rest.n ? memchr(rest.p, '/', rest.n) : NULL;
    if (slash == NULL) return false;
    *level = bytes_of(rest.p, (size_t)(slash - rest.p));
    *topic = bytes_skip(rest, level->n + 1);
    return topic->n > 0;
}

void delayed_final_topic(struct bytes *topic)
{
    struct bytes level;
    if (bytes_starts(*topic, prefix)) (void)cut(topic, &level);
}

int delayed_split(struct bytes *topic, struct bytes control, uint64_t *delay_ms)
{
    struct bytes level;
    *delay_ms = 0;
    if (bytes_starts(*topic, prefix))
        return cut(topic, &level) ? control_seconds(level, delay_ms) : E_INVALID;
    if (control.n == 0) return 0;
    level = control_find(control, "sluice-delay");
    return level.p ? control_duration(level, delay_ms) : 0;
}

/* ---- those that wait ---- */

static void fired(struct timer *t, void *ctx);

static void drop(struct core *core, struct delayed *d)
{
    if (core->delayed_walk == &d->link) core->delayed_walk = d->link.next;
    timer_cancel(&core->timers, &d->timer);
    ptrmap_del(&core->delayed_map, d, delayed_hash(d, core->seed));
    list_del(&d->link);
    list_del(&d->due);
    if (core->keeps)
        core_drop(core, d->ref);
    else
        blob_unref((struct blob *)(uintptr_t)d->ref);
    core->stats.delayed--;
    mem_free(d);
}

/* Without its reference, which the caller has.  NULL: no memory. */
static struct delayed *add(struct core *core, uint64_t seq, uint64_t ref, uint64_t due_ms)
{
    struct delayed *d = mem_calloc(1, sizeof *d);
    if (d == NULL) return NULL;
    d->seq = seq;
    d->ref = ref;
    d->due_ms = due_ms;
    d->timer.fire = fired;
    if (ptrmap_put(&core->delayed_map, d, delayed_hash(d, core->seed)) < 0) {
        mem_free(d);
        return NULL;
    }
    list_push(&core->delayed, &d->link);
    uint64_t left = due_ms > core->wall_ms ? due_ms - core->wall_ms : 1;
    timer_arm(&core->timers, &d->timer, core->now_ms + left);
    core->stats.delayed++;
    return d;
}

int delayed_add(struct core *core, struct pub *p, uint64_t delay_ms)
{
    char head[HEAD_MAX];
    struct bytes topic = p->topic;
    uint64_t due_ms = core->wall_ms + delay_ms;
    if (core->delayed_map.count >= DELAYED_MAX) return E_FULL;
    int n = snprintf(head, sizeof head, "%s%" PRIu64 "/", prefix, due_ms);
    ASSERT(n > 0 && n < HEAD_MAX);
    if (topic.n + (size_t)n > MQTT_TOPIC_MAX) return E_TOO_LARGE;
    uint8_t *text = core_scratch(core, SCRATCH_DEAD, topic.n + (size_t)n);
    if (text == NULL) return E_NOMEM;
    put_mem(put_mem(text, bytes_of(head, (size_t)n)), topic);
    p->topic = bytes_of(text, topic.n + (size_t)n);
    int rc = pub_store(core, p);
    if (rc < 0) return rc;
    uint64_t ref = core->keeps ? store_hold(core->store, p->seq, NULL)
                               : (uint64_t)(uintptr_t)blob_ref(p->blob);
    if (add(core, p->seq, ref, due_ms)) return 0;
    if (core->keeps)
        core_drop(core, ref);
    else
        blob_unref(p->blob);
    return E_NOMEM;
}

/* ---- its time ---- */

static int publish(struct core *core, const struct delayed *d, struct blob *b)
{
    struct pub p;
    struct bytes level;
    pub_of_blob(core, b, &p);
    if (!cut(&p.topic, &level)) return 0;
    p.expiry_s = expiry_left(core, p.created_ms, p.expiry_s);
    if (p.expiry_s == 0) {
        core->stats.publish_dropped++;
        core->stats.dropped_expired++;
        return 0;
    }
    p.blob = NULL; /* that one is another message, with another topic */
    p.seq = 0;
    p.undead = d->seq;
    p.created_ms = core->wall_ms;
    const struct route *r = pub_route(core, &p);
    bool kept = core->keeps || p.retain || r->durable || r->queued || r->history;
    int rc = kept ? pub_store(core, &p) : 0;
    if (rc == 0) router_publish(core, &p, r);
    blob_unref(p.blob);
    return rc;
}

static void fired(struct timer *t, void *ctx)
{
    struct delayed *d = CONTAINER_OF(t, struct delayed, timer);
    struct core *core = ctx;
    list_push(&core->delayed_due, &d->due);
}

bool delayed_has_work(const struct core *core)
{
    return core->begun && !list_empty(&core->delayed_due) && core->now_ms >= core->delayed_again_ms;
}

/* What the store has not read yet is waited for, so that what follows does not overtake it. */
bool delayed_settle(struct core *core)
{
    bool any = false;
    while (delayed_has_work(core)) {
        struct delayed *d = CONTAINER_OF(core->delayed_due.next, struct delayed, due);
        struct blob *b = core->keeps ? NULL : blob_ref((struct blob *)(uintptr_t)d->ref);
        int rc = b ? 0 : core_fetch(core, d->ref, &b);
        if (rc == 0) rc = publish(core, d, b);
        if (b) blob_unref(b);
        if (rc == E_FULL) core->delayed_again_ms = core->now_ms + FULL_MS;
        if (rc == E_AGAIN || rc == E_NOMEM || rc == E_FULL) break;
        if (rc < 0) core->stats.publish_dropped++; /* the store has said which one is lost */
        drop(core, d);
        any = true;
    }
    return any;
}

/* ---- recovery ---- */

/* Any shard may have it; this is how they agree. */
static bool is_mine(const struct core *core, uint64_t seq)
{
    return hash_u64(seq, 0) % core->shards == core->shard;
}

static int restore(struct core *core, uint64_t seq, uint64_t ref, uint64_t due_ms)
{
    struct delayed *d = find(core, seq);
    if (!is_mine(core, seq) || (d && d->ref == ref)) return 0;
    ref = store_hold(core->store, ref, NULL);
    if (d) { /* it was moved */
        store_drop(core->store, d->ref);
        d->ref = ref;
        return 0;
    }
    return add(core, seq, ref, due_ms) ? 0 : E_NOMEM;
}

int delayed_restore_message(struct core *core, const struct pub *p)
{
    struct bytes topic = p->topic, level;
    uint64_t due_ms;
    if (!bytes_starts(topic, prefix) || !cut(&topic, &level)) return 0;
    if (control_number(level, &due_ms) < 0) return 0;
    return restore(core, p->seq, p->seq, due_ms);
}

int delayed_restore(struct core *core, struct rd *r)
{
    uint64_t seq = mail_u64(r), ref = mail_u64(r);
    return restore(core, seq, ref, mail_u64(r));
}

void delayed_forget(struct core *core, uint64_t seq)
{
    struct delayed *d = find(core, seq);
    if (d) drop(core, d);
}

int delayed_snapshot(struct core *core, bool first)
{
    if (first) core->delayed_walk = core->delayed.next;
    if (core->delayed_walk == NULL || core->delayed_walk == &core->delayed) return E_NOTFOUND;
    struct delayed *d = CONTAINER_OF(core->delayed_walk, struct delayed, link);
    int rc = checkpoint_vacate(core, &d->ref);
    if (rc < 0) return rc;
    uint8_t *e = journal_put(core, J_DELAYED, 24);
    if (e)
        journal_put_end(core,
                        mail_put_u64(mail_put_u64(mail_put_u64(e, d->seq), d->ref), d->due_ms));
    core->delayed_walk = d->link.next;
    return 0;
}

void delayed_free(struct core *core)
{
    while (!list_empty(&core->delayed))
        drop(core, CONTAINER_OF(core->delayed.next, struct delayed, link));
    ptrmap_fini(&core->delayed_map);
}
