/* The kernel's files behind the table of file.h, and whole writes and reads on top of it. */
#include "store/log/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096 };

static int real_open(int folder, const char *name, int flags)
{
    return openat(folder, name, flags | O_CLOEXEC, 0600);
}

static ssize_t real_pread(int fd, void *to, size_t n, uint64_t offset)
{
    return pread(fd, to, n, (off_t)offset);
}

static ssize_t real_pread_cached(int fd, void *to, size_t n, uint64_t offset)
{
    struct iovec v = {to, n};
    return preadv2(fd, &v, 1, (off_t)offset, RWF_NOWAIT);
}

static ssize_t real_pwritev(int fd, const struct iovec *v, int count, uint64_t offset)
{
    return pwritev(fd, v, count, (off_t)offset);
}

static int real_rename(int folder, const char *from, const char *to)
{
    return renameat(folder, from, folder, to);
}

static int real_unlink(int folder, const char *name) { return unlinkat(folder, name, 0); }
static int real_truncate(int fd, uint64_t bytes) { return ftruncate(fd, (off_t)bytes); }

static int real_size(int fd, uint64_t *bytes)
{
    struct stat s;
    if (fstat(fd, &s) < 0) return -1;
    *bytes = (uint64_t)s.st_size;
    return 0;
}

static int real_list(int folder, void (*each)(void *ctx, const char *name), void *ctx)
{
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -1;
    DIR *d = fdopendir(fd);
    if (d == NULL) {
        close(fd);
        return -1;
    }
    struct dirent *e;
    while (errno = 0, (e = readdir(d)) != NULL) each(ctx, e->d_name);
    int failure = errno;
    closedir(d);
    errno = failure;
    return failure ? -1 : 0;
}

static int real_boot(char out[FILE_BOOT_BYTES])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    ssize_t n = read(fd, out, FILE_BOOT_BYTES);
    close(fd);
    return n == FILE_BOOT_BYTES ? 0 : -1;
}

const struct file_ops file_ops_real = {.open = real_open,
                                       .close = close,
                                       .pread = real_pread,
                                       .pread_cached = real_pread_cached,
                                       .pwritev = real_pwritev,
                                       .datasync = fdatasync,
                                       .sync = fsync,
                                       .rename = real_rename,
                                       .unlink = real_unlink,
                                       .truncate = real_truncate,
                                       .size = real_size,
                                       .list = real_list,
                                       .boot = real_boot};

int file_write(const struct file_ops *f, int fd, struct iovec *v, int count, uint64_t offset)
{
    while (count > 0) {
        if (v->iov_len == 0) {
            v++, count--;
            continue;
        }
        ssize_t n = f->pwritev(fd, v, count, offset);
        if (n < 0 && errno == EINTR) continue;
        if (n == 0) errno = ENOSPC; /* nothing but a full device takes nothing */
        if (n <= 0) return E_IO;
        offset += (uint64_t)n;
        for (size_t left = (size_t)n; left > 0;) {
            size_t part = min_u64(left, v->iov_len);
            v->iov_base = (uint8_t *)v->iov_base + part;
            v->iov_len -= part;
            left -= part;
            if (v->iov_len == 0) v++, count--;
        }
    }
    return 0;
}

int file_write_bytes(const struct file_ops *f, int fd, struct bytes b, uint64_t offset)
{
    struct iovec v = {(void *)(uintptr_t)b.p, b.n};
    return file_write(f, fd, &v, 1, offset);
}

void file_read(const struct file_ops *f, int fd, uint8_t *to, size_t n, uint64_t offset, bool *bad)
{
    bool by_page = false;
    while (n > 0) {
        size_t part = by_page ? min_u64(n, PAGE - offset % PAGE) : n;
        ssize_t got = f->pread(fd, to, part, offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && !by_page) {
            by_page = true;
            continue;
        }
        if (got < 0) {
            memset(to, 0, part);
            *bad = true;
            got = (ssize_t)part;
        }
        if (got == 0) { /* behind the end */
            memset(to, 0, n);
            return;
        }
        to += got, n -= (size_t)got, offset += (uint64_t)got;
    }
}
