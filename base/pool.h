/* Memory for millions of small objects that live long, without the allocator's 8 bytes before each
 * and its rounding to 16: whoever gives one back says how long it was.
 *
 *   chunks  [ a | b | (free) | c | ... at -> left ]   and a list of free ones for each length
 *
 * What was given back is used again for the same length; when nothing is out any more the chunks go
 * too, and not before.  Large objects are the allocator's.  One thread. */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include "base/base.h"

enum {
    POOL_STEP = 8,         /* lengths are rounded up to it, and objects aligned */
    POOL_OBJECT_MAX = 256, /* bytes; longer ones are the allocator's */
    POOL_CHUNK_MIN = 4096, /* the first; each is twice as large as the one before, up to */
    POOL_CHUNK_MAX = 65536,
};

struct pool {
    struct pool_chunk *chunks; /* the last one first */
    uint8_t *at;               /* of the last one, what was never given out: */
    size_t left;
    void *free[POOL_OBJECT_MAX / POOL_STEP + 1]; /* by length / POOL_STEP */
    size_t count;                                /* objects that are out */
    size_t chunk_bytes;
};

/* A pool of zeros is empty.  NULL without memory. */
MUST_USE void *pool_alloc(struct pool *p, size_t size);
/* Of the size that was asked for.  NULL is harmless. */
void pool_free(struct pool *p, void *object, size_t size);

#endif
