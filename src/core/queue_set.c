/* See queue_set.h. */
#include "core/queue_set.h"

#include "base/hash.h"
#include "base/mem.h"

struct qkey { /* one message of it is READY, PARKED, FLYING, DELAYED or DYING */
    uint64_t hash;
    struct qlist waiting; /* those behind it, BLOCKED */
};

static const struct qlist empty = {QSET_NONE, QSET_NONE, 0};

static uint64_t key_hash(const void *elem, uint64_t seed)
{
    return hash_u64(((const struct qkey *)elem)->hash, seed);
}

void qset_init(struct qset *s, uint64_t seed, bool keyed)
{
    *s = (struct qset){.keyed = keyed, .free = QSET_NONE, .parked = empty, .dying = empty};
    for (int i = 0; i < QSET_PRIORITIES; i++) s->ready[0][i] = s->ready[1][i] = empty;
    ptrmap_init(&s->busy, key_hash, seed);
}

void qset_fini(struct qset *s)
{
    for (uint32_t i = 0; i < s->chunk_count; i++) {
        mem_free(s->chunks[i]);
        if (s->keyed) mem_free(s->keys[i]);
    }
    for (size_t i = 0; s->busy.slots && i <= s->busy.mask; i++)
        mem_free((void *)(uintptr_t)(s->busy.slots[i] & 0xffffffffffffu));
    ptrmap_fini(&s->busy);
    mem_free(s->chunks);
    mem_free(s->keys);
    mem_free(s->heap);
}

/* ---- memory ---- */

static int chunk_add(struct qset *s)
{
    uint32_t n = s->chunk_count;
    if ((n & (n - 1)) == 0) { /* room for twice as many */
        size_t cap = n ? (size_t)n * 2 : 1;
        struct qentry **chunks = mem_realloc(s->chunks, cap * sizeof(struct qentry *));
        if (chunks == NULL) return E_NOMEM;
        s->chunks = chunks;
        uint64_t **keys = s->keyed ? mem_realloc(s->keys, cap * sizeof(uint64_t *)) : NULL;
        if (s->keyed && keys == NULL) return E_NOMEM;
        if (s->keyed) s->keys = keys;
    }
    struct qentry *chunk = mem_calloc(QSET_CHUNK, sizeof *chunk);
    uint64_t *keys = s->keyed ? mem_calloc(QSET_CHUNK, sizeof *keys) : NULL;
    if (chunk == NULL || (s->keyed && keys == NULL)) {
        mem_free(chunk);
        mem_free(keys);
        return E_NOMEM;
    }
    s->chunks[n] = chunk;
    if (s->keyed) s->keys[n] = keys;
    s->chunk_count++;
    return 0;
}

static uint64_t *key_of(const struct qset *s, uint32_t index)
{
    return &s->keys[index / QSET_CHUNK][index % QSET_CHUNK];
}

uint64_t qset_key(const struct qset *s, uint32_t index) { return s->keyed ? *key_of(s, index) : 0; }

uint32_t qset_index(const struct qset *s, const struct qentry *e)
{
    for (uint32_t i = 0; i < s->chunk_count; i++)
        if (e >= s->chunks[i] && e < s->chunks[i] + QSET_CHUNK)
            return i * QSET_CHUNK + (uint32_t)(e - s->chunks[i]);
    ASSERT(false);
    return QSET_NONE;
}

/* ---- lists ---- */

static void list_append(struct qset *s, struct qlist *l, uint32_t index)
{
    struct qentry *e = qset_at(s, index);
    e->next = QSET_NONE;
    e->prev = l->tail;
    if (l->tail == QSET_NONE)
        l->head = index;
    else
        qset_at(s, l->tail)->next = index;
    l->tail = index;
    l->count++;
}

static void list_take(struct qset *s, struct qlist *l, uint32_t index)
{
    const struct qentry *e = qset_at(s, index);
    if (e->prev == QSET_NONE)
        l->head = e->next;
    else
        qset_at(s, e->prev)->next = e->next;
    if (e->next == QSET_NONE)
        l->tail = e->prev;
    else
        qset_at(s, e->next)->prev = e->prev;
    l->count--;
}

static struct qkey *key_find(const struct qset *s, uint64_t key)
{
    uint64_t hash = hash_u64(key, s->busy.seed);
    struct qkey *k;
    for (size_t pos = hash; (k = ptrmap_next(&s->busy, hash, &pos)) != NULL;)
        if (k->hash == key) return k;
    return NULL;
}

