/* Attributes in the topic of a PUBLISH or will become properties.  No state; any thread. */
#include "core/envelope.h"

#include "core/wish.h"
#include "mqtt/mqtt.h"

enum { PREFIX_LEN = sizeof "$pub/" - 1 };

static int wrong(struct envelope *e, const char *problem)
{
    e->problem = problem;
    return E_INVALID;
}

/* Cuts off what stands before the separator, and the separator.  False: there is none. */
static bool cut(struct bytes *rest, char separator, struct bytes *before)
{
    const uint8_t *end = rest->n ? memchr(rest->p, separator, rest->n) : NULL;
    *before = bytes_of(rest->p, end ? (size_t)(end - rest->p) : rest->n);
    *rest = bytes_skip(*rest, before->n + (end != NULL));
    return end != NULL;
}

/* A string as properties have it, its escapes undone.  NULL: they are not right. */
static uint8_t *put_decoded(uint8_t *d, struct bytes text, struct bytes *decoded)
{
    if (wish_decode(text, d + 2, decoded) < 0) return NULL;
    put_u16(d, (unsigned)decoded->n);
    return d + 2 + decoded->n;
}

static int read_ttl(struct envelope *e, struct bytes text)
{
    uint64_t seconds = 0;
    bool ok = text.n > 0 && text.n <= 10;
    for (size_t i = 0; ok && i < text.n; i++) {
        ok = text.p[i] >= '0' && text.p[i] <= '9';
        seconds = seconds * 10 + (unsigned)(text.p[i] - '0');
    }
    if (!ok || seconds >= MQTT_NO_EXPIRY)
        return wrong(e, "ttl in the envelope is not a whole number of seconds");
    if (e->expiry_s != MQTT_NO_EXPIRY) return wrong(e, "ttl is in the envelope twice");
    e->expiry_s = (uint32_t)seconds;
    return 0;
}

/* One k=v. */
static int take(struct envelope *e, struct bytes text, uint8_t **d)
{
    struct bytes key, value;
    if (!cut(&text, '=', &key) || key.n == 0)
        return wrong(e, "the envelope is not $pub/<key>=<value>&<key>=<value>/<topic>");
    uint8_t *end = put_decoded(*d + 1, key, &key);
    if (end) end = put_decoded(end, text, &value);
    if (end == NULL)
        return wrong(e, "in the envelope a percent sign wants two hexadecimal digits, and UTF-8 is "
                        "expected");
    if (bytes_eq(key, bytes_str("ttl"))) return read_ttl(e, value);
    put_u8(*d, MQTT_P_USER);
    *d = end;
    return 0;
}

int envelope_open(struct bytes whole, uint8_t *d, struct envelope *out)
{
    struct bytes rest = bytes_skip(whole, PREFIX_LEN), attributes, one;
    uint8_t *start = d;
    unsigned count = 0;
    *out = (struct envelope){.expiry_s = MQTT_NO_EXPIRY};
    if (!cut(&rest, '/', &attributes) || rest.n == 0)
        return wrong(out, "no topic is behind the envelope");
    if (attributes.n > ENVELOPE_MAX) return wrong(out, "the envelope is longer than 8192 bytes");
    bool more;
    do {
        if (++count > ENVELOPE_KEYS_MAX)
            return wrong(out, "the envelope has more than 100 attributes");
        more = cut(&attributes, '&', &one);
        int rc = take(out, one, &d);
        if (rc < 0) return rc;
    } while (more);
    out->topic = rest;
    out->props = bytes_of(start, (size_t)(d - start));
    return 0;
}
