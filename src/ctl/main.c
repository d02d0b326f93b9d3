/* sluicectl, the operator's tool: its command line and the table of its verbs.  One thread. */
#include "ctl.h"

#include <stdarg.h>
#include <stdio.h>

enum { WORDS_MAX = 8 }; /* of a command: the verb's and its operands */

struct verb {
    const char *words[2]; /* the second may be NULL */
    const char *operands; /* for people */
    unsigned operand_count;
    int (*run)(const struct ctl *ctl);
    const char *help;
};

static const struct verb verbs[] = {
    {{"config", "check"}, "FILE", 1, ctl_config_check, "Say whether a configuration is good."},
    {{"store", "check"},
     "DIR",
     1,
     ctl_store_check,
     "Verify and describe a data folder that no broker uses: the folder\n"
     "NAME.d, its anchor NAME, or the persistence_location it is in."},
};

/* What the tool will have, so that nobody looks for a typing mistake. */
static const char *const later_verbs[] = {
    "status", "top",     "clients", "subscriptions", "retained", "queue",
    "dead",   "history", "pub",     "sub",           "bench",
};
static const char *const later_options[] = {"--url", "--socket"};

struct command {
    struct ctl ctl;
    const char *words[WORDS_MAX];
    unsigned count;
    bool help, version;
};

int ctl_fail(int code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fputs("sluicectl: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    return code;
}

static void print_help(void)
{
    puts("sluicectl " SLUICE_VERSION ", the operator's tool of the MQTT broker sluice\n"
         "\n"
         "Usage: sluicectl [--json] VERB ...\n");
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        const struct verb *v = &verbs[i];
        printf("  %s%s%s %s\n", v->words[0], v->words[1] ? " " : "", v->words[1] ? v->words[1] : "",
               v->operands);
        for (const char *p = v->help; *p;) {
            size_t n = strcspn(p, "\n");
            printf("      %.*s\n", (int)n, p);
            p += n + (p[n] != 0);
        }
    }
    puts("  passwd [OPTIONS] FILE USER\n"
         "      Add a user to a password_file, or change it: sluicectl passwd --help.\n"
         "  filter eval [--event FILE | --message FILE] -- EXPRESSION\n"
         "      Evaluate an attribute filter on an event, FILE in JSON or - for standard input.\n"
         "  filter check EXPRESSION\n"
         "      Say whether it is a good filter, and if not, where it is not.\n"
         "  filter explain EXPRESSION\n"
         "      Say what is asked of a message, and by what such a filter is found among many.\n"
         "  filter bench [FILTERS]\n"
         "      Measure how fast filters are found on this machine; the goals stand beside it.\n"
         "\n"
         "      --json     one JSON value instead of text\n"
         "      --version  print the version\n"
         "  -h, --help     this text\n"
         "\n"
         "Exit codes: 0 done, 1 no (damaged, not good, not there), 2 wrong use");
}

static bool listed(const char *const *list, size_t count, const char *word)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i], word) == 0) return true;
    return false;
}

static int take_option(struct command *c, const char *word)
{
    if (strcmp(word, "--json") == 0)
        c->ctl.json = true;
    else if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0)
        c->help = true;
    else if (strcmp(word, "--version") == 0)
        c->version = true;
    else if (listed(later_options, ARRAY_LEN(later_options), word))
        return ctl_fail(CTL_USAGE,
                        "%s is not supported yet: no verb of this version talks to a "
                        "broker",
                        word);
    else
        return ctl_fail(CTL_USAGE, "unknown option '%s'; see sluicectl --help", word);
    return 0;
}

/* Options may stand anywhere before "--". */
static int read_command(struct command *c, int argc, char **argv)
{
    bool options = true;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (options && strcmp(word, "--") == 0) {
            options = false;
        } else if (options && word[0] == '-' && word[1]) {
            int rc = take_option(c, word);
            if (rc) return rc;
        } else if (c->count == WORDS_MAX) {
            return ctl_fail(CTL_USAGE, "too many words; see sluicectl --help");
        } else {
            c->words[c->count++] = word;
        }
    }
    return 0;
}

/* NULL: there is none, and *code is due. */
static const struct verb *find_verb(const struct command *c, int *code)
{
    const char *first = c->words[0];
    const struct verb *half = NULL;
    *code = CTL_USAGE;
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        const struct verb *v = &verbs[i];
        if (strcmp(v->words[0], first) != 0) continue;
        if (v->words[1] == NULL || (c->count > 1 && strcmp(v->words[1], c->words[1]) == 0))
            return v;
        half = v;
    }
    if (half)
        ctl_fail(CTL_USAGE, "'%s' is not complete: did you mean 'sluicectl %s %s %s'?", first,
                 half->words[0], half->words[1], half->operands);
    else if (listed(later_verbs, ARRAY_LEN(later_verbs), first))
        ctl_fail(CTL_USAGE, "'%s' is not supported yet by this version", first);
    else
        ctl_fail(CTL_USAGE, "there is no verb '%s'; see sluicectl --help", first);
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "passwd") == 0) return ctl_passwd((unsigned)argc - 2, argv + 2);
    if (argc > 1 && strcmp(argv[1], "filter") == 0) return ctl_filter((unsigned)argc - 2, argv + 2);
    struct command c = {0};
    int code = read_command(&c, argc, argv);
    if (code) return code;
    if (c.help) {
        print_help();
        return CTL_DONE;
    }
    if (c.version) {
        puts("sluicectl " SLUICE_VERSION);
        return CTL_DONE;
    }
    if (c.count == 0) return ctl_fail(CTL_USAGE, "what is to be done? See sluicectl --help");
    const struct verb *v = find_verb(&c, &code);
    if (v == NULL) return code;
    unsigned skip = v->words[1] ? 2 : 1;
    if (c.count != skip + v->operand_count)
        return ctl_fail(CTL_USAGE, "use: sluicectl %s%s%s %s", v->words[0], v->words[1] ? " " : "",
                        v->words[1] ? v->words[1] : "", v->operands);
    c.ctl.operands = c.words + skip;
    return v->run(&c.ctl);
}
