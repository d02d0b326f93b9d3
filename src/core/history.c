/* See history.h. */
#include "core/history.h"
#include "core/history_read.h"

#include "core/journal.h"
#include "core/mailbox.h"

enum {
    TICK_MS = 250,
    TRIM_MAX = 16384, /* messages trimmed in a tick */
    QUIET_MS = 10000, /* an empty policy moves on when all shards have had so long to report */
    PART_BASE = 0,    /* J_HISTORY: of earlier runs, less what was trimmed */
    PART_ADDED = 1,   /* by that shard in this run */
    HISTORIES_MAX = 64,
};

struct tally {
    int64_t count, bytes;
};

struct history {
    struct core_history conf;
    uint64_t id; /* hash of its filter, in mail */
    uint64_t first_seq;
    bool known;               /* first_seq is not a guess */
    struct tally added, told; /* by this shard since the start, and what shard 0 knows of it */
    /* Shard 0, and while recovering: */
    struct tally base, doors[CORE_MAX_SHARDS];
    struct store_reader *trimmer;
    bool has_head; /* the oldest message of it is known */
    uint64_t head_seq, head_ms;
    int64_t head_bytes;
    uint64_t quiet_ms, quiet_end; /* since when it has been empty, and the log's end then */
};

struct histories {
    uint32_t count;
    uint64_t tick_ms;
    struct history all[];
};

/* ---- which topics ---- */

unsigned history_find(const struct core *core, struct bytes topic)
{
    const struct histories *hs = core->histories;
    for (uint32_t i = 0; i < hs->count; i++)
        if (mqtt_topic_matches(bytes_str(hs->all[i].conf.filter), topic)) return i + 1;
    return 0;
}

unsigned history_again(const struct core *core, struct bytes topic)
{
    const struct histories *hs = core->histories;
    if (LIKELY(hs && hs->count == 1)) return 1;
    return hs ? history_find(core, topic) : 0;
}

const struct core_history *history_conf(const struct core *core, unsigned policy)
{
    return &core->histories->all[policy - 1].conf;
}

/* The next level; *last: there is none behind it. */
static struct bytes level(struct bytes *rest, bool *last)
{
    const uint8_t *slash = rest->n ? memchr(rest->p, '/', rest->n) : NULL;
    struct bytes one = slash ? bytes_of(rest->p, (size_t)(slash - rest->p)) : *rest;
    *last = slash == NULL;
    *rest = bytes_skip(*rest, one.n + !*last);
    return one;
}

static bool filters_meet(struct bytes a, struct bytes b)
{
    static const struct bytes any = {(const uint8_t *)"#", 1}, one = {(const uint8_t *)"+", 1};
    if (a.n && b.n && (*a.p == '$') != (*b.p == '$')) return false; /* [MQTT-4.7.2-1] */
    for (;;) {
        bool a_last, b_last;
        struct bytes x = level(&a, &a_last), y = level(&b, &b_last);
        if (bytes_eq(x, any) || bytes_eq(y, any)) return true;
        if (!bytes_eq(x, y) && !bytes_eq(x, one) && !bytes_eq(y, one)) return false;
        if (a_last || b_last) /* "a/#" matches "a" */
            return (a_last || bytes_eq(a, any)) && (b_last || bytes_eq(b, any));
    }
}

bool history_meets(const struct core *core, struct bytes filter)
{
    const struct histories *hs = core->histories;
    for (uint32_t i = 0; hs && i < hs->count; i++)
        if (filters_meet(filter, bytes_str(hs->all[i].conf.filter))) return true;
    return false;
}

/* ---- configuration ---- */

static struct history *find(const struct histories *hs, struct bytes filter)
{
    for (uint32_t i = 0; hs && i < hs->count; i++)
        if (bytes_eq(filter, bytes_str(hs->all[i].conf.filter)))
            return (struct history *)(uintptr_t)&hs->all[i];
    return NULL;
}

static void stop_trimming(struct history *h)
{
    store_read_close(&h->trimmer);
    h->has_head = false;
}

