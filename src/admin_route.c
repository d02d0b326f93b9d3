/* All endpoints of the admin listener in one table: what they are called, who may, what they do.
 * The OpenAPI description is made from it.  Read-only: any thread. */
#include "admin_int.h"

#define QUERY_LIMIT                                                                                \
    {                                                                                              \
        "limit", "query", "integer",                                                               \
            "So many rows at most, 1 to 1000; a Link header tells where the next page is. "        \
            "Without it: "                                                                         \
            "all, in pieces."                                                                      \
    }
#define QUERY_AFTER                                                                                \
    {                                                                                              \
        "after", "query", "string", "From a Link header: where the page begins."                   \
    }

#define PATH_QUEUE                                                                                 \
    {                                                                                              \
        "name", "path", "string", "The queue's name, percent-encoded."                             \
    }
#define BODY_QUEUE                                                                                 \
    {"topics", "body", "array", "Topic filters: what enters it. At least one."},                   \
        {"filter", "body", "string", "As `queue_filter`; the others below as their directives."},  \
        {"ack_deadline", "body", "string", "A duration."},                                         \
        {"max_deliveries", "body", "integer", "A number."},                                        \
        {"backoff", "body", "string", "Two durations."},                                           \
        {"max_messages", "body", "integer", "A number."},                                          \
        {"max_bytes", "body", "string", "A size."},                                                \
        {"overflow", "body", "string", "reject, drop-oldest or dead-letter."},                     \
        {"message_ttl", "body", "string", "A duration."},                                          \
        {"order", "body", "string", "none or key."},                                               \
        {"dedup_window", "body", "string", "A duration."},                                         \
        {"prefetch", "body", "integer", "A number."},                                              \
    {                                                                                              \
        "dispatch", "body", "string", "least-inflight or round-robin."                             \
    }

#define PATH_LETTER                                                                                \
    {                                                                                              \
        "seq", "path", "integer", "Its number, as the list has it."                                \
    }
#define DEAD_ORDER(where)                                                                          \
    {"source", where, "string", "Only of this queue, group or client."},                           \
        {"reason", where, "string", "Only for this reason."},                                      \
    {                                                                                              \
        "filter", where, "string", "An attribute filter, or @name: only letters that match."       \
    }
#define BODY_DEAD                                                                                  \
    {"limit", "body", "integer", "So many at most, the oldest."},                                  \
        {"rate", "body", "integer", "So many a second."},                                          \
    {                                                                                              \
        "dry_run", "body", "boolean", "Only count."                                                \
    }

