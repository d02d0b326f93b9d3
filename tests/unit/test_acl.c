/* The grammar of access lists and what they mean, by tables: mosquitto 2.0's, but where HARDENING
 * class 5 says otherwise (a slash in a client id, a client that is called $SYS). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "core/acl.h"

static struct acl *compiled(const char *text)
{
    struct acl *acl = NULL;
    struct acl_error error;
    if (acl_new(&acl, bytes_str(text), &error) < 0)
        fail_msg("%s: line %u: %s", text, error.line, error.text);
    return acl;
}

/* ---- grammar ---- */

static void every_form_of_a_line_is_read(void **state)
{
    static const char *const good[] = {
        "",
        "\n\n",
        "# all\n#\n",
        "   \n\t\n",
        "topic a",
        "topic a\n",
        "topic a\r\n",
        "topic  a/#  ",
        "  topic read a",
        "topic read a b/c",
        "topic readwrite +/#",
        "topic write $SYS/#",
        "topic deny a",
        "topic read",
        "pattern %c",
        "pattern read a/%c/%u",
        "pattern deny x%c/+",
        "user bob",
        "user bob smith",
        "user   bob  ",
        "topic filter a/#",
        "topic read,write,filter,replay,queue,dead a",
        "topic readwrite,dead $dead/#",
        "topic filter",
        "topic read,filter",
        "pattern queue jobs-%u",
        "topic \xc3\xa9",
        "user bob\nuser bob\n",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct acl *acl = compiled(good[i]);
        acl_free(&acl);
        assert_null(acl);
    }
}

