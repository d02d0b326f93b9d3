/* The keeper: everything of the log that takes long and that nobody should wait for.  It prepares
 * the next segment ahead, so that an append never meets a full disk; writes checkpoints; frees what
 * is older and not held; marks what is held by few. */
#include "store/log/log_int.h"

#include <errno.h>

enum {
    FREE_MS = 20,              /* until what is unheld may be safely so */
    SPARSE_COUNT = 8,          /* so many sparse segments before any is vacated */
    SPARSE_SHARE = 10,         /* sparse: fewer than one reference for so many messages */
    CHECKPOINT_MIN = 64 << 20, /* bytes between checkpoints that nobody configured */
    CHECKPOINT_TIMES = 4,      /* or so many times the size of the last one */
};

void keeper_kick(struct seglog *log)
{
    atomic_store(&log->kicked, true); /* pairs with the exchange in wait() */
    sleeper_wake(&log->keeper_sleep);
}

/* ---- room ---- */

static uint64_t round_up(uint64_t n)
{
    return (n + SEGMENT_UNIT - 1) / SEGMENT_UNIT * SEGMENT_UNIT;
}

/* See struct live; acquire: pairs with add() in segments.c. */
static uint64_t held(const struct seglog *log, const struct segment *s)
{
    uint64_t given = 0, taken = 0;
    for (unsigned i = 0; i < log->door_count; i++)
        given += atomic_load_explicit(&s->doors[i].given, memory_order_acquire);
    for (unsigned i = 0; i < log->door_count; i++)
        taken += atomic_load_explicit(&s->doors[i].taken, memory_order_acquire);
    return taken - given;
}

/* Whether it is too early to fill a new segment with zeros: the one that is written to has begun
 * only now, and one that nobody holds may soon be free to be used again. */
static bool is_early(struct seglog *log)
{
    uint64_t reserved = atomic_load(&log->reserved);
    bool begun = false, hopes = false;
    for (size_t i = 0; i < log->segment_count; i++) {
        const struct segment *s = log->segments[i];
        bool sealed = atomic_load_explicit(&s->sealed, memory_order_acquire);
        hopes |= sealed && s->end - s->base == log->segment_bytes && held(log, s) == 0;
        begun |= !sealed && s->base <= reserved && reserved < segment_quarter(s);
    }
    return begun && hopes && log->spare_count == 0;
}

/* How large the next segment must be, 0: there is one already.  Only segments in which nothing was
 * reserved count. */
static uint64_t missing(struct seglog *log)
{
    uint64_t reserved = atomic_load(&log->reserved), wanted = atomic_load(&log->wanted);
    uint64_t largest = 0, need = 0;
    for (size_t i = 0; i < log->segment_count; i++) {
        const struct segment *s = log->segments[i];
        if (s->base > reserved) largest = max_u64(largest, s->end - s->base);
    }
    if (!wanted && is_early(log)) return 0;
    if (wanted)
        need = round_up(wanted + SEGMENT_DATA + SEGMENT_TAIL + FRAME_BYTES +
                        atomic_load(&log->reserve));
    need = max_u64(need, log->segment_bytes);
    return largest >= need ? 0 : need;
}

static void say_full(struct seglog *log, int rc)
{
    bool disk = rc == E_IO && errno_is_full();
    if (atomic_load(&log->full)) return; /* the keeper alone changes it */
    seglog_say(
        log, LOG_T_ERROR,
        "Error: %s in %s (%s): messages that must be kept are refused when the space that is "
        "left is used up. Trying again every second.",
        disk ? "disk full" : "no room can be prepared", log->options.folder,
        rc == E_IO ? strerror(errno) : "no memory");
    atomic_store(&log->full, true);
}

static void say_room(struct seglog *log)
{
    if (!atomic_load(&log->full)) return;
    seglog_say(log, LOG_T_NOTICE, "There is space again in %s.", log->options.folder);
    atomic_store(&log->full, false);
}

int keeper_prepare(struct seglog *log)
{
    uint64_t bytes;
    while ((bytes = missing(log)) > 0) {
        struct segment *s;
        int rc = segment_prepare(log, bytes, &s);
        if (rc == 0 && (rc = segments_add(log, s)) < 0) {
            char name[NAME_BYTES];
            segment_name(s, name);
            (void)log->files->unlink(log->folder, name);
            segment_free(log, s);
        }
        if (rc == E_AGAIN) return 0; /* the log is being closed */
        if (rc < 0) say_full(log, rc);
        if (rc < 0) return rc;
    }
    atomic_store(&log->wanted, 0);
    say_room(log);
    return 0;
}

