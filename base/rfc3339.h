/* Points in time as text (RFC 3339): milliseconds since 1970, UTC.  Any thread; pure. */
#ifndef BASE_RFC3339_H
#define BASE_RFC3339_H

#include "base/bytes.h"
#include "base/err.h"

enum { RFC3339_SIZE = 40 }; /* bytes at most, with the end of the string */

/* "2026-11-25T09:44:07.123000Z": always with microseconds. */
void rfc3339_put(char out[RFC3339_SIZE], uint64_t time_ms);

/* A date, 'T' or 't', a time, a fraction if there is one, and a zone: 'Z' or an offset.  A leap
 * second is the second after it; digits of the fraction beyond milliseconds are cut off.
 * E_INVALID: it is none, or before 1970. */
MUST_USE int rfc3339_get(struct bytes text, uint64_t *time_ms);

#endif
