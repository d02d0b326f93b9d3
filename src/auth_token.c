/* The check of a token; see auth_token.h.  libjwt takes it apart and computes the signature; which
 * key and algorithm may be used, and what the claims mean, is decided here.  Any thread. */
#include "auth_token.h"

#include "auth_password.h"
#include "base/mem.h"
#include <jansson.h>
#include <jwt.h>

/* libjwt's texts come from malloc(), as base/mem.h's memory does. */

enum { SECONDS_MAX = 253402300 }; /* thousands of seconds: the year 9999, so nothing overflows */

/* RFC 7515 section 7.1: three parts in base64url; a header begins with `{"`. */
bool token_is(struct bytes b)
{
    unsigned dots = 0;
    if (!bytes_starts(b, "eyJ")) return false;
    for (size_t i = 0; i < b.n; i++) {
        uint8_t c = b.p[i];
        bool digit = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                     c == '-' || c == '_';
        if (!digit && c != '.') return false;
        dots += c == '.';
    }
    return dots == 2;
}

/* ---- the signature ---- */

static bool key_fits(const struct token_key *k, const char *algorithm, const char *id)
{
    if (strcmp(k->algorithm, algorithm) != 0) return false;
    return id == NULL || k->id == NULL || strcmp(k->id, id) == 0;
}

/* The token when some key has signed it; NULL, and why. */
static jwt_t *verified(const struct token_rules *r, const char *text, const char **why)
{
    jwt_t *unverified = NULL, *token = NULL;
    *why = "the token is none";
    if (jwt_decode(&unverified, text, NULL, 0) != 0) return NULL;
    const char *algorithm = jwt_get_header(unverified, "alg");
    const char *id = jwt_get_header(unverified, "kid");
    char *critical = jwt_get_headers_json(unverified, "crit");
    *why = "no key in jwt_keys_file is for this token";
    if (critical)
        *why = "the token wants something that is not known (crit)"; /* RFC 7515, 4.1.11 */
    for (size_t i = 0; i < r->keys->count && algorithm && !critical && token == NULL; i++) {
        const struct token_key *k = &r->keys->all[i];
        if (!key_fits(k, algorithm, id)) continue;
        *why = "the token's signature is wrong";
        if (jwt_decode(&token, text, k->data, (int)k->size) != 0) token = NULL;
    }
    mem_free(critical);
    jwt_free(unverified);
    return token;
}

/* ---- the claims ---- */

/* Milliseconds of a NumericDate, which may have a fraction (RFC 7519 section 2). */
static bool time_of(const json_t *value, int64_t *ms)
{
    double s = json_number_value(value);
    if (!json_is_number(value) || !(s >= 0 && s <= SECONDS_MAX * 1000.0)) return false;
    *ms = (int64_t)(s * 1000);
    return true;
}

static bool audience_is(const json_t *value, const char *wanted)
{
    if (json_is_string(value)) return strcmp(json_string_value(value), wanted) == 0;
    for (size_t i = 0; i < json_array_size(value); i++) {
        const char *one = json_string_value(json_array_get(value, i));
        if (one && strcmp(one, wanted) == 0) return true;
    }
    return false;
}

/* NULL, or what is wrong. */
static const char *times_wrong(const struct token_rules *r, const json_t *claims, int64_t now_ms,
                               uint64_t *ends_ms)
{
    const json_t *exp = json_object_get(claims, "exp"), *nbf = json_object_get(claims, "nbf");
    int64_t ms, skew_ms = (int64_t)r->skew_s * 1000;
    *ends_ms = 0;
    if (exp == NULL && r->expiry_required) return "the token has no end (exp)";
    if (exp) {
        if (!time_of(exp, &ms)) return "the token's end (exp) is no time";
        if (ms + skew_ms <= now_ms) return "the token has expired";
        *ends_ms = (uint64_t)(ms + skew_ms);
    }
    if (nbf == NULL) return NULL;
    if (!time_of(nbf, &ms)) return "the token's beginning (nbf) is no time";
    return ms > now_ms + skew_ms ? "the token is not valid yet" : NULL;
}

static const char *claims_wrong(const struct token_rules *r, const json_t *claims, uint64_t now_ms,
                                uint64_t *ends_ms, const char **user)
{
    const char *wrong = times_wrong(r, claims, (int64_t)now_ms, ends_ms);
    if (wrong) return wrong;
    const char *issuer = json_string_value(json_object_get(claims, "iss"));
    if (r->issuer && (issuer == NULL || strcmp(issuer, r->issuer) != 0))
        return "the token is from another issuer (iss)";
    if (r->audience && !audience_is(json_object_get(claims, "aud"), r->audience))
        return "the token is for another audience (aud)";
    *user = json_string_value(json_object_get(claims, r->user_claim));
    if (*user == NULL || **user == 0) return "the token has no user name (jwt_username_claim)";
    struct bytes name = bytes_str(*user);
    return name.n <= TOKEN_USER_MAX && bytes_is_utf8(name) ? NULL
                                                           : "the token's user name cannot be one";
}

/* ---- both ---- */

static int check_text(const struct token_rules *r, const char *text, uint64_t now_ms, char **user,
                      uint64_t *ends_ms, const char **why)
{
    const char *name = NULL;
    jwt_t *token = verified(r, text, why);
    if (token == NULL) return E_INVALID;
    char *json = jwt_get_grants_json(token, NULL);
    json_t *claims = json ? json_loads(json, 0, NULL) : NULL;
    mem_free(json);
    jwt_free(token);
    *why = claims ? claims_wrong(r, claims, now_ms, ends_ms, &name) : "the token's claims are none";
    if (*why == NULL) *user = mem_strndup(name, strlen(name));
    json_decref(claims);
    if (*why) return E_INVALID;
    return *user ? 0 : E_NOMEM;
}

int token_check(const struct token_rules *r, struct bytes token, uint64_t now_ms, char **user,
                uint64_t *ends_ms, const char **why)
{
    *why = "the token is larger than 16384 bytes";
    if (token.n > TOKEN_MAX) return E_INVALID;
    *why = "the token is none";
    if (!token_is(token)) return E_INVALID;
    char *text = mem_strndup(token.p, token.n);
    if (text == NULL) return E_NOMEM;
    int rc = check_text(r, text, now_ms, user, ends_ms, why);
    password_wipe(text, token.n);
    mem_free(text);
    return rc;
}
