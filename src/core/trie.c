/* The filter table of trie.h.  The shard's thread. */
#include "core/trie.h"

#include "base/hash.h"
#include "base/mem.h"

struct exact_filter {
    struct filter filter;
    uint16_t len;
    char text[];
};

struct tnode {
    struct tnode *parent, *plus;
    struct filter here, below;
    uint32_t children; /* by edges, without plus */
    uint16_t len;
    bool is_plus;
    char level[];
};

enum { STACK_MAX = 512 }; /* nodes waiting in one match; a wider walk counts as too much work */

static uint64_t exact_hash(const void *elem, uint64_t seed)
{
    const struct exact_filter *e = elem;
    return hash_bytes(bytes_of(e->text, e->len), seed);
}

static uint64_t edge_key(const struct tnode *parent, struct bytes level, uint64_t seed)
{
    return hash_bytes(level, seed ^ (uint64_t)(uintptr_t)parent);
}

static uint64_t edge_hash(const void *elem, uint64_t seed)
{
    const struct tnode *n = elem;
    return edge_key(n->parent, bytes_of(n->level, n->len), seed);
}

static uint64_t sub_key(const struct filter *f, uintptr_t owner, uint64_t variant, uint64_t seed)
{
    return hash_u64((uint64_t)(uintptr_t)f + hash_u64(owner, seed) + variant, seed);
}

static uint64_t sub_variant(const struct sub *s)
{
    return s->wished ? CONTAINER_OF(s, struct wished, sub)->variant : 0;
}

static uint64_t sub_hash(const void *elem, uint64_t seed)
{
    const struct sub *s = elem;
    return sub_key(s->filter, s->owner.shard, sub_variant(s), seed);
}

int trie_init(struct trie *t, uint64_t seed)
{
    *t = (struct trie){.seed = seed};
    ptrmap_init(&t->exact, exact_hash, seed);
    ptrmap_init(&t->edges, edge_hash, seed);
    ptrmap_init(&t->subs, sub_hash, seed);
    t->root = mem_calloc(1, sizeof *t->root);
    return t->root ? 0 : E_NOMEM;
}

void trie_fini(struct trie *t)
{
    ASSERT(t->subs.count == 0 && t->exact.count == 0 && t->edges.count == 0);
    ptrmap_fini(&t->exact);
    ptrmap_fini(&t->edges);
    ptrmap_fini(&t->subs);
    mem_free(t->root);
    t->root = NULL;
}

static bool has_wildcard(struct bytes f) { return memchr(f.p, '+', f.n) || memchr(f.p, '#', f.n); }

static struct exact_filter *exact_find(const struct trie *t, struct bytes text, uint64_t hash)
{
    struct exact_filter *e;
    for (size_t pos = hash; (e = ptrmap_next(&t->exact, hash, &pos)) != NULL;)
        if (e->len == text.n && memcmp(e->text, text.p, text.n) == 0) return e;
    return NULL;
}

static struct tnode *child_find(const struct trie *t, const struct tnode *parent,
                                struct bytes level)
{
    if (parent->children == 0) return NULL;
    uint64_t hash = edge_key(parent, level, t->seed);
    struct tnode *n;
    for (size_t pos = hash; (n = ptrmap_next(&t->edges, hash, &pos)) != NULL;)
        if (n->parent == parent && n->len == level.n && memcmp(n->level, level.p, level.n) == 0)
            return n;
    return NULL;
}

/* Cuts the first level off *rest; *more tells whether another follows. */
static struct bytes next_level(struct bytes *rest, bool *more)
{
    const uint8_t *slash = rest->n ? memchr(rest->p, '/', rest->n) : NULL;
    struct bytes level = {rest->p, slash ? (size_t)(slash - rest->p) : rest->n};
    *more = slash != NULL;
    *rest = slash ? bytes_skip(*rest, level.n + 1) : bytes_skip(*rest, level.n);
    return level;
}

static struct tnode *node_add(struct trie *t, struct tnode *parent, struct bytes level)
{
    bool is_plus = level.n == 1 && level.p[0] == '+';
    struct tnode *n = mem_calloc(1, sizeof *n + level.n);
    if (n == NULL) return NULL;
    n->parent = parent;
    n->len = (uint16_t)level.n;
    n->is_plus = is_plus;
    if (level.n) memcpy(n->level, level.p, level.n);
    if (is_plus) {
        parent->plus = n;
    } else if (ptrmap_put(&t->edges, n, edge_key(parent, level, t->seed)) < 0) {
        mem_free(n);
        return NULL;
    } else {
        parent->children++;
    }
    t->node_count++;
    return n;
}