static void what_is_wrong_is_said_with_its_line(void **state)
{
    static const struct {
        const char *text;
        unsigned line;
        const char *why;
    } bad[] = {
        {"topic", 1, "'topic' has no topic"},
        {"\n# x\ntopic  \n", 3, "'topic' has no topic"},
        {"pattern", 1, "'pattern' has no topic"},
        {"user", 1, "'user' has no name"},
        {"user   ", 1, "'user' has no name"},
        {"topic a\ntopic rw b\n", 2,
         "'rw' is no access: use read, write, readwrite or deny, or the features filter, replay, "
         "queue, dead"},
        {"topic READ b\n", 1,
         "'READ' is no access: use read, write, readwrite or deny, or the features filter, replay, "
         "queue, dead"},
        {"topic read, b\n", 1,
         "'' is no access: use read, write, readwrite or deny, or the features filter, replay, "
         "queue, dead"},
        {"topic read,deny b\n", 1,
         "'deny' is no access: use read, write, readwrite or deny, or the features filter, replay, "
         "queue, dead"},
        {"topic a#", 1, "'a#' is no topic filter"},
        {"topic read a/#/b", 1, "'a/#/b' is no topic filter"},
        {"pattern %c+", 1, "'%c+' is no topic filter"},
        {"topics a", 1, "a line cannot begin with 'topics': use user, topic, pattern or #"},
        {"topic\tread a", 1,
         "a line cannot begin with 'topic\tread': use user, topic, pattern or #"},
        {" # x", 1, "a comment must begin in the first column of its line"},
        {"topic a\n\xff\n", 2, "the line is not text in UTF-8"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct acl *acl = NULL;
        struct acl_error error;
        assert_int_equal(acl_new(&acl, bytes_str(bad[i].text), &error), E_INVALID);
        assert_null(acl);
        assert_string_equal(error.text, bad[i].why);
        assert_int_equal(error.line, bad[i].line);
    }
}

static void a_nul_byte_is_no_text(void **state)
{
    (void)state;
    struct acl *acl = NULL;
    struct acl_error error;
    assert_int_equal(acl_new(&acl, bytes_of("topic a\0b", 9), &error), E_INVALID);
}

static void a_list_without_rules_is_empty(void **state)
{
    static const struct {
        const char *text;
        bool empty;
    } table[] = {{"", true},
                 {"# x\nuser bob\n", true},
                 {"topic a", false},
                 {"user bob\ntopic deny a", false},
                 {"pattern a", false}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct acl *acl = compiled(table[i].text);
        assert_int_equal(acl_is_empty(acl), table[i].empty);
        acl_free(&acl);
    }
}

static void without_memory_nothing_is_left(void **state)
{
    (void)state;
    const char text[] = "topic a\nuser bob\ntopic read b\nuser eve\ntopic c\npattern deny %c\n";
    for (long n = 0;; n++) {
        struct acl *acl = NULL;
        struct acl_error error;
        (void)mem_fail_after(n);
        int rc = acl_new(&acl, bytes_str(text), &error);
        bool fired = mem_fail_after(-1);
        assert_int_equal(rc, fired ? E_NOMEM : 0);
        acl_free(&acl);
        if (!fired) return;
    }
}

/* ---- meaning ---- */

struct question {
    const char *user, *id, *topic;
    const char *may; /* "rw" */
};

static struct bytes name_of(const char *user) { return user ? bytes_str(user) : (struct bytes){0}; }

static void ask(const char *text, const struct question *q, size_t count)
{
    struct acl *acl = compiled(text);
    for (size_t i = 0; i < count; i++) {
        struct acl_client client = {.username = name_of(q[i].user), .id = bytes_str(q[i].id)};
        char got[3], *d = got;
        if (acl_may(acl, &client, bytes_str(q[i].topic), ACL_READ)) *d++ = 'r';
        if (acl_may(acl, &client, bytes_str(q[i].topic), ACL_WRITE)) *d++ = 'w';
        *d = 0;
        if (strcmp(got, q[i].may) != 0)
            fail_msg("%s: user %s, id %s, topic %s: '%s' instead of '%s'", text,
                     q[i].user ? q[i].user : "(none)", q[i].id, q[i].topic, got, q[i].may);
    }
    acl_free(&acl);
}

#define ASK(text, ...)                                                                             \
    do {                                                                                           \
        const struct question questions[] = {__VA_ARGS__};                                         \
        ask(text, questions, ARRAY_LEN(questions));                                                \
    } while (0)

static void what_is_not_allowed_is_denied(void **state)
{
    (void)state;
    ASK("", {NULL, "c", "t", ""}, {"bob", "c", "t", ""});
    ASK("user bob\n", {NULL, "c", "t", ""}, {"bob", "c", "t", ""});
    ASK("topic a\ntopic read r\ntopic write w\n", {NULL, "c", "a", "rw"}, {NULL, "c", "r", "r"},
        {NULL, "c", "w", "w"}, {NULL, "c", "b", ""}, {NULL, "c", "a/b", ""}, {NULL, "c", "A", ""});
}

static void topics_before_the_first_user_are_of_anonymous_clients_only(void **state)
{
    (void)state;
    ASK("topic a\nuser bob\ntopic b\nuser eve\ntopic e\nuser bob\ntopic read b2\n",
        {NULL, "c", "a", "rw"}, {NULL, "c", "b", ""}, {"bob", "c", "a", ""},
        {"bob", "c", "b", "rw"}, {"bob", "c", "b2", "r"}, {"bob", "c", "e", ""},
        {"eve", "c", "e", "rw"}, {"eve", "c", "b", ""}, {"joe", "c", "a", ""}, {"", "c", "a", ""},
        {"bo", "c", "b", ""});
}

static void a_deny_wins_wherever_it_stands(void **state)
{
    (void)state;
    ASK("topic a/#\ntopic deny a/x\ntopic a/x\n", {NULL, "c", "a/x", ""}, {NULL, "c", "a/y", "rw"},
        {NULL, "c", "a", "rw"});
    ASK("topic deny a/#\ntopic read a/x\n", {NULL, "c", "a/x", ""}, {NULL, "c", "a", ""});
    ASK("pattern p/%c\npattern deny p/#\n", {NULL, "c", "p/c", ""});
}

static void rights_add_up(void **state)
{
    (void)state;
    ASK("topic read a\ntopic write a\n", {NULL, "c", "a", "rw"});
    ASK("user bob\ntopic read a\npattern write a\n", {"bob", "c", "a", "rw"},
        {"eve", "c", "a", "w"}, {NULL, "c", "a", "w"});
}

static void filters_match_as_those_of_subscriptions(void **state)
{
    (void)state;
    ASK("topic a/+/c", {NULL, "c", "a/b/c", "rw"}, {NULL, "c", "a//c", "rw"},
        {NULL, "c", "a/c", ""}, {NULL, "c", "a/b/c/d", ""}, {NULL, "c", "a/b", ""});
    ASK("topic +", {NULL, "c", "a", "rw"}, {NULL, "c", "/a", ""}, {NULL, "c", "$x", ""});
    ASK("topic /+", {NULL, "c", "/a", "rw"}, {NULL, "c", "/", "rw"}, {NULL, "c", "a", ""});
    ASK("topic +/#", {NULL, "c", "a", "rw"}, {NULL, "c", "a/b", "rw"}, {NULL, "c", "$SYS/b", ""});
    ASK("topic a/#", {NULL, "c", "a", "rw"}, {NULL, "c", "a/", "rw"}, {NULL, "c", "ab", ""});
    ASK("topic #", {NULL, "c", "a/b", "rw"}, {NULL, "c", "/", "rw"}, {NULL, "c", "$SYS/a", ""});
    ASK("topic $SYS/#\n", {NULL, "c", "$SYS/a", "rw"}, {NULL, "c", "SYS/a", ""});
    ASK("topic #\ntopic deny $SYS/+\n", {NULL, "c", "$SYS/a", ""}, {NULL, "c", "a", "rw"});
    ASK("topic %c/%u\n", {"bob", "c", "c/bob", ""}, {NULL, "c", "%c/%u", "rw"});
}

static void patterns_stand_for_the_client(void **state)
{
    (void)state;
    ASK("pattern d/%c/#\npattern read o/%u\npattern write b/%c%u/x\n", {NULL, "c", "d/c", "rw"},
        {NULL, "c", "d/c/1", "rw"}, {NULL, "c", "d/cc", ""}, {NULL, "c", "d/%c", ""},
        {"bob", "c", "o/bob", "r"}, {"bob", "c", "o/eve", ""}, {NULL, "c", "o/", ""},
        {NULL, "c", "o/%u", ""}, {"bob", "c", "b/cbob/x", "w"}, {"bob", "c", "b/cbob", ""});
    ASK("pattern deny d/%u/x\npattern d/#\n", {"bob", "c", "d/bob/x", ""},
        {"eve", "c", "d/bob/x", "rw"}, {NULL, "c", "d/bob/x", "rw"});
    ASK("pattern a/%/%%\npattern b/%x\n", {NULL, "c", "a/%/%%", "rw"}, {NULL, "c", "b/%x", "rw"});
}

/* What no line says: answers (response.h). */
static void answers_reach_who_has_asked(void **state)
{
    (void)state;
    const char *const lists[] = {"", "user bob\ntopic a\n", "pattern read x/%c\n"};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        ASK(lists[i], {NULL, "c", "$response/c/1", "r"}, {"bob", "c", "$response/c/1", "rw"},
            {"bob", "d", "$response/c/1", "w"}, {NULL, "d", "$response/c/1", ""},
            {NULL, "c", "$response/c", ""}, {NULL, "c", "$response/cc/1", ""},
            {NULL, "c", "response/c/1", ""}, {NULL, "a/+#%", "$response/a%2F%2B%23%25/", "r"},
            {NULL, "a/b", "$response/a/b/", ""}, {NULL, "+", "$response/c/1", ""});
    ASK("user bob\ntopic deny $response/#\n", {"bob", "c", "$response/c/1", ""},
        {"eve", "c", "$response/c/1", "rw"});
    ASK("pattern deny $response/c/#\n", {"bob", "c", "$response/c/1", ""},
        {"bob", "d", "$response/d/1", "rw"});
    ASK("pattern deny $response/#\nuser bob\ntopic read $response/all/#\n",
        {"bob", "c", "$response/all/1", "r"}, {"bob", "c", "$response/c/1", ""});
}

static void behind_a_mount_point_answers_have_it_too(void **state)
{
    (void)state;
    struct acl *acl = compiled("");
    struct acl_client client = {
        .username = bytes_str("bob"), .id = bytes_str("c"), .mount = bytes_str("m/")};
    assert_true(acl_may(acl, &client, bytes_str("m/$response/c/1"), ACL_READ));
    assert_true(acl_may(acl, &client, bytes_str("m/$response/d/1"), ACL_WRITE));
    assert_false(acl_may(acl, &client, bytes_str("m/$response/d/1"), ACL_READ));
    assert_false(acl_may(acl, &client, bytes_str("$response/c/1"), ACL_READ));
    assert_false(acl_may(acl, &client, bytes_str("m"), ACL_READ));
    acl_free(&acl);
}

static void who_is_called_like_a_wildcard_has_no_patterns(void **state)
{
    (void)state;
    ASK("topic own\nuser +\ntopic own\npattern d/%c/%u\npattern all\n", {NULL, "+", "d/+", ""},
        {NULL, "+", "own", "rw"}, {NULL, "#", "all", ""}, {NULL, "a+b", "all", ""},
        {"+", "c", "own", "rw"}, {"+", "c", "all", ""}, {"b#", "c", "d/c/b", ""},
        {"bob", "c", "all", "rw"});
}

static void a_slash_in_a_name_reaches_nowhere(void **state)
{
    (void)state;
    ASK("pattern d/%c/#\npattern o/%u\npattern all\n", {NULL, "a/b", "d/a/b/x", ""},
        {NULL, "a/b", "all", "rw"}, {"b/c", "c", "o/b/c", ""}, {"b/c", "c", "d/c/1", "rw"});
    ASK("pattern #\npattern deny d/%c/#\n", {NULL, "a/b", "d/a/b/x", ""},
        {NULL, "a/b", "d/a", "rw"});
}

static void a_client_called_SYS_does_not_get_there(void **state)
{
    (void)state;
    ASK("pattern %c/#\n", {NULL, "$SYS", "$SYS/x", ""}, {NULL, "c", "c/x", "rw"});
    ASK("pattern $SYS/%c\npattern $SYS/#\npattern deny %c/#\n", {NULL, "$SYS", "$SYS/x", ""},
        {NULL, "c", "$SYS/c", "rw"});
}

/* ---- subscriptions ---- */

static void a_filter_wholly_under_a_deny_is_known(void **state)
{
    static const struct {
        const char *text, *user, *filter;
        bool denied;
    } table[] = {
        {"topic deny a/#", NULL, "a", true},
        {"topic deny a/#", NULL, "a/#", true},
        {"topic deny a/#", NULL, "a/+/b", true},
        {"topic deny a/#", NULL, "+/b", false},
        {"topic deny a/#", NULL, "#", false},
        {"topic deny a/#", NULL, "ab", false},
        {"topic deny a/#", "bob", "a", false},
        {"topic deny a/+", NULL, "a/+", true},
        {"topic deny a/+", NULL, "a/b", true},
        {"topic deny a/+", NULL, "a/#", false},
        {"topic deny a/b", NULL, "a/+", false},
        {"topic deny #", NULL, "#", true},
        {"topic deny #", NULL, "+", true},
        {"topic deny #", NULL, "$SYS/#", false},
        {"topic deny $SYS/#", NULL, "$SYS/broker/#", true},
        {"topic deny +/#", NULL, "#", false}, /* nothing but both are the same; not refused */
        {"pattern deny a/%c/#", NULL, "a/c/x", true},
        {"pattern deny a/%c/#", NULL, "a/+/x", false},
        {"pattern deny a/%u/#", NULL, "a/c/x", false},
        {"pattern deny a/#\ntopic read a/b", NULL, "a/b", false},
        {"pattern deny a/#\ntopic read a/b", NULL, "a/+", false},
        {"pattern deny a/#\ntopic read +/b", NULL, "a/#", false},
        {"pattern deny a/#\ntopic read #", NULL, "a/c", false},
        {"pattern deny a/#\ntopic read a/b/#", NULL, "a/b", false},
        {"pattern deny a/#\ntopic read a/b", NULL, "a/c", true},
        {"pattern deny a/#\ntopic read a/b", NULL, "a/b/c", true},
        {"pattern deny a/#\ntopic write a/b", NULL, "a/b", true},
        {"topic read b", NULL, "a", false}, /* not allowed is not denied: as mosquitto */
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct acl *acl = compiled(table[i].text);
        struct acl_client client = {.username = name_of(table[i].user), .id = bytes_str("c")};
        if (acl_denies_filter(acl, &client, bytes_str(table[i].filter)) != table[i].denied)
            fail_msg("%s: %s", table[i].text, table[i].filter);
        acl_free(&acl);
    }
}

/* ---- features ---- */

static void a_feature_is_everybodys_until_a_line_names_it(void **state)
{
    (void)state;
    static const char text[] = "topic replay pub/+\n"
                               "user bob\n"
                               "topic read,replay a/#\n"
                               "topic queue jobs\n"
                               "topic queue +x\n" /* no wildcard: a name */
                               "pattern replay own/%u/#\n";
    static const struct {
        const char *user, *filter;
        enum acl_feature feature;
        bool may;
    } cases[] = {
        {"bob", "a/#", ACL_REPLAY, true},        {"bob", "a/b/+", ACL_REPLAY, true},
        {"bob", "a", ACL_REPLAY, true},          {"bob", "+/b", ACL_REPLAY, false},
        {"bob", "#", ACL_REPLAY, false},         {"bob", "pub/1", ACL_REPLAY, false},
        {"bob", "own/bob/x", ACL_REPLAY, true},  {"eve", "own/eve/#", ACL_REPLAY, true},
        {"eve", "own/bob/x", ACL_REPLAY, false}, {"eve", "a/b", ACL_REPLAY, false},
        {NULL, "pub/1", ACL_REPLAY, true},       {NULL, "pub/+", ACL_REPLAY, true},
        {NULL, "pub/#", ACL_REPLAY, false},      {"bob", "jobs", ACL_QUEUE, true},
        {"bob", "other", ACL_QUEUE, false},      {"eve", "jobs", ACL_QUEUE, false},
        {"eve", "anything/#", ACL_FILTER, true}, {NULL, "$dead/#", ACL_DEAD, true},
    };
    struct acl *acl = NULL;
    struct acl_error error;
    assert_int_equal(acl_new(&acl, bytes_str(text), &error), E_INVALID);
    assert_int_equal(error.line, 5);
    static char good[sizeof text];
    memcpy(good, text, sizeof text);
    memcpy(strstr(good, "+x"), "yx", 2);
    acl = compiled(good);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct acl_client client = {.id = bytes_str("id")};
        if (cases[i].user) client.username = bytes_str(cases[i].user);
        if (acl_may_use(acl, &client, bytes_str(cases[i].filter), cases[i].feature) != cases[i].may)
            fail_msg("%s: %s", cases[i].user ? cases[i].user : "nobody", cases[i].filter);
    }
    acl_free(&acl);
}

