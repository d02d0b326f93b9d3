/* The log: destinations, formats, escaping, repeated lines, many threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "src/log.h"

enum { TEXT_MAX = 1 << 20 };

static char folder[64], path[128], other[128];
static char text[TEXT_MAX];

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/sluice-log-XXXXXX");
    if (mkdtemp(folder) == NULL) return -1;
    snprintf(path, sizeof path, "%s/log", folder);
    snprintf(other, sizeof other, "%s/other", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    unlink(other);
    rmdir(folder);
    return 0;
}

/* Plain lines without a time, to the file at path. */
static struct conf to_file(void)
{
    return (struct conf){.log_dest = CONF_LOG_FILE,
                         .log_file = path,
                         .log_types = LOG_T_ALL,
                         .log_facility = LOG_DAEMON};
}

static struct log *opened(const struct conf *conf)
{
    struct log *log = NULL;
    assert_int_equal(log_open(&log, conf), 0);
    return log;
}

static const char *content(const char *name)
{
    FILE *file = fopen(name, "r");
    assert_non_null(file);
    size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = 0;
    return text;
}

/* What one line becomes. */
static const char *written(const struct conf *conf, unsigned type, const char *line)
{
    unlink(path);
    struct log *log = opened(conf);
    log_line(log, type, line);
    log_close(&log);
    assert_null(log);
    return content(path);
}

static void a_line_is_written_at_once_and_only_of_types_that_are_wanted(void **state)
{
    (void)state;
    struct conf conf = to_file();
    conf.log_types = LOG_T_ERROR | LOG_T_SUBSCRIBE;
    struct log *log = opened(&conf);
    log_line(log, LOG_T_ERROR, "one");
    assert_string_equal(content(path), "one\n");
    log_line(log, LOG_T_NOTICE, "two");
    log_printf(log, LOG_T_SUBSCRIBE, "%s %d", "three", 3);
    log_printf(log, LOG_T_DEBUG, "four");
    assert_string_equal(content(path), "one\nthree 3\n");
    assert_true(log_wants(log, LOG_T_ERROR));
    assert_false(log_wants(log, LOG_T_INFO));
    log_close(&log);
}

static void the_time_is_seconds_since_1970_or_as_the_format_says(void **state)
{
    (void)state;
    struct conf conf = to_file();
    conf.log_timestamp = true;
    long long before = time(NULL), stamp;
    char rest[64];
    assert_int_equal(sscanf(written(&conf, LOG_T_INFO, "hello you"), "%lld%63[^\n]", &stamp, rest),
                     2);
    assert_in_range(stamp, before, time(NULL));
    assert_string_equal(rest, ": hello you");
    char format[] = "[%%]", nothing[] = "%%%%%%", wide[] = "%Y-%m-%d";
    conf.log_timestamp_format = format;
    assert_string_equal(written(&conf, LOG_T_INFO, "x"), "[%]: x\n");
    conf.log_timestamp_format = nothing;
    assert_string_equal(written(&conf, LOG_T_INFO, "x"), "%%%: x\n");
    conf.log_timestamp_format = wide;
    int year, month, day;
    assert_int_equal(sscanf(written(&conf, LOG_T_INFO, "x"), "%4d-%2d-%2d: x", &year, &month, &day),
                     3);
    char empty[] = "";
    conf.log_timestamp_format = empty;
    assert_string_equal(written(&conf, LOG_T_INFO, "x"), "Time error: x\n");
}

static void json_is_one_object_a_line(void **state)
{
    (void)state;
    struct conf conf = to_file();
    conf.log_json = true;
    const char *line = written(&conf, LOG_T_WARNING, "say \"hi\" \\ \n \x01 \xff \xc3\xa9");
    int y, mo, d, h, mi, s, ms, n = 0;
    assert_int_equal(sscanf(line, "{\"ts\":\"%4d-%2d-%2dT%2d:%2d:%2d.%3dZ\"%n", &y, &mo, &d, &h,
                            &mi, &s, &ms, &n),
                     7);
    assert_string_equal(line + n, ",\"level\":\"warning\",\"msg\":\"say \\\"hi\\\" \\\\ \\u000a "
                                  "\\u0001 \\ufffd \xc3\xa9\"}\n");
}

