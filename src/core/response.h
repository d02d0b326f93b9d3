/* Where answers go (5.0 section 4.10): each client has topics of its own below
 * "$response/<client id>/", which CONNACK tells it as Response Information.  The `$` keeps them
 * from who subscribes to `#`, and from whatever an access list written for mosquitto says of plain
 * topics.  No state; any thread. */
#ifndef CORE_RESPONSE_H
#define CORE_RESPONSE_H

#include "core/acl.h"

/* An id is percent-encoded where it would be more than a level; above that it has no topics. */
enum { RESPONSE_ID_MAX = 1024, RESPONSE_PREFIX_MAX = 11 + 3 * RESPONSE_ID_MAX };

/* "$response/<id>/" in out; empty: the id is too long. */
struct bytes response_prefix(uint8_t out[RESPONSE_PREFIX_MAX], struct bytes client_id);
/* What an access list allows by itself, where nothing in it denies it: a client reads its own
 * topics, and who has a user name may write to anybody's. */
bool response_may(const struct acl_client *client, struct bytes topic, enum acl_access access);

#endif
