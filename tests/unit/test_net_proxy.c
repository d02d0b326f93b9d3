/* The PROXY protocol: tables of headers and what is read in them, cut everywhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/proxy.h"

struct row {
    const char *header; /* a literal with its length: v2 has zeros in it */
    size_t size;
    const char *from;        /* "" = not known; NULL: refused */
    const char *wrong;       /* then a part of why */
    const char *common_name; /* or NULL */
    bool tls, certificate, local;
};

#define H(text) .header = (text), .size = sizeof(text) - 1

static void check_row(const struct row *row, unsigned version)
{
    struct proxy_header h;
    char text[ADDRESS_TEXT_MAX] = "";
    uint8_t in[PROXY_V2_MAX + 8];
    memcpy(in, row->header, row->size);
    memcpy(in + row->size, "REST", 4); /* what follows is never looked at */
    int rc = proxy_read(bytes_of(in, row->size + 4), version, &h);
    if (row->from == NULL) {
        if (rc != E_INVALID) fail_msg("%s: %d", row->header, rc);
        if (strstr(h.wrong, row->wrong) == NULL) fail_msg("%s: %s", row->header, h.wrong);
        return;
    }
    if (rc != 0) fail_msg("%s: %s", row->header, h.wrong ? h.wrong : "not whole");
    if (h.known) address_text(&h.from, text);
    assert_string_equal(text, row->from);
    assert_int_equal(h.size, row->size);
    assert_int_equal(h.tls, row->tls);
    assert_int_equal(h.certificate, row->certificate);
    assert_int_equal(h.local, row->local);
    struct bytes name = row->common_name ? bytes_str(row->common_name) : bytes_of(NULL, 0);
    assert_true(bytes_eq(h.common_name, name));
    for (size_t n = 0; n < row->size; n++)
        assert_int_equal(proxy_read(bytes_of(in, n), version, &h), E_AGAIN);
}

