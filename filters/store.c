/* The store, compiling, and asking. */
#include "base/err.h"
#include "base/mem.h"
#include "filters/form.h"

const char *filter_failure_name(enum filter_failure failure)
{
    static const char *const names[] = {NULL,
                                        "parse",
                                        "math",
                                        "cast",
                                        "missingFunction",
                                        "functionEvaluation",
                                        "missingAttribute",
                                        "generic"};
    return names[failure];
}

const char *filter_fault_name(enum filter_fault fault)
{
    static const char *const names[] = {"none",      "parse", "function", "not-boolean",
                                        "ambiguous", "limit", "name"};
    return names[fault];
}

struct filter_store *filter_store_new(const struct filter_settings *settings)
{
    struct filter_store *s = mem_calloc(1, sizeof *s);
    if (s == NULL) return NULL;
    s->settings = *settings;
    s->settings.json_depth = (uint32_t)min_u64(settings->json_depth, FILTER_JSON_DEPTH_MAX);
    s->seed = settings->seed;
    return s;
}

void filter_store_free(struct filter_store **store)
{
    struct filter_store *s = *store;
    *store = NULL;
    if (s == NULL) return;
    ASSERT(s->exprs.count == 0 && s->preds.count == 0);
    ASSERT(s->names.count == 0 && s->attrs.count == 0);
    ASSERT(s->pool.count == 0);
    json_forget(s);
    scratch_free(s);
    ptrmap_fini(&s->exprs);
    ptrmap_fini(&s->preds);
    ptrmap_fini(&s->names);
    ptrmap_fini(&s->attrs);
    mem_free(s->present);
    mem_free(s->forms);
    mem_free(s->draft);
    mem_free(s);
}

const struct filter_stats *filter_store_stats(const struct filter_store *store)
{
    return &store->stats;
}

void scratch_free(struct filter_store *s)
{
    for (struct scratch *at = s->scratch, *next; at; at = next) {
        next = at->next;
        mem_free(at);
    }
    s->scratch = NULL;
    s->scratch_bytes = 0;
}

bool run_work(struct run *r, size_t n)
{
    r->work += n;
    if (r->work <= WORK_MAX) return true;
    run_fail(r, FILTER_FAIL_GENERIC, value_bool(false), "it took too much work");
    return false;
}

uint8_t *run_text(struct run *r, size_t n)
{
    struct filter_store *s = r->store;
    struct scratch *c = NULL;
    if (n <= SCRATCH_MAX - s->scratch_bytes) c = mem_alloc(sizeof *c + n);
    if (c == NULL) {
        s->stats.short_of_memory++;
        run_fail(r, FILTER_FAIL_GENERIC, value_bool(false), "its texts became too long");
        return NULL;
    }
    s->scratch_bytes += n;
    c->next = s->scratch;
    s->scratch = c;
    return c->data;
}

int filter_compile(struct filter_store *store, struct bytes text,
                   const struct filter_limits *limits, struct filter_expr **out,
                   struct filter_error *error)
{
    struct filter_tree *tree = NULL;
    int rc = tree_parse(text, limits, &tree, error);
    if (rc) return rc;
    rc = tree_lint(tree, error, 1) ? E_INVALID : expr_compile(store, tree, out);
    tree_free(tree);
    return rc;
}

enum filter_result filter_matches(struct filter_store *store, const struct filter_expr *expr,
                                  struct filter_event *event)
{
    struct run r = {.store = store, .event = event};
    run_begin(store, event);
    return expr_run(&r, expr);
}

int filter_eval(struct filter_store *store, struct bytes text, const struct filter_limits *limits,
                struct filter_event *event, struct filter_outcome *out)
{
    struct filter_tree *e = NULL;
    *out = (struct filter_outcome){.value = value_bool(false)};
    int rc = tree_parse(text, limits, &e, &out->error);
    if (rc == E_INVALID) out->failure = FILTER_FAIL_PARSE;
    if (rc) return rc == E_INVALID ? 0 : rc;
    out->warning_count = tree_lint(e, out->warnings, FILTER_WARNINGS_MAX);
    struct run r = {.store = store, .event = event, .tree = e, .detail = out->detail};
    out->value = run_tree(&r).value;
    out->failure = r.failure;
    /* A literal's text lies in the tree, which goes now. */
    if (out->value.type == FILTER_STRING && out->value.string.n) {
        uint8_t *copy = run_text(&r, out->value.string.n);
        if (copy)
            out->value.string = bytes_of(memcpy(copy, out->value.string.p, out->value.string.n),
                                         out->value.string.n);
        else
            rc = E_NOMEM;
    }
    tree_free(e);
    return rc;
}
