/* The anchor of the store; anchor.h has the picture.  Owns no state.  The order of making a store
 * is what keeps it whole when power fails at any step: what is in the way goes aside, then comes
 * the folder with its id, and the anchor last, so that an anchor always has a folder.  Main thread.
 */
#include "anchor.h"

#include "base/clock.h"
#include "base/hash.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    TEXT_BYTES = 1024, /* of an anchor; what is longer is none */
    ASIDE_TRIES = 100, /* stores set aside within one second */
};

static const char magic[] = "sluice anchor ";
static const char mosquitto_magic[15] = {0,   '\xb5', 0,   'm', 'o', 's', 'q', 'u',
                                         'i', 't',    't', 'o', ' ', 'd', 'b'};
static const char instead[] = "sluice.db";

struct opening {
    struct anchor *out;
    struct log *log;
    char place[ANCHOR_PATH_BYTES]; /* the folder that the anchor is in */
    size_t place_bytes;            /* of out->file, with the last slash */
    char stands_for[ANCHOR_NAME_BYTES];
};

static int anchor_fail(const struct opening *o, const char *fmt, ...) PRINTF_LIKE(2, 3);
static int anchor_prepare(struct opening *o, const struct conf *conf);
static int anchor_choose(struct opening *o, struct anchor_found *found);
static int anchor_folder_prepare(struct opening *o, bool known);
static int anchor_create(struct opening *o);

int anchor_open(struct anchor *out, const struct conf *conf, struct log *log)
{
    struct opening o = {.out = out, .log = log};
    struct anchor_found found;
    ASSERT(conf->persistence);
    *out = (struct anchor){0};
    int rc = anchor_prepare(&o, conf);
    if (rc == 0) rc = anchor_choose(&o, &found);
    if (rc < 0) return rc;
    if (found.state == ANCHOR_OURS) {
        out->id = found.id;
        return anchor_folder_prepare(&o, true);
    }
    if (getrandom(&out->id, sizeof out->id, 0) != (ssize_t)sizeof out->id)
        return anchor_fail(&o, "Error: no random numbers: %s.", strerror(errno));
    rc = anchor_folder_prepare(&o, false);
    return rc < 0 ? rc : anchor_create(&o);
}

/* ---- messages and names ---- */

static int anchor_fail(const struct opening *o, const char *fmt, ...)
{
    char line[LOG_LINE_MAX + 1];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    log_line(o->log, LOG_T_ERROR, line);
    return E_IO;
}

static int anchor_fail_io(const struct opening *o, const char *path, const char *what)
{
    return anchor_fail(o, "Error: %s cannot be %s: %s.", path, what, strerror(errno));
}

/* Joins up to three parts; E_IO and errno when that is longer than a path may be. */
static int anchor_join(char out[ANCHOR_PATH_BYTES], const char *a, const char *b, const char *c)
{
    int n = snprintf(out, ANCHOR_PATH_BYTES, "%s%s%s", a, b, c);
    if (n >= 0 && n < ANCHOR_PATH_BYTES) return 0;
    errno = ENAMETOOLONG;
    return E_IO;
}

static const char *anchor_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Names the anchor: mosquitto joins location and file just so. */
static int anchor_prepare(struct opening *o, const struct conf *conf)
{
    const char *location = conf->persistence_location;
    const char *slash = location == NULL || location[strlen(location) - 1] == '/' ? "" : "/";
    struct stat s;
    char *file = o->out->file;
    if (anchor_join(file, location ? location : "", slash, conf->persistence_file) < 0)
        return anchor_fail(o, "Error: persistence_location is too long for a path.");
    size_t n = o->place_bytes = (size_t)(anchor_base(file) - file);
    if (n > 1) n--; /* without the slash, but for that of the root */
    memcpy(o->place, n ? file : ".", n ? n : 1);
    if (stat(o->place, &s) < 0 && errno == ENOENT)
        return anchor_fail(o,
                           "Error: there is no folder %s for the persistent data: make it, or "
                           "change persistence_location.",
                           o->place);
    if (stat(o->place, &s) == 0) {
        if (S_ISDIR(s.st_mode)) return 0;
        errno = ENOTDIR;
    }
    return anchor_fail_io(o, o->place, "used for the persistent data");
}

/* ---- small files ---- */

/* At most `room` bytes from the start of a file; *n: how many.  E_EXISTS: it is no file but a
 * folder, a device ...; E_NOTFOUND; E_IO. */
