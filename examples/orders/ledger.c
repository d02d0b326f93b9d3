/* The books: writes down each order that is done, one line "ORDER SEQ", for as long as it runs.
 *
 *     orders_ledger PORT
 *
 * Paho acknowledges before we have looked; that is good enough here, as this program is not killed.
 * When the broker dies with our PUBACK unwritten, the message comes again, with the same
 * sluice-seq: who reads the lines knows by it that it is the same.  Paho calls back on a thread of
 * its own. */
#include "paho.h"

static void write_down(const char *topic, int topic_n, MQTTClient_message *m)
{
    const char *slash = memrchr(topic, '/', (size_t)topic_n);
    int id_n = slash ? topic_n - (int)(slash + 1 - topic) : topic_n, count;
    printf("%.*s ", id_n, slash ? slash + 1 : topic);
    count = MQTTProperties_propertyCount(&m->properties, MQTTPROPERTY_CODE_USER_PROPERTY);
    for (int i = 0; i < count; i++) {
        const MQTTProperty *p =
            MQTTProperties_getPropertyAt(&m->properties, MQTTPROPERTY_CODE_USER_PROPERTY, i);
        if (p->value.data.len == 10 && memcmp(p->value.data.data, "sluice-seq", 10) == 0)
            printf("%.*s", p->value.value.len, p->value.value.data);
    }
    printf("\n");
    fflush(stdout);
}

static int take(void *context, char *topic, int topic_n, MQTTClient_message *m)
{
    (void)context;
    /* Paho says 0 for a topic without a NUL in it. */
    write_down(topic, topic_n ? topic_n : (int)strlen(topic), m);
    MQTTClient_freeMessage(&m);
    MQTTClient_free(topic);
    return 1;
}

static bool subscribe(MQTTClient c)
{
    MQTTResponse answer = MQTTClient_subscribe5(c, "$queue/done", 1, NULL, NULL);
    bool good = answer.reasonCode == MQTTREASONCODE_GRANTED_QOS_1;
    MQTTResponse_free(answer);
    return good;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s PORT\n", argv[0]);
        return 2;
    }
    MQTTClient c = shop_client(argv[1], "ledger");
    if (MQTTClient_setCallbacks(c, NULL, NULL, take, NULL) != MQTTCLIENT_SUCCESS) return 1;
    for (;;) {
        shop_reconnect(c);
        if (subscribe(c))
            while (MQTTClient_isConnected(c)) shop_pause();
        MQTTClient_disconnect5(c, 0, MQTTREASONCODE_SUCCESS, NULL);
    }
}
