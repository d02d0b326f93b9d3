/* The admin thread, the shards and the pool of logins together: requests from several connections
 * while clients come and go and the configuration changes, and all of it stops in the middle. Built
 * for the thread sanitizer; what it asserts holds anywhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/mem.h"
#include "mqtt/packet.h"
#include "src/admin.h"
#include "src/auth_password.h"

enum { SHARDS = 3, ASKERS = 4, ROUNDS = 300, PORT_TRIES = 20, WAIT_SECONDS = 20 };

static struct {
    char folder[64], path[128], users[128];
    uint16_t port, admin_port;
    struct conf *conf, *reloaded;
    struct log *log;
    struct listeners listeners;
    struct shard_set *set;
    struct admin *admin;
} b;

static uint16_t free_port(void)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof in;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (void *)&in, sizeof in), 0);
    assert_int_equal(getsockname(fd, (void *)&in, &size), 0);
    close(fd);
    return ntohs(in.sin_port);
}

static void warned(void *ctx, const char *line)
{
    (void)ctx;
    fail_msg("%s", line);
}

static void users_file(void)
{
    char *hash = NULL;
    assert_int_equal(password_hash(&hash, PASSWORD_PBKDF2, 10, bytes_str("b")), 0);
    FILE *file = fopen(b.users, "w");
    assert_non_null(file);
    fprintf(file, "a:%s\n", hash);
    fclose(file);
    mem_free(hash);
}

static struct conf *loaded(void)
{
    struct conf *conf = NULL;
    char *error = NULL;
    FILE *file = fopen(b.path, "w");
    assert_non_null(file);
    fprintf(file,
            "listener %u 127.0.0.1\nlistener %u 127.0.0.1\nprotocol http_api\n"
            "allow_anonymous true\npassword_file %s\nlog_dest none\nhistory t/#\n",
            b.port, b.admin_port, b.users);
    fclose(file);
    struct conf_args args = {.file = b.path, .port = -1};
    if (conf_load(&conf, &args, &error, warned, NULL) < 0) fail_msg("%s", error);
    return conf;
}

/* On ports that were free a moment ago; others, should somebody have been faster. */
static void open_listeners(void)
{
    for (int i = 0; i < PORT_TRIES; i++) {
        b.port = free_port();
        b.admin_port = free_port();
        b.conf = loaded();
        assert_int_equal(log_open(&b.log, b.conf), 0);
        if (listeners_open(&b.listeners, b.conf, SHARDS, b.log) == 0) return;
        log_close(&b.log);
        conf_free(&b.conf);
    }
    fail_msg("no port is free");
}

static int setup(void **state)
{
    (void)state;
    umask(0077);
    snprintf(b.folder, sizeof b.folder, "/tmp/sluice-admin-XXXXXX");
    if (mkdtemp(b.folder) == NULL) return -1;
    snprintf(b.path, sizeof b.path, "%s/conf", b.folder);
    snprintf(b.users, sizeof b.users, "%s/users", b.folder);
    users_file();
    open_listeners();
    b.reloaded = loaded();
    assert_int_equal(admin_new(&b.admin, b.conf, &b.listeners, b.log), 0);
    assert_non_null(b.admin);
    assert_int_equal(shards_new(&b.set, SHARDS, b.conf, NULL, &b.listeners, b.log, 42), 0);
    assert_int_equal(shards_start(b.set), 0);
    assert_int_equal(admin_start(b.admin, b.set), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    admin_free(&b.admin);
    assert_null(b.admin);
    shards_free(&b.set);
    listeners_close(&b.listeners);
    log_close(&b.log);
    conf_free(&b.conf);
    conf_free(&b.reloaded);
    unlink(b.path);
    unlink(b.users);
    return rmdir(b.folder);
}

/* ---- clients ---- */

static int connected(uint16_t port)
{
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval limit = {.tv_sec = WAIT_SECONDS};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)!setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, (void *)&in, sizeof in) == 0) return fd;
    close(fd);
    return -1;
}

/* The status of a request on a connection of its own; 0: there was no answer. */
static unsigned ask(const char *method, const char *path, const char *more)
{
    char text[512];
    static const char ok[] = "HTTP/1.1 ";
    int fd = connected(b.admin_port);
    if (fd < 0) return 0;
    int n = snprintf(text, sizeof text,
                     "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s\r\n", method,
                     path, more);
    bool sent = send(fd, text, (size_t)n, MSG_NOSIGNAL) == n;
    size_t have = 0;
    for (ssize_t got; sent && (got = recv(fd, text + have, 16 - have, 0)) > 0;) {
        have += (size_t)got;
        if (have == 16) break;
    }
    char rest[4096];
    while (have == 16 && recv(fd, rest, sizeof rest, 0) > 0) {
    }
    close(fd);
    if (have < 16 || memcmp(text, ok, sizeof ok - 1) != 0) return 0;
    return (unsigned)strtoul(text + sizeof ok - 1, NULL, 10);
}

