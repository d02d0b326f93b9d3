/* Attributes and what they are in the event at hand.  The names that some filter uses are found by
 * one pass over the event's attributes; everything else when it is asked for. */
#include "base/mem.h"
#include "filters/form.h"

/* ---- which there are ---- */

static uint64_t node_hash(const struct filter_tree *e, uint32_t at, uint64_t seed)
{
    const struct node *n = &e->nodes[at];
    if (n->attr == ATTR_NAME) return hash_bytes(n->value.string, seed);
    uint64_t h = hash_u64((uint64_t)n->attr << 32 | (uint32_t)n->index, seed);
    for (uint32_t i = n->first; i; i = e->nodes[i].next) h = tree_hash(e, i, h);
    return h;
}

static uint64_t attr_hash(const void *elem, uint64_t seed)
{
    const struct attr *a = elem;
    return node_hash(a->tree, a->tree->root, seed);
}

static bool attr_is(const struct attr *a, const struct filter_tree *e, uint32_t at)
{
    const struct node *x = attr_node(a), *y = &e->nodes[at];
    if (x->attr != y->attr || x->index != y->index || x->count != y->count) return false;
    if (!bytes_eq(x->value.string, y->value.string)) return false;
    uint32_t i = x->first, k = y->first;
    for (; i && k; i = a->tree->nodes[i].next, k = e->nodes[k].next)
        if (!tree_same(a->tree, i, e, k)) return false;
    return i == 0 && k == 0;
}

static struct ptrmap *map_of(struct filter_store *s, const struct node *n)
{
    struct ptrmap *m = n->attr == ATTR_NAME ? &s->names : &s->attrs;
    if (m->hash_of == NULL) ptrmap_init(m, attr_hash, s->seed);
    return m;
}

/* The room for those that are present grows before the name is known, so a pass never fails. */
static bool present_room(struct filter_store *s)
{
    if (s->names.count < s->present_cap) return true;
    uint32_t cap = s->present_cap ? s->present_cap * 2 : 32;
    struct attr **grown = mem_realloc(s->present, cap * sizeof(struct attr *));
    if (grown == NULL) return false;
    s->present = grown;
    s->present_cap = cap;
    return true;
}

/* Most names in events are of no interest, and are known by their looks. */
static uint32_t *shape_of(struct filter_store *s, struct bytes name)
{
    uint32_t looks = name.n ? (uint32_t)name.n * 5 + name.p[0] * 3u + name.p[name.n - 1] : 0;
    return &s->shapes[looks % NAME_SHAPES];
}

struct attr *attr_get(struct filter_store *s, const struct filter_tree *e, uint32_t at)
{
    struct ptrmap *m = map_of(s, &e->nodes[at]);
    uint64_t hash = node_hash(e, at, s->seed);
    struct attr *a;
    for (size_t pos = hash; (a = ptrmap_next(m, hash, &pos)) != NULL;)
        if (attr_is(a, e, at)) {
            a->refs++;
            return a;
        }
    a = mem_calloc(1, sizeof *a);
    if (a == NULL) return NULL;
    a->tree = tree_copy(e, at);
    if (a->tree) a->tree->nodes[a->tree->root].kind = NODE_ATTR;
    if (a->tree == NULL || !present_room(s) || ptrmap_put(m, a, hash) < 0) {
        tree_free(a->tree);
        mem_free(a);
        return NULL;
    }
    a->refs = 1;
    a->serial = ++s->attr_serial;
    if (attr_is_name(a)) ++*shape_of(s, attr_node(a)->value.string);
    s->epoch++; /* the event at hand was looked through without it */
    s->stats.bytes += sizeof *a + tree_bytes(a->tree);
    return a;
}

void attr_unref(struct filter_store *s, struct attr *a)
{
    if (a == NULL || --a->refs) return;
    ptrmap_del(map_of(s, attr_node(a)), a, attr_hash(a, s->seed));
    if (attr_is_name(a)) --*shape_of(s, attr_node(a)->value.string);
    s->epoch++; /* it may be among those present */
    s->stats.bytes -= sizeof *a + tree_bytes(a->tree);
    tree_free(a->tree);
    mem_free(a);
}

/* ---- the event at hand ---- */

static struct attr *name_find(struct filter_store *s, struct bytes name)
{
    if (*shape_of(s, name) == 0) return NULL;
    uint64_t hash = hash_bytes(name, s->seed);
    struct attr *a;
    for (size_t pos = hash; (a = ptrmap_next(&s->names, hash, &pos)) != NULL;)
        if (bytes_eq(attr_node(a)->value.string, name)) return a;
    return NULL;
}

