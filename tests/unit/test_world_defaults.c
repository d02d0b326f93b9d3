/* The simulated broker starts with the defaults of the real one.  They are written down twice, as
 * tests/world.c stands on the core alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "src/conf.h"
#include "tests/world.h"

#define SAME(member)                                                                               \
    if (real.member != simulated.member) fail_msg("%s is not the same", #member)

static void the_simulated_broker_has_the_defaults_of_the_real_one(void **state)
{
    (void)state;
    struct core_config real, simulated;
    conf_core_defaults(&real);
    world_defaults(&simulated);
    SAME(max_packet_size);
    SAME(message_size_limit);
    SAME(max_inflight_messages);
    SAME(max_inflight_bytes);
    SAME(max_queued_messages);
    SAME(max_queued_bytes);
    SAME(queue_qos0_messages);
    SAME(upgrade_outgoing_qos);
    SAME(allow_zero_length_clientid);
    SAME(retain_available);
    SAME(retain_expiry_interval_s);
    SAME(persistent_client_expiration_s);
    SAME(max_keepalive_s);
    SAME(retry_interval_ms);
    SAME(retry_max_interval_ms);
    SAME(ack_timeout_ms);
    SAME(max_topic_levels);
    SAME(max_subscriptions);
    SAME(max_retained_messages);
    SAME(max_retained_bytes);
    SAME(output_soft_bytes);
    SAME(output_hard_bytes);
    SAME(slow_grace_ms);
    SAME(connect_timeout_ms);
    SAME(connection_messages);
    SAME(filter_index);
    SAME(queue_auto_create);
    SAME(dead_letter);
    SAME(dead_letter_reasons);
    SAME(dead_letter_max_messages);
    SAME(dead_letter_max_bytes);
    SAME(dead_letter_max_age_ms);
    SAME(max_deliveries);
    SAME(queue_count);
    SAME(acl);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_simulated_broker_has_the_defaults_of_the_real_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