static void keep(struct core *core)
{
    uint64_t first = UINT64_MAX;
    if (core->shard != 0) return;
    for (uint32_t i = 0; core->histories && i < core->histories->count; i++)
        first = min_u64(first, core->histories->all[i].first_seq);
    store_keep(core->store, first);
}

int histories_configure(struct core *core)
{
    struct histories *old = core->histories, *new = NULL;
    uint32_t count = core->cfg.history_count;
    if (!core->keeps || !store_reads(core->store)) return 0;
    ASSERT(count <= HISTORIES_MAX);
    if (count && (new = mem_calloc(1, sizeof *new + count * sizeof new->all[0])) == NULL)
        return E_NOMEM;
    for (uint32_t i = 0; i < count; i++) {
        struct bytes filter = bytes_str(core->cfg.histories[i].filter);
        struct history *was = find(old, filter), *h = &new->all[i];
        if (was) {
            stop_trimming(was);
            *h = *was;
        } else if (core->journaling) {
            h->first_seq = store_end(core->store);
            h->known = true;
        }
        h->conf = core->cfg.histories[i];
        h->id = hash_bytes(filter, core->seed);
    }
    if (new) new->count = count;
    histories_free(core);
    core->histories = new;
    core->generation++;
    if (core->journaling) {
        history_journal(core);
        keep(core);
    }
    return 0;
}

void histories_free(struct core *core)
{
    for (uint32_t i = 0; core->histories && i < core->histories->count; i++)
        stop_trimming(&core->histories->all[i]);
    mem_free(core->histories);
    core->histories = NULL;
}

struct history_limits history_limits(const struct core *core, unsigned policy)
{
    const struct history *h = &core->histories->all[policy - 1];
    uint64_t age = h->conf.max_age_ms;
    return (struct history_limits){.first_seq = h->first_seq,
                                   .first_ms = age && age < core->wall_ms ? core->wall_ms - age : 0,
                                   .per_topic =
                                       h->conf.max_per_topic ? h->conf.max_per_topic : STORE_ALL};
}

struct history_limits history_limits_of_all(const struct core *core)
{
    struct history_limits all = {
        .first_seq = UINT64_MAX, .first_ms = UINT64_MAX, .per_topic = STORE_ALL};
    for (unsigned i = 1; core->histories && i <= core->histories->count; i++) {
        struct history_limits l = history_limits(core, i);
        all.first_seq = min_u64(all.first_seq, l.first_seq);
        all.first_ms = min_u64(all.first_ms, l.first_ms);
        all.per_topic = (uint32_t)min_u64(all.per_topic, l.per_topic);
    }
    return all;
}

/* ---- counting ---- */

static void add(struct tally *t, int64_t count, int64_t bytes)
{
    t->count += count;
    t->bytes += bytes;
}

void history_added(struct core *core, unsigned policy, size_t size)
{
    add(&core->histories->all[policy - 1].added, 1, (int64_t)size);
}

static struct tally total(const struct core *core, const struct history *h)
{
    struct tally t = h->base;
    for (unsigned i = 0; i < core->shards; i++) add(&t, h->doors[i].count, h->doors[i].bytes);
    return t;
}

bool history_about(const struct core *core, unsigned policy, struct history_info *out)
{
    if (core->histories == NULL || policy > core->histories->count) return false;
    const struct history *h = &core->histories->all[policy - 1];
    struct tally t = total(core, h);
    out->conf = &h->conf;
    out->count = t.count > 0 ? (uint64_t)t.count : 0;
    out->bytes = t.bytes > 0 ? (uint64_t)t.bytes : 0;
    return true;
}

static void post(struct core *core, unsigned dst, enum mail_kind kind, const struct history *h)
{
    uint8_t *d = mail_begin(core, dst, kind, 32);
    if (d == NULL) return; /* told again with the next change */
    d = mail_put_u64(mail_put_u64(d, h->id), h->first_seq);
    d = mail_put_u64(mail_put_u64(d, (uint64_t)h->added.count), (uint64_t)h->added.bytes);
    mail_end(core, dst, d);
}

