/* The keys that tokens are signed with, from a file: as JSON (RFC 7517, 7518), or as PEM.  Main
 * thread. */
#include "auth_token.h"

#include "auth_password.h"
#include "base/mem.h"
#include <errno.h>
#include <jansson.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <sys/stat.h>

enum { FIELD_MAX = 1024, POINT_MAX = 66 }; /* bytes: RSA of 8192 bits, a coordinate of P-521 */

struct reading {
    struct token_keys *keys;
    char *why;
    unsigned number; /* of the key in the file, from 1 */
};

static int wrong(struct reading *r, const char *what)
{
    snprintf(r->why, TOKEN_WHY, "key %u: %s", r->number, what);
    return E_INVALID;
}

/* ---- the table ---- */

static int add(struct reading *r, const char *algorithm, const char *id, const void *data,
               size_t size)
{
    struct token_keys *keys = r->keys;
    if (keys->count == TOKEN_KEYS_MAX) {
        snprintf(r->why, TOKEN_WHY, "there are more than %d keys", TOKEN_KEYS_MAX);
        return E_INVALID;
    }
    struct token_key k = {.algorithm = algorithm, .size = size};
    k.data = (uint8_t *)mem_strndup(data, size);
    k.id = id ? mem_strndup(id, strlen(id)) : NULL;
    if (k.data == NULL || (id && k.id == NULL)) {
        mem_free(k.data);
        mem_free(k.id);
        return E_NOMEM;
    }
    keys->all[keys->count++] = k;
    return 0;
}

/* An algorithm that the key can have: `wanted`, or when that is NULL the usual one. */
static const char *algorithm_of(const EVP_PKEY *key, const char *wanted)
{
    static const struct {
        const char *kind, *curve, *algorithm;
    } fits[] = {
        {"RSA", NULL, "RS256"},        {"RSA", NULL, "RS384"},       {"RSA", NULL, "RS512"},
        {"EC", "prime256v1", "ES256"}, {"EC", "secp384r1", "ES384"}, {"EC", "secp521r1", "ES512"},
    };
    char curve[64] = "";
    size_t n;
    if (EVP_PKEY_is_a(key, "EC") && !EVP_PKEY_get_group_name(key, curve, sizeof curve, &n))
        return NULL;
    for (size_t i = 0; i < ARRAY_LEN(fits); i++) {
        if (!EVP_PKEY_is_a(key, fits[i].kind)) continue;
        if (fits[i].curve && strcmp(fits[i].curve, curve) != 0) continue;
        if (wanted == NULL || strcmp(wanted, fits[i].algorithm) == 0) return fits[i].algorithm;
    }
    return NULL;
}

/* Takes the key over. */
static int add_public(struct reading *r, EVP_PKEY *key, const char *wanted, const char *id)
{
    const char *algorithm = key ? algorithm_of(key, wanted) : NULL;
    int rc;
    BIO *bio = BIO_new(BIO_s_mem());
    if (key == NULL)
        rc = wrong(r, "it is damaged");
    else if (algorithm == NULL)
        rc = wrong(r, wanted ? "'alg' does not fit it"
                             : "it is neither RSA nor EC on P-256, P-384 "
                               "or P-521");
    else if (EVP_PKEY_is_a(key, "RSA") && EVP_PKEY_get_bits(key) < TOKEN_RSA_BITS_MIN)
        rc = wrong(r, "RSA with less than 2048 bits is not safe");
    else if (bio == NULL || !PEM_write_bio_PUBKEY(bio, key))
        rc = E_NOMEM;
    else {
        char *pem = NULL;
        long n = BIO_get_mem_data(bio, &pem);
        rc = add(r, algorithm, id, pem, (size_t)n);
    }
    BIO_free(bio);
    EVP_PKEY_free(key);
    return rc;
}

/* ---- PEM ---- */

static EVP_PKEY *certified(const uint8_t *der, long n)
{
    X509 *certificate = d2i_X509(NULL, &der, n);
    EVP_PKEY *key = certificate ? X509_get_pubkey(certificate) : NULL;
    X509_free(certificate);
    return key;
}

static int add_pem(struct reading *r, const char *name, const uint8_t *der, long n)
{
    if (strstr(name, "PRIVATE KEY"))
        return wrong(r, "it is a private key, which belongs to the issuer: use the public one, as "
                        "'openssl pkey -pubout' writes it");
    if (strcmp(name, "PUBLIC KEY") == 0)
        return add_public(r, d2i_PUBKEY(NULL, &der, n), NULL, NULL);
    if (strcmp(name, "CERTIFICATE") == 0) return add_public(r, certified(der, n), NULL, NULL);
    return wrong(r, "only public keys and certificates are of use");
}

