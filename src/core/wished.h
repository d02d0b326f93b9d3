/* Subscriptions that wish something: what their wish (wish.h) has become.  The shard's thread. */
#ifndef CORE_WISHED_H
#define CORE_WISHED_H

#include "core/core_int.h"
#include "core/wish.h"
#include "filters/set.h"

/* What a wish asks of messages: both expressions have to match. */
struct wish_filters {
    struct filter_expr *prefix, *property; /* references; NULL: none */
    bool broken;                           /* it could be compiled once and cannot now: no match */
    bool named; /* one of them is a name, whose filter a reload may change */
};

static inline bool wish_filters_any(const struct wish_filters *f)
{
    return f->prefix || f->property || f->broken;
}

/* The filters of a wish; out's are the caller's: wish_filters_fini().  E_INVALID: *error says why,
 * of the expression *text (a view, until scratch memory is used again); E_MALFORMED: its escapes
 * are not right; E_NOMEM. */
MUST_USE int wish_filters_init(struct core *core, const struct wish *w, struct wish_filters *out,
                               struct filter_error *error, struct bytes *text);
/* The same of a wish that was granted before. */
MUST_USE int wish_filters_again(struct core *core, const struct wish *w, struct wish_filters *out);
/* What they are with the names of the configuration as it is now.  False: they stay, as a name has
 * gone, or no memory is left. */
bool wish_filters_renew(struct core *core, const struct wish *w, struct wish_filters *f);
struct wish_filters wish_filters_ref(const struct wish_filters *f);
void wish_filters_fini(struct core *core, struct wish_filters *f);

/* One message as filters see it: made when the first of them asks. */
struct wish_event {
    struct core *core;
    const struct pub *p;
    bool made;
    struct filter_event e; /* when it is made */
};
/* Costs next to nothing, as most messages meet no filter. */
static inline void wish_event_init(struct wish_event *event, struct core *core, const struct pub *p)
{
    event->core = core;
    event->p = p;
    event->made = false;
}
/* As filters want it; borrowed. */
struct filter_event *wish_event_get(struct wish_event *event);
/* Whether the message passes; counted. */
bool wish_passes(struct wish_event *event, const struct wish_filters *f);

/* Whether the session may not have one more subscription with this wish: max_filters_per_client, or
 * this shard's part of max_filters. */
static inline bool wish_over_quota(const struct session *s, const struct wish *w)
{
    const struct core *core = s->core;
    uint32_t most = core->cfg.max_filters_per_client, of_all = core->cfg.max_filters;
    if (wish_is_empty(w)) return false;
    if (most && s->wish_count >= most) return true;
    return of_all && core->stats.filters >= max_u64(of_all / core->shards, 1);
}
static inline void wish_counted(struct session *s, int more)
{
    s->wish_count += (uint32_t)more;
    s->core->stats.filters += (uint64_t)(int64_t)more;
}

/* ---- a session's subscription, as it hangs in the trie ---- */

struct wsub {
    struct wished head;
    uint32_t block_len;
    uint8_t *block; /* wish_put(), owned */
    struct wish_filters filters;
    struct replay *replay;       /* owned; NULL: it has none */
    struct filter_member member; /* of the set of its topic filter, if it is in it */
    struct wish_set *among;      /* or NULL */
};

static inline struct wsub *wsub_of(const struct sub *s)
{
    ASSERT(s->wished);
    return CONTAINER_OF(s, struct wsub, head.sub);
}

/* Which of a session's subscriptions on one topic filter this is; 0: the plain one, which
 * properties do not make another. */
uint64_t wished_variant(const struct core *core, const struct wish *w);

/* A new wish for a subscription that has just been made or is to have another; takes its own
 * references to the filters.  E_NOMEM: it has the one it had. */
MUST_USE int wished_set(struct core *core, struct wsub *ws, const struct wish *w,
                        const struct wish_filters *filters);
/* Before trie_del(). */
void wished_fini(struct core *core, struct wsub *ws);

/* ---- those with a filter, of all sessions, on one topic filter ----
 *
 * A route does not hold each of them but what stands for them all, and the set of their filters
 * (filters/set.h) says who is to have a message.  Each is hidden in the trie as long. */

struct wish_set {
    struct sub head; /* SUB_WISHES */
    struct filter_set *set;
    struct list all; /* in core->wish_sets */
};

static inline struct wish_set *wish_set_of(struct sub *s)
{
    ASSERT(s->kind == SUB_WISHES);
    return CONTAINER_OF(s, struct wish_set, head);
}

/* Puts ws, which is in no set, into that of its topic filter.  Where there are few, or is no
 * memory, or no filter to go by, it stays among the holders and is asked by itself. */
void wish_set_join(struct core *core, struct wsub *ws, struct bytes filter);
/* Takes it out, if it is in. */
void wish_set_leave(struct core *core, struct wsub *ws);
/* The configuration has changed from what it was. */
void wishes_configure(struct core *core, const struct core_config *before);
/* Calls found() for each subscription whose filters the message passes; counted.  found() must not
 * change subscriptions. */
void wish_set_match(struct wish_event *event, struct wish_set *set,
                    void (*found)(void *ctx, struct wsub *ws), void *ctx);

/* Its wish, encoded; empty for a plain subscription. */
static inline struct bytes sub_block(const struct sub *s)
{
    return s->wished ? bytes_of(wsub_of(s)->block, wsub_of(s)->block_len) : (struct bytes){0};
}

#endif
