/* Configuration: mosquitto.conf's syntax, one schema table (src/conf_schema.c).  Main thread; the
 * result is immutable and outlives the shards that use it. */
#ifndef SRC_CONF_H
#define SRC_CONF_H

#include "auth_password.h"
#include "auth_token.h"
#include "core/core.h"
#include "peers.h"
#include "store/log.h"
#include "tls/tls.h"

struct conf_https { /* what a listener of http_api does TLS with; NULL: not said */
    char *certfile, *keyfile, *ciphers, *ciphers13;
    bool only_13;
};

struct conf_listener {
    uint16_t port;             /* 0: unix socket */
    char *address;             /* address or NULL (any); path when port is 0 */
    char *bind_interface;      /* or NULL */
    int socket_domain;         /* AF_INET, AF_INET6, AF_UNSPEC */
    int64_t max_connections;   /* -1: no limit */
    uint32_t max_connect_rate; /* connections a second; 0: no limit */
    struct peers_limits per_address;
    bool implicit; /* made because no listener was configured: loopback, anonymous */
    unsigned line; /* in the file, 0 = none */
    char *file;
    bool websockets;          /* MQTT in WebSockets, and files of http_dir */
    char *websockets_origins; /* of pages that may open one, a space between; NULL: of all */
    char *http_dir;           /* or NULL */
    bool http_api;            /* of the admin listener; no MQTT */
    struct conf_https https;
    struct tls_context *tls; /* NULL: without TLS */
    struct tls_psks *psks;   /* by whose keys clients come, in the place of certificates; or NULL */
    bool require_certificate;
    uint8_t proxy_version;             /* of the PROXY header that comes first; 0: none */
    bool proxy_needs_tls;              /* the proxy must say that the client came by TLS */
    const struct passwords *passwords; /* in conf.password_files, or NULL: names are not checked */
    const struct token_rules *tokens;  /* in conf.tokens, or NULL: tokens are not taken */
    struct acl *acl;                   /* of its own acl_file; owned; NULL: none */
    struct core_listener core;         /* strings owned here */
};

enum conf_log_dest { /* bits */
                     CONF_LOG_STDERR = 1,
                     CONF_LOG_STDOUT = 2,
                     CONF_LOG_SYSLOG = 4,
                     CONF_LOG_TOPIC = 8,
                     CONF_LOG_FILE = 16,
                     CONF_LOG_NONE = 32,
};

struct conf_durability {
    enum store_durability kind;
    uint32_t interval_ms; /* of STORE_INTERVAL, else 0 */
};

struct conf_passwords { /* a password_file, read once for all listeners that name it */
    char *path;
    struct passwords *passwords;
};

struct conf_tokens { /* jwt_...: once for all listeners of which the same was said */
    const void *said;
    struct token_keys *keys;
    struct token_rules rules; /* strings owned here */
};

struct conf {
    struct acl *acl;         /* of acl_file for all listeners; core.acl is the same; NULL: none */
    struct acl *nothing;     /* of listeners that are open and are not in this file any more */
    bool per_listener;       /* per_listener_settings */
    const struct acl **acls; /* with per_listener_settings, by number; core.listener_acls */
    struct core_config core;
    struct core_history *histories; /* core.histories; strings owned here */
    struct core_filter *filters;    /* core.named_filters, owned */
    struct queue_conf *queues;      /* core/queue_conf.h; core.queues is the same */
    size_t queue_count;
    struct conf_listener *listeners;
    size_t listener_count;
    struct conf_passwords *password_files; /* at most one a listener */
    size_t password_file_count;
    struct conf_tokens *tokens; /* at most one a listener */
    size_t token_count;
    unsigned shards; /* 0 = auto: the CPUs this process may use */
    int64_t global_max_clients, global_max_connections; /* -1: no limit */
    int64_t max_pending_connections;                    /* 0: no limit */
    uint32_t failed_login_delay_ms;                     /* 0: none */
    uint64_t memory_limit;                              /* bytes of heap; 0 = none */
    bool set_tcp_nodelay;
    uint32_t websockets_headers_size; /* bytes of a request's head */
    uint32_t sys_interval_s;          /* 0 = no $SYS */
    uint32_t alarm_dead_letters;      /* new ones in that time; 0 = no alarm */
    uint32_t alarm_queue_age_s;       /* 0 = no alarm */
    char *pid_file, *user;            /* or NULL */
    bool persistence;
    char *persistence_location; /* or NULL: the working folder */
    char *persistence_file;     /* within it; where the store lies is anchor.h's business */
    struct conf_durability durability;
    uint64_t store_segment_bytes, store_checkpoint_bytes; /* of struct store_log_options */
    bool daemon;                                          /* -d */
    unsigned log_dest;                                    /* enum conf_log_dest */
    char *log_file;                                       /* with CONF_LOG_FILE */
    unsigned log_types;                                   /* enum log_type */
    bool log_timestamp, log_json;
    char *log_timestamp_format; /* strftime, or NULL: seconds since 1970 */
    int log_facility;           /* syslog's LOG_DAEMON, LOG_LOCAL0 .. */
    char *file;                 /* -c, or NULL */
};

struct conf_args {    /* the command line */
    const char *file; /* -c */
    int port;         /* -p, -1: not given; ignored when the file has a listener */
    bool verbose;     /* -v: all log types */
    bool daemon;      /* -d */
};

/* Reads the file (if any) and the arguments, checks everything.  E_INVALID, E_IO, E_NOMEM: *error
 * holds one line "FILE:LINE: what is wrong and what would be right" (free it).  `warn` is called
 * with a line for each directive that is accepted but ignored or mapped. */
MUST_USE int conf_load(struct conf **out, const struct conf_args *args, char **error,
                       void (*warn)(void *ctx, const char *line), void *ctx);
void conf_free(struct conf **conf);
/* Before a reload is used: each listener gets the number that it has in the configuration that the
 * process began with, as does its access list.  E_NOMEM. */
MUST_USE int conf_number_listeners(struct conf *conf, const struct conf *first);
/* Nobody asks its access lists any more: they may be large, and a configuration stays. */
void conf_free_acls(struct conf *conf);
/* For a reload: calls say for each directive that is not the same in both and that only a restart
 * can change ("listener" when one is added, removed or moved).  Returns how many. */
unsigned conf_restart_needed(const struct conf *running, const struct conf *wanted,
                             void (*say)(void *ctx, const char *directive), void *ctx);
/* Whether both are the same sockets, whatever their other options. */
bool conf_listener_same_socket(const struct conf_listener *a, const struct conf_listener *b);
/* A queue that is not in the file, from directives without it: `queue` first, then queue_topic and
 * the like.  Any thread.  E_INVALID: *error says why (free it); E_NOMEM. */
struct conf_pair {
    const char *name, *value;
};
struct conf_queues {
    struct conf *conf;
    const struct queue_conf *queue;
};
MUST_USE int conf_queue_read(struct conf_queues *out, const struct conf_pair *pairs, size_t count,
                             char **error);
void conf_queue_free(struct conf_queues *q);

/* The defaults alone, for tests and tools. */
void conf_core_defaults(struct core_config *cfg);

#endif