static const struct admin_route routes[] = {
    {HTTP_GET, "/", NULL, admin_run_index, "What there is, for people.", {{0}}, "text/html"},
    {HTTP_GET,
     "/livez",
     NULL,
     admin_run_livez,
     "Whether the process lives: 200 when it answers.",
     {{0}},
     "text/plain"},
    {HTTP_GET,
     "/readyz",
     NULL,
     admin_run_readyz,
     "Whether every shard serves its clients: 200, or 503.",
     {{0}},
     "text/plain"},
    {HTTP_GET,
     "/metrics",
     "metrics",
     admin_run_metrics,
     "All counters for Prometheus, text format 0.0.4.",
     {{0}},
     "text/plain"},
    {HTTP_GET,
     "/api/v1/status",
     "status",
     admin_run_status,
     "The broker as a whole.",
     {{0}},
     "object"},
    {HTTP_GET,
     "/api/v1/clients",
     "clients",
     admin_run_clients,
     "All sessions, connected or not, in no particular order.",
     {{"id", "query", "string", "Only the session with this client id."}, QUERY_LIMIT, QUERY_AFTER},
     "array"},
    {HTTP_GET,
     "/api/v1/clients/{id}",
     "clients",
     admin_run_client,
     "One session.",
     {{"id", "path", "string", "The client id, percent-encoded."}},
     "object"},
    {HTTP_POST,
     "/api/v1/clients/{id}/kick",
     "clients",
     admin_run_kick,
     "Ends a client's connection (MQTT 5: DISCONNECT 0x98). Its session stays.",
     {{"id", "path", "string", "The client id, percent-encoded."}},
     "object"},
    {HTTP_POST,
     "/api/v1/clients/kick",
     "clients",
     admin_run_kick_named,
     "The same, for client ids that a path cannot carry, such as '..' or 'a//b'.",
     {{"id", "body", "string", "The client id."}},
     "object"},
    {HTTP_GET,
     "/api/v1/subscriptions",
     "subscriptions",
     admin_run_subscriptions,
     "All subscriptions, in no particular order.",
     {{"client", "query", "string", "Only those of the session with this client id."},
      QUERY_LIMIT,
      QUERY_AFTER},
     "array"},
    {HTTP_GET,
     "/api/v1/retained",
     "retained",
     admin_run_retained,
     "Retained messages: topics and sizes.",
     {{"filter", "query", "string", "A topic filter; '#' when left out."},
      QUERY_LIMIT,
      QUERY_AFTER},
     "array"},
    {HTTP_POST,
     "/api/v1/retained/delete",
     "retained",
     admin_run_retained_delete,
     "Deletes retained messages, as publishing an empty one does.",
     {{"filter", "body", "string", "A topic filter."},
      {"dry_run", "body", "boolean", "Only count."}},
     "object"},
    {HTTP_GET,
     "/api/v1/queues",
     "queues",
     admin_run_queues,
     "All work queues, in no particular order.",
     {QUERY_LIMIT, QUERY_AFTER},
     "array"},
    {HTTP_GET,
     "/api/v1/queues/{name}",
     "queues",
     admin_run_queue,
     "One queue, with its settings, counters and consumers.",
     {PATH_QUEUE},
     "object"},
    {HTTP_POST,
     "/api/v1/queues",
     "queues",
     admin_run_queue_create_named,
     "Makes a queue. Answers when it is on disk, and publishes reach it.",
     {{"name", "body", "string", "Its name: one level of a topic."}, BODY_QUEUE},
     "object"},
    {HTTP_POST,
     "/api/v1/queues/{name}/create",
     "queues",
     admin_run_queue_create,
     "The same, with the name in the path.",
     {PATH_QUEUE, BODY_QUEUE},
     "object"},
    {HTTP_POST,
     "/api/v1/queues/{name}/purge",
     "queues",
     admin_run_queue_purge,
     "Removes all its messages but those that consumers have.",
     {PATH_QUEUE},
     "object"},
    {HTTP_POST,
     "/api/v1/queues/{name}/delete",
     "queues",
     admin_run_queue_delete,
     "Ends a queue that is not in the configuration, with all its messages.",
     {PATH_QUEUE},
     "object"},
    {HTTP_GET,
     "/api/v1/dead",
     "dead",
     admin_run_dead,
     "Dead letters, the oldest first.",
     {DEAD_ORDER("query"), QUERY_LIMIT, QUERY_AFTER},
     "array"},
    {HTTP_GET,
     "/api/v1/dead/{seq}",
     "dead",
     admin_run_letter,
     "One of them, with its properties and payload.",
     {PATH_LETTER},
     "object"},
    {HTTP_POST,
     "/api/v1/dead/redrive",
     "dead",
     admin_run_dead_redrive,
     "Sends them again, to their queue or their topic. Without a member: all.",
     {DEAD_ORDER("body"), BODY_DEAD},
     "object"},
    {HTTP_POST,
     "/api/v1/dead/purge",
     "dead",
     admin_run_dead_purge,
     "Throws them away. Without a member: all.",
     {DEAD_ORDER("body"), BODY_DEAD},
     "object"},
    {HTTP_POST,
     "/api/v1/dead/{seq}/redrive",
     "dead",
     admin_run_letter_redrive,
     "Sends this one again.",
     {PATH_LETTER},
     "object"},
    {HTTP_POST,
     "/api/v1/dead/{seq}/purge",
     "dead",
     admin_run_letter_purge,
     "Throws this one away.",
     {PATH_LETTER},
     "object"},
    {HTTP_GET,
     "/api/v1/history",
     "history",
     admin_run_history,
     "The histories that are configured, and what they hold.",
     {{0}},
     "array"},
    {HTTP_GET,
     "/api/v1/history/read",
     "history",
     admin_run_history_read,
     "Messages of histories, in the order in which they were published.",
     {{"filter", "query", "string", "A topic filter; all histories when left out."},
      {"from", "query", "string", "Where it begins, as `$replay/` has it; the earliest."},
      {"to", "query", "string", "Where it ends, included; now."},
      {"where", "query", "string", "An attribute filter, or @name: only messages that match."},
      {"limit", "query", "integer", "So many at most."}},
     "array"},
    {HTTP_GET,
     "/api/v1/config",
     "config",
     admin_run_config,
     "The directives in force and their defaults, and the listeners.",
     {{0}},
     "object"},
    {HTTP_GET,
     "/api/v1/openapi.json",
     "status",
     admin_run_openapi,
     "This list for machines (OpenAPI 3.0).",
     {{0}},
     "object"},
};

const struct admin_route *admin_routes(size_t *count)
{
    *count = ARRAY_LEN(routes);
    return routes;
}

