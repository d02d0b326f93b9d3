/* Access lists in the grammar and with the meaning of mosquitto's acl_file: who may write and read
 * which topic; and, which mosquitto has not, who may use which of our features.  Compiled from
 * text, immutable from then on: any number of threads may ask. */
#ifndef CORE_ACL_H
#define CORE_ACL_H

#include "base/base.h"
#include "base/bytes.h"
#include "base/err.h"

struct acl;

enum acl_access { ACL_READ = 1, ACL_WRITE = 2 };
enum acl_feature { ACL_FILTER = 4, ACL_REPLAY = 8, ACL_QUEUE = 16, ACL_DEAD = 32 };

struct acl_client {
    struct bytes username; /* p is NULL: anonymous */
    struct bytes id;
    struct bytes mount; /* what its listener puts before all topics; n is 0: nothing */
};

struct acl_error {
    unsigned line;  /* from 1 */
    char text[160]; /* what is wrong, and what would be right */
};

/* text is an ACL file's; it is not kept.  A text without rules is a list that allows nothing.
 * E_INVALID: *error says why; E_NOMEM. */
MUST_USE int acl_new(struct acl **out, struct bytes text, struct acl_error *error);
void acl_free(struct acl **acl);
bool acl_is_empty(const struct acl *acl); /* it has no rule at all */

/* Whether the client may do so with a topic name (as the router knows it: behind a mount point). */
bool acl_may(const struct acl *acl, const struct acl_client *client, struct bytes topic,
             enum acl_access access);
/* Whether a topic filter lies wholly below a `deny` of this client, so that it could never get
 * anything by it. */
bool acl_denies_filter(const struct acl *acl, const struct acl_client *client, struct bytes filter);
/* Whether the client may use a feature on all that this topic filter has; of a queue it is the
 * queue's name.  A feature that the list does not name anywhere is everybody's. */
bool acl_may_use(const struct acl *acl, const struct acl_client *client, struct bytes filter,
                 enum acl_feature feature);

#endif
