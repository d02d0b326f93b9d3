/* sluicectl filter bench: how fast filters are put in and found, beside the goals.  The work is the
 * same each time: filters and messages are made from their numbers.
 *
 * Messages have 20 user properties, as the broker has them: encoded, in one block.  Of 100 filters
 *
 *   40  device = 'd17' AND temp > 31.5
 *   20  customer = 'c4' AND type IN ('order', 'alarm') AND level >= 3
 *   15  site = 's9' AND zone = 'z31' AND humidity >= 20.5 AND humidity < 41
 *   10  firmware LIKE '17.2.%' AND NOT (status = 'ok')
 *   10  batch = 1744 OR trace = 't91'
 *    5  temp >= 12.25 AND temp < 12.26 AND vendor = 'v3'
 *
 * are made, of as many devices, customers, ... as there are filters for (a quarter), so that a
 * message meets about three that want it, however many there are: as when everybody asks for what
 * is theirs. */
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/hash.h"
#include "base/mem.h"
#include "ctl.h"
#include "filters/set.h"
#include "mqtt/packet.h"

enum { PROPERTIES = 20, MESSAGES = 4096, BLOCK_MAX = 1024, LINEAR = 2000, SEED = 11 };

struct bench {
    struct filter_store *store;
    struct filter_set *set;
    struct filter_member *members;
    struct filter_expr **exprs;
    uint8_t (*blocks)[BLOCK_MAX];
    size_t block_len[MESSAGES];
    uint64_t count, found;
};

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* other work on the machine is not ours */
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* What is resident of no file: tables lie at large pages, and the allocator counts what it leaves
 * out for that, which no memory stands behind; and code that runs for the first time is no filter.
 */
static size_t memory(void)
{
    unsigned long size = 0, resident = 0, of_files = 0;
    FILE *in = fopen("/proc/self/statm", "r");
    if (in && fscanf(in, "%lu %lu %lu", &size, &resident, &of_files) != 3) resident = of_files = 0;
    if (in) fclose(in);
    return (resident - of_files) * (size_t)sysconf(_SC_PAGESIZE);
}

/* The nth of a row of numbers below `limit`, always the same. */
static unsigned chance(uint64_t n, unsigned row, uint64_t limit)
{
    return (unsigned)(hash_u64(n * 64 + row, SEED) % limit);
}

static int filter_text(char *d, size_t room, uint64_t i, uint64_t things)
{
    static const char *const types[] = {"order", "alarm", "status", "log"};
    unsigned kind = (unsigned)(i % 100), a = chance(i, 1, things), b = chance(i, 2, 1000);
    if (kind < 40)
        return snprintf(d, room, "device = 'd%u' AND temp > %u.%u", a, b % 100, i % 10 > 4);
    if (kind < 60)
        return snprintf(d, room, "customer = 'c%u' AND type IN ('%s', '%s') AND level >= %u", a,
                        types[b % 4], types[b / 4 % 4], b % 10);
    if (kind < 75)
        return snprintf(d, room,
                        "site = 's%u' AND zone = 'z%u' AND humidity >= %u.5 AND humidity < %u",
                        a / 100, a % 100, b % 50, b % 50 + 20);
    if (kind < 85)
        return snprintf(d, room, "firmware LIKE '%u.%u.%%' AND NOT (status = 'ok')", a, b % 10);
    if (kind < 95) return snprintf(d, room, "batch = %u OR trace = 't%u'", a, chance(i, 3, things));
    return snprintf(d, room, "temp >= %u.%04u AND temp < %u.%04u AND vendor = 'v%u'", b % 100,
                    a % 9990, b % 100, a % 9990 + 5, b % 7);
}

