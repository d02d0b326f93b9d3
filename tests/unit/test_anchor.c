/* Where the store lies: every state in which an anchor and its folder can be found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "base/err.h"
#include "src/anchor.h"

enum { TEXT_MAX = 16384 };

static char place[64], log_path[80]; /* the location; the log lies beside it */
static struct conf conf;
static struct anchor a;
static char text[TEXT_MAX];

/* ---- files ---- */

static const char *at(const char *name)
{
    static char path[4][512];
    static unsigned next;
    char *out = path[next++ % 4];
    snprintf(out, sizeof path[0], "%s/%s", place, name);
    return out;
}

static void put(const char *name, const void *data, size_t n)
{
    FILE *file = fopen(at(name), "w");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, n, file), n);
    fclose(file);
}

static void put_text(const char *name, const char *data) { put(name, data, strlen(data)); }

/* The content, in `text`; its length. */
static size_t get(const char *path)
{
    FILE *file = fopen(path, "r");
    if (file == NULL) fail_msg("%s: %s", path, strerror(errno));
    size_t n = fread(text, 1, TEXT_MAX - 1, file);
    fclose(file);
    text[n] = 0;
    return n;
}

static void expect_content(const char *name, const char *content)
{
    get(at(name));
    assert_string_equal(text, content);
}

static bool there(const char *name)
{
    struct stat s;
    return lstat(at(name), &s) == 0;
}

static unsigned mode(const char *name)
{
    struct stat s;
    assert_int_equal(lstat(at(name), &s), 0);
    return s.st_mode & 07777;
}

/* How many entries of the location begin so; the last one's name goes to out. */
static unsigned count(const char *prefix, char out[256])
{
    unsigned found = 0;
    DIR *dir = opendir(place);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (strncmp(e->d_name, prefix, strlen(prefix)) != 0) continue;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        found++;
        if (out) snprintf(out, 256, "%s", e->d_name);
    }
    closedir(dir);
    return found;
}

static void remove_tree(const char *path)
{
    char inner[1024];
    DIR *dir = opendir(path);
    if (dir == NULL) {
        unlink(path);
        return;
    }
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        snprintf(inner, sizeof inner, "%s/%s", path, e->d_name);
        if (unlink(inner) < 0) remove_tree(inner);
    }
    closedir(dir);
    rmdir(path);
}

/* ---- opening ---- */

static void name_it(const char *persistence_file)
{
    static char name[32];
    snprintf(name, sizeof name, "%s", persistence_file);
    conf.persistence_file = name;
}

static int setup(void **state)
{
    (void)state;
    snprintf(place, sizeof place, "/tmp/sluice-anchor-XXXXXX");
    if (mkdtemp(place) == NULL) return -1;
    snprintf(log_path, sizeof log_path, "%s.log", place);
    conf = (struct conf){.log_dest = CONF_LOG_FILE,
                         .log_file = log_path,
                         .log_types = LOG_T_ALL,
                         .persistence = true,
                         .persistence_location = place};
    name_it("mosquitto.db");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    remove_tree(place);
    unlink(log_path);
    return 0;
}

/* Opens anew; what was logged is in `text`. */
static int open_again(void)
{
    struct log *log = NULL;
    unlink(log_path);
    assert_int_equal(log_open(&log, &conf), 0);
    memset(&a, 0xff, sizeof a);
    int rc = anchor_open(&a, &conf, log);
    log_close(&log);
    get(log_path);
    return rc;
}

static void expect_open(const char *file, bool fresh, const char *logged)
{
    char folder[512];
    int rc = open_again();
    if (rc < 0) fail_msg("%s", text);
    assert_string_equal(a.file, at(file));
    snprintf(folder, sizeof folder, "%s.d", file);
    assert_string_equal(a.folder, at(folder));
    assert_int_equal(a.fresh, fresh);
    if (strstr(text, logged) == NULL || (*logged == 0 && *text)) fail_msg("%s", text);
}

/* It cannot be opened, one line says so, and nothing has come or gone. */
static void expect_refused(const char *logged)
{
    unsigned before = count("", NULL);
    assert_int_equal(open_again(), E_IO);
    if (strstr(text, logged) == NULL) fail_msg("%s", text);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    assert_memory_equal(text, "Error: ", 7);
    assert_int_equal(count("", NULL), before);
}

/* A store with something in it, as `a` was opened. */
static void fill(void)
{
    expect_open("mosquitto.db", true, "");
    put_text("mosquitto.db.d/segment", "data");
}

static const char old_database[] = "\0\xb5\0mosquitto db, version and more";

/* ---- tests ---- */

