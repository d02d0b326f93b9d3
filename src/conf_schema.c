/* The one table of directives: every name of mosquitto.conf 2.1 and our own, with type, range,
 * default and what becomes of it.  The reader, its messages and docs/reference/configuration.md
 * are all made from it.  Read-only: any thread. */
#include "conf_int.h"
#include "core/queue_conf.h"

#define IN_CONF(member)                                                                            \
    .scope = CONF_GENERAL, .offset = offsetof(struct conf, member),                                \
    .width = sizeof(((struct conf *)0)->member)
#define IN_CORE(member) IN_CONF(core.member)
#define IN_DRAFT(member)                                                                           \
    .offset = offsetof(struct conf_draft, member), .width = sizeof(((struct conf_draft *)0)->member)
#define IN_QUEUE(member)                                                                           \
    .scope = CONF_QUEUE, .offset = offsetof(struct queue_conf, member),                            \
    .width = sizeof(((struct queue_conf *)0)->member)
#define OWN(function, text) .kind = CONF_OWN, .apply = conf_apply_##function, .values = (text)
#define RELOAD              .reloadable = true
#define TLS_TEXT(text)      RELOAD, .scope = CONF_LISTENER, OWN(tls_text, (text))
#define TLS_BOOL(member)                                                                           \
    RELOAD, .scope = CONF_LISTENER, IN_DRAFT(tls.member), .initial = "false",                      \
            OWN(tls_certificate, "true or false")
#define A_FILE "the path of a file"
#define LATER(directive)                                                                           \
    {                                                                                              \
        .name = (directive), .status = CONF_NOT_YET, .kind = CONF_TEXT                             \
    }
#define UNUSED(directive, why)                                                                     \
    {                                                                                              \
        .name = (directive), .status = CONF_IGNORED, .kind = CONF_TEXT, .help = (why)              \
    }

enum { SECOND = 1000, PAYLOAD_MAX = 268435455 }; /* the largest remaining length */
#define YEAR_MS   (INT64_C(365) * 86400 * 1000)
#define HUGE_SIZE (INT64_C(1) << 40)

static int conf_apply_dispatch(struct conf_reader *r, const struct conf_directive *d,
                               const char *value)
{
    bool in_turn = strcmp(value, "round-robin") == 0;
    if (!in_turn && strcmp(value, "least-inflight") != 0)
        return conf_fail(r, E_INVALID, "'%s' cannot be '%s': use %s", d->name, value, d->values);
    r->conf->core.shared_round_robin = in_turn;
    return 0;
}

