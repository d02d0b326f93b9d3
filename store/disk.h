/* The engine `mem` with a memory that outlives it: the reference that other engines are compared
 * with, and the injector of faults for simulations.  A struct store_disk is the simulated disk;
 * doors come and go.  Deterministic by its seed; one thread.
 *
 * It is as strict as store.h allows: sequence numbers have gaps, and a message that nobody holds is
 * freed by the first checkpoint that begins behind it: fetching it later is E_IO.  ASSERTs: using a
 * reference that is not held, a checkpoint that begins at something that is not safe.  A checkpoint
 * is in force (survives a crash, frees) when everything is safe that was appended before it was
 * asked for. */
#ifndef STORE_DISK_H
#define STORE_DISK_H

#include "store/store.h"

struct store_disk;

enum { STORE_DISK_DOORS_MAX = 8 }; /* at a time */

/* Each a chance in 1000 that it happens at a call, drawn from the disk's seed.  At 1000 all goes on
 * nevertheless: after a few delays in a row there is none. */
struct store_faults {
    uint32_t sync_delay;  /* store_poll() finds that the last batch is still being written; the
                             next that is not delayed reports what was appended until this one */
    uint32_t fetch_delay; /* store_fetch() is E_AGAIN although the record is written */
    uint32_t again;       /* an append, while not all is safe, is E_AGAIN, and so is each one until
                             store_poll() has moved */
    uint32_t crowded;     /* from an append on, store_crowded() until store_poll() has moved */
    uint32_t checkpoint;  /* one is due; never without this */
    uint32_t move;        /* a message lies where it must be moved from */
    bool full;            /* appends are E_FULL while it is set */
    bool stuck;           /* nothing gets safe while it is set */
};

MUST_USE int store_disk_new(struct store_disk **out, uint64_t seed);
void store_disk_free(struct store_disk **disk); /* its doors are closed */
/* How messages are found, by doors that are opened from then on (store_reads()). */
void store_disk_describe(struct store_disk *disk, store_describe *describe);
void store_disk_faults(struct store_disk *disk, const struct store_faults *faults);

/* Opens `count` doors, while none is open.  Sequences go on where they ended, also behind those
 * that a crash took: none is given twice.  E_NOMEM: none was opened. */
MUST_USE int store_disk_open(struct store **doors, unsigned count, struct store_disk *disk);

/* Power is lost: of what was not reported safe, a prefix (drawn) stays.  All references and scans
 * are void.  Every door is to be closed afterwards; until then appends go nowhere, fetches are E_IO
 * and drops do nothing, so that cores can be freed in their own way. */
void store_disk_crash(struct store_disk *disk);

#endif
