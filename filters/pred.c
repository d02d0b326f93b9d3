/* Predicates: made once each, asked, and looked up by.  See form.h. */
#include "base/mem.h"
#include "filters/form.h"
#include "filters/text.h"

/* ---- which there are ---- */

static uint64_t value_bits(const struct filter_value *v)
{
    switch (v->type) {
    case FILTER_INT: return (uint32_t)v->integer;
    case FILTER_BOOL: return v->boolean;
    case FILTER_DECIMAL: return number_key(v->decimal);
    default: return 0;
    }
}

static uint64_t hash_head(uint8_t kind, const struct attr *a, uint64_t seed)
{
    return hash_u64((uint64_t)kind << 32 | (a ? a->serial : 0), seed);
}

static uint64_t hash_item(const struct filter_value *v, uint64_t h)
{
    if (v->type == FILTER_STRING) return hash_bytes(v->string, h);
    return hash_u64(value_bits(v) + v->type, h);
}

uint64_t pred_hash(const void *elem, uint64_t seed)
{
    const struct pred *p = elem;
    if (p->kind == PRED_EXPR) return tree_hash(pred_tree(p), pred_tree(p)->root, seed);
    uint64_t h = hash_head(p->kind, p->attr, seed);
    switch (p->kind) {
    case PRED_EQUAL:
        if (p->type != FILTER_STRING) return hash_u64(p->words[0] + p->type, h);
        return hash_bytes(pred_text(p), h);
    case PRED_LIKE: return hash_bytes(pred_text(p), h);
    case PRED_RANGE: return hash_bytes(bytes_of(p->words, sizeof(struct range_of)), h);
    case PRED_IN:
        for (uint32_t i = 0; i < p->n; i++) {
            struct in_item item = pred_item(p, i);
            h = hash_item(&item.value, h);
        }
        return h;
    default: return h;
    }
}

static uint64_t wanted_hash(const struct wanted *w, uint64_t seed)
{
    if (w->kind == PRED_EXPR) return tree_hash(w->tree, w->at, seed);
    uint64_t h = hash_head(w->kind, w->attr, seed);
    switch (w->kind) {
    case PRED_EQUAL:
    case PRED_LIKE: return hash_item(&w->value, h);
    case PRED_RANGE: return hash_bytes(bytes_of(&w->range, sizeof w->range), h);
    case PRED_IN: {
        const struct node *nodes = w->tree->nodes;
        for (uint32_t i = nodes[nodes[w->at].first].next; i; i = nodes[i].next)
            h = hash_item(&nodes[i].value, h);
        return h;
    }
    default: return h;
    }
}

static bool in_is(const struct pred *p, const struct wanted *w)
{
    const struct node *nodes = w->tree->nodes;
    uint32_t n = 0;
    for (uint32_t i = nodes[nodes[w->at].first].next; i; i = nodes[i].next, n++) {
        if (n == p->n) return false;
        struct in_item item = pred_item(p, n);
        if (item.value.type != nodes[i].value.type || !value_equal(&item.value, &nodes[i].value))
            return false;
    }
    return n == p->n;
}

static bool pred_is(const struct pred *p, const struct wanted *w)
{
    if (p->kind != w->kind) return false;
    if (p->kind == PRED_EXPR) return tree_same(pred_tree(p), pred_tree(p)->root, w->tree, w->at);
    if (p->attr != w->attr) return false;
    struct range_of r;
    switch (p->kind) {
    case PRED_EQUAL:
        if (p->type != w->value.type) return false;
        if (p->type != FILTER_STRING) return p->words[0] == value_bits(&w->value);
        return bytes_eq(pred_text(p), w->value.string);
    case PRED_LIKE: return bytes_eq(pred_text(p), w->value.string);
    case PRED_RANGE: r = pred_range(p); return r.low == w->range.low && r.high == w->range.high;
    case PRED_IN: return in_is(p, w);
    default: return true;
    }
}

