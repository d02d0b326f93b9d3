/* SUBSCRIBE and UNSUBSCRIBE (5.0 sections 3.8 - 3.11).  The shard's thread. */
#include "core/access.h"
#include "core/core_int.h"
#include "core/journal.h"
#include "core/mailbox.h"
#include "core/retained.h"
#include "core/share.h"

/* One SUBSCRIBE packet being worked on. */
struct order {
    struct cconn *c;
    struct session *s;
    uint32_t subid;
    bool joins;      /* a shared group is concerned */
    uint8_t refusal; /* of every entry: a property that cannot be honoured */
    const char *why;
};

/* Wishes this version cannot fulfil.  A filter must never silently mean something else, so the
 * entries are refused (CONTRACT section 3). */
static void read_wishes(struct order *o, struct bytes raw)
{
    static const char *const wishes[] = {"filter", "$where", "replay", "replay-until",
                                         "replay-end"};
    struct mqtt_prop prop;
    for (size_t at = 0; mqtt_props_next(raw, &at, &prop);) {
        for (size_t i = 0; prop.id == MQTT_P_USER && i < ARRAY_LEN(wishes); i++) {
            if (!bytes_eq(prop.key, bytes_str(wishes[i]))) continue;
            o->refusal = MQTT_IMPLEMENTATION_ERROR;
            o->why = "attribute filters and replay are not available in this version";
        }
    }
}

/* Prefixes of the grammar of CONTRACT section 3 that this version does not understand: refused,
 * never treated as a plain topic. */
static bool prefix_unknown(struct bytes filter)
{
    return bytes_starts(filter, "$filter/") || bytes_starts(filter, "$replay/") ||
           bytes_starts(filter, "$queue/") || bytes_starts(filter, "$share/") ||
           bytes_starts(filter, "$pub/") || bytes_starts(filter, "$delayed/");
}

/* The filter with the listener's mount point before it, in scratch memory. */
static int mounted(struct cconn *c, struct bytes *filter)
{
    struct bytes prefix = bytes_str(c->listener->mount_point);
    if (prefix.n == 0) return 0;
    if (prefix.n + filter->n > MQTT_TOPIC_MAX) return E_TOPIC_FILTER;
    uint8_t *d = core_scratch(c->core, SCRATCH_TOPIC, prefix.n + filter->n);
    if (d == NULL) return E_NOMEM;
    put_mem(put_mem(d, prefix), *filter);
    *filter = bytes_of(d, prefix.n + filter->n);
    return 0;
}

static bool is_durable(const struct session *s, uint8_t qos)
{
    return s->durable && (qos > 0 || s->core->cfg.queue_qos0_messages);
}

static int plain_subscribe(struct order *o, struct bytes filter, const struct mqtt_subscription *e,
                           uint8_t qos, bool *is_new)
{
    struct session *s = o->s;
    struct core *core = s->core;
    struct sub *sub = trie_find(&core->trie, filter, (uintptr_t)s);
    *is_new = sub == NULL;
    uint32_t locals = 0, durables = 0;
    if (sub == NULL) {
        if (core->cfg.max_subscriptions && s->sub_count >= core->cfg.max_subscriptions)
            return E_FULL;
        sub = trie_add(&core->trie, filter, SUB_SESSION, (uintptr_t)s, &s->subs);
        if (sub == NULL) return E_NOMEM;
        s->sub_count++;
        core->stats.subscriptions++;
        locals = sub->filter->local_count - 1;
    } else {
        locals = sub->filter->local_count;
    }
    durables = sub->filter->durable_count;
    sub->subid = o->subid; /* the new one replaces everything [MQTT-3.8.4-3] */
    sub->qos = qos & 3u;
    sub->no_local = e->no_local;
    sub->retain_as_published = e->retain_as_published;
    sub->retain_handling = e->retain_handling & 3u;
    trie_set_durable(sub, is_durable(s, qos));
    journal_sub(s, sub, filter);
    interest_changed(core, sub->filter, filter, locals, durables);
    core->generation++;
    return 0;
}

int session_resubscribe(struct session *s, struct bytes filter, const struct mqtt_subscription *e,
                        uint32_t subid)
{
    struct order o = {.s = s, .subid = subid};
    bool is_new;
    return plain_subscribe(&o, filter, e, e->qos, &is_new);
}

