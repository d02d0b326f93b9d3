/* Requests of the admin listener from their headers to their answer: who may ask, and which route
 * answers.  Owns the open calls.  The admin thread, but for check_login(). */
#include "admin_int.h"

#include "auth_password.h"
#include "auth_token.h"
#include "base/clock.h"
#include "base/mem.h"
#include "core/acl.h"
#include "net/address.h"
#include "peers.h"
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum { LOGIN_TIMEOUT_MS = 10 * 1000, DETAIL_MAX = 512, MACHINE_MAX = 256 };

/* ---- answers ---- */

void call_free(struct call *c)
{
    ASSERT(!c->away);
    list_del(&c->link);
    if (c->fini) c->fini(c);
    mem_free(c->state);
    if (c->text.data) password_wipe(c->text.data, c->text.tail);
    buf_fini(&c->text);
    mem_free(c);
}

void call_reply_with(struct call *c, unsigned status, const char *type, struct http_field field,
                     struct bytes body)
{
    struct http_head head = {.status = status, .content_type = type};
    head.fields[0] = field;
    if (!c->gone) http_answer(c->admin->http, c->id, &head, body);
    call_free(c);
}

void call_reply(struct call *c, unsigned status, const char *type, struct bytes body)
{
    call_reply_with(c, status, type, (struct http_field){0}, body);
}

static int put_json(const char *text, size_t n, void *out)
{
    return buf_append(out, bytes_of(text, n)) < 0 ? -1 : 0;
}

int admin_json_append(struct buf *out, const json_t *json)
{
    return json_dump_callback(json, put_json, out, JSON_COMPACT) == 0 ? 0 : E_NOMEM;
}

void call_reply_json(struct call *c, unsigned status, json_t *json)
{
    struct buf out = {0};
    bool ok = json && admin_json_append(&out, json) == 0 && buf_append(&out, bytes_str("\n")) == 0;
    json_decref(json);
    if (ok)
        call_reply(c, status, "application/json", buf_view(&out));
    else
        call_reply(c, 503, "application/json",
                   bytes_str("{\"error\":\"no-memory\",\"detail\":\"there is no memory\"}\n"));
    buf_fini(&out);
}

static json_t *failure(const char *error, const char *detail)
{
    return json_pack("{s:s, s:s}", "error", error, "detail", detail);
}

void call_fail(struct call *c, unsigned status, const char *error, const char *fmt, ...)
{
    char detail[DETAIL_MAX];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(detail, sizeof detail, fmt, args);
    va_end(args);
    /* What was cut in the middle of a character is no JSON. */
    while (n > 0 && !bytes_is_utf8(bytes_str(detail))) detail[strlen(detail) - 1] = 0;
    call_reply_json(c, status, failure(error, detail));
}

/* detail: short, a constant. */
static void call_fail_with(struct call *c, unsigned status, const char *error, const char *detail,
                           struct http_field field)
{
    json_t *json = failure(error, detail);
    char text[DETAIL_MAX] = "";
    size_t n = json ? json_dumpb(json, text, sizeof text - 1, JSON_COMPACT) : 0;
    json_decref(json);
    text[n++] = '\n';
    call_reply_with(c, status, "application/json", field, bytes_of(text, n));
}

void call_stream(struct call *c, const char *type, void (*wanted)(struct call *c))
{
    struct http_head head = {.status = 200, .content_type = type};
    c->wanted = wanted;
    http_begin(c->admin->http, c->id, &head);
}

void call_piece(struct call *c, struct bytes piece, bool last)
{
    last |= c->method == HTTP_HEAD; /* all there is to say was in the head */
    http_piece(c->admin->http, c->id, piece, last);
    if (last) call_free(c);
}

void call_abort(struct call *c)
{
    http_abort(c->admin->http, c->id);
    call_free(c);
}

json_t *call_body(struct call *c)
{
    json_error_t error;
    if (!guard_json_depth(c->body)) {
        call_fail(c, 400, "bad-json", "the body is nested deeper than %d", ADMIN_JSON_DEPTH);
        return NULL;
    }
    json_t *json = json_loadb((const char *)c->body.p, c->body.n, JSON_REJECT_DUPLICATES, &error);
    if (json_is_object(json)) return json;
    if (json)
        call_fail(c, 400, "bad-json", "the body is to be a JSON object");
    else
        call_fail(c, 400, "bad-json", "the body is no JSON: line %d, column %d: %s", error.line,
                  error.column, error.text);
    json_decref(json);
    return NULL;
}

