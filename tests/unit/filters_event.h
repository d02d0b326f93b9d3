/* Events made of a few words, and what an expression gave, in words: for tests of the language.
 * Behind cmocka.h. */
#ifndef TESTS_UNIT_FILTERS_EVENT_H
#define TESTS_UNIT_FILTERS_EVENT_H

#include <stdio.h>
#include <stdlib.h>

#include "filters/eval.h"
#include "filters/value.h"

/* "name:text|name#integer|name!boolean", before what every CloudEvent has. */
enum { ATTRIBUTES = 8 };

struct attributes {
    struct bytes names[ATTRIBUTES];
    struct filter_value values[ATTRIBUTES];
    size_t count;
};

static void attribute_add(struct attributes *a, const char *text, size_t n)
{
    size_t name = 0;
    while (name < n && strchr(":#!", text[name]) == NULL) name++;
    assert_true(name < n && a->count < ATTRIBUTES);
    struct bytes value = bytes_of(text + name + 1, n - name - 1);
    struct filter_value *v = &a->values[a->count];
    a->names[a->count++] = bytes_of(text, name);
    *v = value_string(value);
    if (text[name] == '#') *v = value_int((int32_t)strtol(text + name + 1, NULL, 10));
    if (text[name] == '!') *v = value_bool(bytes_eq(value, bytes_str("true")));
}

static struct attributes attributes_of(const char *text)
{
    static const char *const always[] = {"specversion:1.0", "id:myId", "source:localhost",
                                         "type:myType"};
    struct attributes a = {0};
    for (size_t n; *text; text += n + (text[n] == '|')) {
        n = strcspn(text, "|");
        attribute_add(&a, text, n);
    }
    for (size_t i = 0; i < ARRAY_LEN(always); i++) attribute_add(&a, always[i], strlen(always[i]));
    return a;
}

static inline bool next_attribute(void *ctx, size_t *cursor, struct bytes *name,
                                  struct filter_value *value)
{
    const struct attributes *a = ctx;
    if (*cursor == a->count) return false;
    *name = a->names[*cursor];
    *value = a->values[(*cursor)++];
    return true;
}

/* 21.5, 'text', true; then the failure's name, if there was one. */
static inline void show(const struct filter_outcome *o, char *d, size_t size)
{
    struct filter_value v = o->value;
    char room[CAST_TEXT_BYTES];
    const char *quote = v.type == FILTER_STRING ? "'" : "";
    assert_true(value_cast(&v, FILTER_STRING, room));
    const char *failure = filter_failure_name(o->failure);
    snprintf(d, size, "%s%.*s%s%s%s", quote, (int)v.string.n, (const char *)v.string.p, quote,
             failure ? " " : "", failure ? failure : "");
}

#endif
