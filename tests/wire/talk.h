/* One run of one conversation: a simulated broker, its clients, and what has been said so far. */
#ifndef TESTS_WIRE_TALK_H
#define TESTS_WIRE_TALK_H

#include "core/acl.h"
#include "core/queue_conf.h"
#include "tests/wire/codec.h"
#include "tests/world.h"

enum {
    CLIENTS_MAX = 128,
    ALIASES_MAX = 16,
    OWED_MAX = 4096,
    ACLS_MAX = 8,
    LISTENERS_MAX = 4,
    QUEUES_SAID = 8
};

struct line {
    unsigned number;
    const char *text;
};

struct conversation {
    const char *file, *title;
    struct line *lines;
    size_t count, cap;
    unsigned line;         /* of the title */
    unsigned versions;     /* bit 1 << enum mqtt_version; it runs once with each as the default */
    bool one_shard;        /* shards 1 */
    bool disk;             /* it is about what is kept: never in memory alone */
    const char *must_fail; /* self-test: it has to fail with a message that contains this */
};

/* An acknowledgement that is due, by type and packet identifier. */
struct owed {
    unsigned type;
    uint16_t id;
};

struct owed_list {
    struct owed items[OWED_MAX];
    size_t count;
};

struct inbox { /* packets that arrived and were not asked for yet */
    struct packet *items;
    size_t count, cap;
};

struct client {
    const char *name;
    struct wconn *conn; /* NULL: never connected, or dropped */
    unsigned version;
    uint16_t last_id;
    bool ended; /* that it is closed was expected */
    struct inbox inbox;
    struct owed_list broker_owes, owes_broker;
};

struct alias {
    const char *name;
    struct client *client;
};

struct talk {
    struct arena arena;
    struct world *world;
    struct store_disk *disk; /* NULL: the broker keeps nothing */
    bool disk_waits;         /* what is appended does not become safe */
    const struct conversation *conv;
    unsigned version; /* of connections that name none */
    bool verbose;
    struct client *clients[CLIENTS_MAX];
    size_t client_count;
    struct alias aliases[ALIASES_MAX];
    size_t alias_count;
    struct core_listener *listeners[LISTENERS_MAX];
    bool listener_used[LISTENERS_MAX];
    struct acl *acls[ACLS_MAX]; /* of `config acl_file`; the world may use any of them */
    size_t acl_count;
    struct queue_conf queues[QUEUES_SAID]; /* of `config queue` and what follows */
    uint32_t queue_count;
    struct fields vars;
    unsigned line;     /* being run */
    uint64_t index;    /* of the innermost repeat */
    const char *error; /* the first thing that went wrong */
};

/* Records the first failure with its place; always false. */
PRINTF_LIKE(2, 3) bool talk_fail(struct talk *t, const char *fmt, ...);
/* Runs the world until it is idle and fetches what arrived. */
void talk_settle(struct talk *t);
/* What arrived, without running. */
void talk_fetch(struct talk *t);
/* The whole conversation; NULL, or why it failed.  The text lives until talk_fini(). */
const char *talk_run(struct talk *t);
void talk_init(struct talk *t, const struct conversation *conv, unsigned version, unsigned shards,
               uint64_t seed, bool disk, bool verbose);
void talk_fini(struct talk *t);

/* ---- clients.c ---- */

struct client *client_named(struct talk *t, struct bytes name); /* made when it is new */
bool client_is_open(const struct client *c);
bool client_open(struct talk *t, struct client *c, unsigned version, unsigned listener);
void client_fetch(struct talk *t, struct client *c);
/* Puts bytes into the pipe; run: and lets the world run. */
bool client_send_raw(struct talk *t, struct client *c, struct bytes raw, bool run);
/* The packet the words describe, with identifiers where they are left out. */
bool client_send(struct talk *t, struct client *c, unsigned type, const struct fields *words,
                 bool run);

enum search {
    SEARCH_NEXT,     /* the next packet must be it */
    SEARCH_ANYWHERE, /* any of those that arrived */
    SEARCH_TYPE,     /* the next packet of this type must be it */
};
/* Takes the packet out of the inbox; got may be NULL. */
bool client_expect(struct talk *t, struct client *c, unsigned type, const struct fields *words,
                   enum search search, struct packet *got);
/* Whether client_expect() would succeed; says nothing and takes nothing. */
bool client_would_match(struct talk *t, struct client *c, unsigned type,
                        const struct fields *words);
bool client_expect_raw(struct talk *t, struct client *c, struct bytes raw);
bool client_expect_nothing(struct talk *t, struct client *c);
/* words: empty, or of the DISCONNECT that a v5 client gets before. */
bool client_expect_closed(struct talk *t, struct client *c, const struct fields *words);
bool client_drop(struct talk *t, struct client *c);
/* The broker is gone: a connection is over, what arrived on it was read. */
void client_lost(struct talk *t, struct client *c);
/* What it has that nobody asked for, for a failure. */
const char *client_arrived(struct talk *t, const struct client *c);

/* ---- verbs.c ---- */

/* CONNECT on a new connection, or once more on an open one. */
bool say_connect(struct talk *t, struct client *c, const struct fields *words, bool run);
/* "connects", "gets" and the like; false with an error when there is no such verb either. */
bool verb_run(struct talk *t, struct client *c, struct bytes verb, const struct fields *words);
/* Acknowledges a PUBLISH as its QoS wants. */
bool verb_acknowledge(struct talk *t, struct client *c, const struct packet *publish);
/* The words from the nth on. */
struct fields words_from(const struct fields *words, size_t n);
bool word_is(const struct fields *words, size_t n, const char *text);

/* ---- settings.c ---- */

bool setting_config(struct talk *t, const struct fields *words);   /* NAME VALUE */
bool setting_listener(struct talk *t, const struct fields *words); /* [N] NAME VALUE */
bool setting_user(struct talk *t, const struct fields *words);     /* NAME PASSWORD */
bool setting_stat(struct talk *t, const struct fields *words);     /* NAME [at least] N */
/* The nth listener, made when it is new, or NULL after talk_fail(). */
struct core_listener *setting_listener_at(struct talk *t, uint64_t n);

#endif