static int anchor_read(const char *path, char *out, size_t room, size_t *n)
{
    struct stat s;
    /* O_NONBLOCK: else a pipe without a writer would keep us here. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return errno == ENOENT ? E_NOTFOUND : errno == ENXIO ? E_EXISTS : E_IO;
    int rc = fstat(fd, &s) < 0 ? E_IO : S_ISREG(s.st_mode) ? 0 : E_EXISTS;
    *n = 0;
    while (rc == 0 && *n < room) {
        ssize_t got = read(fd, out + *n, room - *n);
        if (got == 0) break;
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) rc = E_IO;
        if (got > 0) *n += (size_t)got;
    }
    int failure = errno;
    close(fd);
    errno = failure;
    return rc;
}

static int anchor_sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return E_IO;
    /* Some file systems keep no folders that could be synced; they say EINVAL. */
    int rc = fsync(fd) < 0 && errno != EINVAL ? E_IO : 0;
    int failure = errno;
    close(fd);
    errno = failure;
    return rc;
}

/* flags: O_EXCL or O_TRUNC. */
static int anchor_write(const char *path, int flags, const char *text, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
    if (fd < 0) return E_IO;
    errno = ENOSPC; /* what a short write means */
    int rc = write(fd, text, n) == (ssize_t)n && fsync(fd) == 0 ? 0 : E_IO;
    int failure = errno;
    close(fd);
    errno = failure;
    return rc;
}

/* A rename that never replaces; E_EXISTS: there is something already. */
static int anchor_rename(const char *from, const char *to)
{
    struct stat s;
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) return 0;
    if (errno == EEXIST) return E_EXISTS;
    if (errno != EINVAL && errno != ENOSYS) return E_IO;
    /* This file system cannot promise it; nobody else makes files with our names. */
    if (lstat(to, &s) == 0) return E_EXISTS;
    return errno == ENOENT && rename(from, to) == 0 ? 0 : E_IO;
}

/* ---- the anchor's text ---- */

static size_t anchor_text(char out[TEXT_BYTES], const struct anchor_found *a)
{
    int n = snprintf(out, TEXT_BYTES,
                     "%s1\n"
                     "id %016" PRIx64 "\n"
                     "stands-for %s\n"
                     "This file belongs to the folder of the same name with .d behind it: keep "
                     "both together.\nWithout this file that folder is set aside, and the broker "
                     "starts empty.\n",
                     magic, a->id, a->stands_for);
    ASSERT(n > 0 && n < TEXT_BYTES - 32);
    uint64_t sum = hash_bytes(bytes_of(out, (size_t)n), 0);
    return (size_t)n +
           (size_t)snprintf(out + n, TEXT_BYTES - (size_t)n, "sum %016" PRIx64 "\n", sum);
}

/* Takes what it finds and writes the same anew: whatever is not as we write it is damaged. */
static enum anchor_state anchor_parse(const char *text, size_t n, struct anchor_found *out)
{
    char again[TEXT_BYTES], *end;
    const char *p = text + sizeof magic - 1;
    unsigned long version = strtoul(p, &end, 10);
    if (*p >= '0' && *p <= '9' && version > 1 && *end == '\n') return ANCHOR_LATER;
    if (sscanf(p, "1\nid %16" SCNx64, &out->id) != 1) return ANCHOR_DAMAGED;
    const char *name = strstr(p, "\nstands-for ");
    if (name == NULL) return ANCHOR_DAMAGED;
    name += strlen("\nstands-for ");
    size_t name_n = strcspn(name, "\n");
    if (name_n >= sizeof out->stands_for) return ANCHOR_DAMAGED;
    memcpy(out->stands_for, name, name_n);
    size_t again_n = anchor_text(again, out);
    return again_n == n && memcmp(again, text, n) == 0 ? ANCHOR_OURS : ANCHOR_DAMAGED;
}

int anchor_look(const char *path, struct anchor_found *out)
{
    char text[TEXT_BYTES + 1];
    size_t n = 0, begin = sizeof magic - 1;
    *out = (struct anchor_found){.state = ANCHOR_NONE};
    int rc = anchor_read(path, text, TEXT_BYTES, &n);
    if (rc == E_NOTFOUND) return 0;
    if (rc == E_IO) return E_IO;
    text[n] = 0;
    out->state = ANCHOR_FOREIGN;
    if (rc == E_EXISTS || n == 0) return 0;
    if (n >= sizeof mosquitto_magic && memcmp(text, mosquitto_magic, sizeof mosquitto_magic) == 0)
        out->state = ANCHOR_MOSQUITTO;
    else if (n < begin && memcmp(text, magic, n) == 0)
        out->state = ANCHOR_DAMAGED; /* the rest is cut off */
    else if (n >= begin && memcmp(text, magic, begin) == 0)
        out->state = anchor_parse(text, n, out);
    return 0;
}

/* ---- which file it is ---- */

