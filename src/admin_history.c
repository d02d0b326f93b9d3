/* Histories by the admin listener: what there is, and reading one.  Both are streams: a shard fills
 * a page, and is asked for the next when the last one is on its way.  What a shard has open for it
 * (a reader, which is a place in the log and no messages) is closed there when the call ends,
 * however it ends.  The admin thread, but for what says that it runs on a shard's. */
#include "admin_list.h"

#include "base/mem.h"
#include "core/history_read.h"

enum { PAGE_BYTES = 256 * 1024 }; /* of messages, unless one is larger */

/* What a shard has open; the shard's own, and freed there. */
struct history_job {
    struct shard_task close;
    struct history_reading *reading;
    struct history_look *look;
};

struct history_call {
    struct listing page; /* its rows, and what of them is JSON */
    struct history_job *job;
    struct history_order order;
    char why[HISTORY_WHY_MAX];
    int rc; /* of the last step */
    uint64_t limit, given;
};

static struct history_call *history_of_call(struct call *c) { return c->state; }

static void close_on_shard(struct shard *s, struct shard_task *t)
{
    struct history_job *job = CONTAINER_OF(t, struct history_job, close);
    (void)s;
    history_close(&job->reading);
    history_look_close(&job->look);
    mem_free(job);
}

static void call_fini(struct call *c)
{
    struct history_call *h = history_of_call(c);
    struct history_job *job = h->job;
    buf_fini(&h->page.page);
    buf_fini(&h->page.json);
    if (job && (job->reading || job->look)) {
        job->close.run = close_on_shard;
        shard_post(shards_at(c->admin->shards, h->page.shard), &job->close);
    } else {
        mem_free(job);
    }
}

static struct history_call *call_new(struct call *c)
{
    struct history_call *h = mem_calloc(1, sizeof *h);
    c->state = h;
    if (h) c->fini = call_fini;
    if (h) h->job = mem_calloc(1, sizeof *h->job);
    if (h && h->job) return h;
    call_fail(c, 503, "no-memory", "there is no memory");
    return NULL;
}

/* ---- pages ---- */

static bool is_full(const struct listing *l, unsigned most)
{
    return l->rows == most || buf_len(&l->page) >= PAGE_BYTES;
}

static void fail(struct call *c)
{
    const struct history_call *h = history_of_call(c);
    if (h->page.begun)
        call_abort(c);
    else if (h->rc == E_NOTFOUND)
        call_fail(c, 404, "no-such-history", "there is no history of '%.*s'",
                  (int)min_u64(h->order.filter.n, ADMIN_USER_MAX), (const char *)h->order.filter.p);
    else if (h->rc == E_INVALID)
        call_fail(c, 400, "bad-order", "%s", h->why);
    else if (h->rc == E_FULL)
        call_fail(c, 409, "too-many-topics",
                  "there are too many topics to find the last messages of each: ask for fewer");
    else
        call_fail(c, 503, "no-memory", "there is no memory");
}

static int put_rows(struct listing *l, json_t *(*row)(const uint8_t **at))
{
    const uint8_t *at = l->page.data;
    int rc = 0;
    for (; rc == 0 && l->rows; l->rows--) {
        json_t *j = row(&at);
        rc = buf_append(&l->json, bytes_str(l->listed++ ? ",\n" : "["));
        if (rc == 0 && (j == NULL || admin_json_append(&l->json, j) < 0)) rc = E_NOMEM;
        json_decref(j);
    }
    l->page.head = l->page.tail = 0;
    return rc;
}

/* After a step: sends what there is, and sees to the next. */
static void go_on(struct call *c, json_t *(*row)(const uint8_t **at), void (*next)(struct call *c))
{
    struct history_call *h = history_of_call(c);
    struct listing *l = &h->page;
    bool over = h->rc == E_NOTFOUND && (h->job->reading || h->job->look); /* else: not opened */
    if (h->rc < 0 && h->rc != E_AGAIN && !over) {
        fail(c);
        return;
    }
    if (l->torn || put_rows(l, row) < 0) {
        h->rc = E_NOMEM;
        fail(c);
        return;
    }
    if (over && buf_append(&l->json, bytes_str(l->listed ? "]\n" : "[]\n")) < 0) {
        h->rc = E_NOMEM;
        fail(c);
        return;
    }
    if (buf_len(&l->json) == 0) {
        if (h->rc == E_AGAIN) {
            call_later(c, ADMIN_PAUSE_MS, next);
        } else {
            http_patience(c->admin->http, c->id);
            next(c);
        }
        return;
    }
    if (!l->begun) call_stream(c, "application/json", next);
    l->begun = true;
    struct buf piece = l->json;
    l->json = (struct buf){0};
    call_piece(c, buf_view(&piece), over);
    buf_fini(&piece);
}