/* Doors that were told E_AGAIN learn that there is room, or that there is none. */
static bool prepare(struct seglog *log)
{
    uint64_t before = log->segment_count;
    bool was_full = atomic_load(&log->full);
    bool ok = keeper_prepare(log) == 0;
    if (log->segment_count != before || was_full == ok) seglog_wake_waiting(log);
    return ok;
}

/* ---- checkpoints ---- */

int checkpoint_write(struct seglog *log, const struct checkpoint *c)
{
    uint8_t bytes[HEADER_BYTES];
    checkpoint_put(bytes, c);
    /* Two copies, over those of the checkpoint before the one in force: nothing is allocated, so a
     * full disk is no hindrance, and a torn write leaves the one in force as it is. */
    for (uint64_t slot = c->number % 2 * 2, i = 0; i < 2; i++) {
        int rc = file_write_bytes(log->files, log->checkpoint_fd, bytes_of(bytes, sizeof bytes),
                                  (slot + i) * CHECKPOINT_SLOT);
        if (rc < 0) return rc;
    }
    return log->files->datasync(log->checkpoint_fd) < 0 ? E_IO : 0;
}

/* With lazy durability the journals that the checkpoint stands on may not be on disk yet. */
static int sync_before(struct seglog *log, uint64_t end)
{
    if (log->options.durability == STORE_COMMIT) return 0;
    for (size_t i = 0; i < log->segment_count; i++) {
        struct segment *s = log->segments[i];
        if (s->end <= log->checkpoint.begin || s->base >= end) continue;
        if (atomic_load_explicit(&s->sealed, memory_order_acquire)) continue;
        atomic_fetch_add_explicit(&log->syncs, 1, memory_order_relaxed);
        if (log->files->datasync(s->fd) == 0) continue;
        seglog_fail(log, "syncing", s);
        return E_IO;
    }
    return 0;
}

static void set_reserve(struct seglog *log)
{
    uint64_t size = log->checkpoint.end - log->checkpoint.begin;
    uint64_t least = min_u64(RESERVE_MAX, log->segment_bytes / 8);
    uint64_t most = log->segment_bytes / 2;
    atomic_store(&log->reserve, min_u64(most, max_u64(least, size + size / 4)));
    uint64_t after = max_u64(CHECKPOINT_MIN, size * CHECKPOINT_TIMES);
    if (log->options.checkpoint_bytes) after = log->options.checkpoint_bytes;
    atomic_store(&log->due_after, after);
}

void checkpoint_in_force(struct seglog *log, const struct checkpoint *c)
{
    log->checkpoint = *c;
    set_reserve(log);
}

static void checkpoint(struct seglog *log)
{
    int asked = CHECKPOINT_ASKED; /* pairs with the store in door_checkpoint() */
    if (!atomic_compare_exchange_strong(&log->checkpointing, &asked, CHECKPOINT_WRITTEN)) return;
    struct checkpoint c = {.number = log->checkpoint.number + 1,
                           .begin = atomic_load(&log->checkpoint_begin),
                           .end = atomic_load(&log->checkpoint_end)};
    int rc = sync_before(log, c.end);
    if (rc == 0) rc = checkpoint_write(log, &c);
    if (rc < 0) {
        seglog_say(log, LOG_T_ERROR, "Error: the checkpoint in %s could not be written: %s.",
                   log->options.folder, strerror(errno));
        atomic_store(&log->due_from, c.end); /* not again at once */
    } else {
        checkpoint_in_force(log, &c);
        atomic_store(&log->due_from, c.begin);
        atomic_store(&log->freeable, c.begin);
    }
    asked = CHECKPOINT_WRITTEN; /* unless another one was asked for meanwhile */
    (void)atomic_compare_exchange_strong(&log->checkpointing, &asked, CHECKPOINT_NONE);
}

int door_checkpoint(struct store *st, uint64_t begin)
{
    struct seglog *log = CONTAINER_OF(st, struct door, base)->log;
    if (atomic_load(&log->failed)) return E_IO;
    atomic_store(&log->sparse, false);
    atomic_store(&log->checkpoint_begin, begin * FRAME_ALIGN);
    atomic_store(&log->checkpoint_end, atomic_load(&log->reserved));
    atomic_store(&log->checkpointing, CHECKPOINT_ASKED);
    keeper_kick(log);
    return 0;
}

