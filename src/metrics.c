/* The $SYS topics and the load averages behind some of them.  Owns the values emitted last.  Pure,
 * one thread. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/err.h"
#include "base/mem.h"
#include "metrics.h"

enum { VALUE_MAX = 48, TOPIC_MAX = 64, LOADS = 9, SPANS = 3 };

enum value_kind { DECIMAL, SECONDS };

struct metrics_row {
    const char *topic; /* below $SYS/broker/ */
    uint64_t (*value_of)(const struct metrics *m, const struct metrics_input *in);
    enum value_kind kind;
};

struct metrics {
    uint64_t clients_max, heap_max;
    bool ran; /* metrics_update() was called before */
    char version[VALUE_MAX];
    uint64_t before[LOADS]; /* counters at the last update */
    double load[LOADS][SPANS];
    char (*emitted)[VALUE_MAX]; /* of each topic; "" = none */
};

#define FIGURE(name, expression)                                                                   \
    static uint64_t name(const struct metrics *m, const struct metrics_input *in)                  \
    {                                                                                              \
        (void)m;                                                                                   \
        (void)in;                                                                                  \
        return expression;                                                                         \
    }
FIGURE(uptime, in->uptime_s)
FIGURE(clients_total, in->stats.sessions)
FIGURE(clients_maximum, m->clients_max)
FIGURE(clients_away, in->stats.sessions - min_u64(in->stats.connected, in->stats.sessions))
FIGURE(clients_connected, in->stats.connected)
FIGURE(clients_expired, in->stats.sessions_expired)
FIGURE(messages_received, in->stats.messages_received)
FIGURE(messages_sent, in->stats.messages_sent)
/* mosquitto counts what its message store holds: retained messages and those that wait. */
FIGURE(stored_count, in->stats.retained + in->stats.queued + in->stats.inflight)
FIGURE(stored_bytes, in->stats.retained_bytes + in->stats.queued_bytes)
FIGURE(subscriptions, in->stats.subscriptions)
FIGURE(shared_subscriptions, in->stats.shared_subscriptions)
FIGURE(retained, in->stats.retained)
FIGURE(heap_current, in->heap)
FIGURE(heap_maximum, m->heap_max)
FIGURE(bytes_received, in->stats.bytes_received)
FIGURE(bytes_sent, in->stats.bytes_sent)
FIGURE(publish_bytes_received, in->stats.publish_bytes_received)
FIGURE(publish_bytes_sent, in->stats.publish_bytes_sent)
FIGURE(publish_received, in->stats.publish_received)
FIGURE(publish_sent, in->stats.publish_sent)
FIGURE(publish_dropped, in->stats.publish_dropped)
FIGURE(output_count, in->output_count)
FIGURE(output_bytes, in->output_bytes)
FIGURE(sockets, in->sockets)
FIGURE(sockets_accepted, in->sockets_accepted)
FIGURE(connections, in->stats.connections_accepted + in->stats.connections_refused)

/* Names exactly as mosquitto 2.1's, with the space in "retained messages". */
static const struct metrics_row rows[] = {
    {"uptime", uptime, SECONDS},
    {"clients/total", clients_total, DECIMAL},
    {"clients/maximum", clients_maximum, DECIMAL},
    {"clients/disconnected", clients_away, DECIMAL},
    {"clients/inactive", clients_away, DECIMAL},
    {"clients/connected", clients_connected, DECIMAL},
    {"clients/active", clients_connected, DECIMAL},
    {"clients/expired", clients_expired, DECIMAL},
    {"messages/received", messages_received, DECIMAL},
    {"messages/sent", messages_sent, DECIMAL},
    {"messages/stored", stored_count, DECIMAL},
    {"store/messages/count", stored_count, DECIMAL},
    {"store/messages/bytes", stored_bytes, DECIMAL},
    {"subscriptions/count", subscriptions, DECIMAL},
    {"shared_subscriptions/count", shared_subscriptions, DECIMAL},
    {"retained messages/count", retained, DECIMAL},
    {"heap/current", heap_current, DECIMAL},
    {"heap/maximum", heap_maximum, DECIMAL},
    {"bytes/received", bytes_received, DECIMAL},
    {"bytes/sent", bytes_sent, DECIMAL},
    {"publish/bytes/received", publish_bytes_received, DECIMAL},
    {"publish/bytes/sent", publish_bytes_sent, DECIMAL},
    {"publish/messages/received", publish_received, DECIMAL},
    {"publish/messages/sent", publish_sent, DECIMAL},
    {"publish/messages/dropped", publish_dropped, DECIMAL},
    {"packet/out/count", output_count, DECIMAL},
    {"packet/out/bytes", output_bytes, DECIMAL},
    {"connections/socket/count", sockets, DECIMAL},
};