/* Frees n and its ancestors as far as they hold nothing any more. */
static void node_prune(struct trie *t, struct tnode *n)
{
    while (n->parent && !n->here.subs && !n->below.subs && !n->plus && n->children == 0) {
        struct tnode *parent = n->parent;
        if (n->is_plus) {
            parent->plus = NULL;
        } else {
            ptrmap_del(&t->edges, n, edge_hash(n, t->seed));
            parent->children--;
        }
        mem_free(n);
        t->node_count--;
        n = parent;
    }
}

/* The filter's node and place, created on the way if asked; NULL: not there, or no memory. */
static struct tnode *node_of(struct trie *t, struct bytes text, bool create,
                             enum filter_place *place)
{
    struct tnode *n = t->root;
    *place = PLACE_HERE;
    bool more = true;
    while (more) {
        struct bytes level = next_level(&text, &more);
        if (level.n == 1 && level.p[0] == '#') {
            *place = PLACE_BELOW;
            break;
        }
        bool is_plus = level.n == 1 && level.p[0] == '+';
        struct tnode *child = is_plus ? n->plus : child_find(t, n, level);
        if (child == NULL && create) child = node_add(t, n, level);
        if (child == NULL) {
            if (create) node_prune(t, n);
            return NULL;
        }
        n = child;
    }
    return n;
}

static struct filter *filter_get(struct trie *t, struct bytes text, bool create,
                                 enum filter_place *place)
{
    if (has_wildcard(text)) {
        struct tnode *n = node_of(t, text, create, place);
        if (n == NULL) return NULL;
        return *place == PLACE_BELOW ? &n->below : &n->here;
    }
    *place = PLACE_EXACT;
    uint64_t hash = hash_bytes(text, t->seed);
    struct exact_filter *e = exact_find(t, text, hash);
    if (e || !create) return e ? &e->filter : NULL;
    e = mem_alloc(sizeof *e + text.n);
    if (e == NULL) return NULL;
    e->filter = (struct filter){0};
    e->len = (uint16_t)text.n;
    memcpy(e->text, text.p, text.n);
    if (ptrmap_put(&t->exact, e, hash) < 0) {
        mem_free(e);
        return NULL;
    }
    return &e->filter;
}

static struct tnode *filter_node(const struct filter *f, enum filter_place place)
{
    return place == PLACE_BELOW ? CONTAINER_OF(f, struct tnode, below)
                                : CONTAINER_OF(f, struct tnode, here);
}

static void filter_release(struct trie *t, struct filter *f, enum filter_place place)
{
    if (f->subs) return;
    t->filter_count--;
    if (place != PLACE_EXACT) {
        node_prune(t, filter_node(f, place));
        return;
    }
    struct exact_filter *e = CONTAINER_OF(f, struct exact_filter, filter);
    ptrmap_del(&t->exact, e, exact_hash(e, t->seed));
    mem_free(e);
}

static struct sub *sub_find(const struct trie *t, const struct filter *f, uintptr_t owner,
                            uint64_t variant)
{
    uint64_t hash = sub_key(f, owner, variant, t->seed);
    struct sub *s;
    for (size_t pos = hash; (s = ptrmap_next(&t->subs, hash, &pos)) != NULL;)
        if (s->filter == f && s->owner.shard == owner && sub_variant(s) == variant) return s;
    return NULL;
}

struct sub *trie_find(const struct trie *t, struct bytes text, uintptr_t owner, uint64_t variant)
{
    enum filter_place place;
    /* Looking up without `create` changes nothing; the cast spares a second, const walk. */
    struct filter *f = filter_get((struct trie *)(uintptr_t)t, text, false, &place);
    return f ? sub_find(t, f, owner, variant) : NULL;
}

static bool is_local(unsigned kind) { return kind == SUB_SESSION || kind == SUB_GROUP; }

void trie_show(struct sub *s)
{
    struct filter *f = s->filter;
    s->filter_next = f->subs;
    s->filter_link = &f->subs;
    if (f->subs) f->subs->filter_link = &s->filter_next;
    f->subs = s;
}

void trie_hide(struct sub *s)
{
    *s->filter_link = s->filter_next;
    if (s->filter_next) s->filter_next->filter_link = s->filter_link;
    s->filter_link = NULL;
    ASSERT(s->filter->subs != NULL);
}

