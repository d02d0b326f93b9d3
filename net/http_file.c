/* A path is walked one folder at a time, each opened in the one before it and never through a
 * symbolic link: so no path, and nobody who changes the folder meanwhile, leads out of it. */
#include "net/http_file.h"

#include <errno.h>
#include <fcntl.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the path ---- */

static int digit_of(uint8_t c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Without the query; false: too long, or badly encoded. */
static bool decode(struct bytes target, char path[HTTP_PATH_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < target.n && target.p[i] != '?' && target.p[i] != '#'; i++) {
        uint8_t c = target.p[i];
        if (c == '%') {
            if (target.n - i < 3) return false;
            int high = digit_of(target.p[i + 1]), low = digit_of(target.p[i + 2]);
            if (high < 0 || low < 0) return false;
            c = (uint8_t)(high << 4 | low);
            if (c == '/') return false; /* a name with a slash in it: there is none */
            i += 2;
        }
        if (c == 0 || n + 1 == HTTP_PATH_MAX) return false;
        path[n++] = (char)c;
    }
    path[n] = 0;
    return n > 0 && path[0] == '/';
}

static const char *type_of(const char *name)
{
    static const struct {
        const char *end, *type;
    } types[] = {
        {".html", "text/html; charset=utf-8"},
        {".htm", "text/html; charset=utf-8"},
        {".css", "text/css; charset=utf-8"},
        {".js", "text/javascript; charset=utf-8"},
        {".mjs", "text/javascript; charset=utf-8"},
        {".json", "application/json"},
        {".map", "application/json"},
        {".webmanifest", "application/manifest+json"},
        {".wasm", "application/wasm"},
        {".txt", "text/plain; charset=utf-8"},
        {".md", "text/plain; charset=utf-8"},
        {".csv", "text/csv; charset=utf-8"},
        {".xml", "application/xml"},
        {".pdf", "application/pdf"},
        {".svg", "image/svg+xml"},
        {".png", "image/png"},
        {".jpg", "image/jpeg"},
        {".jpeg", "image/jpeg"},
        {".gif", "image/gif"},
        {".webp", "image/webp"},
        {".ico", "image/x-icon"},
        {".woff2", "font/woff2"},
        {".woff", "font/woff"},
    };
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < ARRAY_LEN(types); i++)
        if (strcasecmp(dot, types[i].end) == 0) return types[i].type;
    return "application/octet-stream";
}

/* ---- the file ---- */

static unsigned status_of(int error)
{
    if (error == EMFILE || error == ENFILE || error == ENOMEM) return 503;
    return error == EACCES || error == EPERM ? 403 : 404; /* ELOOP too: a symbolic link */
}

/* From the open folder `at`, which it closes, along path; -1: errno says why. */
static int walk(int at, char *path)
{
    for (char *name = path, *end; at >= 0; name = end + 1) {
        end = strchr(name, '/');
        if (end) *end = 0;
        /* O_NONBLOCK: whoever opens a pipe would wait for who writes it. */
        int how = end ? O_PATH | O_DIRECTORY : O_RDONLY | O_NONBLOCK;
        int next = -1;
        if (*name == 0 || *name == '.')
            errno = ENOENT;
        else
            next = openat(at, name, how | O_NOFOLLOW | O_CLOEXEC);
        int error = errno;
        close(at);
        errno = error;
        at = next;
        if (end == NULL) break;
    }
    return at;
}

unsigned http_file_open(const char *folder, struct bytes target, struct http_file *out)
{
    char path[HTTP_PATH_MAX + sizeof "index.html"];
    struct stat st;
    *out = (struct http_file){.fd = -1};
    if (!decode(target, path)) return 400;
    size_t n = strlen(path);
    if (path[n - 1] == '/') memcpy(path + n, "index.html", sizeof "index.html");
    const char *slash = strrchr(path, '/');
    out->type = type_of(slash + 1); /* looked at before walk() cuts the path up */
    int at = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = at < 0 ? -1 : walk(at, path + 1);
    if (fd < 0) return status_of(errno);
    unsigned status = fstat(fd, &st) < 0           ? 503
                      : S_ISDIR(st.st_mode)        ? 301
                      : !S_ISREG(st.st_mode)       ? 404
                      : st.st_size > HTTP_FILE_MAX ? 403
                                                   : 200;
    if (status != 200) {
        close(fd);
        return status;
    }
    out->fd = fd;
    out->size = (uint64_t)st.st_size;
    return status;
}
