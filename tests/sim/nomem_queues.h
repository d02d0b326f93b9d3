/* Allocation failure in queues, histories with a dedup window, replays and dead letters: what was
 * acknowledged is with a worker, dead or in the history, less what was counted as lost.  Part of
 * `nomem --queues`. */
#ifndef TESTS_SIM_NOMEM_QUEUES_H
#define TESTS_SIM_NOMEM_QUEUES_H

long nomem_queues(void); /* how many runs were bad */

#endif
