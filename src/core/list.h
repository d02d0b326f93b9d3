/* What operators ask of a core: who is there, who subscribes to what, which messages are retained;
 * and what they do: end a connection, delete retained messages.  Everything goes in bounded steps,
 * with a cursor to go on from, so that a long list holds up nobody.  The shard's thread; views are
 * valid for the call of found(). */
#ifndef CORE_LIST_H
#define CORE_LIST_H

#include "core/core.h"

enum {
    CORE_LIST_SLOTS = 4096, /* places of sessions looked at in one step, and retained topics */
};

struct core_client {
    struct bytes id, user, peer; /* user: empty when anonymous; peer: of who is connected */
    bool connected, will;
    uint8_t version;        /* enum mqtt_version */
    uint16_t port;          /* of its listener; 0: a unix socket, or not connected */
    uint32_t keep_alive_s;  /* 0: none */
    uint32_t expiry_s;      /* of the session, UINT32_MAX: never */
    uint32_t subscriptions; /* those of groups included */
    uint32_t inflight;      /* deliveries it has not acknowledged */
    uint32_t receive_max;   /* and may have at most; 0 when not connected */
    uint32_t queued;        /* messages that wait */
    uint64_t queued_bytes;  /* of payload */
    uint64_t since_ms;      /* since 1970: connected, or away */
};

struct core_subscription {
    struct bytes client, filter; /* filter: the whole string, prefixes included */
    struct bytes where;          /* user property `filter`; empty: none */
    uint32_t id;                 /* Subscription Identifier; 0: none */
    uint8_t qos, retain_handling;
    bool no_local, retain_as_published, shared;
};

struct core_retained {
    struct bytes topic;
    uint64_t since_ms, seq; /* seq 0: not in the store */
    uint32_t size;          /* bytes of topic, properties and payload */
    uint32_t expiry_s;      /* from since_ms; UINT32_MAX: never */
};

/* Where a list goes on; all zero: at its beginning. */
struct core_cursor {
    uint32_t slot, skip; /* of sessions */
    struct buf after;    /* of retained messages: the last topic; owned */
};

/* Each calls found() for up to `most` and returns whether there may be more.  Who is there all the
 * time is listed once, whatever happens between the steps. */
bool core_list_clients(struct core *core, struct core_cursor *at, unsigned most,
                       void (*found)(void *ctx, const struct core_client *c), void *ctx);
/* client: of this one only; empty: of all. */
bool core_list_subscriptions(struct core *core, struct bytes client, struct core_cursor *at,
                             unsigned most,
                             void (*found)(void *ctx, const struct core_subscription *s),
                             void *ctx);
/* filter is valid.  Without memory the list ends; true in *torn then. */
bool core_list_retained(struct core *core, struct bytes filter, struct core_cursor *at,
                        unsigned most, void (*found)(void *ctx, const struct core_retained *m),
                        void *ctx, bool *torn);

/* E_NOTFOUND: no such session here. */
MUST_USE int core_find_client(struct core *core, struct bytes id,
                              void (*found)(void *ctx, const struct core_client *c), void *ctx);
/* Ends its connection with "administrative action"; the session stays as the standard says.
 * E_NOTFOUND: no such session; E_INVALID: it is not connected. */
MUST_USE int core_kick(struct core *core, struct bytes id);

/* Deletes up to `most` retained messages, as publishing an empty one does [MQTT-3.3.1-6]: those
 * who subscribe are told, and it outlives a crash.  dry: only counts.  Adds to *matched and
 * *deleted.  0: all were seen; E_AGAIN: to be called again, also because the store has no room just
 * now; E_FULL: the disk is full; E_NOMEM. */
MUST_USE int core_delete_retained(struct core *core, struct bytes filter, struct core_cursor *at,
                                  unsigned most, bool dry, uint64_t *matched, uint64_t *deleted);

#endif
