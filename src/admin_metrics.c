/* The shards' counters for Prometheus, and how they are asked for.  A counter is one row of a
 * table: a test sees to it that none is missing.  The admin thread, but for gather_on_shard(). */
#include "admin_int.h"

#include "base/clock.h"
#include "base/mem.h"
#include "queue_figures.h"
#include "sys.h"
#include <inttypes.h>
#include <stdio.h>

struct figure {
    const char *name; /* behind "sluice_"; those of one name stand together */
    bool gauge;
    size_t offset; /* in struct admin_figures */
    const char *help;
    const char *label; /* beside the shard's, or NULL */
};

#define COUNTER(member, text)                                                                      \
    {                                                                                              \
#member "_total", false, offsetof(struct admin_figures, core.member), text, NULL           \
    }
#define GAUGE(name, member, text)                                                                  \
    {                                                                                              \
        name, true, offsetof(struct admin_figures, core.member), text, NULL                        \
    }
#define DEAD(member, reason)                                                                       \
    {                                                                                              \
        "dead_letters_by_reason_total", false, offsetof(struct admin_figures, core.member),        \
            "Dead letters that were published, by reason.", "reason=\"" reason "\""                \
    }
#define SHELL(member, text)                                                                        \
    {                                                                                              \
#member "_total", false, offsetof(struct admin_figures, shell.member), text, NULL          \
    }

