/* See queue_figures.h. */
#include "queue_figures.h"

#include "core/dead_reason.h"

enum { TRIES_MAX = 200 }; /* for a message that has to be read, whose age is not told then */

struct row {
    struct wqueue_info info;
    size_t name_n;
};

struct consumer_row {
    size_t queue_n, client_n;
    uint32_t inflight, window;
};

struct filling {
    struct queue_figures *f;
    struct bytes queue;
};

static bool add(struct buf *b, struct bytes part, bool ok)
{
    return ok && buf_append(b, part) == 0;
}

static void put_consumer(void *ctx, const struct wqueue_consumer *c)
{
    const struct filling *filling = ctx;
    struct queue_figures *f = filling->f;
    if (f->consumer_count == QUEUE_CONSUMERS_MAX) return;
    struct consumer_row row = {.queue_n = filling->queue.n,
                               .client_n = c->client.n,
                               .inflight = c->inflight,
                               .window = c->window};
    uint32_t before = f->consumers.tail;
    bool ok = add(&f->consumers, bytes_of(&row, sizeof row), true);
    ok = add(&f->consumers, filling->queue, ok);
    ok = add(&f->consumers, c->client, ok);
    f->consumer_count += ok;
    f->torn |= !ok;
    if (!ok) f->consumers.tail = before;
}

void queue_figures_add(struct queue_figures *f, const struct wqueue_info *info)
{
    struct row row = {.info = *info, .name_n = info->name.n};
    uint32_t before = f->queues.tail;
    if (f->queue_count == QUEUE_FIGURES_MAX) {
        f->omitted++;
        return;
    }
    bool ok = add(&f->queues, bytes_of(&row, sizeof row), true);
    ok = add(&f->queues, info->name, ok);
    ok = add(&f->queues, bytes_of("", 1), ok);
    f->queue_count += ok;
    f->torn |= !ok;
    if (!ok) f->queues.tail = before;
}

bool queue_figures_step(struct queue_figures *f, struct core *core)
{
    struct wqueue_info info;
    for (int n = 0; n < QUEUE_FIGURES_STEP; n++) {
        int rc = wqueue_list(core, &f->at, &info);
        if (rc == E_AGAIN && ++f->tries < TRIES_MAX) return true;
        if (rc == E_NOTFOUND) return false;
        if (rc < 0) f->at++; /* without its age */
        f->tries = 0;
        struct filling filling = {f, info.name};
        if (f->with_consumers && f->queue_count < QUEUE_FIGURES_MAX)
            (void)!wqueue_consumers(core, info.name, put_consumer, &filling);
        queue_figures_add(f, &info);
    }
    return true;
}

void queue_figures_next_shard(struct queue_figures *f) { f->at = f->tries = 0; }

bool queue_figures_next(const struct queue_figures *f, size_t *at, struct queue_figure *out)
{
    struct row row;
    struct bytes all = bytes_skip(buf_view(&f->queues), *at);
    if (all.n == 0) return false;
    memcpy(&row, all.p, sizeof row);
    *out =
        (struct queue_figure){.info = row.info, .name = bytes_of(all.p + sizeof row, row.name_n)};
    *at += sizeof row + row.name_n + 1;
    return true;
}

bool queue_consumers_next(const struct queue_figures *f, size_t *at, struct queue_consumer *out)
{
    struct consumer_row row;
    struct bytes all = bytes_skip(buf_view(&f->consumers), *at);
    if (all.n == 0) return false;
    memcpy(&row, all.p, sizeof row);
    const uint8_t *text = all.p + sizeof row;
    *out = (struct queue_consumer){.queue = bytes_of(text, row.queue_n),
                                   .client = bytes_of(text + row.queue_n, row.client_n),
                                   .inflight = row.inflight,
                                   .window = row.window};
    *at += sizeof row + row.queue_n + row.client_n;
    return true;
}

void queue_figures_fini(struct queue_figures *f)
{
    buf_fini(&f->queues);
    buf_fini(&f->consumers);
    *f = (struct queue_figures){0};
}

/* ---- numbers ---- */

#define GAUGE(name, member, wide, help)                                                            \
    {                                                                                              \
        name, NULL, NULL, true, offsetof(struct wqueue_info, member), wide, help                   \
    }
#define COUNTER(name, member, help)                                                                \
    {                                                                                              \
        name, NULL, NULL, false, offsetof(struct wqueue_info, counts.member), true, help           \
    }
#define AGAIN(why, member)                                                                         \
    {                                                                                              \
        "redelivered", "cause", why, false, offsetof(struct wqueue_info, counts.member), true,     \
            "Deliveries that came to nothing, by what ended them."                                 \
    }
#define DEAD(why, reason)                                                                          \
    {                                                                                              \
        "dead_letters", "reason", why, false,                                                      \
            offsetof(struct wqueue_info, counts.dead) + (reason) * sizeof(uint64_t), true,         \
            "Messages that became dead letters, by reason."                                        \
    }

static const struct queue_number numbers[] = {
    GAUGE("depth", depth, false, "Messages in the queue."),
    GAUGE("ready", ready, false, "Of those: that may be given out."),
    GAUGE("inflight", inflight, false, "Of those: at consumers."),
    GAUGE("delayed", delayed, false, "Of those: that wait for a time."),
    GAUGE("oldest_seconds", oldest_s, true, "Age of the oldest that waits for a consumer."),
    GAUGE("stored_bytes", bytes, true, "Their topics, properties and payloads."),
    GAUGE("consumers", consumers, false, "Consumers that are connected."),
    COUNTER("received", received, "Messages that came into the queue."),
    COUNTER("delivered", delivered, "Deliveries to consumers."),
    COUNTER("acknowledged", acknowledged, "Messages that were done."),
    COUNTER("duplicates", duplicates, "Messages that had come before."),
    COUNTER("dropped", dropped, "Messages that were dropped."),
    AGAIN("deadline", again_deadline),
    AGAIN("nack", again_refused),
    AGAIN("requeue", again_later),
    AGAIN("disconnect", again_gone),
    DEAD("attempts", DEAD_ATTEMPTS),
    DEAD("rejected", DEAD_REJECTED),
    DEAD("expired", DEAD_EXPIRED),
    DEAD("overflow", DEAD_OVERFLOW),
    DEAD("too-large", DEAD_TOO_LARGE),
};

const struct queue_number *queue_numbers(size_t *count)
{
    *count = ARRAY_LEN(numbers);
    return numbers;
}

uint64_t queue_number_of(const struct queue_number *n, const struct wqueue_info *info)
{
    uint64_t wide;
    uint32_t narrow;
    const uint8_t *at = (const uint8_t *)info + n->offset;
    if (n->wide) return memcpy(&wide, at, sizeof wide), wide;
    return memcpy(&narrow, at, sizeof narrow), narrow;
}
