/* Replays: subscriptions that begin in the past (CONTRACT section 3).  What a history (history.h)
 * has is read from the log as the client's window and socket allow, then live messages follow: all
 * of them in the order of the log, none twice, none missing.
 *
 *   HELD -> READING -> JOINING -> LIVE        HELD: SUBACK is not out
 *              ^  ^-------'  |      |         span: ends in READING
 *              '- FENCING <--'------'         the client has gone, or does not keep up
 *
 * One sequence number decides who brings a message: while READING all are the reader's, and live
 * ones are passed over.  When it has caught up, `live_from` is the log's end: live messages from
 * there on wait in `held` (JOINING) until the reader has come so far too.  When a client that is
 * LIVE cannot follow, the log is its queue: `cut` is the log's end, live messages before it are
 * still delivered, and the reader brings those from there on, as soon as it is certain that none
 * before it is on its way (FENCING).  A queue that is full loses nothing so.
 *
 * A replay belongs to its subscription (struct wsub) and is part of the session's state.  The
 * shard's thread. */
#ifndef CORE_REPLAY_H
#define CORE_REPLAY_H

#include "core/core_int.h"
#include "core/wish.h"

struct wsub;
struct images;

/* What a SUBSCRIBE asks for, resolved to points of this log. */
struct replay_order {
    bool wanted;
    bool span, tells_end;
    uint32_t last;             /* of each topic; 0: all */
    uint64_t from_seq, to_seq; /* both included; to_seq UINT64_MAX: no end */
    uint64_t from_ms, to_ms;   /* likewise */
};

/* 0: *out says what; not wanted where no history meets the filter.  E_INVALID: *why says what is
 * wrong, a constant; E_MALFORMED: bad escapes; E_NOMEM. */
MUST_USE int replay_order(struct core *core, const struct wish *w, struct bytes filter,
                          struct replay_order *out, const char **why);
/* Whether the session has as many as it may; sub: the subscription that one more is for, if it is
 * there already. */
bool replay_over_quota(const struct session *s, const struct sub *sub);
/* The subscription begins its replay, as said; one that was there is over.  E_NOMEM. */
MUST_USE int replay_begin(struct wsub *ws, struct bytes filter, const struct replay_order *order);
void replay_end(struct wsub *ws);      /* forgets it, if there is one */
void replays_start(struct session *s); /* SUBACK is out */
void replays_away(struct session *s);  /* the connection is gone */

/* Dead letters that no history has: a reader (dead_read.h) brings all of them, also those that
 * come; such a replay stays READING. */
bool replay_of_dead(const struct replay *r);

/* A live message of a history, whose subscription replays: delivered, kept for later, or passed
 * over. */
void replay_live(struct core *core, struct pub *p, struct wsub *ws, uint8_t qos,
                 struct images *images);
/* Sends some more of the past; false: nothing just now. */
bool replays_step(struct cconn *c);
bool replays_can_step(const struct cconn *c);
/* No live message before the cut of this replay can come any more. */
void replay_fenced(struct core *core, session_id session, uint32_t replay);

void replay_dead_page(struct core *core, struct rd *r); /* MAIL_DEAD_PAGE */

/* ---- the journal ---- */

void replays_flush(struct core *core);      /* the turn ends: where they are goes to the journal */
void replay_journal(const struct wsub *ws); /* for a checkpoint */
/* While recovering: J_REPLAY; and J_SENT says that it has sent `seq`. */
void replay_restore(struct session *s, struct rd *r);
void replay_restore_sent(struct session *s, uint64_t name, uint64_t seq);
void replays_recovered(struct session *s); /* all has been routed, and journaling begins */

#endif
