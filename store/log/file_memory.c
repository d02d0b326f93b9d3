/* Files of the log that lie in memory (memfd_create), for a log that ends with its process.  The
 * "folder" is such a file too: it holds the table of names, so that all calls find it by its
 * descriptor and nothing is global.
 *
 *   folder:  | mutex | name, descriptor | name, descriptor | ...
 *
 * A file of the table stays open; who opens it gets a descriptor of its own.  Any thread. */
#include "store/log/file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAME_MAX_BYTES = 40, FILES_MAX = 65536 };

struct entry {
    char name[NAME_MAX_BYTES]; /* "": free */
    int fd;
};

static const char table_magic[8] = "memtable";

struct table {
    char magic[sizeof table_magic];
    pthread_mutex_t mutex;
    uint32_t count; /* entries that were ever used */
    struct entry entries[FILES_MAX];
};

/* The table; pages of it that were never used cost nothing. */
static struct table *table_lock(int folder)
{
    void *p = mmap(NULL, sizeof(struct table), PROT_READ | PROT_WRITE, MAP_SHARED, folder, 0);
    if (p == MAP_FAILED) return NULL;
    struct table *t = p;
    pthread_mutex_lock(&t->mutex);
    return t;
}

static int table_unlock(struct table *t, int result)
{
    int why = errno;
    pthread_mutex_unlock(&t->mutex);
    (void)munmap(t, sizeof *t);
    errno = why;
    return result;
}

static struct entry *entry_find(struct table *t, const char *name)
{
    for (uint32_t i = 0; i < t->count; i++)
        if (strcmp(t->entries[i].name, name) == 0) return &t->entries[i];
    return NULL;
}

static struct entry *entry_new(struct table *t)
{
    struct entry *e = entry_find(t, "");
    if (e) return e;
    return t->count < FILES_MAX ? &t->entries[t->count++] : NULL;
}

static int make(const char *name) { return memfd_create(name, MFD_CLOEXEC); }

/* Of its own, so that a lock on it is its own too. */
static int reopen(int fd)
{
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_RDWR | O_CLOEXEC);
}

static int open_folder(void)
{
    int fd = make("sluice-log");
    if (fd < 0) return -1;
    struct table *t = NULL;
    if (ftruncate(fd, sizeof *t) == 0)
        t = mmap(NULL, sizeof *t, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (t == NULL || t == MAP_FAILED) {
        close(fd);
        return -1;
    }
    memcpy(t->magic, table_magic, sizeof t->magic);
    pthread_mutexattr_t shared; /* several mappings of it are used at a time */
    pthread_mutexattr_init(&shared);
    pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&t->mutex, &shared);
    pthread_mutexattr_destroy(&shared);
    (void)munmap(t, sizeof *t);
    return fd;
}

static int open_in(struct table *t, const char *name, int flags)
{
    struct entry *e = entry_find(t, name);
    if (e == NULL && !(flags & O_CREAT)) {
        errno = ENOENT;
        return -1;
    }
    if (e == NULL) {
        int fd = make(name);
        e = fd < 0 ? NULL : entry_new(t);
        if (e == NULL) {
            if (fd >= 0) close(fd);
            return -1;
        }
        e->fd = fd;
        snprintf(e->name, sizeof e->name, "%s", name);
    }
    if (flags & O_TRUNC && ftruncate(e->fd, 0) < 0) return -1;
    return reopen(e->fd);
}

static int memory_open(int folder, const char *name, int flags)
{
    if (folder == AT_FDCWD) return open_folder();
    if (strlen(name) >= NAME_MAX_BYTES) {
        errno = ENAMETOOLONG;
        return -1;
    }
    struct table *t = table_lock(folder);
    return t ? table_unlock(t, open_in(t, name, flags)) : -1;
}

static int remove_in(struct table *t, const char *name)
{
    struct entry *e = entry_find(t, name);
    if (e == NULL) {
        errno = ENOENT;
        return -1;
    }
    e->name[0] = 0;
    return close(e->fd);
}

static int memory_unlink(int folder, const char *name)
{
    struct table *t = table_lock(folder);
    return t ? table_unlock(t, remove_in(t, name)) : -1;
}

static int rename_in(struct table *t, const char *from, const char *to)
{
    struct entry *e = entry_find(t, from);
    if (e == NULL) {
        errno = ENOENT;
        return -1;
    }
    (void)remove_in(t, to); /* it may not be there */
    snprintf(e->name, sizeof e->name, "%s", to);
    return 0;
}

static int memory_rename(int folder, const char *from, const char *to)
{
    struct table *t = table_lock(folder);
    return t ? table_unlock(t, rename_in(t, from, to)) : -1;
}

static int memory_list(int folder, void (*each)(void *ctx, const char *name), void *ctx)
{
    struct table *t = table_lock(folder);
    if (t == NULL) return -1;
    for (uint32_t i = 0; i < t->count; i++)
        if (t->entries[i].name[0]) each(ctx, t->entries[i].name);
    return table_unlock(t, 0);
}

/* The descriptors of the table go with the folder's own. */
static int memory_close(int fd)
{
    char magic[sizeof table_magic] = {0};
    struct stat s;
    bool folder = fstat(fd, &s) == 0 && s.st_size == (off_t)sizeof(struct table) &&
                  pread(fd, magic, sizeof magic, 0) == sizeof magic;
    if (folder && memcmp(magic, table_magic, sizeof magic) == 0) {
        struct table *t = table_lock(fd);
        for (uint32_t i = 0; t && i < t->count; i++)
            if (t->entries[i].name[0]) (void)close(t->entries[i].fd);
        if (t) (void)table_unlock(t, 0);
    }
    return close(fd);
}

static ssize_t memory_pread(int fd, void *to, size_t n, uint64_t offset)
{
    return pread(fd, to, n, (off_t)offset);
}

static ssize_t memory_pwritev(int fd, const struct iovec *v, int count, uint64_t offset)
{
    return pwritev(fd, v, count, (off_t)offset);
}

static int memory_sync(int fd)
{
    (void)fd;
    return 0;
}

static int memory_truncate(int fd, uint64_t bytes) { return ftruncate(fd, (off_t)bytes); }

static int memory_size(int fd, uint64_t *bytes)
{
    struct stat s;
    if (fstat(fd, &s) < 0) return -1;
    *bytes = (uint64_t)s.st_size;
    return 0;
}

static int memory_boot(char out[FILE_BOOT_BYTES])
{
    memset(out, 'm', FILE_BOOT_BYTES);
    return 0;
}

const struct file_ops file_ops_memory = {.open = memory_open,
                                         .close = memory_close,
                                         .pread = memory_pread,
                                         .pread_cached = memory_pread,
                                         .pwritev = memory_pwritev,
                                         .datasync = memory_sync,
                                         .sync = memory_sync,
                                         .rename = memory_rename,
                                         .unlink = memory_unlink,
                                         .truncate = memory_truncate,
                                         .size = memory_size,
                                         .list = memory_list,
                                         .boot = memory_boot,
                                         .in_memory = true};
