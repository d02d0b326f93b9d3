/* Making a core, its clock, its log line, its scratch memory, and the table of sessions by stable
 * id. */
#include <stdarg.h>
#include <stdio.h>

#include "core/core_int.h"
#include "core/dead.h"
#include "core/dedup.h"
#include "core/delayed.h"
#include "core/history.h"
#include "core/journal.h"
#include "core/mailbox.h"
#include "core/queue.h"
#include "core/retained.h"
#include "core/share.h"
#include "core/wished.h"

enum { SLOTS_FIRST = 64, EXPIRY_SWEEP_MS = 1000, STORE_RETRY_MS = 1 };

void core_log(struct core *core, unsigned type, const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    core->env.log(core->env.ctx, type, line);
}

uint8_t *core_scratch(struct core *core, enum scratch_use use, size_t n)
{
    struct scratch *s = &core->scratches[use];
    if (LIKELY(n <= s->cap)) return s->p;
    size_t cap = s->cap ? s->cap : 1024;
    while (cap < n) cap *= 2;
    uint8_t *p = mem_alloc(cap);
    if (p == NULL) return NULL;
    mem_free(s->p);
    s->p = p;
    s->cap = cap;
    return p;
}

struct session *core_session(const struct core *core, session_id id)
{
    uint32_t at = (uint32_t)id;
    if (id == 0 || at >= core->slot_count) return NULL;
    const struct slot *slot = &core->slots[at];
    return slot->generation == id >> 32 ? slot->session : NULL;
}

int core_fetch(struct core *core, store_ref ref, struct blob **body)
{
    int rc = store_fetch(core->store, ref, body);
    if (rc == 0 && core->keeps) msg_of(*body)->seq = ref;
    return rc;
}

void core_drop(struct core *core, store_ref ref)
{
    if (core->ending && core->keeps) return; /* it is needed when we are there again */
    store_drop(core->store, ref);
}

static int slots_grow(struct core *core)
{
    uint32_t count = core->slot_count ? core->slot_count * 2 : SLOTS_FIRST;
    struct slot *slots = mem_realloc(core->slots, count * sizeof *slots);
    if (slots == NULL) return E_NOMEM;
    core->slots = slots;
    for (uint32_t i = core->slot_count; i < count; i++) slots[i] = (struct slot){NULL, 1};
    core->slot_free = core->slot_count;
    core->slot_count = count;
    return 0;
}

int core_slot_take(struct core *core, struct session *s)
{
    /* slot_free is where the search goes on: sessions come and go in about the same order. */
    for (uint32_t i = 0; i < core->slot_count; i++) {
        uint32_t at = core->slot_free;
        core->slot_free = core->slot_free + 1 < core->slot_count ? core->slot_free + 1 : 0;
        if (core->slots[at].session) continue;
        core->slots[at].session = s;
        s->id = (uint64_t)core->slots[at].generation << 32 | at;
        return 0;
    }
    int rc = slots_grow(core);
    return rc < 0 ? rc : core_slot_take(core, s);
}

void core_slot_give(struct core *core, struct session *s)
{
    struct slot *slot = &core->slots[(uint32_t)s->id];
    slot->session = NULL;
    if (++slot->generation == 0) slot->generation = 1;
    core->slot_free = (uint32_t)s->id;
}

static void core_destroy(struct core *core)
{
    route_cache_free(core);
    if (core->retain) retain_free(&core->retain);
    ptrmap_fini(&core->sessions);
    ptrmap_fini(&core->groups);
    ptrmap_fini(&core->queues);
    mem_free(core->deliveries);
    if (core->trie.root) trie_fini(&core->trie);
    filter_store_free(&core->filters);
    mailbox_free(core);
    for (uint32_t i = 0; i < core->spare_count; i++) buf_fini(&core->spare[i]);
    for (uint32_t i = 0; i < core->subid_set_count; i++) mem_free(core->subid_sets[i]);
    for (int i = 0; i < SCRATCH_COUNT; i++) mem_free(core->scratches[i].p);
    ptrmap_fini(&core->subid_index);
    mem_free(core->subid_sets);
    checkpoint_free(core);
    buf_fini(&core->journal);
    mem_free(core->pending);
    mem_free(core->slots);
    mem_free(core->retain_sweep);
    mem_free(core);
}