static size_t make_block(uint8_t *block, uint64_t n, uint64_t things)
{
    static const char *const types[] = {"order", "alarm", "status", "log"};
    static const char *const others[] = {"operator", "shift",  "line",    "lat",
                                         "lon",      "region", "priority"};
    uint8_t *d = block;
    char v[32];
    unsigned place = chance(n, 21, things);
#define PUT(name, ...)                                                                             \
    (snprintf(v, sizeof v, __VA_ARGS__), d = mqtt_put_prop_user(d, bytes_str(name), bytes_str(v)))
    PUT("specversion", "1.0");
    PUT("id", "%u-%u", chance(n, 30, 1000000), (unsigned)n);
    PUT("device", "d%u", chance(n, 20, things));
    PUT("temp", "%u.%04u", chance(n, 22, 100), chance(n, 23, 10000));
    PUT("customer", "c%u", chance(n, 24, things));
    PUT("type", "%s", types[chance(n, 25, 4)]);
    PUT("level", "%u", chance(n, 26, 10));
    PUT("site", "s%u", place / 100);
    PUT("zone", "z%u", place % 100);
    PUT("humidity", "%u.%u", chance(n, 27, 70), chance(n, 28, 10));
    PUT("firmware", "%u.%u.7", chance(n, 29, things), chance(n, 31, 10));
    PUT("status", "%s", chance(n, 32, 2) ? "ok" : "bad");
    PUT("batch", "%u", chance(n, 33, things));
    PUT("trace", "t%u", chance(n, 34, things));
    PUT("vendor", "v%u", chance(n, 35, 7));
    for (unsigned i = 0; i < PROPERTIES - 15; i++) PUT(others[i], "x%u", chance(n, 40 + i, 50));
#undef PUT
    return (size_t)(d - block);
}

static bool next_attribute(void *ctx, size_t *cursor, struct bytes *name,
                           struct filter_value *value)
{
    const struct bytes *block = ctx;
    struct mqtt_prop prop;
    if (!mqtt_props_next(*block, cursor, &prop)) return false;
    *name = prop.key;
    *value = (struct filter_value){.type = FILTER_STRING, .string = prop.value};
    return true;
}

static void count_one(void *ctx, struct filter_member *member)
{
    struct bench *b = ctx;
    (void)member;
    b->found++;
}

static void match_one(struct bench *b, unsigned i)
{
    struct bytes block = bytes_of(b->blocks[i], b->block_len[i]);
    struct filter_event e = {.topic = bytes_str("bench/1"),
                             .payload = bytes_str("x"),
                             .attribute = next_attribute,
                             .ctx = &block};
    filter_set_match(b->set, &e, count_one, b);
}

static int fill(struct bench *b)
{
    uint64_t things = b->count / 4 + 1;
    struct filter_error error;
    char text[200];
    for (uint64_t i = 0; i < b->count; i++) {
        int n = filter_text(text, sizeof text, i, things);
        struct bytes t = bytes_of(text, (size_t)n);
        int rc = filter_compile(b->store, t, &FILTER_LIMITS_DEFAULT, &b->exprs[i], &error);
        if (rc == 0) rc = filter_set_add(b->set, b->exprs[i], &b->members[i]);
        if (rc < 0) return rc;
    }
    return 0;
}

static void row(const char *what, double value, const char *unit, double goal, bool at_least)
{
    bool good = at_least ? value >= goal : value <= goal;
    printf("  %-36s %10.2f %-10s", what, value, unit);
    if (goal > 0) printf(" goal %s %.2f: %s", at_least ? ">=" : "<=", goal, good ? "yes" : "NO");
    putchar('\n');
}

