/* Evaluating an expression for its value, as `sluicectl filter eval` does: any expression, also one
 * that is no filter because it is ambiguous or not Boolean.  The same code runs inside filters.
 * One thread. */
#ifndef FILTERS_EVAL_H
#define FILTERS_EVAL_H

#include "filters/filter.h"

/* The first error in the order of evaluation. */
enum filter_failure {
    FILTER_FAIL_NONE,
    FILTER_FAIL_PARSE, /* the expression is not evaluated; its value is false */
    FILTER_FAIL_MATH,
    FILTER_FAIL_CAST,
    FILTER_FAIL_MISSING_FUNCTION,
    FILTER_FAIL_FUNCTION_EVALUATION,
    FILTER_FAIL_MISSING_ATTRIBUTE,
    FILTER_FAIL_GENERIC, /* no memory, or a text that became too long */
};

/* "parse", "math", "cast", "missingFunction", ...; NULL for FILTER_FAIL_NONE. */
const char *filter_failure_name(enum filter_failure failure);

enum { FILTER_WARNINGS_MAX = 8 };

struct filter_outcome {
    struct filter_value value; /* a string is borrowed: until the store is used again */
    enum filter_failure failure;
    struct filter_error error;        /* FILTER_FAIL_PARSE: where and why */
    char detail[FILTER_DETAIL_BYTES]; /* of any other failure */
    uint32_t warning_count;
    struct filter_error warnings[FILTER_WARNINGS_MAX]; /* why it would be refused as a filter */
};

/* E_NOMEM; a faulty text is an outcome. */
MUST_USE int filter_eval(struct filter_store *store, struct bytes text,
                         const struct filter_limits *limits, struct filter_event *event,
                         struct filter_outcome *out);

#endif
