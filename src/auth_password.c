/* The password file and its hashes; see auth_password.h.  libargon2 is seen here alone.  A
 * table is immutable; any thread may ask it. */
#include "auth_password.h"

#include "base/hash.h"
#include "base/mem.h"
#include <argon2.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <sys/stat.h>

enum {
    HASH_MAX = 64, /* bytes: SHA-512 */
    SALT_MAX = 64,
    SALT_WRITTEN = 12, /* what mosquitto 2.0 insists on */
    SCRAM_SALT_WRITTEN = 16,
    ARGON2_HASH = 32,
    ARGON2_SALT = 16,
    ARGON2_MEMORY_KIB = 47104, /* as mosquitto 2.1 */
    ARGON2_PASSES = 1,
    ARGON2_LANES = 1,
    ARGON2_MEMORY_MAX = 1 << 20, /* KiB: a file must not be able to take all of the machine */
    ARGON2_PASSES_MAX = 16,
    ARGON2_WORK_MAX = 4 << 20, /* KiB times passes: some seconds */
    ARGON2_LANES_MAX = 64,
    ENCODED_MAX = 512, /* a hash as text */
};

struct password {
    enum password_kind kind;
    uint32_t iterations; /* PBKDF2, SCRAM */
    uint8_t salt_len, hash_len;
    uint8_t salt[SALT_MAX], hash[HASH_MAX]; /* of SCRAM: StoredKey and ServerKey */
    uint32_t memory_kib, passes, lanes;     /* Argon2 */
};

struct user {
    char *name;
    size_t name_len;
    unsigned line;
    uint64_t name_hash;
    struct password password;
};

struct passwords {
    struct user *users; /* by name */
    size_t count, cap, scram_count;
    bool exposed;
};

void password_wipe(void *p, size_t n) { OPENSSL_cleanse(p, n); }

/* ---- hashes as text ---- */

/* Up to the next `end`, which is taken too; false: there is none. */
static bool take_until(struct bytes *text, char last, struct bytes *part)
{
    const uint8_t *end = text->n ? memchr(text->p, last, text->n) : NULL;
    if (end == NULL) return false;
    *part = bytes_of(text->p, (size_t)(end - text->p));
    *text = bytes_skip(*text, part->n + 1);
    return true;
}

static bool take_part(struct bytes *text, struct bytes *part)
{
    return take_until(text, '$', part);
}

static bool number_of(struct bytes text, uint32_t most, uint32_t *out)
{
    uint64_t v = 0;
    if (text.n == 0 || text.n > 10) return false;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9') return false;
        v = v * 10 + (uint64_t)(text.p[i] - '0');
    }
    *out = (uint32_t)v;
    return v >= 1 && v <= most;
}

