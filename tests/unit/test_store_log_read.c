/* The index of each segment, and readers that find messages by topic and time through it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tests/unit/store_log_image.h"

/* ---- messages with a topic: time (8 bytes), length of the topic (1), topic, filling ---- */

static bool describe(struct bytes body, struct store_topic *out)
{
    if (body.n < 9 || body.n < 9u + body.p[8]) return false;
    memcpy(&out->time_ms, body.p, 8);
    out->topic = bytes_of(body.p + 9, body.p[8]);
    return out->topic.n > 0;
}

static uint64_t publish_of(const char *topic, uint64_t time_ms, uint32_t filling)
{
    uint32_t n = (uint32_t)strlen(topic);
    struct blob *b = blob_new(9 + n + filling);
    uint64_t seq = 0, until = clock_mono_ms() + WAIT_MS;
    int rc;
    assert_non_null(b);
    memset(b->data, 'f', b->size);
    memcpy(b->data, &time_ms, 8);
    b->data[8] = (uint8_t)n;
    memcpy(b->data + 9, topic, n);
    while ((rc = store_append(site.doors[0], (struct bytes){0}, b, &seq)) == E_AGAIN &&
           clock_mono_ms() < until) {
        store_flush(site.doors[0]);
        pause_ms(1);
        store_poll(site.doors[0]);
    }
    assert_int_equal(rc, 0);
    blob_unref(b);
    return seq;
}

static uint64_t publish(const char *topic, uint64_t time_ms)
{
    return publish_of(topic, time_ms, 100);
}

static int setup_described(void **state)
{
    int rc = setup(state);
    site.options.describe = describe;
    return rc;
}

/* ---- reading ---- */

static uint64_t asked; /* how often wants() was called */

static uint32_t wants_one(void *ctx, struct bytes topic)
{
    asked++;
    return bytes_eq(topic, bytes_str(ctx)) ? STORE_ALL : STORE_NONE;
}

static uint32_t wants_all(void *ctx, struct bytes topic)
{
    (void)ctx, (void)topic;
    asked++;
    return STORE_ALL;
}

static int next(struct store_reader *r, struct store_record *out)
{
    uint64_t until = clock_mono_ms() + WAIT_MS;
    int rc;
    while ((rc = store_read_next(r, out)) == E_AGAIN && clock_mono_ms() < until) {
        pause_ms(1);
        store_poll(site.doors[0]);
    }
    assert_int_not_equal(rc, E_AGAIN);
    return rc;
}

static struct store_reader *reader(uint64_t from_seq, uint64_t from_ms, uint64_t to_ms,
                                   const char *topic)
{
    struct store_reader *r = NULL;
    struct store_query q = {.from_seq = from_seq,
                            .to_seq = UINT64_MAX,
                            .from_ms = from_ms,
                            .to_ms = to_ms,
                            .wants = topic ? wants_one : wants_all,
                            .ctx = (void *)(uintptr_t)topic};
    asked = 0;
    assert_int_equal(store_read_open(site.doors[0], &r, &q), 0);
    return r;
}

static void expect_next(struct store_reader *r, uint64_t seq)
{
    struct store_record m;
    assert_int_equal(next(r, &m), 0);
    assert_int_equal(m.seq, seq);
    assert_int_equal(m.kind, STORE_MESSAGE);
}

static void expect_end(struct store_reader *r)
{
    struct store_record m;
    assert_int_equal(next(r, &m), E_NOTFOUND);
}

static struct seglog *the_log(void) { return CONTAINER_OF(site.doors[0], struct door, base)->log; }

static void wait_indexed(void)
{
    struct seglog *log = the_log();
    bool all = false;
    for (uint64_t until = clock_mono_ms() + WAIT_MS; !all && clock_mono_ms() < until; pause_ms(1)) {
        all = true;
        pthread_mutex_lock(&log->mutex);
        for (size_t i = 0; i < log->segment_count; i++)
            if (atomic_load(&log->segments[i]->sealed) && !atomic_load(&log->segments[i]->indexed))
                all = false;
        pthread_mutex_unlock(&log->mutex);
    }
    assert_true(all);
}

/* ---- tests ---- */

enum { MANY = 3000 };
static uint64_t seqs[MANY];

/* Every 500th message is of the thin topic; time is the number of the message. */
static void publish_many(void)
{
    char topic[40];
    for (uint64_t i = 0; i < MANY; i++) {
        snprintf(topic, sizeof topic, "dense/%llu", (unsigned long long)(i % 7));
        seqs[i] = publish(i % 500 == 250 ? "thin" : topic, i);
    }
    wait_safe(0, seqs[MANY - 1]);
}

