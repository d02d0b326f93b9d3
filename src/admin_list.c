/* Lists of what the shards have: clients, subscriptions, retained messages.  A shard copies rows
 * into a page, a bounded number a turn; here they become JSON.  With `limit` that is one answer and
 * a Link to the next page, without it a stream whose next piece is asked for when the last one is
 * on its way, so that neither a shard nor our memory depends on how long the list is.
 *
 * A page is rows one after the other: the core's struct, with the lengths of its views, then their
 * bytes. */
#include "admin_list.h"

#include "base/mem.h"
#include "base/rfc3339.h"
#include <stdio.h>

enum { CURSOR_TEXT = 64, DIGITS_MAX = 19, LINK_MAX = 2 * ADMIN_CURSOR_MAX };

static void listing_fini(struct call *c)
{
    struct listing *l = listing_of(c);
    buf_fini(&l->at.after);
    buf_fini(&l->page);
    buf_fini(&l->json);
    mem_free(l->order);
}

/* ---- rows ---- */

void list_put_row(struct listing *l, const void *row, size_t size, const struct bytes *texts,
                  unsigned count)
{
    uint32_t before = l->page.tail;
    int rc = buf_append(&l->page, bytes_of(row, size));
    for (unsigned i = 0; rc == 0 && i < count; i++) rc = buf_append(&l->page, texts[i]);
    if (rc < 0) {
        l->page.tail = before;
        l->torn = true;
    } else {
        l->rows++;
    }
}

void list_get_row(const uint8_t **at, void *row, size_t size)
{
    memcpy(row, *at, size);
    *at += size;
}

struct bytes list_get_text(const uint8_t **at, struct bytes length)
{
    struct bytes text = bytes_of(*at, length.n);
    *at += length.n;
    return text;
}

json_t *list_text(struct bytes text)
{
    return text.n ? json_stringn((const char *)text.p, text.n) : json_null();
}

static json_t *number_or_null(uint32_t value)
{
    return value == UINT32_MAX ? json_null() : json_integer(value);
}

json_t *list_time(uint64_t ms)
{
    char text[RFC3339_SIZE];
    if (ms == 0) return json_null();
    rfc3339_put(text, ms);
    return json_string(text);
}

static void put_client(void *ctx, const struct core_client *c)
{
    list_put_row(ctx, c, sizeof *c, (const struct bytes[]){c->id, c->user, c->peer}, 3);
}

static json_t *client_row(const uint8_t **at, unsigned shard)
{
    static const char *const versions[] = {
        [MQTT_V31] = "3.1", [MQTT_V311] = "3.1.1", [MQTT_V5] = "5.0"};
    struct core_client c;
    list_get_row(at, &c, sizeof c);
    struct bytes id = list_get_text(at, c.id), user = list_get_text(at, c.user),
                 peer = list_get_text(at, c.peer);
    const char *version = c.version < ARRAY_LEN(versions) ? versions[c.version] : NULL;
    return json_pack(
        "{s:o, s:o, s:b, s:s?, s:o, s:i, s:o, s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:b, s:i}", "id",
        json_stringn((const char *)id.p, id.n), "user", list_text(user), "connected", c.connected,
        "protocol", version, "address", list_text(peer), "port", c.port, "since",
        list_time(c.since_ms), "keep_alive_seconds", (json_int_t)c.keep_alive_s,
        "session_expiry_seconds", number_or_null(c.expiry_s), "subscriptions",
        (json_int_t)c.subscriptions, "inflight", (json_int_t)c.inflight, "receive_max",
        (json_int_t)c.receive_max, "queued", (json_int_t)c.queued, "queued_bytes",
        (json_int_t)c.queued_bytes, "will", c.will, "shard", (int)shard);
}

static void put_subscription(void *ctx, const struct core_subscription *s)
{
    list_put_row(ctx, s, sizeof *s, (const struct bytes[]){s->client, s->filter, s->where}, 3);
}

static json_t *subscription_row(const uint8_t **at, unsigned shard)
{
    struct core_subscription s;
    list_get_row(at, &s, sizeof s);
    struct bytes client = list_get_text(at, s.client), filter = list_get_text(at, s.filter),
                 where = list_get_text(at, s.where);
    return json_pack("{s:o, s:o, s:i, s:o, s:o, s:b, s:b, s:b, s:i, s:i}", "client",
                     json_stringn((const char *)client.p, client.n), "topic",
                     json_stringn((const char *)filter.p, filter.n), "qos", s.qos, "id",
                     s.id ? json_integer(s.id) : json_null(), "filter", list_text(where), "shared",
                     s.shared, "no_local", s.no_local, "retain_as_published", s.retain_as_published,
                     "retain_handling", s.retain_handling, "shard", (int)shard);
}

