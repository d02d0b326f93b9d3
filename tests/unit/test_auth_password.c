/* Password files: hashes that others wrote, hashes that we write, what a line may be, and that an
 * error names its line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "src/auth_password.h"

/* By Debian's mosquitto_passwd: "secret". */
#define BY_MOSQUITTO_7                                                                             \
    "$7$101$qSdEF50tkaA1O0ep$iXy88xdt5IF2uOfyUwVaQpC5bW9EFlxg7Zi4N2lEhC58L9fhnXmTkNP8mp2n+"        \
    "hAvYwCY8VuFGW5at3M03cOtXA=="
#define BY_MOSQUITTO_6                                                                             \
    "$6$5nlk3ohLnRTngJ4q$/"                                                                        \
    "yj6U55WBMayF98ik60yVqehCPzEH5S/7YiTXWYryome/V9rFqoDyBvL7koLfLH9riAkxOSi3sT4kB+gXm58kg=="
/* Of Argon2's own tests: "password". */
#define OF_ARGON2                                                                                  \
    "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"

static char path[64], why[PASSWORD_WHY];
static struct passwords *p;
static unsigned line;

static void write_file(const char *text, size_t n)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static int load_bytes(const char *text, size_t n)
{
    passwords_free(&p);
    write_file(text, n);
    return passwords_load(&p, path, &line, why);
}

static int load(const char *text) { return load_bytes(text, strlen(text)); }

static bool match(const char *user, const char *password)
{
    return passwords_match(p, bytes_str(user), bytes_str(password));
}

static int begin(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/sluice-passwords-%d", (int)getpid());
    return 0;
}

static int end(void **state)
{
    (void)state;
    passwords_free(&p);
    return unlink(path);
}

/* ---- hashes ---- */

static void hashes_that_others_wrote_are_understood(void **state)
{
    (void)state;
    assert_int_equal(
        load("seven:" BY_MOSQUITTO_7 "\nsix:" BY_MOSQUITTO_6 "\nargon:" OF_ARGON2 "\n"), 0);
    assert_int_equal(passwords_count(p), 3);
    assert_true(match("seven", "secret"));
    assert_true(match("six", "secret"));
    assert_true(match("argon", "password"));
    const char *const users[] = {"seven", "six", "argon"};
    const char *const wrong[] = {"", "Secret", "secret ", "secre", "Password", "passwor"};
    for (size_t i = 0; i < ARRAY_LEN(users); i++)
        for (size_t j = 0; j < ARRAY_LEN(wrong); j++) assert_false(match(users[i], wrong[j]));
}

static void who_is_not_in_the_file_does_not_get_in_with_anybodys_password(void **state)
{
    (void)state;
    assert_int_equal(load("seven:" BY_MOSQUITTO_7 "\nsix:" BY_MOSQUITTO_6 "\n"), 0);
    const char *const users[] = {"", "Seven", "seve", "sevenn", "six ", "#", "seven:"};
    for (size_t i = 0; i < ARRAY_LEN(users); i++) assert_false(match(users[i], "secret"));
    assert_int_equal(load("# nobody\n"), 0);
    assert_int_equal(passwords_count(p), 0);
    assert_false(match("seven", "secret"));
}

static void what_we_hash_we_understand(void **state)
{
    (void)state;
    const char *const begins[] = {"$6$", "$7$77$", "$argon2id$v=19$m=47104,t=1,p=1$"};
    for (int kind = PASSWORD_SHA512; kind <= PASSWORD_ARGON2ID; kind++) {
        char *one = NULL, *two = NULL, text[1024];
        struct bytes password = bytes_of("p\0\xff w", 5); /* any bytes */
        assert_int_equal(password_hash(&one, (enum password_kind)kind, 77, password), 0);
        assert_int_equal(password_hash(&two, (enum password_kind)kind, 77, password), 0);
        assert_memory_equal(one, begins[kind], strlen(begins[kind]));
        assert_string_not_equal(one, two); /* the salt */
        assert_true(password_hash_ok(bytes_str(one), why));
        snprintf(text, sizeof text, "u:%s\n", one);
        assert_int_equal(load(text), 0);
        assert_true(passwords_match(p, bytes_str("u"), password));
        assert_false(passwords_match(p, bytes_str("u"), bytes_of("p\0\xff W", 5)));
        mem_free(one);
        mem_free(two);
    }
}

