/* Seeded random numbers (splitmix64, Steele et al. 2014): chance is an argument, so that every run
 * can be repeated from its seed.  Not for secrets. */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include "base/base.h"

struct rng {
    uint64_t state;
};

static inline uint64_t rng_next(struct rng *r)
{
    uint64_t z = (r->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* 0 <= result < limit; limit > 0. */
static inline uint64_t rng_below(struct rng *r, uint64_t limit) { return rng_next(r) % limit; }

#endif
