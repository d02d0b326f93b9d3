/* A digest that a protocol beside TLS wants.  Any thread. */
#include "tls.h"

#include <openssl/evp.h>

int tls_sha1_base64(struct bytes in, char out[TLS_SHA1_MAX])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size;
    if (EVP_Digest(in.p, in.n, digest, &size, EVP_sha1(), NULL) != 1) return E_NOMEM;
    _Static_assert(TLS_SHA1_MAX == (20 + 2) / 3 * 4 + 1, "20 bytes in base64, and a 0");
    EVP_EncodeBlock((unsigned char *)out, digest, (int)size);
    return 0;
}
