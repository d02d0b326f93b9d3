/* From which place on a topic is wanted, when only its last messages are: a reader goes through the
 * indexes from the end of what is to be counted backwards, and counts.  No message is read. */
#include "store/log/read_int.h"

#include "base/hash.h"

enum { TOPICS_MAX = 1 << 20 }; /* that are limited, in one reader */

struct limit {
    uint64_t from; /* the place of the last one that was counted */
    uint32_t have, most;
    uint32_t name_bytes;
    uint8_t name[];
};

static uint64_t limit_hash(const void *elem, uint64_t seed)
{
    const struct limit *l = elem;
    return hash_bytes(bytes_of(l->name, l->name_bytes), seed);
}

void last_init(struct log_reader *r)
{
    ptrmap_init(&r->limits, limit_hash, 0);
    r->counting = r->query.last_seq != 0;
    r->bound =
        r->query.last_seq > UINT64_MAX / FRAME_ALIGN ? r->end : r->query.last_seq * FRAME_ALIGN;
    r->count_to = r->least = r->bound;
}

void last_fini(struct log_reader *r)
{
    for (size_t i = 0; r->limits.slots && i <= r->limits.mask; i++)
        mem_free((void *)(uintptr_t)(r->limits.slots[i] & 0xffffffffffffu));
    ptrmap_fini(&r->limits);
}

static struct limit *limit_find(const struct log_reader *r, struct bytes topic)
{
    uint64_t hash = hash_bytes(topic, r->limits.seed);
    struct limit *l;
    for (size_t pos = hash; (l = ptrmap_next(&r->limits, hash, &pos)) != NULL;)
        if (bytes_eq(topic, bytes_of(l->name, l->name_bytes))) return l;
    return NULL;
}

static int limit_of(struct log_reader *r, struct bytes topic, uint32_t most, struct limit **out)
{
    *out = limit_find(r, topic);
    if (*out) return 0;
    if (r->limits.count == TOPICS_MAX) return E_FULL;
    struct limit *l = mem_alloc(sizeof *l + topic.n);
    if (l == NULL) return E_NOMEM;
    *l = (struct limit){.from = r->bound, .most = most, .name_bytes = (uint32_t)topic.n};
    memcpy(l->name, topic.p, topic.n);
    if (ptrmap_put(&r->limits, l, limit_hash(l, r->limits.seed)) < 0) {
        mem_free(l);
        return E_NOMEM;
    }
    *out = l;
    return 0;
}

uint64_t last_from(const struct log_reader *r, struct bytes topic)
{
    const struct limit *l = limit_find(r, topic);
    return l ? l->from : 0; /* it came when all was counted */
}

/* The places of one topic in [position, count_to): counted, the last ones first. */
static void count_topic(struct log_reader *r, struct limit *l, const struct index_topic *t,
                        uint64_t base)
{
    struct bytes first = t->places, again = t->places;
    uint32_t n = 0;
    for (uint64_t at = base; index_place(&first, &at);) n += at >= r->position && at < r->count_to;
    uint32_t take = (uint32_t)min_u64(n, l->most - l->have), skip = n - take;
    if (take == 0) return;
    for (uint64_t at = base; index_place(&again, &at);) {
        if (at < r->position || at >= r->count_to || skip-- > 0) continue;
        l->from = at;
        break;
    }
    l->have += take;
    r->least = min_u64(r->least, l->from);
}

static int count_index(struct log_reader *r, const struct index *x)
{
    struct index_topic t = {0};
    int rc = 0;
    while (rc == 0 && index_next(x, &t)) {
        uint32_t most = reader_wants(r, t.name);
        if (most == STORE_NONE) continue;
        struct limit *l;
        if (most == STORE_ALL) {
            r->least = r->position;
            continue;
        }
        rc = limit_of(r, t.name, most, &l);
        if (rc == 0 && l->have < l->most) count_topic(r, l, &t, x->base);
    }
    return rc;
}

/* The last segment with something to count; NULL: none. */
static struct segment *segment_before(struct log_reader *r)
{
    struct places *p = &r->door->places;
    for (size_t i = p->count; i-- > 0;) {
        struct segment *s = p->items[i].segment;
        if (s->end <= r->position) break;
        if (s->readable && segment_data(s) < r->count_to) return s;
    }
    return NULL;
}

static bool is_counted(const struct log_reader *r)
{
    if (r->count_to <= r->position) return true;
    if (r->query.topic.n == 0) return false;
    const struct limit *l = limit_find(r, r->query.topic);
    return l && l->have == l->most;
}

/* 0: nothing more is to be counted, or r->count_to has moved on; E_AGAIN: an index was asked for.
 */
static int ask(struct log_reader *r)
{
    if (atomic_load(&r->door->log->safe) < r->bound) return E_NOTFOUND;
    if (places_stale(r->door->log, &r->door->places) && door_renew(r->door) < 0) return E_NOMEM;
    struct segment *s = is_counted(r) ? NULL : segment_before(r);
    if (s == NULL) {
        r->counting = false;
        r->position = max_u64(r->position, r->least);
        return 0;
    }
    uint64_t to = min_u64(atomic_load(&r->door->log->safe),
                          min_u64(segment_limit(s), atomic_load(&s->end_at)));
    if (segment_data(s) < to) return reader_ask(r, s, segment_data(s), to);
    r->count_to = s->base;
    return 0;
}

static int answer(struct log_reader *r)
{
    struct index x;
    int rc = reader_answer(r, &x);
    if (rc < 0) return rc;
    rc = count_index(r, &x);
    r->count_to = x.base;
    index_fini(&x);
    reader_let_go(r);
    if (rc < 0) { /* some topics of it have been counted: all over again */
        last_fini(r);
        last_init(r);
    }
    return rc;
}

int last_count(struct log_reader *r)
{
    int rc = 0;
    while (r->counting && rc == 0) rc = r->job ? answer(r) : ask(r);
    return rc;
}
