/* Reads the files that `acl_file` names; what their lines mean is core/acl.c's business.  And which
 * list holds for which listener.  Main thread. */
#include <errno.h>
#include <stdio.h>

#include "base/mem.h"
#include "conf_int.h"
#include "core/acl.h"

int conf_read_acl(struct conf_reader *r, const char *path, struct acl **out)
{
    *out = NULL;
    if (path == NULL) return 0;
    r->file = path;
    r->line = 0;
    FILE *file = fopen(path, "re");
    if (file == NULL) return conf_fail(r, E_IO, "cannot open: %s", strerror(errno));
    struct buf in = {0};
    struct acl_error wrong = {0};
    int rc = conf_slurp(r, file, CONF_MAX_ACL_BYTES, &in);
    fclose(file);
    if (rc == 0) rc = acl_new(out, buf_view(&in), &wrong);
    buf_fini(&in);
    r->line = wrong.line;
    if (rc == E_INVALID && wrong.line) return conf_fail(r, rc, "%s", wrong.text);
    if (rc < 0) return rc;
    r->line = 0;
    if (acl_is_empty(*out)) conf_warn(r, "the access list is empty: nobody may do anything");
    r->file = r->args->file;
    return 0;
}

/* With lists of their own: that of the listener that is open as `number`, or one that allows
 * nothing. */
static void put_list(struct conf *c, const struct conf_listener *l)
{
    if (c->acls) c->acls[l->core.number] = l->acl;
}

static int make_lists(struct conf *c, size_t count)
{
    struct acl_error unused;
    mem_free(c->acls);
    acl_free(&c->nothing);
    c->acls = mem_calloc(count, sizeof *c->acls);
    if (c->acls == NULL || acl_new(&c->nothing, bytes_of("", 0), &unused) < 0) return E_NOMEM;
    for (size_t i = 0; i < count; i++) c->acls[i] = c->nothing;
    c->core.listener_acls = c->acls;
    c->core.listener_count = (uint32_t)count;
    return 0;
}

int conf_number_listeners(struct conf *c, const struct conf *first)
{
    int rc = c->per_listener ? make_lists(c, first->listener_count) : 0;
    for (size_t i = 0; rc == 0 && i < first->listener_count; i++) {
        for (size_t j = 0; j < c->listener_count; j++) {
            struct conf_listener *l = &c->listeners[j];
            if (!conf_listener_same_socket(l, &first->listeners[i])) continue;
            l->core.number = (uint16_t)i;
            put_list(c, l);
        }
    }
    return rc;
}

void conf_free_acls(struct conf *c)
{
    acl_free(&c->acl);
    acl_free(&c->nothing);
    for (size_t i = 0; i < c->listener_count; i++) acl_free(&c->listeners[i].acl);
}
