/* Reading the list of dead letters from any shard: how $replay/<when>/$dead/... is served where no
 * history has these topics (CONTRACT section 6).  What was redriven, purged or trimmed is not in
 * the list, so it is not read; nothing is kept for a reader's sake but the page that it is at.
 *
 *   reader (dead_read.c) --- ASK: from this sequence on ---> shard 0 (dead_serve.c): waits until
 *                        <-- PAGE: letters, and how far ---- there is something to say
 *
 * Shard 0 knows of a letter some time after it got its sequence.  So it only tells those below
 * `arrived`: the log's end when a fence began that has come back from every shard.
 *
 * All letters of such a subscription are brought by its reader, those that come later too: live
 * routing passes it over.  The shard's thread. */
#ifndef CORE_DEAD_READ_H
#define CORE_DEAD_READ_H

#include "core/core_int.h"

struct dead_reader;

struct dead_query {
    session_id session;
    uint64_t from_seq;
    uint64_t end_seq;  /* not this one; UINT64_MAX: no end */
    uint64_t told_seq; /* to be told as soon as all before this has been read, if there is none */
    uint32_t last;     /* only the last so many of a topic of those before told_seq; 0: all */
};

/* E_NOMEM. */
MUST_USE int dead_read_open(struct dead_reader **out, struct core *core,
                            const struct dead_query *query);
/* 0: the next one, in the order of their sequences, a view until the next call; *ref is where it
 * lies in the store, if that keeps: held until then.  E_NOTFOUND: nothing just now; when there is,
 * the session's connection can go on. */
MUST_USE int dead_read_next(struct dead_reader *reader, struct pub *p, uint64_t *ref);
/* Everything before this sequence has been given. */
uint64_t dead_read_position(const struct dead_reader *reader);
/* Nothing is there until shard 0 has answered. */
bool dead_read_waits(const struct dead_reader *reader);
void dead_read_close(struct dead_reader **reader);
/* A PAGE, for a reader of this session that has this number, if it is still there. */
void dead_read_page(struct core *core, struct dead_reader *reader, struct rd *r);
uint32_t dead_read_number(const struct dead_reader *reader);

/* ---- shard 0 ---- */

struct dead_service;

/* Readers may be waiting for this letter, which is in the list now. */
void dead_serve_added(struct core *core);
/* A fence has come back. */
void dead_serve_arrived(struct core *core);
bool dead_serve_has_work(const struct core *core);
/* Answers those that can be answered; whether there was one. */
bool dead_serve(struct core *core);
void dead_serve_free(struct core *core);

/* MAIL_DEAD_ASK, MAIL_DEAD_STOP, MAIL_DEAD_PAGE. */
void dead_read_mail_in(struct core *core, unsigned src, unsigned kind, struct rd *r);

#endif