static void slot_begin(struct filter_store *s, struct slot *slot, enum found found)
{
    slot->epoch = s->epoch;
    slot->found = (uint8_t)found;
    slot->has_text = slot->has_integer = slot->has_decimal = CAST_UNTRIED;
    slot->has_number = slot->has_boolean = slot->has_hash = CAST_UNTRIED;
}

static void present(struct filter_store *s, struct attr *a, const struct filter_value *value)
{
    slot_begin(s, &a->slot, FOUND_VALUE);
    a->slot.value = *value;
    s->present[s->present_count++] = a;
}

void view_scan(struct filter_store *s, struct filter_event *event)
{
    struct bytes name;
    struct filter_value value;
    size_t cursor = 0;
    if (s->scanned) return;
    s->scanned = true;
    s->envelope = false;
    while (event->attribute && event->attribute(event->ctx, &cursor, &name, &value)) {
        struct attr *a = name_find(s, name);
        if (a && a->slot.epoch != s->epoch) present(s, a, &value); /* the first counts */
    }
    if (event->content_type.p == NULL) return;
    s->envelope = attr_is_envelope(event->content_type);
    struct attr *a = name_find(s, bytes_str("datacontenttype"));
    value = value_string(event->content_type);
    if (a && a->slot.epoch != s->epoch) present(s, a, &value);
}

struct slot *view_find(struct filter_store *s, struct filter_event *event, struct attr *a)
{
    struct slot *slot = &a->slot;
    const struct node *n = attr_node(a);
    if (n->attr == ATTR_NAME) {
        view_scan(s, event);
        if (slot->epoch == s->epoch) return slot;
        slot_begin(s, slot, FOUND_MISSING);
        if (s->envelope)
            slot->found = (uint8_t)json_member(s, event, n->value.string, &slot->value);
        return slot;
    }
    struct run r = {.store = s, .event = event, .tree = a->tree};
    slot_begin(s, slot, FOUND_MISSING);
    slot->found = (uint8_t)attr_find(&r, n, &slot->value);
    return slot;
}

/* ---- casts ---- */

bool slot_integer(struct slot *slot)
{
    if (slot->has_integer == CAST_UNTRIED) {
        struct filter_value v = slot->value;
        bool ok = value_cast(&v, FILTER_INT, NULL);
        slot->has_integer = ok ? CAST_DONE : CAST_NONE;
        slot->integer = ok ? v.integer : 0;
    }
    return slot->has_integer == CAST_DONE;
}

bool slot_decimal(struct slot *slot)
{
    if (slot->has_decimal == CAST_UNTRIED) {
        struct filter_value v = slot->value;
        bool ok = value_cast(&v, FILTER_DECIMAL, NULL);
        slot->has_decimal = ok ? CAST_DONE : CAST_NONE;
        slot->decimal = ok ? v.decimal : 0;
    }
    return slot->has_decimal == CAST_DONE;
}

bool slot_boolean(struct slot *slot)
{
    if (slot->has_boolean == CAST_UNTRIED) {
        struct filter_value v = slot->value;
        bool ok = value_cast(&v, FILTER_BOOL, NULL);
        slot->has_boolean = ok ? CAST_DONE : CAST_NONE;
        slot->boolean = ok && v.boolean;
    }
    return slot->has_boolean == CAST_DONE;
}

bool slot_number(struct slot *slot)
{
    if (slot->has_number == CAST_UNTRIED) {
        struct filter_value v = slot->value;
        bool ok = value_to_number(&v);
        slot->has_number = ok ? CAST_DONE : CAST_NONE;
        slot->number = ok ? number_key(value_as_double(&v)) : 0;
    }
    return slot->has_number == CAST_DONE;
}

struct bytes slot_text(struct slot *slot)
{
    if (slot->value.type == FILTER_STRING) return slot->value.string;
    if (slot->has_text == CAST_UNTRIED) {
        struct filter_value v = slot->value;
        bool ok = value_cast(&v, FILTER_STRING, slot->room);
        slot->has_text = ok ? CAST_DONE : CAST_NONE;
        slot->text = ok ? v.string : (struct bytes){0};
    }
    return slot->text;
}

uint64_t slot_hash(struct slot *slot, uint64_t seed)
{
    if (slot->has_hash == CAST_UNTRIED) {
        slot->hash = hash_bytes(slot_text(slot), seed);
        slot->has_hash = CAST_DONE;
    }
    return slot->hash;
}
