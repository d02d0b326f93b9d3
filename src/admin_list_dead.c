/* Dead letters as the admin listener shows them: the list, on shard 0, and one of them whole.  The
 * admin thread, but for what says that it runs on a shard's. */
#include "admin_dead.h"
#include "admin_list.h"

#include "base/mem.h"
#include "core/dead_reason.h"
#include "mqtt/props.h"

/* ---- what is asked for ---- */

bool dead_reason_ok(struct bytes text)
{
    for (int i = DEAD_NONE + 1; i < DEAD_REASONS; i++)
        if (bytes_eq(text, bytes_str(dead_reason_name((enum dead_reason)i)))) return true;
    return false;
}

/* From the query; false: answered. */
static bool read_order(struct call *c, struct dead_order *order)
{
    struct {
        const char *name;
        struct bytes *to;
    } texts[] = {
        {"source", &order->source}, {"reason", &order->reason}, {"filter", &order->filter}};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (!http_query(c->query, texts[i].name, texts[i].to) || texts[i].to->n) continue;
        call_fail(c, 400, "bad-order", "%s is empty: leave it out for all", texts[i].name);
        return false;
    }
    if (order->reason.n == 0 || dead_reason_ok(order->reason)) return true;
    call_fail(c, 400, "bad-order", "reason is " DEAD_REASONS_ARE);
    return false;
}

/* ---- the list ---- */

enum { TEXTS = 5 };

static void put_letter(void *ctx, const struct dead_letter_view *d)
{
    list_put_row(ctx, d, sizeof *d,
                 (const struct bytes[]){d->reason, d->source, d->topic, d->client, d->text}, TEXTS);
}

static bool step_dead(struct call *c, struct core *core, unsigned most)
{
    struct listing *l = listing_of(c);
    int rc = dead_find(core, l->order, &l->seq, most, put_letter, l, l->why);
    l->torn |= rc == E_NOMEM;
    l->pause = rc == E_AGAIN;
    return rc == DEAD_MORE || rc == E_AGAIN;
}

static json_t *letter_row(const uint8_t **at, unsigned shard)
{
    struct dead_letter_view d;
    (void)shard;
    list_get_row(at, &d, sizeof d);
    struct bytes reason = list_get_text(at, d.reason), source = list_get_text(at, d.source),
                 topic = list_get_text(at, d.topic), client = list_get_text(at, d.client),
                 text = list_get_text(at, d.text);
    return json_pack("{s:I, s:o, s:o, s:o, s:o, s:I, s:o, s:o, s:o, s:I, s:I}", "seq",
                     (json_int_t)d.seq, "time", list_time(d.time_ms), "reason", list_text(reason),
                     "source", list_text(source), "topic", list_text(topic), "attempts",
                     (json_int_t)d.attempts, "client", list_text(client), "code",
                     d.code ? json_integer(d.code) : json_null(), "text", list_text(text), "size",
                     (json_int_t)d.payload.n, "redriven", (json_int_t)d.redriven);
}

static const struct list_kind dead = {.step = step_dead,
                                      .row = letter_row,
                                      .cursor = LIST_BY_SEQ,
                                      .keeps = {"source", "reason", "filter"}};

static struct listing *dead_listing(struct call *c, const struct list_kind *kind)
{
    struct listing *l = listing_new(c, kind);
    if (l == NULL) return NULL;
    l->one_shard = true;
    l->order = mem_calloc(1, sizeof(struct dead_order));
    if (l->order == NULL) listing_give_up(c);
    return l->order ? l : NULL;
}

void admin_run_dead(struct call *c)
{
    struct listing *l = dead_listing(c, &dead);
    if (l && read_order(c, l->order)) listing_run(c);
}

/* ---- one ---- */

static void put_whole(void *ctx, const struct dead_letter_view *d)
{
    struct listing *l = ctx;
    put_letter(l, d);
    list_put_row(l, &d->props, sizeof d->props, &d->props, 1);
    list_put_row(l, &d->payload, sizeof d->payload, &d->payload, 1);
}

static bool step_letter(struct call *c, struct core *core, unsigned most)
{
    struct listing *l = listing_of(c);
    (void)most;
    int rc = dead_find(core, l->order, &l->seq, 1, put_whole, l, l->why);
    l->torn |= rc == E_NOMEM;
    l->pause = rc == E_AGAIN;
    return false;
}

static bool is_ours(struct bytes name)
{
    return bytes_starts(name, "sluice-dead-") || bytes_eq(name, bytes_str("sluice-redriven"));
}

/* The last of this name, as those of the broker stand behind the publisher's. */
static json_t *last_of(struct bytes props, const char *name)
{
    struct mqtt_prop prop;
    struct bytes found = {0};
    for (size_t at = 0; mqtt_props_next(props, &at, &prop);)
        if (prop.id == MQTT_P_USER && bytes_eq(prop.key, bytes_str(name))) found = prop.value;
    return list_text(found);
}

static void ask_letter(struct call *c);

static void found_letter(struct call *c)
{
    struct listing *l = listing_of(c);
    const uint8_t *at = l->page.data;
    struct dead_letter_view d;
    struct bytes props, payload;
    if (l->pause) {
        call_later(c, ADMIN_PAUSE_MS, ask_letter);
        return;
    }
    if (l->torn) {
        listing_give_up(c);
        return;
    }
    if (l->rows == 0) {
        admin_no_letter(c);
        return;
    }
    memcpy(&d, at, sizeof d);
    json_t *j = letter_row(&at, 0);
    list_get_row(&at, &props, sizeof props);
    props = list_get_text(&at, props);
    list_get_row(&at, &payload, sizeof payload);
    payload = list_get_text(&at, payload);
    if (j) {
        (void)json_object_set_new(j, "first", last_of(props, "sluice-dead-first"));
        (void)json_object_set_new(j, "last", last_of(props, "sluice-dead-last"));
        (void)json_object_set_new(j, "qos", json_integer(d.qos));
        admin_set_message(j, props, payload, is_ours);
    }
    call_reply_json(c, 200, j);
}

static void ask_letter(struct call *c) { listing_one(c, found_letter); }

void admin_no_letter(struct call *c)
{
    call_fail(c, 404, "no-such-letter", "there is no dead letter %.*s",
              (int)min_u64(c->target.n, 20), (const char *)c->target.p);
}

bool admin_letter_seq(struct call *c, uint64_t *seq)
{
    if (guard_number(c->target, UINT64_MAX, seq) && *seq) return true;
    admin_no_letter(c);
    return false;
}

void admin_run_letter(struct call *c)
{
    static const struct list_kind letter = {.step = step_letter, .cursor = LIST_BY_SEQ};
    struct listing *l = dead_listing(c, &letter);
    struct dead_order *order = l ? l->order : NULL;
    if (order && admin_letter_seq(c, &order->seq)) ask_letter(c);
}