FIGURE(proxy_refused, in->shell.proxy_refused)
FIGURE(handshakes_failed, in->shell.handshakes_failed)
FIGURE(websockets_opened, in->shell.websockets_opened)
FIGURE(websockets_refused, in->shell.websockets_refused)
FIGURE(frames_refused, in->shell.frames_refused)
FIGURE(http_served, in->shell.http_served)
FIGURE(http_refused, in->shell.http_refused)
FIGURE(refused_envelopes, in->stats.refused_envelopes)
FIGURE(address_refused, in->shell.address_refused)
FIGURE(address_rate_refused, in->shell.address_rate_refused)
FIGURE(pending_refused, in->shell.pending_refused)
FIGURE(too_late, in->shell.too_late)
FIGURE(connect_rate_pauses, in->shell.connect_rate_pauses)
FIGURE(logins_delayed, in->shell.logins_delayed)
FIGURE(rate_pauses, in->stats.rate_pauses)

FIGURE(filters_matched, in->stats.filter_matched)
FIGURE(filters_missed, in->stats.filter_missed)
FIGURE(filter_errors, in->stats.filter_errors)
FIGURE(filter_json_bad, in->stats.filter_json_bad)
FIGURE(filter_json_large, in->stats.filter_json_large)
FIGURE(logins_ended, in->stats.logins_ended)
FIGURE(memory_refused, in->stats.refused_pressure)
FIGURE(memory_dropped, in->stats.dropped_pressure)

/* Ours, below $SYS/sluice/: who was not let in, and what filters said of messages. */
static const struct metrics_row own_rows[] = {
    {"refused/proxy_header", proxy_refused, DECIMAL},
    {"refused/tls_handshake", handshakes_failed, DECIMAL},
    {"refused/websocket_handshake", websockets_refused, DECIMAL},
    {"refused/websocket_frame", frames_refused, DECIMAL},
    {"refused/http_request", http_refused, DECIMAL},
    {"websockets/opened", websockets_opened, DECIMAL},
    {"http/served", http_served, DECIMAL},
    {"refused/envelopes", refused_envelopes, DECIMAL},
    {"refused/address_connections", address_refused, DECIMAL},
    {"refused/address_rate", address_rate_refused, DECIMAL},
    {"refused/pending", pending_refused, DECIMAL},
    {"refused/connect_timeout", too_late, DECIMAL},
    {"slowed/connect_rate", connect_rate_pauses, DECIMAL},
    {"slowed/logins", logins_delayed, DECIMAL},
    {"slowed/rate", rate_pauses, DECIMAL},
    {"logins/ended", logins_ended, DECIMAL},
    {"memory/refused", memory_refused, DECIMAL},
    {"memory/dropped", memory_dropped, DECIMAL},
    {"filters/matched", filters_matched, DECIMAL},
    {"filters/missed", filters_missed, DECIMAL},
    {"filters/errors", filter_errors, DECIMAL},
    {"filters/json_bad", filter_json_bad, DECIMAL},
    {"filters/json_large", filter_json_large, DECIMAL},
};

FIGURE(dead_listed, in->stats.dead_listed)
FIGURE(dead_attempts, in->stats.dead_attempts)
FIGURE(dead_rejected, in->stats.dead_rejected)
FIGURE(dead_expired, in->stats.dead_expired)
FIGURE(dead_overflow, in->stats.dead_overflow)
FIGURE(dead_too_large, in->stats.dead_too_large)
FIGURE(dead_session_expired, in->stats.dead_session_expired)

/* Dead letters, below $SYS/broker/dead/: those in the list, and by reason those published. */
static const struct metrics_row dead_rows[] = {
    {"listed", dead_listed, DECIMAL},
    {"attempts", dead_attempts, DECIMAL},
    {"rejected", dead_rejected, DECIMAL},
    {"expired", dead_expired, DECIMAL},
    {"overflow", dead_overflow, DECIMAL},
    {"too-large", dead_too_large, DECIMAL},
    {"session-expired", dead_session_expired, DECIMAL},
};

/* Below $SYS/broker/load/, each with /1min, /5min, /15min: events a minute. */
static const struct metrics_row loads[LOADS] = {
    {"messages/received", messages_received, DECIMAL},
    {"messages/sent", messages_sent, DECIMAL},
    {"publish/received", publish_received, DECIMAL},
    {"publish/sent", publish_sent, DECIMAL},
    {"publish/dropped", publish_dropped, DECIMAL},
    {"bytes/received", bytes_received, DECIMAL},
    {"bytes/sent", bytes_sent, DECIMAL},
    {"sockets", sockets_accepted, DECIMAL},
    {"connections", connections, DECIMAL},
};

enum {
    VERSION_TOPIC = ARRAY_LEN(rows),
    LOAD_TOPICS,
    OWN_TOPICS = LOAD_TOPICS + LOADS * SPANS,
    DEAD_TOPICS = OWN_TOPICS + ARRAY_LEN(own_rows),
    TOPICS = DEAD_TOPICS + ARRAY_LEN(dead_rows),
};

int metrics_new(struct metrics **out, const char *version)
{
    struct metrics *m = mem_calloc(1, sizeof *m);
    if (m == NULL) return E_NOMEM;
    m->emitted = mem_calloc(TOPICS, sizeof *m->emitted);
    if (m->emitted == NULL) {
        mem_free(m);
        return E_NOMEM;
    }
    snprintf(m->version, sizeof m->version, "sluice version %.8s (mosquitto-compatible)", version);
    *out = m;
    return 0;
}

