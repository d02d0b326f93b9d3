/* Preloaded into a broker by tests of power loss.  It notes every change below one folder in a
 * journal, with what was there before, and each fsync that has returned; after kill -9 powerloss.py
 * takes back what a disk could have lost.  It can also pretend that the disk is full.  From the
 * environment, all by real paths:
 *
 *   UNSYNCED_FOLDER   what is watched
 *   UNSYNCED_JOURNAL  a folder on the same file system, for the journal and for replaced files
 *   UNSYNCED_FULL     while a file of this name exists, the disk has no more blocks to give; when
 *                     there is something in it, it refuses every byte, as a file system that never
 *                     writes in place can
 *   UNSYNCED_BOOT     read by the broker instead of the kernel's boot id
 *
 * Runs in the broker's threads, one change at a time.  It stands before libc's functions and calls
 * the kernel itself, so that it needs nothing of libc's order of loading.  It does not see stdio,
 * mmap, descriptors that were duplicated, and takes the removal of folders for durable at once. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FILES_MAX = 65536, PIECE = 65536, KERNEL_IOV_MAX = 1024 };

/* powerloss.py reads these. */
enum kind { K_WRITE = 1, K_SIZE, K_SYNC, K_SAFE, K_CREATE, K_RENAME, K_UNLINK };
struct entry { /* then the old and the new bytes; native order */
    uint32_t kind, folder, old_bytes, new_bytes;
    uint64_t inode;   /* of the file; of the folder whose names change */
    uint64_t offset;  /* SYNC: entries before it are safe, SAFE: this one is */
    uint64_t size;    /* the file's before it */
    uint64_t another; /* SIZE: after it; names: the inode that got, lost or gave way to a name */
    uint64_t target;  /* RENAME: the folder of the new name */
};
_Static_assert(sizeof(struct entry) == 56, "powerloss.py knows the layout");

struct file {
    uint64_t inode;
    bool watched, folder, safe; /* safe: O_DSYNC */
};

static struct file files[FILES_MAX];
static const char *watched_folder, *journal_folder, *full_name, *boot_name;
static int journal = -1;
static uint64_t entry_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void give_up(const char *what)
{
    dprintf(2, "unsynced: %s: %s\n", what, strerror(errno));
    abort();
}

__attribute__((constructor)) static void begin(void)
{
    char name[PATH_MAX];
    const char *folder = getenv("UNSYNCED_FOLDER");
    full_name = getenv("UNSYNCED_FULL");
    boot_name = getenv("UNSYNCED_BOOT");
    journal_folder = getenv("UNSYNCED_JOURNAL");
    if (folder == NULL) return;
    if (journal_folder) {
        snprintf(name, sizeof name, "%s/journal", journal_folder);
        int flags = O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC;
        journal = (int)syscall(SYS_openat, AT_FDCWD, name, flags, 0600);
        if (journal < 0) give_up(name);
    }
    watched_folder = folder;
}

