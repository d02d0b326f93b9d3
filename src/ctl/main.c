/* sluicectl, the operator's tool: its command line and the table of its verbs.  One thread. */
#include "ctl.h"

#include <stdio.h>

enum { WORDS_MAX = 8 }; /* of a command: the verb's and its operands */

struct verb {
    const char *words[2];             /* the second may be NULL */
    const char *operands;             /* for people */
    unsigned operand_count, optional; /* as many more */
    unsigned options;                 /* enum option */
    int (*run)(const struct ctl *ctl);
    const char *help;
};

/* Options that only some verbs have. */
enum option {
    ASKS = 1, /* --url, --socket */
    DRY_RUN = 2,
    ONCE = 4,
    CLIENT = 8,
    FILTER = 16,
    PICK = 32, /* --source, --reason, --limit */
    RATE = 64,
    SPAN = 128,    /* --from, --to */
    SETTINGS = 256 /* --topic and the like */
};

static const struct verb verbs[] = {
    {{"status", NULL}, "", 0, 0, ASKS, ctl_status, "Describe the broker as a whole."},
    {{"top", NULL},
     "[--once]",
     0,
     0,
     ASKS | ONCE,
     ctl_top,
     "Its figures and their rates, every two seconds or once."},
    {{"clients", "list"}, "", 0, 0, ASKS, ctl_clients_list, "List all sessions."},
    {{"clients", "show"}, "ID", 1, 0, ASKS, ctl_clients_show, "Describe one session."},
    {{"clients", "kick"}, "ID", 1, 0, ASKS, ctl_clients_kick, "End a client's connection."},
    {{"subscriptions", NULL},
     "[--client ID]",
     0,
     0,
     ASKS | CLIENT,
     ctl_subscriptions,
     "List subscriptions: all, or those of one client."},
    {{"retained", "list"},
     "[FILTER]",
     0,
     1,
     ASKS,
     ctl_retained_list,
     "List retained messages: all, or those that match a topic filter."},
    {{"retained", "delete"},
     "FILTER [--dry-run]",
     1,
     0,
     ASKS | DRY_RUN,
     ctl_retained_delete,
     "Delete retained messages that match, or only count them."},
    {{"queue", "list"}, "", 0, 0, ASKS, ctl_queue_list, "List work queues."},
    {{"queue", "show"},
     "NAME",
     1,
     0,
     ASKS,
     ctl_queue_show,
     "Describe a queue: its settings, counters and consumers."},
    {{"queue", "create"},
     "NAME --topic FILTER ... [--filter EXPR] [--ack-deadline D] ...",
     1,
     0,
     ASKS | FILTER | SETTINGS,
     ctl_queue_create,
     "Make a queue. Options are the directives of a queue without queue_ and with\n"
     "dashes: --ack-deadline --max-deliveries --backoff --max-messages --max-bytes\n"
     "--overflow --message-ttl --order --dedup-window --prefetch --dispatch."},
    {{"queue", "purge"},
     "NAME",
     1,
     0,
     ASKS,
     ctl_queue_purge,
     "Remove all messages of a queue but those that consumers have."},
    {{"queue", "delete"},
     "NAME",
     1,
     0,
     ASKS,
     ctl_queue_delete,
     "End a queue that is not in the configuration, with all its messages."},
    {{"dead", "list"},
     "[--source S] [--reason R] [--filter EXPR] [--limit N]",
     0,
     0,
     ASKS | PICK | FILTER,
     ctl_dead_list,
     "List dead letters, the oldest first."},
    {{"dead", "show"},
     "SEQ",
     1,
     0,
     ASKS,
     ctl_dead_show,
     "Show one of them, with its properties and payload."},
    {{"dead", "redrive"},
     "[--source S] [--reason R] [--filter EXPR] [--limit N] [--rate N] [--dry-run]",
     0,
     0,
     ASKS | PICK | FILTER | RATE | DRY_RUN,
     ctl_dead_redrive,
     "Send them again, to their queue or topic: all, or those that match; at most\n"
     "--rate a second. Ending the command ends it."},
    {{"dead", "purge"},
     "[--source S] [--reason R] [--filter EXPR] [--limit N] [--rate N] [--dry-run]",
     0,
     0,
     ASKS | PICK | FILTER | RATE | DRY_RUN,
     ctl_dead_purge,
     "Throw them away: all, or those that match."},
    {{"history", "list"},
     "",
     0,
     0,
     ASKS,
     ctl_history_list,
     "List the histories that are configured, and what they hold."},
    {{"history", "read"},
     "FILTER [--from WHEN] [--to WHEN] [--filter EXPR]",
     1,
     0,
     ASKS | SPAN | FILTER,
     ctl_history_read,
     "Print what was published, as it comes; WHEN is as behind $replay/: earliest, -15m,\n"
     "a time, seq:N, last:N."},
    {{"config", "check"},
     "FILE",
     1,
     0,
     0,
     ctl_config_check,
     "Say whether a configuration is good."},
    {{"store", "check"},
     "DIR",
     1,
     0,
     0,
     ctl_store_check,
     "Verify and describe a data folder that no broker uses: the folder\n"
     "NAME.d, its anchor NAME, or the persistence_location it is in."},
};

