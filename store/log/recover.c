/* Finds the end of the log when it is opened.  What lies behind the checkpoint is read and
 * verified; damage before the end is reported and left out, and the end is cut clean.
 *
 * In the last segment a gap may be damage, or a write that a power failure overtook: then what
 * comes after it was never called safe and must not be seen.  A gap is damage when nothing can have
 * been lost (the kernel that wrote it still runs), or when a later frame says that the log was
 * durable beyond it.  Otherwise it is the end. */
#include "store/log/log_int.h"
#include "store/log/walk.h"

#include <errno.h>

struct gap {
    struct hole hole;
    const char *part;
    uint64_t records, bytes; /* of the report before it */
};

struct recovery {
    struct seglog *log;
    struct store_log_report *report;
    bool same_boot;
    struct segment *last; /* with anything in it; the gaps are those in it */
    struct gap *gaps;
    size_t gap_count, gap_room;
    uint64_t end;    /* position behind its last frame */
    uint64_t torn;   /* bytes that the torn frame there would have */
    uint64_t proven; /* durable up to here, say its frames */
    bool sealed;     /* an end frame is at `end` */
    size_t holes_room;
};

/* Each confirmed gap: remembered, so that scans do not report it again. */
static int report_gap(struct recovery *r, const struct gap *g)
{
    struct seglog *log = r->log;
    if (log->hole_count == r->holes_room) {
        size_t room = r->holes_room ? r->holes_room * 2 : 16;
        struct hole *p = mem_realloc(log->holes, room * sizeof *p);
        if (p == NULL) return E_NOMEM;
        log->holes = p;
        r->holes_room = room;
    }
    log->holes[log->hole_count++] = g->hole;
    seglog_lost(log, r->last, g->hole.at, g->part);
    return 0;
}

static int add_gap(struct recovery *r, const struct walk_item *item)
{
    if (r->gap_count == r->gap_room) {
        size_t room = r->gap_room ? r->gap_room * 2 : 16;
        struct gap *p = mem_realloc(r->gaps, room * sizeof *p);
        if (p == NULL) return E_NOMEM;
        r->gaps = p;
        r->gap_room = room;
    }
    r->gaps[r->gap_count++] = (struct gap){.hole = {item->position, item->next},
                                           .part = item->part,
                                           .records = r->report->records,
                                           .bytes = r->report->bytes};
    return 0;
}

/* A later segment has records: this one was complete and durable before, so what lacks is damage.
 */
static int close_last(struct recovery *r)
{
    int rc = 0;
    if (r->last == NULL) return 0;
    for (size_t i = 0; rc == 0 && i < r->gap_count; i++) rc = report_gap(r, &r->gaps[i]);
    if (rc == 0 && !r->sealed) {
        struct gap g = {.hole = {r->end, r->last->end}, .part = "the end of the segment"};
        rc = report_gap(r, &g);
    }
    atomic_store(&r->last->end_at, r->end);
    r->gap_count = 0;
    r->last = NULL;
    return rc;
}

static int enter(struct recovery *r, struct segment *s)
{
    if (r->last == s) return 0;
    int rc = close_last(r);
    r->last = s;
    r->sealed = false;
    r->end = segment_data(s);
    r->proven = r->torn = 0;
    return rc;
}

static int take_item(struct recovery *r, struct segment *s, const struct walk_item *item)
{
    bool frame = item->kind == WALK_RECORD || item->kind == WALK_SEALED;
    int rc = 0;
    if (item->kind != WALK_END) rc = enter(r, s); /* a gap is followed by a frame */
    if (rc < 0) return rc;
    if (frame) r->proven = max_u64(r->proven, frame_proves(&item->frame));
    if (item->kind == WALK_HOLE) return add_gap(r, item);
    if (r->last != s) return 0; /* a blank segment */
    if (item->kind == WALK_RECORD) {
        r->end = item->next;
        if (item->frame.kind != STORE_JOURNAL) atomic_fetch_add(&s->old_records, 1);
        if (item->frame.kind == STORE_COPY) return 0;
        r->report->records++;
        r->report->bytes += item->next - item->position;
    }
    if (item->kind == WALK_SEALED) {
        r->sealed = true;
        r->end = item->position;
    }
    if (item->kind == WALK_END && item->alone) r->torn = frame_size(&item->frame);
    return 0;
}

static int read_segment(struct recovery *r, struct segment *s)
{
    struct walk w;
    struct walk_item item = {.kind = WALK_RECORD};
    uint64_t from = max_u64(r->log->scan_begin, segment_data(s));
    if (from > segment_limit(s)) return 0;
    walk_init(&w, r->log->files, s->fd, s->salt, s->base, from, segment_limit(s));
    int rc = 0;
    while (rc == 0 && item.kind != WALK_END && item.kind != WALK_SEALED) {
        rc = walk_next(&w, &item);
        if (rc == 0) rc = take_item(r, s, &item);
    }
    if (rc == 0 && from > segment_data(s)) { /* the checkpoint began in it: it is not blank */
        rc = enter(r, s);
        r->end = max_u64(r->end, from);
    }
    walk_fini(&w);
    return rc;
}

