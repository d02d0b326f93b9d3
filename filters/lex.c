/* Cuts an expression into tokens.  The text is UTF-8; outside of strings and back-quotes only ASCII
 * means something.  One thread. */
#include "filters/expr.h"

static bool is_space(uint8_t c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }
static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }
static bool is_name(uint8_t c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static uint8_t peek(const struct lexer *l, size_t ahead)
{
    return l->at + ahead < l->text.n ? l->text.p[l->at + ahead] : 0;
}

/* Columns count code points: each lead byte is one. */
static uint32_t column_here(struct lexer *l)
{
    for (; l->column_at < l->at; l->column_at++)
        if ((l->text.p[l->column_at] & 0xc0) != 0x80) l->column++;
    return l->column + 1;
}

bool lex_word_is(struct bytes word, const char *upper)
{
    size_t n = strlen(upper);
    if (word.n != n) return false;
    for (size_t i = 0; i < n; i++)
        if ((word.p[i] & ~0x20) != upper[i]) return false;
    return true;
}

static void lex_word(struct lexer *l, struct token *t)
{
    static const char *const keywords[] = {
        [KEY_AND] = "AND", [KEY_OR] = "OR",     [KEY_XOR] = "XOR",
        [KEY_NOT] = "NOT", [KEY_LIKE] = "LIKE", [KEY_EXISTS] = "EXISTS",
        [KEY_IN] = "IN",   [KEY_TRUE] = "TRUE", [KEY_FALSE] = "FALSE"};
    size_t from = l->at;
    bool digits = true;
    for (; is_name(peek(l, 0)); l->at++) digits &= is_digit(peek(l, 0));
    t->text = bytes_of(l->text.p + from, l->at - from);
    t->kind = TOKEN_NAME;
    if (digits) {
        t->kind = TOKEN_NUMBER;
        if (peek(l, 0) != '.' || !is_digit(peek(l, 1))) return;
        for (l->at++; is_digit(peek(l, 0)); l->at++) continue;
        t->text.n = l->at - from;
        if (!is_name(peek(l, 0))) return;
        t->kind = TOKEN_WRONG;
        t->fault = "a number has no letters in it; exponents are not written";
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(keywords); i++) {
        if (!lex_word_is(t->text, keywords[i])) continue;
        t->kind = TOKEN_KEYWORD;
        t->keyword = (uint8_t)i;
        return;
    }
}

/* A backslash keeps the character behind it from ending the string, as does doubling. */
static void lex_string(struct lexer *l, struct token *t, uint8_t quote)
{
    size_t from = ++l->at;
    t->quote = quote;
    for (; l->at < l->text.n; l->at++) {
        uint8_t c = l->text.p[l->at];
        if (c == '\\' && l->at + 1 < l->text.n) {
            l->at++;
        } else if (c == quote && peek(l, 1) == quote) {
            l->at++;
        } else if (c == quote) {
            t->kind = TOKEN_STRING;
            t->text = bytes_of(l->text.p + from, l->at++ - from);
            return;
        }
    }
    t->kind = TOKEN_WRONG;
    t->fault = "the string has no end";
}

static void lex_quoted(struct lexer *l, struct token *t)
{
    size_t from = ++l->at;
    for (; l->at < l->text.n; l->at++) {
        if (l->text.p[l->at] != '`') continue;
        if (peek(l, 1) == '`') {
            l->at++;
            continue;
        }
        t->kind = l->at > from ? TOKEN_QUOTED : TOKEN_WRONG;
        t->fault = "a name is not empty";
        t->text = bytes_of(l->text.p + from, l->at++ - from);
        return;
    }
    t->kind = TOKEN_WRONG;
    t->fault = "the back-quoted name has no end";
}

static void lex_symbol(struct lexer *l, struct token *t)
{
    uint8_t c = peek(l, 0), next = peek(l, 1);
    t->kind = TOKEN_SYMBOL;
    t->symbol = c;
    l->at++;
    if ((c == '<' && next == '>') || (c == '!' && next == '=')) {
        t->symbol = SYMBOL_NE;
        l->at++;
    } else if ((c == '<' || c == '>') && next == '=') {
        t->symbol = c == '<' ? SYMBOL_LE : SYMBOL_GE;
        l->at++;
    } else if (c == 0 || strchr("()[],.=<>+-*/%", c) == NULL) {
        t->kind = TOKEN_WRONG;
        t->fault = c == '!' ? "'!' means nothing without '='" : "this character means nothing here";
    }
}

struct token lex_next(struct lexer *l)
{
    struct token t = {.kind = TOKEN_END};
    while (is_space(peek(l, 0))) l->at++;
    t.column = column_here(l);
    if (l->at == l->text.n) return t;
    uint8_t c = peek(l, 0);
    if (is_name(c))
        lex_word(l, &t);
    else if (c == '\'' || c == '"')
        lex_string(l, &t, c);
    else if (c == '`')
        lex_quoted(l, &t);
    else
        lex_symbol(l, &t);
    return t;
}