/* HARDENING class 6: what a client wrote in its id or topic must not forge lines or drive the
 * terminal. */
static void control_characters_never_reach_the_log_as_they_are(void **state)
{
    (void)state;
    struct conf conf = to_file();
    assert_string_equal(written(&conf, LOG_T_INFO, "a\nb\r\x1b[2J\x7f\t\xc2\x9b\xff\xed\xa0\x80z"),
                        "a\\x0ab\\x0d\\x1b[2J\\x7f\\x09\\xc2\\x9b\\xff\\xed\\xa0\\x80z\n");
    assert_string_equal(written(&conf, LOG_T_INFO, "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"),
                        "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\n");
    assert_string_equal(written(&conf, LOG_T_INFO, "cut \xe2\x82"), "cut \\xe2\\x82\n");
}

static void a_line_that_is_too_long_is_cut(void **state)
{
    (void)state;
    struct conf conf = to_file();
    char line[LOG_LINE_MAX + 100];
    memset(line, 1, sizeof line); /* each byte the longest escape */
    line[sizeof line - 1] = 0;
    conf.log_json = true;
    size_t plain = strlen(written(&conf, LOG_T_INFO, ""));
    assert_int_equal(strlen(written(&conf, LOG_T_INFO, line)), plain + 6 * LOG_LINE_MAX);
    conf.log_json = false;
    memset(line, 'x', sizeof line - 1);
    assert_int_equal(strlen(written(&conf, LOG_T_INFO, line)), LOG_LINE_MAX + 1);
    struct log *log = opened(&conf);
    log_printf(log, LOG_T_INFO, "%s", line);
    log_close(&log);
    assert_int_equal(strlen(content(path)), 2 * (LOG_LINE_MAX + 1));
}

static void repeated_lines_are_counted_instead_of_written(void **state)
{
    (void)state;
    struct conf conf = to_file();
    struct log *log = opened(&conf);
    for (int i = 0; i < 1000; i++) log_line(log, LOG_T_NOTICE, "again");
    assert_string_equal(content(path), "again\n");
    log_line(log, LOG_T_NOTICE, "new");
    log_line(log, LOG_T_NOTICE, "again");
    log_line(log, LOG_T_ERROR, "again"); /* of another type: another line */
    log_line(log, LOG_T_ERROR, "again");
    log_close(&log); /* does not keep the last count for itself */
    assert_string_equal(content(path),
                        "again\nThe last line came 999 more times.\nnew\nagain\nagain\n"
                        "The last line came 1 more time.\n");
}

static void reopening_follows_a_file_that_was_moved(void **state)
{
    (void)state;
    struct conf conf = to_file();
    struct log *log = opened(&conf);
    log_line(log, LOG_T_INFO, "before");
    assert_int_equal(rename(path, other), 0);
    log_line(log, LOG_T_INFO, "between");
    assert_int_equal(log_reopen(log), 0);
    log_line(log, LOG_T_INFO, "after");
    assert_string_equal(content(other), "before\nbetween\n");
    assert_string_equal(content(path), "after\n");
    /* When the new file cannot be opened, the old one is kept. */
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(log_reopen(log), E_IO);
    log_line(log, LOG_T_INFO, "still here");
    assert_int_equal(rmdir(path), 0);
    log_close(&log);
}

static void a_reload_changes_everything_or_nothing(void **state)
{
    (void)state;
    struct conf conf = to_file(), next = to_file();
    char nowhere[] = "/nowhere/at/all/log";
    struct log *log = opened(&conf);
    next.log_file = nowhere;
    next.log_types = LOG_T_ERROR;
    errno = 0;
    assert_int_equal(log_reconfigure(log, &next), E_IO);
    assert_int_equal(errno, ENOENT);
    log_line(log, LOG_T_INFO, "as before");
    assert_string_equal(content(path), "as before\n");
    next.log_file = other;
    assert_int_equal(log_reconfigure(log, &next), 0);
    log_line(log, LOG_T_INFO, "not wanted");
    log_line(log, LOG_T_ERROR, "elsewhere");
    assert_string_equal(content(path), "as before\n");
    assert_string_equal(content(other), "elsewhere\n");
    log_close(&log);
}

