/* sluicectl sub: a message as text, by mosquitto_sub's formats, or as one line of JSON.  One
 * thread. */
#include "client.h"

#include "base/clock.h"
#include "base/rfc3339.h"
#include "core/control.h"
#include <gsasl.h> /* for its base64 */
#include <stdio.h>

enum { DATE_MAX = 256 };

/* A message as a format's letters see it. */
struct view {
    const struct mqtt_publish *m;
    const struct mqtt_props *props;
};

static void put(struct bytes text) { fwrite(text.p, 1, text.n, stdout); }

/* ---- the letters behind % ---- */

static void put_topic(const struct view *v) { put(v->m->topic); }
static void put_payload(const struct view *v) { put(v->m->payload); }
static void put_qos(const struct view *v) { printf("%u", v->m->qos); }
static void put_retain(const struct view *v) { printf("%d", v->m->retain); }
static void put_id(const struct view *v) { printf("%u", v->m->packet_id); }
static void put_length(const struct view *v) { printf("%zu", v->m->payload.n); }
static void put_percent(const struct view *v)
{
    (void)v;
    putchar('%');
}

static void put_hex(const struct view *v)
{
    for (size_t i = 0; i < v->m->payload.n; i++) printf("%02x", v->m->payload.p[i]);
}

static void put_upper_hex(const struct view *v)
{
    for (size_t i = 0; i < v->m->payload.n; i++) printf("%02X", v->m->payload.p[i]);
}

static void put_text_of(const struct view *v, enum mqtt_prop_id id, struct bytes text)
{
    if (mqtt_has(v->props, id)) put(text);
}

static void put_number_of(const struct view *v, enum mqtt_prop_id id, uint32_t number)
{
    if (mqtt_has(v->props, id)) printf("%u", number);
}

static void put_content_type(const struct view *v)
{
    put_text_of(v, MQTT_P_CONTENT_TYPE, v->props->content_type);
}
static void put_correlation(const struct view *v)
{
    put_text_of(v, MQTT_P_CORRELATION, v->props->correlation);
}
static void put_response_topic(const struct view *v)
{
    put_text_of(v, MQTT_P_RESPONSE_TOPIC, v->props->response_topic);
}
static void put_expiry(const struct view *v)
{
    put_number_of(v, MQTT_P_MESSAGE_EXPIRY, v->props->message_expiry);
}
static void put_payload_format(const struct view *v)
{
    put_number_of(v, MQTT_P_PAYLOAD_FORMAT, v->props->payload_format);
}
static void put_alias(const struct view *v)
{
    put_number_of(v, MQTT_P_TOPIC_ALIAS, v->props->topic_alias);
}

static void put_user_properties(const struct view *v)
{
    struct mqtt_prop prop;
    bool first = true;
    for (size_t at = 0; mqtt_props_next(v->props->raw, &at, &prop);) {
        if (prop.id != MQTT_P_USER) continue;
        if (!first) putchar(' ');
        first = false;
        put(prop.key);
        putchar(':');
        put(prop.value);
    }
}

static void put_subscription_ids(const struct view *v)
{
    struct mqtt_prop prop;
    bool first = true;
    for (size_t at = 0; mqtt_props_next(v->props->raw, &at, &prop);) {
        if (prop.id != MQTT_P_SUBSCRIPTION_ID) continue;
        printf("%s%u", first ? "" : ",", prop.number);
        first = false;
    }
}

/* Now, in local time, as strftime() has it.  Its format is the user's, one letter, as documented;
 * strftime() reads no arguments that could be missing. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void put_date(const char *format)
{
    char text[DATE_MAX];
    time_t now = (time_t)(clock_wall_ms() / 1000);
    struct tm local;
    localtime_r(&now, &local);
    if (strftime(text, sizeof text, format, &local)) fputs(text, stdout);
}
#pragma GCC diagnostic pop

static void put_iso_date(const struct view *v)
{
    (void)v;
    put_date("%Y-%m-%dT%H:%M:%S%z");
}

static void put_unix_time(const struct view *v)
{
    uint64_t ns = clock_ns(CLOCK_REALTIME);
    (void)v;
    printf("%llu.%09llu", (unsigned long long)(ns / 1000000000u),
           (unsigned long long)(ns % 1000000000u));
}

/* ---- JSON ---- */

static json_t *text_json(struct bytes text)
{
    json_t *j = json_stringn((const char *)text.p, text.n);
    return j ? j : json_null(); /* no UTF-8 */
}

static json_t *base64_json(struct bytes data)
{
    char *out = NULL;
    size_t n = 0;
    if (gsasl_base64_to((const char *)data.p, data.n, &out, &n) != GSASL_OK) return json_null();
    json_t *j = json_stringn(out, n);
    gsasl_free(out);
    return j;
}