static bool is_under(const char *path)
{
    size_t n = strlen(watched_folder);
    return strncmp(path, watched_folder, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

static bool is_watched_fd(int fd)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return false;
    path[n] = '\0';
    return is_under(path);
}

/* The open file, if it is watched.  A number closed behind our back is another file now. */
static struct file *find(int fd)
{
    struct stat s;
    if (watched_folder == NULL || fd < 0 || fd >= FILES_MAX || !files[fd].watched) return NULL;
    if (fstat(fd, &s) < 0 || s.st_ino != files[fd].inode) files[fd].watched = false;
    return files[fd].watched ? &files[fd] : NULL;
}

static uint64_t size_of(int fd)
{
    struct stat s;
    if (fstat(fd, &s) < 0) give_up("fstat");
    return (uint64_t)s.st_size;
}

/* Whether the disk has no room for the bytes of the file before `end`. */
static bool is_full(int fd, uint64_t end)
{
    struct stat trigger, s;
    if (full_name == NULL || syscall(SYS_newfstatat, AT_FDCWD, full_name, &trigger, 0) < 0)
        return false;
    if (fstat(fd, &s) < 0) give_up("fstat");
    return trigger.st_size > 0 || end > (uint64_t)s.st_blocks * 512;
}

/* ---- the journal ---- */

static uint64_t note(struct entry *e, struct iovec old, const struct iovec *parts, int count)
{
    struct iovec v[2 + KERNEL_IOV_MAX] = {{e, sizeof *e}, old};
    if (journal < 0) return 0;
    for (int i = 0; i < count; i++) {
        v[2 + i] = parts[i];
        e->new_bytes += (uint32_t)parts[i].iov_len;
    }
    e->old_bytes = (uint32_t)old.iov_len;
    size_t total = sizeof *e + e->old_bytes + e->new_bytes;
    /* In at most two calls: a vector has at most 1024 parts. */
    int first = 2 + count < KERNEL_IOV_MAX ? 2 + count : KERNEL_IOV_MAX;
    ssize_t n = syscall(SYS_writev, journal, v, first);
    if (n >= 0 && first < 2 + count)
        n += syscall(SYS_writev, journal, v + first, 2 + count - first);
    if (n != (ssize_t)total) give_up("journal");
    return entry_count++;
}

static void note_name(enum kind kind, uint64_t folder, uint64_t inode, const char *name,
                      bool is_folder)
{
    struct entry e = {.kind = kind, .folder = is_folder, .inode = folder, .another = inode};
    note(&e, (struct iovec){0}, &(struct iovec){(void *)(uintptr_t)name, strlen(name)}, 1);
}

/* What the file holds there; also where it was opened for writing only. */
static struct iovec read_old(int fd, uint64_t offset, uint64_t end)
{
    uint64_t size = size_of(fd);
    if (end > size) end = size;
    if (journal < 0 || offset >= end) return (struct iovec){0};
    size_t want = end - offset;
    char link[64], *bytes = malloc(want);
    if (bytes == NULL) give_up("memory");
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int again = (int)syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC);
    for (size_t done = 0; done < want;) {
        ssize_t n = syscall(SYS_pread64, again, bytes + done, want - done, offset + done);
        if (n <= 0) give_up("old content");
        done += (size_t)n;
    }
    syscall(SYS_close, again);
    return (struct iovec){bytes, want};
}

static uint64_t note_write(int fd, const struct file *f, const struct iovec *v, int count,
                           uint64_t offset, uint64_t bytes)
{
    struct entry e = {.kind = K_WRITE, .inode = f->inode, .offset = offset, .size = size_of(fd)};
    struct iovec old = read_old(fd, offset, offset + bytes);
    uint64_t number = note(&e, old, v, count);
    free(old.iov_base);
    return number;
}

static void note_size(int fd, const struct file *f, uint64_t size)
{
    struct entry e = {.kind = K_SIZE, .inode = f->inode, .size = size_of(fd), .another = size};
    if (size == e.size) return;
    struct iovec old = read_old(fd, size, e.size);
    note(&e, old, NULL, 0);
    free(old.iov_base);
}

/* ---- content ---- */

/* offset -1: where the file is, or its end. */
static ssize_t write_watched(int fd, struct file *f, const struct iovec *v, int count, off_t offset,
                             int flags)
{
    uint64_t bytes = 0, at = (uint64_t)offset;
    for (int i = 0; i < count; i++) bytes += v[i].iov_len;
    if (fcntl(fd, F_GETFL) & O_APPEND)
        at = size_of(fd);
    else if (offset < 0)
        at = (uint64_t)lseek(fd, 0, SEEK_CUR);
    if (count > KERNEL_IOV_MAX || is_full(fd, at + bytes)) {
        errno = count > KERNEL_IOV_MAX ? EINVAL : ENOSPC;
        return -1;
    }
    uint64_t number = note_write(fd, f, v, count, at, bytes);
    ssize_t n = syscall(SYS_pwritev2, fd, v, count, (long)offset, 0L, flags);
    if (n > 0 && (f->safe || flags & (RWF_DSYNC | RWF_SYNC))) {
        struct entry e = {.kind = K_SAFE, .inode = f->inode, .offset = number};
        note(&e, (struct iovec){0}, NULL, 0);
    }
    return n;
}

