/* A request's head by http-parser, the only file that knows it.  It is given the head at once, when
 * its end is there: what it tells of are then views into that, and no parser is kept between two
 * reads.  Where it is lenient (bare line feeds, folded lines, spaces in names) we are not: two
 * readers must not see two requests. */
#include "net/http_head.h"

#include <http_parser.h>
#include <strings.h>

struct parse {
    struct http_head *out;
    bool in_value; /* the last callback was a value's */
    bool too_many; /* fields */
};

static int refuse(struct http_head *out, unsigned status, const char *wrong)
{
    out->status = status;
    out->wrong = wrong;
    return E_INVALID;
}

/* ---- what http-parser calls; another result than 0 ends it ---- */

static int take(struct bytes *b, const char *at, size_t n)
{
    if (b->p && b->p + b->n != (const uint8_t *)at) return 1; /* a folded line */
    *b = b->p ? bytes_of(b->p, b->n + n) : bytes_of(at, n);
    return 0;
}

static int on_target(http_parser *p, const char *at, size_t n)
{
    struct parse *s = p->data;
    return take(&s->out->target, at, n);
}

static int on_name(http_parser *p, const char *at, size_t n)
{
    struct parse *s = p->data;
    struct http_head *h = s->out;
    if (s->in_value || h->field_count == 0) {
        if (h->field_count == HTTP_FIELDS_MAX) {
            s->too_many = true;
            return 1;
        }
        h->fields[h->field_count++] = (struct http_field){0};
    }
    s->in_value = false;
    return take(&h->fields[h->field_count - 1].name, at, n);
}

static int on_value(http_parser *p, const char *at, size_t n)
{
    struct parse *s = p->data;
    s->in_value = true;
    return take(&s->out->fields[s->out->field_count - 1].value, at, n);
}

static int on_end(http_parser *p)
{
    (void)p;
    return 1; /* no body is read here */
}

/* ---- around it ---- */

static struct bytes trimmed(struct bytes b)
{
    while (b.n && (b.p[0] == ' ' || b.p[0] == '\t')) b = bytes_skip(b, 1);
    while (b.n && (b.p[b.n - 1] == ' ' || b.p[b.n - 1] == '\t')) b.n--;
    return b;
}

/* The head's size; 0: no end yet, or a line that does not end in CR LF, which is *bare. */
static size_t find_end(struct bytes in, size_t seen, bool *bare)
{
    size_t at = seen > 3 ? seen - 3 : 0;
    while (at < in.n) {
        const uint8_t *lf = memchr(in.p + at, '\n', in.n - at);
        if (lf == NULL) return 0;
        size_t i = (size_t)(lf - in.p);
        if (i == 0 || in.p[i - 1] != '\r') {
            *bare = true;
            return 0;
        }
        if (i >= 3 && memcmp(in.p + i - 3, "\r\n\r\n", 4) == 0) return i + 1;
        at = i + 1;
    }
    return 0;
}

static int check_fields(struct http_head *h)
{
    for (unsigned i = 0; i < h->field_count; i++) {
        struct http_field *f = &h->fields[i];
        if (memchr(f->name.p, ' ', f->name.n)) return refuse(h, 400, "a header's name has a space");
        f->value = trimmed(f->value);
    }
    return 0;
}

static int parse(struct bytes head, struct http_head *out)
{
    static const http_parser_settings calls = {.on_url = on_target,
                                               .on_header_field = on_name,
                                               .on_header_value = on_value,
                                               .on_headers_complete = on_end};
    struct parse s = {.out = out};
    http_parser p;
    http_parser_init(&p, HTTP_REQUEST);
    p.data = &s;
    size_t used = http_parser_execute(&p, &calls, (const char *)head.p, head.n);
    enum http_errno error = HTTP_PARSER_ERRNO(&p);
    if (s.too_many) return refuse(out, 431, "it has too many headers");
    if (error == HPE_INVALID_VERSION) return refuse(out, 505, "it is not HTTP/1.1");
    if (error != HPE_OK || used != head.n || out->target.n == 0)
        return refuse(out, 400, "it is not a request of HTTP/1.1");
    if (p.http_major != 1) return refuse(out, 505, "it is not HTTP/1.1");
    if (out->target.p[0] != '/') return refuse(out, 400, "its target is not a path");
    out->old = p.http_minor == 0;
    out->method = bytes_str(http_method_str((enum http_method)p.method));
    out->body = p.flags & F_CHUNKED || (p.flags & F_CONTENTLENGTH && p.content_length > 0);
    out->size = head.n;
    return check_fields(out);
}

int http_head_read(struct bytes in, size_t seen, size_t most, struct http_head *out)
{
    bool bare = false;
    out->field_count = 0;
    out->target = bytes_of(NULL, 0);
    if (in.n && (in.p[0] < 'A' || in.p[0] > 'Z')) return refuse(out, 400, "it is not HTTP");
    size_t size = find_end(in, seen, &bare);
    if (size > most || (size == 0 && in.n >= most))
        return refuse(out, 431, "its headers are longer than websockets_headers_size");
    if (bare) return refuse(out, 400, "a line of it does not end in CR LF");
    return size ? parse(bytes_of(in.p, size), out) : E_AGAIN;
}

static bool is_name(struct bytes b, const char *name)
{
    return b.n == strlen(name) && strncasecmp((const char *)b.p, name, b.n) == 0;
}

unsigned http_head_find(const struct http_head *h, const char *name, struct bytes *value)
{
    unsigned found = 0;
    for (unsigned i = 0; i < h->field_count; i++) {
        if (!is_name(h->fields[i].name, name)) continue;
        *value = h->fields[i].value;
        found++;
    }
    return found;
}

static bool list_has(struct bytes list, const char *word, bool any_case)
{
    while (list.n) {
        const uint8_t *comma = memchr(list.p, ',', list.n);
        size_t n = comma ? (size_t)(comma - list.p) : list.n;
        struct bytes item = trimmed(bytes_of(list.p, n));
        if (any_case ? is_name(item, word) : bytes_eq(item, bytes_str(word))) return true;
        list = bytes_skip(list, comma ? n + 1 : n);
    }
    return false;
}

bool http_head_lists(const struct http_head *h, const char *name, const char *word, bool any_case)
{
    for (unsigned i = 0; i < h->field_count; i++)
        if (is_name(h->fields[i].name, name) && list_has(h->fields[i].value, word, any_case))
            return true;
    return false;
}
