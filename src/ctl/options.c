/* sluicectl pub and sub: options as mosquitto_pub and mosquitto_sub have them, which options of
 * ours join, as tables.  One thread. */
#include "client.h"
#include "core/control.h"
#include <stdio.h>

static const struct option *find(const struct option_table *tables, size_t table_count,
                                 const char *word, void **to)
{
    for (size_t t = 0; t < table_count; t++)
        for (size_t i = 0; i < tables[t].count; i++)
            if (strcmp(tables[t].rows[i].name, word) == 0) {
                *to = tables[t].to;
                return &tables[t].rows[i];
            }
    return NULL;
}

static int take_number(const struct option *o, int64_t *to, const char *word)
{
    uint64_t v;
    if (control_number(bytes_str(word), &v) < 0 || v < o->least || v > o->most)
        return -ctl_fail(CTL_USAGE, "%s is a whole number, %u to %u, not '%s'", o->name, o->least,
                         o->most, word);
    *to = (int64_t)v;
    return 1;
}

static int take_duration(const struct option *o, int64_t *to, const char *word)
{
    uint64_t ms;
    if (control_duration(bytes_str(word), &ms) < 0)
        return -ctl_fail(CTL_USAGE, "%s is a duration: 500ms, 30s, 15m; not '%s'", o->name, word);
    *to = (int64_t)ms;
    return 1;
}

/* Returns how many words were taken, or minus an exit code. */
static int take(const struct option *o, void *base, char **words, unsigned count)
{
    uint8_t *to = (uint8_t *)base + o->at;
    if (o->kind == OPTION_FLAG) {
        *(bool *)to = true;
        return 0;
    }
    if (count == 0) return -ctl_fail(CTL_USAGE, "%s needs %s", o->name, o->value);
    switch (o->kind) {
    case OPTION_TEXT: *(const char **)(void *)to = words[0]; return 1;
    case OPTION_NUMBER: return take_number(o, (int64_t *)(void *)to, words[0]);
    case OPTION_DURATION: return take_duration(o, (int64_t *)(void *)to, words[0]);
    default: return o->take(base, words, count);
    }
}

int options_read(const struct option_table *tables, size_t table_count, char **words,
                 unsigned count)
{
    for (unsigned i = 0; i < count;) {
        void *to = NULL;
        const struct option *o = find(tables, table_count, words[i], &to);
        if (o == NULL) return ctl_fail(CTL_USAGE, "unknown option '%s'; see --help", words[i]);
        i++;
        int n = take(o, to, words + i, count - i);
        if (n < 0) return -n;
        i += (unsigned)n;
    }
    return 0;
}

