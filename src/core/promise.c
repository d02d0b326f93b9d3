/* What an operator has had done is answered when it is on disk: how far the log has to be for that.
 * Clients' answers wait in a ring of their own (publish.c).  The shard's thread. */
#include "core/journal.h"

bool core_promise(struct core *core, uint64_t *seq)
{
    *seq = 0;
    if (!core->keeps) return true;
    if (core->journaling && buf_len(&core->journal)) journal_flush(core);
    *seq = max_u64(core->journal_seq, core->appended_seq);
    return core_flushed(core);
}

bool core_promised(const struct core *core, uint64_t seq) { return core->polled >= seq; }
