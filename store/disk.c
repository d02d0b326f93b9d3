/* The reference engine that keeps: every record of every run lies in one vector, in the order of
 * appending, and is never taken out, so that a reference which should no longer be used is noticed.
 * One thread; all that happens by chance comes from the disk's seed.
 *
 *   index   0         first        checkpoint       opened      safe        count
 *           | lost    | lost or held | scanned by a door | appended since  | what a crash may take
 *
 * Sequence numbers are not dense, so that a core that computes with them is found. */
#include "store/disk.h"

#include "base/rng.h"
#include "store/engine.h"

enum {
    CHANCES = 1000,
    DELAYS_MAX = 8, /* in a row: what is delayed happens in the end, whatever its chance */
    STRIDE = 3,     /* from one sequence number to the next */
};

struct record {
    uint8_t *bytes; /* the prefix, then the body; NULL: freed, or taken by a crash */
    uint32_t prefix_size, body_size;
    uint32_t holds;
    uint32_t dropped[STORE_DISK_DOORS_MAX]; /* of them, by door, and not released yet */
    uint16_t shard;
    uint8_t kind;         /* enum store_kind */
    uint8_t fetch_delays; /* in a row */
    bool reported_lost;
    bool unheld; /* when the checkpoint was asked for, and since */
};

struct store_disk {
    struct rng rng;
    struct store_faults faults;
    struct record *records;
    size_t count, capacity;
    size_t safe;       /* the records before this are */
    size_t batch;      /* a delayed poll left this being written; the next reports it */
    size_t checkpoint; /* recovery begins here */
    size_t next_checkpoint, next_needs; /* one that waits: its begin; until when all must be safe */
    bool checkpoint_waits;
    size_t first;        /* the records before this have no bytes */
    size_t opened;       /* how many there were when the doors were opened: the end of scans */
    uint32_t run;        /* doors of an older one are dead: the power went */
    unsigned door_count; /* open ones, dead ones included */
    unsigned scan_count;
    uint32_t sync_delays; /* in a row */
    bool crowded, no_room;
    store_describe *describe; /* NULL: nothing is read by topic */
    size_t keep;              /* messages from here on stay; SIZE_MAX: need not */
    struct store_stats stats; /* bytes, full: filled in when asked for */
};

struct disk_door {
    struct store base;
    struct store_disk *disk;
    uint32_t run;
    uint16_t shard;
    bool appended, scanned, scanning;
    size_t *drops, drop_count, drop_room; /* records that it has dropped, not released yet */
    bool drops_lost;                      /* without memory: it may be others as well */
};

struct disk_scan {
    struct store_scan base;
    struct disk_door *door;
    size_t next;
    uint8_t *bytes; /* a copy of the record, so that a view used for too long is noticed */
};

static struct disk_door *door_of(const struct store *st)
{
    return CONTAINER_OF(st, struct disk_door, base);
}
static bool is_dead(const struct disk_door *door) { return door->run != door->disk->run; }
static uint64_t seq_of(size_t index) { return 1 + (uint64_t)index * STRIDE; }

static size_t index_of(uint64_t seq)
{
    ASSERT(seq != 0 && (seq - 1) % STRIDE == 0); /* else it was not given by this disk */
    return (seq - 1) / STRIDE;
}

static struct record *record_of(struct store_disk *d, uint64_t seq)
{
    size_t index = index_of(seq);
    ASSERT(index < d->count);
    return &d->records[index];
}

/* By somebody who has not dropped it, released or not. */
static bool is_held(const struct record *r)
{
    uint32_t dropped = 0;
    for (int i = 0; i < STORE_DISK_DOORS_MAX; i++) dropped += r->dropped[i];
    return r->holds > dropped;
}

/* By whatever door: reading asks for no more. */
static struct record *held(struct store_disk *d, store_ref ref)
{
    struct record *r = record_of(d, ref);
    ASSERT(is_held(r));
    return r;
}

static bool strikes(struct store_disk *d, uint32_t chance)
{
    return chance > 0 && rng_below(&d->rng, CHANCES) < chance;
}