static int read_pem(struct reading *r, struct bytes text)
{
    BIO *bio = BIO_new_mem_buf(text.p, (int)text.n);
    int rc = bio ? 0 : E_NOMEM;
    char *name, *header;
    uint8_t *der;
    long n;
    while (rc == 0 && PEM_read_bio(bio, &name, &header, &der, &n)) {
        r->number++;
        rc = add_pem(r, name, der, n);
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_clear_free(der, (size_t)n);
    }
    BIO_free(bio);
    return rc;
}

/* ---- JSON ---- */

static int base64url_digit(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

/* How many bytes the member has; 0: it is no base64url, has none, or more than `room`. */
static size_t member(const json_t *jwk, const char *name, uint8_t *out, size_t room)
{
    const char *text = json_string_value(json_object_get(jwk, name));
    size_t n = 0;
    uint32_t held = 0;
    unsigned bits = 0;
    for (; text && *text; text++) {
        int v = base64url_digit(*text);
        if (v < 0) return 0;
        held = held << 6 | (uint32_t)v;
        bits += 6;
        if (bits < 8) continue;
        bits -= 8;
        if (n == room) return 0;
        out[n++] = (uint8_t)(held >> bits);
    }
    return n;
}

/* Takes the parameters over; NULL: they are no key. */
static EVP_PKEY *key_made(const char *kind, OSSL_PARAM_BLD *build)
{
    EVP_PKEY *key = NULL;
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, kind, NULL);
    if (params == NULL || ctx == NULL || EVP_PKEY_fromdata_init(ctx) <= 0 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) <= 0)
        key = NULL;
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    return key;
}

static EVP_PKEY *rsa_key(const json_t *jwk)
{
    uint8_t n[FIELD_MAX], e[FIELD_MAX];
    size_t n_len = member(jwk, "n", n, sizeof n), e_len = member(jwk, "e", e, sizeof e);
    if (n_len == 0 || e_len == 0) return NULL;
    EVP_PKEY *key = NULL;
    BIGNUM *modulus = BN_bin2bn(n, (int)n_len, NULL), *exponent = BN_bin2bn(e, (int)e_len, NULL);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    if (modulus && exponent && build &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, modulus) &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, exponent))
        key = key_made("RSA", build);
    OSSL_PARAM_BLD_free(build);
    BN_free(modulus);
    BN_free(exponent);
    return key;
}

static EVP_PKEY *ec_key(const json_t *jwk)
{
    static const struct {
        const char *name, *group;
        size_t size;
    } curves[] = {
        {"P-256", "prime256v1", 32}, {"P-384", "secp384r1", 48}, {"P-521", "secp521r1", 66}};
    const char *name = json_string_value(json_object_get(jwk, "crv"));
    uint8_t point[1 + 2 * POINT_MAX] = {4}; /* not compressed */
    for (size_t i = 0; name && i < ARRAY_LEN(curves); i++) {
        size_t size = curves[i].size;
        if (strcmp(curves[i].name, name) != 0) continue;
        if (member(jwk, "x", point + 1, size) != size ||
            member(jwk, "y", point + 1 + size, size) != size) /* RFC 7518 section 6.2.1.2 */
            return NULL;
        OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
        EVP_PKEY *key = NULL;
        if (build &&
            OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, curves[i].group,
                                            0) &&
            OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * size))
            key = key_made("EC", build);
        OSSL_PARAM_BLD_free(build);
        return key;
    }
    return NULL;
}

static int add_secret(struct reading *r, const json_t *jwk, const char *wanted, const char *id)
{
    static const struct {
        const char *algorithm;
        size_t least; /* bytes, RFC 7518 section 3.2 */
    } kinds[] = {{"HS256", 32}, {"HS384", 48}, {"HS512", 64}};
    uint8_t secret[FIELD_MAX];
    int rc = wrong(r, "'alg' does not fit it");
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (strcmp(wanted ? wanted : "HS256", kinds[i].algorithm) != 0) continue;
        size_t n = member(jwk, "k", secret, sizeof secret);
        rc = n < kinds[i].least ? wrong(r, "the secret 'k' is no base64url, too short or too long: "
                                           "as many bytes as the hash has, up to 1024")
                                : add(r, kinds[i].algorithm, id, secret, n);
        password_wipe(secret, sizeof secret);
        break;
    }
    return rc;
}

static bool is_one_of(const char *text, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(text, names[i]) == 0) return true;
    return false;
}

