/* One shard's brain: sessions, subscriptions, routing, queues, retained messages, wills, shared
 * groups. Pure: no socket, thread, clock, random source or file.  Time comes in with core_tick(),
 * bytes with core_input(), other shards' words with core_mail_in(); output is pulled with
 * core_output(), mail with core_mail_take().  Everything here belongs to the shard's thread.
 *
 * One turn of a shard (src/shard.c), and of a simulated one (tests/world.c):
 *   core_tick -> core_mail_in* -> core_input* -> core_settle
 *   -> core_mail_take* -> core_next_ready* { core_output, core_output_sent, close, resume }
 *   -> core_flush */
#ifndef CORE_CORE_H
#define CORE_CORE_H

#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/loglevel.h"
#include "mqtt/mqtt.h"
#include "store/store.h"

struct acl;
struct queue_conf;

/* An attribute filter that the configuration names: `$filter/@name/...`. */
struct core_filter {
    const char *name, *text;
};
struct core;

/* Messages of these topics stay to be read again (CONTRACT section 2: `history`). */
struct core_history {
    const char *filter;
    uint64_t max_age_ms, max_bytes, max_messages; /* 0 = no limit; bytes of topic, properties and
                                                     payload */
    uint32_t max_per_topic;                       /* messages; 0 = no limit */
    uint64_t dedup_window_ms;                     /* 0 = none */
};

struct cconn; /* a client's connection as the core sees it */

enum { CORE_MAX_SHARDS = 64 };

/* Settings.  Names and meanings are those of the directives (CONTRACT section 2, mosquitto.conf).
 */
struct core_config {
    uint32_t max_packet_size; /* bytes of a whole packet, after CONNECT; 0 = the protocol's limit */
    uint32_t message_size_limit;    /* bytes of a payload; 0 = none; a larger one is refused */
    uint16_t max_inflight_messages; /* window to and from a client; 0 = 65535 */
    uint64_t max_inflight_bytes;    /* payload bytes in flight to one client; 0 = no limit */
    uint32_t max_queued_messages;   /* a session's queue, beside what is in flight; 0 = no limit */
    uint64_t max_queued_bytes;      /* payload bytes of the same; 0 = no limit */
    bool queue_qos0_messages;       /* also for offline sessions */
    bool upgrade_outgoing_qos;      /* deliver with the subscription's QoS */
    bool shared_round_robin;        /* members of a group in turn; else the least busy one */
    bool allow_zero_length_clientid;
    bool retain_available;
    uint32_t retain_expiry_interval_s;       /* 0 = never */
    uint32_t persistent_client_expiration_s; /* of sessions without an expiry of their own (3.x); 0
                                                = never */
    uint16_t max_keepalive_s;                /* v5: the largest a client gets; 0 = no limit */
    uint64_t retry_interval_ms, retry_max_interval_ms; /* 3.x resend; 0 = never */
    uint64_t ack_timeout_ms;                           /* v5: disconnect; 0 = off */
    uint32_t max_topic_levels;                         /* 200 */
    uint32_t max_subscriptions;                        /* a session; 0 = no limit */
    uint32_t filter_max_length;     /* bytes of an attribute filter; 0: the default of 8192 */
    uint32_t filter_max_predicates; /* in it; 0: 256 */
    const struct core_filter *named_filters; /* as acl, borrowed */
    size_t named_filter_count;
    bool filter_index;               /* else filters are asked in turn, however many there are */
    uint32_t max_filters_per_client; /* subscriptions with one, of a session; 0: no limit */
    uint32_t max_filters;            /* likewise of all, in equal parts for the shards */
    /* In their order, the first that matches counts; borrowed as acl is. */
    const struct core_history *histories;
    uint32_t history_count;
    uint32_t max_replays_per_client; /* subscriptions with one, of a session; 0: 100 */
    uint32_t max_retained_messages;  /* all shards share it evenly; 0 = no limit */
    uint64_t max_retained_bytes;     /* likewise */
    uint32_t
        output_soft_bytes; /* unsent output of one connection above which its publishers wait */
    uint32_t output_hard_bytes;  /* and above which QoS 0 is dropped */
    uint64_t slow_grace_ms;      /* how long publishers wait for a reader that does not read */
    uint32_t max_publish_rate;   /* messages a second from one client; 0 = no limit */
    uint32_t max_receive_rate;   /* bytes a second likewise, of all its packets */
    uint32_t connect_timeout_ms; /* from accept to a whole CONNECT */
    bool connection_messages;    /* log connects and disconnects */
    bool check_retain_source; /* a retained message is sent only while its publisher may write it */
    const struct queue_conf *queues; /* core/queue_conf.h; borrowed likewise */
    uint32_t queue_count;
    bool queue_auto_create;      /* SUBSCRIBE may make one */
    bool dead_letter;            /* else what would be one is dropped */
    uint8_t dead_letter_reasons; /* bit 1 << enum dead_reason: of plain subscriptions and groups */
    uint32_t dead_letter_max_messages; /* in the list; 0: no limit */
    uint64_t dead_letter_max_bytes;    /* topics, properties, payloads; 0: no limit */
    uint64_t dead_letter_max_age_ms;   /* 0: no limit */
    uint8_t max_deliveries;            /* of plain subscriptions; 0: no limit */
    const struct acl *acl; /* core/acl.h; NULL: everybody may do everything.  Borrowed until
                              core_configure() gives another, or core_free() */
    /* Instead of it, the list of each listener by its number; NULL: there is one for all.  A list
     * that is NULL lets that listener's clients do everything.  Borrowed likewise. */
    const struct acl *const *listener_acls;
    uint32_t listener_count; /* of them */
};

