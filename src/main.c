/* The command line, and becoming a daemon.  Exit codes: broker.h. */
#include "broker.h"

#include "base/mem.h"
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static const char usage[] =
    "sluice " SLUICE_VERSION ", an MQTT 3.1, 3.1.1 and 5.0 broker\n"
    "\n"
    "Usage: sluice [-c FILE] [-p PORT] [-v] [-d] [--test-config] [-h]\n"
    "\n"
    "  -c, --config-file FILE  configuration in mosquitto.conf's syntax; without it: loopback "
    "only,\n"
    "                          anybody may connect, nothing is kept on disk\n"
    "  -p, --port PORT         listen on this port; ignored when the file has a listener\n"
    "  -v, --verbose           log everything\n"
    "  -d, --daemon            go to the background\n"
    "      --test-config       check the configuration and exit: 0 good, 3 bad\n"
    "  -h, --help              this text\n";

struct command {
    struct conf_args args;
    bool test, help;
};

static bool is(const char *arg, const char *brief, const char *full)
{
    return strcmp(arg, brief) == 0 || strcmp(arg, full) == 0;
}

static bool read_port(const char *text, int *out)
{
    char *end;
    long port = strtol(text, &end, 10);
    if (*end || end == text || port < 1 || port > 65535) {
        fprintf(stderr, "sluice: '%s' is no port: use 1 to 65535\n", text);
        return false;
    }
    *out = (int)port;
    return true;
}

/* Whether the arguments are right; what is wrong goes to stderr. */
static bool read_command(int argc, char **argv, struct command *c)
{
    c->args.port = -1;
    for (int i = 1; i < argc; i++) {
        bool file = is(argv[i], "-c", "--config-file"), port = is(argv[i], "-p", "--port");
        if ((file || port) && i + 1 == argc) {
            fprintf(stderr, "sluice: %s needs a value\n", argv[i]);
            return false;
        }
        if (file) {
            c->args.file = argv[++i];
        } else if (port) {
            if (!read_port(argv[++i], &c->args.port)) return false;
        } else if (is(argv[i], "-v", "--verbose")) {
            c->args.verbose = true;
        } else if (is(argv[i], "-d", "--daemon")) {
            c->args.daemon = true;
        } else if (strcmp(argv[i], "--test-config") == 0) {
            c->test = true;
        } else if (is(argv[i], "-h", "--help")) {
            c->help = true;
        } else {
            fprintf(stderr, "sluice: unknown option '%s'\n\n%s", argv[i], usage);
            return false;
        }
    }
    return true;
}

static void warn(void *ctx, const char *line)
{
    (void)ctx;
    fprintf(stderr, "Warning: %s\n", line);
}

/* The parent waits until the broker runs or has failed, so that its exit code tells.  Returns in
 * the child only, with the descriptor to report to; -1: no fork. */
static int daemonize(void)
{
    int report[2];
    if (pipe(report) < 0) return -1;
    pid_t pid = fork();
    if (pid < 0) return -1;
    if (pid > 0) {
        unsigned char code = EXIT_RUNTIME;
        close(report[1]);
        if (read(report[0], &code, 1) != 1) code = EXIT_RUNTIME;
        _exit(code);
    }
    close(report[0]);
    if (setsid() < 0) return -1;
    return report[1];
}

static void report(int fd, int code)
{
    unsigned char byte = (unsigned char)code;
    if (fd < 0) return;
    (void)!write(fd, &byte, 1);
    close(fd);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (code != 0 || null < 0) return;
    for (int i = 0; i <= STDERR_FILENO; i++) dup2(null, i);
    close(null);
}

static int run(const struct conf_args *args, struct conf **conf)
{
    struct broker *b = NULL;
    int fd = -1;
    if (args->daemon && (fd = daemonize()) < 0) {
        perror("sluice: cannot become a daemon");
        conf_free(conf);
        return EXIT_RUNTIME;
    }
    int code = broker_start(&b, args, conf);
    report(fd, code);
    if (code == 0) broker_run(b);
    broker_free(&b);
    return code;
}

int main(int argc, char **argv)
{
    struct command c = {0};
    struct conf *conf = NULL;
    char *error = NULL;
    if (!read_command(argc, argv, &c)) return EXIT_CONFIGURATION;
    if (c.help) {
        fputs(usage, stdout);
        return 0;
    }
    if (conf_load(&conf, &c.args, &error, warn, NULL) < 0) {
        fprintf(stderr, "%s\n", error);
        mem_free(error);
        return EXIT_CONFIGURATION;
    }
    if (!c.test) return run(&c.args, &conf);
    conf_free(&conf);
    puts("The configuration is good.");
    return 0;
}
