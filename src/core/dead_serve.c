/* Shard 0's side of reading the list of dead letters, see dead_read.h. */
#include "core/dead_int.h"
#include "core/dead_read.h"
#include "core/mailbox.h"
#include "core/replay_int.h"

enum {
    PAGE_BYTES = 65536, /* of letters; one that is larger goes alone */
    PAGES_MAX = 16,     /* in a turn */
};

struct dead_ask {
    struct list item;
    unsigned shard;
    uint32_t number; /* of the reader, there */
    session_id session;
    uint64_t from_seq, end_seq, told_seq;
    uint32_t last;
};

struct dead_service {
    struct list asks;
    uint64_t arrived;   /* all letters before this are in the list */
    uint64_t fence_end; /* what that will be when the fence is back; 0: there is none */
    bool due;           /* an ask has not been looked at since something has changed */
};

/* ---- pages ---- */

static int by_topic(const void *a, const void *b)
{
    const struct dead_entry *x = a, *y = b;
    if (x->topic != y->topic) return x->topic < y->topic ? -1 : 1;
    return x->seq < y->seq ? 1 : -1; /* the newest first */
}

/* Sequences of the last ones of each topic in scratch memory; those of earlier builds, whose topic
 * is not at hand, all. */
static int choose(struct core *core, const struct dead_ask *a, struct bytes *out)
{
    const struct dead_list *l = core->dead_list;
    uint32_t count = dead_position(l, a->told_seq), kept = 0, of_topic = 0;
    size_t seqs = (size_t)count * sizeof(uint64_t);
    uint8_t *room = core_scratch(core, SCRATCH_DEAD, seqs + count * sizeof(struct dead_entry) + 1);
    if (room == NULL) return E_NOMEM;
    uint64_t *chosen = (uint64_t *)(void *)room;
    struct dead_entry *all = (struct dead_entry *)(void *)(room + seqs);
    if (count) memcpy(all, dead_at(l, 0), count * sizeof *all);
    qsort(all, count, sizeof *all, by_topic);
    for (uint32_t i = 0; i < count; i++) {
        of_topic = i && all[i].topic == all[i - 1].topic ? of_topic + 1 : 0;
        if (of_topic < a->last || all[i].topic == 0) chosen[kept++] = all[i].seq;
    }
    qsort(chosen, kept, sizeof *chosen, seq_order);
    *out = bytes_of(chosen, kept * sizeof *chosen);
    return 0;
}

static int put_letter(struct core *core, const struct dead_entry *e, struct buf *page)
{
    struct blob *b;
    struct pub p;
    int rc = dead_body(core, e, &b);
    if (rc < 0) return rc;
    pub_of_blob(core, b, &p);
    p.seq = e->seq;
    uint8_t *start = buf_reserve(page, (uint32_t)(8 + mail_pub_size(&p)));
    if (start) {
        uint8_t *d = mail_put_pub(mail_put_u64(start, core->keeps ? e->ref : e->seq), &p, 0);
        buf_commit(page, (uint32_t)(d - start));
    }
    blob_unref(b);
    return start ? 0 : E_NOMEM;
}

/* The next letters of the list.  E_AGAIN, E_NOMEM: not even one now. */
static int put_letters(struct core *core, const struct dead_ask *a, struct buf *page,
                       uint64_t *upto)
{
    const struct dead_list *l = core->dead_list;
    uint64_t arrived = core->dead_service->arrived, end = min_u64(arrived, a->end_seq);
    *upto = arrived;
    for (uint32_t at = dead_position(l, a->from_seq); l && at < l->count; at++) {
        const struct dead_entry *e = dead_at(l, at);
        if (e->seq >= end) break;
        int rc = buf_len(page) < PAGE_BYTES ? put_letter(core, e, page) : E_AGAIN;
        if (rc == 0 || rc == E_IO) continue; /* lost: the store has said so */
        *upto = e->seq;
        return buf_len(page) ? 0 : rc;
    }
    return 0;
}

static void hold_all(struct core *core, struct bytes letters)
{
    struct rd r = rd_of(letters);
    struct pub p;
    while (core->keeps && rd_left(&r)) {
        (void)store_hold(core->store, mail_u64(&r), NULL);
        (void)mail_get_pub(&r, &p);
    }
}

static int post(struct core *core, const struct dead_ask *a, uint64_t upto, struct bytes chosen,
                struct bytes letters)
{
    uint8_t *d = mail_begin(core, a->shard, MAIL_DEAD_PAGE, 32 + chosen.n + letters.n);
    if (d == NULL) return E_NOMEM;
    d = mail_put_u64(mail_put_u32(mail_put_u64(d, a->session), a->number), upto);
    mail_end(core, a->shard, put_mem(mail_put_bytes(d, chosen), letters));
    hold_all(core, letters);
    return 0;
}

