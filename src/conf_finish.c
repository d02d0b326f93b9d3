/* From drafts to listeners, and the checks that need the whole configuration.  Main thread. */
#include <inttypes.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "conf_int.h"

enum { DEFAULT_PORT = 1883, JWT_CLOCK_SKEW_S = 30 };

void conf_listener_fini(struct conf_listener *l)
{
    mem_free(l->address);
    mem_free(l->bind_interface);
    mem_free(l->file);
    mem_free(l->websockets_origins);
    mem_free(l->http_dir);
    conf_https_fini(&l->https);
    tls_context_free(&l->tls);
    tls_psks_free(&l->psks);
    mem_free((char *)(uintptr_t)l->core.mount_point); /* ours, though the core must not write */
    mem_free((char *)(uintptr_t)l->core.auto_id_prefix);
    mem_free((char *)(uintptr_t)l->core.clientid_prefixes);
    *l = (struct conf_listener){0};
}

int conf_draft_init(struct conf_reader *r, struct conf_draft *d)
{
    struct conf_draft *before = r->current;
    *d = (struct conf_draft){.anonymous = -1,
                             .anonymous_own = -1,
                             .jwt = {.require_expiry = true, .clock_skew_s = JWT_CLOCK_SKEW_S}};
    d->listener.socket_domain = AF_UNSPEC;
    d->listener.max_connections = -1;
    r->current = d;
    size_t count;
    const struct conf_directive *row = conf_schema(&count);
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        if (row[i].scope == CONF_LISTENER && row[i].initial)
            rc = conf_value_set(r, &row[i], d, row[i].initial);
    }
    r->current = before;
    return rc;
}

void conf_draft_fini(struct conf_draft *d)
{
    conf_listener_fini(&d->listener);
    mem_free(d->password_file);
    mem_free(d->acl_file);
    mem_free(d->psk_file);
    conf_jwt_fini(&d->jwt);
    mem_free(d->auto_id_prefix);
    mem_free(d->auto_id_own);
    conf_tls_fini(&d->tls);
    *d = (struct conf_draft){0};
}

static int conf_copy_text(char **slot, const char *value)
{
    return value ? conf_text_set(slot, value) : 0;
}

static int conf_core_text(const char **slot, const char *value)
{
    char *copy = mem_strndup(value, strlen(value));
    if (copy == NULL) return E_NOMEM;
    *slot = copy;
    return 0;
}

/* The users of a file, which is read when it is named first. */
static int conf_passwords(struct conf_reader *r, const char *path, const struct passwords **out)
{
    struct conf *c = r->conf;
    for (size_t i = 0; i < c->password_file_count; i++) {
        *out = c->password_files[i].passwords;
        if (strcmp(c->password_files[i].path, path) == 0) return 0;
    }
    char why[PASSWORD_WHY];
    struct conf_passwords *f = &c->password_files[c->password_file_count];
    r->file = path;
    int rc = passwords_load(&f->passwords, path, &r->line, why);
    if (rc == E_NOMEM) return rc;
    if (rc < 0) return conf_fail(r, rc, "%s", why);
    c->password_file_count++;
    *out = f->passwords;
    if (passwords_exposed(f->passwords))
        conf_warn(r, "everybody on this machine can read the file of passwords: chmod o-r");
    if (passwords_count(f->passwords) == 0)
        conf_warn(r,
                  "the file of passwords is empty: add a user with 'sluicectl passwd FILE USER'");
    r->file = r->args->file;
    r->line = 0;
    return conf_copy_text(&f->path, path);
}

/* Adds a listener as the draft says; address replaces the draft's unless NULL. */
static int conf_listener_add(struct conf_reader *r, const struct conf_draft *d, const char *address,
                             uint16_t port, bool implicit)
{
    const struct conf_draft *security = r->per_listener ? d : &r->general;
    const char *prefix = d->auto_id_own             ? d->auto_id_own
                         : security->auto_id_prefix ? security->auto_id_prefix
                                                    : "auto-";
    int anonymous = d->anonymous_own >= 0 ? d->anonymous_own : security->anonymous;
    struct conf_listener *l = &r->conf->listeners[r->conf->listener_count++];
    *l = d->listener; /* then a copy of each string of it */
    l->port = l->core.port = port;
    l->implicit = implicit;
    l->core.allow_anonymous = anonymous >= 0 ? anonymous : implicit;
    l->address = l->bind_interface = l->file = l->websockets_origins = l->http_dir = NULL;
    l->https = (struct conf_https){0};
    l->core.mount_point = l->core.auto_id_prefix = l->core.clientid_prefixes = NULL;
    const char *mount = d->listener.core.mount_point;
    int rc = conf_copy_text(&l->address, address ? address : d->listener.address);
    if (rc == 0) rc = conf_copy_text(&l->bind_interface, d->listener.bind_interface);
    if (rc == 0) rc = conf_copy_text(&l->file, d->listener.file);
    if (rc == 0) rc = conf_web_finish(r, d, l);
    l->passwords = NULL;
    l->tokens = NULL;
    if (rc == 0 && security->password_file)
        rc = conf_passwords(r, security->password_file, &l->passwords);
    if (rc == 0) rc = conf_jwt_finish(r, security, &l->tokens);
    if (rc == 0 && r->per_listener) rc = conf_read_acl(r, d->acl_file, &l->acl);
    l->core.checks_users = l->passwords || l->tokens;
    l->core.token_is_user = l->tokens != NULL;
    if (rc == 0) rc = conf_core_text(&l->core.mount_point, mount ? mount : "");
    if (rc == 0) rc = conf_core_text(&l->core.auto_id_prefix, prefix);
    if (rc == 0)
        rc = conf_core_text(&l->core.clientid_prefixes,
                            r->clientid_prefixes ? r->clientid_prefixes : "");
    if (rc == 0) rc = conf_tls_finish(r, &d->tls, security->psk_file, l);
    return rc < 0 ? rc : conf_http_finish(r, d, l);
}

