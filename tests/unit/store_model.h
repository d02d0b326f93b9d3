/* A trivial model of store/store.h, and random operations by seed on a store and on the model, for
 * the tests of engines.  Included after cmocka. */
#ifndef UNIT_STORE_MODEL_H
#define UNIT_STORE_MODEL_H

#include "base/hash.h"
#include "base/rng.h"
#include "store/store.h"

enum {
    MODEL_DOORS = 3,
    MODEL_RECORDS = 20000,
    MODEL_HOLDS = 100,
    MODEL_BODY = 5000,   /* bytes */
    MODEL_POLLS = 20000, /* an append is safe, a fetch answered, within so many */
};

/* The store under test, as its engine provides it. */
struct model_site {
    void (*open)(void *ctx, struct store **doors, unsigned count);
    void (*crash)(void *ctx); /* NULL: cannot.  Doors are still to be closed */
    void (*pause)(void);      /* between two polls */
    void *ctx;
};

struct model_record {
    uint64_t seq, id; /* id: what prefix and body are made from; a copy has the original's */
    enum store_kind kind;
    unsigned shard, holds;
    bool gone; /* the contract promises nothing about it any more */
};

struct model_hold {
    store_ref ref;
    uint32_t record;
    struct store *door; /* that took it, and gives it back */
};

struct model {
    const struct model_site *site;
    struct rng rng;
    struct store *doors[MODEL_DOORS];
    unsigned count;
    uint64_t polled[MODEL_DOORS];
    uint64_t safe, begin; /* sequences: reported safe at most, the checkpoint */
    uint64_t next_id;
    uint32_t record_count, hold_count;
    struct model_record records[MODEL_RECORDS];
    struct model_hold holds[MODEL_HOLDS];
    uint32_t strikes[4]; /* how often: E_AGAIN of append and fetch, crowded, moved */
};

static struct store *model_door(struct model *m) { return m->doors[rng_below(&m->rng, m->count)]; }

static struct bytes model_prefix(uint64_t id, uint8_t room[STORE_PREFIX_MAX])
{
    size_t size = hash_u64(id, 1) % (STORE_PREFIX_MAX + 1);
    memset(room, (int)(id & 0xff), size);
    return bytes_of(room, size);
}

static struct blob *model_body(uint64_t id)
{
    uint64_t draw = hash_u64(id, 2);
    struct blob *b = blob_new((uint32_t)(draw % 10 ? draw / 10 % 60 : draw / 10 % MODEL_BODY));
    assert_non_null(b);
    struct rng rng = {id};
    for (uint32_t i = 0; i < b->size; i++) b->data[i] = (uint8_t)rng_next(&rng);
    return b;
}

static void model_expect_body(uint64_t id, struct bytes body)
{
    struct blob *expected = model_body(id);
    assert_int_equal(body.n, expected->size);
    assert_true(bytes_eq(body, bytes_of(expected->data, expected->size)));
    blob_unref(expected);
}

static void model_open(struct model *m)
{
    m->count = 1 + (unsigned)rng_below(&m->rng, MODEL_DOORS);
    m->site->open(m->site->ctx, m->doors, m->count);
    memset(m->polled, 0, sizeof m->polled);
}

static void model_close(struct model *m)
{
    for (unsigned i = 0; i < m->count; i++) store_close(m->doors[i]);
}

/* ---- operations ---- */

static void model_poll(struct model *m)
{
    unsigned i = (unsigned)rng_below(&m->rng, m->count);
    uint64_t safe = store_poll(m->doors[i]);
    assert_true(safe >= m->polled[i]);
    assert_true(safe < store_end(m->doors[i]));
    m->polled[i] = safe;
    m->safe = max_u64(m->safe, safe);
}

/* The last record that is there; its sequence. */
static uint64_t model_last(const struct model *m)
{
    for (uint32_t i = m->record_count; i-- > 0;)
        if (!m->records[i].gone) return m->records[i].seq;
    return 0;
}

static void model_poll_all(struct model *m)
{
    uint64_t last = model_last(m);
    for (unsigned i = 0; i < m->count; i++) store_flush(m->doors[i]);
    for (int i = 0; m->safe < last; i++) {
        assert_true(i < MODEL_POLLS);
        if (i > 0 && m->site->pause) m->site->pause();
        model_poll(m);
    }
    for (unsigned i = 0; i < m->count; i++) {
        store_poll(m->doors[i]);
        assert_false(store_crowded(m->doors[i]));
    }
}