int core_new(struct core **out, const struct core_config *cfg, const struct core_env *env,
             struct store *store, unsigned shard, unsigned shards, uint64_t seed, uint64_t now_ms,
             uint64_t wall_ms)
{
    ASSERT(shard < shards && shards <= CORE_MAX_SHARDS);
    struct core *core = mem_calloc_aligned(1, sizeof *core);
    if (core == NULL) return E_NOMEM;
    core->cfg = *cfg;
    core->env = *env;
    core->store = store;
    core->keeps = store_keeps(store);
    core->begun = !core->keeps;
    core->shard = shard;
    core->shards = shards;
    core->seed = seed;
    core->now_ms = now_ms;
    core->wall_ms = wall_ms;
    /* Names of sessions are drawn from it: not the same ones after a restart with the same seed. */
    core->rng.state = seed ^ hash_u64(shard, seed) ^ hash_u64(store_end(store), seed);
    core->generation = core->acl_generation = 1;
    list_init(&core->ready);
    list_init(&core->backlogs);
    list_init(&core->congested);
    list_init(&core->mail_waiters);
    list_init(&core->store_waiters);
    list_init(&core->login_waiters);
    list_init(&core->entering);
    list_init(&core->pressure_waiters);
    list_init(&core->conns);
    list_init(&core->fetching);
    list_init(&core->replays_dirty);
    list_init(&core->wish_sets);
    core->dead_tail = &core->dead_notes;
    list_init(&core->delayed);
    list_init(&core->delayed_due);
    ptrmap_init(&core->delayed_map, delayed_hash, seed);
    list_init(&core->queue_work);
    list_init(&core->queue_waiters);
    timers_init(&core->timers, now_ms);
    ptrmap_init(&core->sessions, session_hash, seed);
    ptrmap_init(&core->groups, share_group_hash, seed);
    ptrmap_init(&core->queues, wqueue_hash, seed);
    ptrmap_init(&core->subid_index, subid_hash, seed);
    struct filter_settings settings = FILTER_SETTINGS_DEFAULT;
    settings.seed = seed;
    core->filters = filter_store_new(&settings);
    if (core->filters == NULL || trie_init(&core->trie, seed) < 0 || checkpoint_init(core) < 0 ||
        retain_new(&core->retain, seed, retained_release, core) < 0 || mailbox_init(core) < 0 ||
        histories_configure(core) < 0) {
        core_destroy(core);
        return E_NOMEM;
    }
    core->journaling = core->keeps;
    *out = core;
    if (!core->keeps) wqueue_configure(core); /* else what the store knows of them comes first */
    return 0;
}

static void sessions_free(struct core *core)
{
    for (uint32_t i = 0; i < core->slot_count; i++) {
        struct session *s = core->slots[i].session;
        if (s == NULL) continue;
        ASSERT(s->conn == NULL);
        mem_free(s->will);
        s->will = NULL;
        session_free(s);
    }
}

void core_free(struct core **core_ptr)
{
    struct core *core = *core_ptr;
    if (core == NULL) return;
    *core_ptr = NULL;
    core->shutting_down = core->ending = true;
    core->journaling = false;
    sessions_free(core);
    share_free(core);
    wqueue_free_all(core);
    dead_free(core);
    delayed_free(core);
    pending_free(core);
    interest_free(core);
    histories_free(core);
    dedup_free(core);
    core_destroy(core);
}

void core_configure(struct core *core, const struct core_config *cfg)
{
    struct core_config before = core->cfg;
    core->cfg = *cfg;
    core->acl_generation++;
    if (histories_configure(core) < 0)
        core_log(core, LOG_T_ERROR, "Error: no memory for new histories; the old ones stay.");
    wishes_configure(core, &before);
    wqueue_configure(core);
}

