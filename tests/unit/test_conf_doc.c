/* docs/reference/configuration.md is what the schema says.  `test_conf_doc --write` makes it so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/mem.h"
#include "src/conf_int.h"

enum { PAGE_MAX = 1 << 20 };

static void page_path(char *out, size_t room)
{
    const char *end = strstr(__FILE__, "tests/unit/");
    assert_non_null(end);
    snprintf(out, room, "%.*sdocs/reference/configuration.md", (int)(end - __FILE__), __FILE__);
}

static void the_reference_page_is_what_the_schema_says(void **state)
{
    (void)state;
    char path[4096];
    struct buf page = {0};
    page_path(path, sizeof path);
    assert_int_equal(conf_document(&page), 0);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char *stored = mem_alloc(PAGE_MAX);
    assert_non_null(stored);
    size_t n = fread(stored, 1, PAGE_MAX, file);
    fclose(file);
    if (!bytes_eq(bytes_of(stored, n), buf_view(&page)))
        fail_msg("%s is not up to date: run test_conf_doc --write", path);
    mem_free(stored);
    buf_fini(&page);
}

static void every_directive_is_on_the_page_with_its_help(void **state)
{
    (void)state;
    struct buf page = {0};
    size_t count;
    const struct conf_directive *row = conf_schema(&count);
    assert_int_equal(conf_document(&page), 0);
    uint8_t *end = buf_reserve(&page, 1);
    assert_non_null(end);
    *end = 0;
    const char *text = (const char *)page.data + page.head;
    assert_non_null(row[0].section);
    for (size_t i = 0; i < count; i++) {
        char name[64];
        snprintf(name, sizeof name, "`%s%s`", row[i].name,
                 row[i].status == CONF_NOT_YET && row[i].kind == CONF_BOOL ? " true" : "");
        if (strstr(text, name) == NULL) fail_msg("%s is not on the page", name);
        if (row[i].status != CONF_NOT_YET) assert_non_null(row[i].help);
        assert_ptr_equal(conf_find(row[i].name), &row[i]); /* no name twice */
    }
    buf_fini(&page);
}

static int write_page(void)
{
    char path[4096];
    struct buf page = {0};
    page_path(path, sizeof path);
    FILE *file = conf_document(&page) == 0 ? fopen(path, "w") : NULL;
    if (file == NULL) return 1;
    bool whole = fwrite(page.data + page.head, 1, buf_len(&page), file) == buf_len(&page);
    whole &= fclose(file) == 0;
    buf_fini(&page);
    return whole ? 0 : 1;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reference_page_is_what_the_schema_says),
        cmocka_unit_test(every_directive_is_on_the_page_with_its_help),
    };
    if (argc == 2 && strcmp(argv[1], "--write") == 0) return write_page();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