static int base64_digit(uint8_t c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* padded: with '=' up to a multiple of four, as mosquitto's own formats have it and Argon2's has
 * not.  False: no base64, nothing in it, or more than `most` bytes. */
static bool base64_read(struct bytes text, bool padded, size_t most, uint8_t *out, uint8_t *len)
{
    size_t digits = text.n, n = 0;
    if (padded) {
        if (text.n % 4) return false;
        while (digits && text.n - digits < 2 && text.p[digits - 1] == '=') digits--;
    }
    if (digits == 0 || digits % 4 == 1) return false;
    uint32_t held = 0;
    for (size_t i = 0, bits = 0; i < digits; i++) {
        int v = base64_digit(text.p[i]);
        if (v < 0) return false;
        held = held << 6 | (uint32_t)v;
        bits += 6;
        if (bits < 8) continue;
        bits -= 8;
        if (n == most) return false;
        out[n++] = (uint8_t)(held >> bits);
    }
    *len = (uint8_t)n;
    return true;
}

static char *base64_write(char *out, const uint8_t *in, size_t n)
{
    return out + EVP_EncodeBlock((unsigned char *)out, in, (int)n);
}

static const char *read_salted(struct bytes text, struct password *p)
{
    struct bytes salt;
    if (!take_part(&text, &salt) || !base64_read(salt, true, SALT_MAX, p->salt, &p->salt_len))
        return "the salt is no base64";
    if (!base64_read(text, true, HASH_MAX, p->hash, &p->hash_len) || p->hash_len != HASH_MAX)
        return "the hash is no base64 of 64 bytes";
    return NULL;
}

/* "m=47104,t=1,p=1" */
static bool read_costs(struct bytes text, struct password *p)
{
    const struct {
        char name;
        uint32_t most, *out;
    } costs[] = {{'m', ARGON2_MEMORY_MAX, &p->memory_kib},
                 {'t', ARGON2_PASSES_MAX, &p->passes},
                 {'p', ARGON2_LANES_MAX, &p->lanes}};
    for (size_t i = 0; i < ARRAY_LEN(costs); i++) {
        const uint8_t *comma = text.n ? memchr(text.p, ',', text.n) : NULL;
        size_t n = comma ? (size_t)(comma - text.p) : text.n;
        if ((comma == NULL) != (i + 1 == ARRAY_LEN(costs)) || n < 3 || text.p[1] != '=')
            return false;
        if (text.p[0] != costs[i].name) return false;
        if (!number_of(bytes_of(text.p + 2, n - 2), costs[i].most, costs[i].out)) return false;
        text = bytes_skip(text, min_u64(n + 1, text.n));
    }
    if (p->memory_kib < 8 * p->lanes) return false; /* Argon2's own demand */
    return (uint64_t)p->memory_kib * p->passes <= ARGON2_WORK_MAX;
}

static const char *read_argon2(struct bytes text, struct password *p)
{
    struct bytes version, costs, salt;
    if (!take_part(&text, &version) || !bytes_eq(version, bytes_str("v=19")))
        return "Argon2 of another version than 19";
    if (!take_part(&text, &costs) || !read_costs(costs, p))
        return "the costs of Argon2 are not m=KIB,t=PASSES,p=LANES, or too high";
    if (!take_part(&text, &salt) || !base64_read(salt, false, SALT_MAX, p->salt, &p->salt_len) ||
        p->salt_len < 8)
        return "the salt is no base64 of at least 8 bytes";
    if (!base64_read(text, false, HASH_MAX, p->hash, &p->hash_len) || p->hash_len < 4)
        return "the hash is no base64 of at least 4 bytes";
    return NULL;
}

/* Behind "SCRAM-SHA-256$". */
static const char *read_scram(struct bytes text, struct password *p)
{
    struct bytes iterations, salt, stored;
    uint8_t n = 0, m = 0;
    p->kind = PASSWORD_SCRAM;
    if (!take_until(&text, ':', &iterations) ||
        !number_of(iterations, PASSWORD_ITERATIONS_MAX, &p->iterations) ||
        p->iterations < SCRAM_ITERATIONS_MIN)
        return "the iterations are no number from 4096 to 1000000";
    if (!take_part(&text, &salt) || !base64_read(salt, true, SALT_MAX, p->salt, &p->salt_len))
        return "the salt is no base64";
    if (!take_until(&text, ':', &stored) || !base64_read(stored, true, SCRAM_KEY, p->hash, &n) ||
        !base64_read(text, true, SCRAM_KEY, p->hash + SCRAM_KEY, &m) || n + m != 2 * SCRAM_KEY)
        return "the keys are no base64 of 32 bytes each";
    p->hash_len = 2 * SCRAM_KEY;
    return NULL;
}

/* NULL, or what is wrong. */
static const char *read_hash(struct bytes text, struct password *p)
{
    struct bytes none, kind, iterations;
    if (bytes_starts(text, SCRAM_METHOD "$"))
        return read_scram(bytes_skip(text, strlen(SCRAM_METHOD "$")), p);
    if (!take_part(&text, &none) || none.n != 0 || !take_part(&text, &kind))
        return "there is no hash behind the user name; 'sluicectl passwd -U FILE' hashes a file of "
               "plain passwords";
    if (bytes_eq(kind, bytes_str("6"))) {
        p->kind = PASSWORD_SHA512;
        return read_salted(text, p);
    }
    if (bytes_eq(kind, bytes_str("7"))) {
        p->kind = PASSWORD_PBKDF2;
        if (!take_part(&text, &iterations) ||
            !number_of(iterations, PASSWORD_ITERATIONS_MAX, &p->iterations))
            return "the iterations are no number from 1 to 1000000";
        return read_salted(text, p);
    }
    if (bytes_eq(kind, bytes_str("argon2id"))) {
        p->kind = PASSWORD_ARGON2ID;
        return read_argon2(text, p);
    }
    return "the kind of hash is not known: $6$, $7$, $argon2id$ and SCRAM-SHA-256$ are";
}

bool password_hash_ok(struct bytes text, char why[static PASSWORD_WHY])
{
    struct password p = {0};
    const char *wrong = read_hash(text, &p);
    snprintf(why, PASSWORD_WHY, "%s", wrong ? wrong : "");
    return wrong == NULL;
}

const char *password_user_wrong(struct bytes user)
{
    if (user.n == 0) return "the user name is empty";
    if (user.n > PASSWORD_LINE_MAX - ENCODED_MAX) return "the user name is too long";
    if (user.p[0] == '#') return "a user name cannot begin with '#': the line would be a comment";
    if (user.p[0] == ' ' || user.p[user.n - 1] == ' ')
        return "a user name cannot begin or end with a space";
    for (size_t i = 0; i < user.n; i++) {
        if (user.p[i] == ':') return "a user name cannot hold ':'";
        if (user.p[i] < 0x20 || user.p[i] == 0x7f)
            return "a user name cannot hold control characters";
    }
    return bytes_is_utf8(user) ? NULL : "the user name is not text in UTF-8";
}

/* ---- hashing ---- */

static int sha512_salted(const struct password *p, struct bytes password, uint8_t *out)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned n = 0;
    int ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha512(), NULL) &&
             EVP_DigestUpdate(ctx, password.p, password.n) &&
             EVP_DigestUpdate(ctx, p->salt, p->salt_len) && EVP_DigestFinal_ex(ctx, out, &n);
    EVP_MD_CTX_free(ctx);
    return ok ? 0 : E_NOMEM;
}