static void expect_thin(void)
{
    struct store_reader *r = reader(0, 0, UINT64_MAX, "thin");
    for (uint64_t i = 250; i < MANY; i += 500) expect_next(r, seqs[i]);
    expect_end(r);
    store_read_close(&r);
}

static void a_thin_topic_is_found_without_reading_the_rest(void **state)
{
    (void)state;
    site_open(1);
    publish_many();
    wait_indexed();
    uint64_t before = files_calls();
    expect_thin();
    struct store_stats stats;
    store_stats(site.doors[0], &stats);
    assert_in_range(asked, 8 * (stats.segments - 2),
                    9 * stats.segments); /* by topic, not message */
    assert_in_range(files_calls() - before, 6, 6 * stats.segments + 20);
    reopen(1);
    expect_thin();
}

static void all_topics_come_in_the_order_of_the_log(void **state)
{
    (void)state;
    site_open(1);
    publish_many();
    struct store_reader *r = reader(0, 0, UINT64_MAX, NULL);
    for (uint64_t i = 0; i < MANY; i++) expect_next(r, seqs[i]);
    expect_end(r);
    store_read_close(&r);
    r = reader(seqs[1234], 0, UINT64_MAX, NULL); /* from one on */
    for (uint64_t i = 1234; i < MANY; i++) expect_next(r, seqs[i]);
    expect_end(r);
    store_read_close(&r);
    r = reader(seqs[1234] + 1, 0, UINT64_MAX, NULL); /* a number that no message has */
    expect_next(r, seqs[1235]);
    store_read_close(&r);
    store_read_close(&r); /* harmless */
}

static void times_limit_what_is_read(void **state)
{
    (void)state;
    site_open(1);
    publish_many();
    wait_indexed();
    struct store_reader *r = reader(0, 1000, 1002, NULL);
    for (uint64_t i = 1000; i <= 1002; i++) expect_next(r, seqs[i]);
    expect_end(r);
    store_read_close(&r);
    assert_in_range(asked, 7, 30); /* the other segments were told by their times */
    r = reader(0, MANY, UINT64_MAX, NULL);
    expect_end(r);
    store_read_close(&r);
}

static void a_reader_goes_on_when_more_is_safe(void **state)
{
    (void)state;
    site_open(1);
    struct store_reader *r = reader(0, 0, UINT64_MAX, "a");
    expect_end(r);
    for (uint64_t i = 0; i < 300; i++) { /* over several segments */
        publish_of("b", i, 500);
        uint64_t seq = publish_of("a", i, 500);
        wait_safe(0, seq);
        expect_next(r, seq);
        expect_end(r);
    }
    store_read_close(&r);
}

static void messages_without_topic_and_journals_are_not_read(void **state)
{
    (void)state;
    uint64_t seq;
    site_open(1);
    publish("", 1);
    assert_int_equal(store_journal(site.doors[0], bytes_str("journal"), &seq), 0);
    seq = publish("x", 2);
    wait_safe(0, seq);
    struct store_reader *r = reader(0, 0, UINT64_MAX, NULL);
    expect_next(r, seq);
    expect_end(r);
    store_read_close(&r);
}

static void what_is_not_in_memory_comes_later(void **state)
{
    (void)state;
    struct store_record m;
    site_open(1);
    publish_many();
    wait_indexed();
    files_set(&files.cold, true);
    unsigned before = atomic_load(&site.wakes[0]);
    struct store_reader *r = reader(0, 0, UINT64_MAX, "thin");
    assert_int_equal(store_read_next(r, &m), E_AGAIN);
    for (uint64_t until = clock_mono_ms() + WAIT_MS; atomic_load(&site.wakes[0]) == before;) {
        assert_true(clock_mono_ms() < until);
        pause_ms(1);
    }
    store_read_close(&r);
    expect_thin();
}

static void a_reader_may_be_closed_while_it_waits(void **state)
{
    (void)state;
    struct store_record m;
    site_open(1);
    publish_many();
    for (int i = 0; i < 50; i++) {
        struct store_reader *r = reader(0, 0, UINT64_MAX, "thin");
        (void)!store_read_next(r, &m);
        store_read_close(&r);
    }
    struct store_reader *r = reader(0, 0, UINT64_MAX, "thin");
    (void)!store_read_next(r, &m);
    store_read_close(&r);
    site_close(); /* with what was asked for not done yet */
}

