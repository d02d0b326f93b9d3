/* The directives with a grammar of their own: listeners, who may connect, log destinations, and a
 * few lists.  Each function is the apply() of rows in conf_schema.c.  Main thread. */
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>

#include "base/mem.h"
#include "conf_int.h"

static int conf_value_wrong(struct conf_reader *r, const struct conf_directive *d,
                            const char *value)
{
    return conf_fail(r, E_INVALID, "'%s' cannot be '%s': use %s", d->name, value, d->values);
}

static struct conf_draft *conf_draft_now(struct conf_reader *r)
{
    return r->current ? r->current : &r->fallback;
}

void *conf_target(struct conf_reader *r, const struct conf_directive *d)
{
    if (d->scope == CONF_GENERAL) return r->conf;
    if (d->scope == CONF_QUEUE) return conf_queue_target(r);
    if (d->scope == CONF_SECURITY) {
        r->security_seen = true;
        if (!r->per_listener) return &r->general;
    }
    struct conf_draft *draft = conf_draft_now(r);
    if (r->current == NULL && draft->touched_line == 0) {
        draft->touched_line = r->line;
        draft->touched_by = d->name;
    }
    return draft;
}

/* A place in the target struct that holds a pointer. */
static int conf_slot_set(void *base, const struct conf_directive *d, const char *value)
{
    char *slot;
    memcpy(&slot, (uint8_t *)base + d->offset, sizeof slot);
    int rc = conf_text_set(&slot, value);
    memcpy((uint8_t *)base + d->offset, &slot, sizeof slot);
    return rc;
}

int conf_apply_listener(struct conf_reader *r, const struct conf_directive *d, const char *value)
{
    char digits[8];
    int64_t port;
    size_t n = strcspn(value, " ");
    const char *address = value + n + strspn(value + n, " ");
    if (n >= sizeof digits) return conf_value_wrong(r, d, value);
    memcpy(digits, value, n);
    digits[n] = 0;
    if (conf_parse_number(digits, &port) < 0 || port < 0 || port > 65535)
        return conf_value_wrong(r, d, value);
    if (port == 0 && *address != '/')
        return conf_fail(r, E_INVALID,
                         "'listener 0' needs the path of a unix socket, such as "
                         "'listener 0 /run/sluice/mqtt.sock'");
    if (port == 0 && strlen(address) >= sizeof((struct sockaddr_un *)0)->sun_path)
        return conf_fail(r, E_INVALID, "the path of a unix socket has at most %zu bytes",
                         sizeof((struct sockaddr_un *)0)->sun_path - 1);
    if (port != 0 && *address == '/')
        return conf_fail(r, E_INVALID, "a unix socket has no port: use 'listener 0 %s'", address);
    if (r->draft_count == CONF_MAX_LISTENERS)
        return conf_fail(r, E_INVALID, "too many listeners: at most %d", CONF_MAX_LISTENERS);

    struct conf_draft *draft = &r->drafts[r->draft_count++];
    int rc = conf_draft_init(r, draft);
    if (rc < 0) return rc;
    r->current = draft;
    draft->listener.port = (uint16_t)port;
    draft->listener.line = r->line;
    rc = *address ? conf_text_set(&draft->listener.address, address) : 0;
    return rc < 0 || r->file == NULL ? rc : conf_text_set(&draft->listener.file, r->file);
}

int conf_apply_port(struct conf_reader *r, const struct conf_directive *d, const char *value)
{
    int64_t port;
    if (conf_parse_number(value, &port) < 0 || port < 1 || port > 65535)
        return conf_value_wrong(r, d, value);
    r->fallback_wanted = true;
    r->fallback.listener.port = (uint16_t)port;
    r->fallback.listener.line = r->line;
    return r->file ? conf_text_set(&r->fallback.listener.file, r->file) : 0;
}

/* bind_address: of the default listener, wherever it stands; bind_interface: of the last one. */
int conf_apply_bind(struct conf_reader *r, const struct conf_directive *d, const char *value)
{
    bool interface = strcmp(d->name, "bind_interface") == 0;
    struct conf_draft *draft = interface ? conf_draft_now(r) : &r->fallback;
    if (draft == &r->fallback && !r->fallback_wanted) {
        r->fallback_wanted = true;
        draft->listener.line = r->line;
        int rc = r->file ? conf_text_set(&draft->listener.file, r->file) : 0;
        if (rc < 0) return rc;
    }
    return conf_text_set(interface ? &draft->listener.bind_interface : &draft->listener.address,
                         value);
}