static void disk_check(const struct store_disk *d)
{
    ASSERT(d->safe <= d->count && d->batch <= d->count && d->count <= d->capacity);
    ASSERT(d->first <= d->count && d->checkpoint <= d->count && d->opened <= d->safe);
    /* A poll must end them. */
    ASSERT(d->safe < d->count || !(d->crowded || d->no_room || d->checkpoint_waits));
}

/* ---- appending ---- */

static int grow(struct store_disk *d)
{
    if (d->count < d->capacity) return 0;
    size_t capacity = d->capacity ? 2 * d->capacity : 64;
    struct record *records = mem_realloc(d->records, capacity * sizeof *records);
    if (records == NULL) return E_NOMEM;
    d->records = records;
    d->capacity = capacity;
    return 0;
}

/* What may refuse an append.  E_AGAIN promises that a poll will move, so it needs something that is
 * not safe yet; and it lasts until then, as a ring that is full does. */
static int refusal(struct store_disk *d, size_t size)
{
    if (size > STORE_RECORD_MAX) return E_TOO_LARGE;
    if (d->faults.full) return E_FULL;
    if (d->safe < d->count && strikes(d, d->faults.again)) d->no_room = true;
    return d->no_room ? E_AGAIN : 0;
}

static int add(struct disk_door *door, enum store_kind kind, struct bytes prefix, struct bytes body,
               uint64_t *seq)
{
    struct store_disk *d = door->disk;
    bool dead = is_dead(door);
    int rc = dead ? 0 : refusal(d, prefix.n + body.n);
    if (rc == 0) rc = grow(d);
    if (rc < 0) return rc;
    struct record r = {.shard = door->shard, .kind = (uint8_t)kind};
    if (!dead) {
        r.bytes = mem_alloc(prefix.n + body.n);
        if (r.bytes == NULL) return E_NOMEM;
        r.prefix_size = (uint32_t)prefix.n;
        r.body_size = (uint32_t)body.n;
        put_mem(put_mem(r.bytes, prefix), body);
        d->stats.appended_records++;
        d->stats.appended_bytes += prefix.n + body.n;
    }
    *seq = seq_of(d->count);
    d->records[d->count++] = r;
    door->appended = true;
    if (!dead && strikes(d, d->faults.crowded)) d->crowded = true;
    disk_check(d);
    return 0;
}

static int disk_append(struct store *st, struct bytes prefix, struct blob *body, uint64_t *seq)
{
    return add(door_of(st), STORE_MESSAGE, prefix, bytes_of(body->data, body->size), seq);
}

static int disk_journal(struct store *st, struct bytes entries, uint64_t *seq)
{
    return add(door_of(st), STORE_JOURNAL, (struct bytes){0}, entries, seq);
}

static bool disk_crowded(const struct store *st) { return door_of(st)->disk->crowded; }
static void disk_flush(struct store *st) { (void)st; /* the poll is what writes */ }

static void record_free(struct record *r)
{
    mem_free(r->bytes);
    r->bytes = NULL;
}

/* Frees what nobody held when this checkpoint was asked for.  What was dropped later is left for
 * the next one: a crash may undo what its holder did, as that is perhaps not safe, and who recovers
 * reads it again. */
static void checkpoint_in_force(struct store_disk *d)
{
    for (size_t i = d->first; i < d->next_checkpoint; i++) {
        struct record *r = &d->records[i];
        bool kept = i >= d->keep && r->kind == STORE_MESSAGE;
        if (r->unheld && !kept) record_free(r);
    }
    while (d->first < d->next_checkpoint && d->records[d->first].bytes == NULL) d->first++;
    d->checkpoint = d->next_checkpoint;
    d->checkpoint_waits = false;
}

static void make_safe(struct store_disk *d, size_t safe)
{
    if (safe == d->safe) return;
    ASSERT(safe > d->safe);
    for (size_t i = d->safe; i < safe; i++)
        d->stats.written_bytes += d->records[i].prefix_size + d->records[i].body_size;
    d->stats.syncs++;
    d->safe = safe;
    d->crowded = d->no_room = false;
    if (d->checkpoint_waits && d->next_needs <= safe) checkpoint_in_force(d);
}