const char *call_who(const struct call *c)
{
    return c->user.n ? (const char *)c->user.p : "anonymous"; /* a 0 is behind it */
}

/* ---- who may ---- */

static void refuse(struct call *c, unsigned status, const char *error, const char *detail)
{
    c->admin->counts.refused++;
    if (status == 401)
        call_fail_with(
            c, status, error, detail,
            (struct http_field){"www-authenticate:", "Basic realm=\"sluice\", charset=\"UTF-8\""});
    else
        call_fail(c, status, error, "%s", detail);
}

/* An access list speaks of topics, so each thing that can be asked for has one (HARDENING 5). */
static bool list_lets(const struct call *c)
{
    char topic[80];
    const struct core_config *core = &c->admin->conf->core;
    const struct acl *acl =
        core->listener_acls ? core->listener_acls[c->listener->core.number] : core->acl;
    if (acl == NULL || c->route->resource == NULL) return true;
    int n = snprintf(topic, sizeof topic, "$CONTROL/sluice/%s", c->route->resource);
    struct acl_client client = {.username = c->user};
    return acl_may(acl, &client, bytes_of(topic, (size_t)n),
                   c->method == HTTP_POST ? ACL_WRITE : ACL_READ);
}

static void go(struct call *c)
{
    if (list_lets(c)) {
        c->route->run(c);
        return;
    }
    c->admin->counts.refused++;
    call_fail(c, 403, "denied", "the access list does not let %s %s $CONTROL/sluice/%s",
              call_who(c), c->method == HTTP_POST ? "write" : "read", c->route->resource);
}

/* A thread of the pool, which has the call meanwhile. */
static enum auth_verdict check_login(struct auth_job *job)
{
    struct call *c = CONTAINER_OF(job, struct call, job);
    const struct passwords *passwords = c->listener->passwords;
    const struct token_rules *tokens = c->listener->tokens;
    if (tokens && token_is(c->secret)) {
        char *user = NULL;
        const char *why;
        uint64_t ends_ms;
        int rc = token_check(tokens, c->secret, clock_wall_ms(), &user, &ends_ms, &why);
        bool same = rc == 0 && bytes_eq(bytes_str(user), c->user);
        mem_free(user);
        return rc == E_NOMEM ? AUTH_BUSY : same ? AUTH_RIGHT : AUTH_WRONG;
    }
    return passwords && passwords_match(passwords, c->user, c->secret) ? AUTH_RIGHT : AUTH_WRONG;
}

static void login_done(struct auth_job *job)
{
    struct call *c = CONTAINER_OF(job, struct call, job);
    admin_post(c->admin, &c->back);
}

/* A call that somebody had is ours again.  Whether it goes on. */
static bool take_back(struct admin *a, struct call *c)
{
    c->away = false;
    a->away--;
    if (c->gone) {
        call_free(c);
        return false;
    }
    return true;
}

/* failed_login_delay, as for MQTT: whoever guesses there has guessed here. */
static void hold_back(struct call *c)
{
    struct admin *a = c->admin;
    uint64_t net = address_net(c->peer);
    if (a->conf->failed_login_delay_ms == 0 || net == ADDRESS_NET_NONE) return;
    a->counts.delayed++;
    http_hold(a->http, c->id,
              peers_login_failed(shards_peers(a->shards), net, a->conf->failed_login_delay_ms,
                                 clock_mono_ms()));
}

static void login_answered(struct admin *a, struct admin_task *t)
{
    struct call *c = CONTAINER_OF(t, struct call, back);
    if (!take_back(a, c)) return;
    if (c->job.verdict == AUTH_RIGHT) {
        go(c);
    } else if (c->job.verdict == AUTH_WRONG) {
        log_printf(a->log, LOG_T_NOTICE, "Admin: login of '%s' from %s refused.", call_who(c),
                   c->peer);
        hold_back(c);
        refuse(c, 401, "not-authorized", "the user name or password is wrong");
    } else {
        call_fail(c, 503, "busy", "logins are checked more slowly than they come");
    }
}

