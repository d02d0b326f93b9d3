/* One list of error codes for all rooms.  Functions that can fail return 0 or one of these. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

enum err {
    E_OK = 0,
    E_NOMEM = -1, /* an allocation failed; nothing has changed */
    E_AGAIN = -2, /* not now: more input, or a later completion, is needed */
    E_FULL = -3,  /* a limit is reached; nothing has changed */
    E_EXISTS = -4,
    E_NOTFOUND = -5,
    E_INVALID = -6, /* an argument or a configured value is wrong */
    E_IO = -7,      /* the kernel said no; errno tells why */
    E_EOF = -8,     /* the peer closed */
    /* What a peer can get wrong on the wire; mqtt_reason_of() maps each to its reason code. */
    E_MALFORMED = -20,      /* 0x81 */
    E_PROTOCOL = -21,       /* 0x82 */
    E_TOPIC_FILTER = -22,   /* 0x8F */
    E_TOPIC_NAME = -23,     /* 0x90 */
    E_TOO_LARGE = -24,      /* 0x95 */
    E_PAYLOAD_FORMAT = -25, /* 0x99 */
    E_TOPIC_ALIAS = -26,    /* 0x94 */
    E_VERSION = -27,        /* 0x84 */
    E_RECEIVE_MAX = -28,    /* 0x93 */
};

/* A short English name of the code, for logs; never NULL. */
const char *err_name(int err);

#endif