static int scram_salted(const struct password *p, struct bytes password, uint8_t *out)
{
    struct scram_keys k = {.iterations = p->iterations, .salt_len = p->salt_len};
    memcpy(k.salt, p->salt, p->salt_len);
    int rc = scram_keys_make(&k, password);
    if (rc == 0) {
        memcpy(out, k.stored, SCRAM_KEY);
        memcpy(out + SCRAM_KEY, k.server, SCRAM_KEY);
    }
    password_wipe(&k, sizeof k);
    return rc;
}

/* p->hash_len bytes to out, by p's kind, costs and salt.  The password is not empty. */
static int compute(const struct password *p, struct bytes password, uint8_t *out)
{
    ASSERT(password.n > 0 && password.n <= PASSWORD_MAX);
    switch (p->kind) {
    case PASSWORD_SHA512: return sha512_salted(p, password, out);
    case PASSWORD_SCRAM: return scram_salted(p, password, out);
    case PASSWORD_PBKDF2:
        return PKCS5_PBKDF2_HMAC((const char *)password.p, (int)password.n, p->salt, p->salt_len,
                                 (int)p->iterations, EVP_sha512(), p->hash_len, out)
                   ? 0
                   : E_NOMEM;
    default:
        return argon2id_hash_raw(p->passes, p->memory_kib, p->lanes, password.p, password.n,
                                 p->salt, p->salt_len, out, p->hash_len) == ARGON2_OK
                   ? 0
                   : E_NOMEM;
    }
}