static void report(struct core *core, struct history *h)
{
    if (h->added.count == h->told.count) return;
    h->told = h->added;
    if (core->shard == 0)
        h->doors[0] = h->added;
    else
        post(core, 0, MAIL_HISTORY_ADDED, h);
}

void history_mail_in(struct core *core, unsigned src, unsigned kind, struct rd *r)
{
    uint64_t id = mail_u64(r), first_seq = mail_u64(r);
    struct tally added = {.count = (int64_t)mail_u64(r)};
    added.bytes = (int64_t)mail_u64(r);
    ASSERT(rd_ok(r));
    for (uint32_t i = 0; core->histories && i < core->histories->count; i++) {
        struct history *h = &core->histories->all[i];
        if (h->id != id) continue;
        if (kind == MAIL_HISTORY_ADDED)
            h->doors[src] = added;
        else
            h->first_seq = first_seq;
    }
}

/* ---- trimming ---- */

static uint32_t trimmer_wants(void *ctx, struct bytes topic)
{
    const struct history *h = ctx;
    return mqtt_topic_matches(bytes_str(h->conf.filter), topic) ? STORE_ALL : STORE_NONE;
}

/* Finds the oldest message; false: there is none, or it is not known yet. */
static bool find_head(struct core *core, struct history *h, unsigned policy)
{
    struct store_query q = {.from_seq = h->first_seq,
                            .to_seq = UINT64_MAX,
                            .to_ms = UINT64_MAX,
                            .wants = trimmer_wants,
                            .ctx = h};
    struct store_record rec;
    struct pub p;
    if (h->has_head) return true;
    if (h->trimmer == NULL && store_read_open(core->store, &h->trimmer, &q) < 0) return false;
    do {
        if (store_read_next(h->trimmer, &rec) < 0) return false;
        pub_of_bytes(core, rec.body, rec.seq, &p);
    } while (history_find(core, p.topic) != policy);
    h->has_head = true;
    h->head_seq = rec.seq;
    h->head_ms = p.created_ms;
    h->head_bytes = (int64_t)pub_size(&p);
    return true;
}

static bool is_over(const struct core *core, const struct history *h, struct tally t)
{
    const struct core_history *c = &h->conf;
    if (c->max_bytes && t.bytes > 0 && (uint64_t)t.bytes > c->max_bytes) return true;
    if (c->max_messages && t.count > 0 && (uint64_t)t.count > c->max_messages) return true;
    return c->max_age_ms && h->has_head && h->head_ms + c->max_age_ms < core->wall_ms;
}

/* Nobody has added anything for long: what others have in the log need not stay. */
static bool move_on(const struct core *core, struct history *h)
{
    stop_trimming(h);
    if (h->quiet_ms == 0) {
        h->quiet_ms = core->now_ms;
        h->quiet_end = store_end(core->store);
    }
    if (core->now_ms < h->quiet_ms + QUIET_MS) return false;
    bool moves = h->first_seq < h->quiet_end;
    h->first_seq = max_u64(h->first_seq, h->quiet_end);
    h->quiet_ms = 0;
    return moves;
}

/* Whether first_seq has moved. */
static bool trim(struct core *core, struct history *h, unsigned policy)
{
    uint64_t first = h->first_seq;
    struct tally t = total(core, h);
    if (t.count <= 0) return move_on(core, h);
    h->quiet_ms = 0;
    for (int n = 0; n < TRIM_MAX && find_head(core, h, policy); n++) {
        if (!is_over(core, h, t)) break;
        add(&h->base, -1, -h->head_bytes);
        add(&t, -1, -h->head_bytes);
        h->first_seq = h->head_seq + 1;
        h->has_head = false;
    }
    if (h->has_head) h->first_seq = h->head_seq;
    /* All has been read, and there was nothing: so nothing is left to be counted. */
    if (!h->has_head && h->trimmer && store_read_position(h->trimmer) >= store_end(core->store))
        add(&h->base, -t.count, -t.bytes);
    return h->first_seq != first;
}

