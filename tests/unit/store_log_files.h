/* The log's files with faults: the nth call fails, writes come back short, the disk is full,
 * nothing is in memory, and when the power goes, sectors that were not synced keep what they had
 * before. Any thread; one at a time.  Included after cmocka. */
#ifndef UNIT_STORE_LOG_FILES_H
#define UNIT_STORE_LOG_FILES_H

#include "base/mem.h"
#include "base/rng.h"
#include "store/log/file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECTOR = 512, UNSYNCED_MAX = 200000 };

/* What a sector had before it was written to and not synced. */
struct unsynced {
    int fd; /* our own */
    ino_t inode;
    uint64_t offset;
    size_t n;
    uint8_t before[SECTOR];
};

static struct {
    pthread_mutex_t mutex;
    long countdown; /* of calls until one fails; -1: never */
    int failure;    /* its errno */
    bool fired, dead, cold, record, datasync_fails;
    long nomem;         /* calls until their thread's next allocation fails; -1: never */
    size_t write_max;   /* bytes a write takes at most; 0: all */
    int64_t space_left; /* bytes by which files may still grow; -1: no limit */
    uint64_t calls;
    char boot[FILE_BOOT_BYTES];
    struct unsynced *unsynced;
    size_t unsynced_count;
} files = {.mutex = PTHREAD_MUTEX_INITIALIZER, .countdown = -1, .space_left = -1, .nomem = -1};

static void files_reset(void)
{
    for (size_t i = 0; i < files.unsynced_count; i++) close(files.unsynced[i].fd);
    free(files.unsynced);
    files.unsynced = NULL;
    files.unsynced_count = 0;
    files.countdown = -1;
    files.space_left = -1;
    files.nomem = -1;
    files.failure = EIO;
    files.fired = files.dead = files.cold = files.record = files.datasync_fails = false;
    files.write_max = 0;
    files.calls = 0;
    memset(files.boot, 'a', sizeof files.boot);
}

static inline void files_set(bool *flag, bool value)
{
    pthread_mutex_lock(&files.mutex);
    *flag = value;
    pthread_mutex_unlock(&files.mutex);
}

static inline uint64_t files_calls(void)
{
    pthread_mutex_lock(&files.mutex);
    uint64_t calls = files.calls;
    pthread_mutex_unlock(&files.mutex);
    return calls;
}

static inline void files_set_space(int64_t bytes)
{
    pthread_mutex_lock(&files.mutex);
    files.space_left = bytes;
    pthread_mutex_unlock(&files.mutex);
}

/* Whether this call is to fail; errno is set.  The mutex is held. */
static bool files_fails(void)
{
    files.calls++;
    if (files.nomem >= 0 && files.nomem-- == 0) {
        mem_fail_after(0);
        files.fired = true;
    }
    if (files.dead) {
        errno = EIO;
        return true;
    }
    if (files.countdown < 0) return false;
    if (files.countdown-- > 0) return false;
    files.fired = true;
    errno = files.failure;
    return true;
}

#define CALL(type, call)                                                                           \
    pthread_mutex_lock(&files.mutex);                                                              \
    type rc = files_fails() ? -1 : (call);                                                         \
    int why = errno;                                                                               \
    pthread_mutex_unlock(&files.mutex);                                                            \
    errno = why;                                                                                   \
    return rc

static int faulty_open(int folder, const char *name, int flags)
{
    CALL(int, file_ops_real.open(folder, name, flags));
}

static int faulty_close(int fd) { return close(fd); } /* a process that dies closes as well */

static ssize_t faulty_pread(int fd, void *to, size_t n, uint64_t offset)
{
    CALL(ssize_t, file_ops_real.pread(fd, to, n, offset));
}

static ssize_t cached(int fd, void *to, size_t n, uint64_t offset)
{
    errno = EAGAIN;
    return files.cold ? -1 : file_ops_real.pread_cached(fd, to, n, offset);
}

static ssize_t faulty_pread_cached(int fd, void *to, size_t n, uint64_t offset)
{
    CALL(ssize_t, cached(fd, to, n, offset));
}

static void note_sector(int fd, uint64_t offset, size_t n)
{
    struct stat s;
    if (files.unsynced == NULL) files.unsynced = malloc(UNSYNCED_MAX * sizeof *files.unsynced);
    assert_true(files.unsynced && files.unsynced_count < UNSYNCED_MAX);
    struct unsynced *u = &files.unsynced[files.unsynced_count++];
    assert_int_equal(fstat(fd, &s), 0);
    *u = (struct unsynced){.fd = dup(fd), .inode = s.st_ino, .offset = offset, .n = n};
    assert_true(u->fd >= 0);
    assert_true(pread(fd, u->before, n, (off_t)offset) >= 0);
}

static void note_write(int fd, uint64_t offset, uint64_t n)
{
    for (uint64_t end = offset + n; offset < end;) {
        uint64_t part = min_u64(SECTOR - offset % SECTOR, end - offset);
        note_sector(fd, offset, part);
        offset += part;
    }
}

