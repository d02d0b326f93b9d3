/* Fuzzes PROXY headers: the first byte chooses the version, the rest is what the proxy sends.  A
 * header that comes in pieces must be the same as one that comes at once. */
#include "net/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_good(const struct proxy_header *h, struct bytes in, unsigned version)
{
    ASSERT(h->size > 0 && h->size <= in.n);
    ASSERT(h->size <= (version == 1 ? (size_t)PROXY_V1_MAX : (size_t)PROXY_V2_MAX));
    ASSERT(!h->local || (!h->known && !h->tls));
    ASSERT(!h->certificate || h->tls);
    ASSERT(h->common_name.n == 0 || (h->certificate && bytes_is_utf8(h->common_name)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    unsigned version = 1 + data[0] % 2;
    struct bytes in = bytes_of(data + 1, size - 1);
    struct proxy_header h, part;
    int rc = proxy_read(in, version, &h);
    if (rc == 0) check_good(&h, in, version);
    if (rc == E_INVALID) ASSERT(h.wrong != NULL);
    if (rc == E_AGAIN) ASSERT(in.n < PROXY_V2_MAX);
    for (size_t n = 0; n < in.n; n++) {
        int before = proxy_read(bytes_of(in.p, n), version, &part);
        ASSERT(before == E_AGAIN || (before == 0 ? rc == 0 && part.size == h.size : rc == before));
    }
    return 0;
}
