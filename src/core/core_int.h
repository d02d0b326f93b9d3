/* What the files of the core share.  See core.h for what the core is; docs/architecture.md for how
 * a message goes through it.  Everything here is used by one thread only. */
#ifndef CORE_CORE_INT_H
#define CORE_CORE_INT_H

#include "base/hash.h"
#include "base/list.h"
#include "base/rng.h"
#include "base/timer.h"
#include "core/core.h"
#include "core/msg.h"
#include "core/outq.h"
#include "core/retain.h"
#include "core/trie.h"
#include "mqtt/alias.h"
#include "mqtt/inflight.h"
#include "mqtt/packet.h"
#include "mqtt/pidset.h"
#include "mqtt/topic.h"

enum {
    ROUTE_SLOTS = 8192,      /* route cache, one route a slot */
    ROUTE_KEEP_MAX = 65536,  /* longest target list that is cached */
    OUTPUT_PULL = 64 * 1024, /* bytes encoded from queues at a time */
    BACKLOGS_SERVED = 2,     /* connections with more than that, in a turn */
    SPARE_BUFS = 128,        /* drained output buffers kept for the next connection */
    SPARE_CAP = 256 * 1024,
    MAIL_SOFT = 256 * 1024,   /* bytes to one shard above which publishers wait */
    MAIL_RESERVE = 32 * 1024, /* bytes for letters to one shard when there is no memory */
    RETAIN_SLICE = 64 * 1024, /* bytes of retained messages in one answer to another shard */
    RETAIN_BUDGET = 4096,     /* topics looked at in one step of a retained job */
    SUBID_SETS = 65536,       /* distinct combinations of subscription identifiers */
    SUBID_MAX = 256,          /* identifiers in one of them */
    PENDING_MAX = 1 << 20,    /* publishes that wait for the store */
    AHEAD_TOPICS = 32,        /* looked up together, see trie_warm() */
    AHEAD_FILTERS = 1 << 15,  /* from so many filters on, as fewer fit the processor's cache */
    COLD_MAX = 32,            /* core->cold: misses of the route cache, less the hits */
    REMOTE_WAITERS = 64,      /* publishers on other shards that wait for one reader */
    STALE_MAX = 256,          /* see struct rjob */
    REMOVED_SLOTS = 1024,     /* topics whose retained message was removed lately */
    STREAM_ANY = CORE_MAX_SHARDS,
    OUTQ_SIZE_CAP = (1 << 27) - 1, /* bytes, of outq_item.size */
};

#define SUBID_SET_FLAG   0x80000000u
#define PENDING_UNSEALED UINT64_MAX

/* Stable names of sessions: used wherever a pointer could outlive its session. */
typedef uint64_t session_id; /* slot | generation << 32; 0 = none */

struct will {
    struct bytes topic, props, payload; /* into `bytes` */
    uint32_t expiry_s, delay_s;
    uint16_t listener; /* number of the one that its client came by */
    uint8_t qos;
    bool retain;
    const char *username; /* whose it is, into `data`; NULL: anonymous */
    bool allowed;         /* recovered: it was when it came, and whose it is is not known */
    uint32_t again_ms;    /* it is due and waits for room in the store; 0: not yet due */
    uint8_t data[];
};

struct wish_filters;
struct histories;
struct replay;

/* Retained messages still to be sent for one SUBSCRIBE entry.  Pulled as the client's window
 * allows: first this shard's, then each other shard's in slices. */
struct rjob {
    struct rjob *next;
    uint32_t id; /* in mail */
    uint32_t subid;
    uint32_t shard; /* being asked; own shard first, then the others in turn */
    uint32_t shards_done;
    bool waiting; /* for an answer from `shard` */
    bool hold;    /* until SUBACK is out */
    bool outside; /* only what is in no history */
    uint8_t qos;
    uint64_t variant;             /* of the subscription, as the trie knows it */
    struct wish_filters *filters; /* owned; NULL: none */
    uint16_t filter_len, cursor_len, cursor_cap;
    uint8_t *cursor; /* topic to go on after, owned */
    uint64_t *stale; /* topics (hash) whose newer message went out live meanwhile, or NULL */
    uint32_t stale_count;
    uint64_t *given; /* sequences that it has given or that went out live, if the journal is to know
                        (rjob_log.c); the first ones, of before a recovery, in order */
    uint32_t given_count, given_cap, given_sorted;
    uint8_t filter[];
};

struct session {
    struct core *core;
    session_id id;
    char *client_id;
    char *owner; /* the user that it belongs to, whose password was checked; NULL: nobody */
    uint16_t client_id_len;
    uint8_t version; /* of the last connection */

