/* Memory is short (HARDENING): publishers wait, so that what they have sent before can go out. Each
 * may send one message now and then, as what it has to acknowledge, which would free memory, lies
 * behind what it publishes.  The shard's thread. */
#include "core/core_int.h"

enum { SOFT_STEP_MS = 1000, HARD_STEP_MS = 10000 };

static void release(struct core *core, bool may_pass)
{
    while (!list_empty(&core->pressure_waiters)) {
        struct cconn *c = CONTAINER_OF(core->pressure_waiters.next, struct cconn, waiting);
        c->may_pass = may_pass;
        conn_resume(c);
    }
}

static uint64_t step_ms(const struct core *core)
{
    return core->pressure == CORE_PRESSURE_HARD ? HARD_STEP_MS : SOFT_STEP_MS;
}

void core_pressure(struct core *core, enum core_pressure level)
{
    if (LIKELY(level == core->pressure)) return;
    core->pressure = level;
    core->pressure_ms = core->now_ms + step_ms(core);
    release(core, false); /* what they wait for may be another answer now */
}

uint64_t pressure_due(const struct core *core)
{
    return list_empty(&core->pressure_waiters) ? UINT64_MAX : core->pressure_ms;
}

void pressure_tick(struct core *core)
{
    if (LIKELY(core->pressure == CORE_PRESSURE_NONE) || core->now_ms < core->pressure_ms) return;
    core->pressure_ms = core->now_ms + step_ms(core);
    release(core, true);
}

bool pressure_holds(struct cconn *c)
{
    bool passes = c->may_pass;
    c->may_pass = false;
    if (!passes) conn_pause_on(c, &c->core->pressure_waiters);
    return !passes;
}
