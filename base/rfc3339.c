/* See rfc3339.h.  The calendar is the C library's. */
#include "base/rfc3339.h"

#include <stdio.h>
#include <time.h>

void rfc3339_put(char out[RFC3339_SIZE], uint64_t time_ms)
{
    time_t s = (time_t)(time_ms / 1000);
    struct tm tm;
    if (gmtime_r(&s, &tm) == NULL) tm = (struct tm){.tm_mday = 1};
    size_t n = strftime(out, RFC3339_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, RFC3339_SIZE - n, ".%03u000Z", (unsigned)(time_ms % 1000));
}

/* `digits` of them, in [low, high]. */
static bool number(struct rd *r, size_t digits, int low, int high, int *out)
{
    struct bytes b = rd_take(r, digits);
    *out = 0;
    if (!rd_ok(r)) return false;
    for (size_t i = 0; i < b.n; i++) {
        if (b.p[i] < '0' || b.p[i] > '9') return false;
        *out = *out * 10 + (b.p[i] - '0');
    }
    return *out >= low && *out <= high;
}

static bool letter(struct rd *r, char a, char b)
{
    unsigned c = rd_u8(r);
    return rd_ok(r) && (c == (unsigned char)a || c == (unsigned char)b);
}

static bool fraction(struct rd *r, int *ms)
{
    int scale = 100, digits = 0;
    *ms = 0;
    if (rd_left(r) == 0 || *r->p != '.') return true;
    (void)rd_u8(r);
    for (; rd_left(r) && *r->p >= '0' && *r->p <= '9'; digits++, scale /= 10)
        *ms += (rd_u8(r) - '0') * scale;
    return digits > 0;
}

static bool zone(struct rd *r, int *offset_s)
{
    int hours, minutes;
    unsigned sign = rd_u8(r);
    *offset_s = 0;
    if (!rd_ok(r)) return false;
    if (sign == 'Z' || sign == 'z') return true;
    if (sign != '+' && sign != '-') return false;
    if (!number(r, 2, 0, 23, &hours) || !letter(r, ':', ':') || !number(r, 2, 0, 59, &minutes))
        return false;
    *offset_s = (hours * 60 + minutes) * (sign == '+' ? 60 : -60);
    return true;
}

int rfc3339_get(struct bytes text, uint64_t *time_ms)
{
    struct rd r = rd_of(text);
    struct tm tm = {0};
    int ms, offset_s;
    if (!number(&r, 4, 1970, 9999, &tm.tm_year) || !letter(&r, '-', '-') ||
        !number(&r, 2, 1, 12, &tm.tm_mon) || !letter(&r, '-', '-') ||
        !number(&r, 2, 1, 31, &tm.tm_mday) || !letter(&r, 'T', 't') ||
        !number(&r, 2, 0, 23, &tm.tm_hour) || !letter(&r, ':', ':') ||
        !number(&r, 2, 0, 59, &tm.tm_min) || !letter(&r, ':', ':') ||
        !number(&r, 2, 0, 60, &tm.tm_sec) || !fraction(&r, &ms) || !zone(&r, &offset_s) ||
        rd_left(&r))
        return E_INVALID;
    int day = tm.tm_mday, second = tm.tm_sec;
    tm.tm_year -= 1900;
    tm.tm_mon--;
    tm.tm_sec = 0; /* a leap second may bring it into the next day */
    int64_t s = (int64_t)timegm(&tm) + second - offset_s;
    if (tm.tm_mday != day || s < 0) return E_INVALID; /* no such day: it has become another */
    *time_ms = (uint64_t)s * 1000 + (uint64_t)ms;
    return 0;
}
