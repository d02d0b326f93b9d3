/* Starting, signals, reload and stopping.  Owns everything that lives as long as the process: the
 * configurations (an old one is kept, as connections refer to its listeners), the log, the
 * listening sockets and the shards.  Main thread. */
#include "broker.h"

#include "admin.h"
#include "anchor.h"
#include "base/clock.h"
#include "base/mem.h"
#include "broker_watch.h"
#include "listener.h"
#include "log.h"
#include "notify.h"
#include "shard.h"
#include "sys.h"
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <malloc.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MEMORY_CHECK_MS = 100,
    TICKETS_MS = 3600 * 1000, /* a key of TLS session tickets is good for one to two of these */
    TRIM_MS = 10000,
    SOFT_SHARE = 8,   /* publishers wait when less than this share of memory_limit is left */
    SLACK_SHARE = 32, /* and no more when so much more is */
    STOP_POLL_MS = 10,
    WHO_MAX = 128,
    ADMIN_PORT = 9883,
};

struct confs { /* newest first */
    struct confs *older;
    struct conf *conf;
    atomic_uint users; /* threads that may ask its access list; the last one frees that */
};

struct broker {
    const struct conf_args *args;
    struct confs *confs;
    struct log *log;
    struct listeners listeners;
    struct shard_set *shards;
    struct admin *admin; /* NULL: no listener of http_api */
    struct sys *sys;
    struct watch *watch; /* or NULL */
    sigset_t signals;
    uint64_t sys_due_ms, tickets_due_ms;
    enum core_pressure pressure;
    uint64_t trim_ms; /* not before */
    bool keeps;       /* there is a store on disk */
    char *pid_file;   /* written; to be removed */
};

static const struct conf *conf_now(const struct broker *b) { return b->confs->conf; }

/* What the listening sockets were opened by. */
static const struct conf *conf_first(const struct broker *b)
{
    const struct confs *c = b->confs;
    while (c->older) c = c->older;
    return c->conf;
}

static int confs_add(struct broker *b, struct conf **conf)
{
    struct confs *c = mem_alloc(sizeof *c);
    if (c == NULL) return E_NOMEM;
    *c = (struct confs){.older = b->confs, .conf = *conf};
    atomic_init(&c->users, 0); /* reload() counts them when they are about to go */
    *conf = NULL;
    b->confs = c;
    return 0;
}

/* ---- starting ---- */

static unsigned cpus_allowed(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) < 0) return 1;
    return (unsigned)min_u64((uint64_t)CPU_COUNT(&set), CORE_MAX_SHARDS);
}

/* Each client is a descriptor: take what the administrator allows. */
static void raise_descriptors(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) < 0) return;
    r.rlim_cur = r.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &r); /* else we live with what there is */
}

static void log_admin(struct broker *b, const struct conf_listener *l)
{
    const char *who = l->core.allow_anonymous ? "anybody who reaches it" : "its users";
    bool six = l->address && strchr(l->address, ':');
    char url[WHO_MAX];
    snprintf(url, sizeof url, "http%s://%s%s%s:%u", l->tls ? "s" : "", six ? "[" : "", l->address,
             six ? "]" : "", l->port);
    if (l->port == 0)
        log_printf(b->log, LOG_T_NOTICE,
                   "Admin listener: socket %s, %s may ask. Try: sluicectl --socket %s status",
                   l->address, who, l->address);
    else
        log_printf(b->log, LOG_T_NOTICE,
                   "Admin listener: %s/, %s may ask. Try: sluicectl%s%s status", url, who,
                   l->port == ADMIN_PORT && !l->tls ? "" : " --url ",
                   l->port == ADMIN_PORT && !l->tls ? "" : url);
}

static const char *who_may_connect(const struct conf_listener *l, char text[static WHO_MAX])
{
    bool anonymous = l->core.allow_anonymous, checked = l->core.checks_users;
    if (l->core.certificate_is_user && l->psks)
        return "TLS, clients with a key of its psk_file may connect, as the user it is for";
    if (l->core.certificate_is_user)
        return "TLS, clients with a certificate may connect, as the user it names";
    if (!anonymous && !checked) return "nobody may connect (allow_anonymous false)";
    if (l->psks && !checked) return "TLS, anybody with a key of its psk_file may connect";
    if (l->require_certificate && !checked) return "TLS, anybody with a certificate may connect";
    const char *users = l->tokens == NULL      ? "users of its password_file may connect"
                        : l->passwords == NULL ? "users with a token may connect"
                                               : "users of its password_file or with a token may "
                                                 "connect";
    snprintf(text, WHO_MAX, "%s%s%s", l->tls ? "TLS, " : "",
             checked ? users : "anybody who reaches it may connect",
             checked && anonymous ? ", and who gives no user name" : "");
    return text;
}