static int unreadable(struct recovery *r, struct segment *s)
{
    int rc = close_last(r);
    r->last = s;
    r->sealed = true;
    r->end = s->base;
    if (rc < 0) return rc;
    struct gap g = {.hole = {s->base, s->end}, .part = "segment header: with all that is in it"};
    return report_gap(r, &g);
}

static int read_all(struct recovery *r)
{
    struct seglog *log = r->log;
    for (size_t i = 0; i < log->segment_count; i++) {
        struct segment *s = log->segments[i];
        if (s->end <= log->scan_begin) continue;
        r->report->segments++;
        int rc = s->readable ? read_segment(r, s) : unreadable(r, s);
        if (rc < 0) return rc;
    }
    return 0;
}

/* ---- the end ---- */

static int zero(struct seglog *log, struct segment *s, uint64_t from, uint64_t to)
{
    static const uint8_t zeros[64 << 10];
    int rc = 0;
    while (rc == 0 && from < to) {
        uint64_t n = min_u64(sizeof zeros, to - from);
        rc = file_write_bytes(log->files, s->fd, bytes_of(zeros, n), from - s->base);
        from += n;
    }
    return rc;
}

/* What is behind `cut` can never be read again: its frames are overwritten. */
static int cut_at(struct recovery *r, uint64_t cut)
{
    struct seglog *log = r->log;
    struct segment *s = r->last;
    struct frame f = {.position = cut, .kind = FRAME_END, .flags = FRAME_CUT};
    uint8_t bytes[FRAME_BYTES];
    frame_put(bytes, &f, s->salt, (struct bytes){0}, (struct bytes){0});
    /* The end frame says that all before it is durable. */
    if (log->files->datasync(s->fd) < 0) return E_IO;
    int rc = file_write_bytes(log->files, s->fd, bytes_of(bytes, sizeof bytes), cut - s->base);
    uint64_t to = min_u64(r->end + FRAME_BYTES, segment_limit(s));
    if (rc == 0) rc = zero(log, s, cut + FRAME_BYTES, to);
    if (rc == 0 && log->files->datasync(s->fd) < 0) rc = E_IO;
    return rc;
}

static void say_cut(struct recovery *r, uint64_t cut)
{
    char name[NAME_BYTES];
    if (r->report->torn_bytes == 0) return;
    segment_name(r->last, name);
    seglog_say(r->log, LOG_T_WARNING,
               "Warning: the log in %s ended in the middle of a write: %llu bytes that were not "
               "reported safe were cut off at sequence %llu (%s at byte %llu).",
               r->log->options.folder, (unsigned long long)r->report->torn_bytes,
               (unsigned long long)(cut / FRAME_ALIGN), name,
               (unsigned long long)(cut - r->last->base));
}

static int find_end(struct recovery *r)
{
    uint64_t cut = r->end;
    int rc = 0;
    if (r->last == NULL || !r->last->readable) return 0;
    r->report->torn_bytes = r->sealed ? 0 : r->torn;
    for (size_t i = 0; rc == 0 && i < r->gap_count; i++) {
        struct gap *g = &r->gaps[i];
        if (r->same_boot || r->proven > g->hole.at) {
            rc = report_gap(r, g);
            continue;
        }
        cut = g->hole.at;
        r->report->records = g->records;
        r->report->bytes = g->bytes;
        r->report->torn_bytes = r->end - cut;
        r->sealed = false;
        break;
    }
    if (rc < 0) return rc;
    say_cut(r, cut);
    atomic_store(&r->last->end_at, cut);
    if (r->sealed) return r->log->files->datasync(r->last->fd) < 0 ? E_IO : 0;
    return cut_at(r, cut);
}

/* Everything up to the last segment with anything in it is sealed; appends begin in the next. */
static void seal(struct recovery *r)
{
    struct seglog *log = r->log;
    uint64_t end = max_u64(log->scan_begin, r->last ? r->last->end : 0);
    for (size_t i = 0; i < log->segment_count; i++) {
        struct segment *s = log->segments[i];
        if (s->base < end) atomic_store(&s->sealed, true);
    }
    log->scan_end = end;
}

/* Blank segments that cannot be written to in order are of no use. */
static void retire_useless(struct seglog *log)
{
    for (size_t i = log->segment_count; i-- > 0;) {
        const struct segment *s = log->segments[i];
        if (atomic_load(&s->sealed)) break;
        bool follows = i == 0 || log->segments[i - 1]->end == s->base;
        bool behind = i + 1 == log->segment_count || log->segments[i + 1]->base == s->end;
        if (!follows || !behind || !s->readable) segment_retire(log, i);
    }
}

int seglog_recover(struct seglog *log, bool same_boot, struct store_log_report *report)
{
    struct recovery r = {.log = log, .report = report, .same_boot = same_boot};
    *report = (struct store_log_report){0};
    log->scan_begin = log->checkpoint.begin;
    int rc = read_all(&r);
    if (rc == 0) rc = find_end(&r);
    if (rc == 0) {
        seal(&r);
        retire_useless(log);
        report->lost_records = atomic_load(&log->lost);
    } else if (rc == E_IO) {
        seglog_say(log, LOG_T_ERROR, "Error: the end of the log in %s cannot be written: %s.",
                   log->options.folder, strerror(errno));
    }
    mem_free(r.gaps);
    return rc;
}
