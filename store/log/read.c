/* Readers: the messages of some topics, in their order.  A reader goes from segment to segment,
 * has the indexer bring the index of each, asks once for every topic in it whether it is wanted,
 * and fetches what is; the rest of the segment is not read.  Runs on its door's thread, which never
 * waits here. */
#include "store/log/log_int.h"

struct store_reader {
    struct door *door;
    struct store_query query;
    uint64_t position; /* what was before is done with */
    struct index_job *job;
    uint64_t job_to;  /* up to where its index reaches */
    uint64_t *places; /* of the wanted messages there, in order */
    size_t count, next, room;
    store_ref held; /* so that the segment stays while it is read; 0: none */
    struct blob *body;
};

int store_log_read_open(struct store *st, struct store_reader **out, const struct store_query *q)
{
    struct door *d = CONTAINER_OF(st, struct door, base);
    struct store_reader *r = mem_calloc(1, sizeof *r);
    if (r == NULL) return E_NOMEM;
    ASSERT(d->log->options.describe != NULL);
    r->door = d;
    r->query = *q;
    r->position = q->from_seq * FRAME_ALIGN;
    *out = r;
    return 0;
}

static void let_go(struct store_reader *r)
{
    if (r->held) door_drop(&r->door->base, r->held);
    r->held = 0;
}

void store_log_read_close(struct store_reader **reader)
{
    struct store_reader *r = *reader;
    if (r == NULL) return;
    *reader = NULL;
    indexer_forget(r->door->log, &r->job);
    let_go(r);
    blob_unref(r->body);
    mem_free(r->places);
    mem_free(r);
}

/* ---- which messages ---- */

static int add_place(struct store_reader *r, uint64_t position)
{
    if (r->count == r->room) {
        size_t room = r->room ? r->room * 2 : 64;
        uint64_t *places = mem_realloc(r->places, room * sizeof *places);
        if (places == NULL) return E_NOMEM;
        r->places = places;
        r->room = room;
    }
    r->places[r->count++] = position;
    return 0;
}

static int by_position(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static int choose(struct store_reader *r, const struct index *x)
{
    struct index_topic t = {0};
    int rc = 0;
    r->count = r->next = 0;
    if (x->last_ms < r->query.from_ms || x->first_ms > r->query.to_ms) return 0;
    while (rc == 0 && index_next(x, &t)) {
        if (!r->query.wants(r->query.ctx, t.name)) continue;
        for (uint64_t at = x->base; rc == 0 && index_place(&t, &at);)
            if (at >= r->position && at < r->job_to) rc = add_place(r, at);
    }
    if (r->count) qsort(r->places, r->count, sizeof *r->places, by_position);
    return rc;
}

/* The segment where the reader is or the next one that is there; NULL: none before `end`. */
static struct segment *segment_at(struct store_reader *r, uint64_t end)
{
    struct places *p = &r->door->places;
    if (places_stale(r->door->log, p) && door_renew(r->door) < 0) return NULL;
    for (size_t i = 0; i < p->count; i++) {
        struct segment *s = p->items[i].segment;
        if (s->base >= end) break;
        if (s->end <= r->position || !s->readable) continue;
        r->position = max_u64(r->position, segment_data(s));
        return s;
    }
    return NULL;
}

static int ask(struct store_reader *r)
{
    uint64_t end = atomic_load(&r->door->log->safe);
    struct segment *s = segment_at(r, end);
    if (s == NULL || r->position >= end) return E_NOTFOUND;
    r->job_to = min_u64(end, segment_limit(s));
    /* acquire: pairs with the writer's release */
    if (atomic_load_explicit(&s->sealed, memory_order_acquire)) r->job_to = s->end;
    uint64_t to = min_u64(r->job_to, min_u64(segment_limit(s), atomic_load(&s->end_at)));
    if (r->position >= to) { /* nothing more in it, but perhaps behind it */
        r->position = r->job_to;
        return r->job_to == s->end ? 0 : E_NOTFOUND;
    }
    r->held = door_hold(&r->door->base, r->position / FRAME_ALIGN, NULL);
    r->job = indexer_ask(r->door, s, r->position, to);
    if (r->job) return E_AGAIN;
    let_go(r);
    return E_NOMEM;
}

/* 0: r->places is filled, or r->position has moved on. */
static int advance(struct store_reader *r)
{
    struct seglog *log = r->door->log;
    if (r->job == NULL) {
        let_go(r);
        int rc = ask(r);
        if (rc != E_AGAIN) return rc;
    }
    if (indexer_state(log, r->job) == INDEX_WANTED) return E_AGAIN;
    int rc = r->job->state == INDEX_FAILED ? r->job->rc : choose(r, &r->job->index);
    indexer_forget(log, &r->job);
    if (rc == 0)
        r->position = r->job_to;
    else
        r->count = r->next = 0;
    return rc;
}

/* ---- the messages ---- */

/* 1: not this one. */
static int take(struct store_reader *r, uint64_t position, struct store_record *out)
{
    struct store_topic t;
    uint64_t seq = position / FRAME_ALIGN;
    blob_unref(r->body);
    r->body = NULL;
    int rc = door_fetch(&r->door->base, seq, &r->body);
    if (rc == E_IO) return 1; /* lost, and reported */
    if (rc < 0) return rc;
    struct bytes body = bytes_of(r->body->data, r->body->size);
    if (!r->door->log->options.describe(body, &t)) return 1;
    if (t.time_ms < r->query.from_ms || t.time_ms > r->query.to_ms) return 1;
    *out = (struct store_record){.seq = seq, .kind = STORE_MESSAGE, .body = body};
    return 0;
}

int store_log_read_next(struct store_reader *r, struct store_record *out)
{
    for (;;) {
        while (r->next < r->count) {
            int rc = take(r, r->places[r->next], out);
            if (rc < 0) return rc;
            r->next++;
            if (rc == 0) return 0;
        }
        int rc = advance(r);
        if (rc < 0) return rc;
    }
}
