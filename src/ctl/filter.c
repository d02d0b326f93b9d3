/* sluicectl filter: evaluates an expression on one event, or says whether it is a good filter
 * (FILTERS section 3).  Needs no broker. */
#include <gsasl.h> /* for its base64 */
#include <jansson.h>
#include <stdio.h>

#include "ctl.h"
#include "filters/eval.h"
#include "filters/explain.h"
#include "filters/value.h"

struct source {
    json_t *root;
    json_t *pairs; /* an object of attributes, or an array of [name, value] */
    void *iterator;
    char *payload; /* that was base64 */
    struct filter_event event;
};

static struct bytes text_of(const json_t *j)
{
    return json_is_string(j) ? bytes_of(json_string_value(j), json_string_length(j))
                             : (struct bytes){0};
}

static bool next_pair(void *ctx, size_t *cursor, struct bytes *name, struct filter_value *value)
{
    struct source *s = ctx;
    const json_t *j;
    if (json_is_array(s->pairs)) {
        const json_t *pair = json_array_get(s->pairs, (*cursor)++);
        if (pair == NULL) return false;
        *name = text_of(json_array_get(pair, 0));
        *value = value_string(text_of(json_array_get(pair, 1)));
        return true;
    }
    s->iterator =
        (*cursor)++ ? json_object_iter_next(s->pairs, s->iterator) : json_object_iter(s->pairs);
    if (s->iterator == NULL) return false;
    j = json_object_iter_value(s->iterator);
    *name = bytes_str(json_object_iter_key(s->iterator));
    *value = json_is_string(j)    ? value_string(text_of(j))
             : json_is_integer(j) ? value_int((int32_t)json_integer_value(j))
                                  : value_bool(json_is_true(j));
    return true;
}

static const char *check_event(const json_t *root)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)root, key, v)
    {
        bool small = json_is_integer(v) && json_integer_value(v) >= INT32_MIN &&
                     json_integer_value(v) <= INT32_MAX;
        if (!json_is_string(v) && !json_is_boolean(v) && !small)
            return "an attribute is a string, a 32-bit integer or a boolean";
    }
    return NULL;
}

static const char *take_base64(struct source *s, struct bytes t)
{
    char *out = NULL;
    size_t n = 0;
    if (gsasl_base64_from((const char *)t.p, t.n, &out, &n) != GSASL_OK)
        return "payload_base64 is no base64";
    s->payload = out;
    s->event.payload = bytes_of(out, n);
    return NULL;
}

static const char *take_message(struct source *s)
{
    struct filter_event *e = &s->event;
    const json_t *r = s->root, *v;
    const struct {
        const char *key;
        struct bytes *to;
    } texts[] = {{"topic", &e->topic},
                 {"client_id", &e->client_id},
                 {"username", &e->username},
                 {"content_type", &e->content_type},
                 {"response_topic", &e->response_topic},
                 {"payload", &e->payload}};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        v = json_object_get(r, texts[i].key);
        if (v && !json_is_string(v)) return "topic, payload and the like are strings";
        *texts[i].to = text_of(v);
    }
    v = json_object_get(r, "qos");
    json_int_t qos = json_integer_value(v), expiry;
    if (v && (!json_is_integer(v) || qos < 0 || qos > 2)) return "qos is 0, 1 or 2";
    e->qos = (uint8_t)qos;
    v = json_object_get(r, "retain");
    if (v && !json_is_boolean(v)) return "retain is a boolean";
    e->retain = json_is_true(v);
    v = json_object_get(r, "expiry");
    expiry = json_integer_value(v);
    e->has_expiry = v != NULL;
    if (v && (!json_is_integer(v) || expiry < 0 || expiry > UINT32_MAX))
        return "expiry is a number of seconds";
    e->expiry = (uint32_t)expiry;
    s->pairs = json_object_get(r, "user_properties");
    if (s->pairs && !json_is_array(s->pairs)) return "user_properties is [[name, value], ...]";
    for (size_t i = 0; i < json_array_size(s->pairs); i++)
        if (text_of(json_array_get(json_array_get(s->pairs, i), 0)).p == NULL ||
            text_of(json_array_get(json_array_get(s->pairs, i), 1)).p == NULL)
            return "user_properties is [[name, value], ...]";
    v = json_object_get(r, "payload_base64");
    if (v && !json_is_string(v)) return "payload_base64 is a string";
    return v ? take_base64(s, text_of(v)) : NULL;
}

static int source_read(struct source *s, const char *file, bool message)
{
    json_error_t why;
    FILE *in = strcmp(file, "-") == 0 ? stdin : fopen(file, "rb");
    if (in == NULL) return ctl_fail(CTL_USAGE, "%s cannot be read", file);
    s->root = json_loadf(in, JSON_REJECT_DUPLICATES, &why);
    if (in != stdin) fclose(in);
    if (s->root == NULL) return ctl_fail(CTL_USAGE, "%s: line %d: %s", file, why.line, why.text);
    const char *bad = "it is no JSON object";
    if (json_is_object(s->root)) {
        s->pairs = s->root;
        bad = message ? take_message(s) : check_event(s->root);
    }
    if (bad) return ctl_fail(CTL_USAGE, "%s: %s", file, bad);
    if (s->pairs) s->event.attribute = next_pair;
    s->event.ctx = s;
    return 0;
}

