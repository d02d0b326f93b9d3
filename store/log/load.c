/* What a folder holds when the log is opened: the segments by their names and headers, spare ones,
 * and the checkpoint.  Runs on the opening thread, before there are others. */
#include "store/log/log_int.h"

#include <errno.h>
#include <fcntl.h>

struct listing {
    const char *ending;
    uint64_t *bases;
    size_t count, room;
    int rc;
};

static void list_entry(void *ctx, const char *name)
{
    struct listing *l = ctx;
    uint64_t base;
    if (!name_get(name, l->ending, &base)) return; /* other files are not ours */
    if (l->count == l->room) {
        size_t room = l->room ? l->room * 2 : 16;
        uint64_t *bases = mem_realloc(l->bases, room * sizeof *bases);
        if (bases == NULL) {
            l->rc = E_NOMEM;
            return;
        }
        l->bases = bases;
        l->room = room;
    }
    l->bases[l->count++] = base;
}

static int by_base(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y;
}

int folder_bases(const struct file_ops *files, int folder, const char *ending, uint64_t **bases,
                 size_t *count)
{
    struct listing l = {.ending = ending};
    int rc = files->list(folder, list_entry, &l) < 0 ? E_IO : l.rc;
    if (rc == 0 && l.count) qsort(l.bases, l.count, sizeof *l.bases, by_base);
    if (rc < 0) mem_free(l.bases);
    *bases = rc < 0 ? NULL : l.bases;
    *count = l.count;
    return rc;
}

int segment_header(const struct file_ops *files, int fd, uint64_t base, uint64_t bytes,
                   struct segment_header *out, bool *copy_used)
{
    uint8_t p[HEADER_BYTES];
    bool bad = false;
    for (int copy = 0; copy < 2; copy++) {
        if (bytes < SEGMENT_TAIL) break;
        file_read(files, fd, p, sizeof p, copy ? bytes - SEGMENT_TAIL : 0, &bad);
        int rc = header_get(out, p);
        if (rc == 0 && (out->base != base || out->bytes < SEGMENT_DATA + SEGMENT_TAIL))
            rc = E_MALFORMED;
        if (rc == 0 || rc == E_INVALID) {
            *copy_used = copy == 1;
            return rc;
        }
    }
    return E_MALFORMED;
}

static int load_segment(struct seglog *log, uint64_t base, struct segment **out)
{
    struct segment *s;
    struct segment_header h;
    char name[NAME_BYTES];
    uint64_t bytes = 0;
    bool copy_used = false;
    int rc = segment_new(log, &s, base, SEGMENT_UNIT);
    if (rc < 0) return rc;
    *out = s;
    segment_name(s, name);
    s->fd = log->files->open(log->folder, name, O_RDWR);
    if (s->fd < 0 || log->files->size(s->fd, &bytes) < 0) {
        seglog_say(log, LOG_T_ERROR, "Error: %s/%s cannot be opened: %s.", log->options.folder,
                   name, strerror(errno));
        return E_IO;
    }
    rc = segment_header(log->files, s->fd, base, bytes, &h, &copy_used);
    s->readable = rc == 0;
    if (rc == 0) {
        s->salt = h.salt;
        s->end = base + h.bytes;
    } else {
        s->end = base + max_u64(SEGMENT_UNIT, bytes);
    }
    if (rc == 0 && copy_used)
        seglog_say(log, LOG_T_WARNING, "Warning: the header of %s/%s is damaged; its copy is used.",
                   log->options.folder, name);
    if (rc == E_INVALID)
        seglog_say(log, LOG_T_ERROR,
                   "Error: %s/%s has a format of a later version of this program.",
                   log->options.folder, name);
    return rc == E_INVALID ? rc : 0;
}

static int load_segments(struct seglog *log)
{
    uint64_t *bases;
    size_t count;
    int rc = folder_bases(log->files, log->folder, "seg", &bases, &count);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        struct segment *s = NULL;
        rc = load_segment(log, bases[i], &s);
        /* Where a length cannot be trusted, the next one's beginning can. */
        if (rc == 0 && i + 1 < count) s->end = min_u64(s->end, bases[i + 1]);
        if (rc == 0) log->first_base = max_u64(log->first_base, s->end);
        if (rc == 0) rc = segments_add(log, s);
        if (rc < 0) segment_free(log, s);
    }
    mem_free(bases);
    return rc;
}

static bool spare_is_useful(struct seglog *log, const char *name)
{
    uint64_t bytes = 0;
    int fd = log->files->open(log->folder, name, O_RDWR);
    if (fd < 0) return false;
    if (log->files->size(fd, &bytes) < 0) bytes = 0;
    (void)log->files->close(fd);
    return bytes == log->segment_bytes;
}

