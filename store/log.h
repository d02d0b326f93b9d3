/* The log on disk: segments in a folder, one writer thread for all doors.  docs/formats.md has the
 * bytes. */
#ifndef STORE_LOG_H
#define STORE_LOG_H

#include "base/loglevel.h"
#include "store/store.h"

enum store_durability {
    STORE_COMMIT,   /* safe = fdatasync has returned; one sync takes what came during the last */
    STORE_INTERVAL, /* safe = written; synced every interval_ms */
    STORE_OS,       /* safe = written; synced when a segment is full and at the end */
};

/* What an index needs to know of a message; false: it has no topic (then it is not indexed). */
struct store_topic {
    struct bytes topic; /* a view into body */
    uint64_t time_ms;   /* since 1970 */
};

struct store_log_options {
    const char *folder; /* is made when it is not there */
    enum store_durability durability;
    uint32_t interval_ms;
    uint64_t segment_bytes;    /* 0: 64 MiB */
    uint64_t memory_bytes;     /* of the ring of what waits to be written; 0: 64 MiB */
    uint64_t checkpoint_bytes; /* appended before a checkpoint is due; 0: 64 MiB, or four times the
                                  size of the last one if that is more */
    bool (*describe)(struct bytes body, struct store_topic *out);
    /* Something was reported safe, or what was E_AGAIN can be tried again: wakes that door's
     * thread, which then calls store_poll().  Called by any thread, also by the door's own; cheap.
     * It must not be lost when the thread is just going to sleep: set a flag that the thread looks
     * at once more before it sleeps, then wake it. */
    void (*wake)(void *ctx, unsigned door);
    /* A line for the administrator: what was lost and where, disk full, space again. */
    void (*log)(void *ctx, unsigned log_type, const char *line);
    void *ctx;
};

/* What opening found. */
struct store_log_report {
    uint64_t segments, records, bytes; /* to be scanned */
    uint64_t torn_bytes;               /* cut off at the end: not reported safe ever */
    uint64_t lost_records;             /* bad ones before the end, each logged */
};

/* Opens `count` doors to the log in options->folder.  Options are copied, strings too.  E_IO: errno
 * says why, and it was logged; E_EXISTS: another process uses the folder; E_INVALID: a format of a
 * later version; E_NOMEM. */
MUST_USE int store_log_open(struct store **doors, unsigned count,
                            const struct store_log_options *options,
                            struct store_log_report *report);

/* ---- reading by topic and time ---- */

/* Which messages: not before a sequence, within a time (both ends count), of certain topics. */
struct store_query {
    uint64_t from_seq;
    uint64_t from_ms, to_ms; /* since 1970; UINT64_MAX: no end */
    /* Asked once for each topic that a segment of the log has; topic: a view for the call. */
    bool (*wants)(void *ctx, struct bytes topic);
    void *ctx;
};

struct store_reader;

/* Reads messages in the order of their sequences, by a door of a log that has options->describe,
 * on that door's thread.  What it has not passed yet is not kept for its sake: who wants more than
 * is held by chance must hold it.  Moved copies are not read.  E_NOMEM. */
MUST_USE int store_log_read_open(struct store *st, struct store_reader **out,
                                 const struct store_query *query);
/* 0: seq, kind and body of the next one, a view until the next call; E_AGAIN: being read, the door
 * is woken; E_NOTFOUND: no more is safe yet, later there may be; E_NOMEM, nothing is passed over.
 * Messages that cannot be read are left out; the log has said so. */
MUST_USE int store_log_read_next(struct store_reader *reader, struct store_record *out);
void store_log_read_close(struct store_reader **reader); /* before its door is closed */

/* Verifies a folder that no broker uses and describes it line by line: format, checkpoint, each
 * segment with its records, what is damaged, by sequence and byte offset.  Changes nothing.
 * 0: all is well; E_MALFORMED: something is damaged; E_IO; E_NOTFOUND: no log there. */
MUST_USE int store_log_check(const char *folder, void (*line)(void *ctx, const char *text),
                             void *ctx);

#endif
