/* sluicectl pub and sub: a client of MQTT 5, 3.1.1 and 3.1 on the tree's own codec.  Libraries for
 * clients acknowledge by themselves: neither libmosquitto nor Paho can withhold a PUBACK, or refuse
 * a message with a reason code, which is half of what these verbs are for.  One thread, one
 * connection, a socket that does not block and poll(). */
#ifndef SRC_CTL_CLIENT_H
#define SRC_CTL_CLIENT_H

#include "ctl.h"
#include "mqtt/alias.h"
#include "mqtt/packet.h"
#include "tls/tls.h"

/* ---- properties: props.c ---- */

/* Which packet a property of -D goes into. */
enum client_place {
    PLACE_CONNECT,
    PLACE_WILL,
    PLACE_PUBLISH,
    PLACE_SUBSCRIBE,
    PLACE_UNSUBSCRIBE,
    PLACE_DISCONNECT,
    PLACE_PUBACK,
    PLACE_COUNT
};

/* The words behind -D: returns how many were taken, or minus an exit code. */
int props_take(struct buf blocks[PLACE_COUNT], char **words, unsigned count);
/* 0 or an exit code. */
MUST_USE int props_add_user(struct buf *block, const char *name, const char *value);
/* "name=value", as --prop has it. */
MUST_USE int props_add_pair(struct buf *block, const char *pair);
/* Whether each stands where it may, once, with a value that is allowed; 0 or an exit code. */
MUST_USE int props_check(const struct buf blocks[PLACE_COUNT]);

/* ---- options: options.c ---- */

enum option_kind { OPTION_FLAG, OPTION_TEXT, OPTION_NUMBER, OPTION_DURATION, OPTION_CALL };

/* A row of a table of options.  Where the value goes is at `at` in the table's struct: a bool, a
 * const char *, an int64_t (durations: milliseconds). */
struct option {
    const char *name, *value, *help; /* value: what follows, for people; NULL: nothing */
    uint8_t kind;
    uint16_t at;
    uint32_t least, most; /* of numbers */
    /* Takes what it needs of the words behind the option: how many, or minus an exit code. */
    int (*take)(void *to, char **words, unsigned count);
};

struct option_table {
    const struct option *rows;
    size_t count;
    void *to;
};

/* 0, or an exit code. */
MUST_USE int options_read(const struct option_table *tables, size_t table_count, char **words,
                          unsigned count);
void options_help(const struct option_table *tables, size_t table_count);

/* What both verbs are told about the connection. */
struct client_options {
    const char *host, *unix_path, *id, *id_prefix, *username, *password;
    const char *will_topic, *will_payload;
    const char *cafile, *capath, *certfile, *keyfile;
    bool keep_session, debug, help, json, insecure, os_certificates, will_retain;
    int64_t port, keep_alive_s, will_qos; /* port 0: the usual one */
    int64_t expiry_s;                     /* -1: not said */
    unsigned version;                     /* enum mqtt_version */
    struct buf props[PLACE_COUNT];        /* encoded blocks */
};

extern const struct option client_option_rows[];
extern const size_t client_option_count;
void client_options_init(struct client_options *o);
/* What cannot go together; 0 or an exit code. */
MUST_USE int client_options_check(const struct client_options *o);
void client_options_fini(struct client_options *o);

/* ---- the connection: connect.c, client.c ---- */

struct client {
    const struct client_options *options;
    struct transport transport;
    struct tls_context *tls; /* or NULL */
    int signals;             /* a descriptor: SIGINT and SIGTERM */
    struct buf in, out;
    uint32_t taken;   /* of `in`: the packet that was given out */
    unsigned version; /* enum mqtt_version */
    uint16_t receive_max, next_id;
    uint64_t keep_alive_ms, sent_ms, pinged_ms; /* pinged_ms 0: no answer is due */
    uint32_t max_packet;                        /* of the broker; 0: any */
    bool connected, leaving;                    /* CONNACK has come; DISCONNECT is sent */
    int code;                                   /* exit code, once it has ended */
};

struct client_packet {
    unsigned type, flags;
    struct bytes body; /* until the next client_wait() */
};

enum client_event {
    CLIENT_ENDED = -1, /* the connection is over, and stderr says why: client.code */
    CLIENT_IDLE = 0,   /* the time has come, the descriptor is readable, or all output is sent */
    CLIENT_PACKET,
    CLIENT_SIGNAL, /* the user wants an end */
};

/* Connects as far as CONNACK.  0, or an exit code; stderr says why. */
MUST_USE int client_open(struct client *c, const struct client_options *o);
/* Waits until `until_ms` (clock_mono_ms(); UINT64_MAX: for ever), and for `descriptor` unless it is
 * -1.  Pings and what the broker says of the end are dealt with inside. */
enum client_event client_wait(struct client *c, uint64_t until_ms, int descriptor,
                              struct client_packet *out);
/* Whether enough waits to be sent, so that whoever has more should wait. */
bool client_busy(const struct client *c);
bool client_readable(int descriptor);
/* Room for one packet, and that it is there; NULL: no memory, which was said. */
uint8_t *client_reserve(struct client *c, size_t size);
void client_commit(struct client *c, unsigned type, const uint8_t *packet_end);
/* What poll() is to wait for. */
short client_poll_events(const struct transport *t, unsigned wanted);
/* Each queues a packet; 0 or an exit code. */
MUST_USE int client_publish(struct client *c, const struct mqtt_publish_out *p);
MUST_USE int client_ack(struct client *c, unsigned type, uint16_t packet_id, uint8_t reason,
                        struct bytes props);
MUST_USE int client_subscribe(struct client *c, const struct mqtt_subscription *subs, size_t count);
MUST_USE int client_unsubscribe(struct client *c, const struct bytes *filters, size_t count);
uint16_t client_next_id(struct client *c);
/* Sends what waits and DISCONNECT, reads until the broker has closed, and frees.  Returns code, or
 * what the broker said instead. */
int client_close(struct client *c, int code);

/* "REASON: TEXT (0x97)", with the Reason String if there is one. */
enum { REASON_TEXT_MAX = 512 };
void client_reason(char out[REASON_TEXT_MAX], uint8_t reason, const struct mqtt_props *props);

/* ---- printing what is received: print.c ---- */

struct print {
    const char *format; /* -F, or NULL */
    bool verbose, no_newline, json;
};
/* NULL, or what is wrong with the format. */
const char *print_check(const char *format);
/* 0 or an exit code. */
MUST_USE int print_message(const struct print *p, const struct mqtt_publish *m,
                           const struct mqtt_props *props);

#endif
