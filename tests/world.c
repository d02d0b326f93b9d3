/* The simulated broker of world.h.  One turn of a shard is that of core.h and src/shard.c; what is
 * simulated is only what lies outside the cores: rings, sockets, time.
 *
 *   client --in--> [pipe] --> core --out--> [room] --rx--> client
 *                              | mail[dst]
 *                              v
 *                      queue src -> dst of letters, in order
 */
#include "tests/world.h"
#include "core/dead_reason.h"

#include <stdio.h>

#include "base/hash.h"
#include "base/list.h"
#include "base/loglevel.h"
#include "base/rng.h"
#include "mqtt/packet.h"

enum {
    START_MS = 1000, /* not 0, so that "never" and "at the start" differ */
    LISTENERS = 8,
    PORT = 1883,
    CONNECT_LIMIT = 65536, /* as src/core/input.c */
    RUN_TURNS_MAX = 4000000,
    MAIL_STAYS_ONE_IN = 60, /* turns in which there is some */
    MAIL_STAYS_MOST = 200,  /* turns */
};
static const uint64_t WALL_START_MS = 1700000000000;

struct wuser {
    struct list link; /* in world.users */
    struct bytes name, password;
    uint64_t ends_ms; /* since 1970; 0: never */
};

struct wexchange { /* between two steps of "SIM" */
    size_t len;
    uint8_t name[];
};

struct pipe { /* bytes in order */
    uint8_t *data;
    size_t len, cap;
};

struct wlogin {       /* an answer that comes later */
    struct list link; /* in world.logins */
    unsigned shard;
    uint64_t token, due_ms;
    struct core_login_answer answer;
    struct pipe data; /* what its views show */
};

struct letter {
    struct list link;
    struct buf buf;
};

struct wconn {
    struct list link; /* in world.conns */
    struct world *w;
    const struct core_listener *listener;
    struct cconn *core; /* NULL: not on a shard yet, or closed */
    unsigned shard;
    struct pipe in, rx;
    size_t room;
    uint64_t opened_ms;
    bool paused, closed;
    bool output_waits; /* the pipe was full: core_output() again when there is room */
};

struct wshard {
    struct world *w;
    struct core *core;
    struct store *store;
    struct list inbox[CORE_MAX_SHARDS]; /* letters, by sender */
    unsigned stays[CORE_MAX_SHARDS];    /* turns for which they are not read */
};

struct world {
    struct wshard *shards;
    unsigned shard_count, next_shard; /* of the rotation */
    unsigned next_home;               /* for connections that belong nowhere */
    struct core_config cfg;
    struct core_listener listeners[LISTENERS];
    unsigned listener_count;
    unsigned clients, clients_max;
    struct list conns;
    struct pipe log;
    uint64_t now_ms, seed, runs;
    struct rng rng;
    struct list users, logins;
    uint64_t login_delay_ms;
    unsigned logins_max;     /* that wait; 0: no limit */
    struct store_disk *disk; /* NULL: nothing is kept */
    bool disk_waits;         /* nothing gets safe: what waits for that does not move */
    bool shuffle;
};

static void *must(void *p)
{
    if (p == NULL) abort();
    return p;
}

static void pipe_put(struct pipe *p, struct bytes data)
{
    if (p->cap - p->len < data.n) {
        p->cap = max_u64(p->cap * 2, p->len + data.n + 64);
        p->data = must(realloc(p->data, p->cap));
    }
    if (data.n) memcpy(p->data + p->len, data.p, data.n);
    p->len += data.n;
}

static void pipe_consume(struct pipe *p, size_t n)
{
    ASSERT(n <= p->len);
    p->len -= n;
    if (n && p->len) memmove(p->data, p->data + n, p->len);
}

static struct bytes pipe_view(const struct pipe *p) { return bytes_of(p->data, p->len); }

/* ---- what the cores call ---- */

static void on_log(void *ctx, unsigned type, const char *line)
{
    struct world *w = ((struct wshard *)ctx)->w;
    (void)type;
    if (w->log.len) w->log.len--; /* the final 0 */
    pipe_put(&w->log, bytes_str(line));
    pipe_put(&w->log, bytes_of("\n", 2));
}

static bool on_admit(void *ctx, bool always)
{
    struct world *w = ((struct wshard *)ctx)->w;
    if (!always && w->clients_max && w->clients >= w->clients_max) return false;
    w->clients++;
    return true;
}