static void put_retained(void *ctx, const struct core_retained *m)
{
    list_put_row(ctx, m, sizeof *m, &m->topic, 1);
}

static json_t *retained_row(const uint8_t **at, unsigned shard)
{
    struct core_retained m;
    list_get_row(at, &m, sizeof m);
    struct bytes topic = list_get_text(at, m.topic);
    uint64_t ends_ms = m.expiry_s == UINT32_MAX ? 0 : m.since_ms + m.expiry_s * (uint64_t)1000;
    return json_pack("{s:o, s:I, s:o, s:o, s:o, s:i}", "topic",
                     json_stringn((const char *)topic.p, topic.n), "bytes", (json_int_t)m.size,
                     "time", list_time(m.since_ms), "expires", list_time(ends_ms), "seq",
                     m.seq ? json_integer((json_int_t)m.seq) : json_null(), "shard", (int)shard);
}

/* ---- a shard's part ---- */

static bool step_clients(struct call *c, struct core *core, unsigned most)
{
    struct listing *l = listing_of(c);
    if (l->only.n == 0) return core_list_clients(core, &l->at, most, put_client, l);
    (void)!core_find_client(core, l->only, put_client, l); /* not there: an empty list */
    return false;
}

static bool step_subscriptions(struct call *c, struct core *core, unsigned most)
{
    struct listing *l = listing_of(c);
    return core_list_subscriptions(core, l->only, &l->at, most, put_subscription, l);
}

static bool step_retained(struct call *c, struct core *core, unsigned most)
{
    struct listing *l = listing_of(c);
    return core_list_retained(core, l->only, &l->at, most, put_retained, l, &l->torn);
}

static const struct list_kind clients = {step_clients, client_row, LIST_BY_SLOT, {"id"}},
                              subscriptions = {step_subscriptions,
                                               subscription_row,
                                               LIST_BY_SLOT,
                                               {"client"}},
                              retained = {step_retained, retained_row, LIST_BY_TOPIC, {"filter"}};

static void on_shard(struct call *c, struct shard *s)
{
    struct listing *l = listing_of(c);
    unsigned most = ADMIN_ROWS;
    if (l->limit) most = (unsigned)min_u64(most, l->limit - l->listed);
    l->pause = false;
    l->more = l->kind->step(c, shard_core(s), most);
}

/* ---- cursors ---- */

/* "SHARD.SLOT.SKIP", "SHARD." and a topic, or "SHARD.SEQ". */
static int put_cursor(const struct listing *l, struct buf *out)
{
    char text[CURSOR_TEXT];
    int n = 0;
    switch (l->kind->cursor) {
    case LIST_BY_SLOT:
        n = snprintf(text, sizeof text, "%u.%u.%u", l->shard, l->at.slot, l->at.skip);
        break;
    case LIST_BY_TOPIC: n = snprintf(text, sizeof text, "%u.", l->shard); break;
    case LIST_BY_SEQ:
        n = snprintf(text, sizeof text, "%u.%llu", l->shard, (unsigned long long)l->seq);
        break;
    }
    int rc = buf_append(out, bytes_of(text, (size_t)n));
    bool topic = l->kind->cursor == LIST_BY_TOPIC;
    return rc < 0 || !topic ? rc : guard_encode(out, buf_view(&l->at.after));
}

bool guard_number(struct bytes text, uint64_t most, uint64_t *out)
{
    uint64_t value = 0;
    if (text.n == 0 || text.n > DIGITS_MAX) return false;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9') return false;
        value = value * 10 + (uint64_t)(text.p[i] - '0');
    }
    *out = value;
    return value <= most;
}

/* A number and the dot behind it; false: it is none. */
static bool get_number(struct bytes *text, uint32_t *out)
{
    const uint8_t *dot = text->n ? memchr(text->p, '.', text->n) : NULL;
    uint64_t value;
    if (dot == NULL ||
        !guard_number(bytes_of(text->p, (size_t)(dot - text->p)), UINT32_MAX, &value))
        return false;
    *out = (uint32_t)value;
    *text = bytes_skip(*text, (size_t)(dot - text->p) + 1);
    return true;
}

