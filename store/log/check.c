/* Verifies a folder without opening the log, for an operator: reads everything, changes nothing,
 * and says of each damaged part where it is.  One thread, its own. */
#include "store/log/log_int.h"
#include "store/log/walk.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

struct check {
    const struct file_ops *files;
    int folder;
    void (*line)(void *ctx, const char *text);
    void *ctx;
    struct checkpoint checkpoint;
    uint64_t damages, records;
    uint64_t last_used; /* base of the last segment with records in it */
    bool later_version;
};

/* Of one segment. */
struct tally {
    uint64_t records, messages, journals, copies, bytes, first, last;
    uint64_t damages;
};

static PRINTF_LIKE(2, 3) void say(struct check *c, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    c->line(c->ctx, text);
}

/* ---- one segment ---- */

static void damaged(struct check *c, struct tally *t, const char *name, uint64_t base,
                    uint64_t position, uint64_t bytes, const char *part)
{
    t->damages++;
    c->damages++;
    say(c, "%s: damaged: sequence %" PRIu64 ", byte %" PRIu64 ", %" PRIu64 " bytes: %s", name,
        position / FRAME_ALIGN, position - base, bytes, part);
}

/* Each copy of the header by itself: one of them is enough, and both should be whole. */
static int check_headers(struct check *c, int fd, const char *name, uint64_t base, uint64_t size,
                         struct segment_header *h)
{
    bool found = false;
    for (int copy = 0; copy < 2; copy++) {
        struct segment_header one;
        uint8_t p[HEADER_BYTES];
        bool bad = false;
        uint64_t at = copy && size >= SEGMENT_TAIL ? size - SEGMENT_TAIL : 0;
        file_read(c->files, fd, p, sizeof p, at, &bad);
        int rc = header_get(&one, p);
        if (rc == E_INVALID) {
            c->later_version = true;
            say(c, "%s: a format of a later version of this program", name);
            return rc;
        }
        if (rc == 0 && one.base == base && one.bytes >= SEGMENT_DATA + SEGMENT_TAIL) {
            *h = one;
            found = true;
            continue;
        }
        c->damages++;
        say(c, "%s: damaged: byte %" PRIu64 ": segment header%s", name, at,
            copy ? ", the copy at the end" : "");
    }
    if (!found) say(c, "%s: without a header nothing in it can be verified", name);
    return found ? 0 : E_MALFORMED;
}

static void count(struct tally *t, const struct walk_item *item)
{
    if (t->records++ == 0) t->first = item->position;
    t->last = item->position;
    t->bytes += item->next - item->position;
    t->messages += item->frame.kind == STORE_MESSAGE;
    t->journals += item->frame.kind == STORE_JOURNAL;
    t->copies += item->frame.kind == STORE_COPY;
}

static const char *ending(const struct check *c, uint64_t base, const struct tally *t,
                          const struct walk_item *end)
{
    if (end->kind == WALK_SEALED)
        return end->frame.flags & FRAME_CUT ? "ended by cutting off an unfinished write" : "ended";
    if (t->records == 0) return "blank";
    return base < c->last_used ? "without an end" : "open";
}

/* An open end is no damage in the last segment: that is what a crash leaves. */
static void check_end(struct check *c, struct tally *t, const char *name, uint64_t base,
                      const struct walk_item *end)
{
    if (end->kind == WALK_SEALED) return;
    if (base < c->last_used) {
        damaged(c, t, name, base, end->position, end->next - end->position,
                "the end of the segment");
    } else if (end->alone) {
        say(c, "%s: an unfinished write at sequence %" PRIu64 ", byte %" PRIu64, name,
            end->position / FRAME_ALIGN, end->position - base);
    }
}

static int check_frames(struct check *c, int fd, const char *name, const struct segment_header *h,
                        struct tally *t, bool quiet)
{
    struct walk w;
    struct walk_item item = {.kind = WALK_RECORD};
    uint64_t data = h->base + SEGMENT_DATA;
    int rc = 0;
    walk_init(&w, c->files, fd, h->salt, h->base, data, h->base + h->bytes - SEGMENT_TAIL);
    while (rc == 0 && item.kind != WALK_END && item.kind != WALK_SEALED) {
        rc = walk_next(&w, &item);
        if (rc < 0) break;
        if (item.kind == WALK_RECORD) count(t, &item);
        if (item.kind == WALK_HOLE && !quiet)
            damaged(c, t, name, h->base, item.position, item.next - item.position, item.part);
    }
    walk_fini(&w);
    if (rc == 0 && (t->records || item.kind == WALK_SEALED))
        c->last_used = max_u64(c->last_used, h->base);
    if (rc < 0 || quiet) return rc;
    check_end(c, t, name, h->base, &item);
    say(c,
        "%s: sequences %" PRIu64 " to %" PRIu64 ": %" PRIu64 " messages, %" PRIu64
        " journals, %" PRIu64 " copies, %" PRIu64 " of %" PRIu64 " bytes, %s",
        name, t->first / FRAME_ALIGN, t->last / FRAME_ALIGN, t->messages, t->journals, t->copies,
        t->bytes, h->bytes, ending(c, h->base, t, &item));
    return 0;
}

