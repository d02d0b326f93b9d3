/* Runs the simulation over seeds.
 *
 *   sim [--seed N] [--seeds COUNT] [--clients N] [--steps N] [--shards N] [--verbose]
 *       [--crash [--groups]] [--pending] [--noshrink]
 *                         the seeds N, N + 1, ...; 1 and a failure's trace when one fails
 *   sim --self-test            the harness makes each kind of fault, which must be found */
#include <signal.h>
#include <stdio.h>

#include "tests/sim/sim.h"

enum { SELF_TEST_SEEDS = 220, SHRINK_STEPS = 20 };

static struct sim *running; /* for the handler alone */

/* Sanitizers call these when they start: a report is to come with the seed as well. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "abort_on_error=1"; }
const char *__ubsan_default_options(void);
const char *__ubsan_default_options(void) { return "abort_on_error=1"; }

static void on_abort(int sig)
{
    (void)sig;
    signal(SIGABRT, SIG_DFL);
    struct sim *sim = running;
    running = NULL;
    if (sim) {
        snprintf(sim->failure, sizeof sim->failure, "aborted");
        print_failure(sim);
    }
    fflush(stdout);
    abort();
}

/* Whether it failed. */
static bool run_one(const struct options *options, bool print, bool *struck)
{
    struct sim *sim = malloc(sizeof *sim);
    if (sim == NULL) abort();
    running = sim;
    sim_run(sim, options);
    bool failed = sim->failed;
    if (struck) *struck = sim->fault_done || sim->swap.full;
    if (failed && print) print_failure(sim);
    sim_free(sim); /* asserts that nothing leaks */
    running = NULL;
    free(sim);
    return failed;
}

/* The smallest run of this seed that still fails, whatever the failure. */
static void shrink(struct options o)
{
    struct options best = o;
    unsigned most = o.clients ? o.clients : CLIENTS_MAX;
    for (unsigned shards = 1; shards <= 4; shards++) {
        o.shards = shards;
        for (o.clients = 3; o.clients <= most; o.clients++) {
            for (o.steps = SHRINK_STEPS; o.steps <= 320; o.steps *= 2) {
                if (!run_one(&o, false, NULL)) continue;
                best = o;
                goto found;
            }
        }
    }
found:
    for (o = best; best.steps && o.steps > 1; o.steps--) { /* steps more or less by one */
        struct options less = o;
        less.steps--;
        if (run_one(&less, false, NULL)) best = less;
        if (best.steps + 30 < o.steps) break;
    }
    printf("smallest run found:%s --seed %llu --clients %u --steps %u --shards %u\n",
           best.crash ? " --crash" : "", (unsigned long long)best.seed, best.clients, best.steps,
           best.shards);
    run_one(&best, true, NULL);
}

static int self_test(void)
{
    int bad = 0;
    for (enum fault f = FAULT_NONE; f < FAULT_COUNT; f++) {
        unsigned struck = 0, found = 0;
        for (uint64_t seed = 1; seed <= SELF_TEST_SEEDS && struck < (f ? 10 : SELF_TEST_SEEDS / 10);
             seed++) {
            struct options o = {.seed = seed, .fault = f, .crash = f >= FAULT_FIRST_OF_CRASH};
            bool did = false, failed = run_one(&o, false, &did);
            struck += did || f == FAULT_NONE;
            found += failed;
            if (did && !failed) printf("seed %llu: not found\n", (unsigned long long)seed);
        }
        bool ok = f == FAULT_NONE ? found == 0
                                  : struck >= 3 && found <= struck && found * 10 >= struck * 8;
        printf("%s: made %u times, found %u times%s\n", fault_names[f], struck, found,
               ok ? "" : " - NOT OK");
        bad += !ok;
    }
    return bad != 0;
}

int main(int argc, char **argv)
{
    struct options o = {.seed = 1};
    unsigned long seeds = 1;
    bool shrinks = true;
    for (int i = 1; i < argc; i++) {
        unsigned long value = i + 1 < argc ? strtoul(argv[i + 1], NULL, 10) : 0;
        const char *a = argv[i];
        bool takes = true;
        if (strcmp(a, "--seed") == 0)
            o.seed = value;
        else if (strcmp(a, "--seeds") == 0)
            seeds = value;
        else if (strcmp(a, "--clients") == 0)
            o.clients = (unsigned)min_u64(value, CLIENTS_MAX);
        else if (strcmp(a, "--steps") == 0)
            o.steps = (unsigned)value;
        else if (strcmp(a, "--shards") == 0)
            o.shards = (unsigned)value;
        else
            takes = false;
        i += takes;
        if (takes) continue;
        if (strcmp(a, "--self-test") == 0) return self_test();
        o.verbose |= strcmp(a, "--verbose") == 0;
        if (strcmp(a, "--noshrink") == 0) shrinks = false;
        o.crash |= strcmp(a, "--crash") == 0;
        o.groups |= strcmp(a, "--groups") == 0;
        o.pending |= strcmp(a, "--pending") == 0;
    }
    signal(SIGABRT, on_abort);
    for (unsigned long i = 0; i < seeds; i++, o.seed++) {
        if (!run_one(&o, true, NULL)) continue;
        if (shrinks && o.clients == 0 && o.steps == 0) shrink(o);
        return 1;
    }
    printf("%lu seeds passed\n", seeds);
    return 0;
}
