/* Two leaky buckets a connection, for messages and for bytes, as "virtual scheduling" (the generic
 * cell rate algorithm): `full_ns` is when the bucket is empty again if nothing more comes.  A
 * second's worth may come at once.  Owns what it has made for a connection.  The shard's thread.
 *
 *        now                          full_ns
 *   ------|------ burst: 1 s -------|----|-----> time
 *                                   `----' the pause
 */
#include "core/rate.h"

enum { MS = 1000000, SECOND = 1000 * MS, BURST = SECOND }; /* nanoseconds */

struct rate {
    struct timer timer;
    struct cconn *conn;
    uint64_t messages_full_ns, bytes_full_ns;
    bool logged;
};

static void rate_fired(struct timer *t, void *ctx)
{
    struct cconn *c = CONTAINER_OF(t, struct rate, timer)->conn;
    (void)ctx;
    c->paused_by_rate = false;
    if (c->waiting.next == NULL) conn_resume(c);
}

static struct rate *rate_of(struct cconn *c)
{
    if (c->rate) return c->rate;
    c->rate = mem_calloc(1, sizeof *c->rate);
    if (c->rate) *c->rate = (struct rate){.timer = {.fire = rate_fired}, .conn = c};
    return c->rate;
}

/* How long the bucket is too full, with so much more in it. */
static uint64_t fill(uint64_t *full_ns, uint64_t now_ns, uint64_t amount, uint32_t a_second)
{
    if (a_second == 0) return 0;
    *full_ns = max_u64(*full_ns, now_ns) + amount * SECOND / a_second;
    return *full_ns - min_u64(*full_ns, now_ns + BURST);
}

void rate_charge(struct cconn *c, bool publish, size_t bytes)
{
    struct core *core = c->core;
    struct rate *r = rate_of(c);
    if (r == NULL) return; /* it goes on unhindered: that takes no memory */
    uint64_t now_ns = core->now_ms * MS;
    uint64_t wait_ns =
        fill(&r->messages_full_ns, now_ns, publish ? 1 : 0, core->cfg.max_publish_rate);
    wait_ns = max_u64(wait_ns, fill(&r->bytes_full_ns, now_ns, bytes, core->cfg.max_receive_rate));
    if (wait_ns == 0 || c->paused_by_rate || c->state != CONN_UP) return;
    c->paused_by_rate = c->paused = true;
    core->stats.rate_pauses++;
    timer_arm(&core->timers, &r->timer, core->now_ms + (wait_ns + MS - 1) / MS);
    if (r->logged) return;
    r->logged = true;
    core_log(core, LOG_T_NOTICE, "Client %s sends faster than %s: it is read more slowly.",
             c->session->client_id,
             r->messages_full_ns > now_ns + BURST ? "max_publish_rate" : "max_receive_rate");
}

void rate_forget(struct cconn *c)
{
    if (c->rate) timer_cancel(&c->core->timers, &c->rate->timer);
    mem_free(c->rate);
    c->rate = NULL;
}
