/* A client for scripts: sends what it is told, answers what must be answered, and tolerates that
 * the broker closes it.  One thread. */
#ifndef TESTS_SIM_PEER_H
#define TESTS_SIM_PEER_H

#include "mqtt/packet.h"
#include "tests/world.h"

struct peer {
    struct world *world;
    struct wconn *conn; /* NULL: not connected */
    unsigned version;
    uint16_t next_pid;
    unsigned got[16];    /* packets received, by type */
    char last_topic[64]; /* of the last PUBLISH */
    uint32_t letters;    /* payloads of one byte that came: bit 0 is 'a' */
    uint32_t rejects;    /* those of QoS 1 that it answers with 0x99 (MQTT 5) */
};

struct peer_connect {
    const char *id;
    const char *user; /* with the password "secret"; NULL: anonymous */
    unsigned version;
    bool clean, will, will_retain;
    uint32_t expiry_s, will_delay_s;
    uint16_t receive_max, alias_max;
};

void peer_connect(struct peer *p, struct world *w, const struct peer_connect *how);
void peer_subscribe(struct peer *p, const char *filter, unsigned qos, uint32_t subid);
void peer_unsubscribe(struct peer *p, const char *filter);
void peer_publish(struct peer *p, const char *topic, struct bytes payload, unsigned flags,
                  uint16_t alias);
void peer_ping(struct peer *p);
void peer_leave(struct peer *p);
void peer_drop(struct peer *p);
/* Runs the world and answers, until nothing moves. */
void peers_run(struct peer *peers, size_t count);

enum { PEER_QOS1 = 2, PEER_QOS2 = 4, PEER_RETAIN = 1 }; /* flags of a publish */

#endif
