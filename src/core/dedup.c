/* See dedup.h. */
#include "core/dedup.h"

#include "base/ptrmap.h"
#include "core/control.h"
#include "core/delayed.h"
#include "core/history.h"
#include "core/journal.h"
#include "core/mailbox.h"

enum {
    SEEN_MAX = 1 << 20, /* identifiers that a shard remembers; then the oldest goes */
    JOURNAL_RUN = 256,
};

/* ---- what was seen: the owner ---- */

struct claim { /* who wants to publish it, or waits for who does */
    struct claim *next;
    unsigned shard;
    uint32_t token;
    session_id session;
};

struct seen {
    uint64_t id;
    uint64_t until_ms;    /* wall clock; 0: it is only claimed */
    struct claim *claims; /* the first has it, the others wait */
    struct list link;     /* in order, if kept */
};

struct dedup {
    struct ptrmap map;
    struct list order;
};

static uint64_t seen_hash(const void *elem, uint64_t seed)
{
    return hash_u64(((const struct seen *)elem)->id, seed);
}

static struct dedup *dedup_of(struct core *core)
{
    if (core->dedup) return core->dedup;
    core->dedup = mem_calloc(1, sizeof *core->dedup);
    if (core->dedup == NULL) return NULL;
    ptrmap_init(&core->dedup->map, seen_hash, core->seed);
    list_init(&core->dedup->order);
    return core->dedup;
}

static struct seen *find(const struct core *core, uint64_t id)
{
    uint64_t hash = hash_u64(id, core->seed);
    struct seen *s;
    if (core->dedup == NULL) return NULL;
    for (size_t pos = hash; (s = ptrmap_next(&core->dedup->map, hash, &pos)) != NULL;)
        if (s->id == id) return s;
    return NULL;
}

static void seen_free(struct core *core, struct seen *s)
{
    ptrmap_del(&core->dedup->map, s, hash_u64(s->id, core->seed));
    list_del(&s->link);
    mem_free(s);
}

static struct seen *seen_add(struct core *core, uint64_t id)
{
    struct dedup *dd = dedup_of(core);
    struct seen *s = dd ? mem_calloc(1, sizeof *s) : NULL;
    if (s == NULL) return NULL;
    s->id = id;
    if (ptrmap_put(&dd->map, s, hash_u64(id, core->seed)) == 0) return s;
    mem_free(s);
    return NULL;
}

/* Those whose time is over, and the oldest of too many; a claimed one is not in the order. */
static void forget(struct core *core)
{
    struct dedup *dd = core->dedup;
    while (!list_empty(&dd->order)) {
        struct seen *s = CONTAINER_OF(dd->order.next, struct seen, link);
        bool over = s->until_ms <= core->wall_ms;
        if (!over && dd->map.count <= SEEN_MAX) return;
        core->stats.dedup_forgotten += !over;
        seen_free(core, s);
    }
}

static int keep(struct core *core, uint64_t id, uint64_t until_ms)
{
    struct seen *s = find(core, id);
    if (s == NULL) s = seen_add(core, id);
    if (s == NULL) return E_NOMEM;
    if (s->until_ms == 0) list_push(&core->dedup->order, &s->link);
    s->until_ms = max_u64(s->until_ms, until_ms);
    return 0;
}

static void say(struct core *core, const struct claim *a, uint64_t id, bool known)
{
    uint8_t *d = mail_begin(core, a->shard, MAIL_DEDUP_SAID, 24);
    if (d == NULL) return;
    d = mail_put_u32(mail_put_u64(d, a->session), a->token);
    mail_end(core, a->shard, mail_put_u32(mail_put_u64(d, id), known));
}

static void claim(struct core *core, uint64_t id, const struct claim *by)
{
    struct seen *s = find(core, id);
    if (s && s->until_ms && s->until_ms <= core->wall_ms) {
        seen_free(core, s);
        s = NULL;
    }
    if (s && s->until_ms) {
        say(core, by, id, true);
        return;
    }
    if (s == NULL) s = seen_add(core, id);
    struct claim *a = s ? mem_alloc(sizeof *a) : NULL;
    if (a == NULL) { /* its duplicates will be taken for others */
        core->stats.dropped_no_memory++;
        if (s && s->claims == NULL) seen_free(core, s);
        say(core, by, id, false);
        return;
    }
    struct claim **at = &s->claims;
    while (*at) at = &(*at)->next;
    *at = a;
    *a = *by;
    if (s->claims == a) say(core, a, id, false);
}

/* The first claim is over.  Without it having been kept the next has it. */
static void claim_over(struct core *core, uint64_t id, uint64_t until_ms)
{
    struct seen *s = find(core, id);
    struct claim *a = s ? s->claims : NULL;
    if (a == NULL) return; /* for want of memory it was never claimed */
    s->claims = a->next;
    mem_free(a);
    if (until_ms) {
        (void)!keep(core, id, until_ms); /* it is there */
        while ((a = s->claims) != NULL) {
            say(core, a, id, true);
            s->claims = a->next;
            mem_free(a);
        }
        forget(core);
    } else if (s->claims) {
        say(core, s->claims, id, false);
    } else {
        seen_free(core, s);
    }
}

/* ---- who publishes ---- */

struct dedup_ask {
    uint64_t id, window_ms;
    uint32_t token;
    bool said, known;
};

static unsigned owner_of(const struct core *core, uint64_t id)
{
    return (unsigned)((id >> 32) % core->shards);
}

