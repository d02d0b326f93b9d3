/* The reader's side, see dead_read.h. */
#include "core/dead_read.h"

#include "core/mailbox.h"
#include "core/replay_int.h"

struct dead_reader {
    struct core *core;
    struct dead_query query;
    uint32_t number;
    bool asked, chose;
    uint64_t upto;    /* what the page says of: everything before this */
    uint64_t held;    /* reference of the letter that was given last; 0: none */
    uint64_t *chosen; /* the last ones of their topics, in order */
    size_t chosen_count;
    uint8_t *page;
    struct rd rest; /* of the page */
};

int dead_read_open(struct dead_reader **out, struct core *core, const struct dead_query *query)
{
    struct dead_reader *r = mem_calloc(1, sizeof *r);
    if (r == NULL) return E_NOMEM;
    r->core = core;
    r->query = *query;
    r->number = ++core->next_token;
    r->chose = query->last == 0;
    *out = r;
    return 0;
}

uint32_t dead_read_number(const struct dead_reader *r) { return r->number; }

uint64_t dead_read_position(const struct dead_reader *r) { return r->query.from_seq; }

bool dead_read_waits(const struct dead_reader *r) { return r->asked; }

static void ask(struct dead_reader *r)
{
    const struct dead_query *q = &r->query;
    uint8_t *d = mail_begin(r->core, 0, MAIL_DEAD_ASK, 48);
    if (d == NULL) return; /* the next turn tries again */
    d = mail_put_u32(mail_put_u64(d, q->session), r->number);
    d = mail_put_u64(mail_put_u64(mail_put_u64(d, q->from_seq), q->end_seq), q->told_seq);
    mail_end(r->core, 0, mail_put_u32(d, r->chose ? 0 : q->last));
    r->asked = true;
}

static void let_go(struct core *core, uint64_t *ref)
{
    if (*ref && core->keeps) core_drop(core, *ref);
    *ref = 0;
}

static void page_free(struct dead_reader *r)
{
    struct pub p;
    let_go(r->core, &r->held);
    while (rd_left(&r->rest)) {
        r->held = mail_u64(&r->rest);
        (void)mail_get_pub(&r->rest, &p);
        let_go(r->core, &r->held);
    }
    mem_free(r->page);
    r->page = NULL;
    r->rest = (struct rd){0};
}

static bool is_wanted(const struct dead_reader *r, uint64_t seq)
{
    if (r->query.last == 0 || seq >= r->query.told_seq) return true;
    return r->chosen_count && bsearch(&seq, r->chosen, r->chosen_count, sizeof seq, seq_order);
}

int dead_read_next(struct dead_reader *r, struct pub *p, uint64_t *ref)
{
    let_go(r->core, &r->held);
    while (rd_left(&r->rest)) {
        r->held = mail_u64(&r->rest);
        (void)mail_get_pub(&r->rest, p);
        r->query.from_seq = p->seq + 1;
        *ref = r->held;
        if (is_wanted(r, p->seq)) return 0;
        let_go(r->core, &r->held);
    }
    if (r->page) {
        page_free(r);
        r->query.from_seq = max_u64(r->query.from_seq, r->upto);
    }
    if (!r->asked) ask(r);
    return E_NOTFOUND;
}

void dead_read_close(struct dead_reader **reader)
{
    struct dead_reader *r = *reader;
    *reader = NULL;
    if (r == NULL) return;
    uint8_t *d = r->asked && !r->core->ending ? mail_begin(r->core, 0, MAIL_DEAD_STOP, 4) : NULL;
    if (d) mail_end(r->core, 0, mail_put_u32(d, r->number));
    page_free(r);
    mem_free(r->chosen);
    mem_free(r);
}

/* ---- mail ---- */

static int choose(struct dead_reader *r, struct bytes seqs)
{
    r->chosen = mem_alloc(seqs.n + 1);
    if (r->chosen == NULL) return E_NOMEM;
    memcpy(r->chosen, seqs.p, seqs.n);
    r->chosen_count = seqs.n / sizeof *r->chosen;
    r->chose = true;
    return 0;
}

void dead_read_page(struct core *core, struct dead_reader *r, struct rd *rd)
{
    uint64_t upto = mail_u64(rd);
    struct bytes chosen = mail_bytes(rd);
    struct dead_reader nobody = {.core = core};
    struct bytes rest = rd_take(rd, rd_left(rd));
    uint8_t *page = r && upto ? mem_alloc(rest.n + 1) : NULL;
    if (page == NULL || (!r->chose && choose(r, chosen) < 0)) { /* not lost: it asks again */
        core->stats.dropped_no_memory += r != NULL;
        nobody.rest = rd_of(rest);
        page_free(&nobody);
        mem_free(page);
        if (r) r->asked = false;
        return;
    }
    memcpy(page, rest.p, rest.n);
    r->page = page;
    r->rest = rd_of(bytes_of(page, rest.n));
    r->upto = upto;
    r->asked = false;
}