static const struct conf_directive schema[] = {
    {.name = "shards",
     .section = "General",
     IN_CONF(shards),
     OWN(shards, "auto, or 1 to 64"),
     .initial = "auto",
     .help = "Worker threads, each with its own connections and sessions. auto: one for each CPU "
             "the process may use."},
    {.name = "user",
     IN_CONF(user),
     .kind = CONF_TEXT,
     .help = "When started as root: become this user after the ports are open. Default: stay."},
    {.name = "pid_file",
     IN_CONF(pid_file),
     .kind = CONF_TEXT,
     .help = "File to write the process id to."},
    {.name = "include_dir",
     .kind = CONF_TEXT,
     .help = "Reads all files *.conf of a folder here, capital letters before small ones. In each "
             "file listener options start again with the default listener."},
    {.name = "sys_interval",
     IN_CONF(sys_interval_s),
     RELOAD,
     .kind = CONF_DURATION,
     .unit_ms = SECOND,
     .max = 65535,
     .initial = "10",
     .help = "Time between updates of the $SYS topics; 0: no $SYS topics."},
    {.name = "set_tcp_nodelay",
     IN_CONF(set_tcp_nodelay),
     RELOAD,
     .kind = CONF_BOOL,
     .initial = "true",
     .help = "Send small packets at once. mosquitto's default is false; ours is true, because a "
             "turn's output leaves in one write already, and waiting for the peer's TCP "
             "acknowledgement would only add delay."},
    {.name = "connection_messages",
     IN_CORE(connection_messages),
     RELOAD,
     .kind = CONF_BOOL,
     .initial = "true",
     .help = "Log when clients connect and disconnect."},
    {.name = "enable_control_api", .status = CONF_NOT_YET, .kind = CONF_BOOL},

    {.name = "listener",
     .section = "Listeners",
     .scope = CONF_LISTENER,
     OWN(listener, "PORT [ADDRESS], or 0 /path/of/a/unix/socket"),
     .help = "Opens a port, on all addresses when none is given; the listener options below it "
             "belong to it. Without any listener: 127.0.0.1 and ::1, port 1883 or that of -p, "
             "anonymous."},
    {.name = "port",
     .status = CONF_MAPPED,
     .scope = CONF_LISTENER,
     OWN(port, "1 to 65535"),
     .help = "Old form of the first listener; use listener instead."},
    {.name = "bind_address",
     .status = CONF_MAPPED,
     .scope = CONF_LISTENER,
     OWN(bind, "an address or a host name"),
     .help = "Address of the listener made by port; use listener instead."},
    {.name = "bind_interface",
     .scope = CONF_LISTENER,
     IN_DRAFT(listener.bind_interface),
     OWN(bind, "the name of a network interface"),
     .help = "Listen on the addresses of this interface."},
    {.name = "socket_domain",
     .scope = CONF_LISTENER,
     IN_DRAFT(listener.socket_domain),
     OWN(domain, "ipv4 or ipv6"),
     .help = "Use only this family. Default: both."},
    {.name = "protocol",
     RELOAD,
     .scope = CONF_LISTENER,
     OWN(protocol, "mqtt, websockets or http_api"),
     .initial = "mqtt",
     .help =
         "websockets: MQTT in WebSockets (ws, and with certfile wss), as browsers speak it; the "
         "path of the URL does not matter. http_api: the admin listener, for sluicectl, Prometheus "
         "and browsers; on loopback when it has no address (docs/reference/http-api.md)."},
    {.name = "max_connections",
     RELOAD,
     .scope = CONF_LISTENER,
     IN_DRAFT(listener.max_connections),
     .kind = CONF_NUMBER,
     .min = -1,
     .max = INT32_MAX,
     .initial = "-1",
     .help = "Connections of this listener at a time; -1: no limit."},
    {.name = "max_qos",
     RELOAD,
     .scope = CONF_LISTENER,
     IN_DRAFT(listener.core.max_qos),
     .kind = CONF_NUMBER,
     .max = 2,
     .initial = "2",
     .help = "Highest QoS that clients may publish with [MQTT-3.2.2-9]."},
    {.name = "maximum_qos",
     .status = CONF_MAPPED,
     RELOAD,
     .scope = CONF_LISTENER,
     IN_DRAFT(listener.core.max_qos),
     .kind = CONF_NUMBER,
     .max = 2,
     .help = "Old name of max_qos."},
    {.name = "max_topic_alias",
     RELOAD,
     .scope = CONF_LISTENER,
     IN_DRAFT(listener.core.max_topic_alias),
     .kind = CONF_NUMBER,
     .max = 65535,
     .initial = "10",
     .help = "Topic aliases that an MQTT 5 client may use; 0: none."},
    {.name = "max_topic_alias_broker",
     RELOAD,
     .scope = CONF_LISTENER,
     IN_DRAFT(listener.core.max_topic_alias_broker),
     .kind = CONF_NUMBER,
     .max = 65535,
     .initial = "10",
     .help = "Topic aliases used towards an MQTT 5 client that allows them."},
    {.name = "accept_protocol_versions",
     RELOAD,
     .scope = CONF_LISTENER,
     IN_DRAFT(listener.core.accept_versions),
     OWN(versions, "some of 3, 4, 5"),
     .initial = "3, 4, 5",
     .help = "MQTT versions let in: 3 (3.1), 4 (3.1.1), 5."},
    {.name = "mount_point",
     RELOAD,
     .scope = CONF_LISTENER,
     IN_DRAFT(listener.core.mount_point),
     OWN(mount, "the beginning of a topic, without + and #"),
     .help = "Put before every topic of the listener's clients, and taken off again."},
    {.name = "use_username_as_clientid",
     RELOAD,
     .scope = CONF_LISTENER,
     IN_DRAFT(listener.core.use_username_as_clientid),
     .kind = CONF_BOOL,
     .initial = "false",
     .help = "The user name replaces the client id."},
    {.name = "listener_allow_anonymous",
     RELOAD,
     .scope = CONF_LISTENER,
     IN_DRAFT(anonymous_own),
     OWN(anonymous, "true or false"),
     .help = "allow_anonymous for this listener alone."},
    {.name = "listener_auto_id_prefix",
     RELOAD,
     .scope = CONF_LISTENER,
     IN_DRAFT(auto_id_own),
     OWN(prefix, "text, at most 50 bytes"),
     .help = "auto_id_prefix for this listener alone."},
    UNUSED("packet_buffer_size", "a connection's buffer grows with the data that arrives"),
    {.name = "enable_proxy_protocol",
     RELOAD,
     .scope = CONF_LISTENER,
     IN_DRAFT(listener.proxy_version),
     .kind = CONF_NUMBER,
     .min = 1,
     .max = 2,
     .help = "Whoever connects must begin with a PROXY header of this version, and the address in "
             "it is the client's from then on. Only a proxy may be able to reach the listener, as "
             "it is believed. With certfile, TLS comes behind the header. Default: no header."},
    {.name = "proxy_protocol_v2_require_tls",
     RELOAD,
     .scope = CONF_LISTENER,
     IN_DRAFT(listener.proxy_needs_tls),
     .kind = CONF_BOOL,
     .initial = "false",
     .help = "Refuse clients that did not come to the proxy by TLS, as its header says. "
             "require_certificate and use_identity_as_username too go by the header of version 2 "
             "when the listener itself does not speak TLS."},

    {.name = "per_listener_settings",
     .section = "Who may connect",
     RELOAD,
     OWN(per_listener, "true or false"),
     .initial = "false",
     .help = "allow_anonymous, password_file, auto_id_prefix and jwt_... belong to the listener "
             "above them instead of to all. Must come before them."},
    {.name = "allow_anonymous",
     RELOAD,
     .scope = CONF_SECURITY,
     IN_DRAFT(anonymous),
     OWN(anonymous, "true or false"),
     .initial = "false; true without a listener",
     .help = "Let clients in without a user name."},
    {.name = "allow_zero_length_clientid",
     IN_CORE(allow_zero_length_clientid),
     RELOAD,
     .kind = CONF_BOOL,
     .initial = "true",
     .help = "Give an id to clients that have none; always for all listeners."},
    {.name = "auto_id_prefix",
     RELOAD,
     .scope = CONF_SECURITY,
     IN_DRAFT(auto_id_prefix),
     OWN(prefix, "text, at most 50 bytes"),
     .initial = "auto-",
     .help = "Begins the ids given."},
    {.name = "clientid_prefixes",
     RELOAD,
     OWN(prefix, "text, at most 50 bytes"),
     .help = "Only client ids that begin so are let in."},
    {.name = "password_file",
     RELOAD,
     .scope = CONF_SECURITY,
     .offset = offsetof(struct conf_draft, password_file),
     .kind = CONF_TEXT,
     .help = "File of users and hashed passwords, as `sluicectl passwd` and mosquitto_passwd write "
             "it. Who gives a user name must be in it; who gives none still needs "
             "`allow_anonymous true`. Read again on SIGHUP: that disconnects nobody."},
    {.name = "jwt_keys_file",
     RELOAD,
     .scope = CONF_SECURITY,
     .offset = offsetof(struct conf_draft, jwt.keys_file),
     .kind = CONF_TEXT,
     .help = "Lets clients give a JSON Web Token as their password: a file with the issuer's keys, "
             "as a JWK Set or as public keys or certificates in PEM (HS256, RS256, ES256 and their "
             "longer kin; a key fits one algorithm only). A password with the form of a token is "
             "checked as one and not looked for in password_file. The user name is the token's: "
             "another one in CONNECT is refused. When the token ends (exp) the connection does. "
             "Read again on SIGHUP: that disconnects nobody."},
    {.name = "jwt_issuer",
     RELOAD,
     .scope = CONF_SECURITY,
     .offset = offsetof(struct conf_draft, jwt.issuer),
     .kind = CONF_TEXT,
     .help = "Take only tokens whose iss is this. Default: any."},
    {.name = "jwt_audience",
     RELOAD,
     .scope = CONF_SECURITY,
     .offset = offsetof(struct conf_draft, jwt.audience),
     .kind = CONF_TEXT,
     .help = "Take only tokens whose aud is or holds this. Default: any."},
    {.name = "jwt_username_claim",
     RELOAD,
     .scope = CONF_SECURITY,
     .offset = offsetof(struct conf_draft, jwt.username_claim),
     .kind = CONF_TEXT,
     .initial = "sub",
     .help = "The claim of a token that is the user name."},
    {.name = "jwt_require_expiry",
     RELOAD,
     .scope = CONF_SECURITY,
     IN_DRAFT(jwt.require_expiry),
     .kind = CONF_BOOL,
     .initial = "true",
     .help = "Take only tokens that end (exp)."},
    {.name = "jwt_clock_skew",
     RELOAD,
     .scope = CONF_SECURITY,
     IN_DRAFT(jwt.clock_skew_s),
     .kind = CONF_DURATION,
     .unit_ms = SECOND,
     .max = 3600,
     .initial = "30",
     .help =
         "A token begins so much earlier and ends so much later than it says, as clocks differ."},
    {.name = "acl_file",
     RELOAD,
     IN_CONF(acl_file),
     .kind = CONF_TEXT,
     .help = "A file in mosquitto's grammar that says who may read and write which topics; what it "
             "does not allow is denied. Without it everybody may do everything. A reload reads it "
             "again, and it holds for clients that are connected, too."},
    {.name = "check_retain_source",
     RELOAD,
     IN_CORE(check_retain_source),
     .kind = CONF_BOOL,
     .initial = "true",
     .help = "A retained message is sent to new subscriptions only as long as who published it may "
             "still write its topic by acl_file. It stays where it is meanwhile."},
    LATER("psk_file"),
    LATER("plugin"),
    LATER("global_plugin"),
    LATER("auth_plugin"),
    LATER("plugin_load"),
    LATER("plugin_use"),
    LATER("plugin_opt_*"),
    LATER("auth_opt_*"),
    LATER("auth_plugin_deny_special_chars"),

    {.name = "connect_timeout",
     .section = "Limits",
     IN_CORE(connect_timeout_ms),
     RELOAD,
     .kind = CONF_DURATION,
     .unit_ms = 1,
     .min = 100,
     .max = 3600 * 1000,
     .initial = "10s",
     .help = "From the opening of a connection to a whole CONNECT."},
    {.name = "global_max_clients",
     IN_CONF(global_max_clients),
     RELOAD,
     .kind = CONF_NUMBER,
     .min = -1,
     .max = INT32_MAX,
     .initial = "-1",
     .help = "Sessions, connected or not; -1: no limit."},
    {.name = "global_max_connections",
     IN_CONF(global_max_connections),
     RELOAD,
     .kind = CONF_NUMBER,
     .min = -1,
     .max = INT32_MAX,
     .initial = "-1",
     .help = "Connections of all listeners at a time; -1: no limit."},
    {.name = "max_keepalive",
     IN_CORE(max_keepalive_s),
     RELOAD,
     .kind = CONF_NUMBER,
     .max = 65535,
     .initial = "0",
     .help =
         "Seconds; MQTT 5 clients that ask for more, or for none, get this, others are refused. "
         "0: no limit."},
    {.name = "max_packet_size",
     IN_CORE(max_packet_size),
     RELOAD,
     OWN(packet_size, "0, or 20 to 268435460 bytes, also with k, M, G"),
     .initial = "2000000",
     .help = "Largest packet taken from a client; 0: the protocol's limit."},
    {.name = "message_size_limit",
     IN_CORE(message_size_limit),
     RELOAD,
     .kind = CONF_SIZE,
     .max = PAYLOAD_MAX,
     .initial = "0",
     .help = "Largest payload; a larger message is refused, its sender stays. 0: no limit."},
    {.name = "memory_limit",
     IN_CONF(memory_limit),
     RELOAD,
     .kind = CONF_SIZE,
     .max = HUGE_SIZE,
     .initial = "0",
     .help = "Above so many bytes of memory new clients and publishes are refused; above 7/8 of "
             "them publishers are slowed down. 0: no limit."},
    {.name = "max_topic_levels",
     IN_CORE(max_topic_levels),
     RELOAD,
     .kind = CONF_NUMBER,
     .min = 1,
     .max = 200,
     .initial = "200",
     .help = "Levels of a topic or topic filter."},
    {.name = "max_replays_per_client",
     IN_CORE(max_replays_per_client),
     RELOAD,
     .kind = CONF_NUMBER,
     .min = 1,
     .max = 100000,
     .initial = "100",
     .help = "Subscriptions with a replay, of one session."},
    {.name = "filter_index",
     IN_CORE(filter_index),
     RELOAD,
     OWN(filter_index, "on or off"),
     .initial = "on",
     .help = "More than 16 attribute filters on one topic filter are looked up by what a message "
             "is; off: each of them is asked in turn."},
    {.name = "filter_max_length",
     IN_CORE(filter_max_length),
     RELOAD,
     .kind = CONF_NUMBER,
     .min = 1,
     .max = 65535,
     .initial = "8192",
     .help = "Bytes of an attribute filter."},
    {.name = "filter_max_predicates",
     IN_CORE(filter_max_predicates),
     RELOAD,
     .kind = CONF_NUMBER,
     .min = 1,
     .max = 65536,
     .initial = "256",
     .help = "Comparisons, LIKE, IN and EXISTS in one attribute filter."},
    {.name = "max_filters_per_client",
     IN_CORE(max_filters_per_client),
     RELOAD,
     .kind = CONF_NUMBER,
     .max = INT32_MAX,
     .initial = "1000",
     .help = "Subscriptions with an attribute filter, of one session; 0: no limit."},
    {.name = "max_subscriptions",
     IN_CORE(max_subscriptions),
     RELOAD,
     .kind = CONF_NUMBER,
     .max = INT32_MAX,
     .initial = "0",
     .help = "Subscriptions of a session; 0: no limit."},
    {.name = "max_retained_messages",
     IN_CORE(max_retained_messages),
     RELOAD,
     .kind = CONF_NUMBER,
     .max = INT32_MAX,
     .initial = "0",
     .help = "Retained messages in all; 0: no limit."},
    {.name = "max_retained_bytes",
     IN_CORE(max_retained_bytes),
     RELOAD,
     .kind = CONF_SIZE,
     .max = HUGE_SIZE,
     .initial = "0",
     .help = "Their topics, properties and payloads; 0: no limit."},

    {.name = "max_inflight_messages",
     .section = "Messages and queues",
     IN_CORE(max_inflight_messages),
     RELOAD,
     .kind = CONF_NUMBER,
     .max = 65535,
     .initial = "20",
     .help = "QoS 1 and 2 messages under way to or from a client at a time (Receive Maximum); "
             "0: 65535."},
    {.name = "max_inflight_bytes",
     IN_CORE(max_inflight_bytes),
     RELOAD,
     .kind = CONF_SIZE,
     .max = HUGE_SIZE,
     .initial = "0",
     .help = "Payload bytes of the messages under way to a client, at least one message; 0: no "
             "limit."},
    {.name = "max_queued_messages",
     IN_CORE(max_queued_messages),
     RELOAD,
     .kind = CONF_NUMBER,
     .max = UINT32_MAX,
     .initial = "1000",
     .help = "Messages waiting in a session beside those under way; 0: no limit."},
    {.name = "max_queued_bytes",
     IN_CORE(max_queued_bytes),
     RELOAD,
     .kind = CONF_SIZE,
     .max = HUGE_SIZE,
     .initial = "0",
     .help = "Payload bytes of the same; 0: no limit."},
    {.name = "queue_qos0_messages",
     IN_CORE(queue_qos0_messages),
     RELOAD,
     .kind = CONF_BOOL,
     .initial = "false",
     .help = "Queue QoS 0 messages too for sessions without a connection."},
    {.name = "upgrade_outgoing_qos",
     IN_CORE(upgrade_outgoing_qos),
     RELOAD,
     .kind = CONF_BOOL,
     .initial = "false",
     .help = "Deliver with the subscription's QoS, also what was published with less."},
    {.name = "shared_dispatch",
     RELOAD,
     OWN(dispatch, "least-inflight or round-robin"),
     .initial = "least-inflight",
     .help = "Which member of a shared subscription is next: the one with the fewest deliveries "
             "under way, or each in turn. Either way connected ones with room in their window come "
             "first."},
    {.name = "retain_available",
     IN_CORE(retain_available),
     RELOAD,
     .kind = CONF_BOOL,
     .initial = "true",
     .help = "false: a client that sets RETAIN is disconnected (0x9A)."},
    {.name = "max_retained_age",
     IN_CORE(retain_expiry_interval_s),
     RELOAD,
     .kind = CONF_DURATION,
     .unit_ms = SECOND,
     .max = UINT32_MAX,
     .initial = "0",
     .help = "Retained messages expire after so long, or earlier if they say so; 0: never."},
    UNUSED("retain_expiry_interval", "mosquitto's time between searches for expired retained "
                                     "messages; here the search goes on all the time"),
    {.name = "persistent_client_expiration",
     IN_CORE(persistent_client_expiration_s),
     RELOAD,
     OWN(expiration,
         "a whole number and one of s h d w m y (second, hour, day, week, month, year)"),
     .help = "Sessions that set no end themselves end so long after the connection. Default: "
             "never."},
    {.name = "retry_interval",
     IN_CORE(retry_interval_ms),
     RELOAD,
     .kind = CONF_DURATION,
     .unit_ms = 1,
     .max = YEAR_MS,
     .initial = "30s",
     .help = "Resend to MQTT 3 clients what they did not acknowledge, doubling each time; 0: only "
             "on reconnect."},
    {.name = "retry_max_interval",
     IN_CORE(retry_max_interval_ms),
     RELOAD,
     .kind = CONF_DURATION,
     .unit_ms = 1,
     .max = YEAR_MS,
     .initial = "5m",
     .help = "The doubling ends here."},
    {.name = "ack_timeout",
     IN_CORE(ack_timeout_ms),
     RELOAD,
     .kind = CONF_DURATION,
     .unit_ms = 1,
     .max = YEAR_MS,
     .initial = "0",
     .help = "Disconnect an MQTT 5 client whose oldest delivery is unacknowledged for so long; 0: "
             "off."},
    {.name = "output_soft_limit",
     IN_CORE(output_soft_bytes),
     RELOAD,
     .kind = CONF_SIZE,
     .min = 16384,
     .max = INT64_C(1) << 30,
     .initial = "256k",
     .help = "Unsent output of a connection above which its publishers have to wait."},
    {.name = "output_hard_limit",
     IN_CORE(output_hard_bytes),
     RELOAD,
     .kind = CONF_SIZE,
     .min = 16384,
     .max = INT64_C(1) << 30,
     .initial = "4M",
     .help =
         "Unsent output above which QoS 0 messages to that connection are dropped and counted."},
    {.name = "slow_reader_grace",
     IN_CORE(slow_grace_ms),
     RELOAD,
     .kind = CONF_DURATION,
     .unit_ms = 1,
     .max = 3600 * 1000,
     .initial = "1s",
     .help = "How long publishers wait for a reader that does not read."},
    UNUSED("allow_duplicate_messages", "overlapping subscriptions follow the standard"),

#include "conf_schema_queues.h"

    {.name = "log_dest",
     .section = "Log",
     RELOAD,
     .initial = "stderr",
     OWN(log_dest, "none, stdout, stderr, syslog, topic, or file PATH"),
     .help = "Where the log goes; may be given several times. topic: $SYS/broker/log/#."},
    {.name = "log_type",
     RELOAD,
     .initial = "error, warning, notice, information",
     OWN(log_type, "error, warning, notice, information, debug, subscribe, unsubscribe, internal, "
                   "websockets, none or all"),
     .help = "What is logged; may be given several times. -v: all."},
    {.name = "log_timestamp",
     IN_CONF(log_timestamp),
     RELOAD,
     .kind = CONF_BOOL,
     .initial = "true",
     .help = "Begin each line with the time."},
    {.name = "log_timestamp_format",
     IN_CONF(log_timestamp_format),
     RELOAD,
     .kind = CONF_TEXT,
     .help = "The time as strftime writes it, such as %Y-%m-%dT%H:%M:%S. Default: seconds since "
             "1970."},
    {.name = "log_format",
     RELOAD,
     OWN(log_format, "text or json"),
     .initial = "text",
     .help = "json: an object a line with ts, level and msg."},
    {.name = "log_facility",
     RELOAD,
     OWN(log_facility, "0 to 7"),
     .help = "syslog facility LOCAL0 to LOCAL7. Default: DAEMON."},

    {.name = "history",
     .section = "History",
     RELOAD,
     OWN(history, "a topic filter"),
     .help = "Begins a block: messages of these topics, of every QoS, stay for some time, and "
             "subscriptions can ask for them ($replay/-1h/..., or the user property replay). The "
             "first block that matches a topic counts. Without persistence it lies in memory and "
             "ends with the broker. A block that is new begins empty."},
    {.name = "history_max_age",
     RELOAD,
     OWN(history_limit, "a time, as 30m or 7d; 0: no limit"),
     .initial = "7d",
     .help = "How long a message of the block above is there to be asked for. The log is freed by "
             "segments: from the oldest of them on it keeps what else was stored meanwhile."},
    {.name = "history_max_bytes",
     RELOAD,
     OWN(history_limit, "bytes, or with k M G; 0: no limit"),
     .initial = "1G",
     .help = "Topics, properties and payloads of the block above; the oldest messages go first."},
    {.name = "history_max_per_topic",
     RELOAD,
     OWN(history_limit, "a number of messages; 0: no limit"),
     .initial = "0",
     .help = "So many messages of each topic of the block above are there to be asked for."},
    {.name = "persistence",
     .section = "Persistence",
     IN_CONF(persistence),
     .kind = CONF_BOOL,
     .initial = "false",
     .help = "Keep sessions, what waits in them and retained messages on disk, so that they "
             "outlive a restart and a crash. false: all of it is in memory."},
    {.name = "persistence_location",
     IN_CONF(persistence_location),
     .kind = CONF_TEXT,
     .help = "Folder for the data; it must exist. Default: the working folder."},
    {.name = "persistence_file",
     IN_CONF(persistence_file),
     OWN(persistence_file, "the name of a file, at most 200 bytes"),
     .help = "The anchor of the data in that folder. The data itself lies in the folder of the "
             "same name with `.d` behind it; without its anchor it is set aside and the broker "
             "starts empty. A file of that name which is not ours, such as mosquitto's own "
             "database, is left alone: then `sluice.db` is the anchor. Default: mosquitto.db."},
    {.name = "retained_persistence",
     .status = CONF_MAPPED,
     IN_CONF(persistence),
     .kind = CONF_BOOL,
     .help = "Old name of persistence."},
    {.name = "durability",
     IN_CONF(durability),
     OWN(durability, "commit, interval 1ms to 1h, or os"),
     .initial = "commit",
     .help = "When a publish that is stored is acknowledged. commit: the disk has it. interval D: "
             "it is written, and the disk has it at most D later. os: it is written, and the "
             "operating system decides when the disk has it. A crash of the broker loses nothing "
             "either way; when the machine fails, interval and os lose the last messages."},
    {.name = "store_segment_size",
     IN_CONF(store_segment_bytes),
     .kind = CONF_SIZE,
     .min = 64 << 10,
     .max = 1 << 30,
     .initial = "64M",
     .help = "The data on disk is a row of files of this size, which are removed as a whole; two "
             "at least."},
    {.name = "store_checkpoint_size",
     IN_CONF(store_checkpoint_bytes),
     .kind = CONF_SIZE,
     .max = HUGE_SIZE,
     .initial = "0",
     .help = "So much is written before what is known is written anew, from where a start then "
             "reads: more makes for a slower start, less for more writing. 0: 64M, or four times "
             "what was written anew, whichever is more."},
    UNUSED("autosave_interval", "every change is stored at once; durability says when it is safe"),
    UNUSED("autosave_on_changes", "every change is stored at once; durability says when it is "
                                  "safe"),

    {.name = "certfile",
     .section = "TLS",
     TLS_TEXT(A_FILE),
     .help = "The listener's certificate, followed by those between it and its authority; PEM. "
             "With keyfile it makes the listener speak TLS. All files are read again on SIGHUP, "
             "also when only they have changed; what is wrong leaves all as it was. Who is "
             "connected stays."},
    {.name = "keyfile",
     TLS_TEXT(A_FILE),
     .help = "The certificate's private key; PEM, without a pass phrase."},
    {.name = "cafile",
     TLS_TEXT(A_FILE),
     .help = "Certificates of the authorities that clients' certificates are to come from; PEM. "
             "Asked for with require_certificate only."},
    {.name = "capath",
     TLS_TEXT("the path of a folder"),
     .help = "The same as a folder of files that `openssl rehash` has named."},
    {.name = "require_certificate",
     TLS_BOOL(require_certificate),
     .help = "Let only those in who have a certificate of cafile or capath. false: a client's "
             "certificate is not asked for."},
    {.name = "use_identity_as_username",
     TLS_BOOL(identity_is_user),
     .help = "The common name (CN) of the client's certificate is its user name; what CONNECT says "
             "of user name and password does not count, nor does allow_anonymous. Needs "
             "require_certificate."},
    {.name = "use_subject_as_username",
     TLS_BOOL(subject_is_user),
     .help = "The same with the whole subject, as in `CN=sensor,O=Example`."},
    {.name = "disable_client_cert_date_checks",
     TLS_BOOL(ignore_dates),
     .help = "Clients' certificates may be out of date or not valid yet."},
    {.name = "crlfile",
     TLS_TEXT(A_FILE),
     .help = "Revoked certificates, as a list of the authority; PEM. Each authority needs a list."},
    {.name = "tls_version",
     RELOAD,
     .scope = CONF_LISTENER,
     OWN(tls_version, "tlsv1.2 or tlsv1.3"),
     .initial = "tlsv1.2",
     .help = "The lowest version spoken."},
    {.name = "ciphers",
     TLS_TEXT("a list as of `openssl ciphers`"),
     .help = "Ciphers for TLS 1.2. Default: OpenSSL's."},
    {.name = "ciphers_tls1.3",
     TLS_TEXT("names with colons between them"),
     .help = "Ciphers for TLS 1.3. Default: OpenSSL's."},
    {.name = "dhparamfile",
     TLS_TEXT(A_FILE),
     .help = "Parameters for Diffie-Hellman in TLS 1.2; PEM. Default: those that fit the key."},
    {.name = "tls_keyform",
     .scope = CONF_LISTENER,
     OWN(tls_keyform, "pem"),
     .initial = "pem",
     .help = "Where the key is: in keyfile. Engines are not supported yet by this version."},
    LATER("tls_engine"),
    LATER("tls_engine_kpass_sha1"),
    LATER("psk_hint"),

    {.name = "http_dir",
     .section = "WebSockets and HTTP",
     RELOAD,
     .scope = CONF_LISTENER,
     OWN(http_dir, "the path of a folder"),
     .help = "A listener of `protocol websockets` also hands out the files of this folder, to who "
             "asks by GET or HEAD: up to 64 MiB each, `index.html` for the folder itself; none "
             "whose name begins with a dot, and no symbolic links. Default: only WebSockets."},
    {.name = "websockets_origin",
     RELOAD,
     .scope = CONF_LISTENER,
     OWN(origin, "the origin of a page, such as https://example.org"),
     .help =
         "Only pages of this origin may open a WebSocket of this listener; may be given several "
         "times. Programs that are no pages say no origin, and may. Default: all pages."},
    {.name = "websockets_headers_size",
     IN_CONF(websockets_headers_size),
     RELOAD,
     OWN(headers_size, "bytes, 0 to 65535"),
     .initial = "4096",
     .help = "The longest head of an HTTP request, with its cookies; 0: the default."},
    UNUSED("websockets_log_level", "'log_type websockets' logs requests"),

    {.name = "connection", .section = "Bridges", .status = CONF_NOT_YET, .kind = CONF_TEXT},
    LATER("address"),
    LATER("addresses"),
    LATER("topic"),
    LATER("remote_username"),
    LATER("remote_password"),
    LATER("username"),
    LATER("password"),
    LATER("remote_clientid"),
    LATER("clientid"),
    LATER("local_username"),
    LATER("local_password"),
    LATER("local_clientid"),
    LATER("cleansession"),
    LATER("local_cleansession"),
    LATER("keepalive_interval"),
    LATER("start_type"),
    LATER("restart_timeout"),
    LATER("notifications"),
    LATER("notifications_local_only"),
    LATER("notification_topic"),
    LATER("idle_timeout"),
    LATER("threshold"),
    LATER("round_robin"),
    LATER("try_private"),
    LATER("bridge_attempt_unsubscribe"),
    LATER("bridge_bind_address"),
    LATER("bridge_max_packet_size"),
    LATER("bridge_outgoing_retain"),
    LATER("bridge_protocol_version"),
    LATER("bridge_receive_maximum"),
    LATER("bridge_session_expiry_interval"),
    LATER("bridge_max_topic_alias"),
    LATER("bridge_tcp_keepalive"),
    LATER("bridge_tcp_user_timeout"),
    LATER("bridge_reload_type"),
    LATER("bridge_cafile"),
    LATER("bridge_capath"),
    LATER("bridge_certfile"),
    LATER("bridge_keyfile"),
    LATER("bridge_insecure"),
    LATER("bridge_identity"),
    LATER("bridge_psk"),
    LATER("bridge_alpn"),
    LATER("bridge_require_ocsp"),
    LATER("bridge_tls_use_os_certs"),
    LATER("bridge_tls_version"),
    LATER("bridge_ciphers"),
    LATER("bridge_ciphers_tls1.3"),

    {.name = "history_dedup_window",
     .section = "Queues, dead letters, filters",
     .status = CONF_NOT_YET,
     .kind = CONF_TEXT},
    {.name = "filter",
     RELOAD,
     OWN(filter, "NAME EXPRESSION, the name of letters, digits, '_', '-' and '.'"),
     .help = "An attribute filter that subscriptions use by its name, as $filter/@NAME/... or as "
             "the value @NAME of the property; may be given several times. After a reload they "
             "have the new one; who uses a name that is gone keeps what it had."},
};

