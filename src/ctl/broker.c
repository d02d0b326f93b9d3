/* sluicectl: the verbs that ask a running broker.  Each is a request to its admin listener
 * (docs/reference/http-api.md), and a table or the JSON of the answer.  One thread. */
#include "ctl.h"

#include "base/mem.h"
#include <stdio.h>

static int no_memory(void) { return ctl_fail(CTL_REFUSED, "out of memory"); }

/* One line of compact JSON; takes json. */
static int print_json(json_t *json)
{
    bool ok =
        json_dumpf(json, stdout, JSON_COMPACT) == 0 && putchar('\n') != EOF && fflush(stdout) == 0;
    json_decref(json);
    return ok ? CTL_DONE : ctl_fail(CTL_REFUSED, "the result cannot be written");
}

int ctl_print_json(json_t *json) { return json ? print_json(json) : no_memory(); }

/* ---- lists ----
 * An answer has each object on a line of its own: it is printed as it comes, however long it is. */

struct printing {
    struct ctl_table *table; /* NULL: JSON */
    uint64_t left;           /* rows that are still wanted */
    bool begun, strange;     /* begun: of JSON */
};

/* "[{...}," and the like, without what is not the object. */
static struct bytes object_of(struct bytes line)
{
    if (line.n && line.p[0] == '[') line = bytes_skip(line, 1);
    if (line.n && line.p[line.n - 1] == ']') line.n--;
    if (line.n && line.p[line.n - 1] == ',') line.n--;
    return line;
}

/* Arrays of texts become one text, as a cell has. */
static void flatten(json_t *row)
{
    const char *name;
    json_t *value, *one;
    void *next;
    size_t i;
    json_object_foreach_safe(row, next, name, value)
    {
        struct buf text = {0};
        if (!json_is_array(value)) continue;
        json_array_foreach(value, i, one)
        {
            if (!json_is_string(one)) continue;
            if (buf_len(&text)) (void)!buf_append(&text, bytes_str(" "));
            (void)!buf_append(&text, bytes_str(json_string_value(one)));
        }
        (void)json_object_set_new(row, name, json_stringn((const char *)text.data, buf_len(&text)));
        buf_fini(&text);
    }
}

static void print_line(void *ctx, struct bytes line)
{
    struct printing *p = ctx;
    struct bytes object = object_of(line);
    if (object.n == 0 || p->left == 0 || p->strange) return;
    if (object.p[0] != '{') { /* what answers is no broker */
        p->strange = true;
        return;
    }
    p->left--;
    if (p->table == NULL) {
        putchar(p->begun ? ',' : '[');
        fwrite(object.p, 1, object.n, stdout);
        p->begun = true;
        return;
    }
    json_t *row = json_loadb((const char *)object.p, object.n, 0, NULL);
    flatten(row);
    if (row)
        ctl_table_row(p->table, row);
    else
        p->strange = true;
}

int ctl_list(const struct ctl *ctl, const char *path, uint64_t most,
             const struct ctl_column *columns, size_t count)
{
    struct ctl_table *t = mem_calloc(1, sizeof *t);
    if (t == NULL) return no_memory();
    struct printing p = {.table = ctl->json ? NULL : t, .left = most};
    t->columns = columns;
    t->column_count = count;
    int rc = ctl_request_lines(ctl, path, print_line, &p);
    if (rc == 0 && p.strange) rc = ctl_fail(CTL_REFUSED, "the broker's answer is not understood");
    if (rc == 0 && p.table) ctl_table_flush(t);
    if (rc == 0 && p.table == NULL) fputs(p.begun ? "]\n" : "[]\n", stdout);
    if (fflush(stdout) != 0 && rc == 0) rc = ctl_fail(CTL_REFUSED, "the result cannot be written");
    for (size_t i = 0; i < t->row_count; i++) json_decref(t->rows[i]);
    mem_free(t);
    return rc;
}

static int list(const struct ctl *ctl, const char *path, const struct ctl_column *columns,
                size_t count)
{
    return ctl_list(ctl, path, UINT64_MAX, columns, count);
}

char *ctl_path_with(const char *path, const char *text)
{
    struct buf b = {0};
    int rc = buf_append(&b, bytes_str(path));
    if (rc == 0 && text) rc = ctl_escape(&b, text);
    char *whole = rc == 0 ? mem_strndup(b.data, buf_len(&b)) : NULL;
    buf_fini(&b);
    return whole;
}

int ctl_query_add(struct buf *path, const char *name, const char *text)
{
    if (text == NULL) return 0;
    bool first = memchr(path->data, '?', buf_len(path)) == NULL;
    int rc = buf_append(path, bytes_str(first ? "?" : "&"));
    if (rc == 0) rc = buf_append(path, bytes_str(name));
    if (rc == 0) rc = buf_append(path, bytes_str("="));
    return rc < 0 ? rc : ctl_escape(path, text);
}

