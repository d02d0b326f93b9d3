/* Work queues as they are configured (CONTRACT section 2). */
#ifndef CORE_QUEUE_CONF_H
#define CORE_QUEUE_CONF_H

#include "base/base.h"

enum queue_overflow { QUEUE_DEAD_LETTER, QUEUE_REJECT, QUEUE_DROP_OLDEST };

struct queue_settings {
    uint64_t ack_deadline_ms;
    uint64_t backoff_first_ms, backoff_most_ms;
    uint64_t message_ttl_ms;  /* 0 = none */
    uint64_t dedup_window_ms; /* 0 = none */
    uint64_t max_bytes;       /* topics, properties, payloads; 0 = no limit */
    uint32_t max_messages;    /* 0 = no limit */
    uint32_t max_deliveries;  /* failed attempts before it is dead; 0 = no limit */
    uint32_t prefetch;        /* unacknowledged at one consumer */
    uint8_t overflow;         /* enum queue_overflow */
    bool by_key;              /* one message of a key in flight */
    bool round_robin;         /* consumers in turn; else the least busy one */
};

/* The defaults of the directives. */
#define QUEUE_SETTINGS_DEFAULT                                                                     \
    {                                                                                              \
        .ack_deadline_ms = 30000, .backoff_first_ms = 1000, .backoff_most_ms = 60000,              \
        .dedup_window_ms = 120000, .max_bytes = UINT64_C(1) << 30, .max_messages = 100000,         \
        .max_deliveries = 5, .prefetch = 100, .overflow = QUEUE_DEAD_LETTER                        \
    }

enum {
    QUEUE_NAME_MAX = 255,  /* bytes */
    QUEUE_TOPICS_MAX = 64, /* topic filters of one queue */
    QUEUES_MAX = 10000,    /* of one shard, whoever made them */
    QUEUE_PREFETCH_MAX = 65535,
};

/* A `queue` block.  The configuration's; outlives the cores that know it. */
struct queue_conf {
    char *name;
    char **topics; /* at least one, valid topic filters */
    uint32_t topic_count;
    char *filter; /* an attribute filter; NULL: none */
    struct queue_settings set;
};

#endif
