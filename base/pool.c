/* Chunks and free lists, see pool.h.  What is not out is poisoned, so that AddressSanitizer sees a
 * use of it as it does of freed memory; without it those macros are nothing. */
#include "base/pool.h"

#include <sanitizer/asan_interface.h>

#include "base/mem.h"

struct pool_chunk {
    struct pool_chunk *next;
    uint8_t data[];
};

static size_t rounded(size_t size)
{
    return (max_u64(size, 1) + POOL_STEP - 1) / POOL_STEP * POOL_STEP;
}

static void put_free(struct pool *p, void *object, size_t size)
{
    memcpy(object, &p->free[size / POOL_STEP], sizeof(void *));
    p->free[size / POOL_STEP] = object;
    ASAN_POISON_MEMORY_REGION(object, size);
}

static void *take_free(struct pool *p, size_t size)
{
    void *object = p->free[size / POOL_STEP];
    if (object == NULL) return NULL;
    ASAN_UNPOISON_MEMORY_REGION(object, size);
    memcpy(&p->free[size / POOL_STEP], object, sizeof(void *));
    return object;
}

/* What is left of the last chunk becomes a free object: it is shorter than one that was wanted. */
static bool chunk_add(struct pool *p)
{
    size_t size = max_u64(POOL_CHUNK_MIN, min_u64(p->chunk_bytes, POOL_CHUNK_MAX));
    struct pool_chunk *c = mem_alloc(size);
    if (c == NULL) return false;
    if (p->left) {
        ASAN_UNPOISON_MEMORY_REGION(p->at, p->left);
        put_free(p, p->at, p->left);
    }
    c->next = p->chunks;
    p->chunks = c;
    p->chunk_bytes += size;
    p->at = c->data;
    p->left = size - sizeof *c;
    ASAN_POISON_MEMORY_REGION(p->at, p->left);
    return true;
}

void *pool_alloc(struct pool *p, size_t size)
{
    if (size > POOL_OBJECT_MAX) return mem_alloc(size);
    if (mem_fails_now()) return NULL;
    size = rounded(size);
    void *object = take_free(p, size);
    if (object == NULL) {
        if (p->left < size && !chunk_add(p)) return NULL;
        object = p->at;
        p->at += size;
        p->left -= size;
        ASAN_UNPOISON_MEMORY_REGION(object, size);
    }
    p->count++;
    return object;
}

static void chunks_free(struct pool *p)
{
    for (struct pool_chunk *c = p->chunks, *next; c; c = next) {
        next = c->next;
        mem_free(c);
    }
    *p = (struct pool){0};
}

void pool_free(struct pool *p, void *object, size_t size)
{
    if (object == NULL) return;
    if (size > POOL_OBJECT_MAX) {
        mem_free(object);
        return;
    }
    ASSERT(p->count > 0);
    put_free(p, object, rounded(size));
    if (--p->count == 0) chunks_free(p);
}
