/* Reads configuration files: lines, include_dir, messages.  Names and values are the business of
 * conf_schema.c and conf_value.c.  Nothing is visible to the caller until all of it is right.
 * Main thread. */
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <syslog.h>

#include "base/mem.h"
#include "conf_int.h"
#include "core/acl.h"

static int conf_read_file(struct conf_reader *r, const char *path);
static int conf_read_directory(struct conf_reader *r, const char *path);

static int conf_set_defaults(struct conf_reader *r)
{
    size_t count;
    const struct conf_directive *row = conf_schema(&count);
    int rc = 0;
    r->conf->log_facility = LOG_DAEMON;
    r->conf->log_types = LOG_T_ERROR | LOG_T_WARNING | LOG_T_NOTICE | LOG_T_INFO;
    for (size_t i = 0; i < count && rc == 0; i++) {
        if (row[i].scope == CONF_GENERAL && row[i].status == CONF_SUPPORTED && row[i].initial &&
            row[i].apply != conf_apply_log_type)
            rc = conf_value_set(r, &row[i], r->conf, row[i].initial);
    }
    return rc;
}

static void conf_reader_fini(struct conf_reader *r)
{
    for (size_t i = 0; i < r->draft_count; i++) conf_draft_fini(&r->drafts[i]);
    mem_free(r->drafts);
    conf_draft_fini(&r->fallback);
    conf_draft_fini(&r->general);
    conf_plugins_fini(r);
    mem_free(r->clientid_prefixes);
}

static int conf_read_all(struct conf_reader *r)
{
    r->drafts = mem_calloc(CONF_MAX_LISTENERS, sizeof *r->drafts);
    if (r->drafts == NULL) return E_NOMEM;
    int rc = conf_set_defaults(r);
    if (rc == 0) rc = conf_draft_init(r, &r->general);
    if (rc == 0) rc = conf_draft_init(r, &r->fallback);
    if (rc == 0 && r->args->file) rc = conf_text_set(&r->conf->file, r->args->file);
    if (rc == 0 && r->args->file) rc = conf_read_file(r, r->args->file);
    return rc < 0 ? rc : conf_finish(r);
}

int conf_load(struct conf **out, const struct conf_args *args, char **error,
              void (*warn)(void *ctx, const char *line), void *ctx)
{
    struct conf_reader r = {.args = args, .warn = warn, .warn_ctx = ctx};
    *error = NULL;
    r.conf = mem_calloc(1, sizeof *r.conf);
    if (r.conf == NULL) return E_NOMEM;
    int rc = conf_read_all(&r);
    conf_reader_fini(&r);
    if (rc == 0) {
        ASSERT(r.error == NULL);
        *out = r.conf;
        return 0;
    }
    conf_free(&r.conf);
    *error = r.error ? r.error : conf_format("cannot read the configuration: %s", err_name(rc));
    return rc;
}

void conf_free(struct conf **conf)
{
    struct conf *c = *conf;
    if (c == NULL) return;
    conf_free_acls(c);
    for (size_t i = 0; i < c->listener_count; i++) conf_listener_fini(&c->listeners[i]);
    mem_free(c->listeners);
    for (size_t i = 0; i < c->password_file_count; i++) {
        mem_free(c->password_files[i].path);
        passwords_free(&c->password_files[i].passwords);
    }
    mem_free(c->password_files);
    for (size_t i = 0; i < c->token_count; i++) conf_tokens_fini(&c->tokens[i]);
    mem_free(c->tokens);
    conf_histories_fini(c);
    conf_queues_fini(c);
    conf_filters_fini(c);
    mem_free(c->acls);
    mem_free(c->pid_file);
    mem_free(c->user);
    mem_free(c->persistence_location);
    mem_free(c->persistence_file);
    mem_free(c->log_file);
    mem_free(c->log_timestamp_format);
    mem_free(c->file);
    mem_free(c);
    *conf = NULL;
}

void conf_core_defaults(struct core_config *cfg)
{
    struct conf c = {0};
    struct conf_reader r = {.conf = &c};
    int rc = conf_set_defaults(&r);
    ASSERT(rc == 0); /* the table's own values, and no text among them */
    *cfg = c.core;
}

/* ---- messages ---- */

static char *conf_vformat(const char *fmt, va_list args) PRINTF_LIKE(1, 0);
static char *conf_vformat(const char *fmt, va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    char *text = n < 0 ? NULL : mem_alloc((size_t)n + 1);
    if (text) vsnprintf(text, (size_t)n + 1, fmt, args);
    return text;
}

