/* Refcounted bytes: one allocation, immutable once shared.  A blob belongs to one shard; its count
 * is not atomic.  Another shard gets a copy by mail. */
#ifndef BASE_BLOB_H
#define BASE_BLOB_H

#include "base/bytes.h"
#include "base/mem.h"

struct blob {
    uint32_t refs;
    uint32_t size;
    uint8_t data[];
};

/* A blob of size bytes, not yet filled, with one reference.  NULL without memory. */
MUST_USE static inline struct blob *blob_new(uint32_t size)
{
    struct blob *b = mem_alloc(sizeof *b + size);
    if (b) b->refs = 1, b->size = size;
    return b;
}

static inline struct blob *blob_ref(struct blob *b)
{
    b->refs++;
    return b;
}

static inline void blob_unref(struct blob *b)
{
    if (b && --b->refs == 0) mem_free(b);
}

#endif