static void on_gone(void *ctx)
{
    struct world *w = ((struct wshard *)ctx)->w;
    ASSERT(w->clients > 0);
    w->clients--;
}

static const struct wuser *user_find(const struct world *w, struct bytes name, struct bytes token)
{
    LIST_EACH_SAFE(it, next, &w->users)
    {
        const struct wuser *u = CONTAINER_OF(it, struct wuser, link);
        if (bytes_eq(name.n ? u->name : u->password, name.n ? name : token)) return u;
    }
    return NULL;
}

static void let_in(struct core_login_answer *a, const struct wuser *u)
{
    a->reason = 0;
    a->username = u->name;
    a->ends_ms = u->ends_ms;
}

/* One step of "SIM". */
static void step(const struct world *w, const struct core_login *l, struct core_login_answer *a)
{
    struct wexchange *x = l->exchange;
    if (!bytes_eq(l->method, bytes_str("SIM"))) {
        a->reason = MQTT_BAD_AUTH_METHOD;
    } else if (x == NULL) {
        x = must(calloc(1, sizeof *x + l->data.n));
        x->len = l->data.n;
        put_mem(x->name, l->data);
        a->reason = MQTT_CONTINUE_AUTH;
        a->data = bytes_str("salt");
        a->exchange = x;
    } else {
        struct bytes name = bytes_of(x->name, x->len);
        const struct wuser *u = name.n ? user_find(w, name, name) : NULL;
        bool other = l->username.n && !bytes_eq(l->username, name);
        if (u && !other && bytes_eq(u->password, l->data)) let_in(a, u);
        a->data = bytes_str("final");
        free(x);
    }
}

static void check_login(const struct world *w, const struct core_login *l,
                        struct core_login_answer *a)
{
    a->reason = MQTT_NOT_AUTHORIZED;
    if (l->method.n) {
        step(w, l, a);
        return;
    }
    bool named = l->username.n || !l->listener->token_is_user;
    const struct wuser *u = named ? user_find(w, l->username, (struct bytes){0})
                                  : user_find(w, (struct bytes){0}, l->password);
    if (u && bytes_eq(u->password, l->password)) let_in(a, u);
}

static void on_exchange_free(void *ctx, void *exchange)
{
    (void)ctx;
    free(exchange);
}

/* At once, or in a later turn: without a delay chance decides when turns are shuffled. */
static int on_login(void *ctx, const struct core_login *l, struct core_login_answer *a)
{
    struct wshard *s = ctx;
    struct world *w = s->w;
    unsigned waiting = 0;
    LIST_EACH_SAFE(it, next, &w->logins) waiting++;
    bool now = w->login_delay_ms == 0 && (!w->shuffle || rng_below(&w->rng, 2));
    if (!now && w->logins_max && waiting >= w->logins_max) {
        free(l->exchange);
        a->reason = MQTT_SERVER_BUSY;
        return 0;
    }
    check_login(w, l, a);
    if (now) return 0;
    struct wlogin *later = must(calloc(1, sizeof *later));
    *later = (struct wlogin){.shard = (unsigned)(s - w->shards),
                             .token = l->token,
                             .due_ms = w->now_ms + w->login_delay_ms,
                             .answer = *a};
    pipe_put(&later->data, a->data);
    pipe_put(&later->data, a->username);
    pipe_put(&later->data, bytes_of("", 1)); /* so that there is something */
    later->answer.data = bytes_of(later->data.data, a->data.n);
    later->answer.username = bytes_of(later->data.data + a->data.n, a->username.n);
    list_push(&w->logins, &later->link);
    return CORE_LOGIN_LATER;
}

static void login_free(struct wlogin *l)
{
    list_del(&l->link);
    free(l->data.data);
    free(l);
}

static void logins_free(struct world *w)
{
    while (!list_empty(&w->logins)) {
        struct wlogin *l = CONTAINER_OF(w->logins.next, struct wlogin, link);
        free(l->answer.exchange);
        login_free(l);
    }
}

/* ---- making and freeing ---- */

