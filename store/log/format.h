/* The bytes of the log on disk, as docs/formats.md describes them: segment headers, frames and
 * checkpoints.  Pure: no file, no thread.
 *
 * A position is a byte in the space that all segments share; a sequence is a position divided by 8.
 *
 *   | header | frame prefix body pad | frame prefix body pad | ... | end frame | unused | header |
 *   base     base + SEGMENT_DATA                                                 end - SEGMENT_TAIL
 */
#ifndef STORE_LOG_FORMAT_H
#define STORE_LOG_FORMAT_H

#include "base/bytes.h"
#include "store/store.h"

enum {
    LOG_VERSION = 1,
    SEGMENT_UNIT = 4096, /* segments begin and end at multiples of this */
    SEGMENT_DATA = 4096, /* where records begin: no record shares a page with the header */
    SEGMENT_TAIL = 64,   /* the header once more */
    HEADER_BYTES = 64,
    FRAME_BYTES = 24,
    FRAME_ALIGN = 8,
    FRAME_END = 4, /* after the kinds of store.h: no more records in this segment */
    CHECKPOINT_SLOTS = 4,
    CHECKPOINT_SLOT = 4096, /* bytes from one to the next: no two lie in one page */
    NAME_BYTES = 24,        /* of a file's name, with its final 0 */
};

/* What the largest record takes. */
enum { RECORD_ROOM = FRAME_BYTES + STORE_PREFIX_MAX + STORE_RECORD_MAX };

enum { FRAME_CUT = 1 }; /* flag of an end frame: put there when a torn end was cut off */

struct segment_header {
    uint64_t base, bytes; /* position, and length of the file */
    uint32_t salt;        /* where the frames' checksums begin */
};

struct frame {
    uint64_t position;
    uint32_t body_bytes;
    uint32_t
        behind; /* the log was durable up to here minus this, in units of 8 bytes, or further */
    uint8_t kind, shard, prefix_bytes, flags;
};

struct checkpoint {
    uint64_t number;     /* counts from 1; 0: none */
    uint64_t begin, end; /* positions: recovery begins here; it had been written to there */
};

static inline uint64_t frame_room(uint64_t prefix_bytes, uint64_t body_bytes)
{
    return (FRAME_BYTES + prefix_bytes + body_bytes + FRAME_ALIGN - 1) &
           ~(uint64_t)(FRAME_ALIGN - 1);
}

static inline uint64_t frame_size(const struct frame *f)
{
    return frame_room(f->prefix_bytes, f->body_bytes);
}

/* The position up to which the frame proves that the log was durable when it was appended. */
static inline uint64_t frame_proves(const struct frame *f)
{
    uint64_t behind = (uint64_t)f->behind * FRAME_ALIGN;
    return f->position > behind ? f->position - behind : 0;
}

/* Writes the FRAME_BYTES in front of prefix and body; the padding is zero. */
void frame_put(uint8_t *out, const struct frame *f, uint32_t salt, struct bytes prefix,
               struct bytes body);

/* Reads the FRAME_BYTES at p.  False: they cannot be a frame of this position that ends before
 * `limit`.  That they are one is known when frame_intact() has said so. */
bool frame_get(struct frame *f, const uint8_t *p, uint64_t position, uint64_t limit);

/* Whether the checksum holds over the whole frame, frame_size() bytes at p. */
bool frame_intact(const struct frame *f, const uint8_t *p, uint32_t salt);

static inline struct bytes frame_prefix(const struct frame *f, const uint8_t *p)
{
    return bytes_of(p + FRAME_BYTES, f->prefix_bytes);
}

static inline struct bytes frame_body(const struct frame *f, const uint8_t *p)
{
    return bytes_of(p + FRAME_BYTES + f->prefix_bytes, f->body_bytes);
}

void header_put(uint8_t *out, const struct segment_header *h);
/* 0; E_MALFORMED: damaged; E_INVALID: whole, but of a later version. */
int header_get(struct segment_header *h, const uint8_t *p);

void checkpoint_put(uint8_t *out, const struct checkpoint *c); /* HEADER_BYTES */
/* As header_get(); E_NOTFOUND: all zero, never written. */
int checkpoint_get(struct checkpoint *c, const uint8_t *p);

/* File names: the first sequence in 16 hexadecimal digits, a dot, and what it is ("seg", "idx",
 * "spare"). */
void name_put(char out[NAME_BYTES], uint64_t base, const char *ending);
bool name_get(const char *name, const char *ending, uint64_t *base);

/* Little-endian, wherever they lie. */
static inline uint32_t le32_get(const uint8_t *p)
{
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}
static inline uint64_t le64_get(const uint8_t *p)
{
    return (uint64_t)le32_get(p + 4) << 32 | le32_get(p);
}
static inline void le32_put(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> 8 * i);
}
static inline void le64_put(uint8_t *p, uint64_t v)
{
    le32_put(p, (uint32_t)v);
    le32_put(p + 4, (uint32_t)(v >> 32));
}

#endif