int conf_apply_domain(struct conf_reader *r, const struct conf_directive *d, const char *value)
{
    struct conf_draft *draft = conf_target(r, d);
    if (strcmp(value, "ipv4") == 0)
        draft->listener.socket_domain = AF_INET;
    else if (strcmp(value, "ipv6") == 0)
        draft->listener.socket_domain = AF_INET6;
    else
        return conf_value_wrong(r, d, value);
    return 0;
}

int conf_apply_protocol(struct conf_reader *r, const struct conf_directive *d, const char *value)
{
    bool websockets = strcmp(value, "websockets") == 0, http_api = strcmp(value, "http_api") == 0;
    if (websockets || http_api || strcmp(value, "mqtt") == 0) {
        struct conf_draft *draft = conf_draft_now(r);
        if (r->line) draft = conf_target(r, d); /* the default is what a draft begins with */
        draft->listener.websockets = websockets;
        draft->listener.http_api = http_api;
        return 0;
    }
    return conf_value_wrong(r, d, value);
}

int conf_apply_versions(struct conf_reader *r, const struct conf_directive *d, const char *value)
{
    struct conf_draft *draft = conf_target(r, d);
    uint8_t accepted = 0;
    for (const char *p = value; *p;) {
        size_t n = strcspn(p, ", \t");
        if (n > 1 || (n == 1 && (*p < '3' || *p > '5'))) return conf_value_wrong(r, d, value);
        if (n == 1) accepted |= (uint8_t)(1u << (*p - '0'));
        p += n;
        p += strspn(p, ", \t");
    }
    if (accepted == 0) return conf_value_wrong(r, d, value);
    draft->listener.core.accept_versions = accepted;
    return 0;
}

int conf_apply_mount(struct conf_reader *r, const struct conf_directive *d, const char *value)
{
    if (strpbrk(value, "+#")) return conf_value_wrong(r, d, value);
    return conf_slot_set(conf_target(r, d), d, value);
}

int conf_apply_prefix(struct conf_reader *r, const struct conf_directive *d, const char *value)
{
    if (strlen(value) > CONF_MAX_PREFIX) return conf_value_wrong(r, d, value);
    if (d->width == 0) return conf_text_set(&r->clientid_prefixes, value);
    return conf_slot_set(conf_target(r, d), d, value);
}

int conf_apply_anonymous(struct conf_reader *r, const struct conf_directive *d, const char *value)
{
    bool yes;
    if (conf_parse_bool(value, &yes) < 0) return conf_value_wrong(r, d, value);
    *((int8_t *)conf_target(r, d) + d->offset) = yes;
    return 0;
}

int conf_apply_per_listener(struct conf_reader *r, const struct conf_directive *d,
                            const char *value)
{
    bool yes;
    if (conf_parse_bool(value, &yes) < 0) return conf_value_wrong(r, d, value);
    if (yes && r->security_seen && !r->per_listener)
        return conf_fail(r, E_INVALID,
                         "'per_listener_settings' must come before "
                         "'allow_anonymous' and the other security settings");
    r->per_listener |= yes; /* as mosquitto: once set it stays */
    return 0;
}

int conf_apply_shards(struct conf_reader *r, const struct conf_directive *d, const char *value)
{
    int64_t shards = 0;
    if (strcmp(value, "auto") != 0 &&
        (conf_parse_number(value, &shards) < 0 || shards < 1 || shards > CORE_MAX_SHARDS))
        return conf_value_wrong(r, d, value);
    r->conf->shards = (unsigned)shards;
    return 0;
}

int conf_apply_expiration(struct conf_reader *r, const struct conf_directive *d, const char *value)
{
    int64_t seconds;
    if (conf_parse_expiration(value, &seconds) < 0 || seconds < 1 || seconds > UINT32_MAX)
        return conf_value_wrong(r, d, value);
    r->conf->core.persistent_client_expiration_s = (uint32_t)seconds;
    return 0;
}

int conf_apply_packet_size(struct conf_reader *r, const struct conf_directive *d, const char *value)
{
    int64_t size;
    if (conf_parse_size(value, &size) < 0 || (size > 0 && size < 20) || size > 268435460)
        return conf_value_wrong(r, d, value);
    r->conf->core.max_packet_size = (uint32_t)size;
    return 0;
}

int conf_apply_filter_index(struct conf_reader *r, const struct conf_directive *d,
                            const char *value)
{
    bool on = strcmp(value, "on") == 0;
    if (!on && strcmp(value, "off") != 0 && conf_parse_bool(value, &on) < 0)
        return conf_value_wrong(r, d, value);
    r->conf->core.filter_index = on;
    return 0;
}

/* ---- persistence ---- */

