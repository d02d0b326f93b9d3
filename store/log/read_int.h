/* What a reader consists of: read.c goes forwards, read_last.c counts backwards before. */
#ifndef STORE_LOG_READ_INT_H
#define STORE_LOG_READ_INT_H

#include "base/ptrmap.h"
#include "store/log/log_int.h"

/* Where a topic of the index is. */
struct cursor {
    uint64_t at;   /* its next place */
    uint64_t from; /* places before this are not wanted */
    struct bytes places;
};

struct log_reader {
    struct store_reader base;
    struct door *door;
    struct store_query query;
    uint64_t position, end; /* what was before is done with; and where it stops */
    uint64_t walked;        /* up to where the last index reached: a record's begin, or 0 */

    struct index_job *job; /* is under way; or NULL */
    store_ref held;        /* so that the segment stays while it is read; 0: none */

    struct index index; /* that is being merged */
    uint64_t merge_to;  /* up to where it reaches */
    bool timeless;      /* all in it is of the time that is asked for */
    struct cursor *cursors;
    size_t count, room;

    /* read_seek.c: places of one topic, among which the first that is late enough is looked for */
    uint64_t *seek;
    size_t seek_low, seek_high, seek_end;

    /* read_last.c */
    bool counting;
    uint64_t count_to; /* what is from here on has been counted */
    uint64_t bound;    /* counted is what is before this */
    uint64_t least;    /* the first place that may be wanted */
    struct ptrmap limits;
    uint8_t topic[]; /* the query's */
};

extern const struct store_reader reader_calls;

uint32_t reader_wants(const struct log_reader *r, struct bytes topic);
/* The index of [from, to) of a segment, where records begin or end, which stays until
 * reader_answer() is done with: E_AGAIN, or E_NOMEM. */
MUST_USE int reader_ask(struct log_reader *r, struct segment *s, uint64_t from, uint64_t to);
/* 0: *out is the caller's, and the segment is held until it is let go; E_AGAIN: not yet. */
MUST_USE int reader_answer(struct log_reader *r, struct index *out);
void reader_let_go(struct log_reader *r);

/* Starts to look for the time the query begins with, in the index that is merged; without memory it
 * is read from its begin. */
void seek_begin(struct log_reader *r);
/* 0: r->position is where it begins; E_AGAIN.  A message that cannot be read ends it. */
MUST_USE int seek_on(struct log_reader *r);
void seek_end(struct log_reader *r);
/* The time of a message; errors of door_view(), 1: it has none. */
int reader_time(const struct log_reader *r, uint64_t position, struct bytes *body, uint64_t *ms);

void last_init(struct log_reader *r);
void last_fini(struct log_reader *r);
/* 0: it is known from which place on each topic is wanted.  E_AGAIN, E_NOTFOUND: what is to be
 * counted is not safe yet; E_NOMEM; E_FULL. */
MUST_USE int last_count(struct log_reader *r);
uint64_t last_from(const struct log_reader *r, struct bytes topic);

#endif