/* One that is missing is made again, and so is a damaged one: but that is worth knowing. */
static int check_index(struct check *c, uint64_t base)
{
    struct index x;
    char name[NAME_BYTES];
    int rc = index_read(c->files, c->folder, base, &x);
    name_put(name, base, "idx");
    if (rc == E_NOMEM) return rc;
    if (rc == 0) {
        say(c, "%s: %u messages of %u topics", name, x.described_count, x.topic_count);
        index_fini(&x);
    } else if (rc != E_NOTFOUND) {
        c->damages++;
        say(c, "%s: damaged: index (it is made again)", name);
    }
    return 0;
}

static int check_segment(struct check *c, uint64_t base)
{
    struct segment_header h;
    struct tally t = {0};
    char name[NAME_BYTES];
    uint64_t size = 0;
    name_put(name, base, "seg");
    int fd = c->files->open(c->folder, name, O_RDONLY);
    if (fd < 0) return E_IO;
    int rc = c->files->size(fd, &size) < 0 ? E_IO : 0;
    if (rc == 0) rc = check_headers(c, fd, name, base, size, &h);
    if (rc == 0 && size != h.bytes) {
        c->damages++;
        say(c, "%s: damaged: it has %" PRIu64 " bytes and should have %" PRIu64, name, size,
            h.bytes);
    }
    if (rc == 0) rc = check_frames(c, fd, name, &h, &t, false);
    c->records += t.records;
    (void)c->files->close(fd);
    if (rc == E_MALFORMED) rc = 0; /* counted */
    return rc == 0 ? check_index(c, base) : rc;
}

/* ---- the folder ---- */

static int check_checkpoint(struct check *c)
{
    unsigned bad;
    int fd = c->files->open(c->folder, "checkpoint", O_RDONLY);
    if (fd < 0) {
        c->damages++;
        say(c, "checkpoint: missing: recovery reads everything that is there");
        return 0;
    }
    int rc = checkpoint_read(c->files, fd, &c->checkpoint, &bad);
    (void)c->files->close(fd);
    c->later_version |= rc == E_INVALID;
    if (rc == E_INVALID) say(c, "checkpoint: a format of a later version of this program");
    if (rc < 0) return rc;
    c->damages += bad;
    if (bad) say(c, "checkpoint: damaged: %u of %d copies", bad, CHECKPOINT_SLOTS);
    if (c->checkpoint.number == 0)
        say(c, "checkpoint: none yet, recovery reads everything");
    else
        say(c, "checkpoint %" PRIu64 ": recovery begins at sequence %" PRIu64, c->checkpoint.number,
            c->checkpoint.begin / FRAME_ALIGN);
    return 0;
}

/* Whether a segment may end open depends on those behind it: the last one with records is looked
 * for from the back. */
static int find_last_used(struct check *c, const uint64_t *bases, size_t n)
{
    int rc = 0;
    for (size_t i = n; i-- > 0 && rc == 0 && c->last_used == 0;) {
        struct segment_header h;
        struct tally t = {0};
        char name[NAME_BYTES];
        uint64_t size = 0;
        bool copy;
        name_put(name, bases[i], "seg");
        int fd = c->files->open(c->folder, name, O_RDONLY);
        if (fd < 0 || c->files->size(fd, &size) < 0) rc = E_IO;
        if (rc == 0 && segment_header(c->files, fd, bases[i], size, &h, &copy) == 0)
            rc = check_frames(c, fd, name, &h, &t, true);
        if (fd >= 0) (void)c->files->close(fd);
    }
    return rc;
}

static int check_folder(struct check *c)
{
    uint64_t *bases, *spares;
    size_t count_segments, count_spares;
    int rc = folder_bases(c->files, c->folder, "seg", &bases, &count_segments);
    if (rc < 0) return rc;
    rc = folder_bases(c->files, c->folder, "spare", &spares, &count_spares);
    mem_free(spares);
    if (rc == 0 && count_segments == 0) rc = E_NOTFOUND;
    if (rc == 0)
        say(c, "format %d, %zu segments, %zu spare", LOG_VERSION, count_segments, count_spares);
    if (rc == 0) rc = check_checkpoint(c);
    if (rc == 0) rc = find_last_used(c, bases, count_segments);
    for (size_t i = 0; rc == 0 && i < count_segments; i++) rc = check_segment(c, bases[i]);
    if (rc == 0) say(c, "%" PRIu64 " records, %" PRIu64 " damages", c->records, c->damages);
    mem_free(bases);
    return rc;
}

int store_log_check(const char *folder, void (*line)(void *ctx, const char *text), void *ctx)
{
    struct check c = {.files = &file_ops_real, .line = line, .ctx = ctx};
    c.folder = c.files->open(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY);
    if (c.folder < 0) return errno == ENOENT || errno == ENOTDIR ? E_NOTFOUND : E_IO;
    int rc = check_folder(&c);
    int why = errno;
    (void)c.files->close(c.folder);
    errno = why;
    if (rc < 0) return c.later_version ? E_INVALID : rc;
    return c.damages ? E_MALFORMED : 0;
}
