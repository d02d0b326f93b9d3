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

struct store_log_options {
    const char *folder; /* is made when it is not there; NULL: in memory, the log ends with its last
                           door */
    enum store_durability durability;
    uint32_t interval_ms;
    uint64_t segment_bytes;    /* 0: 64 MiB */
    uint64_t memory_bytes;     /* of the ring of what waits to be written; 0: 64 MiB */
    uint64_t checkpoint_bytes; /* appended before a checkpoint is due; 0: 64 MiB, or four times the
                                  size of the last one if that is more */
    store_describe *describe;  /* without it nothing can be read by topic */
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

/* Verifies a folder that no broker uses and describes it line by line: format, checkpoint, each
 * segment with its records, what is damaged, by sequence and byte offset.  Changes nothing.
 * 0: all is well; E_MALFORMED: something is damaged; E_IO; E_NOTFOUND: no log there. */
MUST_USE int store_log_check(const char *folder, void (*line)(void *ctx, const char *text),
                             void *ctx);

#endif