/* A delayed poll leaves what was appended before it being written; the first that is not delayed
 * reports just that, and what has come meanwhile is for the next one. */
static uint64_t disk_poll(struct store *st)
{
    const struct disk_door *door = door_of(st);
    struct store_disk *d = door->disk;
    if (!is_dead(door) && d->safe < d->count && !d->faults.stuck) {
        if (d->sync_delays < DELAYS_MAX && strikes(d, d->faults.sync_delay)) {
            d->sync_delays++;
            d->batch = d->count;
        } else {
            make_safe(d, d->sync_delays ? d->batch : d->count);
            d->sync_delays = 0;
        }
        disk_check(d);
    }
    return d->safe ? seq_of(d->safe - 1) : 0;
}

static uint64_t disk_end(const struct store *st) { return seq_of(door_of(st)->disk->count); }

/* ---- holding and fetching ---- */

/* A reference is the sequence number: unique, and a use after the last drop meets no holds. */
static store_ref disk_hold(struct store *st, uint64_t seq, struct blob *body)
{
    const struct disk_door *door = door_of(st);
    struct record *r = record_of(door->disk, seq);
    ASSERT(r->kind != STORE_JOURNAL);
    if (is_dead(door)) return seq;
    ASSERT(body == NULL || r->bytes == NULL ||
           bytes_eq(bytes_of(body->data, body->size),
                    bytes_of(r->bytes + r->prefix_size, r->body_size)));
    r->holds++;
    r->unheld = false;
    return seq;
}

/* Whether the record can be read now: 0, E_AGAIN or E_IO. */
static int readable(struct store_disk *d, struct record *r)
{
    if (r->bytes == NULL) {
        d->stats.lost_records += !r->reported_lost;
        r->reported_lost = true;
        return E_IO;
    }
    if (r->fetch_delays < DELAYS_MAX && strikes(d, d->faults.fetch_delay)) {
        r->fetch_delays++;
        return E_AGAIN;
    }
    r->fetch_delays = 0;
    return 0;
}

static int disk_fetch(struct store *st, store_ref ref, struct blob **body)
{
    const struct disk_door *door = door_of(st);
    if (is_dead(door)) return E_IO;
    struct record *r = held(door->disk, ref);
    int rc = readable(door->disk, r);
    if (rc < 0) return rc;
    struct blob *b = blob_new(r->body_size);
    if (b == NULL) return E_NOMEM;
    put_mem(b->data, bytes_of(r->bytes + r->prefix_size, r->body_size));
    *body = b;
    return 0;
}

static void list_drop(struct disk_door *door, size_t index)
{
    if (door->drop_count == door->drop_room) {
        size_t more = door->drop_room ? door->drop_room * 2 : 64;
        size_t *p = mem_realloc(door->drops, more * sizeof *p);
        door->drops_lost |= p == NULL;
        if (p == NULL) return;
        door->drops = p;
        door->drop_room = more;
    }
    door->drops[door->drop_count++] = index;
}

static void disk_drop(struct store *st, store_ref ref)
{
    struct disk_door *door = door_of(st);
    if (is_dead(door)) return;
    struct record *r = held(door->disk, ref);
    if (r->dropped[door->shard]++ == 0) list_drop(door, index_of(ref));
}

static void release(const struct disk_door *door, size_t index)
{
    struct record *r = &door->disk->records[index];
    r->holds -= r->dropped[door->shard];
    r->dropped[door->shard] = 0;
}

static void disk_release(struct store *st)
{
    struct disk_door *door = door_of(st);
    const struct store_disk *d = door->disk;
    if (is_dead(door)) return;
    for (size_t i = 0; i < door->drop_count; i++) release(door, door->drops[i]);
    for (size_t i = 0; door->drops_lost && i < d->count; i++) release(door, i);
    door->drop_count = 0;
    door->drops_lost = false;
}

