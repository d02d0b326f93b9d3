/* Interest: each core tells the others which filters it has holders for, so that a publish is
 * mailed only to shards that want it; and fences: a SUBACK goes out when every shard has confirmed
 * that it has read all mail posted before.  The shard's thread. */
#include "core/core_int.h"
#include "core/dead_read.h"
#include "core/mailbox.h"
#include "core/replay.h"
#include "core/retained.h"

enum interest { INTEREST_NONE, INTEREST_LIVE, INTEREST_DURABLE };

struct fence {
    struct fence *next;
    uint32_t token, waiting;
    session_id session; /* whose SUBACK or replay it is; 0: a fence on behalf of another shard */
    uint32_t replay;    /* not a SUBACK, but this one's; 0: none */
    bool of_dead;       /* it is for who reads dead letters */
    uint32_t epoch;
    unsigned for_shard;
    uint32_t for_token;
    uint32_t len;
    uint8_t suback[];
};

static enum interest interest_of(uint32_t locals, uint32_t durables)
{
    return durables ? INTEREST_DURABLE : locals ? INTEREST_LIVE : INTEREST_NONE;
}

void interest_changed(struct core *core, const struct filter *f, struct bytes text,
                      uint32_t locals_before, uint32_t durables_before)
{
    enum interest now = interest_of(f->local_count, f->durable_count);
    if (core->shards == 1 || text.n == 0 || now == interest_of(locals_before, durables_before))
        return;
    for (unsigned dst = 0; dst < core->shards; dst++) {
        uint8_t *d = dst == core->shard ? NULL : mail_begin(core, dst, MAIL_INTEREST, 8 + text.n);
        if (d) mail_end(core, dst, mail_put_bytes(mail_put_u32(d, now), text));
    }
}

static void on_interest(struct core *core, unsigned src, struct rd *r)
{
    uint32_t state = mail_u32(r);
    struct bytes text = mail_bytes(r);
    ASSERT(rd_ok(r));
    struct sub *sub = trie_find(&core->trie, text, src, 0);
    if (state == INTEREST_NONE) {
        if (sub) trie_del(&core->trie, sub);
    } else {
        if (sub == NULL) sub = trie_add(&core->trie, text, SUB_SHARD, src, &core->remote_subs);
        if (sub) {
            trie_set_durable(sub, state == INTEREST_DURABLE);
        } else { /* from now on it gets everything, and looks itself */
            core->stats.dropped_no_memory++;
            core->interest_lost |= (uint64_t)1 << src;
        }
    }
    core->generation++;
}

/* ---- fences ---- */

static void post_done(struct core *core, unsigned shard, uint32_t token)
{
    uint8_t *d = mail_begin(core, shard, MAIL_FENCE_DONE, 4);
    if (d) mail_end(core, shard, mail_put_u32(d, token));
}

static void fence_done(struct core *core, struct fence *f)
{
    struct session *s = core_session(core, f->session);
    if (f->of_dead) {
        dead_serve_arrived(core);
    } else if (f->session == 0) {
        post_done(core, f->for_shard, f->for_token);
    } else if (f->replay) {
        replay_fenced(core, f->session, f->replay);
    } else if (s) {
        struct cconn *c = s->conn;
        if (c && s->epoch == f->epoch && c->state == CONN_UP && conn_may_send(c, f->len)) {
            uint8_t *d = conn_reserve(c, f->len);
            if (d) conn_commit(c, (size_t)(put_mem(d, bytes_of(f->suback, f->len)) - d));
        }
        if (f->suback[0] >> 4 == MQTT_SUBACK) {
            if (c && s->epoch == f->epoch && c->subacks_due && --c->subacks_due == 0 && s->inbox)
                conn_ready(c, CORE_EV_OUTPUT);
            rjobs_start(s);
            replays_start(s);
        }
    }
    mem_free(f);
}

/* What a shard waits for before it answers. */
enum fence_kind {
    FENCE_PLAIN,
    FENCE_DEEP,   /* others that have read its mail, too */
    FENCE_ROUTED, /* what it took has been routed */
};