    uint32_t expiry_s; /* after disconnect; 0 = with the connection, UINT32_MAX = never */
    uint32_t epoch;    /* counts connections */
    uint32_t sub_count;
    uint32_t wish_count; /* of them and of memberships, those that wish something */
    bool full_logged;    /* that its queue is full */
    uint32_t
        unsent_count; /* inflight entries, the last in order, not (re)sent on this connection */
    uint16_t unsent_first; /* packet identifier of the first of them */
    struct cconn *conn;    /* NULL while offline */
    struct sub *subs;
    struct member *shares;
    uint32_t share_pending; /* deliveries of groups that are not settled */
    bool durable;           /* expiry_s != 0, as the subscriptions know it */
    struct outq queue;
    struct inflight out;
    struct pidset in2;    /* inbound QoS 2 between PUBLISH and PUBREL */
    uint32_t later_count; /* its publishes that are routed when they are stored */
    uint64_t inflight_bytes;
    struct will *will;
    struct rjob *rjobs;
    struct replay *replays;
    uint32_t replay_count;
    struct qinbox *inbox;   /* deliveries of work queues; NULL: none */
    struct timer timer;     /* offline: will delay, then expiry */
    struct timer retry;     /* 3.x resend, v5 ack_timeout */
    bool redelivers;        /* a delivery has asked to be made again: redeliver.h */
    bool retry_late;        /* it waits for longer than a new delivery would */
    uint64_t route_mark[2]; /* core.route_serial when it last became a target, by No Local */
    uint32_t route_at[2];   /* and which target that was */
    uint64_t ends_ms;       /* offline: when the session expires; UINT64_MAX never */
    uint64_t sid;           /* its name in the journal */
    uint64_t away_ms;       /* offline: since when, wall clock */
    uint32_t unsafe_count; /* answers and deliveries of whatever connection that wait for the log */
    uint32_t held_count;   /* QoS 2 deliveries whose packet identifier is not safe yet */
    bool logged;           /* it outlives the process: what happens to it is journaled */
    bool full;             /* the last message was dropped for its queue, and the journal says so */
    bool begins;           /* and the journal does not say yet that it is there */
    uint8_t stream;        /* recovery: the shard that it was on */
};

enum conn_state {
    CONN_NEW,
    CONN_ENTERING, /* accepted; CONNACK lies in `out` until the log has what it says */
    CONN_UP,
    CONN_CLOSING,
};
enum login_state {
    LOGIN_NONE,
    LOGIN_ASKED,    /* core_env.login has not answered yet */
    LOGIN_ANSWERED, /* the CONNECT that comes again is to be told */
    LOGIN_EXCHANGE, /* the next AUTH is the client's */
};

/* What only a few connections have: those with a method of authentication, and those whose login
 * names the user or ends. */
struct login {
    struct cconn *conn;
    struct bytes connect; /* body of the CONNECT that the exchange is about; owned, NULL: over */
    struct bytes method;  /* agreed on in CONNECT [MQTT-4.12.0-5]; owned */
    struct bytes data;    /* for the client, not sent yet; owned */
    char *username;       /* who it is; NULL: who CONNECT says */
    const char *why;      /* the last refusal's, for the log; or NULL */
    void *exchange;       /* core_env's; NULL: none, or core_env has it just now */
    uint64_t ends_ms;     /* wall clock: when the login ends; 0: never */
    uint64_t renew_ms;    /* when a re-authentication has to be over; 0: none goes on */
    struct timer timer;   /* for both */
};

struct remote_waiter {
    unsigned shard;
    session_id session;
};

