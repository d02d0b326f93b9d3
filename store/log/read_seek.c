/* Where in a segment a time begins: messages are nearly in the order of their times, so the places
 * of the topic with most of them are searched by halves, and a handful of messages is read in place
 * of all. */
#include "store/log/read_int.h"

enum {
    SEEK_LEAST = 1024,     /* messages; fewer are read one by one */
    SEEK_SLACK_MS = 10000, /* clocks are set, and a shard's is as old as its turn */
};

static struct index_topic most_common(const struct log_reader *r)
{
    struct index_topic t = {0}, most = {0};
    while (index_next(&r->index, &t))
        if (t.count > most.count && reader_wants(r, t.name) != STORE_NONE) most = t;
    return most;
}

void seek_begin(struct log_reader *r)
{
    struct index_topic t = most_common(r);
    if (t.count < SEEK_LEAST) return;
    r->seek = mem_alloc(t.count * sizeof *r->seek);
    if (r->seek == NULL) return;
    r->seek_low = r->seek_end = 0;
    for (uint64_t at = r->index.base; r->seek_end < t.count && index_place(&t.places, &at);)
        if (at >= r->position && at < r->merge_to) r->seek[r->seek_end++] = at;
    r->seek_high = r->seek_end;
}

void seek_end(struct log_reader *r)
{
    mem_free(r->seek);
    r->seek = NULL;
}

int seek_on(struct log_reader *r)
{
    uint64_t wanted = r->query.from_ms - min_u64(r->query.from_ms, SEEK_SLACK_MS), ms;
    struct bytes body;
    while (r->seek_low < r->seek_high) {
        size_t middle = r->seek_low + (r->seek_high - r->seek_low) / 2;
        int rc = reader_time(r, r->seek[middle], &body, &ms);
        if (rc < 0 && rc != E_IO) return rc;
        if (rc != 0) break; /* what can be said so far is enough */
        if (ms < wanted)
            r->seek_low = middle + 1;
        else
            r->seek_high = middle;
    }
    /* All that is before the last one that is too early. */
    if (r->seek_low > 0) r->position = max_u64(r->position, r->seek[r->seek_low - 1]);
    seek_end(r);
    return 0;
}
