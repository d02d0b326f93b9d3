/* The directives of TLS: which listener they belong to, what is missing, and files that are wrong,
 * each with its line.  What contexts make of them: test_tls.c. */
#include "tests/unit/test_conf.h"

#define CERT "certfile %1$s/tls/server.crt\n"
#define KEY  "keyfile %1$s/tls/server.key\n"
#define CA   "cafile %1$s/tls/ca.crt\n"

static char certificates[] = "/tmp/sluice-conf-tls-XXXXXX";

static int make_all(void **state)
{
    (void)state;
    static char self[4096];
    char command[5000];
    if (mkdtemp(certificates) == NULL || realpath(__FILE__, self) == NULL) return -1;
    *strstr(self, "tests/unit/") = 0;
    snprintf(command, sizeof command,
             "cd %s && sh certs/make.sh %s/tls && DAYS=-1 sh certs/make.sh %s/tls server old", self,
             certificates, certificates);
    FILE *shell = popen(command, "r");
    return shell && pclose(shell) == 0 ? 0 : -1;
}

static int remove_all(void **state)
{
    (void)state;
    char command[100];
    snprintf(command, sizeof command, "rm -r %s", certificates);
    FILE *shell = popen(command, "r");
    return shell && pclose(shell) == 0 ? 0 : -1;
}

/* The text with the folder of the certificates in the place of each %1$s. */
static const char *filled(const char *text)
{
    static char out[2048];
    size_t n = 0;
    while (*text && n < sizeof out - 100) {
        if (strncmp(text, "%1$s", 4) == 0) {
            n += (size_t)snprintf(out + n, sizeof out - n, "%s", certificates);
            text += 4;
        } else {
            out[n++] = *text++;
        }
    }
    out[n] = 0;
    return out;
}

static void each_listener_has_its_own(void **state)
{
    (void)state;
    const struct conf *c = good(filled("listener 1883\n"
                                       "listener 8883\n" CERT KEY "listener 8884\n" CERT KEY CA
                                       "require_certificate true\n"
                                       "use_identity_as_username true\n"
                                       "listener 8885\n" CERT KEY "tls_version tlsv1.3\n"
                                       "tls_keyform pem\nrequire_certificate false\n"));
    static const bool expected[][3] = {
        {false, false, false}, {true, false, false}, {true, true, true}, {true, false, false}};
    for (size_t i = 0; i < c->listener_count; i++) {
        const struct conf_listener *l = &c->listeners[i];
        assert_int_equal(l->tls != NULL, expected[i][0]);
        assert_int_equal(l->require_certificate, expected[i][1]);
        assert_int_equal(l->core.certificate_is_user, expected[i][2]);
    }
}

static void the_default_listener_may_speak_it(void **state)
{
    (void)state;
    const struct conf *c = good(filled(CERT KEY));
    for (size_t i = 0; i < c->listener_count; i++) assert_non_null(c->listeners[i].tls);
    c = good(filled("port 8883\n" CERT KEY));
    assert_int_equal(c->listener_count, 1);
    assert_non_null(c->listeners[0].tls);
}

/* A listener that its owner believes to be closed must not be open. */
static void what_is_half_is_refused(void **state)
{
    (void)state;
    bad("listener 8883\nallow_anonymous true\ncertfile /x\n",
        "main.conf:3: 'certfile' needs 'keyfile': without it the listener would not speak TLS");
    bad("listener 8883\nkeyfile /x\n",
        "main.conf:2: 'keyfile' needs 'certfile': without it the listener would not speak TLS");
    bad("listener 8883\ncafile /x\nlistener 1\n",
        "main.conf:2: 'cafile' needs 'certfile': without it the listener would not speak TLS");
    bad("listener 8883\nrequire_certificate true\n", "main.conf:2: 'require_certificate' needs "
                                                     "'certfile': without it the listener would "
                                                     "not speak TLS");
    bad(filled("listener 8883\n" CERT KEY "require_certificate true\n"),
        "main.conf:4: 'require_certificate true' needs 'cafile' or 'capath': whose certificates?");
    bad(filled("listener 8883\n" CERT KEY CA "use_subject_as_username true\n"),
        "main.conf:5: 'use_subject_as_username' needs 'require_certificate true': else no client "
        "is asked for its certificate, and none may connect");
    bad(filled("listener 8883\n" CERT KEY CA "require_certificate true\n"
               "use_subject_as_username true\nuse_identity_as_username true\n"),
        "main.conf:7: either 'use_identity_as_username' or 'use_subject_as_username', not both");
}

