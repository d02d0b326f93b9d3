/* The configuration file: syntax, every kind of value, include_dir, and that an error names its
 * line and leaves nothing behind. */
#include "test_conf.h"

#include "core/acl.h"
#include "core/queue_conf.h"

/* ---- defaults ---- */

static void without_a_file_both_loopback_addresses_are_open_to_everybody(void **state)
{
    (void)state;
    assert_int_equal(load_with((struct conf_args){.port = -1}), 0);
    const struct conf *c = b.conf;
    assert_int_equal(c->listener_count, 2);
    for (size_t i = 0; i < 2; i++) {
        const struct conf_listener *l = &c->listeners[i];
        assert_string_equal(l->address, i ? "::1" : "127.0.0.1");
        assert_int_equal(l->port, 1883);
        assert_int_equal(l->core.port, 1883);
        assert_true(l->implicit);
        assert_true(l->core.allow_anonymous);
        assert_int_equal(l->max_connections, -1);
        assert_int_equal(l->core.max_qos, 2);
        assert_int_equal(l->core.accept_versions, 1 << MQTT_V31 | 1 << MQTT_V311 | 1 << MQTT_V5);
        assert_int_equal(l->core.max_topic_alias, 10);
        assert_int_equal(l->core.max_topic_alias_broker, 10);
        assert_string_equal(l->core.mount_point, "");
        assert_string_equal(l->core.auto_id_prefix, "auto-");
        assert_string_equal(l->core.clientid_prefixes, "");
    }
    assert_int_equal(c->shards, 0);
    assert_int_equal(c->global_max_clients, -1);
    assert_int_equal(c->global_max_connections, -1);
    assert_int_equal(c->memory_limit, 0);
    assert_true(c->set_tcp_nodelay);
    assert_int_equal(c->sys_interval_s, 10);
    assert_null(c->pid_file);
    assert_null(c->user);
    assert_null(c->file);
    assert_false(c->daemon);
    assert_int_equal(c->log_dest, CONF_LOG_STDERR);
    assert_int_equal(c->log_types, LOG_T_ERROR | LOG_T_WARNING | LOG_T_NOTICE | LOG_T_INFO);
    assert_true(c->log_timestamp);
    assert_false(c->log_json);
    assert_int_equal(c->log_facility, LOG_DAEMON);
    assert_string_equal(b.warnings, "");
}

static void the_core_has_mosquittos_defaults(void **state)
{
    (void)state;
    struct core_config cfg;
    memset(&cfg, 0xff, sizeof cfg);
    conf_core_defaults(&cfg);
    assert_int_equal(cfg.max_packet_size, 2000000);
    assert_int_equal(cfg.message_size_limit, 0);
    assert_int_equal(cfg.max_inflight_messages, 20);
    assert_int_equal(cfg.max_inflight_bytes, 0);
    assert_int_equal(cfg.max_queued_messages, 1000);
    assert_int_equal(cfg.max_queued_bytes, 0);
    assert_false(cfg.queue_qos0_messages);
    assert_false(cfg.upgrade_outgoing_qos);
    assert_true(cfg.allow_zero_length_clientid);
    assert_true(cfg.retain_available);
    assert_int_equal(cfg.retain_expiry_interval_s, 0);
    assert_int_equal(cfg.persistent_client_expiration_s, 0);
    assert_int_equal(cfg.max_keepalive_s, 0);
    assert_int_equal(cfg.retry_interval_ms, 30000);
    assert_int_equal(cfg.retry_max_interval_ms, 300000);
    assert_int_equal(cfg.ack_timeout_ms, 0);
    assert_int_equal(cfg.max_topic_levels, 200);
    assert_int_equal(cfg.max_subscriptions, 0);
    assert_int_equal(cfg.max_retained_messages, 0);
    assert_int_equal(cfg.max_retained_bytes, 0);
    assert_int_equal(cfg.output_soft_bytes, 256 * 1024);
    assert_int_equal(cfg.output_hard_bytes, 4 * 1024 * 1024);
    assert_int_equal(cfg.slow_grace_ms, 1000);
    assert_int_equal(cfg.connect_timeout_ms, 10000);
    assert_true(cfg.connection_messages);
}

/* ---- the command line ---- */

static void the_port_of_the_command_line_counts_only_without_a_listener(void **state)
{
    (void)state;
    struct conf_args args = {.file = b.path, .port = 2000};
    write_file("main.conf", "sys_interval 5\n", 15);
    assert_int_equal(load_with(args), 0);
    assert_int_equal(b.conf->listener_count, 2);
    assert_int_equal(b.conf->listeners[0].port, 2000);
    assert_int_equal(b.conf->listeners[1].port, 2000);
    write_file("main.conf", "listener 1999\n", 14);
    assert_int_equal(load_with(args), 0);
    assert_int_equal(b.conf->listener_count, 1);
    assert_int_equal(b.conf->listeners[0].port, 1999);
    args.port = 65536;
    assert_int_equal(load_with(args), E_INVALID);
    assert_string_equal(b.error, "-p 65536 is no port: use 1 to 65535");
    args.port = 0;
    assert_int_equal(load_with(args), E_INVALID);
}

static void verbose_logs_everything_whatever_the_file_says(void **state)
{
    (void)state;
    write_file("main.conf", "log_type none\n", 14);
    struct conf_args args = {.file = b.path, .port = -1, .verbose = true, .daemon = true};
    assert_int_equal(load_with(args), 0);
    assert_int_equal(b.conf->log_types, LOG_T_ALL);
    assert_true(b.conf->daemon);
    assert_string_equal(b.conf->file, b.path);
}