/* What the tool will have, so that nobody looks for a typing mistake. */
static const char *const later_verbs[] = {"bench"};

struct command {
    struct ctl ctl;
    const char *words[WORDS_MAX];
    unsigned count, options; /* options: given ones, enum option */
    bool help, version;
};

static void print_help(void)
{
    puts("sluicectl " SLUICE_VERSION ", the operator's tool of the MQTT broker sluice\n"
         "\n"
         "Usage: sluicectl [--url URL | --socket PATH] [--json] VERB ...\n");
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        const struct verb *v = &verbs[i];
        printf("  %s%s%s%s%s\n", v->words[0], v->words[1] ? " " : "",
               v->words[1] ? v->words[1] : "", v->operands[0] ? " " : "", v->operands);
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
         "  pub -t TOPIC -m TEXT ...\n"
         "      Publish, with mosquitto_pub's options and more: sluicectl pub --help.\n"
         "  sub -t TOPIC ...\n"
         "      Subscribe, with mosquitto_sub's options and more: sluicectl sub --help.\n"
         "\n"
         "      --url URL      the broker's admin listener; default http://127.0.0.1:9883\n"
         "      --socket PATH  the same by a unix socket\n"
         "      --json         one JSON value instead of text\n"
         "      --version      print the version\n"
         "  -h, --help         this text\n"
         "\n"
         "Who asks: user and password in the URL, or SLUICE_USER and SLUICE_PASSWORD in the\n"
         "environment, or a line of ~/.netrc.  SLUICE_CAFILE: whose certificates to believe.\n"
         "\n"
         "Exit codes: 0 done, 1 no (refused, damaged, not good, not there), 2 wrong use,\n"
         "4 the broker cannot be reached");
}

static bool listed(const char *const *list, size_t count, const char *word)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i], word) == 0) return true;
    return false;
}

static const struct value_option {
    const char *word;
    unsigned option;
    size_t offset; /* in struct ctl */
} value_options[] = {
    {"--url", ASKS, offsetof(struct ctl, url)},
    {"--socket", ASKS, offsetof(struct ctl, socket)},
    {"--client", CLIENT, offsetof(struct ctl, client)},
    {"--filter", FILTER, offsetof(struct ctl, filter)},
    {"--source", PICK, offsetof(struct ctl, source)},
    {"--reason", PICK, offsetof(struct ctl, reason)},
    {"--limit", PICK, offsetof(struct ctl, limit)},
    {"--rate", RATE, offsetof(struct ctl, rate)},
    {"--from", SPAN, offsetof(struct ctl, from)},
    {"--to", SPAN, offsetof(struct ctl, to)},
};

static const char *const settings[] = {
    "--topic",       "--ack-deadline", "--max-deliveries", "--backoff",
    "--max-bytes",   "--max-messages", "--overflow",       "--order",
    "--message-ttl", "--dedup-window", "--prefetch",       "--dispatch",
};

/* With a value behind it: where that goes; else NULL. */
static const char **value_of(struct command *c, const char *word)
{
    struct ctl *ctl = &c->ctl;
    for (size_t i = 0; i < ARRAY_LEN(value_options); i++) {
        if (strcmp(word, value_options[i].word) != 0) continue;
        c->options |= value_options[i].option;
        return (const char **)(void *)((uint8_t *)ctl + value_options[i].offset);
    }
    if (!listed(settings, ARRAY_LEN(settings), word) || ctl->setting_count == CTL_SETTINGS_MAX)
        return NULL;
    c->options |= SETTINGS;
    ctl->settings[ctl->setting_count].name = word + 2;
    return &ctl->settings[ctl->setting_count++].value;
}

