/* Packet identifiers in a small hash table: linear probing, at most half full, 0 for an empty
 * place; deletion moves the followers back, so that there are no graves.  Owned by the session; its
 * shard's thread. */
#include "mqtt/pidset.h"

#include "base/err.h"
#include "base/mem.h"

enum { PLACES_FIRST = 8 };

/* Clients count up.  By the identifier itself they would stand in one long row, all of which a
 * deletion has to walk through; this spreads them evenly, with gaps (Knuth 6.4, multiplicative). */
static uint32_t home_of(const struct pidset *s, uint16_t id)
{
    return id * 0x9e3779b1u >> (32 - __builtin_ctz(s->mask + 1));
}

/* The place of id, or the empty one where it would stand. */
static uint32_t place_of(const struct pidset *s, uint16_t id)
{
    uint32_t at = home_of(s, id);
    while (s->ids[at] != 0 && s->ids[at] != id) at = (at + 1) & s->mask;
    return at;
}

bool pidset_has(const struct pidset *s, uint16_t id)
{
    ASSERT(id != 0);
    return s->count && s->ids[place_of(s, id)] == id;
}

static int grow(struct pidset *s)
{
    uint32_t size = s->ids ? (s->mask + 1) * 2 : PLACES_FIRST;
    struct pidset bigger = {.mask = size - 1, .count = s->count};
    bigger.ids = mem_calloc(size, sizeof *bigger.ids);
    if (bigger.ids == NULL) return E_NOMEM;
    for (uint32_t i = 0; s->ids && i <= s->mask; i++)
        if (s->ids[i]) bigger.ids[place_of(&bigger, s->ids[i])] = s->ids[i];
    mem_free(s->ids);
    *s = bigger;
    return 0;
}

int pidset_add(struct pidset *s, uint16_t id)
{
    if (pidset_has(s, id)) return E_EXISTS;
    if (s->ids == NULL || s->count * 2 > s->mask) {
        int rc = grow(s);
        if (rc < 0) return rc;
    }
    s->ids[place_of(s, id)] = id;
    s->count++;
    return 0;
}

bool pidset_del(struct pidset *s, uint16_t id)
{
    if (!pidset_has(s, id)) return false;
    uint32_t hole = place_of(s, id);
    for (uint32_t at = (hole + 1) & s->mask; s->ids[at]; at = (at + 1) & s->mask) {
        uint32_t from_home = (at - home_of(s, s->ids[at])) & s->mask;
        uint32_t from_hole = (at - hole) & s->mask;
        if (from_home < from_hole) continue; /* its home lies behind the hole */
        s->ids[hole] = s->ids[at];
        hole = at;
    }
    s->ids[hole] = 0;
    s->count--;
    return true;
}

void pidset_fini(struct pidset *s)
{
    mem_free(s->ids);
    *s = (struct pidset){0};
}