/* ---- syntax ---- */

static void comments_blank_lines_line_ends_and_blanks_are_taken_as_mosquitto_does(void **state)
{
    (void)state;
    const struct conf *c = good("\xef\xbb\xbf# a comment \xff\n"
                                "\n"
                                "   \t \r\n"
                                "max_queued_messages 7   \r\n"
                                "  max_queued_bytes   9\n"
                                "log_timestamp_format %H # %M \n"
                                "sys_interval 3"); /* no newline at the end */
    assert_int_equal(c->core.max_queued_messages, 7);
    assert_int_equal(c->core.max_queued_bytes, 9);
    assert_string_equal(c->log_timestamp_format, "%H # %M");
    assert_int_equal(c->sys_interval_s, 3);
}

static void a_comment_counts_only_in_the_first_column(void **state)
{
    (void)state;
    bad("\n  # no comment\n", "main.conf:2: a comment must begin in the first column of its line");
    bad("max_qos 1 # one\n", "main.conf:1: 'max_qos' cannot be '1 # one': use a whole number, "
                             "0 to 2");
}

static void an_unknown_name_is_refused_with_the_nearest_one(void **state)
{
    (void)state;
    bad("\n\nmax_inflght_messages 3\n", "main.conf:3: unknown directive 'max_inflght_messages': "
                                        "did you mean 'max_inflight_messages'?");
    bad("lsitener 1883\n", "main.conf:1: unknown directive 'lsitener': did you mean 'listener'?");
    bad("Listener 1883\n", "main.conf:1: unknown directive 'Listener': did you mean 'listener'?");
    bad("frobnicate yes\n", "main.conf:1: unknown directive 'frobnicate'");
    bad("a_name_that_is_much_longer_than_any_directive_could_ever_be 1\n",
        "main.conf:1: unknown directive "
        "'a_name_that_is_much_longer_than_any_directive_could_ever_be'");
}

static void a_directive_without_a_value_is_told_what_it_wants(void **state)
{
    (void)state;
    bad("max_qos\n", "main.conf:1: 'max_qos' has no value: use a whole number, 0 to 2");
    bad("listener   \n", "main.conf:1: 'listener' has no value: use PORT [ADDRESS], or 0 "
                         "/path/of/a/unix/socket");
    bad("persistence\n", "main.conf:1: 'persistence' has no value: use true or false");
}

static void what_is_not_text_is_refused(void **state)
{
    (void)state;
    write_file("main.conf", "user a\0b\n", 9);
    assert_int_equal(load_file(), E_INVALID);
    assert_non_null(strstr(b.error, "main.conf:1: the line is not text in UTF-8"));
    bad("user \xff\n", "main.conf:1: the line is not text in UTF-8");
    char *line = mem_alloc(CONF_MAX_LINE_BYTES + 10);
    assert_non_null(line);
    memset(line, 'x', CONF_MAX_LINE_BYTES + 9);
    memcpy(line, "user ", 5);
    line[CONF_MAX_LINE_BYTES + 1] = 0;
    bad(line, "main.conf:1: the line is longer than 8192 bytes");
    line[CONF_MAX_LINE_BYTES] = 0;
    assert_int_equal(strlen(good(line)->user), CONF_MAX_LINE_BYTES - 5);
    mem_free(line);
}

static void a_file_that_is_too_large_or_missing_or_a_folder_is_refused(void **state)
{
    (void)state;
    char *text = mem_alloc(CONF_MAX_FILE_BYTES + 1);
    assert_non_null(text);
    memset(text, '\n', CONF_MAX_FILE_BYTES + 1);
    write_file("main.conf", text, CONF_MAX_FILE_BYTES);
    assert_int_equal(load_file(), 0);
    write_file("main.conf", text, CONF_MAX_FILE_BYTES + 1);
    assert_int_equal(load_file(), E_INVALID);
    assert_non_null(strstr(b.error, "main.conf: the file is larger than 1048576 bytes"));
    mem_free(text);
    unlink(b.path);
    assert_int_equal(load_file(), E_IO);
    assert_non_null(strstr(b.error, "main.conf: cannot open: No such file or directory"));
    assert_int_equal(load_with((struct conf_args){.file = b.folder, .port = -1}), E_IO);
    assert_non_null(strstr(b.error, ": cannot read: Is a directory"));
}

/* ---- values ---- */

static void booleans_are_true_false_1_0(void **state)
{
    (void)state;
    assert_true(good("queue_qos0_messages true\n")->core.queue_qos0_messages);
    assert_true(good("queue_qos0_messages 1\n")->core.queue_qos0_messages);
    assert_false(good("retain_available false\n")->core.retain_available);
    assert_false(good("retain_available 0\n")->core.retain_available);
    bad("retain_available yes\n",
        "main.conf:1: 'retain_available' cannot be 'yes': use true or false");
}

