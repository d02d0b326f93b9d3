/* The list of segments, the doors' copies of it, what is held in each, and the files' coming and
 * going.  The list changes by the keeper's thread (before the threads start: by who opens); a
 * segment that has left it is freed when no copy names it any more. */
#include "store/log/log_int.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>

enum { ZEROS = 1 << 20 }; /* bytes a new file is filled with at a time */

/* ---- life of one ---- */

int segment_new(struct seglog *log, struct segment **out, uint64_t base, uint64_t bytes)
{
    struct segment *s = mem_calloc_aligned(1, sizeof *s + log->door_count * sizeof s->doors[0]);
    if (s == NULL) return E_NOMEM;
    s->base = base;
    s->end = base + bytes;
    s->fd = -1;
    atomic_init(&s->end_at, UINT64_MAX);
    *out = s;
    return 0;
}

void segment_free(struct seglog *log, struct segment *s)
{
    if (s == NULL) return;
    if (s->fd >= 0) (void)log->files->close(s->fd); /* everything that matters was synced */
    mem_free(s);
}

void segment_name(const struct segment *s, char out[NAME_BYTES]) { name_put(out, s->base, "seg"); }

/* Room for one more pointer. */
static int grow(struct segment ***items, size_t count, size_t *room)
{
    if (count < *room) return 0;
    size_t more = *room ? *room * 2 : 16;
    struct segment **p = mem_realloc(*items, more * sizeof *p);
    if (p == NULL) return E_NOMEM;
    *items = p;
    *room = more;
    return 0;
}

/* Room among the gone as well, so that retiring cannot fail. */
int segments_add(struct seglog *log, struct segment *s)
{
    pthread_mutex_lock(&log->mutex);
    int rc = grow(&log->segments, log->segment_count, &log->segment_room);
    if (rc == 0) rc = grow(&log->gone, log->segment_count + log->gone_count, &log->gone_room);
    if (rc == 0) {
        log->segments[log->segment_count++] = s;
        /* release: pairs with the acquire in places_stale() */
        atomic_fetch_add_explicit(&log->generation, 1, memory_order_release);
    }
    pthread_mutex_unlock(&log->mutex);
    return rc;
}

/* ---- files ---- */

static int fill(struct seglog *log, int fd, uint64_t bytes)
{
    if (log->files->in_memory) return log->files->truncate(fd, bytes) < 0 ? E_IO : 0;
    uint8_t *zeros = mem_calloc(1, ZEROS);
    if (zeros == NULL) return E_NOMEM;
    int rc = 0;
    for (uint64_t at = 0; rc == 0 && at < bytes; at += ZEROS) {
        if (atomic_load_explicit(&log->stopping, memory_order_relaxed)) rc = E_AGAIN;
        if (rc == 0)
            rc = file_write_bytes(log->files, fd, bytes_of(zeros, min_u64(ZEROS, bytes - at)), at);
        if (rc == 0)
            atomic_fetch_add_explicit(&log->written_bytes, min_u64(ZEROS, bytes - at),
                                      memory_order_relaxed);
    }
    mem_free(zeros);
    return rc;
}

static int write_headers(struct seglog *log, struct segment *s)
{
    struct segment_header h = {.base = s->base, .bytes = s->end - s->base};
    uint8_t bytes[HEADER_BYTES];
    if (getrandom(&h.salt, sizeof h.salt, 0) != sizeof h.salt) return E_IO;
    s->salt = h.salt;
    s->readable = true;
    header_put(bytes, &h);
    int rc = file_write_bytes(log->files, s->fd, bytes_of(bytes, sizeof bytes), 0);
    if (rc < 0) return rc;
    return file_write_bytes(log->files, s->fd, bytes_of(bytes, sizeof bytes),
                            h.bytes - SEGMENT_TAIL);
}

/* A spare's blocks are allocated and written to already, so that syncing what overwrites them has
 * nothing else to bring to the disk; a new file is filled with zeros to be like that. */
