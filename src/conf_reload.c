/* What a reload cannot change.  Pure; main thread. */
#include "conf_int.h"

static bool conf_text_same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

bool conf_listener_same_socket(const struct conf_listener *a, const struct conf_listener *b)
{
    return a->port == b->port && conf_text_same(a->address, b->address) &&
           conf_text_same(a->bind_interface, b->bind_interface) &&
           a->socket_domain == b->socket_domain && a->http_api == b->http_api;
}

static bool conf_listeners_same(const struct conf *a, const struct conf *b)
{
    if (a->listener_count != b->listener_count) return false;
    for (size_t i = 0; i < a->listener_count; i++)
        if (!conf_listener_same_socket(&a->listeners[i], &b->listeners[i])) return false;
    return true;
}

static bool conf_row_same(const struct conf_directive *d, const struct conf *a,
                          const struct conf *b)
{
    const uint8_t *at_a = (const uint8_t *)a + d->offset, *at_b = (const uint8_t *)b + d->offset;
    const char *text_a, *text_b;
    /* A string too, but one that is looked at before it is taken. */
    bool text = d->kind == CONF_TEXT || d->apply == conf_apply_persistence_file;
    if (!text) return memcmp(at_a, at_b, d->width) == 0;
    memcpy(&text_a, at_a, sizeof text_a);
    memcpy(&text_b, at_b, sizeof text_b);
    return conf_text_same(text_a, text_b);
}

unsigned conf_restart_needed(const struct conf *running, const struct conf *wanted,
                             void (*say)(void *ctx, const char *directive), void *ctx)
{
    size_t count;
    const struct conf_directive *row = conf_schema(&count);
    unsigned found = 0;
    for (size_t i = 0; i < count; i++) {
        const struct conf_directive *d = &row[i];
        /* Rows without a width are parts of listeners, or not a value (include_dir); old names
         * have a row of their own beside that of the new name. */
        if (d->scope != CONF_GENERAL || d->reloadable || d->width == 0) continue;
        if (d->status == CONF_MAPPED) continue;
        if (conf_row_same(d, running, wanted)) continue;
        say(ctx, d->name);
        found++;
    }
    /* Without a log nothing can be read again, and there is none unless one is asked for. */
    if (!running->persistence && !running->core.history_count && wanted->core.history_count) {
        say(ctx, "history");
        found++;
    }
    if (conf_listeners_same(running, wanted)) return found;
    say(ctx, "listener");
    return found + 1;
}
