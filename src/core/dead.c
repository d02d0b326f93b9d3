/* Dead letters, see dead.h.  The shard's thread. */
#include "core/dead.h"

#include "base/rfc3339.h"
#include "core/dead_read.h"
#include "core/journal.h"
#include "core/mailbox.h"
#include "core/wish.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    ADDED_MAX = 640,   /* bytes of the properties that are added, beside texts */
    NOTES_MAX = 65536, /* letters that wait for the end of the turn, or for space */
    AGAIN_MS = 1000,   /* when the store is full */
};

const char *dead_reason_name(enum dead_reason reason)
{
    static const char *const names[DEAD_REASONS] = {
        [DEAD_NONE] = "none",
        [DEAD_ATTEMPTS] = "attempts",
        [DEAD_REJECTED] = "rejected",
        [DEAD_EXPIRED] = "expired",
        [DEAD_OVERFLOW] = "overflow",
        [DEAD_TOO_LARGE] = "too-large",
        [DEAD_SESSION_EXPIRED] = "session-expired",
    };
    ASSERT(reason < DEAD_REASONS);
    return names[reason];
}

bool dead_wanted(const struct core *core, struct bytes topic)
{
    return core->cfg.dead_letter && !bytes_starts(topic, "$dead/");
}

static uint8_t *put(uint8_t *d, const char *key, struct bytes value)
{
    return mqtt_put_prop_user(d, bytes_str(key), value);
}

static uint8_t *put_number(uint8_t *d, const char *key, uint64_t n)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, n);
    return put(d, key, bytes_str(text));
}

static uint8_t *put_time(uint8_t *d, const char *key, uint64_t time_ms)
{
    char text[RFC3339_SIZE];
    rfc3339_put(text, time_ms);
    return put(d, key, bytes_str(text));
}

static uint8_t *put_props(uint8_t *d, const struct dead_letter *l)
{
    const struct pub *p = l->p;
    d = put_mem(d, p->props);
    d = put(d, "sluice-dead-reason", bytes_str(dead_reason_name(l->reason)));
    d = put(d, "sluice-dead-source", l->source);
    d = put(d, "sluice-dead-topic", p->topic);
    d = put_number(d, "sluice-dead-seq", p->seq);
    d = put_number(d, "sluice-dead-attempts", l->attempts);
    d = put_time(d, "sluice-dead-first", l->first_ms ? l->first_ms : p->created_ms);
    d = put_time(d, "sluice-dead-last", l->last_ms ? l->last_ms : p->created_ms);
    if (l->client.n) d = put(d, "sluice-dead-client", l->client);
    if (l->code) d = put_number(d, "sluice-dead-code", l->code);
    if (l->text.n) d = put(d, "sluice-dead-text", l->text);
    return d;
}

/* Nobody sees it: what redriving has to know beside what the letter says. */
static uint8_t *put_control(uint8_t *d, const struct dead_letter *l)
{
    static const char *const kinds[] = {
        [DEAD_OF_QUEUE] = "queue", [DEAD_OF_GROUP] = "group", [DEAD_OF_CLIENT] = "client"};
    return put(put_mem(d, l->p->control), "sluice-dead-kind", bytes_str(kinds[l->kind]));
}

/* ---- later in the turn ---- */

struct dead_note {
    struct dead_note *next;
    struct blob *b;
    store_ref ref; /* held, as long as b is NULL */
    enum dead_reason reason;
    bool of_group;
    uint8_t code;
    uint16_t client_len, group_len, text_len;
    uint32_t attempts;
    uint64_t first_ms, last_ms;
    uint8_t bytes[]; /* client, group, text */
};

bool dead_is_reason(const struct core *core, enum dead_reason reason, struct bytes topic)
{
    return core->cfg.dead_letter_reasons >> reason & 1 && dead_wanted(core, topic);
}

static struct dead_note *note_add(struct session *s, enum dead_reason reason,
                                  const struct dead_about *about)
{
    struct core *core = s->core;
    struct bytes client = bytes_of(s->client_id, s->client_id_len), text = about->text;
    if (core->recovery || core->ending) return NULL;
    struct dead_note *n = core->dead_note_count < NOTES_MAX
                              ? mem_alloc(sizeof *n + client.n + about->group.n + text.n)
                              : NULL;
    if (n == NULL) {
        core->stats.dead_lost++;
        return NULL;
    }
    *n = (struct dead_note){.reason = reason,
                            .of_group = about->group.n > 0,
                            .code = about->code,
                            .client_len = (uint16_t)client.n,
                            .group_len = (uint16_t)about->group.n,
                            .text_len = (uint16_t)text.n,
                            .attempts = about->attempts,
                            .first_ms = about->first_ms,
                            .last_ms = about->last_ms};
    put_mem(put_mem(put_mem(n->bytes, client), about->group), text);
    *core->dead_tail = n;
    core->dead_tail = &n->next;
    core->dead_note_count++;
    return n;
}

void dead_later(struct session *s, struct blob *b, enum dead_reason reason,
                const struct dead_about *about)
{
    struct dead_note *n = note_add(s, reason, about);
    if (n) n->b = blob_ref(b);
}

void dead_later_stored(struct session *s, uint64_t seq, enum dead_reason reason,
                       const struct dead_about *about)
{
    struct dead_note *n = note_add(s, reason, about);
    if (n) n->ref = store_hold(s->core->store, seq, NULL);
}

