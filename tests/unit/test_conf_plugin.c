/* mosquitto's own plugins as the directives that they stand for. */
#include "test_conf.h"

static void its_own_plugins_are_read_as_directives(void **state)
{
    (void)state;
    char before[4096];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(b.folder), 0);
    write_file("acl", "topic a\n", 8);
    write_file("users", "", 0);
    static const char *const forms[] = {
        "global_plugin /usr/lib/mosquitto_password_file.so\nplugin_opt_password_file users\n"
        "plugin mosquitto_acl_file.so\nplugin_opt_acl_file acl\nlistener 1883\n",
        "plugin_load p /usr/lib/mosquitto_password_file.so\nplugin_opt_password_file users\n"
        "plugin_load a /usr/lib/mosquitto_acl_file.so\nplugin_opt_acl_file acl\n"
        "listener 1883\nplugin_use p\nplugin_use a\n",
        "per_listener_settings true\nlistener 1883\n"
        "plugin mosquitto_password_file.so\nplugin_opt_password_file users\n"
        "auth_plugin mosquitto_acl_file.so\nplugin_opt_acl_file acl\n"
        "listener 1884\nallow_anonymous true\n",
        "per_listener_settings true\nplugin_load p mosquitto_password_file.so\n"
        "plugin_opt_password_file users\nplugin_load a mosquitto_acl_file.so\n"
        "plugin_opt_acl_file acl\nlistener 1883\nplugin_use p\nplugin_use a\n"
        "listener 1884\nallow_anonymous true\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        bool own = i >= 2;
        if (load(forms[i]) < 0) fail_msg("%s", b.error);
        const struct conf *c = b.conf;
        assert_true(c->listeners[0].core.checks_users);
        assert_int_equal(c->acl != NULL, !own);
        assert_int_equal(c->listeners[0].acl != NULL, own);
        assert_true(!own || !(c->listeners[1].core.checks_users || c->listeners[1].acl));
    }
    assert_int_equal(chdir(before), 0);
    assert_int_equal(load("plugin /x/mosquitto_persist_sqlite.so\nplugin_opt_sync full\n"), 0);
    assert_true(b.conf->persistence);
    assert_non_null(strstr(b.warnings, "main.conf:1: this plugin is read as 'persistence true'"));
}

static void plugins_that_cannot_be_read(void **state)
{
    (void)state;
    bad("plugin /x/mosquitto_dynamic_security.so\n",
        "main.conf:1: the plugin for dynamic security is not supported yet by this version: use "
        "'password_file' and 'acl_file'");
    bad("\nplugin_load x /x/go-auth.so\n",
        "main.conf:2: 'plugin_load go-auth.so': it cannot be loaded, as this is not mosquitto: "
        "there are 'password_file', 'jwt_keys_file' and 'acl_file'");
    bad("plugin mosquitto_acl_file.so\nallow_anonymous true\n",
        "main.conf:1: this plugin needs a 'plugin_opt_acl_file'");
    bad("plugin mosquitto_acl_file.so\nplugin mosquitto_password_file.so\n",
        "main.conf:1: this plugin needs a 'plugin_opt_acl_file'");
    bad("plugin mosquitto_acl_file.so\nplugin_opt_password_file /x\n",
        "main.conf:2: 'plugin_opt_password_file' stands below no plugin that it is for");
    bad("plugin_opt_acl_file /x\n",
        "main.conf:1: 'plugin_opt_acl_file' stands below no plugin that it is for");
    bad("plugin_load x\n", "main.conf:1: 'plugin_load' cannot be 'x': use NAME PATH");
    bad("listener 1\nplugin_use y\n",
        "main.conf:2: no plugin 'y' was loaded: use 'plugin_load y PATH' above");
    bad("plugin_load p mosquitto_acl_file.so\nplugin_opt_acl_file /x\nlistener 1\nplugin_use p\n"
        "listener 2\n",
        "main.conf:4: 'plugin_use' with several listeners needs 'per_listener_settings true' at "
        "the beginning");
    bad("per_listener_settings true\nglobal_plugin mosquitto_acl_file.so\n",
        "main.conf:2: 'global_plugin' cannot stand beside 'per_listener_settings true': name it "
        "at each listener, as 'plugin'");
    char text[2000] = "";
    for (int i = 0; i <= CONF_MAX_PLUGINS; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text),
                 "plugin_load p%d mosquitto_acl_file.so\nplugin_opt_acl_file /x\n", i);
    bad(text, "main.conf:33: too many plugins: at most 16");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        A_TEST(its_own_plugins_are_read_as_directives),
        A_TEST(plugins_that_cannot_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
