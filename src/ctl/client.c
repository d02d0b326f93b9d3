/* sluicectl pub and sub: the connection once it is there, as client.h says.  What is sent is
 * queued, and goes out whenever client_wait() waits; so nothing blocks while the broker has
 * something to say.  One thread. */
#include "client.h"

#include "base/clock.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

enum { BUSY = 64 * 1024, GOODBYE_MS = 5000 };

/* "sluicectl: ..." and the end of the connection; the first reason counts. */
static enum client_event end(struct client *c, int code, const char *what, const char *why)
{
    if (c->code == 0) c->code = ctl_fail(code, "%s%s%s", what, why ? ": " : "", why ? why : "");
    return CLIENT_ENDED;
}

static void tell(const struct client *c, const char *verb, unsigned type)
{
    if (c->options->debug) fprintf(stderr, "%s %s\n", verb, mqtt_type_name(type));
}

void client_reason(char out[REASON_TEXT_MAX], uint8_t reason, const struct mqtt_props *props)
{
    int n = snprintf(out, REASON_TEXT_MAX, "%s (0x%02x)", mqtt_reason_name(reason), reason);
    if (props && mqtt_has(props, MQTT_P_REASON_STRING))
        snprintf(out + n, REASON_TEXT_MAX - (size_t)n, ": %.*s",
                 (int)min_u64(props->reason_string.n, 400), props->reason_string.p);
}

/* ---- bytes ---- */

static bool write_some(struct client *c)
{
    while (buf_len(&c->out)) {
        struct bytes all = buf_view(&c->out);
        struct iovec part = {(void *)(uintptr_t)all.p, all.n};
        int64_t n = c->transport.ops->writev(&c->transport, &part, 1);
        if (n == E_AGAIN) return true;
        if (n <= 0) return false;
        buf_consume(&c->out, (uint32_t)n);
        c->sent_ms = clock_mono_ms();
    }
    return true;
}

/* E_AGAIN: nothing now. */
static int read_some(struct client *c)
{
    uint8_t *d = buf_reserve(&c->in, 2 * TRANSPORT_READ_MIN);
    if (d == NULL) return E_NOMEM;
    int64_t n = c->transport.ops->read(&c->transport, d, 2 * TRANSPORT_READ_MIN);
    if (n > 0) buf_commit(&c->in, (uint32_t)n);
    return n > 0 ? 0 : (int)n;
}

short client_poll_events(const struct transport *t, unsigned wanted)
{
    unsigned watch = transport_watch(t, wanted);
    return (short)((watch & LOOP_READ ? POLLIN : 0) | (watch & LOOP_WRITE ? POLLOUT : 0));
}

static unsigned loop_events(short events)
{
    return (events & (POLLIN | POLLHUP | POLLERR) ? LOOP_READ : 0) |
           (events & (POLLOUT | POLLERR) ? LOOP_WRITE : 0);
}

/* ---- waiting ---- */

static enum client_event take_disconnect(struct client *c, struct bytes body)
{
    struct mqtt_disconnect m;
    char text[REASON_TEXT_MAX] = "no reason is given";
    if (mqtt_disconnect_decode(c->version, body, &m) == 0) client_reason(text, m.reason, &m.props);
    return end(c, CTL_REFUSED, "the broker ended the connection", text);
}

/* Cuts the next packet out of what was read; IDLE: there is none, or it was ours to deal with. */
static enum client_event next_packet(struct client *c, struct client_packet *out)
{
    struct mqtt_frame f;
    int rc = mqtt_frame_peek(buf_view(&c->in), 0, &f);
    if (rc == E_AGAIN) return CLIENT_IDLE;
    if (rc < 0) return end(c, CTL_UNREACHABLE, "what answers there speaks no MQTT", NULL);
    *out =
        (struct client_packet){.type = f.type,
                               .flags = f.flags,
                               .body = bytes_of(c->in.data + c->in.head + f.head_len, f.body_len)};
    c->taken = f.head_len + f.body_len;
    tell(c, "received", f.type);
    if (f.type == MQTT_DISCONNECT) return take_disconnect(c, out->body);
    return CLIENT_PACKET;
}