/* Hangs s, which is zero but for its name, in; false: no memory, s is freed. */
static bool sub_hang(struct trie *t, struct sub *s, struct bytes text, enum sub_kind kind,
                     uintptr_t owner, struct sub **list)
{
    enum filter_place place;
    struct filter *f = s ? filter_get(t, text, true, &place) : NULL;
    if (f == NULL) {
        mem_free(s);
        return false;
    }
    if (f->subs == NULL) t->filter_count++;
    if (ptrmap_put(&t->subs, s, sub_key(f, owner, sub_variant(s), t->seed)) < 0) {
        mem_free(s);
        filter_release(t, f, place);
        return false;
    }
    s->filter = f;
    s->place = (uint8_t)place;
    s->kind = (uint8_t)kind;
    s->owner.shard = owner;
    trie_show(s);
    if (is_local(kind)) f->local_count++;
    if (list) {
        s->owner_next = *list;
        s->owner_link = list;
        if (*list) (*list)->owner_link = &s->owner_next;
        *list = s;
    }
    return true;
}

struct sub *trie_add(struct trie *t, struct bytes text, enum sub_kind kind, uintptr_t owner,
                     struct sub **list)
{
    struct sub *s = mem_calloc(1, sizeof *s);
    return sub_hang(t, s, text, kind, owner, list) ? s : NULL;
}

struct wished *trie_add_wished(struct trie *t, struct bytes text, uintptr_t owner, uint64_t variant,
                               size_t size, struct sub **list)
{
    struct wished *w = mem_calloc(1, size);
    if (w == NULL) return NULL;
    w->sub.wished = 1;
    w->variant = variant;
    return sub_hang(t, &w->sub, text, SUB_SESSION, owner, list) ? w : NULL;
}

/* Of the holder that stands for others: no session or group has it, nor has a shard its number. */
enum { WISHES_OWNER = 0xffff };

struct sub *trie_add_wishes(struct trie *t, struct bytes text, size_t size)
{
    struct sub *s = mem_calloc(1, size);
    return sub_hang(t, s, text, SUB_WISHES, WISHES_OWNER, NULL) ? s : NULL;
}

struct sub *trie_find_wishes(const struct trie *t, struct bytes text)
{
    return trie_find(t, text, WISHES_OWNER, 0);
}

void trie_del(struct trie *t, struct sub *s)
{
    trie_set_durable(s, false);
    if (is_local(s->kind)) s->filter->local_count--;
    ptrmap_del(&t->subs, s, sub_hash(s, t->seed));
    if (s->filter_link) {
        *s->filter_link = s->filter_next;
        if (s->filter_next) s->filter_next->filter_link = s->filter_link;
    }
    if (s->owner_link) {
        *s->owner_link = s->owner_next;
        if (s->owner_next) s->owner_next->owner_link = s->owner_link;
    }
    filter_release(t, s->filter, (enum filter_place)s->place);
    mem_free(s);
}

void trie_set_durable(struct sub *s, bool durable)
{
    if (s->durable == durable) return;
    s->durable = durable;
    if (!is_local(s->kind)) return;
    if (durable)
        s->filter->durable_count++;
    else
        s->filter->durable_count--;
}

size_t trie_filter_text(const struct sub *s, char *out)
{
    if (s->place == PLACE_EXACT) {
        const struct exact_filter *e = CONTAINER_OF(s->filter, struct exact_filter, filter);
        memcpy(out, e->text, e->len);
        return e->len;
    }
    const struct tnode *n = filter_node(s->filter, (enum filter_place)s->place);
    size_t len = s->place == PLACE_BELOW ? (n->parent ? 2 : 1) : 0;
    for (const struct tnode *i = n; i->parent; i = i->parent)
        len += i->len + (i->parent->parent ? 1u : 0u);
    char *p = out + len;
    if (s->place == PLACE_BELOW) {
        *--p = '#';
        if (n->parent) *--p = '/';
    }
    for (; n->parent; n = n->parent) {
        p -= n->len;
        memcpy(p, n->level, n->len);
        if (n->parent->parent) *--p = '/';
    }
    return len;
}

/* A node that matched so far, and the rest of the topic below it. */
struct step {
    const struct tnode *node;
    uint32_t at; /* offset of the rest; topic length + 1 = nothing left */
};