static void version_1_by_the_table(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {H("PROXY TCP4 192.0.2.5 127.0.0.1 6275 1883\r\n"), .from = "192.0.2.5:6275"},
        {H("PROXY TCP6 2001:db8::5 ::1 6275 1883\r\n"), .from = "[2001:db8::5]:6275"},
        {H("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"),
         .from = "255.255.255.255:65535"},
        {H("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
           "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
         .from = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
        {H("PROXY TCP4 1.2.3.4 5.6.7.8 0 0\r\n"), .from = "1.2.3.4:0"},
        {H("PROXY UNKNOWN\r\n"), .from = ""},
        {H("PROXY UNKNOWN ffff::1 what ever\r\n"), .from = ""},
        {H("PROXY TCP4 192.0.2.5 127.0.0.1 6275\r\n"), .wrong = "six words"},
        {H("PROXY TCP4 192.0.2.5 127.0.0.1 6275 1883 1\r\n"), .wrong = "six words"},
        {H("PROXY TCP4  192.0.2.5 127.0.0.1 6275 1883\r\n"), .wrong = "six words"},
        {H("PROXY UDP4 192.0.2.5 127.0.0.1 6275 1883\r\n"), .wrong = "protocol"},
        {H("PROXY UNKNOWNX a b c d\r\n"), .wrong = "protocol"},
        {H("PROXY TCP4 ::1 ::1 6275 1883\r\n"), .wrong = "address"},
        {H("PROXY TCP6 1.2.3.4 1.2.3.4 6275 1883\r\n"), .wrong = "address"},
        {H("PROXY TCP4 192.0.2 127.0.0.1 6275 1883\r\n"), .wrong = "address"},
        {H("PROXY TCP4 192.0.2.5 127.0.0.1 65536 1883\r\n"), .wrong = "port"},
        {H("PROXY TCP4 192.0.2.5 127.0.0.1 -1 1883\r\n"), .wrong = "port"},
        {H("PROXY TCP4 192.0.2.5 127.0.0.1 01 1883\r\n"), .wrong = "port"},
        {H("PROXY TCP4 192.0.2.5 127.0.0.1 1 x\r\n"), .wrong = "port"},
        {H("PROXY TCP4 192.0.2.5 127.0.0.1 6275 1883\n"), .wrong = "CR LF"},
        {H("\x10\x0c\x00\x04MQTT"), .wrong = "does not begin"},
        {H("proxy TCP4 192.0.2.5 127.0.0.1 6275 1883\r\n"), .wrong = "does not begin"},
        {H("\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"), .wrong = "does not begin"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) check_row(&rows[i], 1);
}

#define SIG   "\r\n\r\n\0\r\nQUIT\n"
#define IP4   "\xc0\0\x02\x05\x7f\0\0\x01\x18\x83\x07\x5b" /* 192.0.2.5:6275 to 127.0.0.1:1883 */
#define SIX   "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x05"
#define IP6   SIX SIX "\x18\x83\x07\x5b"
#define PATH  "/run/x\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" /* 36 */
#define PATHS PATH PATH PATH PATH PATH PATH                                        /* 216 */

static void version_2_by_the_table(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {H(SIG "\x21\x11\0\x0c" IP4), .from = "192.0.2.5:6275"},
        {H(SIG "\x21\x21\0\x24" IP6), .from = "[2001:db8::5]:6275"},
        {H(SIG "\x21\x31\0\xd8" PATHS), .from = ""},
        {H(SIG "\x21\0\0\0"), .from = ""},
        {H(SIG "\x21\0\0\x03xyz"), .from = ""},
        {H(SIG "\x20\0\0\0"), .from = "", .local = true},
        {H(SIG "\x20\x11\0\x0c" IP4), .from = "", .local = true},
        {H(SIG "\x21\x11\0\x13" IP4 "\x01\0\x04mqtt"), .from = "192.0.2.5:6275"},
        {H(SIG "\x21\x11\0\x14" IP4 "\x20\0\x05\x01\0\0\0\0"), .from = "192.0.2.5:6275",
         .tls = true},
        {H(SIG "\x21\x11\0\x14" IP4 "\x20\0\x05\0\0\0\0\0"), .from = "192.0.2.5:6275"},
        {H(SIG "\x21\x11\0\x19" IP4 "\x20\0\x0a\x05\0\0\0\0\x22\0\x02me"), .from = "192.0.2.5:6275",
         .tls = true, .certificate = true, .common_name = "me"},
        /* A certificate that did not pass, and a name without one, are worth nothing. */
        {H(SIG "\x21\x11\0\x19" IP4 "\x20\0\x0a\x05\0\0\0\x01\x22\0\x02me"),
         .from = "192.0.2.5:6275", .tls = true},
        {H(SIG "\x21\x11\0\x19" IP4 "\x20\0\x0a\x01\0\0\0\0\x22\0\x02me"), .from = "192.0.2.5:6275",
         .tls = true},
        {H(SIG "\x21\x11\0\x19" IP4 "\x20\0\x0a\x04\0\0\0\0\x22\0\x02me"),
         .from = "192.0.2.5:6275"},
        {H(SIG "\x21\x11\0\x19" IP4 "\x20\0\x0a\x05\0\0\0\0\x22\0\x02\0e"), .wrong = "common name"},
        {H(SIG "\x21\x11\0\x19" IP4 "\x20\0\x0a\x05\0\0\0\0\x22\0\x03me"), .wrong = "TLS field"},
        {H(SIG "\x21\x11\0\x10" IP4 "\x20\0\x01\x01"), .wrong = "TLS field"},
        {H(SIG "\x21\x11\0\x0f" IP4 "\x01\0\x04"), .wrong = "field"},
        {H(SIG "\x21\x11\0\x0d" IP4 "\x01"), .wrong = "field"},
        {H(SIG "\x21\x11\0\x0b" IP4), .wrong = "addresses"},
        {H(SIG "\x21\x21\0\x0c" IP4), .wrong = "addresses"},
        {H(SIG "\x21\x31\0\x0c" IP4), .wrong = "addresses"},
        {H(SIG "\x21\x12\0\x0c" IP4), .wrong = "protocol"},
        {H(SIG "\x21\xff\0\x0c" IP4), .wrong = "protocol"},
        {H(SIG "\x22\x11\0\x0c" IP4), .wrong = "command"},
        {H(SIG "\x11\x11\0\x0c" IP4), .wrong = "command"},
        {H(SIG "\x21\x11\xff\xff" IP4), .wrong = "too long"},
        {H("\r\n\r\n\0\r\nQUIT\r\x21\x11\0\x0c" IP4), .wrong = "signature"},
        {H("PROXY TCP4 192.0.2.5 127.0.0.1 6275 1883\r\n"), .wrong = "signature"},
        {H("\x10\x0c\x00\x04MQTT"), .wrong = "signature"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) check_row(&rows[i], 2);
}

static void a_header_that_does_not_end_is_refused_at_the_limit(void **state)
{
    (void)state;
    struct proxy_header h;
    uint8_t in[PROXY_V2_MAX + 1] = "PROXY ";
    memset(in + 6, '1', sizeof in - 6);
    assert_int_equal(proxy_read(bytes_of(in, PROXY_V1_MAX - 1), 1, &h), E_AGAIN);
    assert_int_equal(proxy_read(bytes_of(in, PROXY_V1_MAX), 1, &h), E_INVALID);
    in[PROXY_V1_MAX] = '\n'; /* one byte too late */
    assert_int_equal(proxy_read(bytes_of(in, PROXY_V1_MAX + 1), 1, &h), E_INVALID);
    memcpy(in, SIG "\x21\0\x07\xf0", 16); /* 2032 more */
    assert_int_equal(proxy_read(bytes_of(in, PROXY_V2_MAX), 2, &h), 0);
    in[15]++;
    assert_int_equal(proxy_read(bytes_of(in, PROXY_V2_MAX), 2, &h), E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_1_by_the_table),
        cmocka_unit_test(version_2_by_the_table),
        cmocka_unit_test(a_header_that_does_not_end_is_refused_at_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
