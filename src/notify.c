/* The datagram of notify.h.  libsystemd would be a dependency for these lines.  Main thread. */
#include "notify.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { TEXT_MAX = 512, US_PER_MS = 1000 };

/* A path, or with @ a name of the kernel's.  0: there is none that we can reach. */
static socklen_t address_of(const char *name, struct sockaddr_un *out)
{
    size_t n = name ? strlen(name) : 0;
    if (n < 2 || n >= sizeof out->sun_path || (name[0] != '/' && name[0] != '@')) return 0;
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(out->sun_path, name, n);
    if (name[0] == '@') out->sun_path[0] = 0;
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
}

void notify(const char *fmt, ...)
{
    char text[TEXT_MAX];
    struct sockaddr_un address;
    socklen_t size = address_of(getenv("NOTIFY_SOCKET"), &address);
    if (size == 0) return;
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return;
    (void)sendto(fd, text, min_u64((uint64_t)n, sizeof text - 1), MSG_NOSIGNAL | MSG_DONTWAIT,
                 (const void *)&address, size);
    close(fd);
}

uint64_t notify_watchdog_ms(void)
{
    const char *every_us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    if (every_us == NULL || (pid && strtoll(pid, NULL, 10) != getpid())) return 0;
    return strtoull(every_us, NULL, 10) / US_PER_MS / 2;
}
