/* sluicectl config check: what `sluice --test-config` says of a configuration.  One thread. */
#include "ctl.h"

#include "base/mem.h"
#include "shell/conf.h"
#include <stdio.h>

static void config_warn(void *ctx, const char *line)
{
    (void)ctx;
    fprintf(stderr, "Warning: %s\n", line);
}

static void config_warn_json(void *ctx, const char *line) { json_text(ctx, NULL, line); }

int ctl_config_check(const struct ctl *ctl)
{
    const char *file = ctl->operands[0];
    struct conf_args args = {.file = file, .port = -1};
    struct conf *conf = NULL;
    struct json j = {0};
    char *error = NULL;
    int rc;
    if (ctl->json) {
        json_open(&j, NULL, '{');
        json_text(&j, "file", file);
        json_open(&j, "warnings", '[');
        rc = conf_load(&conf, &args, &error, config_warn_json, &j);
        json_close(&j, ']');
        json_bool(&j, "ok", rc == 0);
        json_text(&j, "error", error);
        json_close(&j, '}');
        if (json_print(&j) < 0) rc = ctl_fail(E_IO, "the result cannot be written");
    } else {
        rc = conf_load(&conf, &args, &error, config_warn, NULL);
        if (rc == 0)
            puts("The configuration is good.");
        else
            fprintf(stderr, "%s\n", error ? error : err_name(rc));
    }
    conf_free(&conf);
    mem_free(error);
    return rc == 0 ? CTL_DONE : CTL_REFUSED;
}
