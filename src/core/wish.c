/* Prefixes and properties of a SUBSCRIBE, see wish.h.  No state. */
#include "core/wish.h"

/* Cuts `head`, one level and the slash behind it off *rest.  E_NOTFOUND: it does not begin so;
 * E_TOPIC_FILTER: the level is empty or has a wildcard.  *last: no slash was behind it. */
static int cut(struct bytes *rest, const char *head, struct bytes *level, bool *last)
{
    if (!bytes_starts(*rest, head)) return E_NOTFOUND;
    struct bytes from = bytes_skip(*rest, strlen(head));
    const uint8_t *slash = from.n ? memchr(from.p, '/', from.n) : NULL;
    *level = bytes_of(from.p, slash ? (size_t)(slash - from.p) : from.n);
    *last = slash == NULL;
    if (level->n == 0 || memchr(level->p, '+', level->n) || memchr(level->p, '#', level->n))
        return E_TOPIC_FILTER;
    *rest = bytes_skip(from, level->n + !*last);
    return 0;
}

static bool is_prefix(struct bytes filter)
{
    static const char *const heads[] = {"$share/",  "$queue/", "$filter/",
                                        "$replay/", "$pub/",   "$delayed/"};
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) /* "$queue" alone is incomplete, too */
        if (bytes_starts(filter, heads[i]) ||
            bytes_eq(filter, bytes_of(heads[i], strlen(heads[i]) - 1)))
            return true;
    return false;
}

/* Cuts off what prefixes there are, in their order.  *last: nothing can follow. */
static int cut_prefixes(struct bytes *rest, struct wish *w, bool *last)
{
    struct {
        const char *head;
        struct bytes *level;
    } const prefixes[] = {{"$queue/", &w->queue}, {"$filter/", &w->expr}, {"$replay/", &w->when}};
    *last = false;
    for (size_t i = 0; i < ARRAY_LEN(prefixes) && !*last; i++)
        if (cut(rest, prefixes[i].head, prefixes[i].level, last) == E_TOPIC_FILTER)
            return E_TOPIC_FILTER;
    return 0;
}

int wish_split(struct bytes whole, bool in_group, struct wish *w, struct bytes *inner)
{
    struct bytes rest = whole;
    bool last;
    if (cut_prefixes(&rest, w, &last) < 0 || (in_group && w->queue.n)) return E_TOPIC_FILTER;
    bool alone = last && w->queue.n && w->expr.p == NULL && w->when.p == NULL;
    if (rest.n == 0 && !alone) return E_TOPIC_FILTER;
    if (is_prefix(rest)) return E_TOPIC_FILTER; /* twice, in another order, or not complete */
    w->prefix = bytes_of(whole.p, whole.n - rest.n);
    *inner = rest;
    return 0;
}

/* The parts of a wish beside its prefix, in the order of their kinds, from 2 on. */
enum { KIND_PREFIX = 1, PROPERTY_COUNT = 7 };

static const char *const property_names[PROPERTY_COUNT] = {
    "filter", "replay", "replay-until", "replay-end", "ack-deadline", "max-deliveries", "backoff"};

static struct bytes *property(struct wish *w, size_t i)
{
    struct bytes *const parts[PROPERTY_COUNT] = {
        &w->filter,       &w->replay,         &w->replay_until, &w->replay_end,
        &w->ack_deadline, &w->max_deliveries, &w->backoff};
    return parts[i];
}

bool wish_property(struct wish *w, struct bytes key, struct bytes value, bool *twice)
{
    if (bytes_eq(key, bytes_str("$where"))) key = bytes_str("filter");
    for (size_t i = 0; i < PROPERTY_COUNT; i++) {
        if (!bytes_eq(key, bytes_str(property_names[i]))) continue;
        struct bytes *part = property(w, i);
        *twice |= part->p != NULL;
        *part = bytes_of(value.n ? value.p : (const uint8_t *)"", value.n);
        return true;
    }
    return false;
}

size_t wish_size(const struct wish *w)
{
    struct wish copy = *w;
    size_t size = w->prefix.n ? 5 + w->prefix.n : 0;
    for (size_t i = 0; i < PROPERTY_COUNT; i++)
        if (property(&copy, i)->p) size += 5 + property(&copy, i)->n;
    return size;
}

bool wish_is_empty(const struct wish *w) { return wish_size(w) == 0; }

static uint8_t *put_part(uint8_t *d, unsigned kind, struct bytes text)
{
    uint32_t n = (uint32_t)text.n;
    return put_mem(put_mem(put_u8(d, kind), bytes_of(&n, sizeof n)), text);
}

uint8_t *wish_put(uint8_t *d, const struct wish *w)
{
    struct wish copy = *w;
    if (w->prefix.n) d = put_part(d, KIND_PREFIX, w->prefix);
    for (size_t i = 0; i < PROPERTY_COUNT; i++)
        if (property(&copy, i)->p)
            d = put_part(d, KIND_PREFIX + 1 + (unsigned)i, *property(&copy, i));
    return d;
}

void wish_get(struct bytes block, struct wish *w)
{
    *w = (struct wish){0};
    struct rd r = rd_of(block);
    while (rd_left(&r)) {
        uint32_t n = 0;
        unsigned kind = rd_u8(&r);
        struct bytes head = rd_take(&r, sizeof n);
        if (head.n) memcpy(&n, head.p, sizeof n);
        struct bytes text = rd_take(&r, n);
        if (!rd_ok(&r)) return;
        if (kind == KIND_PREFIX) {
            bool last;
            struct bytes rest = w->prefix = text;
            (void)cut_prefixes(&rest, w, &last); /* it could be cut when it came */
        } else if (kind <= KIND_PREFIX + PROPERTY_COUNT && kind > KIND_PREFIX) {
            *property(w, kind - KIND_PREFIX - 1) = text;
        }
    }
}

static int hex(uint8_t c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

int wish_decode(struct bytes text, uint8_t *d, struct bytes *out)
{
    uint8_t *start = d;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] != '%') {
            *d++ = text.p[i];
            continue;
        }
        int high = i + 2 < text.n ? hex(text.p[i + 1]) : -1;
        int low = high >= 0 ? hex(text.p[i + 2]) : -1;
        if (low < 0 || (high == 0 && low == 0)) return E_MALFORMED; /* no NUL, as in MQTT */
        *d++ = (uint8_t)(high << 4 | low);
        i += 2;
    }
    *out = bytes_of(start, (size_t)(d - start));
    return bytes_is_utf8(*out) ? 0 : E_MALFORMED;
}

uint8_t *wish_encode_level(uint8_t *d, struct bytes text)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = text.p[i];
        if (c == '/' || c == '+' || c == '#' || c == '%') {
            *d++ = '%';
            *d++ = (uint8_t)digits[c >> 4];
            *d++ = (uint8_t)digits[c & 15];
        } else {
            *d++ = c;
        }
    }
    return d;
}
