/* Recovery of sessions whose queue was full.  The journal says when it was (FULL) and when there
 * was room again (ROOM, QUEUED); what a shard stored in between was dropped.  But of the last that
 * it stored before a crash the journal may not speak any more: there was room, the publisher was
 * told that its message is safe, and only that it was queued is lost.  So what nothing that the
 * shard has written later speaks of is judged by the limits when the run ends.  The thread of
 * core_recover(). */
#include "core/recover_int.h"

/* A message that was dropped, or not. */
struct doubt {
    uint64_t sid, seq;
    unsigned stream;
    struct outq_item item;
};

bool recover_judges(const struct core *core) { return core->recovery->ending; }

void recover_dropped(struct core *core, const struct session *s, const struct pub *p, uint8_t qos,
                     unsigned flags, uint32_t subid)
{
    struct recovery *r = core->recovery;
    if (r->ending || p->seq == 0) return;
    if (r->doubt_count == r->doubt_room) {
        size_t room = r->doubt_room ? r->doubt_room * 2 : 64;
        struct doubt *more = mem_realloc(r->doubts, room * sizeof *more);
        if (more == NULL) {
            r->rc = E_NOMEM;
            return;
        }
        r->doubts = more;
        r->doubt_room = room;
    }
    r->doubts[r->doubt_count++] = (struct doubt){
        .sid = s->sid,
        .seq = p->seq,
        .stream = s->stream,
        .item = {.size = (uint32_t)min_u64(p->payload.n, OUTQ_SIZE_CAP) & OUTQ_SIZE_CAP,
                 .subid = subid,
                 .qos = qos & 3u,
                 .flags = flags & OUTQ_RETAIN}};
}

void doubts_end(struct recovery *r, unsigned stream)
{
    size_t kept = 0;
    for (size_t i = 0; i < r->doubt_count; i++)
        if (r->doubts[i].stream != stream) r->doubts[kept++] = r->doubts[i];
    r->doubt_count = kept;
}

void doubts_judge(struct recovery *r)
{
    for (size_t i = 0; i < r->doubt_count; i++) {
        const struct doubt *d = &r->doubts[i];
        struct session *s = recover_find(r, d->sid);
        if (s && s->full && !queue_full(r->core, s, d->item.size))
            recover_queue(r, &s->queue, d->item, d->seq);
    }
    r->doubt_count = 0;
}

void doubts_fini(struct recovery *r) { mem_free(r->doubts); }
