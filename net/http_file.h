/* Files of a folder, for who asks for them over HTTP.  Any thread. */
#ifndef NET_HTTP_FILE_H
#define NET_HTTP_FILE_H

#include "base/bytes.h"

enum {
    HTTP_FILE_MAX = 64 << 20, /* bytes of one; larger ones are refused */
    HTTP_PATH_MAX = 1024,     /* bytes of a path, decoded */
};

struct http_file {
    int fd; /* the caller's, with status 200; -1: none */
    uint64_t size;
    const char *type; /* its Content-Type */
};

/* Opens what `target` ("/a/b.html?c") names below folder.  Nothing above it, no symbolic link, and
 * nothing whose name begins with a dot; a path that ends in '/' is the folder's index.html. Returns
 * the status to answer: 200; 301: it is a folder, and wants a '/' behind it; 400, 403, 404, 503. */
MUST_USE unsigned http_file_open(const char *folder, struct bytes target, struct http_file *out);

#endif
