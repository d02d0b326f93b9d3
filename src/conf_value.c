/* What a value may be: booleans, whole numbers, sizes, durations, and how they reach their place
 * in a struct.  Pure; main thread. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "conf_int.h"

int conf_parse_bool(const char *value, bool *out)
{
    bool yes = strcmp(value, "true") == 0 || strcmp(value, "1") == 0;
    if (!yes && strcmp(value, "false") != 0 && strcmp(value, "0") != 0) return E_INVALID;
    *out = yes;
    return 0;
}

/* Digits at *text, moving it behind them.  E_INVALID: none, or more than fits. */
static int conf_digits(const char **text, int64_t *out)
{
    int64_t v = 0;
    const char *p = *text;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *p - '0', &v))
            return E_INVALID;
    }
    if (p == *text) return E_INVALID;
    *text = p;
    *out = v;
    return 0;
}

int conf_parse_number(const char *value, int64_t *out)
{
    bool minus = *value == '-';
    int64_t v;
    value += minus;
    if (conf_digits(&value, &v) < 0 || *value) return E_INVALID;
    *out = minus ? -v : v;
    return 0;
}

struct conf_unit {
    const char *name;
    int64_t factor;
};

static int conf_parse_units(const char *value, const struct conf_unit *units, size_t count,
                            int64_t *out)
{
    int64_t v;
    if (conf_digits(&value, &v) < 0) return E_INVALID;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(value, units[i].name) != 0) continue;
        return __builtin_mul_overflow(v, units[i].factor, out) ? E_INVALID : 0;
    }
    return E_INVALID;
}

int conf_parse_size(const char *value, int64_t *out)
{
    static const struct conf_unit units[] = {
        {"", 1},        {"k", 1 << 10}, {"K", 1 << 10}, {"m", 1 << 20},
        {"M", 1 << 20}, {"g", 1 << 30}, {"G", 1 << 30},
    };
    return conf_parse_units(value, units, ARRAY_LEN(units), out);
}

int conf_parse_duration(const char *value, int64_t *out_ms)
{
    static const struct conf_unit units[] = {
        {"", 1000},       {"ms", 1},          {"s", 1000},
        {"m", 60 * 1000}, {"h", 3600 * 1000}, {"d", 86400 * 1000},
    };
    return conf_parse_units(value, units, ARRAY_LEN(units), out_ms);
}

int conf_parse_expiration(const char *value, int64_t *out_s)
{
    static const struct conf_unit units[] = {
        {"s", 1},         {"h", 3600},       {"d", 86400},
        {"w", 7 * 86400}, {"m", 30 * 86400}, {"y", 365 * 86400},
    };
    return conf_parse_units(value, units, ARRAY_LEN(units), out_s);
}

/* A number as one would write it: 268435456 -> "256M". */
static void conf_size_text(int64_t v, char *out, size_t room)
{
    static const char unit[] = {0, 'k', 'M', 'G'};
    unsigned i = 0;
    while (v >= 1024 && v % 1024 == 0 && i + 1 < sizeof unit) {
        v /= 1024;
        i++;
    }
    snprintf(out, room, "%" PRId64 "%.1s", v, &unit[i]);
}

static void conf_duration_text(int64_t ms, char *out, size_t room)
{
    static const struct conf_unit units[] = {
        {"d", 86400 * 1000}, {"h", 3600 * 1000}, {"m", 60 * 1000}, {"s", 1000}, {"ms", 1}};
    size_t i = 0;
    while (ms % units[i].factor != 0) i++;
    snprintf(out, room, "%" PRId64 "%s", ms / units[i].factor, ms == 0 ? "" : units[i].name);
}

