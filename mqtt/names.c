/* Numbers of the protocol as words, and errors as reason codes.  Constant tables; any thread. */
#include "mqtt/mqtt.h"

uint8_t mqtt_reason_of(int err)
{
    switch (err) {
    case E_OK: return MQTT_SUCCESS;
    case E_MALFORMED: return MQTT_MALFORMED_PACKET;
    case E_PROTOCOL: return MQTT_PROTOCOL_ERROR;
    case E_TOPIC_FILTER: return MQTT_TOPIC_FILTER_INVALID;
    case E_TOPIC_NAME: return MQTT_TOPIC_NAME_INVALID;
    case E_TOO_LARGE: return MQTT_PACKET_TOO_LARGE;
    case E_PAYLOAD_FORMAT: return MQTT_PAYLOAD_FORMAT_INVALID;
    case E_TOPIC_ALIAS: return MQTT_TOPIC_ALIAS_INVALID;
    case E_VERSION: return MQTT_UNSUPPORTED_VERSION;
    case E_RECEIVE_MAX: return MQTT_RECEIVE_MAX_EXCEEDED;
    case E_FULL: return MQTT_QUOTA_EXCEEDED;
    default: return MQTT_UNSPECIFIED_ERROR;
    }
}

uint8_t mqtt_connack3_of(uint8_t reason)
{
    switch (reason) {
    case MQTT_SUCCESS: return MQTT3_ACCEPTED;
    case MQTT_UNSUPPORTED_VERSION: return MQTT3_BAD_VERSION;
    case MQTT_BAD_CLIENT_ID: return MQTT3_ID_REJECTED;
    case MQTT_BAD_USERNAME_PASSWORD: return MQTT3_BAD_USERNAME_PASSWORD;
    /* What trying again later does not mend: "not authorized" keeps clients from retrying. */
    case MQTT_NOT_AUTHORIZED:
    case MQTT_BANNED:
    case MQTT_BAD_AUTH_METHOD:
    case MQTT_TOPIC_NAME_INVALID:
    case MQTT_PACKET_TOO_LARGE:
    case MQTT_PAYLOAD_FORMAT_INVALID:
    case MQTT_RETAIN_NOT_SUPPORTED:
    case MQTT_QOS_NOT_SUPPORTED: return MQTT3_NOT_AUTHORIZED;
    default: return MQTT3_UNAVAILABLE;
    }
}

const char *mqtt_type_name(unsigned type)
{
    static const char *const names[] = {"RESERVED",  "CONNECT",  "CONNACK",     "PUBLISH",
                                        "PUBACK",    "PUBREC",   "PUBREL",      "PUBCOMP",
                                        "SUBSCRIBE", "SUBACK",   "UNSUBSCRIBE", "UNSUBACK",
                                        "PINGREQ",   "PINGRESP", "DISCONNECT",  "AUTH"};
    _Static_assert(ARRAY_LEN(names) == MQTT_AUTH + 1, "a name for each type");
    return type < ARRAY_LEN(names) ? names[type] : names[0];
}

/* 5.0 table 2-6.  0x00 has three names; the context of a log line says which. */
static const char *const reason_names[] = {
    [MQTT_SUCCESS] = "Success",
    [MQTT_GRANTED_QOS1] = "Granted QoS 1",
    [MQTT_GRANTED_QOS2] = "Granted QoS 2",
    [MQTT_DISCONNECT_WITH_WILL] = "Disconnect with Will Message",
    [MQTT_NO_MATCHING_SUBSCRIBERS] = "No matching subscribers",
    [MQTT_NO_SUBSCRIPTION_EXISTED] = "No subscription existed",
    [MQTT_CONTINUE_AUTH] = "Continue authentication",
    [MQTT_REAUTHENTICATE] = "Re-authenticate",
    [MQTT_UNSPECIFIED_ERROR] = "Unspecified error",
    [MQTT_MALFORMED_PACKET] = "Malformed Packet",
    [MQTT_PROTOCOL_ERROR] = "Protocol Error",
    [MQTT_IMPLEMENTATION_ERROR] = "Implementation specific error",
    [MQTT_UNSUPPORTED_VERSION] = "Unsupported Protocol Version",
    [MQTT_BAD_CLIENT_ID] = "Client Identifier not valid",
    [MQTT_BAD_USERNAME_PASSWORD] = "Bad User Name or Password",
    [MQTT_NOT_AUTHORIZED] = "Not authorized",
    [MQTT_SERVER_UNAVAILABLE] = "Server unavailable",
    [MQTT_SERVER_BUSY] = "Server busy",
    [MQTT_BANNED] = "Banned",
    [MQTT_SERVER_SHUTTING_DOWN] = "Server shutting down",
    [MQTT_BAD_AUTH_METHOD] = "Bad authentication method",
    [MQTT_KEEP_ALIVE_TIMEOUT] = "Keep Alive timeout",
    [MQTT_SESSION_TAKEN_OVER] = "Session taken over",
    [MQTT_TOPIC_FILTER_INVALID] = "Topic Filter invalid",
    [MQTT_TOPIC_NAME_INVALID] = "Topic Name invalid",
    [MQTT_PACKET_ID_IN_USE] = "Packet Identifier in use",
    [MQTT_PACKET_ID_NOT_FOUND] = "Packet Identifier not found",
    [MQTT_RECEIVE_MAX_EXCEEDED] = "Receive Maximum exceeded",
    [MQTT_TOPIC_ALIAS_INVALID] = "Topic Alias invalid",
    [MQTT_PACKET_TOO_LARGE] = "Packet too large",
    [MQTT_MESSAGE_RATE_TOO_HIGH] = "Message rate too high",
    [MQTT_QUOTA_EXCEEDED] = "Quota exceeded",
    [MQTT_ADMINISTRATIVE_ACTION] = "Administrative action",
    [MQTT_PAYLOAD_FORMAT_INVALID] = "Payload format invalid",
    [MQTT_RETAIN_NOT_SUPPORTED] = "Retain not supported",
    [MQTT_QOS_NOT_SUPPORTED] = "QoS not supported",
    [MQTT_USE_ANOTHER_SERVER] = "Use another server",
    [MQTT_SERVER_MOVED] = "Server moved",
    [MQTT_SHARED_NOT_SUPPORTED] = "Shared Subscriptions not supported",
    [MQTT_CONNECTION_RATE_EXCEEDED] = "Connection rate exceeded",
    [MQTT_MAXIMUM_CONNECT_TIME] = "Maximum connect time",
    [MQTT_SUBID_NOT_SUPPORTED] = "Subscription Identifiers not supported",
    [MQTT_WILDCARD_NOT_SUPPORTED] = "Wildcard Subscriptions not supported",
};

const char *mqtt_reason_name(uint8_t reason)
{
    const char *name = reason < ARRAY_LEN(reason_names) ? reason_names[reason] : NULL;
    return name ? name : "Unknown reason code";
}