static void a_file_that_cannot_be_opened_is_told(void **state)
{
    (void)state;
    struct conf conf = to_file();
    char nowhere[] = "/nowhere/at/all/log";
    struct log *log = NULL;
    conf.log_file = nowhere;
    assert_int_equal(log_open(&log, &conf), E_IO);
    assert_int_equal(errno, ENOENT);
    assert_null(log);
}

/* ---- other destinations ---- */

struct heard {
    char lines[16][256];
    unsigned count;
};

static void hear(void *ctx, const char *topic, const char *line)
{
    struct heard *h = ctx;
    assert_true(h->count < 16);
    snprintf(h->lines[h->count++], sizeof h->lines[0], "%s=%s", topic, line);
}

static void the_topic_destination_gets_the_topic_of_each_type(void **state)
{
    (void)state;
    struct conf conf = {.log_dest = CONF_LOG_TOPIC, .log_types = LOG_T_ALL};
    struct heard h = {.count = 0};
    struct log *log = opened(&conf);
    log_line(log, LOG_T_INFO, "nobody listens yet");
    log_set_topic_sink(log, hear, &h);
    for (unsigned type = LOG_T_ERROR; type <= LOG_T_WEBSOCKETS; type <<= 1)
        log_printf(log, type, "line");
    log_set_topic_sink(log, NULL, NULL);
    log_line(log, LOG_T_ERROR, "nobody listens any more");
    log_close(&log);
    static const char *const expected[] = {
        "$SYS/broker/log/E=line",
        "$SYS/broker/log/W=line",
        "$SYS/broker/log/N=line",
        "$SYS/broker/log/I=line",
        "$SYS/broker/log/D=line",
        "$SYS/broker/log/M/subscribe=line",
        "$SYS/broker/log/M/unsubscribe=line",
        "$SYS/broker/log/WS=line", /* internal ones stay inside */
    };
    assert_int_equal(h.count, ARRAY_LEN(expected));
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) assert_string_equal(h.lines[i], expected[i]);
}

/* Runs with a descriptor leading to the file at `other`; returns what was written there. */
static const char *redirected(int fd, const struct conf *conf, unsigned type, const char *line,
                              bool as_journal)
{
    int file = open(other, O_RDWR | O_CREAT | O_TRUNC, 0600), saved = dup(fd);
    struct stat st;
    char stream[64];
    assert_true(file >= 0 && saved >= 0);
    assert_int_equal(fstat(file, &st), 0);
    snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino + !as_journal);
    setenv("JOURNAL_STREAM", stream, 1);
    fflush(NULL);
    assert_true(dup2(file, fd) >= 0);
    struct log *log = NULL;
    int rc = log_open(&log, conf);
    if (rc == 0) log_line(log, type, line);
    log_close(&log);
    dup2(saved, fd);
    close(saved);
    close(file);
    unsetenv("JOURNAL_STREAM");
    assert_int_equal(rc, 0);
    return content(other);
}

static void stdout_and_stderr_get_whole_lines(void **state)
{
    (void)state;
    struct conf conf = {.log_dest = CONF_LOG_STDOUT, .log_types = LOG_T_ALL};
    assert_string_equal(redirected(STDOUT_FILENO, &conf, LOG_T_INFO, "out", false), "out\n");
    assert_string_equal(redirected(STDERR_FILENO, &conf, LOG_T_INFO, "-", false), "");
    conf.log_dest = CONF_LOG_STDERR;
    assert_string_equal(redirected(STDERR_FILENO, &conf, LOG_T_INFO, "err", false), "err\n");
    conf.log_dest = CONF_LOG_NONE;
    assert_string_equal(redirected(STDERR_FILENO, &conf, LOG_T_ERROR, "none", false), "");
}