static int anchor_take(struct opening *o, const char *file, struct anchor_found *found)
{
    if (anchor_look(file, found) < 0) return anchor_fail_io(o, file, "read");
    if (found->state == ANCHOR_DAMAGED)
        return anchor_fail(o,
                           "Error: %s, the anchor of the store %s.d, is damaged. Put back a copy; "
                           "or move it away, to set that store aside and start empty.",
                           file, file);
    if (found->state == ANCHOR_LATER)
        return anchor_fail(o, "Error: %s was written by a later version of sluice.", file);
    return 0;
}

/* An anchor that was overwritten by something is told from a file that was never ours by the
 * store beside it.  Mosquitto's database is where somebody went back to mosquitto. */
static bool anchor_overwritten(const char *file, const struct anchor_found *found)
{
    char folder[ANCHOR_PATH_BYTES];
    uint64_t id;
    return found->state == ANCHOR_FOREIGN && anchor_join(folder, file, ".d", "") == 0 &&
           anchor_folder_id(folder, &id) == 0;
}

/* *found: of the file that out->file names in the end, OURS or NONE. */
static int anchor_choose(struct opening *o, struct anchor_found *found)
{
    char *file = o->out->file, other[ANCHOR_PATH_BYTES];
    const char *base = anchor_base(file);
    struct anchor_found second;
    int rc = anchor_take(o, file, found);
    if (rc < 0 || found->state == ANCHOR_OURS) return rc;
    if (anchor_overwritten(file, found))
        return anchor_fail(o,
                           "Error: %s is no longer the anchor of the store %s.d: something else "
                           "was written there. Put back a copy; or move it away, to set that "
                           "store aside and start empty.",
                           file, file);
    const char *what = found->state == ANCHOR_MOSQUITTO ? "a database of mosquitto" : "not ours";
    if (strcmp(base, instead) == 0) {
        if (found->state == ANCHOR_NONE) return 0;
        return anchor_fail(o, "Error: %s is %s and is left alone: choose another persistence_file.",
                           file, what);
    }
    int n = snprintf(other, sizeof other, "%.*s%s", (int)o->place_bytes, file, instead);
    if (n < 0 || (size_t)n >= sizeof other) {
        errno = ENAMETOOLONG;
        return anchor_fail_io(o, file, "used");
    }
    rc = anchor_take(o, other, &second);
    if (rc < 0) return rc;
    bool ours = second.state == ANCHOR_OURS, free_name = second.state == ANCHOR_NONE;
    if (found->state == ANCHOR_NONE && !(ours && strcmp(second.stands_for, base) == 0)) return 0;
    if (!ours && !free_name)
        return anchor_fail(o,
                           "Error: %s is %s and %s is not ours either; both are left alone: choose "
                           "another persistence_file.",
                           file, what, other);
    if (found->state == ANCHOR_NONE)
        log_printf(o->log, LOG_T_NOTICE, "%s stands for %s, which is gone.", other, file);
    else
        log_printf(o->log, LOG_T_NOTICE, "%s is %s and is left alone: the store's anchor is %s.",
                   file, what, other);
    ASSERT(strlen(base) < sizeof o->stands_for);
    memcpy(o->stands_for, base, strlen(base) + 1);
    memcpy(file, other, sizeof other);
    *found = second;
    return 0;
}

/* ---- the folder ---- */

enum { ID_BYTES = 17 }; /* 16 digits and a newline */

int anchor_folder_id(const char *folder, uint64_t *id)
{
    char path[ANCHOR_PATH_BYTES], text[ID_BYTES + 2], again[ID_BYTES + 1];
    size_t n;
    if (anchor_join(path, folder, "/id", "") < 0) return E_IO;
    int rc = anchor_read(path, text, ID_BYTES + 1, &n);
    if (rc == E_EXISTS) return E_MALFORMED;
    if (rc < 0) return rc;
    text[n] = 0;
    if (sscanf(text, "%16" SCNx64, id) != 1) return E_MALFORMED;
    snprintf(again, sizeof again, "%016" PRIx64 "\n", *id);
    return n == ID_BYTES && memcmp(again, text, n) == 0 ? 0 : E_MALFORMED;
}

/* Whether a folder holds more than its id and the log's lock; negative: E_IO, E_NOTFOUND. */
static int anchor_folder_filled(const char *folder)
{
    DIR *dir = opendir(folder);
    if (dir == NULL) return errno == ENOENT ? E_NOTFOUND : E_IO;
    int filled = 0;
    for (struct dirent *e; !filled && (errno = 0, e = readdir(dir)) != NULL;)
        filled = strcmp(e->d_name, ".") && strcmp(e->d_name, "..") && strcmp(e->d_name, "id") &&
                 strcmp(e->d_name, "lock");
    if (errno && !filled) filled = E_IO;
    int failure = errno;
    closedir(dir);
    errno = failure;
    return filled;
}