static void numbers_keep_to_their_range(void **state)
{
    (void)state;
    assert_int_equal(good("max_inflight_messages 65535\n")->core.max_inflight_messages, 65535);
    assert_int_equal(good("max_queued_messages 4294967295\n")->core.max_queued_messages,
                     UINT32_MAX);
    assert_int_equal(good("global_max_clients -1\n")->global_max_clients, -1);
    assert_int_equal(good("global_max_connections 12\n")->global_max_connections, 12);
    bad("max_inflight_messages 65536\n", "main.conf:1: 'max_inflight_messages' cannot be '65536': "
                                         "use a whole number, 0 to 65535");
    bad("max_inflight_messages -1\n", "main.conf:1: 'max_inflight_messages' cannot be '-1': use a "
                                      "whole number, 0 to 65535");
    bad("max_keepalive 1x\n",
        "main.conf:1: 'max_keepalive' cannot be '1x': use a whole number, 0 to 65535");
    bad("max_keepalive 99999999999999999999\n", "main.conf:1: 'max_keepalive' cannot be "
                                                "'99999999999999999999': use a whole number, 0 to "
                                                "65535");
}

static void sizes_are_bytes_or_binary_k_M_G(void **state)
{
    (void)state;
    assert_int_equal(good("max_queued_bytes 12\n")->core.max_queued_bytes, 12);
    assert_int_equal(good("max_queued_bytes 3k\n")->core.max_queued_bytes, 3072);
    assert_int_equal(good("max_queued_bytes 2M\n")->core.max_queued_bytes, 2 << 20);
    assert_int_equal(good("memory_limit 5G\n")->memory_limit, UINT64_C(5) << 30);
    bad("memory_limit 5T\n", "main.conf:1: 'memory_limit' cannot be '5T': use a size, 0 to 1024G "
                             "(bytes, or with k, M, G)");
    bad("memory_limit 9999999999G\n",
        "main.conf:1: 'memory_limit' cannot be '9999999999G': use a size, 0 to 1024G (bytes, or "
        "with k, M, G)");
}

static void max_packet_size_is_0_or_at_least_20(void **state)
{
    (void)state;
    assert_int_equal(good("max_packet_size 0\n")->core.max_packet_size, 0);
    assert_int_equal(good("max_packet_size 20\n")->core.max_packet_size, 20);
    assert_int_equal(good("max_packet_size 1M\n")->core.max_packet_size, 1 << 20);
    assert_int_equal(load("max_packet_size 19\n"), E_INVALID);
    assert_int_equal(load("max_packet_size 268435461\n"), E_INVALID);
}

static void durations_are_seconds_or_carry_a_unit(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ms;
    } cases[] = {{"0", 0},        {"7", 7000},       {"500ms", 500},   {"30s", 30000},
                 {"15m", 900000}, {"12h", 43200000}, {"7d", 604800000}};
    char text[64];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        snprintf(text, sizeof text, "ack_timeout %s\n", cases[i].text);
        assert_int_equal(good(text)->core.ack_timeout_ms, cases[i].ms);
    }
    assert_int_equal(good("sys_interval 2m\n")->sys_interval_s, 120);
    bad("ack_timeout 3 s\n", "main.conf:1: 'ack_timeout' cannot be '3 s': use a duration, 0 to "
                             "365d (500ms, 30s, 15m, 12h, 7d; a bare number is seconds)");
    assert_int_equal(load("ack_timeout -1\n"), E_INVALID);
    assert_int_equal(load("ack_timeout s\n"), E_INVALID);
    assert_int_equal(load("sys_interval 1500ms\n"), E_INVALID); /* kept in whole seconds */
    assert_int_equal(load("connect_timeout 99ms\n"), E_INVALID);
}

static void persistent_client_expiration_has_mosquittos_units(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t s;
    } cases[] = {{"30s", 30},     {"1h", 3600},    {"14d", 1209600},
                 {"2w", 1209600}, {"2m", 5184000}, {"1y", 31536000}};
    char text[64];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        snprintf(text, sizeof text, "persistent_client_expiration %s\n", cases[i].text);
        assert_int_equal(good(text)->core.persistent_client_expiration_s, cases[i].s);
    }
    assert_int_equal(load("persistent_client_expiration 30\n"), E_INVALID);
    assert_int_equal(load("persistent_client_expiration 0d\n"), E_INVALID);
    assert_int_equal(load("persistent_client_expiration 200y\n"), E_INVALID); /* past 32 bits */
}

static void shards_are_auto_or_a_count(void **state)
{
    (void)state;
    assert_int_equal(good("shards auto\n")->shards, 0);
    assert_int_equal(good("shards 64\n")->shards, 64);
    bad("shards 0\n", "main.conf:1: 'shards' cannot be '0': use auto, or 1 to 64");
    assert_int_equal(load("shards 65\n"), E_INVALID);
}

static void the_last_of_two_values_counts(void **state)
{
    (void)state;
    const struct conf *c = good("user one\nuser two\nmax_queued_messages 1\n"
                                "max_queued_messages 2\n");
    assert_string_equal(c->user, "two");
    assert_int_equal(c->core.max_queued_messages, 2);
}

static void limits_that_contradict_each_other_are_refused(void **state)
{
    (void)state;
    bad("output_soft_limit 8M\n", "main.conf: 'output_soft_limit' (8388608) must not be above "
                                  "'output_hard_limit' (4194304)");
    assert_int_equal(good("retry_interval 10m\n")->core.retry_max_interval_ms, 600000);
}

/* ---- the log ---- */