static int take_option(struct command *c, const char *word)
{
    if (strcmp(word, "--json") == 0) {
        c->ctl.json = true;
    } else if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0) {
        c->help = true;
    } else if (strcmp(word, "--version") == 0) {
        c->version = true;
    } else if (strcmp(word, "--dry-run") == 0) {
        c->ctl.dry_run = true;
        c->options |= DRY_RUN;
    } else if (strcmp(word, "--once") == 0) {
        c->ctl.once = true;
        c->options |= ONCE;
    } else {
        return ctl_fail(CTL_USAGE, "unknown option '%s'; see sluicectl --help", word);
    }
    return 0;
}

/* Options may stand anywhere before "--". */
static int read_command(struct command *c, int argc, char **argv)
{
    bool options = true;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], **slot;
        if (options && strcmp(word, "--") == 0) {
            options = false;
        } else if (options && (slot = value_of(c, word)) != NULL) {
            if (++i == argc || argv[i][0] == 0)
                return ctl_fail(CTL_USAGE, "%s needs a value", word);
            *slot = argv[i];
        } else if (options && word[0] == '-' && word[1]) {
            int rc = take_option(c, word);
            if (rc) return rc;
        } else if (c->count == WORDS_MAX) {
            return ctl_fail(CTL_USAGE, "too many words; see sluicectl --help");
        } else {
            c->words[c->count++] = word;
        }
    }
    if (c->ctl.url && c->ctl.socket)
        return ctl_fail(CTL_USAGE, "either --url or --socket, not both");
    return 0;
}

/* The verb is to have all options that were given. */
static int check_options(const struct command *c, const struct verb *v)
{
    static const char *const names[] = {
        "--url or --socket",
        "--dry-run",
        "--once",
        "--client",
        "--filter",
        "--source, --reason or --limit",
        "--rate",
        "--from or --to",
        "a setting of a queue",
    };
    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        if (c->options & ~v->options & 1u << i)
            return ctl_fail(CTL_USAGE, "%s is not for 'sluicectl %s%s%s'", names[i], v->words[0],
                            v->words[1] ? " " : "", v->words[1] ? v->words[1] : "");
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
        if (half == NULL) half = v;
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

/* Verbs that speak MQTT have options of their own, with letters that others have as well.  Whether
 * it is one of them. */
static bool run_mqtt(int argc, char **argv, int *code)
{
    bool json = false, asks = false;
    int at = 1;
    for (; at < argc && argv[at][0] == '-'; at++) {
        bool has_value = strcmp(argv[at], "--url") == 0 || strcmp(argv[at], "--socket") == 0;
        json = json || strcmp(argv[at], "--json") == 0;
        asks = asks || has_value;
        at += has_value;
    }
    if (at >= argc) return false;
    bool is_pub = strcmp(argv[at], "pub") == 0;
    if (!is_pub && strcmp(argv[at], "sub") != 0) return false;
    unsigned count = (unsigned)(argc - at - 1);
    if (asks)
        *code = ctl_fail(CTL_USAGE,
                         "%s speaks MQTT: -h, -p and --unix say where the broker is, not "
                         "--url and --socket",
                         argv[at]);
    else
        *code = is_pub ? ctl_pub(json, count, argv + at + 1) : ctl_sub(json, count, argv + at + 1);
    return true;
}

int main(int argc, char **argv)
{
    int code;
    if (run_mqtt(argc, argv, &code)) return code;
    if (argc > 1 && strcmp(argv[1], "passwd") == 0) return ctl_passwd((unsigned)argc - 2, argv + 2);
    if (argc > 1 && strcmp(argv[1], "filter") == 0) return ctl_filter((unsigned)argc - 2, argv + 2);
    struct command c = {0};
    code = read_command(&c, argc, argv);
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
    if (c.count < skip + v->operand_count || c.count > skip + v->operand_count + v->optional)
        return ctl_fail(CTL_USAGE, "use: sluicectl %s%s%s %s", v->words[0], v->words[1] ? " " : "",
                        v->words[1] ? v->words[1] : "", v->operands);
    code = check_options(&c, v);
    if (code) return code;
    c.ctl.operands = c.words + skip;
    c.ctl.operand_count = c.count - skip;
    return v->run(&c.ctl);
}
