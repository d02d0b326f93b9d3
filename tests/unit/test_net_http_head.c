/* Heads of requests, and the opening handshake of a WebSocket: tables of what is read in them, cut
 * everywhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "net/ws_accept.h"

enum { MOST = 4096 };

static struct bytes text_of(struct bytes b) { return b.p ? b : bytes_str(""); }

static void assert_text(struct bytes b, const char *wanted)
{
    if (!bytes_eq(text_of(b), bytes_str(wanted)))
        fail_msg("'%.*s' is not '%s'", (int)b.n, (const char *)b.p, wanted);
}

static int read_whole(const char *text, struct http_head *h)
{
    return http_head_read(bytes_str(text), 0, MOST, h);
}

static void a_head_is_read_to_the_byte(void **state)
{
    (void)state;
    static const char text[] = "GET /a/b?c=d HTTP/1.1\r\nHost: x:1\r\nAccept:\r\n"
                               "Upgrade:  h2c , WebSocket\t \r\n\r\nREST";
    struct http_head h;
    struct bytes value;
    assert_int_equal(read_whole(text, &h), 0);
    assert_int_equal(h.size, sizeof text - 1 - 4);
    assert_text(h.method, "GET");
    assert_text(h.target, "/a/b?c=d");
    assert_false(h.old);
    assert_false(h.body);
    assert_int_equal(h.field_count, 3);
    assert_int_equal(http_head_find(&h, "HOST", &value), 1);
    assert_text(value, "x:1");
    assert_int_equal(http_head_find(&h, "accept", &value), 1);
    assert_text(value, "");
    assert_int_equal(http_head_find(&h, "upgrade", &value), 1);
    assert_text(value, "h2c , WebSocket");
    assert_int_equal(http_head_find(&h, "nothing", &value), 0);
    assert_true(http_head_lists(&h, "upgrade", "websocket", true));
    assert_false(http_head_lists(&h, "upgrade", "websocket", false));
    assert_false(http_head_lists(&h, "upgrade", "web", true));
    assert_true(ws_asked(&h));
    for (size_t n = 0; n < h.size; n++)
        for (size_t seen = 0; seen <= n; seen += 7) {
            struct http_head part;
            assert_int_equal(http_head_read(bytes_of(text, n), seen, MOST, &part), E_AGAIN);
        }
    for (size_t seen = 0; seen < h.size; seen++) { /* an end that is cut itself is found */
        struct http_head part;
        assert_int_equal(http_head_read(bytes_of(text, sizeof text - 1), seen, MOST, &part), 0);
        assert_int_equal(part.size, h.size);
    }
}

static void methods_versions_and_bodies(void **state)
{
    (void)state;
    struct http_head h;
    assert_int_equal(read_whole("HEAD / HTTP/1.0\r\n\r\n", &h), 0);
    assert_text(h.method, "HEAD");
    assert_true(h.old);
    assert_int_equal(read_whole("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n", &h), 0);
    assert_true(h.body);
    assert_int_equal(read_whole("GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", &h), 0);
    assert_false(h.body);
    assert_int_equal(read_whole("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", &h), 0);
    assert_true(h.body);
    assert_int_equal(read_whole("GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", &h),
                     0);
    assert_false(ws_asked(&h));
}

