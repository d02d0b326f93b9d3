/* What is where in a segment: every topic's name and the places of its messages.  Kept in a file
 * beside each sealed segment, which is only a shortcut: it is made again when it is missing or
 * damaged.  docs/formats.md has the bytes.  One thread at a time. */
#ifndef STORE_LOG_INDEX_H
#define STORE_LOG_INDEX_H

#include "store/log.h"
#include "store/log/file.h"

struct index {
    uint64_t base;              /* position of the segment */
    uint64_t first_ms, last_ms; /* time of the messages in it; first > last: there are none */
    uint32_t topic_count, described_count; /* messages with a topic */
    uint32_t message_count;                /* all that can be fetched, copies too */
    uint8_t *data;                         /* the topics, in the order of their names */
    size_t size;
};

struct index_source {
    const struct file_ops *files;
    int fd; /* of the segment */
    uint32_t salt;
    uint64_t base, from, to; /* positions; from and to are those of records, or the end */
    store_describe *describe;
};

/* Reads the records in [from, to).  Damaged ones are passed over.  E_NOMEM. */
MUST_USE int index_build(struct index *out, const struct index_source *source);
void index_fini(struct index *x);

/* The file: written under another name first, not synced.  E_IO, E_NOMEM. */
MUST_USE int index_write(const struct file_ops *files, int folder, const struct index *x);
/* E_NOTFOUND, E_MALFORMED: also of another version; E_IO, E_NOMEM. */
MUST_USE int index_read(const struct file_ops *files, int folder, uint64_t base, struct index *out);

/* Goes through the topics: starts with {0}, false at the end. */
struct index_topic {
    struct bytes name; /* a view into the index */
    uint32_t count;    /* of its messages */
    struct bytes places;
    size_t next;
};
bool index_next(const struct index *x, struct index_topic *t);

/* Takes the next position off a topic's places, which is behind `last` (at first: the base).
 * False: that was all. */
bool index_place(struct bytes *places, uint64_t *last);

#endif