static void note_free(struct core *core, struct dead_note *n)
{
    core->dead_notes = n->next;
    if (core->dead_notes == NULL) core->dead_tail = &core->dead_notes;
    core->dead_note_count--;
    if (n->b) blob_unref(n->b);
    if (n->ref) core_drop(core, n->ref);
    mem_free(n);
}

static int note_publish(struct core *core, struct dead_note *n)
{
    int fetched = n->b ? 0 : core_fetch(core, n->ref, &n->b);
    if (fetched < 0) return fetched == E_NOMEM ? E_AGAIN : fetched;
    if (!dead_wanted(core, msg_topic(n->b))) return 0;
    struct pub p;
    uint64_t seq;
    struct bytes client = bytes_of(n->bytes, n->client_len);
    struct bytes group = bytes_of(n->bytes + n->client_len, n->group_len);
    pub_of_blob(core, n->b, &p);
    struct dead_letter l = {.p = &p,
                            .reason = n->reason,
                            .kind = n->of_group ? DEAD_OF_GROUP : DEAD_OF_CLIENT,
                            .source = n->of_group ? group : client,
                            .attempts = n->attempts,
                            .first_ms = n->first_ms,
                            .last_ms = n->last_ms,
                            .client = client,
                            .code = n->code,
                            .text = bytes_of(group.p + group.n, n->text_len)};
    return dead_publish(core, &l, &seq);
}

bool dead_has_work(const struct core *core)
{
    bool notes = core->dead_notes != NULL && core->now_ms >= core->dead_again_ms;
    return notes || dead_serve_has_work(core);
}

bool dead_settle(struct core *core)
{
    bool any = dead_serve_has_work(core) && dead_serve(core);
    for (uint32_t most = core->dead_note_count; most > 0; most--) {
        int rc = note_publish(core, core->dead_notes);
        if (rc == E_FULL) core->dead_again_ms = core->now_ms + AGAIN_MS;
        if (rc == E_AGAIN || rc == E_FULL) break; /* it is not lost for that */
        core->stats.dead_lost += rc < 0;
        note_free(core, core->dead_notes);
        any = true;
    }
    return any;
}

void dead_free(struct core *core)
{
    while (core->dead_notes) note_free(core, core->dead_notes);
    dead_list_free(core);
    dead_serve_free(core);
}

/* ---- publishing ---- */

/* Shard 0 has the list. */
static void list_it(struct core *core, struct pub *p)
{
    if (core->shard == 0) {
        core->stats.dead_lost += dead_keep(core, p) < 0;
        return;
    }
    uint8_t *d = mail_begin(core, 0, MAIL_DEAD, mail_pub_size(p));
    if (d) mail_end(core, 0, mail_put_pub(d, p, 0));
}

static void count_reason(struct core_stats *stats, enum dead_reason reason)
{
    uint64_t *const counters[DEAD_REASONS] = {
        [DEAD_ATTEMPTS] = &stats->dead_attempts,
        [DEAD_REJECTED] = &stats->dead_rejected,
        [DEAD_EXPIRED] = &stats->dead_expired,
        [DEAD_OVERFLOW] = &stats->dead_overflow,
        [DEAD_TOO_LARGE] = &stats->dead_too_large,
        [DEAD_SESSION_EXPIRED] = &stats->dead_session_expired,
    };
    if (counters[reason]) ++*counters[reason];
}

int dead_publish(struct core *core, const struct dead_letter *l, uint64_t *seq)
{
    const struct pub *from = l->p;
    size_t size = from->props.n + from->control.n + ADDED_MAX + 2 * from->topic.n +
                  5 * l->source.n + l->client.n + l->text.n;
    uint8_t *start = core_scratch(core, SCRATCH_DEAD, size);
    if (start == NULL) return E_NOMEM;
    uint8_t *d = put_mem(start, bytes_str("$dead/"));
    d = put_u8(put_mem(d, bytes_str(dead_reason_name(l->reason))), '/');
    d = put_mem(put_u8(wish_encode_level(d, l->source), '/'), from->topic);
    struct pub p = {.topic = bytes_of(start, (size_t)(d - start)),
                    .payload = from->payload,
                    .created_ms = core->wall_ms,
                    .expiry_s = MQTT_NO_EXPIRY,
                    .qos = from->qos,
                    .internal = true,
                    .who = from->who,
                    .buries = l->number ? from->seq : 0,
                    .buries_of = l->number,
                    .origin = core->shard};
    if (p.topic.n > MQTT_TOPIC_MAX) return E_TOO_LARGE;
    uint8_t *props = d;
    d = put_props(d, l);
    p.props = bytes_of(props, (size_t)(d - props));
    if (p.props.n > MSG_PROPS_MAX) return E_TOO_LARGE;
    uint8_t *control = d;
    d = put_control(d, l);
    p.control = bytes_of(control, (size_t)(d - control));
    ASSERT((size_t)(d - start) <= size);
    const struct route *r = pub_route(core, &p);
    /* That the message came, or is there, is not to be read behind its end. */
    bool ordered = core->journaling && l->number && buf_len(&core->journal);
    if (ordered) journal_flush(core);
    if (ordered && buf_len(&core->journal)) return E_AGAIN;
    int rc = pub_store(core, &p);
    if (rc == 0) {
        core->stats.dead_letters++;
        count_reason(&core->stats, l->reason);
        *seq = p.seq;
        router_publish(core, &p, r);
        list_it(core, &p);
    }
    blob_unref(p.blob);
    return rc;
}
