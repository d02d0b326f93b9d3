/* Properties: where each may stand, how often, with which values; walking and forwarding. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/mqtt_wire.h"

/* One of each, with a good value. */
static const struct sample {
    unsigned id;
    const char *good;
    const char *where; /* C a P k s S u U d x w: see letter_of() */
} samples[] = {
    {1, "01 01", "Pw"},
    {2, "02 00000007", "Pw"},
    {3, "03 <text>", "Pw"},
    {8, "08 <a/b>", "Pw"},
    {9, "09 0002 00ff", "Pw"},
    {11, "0b 8001", "Ps"},
    {17, "11 0000000a", "Cad"},
    {18, "12 <id>", "a"},
    {19, "13 003c", "a"},
    {21, "15 <m>", "Cax"},
    {22, "15 <m> 16 <d>", "Cax"},
    {23, "17 00", "C"},
    {24, "18 00000001", "w"},
    {25, "19 01", "C"},
    {26, "1a <i>", "a"},
    {28, "1c <s>", "ad"},
    {31, "1f <why>", "akSUdx"},
    {33, "21 0001", "Ca"},
    {34, "22 0000", "Ca"},
    {35, "23 0001", "P"},
    {36, "24 01", "a"},
    {37, "25 00", "a"},
    {38, "26 <k> <v>", "CaPksSuUdxw"},
    {39, "27 00000001", "Ca"},
    {40, "28 01", "a"},
    {41, "29 00", "a"},
    {42, "2a 01", "a"},
};

static char letter_of(unsigned where)
{
    static const char letters[] = {0,   'C', 'a', 'P', 'k', 'k', 'k', 'k', 's',
                                   'S', 'u', 'U', 0,   0,   'd', 'x', 'w'};
    return letters[where];
}

static int read_block(struct bytes block, unsigned where, struct mqtt_props *out)
{
    uint8_t all[WIRE_MAX], *d = put_varint(all, (uint32_t)block.n);
    d = put_mem(d, block);
    struct rd r = rd_of(wire_exact(bytes_of(all, (size_t)(d - all))));
    int rc = mqtt_props_read(&r, where, out);
    if (rc == 0) assert_ptr_equal(r.p, r.end);
    if (rc == E_MALFORMED) assert_false(rd_ok(&r));
    return rc;
}

static int read_text(const char *text, unsigned where)
{
    struct mqtt_props p;
    return read_block(wire(text), where, &p);
}

static void each_property_is_taken_where_it_may_stand_and_nowhere_else(void **state)
{
    (void)state; /* 5.0 table 2-4 */
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        for (unsigned where = 1; where <= MQTT_WHERE_WILL; where++) {
            char letter = letter_of(where);
            bool may = letter && strchr(samples[i].where, letter);
            struct mqtt_props p;
            int rc = read_block(wire(samples[i].good), where, &p);
            assert_int_equal(rc, may ? 0 : E_PROTOCOL);
            if (may) assert_true(mqtt_has(&p, (enum mqtt_prop_id)samples[i].id));
        }
    }
}

static void unknown_identifiers_are_malformed(void **state)
{
    (void)state;
    for (unsigned id = 0; id < 256; id++) {
        bool known = false;
        for (size_t i = 0; i < ARRAY_LEN(samples); i++) known |= samples[i].id == id;
        uint8_t block[12] = {(uint8_t)id, 0, 1, 'x', 0, 1, 'x', 0, 0, 0, 0, 0};
        struct mqtt_props p;
        if (!known)
            assert_int_equal(read_block(bytes_of(block, 12), MQTT_CONNECT, &p), E_MALFORMED);
    }
}

static void a_property_that_appears_twice_is_a_protocol_error(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        if (samples[i].id == 22) continue; /* written with its method, which would be the second */
        for (unsigned where = 1; where <= MQTT_WHERE_WILL; where++) {
            char letter = letter_of(where);
            if (!letter || !strchr(samples[i].where, letter)) continue;
            char twice[128];
            snprintf(twice, sizeof twice, "%s %s", samples[i].good, samples[i].good);
            bool may = samples[i].id == MQTT_P_USER ||
                       (samples[i].id == MQTT_P_SUBSCRIPTION_ID && where == MQTT_PUBLISH);
            assert_int_equal(read_text(twice, where), may ? 0 : E_PROTOCOL);
        }
    }
    assert_int_equal(read_text("15 <m> 16 <d> 16 <d>", MQTT_AUTH), E_PROTOCOL);
}

