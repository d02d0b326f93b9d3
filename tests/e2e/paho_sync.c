/* Scenarios with the synchronous client of Eclipse Paho (MQTTClient), for MQTT 3.1.1 and 5.  One
 * thread of ours; Paho has its own. */
#include "paho_check.h"
#include <MQTTClient.h>

enum { GROUP_SIZE = 3, GROUP_MESSAGES = 30, WAITING = 12, EACH_QOS = 4 };

static bool is_5(void) { return paho_version == MQTTVERSION_5; }

static MQTTClient client_new(const char *id)
{
    MQTTClient c;
    char name[PAHO_NAME_MAX];
    MQTTClient_createOptions options = MQTTClient_createOptions_initializer;
    options.MQTTVersion = paho_version;
    CHECK_INT(MQTTClient_createWithOptions(&c, paho_url, paho_name(name, id),
                                           MQTTCLIENT_PERSISTENCE_NONE, NULL, &options),
              MQTTCLIENT_SUCCESS);
    return c;
}

/* Connects; keep: the session outlives the connection.  Returns CONNACK's code, *present its bit.
 */
static int client_connect(MQTTClient c, bool keep, bool clean, int *present)
{
    MQTTClient_connectOptions options = MQTTClient_connectOptions_initializer;
    MQTTClient_connectOptions options5 = MQTTClient_connectOptions_initializer5;
    MQTTClient_SSLOptions secure = MQTTClient_SSLOptions_initializer;
    secure.trustStore = paho_cafile();
    secure.verify = 1;
    if (paho_cafile()) options.ssl = options5.ssl = &secure;
    if (present) *present = -1;
    if (!is_5()) {
        options.MQTTVersion = paho_version;
        options.cleansession = clean;
        int rc = MQTTClient_connect(c, &options);
        if (present) *present = options.returned.sessionPresent;
        return rc;
    }
    options5.cleanstart = clean;
    MQTTProperties props = MQTTProperties_initializer;
    MQTTProperty expiry = {.identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL,
                           .value.integer4 = keep ? 1000 : 0};
    CHECK_INT(MQTTProperties_add(&props, &expiry), 0);
    MQTTResponse response = MQTTClient_connect5(c, &options5, &props, NULL);
    if (present) *present = options5.returned.sessionPresent;
    int rc = response.reasonCode;
    MQTTResponse_free(response);
    MQTTProperties_free(&props);
    return rc;
}

static MQTTClient connected(const char *id)
{
    MQTTClient c = client_new(id);
    CHECK_INT(client_connect(c, false, true, NULL), 0);
    return c;
}

static void subscribe(MQTTClient c, const char *filter, int qos)
{
    if (!is_5()) {
        CHECK_INT(MQTTClient_subscribe(c, filter, qos), MQTTCLIENT_SUCCESS);
        return;
    }
    MQTTResponse response = MQTTClient_subscribe5(c, filter, qos, NULL, NULL);
    CHECK_INT(response.reasonCode, qos);
    MQTTResponse_free(response);
}

/* Publishes and waits until the handshake is over. */
static void publish_props(MQTTClient c, const char *topic, const char *payload, int qos,
                          MQTTProperties *props)
{
    MQTTClient_message m = MQTTClient_message_initializer;
    MQTTClient_deliveryToken token;
    m.payload = (void *)(size_t)payload;
    m.payloadlen = (int)strlen(payload);
    m.qos = qos;
    if (props) m.properties = *props;
    if (is_5()) {
        MQTTResponse response = MQTTClient_publishMessage5(c, topic, &m, &token);
        CHECK_INT(response.reasonCode, 0);
        MQTTResponse_free(response);
    } else {
        CHECK_INT(MQTTClient_publishMessage(c, topic, &m, &token), MQTTCLIENT_SUCCESS);
    }
    CHECK_INT(MQTTClient_waitForCompletion(c, token, PAHO_WAIT_MS), MQTTCLIENT_SUCCESS);
}

static void publish(MQTTClient c, const char *topic, const char *payload, int qos)
{
    publish_props(c, topic, payload, qos, NULL);
}

static MQTTClient_message *receive(MQTTClient c, const char *topic, unsigned long wait_ms)
{
    char *name = NULL;
    int length = 0;
    MQTTClient_message *m = NULL;
    int rc = MQTTClient_receive(c, &name, &length, &m, wait_ms);
    CHECK(rc == MQTTCLIENT_SUCCESS || rc == MQTTCLIENT_TOPICNAME_TRUNCATED);
    if (m) CHECK_TEXT(name, strlen(name), topic);
    MQTTClient_free(name);
    return m;
}