static void a_file_of_many_users_finds_each(void **state)
{
    (void)state;
    enum { USERS = 500 };
    static char text[USERS * 160];
    size_t n = 0;
    for (int i = 0; i < USERS; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "user%d:%s\n", i * 7919 % USERS,
                              BY_MOSQUITTO_6);
    assert_int_equal(load(text), 0);
    assert_int_equal(passwords_count(p), USERS);
    for (int i = 0; i < USERS; i++) {
        char name[16];
        snprintf(name, sizeof name, "user%d", i);
        assert_true(match(name, "secret"));
    }
}

/* ---- lines ---- */

static void comments_empty_lines_and_other_ends_of_lines_are_fine(void **state)
{
    (void)state;
    assert_int_equal(load("# users\r\n\r\n   \n  # more\nbob:" BY_MOSQUITTO_6 "\r\n\n"
                          " al : " BY_MOSQUITTO_6),
                     0);
    assert_int_equal(passwords_count(p), 2);
    assert_true(match("bob", "secret"));
    assert_true(match("al", "secret"));
}

static void expect_wrong(const char *text, unsigned at, const char *part)
{
    assert_int_equal(load(text), E_INVALID);
    if (strstr(why, part) == NULL) fail_msg("'%s' for %s", why, text);
    assert_int_equal(line, at);
    assert_null(p);
}

static void a_line_that_cannot_be_understood_is_an_error_with_its_number(void **state)
{
    (void)state;
    expect_wrong("\n#\nbob\n", 3, "there is no ':'");
    expect_wrong(":" BY_MOSQUITTO_6 "\n", 1, "the user name is empty");
    expect_wrong("bob:\n", 1, "no hash");
    expect_wrong("bob:plain\n", 1, "sluicectl passwd -U");
    expect_wrong("bob:$1$salt$hash\n", 1, "kind of hash is not known");
    expect_wrong("bob:$6$salt\n", 1, "salt");
    expect_wrong("bob:$6$!!!!$aaaa\n", 1, "salt");
    expect_wrong("bob:$6$aaaa$aaaa\n", 1, "hash");
    expect_wrong("bob:$7$0$aaaa$aaaa\n", 1, "iterations");
    expect_wrong("bob:$7$1000001$aaaa$aaaa\n", 1, "iterations");
    expect_wrong("bob:$7$99999999999$aaaa$aaaa\n", 1, "iterations");
    expect_wrong("bob:$7$-1$aaaa$aaaa\n", 1, "iterations");
    expect_wrong("bob:" BY_MOSQUITTO_6 "x\n", 1, "hash");
    expect_wrong("bob:" BY_MOSQUITTO_6 " # x\n", 1, "hash");
    expect_wrong("b\x01b:" BY_MOSQUITTO_6 "\n", 1, "control");
    expect_wrong("b\xff:" BY_MOSQUITTO_6 "\n", 1, "UTF-8");
    assert_int_equal(load_bytes("a:\0\n", 4), E_INVALID);
    assert_int_equal(line, 1);
}

static void argon2_must_not_cost_more_than_a_machine_has(void **state)
{
    (void)state;
    static const char *const costs[] = {"m=1048577,t=1,p=1", "m=256,t=17,p=1",
                                        "m=4096,t=1,p=65",   "m=7,t=1,p=1",
                                        "m=256,t=0,p=1",     "m=256,t=1",
                                        "t=1,m=256,p=1",     "m=1048576,t=5,p=1",
                                        "m=256,t=1,p=1,x=1", ""};
    for (size_t i = 0; i < ARRAY_LEN(costs); i++) {
        char text[256];
        snprintf(text, sizeof text, "u:$argon2id$v=19$%s$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEg\n",
                 costs[i]);
        expect_wrong(text, 1, "costs of Argon2");
    }
    expect_wrong("u:$argon2id$v=16$m=256,t=1,p=1$c29tZXNhbHQ$nf65EOg\n", 1, "version");
    expect_wrong("u:$argon2id$v=19$m=256,t=1,p=1$c29t$nf65EOg\n", 1, "salt");
}

