/* Fuzzes access lists: user name, client id and topic are the first three lines (an empty user is
 * anonymous), the rest is the list.  Whatever it says, the answers must agree with each other. */
#include "base/mem.h"
#include "core/acl.h"
#include "mqtt/topic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct bytes line(struct bytes *rest)
{
    const uint8_t *end = rest->n ? memchr(rest->p, '\n', rest->n) : NULL;
    struct bytes b = bytes_of(rest->p, end ? (size_t)(end - rest->p) : rest->n);
    *rest = bytes_skip(*rest, min_u64(b.n + 1, rest->n));
    return b;
}

/* What a CONNECT or PUBLISH could have: else it is left out. */
static bool is_possible(struct bytes user, struct bytes id, struct bytes topic)
{
    return bytes_is_utf8(user) && bytes_is_utf8(id) &&
           mqtt_topic_filter_ok(topic, MQTT_TOPIC_LEVELS_DEFAULT);
}

static void agree(const struct acl *acl, const struct acl_client *client, struct bytes topic)
{
    /* Who has no rule has what nobody is given a rule for, and a rule covers what is below it. */
    if (acl_is_empty(acl)) ASSERT(acl_may_use(acl, client, topic, ACL_REPLAY));
    (void)acl_may_use(acl, client, topic, ACL_FILTER);
    if (mqtt_topic_has_wildcard(topic)) {
        (void)acl_denies_filter(acl, client, topic);
        return;
    }
    bool may = acl_may(acl, client, topic, ACL_READ) || acl_may(acl, client, topic, ACL_WRITE);
    /* An empty list still lets answers through (core/response.h). */
    ASSERT(!(may && acl_is_empty(acl)) || bytes_starts(topic, "$response/"));
    /* A filter without wildcards is one topic: what is refused to be subscribed cannot be read. */
    if (acl_denies_filter(acl, client, topic)) ASSERT(!acl_may(acl, client, topic, ACL_READ));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes rest = bytes_of(data, size);
    struct bytes user = line(&rest), id = line(&rest), topic = line(&rest);
    if (!is_possible(user, id, topic)) return 0;
    struct acl *acl = NULL;
    struct acl_error error;
    int rc = acl_new(&acl, rest, &error);
    if (rc < 0) {
        ASSERT(rc == E_INVALID && error.line > 0 && error.text[0]);
        return 0;
    }
    struct acl_client client = {.username = user.n ? user : (struct bytes){0}, .id = id};
    agree(acl, &client, topic);
    acl_free(&acl);
    return 0;
}
