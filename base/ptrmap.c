/* Linear probing with backward-shift deletion (Knuth, TAOCP 6.4, algorithm R), load at most 3/4. */
#include "base/ptrmap.h"

#include "base/err.h"
#include "base/mem.h"

#define POINTER_MASK 0xffffffffffffu

static void *slot_elem(uint64_t slot) { return (void *)(uintptr_t)(slot & POINTER_MASK); }

void ptrmap_init(struct ptrmap *m, uint64_t (*hash_of)(const void *, uint64_t), uint64_t seed)
{
    *m = (struct ptrmap){.hash_of = hash_of, .seed = seed};
}

void ptrmap_fini(struct ptrmap *m)
{
    mem_free(m->slots);
    m->slots = NULL;
    m->count = m->mask = 0;
}

static void place(uint64_t *slots, size_t mask, uint64_t hash, void *elem)
{
    size_t i = hash & mask;
    while (slots[i]) i = (i + 1) & mask;
    slots[i] = (hash & ~(uint64_t)POINTER_MASK) | (uint64_t)(uintptr_t)elem;
}

static int resize(struct ptrmap *m, size_t size)
{
    uint64_t *slots = mem_calloc_table(size, sizeof *slots);
    if (slots == NULL) return E_NOMEM;
    for (size_t i = 0; m->slots && i <= m->mask; i++) {
        if (m->slots[i] == 0) continue;
        void *elem = slot_elem(m->slots[i]);
        place(slots, size - 1, m->hash_of(elem, m->seed), elem);
    }
    mem_free(m->slots);
    m->slots = slots;
    m->mask = size - 1;
    return 0;
}

int ptrmap_put(struct ptrmap *m, void *elem, uint64_t hash)
{
    ASSERT(((uint64_t)(uintptr_t)elem & ~(uint64_t)POINTER_MASK) == 0);
    if (m->slots == NULL || (m->count + 1) * 4 > (m->mask + 1) * 3) {
        int rc = resize(m, m->slots ? (m->mask + 1) * 2 : 8);
        if (rc < 0) return rc;
    }
    place(m->slots, m->mask, hash, elem);
    m->count++;
    return 0;
}

void ptrmap_del(struct ptrmap *m, const void *elem, uint64_t hash)
{
    size_t hole = hash & m->mask;
    while (slot_elem(m->slots[hole]) != elem) {
        ASSERT(m->slots[hole] != 0);
        hole = (hole + 1) & m->mask;
    }
    for (size_t i = (hole + 1) & m->mask; m->slots[i]; i = (i + 1) & m->mask) {
        size_t home = m->hash_of(slot_elem(m->slots[i]), m->seed) & m->mask;
        if (((i - home) & m->mask) < ((i - hole) & m->mask)) continue;
        m->slots[hole] = m->slots[i];
        hole = i;
    }
    m->slots[hole] = 0;
    m->count--;
}
