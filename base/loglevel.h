/* The log types of mosquitto.conf's log_type, as bits. */
#ifndef BASE_LOGLEVEL_H
#define BASE_LOGLEVEL_H

enum log_type {
    LOG_T_ERROR = 1,
    LOG_T_WARNING = 2,
    LOG_T_NOTICE = 4,
    LOG_T_INFO = 8,
    LOG_T_DEBUG = 16,
    LOG_T_SUBSCRIBE = 32,
    LOG_T_UNSUBSCRIBE = 64,
    LOG_T_INTERNAL = 128,
    LOG_T_WEBSOCKETS = 256,
    LOG_T_ALL = 511,
};

#endif
