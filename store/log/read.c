/* Readers: the messages of some topics, in their order.  A reader goes from segment to segment,
 * has the indexer bring the index of each, asks for every topic in it whether it is wanted, and
 * merges the places of those that are; the rest of the segment is not read.  Where only the last
 * messages of a topic are wanted, it first goes through the indexes backwards and counts
 * (read_last.c).  Runs on its door's thread, which never waits here. */
#include "store/log/read_int.h"

int door_read_open(struct store *st, struct store_reader **out, const struct store_query *q)
{
    struct door *d = CONTAINER_OF(st, struct door, base);
    struct log_reader *r = mem_calloc(1, sizeof *r + q->topic.n);
    if (r == NULL) return E_NOMEM;
    ASSERT(d->log->options.describe != NULL);
    r->base = reader_calls;
    r->door = d;
    r->query = *q;
    if (q->topic.n) memcpy(r->topic, q->topic.p, q->topic.n);
    r->query.topic = bytes_of(r->topic, q->topic.n);
    r->position = q->from_seq > UINT64_MAX / FRAME_ALIGN ? UINT64_MAX : q->from_seq * FRAME_ALIGN;
    r->end = q->to_seq > UINT64_MAX / FRAME_ALIGN ? UINT64_MAX : q->to_seq * FRAME_ALIGN;
    last_init(r);
    *out = &r->base;
    return 0;
}

static struct log_reader *reader_of(const struct store_reader *reader)
{
    return CONTAINER_OF(reader, struct log_reader, base);
}

void reader_let_go(struct log_reader *r)
{
    if (r->held) door_drop(&r->door->base, r->held);
    r->held = 0;
}

static void merge_end(struct log_reader *r)
{
    seek_end(r);
    index_fini(&r->index);
    r->count = 0;
    reader_let_go(r);
}

static void read_close(struct store_reader *reader)
{
    struct log_reader *r = reader_of(reader);
    indexer_forget(r->door->log, &r->job);
    merge_end(r);
    last_fini(r);
    mem_free(r->cursors);
    mem_free(r);
}

uint32_t reader_wants(const struct log_reader *r, struct bytes topic)
{
    if (r->query.topic.n && !bytes_eq(r->query.topic, topic)) return STORE_NONE;
    return r->query.wants(r->query.ctx, topic);
}

int reader_ask(struct log_reader *r, struct segment *s, uint64_t from, uint64_t to)
{
    r->held = door_hold(&r->door->base, from / FRAME_ALIGN, NULL);
    r->job = indexer_ask(r->door, s, from, to);
    if (r->job) return E_AGAIN;
    reader_let_go(r);
    return E_NOMEM;
}

int reader_answer(struct log_reader *r, struct index *out)
{
    struct seglog *log = r->door->log;
    *out = (struct index){0};
    if (indexer_state(log, r->job) == INDEX_WANTED) return E_AGAIN;
    int rc = r->job->state == INDEX_FAILED ? r->job->rc : 0;
    if (rc == 0) {
        *out = r->job->index;
        r->job->index.data = NULL; /* ours now */
    }
    indexer_forget(log, &r->job);
    if (rc < 0) reader_let_go(r);
    return rc;
}

/* ---- merging: a heap of cursors, the one with the next place on top ---- */

static void sift(struct cursor *heap, size_t count, size_t i)
{
    for (;;) {
        size_t least = i, child = 2 * i + 1;
        if (child < count && heap[child].at < heap[least].at) least = child;
        if (child + 1 < count && heap[child + 1].at < heap[least].at) least = child + 1;
        if (least == i) return;
        struct cursor c = heap[i];
        heap[i] = heap[least];
        heap[least] = c;
        i = least;
    }
}

/* The next place of a topic that is wanted. */
static bool cursor_next(const struct log_reader *r, struct cursor *c)
{
    bool there;
    do there = index_place(&c->places, &c->at);
    while (there && (c->at < r->position || c->at < c->from));
    return there && c->at < r->merge_to;
}

static int add_cursor(struct log_reader *r, struct cursor c)
{
    if (!cursor_next(r, &c)) return 0;
    if (r->count == r->room) {
        size_t room = r->room ? r->room * 2 : 16;
        struct cursor *cursors = mem_realloc(r->cursors, room * sizeof *cursors);
        if (cursors == NULL) return E_NOMEM;
        r->cursors = cursors;
        r->room = room;
    }
    r->cursors[r->count++] = c;
    return 0;
}

/* Starts to merge what of the index is wanted, and takes the index over. */
static int merge_begin(struct log_reader *r, const struct index *x)
{
    struct index_topic t = {0};
    int rc = 0;
    r->index = *x;
    r->count = 0;
    bool in_time = x->last_ms >= r->query.from_ms && x->first_ms <= r->query.to_ms;
    r->timeless = x->first_ms >= r->query.from_ms && x->last_ms <= r->query.to_ms;
    while (in_time && rc == 0 && index_next(x, &t)) {
        uint32_t wanted = reader_wants(r, t.name);
        if (wanted == STORE_NONE) continue;
        struct cursor c = {.at = x->base, .places = t.places};
        if (wanted != STORE_ALL) c.from = last_from(r, t.name);
        rc = add_cursor(r, c);
    }
    for (size_t i = r->count / 2; rc == 0 && i-- > 0;) sift(r->cursors, r->count, i);
    if (rc < 0 || r->count == 0)
        merge_end(r);
    else if (x->first_ms < r->query.from_ms)
        seek_begin(r);
    return rc;
}