static void what_is_no_head_is_refused_with_a_status(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned status;
        const char *wrong;
    } rows[] = {
        {"\x10\x0c", 400, "not HTTP"},     /* MQTT without a WebSocket */
        {"\x16\x03\x01", 400, "not HTTP"}, /* TLS where there is none */
        {"\r\nGET / HTTP/1.1\r\n\r\n", 400, "not HTTP"},
        {"get / HTTP/1.1\r\n\r\n", 400, "not HTTP"},
        {"GET / HTTP/1.1\n", 400, "CR LF"},
        {"GET / HTTP/1.1\r\nHost: x\n\r\n", 400, "CR LF"},
        {"NONSENSE / HTTP/1.1\r\n\r\n", 400, "not a request"},
        {"GET x HTTP/1.1\r\n\r\n", 400, "not a request"},
        {"GET http://x/ HTTP/1.1\r\n\r\n", 400, "not a path"},
        {"OPTIONS * HTTP/1.1\r\n\r\n", 400, "not a path"},
        {"GET / HTTP/2.0\r\n\r\n", 505, "HTTP/1.1"},
        {"GET /\r\n\r\n", 505, "HTTP/1.1"},
        {"GET / SIP/1.1\r\n\r\n", 400, "not a request"},
        {"GET / HTTP/1.1\r\nHost\r\n\r\n", 400, "not a request"},
        {"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400, "a space"},
        {"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400, "not a request"},
        {"GET / HTTP/1.1\r\nHost: x\001\r\n\r\n", 400, "not a request"},
        {"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400, "not a request"},
        {"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "not a request"},
        {"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400,
         "not a request"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_head h;
        int rc = read_whole(rows[i].text, &h);
        if (rc != E_INVALID) fail_msg("%s: %d", rows[i].text, rc);
        if (h.status != rows[i].status || strstr(h.wrong, rows[i].wrong) == NULL)
            fail_msg("%s: %u %s", rows[i].text, h.status, h.wrong);
    }
}

/* A head of exactly `size` bytes. */
static size_t padded(char *out, size_t size)
{
    size_t n = (size_t)snprintf(out, 64, "GET / HTTP/1.1\r\nX: ");
    memset(out + n, 'x', size - n - 4);
    memcpy(out + size - 4, "\r\n\r\n", 4);
    return size;
}

static void limits_of_bytes_and_fields(void **state)
{
    (void)state;
    static char text[MOST + 64];
    struct http_head h;
    assert_int_equal(http_head_read(bytes_of(text, padded(text, MOST)), 0, MOST, &h), 0);
    assert_int_equal(http_head_read(bytes_of(text, padded(text, MOST + 1)), 0, MOST, &h),
                     E_INVALID);
    assert_int_equal(h.status, 431);
    assert_int_equal(http_head_read(bytes_of(text, MOST - 1), 0, MOST, &h), E_AGAIN);
    assert_int_equal(http_head_read(bytes_of(text, MOST), 0, MOST, &h), E_INVALID); /* no end */
    for (int more = 0; more < 2; more++) {
        size_t n = (size_t)snprintf(text, 64, "GET / HTTP/1.1\r\n");
        for (int i = 0; i < HTTP_FIELDS_MAX + more; i++)
            n += (size_t)snprintf(text + n, 64, "A: b\r\n");
        memcpy(text + n, "\r\n", 2);
        assert_int_equal(http_head_read(bytes_of(text, n + 2), 0, MOST, &h), more ? E_INVALID : 0);
        if (more) assert_int_equal(h.status, 431);
    }
}

/* ---- the handshake ---- */

#define REQUEST "GET /mqtt HTTP/1.1\r\n"
#define HOST    "Host: localhost\r\n"
#define UPGRADE "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
#define KEY     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define MQTT    "Sec-WebSocket-Protocol: mqtt\r\n"

static void a_websocket_is_offered_rightly(void **state) /* [MQTT-6.0.0-4] */
{
    (void)state;
    static const struct {
        const char *protocols, *spoken;
    } rows[] = {
        {MQTT, "mqtt"},
        {"Sec-WebSocket-Protocol: mqttv3.1\r\n", "mqttv3.1"},
        {"Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\n", "mqtt"},
        {"Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol:  mqtt \r\n", "mqtt"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[1024];
        struct http_head h;
        struct ws_offer o;
        snprintf(text, sizeof text, REQUEST HOST UPGRADE KEY VERSION "Origin: http://any\r\n%s\r\n",
                 rows[i].protocols);
        assert_int_equal(read_whole(text, &h), 0);
        assert_true(ws_asked(&h));
        assert_int_equal(ws_accept(&h, NULL, &o), 0);
        assert_string_equal(o.protocol, rows[i].spoken);
        assert_text(o.key, "dGhlIHNhbXBsZSBub25jZQ==");
    }
}

#define WITH_KEY(key) REQUEST HOST UPGRADE VERSION MQTT "Sec-WebSocket-Key: " key "\r\n\r\n"

static void a_wrong_handshake_is_refused_with_a_status(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned status;
        const char *wrong;
    } rows[] = {
        {"POST / HTTP/1.1\r\n" HOST UPGRADE KEY VERSION MQTT "\r\n", 405, "GET"},
        {"GET / HTTP/1.0\r\n" HOST UPGRADE KEY VERSION MQTT "\r\n", 505, "HTTP/1.1"},
        {REQUEST UPGRADE KEY VERSION MQTT "\r\n", 400, "Host"},
        {REQUEST HOST HOST UPGRADE KEY VERSION MQTT "\r\n", 400, "Host"},
        {REQUEST HOST UPGRADE KEY VERSION MQTT "Content-Length: 1\r\n\r\n", 400, "body"},
        {REQUEST HOST "Upgrade: websocket\r\nConnection: close\r\n" KEY VERSION MQTT "\r\n", 400,
         "Connection"},
        {REQUEST HOST UPGRADE KEY MQTT "\r\n", 426, "13"},
        {REQUEST HOST UPGRADE KEY MQTT "Sec-WebSocket-Version: 8\r\n\r\n", 426, "13"},
        {REQUEST HOST UPGRADE KEY VERSION VERSION MQTT "\r\n", 426, "13"},
        {REQUEST HOST UPGRADE VERSION MQTT "\r\n", 400, "Key"},
        {REQUEST HOST UPGRADE KEY KEY VERSION MQTT "\r\n", 400, "Key"},
        {WITH_KEY("dGhlIHNhbXBsZSBub25jZQ"), 400, "Key"},
        {WITH_KEY("dGhlIHNhbXBsZSBub25jZQ==="), 400, "Key"},
        {WITH_KEY("dGhlIHNhbXBsZSBub25j!Q=="), 400, "Key"},
        {WITH_KEY("dGhlIHNhbXBsZSBub25jZR=="), 400, "Key"}, /* more than 16 bytes of bits */
        {WITH_KEY("dGhlIHNhbXBsZSBub25jZQAA"), 400, "Key"},
        {REQUEST HOST UPGRADE KEY VERSION "\r\n", 400, "mqtt"}, /* [MQTT-6.0.0-3] */
        {REQUEST HOST UPGRADE KEY VERSION "Sec-WebSocket-Protocol: MQTT, mqtts\r\n\r\n", 400,
         "mqtt"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_head h;
        struct ws_offer o;
        assert_int_equal(read_whole(rows[i].text, &h), 0);
        assert_true(ws_asked(&h));
        int rc = ws_accept(&h, NULL, &o);
        if (rc != E_INVALID) fail_msg("%s: %d", rows[i].text, rc);
        if (o.status != rows[i].status || strstr(o.wrong, rows[i].wrong) == NULL)
            fail_msg("%s: %u %s", rows[i].text, o.status, o.wrong);
    }
}

static void origins_are_those_that_are_configured(void **state)
{
    (void)state;
    static const struct {
        const char *fields;
        bool known;
    } rows[] = {
        {"", true}, /* no page */
        {"Origin: https://a.example\r\n", true},
        {"Origin: HTTPS://A.example\r\n", true},
        {"Origin: http://b:8080\r\n", true},
        {"Origin: https://a.example.evil\r\n", false},
        {"Origin: https://a.exampl\r\n", false},
        {"Origin: http://a.example\r\n", false},
        {"Origin: http://b\r\n", false},
        {"Origin: https://a.example http://b:8080\r\n", false},
        {"Origin: null\r\n", false},
        {"Origin:\r\n", false},
        {"Origin: https://a.example\r\nOrigin: https://a.example\r\n", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[1024];
        struct http_head h;
        struct ws_offer o;
        snprintf(text, sizeof text, REQUEST HOST UPGRADE KEY VERSION MQTT "%s\r\n", rows[i].fields);
        assert_int_equal(read_whole(text, &h), 0);
        int rc = ws_accept(&h, "https://a.example http://b:8080", &o);
        if ((rc == 0) != rows[i].known) fail_msg("%s: %d", rows[i].fields, rc);
        if (rc < 0) assert_int_equal(o.status, 403);
        assert_int_equal(ws_accept(&h, NULL, &o), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_is_read_to_the_byte),
        cmocka_unit_test(methods_versions_and_bodies),
        cmocka_unit_test(what_is_no_head_is_refused_with_a_status),
        cmocka_unit_test(limits_of_bytes_and_fields),
        cmocka_unit_test(a_websocket_is_offered_rightly),
        cmocka_unit_test(a_wrong_handshake_is_refused_with_a_status),
        cmocka_unit_test(origins_are_those_that_are_configured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
