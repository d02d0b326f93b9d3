/* Fetching: a door reads through a few windows (slots) into the files, so that one read serves
 * hundreds of messages of a queue that is drained.  What the kernel has in memory is read at once;
 * what it has not is read by the reader's thread, and the door is told E_AGAIN and woken. */
#include "store/log/log_int.h"

#include <errno.h>

enum {
    WINDOW_MIN = 16 << 10,   /* bytes; doubled as long as reading goes on where it ended */
    WINDOW_MAX = 256 << 10,  /* bytes; only single larger records have more */
    WINDOW_COLD = 128 << 10, /* at least, when the disk is asked */
    LAST_LIKELY = 4 << 10,   /* bytes: most records are shorter */
    PROTECTED_POLLS = 2,     /* what was read for somebody is kept for so many turns */
};

/* ---- what is lost ---- */

void seglog_lost(struct seglog *log, const struct segment *s, uint64_t position, const char *part)
{
    char name[NAME_BYTES];
    segment_name(s, name);
    atomic_fetch_add_explicit(&log->lost, 1, memory_order_relaxed);
    seglog_say(
        log, LOG_T_ERROR,
        "Error: the record with sequence %llu is lost: it is damaged in %s/%s at byte %llu (%s).",
        (unsigned long long)(position / FRAME_ALIGN), log->options.folder, name,
        (unsigned long long)(position - s->base), part);
}

bool seglog_knows_hole(const struct seglog *log, uint64_t position)
{
    for (size_t i = 0; i < log->hole_count; i++)
        if (position >= log->holes[i].at && position < log->holes[i].next) return true;
    return false;
}

/* Each once, as far as a door remembers. */
static int lost(struct door *d, const struct segment *s, uint64_t position, const char *part)
{
    uint64_t *memory = &d->reported[position / FRAME_ALIGN % REPORTED];
    if (*memory != position && s && !seglog_knows_hole(d->log, position))
        seglog_lost(d->log, s, position, part);
    *memory = position;
    return E_IO;
}

/* ---- slots ---- */

static bool covers(const struct slot *s, uint64_t position, uint64_t n)
{
    return position >= s->start && position + n <= s->start + s->len;
}

/* acquire: pairs with the reader's release */
static int state(const struct slot *s)
{
    return atomic_load_explicit(&s->state, memory_order_acquire);
}

/* The slot that has position in it, or will have, and most of what follows. */
static struct slot *slot_of(struct door *d, uint64_t position)
{
    struct slot *best = d->last_slot; /* most records follow one that was just read */
    if (best && state(best) == SLOT_READY && covers(best, position, LAST_LIKELY)) return best;
    best = NULL;
    for (int i = 0; i < SLOTS; i++) {
        struct slot *s = &d->slots[i];
        if (state(s) == SLOT_EMPTY || !covers(s, position, 1)) continue;
        if (best == NULL || s->start + s->len > best->start + best->len) best = s;
    }
    d->last_slot = best;
    return best;
}

static void slot_empty(struct slot *s)
{
    if (s->room > WINDOW_MAX) {
        mem_free(s->data);
        s->data = NULL;
        s->room = 0;
    }
    s->len = 0;
    atomic_store_explicit(&s->state, SLOT_EMPTY, memory_order_relaxed);
}

static bool is_protected(const struct door *d, struct slot *s)
{
    if (s->used) return false;
    if (!s->seen) s->seen_poll = d->polls;
    s->seen = true;
    return d->polls - s->seen_poll < PROTECTED_POLLS;
}

/* The one whose reading ended just before position, so that it goes on; else the oldest. */
static struct slot *slot_choose(struct door *d, uint64_t position, uint32_t *window)
{
    struct slot *oldest = NULL;
    *window = WINDOW_MIN;
    for (int i = 0; i < SLOTS; i++) {
        struct slot *s = &d->slots[i];
        if (state(s) == SLOT_READING) continue;
        if (state(s) == SLOT_READY && s->used && position >= s->start &&
            position <= s->start + s->len) {
            *window = (uint32_t)min_u64(s->window * 2, WINDOW_MAX);
            return s;
        }
        if (state(s) == SLOT_READY && is_protected(d, s)) continue;
        if (oldest == NULL || s->touched < oldest->touched) oldest = s;
    }
    return oldest;
}