/* What the core must know of the listener a connection came in by.  Outlives the connection. */
struct core_listener {
    uint16_t port;        /* 0: unix socket; for log lines */
    uint16_t number;      /* in core_config.listener_acls; the same after a reload */
    bool allow_anonymous; /* without a user name, and with any when names are not checked */
    bool checks_users;    /* core_env.login decides about those who give a name or a method */
    bool token_is_user;   /* and about a password alone, which then says whose it is */
    bool use_username_as_clientid;
    bool certificate_is_user;        /* core_conn_prove() says who it is, not CONNECT */
    uint8_t max_qos;                 /* 0 1 2 */
    uint8_t accept_versions;         /* bit 1 << enum mqtt_version */
    uint16_t max_topic_alias;        /* accepted from clients; 0 = none */
    uint16_t max_topic_alias_broker; /* used towards clients; 0 = none */
    const char *mount_point;         /* "" = none */
    const char *auto_id_prefix;      /* of assigned client ids */
    const char *clientid_prefixes;   /* "" = any */
};

/* Somebody who says who they are: by a password, or by the next step of an exchange (5.0 section
 * 4.12).  Everything is borrowed for the call, but for the exchange, which is the callee's. */
struct core_login {
    uint64_t token; /* for core_login_done() */
    const struct core_listener *listener;
    const char *peer;
    struct bytes client_id;
    struct bytes username; /* empty: not given.  Of an exchange that succeeds it must be this one */
    struct bytes password;
    struct bytes method, data; /* of an exchange; the method is empty with a password */
    void *exchange;            /* as the answer to the step before gave it; NULL: the first step */
};
enum { CORE_LOGIN_LATER = -1 };

/* What becomes of it.  Views are borrowed for the call, the exchange is the core's from then on. */
struct core_login_answer {
    uint8_t reason;        /* 0, the MQTT 5 reason why not, or MQTT_CONTINUE_AUTH */
    struct bytes data;     /* for the client */
    struct bytes username; /* with 0: who it is; empty: who CONNECT says */
    uint64_t ends_ms;      /* with 0: the login holds until then, since 1970; 0: for ever */
    const char *why;       /* for the log, a constant; NULL: as usual */
    void *exchange;        /* with MQTT_CONTINUE_AUTH: for the next step */
};

/* What a core calls.  All members are set. */
struct core_env {
    void *ctx;
    void (*log)(void *ctx, unsigned log_type, const char *line); /* enum log_type */
    /* A new session wants in (global_max_clients); false = refused with 0x97 / 3. */
    bool (*session_admit)(void *ctx, bool always); /* always: it was there before; counted */
    void (*session_gone)(void *ctx);
    /* Whether a login is right: 0 with the answer, whose views live until the next call; or
     * CORE_LOGIN_LATER, and core_login_done() follows.  The connection is not read meanwhile, and
     * may close. */
    int (*login)(void *ctx, const struct core_login *login, struct core_login_answer *answer);
    /* An exchange that goes no further: its connection has gone. */
    void (*exchange_free)(void *ctx, void *exchange);
};