static size_t pred_size(const struct pred *p)
{
    size_t word = sizeof p->words[0];
    switch (p->kind) {
    case PRED_EQUAL: return sizeof *p + (p->type == FILTER_STRING ? p->n : word);
    case PRED_LIKE: return sizeof *p + (p->plain ? 0 : word) + p->n;
    case PRED_RANGE:
    case PRED_EXPR: return sizeof *p + 2 * word;
    case PRED_IN: return sizeof *p + p->n * sizeof(struct in_item);
    default: return sizeof *p;
    }
}

static size_t pred_bytes(const struct pred *p)
{
    return pred_size(p) + (p->kind == PRED_EXPR ? tree_bytes(pred_tree(p)) : 0);
}

static void items_free(const struct pred *p, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct in_item item = pred_item(p, i);
        mem_free((void *)(uintptr_t)item.text.p);
    }
}

static void pred_fini(struct filter_store *s, struct pred *p)
{
    struct filter_tree *t = p->kind == PRED_EXPR ? pred_tree(p) : NULL;
    for (uint32_t i = 1; t && i < t->count; i++) attr_unref(s, t->nodes[i].shared);
    if (p->kind == PRED_IN) items_free(p, p->n);
    tree_free(t);
    attr_unref(s, p->attr);
    pool_free(&s->pool, p, pred_size(p));
}

void pred_unref(struct filter_store *s, struct pred *p)
{
    if (--p->refs) return;
    ptrmap_del(&s->preds, p, pred_hash(p, s->seed));
    s->stats.bytes -= pred_bytes(p);
    pred_fini(s, p);
}

/* ---- making one ---- */

/* Whether a pattern is beginning%end, so that it costs next to nothing. */
static bool is_plain(struct bytes pattern)
{
    unsigned runs = 0;
    for (size_t i = 0; i < pattern.n; i++) {
        if (pattern.p[i] == '_' || pattern.p[i] == '\\') return false;
        runs += pattern.p[i] == '%';
    }
    return runs == 1;
}

/* n: bytes of text, or PRED_IN: items. */
static struct pred *pred_alloc(struct filter_store *s, const struct wanted *w, size_t n)
{
    struct pred like = {.refs = 1, .kind = w->kind, .attr = w->attr, .n = (uint16_t)n};
    ASSERT(n <= UINT16_MAX);
    like.type = w->value.type & 3;
    like.plain = w->kind == PRED_LIKE && is_plain(w->value.string);
    struct pred *p = pool_alloc(&s->pool, pred_size(&like));
    if (p) memcpy(p, &like, sizeof like);
    return p;
}

/* The text that each item is as a String lies in the item's own memory, as does its value. */
static bool item_make(struct in_item *item, const struct filter_value *v)
{
    char room[CAST_TEXT_BYTES];
    struct filter_value text = *v;
    if (!value_cast(&text, FILTER_STRING, room)) return false;
    uint8_t *d = mem_alloc(text.string.n + 1);
    if (d == NULL) return false;
    put_mem(d, text.string);
    item->text = bytes_of(d, text.string.n);
    item->value = *v;
    if (v->type == FILTER_STRING) item->value.string = item->text;
    return true;
}

static struct pred *in_make(struct filter_store *s, const struct wanted *w)
{
    const struct node *nodes = w->tree->nodes;
    uint32_t count = nodes[w->at].count - 1;
    uint32_t made = 0;
    struct pred *p = pred_alloc(s, w, count);
    if (p == NULL) return NULL;
    for (uint32_t i = nodes[nodes[w->at].first].next; i; i = nodes[i].next, made++) {
        struct in_item item;
        if (!item_make(&item, &nodes[i].value)) {
            items_free(p, made);
            pool_free(&s->pool, p, pred_size(p));
            return NULL;
        }
        memcpy((uint8_t *)p->words + made * sizeof item, &item, sizeof item);
    }
    return p;
}