/* PINGREQ when it is time.  Returns when the next look is due. */
static uint64_t keep_alive(struct client *c, uint64_t now)
{
    if (c->keep_alive_ms == 0) return UINT64_MAX;
    if (c->pinged_ms) return c->pinged_ms + c->keep_alive_ms;
    if (now < c->sent_ms + c->keep_alive_ms) return c->sent_ms + c->keep_alive_ms;
    uint8_t *d = client_reserve(c, MQTT_SMALL_MAX);
    if (d) client_commit(c, MQTT_PINGREQ, mqtt_ping_encode(d, MQTT_PINGREQ));
    c->pinged_ms = now;
    return now + c->keep_alive_ms;
}

static enum client_event lost(struct client *c, int why)
{
    char text[256];
    if (c->leaving) return CLIENT_ENDED; /* as it should be */
    c->transport.ops->explain(&c->transport, text, sizeof text);
    return end(c, CTL_UNREACHABLE, "the connection is lost",
               why == E_EOF ? "closed by the broker" : text);
}

/* One poll(); PACKET: something was read. */
static enum client_event wait_once(struct client *c, uint64_t until_ms, int descriptor)
{
    bool had_output = buf_len(&c->out) > 0;
    unsigned wanted = LOOP_READ | (had_output ? LOOP_WRITE : 0);
    uint64_t now = clock_mono_ms();
    int timeout =
        until_ms == UINT64_MAX ? -1 : (int)min_u64(until_ms > now ? until_ms - now : 0, 86400000);
    struct pollfd p[3] = {
        {.fd = c->transport.fd, .events = client_poll_events(&c->transport, wanted)},
        {.fd = c->signals, .events = POLLIN},
        {.fd = descriptor, .events = POLLIN}};
    if (poll(p, 3, timeout) < 0 && errno != EINTR)
        return end(c, CTL_UNREACHABLE, "poll", strerror(errno));
    if (p[1].revents) return CLIENT_SIGNAL;
    unsigned may = transport_ready(&c->transport, wanted, loop_events(p[0].revents));
    if (may & LOOP_READ) { /* first: the broker may have said why it closes */
        int rc = read_some(c);
        if (rc == 0) return CLIENT_PACKET;
        if (rc != E_AGAIN) return lost(c, rc);
    }
    if (may & LOOP_WRITE && !write_some(c)) return lost(c, E_IO);
    if (p[2].revents || (had_output && buf_len(&c->out) == 0)) return CLIENT_IDLE;
    return clock_mono_ms() >= until_ms ? CLIENT_IDLE : CLIENT_PACKET;
}

enum client_event client_wait(struct client *c, uint64_t until_ms, int descriptor,
                              struct client_packet *out)
{
    for (;;) {
        buf_consume(&c->in, c->taken);
        c->taken = 0;
        if (c->code) return CLIENT_ENDED;
        enum client_event event = next_packet(c, out);
        if (event == CLIENT_PACKET && out->type == MQTT_PINGRESP) {
            c->pinged_ms = 0;
            continue;
        }
        if (event != CLIENT_IDLE) return event;
        bool had_output = buf_len(&c->out) > 0;
        if (!write_some(c)) { /* it may have said why */
            while (read_some(c) == 0) {
            }
            event = next_packet(c, out);
            return event == CLIENT_IDLE ? lost(c, E_IO) : event;
        }
        if (had_output && buf_len(&c->out) == 0) return CLIENT_IDLE;
        uint64_t now = clock_mono_ms(), look_ms = keep_alive(c, now);
        if (c->pinged_ms && now >= c->pinged_ms + c->keep_alive_ms)
            return end(c, CTL_UNREACHABLE, "the broker does not answer", NULL);
        event = wait_once(c, min_u64(until_ms, look_ms), descriptor);
        if (event == CLIENT_IDLE && clock_mono_ms() >= look_ms && look_ms < until_ms) continue;
        if (event != CLIENT_PACKET) return event;
    }
}

