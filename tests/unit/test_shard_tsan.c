/* The real shards with their threads, mail, sockets and tasks: clients on several shards speak to
 * each other while the configuration is loaded anew and counters are read, and all of it stops.
 * Built for the thread sanitizer; what it asserts holds anywhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <netinet/in.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/mem.h"
#include "mqtt/packet.h"
#include "src/shard.h"

enum { SHARDS = 3, CLIENTS = 9, ROUNDS = 20, PORT_TRIES = 20, WAIT_SECONDS = 20 };

static struct {
    char folder[64], path[128];
    uint16_t port;
    struct conf *conf, *reloaded;
    struct log *log;
    struct listeners listeners;
    struct shard_set *set;
} b;

/* ---- the broker ---- */

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

static struct conf *loaded(unsigned inflight)
{
    struct conf *conf = NULL;
    char *error = NULL;
    FILE *file = fopen(b.path, "w");
    assert_non_null(file);
    fprintf(file,
            "listener %u 127.0.0.1\nallow_anonymous true\nlog_dest none\n"
            "max_inflight_messages %u\nset_tcp_nodelay true\n",
            b.port, inflight);
    fclose(file);
    struct conf_args args = {.file = b.path, .port = -1};
    if (conf_load(&conf, &args, &error, warned, NULL) < 0) fail_msg("%s", error);
    return conf;
}