static void log_destinations_add_up(void **state)
{
    (void)state;
    assert_int_equal(good("log_dest stdout\n")->log_dest, CONF_LOG_STDOUT);
    const struct conf *c = good("log_dest syslog\nlog_dest file /tmp/a b\nlog_dest topic\n");
    assert_int_equal(c->log_dest, CONF_LOG_SYSLOG | CONF_LOG_FILE | CONF_LOG_TOPIC);
    assert_string_equal(c->log_file, "/tmp/a b");
    assert_int_equal(good("log_dest stdout\nlog_dest none\n")->log_dest, CONF_LOG_NONE);
    assert_int_equal(good("log_dest none\nlog_dest stdout\n")->log_dest, CONF_LOG_STDOUT);
    assert_int_equal(good("log_dest dlt\n")->log_dest, CONF_LOG_STDERR);
    assert_non_null(strstr(b.warnings, "'log_dest dlt' is ignored"));
    bad("log_dest file\n", "main.conf:1: 'log_dest file' needs a path");
    assert_int_equal(load("log_dest printer\n"), E_INVALID);
}

static void log_types_add_up(void **state)
{
    (void)state;
    assert_int_equal(good("log_type error\n")->log_types, LOG_T_ERROR);
    assert_int_equal(good("log_type error\nlog_type debug\nlog_type subscribe\n")->log_types,
                     LOG_T_ERROR | LOG_T_DEBUG | LOG_T_SUBSCRIBE);
    assert_int_equal(good("log_type all\n")->log_types, LOG_T_ALL);
    assert_int_equal(good("log_type all\nlog_type none\n")->log_types, 0);
    assert_int_equal(load("log_type loud\n"), E_INVALID);
}

static void the_other_log_settings_are_taken(void **state)
{
    (void)state;
    const struct conf *c = good("log_format json\nlog_facility 5\nlog_timestamp false\n"
                                "pid_file /run/x.pid\nconnection_messages false\n"
                                "set_tcp_nodelay false\n");
    assert_true(c->log_json);
    assert_int_equal(c->log_facility, LOG_LOCAL5);
    assert_false(c->log_timestamp);
    assert_string_equal(c->pid_file, "/run/x.pid");
    assert_false(c->core.connection_messages);
    assert_false(c->set_tcp_nodelay);
    assert_int_equal(load("log_format xml\n"), E_INVALID);
    assert_int_equal(load("log_facility 8\n"), E_INVALID);
}

/* ---- persistence ---- */

static void persistence_is_off_and_has_mosquittos_names(void **state)
{
    (void)state;
    const struct conf *c = good("");
    assert_false(c->persistence);
    assert_null(c->persistence_location);
    assert_string_equal(c->persistence_file, "mosquitto.db");
    assert_int_equal(c->durability.kind, STORE_COMMIT);
    assert_int_equal(c->store_segment_bytes, 64 << 20);
    assert_int_equal(c->store_checkpoint_bytes, 0);
    c = good("store_segment_size 64k\nstore_checkpoint_size 1M\n");
    assert_int_equal(c->store_segment_bytes, 64 << 10);
    assert_int_equal(c->store_checkpoint_bytes, 1 << 20);
    bad("store_segment_size 65535\n", "main.conf:1: 'store_segment_size' cannot be '65535': use a "
                                      "size, 64k to 1G (bytes, or with k, M, G)");
    c = good("persistence true\npersistence_location /var/lib/a b/\npersistence_file x.db\n");
    assert_true(c->persistence);
    assert_string_equal(c->persistence_location, "/var/lib/a b/");
    assert_string_equal(c->persistence_file, "x.db");
    assert_string_equal(b.warnings, "");
    assert_true(good("retained_persistence true\n")->persistence);
    assert_non_null(strstr(b.warnings, "main.conf:1: 'retained_persistence': Old name of"));
    good("autosave_on_changes true\n");
    assert_non_null(strstr(b.warnings, "main.conf:1: 'autosave_on_changes' is ignored: every"));
    bad("persistence maybe\n", "main.conf:1: 'persistence' cannot be 'maybe': use true or false");
}

static void persistence_file_is_the_name_of_a_file(void **state)
{
    (void)state;
    char line[512], name[CONF_MAX_NAME + 2];
    assert_string_equal(good("persistence_file sub/x.db\n")->persistence_file, "sub/x.db");
    bad("persistence_file a/\n", "main.conf:1: 'persistence_file' cannot be 'a/': use the name of "
                                 "a file, at most 200 bytes");
    assert_int_equal(load("persistence_file .\n"), E_INVALID);
    assert_int_equal(load("persistence_file a/..\n"), E_INVALID);
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = 0;
    snprintf(line, sizeof line, "persistence_file %s\n", name);
    assert_int_equal(load(line), E_INVALID);
    memcpy(name, "a/", 2); /* a folder does not count: the file's name is short enough again */
    snprintf(line, sizeof line, "persistence_file %s\n", name);
    assert_string_equal(good(line)->persistence_file, name);
}

static void durability_is_commit_interval_or_os(void **state)
{
    (void)state;
    assert_int_equal(good("durability os\n")->durability.kind, STORE_OS);
    assert_int_equal(good("durability os\ndurability commit\n")->durability.kind, STORE_COMMIT);
    const struct conf *c = good("durability interval 100ms\n");
    assert_int_equal(c->durability.kind, STORE_INTERVAL);
    assert_int_equal(c->durability.interval_ms, 100);
    assert_int_equal(good("durability interval  1h\n")->durability.interval_ms, 3600000);
    assert_int_equal(good("durability interval 2\n")->durability.interval_ms, 2000);
    assert_int_equal(good("durability interval 1s\ndurability os\n")->durability.interval_ms, 0);
    bad("durability interval\n", "main.conf:1: 'durability' cannot be 'interval': use commit, "
                                 "interval 1ms to 1h, or os");
    bad("durability interval 0\n", "main.conf:1: 'durability' cannot be 'interval 0': use commit, "
                                   "interval 1ms to 1h, or os");
    static const char *const wrong[] = {"none",         "interval 3601", "interval 1s 2s",
                                        "intervals 1s", "interval1s",    "commit 1s"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        char line[64];
        snprintf(line, sizeof line, "durability %s\n", wrong[i]);
        if (load(line) != E_INVALID) fail_msg("%s", line);
    }
}

