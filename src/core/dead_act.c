/* See dead_act.h.  The shard's thread. */
#include "core/dead_act.h"

#include "core/dead.h"
#include "core/wished.h"

#include <stdio.h>

enum { LOOKED_AT_ONCE = 1000 }; /* letters in one step, that match or not */

struct search {
    const struct dead_order *order;
    struct wish_filters filters;
    uint64_t at, until;
    unsigned left; /* letters to look at in this step */
};

static int search_begin(struct core *core, struct search *s, const struct dead_order *order,
                        char why[])
{
    struct wish w = {.filter = order->filter};
    struct filter_error error;
    struct bytes text;
    *why = 0;
    s->order = order;
    s->left = LOOKED_AT_ONCE;
    s->filters = (struct wish_filters){0};
    if (order->filter.n == 0) return 0;
    int rc = wish_filters_init(core, &w, &s->filters, &error, &text);
    if (rc == E_INVALID)
        snprintf(why, DEAD_WHY_MAX, "filter, column %u: %s", error.column, error.detail);
    return rc;
}

static bool is_wanted(struct core *core, const struct search *s, const struct dead_info *info)
{
    const struct dead_order *o = s->order;
    if (o->source.n && !bytes_eq(o->source, info->source)) return false;
    if (o->reason.n && !bytes_eq(o->reason, info->reason)) return false;
    return !wish_filters_any(&s->filters) || dead_matches(core, info, &s->filters);
}

/* The next one that is wanted, whose body the caller gives back, and s->at is there; DEAD_MORE: not
 * yet, E_NOTFOUND: there is none, E_AGAIN, E_NOMEM. */
static int search_next(struct core *core, struct search *s, struct dead_info *info)
{
    const struct dead_order *o = s->order;
    uint64_t until = o->seq ? o->seq : s->until;
    if (o->seq && s->at < o->seq) s->at = o->seq - 1;
    while (s->left) {
        s->left--;
        int rc = dead_next(core, s->at, info);
        if (rc == E_AGAIN || rc == E_NOMEM || rc == E_NOTFOUND) return rc;
        if (info->seq > until) {
            if (rc == 0) dead_info_fini(info);
            return E_NOTFOUND;
        }
        s->at = info->seq;
        if (rc < 0) continue; /* it is lost, as the store has said */
        if (is_wanted(core, s, info)) return 0;
        dead_info_fini(info);
    }
    return DEAD_MORE;
}

static int verdict(int rc) { return rc == E_NOTFOUND ? DEAD_OVER : rc; }

/* ---- looking ---- */

int dead_find(struct core *core, const struct dead_order *order, uint64_t *at, unsigned most,
              void (*found)(void *ctx, const struct dead_letter_view *l), void *ctx,
              char why[static DEAD_WHY_MAX])
{
    struct search s = {.at = *at, .until = UINT64_MAX};
    struct dead_info info;
    int rc = search_begin(core, &s, order, why);
    for (unsigned n = 0; rc == 0 && n < most; n++) {
        rc = search_next(core, &s, &info);
        if (rc != 0) break;
        found(ctx, &(struct dead_letter_view){.seq = info.seq,
                                              .time_ms = info.time_ms,
                                              .reason = info.reason,
                                              .source = info.source,
                                              .topic = info.topic,
                                              .client = info.client,
                                              .text = info.text,
                                              .props = msg_props(info.body),
                                              .payload = msg_payload(info.body),
                                              .attempts = info.attempts,
                                              .redriven = info.redriven,
                                              .code = info.code,
                                              .qos = msg_of(info.body)->qos});
        dead_info_fini(&info);
    }
    *at = s.at;
    wish_filters_fini(core, &s.filters);
    return rc == 0 ? DEAD_MORE : verdict(rc);
}

/* ---- acting ---- */

/* 0: it is dealt with, in whatever way. */
static int act(struct core *core, struct dead_sweep *s, uint64_t seq)
{
    int rc = s->verb == DEAD_REDRIVE ? dead_redrive(core, seq)
             : s->verb == DEAD_PURGE ? dead_purge(core, seq)
                                     : 0;
    if (rc == E_AGAIN || rc == E_FULL || rc == E_NOMEM) return rc;
    s->matched++;
    s->done += rc == 0 && s->verb != DEAD_COUNT;
    s->ownerless += rc == E_INVALID;
    s->tired += rc == E_EXISTS;
    s->lost += rc < 0 && rc != E_INVALID && rc != E_EXISTS;
    return 0;
}

int dead_sweep(struct core *core, struct dead_sweep *sweep, unsigned most,
               char why[static DEAD_WHY_MAX])
{
    struct search s = {.at = sweep->at, .until = sweep->until};
    struct dead_info info;
    int rc = search_begin(core, &s, &sweep->order, why);
    for (unsigned n = 0; rc == 0 && n < most; n++) {
        if (sweep->verb == DEAD_REDRIVE && store_crowded(core->store)) {
            rc = E_AGAIN;
            break;
        }
        rc = search_next(core, &s, &info);
        if (rc != 0) break;
        dead_info_fini(&info); /* redriving takes it anew */
        rc = act(core, sweep, info.seq);
        if (rc < 0) s.at = info.seq - 1;
    }
    sweep->at = s.at;
    wish_filters_fini(core, &s.filters);
    return rc == 0 ? DEAD_MORE : verdict(rc);
}
