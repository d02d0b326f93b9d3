/* Tokens as passwords: files of keys, the algorithm that a key fixes, claims and times.  Tokens are
 * made here with OpenSSL, and some come from the standards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "src/auth_token.h"

enum { NOW_S = 1700000000, TOKEN_ROOM = 40000 };

/* RFC 7515 appendix A.1: its key, and its token, which has ended in 2011. */
#define RFC_KEY                                                                                    \
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
#define RFC_TOKEN                                                                                  \
    "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9."                                                    \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVl" \
    "fQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
/* The same, appendix A.3: ES256, and A.2: RS256. */
#define RFC_EC                                                                                     \
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","     \
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}"
#define RFC_EC_TOKEN                                                                               \
    "eyJhbGciOiJFUzI1NiJ9."                                                                        \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVl" \
    "fQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
#define RFC_RSA                                                                                    \
    "{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-"   \
    "Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_"                                      \
    "YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-"                \
    "KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_"                            \
    "I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\","          \
    "\"e\":\"AQAB\"}"
#define RFC_RSA_TOKEN                                                                              \
    "eyJhbGciOiJSUzI1NiJ9."                                                                        \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVl" \
    "fQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_"     \
    "O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkS"  \
    "jtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6I" \
    "eYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"

#define SECRET      "0123456789abcdef0123456789abcdef" /* 32 bytes */
#define SECRET_JSON "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"
#define OCT         "{\"kty\":\"oct\",\"k\":\"" SECRET_JSON "\"}"

static char path[64], why[TOKEN_WHY], token[TOKEN_ROOM];
static const char *wrong;
static char *user;
static uint64_t ends_ms;
static struct token_keys *keys;
static struct token_rules rules;
static EVP_PKEY *rsa, *ec;

/* ---- making tokens ---- */

static size_t put(char *out, const void *data, size_t n)
{
    size_t len = (size_t)EVP_EncodeBlock((uint8_t *)out, data, (int)n);
    while (len && out[len - 1] == '=') len--;
    for (size_t i = 0; i < len; i++) out[i] = out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i];
    out[len] = 0;
    return len;
}

static size_t put_claims(const char *header, const char *claims)
{
    size_t n = put(token, header, strlen(header));
    token[n++] = '.';
    return n + put(token + n, claims, strlen(claims));
}

static const char *signed_by_secret(const char *header, const char *claims, const void *key,
                                    size_t size, const EVP_MD *hash)
{
    uint8_t mac[64];
    unsigned m = 0;
    size_t n = put_claims(header, claims);
    assert_non_null(HMAC(hash, key, (int)size, (uint8_t *)token, n, mac, &m));
    token[n++] = '.';
    put(token + n, mac, m);
    return token;
}

static const char *hs256(const char *claims)
{
    return signed_by_secret("{\"alg\":\"HS256\",\"typ\":\"JWT\"}", claims, SECRET, 32,
                            EVP_sha256());
}

/* JWS has the two numbers of an EC signature one behind the other, OpenSSL in DER. */
static size_t flat(const uint8_t *der, size_t n, uint8_t *out)
{
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)n);
    assert_non_null(sig);
    BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, 32);
    BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + 32, 32);
    ECDSA_SIG_free(sig);
    return 64;
}

static const char *signed_by(EVP_PKEY *key, const char *header, const char *claims)
{
    uint8_t sig[1024], raw[64];
    size_t size = sizeof sig, n = put_claims(header, claims);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key), 1);
    assert_int_equal(EVP_DigestSign(ctx, sig, &size, (uint8_t *)token, n), 1);
    EVP_MD_CTX_free(ctx);
    token[n++] = '.';
    if (EVP_PKEY_is_a(key, "EC"))
        put(token + n, raw, flat(sig, size, raw));
    else
        put(token + n, sig, size);
    return token;
}

/* ---- keys and checks ---- */

static int load(const char *text)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    token_keys_free(&keys);
    int rc = token_keys_load(&keys, path, why);
    rules = (struct token_rules){
        .keys = keys, .user_claim = "sub", .expiry_required = true, .skew_s = 30};
    return rc;
}

static void load_good(const char *text)
{
    if (load(text) < 0) fail_msg("%s", why);
}

static char *pem_of(EVP_PKEY *key)
{
    static char text[4096];
    char *data;
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PUBKEY(bio, key), 1);
    long n = BIO_get_mem_data(bio, &data);
    snprintf(text, sizeof text, "%.*s", (int)n, data);
    BIO_free(bio);
    return text;
}

