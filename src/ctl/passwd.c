/* sluicectl passwd: mosquitto_passwd's options and file.  The file is written anew beside the old
 * one and put in its place, so that a broker that reloads just then sees one of the two.  One
 * thread. */
#include "ctl.h"

#include "base/mem.h"
#include "shell/auth_password.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

static const char usage[] =
    "Usage: sluicectl passwd [-H KIND] [-I N] [-c] FILE USER\n"
    "       sluicectl passwd [-H KIND] [-I N] [-c] -b FILE USER PASSWORD\n"
    "       sluicectl passwd -D FILE USER\n"
    "       sluicectl passwd [-H KIND] [-I N] -U FILE\n"
    "\n"
    "  -c       make the file; what was in it is gone\n"
    "  -b       the password is in the command line, where others may see it\n"
    "  -D       delete the user\n"
    "  -U       hash the passwords of a file of plain ones; hashes in it stay\n"
    "  -H KIND  sha512-pbkdf2 (the default, which mosquitto 1.6 and later read), argon2id "
    "(mosquitto "
    "2.1),\n"
    "           sha512, or scram-sha-256: for logins by SCRAM as well as by password; "
    "mosquitto\n"
    "           does not read it\n"
    "  -I N     iterations of sha512-pbkdf2, 1 to 1000000, default 1000; of scram-sha-256 from "
    "4096\n"
    "           on, which is its default\n"
    "\n"
    "A broker reads the file again on SIGHUP.\n";

struct passwd {
    bool create, batch, delete, update;
    enum password_kind kind;
    uint32_t iterations; /* 0: not said */
    const char *file, *user, *password;
    bool found;     /* the user, in the file */
    struct buf out; /* the new file */
};

/* ---- the command line ---- */

static int wrong_use(const char *why)
{
    fprintf(stderr, "sluicectl: %s\n\n%s", why, usage);
    return CTL_USAGE;
}

static int take_kind(struct passwd *p, const char *name)
{
    static const char *const names[] = {[PASSWORD_SHA512] = "sha512",
                                        [PASSWORD_PBKDF2] = "sha512-pbkdf2",
                                        [PASSWORD_ARGON2ID] = "argon2id",
                                        [PASSWORD_SCRAM] = "scram-sha-256"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(names[i], name) != 0) continue;
        p->kind = (enum password_kind)i;
        return 0;
    }
    return wrong_use("-H wants sha512-pbkdf2, argon2id, sha512 or scram-sha-256");
}

static int take_iterations(struct passwd *p, const char *text)
{
    char *end;
    long n = strtol(text, &end, 10);
    if (*end || end == text || n < 1 || n > PASSWORD_ITERATIONS_MAX)
        return wrong_use("-I wants a number from 1 to 1000000");
    p->iterations = (uint32_t)n;
    return 0;
}

/* Options stand before the file: a password may begin with '-'.  How many words they are; below 0:
 * wrong, and said so. */
static int take_options(struct passwd *p, unsigned count, char **words)
{
    unsigned i = 0;
    for (; i < count && words[i][0] == '-' && words[i][1]; i++) {
        const char *w = words[i], *value = i + 1 < count ? words[i + 1] : "";
        if (strcmp(w, "--") == 0) return (int)i + 1;
        int rc = 0;
        if (strcmp(w, "-c") == 0)
            p->create = true;
        else if (strcmp(w, "-b") == 0)
            p->batch = true;
        else if (strcmp(w, "-D") == 0)
            p->delete = true;
        else if (strcmp(w, "-U") == 0)
            p->update = true;
        else if (strcmp(w, "-H") == 0)
            rc = take_kind(p, value);
        else if (strcmp(w, "-I") == 0)
            rc = take_iterations(p, value);
        else
            rc = wrong_use("unknown option of passwd");
        if (rc) return -rc;
        i += w[1] == 'H' || w[1] == 'I';
    }
    return (int)i;
}

