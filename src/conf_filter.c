/* Named attribute filters: directive `filter NAME EXPRESSION`.  Main thread. */
#include "base/mem.h"
#include "conf_int.h"
#include "filters/filter.h"

void conf_filters_fini(struct conf *c)
{
    for (size_t i = 0; i < c->core.named_filter_count; i++) {
        mem_free((void *)(uintptr_t)c->filters[i].name);
        mem_free((void *)(uintptr_t)c->filters[i].text);
    }
    mem_free(c->filters);
}

static bool name_ok(struct bytes name)
{
    static const char also[] = "_-.";
    for (size_t i = 0; i < name.n; i++) {
        uint8_t c = name.p[i], lower = c | 0x20;
        bool plain = (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9');
        if (!plain && !strchr(also, c)) return false;
    }
    return name.n > 0 && name.n <= CONF_MAX_FILTER_NAME;
}

/* Whether it is a filter at all; what it is compiled to, each core makes for itself. */
static int check_text(struct conf_reader *r, struct bytes name, struct bytes text)
{
    struct filter_store *store = filter_store_new(&FILTER_SETTINGS_DEFAULT);
    struct filter_expr *expr = NULL;
    struct filter_error error;
    if (store == NULL) return E_NOMEM;
    int rc = filter_compile(store, text, &FILTER_LIMITS_CONFIGURED, &expr, &error);
    if (rc == 0) filter_expr_unref(store, expr);
    filter_store_free(&store);
    if (rc != E_INVALID) return rc;
    return conf_fail(r, E_INVALID, "filter %.*s: column %u: %s", (int)name.n, (const char *)name.p,
                     error.column, error.detail);
}

static int add(struct conf *c, struct bytes name, struct bytes text)
{
    size_t count = c->core.named_filter_count;
    struct core_filter *grown = mem_realloc(c->filters, (count + 1) * sizeof *grown);
    if (grown == NULL) return E_NOMEM;
    c->filters = grown;
    c->core.named_filters = grown;
    grown[count] = (struct core_filter){mem_strndup(name.p, name.n), mem_strndup(text.p, text.n)};
    c->core.named_filter_count++;
    return grown[count].name && grown[count].text ? 0 : E_NOMEM;
}

int conf_apply_filter(struct conf_reader *r, const struct conf_directive *d, const char *value)
{
    struct conf *c = r->conf;
    struct bytes name = bytes_of(value, strcspn(value, " \t"));
    const char *expr = value + name.n + strspn(value + name.n, " \t");
    if (!name_ok(name) || *expr == 0)
        return conf_fail(r, E_INVALID, "'%s %s': use %s, at most %d", d->name, value, d->values,
                         CONF_MAX_FILTER_NAME);
    for (size_t i = 0; i < c->core.named_filter_count; i++)
        if (bytes_eq(name, bytes_str(c->filters[i].name)))
            return conf_fail(r, E_INVALID, "filter %.*s is there already", (int)name.n, value);
    if (c->core.named_filter_count == CONF_MAX_FILTERS)
        return conf_fail(r, E_INVALID, "more than %d filters", CONF_MAX_FILTERS);
    int rc = check_text(r, name, bytes_str(expr));
    return rc < 0 ? rc : add(c, name, bytes_str(expr));
}