static bool takes(const char *text)
{
    wrong = NULL;
    mem_free(user);
    user = NULL;
    int rc = token_check(&rules, bytes_str(text), NOW_S * UINT64_C(1000), &user, &ends_ms, &wrong);
    assert_int_equal(rc == 0, wrong == NULL);
    assert_int_equal(rc == 0, user != NULL);
    return rc == 0;
}

static void refused(const char *text, const char *for_what)
{
    if (takes(text)) fail_msg("taken: %s", text);
    if (strstr(wrong, for_what) == NULL) fail_msg("'%s', not '%s'", wrong, for_what);
}

static int begin(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/sluice-tokens-%d", (int)getpid());
    rsa = EVP_RSA_gen(2048);
    ec = EVP_EC_gen("P-256");
    return rsa && ec ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    token_keys_free(&keys);
    mem_free(user);
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(ec);
    return unlink(path);
}

/* ---- tests ---- */

static void tokens_of_the_standards_are_right_in_their_time(void **state)
{
    (void)state;
    static const struct {
        const char *key, *text;
    } cases[] = {{"{\"kty\":\"oct\",\"k\":\"" RFC_KEY "\"}", RFC_TOKEN},
                 {RFC_EC, RFC_EC_TOKEN},
                 {RFC_RSA, RFC_RSA_TOKEN}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        load_good(cases[i].key);
        rules.user_claim = "iss";
        refused(cases[i].text, "expired");
        assert_int_equal(token_check(&rules, bytes_str(cases[i].text), UINT64_C(1300819379000),
                                     &user, &ends_ms, &wrong),
                         0);
        assert_string_equal(user, "joe");
        assert_int_equal(ends_ms, UINT64_C(1300819380000) + 30000);
        for (size_t j = 0; j < ARRAY_LEN(cases); j++)
            if (i != j) refused(cases[j].text, "no key");
    }
}

static void a_token_of_each_kind(void **state)
{
    (void)state;
    load_good(pem_of(rsa));
    const char *claims = "{\"sub\":\"bob\",\"exp\":1700000100}";
    assert_true(takes(signed_by(rsa, "{\"alg\":\"RS256\"}", claims)));
    assert_string_equal(user, "bob");
    assert_int_equal(ends_ms, UINT64_C(1700000130000));
    refused(signed_by(ec, "{\"alg\":\"ES256\"}", claims), "no key");
    load_good(pem_of(ec));
    assert_true(takes(signed_by(ec, "{\"alg\":\"ES256\",\"typ\":\"jwt\"}", claims)));
    load_good(OCT);
    assert_true(takes(hs256(claims)));
    static char both[8192];
    snprintf(both, sizeof both, "comment\n%s", pem_of(rsa));
    snprintf(both + strlen(both), sizeof both - strlen(both), "%s", pem_of(ec));
    load_good(both);
    assert_int_equal(keys->count, 2);
    assert_true(takes(signed_by(rsa, "{\"alg\":\"RS256\"}", claims)));
    assert_true(takes(signed_by(ec, "{\"alg\":\"ES256\"}", claims)));
}

static void the_algorithm_is_the_keys_and_not_the_tokens(void **state)
{
    (void)state;
    const char *claims = "{\"sub\":\"bob\",\"exp\":1700000100}";
    char *pem = pem_of(rsa);
    load_good(pem);
    /* The public key as a secret: the classic. */
    refused(signed_by_secret("{\"alg\":\"HS256\"}", claims, pem, strlen(pem), EVP_sha256()),
            "no key");
    refused(signed_by_secret("{\"alg\":\"RS256\"}", claims, pem, strlen(pem), EVP_sha256()),
            "signature");
    static const char *const headers[] = {
        "{\"alg\":\"none\"}",  "{\"alg\":\"None\"}",    "{\"alg\":\"NONE\"}",  "{\"alg\":\"\"}",
        "{\"alg\":\"rs256\"}", "{\"alg\":\"RS512\"}",   "{\"alg\":\"PS256\"}", "{\"alg\":1}",
        "{\"alg\":null}",      "{\"alg\":[\"RS256\"]}", "{\"typ\":\"JWT\"}",
    };
    for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
        if (takes(signed_by(rsa, headers[i], claims))) fail_msg("%s", headers[i]);
        size_t n = put_claims(headers[i], claims);
        token[n] = '.', token[n + 1] = 0; /* no signature */
        if (takes(token)) fail_msg("%s", headers[i]);
    }
    load_good(OCT); /* its algorithm is HS256 */
    refused(signed_by_secret("{\"alg\":\"HS512\"}", claims, SECRET, 32, EVP_sha512()), "no key");
    refused(signed_by_secret("{\"alg\":\"HS256\"}", claims, "other", 5, EVP_sha256()), "signature");
    refused(signed_by_secret("{\"alg\":\"HS256\",\"crit\":[\"b64\"],\"b64\":false}", claims, SECRET,
                             32, EVP_sha256()),
            "crit");
}

