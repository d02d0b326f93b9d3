/* Open-addressing set of pointers, 8 bytes a slot: 16 bits of the hash beside a 48-bit pointer, so
 * that a probe that does not match touches no element.  For the tables with millions of entries or
 * on the per-message path (uthash's 56-byte handle alone would be a quarter of the 200 bytes a
 * subscription may cost); everything else uses uthash. */
#ifndef BASE_PTRMAP_H
#define BASE_PTRMAP_H

#include "base/base.h"

struct ptrmap {
    uint64_t *slots; /* 0 = empty; else hash's top 16 bits << 48 | pointer */
    size_t mask;     /* slot count - 1; slots is NULL when nothing was ever put */
    size_t count;
    uint64_t (*hash_of)(const void *elem, uint64_t seed);
    uint64_t seed;
};

void ptrmap_init(struct ptrmap *m, uint64_t (*hash_of)(const void *, uint64_t seed), uint64_t seed);
void ptrmap_fini(struct ptrmap *m); /* frees the slots, not the elements */

/* elem must not be in the map already.  E_NOMEM: nothing has changed. */
MUST_USE int ptrmap_put(struct ptrmap *m, void *elem, uint64_t hash);
/* elem must be in the map. */
void ptrmap_del(struct ptrmap *m, const void *elem, uint64_t hash);

static inline void ptrmap_prefetch(const struct ptrmap *m, uint64_t hash)
{
    if (m->slots) __builtin_prefetch(&m->slots[hash & m->mask]);
}

/* Next element whose 16 tag bits match, from *pos on; start with *pos = hash.  NULL at the end.
 * The caller compares the key:
 *   for (size_t pos = h; (e = ptrmap_next(m, h, &pos)) != NULL;) if (same(e, key)) ... */
static inline void *ptrmap_next(const struct ptrmap *m, uint64_t hash, size_t *pos)
{
    if (UNLIKELY(m->slots == NULL)) return NULL;
    for (;;) {
        uint64_t s = m->slots[(*pos)++ & m->mask];
        if (s == 0) return NULL;
        if ((s ^ hash) >> 48 == 0) return (void *)(uintptr_t)(s & 0xffffffffffffu);
    }
}

#endif