static int make_file(struct seglog *log, struct segment *s, const char *name, bool spare)
{
    const struct file_ops *f = log->files;
    s->fd = f->open(log->folder, name, spare ? O_RDWR : O_RDWR | O_CREAT | O_TRUNC);
    if (s->fd < 0) return E_IO;
    int rc = spare ? 0 : fill(log, s->fd, s->end - s->base);
    if (rc == 0) rc = write_headers(log, s);
    if (rc == 0 && f->sync(s->fd) < 0) rc = E_IO;
    char final[NAME_BYTES];
    segment_name(s, final);
    if (rc == 0 && f->rename(log->folder, name, final) < 0) rc = E_IO;
    if (rc == 0 && f->sync(log->folder) < 0) rc = E_IO;
    return rc;
}

int segment_prepare(struct seglog *log, uint64_t bytes, struct segment **out)
{
    struct segment *s;
    uint64_t base = log->first_base;
    if (log->segment_count) base = log->segments[log->segment_count - 1]->end;
    char name[NAME_BYTES] = "new.tmp";
    bool spare = log->spare_count > 0 && bytes == log->segment_bytes;
    int rc = segment_new(log, &s, base, bytes);
    if (rc < 0) return rc;
    if (spare) name_put(name, log->spares[log->spare_count - 1], "spare");
    rc = make_file(log, s, name, spare);
    /* A spare that cannot be used is none. */
    if (spare && (rc == 0 || rc == E_IO)) log->spare_count--;
    if (rc < 0) {
        int why = errno;
        (void)log->files->unlink(log->folder, name);
        char final[NAME_BYTES];
        segment_name(s, final);
        (void)log->files->unlink(log->folder, final); /* when only the folder's sync failed */
        segment_free(log, s);
        errno = why;
        return rc;
    }
    *out = s;
    return 0;
}

static void dispose(struct seglog *log, struct segment *s)
{
    const struct file_ops *f = log->files;
    char name[NAME_BYTES], spare[NAME_BYTES];
    name_put(name, s->base, "idx");
    (void)f->unlink(log->folder, name); /* it may have none */
    segment_name(s, name);
    name_put(spare, s->base, "spare");
    bool keep = log->spare_count < SPARES_MAX && s->end - s->base == log->segment_bytes &&
                !log->files->in_memory;
    if (keep && f->rename(log->folder, name, spare) == 0) {
        log->spares[log->spare_count++] = s->base;
        return;
    }
    /* Emptied as well: a door that has not looked for long keeps the file open. */
    if (f->unlink(log->folder, name) < 0)
        seglog_say(log, LOG_T_WARNING,
                   "Warning: %s/%s is not needed any more but cannot be removed: %s.",
                   log->options.folder, name, strerror(errno));
    else if (s->fd >= 0)
        (void)f->truncate(s->fd, 0);
}

void segment_retire(struct seglog *log, size_t index)
{
    struct segment *s = log->segments[index];
    pthread_mutex_lock(&log->mutex);
    memmove(&log->segments[index], &log->segments[index + 1],
            (log->segment_count - index - 1) * sizeof(struct segment *));
    log->segment_count--;
    /* release: pairs with the acquire in places_stale() */
    s->gone_at = atomic_fetch_add_explicit(&log->generation, 1, memory_order_release) + 1;
    log->gone[log->gone_count++] = s;
    pthread_mutex_unlock(&log->mutex);
    dispose(log, s);
}

void segments_bury(struct seglog *log)
{
    pthread_mutex_lock(&log->mutex);
    uint64_t seen = UINT64_MAX;
    for (unsigned i = 0; i < log->door_count; i++)
        seen = min_u64(seen, atomic_load(&log->doors[i]->places.seen));
    size_t kept = 0;
    for (size_t i = 0; i < log->gone_count; i++) {
        struct segment *s = log->gone[i];
        if (s->gone_at <= seen && atomic_load(&s->pins) == 0)
            segment_free(log, s);
        else
            log->gone[kept++] = s;
    }
    log->gone_count = kept;
    pthread_mutex_unlock(&log->mutex);
}

struct segment *segments_find(struct seglog *log, uint64_t position)
{
    pthread_mutex_lock(&log->mutex);
    size_t low = 0, high = log->segment_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (log->segments[middle]->end <= position)
            low = middle + 1;
        else
            high = middle;
    }
    struct segment *s = low < log->segment_count ? log->segments[low] : NULL;
    pthread_mutex_unlock(&log->mutex);
    return s && position >= s->base ? s : NULL;
}