static void expect_message(MQTTClient c, const char *topic, const char *payload, int qos)
{
    MQTTClient_message *m = receive(c, topic, PAHO_WAIT_MS);
    CHECK(m != NULL);
    CHECK_TEXT(m->payload, (size_t)m->payloadlen, payload);
    CHECK_INT(m->qos, qos);
    CHECK_INT(m->retained, 0);
    MQTTClient_freeMessage(&m);
}

static int client_disconnect(MQTTClient c)
{
    if (is_5()) return MQTTClient_disconnect5(c, 5000, MQTTREASONCODE_SUCCESS, NULL);
    return MQTTClient_disconnect(c, 5000);
}

static void leave(MQTTClient c)
{
    CHECK_INT(client_disconnect(c), 0);
    MQTTClient_destroy(&c);
}

/* ---- scenarios ---- */

static void all_qos(void)
{
    MQTTClient sub = connected("paho-sub"), pub = connected("paho-pub");
    char topic[32], payload[32];
    subscribe(sub, "paho/qos/#", 2);
    for (int i = 0; i < 3 * EACH_QOS; i++) {
        snprintf(topic, sizeof topic, "paho/qos/%d", i);
        snprintf(payload, sizeof payload, "message %d", i);
        publish(pub, topic, payload, i % 3);
        expect_message(sub, topic, payload, i % 3);
    }
    leave(sub);
    leave(pub);
}

/* What waits for a session comes when it is resumed: all of it, QoS 1 in order. */
static void session(void)
{
    MQTTClient sub = client_new("paho-keeps"), pub = connected("paho-feeds");
    int present;
    char payload[32];
    CHECK_INT(client_connect(sub, true, is_5(), &present), 0);
    CHECK_INT(present, 0);
    subscribe(sub, "paho/session", 1);
    CHECK_INT(client_disconnect(sub), 0);
    for (int i = 0; i < WAITING; i++) {
        snprintf(payload, sizeof payload, "%d", i);
        publish(pub, "paho/session", payload, 1);
    }
    CHECK_INT(client_connect(sub, true, false, &present), 0);
    if (!is_5()) CHECK_INT(present, 1); /* this client does not tell for MQTT 5 */
    for (int i = 0; i < WAITING; i++) {
        snprintf(payload, sizeof payload, "%d", i);
        expect_message(sub, "paho/session", payload, 1);
    }
    leave(sub);
    leave(pub);
}

static MQTTLenString text_of(const char *text)
{
    return (MQTTLenString){(int)strlen(text), (char *)(size_t)text};
}

static void add_text(MQTTProperties *props, enum MQTTPropertyCodes code, const char *data,
                     const char *value)
{
    MQTTProperty p = {.identifier = code};
    p.value.data = text_of(data);
    if (value) p.value.value = text_of(value);
    CHECK_INT(MQTTProperties_add(props, &p), 0);
}

static void expect_text(MQTTProperties *props, enum MQTTPropertyCodes code, const char *wanted)
{
    const MQTTProperty *p = MQTTProperties_getProperty(props, code);
    CHECK(p != NULL);
    CHECK_TEXT(p->value.data.data, (size_t)p->value.data.len, wanted);
}

static void properties(void)
{
    MQTTClient sub = connected("paho-props-sub"), pub = connected("paho-props-pub");
    MQTTProperties props = MQTTProperties_initializer;
    subscribe(sub, "paho/props", 1);
    add_text(&props, MQTTPROPERTY_CODE_USER_PROPERTY, "first", "1");
    add_text(&props, MQTTPROPERTY_CODE_CONTENT_TYPE, "text/plain", NULL);
    add_text(&props, MQTTPROPERTY_CODE_USER_PROPERTY, "second", "2");
    add_text(&props, MQTTPROPERTY_CODE_USER_PROPERTY, "first", "again");
    publish_props(pub, "paho/props", "x", 1, &props);
    MQTTClient_message *m = receive(sub, "paho/props", PAHO_WAIT_MS);
    CHECK(m != NULL);
    expect_text(&m->properties, MQTTPROPERTY_CODE_CONTENT_TYPE, "text/plain");
    static const char *const keys[] = {"first", "second", "first"}, *const values[] = {"1", "2",
                                                                                       "again"};
    CHECK_INT(MQTTProperties_propertyCount(&m->properties, MQTTPROPERTY_CODE_USER_PROPERTY), 3);
    for (int i = 0; i < 3; i++) {
        const MQTTProperty *p =
            MQTTProperties_getPropertyAt(&m->properties, MQTTPROPERTY_CODE_USER_PROPERTY, i);
        CHECK(p != NULL);
        CHECK_TEXT(p->value.data.data, (size_t)p->value.data.len, keys[i]);
        CHECK_TEXT(p->value.value.data, (size_t)p->value.value.len, values[i]);
    }
    MQTTClient_freeMessage(&m);
    MQTTProperties_free(&props);
    leave(sub);
    leave(pub);
}

