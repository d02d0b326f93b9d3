/* The door of the store: passes each call to the engine behind it. */
#include "store/engine.h"

bool store_keeps(const struct store *st) { return st->keeps; }
int store_append(struct store *st, struct bytes prefix, struct blob *body, uint64_t *seq)
{
    ASSERT(prefix.n <= STORE_PREFIX_MAX);
    return st->ops->append(st, prefix, body, seq);
}
int store_journal(struct store *st, struct bytes entries, uint64_t *seq)
{
    ASSERT(st->keeps);
    return st->ops->journal(st, entries, seq);
}
bool store_crowded(const struct store *st) { return st->keeps && st->ops->crowded(st); }
void store_flush(struct store *st)
{
    if (st->keeps) st->ops->flush(st);
}
uint64_t store_poll(struct store *st) { return st->ops->poll(st); }
uint64_t store_end(const struct store *st) { return st->ops->end(st); }
store_ref store_hold(struct store *st, uint64_t seq, struct blob *body)
{
    return st->ops->hold(st, seq, body);
}
int store_fetch(struct store *st, store_ref ref, struct blob **body)
{
    return st->ops->fetch(st, ref, body);
}
void store_drop(struct store *st, store_ref ref) { st->ops->drop(st, ref); }
void store_release(struct store *st)
{
    if (st->keeps) st->ops->release(st);
}

int store_scan_open(struct store *st, struct store_scan **out)
{
    ASSERT(st->keeps);
    return st->ops->scan_open(st, out);
}
int store_scan_next(struct store_scan *scan, struct store_record *out)
{
    return scan->next(scan, out);
}
void store_scan_close(struct store_scan **scan)
{
    if (*scan) (*scan)->close(*scan);
    *scan = NULL;
}
bool store_checkpoint_due(const struct store *st)
{
    return st->keeps && st->ops->checkpoint_due(st);
}
int store_checkpoint(struct store *st, uint64_t begin) { return st->ops->checkpoint(st, begin); }
bool store_must_move(const struct store *st, store_ref ref)
{
    return st->keeps && st->ops->must_move(st, ref);
}
int store_move(struct store *st, store_ref ref, store_ref *moved)
{
    return st->ops->move(st, ref, moved);
}

bool store_reads(const struct store *st) { return st->ops->read_open != NULL; }
int store_read_open(struct store *st, struct store_reader **out, const struct store_query *query)
{
    ASSERT(store_reads(st));
    return st->ops->read_open(st, out, query);
}
int store_read_next(struct store_reader *reader, struct store_record *out)
{
    return reader->next(reader, out);
}
uint64_t store_read_position(const struct store_reader *reader) { return reader->position(reader); }
void store_read_close(struct store_reader **reader)
{
    if (*reader) (*reader)->close(*reader);
    *reader = NULL;
}
void store_keep(struct store *st, uint64_t from_seq)
{
    ASSERT(store_reads(st));
    st->ops->keep(st, from_seq);
}
void store_stats(const struct store *st, struct store_stats *out)
{
    *out = (struct store_stats){0};
    st->ops->stats(st, out);
}

void store_close(struct store *st)
{
    if (st) st->ops->close(st);
}
