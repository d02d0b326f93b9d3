/* Reads the file that `acl_file` names; what its lines mean is core/acl.c's business.  Main thread.
 */
#include <errno.h>
#include <stdio.h>

#include "base/mem.h"
#include "conf_int.h"
#include "core/acl.h"

int conf_read_acl(struct conf_reader *r)
{
    struct conf *c = r->conf;
    if (c->acl_file == NULL) return 0;
    if (r->per_listener)
        return conf_fail(r, E_INVALID,
                         "'acl_file' with 'per_listener_settings true' is not supported yet by "
                         "this version: use one list for all listeners");
    r->file = c->acl_file;
    r->line = 0;
    FILE *file = fopen(c->acl_file, "re");
    if (file == NULL) return conf_fail(r, E_IO, "cannot open: %s", strerror(errno));
    struct buf in = {0};
    struct acl_error wrong = {0};
    int rc = conf_slurp(r, file, CONF_MAX_ACL_BYTES, &in);
    fclose(file);
    if (rc == 0) rc = acl_new(&c->acl, buf_view(&in), &wrong);
    buf_fini(&in);
    r->line = wrong.line;
    if (rc == E_INVALID && wrong.line) return conf_fail(r, rc, "%s", wrong.text);
    if (rc < 0) return rc;
    c->core.acl = c->acl;
    r->line = 0;
    if (acl_is_empty(c->acl)) conf_warn(r, "the access list is empty: nobody may do anything");
    r->file = r->args->file;
    return 0;
}
