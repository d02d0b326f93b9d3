/* Access lists: reading their text, and the one question that is asked of them.  Owns its rules.
 * Pure, and immutable once made: any thread.
 *
 *   topic   [read|write|readwrite|deny] FILTER    of the `user` above it; before the first: of
 *                                                 clients without a user name
 *   pattern [read|write|readwrite|deny] FILTER    of everybody; %c is the client id, %u the user
 *                                                 name, and who has none does not match it
 *
 * Of our own, where mosquitto knows no such word: filter, replay, queue, dead, alone or several
 * with commas, together with read and write perhaps.
 *
 * In a client's own list a `deny` that matches decides, then anything that allows; if neither does,
 * the patterns are asked in the same way; if those say nothing, the answer is no, but for the
 * topics of response.h. */
#include <stdarg.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/ptrmap.h"
#include "core/acl.h"
#include "core/response.h"
#include "mqtt/topic.h"

struct acl_rule {
    struct acl_rule *next;
    uint8_t access;        /* enum acl_access and acl_feature, 0: deny */
    bool has_id, has_name; /* a pattern with %c, %u */
    uint16_t len;
    uint8_t text[];
};

struct acl_rules {
    struct acl_rule *denies, *allows;
};

struct acl_user {
    struct acl_user *next;
    struct acl_rules rules;
    size_t name_len;
    uint8_t name[];
};

struct acl {
    struct ptrmap users; /* by name */
    struct acl_user *all;
    struct acl_rules anonymous, patterns;
    uint8_t named; /* features that some rule allows: nobody else has them */
};

enum { HASH_SEED = 0 }; /* the names are the administrator's */

static uint64_t user_hash(const void *elem, uint64_t seed)
{
    const struct acl_user *u = elem;
    return hash_bytes(bytes_of(u->name, u->name_len), seed);
}

static struct acl_user *user_find(const struct acl *a, struct bytes name)
{
    uint64_t hash = hash_bytes(name, HASH_SEED);
    struct acl_user *u;
    for (size_t pos = hash; (u = ptrmap_next(&a->users, hash, &pos)) != NULL;)
        if (bytes_eq(bytes_of(u->name, u->name_len), name)) return u;
    return NULL;
}

/* ---- reading ---- */

struct reader {
    struct acl *acl;
    struct acl_rules *rules; /* that `topic` adds to */
    struct acl_error *error;
};

PRINTF_LIKE(2, 3) static int wrong(const struct reader *r, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(r->error->text, sizeof r->error->text, fmt, args);
    va_end(args);
    return E_INVALID;
}

