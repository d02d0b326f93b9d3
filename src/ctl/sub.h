/* sluicectl sub: what its files share.  sub.c is its life, sub_ack.c how it answers, sub_options.c
 * its command line.  One thread. */
#ifndef SRC_CTL_SUB_H
#define SRC_CTL_SUB_H

#include "client.h"

enum { SUB_TOPICS_MAX = 1000 };

enum ack_mode { ACK_AUTO, ACK_NONE, ACK_REFUSE, ACK_DELAY };

/* An answer that is due later (--ack delay=D). */
struct later_ack {
    uint64_t due_ms;
    uint16_t packet_id;
    uint8_t qos;
};

struct sub {
    struct client_options o;
    struct client client;
    struct print print;
    const char *topics[SUB_TOPICS_MAX], *unsubscribed[SUB_TOPICS_MAX], *skipped[SUB_TOPICS_MAX];
    size_t topic_count, unsubscribed_count, skipped_count;
    int64_t qos;   /* -1: not said */
    int64_t count; /* -C; 0: no limit */
    int64_t wait_ms;
    bool no_retained, leaves_when_subscribed, wants_mark, has_span, has_mark;

    enum ack_mode mode;
    uint8_t reason;   /* of ACK_REFUSE */
    int64_t delay_ms; /* of ACK_DELAY */
    /* A ring of what is due, in the order of time, as the delay is the same for all. */
    struct later_ack *later;
    uint32_t later_first, later_count;
    struct alias_in aliases;
    bool releasing[UINT16_MAX + 1]; /* QoS 2: PUBREC is sent, PUBREL is due */
    uint32_t releasing_count;

    uint64_t printed;
    size_t granted, refused, ended_spans;
    bool subscribed;
};

/* ---- sub_options.c ---- */
/* 0 or an exit code; *help: nothing but that was wanted, and it is printed. */
MUST_USE int sub_options(struct sub *s, unsigned count, char **words, bool *help);

/* ---- sub_ack.c ---- */
MUST_USE int sub_ack_init(struct sub *s);
void sub_ack_fini(struct sub *s);
/* Answers a message that was printed, now, later or never. */
MUST_USE int sub_ack(struct sub *s, const struct mqtt_publish *m);
/* What was to be answered by now; *next_ms: when it goes on, UINT64_MAX: nothing waits. */
MUST_USE int sub_ack_due(struct sub *s, uint64_t now_ms, uint64_t *next_ms);
/* PUBREL of QoS 2. */
MUST_USE int sub_ack_release(struct sub *s, struct bytes body);
/* Whether anything is still to be answered. */
bool sub_ack_pending(const struct sub *s);

#endif