void world_defaults(struct core_config *cfg)
{
    *cfg = (struct core_config){
        .max_packet_size = 2000000,
        .max_inflight_messages = 20,
        .max_queued_messages = 1000,
        .allow_zero_length_clientid = true,
        .retain_available = true,
        .retry_interval_ms = 30 * 1000,
        .retry_max_interval_ms = 300 * 1000,
        .max_topic_levels = 200,
        .check_retain_source = true,
        .output_soft_bytes = 256 * 1024,
        .output_hard_bytes = 4 * 1024 * 1024,
        .slow_grace_ms = 1000,
        .connect_timeout_ms = 10 * 1000,
        .connection_messages = true,
        .filter_index = true,
        .queue_auto_create = true,
        .dead_letter = true,
        .dead_letter_max_messages = 100000,
        .dead_letter_max_bytes = UINT64_C(1) << 30,
        .dead_letter_max_age_ms = UINT64_C(30) * 86400 * 1000,
        .dead_letter_reasons = 1 << DEAD_ATTEMPTS | 1 << DEAD_REJECTED,
    };
}

static void shard_init(struct world *w, unsigned shard, struct store *store)
{
    struct wshard *s = &w->shards[shard];
    const struct core_env env = {s, on_log, on_admit, on_gone, on_login, on_exchange_free};
    s->w = w;
    for (unsigned src = 0; src < w->shard_count; src++) list_init(&s->inbox[src]);
    s->store = store;
    if (core_new(&s->core, &w->cfg, &env, s->store, shard, w->shard_count, w->seed, w->now_ms,
                 WALL_START_MS + w->now_ms) < 0)
        abort();
}

static bool describe(struct bytes body, struct store_topic *out)
{
    return core_message_topic(body, &out->topic, &out->time_ms);
}

/* Cores, recovered from the disk if there is one. */
static void run_begin(struct world *w, unsigned shards)
{
    ASSERT(shards > 0 && shards <= CORE_MAX_SHARDS);
    struct store *doors[CORE_MAX_SHARDS] = {NULL};
    w->shards = must(calloc(shards, sizeof *w->shards));
    w->shard_count = shards;
    w->next_shard = 0;
    if (w->disk) store_disk_describe(w->disk, describe);
    if ((w->disk ? store_disk_open(doors, shards, w->disk) : store_mem_open(doors, shards)) < 0)
        abort();
    for (unsigned i = 0; i < shards; i++) shard_init(w, i, doors[i]);
    for (unsigned i = 0; i < shards; i++)
        if (core_recover(w->shards[i].core) < 0) abort();
    struct core *cores[CORE_MAX_SHARDS];
    for (unsigned i = 0; i < shards; i++) cores[i] = w->shards[i].core;
    core_begin(cores, shards);
}

struct world *world_new_on(struct store_disk *disk, unsigned shards, const struct core_config *cfg,
                           uint64_t seed)
{
    struct world *w = must(calloc(1, sizeof *w));
    w->disk = disk;
    if (cfg)
        w->cfg = *cfg;
    else
        world_defaults(&w->cfg);
    w->now_ms = START_MS;
    w->seed = seed;
    w->rng.state = seed;
    list_init(&w->conns);
    list_init(&w->users);
    list_init(&w->logins);
    world_listener_add(w);
    run_begin(w, shards);
    return w;
}

struct world *world_new(unsigned shards, const struct core_config *cfg, uint64_t seed)
{
    return world_new_on(NULL, shards, cfg, seed);
}

static void shard_fini(struct world *w, unsigned shard)
{
    struct wshard *s = &w->shards[shard];
    for (unsigned src = 0; src < w->shard_count; src++)
        while (!list_empty(&s->inbox[src])) {
            struct letter *l = CONTAINER_OF(s->inbox[src].next, struct letter, link);
            list_del(&l->link);
            buf_fini(&l->buf);
            free(l);
        }
    core_free(&s->core);
    store_close(s->store);
}

static void run_end(struct world *w)
{
    for (unsigned i = 0; i < w->shard_count; i++) shard_fini(w, i);
    ASSERT(w->clients == 0); /* every session_admit() had its session_gone() */
    free(w->shards);
}

static void run_again(struct world *w, unsigned shards, uint64_t down_ms)
{
    LIST_EACH_SAFE(it, next, &w->conns)
    {
        struct wconn *c = CONTAINER_OF(it, struct wconn, link);
        if (c->core) core_conn_closed(c->core, E_EOF);
        c->core = NULL;
        c->closed = true;
        c->in.len = 0;
    }
    logins_free(w);
    run_end(w);
    w->now_ms += down_ms + 1;
    w->seed = hash_u64(w->seed, ++w->runs); /* as a new process draws another */
    run_begin(w, shards);
}

void world_crash(struct world *w, unsigned shards, uint64_t down_ms)
{
    store_disk_crash(w->disk);
    run_again(w, shards, down_ms);
}

