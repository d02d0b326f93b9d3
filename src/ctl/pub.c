/* sluicectl pub: publishes one message, a file, standard input or its lines, and tells what the
 * broker said.  One thread. */
#include "client.h"

#include "base/clock.h"
#include "base/mem.h"
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* As many messages of QoS 1 and 2 are under way at most, and no more than the broker takes. */
enum { WINDOW = 100, LINE_MAX_BYTES = 64 * 1024 * 1024, READ_SIZE = 65536 };

enum id_state { ID_FREE, ID_PUBLISHED, ID_RELEASED };

struct pub {
    struct client_options o;
    struct client client;
    const char *topic, *message, *file;
    bool lines, null, whole_input, retain;
    int64_t qos, repeat, repeat_delay_ms, window;
    struct buf payload; /* of -f and -s; of -l what is read and not sent yet */
    bool input_ended;
    uint64_t next_ms; /* --repeat-delay */
    uint64_t sent, acknowledged, refused, duplicates, unmatched;
    uint32_t inflight;
    uint8_t ids[UINT16_MAX + 1];      /* enum id_state */
    uint64_t numbers[UINT16_MAX + 1]; /* which message it is, from 1 */
};

/* ---- what is sent ---- */

static int send_one(struct pub *p, struct bytes payload)
{
    uint16_t id = 0;
    if (p->qos) {
        do id = client_next_id(&p->client);
        while (p->ids[id] != ID_FREE);
    }
    struct mqtt_publish_out m = {.topic = bytes_str(p->topic),
                                 .props = buf_view(&p->o.props[PLACE_PUBLISH]),
                                 .payload = payload,
                                 .expiry_s = MQTT_NO_EXPIRY, /* with the other properties */
                                 .packet_id = id,
                                 .qos = (uint8_t)p->qos,
                                 .retain = p->retain};
    int rc = client_publish(&p->client, &m);
    if (rc) return rc;
    p->sent++;
    if (p->qos == 0) return 0;
    p->ids[id] = ID_PUBLISHED;
    p->numbers[id] = p->sent;
    p->inflight++;
    return 0;
}

static bool may_send(const struct pub *p)
{
    return !client_busy(&p->client) && (p->qos == 0 || p->inflight < (uint64_t)p->window);
}

/* The lines that are there, as far as the window is open; the last one may lack its end. */
static int send_lines(struct pub *p)
{
    while (may_send(p)) {
        struct bytes all = buf_view(&p->payload);
        const uint8_t *newline = all.n ? memchr(all.p, '\n', all.n) : NULL;
        if (newline == NULL && !(p->input_ended && all.n)) return 0;
        size_t n = newline ? (size_t)(newline - all.p) : all.n;
        int rc = send_one(p, bytes_of(all.p, n));
        if (rc) return rc;
        buf_consume(&p->payload, (uint32_t)(n + (newline != NULL)));
    }
    return 0;
}

static int send_repeated(struct pub *p)
{
    struct bytes payload = p->message ? bytes_str(p->message) : buf_view(&p->payload);
    while (p->sent < (uint64_t)p->repeat && may_send(p) && clock_mono_ms() >= p->next_ms) {
        int rc = send_one(p, payload);
        if (rc) return rc;
        p->next_ms = clock_mono_ms() + (uint64_t)p->repeat_delay_ms;
    }
    return 0;
}

static int read_input(struct pub *p, int descriptor)
{
    uint8_t *d = buf_len(&p->payload) < LINE_MAX_BYTES ? buf_reserve(&p->payload, READ_SIZE) : NULL;
    if (d == NULL) return ctl_fail(CTL_REFUSED, "the message is too large");
    ssize_t n = read(descriptor, d, READ_SIZE);
    if (n < 0 && errno != EINTR && errno != EAGAIN)
        return ctl_fail(CTL_USAGE, "cannot read: %s", strerror(errno));
    if (n > 0) buf_commit(&p->payload, (uint32_t)n);
    if (n == 0) p->input_ended = true;
    return 0;
}