/* One entry: the reason for SUBACK. */
static uint8_t subscribe_one(struct order *o, const struct mqtt_subscription *e)
{
    struct cconn *c = o->c;
    struct core *core = c->core;
    struct bytes group = {0}, filter = e->filter;
    if (o->refusal) return o->refusal;
    int shared = mqtt_share_split(e->filter, &group, &filter);
    if (shared == E_TOPIC_FILTER) return MQTT_TOPIC_FILTER_INVALID;
    if (prefix_unknown(filter) || !mqtt_topic_filter_ok(filter, core->cfg.max_topic_levels))
        return MQTT_TOPIC_FILTER_INVALID;
    uint8_t qos = (uint8_t)min_u64(e->qos, c->listener->max_qos);
    bool is_new = false;
    int rc = mounted(c, &filter);
    if (rc == 0 && UNLIKELY(core->cfg.acl != NULL) && access_denies_filter(c, filter)) {
        core->stats.denied_subscribe++;
        return MQTT_NOT_AUTHORIZED; /* CONTRACT section 3 */
    }
    if (rc == 0 && shared == 0) {
        rc = share_subscribe(o->s, group, filter, e, qos, o->subid);
        o->joins = true;
    } else if (rc == 0) {
        rc = plain_subscribe(o, filter, e, qos, &is_new);
    }
    if (rc < 0) return rc == E_TOPIC_FILTER ? MQTT_TOPIC_FILTER_INVALID : MQTT_QUOTA_EXCEEDED;
    core_log(core, LOG_T_SUBSCRIBE, "%s %u %.*s", o->s->client_id, qos, (int)e->filter.n,
             (const char *)e->filter.p);
    bool retained =
        e->retain_handling == 0 || (e->retain_handling == 1 && is_new); /* [MQTT-3.3.1-9..11] */
    if (shared != 0 && retained && rjob_add(o->s, filter, qos, o->subid) == NULL)
        core->stats.dropped_no_memory++;
    return qos;
}

static struct bytes reason_prop(const struct order *o, uint8_t *d)
{
    if (o->why == NULL || !o->c->problem_info) return (struct bytes){0};
    return bytes_of(d,
                    (size_t)(mqtt_put_prop_bytes(d, MQTT_P_REASON_STRING, bytes_str(o->why)) - d));
}

int conn_handle_subscribe(struct cconn *c, struct bytes body)
{
    struct core *core = c->core;
    struct mqtt_subscribe m;
    int rc = mqtt_subscribe_decode(c->version, body, &m);
    if (rc < 0) return rc;
    bool v5 = c->version == MQTT_V5;
    struct order o = {.c = c, .s = c->session};
    if (v5 && mqtt_has(&m.props, MQTT_P_SUBSCRIPTION_ID)) o.subid = m.props.subid;
    if (v5 && m.props.user_count) read_wishes(&o, m.props.raw);
    uint8_t *reply = core_scratch(core, SCRATCH_REPLY, 2 * (size_t)m.count + 256 + MQTT_SMALL_MAX);
    if (reply == NULL) return E_NOMEM;
    uint8_t *reasons = reply + m.count + 256 + MQTT_SMALL_MAX;
    struct mqtt_subscription e;
    for (uint32_t i = 0; mqtt_subscribe_next(c->version, &m, &e); i++) {
        uint8_t reason = subscribe_one(&o, &e);
        reasons[i] = !v5 && reason >= MQTT_UNSPECIFIED_ERROR ? MQTT3_SUBACK_FAILURE : reason;
    }
    uint8_t block[128];
    struct bytes props = reason_prop(&o, block);
    if (MQTT_SMALL_MAX + props.n + m.count > c->max_packet) props.n = 0; /* [MQTT-3.9.2-1] */
    uint8_t *end = mqtt_suback_encode(reply, c->version, MQTT_SUBACK, m.packet_id,
                                      bytes_of(reasons, m.count), props); /* [MQTT-3.8.4-1], -6 */
    interest_fence(c, bytes_of(reply, (size_t)(end - reply)), o.joins);
    return 0;
}