int ctl_clients_list(const struct ctl *ctl)
{
    static const struct ctl_column columns[] = {
        {"CLIENT", "id", false},           {"USER", "user", false},
        {"CONNECTED", "connected", false}, {"ADDRESS", "address", false},
        {"PROTOCOL", "protocol", false},   {"SUBSCRIPTIONS", "subscriptions", true},
        {"INFLIGHT", "inflight", true},    {"QUEUED", "queued", true},
        {"SINCE", "since", false},
    };
    return list(ctl, "/api/v1/clients", columns, ARRAY_LEN(columns));
}

/* The client's object, or CTL_REFUSED. */
static int find_client(const struct ctl *ctl, const char *id, json_t **out)
{
    json_t *rows = NULL;
    char *path = ctl_path_with("/api/v1/clients?id=", id);
    int rc = path ? ctl_request_json(ctl, path, NULL, &rows) : no_memory();
    mem_free(path);
    if (rc) return rc;
    *out = json_incref(json_array_get(rows, 0));
    json_decref(rows);
    return *out ? 0 : ctl_fail(CTL_REFUSED, "there is no client '%s'", id);
}

int ctl_subscriptions(const struct ctl *ctl)
{
    static const struct ctl_column columns[] = {
        {"CLIENT", "client", false}, {"QOS", "qos", true},        {"SUBID", "id", true},
        {"TOPIC", "topic", false},   {"FILTER", "filter", false},
    };
    json_t *found = NULL;
    char *path = ctl_path_with(
        ctl->client ? "/api/v1/subscriptions?client=" : "/api/v1/subscriptions", ctl->client);
    int rc = path == NULL ? no_memory() : ctl->client ? find_client(ctl, ctl->client, &found) : 0;
    if (rc == 0) rc = list(ctl, path, columns, ARRAY_LEN(columns));
    json_decref(found);
    mem_free(path);
    return rc;
}

int ctl_retained_list(const struct ctl *ctl)
{
    static const struct ctl_column columns[] = {
        {"TIME", "time", false},
        {"EXPIRES", "expires", false},
        {"BYTES", "bytes", true},
        {"TOPIC", "topic", false},
    };
    char *path = ctl_path_with(ctl->operand_count ? "/api/v1/retained?filter=" : "/api/v1/retained",
                               ctl->operand_count ? ctl->operands[0] : NULL);
    int rc = path ? list(ctl, path, columns, ARRAY_LEN(columns)) : no_memory();
    mem_free(path);
    return rc;
}

/* ---- one thing ---- */

/* A member a line. */
static void print_object(const json_t *object)
{
    const char *name;
    const json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        struct buf text = {0};
        printf("%-24s ", name);
        if (json_is_string(value))
            ctl_print_text(json_string_value(value));
        else if (ctl_json_append(&text, value) == 0)
            ctl_print_text((const char *)text.data);
        buf_fini(&text);
        putchar('\n');
    }
}

int ctl_print_one(const struct ctl *ctl, json_t *object)
{
    if (ctl->json) return print_json(object);
    print_object(object);
    json_decref(object);
    return CTL_DONE;
}

int ctl_status(const struct ctl *ctl)
{
    json_t *status = NULL;
    int rc = ctl_request_json(ctl, "/api/v1/status", NULL, &status);
    return rc ? rc : ctl_print_one(ctl, status);
}

int ctl_clients_show(const struct ctl *ctl)
{
    json_t *client = NULL;
    int rc = find_client(ctl, ctl->operands[0], &client);
    return rc ? rc : ctl_print_one(ctl, client);
}

long long ctl_number(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

int ctl_act(const struct ctl *ctl, const char *path, json_t *body, json_t **answer)
{
    int rc = body ? ctl_request_json(ctl, path, body, answer)
                  : ctl_fail(CTL_USAGE, "what is named is no UTF-8");
    json_decref(body);
    return rc;
}

int ctl_clients_kick(const struct ctl *ctl)
{
    json_t *answer = NULL;
    int rc =
        ctl_act(ctl, "/api/v1/clients/kick", json_pack("{s:s}", "id", ctl->operands[0]), &answer);
    if (rc) return rc;
    if (ctl->json) return print_json(answer);
    printf("Client ");
    ctl_print_text(ctl->operands[0]);
    puts(" has been disconnected.");
    json_decref(answer);
    return CTL_DONE;
}

int ctl_retained_delete(const struct ctl *ctl)
{
    json_t *answer = NULL;
    int rc = ctl_act(ctl, "/api/v1/retained/delete",
                     json_pack("{s:s, s:b}", "filter", ctl->operands[0], "dry_run", ctl->dry_run),
                     &answer);
    if (rc) return rc;
    if (ctl->json) return print_json(answer);
    if (ctl->dry_run)
        printf("%lld retained messages match; none was deleted.\n", ctl_number(answer, "matched"));
    else
        printf("%lld retained messages were deleted.\n", ctl_number(answer, "deleted"));
    json_decref(answer);
    return CTL_DONE;
}