static json_t *value_json(const struct filter_value *v)
{
    switch (v->type) {
    case FILTER_INT: return json_integer(v->integer);
    case FILTER_DECIMAL: return json_real(v->decimal);
    case FILTER_STRING: return json_stringn((const char *)v->string.p, v->string.n);
    default: return json_boolean(v->boolean);
    }
}

static json_t *fault_json(const struct filter_error *e)
{
    return json_sprintf("column %u: %s", e->column, e->detail);
}

/* The fewest digits from which a Decimal reads back the same. */
static size_t digits_of(const struct filter_value *v)
{
    return v->type == FILTER_DECIMAL ? JSON_REAL_PRECISION(value_decimal_digits(v->decimal)) : 0;
}

static int print_outcome(const struct filter_outcome *o)
{
    json_t *out = json_object();
    const char *failure = filter_failure_name(o->failure);
    bool match = !failure && o->value.type == FILTER_BOOL && o->value.boolean;
    json_object_set_new(out, "result", value_json(&o->value));
    json_object_set_new(out, "error", failure ? json_string(failure) : json_null());
    json_object_set_new(out, "match", json_boolean(match));
    if (o->failure == FILTER_FAIL_PARSE)
        json_object_set_new(out, "detail", fault_json(&o->error));
    else if (failure)
        json_object_set_new(out, "detail", json_string(o->detail));
    if (o->warning_count) {
        json_t *list = json_array();
        for (uint32_t i = 0; i < o->warning_count; i++)
            json_array_append_new(list, fault_json(&o->warnings[i]));
        json_object_set_new(out, "warnings", list);
    }
    int rc = json_dumpf(out, stdout, JSON_COMPACT | digits_of(&o->value));
    json_decref(out);
    putchar('\n');
    return rc || fflush(stdout) ? ctl_fail(CTL_REFUSED, "the result cannot be written") : CTL_DONE;
}

static int eval(struct source *s, const char *text)
{
    struct filter_store *store = filter_store_new(&FILTER_SETTINGS_DEFAULT);
    struct filter_outcome o;
    int code = CTL_REFUSED;
    if (store && filter_eval(store, bytes_str(text), &FILTER_LIMITS_DEFAULT, &s->event, &o) == 0)
        code = print_outcome(&o);
    else
        ctl_fail(code, "no memory");
    filter_store_free(&store);
    return code;
}

static int fault(const char *text, const struct filter_error *error)
{
    fprintf(stderr, "%s\n%*s^\ncolumn %u: %s: %s\n", text, (int)error->column - 1, "",
            error->column, filter_fault_name(error->fault), error->detail);
    return CTL_REFUSED;
}

static int explain(struct filter_store *store, const struct filter_expr *e)
{
    struct buf out = {0};
    int rc = filter_explain(store, e, &out);
    if (rc == 0) fwrite(out.data + out.head, 1, buf_len(&out), stdout);
    buf_fini(&out);
    return rc < 0 || fflush(stdout) ? ctl_fail(CTL_REFUSED, "it cannot be written") : CTL_DONE;
}

/* Whether it is a filter, and if asked what becomes of it. */
static int check(const char *text, bool in_words)
{
    struct filter_store *store = filter_store_new(&FILTER_SETTINGS_DEFAULT);
    struct filter_expr *e = NULL;
    struct filter_error error = {0};
    if (store == NULL) return ctl_fail(CTL_REFUSED, "no memory");
    int rc = filter_compile(store, bytes_str(text), &FILTER_LIMITS_DEFAULT, &e, &error);
    int code = rc == 0           ? (in_words ? explain(store, e) : CTL_DONE)
               : rc == E_INVALID ? fault(text, &error)
                                 : ctl_fail(CTL_REFUSED, "no memory");
    if (rc == 0) filter_expr_unref(store, e);
    filter_store_free(&store);
    return code;
}

int ctl_filter(unsigned count, char **words)
{
    static const char use[] = "use: sluicectl filter eval [--event FILE | --message FILE] -- "
                              "EXPRESSION, filter check EXPRESSION, filter explain EXPRESSION, "
                              "or filter bench [FILTERS]";
    const char *verb = count ? words[0] : "", *file = NULL;
    bool message = false, is_eval = strcmp(verb, "eval") == 0;
    bool explains = strcmp(verb, "explain") == 0;
    unsigned i = 1;
    if (strcmp(verb, "bench") == 0 && count <= 2)
        return ctl_filter_bench(count == 2 ? words[1] : NULL);
    if (is_eval && i + 1 < count && strncmp(words[i], "--", 2) == 0 && words[i][2]) {
        message = strcmp(words[i], "--message") == 0;
        if (!message && strcmp(words[i], "--event") != 0) return ctl_fail(CTL_USAGE, "%s", use);
        file = words[i + 1];
        i += 2;
    }
    if (i < count && strcmp(words[i], "--") == 0) i++;
    if (i + 1 != count || (!is_eval && !explains && strcmp(verb, "check") != 0))
        return ctl_fail(CTL_USAGE, "%s", use);
    if (!is_eval) return check(words[i], explains);
    struct source s = {0};
    int code = file ? source_read(&s, file, message) : 0;
    if (code == 0) code = eval(&s, words[i]);
    gsasl_free(s.payload);
    json_decref(s.root);
    return code;
}
