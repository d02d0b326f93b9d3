/* What the admin listener does to work queues: makes, empties and ends them.  An answer comes when
 * it is on disk; a long queue is emptied in steps.  The admin thread, but for what says that it
 * runs on a shard's. */
#include "admin_int.h"

#include "base/mem.h"
#include "core/queue_list.h"
#include <stdio.h>

enum {
    PURGED_AT_ONCE = 1000, /* messages in one step */
    NAME_MAX_BYTES = 64,   /* of a directive */
    PAIRS_MAX = QUEUE_TOPICS_MAX + 32,
};

enum queue_verb { QUEUE_CREATE, QUEUE_PURGE, QUEUE_DELETE };

struct queue_act {
    enum queue_verb verb;
    struct bytes name; /* a view into the call or the body; a 0 is behind it */
    json_t *body;
    struct conf_queues conf; /* QUEUE_CREATE */
    char why[WQUEUE_WHY_MAX];
    int rc;
    unsigned owner, told; /* told: the next shard that is to know */
    bool begun, gone;     /* gone: there is nothing more to remove */
    uint32_t left;        /* messages that were there when it began */
    uint64_t purged;
};

static struct queue_act *act_of(struct call *c) { return c->state; }

static void act_fini(struct call *c)
{
    struct queue_act *a = act_of(c);
    conf_queue_free(&a->conf);
    json_decref(a->body);
}

static struct queue_act *act_new(struct call *c, enum queue_verb verb)
{
    struct queue_act *a = mem_calloc(1, sizeof *a);
    c->state = a;
    if (a == NULL) {
        call_fail(c, 503, "no-memory", "there is no memory");
        return NULL;
    }
    c->fini = act_fini;
    a->verb = verb;
    a->name = c->target;
    a->owner = shards_home(c->admin->shards, a->name);
    return a;
}

void admin_no_queue(struct call *c, struct bytes name)
{
    call_fail(c, 404, "no-such-queue", "there is no queue '%.*s'",
              (int)min_u64(name.n, ADMIN_USER_MAX), (const char *)name.p);
}

static void fail_act(struct call *c)
{
    const struct queue_act *a = act_of(c);
    int n = (int)min_u64(a->name.n, ADMIN_USER_MAX);
    const char *name = (const char *)a->name.p;
    switch (a->rc) {
    case E_NOTFOUND: admin_no_queue(c, a->name); break;
    case E_INVALID: call_fail(c, 400, "bad-queue", "%s", a->why); break;
    case E_EXISTS:
        if (a->verb == QUEUE_CREATE)
            call_fail(c, 409, "queue-exists", "there is a queue '%.*s' already", n, name);
        else
            call_fail(c, 409, "queue-configured",
                      "queue '%.*s' is in the configuration: take it out there first", n, name);
        break;
    case E_FULL: call_fail(c, 409, "too-many-queues", "there are too many queues"); break;
    default: call_fail(c, 503, "no-memory", "there is no memory");
    }
}

static void reply_act(struct call *c)
{
    const struct queue_act *a = act_of(c);
    const char *name = (const char *)a->name.p;
    static const char *const done[] = {
        [QUEUE_CREATE] = "made", [QUEUE_PURGE] = "emptied", [QUEUE_DELETE] = "ended"};
    if (!c->kept) {
        call_fail(c, 503, "disk-full", "it is done, but the disk does not take it yet");
        return;
    }
    log_printf(c->admin->log, LOG_T_NOTICE, "Admin: %s (%s) has %s queue %.*s.", call_who(c),
               c->peer, done[a->verb], (int)a->name.n, name);
    json_t *answer =
        a->verb == QUEUE_CREATE ? json_pack("{s:s%, s:b}", "name", name, a->name.n, "created", 1)
        : a->verb == QUEUE_PURGE
            ? json_pack("{s:s%, s:I}", "name", name, a->name.n, "purged", (json_int_t)a->purged)
            : json_pack("{s:s%, s:b, s:I}", "name", name, a->name.n, "deleted", 1, "purged",
                        (json_int_t)a->purged);
    call_reply_json(c, 200, answer);
}

/* ---- the other shards ---- */

static void nothing_on_shard(struct call *c, struct shard *s)
{
    (void)c;
    (void)s;
}

/* Who publishes by whatever shard reaches the new queue, or the old one no more: each shard has
 * taken the owner's mail when it answers. */
static void tell_next(struct call *c)
{
    struct queue_act *a = act_of(c);
    a->told += a->told == a->owner;
    if (c->kept && a->told < shards_count(c->admin->shards))
        call_ask_safe(c, a->told++, nothing_on_shard, tell_next);
    else
        reply_act(c);
}

/* ---- create ---- */

static void create_on_shard(struct call *c, struct shard *s)
{
    struct queue_act *a = act_of(c);
    a->rc = wqueue_create(shard_core(s), a->conf.queue, a->why);
}

static void created(struct call *c)
{
    if (act_of(c)->rc < 0)
        fail_act(c);
    else
        tell_next(c);
}

/* What a member says, as a directive has it.  False: it is nothing of the kind. */
static bool text_of(const json_t *v, char text[static NAME_MAX_BYTES], const char **out)
{
    *out = text;
    if (json_is_string(v) && strlen(json_string_value(v)) == json_string_length(v))
        *out = json_string_value(v);
    else if (json_is_integer(v))
        snprintf(text, NAME_MAX_BYTES, "%lld", (long long)json_integer_value(v));
    else if (json_is_boolean(v))
        snprintf(text, NAME_MAX_BYTES, "%s", json_is_true(v) ? "true" : "false");
    else
        return false;
    return true;
}

