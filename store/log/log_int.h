/* What the files of the log share; private to this folder.
 *
 *   doors (one per shard)          the writer                  the keeper
 *   reserve by compare-and-swap    writes what is complete     prepares the next segment
 *   copy into the ring      ---->  syncs, publishes `safe`     writes checkpoints, indexes
 *   fetch through slots            wakes doors                 frees and recycles segments
 *
 *   freed | written < ------- ring ------- > reserved | prepared, blank | being prepared
 *         position ->       ^ durable <= safe <= written
 *
 * The list of segments changes under `mutex`, by the keeper only; everybody else works on a copy
 * (struct places), which is renewed when `generation` has moved. */
#ifndef STORE_LOG_INT_H
#define STORE_LOG_INT_H

#include "base/mem.h"
#include "store/engine.h"
#include "store/log.h"
#include "store/log/file.h"
#include "store/log/format.h"
#include "store/log/index.h"
#include "store/log/sleeper.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

enum {
    DOORS_MAX = 256,        /* a frame names the door in one byte */
    SEGMENT_MIN = 64 << 10, /* bytes */
    MEMORY_MIN = 64 << 10,  /* bytes */
    RING_MIN = 64 << 20,    /* bytes of address space: the largest record fits */
    RESERVE_MAX = 4 << 20,  /* bytes that only journals may use, unless checkpoints are larger */
    SPARES_MAX = 4,         /* freed segments that are kept for later */
    SLOTS = 16,             /* a door's windows into what is written */
    REPORTED = 64,          /* sequences that a door remembers as reported lost */
    RETRY_MS = 1000,        /* between attempts to prepare a segment on a full disk */
};
_Static_assert(RING_MIN >= RECORD_ROOM + FRAME_ALIGN, "the ring holds the largest record");

/* What one door holds of one segment, and what it put there.  Written by that door only.  A
 * reference that is passed on is taken by one door and given by another, so only the sums mean
 * something: nobody holds anything when all that was taken was given.  Both only grow, and the
 * keeper reads first what was given, then what was taken: what it finds held may be held no more,
 * but not the other way round.  For who still holds one has taken it before the one that it was
 * passed on from was given. */
struct live {
    _Alignas(MEM_LINE) _Atomic uint64_t taken; /* references; release */
    _Atomic uint64_t given;                    /* release: pairs with held() in keeper.c */
    _Atomic uint64_t appended;                 /* messages; relaxed */
    uint64_t dropped;                          /* the door's: given at its next release */
    struct live *next;                         /* of those with some of these */
};

struct segment {
    uint64_t base, end; /* positions; the file's length is their distance */
    uint32_t salt;
    int fd;
    bool readable; /* one of its headers is whole */
    /* Position of its end frame; UINT64_MAX: not known yet.  Set by the door that moved on, before
     * it gives up busy_from, which the writer reads. */
    _Atomic uint64_t end_at;
    _Atomic bool sealed;          /* the writer has left it, and all is durable; release */
    _Atomic bool vacate;          /* what is held in it is to be moved */
    _Atomic uint32_t pins;        /* the reader's jobs on it */
    _Atomic uint64_t old_records; /* messages, as recovery or the index counted them */
    _Atomic bool indexed;         /* the indexer has seen to it */
    /* Of its messages, when it has been indexed; first > last: it has none with a topic. */
    uint64_t first_ms, last_ms;
    uint64_t free_end; /* nobody holds any of it, and this is what was appended then; 0: held */
    uint64_t gone_at;  /* the generation that no longer has it */
    struct live doors[];
};

static inline uint64_t segment_data(const struct segment *s) { return s->base + SEGMENT_DATA; }
/* Behind it there is still time to prepare the next one. */
static inline uint64_t segment_quarter(const struct segment *s)
{
    return s->base + (s->end - s->base) / 4;
}
static inline uint64_t segment_limit(const struct segment *s) { return s->end - SEGMENT_TAIL; }

/* A copy of the list of segments, in the order of their positions. */
struct place {
    uint64_t base, end;
    struct segment *segment;
};

