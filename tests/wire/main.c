/* wire: runs the conversations of .wire files against the simulated broker, each with one shard and
 * with three whose turns are shuffled, in memory and on a simulated disk, and says where the broker
 * departed from them.
 *
 *   wire [-v] [-k PART] [--seeds N] [--pending] FILE...
 *     -v         print every packet
 *     -k PART    only conversations whose title contains PART
 *     --seeds N  run the shuffled ones with N seeds
 *     --pending  each has to fail, for a known mistake of the broker; one that passes is an error
 */
#include <ctype.h>
#include <stdio.h>

#include "tests/wire/talk.h"

enum { SHARDS = 3, SEED = 7, FILE_MAX = 4 << 20, CONVERSATIONS_MAX = 4096 };

struct options {
    bool verbose, pending;
    const char *part;
    uint64_t seeds;
};

struct script {
    struct arena arena;
    const char *file;
    struct conversation *items;
    size_t count;
    const char *error;
};

struct totals {
    unsigned conversations, runs, failed;
};

/* ---- reading ---- */

static bool script_fail(struct script *s, unsigned line, const char *what)
{
    s->error = arena_printf(&s->arena, "%s:%u: %s", s->file, line, what);
    return false;
}

static const char *skip_word(const char *p)
{
    while (*p && !isspace((unsigned char)*p)) p++;
    while (isspace((unsigned char)*p)) p++;
    return p;
}

static bool word_starts(const char *line, const char *word)
{
    size_t n = strlen(word);
    return strncmp(line, word, n) == 0 && isspace((unsigned char)line[n]);
}

static bool read_versions(struct script *s, struct conversation *conv, const char *p, unsigned line)
{
    static const struct {
        const char *name;
        unsigned version;
    } names[] = {{"v3.1.1", MQTT_V311}, {"v3.1", MQTT_V31}, {"v5", MQTT_V5}};
    for (conv->versions = 0; *p; p = skip_word(p)) {
        bool found = false;
        for (size_t i = 0; i < ARRAY_LEN(names) && !found; i++) {
            size_t n = strlen(names[i].name);
            if (strncmp(p, names[i].name, n) != 0 || (p[n] && p[n] != ' ')) continue;
            conv->versions |= 1u << names[i].version;
            found = true;
        }
        if (!found) return script_fail(s, line, "versions are v3.1, v3.1.1 and v5");
    }
    return true;
}

static void start(struct script *s, const char *title, unsigned line)
{
    s->items[s->count++] = (struct conversation){
        .file = s->file, .title = title, .line = line, .versions = 1u << MQTT_V5};
}

static bool add_line(struct script *s, const char *text, unsigned number)
{
    if (strncmp(text, "==", 2) == 0) {
        if (s->count == CONVERSATIONS_MAX) return script_fail(s, number, "too many conversations");
        start(s, skip_word(text), number);
        return true;
    }
    if (s->count == 0) return script_fail(s, number, "a conversation starts with == and a title");
    struct conversation *conv = &s->items[s->count - 1];
    if (word_starts(text, "for")) return read_versions(s, conv, skip_word(text), number);
    if (strcmp(text, "shards 1") == 0) return conv->one_shard = true;
    if (strcmp(text, "disk") == 0) return conv->disk = true;
    if (word_starts(text, "fails")) {
        struct fields words;
        if (words_read(&s->arena, skip_word(text), &words) || words.count != 1)
            return script_fail(s, number, "fails wants a part of the message");
        conv->must_fail = (const char *)words.items[0].text.p;
        return true;
    }
    if (conv->count == conv->cap) {
        conv->cap = conv->cap ? conv->cap * 2 : 32;
        struct line *lines = arena_alloc(&s->arena, conv->cap * sizeof *lines);
        if (conv->count) memcpy(lines, conv->lines, conv->count * sizeof *lines);
        conv->lines = lines;
    }
    conv->lines[conv->count++] = (struct line){number, text};
    return true;
}

/* The next line without its blanks; one that ends in a backslash goes on in the one after it. */
static const char *take_line(struct script *s, const char **p, unsigned *number)
{
    struct text out = {.arena = &s->arena};
    for (bool more = true; more && **p;) {
        const char *start_of = *p, *end = strchr(start_of, '\n');
        if (end == NULL) end = start_of + strlen(start_of);
        *p = *end ? end + 1 : end;
        ++*number;
        while (start_of < end && isspace((unsigned char)*start_of)) start_of++;
        while (end > start_of && isspace((unsigned char)end[-1])) end--;
        more = end > start_of && end[-1] == '\\';
        text_add(&out, "%.*s", (int)(end - start_of - more), start_of);
    }
    return text_string(&out);
}