/* ---- reading one ---- */

static json_t *message_row(const uint8_t **at)
{
    struct history_record m;
    list_get_row(at, &m, sizeof m);
    struct bytes topic = list_get_text(at, m.topic), props = list_get_text(at, m.props),
                 payload = list_get_text(at, m.payload);
    json_t *j = json_pack(
        "{s:I, s:o, s:o, s:i, s:b}", "seq", (json_int_t)m.seq, "ts", list_time(m.time_ms), "topic",
        json_stringn((const char *)topic.p, topic.n), "qos", m.qos, "retain", m.retain);
    if (j) admin_set_message(j, props, payload, NULL);
    return j;
}

static void read_on_shard(struct call *c, struct shard *s)
{
    struct history_call *h = history_of_call(c);
    struct listing *l = &h->page;
    struct history_record m;
    h->rc = 0;
    if (h->job->reading == NULL)
        h->rc = history_open(shard_core(s), &h->job->reading, &h->order, h->why);
    while (h->rc == 0 && !is_full(l, ADMIN_ROWS)) {
        if (h->limit && h->given == h->limit) {
            h->rc = E_NOTFOUND;
            return;
        }
        h->rc = history_next(h->job->reading, &m);
        if (h->rc != 0) return;
        list_put_row(l, &m, sizeof m, (const struct bytes[]){m.topic, m.props, m.payload}, 3);
        h->given++;
    }
}

static void read_next(struct call *c);
static void read_answered(struct call *c)
{
    const struct history_call *h = history_of_call(c);
    bool all = h->rc == E_NOTFOUND && h->order.filter.n == 0 && h->job->reading == NULL;
    if (all) /* no history at all is none that has been named */
        call_reply_json(c, 200, json_array());
    else
        go_on(c, message_row, read_next);
}

static void read_next(struct call *c)
{
    call_ask(c, history_of_call(c)->page.shard, read_on_shard, read_answered);
}

void admin_run_history_read(struct call *c)
{
    struct history_call *h = call_new(c);
    struct bytes limit;
    if (h == NULL) return;
    (void)http_query(c->query, "filter", &h->order.filter);
    (void)http_query(c->query, "from", &h->order.from);
    (void)http_query(c->query, "to", &h->order.to);
    (void)http_query(c->query, "where", &h->order.where);
    if (http_query(c->query, "limit", &limit) &&
        (!guard_number(limit, UINT64_MAX, &h->limit) || h->limit == 0)) {
        call_fail(c, 400, "bad-limit", "limit is to be a number, at least 1");
        return;
    }
    h->page.shard = (unsigned)(c->id % shards_count(c->admin->shards)); /* each may read */
    read_next(c);
}

/* ---- what there is ---- */

struct history_row {
    struct history_info info;
    struct core_history conf;
    struct bytes filter;
};

static json_t *number_or_null(uint64_t n) { return n ? json_integer((json_int_t)n) : json_null(); }

static json_t *history_row(const uint8_t **at)
{
    struct history_row row;
    list_get_row(at, &row, sizeof row);
    struct bytes filter = list_get_text(at, row.filter);
    const struct history_info *i = &row.info;
    const struct core_history *conf = &row.conf;
    return json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "filter",
                     json_stringn((const char *)filter.p, filter.n), "messages",
                     (json_int_t)i->count, "bytes", (json_int_t)i->bytes, "max_age_seconds",
                     (json_int_t)(conf->max_age_ms / 1000), "max_bytes",
                     (json_int_t)conf->max_bytes, "max_per_topic", (json_int_t)conf->max_per_topic,
                     "oldest", list_time(i->first_ms), "newest", list_time(i->last_ms), "first_seq",
                     number_or_null(i->first_seq), "last_seq", number_or_null(i->last_seq));
}

static void look_on_shard(struct call *c, struct shard *s)
{
    struct history_call *h = history_of_call(c);
    struct history_row row = {0};
    h->rc = h->job->look ? 0 : history_look_open(shard_core(s), &h->job->look);
    while (h->rc == 0 && !is_full(&h->page, 1)) {
        h->rc = history_look_next(h->job->look, &row.info);
        if (h->rc != 0) return;
        row.conf = *row.info.conf;
        row.filter = bytes_str(row.conf.filter);
        list_put_row(&h->page, &row, sizeof row, &row.filter, 1);
    }
}

static void look_next(struct call *c);
static void look_answered(struct call *c) { go_on(c, history_row, look_next); }
static void look_next(struct call *c) { call_ask(c, 0, look_on_shard, look_answered); }

void admin_run_history(struct call *c)
{
    if (call_new(c)) look_next(c);
}