/* What is of no use here: other kinds of keys, and keys for something else. */
static bool is_foreign(const json_t *jwk)
{
    static const char *const algorithms[] = {"RS256", "RS384", "RS512", "ES256", "ES384",
                                             "ES512", "HS256", "HS384", "HS512"};
    static const char *const curves[] = {"P-256", "P-384", "P-521"};
    const char *use = json_string_value(json_object_get(jwk, "use"));
    const char *algorithm = json_string_value(json_object_get(jwk, "alg"));
    const char *curve = json_string_value(json_object_get(jwk, "crv"));
    if (use && strcmp(use, "sig") != 0) return true;
    if (algorithm && !is_one_of(algorithm, algorithms, ARRAY_LEN(algorithms))) return true;
    return curve && !is_one_of(curve, curves, ARRAY_LEN(curves));
}

/* Foreign ones are left out (RFC 7517 section 5). */
static int add_jwk(struct reading *r, const json_t *jwk)
{
    const char *kind = json_string_value(json_object_get(jwk, "kty"));
    const char *algorithm = json_string_value(json_object_get(jwk, "alg"));
    const char *id = json_string_value(json_object_get(jwk, "kid"));
    r->number++;
    if (kind == NULL) return wrong(r, "it has no 'kty'");
    if (is_foreign(jwk)) return 0;
    if (strcmp(kind, "oct") == 0) return add_secret(r, jwk, algorithm, id);
    if (strcmp(kind, "RSA") == 0) return add_public(r, rsa_key(jwk), algorithm, id);
    if (strcmp(kind, "EC") == 0) return add_public(r, ec_key(jwk), algorithm, id);
    return 0;
}

static int read_json(struct reading *r, struct bytes text)
{
    json_error_t error;
    json_t *all = json_loadb((const char *)text.p, text.n, JSON_REJECT_DUPLICATES, &error);
    int rc = 0;
    if (all == NULL) {
        snprintf(r->why, TOKEN_WHY, "it is no JSON: line %d, column %d", error.line, error.column);
        return E_INVALID;
    }
    const json_t *set = json_object_get(all, "keys");
    if (set == NULL) rc = add_jwk(r, all);
    for (size_t i = 0; rc == 0 && i < json_array_size(set); i++)
        rc = add_jwk(r, json_array_get(set, i));
    json_decref(all);
    return rc;
}

/* ---- the file ---- */

static int read_all(struct reading *r, FILE *file, uint8_t *text)
{
    size_t n = fread(text, 1, TOKEN_KEYS_BYTES + 1, file);
    if (ferror(file)) {
        snprintf(r->why, TOKEN_WHY, "cannot read: %s", strerror(errno));
        return E_IO;
    }
    if (n > TOKEN_KEYS_BYTES) {
        snprintf(r->why, TOKEN_WHY, "the file is larger than %d bytes", TOKEN_KEYS_BYTES);
        return E_INVALID;
    }
    size_t blank = 0;
    while (blank < n && strchr(" \t\r\n", text[blank]) && text[blank]) blank++;
    struct bytes all = bytes_of(text, n);
    int rc = blank < n && text[blank] == '{' ? read_json(r, all) : read_pem(r, all);
    if (rc < 0 || r->keys->count) return rc;
    snprintf(r->why, TOKEN_WHY,
             "there is no key in it: it is to be a JWK Set, or public keys or certificates in PEM");
    return E_INVALID;
}

static int load_from(struct reading *r, FILE *file)
{
    struct stat st;
    uint8_t *text = mem_alloc(TOKEN_KEYS_BYTES + 1);
    if (text == NULL) return E_NOMEM;
    int rc = read_all(r, file, text);
    password_wipe(text, TOKEN_KEYS_BYTES + 1);
    mem_free(text);
    bool secret = false;
    for (size_t i = 0; i < r->keys->count; i++) secret |= r->keys->all[i].algorithm[0] == 'H';
    r->keys->exposed = secret && fstat(fileno(file), &st) == 0 && st.st_mode & S_IROTH;
    return rc;
}

int token_keys_load(struct token_keys **out, const char *path, char why[static TOKEN_WHY])
{
    snprintf(why, TOKEN_WHY, "%s", err_name(E_NOMEM));
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        snprintf(why, TOKEN_WHY, "cannot open: %s", strerror(errno));
        return E_IO;
    }
    struct reading r = {.keys = mem_calloc(1, sizeof *r.keys), .why = why};
    int rc = r.keys ? load_from(&r, file) : E_NOMEM;
    fclose(file);
    if (rc == 0)
        *out = r.keys;
    else
        token_keys_free(&r.keys);
    return rc;
}

void token_keys_free(struct token_keys **keys)
{
    struct token_keys *k = *keys;
    if (k == NULL) return;
    *keys = NULL;
    for (size_t i = 0; i < k->count; i++) {
        password_wipe(k->all[i].data, k->all[i].size);
        mem_free(k->all[i].data);
        mem_free(k->all[i].id);
    }
    mem_free(k);
}