static void log_who(struct broker *b)
{
    const struct conf *conf = conf_now(b);
    for (size_t i = 0; i < conf->listener_count; i++) {
        const struct conf_listener *l = &conf->listeners[i];
        char text[WHO_MAX];
        if (l->http_api) {
            log_admin(b, l);
            continue;
        }
        const char *who = who_may_connect(l, text), *how = l->websockets ? "websockets, " : "";
        if (l->proxy_version)
            log_printf(b->log, LOG_T_NOTICE,
                       "Listener %u believes the PROXY headers of whoever reaches it: let only the "
                       "proxy reach it.",
                       l->port);
        if (l->port)
            log_printf(b->log, LOG_T_NOTICE, "Listener %u%s%s: %s%s.", l->port,
                       l->address ? " on " : " on every address", l->address ? l->address : "", how,
                       who);
        else
            log_printf(b->log, LOG_T_NOTICE, "Listener %s: %s%s.", l->address, how, who);
    }
    if (!b->keeps)
        log_line(b->log, LOG_T_NOTICE,
                 "Nothing is kept on disk: sessions and retained messages end with this process.");
    for (size_t i = 0; i < conf->listener_count; i++) {
        const struct conf_listener *l = &conf->listeners[i];
        if (l->port == 0 || !l->core.allow_anonymous || l->tls || l->http_api || l->proxy_version ||
            l->websockets)
            continue;
        log_printf(b->log, LOG_T_NOTICE,
                   "Try: mosquitto_sub -p %u -v -t 'hello/#'   and: mosquitto_pub -p %u -t "
                   "hello/world -m hi",
                   l->port, l->port);
        break;
    }
}

static int pid_write(struct broker *b)
{
    const char *path = conf_now(b)->pid_file;
    if (path == NULL) return 0;
    FILE *f = fopen(path, "we");
    bool ok = f != NULL && fprintf(f, "%d\n", (int)getpid()) > 0;
    if (f && fclose(f) != 0) ok = false;
    if (!ok) {
        log_printf(b->log, LOG_T_ERROR, "Error: the pid file %s cannot be written: %s.", path,
                   strerror(errno));
        return E_IO;
    }
    b->pid_file = mem_strndup(path, strlen(path));
    return b->pid_file ? 0 : E_NOMEM;
}

/* Root is only needed to open the ports. */
static int become_user(struct broker *b)
{
    const char *name = conf_now(b)->user;
    if (geteuid() == 0 && name == NULL)
        log_line(b->log, LOG_T_WARNING,
                 "Warning: this process stays root: name the user to become by 'user NAME' (or "
                 "'user root', if that is meant).");
    if (name == NULL || geteuid() != 0 || strcmp(name, "root") == 0) return 0;
    errno = 0;
    const struct passwd *p = getpwnam(name);
    if (p == NULL) {
        log_printf(b->log, LOG_T_ERROR, "Error: there is no user '%s'.", name);
        return E_IO;
    }
    if (initgroups(name, p->pw_gid) == 0 && setgid(p->pw_gid) == 0 && setuid(p->pw_uid) == 0)
        return 0;
    log_printf(b->log, LOG_T_ERROR, "Error: cannot become the user '%s': %s.", name,
               strerror(errno));
    return E_IO;
}

