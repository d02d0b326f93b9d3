/* sluicectl history: histories listed and read.  One thread. */
#include "ctl.h"

#include <stdio.h>

int ctl_history_list(const struct ctl *ctl)
{
    static const struct ctl_column columns[] = {
        {"FILTER", "filter", false},      {"MESSAGES", "messages", true},
        {"BYTES", "bytes", true},         {"OLDEST", "oldest", false},
        {"NEWEST", "newest", false},      {"FIRST", "first_seq", true},
        {"LAST", "last_seq", true},       {"MAX-AGE", "max_age_seconds", true},
        {"MAX-BYTES", "max_bytes", true}, {"PER-TOPIC", "max_per_topic", true},
    };
    return ctl_list(ctl, "/api/v1/history", UINT64_MAX, columns, ARRAY_LEN(columns));
}

int ctl_history_read(const struct ctl *ctl)
{
    static const struct ctl_column columns[] = {
        {"SEQ", "seq", true},      {"TIME", "ts", false},         {"QOS", "qos", true},
        {"TOPIC", "topic", false}, {"PAYLOAD", "payload", false},
    };
    struct buf path = {0};
    int rc = buf_append(&path, bytes_str("/api/v1/history/read"));
    if (rc == 0) rc = ctl_query_add(&path, "filter", ctl->operands[0]);
    if (rc == 0) rc = ctl_query_add(&path, "from", ctl->from);
    if (rc == 0) rc = ctl_query_add(&path, "to", ctl->to);
    if (rc == 0) rc = ctl_query_add(&path, "where", ctl->filter);
    if (rc == 0) rc = buf_append(&path, bytes_of("", 1));
    rc = rc < 0 ? ctl_fail(CTL_REFUSED, "out of memory")
                : ctl_list(ctl, (const char *)path.data, UINT64_MAX, columns, ARRAY_LEN(columns));
    buf_fini(&path);
    return rc;
}
