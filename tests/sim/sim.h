/* What the files of the simulation share.  A run is made from one seed: a simulated broker
 * (tests/world.h), some clients that behave as the standard demands (client.c), a scenario that
 * makes them meet, part and wait (run.c), in some runs a disk and crashes (crash.c), and a checker
 * that knows what each of them was promised (check.c).  One thread; everything belongs to struct
 * sim. */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include "base/rng.h"
#include "mqtt/packet.h"
#include "tests/world.h"

enum {
    CLIENTS_MAX = 16,
    PLAIN_TOPICS = 9,    /* anybody publishes to them */
    RETAINED_TOPICS = 4, /* each has one publisher, so that "the last" is defined */
    WILL_TOPICS = CLIENTS_MAX,
    TOPICS = PLAIN_TOPICS + RETAINED_TOPICS + WILL_TOPICS,
    FILTERS_MAX = 32,
    GROUPS = 5,
    RECS_MAX = 24,    /* subscriptions of one session, those that ended included */
    UNACKED_MAX = 24, /* publishes under way of one client */
    WINDOW_MAX = 128, /* deliveries it has not acknowledged */
    ZOMBIES_MAX = 4,  /* connections it has left open on a takeover */
    COPIES_MAX = 8,
    ALIASES_MAX = 8,
    OPS_MAX = 8,
    RISKY_MAX = 8,        /* wills of one client since the last rest */
    PID_FIRST_OP = 50000, /* packet identifiers of SUBSCRIBE, UNSUBSCRIBE */
    PID_OF_FAULT = 65535, /* of an UNSUBSCRIBE that the client does not know of */
};

/* A fault that the harness makes, so that the checker can be seen to find it. */
enum fault {
    FAULT_NONE,
    FAULT_LOSE, /* QoS 1 or 2, plain subscription */
    FAULT_LOSE_QOS0,
    FAULT_LOSE_SHARED,
    FAULT_LOSE_WILL,
    FAULT_LOSE_RETAINED,
    FAULT_TWICE, /* QoS 1, without DUP */
    FAULT_TWICE_QOS2,
    FAULT_TWICE_QOS0,
    FAULT_TWICE_SHARED, /* to two members */
    FAULT_SWAP,
    FAULT_STRANGER, /* to a client that has not subscribed */
    FAULT_STALE,    /* an old retained message */
    /* After a crash: */
    FAULT_FIRST_OF_CRASH,
    FAULT_CRASH_LOSE = FAULT_FIRST_OF_CRASH, /* a message that was acknowledged before */
    FAULT_CRASH_TWICE_QOS2,
    FAULT_CRASH_AGAIN,   /* QoS 1, whose PUBACK was safe */
    FAULT_CRASH_PID,     /* what was in flight comes by another identifier */
    FAULT_CRASH_IN2,     /* a publisher's QoS 2 identifier is forgotten */
    FAULT_CRASH_SUB,     /* a subscription */
    FAULT_CRASH_SESSION, /* a session */
    FAULT_CRASH_REVERT,  /* a retained message is an older one */
    FAULT_CRASH_WILL,    /* a will comes twice */
    FAULT_COUNT,
};

struct message {
    uint16_t publisher, topic;
    uint8_t qos;
    bool retain, empty, is_will;
    bool given_up;      /* nobody will send it again; whether it arrived is not known */
    uint32_t seq;       /* of its publisher and topic */
    uint32_t sends;     /* how often it was put on the wire */
    uint32_t expiry_s;  /* MQTT_NO_EXPIRY */
    uint32_t size;      /* of the payload */
    uint64_t sent;      /* event of the first sending; of a will: when it may come; 0 = not yet */
    uint64_t acked;     /* event from which the broker surely has it; 0 = not known */
    uint64_t last_sent; /* the same of the last sending */
    uint64_t routed;    /* event by which it surely was on its way to everybody; 0 = not known */
    uint64_t sent_ms, last_sent_ms;
    bool shaken;     /* a crash may have taken it: it was not, or not yet, promised */
    uint8_t replays; /* of a will: crashes that may have undone that it had come */
};

/* A subscription of a session, as far as its client knows. */
struct rec {
    unsigned filter; /* index, or of the group when `shared` */
    uint8_t qos;
    bool shared;
    uint64_t asked, granted, dropped, gone; /* events; 0 = not yet */
    uint64_t asked_retained;                /* the last time, for the retained messages too */
};

