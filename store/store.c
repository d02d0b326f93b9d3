/* The door of the store: passes each call to the engine behind it. */
#include "store/engine.h"

int store_append(struct store *st, struct blob *body, uint64_t *seq)
{
    return st->ops->append(st, body, seq);
}
uint64_t store_poll(struct store *st) { return st->ops->poll(st); }
store_ref store_hold(struct store *st, uint64_t seq, struct blob *body)
{
    return st->ops->hold(st, seq, body);
}
int store_fetch(struct store *st, store_ref ref, struct blob **body)
{
    return st->ops->fetch(st, ref, body);
}
void store_drop(struct store *st, store_ref ref) { st->ops->drop(st, ref); }

void store_close(struct store *st)
{
    if (st) st->ops->close(st);
}
