/* The list of dead letters, on shard 0: those that can be looked at, sent again or thrown away.  It
 * refers to the letters in the store, within dead_letter_max_messages, -bytes and -age; the oldest
 * go first.  The shard's thread. */
#include "core/dead_int.h"

#include "core/control.h"
#include "core/dead_act.h"
#include "core/dead_read.h"
#include "core/journal.h"
#include "core/mailbox.h"
#include "core/queue_int.h"

#include <stdio.h>

enum { ROUND = 1024 }; /* entries in front that are gone, before the others move up */

uint32_t dead_position(const struct dead_list *l, uint64_t seq)
{
    uint32_t low = 0, high = l ? l->count : 0;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (dead_at(l, middle)->seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct dead_entry *find(const struct dead_list *l, uint64_t seq)
{
    uint32_t at = dead_position(l, seq);
    return l && at < l->count && dead_at(l, at)->seq == seq ? dead_at(l, at) : NULL;
}

static int room(struct dead_list *l)
{
    if (l->head >= ROUND && l->head > l->count) {
        memmove(l->all, l->all + l->head, l->count * sizeof *l->all);
        l->head = 0;
    }
    if (l->head + l->count < l->cap) return 0;
    uint32_t cap = l->cap ? l->cap * 2 : 64;
    struct dead_entry *all = mem_realloc(l->all, cap * sizeof *all);
    if (all == NULL) return E_NOMEM;
    l->all = all;
    l->cap = cap;
    return 0;
}

static void removed(struct core *core, uint32_t at)
{
    struct dead_list *l = core->dead_list;
    struct dead_entry *e = dead_at(l, at);
    if (core->keeps)
        core_drop(core, e->ref);
    else
        blob_unref((struct blob *)(uintptr_t)e->ref);
    l->bytes -= e->size;
    core->stats.dead_listed--;
    if (at < l->count / 2) { /* the shorter side moves */
        memmove(dead_at(l, 1), dead_at(l, 0), at * sizeof *e);
        l->head++;
    } else {
        memmove(e, e + 1, (l->count - at - 1) * sizeof *e);
    }
    l->count--;
}

uint64_t dead_last(const struct core *core)
{
    const struct dead_list *l = core->dead_list;
    return l && l->count ? dead_at(l, l->count - 1)->seq : 0;
}

/* ---- limits ---- */

static void trim(struct core *core)
{
    struct dead_list *l = core->dead_list;
    const struct core_config *cfg = &core->cfg;
    uint64_t age_s = cfg->dead_letter_max_age_ms / 1000, now_s = core->wall_ms / 1000;
    while (l->count) {
        bool many = cfg->dead_letter_max_messages && l->count > cfg->dead_letter_max_messages;
        bool much = cfg->dead_letter_max_bytes && l->bytes > cfg->dead_letter_max_bytes;
        bool old = age_s && dead_at(l, 0)->time_s + age_s <= now_s;
        if (!many && !much && !old) break;
        core->stats.dead_trimmed++;
        removed(core, 0);
    }
    if (age_s == 0 || l->count == 0) return;
    uint64_t left_s = dead_at(l, 0)->time_s + age_s - now_s;
    timer_arm(&core->timers, &l->age, core->now_ms + left_s * 1000);
}

static void age_fired(struct timer *t, void *ctx)
{
    (void)t;
    trim(ctx);
}

static struct dead_list *list_of(struct core *core)
{
    if (core->dead_list) return core->dead_list;
    core->dead_list = mem_calloc(1, sizeof *core->dead_list);
    if (core->dead_list) core->dead_list->age.fire = age_fired;
    return core->dead_list;
}

/* ref: held by the caller until now. */
static int insert(struct core *core, const struct dead_entry *new)
{
    struct dead_list *l = list_of(core);
    if (l == NULL || room(l) < 0) return E_NOMEM;
    uint32_t at = dead_position(l, new->seq);
    struct dead_entry *e = dead_at(l, at);
    memmove(e + 1, e, (l->count - at) * sizeof *e);
    *e = *new;
    l->count++;
    l->bytes += new->size;
    core->stats.dead_listed++;
    return 0;
}

int dead_keep(struct core *core, struct pub *p)
{
    ASSERT(core->shard == 0);
    if (p->seq == 0 || find(core->dead_list, p->seq)) return 0;
    struct blob *b = core->keeps ? NULL : pub_blob(p);
    if (b == NULL && !core->keeps) return E_NOMEM;
    struct dead_entry e = {.seq = p->seq,
                           .topic = hash_bytes(p->topic, 0),
                           .size = (uint32_t)min_u64(pub_size(p), UINT32_MAX),
                           .time_s = (uint32_t)(p->created_ms / 1000)};
    e.ref = b ? (uint64_t)(uintptr_t)blob_ref(b) : store_hold(core->store, p->seq, NULL);
    if (insert(core, &e) < 0) {
        if (b)
            blob_unref(b);
        else
            core_drop(core, e.ref);
        return E_NOMEM;
    }
    dead_serve_added(core);
    if (core->recovery == NULL) trim(core);
    return 0;
}

/* ---- looking ---- */

int dead_body(struct core *core, const struct dead_entry *e, struct blob **b)
{
    if (!core->keeps) {
        *b = blob_ref((struct blob *)(uintptr_t)e->ref);
        return 0;
    }
    int rc = core_fetch(core, e->ref, b);
    if (rc == 0) msg_of(*b)->seq = e->seq;
    return rc;
}

/* The broker's own stand behind those of the publisher: the last of a name counts. */
static struct bytes last_of(struct bytes props, const char *name)
{
    struct mqtt_prop prop;
    struct bytes found = {0};
    for (size_t at = 0; mqtt_props_next(props, &at, &prop);)
        if (prop.id == MQTT_P_USER && bytes_eq(prop.key, bytes_str(name))) found = prop.value;
    return found;
}

static uint64_t number_of(struct bytes props, const char *name)
{
    uint64_t v = 0;
    (void)!control_number(last_of(props, name), &v);
    return v;
}

static void info_of(const struct dead_entry *e, struct blob *b, struct dead_info *out)
{
    struct bytes props = msg_props(b);
    *out = (struct dead_info){.seq = e->seq,
                              .time_ms = msg_of(b)->created_ms,
                              .reason = last_of(props, "sluice-dead-reason"),
                              .source = last_of(props, "sluice-dead-source"),
                              .topic = last_of(props, "sluice-dead-topic"),
                              .client = last_of(props, "sluice-dead-client"),
                              .text = last_of(props, "sluice-dead-text"),
                              .attempts = (uint32_t)number_of(props, "sluice-dead-attempts"),
                              .code = (uint8_t)number_of(props, "sluice-dead-code"),
                              .redriven = (uint32_t)number_of(props, "sluice-redriven"),
                              .size = (uint32_t)msg_payload(b).n,
                              .body = b};
}

int dead_next(struct core *core, uint64_t after, struct dead_info *out)
{
    const struct dead_list *l = core->dead_list;
    struct blob *b;
    uint32_t at = dead_position(l, after + 1);
    if (l == NULL || at >= l->count) return E_NOTFOUND;
    int rc = dead_body(core, dead_at(l, at), &b);
    if (rc == 0)
        info_of(dead_at(l, at), b, out);
    else
        *out = (struct dead_info){.seq = dead_at(l, at)->seq};
    return rc;
}

void dead_info_fini(struct dead_info *info)
{
    blob_unref(info->body);
    info->body = NULL;
}

bool dead_matches(struct core *core, const struct dead_info *info, const struct wish_filters *f)
{
    struct pub p;
    struct wish_event event;
    pub_of_blob(core, info->body, &p);
    wish_event_init(&event, core, &p);
    return wish_passes(&event, f);
}

/* ---- throwing away, and sending again ---- */

int dead_purge(struct core *core, uint64_t seq)
{
    if (find(core->dead_list, seq) == NULL) return E_NOTFOUND;
    uint8_t *d = core->journaling ? journal_put(core, J_DEAD_GONE, 8) : NULL;
    if (d) journal_put_end(core, mail_put_u64(d, seq));
    removed(core, dead_position(core->dead_list, seq));
    return 0;
}

static bool is_added(const struct mqtt_prop *prop)
{
    return prop->id == MQTT_P_USER && (bytes_starts(prop->key, "sluice-dead-") ||
                                       bytes_eq(prop->key, bytes_str("sluice-redriven")));
}

static bool is_spent(const struct mqtt_prop *prop) /* of the control properties */
{
    return prop->id == MQTT_P_USER && (bytes_eq(prop->key, bytes_str("sluice-dead-kind")) ||
                                       bytes_eq(prop->key, bytes_str("sluice-dedup-id")) ||
                                       bytes_eq(prop->key, bytes_str("sluice-delay")));
}

/* What the message had, without what `drops` says. */
static uint8_t *copy_props(uint8_t *d, struct bytes props, bool (*drops)(const struct mqtt_prop *))
{
    struct mqtt_prop prop;
    for (size_t at = 0, from = 0; mqtt_props_next(props, &at, &prop); from = at)
        if (!drops(&prop)) d = put_mem(d, bytes_of(props.p + from, at - from));
    return d;
}

/* To its queue, here or elsewhere, or to everybody who wants its topic. */
static void send_again(struct core *core, struct pub *p, struct bytes queue)
{
    if (queue.n == 0) {
        router_publish(core, p, route_get(core, p->topic, p->hash));
        return;
    }
    unsigned owner = wqueue_owner(core, queue);
    if (owner == core->shard) {
        wqueue_take(core, wqueue_numbered(core, p->only), p);
        return;
    }
    uint8_t *d = mail_begin(core, owner, MAIL_QUEUE_BACK, 16 + queue.n + mail_pub_size(p));
    if (d) mail_end(core, owner, mail_put_pub(mail_put_bytes(d, queue), p, 0));
}

static int redrive(struct core *core, const struct dead_info *info)
{
    struct blob *b = info->body;
    struct bytes control = msg_control(b);
    bool of_queue = bytes_eq(control_find(control, "sluice-dead-kind"), bytes_str("queue"));
    struct bytes queue = of_queue ? info->source : (struct bytes){0};
    if (of_queue && wqueue_owner(core, queue) == core->shard && !wqueue_find(core, queue))
        return E_INVALID;
    uint8_t *start = core_scratch(core, SCRATCH_DEAD, msg_props(b).n + control.n + 64);
    if (start == NULL) return E_NOMEM;
    char count[16];
    snprintf(count, sizeof count, "%u", info->redriven + 1);
    uint8_t *d = copy_props(start, msg_props(b), is_added);
    d = mqtt_put_prop_user(d, bytes_str("sluice-redriven"), bytes_str(count));
    uint8_t *end = copy_props(d, control, is_spent);
    struct pub p = {.topic = info->topic,
                    .props = bytes_of(start, (size_t)(d - start)),
                    .payload = msg_payload(b),
                    .control = bytes_of(d, (size_t)(end - d)),
                    .created_ms = core->wall_ms,
                    .expiry_s = MQTT_NO_EXPIRY,
                    .qos = msg_of(b)->qos,
                    .internal = true,
                    .who = msg_publisher(b),
                    .undead = info->seq,
                    .only = of_queue ? wqueue_number(queue) : 0,
                    .origin = core->shard};
    p.hash = hash_bytes(p.topic, core->seed);
    const struct route *r = route_get(core, p.topic, p.hash);
    p.remote = of_queue ? 0 : r->remote;
    p.history = of_queue ? 0 : r->history;
    p.queued = true;
    int rc = pub_store(core, &p);
    if (rc == 0) send_again(core, &p, queue);
    blob_unref(p.blob);
    return rc;
}

int dead_redrive(struct core *core, uint64_t seq)
{
    struct dead_info info;
    struct blob *b;
    const struct dead_entry *e = find(core->dead_list, seq);
    if (e == NULL) return E_NOTFOUND;
    int rc = dead_body(core, e, &b);
    if (rc < 0) return rc;
    info_of(e, b, &info);
    rc = info.redriven >= DEAD_REDRIVES_MAX ? E_EXISTS : redrive(core, &info);
    if (rc == 0) removed(core, dead_position(core->dead_list, seq));
    dead_info_fini(&info);
    return rc;
}

/* ---- the journal ---- */

int dead_snapshot(struct core *core, uint64_t *after)
{
    struct dead_list *l = core->dead_list;
    uint32_t at = dead_position(l, *after + 1);
    if (l == NULL || at >= l->count) return E_NOTFOUND;
    struct dead_entry *e = dead_at(l, at);
    int rc = checkpoint_vacate(core, &e->ref);
    if (rc < 0) return rc;
    uint8_t *d = journal_put(core, J_DEAD, 32);
    if (d) {
        d = mail_put_u64(mail_put_u64(d, e->seq), e->ref);
        d = mail_put_u32(mail_put_u32(d, e->size), e->time_s);
        journal_put_end(core, mail_put_u64(d, e->topic));
    }
    *after = e->seq;
    return 0;
}

int dead_restore(struct core *core, unsigned kind, struct rd *r)
{
    struct dead_entry new = {.seq = mail_u64(r)};
    struct dead_entry *e = core->shard ? NULL : find(core->dead_list, new.seq);
    if (kind == J_DEAD_GONE) {
        dead_forget(core, new.seq);
        return 0;
    }
    new.ref = mail_u64(r);
    new.size = mail_u32(r);
    new.time_s = mail_u32(r);
    if (rd_left(r)) new.topic = mail_u64(r);
    if (core->shard || (e && e->ref == new.ref)) return 0;
    new.ref = store_hold(core->store, new.ref, NULL);
    if (e == NULL) return insert(core, &new);
    store_drop(core->store, e->ref);
    e->ref = new.ref;
    return 0;
}

void dead_forget(struct core *core, uint64_t seq)
{
    if (core->shard == 0 && find(core->dead_list, seq))
        removed(core, dead_position(core->dead_list, seq));
}

void dead_begin(struct core *core)
{
    if (core->dead_list) trim(core);
}

void dead_list_free(struct core *core)
{
    struct dead_list *l = core->dead_list;
    if (l == NULL) return;
    while (l->count) removed(core, 0);
    timer_cancel(&core->timers, &l->age);
    mem_free(l->all);
    mem_free(l);
    core->dead_list = NULL;
}
