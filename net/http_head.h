/* The head of an HTTP/1.1 request, as views of what was read.  Pure; any thread. */
#ifndef NET_HTTP_HEAD_H
#define NET_HTTP_HEAD_H

#include "base/bytes.h"
#include "base/err.h"

enum { HTTP_FIELDS_MAX = 100 }; /* of a request */

struct http_field {
    struct bytes name, value; /* the value without spaces around it */
};

struct http_head {
    size_t size;         /* bytes of it, with the empty line */
    struct bytes method; /* a known one: "GET" */
    struct bytes target; /* begins with '/' */
    bool old;            /* HTTP/1.0 */
    bool body;           /* one follows */
    unsigned field_count;
    struct http_field fields[HTTP_FIELDS_MAX];
    unsigned status;   /* E_INVALID: what to answer */
    const char *wrong; /* and why; static */
};

/* Reads a head of at most `most` bytes from the beginning of `in`.  0; E_AGAIN: there is no end
 * yet, nor anything wrong: come again with more, and with `seen` = in.n, so that nothing is looked
 * at twice; E_INVALID.  The views live as long as `in`. */
MUST_USE int http_head_read(struct bytes in, size_t seen, size_t most, struct http_head *out);

/* How often there is a field of this name; *value is the last one's, if any.  Case does not count.
 */
unsigned http_head_find(const struct http_head *h, const char *name, struct bytes *value);
/* Whether a field of this name, a list with commas, has the word. */
bool http_head_lists(const struct http_head *h, const char *name, const char *word, bool any_case);

#endif