void core_tick(struct core *core, uint64_t now_ms, uint64_t wall_ms)
{
    core->now_ms = max_u64(now_ms, core->now_ms);
    core->wall_ms = wall_ms;
    core->backlogs_left = BACKLOGS_SERVED;
    mailbox_refill(core);
    if (timers_next(&core->timers) <= core->now_ms || core->timers.now_ms + 1000 < core->now_ms)
        timers_run(&core->timers, core->now_ms, core);
    conn_congested_tick(core);
    history_tick(core);
    pressure_tick(core);
    if (core->now_ms >= core->retain_sweep_ms) {
        core->retain_sweep_ms = core->now_ms + EXPIRY_SWEEP_MS;
        retained_sweep(core);
    }
}

uint64_t core_next_due(const struct core *core)
{
    if (!list_empty(&core->ready) || !list_empty(&core->backlogs)) return core->now_ms;
    /* The store wakes us; but it may do so when we are not asleep yet. */
    bool is_short = core->mail_short || !core_flushed(core);
    if (core_mail_pending(core, core->shard)) return core->now_ms; /* posted while it was pulled */
    if (!list_empty(&core->fetching) || !list_empty(&core->store_waiters) || is_short ||
        wqueue_has_work(core) || dead_has_work(core) || delayed_has_work(core))
        return core->now_ms + STORE_RETRY_MS;
    uint64_t due = min_u64(timers_next(&core->timers), conn_congested_due(core));
    due = min_u64(due, min_u64(checkpoint_due(core), history_due(core)));
    if (core->dead_notes) due = min_u64(due, core->dead_again_ms);
    if (!list_empty(&core->delayed_due)) due = min_u64(due, core->delayed_again_ms);
    due = min_u64(due, pressure_due(core));
    return core->retain_expiring ? min_u64(due, core->retain_sweep_ms) : due;
}

unsigned core_home(struct bytes client_id, unsigned shards, uint64_t seed)
{
    return shards == 1 ? 0 : (unsigned)(hash_bytes(client_id, seed ^ 0x686f6d65) % shards);
}

const struct core_stats *core_stats(struct core *core)
{
    core->stats.retained = retain_count(core->retain);
    core->stats.sessions = core->sessions.count;
    core->stats.filter_json_bad = filter_store_stats(core->filters)->json_bad;
    core->stats.filter_json_large = filter_store_stats(core->filters)->json_large;
    return &core->stats;
}

int core_publish(struct core *core, struct bytes topic, struct bytes payload, uint8_t qos,
                 bool retain)
{
    if (!mqtt_topic_name_ok(topic, core->cfg.max_topic_levels)) return E_TOPIC_NAME;
    struct pub p = {.topic = topic,
                    .payload = payload,
                    .qos = qos,
                    .retain = retain,
                    .internal = true,
                    .created_ms = core->wall_ms,
                    .expiry_s = MQTT_NO_EXPIRY,
                    .origin = core->shard};
    const struct route *r = pub_route(core, &p);
    bool stored = r->durable || r->history || r->queued; /* a retained $SYS value need not last */
    int rc = stored ? pub_store(core, &p) : 0;
    if (rc == 0) router_publish(core, &p, r);
    blob_unref(p.blob);
    return rc;
}

void core_shutdown(struct core *core)
{
    core->shutting_down = true;
    LIST_EACH_SAFE(it, next, &core->conns)
    {
        struct cconn *c = CONTAINER_OF(it, struct cconn, all);
        conn_end(c, MQTT_SERVER_SHUTTING_DOWN, "disconnected: server shutting down");
    }
}

static void dump_session(struct core *core, const struct session *s, char *text)
{
    core_log(core, LOG_T_NOTICE, "session %s: %s, %u subscriptions, %u in flight, %u queued",
             s->client_id, s->conn ? "connected" : "offline", s->sub_count, s->out.count,
             s->queue.count);
    for (const struct sub *sub = s->subs; sub; sub = sub->owner_next) {
        size_t n = trie_filter_text(sub, text);
        core_log(core, LOG_T_NOTICE, "  %.*s (QoS %u)", (int)n, text, sub->qos);
    }
    share_dump(s);
}

void core_dump(struct core *core)
{
    char *text = mem_alloc(MQTT_TOPIC_MAX);
    if (text == NULL) return;
    for (uint32_t i = 0; i < core->slot_count; i++)
        if (core->slots[i].session) dump_session(core, core->slots[i].session, text);
    mem_free(text);
}
