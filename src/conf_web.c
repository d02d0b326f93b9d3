/* The directives of listeners for WebSockets.  Main thread. */
#include <ctype.h>
#include <errno.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "conf_int.h"
#include "net/ws_accept.h"

enum { HEADERS_SIZE = 4096 }; /* mosquitto's */

static int value_wrong(struct conf_reader *r, const struct conf_directive *d, const char *value)
{
    return conf_fail(r, E_INVALID, "'%s' cannot be '%s': use %s", d->name, value, d->values);
}

static struct conf_draft *target(struct conf_reader *r, const struct conf_directive *d)
{
    struct conf_draft *draft = conf_target(r, d);
    draft->web_line = r->line;
    draft->web_name = d->name;
    return draft;
}

/* scheme://host or scheme://host:port, as a browser says it: nothing behind. */
static bool is_origin(const char *value)
{
    const char *host = strstr(value, "://");
    if (strcmp(value, "null") == 0) return true; /* a page from a file */
    if (host == NULL || host == value || host[3] == 0 || strlen(value) > WS_ORIGIN_MAX)
        return false;
    for (const char *p = host + 3; *p; p++)
        if (isspace((unsigned char)*p) || strchr("/,?#", *p)) return false;
    return true;
}

int conf_apply_origin(struct conf_reader *r, const struct conf_directive *d, const char *value)
{
    struct conf_draft *draft = target(r, d);
    char **slot = &draft->listener.websockets_origins;
    if (!is_origin(value)) return value_wrong(r, d, value);
    if (draft->origin_count == CONF_MAX_ORIGINS)
        return conf_fail(r, E_INVALID, "too many of '%s': at most %d", d->name, CONF_MAX_ORIGINS);
    char *all = conf_format("%s%s%s", *slot ? *slot : "", *slot ? " " : "", value);
    if (all == NULL) return E_NOMEM;
    mem_free(*slot);
    *slot = all;
    draft->origin_count++;
    return 0;
}

int conf_apply_http_dir(struct conf_reader *r, const struct conf_directive *d, const char *value)
{
    struct stat st;
    struct conf_draft *draft = target(r, d);
    if (stat(value, &st) < 0)
        return conf_fail(r, E_INVALID, "http_dir '%s' cannot be opened: %s", value,
                         strerror(errno));
    if (!S_ISDIR(st.st_mode)) return conf_fail(r, E_INVALID, "http_dir '%s' is no folder", value);
    return conf_text_set(&draft->listener.http_dir, value);
}

int conf_apply_headers_size(struct conf_reader *r, const struct conf_directive *d,
                            const char *value)
{
    int64_t size;
    if (conf_parse_number(value, &size) < 0 || size < 0 || size > UINT16_MAX)
        return value_wrong(r, d, value);
    r->conf->websockets_headers_size = size ? (uint32_t)size : HEADERS_SIZE;
    return 0;
}

int conf_web_finish(struct conf_reader *r, const struct conf_draft *d, struct conf_listener *l)
{
    const char *origins = d->listener.websockets_origins, *folder = d->listener.http_dir;
    int rc = origins ? conf_text_set(&l->websockets_origins, origins) : 0;
    if (rc == 0 && folder) rc = conf_text_set(&l->http_dir, folder);
    if (rc < 0 || d->web_line == 0 || l->websockets) return rc;
    const char *file = r->file; /* mosquitto says nothing of it, so it is no error */
    if (l->file) r->file = l->file;
    r->line = d->web_line;
    conf_warn(r, "'%s' has no effect: its listener has not 'protocol websockets'", d->web_name);
    r->file = file;
    r->line = 0;
    return 0;
}
