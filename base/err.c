/* Names of the error codes. */
#include "base/err.h"

const char *err_name(int err)
{
    switch (err) {
    case E_OK: return "ok";
    case E_NOMEM: return "out of memory";
    case E_AGAIN: return "not yet";
    case E_FULL: return "limit reached";
    case E_EXISTS: return "exists already";
    case E_NOTFOUND: return "not found";
    case E_INVALID: return "invalid";
    case E_IO: return "input/output error";
    case E_EOF: return "closed by the peer";
    case E_MALFORMED: return "malformed packet";
    case E_PROTOCOL: return "protocol error";
    case E_TOPIC_FILTER: return "topic filter invalid";
    case E_TOPIC_NAME: return "topic name invalid";
    case E_TOO_LARGE: return "packet too large";
    case E_PAYLOAD_FORMAT: return "payload format invalid";
    case E_TOPIC_ALIAS: return "topic alias invalid";
    case E_VERSION: return "unsupported protocol version";
    case E_RECEIVE_MAX: return "receive maximum exceeded";
    default: return "unknown error";
    }
}