static bool is_space(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static struct bytes trim(struct bytes b)
{
    while (b.n && is_space(b.p[0])) b = bytes_skip(b, 1);
    while (b.n && is_space(b.p[b.n - 1])) b.n--;
    return b;
}

/* The next word, closed by spaces; only those part words, as in mosquitto.  *rest is what follows.
 */
static struct bytes word(struct bytes *rest)
{
    while (rest->n && rest->p[0] == ' ') *rest = bytes_skip(*rest, 1);
    struct bytes w = bytes_of(rest->p, 0);
    while (w.n < rest->n && rest->p[w.n] != ' ') w.n++;
    *rest = bytes_skip(*rest, w.n);
    return w;
}

static int shown(struct bytes b) { return (int)min_u64(b.n, 60); }

static int take_user(struct reader *r, struct bytes name)
{
    struct acl *a = r->acl;
    if (name.n == 0) return wrong(r, "'user' has no name");
    struct acl_user *u = user_find(a, name);
    if (u == NULL) {
        u = mem_calloc(1, sizeof *u + name.n);
        if (u == NULL) return E_NOMEM;
        u->name_len = name.n;
        put_mem(u->name, name);
        if (ptrmap_put(&a->users, u, user_hash(u, HASH_SEED)) < 0) {
            mem_free(u);
            return E_NOMEM;
        }
        u->next = a->all;
        a->all = u;
    }
    r->rules = &u->rules;
    return 0;
}

static bool has(struct bytes text, char letter)
{
    for (size_t i = 0; i + 1 < text.n; i++)
        if (text.p[i] == '%' && text.p[i + 1] == letter) return true;
    return false;
}

static int rule_add(struct acl_rules *rules, unsigned access, struct bytes filter, bool is_pattern)
{
    struct acl_rule *rule = mem_alloc(sizeof *rule + filter.n);
    if (rule == NULL) return E_NOMEM;
    struct acl_rule **list = access ? &rules->allows : &rules->denies;
    *rule = (struct acl_rule){.next = *list, /* their order does not matter */
                              .access = access & 0xffu,
                              .has_id = is_pattern && has(filter, 'c'),
                              .has_name = is_pattern && has(filter, 'u'),
                              .len = (uint16_t)filter.n};
    put_mem(rule->text, filter);
    *list = rule;
    return 0;
}

/* One of the words between commas; 0: it is none. */
static unsigned access_named(struct bytes name)
{
    static const struct {
        const char *name;
        unsigned access;
    } words[] = {
        {"read", ACL_READ},     {"write", ACL_WRITE},   {"readwrite", ACL_READ | ACL_WRITE},
        {"filter", ACL_FILTER}, {"replay", ACL_REPLAY}, {"queue", ACL_QUEUE},
        {"dead", ACL_DEAD}};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (bytes_eq(name, bytes_str(words[i].name))) return words[i].access;
    return 0;
}

/* Which rights the word in front of a topic gives; 0: deny. */
static int take_access(const struct reader *r, struct bytes text, unsigned *access)
{
    *access = 0;
    if (bytes_eq(text, bytes_str("deny"))) return 0;
    for (struct bytes rest = text;; rest = bytes_skip(rest, 1)) {
        struct bytes name = bytes_of(rest.p, 0);
        while (name.n < rest.n && rest.p[name.n] != ',') name.n++;
        rest = bytes_skip(rest, name.n);
        unsigned one = access_named(name);
        if (one == 0)
            return wrong(r,
                         "'%.*s' is no access: use read, write, readwrite or deny, or the features "
                         "filter, replay, queue, dead",
                         shown(name), (const char *)name.p);
        *access |= one;
        if (rest.n == 0) return 0;
    }
}

static int take_rule(struct reader *r, const char *kind, struct acl_rules *rules, struct bytes rest)
{
    struct bytes first = word(&rest), filter = trim(rest);
    unsigned access = ACL_READ | ACL_WRITE;
    if (filter.n == 0) { /* one word is a topic, whatever it is */
        filter = first;
    } else {
        int rc = take_access(r, first, &access);
        if (rc < 0) return rc;
    }
    if (filter.n == 0) return wrong(r, "'%s' has no topic", kind);
    if (!mqtt_topic_filter_ok(filter, MQTT_TOPIC_LEVELS_DEFAULT))
        return wrong(r, "'%.*s' is no topic filter", shown(filter), (const char *)filter.p);
    r->acl->named |= access & (ACL_FILTER | ACL_REPLAY | ACL_QUEUE | ACL_DEAD);
    return rule_add(rules, access, filter, rules == &r->acl->patterns);
}

static int take_line(struct reader *r, struct bytes line)
{
    if (line.n == 0 || line.p[0] == '#') return 0;
    struct bytes rest = trim(line);
    if (rest.n == 0) return 0;
    if (!bytes_is_utf8(rest)) return wrong(r, "the line is not text in UTF-8");
    struct bytes first = word(&rest);
    if (bytes_eq(first, bytes_str("user"))) return take_user(r, trim(rest));
    if (bytes_eq(first, bytes_str("topic"))) return take_rule(r, "topic", r->rules, rest);
    if (bytes_eq(first, bytes_str("pattern")))
        return take_rule(r, "pattern", &r->acl->patterns, rest);
    if (first.p[0] == '#') return wrong(r, "a comment must begin in the first column of its line");
    return wrong(r, "a line cannot begin with '%.*s': use user, topic, pattern or #", shown(first),
                 (const char *)first.p);
}

int acl_new(struct acl **out, struct bytes text, struct acl_error *error)
{
    *error = (struct acl_error){0};
    struct acl *a = mem_calloc(1, sizeof *a);
    if (a == NULL) return E_NOMEM;
    ptrmap_init(&a->users, user_hash, HASH_SEED);
    struct reader r = {.acl = a, .rules = &a->anonymous, .error = error};
    int rc = 0;
    while (rc == 0 && text.n) {
        const uint8_t *end = memchr(text.p, '\n', text.n);
        size_t n = end ? (size_t)(end - text.p) : text.n;
        error->line++;
        rc = take_line(&r, bytes_of(text.p, n));
        text = bytes_skip(text, min_u64(n + 1, text.n));
    }
    if (rc < 0)
        acl_free(&a);
    else
        *out = a;
    return rc;
}

static void rules_free(struct acl_rules *rules)
{
    struct acl_rule *const lists[] = {rules->denies, rules->allows};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        for (struct acl_rule *next, *rule = lists[i]; rule; rule = next) {
            next = rule->next;
            mem_free(rule);
        }
    }
}

