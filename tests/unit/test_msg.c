/* The bytes of a message, which are on disks: docs/formats.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "src/core/msg.h"

/* As it was before messages had control properties, and as it stays. */
static void the_head_of_a_message_is_where_it_was(void **state)
{
    (void)state;
    static const uint8_t head[sizeof(struct msg)] = {
        1,    2,    3,    4,    5,    6,    7,    8,    /* sequence */
        0x16, 0x15, 0x14, 0x13, 0x12, 0x11, 0x34, 0x12, /* time, length of the topic */
        0xd4, 0xc3, 0xb2, 0xa1, 0xef, 0xcd, 0xab, 0xd9, /* expiry; properties, bits */
    };
    struct msg m;
    memcpy(&m, head, sizeof m);
    assert_int_equal(m.seq, 0x0807060504030201);
    assert_int_equal(m.created_ms, 0x111213141516);
    assert_false(m.has_control);
    assert_int_equal(m.topic_len, 0x1234);
    assert_int_equal(m.expiry_s, 0xa1b2c3d4);
    assert_int_equal(m.props_len, 0x9abcdef);
    assert_int_equal(m.qos, 1);
    assert_true(m.retain);
    assert_true(m.has_from);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_head_of_a_message_is_where_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