static void unlink_entry(struct qset *s, uint32_t index)
{
    struct qentry *e = qset_at(s, index);
    struct qlist *l = NULL;
    switch (e->state) {
    case QS_READY: l = &s->ready[e->came_back][e->priority]; break;
    case QS_BLOCKED: l = &key_find(s, *key_of(s, index))->waiting; break;
    case QS_PARKED: l = &s->parked; break;
    case QS_DYING: l = &s->dying; break;
    default: break;
    }
    if (l) list_take(s, l, index);
    s->counts[e->state]--;
}

static void enter(struct qset *s, uint32_t index, enum qstate state)
{
    qset_at(s, index)->state = state & 15;
    s->counts[state]++;
}

static void make_ready(struct qset *s, uint32_t index, bool came_back)
{
    struct qentry *e = qset_at(s, index);
    e->came_back = came_back;
    enter(s, index, QS_READY);
    list_append(s, &s->ready[came_back][e->priority], index);
}

/* ---- keys ---- */

/* Whether this message has to wait for another of its key.  Without memory it need not: then the
 * order of a key is lost rather than a message. */
static struct qkey *key_claim(struct qset *s, uint32_t index)
{
    uint64_t key = s->keyed ? *key_of(s, index) : 0;
    if (key == 0) return NULL;
    struct qkey *k = key_find(s, key);
    if (k) return k;
    k = mem_alloc(sizeof *k);
    if (k) *k = (struct qkey){key, empty};
    if (k == NULL || ptrmap_put(&s->busy, k, hash_u64(key, s->busy.seed)) < 0) {
        mem_free(k);
        *key_of(s, index) = 0;
    }
    return NULL;
}

/* The message that had it is gone.  The next one goes behind what is ready: the keys take turns. */
static void key_pass(struct qset *s, uint64_t key)
{
    struct qkey *k = key_find(s, key);
    uint32_t next = k->waiting.head;
    if (next != QSET_NONE) {
        unlink_entry(s, next);
        make_ready(s, next, false);
        return;
    }
    ptrmap_del(&s->busy, k, hash_u64(key, s->busy.seed));
    mem_free(k);
}

/* ---- what expires ---- */

static void heap_down(struct qset *s, uint32_t i)
{
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= s->heap_count) return;
        if (child + 1 < s->heap_count && s->heap[child + 1].at_s < s->heap[child].at_s) child++;
        if (s->heap[i].at_s <= s->heap[child].at_s) return;
        struct qexpiry t = s->heap[i];
        s->heap[i] = s->heap[child];
        s->heap[child] = t;
        i = child;
    }
}

static bool heap_is_live(const struct qset *s, const struct qexpiry *x)
{
    const struct qentry *e = qset_at(s, x->index);
    return e->seq != 0 && e->expires_s == x->at_s;
}

/* Most of it may be messages that have gone before their time. */
static void heap_sweep(struct qset *s)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < s->heap_count; i++)
        if (heap_is_live(s, &s->heap[i])) s->heap[kept++] = s->heap[i];
    s->heap_count = kept;
    for (uint32_t i = kept / 2; i-- > 0;) heap_down(s, i);
}

