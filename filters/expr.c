/* Compiled filters: each there once, however many use it; and asked.  See form.h. */
#include "filters/form.h"

static uint64_t expr_hash(const void *elem, uint64_t seed)
{
    const struct filter_expr *e = elem;
    size_t from = offsetof(struct filter_expr, count);
    return hash_bytes(bytes_of((const uint8_t *)e + from, expr_size(e) - from), seed);
}

static bool expr_same(const struct filter_expr *a, const struct filter_expr *b)
{
    size_t from = offsetof(struct filter_expr, count);
    return a->count == b->count && a->key_steps == b->key_steps && a->all == b->all &&
           memcmp((const uint8_t *)a + from, (const uint8_t *)b + from, expr_size(a) - from) == 0;
}

static void steps_drop(struct filter_store *s, const struct filter_expr *e)
{
    for (uint32_t i = 0; i < e->count; i++) pred_unref(s, step_pred(e->steps[i]));
}

struct filter_expr *expr_keep(struct filter_store *s, const struct filter_expr *draft)
{
    if (s->exprs.hash_of == NULL) ptrmap_init(&s->exprs, expr_hash, s->seed);
    uint64_t hash = expr_hash(draft, s->seed);
    struct filter_expr *e;
    for (size_t pos = hash; (e = ptrmap_next(&s->exprs, hash, &pos)) != NULL;)
        if (expr_same(e, draft)) {
            steps_drop(s, draft);
            return filter_expr_ref(e);
        }
    e = pool_alloc(&s->pool, expr_size(draft));
    if (e) memcpy(e, draft, expr_size(draft));
    if (e == NULL || ptrmap_put(&s->exprs, e, hash) < 0) {
        steps_drop(s, draft);
        pool_free(&s->pool, e, expr_size(draft));
        return NULL;
    }
    s->stats.expr_count++;
    s->stats.bytes += expr_size(e);
    return e;
}

struct filter_expr *filter_expr_ref(struct filter_expr *expr)
{
    expr->refs++;
    return expr;
}

void filter_expr_unref(struct filter_store *s, struct filter_expr *e)
{
    if (e == NULL || --e->refs) return;
    ptrmap_del(&s->exprs, e, expr_hash(e, s->seed));
    s->stats.expr_count--;
    s->stats.bytes -= expr_size(e);
    steps_drop(s, e);
    pool_free(&s->pool, e, expr_size(e));
}

enum filter_result expr_run(struct run *r, const struct filter_expr *e)
{
    if (!e->all) {
        const uint16_t *jumps = expr_jumps(e);
        uint16_t next = e->start;
        while (next < GOTO_ERROR) {
            enum filter_result result = pred_ask(r, step_pred(e->steps[next]));
            if (result == FILTER_ERROR) return result;
            next = jumps[2 * next + (result == FILTER_MISS)];
        }
        return next == GOTO_MATCH ? FILTER_MATCH : next == GOTO_MISS ? FILTER_MISS : FILTER_ERROR;
    }
    for (uint32_t i = 0; i < e->count; i++) {
        enum filter_result result = pred_ask(r, step_pred(e->steps[i]));
        if (result == FILTER_ERROR) return result;
        if ((result == FILTER_MATCH) == step_negated(e->steps[i])) return FILTER_MISS;
    }
    return FILTER_MATCH;
}
