/* Scenarios with the asynchronous client of Eclipse Paho (MQTTAsync), for MQTT 3.1.1 and 5: many
 * messages under way, and a subscriber that goes and comes back in the middle.  Paho calls back on
 * threads of its own; what they and main() share is under one mutex. */
#include "paho_check.h"
#include <MQTTAsync.h>
#include <pthread.h>
#include <time.h>

enum { MESSAGES = 900, FLIGHT = 1000, BEFORE = 50 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int connects, disconnects, subscribes, published, failures, received;
static int seen[MESSAGES];
static bool present;
static char topic[PAHO_NAME_MAX]; /* of this scenario and version: several run at a time */

static void count(int *counter)
{
    pthread_mutex_lock(&mutex);
    ++*counter;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

static int value_of(const int *counter)
{
    pthread_mutex_lock(&mutex);
    int value = *counter;
    pthread_mutex_unlock(&mutex);
    return value;
}

static void wait_for(const int *counter, int wanted, const char *what)
{
    struct timespec until;
    int rc = 0;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PAHO_WAIT_MS / 1000;
    pthread_mutex_lock(&mutex);
    while (*counter < wanted && failures == 0 && rc == 0)
        rc = pthread_cond_timedwait(&changed, &mutex, &until);
    int found = *counter, failed = failures;
    pthread_mutex_unlock(&mutex);
    if (found >= wanted && failed == 0) return;
    fprintf(stderr, "%s: %d of %d, %d failures\n", what, found, wanted, failed);
    exit(1);
}

/* ---- callbacks ---- */

static void on_connect(void *ctx, MQTTAsync_successData *data)
{
    (void)ctx;
    present = data->alt.connect.sessionPresent;
    count(&connects);
}

static void on_connect5(void *ctx, MQTTAsync_successData5 *data)
{
    (void)ctx;
    present = data->alt.connect.sessionPresent;
    count(&connects);
}

static void on_success(void *ctx, MQTTAsync_successData *data)
{
    (void)data;
    count(ctx);
}

static void on_success5(void *ctx, MQTTAsync_successData5 *data)
{
    (void)data;
    count(ctx);
}

static void on_failure(void *ctx, MQTTAsync_failureData *data)
{
    (void)ctx;
    fprintf(stderr, "failure %d: %s\n", data ? data->code : 0,
            data && data->message ? data->message : "");
    count(&failures);
}

static void on_failure5(void *ctx, MQTTAsync_failureData5 *data)
{
    (void)ctx;
    fprintf(stderr, "failure %d, reason %d\n", data->code, (int)data->reasonCode);
    count(&failures);
}

static int on_message(void *ctx, char *name, int name_len, MQTTAsync_message *m)
{
    char text[32];
    (void)ctx, (void)name_len;
    snprintf(text, sizeof text, "%.*s", m->payloadlen, (const char *)m->payload);
    int number = atoi(text);
    pthread_mutex_lock(&mutex);
    if (number >= 0 && number < MESSAGES) seen[number]++;
    pthread_mutex_unlock(&mutex);
    MQTTAsync_freeMessage(&m);
    MQTTAsync_free(name);
    count(&received);
    return 1;
}

/* ---- calls ---- */

static MQTTAsync_responseOptions answer_to(int *counter)
{
    MQTTAsync_responseOptions o = MQTTAsync_responseOptions_initializer;
    o.context = counter;
    if (paho_version == MQTTVERSION_5) {
        o.onSuccess5 = on_success5;
        o.onFailure5 = on_failure5;
    } else {
        o.onSuccess = on_success;
        o.onFailure = on_failure;
    }
    return o;
}

static MQTTAsync client_new(const char *id)
{
    MQTTAsync c;
    char name[PAHO_NAME_MAX];
    MQTTAsync_createOptions options = MQTTAsync_createOptions_initializer;
    options.MQTTVersion = paho_version;
    options.maxBufferedMessages = MESSAGES;
    CHECK_INT(MQTTAsync_createWithOptions(&c, paho_url, paho_name(name, id),
                                          MQTTCLIENT_PERSISTENCE_NONE, NULL, &options),
              MQTTASYNC_SUCCESS);
    CHECK_INT(MQTTAsync_setMessageArrivedCallback(c, NULL, on_message), MQTTASYNC_SUCCESS);
    return c;
}

static void client_connect(MQTTAsync c, bool clean)
{
    MQTTAsync_connectOptions o = MQTTAsync_connectOptions_initializer;
    MQTTAsync_connectOptions o5 = MQTTAsync_connectOptions_initializer5;
    MQTTProperties props = MQTTProperties_initializer;
    MQTTProperty expiry = {.identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL,
                           .value.integer4 = 1000};
    int before = value_of(&connects);
    if (paho_version == MQTTVERSION_5) {
        CHECK_INT(MQTTProperties_add(&props, &expiry), 0);
        o = o5;
        o.cleanstart = clean;
        o.connectProperties = &props;
        o.onSuccess5 = on_connect5;
        o.onFailure5 = on_failure5;
    } else {
        o.MQTTVersion = paho_version;
        o.cleansession = clean;
        o.onSuccess = on_connect;
        o.onFailure = on_failure;
    }
    o.maxInflight = FLIGHT;
    CHECK_INT(MQTTAsync_connect(c, &o), MQTTASYNC_SUCCESS);
    wait_for(&connects, before + 1, "connected");
    MQTTProperties_free(&props);
}

static void client_disconnect(MQTTAsync c)
{
    MQTTAsync_disconnectOptions o = MQTTAsync_disconnectOptions_initializer;
    MQTTAsync_disconnectOptions o5 = MQTTAsync_disconnectOptions_initializer5;
    int before = value_of(&disconnects);
    if (paho_version == MQTTVERSION_5) {
        o = o5;
        o.onSuccess5 = on_success5;
        o.onFailure5 = on_failure5;
    } else {
        o.onSuccess = on_success;
        o.onFailure = on_failure;
    }
    o.context = &disconnects;
    o.timeout = 5000;
    CHECK_INT(MQTTAsync_disconnect(c, &o), MQTTASYNC_SUCCESS);
    wait_for(&disconnects, before + 1, "disconnected");
}

static void subscribe(MQTTAsync c, int qos)
{
    MQTTAsync_responseOptions o = answer_to(&subscribes);
    int before = value_of(&subscribes);
    CHECK_INT(MQTTAsync_subscribe(c, topic, qos, &o), MQTTASYNC_SUCCESS);
    wait_for(&subscribes, before + 1, "subscribed");
}

static void publish(MQTTAsync c, int number, int qos)
{
    char text[32];
    MQTTAsync_responseOptions o = answer_to(&published);
    int n = snprintf(text, sizeof text, "%d", number);
    CHECK_INT(MQTTAsync_send(c, topic, n, text, qos, 0, &o), MQTTASYNC_SUCCESS);
}

/* ---- scenarios ---- */

static void check_seen(int least, int most)
{
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < MESSAGES; i++) {
        if (seen[i] >= least && seen[i] <= most) continue;
        fprintf(stderr, "message %d came %d times\n", i, seen[i]);
        exit(1);
    }
    pthread_mutex_unlock(&mutex);
}

static void flight(int qos)
{
    paho_name(topic, "paho/flight");
    MQTTAsync sub = client_new("sub"), pub = client_new("pub");
    client_connect(sub, true);
    client_connect(pub, true);
    subscribe(sub, qos);
    for (int i = 0; i < MESSAGES; i++) publish(pub, i, qos);
    wait_for(&published, MESSAGES, "published");
    wait_for(&received, MESSAGES, "received");
    check_seen(1, 1);
    client_disconnect(sub);
    client_disconnect(pub);
    MQTTAsync_destroy(&sub);
    MQTTAsync_destroy(&pub);
}

static void flight_1(void) { flight(1); }
static void flight_2(void) { flight(2); }

/* The subscriber goes while messages are under way to it and comes back: QoS 1 at least once, QoS 2
 * exactly once. */
static void come_back(int qos)
{
    paho_name(topic, "paho/back");
    MQTTAsync sub = client_new("back"), pub = client_new("feed");
    client_connect(sub, false);
    client_connect(pub, true);
    subscribe(sub, qos);
    for (int i = 0; i < MESSAGES / 3; i++) publish(pub, i, qos);
    wait_for(&received, BEFORE, "received before leaving");
    client_disconnect(sub);
    for (int i = MESSAGES / 3; i < MESSAGES * 2 / 3; i++) publish(pub, i, qos);
    wait_for(&published, MESSAGES * 2 / 3, "published while away");
    client_connect(sub, false);
    CHECK_INT(present, 1);
    for (int i = MESSAGES * 2 / 3; i < MESSAGES; i++) publish(pub, i, qos);
    wait_for(&published, MESSAGES, "published");
    wait_for(&received, MESSAGES, "received");
    check_seen(1, qos == 2 ? 1 : 2);
    client_disconnect(sub);
    client_disconnect(pub);
    MQTTAsync_destroy(&sub);
    MQTTAsync_destroy(&pub);
}

static void back_1(void) { come_back(1); }
static void back_2(void) { come_back(2); }

int main(int argc, char **argv)
{
    static const struct paho_scenario all[] = {
        {"flight-1", flight_1},
        {"flight-2", flight_2},
        {"back-1", back_1},
        {"back-2", back_2},
    };
    return paho_main(argc, argv, all, sizeof all / sizeof *all);
}
