/* Runs a conversation line by line.  See README.md for the language. */
#include "tests/wire/talk.h"
#include "core/dead.h"

#include <stdarg.h>
#include <stdio.h>

enum { REPEAT_MAX = 100000, POLLS_TO_WRITE = 32 };

bool talk_fail(struct talk *t, const char *fmt, ...)
{
    if (t->error) return false;
    va_list args;
    va_start(args, fmt);
    char text[8192];
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    t->error = arena_printf(&t->arena, "%s:%u: %s", t->conv->file, t->line, text);
    return false;
}

void talk_fetch(struct talk *t)
{
    for (size_t i = 0; i < t->client_count; i++) client_fetch(t, t->clients[i]);
}

void talk_settle(struct talk *t)
{
    world_run(t->world);
    talk_fetch(t);
}

/* ---- packets ---- */

static bool raw_bytes(struct talk *t, const struct fields *words, struct bytes *out)
{
    size_t room = 0, n = 0;
    for (size_t i = 0; i < words->count; i++) room += words->items[i].text.n;
    uint8_t *d = arena_alloc(&t->arena, room + 1);
    for (size_t i = 0; i < words->count; i++) {
        const struct field *f = &words->items[i];
        if (f->name.n) return talk_fail(t, "raw takes hex digits and quoted texts");
        if (f->quoted) {
            put_mem(d + n, f->text);
            n += f->text.n;
        } else if (hex_read(f->text, d + n)) {
            n += f->text.n / 2;
        } else {
            return talk_fail(t, "'%.*s' is no pair of hex digits", (int)f->text.n,
                             (const char *)f->text.p);
        }
    }
    *out = bytes_of(d, n);
    return true;
}

static bool say(struct talk *t, struct client *c, const struct fields *words, bool run)
{
    struct fields rest = words_from(words, 1);
    struct bytes raw;
    if (word_is(words, 0, "raw"))
        return raw_bytes(t, &rest, &raw) && client_send_raw(t, c, raw, run);
    if (word_is(words, 0, "connect")) return say_connect(t, c, &rest, run);
    unsigned type = words->count ? packet_type(words->items[0].text) : 0;
    if (type == 0) return talk_fail(t, "after > comes a packet, or raw");
    return client_send(t, c, type, &rest, run);
}

static bool hear(struct talk *t, struct client *c, const struct fields *words, bool anywhere)
{
    struct fields rest = words_from(words, 1);
    struct bytes raw;
    if (word_is(words, 0, "raw")) return raw_bytes(t, &rest, &raw) && client_expect_raw(t, c, raw);
    if (word_is(words, 0, "nothing") && rest.count == 0) return client_expect_nothing(t, c);
    if (word_is(words, 0, "closed")) return client_expect_closed(t, c, &rest);
    unsigned type = words->count ? packet_type(words->items[0].text) : 0;
    if (type == 0) return talk_fail(t, "after < comes a packet, raw, nothing or closed");
    return client_expect(t, c, type, &rest, anywhere ? SEARCH_ANYWHERE : SEARCH_NEXT, NULL);
}

/* ---- statements about clients ---- */

static bool ends_with(struct bytes *word, const char *end)
{
    size_t n = strlen(end);
    if (word->n <= n || memcmp(word->p + word->n - n, end, n) != 0) return false;
    word->n -= n;
    return true;
}

/* Applies the rest of the line to each client of "a,b,c". */
static bool client_statement(struct talk *t, const struct fields *words)
{
    struct bytes names = words->items[0].text;
    bool later = ends_with(&names, ">>"), says = later || ends_with(&names, ">");
    bool anywhere = ends_with(&names, "<~"), hears = anywhere || ends_with(&names, "<");
    struct fields rest = words_from(words, 1);
    if (rest.count == 0) return talk_fail(t, "this line is not finished");
    while (names.n) {
        const uint8_t *comma = memchr(names.p, ',', names.n);
        size_t n = comma ? (size_t)(comma - names.p) : names.n;
        struct client *c = client_named(t, bytes_of(names.p, n));
        if (c == NULL || n == 0) return talk_fail(t, "too many clients, or one without a name");
        names = bytes_skip(names, comma ? n + 1 : n);
        struct fields after = words_from(&rest, 1);
        bool ok = says    ? say(t, c, &rest, !later)
                  : hears ? hear(t, c, &rest, anywhere)
                          : verb_run(t, c, rest.items[0].text, &after);
        if (!ok) return false;
    }
    return true;
}

