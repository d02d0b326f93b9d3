/* Retained messages still to be sent for a SUBSCRIBE, in the journal: a session that outlives the
 * process gets what is missing after a crash [MQTT-3.3.1-9].  Jobs of QoS 1 and 2 only.
 *
 * A job that was recovered begins anew, as the shards that own the topics are others now; what was
 * given before is known by its sequence: from the job's own entry in a checkpoint, and from the
 * deliveries after that.  It is only ever the first job of a session that gives anything.  The
 * shard's thread. */
#include "core/journal.h"
#include "core/mailbox.h"
#include "core/retained.h"
#include "core/wished.h"

enum {
    GIVEN_MAX = 1 << 17, /* those beyond come once more after a crash */
    OUTSIDE_BIT = 7,     /* of the QoS, in the journal */
};

static bool is_logged(const struct session *s, const struct rjob *job)
{
    return s->logged && job->qos > 0;
}

static void note(struct core *core, struct rjob *job, uint64_t seq)
{
    if (seq == 0 || job->given_count == GIVEN_MAX) return;
    if (job->given_count == job->given_cap) {
        uint32_t cap = job->given_cap ? job->given_cap * 2 : 16;
        uint64_t *p = mem_realloc(job->given, cap * sizeof *p);
        if (p == NULL) { /* comes once more after a crash */
            core->stats.dropped_no_memory += core->recovery != NULL;
            return;
        }
        job->given = p;
        job->given_cap = cap;
    }
    job->given[job->given_count++] = seq;
}

void rjobs_note_given(struct session *s, uint64_t seq)
{
    struct rjob *job = s->rjobs;
    while (job && !is_logged(s, job)) job = job->next;
    if (job) note(s->core, job, seq);
}

void rjob_note_live(struct session *s, struct rjob *job, uint64_t seq)
{
    if (is_logged(s, job)) note(s->core, job, seq);
}

/* Only what was given before the recovery is asked for: after it each topic is looked at once. */
bool rjob_has_given(const struct rjob *job, uint64_t seq)
{
    return job->given_sorted &&
           bsearch(&seq, job->given, job->given_sorted, sizeof seq, seq_order) != NULL;
}

void rjobs_recovered(struct session *s)
{
    for (struct rjob *job = s->rjobs; job; job = job->next) {
        if (job->given_count) qsort(job->given, job->given_count, sizeof *job->given, seq_order);
        job->given_sorted = job->given_count;
    }
}

/* ---- writing ---- */

static struct bytes prefix_of(const struct session *s, const struct rjob *job)
{
    struct bytes filter = bytes_of(job->filter, job->filter_len);
    const struct sub *sub = trie_find(&s->core->trie, filter, (uintptr_t)s, job->variant);
    struct wish w = {0};
    if (sub) wish_get(sub_block(sub), &w);
    return w.prefix;
}

void rjob_journal(const struct session *s, const struct rjob *job)
{
    struct core *core = s->core;
    struct bytes prefix = prefix_of(s, job);
    size_t given = job->given_count * sizeof *job->given;
    if (!is_logged(s, job) || !core->journaling) return;
    uint8_t *d = journal_put(core, J_ASKS, 48 + job->filter_len + prefix.n + given);
    if (d == NULL) return;
    d = mail_put_u32(mail_put_u32(mail_put_u64(d, s->sid), job->id), job->subid);
    unsigned bits = job->qos | (unsigned)job->outside << OUTSIDE_BIT;
    d = mail_put_bytes(put_u8(d, bits), bytes_of(job->filter, job->filter_len));
    d = mail_put_u32(mail_put_bytes(d, prefix), job->given_count);
    journal_put_end(core, put_mem(d, bytes_of(job->given, given)));
}

void rjobs_journal(const struct session *s)
{
    for (const struct rjob *job = s->rjobs; job; job = job->next) rjob_journal(s, job);
}

void rjob_journal_done(const struct session *s, const struct rjob *job)
{
    if (is_logged(s, job)) journal_id(s, J_ASKED, job->id);
}

/* ---- reading ---- */

int rjob_restore(struct session *s, struct rd *rd)
{
    struct core *core = s->core;
    uint32_t id = mail_u32(rd), subid = mail_u32(rd);
    unsigned bits = rd_u8(rd);
    struct bytes filter = mail_bytes(rd);
    struct wish w = {.prefix = mail_bytes(rd)};
    uint32_t count = mail_u32(rd);
    uint64_t variant = wished_variant(core, &w);
    const struct sub *sub = trie_find(&core->trie, filter, (uintptr_t)s, variant);
    const struct wish_filters none = {0};
    if (sub == NULL) {
        (void)rd_take(rd, count * sizeof(uint64_t));
        return 0;
    }
    const struct wish_filters *filters = sub->wished ? &wsub_of(sub)->filters : &none;
    struct rjob *job =
        rjob_add(s, filter, variant, bits & 3, subid, filters, bits >> OUTSIDE_BIT & 1);
    if (job == NULL) return E_NOMEM;
    job->id = id;
    job->hold = false;
    core->next_token = (uint32_t)max_u64(core->next_token, id);
    for (uint32_t i = 0; i < count; i++) note(core, job, mail_u64(rd));
    return 0;
}