static int load_spares(struct seglog *log)
{
    uint64_t *bases;
    size_t count;
    int rc = folder_bases(log->files, log->folder, "spare", &bases, &count);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        char name[NAME_BYTES];
        name_put(name, bases[i], "spare");
        log->first_base = max_u64(log->first_base, bases[i] + SEGMENT_UNIT);
        if (log->spare_count < SPARES_MAX && spare_is_useful(log, name))
            log->spares[log->spare_count++] = bases[i];
        else
            (void)log->files->unlink(log->folder, name);
    }
    mem_free(bases);
    return rc;
}

/* ---- the checkpoint ---- */

int checkpoint_read(const struct file_ops *files, int fd, struct checkpoint *out, unsigned *damaged)
{
    *out = (struct checkpoint){0};
    *damaged = 0;
    for (uint64_t slot = 0; slot < CHECKPOINT_SLOTS; slot++) {
        struct checkpoint c = {0};
        uint8_t p[HEADER_BYTES];
        bool bad = false;
        file_read(files, fd, p, sizeof p, slot * CHECKPOINT_SLOT, &bad);
        int rc = checkpoint_get(&c, p);
        if (rc == E_INVALID) return rc;
        if (rc == E_MALFORMED || bad) ++*damaged;
        if (rc == 0 && c.number > out->number) *out = c;
    }
    return 0;
}

/* Made in full at first, so that a checkpoint allocates nothing later. */
static int make_checkpoint(struct seglog *log, int fd)
{
    static const uint8_t zeros[CHECKPOINT_SLOTS * CHECKPOINT_SLOT];
    int rc = file_write_bytes(log->files, fd, bytes_of(zeros, sizeof zeros), 0);
    if (rc == 0 && log->files->sync(fd) < 0) rc = E_IO;
    if (rc == 0 && log->files->sync(log->folder) < 0) rc = E_IO;
    return rc;
}

static int load_checkpoint(struct seglog *log)
{
    const char *folder = log->options.folder;
    uint64_t bytes = 0;
    unsigned damaged;
    log->checkpoint_fd = log->files->open(log->folder, "checkpoint", O_RDWR | O_CREAT);
    if (log->checkpoint_fd < 0 || log->files->size(log->checkpoint_fd, &bytes) < 0) return E_IO;
    int rc = checkpoint_read(log->files, log->checkpoint_fd, &log->checkpoint, &damaged);
    if (rc == E_INVALID) {
        seglog_say(log, LOG_T_ERROR,
                   "Error: %s/checkpoint has a format of a later version of this program.", folder);
        return rc;
    }
    if (damaged && log->checkpoint.number)
        seglog_say(
            log, LOG_T_WARNING,
            "Warning: %u of the copies in %s/checkpoint are damaged; checkpoint %llu is used.",
            damaged, folder, (unsigned long long)log->checkpoint.number);
    bool lacking = bytes < CHECKPOINT_SLOTS * CHECKPOINT_SLOT;
    if (log->segment_count && log->checkpoint.number == 0 && (damaged || lacking))
        seglog_say(log, LOG_T_ERROR,
                   "Error: %s/checkpoint is lost: everything in the log is read again.", folder);
    return lacking && log->checkpoint.number == 0 ? make_checkpoint(log, log->checkpoint_fd) : 0;
}

/* An index whose segment has gone, for instance between the two removals, is of no use. */
static int drop_orphans(struct seglog *log)
{
    uint64_t *bases;
    size_t count;
    char name[NAME_BYTES];
    int rc = folder_bases(log->files, log->folder, "idx", &bases, &count);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        struct segment *s = segments_find(log, bases[i]);
        if (s && s->base == bases[i]) continue;
        name_put(name, bases[i], "idx");
        (void)log->files->unlink(log->folder, name);
    }
    mem_free(bases);
    return rc;
}

/* Nothing is changed before everything is known to be of a version that we understand. */
int seglog_load(struct seglog *log)
{
    log->first_base = SEGMENT_UNIT; /* sequences begin above 0 */
    int rc = load_segments(log);
    if (rc == 0) rc = load_checkpoint(log);
    if (rc == 0) rc = load_spares(log);
    if (rc == 0) rc = drop_orphans(log);
    if (rc < 0) return rc;
    (void)log->files->unlink(log->folder, "new.tmp"); /* when preparing was interrupted */
    uint64_t known = max_u64(log->checkpoint.begin, log->checkpoint.end);
    log->first_base = max_u64(log->first_base, known);
    log->first_base = (log->first_base + SEGMENT_UNIT - 1) / SEGMENT_UNIT * SEGMENT_UNIT;
    return 0;
}
