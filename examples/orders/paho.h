/* What intake and ledger share: a client by Eclipse Paho's synchronous library for MQTT 5, which
 * comes back when the broker does.  One thread. */
#ifndef EXAMPLES_ORDERS_PAHO_H
#define EXAMPLES_ORDERS_PAHO_H

#include <MQTTClient.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SHOP_TRIES = 1200, SHOP_WAIT_MS = 10000 };

static inline void shop_pause(void)
{
    struct timespec t = {.tv_nsec = 50 * 1000000L};
    nanosleep(&t, NULL);
}

static inline MQTTClient shop_client(const char *port, const char *id)
{
    char url[64];
    MQTTClient c;
    MQTTClient_createOptions o = MQTTClient_createOptions_initializer;
    o.MQTTVersion = MQTTVERSION_5;
    snprintf(url, sizeof url, "tcp://127.0.0.1:%s", port);
    int rc = MQTTClient_createWithOptions(&c, url, id, MQTTCLIENT_PERSISTENCE_NONE, NULL, &o);
    if (rc == MQTTCLIENT_SUCCESS) return c;
    fprintf(stderr, "%s: cannot begin: %d\n", id, rc);
    exit(1);
}

static inline bool shop_connect(MQTTClient c)
{
    MQTTClient_connectOptions o = MQTTClient_connectOptions_initializer5;
    o.maxInflightMessages = 20; /* as many as the broker takes at a time */
    o.cleanstart = 1;           /* nothing to remember: orders are in the queues */
    MQTTResponse answer = MQTTClient_connect5(c, &o, NULL, NULL);
    bool good = answer.reasonCode == MQTTREASONCODE_SUCCESS;
    MQTTResponse_free(answer);
    return good;
}

/* Until it is connected; a broker that stays away for a minute ends the program. */
static inline void shop_reconnect(MQTTClient c)
{
    for (int i = 0; i < SHOP_TRIES; i++) {
        if (shop_connect(c)) return;
        shop_pause();
    }
    fprintf(stderr, "the broker is away\n");
    exit(4);
}

#endif
