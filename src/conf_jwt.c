/* The directives jwt_...: from a draft to the rules for tokens, with the keys read.  Main thread.
 */
#include "base/mem.h"
#include "conf_int.h"

void conf_jwt_fini(struct conf_jwt *j)
{
    mem_free(j->keys_file);
    mem_free(j->issuer);
    mem_free(j->audience);
    mem_free(j->username_claim);
    *j = (struct conf_jwt){0};
}

void conf_tokens_fini(struct conf_tokens *t)
{
    token_keys_free(&t->keys);
    mem_free((char *)(uintptr_t)t->rules.issuer); /* ours, though who checks must not write */
    mem_free((char *)(uintptr_t)t->rules.audience);
    mem_free((char *)(uintptr_t)t->rules.user_claim);
    *t = (struct conf_tokens){0};
}

static int copy(const char **slot, const char *value)
{
    if (value == NULL) return 0;
    *slot = mem_strndup(value, strlen(value));
    return *slot ? 0 : E_NOMEM;
}

static int read_keys(struct conf_reader *r, const char *path, struct conf_tokens *t)
{
    char why[TOKEN_WHY];
    r->file = path;
    r->line = 0;
    int rc = token_keys_load(&t->keys, path, why);
    if (rc == E_NOMEM) return rc;
    if (rc < 0) return conf_fail(r, rc, "%s", why);
    if (t->keys->exposed)
        conf_warn(r, "everybody on this machine can read the secret that tokens are signed with: "
                     "chmod o-r");
    r->file = r->args->file;
    return 0;
}

int conf_jwt_finish(struct conf_reader *r, const struct conf_draft *security,
                    const struct token_rules **out)
{
    const struct conf_jwt *j = &security->jwt;
    struct conf *c = r->conf;
    if (j->keys_file == NULL) {
        const char *without = j->issuer           ? "jwt_issuer"
                              : j->audience       ? "jwt_audience"
                              : j->username_claim ? "jwt_username_claim"
                                                  : NULL;
        if (without == NULL) return 0;
        return conf_fail(r, E_INVALID, "'%s' needs 'jwt_keys_file': without it no token is taken",
                         without);
    }
    for (size_t i = 0; i < c->token_count; i++) {
        *out = &c->tokens[i].rules;
        if (c->tokens[i].said == security) return 0;
    }
    struct conf_tokens *t = &c->tokens[c->token_count++]; /* conf_free() has what is there of it */
    t->said = security;
    int rc = read_keys(r, j->keys_file, t);
    if (rc == 0) rc = copy(&t->rules.issuer, j->issuer);
    if (rc == 0) rc = copy(&t->rules.audience, j->audience);
    if (rc == 0) rc = copy(&t->rules.user_claim, j->username_claim ? j->username_claim : "sub");
    t->rules.keys = t->keys;
    t->rules.expiry_required = j->require_expiry;
    t->rules.skew_s = j->clock_skew_s;
    *out = &t->rules;
    return rc;
}