struct places {
    struct place *items;
    size_t count, room, last; /* last: where the last search ended */
    uint64_t generation;
    /* The same for the keeper, which frees segments that nobody has a copy of; UINT64_MAX: none. */
    _Atomic uint64_t seen;
};

/* A window of a door into the log; filled by the door from the kernel's memory, or by the reader
 * from the disk. */
enum slot_state { SLOT_EMPTY, SLOT_READING, SLOT_READY };

struct slot {
    _Atomic int state; /* release by the reader when READING ends; else only the door's */
    bool failed;       /* the disk could not be read */
    bool used;         /* by a fetch since it was read */
    bool seen;         /* by the door since it was read, at its poll number seen_poll */
    uint8_t *data;
    uint32_t room, len, window;
    uint64_t start; /* position of data[0] */
    uint64_t seen_poll, touched;
    struct segment *segment;
    struct door *door;
    struct slot *next; /* in the reader's queue */
};

struct door {
    _Alignas(MEM_LINE) struct store base;
    struct seglog *log;
    unsigned index;
    struct places places;
    size_t head;   /* index of the segment where `reserved` was last */
    uint64_t last; /* position of its last append */
    uint64_t last_end;
    uint64_t polls, touches;
    struct live *drops; /* not released yet */
    uint64_t reported[REPORTED];
    struct slot slots[SLOTS];
    struct slot *last_slot; /* where the last record was found; or NULL */
    struct slot
        *large; /* has a record that is larger than windows are, for the last view; or NULL */
    /* Read by the others.  busy_from is a lower bound of what is being copied: written before the
     * compare-and-swap, whose release publishes it; UINT64_MAX with release after the copy. */
    _Alignas(MEM_LINE) _Atomic uint64_t busy_from;
    _Atomic uint64_t flushed; /* everything before is to be written; seq_cst with the sleeper */
    _Atomic bool wants;       /* waits for room or for a record: to be woken */
    _Atomic uint64_t records, bytes; /* appended; relaxed */
    bool closed;                     /* under wake_mutex: no longer to be woken */
};

enum checkpoint_state {
    CHECKPOINT_NONE,
    CHECKPOINT_ASKED,   /* checkpoint_begin is to be written */
    CHECKPOINT_WRITTEN, /* it is just being written */
};

/* The index of some records of a segment is wanted by a reader; made or read by the indexer. */
enum index_state { INDEX_WANTED, INDEX_DONE, INDEX_FAILED };

struct index_job {
    struct index_job *next; /* in the queue */
    struct segment *segment;
    uint64_t from, to;
    struct door *door;
    enum index_state state; /* under index_mutex, as the next */
    bool abandoned;         /* who asked for it has gone */
    struct index index;
    int rc; /* when it failed */
};

struct hole { /* damage that was found and reported */
    uint64_t at, next;
};

struct seglog {
    /* Read only after opening. */
    struct store_log_options options;
    const struct file_ops *files;
    uint8_t *ring;
    uint64_t ring_bytes, memory, segment_bytes; /* ring_bytes: a power of two */
    int folder, lock;
    unsigned door_count;
    struct door **doors;
    struct hole *holes; /* found at opening, in their order */
    size_t hole_count;
    uint64_t scan_begin, scan_end; /* positions */

    _Alignas(MEM_LINE) _Atomic uint64_t reserved; /* release: pairs with acquire in the writer */

    /* Written by the writer, with release. */
    _Alignas(MEM_LINE) _Atomic uint64_t written; /* in the files: the ring has room again */
    _Atomic uint64_t safe;                       /* as `durability` says */
    _Atomic uint64_t durable;                    /* synced */
    _Atomic uint64_t written_bytes, syncs;       /* relaxed; the keeper adds as well */
    uint64_t told;                               /* the writer's: safe when doors were last woken */

