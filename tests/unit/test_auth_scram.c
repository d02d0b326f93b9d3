/* SCRAM-SHA-256: the example of RFC 7677, exchanges with a client of our own, and everything that a
 * client may say instead. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "src/auth_password.h"

static struct scram_server *server;
static struct passwords *p;
static char path[64], why[PASSWORD_WHY];

/* ---- the client's side ---- */

static size_t base64_to(const char *text, size_t n, uint8_t *out)
{
    int got = EVP_DecodeBlock(out, (const uint8_t *)text, (int)n);
    assert_true(got >= 0);
    while (n && text[n - 1] == '=') n--, got--;
    return (size_t)got;
}

static void hmac(const uint8_t *key, const char *text, uint8_t *out)
{
    unsigned n = 0;
    assert_non_null(HMAC(EVP_sha256(), key, 32, (const uint8_t *)text, strlen(text), out, &n));
}

struct client {
    char bare[256], first[512], auth[2048], last[1024];
    char verifier[64]; /* what the server has to answer */
};

/* The client's last message for what the server said first. */
static void finish(struct client *c, const char *header, const char *password, struct bytes reply)
{
    char head[64], salt_text[128];
    uint8_t salt[128], salted[32], key[32], stored[32], signature[32], server_key[32];
    unsigned iterations = 0;
    snprintf(c->first, sizeof c->first, "%.*s", (int)reply.n, (const char *)reply.p);
    const char *nonce = strstr(c->first, "r="), *s = strstr(c->first, ",s=");
    assert_non_null(s);
    assert_int_equal(sscanf(s, ",s=%127[^,],i=%u", salt_text, &iterations), 2);
    size_t n = base64_to(salt_text, strlen(salt_text), salt);
    EVP_EncodeBlock((uint8_t *)head, (const uint8_t *)header, (int)strlen(header));
    snprintf(c->last, sizeof c->last, "c=%s,%.*s", head, (int)(s - nonce), nonce);
    snprintf(c->auth, sizeof c->auth, "%s,%s,%s", c->bare, c->first, c->last);
    PKCS5_PBKDF2_HMAC(password, (int)strlen(password), salt, (int)n, (int)iterations, EVP_sha256(),
                      32, salted);
    hmac(salted, "Client Key", key);
    EVP_Digest(key, 32, stored, NULL, EVP_sha256(), NULL);
    hmac(stored, c->auth, signature);
    for (int i = 0; i < 32; i++) key[i] ^= signature[i];
    size_t end = strlen(c->last);
    memcpy(c->last + end, ",p=", 3);
    EVP_EncodeBlock((uint8_t *)c->last + end + 3, key, 32);
    hmac(salted, "Server Key", server_key);
    hmac(server_key, c->auth, signature);
    memcpy(c->verifier, "v=", 2);
    EVP_EncodeBlock((uint8_t *)c->verifier + 2, signature, 32);
}

static void load(const char *text)
{
    unsigned line = 0;
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    passwords_free(&p);
    if (passwords_load(&p, path, &line, why) < 0) fail_msg("line %u: %s", line, why);
}

static struct scram *begin(void)
{
    struct scram *x = NULL;
    assert_int_equal(scram_new(&x, server, p), 0);
    return x;
}

static int say(struct scram *x, const char *text, struct bytes *reply)
{
    return scram_step(x, bytes_str(text), reply);
}

/* A whole exchange: the result of its last step. */
static int exchange(const char *header, const char *user, const char *password)
{
    struct client c = {0};
    struct bytes reply;
    char message[512];
    snprintf(c.bare, sizeof c.bare, "n=%s,r=rOprNGfwEbeRWgbNEkqO", user);
    snprintf(message, sizeof message, "%s%s", header, c.bare);
    struct scram *x = begin();
    int rc = say(x, message, &reply);
    if (rc == E_AGAIN) {
        finish(&c, header, password, reply);
        rc = say(x, c.last, &reply);
        if (rc == 0) {
            assert_true(bytes_eq(reply, bytes_str(c.verifier)));
            assert_true(bytes_eq(scram_user(x), bytes_str(user)));
        }
    }
    scram_free(&x);
    return rc;
}

static char *hash_of(const char *password)
{
    char *text = NULL;
    assert_int_equal(password_hash(&text, PASSWORD_SCRAM, 4096, bytes_str(password)), 0);
    return text;
}