static void a_user_is_there_once(void **state)
{
    (void)state;
    expect_wrong("bob:" BY_MOSQUITTO_6 "\nal:" BY_MOSQUITTO_6 "\nbob:" BY_MOSQUITTO_7 "\n", 3,
                 "user 'bob' is in line 1 already");
}

static void what_is_too_long_is_an_error(void **state)
{
    (void)state;
    static char text[PASSWORD_LINE_MAX + 16];
    memset(text, 'x', sizeof text - 1);
    memcpy(text, "a:", 2);
    expect_wrong(text, 1, "longer than 4096 bytes");
    memset(text, 'x', sizeof text - 1);
    assert_string_equal(password_user_wrong(bytes_str(text)), "the user name is too long");
}

static void names_that_would_not_come_back_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"", "a:b", "#a", " a", "a ", "a\nb", "a\tb"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_non_null(password_user_wrong(bytes_str(wrong[i])));
    static const char *const right[] = {"a", "a b", "a#", "ä", "+/#"};
    for (size_t i = 0; i < ARRAY_LEN(right); i++)
        assert_null(password_user_wrong(bytes_str(right[i])));
}

/* ---- files ---- */

static void a_file_that_is_not_there_is_an_error(void **state)
{
    (void)state;
    passwords_free(&p);
    assert_int_equal(passwords_load(&p, "/no/such/file", &line, why), E_IO);
    assert_string_equal(why, "cannot open: No such file or directory");
    assert_int_equal(line, 0);
    assert_int_equal(passwords_load(&p, "/tmp", &line, why), E_IO);
    assert_int_equal(passwords_load(&p, "/dev/null", &line, why), E_IO);
}

static void a_file_that_all_can_read_says_so(void **state)
{
    (void)state;
    assert_int_equal(load("bob:" BY_MOSQUITTO_6 "\n"), 0);
    assert_int_equal(chmod(path, 0644), 0);
    passwords_free(&p);
    assert_int_equal(passwords_load(&p, path, &line, why), 0);
    assert_true(passwords_exposed(p));
    assert_int_equal(chmod(path, 0640), 0);
    passwords_free(&p);
    assert_int_equal(passwords_load(&p, path, &line, why), 0);
    assert_false(passwords_exposed(p));
}

static void without_memory_nothing_is_half_loaded(void **state)
{
    (void)state;
    passwords_free(&p);
    write_file("bob:" BY_MOSQUITTO_6 "\nal:" BY_MOSQUITTO_6 "\n",
               strlen("bob:" BY_MOSQUITTO_6 "\nal:" BY_MOSQUITTO_6 "\n"));
    for (long n = 0;; n++) {
        mem_fail_after(n);
        int rc = passwords_load(&p, path, &line, why);
        if (!mem_fail_after(-1)) {
            assert_int_equal(rc, 0);
            return;
        }
        assert_int_equal(rc, E_NOMEM);
        assert_null(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_that_others_wrote_are_understood),
        cmocka_unit_test(who_is_not_in_the_file_does_not_get_in_with_anybodys_password),
        cmocka_unit_test(what_we_hash_we_understand),
        cmocka_unit_test(a_file_of_many_users_finds_each),
        cmocka_unit_test(comments_empty_lines_and_other_ends_of_lines_are_fine),
        cmocka_unit_test(a_line_that_cannot_be_understood_is_an_error_with_its_number),
        cmocka_unit_test(argon2_must_not_cost_more_than_a_machine_has),
        cmocka_unit_test(a_user_is_there_once),
        cmocka_unit_test(what_is_too_long_is_an_error),
        cmocka_unit_test(names_that_would_not_come_back_are_refused),
        cmocka_unit_test(a_file_that_is_not_there_is_an_error),
        cmocka_unit_test(a_file_that_all_can_read_says_so),
        cmocka_unit_test(without_memory_nothing_is_half_loaded),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