static int start_shards(struct broker *b)
{
    const struct conf *conf = conf_now(b);
    unsigned count = conf->shards ? conf->shards : cpus_allowed();
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed) return E_IO;
    int rc = listeners_open(&b->listeners, conf, count, b->log);
    if (rc == 0) rc = pid_write(b);
    if (rc == 0) rc = admin_new(&b->admin, conf, &b->listeners, b->log);
    if (rc == 0) rc = become_user(b);
    struct anchor *anchor = rc == 0 && conf->persistence ? mem_alloc(sizeof *anchor) : NULL;
    b->keeps = conf->persistence;
    if (rc == 0 && b->keeps) rc = anchor ? anchor_open(anchor, conf, b->log) : E_NOMEM;
    const char *folder = anchor ? anchor->folder : NULL;
    if (rc == 0) rc = shards_new(&b->shards, count, conf, folder, &b->listeners, b->log, seed);
    mem_free(anchor);
    if (rc == 0) rc = sys_new(&b->sys, b->shards);
    if (rc == 0) rc = shards_start(b->shards);
    if (rc == 0) rc = watch_new(&b->watch, b->shards, b->log);
    if (rc == 0 && b->admin) rc = admin_start(b->admin, b->shards);
    if (rc == 0) log_set_topic_sink(b->log, sys_log_line, b->sys);
    return rc;
}

static void block_signals(struct broker *b)
{
    static const int wanted[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};
    sigemptyset(&b->signals);
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) sigaddset(&b->signals, wanted[i]);
    sigaddset(&b->signals, SIGRTMIN);
    pthread_sigmask(SIG_BLOCK, &b->signals, NULL); /* the shards' threads inherit this */
    signal(SIGPIPE, SIG_IGN);
}

int broker_start(struct broker **out, const struct conf_args *args, struct conf **conf)
{
    struct broker *b = mem_calloc(1, sizeof *b);
    int rc = b ? confs_add(b, conf) : E_NOMEM;
    if (rc < 0) {
        mem_free(b);
        fprintf(stderr, "Error: %s.\n", err_name(rc));
        return EXIT_RUNTIME;
    }
    b->args = args;
    umask(0077);
    block_signals(b);
    raise_descriptors();
    rc = log_open(&b->log, conf_now(b));
    if (rc < 0) {
        fprintf(stderr, "Error: the log cannot be opened: %s.\n",
                rc == E_IO ? strerror(errno) : err_name(rc));
        broker_free(&b);
        return EXIT_RUNTIME;
    }
    log_line(b->log, LOG_T_INFO, "sluice version " SLUICE_VERSION " starting");
    if (args->file)
        log_printf(b->log, LOG_T_INFO, "Config loaded from %s.", args->file);
    else
        log_line(b->log, LOG_T_INFO, "Using default config.");
    rc = start_shards(b);
    if (rc < 0) {
        if (rc != E_IO) log_printf(b->log, LOG_T_ERROR, "Error: %s.", err_name(rc));
        broker_free(&b);
        return EXIT_RUNTIME;
    }
    log_who(b);
    log_printf(b->log, LOG_T_INFO, "sluice version " SLUICE_VERSION " running, %u shard%s",
               shards_count(b->shards), shards_count(b->shards) == 1 ? "" : "s");
    notify("READY=1\nMAINPID=%d\nSTATUS=running", (int)getpid());
    *out = b;
    return 0;
}

/* ---- reload ---- */

struct configure_task { /* for a shard, or the admin */
    struct shard_task task;
    struct admin_task admin_task;
    const struct conf *conf;
    struct confs *before; /* what it has used until now */
};

static void configured(struct configure_task *c)
{
    /* acq_rel: every thread's last look at the list is before the last one frees it */
    if (atomic_fetch_sub_explicit(&c->before->users, 1, memory_order_acq_rel) == 1)
        conf_free_acls(c->before->conf);
    mem_free(c);
}

static void configure_run(struct shard *s, struct shard_task *t)
{
    struct configure_task *c = CONTAINER_OF(t, struct configure_task, task);
    shard_configure(s, c->conf);
    configured(c);
}

static void configure_admin_run(struct admin *a, struct admin_task *t)
{
    struct configure_task *c = CONTAINER_OF(t, struct configure_task, admin_task);
    admin_configure(a, c->conf);
    configured(c);
}

/* To everybody who uses the configuration: tasks holds one for each. */
static void configure_all(struct broker *b, struct configure_task **tasks, unsigned users)
{
    unsigned shards = shards_count(b->shards);
    struct confs *before = b->confs->older;
    atomic_store(&before->users, users); /* pairs with configured() by the posting */
    for (unsigned i = 0; i < users; i++) {
        *tasks[i] = (struct configure_task){.task = {.run = configure_run},
                                            .admin_task = {.run = configure_admin_run},
                                            .conf = conf_now(b),
                                            .before = before};
        if (i < shards)
            shard_post(shards_at(b->shards, i), &tasks[i]->task);
        else
            admin_post(b->admin, &tasks[i]->admin_task);
    }
}

