/* What becomes of wishes, see wished.h. */
#include "core/wished.h"

uint64_t wished_variant(const struct core *core, const struct wish *w)
{
    return w->prefix.n ? hash_bytes(w->prefix, core->seed) | 1 : 0;
}

int wished_set(struct wsub *ws, const struct wish *w)
{
    size_t size = wish_size(w);
    uint8_t *block = mem_alloc(size);
    if (block == NULL) return E_NOMEM;
    wish_put(block, w);
    mem_free(ws->block);
    ws->block = block;
    ws->block_len = (uint32_t)size;
    return 0;
}

void wished_fini(struct wsub *ws)
{
    mem_free(ws->block);
    ws->block = NULL;
}

bool wished_wants(struct core *core, const struct wsub *ws, struct pub *p)
{
    (void)core;
    (void)ws;
    (void)p;
    return true;
}
