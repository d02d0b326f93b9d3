/* SUBSCRIBE and UNSUBSCRIBE (5.0 sections 3.8 - 3.11).  The shard's thread. */
#include "core/access.h"
#include "core/core_int.h"
#include "core/journal.h"
#include "core/mailbox.h"
#include "core/queue.h"
#include "core/redeliver.h"
#include "core/replay.h"
#include "core/retained.h"
#include "core/share.h"
#include "core/wished.h"

#include <stdarg.h>
#include <stdio.h>

enum {
    WHY_SIZE = 256,
    FAULTS_LOGGED = 16, /* of one connection */
    SHOWN = 400,        /* bytes of a filter in the log */
};

/* One SUBSCRIBE packet being worked on. */
struct order {
    struct cconn *c;
    struct session *s;
    uint32_t subid;
    bool joins;                  /* a shared group is concerned */
    struct wish wish;            /* what the packet's properties say, of every entry */
    bool twice;                  /* one of them is there twice */
    struct wish_filters filters; /* of the entry that is looked at */
    struct replay_order replay;  /* the same */
    char why[WHY_SIZE];          /* an entry was refused: the Reason String; "" = none */
    bool unlogged;               /* it is of the entry that is looked at, and not in the log */
    const char *error;           /* and the value of filter-error, if it was a filter; or NULL */
};

static void read_wishes(struct order *o, struct bytes raw)
{
    struct mqtt_prop prop;
    for (size_t at = 0; mqtt_props_next(raw, &at, &prop);)
        if (prop.id == MQTT_P_USER) wish_property(&o->wish, prop.key, prop.value, &o->twice);
}

PRINTF_LIKE(2, 3) static void explain(struct order *o, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(o->why, sizeof o->why, fmt, args);
    va_end(args);
    o->unlogged = true;
}

/* Whether one more line about what this client got wrong may go to the log. */
static bool may_log(struct cconn *c)
{
    if (c->faults_logged >= FAULTS_LOGGED) return false;
    c->faults_logged++;
    return true;
}

/* The Reason String, for people who cannot see it. */
static void log_refusal(struct order *o, struct bytes whole)
{
    if (o->unlogged && may_log(o->c))
        core_log(o->s->core, LOG_T_WARNING, "Client %s: subscription to %.*s refused: %s",
                 o->s->client_id, (int)min_u64(whole.n, SHOWN), (const char *)whole.p, o->why);
    o->unlogged = false;
}

/* What is wrong with a filter, for people who cannot see SUBACK's reason: the text and a caret
 * under its column. */
static void log_fault(struct order *o, const struct filter_error *error, struct bytes text)
{
    struct core *core = o->s->core;
    const char *id = o->s->client_id;
    o->unlogged = false;
    if (!may_log(o->c)) return;
    int shown = (int)min_u64(text.n, SHOWN);
    core_log(core, LOG_T_WARNING, "Client %s: filter: column %u: %s", id, error->column,
             error->detail);
    core_log(core, LOG_T_WARNING, "Client %s:   %.*s", id, shown, (const char *)text.p);
    if (error->column <= SHOWN)
        core_log(core, LOG_T_WARNING, "Client %s:   %*s^", id, (int)error->column - 1, "");
}

static uint8_t check_replay(struct order *o, const struct wish *w, struct bytes filter)
{
    const char *why = "";
    int rc = replay_order(o->s->core, w, filter, &o->replay, &why);
    if (rc == 0) return 0;
    if (rc == E_MALFORMED) why = "a percent sign wants two hexadecimal digits";
    if (rc != E_NOMEM) explain(o, "replay: %s", why);
    return rc == E_NOMEM       ? MQTT_QUOTA_EXCEEDED
           : rc == E_MALFORMED ? MQTT_TOPIC_FILTER_INVALID
                               : MQTT_IMPLEMENTATION_ERROR;
}