static void a_listener_may_go_by_keys(void **state)
{
    (void)state;
    char text[400];
    write_file("keys", "bob:aabb\n", 9);
    snprintf(text, sizeof text,
             "psk_file %s/keys\nlistener 8883\npsk_hint x\nciphers PSK-AES128-GCM-SHA256\n"
             "use_identity_as_username true\nlistener 8884\npsk_hint x\ntls_version tlsv1.3\n"
             "listener 1883\n",
             b.folder);
    const struct conf *c = good(text);
    assert_non_null(c->listeners[0].tls);
    assert_true(c->listeners[0].core.certificate_is_user);
    assert_non_null(c->listeners[1].tls);
    assert_false(c->listeners[1].core.certificate_is_user);
    assert_null(c->listeners[2].tls);
}

static void keys_that_are_wrong_or_not_there(void **state)
{
    (void)state;
    char text[400], expected[400];
    bad("listener 8883\npsk_hint x\n",
        "main.conf:2: 'psk_hint' needs 'psk_file': without it nobody has a key");
    bad("psk_file /nowhere\nlistener 8883\npsk_hint x\nkeyfile /x\n",
        "main.conf:4: 'keyfile' needs 'certfile': without it the listener would not speak TLS");
    bad("psk_file /nowhere\nlistener 8883\npsk_hint x\nuse_subject_as_username true\n",
        "main.conf:4: 'use_subject_as_username' needs 'require_certificate true': else no client "
        "is asked for its certificate, and none may connect");
    assert_int_equal(load("psk_file /nowhere/keys\nlistener 8883\npsk_hint x\n"), E_IO);
    assert_string_equal(b.error, "/nowhere/keys: cannot open: No such file or directory");
    write_file("keys", "bob:aabb\neve:x\n", 15);
    snprintf(text, sizeof text, "psk_file %s/keys\nlistener 8883\npsk_hint x\n", b.folder);
    snprintf(expected, sizeof expected,
             "%s/keys:2: the key has to be hexadecimal: two digits for each of 1 to 512 bytes",
             b.folder);
    assert_int_equal(load(text), E_INVALID);
    assert_string_equal(b.error, expected);
    write_file("keys", "#\n", 2);
    assert_int_equal(load(text), 0);
    assert_non_null(strstr(b.warnings, "/keys: the file of keys is empty: nobody has one"));
}

static void beside_a_certificate_keys_have_no_effect(void **state)
{
    (void)state;
    assert_int_equal(load(filled("listener 8883\npsk_hint x\n" CERT KEY)), 0);
    assert_null(b.conf->listeners[0].psks);
    assert_non_null(strstr(b.warnings, "main.conf:2: 'psk_hint' is ignored"));
}