static void values_that_the_standard_forbids_are_protocol_errors(void **state)
{
    (void)state;
    assert_int_equal(read_text("21 0000", MQTT_CONNECT), E_PROTOCOL);     /* 3.1.2.11.3 */
    assert_int_equal(read_text("27 00000000", MQTT_CONNECT), E_PROTOCOL); /* 3.1.2.11.4 */
    assert_int_equal(read_text("0b 00", MQTT_SUBSCRIBE), E_PROTOCOL);     /* 3.8.2.1.2 */
    assert_int_equal(read_text("23 0000", MQTT_PUBLISH), E_TOPIC_ALIAS);  /* [MQTT-3.3.2-8] */
    assert_int_equal(read_text("01 02", MQTT_PUBLISH), E_PROTOCOL);
    assert_int_equal(read_text("17 02", MQTT_CONNECT), E_PROTOCOL); /* 3.1.2.11.7 */
    assert_int_equal(read_text("19 02", MQTT_CONNECT), E_PROTOCOL); /* 3.1.2.11.6 */
    assert_int_equal(read_text("24 02", MQTT_CONNACK), E_PROTOCOL); /* 3.2.2.3.4 */
    assert_int_equal(read_text("25 02", MQTT_CONNACK), E_PROTOCOL);
    assert_int_equal(read_text("28 ff", MQTT_CONNACK), E_PROTOCOL);
    assert_int_equal(read_text("16 <data>", MQTT_CONNECT), E_PROTOCOL); /* 3.1.2.11.10 */
    assert_int_equal(read_text("16 <data> 15 <method>", MQTT_CONNECT), 0);
}

static void ill_formed_text_is_malformed(void **state) /* [MQTT-1.5.4-1], [MQTT-1.5.4-2] */
{
    (void)state;
    assert_int_equal(read_text("1f 0002 c328", MQTT_PUBACK), E_MALFORMED);
    assert_int_equal(read_text("1f 0001 00", MQTT_PUBACK), E_MALFORMED);
    assert_int_equal(read_text("1f 0003 eda080", MQTT_PUBACK), E_MALFORMED);
    assert_int_equal(read_text("1f 0003 efbbbf", MQTT_PUBACK), 0);           /* [MQTT-1.5.4-3] */
    assert_int_equal(read_text("26 0001 ff <v>", MQTT_PUBACK), E_MALFORMED); /* [MQTT-1.5.7-1] */
    assert_int_equal(read_text("26 <k> 0001 ff", MQTT_PUBACK), E_MALFORMED);
    assert_int_equal(read_text("09 0003 eda080", MQTT_PUBLISH), 0); /* binary */
}

static void a_block_that_is_cut_is_malformed_wherever_it_is_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        if (samples[i].id == 22) continue; /* cut behind the method it is whole */
        struct bytes whole = wire(samples[i].good);
        unsigned where = 1;
        while (!letter_of(where) || !strchr(samples[i].where, letter_of(where))) where++;
        for (size_t n = 1; n < whole.n; n++) {
            struct mqtt_props p;
            assert_int_equal(read_block(bytes_of(whole.p, n), where, &p), E_MALFORMED);
        }
    }
    struct mqtt_props p;
    struct rd longer = rd_of(wire("05 17 00")), padded = rd_of(wire("8000")),
              none = rd_of(wire(""));
    assert_int_equal(mqtt_props_read(&longer, MQTT_CONNECT, &p), E_MALFORMED);
    assert_int_equal(mqtt_props_read(&padded, MQTT_CONNECT, &p), E_MALFORMED); /* [MQTT-1.5.5-1] */
    assert_int_equal(mqtt_props_read(&none, MQTT_CONNECT, &p), E_MALFORMED);
}

static void fields_hold_what_the_block_says(void **state)
{
    (void)state;
    struct mqtt_props p;
    memset(&p, 0xee, sizeof p); /* nothing may depend on what was there */
    struct bytes block =
        wire("11 01020304 21 0102 27 0a0b0c0d 22 0304 17 00 26 <a> <1> 26 <a> <2>");
    assert_int_equal(read_block(block, MQTT_CONNECT, &p), 0);
    assert_int_equal(p.session_expiry, 0x01020304);
    assert_int_equal(p.receive_max, 0x0102);
    assert_int_equal(p.max_packet_size, 0x0a0b0c0d);
    assert_int_equal(p.topic_alias_max, 0x0304);
    assert_int_equal(p.request_problem, 0);
    assert_int_equal(p.user_count, 2);
    assert_true(bytes_eq(p.raw, block));
    assert_false(mqtt_has(&p, MQTT_P_REQUEST_RESPONSE));
    assert_int_equal(read_block(wire("03 <text> 0b 07 0b 8001 08 <re> 09 <c>"), MQTT_PUBLISH, &p),
                     0);
    assert_bytes(p.content_type, "text");
    assert_bytes(p.response_topic, "re");
    assert_bytes(p.correlation, "c");
    assert_int_equal(p.subid, 7); /* the first */
    assert_int_equal(p.user_count, 0);
    assert_int_equal(read_block(wire(""), MQTT_PUBLISH, &p), 0);
    assert_true(p.present == 0 && p.raw.n == 0);
}