/* A request with a response topic and correlation data; the answer brings the data back. */
static void request_response(void)
{
    MQTTClient asks = connected("paho-asks"), answers = connected("paho-answers");
    MQTTProperties props = MQTTProperties_initializer, back = MQTTProperties_initializer;
    char data[32];
    subscribe(answers, "paho/ask", 1);
    subscribe(asks, "paho/answer/7", 1);
    for (int i = 0; i < EACH_QOS; i++) {
        snprintf(data, sizeof data, "request-%d", i);
        add_text(&props, MQTTPROPERTY_CODE_RESPONSE_TOPIC, "paho/answer/7", NULL);
        add_text(&props, MQTTPROPERTY_CODE_CORRELATION_DATA, data, NULL);
        publish_props(asks, "paho/ask", "question", 1, &props);
        MQTTProperties_free(&props);
        props = (MQTTProperties)MQTTProperties_initializer;

        MQTTClient_message *m = receive(answers, "paho/ask", PAHO_WAIT_MS);
        CHECK(m != NULL);
        expect_text(&m->properties, MQTTPROPERTY_CODE_RESPONSE_TOPIC, "paho/answer/7");
        const MQTTProperty *p =
            MQTTProperties_getProperty(&m->properties, MQTTPROPERTY_CODE_CORRELATION_DATA);
        CHECK(p != NULL);
        CHECK_INT(MQTTProperties_add(&back, p), 0);
        publish_props(answers, "paho/answer/7", "answer", 1, &back);
        MQTTProperties_free(&back);
        back = (MQTTProperties)MQTTProperties_initializer;
        MQTTClient_freeMessage(&m);

        m = receive(asks, "paho/answer/7", PAHO_WAIT_MS);
        CHECK(m != NULL);
        expect_text(&m->properties, MQTTPROPERTY_CODE_CORRELATION_DATA, data);
        MQTTClient_freeMessage(&m);
    }
    leave(asks);
    leave(answers);
}

/* Every message to one of the group, each member has work. */
static void shared(void)
{
    MQTTClient members[GROUP_SIZE], pub = connected("paho-boss");
    int seen[GROUP_MESSAGES] = {0}, total = 0;
    char text[32];
    for (int i = 0; i < GROUP_SIZE; i++) {
        snprintf(text, sizeof text, "paho-member-%d", i);
        members[i] = connected(text);
        subscribe(members[i], "$share/crew/paho/work", 1);
    }
    for (int i = 0; i < GROUP_MESSAGES; i++) {
        snprintf(text, sizeof text, "%d", i);
        publish(pub, "paho/work", text, 1);
    }
    for (int turn = 0; turn < 200 && total < GROUP_MESSAGES; turn++) {
        for (int i = 0; i < GROUP_SIZE; i++) {
            MQTTClient_message *m;
            while ((m = receive(members[i], "paho/work", 100)) != NULL) {
                snprintf(text, sizeof text, "%.*s", m->payloadlen, (const char *)m->payload);
                int number = atoi(text);
                CHECK(number >= 0 && number < GROUP_MESSAGES);
                CHECK_INT(seen[number]++, 0);
                total++;
                MQTTClient_freeMessage(&m);
                if (total == GROUP_MESSAGES) break;
            }
        }
    }
    CHECK_INT(total, GROUP_MESSAGES);
    for (int i = 0; i < GROUP_SIZE; i++) {
        CHECK(receive(members[i], "paho/work", 50) == NULL);
        leave(members[i]);
    }
    leave(pub);
}

/* ---- attribute filters ---- */

/* The next message is this one: what was published before it has not passed. */
static void expect_next(MQTTClient sub, MQTTClient pub, const char *topic)
{
    publish(pub, topic, "and nothing else", 1);
    expect_message(sub, topic, "and nothing else", 1);
}