static uint8_t check_filter(struct order *o, const struct wish *w)
{
    struct core *core = o->s->core;
    struct filter_error error;
    struct bytes text;
    int rc = wish_filters_init(core, w, &o->filters, &error, &text);
    if (rc == 0) return 0;
    if (rc == E_MALFORMED) {
        explain(o, "filter: a percent sign wants two hexadecimal digits, and UTF-8 is expected");
        return MQTT_TOPIC_FILTER_INVALID;
    }
    if (rc == E_NOMEM) return MQTT_QUOTA_EXCEEDED;
    explain(o, "filter: column %u: %s", error.column, error.detail);
    o->error = filter_fault_name(error.fault);
    log_fault(o, &error, text);
    return MQTT_IMPLEMENTATION_ERROR;
}

/* Whether a wish can be fulfilled: 0, or the reason for SUBACK.  It must never silently mean
 * something else (CONTRACT section 3). */
static uint8_t check_wish(struct order *o, const struct wish *w, bool in_group)
{
    if (o->twice) {
        explain(o, "a property of the subscription is given twice");
        return MQTT_IMPLEMENTATION_ERROR;
    }
    if ((w->when.p || w->replay.p) && (in_group || w->queue.n)) {
        explain(o, "replay is not for groups and queues");
        return MQTT_IMPLEMENTATION_ERROR;
    }
    bool retries = w->ack_deadline.p || w->max_deliveries.p || w->backoff.p;
    const char *why = "";
    uint32_t mark;
    if (retries && in_group) {
        explain(o, "ack-deadline, max-deliveries and backoff are not for groups");
        return MQTT_IMPLEMENTATION_ERROR;
    }
    if (w->queue.n == 0 && !redeliver_wish(w, &mark, &why)) {
        explain(o, "%s", why);
        return MQTT_IMPLEMENTATION_ERROR;
    }
    return w->expr.p || w->filter.p ? check_filter(o, w) : 0;
}

static bool may_use(struct order *o, struct bytes filter, enum acl_feature feature,
                    const char *name)
{
    if (access_may_use(o->c, filter, feature)) return true;
    explain(o, "the access list does not let this client use %s", name);
    return false;
}