/* Without a listener: both loopback addresses, so that "localhost" works whatever it resolves to.
 */
static int conf_add_implicit(struct conf_reader *r, uint16_t port)
{
    int domain = r->fallback.listener.socket_domain;
    int rc = 0;
    if (domain != AF_INET6) rc = conf_listener_add(r, &r->fallback, "127.0.0.1", port, true);
    if (rc == 0 && domain != AF_INET) rc = conf_listener_add(r, &r->fallback, "::1", port, true);
    return rc;
}

static int conf_add_listeners(struct conf_reader *r)
{
    struct conf *c = r->conf;
    uint16_t port = r->args->port < 0 ? DEFAULT_PORT : (uint16_t)r->args->port;
    size_t room = r->draft_count + 2;
    c->listeners = mem_calloc(room, sizeof *c->listeners);
    c->password_files = mem_calloc(room, sizeof *c->password_files);
    c->tokens = mem_calloc(room, sizeof *c->tokens);
    if (c->listeners == NULL || c->password_files == NULL || c->tokens == NULL) return E_NOMEM;
    if (!r->fallback_wanted && r->draft_count == 0) return conf_add_implicit(r, port);
    int rc = 0;
    if (r->fallback_wanted) {
        uint16_t own = r->fallback.listener.port;
        rc = conf_listener_add(r, &r->fallback, NULL, own ? own : port, false);
    } else if (r->fallback.touched_line) {
        conf_warn(r,
                  "'%s' in line %u stands before any 'listener' and has no effect: move it below "
                  "the listener it is meant for",
                  r->fallback.touched_by, r->fallback.touched_line);
    }
    for (size_t i = 0; i < r->draft_count && rc == 0; i++)
        rc = conf_listener_add(r, &r->drafts[i], NULL, r->drafts[i].listener.port, false);
    return rc;
}

static bool conf_same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* Two sockets that share a port by SO_REUSEPORT would both open, and each get half the clients. */
static int conf_check_twins(struct conf_reader *r)
{
    for (size_t i = 0; i < r->conf->listener_count; i++) {
        const struct conf_listener *a = &r->conf->listeners[i];
        for (size_t j = 0; j < i; j++) {
            const struct conf_listener *b = &r->conf->listeners[j];
            if (a->port != b->port || !conf_same_text(a->address, b->address) ||
                !conf_same_text(a->bind_interface, b->bind_interface) ||
                (a->socket_domain && b->socket_domain && a->socket_domain != b->socket_domain))
                continue;
            if (a->file) r->file = a->file;
            r->line = a->line;
            return conf_fail(r, E_INVALID, "listener %u%s%s is already opened by line %u%s%s",
                             a->port, a->address ? " " : "", a->address ? a->address : "", b->line,
                             conf_same_text(a->file, b->file) ? "" : " of ",
                             conf_same_text(a->file, b->file) ? "" : b->file);
        }
    }
    return 0;
}

static void conf_warn_closed(struct conf_reader *r)
{
    bool mqtt = false;
    for (size_t i = 0; i < r->conf->listener_count; i++) mqtt |= !r->conf->listeners[i].http_api;
    if (!mqtt) conf_warn(r, "there is no listener for MQTT: add 'listener 1883 127.0.0.1'");
    for (size_t i = 0; i < r->conf->listener_count; i++) {
        const struct conf_listener *l = &r->conf->listeners[i];
        if (l->core.allow_anonymous || l->core.certificate_is_user || l->core.checks_users)
            continue;
        r->file = l->file ? l->file : r->args->file;
        r->line = l->line;
        conf_warn(r,
                  "listener %u%s%s lets nobody in: 'allow_anonymous' is false, and there is no "
                  "'password_file' or 'jwt_keys_file'. Add one of them.",
                  l->port, l->address ? " " : "", l->address ? l->address : "");
    }
}

int conf_finish(struct conf_reader *r)
{
    struct conf *c = r->conf;
    r->file = r->args->file;
    r->line = 0;
    if (r->args->port != -1 && (r->args->port < 1 || r->args->port > 65535)) {
        r->file = NULL;
        return conf_fail(r, E_INVALID, "-p %d is no port: use 1 to 65535", r->args->port);
    }
    if (c->core.output_soft_bytes > c->core.output_hard_bytes)
        return conf_fail(r, E_INVALID,
                         "'output_soft_limit' (%" PRIu32 ") must not be above 'output_hard_limit' "
                         "(%" PRIu32 ")",
                         c->core.output_soft_bytes, c->core.output_hard_bytes);
    if (c->core.retry_max_interval_ms < c->core.retry_interval_ms)
        c->core.retry_max_interval_ms = c->core.retry_interval_ms;
    c->daemon = r->args->daemon;
    c->per_listener = r->per_listener;
    if (r->args->verbose) c->log_types = LOG_T_ALL;
    int rc = conf_plugins_finish(r);
    r->line = 0;
    if (rc == 0) rc = c->persistence_file ? 0 : conf_text_set(&c->persistence_file, "mosquitto.db");
    if (rc == 0) rc = conf_add_listeners(r);
    if (rc == 0) rc = conf_check_twins(r);
    if (rc == 0) rc = conf_read_acl(r, r->per_listener ? NULL : r->general.acl_file, &c->acl);
    c->core.acl = c->acl;
    if (rc == 0) rc = conf_number_listeners(c, c);
    if (rc == 0) rc = conf_queue_finish(r);
    if (rc == 0) conf_warn_closed(r);
    return rc;
}