static int heap_add(struct qset *s, uint32_t at_s, uint32_t index)
{
    if (s->heap_count > 1024 && s->heap_count > 2 * qset_count(s)) heap_sweep(s);
    if (s->heap_count == s->heap_cap) {
        uint32_t cap = s->heap_cap ? s->heap_cap * 2 : 16;
        struct qexpiry *heap = mem_realloc(s->heap, cap * sizeof *heap);
        if (heap == NULL) return E_NOMEM;
        s->heap = heap;
        s->heap_cap = cap;
    }
    uint32_t i = s->heap_count++;
    while (i > 0 && s->heap[(i - 1) / 2].at_s > at_s) {
        s->heap[i] = s->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    s->heap[i] = (struct qexpiry){at_s, index};
    return 0;
}

static bool is_waiting(const struct qentry *e)
{
    return e->state == QS_READY || e->state == QS_BLOCKED || e->state == QS_PARKED ||
           e->state == QS_DELAYED;
}

uint32_t qset_expired(struct qset *s, uint32_t now_s, uint32_t *next_s)
{
    while (s->heap_count > 0) {
        struct qexpiry top = s->heap[0];
        bool live = heap_is_live(s, &top);
        if (live && top.at_s > now_s) {
            *next_s = top.at_s;
            return QSET_NONE;
        }
        s->heap[0] = s->heap[--s->heap_count];
        heap_down(s, 0);
        /* What is at a consumer is looked at again when it comes back. */
        if (live && is_waiting(qset_at(s, top.index))) return top.index;
    }
    *next_s = 0;
    return QSET_NONE;
}

/* ---- entries ---- */

int qset_add(struct qset *s, const struct qentry *like, uint64_t key, uint32_t *out)
{
    if (s->free == QSET_NONE && s->used == s->chunk_count * QSET_CHUNK) {
        int rc = chunk_add(s);
        if (rc < 0) return rc;
    }
    uint32_t index = s->free != QSET_NONE ? s->free : s->used;
    if (like->expires_s && heap_add(s, like->expires_s, index) < 0) return E_NOMEM;
    struct qentry *e = qset_at(s, index);
    if (s->free != QSET_NONE)
        s->free = e->next;
    else
        s->used++;
    *e = *like;
    e->state = QS_FREE; /* in no list */
    s->counts[QS_FREE]++;
    s->bytes += e->size;
    if (s->keyed) *key_of(s, index) = key;
    *out = index;
    return 0;
}

void qset_wait(struct qset *s, uint32_t index, bool came_back)
{
    struct qentry *e = qset_at(s, index);
    bool is_new = e->state == QS_FREE;
    unlink_entry(s, index);
    struct qkey *k = is_new ? key_claim(s, index) : NULL; /* else it has its key */
    if (k) {
        enter(s, index, QS_BLOCKED);
        list_append(s, &k->waiting, index);
    } else {
        make_ready(s, index, came_back);
    }
}

/* A message that leaves the line of its key has the key no more. */
static void key_leave(struct qset *s, uint32_t index)
{
    uint64_t *key = s->keyed ? key_of(s, index) : NULL;
    if (key == NULL || *key == 0) return;
    uint64_t had = *key;
    *key = 0;
    if (key_find(s, had)) key_pass(s, had);
}

void qset_move(struct qset *s, uint32_t index, enum qstate state, uint32_t job)
{
    bool blocked = qset_at(s, index)->state == QS_BLOCKED;
    unlink_entry(s, index);
    enter(s, index, state);
    if (blocked) *key_of(s, index) = 0; /* it expires, behind another that has the key */
    if (state == QS_PARKED) list_append(s, &s->parked, index);
    if (state == QS_DYING) list_append(s, &s->dying, index);
    if (state == QS_FLYING || state == QS_DELAYED) qset_at(s, index)->next = job;
}

void qset_remove(struct qset *s, uint32_t index)
{
    struct qentry *e = qset_at(s, index);
    bool has_key = e->state != QS_BLOCKED && e->state != QS_FREE;
    unlink_entry(s, index);
    if (s->keyed && !has_key) *key_of(s, index) = 0;
    key_leave(s, index);
    s->bytes -= e->size;
    *e = (struct qentry){.next = s->free};
    s->free = index;
}

void qset_unpark(struct qset *s)
{
    while (s->parked.head != QSET_NONE) qset_wait(s, s->parked.head, true);
}

/* ---- walking ---- */

/* The head of the next list that is not empty, from this one on: those that came back before the
 * others of a priority, high priorities first. */
static uint32_t head_from(const struct qset *s, unsigned list)
{
    for (; list < 2 * QSET_PRIORITIES; list++) {
        const struct qlist *l = &s->ready[list % 2 == 0][QSET_PRIORITIES - 1 - list / 2];
        if (l->head != QSET_NONE) return l->head;
    }
    return QSET_NONE;
}

uint32_t qset_first(const struct qset *s)
{
    return s->counts[QS_READY] ? head_from(s, 0) : QSET_NONE;
}

uint32_t qset_next(const struct qset *s, uint32_t index)
{
    const struct qentry *e = qset_at(s, index);
    if (e->next != QSET_NONE) return e->next;
    return head_from(s, (QSET_PRIORITIES - 1 - e->priority) * 2u + !e->came_back + 1);
}

uint32_t qset_oldest(const struct qset *s)
{
    uint32_t best = QSET_NONE;
    for (unsigned i = 0; i < 2 * QSET_PRIORITIES; i++) {
        uint32_t head = s->ready[i % 2][i / 2].head;
        if (head == QSET_NONE) continue;
        if (best == QSET_NONE || qset_at(s, head)->seq < qset_at(s, best)->seq) best = head;
    }
    return best;
}