/* ---- recovery and checkpoints ---- */

static int scan_next(struct store_scan *scan, struct store_record *out)
{
    struct disk_scan *s = CONTAINER_OF(scan, struct disk_scan, base);
    const struct store_disk *d = s->door->disk;
    mem_free(s->bytes);
    s->bytes = NULL;
    while (s->next < d->opened &&
           (d->records[s->next].bytes == NULL || d->records[s->next].kind == STORE_COPY))
        s->next++;
    if (s->next == d->opened) return E_NOTFOUND;
    const struct record *r = &d->records[s->next];
    size_t size = (size_t)r->prefix_size + r->body_size;
    s->bytes = mem_alloc(size);
    if (s->bytes == NULL) return E_NOMEM;
    put_mem(s->bytes, bytes_of(r->bytes, size));
    *out = (struct store_record){.seq = seq_of(s->next++),
                                 .kind = r->kind,
                                 .shard = r->shard,
                                 .prefix = bytes_of(s->bytes, r->prefix_size),
                                 .body = bytes_of(s->bytes + r->prefix_size, r->body_size)};
    return 0;
}

static void scan_close(struct store_scan *scan)
{
    struct disk_scan *s = CONTAINER_OF(scan, struct disk_scan, base);
    s->door->scanning = false;
    s->door->disk->scan_count--;
    mem_free(s->bytes);
    mem_free(s);
}

static int disk_scan_open(struct store *st, struct store_scan **out)
{
    struct disk_door *door = door_of(st);
    ASSERT(!door->appended && !door->scanned);
    struct disk_scan *s = mem_calloc(1, sizeof *s);
    if (s == NULL) return E_NOMEM;
    *s = (struct disk_scan){.base = {.next = scan_next, .close = scan_close},
                            .door = door,
                            .next = door->disk->checkpoint};
    door->scanned = door->scanning = true;
    door->disk->scan_count++;
    *out = &s->base;
    return 0;
}

static bool disk_checkpoint_due(const struct store *st)
{
    const struct disk_door *door = door_of(st);
    return !is_dead(door) && strikes(door->disk, door->disk->faults.checkpoint);
}

/* The cores go on appending while one is made, so it waits for what was appended until now. */
static int disk_checkpoint(struct store *st, uint64_t begin)
{
    const struct disk_door *door = door_of(st);
    struct store_disk *d = door->disk;
    if (is_dead(door)) return E_IO;
    size_t index = index_of(begin);
    ASSERT(index >= d->checkpoint && index <= d->safe); /* they have journaled since, safely */
    ASSERT(d->scan_count == 0);
    d->next_checkpoint = index;
    d->next_needs = d->count;
    d->checkpoint_waits = true;
    for (size_t i = d->first; i < index; i++) {
        struct record *r = &d->records[i];
        r->unheld = r->holds == 0;
    }
    if (d->next_needs == d->safe) checkpoint_in_force(d);
    disk_check(d);
    return 0;
}

static bool disk_must_move(const struct store *st, store_ref ref)
{
    const struct disk_door *door = door_of(st);
    if (is_dead(door)) return false;
    held(door->disk, ref);
    return strikes(door->disk, door->disk->faults.move);
}

static int disk_move(struct store *st, store_ref ref, store_ref *moved)
{
    struct disk_door *door = door_of(st);
    if (is_dead(door)) return E_IO;
    struct record *r = held(door->disk, ref);
    int rc = readable(door->disk, r);
    if (rc < 0) return rc;
    /* The bytes do not move when the vector of records grows. */
    struct bytes prefix = bytes_of(r->bytes, r->prefix_size);
    struct bytes body = bytes_of(r->bytes + r->prefix_size, r->body_size);
    uint64_t seq;
    rc = add(door, STORE_COPY, prefix, body, &seq);
    if (rc == 0) *moved = disk_hold(st, seq, NULL);
    return rc;
}

/* ---- reading ---- */

struct disk_reader {
    struct store_reader base;
    const struct disk_door *door;
    struct store_query query;
    size_t next;
    uint8_t *bytes;  /* a copy of the record, so that a view used for too long is noticed */
    uint8_t topic[]; /* the query's */
};

