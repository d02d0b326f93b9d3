/* What the admin listener does to dead letters: sends them again, or throws them away, in steps, as
 * fast as is wished; an answer comes when it is on disk.  Who is gone before has stopped it.  The
 * admin thread, but for what says that it runs on a shard's. */
#include "admin_dead.h"

#include "base/clock.h"
#include "base/mem.h"

enum {
    SWEPT_AT_ONCE = 100, /* letters in one step */
    STEPS_A_SECOND = 20, /* with a rate */
    RATE_MAX = 1000000,
    RETRY_MS = 5,
};

struct dead_act {
    enum dead_verb verb; /* what was asked for; a dry run's sweep counts */
    json_t *body;
    struct dead_sweep sweep;
    uint64_t limit, rate; /* 0: none; rate: letters a second */
    uint64_t began_ms;
    bool dry, begun, said;
    char why[DEAD_WHY_MAX];
    int rc;
};

static struct dead_act *act_of(struct call *c) { return c->state; }

static const char *what_of(const struct dead_act *a)
{
    return a->verb == DEAD_PURGE ? "thrown away" : "sent again";
}

static void say(struct call *c)
{
    struct dead_act *a = act_of(c);
    if (a->said || a->sweep.done == 0) return;
    a->said = true;
    log_printf(c->admin->log, LOG_T_NOTICE, "Admin: %s (%s) has %s %llu dead letters.", call_who(c),
               c->peer, what_of(a), (unsigned long long)a->sweep.done);
}

static void act_fini(struct call *c)
{
    say(c); /* of one that was broken off */
    json_decref(act_of(c)->body);
}

/* ---- steps ---- */

static unsigned step_of(const struct dead_act *a)
{
    uint64_t most = SWEPT_AT_ONCE;
    if (a->rate) most = min_u64(most, max_u64(a->rate / STEPS_A_SECOND, 1));
    if (a->limit) most = min_u64(most, a->limit - a->sweep.matched);
    return (unsigned)most;
}

static void sweep_on_shard(struct call *c, struct shard *s)
{
    struct dead_act *a = act_of(c);
    struct core *core = shard_core(s);
    if (!a->begun) a->sweep.until = dead_last(core); /* not what dies again meanwhile */
    a->begun = true;
    a->rc = dead_sweep(core, &a->sweep, step_of(a), a->why);
}

static void nothing_on_shard(struct call *c, struct shard *s)
{
    (void)c;
    (void)s;
}

static void reply_one(struct call *c)
{
    const struct dead_act *a = act_of(c);
    if (a->sweep.matched == 0)
        admin_no_letter(c);
    else if (a->sweep.ownerless)
        call_fail(c, 409, "no-such-queue", "its queue is no more");
    else if (a->sweep.tired)
        call_fail(c, 409, "redriven-too-often", "it has been sent again as often as may be");
    else if (a->sweep.lost)
        call_fail(c, 409, "lost", "it cannot be read or sent");
    else
        call_reply_json(c, 200,
                        json_pack("{s:I, s:b}", "seq", (json_int_t)a->sweep.order.seq,
                                  a->verb == DEAD_PURGE ? "purged" : "redriven", 1));
}

static void reply_act(struct call *c)
{
    const struct dead_act *a = act_of(c);
    const struct dead_sweep *s = &a->sweep;
    unsigned long long done = s->done, left = s->matched - s->done;
    bool purges = a->verb == DEAD_PURGE;
    say(c);
    if (left && !a->dry)
        log_printf(c->admin->log, LOG_T_WARNING,
                   "Admin: %llu dead letters were not sent again: of %llu the queue is no more, "
                   "%llu have been sent too often, %llu cannot be read or sent.",
                   left, (unsigned long long)s->ownerless, (unsigned long long)s->tired,
                   (unsigned long long)s->lost);
    if (!c->kept && done)
        call_fail(c, 503, "disk-full", "it is done, but the disk does not take it yet");
    else if (s->order.seq)
        reply_one(c);
    else
        call_reply_json(c, 200,
                        json_pack("{s:I, s:I, s:b}", "matched", (json_int_t)s->matched,
                                  purges ? "purged" : "redriven", (json_int_t)done, "dry_run",
                                  a->dry));
}

static void step(struct call *c);

/* How long until so many may be done. */
static unsigned pause_of(const struct dead_act *a)
{
    if (a->rate == 0) return 0;
    uint64_t now = clock_mono_ms(), due = a->began_ms + a->sweep.done * 1000 / a->rate;
    return due > now ? (unsigned)min_u64(due - now, 1000) : 0;
}

