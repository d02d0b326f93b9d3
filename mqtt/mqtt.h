/* Numbers of the wire protocol: MQTT 3.1, 3.1.1 (OASIS 2014) and 5.0 (OASIS 2019). */
#ifndef MQTT_MQTT_H
#define MQTT_MQTT_H

#include "base/bytes.h"
#include "base/err.h"

enum mqtt_version { MQTT_V31 = 3, MQTT_V311 = 4, MQTT_V5 = 5 };

enum mqtt_type { /* 5.0 table 2-1 */
                 MQTT_CONNECT = 1,
                 MQTT_CONNACK,
                 MQTT_PUBLISH,
                 MQTT_PUBACK,
                 MQTT_PUBREC,
                 MQTT_PUBREL,
                 MQTT_PUBCOMP,
                 MQTT_SUBSCRIBE,
                 MQTT_SUBACK,
                 MQTT_UNSUBSCRIBE,
                 MQTT_UNSUBACK,
                 MQTT_PINGREQ,
                 MQTT_PINGRESP,
                 MQTT_DISCONNECT,
                 MQTT_AUTH,
};

enum mqtt_reason {                      /* 5.0 table 2-6 */
                   MQTT_SUCCESS = 0x00, /* also normal disconnection, granted QoS 0 */
                   MQTT_GRANTED_QOS1 = 0x01,
                   MQTT_GRANTED_QOS2 = 0x02,
                   MQTT_DISCONNECT_WITH_WILL = 0x04,
                   MQTT_NO_MATCHING_SUBSCRIBERS = 0x10,
                   MQTT_NO_SUBSCRIPTION_EXISTED = 0x11,
                   MQTT_CONTINUE_AUTH = 0x18,
                   MQTT_REAUTHENTICATE = 0x19,
                   MQTT_UNSPECIFIED_ERROR = 0x80,
                   MQTT_MALFORMED_PACKET = 0x81,
                   MQTT_PROTOCOL_ERROR = 0x82,
                   MQTT_IMPLEMENTATION_ERROR = 0x83,
                   MQTT_UNSUPPORTED_VERSION = 0x84,
                   MQTT_BAD_CLIENT_ID = 0x85,
                   MQTT_BAD_USERNAME_PASSWORD = 0x86,
                   MQTT_NOT_AUTHORIZED = 0x87,
                   MQTT_SERVER_UNAVAILABLE = 0x88,
                   MQTT_SERVER_BUSY = 0x89,
                   MQTT_BANNED = 0x8A,
                   MQTT_SERVER_SHUTTING_DOWN = 0x8B,
                   MQTT_BAD_AUTH_METHOD = 0x8C,
                   MQTT_KEEP_ALIVE_TIMEOUT = 0x8D,
                   MQTT_SESSION_TAKEN_OVER = 0x8E,
                   MQTT_TOPIC_FILTER_INVALID = 0x8F,
                   MQTT_TOPIC_NAME_INVALID = 0x90,
                   MQTT_PACKET_ID_IN_USE = 0x91,
                   MQTT_PACKET_ID_NOT_FOUND = 0x92,
                   MQTT_RECEIVE_MAX_EXCEEDED = 0x93,
                   MQTT_TOPIC_ALIAS_INVALID = 0x94,
                   MQTT_PACKET_TOO_LARGE = 0x95,
                   MQTT_MESSAGE_RATE_TOO_HIGH = 0x96,
                   MQTT_QUOTA_EXCEEDED = 0x97,
                   MQTT_ADMINISTRATIVE_ACTION = 0x98,
                   MQTT_PAYLOAD_FORMAT_INVALID = 0x99,
                   MQTT_RETAIN_NOT_SUPPORTED = 0x9A,
                   MQTT_QOS_NOT_SUPPORTED = 0x9B,
                   MQTT_USE_ANOTHER_SERVER = 0x9C,
                   MQTT_SERVER_MOVED = 0x9D,
                   MQTT_SHARED_NOT_SUPPORTED = 0x9E,
                   MQTT_CONNECTION_RATE_EXCEEDED = 0x9F,
                   MQTT_MAXIMUM_CONNECT_TIME = 0xA0,
                   MQTT_SUBID_NOT_SUPPORTED = 0xA1,
                   MQTT_WILDCARD_NOT_SUPPORTED = 0xA2,
};

enum { /* CONNACK return codes of 3.1 and 3.1.1, table 3.1 */
       MQTT3_ACCEPTED = 0,
       MQTT3_BAD_VERSION = 1,
       MQTT3_ID_REJECTED = 2,
       MQTT3_UNAVAILABLE = 3,
       MQTT3_BAD_USERNAME_PASSWORD = 4,
       MQTT3_NOT_AUTHORIZED = 5,
       MQTT3_SUBACK_FAILURE = 0x80, /* 3.1.1 3.9.3 */
};

enum mqtt_prop_id { /* 5.0 table 2-4 */
                    MQTT_P_PAYLOAD_FORMAT = 1,
                    MQTT_P_MESSAGE_EXPIRY = 2,
                    MQTT_P_CONTENT_TYPE = 3,
                    MQTT_P_RESPONSE_TOPIC = 8,
                    MQTT_P_CORRELATION = 9,
                    MQTT_P_SUBSCRIPTION_ID = 11,
                    MQTT_P_SESSION_EXPIRY = 17,
                    MQTT_P_ASSIGNED_ID = 18,
                    MQTT_P_SERVER_KEEP_ALIVE = 19,
                    MQTT_P_AUTH_METHOD = 21,
                    MQTT_P_AUTH_DATA = 22,
                    MQTT_P_REQUEST_PROBLEM = 23,
                    MQTT_P_WILL_DELAY = 24,
                    MQTT_P_REQUEST_RESPONSE = 25,
                    MQTT_P_RESPONSE_INFO = 26,
                    MQTT_P_SERVER_REFERENCE = 28,
                    MQTT_P_REASON_STRING = 31,
                    MQTT_P_RECEIVE_MAX = 33,
                    MQTT_P_TOPIC_ALIAS_MAX = 34,
                    MQTT_P_TOPIC_ALIAS = 35,
                    MQTT_P_MAX_QOS = 36,
                    MQTT_P_RETAIN_AVAILABLE = 37,
                    MQTT_P_USER = 38,
                    MQTT_P_MAX_PACKET_SIZE = 39,
                    MQTT_P_WILDCARD_AVAILABLE = 40,
                    MQTT_P_SUBID_AVAILABLE = 41,
                    MQTT_P_SHARED_AVAILABLE = 42,
};

#define MQTT_NO_EXPIRY UINT32_MAX
enum { MQTT_MAX_REMAINING = 268435455 };

/* The reason code that MQTT 5 mandates for one of err.h's wire errors. */
uint8_t mqtt_reason_of(int err);
/* The CONNACK return code of 3.x that stands for a v5 reason code (0 stays 0). */
uint8_t mqtt_connack3_of(uint8_t reason);
const char *mqtt_type_name(unsigned type);    /* "PUBLISH"; never NULL */
const char *mqtt_reason_name(uint8_t reason); /* "Quota exceeded"; never NULL */

#endif
