/* sluicectl sub: its command line.  What the broker has beyond MQTT (filters, replay, retries) is
 * user properties of SUBSCRIBE, and each has an option of its own name.  One thread. */
#include "sub.h"

#include "core/control.h"
#include <stdio.h>

static int take_topic(void *to, char **words, unsigned count)
{
    struct sub *s = to;
    (void)count;
    if (s->topic_count == SUB_TOPICS_MAX)
        return -ctl_fail(CTL_USAGE, "at most %d topics", SUB_TOPICS_MAX);
    s->topics[s->topic_count++] = words[0];
    return 1;
}

static int take_unsubscribed(void *to, char **words, unsigned count)
{
    struct sub *s = to;
    (void)count;
    if (s->unsubscribed_count == SUB_TOPICS_MAX)
        return -ctl_fail(CTL_USAGE, "at most %d topics", SUB_TOPICS_MAX);
    s->unsubscribed[s->unsubscribed_count++] = words[0];
    return 1;
}

static int take_skipped(void *to, char **words, unsigned count)
{
    struct sub *s = to;
    (void)count;
    if (s->skipped_count == SUB_TOPICS_MAX)
        return -ctl_fail(CTL_USAGE, "at most %d topics", SUB_TOPICS_MAX);
    s->skipped[s->skipped_count++] = words[0];
    return 1;
}

/* ---- --ack ---- */

/* A reason code of PUBACK that says no, as "0x99" or "153". */
static int take_code(struct sub *s, const char *text)
{
    char *end;
    unsigned long code = strtoul(text, &end, 0);
    static const uint8_t known[] = {0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99};
    bool good = *text && *end == 0 && code <= UINT8_MAX && memchr(known, (int)code, sizeof known);
    if (!good)
        return ctl_fail(CTL_USAGE,
                        "a PUBACK says no by 0x80 0x83 0x87 0x90 0x91 0x97 or 0x99, "
                        "not by '%s'",
                        text);
    s->reason = (uint8_t)code;
    return 0;
}

static int take_refusal(struct sub *s, uint8_t code, const char *given)
{
    s->mode = ACK_REFUSE;
    s->reason = code;
    return given ? take_code(s, given) : 0;
}

static int take_delay(struct sub *s, const char *text)
{
    uint64_t ms;
    if (text == NULL || control_duration(bytes_str(text), &ms) < 0)
        return ctl_fail(CTL_USAGE, "--ack delay=TIME, such as delay=500ms");
    s->mode = ACK_DELAY;
    s->delay_ms = (int64_t)ms;
    return 0;
}

static int take_ack(void *to, char **words, unsigned count)
{
    struct sub *s = to;
    char word[16] = "";
    const char *equals = strchr(words[0], '='), *value = equals ? equals + 1 : NULL;
    (void)count;
    snprintf(word, sizeof word, "%.*s", (int)(equals ? equals - words[0] : 15), words[0]);
    int rc = 0;
    if (strcmp(words[0], "auto") == 0)
        s->mode = ACK_AUTO;
    else if (strcmp(words[0], "none") == 0)
        s->mode = ACK_NONE;
    else if (strcmp(word, "nack") == 0)
        rc = take_refusal(s, MQTT_UNSPECIFIED_ERROR, value);
    else if (strcmp(word, "reject") == 0)
        rc = take_refusal(s, MQTT_NOT_AUTHORIZED, value);
    else if (strcmp(word, "delay") == 0)
        rc = take_delay(s, value);
    else
        rc = ctl_fail(CTL_USAGE, "--ack is auto, none, nack, reject or delay=TIME, not '%s'",
                      words[0]);
    return rc ? -rc : 1;
}

/* ---- user properties of SUBSCRIBE ---- */

static int add(struct sub *s, const char *name, const char *value)
{
    int rc = props_add_user(&s->o.props[PLACE_SUBSCRIBE], name, value);
    return rc ? -rc : 1;
}

static int take_filter(void *to, char **words, unsigned count)
{
    (void)count;
    return add(to, "filter", words[0]);
}
static int take_replay(void *to, char **words, unsigned count)
{
    (void)count;
    return add(to, "replay", words[0]);
}
static int take_until(void *to, char **words, unsigned count)
{
    struct sub *s = to;
    (void)count;
    s->has_span = true;
    return add(to, "replay-until", words[0]);
}
static int take_deadline(void *to, char **words, unsigned count)
{
    (void)count;
    return add(to, "ack-deadline", words[0]);
}
static int take_deliveries(void *to, char **words, unsigned count)
{
    (void)count;
    return add(to, "max-deliveries", words[0]);
}
static int take_backoff(void *to, char **words, unsigned count)
{
    (void)count;
    return add(to, "backoff", words[0]);
}
static int take_prop(void *to, char **words, unsigned count)
{
    struct sub *s = to;
    (void)count;
    int rc = props_add_pair(&s->o.props[PLACE_SUBSCRIBE], words[0]);
    return rc ? -rc : 1;
}

#define AT(member) (uint16_t) offsetof(struct sub, member)
#define CALL(name, value, call, help)                                                              \
    {                                                                                              \
        name, value, help, OPTION_CALL, 0, 0, 0, call                                              \
    }
#define FLAG(name, member, help)                                                                   \
    {                                                                                              \
        name, NULL, help, OPTION_FLAG, AT(member), 0, 0, NULL                                      \
    }

/* Indented by hand: 27 columns, as options_help() has them. */
#define NEXT "\n                           "