/* On a port that was free a moment ago; another, should somebody have been faster. */
static void open_listeners(void)
{
    for (int i = 0; i < PORT_TRIES; i++) {
        b.port = free_port();
        b.conf = loaded(20);
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
    snprintf(b.folder, sizeof b.folder, "/tmp/sluice-shard-XXXXXX");
    if (mkdtemp(b.folder) == NULL) return -1;
    snprintf(b.path, sizeof b.path, "%s/conf", b.folder);
    open_listeners();
    b.reloaded = loaded(7);
    assert_int_equal(shards_new(&b.set, SHARDS, b.conf, NULL, &b.listeners, b.log, 42), 0);
    assert_int_equal(shards_start(b.set), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    shards_free(&b.set);
    assert_null(b.set);
    listeners_close(&b.listeners);
    log_close(&b.log);
    conf_free(&b.conf);
    conf_free(&b.reloaded);
    unlink(b.path);
    return rmdir(b.folder);
}

/* ---- clients ---- */

struct client {
    int fd;
    uint8_t in[4096];
    size_t len;
    unsigned got[16]; /* packets by type */
    uint8_t last_connack;
};

static void put(struct client *c, const uint8_t *from, const uint8_t *to)
{
    size_t n = (size_t)(to - from);
    assert_int_equal(send(c->fd, from, n, MSG_NOSIGNAL), n);
}

/* Reads until so many packets of that type have come; answers QoS 1. */
static void expect(struct client *c, unsigned type, unsigned count)
{
    struct mqtt_frame f;
    struct mqtt_publish m;
    uint8_t d[MQTT_ACK_MAX];
    while (c->got[type] < count) {
        int rc = mqtt_frame_peek(bytes_of(c->in, c->len), sizeof c->in, &f);
        if (rc == E_AGAIN) {
            ssize_t n = recv(c->fd, c->in + c->len, sizeof c->in - c->len, 0);
            if (n <= 0) fail_msg("%u of %u %s came", c->got[type], count, mqtt_type_name(type));
            c->len += (size_t)n;
            continue;
        }
        assert_int_equal(rc, 0);
        c->got[f.type]++;
        struct bytes body = bytes_of(c->in + f.head_len, f.body_len);
        if (f.type == MQTT_CONNACK) c->last_connack = body.p[1];
        if (f.type == MQTT_PUBLISH) {
            assert_int_equal(mqtt_publish_decode(MQTT_V311, f.flags, body, &m), 0);
            if (m.qos)
                put(c, d,
                    mqtt_ack_encode(d, MQTT_V311, MQTT_PUBACK, m.packet_id, 0, (struct bytes){0},
                                    (struct bytes){0}));
        }
        c->len -= f.head_len + f.body_len;
        memmove(c->in, c->in + f.head_len + f.body_len, c->len);
    }
}

static void client_connect(struct client *c, const char *id)
{
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons(b.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval limit = {.tv_sec = WAIT_SECONDS};
    struct mqtt_connect m = {.version = MQTT_V311, .clean_start = true, .client_id = bytes_str(id)};
    uint8_t d[128];
    *c = (struct client){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    assert_int_equal(setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    assert_int_equal(connect(c->fd, (void *)&in, sizeof in), 0);
    put(c, d, mqtt_connect_encode(d, &m));
    expect(c, MQTT_CONNACK, 1);
    assert_int_equal(c->last_connack, 0);
}

static void client_subscribe(struct client *c, const char *filter, uint8_t qos)
{
    uint8_t d[128];
    struct mqtt_subscription s = {.filter = bytes_str(filter), .qos = qos};
    put(c, d, mqtt_subscribe_encode(d, MQTT_V311, 1, &s, 1, (struct bytes){0}));
    expect(c, MQTT_SUBACK, c->got[MQTT_SUBACK] + 1);
}

static void client_publish(struct client *c, const char *topic, uint8_t qos, uint16_t pid)
{
    uint8_t d[128];
    struct mqtt_publish_out m = {.topic = bytes_str(topic),
                                 .payload = bytes_str("x"),
                                 .expiry_s = MQTT_NO_EXPIRY,
                                 .qos = qos,
                                 .packet_id = pid};
    put(c, d, mqtt_publish_encode(d, MQTT_V311, &m));
}

static void clients_connect(struct client *cs)
{
    for (int i = 0; i < CLIENTS; i++) {
        char id[32];
        snprintf(id, sizeof id, "client-%d", i);
        client_connect(&cs[i], id);
    }
}

static void clients_close(struct client *cs)
{
    for (int i = 0; i < CLIENTS; i++) close(cs[i].fd);
}

/* ---- tasks ---- */

struct job {
    struct shard_task task;
    sem_t *done;
    uint64_t sent;
};

static void reload_run(struct shard *s, struct shard_task *t)
{
    shard_configure(s, b.reloaded);
    sem_post(CONTAINER_OF(t, struct job, task)->done);
}

static void count_run(struct shard *s, struct shard_task *t)
{
    struct job *job = CONTAINER_OF(t, struct job, task);
    job->sent = core_stats(shard_core(s))->publish_sent;
    sem_post(job->done);
}

/* Runs it on every shard and waits; what they count, summed. */
static uint64_t on_all(void (*run)(struct shard *, struct shard_task *))
{
    sem_t done;
    struct job jobs[SHARDS];
    uint64_t sum = 0;
    assert_int_equal(sem_init(&done, 0, 0), 0);
    for (unsigned i = 0; i < SHARDS; i++) {
        jobs[i] = (struct job){.task.run = run, .done = &done};
        shard_post(shards_at(b.set, i), &jobs[i].task);
    }
    for (unsigned i = 0; i < SHARDS; i++) sem_wait(&done);
    for (unsigned i = 0; i < SHARDS; i++) sum += jobs[i].sent;
    sem_destroy(&done);
    return sum;
}

/* ---- tests ---- */

static void everybody_hears_everybody_while_the_configuration_changes(void **state)
{
    (void)state;
    static struct client cs[CLIENTS];
    clients_connect(cs);
    for (int i = 0; i < CLIENTS; i++) client_subscribe(&cs[i], i % 2 ? "t/#" : "t/+", 1);
    for (unsigned round = 1; round <= ROUNDS; round++) {
        for (int i = 0; i < CLIENTS; i++) client_publish(&cs[i], "t/x", 1, (uint16_t)round);
        if (round % 5 == 0) on_all(reload_run);
        for (int i = 0; i < CLIENTS; i++) {
            expect(&cs[i], MQTT_PUBACK, round);
            expect(&cs[i], MQTT_PUBLISH, round * CLIENTS);
        }
    }
    assert_int_equal(on_all(count_run), ROUNDS * CLIENTS * CLIENTS);
    assert_int_equal(shards_connections(b.set), CLIENTS);
    assert_true(shards_accepted(b.set) >= CLIENTS);
    clients_close(cs);
}

static void a_group_over_the_shards_gets_each_message_once(void **state)
{
    (void)state;
    static struct client cs[CLIENTS];
    unsigned got = 0;
    clients_connect(cs);
    for (int i = 1; i < CLIENTS; i++) client_subscribe(&cs[i], "$share/g/t", 0);
    for (uint16_t i = 1; i <= ROUNDS; i++) client_publish(&cs[0], "t", 1, i);
    expect(&cs[0], MQTT_PUBACK, ROUNDS);
    /* A message to all that comes behind each of those that are still on their way. */
    for (int i = 1; i < CLIENTS; i++) client_subscribe(&cs[i], "end", 0);
    while (on_all(count_run) < ROUNDS) {
    }
    client_publish(&cs[0], "end", 0, 0);
    for (int i = 1; i < CLIENTS; i++) {
        uint8_t d[MQTT_SMALL_MAX];
        expect(&cs[i], MQTT_PUBLISH, 1);
        put(&cs[i], d, mqtt_ping_encode(d, MQTT_PINGREQ));
        expect(&cs[i], MQTT_PINGRESP, 1);
    }
    for (int i = 1; i < CLIENTS; i++) got += cs[i].got[MQTT_PUBLISH];
    assert_in_range(got, ROUNDS, ROUNDS + CLIENTS - 1);
    assert_int_equal(on_all(count_run), ROUNDS + CLIENTS - 1);
    clients_close(cs);
}

static void a_session_is_taken_over_from_whichever_shard_it_comes(void **state)
{
    (void)state;
    static struct client cs[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) client_connect(&cs[i], "the-same");
    char byte;
    for (int i = 0; i + 1 < CLIENTS; i++) assert_int_equal(recv(cs[i].fd, &byte, 1, 0), 0);
    client_subscribe(&cs[CLIENTS - 1], "t", 1);
    client_publish(&cs[CLIENTS - 1], "t", 1, 1);
    expect(&cs[CLIENTS - 1], MQTT_PUBLISH, 1);
    clients_close(cs);
}

static void it_stops_with_clients_connected(void **state)
{
    (void)state;
    static struct client cs[CLIENTS];
    clients_connect(cs);
    for (int i = 0; i < CLIENTS; i++) client_subscribe(&cs[i], "t/#", 1);
    for (int i = 0; i < CLIENTS; i++) client_publish(&cs[i], "t/x", 1, 1);
    shards_stop(b.set);
    char bytes[4096];
    for (int i = 0; i < CLIENTS; i++)
        while (recv(cs[i].fd, bytes, sizeof bytes, 0) > 0) {
        }
    clients_close(cs);
    shards_free(&b.set); /* waits for the threads, which may still be stopping */
    assert_null(b.set);
}

#define A_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        A_TEST(everybody_hears_everybody_while_the_configuration_changes),
        A_TEST(a_group_over_the_shards_gets_each_message_once),
        A_TEST(a_session_is_taken_over_from_whichever_shard_it_comes),
        A_TEST(it_stops_with_clients_connected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
