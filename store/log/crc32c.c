/* CRC32C twice: by the SSE4.2 instruction, 8 bytes in 3 cycles, and by eight tables for processors
 * without.  Owns the tables, which are made on first use. */
#include "store/log/crc32c.h"

#include <endian.h>
#include <pthread.h>

enum { POLYNOMIAL = 0x82f63b78, TABLES = 8 }; /* bits reversed */

static uint32_t tables[TABLES][256];
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static void tables_make(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++) c = c >> 1 ^ (c & 1 ? (uint32_t)POLYNOMIAL : 0);
        tables[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int t = 1; t < TABLES; t++) {
            uint32_t c = tables[t - 1][i];
            tables[t][i] = c >> 8 ^ tables[0][c & 255];
        }
}

uint32_t crc32c_by_table(uint32_t crc, struct bytes b)
{
    (void)pthread_once(&tables_once, tables_make); /* fails for a wrong argument only */
    crc = ~crc;
    for (; b.n >= 8; b = bytes_skip(b, 8)) {
        uint64_t v;
        memcpy(&v, b.p, 8);
        v = le64toh(v) ^ crc;
        crc = 0;
        for (int t = 0; t < TABLES; t++) crc ^= tables[TABLES - 1 - t][v >> 8 * t & 255];
    }
    for (size_t i = 0; i < b.n; i++) crc = crc >> 8 ^ tables[0][(crc ^ b.p[i]) & 255];
    return ~crc;
}

#if defined(__x86_64__)
#include <nmmintrin.h>

__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc, struct bytes b)
{
    uint64_t wide = ~crc;
    const uint8_t *p = b.p, *end = b.p + b.n;
    for (; end - p >= 8; p += 8) {
        uint64_t v;
        memcpy(&v, p, 8);
        wide = _mm_crc32_u64(wide, v);
    }
    uint32_t narrow = (uint32_t)wide;
    if (end - p >= 4) { /* as behind a frame's own checksum */
        uint32_t v;
        memcpy(&v, p, 4);
        narrow = _mm_crc32_u32(narrow, v);
        p += 4;
    }
    for (; p < end; p++) narrow = _mm_crc32_u8(narrow, *p);
    return ~narrow;
}

uint32_t crc32c(uint32_t crc, struct bytes b)
{
    if (b.n == 0) return crc;
    return LIKELY(__builtin_cpu_supports("sse4.2")) ? by_instruction(crc, b)
                                                    : crc32c_by_table(crc, b);
}
#else
uint32_t crc32c(uint32_t crc, struct bytes b) { return b.n ? crc32c_by_table(crc, b) : crc; }
#endif
