/* Topics for answers, see response.h. */
#include "core/response.h"

#include "core/wish.h"

static const char root[] = "$response/";

_Static_assert(sizeof root - 1 + 3 * RESPONSE_ID_MAX + 1 <= RESPONSE_PREFIX_MAX, "it fits");

struct bytes response_prefix(uint8_t out[RESPONSE_PREFIX_MAX], struct bytes client_id)
{
    if (client_id.n > RESPONSE_ID_MAX) return bytes_of(NULL, 0);
    uint8_t *d = put_mem(out, bytes_str(root));
    d = put_u8(wish_encode_level(d, client_id), '/');
    return bytes_of(out, (size_t)(d - out));
}

bool response_may(const struct acl_client *client, struct bytes topic, enum acl_access access)
{
    uint8_t room[RESPONSE_PREFIX_MAX];
    struct bytes mount = client->mount;
    if (topic.n < mount.n || (mount.n && memcmp(topic.p, mount.p, mount.n) != 0)) return false;
    topic = bytes_skip(topic, mount.n);
    if (!bytes_starts(topic, root)) return false;
    if (access == ACL_WRITE) return client->username.p != NULL;
    struct bytes own = response_prefix(room, client->id);
    return access == ACL_READ && own.n && topic.n >= own.n && memcmp(topic.p, own.p, own.n) == 0;
}
