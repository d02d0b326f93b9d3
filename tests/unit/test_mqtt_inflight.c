/* The outbound window: identifiers, order, growth, and a long random life against a plain model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "mqtt/inflight.h"

/* The window must be one list of `count` entries, each found by its own identifier. */
static void check(const struct inflight *w)
{
    uint32_t count = 0, used = 0;
    const struct inflight_entry *before = NULL;
    for (const struct inflight_entry *e = inflight_first(w); e; e = inflight_next(w, e)) {
        assert_int_not_equal(e->state, INFLIGHT_FREE);
        assert_int_not_equal(e->packet_id, 0);
        assert_ptr_equal(inflight_find(w, e->packet_id), e);
        if (before) assert_ptr_equal(&w->slots[e->prev], before);
        before = e;
        count++;
        assert_true(count <= w->count);
    }
    assert_int_equal(count, w->count);
    for (uint32_t i = 0; w->slots && i <= w->mask; i++) used += w->slots[i].state != INFLIGHT_FREE;
    assert_int_equal(used, count);
}

static uint16_t add(struct inflight *w)
{
    struct inflight_entry *e = inflight_add(w, INFLIGHT_WAIT_PUBACK);
    assert_non_null(e);
    return e->packet_id;
}

static void ack(struct inflight *w, uint16_t id)
{
    struct inflight_entry *e = inflight_find(w, id);
    assert_non_null(e);
    inflight_del(w, e);
}

static void expect_order(const struct inflight *w, const uint16_t *ids, size_t count)
{
    const struct inflight_entry *e = inflight_first(w);
    for (size_t i = 0; i < count; i++, e = inflight_next(w, e)) {
        assert_non_null(e);
        assert_int_equal(e->packet_id, ids[i]);
    }
    assert_null(e);
    check(w);
}

static void an_empty_window_owns_no_memory(void **state)
{
    (void)state;
    struct inflight w = {0};
    assert_null(inflight_first(&w));
    assert_null(inflight_find(&w, 1));
    inflight_trim(&w);
    inflight_fini(&w);
    assert_null(w.slots);
}

static void a_new_entry_is_zero_but_for_its_identifier_and_state(void **state)
{
    (void)state;
    struct inflight w = {0};
    for (int round = 0; round < 3; round++) {
        struct inflight_entry *e = inflight_add(&w, INFLIGHT_WAIT_PUBREC);
        assert_non_null(e);
        assert_int_equal(e->state, INFLIGHT_WAIT_PUBREC);
        assert_true(e->body == NULL && e->sent_ms == 0 && e->subid == 0 && e->tag == 0);
        assert_true(e->tries == 0 && e->flags == 0);
        e->body = &w, e->sent_ms = 1, e->subid = 2, e->tag = 3, e->tries = 4, e->flags = 5;
        inflight_del(&w, e);
    }
    inflight_fini(&w);
}

static void entries_come_back_in_sending_order(void **state) /* [MQTT-4.6.0-1] */
{
    (void)state;
    struct inflight w = {0};
    for (int i = 0; i < 5; i++) add(&w);
    expect_order(&w, (uint16_t[]){1, 2, 3, 4, 5}, 5);
    ack(&w, 3);
    expect_order(&w, (uint16_t[]){1, 2, 4, 5}, 4);
    ack(&w, 1);
    ack(&w, 5);
    expect_order(&w, (uint16_t[]){2, 4}, 2);
    inflight_requeue(&w, inflight_find(&w, 2));
    expect_order(&w, (uint16_t[]){4, 2}, 2);
    inflight_requeue(&w, inflight_find(&w, 2)); /* the last stays the last */
    expect_order(&w, (uint16_t[]){4, 2}, 2);
    assert_int_equal(add(&w), 6);
    expect_order(&w, (uint16_t[]){4, 2, 6}, 3);
    ack(&w, 4), ack(&w, 2), ack(&w, 6);
    expect_order(&w, NULL, 0);
    assert_int_equal(add(&w), 7);
    inflight_requeue(&w, inflight_find(&w, 7)); /* the only one */
    expect_order(&w, (uint16_t[]){7}, 1);
    inflight_fini(&w);
}

static void an_answer_to_nothing_finds_nothing(void **state)
{
    (void)state;
    struct inflight w = {0};
    assert_int_equal(add(&w), 1);
    assert_null(inflight_find(&w, 0));
    assert_null(inflight_find(&w, 2));
    assert_null(inflight_find(&w, 1 + 8)); /* the same slot */
    ack(&w, 1);
    assert_null(inflight_find(&w, 1));
    assert_int_equal(add(&w), 2);
    assert_null(inflight_find(&w, 1));
    inflight_fini(&w);
}

static void identifiers_go_round_without_0_and_without_those_in_use(void **state)
{
    (void)state; /* [MQTT-2.2.1-3], [MQTT-2.2.1-4] */
    struct inflight w = {0};
    assert_int_equal(add(&w), 1); /* stays */
    for (uint32_t i = 0; i < 200000; i++) {
        uint16_t id = add(&w);
        assert_true(id != 0 && id != 1);
        ack(&w, id);
    }
    assert_int_equal(w.mask, 7); /* it never grew */
    check(&w);
    inflight_fini(&w);
}

