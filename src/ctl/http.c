/* sluicectl: requests to the broker's admin listener, by libcurl.  Who asks: the URL's user, or
 * SLUICE_USER and SLUICE_PASSWORD, or ~/.netrc.  One thread. */
#include "ctl.h"

#include "base/mem.h"
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>

enum { CONNECT_TIMEOUT_S = 10, SLOW_S = 120 };

#define DEFAULT_URL "http://127.0.0.1:9883"

/* What an answer is for: all of it in `body`, or a good one line by line. */
struct sink {
    CURL *curl;
    struct buf body;
    void (*line)(void *ctx, struct bytes line); /* or NULL */
    void *ctx;
};

static void take_lines(struct sink *s)
{
    struct bytes all = buf_view(&s->body);
    const uint8_t *end;
    while (all.n && (end = memchr(all.p, '\n', all.n)) != NULL) {
        size_t n = (size_t)(end - all.p);
        s->line(s->ctx, bytes_of(all.p, n));
        all = bytes_skip(all, n + 1);
    }
    buf_consume(&s->body, buf_len(&s->body) - (uint32_t)all.n);
}

static size_t take_body(char *p, size_t size, size_t n, void *ctx)
{
    struct sink *s = ctx;
    long status = 0;
    if (buf_append(&s->body, bytes_of(p, size * n)) < 0) return 0;
    curl_easy_getinfo(s->curl, CURLINFO_RESPONSE_CODE, &status);
    if (s->line && status == 200) take_lines(s);
    return size * n;
}

/* "http://host:port" without what only others should not read. */
static void where(const struct ctl *ctl, char *out, size_t room)
{
    const char *url = ctl->url ? ctl->url : DEFAULT_URL, *at = strrchr(url, '@'),
               *scheme = strstr(url, "://");
    if (ctl->socket)
        snprintf(out, room, "%s", ctl->socket);
    else if (at && scheme)
        snprintf(out, room, "%.*s%s", (int)(scheme + 3 - url), url, at + 1);
    else
        snprintf(out, room, "%s", url);
}

static void set_user(CURL *curl, const struct ctl *ctl)
{
    const char *user = getenv("SLUICE_USER"), *password = getenv("SLUICE_PASSWORD");
    if (ctl->url && strchr(ctl->url, '@')) return;
    if (user) {
        curl_easy_setopt(curl, CURLOPT_USERNAME, user);
        curl_easy_setopt(curl, CURLOPT_PASSWORD, password ? password : "");
    } else {
        curl_easy_setopt(curl, CURLOPT_NETRC, (long)CURL_NETRC_OPTIONAL);
    }
}

static void set_options(CURL *curl, const struct ctl *ctl, const char *url, struct sink *sink)
{
    const char *ca = getenv("SLUICE_CAFILE");
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*"); /* a broker is asked directly */
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)SLOW_S);
    curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, sink);
    if (ctl->socket) curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, ctl->socket);
    if (ca) curl_easy_setopt(curl, CURLOPT_CAINFO, ca);
    set_user(curl, ctl);
}

/* What the broker said no with: its own words, as far as they can be read. */
static int refused(const struct ctl *ctl, long status, const struct buf *body)
{
    char place[512];
    json_t *json = json_loadb((const char *)body->data + body->head, buf_len(body), 0, NULL);
    const char *detail = json_string_value(json_object_get(json, "detail"));
    where(ctl, place, sizeof place);
    if (detail)
        ctl_fail(CTL_REFUSED, "%s", detail);
    else
        ctl_fail(CTL_REFUSED, "what answers at %s (status %ld) is no admin listener of sluice",
                 place, status);
    if (status == 401 && getenv("SLUICE_USER") == NULL)
        ctl_fail(CTL_REFUSED, "name yourself by SLUICE_USER and SLUICE_PASSWORD, or in ~/.netrc");
    json_decref(json);
    return CTL_REFUSED;
}