static void reload_warn(void *ctx, const char *line)
{
    log_printf(((struct broker *)ctx)->log, LOG_T_WARNING, "Warning: %s", line);
}

static void reload_needs_restart(void *ctx, const char *directive)
{
    log_printf(((struct broker *)ctx)->log, LOG_T_WARNING,
               "Warning: '%s' has changed, which takes effect with the next start only.",
               directive);
}

/* All or nothing: what is wrong anywhere leaves everything as it was. */
static void reload(struct broker *b)
{
    struct conf *conf = NULL;
    char *error = NULL;
    log_line(b->log, LOG_T_INFO, "Reloading config.");
    notify("RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_mono_ms() * 1000);
    int rc = conf_load(&conf, b->args, &error, reload_warn, b);
    unsigned count = shards_count(b->shards) + (b->admin != NULL), made = 0;
    struct configure_task *tasks[CORE_MAX_SHARDS + 1];
    while (rc == 0 && made < count && (tasks[made] = mem_calloc(1, sizeof *tasks[0])) != NULL)
        made++;
    if (rc == 0 && made < count) rc = E_NOMEM;
    if (rc == 0) {
        (void)conf_restart_needed(conf_now(b), conf, reload_needs_restart, b);
        rc = log_reconfigure(b->log, conf);
    }
    if (rc == 0) rc = conf_number_listeners(conf, conf_first(b));
    if (rc == 0) rc = confs_add(b, &conf);
    if (rc < 0) {
        while (made) mem_free(tasks[--made]);
        log_printf(b->log, LOG_T_ERROR, "Error: the old configuration stays in force. %s",
                   error ? error : err_name(rc));
        notify("READY=1\nSTATUS=running; the last reload failed: %s", error ? error : err_name(rc));
        conf_free(&conf);
        mem_free(error);
        return;
    }
    const struct conf *now = conf_now(b);
    shards_limit(b->shards,
                 &(struct shard_limits){now->global_max_clients, now->global_max_connections,
                                        now->max_pending_connections});
    configure_all(b, tasks, count);
    b->sys_due_ms = clock_mono_ms();
    log_line(b->log, LOG_T_NOTICE, "Configuration reloaded.");
    notify("READY=1\nSTATUS=running");
}

/* ---- running ---- */

static void dump_run(struct shard *s, struct shard_task *t)
{
    core_dump(shard_core(s));
    mem_free(t);
}

static void dump(struct broker *b)
{
    for (unsigned i = 0; i < shards_count(b->shards); i++) {
        struct shard_task *t = mem_calloc(1, sizeof *t);
        if (t == NULL) return;
        t->run = dump_run;
        shard_post(shards_at(b->shards, i), t);
    }
}

/* A level is left only when there is some distance to it. */
static enum core_pressure pressure_of(uint64_t limit, uint64_t used, enum core_pressure now)
{
    uint64_t soft = limit - limit / SOFT_SHARE, slack = limit / SLACK_SHARE;
    if (limit == 0) return CORE_PRESSURE_NONE;
    if (used > (now == CORE_PRESSURE_HARD ? limit - slack : limit)) return CORE_PRESSURE_HARD;
    if (used > (now >= CORE_PRESSURE_SOFT ? soft - slack : soft)) return CORE_PRESSURE_SOFT;
    return CORE_PRESSURE_NONE;
}

static void check_memory(struct broker *b)
{
    static const char *const lines[] = {
        [CORE_PRESSURE_NONE] = "Memory is well below memory_limit again.",
        [CORE_PRESSURE_SOFT] = "Warning: memory is close to memory_limit: publishers are slowed "
                               "down, QoS 0 to slow readers is dropped.",
        [CORE_PRESSURE_HARD] = "Warning: memory_limit is reached: new sessions and publishes are "
                               "refused.",
    };
    uint64_t limit = conf_now(b)->memory_limit;
    enum core_pressure level = pressure_of(limit, limit ? sys_memory() : 0, b->pressure);
    uint64_t now = clock_mono_ms();
    if (level != CORE_PRESSURE_NONE && now >= b->trim_ms) { /* what is free goes to the kernel */
        (void)malloc_trim(0);
        b->trim_ms = now + TRIM_MS;
    }
    if (level == b->pressure) return;
    b->pressure = level;
    shards_pressure(b->shards, level);
    log_line(b->log, level ? LOG_T_WARNING : LOG_T_NOTICE, lines[level]);
}

/* Contexts that a reload has replaced take no new clients. */
static void rotate_tickets(struct broker *b, uint64_t now)
{
    const struct conf *conf = conf_now(b);
    if (now < b->tickets_due_ms) return;
    for (size_t i = 0; b->tickets_due_ms && i < conf->listener_count; i++)
        if (conf->listeners[i].tls) tls_context_rotate(conf->listeners[i].tls);
    b->tickets_due_ms = now + TICKETS_MS;
}

static void serve_time(struct broker *b)
{
    uint64_t now = clock_mono_ms(), every = conf_now(b)->sys_interval_s * (uint64_t)1000;
    check_memory(b);
    watch_tick(b->watch, now);
    rotate_tickets(b, now);
    if (every == 0 || now < b->sys_due_ms) return;
    struct sys_limits limits = {.dead_letters = conf_now(b)->alarm_dead_letters,
                                .queue_age_s = conf_now(b)->alarm_queue_age_s};
    sys_update(b->sys, &limits, now);
    b->sys_due_ms = now + every - now % every; /* aligned, as mosquitto does */
}

static int next_signal(struct broker *b)
{
    uint64_t wait = UINT64_MAX, now = clock_mono_ms();
    if (conf_now(b)->sys_interval_s) wait = b->sys_due_ms > now ? b->sys_due_ms - now : 0;
    if (conf_now(b)->memory_limit) wait = min_u64(wait, MEMORY_CHECK_MS);
    uint64_t watch = watch_due_ms(b->watch);
    wait = min_u64(wait, watch > now ? watch - now : 0);
    wait = min_u64(wait, 3600 * 1000);
    struct timespec ts = {(time_t)(wait / 1000), (long)(wait % 1000) * 1000000};
    return sigtimedwait(&b->signals, NULL, &ts);
}

/* A second signal while we stop: without waiting for clients. */
static void stop(struct broker *b)
{
    struct timespec poll = {0, STOP_POLL_MS * 1000000L};
    admin_free(&b->admin);
    shards_stop(b->shards);
    while (shards_running(b->shards)) {
        int sig = sigtimedwait(&b->signals, NULL, &poll);
        if (sig == SIGTERM || sig == SIGINT) shards_hurry(b->shards);
    }
}

void broker_run(struct broker *b)
{
    for (;;) {
        serve_time(b);
        int sig = next_signal(b);
        if (sig == SIGTERM || sig == SIGINT) break;
        if (sig == SIGHUP) {
            if (log_reopen(b->log) < 0)
                log_line(b->log, LOG_T_ERROR, "Error: the log file cannot be opened anew.");
            reload(b);
        } else if (sig == SIGUSR1) {
            log_line(b->log, LOG_T_INFO,
                     b->keeps ? "Nothing to save: the store is always up to date."
                              : "Nothing to save: all state is in memory.");
        } else if (sig == SIGUSR2) {
            dump(b);
        } else if (sig == SIGRTMIN && log_reopen(b->log) < 0) {
            log_line(b->log, LOG_T_ERROR, "Error: the log file cannot be opened anew.");
        }
    }
    log_line(b->log, LOG_T_INFO, "sluice version " SLUICE_VERSION " terminating");
    notify("STOPPING=1\nSTATUS=telling clients");
    stop(b);
}

void broker_free(struct broker **broker)
{
    struct broker *b = *broker;
    if (b == NULL) return;
    *broker = NULL;
    if (b->log) log_set_topic_sink(b->log, NULL, NULL);
    admin_free(&b->admin); /* it asks shards */
    shards_free(&b->shards);
    watch_free(&b->watch);
    sys_free(&b->sys);
    listeners_close(&b->listeners);
    if (b->pid_file) unlink(b->pid_file);
    mem_free(b->pid_file);
    log_close(&b->log);
    while (b->confs) {
        struct confs *c = b->confs;
        b->confs = c->older;
        conf_free(&c->conf);
        mem_free(c);
    }
    mem_free(b);
}