/* ---- blocks ---- */

static void queues_are_blocks(void **state)
{
    (void)state;
    const struct conf *c = good("queue a\nqueue_topic t/#\nqueue_topic u\n"
                                "queue_ack_deadline 5s\nqueue_backoff 500ms  1m\n"
                                "queue b\nqueue_topic v\nqueue_filter n > 5\n"
                                "queue_order key\nqueue_overflow drop-oldest\n"
                                "queue_dispatch round-robin\nqueue_max_bytes 1M\n");
    assert_int_equal(c->core.queue_count, 2);
    const struct queue_conf *a = &c->core.queues[0], *q = &c->core.queues[1];
    const struct queue_settings defaults = QUEUE_SETTINGS_DEFAULT;
    assert_string_equal(a->name, "a");
    assert_int_equal(a->topic_count, 2);
    assert_string_equal(a->topics[1], "u");
    assert_null(a->filter);
    assert_int_equal(a->set.ack_deadline_ms, 5000);
    assert_int_equal(a->set.backoff_first_ms, 500);
    assert_int_equal(a->set.backoff_most_ms, 60000);
    assert_int_equal(a->set.max_deliveries, defaults.max_deliveries);
    assert_int_equal(a->set.max_messages, defaults.max_messages);
    assert_int_equal(a->set.max_bytes, defaults.max_bytes);
    assert_int_equal(a->set.prefetch, defaults.prefetch);
    assert_int_equal(a->set.overflow, QUEUE_DEAD_LETTER);
    assert_string_equal(q->filter, "n > 5");
    assert_int_equal(q->set.ack_deadline_ms, defaults.ack_deadline_ms);
    assert_int_equal(q->set.backoff_first_ms, defaults.backoff_first_ms);
    assert_int_equal(q->set.backoff_most_ms, defaults.backoff_most_ms);
    assert_int_equal(q->set.message_ttl_ms, 0);
    assert_int_equal(q->set.dedup_window_ms, defaults.dedup_window_ms);
    assert_int_equal(q->set.overflow, QUEUE_DROP_OLDEST);
    assert_int_equal(q->set.max_bytes, 1 << 20);
    assert_true(q->set.by_key);
    assert_true(q->set.round_robin);
}

static void queues_that_are_not_right_are_refused(void **state)
{
    (void)state;
    bad("queue_topic t\n",
        "main.conf:1: 'queue_topic' belongs to a queue: 'queue NAME' comes first");
    bad("queue a\n", "main.conf: queue 'a' has no queue_topic");
    bad("queue a/b\n", "main.conf:1: 'queue' cannot be 'a/b': use a name of one level, at most 255 "
                       "bytes");
    bad("queue a\nqueue_topic t\nqueue a\n", "main.conf:3: there is a queue 'a' above");
    bad("queue a\nqueue_topic t/#/u\n",
        "main.conf:2: 'queue_topic' cannot be 't/#/u': use a topic filter");
    bad("queue a\nqueue_backoff 2m 1m\n",
        "main.conf:2: 'queue_backoff' cannot be '2m 1m': use two durations, such as 1s 60s");
    bad("queue a\nqueue_overflow maybe\n", "main.conf:2: 'queue_overflow' cannot be 'maybe': use "
                                           "reject, drop-oldest or dead-letter");
    bad("queue a\nqueue_prefetch 0\n",
        "main.conf:2: 'queue_prefetch' cannot be '0': use a whole number, 1 to 65535");
}

/* ---- what this version does not do ---- */

static void a_history_is_a_block(void **state)
{
    (void)state;
    const struct core_config *c =
        &good("history sensors/#\nhistory_max_age 30m\nhistory_max_bytes 10k\n"
              "history logs/+\nhistory_max_per_topic 5\nhistory_max_age 0\nhistory_dedup_window "
              "2m\n")
             ->core;
    assert_int_equal(c->history_count, 2);
    assert_string_equal(c->histories[0].filter, "sensors/#");
    assert_int_equal(c->histories[0].max_age_ms, 30 * 60 * 1000);
    assert_int_equal(c->histories[0].max_bytes, 10240);
    assert_int_equal(c->histories[0].max_per_topic, 0);
    assert_string_equal(c->histories[1].filter, "logs/+");
    assert_int_equal(c->histories[1].max_age_ms, 0);
    assert_int_equal(c->histories[1].max_bytes, 1 << 30);
    assert_int_equal(c->histories[1].max_per_topic, 5);
    assert_int_equal(c->histories[0].dedup_window_ms, 0);
    assert_int_equal(c->histories[1].dedup_window_ms, 120000);
    bad("history_max_age 1d\n", "main.conf:1: 'history_max_age' belongs below a 'history FILTER'");
    bad("history a/#/b\n", "main.conf:1: 'history' cannot be 'a/#/b': use a topic filter");
    bad("history a\nhistory a\n", "main.conf:2: there is a history of 'a' already");
    bad("history a\nhistory_max_bytes many\n",
        "main.conf:2: 'history_max_bytes' cannot be 'many': use bytes, or with k M G; 0: no limit");
}

