/* What an engine provides; private to the store room. */
#ifndef STORE_ENGINE_H
#define STORE_ENGINE_H

#include "store/store.h"

struct store_ops {
    int (*append)(struct store *st, struct blob *body, uint64_t *seq);
    uint64_t (*poll)(struct store *st);
    store_ref (*hold)(struct store *st, uint64_t seq, struct blob *body);
    int (*fetch)(struct store *st, store_ref ref, struct blob **body);
    void (*drop)(struct store *st, store_ref ref);
    void (*close)(struct store *st);
};

struct store {
    const struct store_ops *ops;
};

#endif