bool trie_match(const struct trie *t, struct bytes topic, uint64_t hash,
                void (*found)(void *, const struct filter *), void *ctx)
{
    const struct exact_filter *e = exact_find(t, topic, hash);
    if (e) found(ctx, &e->filter);
    if (t->node_count == 0 && t->root->below.subs == NULL) return true;

    struct step stack[STACK_MAX];
    int depth = 0;
    bool dollar =
        topic.p[0] == '$'; /* a wildcard in the first level does not match it [MQTT-4.7.2-1] */
    stack[depth++] = (struct step){t->root, 0};
    for (int work = 0; depth > 0; work++) {
        if (UNLIKELY(work >= TRIE_WORK || depth > STACK_MAX - 2)) return false;
        struct step s = stack[--depth];
        bool wild = !(dollar && s.node->parent == NULL);
        if (s.node->below.subs && wild) found(ctx, &s.node->below);
        if (s.at > topic.n) {
            if (s.node->here.subs) found(ctx, &s.node->here);
            continue;
        }
        const uint8_t *from = topic.p + s.at;
        const uint8_t *slash = memchr(from, '/', topic.n - s.at);
        struct bytes level = {from, slash ? (size_t)(slash - from) : topic.n - s.at};
        uint32_t after = s.at + (uint32_t)level.n + 1;
        const struct tnode *child = child_find(t, s.node, level);
        if (s.node->plus && wild) stack[depth++] = (struct step){s.node->plus, after};
        if (child) stack[depth++] = (struct step){child, after};
    }
    return true;
}

/* ---- looking ahead ---- */

/* Both cache lines that a node or a holder may lie on. */
static void warm(const void *p)
{
    __builtin_prefetch(p);
    __builtin_prefetch((const char *)p + 48);
}

/* One step of a walk, up to where memory is needed that may not be in the cache; that is asked for,
 * and the next step uses it (asynchronous memory access chaining, Kocberber et al., VLDB 2015).  It
 * follows one path, the literal level before '+': being wrong costs time only. */
static void ahead_walk(const struct trie *t, struct trie_ahead *a)
{
    if (a->probing) {
        size_t pos = a->edge;
        a->probing = false;
        a->child = ptrmap_next(&t->edges, a->edge, &pos);
        if (a->child == NULL) a->child = a->node->plus;
        warm(a->child);
        a->walked = a->child == NULL;
        return;
    }
    const struct tnode *n = a->node = a->child;
    if (n->below.subs) warm(n->below.subs);
    a->walked = true;
    if (a->at > a->topic.n) {
        if (n->here.subs) warm(n->here.subs);
        return;
    }
    const uint8_t *from = a->topic.p + a->at;
    const uint8_t *slash = memchr(from, '/', a->topic.n - a->at);
    struct bytes level = {from, slash ? (size_t)(slash - from) : a->topic.n - a->at};
    a->at += (uint32_t)level.n + 1;
    if (n->children) {
        a->edge = edge_key(n, level, t->seed);
        ptrmap_prefetch(&t->edges, a->edge);
        a->probing = true;
    } else {
        a->child = n->plus;
        warm(a->child);
    }
    a->walked = !a->probing && a->child == NULL;
}

enum { EXACT_SLOT, EXACT_FILTER, EXACT_SUB, EXACT_DONE };

static void ahead_exact(const struct trie *t, struct trie_ahead *a)
{
    size_t pos = a->hash;
    switch (a->exact_stage++) {
    case EXACT_SLOT: ptrmap_prefetch(&t->exact, a->hash); return;
    case EXACT_FILTER:
        a->exact = ptrmap_next(&t->exact, a->hash, &pos);
        warm(a->exact);
        if (a->exact == NULL) a->exact_stage = EXACT_DONE;
        return;
    default: warm(a->exact->filter.subs);
    }
}

void trie_warm(const struct trie *t, struct trie_ahead *topics, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct trie_ahead *a = &topics[i];
        a->child = t->root;
        a->at = 0;
        a->exact_stage = EXACT_SLOT;
        a->probing = a->walked = false;
    }
    for (bool more = true; more;) {
        more = false;
        for (unsigned i = 0; i < count; i++) {
            struct trie_ahead *a = &topics[i];
            if (!a->walked) ahead_walk(t, a);
            if (a->exact_stage < EXACT_DONE) ahead_exact(t, a);
            more |= !a->walked || a->exact_stage < EXACT_DONE;
        }
    }
}
