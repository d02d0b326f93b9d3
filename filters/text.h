/* Texts as sequences of code points: lengths, parts, letter case, LIKE.  Bytes that are not UTF-8
 * count as one character each and stay what they are.  Pure functions.  Any thread. */
#ifndef FILTERS_TEXT_H
#define FILTERS_TEXT_H

#include "base/bytes.h"

size_t text_length(struct bytes text);                /* in code points */
size_t text_offset(struct bytes text, size_t points); /* of that code point in bytes, or text.n */
struct bytes text_trim(struct bytes text);            /* Unicode white space at both ends */

/* Simple case mapping (one code point for one).  Writes to out, which has room for
 * TEXT_CASE_GROWTH * text.n bytes; returns how many. */
enum { TEXT_CASE_GROWTH = 3 };
size_t text_lower(struct bytes text, uint8_t *out);
size_t text_upper(struct bytes text, uint8_t *out);

/* Patterns of LIKE: % any run, _ one character, \% and \_ literal.  Adds to *work the steps it
 * takes beside memmem(), and gives up above `most`: patterns that mix % and _ could else be made to
 * cost the product of the lengths. */
enum like_result { LIKE_NO, LIKE_YES, LIKE_GAVE_UP };
enum like_result like_match(struct bytes text, struct bytes pattern, size_t most, size_t *work);

#endif
