/* sluicectl: tables for people, from JSON objects.  Columns are as wide as what is in them; what a
 * client has chosen (ids, topics) cannot move the cursor or change colours.  One thread. */
#include "ctl.h"

#include <stdio.h>

enum { CELL_MAX = 64 };

/* The text of a value; scratch is for numbers. */
static struct bytes cell(const json_t *row, const struct ctl_column *c, char scratch[CELL_MAX])
{
    const json_t *v = json_object_get(row, c->member);
    if (json_is_string(v)) return bytes_of(json_string_value(v), json_string_length(v));
    if (json_is_boolean(v)) return bytes_str(json_is_true(v) ? "yes" : "no");
    if (!json_is_number(v)) return bytes_str("-");
    int n = json_is_integer(v)
                ? snprintf(scratch, CELL_MAX, "%lld", (long long)json_integer_value(v))
                : snprintf(scratch, CELL_MAX, "%.1f", json_real_value(v));
    return bytes_of(scratch, (size_t)n);
}

/* Columns of a terminal, as far as a character is one. */
static size_t width_of(struct bytes text)
{
    size_t width = 0;
    for (size_t i = 0; i < text.n; i++) width += (text.p[i] & 0xc0) != 0x80;
    return width;
}

/* Control characters, C1 ones too (U+0080 to U+009F: c2 80 to c2 9f), become '?'. */
static void print_clean(struct bytes text)
{
    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = text.p[i];
        bool c1 = c == 0xc2 && i + 1 < text.n && text.p[i + 1] < 0xa0;
        putchar(c < 0x20 || c == 0x7f || c1 ? '?' : c);
        i += c1;
    }
}

static void print_cell(struct bytes text, size_t width, bool right, bool last)
{
    size_t have = width_of(text), fill = width > have ? width - have : 0;
    if (right) printf("%*s", (int)fill, "");
    print_clean(text);
    if (!right && !last) printf("%*s", (int)fill, "");
    fputs(last ? "\n" : "  ", stdout);
}

static void widen(struct ctl_table *t, const json_t *row)
{
    char scratch[CELL_MAX];
    for (size_t i = 0; i < t->column_count; i++) {
        size_t width = width_of(cell(row, &t->columns[i], scratch));
        if (width > t->widths[i]) t->widths[i] = width;
    }
}

static void print_head(struct ctl_table *t)
{
    for (size_t i = 0; i < t->column_count; i++)
        print_cell(bytes_str(t->columns[i].title), t->widths[i], t->columns[i].right,
                   i + 1 == t->column_count);
}

void ctl_table_flush(struct ctl_table *t)
{
    char scratch[CELL_MAX];
    if (!t->begun) {
        for (size_t i = 0; i < t->column_count; i++) {
            size_t width = width_of(bytes_str(t->columns[i].title));
            if (width > t->widths[i]) t->widths[i] = width;
        }
        print_head(t);
    }
    t->begun = true;
    for (size_t r = 0; r < t->row_count; r++) {
        for (size_t i = 0; i < t->column_count; i++)
            print_cell(cell(t->rows[r], &t->columns[i], scratch), t->widths[i], t->columns[i].right,
                       i + 1 == t->column_count);
        json_decref(t->rows[r]);
    }
    t->row_count = 0;
}

void ctl_table_row(struct ctl_table *t, json_t *row)
{
    widen(t, row);
    t->rows[t->row_count++] = row;
    if (t->row_count == CTL_TABLE_ROWS) ctl_table_flush(t);
}

void ctl_print_text(const char *text) { print_clean(bytes_str(text)); }
