/* See queue_list.h.  The shard's thread. */
#include "core/queue_int.h"

#include <stdio.h>

/* ---- what there is ---- */

/* The oldest of those that wait for a consumer, whatever keeps it from them. */
static uint32_t oldest_of(const struct wqueue *q)
{
    const struct qset *s = &q->entries;
    uint32_t ready = qset_oldest(s), parked = s->parked.head;
    if (ready == QSET_NONE || parked == QSET_NONE) return ready == QSET_NONE ? parked : ready;
    return qset_at(s, parked)->seq < qset_at(s, ready)->seq ? parked : ready;
}

/* E_AGAIN; what is lost has no age. */
static int oldest_s(struct wqueue *q, uint64_t *out)
{
    const struct core *core = q->core;
    uint32_t index = oldest_of(q);
    struct blob *b;
    *out = 0;
    int rc = index == QSET_NONE ? E_NOTFOUND : wqueue_body(q, qset_at(&q->entries, index), &b);
    if (rc < 0) return rc == E_AGAIN ? rc : 0;
    uint64_t since = msg_of(b)->created_ms;
    blob_unref(b);
    *out = since < core->wall_ms ? (core->wall_ms - since) / 1000 : 0;
    return 0;
}

static bool is_consumer(const struct qseat *s) { return s->online && !s->leaving; }

static int describe(struct wqueue *q, struct wqueue_info *out)
{
    *out = (struct wqueue_info){.name = wqueue_name(q),
                                .topics = (const char *const *)q->topics,
                                .topic_count = q->topic_count,
                                .filter = q->filter,
                                .set = &q->set,
                                .depth = qset_count(&q->entries),
                                .ready = q->entries.counts[QS_READY],
                                .inflight = q->entries.counts[QS_FLYING],
                                .delayed = q->entries.counts[QS_DELAYED],
                                .bytes = q->entries.bytes,
                                .configured = q->configured,
                                .counts = q->counts};
    for (uint32_t i = 0; i < q->seat_count; i++) out->consumers += is_consumer(q->seats[i]);
    return oldest_s(q, &out->oldest_s);
}

int wqueue_list(struct core *core, uint32_t *at, struct wqueue_info *out)
{
    while (*at < core->queue_slot_count && core->queue_slots[*at] == NULL) ++*at;
    if (*at >= core->queue_slot_count) return E_NOTFOUND;
    int rc = describe(core->queue_slots[*at], out);
    if (rc == 0) ++*at;
    return rc;
}

int wqueue_show(struct core *core, struct bytes name, struct wqueue_info *out)
{
    struct wqueue *q = wqueue_find(core, name);
    return q ? describe(q, out) : E_NOTFOUND;
}

int wqueue_consumers(struct core *core, struct bytes name,
                     void (*found)(void *ctx, const struct wqueue_consumer *c), void *ctx)
{
    const struct wqueue *q = wqueue_find(core, name);
    if (q == NULL) return E_NOTFOUND;
    for (uint32_t i = 0; i < q->seat_count; i++) {
        const struct qseat *s = q->seats[i];
        if (!is_consumer(s)) continue;
        found(ctx,
              &(struct wqueue_consumer){.client = bytes_of(s->text + s->filter_len, s->client_len),
                                        .filter = bytes_of(s->text, s->filter_len),
                                        .inflight = s->load,
                                        .window = s->window,
                                        .suspended = s->suspended});
    }
    return 0;
}

/* ---- making, emptying, ending ---- */

static bool filter_ok(struct core *core, const struct queue_conf *conf, char why[])
{
    struct wish w = {0};
    struct wish_filters filters;
    struct filter_error error;
    struct bytes text;
    if (conf->filter == NULL) return true;
    w.filter = bytes_str(conf->filter);
    int rc = wish_filters_init(core, &w, &filters, &error, &text);
    if (rc == E_INVALID)
        snprintf(why, WQUEUE_WHY_MAX, "filter, column %u: %s", error.column, error.detail);
    if (rc == 0) wish_filters_fini(core, &filters);
    return rc != E_INVALID;
}

int wqueue_create(struct core *core, const struct queue_conf *conf, char why[static WQUEUE_WHY_MAX])
{
    const char *text = "";
    ASSERT(wqueue_owner(core, bytes_str(conf->name)) == core->shard);
    *why = 0;
    if (wqueue_find(core, bytes_str(conf->name))) return E_EXISTS;
    if (!filter_ok(core, conf, why)) return E_INVALID;
    int rc = wqueue_make(core, conf, false, &text);
    if (rc < 0) snprintf(why, WQUEUE_WHY_MAX, "%s", text);
    return rc;
}

int wqueue_delete(struct core *core, struct bytes name)
{
    struct wqueue *q = wqueue_find(core, name);
    if (q == NULL) return E_NOTFOUND;
    if (q->configured) return E_EXISTS;
    core_log(core, LOG_T_NOTICE, "Queue %s ends.", q->name);
    wqueue_journal_end(q);
    wqueue_free(q);
    return 0;
}

int wqueue_purge(struct core *core, struct bytes name, uint32_t most, uint32_t *done)
{
    struct wqueue *q = wqueue_find(core, name);
    *done = 0;
    if (q == NULL) return E_NOTFOUND;
    for (uint32_t i = 0; i < q->entries.used; i++) {
        const struct qentry *e = qset_at(&q->entries, i);
        if (e->seq == 0 || e->state == QS_FLYING) continue;
        if (*done == most) return E_AGAIN;
        wqueue_gone(q, i);
        ++*done;
    }
    return 0;
}
