/* sluicectl store check: verifies and describes a data folder that no broker uses.  Changes
 * nothing. One thread. */
#include "ctl.h"

#include "shell/anchor.h"
#include "store/log.h"
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

enum { STORE_LINE_BYTES = 2 * ANCHOR_PATH_BYTES };

struct checking {
    const char *path;               /* as it was given */
    char anchor[ANCHOR_PATH_BYTES]; /* or "" */
    char folder[ANCHOR_PATH_BYTES]; /* or "": nothing to look at */
    struct anchor_found found;      /* of anchor */
    char problem[STORE_LINE_BYTES]; /* the first one, or "" */
    bool json;
    struct json out;
};

static void store_locate(struct checking *c);
static void store_check_id(struct checking *c);
static void store_check_log(struct checking *c);
static void store_line(void *ctx, const char *text);
static void store_problem(struct checking *c, const char *fmt, ...) PRINTF_LIKE(2, 3);

int ctl_store_check(const struct ctl *ctl)
{
    struct checking c = {.path = ctl->operands[0], .json = ctl->json};
    char id[17] = "";
    if (c.json) {
        json_open(&c.out, NULL, '{');
        json_text(&c.out, "path", c.path);
        json_open(&c.out, "lines", '[');
    }
    store_locate(&c);
    if (c.folder[0] && anchor_folder_used(c.folder)) {
        store_problem(&c, "%s is in use: stop the broker first", c.folder);
    } else if (c.folder[0]) {
        store_check_id(&c);
        store_check_log(&c);
    }
    bool well = c.problem[0] == 0;
    if (c.json) {
        if (c.found.state == ANCHOR_OURS) snprintf(id, sizeof id, "%016" PRIx64, c.found.id);
        json_close(&c.out, ']');
        json_text(&c.out, "anchor", c.anchor[0] ? c.anchor : NULL);
        json_text(&c.out, "folder", c.folder[0] ? c.folder : NULL);
        json_text(&c.out, "id", id[0] ? id : NULL);
        json_bool(&c.out, "ok", well);
        json_text(&c.out, "problem", well ? NULL : c.problem);
        json_close(&c.out, '}');
        if (json_print(&c.out) < 0) return ctl_fail(CTL_REFUSED, "the result cannot be written");
    } else if (well) {
        puts("All is well.");
    } else {
        fflush(stdout); /* the lines come before what they amount to */
        (void)ctl_fail(CTL_REFUSED, "%s", c.problem);
    }
    return well ? CTL_DONE : CTL_REFUSED;
}

/* ---- saying ---- */

static void store_line(void *ctx, const char *text)
{
    struct checking *c = ctx;
    if (c->json)
        json_text(&c->out, NULL, text);
    else
        puts(text);
}

static void store_problem(struct checking *c, const char *fmt, ...)
{
    va_list args;
    if (c->problem[0]) return;
    va_start(args, fmt);
    vsnprintf(c->problem, sizeof c->problem, fmt, args);
    va_end(args);
}

/* ---- finding the folder ---- */

/* Puts text and up to one suffix into a path; a problem when that is too long. */
static bool store_path(struct checking *c, char out[ANCHOR_PATH_BYTES], const char *fmt, ...)
    PRINTF_LIKE(3, 4);
static bool store_path(struct checking *c, char out[ANCHOR_PATH_BYTES], const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(out, ANCHOR_PATH_BYTES, fmt, args);
    va_end(args);
    if (n >= 0 && n < ANCHOR_PATH_BYTES) return true;
    out[0] = 0;
    store_problem(c, "%s: %s", c->path, strerror(ENAMETOOLONG));
    return false;
}

/* The file at c->anchor is said to be an anchor: its folder is the one to look at. */
static void store_locate_by_anchor(struct checking *c)
{
    static const char *const what[] = {
        [ANCHOR_NONE] = "is not there",
        [ANCHOR_MOSQUITTO] = "is a database of mosquitto, not a store of sluice",
        [ANCHOR_FOREIGN] = "is not the anchor of a store",
        [ANCHOR_DAMAGED] = "is damaged",
        [ANCHOR_LATER] = "was written by a later version of sluice",
    };
    struct stat s;
    if (anchor_look(c->anchor, &c->found) < 0) {
        store_problem(c, "%s: %s", c->anchor, strerror(errno));
        return;
    }
    if (c->found.state != ANCHOR_OURS) store_problem(c, "%s %s", c->anchor, what[c->found.state]);
    if (c->found.state != ANCHOR_OURS && c->found.state != ANCHOR_DAMAGED) return;
    if (!store_path(c, c->folder, "%s.d", c->anchor) || stat(c->folder, &s) == 0) return;
    store_problem(c, "%s: %s", c->folder, strerror(errno));
    c->folder[0] = 0;
}

