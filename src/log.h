/* The log: one line to each configured destination, in mosquitto's text or as JSON.  Any thread;
 * a mutex inside keeps lines whole and in order.  Lines are for people and alarms, never one per
 * message, so the lock is not on the path of a PUBLISH. */
#ifndef SRC_LOG_H
#define SRC_LOG_H

#include "base/loglevel.h"
#include "conf.h"

struct log;

enum { LOG_LINE_MAX = 4096 }; /* bytes of a line; the rest is cut */

/* E_IO: the log file cannot be opened, errno tells why; E_NOMEM. */
MUST_USE int log_open(struct log **out, const struct conf *conf);
void log_close(struct log **log);
/* New destinations, types and format.  E_IO, E_NOMEM: everything stays as it was. */
MUST_USE int log_reconfigure(struct log *log, const struct conf *conf);
/* Opens the log file anew, for logrotate.  E_IO: goes on in the old one. */
MUST_USE int log_reopen(struct log *log);

/* type is one of enum log_type.  What it does not want costs one load.  A line that comes again
 * within 10 s of its first time, with no other between, is counted instead of written. */
void log_line(struct log *log, unsigned type, const char *line);
void log_printf(struct log *log, unsigned type, const char *fmt, ...) PRINTF_LIKE(3, 4);
bool log_wants(const struct log *log, unsigned type);

/* Where `log_dest topic` goes: fn gets the topic ($SYS/broker/log/N, ...) and the text, both valid
 * during the call.  It is called on the thread that logs, under the log's lock: it must not log,
 * nor wait for a thread that does.  NULL: nowhere; after return the old fn is not called again. */
void log_set_topic_sink(struct log *log, void (*fn)(void *ctx, const char *topic, const char *text),
                        void *ctx);

#endif