static void log_in(struct call *c)
{
    c->job = (struct auth_job){.check = check_login,
                               .bytes = c->text.tail,
                               .expires_ms = clock_mono_ms() + LOGIN_TIMEOUT_MS,
                               .done = login_done};
    c->back.run = login_answered;
    if (auth_pool_submit(shards_auth(c->admin->shards), &c->job) < 0) {
        call_fail(c, 503, "busy", "too many logins wait to be checked");
        return;
    }
    c->away = true;
    c->admin->away++;
}

/* As for MQTT: a name that is given is checked where names are; none is needed where anonymous
 * clients may connect. */
static void authenticate(struct call *c, struct bytes authorization)
{
    const struct core_listener *l = &c->listener->core;
    if (c->route->resource == NULL || (authorization.n == 0 && l->allow_anonymous)) {
        c->user = (struct bytes){0};
        go(c);
    } else if (authorization.n == 0) {
        refuse(c, 401, "not-authorized", "a user name and a password are needed");
    } else if (c->user.p == NULL) {
        refuse(c, 401, "not-authorized", "this is no Basic authentication");
    } else if (l->checks_users) {
        log_in(c);
    } else if (l->allow_anonymous) {
        c->user = (struct bytes){0}; /* nobody has proved to be it */
        go(c);
    } else {
        refuse(c, 401, "not-authorized", "nobody may ask: the listener has no users");
    }
}

/* ---- requests ---- */

static bool headers_let(struct call *c, const struct http_request *r)
{
    char machine[MACHINE_MAX] = "";
    bool local = c->listener->port == 0, tls = c->listener->tls != NULL;
    (void)gethostname(machine, sizeof machine - 1);
    if (c->route->resource == NULL) return true; /* says nothing */
    /* With TLS the browser itself compares the name with the certificate. */
    if (!local && !tls && !guard_host_ok(r->host, c->listener->address, machine)) {
        refuse(c, 421, "wrong-host",
               "the Host header names somebody else: use an address, localhost, or this machine's "
               "name");
        return false;
    }
    if (r->has_origin && !guard_origin_ok(r->origin, r->host, tls)) {
        refuse(c, 403, "wrong-origin", "pages of other hosts may not ask");
        return false;
    }
    /* A form or a script of another page cannot send this type without asking us first. */
    bool bare = r->content_type.n == 0 && r->body.n == 0;
    if (r->method == HTTP_POST && !bare && !guard_json_type(r->content_type)) {
        refuse(c, 415, "wrong-type", "the body's type is to be application/json");
        return false;
    }
    return true;
}

static struct bytes keep(struct call *c, struct bytes b)
{
    uint8_t *start = c->text.data + c->text.tail;
    put_u8(put_mem(start, b), 0);
    c->text.tail += (uint32_t)b.n + 1;
    return bytes_of(start, b.n);
}

/* Copies what the call needs of its request. */
static int keep_request(struct call *c, const struct http_request *r, struct bytes id)
{
    uint8_t decoded[ADMIN_SECRET_MAX];
    struct bytes user = {0}, secret = {0};
    bool basic = guard_basic(r->authorization, decoded, &user, &secret);
    size_t n = r->path.n + id.n + r->query.n + r->body.n + user.n + secret.n + 6;
    if (buf_reserve(&c->text, (uint32_t)n) == NULL) return E_NOMEM;
    c->path = keep(c, r->path);
    c->target = keep(c, id);
    c->query = keep(c, r->query);
    c->body = keep(c, r->body);
    if (basic) c->user = keep(c, user);
    if (basic) c->secret = keep(c, secret);
    password_wipe(decoded, sizeof decoded);
    snprintf(c->peer, sizeof c->peer, "%s", r->peer);
    return 0;
}

static struct call *call_new(struct admin *a, uint64_t id)
{
    struct call *c = mem_calloc(1, sizeof *c);
    if (c == NULL) {
        http_abort(a->http, id);
        return NULL;
    }
    c->admin = a;
    c->id = id;
    list_push(&a->calls, &c->link);
    return c;
}

