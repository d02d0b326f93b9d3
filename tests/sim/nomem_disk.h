/* Allocation failure on a disk: nothing may be acknowledged that a crash then takes, and recovery
 * either gives everything or says that there is no memory.  Part of `nomem --disk`. */
#ifndef TESTS_SIM_NOMEM_DISK_H
#define TESTS_SIM_NOMEM_DISK_H

#include "store/disk.h"

long nomem_disk(void); /* how many runs were bad */
/* Delays, checkpoints and moves, so that scripts meet them. */
void nomem_faults(struct store_disk *disk, uint64_t seed);

#endif