static bool model_appended(struct model *m, int rc, uint64_t end, struct model_record record)
{
    if (rc == E_AGAIN) { /* nothing has changed, and it ends */
        m->strikes[0]++;
        assert_true(store_end(m->doors[0]) == end);
        model_poll_all(m);
        return false;
    }
    assert_int_equal(rc, 0);
    assert_true(record.seq >= end);
    assert_true(store_end(m->doors[0]) > record.seq);
    assert_true(m->record_count < MODEL_RECORDS);
    m->records[m->record_count++] = record;
    return true;
}

static bool model_append(struct model *m)
{
    uint64_t end = store_end(m->doors[0]), seq = 0, id = m->next_id++;
    unsigned shard = (unsigned)rng_below(&m->rng, m->count);
    bool message = rng_below(&m->rng, 3) > 0;
    uint8_t room[STORE_PREFIX_MAX];
    struct blob *body = model_body(id);
    int rc = message ? store_append(m->doors[shard], model_prefix(id, room), body, &seq)
                     : store_journal(m->doors[shard], bytes_of(body->data, body->size), &seq);
    m->strikes[2] += store_crowded(m->doors[shard]);
    blob_unref(body);
    return model_appended(
        m, rc, end,
        (struct model_record){
            .seq = seq, .id = id, .kind = message ? STORE_MESSAGE : STORE_JOURNAL, .shard = shard});
}

static void model_add_hold(struct model *m, uint32_t index, struct store *door, store_ref ref)
{
    assert_true(ref >> 63 == 0);
    assert_true(ref == m->records[index].seq);
    m->holds[m->hold_count++] = (struct model_hold){ref, index, door};
    m->records[index].holds++;
}

static void model_hold(struct model *m)
{
    if (m->record_count == 0 || m->hold_count == MODEL_HOLDS) return;
    uint64_t recent = min_u64(m->record_count, 50); /* older ones are mostly gone */
    uint32_t index = (uint32_t)(m->record_count - 1 - rng_below(&m->rng, recent));
    struct model_record *r = &m->records[index];
    if (r->gone || r->kind == STORE_JOURNAL) return;
    if (r->holds == 0 && (r->kind == STORE_COPY || r->seq < m->begin)) return;
    struct blob *body = rng_below(&m->rng, 2) ? model_body(r->id) : NULL;
    struct store *door = model_door(m);
    model_add_hold(m, index, door, store_hold(door, r->seq, body));
    blob_unref(body);
}

static void model_fetch(struct model *m, uint32_t hold)
{
    struct blob *body = NULL;
    int rc = store_fetch(model_door(m), m->holds[hold].ref, &body);
    m->strikes[1] += rc == E_AGAIN;
    if (rc == E_AGAIN) return;
    assert_int_equal(rc, 0);
    model_expect_body(m->records[m->holds[hold].record].id, bytes_of(body->data, body->size));
    blob_unref(body);
}

static void model_drop(struct model *m, uint32_t hold)
{
    store_drop(m->holds[hold].door, m->holds[hold].ref);
    m->records[m->holds[hold].record].holds--;
    m->holds[hold] = m->holds[--m->hold_count];
}

/* Returns whether it was moved, or need not be. */
static bool model_move(struct model *m, uint32_t hold)
{
    unsigned shard = (unsigned)rng_below(&m->rng, m->count);
    struct model_hold old = m->holds[hold];
    if (!store_must_move(m->doors[shard], old.ref)) return true;
    uint64_t end = store_end(m->doors[0]);
    store_ref moved = 0;
    int rc = store_move(m->doors[shard], old.ref, &moved);
    struct model_record copy = m->records[old.record];
    copy = (struct model_record){moved, copy.id, STORE_COPY, shard, 0, false};
    if (!model_appended(m, rc, end, copy)) return false;
    m->strikes[3]++;
    store_drop(old.door, old.ref);
    m->records[old.record].holds--;
    m->holds[hold] = m->holds[--m->hold_count];
    model_add_hold(m, m->record_count - 1, m->doors[shard], moved);
    return true;
}