bool door_checkpoint_due(const struct store *st)
{
    struct seglog *log = CONTAINER_OF(st, struct door, base)->log;
    if (atomic_load_explicit(&log->checkpointing, memory_order_relaxed)) return false;
    if (atomic_load_explicit(&log->sparse, memory_order_relaxed)) return true;
    uint64_t from = atomic_load_explicit(&log->due_from, memory_order_relaxed);
    uint64_t after = atomic_load_explicit(&log->due_after, memory_order_relaxed);
    return atomic_load_explicit(&log->reserved, memory_order_relaxed) > from + after;
}

/* ---- what is old ---- */

/* Counted by the doors in this run, or by recovery or the index. */
static uint64_t messages(const struct seglog *log, const struct segment *s)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < log->door_count; i++)
        n += atomic_load_explicit(&s->doors[i].appended, memory_order_relaxed);
    return max_u64(n, atomic_load_explicit(&s->old_records, memory_order_relaxed));
}

static bool is_old(struct seglog *log, const struct segment *s)
{
    return atomic_load_explicit(&s->sealed, memory_order_acquire) && /* pairs with the writer */
           s->end <= atomic_load(&log->freeable) && s->end <= atomic_load(&log->keep);
}

static bool is_sparse(struct seglog *log, const struct segment *s)
{
    uint64_t n = held(log, s); /* what nobody holds goes by itself */
    return is_old(log, s) && n > 0 && n < messages(log, s) / SPARSE_SHARE;
}

static void mark_sparse(struct seglog *log)
{
    uint64_t all = 0, sparse = 0, marks = 0;
    size_t count = 0;
    for (size_t i = 0; i < log->segment_count; i++) {
        const struct segment *s = log->segments[i];
        all += s->end - s->base;
        if (!is_sparse(log, s)) continue;
        sparse += s->end - s->base;
        count++;
    }
    if (count < SPARSE_COUNT || sparse <= all / 2) return;
    for (size_t i = 0, left = count / 2; i < log->segment_count && left > 0; i++) {
        struct segment *s = log->segments[i];
        if (!is_sparse(log, s)) continue;
        left--;
        if (!atomic_exchange(&s->vacate, true)) marks++;
    }
    if (marks) atomic_store(&log->sparse, true);
}

/* Whether nobody holds any of it, and that will still be so after a crash: why the last reference
 * was given (a retained message was replaced, a delivery acknowledged) is in the log, safely.  It
 * was appended before store_release(). */
static bool is_free(struct seglog *log, struct segment *s)
{
    if (!is_old(log, s) || held(log, s) > 0) {
        s->free_end = 0;
        return false;
    }
    if (s->free_end == 0) s->free_end = atomic_load(&log->reserved);
    return atomic_load(&log->durable) >= s->free_end;
}

/* Whether it is to be called again soon. */
static bool sweep(struct seglog *log)
{
    bool again = false;
    if (atomic_load(&log->freeable) == 0) return false; /* nobody holds before the first one */
    for (size_t i = log->segment_count; i-- > 0;) {
        if (is_free(log, log->segments[i]))
            segment_retire(log, i);
        else
            again |= log->segments[i]->free_end > 0;
    }
    segments_bury(log);
    mark_sparse(log);
    return again;
}

/* ---- the thread ---- */

static void wait(struct seglog *log, int64_t most_ms)
{
    sleeper_begin(&log->keeper_sleep);
    if (atomic_exchange(&log->kicked, false) || atomic_load(&log->stopping))
        sleeper_stay(&log->keeper_sleep); /* both pair with the store before sleeper_wake() */
    else
        sleeper_wait(&log->keeper_sleep, most_ms);
}

void *keeper_main(void *arg)
{
    struct seglog *log = arg;
    (void)pthread_setname_np(pthread_self(), "log-keeper"); /* for top and gdb only */
    while (!atomic_load(&log->stopping)) {
        bool ok = prepare(log);
        checkpoint(log);
        bool again = sweep(log);
        /* Lazily synced logs are not looked at so often. */
        bool soon = again && log->options.durability == STORE_COMMIT;
        wait(log, soon ? FREE_MS : !ok || again || log->gone_count > 0 ? RETRY_MS : -1);
    }
    checkpoint(log);
    return NULL;
}
