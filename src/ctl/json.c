/* A writer of JSON for sluicectl: objects and arrays of texts, one value in all.  Owns the text
 * until it is printed.  One thread. */
#include "ctl.h"

#include <stdio.h>

static void json_put(struct json *j, const void *p, size_t n)
{
    if (!j->failed && buf_append(&j->out, bytes_of(p, n)) < 0) j->failed = true;
}

/* Bytes that are not UTF-8, as names of files may have, become U+FFFD. */
static void json_quote(struct json *j, const char *text)
{
    size_t n = strlen(text);
    bool utf8 = bytes_is_utf8(bytes_of(text, n));
    json_put(j, "\"", 1);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        char escape[8];
        if (c == '"' || c == '\\')
            json_put(j, (char[]){'\\', (char)c}, 2);
        else if (c < 0x20)
            json_put(j, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", c));
        else if (c >= 0x80 && !utf8)
            json_put(j, "\\ufffd", 6);
        else
            json_put(j, &text[i], 1);
    }
    json_put(j, "\"", 1);
}

static void json_begin(struct json *j, const char *name)
{
    if (j->comma) json_put(j, ",", 1);
    j->comma = true;
    if (name == NULL) return;
    json_quote(j, name);
    json_put(j, ":", 1);
}

void json_open(struct json *j, const char *name, char bracket)
{
    json_begin(j, name);
    json_put(j, &bracket, 1);
    j->comma = false;
}

void json_close(struct json *j, char bracket)
{
    json_put(j, &bracket, 1);
    j->comma = true;
}

void json_text(struct json *j, const char *name, const char *text)
{
    json_begin(j, name);
    if (text)
        json_quote(j, text);
    else
        json_put(j, "null", 4);
}

void json_bool(struct json *j, const char *name, bool value)
{
    json_begin(j, name);
    json_put(j, value ? "true" : "false", value ? 4 : 5);
}

int json_print(struct json *j)
{
    json_put(j, "\n", 1);
    struct bytes all = buf_view(&j->out);
    int rc = j->failed ? E_NOMEM : 0;
    if (rc == 0 && (fwrite(all.p, 1, all.n, stdout) != all.n || fflush(stdout) != 0)) rc = E_IO;
    json_fini(j);
    return rc;
}

void json_fini(struct json *j)
{
    buf_fini(&j->out);
    *j = (struct json){0};
}