static int read_command(struct passwd *p, unsigned count, char **words)
{
    int options = take_options(p, count, words);
    if (options < 0) return -options;
    words += options;
    count -= (unsigned)options;
    bool scram = p->kind == PASSWORD_SCRAM;
    if (p->iterations == 0) p->iterations = scram ? SCRAM_ITERATIONS_MIN : PASSWORD_ITERATIONS;
    if (scram && p->iterations < SCRAM_ITERATIONS_MIN)
        return wrong_use("-I wants a number from 4096 to 1000000 with -H scram-sha-256");
    if (p->create + p->delete + p->update > 1 || (p->batch && (p->delete || p->update)))
        return wrong_use("these options do not go together");
    if (count != (p->update ? 1u : p->batch ? 3u : 2u))
        return wrong_use("passwd wants a file, a user unless -U, and a password with -b only");
    p->file = words[0];
    p->user = p->update ? NULL : words[1];
    p->password = p->batch ? words[2] : NULL;
    const char *wrong = p->user && !p->delete ? password_user_wrong(bytes_str(p->user)) : NULL;
    if (wrong) return ctl_fail(CTL_REFUSED, "%s", wrong);
    return 0;
}

/* ---- asking for the password ---- */

static bool read_line(char *out, size_t room)
{
    if (fgets(out, (int)room, stdin) == NULL) return false;
    size_t n = strlen(out);
    if (n && out[n - 1] == '\n') out[--n] = 0;
    return n + 1 < room; /* else it was cut */
}

/* From the terminal without an echo and twice; from a pipe just once. */
static int ask(char *out, char *again, size_t room)
{
    struct termios before, quiet;
    bool terminal = tcgetattr(STDIN_FILENO, &before) == 0;
    bool read;
    if (terminal) {
        quiet = before;
        quiet.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
        fputs("Password: ", stderr);
    }
    read = read_line(out, room);
    if (terminal && read) {
        fputs("\nReenter password: ", stderr);
        read = read_line(again, room);
    }
    if (terminal) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
        fputc('\n', stderr);
    }
    if (!read) return ctl_fail(CTL_REFUSED, "no password was given, or a very long one");
    if (terminal && strcmp(out, again) != 0)
        return ctl_fail(CTL_REFUSED, "the passwords are not the same");
    return 0;
}

/* ---- the file ---- */

static int add(struct passwd *p, struct bytes text) { return buf_append(&p->out, text); }

/* "user:hash\n" */
static int add_user(struct passwd *p, struct bytes user, struct bytes password)
{
    char *hash = NULL;
    if (password.n == 0) return ctl_fail(E_INVALID, "an empty password lets nobody in");
    if (password.n > PASSWORD_MAX) return ctl_fail(E_INVALID, "the password is too long");
    int rc = password_hash(&hash, p->kind, p->iterations, password);
    if (rc == E_INVALID)
        return ctl_fail(rc, "this is no password for SCRAM: it is not text in UTF-8, or holds "
                            "characters that RFC 4013 does not allow");
    if (rc < 0) return ctl_fail(rc, "no hash could be made: %s", err_name(rc));
    rc = add(p, user);
    if (rc == 0) rc = add(p, bytes_str(":"));
    if (rc == 0) rc = add(p, bytes_str(hash));
    if (rc == 0) rc = add(p, bytes_str("\n"));
    mem_free(hash);
    return rc;
}

/* A line of the old file, without its end. */
static int take_line(struct passwd *p, struct bytes line)
{
    char why[PASSWORD_WHY];
    const uint8_t *colon = line.n && *line.p != '#' ? memchr(line.p, ':', line.n) : NULL;
    struct bytes user = bytes_of(line.p, colon ? (size_t)(colon - line.p) : 0);
    struct bytes rest = bytes_skip(line, colon ? user.n + 1 : 0);
    while (rest.n && rest.p[rest.n - 1] == '\r') rest.n--;
    if (colon && p->user && bytes_eq(user, bytes_str(p->user))) {
        bool again = p->found;
        p->found = true;
        return p->delete || again ? 0 : add_user(p, user, bytes_str(p->password));
    }
    if (colon && p->update && !password_hash_ok(rest, why)) return add_user(p, user, rest);
    int rc = add(p, line);
    return rc == 0 ? add(p, bytes_str("\n")) : rc;
}

static int take_lines(struct passwd *p, struct bytes all)
{
    int rc = 0;
    while (rc == 0 && all.n) {
        const uint8_t *end = memchr(all.p, '\n', all.n);
        size_t n = end ? (size_t)(end - all.p) : all.n;
        rc = take_line(p, bytes_of(all.p, n));
        all = bytes_skip(all, min_u64(n + 1, all.n));
    }
    return rc;
}

