/* Writes the reference page of all directives from the schema, so that page and program cannot
 * disagree.  tests/unit/test_conf_doc.c compares it with docs/reference/configuration.md, and
 * writes that file when asked.  Pure; main thread. */
#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"
#include "conf_int.h"

static const char opening[] =
    "# Configuration\n"
    "\n"
    "Made from the broker's own table (`src/conf_schema.c`); do not edit. To make it anew: run\n"
    "`test_conf_doc --write` in the build folder.\n"
    "\n"
    "The file has mosquitto.conf's syntax. One directive a line: its name, a space, and its value "
    "to\n"
    "the end of the line. A line whose first character is `#` is a comment. When a directive "
    "comes\n"
    "twice the last one counts, except where it may be given several times. A name that is not\n"
    "known, or a value that is not right, stops the start with exit code 3 and one line\n"
    "`FILE:LINE: what is wrong`; `sluice --test-config -c FILE` checks without starting.\n"
    "\n"
    "* *Sizes*: bytes, or with `k` `M` `G` (1024, 1024², 1024³).\n"
    "* *Durations*: `500ms` `30s` `15m` `12h` `7d`; a bare number is seconds.\n"
    "* *Belongs to*: `all` the whole broker; `listener` the last `listener` above the line; "
    "`queue`\n"
    "  the last `queue`;\n"
    "  `all*` all listeners, or with `per_listener_settings true` the last one.\n"
    "* *Reload*: `yes` = taken over by SIGHUP; else a restart is needed.\n";

static int conf_print(struct buf *out, const char *fmt, ...) PRINTF_LIKE(2, 3);
static int conf_print(struct buf *out, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    ASSERT(n >= 0 && (size_t)n < sizeof text); /* the table's own texts */
    return buf_append(out, bytes_of(text, (size_t)n));
}

static int conf_document_row(struct buf *out, const struct conf_directive *d)
{
    static const char *const scopes[] = {"all", "listener", "queue", "all*"};
    char values[160];
    conf_value_expected(d, values, sizeof values);
    return conf_print(out, "| `%s` | %s | %s%s%s | %s | %s | %s |\n", d->name, values,
                      d->initial ? "`" : "", d->initial ? d->initial : "", d->initial ? "`" : "",
                      scopes[d->scope], d->reloadable ? "yes" : "", d->help);
}

static bool conf_in_table(const struct conf_directive *d)
{
    return d->status == CONF_SUPPORTED || d->status == CONF_MAPPED;
}

/* The supported directives of the section that begins at row, as a table. */
static int conf_document_table(struct buf *out, const struct conf_directive *row, size_t count)
{
    bool any = false;
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        if (!conf_in_table(&row[i])) continue;
        if (!any)
            rc = conf_print(out, "\n| Directive | Value | Default | Belongs to | Reload | Meaning "
                                 "|\n|---|---|---|---|---|---|\n");
        any = true;
        if (rc == 0) rc = conf_document_row(out, &row[i]);
    }
    return rc;
}

static int conf_document_rest(struct buf *out, const struct conf_directive *row, size_t count)
{
    bool later = false;
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        if (row[i].status == CONF_IGNORED)
            rc = conf_print(out, "\nAccepted and ignored: `%s` – %s.\n", row[i].name, row[i].help);
    }
    for (size_t i = 0; i < count && rc == 0; i++) {
        if (row[i].status != CONF_NOT_YET) continue;
        /* A boolean of this kind may be false: that is what happens anyway. */
        rc =
            conf_print(out, "%s `%s%s`", later ? "," : "\nNot supported yet, refused:", row[i].name,
                       row[i].kind == CONF_BOOL ? " true" : "");
        later = true;
    }
    return rc == 0 && later ? conf_print(out, ".\n") : rc;
}

int conf_document(struct buf *out)
{
    size_t count, from = 0;
    const struct conf_directive *row = conf_schema(&count);
    int rc = buf_append(out, bytes_str(opening));
    while (from < count && rc == 0) {
        size_t to = from + 1;
        while (to < count && row[to].section == NULL) to++;
        rc = conf_print(out, "\n## %s\n", row[from].section);
        if (rc == 0) rc = conf_document_table(out, row + from, to - from);
        if (rc == 0) rc = conf_document_rest(out, row + from, to - from);
        from = to;
    }
    return rc;
}