struct copy { /* of a message, as a session got it */
    uint16_t pid;
    uint8_t qos;
    bool done; /* the broker surely knows that it was acknowledged */
    uint32_t conn;
    uint64_t ms;
};

struct got {
    struct copy copies[COPIES_MAX];
    uint8_t copy_count;
    uint8_t settled; /* of the copies: the broker surely has on disk that it sent them */
    uint8_t extra;   /* copies that may come again, as crashes may have undone their sending */
    bool missed;     /* lossy: counted */
};

struct session {
    struct session *next;
    unsigned client;
    struct rec recs[RECS_MAX];
    unsigned rec_count;
    struct got *got; /* by message */
    uint32_t got_cap;
    uint32_t serial;     /* of the client's connection that began it */
    bool known;          /* it surely is on disk */
    bool doubt;          /* it was not when the broker crashed */
    uint32_t subscribes; /* SUBSCRIBE packets sent */
    struct {
        uint32_t seq;           /* of the message that must come, or a later one; 0 = none */
        uint32_t came;          /* the highest seq that has come since SUBSCRIBE */
    } owed[TOPICS];             /* retained messages, because of a SUBSCRIBE */
    uint32_t newest[TOPICS][2]; /* retained message that came live, + 1; as QoS 0 or not */
    uint32_t last[CLIENTS_MAX][TOPICS][3][3]; /* highest seq + 1: publisher, topic, QoS, came as */
};

struct unacked {
    uint32_t message;
    uint16_t pid;
    bool released; /* PUBREL is out */
};

struct op { /* SUBSCRIBE or UNSUBSCRIBE that waits for its answer */
    uint16_t pid;
    bool ends;
    unsigned rec_count;
    struct rec *recs[4];
};

struct bytes_out {
    uint8_t *p;
    size_t len, cap;
};

enum client_state { OFFLINE, CONNECTING, UP, LEAVING };

struct client {
    struct sim *sim;
    unsigned index;
    char id[16];
    /* Its nature, for the whole run. */
    uint8_t version;
    uint32_t expiry_s;
    uint16_t receive_max, alias_max, keep_alive_s;
    bool no_local, has_wills, always_clean;
    int group; /* -1: plain subscriptions; else the only group it joins */
    /* The connection. */
    enum client_state state;
    struct wconn *conn, *zombies[ZOMBIES_MAX];
    uint32_t serial; /* counts connections */
    uint64_t up;     /* event of CONNACK */
    uint64_t connect_ms, last_sent_ms;
    bool clean;           /* of the last CONNECT */
    bool slow;            /* has been, on this connection */
    bool holds;           /* keeps its acknowledgements back */
    bool held;            /* has, on this connection */
    bool lags;            /* left things unread while time passed, on this connection */
    bool will_ends_clean; /* LEAVING: the will is not to come */
    uint16_t window;      /* the broker may send so many */
    struct bytes_out out; /* kept back */
    uint16_t outstanding[WINDOW_MAX];
    unsigned outstanding_count;
    char alias_in[ALIASES_MAX + 1][16];
    bool alias_out[TOPICS];
    uint16_t server_aliases, server_window;
    uint32_t ping_mark; /* messages before this one have arrived when PINGRESP comes; 0 = no ping */
    uint32_t qos0_from; /* first message of this connection */
    /* The session. */
    struct session *session; /* NULL: none that the client counts on */
    bool must_clean;         /* a CONNECT was lost: what the broker has is not known */
    bool present_unknown;
    uint64_t gone_first_ms, gone_last_ms; /* between them the broker saw its connection end */
    struct unacked unacked[UNACKED_MAX];
    unsigned unacked_count;
    struct op ops[OPS_MAX];
    unsigned op_count;
    struct {
        uint16_t pid;
        uint32_t message;
    } received[WINDOW_MAX]; /* QoS 2, until PUBREL */
    unsigned received_count;
    uint16_t next_pid, next_op_pid;
    /* What a crash may undo. */
    bool known;            /* its connection surely is on disk */
    bool gone_known;       /* and so is that it ended */
    uint64_t safe_gone_ms; /* since when it is away according to the disk; UINT64_MAX: it is not */
    bool older;            /* an earlier session may still be there, as its end is not safe */
    bool was_full;         /* on this connection, the disk */
    uint64_t full_ms;
    uint32_t risky_wills[RISKY_MAX]; /* message + 1; whose coming or not is not safe */
    unsigned risky_count;
    uint32_t fired_will;         /* came from a session that surely is on disk; message + 1 */
    uint32_t will, will_delay_s; /* message + 1, of this connection; 0 = none */
    uint32_t old_will;           /* of the connection that a takeover ends */
    uint32_t cancelled_will;     /* if this CONNECT arrives */
    uint32_t late_will;          /* waits for its delay */
    uint64_t late_will_ms;
};

