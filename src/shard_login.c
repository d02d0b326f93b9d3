/* Logins of a shard: the password, a token, or the step of an exchange goes to the pool's threads,
 * the answer comes back as a task.  The shard's thread, but for check_*() and login_done(). */
#include "auth_password.h"
#include "auth_scram.h"
#include "auth_token.h"
#include "base/clock.h"
#include "base/mem.h"
#include "net/address.h"
#include "shard_int.h"

struct login {
    struct auth_job job;
    struct shard_task task;
    struct shard *shard;
    uint64_t token;
    uint64_t net;                      /* where it comes from */
    const struct passwords *passwords; /* of a configuration, which outlives the pool */
    const struct token_rules *tokens;  /* likewise */
    struct scram *scram;               /* of an exchange */
    char *user;                        /* of a token */
    struct bytes username, secret;     /* into `bytes`; secret: password or message */
    struct core_login_answer answer;   /* by the check; the reason comes from the verdict */
    size_t size;
    uint8_t bytes[];
};

/* The answer to what was wrong, while it waits. */
struct late {
    struct timer timer;
    uint64_t token;
    const char *why;
};

static void login_free(struct login *l)
{
    scram_free(&l->scram);
    mem_free(l->user);
    password_wipe(l->bytes, l->size);
    mem_free(l);
}

/* ---- threads of the pool ---- */

static enum auth_verdict check_password(struct auth_job *job)
{
    const struct login *l = CONTAINER_OF(job, struct login, job);
    if (l->passwords == NULL) return AUTH_WRONG;
    return passwords_match(l->passwords, l->username, l->secret) ? AUTH_RIGHT : AUTH_WRONG;
}

/* Who it is comes out of it; a name that was given has to be that one. */
static enum auth_verdict proved(struct login *l, struct bytes user, const char *why)
{
    l->answer.username = user;
    if (l->username.n == 0 || bytes_eq(l->username, user)) return AUTH_RIGHT;
    l->answer.why = why;
    return AUTH_WRONG;
}

static enum auth_verdict check_token(struct auth_job *job)
{
    struct login *l = CONTAINER_OF(job, struct login, job);
    struct core_login_answer *a = &l->answer;
    int rc = token_check(l->tokens, l->secret, clock_wall_ms(), &l->user, &a->ends_ms, &a->why);
    if (rc == E_NOMEM) return AUTH_BUSY;
    if (rc < 0) return AUTH_WRONG;
    return proved(l, bytes_str(l->user), "the user name in CONNECT is not the token's");
}

static enum auth_verdict check_step(struct auth_job *job)
{
    struct login *l = CONTAINER_OF(job, struct login, job);
    struct core_login_answer *a = &l->answer;
    int rc = scram_step(l->scram, l->secret, &a->data);
    if (rc == E_AGAIN) return AUTH_MORE;
    if (rc < 0) return AUTH_WRONG;
    return proved(l, scram_user(l->scram),
                  "the user name in CONNECT is not the one that was proved");
}

static void login_done(struct auth_job *job)
{
    struct login *l = CONTAINER_OF(job, struct login, job);
    shard_post(l->shard, &l->task);
}

/* ---- answers ---- */

static void login_answer(struct shard *s, struct login *l)
{
    static const uint8_t reasons[] = {
        [AUTH_RIGHT] = 0,
        [AUTH_WRONG] = MQTT_NOT_AUTHORIZED, /* and not 0x86: as mosquitto */
        [AUTH_MORE] = MQTT_CONTINUE_AUTH,
        [AUTH_BUSY] = MQTT_SERVER_BUSY,
        [AUTH_LATE] = MQTT_SERVER_BUSY,
        [AUTH_STOPPED] = MQTT_SERVER_SHUTTING_DOWN,
    };
    struct core_login_answer answer = l->answer;
    answer.reason = reasons[l->job.verdict];
    bool goes_on = l->job.verdict == AUTH_MORE;
    answer.exchange = goes_on ? l->scram : NULL;
    if (goes_on) l->scram = NULL; /* the core's now; the answer's data live in it */
    core_login_done(s->core, l->token, &answer);
    login_free(l);
}