static ssize_t write_any(int fd, const struct iovec *v, int count, off_t offset, int flags)
{
    if (watched_folder == NULL) return syscall(SYS_pwritev2, fd, v, count, (long)offset, 0L, flags);
    pthread_mutex_lock(&lock);
    struct file *f = find(fd);
    if (f == NULL || f->folder) {
        pthread_mutex_unlock(&lock);
        return syscall(SYS_pwritev2, fd, v, count, (long)offset, 0L, flags);
    }
    ssize_t n = write_watched(fd, f, v, count, offset, flags);
    int failure = errno;
    pthread_mutex_unlock(&lock);
    errno = failure;
    return n;
}

static int truncate_any(int fd, off_t size)
{
    if (watched_folder == NULL) return (int)syscall(SYS_ftruncate, fd, (long)size);
    pthread_mutex_lock(&lock);
    struct file *f = find(fd);
    if (f && !f->folder) note_size(fd, f, (uint64_t)size);
    int rc = (int)syscall(SYS_ftruncate, fd, (long)size);
    pthread_mutex_unlock(&lock);
    return rc;
}

static void note_zeros(int fd, const struct file *f, uint64_t offset, uint64_t end)
{
    static char zeros[PIECE];
    for (uint64_t at = offset; at < end; at += PIECE) {
        uint64_t n = end - at < PIECE ? end - at : PIECE;
        note_write(fd, f, &(struct iovec){zeros, n}, 1, at, n);
    }
}

static int fallocate_watched(int fd, const struct file *f, int mode, off_t offset, off_t bytes)
{
    uint64_t size = size_of(fd), at = (uint64_t)offset, end = (uint64_t)(offset + bytes);
    bool keeps = mode & FALLOC_FL_KEEP_SIZE;
    int others = mode & ~FALLOC_FL_KEEP_SIZE;
    if (others & ~(FALLOC_FL_ZERO_RANGE | FALLOC_FL_PUNCH_HOLE)) {
        errno = EOPNOTSUPP; /* moves content about: nobody here does it */
        return -1;
    }
    if (is_full(fd, end) && !(others & FALLOC_FL_PUNCH_HOLE)) {
        errno = ENOSPC;
        return -1;
    }
    if (others)
        note_zeros(fd, f, at, keeps && end > size ? size : end);
    else if (!keeps && end > size)
        note_size(fd, f, end);
    return (int)syscall(SYS_fallocate, fd, mode, (long)offset, (long)bytes);
}

static int fallocate_any(int fd, int mode, off_t offset, off_t bytes)
{
    if (watched_folder == NULL)
        return (int)syscall(SYS_fallocate, fd, mode, (long)offset, (long)bytes);
    pthread_mutex_lock(&lock);
    struct file *f = find(fd);
    int rc = f ? fallocate_watched(fd, f, mode, offset, bytes)
               : (int)syscall(SYS_fallocate, fd, mode, (long)offset, (long)bytes);
    int failure = errno;
    pthread_mutex_unlock(&lock);
    errno = failure;
    return rc;
}

/* Only what was there before it began is safe afterwards. */
static int sync_any(int fd, long call)
{
    if (watched_folder == NULL) return (int)syscall(call, fd);
    pthread_mutex_lock(&lock);
    struct file *f = find(fd);
    struct entry e = {.kind = K_SYNC, .inode = f ? f->inode : 0, .offset = entry_count};
    pthread_mutex_unlock(&lock);
    int rc = (int)syscall(call, fd);
    if (f == NULL || rc < 0) return rc;
    pthread_mutex_lock(&lock);
    note(&e, (struct iovec){0}, NULL, 0);
    pthread_mutex_unlock(&lock);
    return rc;
}

/* ---- names ---- */

struct place {
    int fd; /* of the folder */
    uint64_t folder;
    bool watched;
    char name[NAME_MAX + 1];
};