static void come_and_go(int round)
{
    uint8_t d[512];
    char id[32], topic[32];
    snprintf(id, sizeof id, "client-%d", round);
    snprintf(topic, sizeof topic, "t/%d", round);
    struct mqtt_connect m = {.version = MQTT_V311, .client_id = bytes_str(id)};
    struct mqtt_publish_out p = {.topic = bytes_str(topic),
                                 .payload = bytes_str("x"),
                                 .expiry_s = MQTT_NO_EXPIRY,
                                 .retain = true};
    struct mqtt_subscription s = {.filter = bytes_str("t/#"), .qos = 1};
    int fd = connected(b.port);
    if (fd < 0) return;
    uint8_t *end = mqtt_connect_encode(d, &m);
    end = mqtt_subscribe_encode(end, MQTT_V311, 1, &s, 1, (struct bytes){0});
    end = mqtt_publish_encode(end, MQTT_V311, &p);
    (void)!send(fd, d, (size_t)(end - d), MSG_NOSIGNAL);
    (void)!recv(fd, d, sizeof d, 0);
    close(fd);
}

static _Atomic bool over;

/* Queues, dead letters and histories: made, read and ended by all of them at once. */
static uintptr_t ask_more(void)
{
    static const char make[] = "Content-Type: application/json\r\nContent-Length: 18\r\n\r\n"
                               "{\"topics\":[\"t/#\"]}",
                      nothing[] = "Content-Type: application/json\r\nContent-Length: 3\r\n\r\n{} ";
    uintptr_t answers = 0;
    (void)ask("POST", "/api/v1/queues/q/create", make);
    answers += ask("GET", "/api/v1/queues", "") == 200;
    (void)ask("GET", "/api/v1/queues/q", "");
    (void)ask("POST", "/api/v1/queues/q/purge", "");
    answers += ask("GET", "/api/v1/dead", "") == 200;
    answers += ask("POST", "/api/v1/dead/redrive", nothing) == 200;
    answers += ask("GET", "/api/v1/history", "") == 200;
    answers += ask("GET", "/api/v1/history/read?filter=t/%23", "") == 200;
    (void)ask("POST", "/api/v1/queues/q/delete", "");
    return answers;
}

static void *asker(void *arg)
{
    static const char json[] = "Content-Type: application/json\r\nContent-Length: 14\r\n\r\n"
                               "{\"filter\":\"#\"}";
    uintptr_t answers = 0;
    (void)arg;
    while (!atomic_load(&over)) {
        answers += ask("GET", "/api/v1/clients", "") == 200;
        answers += ask("GET", "/api/v1/subscriptions?limit=3", "") == 200;
        answers += ask("GET", "/metrics", "Authorization: Basic YTpi\r\n") == 200;
        answers += ask("GET", "/metrics", "Authorization: Basic YTpj\r\n") == 401;
        answers += ask("GET", "/api/v1/retained", "") == 200;
        (void)ask("POST", "/api/v1/clients/client-3/kick", "");
        (void)ask("POST", "/api/v1/retained/delete", json);
        answers += ask_more();
    }
    return (void *)answers;
}

/* ---- tests ---- */

struct reload {
    struct admin_task task;
    sem_t *done;
};

static void reload_run(struct admin *a, struct admin_task *t)
{
    admin_configure(a, b.reloaded);
    sem_post(CONTAINER_OF(t, struct reload, task)->done);
}

static void begin_asking(pthread_t askers[static ASKERS])
{
    atomic_store(&over, false);
    for (int i = 0; i < ASKERS; i++)
        assert_int_equal(pthread_create(&askers[i], NULL, asker, NULL), 0);
}

static uintptr_t end_asking(const pthread_t askers[static ASKERS])
{
    uintptr_t sum = 0;
    atomic_store(&over, true);
    for (int i = 0; i < ASKERS; i++) {
        void *answers;
        pthread_join(askers[i], &answers);
        sum += (uintptr_t)answers;
    }
    return sum;
}

static void everybody_is_answered_while_clients_come_and_go(void **state)
{
    (void)state;
    pthread_t askers[ASKERS];
    sem_t done;
    assert_int_equal(sem_init(&done, 0, 0), 0);
    begin_asking(askers);
    for (int i = 0; i < ROUNDS; i++) {
        struct reload reload = {.task.run = reload_run, .done = &done};
        come_and_go(i);
        if (i != ROUNDS / 2) continue;
        admin_post(b.admin, &reload.task);
        sem_wait(&done);
    }
    sem_destroy(&done);
    assert_true(end_asking(askers) >= ASKERS * 5); /* whole rounds */
}

static void it_stops_while_it_is_being_asked(void **state)
{
    (void)state;
    pthread_t askers[ASKERS];
    begin_asking(askers);
    for (int i = 0; i < ROUNDS / 3; i++) come_and_go(i);
    admin_free(&b.admin);
    assert_null(b.admin);
    /* The socket is open still, but nobody accepts. */
    shutdown(b.listeners.items[1].fds[0], SHUT_RDWR);
    (void)end_asking(askers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(everybody_is_answered_while_clients_come_and_go, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(it_stops_while_it_is_being_asked, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