static void stepped(struct call *c)
{
    struct dead_act *a = act_of(c);
    const struct dead_sweep *s = &a->sweep;
    unsigned long long done = s->done;
    bool over = a->rc == DEAD_OVER || (a->limit && s->matched == a->limit);
    unsigned pause = a->rc == E_AGAIN ? RETRY_MS : pause_of(a);
    if (a->rc == E_INVALID) {
        call_fail(c, 400, "bad-filter", "%s", a->why);
    } else if (a->rc < 0 && a->rc != E_AGAIN) {
        call_fail(c, 503, a->rc == E_FULL ? "disk-full" : "no-memory",
                  "the store takes no more; %llu were %s", done, what_of(a));
    } else if (over) {
        call_ask_safe(c, 0, nothing_on_shard, reply_act);
    } else if (c->admin->stopping) {
        call_fail(c, 503, "stopping", "the broker is being stopped; %llu were %s", done,
                  what_of(a));
    } else if (pause) {
        call_later(c, pause, step);
    } else {
        http_patience(c->admin->http, c->id);
        step(c);
    }
}

static void step(struct call *c) { call_ask(c, 0, sweep_on_shard, stepped); }

/* ---- what is asked for ---- */

static bool read_text(const json_t *v, struct bytes *out)
{
    *out = bytes_of(json_string_value(v), json_string_length(v));
    return out->n > 0;
}

static bool read_count(const json_t *v, uint64_t most, uint64_t *out)
{
    json_int_t n = json_integer_value(v);
    *out = (uint64_t)n;
    return json_is_integer(v) && n > 0 && (uint64_t)n <= most;
}

/* One member; what is wrong with it, or NULL.  An unknown one is not passed over: it may have been
 * meant to narrow down what is thrown away. */
static const char *read_member(struct dead_act *a, const char *name, const json_t *v)
{
    struct dead_order *o = &a->sweep.order;
    if (strcmp(name, "source") == 0) return read_text(v, &o->source) ? NULL : "to be a text";
    if (strcmp(name, "filter") == 0) return read_text(v, &o->filter) ? NULL : "to be a filter";
    if (strcmp(name, "reason") == 0)
        return read_text(v, &o->reason) && dead_reason_ok(o->reason) ? NULL : DEAD_REASONS_ARE;
    if (strcmp(name, "limit") == 0)
        return read_count(v, INT64_MAX, &a->limit) ? NULL : "to be a number, at least 1";
    if (strcmp(name, "rate") == 0)
        return read_count(v, RATE_MAX, &a->rate) ? NULL : "to be 1 to 1000000 a second";
    if (strcmp(name, "dry_run") != 0) return "not known";
    a->dry = json_is_true(v);
    return json_is_boolean(v) ? NULL : "to be true or false";
}

static struct dead_act *act_new(struct call *c, enum dead_verb verb)
{
    struct dead_act *a = mem_calloc(1, sizeof *a);
    c->state = a;
    if (a == NULL) {
        call_fail(c, 503, "no-memory", "there is no memory");
        return NULL;
    }
    c->fini = act_fini;
    a->verb = a->sweep.verb = verb;
    a->began_ms = clock_mono_ms();
    return a;
}

static void run_many(struct call *c, enum dead_verb verb)
{
    struct dead_act *a = act_new(c, verb);
    if (a == NULL) return;
    json_t *body = call_body(c), *v;
    const char *name;
    if (body == NULL) return;
    a->body = body;
    json_object_foreach(body, name, v)
    {
        const char *wrong = read_member(a, name, v);
        if (wrong == NULL) continue;
        call_fail(c, 400, "bad-order", "\"%.60s\" is %s", name, wrong);
        return;
    }
    if (a->dry) a->sweep.verb = DEAD_COUNT;
    step(c);
}

static void run_one(struct call *c, enum dead_verb verb)
{
    struct dead_act *a = act_new(c, verb);
    if (a && admin_letter_seq(c, &a->sweep.order.seq)) step(c);
}

void admin_run_dead_redrive(struct call *c) { run_many(c, DEAD_REDRIVE); }
void admin_run_dead_purge(struct call *c) { run_many(c, DEAD_PURGE); }
void admin_run_letter_redrive(struct call *c) { run_one(c, DEAD_REDRIVE); }
void admin_run_letter_purge(struct call *c) { run_one(c, DEAD_PURGE); }