struct cconn {
    struct core *core;
    struct session *session; /* NULL before CONNECT is accepted */
    const struct core_listener *listener;
    void *owner;
    char *peer;
    struct qask *asking;       /* owners of queues, queue_ask.c; or NULL */
    struct dedup_ask *dedup;   /* dedup.c; or NULL */
    char *username;            /* as CONNECT or the certificate gave it; NULL: anonymous */
    char *proved_user;         /* by the transport; or NULL */
    struct verdicts *verdicts; /* of the access list, access.c; NULL: none yet */
    struct buf out;
    struct list all;         /* in core->conns */
    struct list ready;       /* in core->ready, or in core->backlogs (goes_last) */
    struct list congested;   /* in core->congested */
    struct list fetching;    /* in core->fetching */
    struct list waiters;     /* publishers (cconn.waiting) that wait until this reader has room */
    struct list waiting;     /* in a reader's waiters, core->mail_waiters, ->store_waiters or
                                ->login_waiters, ->entering, ->pressure_waiters */
    struct cconn *waits_for; /* the reader in whose waiters it is, if it is in one's */
    struct remote_waiter *remote_waiters;
    uint32_t remote_waiter_count;
    struct remote_waiter paused_by; /* the last reader on another shard that wanted it to wait */
    struct timer timer;             /* CONNECT timeout, then keep alive */
    struct alias_in alias_in;
    struct alias_out alias_out;
    uint64_t last_packet_ms, congested_ms;
    uint64_t since_ms;      /* wall clock: connected */
    uint32_t max_packet;    /* the client's Maximum Packet Size, UINT32_MAX = none */
    uint32_t keep_alive_ms; /* 1.5 times; 0 = none */
    uint32_t window;        /* unacknowledged deliveries it may have */
    uint32_t subacks_due;   /* SUBSCRIBEs that are not answered yet: queues deliver after that */
    uint32_t inbound;       /* its QoS 1 publishes that are not answered yet */
    uint8_t events;         /* enum core_event */
    uint8_t state;          /* enum conn_state */
    uint8_t version;
    uint8_t login;        /* enum login_state */
    uint8_t login_reason; /* LOGIN_ANSWERED: 0, why not, or that it goes on */
    uint64_t login_token;
    struct login *more;     /* login.c; or NULL */
    struct rate *rate;      /* rate.c; or NULL */
    bool goes_last;         /* `ready` is in core->backlogs */
    bool blocked;           /* the socket takes no more just now */
    bool paused;            /* not read, for one of four reasons: `waiting`, and the next three */
    uint32_t remote_pauses; /* readers on other shards that want it to wait */
    bool may_pass;          /* although memory is short: its next PUBLISH */
    bool goes_on;           /* it has resumed its session */
    bool paused_by_output;  /* because it does not read what we answer */
    bool paused_by_rate;    /* because it sends too fast */
    bool logged_out;        /* its end is in the log already */
    bool slow;              /* did not read for slow_grace_ms: QoS 0 beyond the limit is dropped */
    bool slow_logged;
    bool problem_info;     /* Request Problem Information */
    bool clean_disconnect; /* DISCONNECT was received, or the session was ended by us in order */
    bool refused_logged, denied_logged;
    uint8_t faults_logged;    /* filters that could not be understood */
    const char *close_reason; /* for the log; NULL = the peer closed */
};

/* A message on its way through the router; everything borrowed for the call. */
struct pub {
    struct bytes topic, props /* forwardable, encoded */, payload;
    struct bytes control; /* properties that are not forwarded, encoded; see control.h */
    uint64_t hash;        /* of topic */
    uint64_t seq;         /* 0 = not in the store */
    uint64_t created_ms;
    uint32_t expiry_s;
    uint8_t qos;
    bool retain;
    bool internal;        /* from the broker itself */
    bool later;           /* stored first, routed when that is safe */
    bool is_will;         /* of `from` */
    bool named;           /* its blob is to say who published it, as it may be looked at again */
    bool unasked;         /* to a session whose own subscriptions do not tell that it gets this */
    uint16_t in2_id;      /* QoS 2 from a session: its packet identifier */
    bool queued;          /* a work queue may want it */
    uint64_t undead;      /* it is this dead letter, sent again, or that delayed message; */
    uint64_t only;        /* for the queue with this number alone; 0: for everybody */
    uint64_t buries;      /* it is the dead letter of this message, */
    uint64_t buries_of;   /* which leaves the queue with this number by it; 0: of no queue */
    uint64_t remote;      /* shards that it is mailed to, as the log is to know */
    struct session *from; /* local publisher, for No Local and backpressure; or NULL */
    struct msg_from who;  /* if it is not `from`: see pub_publisher() */
    unsigned origin;      /* shard of the publisher */
    unsigned history;     /* that it belongs to, see history_of() */
    session_id origin_session;
    struct blob *blob; /* made when first needed: pub_blob(); released by who made the pub */
};

struct target {
    union {
        struct session *session;
        struct group *group;
        struct wsub *wished;
        struct wish_set *wishes;
        struct wqueue *queue;
    } to;
    uint32_t subid; /* one identifier, or SUBID_SET_FLAG | index into core->subid_sets */
    uint8_t qos;
    uint8_t kind; /* enum target_kind */
    bool no_local, retain_as_published;
};
enum target_kind {
    TARGET_SESSION,
    TARGET_GROUP,
    TARGET_WISHED,
    TARGET_WISHES,
    TARGET_REPLAY,
    TARGET_QUEUE
};