static const struct figure figures[] = {
    COUNTER(messages_received, "MQTT packets received."),
    COUNTER(messages_sent, "MQTT packets sent."),
    COUNTER(bytes_received, "Bytes received from clients."),
    COUNTER(bytes_sent, "Bytes sent to clients."),
    COUNTER(publish_received, "PUBLISH packets received."),
    COUNTER(publish_sent, "PUBLISH packets sent."),
    COUNTER(publish_dropped, "Messages that were refused or dropped."),
    COUNTER(publish_bytes_received, "Payload bytes received."),
    COUNTER(publish_bytes_sent, "Payload bytes sent."),
    COUNTER(connections_accepted, "CONNECT packets that were accepted."),
    COUNTER(connections_refused, "CONNECT packets that were refused."),
    COUNTER(logins_refused, "CONNECT packets refused for a wrong password or token."),
    COUNTER(logins_ended, "Connections whose login ended or was not renewed rightly."),
    COUNTER(sessions_expired, "Sessions that have expired."),
    COUNTER(sessions_taken_over, "Connections that another one with their client id ended."),
    COUNTER(wills_sent, "Will messages published."),
    COUNTER(dropped_queue_full, "Messages dropped because a queue was full."),
    COUNTER(dropped_slow_reader, "QoS 0 messages dropped because a client did not read."),
    COUNTER(dropped_too_large, "Messages larger than a client accepts."),
    COUNTER(dropped_expired, "Messages that expired before they were delivered."),
    COUNTER(dropped_no_memory, "Messages dropped for want of memory."),
    COUNTER(dropped_share_nacked, "Messages of shared subscriptions that a member refused."),
    COUNTER(dropped_qos0_offline, "QoS 0 messages for sessions without a connection."),
    COUNTER(filter_matched, "Messages that an attribute filter let pass."),
    COUNTER(filter_missed, "Messages that an attribute filter held back."),
    COUNTER(filter_errors, "Evaluations of attribute filters that failed."),
    COUNTER(filter_json_bad, "Payloads that a filter asked about and that are not valid JSON."),
    COUNTER(filter_json_large,
            "Payloads that a filter asked about and that are too large to read."),
    COUNTER(denied_publish, "Publishes that the access list denied."),
    COUNTER(denied_delivery, "Deliveries that the access list denied."),
    COUNTER(denied_subscribe, "Subscriptions that the access list denied."),
    COUNTER(refused_malformed, "Connections ended for a malformed packet."),
    COUNTER(refused_protocol, "Connections ended for a protocol error."),
    COUNTER(refused_limit, "Requests refused because a limit was reached."),
    COUNTER(keepalive_timeouts, "Connections ended because nothing came in time."),
    COUNTER(resent, "Messages sent once more."),
    COUNTER(route_hits, "Topics found in the route cache."),
    COUNTER(route_misses, "Topics not found in the route cache."),
    COUNTER(publishers_paused, "Times a publisher had to wait for a slow reader."),
    COUNTER(refused_pressure, "Publishes refused because memory_limit was reached."),
    COUNTER(dropped_pressure, "QoS 0 publishes dropped because memory_limit was reached."),
    COUNTER(refused_envelopes, "Publishes whose $pub/ envelope is broken."),
    COUNTER(rate_pauses, "Times a client was not read for a while as it sent too fast."),
    COUNTER(history_missed, "Messages of a history that the store had no room for."),
    COUNTER(history_duplicates, "Messages that a history has had within its dedup window."),
    COUNTER(dedup_forgotten, "Identifiers forgotten early, as there are too many of them."),
    GAUGE("clients_connected", connected, "Clients connected."),
    GAUGE("sessions", sessions, "Sessions, connected or not."),
    GAUGE("subscriptions", subscriptions, "Subscriptions, those of groups not counted."),
    GAUGE("shared_subscriptions", shared_subscriptions, "Subscriptions of groups."),
    GAUGE("filters", filters, "Subscriptions with an attribute filter."),
    GAUGE("retained_messages", retained, "Retained messages."),
    GAUGE("retained_bytes", retained_bytes,
          "Bytes of retained messages: topic, properties, payload."),
    GAUGE("queued_messages", queued, "Messages that wait in queues."),
    GAUGE("queued_bytes", queued_bytes, "Payload bytes of messages that wait in queues."),
    GAUGE("inflight_messages", inflight, "Deliveries that are not acknowledged."),
    GAUGE("queue_messages", queue_messages, "Messages in work queues."),
    GAUGE("queue_bytes", queue_bytes, "Bytes of messages in work queues."),
    DEAD(dead_attempts, "attempts"),
    DEAD(dead_rejected, "rejected"),
    DEAD(dead_expired, "expired"),
    DEAD(dead_overflow, "overflow"),
    DEAD(dead_too_large, "too-large"),
    DEAD(dead_session_expired, "session-expired"),
    COUNTER(dead_letters, "Dead letters that were published."),
    COUNTER(dead_lost, "Dead letters that could not be published."),
    GAUGE("delayed_messages", delayed, "Messages that wait for their time."),
    GAUGE("dead_letters_listed", dead_listed, "Dead letters in the list."),
    COUNTER(dead_trimmed, "Dead letters that went for the limits of the list."),
    SHELL(proxy_refused, "Connections without the PROXY header they should have."),
    SHELL(handshakes_failed, "TLS handshakes that failed."),
    SHELL(websockets_opened, "WebSockets that were opened."),
    SHELL(websockets_refused, "WebSocket handshakes that were refused."),
    SHELL(frames_refused,
          "Connections that were ended for what they sent below MQTT, in WebSockets or TLS."),
    SHELL(http_served, "Files served over HTTP."),
    SHELL(http_refused, "Requests for files that got none."),
    SHELL(address_refused, "Connections above max_connections_per_address."),
    SHELL(address_rate_refused, "Connections above max_connect_rate_per_address."),
    SHELL(pending_refused, "Connections closed for max_pending_connections."),
    SHELL(too_late, "Connections closed without CONNECT, by connect_timeout."),
    SHELL(connect_rate_pauses, "Times a listener waited for max_connect_rate."),
    SHELL(logins_delayed, "Answers to wrong passwords that waited."),
};
size_t admin_figures_missing(void)
{
    for (size_t at = 0; at < sizeof(struct admin_figures); at += sizeof(uint64_t)) {
        bool found = false;
        for (size_t i = 0; i < ARRAY_LEN(figures); i++) found |= figures[i].offset == at;
        if (!found) return at / sizeof(uint64_t) + 1;
    }
    return 0;
}

/* ---- asking ---- */

struct admin_stats {
    unsigned shard;
    struct queue_figures queues; /* of /metrics */
    unsigned queue_shard;
    bool more;
    void (*done)(struct call *c);
    struct admin_figures sum;
    struct admin_figures each[]; /* one a shard */
};

static void gather_on_shard(struct call *c, struct shard *s)
{
    struct admin_stats *g = c->state;
    g->each[g->shard].core = *core_stats(shard_core(s));
    g->each[g->shard].shell = *shard_stats(s);
}

static void gathered(struct call *c)
{
    struct admin_stats *g = c->state;
    metrics_add(&g->sum.core, &g->each[g->shard].core);
    metrics_add_shell(&g->sum.shell, &g->each[g->shard].shell);
    if (++g->shard == shards_count(c->admin->shards))
        g->done(c);
    else
        call_ask(c, g->shard, gather_on_shard, gathered);
}

void admin_gather(struct call *c, void (*done)(struct call *c))
{
    struct admin_stats *g =
        mem_calloc(1, sizeof *g + shards_count(c->admin->shards) * sizeof g->each[0]);
    if (g == NULL) {
        call_fail(c, 503, "no-memory", "there is no memory");
        return;
    }
    g->done = done;
    c->state = g;
    call_ask(c, 0, gather_on_shard, gathered);
}