static void the_journal_gets_priorities(void **state)
{
    (void)state;
    struct conf conf = {.log_dest = CONF_LOG_STDERR, .log_types = LOG_T_ALL};
    static const struct {
        unsigned type;
        const char *line;
    } cases[] = {{LOG_T_ERROR, "<3>x\n"},     {LOG_T_WARNING, "<4>x\n"}, {LOG_T_NOTICE, "<5>x\n"},
                 {LOG_T_INFO, "<6>x\n"},      {LOG_T_DEBUG, "<7>x\n"},   {LOG_T_INTERNAL, "<7>x\n"},
                 {LOG_T_SUBSCRIBE, "<5>x\n"}, {LOG_T_ALL, "<3>x\n"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_string_equal(redirected(STDERR_FILENO, &conf, cases[i].type, "x", true),
                            cases[i].line);
    conf.log_json = true;
    assert_memory_equal(redirected(STDERR_FILENO, &conf, LOG_T_INFO, "x", true), "<6>{\"ts\":", 9);
}

/* ---- threads ---- */

enum { THREADS = 4, LINES = 500 };

static void *write_lines(void *ctx)
{
    struct log *log = ctx;
    for (int i = 0; i < LINES; i++) {
        log_printf(log, LOG_T_INFO, "line %d of %lx end", i, (unsigned long)pthread_self());
        if (i % 100 == 0) assert_int_equal(log_reopen(log), 0);
    }
    return NULL;
}

static void lines_of_many_threads_stay_whole(void **state)
{
    (void)state;
    struct conf conf = to_file();
    struct log *log = opened(&conf);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, log), 0);
    for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
    log_close(&log);
    unsigned count = 0;
    content(path);
    for (char *save, *line = strtok_r(text, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        int number, end = 0;
        unsigned long thread;
        assert_int_equal(sscanf(line, "line %d of %lx end%n", &number, &thread, &end), 2);
        assert_int_equal(line[end], 0);
        count++;
    }
    assert_int_equal(count, THREADS * LINES);
}

static void without_memory_the_log_is_as_it_was(void **state)
{
    (void)state;
    struct conf conf = to_file();
    char format[] = "%H";
    conf.log_timestamp_format = format;
    for (long n = 0;; n++) {
        struct log *log = NULL;
        mem_fail_after(n);
        int rc = log_open(&log, &conf);
        if (!mem_fail_after(-1)) {
            assert_int_equal(rc, 0);
            assert_int_equal(n, 3);
            mem_fail_after(0);
            assert_int_equal(log_reconfigure(log, &conf), E_NOMEM);
            assert_true(mem_fail_after(-1));
            log_line(log, LOG_T_INFO, "still");
            assert_string_equal(content(path), "still\n");
            log_close(&log);
            return;
        }
        assert_int_equal(rc, E_NOMEM);
        assert_null(log);
    }
}

#define A_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        A_TEST(a_line_is_written_at_once_and_only_of_types_that_are_wanted),
        A_TEST(the_time_is_seconds_since_1970_or_as_the_format_says),
        A_TEST(json_is_one_object_a_line),
        A_TEST(control_characters_never_reach_the_log_as_they_are),
        A_TEST(a_line_that_is_too_long_is_cut),
        A_TEST(repeated_lines_are_counted_instead_of_written),
        A_TEST(reopening_follows_a_file_that_was_moved),
        A_TEST(a_reload_changes_everything_or_nothing),
        A_TEST(a_file_that_cannot_be_opened_is_told),
        A_TEST(the_topic_destination_gets_the_topic_of_each_type),
        A_TEST(stdout_and_stderr_get_whole_lines),
        A_TEST(the_journal_gets_priorities),
        A_TEST(lines_of_many_threads_stay_whole),
        A_TEST(without_memory_the_log_is_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