static bool get_cursor(struct listing *l, struct bytes text, unsigned shards)
{
    uint32_t shard;
    uint64_t skip;
    if (!get_number(&text, &shard) || shard >= shards) return false;
    l->shard = shard;
    if (l->kind->cursor == LIST_BY_TOPIC) return buf_append(&l->at.after, text) == 0;
    if (l->kind->cursor == LIST_BY_SEQ) return guard_number(text, UINT64_MAX, &l->seq);
    if (!get_number(&text, &l->at.slot) || !guard_number(text, UINT32_MAX, &skip)) return false;
    l->at.skip = (uint32_t)skip;
    return true;
}

/* ---- answers ---- */

/* The page's rows behind those that wait already. */
static int take_page(struct listing *l)
{
    const uint8_t *at = l->page.data;
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < l->rows; i++) {
        json_t *row = l->kind->row(&at, l->shard);
        rc = buf_append(&l->json, bytes_str(l->listed++ ? ",\n" : "["));
        if (row == NULL || (rc == 0 && admin_json_append(&l->json, row) < 0)) rc = E_NOMEM;
        json_decref(row);
    }
    l->page.head = l->page.tail = 0;
    l->rows = 0;
    return l->torn ? E_NOMEM : rc;
}

static void next(struct call *c);

void listing_give_up(struct call *c)
{
    if (listing_of(c)->begun)
        call_abort(c);
    else
        call_fail(c, 503, "no-memory", "there is no memory for the list");
}

/* `; rel="next"` and all before it; 0: there is no next page; E_INVALID: a topic is too long. */
static int put_link(struct call *c, struct buf *out)
{
    struct listing *l = listing_of(c);
    char text[CURSOR_TEXT];
    int rc = buf_append(out, bytes_str("<"));
    if (rc == 0) rc = buf_append(out, c->path);
    int n = snprintf(text, sizeof text, "?limit=%u&after=", l->limit);
    if (rc == 0) rc = buf_append(out, bytes_of(text, (size_t)n));
    uint32_t before = buf_len(out);
    if (rc == 0) rc = put_cursor(l, out);
    if (rc == 0 && buf_len(out) - before > ADMIN_CURSOR_MAX) return E_INVALID;
    for (size_t i = 0; i < ARRAY_LEN(l->kind->keeps) && l->kind->keeps[i]; i++) {
        const char *name = l->kind->keeps[i];
        struct bytes value;
        if (!http_query(c->query, name, &value)) continue;
        if (rc == 0) rc = buf_append(out, bytes_str("&"));
        if (rc == 0) rc = buf_append(out, bytes_str(name));
        if (rc == 0) rc = buf_append(out, bytes_str("="));
        if (rc == 0) rc = guard_encode(out, value);
    }
    if (rc == 0 && buf_len(out) > LINK_MAX) return E_INVALID;
    return rc < 0 ? rc : buf_append(out, bytes_of(">; rel=\"next\"", 14));
}

static void reply_page(struct call *c, bool over)
{
    struct listing *l = listing_of(c);
    struct buf link = {0};
    int rc = over ? 0 : put_link(c, &link);
    if (rc == 0) rc = buf_append(&l->json, bytes_str(l->listed ? "]\n" : "[]\n"));
    struct http_field field = {over ? NULL : "link:", (const char *)link.data};
    struct buf json = l->json; /* the call goes with its answer */
    l->json = (struct buf){0};
    if (rc == E_INVALID)
        call_fail(c, 409, "long-topic",
                  "the page ends with a topic that is too long for a Link: ask for another limit");
    else if (rc < 0)
        listing_give_up(c);
    else
        call_reply_with(c, 200, "application/json", field, buf_view(&json));
    buf_fini(&json);
    buf_fini(&link);
}

static void send_piece(struct call *c, bool over)
{
    struct listing *l = listing_of(c);
    if (!l->begun) call_stream(c, "application/json", next);
    l->begun = true;
    if (over && buf_append(&l->json, bytes_str(l->listed ? "]\n" : "[]\n")) < 0) {
        call_abort(c);
        return;
    }
    struct buf piece = l->json;
    l->json = (struct buf){0};
    call_piece(c, buf_view(&piece), over);
    buf_fini(&piece);
}