static void load_two(void)
{
    char text[1024], *bob = hash_of("secret"), *old = NULL;
    assert_int_equal(password_hash(&old, PASSWORD_SHA512, 1, bytes_str("secret")), 0);
    snprintf(text, sizeof text, "bob:%s\nold:%s\n", bob, old);
    load(text);
    mem_free(bob);
    mem_free(old);
}

static int begin_all(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/sluice-scram-%d", (int)getpid());
    load_two();
    return scram_server_new(&server);
}

static int end_all(void **state)
{
    (void)state;
    passwords_free(&p);
    scram_server_free(&server);
    return unlink(path);
}

/* ---- keys ---- */

static void the_example_of_rfc_7677(void **state)
{
    (void)state;
    static const char auth[] =
        "n=user,r=rOprNGfwEbeRWgbNEkqO,"
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    static const char proof_text[] = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    static const char verifier[] = "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
    struct scram_keys k = {.iterations = 4096};
    uint8_t signature[32], proof[48], stored[32];
    char text[64];
    k.salt_len = (uint8_t)base64_to("W22ZaJ0SNY7soEsUEjb6gQ==", 24, k.salt);
    assert_int_equal(scram_keys_make(&k, bytes_str("pencil")), 0);
    hmac(k.server, auth, signature);
    EVP_EncodeBlock((uint8_t *)text, signature, 32);
    assert_string_equal(text, verifier);
    assert_int_equal(base64_to(proof_text, strlen(proof_text), proof), 32);
    hmac(k.stored, auth, signature);
    for (int i = 0; i < 32; i++) proof[i] ^= signature[i]; /* ClientKey */
    EVP_Digest(proof, 32, stored, NULL, EVP_sha256(), NULL);
    assert_memory_equal(stored, k.stored, 32);
}

static void a_password_is_what_saslprep_makes_of_it(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b; /* NULL: a is none */
    } cases[] = {
        {"I\xc2\xadX", "IX"},   /* RFC 4013 section 3: soft hyphen */
        {"\xc2\xaa", "a"},      /* feminine ordinal */
        {"\xe2\x85\xa8", "IX"}, /* roman nine */
        {"a\xc2\xa0z", "a z"},  /* no-break space */
        {"\x07", NULL},         /* control character */
        {"\xd8\xa7\x31", NULL}, /* right to left, then a digit */
        {"\xff", NULL},         /* no UTF-8 */
        {"\xc2\xad", NULL},     /* nothing is left */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct scram_keys a = {.iterations = 4096, .salt_len = 1}, b = a;
        int rc = scram_keys_make(&a, bytes_str(cases[i].a));
        assert_int_equal(rc, cases[i].b ? 0 : E_INVALID);
        if (rc < 0) continue;
        assert_int_equal(scram_keys_make(&b, bytes_str(cases[i].b)), 0);
        assert_memory_equal(a.stored, b.stored, 32);
    }
    struct scram_keys k = {.iterations = 4096, .salt_len = 1};
    assert_int_equal(scram_keys_make(&k, bytes_of("\xc3\xa4\0b", 4)), E_INVALID);
    static char large[SCRAM_PREPARED_MAX + 4];
    memset(large, 'x', sizeof large - 1);
    memcpy(large, "\xc3\xa4", 2);
    assert_int_equal(scram_keys_make(&k, bytes_str(large)), E_INVALID);
    memcpy(large, "xx", 2);
    assert_int_equal(scram_keys_make(&k, bytes_str(large)), 0);
}

/* ---- exchanges ---- */

static void who_knows_the_password_gets_in(void **state)
{
    (void)state;
    assert_int_equal(exchange("n,,", "bob", "secret"), 0);
    assert_int_equal(exchange("y,,", "bob", "secret"), 0); /* it could bind, and we cannot */
    assert_int_equal(exchange("n,a=bob,", "bob", "secret"), 0);
    assert_int_equal(exchange("n,a=,", "bob", "secret"), 0);
}

static void who_does_not_gets_no_further_than_everybody(void **state)
{
    (void)state;
    assert_int_equal(exchange("n,,", "bob", "Secret"), E_INVALID);
    assert_int_equal(exchange("n,,", "eve", "secret"), E_INVALID);
    assert_int_equal(exchange("n,,", "old", "secret"), E_INVALID); /* there are no keys */
    assert_int_equal(exchange("n,a=eve,", "bob", "secret"), E_INVALID);
    assert_int_equal(exchange("p=tls-unique,,", "bob", "secret"), E_INVALID);
}