static void a_feature_gives_no_right_to_read(void **state)
{
    (void)state;
    struct acl *acl = compiled("user bob\ntopic filter,replay a\ntopic write,dead b\n");
    struct acl_client bob = {.username = bytes_str("bob"), .id = bytes_str("id")};
    assert_false(acl_may(acl, &bob, bytes_str("a"), ACL_READ));
    assert_false(acl_may(acl, &bob, bytes_str("a"), ACL_WRITE));
    assert_false(acl_may(acl, &bob, bytes_str("b"), ACL_READ));
    assert_true(acl_may(acl, &bob, bytes_str("b"), ACL_WRITE));
    assert_false(acl_is_empty(acl));
    acl_free(&acl);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_a_line_is_read),
        cmocka_unit_test(what_is_wrong_is_said_with_its_line),
        cmocka_unit_test(a_nul_byte_is_no_text),
        cmocka_unit_test(a_list_without_rules_is_empty),
        cmocka_unit_test(without_memory_nothing_is_left),
        cmocka_unit_test(what_is_not_allowed_is_denied),
        cmocka_unit_test(topics_before_the_first_user_are_of_anonymous_clients_only),
        cmocka_unit_test(a_deny_wins_wherever_it_stands),
        cmocka_unit_test(rights_add_up),
        cmocka_unit_test(filters_match_as_those_of_subscriptions),
        cmocka_unit_test(patterns_stand_for_the_client),
        cmocka_unit_test(answers_reach_who_has_asked),
        cmocka_unit_test(behind_a_mount_point_answers_have_it_too),
        cmocka_unit_test(who_is_called_like_a_wildcard_has_no_patterns),
        cmocka_unit_test(a_slash_in_a_name_reaches_nowhere),
        cmocka_unit_test(a_client_called_SYS_does_not_get_there),
        cmocka_unit_test(a_filter_wholly_under_a_deny_is_known),
        cmocka_unit_test(a_feature_is_everybodys_until_a_line_names_it),
        cmocka_unit_test(a_feature_gives_no_right_to_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
