/* Appending: doors reserve a place by compare-and-swap on one position and copy into the ring side
 * by side.  The writer takes what lies before min(reserved, every busy_from): always a prefix. */
#include "store/log/log_int.h"

static int64_t room_left(struct door *d, uint64_t end)
{
    return (int64_t)(d->places.items[d->places.count - 1].end - end);
}

/* Where a record of `size` bytes can begin when `reserved` is the end so far; E_FULL: no segment
 * has room for it.  The list is at least as new as `reserved`: who moved that had seen the segment,
 * so whoever acquires it sees that the list has changed. */
static int find_place(struct door *d, uint64_t reserved, uint64_t size, bool journal, uint64_t *at)
{
    struct places *p = &d->places;
    while (d->head < p->count && p->items[d->head].end <= reserved) d->head++;
    for (size_t i = d->head; i < p->count; i++) {
        *at = i == d->head ? reserved : p->items[i].base + SEGMENT_DATA;
        /* An end frame must always fit behind. */
        if (*at + size + FRAME_BYTES > p->items[i].end - SEGMENT_TAIL) continue;
        uint64_t keep = atomic_load_explicit(&d->log->reserve, memory_order_relaxed);
        return journal || room_left(d, *at + size) >= (int64_t)keep ? 0 : E_FULL;
    }
    return E_FULL;
}

/* No segment has room: says what is needed, and whether waiting helps. */
static int no_place(struct door *d, uint64_t size)
{
    struct seglog *log = d->log;
    uint64_t wanted = atomic_load(&log->wanted);
    while (wanted < size && !atomic_compare_exchange_weak(&log->wanted, &wanted, size)) {
    }
    keeper_kick(log);
    return atomic_load(&log->full) ? E_FULL : E_AGAIN;
}

/* The ring has room up to `memory`; a record that is larger goes alone. */
static bool ring_has_room(const struct seglog *log, uint64_t reserved, uint64_t at, uint64_t size)
{
    /* acquire: the writer has read what the ring held before */
    uint64_t written = atomic_load_explicit(&log->written, memory_order_acquire);
    return at + size - written <= log->memory || reserved == written;
}

/* Whether the record can go to *at when `from` is where the log ends. */
static int place_ready(struct door *d, uint64_t size, bool journal, uint64_t from, uint64_t *at)
{
    if (places_stale(d->log, &d->places) && door_renew(d) < 0) return E_NOMEM;
    int rc = find_place(d, from, size, journal, at);
    if (rc == 0 && !ring_has_room(d->log, from, *at, size)) return E_AGAIN;
    return rc == E_FULL ? no_place(d, size) : rc;
}

/* Reserves size bytes; *from is where the log ended before.  Leaves busy_from set on success. */
static int reserve(struct door *d, uint64_t size, bool journal, uint64_t *from, uint64_t *at)
{
    struct seglog *log = d->log;
    *from = atomic_load_explicit(&log->reserved, memory_order_acquire);
    atomic_store_explicit(&d->busy_from, *from, memory_order_release);
    for (;;) {
        int rc = place_ready(d, size, journal, *from, at);
        if (rc < 0) {
            atomic_store_explicit(&d->busy_from, UINT64_MAX, memory_order_release);
            return rc;
        }
        if (atomic_compare_exchange_weak(&log->reserved, from, *at + size)) return 0;
    }
}

static void ring_put(struct seglog *log, uint64_t position, struct bytes b)
{
    uint64_t at = position & (log->ring_bytes - 1);
    size_t first = min_u64(b.n, log->ring_bytes - at);
    if (first) memcpy(log->ring + at, b.p, first);
    if (first < b.n) memcpy(log->ring, b.p + first, b.n - first);
}

/* The segments between `from` and the new record end where they are. */
static void leave_segments(struct door *d, uint64_t from, uint64_t at)
{
    for (size_t i = d->head; i < d->places.count && d->places.items[i].end <= at; i++) {
        struct segment *s = d->places.items[i].segment;
        uint64_t end_at = i == d->head ? from : segment_data(s);
        /* release: with that of busy_from, before which the writer does not look */
        atomic_store_explicit(&s->end_at, end_at, memory_order_release);
    }
    keeper_kick(d->log); /* for the segment after this one */
}

