/* sluicectl top: the broker's figures and how fast its counters grow, again and again.  One thread.
 */
#include "ctl.h"

#include <math.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { EVERY_MS = 2000, ONCE_MS = 1000 };

static const struct {
    const char *member, *title;
    bool counter;
} figures[] = {
    {"clients_connected", "clients connected", false},
    {"sessions", "sessions", false},
    {"connections", "connections", false},
    {"subscriptions", "subscriptions", false},
    {"shared_subscriptions", "shared subscriptions", false},
    {"retained", "retained messages", false},
    {"queued", "messages queued", false},
    {"inflight", "deliveries in flight", false},
    {"publish_received", "messages in", true},
    {"publish_sent", "messages out", true},
    {"publish_dropped", "messages dropped", true},
    {"bytes_received", "bytes in", true},
    {"bytes_sent", "bytes out", true},
    {"memory_bytes", "memory, bytes", false},
};

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void wait_ms(unsigned ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

static double rate(const json_t *before, const json_t *now, size_t i, double elapsed_s)
{
    long long a = json_integer_value(json_object_get(before, figures[i].member)),
              b = json_integer_value(json_object_get(now, figures[i].member));
    return b > a && elapsed_s > 0 ? (double)(b - a) / elapsed_s : 0;
}

static void print_table(const json_t *before, const json_t *now, double elapsed_s)
{
    const char *version = json_string_value(json_object_get(now, "version"));
    printf("sluice %s, up %lld s, %lld shards\n\n%-22s %16s %14s\n", version ? version : "?",
           (long long)json_integer_value(json_object_get(now, "uptime_seconds")),
           (long long)json_integer_value(json_object_get(now, "shards")), "", "NOW", "PER SECOND");
    for (size_t i = 0; i < ARRAY_LEN(figures); i++) {
        printf("%-22s %16lld", figures[i].title,
               (long long)json_integer_value(json_object_get(now, figures[i].member)));
        if (figures[i].counter) printf(" %14.1f", rate(before, now, i, elapsed_s));
        putchar('\n');
    }
    fflush(stdout);
}

/* The status, and `<counter>_per_second` for each. */
static int print_once(const json_t *before, json_t *now, double elapsed_s)
{
    char name[64];
    json_t *all = json_copy(now);
    for (size_t i = 0; all && i < ARRAY_LEN(figures); i++) {
        if (!figures[i].counter) continue;
        snprintf(name, sizeof name, "%s_per_second", figures[i].member);
        json_object_set_new(all, name, json_real(round(rate(before, now, i, elapsed_s) * 10) / 10));
    }
    return ctl_print_json(all);
}

int ctl_top(const struct ctl *ctl)
{
    json_t *before = NULL, *now = NULL;
    bool screen = isatty(STDOUT_FILENO) == 1 && !ctl->once;
    if (ctl->json && !ctl->once)
        return ctl_fail(CTL_USAGE, "'top' with --json needs --once, as it prints one value");
    int rc = ctl_request_json(ctl, "/api/v1/status", NULL, &before);
    double then = seconds_now();
    while (rc == 0) {
        wait_ms(ctl->once ? ONCE_MS : EVERY_MS);
        rc = ctl_request_json(ctl, "/api/v1/status", NULL, &now);
        if (rc) break;
        double elapsed_s = seconds_now() - then;
        then += elapsed_s;
        if (screen) fputs("\033[H\033[2J", stdout);
        if (ctl->json)
            rc = print_once(before, now, elapsed_s);
        else
            print_table(before, now, elapsed_s);
        json_decref(before);
        before = now;
        now = NULL;
        if (ctl->once) break;
        if (!screen) putchar('\n');
    }
    json_decref(before);
    return rc;
}