static void an_empty_place_gets_an_anchor_and_a_folder(void **state)
{
    (void)state;
    char expected[64];
    umask(0);
    expect_open("mosquitto.db", true, "");
    assert_true(a.id != 0);
    assert_int_equal(mode("mosquitto.db"), 0600);
    assert_int_equal(mode("mosquitto.db.d"), 0700);
    assert_int_equal(mode("mosquitto.db.d/id"), 0600);
    snprintf(expected, sizeof expected, "%016" PRIx64 "\n", a.id);
    expect_content("mosquitto.db.d/id", expected);
    get(at("mosquitto.db"));
    assert_memory_equal(text, "sluice anchor 1\nid ", 19);
    assert_int_equal(count("", NULL), 2);
    umask(077);
}

static void the_same_store_is_found_again(void **state)
{
    (void)state;
    fill();
    struct anchor first = a;
    expect_open("mosquitto.db", false, "");
    assert_true(a.id == first.id);
    expect_content("mosquitto.db.d/segment", "data");
    assert_int_equal(count("", NULL), 2);
}

static void two_stores_have_two_ids(void **state)
{
    (void)state;
    expect_open("mosquitto.db", true, "");
    struct anchor first = a;
    name_it("b.db");
    expect_open("b.db", true, "");
    assert_true(a.id != first.id);
}

static void location_and_file_are_joined_as_mosquitto_does(void **state)
{
    (void)state;
    char slash[80], *before = getcwd(NULL, 0);
    snprintf(slash, sizeof slash, "%s/", place);
    conf.persistence_location = slash;
    expect_open("mosquitto.db", true, "");
    assert_int_equal(mkdir(at("sub"), 0700), 0);
    name_it("sub/x.db");
    expect_open("sub/x.db", true, "");
    conf.persistence_location = NULL;
    name_it("here.db");
    assert_int_equal(chdir(place), 0);
    assert_int_equal(open_again(), 0);
    assert_int_equal(chdir(before), 0);
    free(before);
    assert_string_equal(a.file, "here.db");
    assert_string_equal(a.folder, "here.db.d");
    assert_true(there("here.db.d/id"));
}

static void without_its_anchor_a_store_is_set_aside(void **state)
{
    (void)state;
    char name[256], moved[300];
    fill();
    struct anchor first = a;
    assert_int_equal(unlink(at("mosquitto.db")), 0);
    expect_open("mosquitto.db", true,
                "has no anchor: the store starts empty. The old one was set "
                "aside as ");
    assert_true(a.id != first.id);
    assert_int_equal(count("mosquitto.db.d.old-", name), 1);
    assert_non_null(strstr(text, name));
    unsigned year, day, second;
    assert_int_equal(sscanf(name, "mosquitto.db.d.old-%8uT%6uZ", &year, &second), 2);
    day = year % 100;
    assert_true(year > 20240000 && day >= 1 && day <= 31 && second < 240000);
    snprintf(moved, sizeof moved, "%s/segment", name);
    expect_content(moved, "data");
    assert_false(there("mosquitto.db.d/segment"));
    expect_open("mosquitto.db", true, ""); /* still empty, and known */
}

static void a_store_that_is_in_use_is_not_set_aside(void **state)
{
    (void)state;
    fill();
    put_text("mosquitto.db.d/lock", "");
    int fd = open(at("mosquitto.db.d/lock"), O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0); /* as store_log_open() does */
    assert_int_equal(unlink(at("mosquitto.db")), 0);
    expect_refused("Error: another broker uses ");
    assert_true(there("mosquitto.db.d/segment"));
    close(fd);
    expect_open("mosquitto.db", true, "set aside");
}

static void stores_set_aside_in_the_same_second_get_names_of_their_own(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 4; i++) {
        fill();
        assert_int_equal(unlink(at("mosquitto.db")), 0);
        assert_int_equal(open_again(), 0);
        assert_int_equal(count("mosquitto.db.d.old-", NULL), i);
        assert_int_equal(unlink(at("mosquitto.db")), 0);
    }
}

static void a_folder_that_was_only_begun_is_used(void **state)
{
    (void)state;
    /* Interrupted before the anchor was there: with an id, half an id, or none. */
    static const char *const ids[] = {"0123456789abcdef\n", "0123", NULL, NULL};
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        (void)unlink(at("mosquitto.db"));
        remove_tree(at("mosquitto.db.d"));
        assert_int_equal(mkdir(at("mosquitto.db.d"), 0700), 0);
        if (ids[i]) put_text("mosquitto.db.d/id", ids[i]);
        if (i == 3) put_text("mosquitto.db.d/lock", "");
        expect_open("mosquitto.db", true, "");
        assert_int_equal(count("", NULL), 2);
        uint64_t id;
        assert_int_equal(anchor_folder_id(a.folder, &id), 0);
        assert_true(id == a.id);
    }
}