/* By the prefix: for every version, with what must not stand in a level percent-encoded. */
static void filter_prefix(void)
{
    static const char filter[] =
        "$filter/payload.temp > 30 AND mqtt.topic LIKE 'paho%2Ffiltered%2F%25'/paho/filtered/+";
    MQTTClient sub = connected("paho-filter-sub"), pub = connected("paho-filter-pub");
    subscribe(sub, "paho/filtered-end", 1);
    subscribe(sub, filter, 1);
    publish(pub, "paho/filtered/1", "{\"temp\": 29}", 1);
    publish(pub, "paho/filtered/2", "{\"temp\": 31}", 1);
    publish(pub, "paho/filtered/3", "no JSON", 1);
    expect_message(sub, "paho/filtered/2", "{\"temp\": 31}", 1);
    expect_next(sub, pub, "paho/filtered-end");
    CHECK_INT(MQTTClient_unsubscribe(sub, filter), MQTTCLIENT_SUCCESS);
    publish(pub, "paho/filtered/4", "{\"temp\": 32}", 1);
    expect_next(sub, pub, "paho/filtered-end");
    leave(sub);
    leave(pub);
}

/* By the user property of SUBSCRIBE, about user properties of PUBLISH. */
static void filter_property(void)
{
    static const char *const sites[] = {"rome", "paris", "PARIS"};
    MQTTClient sub = connected("paho-where-sub"), pub = connected("paho-where-pub");
    MQTTProperties props = MQTTProperties_initializer;
    subscribe(sub, "paho/where-end", 1);
    add_text(&props, MQTTPROPERTY_CODE_USER_PROPERTY, "filter", "site = 'paris' AND temp > 30");
    MQTTResponse response = MQTTClient_subscribe5(sub, "paho/where", 1, NULL, &props);
    CHECK_INT(response.reasonCode, 1);
    MQTTResponse_free(response);
    MQTTProperties_free(&props);
    for (int i = 0; i < 3; i++) {
        props = (MQTTProperties)MQTTProperties_initializer;
        add_text(&props, MQTTPROPERTY_CODE_USER_PROPERTY, "site", sites[i]);
        add_text(&props, MQTTPROPERTY_CODE_USER_PROPERTY, "temp", "30.5");
        publish_props(pub, "paho/where", sites[i], 1, &props);
        MQTTProperties_free(&props);
    }
    publish(pub, "paho/where", "without", 1);
    expect_message(sub, "paho/where", "paris", 1);
    expect_next(sub, pub, "paho/where-end");
    leave(sub);
    leave(pub);
}

/* What is no filter: MQTT 5 hears why, 3.1.1 that it was refused.  The connection goes on. */
static void filter_refused(void)
{
    MQTTClient c = connected("paho-misfilters");
    if (is_5()) {
        MQTTProperties props = MQTTProperties_initializer;
        add_text(&props, MQTTPROPERTY_CODE_USER_PROPERTY, "filter", "site LIKE paris");
        MQTTResponse response = MQTTClient_subscribe5(c, "paho/where", 1, NULL, &props);
        CHECK_INT(response.reasonCode, MQTTREASONCODE_IMPLEMENTATION_SPECIFIC_ERROR);
        CHECK(response.properties != NULL);
        expect_text(response.properties, MQTTPROPERTY_CODE_REASON_STRING,
                    "filter: column 11: LIKE needs a string literal");
        expect_text(response.properties, MQTTPROPERTY_CODE_USER_PROPERTY, "filter-error");
        const MQTTProperty *p =
            MQTTProperties_getProperty(response.properties, MQTTPROPERTY_CODE_USER_PROPERTY);
        CHECK_TEXT(p->value.value.data, (size_t)p->value.value.len, "parse");
        MQTTResponse_free(response);
        MQTTProperties_free(&props);
    } else {
        CHECK_INT(MQTTClient_subscribe(c, "$filter/urgent/paho/where", 1), MQTT_BAD_SUBSCRIBE);
    }
    subscribe(c, "paho/misfiltered", 1);
    expect_next(c, c, "paho/misfiltered");
    leave(c);
}

/* The listener wants a user name: 5 / 0x87. */
static void refused(void)
{
    MQTTClient c = client_new("paho-unwanted");
    CHECK_INT(client_connect(c, false, true, NULL), is_5() ? MQTTREASONCODE_NOT_AUTHORIZED : 5);
    MQTTClient_destroy(&c);
}

int main(int argc, char **argv)
{
    static const struct paho_scenario all[] = {
        {"qos", all_qos},
        {"session", session},
        {"shared", shared},
        {"properties", properties},
        {"request", request_response},
        {"filter", filter_prefix},
        {"filter_property", filter_property},
        {"filter_refused", filter_refused},
        {"refused", refused},
    };
    return paho_main(argc, argv, all, sizeof all / sizeof *all);
}