void options_help(const struct option_table *tables, size_t table_count)
{
    for (size_t t = 0; t < table_count; t++) {
        for (size_t i = 0; i < tables[t].count; i++) {
            const struct option *o = &tables[t].rows[i];
            int n = printf("  %s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
            printf("%*s%s\n", *o->help == '\n' ? 0 : n < 27 ? 27 - n : 1, "", o->help);
        }
        if (t + 1 < table_count) putchar('\n');
    }
}

/* ---- the connection's ---- */

static int take_version(void *to, char **words, unsigned count)
{
    static const struct {
        const char *word;
        unsigned version;
    } versions[] = {{"5", MQTT_V5},          {"mqttv5", MQTT_V5}, {"311", MQTT_V311},
                    {"mqttv311", MQTT_V311}, {"31", MQTT_V31},    {"mqttv31", MQTT_V31}};
    struct client_options *o = to;
    (void)count;
    for (size_t i = 0; i < ARRAY_LEN(versions); i++)
        if (strcmp(words[0], versions[i].word) == 0) {
            o->version = versions[i].version;
            return 1;
        }
    return -ctl_fail(CTL_USAGE, "-V is 5, 311 or 31, not '%s'", words[0]);
}

/* -1 and mosquitto's sign stand for the end of time. */
static int take_expiry(void *to, char **words, unsigned count)
{
    struct client_options *o = to;
    uint64_t v = UINT32_MAX;
    bool never = strcmp(words[0], "-1") == 0 || strcmp(words[0], "\xe2\x88\x9e") == 0;
    (void)count;
    if (!never && (control_number(bytes_str(words[0]), &v) < 0 || v > UINT32_MAX))
        return -ctl_fail(CTL_USAGE, "-x is a number of seconds, or -1, not '%s'", words[0]);
    o->expiry_s = (int64_t)v;
    return 1;
}

static int take_property(void *to, char **words, unsigned count)
{
    struct client_options *o = to;
    return props_take(o->props, words, count);
}

#define AT(member) (uint16_t) offsetof(struct client_options, member)
#define TEXT(name, value, member, ...)                                                             \
    {                                                                                              \
        name, value, __VA_ARGS__, OPTION_TEXT, AT(member), 0, 0, NULL                              \
    }
#define FLAG(name, member, ...)                                                                    \
    {                                                                                              \
        name, NULL, __VA_ARGS__, OPTION_FLAG, AT(member), 0, 0, NULL                               \
    }
#define CALL(name, value, call, ...)                                                               \
    {                                                                                              \
        name, value, __VA_ARGS__, OPTION_CALL, 0, 0, 0, call                                       \
    }

const struct option client_option_rows[] = {
    TEXT("-h", "HOST", host, "the broker; default 127.0.0.1"),
    {"-p", "PORT", "default 1883, with TLS 8883", OPTION_NUMBER, AT(port), 1, 65535, NULL},
    TEXT("--unix", "PATH", unix_path, "its unix socket instead"),
    TEXT("-u", "NAME", username, "user name"),
    TEXT("-P", "PASSWORD", password, "password"),
    TEXT("-i", "ID", id, "client id; default: the broker chooses"),
    TEXT("-I", "PREFIX", id_prefix, "client id: this and the process id"),
    CALL("-V", "VERSION", take_version, "of MQTT: 5 (default), 311 or 31"),
    FLAG("-c", keep_session, "keep the session: -i names it"),
    CALL("-x", "SECONDS", take_expiry, "session expiry; -1: never, default with -c"),
    {"-k", "SECONDS", "keep alive; default 60, 0: none", OPTION_NUMBER, AT(keep_alive_s), 0, 65535,
     NULL},
    CALL("-D", "PACKET PROPERTY VALUE", take_property,
         "\n                           a property, by mosquitto's names; user-property NAME VALUE"),
    TEXT("--will-topic", "TOPIC", will_topic, "a will, and where it goes"),
    TEXT("--will-payload", "TEXT", will_payload, "what it says"),
    {"--will-qos", "QOS", "0 (default), 1 or 2", OPTION_NUMBER, AT(will_qos), 0, 2, NULL},
    FLAG("--will-retain", will_retain, "it is retained"),
    TEXT("--cafile", "FILE", cafile, "TLS, and whose certificates to believe"),
    TEXT("--capath", "FOLDER", capath, "the same, a folder of them"),
    FLAG("--tls-use-os-certs", os_certificates, "the same, those of the system"),
    TEXT("--cert", "FILE", certfile, "our certificate"),
    TEXT("--key", "FILE", keyfile, "and its key"),
    FLAG("--insecure", insecure, "the certificate may be of another host"),
    FLAG("--json", json, "JSON, a line each, instead of text"),
    FLAG("-d", debug, "tell of packets on stderr"),
    FLAG("--help", help, "this text"),
};
const size_t client_option_count = ARRAY_LEN(client_option_rows);

void client_options_init(struct client_options *o)
{
    *o = (struct client_options){
        .host = "127.0.0.1", .keep_alive_s = 60, .expiry_s = -1, .version = MQTT_V5};
}

void client_options_fini(struct client_options *o)
{
    for (unsigned i = 0; i < PLACE_COUNT; i++) buf_fini(&o->props[i]);
}

static bool any_props(const struct client_options *o)
{
    for (unsigned i = 0; i < PLACE_COUNT; i++)
        if (buf_len(&o->props[i])) return true;
    return false;
}

int client_options_check(const struct client_options *o)
{
    bool will = o->will_payload || o->will_qos || o->will_retain || buf_len(&o->props[PLACE_WILL]);
    bool tls = o->cafile || o->capath || o->os_certificates;
    if (o->id && o->id_prefix) return ctl_fail(CTL_USAGE, "either -i or -I, not both");
    if (o->keep_session && o->id == NULL)
        return ctl_fail(CTL_USAGE, "-c needs -i: a session is found again by its client id");
    if (o->password && o->username == NULL && o->version != MQTT_V5)
        return ctl_fail(CTL_USAGE, "-P needs -u before MQTT 5");
    if (will && o->will_topic == NULL) return ctl_fail(CTL_USAGE, "a will needs --will-topic");
    if ((o->certfile || o->keyfile || o->insecure) && !tls)
        return ctl_fail(CTL_USAGE, "TLS needs --cafile, --capath or --tls-use-os-certs");
    if (o->version != MQTT_V5 && (any_props(o) || o->expiry_s >= 0))
        return ctl_fail(CTL_USAGE, "properties, and -x, need MQTT 5");
    return props_check(o->props);
}