void world_restart(struct world *w, unsigned shards, uint64_t down_ms)
{
    world_shutdown(w);
    for (unsigned i = 0; i < w->shard_count; i++) core_flush(w->shards[i].core);
    run_again(w, shards, down_ms);
}

void world_free(struct world *w)
{
    while (!list_empty(&w->conns)) world_drop(CONTAINER_OF(w->conns.next, struct wconn, link));
    logins_free(w);
    while (!list_empty(&w->users)) {
        struct wuser *u = CONTAINER_OF(w->users.next, struct wuser, link);
        list_del(&u->link);
        free(u);
    }
    run_end(w);
    free(w->log.data);
    free(w);
}

unsigned world_shards(const struct world *w) { return w->shard_count; }
struct core *world_core(struct world *w, unsigned shard) { return w->shards[shard].core; }
struct core_config *world_config(struct world *w) { return &w->cfg; }
uint64_t world_now(const struct world *w) { return w->now_ms; }
void world_shuffle(struct world *w, bool on) { w->shuffle = on; }
void world_disk_waits(struct world *w, bool on) { w->disk_waits = on; }
void world_max_clients(struct world *w, unsigned most) { w->clients_max = most; }

void world_user(struct world *w, struct bytes name, struct bytes password, uint64_t lasts_ms)
{
    LIST_EACH_SAFE(it, next, &w->users)
    {
        struct wuser *u = CONTAINER_OF(it, struct wuser, link);
        if (!bytes_eq(u->name, name)) continue;
        list_del(&u->link);
        free(u);
    }
    struct wuser *u = must(calloc(1, sizeof *u + name.n + password.n));
    uint8_t *d = (uint8_t *)(u + 1);
    u->name = bytes_of(d, name.n);
    u->password = bytes_of(put_mem(d, name), password.n);
    put_mem(d + name.n, password);
    u->ends_ms = lasts_ms ? WALL_START_MS + w->now_ms + lasts_ms : 0;
    list_push(&w->users, &u->link);
}

void world_logins(struct world *w, uint64_t delay_ms, unsigned most)
{
    w->login_delay_ms = delay_ms;
    w->logins_max = most;
}

struct core_listener *world_listener(struct world *w) { return &w->listeners[0]; }

void world_configure(struct world *w)
{
    for (unsigned i = 0; i < w->shard_count; i++) core_configure(w->shards[i].core, &w->cfg);
}

struct core_listener *world_listener_add(struct world *w)
{
    ASSERT(w->listener_count < LISTENERS);
    struct core_listener *l = &w->listeners[w->listener_count];
    *l = (struct core_listener){
        .port = (uint16_t)(PORT + w->listener_count++),
        .allow_anonymous = true,
        .max_qos = 2,
        .accept_versions = 1u << MQTT_V31 | 1u << MQTT_V311 | 1u << MQTT_V5,
        .max_topic_alias = 10,
        .max_topic_alias_broker = 10,
        .mount_point = "",
        .auto_id_prefix = "auto-",
        .clientid_prefixes = "",
    };
    return l;
}

const char *world_log(const struct world *w) { return w->log.len ? (char *)w->log.data : ""; }
bool world_logged(struct world *w, const char *part) { return strstr(world_log(w), part) != NULL; }

uint64_t world_stat(struct world *w, size_t offset)
{
    uint64_t sum = 0, one;
    ASSERT(offset + sizeof one <= sizeof(struct core_stats));
    for (unsigned i = 0; i < w->shard_count; i++) {
        memcpy(&one, (const char *)core_stats(w->shards[i].core) + offset, sizeof one);
        sum += one;
    }
    return sum;
}

/* ---- the client's end ---- */

struct wconn *world_connect_to(struct world *w, const struct core_listener *listener)
{
    struct wconn *c = must(calloc(1, sizeof *c));
    c->w = w;
    c->listener = listener;
    c->room = SIZE_MAX;
    c->opened_ms = w->now_ms;
    list_push(&w->conns, &c->link);
    return c;
}

struct wconn *world_connect(struct world *w) { return world_connect_to(w, &w->listeners[0]); }

void world_send(struct wconn *c, struct bytes data)
{
    if (!c->closed) pipe_put(&c->in, data);
}

struct bytes world_received(const struct wconn *c) { return pipe_view(&c->rx); }
void world_consume(struct wconn *c, size_t n) { pipe_consume(&c->rx, n); }
void world_room(struct wconn *c, size_t room) { c->room = room; }
bool world_closed(const struct wconn *c) { return c->closed; }

