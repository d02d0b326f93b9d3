/* The log's destinations and formats.  Owns the log file's descriptor and one buffer for the line
 * being written; both, and the settings, are used under the mutex only.  Any thread. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/mem.h"
#include "log.h"

enum {
    REPEAT_WINDOW_MS = 10000, /* as long as an identical line is only counted */
    STAMP_MAX = 128,
    ESCAPED_MAX = 6, /* bytes that one byte may become: \u001b */
    OUT_MAX = LOG_LINE_MAX * ESCAPED_MAX + STAMP_MAX + 64,
    LOG_FILE_MODE = 0640,
};

struct log_settings {
    unsigned dest; /* enum conf_log_dest */
    bool timestamp, json, journal;
    int facility;
    char *path, *format; /* or NULL */
    int fd;              /* of the log file, or -1 */
};

struct log {
    _Atomic unsigned types; /* relaxed on both sides: a line more or less during a reload */
    pthread_mutex_t mutex;
    struct log_settings settings;
    void (*sink)(void *ctx, const char *topic, const char *text);
    void *sink_ctx;
    char last[LOG_LINE_MAX + 1]; /* the line written last, and how often it came since */
    unsigned last_type, repeat_count;
    uint64_t last_ms;
    char out[OUT_MAX];
};

struct log_kind {
    const char *name, *topic;
    int priority; /* syslog's, and the journal's <N> */
};

static const struct log_kind *log_kind_of(unsigned type)
{
    static const struct log_kind kinds[] = {
        {"error", "$SYS/broker/log/E", LOG_ERR},
        {"warning", "$SYS/broker/log/W", LOG_WARNING},
        {"notice", "$SYS/broker/log/N", LOG_NOTICE},
        {"information", "$SYS/broker/log/I", LOG_INFO},
        {"debug", "$SYS/broker/log/D", LOG_DEBUG},
        {"subscribe", "$SYS/broker/log/M/subscribe", LOG_NOTICE},
        {"unsubscribe", "$SYS/broker/log/M/unsubscribe", LOG_NOTICE},
        {"internal", NULL, LOG_DEBUG},
        {"websockets", "$SYS/broker/log/WS", LOG_DEBUG},
    };
    _Static_assert(LOG_T_ALL == (1 << ARRAY_LEN(kinds)) - 1, "a row for each bit");
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (type & (1u << i)) return &kinds[i];
    return &kinds[0];
}

/* ---- opening ---- */

/* systemd says which descriptor is the journal's; a child that was redirected inherits the variable
 * but not the descriptor. */
static bool log_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    struct stat st;
    char own[64];
    if (stream == NULL || fstat(STDERR_FILENO, &st) < 0) return false;
    snprintf(own, sizeof own, "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    return strcmp(stream, own) == 0;
}

static int log_file_open(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, LOG_FILE_MODE);
}

static void log_settings_fini(struct log_settings *s)
{
    int saved = errno; /* the caller may be telling why something failed */
    if (s->fd >= 0) close(s->fd);
    mem_free(s->path);
    mem_free(s->format);
    *s = (struct log_settings){.fd = -1};
    errno = saved;
}

static char *log_copy(const char *text) { return text ? mem_strndup(text, strlen(text)) : NULL; }

static int log_settings_init(struct log_settings *s, const struct conf *conf)
{
    *s = (struct log_settings){.dest = conf->log_dest,
                               .timestamp = conf->log_timestamp,
                               .json = conf->log_json,
                               .journal = log_is_journal(),
                               .facility = conf->log_facility,
                               .path = log_copy(conf->log_file),
                               .format = log_copy(conf->log_timestamp_format),
                               .fd = -1};
    int rc = 0;
    if ((conf->log_file && !s->path) || (conf->log_timestamp_format && !s->format)) rc = E_NOMEM;
    if (rc == 0 && (s->dest & CONF_LOG_FILE) && s->path) {
        s->fd = log_file_open(s->path);
        if (s->fd < 0) rc = E_IO;
    }
    if (rc < 0) log_settings_fini(s);
    return rc;
}

static void log_settings_use(struct log *log, const struct conf *conf)
{
    if (log->settings.dest & CONF_LOG_SYSLOG) openlog("sluice", LOG_PID, log->settings.facility);
    bool nowhere = (log->settings.dest & ~(unsigned)CONF_LOG_NONE) == 0;
    atomic_store_explicit(&log->types, nowhere ? 0 : conf->log_types, memory_order_relaxed);
}

