/* Questions to the owners of queues on other shards that must be answered before a packet can be:
 * the connection is not read meanwhile, and then the packet comes again and finds what was said.
 *
 *   SUBSCRIBE -> ASK to the owner, CORE_ASKED -> paused -> SAID -> SUBSCRIBE again -> SUBACK
 *
 * The shard's thread. */
#include "core/queue_int.h"

#include <stdio.h>

enum { WHY_MAX = 100 };

struct qask {
    uint32_t token;
    uint32_t count, open; /* questions, and those that are not answered */
    struct qasked {
        uint32_t entry; /* of the packet */
        uint8_t reason;
        bool said;
        char why[WHY_MAX];
    } items[]; /* count of them */
};

static struct qasked *find(const struct qask *ask, uint32_t entry)
{
    for (uint32_t i = 0; ask && i < ask->count; i++)
        if (ask->items[i].entry == entry) return (struct qasked *)(uintptr_t)&ask->items[i];
    return NULL;
}

static struct qasked *add(struct cconn *c, uint32_t entry)
{
    uint32_t count = c->asking ? c->asking->count : 0;
    struct qask *ask =
        mem_realloc(c->asking, sizeof *ask + (count + 1) * (size_t)sizeof ask->items[0]);
    if (ask == NULL) return NULL;
    if (c->asking == NULL) *ask = (struct qask){.token = ++c->core->next_token};
    c->asking = ask;
    struct qasked *item = &ask->items[ask->count++];
    *item = (struct qasked){.entry = entry};
    return item;
}

int wqueue_ask(struct cconn *c, uint32_t entry, struct bytes name, struct bytes filter,
               const struct wish *w, const char **why)
{
    struct core *core = c->core;
    unsigned owner = wqueue_owner(core, name);
    if (owner == core->shard) return wqueue_admit(core, name, filter, w, why);
    struct qasked *item = find(c->asking, entry);
    if (item && item->said) {
        *why = item->why;
        return item->reason;
    }
    *why = "out of memory";
    if (item == NULL) item = add(c, entry);
    if (item == NULL) return MQTT_QUOTA_EXCEEDED;
    size_t block = wish_size(w);
    uint8_t *d = mail_begin(core, owner, MAIL_QUEUE_ASK, 64 + name.n + filter.n + block);
    if (d == NULL) {
        c->asking->count--;
        return MQTT_QUOTA_EXCEEDED;
    }
    c->asking->open++;
    d = mail_put_u64(d, c->session->id);
    d = mail_put_u32(mail_put_u32(d, c->asking->token), entry);
    d = mail_put_bytes(mail_put_bytes(d, name), filter);
    d = mail_put_u32(d, (uint32_t)block);
    mail_end(core, owner, wish_put(d, w));
    return CORE_ASKED;
}

static void on_ask(struct core *core, unsigned src, struct rd *r)
{
    uint64_t session = mail_u64(r);
    uint32_t token = mail_u32(r), entry = mail_u32(r);
    struct bytes name = mail_bytes(r), filter = mail_bytes(r);
    struct wish w;
    wish_get(mail_bytes(r), &w);
    ASSERT(rd_ok(r));
    const char *why = "";
    uint32_t reason = wqueue_admit(core, name, filter, &w, &why);
    uint8_t *d = mail_begin(core, src, MAIL_QUEUE_SAID, 64 + strlen(why));
    if (d == NULL) return;
    d = mail_put_u32(mail_put_u32(mail_put_u64(d, session), token), entry);
    mail_end(core, src, mail_put_bytes(mail_put_u32(d, reason), bytes_str(why)));
}

static void on_said(struct core *core, struct rd *r)
{
    const struct session *s = core_session(core, mail_u64(r));
    uint32_t token = mail_u32(r), entry = mail_u32(r), reason = mail_u32(r);
    struct bytes why = mail_bytes(r);
    ASSERT(rd_ok(r));
    struct cconn *c = s ? s->conn : NULL;
    if (c == NULL || c->asking == NULL || c->asking->token != token) return;
    struct qasked *item = find(c->asking, entry);
    if (item == NULL || item->said) return;
    item->said = true;
    item->reason = (uint8_t)reason;
    size_t n = min_u64(why.n, sizeof item->why - 1);
    if (n) memcpy(item->why, why.p, n);
    item->why[n] = 0;
    if (--c->asking->open == 0) conn_resume(c);
}