static void tick(struct world *w, struct core *core)
{
    core_tick(core, w->now_ms, WALL_START_MS + w->now_ms);
}

void world_drop(struct wconn *c)
{
    if (c->core) {
        tick(c->w, c->w->shards[c->shard].core);
        core_conn_closed(c->core, E_EOF);
    }
    list_del(&c->link);
    free(c->in.data);
    free(c->rx.data);
    free(c);
}

/* ---- a turn ---- */

/* The shard this connection's first bytes ask for; false: not known yet. */
static bool choose_shard(struct world *w, struct wconn *c)
{
    struct mqtt_frame f;
    struct mqtt_connect m;
    struct bytes in = pipe_view(&c->in), id = {0};
    int rc = mqtt_frame_peek(in, CONNECT_LIMIT, &f);
    if (rc == E_AGAIN) return false;
    if (rc == 0 && f.type == MQTT_CONNECT &&
        mqtt_connect_decode(bytes_of(in.p + f.head_len, f.body_len), &m) == 0)
        id = c->listener->use_username_as_clientid ? m.username : m.client_id;
    c->shard = id.n ? core_home(id, w->shard_count, w->seed) : w->next_home++ % w->shard_count;
    return true;
}

/* Brings new connections to their shards, and closes those that do not say who they are. */
static bool accept_all(struct world *w)
{
    bool moved = false;
    LIST_EACH_SAFE(it, next, &w->conns)
    {
        struct wconn *c = CONTAINER_OF(it, struct wconn, link);
        if (c->core || c->closed) continue;
        if (choose_shard(w, c)) {
            struct core *core = w->shards[c->shard].core;
            tick(w, core);
            if (core_conn_open(core, &c->core, c->listener, "10.0.0.1:40000", c) < 0)
                c->core = NULL;
            moved = true;
        } else if (w->now_ms < c->opened_ms + w->cfg.connect_timeout_ms) {
            continue;
        }
        if (c->core == NULL) c->closed = moved = true;
    }
    return moved;
}

static bool logins_answer(struct world *w, unsigned shard)
{
    bool moved = false;
    LIST_EACH_SAFE(it, next, &w->logins)
    {
        struct wlogin *l = CONTAINER_OF(it, struct wlogin, link);
        if (l->shard != shard || l->due_ms > w->now_ms) continue;
        core_login_done(w->shards[shard].core, l->token, &l->answer);
        login_free(l);
        moved = true;
    }
    return moved;
}

/* Now and then the mail of one shard takes very long. */
static bool mail_stays(struct world *w, struct wshard *s, unsigned src)
{
    if (!w->shuffle || list_empty(&s->inbox[src])) return false;
    if (s->stays[src]) return --s->stays[src] > 0;
    if (rng_below(&w->rng, MAIL_STAYS_ONE_IN) == 0)
        s->stays[src] = (unsigned)rng_below(&w->rng, MAIL_STAYS_MOST);
    return s->stays[src] > 0;
}

static bool mail_in(struct world *w, struct wshard *s, bool all)
{
    bool moved = false;
    for (unsigned src = 0; src < w->shard_count; src++) {
        bool stays = !all && mail_stays(w, s, src);
        while (!list_empty(&s->inbox[src])) {
            moved = true; /* what stays for a later turn moves then */
            if (stays) break;
            if (!all && w->shuffle && rng_below(&w->rng, 3) == 0) break;
            struct letter *l = CONTAINER_OF(s->inbox[src].next, struct letter, link);
            list_del(&l->link);
            core_mail_in(s->core, src, buf_view(&l->buf));
            core_mail_recycle(s->core, &l->buf);
            free(l);
        }
    }
    return moved;
}

static bool mail_out(struct world *w, unsigned shard)
{
    bool moved = false;
    struct buf b;
    for (unsigned dst = 0; dst < w->shard_count; dst++) {
        while (core_mail_take(w->shards[shard].core, dst, &b)) {
            struct letter *l = must(calloc(1, sizeof *l));
            l->buf = b;
            list_push(&w->shards[dst].inbox[shard], &l->link);
            moved = true;
        }
    }
    return moved;
}