static bool script_read(struct script *s)
{
    FILE *file = fopen(s->file, "rb");
    if (file == NULL) return script_fail(s, 0, "cannot be opened");
    char *text = arena_alloc(&s->arena, FILE_MAX + 1);
    size_t n = fread(text, 1, FILE_MAX, file);
    fclose(file);
    if (n == FILE_MAX || strlen(text) != n) return script_fail(s, 0, "too large, or not a text");
    s->items = arena_alloc(&s->arena, CONVERSATIONS_MAX * sizeof *s->items);
    unsigned number = 0;
    for (const char *p = text; *p;) {
        unsigned first = number + 1;
        const char *line = take_line(s, &p, &number);
        if (*line && *line != '#' && !add_line(s, line, first)) return false;
    }
    return s->count > 0 || script_fail(s, 1, "no conversation in this file");
}

/* ---- running ---- */

static const char *version_name(unsigned version)
{
    return version == MQTT_V31 ? "v3.1" : version == MQTT_V311 ? "v3.1.1" : "v5";
}

/* Whether it went as it should, which for a self-test is wrong in the right way. */
static bool run_once(const struct conversation *conv, const struct options *o, unsigned version,
                     unsigned shards, uint64_t seed, bool disk)
{
    static struct talk t;
    const char *kept = disk ? ", on a disk" : "";
    if (o->verbose)
        printf("-- %s (%s, %u shard%s, seed %llu%s)\n", conv->title, version_name(version), shards,
               shards > 1 ? "s" : "", (unsigned long long)seed, kept);
    talk_init(&t, conv, version, shards, seed, disk, o->verbose);
    const char *error = talk_run(&t);
    const char *want = conv->must_fail;
    bool ok = want ? error && strstr(error, want) : error == NULL;
    if (!ok && want)
        printf("%s:%u: should have failed with \"%s\", but %s%s\n", conv->file, conv->line, want,
               error ? "failed with: " : "passed", error ? error : "");
    else if (!ok)
        printf("%s\n  in \"%s\" (%s, %u shard%s, seed %llu%s)\n\n", error, conv->title,
               version_name(version), shards, shards > 1 ? "s" : "", (unsigned long long)seed,
               kept);
    talk_fini(&t);
    return ok;
}

/* In memory and on a disk, on one shard and on several. */
static bool run_version(const struct conversation *conv, const struct options *o, unsigned version,
                        struct totals *totals)
{
    bool ok = true;
    for (int disk = conv->disk; disk <= 1 && ok; disk++) {
        totals->runs++;
        ok = run_once(conv, o, version, 1, SEED, disk);
        for (uint64_t seed = SEED; ok && !conv->one_shard && seed < SEED + o->seeds; seed++) {
            totals->runs++;
            ok = run_once(conv, o, version, SHARDS, seed, disk);
        }
    }
    return ok;
}

static void run_conversation(const struct conversation *conv, const struct options *o,
                             struct totals *totals)
{
    bool ok = true;
    totals->conversations++;
    for (unsigned version = MQTT_V31; version <= MQTT_V5 && ok; version++)
        if (conv->versions >> version & 1) ok = run_version(conv, o, version, totals);
    if (ok && o->pending)
        printf("%s:%u: \"%s\" passes now: it belongs to its section's file\n", conv->file,
               conv->line, conv->title);
    totals->failed += ok == o->pending;
}

static bool run_file(const char *file, const struct options *o, struct totals *totals)
{
    struct script s = {.file = file};
    bool ok = script_read(&s);
    if (!ok) printf("%s\n", s.error);
    for (size_t i = 0; ok && i < s.count; i++)
        if (o->part == NULL || strstr(s.items[i].title, o->part))
            run_conversation(&s.items[i], o, totals);
    arena_free(&s.arena);
    return ok;
}

int main(int argc, char **argv)
{
    struct options o = {.seeds = 1};
    struct totals totals = {0};
    bool ok = true;
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "-v") == 0)
            o.verbose = true;
        else if (strcmp(argv[i], "--pending") == 0)
            o.pending = true;
        else if (strcmp(argv[i], "-k") == 0 && i + 1 < argc)
            o.part = argv[++i];
        else if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc)
            o.seeds = strtoull(argv[++i], NULL, 10);
        else
            ok = false;
    }
    if (!ok || i == argc) {
        fprintf(stderr, "usage: wire [-v] [-k PART] [--seeds N] [--pending] FILE...\n");
        return 2;
    }
    for (; i < argc; i++) ok = run_file(argv[i], &o, &totals) && ok;
    printf("%u conversations, %u runs, %u failed\n", totals.conversations, totals.runs,
           totals.failed);
    return ok && totals.failed == 0 && totals.conversations > 0 ? 0 : 1;
}
