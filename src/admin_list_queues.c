/* Work queues as the admin listener shows them: the list, and one of them with its settings, its
 * counters and its consumers.  The admin thread, but for what says that it runs on a shard's. */
#include "admin_list.h"

#include "base/mem.h"
#include "core/dead_reason.h"
#include "core/queue_list.h"
#include <stdio.h>

enum { CONSUMERS_MAX = 1000 }; /* shown of one queue */

/* ---- rows: the struct and its settings; name; filter; each topic ---- */

struct queue_row {
    struct wqueue_info info;
    struct queue_settings set;
    size_t filter_n;
};

static void put_queue(struct listing *l, const struct wqueue_info *q)
{
    struct bytes texts[2 + QUEUE_TOPICS_MAX] = {q->name};
    struct queue_row row = {.info = *q, .set = *q->set};
    unsigned n = 2;
    if (q->filter) texts[1] = bytes_str(q->filter);
    row.filter_n = texts[1].n;
    for (uint32_t i = 0; i < q->topic_count; i++)
        texts[n++] = bytes_of(q->topics[i], strlen(q->topics[i]) + 1);
    list_put_row(l, &row, sizeof row, texts, n);
}

static json_t *get_queue(const uint8_t **at, struct queue_row *row, json_t **topics)
{
    list_get_row(at, row, sizeof *row);
    struct bytes name = list_get_text(at, row->info.name);
    row->info.filter = (const char *)*at; /* row->filter_n bytes */
    *at += row->filter_n;
    *topics = json_array();
    for (uint32_t i = 0; i < row->info.topic_count; i++) {
        (void)json_array_append_new(*topics, json_string((const char *)*at));
        *at += strlen((const char *)*at) + 1;
    }
    return json_stringn((const char *)name.p, name.n);
}

static json_t *queue_row(const uint8_t **at, unsigned shard)
{
    struct queue_row row;
    json_t *topics, *name = get_queue(at, &row, &topics);
    const struct wqueue_info *q = &row.info;
    (void)shard;
    return json_pack("{s:o, s:o, s:I, s:I, s:I, s:I, s:I}", "name", name, "topics", topics, "depth",
                     (json_int_t)q->depth, "inflight", (json_int_t)q->inflight, "delayed",
                     (json_int_t)q->delayed, "oldest_seconds", (json_int_t)q->oldest_s, "consumers",
                     (json_int_t)q->consumers);
}

/* ---- the list ---- */

static bool step_queues(struct call *c, struct core *core, unsigned most)
{
    struct listing *l = listing_of(c);
    struct wqueue_info q;
    for (unsigned n = 0; n < most; n++) {
        int rc = wqueue_list(core, &l->at.slot, &q);
        l->pause = rc == E_AGAIN;
        if (rc < 0) return l->pause;
        put_queue(l, &q);
    }
    return true;
}

static const struct list_kind queues = {.step = step_queues, .row = queue_row};

void admin_run_queues(struct call *c)
{
    if (listing_new(c, &queues)) listing_run(c);
}

/* ---- one ---- */

static void put_consumer(void *ctx, const struct wqueue_consumer *consumer)
{
    struct listing *l = ctx;
    if (l->rows > CONSUMERS_MAX) return; /* the first row is the queue */
    list_put_row(l, consumer, sizeof *consumer,
                 (const struct bytes[]){consumer->client, consumer->filter}, 2);
}

static bool step_queue(struct call *c, struct core *core, unsigned most)
{
    struct listing *l = listing_of(c);
    struct wqueue_info q;
    (void)most;
    int rc = wqueue_show(core, c->target, &q);
    l->pause = rc == E_AGAIN;
    if (rc < 0) return l->pause;
    put_queue(l, &q);
    (void)!wqueue_consumers(core, c->target, put_consumer, l); /* it is there */
    return false;
}

static json_t *consumers_of(const uint8_t *at, unsigned count)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < count; i++) {
        struct wqueue_consumer consumer;
        list_get_row(&at, &consumer, sizeof consumer);
        struct bytes client = list_get_text(&at, consumer.client),
                     filter = list_get_text(&at, consumer.filter);
        (void)json_array_append_new(
            list, json_pack("{s:o, s:o, s:I, s:I, s:b}", "client",
                            json_stringn((const char *)client.p, client.n), "topic",
                            list_text(filter), "inflight", (json_int_t)consumer.inflight, "window",
                            (json_int_t)consumer.window, "suspended", consumer.suspended));
    }
    return list;
}