static void an_anchor_without_its_folder_begins_empty(void **state)
{
    (void)state;
    fill();
    struct anchor first = a;
    remove_tree(at("mosquitto.db.d"));
    expect_open("mosquitto.db", true, "mosquitto.db.d is missing: the store starts empty.");
    assert_true(a.id == first.id);
    assert_true(there("mosquitto.db.d/id"));
}

static void the_folder_of_another_anchor_is_set_aside(void **state)
{
    (void)state;
    static const char *const ids[] = {"0123456789abcdef\n", NULL};
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        fill();
        if (ids[i])
            put_text("mosquitto.db.d/id", ids[i]);
        else
            unlink(at("mosquitto.db.d/id"));
        struct anchor first = a;
        expect_open("mosquitto.db", true,
                    "mosquitto.db.d does not belong to its anchor: the store "
                    "starts empty. The old one was set aside as ");
        assert_true(a.id == first.id);
        assert_int_equal(count("mosquitto.db.d.old-", NULL), i + 1);
        expect_open("mosquitto.db", true, "");
    }
}

static void a_store_whose_id_is_damaged_is_not_touched(void **state)
{
    (void)state;
    static const char *const ids[] = {"",  "0123456789abcdef",     "0123456789abcdeg\n",
                                      "x", "0123456789abcdef\n\n", "0123456789ABCDEF\n"};
    fill();
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        put_text("mosquitto.db.d/id", ids[i]);
        expect_refused("mosquitto.db.d/id is damaged");
        expect_content("mosquitto.db.d/id", ids[i]);
    }
    /* What the message asks for helps. */
    char id[32];
    snprintf(id, sizeof id, "%016" PRIx64 "\n", a.id);
    put_text("mosquitto.db.d/id", id);
    expect_open("mosquitto.db", false, "");
}

static void a_damaged_anchor_is_refused_whatever_the_damage(void **state)
{
    (void)state;
    static char whole[TEXT_MAX];
    fill();
    size_t n = get(at("mosquitto.db"));
    memcpy(whole, text, n);
    for (size_t i = 0; i < n; i++) { /* one bit, and the rest cut off */
        for (int cut = 0; cut < 2; cut++) {
            if (cut && i == 0) continue; /* an empty file: below */
            if (!cut) whole[i] ^= 4;
            put("mosquitto.db", whole, cut ? i : n);
            if (i < 14 && !cut)
                expect_refused("no longer the anchor of the store");
            else if (i == 14 && !cut) /* the version: 1 became 5 */
                expect_refused("was written by a later version of sluice");
            else
                expect_refused("mosquitto.db.d, is damaged");
            if (!cut) whole[i] ^= 4;
            assert_int_equal(get(at("mosquitto.db")), cut ? i : n);
        }
    }
    put("mosquitto.db", "", 0);
    expect_refused("no longer the anchor of the store");
    put("mosquitto.db", whole, n);
    expect_open("mosquitto.db", false, "");
    put("mosquitto.db", whole, n + 1);
    expect_refused("is damaged");
}

static void an_anchor_of_a_later_version_is_refused(void **state)
{
    (void)state;
    put_text("mosquitto.db", "sluice anchor 2\nwhatever that may be\n");
    expect_refused("mosquitto.db was written by a later version of sluice.");
}