static void a_walk_meets_every_property_in_order(void **state)
{
    (void)state;
    struct bytes raw = wire("0b 8001 26 <k> <v> 02 00000009 26 <k2> <>");
    struct mqtt_prop prop;
    size_t at = 0;
    assert_true(mqtt_props_next(raw, &at, &prop));
    assert_true(prop.id == MQTT_P_SUBSCRIPTION_ID && prop.number == 128);
    assert_true(mqtt_props_next(raw, &at, &prop));
    assert_int_equal(prop.id, MQTT_P_USER);
    assert_bytes(prop.key, "k");
    assert_bytes(prop.value, "v");
    assert_true(mqtt_props_next(raw, &at, &prop));
    assert_true(prop.id == MQTT_P_MESSAGE_EXPIRY && prop.number == 9);
    assert_true(mqtt_props_next(raw, &at, &prop));
    assert_bytes(prop.key, "k2");
    assert_bytes(prop.value, "");
    assert_false(mqtt_props_next(raw, &at, &prop));
    assert_false(mqtt_props_next((struct bytes){0}, &(size_t){0}, &prop));
}

/* [MQTT-3.3.2-4], [MQTT-3.3.2-15..18], [MQTT-3.3.2-20]; alias, expiry, subscription identifiers and
 * will delay are the receiver's own. */
static void forwarding_keeps_what_is_the_messages_and_drops_what_is_not(void **state)
{
    (void)state;
    uint8_t dst[256];
    struct bytes raw = wire("26 <a> <1> 02 00000009 01 01 23 0001 26 <b> <2> 0b 01 03 <t> 08 <re> "
                            "18 00000001 09 <c> 26 <a> <3>");
    size_t n = mqtt_props_forward(raw, dst);
    assert_wire(dst, dst + n, "26 <a> <1> 01 01 26 <b> <2> 03 <t> 08 <re> 09 <c> 26 <a> <3>");
    assert_int_equal(mqtt_props_forward((struct bytes){0}, dst), 0);
}

static void writers_write_what_the_reader_reads(void **state)
{
    (void)state;
    uint8_t all[256], *d = all;
    d = mqtt_put_prop_u8(d, MQTT_P_PAYLOAD_FORMAT, 1);
    d = mqtt_put_prop_u16(d, MQTT_P_TOPIC_ALIAS, 0x0102);
    d = mqtt_put_prop_u32(d, MQTT_P_MESSAGE_EXPIRY, 0x01020304);
    d = mqtt_put_prop_varint(d, MQTT_P_SUBSCRIPTION_ID, 300);
    d = mqtt_put_prop_bytes(d, MQTT_P_CONTENT_TYPE, bytes_str("t"));
    d = mqtt_put_prop_user(d, bytes_str("k"), bytes_str("v"));
    assert_wire(all, d, "0101 23 0102 02 01020304 0b ac02 03 <t> 26 <k> <v>");
    struct mqtt_props p;
    assert_int_equal(read_block(bytes_of(all, (size_t)(d - all)), MQTT_PUBLISH, &p), 0);
    assert_true(p.topic_alias == 0x0102 && p.message_expiry == 0x01020304 && p.subid == 300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_property_is_taken_where_it_may_stand_and_nowhere_else),
        cmocka_unit_test(unknown_identifiers_are_malformed),
        cmocka_unit_test(a_property_that_appears_twice_is_a_protocol_error),
        cmocka_unit_test(values_that_the_standard_forbids_are_protocol_errors),
        cmocka_unit_test(ill_formed_text_is_malformed),
        cmocka_unit_test(a_block_that_is_cut_is_malformed_wherever_it_is_cut),
        cmocka_unit_test(fields_hold_what_the_block_says),
        cmocka_unit_test(a_walk_meets_every_property_in_order),
        cmocka_unit_test(forwarding_keeps_what_is_the_messages_and_drops_what_is_not),
        cmocka_unit_test(writers_write_what_the_reader_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
