/* See history_read.h. */
#include "core/history_read.h"

#include "core/history.h"
#include "core/replay.h"
#include "core/wished.h"

#include <stdio.h>

enum {
    LOOKED_AT_ONCE = 256,   /* messages that are not wanted, in one call */
    WINDOW_FIRST = 1 << 18, /* sequences looked through from the end for the newest message */
    WINDOW_GROWS = 16,
};

/* ---- reading ---- */

struct history_reading {
    struct core *core;
    struct store_reader *reader;
    struct replay_order order;
    struct wish_filters where;
    uint16_t filter_len;
    uint8_t filter[];
};

static struct bytes filter_of(const struct history_reading *r)
{
    return bytes_of(r->filter, r->filter_len);
}

/* store_query.wants */
static uint32_t wants(void *ctx, struct bytes topic)
{
    const struct history_reading *r = ctx;
    unsigned policy = history_of(r->core, topic);
    if (policy == 0 || !mqtt_topic_matches(filter_of(r), topic)) return STORE_NONE;
    uint32_t most = history_limits(r->core, policy).per_topic;
    return r->order.last ? (uint32_t)min_u64(most, r->order.last) : most;
}

static int open_reader(struct history_reading *r, uint64_t end)
{
    struct core *core = r->core;
    struct history_limits limits = history_limits_of_all(core);
    bool limited = r->order.last || limits.per_topic != STORE_ALL;
    struct store_query q = {.from_seq = max_u64(r->order.from_seq, limits.first_seq),
                            .to_seq = r->order.to_seq + 1,
                            .from_ms = max_u64(r->order.from_ms, limits.first_ms),
                            .to_ms = r->order.to_ms,
                            .wants = wants,
                            .ctx = r,
                            .last_seq = limited ? end : 0};
    if (!mqtt_topic_has_wildcard(filter_of(r))) q.topic = filter_of(r);
    return store_read_open(core->store, &r->reader, &q);
}

/* From where until where, as a SUBSCRIBE would say it; without an end: now. */
static int resolve(struct core *core, struct history_reading *r, const struct history_order *order,
                   uint64_t end, char why[])
{
    struct wish w = {.replay = order->from.n ? order->from : bytes_str("earliest")};
    const char *text = "";
    if (order->to.n) w.replay_until = order->to;
    int rc = replay_order(core, &w, filter_of(r), &r->order, &text);
    if (rc == E_INVALID) snprintf(why, HISTORY_WHY_MAX, "from, to: %s", text);
    if (rc == 0 && !history_meets(core, filter_of(r))) rc = E_NOTFOUND;
    if (!r->order.span) r->order.to_seq = end ? end - 1 : 0;
    return rc;
}

static int compile(struct core *core, struct history_reading *r, struct bytes where, char why[])
{
    struct wish w = {.filter = where};
    struct filter_error error;
    struct bytes text;
    if (where.n == 0) return 0;
    int rc = wish_filters_init(core, &w, &r->where, &error, &text);
    if (rc == E_INVALID)
        snprintf(why, HISTORY_WHY_MAX, "where, column %u: %s", error.column, error.detail);
    return rc;
}

int history_open(struct core *core, struct history_reading **out, const struct history_order *order,
                 char why[static HISTORY_WHY_MAX])
{
    struct bytes filter = order->filter.n ? order->filter : bytes_str("#");
    uint64_t end = store_end(core->store);
    *why = 0;
    if (core->histories == NULL) return E_NOTFOUND;
    snprintf(why, HISTORY_WHY_MAX, "it is no topic filter");
    if (!mqtt_topic_filter_ok(filter, core->cfg.max_topic_levels)) return E_INVALID;
    struct history_reading *r = mem_calloc(1, sizeof *r + filter.n);
    if (r == NULL) return E_NOMEM;
    r->core = core;
    r->filter_len = (uint16_t)filter.n;
    memcpy(r->filter, filter.p, filter.n);
    int rc = resolve(core, r, order, end, why);
    if (rc == 0) rc = compile(core, r, order->where, why);
    if (rc == 0) rc = open_reader(r, end);
    if (rc < 0)
        history_close(&r);
    else
        *out = r;
    return rc;
}

static bool is_wanted(const struct history_reading *r, const struct pub *p)
{
    struct core *core = r->core;
    unsigned policy = history_of(core, p->topic);
    if (policy == 0) return false;
    struct history_limits limits = history_limits(core, policy);
    struct wish_event event;
    if (p->seq < limits.first_seq || p->created_ms < limits.first_ms) return false;
    wish_event_init(&event, core, p);
    return wish_passes(&event, &r->where);
}

/* What is not safe yet will be; behind the end nothing is waited for. */
static int ended(const struct store_reader *reader, uint64_t to_seq)
{
    return store_read_position(reader) > to_seq ? E_NOTFOUND : E_AGAIN;
}