static int slot_room(struct slot *s, uint64_t n)
{
    if (s->room >= n) return 0;
    uint8_t *data = mem_alloc(n);
    if (data == NULL) return E_NOMEM;
    mem_free(s->data);
    s->data = data;
    s->room = (uint32_t)n;
    return 0;
}

/* ---- reading ---- */

static void read_later(struct door *d, struct slot *s)
{
    struct seglog *log = d->log;
    s->next = NULL;
    s->door = d;
    atomic_fetch_add(&s->segment->pins, 1); /* the file stays open */
    atomic_store_explicit(&s->state, SLOT_READING, memory_order_relaxed);
    pthread_mutex_lock(&log->read_mutex);
    *log->read_tail = s;
    log->read_tail = &s->next;
    pthread_mutex_unlock(&log->read_mutex);
    atomic_store(&log->reads, true); /* pairs with the reader's exchange */
    sleeper_wake(&log->reader_sleep);
}

/* Reads at least `need` bytes from position on, as long as the log has them.  0; E_AGAIN: the disk
 * is asked, or no slot is free; E_NOMEM. */
static int slot_load(struct door *d, struct segment *segment, uint64_t position, uint64_t need,
                     uint64_t available)
{
    uint32_t window;
    struct slot *s = slot_choose(d, position, &window);
    if (s == NULL) { /* all were read for others, who have not come yet */
        seglog_wake(d->log, d);
        return E_AGAIN;
    }
    slot_empty(s);
    uint64_t len = min_u64(max_u64(need, window), available);
    uint64_t cold = min_u64(max_u64(len, WINDOW_COLD), available);
    int rc = slot_room(s, cold);
    if (rc < 0) return rc;
    s->segment = segment;
    s->start = position;
    s->window = window;
    s->failed = s->used = s->seen = false;
    s->touched = ++d->touches;
    ssize_t got = d->log->files->pread_cached(segment->fd, s->data, len, position - segment->base);
    if (got >= (ssize_t)need) {
        s->len = (uint32_t)got;
        atomic_store_explicit(&s->state, SLOT_READY, memory_order_relaxed);
        return 0;
    }
    s->len = (uint32_t)cold;
    read_later(d, s);
    return E_AGAIN;
}

static int deliver(struct door *d, struct slot *s, const struct frame *f, const uint8_t *p,
                   struct bytes *body)
{
    s->touched = ++d->touches;
    if (!frame_intact(f, p, s->segment->salt))
        return lost(d, s->segment, f->position, "checksum of the record");
    if (f->kind != STORE_MESSAGE && f->kind != STORE_COPY)
        return lost(d, s->segment, f->position, "not a message");
    *body = frame_body(f, p);
    if (s->room > WINDOW_MAX) d->large = s;
    return 0;
}

/* 1: not enough of it was read, *need says how much. */
static int from_slot(struct door *d, struct slot *s, uint64_t position, uint64_t *need,
                     struct bytes *body)
{
    struct frame f;
    if (state(s) == SLOT_READING) return E_AGAIN;
    if (s->failed) {
        struct segment *segment = s->segment;
        slot_empty(s);
        return lost(d, segment, position, "the disk cannot read it");
    }
    s->used = true;
    if (!covers(s, position, FRAME_BYTES)) return 1;
    const uint8_t *p = s->data + (position - s->start);
    if (!frame_get(&f, p, position, segment_limit(s->segment)))
        return lost(d, s->segment, position, "frame header");
    *need = frame_size(&f);
    return covers(s, position, *need) ? deliver(d, s, &f, p, body) : 1;
}

