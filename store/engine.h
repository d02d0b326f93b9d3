/* What an engine provides; private to the store room. */
#ifndef STORE_ENGINE_H
#define STORE_ENGINE_H

#include "store/store.h"

/* Each as the function of the same name in store.h. */
struct store_ops {
    int (*append)(struct store *st, struct bytes prefix, struct blob *body, uint64_t *seq);
    int (*journal)(struct store *st, struct bytes entries, uint64_t *seq);
    bool (*crowded)(const struct store *st);
    void (*flush)(struct store *st);
    uint64_t (*poll)(struct store *st);
    uint64_t (*end)(const struct store *st);
    store_ref (*hold)(struct store *st, uint64_t seq, struct blob *body);
    int (*fetch)(struct store *st, store_ref ref, struct blob **body);
    void (*drop)(struct store *st, store_ref ref);
    void (*release)(struct store *st);
    int (*scan_open)(struct store *st, struct store_scan **out);
    bool (*checkpoint_due)(const struct store *st);
    int (*checkpoint)(struct store *st, uint64_t begin);
    bool (*must_move)(const struct store *st, store_ref ref);
    int (*move)(struct store *st, store_ref ref, store_ref *moved);
    int (*read_open)(struct store *st, struct store_reader **out, const struct store_query *q);
    void (*keep)(struct store *st, uint64_t from_seq); /* NULL with read_open: not with this one */
    void (*stats)(const struct store *st, struct store_stats *out);
    void (*close)(struct store *st);
};

struct store {
    const struct store_ops *ops;
    bool keeps;
};

/* Engines put this first into theirs. */
struct store_scan {
    int (*next)(struct store_scan *scan, struct store_record *out);
    void (*close)(struct store_scan *scan);
};

struct store_reader {
    int (*next)(struct store_reader *reader, struct store_record *out);
    uint64_t (*position)(const struct store_reader *reader);
    void (*close)(struct store_reader *reader);
};

#endif