static void missing_and_damaged_indexes_are_made_again(void **state)
{
    (void)state;
    site_open(1);
    publish_many();
    wait_indexed();
    site_close();
    image_take();
    size_t found = 0;
    for (size_t i = 0; i < image_count; i++) {
        uint64_t base;
        if (!name_get(image[i].name, "idx", &base)) continue;
        image[i].data[found * 13 % image[i].n] ^= 8; /* in the header, in the topics */
        if (found++ == 2) image[i].n = 10;
    }
    assert_true(found > 5);
    image_restore();
    site_open(1);
    expect_thin();
    wait_indexed();
    expect_thin();
    site_close();
    char path[100];
    snprintf(path, sizeof path, "%s/%s", site.folder, "0000000000000200.idx");
    assert_int_equal(unlink(path), 0);
    site_open(1);
    wait_indexed();
    assert_int_equal(access(path, F_OK), 0);
    expect_thin();
}

static void a_lost_message_is_left_out(void **state)
{
    (void)state;
    size_t at;
    site_open(1);
    publish_many();
    wait_indexed();
    site_close();
    image_take();
    image_at(seqs[750], &at)->data[at + 60] ^= 1;
    image_restore();
    site_open(1);
    struct store_reader *r = reader(0, 0, UINT64_MAX, "thin");
    for (uint64_t i = 250; i < MANY; i += 500)
        if (i != 750) expect_next(r, seqs[i]);
    expect_end(r);
    store_read_close(&r);
}

/* ---- against a model: random queries, each message judged by itself ---- */

static struct model_message {
    uint64_t seq, time_ms;
    unsigned topic;
} model[MANY];

static const char *const model_topics[] = {"a", "b", "c/d", "c/e", "long/name/of/a/topic", "rare"};
static uint32_t model_wants[ARRAY_LEN(model_topics)];

static uint32_t wants_by_model(void *ctx, struct bytes topic)
{
    (void)ctx;
    for (size_t i = 0; i < ARRAY_LEN(model_topics); i++)
        if (bytes_eq(topic, bytes_str(model_topics[i]))) return model_wants[i];
    fail();
    return STORE_NONE;
}

static bool model_has(const struct store_query *q, size_t i)
{
    const struct model_message *m = &model[i];
    uint32_t most = model_wants[m->topic], later = 0;
    if (m->seq < q->from_seq || m->seq >= q->to_seq) return false;
    if (m->time_ms < q->from_ms || m->time_ms > q->to_ms) return false;
    if (q->topic.n && !bytes_eq(q->topic, bytes_str(model_topics[m->topic]))) return false;
    if (most == STORE_NONE || most == STORE_ALL || m->seq >= q->last_seq) return most != STORE_NONE;
    for (size_t j = i + 1; j < MANY && model[j].seq < q->last_seq; j++)
        later += model[j].topic == m->topic;
    return later < most;
}

static void check_query(const struct store_query *q)
{
    struct store_reader *r = NULL;
    assert_int_equal(store_read_open(site.doors[0], &r, q), 0);
    for (size_t i = 0; i < MANY; i++)
        if (model_has(q, i)) expect_next(r, model[i].seq);
    expect_end(r);
    assert_true(store_read_position(r) >= min_u64(q->to_seq, store_poll(site.doors[0])));
    store_read_close(&r);
}

static void random_queries_give_what_a_model_gives(void **state)
{
    (void)state;
    struct rng rng = {.state = 11};
    site_open(1);
    for (size_t i = 0; i < MANY; i++) {
        unsigned topic = (unsigned)rng_below(&rng, 100) == 0 ? 5 : (unsigned)rng_below(&rng, 5);
        model[i] = (struct model_message){.time_ms = i / 3, .topic = topic};
        model[i].seq = publish(model_topics[topic], i / 3);
    }
    wait_safe(0, model[MANY - 1].seq);
    for (int n = 0; n < 400; n++) {
        struct store_query q = {.to_seq = UINT64_MAX, .to_ms = UINT64_MAX, .wants = wants_by_model};
        bool limits = rng_below(&rng, 2);
        for (size_t t = 0; t < ARRAY_LEN(model_topics); t++) {
            model_wants[t] = rng_below(&rng, 3) ? STORE_ALL : STORE_NONE;
            if (limits && rng_below(&rng, 2)) model_wants[t] = 1 + (uint32_t)rng_below(&rng, 700);
        }
        if (limits) q.last_seq = model[rng_below(&rng, MANY)].seq + rng_below(&rng, 2);
        if (rng_below(&rng, 2)) q.from_seq = model[rng_below(&rng, MANY)].seq;
        if (rng_below(&rng, 2)) q.to_seq = model[rng_below(&rng, MANY)].seq;
        if (rng_below(&rng, 3) == 0) q.from_ms = rng_below(&rng, MANY / 3);
        if (rng_below(&rng, 3) == 0) q.to_ms = rng_below(&rng, MANY / 3);
        if (rng_below(&rng, 3) == 0) q.topic = bytes_str(model_topics[rng_below(&rng, 6)]);
        if (limits) q.from_seq = 0; /* else what counts depends on where it begins */
        check_query(&q);
    }
}

