/* Files over HTTP: what a path may name, and that none leads out of the folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/http_file.h"

static char top[] = "/tmp/sluice-files-XXXXXX", folder[64];

static const char *path_of(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", top, name);
    return path;
}

static void write_file(const char *name, const char *text)
{
    FILE *file = fopen(path_of(name), "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int make(void **state)
{
    (void)state;
    if (mkdtemp(top) == NULL) return -1;
    snprintf(folder, sizeof folder, "%s/www", top);
    mkdir(folder, 0755);
    mkdir(path_of("www/sub"), 0755);
    mkdir(path_of("www/.git"), 0755);
    mkdir(path_of("www/empty"), 0755);
    write_file("secret", "secret");
    write_file("www/index.html", "index");
    write_file("www/a b.JS", "js");
    write_file("www/none", "");
    write_file("www/.hidden", "hidden");
    write_file("www/.git/config", "hidden");
    write_file("www/sub/index.html", "sub");
    write_file("www/sub/x.tar.gz", "gz");
    write_file("www/large", "");
    if (truncate(path_of("www/large"), HTTP_FILE_MAX + INT64_C(1)) < 0) return -1;
    if (symlink("../secret", path_of("www/up")) < 0) return -1;
    if (symlink("sub", path_of("www/link")) < 0) return -1;
    return mkfifo(path_of("www/pipe"), 0644);
}

static int clean(void **state)
{
    (void)state;
    char command[100];
    snprintf(command, sizeof command, "rm -r %s", top);
    FILE *shell = popen(command, "r");
    return shell && pclose(shell) == 0 ? 0 : -1;
}

static void paths_and_what_they_name(void **state)
{
    (void)state;
    static const struct {
        const char *target;
        unsigned status;
        const char *text, *type;
    } rows[] = {
        {"/", 200, "index", "text/html; charset=utf-8"},
        {"/?x=/../y", 200, "index", "text/html; charset=utf-8"},
        {"/index.html", 200, "index", "text/html; charset=utf-8"},
        {"/a%20b.JS", 200, "js", "text/javascript; charset=utf-8"},
        {"/none", 200, "", "application/octet-stream"},
        {"/sub/", 200, "sub", "text/html; charset=utf-8"},
        {"/sub/x.tar.gz", 200, "gz", "application/octet-stream"},
        {"/%73ub/index%2ehtml", 200, "sub", "text/html; charset=utf-8"},
        {"/sub", 301, NULL, NULL},
        {"/sub?x", 301, NULL, NULL},
        {"/empty/", 404, NULL, NULL},
        {"/missing", 404, NULL, NULL},
        {"/index.html/", 404, NULL, NULL},
        {"/index.html/x", 404, NULL, NULL},
        {"//", 404, NULL, NULL},
        {"//sub/", 404, NULL, NULL},
        {"/sub//index.html", 404, NULL, NULL},
        {"/.", 404, NULL, NULL},
        {"/./index.html", 404, NULL, NULL},
        {"/..", 404, NULL, NULL},
        {"/../secret", 404, NULL, NULL},
        {"/sub/../../secret", 404, NULL, NULL},
        {"/%2e%2e/secret", 404, NULL, NULL},
        {"/..%2fsecret", 400, NULL, NULL},
        {"/sub%2findex.html", 400, NULL, NULL},
        {"/.hidden", 404, NULL, NULL},
        {"/.git/config", 404, NULL, NULL},
        {"/up", 404, NULL, NULL},
        {"/link/index.html", 404, NULL, NULL},
        {"/link/", 404, NULL, NULL},
        {"/pipe", 404, NULL, NULL},
        {"/large", 403, NULL, NULL},
        {"/index.html%00", 400, NULL, NULL},
        {"/%zz", 400, NULL, NULL},
        {"/%4", 400, NULL, NULL},
        {"/%", 400, NULL, NULL},
        {"", 400, NULL, NULL},
        {"x", 400, NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_file f;
        char text[100];
        unsigned status = http_file_open(folder, bytes_str(rows[i].target), &f);
        if (status != rows[i].status) fail_msg("%s: %u", rows[i].target, status);
        assert_int_equal(f.fd >= 0, status == 200);
        if (status != 200) continue;
        assert_int_equal(f.size, strlen(rows[i].text));
        assert_int_equal(read(f.fd, text, sizeof text), (ssize_t)f.size);
        assert_memory_equal(text, rows[i].text, f.size);
        assert_string_equal(f.type, rows[i].type);
        close(f.fd);
    }
}

static void paths_that_are_too_long(void **state)
{
    (void)state;
    static char target[HTTP_PATH_MAX + 2] = "/";
    struct http_file f;
    memset(target + 1, 'x', HTTP_PATH_MAX - 2);
    assert_int_equal(http_file_open(folder, bytes_str(target), &f), 404); /* ENAMETOOLONG */
    target[HTTP_PATH_MAX - 1] = 'x';
    assert_int_equal(http_file_open(folder, bytes_str(target), &f), 400);
    memset(target, '/', HTTP_PATH_MAX - 1);
    target[HTTP_PATH_MAX - 1] = 0;
    assert_int_equal(http_file_open(folder, bytes_str(target), &f), 404);
}

static void a_folder_that_has_gone(void **state)
{
    (void)state;
    struct http_file f;
    assert_int_equal(http_file_open("/nowhere/at/all", bytes_str("/"), &f), 404);
}

static void without_descriptors(void **state)
{
    (void)state;
    struct http_file f;
    struct rlimit before, none = {0, 0};
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    unsigned status = http_file_open(folder, bytes_str("/"), &f);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(status, 503);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_and_what_they_name),
        cmocka_unit_test(paths_that_are_too_long),
        cmocka_unit_test(a_folder_that_has_gone),
        cmocka_unit_test(without_descriptors),
    };
    return cmocka_run_group_tests(tests, make, clean);
}