/* Where messages of one topic go; valid while generation == core->generation. */
struct route {
    uint64_t hash;
    uint64_t generation;
    uint64_t remote;  /* bit per other shard with an interest */
    bool durable;     /* some holder here or elsewhere keeps it while away */
    bool grouped;     /* some target is a group, where it may wait */
    uint64_t rejects; /* shards that have a queue which rejects what it has no room for */
    uint64_t queues;  /* and that have any */
    bool queued;      /* some holder here or elsewhere is a work queue: it keeps QoS 0 too */
    bool wished;      /* some target decides by the message, see resolve() in router.c */
    uint8_t history;  /* see history_of() */
    uint16_t topic_len;
    uint32_t target_count, target_cap;
    struct target *targets;
    uint8_t topic[]; /* of cached routes */
};

/* The hash is beside the pointer, so that a miss reads no route. */
struct route_slot {
    uint64_t hash;
    struct route *route;
};

/* An acknowledgement that waits for the store. */
struct pending {
    uint64_t seq; /* PENDING_UNSEALED: that of the journal of this turn */
    session_id session;
    uint32_t epoch; /* of the session; of a SUBACK: its fence */
    uint16_t packet_id;
    uint8_t type; /* of the packet to send: an acknowledgement, SUBACK, CONNACK, PUBLISH, 0: none */
    uint8_t reason;
    bool duplicate; /* a queue or a history has had the message before */
    bool route;     /* blob is to be routed first; see publish_stored() */
    struct blob *blob;
};

struct subid_set {
    uint32_t count, index;
    uint32_t ids[];
};

struct slot {
    struct session *session;
    uint32_t generation;
};

/* Memory that is reused from message to message; one for each thing that lives at the same time. */
enum scratch_use {
    SCRATCH_PROPS,
    SCRATCH_TOPIC,
    SCRATCH_IMAGE,
    SCRATCH_REPLY,
    SCRATCH_TELL,
    SCRATCH_DEAD,
    SCRATCH_COUNT
};
struct scratch {
    uint8_t *p;
    size_t cap;
};

struct outbox { /* mail to one shard */
    struct buf buf;
    struct buf reserve; /* for when there is no memory; without any while that is in use */
    struct buf more;    /* what was the reserve: letters that come after those in buf */
};

struct core {
    _Alignas(MEM_LINE) struct core_config cfg;
    struct core_env env;
    struct store *store;
    unsigned shard, shards;
    uint64_t seed, now_ms, wall_ms, wall_offset_ms;
    struct rng rng;
    struct timers timers;
    struct core_stats stats;
    struct ptrmap sessions; /* by client id */
    struct slot *slots;
    uint32_t slot_count, slot_free;
    struct histories *histories; /* history.c; NULL: there are none */
    struct list replays_dirty;
    struct list backlogs; /* connections whose output goes on, see core_next_ready() */
    uint32_t backlogs_left;
    struct list ready, congested, mail_waiters, store_waiters, login_waiters, entering, conns;
    struct list pressure_waiters;
    enum core_pressure pressure;
    uint64_t pressure_ms; /* when they may send one more message */
    struct trie trie;
    uint64_t generation;     /* of the subscriptions: a change makes every cached route stale */
    uint64_t acl_generation; /* of cfg.acl: a change makes every remembered verdict stale */
    struct route_slot routes[ROUTE_SLOTS];
    uint32_t seen[ROUTE_SLOTS]; /* tag of the last topic that missed: the second miss is cached */
    uint64_t route_serial;      /* counts route look-ups, for session.route_mark */
    uint32_t cold;              /* COLD_MAX: hardly any topic is in the route cache */
    struct retain *retain;
    char *retain_sweep; /* topic the expiry sweep has reached, owned; NULL = start */
    uint32_t retain_sweep_len;
    uint64_t retain_expiring; /* retained messages that expire some day */
    uint64_t retain_sweep_ms;
    struct removed {
        uint64_t hash, seq;
    } removed[REMOVED_SLOTS]; /* by the topic's hash; see is_late() in retained.c */
    struct ptrmap groups;     /* owner's side, share.c */
    struct group **group_slots;
    uint32_t group_slot_count, group_serial;
    struct member **members; /* member's side, by index */
    uint32_t member_count, member_serial, member_free;
    struct outbox mail[CORE_MAX_SHARDS];
    uint32_t mail_short;    /* outboxes without a reserve: until they have one no client is read */
    uint64_t interest_lost; /* shards of which we could not note all that they are interested in */
    struct buf spare[SPARE_BUFS];
    uint32_t spare_count;
    struct pending *pending; /* ring, by sequence */
    uint32_t pending_head, pending_count, pending_cap;
    uint32_t unsealed_count;   /* of them, those that wait for this turn's journal */
    bool keeps;                /* the store does */
    bool journaling;           /* and we are not being recovered or freed */
    bool journal_torn;         /* an entry could not be written: a checkpoint is due */
    bool drops_wait;           /* since then; until one that was begun later counts, for sure */
    bool log_full;             /* the journal found no space when it was last to be written */
    struct buf journal;        /* entries of this turn */
    uint64_t journal_seq;      /* of the last that was stored */
    uint64_t appended_seq;     /* of the last message that was */
    uint64_t polled;           /* what store_poll() said last */
    struct recovery *recovery; /* while core_recover() runs */
    unsigned stream;           /* then: the shard whose record this is, or STREAM_ANY */
    bool journal_ordered;      /* it says what a message that is stored next may depend on */
    struct checkpoint *checkpoint;
    struct fence *fences;
    struct sub *remote_subs; /* the other shards' interests */
    struct ask *asks;        /* retained questions of other shards */
    uint32_t next_token;
    struct subid_set **subid_sets; /* by index; they stay, as queued messages refer to them */
    struct ptrmap subid_index;     /* the same by their identifiers */
    uint32_t subid_set_count;
    struct scratch scratches[SCRATCH_COUNT]; /* see core_scratch() */
    struct list fetching; /* connections whose next message the store is reading */
    struct ptrmap queues; /* owner's side, queue.c */
    struct wqueue **queue_slots;
    uint32_t queue_slot_count, queue_serial;
    struct list queue_work; /* queues that wait for the store, or bury messages */
    struct dead_note *dead_notes, **dead_tail; /* letters to be published; the last one's next */
    uint32_t dead_note_count;
    struct list delayed;               /* messages that are to be published later, delayed.c */
    struct list delayed_due;           /* those of them whose time has come, in order */
    uint64_t delayed_again_ms;         /* not before, as the store is full */
    struct list *delayed_walk;         /* where a checkpoint is among them */
    struct ptrmap delayed_map;         /* the same by sequence */
    struct dedup *dedup;               /* what histories have had; NULL: nothing yet */
    struct dead_list *dead_list;       /* shard 0; NULL: there are none */
    struct dead_service *dead_service; /* likewise, see dead_read.h; NULL: nobody has asked yet */
    uint64_t dead_again_ms;
    struct qlate *queue_late;      /* answers that wait until something is safe */
    struct list queue_waiters;     /* connections that wait for what an owner says */
    struct qdelivery **deliveries; /* consumer's side, by index */
    uint32_t delivery_cap, delivery_free;
    uint64_t ids_made, logins_asked;
    bool begun; /* all shards know what the others have: core_begin() */
    bool shutting_down;
    bool ending; /* core_free() */
    struct filter_store *filters;
    struct list wish_sets;   /* struct wish_set */
    uint64_t name_missed;    /* hash of the named filter that was last said to be gone */
    struct target *resolved; /* of one message, see resolve() in router.c */
    uint32_t resolved_cap;
    struct route scratch; /* last: it ends in a flexible member that it does not use */
};