void acl_free(struct acl **acl)
{
    struct acl *a = *acl;
    if (a == NULL) return;
    *acl = NULL;
    for (struct acl_user *next, *u = a->all; u; u = next) {
        next = u->next;
        rules_free(&u->rules);
        mem_free(u);
    }
    rules_free(&a->anonymous);
    rules_free(&a->patterns);
    ptrmap_fini(&a->users);
    mem_free(a);
}

static bool rules_empty(const struct acl_rules *r) { return !r->denies && !r->allows; }

bool acl_is_empty(const struct acl *a)
{
    for (const struct acl_user *u = a->all; u; u = u->next)
        if (!rules_empty(&u->rules)) return false;
    return rules_empty(&a->anonymous) && rules_empty(&a->patterns);
}

/* ---- asking ---- */

/* What stands at `at` of a rule's text: a byte, or what %c or %u is for this client.  Returns where
 * it goes on. */
static size_t piece(const struct acl_rule *rule, size_t at, const struct acl_client *client,
                    struct bytes *out)
{
    const uint8_t *p = rule->text + at;
    bool marks = p[0] == '%' && at + 1 < rule->len;
    *out = bytes_of(p, 1);
    if (marks && rule->has_id && p[1] == 'c')
        *out = client->id;
    else if (marks && rule->has_name && p[1] == 'u')
        *out = client->username;
    else
        return at + 1;
    return at + 2;
}

/* Whether the rule's filter has this topic, or all that this filter has.  What %c and %u stand for
 * is compared byte by byte, so a wildcard in there is none. */
static bool rule_matches(const struct acl_rule *rule, const struct acl_client *client,
                         struct bytes topic)
{
    size_t at = 0, in = 0;
    if (topic.p[0] == '$' && (rule->text[0] == '+' || rule->text[0] == '#'))
        return false; /* [MQTT-4.7.2-1] */
    while (in < rule->len) {
        const uint8_t *p = rule->text + in;
        if (*p == '#' || (at == topic.n && rule->len - in == 2 && memcmp(p, "/#", 2) == 0))
            return true;
        if (*p == '+') {
            if (at < topic.n && topic.p[at] == '#') return false;
            while (at < topic.n && topic.p[at] != '/') at++;
            in++;
            continue;
        }
        struct bytes part;
        in = piece(rule, in, client, &part);
        if (part.n > topic.n - at || memcmp(part.p, topic.p + at, part.n) != 0) return false;
        at += part.n;
    }
    return at == topic.n;
}

static bool any_matches(const struct acl_rule *rule, const struct acl_client *client,
                        struct bytes topic, unsigned access)
{
    for (; rule; rule = rule->next)
        if ((rule->access & access) == access && rule_matches(rule, client, topic)) return true;
    return false;
}

static bool has_byte(struct bytes b, char c) { return b.n && memchr(b.p, c, b.n) != NULL; }

static bool has_wildcard(struct bytes b) { return has_byte(b, '+') || has_byte(b, '#'); }