/* A second a message: the search begins ten too early. */
static void a_time_is_found_by_halves(void **state)
{
    (void)state;
    struct store_reader *r;
    struct store_record m;
    site.options.segment_bytes = 4 << 20;
    site_open(1);
    for (uint64_t i = 0; i < MANY; i++) seqs[i] = publish(i % 3 ? "a" : "b", i * 1000);
    wait_safe(0, seqs[MANY - 1]);
    for (uint64_t i = 1; i < MANY; i += 97) {
        r = reader(0, i * 1000 - 500, UINT64_MAX, NULL);
        expect_next(r, seqs[i]);
        if (i + 1 < MANY) expect_next(r, seqs[i + 1]);
        store_read_close(&r);
    }
    r = reader(0, MANY * 1000, UINT64_MAX, NULL);
    assert_int_equal(next(r, &m), E_NOTFOUND);
    store_read_close(&r);
}

static void what_is_to_be_kept_stays(void **state)
{
    (void)state;
    struct store_stats before, after;
    site_open(1);
    publish_many();
    wait_indexed();
    store_keep(site.doors[0], seqs[1000]);
    wait_checkpoint(store_end(site.doors[0]));
    store_stats(site.doors[0], &before);
    struct store_reader *r = reader(seqs[1000], 0, UINT64_MAX, "thin");
    for (uint64_t i = 1250; i < MANY; i += 500) expect_next(r, seqs[i]);
    expect_end(r);
    store_read_close(&r);
    store_release(site.doors[0]);
    store_keep(site.doors[0], UINT64_MAX);
    for (uint64_t until = clock_mono_ms() + WAIT_MS; clock_mono_ms() < until; pause_ms(1)) {
        store_stats(site.doors[0], &after);
        if (after.segments < before.segments) return;
    }
    fail_msg("the segments are still there");
}

static void an_index_goes_with_its_segment(void **state)
{
    (void)state;
    struct store_stats stats;
    site_open(1);
    publish_many();
    wait_checkpoint(store_end(site.doors[0]));
    for (uint64_t until = clock_mono_ms() + WAIT_MS; clock_mono_ms() < until; pause_ms(1)) {
        store_stats(site.doors[0], &stats);
        if (stats.segments <= 2) break;
    }
    wait_indexed();
    site_close();
    image_take();
    for (size_t i = 0; i < image_count; i++) {
        uint64_t base;
        if (name_get(image[i].name, "idx", &base)) fail_msg("%s was left", image[i].name);
    }
}

static void reading_without_memory_passes_nothing_over(void **state)
{
    (void)state;
    site_open(1);
    publish_many();
    wait_indexed();
    struct store_reader *r = NULL;
    struct store_query q = {.to_seq = UINT64_MAX,
                            .to_ms = UINT64_MAX,
                            .wants = wants_one,
                            .ctx = (void *)(uintptr_t) "thin"};
    mem_fail_after(0);
    assert_int_equal(store_read_open(site.doors[0], &r, &q), E_NOMEM);
    mem_fail_after(-1);
    assert_int_equal(store_read_open(site.doors[0], &r, &q), 0);
    uint64_t i = 250, until = clock_mono_ms() + WAIT_MS;
    for (long n = 0; i < MANY && clock_mono_ms() < until; n = (n + 1) % 3) {
        struct store_record m;
        mem_fail_after(n);
        int rc = store_read_next(r, &m);
        mem_fail_after(-1);
        if (rc == 0) {
            assert_int_equal(m.seq, seqs[i]);
            i += 500;
        }
        assert_true(rc == 0 || rc == E_AGAIN || rc == E_NOMEM);
    }
    expect_end(r);
    store_read_close(&r);
}

#define ON(test) cmocka_unit_test_setup_teardown(test, setup_described, image_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON(a_thin_topic_is_found_without_reading_the_rest),
        ON(all_topics_come_in_the_order_of_the_log),
        ON(times_limit_what_is_read),
        ON(a_reader_goes_on_when_more_is_safe),
        ON(messages_without_topic_and_journals_are_not_read),
        ON(what_is_not_in_memory_comes_later),
        ON(a_reader_may_be_closed_while_it_waits),
        ON(missing_and_damaged_indexes_are_made_again),
        ON(a_lost_message_is_left_out),
        ON(random_queries_give_what_a_model_gives),
        ON(a_time_is_found_by_halves),
        ON(what_is_to_be_kept_stays),
        ON(an_index_goes_with_its_segment),
        ON(reading_without_memory_passes_nothing_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