static void count_record(struct door *d, uint64_t at, enum store_kind kind, uint64_t bytes)
{
    atomic_store_explicit(&d->records, atomic_load_explicit(&d->records, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    atomic_store_explicit(&d->bytes, atomic_load_explicit(&d->bytes, memory_order_relaxed) + bytes,
                          memory_order_relaxed);
    if (kind == STORE_JOURNAL) return;
    _Atomic uint64_t *n = &door_segment(d, at)->doors[d->index].appended;
    atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

static int append(struct door *d, enum store_kind kind, struct bytes prefix, struct bytes body,
                  uint64_t *seq)
{
    static const uint8_t zeros[FRAME_ALIGN];
    struct seglog *log = d->log;
    uint64_t from, at, size = frame_room(prefix.n, body.n);
    if (body.n > STORE_RECORD_MAX) return E_TOO_LARGE;
    if (UNLIKELY(atomic_load_explicit(&log->failed, memory_order_relaxed))) return E_FULL;
    int rc = reserve(d, size, kind == STORE_JOURNAL, &from, &at);
    if (rc == E_AGAIN) door_waits(d);
    if (rc < 0) return rc;
    if (at != from) leave_segments(d, from, at);
    uint64_t durable = atomic_load_explicit(&log->durable, memory_order_relaxed);
    struct frame f = {.position = at,
                      .body_bytes = (uint32_t)body.n,
                      .behind = (uint32_t)min_u64((at - durable) / FRAME_ALIGN, UINT32_MAX),
                      .kind = (uint8_t)kind,
                      .shard = (uint8_t)d->index,
                      .prefix_bytes = (uint8_t)prefix.n};
    const struct segment *s = door_segment(d, at);
    uint8_t header[FRAME_BYTES];
    frame_put(header, &f, s->salt, prefix, body);
    ring_put(log, at, bytes_of(header, sizeof header));
    ring_put(log, at + FRAME_BYTES, prefix);
    ring_put(log, at + FRAME_BYTES + prefix.n, body);
    uint64_t used = FRAME_BYTES + prefix.n + body.n;
    ring_put(log, at + used, bytes_of(zeros, size - used));
    d->last = at;
    d->last_end = at + size;
    count_record(d, at, kind, prefix.n + body.n);
    /* release: the writer that reads it finds the record in the ring */
    atomic_store_explicit(&d->busy_from, UINT64_MAX, memory_order_release);
    *seq = at / FRAME_ALIGN;
    return 0;
}

int door_append(struct store *st, struct bytes prefix, struct blob *body, uint64_t *seq)
{
    struct door *d = CONTAINER_OF(st, struct door, base);
    return append(d, STORE_MESSAGE, prefix, bytes_of(body->data, body->size), seq);
}

int door_journal(struct store *st, struct bytes entries, uint64_t *seq)
{
    struct door *d = CONTAINER_OF(st, struct door, base);
    return append(d, STORE_JOURNAL, (struct bytes){0}, entries, seq);
}

int door_move(struct store *st, store_ref ref, store_ref *moved)
{
    struct door *d = CONTAINER_OF(st, struct door, base);
    struct blob *body;
    uint64_t seq;
    int rc = door_fetch(st, ref, &body);
    if (rc < 0) return rc;
    rc = append(d, STORE_COPY, (struct bytes){0}, bytes_of(body->data, body->size), &seq);
    if (rc == 0) *moved = door_hold(st, seq, body);
    blob_unref(body);
    return rc;
}

bool door_crowded(const struct store *st)
{
    const struct seglog *log = CONTAINER_OF(st, struct door, base)->log;
    uint64_t written = atomic_load_explicit(&log->written, memory_order_relaxed);
    uint64_t reserved = atomic_load_explicit(&log->reserved, memory_order_relaxed);
    if (reserved <= written || atomic_load_explicit(&log->failed, memory_order_relaxed))
        return false; /* after a failure appends say E_FULL; waiting would be for ever */
    return reserved - written > log->memory / 2;
}

void door_flush(struct store *st)
{
    struct door *d = CONTAINER_OF(st, struct door, base);
    if (atomic_load_explicit(&d->flushed, memory_order_relaxed) == d->last_end) return;
    atomic_store(&d->flushed, d->last_end); /* pairs with is_idle() in the writer */
    sleeper_wake(&d->log->writer_sleep);
}

void door_waits(struct door *d)
{
    atomic_store(&d->wants, true); /* pairs with the exchange in seglog_wake_waiting() */
    door_flush(&d->base);
    sleeper_wake(&d->log->writer_sleep);
}

uint64_t door_poll(struct store *st)
{
    struct door *d = CONTAINER_OF(st, struct door, base);
    d->polls++;
    /* Once a turn, so that files which have gone are not kept open; without memory, next time. */
    int rc = places_stale(d->log, &d->places) ? door_renew(d) : 0;
    (void)rc;
    /* seq_cst: who has said that it goes to sleep looks once more */
    uint64_t safe = atomic_load(&d->log->safe);
    return safe > d->last ? d->last / FRAME_ALIGN : safe / FRAME_ALIGN - 1;
}

uint64_t door_end(const struct store *st)
{
    const struct seglog *log = CONTAINER_OF(st, struct door, base)->log;
    return atomic_load(&log->reserved) / FRAME_ALIGN;
}