int conf_apply_persistence_file(struct conf_reader *r, const struct conf_directive *d,
                                const char *value)
{
    const char *slash = strrchr(value, '/');
    const char *name = slash ? slash + 1 : value;
    size_t n = strlen(name);
    if (n == 0 || n > CONF_MAX_NAME || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return conf_value_wrong(r, d, value);
    return conf_slot_set(r->conf, d, value);
}

int conf_apply_durability(struct conf_reader *r, const struct conf_directive *d, const char *value)
{
    struct conf_durability *out = &r->conf->durability;
    int64_t ms;
    if (strcmp(value, "commit") == 0) {
        *out = (struct conf_durability){.kind = STORE_COMMIT};
        return 0;
    }
    if (strcmp(value, "os") == 0) {
        *out = (struct conf_durability){.kind = STORE_OS};
        return 0;
    }
    size_t n = strcspn(value, " ");
    const char *duration = value + n + strspn(value + n, " ");
    if (n != 8 || memcmp(value, "interval", 8) != 0 || conf_parse_duration(duration, &ms) < 0 ||
        ms < 1 || ms > 3600 * 1000)
        return conf_value_wrong(r, d, value);
    *out = (struct conf_durability){.kind = STORE_INTERVAL, .interval_ms = (uint32_t)ms};
    return 0;
}

/* ---- the log ---- */

struct conf_word {
    const char *name;
    unsigned bit;
};

static unsigned conf_word_find(const struct conf_word *words, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(words[i].name, name) == 0) return words[i].bit;
    return 0;
}

int conf_apply_log_dest(struct conf_reader *r, const struct conf_directive *d, const char *value)
{
    static const struct conf_word words[] = {
        {"none", CONF_LOG_NONE},     {"stdout", CONF_LOG_STDOUT}, {"stderr", CONF_LOG_STDERR},
        {"syslog", CONF_LOG_SYSLOG}, {"topic", CONF_LOG_TOPIC},
    };
    if (strcmp(value, "dlt") == 0 || strcmp(value, "android") == 0) {
        conf_warn(r, "'log_dest %s' is ignored: this destination is not built in", value);
        return 0;
    }
    unsigned bit = conf_word_find(words, ARRAY_LEN(words), value);
    if (strcmp(value, "file") == 0) return conf_fail(r, E_INVALID, "'log_dest file' needs a path");
    if (strncmp(value, "file ", 5) == 0) {
        int rc = conf_text_set(&r->conf->log_file, value + 5 + strspn(value + 5, " "));
        if (rc < 0) return rc;
        bit = CONF_LOG_FILE;
    }
    if (bit == 0) return conf_value_wrong(r, d, value);
    unsigned before = r->log_dest_seen ? r->conf->log_dest & ~(unsigned)CONF_LOG_NONE : 0;
    r->conf->log_dest = bit == CONF_LOG_NONE ? bit : before | bit;
    r->log_dest_seen = r->line != 0; /* the default does not count */
    return 0;
}

int conf_apply_log_type(struct conf_reader *r, const struct conf_directive *d, const char *value)
{
    static const struct conf_word words[] = {
        {"error", LOG_T_ERROR},
        {"warning", LOG_T_WARNING},
        {"notice", LOG_T_NOTICE},
        {"information", LOG_T_INFO},
        {"debug", LOG_T_DEBUG},
        {"subscribe", LOG_T_SUBSCRIBE},
        {"unsubscribe", LOG_T_UNSUBSCRIBE},
        {"internal", LOG_T_INTERNAL},
        {"websockets", LOG_T_WEBSOCKETS},
        {"all", LOG_T_ALL},
    };
    unsigned before = r->log_types_seen ? r->conf->log_types : 0;
    unsigned bits = conf_word_find(words, ARRAY_LEN(words), value);
    bool none = strcmp(value, "none") == 0;
    if (bits == 0 && !none) return conf_value_wrong(r, d, value);
    r->conf->log_types = none ? 0 : before | bits;
    r->log_types_seen = true;
    return 0;
}

int conf_apply_log_format(struct conf_reader *r, const struct conf_directive *d, const char *value)
{
    bool json = strcmp(value, "json") == 0;
    if (!json && strcmp(value, "text") != 0) return conf_value_wrong(r, d, value);
    r->conf->log_json = json;
    return 0;
}

int conf_apply_log_facility(struct conf_reader *r, const struct conf_directive *d,
                            const char *value)
{
    static const int facility[] = {LOG_LOCAL0, LOG_LOCAL1, LOG_LOCAL2, LOG_LOCAL3,
                                   LOG_LOCAL4, LOG_LOCAL5, LOG_LOCAL6, LOG_LOCAL7};
    int64_t n;
    if (conf_parse_number(value, &n) < 0 || n < 0 || n > 7) return conf_value_wrong(r, d, value);
    r->conf->log_facility = facility[n];
    return 0;
}
