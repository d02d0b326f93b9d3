/* Logins of a shard: the password goes to the pool's threads, the answer comes back as a task.  The
 * shard's thread, but for login_done(). */
#include "base/mem.h"
#include "shard_int.h"

struct login {
    struct auth_job job;
    struct shard_task task;
    struct shard *shard;
    uint64_t token;
    size_t size;
    uint8_t bytes[]; /* user name and password */
};

static void login_free(struct login *l)
{
    password_wipe(l->bytes, l->size);
    mem_free(l);
}

static void login_run(struct shard *s, struct shard_task *t)
{
    static const uint8_t reasons[] = {
        [AUTH_RIGHT] = 0,
        [AUTH_WRONG] = MQTT_NOT_AUTHORIZED, /* and not 0x86: as mosquitto */
        [AUTH_LATE] = MQTT_SERVER_BUSY,
        [AUTH_STOPPED] = MQTT_SERVER_SHUTTING_DOWN,
    };
    struct login *l = CONTAINER_OF(t, struct login, task);
    const struct core_login_answer answer = {.reason = reasons[l->job.verdict]};
    core_login_done(s->core, l->token, &answer);
    login_free(l);
}

/* A thread of the pool. */
static void login_done(struct auth_job *job)
{
    struct login *l = CONTAINER_OF(job, struct login, job);
    shard_post(l->shard, &l->task);
}

void shard_exchange_free(void *ctx, void *exchange)
{
    (void)ctx;
    ASSERT(exchange == NULL); /* there is no method yet */
}

int shard_login(void *ctx, const struct core_login *login, struct core_login_answer *answer)
{
    struct shard *s = ctx;
    answer->reason = login->method.n ? MQTT_BAD_AUTH_METHOD : MQTT_SERVER_BUSY;
    if (login->method.n) return 0;
    size_t n = login->username.n + login->password.n;
    struct login *l = mem_alloc(sizeof *l + n);
    if (l == NULL) return 0;
    *l = (struct login){.task = {.run = login_run}, .shard = s, .token = login->token, .size = n};
    uint8_t *password = put_mem(l->bytes, login->username);
    put_mem(password, login->password);
    l->job = (struct auth_job){
        .passwords = CONTAINER_OF(login->listener, struct conf_listener, core)->passwords,
        .user = bytes_of(l->bytes, login->username.n),
        .password = bytes_of(password, login->password.n),
        .expires_ms = s->now_ms + s->connect_timeout_ms,
        .done = login_done};
    if (auth_pool_submit(s->set->auth, &l->job) == 0) return CORE_LOGIN_LATER;
    login_free(l);
    return 0;
}