/* A file, or standard input, as one message. */
static int read_whole(struct pub *p)
{
    FILE *file = p->whole_input ? stdin : fopen(p->file, "re");
    if (file == NULL) return ctl_fail(CTL_USAGE, "cannot open '%s': %s", p->file, strerror(errno));
    int rc = 0;
    while (rc == 0 && !p->input_ended) rc = read_input(p, fileno(file));
    if (!p->whole_input) fclose(file);
    return rc;
}

/* ---- what the broker says ---- */

static void settle(struct pub *p, uint16_t id)
{
    p->ids[id] = ID_FREE;
    p->inflight--;
}

/* Of PUBACK or PUBREC; whether it is a yes. */
static bool take_answer(struct pub *p, const struct mqtt_ack *ack)
{
    char text[REASON_TEXT_MAX];
    struct mqtt_prop prop;
    if (ack->reason >= 0x80) {
        client_reason(text, ack->reason, &ack->props);
        if (p->lines || p->repeat > 1)
            ctl_fail(0, "message %llu was refused: %s",
                     (unsigned long long)p->numbers[ack->packet_id], text);
        else
            ctl_fail(0, "the message was refused: %s", text);
        p->refused++;
        return false;
    }
    p->acknowledged++;
    p->unmatched += ack->reason == MQTT_NO_MATCHING_SUBSCRIBERS;
    for (size_t at = 0; mqtt_props_next(ack->props.raw, &at, &prop);)
        if (prop.id == MQTT_P_USER && bytes_eq(prop.key, bytes_str("duplicate"))) p->duplicates++;
    return true;
}

static int take_packet(struct pub *p, const struct client_packet *packet)
{
    struct mqtt_ack ack;
    if (packet->type < MQTT_PUBACK || packet->type > MQTT_PUBCOMP) return 0;
    if (mqtt_ack_decode(p->client.version, packet->type, packet->body, &ack) < 0)
        return ctl_fail(CTL_UNREACHABLE, "the broker's %s is not understood",
                        mqtt_type_name(packet->type));
    uint8_t *state = &p->ids[ack.packet_id];
    bool due = packet->type == MQTT_PUBCOMP ? *state == ID_RELEASED : *state == ID_PUBLISHED;
    if (!due) return 0;
    if (packet->type == MQTT_PUBCOMP) {
        settle(p, ack.packet_id);
        return 0;
    }
    bool yes = take_answer(p, &ack);
    if (packet->type == MQTT_PUBACK || !yes) {
        settle(p, ack.packet_id);
        return 0;
    }
    *state = ID_RELEASED;
    return client_ack(&p->client, MQTT_PUBREL, ack.packet_id, 0, bytes_of(NULL, 0));
}

static bool all_sent(const struct pub *p)
{
    return p->lines ? p->input_ended && buf_len(&p->payload) == 0 : p->sent == (uint64_t)p->repeat;
}

static int run(struct pub *p)
{
    struct client_packet packet;
    p->window = (int64_t)min_u64((uint64_t)p->window, p->client.receive_max);
    for (;;) {
        int rc = p->lines ? send_lines(p) : send_repeated(p);
        if (rc) return rc;
        if (all_sent(p) && p->inflight == 0) return p->refused ? CTL_REFUSED : CTL_DONE;
        bool reads = p->lines && !p->input_ended && may_send(p);
        uint64_t until_ms = p->lines || all_sent(p) || !may_send(p) ? UINT64_MAX : p->next_ms;
        switch (client_wait(&p->client, until_ms, reads ? STDIN_FILENO : -1, &packet)) {
        case CLIENT_PACKET: rc = take_packet(p, &packet); break;
        case CLIENT_IDLE:
            rc = reads && client_readable(STDIN_FILENO) ? read_input(p, STDIN_FILENO) : 0;
            break;
        case CLIENT_SIGNAL: return CTL_REFUSED;
        case CLIENT_ENDED: return p->client.code;
        }
        if (rc) return rc;
    }
}

/* ---- the command line ---- */

static int take_prop(void *to, char **words, unsigned count)
{
    struct pub *p = to;
    (void)count;
    int rc = props_add_pair(&p->o.props[PLACE_PUBLISH], words[0]);
    return rc ? -rc : 1;
}