struct core_stats {                            /* counters grow; gauges say what is */
    uint64_t messages_received, messages_sent; /* MQTT packets of any type */
    uint64_t bytes_received, bytes_sent;
    uint64_t publish_received, publish_sent, publish_dropped;
    uint64_t publish_bytes_received, publish_bytes_sent; /* payload */
    uint64_t connections_accepted, connections_refused;  /* CONNECT answered */
    uint64_t logins_refused;                             /* of those: not who they say they are */
    uint64_t logins_ended; /* connections whose login ended, or was not renewed rightly */
    uint64_t sessions_expired, sessions_taken_over, wills_sent;
    uint64_t dropped_queue_full, dropped_slow_reader, dropped_too_large, dropped_expired,
        dropped_no_memory;
    uint64_t dropped_share_nacked, dropped_qos0_offline;
    uint64_t history_missed; /* messages of a history that the store had no room for */
    uint64_t history_duplicates,
        dedup_forgotten; /* see dedup.h: not stored again; for their number */
    uint64_t filter_matched, filter_missed, filter_errors; /* answers of attribute filters; misses
                                   and errors of those that were asked: an index asks few */
    uint64_t filter_json_bad, filter_json_large; /* payloads that were none, or more than is read */
    uint64_t denied_publish, denied_delivery, denied_subscribe; /* by the access list */
    uint64_t refused_malformed, refused_protocol, refused_limit, keepalive_timeouts, resent;
    uint64_t refused_envelopes; /* of publishes and wills, see envelope.h */
    uint64_t route_hits, route_misses;
    uint64_t publishers_paused;
    uint64_t rate_pauses;                         /* of clients that sent faster than they may */
    uint64_t refused_pressure, dropped_pressure;  /* publishes, while memory is short */
    uint64_t connected;                           /* gauge: sessions with a connection */
    uint64_t sessions;                            /* gauge */
    uint64_t subscriptions, shared_subscriptions; /* gauges; plain ones, and those of groups */
    uint64_t filters;                             /* gauge: of both, those with a filter */
    uint64_t retained, retained_bytes;            /* gauges; bytes = topic, properties, payload */
    uint64_t queued, queued_bytes;        /* gauges: waiting in sessions' queues and groups */
    uint64_t inflight;                    /* gauge: unacknowledged deliveries */
    uint64_t queue_messages, queue_bytes; /* gauges: in work queues */
    uint64_t dead_letters, dead_lost;     /* published; could not be */
    uint64_t dead_attempts, dead_rejected, dead_expired, dead_overflow, dead_too_large,
        dead_session_expired;           /* of those published: enum dead_reason, in its order */
    uint64_t delayed;                   /* gauge: messages that wait for their time */
    uint64_t dead_listed, dead_trimmed; /* gauge: in the list; gone for its limits */
};

/* shard < shards <= CORE_MAX_SHARDS.  seed keys hashes and generated ids; it must be the same on
 * all shards of a broker.  cfg, env are copied, store is used but not owned. */
MUST_USE int core_new(struct core **out, const struct core_config *cfg, const struct core_env *env,
                      struct store *store, unsigned shard, unsigned shards, uint64_t seed,
                      uint64_t now_ms, uint64_t wall_ms);
/* All connections must be closed before. */
void core_free(struct core **core);
void core_configure(struct core *core,
                    const struct core_config *cfg); /* reload: new values from now on */

/* Time passes: now_ms is monotonic, wall_ms is since 1970.  Fires timers. */
void core_tick(struct core *core, uint64_t now_ms, uint64_t wall_ms);
uint64_t core_next_due(const struct core *core); /* now_ms of the next timer; UINT64_MAX: none */

/* How short memory is, as the shell sees it.  SOFT: publishers wait (each may send one message a
 * second), and QoS 0 for a client whose socket takes no more is dropped.  HARD: MQTT 5 clients are
 * also refused QoS 1 and 2 with 0x97, others wait ten times as long, QoS 0 is dropped; new sessions
 * are session_admit()'s to refuse.  What removes a retained message is always taken. */
enum core_pressure { CORE_PRESSURE_NONE, CORE_PRESSURE_SOFT, CORE_PRESSURE_HARD };
void core_pressure(struct core *core, enum core_pressure level); /* cheap when it is the same */

/* The shard a client id's sessions live on. */
unsigned core_home(struct bytes client_id, unsigned shards, uint64_t seed);

/* ---- connections ---- */

/* A connection that has not sent CONNECT yet.  peer ("1.2.3.4:5") is copied, owner is handed back
 * by core_conn_owner().  It must be on the home shard of the client id in its CONNECT; an empty
 * client id is at home everywhere. */
MUST_USE int core_conn_open(struct core *core, struct cconn **out,
                            const struct core_listener *listener, const char *peer, void *owner);
/* Before any input: the transport has proved who the peer is.  With certificate_is_user that is the
 * user name, whatever CONNECT says, and who has not proved one is refused.  E_NOMEM. */
MUST_USE int core_conn_prove(struct cconn *c, struct bytes user);
void *core_conn_owner(const struct cconn *c);
/* The transport is gone (why: 0 or E_EOF closed by the peer, E_IO, ...) or was closed after
 * CORE_CLOSE.  Frees c: sends the will or keeps the session as the standard says. */
void core_conn_closed(struct cconn *c, int why);
/* What the log is to say of that ("disconnected: it sent ..."), when it is not the peer that
 * closed; borrowed until then. */