bool client_readable(int descriptor)
{
    struct pollfd p = {.fd = descriptor, .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

bool client_busy(const struct client *c) { return buf_len(&c->out) > BUSY; }

/* ---- sending ---- */

uint8_t *client_reserve(struct client *c, size_t size)
{
    uint8_t *d = size <= MQTT_MAX_REMAINING ? buf_reserve(&c->out, (uint32_t)size) : NULL;
    if (d == NULL) ctl_fail(CTL_REFUSED, "out of memory");
    return d;
}

void client_commit(struct client *c, unsigned type, const uint8_t *packet_end)
{
    buf_commit(&c->out, (uint32_t)(packet_end - (c->out.data + c->out.tail)));
    tell(c, "sending", type);
}

uint16_t client_next_id(struct client *c)
{
    if (++c->next_id == 0) c->next_id = 1;
    return c->next_id;
}

int client_publish(struct client *c, const struct mqtt_publish_out *p)
{
    size_t size = mqtt_publish_size(c->version, p);
    if (size == 0 || (c->max_packet && size > c->max_packet))
        return ctl_fail(CTL_REFUSED, "the message is larger than the broker takes (%zu bytes)",
                        size ? size : p->payload.n);
    uint8_t *d = client_reserve(c, size);
    if (d == NULL) return CTL_REFUSED;
    client_commit(c, MQTT_PUBLISH, mqtt_publish_encode(d, c->version, p));
    return 0;
}

int client_ack(struct client *c, unsigned type, uint16_t packet_id, uint8_t reason,
               struct bytes props)
{
    uint8_t *d = client_reserve(c, MQTT_ACK_MAX + props.n);
    if (d == NULL) return CTL_REFUSED;
    client_commit(
        c, type, mqtt_ack_encode(d, c->version, type, packet_id, reason, bytes_of(NULL, 0), props));
    return 0;
}

int client_subscribe(struct client *c, const struct mqtt_subscription *subs, size_t count)
{
    struct bytes props = buf_view(&c->options->props[PLACE_SUBSCRIBE]);
    uint8_t *d = client_reserve(c, mqtt_subscribe_size(c->version, subs, count, props));
    if (d == NULL) return CTL_REFUSED;
    client_commit(c, MQTT_SUBSCRIBE,
                  mqtt_subscribe_encode(d, c->version, client_next_id(c), subs, count, props));
    return 0;
}

int client_unsubscribe(struct client *c, const struct bytes *filters, size_t count)
{
    struct bytes props = buf_view(&c->options->props[PLACE_UNSUBSCRIBE]);
    uint8_t *d = client_reserve(c, mqtt_unsubscribe_size(c->version, filters, count, props));
    if (d == NULL) return CTL_REFUSED;
    client_commit(c, MQTT_UNSUBSCRIBE,
                  mqtt_unsubscribe_encode(d, c->version, client_next_id(c), filters, count, props));
    return 0;
}

/* ---- the end ---- */

/* All that waits, and DISCONNECT; then the broker closes, and may say before what it minded: that
 * is how a QoS 0 message is refused. */
static void say_goodbye(struct client *c)
{
    struct client_packet packet;
    struct bytes props = buf_view(&c->options->props[PLACE_DISCONNECT]);
    uint64_t end_ms = clock_mono_ms() + GOODBYE_MS;
    uint8_t *d = client_reserve(c, MQTT_SMALL_MAX + props.n);
    if (d == NULL) return;
    client_commit(c, MQTT_DISCONNECT,
                  mqtt_disconnect_encode(d, c->version, MQTT_DISCONNECT, 0, props));
    while (clock_mono_ms() < end_ms) {
        enum client_event event = client_wait(c, end_ms, -1, &packet);
        if (event == CLIENT_ENDED || event == CLIENT_SIGNAL) return;
        if (event == CLIENT_IDLE && buf_len(&c->out) == 0) c->leaving = true;
    }
}

int client_close(struct client *c, int code)
{
    if (c->transport.fd >= 0 && c->code == 0 && c->connected) say_goodbye(c);
    if (c->code && code == 0) code = c->code;
    if (c->transport.fd >= 0) c->transport.ops->close(&c->transport);
    if (c->signals >= 0) close(c->signals);
    tls_context_free(&c->tls);
    buf_fini(&c->in);
    buf_fini(&c->out);
    return code;
}