static bool place_open(struct place *p, int at, const char *path)
{
    char parent[PATH_MAX];
    struct stat s;
    const char *slash = strrchr(path, '/');
    snprintf(p->name, sizeof p->name, "%s", slash ? slash + 1 : path);
    snprintf(parent, sizeof parent, "%.*s", slash ? (int)(slash - path) + 1 : 1,
             slash ? path : ".");
    p->fd = (int)syscall(SYS_openat, at, parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (p->fd < 0) return false;
    if (fstat(p->fd, &s) < 0) give_up("fstat");
    p->folder = s.st_ino;
    p->watched = is_watched_fd(p->fd);
    return true;
}

static void place_close(struct place *p) { syscall(SYS_close, p->fd); }

static bool stat_at(int at, const char *path, struct stat *s)
{
    return syscall(SYS_newfstatat, at, path, s, AT_SYMLINK_NOFOLLOW) == 0;
}

/* A second name for a file that is about to lose this one; its inode, 0 when there is none. */
static uint64_t keep(const struct place *p)
{
    struct stat s;
    char kept[PATH_MAX];
    if (!stat_at(p->fd, p->name, &s)) return 0;
    if (journal < 0 || S_ISDIR(s.st_mode)) return s.st_ino;
    snprintf(kept, sizeof kept, "%s/%llu", journal_folder, (unsigned long long)s.st_ino);
    int rc = (int)syscall(SYS_linkat, p->fd, p->name, AT_FDCWD, kept, 0);
    if (rc < 0 && errno != EEXIST) give_up(kept);
    return s.st_ino;
}

static int rename_places(const struct place *from, const struct place *to, unsigned flags)
{
    if (flags & ~1u) { /* all but RENAME_NOREPLACE */
        errno = EINVAL;
        return -1;
    }
    uint64_t replaced = keep(to);
    int rc = (int)syscall(SYS_renameat2, from->fd, from->name, to->fd, to->name, flags);
    if (rc < 0 || (!from->watched && !to->watched)) return rc;
    struct entry e = {
        .kind = K_RENAME, .inode = from->folder, .target = to->folder, .another = replaced};
    note(&e, (struct iovec){(void *)(uintptr_t)from->name, strlen(from->name)},
         &(struct iovec){(void *)(uintptr_t)to->name, strlen(to->name)}, 1);
    return rc;
}

static int rename_any(int from_at, const char *from, int to_at, const char *to, unsigned flags)
{
    struct place a, b;
    if (watched_folder == NULL) return (int)syscall(SYS_renameat2, from_at, from, to_at, to, flags);
    pthread_mutex_lock(&lock);
    int rc = -1;
    if (place_open(&a, from_at, from)) {
        if (place_open(&b, to_at, to)) {
            rc = rename_places(&a, &b, flags);
            place_close(&b);
        }
        place_close(&a);
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

static int unlink_any(int at, const char *path, int flags)
{
    struct place p;
    if (watched_folder == NULL || flags & AT_REMOVEDIR)
        return (int)syscall(SYS_unlinkat, at, path, flags);
    pthread_mutex_lock(&lock);
    int rc = -1;
    if (place_open(&p, at, path)) {
        uint64_t inode = p.watched ? keep(&p) : 0;
        rc = (int)syscall(SYS_unlinkat, p.fd, p.name, flags);
        if (rc == 0 && p.watched) note_name(K_UNLINK, p.folder, inode, p.name, false);
        place_close(&p);
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

/* A name was made: notes it where that matters. */
static void note_made(int at, const char *path)
{
    struct place p;
    struct stat s;
    if (!place_open(&p, at, path)) return;
    if (p.watched && stat_at(p.fd, p.name, &s))
        note_name(K_CREATE, p.folder, s.st_ino, p.name, S_ISDIR(s.st_mode));
    place_close(&p);
}

static int mkdir_any(int at, const char *path, mode_t mode)
{
    char bare[PATH_MAX];
    if (watched_folder == NULL) return (int)syscall(SYS_mkdirat, at, path, mode);
    snprintf(bare, sizeof bare, "%s", path);
    for (size_t n = strlen(bare); n > 1 && bare[n - 1] == '/'; n--) bare[n - 1] = '\0';
    pthread_mutex_lock(&lock);
    int rc = (int)syscall(SYS_mkdirat, at, bare, mode);
    if (rc == 0) note_made(at, bare);
    pthread_mutex_unlock(&lock);
    return rc;
}

static int link_any(int from_at, const char *from, int to_at, const char *to, int flags)
{
    if (watched_folder == NULL) return (int)syscall(SYS_linkat, from_at, from, to_at, to, flags);
    pthread_mutex_lock(&lock);
    int rc = (int)syscall(SYS_linkat, from_at, from, to_at, to, flags);
    if (rc == 0) note_made(to_at, to);
    pthread_mutex_unlock(&lock);
    return rc;
}

static void watch(int fd, int flags)
{
    struct stat s;
    if (fd >= FILES_MAX) return;
    files[fd] = (struct file){.watched = is_watched_fd(fd) && fstat(fd, &s) == 0};
    if (!files[fd].watched) return;
    files[fd].inode = s.st_ino;
    files[fd].folder = S_ISDIR(s.st_mode);
    files[fd].safe = flags & O_DSYNC;
}

static int open_any(int at, const char *path, int flags, mode_t mode)
{
    struct stat s;
    if (watched_folder == NULL) return (int)syscall(SYS_openat, at, path, flags, mode);
    if (boot_name && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0) path = boot_name;
    pthread_mutex_lock(&lock);
    bool is_new = flags & O_CREAT && !stat_at(at, path, &s);
    int fd = (int)syscall(SYS_openat, at, path, flags & ~O_TRUNC, mode);
    int failure = errno;
    if (fd >= 0) {
        watch(fd, flags);
        if (is_new && find(fd)) note_made(at, path);
    }
    pthread_mutex_unlock(&lock);
    if (fd >= 0 && flags & O_TRUNC) truncate_any(fd, 0); /* in vain where it is not a file */
    errno = failure;
    return fd;
}

/* ---- libc's names ----
 * They can be called before begin(), by a sanitizer that begins: then nothing of libc may be. */

/* A function with a name of ours in C and libc's for the linker; and the same for large files. */
#define STANDS_FOR(type, ours, name, ...)                                                          \
    type ours(__VA_ARGS__) __asm__(name);                                                          \
    type ours(__VA_ARGS__)
#define TWIN(type, ours, original, name, ...)                                                      \
    type ours(__VA_ARGS__) __asm__(name) __attribute__((alias(original)))

static mode_t mode_of(int flags, va_list more)
{
    return flags & O_CREAT ? (mode_t)va_arg(more, unsigned) : 0;
}

STANDS_FOR(int, our_open, "open", const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    mode_t mode = mode_of(flags, more);
    va_end(more);
    return open_any(AT_FDCWD, path, flags, mode);
}
TWIN(int, our_open64, "open", "open64", const char *path, int flags, ...);

STANDS_FOR(int, our_openat, "openat", int at, const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    mode_t mode = mode_of(flags, more);
    va_end(more);
    return open_any(at, path, flags, mode);
}
TWIN(int, our_openat64, "openat", "openat64", int at, const char *path, int flags, ...);

/* What _FORTIFY_SOURCE makes of calls without a mode. */
STANDS_FOR(int, our_open_2, "__open_2", const char *path, int flags)
{
    return open_any(AT_FDCWD, path, flags, 0);
}
TWIN(int, our_open64_2, "__open_2", "__open64_2", const char *path, int flags);
STANDS_FOR(int, our_openat_2, "__openat_2", int at, const char *path, int flags)
{
    return open_any(at, path, flags, 0);
}
TWIN(int, our_openat64_2, "__openat_2", "__openat64_2", int at, const char *path, int flags);

STANDS_FOR(int, our_creat, "creat", const char *path, mode_t mode)
{
    return open_any(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
TWIN(int, our_creat64, "creat", "creat64", const char *path, mode_t mode);

STANDS_FOR(ssize_t, our_write, "write", int fd, const void *bytes, size_t n)
{
    if (find(fd) == NULL) return syscall(SYS_write, fd, bytes, n);
    return write_any(fd, &(struct iovec){(void *)(uintptr_t)bytes, n}, 1, -1, 0);
}
STANDS_FOR(ssize_t, our_writev, "writev", int fd, const struct iovec *v, int count)
{
    if (find(fd) == NULL) return syscall(SYS_writev, fd, v, count);
    return write_any(fd, v, count, -1, 0);
}
STANDS_FOR(ssize_t, our_pwrite, "pwrite", int fd, const void *bytes, size_t n, off_t offset)
{
    return write_any(fd, &(struct iovec){(void *)(uintptr_t)bytes, n}, 1, offset, 0);
}
TWIN(ssize_t, our_pwrite64, "pwrite", "pwrite64", int fd, const void *bytes, size_t n,
     off_t offset);
STANDS_FOR(ssize_t, our_pwritev, "pwritev", int fd, const struct iovec *v, int count, off_t offset)
{
    return write_any(fd, v, count, offset, 0);
}
TWIN(ssize_t, our_pwritev64, "pwritev", "pwritev64", int fd, const struct iovec *v, int count,
     off_t offset);
STANDS_FOR(ssize_t, our_pwritev2, "pwritev2", int fd, const struct iovec *v, int count,
           off_t offset, int flags)
{
    return write_any(fd, v, count, offset, flags);
}
TWIN(ssize_t, our_pwritev64v2, "pwritev2", "pwritev64v2", int fd, const struct iovec *v, int count,
     off_t offset, int flags);

STANDS_FOR(int, our_ftruncate, "ftruncate", int fd, off_t size) { return truncate_any(fd, size); }
TWIN(int, our_ftruncate64, "ftruncate", "ftruncate64", int fd, off_t size);
STANDS_FOR(int, our_fallocate, "fallocate", int fd, int mode, off_t offset, off_t bytes)
{
    return fallocate_any(fd, mode, offset, bytes);
}
TWIN(int, our_fallocate64, "fallocate", "fallocate64", int fd, int mode, off_t offset, off_t bytes);
STANDS_FOR(int, our_posix_fallocate, "posix_fallocate", int fd, off_t offset, off_t bytes)
{
    return fallocate_any(fd, 0, offset, bytes) < 0 ? errno : 0;
}
TWIN(int, our_posix_fallocate64, "posix_fallocate", "posix_fallocate64", int fd, off_t offset,
     off_t bytes);
/* Callers have another way for file systems that cannot. */
STANDS_FOR(ssize_t, our_copy, "copy_file_range", int from, off_t *from_at, int to, off_t *to_at,
           size_t n, unsigned flags)
{
    if (find(to) == NULL) return syscall(SYS_copy_file_range, from, from_at, to, to_at, n, flags);
    errno = EXDEV;
    return -1;
}

STANDS_FOR(int, our_fsync, "fsync", int fd) { return sync_any(fd, SYS_fsync); }
STANDS_FOR(int, our_fdatasync, "fdatasync", int fd) { return sync_any(fd, SYS_fdatasync); }

STANDS_FOR(int, our_rename, "rename", const char *from, const char *to)
{
    return rename_any(AT_FDCWD, from, AT_FDCWD, to, 0);
}
STANDS_FOR(int, our_renameat, "renameat", int from_at, const char *from, int to_at, const char *to)
{
    return rename_any(from_at, from, to_at, to, 0);
}
STANDS_FOR(int, our_renameat2, "renameat2", int from_at, const char *from, int to_at,
           const char *to, unsigned flags)
{
    return rename_any(from_at, from, to_at, to, flags);
}
STANDS_FOR(int, our_unlink, "unlink", const char *path) { return unlink_any(AT_FDCWD, path, 0); }
STANDS_FOR(int, our_unlinkat, "unlinkat", int at, const char *path, int flags)
{
    return unlink_any(at, path, flags);
}
STANDS_FOR(int, our_mkdir, "mkdir", const char *path, mode_t mode)
{
    return mkdir_any(AT_FDCWD, path, mode);
}
STANDS_FOR(int, our_mkdirat, "mkdirat", int at, const char *path, mode_t mode)
{
    return mkdir_any(at, path, mode);
}
STANDS_FOR(int, our_link, "link", const char *from, const char *to)
{
    return link_any(AT_FDCWD, from, AT_FDCWD, to, 0);
}
STANDS_FOR(int, our_linkat, "linkat", int from_at, const char *from, int to_at, const char *to,
           int flags)
{
    return link_any(from_at, from, to_at, to, flags);
}