static void measure(struct bench *b, double goal_us, bool linear)
{
    size_t before = memory();
    double start = cpu_s();
    if (fill(b) < 0) {
        ctl_fail(CTL_REFUSED, "no memory");
        return;
    }
    double filled = cpu_s() - start;
    const struct filter_set_stats *s = filter_set_stats(b->set);
    double each = (double)(memory() - before) / (double)s->filters;
    unsigned runs = linear ? 200 : MESSAGES;
    for (unsigned i = 0; i < runs; i++) match_one(b, i);
    b->found = 0;
    uint64_t asked = s->asked, turns = 0;
    start = cpu_s();
    for (; cpu_s() - start < 1.0; turns++)
        for (unsigned i = 0; i < runs; i++) match_one(b, i);
    double events = (double)turns * runs, us = (cpu_s() - start) / events * 1e6;
    printf("%ju filters (%ju distinct), %s:\n", (uintmax_t)b->count, (uintmax_t)s->filters,
           linear ? "asked in turn" : "indexed");
    if (linear) {
        row("a filter", us * 1e3 / (double)s->filters, "ns", 40, false);
    } else {
        row("a message", us, "us", goal_us, false);
        row("put in, parsing included", (double)b->count / filled / 1e3, "K/s", 300, true);
        row("memory of a distinct filter", each, "bytes", 200, false);
        row("candidates a message", (double)(s->asked - asked) / events, "", 0, false);
    }
    row("matches a message", (double)b->found / events, "", 0, false);
}

static int bench_init(struct bench *b, uint64_t count, bool use_index)
{
    struct filter_settings settings = FILTER_SETTINGS_DEFAULT;
    settings.seed = SEED;
    *b = (struct bench){.count = count};
    b->blocks = mem_alloc(sizeof(uint8_t[BLOCK_MAX]) * MESSAGES);
    b->members = mem_calloc(count, sizeof *b->members);
    b->exprs = mem_calloc(count, sizeof(struct filter_expr *));
    b->store = filter_store_new(&settings);
    b->set = b->store ? filter_set_new(b->store, use_index) : NULL;
    if (!b->blocks || !b->members || !b->exprs || !b->set) return E_NOMEM;
    memset(b->members, 1, count * sizeof *b->members); /* ours, resident before it is measured */
    memset(b->members, 0, count * sizeof *b->members);
    memset(b->exprs, 1, count * sizeof(struct filter_expr *));
    memset(b->exprs, 0, count * sizeof(struct filter_expr *));
    for (unsigned i = 0; i < MESSAGES; i++)
        b->block_len[i] = make_block(b->blocks[i], i, count / 4 + 1);
    return 0;
}

static void bench_fini(struct bench *b)
{
    for (uint64_t i = 0; b->set && i < b->count; i++) {
        if (b->members[i].entry) filter_set_remove(b->set, &b->members[i]);
        filter_expr_unref(b->store, b->exprs[i]);
    }
    filter_set_free(&b->set);
    filter_store_free(&b->store);
    mem_free(b->blocks);
    mem_free(b->members);
    mem_free(b->exprs);
}

/* In a process of its own: none finds memory that another has left. */
static int bench_one(uint64_t count, double goal_us, bool linear)
{
    struct bench b;
    int state = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child < 0) return ctl_fail(CTL_REFUSED, "no process for it");
    if (child > 0) {
        bool ended = waitpid(child, &state, 0) == child && WIFEXITED(state);
        return ended ? WEXITSTATUS(state) : ctl_fail(CTL_REFUSED, "it was ended");
    }
    int rc = bench_init(&b, count, !linear);
    if (rc == 0) measure(&b, goal_us, linear);
    bench_fini(&b);
    fflush(stdout);
    _exit(rc < 0 ? ctl_fail(CTL_REFUSED, "no memory") : CTL_DONE);
}

int ctl_filter_bench(const char *filters)
{
    static const struct {
        uint64_t count;
        double goal_us;
        bool linear;
    } rows[] = {{LINEAR, 0, true}, {10000, 1.5, false}, {100000, 2.5, false}, {1000000, 5, false}};
    uint64_t only = filters ? strtoull(filters, NULL, 10) : 0;
    int code = CTL_DONE;
    if (filters && (only == 0 || only > 10000000))
        return ctl_fail(CTL_USAGE, "how many filters: 1 to 10000000");
    for (size_t i = 0; i < ARRAY_LEN(rows) && code == CTL_DONE; i++)
        if (only == 0 || only == rows[i].count)
            code = bench_one(rows[i].count, rows[i].goal_us, rows[i].linear);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (only == rows[i].count) return code;
    return only ? bench_one(only, 0, false) : code;
}
