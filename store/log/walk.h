/* Reads one segment from front to back: its records, where it is damaged, and where it ends.  One
 * thread; owns a buffer, borrows the file. */
#ifndef STORE_LOG_WALK_H
#define STORE_LOG_WALK_H

#include "store/log/file.h"
#include "store/log/format.h"

enum walk_kind {
    WALK_RECORD, /* frame, prefix, body */
    WALK_HOLE,   /* [position, next) is damaged, and at `next` is a frame again */
    WALK_SEALED, /* the end frame, at position */
    WALK_END,    /* no frame from position on */
};

struct walk_item {
    enum walk_kind kind;
    uint64_t position, next;
    const char *part; /* of a hole: what is damaged */
    bool alone;       /* of a hole: exactly one record; of an end: the header of a torn one */
    struct frame frame;
    struct bytes prefix, body; /* valid until the next call */
};

struct walk {
    const struct file_ops *files;
    int fd;
    uint32_t salt;
    uint64_t base, position, limit; /* of the file; where it is; where records must end */
    uint8_t *data;
    uint64_t start; /* position of data[0] */
    size_t len, room;
    bool unreadable; /* the disk failed to give a page, which was taken for zeros */
};

/* From `position` on, in the segment whose file `fd` begins at `base` and whose records end before
 * `limit`. */
void walk_init(struct walk *w, const struct file_ops *files, int fd, uint32_t salt, uint64_t base,
               uint64_t position, uint64_t limit);
void walk_fini(struct walk *w);
/* 0, E_NOMEM. */
MUST_USE int walk_next(struct walk *w, struct walk_item *out);

#endif
