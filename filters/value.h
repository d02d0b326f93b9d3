/* Values and what becomes of them: casts (CESQL 3.7 and our Decimal), numbers in texts, equality
 * and order.  Pure functions.  Any thread. */
#ifndef FILTERS_VALUE_H
#define FILTERS_VALUE_H

#include "filters/filter.h"

/* A numeral that is longer is none: it takes strtod() as long as it is. */
enum { NUMERAL_BYTES_MAX = 400, CAST_TEXT_BYTES = 32 };

static inline struct filter_value value_bool(bool b)
{
    return (struct filter_value){.type = FILTER_BOOL, .boolean = b};
}
static inline struct filter_value value_int(int32_t i)
{
    return (struct filter_value){.type = FILTER_INT, .integer = i};
}
static inline struct filter_value value_decimal(double d)
{
    return (struct filter_value){.type = FILTER_DECIMAL, .decimal = d};
}
static inline struct filter_value value_string(struct bytes s)
{
    return (struct filter_value){.type = FILTER_STRING, .string = s};
}

/* [+-]?d+ within 32 bits. */
bool text_to_int(struct bytes text, int32_t *out);
/* [+-]?d+(.d+)?([eE][+-]?d+)? and finite. */
bool text_to_decimal(struct bytes text, double *out);

/* Casts in place; false: cannot be cast, v is as it was.  What a number or Boolean is as a text is
 * written to room, CAST_TEXT_BYTES of the caller's, and *v becomes a view of it. */
bool value_cast(struct filter_value *v, enum filter_type target, char *room);
/* A number for arithmetic and order: Booleans and texts that spell an Integer become one, texts
 * that spell another number a Decimal. */
bool value_to_number(struct filter_value *v);
/* Both of the same type. */
bool value_equal(const struct filter_value *a, const struct filter_value *b);
/* <0, 0, >0; both are numbers. */
int value_order(const struct filter_value *a, const struct filter_value *b);
/* How many digits a Decimal needs so that it reads back the same: 15 to 17. */
int value_decimal_digits(double d);
/* "String", "Integer", ... */
const char *value_type_name(enum filter_type type);

static inline double value_as_double(const struct filter_value *v)
{
    return v->type == FILTER_INT ? v->integer : v->decimal;
}

#endif
