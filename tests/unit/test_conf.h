/* What the tests of the configuration share: a folder with files, and what loading them said. */
#ifndef TESTS_UNIT_TEST_CONF_H
#define TESTS_UNIT_TEST_CONF_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "base/mem.h"
#include "src/conf_int.h"

struct bench {
    char folder[64], path[128];
    struct conf *conf;
    char *error;
    char warnings[4096];
};

static struct bench b;

static inline void warned(void *ctx, const char *line)
{
    struct bench *bench = ctx;
    size_t n = strlen(bench->warnings);
    snprintf(bench->warnings + n, sizeof bench->warnings - n, "%s\n", line);
}

static inline void write_file(const char *name, const void *data, size_t n)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", b.folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, n, file), n);
    fclose(file);
}

static inline void forget(void)
{
    conf_free(&b.conf);
    mem_free(b.error);
    b.error = NULL;
    b.warnings[0] = 0;
}

static inline int load_with(struct conf_args args)
{
    forget();
    return conf_load(&b.conf, &args, &b.error, warned, &b);
}

static inline int load_file(void)
{
    return load_with((struct conf_args){.file = b.path, .port = -1});
}

static inline int load(const char *text)
{
    write_file("main.conf", text, strlen(text));
    return load_file();
}

static inline const struct conf *good(const char *text)
{
    int rc = load(text);
    if (rc < 0) fail_msg("%s: %s", text, b.error);
    assert_null(b.error);
    return b.conf;
}

/* text does not load, and the message is "<folder>/<expected>". */
static inline void bad(const char *text, const char *expected)
{
    char whole[512];
    assert_int_equal(load(text), E_INVALID);
    assert_null(b.conf);
    snprintf(whole, sizeof whole, "%s/%s", b.folder, expected);
    assert_string_equal(b.error, whole);
}

static inline int setup(void **state)
{
    (void)state;
    b = (struct bench){.folder = "/tmp/sluice-conf-XXXXXX"};
    if (mkdtemp(b.folder) == NULL) return -1;
    snprintf(b.path, sizeof b.path, "%s/main.conf", b.folder);
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    char command[128];
    const char *names[] = {"main.conf", "users",    "acl",     "d/a.conf",
                           "d/B.conf",  "d/b.conf", "d/c.txt", "d/.conf"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(command, sizeof command, "%s/%s", b.folder, names[i]);
        unlink(command);
    }
    snprintf(command, sizeof command, "%s/d", b.folder);
    rmdir(command);
    rmdir(b.folder);
    forget();
    return 0;
}

#define A_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