static void growth_keeps_order_and_contents(void **state)
{
    (void)state;
    struct inflight w = {0};
    for (uint32_t i = 1; i <= 1000; i++) {
        struct inflight_entry *e = inflight_add(&w, INFLIGHT_WAIT_PUBACK);
        assert_non_null(e);
        e->tag = i;
        if (i % 3 == 0) inflight_requeue(&w, inflight_first(&w));
    }
    check(&w);
    uint64_t sum = 0;
    for (const struct inflight_entry *e = inflight_first(&w); e; e = inflight_next(&w, e))
        sum += e->tag;
    assert_int_equal(sum, 1000 * 1001 / 2);
    while (w.count) inflight_del(&w, inflight_first(&w));
    inflight_trim(&w);
    assert_null(w.slots);
    assert_int_equal(add(&w), 1001); /* identifiers go on */
    inflight_trim(&w);
    assert_non_null(w.slots); /* not while something is in flight */
    inflight_fini(&w);
}

static void all_65535_identifiers_can_be_in_use(void **state)
{
    (void)state;
    struct inflight w = {0};
    static uint8_t seen[65536];
    for (uint32_t i = 0; i < 65535; i++) {
        uint16_t id = add(&w);
        assert_false(seen[id]);
        seen[id] = 1;
    }
    assert_int_equal(seen[0], 0);
    assert_null(inflight_add(&w, INFLIGHT_WAIT_PUBACK));
    assert_int_equal(w.count, 65535);
    ack(&w, 40000);
    assert_int_equal(add(&w), 40000); /* the only free one */
    assert_null(inflight_add(&w, INFLIGHT_WAIT_PUBACK));
    check(&w);
    inflight_fini(&w);
}

static void a_random_life_agrees_with_a_plain_list(void **state)
{
    (void)state;
    struct rng rng = {2026};
    for (int life = 0; life < 20; life++) {
        struct inflight w = {.next_id = (uint16_t)rng_next(&rng)};
        uint16_t model[300];
        uint32_t count = 0;
        uint32_t most = 1 + (uint32_t)rng_below(&rng, ARRAY_LEN(model));
        for (int step = 0; step < 3000; step++) {
            uint32_t at = count ? (uint32_t)rng_below(&rng, count) : 0;
            uint16_t id = count ? model[at] : 0;
            uint64_t what = rng_below(&rng, 5);
            if (what < 2 && count < most) {
                model[count++] = add(&w);
            } else if (count && what < 4) {
                ack(&w, id);
                count--;
                memmove(model + at, model + at + 1, (count - at) * sizeof *model);
            } else if (count) {
                inflight_requeue(&w, inflight_find(&w, id));
                memmove(model + at, model + at + 1, (count - at - 1) * sizeof *model);
                model[count - 1] = id;
            }
            if (step % 50 == 0) expect_order(&w, model, count);
        }
        expect_order(&w, model, count);
        inflight_fini(&w);
    }
}

static void without_memory_nothing_changes(void **state)
{
    (void)state;
    bool failed = true;
    for (long n = 0; failed; n++) {
        struct inflight w = {0};
        uint32_t refused = 0;
        mem_fail_after(n);
        for (uint32_t i = 0; i < 100; i++) {
            uint32_t before = w.count;
            if (inflight_add(&w, INFLIGHT_WAIT_PUBACK)) continue;
            refused++;
            assert_int_equal(w.count, before);
            check(&w);
        }
        failed = mem_fail_after(-1);
        assert_int_equal(refused, failed ? 1 : 0);
        assert_int_equal(w.count, 100 - refused);
        check(&w);
        inflight_fini(&w);
    }
}

static void a_window_is_put_back_with_the_identifiers_it_had(void **state)
{
    (void)state;
    static const uint16_t ids[] = {9, 1, 17, 65535, 25, 33, 2}; /* most of them want one slot */
    struct inflight w = {0};
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        struct inflight_entry *e = inflight_add_id(&w, INFLIGHT_WAIT_PUBREC, ids[i]);
        assert_non_null(e);
        assert_int_equal(e->packet_id, ids[i]);
        assert_int_equal(e->state, INFLIGHT_WAIT_PUBREC);
        check(&w);
    }
    expect_order(&w, ids, ARRAY_LEN(ids));
    assert_int_equal(add(&w), 3); /* and goes on behind the last */
    mem_fail_after(0);
    struct inflight_entry *none = inflight_add_id(&w, INFLIGHT_WAIT_PUBACK, 3 + (w.mask + 1) * 8);
    assert_true(mem_fail_after(-1));
    assert_null(none);
    check(&w);
    inflight_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_window_owns_no_memory),
        cmocka_unit_test(a_new_entry_is_zero_but_for_its_identifier_and_state),
        cmocka_unit_test(entries_come_back_in_sending_order),
        cmocka_unit_test(an_answer_to_nothing_finds_nothing),
        cmocka_unit_test(identifiers_go_round_without_0_and_without_those_in_use),
        cmocka_unit_test(growth_keeps_order_and_contents),
        cmocka_unit_test(all_65535_identifiers_can_be_in_use),
        cmocka_unit_test(a_random_life_agrees_with_a_plain_list),
        cmocka_unit_test(without_memory_nothing_changes),
        cmocka_unit_test(a_window_is_put_back_with_the_identifiers_it_had),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