static bool alias_set(struct talk *t, struct bytes name, struct client *c)
{
    const char *text = arena_printf(&t->arena, "%.*s", (int)name.n, (const char *)name.p);
    for (size_t i = 0; i < t->client_count; i++)
        if (strcmp(t->clients[i]->name, text) == 0)
            return talk_fail(t, "%s is the name of a client", text);
    for (size_t i = 0; i < t->alias_count; i++)
        if (strcmp(t->aliases[i].name, text) == 0) t->aliases[i--] = t->aliases[--t->alias_count];
    if (t->alias_count == ALIASES_MAX) return talk_fail(t, "too many aliases");
    t->aliases[t->alias_count++] = (struct alias){text, c};
    return true;
}

struct choice { /* one of a b ... */
    struct client *among[CLIENTS_MAX];
    size_t count, chosen;
    struct fields words; /* of the PUBLISH */
    struct bytes as, other;
    bool acknowledge;
};

static bool choice_read(struct talk *t, const struct fields *words, struct choice *out)
{
    size_t i = 2;
    for (; i < words->count && !word_is(words, i, "gets") && !word_is(words, i, "<"); i++) {
        if (out->count == CLIENTS_MAX) return talk_fail(t, "too many clients");
        out->among[out->count++] = client_named(t, words->items[i].text);
    }
    out->acknowledge = word_is(words, i, "gets");
    if (!out->acknowledge && !word_is(words, ++i, "publish"))
        return talk_fail(t, "one of NAMES gets ..., or one of NAMES < publish ...");
    for (i++; i < words->count; i++) {
        const struct field *f = &words->items[i];
        if (field_is(f, "as"))
            out->as = f->text;
        else if (field_is(f, "other"))
            out->other = f->text;
        else
            fields_add(&t->arena, &out->words, *f);
    }
    return true;
}

static bool nobody(struct talk *t, const struct choice *ch)
{
    struct text out = {.arena = &t->arena};
    text_add(&out, "one of them expected publish");
    fields_print(&out, &ch->words);
    for (size_t i = 0; i < ch->count; i++)
        text_add(&out, "\n  arrived at %s:%s", ch->among[i]->name, client_arrived(t, ch->among[i]));
    return talk_fail(t, "%s", text_string(&out));
}

/* Exactly one of them is next to get this, whichever it is. */
static bool one_of(struct talk *t, const struct fields *words)
{
    struct choice ch = {0};
    struct packet got;
    size_t matches = 0;
    if (!choice_read(t, words, &ch)) return false;
    for (size_t i = ch.count; i-- > 0;) {
        if (!client_would_match(t, ch.among[i], MQTT_PUBLISH, &ch.words)) continue;
        ch.chosen = i;
        matches++;
    }
    if (matches > 1) return talk_fail(t, "%zu of them got it", matches);
    if (matches == 0) return nobody(t, &ch);
    struct client *c = ch.among[ch.chosen];
    if (!client_expect(t, c, MQTT_PUBLISH, &ch.words, SEARCH_NEXT, &got)) return false;
    if (ch.as.n && !alias_set(t, ch.as, c)) return false;
    if (ch.other.n && ch.count > 1 && !alias_set(t, ch.other, ch.among[ch.chosen ? 0 : 1]))
        return false;
    return ch.acknowledge ? verb_acknowledge(t, c, &got) : true;
}

/* ---- other statements ---- */

static bool wait_for(struct talk *t, const struct fields *words)
{
    uint64_t ms;
    if (words->count != 2 || !duration_read(words->items[1].text, &ms))
        return talk_fail(t, "wait wants a duration such as 1500ms, 30s, 15m, 12h or 7d");
    world_advance(t->world, ms);
    talk_fetch(t);
    return true;
}

static bool logged(struct talk *t, const struct fields *words, bool wanted)
{
    if (words->count != 1) return talk_fail(t, "logged wants a text in quotes");
    const char *part = (const char *)words->items[0].text.p;
    if (world_logged(t->world, part) == wanted) return true;
    const char *log = world_log(t->world);
    size_t n = strlen(log);
    return talk_fail(t, "the log should %shave \"%s\":\n%s", wanted ? "" : "not ", part,
                     n > 4000 ? log + n - 4000 : log);
}

static bool broker_publishes(struct talk *t, const struct fields *words)
{
    struct fields f;
    const char *error = packet_fields(&t->arena, MQTT_PUBLISH, words, &f);
    if (error) return talk_fail(t, "%s", error);
    const struct field *topic = fields_get(&f, "topic");
    if (topic == NULL) return talk_fail(t, "publishes wants a topic");
    int rc =
        core_publish(world_core(t->world, 0), topic->text, fields_get(&f, "payload")->text,
                     (uint8_t)fields_get(&f, "qos")->number, fields_get(&f, "retain")->number != 0);
    if (rc < 0) return talk_fail(t, "the broker could not publish: %s", err_name(rc));
    talk_settle(t);
    return true;
}