static void set_number(json_t *j, const char *name, uint64_t value)
{
    (void)json_object_set_new(j, name, json_integer((json_int_t)value));
}

static void set_seconds(json_t *j, const char *name, uint64_t ms)
{
    (void)json_object_set_new(
        j, name, ms % 1000 ? json_real((double)ms / 1000) : json_integer((json_int_t)(ms / 1000)));
}

static void set_settings(json_t *j, const struct queue_settings *s)
{
    static const char *const overflows[] = {[QUEUE_DEAD_LETTER] = "dead-letter",
                                            [QUEUE_REJECT] = "reject",
                                            [QUEUE_DROP_OLDEST] = "drop-oldest"};
    set_seconds(j, "ack_deadline_seconds", s->ack_deadline_ms);
    set_number(j, "max_deliveries", s->max_deliveries);
    set_seconds(j, "backoff_first_seconds", s->backoff_first_ms);
    set_seconds(j, "backoff_max_seconds", s->backoff_most_ms);
    set_number(j, "max_messages", s->max_messages);
    set_number(j, "max_bytes", s->max_bytes);
    (void)json_object_set_new(j, "overflow", json_string(overflows[s->overflow]));
    set_seconds(j, "message_ttl_seconds", s->message_ttl_ms);
    (void)json_object_set_new(j, "order", json_string(s->by_key ? "key" : "none"));
    set_seconds(j, "dedup_window_seconds", s->dedup_window_ms);
    set_number(j, "prefetch", s->prefetch);
    (void)json_object_set_new(j, "dispatch",
                              json_string(s->round_robin ? "round-robin" : "least-inflight"));
}

static void set_counts(json_t *j, const struct wqueue_counts *n)
{
    static const enum dead_reason reasons[] = {DEAD_ATTEMPTS, DEAD_REJECTED, DEAD_EXPIRED,
                                               DEAD_OVERFLOW, DEAD_TOO_LARGE};
    set_number(j, "received", n->received);
    set_number(j, "delivered", n->delivered);
    set_number(j, "acknowledged", n->acknowledged);
    set_number(j, "duplicates", n->duplicates);
    set_number(j, "dropped", n->dropped);
    set_number(j, "redelivered_deadline", n->again_deadline);
    set_number(j, "redelivered_nack", n->again_refused);
    set_number(j, "redelivered_requeue", n->again_later);
    set_number(j, "redelivered_disconnect", n->again_gone);
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
        char name[32];
        snprintf(name, sizeof name, "dead_%s", dead_reason_name(reasons[i]));
        for (char *p = name; *p; p++)
            if (*p == '-') *p = '_';
        set_number(j, name, n->dead[reasons[i]]);
    }
    set_number(j, "late_answers", n->late);
}

static void ask_queue(struct call *c);

static void found_queue(struct call *c)
{
    struct listing *l = listing_of(c);
    const uint8_t *at = l->page.data;
    struct queue_row row;
    if (l->pause) {
        call_later(c, ADMIN_PAUSE_MS, ask_queue);
        return;
    }
    if (l->torn) {
        listing_give_up(c);
        return;
    }
    if (l->rows == 0) {
        admin_no_queue(c, c->target);
        return;
    }
    json_t *topics, *name = get_queue(&at, &row, &topics);
    const struct wqueue_info *q = &row.info;
    json_t *j = json_pack("{s:o, s:o, s:o, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "name", name,
                          "topics", topics, "filter", list_text(bytes_of(q->filter, row.filter_n)),
                          "configured", q->configured, "depth", (json_int_t)q->depth, "ready",
                          (json_int_t)q->ready, "inflight", (json_int_t)q->inflight, "delayed",
                          (json_int_t)q->delayed, "bytes", (json_int_t)q->bytes, "oldest_seconds",
                          (json_int_t)q->oldest_s, "consumers", (json_int_t)q->consumers);
    if (j) {
        set_settings(j, &row.set);
        set_counts(j, &q->counts);
        (void)json_object_set_new(j, "members", consumers_of(at, l->rows - 1));
        set_number(j, "shard", l->shard);
    }
    call_reply_json(c, 200, j);
}

static void ask_queue(struct call *c) { listing_one(c, found_queue); }

void admin_run_queue(struct call *c)
{
    static const struct list_kind queue = {.step = step_queue};
    struct listing *l = listing_new(c, &queue);
    if (l == NULL) return;
    l->shard = shards_home(c->admin->shards, c->target);
    ask_queue(c);
}
