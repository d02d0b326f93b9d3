/* What lists of the admin listener share: admin_list.c has their mechanics and the lists of
 * sessions and retained messages, admin_list_*.c have others.  The admin thread, but for what says
 * otherwise. */
#ifndef SRC_ADMIN_LIST_H
#define SRC_ADMIN_LIST_H

#include "admin_int.h"

struct listing;

enum list_cursor {
    LIST_BY_SLOT,  /* at.slot, at.skip */
    LIST_BY_TOPIC, /* at.after */
    LIST_BY_SEQ,   /* seq, the last that was given */
};

struct list_kind {
    /* On a shard's thread: fills l->page; whether there may be more.  l->pause: it is to be asked
     * again a little later. */
    bool (*step)(struct call *c, struct core *core, unsigned most);
    json_t *(*row)(const uint8_t **at, unsigned shard);
    enum list_cursor cursor;
    const char *keeps[4]; /* parameters that the next page has too; up to one NULL */
};

struct listing {
    const struct list_kind *kind;
    struct bytes only; /* a client or a topic filter; views into the call */
    unsigned shard;
    bool one_shard; /* it is all on that one */
    struct core_cursor at;
    uint64_t seq;
    struct buf page; /* rows one after the other */
    unsigned rows;   /* in it */
    bool more, torn, pause;
    char why[ADMIN_WHY_MAX]; /* step(): what was asked for is not right; 0: it is */
    unsigned limit, listed;  /* limit 0: none */
    struct buf json;
    bool begun;  /* the stream */
    void *order; /* the kind's own, mem_free()d */
};

static inline struct listing *listing_of(struct call *c) { return c->state; }

/* With limit and after read; NULL: answered. */
struct listing *listing_new(struct call *c, const struct list_kind *kind);
void listing_run(struct call *c);
/* One row alone: of this shard, as step() finds it; found() has the page. */
void listing_one(struct call *c, void (*found)(struct call *c));
/* 503, or the end of what was begun. */
void listing_give_up(struct call *c);

/* Rows in a page: the core's struct, with the lengths of its views, then their bytes. */
void list_put_row(struct listing *l, const void *row, size_t size, const struct bytes *texts,
                  unsigned count);
void list_get_row(const uint8_t **at, void *row, size_t size);
struct bytes list_get_text(const uint8_t **at, struct bytes length);

/* Members: empty texts and time 0 are null. */
json_t *list_text(struct bytes text);
json_t *list_time(uint64_t ms);

#endif