void conf_value_expected(const struct conf_directive *d, char *out, size_t room)
{
    char low[32], high[32];
    switch (d->kind) {
    case CONF_BOOL: snprintf(out, room, "true or false"); return;
    case CONF_TEXT: snprintf(out, room, "text"); return;
    case CONF_OWN: snprintf(out, room, "%s", d->values); return;
    case CONF_NUMBER:
        snprintf(out, room, "a whole number, %" PRId64 " to %" PRId64, d->min, d->max);
        return;
    case CONF_SIZE:
        conf_size_text(d->min, low, sizeof low);
        conf_size_text(d->max, high, sizeof high);
        snprintf(out, room, "a size, %s to %s (bytes, or with k, M, G)", low, high);
        return;
    case CONF_DURATION:
        conf_duration_text(d->min * d->unit_ms, low, sizeof low);
        conf_duration_text(d->max * d->unit_ms, high, sizeof high);
        snprintf(out, room, "a duration, %s to %s (%s)", low, high,
                 d->unit_ms == 1 ? "500ms, 30s, 15m, 12h, 7d; a bare number is seconds"
                                 : "30s, 15m, 12h, 7d; a bare number is seconds");
        return;
    }
}

static int64_t conf_load_integer(const struct conf_directive *d, const void *base)
{
    const uint8_t *at = (const uint8_t *)base + d->offset;
    uint16_t v2;
    uint32_t v4;
    int64_t v8;
    switch (d->width) {
    case 1: return *at;
    case 2: return memcpy(&v2, at, sizeof v2), v2;
    case 4: return memcpy(&v4, at, sizeof v4), v4;
    default: ASSERT(d->width == 8); return memcpy(&v8, at, sizeof v8), v8;
    }
}

void conf_value_text(const struct conf_directive *d, const void *base, char *out, size_t room)
{
    int64_t v = conf_load_integer(d, base);
    if (d->kind == CONF_BOOL)
        snprintf(out, room, "%s", v ? "true" : "false");
    else if (d->kind == CONF_SIZE)
        conf_size_text(v, out, room);
    else if (d->kind == CONF_DURATION)
        conf_duration_text(v * d->unit_ms, out, room);
    else
        snprintf(out, room, "%" PRId64, v);
}

static void conf_store_integer(const struct conf_directive *d, void *base, int64_t v)
{
    uint8_t *at = (uint8_t *)base + d->offset;
    uint16_t v2 = (uint16_t)v;
    uint32_t v4 = (uint32_t)v;
    switch (d->width) {
    case 1: *at = (uint8_t)v; return;
    case 2: memcpy(at, &v2, sizeof v2); return;
    case 4: memcpy(at, &v4, sizeof v4); return;
    default: ASSERT(d->width == 8); memcpy(at, &v, sizeof v);
    }
}

/* The value in what the row stores: a count, bytes, or the row's unit of time. */
static int conf_integer_of(const struct conf_directive *d, const char *value, int64_t *v)
{
    bool yes = false;
    int rc = E_INVALID;
    switch (d->kind) {
    case CONF_BOOL:
        rc = conf_parse_bool(value, &yes);
        *v = yes;
        return rc;
    case CONF_NUMBER: rc = conf_parse_number(value, v); break;
    case CONF_SIZE: rc = conf_parse_size(value, v); break;
    case CONF_DURATION:
        rc = conf_parse_duration(value, v);
        if (rc == 0 && *v % d->unit_ms != 0) return E_INVALID;
        if (rc == 0) *v /= d->unit_ms;
        break;
    case CONF_TEXT:
    case CONF_OWN: break;
    }
    if (rc < 0) return rc;
    return *v < d->min || *v > d->max ? E_INVALID : 0;
}

int conf_value_set(struct conf_reader *r, const struct conf_directive *d, void *base,
                   const char *value)
{
    if (d->kind == CONF_OWN) return d->apply(r, d, value);
    if (d->kind == CONF_TEXT) {
        char *slot;
        memcpy(&slot, (uint8_t *)base + d->offset, sizeof slot);
        int rc = conf_text_set(&slot, value);
        memcpy((uint8_t *)base + d->offset, &slot, sizeof slot);
        return rc;
    }
    int64_t v = 0;
    char expected[160];
    if (conf_integer_of(d, value, &v) == 0) {
        conf_store_integer(d, base, v);
        return 0;
    }
    conf_value_expected(d, expected, sizeof expected);
    return conf_fail(r, E_INVALID, "'%s' cannot be '%s': use %s", d->name, value, expected);
}