/* 0: it has none, or its history does not ask for it.  The same in every run. */
static uint64_t id_of(const struct core *core, const struct pub *p, uint64_t *window_ms)
{
    struct control control;
    if (p->control.n == 0 || core->histories == NULL) return 0;
    unsigned policy = history_of(core, p->topic);
    const struct core_history *h = policy ? history_conf(core, policy) : NULL;
    control_read(p->control, &control);
    if (h == NULL || h->dedup_window_ms == 0 || control.dedup_id.n == 0) return 0;
    *window_ms = h->dedup_window_ms;
    uint64_t id = hash_bytes(control.dedup_id, hash_bytes(bytes_str(h->filter), 0));
    return id ? id : 1;
}

int dedup_check(struct cconn *c, const struct pub *p)
{
    struct core *core = c->core;
    uint64_t window_ms = 0, id = c->dedup ? c->dedup->id : id_of(core, p, &window_ms);
    if (id == 0) return 0;
    if (c->dedup && c->dedup->said) return c->dedup->known ? E_EXISTS : 0;
    if (c->dedup == NULL) {
        uint8_t *d;
        struct dedup_ask *ask = mem_alloc(sizeof *ask);
        if (ask == NULL) return E_NOMEM;
        if ((d = mail_begin(core, owner_of(core, id), MAIL_DEDUP_ASK, 24)) == NULL) {
            mem_free(ask);
            return E_NOMEM;
        }
        *ask = (struct dedup_ask){.id = id, .window_ms = window_ms, .token = ++core->next_token};
        d = mail_put_u32(mail_put_u64(d, c->session->id), ask->token);
        mail_end(core, owner_of(core, id), mail_put_u64(d, id));
        c->dedup = ask;
    }
    conn_pause_on(c, &core->queue_waiters);
    return E_AGAIN;
}

static void post_over(struct core *core, uint64_t id, uint64_t until_ms)
{
    if (owner_of(core, id) == core->shard) { /* at once: no checkpoint is to come between */
        claim_over(core, id, until_ms);
        return;
    }
    uint8_t *d = mail_begin(core, owner_of(core, id), MAIL_DEDUP_OVER, 16);
    if (d) mail_end(core, owner_of(core, id), mail_put_u64(mail_put_u64(d, id), until_ms));
}

void dedup_over(struct cconn *c, const struct pub *p)
{
    struct dedup_ask *ask = c->dedup;
    if (LIKELY(ask == NULL)) return;
    c->dedup = NULL;
    /* What is not answered yet finds nobody, and is given back then. */
    if (ask->said && !ask->known)
        post_over(c->core, ask->id, p && p->seq ? p->created_ms + ask->window_ms : 0);
    mem_free(ask);
}

/* ---- mail ---- */

static void on_said(struct core *core, struct rd *r)
{
    const struct session *s = core_session(core, mail_u64(r));
    uint32_t token = mail_u32(r);
    uint64_t id = mail_u64(r);
    bool known = mail_u32(r) != 0;
    struct cconn *c = s ? s->conn : NULL;
    if (c && c->dedup && c->dedup->token == token) {
        c->dedup->said = true;
        c->dedup->known = known;
        conn_resume(c);
    } else if (!known) {
        post_over(core, id, 0);
    }
}

void dedup_mail_in(struct core *core, unsigned src, unsigned kind, struct rd *r)
{
    struct claim by = {.shard = src};
    if (kind == MAIL_DEDUP_SAID) {
        on_said(core, r);
        return;
    }
    if (kind == MAIL_DEDUP_ASK) {
        by.session = mail_u64(r);
        by.token = mail_u32(r);
        claim(core, mail_u64(r), &by);
        return;
    }
    uint64_t id = mail_u64(r);
    claim_over(core, id, mail_u64(r));
}

void dedup_free(struct core *core)
{
    struct dedup *dd = core->dedup;
    for (size_t i = 0; dd && dd->map.slots && i <= dd->map.mask; i++) {
        struct seen *s = (void *)(uintptr_t)(dd->map.slots[i] & 0xffffffffffffu);
        while (s && s->claims) {
            struct claim *a = s->claims;
            s->claims = a->next;
            mem_free(a);
        }
        mem_free(s);
    }
    if (dd) ptrmap_fini(&dd->map);
    mem_free(dd);
    core->dedup = NULL;
}

/* ---- the journal ---- */

void dedup_journal_seen(struct core *core, const struct pub *p)
{
    uint64_t window_ms, id = id_of(core, p, &window_ms);
    uint8_t *d = journal_put(core, J_SEEN, 16);
    if (d) journal_put_end(core, mail_put_u64(mail_put_u64(d, id), 1));
}

void dedup_journal(struct core *core)
{
    struct list *it = core->dedup ? core->dedup->order.next : NULL;
    while (it && it != &core->dedup->order) {
        uint8_t *d = journal_put(core, J_SEEN, JOURNAL_RUN * 16);
        if (d == NULL) return;
        for (int n = 0; n < JOURNAL_RUN && it != &core->dedup->order; n++, it = it->next) {
            const struct seen *s = CONTAINER_OF(it, struct seen, link);
            d = mail_put_u64(mail_put_u64(d, s->id), s->until_ms);
        }
        journal_put_end(core, d);
    }
}

static int restore(struct core *core, uint64_t id, uint64_t until_ms)
{
    if (owner_of(core, id) != core->shard || until_ms <= core->wall_ms) return 0;
    int rc = keep(core, id, until_ms);
    if (rc == 0) forget(core);
    return rc;
}

int dedup_restore(struct core *core, struct rd *r)
{
    int rc = 0;
    while (rc == 0 && rd_left(r)) {
        uint64_t id = mail_u64(r);
        rc = restore(core, id, mail_u64(r));
    }
    return rc;
}

int dedup_restore_message(struct core *core, const struct pub *p)
{
    struct pub due = *p;
    delayed_final_topic(&due.topic);
    uint64_t window_ms, id = id_of(core, &due, &window_ms);
    return id ? restore(core, id, p->created_ms + window_ms) : 0;
}