/* Posts the fence to the shards in mask; without memory or shards it is done at once. */
static void fence_start(struct core *core, struct fence *f, uint64_t mask, enum fence_kind kind,
                        bool routed)
{
    f->token = ++core->next_token;
    f->next = core->fences;
    core->fences = f;
    f->waiting = 1; /* held while posting */
    struct session *s = core_session(core, f->session);
    if (s && s->logged && !f->replay && pending_fence(core, f->token) == 0) f->waiting++;
    if (routed && pending_after_routed(core, f->token) == 0) f->waiting++;
    for (unsigned dst = 0; dst < core->shards; dst++) {
        uint8_t *d = mask >> dst & 1 ? mail_begin(core, dst, MAIL_FENCE, 8) : NULL;
        if (d == NULL) continue;
        mail_end(core, dst, mail_put_u32(mail_put_u32(d, f->token), kind));
        f->waiting++;
    }
    fence_answered(core, f->token);
}

void fence_answered(struct core *core, uint32_t token)
{
    for (struct fence **at = &core->fences; *at; at = &(*at)->next) {
        struct fence *f = *at;
        if (f->token != token) continue;
        if (--f->waiting == 0) {
            *at = f->next;
            fence_done(core, f);
        }
        return;
    }
}

static uint64_t other_shards(const struct core *core)
{
    uint64_t all = core->shards == 64 ? UINT64_MAX : ((uint64_t)1 << core->shards) - 1;
    return all & ~((uint64_t)1 << core->shard);
}

static void reply(struct cconn *c, struct bytes suback, uint64_t shards, bool deep)
{
    struct core *core = c->core;
    struct fence *f = mem_alloc(sizeof *f + suback.n);
    if (f == NULL) {
        conn_end(c, MQTT_SERVER_BUSY, "disconnected: out of memory");
        return;
    }
    *f = (struct fence){
        .session = c->session->id, .epoch = c->session->epoch, .len = (uint32_t)suback.n};
    memcpy(f->suback, suback.p, suback.n);
    c->subacks_due += f->suback[0] >> 4 == MQTT_SUBACK;
    fence_start(core, f, shards, deep ? FENCE_DEEP : FENCE_PLAIN, false);
}

void interest_fence(struct cconn *c, struct bytes suback, bool deep)
{
    const struct core *core = c->core;
    reply(c, suback, other_shards(core) | (deep ? (uint64_t)1 << core->shard : 0), deep);
}

void interest_reply(struct cconn *c, struct bytes unsuback) { reply(c, unsuback, 0, false); }

void interest_fence_routed(struct core *core, session_id session, uint32_t replay)
{
    struct fence *f = mem_alloc(sizeof *f);
    if (f == NULL) {
        core->stats.dropped_no_memory++;
        replay_fenced(core, session, replay);
        return;
    }
    *f = (struct fence){.session = session, .replay = replay};
    fence_start(core, f, other_shards(core), FENCE_ROUTED, true);
}

int interest_fence_dead(struct core *core)
{
    struct fence *f = mem_alloc(sizeof *f);
    if (f == NULL) return E_NOMEM;
    *f = (struct fence){.of_dead = true};
    fence_start(core, f, other_shards(core), FENCE_PLAIN, false);
    return 0;
}

static void on_fence(struct core *core, unsigned src, struct rd *r)
{
    uint32_t token = mail_u32(r);
    uint32_t kind = mail_u32(r);
    ASSERT(rd_ok(r));
    struct fence *f = kind == FENCE_PLAIN ? NULL : mem_alloc(sizeof *f);
    if (f == NULL) { /* what it asked for has arrived; without memory, else, nearly all */
        post_done(core, src, token);
        return;
    }
    *f = (struct fence){.for_shard = src, .for_token = token};
    fence_start(core, f, kind == FENCE_DEEP ? other_shards(core) : 0, FENCE_PLAIN,
                kind == FENCE_ROUTED);
}

void interest_mail_in(struct core *core, unsigned src, unsigned kind, struct rd *r)
{
    if (kind == MAIL_INTEREST)
        on_interest(core, src, r);
    else if (kind == MAIL_FENCE)
        on_fence(core, src, r);
    else
        fence_answered(core, mail_u32(r));
}

void interest_free(struct core *core)
{
    while (core->fences) {
        struct fence *f = core->fences;
        core->fences = f->next;
        mem_free(f);
    }
    while (core->remote_subs) trie_del(&core->trie, core->remote_subs);
}