    /* Rarely written. */
    _Alignas(MEM_LINE) _Atomic uint64_t generation; /* of the list of segments; release */
    _Atomic uint64_t reserve;                       /* bytes that only journals may use */
    _Atomic bool full;                              /* the next segment could not be prepared */
    _Atomic bool failed; /* a write or sync failed: nothing is written any more */
    _Atomic bool stopping;
    _Atomic uint64_t wanted; /* bytes of the largest record that no segment has room for */
    _Atomic uint64_t due_from, due_after; /* a checkpoint is due when reserved is farther */
    _Atomic bool sparse;                  /* segments were marked for vacating */
    _Atomic int checkpointing;            /* enum checkpoint_state */
    _Atomic uint64_t checkpoint_begin, checkpoint_end;
    _Atomic uint64_t freeable; /* position before which segments may go; 0: none yet */
    _Atomic uint64_t keep;     /* position from which on they may not; UINT64_MAX: may */
    _Atomic uint64_t lost;     /* records found unreadable */

    _Alignas(MEM_LINE) struct sleeper writer_sleep;
    struct sleeper keeper_sleep, reader_sleep, indexer_sleep;
    _Atomic bool kicked;  /* the keeper has something to look at; seq_cst with its sleeper */
    _Atomic bool reads;   /* the reader's queue is not empty; the same */
    _Atomic bool indexes; /* there is something to index; the same */

    pthread_t writer, keeper, reader, indexer;
    bool writer_runs, keeper_runs, reader_runs, indexer_runs;

    pthread_mutex_t mutex; /* the list of segments, spares and who is gone */
    struct segment **segments;
    size_t segment_count, segment_room;
    struct segment **gone; /* files are gone, a copy of the list may still name them */
    size_t gone_count, gone_room;
    uint64_t spares[SPARES_MAX]; /* bases in their names; the keeper's after opening */
    _Atomic size_t spare_count;
    uint64_t first_base;          /* of the next segment when there is none yet */
    struct checkpoint checkpoint; /* in force; the keeper's after opening */
    int checkpoint_fd;

    pthread_mutex_t wake_mutex; /* no door is woken while or after it is closed */
    unsigned open_doors;        /* under wake_mutex */

    pthread_mutex_t read_mutex; /* the reader's queue */
    struct slot *read_head, **read_tail;

    pthread_mutex_t index_mutex; /* the indexer's queue */
    struct index_job *job_head, **job_tail;

    uint64_t synced_ms; /* the writer's: when it last synced */
};

/* ---- log.c ---- */

/* store_log_open() with the kernel's files replaced. */
MUST_USE int seglog_open(struct store **doors, unsigned count,
                         const struct store_log_options *options, struct store_log_report *report,
                         const struct file_ops *files);
PRINTF_LIKE(3, 4) void seglog_say(struct seglog *log, unsigned type, const char *format, ...);
void seglog_wake(struct seglog *log, struct door *door);
void seglog_wake_waiting(struct seglog *log); /* the doors with `wants` */
/* A write or sync failed (errno): nothing is written or called safe from now on. */
void seglog_fail(struct seglog *log, const char *what, const struct segment *segment);

/* ---- segments.c ---- */

static inline bool errno_is_full(void)
{
    return errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
}

/* Adds a segment behind the others; takes it on success.  E_NOMEM. */
MUST_USE int segments_add(struct seglog *log, struct segment *segment);
MUST_USE int segment_new(struct seglog *log, struct segment **out, uint64_t base, uint64_t bytes);
void segment_free(struct seglog *log, struct segment *segment); /* closes its file */
/* The file of a new segment, whole and durable, in the place behind the last one. */
MUST_USE int segment_prepare(struct seglog *log, uint64_t bytes, struct segment **out);
/* Takes a segment off the list and its file off the folder, to the spares when there is room. */
void segment_retire(struct seglog *log, size_t index);
/* The one with this position, or NULL.  Any thread, as long as it cannot be retired meanwhile. */
struct segment *segments_find(struct seglog *log, uint64_t position);
void segments_bury(struct seglog *log); /* frees retired ones that no copy names any more */
void segment_name(const struct segment *segment, char out[NAME_BYTES]);

