/* The shop's front: takes orders in, each published until the broker has it, some at a time.
 *
 *     orders_intake PORT COUNT
 *
 * An order whose PUBACK did not come, as the broker died, is published again under the same
 * sluice-dedup-id: the broker knows whether it has it.  One thread. */
#include "paho.h"

enum { TOGETHER = 20 };

/* Whether it is on its way; *token is then to be waited for. */
static bool publish(MQTTClient c, int number, MQTTClient_deliveryToken *token)
{
    static char key[] = "sluice-dedup-id";
    char topic[64], payload[64], name[32];
    MQTTClient_message m = MQTTClient_message_initializer;
    MQTTProperty dedup = {.identifier = MQTTPROPERTY_CODE_USER_PROPERTY};
    int n = snprintf(payload, sizeof payload, "{\"order\": %d, \"item\": \"pizza\"}", number);
    snprintf(topic, sizeof topic, "shop/orders/%d", number);
    snprintf(name, sizeof name, "order-%d", number);
    dedup.value.data = (MQTTLenString){sizeof key - 1, key};
    dedup.value.value = (MQTTLenString){(int)strlen(name), name};
    m.payload = payload;
    m.payloadlen = n;
    m.qos = 1;
    bool good = MQTTProperties_add(&m.properties, &dedup) == 0;
    if (good) {
        MQTTResponse answer = MQTTClient_publishMessage5(c, topic, &m, token);
        good = answer.reasonCode == MQTTREASONCODE_SUCCESS;
        MQTTResponse_free(answer);
    }
    MQTTProperties_free(&m.properties);
    return good;
}

/* Orders of these numbers; whether the broker has all of them. */
static bool publish_some(MQTTClient c, int first, int count)
{
    MQTTClient_deliveryToken tokens[TOGETHER];
    for (int i = 0; i < count; i++)
        if (!publish(c, first + i, &tokens[i])) return false;
    for (int i = 0; i < count; i++)
        if (MQTTClient_waitForCompletion(c, tokens[i], SHOP_WAIT_MS) != MQTTCLIENT_SUCCESS)
            return false;
    return true;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s PORT COUNT\n", argv[0]);
        return 2;
    }
    MQTTClient c = shop_client(argv[1], "intake");
    int again = 0, count = atoi(argv[2]);
    shop_reconnect(c);
    for (int i = 1; i <= count; i += TOGETHER) {
        int some = count - i + 1 < TOGETHER ? count - i + 1 : TOGETHER;
        while (!publish_some(c, i, some)) {
            again += some;
            MQTTClient_disconnect5(c, 0, MQTTREASONCODE_SUCCESS, NULL);
            shop_reconnect(c);
        }
    }
    printf("intake: %d orders, %d published again\n", count, again);
    MQTTClient_disconnect5(c, SHOP_WAIT_MS, MQTTREASONCODE_SUCCESS, NULL);
    MQTTClient_destroy(&c);
    return 0;
}