static void merge_pop(struct log_reader *r)
{
    if (!cursor_next(r, &r->cursors[0])) r->cursors[0] = r->cursors[--r->count];
    if (r->count) {
        sift(r->cursors, r->count, 0);
        return;
    }
    merge_end(r);
    r->position = max_u64(r->position, r->merge_to);
}

/* ---- from segment to segment ---- */

/* The segment where the reader is or the next one that is there; NULL: none before `end`. */
static struct segment *segment_at(struct log_reader *r, uint64_t end)
{
    struct places *p = &r->door->places;
    size_t i = places_find(p, r->position);
    if (i == p->count) /* before the first one, or where one is gone */
        for (i = 0; i < p->count && p->items[i].end <= r->position;) i++;
    for (; i < p->count && p->items[i].base < end; i++) {
        struct segment *s = p->items[i].segment;
        if (!s->readable) continue;
        r->position = max_u64(r->position, segment_data(s));
        return s;
    }
    return NULL;
}

/* Whether nothing in it can be of the time that is asked for. */
static bool is_out_of_time(const struct log_reader *r, const struct segment *s)
{
    /* acquire: pairs with the indexer's release */
    return atomic_load_explicit(&s->indexed, memory_order_acquire) &&
           (s->last_ms < r->query.from_ms || s->first_ms > r->query.to_ms);
}

static int ask(struct log_reader *r)
{
    uint64_t safe = atomic_load(&r->door->log->safe), end = min_u64(safe, r->end);
    if (places_stale(r->door->log, &r->door->places) && door_renew(r->door) < 0) return E_NOMEM;
    struct segment *s = segment_at(r, end);
    if (s == NULL || r->position >= end) {
        r->position = max_u64(r->position, end);
        return E_NOTFOUND;
    }
    r->merge_to = min_u64(safe, segment_limit(s));
    /* acquire: pairs with the writer's release */
    if (atomic_load_explicit(&s->sealed, memory_order_acquire)) r->merge_to = s->end;
    uint64_t to = min_u64(r->merge_to, min_u64(segment_limit(s), atomic_load(&s->end_at)));
    r->merge_to = min_u64(r->merge_to, r->end);
    if (r->position >= to || is_out_of_time(r, s)) { /* nothing in it, but perhaps behind it */
        r->position = r->merge_to;
        return 0;
    }
    /* A record begins where the last index ended; from_seq may be any number. */
    uint64_t from =
        r->walked >= segment_data(s) && r->walked <= r->position ? r->walked : segment_data(s);
    r->walked = to;
    return reader_ask(r, s, from, to);
}

/* 0: there is something to merge, or r->position has moved on. */
static int advance(struct log_reader *r)
{
    struct index x;
    if (r->job == NULL) {
        int rc = ask(r);
        if (rc != E_AGAIN) return rc;
    }
    int rc = reader_answer(r, &x);
    if (rc == 0) rc = merge_begin(r, &x);
    if (rc == 0 && r->count == 0) r->position = r->merge_to;
    return rc;
}

/* ---- the messages ---- */

int reader_time(const struct log_reader *r, uint64_t position, struct bytes *body, uint64_t *ms)
{
    struct store_topic t;
    int rc = door_view(r->door, position, body);
    if (rc < 0) return rc;
    if (!r->door->log->options.describe(*body, &t)) return 1;
    *ms = t.time_ms;
    return 0;
}

/* 1: not this one. */
static int take(const struct log_reader *r, uint64_t position, struct store_record *out)
{
    struct bytes body;
    uint64_t ms = 0;
    int rc =
        r->timeless ? door_view(r->door, position, &body) : reader_time(r, position, &body, &ms);
    if (rc == E_IO) return 1; /* lost, and reported */
    if (rc == 0 && !r->timeless && (ms < r->query.from_ms || ms > r->query.to_ms)) return 1;
    if (rc == 0)
        *out = (struct store_record){
            .seq = position / FRAME_ALIGN, .kind = STORE_MESSAGE, .body = body};
    return rc;
}

/* Passes over what is before r->position. */
static void skip(struct log_reader *r)
{
    while (r->count && r->cursors[0].at < r->position) merge_pop(r);
}

static int read_next(struct store_reader *reader, struct store_record *out)
{
    struct log_reader *r = reader_of(reader);
    int rc = r->counting ? last_count(r) : 0;
    while (rc == 0) {
        if (r->seek) rc = seek_on(r);
        if (rc < 0) return rc;
        skip(r);
        while (r->count) {
            uint64_t at = r->cursors[0].at;
            rc = take(r, at, out);
            if (rc < 0) return rc;
            r->position = at + FRAME_ALIGN;
            merge_pop(r);
            if (rc == 0) return 0;
        }
        rc = advance(r);
    }
    return rc;
}

static uint64_t read_position(const struct store_reader *reader)
{
    return reader_of(reader)->position / FRAME_ALIGN;
}

const struct store_reader reader_calls = {
    .next = read_next, .position = read_position, .close = read_close};