const struct conf_directive *conf_schema(size_t *count)
{
    *count = ARRAY_LEN(schema);
    return schema;
}

const struct conf_directive *conf_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(schema); i++) {
        size_t n = strlen(schema[i].name);
        bool open = schema[i].name[n - 1] == '*';
        if (open ? strncmp(schema[i].name, name, n - 1) == 0 : strcmp(schema[i].name, name) == 0)
            return &schema[i];
    }
    return NULL;
}

enum { NAME_MAX_BYTES = 40 }; /* longer names are nobody's typing mistake */

/* Edits between two names: letters put in, left out, changed, or two swapped. */
static unsigned conf_distance(const char *a, size_t a_n, const char *b, size_t b_n)
{
    uint8_t cost[NAME_MAX_BYTES + 1][NAME_MAX_BYTES + 1];
    for (size_t i = 0; i <= a_n; i++) cost[i][0] = (uint8_t)i;
    for (size_t j = 0; j <= b_n; j++) cost[0][j] = (uint8_t)j;
    for (size_t i = 1; i <= a_n; i++) {
        for (size_t j = 1; j <= b_n; j++) {
            unsigned best = cost[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            best = (unsigned)min_u64(best, cost[i - 1][j] + 1u);
            best = (unsigned)min_u64(best, cost[i][j - 1] + 1u);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = (unsigned)min_u64(best, cost[i - 2][j - 2] + 1u);
            cost[i][j] = (uint8_t)best;
        }
    }
    return cost[a_n][b_n];
}

const char *conf_nearest(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n > NAME_MAX_BYTES) return NULL;
    const char *best = NULL;
    size_t best_distance = 1 + n / 4; /* further away it would be another word */
    for (size_t i = 0; i < ARRAY_LEN(schema); i++) {
        size_t other = strlen(schema[i].name);
        if (other > NAME_MAX_BYTES) continue;
        size_t distance = conf_distance(name, n, schema[i].name, other);
        if (distance < best_distance || (distance == best_distance && best == NULL)) {
            best = schema[i].name;
            best_distance = distance;
        }
    }
    return best;
}