static void model_checkpoint(struct model *m)
{
    struct store *st = model_door(m);
    uint64_t begin = store_end(st);
    while (!model_append(m)) {
    } /* what the cores know */
    for (uint32_t i = m->hold_count; i-- > 0;)
        while (!model_move(m, i)) {
        }
    model_poll_all(m);
    for (uint64_t n = rng_below(&m->rng, 4); n > 0; n--) (void)model_append(m);
    assert_int_equal(store_checkpoint(st, begin), 0);
    model_poll_all(m); /* and is in force */
    m->begin = begin;
    for (uint32_t i = 0; i < m->record_count; i++)
        if (m->records[i].seq < begin && m->records[i].holds == 0) m->records[i].gone = true;
}

/* The scan gives a prefix of what the model has from the checkpoint on, and all that was safe.
 * What is not there is gone, as are copies behind the last one: whether they are, none can see. */
static void model_scan(struct model *m)
{
    struct store_scan *scan = NULL;
    assert_int_equal(store_scan_open(model_door(m), &scan), 0);
    struct store_record found;
    uint32_t i = 0, kept = 0;
    int rc;
    while ((rc = store_scan_next(scan, &found)) == 0) {
        while (i < m->record_count && (m->records[i].seq < m->begin || m->records[i].gone ||
                                       m->records[i].kind == STORE_COPY))
            i++;
        assert_true(i < m->record_count);
        struct model_record *r = &m->records[i];
        uint8_t room[STORE_PREFIX_MAX];
        bool message = r->kind == STORE_MESSAGE;
        assert_true(found.seq == r->seq);
        assert_int_equal(found.kind, r->kind);
        assert_int_equal(found.shard, r->shard);
        assert_true(bytes_eq(found.prefix, message ? model_prefix(r->id, room) : bytes_str("")));
        model_expect_body(r->id, found.body);
        kept = ++i;
    }
    assert_int_equal(rc, E_NOTFOUND);
    store_scan_close(&scan);
    assert_null(scan);
    for (i = kept; i < m->record_count; i++) {
        struct model_record *r = &m->records[i];
        if (r->seq <= m->safe) assert_true(r->kind == STORE_COPY || r->gone || r->seq < m->begin);
        if (r->seq > m->safe) r->gone = true;
    }
}

/* Closes, or loses power; what was held and is there is held again by its sequence. */
static void model_restart(struct model *m)
{
    bool crash = m->site->crash && rng_below(&m->rng, 2);
    uint64_t end = store_end(m->doors[0]);
    if (crash) m->site->crash(m->site->ctx);
    model_close(m);
    if (!crash) m->safe = model_last(m);
    model_open(m);
    if (!crash) assert_true(store_end(m->doors[0]) >= end);
    model_scan(m);
    m->safe = model_last(m);
    uint32_t count = m->hold_count;
    m->hold_count = 0;
    for (uint32_t i = 0; i < count; i++) m->records[m->holds[i].record].holds = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = m->holds[i].record;
        if (m->records[index].gone) continue;
        struct store *door = model_door(m);
        model_add_hold(m, index, door, store_hold(door, m->records[index].seq, NULL));
    }
}

static void model_step(struct model *m)
{
    uint64_t draw = rng_below(&m->rng, 1000);
    uint32_t hold = m->hold_count ? (uint32_t)rng_below(&m->rng, m->hold_count) : 0;
    if (draw < 350)
        (void)model_append(m);
    else if (draw < 550)
        model_poll(m);
    else if (draw < 700)
        model_hold(m);
    else if (draw < 975) {
        if (m->hold_count == 0) return;
        if (draw < 850)
            model_fetch(m, hold);
        else
            model_drop(m, hold);
    } else if (draw < 990)
        model_checkpoint(m);
    else
        model_restart(m);
}

static void model_run(const struct model_site *site, uint64_t seed, uint32_t steps,
                      uint32_t strikes[4])
{
    struct model *m = mem_calloc(1, sizeof *m);
    assert_non_null(m);
    m->site = site;
    m->rng.state = seed;
    model_open(m);
    for (uint32_t i = 0; i < steps; i++) model_step(m);
    while (m->hold_count) model_drop(m, m->hold_count - 1);
    model_close(m);
    if (strikes)
        for (int i = 0; i < 4; i++) strikes[i] += m->strikes[i];
    mem_free(m);
}

#endif
