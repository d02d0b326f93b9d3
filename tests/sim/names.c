/* The topics and filters of the simulation, a matcher of its own (so that a wrong one in the core
 * is seen), and the trace that a failure prints.  No state but struct sim's. */
#include <stdarg.h>
#include <stdio.h>

#include "tests/sim/sim.h"

enum { TRACE_LINES = 60, TRACE_WIDTH = 160 };

static const char *const plain_topics[PLAIN_TOPICS + RETAINED_TOPICS] = {
    "a/0", "a/1", "b/0", "b/1", "a/b/c", "b", "$d/t", "j/0", "j/1", "r/0", "r/1", "r/2", "r/3"};

static const char *const filters[] = {"a/0", "a/1",  "b/0",   "b/1", "a/b/c", "b",   "$d/t", "j/0",
                                      "a/+", "#",    "+/0",   "a/#", "b/#",   "+",   "r/#",  "r/+",
                                      "w/+", "$d/#", "+/+/c", "r/1", "j/#",   "j/+", "+/#",  "w/#"};
const unsigned filter_count = ARRAY_LEN(filters);
_Static_assert(ARRAY_LEN(filters) <= FILTERS_MAX, "a bit each");

const char *topic_name(unsigned topic)
{
    static char wills[WILL_TOPICS][8];
    if (topic < ARRAY_LEN(plain_topics)) return plain_topics[topic];
    unsigned i = topic - PLAIN_TOPICS - RETAINED_TOPICS;
    snprintf(wills[i], sizeof wills[i], "w/%u", i % 100);
    return wills[i];
}

unsigned will_topic(unsigned client) { return PLAIN_TOPICS + RETAINED_TOPICS + client; }

int topic_index(struct bytes name)
{
    for (unsigned i = 0; i < TOPICS; i++)
        if (bytes_eq(name, bytes_str(topic_name(i)))) return (int)i;
    return -1;
}

const char *filter_name(unsigned filter) { return filters[filter]; }

/* Level by level, 4.7. */
static bool matches(const char *f, const char *t)
{
    if (*t == '$' && *f != '$') return false; /* [MQTT-4.7.2-1] */
    for (;;) {
        if (strcmp(f, "#") == 0) return true;
        size_t fn = strcspn(f, "/"), tn = strcspn(t, "/");
        if (!(fn == 1 && *f == '+') && (fn != tn || memcmp(f, t, fn) != 0)) return false;
        f += fn;
        t += tn;
        if (*t == 0) return *f == 0 || strcmp(f, "/#") == 0;
        if (*f == 0) return false;
        f++;
        t++;
    }
}

bool topic_filter_matches(unsigned filter, unsigned topic)
{
    return matches(filters[filter], topic_name(topic));
}

/* ---- the trace ---- */

void trace(struct sim *sim, const char *fmt, ...)
{
    if (sim->trace == NULL) sim->trace = calloc(TRACE_LINES, TRACE_WIDTH);
    if (sim->trace == NULL) abort();
    char *line = sim->trace + sim->trace_count++ % TRACE_LINES * TRACE_WIDTH;
    int n = snprintf(line, TRACE_WIDTH, "%7llu %8llu ms  ", (unsigned long long)sim->event,
                     (unsigned long long)(sim->world ? world_now(sim->world) : 0));
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line + n, TRACE_WIDTH - (size_t)n, fmt, ap);
    va_end(ap);
    if (sim->options.verbose) printf("%s\n", line);
}

void fail(struct sim *sim, const char *fmt, ...)
{
    if (sim->failed) return;
    sim->failed = true;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(sim->failure, sizeof sim->failure, fmt, ap);
    va_end(ap);
    trace(sim, "FAILED: %s", sim->failure);
}

static void print_log_tail(struct sim *sim)
{
    const char *log = sim->world ? world_log(sim->world) : "";
    const char *at = log + strlen(log);
    for (int lines = 0; at > log && lines < 12; at--) lines += at[-1] == '\n' && at[0] != 0;
    printf("the broker's log ends:\n%s\n", at);
}

void print_failure(struct sim *sim)
{
    uint64_t from = sim->trace_count > TRACE_LINES ? sim->trace_count - TRACE_LINES : 0;
    printf("  event     time  (the last %llu of %llu)\n",
           (unsigned long long)(sim->trace_count - from), (unsigned long long)sim->trace_count);
    for (uint64_t i = from; i < sim->trace_count; i++)
        printf("%s\n", sim->trace + i % TRACE_LINES * TRACE_WIDTH);
    print_log_tail(sim);
    printf("seed %llu, %u clients, %u steps, %u shards: %s\n",
           (unsigned long long)sim->options.seed, sim->client_count, sim->steps,
           sim->world ? world_shards(sim->world) : 0, sim->failure);
}