static void behind_a_proxy_its_header_tells_of_certificates(void **state)
{
    (void)state;
    const struct conf *c = good("listener 1883\nenable_proxy_protocol 2\n"
                                "proxy_protocol_v2_require_tls true\nrequire_certificate true\n"
                                "use_identity_as_username true\n");
    assert_int_equal(c->listeners[0].proxy_version, 2);
    assert_true(c->listeners[0].proxy_needs_tls);
    assert_true(c->listeners[0].require_certificate);
    assert_true(c->listeners[0].core.certificate_is_user);
    assert_null(c->listeners[0].tls);
    c = good(filled("listener 8883\nenable_proxy_protocol 1\n" CERT KEY));
    assert_int_equal(c->listeners[0].proxy_version, 1);
    assert_non_null(c->listeners[0].tls);
    bad("listener 1883\nenable_proxy_protocol 1\nproxy_protocol_v2_require_tls true\n",
        "main.conf:1: 'proxy_protocol_v2_require_tls' needs 'enable_proxy_protocol 2'");
    bad("listener 1883\nenable_proxy_protocol 1\nrequire_certificate true\n",
        "main.conf:3: 'require_certificate' needs 'certfile': without it the listener would not "
        "speak TLS");
    bad("listener 1883\nenable_proxy_protocol 2\nrequire_certificate true\n"
        "use_subject_as_username true\n",
        "main.conf:4: 'use_subject_as_username' needs 'certfile': a proxy tells the common name "
        "only; there is 'use_identity_as_username'");
    bad("listener 1883\nenable_proxy_protocol 3\n",
        "main.conf:2: 'enable_proxy_protocol' cannot be '3': use a whole "
        "number, 1 to 2");
}

static void what_is_wrong_is_told_with_its_line(void **state)
{
    (void)state;
    bad(filled("listener 8883\n\n" CERT "keyfile /missing\n"),
        "main.conf:4: keyfile '/missing' cannot be opened: No such file or directory");
    bad(filled("listener 8883\ncertfile /\n\n\n" KEY),
        "main.conf:2: certfile '/' cannot be read: Is a directory");
    bad("tls_version tlsv1.1\n",
        "main.conf:1: 'tls_version tlsv1.1' is too old to be safe: use tlsv1.2 or tlsv1.3");
    bad("tls_version 1.3\n", "main.conf:1: 'tls_version' cannot be '1.3': use tlsv1.2 or tlsv1.3");
    bad("tls_keyform engine\n",
        "main.conf:1: 'tls_keyform engine' is not supported yet by this version");
    bad("require_certificate maybe\n",
        "main.conf:1: 'require_certificate' cannot be 'maybe': use true or false");
}

static void a_key_that_everybody_can_read(void **state)
{
    (void)state;
    char path[100];
    const char *text = filled("listener 8883\n" CERT KEY);
    snprintf(path, sizeof path, "%s/tls/server.key", certificates);
    good(text);
    assert_string_equal(b.warnings + strcspn(b.warnings, "\n"), "\n"); /* that nobody may connect */
    assert_null(strstr(b.warnings, "keyfile"));
    assert_int_equal(chmod(path, 0644), 0);
    good(text);
    assert_non_null(strstr(b.warnings, "main.conf:3: keyfile '"));
    assert_non_null(strstr(b.warnings, "can be read by everybody"));
    assert_int_equal(chmod(path, 0600), 0);
}

static void a_certificate_that_is_out_of_date(void **state)
{
    (void)state;
    good(filled("listener 8883\ncertfile %1$s/tls/old.crt\nkeyfile %1$s/tls/old.key\n"));
    assert_non_null(strstr(b.warnings, "main.conf:2: certfile '"));
    assert_non_null(strstr(b.warnings, "old.crt' is out of date: clients will refuse it"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        A_TEST(each_listener_has_its_own),
        A_TEST(a_listener_may_go_by_keys),
        A_TEST(keys_that_are_wrong_or_not_there),
        A_TEST(beside_a_certificate_keys_have_no_effect),
        A_TEST(behind_a_proxy_its_header_tells_of_certificates),
        A_TEST(the_default_listener_may_speak_it),
        A_TEST(what_is_half_is_refused),
        A_TEST(what_is_wrong_is_told_with_its_line),
        A_TEST(a_key_that_everybody_can_read),
        A_TEST(a_certificate_that_is_out_of_date),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