static ssize_t write_some(int fd, const struct iovec *v, int count, uint64_t offset)
{
    uint64_t size = 0, n = 0;
    if (v->iov_len == 0) v++, count--;
    size_t most = files.write_max ? min_u64(files.write_max, v->iov_len) : v->iov_len;
    struct iovec part = {v->iov_base, most};
    for (int i = 0; i < count; i++) n += v[i].iov_len;
    assert_int_equal(file_ops_real.size(fd, &size), 0);
    if (files.space_left >= 0 && offset + n > size) {
        if ((int64_t)(offset + n - size) > files.space_left) {
            errno = ENOSPC;
            return -1;
        }
        files.space_left -= (int64_t)(offset + n - size);
    }
    if (files.record) note_write(fd, offset, files.write_max ? most : n);
    return files.write_max ? file_ops_real.pwritev(fd, &part, 1, offset)
                           : file_ops_real.pwritev(fd, v, count, offset);
}

static ssize_t faulty_pwritev(int fd, const struct iovec *v, int count, uint64_t offset)
{
    CALL(ssize_t, write_some(fd, v, count, offset));
}

static int synced(int fd)
{
    struct stat s;
    size_t kept = 0;
    assert_int_equal(fstat(fd, &s), 0);
    for (size_t i = 0; i < files.unsynced_count; i++) {
        if (files.unsynced[i].inode == s.st_ino)
            close(files.unsynced[i].fd);
        else
            files.unsynced[kept++] = files.unsynced[i];
    }
    files.unsynced_count = kept;
    return 0; /* the kernel is not asked: nothing here needs the real disk */
}

static int datasynced(int fd)
{
    errno = EIO;
    return files.datasync_fails ? -1 : synced(fd);
}

/* Takes a while, so that somebody can look at what is not synced yet. */
static int faulty_datasync(int fd)
{
    if (files.record) nanosleep(&(struct timespec){0, 300000}, NULL);
    CALL(int, datasynced(fd));
}
static int faulty_sync(int fd) { CALL(int, synced(fd)); }

static int faulty_rename(int folder, const char *from, const char *to)
{
    CALL(int, file_ops_real.rename(folder, from, to));
}

static int faulty_unlink(int folder, const char *name)
{
    CALL(int, file_ops_real.unlink(folder, name));
}

static int faulty_truncate(int fd, uint64_t bytes) { CALL(int, file_ops_real.truncate(fd, bytes)); }

static int faulty_size(int fd, uint64_t *bytes) { CALL(int, file_ops_real.size(fd, bytes)); }

static int faulty_list(int folder, void (*each)(void *ctx, const char *name), void *ctx)
{
    pthread_mutex_lock(&files.mutex);
    bool fails = files_fails();
    int why = errno;
    pthread_mutex_unlock(&files.mutex); /* each() calls others */
    errno = why;
    return fails ? -1 : file_ops_real.list(folder, each, ctx);
}

static int faulty_boot(char out[FILE_BOOT_BYTES])
{
    memcpy(out, files.boot, FILE_BOOT_BYTES);
    return 0;
}

static const struct file_ops faulty_files = {.open = faulty_open,
                                             .close = faulty_close,
                                             .pread = faulty_pread,
                                             .pread_cached = faulty_pread_cached,
                                             .pwritev = faulty_pwritev,
                                             .datasync = faulty_datasync,
                                             .sync = faulty_sync,
                                             .rename = faulty_rename,
                                             .unlink = faulty_unlink,
                                             .truncate = faulty_truncate,
                                             .size = faulty_size,
                                             .list = faulty_list,
                                             .boot = faulty_boot};

static bool later_version_stays(const struct unsynced *u, const bool *stays)
{
    for (const struct unsynced *v = u + 1; v < files.unsynced + files.unsynced_count; v++)
        if (stays[v - files.unsynced] && v->inode == u->inode &&
            v->offset / SECTOR == u->offset / SECTOR)
            return true;
    return false;
}

/* After everything was closed with `dead` set: each sector has any of its versions since its file
 * was last synced; another kernel is started. */
static inline void files_power_lost(struct rng *rng)
{
    bool *stays = calloc(files.unsynced_count + 1, sizeof *stays);
    assert_non_null(stays);
    for (size_t i = files.unsynced_count; i-- > 0;) {
        struct unsynced *u = &files.unsynced[i];
        stays[i] = later_version_stays(u, stays) || rng_below(rng, 2) == 0;
        if (!stays[i])
            assert_int_equal(pwrite(u->fd, u->before, u->n, (off_t)u->offset), (ssize_t)u->n);
    }
    free(stays);
    bool record = files.record;
    char boot = files.boot[0];
    files_reset();
    files.record = record;
    memset(files.boot, boot + 1, sizeof files.boot); /* never one that was before */
}

#endif