static void a_changed_token_is_refused(void **state)
{
    (void)state;
    load_good(OCT);
    const char *good = hs256("{\"sub\":\"bob\",\"exp\":1700000100}");
    assert_true(takes(good));
    static char changed[TOKEN_ROOM];
    size_t n = strlen(good), taken = 0;
    for (size_t i = 0; i < n; i++) {
        memcpy(changed, good, n + 1);
        changed[i] = changed[i] == 'A' ? 'B' : 'A';
        taken += takes(changed); /* the last digit has two bits that mean nothing */
        memcpy(changed, good, n + 1);
        changed[i] = 0;
        assert_false(takes(changed));
    }
    assert_in_range(taken, 0, 1);
    snprintf(changed, sizeof changed, "%s.x", good);
    assert_false(takes(changed));
    snprintf(changed, sizeof changed, "%s=", good);
    assert_false(takes(changed));
}

/* A token with these claims is refused for that, or taken (NULL). */
static void judged(const char *claims, const char *refusal)
{
    const char *text = hs256(claims);
    if (refusal)
        refused(text, refusal);
    else if (!takes(text))
        fail_msg("%s: %s", claims, wrong);
}

static void the_claims_are_looked_at(void **state)
{
    (void)state;
    static const struct {
        const char *claims, *wrong; /* NULL: it is right */
    } cases[] = {
        {"{\"sub\":\"bob\",\"exp\":1700000100}", NULL},
        {"{\"sub\":\"bob\",\"exp\":1700000100.5}", NULL},
        {"{\"sub\":\"b\xc3\xb6"
         "b\",\"exp\":1700000100}",
         NULL},
        {"{\"sub\":\"bob\",\"exp\":1699999971}", NULL}, /* the clocks may differ by 30 s */
        {"{\"sub\":\"bob\",\"exp\":1699999970}", "expired"},
        {"{\"sub\":\"bob\",\"exp\":0}", "expired"},
        {"{\"sub\":\"bob\"}", "no end"},
        {"{\"sub\":\"bob\",\"exp\":\"1700000100\"}", "no time"},
        {"{\"sub\":\"bob\",\"exp\":null}", "no time"},
        {"{\"sub\":\"bob\",\"exp\":-1}", "no time"},
        {"{\"sub\":\"bob\",\"exp\":1e300}", "no time"},
        {"{\"sub\":\"bob\",\"exp\":9223372036854775807}", "no time"},
        {"{\"sub\":\"bob\",\"exp\":1700000100,\"nbf\":1700000030}", NULL},
        {"{\"sub\":\"bob\",\"exp\":1700000100,\"nbf\":1700000031}", "not valid yet"},
        {"{\"sub\":\"bob\",\"exp\":1700000100,\"nbf\":\"x\"}", "no time"},
        {"{\"exp\":1700000100}", "no user name"},
        {"{\"sub\":\"\",\"exp\":1700000100}", "no user name"},
        {"{\"sub\":7,\"exp\":1700000100}", "no user name"},
        {"{\"sub\":[\"bob\"],\"exp\":1700000100}", "no user name"},
        {"{\"sub\":\"b\\u0000b\",\"exp\":1700000100}", "none"},
        {"{\"sub\":\"b\xff\",\"exp\":1700000100}", "none"},
        {"[1700000100]", ""},
        {"\"bob\"", "none"},
        {"", "none"},
        {"{", "none"},
    };
    load_good(OCT);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) judged(cases[i].claims, cases[i].wrong);
}

