/* What the tests with Eclipse Paho share: a check that says what failed, and the arguments.  Each
 * program runs one scenario against a broker that test_paho.py has started. */
#ifndef TESTS_E2E_PAHO_CHECK_H
#define TESTS_E2E_PAHO_CHECK_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK_INT(found, wanted)     paho_check_int(found, wanted, #found, __FILE__, __LINE__)
#define CHECK_TEXT(found, n, wanted) paho_check_text(found, n, wanted, #found, __FILE__, __LINE__)
#define CHECK(truth)                 paho_check_int(!!(truth), 1, #truth, __FILE__, __LINE__)

enum { PAHO_WAIT_MS = 20000, PAHO_NAME_MAX = 64 };

static inline void paho_check_int(long found, long wanted, const char *what, const char *file,
                                  int line)
{
    if (found == wanted) return;
    fprintf(stderr, "%s:%d: %s is %ld, not %ld\n", file, line, what, found, wanted);
    exit(1);
}

static inline void paho_check_text(const void *found, size_t n, const char *wanted,
                                   const char *what, const char *file, int line)
{
    if (n == strlen(wanted) && memcmp(found, wanted, n) == 0) return;
    fprintf(stderr, "%s:%d: %s is '%.*s', not '%s'\n", file, line, what, (int)n,
            (const char *)found, wanted);
    exit(1);
}

struct paho_scenario {
    const char *name;
    void (*run)(void);
};

static char paho_url[PAHO_NAME_MAX];
static const char *paho_scenario_name;
static int paho_version; /* MQTTVERSION_3_1_1 or MQTTVERSION_5 */

/* A client id or topic of this run alone: several programs use one broker at a time. */
static inline char *paho_name(char out[PAHO_NAME_MAX], const char *text)
{
    snprintf(out, PAHO_NAME_MAX, "%s-%s-%d", text, paho_scenario_name, paho_version);
    return out;
}

/* Whose certificates the broker has, for TLS; NULL: without. */
static inline const char *paho_cafile(void) { return getenv("PAHO_CAFILE"); }

/* PROGRAM PORT VERSION SCENARIO */
static inline int paho_main(int argc, char **argv, const struct paho_scenario *all, size_t count)
{
    if (argc != 4) {
        fprintf(stderr, "usage: %s PORT 4|5 SCENARIO\n", argv[0]);
        return 2;
    }
    static const char *const schemes[2][2] = {{"tcp", "ssl"}, {"ws", "wss"}};
    snprintf(paho_url, sizeof paho_url, "%s://127.0.0.1:%s%s",
             schemes[getenv("PAHO_WEBSOCKETS") != NULL][paho_cafile() != NULL], argv[1],
             getenv("PAHO_WEBSOCKETS") ? "/mqtt" : "");
    paho_version = argv[2][0] - '0';
    paho_scenario_name = argv[3];
    for (size_t i = 0; i < count; i++) {
        if (strcmp(all[i].name, argv[3]) != 0) continue;
        all[i].run();
        printf("%s: good\n", argv[3]);
        return 0;
    }
    fprintf(stderr, "no scenario '%s'\n", argv[3]);
    return 2;
}

#endif
