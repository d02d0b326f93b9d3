/* The access list asked for one connection.  Verdicts on short topics are remembered with the topic
 * itself, since a hash may collide and this is about rights; a reload makes them all stale.  The
 * shard's thread. */
#include "core/access.h"

enum { VERDICTS = 32, KEPT_MAX = 60 };

struct verdict {
    uint8_t len;            /* 0: empty */
    uint8_t known, allowed; /* bits of enum acl_access */
    uint8_t topic[KEPT_MAX];
};

struct verdicts {
    uint64_t generation; /* of the list */
    struct verdict slots[VERDICTS];
};

static struct bytes name_of(const char *username)
{
    return username ? bytes_str(username) : (struct bytes){0};
}

static struct acl_client client_of(const struct cconn *c)
{
    const struct session *s = c->session;
    return (struct acl_client){.username = name_of(c->username),
                               .id = bytes_of(s->client_id, s->client_id_len),
                               .mount = bytes_str(c->listener->mount_point)};
}

/* Where a verdict on this topic is or will be; NULL: it is not remembered. */
static struct verdict *verdict_of(struct cconn *c, struct bytes topic, uint64_t hash)
{
    if (topic.n > KEPT_MAX) return NULL;
    if (c->verdicts == NULL) c->verdicts = mem_calloc(1, sizeof *c->verdicts);
    struct verdicts *all = c->verdicts;
    if (all == NULL) return NULL;
    if (all->generation != c->core->acl_generation)
        *all = (struct verdicts){.generation = c->core->acl_generation};
    struct verdict *v = &all->slots[hash % VERDICTS];
    if (v->len == topic.n && memcmp(v->topic, topic.p, topic.n) == 0) return v;
    *v = (struct verdict){.len = (uint8_t)topic.n};
    put_mem(v->topic, topic);
    return v;
}

/* Dead letters are the messages of others: to read them takes the feature, too. */
static bool allows(const struct acl *acl, const struct acl_client *client, struct bytes topic,
                   enum acl_access access)
{
    bool dead = access == ACL_READ && bytes_starts(topic, "$dead/");
    return acl_may(acl, client, topic, access) &&
           (!dead || acl_may_use(acl, client, topic, ACL_DEAD));
}

bool access_may(struct cconn *c, struct bytes topic, uint64_t hash, enum acl_access access)
{
    const struct acl *acl = access_list(c);
    struct acl_client client = client_of(c);
    struct verdict *v = verdict_of(c, topic, hash);
    if (v == NULL) return allows(acl, &client, topic, access);
    if (!(v->known & access)) {
        v->known = (uint8_t)(v->known | access);
        if (allows(acl, &client, topic, access)) v->allowed = (uint8_t)(v->allowed | access);
    }
    return v->allowed & access;
}

bool access_denies_filter(const struct cconn *c, struct bytes filter)
{
    struct acl_client client = client_of(c);
    return acl_denies_filter(access_list(c), &client, filter);
}

bool access_may_use(const struct cconn *c, struct bytes filter, enum acl_feature feature)
{
    const struct acl *acl = access_list(c);
    if (LIKELY(acl == NULL)) return true;
    struct acl_client client = client_of(c);
    return acl_may_use(acl, &client, filter, feature);
}

bool access_may_will(const struct core *core, struct bytes client_id, const struct will *w)
{
    const struct acl *acl = access_list_of(core, w->listener);
    struct acl_client client = {.username = name_of(w->username), .id = client_id};
    return acl == NULL || acl_may(acl, &client, w->topic, ACL_WRITE);
}

bool access_may_retained(const struct core *core, const struct blob *b)
{
    struct msg_from who = msg_publisher(b);
    const struct core_config *cfg = &core->cfg;
    if (!cfg->check_retain_source || who.client_id.n == 0) return true; /* 0: the broker's own */
    struct acl_client client = {.username = who.username, .id = who.client_id};
    for (uint32_t i = 0; i < (cfg->listener_acls ? cfg->listener_count : 1); i++) {
        const struct acl *acl = access_list_of(core, (uint16_t)i);
        if (acl == NULL || acl_may(acl, &client, msg_topic(b), ACL_WRITE)) return true;
    }
    return false;
}

void access_forget(struct cconn *c)
{
    mem_free(c->verdicts);
    c->verdicts = NULL;
}