static void disk_set(struct talk *t, bool stuck, bool full)
{
    const struct store_faults faults = {
        .sync_delay = 300, .fetch_delay = 300, .full = full, .stuck = stuck};
    store_disk_faults(t->disk, &faults);
    t->disk_waits = stuck;
    if (t->world) world_disk_waits(t->world, stuck || full);
}

/* The disk writes nothing from now on, or has no space, or writes again. */
static bool disk(struct talk *t, const struct fields *words)
{
    bool stuck = word_is(words, 1, "waits"), full = word_is(words, 1, "fills");
    if (t->disk == NULL) return talk_fail(t, "the conversation wants a line: disk");
    if (words->count != 2 || (!stuck && !full && !word_is(words, 1, "writes")))
        return talk_fail(t, "the disk waits, fills or writes");
    disk_set(t, stuck, full);
    talk_settle(t);
    return true;
}

/* Clients notice that it is gone and know what to do. */
static bool broker_again(struct talk *t, const struct fields *words, bool crashes)
{
    const struct field *shards = fields_get(words, "shards"), *down = fields_get(words, "down");
    uint64_t ms = 0;
    if (words->count != (shards ? 1u : 0u) + (down ? 1u : 0u))
        return talk_fail(t, "crashes and restarts take shards=N and down=DURATION");
    if (down && !duration_read(down->text, &ms)) return talk_fail(t, "down wants a duration");
    if (t->disk == NULL) return talk_fail(t, "the conversation wants a line: disk");
    unsigned count = shards ? (unsigned)shards->number : world_shards(t->world);
    /* A log writes by itself what it was given; this one when it is polled. */
    unsigned turns = t->disk_waits ? 0 : POLLS_TO_WRITE * world_shards(t->world);
    while (turns-- > 0) world_step(t->world);
    if (crashes)
        world_crash(t->world, count, ms);
    else
        world_restart(t->world, count, ms);
    disk_set(t, false, false);
    for (size_t i = 0; i < t->client_count; i++) client_lost(t, t->clients[i]);
    talk_settle(t);
    return true;
}

/* All dead letters, or those of one reason; what cannot be is left. */
static bool broker_buries(struct talk *t, const struct fields *words, bool redrives)
{
    struct dead_info info;
    struct core *core = world_core(t->world, 0);
    uint64_t at = 0;
    for (int rc; (rc = dead_next(core, at, &info)) != E_NOTFOUND;) {
        if (rc == E_AGAIN) { /* the disk is being asked */
            world_advance(t->world, 1);
            continue;
        }
        if (rc < 0) return talk_fail(t, "dead_next: %s", err_name(rc));
        at = info.seq;
        bool wanted = words->count == 0 || bytes_eq(words->items[0].text, info.reason);
        dead_info_fini(&info);
        if (!wanted) continue;
        while ((rc = redrives ? dead_redrive(core, at) : dead_purge(core, at)) == E_AGAIN)
            world_advance(t->world, 1);
    }
    talk_settle(t);
    return true;
}

static bool broker_memory(struct talk *t, const struct fields *words)
{
    static const char *const levels[] = {[CORE_PRESSURE_NONE] = "plenty",
                                         [CORE_PRESSURE_SOFT] = "short",
                                         [CORE_PRESSURE_HARD] = "out"};
    for (unsigned level = 0; words->count == 3 && level < ARRAY_LEN(levels); level++) {
        if (!word_is(words, 2, levels[level])) continue;
        for (unsigned i = 0; i < world_shards(t->world); i++)
            core_pressure(world_core(t->world, i), level);
        talk_settle(t);
        return true;
    }
    return talk_fail(t, "memory is plenty, short or out");
}

static bool broker(struct talk *t, const struct fields *words)
{
    struct fields rest = words_from(words, 2);
    if (word_is(words, 1, "memory")) return broker_memory(t, words);
    if (word_is(words, 1, "crashes")) return broker_again(t, &rest, true);
    if (word_is(words, 1, "restarts")) return broker_again(t, &rest, false);
    if (word_is(words, 1, "publishes")) return broker_publishes(t, &rest);
    if (word_is(words, 1, "redrives")) return broker_buries(t, &rest, true);
    if (word_is(words, 1, "purges")) return broker_buries(t, &rest, false);
    if (word_is(words, 1, "stops") && rest.count == 0) {
        world_shutdown(t->world);
        talk_fetch(t);
        return true;
    }
    if (word_is(words, 1, "dumps") && rest.count == 0) {
        for (unsigned i = 0; i < world_shards(t->world); i++) core_dump(world_core(t->world, i));
        return true;
    }
    return talk_fail(t,
                     "the broker publishes, stops, dumps, crashes, restarts, redrives or purges");
}