void admin_request(void *ctx, const struct http_request *r)
{
    struct admin *a = ctx;
    struct call *c = call_new(a, r->id);
    struct bytes id;
    if (c == NULL) return;
    a->counts.requests++;
    c->listener = a->doors[r->door].conf;
    c->method = r->method;
    c->route = admin_route_find(r->method, r->path, &id);
    const char *allow = c->route ? NULL : admin_route_allow(r->path);
    if (a->stopping) {
        call_fail(c, 503, "stopping", "the broker is being stopped");
    } else if (allow) {
        call_fail_with(c, 405, "wrong-method", "this path has another method",
                       (struct http_field){"allow:", allow});
    } else if (c->route == NULL) {
        call_fail(c, 404, "no-such-path", "there is no such path; see /api/v1/openapi.json");
    } else if (keep_request(c, r, id) < 0) {
        call_fail(c, 503, "no-memory", "there is no memory");
    } else if (headers_let(c, r)) {
        authenticate(c, r->authorization);
    }
}

static struct call *call_find(struct admin *a, uint64_t id)
{
    LIST_EACH_SAFE(it, next, &a->calls)
    {
        struct call *c = CONTAINER_OF(it, struct call, link);
        if (c->id == id) return c;
    }
    return NULL;
}

void admin_wanted(void *ctx, uint64_t id)
{
    struct call *c = call_find(ctx, id);
    if (c == NULL) return;
    if (((struct admin *)ctx)->stopping)
        call_abort(c);
    else
        c->wanted(c);
}

void admin_due(void *ctx, uint64_t id)
{
    struct call *c = call_find(ctx, id);
    if (c == NULL) return;
    if (((struct admin *)ctx)->stopping)
        call_abort(c);
    else
        c->due(c);
}

void call_later(struct call *c, unsigned ms, void (*due)(struct call *c))
{
    c->due = due;
    http_patience(c->admin->http, c->id);
    http_later(c->admin->http, c->id, ms);
}

void admin_gone(void *ctx, uint64_t id)
{
    struct call *c = call_find(ctx, id);
    if (c == NULL) return;
    c->gone = true;
    if (!c->away) call_free(c);
}

void admin_refused(void *ctx, uint64_t id, unsigned status, const char *detail)
{
    struct admin *a = ctx;
    struct call *c = call_new(a, id);
    a->counts.requests++;
    a->counts.refused++;
    if (c) call_fail(c, status, "bad-request", "%s", detail);
}

/* ---- shards ---- */

static void shard_answered(struct admin *a, struct admin_task *t)
{
    struct call *c = CONTAINER_OF(t, struct call, back);
    if (take_back(a, c)) c->answered(c);
}

static void shard_run(struct shard *s, struct shard_task *t)
{
    struct call *c = CONTAINER_OF(t, struct call, task);
    c->on_shard(c, s);
    admin_post(c->admin, &c->back);
}

static void ask(struct call *c, unsigned shard, void (*run)(struct shard *s, struct shard_task *t),
                void (*on_shard)(struct call *c, struct shard *s), void (*answered)(struct call *c))
{
    c->task.run = run;
    c->back.run = shard_answered;
    c->on_shard = on_shard;
    c->answered = answered;
    c->away = true;
    c->admin->away++;
    shard_post(shards_at(c->admin->shards, shard), &c->task);
}

void call_ask(struct call *c, unsigned shard, void (*on_shard)(struct call *c, struct shard *s),
              void (*answered)(struct call *c))
{
    ask(c, shard, shard_run, on_shard, answered);
}

static void shard_safe(struct shard *s, struct shard_promise *p)
{
    struct call *c = CONTAINER_OF(p, struct call, promise);
    (void)s;
    c->kept = p->kept;
    admin_post(c->admin, &c->back);
}

static void shard_run_safe(struct shard *s, struct shard_task *t)
{
    struct call *c = CONTAINER_OF(t, struct call, task);
    c->on_shard(c, s);
    c->promise.run = shard_safe;
    shard_when_safe(s, &c->promise);
}

void call_ask_safe(struct call *c, unsigned shard,
                   void (*on_shard)(struct call *c, struct shard *s),
                   void (*answered)(struct call *c))
{
    ask(c, shard, shard_run_safe, on_shard, answered);
}
