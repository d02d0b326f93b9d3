/* Topic aliases of one connection, both ways (5.0 section 3.3.2.3.4).  Owned by the connection; its
 * shard's thread. */
#include "mqtt/alias.h"

#include "base/hash.h"
#include "base/mem.h"

void alias_in_init(struct alias_in *a, uint16_t max) { *a = (struct alias_in){.max = max}; }

void alias_in_fini(struct alias_in *a)
{
    for (uint32_t i = 0; i < a->count; i++) mem_free((void *)(uintptr_t)a->topics[i].p);
    mem_free(a->topics);
    alias_in_init(a, a->max);
}

/* Room up to this alias; doubling, as clients count up. */
static int alias_in_grow(struct alias_in *a, uint16_t alias)
{
    uint32_t count = (uint32_t)min_u64(max_u64(alias, (uint64_t)a->count * 2), a->max);
    struct bytes *topics = mem_realloc(a->topics, count * sizeof *topics);
    if (topics == NULL) return E_NOMEM;
    memset(topics + a->count, 0, (count - a->count) * sizeof *topics);
    a->topics = topics;
    a->count = count;
    return 0;
}

static int alias_in_set(struct alias_in *a, uint16_t alias, struct bytes topic)
{
    if (alias > a->count) {
        int rc = alias_in_grow(a, alias);
        if (rc < 0) return rc;
    }
    struct bytes *known = &a->topics[alias - 1];
    if (bytes_eq(*known, topic)) return 0;
    uint8_t *copy = mem_alloc(topic.n);
    if (copy == NULL) return E_NOMEM;
    put_mem(copy, topic);
    mem_free((void *)(uintptr_t)known->p);
    *known = bytes_of(copy, topic.n);
    return 0;
}

int alias_in_resolve(struct alias_in *a, uint16_t alias, struct bytes *topic)
{
    if (alias == 0 || alias > a->max) return E_TOPIC_ALIAS; /* [MQTT-3.3.2-8], [MQTT-3.3.2-9] */
    if (topic->n) return alias_in_set(a, alias, *topic);    /* [MQTT-3.3.2-12] */
    if (alias > a->count || a->topics[alias - 1].n == 0) return E_PROTOCOL;
    *topic = a->topics[alias - 1];
    return 0;
}

/* Sorted by hash, so that a large maximum costs no long search. */
struct alias_out_entry {
    uint64_t hash;
    uint8_t *topic;
    uint16_t length, alias;
};

void alias_out_init(struct alias_out *a, uint16_t max) { *a = (struct alias_out){.max = max}; }

void alias_out_fini(struct alias_out *a)
{
    for (uint32_t i = 0; i < a->count; i++) mem_free(a->entries[i].topic);
    mem_free(a->entries);
    alias_out_init(a, a->max);
}

/* The first entry whose hash is not below. */
static uint32_t alias_out_find(const struct alias_out *a, uint64_t hash)
{
    uint32_t low = 0, high = a->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (a->entries[middle].hash < hash)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* A new entry at this place; false without memory. */
static bool alias_out_insert(struct alias_out *a, uint32_t at, uint64_t hash, struct bytes topic)
{
    if ((a->count & (a->count - 1)) == 0) { /* capacity: the power of two from count on */
        size_t capacity = a->count ? (size_t)a->count * 2 : 1;
        struct alias_out_entry *entries = mem_realloc(a->entries, capacity * sizeof *entries);
        if (entries == NULL) return false;
        a->entries = entries;
    }
    uint8_t *copy = mem_alloc(topic.n);
    if (copy == NULL) return false;
    put_mem(copy, topic);
    struct alias_out_entry *e = &a->entries[at];
    memmove(e + 1, e, (a->count - at) * sizeof *e);
    a->count++;
    *e = (struct alias_out_entry){hash, copy, (uint16_t)topic.n, a->count};
    return true;
}

uint16_t alias_out_get(struct alias_out *a, struct bytes topic, bool *known)
{
    *known = false;
    if (a->max == 0 || topic.n == 0 || topic.n > UINT16_MAX) return 0;
    uint64_t hash = hash_bytes(topic, 0); /* a collision costs one more comparison, no more */
    uint32_t at = alias_out_find(a, hash);
    for (; at < a->count && a->entries[at].hash == hash; at++) {
        const struct alias_out_entry *e = &a->entries[at];
        if (!bytes_eq(bytes_of(e->topic, e->length), topic)) continue;
        *known = true;
        return e->alias;
    }
    if (a->count == a->max || !alias_out_insert(a, at, hash, topic)) return 0;
    return a->count; /* [MQTT-3.1.2-26]: never above the client's maximum */
}