void core_conn_blame(struct cconn *c, const char *why);

enum core_input_result {
    CORE_MORE,   /* everything whole was consumed; read on */
    CORE_PAUSED, /* stop reading until CORE_EV_RESUME; unconsumed bytes are to be given again then
                  */
    CORE_CLOSED, /* ignore further input; CORE_EV_CLOSE follows */
};
/* Consumes whole packets from in; *used says how many bytes.  Views into `in` are not kept. */
enum core_input_result core_input(struct cconn *c, struct bytes in, size_t *used);

/* The answer to core_env.login, when it was CORE_LOGIN_LATER.  The token of a connection that has
 * gone meanwhile is no error. */
void core_login_done(struct core *core, uint64_t token, const struct core_login_answer *answer);

/* ---- output ---- */

enum core_event {
    CORE_EV_OUTPUT = 1, /* core_output() has bytes */
    CORE_EV_RESUME = 2, /* a paused connection may be read again */
    CORE_EV_CLOSE = 4,  /* send what core_output() has as far as the socket takes it, then close */
    CORE_EV_LINGER = 8, /* with CLOSE: the client did not ask for it and may still be sending */
};
/* Next connection that wants something, NULL when there is none this turn; *events: the above bits.
 */
struct cconn *core_next_ready(struct core *core, unsigned *events);
/* Bytes to send, encoded from the queues as the client's window allows; borrowed until the next
 * call that takes this core.  Empty when there is nothing.  After a partial write, call again when
 * the socket is writable. */
struct bytes core_output(struct cconn *c);
void core_output_sent(struct cconn *c, size_t n);

/* ---- store ---- */

/* Looks how far the store is and releases the acknowledgements that waited (core_stored).  Whether
 * something still waits: then call again when the store has moved. */
bool core_settle(struct core *core);
/* The turn is over: what it did goes to the store. */
void core_flush(struct core *core);
/* Whether all of it is there; not when the store had no room. */
bool core_flushed(const struct core *core);
/* Whether mail stays until it is: not on a full disk, which may last. */
bool core_mail_held(const struct core *core);
/* Whether core_settle() would find something new; to be asked before sleeping. */
bool core_store_news(const struct core *core);

/* Up to which sequence the log has to be safe for all that was done until now to outlive a crash
 * (0: nothing has to be).  False: the store has no room for it just now, ask in a later turn. */
bool core_promise(struct core *core, uint64_t *seq);
/* Whether it is, as core_settle() saw it last. */
bool core_promised(const struct core *core, uint64_t seq);

/* Reads everything the store has of an earlier run, before anything else is done with this core.
 * Every core of the broker does so, each may on a thread of its own.  What is damaged was logged by
 * the store.  E_NOMEM, E_IO. */
MUST_USE int core_recover(struct core *core);
/* Then, on one thread, with all of them in the order of their shards, before a client is let in or
 * time passes: they tell each other who is there and who is interested in what. */
void core_begin(struct core *const *cores, unsigned count);
/* Topic and time of a message as the store has it; views into body.  False: it is none. */
bool core_message_topic(struct bytes body, struct bytes *topic, uint64_t *time_ms);

/* ---- mail between cores ---- */

/* Moves the bytes for shard dst, if any, into *out (the caller's from then on).  None are there
 * while core_mail_held(). */
bool core_mail_take(struct core *core, unsigned dst, struct buf *out);
/* Gives an emptied buffer back for reuse, or frees it. */
void core_mail_recycle(struct core *core, struct buf *empty);
/* Bytes from shard src, exactly as they were taken there, in the order in which they were taken. */
void core_mail_in(struct core *core, unsigned src, struct bytes mail);
/* Questions that must see everything posted before them: true after core_mail_in() took one.  The
 * shard then drains all inboxes once more and calls core_mail_answer(). */
bool core_mail_asks(const struct core *core);
void core_mail_answer(struct core *core);
/* How many bytes to dst the core holds; above the limit its publishers pause by themselves. */
size_t core_mail_pending(const struct core *core, unsigned dst);

/* ---- the broker's own ---- */

/* Publishes for the broker itself ($SYS); retained when retain.  payload empty + retain: removes.
 */
MUST_USE int core_publish(struct core *core, struct bytes topic, struct bytes payload, uint8_t qos,
                          bool retain);
const struct core_stats *core_stats(struct core *core);
/* Clean stop: every connection gets DISCONNECT 0x8B (v5) and CORE_EV_CLOSE [MQTT-3.14]. */
void core_shutdown(struct core *core);
/* Logs sessions and subscriptions, a line each (USR2). */
void core_dump(struct core *core);

#endif