static void issuer_audience_and_the_name_of_the_user(void **state)
{
    (void)state;
    load_good(OCT);
    rules.issuer = "https://id.example";
    rules.audience = "mqtt";
    rules.user_claim = "name";
    rules.expiry_required = false;
    static const struct {
        const char *claims, *wrong;
    } cases[] = {
        {"{\"name\":\"bob\",\"iss\":\"https://id.example\",\"aud\":\"mqtt\"}", NULL},
        {"{\"name\":\"bob\",\"iss\":\"https://id.example\",\"aud\":[\"x\",\"mqtt\"]}", NULL},
        {"{\"name\":\"bob\",\"iss\":\"https://id.example/\",\"aud\":\"mqtt\"}", "issuer"},
        {"{\"name\":\"bob\",\"iss\":[\"https://id.example\"],\"aud\":\"mqtt\"}", "issuer"},
        {"{\"name\":\"bob\",\"aud\":\"mqtt\"}", "issuer"},
        {"{\"name\":\"bob\",\"iss\":\"https://id.example\",\"aud\":\"MQTT\"}", "audience"},
        {"{\"name\":\"bob\",\"iss\":\"https://id.example\",\"aud\":[]}", "audience"},
        {"{\"name\":\"bob\",\"iss\":\"https://id.example\",\"aud\":[1,[\"mqtt\"]]}", "audience"},
        {"{\"name\":\"bob\",\"iss\":\"https://id.example\",\"aud\":{\"mqtt\":1}}", "audience"},
        {"{\"name\":\"bob\",\"iss\":\"https://id.example\"}", "audience"},
        {"{\"sub\":\"bob\",\"iss\":\"https://id.example\",\"aud\":\"mqtt\"}", "no user name"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        judged(cases[i].claims, cases[i].wrong);
        if (cases[i].wrong == NULL) assert_int_equal(ends_ms, 0);
    }
}

static void a_key_with_an_id_is_for_tokens_with_it(void **state)
{
    (void)state;
    const char *claims = "{\"sub\":\"bob\",\"exp\":1700000100}";
    load_good("{\"keys\":[{\"kty\":\"oct\",\"kid\":\"new\",\"k\":\"" SECRET_JSON "\"},"
              "{\"kty\":\"oct\",\"kid\":\"old\",\"k\":\"" RFC_KEY "\",\"alg\":\"HS256\"}]}");
    assert_int_equal(keys->count, 2);
#define WITH_ID(id)                                                                                \
    signed_by_secret("{\"alg\":\"HS256\",\"kid\":\"" id "\"}", claims, SECRET, 32, EVP_sha256())
    assert_true(takes(WITH_ID("new")));
    refused(WITH_ID("old"), "signature");
    refused(WITH_ID("third"), "no key");
    assert_true(takes(hs256(claims))); /* without an id all are tried */
    load_good(OCT);
    assert_true(takes(WITH_ID("any"))); /* and a key without one is tried */
}

static void what_is_a_token_by_its_form(void **state)
{
    (void)state;
    static const char *const are[] = {"eyJ.x.y", "eyJ..", RFC_TOKEN, "eyJhbGciOiJub25lIn0.e30."};
    static const char *const are_not[] = {"",         "secret",   "eyJ",     "eyJ.x", "eyJ.x.y.z",
                                          "eyJ.x.y ", "eyJ.x+.y", "EYJ.x.y", "a.b.c", "eyJ.\xff.y"};
    for (size_t i = 0; i < ARRAY_LEN(are); i++) assert_true(token_is(bytes_str(are[i])));
    for (size_t i = 0; i < ARRAY_LEN(are_not); i++) {
        assert_false(token_is(bytes_str(are_not[i])));
        load_good(OCT);
        assert_false(takes(are_not[i]));
    }
    static char large[TOKEN_MAX + 2];
    memset(large, 'x', sizeof large - 1);
    memcpy(large, "eyJ.x.", 6);
    assert_true(token_is(bytes_str(large)));
    refused(large, "larger");
}

static void files_that_are_wrong_say_why(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"", "no key in it"},
        {"secret\n", "no key in it"},
        {"{}", "'kty'"},
        {"{\"keys\":[]}", "no key in it"},
        {"{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AA\"}]}", "no key in it"},
        {"{\"keys\":[{\"kty\":\"oct\",\"use\":\"enc\",\"k\":\"" SECRET_JSON "\"}]}",
         "no key in it"},
        {"{\"keys\":[" OCT ",{}]}", "key 2: it has no 'kty'"},
        {"{\"keys\":[", "no JSON: line 1"},
        {"{\"kty\":\"oct\",\"kty\":\"RSA\"}", "no JSON"},
        {"{\"kty\":\"oct\"}", "secret 'k'"},
        {"{\"kty\":\"oct\",\"k\":\"c2hvcnQ\"}", "too short"},
        {"{\"kty\":\"oct\",\"k\":\"" SECRET_JSON "\",\"alg\":\"HS512\"}", "too short"},
        {"{\"kty\":\"oct\",\"k\":\"" SECRET_JSON "\",\"alg\":\"RS256\"}", "'alg'"},
        {"{\"kty\":\"oct\",\"k\":\"a b\"}", "no base64url"},
        {"{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}", "2048 bits"},
        {"{\"kty\":\"RSA\",\"n\":\"\"}", "damaged"},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AQAB\",\"y\":\"AQAB\"}", "damaged"},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" SECRET_JSON "\",\"y\":\"" SECRET_JSON "\"}",
         "damaged"}, /* not on the curve */
        {"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "key 1: it is damaged"},
        {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "damaged"},
        {"-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n", "private key"},
        {"-----BEGIN X-----\nAAAA\n-----END X-----\n", "only public keys"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (load(cases[i].text) != E_INVALID) fail_msg("taken: %s", cases[i].text);
        if (strstr(why, cases[i].why) == NULL) fail_msg("%s: %s", cases[i].text, why);
        assert_null(keys);
    }
    EVP_PKEY *small = EVP_RSA_gen(1024), *other = EVP_EC_gen("secp256k1");
    assert_int_equal(load(pem_of(small)), E_INVALID);
    assert_non_null(strstr(why, "2048 bits"));
    assert_int_equal(load(pem_of(other)), E_INVALID);
    assert_non_null(strstr(why, "P-256"));
    EVP_PKEY_free(small);
    EVP_PKEY_free(other);
    unlink(path);
    assert_int_equal(token_keys_load(&keys, path, why), E_IO);
    assert_non_null(strstr(why, "cannot open"));
    assert_int_equal(token_keys_load(&keys, "/tmp", why), E_IO);
}