static int answer(struct core *core, const struct dead_ask *a)
{
    struct buf page = {0};
    struct bytes chosen = {0};
    uint64_t upto;
    int rc = put_letters(core, a, &page, &upto);
    if (rc == 0 && a->last) rc = choose(core, a, &chosen);
    if (rc == 0) rc = post(core, a, upto, chosen, page.data ? buf_view(&page) : (struct bytes){0});
    buf_fini(&page);
    return rc;
}

/* ---- asks ---- */

static bool has_letter(const struct core *core, const struct dead_ask *a, uint64_t before)
{
    const struct dead_list *l = core->dead_list;
    uint32_t at = dead_position(l, a->from_seq);
    return l && at < l->count && dead_at(l, at)->seq < min_u64(before, a->end_seq);
}

static bool is_answerable(const struct core *core, const struct dead_ask *a)
{
    uint64_t arrived = core->dead_service->arrived;
    if (arrived < a->told_seq) return a->last == 0 && has_letter(core, a, arrived);
    return a->from_seq < a->told_seq || has_letter(core, a, arrived);
}

/* Whether more may be said when all that has a sequence by now has arrived. */
static bool wants_more(const struct core *core, const struct dead_ask *a)
{
    return core->dead_service->arrived < a->told_seq || has_letter(core, a, UINT64_MAX);
}

static void ask_free(struct dead_ask *a)
{
    list_del(&a->item);
    mem_free(a);
}

/* False: there is no memory for it. */
static bool fence(struct core *core)
{
    struct dead_service *ds = core->dead_service;
    if (ds->fence_end) return true;
    ds->fence_end = store_end(core->store);
    bool goes = interest_fence_dead(core) == 0;
    if (!goes) ds->fence_end = 0;
    return goes;
}

void dead_serve_arrived(struct core *core)
{
    struct dead_service *ds = core->dead_service;
    ds->arrived = ds->fence_end;
    ds->fence_end = 0;
    ds->due = true;
}

void dead_serve_added(struct core *core)
{
    struct dead_service *ds = core->dead_service;
    if (UNLIKELY(ds != NULL) && !list_empty(&ds->asks)) ds->due = true;
}

bool dead_serve_has_work(const struct core *core)
{
    return core->dead_service && core->dead_service->due;
}

bool dead_serve(struct core *core)
{
    struct dead_service *ds = core->dead_service;
    uint32_t answered = 0;
    bool more = false, again = false;
    LIST_EACH_SAFE(it, next, &ds->asks)
    {
        struct dead_ask *a = CONTAINER_OF(it, struct dead_ask, item);
        again = again || answered == PAGES_MAX;
        if (again) break;
        if (!is_answerable(core, a)) {
            more = more || wants_more(core, a);
        } else if (answer(core, a) == 0) {
            ask_free(a);
            answered++;
        } else {
            again = true; /* it is being read; those behind it wait as well */
        }
    }
    ds->due = again;
    if (more && !fence(core)) ds->due = true;
    return answered > 0;
}

static struct dead_service *service_of(struct core *core)
{
    if (core->dead_service) return core->dead_service;
    core->dead_service = mem_calloc(1, sizeof *core->dead_service);
    if (core->dead_service) list_init(&core->dead_service->asks);
    return core->dead_service;
}

static void on_ask(struct core *core, unsigned src, struct rd *r)
{
    struct dead_ask a = {.shard = src};
    a.session = mail_u64(r);
    a.number = mail_u32(r);
    a.from_seq = mail_u64(r);
    a.end_seq = mail_u64(r);
    a.told_seq = mail_u64(r);
    a.last = mail_u32(r);
    struct dead_service *ds = service_of(core);
    struct dead_ask *new = ds ? mem_alloc(sizeof *new) : NULL;
    if (new == NULL) { /* it asks again */
        core->stats.dropped_no_memory++;
        (void)!post(core, &a, 0, (struct bytes){0}, (struct bytes){0});
        return;
    }
    *new = a;
    list_push(&ds->asks, &new->item);
    ds->due = true;
}

static void on_stop(struct core *core, unsigned src, struct rd *r)
{
    uint32_t number = mail_u32(r);
    if (core->dead_service == NULL) return;
    LIST_EACH_SAFE(it, next, &core->dead_service->asks)
    {
        struct dead_ask *a = CONTAINER_OF(it, struct dead_ask, item);
        if (a->shard == src && a->number == number) ask_free(a);
    }
}

void dead_serve_free(struct core *core)
{
    struct dead_service *ds = core->dead_service;
    while (ds && !list_empty(&ds->asks))
        ask_free(CONTAINER_OF(ds->asks.next, struct dead_ask, item));
    mem_free(ds);
    core->dead_service = NULL;
}

void dead_read_mail_in(struct core *core, unsigned src, unsigned kind, struct rd *r)
{
    if (kind == MAIL_DEAD_ASK)
        on_ask(core, src, r);
    else if (kind == MAIL_DEAD_STOP)
        on_stop(core, src, r);
    else
        replay_dead_page(core, r);
}
