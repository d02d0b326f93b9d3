/* Values and what becomes of them.  Pure functions.  Any thread. */
#include "filters/value.h"

#include <math.h>
#include <stdio.h>

static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

bool text_to_int(struct bytes text, int32_t *out)
{
    size_t i = text.n && (text.p[0] == '-' || text.p[0] == '+');
    bool minus = i && text.p[0] == '-';
    if (i == text.n) return false;
    int64_t n = 0;
    for (; i < text.n; i++) {
        if (!is_digit(text.p[i])) return false;
        n = n * 10 + (text.p[i] - '0');
        if (n > (int64_t)INT32_MAX + 1) return false;
    }
    if (minus) n = -n;
    if (n > INT32_MAX) return false;
    *out = (int32_t)n;
    return true;
}

/* What a numeral is made of: the first digits as a whole number, and the power of ten they are to
 * be multiplied with. */
struct numeral {
    uint64_t digits;
    int digit_count; /* significant ones */
    int power;
    bool minus;
};

static size_t read_digits(struct bytes t, size_t i, struct numeral *n, int step)
{
    for (; i < t.n && is_digit(t.p[i]); i++) {
        if (n->digit_count || t.p[i] != '0') n->digit_count++;
        if (n->digit_count <= 18) n->digits = n->digits * 10 + (uint64_t)(t.p[i] - '0');
        n->power -= step;
    }
    return i;
}

static size_t read_exponent(struct bytes t, size_t i, struct numeral *n)
{
    bool minus = i < t.n && t.p[i] == '-';
    if (i < t.n && (t.p[i] == '-' || t.p[i] == '+')) i++;
    size_t from = i;
    int e = 0;
    for (; i < t.n && is_digit(t.p[i]); i++)
        if (e < 100000) e = e * 10 + (t.p[i] - '0');
    n->power += minus ? -e : e;
    return i > from ? i : 0;
}

/* Whether the text is a numeral at all. */
static bool read_numeral(struct bytes t, struct numeral *n)
{
    size_t i = t.n && (t.p[0] == '-' || t.p[0] == '+'), from = i;
    n->minus = i && t.p[0] == '-';
    i = read_digits(t, i, n, 0);
    if (i == from) return false;
    if (i < t.n && t.p[i] == '.') {
        from = ++i;
        i = read_digits(t, i, n, 1);
        if (i == from) return false;
    }
    if (i < t.n && (t.p[i] == 'e' || t.p[i] == 'E')) i = read_exponent(t, i + 1, n);
    return i == t.n;
}

bool text_to_decimal(struct bytes text, double *out)
{
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    struct numeral n = {0};
    if (text.n > NUMERAL_BYTES_MAX || !read_numeral(text, &n)) return false;
    double d;
    /* Both are exact in binary64, so one rounding gives the nearest number (Clinger 1990). */
    if (n.digit_count <= 15 && n.power >= -22 && n.power <= 22) {
        d = (double)n.digits;
        d = n.power < 0 ? d / powers[-n.power] : d * powers[n.power];
        if (n.minus) d = -d;
    } else {
        char copy[NUMERAL_BYTES_MAX + 1];
        memcpy(copy, text.p, text.n);
        copy[text.n] = 0;
        d = strtod(copy, NULL);
    }
    if (!isfinite(d)) return false;
    *out = d == 0 ? 0.0 : d; /* no negative zero: it would be another key of an index */
    return true;
}

static bool text_to_bool(struct bytes text, bool *out)
{
    static const char names[2][6] = {"false", "true"};
    for (unsigned b = 0; b < 2; b++) {
        size_t n = strlen(names[b]), i = 0;
        if (text.n != n) continue;
        while (i < n && (text.p[i] | 0x20) == names[b][i]) i++;
        if (i < n) continue;
        *out = b;
        return true;
    }
    return false;
}

static bool cast_to_int(struct filter_value *v)
{
    int32_t i = 0;
    switch (v->type) {
    case FILTER_INT: return true;
    case FILTER_BOOL: i = v->boolean; break;
    case FILTER_DECIMAL:
        if (v->decimal < INT32_MIN || v->decimal > INT32_MAX) return false;
        i = (int32_t)v->decimal;
        if (i != v->decimal) return false;
        break;
    case FILTER_STRING:
        if (!text_to_int(v->string, &i)) return false;
        break;
    }
    *v = value_int(i);
    return true;
}

static bool cast_to_decimal(struct filter_value *v)
{
    double d = 0;
    switch (v->type) {
    case FILTER_INT: d = v->integer; break;
    case FILTER_BOOL: d = v->boolean; break;
    case FILTER_DECIMAL: return true;
    case FILTER_STRING:
        if (!text_to_decimal(v->string, &d)) return false;
        break;
    }
    *v = value_decimal(d);
    return true;
}

static bool cast_to_bool(struct filter_value *v)
{
    bool b = false;
    switch (v->type) {
    case FILTER_INT: b = v->integer != 0; break;
    case FILTER_BOOL: return true;
    case FILTER_DECIMAL: b = v->decimal != 0; break;
    case FILTER_STRING:
        if (!text_to_bool(v->string, &b)) return false;
        break;
    }
    *v = value_bool(b);
    return true;
}

int value_decimal_digits(double d)
{
    char text[CAST_TEXT_BYTES];
    for (int digits = 15; digits < 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, d);
        if (strtod(text, NULL) == d) return digits;
    }
    return 17;
}

static bool cast_to_string(struct filter_value *v, char *room)
{
    int n = 0;
    switch (v->type) {
    case FILTER_INT: n = snprintf(room, CAST_TEXT_BYTES, "%d", v->integer); break;
    case FILTER_BOOL:
        n = snprintf(room, CAST_TEXT_BYTES, "%s", v->boolean ? "true" : "false");
        break;
    case FILTER_DECIMAL:
        n = snprintf(room, CAST_TEXT_BYTES, "%.*g", value_decimal_digits(v->decimal), v->decimal);
        break;
    case FILTER_STRING: return true;
    }
    *v = value_string(bytes_of(room, (size_t)n));
    return true;
}

bool value_cast(struct filter_value *v, enum filter_type target, char *room)
{
    switch (target) {
    case FILTER_INT: return cast_to_int(v);
    case FILTER_DECIMAL: return cast_to_decimal(v);
    case FILTER_BOOL: return cast_to_bool(v);
    case FILTER_STRING: return cast_to_string(v, room);
    }
    return false;
}

bool value_to_number(struct filter_value *v)
{
    switch (v->type) {
    case FILTER_INT:
    case FILTER_DECIMAL: return true;
    case FILTER_BOOL: return cast_to_int(v);
    case FILTER_STRING: return cast_to_int(v) || cast_to_decimal(v);
    }
    return false;
}

bool value_equal(const struct filter_value *a, const struct filter_value *b)
{
    ASSERT(a->type == b->type);
    switch (a->type) {
    case FILTER_INT: return a->integer == b->integer;
    case FILTER_DECIMAL: return a->decimal == b->decimal;
    case FILTER_BOOL: return a->boolean == b->boolean;
    case FILTER_STRING: return bytes_eq(a->string, b->string);
    }
    return false;
}

int value_order(const struct filter_value *a, const struct filter_value *b)
{
    double x = value_as_double(a), y = value_as_double(b); /* Integers are exact in it */
    return (x > y) - (x < y);
}

const char *value_type_name(enum filter_type type)
{
    switch (type) {
    case FILTER_INT: return "Integer";
    case FILTER_DECIMAL: return "Decimal";
    case FILTER_BOOL: return "Boolean";
    case FILTER_STRING: return "String";
    }
    return "?";
}
