/* Writes and reads the bytes of format.h. */
#include "store/log/format.h"
#include "store/log/crc32c.h"

#include <inttypes.h>
#include <stdio.h>

static const uint8_t zeros[FRAME_ALIGN];
static const char header_magic[] = "SLUICELG", checkpoint_magic[] = "SLUICECP";

enum { CRC_AT = HEADER_BYTES - 4, MAGIC_BYTES = 8 };

void frame_put(uint8_t *out, const struct frame *f, uint32_t salt, struct bytes prefix,
               struct bytes body)
{
    le32_put(out + 4, f->body_bytes);
    le64_put(out + 8, f->position / FRAME_ALIGN);
    out[16] = f->kind;
    out[17] = f->shard;
    out[18] = f->prefix_bytes;
    out[19] = f->flags;
    le32_put(out + 20, f->behind);
    size_t pad = frame_size(f) - FRAME_BYTES - prefix.n - body.n;
    uint32_t crc = crc32c(salt, bytes_of(out + 4, FRAME_BYTES - 4));
    crc = crc32c(crc32c(crc, prefix), body);
    le32_put(out, crc32c(crc, bytes_of(zeros, pad)));
}

bool frame_get(struct frame *f, const uint8_t *p, uint64_t position, uint64_t limit)
{
    f->position = position;
    f->body_bytes = le32_get(p + 4);
    f->kind = p[16];
    f->shard = p[17];
    f->prefix_bytes = p[18];
    f->flags = p[19];
    f->behind = le32_get(p + 20);
    if (le64_get(p + 8) != position / FRAME_ALIGN) return false;
    if (f->kind < STORE_MESSAGE || f->kind > FRAME_END) return false;
    if (f->prefix_bytes > STORE_PREFIX_MAX || f->body_bytes > STORE_RECORD_MAX) return false;
    return frame_size(f) <= limit - position;
}

bool frame_intact(const struct frame *f, const uint8_t *p, uint32_t salt)
{
    return crc32c(salt, bytes_of(p + 4, frame_size(f) - 4)) == le32_get(p);
}

/* Magic, version and checksum lie at the same place in every version. */
static void put_common(uint8_t *out, const char *magic)
{
    memcpy(out, magic, MAGIC_BYTES);
    le32_put(out + 8, LOG_VERSION);
    le32_put(out + CRC_AT, crc32c(0, bytes_of(out, CRC_AT)));
}

static int get_common(const uint8_t *p, const char *magic)
{
    if (memcmp(p, magic, MAGIC_BYTES) != 0) return E_MALFORMED;
    if (le32_get(p + CRC_AT) != crc32c(0, bytes_of(p, CRC_AT))) return E_MALFORMED;
    return le32_get(p + 8) == LOG_VERSION ? 0 : E_INVALID;
}

void header_put(uint8_t *out, const struct segment_header *h)
{
    memset(out, 0, HEADER_BYTES);
    le32_put(out + 12, h->salt);
    le64_put(out + 16, h->base / FRAME_ALIGN);
    le64_put(out + 24, h->bytes);
    put_common(out, header_magic);
}

int header_get(struct segment_header *h, const uint8_t *p)
{
    int rc = get_common(p, header_magic);
    if (rc < 0) return rc;
    h->salt = le32_get(p + 12);
    h->base = le64_get(p + 16) * FRAME_ALIGN;
    h->bytes = le64_get(p + 24);
    return 0;
}

void checkpoint_put(uint8_t *out, const struct checkpoint *c)
{
    memset(out, 0, HEADER_BYTES);
    le64_put(out + 16, c->number);
    le64_put(out + 24, c->begin / FRAME_ALIGN);
    le64_put(out + 32, c->end / FRAME_ALIGN);
    put_common(out, checkpoint_magic);
}

int checkpoint_get(struct checkpoint *c, const uint8_t *p)
{
    uint8_t any = 0;
    for (int i = 0; i < HEADER_BYTES; i++) any |= p[i];
    if (any == 0) return E_NOTFOUND;
    int rc = get_common(p, checkpoint_magic);
    if (rc < 0) return rc;
    c->number = le64_get(p + 16);
    c->begin = le64_get(p + 24) * FRAME_ALIGN;
    c->end = le64_get(p + 32) * FRAME_ALIGN;
    return 0;
}

void name_put(char out[NAME_BYTES], uint64_t base, const char *ending)
{
    snprintf(out, NAME_BYTES, "%016" PRIx64 ".%s", base / FRAME_ALIGN, ending);
}

bool name_get(const char *name, const char *ending, uint64_t *base)
{
    uint64_t v = 0;
    for (int i = 0; i < 16; i++) {
        char c = name[i];
        if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f')) return false;
        v = v << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    *base = v * FRAME_ALIGN;
    return v < UINT64_MAX / FRAME_ALIGN && name[16] == '.' && strcmp(name + 17, ending) == 0;
}