static bool share_attrs(struct filter_store *s, struct filter_tree *t)
{
    for (uint32_t i = 1; i < t->count; i++) {
        struct node *n = &t->nodes[i];
        if (n->kind != NODE_ATTR && n->kind != NODE_EXISTS) continue;
        struct attr *a = attr_get(s, t, i);
        if (a == NULL) return false;
        n->shared = a;
    }
    return true;
}

/* An attribute that the value of the subtree needs in any case. */
static struct attr *needed(const struct filter_tree *t, uint32_t at)
{
    const struct node *n = &t->nodes[at];
    if (n->kind == NODE_ATTR) return n->shared;
    if (n->kind == NODE_EXISTS) return NULL;
    unsigned op = n->kind == NODE_CHAIN ? t->nodes[t->nodes[n->first].next].op : OP_NONE;
    bool first_only = n->kind == NODE_IN || op == OP_AND || op == OP_OR;
    struct attr *best = NULL;
    for (uint32_t i = n->first; i; i = t->nodes[i].next) {
        struct attr *a = needed(t, i);
        if (a && (best == NULL || attr_is_name(a))) best = a;
        if (first_only || (best && attr_is_name(best))) break;
    }
    return best;
}

static struct pred *expr_make(struct filter_store *s, const struct wanted *w)
{
    struct filter_tree *t = tree_copy(w->tree, w->at);
    if (t == NULL) return NULL;
    struct pred *p = pred_alloc(s, w, 0);
    if (p == NULL) {
        tree_free(t);
        return NULL;
    }
    t->nodes[t->root].op = OP_NONE;
    p->words[0] = 0; /* no event */
    p->words[1] = (uintptr_t)t;
    if (!share_attrs(s, t)) {
        pred_fini(s, p);
        return NULL;
    }
    p->attr = needed(t, t->root);
    if (p->attr) p->attr->refs++;
    return p;
}

static struct pred *pred_make(struct filter_store *s, const struct wanted *w)
{
    struct bytes text = {0};
    if (w->kind == PRED_IN) return in_make(s, w);
    if (w->kind == PRED_EXPR) return expr_make(s, w);
    if (w->kind == PRED_LIKE || (w->kind == PRED_EQUAL && w->value.type == FILTER_STRING))
        text = w->value.string;
    struct pred *p = pred_alloc(s, w, text.n);
    if (p == NULL) return NULL;
    if (w->kind == PRED_RANGE) memcpy(p->words, &w->range, sizeof w->range);
    if (w->kind == PRED_EQUAL && w->value.type != FILTER_STRING)
        p->words[0] = value_bits(&w->value);
    if (pred_has_memo(p)) p->words[0] = 0; /* no event */
    put_mem((uint8_t *)(p->words + pred_has_memo(p)), text);
    return p;
}

struct pred *pred_get(struct filter_store *s, const struct wanted *w)
{
    if (s->preds.hash_of == NULL) ptrmap_init(&s->preds, pred_hash, s->seed);
    uint64_t hash = wanted_hash(w, s->seed);
    struct pred *p;
    for (size_t pos = hash; (p = ptrmap_next(&s->preds, hash, &pos)) != NULL;)
        if (pred_is(p, w)) {
            attr_unref(s, w->attr);
            return pred_ref(p);
        }
    p = pred_make(s, w);
    if (p == NULL) {
        attr_unref(s, w->attr);
        return NULL;
    }
    if (ptrmap_put(&s->preds, p, hash) < 0) {
        pred_fini(s, p);
        return NULL;
    }
    s->stats.bytes += pred_bytes(p);
    return p;
}

/* ---- asking ---- */

static enum filter_result answer(bool yes) { return yes ? FILTER_MATCH : FILTER_MISS; }

