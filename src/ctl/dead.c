/* sluicectl dead: dead letters listed, shown, sent again and thrown away.  One thread. */
#include "ctl.h"

#include "base/mem.h"
#include <stdio.h>
#include <stdlib.h>

/* A whole number from 1 on; 0: text is NULL.  Else an exit code. */
static int count_of(const char *option, const char *text, uint64_t *out)
{
    *out = 0;
    if (text == NULL) return 0;
    size_t n = strspn(text, "0123456789");
    if (n > 0 && n < 19 && text[n] == 0) *out = strtoull(text, NULL, 10);
    return *out ? 0 : ctl_fail(CTL_USAGE, "%s is to be a number, at least 1", option);
}

int ctl_dead_list(const struct ctl *ctl)
{
    static const struct ctl_column columns[] = {
        {"SEQ", "seq", true},        {"TIME", "time", false},        {"REASON", "reason", false},
        {"SOURCE", "source", false}, {"ATTEMPTS", "attempts", true}, {"CLIENT", "client", false},
        {"CODE", "code", true},      {"SIZE", "size", true},         {"REDRIVEN", "redriven", true},
        {"TOPIC", "topic", false},   {"TEXT", "text", false},
    };
    enum { PAGE_MAX = 1000 }; /* of the HTTP API; more are taken from the whole list */
    uint64_t limit;
    struct buf path = {0};
    int rc = count_of("--limit", ctl->limit, &limit);
    if (rc) return rc;
    rc = buf_append(&path, bytes_str("/api/v1/dead"));
    if (rc == 0) rc = ctl_query_add(&path, "source", ctl->source);
    if (rc == 0) rc = ctl_query_add(&path, "reason", ctl->reason);
    if (rc == 0) rc = ctl_query_add(&path, "filter", ctl->filter);
    if (rc == 0 && limit <= PAGE_MAX) rc = ctl_query_add(&path, "limit", ctl->limit);
    if (rc == 0) rc = buf_append(&path, bytes_of("", 1));
    rc = rc < 0 ? ctl_fail(CTL_REFUSED, "out of memory")
                : ctl_list(ctl, (const char *)path.data, limit ? limit : UINT64_MAX, columns,
                           ARRAY_LEN(columns));
    buf_fini(&path);
    return rc;
}

int ctl_dead_show(const struct ctl *ctl)
{
    json_t *letter = NULL;
    char *path = ctl_path_with("/api/v1/dead/", ctl->operands[0]);
    int rc =
        path ? ctl_request_json(ctl, path, NULL, &letter) : ctl_fail(CTL_REFUSED, "out of memory");
    mem_free(path);
    return rc ? rc : ctl_print_one(ctl, letter);
}

static int set_text(json_t *body, const char *name, const char *value)
{
    return value ? json_object_set_new(body, name, json_string(value)) : 0;
}

static int set_count(json_t *body, const char *name, uint64_t value)
{
    return value ? json_object_set_new(body, name, json_integer((json_int_t)value)) : 0;
}

static int act_on(const struct ctl *ctl, const char *path, const char *done, const char *said)
{
    uint64_t limit, rate;
    json_t *answer = NULL;
    int rc = count_of("--limit", ctl->limit, &limit);
    if (rc == 0) rc = count_of("--rate", ctl->rate, &rate);
    if (rc) return rc;
    json_t *body = json_pack("{s:b}", "dry_run", ctl->dry_run);
    if (body &&
        (set_text(body, "source", ctl->source) < 0 || set_text(body, "reason", ctl->reason) < 0 ||
         set_text(body, "filter", ctl->filter) < 0 || set_count(body, "limit", limit) < 0 ||
         set_count(body, "rate", rate) < 0)) {
        json_decref(body);
        body = NULL;
    }
    rc = ctl_act(ctl, path, body, &answer);
    if (rc) return rc;
    long long matched = ctl_number(answer, "matched"), n = ctl_number(answer, done);
    bool all = ctl->dry_run || n == matched;
    if (ctl->json) {
        rc = ctl_print_json(answer);
        return rc || all ? rc : CTL_REFUSED;
    }
    if (ctl->dry_run)
        printf("%lld dead letters match; none was %s.\n", matched, said);
    else
        printf("%lld dead letters were %s.\n", n, said);
    json_decref(answer);
    return all ? CTL_DONE
               : ctl_fail(CTL_REFUSED, "%lld that match were not: the broker's log says why",
                          matched - n);
}

int ctl_dead_redrive(const struct ctl *ctl)
{
    return act_on(ctl, "/api/v1/dead/redrive", "redriven", "sent again");
}

int ctl_dead_purge(const struct ctl *ctl)
{
    return act_on(ctl, "/api/v1/dead/purge", "purged", "thrown away");
}