static int write_argon2(const struct password *p, char *out)
{
    size_t n =
        argon2_encodedlen(p->passes, p->memory_kib, p->lanes, p->salt_len, p->hash_len, Argon2_id);
    ASSERT(n <= ENCODED_MAX);
    char salt[2 * ARGON2_SALT], hash[2 * ARGON2_HASH];
    *base64_write(salt, p->salt, p->salt_len) = 0;
    *base64_write(hash, p->hash, p->hash_len) = 0;
    salt[strcspn(salt, "=")] = hash[strcspn(hash, "=")] = 0;
    return snprintf(out, ENCODED_MAX, "$argon2id$v=19$m=%u,t=%u,p=%u$%s$%s", p->memory_kib,
                    p->passes, p->lanes, salt, hash);
}

/* "SCRAM-SHA-256$4096:salt$StoredKey:ServerKey" */
static char *write_scram(const struct password *p, char *d)
{
    d += snprintf(d, 32, SCRAM_METHOD "$%u:", p->iterations);
    d = base64_write(d, p->salt, p->salt_len);
    *d++ = '$';
    d = base64_write(d, p->hash, SCRAM_KEY);
    *d++ = ':';
    return base64_write(d, p->hash + SCRAM_KEY, SCRAM_KEY);
}

int password_hash(char **out, enum password_kind kind, uint32_t iterations, struct bytes password)
{
    struct password p = {.kind = kind,
                         .iterations = iterations,
                         .salt_len = SALT_WRITTEN,
                         .hash_len = HASH_MAX,
                         .memory_kib = ARGON2_MEMORY_KIB,
                         .passes = ARGON2_PASSES,
                         .lanes = ARGON2_LANES};
    if (kind == PASSWORD_ARGON2ID) {
        p.salt_len = ARGON2_SALT;
        p.hash_len = ARGON2_HASH;
    }
    if (kind == PASSWORD_SCRAM) p.salt_len = SCRAM_SALT_WRITTEN;
    if (RAND_bytes(p.salt, p.salt_len) != 1) return E_IO;
    int rc = compute(&p, password, p.hash);
    if (rc < 0) return rc;
    char text[ENCODED_MAX], *d = text;
    if (kind == PASSWORD_ARGON2ID) {
        d += write_argon2(&p, text);
    } else if (kind == PASSWORD_SCRAM) {
        d = write_scram(&p, text);
    } else {
        d += kind == PASSWORD_SHA512 ? snprintf(d, 16, "$6$")
                                     : snprintf(d, 32, "$7$%u$", iterations);
        d = base64_write(d, p.salt, p.salt_len);
        *d++ = '$';
        d = base64_write(d, p.hash, p.hash_len);
    }
    *out = mem_strndup(text, (size_t)(d - text));
    return *out ? 0 : E_NOMEM;
}

/* ---- asking ---- */

static struct bytes name_of(const struct user *u) { return bytes_of(u->name, u->name_len); }