static bool has_topic(const struct store_disk *d, size_t index, struct store_topic *out)
{
    const struct record *r = &d->records[index];
    return r->bytes && r->kind == STORE_MESSAGE &&
           d->describe(bytes_of(r->bytes + r->prefix_size, r->body_size), out);
}

/* Whether it is one of the last `most` of its topic. */
static bool is_among_last(const struct disk_reader *r, size_t index, uint32_t most)
{
    const struct store_disk *d = r->door->disk;
    struct store_topic t, later;
    uint32_t n = 1;
    if (seq_of(index) >= r->query.last_seq || !has_topic(d, index, &t)) return true;
    for (size_t i = index + 1; i < d->count && seq_of(i) < r->query.last_seq && n <= most; i++)
        n += has_topic(d, i, &later) && bytes_eq(t.topic, later.topic);
    return n <= most;
}

static bool is_wanted(const struct disk_reader *r, size_t index)
{
    const struct store_query *q = &r->query;
    struct store_topic t;
    if (seq_of(index) < q->from_seq || !has_topic(r->door->disk, index, &t)) return false;
    if (t.time_ms < q->from_ms || t.time_ms > q->to_ms) return false;
    if (q->topic.n && !bytes_eq(q->topic, t.topic)) return false;
    uint32_t most = q->wants(q->ctx, t.topic);
    return most == STORE_ALL || (most != STORE_NONE && is_among_last(r, index, most));
}

static int disk_read_next(struct store_reader *reader, struct store_record *out)
{
    struct disk_reader *r = CONTAINER_OF(reader, struct disk_reader, base);
    struct store_disk *d = r->door->disk;
    mem_free(r->bytes);
    r->bytes = NULL;
    if (is_dead(r->door)) return E_NOTFOUND;
    if (r->query.last_seq && d->safe < d->count && seq_of(d->safe) < r->query.last_seq)
        return E_NOTFOUND;
    for (; r->next < d->safe && seq_of(r->next) < r->query.to_seq; r->next++) {
        struct record *record = &d->records[r->next];
        if (!is_wanted(r, r->next)) continue;
        int rc = readable(d, record);
        if (rc < 0) return rc;
        r->bytes = mem_alloc(record->body_size);
        if (r->bytes == NULL) return E_NOMEM;
        put_mem(r->bytes, bytes_of(record->bytes + record->prefix_size, record->body_size));
        *out = (struct store_record){.seq = seq_of(r->next++),
                                     .kind = STORE_MESSAGE,
                                     .shard = record->shard,
                                     .body = bytes_of(r->bytes, record->body_size)};
        return 0;
    }
    return E_NOTFOUND;
}

static uint64_t disk_read_position(const struct store_reader *reader)
{
    return seq_of(CONTAINER_OF(reader, struct disk_reader, base)->next);
}

static void disk_read_close(struct store_reader *reader)
{
    struct disk_reader *r = CONTAINER_OF(reader, struct disk_reader, base);
    mem_free(r->bytes);
    mem_free(r);
}

static int disk_read_open(struct store *st, struct store_reader **out, const struct store_query *q)
{
    struct disk_reader *r = mem_calloc(1, sizeof *r + q->topic.n);
    if (r == NULL) return E_NOMEM;
    *r = (struct disk_reader){
        .base = {.next = disk_read_next, .position = disk_read_position, .close = disk_read_close},
        .door = door_of(st),
        .query = *q};
    put_mem(r->topic, q->topic);
    r->query.topic = bytes_of(r->topic, q->topic.n);
    while (seq_of(r->next) < q->from_seq && r->next < door_of(st)->disk->count) r->next++;
    *out = &r->base;
    return 0;
}

static void disk_keep(struct store *st, uint64_t from_seq)
{
    const struct disk_door *door = door_of(st);
    if (is_dead(door)) return;
    door->disk->keep = from_seq == UINT64_MAX ? SIZE_MAX : (size_t)((from_seq + 1) / STRIDE);
}

