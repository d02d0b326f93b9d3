/* Private to src/conf*.c: the schema of directives, the reader's state, and the doors between
 * conf.c (files and lines), conf_value.c (what a value may be), conf_apply.c (directives with a
 * grammar of their own), conf_tls.c (those of TLS), conf_finish.c (listeners, final checks),
 * conf_schema.c (the table) and conf_doc.c (the reference page made from it).  Main thread. */
#ifndef SRC_CONF_INT_H
#define SRC_CONF_INT_H

#include <stdio.h>

#include "base/buf.h"
#include "conf.h"

enum {
    CONF_MAX_FILE_BYTES = 1 << 20, /* a configuration is written by people */
    CONF_MAX_LINE_BYTES = 8192,
    CONF_MAX_ACL_BYTES = 16 << 20, /* by programs */
    CONF_MAX_DEPTH = 10,           /* include_dir within include_dir; mosquitto's own limit */
    CONF_MAX_FILES = 1000,         /* all files of one configuration */
    CONF_MAX_HISTORIES = 64,       /* a topic that is new is compared with each */
    CONF_MAX_LISTENERS = 64,       /* each costs a socket per shard */
    CONF_MAX_FILTERS = 1000,       /* named ones; they are looked for one by one */
    CONF_MAX_FILTER_NAME = 64,
    CONF_MAX_PLUGINS = 16,
    CONF_MAX_ORIGINS = 64, /* of a listener */
    CONF_MAX_PREFIX = 50,  /* of client ids, as mosquitto */
    CONF_MAX_NAME = 200,   /* bytes of persistence_file: longer names are made from it */
};

enum conf_status {
    CONF_SUPPORTED,
    CONF_MAPPED,  /* works, in another way; help says how */
    CONF_IGNORED, /* accepted with a warning; help says why */
    CONF_NOT_YET, /* known, refused */
};

enum conf_kind {
    CONF_BOOL,
    CONF_NUMBER,
    CONF_SIZE,
    CONF_DURATION,
    CONF_TEXT, /* a string owned by the target */
    CONF_OWN,  /* parsed by apply() alone */
};

enum conf_scope {
    CONF_GENERAL,
    CONF_LISTENER, /* the last `listener`, or the default one */
    CONF_QUEUE,    /* the last `queue` */
    CONF_SECURITY, /* with per_listener_settings as CONF_LISTENER, else all listeners */
};

struct conf_reader;

struct conf_directive {
    const char *name;
    const char *section; /* heading of the reference page; NULL: that of the row before */
    enum conf_status status;
    enum conf_scope scope;
    enum conf_kind kind;
    bool reloadable;
    uint16_t offset;     /* in struct conf, for other scopes in struct conf_draft */
    uint8_t width;       /* bytes of an integer there */
    uint32_t unit_ms;    /* CONF_DURATION: of the integer stored */
    int64_t min, max;    /* in units of what is stored */
    const char *initial; /* the default, as one would write it; NULL: none */
    const char *values;  /* CONF_OWN: what may be written */
    int (*apply)(struct conf_reader *r, const struct conf_directive *d, const char *value);
    const char *help;
};

/* TLS directives that are text; in this order in conf_tls.c. */
enum conf_tls_text {
    CONF_TLS_CERT,
    CONF_TLS_KEY,
    CONF_TLS_CA,
    CONF_TLS_CA_PATH,
    CONF_TLS_CRL,
    CONF_TLS_DH,
    CONF_TLS_CIPHERS,
    CONF_TLS_CIPHERS_13,
    CONF_TLS_PSK_HINT,
    CONF_TLS_TEXTS,
};

struct conf_tls {
    char *text[CONF_TLS_TEXTS];       /* NULL: not said */
    unsigned line[CONF_TLS_TEXTS];    /* where it was */
    unsigned require_line, user_line; /* of the last of the booleans that is true */
    bool only_13;
    bool require_certificate, ignore_dates, identity_is_user, subject_is_user;
};

struct conf_jwt {                                         /* directives jwt_... */
    char *keys_file, *issuer, *audience, *username_claim; /* NULL: not said */
    bool require_expiry;
    uint32_t clock_skew_s;
};

/* A listener while the file is read: what is not said is decided at the end. */
struct conf_draft {
    struct conf_listener listener;
    int8_t anonymous;     /* allow_anonymous: -1 not said */
    int8_t anonymous_own; /* listener_allow_anonymous: -1 not said */
    char *auto_id_prefix; /* auto_id_prefix; NULL not said */
    char *auto_id_own;    /* listener_auto_id_prefix; NULL not said */
    struct conf_tls tls;
    char *password_file;   /* NULL not said */
    char *acl_file;        /* likewise */
    char *psk_file;        /* likewise */
    unsigned origin_count; /* in listener.websockets_origins */
    unsigned web_line;     /* of the last directive for WebSockets; 0: none */
    const char *web_name;
    struct conf_jwt jwt;
    unsigned touched_line; /* 0: no option of this listener was set */
    const char *touched_by;
};