static int anchor_folder_make(struct opening *o, bool there)
{
    const char *folder = o->out->folder;
    char path[ANCHOR_PATH_BYTES], text[ID_BYTES + 1];
    if (!there && mkdir(folder, 0700) < 0) return anchor_fail_io(o, folder, "made");
    snprintf(text, sizeof text, "%016" PRIx64 "\n", o->out->id);
    if (anchor_join(path, folder, "/id", "") < 0 ||
        anchor_write(path, O_TRUNC, text, ID_BYTES) < 0 || anchor_sync_folder(folder) < 0 ||
        anchor_sync_folder(o->place) < 0)
        return anchor_fail_io(o, folder, "written to");
    o->out->fresh = true;
    return 0;
}

bool anchor_folder_used(const char *folder)
{
    char path[ANCHOR_PATH_BYTES];
    if (anchor_join(path, folder, "/lock", "") < 0) return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return false;
    bool used = flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
    close(fd);
    return used;
}

static int anchor_set_aside(struct opening *o, const char *why)
{
    char name[ANCHOR_PATH_BYTES], suffix[48];
    time_t now = (time_t)(clock_wall_ms() / 1000);
    struct tm tm;
    gmtime_r(&now, &tm);
    if (anchor_folder_used(o->out->folder))
        return anchor_fail(o, "Error: another broker uses %s, though %s.", o->out->folder, why);
    int rc = E_EXISTS;
    for (int i = 1; rc == E_EXISTS && i <= ASIDE_TRIES; i++) {
        size_t n = strftime(suffix, sizeof suffix, ".old-%Y%m%dT%H%M%SZ", &tm);
        if (i > 1) snprintf(suffix + n, sizeof suffix - n, "-%d", i);
        rc = anchor_join(name, o->out->folder, suffix, "");
        if (rc == 0) rc = anchor_rename(o->out->folder, name);
    }
    if (rc < 0 || anchor_sync_folder(o->place) < 0)
        return anchor_fail_io(o, o->out->folder, "set aside");
    log_printf(o->log, LOG_T_WARNING,
               "Warning: %s: the store starts empty. The old one was set aside as %s.", why, name);
    return 0;
}

/* known: there is an anchor, whose id the folder must have. */
static int anchor_folder_prepare(struct opening *o, bool known)
{
    char *folder = o->out->folder, why[2 * ANCHOR_PATH_BYTES];
    const char *file = o->out->file;
    uint64_t id = 0;
    if (anchor_join(folder, file, ".d", "") < 0) return anchor_fail_io(o, file, "used");
    int filled = anchor_folder_filled(folder);
    if (filled == E_IO) return anchor_fail_io(o, folder, "opened");
    if (filled == E_NOTFOUND && known)
        log_printf(o->log, LOG_T_WARNING, "Warning: %s is missing: the store starts empty.",
                   folder);
    /* Nothing but an id: we were interrupted while we made it. */
    if (filled <= 0) return anchor_folder_make(o, filled == 0);
    int rc = anchor_folder_id(folder, &id);
    if (rc == E_IO) return anchor_fail_io(o, folder, "read");
    if (known && rc == 0 && id == o->out->id) return 0;
    if (known && rc == E_MALFORMED)
        return anchor_fail(o,
                           "Error: %s/id is damaged: the store may not be that of %s. If it is, "
                           "write %016" PRIx64 " into that file; or move the folder away to start "
                           "empty.",
                           folder, file, o->out->id);
    snprintf(why, sizeof why, "%s %s", folder,
             known ? "does not belong to its anchor" : "has no anchor");
    rc = anchor_set_aside(o, why);
    return rc < 0 ? rc : anchor_folder_make(o, false);
}

/* ---- making an anchor ---- */

static int anchor_create(struct opening *o)
{
    const struct anchor *a = o->out;
    struct anchor_found content = {.id = a->id};
    char text[TEXT_BYTES], made[ANCHOR_PATH_BYTES], suffix[32];
    memcpy(content.stands_for, o->stands_for, sizeof content.stands_for);
    size_t n = anchor_text(text, &content);
    snprintf(suffix, sizeof suffix, ".new-%016" PRIx64, a->id);
    if (anchor_join(made, a->file, suffix, "") < 0) return anchor_fail_io(o, a->file, "made");
    int rc = anchor_write(made, O_EXCL, text, n);
    if (rc == 0) rc = anchor_rename(made, a->file);
    if (rc < 0) {
        int failure = rc == E_EXISTS ? EEXIST : errno;
        unlink(made);
        errno = failure;
        return anchor_fail_io(o, a->file, "made");
    }
    if (anchor_sync_folder(o->place) < 0) return anchor_fail_io(o, o->place, "written to");
    return 0;
}
