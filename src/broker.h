/* The broker as a whole: configuration, log, listeners, shards, $SYS, signals.  Main thread. */
#ifndef SRC_BROKER_H
#define SRC_BROKER_H

#include "conf.h"

struct broker;

/* Exit codes (CONTRACT section 1). */
enum { EXIT_STOPPED = 0, EXIT_RUNTIME = 1, EXIT_CONFIGURATION = 3 };

/* Starts with a configuration that was read from args; takes *conf.  args outlive the broker.  On
 * failure the reason is in the log, or on stderr when there is none, and EXIT_RUNTIME is returned;
 * 0: it runs, clients may connect. */
MUST_USE int broker_start(struct broker **out, const struct conf_args *args, struct conf **conf);
/* Serves signals and $SYS until SIGTERM or SIGINT, then stops in order. */
void broker_run(struct broker *b);
void broker_free(struct broker **b);

#endif