struct group_got {
    uint8_t count;
    bool excused; /* may be lost: a session ended with it */
    struct {
        uint8_t client;
        uint32_t serial;
    } by[COPIES_MAX];
};

struct group {
    const char *name;
    unsigned filter;
    uint8_t qos;
    struct group_got *got; /* by message */
    uint32_t got_cap;
};

struct options {
    uint64_t seed;
    unsigned clients, steps, shards; /* 0: drawn from the seed */
    bool pending;                    /* also what the core is known to do wrong, see the README */
    bool crash;                      /* on a disk, with crashes */
    bool groups;                     /* then, also what shared groups are promised */
    enum fault fault;
    bool verbose;
};

struct sim {
    struct options options;
    struct rng rng;
    struct world *world;
    struct core_config cfg;
    struct client clients[CLIENTS_MAX];
    unsigned client_count, steps;
    struct message *messages;
    uint32_t message_count, message_cap;
    uint32_t seqs[CLIENTS_MAX][TOPICS];
    struct session *sessions;
    struct group groups[GROUPS];
    uint64_t event;
    bool lossy;   /* queues are short: messages may be dropped, and are counted */
    bool shuffle; /* the world is */
    bool tight;   /* output buffers are small: QoS 0 may be dropped */
    uint32_t missing;
    /* On a disk. */
    struct store_disk *disk;
    struct store_faults faults;
    bool down, clean_stop; /* the broker is, and why; until all clients have seen it */
    uint64_t down_first_ms, down_last_ms;
    uint64_t safe_event;  /* what had happened then is safe */
    uint64_t crash_event; /* the last one; 0 = none yet */
    uint64_t dropped;     /* counted by earlier runs of the broker: queue full */
    bool failed;
    char failure[512];
    bool fault_done;      /* the fault has been made */
    unsigned fault_after; /* deliveries to let pass first */
    struct {              /* FAULT_SWAP: held back */
        bool full;
        struct client *client;
        uint32_t message;
        uint16_t pid;
        uint8_t qos;
    } swap;
    unsigned fault_topic; /* FAULT_CRASH_SUB: of the subscription */
    unsigned fault_client;
    char *trace; /* ring of lines */
    uint64_t trace_count;
};

/* ---- names.c: topics, filters, trace ---- */
extern const unsigned filter_count;
const char *topic_name(unsigned topic);
int topic_index(struct bytes name); /* -1: none of ours */
const char *filter_name(unsigned filter);
enum { REC_TEXT = 80 };
/* What is subscribed to: r's topic filter with its prefixes. */
const char *rec_text(const struct sim *sim, const struct rec *r, char text[REC_TEXT]);
bool topic_filter_matches(unsigned filter, unsigned topic);
unsigned will_topic(unsigned client);
PRINTF_LIKE(2, 3) void trace(struct sim *sim, const char *fmt, ...);
PRINTF_LIKE(2, 3) void fail(struct sim *sim, const char *fmt, ...); /* the first one counts */
void print_failure(struct sim *sim);

/* ---- client.c: the client's side of the protocol ---- */
void client_init(struct sim *sim, unsigned index);
void client_connect(struct client *c, bool clean); /* a takeover when it is connected */
void client_drop(struct client *c);
void client_leave(struct client *c, bool with_will); /* DISCONNECT; run the world, then read */
void client_publish(struct client *c, unsigned topic, uint8_t qos, bool retain, bool empty);
void client_subscribe(struct client *c);
void client_unsubscribe(struct client *c);
void client_ping(struct client *c);
bool client_read(struct client *c);  /* whether there was anything */
void client_flush(struct client *c); /* sends what it has kept back; whether it holds is kept */
void client_fini(struct client *c);