static int send_request(CURL *curl, const struct ctl *ctl, const char *path, const char *post,
                        struct sink *sink)
{
    char place[512], error[CURL_ERROR_SIZE] = "";
    struct buf url = {0};
    const char *base = ctl->socket ? "http://localhost" : ctl->url ? ctl->url : DEFAULT_URL;
    size_t n = strlen(base);
    while (n && base[n - 1] == '/') n--;
    int rc = buf_append(&url, bytes_of(base, n));
    if (rc == 0) rc = buf_append(&url, bytes_of(path, strlen(path) + 1));
    struct curl_slist *headers =
        post ? curl_slist_append(NULL, "Content-Type: application/json") : NULL;
    if (rc < 0 || (post && headers == NULL)) {
        buf_fini(&url);
        return ctl_fail(CTL_REFUSED, "out of memory");
    }
    set_options(curl, ctl, (const char *)url.data, sink);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    if (post) curl_easy_setopt(curl, CURLOPT_POSTFIELDS, post);
    if (post) curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 0L); /* an act may take its time */
    CURLcode code = curl_easy_perform(curl);
    curl_slist_free_all(headers);
    buf_fini(&url);
    where(ctl, place, sizeof place);
    if (code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL)
        return ctl_fail(CTL_USAGE, "'%s' is no URL: use http://HOST:PORT", place);
    if (code != CURLE_OK)
        return ctl_fail(CTL_UNREACHABLE, "cannot reach the broker at %s: %s", place,
                        error[0] ? error : curl_easy_strerror(code));
    return 0;
}

static int request(const struct ctl *ctl, const char *path, const char *post, struct sink *sink)
{
    long status = 0;
    CURL *curl = sink->curl = curl_easy_init();
    if (curl == NULL) return ctl_fail(CTL_REFUSED, "out of memory");
    int rc = send_request(curl, ctl, path, post, sink);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(curl);
    if (rc == 0 && status != 200) rc = refused(ctl, status, &sink->body);
    return rc;
}

int ctl_request(const struct ctl *ctl, const char *path, const char *post, struct buf *body)
{
    struct sink sink = {0};
    int rc = request(ctl, path, post, &sink);
    if (rc) buf_fini(&sink.body);
    *body = sink.body;
    return rc;
}

int ctl_request_lines(const struct ctl *ctl, const char *path,
                      void (*line)(void *ctx, struct bytes line), void *ctx)
{
    struct sink sink = {.line = line, .ctx = ctx};
    int rc = request(ctl, path, NULL, &sink);
    if (rc == 0 && buf_len(&sink.body)) line(ctx, buf_view(&sink.body));
    buf_fini(&sink.body);
    return rc;
}

static int put_json(const char *text, size_t n, void *out)
{
    return buf_append(out, bytes_of(text, n)) < 0 ? -1 : 0;
}

int ctl_json_append(struct buf *out, const json_t *json)
{
    size_t flags = JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6);
    if (json_dump_callback(json, put_json, out, flags) < 0) return E_NOMEM;
    return buf_append(out, bytes_of("", 1));
}

int ctl_request_json(const struct ctl *ctl, const char *path, json_t *post, json_t **out)
{
    struct buf body, text = {0};
    if (post && ctl_json_append(&text, post) < 0) {
        buf_fini(&text);
        return ctl_fail(CTL_REFUSED, "out of memory");
    }
    int rc = ctl_request(ctl, path, (const char *)text.data, &body);
    buf_fini(&text);
    if (rc) return rc;
    *out = json_loadb((const char *)body.data + body.head, buf_len(&body), 0, NULL);
    buf_fini(&body);
    return *out ? 0 : ctl_fail(CTL_REFUSED, "the broker's answer is not understood");
}

int ctl_escape(struct buf *path, const char *text)
{
    char *escaped = curl_easy_escape(NULL, text, 0);
    int rc = escaped ? buf_append(path, bytes_str(escaped)) : E_NOMEM;
    curl_free(escaped);
    return rc;
}