#define AT(member) (uint16_t) offsetof(struct pub, member)

static const struct option rows[] = {
    {"-t", "TOPIC", "where to", OPTION_TEXT, AT(topic), 0, 0, NULL},
    {"-m", "TEXT", "the message", OPTION_TEXT, AT(message), 0, 0, NULL},
    {"-f", "FILE", "a file is the message", OPTION_TEXT, AT(file), 0, 0, NULL},
    {"-l", NULL, "each line of standard input is one", OPTION_FLAG, AT(lines), 0, 0, NULL},
    {"-n", NULL, "an empty one", OPTION_FLAG, AT(null), 0, 0, NULL},
    {"-s", NULL, "all of standard input is the message", OPTION_FLAG, AT(whole_input), 0, 0, NULL},
    {"-q", "QOS", "0 (default), 1 or 2", OPTION_NUMBER, AT(qos), 0, 2, NULL},
    {"-r", NULL, "the broker keeps it for whoever subscribes later", OPTION_FLAG, AT(retain), 0, 0,
     NULL},
    {"-M", "COUNT", "so many wait for their PUBACK at most; default 100", OPTION_NUMBER, AT(window),
     1, 65535, NULL},
    {"--prop", "NAME=VALUE", "a user property: an attribute, or sluice-priority=9 and such",
     OPTION_CALL, 0, 0, 0, take_prop},
    {"--repeat", "COUNT", "the same so many times", OPTION_NUMBER, AT(repeat), 1, UINT32_MAX, NULL},
    {"--repeat-delay", "TIME", "and so long between two", OPTION_DURATION, AT(repeat_delay_ms), 0,
     0, NULL},
};

static int check(struct pub *p)
{
    int sources = (p->message != NULL) + (p->file != NULL) + p->lines + p->null + p->whole_input;
    int rc = client_options_check(&p->o);
    if (rc) return rc;
    if (p->topic == NULL) return ctl_fail(CTL_USAGE, "pub needs -t TOPIC");
    if (strlen(p->topic) > UINT16_MAX) return ctl_fail(CTL_USAGE, "the topic is too long");
    if (sources != 1) return ctl_fail(CTL_USAGE, "pub needs one of -m, -f, -l, -n and -s");
    if (p->lines && (p->repeat > 1 || p->repeat_delay_ms))
        return ctl_fail(CTL_USAGE, "--repeat is not for lines");
    return p->file || p->whole_input ? read_whole(p) : 0;
}

static int report(const struct pub *p, int code)
{
    if (!p->o.json) return code;
    int rc = ctl_print_json(
        json_pack("{sIsIsIsIsI}", "sent", (json_int_t)p->sent, "acknowledged",
                  (json_int_t)p->acknowledged, "refused", (json_int_t)p->refused, "duplicates",
                  (json_int_t)p->duplicates, "unmatched", (json_int_t)p->unmatched));
    return rc ? rc : code;
}

int ctl_pub(bool json, unsigned count, char **words)
{
    struct pub *p = mem_calloc(1, sizeof *p);
    if (p == NULL) return ctl_fail(CTL_REFUSED, "out of memory");
    client_options_init(&p->o);
    p->o.json = json;
    p->repeat = 1;
    p->window = WINDOW;
    const struct option_table tables[] = {{rows, ARRAY_LEN(rows), p},
                                          {client_option_rows, client_option_count, &p->o}};
    int code = options_read(tables, 2, words, count);
    if (code == 0 && p->o.help) {
        puts("Usage: sluicectl [--json] pub -t TOPIC (-m TEXT | -f FILE | -l | -n | -s) ...\n");
        options_help(tables, 2);
    } else {
        if (code == 0) code = check(p);
        if (code == 0) {
            code = client_open(&p->client, &p->o);
            if (code == 0) code = run(p);
            code = report(p, client_close(&p->client, code));
        }
    }
    client_options_fini(&p->o);
    buf_fini(&p->payload);
    mem_free(p);
    return code;
}