/* A name with a slash would reach into levels that are not its own (HARDENING class 5): no pattern
 * allows it anything; what a pattern denies it, it denies to the letter. */
static bool pattern_allows(const struct acl_rule *rule, const struct acl_client *client)
{
    if (rule->has_id && has_byte(client->id, '/')) return false;
    if (!rule->has_name) return true;
    return client->username.p && !has_byte(client->username, '/');
}

static bool pattern_denies(const struct acl *a, const struct acl_client *client, struct bytes topic)
{
    for (const struct acl_rule *r = a->patterns.denies; r; r = r->next)
        if (!(r->has_name && client->username.p == NULL) && rule_matches(r, client, topic))
            return true;
    return false;
}

static bool patterns_may(const struct acl *a, const struct acl_client *client, struct bytes topic,
                         unsigned access)
{
    if (has_wildcard(client->id)) return false;
    if (client->username.p && has_wildcard(client->username)) return false;
    if (pattern_denies(a, client, topic)) return false;
    for (const struct acl_rule *r = a->patterns.allows; r; r = r->next) {
        if (!(r->access & access) || !pattern_allows(r, client)) continue;
        if (topic.p[0] == '$' && r->text[0] != '$') continue; /* not for who is called $SYS */
        if (rule_matches(r, client, topic)) return true;
    }
    return false;
}

static const struct acl_rules *rules_of(const struct acl *a, const struct acl_client *client)
{
    if (client->username.p == NULL) return &a->anonymous;
    const struct acl_user *u = user_find(a, client->username);
    return u ? &u->rules : NULL;
}

bool acl_may(const struct acl *a, const struct acl_client *client, struct bytes topic,
             enum acl_access access)
{
    const struct acl_rules *own = rules_of(a, client);
    if (own && any_matches(own->denies, client, topic, 0)) return false;
    if (own && any_matches(own->allows, client, topic, access)) return true;
    if (patterns_may(a, client, topic, access)) return true;
    return response_may(client, topic, access) && !pattern_denies(a, client, topic);
}

bool acl_may_use(const struct acl *a, const struct acl_client *client, struct bytes filter,
                 enum acl_feature feature)
{
    const struct acl_rules *own = rules_of(a, client);
    if (!(a->named & feature)) return true;
    if (own && any_matches(own->allows, client, filter, feature)) return true;
    return patterns_may(a, client, filter, feature);
}

/* The level that begins at `at`, without its slash. */
static struct bytes level(struct bytes filter, size_t at)
{
    struct bytes rest = bytes_skip(filter, min_u64(at, filter.n));
    const uint8_t *end = rest.n ? memchr(rest.p, '/', rest.n) : NULL;
    if (end) rest.n = (size_t)(end - rest.p);
    return rest;
}

/* Whether some topic has both filters; false positives where one begins with $. */
static bool overlap(struct bytes a, struct bytes b)
{
    static const char plus[] = "+", hash[] = "#";
    for (size_t i = 0, j = 0;;) {
        struct bytes x = level(a, i), y = level(b, j);
        bool a_over = i > a.n, b_over = j > b.n;
        if (a_over && b_over) return true;
        if ((!a_over && bytes_eq(x, bytes_str(hash))) || (!b_over && bytes_eq(y, bytes_str(hash))))
            return true;
        if (a_over || b_over) return false;
        if (!bytes_eq(x, y) && !bytes_eq(x, bytes_str(plus)) && !bytes_eq(y, bytes_str(plus)))
            return false;
        i += x.n + 1;
        j += y.n + 1;
    }
}

bool acl_denies_filter(const struct acl *a, const struct acl_client *client, struct bytes filter)
{
    const struct acl_rules *own = rules_of(a, client);
    if (own && any_matches(own->denies, client, filter, 0)) return true;
    if (!pattern_denies(a, client, filter)) return false;
    /* What the client's own list allows is not for the patterns to deny. */
    for (const struct acl_rule *r = own ? own->allows : NULL; r; r = r->next)
        if (r->access & ACL_READ && overlap(bytes_of(r->text, r->len), filter)) return false;
    return true;
}
