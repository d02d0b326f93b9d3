/* Walks through a segment.  A damaged frame does not end it: the next one is looked for where the
 * damaged one says that it ends, then at every place where one can begin.  A frame there must have
 * its own position as sequence and a checksum that begins with the segment's salt, so neither
 * leftovers of an earlier use of the file nor bytes that a client made up are taken for one. */
#include "store/log/walk.h"
#include "base/mem.h"

enum { CHUNK = 1 << 20 };

void walk_init(struct walk *w, const struct file_ops *files, int fd, uint32_t salt, uint64_t base,
               uint64_t position, uint64_t limit)
{
    *w = (struct walk){.files = files, .fd = fd, .salt = salt, .base = base};
    w->position = w->start = position;
    w->limit = limit;
}

void walk_fini(struct walk *w)
{
    mem_free(w->data);
    w->data = NULL;
}

/* Brings [position, position + n) into the buffer; the caller has looked at the limit. */
static int view(struct walk *w, uint64_t position, size_t n, const uint8_t **out)
{
    ASSERT(position + n <= w->limit);
    if (position < w->start || position + n > w->start + w->len) {
        size_t len = max_u64(n, min_u64(CHUNK, w->limit - position));
        if (w->room < len) {
            uint8_t *data = mem_alloc(len);
            if (data == NULL) return E_NOMEM;
            mem_free(w->data);
            w->data = data;
            w->room = len;
        }
        file_read(w->files, w->fd, w->data, len, position - w->base, &w->unreadable);
        w->start = position;
        w->len = len;
    }
    *out = w->data + (position - w->start);
    return 0;
}

/* 1: an intact frame at position, *p its bytes; 0: none; E_NOMEM.  *likely: its header may well be
 * one of this place. */
static int frame_at(struct walk *w, uint64_t position, struct frame *f, const uint8_t **p,
                    bool *likely)
{
    *likely = false;
    if (position + FRAME_BYTES > w->limit) return 0;
    int rc = view(w, position, FRAME_BYTES, p);
    if (rc < 0) return rc;
    if (!frame_get(f, *p, position, w->limit)) return 0;
    *likely = true;
    rc = view(w, position, frame_size(f), p);
    if (rc < 0) return rc;
    return frame_intact(f, *p, w->salt);
}

/* The first intact frame behind a damaged one at `position`; none: the limit. */
static int resync(struct walk *w, uint64_t position, const struct frame *damaged, uint64_t *next,
                  bool *alone)
{
    struct frame f;
    const uint8_t *p;
    bool likely;
    if (damaged) {
        *next = position + frame_size(damaged);
        int rc = frame_at(w, *next, &f, &p, &likely);
        *alone = rc > 0;
        if (rc != 0) return rc < 0 ? rc : 0;
    }
    for (uint64_t at = position + FRAME_ALIGN; at + FRAME_BYTES <= w->limit; at += FRAME_ALIGN) {
        int rc = view(w, at, FRAME_BYTES, &p);
        if (rc < 0) return rc;
        if (le64_get(p + 8) != at / FRAME_ALIGN) continue;
        rc = frame_at(w, at, &f, &p, &likely);
        if (rc < 0) return rc;
        *next = at;
        if (rc > 0) return 0;
    }
    *next = w->limit;
    return 0;
}

int walk_next(struct walk *w, struct walk_item *out)
{
    const uint8_t *p = NULL;
    bool likely;
    *out = (struct walk_item){.position = w->position, .kind = WALK_END};
    int rc = frame_at(w, w->position, &out->frame, &p, &likely);
    if (rc < 0) return rc;
    if (rc > 0) {
        out->kind = out->frame.kind == FRAME_END ? WALK_SEALED : WALK_RECORD;
        out->prefix = frame_prefix(&out->frame, p);
        out->body = frame_body(&out->frame, p);
        out->next = w->position + frame_size(&out->frame);
        if (out->kind == WALK_RECORD) w->position = out->next;
        return 0;
    }
    rc = resync(w, w->position, likely ? &out->frame : NULL, &out->next, &out->alone);
    if (rc < 0) return rc;
    if (out->next == w->limit) {
        out->alone = likely;
        return 0;
    }
    out->kind = WALK_HOLE;
    out->part = w->unreadable ? "the disk cannot read it" : out->alone ? "body" : "frame header";
    w->unreadable = false;
    w->position = out->next;
    return 0;
}