static void what_is_not_ours_is_left_alone_and_sluice_db_is_the_anchor(void **state)
{
    (void)state;
    static const struct {
        const void *data;
        size_t n;
        const char *logged;
    } cases[] = {
        {old_database, sizeof old_database,
         "/mosquitto.db is a database of mosquitto and is left "
         "alone: the store's anchor is /tmp/"},
        {"", 0, "/mosquitto.db is not ours and is left alone"},
        {"hello", 5, "/mosquitto.db is not ours and is left alone"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        remove_tree(at("sluice.db"));
        remove_tree(at("sluice.db.d"));
        put("mosquitto.db", cases[i].data, cases[i].n);
        expect_open("sluice.db", true, cases[i].logged);
        put_text("sluice.db.d/segment", "data");
        expect_open("sluice.db", false, cases[i].logged);
        assert_int_equal(get(at("mosquitto.db")), cases[i].n);
        if (cases[i].n) assert_memory_equal(text, cases[i].data, cases[i].n);
        assert_false(there("mosquitto.db.d"));
    }
    /* A folder, a pipe nobody writes to. */
    for (int pipe = 0; pipe < 2; pipe++) {
        unlink(at("mosquitto.db"));
        int rc = pipe ? mkfifo(at("mosquitto.db"), 0600) : mkdir(at("mosquitto.db"), 0700);
        assert_int_equal(rc, 0);
        expect_open("sluice.db", false, "/mosquitto.db is not ours and is left alone");
        if (!pipe) assert_int_equal(rmdir(at("mosquitto.db")), 0);
    }
}

static void going_back_to_mosquitto_leaves_both_alone(void **state)
{
    (void)state;
    fill();
    put("mosquitto.db", old_database, sizeof old_database);
    expect_open("sluice.db", true, "is a database of mosquitto");
    expect_content("mosquitto.db.d/segment", "data");
}

static void sluice_db_stands_for_a_file_that_is_gone(void **state)
{
    (void)state;
    put("mosquitto.db", old_database, sizeof old_database);
    expect_open("sluice.db", true, "is a database of mosquitto");
    put_text("sluice.db.d/segment", "data");
    struct anchor first = a;
    assert_int_equal(unlink(at("mosquitto.db")), 0);
    expect_open("sluice.db", false, "mosquitto.db, which is gone.");
    assert_true(a.id == first.id);
    /* For no other file. */
    name_it("b.db");
    expect_open("b.db", true, "");
    /* And it may be chosen by its name. */
    name_it("sluice.db");
    expect_open("sluice.db", false, "");
    assert_true(a.id == first.id);
}

static void when_neither_name_is_free_it_is_an_error(void **state)
{
    (void)state;
    put("mosquitto.db", old_database, sizeof old_database);
    put("sluice.db", "", 0);
    expect_refused("both are left alone: choose another persistence_file.");
    name_it("sluice.db");
    expect_refused("sluice.db is not ours and is left alone: choose another persistence_file.");
    put("sluice.db", old_database, sizeof old_database);
    expect_refused("sluice.db is a database of mosquitto and is left alone");
    put_text("sluice.db", "sluice anchor 1\n");
    name_it("mosquitto.db");
    expect_refused("sluice.db, the anchor of the store");
}

static void a_location_that_cannot_be_used_is_an_error(void **state)
{
    (void)state;
    char missing[128], longer[ANCHOR_PATH_BYTES];
    snprintf(missing, sizeof missing, "%s/missing", place);
    conf.persistence_location = missing;
    expect_refused("missing for the persistent data: make it, or change persistence_location.");
    put_text("missing", "a file");
    expect_refused("cannot be used for the persistent data: Not a directory.");
    conf.persistence_location = place;
    put_text("mosquitto.db.d", "a file");
    expect_refused("mosquitto.db.d cannot be opened: Not a directory.");
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    conf.persistence_location = longer;
    expect_refused("persistence_location is too long for a path.");
}

static void without_permission_it_is_an_error(void **state)
{
    (void)state;
    if (geteuid() == 0) skip(); /* root may do everything */
    assert_int_equal(chmod(place, 0500), 0);
    expect_refused("mosquitto.db.d cannot be made: Permission denied.");
    assert_int_equal(chmod(place, 0700), 0);
    fill();
    assert_int_equal(chmod(at("mosquitto.db"), 0), 0);
    expect_refused("mosquitto.db cannot be read: Permission denied.");
}

/* Interrupted after any step, the next start goes on and loses nothing that was there. */
static void a_leftover_of_an_interrupted_start_does_no_harm(void **state)
{
    (void)state;
    put_text("mosquitto.db.new-0123456789abcdef", "sluice anc");
    expect_open("mosquitto.db", true, "");
    assert_int_equal(count("", NULL), 3);
}

#define A_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        A_TEST(an_empty_place_gets_an_anchor_and_a_folder),
        A_TEST(the_same_store_is_found_again),
        A_TEST(two_stores_have_two_ids),
        A_TEST(location_and_file_are_joined_as_mosquitto_does),
        A_TEST(without_its_anchor_a_store_is_set_aside),
        A_TEST(a_store_that_is_in_use_is_not_set_aside),
        A_TEST(stores_set_aside_in_the_same_second_get_names_of_their_own),
        A_TEST(a_folder_that_was_only_begun_is_used),
        A_TEST(an_anchor_without_its_folder_begins_empty),
        A_TEST(the_folder_of_another_anchor_is_set_aside),
        A_TEST(a_store_whose_id_is_damaged_is_not_touched),
        A_TEST(a_damaged_anchor_is_refused_whatever_the_damage),
        A_TEST(an_anchor_of_a_later_version_is_refused),
        A_TEST(what_is_not_ours_is_left_alone_and_sluice_db_is_the_anchor),
        A_TEST(going_back_to_mosquitto_leaves_both_alone),
        A_TEST(sluice_db_stands_for_a_file_that_is_gone),
        A_TEST(when_neither_name_is_free_it_is_an_error),
        A_TEST(a_location_that_cannot_be_used_is_an_error),
        A_TEST(without_permission_it_is_an_error),
        A_TEST(a_leftover_of_an_interrupted_start_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