struct conf_plugin { /* of plugin_load */
    char *name;
    unsigned kind;
    char *file; /* what its option says; NULL: not said yet */
};

struct conf_reader {
    struct conf *conf;
    const struct conf_args *args;
    char *error;      /* the first one */
    const char *file; /* being read */
    unsigned line;    /* 0: not in a file */
    unsigned file_count, depth;
    struct conf_draft fallback; /* the listener made by `port`, `bind_address` */
    bool fallback_wanted;
    struct conf_draft general; /* CONF_SECURITY without per_listener_settings */
    struct conf_draft *drafts; /* CONF_MAX_LISTENERS of them */
    size_t draft_count;
    struct conf_draft *current; /* the last listener of this file; NULL: fallback */
    bool per_listener, security_seen;
    struct conf_plugin loaded[CONF_MAX_PLUGINS];
    size_t loaded_count;
    struct {
        const char *option; /* the directive that has to follow; NULL: none */
        char **slot;        /* where its value goes */
        unsigned line;
        unsigned use_line; /* of the last plugin_use; 0: none */
    } plugin;
    bool log_dest_seen, log_types_seen;
    char *clientid_prefixes;
    void (*warn)(void *ctx, const char *line);
    void *warn_ctx;
};

/* conf.c: all set r->error to "FILE:LINE: ..." once and return code (or E_NOMEM). */
MUST_USE int conf_fail(struct conf_reader *r, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
void conf_warn(struct conf_reader *r, const char *fmt, ...) PRINTF_LIKE(2, 3);
MUST_USE char *conf_format(const char *fmt, ...)
    PRINTF_LIKE(1, 2); /* mem_free(); NULL: no memory */
/* Replaces *slot by a copy of value; E_NOMEM: *slot is as it was. */
MUST_USE int conf_text_set(char **slot, const char *value);

/* The whole file, at most so many bytes, and a 0 behind it. */
MUST_USE int conf_slurp(struct conf_reader *r, FILE *file, uint32_t most, struct buf *in);

/* conf_schema.c */
const struct conf_directive *conf_schema(size_t *count);
/* conf_find.c */
const struct conf_directive *conf_find(const char *name); /* also plugin_opt_* and the like */
const char *conf_nearest(const char *name);               /* NULL: nothing looks like it */

/* conf_value.c: 0 or E_INVALID. */
int conf_parse_bool(const char *value, bool *out);
int conf_parse_number(const char *value, int64_t *out);
int conf_parse_size(const char *value, int64_t *out);
int conf_parse_duration(const char *value, int64_t *out_ms);
int conf_parse_expiration(const char *value, int64_t *out_s);
/* Parses value by d's kind and range into the struct at base.  Sets r's error. */
MUST_USE int conf_value_set(struct conf_reader *r, const struct conf_directive *d, void *base,
                            const char *value);
/* "1-65535", "bytes, or with k M G; 0-...": for messages and the reference page. */
void conf_value_expected(const struct conf_directive *d, char *out, size_t room);
/* What the struct at base has for d, as one would write it; d is CONF_BOOL to CONF_DURATION. */
void conf_value_text(const struct conf_directive *d, const void *base, char *out, size_t room);

/* conf_apply.c: the apply() of the rows that need one. */
int conf_apply_listener(struct conf_reader *r, const struct conf_directive *d, const char *value);
int conf_apply_port(struct conf_reader *r, const struct conf_directive *d, const char *value);
int conf_apply_bind(struct conf_reader *r, const struct conf_directive *d, const char *value);
int conf_apply_domain(struct conf_reader *r, const struct conf_directive *d, const char *value);
int conf_apply_protocol(struct conf_reader *r, const struct conf_directive *d, const char *value);
int conf_apply_origin(struct conf_reader *r, const struct conf_directive *d, const char *value);
int conf_apply_http_dir(struct conf_reader *r, const struct conf_directive *d, const char *value);
int conf_apply_headers_size(struct conf_reader *r, const struct conf_directive *d,
                            const char *value);
int conf_apply_versions(struct conf_reader *r, const struct conf_directive *d, const char *value);
int conf_apply_mount(struct conf_reader *r, const struct conf_directive *d, const char *value);
int conf_apply_prefix(struct conf_reader *r, const struct conf_directive *d, const char *value);
int conf_apply_anonymous(struct conf_reader *r, const struct conf_directive *d, const char *value);
int conf_apply_per_listener(struct conf_reader *r, const struct conf_directive *d,
                            const char *value);
int conf_apply_shards(struct conf_reader *r, const struct conf_directive *d, const char *value);
int conf_apply_expiration(struct conf_reader *r, const struct conf_directive *d, const char *value);
int conf_apply_packet_size(struct conf_reader *r, const struct conf_directive *d,
                           const char *value);
int conf_apply_filter_index(struct conf_reader *r, const struct conf_directive *d,
                            const char *value);
/* conf_filter.c */
int conf_apply_filter(struct conf_reader *r, const struct conf_directive *d, const char *value);
void conf_filters_fini(struct conf *c);
int conf_apply_persistence_file(struct conf_reader *r, const struct conf_directive *d,
                                const char *value);
int conf_apply_durability(struct conf_reader *r, const struct conf_directive *d, const char *value);
int conf_apply_log_dest(struct conf_reader *r, const struct conf_directive *d, const char *value);
int conf_apply_log_type(struct conf_reader *r, const struct conf_directive *d, const char *value);
int conf_apply_log_format(struct conf_reader *r, const struct conf_directive *d, const char *value);
int conf_apply_log_facility(struct conf_reader *r, const struct conf_directive *d,
                            const char *value);
/* conf_history.c */
int conf_apply_history(struct conf_reader *r, const struct conf_directive *d, const char *value);
int conf_apply_history_limit(struct conf_reader *r, const struct conf_directive *d,
                             const char *value);
void conf_histories_fini(struct conf *c);
/* conf_plugin.c */
int conf_apply_plugin(struct conf_reader *r, const struct conf_directive *d, const char *value);
int conf_apply_plugin_load(struct conf_reader *r, const struct conf_directive *d,
                           const char *value);
int conf_apply_plugin_use(struct conf_reader *r, const struct conf_directive *d, const char *value);
int conf_apply_plugin_option(struct conf_reader *r, const struct conf_directive *d,
                             const char *value);
MUST_USE int conf_plugins_finish(struct conf_reader *r); /* the checks that need the whole file */
void conf_plugins_fini(struct conf_reader *r);
/* conf_queue.c */
int conf_apply_queue(struct conf_reader *r, const struct conf_directive *d, const char *value);
int conf_apply_queue_topic(struct conf_reader *r, const struct conf_directive *d,
                           const char *value);
int conf_apply_queue_backoff(struct conf_reader *r, const struct conf_directive *d,
                             const char *value);
int conf_apply_queue_word(struct conf_reader *r, const struct conf_directive *d, const char *value);
int conf_apply_dead_reasons(struct conf_reader *r, const struct conf_directive *d,
                            const char *value);
void *conf_queue_target(struct conf_reader *r); /* NULL: no `queue` was there yet */
MUST_USE int conf_queue_finish(struct conf_reader *r);
void conf_queues_fini(struct conf *c);
/* conf_tls.c */
int conf_apply_tls_text(struct conf_reader *r, const struct conf_directive *d, const char *value);
int conf_apply_tls_version(struct conf_reader *r, const struct conf_directive *d,
                           const char *value);
int conf_apply_tls_certificate(struct conf_reader *r, const struct conf_directive *d,
                               const char *value);
int conf_apply_tls_keyform(struct conf_reader *r, const struct conf_directive *d,
                           const char *value);
void conf_tls_fini(struct conf_tls *t);
/* l's context, when t has what it takes; reads the files. */
MUST_USE int conf_tls_finish(struct conf_reader *r, const struct conf_tls *t, const char *psk_file,
                             struct conf_listener *l);
/* Where d's value goes now: the configuration or a draft. */
void *conf_target(struct conf_reader *r, const struct conf_directive *d);

/* conf_finish.c: makes the listeners of the drafts, and the checks that need the whole. */
/* All defaults; after an error too, conf_draft_fini() is due. */
MUST_USE int conf_draft_init(struct conf_reader *r, struct conf_draft *d);
void conf_draft_fini(struct conf_draft *d);
MUST_USE int conf_finish(struct conf_reader *r);
void conf_listener_fini(struct conf_listener *l);

/* conf_web.c: what d says of WebSockets, copied to l. */
MUST_USE int conf_web_finish(struct conf_reader *r, const struct conf_draft *d,
                             struct conf_listener *l);
/* conf_http.c: when all else of l is there. */
MUST_USE int conf_http_finish(struct conf_reader *r, const struct conf_draft *d,
                              struct conf_listener *l);
void conf_https_fini(struct conf_https *h);

/* conf_jwt.c: the rules for tokens that security says; *out is NULL without a jwt_keys_file. */
MUST_USE int conf_jwt_finish(struct conf_reader *r, const struct conf_draft *security,
                             const struct token_rules **out);
void conf_jwt_fini(struct conf_jwt *j);
void conf_tokens_fini(struct conf_tokens *t);

/* conf_acl.c: the access list of an acl_file; path NULL: *out is NULL. */
MUST_USE int conf_read_acl(struct conf_reader *r, const char *path, struct acl **out);

/* conf_doc.c: the reference page; E_NOMEM. */
MUST_USE int conf_document(struct buf *out);

#endif
