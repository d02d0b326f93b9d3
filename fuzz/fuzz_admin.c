/* What the admin listener reads of a request before it knows who asks: the input is headers, a line
 * each (Host, Origin, Content-Type, Authorization, path, query), and the rest is a body. */
#include <jansson.h>
#include <stdint.h>

#include "shell/admin_int.h"

static struct bytes line_of(struct bytes *in)
{
    const uint8_t *end = in->n ? memchr(in->p, '\n', in->n) : NULL;
    size_t n = end ? (size_t)(end - in->p) : in->n;
    struct bytes line = bytes_of(in->p, n);
    *in = bytes_skip(*in, end ? n + 1 : n);
    return line;
}

static bool lies_in(struct bytes part, struct bytes whole)
{
    return part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

static void check_basic(struct bytes header)
{
    static uint8_t out[ADMIN_SECRET_MAX];
    struct bytes user, secret;
    if (!guard_basic(header, out, &user, &secret)) return;
    ASSERT(user.n <= ADMIN_USER_MAX && bytes_is_utf8(user));
    ASSERT(lies_in(user, bytes_of(out, sizeof out)) && lies_in(secret, bytes_of(out, sizeof out)));
}

static void check_route(enum http_method method, struct bytes path)
{
    struct bytes id = {0};
    const struct admin_route *r = admin_route_find(method, path, &id);
    const char *allow = admin_route_allow(path);
    ASSERT(r == NULL || (allow && lies_in(id, path)));
    ASSERT(r == NULL || (strchr(r->path, '{') != NULL) == (id.n > 0));
}

static void check_query(struct bytes query)
{
    struct buf copy = {0};
    struct bytes value;
    if (buf_append(&copy, query) < 0 || buf_append(&copy, bytes_of("", 1)) < 0) return;
    if (http_query(buf_view(&copy), "after", &value)) ASSERT(lies_in(value, buf_view(&copy)));
    buf_fini(&copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes in = bytes_of(data, size), host = line_of(&in), origin = line_of(&in);
    if (guard_origin_ok(origin, host, false)) ASSERT(host.n > 0 && origin.n == host.n + 7);
    /* Nobody is at home in a name that only begins or ends like ours. */
    if (guard_host_ok(host, "broker.example", "machine"))
        ASSERT(host.n > 0 && memchr(host.p, ',', host.n) == NULL);
    (void)guard_json_type(line_of(&in));
    check_basic(line_of(&in));
    struct bytes path = line_of(&in);
    check_route(HTTP_GET, path);
    check_route(HTTP_POST, path);
    check_query(line_of(&in));
    if (guard_json_depth(in) && in.n < 4096)
        json_decref(json_loadb((const char *)in.p, in.n, JSON_REJECT_DUPLICATES, NULL));
    return 0;
}