const struct admin_figures *admin_sum(const struct call *c)
{
    return &((const struct admin_stats *)c->state)->sum;
}

/* ---- text ---- */

PRINTF_LIKE(3, 4) static void put(struct buf *out, bool *torn, const char *fmt, ...)
{
    char line[256];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    ASSERT(n > 0 && (size_t)n < sizeof line);
    if (buf_append(out, bytes_of(line, (size_t)n)) < 0) *torn = true;
}

static void put_one(struct buf *out, bool *torn, const char *name, const char *kind,
                    const char *help, uint64_t value)
{
    put(out, torn, "# HELP sluice_%s %s\n# TYPE sluice_%s %s\nsluice_%s %" PRIu64 "\n", name, help,
        name, kind, name, value);
}

/* first: of its name. */
static void put_figure(struct buf *out, bool *torn, const struct figure *f, bool first,
                       const struct admin_stats *g)
{
    const char *label = f->label ? f->label : "";
    if (first)
        put(out, torn, "# HELP sluice_%s %s\n# TYPE sluice_%s %s\n", f->name, f->help, f->name,
            f->gauge ? "gauge" : "counter");
    for (unsigned i = 0; i < g->shard; i++) {
        uint64_t value;
        memcpy(&value, (const uint8_t *)&g->each[i] + f->offset, sizeof value);
        put(out, torn, "sluice_%s{%s%sshard=\"%u\"} %" PRIu64 "\n", f->name, label,
            *label ? "," : "", i, value);
    }
}

/* ---- queues ---- */

int metrics_put_label(struct buf *out, const char *name, struct bytes value)
{
    int rc = buf_append(out, bytes_str(name));
    if (rc == 0) rc = buf_append(out, bytes_str("=\""));
    for (size_t i = 0; rc == 0 && i < value.n; i++) {
        uint8_t c = value.p[i];
        if (c == '\n')
            rc = buf_append(out, bytes_str("\\n"));
        else if (c == '"' || c == '\\')
            rc = buf_append(out, bytes_of((const uint8_t[]){'\\', c}, 2));
        else
            rc = buf_append(out, bytes_of(&c, 1));
    }
    return rc < 0 ? rc : buf_append(out, bytes_str("\""));
}

static void put_label(struct buf *out, bool *torn, const char *name, struct bytes value)
{
    if (metrics_put_label(out, name, value) < 0) *torn = true;
}

static void put_queue_number(struct buf *out, bool *torn, const struct queue_number *n, bool first,
                             const struct queue_figures *f)
{
    struct queue_figure q;
    const char *end = n->gauge ? "" : "_total";
    if (first)
        put(out, torn, "# HELP sluice_queue_%s%s %s\n# TYPE sluice_queue_%s%s %s\n", n->name, end,
            n->help, n->name, end, n->gauge ? "gauge" : "counter");
    for (size_t at = 0; queue_figures_next(f, &at, &q);) {
        put(out, torn, "sluice_queue_%s%s{", n->name, end);
        put_label(out, torn, "queue", q.name);
        if (n->label) put(out, torn, ",%s=\"%s\"", n->label, n->value);
        put(out, torn, "} %" PRIu64 "\n", queue_number_of(n, &q.info));
    }
}

static void put_consumers(struct buf *out, bool *torn, const struct queue_figures *f, bool window)
{
    const char *name = window ? "window" : "inflight";
    struct queue_consumer c;
    put(out, torn, "# HELP sluice_queue_consumer_%s %s\n# TYPE sluice_queue_consumer_%s gauge\n",
        name, window ? "Deliveries that a consumer may have." : "Deliveries it has not answered.",
        name);
    for (size_t at = 0; queue_consumers_next(f, &at, &c);) {
        put(out, torn, "sluice_queue_consumer_%s{", name);
        put_label(out, torn, "queue", c.queue);
        put(out, torn, ",");
        put_label(out, torn, "client", c.client);
        put(out, torn, "} %" PRIu32 "\n", window ? c.window : c.inflight);
    }
}

static void put_queues(struct buf *out, bool *torn, const struct queue_figures *f)
{
    size_t count;
    const struct queue_number *n = queue_numbers(&count);
    put_one(out, torn, "queues", "gauge", "Work queues.", f->queue_count + f->omitted);
    put_one(out, torn, "queues_omitted", "gauge", "Work queues without figures of their own.",
            f->omitted);
    for (size_t i = 0; i < count; i++)
        put_queue_number(out, torn, &n[i], i == 0 || strcmp(n[i].name, n[i - 1].name) != 0, f);
    put_consumers(out, torn, f, false);
    put_consumers(out, torn, f, true);
}

