/* The envelope of a topic (CONTRACT section 4): what it becomes, and that nothing is read or
 * written beyond its ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "core/envelope.h"
#include "mqtt/mqtt.h"

/* Opens a copy that ends where its memory ends, into exactly the room that is asked for. */
static int open_copy(struct bytes whole, struct envelope *e, uint8_t **copy, uint8_t **props)
{
    *copy = mem_alloc(whole.n);
    *props = mem_alloc(envelope_room(whole));
    assert_non_null(*copy);
    assert_non_null(*props);
    put_mem(*copy, whole);
    return envelope_open(bytes_of(*copy, whole.n), *props, e);
}

static int opened(struct bytes whole)
{
    struct envelope e;
    uint8_t *copy, *props;
    int rc = open_copy(whole, &e, &copy, &props);
    if (rc == 0) assert_true(e.topic.n > 0 && e.topic.p + e.topic.n == copy + whole.n);
    if (rc < 0) assert_non_null(e.problem);
    mem_free(copy);
    mem_free(props);
    return rc;
}

static void attributes_become_user_properties(void **state)
{
    (void)state;
    static const uint8_t expected[] = "\x26\0\1a\0\1b\x26\0\3x/y\0\0";
    struct envelope e;
    uint8_t *copy, *props;
    assert_int_equal(open_copy(bytes_str("$pub/a=b&ttl=7&x%2fy=/t/1"), &e, &copy, &props), 0);
    assert_true(bytes_eq(e.topic, bytes_str("t/1")));
    assert_true(bytes_eq(e.props, bytes_of(expected, sizeof expected - 1)));
    assert_int_equal(e.expiry_s, 7);
    mem_free(copy);
    mem_free(props);
}

static void without_ttl_there_is_no_expiry(void **state)
{
    (void)state;
    struct envelope e;
    uint8_t *copy, *props;
    assert_int_equal(open_copy(bytes_str("$pub/a=b/t"), &e, &copy, &props), 0);
    assert_int_equal(e.expiry_s, MQTT_NO_EXPIRY);
    mem_free(copy);
    mem_free(props);
}

static void every_beginning_of_one_is_safe(void **state)
{
    (void)state;
    static const char whole[] = "$pub/a%20b=c%2Fd&ttl=10&x=/t/u";
    size_t first = strlen("$pub/a%20b=c%2Fd&ttl=10&x=/t");
    for (size_t n = 5; n < sizeof whole; n++)
        assert_int_equal(opened(bytes_of(whole, n)), n < first ? E_INVALID : 0);
}

/* Random rows of what matters, and as many attributes as fit. */
static void rows_of_pieces_are_safe(void **state)
{
    (void)state;
    static const char *const pieces[] = {"=", "&", "/", "%", "%4", "%41", "ttl", "9", "\xc3\xa4"};
    struct rng rng = {7};
    for (int run = 0; run < 20000; run++) {
        uint8_t text[80];
        uint8_t *d = put_mem(text, bytes_str("$pub/"));
        for (unsigned i = rng_below(&rng, 20); i > 0; i--)
            d = put_mem(d, bytes_str(pieces[rng_below(&rng, ARRAY_LEN(pieces))]));
        (void)opened(bytes_of(text, (size_t)(d - text)));
    }
}

static void limits_are_met_exactly(void **state)
{
    (void)state;
    static uint8_t text[ENVELOPE_MAX + 20];
    for (unsigned over = 0; over < 2; over++) {
        uint8_t *d = put_mem(text, bytes_str("$pub/a="));
        memset(d, 'x', ENVELOPE_MAX - 2 + over);
        d = put_mem(d + ENVELOPE_MAX - 2 + over, bytes_str("/t"));
        assert_int_equal(opened(bytes_of(text, (size_t)(d - text))), over ? E_INVALID : 0);
        d = put_mem(text, bytes_str("$pub/a="));
        for (unsigned i = 1; i < ENVELOPE_KEYS_MAX + over; i++) d = put_mem(d, bytes_str("&a="));
        d = put_mem(d, bytes_str("/t"));
        assert_int_equal(opened(bytes_of(text, (size_t)(d - text))), over ? E_INVALID : 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attributes_become_user_properties),
        cmocka_unit_test(without_ttl_there_is_no_expiry),
        cmocka_unit_test(every_beginning_of_one_is_safe),
        cmocka_unit_test(rows_of_pieces_are_safe),
        cmocka_unit_test(limits_are_met_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