static const struct user *find(const struct passwords *p, struct bytes name)
{
    size_t low = 0, high = p->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int d = bytes_cmp(name, name_of(&p->users[middle]));
        if (d == 0) return &p->users[middle];
        if (d < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* Whoever asks for a user that is not there waits as long as for one who is; always the same one
 * for a name, as costs may differ from user to user. */
static const struct user *stand_in(const struct passwords *p, struct bytes name)
{
    return &p->users[hash_bytes(name, 0) % p->count];
}

bool passwords_match(const struct passwords *p, struct bytes user, struct bytes password)
{
    uint8_t hash[HASH_MAX];
    if (p->count == 0 || password.n == 0) return false; /* mosquitto_passwd makes no empty ones */
    const struct user *known = find(p, user);
    const struct password *wanted = &(known ? known : stand_in(p, user))->password;
    bool right = compute(wanted, password, hash) == 0 &&
                 CRYPTO_memcmp(hash, wanted->hash, wanted->hash_len) == 0;
    password_wipe(hash, sizeof hash);
    return right && known;
}

/* Who stands in for a name that is not there: the one of those with keys for SCRAM whose hash
 * together with the name's is the least.  So only a change of that one changes what is said of this
 * name; were it derived from all the file, every new user would tell who is not there. */
static const struct password *scram_stand_in(const struct passwords *p, struct bytes name)
{
    const struct password *found = NULL;
    uint64_t least = UINT64_MAX, hash = hash_bytes(name, 0);
    for (size_t i = 0; i < p->count; i++) {
        const struct user *u = &p->users[i];
        uint64_t both = hash_u64(u->name_hash, hash);
        if (u->password.kind != PASSWORD_SCRAM || (found && both > least)) continue;
        least = both;
        found = &u->password;
    }
    ASSERT(found);
    return found;
}

/* Bytes that nobody can foretell who does not know the file. */
static void derive(const struct password *secret, char what, struct bytes name, uint8_t *out)
{
    uint8_t key[HASH_MAX + 1];
    unsigned n = 0;
    memcpy(key, secret->hash, HASH_MAX);
    key[HASH_MAX] = (uint8_t)what;
    uint8_t *made = HMAC(EVP_sha512(), key, sizeof key, name.p, name.n, out, &n);
    ASSERT(made && n == HASH_MAX);
    password_wipe(key, sizeof key);
}

void passwords_scram(const struct passwords *p, struct bytes user, struct scram_keys *out)
{
    uint8_t salt[HASH_MAX], keys[HASH_MAX];
    const struct user *known = find(p, user);
    const struct password *other = scram_stand_in(p, user); /* always: it takes time */
    bool real = known && known->password.kind == PASSWORD_SCRAM;
    const struct password *from = real ? &known->password : other;
    derive(other, 's', user, salt);
    derive(other, 'k', user, keys);
    out->iterations = from->iterations;
    out->salt_len = from->salt_len;
    memcpy(out->salt, real ? from->salt : salt, from->salt_len);
    const uint8_t *both = real ? from->hash : keys;
    memcpy(out->stored, both, SCRAM_KEY);
    memcpy(out->server, both + SCRAM_KEY, SCRAM_KEY);
    password_wipe(keys, sizeof keys);
}

size_t passwords_scram_count(const struct passwords *p) { return p->scram_count; }
size_t passwords_count(const struct passwords *p) { return p->count; }
bool passwords_exposed(const struct passwords *p) { return p->exposed; }

/* ---- reading the file ---- */

static int user_add(struct passwords *p, struct bytes name, const struct password *password,
                    unsigned line)
{
    if (p->count == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 16;
        struct user *users = mem_realloc(p->users, cap * sizeof *users);
        if (users == NULL) return E_NOMEM;
        p->users = users;
        p->cap = cap;
    }
    char *copy = mem_strndup(name.p, name.n);
    if (copy == NULL) return E_NOMEM;
    p->users[p->count++] = (struct user){copy, name.n, line, hash_bytes(name, 1), *password};
    p->scram_count += password->kind == PASSWORD_SCRAM;
    return 0;
}

static struct bytes trimmed(struct bytes text)
{
    while (text.n && strchr(" \t\r", text.p[text.n - 1])) text.n--;
    while (text.n && (*text.p == ' ' || *text.p == '\t')) text = bytes_skip(text, 1);
    return text;
}

static int line_take(struct passwords *p, struct bytes text, unsigned line, char *why)
{
    if (text.n > PASSWORD_LINE_MAX) {
        snprintf(why, PASSWORD_WHY, "the line is longer than %d bytes", PASSWORD_LINE_MAX);
        return E_INVALID;
    }
    if (text.n && memchr(text.p, 0, text.n)) {
        snprintf(why, PASSWORD_WHY, "there is a 0 byte in the line");
        return E_INVALID;
    }
    text = trimmed(text);
    if (text.n == 0 || *text.p == '#') return 0;
    const uint8_t *colon = memchr(text.p, ':', text.n);
    struct bytes name = trimmed(bytes_of(text.p, colon ? (size_t)(colon - text.p) : text.n));
    struct password password = {0};
    const char *wrong = password_user_wrong(name);
    if (colon == NULL)
        wrong = "there is no ':' behind the user name";
    else if (wrong == NULL)
        wrong = read_hash(trimmed(bytes_skip(text, (size_t)(colon - text.p) + 1)), &password);
    if (wrong == NULL) return user_add(p, name, &password, line);
    snprintf(why, PASSWORD_WHY, "%s", wrong);
    return E_INVALID;
}

static int lines_take(struct passwords *p, struct bytes all, unsigned *line, char *why)
{
    int rc = 0;
    for (unsigned n = 1; rc == 0 && all.n; n++) {
        const uint8_t *end = memchr(all.p, '\n', all.n);
        size_t len = end ? (size_t)(end - all.p) : all.n;
        *line = n;
        rc = line_take(p, bytes_of(all.p, len), n, why);
        all = bytes_skip(all, min_u64(len + 1, all.n));
    }
    return rc;
}

static int user_order(const void *left, const void *right)
{
    const struct user *a = left, *b = right;
    int d = bytes_cmp(name_of(a), name_of(b));
    return d ? d : (a->line > b->line) - (a->line < b->line);
}

static int sort(struct passwords *p, unsigned *line, char *why)
{
    if (p->count) qsort(p->users, p->count, sizeof *p->users, user_order);
    for (size_t i = 1; i < p->count; i++) {
        const struct user *a = &p->users[i - 1], *b = &p->users[i];
        if (bytes_cmp(name_of(a), name_of(b)) != 0) continue;
        *line = b->line;
        snprintf(why, PASSWORD_WHY, "user '%.60s' is in line %u already", b->name, a->line);
        return E_INVALID;
    }
    return 0;
}

static int read_all(FILE *file, uint8_t **out, size_t *size, char *why)
{
    struct stat st;
    if (fstat(fileno(file), &st) < 0 || !S_ISREG(st.st_mode)) {
        snprintf(why, PASSWORD_WHY, "it is no file");
        return E_IO;
    }
    if (st.st_size > PASSWORD_FILE_MAX) {
        snprintf(why, PASSWORD_WHY, "the file is larger than %d bytes", PASSWORD_FILE_MAX);
        return E_INVALID;
    }
    size_t n = (size_t)st.st_size;
    *out = mem_alloc(n + 1);
    if (*out == NULL) return E_NOMEM;
    *size = fread(*out, 1, n, file);
    if (!ferror(file)) return 0;
    snprintf(why, PASSWORD_WHY, "cannot read: %s", strerror(errno));
    return E_IO;
}

static int load_from(struct passwords *p, FILE *file, unsigned *line, char *why)
{
    uint8_t *data = NULL;
    size_t size = 0;
    struct stat st;
    if (fstat(fileno(file), &st) == 0) p->exposed = st.st_mode & S_IROTH;
    int rc = read_all(file, &data, &size, why);
    if (rc == 0) rc = lines_take(p, bytes_of(data, size), line, why);
    if (rc == 0) {
        *line = 0;
        rc = sort(p, line, why);
    }
    mem_free(data);
    return rc;
}

int passwords_load(struct passwords **out, const char *path, unsigned *line,
                   char why[static PASSWORD_WHY])
{
    *line = 0;
    snprintf(why, PASSWORD_WHY, "%s", err_name(E_NOMEM));
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        snprintf(why, PASSWORD_WHY, "cannot open: %s", strerror(errno));
        return E_IO;
    }
    struct passwords *p = mem_calloc(1, sizeof *p);
    int rc = p ? load_from(p, file, line, why) : E_NOMEM;
    fclose(file);
    if (rc == 0)
        *out = p;
    else
        passwords_free(&p);
    return rc;
}

void passwords_free(struct passwords **passwords)
{
    struct passwords *p = *passwords;
    if (p == NULL) return;
    *passwords = NULL;
    for (size_t i = 0; i < p->count; i++) mem_free(p->users[i].name);
    mem_free(p->users);
    mem_free(p);
}