int log_open(struct log **out, const struct conf *conf)
{
    struct log *log = mem_calloc(1, sizeof *log);
    if (log == NULL) return E_NOMEM;
    int rc = log_settings_init(&log->settings, conf);
    if (rc < 0) {
        mem_free(log);
        return rc;
    }
    pthread_mutex_init(&log->mutex, NULL); /* cannot fail on Linux */
    log_settings_use(log, conf);
    *out = log;
    return 0;
}

int log_reconfigure(struct log *log, const struct conf *conf)
{
    struct log_settings fresh;
    int rc = log_settings_init(&fresh, conf);
    if (rc < 0) return rc;
    pthread_mutex_lock(&log->mutex);
    struct log_settings old = log->settings;
    log->settings = fresh;
    log_settings_use(log, conf);
    pthread_mutex_unlock(&log->mutex);
    log_settings_fini(&old);
    return 0;
}

int log_reopen(struct log *log)
{
    int old = -1, rc = 0;
    pthread_mutex_lock(&log->mutex);
    if (log->settings.path && (log->settings.dest & CONF_LOG_FILE)) {
        int fd = log_file_open(log->settings.path);
        if (fd < 0) {
            rc = E_IO;
        } else {
            old = log->settings.fd;
            log->settings.fd = fd;
        }
    }
    pthread_mutex_unlock(&log->mutex);
    if (old >= 0) close(old);
    return rc;
}

void log_set_topic_sink(struct log *log, void (*fn)(void *ctx, const char *topic, const char *text),
                        void *ctx)
{
    pthread_mutex_lock(&log->mutex);
    log->sink = fn;
    log->sink_ctx = ctx;
    pthread_mutex_unlock(&log->mutex);
}

/* ---- text ---- */

/* Bytes of the character at p, 0 when it must not reach a terminal or a parser as it is: control
 * characters (also those of U+0080 to U+009F) and what is not UTF-8. */
static size_t log_char_size(const uint8_t *p, size_t left)
{
    if (*p < 0x80) return *p >= 0x20 && *p != 0x7f;
    size_t n = *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
    if (n > left || !bytes_is_utf8(bytes_of(p, n))) return 0;
    return *p == 0xc2 && p[1] < 0xa0 ? 0 : n;
}

/* Writes line to out, which has ESCAPED_MAX bytes for each of line's; returns how many. */
static size_t log_escape(char *out, const char *line, size_t n, bool json)
{
    char *to = out;
    for (size_t i = 0; i < n;) {
        const uint8_t *p = (const uint8_t *)line + i;
        size_t size = log_char_size(p, n - i);
        if (json && (*p == '"' || *p == '\\')) *to++ = '\\';
        memcpy(to, p, size);
        to += size;
        /* JSON has no notation for a byte that is no character; U+FFFD stands for one. */
        if (size == 0 && json)
            to += snprintf(to, ESCAPED_MAX + 1, "\\u%04x", *p < 0x80 ? *p : 0xfffd);
        else if (size == 0)
            to += snprintf(to, ESCAPED_MAX + 1, "\\x%02x", *p);
        i += size ? size : 1;
    }
    return (size_t)(to - out);
}

/* The format is the operator's: no compiler can check it.  One that gives too much, or nothing, is
 * told as mosquitto does. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static size_t log_time(char *out, const char *format, const struct tm *tm)
{
    size_t n = strftime(out, STAMP_MAX, format, tm);
    return n ? n : (size_t)snprintf(out, STAMP_MAX, "Time error");
}
#pragma GCC diagnostic pop

static size_t log_stamp(const struct log_settings *s, char *out)
{
    struct timespec now;
    struct tm tm;
    if (!s->timestamp && !s->json) return 0;
    clock_gettime(CLOCK_REALTIME, &now);
    if (s->json) {
        gmtime_r(&now.tv_sec, &tm);
        size_t n = strftime(out, STAMP_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
        return n + (size_t)snprintf(out + n, STAMP_MAX - n, ".%03ldZ", now.tv_nsec / 1000000);
    }
    if (s->format == NULL) return (size_t)snprintf(out, STAMP_MAX, "%lld", (long long)now.tv_sec);
    localtime_r(&now.tv_sec, &tm);
    return log_time(out, s->format, &tm);
}

/* Makes the line to write in log->out, after 3 bytes left for the journal's prefix, with a 0 at
 * its end instead of the newline; *text_at: where the message begins. */