/* Members as the admin listener has them (docs/reference/http-api.md). */
static void set_props(json_t *out, const struct mqtt_props *props)
{
    json_t *users = json_array(), *ids = json_array();
    struct mqtt_prop prop;
    for (size_t at = 0; mqtt_props_next(props->raw, &at, &prop);) {
        if (prop.id == MQTT_P_USER)
            json_array_append_new(users,
                                  json_pack("[oo]", text_json(prop.key), text_json(prop.value)));
        if (prop.id == MQTT_P_SUBSCRIPTION_ID)
            json_array_append_new(ids, json_integer(prop.number));
        if (prop.id == MQTT_P_CONTENT_TYPE)
            json_object_set_new(out, "content_type", text_json(prop.value));
        if (prop.id == MQTT_P_RESPONSE_TOPIC)
            json_object_set_new(out, "response_topic", text_json(prop.value));
        if (prop.id == MQTT_P_CORRELATION)
            json_object_set_new(out, "correlation_data_base64", base64_json(prop.value));
        if (prop.id == MQTT_P_MESSAGE_EXPIRY)
            json_object_set_new(out, "expiry", json_integer(prop.number));
        if (prop.id == MQTT_P_PAYLOAD_FORMAT)
            json_object_set_new(out, "payload_format", json_integer(prop.number));
    }
    if (json_array_size(ids)) json_object_set(out, "subscription_ids", ids);
    json_object_set(out, "properties", users);
    json_decref(users);
    json_decref(ids);
}

/* A number that the broker has said in a user property, or `missing`. */
static json_t *number_json(const struct mqtt_props *props, const char *name, json_t *missing)
{
    struct bytes text = control_find(props->raw, name);
    uint64_t number;
    if (text.p == NULL || control_number(text, &number) < 0) return missing;
    json_decref(missing);
    return json_integer((json_int_t)number);
}

static json_t *message_json(const struct view *v)
{
    char now[RFC3339_SIZE];
    const struct mqtt_publish *m = v->m;
    struct bytes ts = control_find(v->props->raw, "sluice-ts");
    bool text = bytes_is_utf8(m->payload);
    rfc3339_put(now, clock_wall_ms());
    json_t *j = json_object();
    json_object_set_new(j, "topic", text_json(m->topic));
    json_object_set_new(j, "qos", json_integer(m->qos));
    json_object_set_new(j, "retain", json_boolean(m->retain));
    json_object_set_new(j, "dup", json_boolean(m->dup));
    set_props(j, v->props);
    if (text)
        json_object_set_new(j, "payload", text_json(m->payload));
    else
        json_object_set_new(j, "payload_base64", base64_json(m->payload));
    json_object_set_new(j, "seq", number_json(v->props, "sluice-seq", json_null()));
    json_object_set_new(j, "attempt", number_json(v->props, "sluice-attempt", json_integer(1)));
    json_object_set_new(j, "ts", ts.p ? text_json(ts) : json_null());
    json_object_set_new(j, "received", json_string(now));
    return j;
}

static void put_json(const struct view *v)
{
    json_t *j = message_json(v);
    json_dumpf(j, stdout, JSON_COMPACT);
    json_decref(j);
}

/* ---- formats ---- */

static const struct letter {
    char letter;
    void (*put)(const struct view *v);
} letters[] = {
    {'%', put_percent},
    {'A', put_alias},
    {'C', put_content_type},
    {'D', put_correlation},
    {'E', put_expiry},
    {'F', put_payload_format},
    {'I', put_iso_date},
    {'J', put_json},
    {'P', put_user_properties},
    {'R', put_response_topic},
    {'S', put_subscription_ids},
    {'U', put_unix_time},
    {'X', put_upper_hex},
    {'j', put_json},
    {'l', put_length},
    {'m', put_id},
    {'p', put_payload},
    {'q', put_qos},
    {'r', put_retain},
    {'t', put_topic},
    {'x', put_hex},
};

static const struct letter *letter_of(char c)
{
    for (size_t i = 0; i < ARRAY_LEN(letters); i++)
        if (letters[i].letter == c) return &letters[i];
    return NULL;
}

/* Behind a backslash: what it stands for, -1: nothing. */
static int escape_of(char c)
{
    static const char from[] = "\\0aenrtv", to[] = "\\\0\a\033\n\r\t\v";
    const char *at = c ? strchr(from, c) : NULL;
    return at ? (unsigned char)to[at - from] : -1;
}

const char *print_check(const char *format)
{
    for (const char *p = format; *p; p++) {
        if (*p == '\\' && escape_of(*++p) < 0) return "a \\ stands before one of \\ 0 a e n r t v";
        if (*p != '%') continue;
        if (*++p == '@' && p[1])
            p++;
        else if (letter_of(*p) == NULL)
            return "a % stands before one of % A C D E F I J P R S U X j l m p q r t x, or @ and "
                   "a letter of strftime";
        if (*p == 0) break;
    }
    return NULL;
}

static void put_format(const char *format, const struct view *v)
{
    for (const char *p = format; *p; p++) {
        if (*p == '\\') {
            putchar(escape_of(*++p));
        } else if (*p != '%') {
            putchar(*p);
        } else if (*++p == '@') {
            put_date((char[]){'%', *++p, 0});
        } else {
            letter_of(*p)->put(v);
        }
    }
}

int print_message(const struct print *p, const struct mqtt_publish *m,
                  const struct mqtt_props *props)
{
    struct view v = {m, props};
    if (p->json) {
        put_json(&v);
    } else if (p->format) {
        put_format(p->format, &v);
    } else {
        if (p->verbose) {
            put(m->topic);
            fputs(m->payload.n ? " " : " (null)", stdout);
        }
        put(m->payload);
    }
    if (p->json || !p->no_newline) putchar('\n');
    return fflush(stdout) == 0 ? 0 : CTL_REFUSED;
}
