/* The retained set: a skip list (Pugh 1990, p = 1/4) ordered by topic bytes, with a ptrmap beside
 * it for exact look-ups.  It owns its nodes; a value belongs to the core and goes back through
 * release().  The shard's thread. */
#include "core/retain.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/ptrmap.h"
#include "base/rng.h"

enum { HEIGHT_MAX = 14 }; /* 4^14 topics before searching slows down */

struct node {
    uint64_t value;
    uint16_t len;
    uint8_t height;
    struct node *next[]; /* `height` of them, then the topic's bytes */
};
_Static_assert(sizeof(struct node) == 16, "an entry may cost 100 bytes beside its topic");

struct retain {
    struct ptrmap by_topic;
    struct rng rng;
    uint64_t seed;
    void (*release)(void *ctx, uint64_t value);
    void *ctx;
    unsigned height; /* of the tallest node so far */
    struct node *first[HEIGHT_MAX];
};

/* Where a search goes on: head followed by tail, so that no bound is ever copied together. */
struct bound {
    struct bytes head, tail;
};

static struct bytes node_topic(const struct node *n)
{
    return bytes_of(n->next + n->height, n->len);
}

static uint64_t node_hash(const void *elem, uint64_t seed)
{
    return hash_bytes(node_topic(elem), seed);
}

int retain_new(struct retain **out, uint64_t seed, void (*release)(void *ctx, uint64_t value),
               void *ctx)
{
    struct retain *r = mem_calloc(1, sizeof *r);
    if (r == NULL) return E_NOMEM;
    r->seed = seed;
    r->rng.state = seed;
    r->release = release;
    r->ctx = ctx;
    ptrmap_init(&r->by_topic, node_hash, seed);
    *out = r;
    return 0;
}

void retain_free(struct retain **r)
{
    if (*r == NULL) return;
    struct node *n = (*r)->first[0];
    while (n) {
        struct node *next = n->next[0];
        (*r)->release((*r)->ctx, n->value);
        mem_free(n);
        n = next;
    }
    ptrmap_fini(&(*r)->by_topic);
    mem_free(*r);
    *r = NULL;
}

size_t retain_count(const struct retain *r) { return r->by_topic.count; }

static struct node *find(const struct retain *r, struct bytes topic, uint64_t hash)
{
    struct node *n;
    for (size_t pos = hash; (n = ptrmap_next(&r->by_topic, hash, &pos)) != NULL;)
        if (bytes_eq(node_topic(n), topic)) return n;
    return NULL;
}

static int bound_cmp(struct bytes topic, const struct bound *b)
{
    if (topic.n < b->head.n) return bytes_cmp(topic, b->head);
    int rc = b->head.n ? memcmp(topic.p, b->head.p, b->head.n) : 0;
    return rc ? rc : bytes_cmp(bytes_skip(topic, b->head.n), b->tail);
}

/* The first node not before the bound.  path[l], when path is given, is the link to it on level l.
 */
static struct node *seek(const struct retain *r, const struct bound *b,
                         struct node **path[HEIGHT_MAX])
{
    struct node *const *links = r->first;
    const struct node *known = NULL; /* not before the bound; its topic need not be read again */
    for (unsigned l = r->height; l-- > 0;) {
        while (links[l] && links[l] != known && bound_cmp(node_topic(links[l]), b) < 0)
            links = links[l]->next;
        known = links[l];
        if (path) path[l] = (struct node **)(uintptr_t)&links[l];
    }
    return r->height ? links[0] : NULL;
}

static unsigned draw_height(struct retain *r)
{
    uint64_t bits = rng_next(&r->rng);
    unsigned height = 1;
    while (height < HEIGHT_MAX && (bits & 3) == 0) {
        bits >>= 2;
        height++;
    }
    return height;
}

int retain_set(struct retain *r, struct bytes topic, uint64_t value)
{
    ASSERT(topic.n > 0 && topic.n <= UINT16_MAX);
    uint64_t hash = hash_bytes(topic, r->seed);
    struct node *n = find(r, topic, hash);
    if (n) {
        r->release(r->ctx, n->value);
        n->value = value;
        return 0;
    }
    unsigned height = draw_height(r);
    n = mem_alloc(sizeof *n + height * sizeof n->next[0] + topic.n);
    if (n == NULL) return E_NOMEM;
    n->value = value;
    n->len = (uint16_t)topic.n;
    n->height = (uint8_t)height;
    memcpy(n->next + height, topic.p, topic.n);
    int rc = ptrmap_put(&r->by_topic, n, hash);
    if (rc < 0) {
        mem_free(n);
        return rc;
    }
    if (height > r->height) r->height = height;
    struct node **path[HEIGHT_MAX];
    seek(r, &(struct bound){.head = topic}, path);
    for (unsigned l = 0; l < height; l++) {
        n->next[l] = *path[l];
        *path[l] = n;
    }
    return 0;
}

