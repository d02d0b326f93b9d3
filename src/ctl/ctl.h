/* sluicectl: what its verbs share.  A verb is one row of the table in main.c and one function; it
 * prints for people, or exactly one JSON value.  One thread. */
#ifndef SRC_CTL_CTL_H
#define SRC_CTL_CTL_H

#include "base/buf.h"
#include "base/err.h"

/* Exit codes (CONTRACT section 7). */
enum { CTL_DONE = 0, CTL_REFUSED = 1, CTL_USAGE = 2 };

struct ctl {
    bool json;
    const char *const *operands; /* as many as the verb's row says */
};

/* Each returns an exit code. */
int ctl_store_check(const struct ctl *ctl);
int ctl_config_check(const struct ctl *ctl);
/* With options of its own: all words behind the verb. */
int ctl_passwd(unsigned count, char **words);
int ctl_filter(unsigned count, char **words);
int ctl_filter_bench(const char *filters); /* how many; NULL: a row of sizes */

/* "sluicectl: ..." on stderr; returns code. */
int ctl_fail(int code, const char *fmt, ...) PRINTF_LIKE(2, 3);

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