static void journal_part(struct core *core, const struct history *h, unsigned part)
{
    const struct tally *t = part == PART_BASE ? &h->base : &h->added;
    struct bytes filter = bytes_str(h->conf.filter);
    uint8_t *d = core->journaling ? journal_put(core, J_HISTORY, 40 + filter.n) : NULL;
    if (d == NULL) return;
    d = mail_put_u64(put_u8(d, part), h->first_seq);
    d = mail_put_u64(mail_put_u64(d, (uint64_t)t->count), (uint64_t)t->bytes);
    journal_put_end(core, mail_put_bytes(d, filter));
}

static void moved(struct core *core, const struct history *h)
{
    journal_part(core, h, PART_BASE);
    for (unsigned dst = 1; dst < core->shards; dst++) post(core, dst, MAIL_HISTORY_FIRST, h);
}

uint64_t history_due(const struct core *core)
{
    const struct histories *hs = core->histories;
    bool active = false;
    if (hs == NULL) return UINT64_MAX;
    for (uint32_t i = 0; i < hs->count && !active; i++) {
        const struct history *h = &hs->all[i];
        active = h->added.count != h->told.count || (core->shard == 0 && total(core, h).count > 0);
    }
    return active ? hs->tick_ms : UINT64_MAX;
}

void history_tick(struct core *core)
{
    struct histories *hs = core->histories;
    bool any = false;
    if (LIKELY(hs == NULL) || core->now_ms < hs->tick_ms || !core->journaling) return;
    hs->tick_ms = core->now_ms + TICK_MS;
    for (uint32_t i = 0; i < hs->count; i++) {
        struct history *h = &hs->all[i];
        report(core, h);
        if (core->shard != 0 || !trim(core, h, i + 1)) continue;
        moved(core, h);
        any = true;
    }
    if (any) keep(core);
}

/* ---- the journal ---- */

void history_journal(struct core *core)
{
    for (uint32_t i = 0; core->histories && i < core->histories->count; i++) {
        if (core->shard == 0) journal_part(core, &core->histories->all[i], PART_BASE);
        journal_part(core, &core->histories->all[i], PART_ADDED);
    }
}

void history_restore(struct core *core, unsigned stream, struct rd *r)
{
    unsigned part = rd_u8(r);
    uint64_t first_seq = mail_u64(r);
    struct tally t = {.count = (int64_t)mail_u64(r)};
    t.bytes = (int64_t)mail_u64(r);
    struct history *h = find(core->histories, mail_bytes(r));
    if (h == NULL) return;
    if (part == PART_ADDED) {
        h->doors[stream] = t;
        return;
    }
    h->base = t;
    h->first_seq = first_seq;
    h->known = true;
}

void history_restore_message(struct core *core, unsigned stream, const struct pub *p)
{
    unsigned policy = history_of(core, p->topic);
    if (policy) add(&core->histories->all[policy - 1].doors[stream], 1, (int64_t)pub_size(p));
}

void history_restore_run(struct core *core)
{
    for (uint32_t i = 0; core->histories && i < core->histories->count; i++) {
        struct history *h = &core->histories->all[i];
        for (unsigned s = 0; s < CORE_MAX_SHARDS; s++)
            add(&h->base, h->doors[s].count, h->doors[s].bytes);
        memset(h->doors, 0, sizeof h->doors);
    }
}

void history_begin(struct core *core)
{
    history_restore_run(core);
    for (uint32_t i = 0; core->histories && i < core->histories->count; i++) {
        struct history *h = &core->histories->all[i];
        if (!h->known) {
            h->first_seq = store_end(core->store);
            h->base = (struct tally){0};
            h->known = true;
        }
        if (core->shard == 0) moved(core, h);
    }
    if (store_reads(core->store)) keep(core);
}