static void what_comes_later_is_refused_by_name(void **state)
{
    (void)state;
    bad("listener 8883\ntls_engine x\n",
        "main.conf:2: 'tls_engine' is not supported yet by this version");
    static const char *const lines[] = {
        "plugin_opt_config x",
        "auth_opt_x y",
        "connection other",
        "bridge_cafile /x",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        assert_int_equal(load(lines[i]), E_INVALID);
        if (strstr(b.error, " is not supported yet by this version") == NULL)
            fail_msg("%s: %s", lines[i], b.error);
    }
}

/* main.conf names the file "acl", whose text this is. */
static int load_acl(const char *text)
{
    char line[160];
    snprintf(line, sizeof line, "acl_file %s/acl\n", b.folder);
    write_file("acl", text, strlen(text));
    return load(line);
}

static void an_access_list_is_read_with_the_configuration(void **state)
{
    (void)state;
    assert_int_equal(load_acl("topic read a\n"), 0);
    assert_non_null(b.conf->core.acl);
    assert_string_equal(b.warnings, "");
    assert_null(good("log_type all\n")->core.acl);
}

static void an_empty_access_list_allows_nothing_and_that_is_said(void **state)
{
    (void)state;
    char expected[160];
    assert_int_equal(load_acl("# nobody\n"), 0);
    assert_non_null(b.conf->core.acl);
    snprintf(expected, sizeof expected,
             "%s/acl: the access list is empty: nobody may do anything\n", b.folder);
    assert_string_equal(b.warnings, expected);
}

static void a_mistake_in_an_access_list_names_its_line(void **state)
{
    (void)state;
    char expected[160];
    assert_int_equal(load_acl("user bob\n\ntopic rw a\n"), E_INVALID);
    assert_null(b.conf);
    snprintf(
        expected, sizeof expected,
        "%s/acl:3: 'rw' is no access: use read, write, readwrite or deny, or the features filter, "
        "replay, queue, dead",
        b.folder);
    assert_string_equal(b.error, expected);
}

static void an_access_list_that_is_not_there_is_an_error(void **state)
{
    (void)state;
    assert_int_equal(load("acl_file /nowhere/acl\n"), E_IO);
    assert_null(b.conf);
    assert_string_equal(b.error, "/nowhere/acl: cannot open: No such file or directory");
}

static void each_listener_may_have_an_access_list(void **state)
{
    (void)state;
    char text[400];
    write_file("acl", "topic a\n", 8);
    write_file("empty", "", 0);
    snprintf(text, sizeof text,
             "per_listener_settings true\nlistener 1\nacl_file %s/acl\nlistener 2\nlistener 3\n"
             "acl_file %s/empty\nlistener 4\nacl_file %s/acl\nallow_anonymous true\n",
             b.folder, b.folder, b.folder);
    assert_int_equal(load(text), 0);
    const struct core_config *c = &b.conf->core;
    assert_null(c->acl);
    assert_int_equal(c->listener_count, 4);
    assert_non_null(c->listener_acls[0]);
    assert_null(c->listener_acls[1]);
    assert_true(acl_is_empty(c->listener_acls[2]));
    assert_false(acl_is_empty(c->listener_acls[3]));
    assert_non_null(strstr(b.warnings, "/empty: the access list is empty"));
    assert_int_equal(load("per_listener_settings true\nlistener 1883\nacl_file /x\n"), E_IO);
}

/* After a reload the sockets are those of the start. */
static void lists_keep_the_number_of_their_listener(void **state)
{
    (void)state;
    char text[400];
    write_file("acl", "topic a\n", 8);
    struct conf *first = NULL;
    char *error = NULL;
    write_file("first.conf", "listener 1\nlistener 2\nlistener 3\n", 33);
    snprintf(text, sizeof text, "%s/first.conf", b.folder);
    struct conf_args args = {.file = text, .port = -1};
    assert_int_equal(conf_load(&first, &args, &error, NULL, NULL), 0);
    for (uint16_t i = 0; i < 3; i++) assert_int_equal(first->listeners[i].core.number, i);
    char wanted[400];
    snprintf(wanted, sizeof wanted,
             "per_listener_settings true\nlistener 4\nlistener 3\nacl_file %s/acl\nlistener 1\n",
             b.folder);
    assert_int_equal(load(wanted), 0);
    assert_int_equal(conf_number_listeners(b.conf, first), 0);
    const struct core_config *c = &b.conf->core;
    assert_int_equal(c->listener_count, 3);
    assert_null(c->listener_acls[0]);
    assert_true(acl_is_empty(c->listener_acls[1])); /* open, and not in the file any more */
    assert_ptr_equal(c->listener_acls[2], b.conf->listeners[1].acl);
    assert_non_null(c->listener_acls[2]);
    conf_free(&first);
}

static void a_feature_that_comes_later_may_be_switched_off(void **state)
{
    (void)state;
    good("require_certificate false\nenable_control_api false\n");
    bad("enable_control_api true\n",
        "main.conf:1: 'enable_control_api true' is not supported yet by this version");
    bad("enable_control_api maybe\n",
        "main.conf:1: 'enable_control_api' cannot be 'maybe': use true or false");
}

static void what_has_no_effect_is_accepted_with_a_warning(void **state)
{
    (void)state;
    good("\nautosave_interval 30\nallow_duplicate_messages true\nretain_expiry_interval 60\n");
    assert_non_null(strstr(b.warnings, "main.conf:2: 'autosave_interval' is ignored: every change "
                                       "is stored at once; durability says when it is safe\n"));
    assert_non_null(strstr(b.warnings, "main.conf:3: 'allow_duplicate_messages' is ignored"));
    /* mosquitto's is the time between two searches; taken as an age it would delete messages. */
    assert_int_equal(b.conf->core.retain_expiry_interval_s, 0);
}