bool retain_del(struct retain *r, struct bytes topic)
{
    uint64_t hash = hash_bytes(topic, r->seed);
    struct node *n = find(r, topic, hash);
    if (n == NULL) return false;
    struct node **path[HEIGHT_MAX];
    seek(r, &(struct bound){.head = topic}, path);
    for (unsigned l = 0; l < n->height; l++) {
        ASSERT(*path[l] == n);
        *path[l] = n->next[l];
    }
    ptrmap_del(&r->by_topic, n, hash);
    r->release(r->ctx, n->value);
    mem_free(n);
    return true;
}

bool retain_get(const struct retain *r, struct bytes topic, struct retain_item *out)
{
    const struct node *n = find(r, topic, hash_bytes(topic, r->seed));
    if (n) *out = (struct retain_item){node_topic(n), n->value};
    return n != NULL;
}

bool retain_after(const struct retain *r, struct bytes after, struct retain_item *out)
{
    const struct node *n = after.n ? find(r, after, hash_bytes(after, r->seed)) : NULL;
    struct bound b = {after, bytes_of("", 1)}; /* no topic holds U+0000 */
    n = n ? n->next[0] : after.n ? seek(r, &b, NULL) : r->first[0];
    if (n) *out = (struct retain_item){node_topic(n), n->value};
    return n != NULL;
}

enum verdict {
    MATCHES,
    STEP, /* does not match, the very next topic may */
    SEEK, /* does not match, nor does any topic between this one and the bound */
    END,  /* nor does any topic after it */
};

/* What a topic and a filter say of the topics that follow, level by level but with runs of levels
 * without wildcards taken as one.  As '/' is a byte like any other in the order, what lies below
 * "a/b/" is one stretch, which ends before "a/b0" ('0' is the byte after '/'). */
static enum verdict judge(struct bytes filter, struct bytes topic, struct bound *b)
{
    struct bytes f = filter, t = topic;
    bool below_plus = false; /* b holds the end of the stretch below the last '+' */
    if ((f.p[0] == '+' || f.p[0] == '#') && t.n && t.p[0] == '$') { /* [MQTT-4.7.2-1] */
        *b = (struct bound){.tail = bytes_str("%")};                /* the byte after '$' */
        return SEEK;
    }
    for (;;) {
        if (f.p[0] == '#') return MATCHES;
        if (f.p[0] == '+') {
            const uint8_t *slash = t.n ? memchr(t.p, '/', t.n) : NULL;
            if (slash == NULL) return f.n == 1 || (f.n == 3 && f.p[2] == '#') ? MATCHES : STEP;
            *b = (struct bound){bytes_of(topic.p, (size_t)(slash - topic.p)), bytes_str("0")};
            below_plus = true;
            if (f.n == 1) return SEEK;
            t = bytes_skip(t, (size_t)(slash - t.p) + 1);
            f = bytes_skip(f, 2);
            if (f.n) continue; /* else the last level is empty: a run of no bytes */
        }
        size_t run = 0; /* up to the next wildcard, its slash included */
        while (run < f.n && f.p[run] != '+' && f.p[run] != '#') run++;
        struct bytes want = {f.p, run};
        bool open = run < f.n;
        bool parent = open && f.p[run] == '#' && bytes_eq(t, bytes_of(f.p, run - 1));
        int order = open && t.n >= run ? memcmp(t.p, want.p, run) : bytes_cmp(t, want);
        if (parent || (order == 0 && !open)) return MATCHES;
        if (order < 0) {
            /* The parent of '#', "a/b" for "a/b/#", comes before "a/b/". */
            bool before_parent =
                open && f.p[run] == '#' && bytes_cmp(t, bytes_of(f.p, run - 1)) < 0;
            *b = (struct bound){bytes_of(topic.p, topic.n - t.n),
                                bytes_of(f.p, run - before_parent)};
            return SEEK;
        }
        if (order > 0) return below_plus ? SEEK : END;
        t = bytes_skip(t, run);
        f = bytes_skip(f, run);
    }
}

int retain_next(const struct retain *r, struct bytes filter, struct bytes after, uint32_t *budget,
                struct retain_item *out)
{
    *out = (struct retain_item){.topic = after};
    struct bound b = {0};
    enum verdict v = judge(filter, after, &b);
    if (v == END) return E_NOTFOUND;
    const struct node *n = NULL;
    if (v != SEEK) { /* most walks go on from a topic that is still there: one look, no search */
        b = (struct bound){after, bytes_of("", 1)}; /* no topic holds U+0000 */
        n = find(r, after, hash_bytes(after, r->seed));
    }
    n = n ? n->next[0] : seek(r, &b, NULL);
    while (n) {
        if (*budget == 0) return E_AGAIN;
        --*budget;
        *out = (struct retain_item){node_topic(n), n->value};
        v = judge(filter, out->topic, &b);
        if (v == MATCHES) return 0;
        if (v == END) return E_NOTFOUND;
        n = n->next[0];
        if (v == SEEK && n && bound_cmp(node_topic(n), &b) < 0) n = seek(r, &b, NULL);
    }
    return E_NOTFOUND;
}
