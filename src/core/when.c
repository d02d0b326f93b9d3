/* See when.h. */
#include "core/when.h"

#include "base/rfc3339.h"

enum { DIGITS_MAX = 19 }; /* fit 64 bits */

static bool number_get(struct bytes b, uint64_t *out)
{
    *out = 0;
    if (b.n == 0 || b.n > DIGITS_MAX) return false;
    for (size_t i = 0; i < b.n; i++) {
        if (b.p[i] < '0' || b.p[i] > '9') return false;
        *out = *out * 10 + (uint64_t)(b.p[i] - '0');
    }
    return true;
}

/* "15m": an integer and a unit. */
static bool duration_get(struct bytes b, uint64_t *ms)
{
    static const struct {
        const char *name;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    size_t n = 0;
    while (n < b.n && b.p[n] >= '0' && b.p[n] <= '9') n++;
    if (!number_get(bytes_of(b.p, n), ms)) return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (!bytes_eq(bytes_skip(b, n), bytes_str(units[i].name))) continue;
        *ms = *ms > UINT64_MAX / units[i].ms ? UINT64_MAX : *ms * units[i].ms;
        return true;
    }
    return false;
}

/* "1795599847.5", to the millisecond. */
static bool unix_get(struct bytes b, uint64_t *ms)
{
    const uint8_t *point = b.n ? memchr(b.p, '.', b.n) : NULL;
    struct bytes whole = point ? bytes_of(b.p, (size_t)(point - b.p)) : b;
    struct bytes part = point ? bytes_skip(b, whole.n + 1) : (struct bytes){0};
    uint64_t fraction;
    if (!number_get(whole, ms) || *ms > UINT64_MAX / 1000) return false;
    *ms *= 1000;
    if (point == NULL) return true;
    if (!number_get(part, &fraction)) return false;
    for (size_t i = 0, scale = 100; i < part.n && scale; i++, scale /= 10)
        *ms += (uint64_t)(part.p[i] - '0') * scale;
    return true;
}

int when_get(struct bytes b, uint64_t now_ms, struct when *out, const char **why)
{
    uint64_t ms;
    *out = (struct when){0};
    *why =
        "earliest, latest, -15m, RFC 3339 with a zone, Unix seconds, seq:N or last:N is expected";
    if (bytes_eq(b, bytes_str("earliest"))) return 0;
    if (bytes_eq(b, bytes_str("latest"))) {
        out->kind = WHEN_LATEST;
    } else if (bytes_starts(b, "seq:")) {
        out->kind = WHEN_SEQ;
        if (!number_get(bytes_skip(b, 4), &out->value)) return E_INVALID;
    } else if (bytes_starts(b, "last:")) {
        out->kind = WHEN_LAST;
        if (!number_get(bytes_skip(b, 5), &out->value) || out->value == 0) return E_INVALID;
    } else if (bytes_starts(b, "-")) {
        out->kind = WHEN_TIME;
        if (!duration_get(bytes_skip(b, 1), &ms)) {
            *why = "an integer and a unit (ms, s, m, h, d) is expected behind the minus";
            return E_INVALID;
        }
        out->value = now_ms - min_u64(now_ms, ms);
    } else {
        out->kind = WHEN_TIME;
        if (!unix_get(b, &out->value) && rfc3339_get(b, &out->value) < 0) return E_INVALID;
    }
    return 0;
}

int when_check_span(const struct when *from, const struct when *to, const char **why)
{
    bool both = from->kind == to->kind && (from->kind == WHEN_TIME || from->kind == WHEN_SEQ);
    *why = "last:N has no end";
    if (from->kind == WHEN_LAST || to->kind == WHEN_LAST) return E_INVALID;
    *why = "it ends before it begins";
    if ((both && from->value > to->value) || to->kind == WHEN_EARLIEST ||
        (from->kind == WHEN_LATEST && to->kind != WHEN_LATEST))
        return E_INVALID;
    return 0;
}

int when_get_span(struct bytes text, uint64_t now_ms, struct when *from, struct when *to,
                  bool *span, const char **why)
{
    size_t at = 0;
    while (at + 1 < text.n && (text.p[at] != '.' || text.p[at + 1] != '.')) at++;
    *span = at + 1 < text.n;
    int rc = when_get(*span ? bytes_of(text.p, at) : text, now_ms, from, why);
    if (rc == 0 && *span) rc = when_get(bytes_skip(text, at + 2), now_ms, to, why);
    if (rc == 0 && *span) rc = when_check_span(from, to, why);
    return rc;
}