/* ---- include_dir ---- */

static void include_with(const char *rest)
{
    char text[512];
    snprintf(text, sizeof text, "max_queued_messages 1\ninclude_dir %s/d\n%s", b.folder, rest);
    write_file("main.conf", text, strlen(text));
}

static void make_folder(void)
{
    char path[128];
    snprintf(path, sizeof path, "%s/d", b.folder);
    assert_int_equal(mkdir(path, 0700), 0);
}

static void included_files_come_in_mosquittos_order(void **state)
{
    (void)state;
    make_folder();
    write_file("d/b.conf", "user small\n", 11);
    write_file("d/B.conf", "user large\nlistener 1890\n", 25);
    write_file("d/a.conf", "user first\nmax_queued_messages 2\n", 33);
    write_file("d/c.txt", "nonsense\n", 9);
    write_file("d/.conf", "nonsense\n", 9);
    include_with("max_qos 1\n");
    assert_int_equal(load_file(), 0);
    assert_string_equal(b.conf->user, "small");
    assert_int_equal(b.conf->core.max_queued_messages, 2);
    assert_int_equal(b.conf->listener_count, 1);
    assert_non_null(strstr(b.conf->listeners[0].file, "/d/B.conf"));
    /* The main file goes on with its own listener, here the default one. */
    assert_int_equal(b.conf->listeners[0].core.max_qos, 2);
    assert_non_null(strstr(b.warnings, "'max_qos' in line 3 stands before any 'listener'"));
}

static void an_included_file_does_not_go_on_with_the_listener_above_it(void **state)
{
    (void)state;
    char text[256];
    make_folder();
    write_file("d/a.conf", "max_connections 3\n", 18);
    int n = snprintf(text, sizeof text, "listener 1890\ninclude_dir %s/d\nmax_qos 1\n", b.folder);
    write_file("main.conf", text, (size_t)n);
    assert_int_equal(load_file(), 0);
    assert_int_equal(b.conf->listener_count, 1);
    assert_int_equal(b.conf->listeners[0].max_connections, -1);
    assert_int_equal(b.conf->listeners[0].core.max_qos, 1);
    assert_non_null(strstr(b.warnings, "'max_connections' in line 1 stands before any"));
}

static void an_error_in_an_included_file_names_that_file(void **state)
{
    (void)state;
    make_folder();
    write_file("d/a.conf", "\nmax_qos 3\n", 11);
    include_with("");
    assert_int_equal(load_file(), E_INVALID);
    assert_non_null(strstr(b.error, "/d/a.conf:2: 'max_qos' cannot be '3'"));
    write_file("main.conf", "\ninclude_dir /nowhere/at/all\n", 29);
    assert_int_equal(load_file(), E_IO);
    assert_non_null(strstr(b.error, "main.conf:2: cannot open the folder '/nowhere/at/all': No "
                                    "such file or directory"));
}

static void a_folder_that_includes_itself_ends_with_an_error(void **state)
{
    (void)state;
    char text[128];
    make_folder();
    int n = snprintf(text, sizeof text, "include_dir %s/d\n", b.folder);
    write_file("d/a.conf", text, (size_t)n);
    include_with("");
    assert_int_equal(load_file(), E_INVALID);
    assert_non_null(strstr(b.error, "d/a.conf:1: 'include_dir' within 'include_dir', more than 10 "
                                    "deep"));
}

/* ---- failures ---- */

static void without_memory_nothing_is_loaded_and_nothing_leaks(void **state)
{
    (void)state;
    static const char text[] = "listener 1883 127.0.0.1\nmount_point a/\nlog_dest file /tmp/x\n"
                               "user me\nport 1884\nbind_interface lo\nallow_anonymous true\n"
                               "clientid_prefixes x\nauto_id_prefix y\n"
                               "listener_auto_id_prefix z\npersistence_location /x\n"
                               "listener 9883\nprotocol http_api\n"
                               "persistence_file y\nfilter hot temp > 30 AND EXISTS x\n";
    write_file("main.conf", text, sizeof text - 1);
    for (long n = 0;; n++) {
        assert_in_range(n, 0, 500);
        forget();
        struct conf_args args = {.file = b.path, .port = -1};
        mem_fail_after(n);
        int rc = conf_load(&b.conf, &args, &b.error, NULL, NULL);
        if (!mem_fail_after(-1)) {
            assert_int_equal(rc, 0);
            assert_true(n > 20);
            return;
        }
        assert_int_equal(rc, E_NOMEM);
        assert_null(b.conf);
    }
}