MUST_USE int places_renew(struct seglog *log, struct places *places); /* E_NOMEM: as it was */
static inline bool places_stale(const struct seglog *log, const struct places *places)
{
    /* acquire: pairs with the release in segments_add() */
    return atomic_load_explicit(&log->generation, memory_order_acquire) != places->generation;
}
void places_fini(struct places *places);
/* Index of the segment with this position, or count. */
size_t places_find(struct places *places, uint64_t position);

MUST_USE int door_renew(struct door *door); /* its copy; E_NOMEM: as it was */
/* The segment with this position, or NULL; door thread. */
struct segment *door_segment(struct door *door, uint64_t position);
store_ref door_hold(struct store *st, uint64_t seq, struct blob *body);
void door_drop(struct store *st, store_ref ref);
void door_release(struct store *st);
bool door_must_move(const struct store *st, store_ref ref);
void door_keep(struct store *st, uint64_t from_seq);

/* ---- append.c: the doors' calls ---- */

int door_append(struct store *st, struct bytes prefix, struct blob *body, uint64_t *seq);
int door_journal(struct store *st, struct bytes entries, uint64_t *seq);
int door_move(struct store *st, store_ref ref, store_ref *moved);
bool door_crowded(const struct store *st);
void door_flush(struct store *st);
uint64_t door_poll(struct store *st);
uint64_t door_end(const struct store *st);
/* The door cannot go on until the log has: it is woken then. */
void door_waits(struct door *door);

/* ---- writer.c, keeper.c, fetch.c, scan.c, recover.c ---- */

void *writer_main(void *log);
void *keeper_main(void *log);
void keeper_kick(struct seglog *log);
int keeper_prepare(struct seglog *log);
void *reader_main(void *log);

void *indexer_main(void *log);
void indexer_kick(struct seglog *log); /* a segment was sealed, or a job was added */
/* The index of [from, to) of a segment, which may hold more.  NULL without memory.  When it is
 * done, the door is woken. */
struct index_job *indexer_ask(struct door *door, struct segment *segment, uint64_t from,
                              uint64_t to);
enum index_state indexer_state(struct seglog *log, const struct index_job *job);
void indexer_forget(struct seglog *log, struct index_job **job);

int door_fetch(struct store *st, store_ref ref, struct blob **body);
/* The same as a view, until the next call of either. */
int door_view(struct door *door, uint64_t position, struct bytes *body);
/* read.c */
int door_read_open(struct store *st, struct store_reader **out, const struct store_query *query);
void door_slots_free(struct door *door);
/* Counts and reports a record that cannot be read, once. */
void seglog_lost(struct seglog *log, const struct segment *segment, uint64_t position,
                 const char *part);

/* Whether opening has reported this damage already. */
bool seglog_knows_hole(const struct seglog *log, uint64_t position);

int door_scan_open(struct store *st, struct store_scan **out);
bool door_checkpoint_due(const struct store *st);
int door_checkpoint(struct store *st, uint64_t begin);

/* load.c: what is in the folder: segments, spares, the checkpoint.  recover.c: finds the end and
 * cuts what is torn; afterwards the last segments, if any, are blank. */
MUST_USE int seglog_load(struct seglog *log);
/* The bases in the names of all files with this ending, in order; the caller frees them. */
MUST_USE int folder_bases(const struct file_ops *files, int folder, const char *ending,
                          uint64_t **bases, size_t *count);
/* Reads a segment's header, or its copy at the end (then *copy_used); as header_get(). */
int segment_header(const struct file_ops *files, int fd, uint64_t base, uint64_t bytes,
                   struct segment_header *out, bool *copy_used);
/* The checkpoint in force, number 0 when there is none; counts the damaged copies. */
int checkpoint_read(const struct file_ops *files, int fd, struct checkpoint *out,
                    unsigned *damaged);
MUST_USE int seglog_recover(struct seglog *log, bool same_boot, struct store_log_report *report);
void checkpoint_in_force(struct seglog *log, const struct checkpoint *c);
MUST_USE int checkpoint_write(struct seglog *log, const struct checkpoint *c);

#endif