/* ---- life ---- */

static void disk_stats(const struct store *st, struct store_stats *out)
{
    const struct store_disk *d = door_of(st)->disk;
    *out = d->stats;
    out->full = d->faults.full;
    for (size_t i = d->first; i < d->safe; i++)
        if (d->records[i].bytes)
            out->bytes += (uint64_t)d->records[i].prefix_size + d->records[i].body_size;
}

static void disk_close(struct store *st)
{
    struct disk_door *door = door_of(st);
    struct store_disk *d = door->disk;
    ASSERT(!door->scanning);
    ASSERT(d->door_count > 0);
    if (--d->door_count == 0 && !is_dead(door)) make_safe(d, d->count);
    mem_free(door->drops);
    mem_free(door);
}

#define DISK_OPS                                                                                   \
    .append = disk_append, .journal = disk_journal, .crowded = disk_crowded, .flush = disk_flush,  \
    .poll = disk_poll, .end = disk_end, .hold = disk_hold, .fetch = disk_fetch, .drop = disk_drop, \
    .release = disk_release, .scan_open = disk_scan_open, .checkpoint_due = disk_checkpoint_due,   \
    .checkpoint = disk_checkpoint, .must_move = disk_must_move, .move = disk_move,                 \
    .stats = disk_stats, .close = disk_close

static const struct store_ops disk_ops = {DISK_OPS};
static const struct store_ops reading_disk_ops = {DISK_OPS, .read_open = disk_read_open,
                                                  .keep = disk_keep};

int store_disk_new(struct store_disk **out, uint64_t seed)
{
    struct store_disk *d = mem_calloc(1, sizeof *d);
    if (d == NULL) return E_NOMEM;
    d->rng.state = seed;
    d->keep = SIZE_MAX;
    *out = d;
    return 0;
}

void store_disk_free(struct store_disk **disk)
{
    struct store_disk *d = *disk;
    *disk = NULL;
    if (d == NULL) return;
    ASSERT(d->door_count == 0);
    for (size_t i = d->first; i < d->count; i++) record_free(&d->records[i]);
    mem_free(d->records);
    mem_free(d);
}

void store_disk_describe(struct store_disk *disk, store_describe *describe)
{
    ASSERT(disk->door_count == 0);
    disk->describe = describe;
}

void store_disk_faults(struct store_disk *disk, const struct store_faults *faults)
{
    disk->faults = *faults;
}

int store_disk_open(struct store **doors, unsigned count, struct store_disk *disk)
{
    ASSERT(disk->door_count == 0 && count > 0 && count <= STORE_DISK_DOORS_MAX);
    for (unsigned i = 0; i < count; i++) {
        struct disk_door *door = mem_calloc(1, sizeof *door);
        if (door == NULL) {
            while (i-- > 0) mem_free(door_of(doors[i])), doors[i] = NULL;
            return E_NOMEM;
        }
        const struct store_ops *ops = disk->describe ? &reading_disk_ops : &disk_ops;
        *door = (struct disk_door){.base = {.ops = ops, .keeps = true},
                                   .disk = disk,
                                   .run = disk->run,
                                   .shard = (uint16_t)i};
        doors[i] = &door->base;
    }
    disk->door_count = count;
    for (size_t i = 0; i < disk->count; i++) {
        memset(disk->records[i].dropped, 0, sizeof disk->records[i].dropped);
        disk->records[i].holds = 0;
        disk->records[i].unheld = false;
    }
    disk->opened = disk->safe = disk->count;
    disk->sync_delays = 0;
    disk->keep = SIZE_MAX;
    disk_check(disk);
    return 0;
}

void store_disk_crash(struct store_disk *disk)
{
    size_t kept = disk->safe + rng_below(&disk->rng, disk->count - disk->safe + 1);
    for (size_t i = kept; i < disk->count; i++) record_free(&disk->records[i]);
    disk->crowded = disk->no_room = disk->checkpoint_waits = false;
    disk->run++;
    disk_check(disk);
}