int history_next(struct history_reading *r, struct history_record *out)
{
    struct store_record rec;
    for (int looked = 0; looked < LOOKED_AT_ONCE; looked++) {
        int rc = store_read_next(r->reader, &rec);
        if (rc == E_NOTFOUND) return ended(r->reader, r->order.to_seq);
        if (rc < 0) return rc;
        struct pub p;
        pub_of_bytes(r->core, rec.body, rec.seq, &p);
        if (!is_wanted(r, &p)) continue;
        *out = (struct history_record){.seq = rec.seq,
                                       .time_ms = p.created_ms,
                                       .topic = p.topic,
                                       .props = p.props,
                                       .payload = p.payload,
                                       .qos = p.qos,
                                       .retain = p.retain};
        return 0;
    }
    return HISTORY_MORE;
}

void history_close(struct history_reading **reading)
{
    struct history_reading *r = *reading;
    *reading = NULL;
    if (r == NULL) return;
    store_read_close(&r->reader);
    wish_filters_fini(r->core, &r->where);
    mem_free(r);
}

/* ---- what there is ---- */

struct history_look {
    struct core *core;
    uint32_t policy; /* from 1 on, as history_of() has it */
    uint64_t end;
    bool oldest_known;
    uint64_t from, to; /* where the newest is looked for */
    uint64_t window;
    struct store_reader *reader;
    struct history_info info;
};

int history_look_open(struct core *core, struct history_look **out)
{
    ASSERT(core->shard == 0);
    struct history_look *l = mem_calloc(1, sizeof *l);
    if (l == NULL) return E_NOMEM;
    l->core = core;
    l->policy = 1;
    *out = l;
    return 0;
}

void history_look_close(struct history_look **look)
{
    struct history_look *l = *look;
    *look = NULL;
    if (l) store_read_close(&l->reader);
    mem_free(l);
}

static uint32_t is_of_policy(void *ctx, struct bytes topic)
{
    const struct history_look *l = ctx;
    return history_of(l->core, topic) == l->policy ? STORE_ALL : STORE_NONE;
}

static int open_window(struct history_look *l, uint64_t from, uint64_t to)
{
    struct store_query q = {.from_seq = from,
                            .to_seq = to,
                            .from_ms = history_limits(l->core, l->policy).first_ms,
                            .to_ms = UINT64_MAX,
                            .wants = is_of_policy,
                            .ctx = l};
    l->from = from;
    l->to = to;
    store_read_close(&l->reader);
    return store_read_open(l->core->store, &l->reader, &q);
}

/* 0: one more of it; HISTORY_MORE, E_AGAIN; E_NOTFOUND: no more before l->to. */
static int look(struct history_look *l, uint64_t *seq, uint64_t *ms)
{
    struct store_record rec;
    struct pub p;
    int rc = store_read_next(l->reader, &rec);
    if (rc == E_NOTFOUND) return ended(l->reader, l->to - 1);
    if (rc < 0) return rc;
    pub_of_bytes(l->core, rec.body, rec.seq, &p);
    *seq = rec.seq;
    *ms = p.created_ms;
    return 0;
}

static int find_oldest(struct history_look *l)
{
    int rc = 0;
    if (l->reader == NULL) {
        l->end = store_end(l->core->store);
        rc = open_window(l, history_limits(l->core, l->policy).first_seq, l->end);
    }
    if (rc == 0) rc = look(l, &l->info.first_seq, &l->info.first_ms);
    if (rc < 0 && rc != E_NOTFOUND) return rc;
    l->oldest_known = true;
    l->info.last_seq = l->info.first_seq;
    l->info.last_ms = l->info.first_ms;
    store_read_close(&l->reader);
    l->window = WINDOW_FIRST;
    l->from = l->end;
    return HISTORY_MORE;
}

/* In windows from the end, larger and larger, as nothing reads backwards. */
static int find_newest(struct history_look *l)
{
    uint64_t first = l->info.first_seq;
    if (l->reader == NULL) {
        if (first == 0 || l->from <= first + 1) return 0; /* there is none but the oldest */
        uint64_t to = l->from, from = to - min_u64(to - first - 1, l->window);
        l->window *= WINDOW_GROWS;
        int rc = open_window(l, from, to);
        if (rc < 0) return rc;
    }
    for (int n = 0; n < LOOKED_AT_ONCE; n++) {
        int rc = look(l, &l->info.last_seq, &l->info.last_ms);
        if (rc == 0) continue;
        if (rc != E_NOTFOUND) return rc;
        store_read_close(&l->reader);
        return l->info.last_seq > first ? 0 : HISTORY_MORE;
    }
    return HISTORY_MORE;
}

int history_look_next(struct history_look *l, struct history_info *out)
{
    if (!history_about(l->core, l->policy, &l->info)) return E_NOTFOUND;
    int rc = l->oldest_known ? find_newest(l) : find_oldest(l);
    if (rc != 0) return rc;
    *out = l->info;
    l->info = (struct history_info){0};
    l->oldest_known = false;
    l->policy++;
    return 0;
}
