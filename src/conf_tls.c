/* The directives of TLS, and the context that is made of them for each listener.  The files are
 * read here, so that --test-config and a reload find what is wrong with them.  Main thread. */
#include <errno.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/mem.h"
#include "conf_int.h"

static const char *const names[CONF_TLS_TEXTS] = {
    [CONF_TLS_CERT] = "certfile",     [CONF_TLS_KEY] = "keyfile",
    [CONF_TLS_CA] = "cafile",         [CONF_TLS_CA_PATH] = "capath",
    [CONF_TLS_CRL] = "crlfile",       [CONF_TLS_DH] = "dhparamfile",
    [CONF_TLS_CIPHERS] = "ciphers",   [CONF_TLS_CIPHERS_13] = "ciphers_tls1.3",
    [CONF_TLS_PSK_HINT] = "psk_hint",
};

/* Whether the listener takes clients by keys; as in mosquitto, not beside a certificate. */
static bool by_psk(const struct conf_tls *t)
{
    return t->text[CONF_TLS_PSK_HINT] && t->text[CONF_TLS_CERT] == NULL;
}

/* What has a meaning without a certificate then. */
static bool is_for_psk(size_t i)
{
    return i == CONF_TLS_PSK_HINT || i == CONF_TLS_DH || i == CONF_TLS_CIPHERS ||
           i == CONF_TLS_CIPHERS_13;
}

/* CONF_TLS_TEXTS: none of them. */
static size_t index_of(const char *name)
{
    size_t i = 0;
    while (i < CONF_TLS_TEXTS && strcmp(names[i], name) != 0) i++;
    return i;
}

static struct conf_tls *target(struct conf_reader *r, const struct conf_directive *d)
{
    return &((struct conf_draft *)conf_target(r, d))->tls;
}

int conf_apply_tls_text(struct conf_reader *r, const struct conf_directive *d, const char *value)
{
    struct conf_tls *t = target(r, d);
    size_t i = index_of(d->name);
    ASSERT(i < CONF_TLS_TEXTS);
    t->line[i] = r->line;
    return conf_text_set(&t->text[i], value);
}

int conf_apply_tls_version(struct conf_reader *r, const struct conf_directive *d, const char *value)
{
    bool only_13 = strcmp(value, "tlsv1.3") == 0;
    if (strcmp(value, "tlsv1") == 0 || strcmp(value, "tlsv1.1") == 0)
        return conf_fail(r, E_INVALID, "'tls_version %s' is too old to be safe: use %s", value,
                         d->values);
    if (!only_13 && strcmp(value, "tlsv1.2") != 0)
        return conf_fail(r, E_INVALID, "'tls_version' cannot be '%s': use %s", value, d->values);
    if (r->line) target(r, d)->only_13 = only_13; /* the default is what a draft begins with */
    return 0;
}

int conf_apply_tls_certificate(struct conf_reader *r, const struct conf_directive *d,
                               const char *value)
{
    bool on;
    if (conf_parse_bool(value, &on) < 0)
        return conf_fail(r, E_INVALID, "'%s' cannot be '%s': use %s", d->name, value, d->values);
    if (!on && r->line == 0) return 0; /* as above */
    struct conf_draft *draft = conf_target(r, d);
    memcpy((uint8_t *)draft + d->offset, &on, sizeof on);
    if (on && strcmp(d->name, "require_certificate") == 0) draft->tls.require_line = r->line;
    if (on && strncmp(d->name, "use_", 4) == 0) draft->tls.user_line = r->line;
    return 0;
}

int conf_apply_tls_keyform(struct conf_reader *r, const struct conf_directive *d, const char *value)
{
    if (strcmp(value, "pem") == 0) return 0;
    if (strcmp(value, "engine") == 0)
        return conf_fail(r, E_INVALID, "'tls_keyform engine' is not supported yet by this version");
    return conf_fail(r, E_INVALID, "'tls_keyform' cannot be '%s': use %s", value, d->values);
}

void conf_tls_fini(struct conf_tls *t)
{
    for (size_t i = 0; i < CONF_TLS_TEXTS; i++) mem_free(t->text[i]);
    *t = (struct conf_tls){0};
}

/* ---- the context ---- */

static int fail_at(struct conf_reader *r, const struct conf_listener *l, unsigned line,
                   const char *text)
{
    if (l->file) r->file = l->file;
    r->line = line ? line : l->line;
    return conf_fail(r, E_INVALID, "%s", text);
}

static int fail_half(struct conf_reader *r, const struct conf_listener *l, unsigned line,
                     const char *name, const char *missing)
{
    if (l->file) r->file = l->file;
    r->line = line ? line : l->line;
    return conf_fail(r, E_INVALID, "'%s' needs '%s': without it the listener would not speak TLS",
                     name, missing);
}