static bool input(struct world *w, struct wconn *c)
{
    struct bytes in = pipe_view(&c->in);
    if (c->core == NULL || c->paused || in.n == 0) return false;
    if (w->shuffle && in.n > 1 && rng_below(&w->rng, 2)) in.n = 1 + rng_below(&w->rng, in.n - 1);
    size_t used = 0;
    enum core_input_result rc = core_input(c->core, in, &used);
    ASSERT(used <= in.n);
    bool part = in.n < c->in.len;
    pipe_consume(&c->in, rc == CORE_CLOSED ? c->in.len : used);
    if (rc == CORE_PAUSED) c->paused = true;
    return part || used || rc != CORE_MORE;
}

static void output(struct wconn *c)
{
    struct bytes out = core_output(c->core);
    size_t n = min_u64(out.n, c->room);
    pipe_put(&c->rx, bytes_of(out.p, n));
    if (c->room != SIZE_MAX) c->room -= n;
    c->output_waits = n < out.n;
    core_output_sent(c->core, n);
}

static void handle_event(struct wconn *c, unsigned events)
{
    if (events & CORE_EV_RESUME) { /* what it has sent meanwhile comes before what it gets */
        c->paused = false;
        (void)input(c->w, c);
    }
    if (events & CORE_EV_CLOSE || (events & CORE_EV_OUTPUT && !c->output_waits)) output(c);
    if (!(events & CORE_EV_CLOSE)) return;
    core_conn_closed(c->core, 0);
    c->core = NULL;
    c->closed = true;
    c->in.len = 0;
}

static bool turn(struct world *w, unsigned shard)
{
    struct wshard *s = &w->shards[shard];
    struct core *core = s->core;
    bool moved = accept_all(w);
    tick(w, core);
    moved |= logins_answer(w, shard);
    moved |= mail_in(w, s, false);
    if (core_mail_asks(core)) {
        mail_in(w, s, true);
        core_mail_answer(core);
        moved = true;
    }
    LIST_EACH_SAFE(it, next, &w->conns)
    {
        struct wconn *c = CONTAINER_OF(it, struct wconn, link);
        if (c->core == NULL || c->shard != shard) continue;
        moved |= input(w, c);
        if (!c->output_waits || c->room == 0) continue;
        output(c); /* writable again */
        moved = true;
    }
    moved |= core_settle(core) && !w->disk_waits;
    moved |= mail_out(w, shard);
    unsigned events;
    for (struct cconn *ready; (ready = core_next_ready(core, &events)) != NULL; moved = true)
        handle_event(core_conn_owner(ready), events);
    for (unsigned dst = 0; dst < w->shard_count; dst++) moved |= core_mail_pending(core, dst) > 0;
    core_flush(core);
    return moved | (core_next_due(core) <= w->now_ms);
}

bool world_step(struct world *w)
{
    unsigned shard = w->shuffle ? (unsigned)rng_below(&w->rng, w->shard_count)
                                : w->next_shard++ % w->shard_count;
    return turn(w, shard);
}

void world_run(struct world *w)
{
    for (unsigned turns = 0; turns < RUN_TURNS_MAX; turns += 2 * w->shard_count) {
        bool moved = false;
        for (unsigned i = 0; w->shuffle && i < w->shard_count; i++) moved |= world_step(w);
        if (moved) continue;
        for (unsigned i = 0; i < w->shard_count; i++) moved |= turn(w, i);
        if (!moved) return;
    }
    ASSERT(!"the broker comes to rest");
}

static uint64_t next_due(const struct world *w)
{
    uint64_t due = UINT64_MAX;
    for (unsigned i = 0; i < w->shard_count; i++)
        due = min_u64(due, core_next_due(w->shards[i].core));
    LIST_EACH_SAFE(it, next, &w->logins)
    due = min_u64(due, CONTAINER_OF(it, struct wlogin, link)->due_ms);
    LIST_EACH_SAFE(it, next, &w->conns)
    {
        const struct wconn *c = CONTAINER_OF(it, struct wconn, link);
        if (c->core == NULL && !c->closed)
            due = min_u64(due, c->opened_ms + w->cfg.connect_timeout_ms);
    }
    return due;
}

void world_advance(struct world *w, uint64_t ms)
{
    uint64_t target = w->now_ms + ms;
    world_run(w);
    while (w->now_ms < target) {
        w->now_ms = max_u64(w->now_ms + 1, min_u64(next_due(w), target));
        world_run(w);
    }
}

void world_shutdown(struct world *w)
{
    for (unsigned i = 0; i < w->shard_count; i++) core_shutdown(w->shards[i].core);
    world_run(w);
}