static bool ends_with(struct bytes text, struct bytes end)
{
    return text.n >= end.n && bytes_eq(bytes_skip(text, text.n - end.n), end);
}

/* {id} is at least one byte. */
static bool fits(const char *pattern, struct bytes path, struct bytes *id)
{
    const char *hole = strchr(pattern, '{');
    *id = (struct bytes){0};
    if (hole == NULL) return bytes_eq(path, bytes_str(pattern));
    struct bytes before = bytes_of(pattern, (size_t)(hole - pattern)),
                 behind = bytes_str(strchr(hole, '}') + 1);
    if (path.n <= before.n + behind.n || memcmp(path.p, before.p, before.n) != 0) return false;
    if (!ends_with(path, behind)) return false;
    *id = bytes_of(path.p + before.n, path.n - before.n - behind.n);
    return true;
}

const struct admin_route *admin_route_find(enum http_method method, struct bytes path,
                                           struct bytes *id)
{
    const struct admin_route *best = NULL;
    struct bytes hole;
    if (method == HTTP_HEAD) method = HTTP_GET;
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        const struct admin_route *r = &routes[i];
        if (r->method != method || !fits(r->path, path, &hole)) continue;
        if (best && hole.n) continue; /* a path that is written out goes first */
        best = r;
        *id = hole;
    }
    return best;
}

const char *admin_route_allow(struct bytes path)
{
    struct bytes id;
    bool get = admin_route_find(HTTP_GET, path, &id) != NULL,
         post = admin_route_find(HTTP_POST, path, &id) != NULL;
    return get && post ? "GET, HEAD, POST" : get ? "GET, HEAD" : post ? "POST" : NULL;
}

/* ---- OpenAPI ---- */

static json_t *schema_of(const char *type)
{
    if (strcmp(type, "array") == 0)
        return json_pack("{s:s, s:{s:s}}", "type", type, "items", "type", "object");
    return json_pack("{s:s}", "type", strchr(type, '/') ? "string" : type);
}

static json_t *parameters_of(const struct admin_route *r, json_t *body)
{
    json_t *list = json_array();
    for (size_t i = 0; i < ARRAY_LEN(r->params) && r->params[i].name; i++) {
        const struct admin_param *p = &r->params[i];
        if (strcmp(p->in, "body") == 0) {
            json_t *member = json_pack("{s:s, s:s}", "type", p->type, "description", p->help);
            if (strcmp(p->type, "array") == 0)
                (void)json_object_set_new(member, "items", json_pack("{s:s}", "type", "string"));
            (void)json_object_set_new(body, p->name, member);
            continue;
        }
        (void)json_array_append_new(list,
                                    json_pack("{s:s, s:s, s:b, s:s, s:{s:s}}", "name", p->name,
                                              "in", p->in, "required", strcmp(p->in, "path") == 0,
                                              "description", p->help, "schema", "type", p->type));
    }
    return list;
}

static json_t *operation_of(const struct admin_route *r)
{
    const char *type = strchr(r->answers, '/') ? r->answers : "application/json";
    json_t *body = json_object();
    json_t *op = json_pack(
        "{s:s, s:o, s:{s:{s:s, s:{s:{s:o}}}, s:{s:s}}}", "summary", r->help, "parameters",
        parameters_of(r, body), "responses", "200", "description", "Done.", "content", type,
        "schema", schema_of(r->answers), "default", "description",
        "An object with `error`, a word for programs, and `detail`, a sentence for people.");
    if (op && json_object_size(body))
        (void)json_object_set_new(op, "requestBody",
                                  json_pack("{s:b, s:{s:{s:{s:s, s:O}}}}", "required", 1, "content",
                                            "application/json", "schema", "type", "object",
                                            "properties", body));
    json_decref(body);
    return op;
}

void admin_run_openapi(struct call *c)
{
    json_t *paths = json_object();
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        const struct admin_route *r = &routes[i];
        json_t *path = json_object_get(paths, r->path);
        if (path == NULL) {
            path = json_object();
            (void)json_object_set_new(paths, r->path, path);
        }
        (void)json_object_set_new(path, r->method == HTTP_POST ? "post" : "get", operation_of(r));
    }
    call_reply_json(c, 200,
                    json_pack("{s:s, s:{s:s, s:s}, s:o, s:{s:{s:{s:s, s:s}}}, s:[{s:[]}]}",
                              "openapi", "3.0.3", "info", "title", "sluice", "version",
                              SLUICE_VERSION, "paths", paths, "components", "securitySchemes",
                              "basic", "type", "http", "scheme", "basic", "security", "basic"));
}