/* ---- ends.c: what the end of a connection means ---- */
void connection_ended(struct client *c, uint64_t first_ms, uint64_t last_ms, bool clean_leave);
void connect_lost(struct client *c); /* it ended before CONNACK */
void session_end(struct client *c);
void session_begin(struct client *c);
/* What a CONNECT at that time may find: a session 1, none 0, either -1. */
int session_due(const struct client *c, uint64_t ms);
void will_comes(struct sim *sim, uint32_t will, bool surely);

void will_at_risk(struct client *c, uint32_t will);
bool client_lasts(const struct client *c); /* its session outlives the connection */
void client_known(struct client *c);       /* what it did up to now is safe */
/* The broker is down, see sim.down. */
void connection_crashed(struct client *c);
/* It closed the connection because the disk was full. */
void full_closed(struct client *c);

/* ---- crash.c: the disk, crashes and restarts ---- */
unsigned shards_choose(struct sim *sim);
void disk_init(struct sim *sim);
void crash_some(struct sim *sim); /* a crash or a restart, perhaps a further one soon after */
void full_for_a_while(struct sim *sim);
void drain(struct sim *sim);  /* what the broker has done gets to the disk */
void settle(struct sim *sim); /* the same when all is at rest: nothing can be undone */
/* No checkpoints while much time passes: each would be looked at every millisecond; and no E_AGAIN.
 */
void disk_rests(struct sim *sim, bool rests);
void late_wills_come(struct sim *sim);

/* ---- check.c ---- */
struct delivery {
    struct client *client;
    uint32_t message;
    uint32_t expiry_s; /* what is left */
    uint8_t qos;
    bool dup, retain;
    uint16_t pid;
};
uint32_t message_new(struct sim *sim, unsigned publisher, unsigned topic, uint8_t qos);
struct group_got *group_got(struct sim *sim, struct group *g, uint32_t message);
void check_delivery(struct sim *sim, struct delivery d); /* through the fault, if any */
void check_empty(struct sim *sim, struct client *c, unsigned topic);
void check_asked(struct client *c, const struct rec *r);   /* SUBSCRIBE */
void check_granted(struct client *c, const struct rec *r); /* SUBACK */
void check_rest(struct sim *sim);                          /* everything moved as far as it can */
void check_end(struct sim *sim); /* the same, and all clients are connected */
void check_retained(struct sim *sim, const uint32_t *got); /* by topic, message + 1 */
void check_settled(struct sim *sim);                       /* what is safe is not to come again */
void check_shaken(struct sim *sim, bool stop);             /* down: what was not safe may */
bool rec_matches(const struct sim *sim, const struct rec *r, unsigned topic);
/* A subscription because of which m may have come to c with this QoS. */
const struct rec *may_get(const struct sim *sim, const struct client *c, const struct message *m,
                          uint8_t qos);
/* The QoS at which m must have come to c, of plain subscriptions; -1: it need not. */
int must_get(const struct sim *sim, const struct client *c, const struct message *m);
bool has_member(const struct sim *sim, unsigned group, const struct message *m);
bool may_be_retained(const struct sim *sim, uint32_t message);
struct got *got_of(struct session *s, uint32_t message);
struct copy *copy_of(struct got *g, uint16_t pid);
void check_deliver(struct sim *sim, const struct delivery *d); /* as if no fault was made */

/* ---- faults.c: what the harness does wrong on purpose ---- */
extern const char *const fault_names[FAULT_COUNT];
/* Whether the fault is made of this delivery; then instead of it. */
bool fault_strikes(struct sim *sim, const struct delivery *d);
void fault_strike(struct sim *sim, struct delivery d);
bool fault_session(struct client *c, bool present); /* what CONNACK is to have said */
void fault_resumed(struct client *c);
uint32_t fault_retained(struct sim *sim, uint32_t got);
void fault_finish(struct sim *sim); /* makes that it can be noticed */

/* ---- run.c ---- */
void publish_some(struct sim *sim, struct client *c);
bool read_all(struct sim *sim);
void fresh_subscriber(struct sim *sim); /* gets exactly the retained messages */
void sim_run(struct sim *sim, const struct options *options); /* then sim_free() */
void sim_rest(struct sim *sim);
void sim_free(struct sim *sim);

#endif
