/* Fuzzes what clients say to log in: the first byte chooses between a token whose header and claims
 * (two lines) are signed here with the right key, a token as it is, and the messages of an exchange
 * of SCRAM, a line each.  Nobody may get in who was not to. */
#include "base/mem.h"
#include "shell/auth_password.h"
#include "shell/auth_scram.h"
#include "shell/auth_token.h"
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXT_MAX = 8192 };

static struct token_keys keys = {.count = 1};
static struct scram_server *server;
static struct passwords *passwords;

static void begin(void)
{
    static uint8_t secret[32] = "0123456789abcdef0123456789abcde";
    char path[] = "/tmp/sluice-fuzz-XXXXXX", why[PASSWORD_WHY], *hash = NULL;
    unsigned line;
    if (server) return;
    keys.all[0] = (struct token_key){.algorithm = "HS256", .data = secret, .size = sizeof secret};
    int fd = mkstemp(path);
    ASSERT(fd >= 0 && scram_server_new(&server) == 0);
    ASSERT(password_hash(&hash, PASSWORD_SCRAM, SCRAM_ITERATIONS_MIN, bytes_str("secret")) == 0);
    dprintf(fd, "bob:%s\n", hash);
    close(fd);
    ASSERT(passwords_load(&passwords, path, &line, why) == 0);
    unlink(path);
    mem_free(hash);
}

static struct bytes line_of(struct bytes *rest)
{
    const uint8_t *end = rest->n ? memchr(rest->p, '\n', rest->n) : NULL;
    struct bytes b = bytes_of(rest->p, end ? (size_t)(end - rest->p) : rest->n);
    *rest = bytes_skip(*rest, min_u64(b.n + 1, rest->n));
    return b;
}

static size_t put(char *out, struct bytes b)
{
    size_t n = (size_t)EVP_EncodeBlock((uint8_t *)out, b.p, (int)b.n);
    while (n && out[n - 1] == '=') n--;
    for (size_t i = 0; i < n; i++) out[i] = out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i];
    return n;
}

static bool check(struct bytes token, bool expiry_required)
{
    const struct token_rules rules = {
        .keys = &keys, .user_claim = "sub", .expiry_required = expiry_required, .skew_s = 30};
    char *user = NULL;
    uint64_t ends_ms = 0;
    const char *why = NULL;
    int rc = token_check(&rules, token, UINT64_C(1700000000000), &user, &ends_ms, &why);
    ASSERT((rc == 0) == (user != NULL) && (rc == E_INVALID) == (why != NULL));
    if (rc == 0) ASSERT(*user && (ends_ms > UINT64_C(1700000000000) || !expiry_required));
    mem_free(user);
    return rc == 0;
}

static void token(struct bytes rest)
{
    static char text[2 * TEXT_MAX];
    uint8_t mac[EVP_MAX_MD_SIZE];
    unsigned mac_len = 0;
    struct bytes header = line_of(&rest);
    if (header.n + rest.n > TEXT_MAX) return;
    size_t n = put(text, header);
    text[n++] = '.';
    n += put(text + n, rest);
    ASSERT(HMAC(EVP_sha256(), keys.all[0].data, 32, (uint8_t *)text, n, mac, &mac_len));
    text[n++] = '.';
    n += put(text + n, bytes_of(mac, mac_len));
    bool loose = check(bytes_of(text, n), false);
    ASSERT(!check(bytes_of(text, n), true) || loose);
    text[n - 5] = text[n - 5] == 'A' ? 'B' : 'A';
    ASSERT(!check(bytes_of(text, n), false));
}

static void exchange(struct bytes rest)
{
    struct scram *x = NULL;
    struct bytes reply;
    ASSERT(scram_new(&x, server, passwords) == 0);
    int rc = E_AGAIN;
    for (int i = 0; i < 5 && rc == E_AGAIN; i++) rc = scram_step(x, line_of(&rest), &reply);
    ASSERT(rc == E_INVALID); /* a proof would have to be guessed, and there is an end */
    scram_free(&x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    begin();
    if (size == 0) return 0;
    struct bytes rest = bytes_of(data + 1, size - 1);
    switch (data[0] % 3) {
    case 0: token(rest); break;
    case 1: ASSERT(!check(rest, true)); break;
    default: exchange(rest);
    }
    return 0;
}
