/* sluicectl queue: work queues listed, shown, made, emptied and ended.  One thread. */
#include "ctl.h"

#include "base/mem.h"
#include <stdio.h>

int ctl_queue_list(const struct ctl *ctl)
{
    static const struct ctl_column columns[] = {
        {"QUEUE", "name", false},           {"DEPTH", "depth", true},
        {"INFLIGHT", "inflight", true},     {"DELAYED", "delayed", true},
        {"OLDEST", "oldest_seconds", true}, {"CONSUMERS", "consumers", true},
        {"TOPICS", "topics", false},
    };
    return ctl_list(ctl, "/api/v1/queues", UINT64_MAX, columns, ARRAY_LEN(columns));
}

int ctl_queue_show(const struct ctl *ctl)
{
    json_t *queue = NULL;
    char *path = ctl_path_with("/api/v1/queues/", ctl->operands[0]);
    int rc =
        path ? ctl_request_json(ctl, path, NULL, &queue) : ctl_fail(CTL_REFUSED, "out of memory");
    mem_free(path);
    return rc ? rc : ctl_print_one(ctl, queue);
}

/* "ack-deadline" is "ack_deadline" there. */
static int set(json_t *body, const struct ctl_setting *s)
{
    char name[64];
    snprintf(name, sizeof name, "%s", s->name);
    for (char *p = name; *p; p++)
        if (*p == '-') *p = '_';
    if (strcmp(name, "topic") == 0)
        return json_array_append_new(json_object_get(body, "topics"), json_string(s->value));
    if (json_object_get(body, name)) return ctl_fail(CTL_USAGE, "--%s is given twice", s->name);
    return json_object_set_new(body, name, json_string(s->value));
}

int ctl_queue_create(const struct ctl *ctl)
{
    json_t *answer = NULL, *body = json_pack("{s:s, s:[]}", "name", ctl->operands[0], "topics");
    for (unsigned i = 0; body && i < ctl->setting_count; i++) {
        int rc = set(body, &ctl->settings[i]);
        if (rc == 0) continue;
        json_decref(body);
        return rc == CTL_USAGE ? rc
                               : ctl_fail(CTL_USAGE, "--%s is no UTF-8", ctl->settings[i].name);
    }
    if (body && json_array_size(json_object_get(body, "topics")) == 0) {
        json_decref(body);
        return ctl_fail(CTL_USAGE, "a queue needs at least one --topic FILTER");
    }
    if (body && ctl->filter) (void)json_object_set_new(body, "filter", json_string(ctl->filter));
    int rc = ctl_act(ctl, "/api/v1/queues", body, &answer);
    if (rc) return rc;
    if (ctl->json) return ctl_print_json(answer);
    printf("Queue ");
    ctl_print_text(ctl->operands[0]);
    puts(" was made.");
    json_decref(answer);
    return CTL_DONE;
}

static int remove_with(const struct ctl *ctl, const char *verb)
{
    json_t *answer = NULL;
    struct buf path = {0};
    int rc = buf_append(&path, bytes_str("/api/v1/queues/"));
    if (rc == 0) rc = ctl_escape(&path, ctl->operands[0]);
    if (rc == 0) rc = buf_append(&path, bytes_of(verb, strlen(verb) + 1));
    rc = rc < 0 ? ctl_fail(CTL_REFUSED, "out of memory")
                : ctl_act(ctl, (const char *)path.data, json_object(), &answer);
    buf_fini(&path);
    if (rc) return rc;
    if (ctl->json) return ctl_print_json(answer);
    printf("Queue ");
    ctl_print_text(ctl->operands[0]);
    if (json_object_get(answer, "deleted"))
        puts(" was deleted.");
    else
        printf(" has lost %lld messages.\n", ctl_number(answer, "purged"));
    json_decref(answer);
    return CTL_DONE;
}

int ctl_queue_purge(const struct ctl *ctl) { return remove_with(ctl, "/purge"); }
int ctl_queue_delete(const struct ctl *ctl) { return remove_with(ctl, "/delete"); }