/* For qsort() and bsearch() over sequences. */
static inline int seq_order(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* ---- core.c ---- */
PRINTF_LIKE(3, 4) void core_log(struct core *core, unsigned type, const char *fmt, ...);
uint8_t *core_scratch(struct core *core, enum scratch_use use, size_t n); /* NULL without memory */
int core_slot_take(struct core *core, struct session *s);
void core_slot_give(struct core *core, struct session *s);
struct session *core_session(const struct core *core, session_id id); /* NULL when it is gone */
/* The store's, but a body knows its sequence, and what outlives us is not given back at the end. */
MUST_USE int core_fetch(struct core *core, store_ref ref, struct blob **body);
void core_drop(struct core *core, store_ref ref);

/* ---- conn.c: output side of a connection ---- */
void conn_ready(struct cconn *c, unsigned events);
/* n bytes at the end of the output, to be committed; NULL: no memory, the connection is being
 * closed. */
uint8_t *conn_reserve(struct cconn *c, size_t n);
void conn_commit(struct cconn *c, size_t n);
/* Whether a packet of n bytes is not larger than the client takes [MQTT-3.1.2-24]; for answers that
 * cannot be left out: else the connection is being closed. */
bool conn_may_send(struct cconn *c, size_t n);
/* As below, and says that the message was there before. */
void conn_send_duplicate(struct cconn *c, unsigned type, uint16_t packet_id);
void conn_send_ack(struct cconn *c, unsigned type, uint16_t packet_id, uint8_t reason,
                   const char *why);
/* Ends a connection from our side: v5 clients get DISCONNECT with the reason; `why` goes to the
 * log. */
void conn_end(struct cconn *c, uint8_t reason, const char *why);
void conn_close_silent(struct cconn *c, const char *why); /* without DISCONNECT */
/* Makes the publisher wait until reader has room; false: it does not wait (reader is slow). */
void conn_congest(struct cconn *reader, const struct pub *p);
void conn_release_waiters(struct cconn *reader);
void conn_pause_on(struct cconn *publisher, struct list *waiters);
/* What it waited for is over; it goes on when nothing else holds it. */
void conn_resume(struct cconn *c);
/* A reader on another shard has said that it is to wait, or need not any more. */
void conn_pause_remote(struct cconn *c, struct remote_waiter reader, bool pause);
void conn_congested_tick(struct core *core);
uint64_t conn_congested_due(const struct core *core); /* UINT64_MAX: none */
/* The session's window has room for another delivery. */
static inline bool conn_window_open(const struct cconn *c)
{
    const struct session *s = c->session;
    if (s->out.count - s->unsent_count >= c->window) return false;
    uint64_t limit = c->core->cfg.max_inflight_bytes;
    return limit == 0 || s->inflight_bytes < limit;
}

/* ---- connect.c ---- */
int conn_handle_connect(struct cconn *c, struct bytes body);
/* CONNACK, which was withheld, goes out, and what the client has sent meanwhile is read. */
void conn_enter(struct cconn *c);
/* The same for who resumes a session, although there is no space in the log. */
void conn_enter_unsafe(struct core *core);
/* The log does not take it in time: refused after all. */
void conn_enter_failed(struct cconn *c);
/* CONNACK with a failure, then the end; 0. */
int conn_refuse(struct cconn *c, const struct mqtt_connect *m, uint8_t reason, const char *why);

/* ---- pressure.c ---- */
/* Memory is short, and the publisher is to wait: it is paused, and its packet comes again. */
bool pressure_holds(struct cconn *c);
void pressure_tick(struct core *core);
uint64_t pressure_due(const struct core *core);

/* ---- login.c: whether somebody is who they say, and until when ---- */
/* 0, a reason, MQTT_CONTINUE_AUTH, or CORE_LOGIN_LATER: then this CONNECT comes again. */
int login_ask(struct cconn *c, const struct mqtt_connect *m, struct bytes client_id);
/* The first answer of an exchange: keeps the CONNECT, and sends AUTH. */
int login_continue(struct cconn *c, const struct mqtt_connect *m, struct bytes body);
/* CONNACK's properties of it, and their size at most. */
uint8_t *login_props(const struct cconn *c, uint8_t *p);
size_t login_props_size(const struct cconn *c);
/* The client is in. */
void login_begins(struct cconn *c);
/* A packet before CONNACK, and AUTH after it. */
int conn_handle_exchange(struct cconn *c, unsigned type, struct bytes body);
int conn_handle_auth(struct cconn *c, struct bytes body);
void login_forget(struct cconn *c); /* the connection is gone */

/* ---- session.c ---- */
struct session *session_find(struct core *core, struct bytes client_id);
int session_new(struct session **out, struct core *core, struct bytes client_id);
void session_free(struct session *s); /* ends it: will, subscriptions, queue */
void session_attach(struct session *s, struct cconn *c);
/* Takes w over, or NULL; the last one is taken back [MQTT-3.1.2-10] unless it is due. */
void session_set_will(struct session *s, struct will *w);
/* The connection is gone: will, expiry.  NULL when the session ended with it (or `ends`). */
struct session *session_detach_for(struct session *s, bool ends);
void session_detach(struct session *s);
/* The Session Expiry Interval; "never" is as long as persistent_client_expiration allows. */
void session_set_expiry(struct session *s, uint32_t expiry_s);
uint64_t session_hash(const void *elem, uint64_t seed);

/* ---- publish.c: what a client publishes ---- */
bool topic_is_reserved(
    struct bytes topic); /* starts with '$' and is not for clients to publish to */
int conn_handle_publish(struct cconn *c, unsigned flags, struct bytes body);
void pending_free(struct core *core);
/* Something to send to c when this turn's journal is safe: what the standard lets be said only when
 * it cannot be forgotten.  Ends the connection when there is no memory. */
void pending_journal(struct cconn *c, unsigned type, uint16_t packet_id, uint8_t reason);
int pending_fence(struct core *core, uint32_t token); /* fence_answered() then */
/* The same when everything that waits now has been released.  E_NOTFOUND: nothing waits; E_NOMEM,
 * E_FULL. */
MUST_USE int pending_after_routed(struct core *core, uint32_t token);
/* Whether nothing that was taken before `seq` waits to be routed. */
bool pending_routed(const struct core *core, uint64_t seq);
/* The turn's journal has got its sequence. */
void pending_sealed(struct core *core, uint64_t seq);
/* Makes the blob and appends it; p->seq is set.  Errors of store_append(). */
MUST_USE int pub_store(struct core *core, struct pub *p);

/* ---- subscribe.c ---- */
/* A subscription as it was, without SUBACK or retained messages: recovery.  block: its wish.
 * E_FULL, E_NOMEM. */
int session_resubscribe(struct session *s, struct bytes filter, const struct mqtt_subscription *e,
                        uint32_t subid, struct bytes block);
void session_unsubscribe(struct session *s, struct bytes filter,
                         struct bytes prefix); /* likewise */
int conn_handle_subscribe(struct cconn *c, struct bytes body);
int conn_handle_unsubscribe(struct cconn *c, struct bytes body);
/* A subscription that has come to its end by itself. */
void subscription_end(struct session *s, struct sub *sub);
/* Subscriptions of a session ends. */
void session_unsubscribe_all(struct session *s);
/* A session became (or ceased to be) one that outlives its connection. */
void session_set_durable(struct session *s, bool durable);

/* ---- qos.c: acknowledgements from clients, resending ---- */
int conn_handle_ack(struct cconn *c, unsigned type, struct bytes body);
void session_resumed(struct session *s); /* after a reconnect: what was in flight is sent again */
void session_unsent_all(
    struct session *s); /* the connection is gone: nothing in flight counts as sent */
void session_mark_sent(struct session *s,
                       struct inflight_entry *e); /* e->tag says that it is unsent */
/* PUBREC has come: the message is the client's, PUBREL is due. */
void inflight_received(struct session *s, struct inflight_entry *e);
void session_settle(struct session *s, struct inflight_entry *e); /* done: gives everything back */
void inflight_release(struct session *s, struct inflight_entry *e); /* the message it carries */
/* The message an entry of the window carries is fetched again; errors of store_fetch(). */
MUST_USE int inflight_warm(struct session *s, struct inflight_entry *e);
/* The sequence of that message; 0: it carries none any more. */
static inline uint64_t inflight_seq(const struct inflight_entry *e)
{
    if (e->body == NULL) return 0;
    return e->flags & OUTQ_COLD ? (uint64_t)(uintptr_t)e->body : msg_of(e->body)->seq;
}
/* And is not kept in memory while the client is away. */
void session_cool(struct session *s);
void session_retry_fired(struct timer *t, void *ctx);
void session_retry_arm(struct session *s);

/* ---- router.c ---- */
struct route *route_get(struct core *core, struct bytes topic, uint64_t hash);

static inline void pub_goes(struct pub *p, const struct route *r)
{
    p->remote = r->remote;
    p->history = r->history;
    p->queued = r->queued;
}

/* The cached route of a topic that was routed before, or NULL. */
static inline struct route *route_cached(struct core *core, struct bytes topic, uint64_t hash)
{
    const struct route_slot *slot = &core->routes[hash & (ROUTE_SLOTS - 1)];
    struct route *r = slot->route;
    if (slot->hash != hash || r == NULL || r->generation != core->generation ||
        r->topic_len != topic.n)
        return NULL;
    if (memcmp(r->topic, topic.p, topic.n) != 0) return NULL;
    core->stats.route_hits++;
    if (UNLIKELY(core->cold)) core->cold--;
    return r;
}

/* Sends p to everyone who wants it, here and on other shards.  Returns whether anybody does. */
bool router_publish(struct core *core, struct pub *p, const struct route *r);
/* The local part alone, for messages that came by mail.  Whether there was anybody. */
bool router_deliver(struct core *core, struct pub *p, const struct route *r);
void route_cache_free(struct core *core);
uint64_t subid_hash(const void *elem, uint64_t seed);
uint32_t subid_join(struct core *core, uint32_t a, uint32_t b);
const uint32_t *subid_list(struct core *core, const uint32_t *subid, uint32_t *count);
/* Who published it, which filters and rights may want to know; empty: the broker itself. */
struct msg_from pub_publisher(const struct pub *p);
/* The message as a blob, made once; NULL without memory. */
struct blob *pub_blob(struct pub *p);
/* The other way round: views into b, which stays the caller's. */
void pub_of_blob(const struct core *core, struct blob *b, struct pub *p);
/* Where it goes, with what storing it has to know of that; p->hash is set as well. */
struct route *pub_route(struct core *core, struct pub *p);
/* The same of a record of the store, of whatever alignment; p->blob is NULL, p->hash 0. */
void pub_of_bytes(const struct core *core, struct bytes body, uint64_t seq, struct pub *p);
/* Whether the journal says where it has arrived: of QoS 0 recovery tells nobody but queues. */
static inline bool pub_is_tracked(const struct core *core, const struct pub *p)
{
    return p->qos > 0 || core->cfg.queue_qos0_messages || p->queued;
}
static inline size_t pub_size(const struct pub *p)
{
    return p->topic.n + p->props.n + p->payload.n;
}

/* ---- deliver.c ---- */
/* PUBLISH packets of one message, encoded once and copied to each subscriber: by version (3.x, 5)
 * and with or without a packet identifier.  `share`: there is more than one subscriber. */
struct image {
    uint8_t *p;
    uint32_t len, packet_id_at;
};
struct images {
    struct image kinds[4];
    size_t used; /* of SCRATCH_IMAGE */
    bool share;
};
static inline void images_init(struct images *im, bool share)
{
    im->share = share;
    im->used = 0;
    for (int i = 0; i < 4; i++) im->kinds[i].p = NULL;
}
/* Recovery routes what another shard had routed than the session's: that one had not, or not yet.
 */
static inline bool is_of_other_stream(const struct core *core, const struct session *s)
{
    return core->recovery && core->stream != STREAM_ANY && s->stream != core->stream;
}
/* Seconds left of a Message Expiry Interval [MQTT-3.3.2-6]; 0: expired [MQTT-3.3.2-5]. */
uint32_t expiry_left(const struct core *core, uint64_t created_ms, uint32_t expiry_s);
/* One message to one session, now or through its queue.  flags: OUTQ_RETAIN, OUTQ_SHARE (then subid
 * is the member's index). */
void deliver(struct core *core, struct pub *p, struct session *s, uint8_t qos, unsigned flags,
             uint32_t subid, struct images *images);
/* A retained message that another shard was asked for; the limits of the queue do not apply, as the
 * question was for no more than the client can take soon. */
void deliver_answer(struct core *core, struct pub *p, struct session *s, uint8_t qos,
                    uint32_t subid);
/* A delivery of a work queue, now: sent, and with QoS 1 or 2 in the window with OUTQ_QUEUE, which
 * takes over the reference to b.  E_TOO_LARGE, E_TOPIC_NAME: it is not for this client; E_NOMEM. */
struct queued_sending {
    uint8_t qos;
    uint32_t subid, index; /* index: the delivery's */
    struct tell {
        uint64_t seq, time_ms; /* see tell.h */
        uint32_t attempt;
    } tell;
};
MUST_USE int deliver_from_queue(struct cconn *c, struct blob *b, const struct queued_sending *how,
                                uint16_t *packet_id);
/* Encodes from inflight, queue and retained jobs until the output has OUTPUT_PULL bytes. */
void deliver_pull(struct cconn *c);
/* A message of the past that is sent now; flags: OUTQ_RETAIN.  p->seq is where it lies in the
 * store: its sequence, unless it was moved. */
struct replayed {
    uint64_t replay; /* its name */
    uint64_t seq;    /* of the message */
};
void deliver_replayed(struct cconn *c, struct pub *p, uint8_t qos, unsigned flags, uint32_t subid,
                      const struct replayed *as);
/* Puts a live message where it waits until it is its turn in the session's queue.  E_NOMEM. */
MUST_USE int deliver_hold(struct core *core, struct pub *p, struct session *s, uint8_t qos,
                          uint32_t subid, struct outq *held);
/* A live message behind all others of the session, whatever its limits: of those that are on their
 * way when a replay goes back to reading there are few, and recovery does the same. */
void deliver_late(struct core *core, struct pub *p, struct session *s, uint8_t qos, uint32_t subid);
/* An empty message of QoS 0 from the broker to one client, whatever its mount point. */
void deliver_note(struct cconn *c, struct bytes topic, uint32_t subid);
/* A retained message to a new subscription [MQTT-3.3.1-8]; takes over the reference to b. */
void deliver_retained(struct cconn *c, struct blob *b, uint8_t qos, uint32_t subid);
void deliver_resend(struct cconn *c,
                    struct inflight_entry *e); /* on the live connection, DUP set */
/* A QoS 2 delivery whose packet identifier is safe now. */
void deliver_held(struct cconn *c, uint16_t packet_id);
bool deliver_has_more(const struct cconn *c); /* a pull would find something */
/* Queue length of a connected session above which its publishers wait. */
uint32_t deliver_queue_soft(const struct core *core);
void queue_item_release(struct core *core, const struct outq_item *item);
/* Whether a message of that size is one too many for the limits of queues. */
bool queue_full(const struct core *core, const struct session *s, size_t payload);
/* The sequence of a queued message that the store keeps and the queue holds there; 0: none.  What a
 * group may ask back at any time is in memory as well. */
static inline uint64_t item_seq(const struct core *core, const struct outq_item *item)
{
    if (!core->keeps) return 0;
    if (item->flags & OUTQ_STORED) return item->ref;
    return item->flags & OUTQ_SHARE ? msg_of((struct blob *)(uintptr_t)item->ref)->seq : 0;
}

#endif