/* What would leave a listener open that its owner believes to be closed. */
static int check_whole(struct conf_reader *r, const struct conf_tls *t,
                       const struct conf_listener *l)
{
    for (size_t i = 0; i < CONF_TLS_TEXTS; i++) {
        if (t->text[i] == NULL || (by_psk(t) && is_for_psk(i))) continue;
        if (t->text[CONF_TLS_CERT] == NULL)
            return fail_half(r, l, t->line[i], names[i], names[CONF_TLS_CERT]);
        if (t->text[CONF_TLS_KEY] == NULL)
            return fail_half(r, l, t->line[i], names[i], names[CONF_TLS_KEY]);
    }
    bool told = l->proxy_version == 2 && t->text[CONF_TLS_CERT] == NULL; /* by the proxy */
    if (t->require_certificate && t->text[CONF_TLS_CERT] == NULL && !told)
        return fail_half(r, l, t->require_line, "require_certificate", names[CONF_TLS_CERT]);
    if (t->subject_is_user && told)
        return fail_at(r, l, t->user_line,
                       "'use_subject_as_username' needs 'certfile': a proxy tells the common name "
                       "only; there is 'use_identity_as_username'");
    if (l->proxy_needs_tls && l->proxy_version != 2)
        return fail_at(r, l, 0, "'proxy_protocol_v2_require_tls' needs 'enable_proxy_protocol 2'");
    if (t->identity_is_user && t->subject_is_user)
        return fail_at(r, l, t->user_line,
                       "either 'use_identity_as_username' or 'use_subject_as_username', not both");
    if (by_psk(t) && t->identity_is_user) return 0;
    if ((t->identity_is_user || t->subject_is_user) && !t->require_certificate)
        return fail_at(r, l, t->user_line,
                       t->identity_is_user
                           ? "'use_identity_as_username' needs 'require_certificate true': else "
                             "no client is asked for its certificate, and none may connect"
                           : "'use_subject_as_username' needs 'require_certificate true': else "
                             "no client is asked for its certificate, and none may connect");
    return 0;
}

/* What works, and yet is hardly meant. */
static void warn_of_files(struct conf_reader *r, const struct conf_tls *t,
                          const struct conf_listener *l)
{
    struct stat st;
    if (l->file) r->file = l->file;
    r->line = t->line[CONF_TLS_CERT];
    if (tls_context_expires(l->tls) < (int64_t)(clock_wall_ms() / 1000))
        conf_warn(r, "certfile '%s' is out of date: clients will refuse it",
                  t->text[CONF_TLS_CERT]);
    const char *key = t->text[CONF_TLS_KEY];
    if (t->text[CONF_TLS_PSK_HINT]) {
        r->line = t->line[CONF_TLS_PSK_HINT];
        conf_warn(r, "'psk_hint' is ignored, as the listener has a certificate");
    }
    if (stat(key, &st) < 0 || !(st.st_mode & S_IROTH)) return;
    r->line = t->line[CONF_TLS_KEY];
    conf_warn(r, "keyfile '%s' can be read by everybody on this machine: 'chmod o-r' it", key);
}

/* The keys of psk_file. */
static int read_keys(struct conf_reader *r, const struct conf_tls *t, const char *path,
                     struct conf_listener *l)
{
    struct stat st;
    struct tls_error error = {0};
    struct buf in = {0};
    unsigned line = 0;
    if (path == NULL)
        return fail_at(r, l, t->line[CONF_TLS_PSK_HINT],
                       "'psk_hint' needs 'psk_file': without it nobody has a key");
    r->file = path;
    r->line = 0;
    FILE *file = fopen(path, "re");
    if (file == NULL) return conf_fail(r, E_IO, "cannot open: %s", strerror(errno));
    bool exposed = fstat(fileno(file), &st) == 0 && st.st_mode & S_IROTH;
    int rc = conf_slurp(r, file, CONF_MAX_ACL_BYTES, &in);
    fclose(file);
    if (rc == 0) rc = tls_psks_new(&l->psks, buf_view(&in), &line, &error);
    if (in.data) password_wipe(in.data, in.cap);
    buf_fini(&in);
    r->line = line;
    if (rc == E_INVALID && line) return conf_fail(r, rc, "%s", error.text);
    if (rc < 0) return rc;
    r->line = 0;
    if (exposed) conf_warn(r, "everybody on this machine can read the file of keys: chmod o-r");
    if (tls_psks_count(l->psks) == 0) conf_warn(r, "the file of keys is empty: nobody has one");
    r->file = r->args->file;
    return 0;
}

int conf_tls_finish(struct conf_reader *r, const struct conf_tls *t, const char *psk_file,
                    struct conf_listener *l)
{
    int rc = check_whole(r, t, l);
    l->psks = NULL;
    l->require_certificate = t->require_certificate;
    l->core.certificate_is_user = t->identity_is_user || t->subject_is_user;
    if (rc == 0 && by_psk(t)) rc = read_keys(r, t, psk_file, l);
    if (rc < 0 || (t->text[CONF_TLS_CERT] == NULL && l->psks == NULL)) return rc;
    struct tls_error error = {0};
    struct tls_options options = {
        .certfile = t->text[CONF_TLS_CERT],
        .keyfile = t->text[CONF_TLS_KEY],
        .psk_hint = t->text[CONF_TLS_PSK_HINT],
        .psks = l->psks,
        .cafile = t->text[CONF_TLS_CA],
        .capath = t->text[CONF_TLS_CA_PATH],
        .crlfile = t->text[CONF_TLS_CRL],
        .dhparamfile = t->text[CONF_TLS_DH],
        .ciphers = t->text[CONF_TLS_CIPHERS],
        .ciphers13 = t->text[CONF_TLS_CIPHERS_13],
        .only_13 = t->only_13,
        .require_certificate = t->require_certificate,
        .ignore_dates = t->ignore_dates,
        .user = t->identity_is_user  ? TLS_USER_COMMON_NAME
                : t->subject_is_user ? TLS_USER_SUBJECT
                                     : TLS_USER_NONE,
    };
    rc = tls_context_new(&l->tls, &options, &error);
    if (rc == 0 && l->psks == NULL) warn_of_files(r, t, l);
    if (rc != E_INVALID) return rc;
    size_t i = index_of(error.option);
    return fail_at(r, l, i < CONF_TLS_TEXTS ? t->line[i] : t->require_line, error.text);
}