static void put_process(struct buf *out, bool *torn, const struct admin *a)
{
    const struct http_stats *http = http_stats(a->http);
    put(out, torn,
        "# HELP sluice_info The version that runs.\n# TYPE sluice_info gauge\n"
        "sluice_info{version=\"%s\"} 1\n",
        SLUICE_VERSION);
    put_one(out, torn, "uptime_seconds", "gauge", "Seconds since the start.",
            (clock_mono_ms() - a->started_ms) / 1000);
    put_one(out, torn, "memory_bytes", "gauge", "Resident memory.", sys_memory());
    put_one(out, torn, "shards", "gauge", "Worker threads.", shards_count(a->shards));
    put_one(out, torn, "connections", "gauge", "Connections, also before their CONNECT.",
            (uint64_t)shards_connections(a->shards));
    put_one(out, torn, "connections_opened_total", "counter", "Connections taken from listeners.",
            (uint64_t)shards_accepted(a->shards));
    put_one(out, torn, "admin_requests_total", "counter", "Requests to the admin listener.",
            a->counts.requests);
    put_one(out, torn, "admin_refused_total", "counter",
            "Of those: refused for who asks, or from where.", a->counts.refused);
    put_one(out, torn, "admin_logins_delayed_total", "counter",
            "Answers of the admin listener to wrong passwords that waited.", a->counts.delayed);
    put_one(out, torn, "admin_connections", "gauge", "Connections to the admin listener.",
            http->connections);
    put_one(out, torn, "admin_connections_turned_off_total", "counter",
            "Connections to the admin listener above its limits.", http->turned_off);
    put_one(out, torn, "admin_timeouts_total", "counter",
            "Connections to the admin listener that were too slow.", http->late);
}

/* When the listeners' own certificates end. */
static void put_certificates(struct buf *out, bool *torn, const struct conf *conf)
{
    bool told = false;
    for (size_t i = 0; i < conf->listener_count; i++) {
        const struct conf_listener *l = &conf->listeners[i];
        int64_t ends_s = l->tls && l->port ? tls_context_expires(l->tls) : INT64_MAX;
        if (ends_s == INT64_MAX || ends_s < 0) continue;
        if (!told)
            put(out, torn,
                "# HELP sluice_tls_cert_expiry_timestamp_seconds When a listener's certificate "
                "ends, since 1970.\n# TYPE sluice_tls_cert_expiry_timestamp_seconds gauge\n");
        told = true;
        put(out, torn,
            "sluice_tls_cert_expiry_timestamp_seconds{listener=\"%.60s%s%u\"} %" PRIi64 "\n",
            l->address ? l->address : "", l->address ? ":" : "", l->port, ends_s);
    }
}

static void write_metrics(struct call *c)
{
    const struct admin_stats *g = c->state;
    struct buf out = {0};
    bool torn = false;
    put_process(&out, &torn, c->admin);
    put_certificates(&out, &torn, c->admin->conf);
    for (size_t i = 0; i < ARRAY_LEN(figures); i++)
        put_figure(&out, &torn, &figures[i],
                   i == 0 || strcmp(figures[i].name, figures[i - 1].name) != 0, g);
    put_queues(&out, &torn, &g->queues);
    if (torn || g->queues.torn)
        call_fail(c, 503, "no-memory", "there is no memory");
    else
        call_reply(c, 200, "text/plain; version=0.0.4; charset=utf-8", buf_view(&out));
    buf_fini(&out);
}

static void queues_on_shard(struct call *c, struct shard *s)
{
    struct admin_stats *g = c->state;
    g->more = queue_figures_step(&g->queues, shard_core(s));
}

static void ask_queues(struct call *c);

static void queues_answered(struct call *c)
{
    struct admin_stats *g = c->state;
    if (!g->more) {
        g->queue_shard++;
        queue_figures_next_shard(&g->queues);
    }
    if (g->queue_shard == g->shard)
        write_metrics(c);
    else if (g->queues.tries)
        call_later(c, ADMIN_PAUSE_MS, ask_queues);
    else
        ask_queues(c);
}

static void ask_queues(struct call *c)
{
    const struct admin_stats *g = c->state;
    call_ask(c, g->queue_shard, queues_on_shard, queues_answered);
}

static void metrics_fini(struct call *c)
{
    queue_figures_fini(&((struct admin_stats *)c->state)->queues);
}

static void metrics_gathered(struct call *c)
{
    struct admin_stats *g = c->state;
    c->fini = metrics_fini;
    g->queues.with_consumers = true;
    ask_queues(c);
}

void admin_run_metrics(struct call *c) { admin_gather(c, metrics_gathered); }