static void a_password_login_is_served_by_the_same_line(void **state)
{
    (void)state;
    assert_true(passwords_match(p, bytes_str("bob"), bytes_str("secret")));
    assert_false(passwords_match(p, bytes_str("bob"), bytes_str("Secret")));
    assert_false(passwords_match(p, bytes_str("bob"), bytes_str("\xff")));
    assert_false(passwords_match(p, bytes_str("eve"), bytes_str("secret")));
}

static void server_first(const char *user, char *out, size_t room)
{
    char message[256];
    struct bytes reply;
    struct scram *x = begin();
    snprintf(message, sizeof message, "n,,n=%s,r=abc", user);
    assert_int_equal(say(x, message, &reply), E_AGAIN);
    const uint8_t *s = memchr(reply.p, ',', reply.n); /* behind the nonce */
    assert_non_null(s);
    snprintf(out, room, "%.*s", (int)(reply.n - (size_t)(s - reply.p)), (const char *)s);
    scram_free(&x);
}

static void nobody_can_tell_who_is_there(void **state)
{
    (void)state;
    char bob[256], eve[256], again[256], other[256], old[256];
    server_first("bob", bob, sizeof bob);
    server_first("eve", eve, sizeof eve);
    server_first("mallory", other, sizeof other);
    server_first("old", old, sizeof old);
    assert_int_equal(strlen(bob), strlen(eve));
    assert_string_equal(strstr(bob, ",i="), strstr(eve, ",i="));
    assert_string_not_equal(bob, eve);
    assert_string_not_equal(eve, other);
    assert_string_not_equal(eve, old);
    server_first("eve", again, sizeof again);
    assert_string_equal(eve, again);
    server_first("bob", again, sizeof again);
    assert_string_equal(bob, again);
}

static void a_new_user_changes_what_is_said_of_few_others(void **state)
{
    (void)state;
    enum { USERS = 20, NAMES = 200 };
    static char text[(USERS + 1) * 200], before[NAMES][256];
    char now[256], name[32];
    size_t n = 0, changed = 0;
    for (int i = 0; i < USERS; i++) {
        char *hash = hash_of("x");
        n += (size_t)snprintf(text + n, sizeof text - n, "user%d:%s\n", i, hash);
        mem_free(hash);
    }
    load(text);
    for (int i = 0; i < NAMES; i++) {
        snprintf(name, sizeof name, "nobody%d", i);
        server_first(name, before[i], sizeof before[i]);
    }
    char *hash = hash_of("x");
    snprintf(text + n, sizeof text - n, "another:%s\n", hash);
    mem_free(hash);
    load(text);
    for (int i = 0; i < NAMES; i++) {
        snprintf(name, sizeof name, "nobody%d", i);
        server_first(name, now, sizeof now);
        changed += strcmp(now, before[i]) != 0;
    }
    assert_in_range(changed, 0, NAMES / 6); /* about one in 21 */
    load_two();
}

static void what_is_no_scram_is_refused(void **state)
{
    (void)state;
    static const char *const firsts[] = {
        "n",
        "n,",
        "n,,",
        "n,,n=,r=abc",
        "n,,n=bob",
        "n,,n=bob,",
        "n,,n=bob,r=",
        "n,,r=abc,n=bob",
        "n,,m=x,n=bob,r=abc",
        "x,,n=bob,r=abc",
        "p=,,n=bob,r=abc",
        "n,,n=b=ob,r=abc",
        "n,,n=bob=,r=abc",
        "n,,n=bob=2c,r=abc",
        "n,,n=\xff,r=abc",
        "n,,n=\xc2\xad,r=abc", /* SASLprep leaves nothing */
        "n,,n=I\xc2\xadX,r=abc",
        "GET / HTTP/1.1",
    };
    struct bytes reply;
    for (size_t i = 0; i < ARRAY_LEN(firsts); i++) {
        struct scram *x = begin();
        int rc = say(x, firsts[i], &reply);
        if (rc != E_INVALID) fail_msg("'%s' gives %d", firsts[i], rc);
        scram_free(&x);
    }
    static const char *const lasts[] = {
        "",
        "c=biws",
        "c=biws,r=abc",
        "c=biws,r=abc,p=",
        "r=a,p=b",
        "c=biws,r=abc,p=AAAA",
        "n,,n=bob,r=abc",
        "c=biws,p=AAAA,r=abc",
    };
    for (size_t i = 0; i < ARRAY_LEN(lasts); i++) {
        struct scram *x = begin();
        assert_int_equal(say(x, "n,,n=bob,r=abc", &reply), E_AGAIN);
        assert_int_equal(say(x, lasts[i], &reply), E_INVALID);
        scram_free(&x);
    }
}

