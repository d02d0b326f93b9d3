/* Why a message became a dead letter (CONTRACT section 6). */
#ifndef CORE_DEAD_REASON_H
#define CORE_DEAD_REASON_H

#include "base/base.h"

enum dead_reason {
    DEAD_NONE,
    DEAD_ATTEMPTS,
    DEAD_REJECTED,
    DEAD_EXPIRED,
    DEAD_OVERFLOW,
    DEAD_TOO_LARGE,
    DEAD_SESSION_EXPIRED,
    DEAD_REASONS
};
_Static_assert(DEAD_REASONS <= 8, "core_config and wqueue_counts have room for 8");

const char *dead_reason_name(enum dead_reason reason); /* as topics and directives have it */

#endif
