/* sluicectl: what its verbs share.  A verb is one row of the table in main.c and one function; it
 * prints for people, or exactly one JSON value.  One thread. */
#ifndef SRC_CTL_CTL_H
#define SRC_CTL_CTL_H

#include "base/buf.h"
#include "base/err.h"
#include <jansson.h>

/* Exit codes (CONTRACT section 7). */
enum { CTL_DONE = 0, CTL_REFUSED = 1, CTL_USAGE = 2, CTL_UNREACHABLE = 4 };

enum { CTL_SETTINGS_MAX = 96 };

struct ctl_setting { /* of a new queue: a directive without queue_, as the option has it */
    const char *name, *value;
};

struct ctl {
    bool json, dry_run, once;
    const char *url, *socket; /* of the broker; NULL: not said */
    const char *client, *source, *reason, *filter, *limit, *rate, *from, *to; /* likewise */
    struct ctl_setting settings[CTL_SETTINGS_MAX];
    unsigned setting_count;
    const char *const *operands; /* as many as the verb's row says */
    unsigned operand_count;
};

/* Each returns an exit code. */
int ctl_store_check(const struct ctl *ctl);
int ctl_config_check(const struct ctl *ctl);
int ctl_status(const struct ctl *ctl);
int ctl_top(const struct ctl *ctl);
int ctl_clients_list(const struct ctl *ctl);
int ctl_clients_show(const struct ctl *ctl);
int ctl_clients_kick(const struct ctl *ctl);
int ctl_subscriptions(const struct ctl *ctl);
int ctl_retained_list(const struct ctl *ctl);
int ctl_retained_delete(const struct ctl *ctl);
int ctl_queue_list(const struct ctl *ctl);
int ctl_queue_show(const struct ctl *ctl);
int ctl_queue_create(const struct ctl *ctl);
int ctl_queue_purge(const struct ctl *ctl);
int ctl_queue_delete(const struct ctl *ctl);
int ctl_dead_list(const struct ctl *ctl);
int ctl_dead_show(const struct ctl *ctl);
int ctl_dead_redrive(const struct ctl *ctl);
int ctl_dead_purge(const struct ctl *ctl);
int ctl_history_list(const struct ctl *ctl);
int ctl_history_read(const struct ctl *ctl);
/* With options of its own: all words behind the verb. */
int ctl_passwd(unsigned count, char **words);
int ctl_filter(unsigned count, char **words);
int ctl_pub(bool json, unsigned count, char **words);
int ctl_sub(bool json, unsigned count, char **words);
int ctl_filter_bench(const char *filters); /* how many; NULL: a row of sizes */

/* "sluicectl: ..." on stderr; returns code. */
int ctl_fail(int code, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* ---- http.c ---- */

/* Asks the broker: GET, or POST of JSON text.  0: *body is the answer's, the caller's to
 * buf_fini(); else an exit code, and stderr says why. */
MUST_USE int ctl_request(const struct ctl *ctl, const char *path, const char *post,
                         struct buf *body);
/* The same with JSON; post may be NULL and stays the caller's, *out is the caller's to
 * json_decref().
 */
MUST_USE int ctl_request_json(const struct ctl *ctl, const char *path, json_t *post, json_t **out);
/* GET of a list: line() is called with each line of the answer, without its end, as it comes. */
MUST_USE int ctl_request_lines(const struct ctl *ctl, const char *path,
                               void (*line)(void *ctx, struct bytes line), void *ctx);
/* Appends the JSON text, with a 0 behind it.  E_NOMEM. */
MUST_USE int ctl_json_append(struct buf *out, const json_t *json);
/* Appends text, percent-encoded.  E_NOMEM. */
MUST_USE int ctl_escape(struct buf *path, const char *text);

/* ---- broker.c: what the verbs that ask a broker share ---- */

struct ctl_column;
/* Prints the list at path, at most `most` rows of it: as a table, or as one JSON value. */
int ctl_list(const struct ctl *ctl, const char *path, uint64_t most,
             const struct ctl_column *columns, size_t count);
/* path + escaped text, mem_free() it; NULL: no memory. */
char *ctl_path_with(const char *path, const char *text);
/* Appends "?name=text", or "&name=text"; nothing when text is NULL. */
MUST_USE int ctl_query_add(struct buf *path, const char *name, const char *text);
/* POST of body, which it takes; NULL: what was named is no UTF-8. */
int ctl_act(const struct ctl *ctl, const char *path, json_t *body, json_t **answer);
/* A member a line, or JSON; takes it. */
int ctl_print_one(const struct ctl *ctl, json_t *object);
/* The member as a number; 0: it is none. */
long long ctl_number(const json_t *object, const char *name);

/* ---- table.c ---- */

enum { CTL_TABLE_ROWS = 1000, CTL_TABLE_COLUMNS = 16 };

struct ctl_column {
    const char *title, *member;
    bool right; /* numbers */
};

/* Rows are printed a thousand at a time, so that columns are as wide as they need to be. */
struct ctl_table {
    const struct ctl_column *columns;
    size_t column_count, row_count;
    bool begun;
    size_t widths[CTL_TABLE_COLUMNS];
    json_t *rows[CTL_TABLE_ROWS];
};
void ctl_table_row(struct ctl_table *t, json_t *row); /* takes row */
void ctl_table_flush(struct ctl_table *t);            /* the rest, and the head if nothing came */
void ctl_print_text(const char *text);                /* without control characters */
int ctl_print_json(json_t *json);                     /* a line; takes it; an exit code */

/* ---- json.c: writes one value piece by piece, commas included ----
 * name: of a member of an object; NULL in arrays and at the top.  Without memory the rest is left
 * out and json_print() says so. */
struct json {
    struct buf out;
    bool comma, failed;
};

void json_open(struct json *j, const char *name, char bracket);     /* '{' or '[' */
void json_close(struct json *j, char bracket);                      /* '}' or ']' */
void json_text(struct json *j, const char *name, const char *text); /* NULL: null */
void json_bool(struct json *j, const char *name, bool value);
/* Writes it to stdout with a newline, and frees it.  E_NOMEM, E_IO. */
MUST_USE int json_print(struct json *j);
void json_fini(struct json *j);

#endif
