/* Looking a directive up, and guessing which one was meant.  Read-only: any thread. */
#include "conf_int.h"

const struct conf_directive *conf_find(const char *name)
{
    size_t count;
    const struct conf_directive *row = conf_schema(&count);
    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(row[i].name);
        bool open = row[i].name[n - 1] == '*';
        if (open ? strncmp(row[i].name, name, n - 1) == 0 : strcmp(row[i].name, name) == 0)
            return &row[i];
    }
    return NULL;
}

enum { NAME_MAX_BYTES = 40 }; /* longer names are nobody's typing mistake */

/* Edits between two names: letters put in, left out, changed, or two swapped. */
static unsigned conf_distance(const char *a, size_t a_n, const char *b, size_t b_n)
{
    uint8_t cost[NAME_MAX_BYTES + 1][NAME_MAX_BYTES + 1];
    for (size_t i = 0; i <= a_n; i++) cost[i][0] = (uint8_t)i;
    for (size_t j = 0; j <= b_n; j++) cost[0][j] = (uint8_t)j;
    for (size_t i = 1; i <= a_n; i++) {
        for (size_t j = 1; j <= b_n; j++) {
            unsigned best = cost[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            best = (unsigned)min_u64(best, cost[i - 1][j] + 1u);
            best = (unsigned)min_u64(best, cost[i][j - 1] + 1u);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = (unsigned)min_u64(best, cost[i - 2][j - 2] + 1u);
            cost[i][j] = (uint8_t)best;
        }
    }
    return cost[a_n][b_n];
}

const char *conf_nearest(const char *name)
{
    size_t count, n = strlen(name);
    const struct conf_directive *row = conf_schema(&count);
    if (n == 0 || n > NAME_MAX_BYTES) return NULL;
    const char *best = NULL;
    size_t best_distance = 1 + n / 4; /* further away it would be another word */
    for (size_t i = 0; i < count; i++) {
        size_t other = strlen(row[i].name);
        if (other > NAME_MAX_BYTES) continue;
        size_t distance = conf_distance(name, n, row[i].name, other);
        if (distance < best_distance || (distance == best_distance && best == NULL)) {
            best = row[i].name;
            best_distance = distance;
        }
    }
    return best;
}