static void messages_have_an_end(void **state)
{
    (void)state;
    static char large[SCRAM_MESSAGE_MAX + 2];
    struct bytes reply;
    memset(large, 'a', sizeof large - 1);
    memcpy(large, "n,,n=bob,r=", 11);
    struct scram *x = begin();
    assert_int_equal(say(x, large, &reply), E_INVALID);
    scram_free(&x);
    x = begin();
    assert_int_equal(scram_step(x, bytes_of("n,,n=b\0b,r=abc", 14), &reply), E_INVALID);
    scram_free(&x);
    x = begin(); /* the client may want the server to begin, once */
    assert_int_equal(say(x, "", &reply), E_AGAIN);
    assert_int_equal(reply.n, 0);
    assert_int_equal(say(x, "", &reply), E_INVALID);
    scram_free(&x);
}

static void a_proof_is_good_for_one_exchange(void **state)
{
    (void)state;
    struct client c = {.bare = "n=bob,r=abc"};
    struct bytes reply;
    struct scram *x = begin(), *y = begin();
    assert_int_equal(say(x, "n,,n=bob,r=abc", &reply), E_AGAIN);
    finish(&c, "n,,", "secret", reply);
    assert_int_equal(say(y, "n,,n=bob,r=abc", &reply), E_AGAIN);
    assert_int_equal(say(y, c.last, &reply), E_INVALID);
    assert_int_equal(say(x, c.last, &reply), 0);
    assert_int_equal(say(x, c.last, &reply), E_INVALID);
    scram_free(&x);
    scram_free(&y);
}

/* ---- lines of the file ---- */

static void lines_that_are_wrong_say_why(void **state)
{
    (void)state;
#define KEYS "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    static const char *const good[] = {
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$" KEYS ":" KEYS,
        "SCRAM-SHA-256$1000000:AA==$" KEYS ":" KEYS,
    };
    static const char *const bad[] = {
        "SCRAM-SHA-256$4095:AA==$" KEYS ":" KEYS,
        "SCRAM-SHA-256$1000001:AA==$" KEYS ":" KEYS,
        "SCRAM-SHA-256$4096:$" KEYS ":" KEYS,
        "SCRAM-SHA-256$4096:A$" KEYS ":" KEYS,
        "SCRAM-SHA-256$4096:AA==$AAAA:" KEYS,
        "SCRAM-SHA-256$4096:AA==$" KEYS ":AAAA",
        "SCRAM-SHA-256$4096:AA==$" KEYS,
        "SCRAM-SHA-256$4096:AA==$" KEYS ":" KEYS "A",
        "SCRAM-SHA-256$",
        "SCRAM-SHA-1$4096:AA==$" KEYS ":" KEYS,
        "SCRAM-SHA-256$4096$AA==$" KEYS ":" KEYS,
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(password_hash_ok(bytes_str(good[i]), why));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (password_hash_ok(bytes_str(bad[i]), why)) fail_msg("'%s' is good", bad[i]);
        assert_true(why[0]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_of_rfc_7677),
        cmocka_unit_test(a_password_is_what_saslprep_makes_of_it),
        cmocka_unit_test(who_knows_the_password_gets_in),
        cmocka_unit_test(who_does_not_gets_no_further_than_everybody),
        cmocka_unit_test(a_password_login_is_served_by_the_same_line),
        cmocka_unit_test(nobody_can_tell_who_is_there),
        cmocka_unit_test(a_new_user_changes_what_is_said_of_few_others),
        cmocka_unit_test(what_is_no_scram_is_refused),
        cmocka_unit_test(messages_have_an_end),
        cmocka_unit_test(a_proof_is_good_for_one_exchange),
        cmocka_unit_test(lines_that_are_wrong_say_why),
    };
    return cmocka_run_group_tests(tests, begin_all, end_all);
}