/* Whether the list has ended. */
static bool shard_over(struct call *c)
{
    struct listing *l = listing_of(c);
    if (l->more) return false;
    if (l->one_shard) return true;
    l->at.slot = l->at.skip = 0;
    l->seq = 0;
    l->at.after.head = l->at.after.tail = 0;
    return ++l->shard == shards_count(c->admin->shards);
}

static void answered(struct call *c)
{
    struct listing *l = listing_of(c);
    if (*l->why) {
        if (l->begun)
            call_abort(c);
        else
            call_fail(c, 400, "bad-filter", "%s", l->why);
        return;
    }
    if (take_page(l) < 0) {
        listing_give_up(c);
        return;
    }
    if (l->pause && (l->limit || buf_len(&l->json) == 0)) {
        call_later(c, ADMIN_PAUSE_MS, next);
        return;
    }
    bool over = shard_over(c);
    if (l->limit && (over || l->listed == l->limit))
        reply_page(c, over);
    else if (!l->limit && (over || buf_len(&l->json)))
        send_piece(c, over);
    else
        next(c);
}

static void next(struct call *c) { call_ask(c, listing_of(c)->shard, on_shard, answered); }

void listing_run(struct call *c) { next(c); }

void listing_one(struct call *c, void (*found)(struct call *c))
{
    call_ask(c, listing_of(c)->shard, on_shard, found);
}

/* ---- what is asked for ---- */

/* Reads limit and after; false: answered. */
static bool read_page(struct call *c)
{
    struct listing *l = listing_of(c);
    struct bytes text;
    uint64_t limit = 0;
    if (http_query(c->query, "limit", &text)) {
        if (!guard_number(text, ADMIN_LIMIT_MAX, &limit) || limit < 1) {
            call_fail(c, 400, "bad-limit", "limit is to be 1 to %d", ADMIN_LIMIT_MAX);
            return false;
        }
        l->limit = (unsigned)limit;
    }
    if (http_query(c->query, "after", &text) &&
        !get_cursor(l, text, shards_count(c->admin->shards))) {
        call_fail(c, 400, "bad-after", "after is to be what a Link header said");
        return false;
    }
    return true;
}

struct listing *listing_new(struct call *c, const struct list_kind *kind)
{
    struct listing *l = mem_calloc(1, sizeof *l);
    if (l == NULL) {
        call_fail(c, 503, "no-memory", "there is no memory");
        return NULL;
    }
    l->kind = kind;
    c->state = l;
    c->fini = listing_fini;
    return read_page(c) ? l : NULL;
}

/* Of one client, or of all. */
static void run_clients(struct call *c, const struct list_kind *kind, const char *name)
{
    struct listing *l = listing_new(c, kind);
    if (l == NULL) return;
    if (http_query(c->query, name, &l->only)) {
        if (l->only.n == 0) {
            call_fail(c, 400, "bad-id", "%s is to be a client id", name);
            return;
        }
        l->shard = shards_home(c->admin->shards, l->only);
        l->one_shard = true;
    }
    next(c);
}

void admin_run_clients(struct call *c) { run_clients(c, &clients, "id"); }
void admin_run_subscriptions(struct call *c) { run_clients(c, &subscriptions, "client"); }

void admin_run_retained(struct call *c)
{
    struct listing *l = listing_new(c, &retained);
    if (l == NULL) return;
    if (!http_query(c->query, "filter", &l->only)) l->only = bytes_str("#");
    if (!mqtt_topic_filter_ok(l->only, c->admin->conf->core.max_topic_levels)) {
        call_fail(c, 400, "bad-filter", "filter is to be a topic filter");
        return;
    }
    next(c);
}

/* ---- one client ---- */

static void client_found(struct call *c)
{
    struct listing *l = listing_of(c);
    const uint8_t *at = l->page.data;
    if (l->rows)
        call_reply_json(c, 200, clients.row(&at, l->shard));
    else if (l->torn)
        listing_give_up(c);
    else
        call_fail(c, 404, "no-such-client", "there is no client '%.*s'",
                  (int)min_u64(c->target.n, ADMIN_USER_MAX), (const char *)c->target.p);
}

void admin_run_client(struct call *c)
{
    struct listing *l = listing_new(c, &clients);
    if (l == NULL) return;
    l->only = c->target;
    l->shard = shards_home(c->admin->shards, c->target);
    call_ask(c, l->shard, on_shard, client_found);
}