char *conf_format(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *text = conf_vformat(fmt, args);
    va_end(args);
    return text;
}

/* "FILE:LINE: text", as much of the place as is known; frees text. */
static char *conf_placed(const struct conf_reader *r, char *text)
{
    if (text == NULL || r->file == NULL) return text;
    char *line = r->line ? conf_format("%s:%u: %s", r->file, r->line, text)
                         : conf_format("%s: %s", r->file, text);
    mem_free(text);
    return line;
}

int conf_fail(struct conf_reader *r, int code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    if (r->error == NULL) r->error = conf_placed(r, conf_vformat(fmt, args));
    va_end(args);
    return code;
}

void conf_warn(struct conf_reader *r, const char *fmt, ...)
{
    va_list args;
    if (r->warn == NULL) return;
    va_start(args, fmt);
    char *line = conf_placed(r, conf_vformat(fmt, args));
    va_end(args);
    if (line) r->warn(r->warn_ctx, line);
    mem_free(line);
}

int conf_text_set(char **slot, const char *value)
{
    char *copy = mem_strndup(value, strlen(value));
    if (copy == NULL) return E_NOMEM;
    mem_free(*slot);
    *slot = copy;
    return 0;
}

/* ---- lines ---- */

static int conf_refuse_later(struct conf_reader *r, const struct conf_directive *d,
                             const char *value)
{
    bool on;
    if (d->kind != CONF_BOOL)
        return conf_fail(r, E_INVALID, "'%s' is not supported yet by this version", d->name);
    if (conf_parse_bool(value, &on) < 0)
        return conf_fail(r, E_INVALID, "'%s' cannot be '%s': use true or false", d->name, value);
    if (!on) return 0; /* what this version does anyway */
    return conf_fail(r, E_INVALID, "'%s true' is not supported yet by this version", d->name);
}

static int conf_directive_take(struct conf_reader *r, const char *name, const char *value)
{
    char expected[160];
    const struct conf_directive *d = conf_find(name);
    if (d == NULL) {
        const char *near = conf_nearest(name);
        return near ? conf_fail(r, E_INVALID, "unknown directive '%s': did you mean '%s'?", name,
                                near)
                    : conf_fail(r, E_INVALID, "unknown directive '%s'", name);
    }
    if (d->status == CONF_NOT_YET && (*value || d->kind != CONF_BOOL))
        return conf_refuse_later(r, d, value);
    if (*value == 0) {
        conf_value_expected(d, expected, sizeof expected);
        return conf_fail(r, E_INVALID, "'%s' has no value: use %s", name, expected);
    }
    if (d->status == CONF_IGNORED) {
        conf_warn(r, "'%s' is ignored: %s", name, d->help);
        return 0;
    }
    if (d->scope == CONF_QUEUE && conf_queue_target(r) == NULL)
        return conf_fail(r, E_INVALID, "'%s' belongs to a queue: 'queue NAME' comes first", name);
    if (d->status == CONF_MAPPED) conf_warn(r, "'%s': %s", name, d->help);
    if (strcmp(name, "include_dir") == 0) return conf_read_directory(r, value);
    return conf_value_set(r, d, d->kind == CONF_OWN ? NULL : conf_target(r, d), value);
}

/* line: without its end, closed by a 0, may be written to. */
static int conf_line_take(struct conf_reader *r, char *line, size_t n)
{
    if (n > CONF_MAX_LINE_BYTES)
        return conf_fail(r, E_INVALID, "the line is longer than %d bytes", CONF_MAX_LINE_BYTES);
    if (n == 0 || line[0] == '#') return 0;
    if (!bytes_is_utf8(bytes_of(line, n)))
        return conf_fail(r, E_INVALID, "the line is not text in UTF-8");
    while (n && strchr(" \t\r", line[n - 1])) line[--n] = 0;
    char *name = line + strspn(line, " ");
    if (*name == 0) return 0;
    if (*name == '#')
        return conf_fail(r, E_INVALID, "a comment must begin in the first column of its line");
    char *value = name + strcspn(name, " \t");
    if (*value) *value++ = 0;
    value += strspn(value, " \t");
    return conf_directive_take(r, name, value);
}