static size_t log_compose(struct log *log, const struct log_kind *kind, const char *line, size_t n,
                          size_t *text_at)
{
    const struct log_settings *s = &log->settings;
    char stamp[STAMP_MAX];
    size_t stamp_n = log_stamp(s, stamp);
    char *to = log->out + 3;
    if (s->json)
        to += snprintf(to, STAMP_MAX + 64, "{\"ts\":\"%.*s\",\"level\":\"%s\",\"msg\":\"",
                       (int)stamp_n, stamp, kind->name);
    else if (stamp_n)
        to += snprintf(to, STAMP_MAX + 3, "%.*s: ", (int)stamp_n, stamp);
    *text_at = s->json ? 3 : (size_t)(to - log->out);
    to += log_escape(to, line, n, s->json);
    if (s->json) {
        *to++ = '"';
        *to++ = '}';
    }
    *to = 0;
    return (size_t)(to - log->out);
}

/* ---- writing ---- */

/* One call for a whole line.  When a pipe is full or a disk is, the line is lost: the broker does
 * not wait for whoever reads its log. */
static void log_put(int fd, const char *text, size_t n)
{
    ssize_t done;
    do done = write(fd, text, n);
    while (done < 0 && errno == EINTR);
}

static void log_write(struct log *log, unsigned type, const char *line, size_t n)
{
    const struct log_settings *s = &log->settings;
    const struct log_kind *kind = log_kind_of(type);
    size_t text_at, end = log_compose(log, kind, line, n, &text_at);
    char *text = log->out + 3;
    if (s->dest & CONF_LOG_SYSLOG) syslog(kind->priority | s->facility, "%s", log->out + text_at);
    if ((s->dest & CONF_LOG_TOPIC) && log->sink && kind->topic)
        log->sink(log->sink_ctx, kind->topic, text);
    log->out[end++] = '\n';
    size_t size = end - 3;
    if (s->dest & CONF_LOG_STDOUT) log_put(STDOUT_FILENO, text, size);
    if (s->fd >= 0) log_put(s->fd, text, size);
    if (s->dest & CONF_LOG_STDERR) {
        if (s->journal) {
            memcpy(log->out, (char[]){'<', (char)('0' + kind->priority), '>'}, 3);
            text -= 3;
            size += 3;
        }
        log_put(STDERR_FILENO, text, size);
    }
}

/* Tells how often the last line came while it was only counted. */
static void log_tell_repeats(struct log *log)
{
    char line[64];
    if (log->repeat_count == 0) return;
    int n = snprintf(line, sizeof line, "The last line came %u more time%s.", log->repeat_count,
                     log->repeat_count == 1 ? "" : "s");
    log->repeat_count = 0;
    log_write(log, log->last_type, line, (size_t)n);
}

bool log_wants(const struct log *log, unsigned type)
{
    return atomic_load_explicit(&log->types, memory_order_relaxed) & type;
}

void log_line(struct log *log, unsigned type, const char *line)
{
    if (!log_wants(log, type)) return;
    size_t n = strnlen(line, LOG_LINE_MAX);
    uint64_t now_ms = clock_mono_ms();
    pthread_mutex_lock(&log->mutex);
    bool same = log->last_type == type && strlen(log->last) == n && memcmp(log->last, line, n) == 0;
    if (same && now_ms - log->last_ms < REPEAT_WINDOW_MS) {
        log->repeat_count++;
    } else {
        log_tell_repeats(log);
        memcpy(log->last, line, n);
        log->last[n] = 0;
        log->last_type = type;
        log->last_ms = now_ms;
        log_write(log, type, line, n);
    }
    pthread_mutex_unlock(&log->mutex);
}

void log_printf(struct log *log, unsigned type, const char *fmt, ...)
{
    char line[LOG_LINE_MAX + 1];
    if (!log_wants(log, type)) return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    log_line(log, type, line);
}

void log_close(struct log **log)
{
    struct log *l = *log;
    if (l == NULL) return;
    log_tell_repeats(l);
    if (l->settings.dest & CONF_LOG_SYSLOG) closelog();
    log_settings_fini(&l->settings);
    pthread_mutex_destroy(&l->mutex);
    mem_free(l);
    *log = NULL;
}