/* ---- whether a publish may be ---- */

enum { MAY_FIRST = 1 << 20 }; /* + shard: instead of an entry of a SUBSCRIBE */

/* An answer that waits. */
struct qlate {
    struct qlate *next;
    uint64_t seq, session;
    unsigned dst;
    uint32_t token, entry, verdict;
    char why[WHY_MAX];
};

int wqueue_may(struct cconn *c, const struct pub *p, uint64_t shards, bool bury, unsigned *verdict,
               const char **why)
{
    struct core *core = c->core;
    *verdict = 0;
    *why = "a queue is full";
    for (unsigned dst = 0; dst < core->shards; dst++) {
        if (!(shards >> dst & 1)) continue;
        struct qasked *item = find(c->asking, MAY_FIRST + dst);
        if (item && item->said) {
            *verdict |= item->reason;
            if (item->reason & QUEUE_IS_FULL) *why = item->why;
        }
        if (item) continue;
        size_t size = 32 + mail_pub_size(p);
        if (add(c, MAY_FIRST + dst) == NULL) return E_NOMEM;
        uint8_t *d = mail_begin(core, dst, MAIL_QUEUE_MAY, size);
        if (d == NULL) return E_NOMEM;
        c->asking->open++;
        d = mail_put_u64(d, c->session->id);
        d = mail_put_u32(mail_put_u32(d, c->asking->token), MAY_FIRST + dst);
        mail_end(core, dst, mail_put_pub(d, p, bury));
    }
    if (c->asking == NULL || c->asking->open == 0) return 0;
    conn_pause_on(c, &core->queue_waiters);
    return E_AGAIN;
}

static void say(struct core *core, const struct qlate *l)
{
    struct bytes why = bytes_str(l->why);
    uint8_t *d = mail_begin(core, l->dst, MAIL_QUEUE_SAID, 64 + why.n);
    if (d == NULL) return;
    d = mail_put_u32(mail_put_u32(mail_put_u64(d, l->session), l->token), l->entry);
    mail_end(core, l->dst, mail_put_bytes(mail_put_u32(d, l->verdict), why));
}

void wqueue_say(struct core *core, uint64_t safe)
{
    for (struct qlate **at = &core->queue_late; *at;) {
        struct qlate *l = *at;
        if (l->seq > safe && !core->ending) {
            at = &l->next;
            continue;
        }
        *at = l->next;
        if (!core->ending) say(core, l);
        mem_free(l);
    }
}

static void on_may(struct core *core, unsigned src, struct rd *r)
{
    struct qlate like = {.dst = src, .session = mail_u64(r)};
    like.token = mail_u32(r);
    like.entry = mail_u32(r);
    struct pub p;
    bool bury = mail_get_pub(r, &p) != 0;
    const struct wqueue *full = wqueue_judge(core, &p, &like.verdict);
    if (full) {
        snprintf(like.why, sizeof like.why, "queue %.60s is full", full->name);
        if (bury) like.seq = wqueue_bury_new(core, full, &p);
    }
    struct qlate *late = like.seq && core->keeps ? mem_alloc(sizeof *late) : NULL;
    if (late == NULL) {
        say(core, &like);
        return;
    }
    *late = like;
    late->next = core->queue_late;
    core->queue_late = late;
}

void wqueue_ask_in(struct core *core, unsigned src, unsigned kind, struct rd *r)
{
    if (kind == MAIL_QUEUE_ASK)
        on_ask(core, src, r);
    else if (kind == MAIL_QUEUE_MAY)
        on_may(core, src, r);
    else
        on_said(core, r);
}

void wqueue_answered(struct cconn *c)
{
    mem_free(c->asking);
    c->asking = NULL;
}