struct pairs {
    struct conf_pair all[PAIRS_MAX];
    size_t count;
    char names[PAIRS_MAX][NAME_MAX_BYTES], texts[PAIRS_MAX][NAME_MAX_BYTES];
};

static bool pair_add(struct pairs *p, const char *name, const json_t *value)
{
    if (p->count == PAIRS_MAX) return false;
    const char *text;
    size_t i = p->count;
    if (!text_of(value, p->texts[i], &text)) return false;
    snprintf(p->names[i], NAME_MAX_BYTES, "queue_%s", name);
    p->all[p->count++] = (struct conf_pair){p->names[i], text};
    return true;
}

/* The name of what cannot be understood; NULL: nothing. */
static const char *pairs_read(struct pairs *p, const struct queue_act *a)
{
    const char *key;
    const json_t *value;
    size_t i;
    p->all[p->count++] = (struct conf_pair){"queue", (const char *)a->name.p};
    json_object_foreach(a->body, key, value)
    {
        const json_t *topic;
        if (strcmp(key, "name") == 0) continue;
        if (strcmp(key, "topics") != 0) {
            if (strlen(key) > NAME_MAX_BYTES / 2 || !pair_add(p, key, value)) return key;
            continue;
        }
        if (!json_is_array(value)) return key;
        json_array_foreach((json_t *)(uintptr_t)value, i,
                           topic) if (!json_is_string(topic) ||
                                      !pair_add(p, "topic", topic)) return key;
    }
    return NULL;
}

static void create(struct call *c)
{
    struct queue_act *a = act_of(c);
    struct pairs *p = mem_calloc(1, sizeof *p);
    if (p == NULL) {
        call_fail(c, 503, "no-memory", "there is no memory");
        return;
    }
    char *error = NULL;
    const char *bad = pairs_read(p, a);
    if (bad) snprintf(a->why, sizeof a->why, "\"%.60s\" cannot be understood", bad);
    a->rc = bad ? E_INVALID : conf_queue_read(&a->conf, p->all, p->count, &error);
    if (error) snprintf(a->why, sizeof a->why, "%s", error);
    mem_free(error);
    mem_free(p);
    if (a->rc < 0)
        fail_act(c);
    else
        call_ask_safe(c, a->owner, create_on_shard, created);
}

void admin_run_queue_create(struct call *c)
{
    struct queue_act *a = act_new(c, QUEUE_CREATE);
    if (a == NULL) return;
    json_t *body = call_body(c);
    if (body == NULL) return;
    a->body = body;
    create(c);
}

void admin_run_queue_create_named(struct call *c)
{
    struct queue_act *a = act_new(c, QUEUE_CREATE);
    if (a == NULL) return;
    json_t *body = call_body(c);
    if (body == NULL) return;
    a->body = body;
    const json_t *name = json_object_get(body, "name");
    a->name = bytes_of(json_string_value(name), json_string_length(name));
    if (a->name.n == 0) {
        call_fail(c, 400, "bad-queue", "\"name\" is to be the queue's name");
        return;
    }
    a->owner = shards_home(c->admin->shards, a->name);
    create(c);
}

/* ---- purge and delete ---- */

static void remove_on_shard(struct call *c, struct shard *s)
{
    struct queue_act *a = act_of(c);
    struct core *core = shard_core(s);
    struct wqueue_info info;
    uint32_t done = 0;
    if (!a->begun) {
        a->rc = wqueue_show(core, a->name, &info); /* E_AGAIN: of its age, which is not needed */
        if (a->rc == E_NOTFOUND) return;
        a->rc = a->verb == QUEUE_DELETE && info.configured ? E_EXISTS : 0;
        if (a->rc < 0) return;
        a->begun = true;
        a->left = info.depth;
    }
    a->rc = wqueue_purge(core, a->name, (uint32_t)min_u64(a->left, PURGED_AT_ONCE), &done);
    a->purged += done;
    a->left -= done;
    a->gone = a->rc == 0 || a->left == 0;
    if (a->rc == E_AGAIN) a->rc = 0;
    if (a->rc == 0 && a->gone && a->verb == QUEUE_DELETE) a->rc = wqueue_delete(core, a->name);
}

static void removed(struct call *c)
{
    const struct queue_act *a = act_of(c);
    if (a->rc < 0) {
        fail_act(c);
    } else if (!a->gone && c->admin->stopping) {
        call_fail(c, 503, "stopping", "the broker is being stopped; %llu messages were removed",
                  (unsigned long long)a->purged);
    } else if (!a->gone && c->kept) {
        http_patience(c->admin->http, c->id);
        call_ask_safe(c, a->owner, remove_on_shard, removed);
    } else if (a->verb == QUEUE_DELETE) {
        tell_next(c);
    } else {
        reply_act(c);
    }
}

static void run_remove(struct call *c, enum queue_verb verb)
{
    const struct queue_act *a = act_new(c, verb);
    if (a) call_ask_safe(c, a->owner, remove_on_shard, removed);
}

void admin_run_queue_purge(struct call *c) { run_remove(c, QUEUE_PURGE); }
void admin_run_queue_delete(struct call *c) { run_remove(c, QUEUE_DELETE); }