static void late_fired(struct timer *t, void *ctx)
{
    struct late *late = CONTAINER_OF(t, struct late, timer);
    struct shard *s = ctx;
    s->late_count--;
    core_login_done(s->core, late->token,
                    &(struct core_login_answer){.reason = MQTT_NOT_AUTHORIZED, .why = late->why});
    mem_free(late);
}

/* Who guesses has to wait for every answer; no thread does, and the password goes at once, so that
 * whoever sends long ones and leaves fills no memory.  Without room the answer says nothing. */
static void login_run(struct shard *s, struct shard_task *t)
{
    struct login *l = CONTAINER_OF(t, struct login, task);
    uint64_t delay_ms = l->job.verdict == AUTH_WRONG ? guard_login_delay(s, l->net) : 0;
    struct late *late =
        delay_ms && s->late_count < LATE_ANSWERS_MAX ? mem_alloc(sizeof *late) : NULL;
    if (late) {
        *late =
            (struct late){.timer = {.fire = late_fired}, .token = l->token, .why = l->answer.why};
        s->late_count++;
        timer_arm(&s->timers, &late->timer, s->now_ms + delay_ms);
        login_free(l);
        return;
    }
    if (delay_ms) l->job.verdict = AUTH_BUSY;
    login_answer(s, l);
}

void shard_exchange_free(void *ctx, void *exchange)
{
    struct scram *x = exchange;
    (void)ctx;
    scram_free(&x);
}

/* ---- questions ---- */

/* A connection keeps the listener that it came in by, but who may log in is what the newest
 * configuration says. */
static const struct conf_listener *conf_of(const struct shard *s, const struct core_listener *core)
{
    const struct conf_listener *conf = CONTAINER_OF(core, struct conf_listener, core);
    for (size_t i = 0; i < s->door_count; i++)
        if (conf_listener_same_socket(s->doors[i].conf, conf)) return s->doors[i].conf;
    return conf;
}

/* 0: the exchange is there; or the reason why not. */
static uint8_t exchange_begin(const struct shard *s, const struct conf_listener *conf,
                              const struct core_login *login, struct scram **x)
{
    bool known = bytes_eq(login->method, bytes_str(SCRAM_METHOD));
    *x = login->exchange;
    if (*x) return 0;
    if (!known || conf->passwords == NULL || passwords_scram_count(conf->passwords) == 0)
        return MQTT_BAD_AUTH_METHOD;
    return scram_new(x, s->set->scram, conf->passwords) < 0 ? MQTT_SERVER_BUSY : 0;
}

static struct login *login_new(struct shard *s, const struct core_login *login, struct bytes secret)
{
    size_t n = login->username.n + secret.n;
    struct login *l = mem_alloc(sizeof *l + n);
    if (l == NULL) return NULL;
    *l = (struct login){.task = {.run = login_run},
                        .shard = s,
                        .token = login->token,
                        .net = address_net(login->peer),
                        .size = n};
    uint8_t *d = put_mem(l->bytes, login->username);
    put_mem(d, secret);
    l->username = bytes_of(l->bytes, login->username.n);
    l->secret = bytes_of(d, secret.n);
    l->job = (struct auth_job){
        .bytes = n, .expires_ms = s->now_ms + s->connect_timeout_ms, .done = login_done};
    return l;
}

int shard_login(void *ctx, const struct core_login *login, struct core_login_answer *answer)
{
    struct shard *s = ctx;
    const struct conf_listener *conf = conf_of(s, login->listener);
    bool exchange = login->method.n > 0;
    struct scram *x = NULL;
    answer->reason = exchange ? exchange_begin(s, conf, login, &x) : 0;
    if (answer->reason) return 0;
    answer->reason = MQTT_SERVER_BUSY;
    struct login *l = login_new(s, login, exchange ? login->data : login->password);
    if (l == NULL) {
        scram_free(&x);
        return 0;
    }
    l->scram = x;
    l->passwords = conf->passwords;
    l->tokens = conf->tokens;
    bool token = l->tokens && token_is(l->secret);
    l->job.check = exchange ? check_step : token ? check_token : check_password;
    if (auth_pool_submit(s->set->auth, &l->job) == 0) return CORE_LOGIN_LATER;
    login_free(l);
    return 0;
}