void metrics_free(struct metrics **metrics)
{
    if (*metrics == NULL) return;
    mem_free((*metrics)->emitted);
    mem_free(*metrics);
    *metrics = NULL;
}

void metrics_forget(struct metrics *metrics)
{
    memset(metrics->emitted, 0, TOPICS * sizeof *metrics->emitted);
}

/* Every member is a count of the same type, so that a new one cannot be forgotten here. */
static void add_all(void *sum, const void *one, size_t size)
{
    for (size_t at = 0; at < size; at += sizeof(uint64_t)) {
        uint64_t a, b;
        memcpy(&a, (uint8_t *)sum + at, sizeof a);
        memcpy(&b, (const uint8_t *)one + at, sizeof b);
        a += b;
        memcpy((uint8_t *)sum + at, &a, sizeof a);
    }
}

void metrics_add(struct core_stats *sum, const struct core_stats *one)
{
    _Static_assert(sizeof *sum % sizeof(uint64_t) == 0, "only uint64_t members");
    add_all(sum, one, sizeof *sum);
}

void metrics_add_shell(struct shard_stats *sum, const struct shard_stats *one)
{
    _Static_assert(sizeof *sum % sizeof(uint64_t) == 0, "only uint64_t members");
    add_all(sum, one, sizeof *sum);
}

struct emitter {
    struct metrics *m;
    void (*emit)(void *ctx, const char *topic, const char *value);
    void *ctx;
};

static void metrics_emit(const struct emitter *e, unsigned index, const char *topic,
                         const char *value)
{
    char *last = e->m->emitted[index];
    if (strcmp(last, value) == 0) return;
    snprintf(last, VALUE_MAX, "%s", value);
    e->emit(e->ctx, topic, value);
}

static void metrics_emit_row(const struct emitter *e, const struct metrics_input *in,
                             unsigned index, const char *above, const struct metrics_row *row)
{
    char topic[TOPIC_MAX], value[VALUE_MAX];
    snprintf(topic, sizeof topic, "$SYS/%s/%s", above, row->topic);
    snprintf(value, sizeof value, "%" PRIu64 "%s", row->value_of(e->m, in),
             row->kind == SECONDS ? " seconds" : "");
    metrics_emit(e, index, topic, value);
}

static void metrics_emit_rows(const struct emitter *e, const struct metrics_input *in)
{
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) metrics_emit_row(e, in, i, "broker", &rows[i]);
    for (unsigned i = 0; i < ARRAY_LEN(own_rows); i++)
        metrics_emit_row(e, in, OWN_TOPICS + i, "sluice", &own_rows[i]);
    for (unsigned i = 0; i < ARRAY_LEN(dead_rows); i++)
        metrics_emit_row(e, in, DEAD_TOPICS + i, "broker/dead", &dead_rows[i]);
    metrics_emit(e, VERSION_TOPIC, "$SYS/broker/version", e->m->version);
}

/* mosquitto's averages: the rate a minute since the last time, faded in with 1 - e^(-elapsed/span).
 */
static void metrics_average(struct metrics *m, const struct metrics_input *in, double elapsed_s)
{
    static const double span_s[SPANS] = {60, 300, 900};
    for (unsigned i = 0; i < LOADS; i++) {
        uint64_t now = loads[i].value_of(m, in);
        uint64_t events = now - min_u64(now, m->before[i]);
        m->before[i] = now;
        if (!m->ran || elapsed_s <= 0) continue;
        double rate = (double)events * 60 / elapsed_s;
        for (unsigned j = 0; j < SPANS; j++)
            m->load[i][j] = rate + exp(-elapsed_s / span_s[j]) * (m->load[i][j] - rate);
    }
}

static void metrics_emit_loads(const struct emitter *e)
{
    static const char *const span_name[SPANS] = {"1min", "5min", "15min"};
    char topic[TOPIC_MAX], value[VALUE_MAX];
    for (unsigned i = 0; i < LOADS; i++) {
        for (unsigned j = 0; j < SPANS; j++) {
            snprintf(topic, sizeof topic, "$SYS/broker/load/%s/%s", loads[i].topic, span_name[j]);
            snprintf(value, sizeof value, "%.2f", e->m->load[i][j]);
            metrics_emit(e, LOAD_TOPICS + i * SPANS + j, topic, value);
        }
    }
}

void metrics_update(struct metrics *metrics, const struct metrics_input *in, double elapsed_s,
                    void (*emit)(void *ctx, const char *topic, const char *value), void *ctx)
{
    struct emitter e = {metrics, emit, ctx};
    metrics->clients_max = max_u64(metrics->clients_max, in->stats.connected);
    metrics->heap_max = max_u64(metrics->heap_max, max_u64(in->heap, in->heap_max));
    metrics_average(metrics, in, elapsed_s);
    metrics->ran = true;
    metrics_emit_rows(&e, in);
    metrics_emit_loads(&e);
}