static const struct option rows[] = {
    CALL("-t", "TOPIC", take_topic, "a topic filter; may be repeated"),
    CALL("-U", "TOPIC", take_unsubscribed, "unsubscribe from it; may be repeated"),
    CALL("-T", "TOPIC", take_skipped, "do not print what matches it; may be repeated"),
    {"-q", "QOS", "0, 1 or 2; default 0, for queues and with --ack 1", OPTION_NUMBER, AT(qos), 0, 2,
     NULL},
    CALL("--ack", "HOW", take_ack,
         "auto: at once (default); none: never; delay=TIME: so" NEXT
         "much later; nack: 0x80, to be tried again; reject: 0x87," NEXT
         "never again; nack=CODE and reject=CODE: another reason"),
    {"-C", "COUNT", "leave after so many messages", OPTION_NUMBER, AT(count), 1, UINT32_MAX, NULL},
    {"-W", "TIME", "leave after this time", OPTION_DURATION, AT(wait_ms), 0, 0, NULL},
    FLAG("-E", leaves_when_subscribed, "leave when the subscriptions are confirmed"),
    FLAG("-R", no_retained, "do not print messages with RETAIN"),
    FLAG("-v", print.verbose, "the topic before each message"),
    FLAG("-N", print.no_newline, "no line end behind each message"),
    {"-F", "FORMAT",
     "how to print a message: %t topic, %p payload, %x and %X in" NEXT
     "hex, %l length, %q QoS, %r RETAIN, %m packet id, %P user" NEXT
     "properties, %C %D %E %F %R %S %A other ones, %I date, %U" NEXT
     "seconds since 1970, %@X as strftime, %j JSON, %%",
     OPTION_TEXT, AT(print.format), 0, 0, NULL},
    CALL("--filter", "EXPRESSION", take_filter, "only what it holds for, or @NAME"),
    CALL("--replay", "WHEN", take_replay,
         "what was published since then, first: earliest, -15m, ..."),
    CALL("--replay-until", "WHEN", take_until, "and no further: leave at the end"),
    FLAG("--replay-end", wants_mark, "print when the replay is at its end"),
    CALL("--ack-deadline", "TIME", take_deadline, "delivered again when not answered by then"),
    CALL("--max-deliveries", "COUNT", take_deliveries, "a dead letter after so many"),
    CALL("--backoff", "'FIRST MAX'", take_backoff, "the pauses between two attempts"),
    CALL("--prop", "NAME=VALUE", take_prop, "another user property of SUBSCRIBE"),
};

/* ---- what goes together ---- */

static bool consumes_queue(const struct sub *s)
{
    for (size_t i = 0; i < s->topic_count; i++)
        if (strncmp(s->topics[i], "$queue/", 7) == 0) return true;
    return false;
}

/* The reason that a dead letter will show, unless -D puback has one. */
static int add_reason(struct sub *s)
{
    static const char text[] = "refused by sluicectl sub --ack";
    struct bytes given = buf_view(&s->o.props[PLACE_PUBACK]);
    struct mqtt_prop prop;
    for (size_t at = 0; mqtt_props_next(given, &at, &prop);)
        if (prop.id == MQTT_P_REASON_STRING) return 0;
    uint8_t *d = buf_reserve(&s->o.props[PLACE_PUBACK], 3 + sizeof text);
    if (d == NULL) return ctl_fail(CTL_REFUSED, "out of memory");
    mqtt_put_prop_bytes(d, MQTT_P_REASON_STRING, bytes_str(text));
    buf_commit(&s->o.props[PLACE_PUBACK], 3 + sizeof text - 1);
    return 0;
}

static int check_ack(struct sub *s)
{
    if (s->mode != ACK_AUTO && s->qos == 0)
        return ctl_fail(CTL_USAGE, "QoS 0 knows no acknowledgement: --ack needs -q 1 or 2");
    if (s->qos < 0) s->qos = s->mode != ACK_AUTO || consumes_queue(s) ? 1 : 0;
    if (s->mode != ACK_REFUSE) return 0;
    if (s->o.version != MQTT_V5)
        return ctl_fail(CTL_USAGE, "a PUBACK that says no needs MQTT 5; before, publish to "
                                   "$queue/NAME/nack or $queue/NAME/reject");
    return add_reason(s);
}

static int check(struct sub *s)
{
    if (s->topic_count == 0 && s->unsubscribed_count == 0)
        return ctl_fail(CTL_USAGE, "sub needs -t TOPIC");
    for (size_t i = 0; i < s->topic_count; i++)
        if (strlen(s->topics[i]) > UINT16_MAX) return ctl_fail(CTL_USAGE, "the topic is too long");
    const char *wrong = s->print.format ? print_check(s->print.format) : NULL;
    if (wrong) return ctl_fail(CTL_USAGE, "-F: %s", wrong);
    s->print.json = s->o.json;
    if (s->print.json && (s->print.format || s->print.verbose || s->print.no_newline))
        return ctl_fail(CTL_USAGE, "--json prints all there is: no -F, -v, -N");
    int rc = check_ack(s);
    if (rc) return rc;
    s->has_mark = s->wants_mark || s->has_span;
    if (s->has_mark && (rc = add(s, "replay-end", "true")) < 0) return -rc;
    rc = client_options_check(&s->o);
    return rc;
}

int sub_options(struct sub *s, unsigned count, char **words, bool *help)
{
    const struct option_table tables[] = {{rows, ARRAY_LEN(rows), s},
                                          {client_option_rows, client_option_count, &s->o}};
    int rc = options_read(tables, 2, words, count);
    *help = rc == 0 && s->o.help;
    if (!*help) return rc ? rc : check(s);
    puts("Usage: sluicectl [--json] sub -t TOPIC ...\n");
    options_help(tables, 2);
    return 0;
}