static bool store_is_anchor(enum anchor_state state)
{
    return state == ANCHOR_OURS || state == ANCHOR_DAMAGED || state == ANCHOR_LATER;
}

/* Looks among a folder's entries for NAME.d beside an anchor NAME; takes the first as c->anchor and
 * returns how many there are. */
static unsigned store_search(struct checking *c, DIR *dir)
{
    char file[ANCHOR_PATH_BYTES];
    struct anchor_found found;
    unsigned count = 0;
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        size_t n = strlen(e->d_name);
        if (n < 3 || strcmp(e->d_name + n - 2, ".d") != 0) continue;
        if (!store_path(c, file, "%s/%.*s", c->path, (int)(n - 2), e->d_name)) return 0;
        if (anchor_look(file, &found) < 0 || !store_is_anchor(found.state)) continue;
        if (count++ == 0) memcpy(c->anchor, file, sizeof file);
    }
    return count;
}

/* path is a folder: the log's own, or one in which an anchor lies. */
static void store_locate_in_folder(struct checking *c)
{
    struct anchor_found found;
    DIR *dir = opendir(c->path);
    if (dir == NULL) {
        store_problem(c, "%s: %s", c->path, strerror(errno));
        return;
    }
    unsigned count = store_search(c, dir);
    closedir(dir);
    if (count > 1)
        store_problem(c, "%s holds %u stores: name the anchor of one, such as %s", c->path, count,
                      c->anchor);
    if (count == 1) store_locate_by_anchor(c);
    if (count >= 1 || !store_path(c, c->folder, "%s", c->path)) return;
    size_t n = strlen(c->folder);
    while (n > 1 && c->folder[n - 1] == '/') c->folder[--n] = 0;
    if (n < 3 || strcmp(c->folder + n - 2, ".d") != 0) return;
    if (!store_path(c, c->anchor, "%.*s", (int)(n - 2), c->folder)) return;
    if (anchor_look(c->anchor, &found) == 0 && store_is_anchor(found.state))
        store_locate_by_anchor(c);
    else
        c->anchor[0] = 0;
}

static void store_locate(struct checking *c)
{
    struct stat s;
    if (stat(c->path, &s) < 0)
        store_problem(c, "%s: %s", c->path, strerror(errno));
    else if (S_ISDIR(s.st_mode))
        store_locate_in_folder(c);
    else if (store_path(c, c->anchor, "%s", c->path))
        store_locate_by_anchor(c);
}

/* ---- looking ---- */

static void store_check_id(struct checking *c)
{
    char line[STORE_LINE_BYTES + 64];
    uint64_t id;
    snprintf(line, sizeof line, "folder %s", c->folder);
    store_line(c, line);
    int rc = anchor_folder_id(c->folder, &id);
    if (rc == E_IO) store_problem(c, "%s/id: %s", c->folder, strerror(errno));
    if (rc == E_MALFORMED) store_problem(c, "%s/id is damaged", c->folder);
    if (c->found.state != ANCHOR_OURS) {
        if (c->anchor[0] == 0) store_line(c, "anchor: none beside it");
        return;
    }
    snprintf(line, sizeof line, "anchor %s, id %016" PRIx64 "%s%s", c->anchor, c->found.id,
             c->found.stands_for[0] ? ", in place of " : "", c->found.stands_for);
    store_line(c, line);
    if (rc == E_NOTFOUND || (rc == 0 && id != c->found.id))
        store_problem(c,
                      "%s does not belong to its anchor: the next start would set it aside and "
                      "begin empty",
                      c->folder);
}

static void store_check_log(struct checking *c)
{
    int rc = store_log_check(c->folder, store_line, c);
    if (rc == E_NOTFOUND) store_problem(c, "%s holds no store", c->folder);
    if (rc == E_MALFORMED) store_problem(c, "%s is damaged", c->folder);
    if (rc == E_INVALID) store_problem(c, "%s was written by a later version of sluice", c->folder);
    if (rc == E_IO) store_problem(c, "%s cannot be read: %s", c->folder, strerror(errno));
    if (rc < 0) store_problem(c, "%s: %s", c->folder, err_name(rc));
}
