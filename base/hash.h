/* Keyed hash of short strings (XXH3).  The seed is chosen at start, so that nobody outside can
 * choose names that collide. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/bytes.h"
#define XXH_INLINE_ALL
#include <xxhash.h>

static inline uint64_t hash_bytes(struct bytes b, uint64_t seed)
{
    return XXH3_64bits_withSeed(b.p, b.n, seed);
}

static inline uint64_t hash_u64(uint64_t v, uint64_t seed)
{
    v = (v ^ seed) * 0x9e3779b97f4a7c15u;
    v ^= v >> 32;
    v *= 0xd6e8feb86659fd93u;
    return v ^ (v >> 32);
}

#endif