static void keys_have_a_limit(void **state)
{
    (void)state;
    static char text[(TOKEN_KEYS_MAX + 1) * 80 + 100];
    size_t n = 0;
    n += (size_t)snprintf(text, sizeof text, "{\"keys\":[" OCT);
    for (int i = 1; i < TOKEN_KEYS_MAX; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "," OCT);
    snprintf(text + n, sizeof text - n, "]}");
    load_good(text);
    assert_int_equal(keys->count, TOKEN_KEYS_MAX);
    snprintf(text + n, sizeof text - n, "," OCT "]}");
    assert_int_equal(load(text), E_INVALID);
    assert_non_null(strstr(why, "more than 64 keys"));
    static char large[TOKEN_KEYS_BYTES + 2];
    memset(large, ' ', sizeof large - 1);
    assert_int_equal(load(large), E_INVALID);
    assert_non_null(strstr(why, "larger"));
}

static void without_memory_nothing_is_half_done(void **state)
{
    (void)state;
    bool more = true;
    static char text[8192];
    load_good(OCT);
    const char *good = hs256("{\"sub\":\"bob\",\"exp\":1700000100}");
    for (long n = 0; more; n++) {
        mem_free(user);
        user = NULL;
        mem_fail_after(n);
        int rc =
            token_check(&rules, bytes_str(good), NOW_S * UINT64_C(1000), &user, &ends_ms, &wrong);
        more = mem_fail_after(-1);
        assert_int_equal(rc, more ? E_NOMEM : 0);
    }
    snprintf(text, sizeof text, "{\"keys\":[" OCT "," RFC_RSA "," RFC_EC "]}");
    token_keys_free(&keys);
    load_good(text);
    more = true;
    for (long n = 0; more; n++) {
        token_keys_free(&keys);
        mem_fail_after(n);
        int rc = token_keys_load(&keys, path, why);
        more = mem_fail_after(-1);
        assert_int_equal(rc, more ? E_NOMEM : 0);
        assert_int_equal(keys != NULL, rc == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_of_the_standards_are_right_in_their_time),
        cmocka_unit_test(a_token_of_each_kind),
        cmocka_unit_test(the_algorithm_is_the_keys_and_not_the_tokens),
        cmocka_unit_test(a_changed_token_is_refused),
        cmocka_unit_test(the_claims_are_looked_at),
        cmocka_unit_test(issuer_audience_and_the_name_of_the_user),
        cmocka_unit_test(a_key_with_an_id_is_for_tokens_with_it),
        cmocka_unit_test(what_is_a_token_by_its_form),
        cmocka_unit_test(files_that_are_wrong_say_why),
        cmocka_unit_test(keys_have_a_limit),
        cmocka_unit_test(without_memory_nothing_is_half_done),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
