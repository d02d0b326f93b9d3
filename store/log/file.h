/* Every call of the log to the kernel's files, as a table, so that tests can make the nth one fail,
 * write half, or forget what was not synced.  Any thread. */
#ifndef STORE_LOG_FILE_H
#define STORE_LOG_FILE_H

#include "base/bytes.h"
#include "base/err.h"

#include <sys/types.h>
#include <sys/uio.h>

enum { FILE_BOOT_BYTES = 36 }; /* a UUID in text */

/* As the calls of the same names: -1 and errno, or what was done. */
struct file_ops {
    int (*open)(int folder, const char *name, int flags);
    int (*close)(int fd);
    ssize_t (*pread)(int fd, void *to, size_t n, uint64_t offset);
    /* Only what is in memory: -1 and EAGAIN, or a short count, when the disk would be read. */
    ssize_t (*pread_cached)(int fd, void *to, size_t n, uint64_t offset);
    ssize_t (*pwritev)(int fd, const struct iovec *v, int count, uint64_t offset);
    int (*datasync)(int fd);
    int (*sync)(int fd); /* of a file or a folder, with all that names it */
    int (*rename)(int folder, const char *from, const char *to);
    int (*unlink)(int folder, const char *name);
    int (*truncate)(int fd, uint64_t bytes);
    int (*size)(int fd, uint64_t *bytes);
    /* Calls each() with the name of every entry. */
    int (*list)(int folder, void (*each)(void *ctx, const char *name), void *ctx);
    /* Names this run of the kernel: as long as it is the same, no write was lost. */
    int (*boot)(char out[FILE_BOOT_BYTES]);
    bool in_memory; /* nothing has to be prepared, and a file that is not needed is given back */
};

extern const struct file_ops file_ops_real;
extern const struct file_ops file_ops_memory; /* the folder's path does not matter */

/* All of v, in as many calls as it takes; v is used up.  0; E_IO and errno. */
MUST_USE int file_write(const struct file_ops *f, int fd, struct iovec *v, int count,
                        uint64_t offset);
MUST_USE int file_write_bytes(const struct file_ops *f, int fd, struct bytes b, uint64_t offset);

/* Reads n bytes; what lies behind the file's end is zero, and so is each page that cannot be read:
 * then *bad is set and the rest is still read.  What was in it is told by its checksums. */
void file_read(const struct file_ops *f, int fd, uint8_t *to, size_t n, uint64_t offset, bool *bad);

#endif
