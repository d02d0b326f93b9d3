/* The admin listener of a broker that is built without one (cmake -DSLUICE_WEB=OFF): its
 * configuration is refused, so nothing else here is ever called. */
#include "shell/admin.h"

bool admin_is_built(void) { return false; }

int admin_new(struct admin **out, const struct conf *conf, const struct listeners *ls,
              struct log *log)
{
    (void)conf;
    (void)ls;
    (void)log;
    *out = NULL;
    return 0;
}

int admin_start(struct admin *a, struct shard_set *shards)
{
    (void)shards;
    ASSERT(a == NULL);
    return 0;
}

void admin_free(struct admin **a) { ASSERT(*a == NULL); }

void admin_post(struct admin *a, struct admin_task *t)
{
    (void)t;
    ASSERT(a != NULL);
}

void admin_configure(struct admin *a, const struct conf *conf)
{
    (void)conf;
    ASSERT(a != NULL);
}
