/* Plugins: mosquitto's own for password files and access lists are part of this program, so the
 * lines that load them are read as password_file and acl_file; no other can be loaded.  Main
 * thread. */
#include "base/mem.h"
#include "conf_int.h"

enum plugin_kind { PLUGIN_PASSWORDS, PLUGIN_ACL, PLUGIN_STORE, PLUGIN_KINDS };

static const struct {
    const char *file, *option;
} known[PLUGIN_KINDS] = {
    [PLUGIN_PASSWORDS] = {"mosquitto_password_file.so", "plugin_opt_password_file"},
    [PLUGIN_ACL] = {"mosquitto_acl_file.so", "plugin_opt_acl_file"},
    [PLUGIN_STORE] = {"mosquitto_persist_sqlite.so", NULL},
};

static int find_kind(struct conf_reader *r, const struct conf_directive *d, const char *path,
                     unsigned *kind)
{
    const char *slash = strrchr(path, '/');
    const char *file = slash ? slash + 1 : path;
    for (*kind = 0; *kind < PLUGIN_KINDS; ++*kind)
        if (strcmp(file, known[*kind].file) == 0) return 0;
    if (strcmp(file, "mosquitto_dynamic_security.so") == 0)
        return conf_fail(r, E_INVALID,
                         "the plugin for dynamic security is not supported yet by this version: "
                         "use 'password_file' and 'acl_file'");
    return conf_fail(r, E_INVALID,
                     "'%s %s': it cannot be loaded, as this is not mosquitto: there are "
                     "'password_file', 'jwt_keys_file' and 'acl_file'",
                     d->name, file);
}

/* Whether the last plugin has been told its file. */
static int check_whole(struct conf_reader *r)
{
    const char *option = r->plugin.option;
    if (option == NULL || *r->plugin.slot) return 0;
    r->line = r->plugin.line;
    return conf_fail(r, E_INVALID, "this plugin needs a '%s'", option);
}

int conf_plugins_finish(struct conf_reader *r)
{
    int rc = check_whole(r);
    if (rc < 0 || r->per_listener || r->plugin.use_line == 0) return rc;
    if (r->draft_count + r->fallback_wanted <= 1) return 0;
    r->line = r->plugin.use_line;
    return conf_fail(r, E_INVALID,
                     "'plugin_use' with several listeners needs 'per_listener_settings true' at "
                     "the beginning");
}

/* The option that comes next goes to *slot. */
static void expect_option(struct conf_reader *r, unsigned kind, char **slot)
{
    r->plugin.option = known[kind].option;
    r->plugin.slot = slot;
    r->plugin.line = r->line;
}

static char **slot_of(struct conf_draft *draft, unsigned kind)
{
    return kind == PLUGIN_ACL ? &draft->acl_file : &draft->password_file;
}

static void use_store(struct conf_reader *r)
{
    r->conf->persistence = true;
    r->plugin.option = NULL;
    conf_warn(r, "this plugin is read as 'persistence true': what is kept goes to sluice's own "
                 "store, and what the plugin has kept is not read");
}

int conf_apply_plugin(struct conf_reader *r, const struct conf_directive *d, const char *value)
{
    unsigned kind;
    int rc = check_whole(r);
    if (rc == 0) rc = find_kind(r, d, value, &kind);
    if (rc < 0) return rc;
    if (kind == PLUGIN_STORE) {
        use_store(r);
        return 0;
    }
    if (r->per_listener && strcmp(d->name, "global_plugin") == 0)
        return conf_fail(r, E_INVALID,
                         "'global_plugin' cannot stand beside 'per_listener_settings true': name "
                         "it at each listener, as 'plugin'");
    expect_option(r, kind, slot_of(conf_target(r, d), kind));
    return 0;
}

/* NAME PATH, for plugin_use. */
int conf_apply_plugin_load(struct conf_reader *r, const struct conf_directive *d, const char *value)
{
    size_t n = strcspn(value, " ");
    const char *path = value + n + strspn(value + n, " ");
    unsigned kind;
    int rc = check_whole(r);
    if (rc == 0 && (n == 0 || *path == 0))
        rc = conf_fail(r, E_INVALID, "'%s' cannot be '%s': use %s", d->name, value, d->values);
    if (rc == 0) rc = find_kind(r, d, path, &kind);
    if (rc < 0) return rc;
    if (kind == PLUGIN_STORE) {
        use_store(r);
        return 0;
    }
    if (r->loaded_count == CONF_MAX_PLUGINS)
        return conf_fail(r, E_INVALID, "too many plugins: at most %d", CONF_MAX_PLUGINS);
    struct conf_plugin *p = &r->loaded[r->loaded_count++];
    *p = (struct conf_plugin){.name = mem_strndup(value, n), .kind = kind};
    expect_option(r, kind, &p->file);
    return p->name ? 0 : E_NOMEM;
}

int conf_apply_plugin_use(struct conf_reader *r, const struct conf_directive *d, const char *value)
{
    int rc = check_whole(r);
    if (rc < 0) return rc;
    r->plugin.option = NULL;
    r->plugin.use_line = r->line;
    for (size_t i = 0; i < r->loaded_count; i++) {
        const struct conf_plugin *p = &r->loaded[i];
        if (strcmp(p->name, value) != 0) continue;
        return conf_text_set(slot_of(conf_target(r, d), p->kind), p->file);
    }
    return conf_fail(r, E_INVALID, "no plugin '%s' was loaded: use 'plugin_load %s PATH' above",
                     value, value);
}

int conf_apply_plugin_option(struct conf_reader *r, const struct conf_directive *d,
                             const char *value)
{
    if (r->plugin.option == NULL || strcmp(r->plugin.option, d->name) != 0)
        return conf_fail(r, E_INVALID, "'%s' stands below no plugin that it is for", d->name);
    return conf_text_set(r->plugin.slot, value);
}

void conf_plugins_fini(struct conf_reader *r)
{
    for (size_t i = 0; i < r->loaded_count; i++) {
        mem_free(r->loaded[i].name);
        mem_free(r->loaded[i].file);
    }
    r->loaded_count = 0;
}
