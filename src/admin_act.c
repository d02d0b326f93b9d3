/* What the admin listener does to the broker: ends connections, deletes retained messages.  Each is
 * a line in the log.  The admin thread, but for what says that it runs on a shard's. */
#include "admin_int.h"

#include "base/mem.h"

/* ---- kick ---- */

struct kick {
    struct bytes id; /* a view into the call, or into `body` */
    json_t *body;
    int rc;
};

static void kick_fini(struct call *c)
{
    const struct kick *k = c->state;
    json_decref(k->body);
}

static void kick_on_shard(struct call *c, struct shard *s)
{
    struct kick *k = c->state;
    k->rc = core_kick(shard_core(s), k->id);
}

static void kicked(struct call *c)
{
    const struct kick *k = c->state;
    int shown = (int)min_u64(k->id.n, ADMIN_USER_MAX);
    if (k->rc == E_NOTFOUND) {
        call_fail(c, 404, "no-such-client", "there is no client '%.*s'", shown,
                  (const char *)k->id.p);
    } else if (k->rc < 0) {
        call_fail(c, 409, "not-connected", "the client '%.*s' is not connected", shown,
                  (const char *)k->id.p);
    } else {
        log_printf(c->admin->log, LOG_T_NOTICE, "Admin: %s (%s) has disconnected client %.*s.",
                   call_who(c), c->peer, shown, (const char *)k->id.p);
        call_reply_json(
            c, 200, json_pack("{s:s%, s:b}", "id", (const char *)k->id.p, k->id.n, "kicked", 1));
    }
}

static struct kick *kick_new(struct call *c)
{
    struct kick *k = mem_calloc(1, sizeof *k);
    c->state = k;
    c->fini = k ? kick_fini : NULL;
    if (k == NULL) call_fail(c, 503, "no-memory", "there is no memory");
    return k;
}

static void kick(struct call *c)
{
    const struct kick *k = c->state;
    call_ask(c, shards_home(c->admin->shards, k->id), kick_on_shard, kicked);
}

void admin_run_kick(struct call *c)
{
    struct kick *k = kick_new(c);
    if (k == NULL) return;
    k->id = c->target;
    kick(c);
}

void admin_run_kick_named(struct call *c)
{
    struct kick *k = kick_new(c);
    json_t *body = k ? call_body(c) : NULL;
    if (body == NULL) return;
    k->body = body;
    const json_t *id = json_object_get(body, "id");
    if (json_string_length(id) == 0) {
        call_fail(c, 400, "bad-id", "\"id\" is to be a client id");
        return;
    }
    k->id = bytes_of(json_string_value(id), json_string_length(id));
    kick(c);
}

/* ---- retained messages ---- */

struct deletion {
    json_t *body;
    struct bytes filter; /* a view into body */
    bool dry;
    unsigned shard;
    struct core_cursor at;
    uint64_t matched, deleted;
    int rc; /* of the last step */
};

static void deletion_fini(struct call *c)
{
    struct deletion *d = c->state;
    json_decref(d->body);
    buf_fini(&d->at.after);
}

static void delete_on_shard(struct call *c, struct shard *s)
{
    struct deletion *d = c->state;
    d->rc = core_delete_retained(shard_core(s), d->filter, &d->at, ADMIN_DELETES, d->dry,
                                 &d->matched, &d->deleted);
}

static void log_deletion(struct call *c)
{
    const struct deletion *d = c->state;
    if (d->deleted == 0) return;
    log_printf(c->admin->log, LOG_T_NOTICE,
               "Admin: %s (%s) has deleted %llu retained messages of %.*s.", call_who(c), c->peer,
               (unsigned long long)d->deleted, (int)min_u64(d->filter.n, ADMIN_USER_MAX),
               (const char *)d->filter.p);
}

static void step_deleted(struct call *c)
{
    struct deletion *d = c->state;
    if (d->rc == 0) {
        d->shard++;
        d->at.after.head = d->at.after.tail = 0;
    }
    bool stopping = c->admin->stopping;
    if ((d->rc == 0 || d->rc == E_AGAIN) && d->shard < shards_count(c->admin->shards) &&
        !stopping) {
        http_patience(c->admin->http, c->id);
        call_ask(c, d->shard, delete_on_shard, step_deleted);
        return;
    }
    log_deletion(c);
    if (stopping && d->shard < shards_count(c->admin->shards))
        call_fail(c, 503, "stopping", "the broker is being stopped; %llu were deleted",
                  (unsigned long long)d->deleted);
    else if (d->rc < 0)
        call_fail(c, 503, d->rc == E_FULL ? "disk-full" : "no-memory",
                  "the store takes no more; %llu were deleted", (unsigned long long)d->deleted);
    else
        call_reply_json(c, 200,
                        json_pack("{s:I, s:I, s:b}", "matched", (json_int_t)d->matched, "deleted",
                                  (json_int_t)d->deleted, "dry_run", d->dry));
}

void admin_run_retained_delete(struct call *c)
{
    struct deletion *d = mem_calloc(1, sizeof *d);
    c->state = d;
    if (d == NULL) {
        call_fail(c, 503, "no-memory", "there is no memory");
        return;
    }
    c->fini = deletion_fini;
    json_t *body = call_body(c);
    if (body == NULL) return;
    d->body = body;
    const json_t *filter = json_object_get(d->body, "filter"),
                 *dry = json_object_get(d->body, "dry_run");
    d->filter = bytes_of(json_string_value(filter), json_string_length(filter));
    d->dry = json_is_true(dry);
    if (!mqtt_topic_filter_ok(d->filter, c->admin->conf->core.max_topic_levels))
        call_fail(c, 400, "bad-filter", "\"filter\" is to be a topic filter");
    else if (dry && !json_is_boolean(dry))
        call_fail(c, 400, "bad-dry-run", "\"dry_run\" is to be true or false");
    else
        call_ask(c, 0, delete_on_shard, step_deleted);
}
