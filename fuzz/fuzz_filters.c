/* Expressions and payloads: the first line is an expression, what follows is a payload, which also
 * gives the user properties, line by line.  Whatever it is, evaluating it ends, and a filter
 * matches exactly where the evaluation has the value true and no error: by itself, and among
 * others in a set with an index. */
#include "base/err.h"
#include "filters/eval.h"
#include "filters/explain.h"
#include "filters/set.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct lines {
    struct bytes all;
};

static bool next_line(void *ctx, size_t *cursor, struct bytes *name, struct filter_value *value)
{
    const struct lines *l = ctx;
    if (*cursor >= l->all.n) return false;
    struct bytes rest = bytes_skip(l->all, *cursor);
    const uint8_t *end = memchr(rest.p, '\n', rest.n);
    size_t n = end ? (size_t)(end - rest.p) : rest.n;
    *cursor += n + 1;
    *name = bytes_of(rest.p, min_u64(n, 1));
    *value = (struct filter_value){.type = FILTER_STRING, .string = bytes_of(rest.p, n)};
    return true;
}

enum { OTHERS = SET_LINEAR_MAX + 1 };

static void count(void *ctx, struct filter_member *member)
{
    if (member == ctx) member->entry = NULL; /* it is told by that; put back below */
}

/* Whether a set with an index, of it and others, finds it. */
static bool found_among(struct filter_store *s, struct filter_expr *e, struct filter_event *event)
{
    struct filter_member member, others[OTHERS];
    struct filter_set *set = filter_set_new(s, true);
    ASSERT(set != NULL);
    for (int i = 0; i < OTHERS; i++) {
        char text[] = "a = 'a!' AND b > 1";
        struct filter_expr *other = NULL;
        struct filter_error error;
        text[6] = (char)('0' + i);
        ASSERT(filter_compile(s, bytes_str(text), &FILTER_LIMITS_DEFAULT, &other, &error) == 0);
        ASSERT(filter_set_add(set, other, &others[i]) == 0);
        filter_expr_unref(s, other);
    }
    ASSERT(filter_set_add(set, e, &member) == 0 && filter_set_stats(set)->indexed);
    struct set_entry *entry = member.entry;
    filter_set_match(set, event, count, &member);
    bool found = member.entry == NULL;
    member.entry = entry;
    filter_set_check(set);
    filter_set_remove(set, &member);
    for (int i = 0; i < OTHERS; i++) filter_set_remove(set, &others[i]);
    filter_set_free(&set);
    return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes in = bytes_of(data, size);
    const uint8_t *end = size ? memchr(data, '\n', size) : NULL;
    struct bytes text = bytes_of(data, end ? (size_t)(end - data) : size);
    struct lines lines = {bytes_skip(in, min_u64(text.n + 1, size))};
    struct filter_store *s = filter_store_new(&FILTER_SETTINGS_DEFAULT);
    ASSERT(s != NULL);
    struct filter_event event = {.topic = bytes_str("a/b/c"),
                                 .payload = lines.all,
                                 .content_type = bytes_str("application/cloudevents+json"),
                                 .attribute = next_line,
                                 .ctx = &lines};
    struct filter_outcome o;
    struct filter_expr *e = NULL;
    struct filter_error error;
    ASSERT(filter_eval(s, text, &FILTER_LIMITS_DEFAULT, &event, &o) == 0);
    bool is_true = o.failure == FILTER_FAIL_NONE && o.value.type == FILTER_BOOL && o.value.boolean;
    int rc = filter_compile(s, text, &FILTER_LIMITS_DEFAULT, &e, &error);
    if (rc == 0) {
        ASSERT(o.failure != FILTER_FAIL_PARSE && o.warning_count == 0);
        ASSERT((filter_matches(s, e, &event) == FILTER_MATCH) == is_true);
        ASSERT(found_among(s, e, &event) == is_true);
        struct buf words = {0};
        ASSERT(filter_explain(s, e, &words) == 0 && buf_len(&words) > 0);
        buf_fini(&words);
        filter_expr_unref(s, e);
    } else {
        ASSERT(rc == E_INVALID && error.column > 0 && error.detail[0]);
    }
    filter_store_free(&s);
    return 0;
}