/* ---- copies of the list ---- */

int places_renew(struct seglog *log, struct places *p)
{
    int rc = 0;
    pthread_mutex_lock(&log->mutex);
    if (p->room < log->segment_count) {
        size_t room = log->segment_count * 2;
        struct place *items = mem_realloc(p->items, room * sizeof *items);
        if (items)
            p->items = items, p->room = room;
        else
            rc = E_NOMEM;
    }
    if (rc == 0) {
        for (size_t i = 0; i < log->segment_count; i++) {
            struct segment *s = log->segments[i];
            p->items[i] = (struct place){s->base, s->end, s};
        }
        p->count = log->segment_count;
        p->last = 0;
        p->generation = atomic_load(&log->generation);
        atomic_store(&p->seen, p->generation);
    }
    pthread_mutex_unlock(&log->mutex);
    return rc;
}

void places_fini(struct places *p)
{
    mem_free(p->items);
    p->items = NULL;
    p->count = p->room = 0;
    atomic_store(&p->seen, UINT64_MAX);
}

size_t places_find(struct places *p, uint64_t position)
{
    if (p->last < p->count && position >= p->items[p->last].base &&
        position < p->items[p->last].end)
        return p->last;
    size_t low = 0, high = p->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (p->items[middle].end <= position)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == p->count || position < p->items[low].base) return p->count;
    return p->last = low;
}

/* ---- holding ---- */

int door_renew(struct door *d)
{
    int rc = places_renew(d->log, &d->places);
    if (rc == 0) d->head = 0;
    return rc;
}

struct segment *door_segment(struct door *d, uint64_t position)
{
    if (places_stale(d->log, &d->places) && door_renew(d) < 0)
        return segments_find(d->log, position); /* without memory: holding never fails */
    size_t i = places_find(&d->places, position);
    return i < d->places.count ? d->places.items[i].segment : NULL;
}

static uint64_t get(const _Atomic uint64_t *n)
{
    return atomic_load_explicit(n, memory_order_relaxed);
}

/* One writer: no read-modify-write is needed. */
static void add(_Atomic uint64_t *n, uint64_t more)
{
    atomic_store_explicit(n, get(n) + more, memory_order_release);
}

store_ref door_hold(struct store *st, uint64_t seq, struct blob *body)
{
    struct door *d = CONTAINER_OF(st, struct door, base);
    struct segment *s = door_segment(d, seq * FRAME_ALIGN);
    (void)body;
    if (s) add(&s->doors[d->index].taken, 1);
    return seq;
}

void door_drop(struct store *st, store_ref ref)
{
    struct door *d = CONTAINER_OF(st, struct door, base);
    struct segment *s = door_segment(d, ref * FRAME_ALIGN);
    if (s == NULL) return; /* held when it was gone already */
    struct live *live = &s->doors[d->index];
    if (live->dropped++ > 0) return;
    live->next = d->drops;
    d->drops = live;
}

/* The keeper is called when this door has nothing left; where others have passed on what they held
 * it finds out at the next checkpoint. */
void door_release(struct store *st)
{
    struct door *d = CONTAINER_OF(st, struct door, base);
    bool none_left = false;
    while (d->drops) {
        struct live *live = d->drops;
        d->drops = live->next;
        uint64_t n = live->dropped;
        live->dropped = 0;
        add(&live->given, n); /* from here on the segment may go */
        none_left |= get(&live->taken) == get(&live->given);
    }
    if (none_left && atomic_load_explicit(&d->log->freeable, memory_order_relaxed))
        keeper_kick(d->log);
}

void door_keep(struct store *st, uint64_t from_seq)
{
    struct seglog *log = CONTAINER_OF(st, struct door, base)->log;
    uint64_t keep = from_seq > UINT64_MAX / FRAME_ALIGN ? UINT64_MAX : from_seq * FRAME_ALIGN;
    if (atomic_exchange(&log->keep, keep) < keep) keeper_kick(log);
}

bool door_must_move(const struct store *st, store_ref ref)
{
    struct door *d = CONTAINER_OF(st, struct door, base); /* looking renews the copy of the list */
    struct segment *s = door_segment(d, ref * FRAME_ALIGN);
    return s && atomic_load_explicit(&s->vacate, memory_order_relaxed);
}