/* Whether the access list lets this client have what the entry is about. */
static bool access_permits(struct order *o, const struct wish *w, struct bytes filter)
{
    if (LIKELY(access_list(o->c) == NULL)) return true;
    if (filter.n && access_denies_filter(o->c, filter)) return false;
    struct bytes inside = filter.n ? filter : w->queue; /* a queue has topics of its own */
    bool dead = bytes_starts(filter, "$dead/") || bytes_eq(filter, bytes_str("$dead"));
    return (!dead || may_use(o, filter, ACL_DEAD, "dead letters")) &&
           (!(w->expr.p || w->filter.p) || may_use(o, inside, ACL_FILTER, "filters here")) &&
           (!(w->when.p || w->replay.p) || may_use(o, filter, ACL_REPLAY, "replay here")) &&
           (!w->queue.n || may_use(o, w->queue, ACL_QUEUE, "this queue"));
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

static void sub_del(struct session *s, struct sub *sub)
{
    if (sub->wished) {
        wished_fini(s->core, wsub_of(sub));
        wish_counted(s, -1);
    }
    trie_del(&s->core->trie, sub);
    s->sub_count--;
    s->core->stats.subscriptions--;
}

/* A subscription of this session, not there yet or in the place of *out, which has a wish where
 * this has none, or the other way round.  After an error *out is as it was. */
static int sub_new(struct order *o, struct bytes filter, const struct wish *w, struct sub **out)
{
    struct session *s = o->s;
    struct core *core = s->core;
    struct sub *new, *old = *out;
    if (wish_is_empty(w)) {
        new = trie_add(&core->trie, filter, SUB_SESSION, (uintptr_t)s, &s->subs);
    } else {
        struct wished *wished =
            trie_add_wished(&core->trie, filter, (uintptr_t)s, wished_variant(core, w),
                            sizeof(struct wsub), &s->subs);
        new = wished ? &wished->sub : NULL;
    }
    if (new == NULL) return E_NOMEM;
    s->sub_count++;
    core->stats.subscriptions++;
    wish_counted(s, new->wished);
    int rc = new->wished ? wished_set(core, wsub_of(new), w, &o->filters) : 0;
    if (rc < 0) {
        sub_del(s, new);
        return rc;
    }
    if (old) sub_del(s, old);
    *out = new;
    return 0;
}

static void plain_unsubscribe(struct session *s, struct sub *sub, struct bytes filter)
{
    struct core *core = s->core;
    uint32_t locals = sub->filter->local_count, durables = sub->filter->durable_count;
    struct filter after = {.local_count = locals - 1, .durable_count = durables - sub->durable};
    interest_changed(core, &after, filter, locals, durables);
    sub_del(s, sub);
    core->generation++;
}

static int plain_subscribe(struct order *o, struct bytes filter, const struct mqtt_subscription *e,
                           uint8_t qos, const struct wish *w, bool *is_new)
{
    struct session *s = o->s;
    struct core *core = s->core;
    struct sub *sub = trie_find(&core->trie, filter, (uintptr_t)s, wished_variant(core, w));
    *is_new = sub == NULL;
    uint32_t locals = sub ? sub->filter->local_count : 0,
             durables = sub ? sub->filter->durable_count : 0;
    int rc = 0;
    if (*is_new && core->cfg.max_subscriptions && s->sub_count >= core->cfg.max_subscriptions)
        return E_FULL;
    if (!(sub && sub->wished) && wish_over_quota(s, w)) return E_FULL;
    if (o->replay.wanted && replay_over_quota(s, sub)) return E_FULL;
    if (sub == NULL || sub->wished == wish_is_empty(w)) {
        rc = sub_new(o, filter, w, &sub);
        if (*is_new && rc == 0) {
            locals = sub->filter->local_count - 1;
            durables = sub->filter->durable_count;
        }
    } else if (sub->wished) {
        rc = wished_set(core, wsub_of(sub), w, &o->filters);
    }
    if (rc < 0) return rc;
    sub->subid = o->subid; /* the new one replaces everything [MQTT-3.8.4-3] */
    sub->qos = qos & 3u;
    sub->no_local = e->no_local;
    sub->retain_as_published = e->retain_as_published;
    sub->retain_handling = e->retain_handling & 3u;
    trie_set_durable(sub, is_durable(s, qos));
    if (sub->wished && wsub_of(sub)->among == NULL) wish_set_join(core, wsub_of(sub), filter);
    journal_sub(s, sub, filter);
    interest_changed(core, sub->filter, filter, locals, durables);
    core->generation++;
    const char *why;
    uint32_t mark = 0; /* behind journal_sub(), which is not to know of marks */
    if (redeliver_wish(w, &mark, &why) && mark) sub->subid = subid_join(core, mark, sub->subid);
    rc = o->replay.wanted ? replay_begin(wsub_of(sub), filter, &o->replay) : 0;
    if (rc < 0) { /* it is refused, so it must not bring live messages either */
        journal_unsub(s, filter, w->prefix);
        plain_unsubscribe(s, sub, filter);
    }
    return rc;
}

int session_resubscribe(struct session *s, struct bytes filter, const struct mqtt_subscription *e,
                        uint32_t subid, struct bytes block)
{
    struct order o = {.s = s, .subid = subid};
    bool is_new;
    struct wish w;
    wish_get(block, &w);
    int rc = wish_filters_again(s->core, &w, &o.filters);
    if (rc == 0) rc = plain_subscribe(&o, filter, e, e->qos, &w, &is_new);
    wish_filters_fini(s->core, &o.filters);
    return rc;
}

/* One entry, taken apart. */
struct part {
    struct bytes group; /* n > 0: of a shared group, or the name of a queue */
    struct bytes filter;
    struct wish w;
};

/* Takes an entry apart and looks whether it may be: 0, or the reason for SUBACK. */
static uint8_t look_at(struct order *o, const struct mqtt_subscription *e, struct part *part)
{
    struct cconn *c = o->c;
    struct core *core = c->core;
    *part = (struct part){.filter = e->filter, .w = o->wish};
    struct bytes *filter = &part->filter;
    int shared = mqtt_share_split(e->filter, &part->group, filter);
    if (shared == E_TOPIC_FILTER || wish_split(*filter, shared == 0, &part->w, filter) < 0) {
        explain(o, "a prefix of the topic filter is not complete, or in the wrong place");
        return MQTT_TOPIC_FILTER_INVALID;
    }
    if (filter->n && !mqtt_topic_filter_ok(*filter, core->cfg.max_topic_levels))
        return MQTT_TOPIC_FILTER_INVALID;
    uint8_t refusal = check_wish(o, &part->w, shared == 0);
    if (refusal) return refusal;
    if (part->w.queue.n) part->group = part->w.queue;
    int rc = filter->n ? mounted(c, filter) : 0;
    if (rc < 0) return rc == E_TOPIC_FILTER ? MQTT_TOPIC_FILTER_INVALID : MQTT_QUOTA_EXCEEDED;
    if (!access_permits(o, &part->w, *filter)) return MQTT_NOT_AUTHORIZED; /* CONTRACT section 3 */
    return part->w.queue.n ? 0 : check_replay(o, &part->w, *filter);
}

/* What the owners of queues say of this packet; E_AGAIN: not all have, and it is to come again. */
static int ask_owners(struct order *o, const struct mqtt_subscribe *packet)
{
    struct cconn *c = o->c;
    struct mqtt_subscribe m = *packet;
    struct mqtt_subscription e;
    bool asked = false;
    for (uint32_t i = 0; mqtt_subscribe_next(c->version, &m, &e); i++) {
        struct part part;
        const char *why;
        if (!bytes_starts(e.filter, "$queue/")) continue;
        if (look_at(o, &e, &part) == 0)
            asked |= wqueue_ask(c, i, part.group, part.filter, &part.w, &why) == CORE_ASKED;
        wish_filters_fini(c->core, &o->filters);
    }
    o->why[0] = 0;
    o->error = NULL;
    o->unlogged = false;
    if (asked) conn_pause_on(c, &c->core->queue_waiters);
    return asked ? E_AGAIN : 0;
}

/* One entry: the reason for SUBACK. */
static uint8_t subscribe_one(struct order *o, uint32_t at, const struct mqtt_subscription *e)
{
    struct cconn *c = o->c;
    struct core *core = c->core;
    struct part part;
    uint8_t refusal = look_at(o, e, &part);
    if (refusal == MQTT_NOT_AUTHORIZED) core->stats.denied_subscribe++;
    if (refusal) return refusal;
    struct wish w = part.w;
    struct bytes filter = part.filter;
    const char *why = "";
    int said = w.queue.n ? wqueue_ask(c, at, w.queue, filter, &w, &why) : 0;
    if (said) {
        explain(o, "queue: %s", said > 0 ? why : "its owner did not answer");
        return said > 0 ? (uint8_t)said : MQTT_QUOTA_EXCEEDED;
    }
    uint8_t qos = (uint8_t)min_u64(e->qos, c->listener->max_qos);
    bool is_new = false, shared = part.group.n > 0;
    int rc;
    if (shared) {
        rc = share_subscribe(o->s, part.group, filter, e, qos, o->subid, &w);
        o->joins = true;
    } else {
        rc = plain_subscribe(o, filter, e, qos, &w, &is_new);
    }
    if (rc == E_FULL && wish_over_quota(o->s, &w))
        explain(o, "filter: this client has as many as it may, or all together have");
    else if (rc == E_FULL && o->replay.wanted)
        explain(o, "replay: this client has as many as it may");
    if (rc < 0) return rc == E_TOPIC_FILTER ? MQTT_TOPIC_FILTER_INVALID : MQTT_QUOTA_EXCEEDED;
    core_log(core, LOG_T_SUBSCRIBE, "%s %u %.*s", o->s->client_id, qos, (int)e->filter.n,
             (const char *)e->filter.p);
    bool retained =
        e->retain_handling == 0 || (e->retain_handling == 1 && is_new); /* [MQTT-3.3.1-9..11] */
    uint64_t variant = wished_variant(core, &w);
    if (shared || !retained) return qos;
    const struct rjob *job =
        rjob_add(o->s, filter, variant, qos, o->subid, &o->filters, o->replay.wanted);
    if (job)
        rjob_journal(o->s, job);
    else
        core->stats.dropped_no_memory++;
    return qos;
}

/* Reason String and filter-error, into d. */
static struct bytes reason_props(const struct order *o, uint8_t *start)
{
    if (o->why[0] == 0 || !o->c->problem_info) return (struct bytes){0};
    uint8_t *d = mqtt_put_prop_bytes(start, MQTT_P_REASON_STRING, bytes_str(o->why));
    if (o->error) d = mqtt_put_prop_user(d, bytes_str("filter-error"), bytes_str(o->error));
    return bytes_of(start, (size_t)(d - start));
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
    if (ask_owners(&o, &m) < 0) return E_AGAIN;
    struct mqtt_subscription e;
    for (uint32_t i = 0; mqtt_subscribe_next(c->version, &m, &e); i++) {
        uint8_t reason = subscribe_one(&o, i, &e);
        wish_filters_fini(core, &o.filters);
        log_refusal(&o, e.filter);
        reasons[i] = !v5 && reason >= MQTT_UNSPECIFIED_ERROR ? MQTT3_SUBACK_FAILURE : reason;
    }
    wqueue_answered(c);
    uint8_t block[WHY_SIZE + 64];
    struct bytes props = reason_props(&o, block);
    if (MQTT_SMALL_MAX + props.n + m.count > c->max_packet) props.n = 0; /* [MQTT-3.9.2-1] */
    uint8_t *end = mqtt_suback_encode(reply, c->version, MQTT_SUBACK, m.packet_id,
                                      bytes_of(reasons, m.count), props); /* [MQTT-3.8.4-1], -6 */
    interest_fence(c, bytes_of(reply, (size_t)(end - reply)), o.joins);
    return 0;
}

/* ---- ending ---- */

void session_unsubscribe(struct session *s, struct bytes filter, struct bytes prefix)
{
    struct wish w = {.prefix = prefix};
    uint64_t variant = wished_variant(s->core, &w);
    struct sub *sub = trie_find(&s->core->trie, filter, (uintptr_t)s, variant);
    rjobs_cancel(s, filter, variant);
    if (sub) plain_unsubscribe(s, sub, filter);
}

static uint8_t unsubscribe_one(struct cconn *c, struct bytes whole)
{
    struct session *s = c->session;
    struct bytes group, filter = whole;
    struct wish w = {0};
    int shared = mqtt_share_split(whole, &group, &filter);
    if (shared == E_TOPIC_FILTER || wish_split(filter, shared == 0, &w, &filter) < 0)
        return MQTT_TOPIC_FILTER_INVALID;
    if (filter.n && !mqtt_topic_filter_ok(filter, c->core->cfg.max_topic_levels))
        return MQTT_TOPIC_FILTER_INVALID;
    core_log(c->core, LOG_T_UNSUBSCRIBE, "%s %.*s", s->client_id, (int)whole.n,
             (const char *)whole.p);
    if (filter.n && mounted(c, &filter) < 0) return MQTT_TOPIC_FILTER_INVALID;
    if (w.queue.n) group = w.queue;
    if (shared == 0 || w.queue.n)
        return share_unsubscribe(s, group, filter, w.prefix) ? MQTT_SUCCESS
                                                             : MQTT_NO_SUBSCRIPTION_EXISTED;
    uint64_t variant = wished_variant(c->core, &w);
    struct sub *sub = trie_find(&c->core->trie, filter, (uintptr_t)s, variant);
    if (sub == NULL) return MQTT_NO_SUBSCRIPTION_EXISTED;
    rjobs_cancel(s, filter, variant);
    journal_unsub(s, filter, w.prefix);
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

void subscription_end(struct session *s, struct sub *sub)
{
    uint8_t *text = core_scratch(s->core, SCRATCH_TOPIC, MQTT_TOPIC_MAX);
    if (text == NULL) return; /* it just brings nothing more */
    struct bytes filter = bytes_of(text, trie_filter_text(sub, (char *)text));
    struct wish w;
    wish_get(sub_block(sub), &w);
    journal_unsub(s, filter, w.prefix);
    plain_unsubscribe(s, sub, filter);
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
