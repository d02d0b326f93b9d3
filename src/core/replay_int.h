/* Replay's own: replay.c has its life, replay_read.c reads the log for it. */
#ifndef CORE_REPLAY_INT_H
#define CORE_REPLAY_INT_H

#include "core/dead_read.h"
#include "core/history.h"
#include "core/replay.h"
#include "core/wished.h"

enum replay_state { REPLAY_HELD, REPLAY_READING, REPLAY_JOINING, REPLAY_LIVE, REPLAY_FENCING };

struct replay {
    struct replay *next; /* of the session */
    struct session *session;
    struct wsub *ws;
    uint64_t name; /* of its subscription, the same after a restart */
    uint32_t id;   /* of its last fence */
    uint8_t state;
    struct list dirty; /* in core->replays_dirty while its state is not in the journal */
    bool end_told, of_dead;
    struct replay_order order;
    uint64_t accepted;       /* the log's end at SUBSCRIBE: before it is history */
    uint64_t position;       /* what is before has been sent, or passed over */
    uint64_t live_from, cut; /* see replay.h */
    struct store_reader *reader;
    struct dead_reader *letters; /* instead, if of_dead */
    uint64_t acl_generation;     /* of the access list when it was opened */
    struct outq held;            /* JOINING: live messages, as the session's queue has them */
    uint16_t filter_len;
    uint8_t filter[];
};

static inline struct bytes replay_filter(const struct replay *r)
{
    return bytes_of(r->filter, r->filter_len);
}

void replay_close_reader(struct replay *r);
/* Its position is to be journaled when the turn ends. */
void replay_moved(struct replay *r);
/* Its state is journaled here and now: what is stored and routed before and after differs. */
void replay_turns(struct replay *r, enum replay_state state);
void replay_queue_held(struct replay *r);
void replay_release_held(struct replay *r);

#endif
