/* By what a predicate is looked up: values, intervals, beginnings and ends, or that the attribute
 * is there at all. */
#include "filters/form.h"

const uint8_t affix_lengths[AFFIX_CLASSES] = {1,  2,  3,  4,  5,  6,  7,  8,
                                              10, 12, 14, 16, 20, 24, 32, 48};

/* The longest of those lengths that is not above n; -1: none. */
static int affix_class(size_t n)
{
    int class = -1;
    while (class + 1 < AFFIX_CLASSES && affix_lengths[class + 1] <= n) class ++;
    return class;
}

static bool is_special(uint8_t c) { return c == '%' || c == '_' || c == '\\'; }

/* How many bytes the pattern begins or ends with that are just themselves. */
static size_t head_length(struct bytes pattern)
{
    size_t n = 0;
    while (n < pattern.n && !is_special(pattern.p[n])) n++;
    return n;
}

static size_t tail_length(struct bytes pattern)
{
    size_t n = 0;
    while (n < pattern.n && !is_special(pattern.p[pattern.n - n - 1])) n++;
    /* What a backslash stands before may be one of its two characters; those end the run. */
    return n;
}

static struct key affix_key(const struct filter_store *s, const struct pred *p)
{
    struct bytes pattern = pred_text(p);
    size_t head = head_length(pattern), tail = tail_length(pattern);
    bool front = head >= tail;
    int class = affix_class(front ? head : tail);
    if (class < 0) return (struct key){.kind = BY_EXISTS, .attr = p->attr};
    size_t n = affix_lengths[class];
    return (struct key){.kind = front ? BY_HEAD : BY_TAIL,
                        .type = (uint8_t) class,
                        .hash =
                            hash_bytes(bytes_of(pattern.p + (front ? 0 : p->n - n), n), s->seed),
                        .attr = p->attr};
}

/* An element may be equal to a String by its text, to a number as a number, to a Boolean as one. */
static uint32_t item_keys(const struct filter_store *s, const struct in_item *item,
                          struct key keys[3])
{
    struct filter_value number = item->value, boolean = item->value;
    uint32_t n = 0;
    keys[n].type = FILTER_STRING;
    keys[n++].hash = hash_bytes(item->text, s->seed);
    if (value_to_number(&number)) {
        keys[n].type = FILTER_DECIMAL;
        keys[n++].hash = key_of_decimal(value_as_double(&number), s->seed);
    }
    if (value_cast(&boolean, FILTER_BOOL, NULL)) {
        keys[n].type = FILTER_BOOL;
        keys[n++].hash = key_of_integer(boolean.boolean, s->seed);
    }
    return n;
}

static bool by_items(const struct pred *p, bool negated) { return p->kind == PRED_IN && !negated; }

uint32_t key_count(const struct filter_store *s, const struct pred *p, bool negated)
{
    struct key keys[3];
    if (!by_items(p, negated)) return 1;
    uint32_t count = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        struct in_item item = pred_item(p, i);
        count += item_keys(s, &item, keys);
    }
    return count;
}

static struct key equal_key(const struct filter_store *s, const struct pred *p)
{
    struct key key = {.kind = BY_EQUAL, .type = p->type, .attr = p->attr};
    switch (p->type) {
    case FILTER_STRING: key.hash = hash_bytes(pred_text(p), s->seed); break;
    default: key.hash = hash_u64(p->words[0], s->seed); /* as key_of_... */
    }
    return key;
}

struct key key_of(const struct filter_store *s, const struct pred *p, bool negated, uint32_t n)
{
    struct key key = {.kind = BY_EXISTS, .attr = p->attr};
    for (uint32_t i = 0; by_items(p, negated) && i < p->n; i++) {
        struct key keys[3];
        struct in_item item = pred_item(p, i);
        uint32_t count = item_keys(s, &item, keys);
        if (n < count) {
            keys[n].kind = BY_EQUAL;
            keys[n].attr = p->attr;
            return keys[n];
        }
        n -= count;
    }
    if (p->attr == NULL || (p->kind == PRED_EXISTS && negated))
        return (struct key){.kind = BY_ALWAYS};
    if (p->kind == PRED_RANGE && !negated) {
        key.kind = BY_RANGE;
        key.range = pred_range(p);
    }
    if (negated) return key;
    if (p->kind == PRED_EQUAL) return equal_key(s, p);
    if (p->kind == PRED_LIKE) return affix_key(s, p);
    return key;
}

uint32_t key_cost(const struct filter_store *s, const struct pred *p, bool negated)
{
    enum { EQUAL = 1, AFFIX = 2, BETWEEN = 20, BOOLEAN = 50, BEYOND = 300, EXISTS = 500 };
    enum { ALWAYS = 100000 };
    if (by_items(p, negated)) return key_count(s, p, negated);
    struct key key = key_of(s, p, negated, 0);
    switch (key.kind) {
    case BY_EQUAL: return key.type == FILTER_BOOL ? BOOLEAN : EQUAL;
    case BY_HEAD:
    case BY_TAIL: return AFFIX + 30u / affix_lengths[key.type];
    case BY_RANGE: return key.range.low && key.range.high != UINT64_MAX ? BETWEEN : BEYOND;
    case BY_EXISTS: return EXISTS;
    default: return ALWAYS;
    }
}
