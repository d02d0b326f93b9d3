/* Scanning: each door reads the log on its own thread, from the checkpoint to the end that opening
 * found, with a buffer of its own. */
#include "store/log/log_int.h"
#include "store/log/walk.h"

struct log_scan {
    struct store_scan base;
    struct seglog *log;
    struct walk walk;
    struct places places; /* a copy of the list, as the keeper adds to it meanwhile */
    size_t index;         /* of the segment that is walked */
    uint64_t end;         /* where the log ended when it was opened */
    bool open;            /* walk is in a segment */
};

/* Goes to the next segment that has records in it.  False: there is none. */
static bool enter(struct log_scan *s)
{
    struct seglog *log = s->log;
    for (; s->index < s->places.count; s->index++) {
        struct segment *g = s->places.items[s->index].segment;
        if (g->base >= s->end) return false;
        if (!g->readable || g->end <= log->scan_begin) continue;
        uint64_t limit = min_u64(segment_limit(g), atomic_load(&g->end_at));
        uint64_t from = max_u64(log->scan_begin, segment_data(g));
        if (from >= limit) continue;
        walk_init(&s->walk, log->files, g->fd, g->salt, g->base, from, limit);
        return s->open = true;
    }
    return false;
}

static void leave(struct log_scan *s)
{
    walk_fini(&s->walk);
    s->open = false;
    s->index++;
}

/* Damage that opening did not see is new. */
static void damaged(struct log_scan *s, const struct walk_item *item)
{
    const char *part = item->part ? item->part : "frame header";
    if (!seglog_knows_hole(s->log, item->position))
        seglog_lost(s->log, s->places.items[s->index].segment, item->position, part);
}

static int scan_next(struct store_scan *scan, struct store_record *out)
{
    struct log_scan *s = CONTAINER_OF(scan, struct log_scan, base);
    while (s->open || enter(s)) {
        struct walk_item item;
        int rc = walk_next(&s->walk, &item);
        if (rc < 0) return rc;
        bool short_end = item.kind == WALK_END && item.position < s->walk.limit;
        if (item.kind == WALK_HOLE || short_end) damaged(s, &item);
        if (item.kind == WALK_END || item.kind == WALK_SEALED) leave(s);
        if (item.kind != WALK_RECORD || item.frame.kind == STORE_COPY) continue;
        *out = (struct store_record){.seq = item.position / FRAME_ALIGN,
                                     .kind = item.frame.kind,
                                     .shard = item.frame.shard,
                                     .prefix = item.prefix,
                                     .body = item.body};
        return 0;
    }
    return E_NOTFOUND;
}

static void scan_close(struct store_scan *scan)
{
    struct log_scan *s = CONTAINER_OF(scan, struct log_scan, base);
    if (s->open) walk_fini(&s->walk);
    places_fini(&s->places);
    mem_free(s);
}

int door_scan_open(struct store *st, struct store_scan **out)
{
    struct log_scan *s = mem_calloc(1, sizeof *s);
    if (s == NULL) return E_NOMEM;
    s->log = CONTAINER_OF(st, struct door, base)->log;
    s->base = (struct store_scan){.next = scan_next, .close = scan_close};
    s->end = s->log->scan_end;
    int rc = places_renew(s->log, &s->places);
    if (rc == 0)
        *out = &s->base;
    else
        mem_free(s);
    return rc;
}
