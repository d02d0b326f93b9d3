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
 * An answer has each object on a line of its own, so that a long list is never whole in memory as
 * anything but text. */

/* Line breaks are between values only, as strings have none. */
static int print_list_json(const struct buf *body)
{
    struct bytes all = buf_view(body);
    for (size_t i = 0; i < all.n; i++)
        if (all.p[i] != '\n') putchar(all.p[i]);
    putchar('\n');
    return fflush(stdout) == 0 ? CTL_DONE : ctl_fail(CTL_REFUSED, "the result cannot be written");
}

static int print_list_table(const struct buf *body, struct ctl_table *t)
{
    struct bytes all = buf_view(body);
    while (all.n) {
        const uint8_t *end = memchr(all.p, '\n', all.n);
        size_t n = end ? (size_t)(end - all.p) : all.n;
        struct bytes line = bytes_of(all.p, n);
        all = bytes_skip(all, end ? n + 1 : n);
        while (line.n && (line.p[0] == '[' || line.p[0] == ']')) line = bytes_skip(line, 1);
        while (line.n && (line.p[line.n - 1] == ',' || line.p[line.n - 1] == ']')) line.n--;
        if (line.n == 0) continue;
        json_t *row = json_loadb((const char *)line.p, line.n, 0, NULL);
        if (row == NULL) return ctl_fail(CTL_REFUSED, "the broker's answer is not understood");
        ctl_table_row(t, row);
    }
    ctl_table_flush(t);
    return CTL_DONE;
}

static bool is_empty(const struct buf *body)
{
    return buf_len(body) >= 2 && memcmp(body->data + body->head, "[]", 2) == 0;
}

static int list(const struct ctl *ctl, const char *path, const struct ctl_column *columns,
                size_t count, bool *empty)
{
    struct buf body;
    int rc = ctl_request(ctl, path, NULL, &body);
    if (rc) return rc;
    *empty = is_empty(&body);
    struct ctl_table *t = mem_calloc(1, sizeof *t);
    if (t == NULL) {
        buf_fini(&body);
        return no_memory();
    }
    t->columns = columns;
    t->column_count = count;
    rc = ctl->json ? print_list_json(&body) : print_list_table(&body, t);
    mem_free(t);
    buf_fini(&body);
    return rc;
}

/* path + escaped text, mem_free() it; NULL: no memory. */
static char *path_with(const char *path, const char *text)
{
    struct buf b = {0};
    int rc = buf_append(&b, bytes_str(path));
    if (rc == 0 && text) rc = ctl_escape(&b, text);
    char *whole = rc == 0 ? mem_strndup(b.data, buf_len(&b)) : NULL;
    buf_fini(&b);
    return whole;
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
    bool empty;
    return list(ctl, "/api/v1/clients", columns, ARRAY_LEN(columns), &empty);
}

/* The client's object, or CTL_REFUSED. */
static int find_client(const struct ctl *ctl, const char *id, json_t **out)
{
    json_t *rows = NULL;
    char *path = path_with("/api/v1/clients?id=", id);
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
    bool empty = false;
    json_t *found = NULL;
    char *path = path_with(ctl->client ? "/api/v1/subscriptions?client=" : "/api/v1/subscriptions",
                           ctl->client);
    int rc = path == NULL ? no_memory() : ctl->client ? find_client(ctl, ctl->client, &found) : 0;
    if (rc == 0) rc = list(ctl, path, columns, ARRAY_LEN(columns), &empty);
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
    bool empty;
    char *path = path_with(ctl->operand_count ? "/api/v1/retained?filter=" : "/api/v1/retained",
                           ctl->operand_count ? ctl->operands[0] : NULL);
    int rc = path ? list(ctl, path, columns, ARRAY_LEN(columns), &empty) : no_memory();
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

static int print_one(const struct ctl *ctl, json_t *object)
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
    return rc ? rc : print_one(ctl, status);
}

int ctl_clients_show(const struct ctl *ctl)
{
    json_t *client = NULL;
    int rc = find_client(ctl, ctl->operands[0], &client);
    return rc ? rc : print_one(ctl, client);
}

/* What is asked for in a body; takes it. */
static int act(const struct ctl *ctl, const char *path, json_t *body, json_t **answer)
{
    int rc = body ? ctl_request_json(ctl, path, body, answer)
                  : ctl_fail(CTL_USAGE, "what is named is no UTF-8");
    json_decref(body);
    return rc;
}

int ctl_clients_kick(const struct ctl *ctl)
{
    json_t *answer = NULL;
    int rc = act(ctl, "/api/v1/clients/kick", json_pack("{s:s}", "id", ctl->operands[0]), &answer);
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
    int rc =
        act(ctl, "/api/v1/retained/delete",
            json_pack("{s:s, s:b}", "filter", ctl->operands[0], "dry_run", ctl->dry_run), &answer);
    if (rc) return rc;
    if (ctl->json) return print_json(answer);
    long long matched = json_integer_value(json_object_get(answer, "matched")),
              deleted = json_integer_value(json_object_get(answer, "deleted"));
    if (ctl->dry_run)
        printf("%lld retained messages match; none was deleted.\n", matched);
    else
        printf("%lld retained messages were deleted.\n", deleted);
    json_decref(answer);
    return CTL_DONE;
}