static bool statement(struct talk *t, const char *line)
{
    struct fields words;
    const char *error = words_read(&t->arena, line, &words);
    if (error) return talk_fail(t, "%s", error);
    if (words.items[0].name.n || words.items[0].quoted)
        return talk_fail(t, "a line starts with a client or a command");
    struct fields rest = words_from(&words, 1), after_not = words_from(&words, 2);
    if (word_is(&words, 0, "config")) return setting_config(t, &rest);
    if (word_is(&words, 0, "listener")) return setting_listener(t, &rest);
    if (word_is(&words, 0, "user")) return setting_user(t, &rest);
    if (word_is(&words, 0, "stat")) return setting_stat(t, &rest);
    if (word_is(&words, 0, "wait")) return wait_for(t, &words);
    if (word_is(&words, 0, "logged")) return logged(t, &rest, true);
    if (word_is(&words, 0, "not") && word_is(&words, 1, "logged"))
        return logged(t, &after_not, false);
    if (word_is(&words, 0, "broker")) return broker(t, &words);
    if (word_is(&words, 0, "disk")) return disk(t, &words);
    if (word_is(&words, 0, "one") && word_is(&words, 1, "of")) return one_of(t, &words);
    return client_statement(t, &words);
}

/* ---- repeat ---- */

static bool line_is(const char *line, const char *word)
{
    size_t n = strlen(word);
    return strncmp(line, word, n) == 0 && (line[n] == 0 || line[n] == ' ');
}

/* {i} becomes the count of the innermost repeat. */
static const char *with_index(struct talk *t, const char *line)
{
    struct text out = {.arena = &t->arena};
    const char *hole;
    for (; (hole = strstr(line, "{i}")) != NULL; line = hole + 3)
        text_add(&out, "%.*s%llu", (int)(hole - line), line, (unsigned long long)t->index);
    text_add(&out, "%s", line);
    return text_string(&out);
}

static size_t block_end(const struct conversation *conv, size_t from)
{
    size_t depth = 1;
    for (size_t i = from; i < conv->count; i++) {
        if (line_is(conv->lines[i].text, "repeat")) depth++;
        if (line_is(conv->lines[i].text, "end") && --depth == 0) return i;
    }
    return conv->count;
}

static bool run_lines(struct talk *t, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        const struct line *line = &t->conv->lines[i];
        t->line = line->number;
        if (!line_is(line->text, "repeat")) {
            if (!statement(t, with_index(t, line->text))) return false;
            continue;
        }
        uint64_t times, outer = t->index;
        size_t end = block_end(t->conv, i + 1);
        if (end == t->conv->count) return talk_fail(t, "this repeat has no end");
        if (!number_read(bytes_str(line->text + strlen("repeat ")), &times) || times > REPEAT_MAX)
            return talk_fail(t, "repeat wants a count");
        for (t->index = 1; t->index <= times; t->index++)
            if (!run_lines(t, i + 1, end)) return false;
        t->index = outer;
        i = end;
    }
    return true;
}

/* ---- the whole ---- */

/* At the end nothing may have arrived that nobody asked for, and nobody be gone unnoticed. */
static bool check_end(struct talk *t)
{
    for (size_t i = 0; i < t->client_count; i++) {
        struct client *c = t->clients[i];
        if (c->conn == NULL || c->ended) continue;
        if (client_expect_nothing(t, c)) continue;
        t->error = arena_printf(&t->arena, "%s\n  (at the end of the conversation)", t->error);
        return false;
    }
    return true;
}

void talk_init(struct talk *t, const struct conversation *conv, unsigned version, unsigned shards,
               uint64_t seed, bool disk, bool verbose)
{
    *t = (struct talk){.conv = conv, .version = version, .verbose = verbose, .line = conv->line};
    if (disk && store_disk_new(&t->disk, seed) < 0) abort();
    if (disk) disk_set(t, false, false);
    t->world = world_new_on(t->disk, shards, NULL, seed);
    world_shuffle(t->world, shards > 1);
}

const char *talk_run(struct talk *t)
{
    if (run_lines(t, 0, t->conv->count)) check_end(t);
    return t->error;
}

void talk_fini(struct talk *t)
{
    world_free(t->world);
    while (t->acl_count) acl_free(&t->acls[--t->acl_count]);
    store_disk_free(&t->disk);
    arena_free(&t->arena);
}