static void filters_have_names(void **state)
{
    (void)state;
    const struct conf *c = good("filter hot  temp > 30\nfilter a.b-C_1 EXISTS x AND\tx = 'y z'\n");
    assert_int_equal(c->core.named_filter_count, 2);
    assert_string_equal(c->core.named_filters[0].name, "hot");
    assert_string_equal(c->core.named_filters[0].text, "temp > 30");
    assert_string_equal(c->core.named_filters[1].name, "a.b-C_1");
    assert_string_equal(c->core.named_filters[1].text, "EXISTS x AND\tx = 'y z'");
    assert_true(c->core.filter_index);
    assert_false(good("filter_index off\n")->core.filter_index);
    bad("filter_index maybe\n", "main.conf:1: 'filter_index' cannot be 'maybe': use on or off");
    bad("user x\nfilter hot a = 1 AND b = 2 OR c = 3\n",
        "main.conf:2: filter hot: column 17: AND, OR and XOR are one level, left to right: mix "
        "them "
        "with parentheses");
    bad("filter hot a = 1\nfilter hot a = 2\n", "main.conf:2: filter hot is there already");
    bad("filter hot\n", "main.conf:1: 'filter hot': use NAME EXPRESSION, the name of letters, "
                        "digits, '_', '-' and '.', at most 64");
    assert_int_equal(load("filter a/b a = 1\n"), E_INVALID);
    assert_int_equal(
        load("filter 12345678901234567890123456789012345678901234567890123456789012345 "
             "a = 1\n"),
        E_INVALID);
    enum { ROOM = CONF_MAX_FILTERS * 20 + 40 };
    char *many = mem_alloc(ROOM);
    size_t n = 0;
    assert_non_null(many);
    for (int i = 0; i < CONF_MAX_FILTERS; i++)
        n += (size_t)snprintf(many + n, ROOM - n, "filter f%d a = %d\n", i, i);
    assert_int_equal(good(many)->core.named_filter_count, CONF_MAX_FILTERS);
    snprintf(many + n, ROOM - n, "filter one a = 1\n");
    bad(many, "main.conf:1001: more than 1000 filters");
    mem_free(many);
}

static void the_file_that_run_sh_starts_with_is_right(void **state)
{
    (void)state;
    char path[4096];
    const char *end = strstr(__FILE__, "tests/unit/");
    assert_non_null(end);
    snprintf(path, sizeof path, "%.*sconf/sluice.conf", (int)(end - __FILE__), __FILE__);
    int rc = load_with((struct conf_args){.file = path, .port = -1});
    if (rc < 0) fail_msg("%s", b.error);
    assert_string_equal(b.warnings, "");
    assert_int_equal(b.conf->listener_count, 5);
    for (size_t i = 0; i < 4; i++) {
        const struct conf_listener *l = &b.conf->listeners[i];
        assert_true(l->core.allow_anonymous);
        assert_string_equal(l->address, i % 2 ? "::1" : "127.0.0.1");
        assert_int_equal(l->port, i < 2 ? 1883 : 8083);
        assert_int_equal(l->websockets, i >= 2);
    }
    assert_true(b.conf->listeners[4].http_api);
    assert_int_equal(b.conf->listeners[4].port, 9883);
    assert_string_equal(b.conf->listeners[4].address, "localhost");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        A_TEST(without_a_file_both_loopback_addresses_are_open_to_everybody),
        A_TEST(the_core_has_mosquittos_defaults),
        A_TEST(the_port_of_the_command_line_counts_only_without_a_listener),
        A_TEST(verbose_logs_everything_whatever_the_file_says),
        A_TEST(comments_blank_lines_line_ends_and_blanks_are_taken_as_mosquitto_does),
        A_TEST(a_comment_counts_only_in_the_first_column),
        A_TEST(an_unknown_name_is_refused_with_the_nearest_one),
        A_TEST(a_directive_without_a_value_is_told_what_it_wants),
        A_TEST(what_is_not_text_is_refused),
        A_TEST(a_file_that_is_too_large_or_missing_or_a_folder_is_refused),
        A_TEST(booleans_are_true_false_1_0),
        A_TEST(numbers_keep_to_their_range),
        A_TEST(sizes_are_bytes_or_binary_k_M_G),
        A_TEST(max_packet_size_is_0_or_at_least_20),
        A_TEST(durations_are_seconds_or_carry_a_unit),
        A_TEST(persistent_client_expiration_has_mosquittos_units),
        A_TEST(shards_are_auto_or_a_count),
        A_TEST(the_last_of_two_values_counts),
        A_TEST(limits_that_contradict_each_other_are_refused),
        A_TEST(log_destinations_add_up),
        A_TEST(log_types_add_up),
        A_TEST(the_other_log_settings_are_taken),
        A_TEST(persistence_is_off_and_has_mosquittos_names),
        A_TEST(persistence_file_is_the_name_of_a_file),
        A_TEST(durability_is_commit_interval_or_os),
        A_TEST(a_history_is_a_block),
        A_TEST(what_comes_later_is_refused_by_name),
        A_TEST(an_access_list_is_read_with_the_configuration),
        A_TEST(an_empty_access_list_allows_nothing_and_that_is_said),
        A_TEST(a_mistake_in_an_access_list_names_its_line),
        A_TEST(an_access_list_that_is_not_there_is_an_error),
        A_TEST(each_listener_may_have_an_access_list),
        A_TEST(lists_keep_the_number_of_their_listener),
        A_TEST(queues_are_blocks),
        A_TEST(queues_that_are_not_right_are_refused),
        A_TEST(a_feature_that_comes_later_may_be_switched_off),
        A_TEST(what_has_no_effect_is_accepted_with_a_warning),
        A_TEST(included_files_come_in_mosquittos_order),
        A_TEST(an_included_file_does_not_go_on_with_the_listener_above_it),
        A_TEST(an_error_in_an_included_file_names_that_file),
        A_TEST(a_folder_that_includes_itself_ends_with_an_error),
        A_TEST(without_memory_nothing_is_loaded_and_nothing_leaks),
        A_TEST(filters_have_names),
        A_TEST(the_file_that_run_sh_starts_with_is_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