static enum filter_result ask_equal(const struct pred *p, struct slot *slot)
{
    int32_t i;
    struct bytes text;
    switch (p->type) {
    case FILTER_STRING: text = slot_text(slot); return answer(bytes_eq(text, pred_text(p)));
    case FILTER_INT:
        if (!slot_integer(slot)) return FILTER_ERROR;
        i = slot->integer;
        return answer((uint32_t)i == p->words[0]);
    case FILTER_BOOL:
        if (!slot_boolean(slot)) return FILTER_ERROR;
        return answer(slot->boolean == p->words[0]);
    default:
        if (!slot_decimal(slot)) return FILTER_ERROR;
        return answer(number_key(slot->decimal) == p->words[0]);
    }
}

static enum filter_result ask_in(const struct pred *p, const struct slot *slot)
{
    const struct filter_value *left = &slot->value;
    char room[CAST_TEXT_BYTES];
    for (uint32_t i = 0; i < p->n; i++) {
        struct in_item item = pred_item(p, i);
        if (left->type == FILTER_STRING) {
            if (bytes_eq(item.text, left->string)) return FILTER_MATCH;
            continue;
        }
        if (!value_cast(&item.value, left->type, room)) return FILTER_ERROR;
        if (value_equal(&item.value, left)) return FILTER_MATCH;
    }
    return FILTER_MISS;
}

static enum filter_result ask_plain(const struct pred *p, struct bytes text)
{
    struct bytes pattern = pred_text(p);
    const uint8_t *run = memchr(pattern.p, '%', pattern.n);
    size_t head = (size_t)(run - pattern.p), tail = pattern.n - head - 1;
    return answer(text.n >= head + tail && memcmp(text.p, pattern.p, head) == 0 &&
                  memcmp(text.p + text.n - tail, run + 1, tail) == 0);
}

static enum filter_result ask_like(struct run *r, struct slot *slot, const struct pred *p)
{
    struct bytes text = slot_text(slot);
    if (!run_work(r, text.n)) return FILTER_ERROR;
    enum like_result like = like_match(text, pred_text(p), WORK_MAX, &r->work);
    return run_work(r, 0) ? answer(like == LIKE_YES) : FILTER_ERROR;
}

static enum filter_result ask_expr(struct run *r, const struct pred *p)
{
    const struct filter_tree *t = pred_tree(p);
    r->tree = t;
    struct operand o = run_node(r, t->root);
    if (o.failed || !value_cast(&o.value, FILTER_BOOL, NULL)) return FILTER_ERROR;
    return answer(o.value.boolean);
}

/* What costs is asked once an event, unless it was cut short by what else its filter has done. */
static enum filter_result ask_costly(struct run *r, struct pred *p, struct slot *slot)
{
    if (p->words[0] == r->store->epoch) return (enum filter_result)p->answer;
    r->failure = FILTER_FAIL_NONE;
    enum filter_result result = slot ? ask_like(r, slot, p) : ask_expr(r, p);
    if (r->failure == FILTER_FAIL_GENERIC) return result;
    p->words[0] = r->store->epoch;
    p->answer = (int8_t)result;
    return result;
}

enum filter_result pred_ask(struct run *r, struct pred *p)
{
    if (p->kind == PRED_EXPR) return ask_costly(r, p, NULL);
    struct slot *slot = view_slot(r->store, r->event, p->attr);
    if (p->kind == PRED_EXISTS) return answer(slot->found != FOUND_MISSING);
    if (slot->found != FOUND_VALUE) return FILTER_ERROR;
    struct range_of range;
    switch (p->kind) {
    case PRED_EQUAL: return ask_equal(p, slot);
    case PRED_RANGE:
        if (!slot_number(slot)) return FILTER_ERROR;
        range = pred_range(p);
        return answer(slot->number >= range.low && slot->number <= range.high);
    case PRED_LIKE: return p->plain ? ask_plain(p, slot_text(slot)) : ask_costly(r, p, slot);
    case PRED_IN: return ask_in(p, slot);
    default: /* PRED_TRUTH */
        if (!slot_boolean(slot)) return FILTER_ERROR;
        return answer(slot->boolean);
    }
}
