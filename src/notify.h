/* What a service manager is told (systemd's sd_notify protocol: one datagram to the socket that
 * $NOTIFY_SOCKET names).  Nothing happens when there is none.  Main thread. */
#ifndef SRC_NOTIFY_H
#define SRC_NOTIFY_H

#include "base/base.h"

/* Lines such as "READY=1\nSTATUS=running".  A failure changes nothing for us. */
PRINTF_LIKE(1, 2) void notify(const char *fmt, ...);
/* How often "WATCHDOG=1" is wanted, half of what is asked for; 0: not at all. */
uint64_t notify_watchdog_ms(void);

#endif
