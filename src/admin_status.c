/* What the admin listener says of the broker as a whole: that it lives, its figures, and its
 * configuration.  The admin thread, but for ready_on_shard(). */
#include "admin_int.h"

#include "base/clock.h"
#include "base/mem.h"
#include "conf_int.h"
#include "sys.h"
#include <unistd.h>

void admin_run_index(struct call *c)
{
    static const char page[] =
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>sluice</title>\n"
        "<h1>sluice " SLUICE_VERSION "</h1>\n<ul>\n"
        "<li><a href=\"/api/v1/status\">/api/v1/status</a>: the broker as a whole\n"
        "<li><a href=\"/api/v1/clients?limit=100\">/api/v1/clients</a>,\n"
        "<a href=\"/api/v1/subscriptions?limit=100\">/api/v1/subscriptions</a>,\n"
        "<a href=\"/api/v1/retained?limit=100\">/api/v1/retained</a>\n"
        "<li><a href=\"/api/v1/queues?limit=100\">/api/v1/queues</a>,\n"
        "<a href=\"/api/v1/dead?limit=100\">/api/v1/dead</a>: work queues and dead letters\n"
        "<li><a href=\"/api/v1/history\">/api/v1/history</a>: what can be replayed\n"
        "<li><a href=\"/api/v1/config\">/api/v1/config</a>: the directives in force\n"
        "<li><a href=\"/metrics\">/metrics</a>: counters for Prometheus\n"
        "<li><a href=\"/api/v1/openapi.json\">/api/v1/openapi.json</a>: all of this for machines\n"
        "</ul>\n<p>In a terminal: <code>sluicectl status</code>.\n</html>\n";
    call_reply_with(c, 200, "text/html; charset=utf-8",
                    (struct http_field){"content-security-policy:",
                                        "default-src 'none'; frame-ancestors 'none'"},
                    bytes_of(page, sizeof page - 1));
}

/* ---- probes ---- */

void admin_run_livez(struct call *c) { call_reply(c, 200, "text/plain", bytes_str("ok\n")); }

static void ready(struct call *c) { call_reply(c, 200, "text/plain", bytes_str("ok\n")); }

/* Every shard has had a turn. */
void admin_run_readyz(struct call *c) { admin_gather(c, ready); }

/* ---- status ---- */

static json_t *number(uint64_t value) { return json_integer((json_int_t)value); }

static void write_status(struct call *c)
{
    const struct admin *a = c->admin;
    const struct conf *conf = a->conf;
    const struct core_stats *s = &admin_sum(c)->core;
    json_t *j = json_pack("{s:s, s:o, s:i, s:o, s:s?, s:b, s:o, s:o}", "version", SLUICE_VERSION,
                          "uptime_seconds", number((clock_mono_ms() - a->started_ms) / 1000), "pid",
                          (int)getpid(), "shards", number(shards_count(a->shards)), "config_file",
                          conf->file, "persistence", conf->persistence, "memory_bytes",
                          number(sys_memory()), "connections",
                          number((uint64_t)shards_connections(a->shards)));
    const struct {
        const char *name;
        uint64_t value;
    } figures[] = {
        {"clients_connected", s->connected},
        {"sessions", s->sessions},
        {"subscriptions", s->subscriptions},
        {"shared_subscriptions", s->shared_subscriptions},
        {"retained", s->retained},
        {"retained_bytes", s->retained_bytes},
        {"queued", s->queued},
        {"queued_bytes", s->queued_bytes},
        {"inflight", s->inflight},
        {"messages_received", s->messages_received},
        {"messages_sent", s->messages_sent},
        {"publish_received", s->publish_received},
        {"publish_sent", s->publish_sent},
        {"publish_dropped", s->publish_dropped},
        {"bytes_received", s->bytes_received},
        {"bytes_sent", s->bytes_sent},
    };
    bool torn = j == NULL;
    for (size_t i = 0; i < ARRAY_LEN(figures); i++)
        torn |= json_object_set_new(j, figures[i].name, number(figures[i].value)) < 0;
    if (torn) json_decref(j);
    call_reply_json(c, 200, torn ? NULL : j);
}

void admin_run_status(struct call *c) { admin_gather(c, write_status); }

/* ---- configuration ---- */

static json_t *directive_row(const struct conf_directive *d, const struct conf *conf)
{
    char text[64];
    const char *value = text;
    if (d->kind == CONF_TEXT) {
        memcpy(&value, (const uint8_t *)conf + d->offset, sizeof value);
    } else {
        conf_value_text(d, conf, text, sizeof text);
    }
    return json_pack("{s:s, s:s?, s:s?, s:b}", "name", d->name, "value", value, "default",
                     d->initial, "reloadable", d->reloadable);
}

/* Values that are stored as they were written; those with a grammar of their own are not. */
static json_t *directives(const struct conf *conf)
{
    size_t count;
    const struct conf_directive *row = conf_schema(&count);
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        const struct conf_directive *d = &row[i];
        if (d->scope != CONF_GENERAL || d->width == 0 || d->kind == CONF_OWN ||
            d->status != CONF_SUPPORTED)
            continue;
        (void)json_array_append_new(list, directive_row(d, conf));
    }
    return list;
}

static json_t *listener_rows(const struct conf *conf)
{
    json_t *list = json_array();
    for (size_t i = 0; i < conf->listener_count; i++) {
        const struct conf_listener *l = &conf->listeners[i];
        (void)json_array_append_new(
            list,
            json_pack("{s:i, s:s?, s:s, s:b, s:b, s:b, s:I}", "port", l->port, "address",
                      l->address, "protocol", l->http_api ? "http_api" : "mqtt", "tls",
                      l->tls != NULL, "allow_anonymous", l->core.allow_anonymous, "checks_users",
                      l->core.checks_users, "max_connections", (json_int_t)l->max_connections));
    }
    return list;
}

void admin_run_config(struct call *c)
{
    const struct conf *conf = c->admin->conf;
    call_reply_json(c, 200,
                    json_pack("{s:s?, s:o, s:o}", "file", conf->file, "directives",
                              directives(conf), "listeners", listener_rows(conf)));
}