static int take_old(struct passwd *p)
{
    FILE *f = fopen(p->file, "re");
    if (f == NULL)
        return ctl_fail(E_IO, "%s cannot be read: %s%s", p->file, strerror(errno),
                        errno == ENOENT ? "; -c makes it" : "");
    struct buf in = {0};
    int rc = 0;
    for (size_t n = 1; rc == 0 && n > 0;) {
        uint8_t *d = buf_reserve(&in, 65536);
        n = d ? fread(d, 1, 65536, f) : 0;
        buf_commit(&in, (uint32_t)n);
        if (d == NULL)
            rc = E_NOMEM;
        else if (ferror(f))
            rc = ctl_fail(E_IO, "%s cannot be read: %s", p->file, strerror(errno));
        else if (buf_len(&in) > PASSWORD_FILE_MAX)
            rc = ctl_fail(E_INVALID, "%s is larger than %d bytes", p->file, PASSWORD_FILE_MAX);
    }
    fclose(f);
    if (rc == 0 && buf_len(&in)) rc = take_lines(p, buf_view(&in));
    if (in.data) password_wipe(in.data, in.cap);
    buf_fini(&in);
    return rc;
}

/* Owner and group stay, so that the broker's user may still read it; others never may. */
static bool like_before(int fd, const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0) return fchmod(fd, 0600) == 0;
    if (fchown(fd, st.st_uid, st.st_gid) < 0) return fchmod(fd, 0600) == 0;
    return fchmod(fd, (st.st_mode & 0640) | 0600) == 0;
}

static int fill(const struct passwd *p, int fd, const char *path)
{
    struct bytes left = p->out.data ? buf_view(&p->out) : (struct bytes){0};
    bool good = like_before(fd, path);
    while (good && left.n) {
        ssize_t n = write(fd, left.p, left.n);
        good = n > 0;
        if (good) left = bytes_skip(left, (size_t)n);
    }
    return good && fsync(fd) == 0 ? 0 : E_IO;
}

/* path: not of a link, which would be lost. */
static int put(const struct passwd *p, const char *path)
{
    size_t n = strlen(path) + 8;
    char *beside = mem_alloc(n);
    if (beside == NULL) return E_NOMEM;
    snprintf(beside, n, "%s.XXXXXX", path);
    int fd = mkstemp(beside), rc = fd < 0 ? E_IO : fill(p, fd, path);
    if (fd >= 0) close(fd);
    if (rc == 0 && rename(beside, path) < 0) rc = E_IO;
    if (rc < 0) {
        ctl_fail(rc, "%s cannot be written: %s", path, strerror(errno));
        if (fd >= 0) unlink(beside);
    }
    mem_free(beside);
    return rc;
}

static int change(struct passwd *p)
{
    int rc = p->create ? 0 : take_old(p);
    if (rc == 0 && p->delete &&!p->found)
        return ctl_fail(E_INVALID, "there is no user '%s' in %s", p->user, p->file);
    if (rc == 0 && p->user && !p->found)
        rc = add_user(p, bytes_str(p->user), bytes_str(p->password));
    if (rc < 0) return rc;
    char real[PATH_MAX];
    return put(p, realpath(p->file, real) ? real : p->file);
}

int ctl_passwd(unsigned count, char **words)
{
    static char password[PASSWORD_MAX + 2], again[PASSWORD_MAX + 2];
    struct passwd p = {.kind = PASSWORD_PBKDF2};
    if (count && (strcmp(words[0], "-h") == 0 || strcmp(words[0], "--help") == 0)) {
        fputs(usage, stdout);
        return CTL_DONE;
    }
    int rc = read_command(&p, count, words);
    if (rc) return rc;
    if (p.user && !p.delete &&!p.batch) {
        rc = ask(password, again, sizeof password);
        p.password = password;
    }
    if (rc == 0 && change(&p) < 0) rc = CTL_REFUSED;
    password_wipe(password, sizeof password);
    password_wipe(again, sizeof again);
    buf_fini(&p.out);
    return rc;
}