int door_view(struct door *d, uint64_t position, struct bytes *body)
{
    uint64_t need = FRAME_BYTES;
    if (d->large && state(d->large) == SLOT_READY) slot_empty(d->large);
    d->large = NULL;
    /* acquire: pairs with the writer's release; the file has it */
    uint64_t written = atomic_load_explicit(&d->log->written, memory_order_acquire);
    if (position >= written && position < atomic_load(&d->log->reserved)) {
        door_waits(d);
        return E_AGAIN;
    }
    struct segment *segment = door_segment(d, position);
    if (segment == NULL || !segment->readable || position < segment_data(segment))
        return lost(d, segment, position, "segment header");
    uint64_t end = min_u64(written, segment_limit(segment));
    if (position + FRAME_BYTES > end) return lost(d, segment, position, "frame header");
    uint64_t available = end - position;
    /* At most: a slot, one more for the header, one more for the rest. */
    for (int i = 0; i < 3; i++) {
        struct slot *s = slot_of(d, position);
        int rc = s ? from_slot(d, s, position, &need, body) : 1;
        if (rc <= 0) return rc;
        d->last_slot = NULL;
        if (need > available) return lost(d, segment, position, "frame header");
        rc = slot_load(d, segment, position, need, available);
        if (rc < 0) return rc;
    }
    return E_AGAIN; /* the kernel forgets faster than it is asked */
}

int door_fetch(struct store *st, store_ref ref, struct blob **body)
{
    struct bytes view;
    int rc = door_view(CONTAINER_OF(st, struct door, base), ref * FRAME_ALIGN, &view);
    if (rc < 0) return rc;
    struct blob *b = blob_new((uint32_t)view.n);
    if (b == NULL) return E_NOMEM;
    put_mem(b->data, view);
    *body = b;
    return 0;
}

void door_slots_free(struct door *d)
{
    for (int i = 0; i < SLOTS; i++) mem_free(d->slots[i].data);
}

/* ---- the reader's thread ---- */

static struct slot *take(struct seglog *log)
{
    pthread_mutex_lock(&log->read_mutex);
    struct slot *s = log->read_head;
    if (s) log->read_head = s->next;
    if (log->read_head == NULL) log->read_tail = &log->read_head;
    pthread_mutex_unlock(&log->read_mutex);
    return s;
}

/* A failure is tried once more: that it was for good decides whether a message is lost. */
static bool read_all(struct seglog *log, const struct slot *s)
{
    uint64_t offset = s->start - s->segment->base;
    int failures = 0;
    for (size_t done = 0; done < s->len && failures < 2;) {
        ssize_t n = log->files->pread(s->segment->fd, s->data + done, s->len - done, offset + done);
        if (n > 0) done += (size_t)n;
        if (n == 0 || (n < 0 && errno != EINTR)) failures++;
    }
    return failures < 2;
}

static void serve(struct seglog *log, struct slot *s)
{
    struct door *d = s->door;
    struct segment *segment = s->segment;
    s->failed = !read_all(log, s);
    /* release: pairs with state(); the slot is the door's again */
    atomic_store_explicit(&s->state, SLOT_READY, memory_order_release);
    atomic_fetch_sub(&segment->pins, 1);
    seglog_wake(log, d);
}

void *reader_main(void *arg)
{
    struct seglog *log = arg;
    struct slot *s;
    (void)pthread_setname_np(pthread_self(), "log-reader"); /* for top and gdb only */
    for (;;) {
        while ((s = take(log)) != NULL) serve(log, s);
        sleeper_begin(&log->reader_sleep);
        bool stopping = atomic_load(&log->stopping);
        if (atomic_exchange(&log->reads, false) || stopping)
            sleeper_stay(&log->reader_sleep); /* both pair with what precedes sleeper_wake() */
        else
            sleeper_wait(&log->reader_sleep, -1);
        if (stopping) return NULL;
    }
}