/* ---- ending ---- */

static void plain_unsubscribe(struct session *s, struct sub *sub, struct bytes filter)
{
    struct core *core = s->core;
    uint32_t locals = sub->filter->local_count, durables = sub->filter->durable_count;
    struct filter after = {.local_count = locals - 1, .durable_count = durables - sub->durable};
    interest_changed(core, &after, filter, locals, durables);
    trie_del(&core->trie, sub);
    s->sub_count--;
    core->stats.subscriptions--;
    core->generation++;
}

void session_unsubscribe(struct session *s, struct bytes filter)
{
    struct sub *sub = trie_find(&s->core->trie, filter, (uintptr_t)s);
    if (sub) plain_unsubscribe(s, sub, filter);
}

static uint8_t unsubscribe_one(struct cconn *c, struct bytes whole)
{
    struct session *s = c->session;
    struct bytes group, filter = whole;
    int shared = mqtt_share_split(whole, &group, &filter);
    if (shared == E_TOPIC_FILTER || !mqtt_topic_filter_ok(filter, c->core->cfg.max_topic_levels))
        return MQTT_TOPIC_FILTER_INVALID;
    core_log(c->core, LOG_T_UNSUBSCRIBE, "%s %.*s", s->client_id, (int)whole.n,
             (const char *)whole.p);
    if (mounted(c, &filter) < 0) return MQTT_TOPIC_FILTER_INVALID;
    if (shared == 0)
        return share_unsubscribe(s, group, filter) ? MQTT_SUCCESS : MQTT_NO_SUBSCRIPTION_EXISTED;
    struct sub *sub = trie_find(&c->core->trie, filter, (uintptr_t)s);
    if (sub == NULL) return MQTT_NO_SUBSCRIPTION_EXISTED;
    rjobs_cancel(s, filter);
    journal_unsub(s, filter);
    plain_unsubscribe(s, sub, filter);
    return MQTT_SUCCESS;
}

int conn_handle_unsubscribe(struct cconn *c, struct bytes body)
{
    struct mqtt_subscribe m;
    int rc = mqtt_unsubscribe_decode(c->version, body, &m);
    if (rc < 0) return rc;
    uint8_t *reasons = core_scratch(c->core, SCRATCH_REPLY, 2 * (size_t)m.count + MQTT_SMALL_MAX);
    if (reasons == NULL) return E_NOMEM;
    struct bytes filter;
    for (uint32_t i = 0; mqtt_unsubscribe_next(&m, &filter); i++)
        reasons[i] = unsubscribe_one(c, filter);
    uint8_t *reply = reasons + m.count;
    uint8_t *end =
        mqtt_suback_encode(reply, c->version, MQTT_UNSUBACK, m.packet_id,
                           bytes_of(reasons, m.count), (struct bytes){0}); /* [MQTT-3.10.4-4], -5 */
    interest_reply(c, bytes_of(reply, (size_t)(end - reply)));
    return 0;
}

void session_unsubscribe_all(struct session *s)
{
    struct core *core = s->core;
    uint8_t *text = s->subs ? core_scratch(core, SCRATCH_TOPIC, MQTT_TOPIC_MAX) : NULL;
    while (s->subs) {
        struct sub *sub = s->subs;
        size_t n = text ? trie_filter_text(sub, (char *)text) : 0;
        if (text == NULL)
            core->stats.dropped_no_memory++; /* the others keep a false interest: harmless */
        plain_unsubscribe(s, sub, bytes_of(text, n));
    }
}

void session_set_durable(struct session *s, bool durable)
{
    struct core *core = s->core;
    if (s->durable == durable) return;
    s->durable = durable;
    uint8_t *text = core_scratch(core, SCRATCH_TOPIC, MQTT_TOPIC_MAX);
    for (struct sub *sub = s->subs; sub; sub = sub->owner_next) {
        uint32_t locals = sub->filter->local_count, durables = sub->filter->durable_count;
        trie_set_durable(sub, is_durable(s, sub->qos));
        if (text)
            interest_changed(core, sub->filter, bytes_of(text, trie_filter_text(sub, (char *)text)),
                             locals, durables);
    }
    core->generation++;
}