static int conf_lines_take(struct conf_reader *r, char *text, size_t n)
{
    if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* some editors' mark of UTF-8 */
        text += 3;
        n -= 3;
    }
    for (char *end = text + n; text < end;) {
        char *stop = memchr(text, '\n', (size_t)(end - text));
        if (stop == NULL) stop = end;
        *stop = 0;
        r->line++;
        int rc = conf_line_take(r, text, (size_t)(stop - text));
        if (rc < 0) return rc;
        text = stop + 1;
    }
    return 0;
}

/* ---- files ---- */

int conf_slurp(struct conf_reader *r, FILE *file, uint32_t most, struct buf *in)
{
    for (;;) {
        uint8_t *at = buf_reserve(in, 16384);
        if (at == NULL) return E_NOMEM;
        size_t n = fread(at, 1, 16383, file);
        buf_commit(in, (uint32_t)n);
        if (ferror(file)) return conf_fail(r, E_IO, "cannot read: %s", strerror(errno));
        if (buf_len(in) > most)
            return conf_fail(r, E_INVALID, "the file is larger than %u bytes", most);
        if (n == 0) return 0;
    }
}

static int conf_read_open(struct conf_reader *r, const char *path)
{
    if (++r->file_count > CONF_MAX_FILES)
        return conf_fail(r, E_INVALID, "more than %d configuration files", CONF_MAX_FILES);
    FILE *file = fopen(path, "re");
    if (file == NULL) return conf_fail(r, E_IO, "cannot open: %s", strerror(errno));
    struct buf in = {0};
    int rc = conf_slurp(r, file, CONF_MAX_FILE_BYTES, &in);
    fclose(file);
    if (rc == 0) rc = conf_lines_take(r, (char *)in.data + in.head, buf_len(&in));
    buf_fini(&in);
    return rc;
}

static int conf_read_file(struct conf_reader *r, const char *path)
{
    const char *file = r->file;
    unsigned line = r->line;
    struct conf_draft *current = r->current;
    r->file = path;
    r->line = 0;
    r->current = NULL;
    int rc = conf_read_open(r, path);
    r->file = file;
    r->line = line;
    r->current = current;
    return rc;
}

struct conf_names {
    char **names;
    size_t count;
};

static int conf_upper(int c) { return c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c; }

/* mosquitto's order: without regard to case, and capitals first where only the case differs. */
static int conf_name_order(const void *left, const void *right)
{
    const char *a = *(char *const *)left, *b = *(char *const *)right;
    for (; *a && *b; a++, b++) {
        int d = conf_upper((unsigned char)*a) - conf_upper((unsigned char)*b);
        if (d == 0) d = (unsigned char)*a - (unsigned char)*b;
        if (d) return d;
    }
    return (*a != 0) - (*b != 0);
}

static int conf_list_directory(struct conf_reader *r, const char *path, struct conf_names *list)
{
    DIR *dir = opendir(path);
    if (dir == NULL)
        return conf_fail(r, E_IO, "cannot open the folder '%s': %s", path, strerror(errno));
    int rc = 0;
    for (struct dirent *e; rc == 0 && (e = readdir(dir)) != NULL;) {
        size_t n = strlen(e->d_name);
        if (n <= 5 || strcmp(e->d_name + n - 5, ".conf") != 0) continue;
        if (list->count == CONF_MAX_FILES) {
            rc = conf_fail(r, E_INVALID, "more than %d files in '%s'", CONF_MAX_FILES, path);
            break;
        }
        char *full = conf_format("%s/%s", path, e->d_name);
        if (full)
            list->names[list->count++] = full;
        else
            rc = E_NOMEM;
    }
    closedir(dir);
    return rc;
}

static int conf_read_directory(struct conf_reader *r, const char *path)
{
    if (r->depth == CONF_MAX_DEPTH)
        return conf_fail(r, E_INVALID, "'include_dir' within 'include_dir', more than %d deep",
                         CONF_MAX_DEPTH);
    struct conf_names list = {.names = mem_calloc(CONF_MAX_FILES, sizeof *list.names)};
    if (list.names == NULL) return E_NOMEM;
    int rc = conf_list_directory(r, path, &list);
    if (list.count) qsort(list.names, list.count, sizeof *list.names, conf_name_order);
    r->depth++;
    for (size_t i = 0; i < list.count && rc == 0; i++) rc = conf_read_file(r, list.names[i]);
    r->depth--;
    for (size_t i = 0; i < list.count; i++) mem_free(list.names[i]);
    mem_free(list.names);
    return rc;
}
